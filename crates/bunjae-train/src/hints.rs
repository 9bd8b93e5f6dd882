//! Which layers of a student and a teacher are compared.

use bunjae_ir::{Dim, Graph, TensorId};
use bunjae_tensor::DType;

use crate::error::TrainError;
use crate::recipe::{Hint, Method};

/// Features that are compared, `[batch, channels, height, width]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pair {
    pub(crate) student: TensorId,
    pub(crate) teacher: TensorId,
}

/// The features of one picture size: the last that a network computes of that size, before it goes on
/// to a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stage {
    size: [usize; 2],
    tensor: TensorId,
}

/// What a method compares; nothing for methods that compare logits.
///
/// # Errors
/// [`TrainError::NoHint`], [`TrainError::NoCommonHints`].
pub(crate) fn pairs(
    method: &Method,
    student: &Graph,
    teacher: &Graph,
) -> Result<Vec<Pair>, TrainError> {
    let named = |hint: &Hint| {
        Ok(Pair {
            student: named("student", student, &hint.student)?,
            teacher: named("teacher", teacher, &hint.teacher)?,
        })
    };
    match method {
        Method::FitNet { hint: Some(hint), .. } => Ok(vec![named(hint)?]),
        Method::FitNet { hint: None, .. } => {
            let common = common(student, teacher)?;
            Ok(vec![common[common.len() / 2]])
        }
        Method::At { hints, .. } if hints.is_empty() => common(student, teacher),
        Method::At { hints, .. } => hints.iter().map(named).collect(),
        _ => Ok(Vec::new()),
    }
}

/// The height and width of features: f32 `[batch, channels, height, width]`.
fn size(graph: &Graph, id: TensorId) -> Option<[usize; 2]> {
    let ty = graph.ty(id);
    match ty.dims.as_slice() {
        [_, _, height, width] if ty.dtype == DType::F32 => Some([height.fixed()?, width.fixed()?]),
        _ => None,
    }
}

fn named(whose: &'static str, graph: &Graph, name: &str) -> Result<TensorId, TrainError> {
    let Some(node) = graph.nodes().iter().find(|node| node.name == name) else {
        return Err(TrainError::NoHint { whose, found: format!("no layer called `{name}`") });
    };
    let id = node.outputs[0];
    if size(graph, id).is_none() {
        let found =
            format!("`{name}`, which gives {}, not [batch, channels, height, width]", graph.ty(id));
        return Err(TrainError::NoHint { whose, found });
    }
    Ok(id)
}

/// The stages of a network in the order in which it comes to them, without those of one pixel.
fn stages(graph: &Graph) -> Vec<Stage> {
    let mut stages: Vec<Stage> = Vec::new();
    for id in graph.nodes().iter().map(|node| node.outputs[0]) {
        // Weights that are computed have no batch in front.
        let is_batch = graph.ty(id).dims.first().and_then(Dim::fixed) == batch(graph);
        match size(graph, id) {
            Some(size) if size != [1, 1] && is_batch => {
                match stages.iter_mut().find(|stage| stage.size == size) {
                    Some(stage) => stage.tensor = id,
                    None => stages.push(Stage { size, tensor: id }),
                }
            }
            _ => {}
        }
    }
    stages
}

fn batch(graph: &Graph) -> Option<usize> {
    let input = graph.inputs().first()?;
    graph.ty(*input).dims.first()?.fixed()
}

/// The stages of the sizes that both networks have; at least one.
fn common(student: &Graph, teacher: &Graph) -> Result<Vec<Pair>, TrainError> {
    let (own, other) = (stages(student), stages(teacher));
    let pairs: Vec<Pair> = own
        .iter()
        .filter_map(|stage| {
            let same = other.iter().find(|other| other.size == stage.size)?;
            Some(Pair { student: stage.tensor, teacher: same.tensor })
        })
        .collect();
    if pairs.is_empty() {
        let list = |stages: &[Stage]| {
            let sizes: Vec<String> =
                stages.iter().map(|Stage { size: [h, w], .. }| format!("{h}x{w}")).collect();
            if sizes.is_empty() { "none".to_owned() } else { sizes.join(", ") }
        };
        return Err(TrainError::NoCommonHints { student: list(&own), teacher: list(&other) });
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Convolutions of some widths at 8 x 8, 4 x 4 and 2 x 2.
    fn net(widths: [usize; 3], side: usize) -> Graph {
        let [a, b, c] = widths;
        let (half, quarter) = (side / 2, side / 4);
        let text = format!(
            "graph @net
in   %x: f32[2,1,{side},{side}]
w    @a: f32[{a},1,3,3] = rand(seed=1)
w    @b: f32[{b},{a},3,3] = rand(seed=2)
w    @c: f32[{c},{b},3,3] = rand(seed=3)
%1 = conv2d %x, @a {{pad=[1,1,1,1]}} : f32[2,{a},{side},{side}] ; \"a\"
%2 = relu %1 : f32[2,{a},{side},{side}] ; \"a.relu\"
%3 = conv2d %2, @b {{pad=[1,1,1,1], stride=[2,2]}} : f32[2,{b},{half},{half}] ; \"b\"
%4 = relu %3 : f32[2,{b},{half},{half}] ; \"b.relu\"
%5 = conv2d %4, @c {{pad=[1,1,1,1], stride=[2,2]}} : f32[2,{c},{quarter},{quarter}] ; \"c\"
%6 = global_pool %5 {{kind=mean}} : f32[2,{c},1,1] ; \"pool\"
%7 = flatten %6 {{axis=1}} : f32[2,{c}] ; \"scores\"
out  %7 ; \"scores\"
"
        );
        Graph::parse(&text).unwrap()
    }

    fn names(pairs: &[Pair], student: &Graph, teacher: &Graph) -> Vec<String> {
        let name = |graph: &Graph, id: TensorId| {
            let node = graph.nodes().iter().find(|node| node.outputs.contains(&id)).unwrap();
            node.name.clone()
        };
        let pair = |pair: &Pair| {
            format!("{}={}", name(student, pair.student), name(teacher, pair.teacher))
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_last_layers_of_each_common_size_are_compared() {
        let (student, teacher) = (net([2, 3, 4], 8), net([4, 5, 4], 8));
        let at = Method::At { hints: Vec::new(), weight: 1.0 };
        let found = pairs(&at, &student, &teacher).unwrap();
        assert_eq!(names(&found, &student, &teacher), ["a.relu=a.relu", "b.relu=b.relu", "c=c"]);
        let fitnet = Method::FitNet { hint: None, weight: 1.0 };
        let found = pairs(&fitnet, &student, &teacher).unwrap();
        assert_eq!(names(&found, &student, &teacher), ["b.relu=b.relu"]);
        // 16, 8, 4 and 8, 4, 2.
        let larger = net([4, 5, 4], 16);
        let found = pairs(&at, &student, &larger).unwrap();
        assert_eq!(names(&found, &student, &larger), ["a.relu=b.relu", "b.relu=c"]);
        assert!(pairs(&Method::Logits, &student, &teacher).unwrap().is_empty());
    }

    #[test]
    fn layers_that_cannot_be_compared_are_named() {
        let (student, teacher) = (net([2, 3, 4], 8), net([4, 5, 4], 12));
        let message = |student_layer: &str, teacher_layer: &str| {
            let hint = Hint { student: student_layer.into(), teacher: teacher_layer.into() };
            let fitnet = Method::FitNet { hint: Some(hint), weight: 1.0 };
            pairs(&fitnet, &student, &teacher).map(|pairs| pairs.len()).map_err(|e| e.to_string())
        };
        assert_eq!(message("a", "b.relu"), Ok(1));
        assert_eq!(message("d", "a"), Err("the student has no layer called `d`".to_owned()));
        let flat = "the teacher has `scores`, which gives f32[2,4], not [batch, channels, height, \
                    width]";
        assert_eq!(message("a", "scores"), Err(flat.to_owned()));
        let at = Method::At { hints: Vec::new(), weight: 1.0 };
        assert_eq!(
            pairs(&at, &student, &teacher).unwrap_err().to_string(),
            "no layers of student and teacher give features of one size: the student's are 8x8, \
             4x4, 2x2, the teacher's 12x12, 6x6, 3x3"
        );
    }
}
