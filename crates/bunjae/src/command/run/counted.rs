//! What is counted for a report rather than found out by a stage: models, files, the machine.

use std::path::Path;

use bunjae_engine::IsaSet;
use bunjae_ir::{Bindings, Convention, Graph};
use bunjae_report::{Cost, Environment, Epoch, Layer, ModelFile, Training};
use bunjae_train::log::EpochRecord;

use crate::failure::{Failure, Fallible};
use crate::model;

/// What a network takes, by the exact rule and by thop's.
///
/// # Errors
/// A size has no value, or a count is beyond all bounds.
pub(super) fn cost(graph: &Graph, sizes: &Bindings) -> Fallible<Cost> {
    let cost = graph.cost(sizes, Convention::Exact).map_err(Failure::new)?;
    let thop = graph.cost(sizes, Convention::Thop).map_err(Failure::new)?;
    let layers = cost.nodes.iter().map(|node| {
        let shape = node.outputs.first().into_iter().flatten().map(|&size| size as u64);
        let shape: Vec<u64> = shape.collect();
        // What pictures have second, a linear layer returns last.
        let channels = match node.op {
            "conv2d" | "conv_transpose2d" => shape.get(1),
            "linear" => shape.last(),
            _ => None,
        };
        Layer {
            name: node.label.clone(),
            operator: node.op.to_owned(),
            channels: channels.copied(),
            shape,
            parameters: node.parameters,
            macs: node.macs,
            activation_bytes: node.activation_bytes,
        }
    });
    Ok(Cost {
        parameters: cost.parameters.total,
        zero_parameters: cost.parameters.zero,
        macs: cost.macs,
        macs_thop: Some(thop.macs),
        weight_bytes: cost.weights.total(),
        peak_activation_bytes: cost.peak.bytes,
        layers: layers.collect(),
    })
}

/// A model's file and what lies beside it.
///
/// # Errors
/// It cannot be read.
pub(super) fn model_file(path: &Path) -> Fallible<ModelFile> {
    let shown = path.display().to_string();
    let bytes = match crate::runnable::is_compiled(path) {
        true => {
            let metadata = std::fs::metadata(path);
            metadata.map_err(|error| Failure::new(format!("cannot read {shown}: {error}")))?.len()
        }
        false => model::file_bytes(path)?,
    };
    Ok(ModelFile { bytes, sha256: Some(model::sha256(path)?), path: shown })
}

/// The epochs of a training; people count from 1.
pub(super) fn training(name: &str, epochs: &[EpochRecord]) -> Training {
    let epochs = epochs.iter().map(|record| Epoch {
        epoch: record.epoch + 1,
        rate: record.rate,
        train_loss: record.train_loss,
        loss: record.loss,
        accuracy: record.accuracy,
        macro_f1: record.macro_f1,
    });
    Training { name: name.to_owned(), epochs: epochs.collect() }
}

/// This machine and this program.
pub(super) fn environment(isa: Option<&str>, threads: &[usize]) -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| name.trim() == key);
        found.map(|(_, value)| value.trim().to_owned())
    };
    let memory = value(&read("/proc/meminfo"), "MemTotal");
    let kib = memory.and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
    let versions = [("bunjae".to_owned(), env!("CARGO_PKG_VERSION").to_owned())];
    Environment {
        processor: value(&read("/proc/cpuinfo"), "model name"),
        cores: std::thread::available_parallelism().ok().map(|cores| cores.get() as u64),
        memory_bytes: kib.and_then(|kib| kib.checked_mul(1024)),
        system: Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        features: IsaSet::available().iter().map(|isa| isa.name().to_owned()).collect(),
        isa: isa.map(str::to_owned),
        threads: threads.iter().map(|&threads| threads as u64).collect(),
        versions: versions.into(),
    }
}
