//! `bunjae profile`: what a model costs.

use std::path::PathBuf;

use bunjae_ir::{Convention, Cost};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use serde::Serialize;

use crate::args::Sizes;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::model::{self, Model};
use crate::number::{bytes, percent, thousands};
use crate::output::{Output, Report};
use crate::page::{Align, Page, Table};

/// Count what a model costs: parameters, MACs, bytes, memory, for each layer
///
/// A MAC is one multiplication whose product is added up; a FLOP counts the multiplication and the
/// addition apart. The exact rule counts convolutions, linear layers and matrix products and nothing
/// else; `thop` and `torch-pruning` count as those tools do. The memory is that of inputs and
/// results alive at the same time in the order of the graph, nothing computed in place.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae profile model.onnx --batch 8 --format json")]
pub(crate) struct Profile {
    /// The ONNX file
    model: PathBuf,
    /// By which rule MACs are counted
    #[arg(
        long,
        default_value = "exact",
        value_name = "RULE",
        value_parser = PossibleValuesParser::new(Convention::ALL.map(Convention::name))
            .map(|name| Convention::from_name(&name).unwrap_or_default()),
    )]
    convention: Convention,
    #[command(flatten)]
    sizes: Sizes,
}

#[derive(Serialize)]
struct Costs {
    model: String,
    file: String,
    convention: &'static str,
    sizes: bunjae_ir::Bindings,
    parameters: ParameterCounts,
    macs: u64,
    flops: u64,
    weight_bytes: WeightBytes,
    file_bytes: u64,
    peak_activation_bytes: u64,
    peak_activation_layer: Option<String>,
    layers: Vec<Layer>,
}

/// Numbers of parameters.
#[derive(Serialize)]
pub(super) struct ParameterCounts {
    pub(super) total: u64,
    pub(super) zero: u64,
    pub(super) nonzero: u64,
    pub(super) trainable: u64,
}

/// Bytes of weights by what they are for.
#[derive(Serialize)]
pub(super) struct WeightBytes {
    pub(super) total: u64,
    pub(super) parameters: u64,
    pub(super) buffers: u64,
    pub(super) constants: u64,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    op: &'static str,
    outputs: Vec<Vec<usize>>,
    parameters: u64,
    macs: u64,
    activation_bytes: u64,
    live_bytes: u64,
}

impl From<&Cost> for ParameterCounts {
    fn from(cost: &Cost) -> Self {
        let counts = &cost.parameters;
        ParameterCounts {
            total: counts.total,
            zero: counts.zero,
            nonzero: counts.nonzero(),
            trainable: counts.trainable,
        }
    }
}

impl From<&Cost> for WeightBytes {
    fn from(cost: &Cost) -> Self {
        let bytes = &cost.weights;
        WeightBytes {
            total: bytes.total(),
            parameters: bytes.parameters,
            buffers: bytes.buffers,
            constants: bytes.constants,
        }
    }
}

impl Profile {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let Model { path, graph, file_bytes, .. } = model::load(&self.model, output)?;
        let bindings = self.sizes.bindings(&[&graph])?;
        let cost = graph.cost(&bindings, self.convention).map_err(Failure::new)?;
        let peak = cost.peak.node.map(|node| graph.node_label(node));
        let (parameters, weight_bytes, flops) = ((&cost).into(), (&cost).into(), cost.flops());
        let layers = cost.nodes.into_iter().map(|node| Layer {
            name: node.label,
            op: node.op,
            outputs: node.outputs,
            parameters: node.parameters,
            macs: node.macs,
            activation_bytes: node.activation_bytes,
            live_bytes: node.live_bytes,
        });
        output.report(&Costs {
            model: graph.name,
            file: path.display().to_string(),
            convention: cost.convention.name(),
            sizes: bindings,
            parameters,
            macs: cost.macs,
            flops,
            weight_bytes,
            file_bytes,
            peak_activation_bytes: cost.peak.bytes,
            peak_activation_layer: peak,
            layers: layers.collect(),
        })?;
        Ok(Outcome::Done)
    }
}

impl Report for Costs {
    const COMMAND: &'static str = "profile";

    fn write(&self, page: &mut Page) {
        let sizes: Vec<String> =
            self.sizes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let at = self.peak_activation_layer.as_ref().map(|layer| format!(", at {layer}"));
        let mut fields = vec![
            ("model", self.model.clone()),
            ("file", format!("{}, {}", self.file, bytes(self.file_bytes))),
        ];
        if !sizes.is_empty() {
            fields.push(("sizes", sizes.join(" ")));
        }
        fields.extend([
            ("parameters", thousands(self.parameters.total)),
            ("  zero", thousands(self.parameters.zero)),
            ("  non-zero", thousands(self.parameters.nonzero)),
            ("  trainable", thousands(self.parameters.trainable)),
            ("weights", bytes(self.weight_bytes.total)),
            ("MACs", format!("{} ({} rule)", thousands(self.macs), self.convention)),
            ("FLOPs", format!("{} (2 x MACs)", thousands(self.flops))),
            (
                "peak memory for activations",
                format!("{}{}", bytes(self.peak_activation_bytes), at.unwrap_or_default()),
            ),
        ]);
        page.fields(fields);
        page.gap();
        let mut table = Table::new([
            ("layer", Align::Left),
            ("operator", Align::Left),
            ("output", Align::Left),
            ("parameters", Align::Right),
            ("MACs", Align::Right),
            ("of all", Align::Right),
            ("result bytes", Align::Right),
            ("live bytes", Align::Right),
        ]);
        for layer in &self.layers {
            let shape = |shape: &Vec<usize>| {
                shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x")
            };
            table.row([
                layer.name.clone(),
                layer.op.to_string(),
                layer.outputs.iter().map(shape).collect::<Vec<_>>().join(" "),
                thousands(layer.parameters),
                thousands(layer.macs),
                percent(layer.macs as f64 / self.macs.max(1) as f64),
                thousands(layer.activation_bytes),
                thousands(layer.live_bytes),
            ]);
        }
        page.table(&table);
    }
}
