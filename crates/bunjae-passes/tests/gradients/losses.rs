//! Losses: their values by other tools, and their gradients by finite differences.

use bunjae_interp::run;
use bunjae_ir::{Graph, TensorId, TensorType};
use bunjae_passes::losses::{
    FitNets, LossError, attention_transfer, binary_cross_entropy, cross_entropy,
    decoupled_distillation, distillation, fitnets, focal, mean_squared_error,
    relation_distillation, weighted_sum,
};
use bunjae_tensor::{DType, Random, Tensor};
use bunjae_testkit::fill::uniform;

use super::differences::compare;

/// A loss of the first operands, by what writes it; all are inputs of the graph.
type Write<'a> = &'a dyn Fn(&mut Graph, &[TensorId]) -> Result<TensorId, LossError>;

fn graph_of(shapes: &[&[usize]], write: Write<'_>) -> (Graph, TensorId) {
    let mut graph = Graph::new("loss");
    let operands: Vec<TensorId> = shapes
        .iter()
        .enumerate()
        .map(|(at, shape)| {
            let ty = TensorType::new(DType::F64, shape.to_vec());
            graph.input(&format!("x{at}"), ty).unwrap()
        })
        .collect();
    let loss = write(&mut graph, &operands).unwrap();
    graph.output("loss", loss).unwrap();
    assert_eq!(graph.verify(), Ok(()));
    (graph, loss)
}

/// The value of a loss of operands of rank 2.
fn value(operands: &[&[&[f64]]], write: Write<'_>) -> f64 {
    let shapes: Vec<[usize; 2]> = operands.iter().map(|rows| [rows.len(), rows[0].len()]).collect();
    let shapes: Vec<&[usize]> = shapes.iter().map(|shape| &shape[..]).collect();
    let (graph, _) = graph_of(&shapes, write);
    let inputs = operands.iter().zip(&shapes);
    let inputs: Vec<Tensor> =
        inputs.map(|(rows, shape)| Tensor::from_slice(shape, &rows.concat()).unwrap()).collect();
    run(&graph, &inputs).unwrap()[0].to_f64_vec()[0]
}

const STUDENT: &[&[f64]] = &[&[2.0, 0.5, -1.0], &[0.0, 1.0, 3.0]];
const TEACHER: &[&[f64]] = &[&[3.0, 1.0, -2.0], &[0.5, 0.0, 2.5]];
const TARGETS: &[&[f64]] = &[&[1.0, 0.0, 0.0], &[0.0, 0.0, 1.0]];

#[track_caller]
fn assert_near(found: f64, expected: f64, allowed: f64) {
    assert!((found - expected).abs() <= allowed, "{found} instead of {expected}");
}

/// The figures are those of RepDistiller's `KD`, mdistiller's `DKD` and hunto's `DIST`, to six places.
/// Those of `DKD` are by its formula in PyTorch's f64: in f32, which is what it is used with, they come
/// out as 2.214622, 0.071376 and 0.267906.
#[test]
fn distillation_has_the_values_of_the_authors() {
    for (temperature, expected) in [(1.0, 0.043991), (2.0, 0.130449), (4.0, 0.206371)] {
        let found = value(&[STUDENT, TEACHER], &|graph, x| {
            distillation(graph, "kd", x[0], x[1], temperature)
        });
        assert_near(found, expected, 1e-6);
    }
    let cases = [(1.0, 8.0, 2.214619253), (1.0, 0.0, 0.071376386), (0.0, 1.0, 0.267905358)];
    for (alpha, beta, expected) in cases {
        let found = value(&[STUDENT, TEACHER, TARGETS], &|graph, x| {
            decoupled_distillation(graph, "dkd", x[0], x[1], x[2], 4.0, alpha, beta)
        });
        assert_near(found, expected, 1e-9);
    }
    let found = value(&[STUDENT, TEACHER], &|graph, x| {
        relation_distillation(graph, "dist", x[0], x[1], 1.0, 1.0, 1.0)
    });
    assert_near(found, 0.005125, 1e-6);
}

#[test]
fn of_two_classes_decoupled_distillation_is_plain() {
    let (student, teacher): (&[&[f64]], &[&[f64]]) =
        (&[&[2.0, -1.0], &[0.0, 0.5], &[-3.0, 9.0]], &[&[1.0, 0.5], &[-1.0, 2.5], &[30.0, -8.0]]);
    let targets: &[&[f64]] = &[&[1.0, 0.0], &[1.0, 0.0], &[0.0, 1.0]];
    for temperature in [1.0, 4.0] {
        let plain = value(&[student, teacher], &|graph, x| {
            distillation(graph, "kd", x[0], x[1], temperature)
        });
        let decoupled = value(&[student, teacher, targets], &|graph, x| {
            decoupled_distillation(graph, "dkd", x[0], x[1], x[2], temperature, 1.0, 8.0)
        });
        assert!(plain > 0.1, "{plain}");
        assert_near(decoupled, plain, 1e-12);
    }
}

#[test]
fn entropies_are_those_of_paper_and_pencil() {
    let half: &[&[f64]] = &[&[0.0, 0.0], &[0.0, 3f64.ln()]];
    let targets: &[&[f64]] = &[&[1.0, 0.0], &[0.5, 0.5]];
    // ln 2 for the first; for the second, of probabilities 1/4 and 3/4, the mean of their logarithms.
    let second = -(0.25f64.ln() + 0.75f64.ln()) / 2.0;
    let found = value(&[half, targets], &|graph, x| cross_entropy(graph, "ce", x[0], x[1], None));
    assert_near(found, (2f64.ln() + second) / 2.0, 1e-15);
    // (1 - p)^2: 1/4 for the first; 9/16 and 1/16 for the second.
    let second = -(0.25f64.ln() * 9.0 / 16.0 + 0.75f64.ln() / 16.0) / 2.0;
    let found = value(&[half, targets], &|graph, x| focal(graph, "f", x[0], x[1], None, 2.0));
    assert_near(found, (2f64.ln() / 4.0 + second) / 2.0, 1e-15);
    let logits: &[&[f64]] = &[&[0.0, 3f64.ln(), -900.0]];
    let found = value(&[logits, &[&[1.0, 0.25, 0.0]]], &|graph, x| {
        binary_cross_entropy(graph, "bce", x[0], x[1], None)
    });
    // sigmoid is 1/2, 3/4 and 0.
    let expected = (2f64.ln() - 0.25 * 0.75f64.ln() - 0.75 * 0.25f64.ln()) / 3.0;
    assert_near(found, expected, 1e-15);
    let found = value(&[&[&[1.0, 5.0]], &[&[3.0, 4.0]]], &|graph, x| {
        mean_squared_error(graph, "mse", x[0], x[1])
    });
    assert_near(found, 2.5, 0.0);
}

#[test]
fn weights_of_examples_count() {
    let mut graph = Graph::new("weighted");
    let ty = |dims: &[usize]| TensorType::new(DType::F64, dims.to_vec());
    let logits = graph.input("x", ty(&[2, 2])).unwrap();
    let targets = graph.input("t", ty(&[2, 2])).unwrap();
    let weights = graph.input("w", ty(&[2])).unwrap();
    let loss = cross_entropy(&mut graph, "ce", logits, targets, Some(weights)).unwrap();
    let half = weighted_sum(&mut graph, "total", &[(0.5, loss), (0.25, loss)]).unwrap();
    graph.output("loss", half).unwrap();
    let square = |values: [f64; 4]| Tensor::from_slice(&[2, 2], &values).unwrap();
    let x = square([0.0, 0.0, 0.0, 3f64.ln()]);
    let t = square([1.0, 0.0, 0.0, 1.0]);
    let w = Tensor::from_slice(&[2], &[3.0, 0.5]).unwrap();
    let found = run(&graph, &[x, t, w]).unwrap()[0].to_f64_vec()[0];
    let mean = (3.0 * 2f64.ln() - 0.5 * 0.75f64.ln()) / 2.0;
    assert_near(found, 0.75 * mean, 1e-15);
}

/// By the formulas of Zagoruyko and of Romero, on one picture each.
#[test]
fn features_are_compared_by_their_formulas() {
    // Squares of the student's channels: 1, 4, 0, 0 and 7, 4, 0, 32, of which the mean 4, 4, 0, 16; of
    // length 12 sqrt 2. The teacher's: 3, 4 of length 5.
    let (graph, _) = graph_of(&[&[1, 2, 2, 2], &[1, 1, 2, 2]], &|graph, x| {
        attention_transfer(graph, "at", x[0], x[1])
    });
    let student = [1.0, 2.0, 0.0, 0.0, 7f64.sqrt(), 2.0, 0.0, 32f64.sqrt()];
    let teacher = [3f64.sqrt(), 2.0, 0.0, 0.0];
    let inputs = [
        Tensor::from_slice(&[1, 2, 2, 2], &student).unwrap(),
        Tensor::from_slice(&[1, 1, 2, 2], &teacher).unwrap(),
    ];
    let found = run(&graph, &inputs).unwrap()[0].to_f64_vec()[0];
    let length = 288f64.sqrt();
    let expected = [4.0 / length - 0.6, 4.0 / length - 0.8, 0.0, 16.0 / length];
    assert_near(found, expected.iter().map(|x| x * x).sum::<f64>() / 4.0, 1e-14);
    // A regressor that doubles and adds the channels.
    let (graph, _) = graph_of(&[&[1, 2, 1, 1], &[1, 1, 1, 1], &[1, 2, 1, 1]], &|graph, x| {
        fitnets(graph, "hint", FitNets { student: x[0], teacher: x[1], regressor: Some(x[2]) })
    });
    let inputs = [
        Tensor::from_slice(&[1, 2, 1, 1], &[3.0, 4.0]).unwrap(),
        Tensor::from_slice(&[1, 1, 1, 1], &[10.0]).unwrap(),
        Tensor::from_slice(&[1, 2, 1, 1], &[2.0, 1.0]).unwrap(),
    ];
    assert_near(run(&graph, &inputs).unwrap()[0].to_f64_vec()[0], 0.0, 0.0);
}

#[test]
fn losses_agree_with_finite_differences() {
    let scores: &[&[usize]] = &[&[4, 5], &[4, 5]];
    let with_targets: &[&[usize]] = &[&[4, 5], &[4, 5], &[4, 5]];
    let weighted: &[&[usize]] = &[&[4, 5], &[4, 5], &[4]];
    let maps: &[&[usize]] = &[&[2, 3, 4, 6], &[2, 5, 2, 2]];
    let hints: &[&[usize]] = &[&[2, 3, 3, 2], &[2, 4, 3, 2], &[4, 3, 1, 1]];
    let cases: &[(&str, &[&[usize]], Write<'_>)] = &[
        ("ce", weighted, &|g, x| cross_entropy(g, "ce", x[0], x[1], Some(x[2]))),
        ("focal", weighted, &|g, x| focal(g, "focal", x[0], x[1], Some(x[2]), 2.0)),
        ("soft focal", scores, &|g, x| focal(g, "focal", x[0], x[1], None, 0.5)),
        ("bce", with_targets, &|g, x| binary_cross_entropy(g, "bce", x[0], x[1], Some(x[2]))),
        ("mse", scores, &|g, x| mean_squared_error(g, "mse", x[0], x[1])),
        ("kd", scores, &|g, x| distillation(g, "kd", x[0], x[1], 3.0)),
        ("dkd", scores, &|g, x| {
            let targets: Vec<f64> = (0..20).map(|at| f64::from(at / 5 == at % 5)).collect();
            let targets = g.constant("t", Tensor::from_slice(&[4, 5], &targets).unwrap());
            decoupled_distillation(g, "dkd", x[0], x[1], targets.unwrap(), 2.0, 1.0, 8.0)
        }),
        ("dist", scores, &|g, x| relation_distillation(g, "dist", x[0], x[1], 2.0, 2.0, 0.5)),
        ("at", maps, &|g, x| attention_transfer(g, "at", x[0], x[1])),
        ("fitnets", hints, &|g, x| {
            fitnets(g, "hint", FitNets { student: x[0], teacher: x[1], regressor: Some(x[2]) })
        }),
        ("sum", scores, &|g, x| {
            let hard = cross_entropy(g, "ce", x[0], x[1], None)?;
            let soft = distillation(g, "kd", x[0], x[1], 4.0)?;
            weighted_sum(g, "total", &[(0.1, hard), (0.9, soft)])
        }),
    ];
    for (at, (name, shapes, write)) in cases.iter().enumerate() {
        let (graph, loss) = graph_of(shapes, write);
        let mut random = Random::new(at as u64);
        let asked = graph.inputs().to_vec();
        let types = asked.iter().map(|&id| graph.ty(id));
        let inputs: Vec<Tensor> =
            types.map(|ty| uniform(ty, -2.0, 2.0, &mut random).unwrap()).collect();
        let outcome = compare(&graph, loss, &asked, &inputs, 60, name).unwrap();
        assert_eq!(outcome.wrong, [""; 0]);
        assert!(outcome.compared >= 30 && outcome.kinks == 0, "{name}: {outcome:?}");
    }
}

#[test]
fn operands_that_do_not_fit_are_refused_by_name() {
    let mut graph = Graph::new("refused");
    let mut input = |name: &str, dims: &[usize]| {
        graph.input(name, TensorType::new(DType::F32, dims.to_vec())).unwrap()
    };
    let (x, t, column) = (input("x", &[4, 3]), input("t", &[3]), input("column", &[4, 1]));
    let (big, small) = (input("big", &[1, 2, 5, 5]), input("small", &[1, 2, 3, 3]));
    let message = |error: Result<TensorId, LossError>| error.unwrap_err().to_string();
    let graph = &mut graph;
    assert_eq!(
        message(cross_entropy(graph, "ce", x, t, None)),
        "ce: t should be [examples, classes], but is f32[3]"
    );
    // [4] times [4,1] would be [4,4].
    let weighted = message(cross_entropy(graph, "ce", x, x, Some(column)));
    assert!(weighted.contains("column is f32[4,1]"), "{weighted}");
    assert!(message(mean_squared_error(graph, "mse", x, t)).contains("should be the same"));
    assert_eq!(
        message(distillation(graph, "kd", x, x, 0.0)),
        "kd: the temperature should be above 0, but is 0"
    );
    let sizes = message(attention_transfer(graph, "at", big, small));
    assert!(sizes.contains("5 and 3 are no multiples"), "{sizes}");
    assert_eq!(message(weighted_sum(graph, "total", &[])), "total: a sum of no losses");
}
