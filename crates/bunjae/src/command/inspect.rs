//! `bunjae inspect`: what is in a model.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bunjae_ir::{Bindings, Convention, Couplings, Graph, Group, Stratum, Weights};
use bunjae_onnx::metadata::{OPSET, PRODUCER_NAME, PRODUCER_VERSION};
use clap::Args;
use serde::Serialize;

use crate::command::Outcome;
use crate::command::profile::{ParameterCounts, WeightBytes};
use crate::failure::Fallible;
use crate::model::{self, Model, Tensor};
use crate::number::{bytes, first_few, plural, thousands};
use crate::output::{Output, Report};
use crate::page::{Align, Page, Table};

/// Show what is in a model
///
/// Without an option: its inputs and outputs, what it is made of, and its metadata.
#[derive(Debug, Args)]
#[command(after_help = "Example: bunjae inspect model.onnx --layers")]
pub(crate) struct Inspect {
    /// The ONNX file
    model: PathBuf,
    /// List the nodes in their order
    #[arg(long)]
    layers: bool,
    /// List which channels have to be cut together, and which cannot be cut
    #[arg(long)]
    groups: bool,
    /// Print the graph in its text form
    #[arg(long)]
    dump: bool,
    /// With --dump, print the values of all weights, so that the text parses back
    #[arg(long, requires = "dump")]
    weights: bool,
}

#[derive(Serialize)]
struct Contents {
    #[serde(flatten)]
    summary: Summary,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Layer>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Coupled>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
}

#[derive(Serialize)]
struct Summary {
    model: String,
    file: String,
    file_bytes: u64,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    /// The version of ONNX's operators that the file is written in.
    opset: Option<u32>,
    /// The program that wrote the file.
    producer: Option<String>,
    nodes: usize,
    operators: Vec<Operator>,
    /// None where the sizes that the model leaves open do not fit what was tried.
    parameters: Option<ParameterCounts>,
    weight_bytes: Option<WeightBytes>,
    metadata: BTreeMap<String, String>,
}

#[derive(Serialize)]
struct Operator {
    op: &'static str,
    count: usize,
}

#[derive(Serialize)]
struct Layer {
    name: String,
    op: &'static str,
    settings: String,
    inputs: Vec<String>,
    outputs: Vec<String>,
    parameters: Option<u64>,
}

/// Channels that layers make together.
#[derive(Serialize)]
struct Coupled {
    layers: Vec<String>,
    strata: Vec<Channels>,
}

/// Channels that exist in the same tensors.
#[derive(Serialize)]
struct Channels {
    channels: usize,
    /// Why they cannot be cut, where they cannot.
    pinned: Option<String>,
    /// Every axis that holds them, as `tensor[axis]`.
    members: Vec<String>,
    /// Those of them that are weights.
    weights: Vec<String>,
}

impl Inspect {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let model = model::load(&self.model, output)?;
        let graph = &model.graph;
        let cost = weight_cost(graph);
        let weights = if self.weights { Weights::Full } else { Weights::Elided };
        output.report(&Contents {
            summary: summary(&model, cost.as_ref()),
            layers: self.layers.then(|| layers(graph, cost.as_ref())),
            groups: self.groups.then(|| groups(graph)),
            text: self.dump.then(|| graph.to_text(weights)),
        })?;
        Ok(Outcome::Done)
    }
}

/// The cost as far as it depends on weights alone: sizes that the model leaves open are set to
/// something that fits most networks.
fn weight_cost(graph: &Graph) -> Option<bunjae_ir::Cost> {
    const FITS_MOST: usize = 256;
    let bindings: Bindings = graph.symbols().into_iter().map(|name| (name, FITS_MOST)).collect();
    graph.cost(&bindings, Convention::Exact).ok()
}

fn summary(model: &Model, cost: Option<&bunjae_ir::Cost>) -> Summary {
    let graph = &model.graph;
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for node in graph.nodes() {
        *counts.entry(node.op.name()).or_default() += 1;
    }
    let mut operators: Vec<Operator> =
        counts.into_iter().map(|(op, count)| Operator { op, count }).collect();
    let mut metadata = graph.metadata.clone();
    let opset = metadata.remove(OPSET).and_then(|opset| opset.parse().ok());
    let producer = [PRODUCER_NAME, PRODUCER_VERSION].map(|key| metadata.remove(key));
    let producer = producer.into_iter().flatten().collect::<Vec<_>>().join(" ");
    // Stable, so operators of one count stay in alphabetical order.
    operators.sort_by_key(|operator| std::cmp::Reverse(operator.count));
    Summary {
        model: graph.name.clone(),
        file: model.path.display().to_string(),
        file_bytes: model.file_bytes,
        inputs: model::inputs(graph),
        outputs: model::outputs(graph),
        opset,
        producer: (!producer.is_empty()).then_some(producer),
        nodes: graph.nodes().len(),
        operators,
        parameters: cost.map(Into::into),
        weight_bytes: cost.map(Into::into),
        metadata,
    }
}

fn layers(graph: &Graph, cost: Option<&bunjae_ir::Cost>) -> Vec<Layer> {
    let layer = |(id, node): (bunjae_ir::NodeId, &bunjae_ir::Node)| Layer {
        name: graph.node_label(id),
        op: node.op.name(),
        settings: model::settings(&node.op),
        inputs: node.inputs.iter().map(|&id| graph.label(id)).collect(),
        outputs: node.outputs.iter().map(|&id| graph.ty(id).to_string()).collect(),
        parameters: cost.and_then(|cost| cost.nodes.get(id.index())).map(|cost| cost.parameters),
    };
    graph.node_ids().map(layer).collect()
}

fn groups(graph: &Graph) -> Vec<Coupled> {
    let couplings = graph.couplings();
    let coupled = |group: &Group| Coupled {
        layers: group.producers.iter().map(|producer| graph.node_label(producer.node)).collect(),
        strata: group
            .strata
            .iter()
            .map(|stratum| channels(graph, &couplings, group, stratum))
            .collect(),
    };
    couplings.groups().iter().map(coupled).collect()
}

fn channels(graph: &Graph, couplings: &Couplings, group: &Group, stratum: &Stratum) -> Channels {
    // All channels of a stratum exist on the same axes. One that is pinned as a whole lists none.
    let axes: BTreeSet<_> = match stratum.classes.first() {
        Some(&class) => couplings.members(class).iter().map(|member| member.at).collect(),
        None => group.producers.iter().map(|producer| producer.at).collect(),
    };
    let name = |at: &bunjae_ir::TensorAxis| format!("{}[{}]", graph.label(at.tensor), at.axis);
    let is_weight = |at: &&bunjae_ir::TensorAxis| graph.weight_tensor(at.tensor).is_some();
    let first = axes.iter().next();
    let size = first.and_then(|at| graph.ty(at.tensor).dims.get(at.axis)?.fixed()).unwrap_or(0);
    Channels {
        channels: if stratum.classes.is_empty() { size } else { stratum.classes.len() },
        pinned: stratum.pin.as_ref().map(|pin| format!("{}: {}", pin.place, pin.why)),
        members: axes.iter().map(name).collect(),
        weights: axes.iter().filter(is_weight).map(name).collect(),
    }
}

impl Report for Contents {
    const COMMAND: &'static str = "inspect";

    fn write(&self, page: &mut Page) {
        // What was asked for stands alone, so that it can be piped on.
        if self.layers.is_none() && self.groups.is_none() && self.text.is_none() {
            self.summary.write(page);
        }
        if let Some(layers) = &self.layers {
            write_layers(page, layers);
        }
        if let Some(groups) = &self.groups {
            write_groups(page, groups);
        }
        if let Some(text) = &self.text {
            page.gap();
            page.raw(text);
        }
    }
}

impl Summary {
    fn write(&self, page: &mut Page) {
        let operators = self.operators.iter().map(|o| format!("{} {}", o.count, o.op));
        let operators = operators.collect::<Vec<_>>().join(", ");
        let unknown = || "unknown until its open sizes are given".to_string();
        let parameters = self.parameters.as_ref().map(|counts| {
            let zero = match counts.zero {
                0 => String::new(),
                zero => format!(", {} of them zero", thousands(zero)),
            };
            format!("{}{zero}", thousands(counts.total))
        });
        let weights = self.weight_bytes.as_ref().map(|weights| bytes(weights.total));
        let mut fields = vec![
            ("model", self.model.clone()),
            ("file", format!("{}, {}", self.file, bytes(self.file_bytes))),
        ];
        fields.extend(self.inputs.iter().map(|input| ("input", input.to_string())));
        fields.extend(self.outputs.iter().map(|output| ("output", output.to_string())));
        let opset = self.opset.map_or("not named".to_string(), |opset| opset.to_string());
        fields.push(("opset", opset));
        // Files of this program, and some of others, name none.
        fields.extend(self.producer.clone().map(|producer| ("producer", producer)));
        fields.extend([
            ("nodes", format!("{}: {operators}", thousands(self.nodes as u64))),
            ("parameters", parameters.unwrap_or_else(unknown)),
            ("weights", weights.unwrap_or_else(unknown)),
        ]);
        page.fields(fields);
        if !self.metadata.is_empty() {
            page.heading("metadata");
            page.fields(&self.metadata);
        }
    }
}

fn write_layers(page: &mut Page, layers: &[Layer]) {
    let mut table = Table::new([
        ("layer", Align::Left),
        ("operator", Align::Left),
        ("settings", Align::Left),
        ("output", Align::Left),
        ("parameters", Align::Right),
    ]);
    for layer in layers {
        table.row([
            layer.name.clone(),
            layer.op.to_string(),
            layer.settings.clone(),
            layer.outputs.join(" "),
            layer.parameters.map_or("-".to_string(), thousands),
        ]);
    }
    page.table(&table);
}

fn write_groups(page: &mut Page, groups: &[Coupled]) {
    /// The most names in a line; JSON has them all.
    const SHOWN: usize = 8;
    for (at, group) in groups.iter().enumerate() {
        let few = |items: &[String]| first_few(items.iter().map(String::as_str), SHOWN);
        page.heading(&format!("group {}", at + 1));
        page.fields([("layers", few(&group.layers))]);
        for stratum in &group.strata {
            let state = match &stratum.pinned {
                Some(reason) => format!("pinned: {reason}"),
                None => "can be cut".to_string(),
            };
            let tensors = plural(stratum.members.len(), "tensor");
            page.line(&format!("{} in {tensors}, {state}", plural(stratum.channels, "channel")));
            page.fields([("  weights", few(&stratum.weights))]);
        }
    }
}
