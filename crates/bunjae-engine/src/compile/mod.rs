//! From a graph to a model.

mod arena;
mod block;
mod fast;
mod fuse;
mod lower;
mod measured;
mod places;
mod plain;
mod product;
pub(crate) mod store;
mod train;
mod tune;
mod weights;

use std::path::PathBuf;

use bunjae_ir::{Bindings, Dim, Graph, Source};
use bunjae_kernels::Isa;

use crate::error::CompileError;
use crate::runtime::Model;
use store::Store;
pub use train::Segment;
pub(crate) use train::{LINE, Layout};
use tune::Tuner;

/// What a graph is compiled for.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// The instruction set; the best that this machine has, or that the environment names, where
    /// none is given.
    pub isa: Option<Isa>,
    /// The sizes of the symbols in the inputs' types, such as the batch `N`. Another batch size is
    /// another model.
    pub sizes: Bindings,
    /// The number of threads that a session uses unless told otherwise; 0 counts as 1.
    pub threads: usize,
    /// Whether the algorithm of each convolution that is a step of its own is chosen by measuring all
    /// that there are, rather than by an estimate. Takes longer, and may choose otherwise the next
    /// time, which changes results in their last digits.
    pub tune: bool,
    /// With `tune`, the file in which what was measured is kept, so that it is measured once on a
    /// machine; it is made, and its folder, where there is none. It takes choices of several kinds of
    /// processor, grows to a few megabytes at most, and can be removed at any time. One that holds
    /// something else is replaced; where it cannot be written, or the system does not say what the
    /// processor is, everything is measured.
    pub tune_file: Option<PathBuf>,
    /// Whether all buffers share memory, which takes less of it and the time to clear borders at
    /// each run. Otherwise small pictures with a border have memory of their own. A step of training
    /// then also keeps nothing for its backward pass that it can compute again; otherwise that begins
    /// where it would take more than 256 MiB.
    pub compact: bool,
}

impl CompileOptions {
    /// One thread, the best instruction set, and the given batch for the symbol `N`.
    pub fn batch(count: usize) -> CompileOptions {
        CompileOptions {
            sizes: Bindings::from([("N".to_string(), count)]),
            ..CompileOptions::default()
        }
    }
}

/// What a model is planned for, beside its sizes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Target {
    pub isa: Isa,
    pub threads: usize,
    pub compact: bool,
}

impl Target {
    /// # Errors
    /// [`CompileError::Isa`] where the instruction set cannot be used.
    pub(crate) fn new(options: &CompileOptions) -> Result<Target, CompileError> {
        let isa = instruction_set(options.isa)?;
        Ok(Target { isa, threads: options.threads, compact: options.compact })
    }
}

/// The instruction set asked for, or the preferred one; it can be used here.
pub(crate) fn instruction_set(wanted: Option<Isa>) -> Result<Isa, CompileError> {
    let isa = match wanted {
        Some(isa) => isa.require().map(|()| isa),
        None => Isa::preferred(),
    };
    isa.map_err(CompileError::Isa)
}

impl Model {
    /// Compiles a graph all of whose sizes are fixed or given in the options. For several batch
    /// sizes there is [`Network`](crate::Network).
    ///
    /// # Errors
    /// [`CompileError`] where a size is not known or does not fit, and where the instruction set
    /// cannot be used.
    pub fn compile(graph: &Graph, options: &CompileOptions) -> Result<Model, CompileError> {
        let target = Target::new(options)?;
        let bound = graph.bind(&options.sizes)?;
        check_sizes(&bound)?;
        let simple = simplified(&bound)?;
        plan(&simple, target, &mut store(options))
    }
}

/// The store that the options ask for.
pub(crate) fn store(options: &CompileOptions) -> Store {
    Store::new(options.tune.then(|| Tuner::new(options.tune_file.as_deref())))
}

/// The graph as it is planned.
pub(crate) fn simplified(graph: &Graph) -> Result<Graph, CompileError> {
    Ok(bunjae_passes::simplify(graph)?.unwrap_or_else(|| graph.clone()))
}

/// Plans a model for a simplified graph with known sizes. What the store holds is used, and what it
/// lacks is made and kept there.
pub(crate) fn plan(
    graph: &Graph,
    target: Target,
    store: &mut Store,
) -> Result<Model, CompileError> {
    check_sizes(graph)?;
    let parts = lower::lower(graph, target, store, &Layout::default())?;
    store.save_measured();
    Model::new(parts).map_err(CompileError::Plan)
}

/// Plans a training graph, with the flat arrays of its parameters.
pub(crate) fn training_model(
    graph: &Graph,
    target: Target,
    options: &CompileOptions,
) -> Result<(Model, Layout), CompileError> {
    let train::Trained { graph, layout } = train::trained(&graph.bind(&options.sizes)?)?;
    // Parameters, gradients, and what most optimisers keep of both.
    let state = 2 * layout.bytes();
    let room = if target.compact { 0 } else { train::ENOUGH.saturating_sub(state) };
    let graph = train::recomputing(&simplified(&graph)?, room)?;
    check_sizes(&graph)?;
    let mut store = store(options);
    let parts = lower::lower(&graph, target, &mut store, &layout)?;
    store.save_measured();
    Ok((Model::new(parts).map_err(CompileError::Plan)?, layout))
}

/// Refuses sizes that are not known, and tensors without elements.
fn check_sizes(graph: &Graph) -> Result<(), CompileError> {
    for &id in graph.inputs() {
        let ty = graph.ty(id);
        if let Some(dim) = ty.dims.iter().find(|dim| dim.fixed().is_none()) {
            let mut symbols = Vec::new();
            dim.symbols(&mut symbols);
            return Err(CompileError::UnknownSize {
                input: graph.label(id),
                ty: ty.to_string(),
                symbol: symbols.into_iter().next().unwrap_or_default(),
            });
        }
    }
    for (id, value) in graph.values() {
        let dims = &value.ty.dims;
        let empty = dims.contains(&Dim::Fixed(0)) && !matches!(value.source, Source::Weight { .. });
        if empty {
            let shape = dims.iter().filter_map(Dim::fixed).collect();
            return Err(CompileError::Empty { place: graph.label(id), shape });
        }
    }
    Ok(())
}
