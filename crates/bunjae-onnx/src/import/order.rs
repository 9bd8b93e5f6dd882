//! Which nodes contribute to the outputs, in an order in which they can be computed.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use super::problem::{Place, ProblemKind};
use super::{Report, place_of};
use crate::proto::GraphProto;

/// What defines a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Definition {
    Input,
    Weight,
    Node(usize),
}

/// The part of a graph that its outputs depend on.
pub(super) struct Plan<'a> {
    /// The nodes, each after those whose results it uses; in the order of the file where that is
    /// such an order.
    pub(super) nodes: Vec<usize>,
    /// The names that these nodes and the outputs use.
    pub(super) used: BTreeSet<&'a str>,
}

/// Checks that every name has one definition, and orders the nodes.
pub(super) fn plan<'a>(graph: &'a GraphProto, report: &mut Report) -> Plan<'a> {
    let definitions = definitions(graph, report);
    let mut used: BTreeSet<&str> = BTreeSet::new();
    let mut waiting: Vec<&str> = Vec::new();
    for output in &graph.output {
        if definitions.contains_key(output.name.as_str()) {
            waiting.push(&output.name);
        } else {
            let kind = ProblemKind::Dangling(output.name.clone());
            report.add(Place::Output(output.name.clone()), kind);
        }
    }
    for (index, node) in graph.node.iter().enumerate() {
        let names = node.input.iter().filter(|name| !name.is_empty());
        for name in names.filter(|name| !definitions.contains_key(name.as_str())) {
            report.add(place_of(index, node), ProblemKind::Dangling(name.clone()));
        }
    }
    let mut needed = vec![false; graph.node.len()];
    while let Some(name) = waiting.pop() {
        if !used.insert(name) {
            continue;
        }
        if let Some(&Definition::Node(index)) = definitions.get(name)
            && !std::mem::replace(&mut needed[index], true)
        {
            waiting.extend(inputs(graph, index));
        }
    }
    let nodes = sort(graph, &definitions, &needed, report);
    Plan { nodes, used }
}

/// The names that a node uses.
fn inputs(graph: &GraphProto, index: usize) -> impl Iterator<Item = &str> {
    let names = graph.node.get(index).map_or(&[][..], |node| &node.input);
    names.iter().map(String::as_str).filter(|name| !name.is_empty())
}

fn definitions<'a>(graph: &'a GraphProto, report: &mut Report) -> BTreeMap<&'a str, Definition> {
    let mut definitions = BTreeMap::new();
    let sparse = graph.sparse_initializer.iter().filter_map(|tensor| tensor.values.as_ref());
    for tensor in graph.initializer.iter().chain(sparse) {
        if definitions.insert(tensor.name.as_str(), Definition::Weight).is_some() {
            let kind = ProblemKind::DuplicateName(tensor.name.clone());
            report.add(Place::Weight(tensor.name.clone()), kind);
        }
    }
    for input in &graph.input {
        let name = input.name.as_str();
        match definitions.get(name) {
            // Up to version 3 of the format, weights are listed among the inputs.
            Some(Definition::Weight) => {}
            Some(_) => {
                let kind = ProblemKind::DuplicateName(input.name.clone());
                report.add(Place::Input(input.name.clone()), kind);
            }
            None if name.is_empty() => {
                report.add(Place::Input(String::new()), ProblemKind::NoName);
            }
            None => {
                definitions.insert(name, Definition::Input);
            }
        }
    }
    for (index, node) in graph.node.iter().enumerate() {
        for name in node.output.iter().filter(|name| !name.is_empty()) {
            if definitions.contains_key(name.as_str()) {
                report.add(place_of(index, node), ProblemKind::DuplicateName(name.clone()));
            } else {
                definitions.insert(name, Definition::Node(index));
            }
        }
    }
    definitions
}

/// The needed nodes, of those that could come next always the first of the file.
fn sort(
    graph: &GraphProto,
    definitions: &BTreeMap<&str, Definition>,
    needed: &[bool],
    report: &mut Report,
) -> Vec<usize> {
    let producers = |index: usize| {
        inputs(graph, index).filter_map(|name| match definitions.get(name) {
            Some(&Definition::Node(producer)) => Some(producer),
            _ => None,
        })
    };
    let total = needed.iter().filter(|&&needed| needed).count();
    let mut users: Vec<Vec<usize>> = vec![Vec::new(); needed.len()];
    let mut open: Vec<usize> = vec![0; needed.len()];
    let mut ready = BinaryHeap::new();
    for index in (0..needed.len()).filter(|&index| needed[index]) {
        for producer in producers(index) {
            users[producer].push(index);
            open[index] += 1;
        }
        if open[index] == 0 {
            ready.push(Reverse(index));
        }
    }
    let mut sorted = Vec::with_capacity(total);
    while let Some(Reverse(index)) = ready.pop() {
        sorted.push(index);
        for &user in &users[index] {
            open[user] -= 1;
            if open[user] == 0 {
                ready.push(Reverse(user));
            }
        }
    }
    if sorted.len() < total {
        // A node that waits has a producer that waits; going back from one to the next ends in a
        // circle.
        let waits = |index: &usize| needed[*index] && open[*index] > 0;
        let mut seen = vec![false; needed.len()];
        let mut at = (0..needed.len()).find(waits);
        while let Some(index) = at.filter(|&index| !std::mem::replace(&mut seen[index], true)) {
            at = producers(index).find(waits);
        }
        if let Some((index, node)) = at.and_then(|index| Some((index, graph.node.get(index)?))) {
            let name = node.output.iter().find(|name| !name.is_empty()).cloned();
            report.add(place_of(index, node), ProblemKind::Cycle(name.unwrap_or_default()));
        }
    }
    sorted
}
