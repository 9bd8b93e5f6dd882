//! Every ONNX file of the shared data, compiled and run: the numbers are those of the interpreter, on every
//! instruction set that this machine has, and those of ONNX Runtime.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bunjae_engine::{CompileOptions, IsaSet, Model, Session};
use bunjae_ir::{Bindings, Graph};
use bunjae_onnx::{Limits, import};
use bunjae_passes::sample_inputs;
use bunjae_tensor::{Tensor, Tolerance, compare};
use bunjae_testkit::onnx_runtime::{Job, run};
use bunjae_testkit::{data_dir, python};

/// The bound, as a share of the largest element of a result.
const NETWORK: f64 = 1e-4;

/// A file under sizes for its open ones.
struct Case {
    file: PathBuf,
    graph: Graph,
    sizes: Bindings,
    inputs: Vec<Tensor>,
}

impl Case {
    fn model(&self, options: CompileOptions) -> Arc<Model> {
        let options = CompileOptions { sizes: self.sizes.clone(), ..options };
        Arc::new(Model::compile(&self.graph, &options).unwrap_or_else(|e| panic!("{self}: {e}")))
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?}", self.file.display(), self.sizes)
    }
}

/// All files, those with an open batch with each of these, and one with open sizes with odd ones.
fn cases(data: &Path, batches: RangeInclusive<usize>) -> Vec<Case> {
    let mut cases = Vec::new();
    for folder in ["models", "models/bench", "face_models"] {
        let entries = fs::read_dir(data.join(folder)).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            entries.filter(|path| path.extension().is_some_and(|ext| ext == "onnx")).collect();
        files.sort();
        for file in files {
            let imported = import(&file, &Limits::default());
            let graph = imported.unwrap_or_else(|error| panic!("{error}")).graph;
            let open = &graph.ty(graph.inputs()[0]).dims[0];
            let batches = if open.fixed().is_some() { 1..=1 } else { batches.clone() };
            for batch in batches {
                let sizes = Bindings::from([
                    ("N".to_string(), batch),
                    ("batch".to_string(), batch),
                    ("height".to_string(), 95),
                    ("width".to_string(), 127),
                ]);
                let inputs = sample_inputs(&graph, &sizes, 21).unwrap();
                cases.push(Case { file: file.clone(), graph: graph.clone(), sizes, inputs });
            }
        }
    }
    cases
}

/// What ONNX Runtime's sigmoid may be off, whose results near 0 are far smaller than its error.
const SIGMOID: f64 = 5e-7;

fn assert_close(found: &[Tensor], expected: &[Tensor], besides: f64, context: &str) {
    assert_eq!(found.len(), expected.len(), "{context}");
    for (found, expected) in found.iter().zip(expected) {
        let largest = expected.to_f64_vec().into_iter().fold(0f64, |most, x| most.max(x.abs()));
        let tolerance = Tolerance { absolute: NETWORK * largest + besides, relative: 0.0 };
        let difference = compare(found, expected, tolerance).unwrap();
        assert!(difference.is_within(), "{context}: {difference:?}, largest {largest}");
    }
}

#[test]
fn real_models_equal_the_interpreter() {
    let Some(data) = data_dir("real_models_equal_the_interpreter") else { return };
    let cases = cases(&data, 1..=5);
    for case in &cases {
        let expected = bunjae_interp::run(&case.graph, &case.inputs).unwrap();
        for isa in IsaSet::available().iter() {
            let model = case.model(CompileOptions { isa: Some(isa), ..CompileOptions::default() });
            let [one, two] = [1, 2].map(|threads| {
                let mut session = Session::with_threads(model.clone(), threads).unwrap();
                session.run_tensors(&case.inputs).unwrap()
            });
            assert!(one == two, "{case} on {isa}: one thread and two differ");
            assert_close(&one, &expected, 0.0, &format!("{case} on {isa}"));
        }
    }
    assert_eq!(cases.len(), 20 + 5 * 4);
}

#[test]
fn real_models_equal_onnx_runtime() {
    let test = "real_models_equal_onnx_runtime";
    let (Some(data), Some(python)) = (data_dir(test), python(test)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let cases = cases(&data, 1..=2);
    let jobs = cases.iter().map(|case| {
        let names = case.graph.inputs().iter().map(|&id| case.graph.label(id));
        Job { model: case.file.clone(), inputs: names.zip(case.inputs.iter().cloned()).collect() }
    });
    let jobs: Vec<Job> = jobs.collect();
    let results = run(&python, folder.path(), &jobs).unwrap_or_else(|error| panic!("{error}"));
    for (case, theirs) in cases.iter().zip(results) {
        let mut session = Session::new(case.model(CompileOptions::default())).unwrap();
        let found = session.run_tensors(&case.inputs).unwrap();
        let theirs: Vec<Tensor> = theirs.into_iter().map(|(_, tensor)| tensor).collect();
        assert_close(&found, &theirs, SIGMOID, &format!("{case} in ONNX Runtime"));
    }
}
