//! Every operator alone.

use bunjae_ir::examples::examples;
use bunjae_ir::{Bindings, GraphError, Op, TensorType};
use bunjae_tensor::{DType, Random};
use bunjae_testkit::fill::uniform;
use bunjae_testkit::onnx_runtime::Job;
use bunjae_testkit::python;

use super::{OPSETS, Trial, interpret, judge, random_inputs, saved};

#[test]
fn every_operator_means_the_same_in_every_operator_set() {
    let Some(python) = python("every_operator_means_the_same_in_every_operator_set") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let mut random = Random::new(3);
    let mut trials = Vec::new();
    for (at, example) in examples().iter().enumerate() {
        // ONNX Runtime has no double-precision kernels for most operators, nor any for training.
        if example.op.is_training() || example.inputs.iter().any(|ty| ty.dtype == DType::F64) {
            continue;
        }
        let graph = example.graph::<GraphError>(|at: usize, ty: &TensorType| {
            // Variances are positive.
            uniform(ty, if at == 4 { 0.5 } else { -2.0 }, 2.0, &mut random)
        });
        let graph = graph.unwrap();
        let mut inputs = random_inputs(&graph, &Bindings::new(), &mut random);
        if matches!(&example.op, Op::Cast(cast) if cast.to == DType::U8) {
            // The format does not say what becomes of numbers that the new type does not have.
            inputs[0].1 = uniform(&example.inputs[0], 0.0, 200.0, &mut random).unwrap();
        }
        let expected = interpret(&graph, &inputs);
        for opset in OPSETS {
            let model = folder.path().join(format!("{at}.{opset}.onnx"));
            if saved(&model, &graph, opset) {
                trials.push(Trial {
                    what: format!("{:?} of {:?} in set {opset}", example.op, example.inputs),
                    job: Job { model, inputs: inputs.clone() },
                    expected: expected.clone(),
                    allowed: 2e-6,
                });
            }
        }
    }
    let (_, objections) = judge(&python, folder.path(), &trials);
    assert_eq!(objections, [""; 0], "{} of {}", objections.len(), trials.len());
    assert!(trials.len() > 1000, "{}", trials.len());
}
