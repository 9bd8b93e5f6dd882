//! Models as graphs.
//!
//! Import understands every operator of the graph and the common ones of the format that can be
//! put in their terms exactly. Constants are computed at once: arithmetic on shapes by the module
//! `fold`, with sizes that may be expressions over the input's size, arithmetic on weights by the
//! interpreter. What cannot be imported is collected and reported in one error.
//!
//! # Which weights training may change
//!
//! - An initialiser of numbers may be changed, unless it is a running statistic of a batch
//!   normalisation or the scale of a quantisation, or was named in the model's metadata as frozen
//!   by export.
//! - Integers and what a `Constant` node holds may not.
//! - What is computed from several constants may be changed where one of them may.

mod attributes;
mod builder;
mod elements;
mod fold;
mod inputs;
mod lower;
mod node;
mod order;
mod problem;
mod weights;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use bunjae_ir::Graph;
use prost::bytes::Bytes;

use builder::Builder;
use inputs::Symbols;
use node::{Bound, Lowering, Outcome};
use order::Plan;

pub use problem::{ImportError, Place, Problem, ProblemKind, Problems};

use crate::external::ExternalData;
use crate::file::{Limits, read_model};
use crate::metadata;
use crate::opset::{self, NEWEST, NEWEST_IR, OLDEST, OLDEST_IR, Revision};
use crate::proto::{GraphProto, ModelProto, NodeProto};
use crate::quote;
use crate::tensor_data::DataType;
use crate::wire;

/// An imported model.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The model.
    pub graph: Graph,
    /// What was left out or changed on the way.
    pub notes: Vec<Note>,
}

/// Something that import left out or changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Initialisers that no output depends on.
    UnusedWeights(Vec<String>),
    /// So many nodes that no output depends on.
    UnusedNodes(usize),
    /// 16-bit floats of this type are computed with as 32-bit ones.
    Widened(DataType),
    /// Instructions for training, which the file holds beside the network.
    TrainingInfo,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Note::UnusedWeights(names) => {
                const LISTED: usize = 5;
                let listed: Vec<String> =
                    names.iter().take(LISTED).map(|name| quote(name)).collect();
                write!(f, "left out weights that no output depends on: {}", listed.join(", "))?;
                match names.len().saturating_sub(LISTED) {
                    0 => Ok(()),
                    more => write!(f, " and {more} more"),
                }
            }
            Note::UnusedNodes(count) => {
                write!(f, "left out nodes that no output depends on: {count}")
            }
            Note::Widened(data_type) => {
                write!(f, "{data_type} is computed with as {}", DataType::Float)
            }
            Note::TrainingInfo => write!(f, "left out the instructions for training"),
        }
    }
}

/// Imports the model at `path`.
///
/// # Errors
/// [`ImportError`] where the file cannot be read or parts of it are not supported.
pub fn import(path: &Path, limits: &Limits) -> Result<Imported, ImportError> {
    let (model, mut external) = read_model(path, limits)?;
    import_model(&model, &mut external).map_err(|mut problems| {
        problems.path = Some(path.to_owned());
        problems.into()
    })
}

/// Imports a model from the bytes of its file, which has to hold all of its tensors.
///
/// # Errors
/// As [`import`].
pub fn import_bytes(bytes: Bytes) -> Result<Imported, ImportError> {
    let model = wire::decode_model(bytes)?;
    Ok(import_model(&model, &mut ExternalData::none(0))?)
}

/// Imports a model that was read.
///
/// # Errors
/// [`Problems`] lists what is not supported.
pub fn import_model(model: &ModelProto, external: &mut ExternalData) -> Result<Imported, Problems> {
    let mut report = Report::default();
    let imported = Importer::check(model, &mut report)
        .and_then(|importer| importer.run(external, &mut report));
    match imported {
        Some(imported) if report.total == 0 => Ok(imported),
        _ => Err(Problems { path: None, listed: report.listed, total: report.total }),
    }
}

/// The problems found so far.
#[derive(Default)]
struct Report {
    listed: Vec<Problem>,
    total: usize,
}

impl Report {
    fn add(&mut self, place: Place, kind: ProblemKind) {
        if self.listed.len() < Problems::LISTED {
            self.listed.push(Problem { place, kind });
        }
        self.total += 1;
    }
}

fn place_of(index: usize, node: &NodeProto) -> Place {
    Place::Node { index, name: node.name.clone(), op: node.op_type.clone() }
}

/// What a name of the file stands for.
enum State {
    Known(Bound),
    /// Its definition had a problem, which is reported already.
    Failed,
}

struct Importer<'a> {
    model: &'a ModelProto,
    graph: &'a GraphProto,
    opset: i64,
    builder: Builder,
    values: BTreeMap<&'a str, State>,
}

impl<'a> Importer<'a> {
    fn check(model: &'a ModelProto, report: &mut Report) -> Option<Self> {
        if !(OLDEST_IR..=NEWEST_IR).contains(&model.ir_version) {
            report.add(Place::Model, ProblemKind::IrVersion(model.ir_version));
        }
        let standard = model.opset_import.iter().filter(|set| is_standard(&set.domain));
        let opset = standard.map(|set| set.version).max();
        match opset {
            None => report.add(Place::Model, ProblemKind::NoOpset),
            Some(opset) if !(OLDEST..=NEWEST).contains(&opset) => {
                report.add(Place::Model, ProblemKind::Opset(opset));
            }
            Some(_) => {}
        }
        let Some(graph) = &model.graph else {
            report.add(Place::Model, ProblemKind::NoGraph);
            return None;
        };
        if graph.output.is_empty() {
            report.add(Place::Model, ProblemKind::NoOutputs);
        }
        // Without the versions, nothing in the graph has a meaning.
        let builder = Builder::new(&graph.name);
        let opset = opset.filter(|_| report.total == 0)?;
        Some(Importer { model, graph, opset, builder, values: BTreeMap::new() })
    }

    fn run(mut self, external: &mut ExternalData, report: &mut Report) -> Option<Imported> {
        let plan = order::plan(self.graph, report);
        self.inputs(report);
        let unused = self.weights(&plan, external, report);
        self.nodes(&plan, report);

        let outputs: Vec<_> = self
            .graph
            .output
            .iter()
            .filter_map(|output| match self.values.get(output.name.as_str()) {
                Some(State::Known(Bound { operand, expanded: None })) => {
                    Some((output.name.as_str(), *operand))
                }
                Some(State::Known(_)) => {
                    report.add(Place::Output(output.name.clone()), ProblemKind::Expanded);
                    None
                }
                _ => None,
            })
            .collect();
        if report.total > 0 {
            return None;
        }
        let widened = std::mem::take(&mut self.builder.widened);
        let mut notes: Vec<Note> = widened.iter().copied().map(Note::Widened).collect();
        if !unused.is_empty() {
            notes.push(Note::UnusedWeights(unused));
        }
        match self.graph.node.len() - plan.nodes.len() {
            0 => {}
            count => notes.push(Note::UnusedNodes(count)),
        }
        if !self.model.training_info.is_empty() {
            notes.push(Note::TrainingInfo);
        }
        match self.builder.finish(&outputs) {
            Ok(mut graph) => {
                graph.metadata = metadata_of(self.model, self.graph, self.opset, &widened);
                Some(Imported { graph, notes })
            }
            Err(builder::Finish { output, kind }) => {
                let name = outputs.get(output).map_or("", |(name, _)| name);
                report.add(Place::Output(name.to_owned()), kind);
                None
            }
        }
    }

    fn inputs(&mut self, report: &mut Report) {
        let weights: BTreeSet<&str> =
            self.graph.initializer.iter().map(|tensor| tensor.name.as_str()).collect();
        let inputs: Vec<_> = self
            .graph
            .input
            .iter()
            .filter(|input| !weights.contains(input.name.as_str()))
            .collect();
        let mut symbols = Symbols::default();
        symbols.name_all(inputs.iter().copied());
        for input in inputs {
            if self.values.contains_key(input.name.as_str()) {
                continue;
            }
            let ty = inputs::input_type(&mut self.builder, &mut symbols, input);
            let state = match ty.and_then(|ty| self.builder.input(&input.name, ty)) {
                Ok(operand) => State::Known(operand.into()),
                Err(kind) => {
                    report.add(Place::Input(input.name.clone()), kind);
                    State::Failed
                }
            };
            self.values.insert(&input.name, state);
        }
    }

    /// Reads the initialisers that are used, and returns the names of the others.
    fn weights(
        &mut self,
        plan: &Plan<'_>,
        external: &mut ExternalData,
        report: &mut Report,
    ) -> Vec<String> {
        let entries = self.model.metadata_props.iter();
        let frozen = entries.filter(|entry| entry.key == metadata::FROZEN);
        let frozen: BTreeSet<&str> = frozen.flat_map(|entry| entry.value.lines()).collect();
        let mut unused = Vec::new();
        for (place, tensor) in self.graph.initializer.iter().enumerate() {
            let name = tensor.name.as_str();
            if !plan.used.contains(name) {
                unused.push(tensor.name.clone());
                continue;
            }
            let frozen = frozen.contains(name);
            let state = match weights::read(&mut self.builder, tensor, external) {
                Ok(known) => {
                    State::Known(self.builder.literal(known, name, Some(place), frozen).into())
                }
                Err(kind) => {
                    report.add(Place::Weight(tensor.name.clone()), kind);
                    State::Failed
                }
            };
            self.values.insert(name, state);
        }
        for tensor in &self.graph.sparse_initializer {
            let name = tensor.values.as_ref().map_or("", |values| values.name.as_str());
            if plan.used.contains(name) {
                let kind = ProblemKind::NotATensor("stored as a sparse tensor");
                report.add(Place::Weight(name.to_owned()), kind);
                self.values.insert(name, State::Failed);
            }
        }
        unused
    }

    fn nodes(&mut self, plan: &Plan<'a>, report: &mut Report) {
        let others = repeated(self.graph, plan);
        for &index in &plan.nodes {
            let Some(node) = self.graph.node.get(index) else { continue };
            let result = node.output.first().is_some_and(|name| others.contains(name.as_str()));
            let outcome = self.node(node, plan, !result);
            let results = outcome.unwrap_or_else(|kind| {
                report.add(place_of(index, node), kind);
                None
            });
            for (at, name) in node.output.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                let bound = results.as_ref().and_then(|results| results.get(at)?.clone());
                if results.is_some() && bound.is_none() && plan.used.contains(name.as_str()) {
                    report.add(place_of(index, node), ProblemKind::NoSuchResult(at));
                }
                self.values.insert(name, bound.map_or(State::Failed, State::Known));
            }
        }
    }

    /// The results of a node; `None` where one of its operands had a problem.
    fn node(
        &mut self,
        node: &'a NodeProto,
        plan: &Plan<'a>,
        only_arithmetic: bool,
    ) -> Outcome<Option<Vec<Option<Bound>>>> {
        let op = node.op_type.as_str();
        if !is_standard(&node.domain) {
            let is_function = |name: &str, domain: &str| name == op && domain == node.domain;
            let mut functions = self.model.functions.iter();
            return Err(match functions.any(|f| is_function(&f.name, &f.domain)) {
                true => ProblemKind::Function,
                false => ProblemKind::Domain(node.domain.clone()),
            });
        }
        let rule = lower::rule(op)?;
        let since = match opset::revision(op, self.opset) {
            Revision::Since(since) => since,
            Revision::NotYet(since) => {
                return Err(ProblemKind::NotYet { since, opset: self.opset });
            }
            Revision::Removed(gone) => {
                return Err(ProblemKind::Removed { gone, opset: self.opset });
            }
            Revision::Unknown => return Err(ProblemKind::UnknownOperator),
        };
        let mut inputs = Vec::with_capacity(node.input.len());
        for name in &node.input {
            inputs.push(match self.values.get(name.as_str()) {
                _ if name.is_empty() => None,
                Some(State::Known(bound)) => Some(bound.clone()),
                Some(State::Failed) | None => return Ok(None),
            });
        }
        let used = node.output.iter().map(|name| plan.used.contains(name.as_str())).collect();
        let mut lowering =
            Lowering::new(&mut self.builder, node, since, inputs, used, only_arithmetic);
        if !fold::evaluate(&mut lowering)? {
            rule(&mut lowering)?;
        }
        lowering.finish().map(Some)
    }
}

/// The names that something else than arithmetic on two operands uses, which needs every element of
/// an expanded tensor to be there.
fn repeated<'a>(graph: &'a GraphProto, plan: &Plan<'a>) -> BTreeSet<&'a str> {
    let nodes = plan.nodes.iter().filter_map(|&index| graph.node.get(index));
    let others = nodes
        .filter(|node| !matches!(node.op_type.as_str(), "Add" | "Sub" | "Mul" | "Div" | "Shape"));
    let inputs = others.flat_map(|node| &node.input).map(String::as_str);
    inputs.chain(graph.output.iter().map(|output| output.name.as_str())).collect()
}

fn is_standard(domain: &str) -> bool {
    matches!(domain, "" | "ai.onnx")
}

fn metadata_of(
    model: &ModelProto,
    graph: &GraphProto,
    opset: i64,
    widened: &BTreeSet<DataType>,
) -> BTreeMap<String, String> {
    let entries = model.metadata_props.iter().filter(|entry| entry.key != metadata::FROZEN);
    let mut result: BTreeMap<String, String> =
        entries.map(|entry| (entry.key.clone(), entry.value.clone())).collect();
    let version = match model.model_version {
        0 => String::new(),
        version => version.to_string(),
    };
    // Of its own files, this program does not record that it wrote them.
    let own = model.producer_name == metadata::PRODUCER;
    let producer = |text: &String| if own { String::new() } else { text.clone() };
    let fields = [
        (metadata::OPSET, opset.to_string()),
        (metadata::PRODUCER_NAME, producer(&model.producer_name)),
        (metadata::PRODUCER_VERSION, producer(&model.producer_version)),
        (metadata::DOMAIN, model.domain.clone()),
        (metadata::MODEL_VERSION, version),
        (metadata::DOC_STRING, model.doc_string.clone()),
        (metadata::GRAPH_DOC_STRING, graph.doc_string.clone()),
    ];
    for (key, value) in fields {
        // A file may hold anything under these keys; the fields count.
        result.remove(key);
        if !value.is_empty() {
            result.insert(key.to_owned(), value);
        }
    }
    if !widened.is_empty() {
        let names: Vec<&str> = widened.iter().map(|data_type| data_type.name()).collect();
        result.insert(metadata::WIDENED_FROM.to_owned(), names.join(","));
    }
    result
}
