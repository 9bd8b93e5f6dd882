//! Model files: read with a clear word where that fails, written without losing anything.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use bunjae_ir::Graph;
use bunjae_onnx::file::{ReadError, ReadProblem};
use bunjae_onnx::import::ProblemKind;
use bunjae_onnx::wire::WireError;
use bunjae_onnx::{ExportOptions, ImportError, Limits, read_model};
use bunjae_zoo::ARCHITECTURES;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::failure::{Failure, Fallible, closest};
use crate::interrupt::uninterrupted;
use crate::output::Output;
use crate::runnable::is_compiled;

/// A model and the file it came from.
pub(crate) struct Model {
    pub(crate) path: PathBuf,
    pub(crate) graph: Graph,
    /// The size on disk.
    pub(crate) file_bytes: u64,
}

/// An input or output of a model.
#[derive(Serialize)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) ty: String,
}

/// The inputs of a graph.
pub(crate) fn inputs(graph: &Graph) -> Vec<Tensor> {
    let inputs = graph.inputs().iter();
    inputs.map(|&id| Tensor { name: graph.label(id), ty: graph.ty(id).to_string() }).collect()
}

/// The outputs of a graph.
pub(crate) fn outputs(graph: &Graph) -> Vec<Tensor> {
    let outputs = graph.outputs().iter();
    let tensor = |output: &bunjae_ir::Output| Tensor {
        name: output.name.clone(),
        ty: graph.ty(output.tensor).to_string(),
    };
    outputs.map(tensor).collect()
}

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.ty)
    }
}

/// Reads a model, and notes what was left out on the way.
pub(crate) fn load(path: &Path, output: &Output) -> Fallible<Model> {
    let graph = import(path, output)?;
    Ok(Model { path: path.to_owned(), graph, file_bytes: file_bytes(path)? })
}

/// As [`load`], without asking what the model takes on disk, for which it is read once more.
pub(crate) fn import(path: &Path, output: &Output) -> Fallible<Graph> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => missing(path),
        _ => Failure::new(format!("cannot read {shown}: {error}")),
    })?;
    if metadata.is_dir() {
        return Err(
            Failure::new(format!("{shown} is a folder")).hint("give the path of an ONNX file")
        );
    }
    if is_compiled(path) {
        let what = format!("{shown} is a compiled model, which only runs");
        return Err(Failure::new(what).hint("give the ONNX file that it was made of"));
    }
    let imported = bunjae_onnx::import(path, &Limits::default()).map_err(|error| {
        let ways_out = [way_to_onnx(&error), way_around(&error)];
        ways_out.into_iter().fold(Failure::new(error), Failure::maybe_hint)
    })?;
    for note in imported.notes {
        output.note(&format!("note: {shown}: {note}"));
    }
    Ok(imported.graph)
}

fn missing(path: &Path) -> Failure {
    let failure = Failure::new(format!("there is no file {}", path.display()));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if ARCHITECTURES.iter().any(|architecture| architecture.name == name) {
        return failure.hint(format!("`bunjae new {name} -o {name}.onnx` makes one"));
    }
    let mut neighbours: Vec<String> = fs::read_dir(bunjae_files::folder_of(path))
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.ends_with(".onnx"))
        .collect();
    neighbours.sort_unstable();
    let similar = closest(name, neighbours.iter().map(String::as_str));
    failure.maybe_hint(similar.map(|similar| format!("did you mean {similar}?")))
}

/// The way from what is no ONNX file to one.
fn way_to_onnx(error: &ImportError) -> Option<&'static str> {
    let (ImportError::Wire(problem)
    | ImportError::Read(ReadError { problem: ReadProblem::Wire(problem), .. })) = error
    else {
        return None;
    };
    // A file of an unknown kind fails at its first key.
    let foreign = matches!(problem, WireError::NotOnnx(_) | WireError::Key { .. });
    foreign.then_some(
        "Bunjae reads ONNX files; PyTorch writes them with `torch.onnx.export`, Keras and \
         TensorFlow with tf2onnx",
    )
}

/// What helps where an operator is missing.
fn way_around(error: &ImportError) -> Option<&'static str> {
    let ImportError::Problems(problems) = error else { return None };
    let unknown =
        |kind: &ProblemKind| matches!(kind, ProblemKind::UnknownOperator | ProblemKind::Domain(_));
    let missing = problems.listed.iter().any(|problem| unknown(&problem.kind));
    missing.then_some(
        "what only follows the scores, such as ArgMax or NonMaxSuppression, can be left out of the \
         export",
    )
}

/// The size of a model on disk: its file, and those beside it that hold its weights.
pub(crate) fn file_bytes(path: &Path) -> Fallible<u64> {
    let (model, _) = read_model(path, &Limits::default()).map_err(Failure::new)?;
    let tensors = model.graph.iter().flat_map(|graph| &graph.initializer);
    let entries = tensors.flat_map(|tensor| &tensor.external_data);
    let locations: BTreeSet<&str> =
        entries.filter(|entry| entry.key == "location").map(|entry| entry.value.as_str()).collect();
    let beside = locations.into_iter().map(|location| bunjae_files::folder_of(path).join(location));
    let failure = |error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let size = |file: PathBuf| Ok(fs::metadata(file).map_err(failure)?.len());
    std::iter::once(path.to_owned()).chain(beside).map(size).sum()
}

/// The SHA-256 of a file in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Fallible<String> {
    let failure = |error| Failure::new(format!("cannot read {}: {error}", path.display()));
    let mut file = fs::File::open(path).map_err(failure)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer).map_err(failure)? {
            0 => break,
            length => hash.update(&buffer[..length]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Refuses a target that cannot be written to or that is `source`, before time is spent on what is
/// to be written.
pub(crate) fn check_target(target: &Path, source: Option<&Path>) -> Fallible<()> {
    let shown = target.display();
    if target.is_dir() {
        return Err(Failure::new(format!("cannot write {shown}: it is a folder"))
            .hint("give the name of a file in it"));
    }
    let folder = bunjae_files::folder_of(target);
    if !folder.is_dir() {
        let what = format!("cannot write {shown}: there is no folder {}", folder.display());
        return Err(Failure::new(what).hint("make the folder first"));
    }
    if fs::metadata(target).is_ok_and(|metadata| metadata.permissions().readonly()) {
        return Err(Failure::new(format!("cannot write {shown}: it is read-only")));
    }
    let same = |source: &Path| {
        let (source, target) = (fs::canonicalize(source), fs::canonicalize(target));
        matches!((source, target), (Ok(source), Ok(target)) if source == target)
    };
    if source.is_some_and(same) {
        return Err(Failure::new(format!("{shown} is the model itself, which would be lost"))
            .hint("give `--output` another name"));
    }
    Ok(())
}

/// Writes a model, or leaves everything as it was.
pub(crate) fn save(path: &Path, graph: &Graph) -> Fallible<()> {
    uninterrupted(|| bunjae_onnx::save(path, graph, &ExportOptions::default()))
        .map_err(Failure::new)
}

/// An operator's settings as they stand in the text form: `stride=[2,2], pad=[1,1,1,1]`.
pub(crate) fn settings(op: &bunjae_ir::Op) -> String {
    let settings = op.attrs().into_iter().map(|(name, value)| format!("{name}={value}"));
    settings.collect::<Vec<_>>().join(", ")
}
