//! The outside judge: every operator in ONNX Runtime, which has to find the same numbers.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

mod cases;
mod onnx;
mod tolerance;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use bunjae_interp::eval;
use bunjae_ir::examples::examples;
use bunjae_ir::{Op, TensorType};
use bunjae_tensor::{DType, Tensor, compare};
use cases::Case;
use serde_json::Value;

fn describe(case: &Case) -> String {
    let types = case.inputs.iter().map(|x| TensorType::new(x.dtype(), x.shape().to_vec()));
    format!("{:?} of {:?}", case.op, types.collect::<Vec<_>>())
}

fn compute(case: &Case) -> Vec<Tensor> {
    let inputs: Vec<&Tensor> = case.inputs.iter().collect();
    eval(&case.op, &inputs).unwrap_or_else(|error| panic!("{}: {error}", describe(case)))
}

/// Asks ONNX Runtime for the results of all cases at once.
fn ask(python: &Path, questions: &[Value]) -> Vec<Value> {
    let folder = tempfile::tempdir().unwrap();
    let (cases, answers) = (folder.path().join("cases.json"), folder.path().join("answers.json"));
    fs::write(&cases, serde_json::to_vec(questions).unwrap()).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/judge/judge.py");
    let output = Command::new(python).arg(script).arg(&cases).arg(&answers).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&fs::read(&answers).unwrap()).unwrap()
}

/// What is wrong with an answer, if anything.
fn objection(case: &Case, results: &[Tensor], answer: &Value) -> Option<String> {
    let Some(answers) = answer.as_array() else { return Some(answer.to_string()) };
    if answers.len() != results.len() {
        return Some(format!("{} results instead of {}", results.len(), answers.len()));
    }
    let allowed = tolerance::tolerance(&case.op, &case.inputs);
    results.iter().zip(answers).find_map(|(result, answer)| {
        let Some(answer) = onnx::decode(answer) else {
            return Some(format!("no tensor: {answer}"));
        };
        if result.dtype() != answer.dtype() {
            return Some(format!("{} instead of {}", result.dtype(), answer.dtype()));
        }
        match compare(&answer, result, allowed) {
            Ok(difference) if difference.is_within() => None,
            Ok(difference) => Some(format!("{difference:?}, allowed: {allowed:?}")),
            Err(shapes) => Some(shapes),
        }
    })
}

#[test]
fn operators_in_onnx_runtime() {
    let Some(python) = bunjae_testkit::python("operators_in_onnx_runtime") else { return };
    let cases = cases::all();
    let results: Vec<Vec<Tensor>> = cases.iter().map(compute).collect();
    let questions: Vec<Value> = cases
        .iter()
        .zip(&results)
        .map(|(case, results)| onnx::case(&case.op, &case.inputs, results))
        .collect();
    let answers = ask(&python, &questions);
    assert_eq!(answers.len(), cases.len());
    let objections: Vec<String> = cases
        .iter()
        .zip(&results)
        .zip(&answers)
        .filter_map(|((case, results), answer)| {
            let objection = objection(case, results, answer)?;
            Some(format!("{}\n    {objection}", describe(case)))
        })
        .collect();
    assert!(
        objections.is_empty(),
        "{} of {} cases:\n{}",
        objections.len(),
        cases.len(),
        objections.join("\n")
    );
}

/// A comparison that accepts everything would be no judgement.
#[test]
fn a_wrong_number_is_objected_to() {
    let encode = |results: &[Tensor]| Value::from_iter(results.iter().map(onnx::encode));
    for case in cases::all() {
        let results = compute(&case);
        assert_eq!(objection(&case, &results, &encode(&results)), None);
        let mut wrong = results.clone();
        let finite = results[0].to_f64_vec();
        let largest = finite.iter().filter(|x| x.is_finite()).fold(0.0, |a, x| x.abs().max(a));
        let by = if largest == 0.0 { 1.0 } else { largest / 20.0 };
        let Some(at) = finite.iter().position(|x| x.is_finite()) else {
            continue;
        };
        disturb(&mut wrong[0], at, by);
        let found = objection(&case, &results, &encode(&wrong));
        assert!(found.is_some(), "{}", describe(&case));
    }
}

/// Changes one element by about `by`, integers by 1.
fn disturb(tensor: &mut Tensor, at: usize, by: f64) {
    match tensor.dtype() {
        DType::F32 => tensor.elements_mut::<f32>().unwrap()[at] += by as f32,
        DType::F64 => tensor.elements_mut::<f64>().unwrap()[at] += by,
        DType::I8 | DType::U8 | DType::I32 | DType::I64 => {
            let place = at * tensor.dtype().size();
            tensor.bytes_mut()[place] ^= 1;
        }
    }
}

/// An operator that the judge is never asked about might mean anything. What belongs to training has
/// no counterpart in ONNX; finite differences judge it, in the tests of the passes.
#[test]
fn every_operator_has_a_case() {
    let cases = cases::all();
    let training = examples().into_iter().filter(|example| example.op.is_training());
    let training = training.map(|example| example.op.name());
    let named: BTreeSet<&str> = cases.iter().map(|case| case.op.name()).chain(training).collect();
    let missing: Vec<&str> = Op::names().filter(|name| !named.contains(name)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}
