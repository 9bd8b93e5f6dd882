//! The text form through the public interface: what prints parses back to the same graph, and
//! whatever is fed to the parser, it answers.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "the helpers of a test fail by panicking, too")]

use bunjae_ir::examples::examples;
use bunjae_ir::op::{Binary, Conv2d, Groups, PadMode, Unary};
use bunjae_ir::{Dim, Graph, GraphError, Op, TensorType, Weights, op};
use bunjae_tensor::{DType, Random, Tensor, TensorError};
use bunjae_testkit::random_graph::random_graph;

/// A text with every kind of statement, and settings of every form.
const SAMPLE: &str = r#"
; A comment, and a blank line above.
graph @"sample net"
meta "bunjae.labels" = "cat,\"dog\"\n"
meta "a" = ""
in   %x: f32[N,4,H,W]
in   %"1": f32[N,8]
w    @c1.w: f32[4,4,3,3] = rand(seed=1)
w    @"c1 b": f32[4] frozen = [0, 0.5, -1e-7, inf]
%1 = conv2d %x, @c1.w, @"c1 b" {pad=[1,1,1,1], stride=[2,2]} : f32[N,4,(H+1)/2,(W+1)/2] ; "layer1.0"
w    @late: f32[1,4,1,1] = full(nan)
%2 = mul %1, @late : f32[N,4,(H+1)/2,(W+1)/2]
%4, %3 = split %2 {sizes=[1,3]} : f32[N,1,(H+1)/2,(W+1)/2], f32[N,3,(H+1)/2,(W+1)/2] ; "cut"
%5 = slice %3 {ranges=[[1,0,end,2],[2,-3,end,1]]} : f32[N,2,3,(W+1)/2]
%6 = reshape %"1" {map=[[1,_],[1,2,_,2]]} : f32[N,2,2,2]
%7 = resize %6 {to=[scale,1.5,2.0], mode=linear} : f32[N,2,3,4]
%8 = pad %7 {pads=[[2,0,1]], value=-inf} : f32[N,2,4,4]
w    @scale: f32[] = [0.1]
w    @zero: u8[] = randint(seed=2, low=0, high=255)
%9 = quantize %8, @scale, @zero : u8[N,2,4,4]
out  %5 ; "cut"
out  %9
"#;

fn round_trip(graph: &Graph) -> String {
    let text = graph.to_string();
    let back = Graph::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert!(back == *graph, "the parsed graph differs:\n{text}");
    assert_eq!(back.to_string(), text);
    text
}

#[test]
fn hand_written_text_becomes_canonical() {
    let graph = Graph::parse(SAMPLE).unwrap();
    let text = round_trip(&graph);
    for line in [
        "graph @\"sample net\"",
        "meta \"a\" = \"\"",
        "in   %\"1\": f32[N,8]",
        "w    @\"c1 b\": f32[4] frozen = [0, 0.5, -1e-7, inf]",
        "%3, %4 = split %2 {sizes=[1,3]}                  : \
         f32[N,1,(H+1)/2,(W+1)/2], f32[N,3,(H+1)/2,(W+1)/2] ; \"cut\"",
        "%5 = slice %4 {ranges=[[1,0,end,2],[2,-3,end,1]]} : f32[N,2,3,(W+1)/2]",
        "%8 = pad %7 {pads=[[2,0,1]], value=-inf}         : f32[N,2,4,4]",
        "out  %5 ; \"cut\"",
        "out  %9",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn names_and_texts_of_any_kind_survive() {
    let mut graph = Graph::new("");
    graph.metadata.insert("".into(), "\"\\\n\r\t\u{0}\u{7f}\u{85}\u{2028}é漢".into());
    let odd = [
        "1", "a b", "x:", "x:0", "%", "@", "\"", "\\", "", "in", "é", ";", "=", "a\nb", "-", "1.w",
    ];
    let mut last = None;
    for name in odd {
        let x = graph.input(name, TensorType::new(DType::F32, [2usize])).unwrap();
        let w = graph.constant(&format!("w{name}"), Tensor::scalar(1f32)).unwrap();
        last = Some(graph.push(name, Binary::Add, &[x, w]).unwrap());
        graph.output(name, x).unwrap();
    }
    graph.output("last", last.unwrap()).unwrap();
    round_trip(&graph);
}

#[test]
fn the_order_of_tensors_survives() {
    let mut graph = Graph::new("interleaved");
    let w = graph.weight("w", Tensor::scalar(2f32)).unwrap();
    let x = graph.input("x", TensorType::image(4, 6, 6)).unwrap();
    let split = Op::Split(op::Split { sizes: vec![1, 3], ..op::Split::default() });
    let parts = graph.push_multi("", split, &[x]).unwrap();
    let y = graph.input("y", TensorType::new(DType::F32, [1usize])).unwrap();
    let v = graph.weight("v", Tensor::scalar(3f32)).unwrap();
    let a = graph.push("a", Binary::Mul, &[parts[1], w]).unwrap();
    // The output stands before a later node, and a part is used by nobody.
    graph.output("first", a).unwrap();
    let b = graph.push("b", Binary::Mul, &[y, v]).unwrap();
    graph.output("weight", v).unwrap();
    graph.output("input", x).unwrap();
    graph.output("b", b).unwrap();
    let text = round_trip(&graph);
    assert!(text.contains("\n%3 = mul %2, @w "), "{text}");
}

#[test]
fn every_bit_of_a_weight_survives() {
    let mut random = Random::new(11);
    let mut graph = Graph::new("bits");
    let singles: Vec<f32> = (0..500).map(|_| f32::from_bits(random.bits() as u32)).collect();
    let doubles: Vec<f64> = (0..500).map(|_| f64::from_bits(random.bits())).collect();
    let nans = [0x7fc0_0000, 0xffc0_0000, 0x7f80_0001, 0x8000_0000].map(f32::from_bits);
    graph.weight("f32", Tensor::from_slice(&[500], &singles).unwrap()).unwrap();
    graph.weight("f64", Tensor::from_slice(&[5, 100], &doubles).unwrap()).unwrap();
    graph.weight("nan", Tensor::from_slice(&[2, 2], &nans).unwrap()).unwrap();
    graph.weight("i8", Tensor::from_slice(&[3], &[i8::MIN, 0, i8::MAX]).unwrap()).unwrap();
    graph.weight("u8", Tensor::from_slice(&[2], &[0, u8::MAX]).unwrap()).unwrap();
    graph.weight("i32", Tensor::from_slice(&[2], &[i32::MIN, i32::MAX]).unwrap()).unwrap();
    graph.weight("i64", Tensor::from_slice(&[2], &[i64::MIN, i64::MAX]).unwrap()).unwrap();
    graph.weight("none", Tensor::zeros(DType::F32, &[3, 0]).unwrap()).unwrap();
    round_trip(&graph);
}

#[test]
fn settings_that_are_defaults_are_left_out() {
    let mut graph = Graph::new("defaults");
    let x = graph.input("x", TensorType::image(4, 6, 6)).unwrap();
    let y = graph.push("", Unary::Clip { min: 0.0, max: 6.0 }, &[x]).unwrap();
    let z = graph.push("", Unary::Clip { min: f32::NEG_INFINITY, max: 1e-5 }, &[y]).unwrap();
    let pads = vec![[2, 1, 1]];
    let pad = op::Pad { pads, mode: PadMode::Reflect, value: 0.0 };
    let z = graph.push("", Op::Pad(pad), &[z]).unwrap();
    let w = graph.weight("w", Tensor::zeros(DType::F32, &[4, 1, 1, 1]).unwrap()).unwrap();
    let conv = Conv2d { groups: Groups::Depthwise, ..Conv2d::default() };
    graph.push("", Op::Conv2d(conv), &[z, w]).unwrap();
    let text = round_trip(&graph);
    assert!(text.contains("%1 = clip %x   "), "{text}");
    assert!(text.contains("%2 = clip %1 {max=1e-5, min=-inf}   "), "{text}");
    assert!(text.contains("%3 = pad %2 {mode=reflect, pads=[[2,1,1]]}   "), "{text}");
    assert!(text.contains("%4 = conv2d %3, @w {groups=depthwise}   "), "{text}");
}

#[test]
fn long_weights_can_be_elided_for_reading() {
    let mut graph = Graph::new("long");
    graph.weight("short", Tensor::zeros(DType::I8, &[16]).unwrap()).unwrap();
    graph.weight("long", Tensor::zeros(DType::I8, &[17]).unwrap()).unwrap();
    let text = graph.to_text(Weights::Elided);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[1], "w    @short: i8[16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]");
    // FNV-1a of 17 zero bytes: the offset basis times the prime to the power of 17.
    let hash = (0..17).fold(0xcbf29ce484222325u64, |h, _| h.wrapping_mul(0x100000001b3));
    assert_eq!(lines[2], format!("w    @long: i8[17] = elided(hash={hash:016x})"));
    let error = Graph::parse(&text).unwrap_err();
    assert_eq!((error.line, error.column), (3, 22));
    assert!(error.to_string().contains("printed for reading, not for parsing"), "{error}");
    let error = Graph::parse(&text.replace("i8[17]", "i8[16] frozen")).unwrap_err();
    assert!(error.to_string().contains("printed for reading"), "{error}");
}

#[test]
fn elements_can_be_kept_apart_from_the_text() {
    for graph in example_graphs() {
        let mut kept = Vec::new();
        let text = graph.to_text_apart(|tensor| {
            kept.push(tensor.clone());
            kept.len() as u64 * 64
        });
        let parsed = Graph::parse_apart(&text, |dtype, shape, place| {
            let tensor = kept[usize::try_from(place).unwrap() / 64 - 1].clone();
            assert_eq!((tensor.dtype(), tensor.shape()), (dtype, shape));
            Ok(tensor)
        });
        assert_eq!(parsed.unwrap(), graph);
    }
}

#[test]
fn elements_apart_are_read_only_where_they_are_expected() {
    let text = "graph @apart\nw    @w: f32[2] = at(64)\nout  @w ; \"y\"\n";
    let error = Graph::parse(text).unwrap_err();
    assert_eq!((error.line, error.column), (2, 19));
    assert!(error.to_string().contains("kept apart from the text"), "{error}");
    let refused = |text: &str| {
        let zeros = |dtype, shape: &[usize], _| Tensor::zeros(dtype, shape);
        Graph::parse_apart(text, zeros).unwrap_err().problem.to_string()
    };
    for value in ["[1, 2]", "zeros", "full(1)", "elided(hash=0)"] {
        let problem = refused(&text.replace("at(64)", value));
        assert!(problem.starts_with("expected the place of the elements"), "{problem}");
    }
    assert!(refused(&text.replace("64", "-1")).starts_with("expected a whole number"));
    assert!(refused(&text.replace("64", "99999999999999999999")).contains("a whole number"));
    let huge = refused(&text.replace("f32[2]", "f32[99999999999,99]"));
    assert!(huge.contains("larger than the limit"), "{huge}");
    let short = |_: DType, shape: &[usize], _| {
        Err(TensorError::Length { shape: shape.to_vec(), expected: 2, found: 1 })
    };
    let error = Graph::parse_apart(text, short).unwrap_err();
    assert!(error.to_string().contains("but 1 were given"), "{error}");
}

/// The graphs of all examples, their weights filled with random bytes.
fn example_graphs() -> impl Iterator<Item = Graph> {
    let mut random = Random::new(17);
    examples().into_iter().map(move |example| {
        let graph = example.graph(|_, ty| {
            let mut tensor = Tensor::zeros(ty.dtype, &ty.fixed_shape().unwrap())?;
            tensor.bytes_mut().fill_with(|| random.bits() as u8);
            Ok::<_, GraphError>(tensor)
        });
        graph.unwrap()
    })
}

#[test]
fn every_operator_survives() {
    for graph in example_graphs() {
        round_trip(&graph);
    }
}

#[test]
fn random_networks_survive() {
    let mut nodes = 0;
    for seed in 0..200 {
        let graph = random_graph(seed).unwrap().graph;
        assert_eq!(graph.verify(), Ok(()), "seed {seed}");
        round_trip(&graph);
        nodes += graph.nodes().len();
    }
    assert!(nodes > 2000, "only {nodes} nodes in 200 networks");
}

/// A dimension built at random by the operations that inference uses.
fn random_dim(random: &mut Random) -> Dim {
    let symbols = ["N", "H", "W_2", "_"];
    let mut dims: Vec<Dim> = symbols.iter().map(|name| Dim::symbol(name)).collect();
    for _ in 0..random.below(6) {
        let a = dims[random.below(dims.len())].clone();
        let b = dims[random.below(dims.len())].clone();
        let made = match random.below(6) {
            0 => a.add(random.integer(-9, 9)),
            1 => a.sum(&b),
            2 => a.product(&b),
            3 => a.product(&Dim::Fixed(random.below(5))),
            _ => a.floor_div(random.below(7)),
        };
        dims.extend(made);
    }
    dims.pop().unwrap_or(Dim::Fixed(0))
}

#[test]
fn symbolic_sizes_of_any_kind_survive() {
    let mut random = Random::new(5);
    for _ in 0..5000 {
        let mut graph = Graph::new("dims");
        let dims = [random_dim(&mut random), random_dim(&mut random)];
        graph.input("x", TensorType { dtype: DType::F32, dims: dims.to_vec() }).unwrap();
        round_trip(&graph);
    }
}

/// One random change of the text.
fn mutate(text: &str, random: &mut Random) -> String {
    const PIECES: &[&str] = &[
        "%",
        "@",
        "\"",
        "\\",
        "{",
        "}",
        "[",
        "]",
        "(",
        ")",
        ":",
        ";",
        "=",
        ",",
        " ",
        "\n",
        "\t",
        "\r\n",
        "é",
        "\u{0}",
        "-",
        "+",
        "*",
        "/",
        "_",
        ".",
        "0",
        "1",
        "3",
        "-1",
        "7",
        "65536",
        "9223372036854775807",
        "18446744073709551616",
        "1e40",
        "nan",
        "inf",
        "N",
        "H",
        "f32",
        "u8",
        "f64[]",
        "in",
        "w",
        "out",
        "meta",
        "graph",
        "frozen",
        "rand(seed=1)",
        "zeros",
        "conv2d",
        "relu",
        "split",
        "concat",
        "end",
        "true",
        "depthwise",
        "%1",
        "%x",
        "@late",
        "[[[[[[[[[[[[",
        "((((((((((((",
        "sizes=[0]",
        "\\u{",
        "\\u{d800}",
    ];
    let chars: Vec<char> = text.chars().collect();
    let at = random.below(chars.len() + 1);
    let reach = 1 + random.below(12);
    let end = (at + 1 + random.below(reach)).min(chars.len());
    let piece = PIECES[random.below(PIECES.len())];
    let string = |chars: &[char]| chars.iter().collect::<String>();
    match random.below(6) {
        // Insert, overwrite, delete, double, cut off; or put one line in the place of another.
        0 => string(&chars[..at]) + piece + &string(&chars[at..]),
        1 => string(&chars[..at]) + piece + &string(&chars[end.max(at)..]),
        2 => string(&chars[..at]) + &string(&chars[end.max(at)..]),
        3 => string(&chars[..end.max(at)]) + &string(&chars[at..]),
        4 if random.below(4) == 0 => string(&chars[..at]),
        _ => {
            let mut lines: Vec<&str> = text.lines().collect();
            let (a, b) = (random.below(lines.len().max(1)), random.below(lines.len().max(1)));
            match random.below(3) {
                0 if a < lines.len() => {
                    lines.remove(a);
                }
                1 if a < lines.len() => lines.insert(b, lines[a]),
                _ if a < lines.len() => lines.swap(a, b),
                _ => {}
            }
            lines.join("\n")
        }
    }
}

/// Parses a mutated text: true where it is valid, and then survives; false where it was refused,
/// with a place inside the text.
fn answers(text: &str) -> bool {
    let error = match Graph::parse(text) {
        Ok(graph) => {
            round_trip(&graph);
            return true;
        }
        Err(error) => error,
    };
    let line = text.lines().nth(error.line - 1).unwrap_or("");
    assert!(error.column <= line.chars().count() + 1, "{error}\n{text}");
    // The caret stands under the character that the column names, unless that is missing.
    let shown = error.to_string();
    let lines: Vec<&str> = shown.lines().collect();
    let [quoted, caret] = lines[lines.len() - 2..] else { panic!("{shown}") };
    let place = caret.chars().position(|c| c == '^').unwrap();
    let (named, under) = (line.chars().nth(error.column - 1), quoted.chars().nth(place));
    let same = named == under || named.is_some_and(char::is_control) || under.is_none();
    assert!(same, "{named:?} is not {under:?}\n{shown}");
    false
}

#[test]
fn mutated_text_parses_or_is_refused_with_a_place() {
    let mut texts = vec![SAMPLE.to_string()];
    texts.extend(example_graphs().map(|graph| graph.to_string()));
    let mut random = Random::new(2024);
    let (mut valid, mut refused) = (0, 0);
    for round in 0..12_000 {
        // The sample has most kinds of statements, so it has every other turn.
        let at = if round % 2 == 0 { 0 } else { random.below(texts.len()) };
        let mut text = texts[at].clone();
        for _ in 0..1 + round % 4 / 2 {
            text = mutate(&text, &mut random);
        }
        match answers(&text) {
            true => valid += 1,
            false => refused += 1,
        }
    }
    // Neither side may rot: most mutations are noticed, but not all do harm.
    assert!(valid > 1000 && refused > 6000, "{valid} parsed, {refused} refused");
}

#[test]
fn hostile_sizes_and_nesting_are_refused() {
    let deep = "[".repeat(100_000);
    let parens = "(".repeat(100_000);
    for text in [
        format!("graph @g\n%1 = relu %x {{a={deep}"),
        format!("graph @g\nin %x: f32[{parens}"),
        "graph @g\nw @w: f32[4294967296,4294967296] = zeros".to_string(),
        "graph @g\nw @w: i64[67108865] = ones".to_string(),
        "graph @g\nw @w: f32[67108865] = [0]".to_string(),
        "graph @g\nin %x: f32[N,3,9999999999,9999999999]\n%1 = relu %x : f32[]".to_string(),
    ] {
        let error = Graph::parse(&text).unwrap_err();
        let length = error.to_string().len();
        assert!(length < 600, "a message of {length} bytes");
    }
}
