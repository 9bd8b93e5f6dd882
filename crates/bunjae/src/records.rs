//! What commands find out, as the records of a report.

use std::path::Path;

use bunjae_data::{ContentHash, Dataset};
use bunjae_engine::IsaSet;
use bunjae_ir::{Bindings, Convention, Graph};
use bunjae_measure::latency::Protocol;
use bunjae_measure::metrics::Scores;
use bunjae_report::{
    ClassQuality, Cost, DataSet, Environment, Epoch, Layer, ModelFile, Quality, Report, Training,
};
use bunjae_train::log::EpochRecord;

use crate::failure::{Failure, Fallible};
use crate::interrupt::uninterrupted;
use crate::model;

/// What a network takes, by the exact rule and by thop's.
///
/// # Errors
/// A size has no value, or a count is beyond all bounds.
pub(crate) fn cost(graph: &Graph, sizes: &Bindings) -> Fallible<Cost> {
    let cost = graph.cost(sizes, Convention::Exact).map_err(Failure::new)?;
    let thop = graph.cost(sizes, Convention::Thop).map_err(Failure::new)?;
    let layers = cost.nodes.iter().map(|node| {
        let shape: Vec<u64> =
            node.outputs.first().into_iter().flatten().map(|&size| size as u64).collect();
        // Channels are the second axis of pictures, and the last of what a linear layer returns.
        let channels = match node.op {
            "conv2d" | "conv_transpose2d" => shape.get(1),
            "linear" => shape.last(),
            _ => None,
        };
        Layer {
            name: node.label.clone(),
            operator: node.op.to_string(),
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

/// The scores of a classifier with these labels on pictures of `data`.
pub(crate) fn quality(
    scores: &Scores,
    labels: &[String],
    (data, split): (&Path, &str),
    corrupt: usize,
) -> Quality {
    let classes = scores.classes.iter().map(|class| ClassQuality {
        pictures: class.pictures as u64,
        predicted: class.predicted as u64,
        precision: class.precision,
        recall: class.recall,
        f1: class.f1,
    });
    let row = |row: &Vec<usize>| row.iter().map(|&count| count as u64).collect();
    Quality {
        data: data.display().to_string(),
        split: split.to_string(),
        pictures: scores.pictures as u64,
        corrupt: corrupt as u64,
        accuracy: scores.accuracy,
        macro_f1: scores.mean.f1,
        macro_precision: scores.mean.precision,
        macro_recall: scores.mean.recall,
        log_loss: scores.log_loss,
        roc_auc: scores.roc_auc,
        calibration_error: scores.calibration.error,
        labels: labels.to_vec(),
        classes: classes.collect(),
        confusion: scores.confusion.iter().map(row).collect(),
    }
}

/// A part of a data set; its hash is over the content and the label of every picture.
pub(crate) fn data_set(role: &str, path: &Path, split: &str, dataset: &Dataset) -> DataSet {
    let mut text = String::new();
    for item in &dataset.items {
        // What cannot be read is found corrupt elsewhere.
        let hash = item.source.content_hash(Default::default());
        let hash = hash.map(|hash| hash.to_string()).unwrap_or_default();
        text.push_str(&format!("{hash} {:?}\n", item.label));
    }
    DataSet {
        role: role.to_string(),
        path: path.display().to_string(),
        split: Some(split.to_string()),
        classes: dataset.classes.clone(),
        pictures: Some(dataset.items.len() as u64),
        sha256: Some(ContentHash::of(text.as_bytes()).to_string()),
    }
}

/// The epochs of a training.
pub(crate) fn training(name: &str, epochs: &[EpochRecord]) -> Training {
    let epochs = epochs.iter().map(|record| Epoch {
        epoch: record.epoch + 1,
        rate: record.rate,
        train_loss: record.train_loss,
        loss: record.loss,
        accuracy: record.accuracy,
        macro_f1: record.macro_f1,
    });
    Training { name: name.to_string(), epochs: epochs.collect() }
}

/// A model's file.
///
/// # Errors
/// It cannot be read.
pub(crate) fn model_file(path: &Path) -> Fallible<ModelFile> {
    let bytes = match crate::runnable::is_compiled(path) {
        true => std::fs::metadata(path)
            .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?
            .len(),
        false => model::file_bytes(path)?,
    };
    Ok(ModelFile { path: path.display().to_string(), bytes, sha256: Some(model::sha256(path)?) })
}

/// How runs were timed.
pub(crate) fn protocol(protocol: &Protocol, seed: u64) -> bunjae_report::Protocol {
    bunjae_report::Protocol {
        warmup: protocol.warmup as u64,
        runs: protocol.runs as u64,
        seconds: protocol.seconds,
        seed,
    }
}

/// This machine and this program.
pub(crate) fn environment(isa: Option<&str>, threads: &[usize]) -> Environment {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let available = std::thread::available_parallelism().ok();
    let versions = [("bunjae".to_string(), env!("CARGO_PKG_VERSION").to_string())];
    Environment {
        processor: processor(&read("/proc/cpuinfo")),
        cores: available.map(|cores| cores.get() as u64),
        memory_bytes: memory(&read("/proc/meminfo")),
        system: Some(format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
        features: IsaSet::available().iter().map(|isa| isa.name().to_string()).collect(),
        isa: isa.map(str::to_string),
        threads: threads.iter().map(|&threads| threads as u64).collect(),
        versions: versions.into(),
    }
}

/// The processor's name, as Linux tells it on most machines.
fn processor(cpuinfo: &str) -> Option<String> {
    let value = |key: &str| {
        let mut lines = cpuinfo.lines().filter_map(|line| line.split_once(':'));
        let found = lines.find(|(name, _)| name.trim() == key);
        found.map(|(_, value)| value.trim().to_string()).filter(|value| !value.is_empty())
    };
    // Arm boards name the board, and not the processor.
    value("model name").or_else(|| value("Model")).or_else(|| value("Hardware"))
}

/// The memory of the machine, as Linux tells it.
fn memory(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// Writes the report as a page.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save_html(path: &Path, report: &Report) -> Fallible<()> {
    save(path, bunjae_report::html(report).map_err(Failure::new)?)
}

/// Writes the report for programs.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save_json(path: &Path, report: &Report) -> Fallible<()> {
    save(path, bunjae_report::json(report).map_err(Failure::new)?)
}

/// Writes the trade-offs of the report as a picture.
///
/// # Errors
/// There are none, as no model was scored, or the file cannot be written.
pub(crate) fn save_picture(path: &Path, report: &Report) -> Fallible<()> {
    let picture = bunjae_report::picture(report).map_err(Failure::new)?;
    let picture = picture.ok_or_else(|| {
        Failure::new("there is nothing to draw: no accuracy is known")
            .hint("`--data` scores the models on pictures")
    });
    save(path, picture?)
}

/// Writes a form of the report, whole or not at all.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn save(path: &Path, text: String) -> Fallible<()> {
    uninterrupted(|| bunjae_files::write(path, text.as_bytes())).map_err(Failure::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_read_from_what_linux_tells() {
        let cpuinfo = "processor\t: 0\nmodel\t\t: 85\nmodel name\t: A Processor @ 2 GHz\n";
        assert_eq!(processor(cpuinfo), Some("A Processor @ 2 GHz".to_string()));
        assert_eq!(processor("processor\t: 0\nModel\t\t: A Board\n"), Some("A Board".to_string()));
        assert_eq!(processor("nothing"), None);
        assert_eq!(memory("MemTotal:       1024 kB\nMemFree: 1 kB\n"), Some(1 << 20));
        assert_eq!(memory("MemTotal: lots"), None);
    }
}
