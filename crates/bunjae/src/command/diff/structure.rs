//! Where two graphs differ in what they are made of.

use std::collections::BTreeMap;

use bunjae_ir::{Graph, NodeId, Source, TensorId, TensorType};
use bunjae_tensor::{Tensor, Tolerance, compare};
use serde::Serialize;

use crate::model;
use crate::number::{difference, thousands};
use crate::page::{Page, Tone, printable};

/// The most changes of one kind that text shows unasked.
const SHOWN: usize = 10;

/// The differences by kind.
#[derive(Serialize)]
pub(super) struct Structure {
    inputs: Changes,
    outputs: Changes,
    nodes: Changes,
    weights: Changes,
    metadata: Changes,
}

/// What changed from A to B among things that have names.
#[derive(Default, Serialize)]
struct Changes {
    same: usize,
    removed: Vec<Thing>,
    added: Vec<Thing>,
    changed: Vec<Thing>,
}

#[derive(Serialize)]
struct Thing {
    name: String,
    /// What it is, or how it changed.
    what: String,
}

impl Structure {
    pub(super) fn compare(a: &Graph, b: &Graph) -> Structure {
        Structure {
            inputs: Changes::of(a, b, inputs, type_change, type_text),
            outputs: Changes::of(a, b, outputs, type_change, type_text),
            nodes: Changes::of(a, b, nodes, node_change, |graph, &node| {
                graph.node(node).op.name().to_string()
            }),
            weights: Changes::of(a, b, weights, weight_change, type_text),
            metadata: Changes::of(
                a,
                b,
                |graph| graph.metadata.iter().map(|(key, value)| (key.clone(), value)).collect(),
                |_, a, _, b| (a != b).then(|| format!("{} became {}", short(a), short(b))),
                |_, value| short(value),
            ),
        }
    }

    fn parts(&self) -> [(&'static str, &Changes); 5] {
        [
            ("inputs", &self.inputs),
            ("outputs", &self.outputs),
            ("nodes", &self.nodes),
            ("weights", &self.weights),
            ("metadata", &self.metadata),
        ]
    }

    pub(super) fn is_same(&self) -> bool {
        self.parts().iter().all(|(_, changes)| changes.is_empty())
    }

    pub(super) fn write(&self, page: &mut Page, all: bool) {
        page.heading("structure, from A to B");
        for (what, changes) in self.parts() {
            let Changes { same, removed, added, changed } = changes;
            if changes.is_empty() {
                page.line(&format!("{what}: {}, the same", thousands(*same as u64)));
                continue;
            }
            page.line(&format!(
                "{what}: {} removed, {} added, {} changed, {} the same",
                thousands(removed.len() as u64),
                thousands(added.len() as u64),
                thousands(changed.len() as u64),
                thousands(*same as u64)
            ));
            let lists = [
                ("-", Tone::Bad, removed),
                ("+", Tone::Good, added),
                ("~", Tone::Changed, changed),
            ];
            for (sign, tone, things) in lists {
                let shown = if all { things.len() } else { SHOWN };
                for Thing { name, what } in things.iter().take(shown) {
                    let line = format!("  {sign} {}: {}", printable(name), printable(what));
                    page.toned(tone, &line);
                }
                if things.len() > shown {
                    let more = thousands((things.len() - shown) as u64);
                    page.line(&format!("  {sign} and {more} more, which --all shows"));
                }
            }
        }
    }
}

impl Changes {
    /// Compares what `list` finds in each graph, by name and in its order.
    fn of<'g, T>(
        a: &'g Graph,
        b: &'g Graph,
        list: impl Fn(&'g Graph) -> Vec<(String, T)>,
        change: impl Fn(&Graph, &T, &Graph, &T) -> Option<String>,
        describe: impl Fn(&Graph, &T) -> String,
    ) -> Changes {
        let (list_a, list_b) = (list(a), list(b));
        let by_name: BTreeMap<&str, &T> =
            list_b.iter().map(|(name, item)| (name.as_str(), item)).collect();
        let known: BTreeMap<&str, &T> =
            list_a.iter().map(|(name, item)| (name.as_str(), item)).collect();
        let mut changes = Changes::default();
        for (name, item) in &list_a {
            let name = name.clone();
            match by_name.get(name.as_str()) {
                None => changes.removed.push(Thing { name, what: describe(a, item) }),
                Some(other) => match change(a, item, b, other) {
                    None => changes.same += 1,
                    Some(what) => changes.changed.push(Thing { name, what }),
                },
            }
        }
        for (name, item) in list_b.iter().filter(|(name, _)| !known.contains_key(name.as_str())) {
            changes.added.push(Thing { name: name.clone(), what: describe(b, item) });
        }
        changes
    }

    fn is_empty(&self) -> bool {
        self.removed.is_empty() && self.added.is_empty() && self.changed.is_empty()
    }
}

fn inputs(graph: &Graph) -> Vec<(String, TensorId)> {
    graph.inputs().iter().map(|&id| (graph.label(id), id)).collect()
}

fn outputs(graph: &Graph) -> Vec<(String, TensorId)> {
    graph.outputs().iter().map(|output| (output.name.clone(), output.tensor)).collect()
}

fn weights(graph: &Graph) -> Vec<(String, TensorId)> {
    graph.weights().iter().map(|&id| (graph.label(id), id)).collect()
}

fn nodes(graph: &Graph) -> Vec<(String, NodeId)> {
    graph.node_ids().map(|(id, _)| (graph.node_label(id), id)).collect()
}

fn type_text(graph: &Graph, &id: &TensorId) -> String {
    graph.ty(id).to_string()
}

fn type_change(a: &Graph, &in_a: &TensorId, b: &Graph, &in_b: &TensorId) -> Option<String> {
    let (a, b) = (a.ty(in_a), b.ty(in_b));
    (a != b).then(|| format!("{a} became {b}"))
}

fn may_be_equal(a: &TensorType, b: &TensorType) -> bool {
    let sizes = || a.dims.iter().zip(&b.dims);
    a.dtype == b.dtype && a.rank() == b.rank() && sizes().all(|(a, b)| a.may_equal(b))
}

fn node_change(a: &Graph, &in_a: &NodeId, b: &Graph, &in_b: &NodeId) -> Option<String> {
    let (node_a, node_b) = (a.node(in_a), b.node(in_b));
    let mut changes = Vec::new();
    if node_a.op != node_b.op {
        let text = |op: &bunjae_ir::Op| format!("{} {{{}}}", op.name(), model::settings(op));
        changes.push(format!("{} became {}", text(&node_a.op), text(&node_b.op)));
    }
    let operands = |graph: &Graph, ids: &[TensorId]| {
        ids.iter().map(|&id| graph.label(id)).collect::<Vec<_>>().join(", ")
    };
    let (from_a, from_b) = (operands(a, &node_a.inputs), operands(b, &node_b.inputs));
    if from_a != from_b {
        changes.push(format!("takes ({from_b}) instead of ({from_a})"));
    }
    for (in_a, in_b) in node_a.outputs.iter().zip(&node_b.outputs) {
        // A size that one model leaves open and the other fixes differs at the input already.
        if !may_be_equal(a.ty(*in_a), b.ty(*in_b)) {
            changes.extend(type_change(a, in_a, b, in_b));
        }
    }
    if node_a.outputs.len() != node_b.outputs.len() {
        let (a, b) = (node_a.outputs.len(), node_b.outputs.len());
        changes.push(format!("{a} results became {b}"));
    }
    (!changes.is_empty()).then(|| changes.join("; "))
}

fn weight_change(a: &Graph, &in_a: &TensorId, b: &Graph, &in_b: &TensorId) -> Option<String> {
    if let Some(change) = type_change(a, &in_a, b, &in_b) {
        return Some(change);
    }
    let mut changes = Vec::new();
    if let (Some(a), Some(b)) = (a.weight_tensor(in_a), b.weight_tensor(in_b)) {
        changes.extend(value_change(a, b));
    }
    let frozen = |graph: &Graph, id| {
        matches!(graph.value(id).source, Source::Weight { trainable: false, .. })
    };
    match (frozen(a, in_a), frozen(b, in_b)) {
        (true, false) => changes.push("no longer frozen".to_string()),
        (false, true) => changes.push("now frozen".to_string()),
        _ => {}
    }
    (!changes.is_empty()).then(|| changes.join("; "))
}

fn value_change(a: &Tensor, b: &Tensor) -> Option<String> {
    if a.bytes() == b.bytes() {
        return None;
    }
    match compare(a, b, Tolerance::EXACT) {
        Ok(found) if found.outside > 0 => {
            let (outside, all) = (thousands(found.outside as u64), thousands(a.len() as u64));
            let by = difference(found.largest);
            Some(format!("{outside} of {all} values differ, by up to {by}"))
        }
        Ok(_) => Some("only the signs of zeros differ".to_string()),
        Err(why) => Some(why),
    }
}

/// Metadata may be pages long.
fn short(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.chars().count() {
        count if count <= LONGEST => format!("`{text}`"),
        count => {
            let head: String = text.chars().take(LONGEST).collect();
            format!("`{head}...` ({count} characters)")
        }
    }
}
