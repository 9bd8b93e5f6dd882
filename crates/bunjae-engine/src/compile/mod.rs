//! From a graph to a model.

mod arena;
mod fast;
mod fuse;
mod lower;
mod places;
mod plain;
mod tune;

use bunjae_ir::{Bindings, Dim, Graph, Source};
use bunjae_kernels::Isa;

use crate::error::CompileError;
use crate::runtime::Model;

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
    /// Whether the algorithm of each convolution is chosen by measuring all that there are, rather
    /// than by an estimate. Takes longer, and may choose otherwise the next time, which changes
    /// results in their last digits.
    pub tune: bool,
    /// Whether all buffers share memory, which takes less of it and the time to clear borders at
    /// each run. Otherwise small pictures with a border have memory of their own.
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

impl Model {
    /// Compiles a graph.
    ///
    /// # Errors
    /// [`CompileError`] where a size is not known or does not fit, and where the instruction set
    /// cannot be used.
    pub fn compile(graph: &Graph, options: &CompileOptions) -> Result<Model, CompileError> {
        let isa = match options.isa {
            Some(isa) => isa.require().map(|()| isa),
            None => Isa::preferred(),
        };
        let isa = isa.map_err(CompileError::Isa)?;
        let bound = graph.bind(&options.sizes)?;
        check_sizes(&bound)?;
        let simple = bunjae_passes::simplify(&bound)?;
        let graph = simple.as_ref().unwrap_or(&bound);
        let parts = lower::lower(graph, isa, options)?;
        Model::new(parts).map_err(CompileError::Plan)
    }
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
