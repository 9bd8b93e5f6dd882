//! Models to be run: what the engine makes of a file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunjae_data::{Annotations, Preprocess};
use bunjae_engine::{CompileError, CompileOptions, Isa, IsaSet, Model, Port};
use bunjae_ir::{Bindings, Dim, DimExpr, Graph};
use bunjae_tensor::{DType, Element, Random, Tensor, TensorError};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::annotate::{Annotating, input_dims, scores_of};
use crate::failure::{Failure, Fallible};
use crate::model;
use crate::output::Output;

/// How a model is compiled.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Engine")]
pub(crate) struct Compiling {
    /// The instruction set [default: the best of this machine, or what BUNJAE_ISA names]
    #[arg(
        long,
        value_name = "NAME",
        value_parser = PossibleValuesParser::new(Isa::ALL.map(Isa::name))
            .map(|name| Isa::from_name(&name).unwrap_or(Isa::Portable)),
    )]
    pub(crate) isa: Option<Isa>,
    /// Choose the algorithm of each convolution by measuring all of them on this machine
    #[arg(long)]
    pub(crate) tune: bool,
}

/// A model that can be compiled.
pub(crate) struct Runnable {
    pub(crate) path: PathBuf,
    pub(crate) graph: Graph,
}

impl Runnable {
    pub(crate) fn open(path: &Path, output: &Output) -> Fallible<Runnable> {
        Ok(Runnable { path: path.to_owned(), graph: model::import(path, output)? })
    }

    /// What the options and the metadata say about pictures and classes; what nobody says about the
    /// output is seen from the operator that makes it.
    pub(crate) fn annotations(&self, annotating: &Annotating) -> Fallible<Annotations> {
        let shown = self.path.display();
        let found = Annotations::read(&self.graph.metadata)
            .map_err(|error| Failure::new(format!("{shown}: {error}")))?;
        let mut annotations = annotating.annotations(found, &input_dims(&self.graph))?;
        annotations.scores.get_or_insert_with(|| scores_of(&self.graph));
        Ok(annotations)
    }

    /// Compiles the model for these sizes.
    pub(crate) fn compile(
        &self,
        compiling: &Compiling,
        threads: usize,
        sizes: Bindings,
    ) -> Fallible<Arc<Model>> {
        let Compiling { isa, tune } = *compiling;
        let options = CompileOptions { isa, tune, threads, sizes, ..CompileOptions::default() };
        let model = Model::compile(&self.graph, &options).map_err(|error| self.failure(&error))?;
        Ok(Arc::new(model))
    }

    fn failure(&self, error: &CompileError) -> Failure {
        let what = Failure::new(format!("{} cannot be compiled: {error}", self.path.display()));
        match error {
            CompileError::Isa(_) => {
                let names = IsaSet::available().to_string();
                Failure::new(error).hint(format!("this machine has {names}"))
            }
            _ => what,
        }
    }

    /// Sizes for a batch of pictures made by `preprocess`, where the model leaves them open.
    pub(crate) fn picture_sizes(&self, batch: usize, preprocess: &Preprocess) -> Bindings {
        let [a, b, c] = preprocess.shape();
        let mut sizes = Bindings::new();
        let input = self.graph.inputs().first().map(|&id| &self.graph.ty(id).dims);
        for (dim, size) in input.into_iter().flatten().zip([batch, a, b, c]) {
            if let Dim::Dynamic(expression) = dim
                && let DimExpr::Symbol(name) = expression.as_ref()
            {
                sizes.insert(name.to_string(), size);
            }
        }
        sizes
    }
}

/// Seeded inputs for a model: floats uniform in [-1, 1), integers over a small range that every
/// integer type holds.
pub(crate) fn samples(model: &Model, seed: u64) -> Fallible<Vec<Tensor>> {
    let mut random = Random::new(seed);
    let sample = |port: &Port| {
        let mut tensor = Tensor::zeros(port.dtype, &port.shape)?;
        match port.dtype {
            DType::F32 => fill(&mut tensor, || random.uniform(-1.0, 1.0) as f32)?,
            DType::F64 => fill(&mut tensor, || random.uniform(-1.0, 1.0))?,
            DType::I8 => fill(&mut tensor, || random.integer(-100, 100) as i8)?,
            DType::U8 => fill(&mut tensor, || random.integer(0, 200) as u8)?,
            DType::I32 => fill(&mut tensor, || random.integer(-100, 100) as i32)?,
            DType::I64 => fill(&mut tensor, || random.integer(-100, 100))?,
        }
        Ok(tensor)
    };
    model.inputs().iter().map(sample).collect::<Result<_, TensorError>>().map_err(Failure::new)
}

fn fill<T: Element>(tensor: &mut Tensor, mut value: impl FnMut() -> T) -> Result<(), TensorError> {
    tensor.elements_mut::<T>()?.iter_mut().for_each(|element| *element = value());
    Ok(())
}
