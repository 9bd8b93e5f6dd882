//! Whole networks against PyTorch: the gradients in `golden_gradients/torch.golden`, which the script
//! beside it prints.

use std::collections::BTreeMap;

use bunjae_interp::run;
use bunjae_ir::op::{
    AveragePool, BatchNorm, Binary, Concat, Conv2d, ConvTranspose2d, Coordinates, Flatten,
    GlobalPool, Groups, MaxPool, Resize, ResizeMode, Unary,
};
use bunjae_ir::{Graph, Op, TensorId, TensorType};
use bunjae_passes::losses::{cross_entropy, distillation, mean_squared_error, weighted_sum};
use bunjae_passes::{differentiate, for_training};
use bunjae_tensor::{DType, Tensor};

const GOLDEN: &str = include_str!("../golden_gradients/torch.golden");

/// How far two computations in f64 may be from each other, as a share of the size of the gradient: they
/// add some thousands of products in other orders.
const ALLOWED: f64 = 1e-11;

/// The formula of the script.
fn values(name: &str, shape: &[usize], low: f64, high: f64) -> Tensor {
    let seed: usize = name.bytes().zip(1..).map(|(byte, at)| usize::from(byte) * at).sum();
    let fraction = |index: usize| {
        let number = (index * index * 7 + index * 37 + seed * 101) % 1009;
        number as f64 / 1009.0 - 0.5
    };
    let count: usize = shape.iter().product();
    let numbers: Vec<f64> =
        (0..count).map(|index| (low + high) / 2.0 + (high - low) * fraction(index)).collect();
    Tensor::from_slice(shape, &numbers).unwrap()
}

/// A network under construction.
struct Net {
    graph: Graph,
    tensors: BTreeMap<String, TensorId>,
}

impl Net {
    fn new(name: &str, input: &[usize]) -> Net {
        let mut graph = Graph::new(name);
        let x = graph.input("x", TensorType::new(DType::F64, input.to_vec())).unwrap();
        Net { graph, tensors: BTreeMap::from([("x".to_string(), x)]) }
    }

    fn weight(&mut self, name: String, shape: &[usize], low: f64, high: f64) -> TensorId {
        self.graph.weight(&name, values(&name, shape, low, high)).unwrap()
    }

    fn filter(&mut self, layer: &str, shape: &[usize], fan_in: usize) -> TensorId {
        let bound = (6.0 / fan_in as f64).sqrt();
        self.weight(format!("{layer}.weight"), shape, -bound, bound)
    }

    fn bias(&mut self, layer: &str, size: usize) -> TensorId {
        self.weight(format!("{layer}.bias"), &[size], -0.5, 0.5)
    }

    /// Adds a layer, written as in the golden file.
    fn layer(&mut self, line: &str) {
        let mut words = line.split_whitespace();
        let (name, kind) = (words.next().unwrap(), words.next().unwrap());
        let mut operands = Vec::new();
        let mut options = BTreeMap::new();
        for word in words {
            match word.split_once('=') {
                Some((key, value)) => _ = options.insert(key, value.parse::<usize>().unwrap()),
                None => operands.push(self.tensors[word]),
            }
        }
        let of = |key: &str, default: usize| options.get(key).copied().unwrap_or(default);
        let (kernel, out) = ([of("kernel", 1); 2], of("out", 1));
        let (stride, pad) = ([of("stride", 1); 2], [of("pad", 0); 4]);
        let channels = self.graph.ty(operands[0]).dims[1].fixed().unwrap();
        let count = of("groups", 1);
        let groups = match count {
            1 => Groups::Dense,
            count if count == channels => Groups::Depthwise,
            count => Groups::Grouped(count),
        };
        let op: Op = match kind {
            "conv" => {
                let seen = channels / count;
                let shape = [out, seen, kernel[0], kernel[1]];
                operands.push(self.filter(name, &shape, seen * kernel[0] * kernel[1]));
                if of("bias", 0) == 1 {
                    operands.push(self.bias(name, out));
                }
                let dilation = [of("dilation", 1); 2];
                Op::Conv2d(Conv2d { stride, dilation, pad, groups })
            }
            "deconv" => {
                let shape = [channels, out / count, kernel[0], kernel[1]];
                operands.push(self.filter(name, &shape, channels * kernel[0]));
                operands.push(self.bias(name, out));
                let output_pad = [of("output_pad", 0); 2];
                Op::ConvTranspose2d(ConvTranspose2d {
                    stride,
                    pad,
                    output_pad,
                    groups,
                    ..ConvTranspose2d::default()
                })
            }
            "bn" => {
                operands.push(self.weight(format!("{name}.gamma"), &[channels], 0.5, 1.5));
                operands.push(self.weight(format!("{name}.beta"), &[channels], -0.5, 0.5));
                for statistic in ["mean", "variance"] {
                    let running = Tensor::zeros(DType::F64, &[channels]).unwrap();
                    let name = format!("{name}.{statistic}");
                    operands.push(self.graph.constant(&name, running).unwrap());
                }
                Op::BatchNorm(BatchNorm::default())
            }
            "linear" => {
                operands.push(self.filter(name, &[out, channels], channels));
                operands.push(self.bias(name, out));
                Op::Linear
            }
            "prelu" => {
                operands.push(self.weight(format!("{name}.slope"), &[channels, 1, 1], 0.1, 0.4));
                Op::PRelu
            }
            "max_pool" => Op::MaxPool(MaxPool { kernel, stride, pad, ..MaxPool::default() }),
            "average_pool" => {
                Op::AveragePool(AveragePool { kernel, stride, pad, ..AveragePool::default() })
            }
            "upsample" => Op::Resize(Resize {
                mode: ResizeMode::Linear,
                coordinates: Coordinates::HalfPixel,
                ..Resize::default()
            }),
            "global_pool" => Op::GlobalPool(GlobalPool::default()),
            "add" => Binary::Add.into(),
            "mul" => Binary::Mul.into(),
            "concat" => Op::Concat(Concat::default()),
            "flatten" => Op::Flatten(Flatten::default()),
            "relu" => Unary::Relu.into(),
            "relu6" => Unary::Clip { min: 0.0, max: 6.0 }.into(),
            "leaky_relu" => Unary::LeakyRelu { alpha: 0.1 }.into(),
            "hard_sigmoid" => Unary::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }.into(),
            "hard_swish" => Unary::HardSwish.into(),
            "silu" => Unary::Silu.into(),
            "gelu" => Unary::Gelu { tanh: false }.into(),
            "tanh" => Unary::Tanh.into(),
            other => panic!("no layer {other}"),
        };
        let y = self.graph.push(name, op, &operands).unwrap();
        self.tensors.insert(name.to_string(), y);
    }

    /// The graph in training, with the loss as its only output but for the statistics.
    fn finish(mut self, last: &str, kind: &str) -> (Graph, TensorId) {
        self.graph.output("y", self.tensors[last]).unwrap();
        let mut graph = for_training(&self.graph, |_| false).unwrap().graph;
        let y = graph.outputs()[0].tensor;
        let shape = graph.ty(y).fixed_shape().unwrap();
        let mut constant = |name: &str, tensor: Tensor| graph.constant(name, tensor).unwrap();
        let loss = if kind == "squares" {
            let target = constant("target", values("target", &shape, -1.0, 1.0));
            mean_squared_error(&mut graph, "loss", y, target).unwrap()
        } else {
            let (count, classes) = (shape[0], shape[1]);
            let target = |at: usize| {
                let own = at / classes % classes == at % classes;
                0.1 / classes as f64 + if own { 0.9 } else { 0.0 }
            };
            let targets: Vec<f64> = (0..count * classes).map(target).collect();
            let targets = constant("targets", Tensor::from_slice(&shape, &targets).unwrap());
            let weights = constant("weights", values("weights", &[count], 0.5, 1.5));
            let teacher = constant("teacher", values("teacher", &shape, -3.0, 3.0));
            let hard = cross_entropy(&mut graph, "hard", y, targets, Some(weights)).unwrap();
            match kind {
                "entropy" => hard,
                _ => {
                    let soft = distillation(&mut graph, "soft", y, teacher, 4.0).unwrap();
                    weighted_sum(&mut graph, "loss", &[(0.1, hard), (0.9, soft)]).unwrap()
                }
            }
        };
        (graph, loss)
    }
}

/// Compares a gradient with the numbers of a line of the golden file.
fn compare(context: &str, gradient: &Tensor, numbers: &[f64]) {
    let values = gradient.to_f64_vec();
    let [sum, squares, picked @ ..] = numbers else { panic!("{context}: too few numbers") };
    let count = values.len();
    // Of the size of one element, or of the sum of all of them.
    let size = (squares / count as f64).sqrt();
    let near = |found: f64, expected: f64, size: f64, what: &str| {
        assert!(
            (found - expected).abs() <= ALLOWED * size,
            "{context}, {what}: {found} instead of {expected}"
        );
    };
    near(values.iter().sum(), *sum, size * count as f64, "sum");
    near(values.iter().map(|x| x * x).sum(), *squares, *squares, "sum of squares");
    for (at, &expected) in [0, count / 3, 2 * count / 3, count - 1].into_iter().zip(picked) {
        near(values[at], expected, size.max(expected.abs()), &format!("element {at}"));
    }
}

#[test]
fn networks_have_the_gradients_of_pytorch() {
    let mut nets = 0;
    for text in GOLDEN.split("net ").skip(1) {
        let mut lines = text.lines();
        let name = lines.next().unwrap();
        let lines: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(' ')).collect();
        let all = |word: &'static str| {
            lines.iter().filter(move |(first, _)| *first == word).map(|(_, rest)| *rest)
        };
        let sizes = all("input").next().unwrap().split(' ');
        let shape: Vec<usize> = sizes.map(|size| size.parse().unwrap()).collect();
        let mut net = Net::new(name, &shape);
        let mut last = "";
        for line in all("layer") {
            net.layer(line);
            last = line.split(' ').next().unwrap();
        }
        let (kind, value) = all("loss").next().unwrap().split_once(' ').unwrap();
        let (graph, loss) = net.finish(last, kind);
        let golden: Vec<Vec<&str>> = all("grad").map(|line| line.split(' ').collect()).collect();
        let find = |label: &str| match label {
            "x" => graph.inputs()[0],
            label => graph.find_weight(label).unwrap_or_else(|| panic!("{name}: no {label}")),
        };
        let asked: Vec<TensorId> = golden.iter().map(|words| find(words[0])).collect();
        // Every weight that can be trained has a line.
        let trainable = bunjae_passes::trainable_weights(&graph, loss);
        assert_eq!(trainable.len() + 1, asked.len(), "{name}");
        let mut training = differentiate(&graph, loss, &asked).unwrap();
        training.output("loss", loss).unwrap();
        assert_eq!(training.verify(), Ok(()));
        let x = values("x", &shape, -1.5, 1.5);
        let outputs = run(&training, &[x]).unwrap();
        let (found, expected) =
            (outputs.last().unwrap().to_f64_vec()[0], value.parse::<f64>().unwrap());
        assert!((found - expected).abs() < 1e-13, "{name}: loss {found} instead of {expected}");
        for (words, gradient) in golden.iter().zip(&outputs[graph.outputs().len()..]) {
            let context = format!("{name}, grad.{}", words[0]);
            assert_eq!(gradient.len().to_string(), words[1], "{context}");
            let numbers: Vec<f64> = words[2..].iter().map(|word| word.parse().unwrap()).collect();
            compare(&context, gradient, &numbers);
        }
        nets += 1;
    }
    assert_eq!(nets, 4);
}
