//! Models to be run: what the engine makes of a file.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunjae_data::{Annotations, Preprocess};
use bunjae_engine::{
    ArtefactError, CompileError, CompileOptions, Isa, LoadOptions, Model, Network, OpenError,
    OpenProblem, Port,
};
use bunjae_ir::{Bindings, Dim, DimExpr, Graph, GraphError, ShapeError};
use bunjae_tensor::{DType, Element, Random, Tensor, TensorError};
use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser};

use crate::annotate::{Annotating, input_dims, scores_of};
use crate::failure::{Failure, Fallible};
use crate::model;
use crate::output::Output;

/// What helps where an instruction set is not there.
const BEST_ISA: &str = "without `--isa` and BUNJAE_ISA the best of this machine is taken";

/// How a model is compiled.
#[derive(Clone, Debug, Default, Args)]
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
    /// Choose the algorithm of each convolution by measuring all of them on this machine; what was
    /// measured is kept in XDG_CACHE_HOME/bunjae
    #[arg(long)]
    pub(crate) tune: bool,
}

impl Compiling {
    /// The options of the engine; sizes and threads are left open.
    pub(crate) fn options(&self) -> CompileOptions {
        let Compiling { isa, tune } = *self;
        let tune_file = if tune { measured_forms() } else { None };
        CompileOptions { isa, tune, tune_file, ..CompileOptions::default() }
    }
}

/// The file in which `--tune` keeps what it measured; see the XDG base directory specification, which
/// asks to ignore paths that are not absolute.
fn measured_forms() -> Option<PathBuf> {
    let folder = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let cache = folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache")))?;
    Some(cache.join("bunjae/measured-forms"))
}

/// A model that can be run, and where it is.
pub(crate) struct Runnable {
    pub(crate) path: PathBuf,
    form: Form,
}

enum Form {
    /// Read from ONNX, to be compiled.
    Graph(Graph),
    /// Compiled before.
    Network(Box<Network>),
}

impl Runnable {
    /// Opens an ONNX file or a compiled model, whichever it is.
    pub(crate) fn open(path: &Path, compiling: &Compiling, output: &Output) -> Fallible<Runnable> {
        if !is_compiled(path) {
            let named_so = path.extension().is_some_and(|extension| extension == "bunjae");
            let hint = (named_so && path.is_file()).then_some(
                "it does not begin as compiled models do; `bunjae compile` makes one of an ONNX file",
            );
            return Runnable::open_onnx(path, output).map_err(|failure| failure.maybe_hint(hint));
        }
        if compiling.tune {
            let what = format!("{} is compiled already", path.display());
            return Err(Failure::new(what).hint("`--tune` is for ONNX files"));
        }
        let options = LoadOptions { isa: compiling.isa, threads: None };
        let network = Network::open(path, &options).map_err(open_failure)?;
        Ok(Runnable { path: path.to_owned(), form: Form::Network(Box::new(network)) })
    }

    /// Opens an ONNX file.
    pub(crate) fn open_onnx(path: &Path, output: &Output) -> Fallible<Runnable> {
        let form = Form::Graph(model::import(path, output)?);
        Ok(Runnable { path: path.to_owned(), form })
    }

    /// Opens the compiled model that stands in this part of a file.
    pub(crate) fn open_within(path: &Path, part: Range<u64>) -> Fallible<Runnable> {
        let network = Network::open_within(path, part, &LoadOptions::default());
        let network = network.map_err(open_failure)?;
        Ok(Runnable { path: path.to_owned(), form: Form::Network(Box::new(network)) })
    }

    /// The graph; that of a compiled model is simplified.
    pub(crate) fn graph(&self) -> &Graph {
        match &self.form {
            Form::Graph(graph) => graph,
            Form::Network(network) => network.graph(),
        }
    }

    /// The graph of an ONNX file, to be changed before it is compiled.
    pub(crate) fn graph_mut(&mut self) -> Option<&mut Graph> {
        match &mut self.form {
            Form::Graph(graph) => Some(graph),
            Form::Network(_) => None,
        }
    }

    /// Whether it is an ONNX file, which other runtimes read.
    pub(crate) fn is_onnx(&self) -> bool {
        matches!(self.form, Form::Graph(_))
    }

    /// What the options and the metadata say about pictures and classes; what nobody says about the
    /// output is seen from the operator that makes it.
    pub(crate) fn annotations(&self, annotating: &Annotating) -> Fallible<Annotations> {
        let graph = self.graph();
        let found = Annotations::read(&graph.metadata)
            .map_err(|error| Failure::new(format!("{}: {error}", self.path.display())))?;
        let mut annotations = annotating.annotations(found, &input_dims(graph))?;
        annotations.scores.get_or_insert_with(|| scores_of(graph));
        Ok(annotations)
    }

    /// The model for these sizes.
    pub(crate) fn compile(
        &self,
        compiling: &Compiling,
        threads: usize,
        sizes: Bindings,
    ) -> Fallible<Arc<Model>> {
        let model = match &self.form {
            Form::Graph(graph) => {
                let options = CompileOptions { threads, sizes, ..compiling.options() };
                Model::compile(graph, &options).map(Arc::new)
            }
            Form::Network(network) => network.model_for(&sizes),
        };
        model.map_err(|error| self.failure(&error))
    }

    /// The network, to be planned for batches of several sizes; `sizes` are those of the picture.
    pub(crate) fn into_network(
        self,
        compiling: &Compiling,
        threads: usize,
        sizes: Bindings,
    ) -> Fallible<Network> {
        let compiled = match self.form {
            Form::Network(network) => return Ok(*network),
            Form::Graph(ref graph) => {
                let options = CompileOptions { threads, sizes, ..compiling.options() };
                Network::compile(graph, &options)
            }
        };
        compiled.map_err(|error| self.failure(&error))
    }

    /// Why it cannot be compiled.
    pub(crate) fn failure(&self, error: &CompileError) -> Failure {
        match error {
            CompileError::Isa(_) => Failure::new(error).hint(BEST_ISA),
            _ => {
                let hint = match error {
                    CompileError::Memory { .. }
                    | CompileError::Graph(GraphError::Node {
                        source: ShapeError::TooLarge(_),
                        ..
                    }) => Some("choose a smaller batch or picture"),
                    _ => None,
                };
                let (shown, error) = (self.path.display(), without_hint(error));
                Failure::new(format!("{shown} cannot be compiled: {error}")).maybe_hint(hint)
            }
        }
    }

    /// Sizes for a batch of pictures made by `preprocess`, where the model leaves them open; without
    /// a batch, the other sizes.
    pub(crate) fn picture_sizes(&self, batch: Option<usize>, preprocess: &Preprocess) -> Bindings {
        let [a, b, c] = preprocess.shape().map(Some);
        let graph = self.graph();
        let input = graph.inputs().first().map(|&id| &graph.ty(id).dims);
        let mut sizes = Bindings::new();
        for (dim, size) in input.into_iter().flatten().zip([batch, a, b, c]) {
            if let (Dim::Dynamic(expression), Some(size)) = (dim, size)
                && let DimExpr::Symbol(name) = expression.as_ref()
            {
                sizes.insert(name.to_string(), size);
            }
        }
        sizes
    }
}

/// Whether a file begins as compiled models do.
pub(crate) fn is_compiled(path: &Path) -> bool {
    let mut start = [0; 8];
    // What is no file is reported by whoever reads on.
    let is_file = path.is_file();
    is_file
        && File::open(path).is_ok_and(|mut file| file.read_exact(&mut start).is_ok())
        && Network::is_stored(&start)
}

/// Why a compiled model cannot be used, with the way out apart.
fn open_failure(error: OpenError) -> Failure {
    let place = error.path.display();
    let failure = Failure::new(format!("cannot read {place}: {}", without_hint(&error.problem)));
    match &error.problem {
        OpenProblem::Artefact(ArtefactError::Length { .. } | ArtefactError::Checksum { .. }) => {
            failure.hint("the file is damaged; copy it again, or compile the ONNX file again")
        }
        OpenProblem::Artefact(ArtefactError::Isa(_)) => failure.hint(BEST_ISA),
        OpenProblem::Artefact(ArtefactError::ByteOrder) => {
            failure.hint("compile the ONNX file again on this machine: `bunjae compile`")
        }
        OpenProblem::Artefact(_) => {
            failure.hint("compile the ONNX file again with this program: `bunjae compile`")
        }
        _ => failure,
    }
}

/// A message of the engine; its hints are for programs, which cannot know the commands.
pub(crate) fn without_hint(error: &dyn std::fmt::Display) -> String {
    let text = error.to_string();
    text.split("; hint:").next().unwrap_or_default().to_string()
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
