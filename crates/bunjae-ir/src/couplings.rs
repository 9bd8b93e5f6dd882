//! Which channels of a whole graph have to be removed together.
//!
//! Every operator's [`Relation`]s, joined by union-find over (tensor, axis, index), give classes:
//! a class is one channel in all the places where it exists. A class is *pinned* where something
//! keeps it from being removed; the reason is kept.
//!
//! Classes are gathered into [`Group`]s, the unit a pruner ranks and cuts: all the classes that
//! one layer produces, and with them those of every layer that shares one (through a residual
//! addition, a grouped convolution, a squeeze-and-excite).

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::graph::{Graph, NodeId, Source, TensorId};
use crate::relation::{Axis, Operand, Relation};

/// One axis of one tensor of a graph.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TensorAxis {
    /// The tensor.
    pub tensor: TensorId,
    /// The axis.
    pub axis: usize,
}

/// One channel in all the places where it exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(u32);

impl ClassId {
    /// The place in side tables of length [`Couplings::class_count`].
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// One place where a channel exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Member {
    /// The axis.
    pub at: TensorAxis,
    /// The index on it.
    pub index: usize,
}

/// Why a channel cannot be removed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pin {
    /// The node or tensor that keeps it.
    pub place: String,
    /// The reason, as a clause: "it is normalised over".
    pub why: String,
}

/// A weight axis that makes channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Producer {
    /// The axis of the weight.
    pub at: TensorAxis,
    /// The first node that uses it so.
    pub node: NodeId,
}

/// Channels that exist in exactly the same tensors, so that removing any of them has the same
/// effect on every shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stratum {
    /// The channels, in the order of their first producer.
    pub classes: Vec<ClassId>,
    /// What keeps them, where something does.
    pub pin: Option<Pin>,
}

/// The channels that a set of coupled layers produces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// The layers' weight axes, in the order of the graph.
    pub producers: Vec<Producer>,
    /// The channels, split by where they exist and whether they are pinned. One stratum in plain
    /// and residual networks; more where an axis is split, joined or padded.
    pub strata: Vec<Stratum>,
}

/// What to remove from a graph, and where masking would zero instead.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// The sorted indices that leave each axis.
    pub removed: BTreeMap<TensorAxis, Vec<usize>>,
    /// Which of those axes are weight axes that are summed over.
    pub contracting: BTreeSet<TensorAxis>,
}

impl Cut {
    /// The sorted indices that leave an axis.
    pub fn of(&self, tensor: TensorId, axis: usize) -> &[usize] {
        self.removed.get(&TensorAxis { tensor, axis }).map_or(&[], Vec::as_slice)
    }

    /// True where nothing is removed.
    pub fn is_empty(&self) -> bool {
        self.removed.is_empty()
    }
}

/// Why some channels cannot be removed together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CutError {
    /// A channel is pinned.
    #[error("channel {index} of {tensor} cannot be removed: {place}: {why}")]
    Pinned {
        /// A tensor that holds it.
        tensor: String,
        /// Its index there.
        index: usize,
        /// The node or tensor that keeps it.
        place: String,
        /// The reason.
        why: String,
    },
    /// Nothing would be left of an axis.
    #[error("axis {axis} of {tensor} would lose all its {size} indices")]
    Emptied {
        /// The tensor.
        tensor: String,
        /// The axis.
        axis: usize,
        /// Its length.
        size: usize,
    },
}

/// The couplings of one graph.
#[derive(Clone, Debug)]
pub struct Couplings {
    /// By tensor and axis: the class of each index; empty for an axis that is pinned as a whole.
    classes: Vec<Vec<Vec<ClassId>>>,
    members: Vec<Vec<Member>>,
    pins: Vec<Option<Pin>>,
    contracting: BTreeSet<TensorAxis>,
    groups: Vec<Group>,
}

/// Longer axes are not channels; they are pinned, which keeps a hostile shape from taking memory.
const MAX_CHANNELS: usize = 1 << 20;

impl Graph {
    /// Which channels have to be removed together.
    pub fn couplings(&self) -> Couplings {
        Couplings::with_relations(self, |node| self.relations(node))
    }

    /// The relations of one node's axes.
    pub fn relations(&self, node: NodeId) -> Vec<Relation> {
        let node = self.node(node);
        let inputs: Vec<_> = node.inputs.iter().map(|&id| self.ty(id)).collect();
        let weights: Vec<_> =
            node.inputs.iter().map(|&id| self.weight_tensor(id).is_some()).collect();
        let outputs: Vec<_> = node.outputs.iter().map(|&id| self.ty(id)).collect();
        node.op.relations(&inputs, &weights, &outputs)
    }
}

impl Couplings {
    /// The couplings under other relations than the operators' own. Tests use it to show that a
    /// wrong relation is found out.
    pub fn with_relations(graph: &Graph, relations: impl Fn(NodeId) -> Vec<Relation>) -> Couplings {
        let mut analysis = Analysis::new(graph);
        analysis.collect(relations);
        analysis.spread_pins();
        analysis.resolve_merges();
        analysis.join()
    }

    /// The number of classes.
    pub fn class_count(&self) -> usize {
        self.members.len()
    }

    /// The class of one index; `None` where the whole axis is pinned.
    pub fn class(&self, tensor: TensorId, axis: usize, index: usize) -> Option<ClassId> {
        self.classes.get(tensor.index())?.get(axis)?.get(index).copied()
    }

    /// The places where a channel exists, sorted.
    pub fn members(&self, class: ClassId) -> &[Member] {
        &self.members[class.index()]
    }

    /// What keeps a channel, where something does.
    pub fn pin(&self, class: ClassId) -> Option<&Pin> {
        self.pins[class.index()].as_ref()
    }

    /// True for a weight axis that is summed over.
    pub fn is_contracting(&self, at: TensorAxis) -> bool {
        self.contracting.contains(&at)
    }

    /// The groups, in the order of their first layer.
    pub fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// What the removal of the given channels takes out of each tensor.
    ///
    /// # Errors
    /// [`CutError::Pinned`], [`CutError::Emptied`].
    pub fn cut(
        &self,
        graph: &Graph,
        classes: impl IntoIterator<Item = ClassId>,
    ) -> Result<Cut, CutError> {
        let classes: BTreeSet<ClassId> = classes.into_iter().collect();
        let mut cut = Cut::default();
        for class in classes {
            if let (Some(pin), Some(member)) = (self.pin(class), self.members(class).first()) {
                return Err(CutError::Pinned {
                    tensor: graph.label(member.at.tensor),
                    index: member.index,
                    place: pin.place.clone(),
                    why: pin.why.clone(),
                });
            }
            for member in self.members(class) {
                cut.removed.entry(member.at).or_default().push(member.index);
                if self.is_contracting(member.at) {
                    cut.contracting.insert(member.at);
                }
            }
        }
        for (at, indices) in &mut cut.removed {
            indices.sort_unstable();
            let size = self.classes[at.tensor.index()][at.axis].len();
            if indices.len() >= size {
                let tensor = graph.label(at.tensor);
                return Err(CutError::Emptied { tensor, axis: at.axis, size });
            }
        }
        Ok(cut)
    }
}

/// Union-find over slots; the smallest slot of a set is its root, so that the result does not
/// depend on the order of the unions.
struct Sets(Vec<u32>);

impl Sets {
    fn new(count: usize) -> Self {
        Sets((0..u32::try_from(count).unwrap_or(u32::MAX)).collect())
    }

    fn root(&mut self, slot: usize) -> usize {
        let mut at = slot;
        while self.0[at] as usize != at {
            self.0[at] = self.0[self.0[at] as usize];
            at = self.0[at] as usize;
        }
        at
    }

    fn union(&mut self, a: usize, b: usize) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.0[high] = self.0[low];
    }
}

/// A relation with its axes as slots of the graph.
enum Link {
    Same(usize, usize),
    Span { part: usize, whole: usize, offset: usize, repeat: usize },
    Block { axis: usize, size: usize },
}

struct Merge {
    place: NodeId,
    parts: Vec<usize>,
    whole: usize,
}

struct Analysis<'a> {
    graph: &'a Graph,
    /// By tensor: the slot of its first axis.
    first_axis: Vec<usize>,
    axes: Vec<TensorAxis>,
    /// By axis slot: its length, 0 where it is dynamic.
    sizes: Vec<usize>,
    axis_sets: Sets,
    /// By root axis slot.
    axis_pins: Vec<Option<Pin>>,
    links: Vec<Link>,
    merges: Vec<Merge>,
    producers: Vec<Producer>,
    contracting: BTreeSet<TensorAxis>,
}

impl<'a> Analysis<'a> {
    fn new(graph: &'a Graph) -> Self {
        let mut first_axis = Vec::with_capacity(graph.value_count());
        let (mut axes, mut sizes) = (Vec::new(), Vec::new());
        for (tensor, value) in graph.values() {
            first_axis.push(axes.len());
            for (axis, dim) in value.ty.dims.iter().enumerate() {
                axes.push(TensorAxis { tensor, axis });
                sizes.push(dim.fixed().unwrap_or(0));
            }
        }
        Analysis {
            graph,
            first_axis,
            axis_sets: Sets::new(axes.len()),
            axis_pins: vec![None; axes.len()],
            axes,
            sizes,
            links: Vec::new(),
            merges: Vec::new(),
            producers: Vec::new(),
            contracting: BTreeSet::new(),
        }
    }

    fn slot(&self, at: TensorAxis) -> usize {
        self.first_axis[at.tensor.index()] + at.axis
    }

    fn pin(&mut self, axis: usize, pin: Pin) {
        let root = self.axis_sets.root(axis);
        self.axis_pins[root].get_or_insert(pin);
    }

    fn pinned(&mut self, axis: usize) -> Option<Pin> {
        let root = self.axis_sets.root(axis);
        self.axis_pins[root].clone()
    }

    /// Translates the relations of every node into links between axes of the graph, joins axes
    /// that are the same, and pins what nodes and the graph's border pin.
    fn collect(&mut self, relations: impl Fn(NodeId) -> Vec<Relation>) {
        let graph = self.graph;
        let mut pins: Vec<(usize, Pin)> = Vec::new();
        let mut produced = BTreeSet::new();
        for (id, node) in graph.node_ids() {
            let place = |why: &str| Pin { place: graph.node_label(id), why: why.to_string() };
            let tensor_axis = |axis: Axis| {
                let tensor = match axis.of {
                    Operand::In(at) => node.inputs[at],
                    Operand::Out(at) => node.outputs[at],
                };
                TensorAxis { tensor, axis: axis.axis }
            };
            for relation in relations(id) {
                match relation {
                    Relation::Same(a, b) => {
                        let (a, b) = (self.slot(tensor_axis(a)), self.slot(tensor_axis(b)));
                        self.axis_sets.union(a, b);
                        self.links.push(Link::Same(a, b));
                    }
                    Relation::Span { part, whole, offset, repeat } => {
                        let part = self.slot(tensor_axis(part));
                        let whole = self.slot(tensor_axis(whole));
                        self.links.push(Link::Span { part, whole, offset, repeat });
                    }
                    Relation::Merge { parts, whole } => {
                        let slot = |axis| self.slot(tensor_axis(axis));
                        let (parts, whole) = (parts.into_iter().map(slot).collect(), slot(whole));
                        self.merges.push(Merge { place: id, parts, whole });
                    }
                    Relation::Block { axis, size } => {
                        self.links.push(Link::Block { axis: self.slot(tensor_axis(axis)), size });
                    }
                    Relation::Produces(axis) => {
                        let at = tensor_axis(axis);
                        if graph.weight_tensor(at.tensor).is_some() && produced.insert(at) {
                            self.producers.push(Producer { at, node: id });
                        }
                    }
                    Relation::Contracts(axis) => {
                        let at = tensor_axis(axis);
                        if graph.weight_tensor(at.tensor).is_some() {
                            self.contracting.insert(at);
                        } else {
                            let why = "its weight is computed, so no channel of it can be zeroed";
                            pins.push((self.slot(at), place(why)));
                        }
                    }
                    Relation::Pinned { axis, why } => {
                        pins.push((self.slot(tensor_axis(axis)), place(why)));
                    }
                }
            }
        }
        for (id, value) in graph.values() {
            let input = matches!(value.source, Source::Input { .. });
            for axis in 0..value.ty.rank() {
                let slot = self.slot(TensorAxis { tensor: id, axis });
                let pin = |why: &str| Pin { place: graph.label(id), why: why.to_string() };
                if input {
                    pins.push((slot, pin("it is an input of the graph")));
                } else if self.sizes[slot] == 0 {
                    pins.push((slot, pin("its size is not known")));
                } else if self.sizes[slot] > MAX_CHANNELS {
                    pins.push((slot, pin("it is too long for channels")));
                }
            }
        }
        for output in graph.outputs() {
            let why = format!("it is the output `{}` of the graph", output.name);
            for axis in 0..graph.ty(output.tensor).rank() {
                let slot = self.slot(TensorAxis { tensor: output.tensor, axis });
                pins.push((slot, Pin { place: graph.label(output.tensor), why: why.clone() }));
            }
        }
        pins.into_iter().for_each(|(slot, pin)| self.pin(slot, pin));
    }

    /// Pins a part whose whole is pinned, and a whole whose parts all are, until nothing changes.
    /// This is what tells height and width from channels where an axis was padded or sliced.
    fn spread_pins(&mut self) {
        loop {
            let mut free_parts: BTreeMap<usize, (Option<Pin>, bool)> = BTreeMap::new();
            let mut changed = false;
            for at in 0..self.links.len() {
                let Link::Span { part, whole, .. } = self.links[at] else { continue };
                if let (Some(pin), None) = (self.pinned(whole), self.pinned(part)) {
                    self.pin(part, pin);
                    changed = true;
                }
                let pin = self.pinned(part);
                let entry = free_parts.entry(whole).or_insert((None, false));
                entry.1 |= pin.is_none();
                entry.0 = entry.0.take().or(pin);
            }
            for (whole, (pin, free)) in free_parts {
                if let (Some(pin), false, None) = (pin, free, self.pinned(whole)) {
                    self.pin(whole, pin);
                    changed = true;
                }
            }
            if !changed {
                return;
            }
        }
    }

    /// Turns each merge into spans of the one part that nothing pins, or pins it.
    fn resolve_merges(&mut self) {
        for at in 0..self.merges.len() {
            let Merge { place, ref parts, whole } = self.merges[at];
            let parts = parts.clone();
            let free: Vec<usize> =
                (0..parts.len()).filter(|&at| self.pinned(parts[at]).is_none()).collect();
            let place = self.graph.node_label(place);
            let whole_pin = self.pinned(whole);
            match (free.as_slice(), whole_pin) {
                (&[carrier], None) => {
                    let size = |slot: &usize| self.sizes[*slot];
                    let outer: usize = parts[..carrier].iter().map(size).product();
                    let inner: usize = parts[carrier + 1..].iter().map(size).product();
                    let run = self.sizes[parts[carrier]] * inner;
                    let part = parts[carrier];
                    self.links.extend((0..outer).map(|block| Link::Span {
                        part,
                        whole,
                        offset: block * run,
                        repeat: inner,
                    }));
                }
                (_, Some(pin)) => parts.iter().for_each(|&part| self.pin(part, pin.clone())),
                (free, None) => {
                    let why = if free.is_empty() {
                        "a reshape merges axes that are all pinned"
                    } else {
                        "a reshape merges it with another axis that could be cut"
                    };
                    let pin = Pin { place, why: why.to_string() };
                    for &part in parts.iter().chain([&whole]) {
                        self.pin(part, pin.clone());
                    }
                }
            }
        }
        // A merge that pins may pin a part or whole of an axis met before it.
        self.spread_pins();
    }

    /// Joins the indices of all axes that are not pinned as a whole.
    fn join(mut self) -> Couplings {
        let count = self.axes.len();
        let pinned: Vec<Option<Pin>> = (0..count).map(|slot| self.pinned(slot)).collect();
        let mut first = vec![0usize; count];
        let mut total = 0;
        for slot in 0..count {
            first[slot] = total;
            if pinned[slot].is_none() {
                total += self.sizes[slot];
            }
        }
        let mut sets = Sets::new(total);
        let mut pins: Vec<(usize, Pin)> = Vec::new();
        for link in &self.links {
            match *link {
                Link::Same(a, b) => {
                    if pinned[a].is_none() && pinned[b].is_none() {
                        let size = self.sizes[a].min(self.sizes[b]);
                        (0..size).for_each(|at| sets.union(first[a] + at, first[b] + at));
                    }
                }
                Link::Span { part, whole, offset, repeat } => {
                    if pinned[whole].is_some() {
                        continue;
                    }
                    let end = self.sizes[whole];
                    for at in 0..self.sizes[part] * repeat {
                        if offset + at >= end {
                            break;
                        }
                        let slot = first[whole] + offset + at;
                        match &pinned[part] {
                            Some(pin) => pins.push((slot, pin.clone())),
                            None => sets.union(slot, first[part] + at / repeat),
                        }
                    }
                }
                Link::Block { axis, size } => {
                    if pinned[axis].is_none() && size > 0 {
                        for at in size..self.sizes[axis] {
                            sets.union(first[axis] + at, first[axis] + at % size);
                        }
                    }
                }
            }
        }
        let mut dense: Vec<Option<ClassId>> = vec![None; total];
        let mut members: Vec<Vec<Member>> = Vec::new();
        let mut classes: Vec<Vec<Vec<ClassId>>> = vec![Vec::new(); self.graph.value_count()];
        for slot in 0..count {
            let at = self.axes[slot];
            let size = if pinned[slot].is_some() { 0 } else { self.sizes[slot] };
            let mut own = Vec::with_capacity(size);
            for index in 0..size {
                let root = sets.root(first[slot] + index);
                let class = *dense[root].get_or_insert_with(|| {
                    members.push(Vec::new());
                    ClassId(u32::try_from(members.len() - 1).unwrap_or(u32::MAX))
                });
                members[class.index()].push(Member { at, index });
                own.push(class);
            }
            classes[at.tensor.index()].push(own);
        }
        let mut class_pins: Vec<Option<Pin>> = vec![None; members.len()];
        for (slot, pin) in pins {
            if let Some(class) = dense[sets.root(slot)] {
                class_pins[class.index()].get_or_insert(pin);
            }
        }
        let mut couplings = Couplings {
            classes,
            members,
            pins: class_pins,
            contracting: std::mem::take(&mut self.contracting),
            groups: Vec::new(),
        };
        couplings.groups = self.gather(&couplings, &pinned);
        couplings
    }

    /// Gathers the classes of producers that share one into groups.
    fn gather(&self, couplings: &Couplings, pinned: &[Option<Pin>]) -> Vec<Group> {
        let mut sets = Sets::new(self.producers.len());
        let mut first_producer: BTreeMap<ClassId, usize> = BTreeMap::new();
        let classes =
            |producer: &Producer| &couplings.classes[producer.at.tensor.index()][producer.at.axis];
        for (index, producer) in self.producers.iter().enumerate() {
            for &class in classes(producer) {
                let first = *first_producer.entry(class).or_insert(index);
                sets.union(first, index);
            }
        }
        let mut groups: BTreeMap<usize, Vec<Producer>> = BTreeMap::new();
        for (index, producer) in self.producers.iter().enumerate() {
            groups.entry(sets.root(index)).or_default().push(*producer);
        }
        let group = |producers: Vec<Producer>| {
            let mut seen = BTreeSet::new();
            let mut strata: Vec<(Vec<TensorAxis>, Stratum)> = Vec::new();
            for &class in producers.iter().flat_map(classes) {
                if !seen.insert(class) {
                    continue;
                }
                let mut footprint: Vec<TensorAxis> =
                    couplings.members(class).iter().map(|member| member.at).collect();
                footprint.dedup();
                let pin = couplings.pin(class).cloned();
                match strata.iter_mut().find(|(own, s)| *own == footprint && s.pin == pin) {
                    Some((_, stratum)) => stratum.classes.push(class),
                    None => strata.push((footprint, Stratum { classes: vec![class], pin })),
                }
            }
            let mut strata: Vec<Stratum> = strata.into_iter().map(|(_, s)| s).collect();
            // A producer whose whole axis is pinned has no classes; its reason still counts.
            if strata.is_empty() {
                let slot = producers.first().map(|producer| self.slot(producer.at));
                let pin = slot.and_then(|slot| pinned[slot].clone());
                strata.push(Stratum { classes: Vec::new(), pin });
            }
            Group { producers, strata }
        };
        groups.into_values().map(group).collect()
    }
}
