//! The models of a camera: compiled once, planned for as many faces as there are.

use std::fmt;
use std::path::{Path, PathBuf};

use bunjae_camera::Recogniser;
use bunjae_classify::{Classifier, ClassifyError};
use bunjae_engine::{Batch, CompileError};

use crate::annotate::Annotating;
use crate::command::predict::{no_preprocessing, unfit};
use crate::failure::{Failure, Fallible};
use crate::output::Output;
use crate::runnable::{Compiling, Runnable, without_hint};

/// Opens the models.
pub(super) fn load(
    paths: &[PathBuf],
    compiling: &Compiling,
    threads: usize,
    output: &Output,
) -> Fallible<Vec<Recogniser>> {
    let names = names(paths);
    let models = paths.iter().zip(names).enumerate();
    models
        .map(|(index, (path, name))| open(index, path, name, compiling, threads, output))
        .collect()
}

fn open(
    index: usize,
    path: &Path,
    name: String,
    compiling: &Compiling,
    threads: usize,
    output: &Output,
) -> Fallible<Recogniser> {
    let shown = path.display().to_string();
    let runnable = Runnable::open(path, compiling, output)?;
    let annotations = runnable.annotations(&Annotating::default())?;
    let Some(preprocess) = &annotations.preprocess else {
        let failure = Failure::new(no_preprocessing(&shown).what);
        return Err(failure.hint("`bunjae annotate` writes it into the model"));
    };
    if annotations.labels.is_none() {
        output.note(&format!(
            "note: {shown} has no labels, so classes are shown by number; `bunjae annotate` names \
             them"
        ));
    }
    let sizes = runnable.picture_sizes(None, preprocess);
    let network = runnable.into_network(compiling, threads, sizes.clone())?;
    let batch = network.batch();
    let fixed = match batch {
        Batch::Fixed(count) => Some(count),
        _ => None,
    };
    let make = move |count: usize| {
        let mut sizes = sizes.clone();
        if let Batch::Any { symbol } = &batch {
            sizes.insert(symbol.clone(), count);
        }
        let model = network.model_for(&sizes).map_err(Wrong::Compile)?;
        Classifier::new(model, annotations.clone(), threads).map_err(Wrong::Unfit)
    };
    // What does not fit is told in the words of the other commands.
    match make(fixed.unwrap_or(1)) {
        Ok(_) => {}
        Err(Wrong::Unfit(error)) => return Err(unfit(&shown, &error)),
        Err(error) => return Err(Failure::new(format!("{shown}: {error}"))),
    }
    let make = Box::new(move |count| make(count).map_err(|error| error.to_string()));
    Recogniser::new(index, name, fixed, make)
        .map_err(|reason| Failure::new(format!("{shown}: {reason}")))
}

/// Why there is no classifier for a batch size.
enum Wrong {
    Compile(CompileError),
    Unfit(ClassifyError),
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Compile(error) => write!(f, "{}", without_hint(error)),
            Wrong::Unfit(error) => write!(f, "{error}"),
        }
    }
}

/// The names of the files without their endings, or the whole paths where two are alike.
fn names(paths: &[PathBuf]) -> Vec<String> {
    let stem = |path: &PathBuf| {
        path.file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned())
    };
    let name = |path: &PathBuf| {
        let alike = paths.iter().filter(|other| stem(other) == stem(path)).count();
        if alike > 1 { path.display().to_string() } else { stem(path) }
    };
    paths.iter().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn models_with_the_same_name_are_told_apart_by_their_folders() {
        let paths = ["a/net.onnx", "b/net.onnx", "b/small.bunjae"].map(PathBuf::from);
        assert_eq!(names(&paths), ["a/net.onnx", "b/net.onnx", "small"]);
    }
}
