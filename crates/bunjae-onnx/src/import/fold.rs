//! Arithmetic on shapes, done while importing.
//!
//! Exporters leave the arithmetic that a model does with the sizes of its tensors in the graph:
//! `Shape`, `Gather`, `Concat` and finally `Reshape`. Sizes are known here, if only as expressions
//! over the symbols of the input's size, so all of it is computed now and never reaches the graph.

use std::rc::Rc;

use bunjae_ir::{Dim, DimExpr};

use super::builder::{Known, MAX_RANK, Operand};
use super::elements::{Elements, Scalar, count};
use super::lower;
use super::node::{Lowering, Outcome, axes, axis, size};
use super::problem::ProblemKind;
use super::weights;
use crate::tensor_data::DataType;

/// When an operator is computed here.
#[derive(Clone, Copy, PartialEq, Eq)]
enum When {
    /// Whenever its operands are known.
    Always,
    /// When it works on integers or on unknown sizes; on other numbers, the interpreter's meaning
    /// of the operator is used.
    Integers,
}

type Rule = fn(&mut Lowering<'_>, &Operands) -> Outcome<Vec<Elements>>;

/// The operators computed here, sorted by name.
const RULES: &[(&str, When, Rule)] = &[
    ("Abs", When::Integers, unary),
    ("Add", When::Integers, binary),
    ("And", When::Always, binary),
    ("Cast", When::Integers, cast),
    ("CastLike", When::Integers, cast),
    ("Ceil", When::Always, unary),
    ("Concat", When::Integers, concat),
    ("ConstantOfShape", When::Always, constant_of_shape),
    ("Div", When::Integers, binary),
    ("Equal", When::Always, binary),
    ("Expand", When::Always, expand),
    ("Flatten", When::Integers, flatten),
    ("Floor", When::Always, unary),
    ("Gather", When::Always, gather),
    ("Greater", When::Always, binary),
    ("GreaterOrEqual", When::Always, binary),
    ("Less", When::Always, binary),
    ("LessOrEqual", When::Always, binary),
    ("Max", When::Integers, variadic),
    ("Min", When::Integers, variadic),
    ("Mod", When::Always, binary),
    ("Mul", When::Integers, binary),
    ("Neg", When::Integers, unary),
    ("Not", When::Always, unary),
    ("Or", When::Always, binary),
    ("Range", When::Always, range),
    ("ReduceMax", When::Integers, reduce),
    ("ReduceMin", When::Integers, reduce),
    ("ReduceProd", When::Always, reduce),
    ("ReduceSum", When::Integers, reduce),
    ("Reshape", When::Integers, reshape),
    ("Slice", When::Integers, slice),
    ("Split", When::Integers, split),
    ("Squeeze", When::Integers, squeeze),
    ("Sub", When::Integers, binary),
    ("Sum", When::Integers, variadic),
    ("Tile", When::Always, tile),
    ("Transpose", When::Integers, transpose),
    ("Unsqueeze", When::Integers, unsqueeze),
    ("Where", When::Always, select),
];

/// The known operands of a node.
struct Operands(Vec<Option<Rc<Elements>>>);

impl Operands {
    fn get(&self, at: usize, what: &'static str) -> Outcome<&Elements> {
        let operand = self.0.get(at).and_then(Option::as_deref);
        operand.ok_or(ProblemKind::MissingOperand(what))
    }
}

/// Computes the node where its results are known now. False where they are not, or where that is
/// not this module's matter.
pub(super) fn evaluate(node: &mut Lowering<'_>) -> Outcome<bool> {
    match node.op() {
        "Shape" => {
            let result = shape(node)?;
            set(node, vec![result], true);
            return Ok(true);
        }
        "Size" => {
            let dims = node.dims(node.x()?);
            node.at_most(1)?;
            let one = Scalar::Int(1);
            let total = dims.into_iter().map(Scalar::from).try_fold(one, |a, b| mul(&a, &b))?;
            set(node, vec![Elements::scalar(DataType::Int64, total)], true);
            return Ok(true);
        }
        _ => {}
    }
    let Ok(at) = RULES.binary_search_by_key(&node.op(), |&(name, _, _)| name) else {
        return Ok(false);
    };
    let Some(&(_, when, rule)) = RULES.get(at) else { return Ok(false) };
    let Some((operands, frozen)) = known_operands(node)? else { return Ok(false) };
    let inputs = operands.0.iter().flatten().map(|operand| operand.values.len());
    node.builder.spend(inputs.sum())?;
    if when == When::Integers && !works_on_integers(&operands) {
        return Ok(false);
    }
    let results = rule(node, &operands)?;
    node.builder.spend(results.iter().map(|result| result.values.len()).sum())?;
    set(node, results, frozen);
    Ok(true)
}

/// The elements of all operands, and whether training leaves all of them alone; `None` where one is
/// not known.
fn known_operands(node: &mut Lowering<'_>) -> Outcome<Option<(Operands, bool)>> {
    let mut operands = Vec::new();
    let mut frozen = true;
    for at in 0..node.operand_count() {
        let Some(bound) = node.bound(at) else {
            operands.push(None);
            continue;
        };
        let operand = bound.operand;
        let Some(elements) = node.builder.elements(operand) else { return Ok(None) };
        let is_number = matches!(elements.data_type, DataType::Float | DataType::Double);
        frozen &= node.builder.is_frozen(operand) || !is_number;
        operands.push(Some(elements));
    }
    Ok(Some((Operands(operands), frozen)))
}

fn works_on_integers(operands: &Operands) -> bool {
    let is_number =
        |elements: &Elements| matches!(elements.data_type, DataType::Float | DataType::Double);
    let has_size =
        |elements: &Elements| elements.values.iter().any(|value| matches!(value, Scalar::Size(_)));
    let first = operands.0.first().and_then(Option::as_deref);
    first.is_some_and(|first| !is_number(first))
        // A size that was made a number, to be scaled.
        || operands.0.iter().flatten().any(|operand| is_number(operand) && has_size(operand))
}

fn set(node: &mut Lowering<'_>, results: Vec<Elements>, frozen: bool) {
    for (at, elements) in results.into_iter().enumerate() {
        let name = node.result_name(at);
        // Numbers go back to dense tensors, so that further operators treat them alike.
        let known = match elements.to_tensor() {
            Ok(tensor) if tensor.dtype().is_float() => Known::Tensor(tensor),
            _ => Known::Elements(elements),
        };
        let result: Operand = node.builder.constant(known, &name, frozen);
        node.set(at, result);
    }
}

fn shape(node: &mut Lowering<'_>) -> Outcome<Elements> {
    node.at_most(1)?;
    // The size that was asked for counts where an expansion was left out.
    let bound = node.bound(0).ok_or(ProblemKind::MissingOperand("input"))?;
    let dims = bound.expanded.clone().unwrap_or_else(|| node.dims(bound.operand));
    let rank = i64::try_from(dims.len()).unwrap_or(i64::MAX);
    let mut end_of = |name, default: i64| -> Outcome<usize> {
        let given = node.attributes.int(name)?.unwrap_or(default);
        let absolute = if given < 0 { given.saturating_add(rank) } else { given };
        size(absolute.clamp(0, rank))
    };
    let (start, end) = (end_of("start", 0)?, end_of("end", rank)?);
    let dims = dims.into_iter().take(end).skip(start);
    Ok(Elements::vector(DataType::Int64, dims.map(Scalar::from).collect()))
}

// Single elements

fn unknown(words: String) -> ProblemKind {
    ProblemKind::SizeArithmetic(words)
}

/// An integer as a dimension, where it can be one.
fn dim(scalar: &Scalar) -> Option<Dim> {
    match scalar {
        Scalar::Int(value) => usize::try_from(*value).ok().map(Dim::Fixed),
        // Sizes are made numbers by a Cast where exporters scale them.
        Scalar::Float(value) if value.fract() == 0.0 && (0.0..1e9).contains(value) => {
            Some(Dim::Fixed(*value as usize))
        }
        Scalar::Float(_) => None,
        Scalar::Size(dim) => Some(dim.clone()),
    }
}

fn overflow(a: &Scalar, symbol: &str, b: &Scalar) -> ProblemKind {
    ProblemKind::Arithmetic(format!("{a} {symbol} {b}"))
}

fn add(a: &Scalar, b: &Scalar) -> Outcome<Scalar> {
    match (a, b) {
        (Scalar::Int(x), Scalar::Int(y)) => {
            x.checked_add(*y).map(Scalar::Int).ok_or_else(|| overflow(a, "+", b))
        }
        (Scalar::Float(x), Scalar::Float(y)) => Ok(Scalar::Float(x + y)),
        (Scalar::Size(size), Scalar::Int(offset)) | (Scalar::Int(offset), Scalar::Size(size)) => {
            Ok(size.add(*offset)?.into())
        }
        _ => match (dim(a), dim(b)) {
            (Some(x), Some(y)) => Ok(x.sum(&y)?.into()),
            _ => Err(unknown(format!("{a} + {b}"))),
        },
    }
}

fn sub(a: &Scalar, b: &Scalar) -> Outcome<Scalar> {
    match (a, b) {
        (Scalar::Int(x), Scalar::Int(y)) => {
            x.checked_sub(*y).map(Scalar::Int).ok_or_else(|| overflow(a, "-", b))
        }
        (Scalar::Float(x), Scalar::Float(y)) => Ok(Scalar::Float(x - y)),
        (Scalar::Size(x), Scalar::Size(y)) if x == y => Ok(Scalar::Int(0)),
        (Scalar::Size(size), Scalar::Int(offset)) => {
            Ok(size.add(offset.checked_neg().ok_or_else(|| overflow(a, "-", b))?)?.into())
        }
        _ => Err(unknown(format!("{a} - {b}"))),
    }
}

fn mul(a: &Scalar, b: &Scalar) -> Outcome<Scalar> {
    match (a, b) {
        (Scalar::Int(x), Scalar::Int(y)) => {
            x.checked_mul(*y).map(Scalar::Int).ok_or_else(|| overflow(a, "*", b))
        }
        (Scalar::Float(x), Scalar::Float(y)) => Ok(Scalar::Float(x * y)),
        _ => match (dim(a), dim(b)) {
            (Some(x), Some(y)) => Ok(x.product(&y)?.into()),
            _ => Err(unknown(format!("{a} * {b}"))),
        },
    }
}

/// Division as the format defines it for integers (towards zero) and for numbers.
fn div(data_type: DataType, a: &Scalar, b: &Scalar) -> Outcome<Scalar> {
    let whole = !matches!(data_type, DataType::Float | DataType::Double);
    match (a, b) {
        (Scalar::Int(x), Scalar::Int(y)) => {
            x.checked_div(*y).map(Scalar::Int).ok_or_else(|| overflow(a, "/", b))
        }
        (Scalar::Float(x), Scalar::Float(y)) => Ok(Scalar::Float(x / y)),
        (Scalar::Size(x), Scalar::Size(y)) if x == y => Ok(Scalar::Int(1)),
        (Scalar::Size(x), _) => match dim(b) {
            Some(Dim::Fixed(y)) if y > 0 && (whole || divides(x, y)) => Ok(x.floor_div(y)?.into()),
            Some(Dim::Dynamic(_)) => quotient(x, b).ok_or_else(|| unknown(format!("{a} / {b}"))),
            _ => Err(unknown(format!("{a} / {b}"))),
        },
        _ => Err(unknown(format!("{a} / {b}"))),
    }
}

/// A product over one of its factors.
fn quotient(product: &Dim, factor: &Scalar) -> Option<Scalar> {
    let (Dim::Dynamic(expr), Scalar::Size(factor)) = (product, factor) else { return None };
    match expr.as_ref() {
        DimExpr::Product(a, b) if a == factor => Some(b.clone().into()),
        DimExpr::Product(a, b) if b == factor => Some(a.clone().into()),
        _ => None,
    }
}

/// True where a size is a multiple of `divisor` whatever its symbols are.
fn divides(size: &Dim, divisor: usize) -> bool {
    match size {
        Dim::Fixed(size) => size.checked_rem(divisor) == Some(0),
        Dim::Dynamic(expr) => {
            matches!(expr.as_ref(), DimExpr::Product(_, b) if divides(b, divisor))
        }
    }
}

/// The remainder; that of integers has the sign of the divisor unless `truncated`.
fn rem(truncated: bool, a: &Scalar, b: &Scalar) -> Outcome<Scalar> {
    match (a, b) {
        (Scalar::Int(x), Scalar::Int(y)) => {
            let plain = x.checked_rem(*y).ok_or_else(|| overflow(a, "%", b))?;
            let wrong_sign = !truncated && plain != 0 && (plain < 0) != (*y < 0);
            Ok(Scalar::Int(if wrong_sign { plain + y } else { plain }))
        }
        (Scalar::Float(x), Scalar::Float(y)) => Ok(Scalar::Float(x % y)),
        (Scalar::Size(x), Scalar::Int(y)) if usize::try_from(*y).is_ok_and(|y| divides(x, y)) => {
            Ok(Scalar::Int(0))
        }
        _ => Err(unknown(format!("{a} % {b}"))),
    }
}

/// Whether `a` is less than, equal to or greater than `b`. Every unknown size is at least 1.
fn order(a: &Scalar, b: &Scalar) -> Outcome<Option<std::cmp::Ordering>> {
    use std::cmp::Ordering;
    match (a, b) {
        (Scalar::Int(x), Scalar::Int(y)) => Ok(Some(x.cmp(y))),
        (Scalar::Float(x), Scalar::Float(y)) => Ok(x.partial_cmp(y)),
        (Scalar::Size(x), Scalar::Size(y)) if x == y => Ok(Some(Ordering::Equal)),
        (Scalar::Size(_), Scalar::Int(..=0)) => Ok(Some(Ordering::Greater)),
        (Scalar::Int(..=0), Scalar::Size(_)) => Ok(Some(Ordering::Less)),
        _ => Err(unknown(format!("how {a} compares to {b}"))),
    }
}

fn truth(scalar: &Scalar) -> Outcome<bool> {
    match scalar {
        Scalar::Int(value) => Ok(*value != 0),
        scalar => Err(unknown(format!("whether {scalar} holds"))),
    }
}

/// Rounds what was computed to the precision of its type.
fn round(data_type: DataType, scalar: Scalar) -> Scalar {
    match scalar {
        Scalar::Float(value) if data_type == DataType::Float => {
            Scalar::Float(f64::from(value as f32))
        }
        scalar => scalar,
    }
}

// Operators on single elements

fn zip(
    a: &Elements,
    b: &Elements,
    data_type: DataType,
    compute: impl Fn(&Scalar, &Scalar) -> Outcome<Scalar>,
) -> Outcome<Elements> {
    let rank = a.shape.len().max(b.shape.len());
    let mut shape = Vec::with_capacity(rank);
    for back in (1..=rank).rev() {
        let of = |e: &Elements| {
            e.shape.len().checked_sub(back).and_then(|at| e.shape.get(at)).copied().unwrap_or(1)
        };
        shape.push(match (of(a), of(b)) {
            (1, n) | (n, 1) => n,
            (n, m) if n == m => n,
            _ => {
                let what = format!("shapes {:?} and {:?} with each other", a.shape, b.shape);
                return Err(ProblemKind::Arithmetic(what));
            }
        });
    }
    let (a, b) = (a.broadcast(&shape)?, b.broadcast(&shape)?);
    let values = a.values.iter().zip(&b.values).map(|(a, b)| Ok(round(data_type, compute(a, b)?)));
    Ok(Elements { data_type, shape, values: values.collect::<Outcome<_>>()? })
}

fn binary(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    node.at_most(2)?;
    let (a, b) = (operands.get(0, "first operand")?, operands.get(1, "second operand")?);
    let data_type = a.data_type;
    let compare = |wanted: &'static [std::cmp::Ordering]| {
        zip(a, b, DataType::Bool, move |a, b| {
            let found = order(a, b)?.is_some_and(|found| wanted.contains(&found));
            Ok(Scalar::Int(found.into()))
        })
    };
    let result = match node.op() {
        "Add" => zip(a, b, data_type, add),
        "Sub" => zip(a, b, data_type, sub),
        "Mul" => zip(a, b, data_type, mul),
        "Div" => zip(a, b, data_type, |a, b| div(data_type, a, b)),
        "Mod" => {
            let truncated = node.flag("fmod", false)?;
            zip(a, b, data_type, |a, b| rem(truncated, a, b))
        }
        "And" => zip(a, b, data_type, |a, b| Ok(Scalar::Int((truth(a)? && truth(b)?).into()))),
        "Or" => zip(a, b, data_type, |a, b| Ok(Scalar::Int((truth(a)? || truth(b)?).into()))),
        "Equal" => compare(&[Equal]),
        "Greater" => compare(&[Greater]),
        "GreaterOrEqual" => compare(&[Greater, Equal]),
        "Less" => compare(&[Less]),
        "LessOrEqual" => compare(&[Less, Equal]),
        _ => Err(ProblemKind::UnknownOperator),
    };
    Ok(vec![result?])
}

fn variadic(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let op = node.op();
    let mut result = operands.get(0, "operand")?.clone();
    for at in 1..operands.0.len() {
        let next = operands.get(at, "operand")?;
        // A list of many operands is as much work as many operators.
        node.builder.spend(result.values.len())?;
        result = zip(&result, next, result.data_type, |a, b| fold_two(op, a, b))?;
    }
    Ok(vec![result])
}

fn fold_two(op: &str, a: &Scalar, b: &Scalar) -> Outcome<Scalar> {
    use std::cmp::Ordering::Less;
    match op {
        "Sum" | "ReduceSum" => add(a, b),
        "ReduceProd" => mul(a, b),
        "Max" | "ReduceMax" => Ok(if order(a, b)? == Some(Less) { b } else { a }.clone()),
        _ => Ok(if order(a, b)? == Some(Less) { a } else { b }.clone()),
    }
}

fn unary(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    node.at_most(1)?;
    let x = operands.get(0, "input")?;
    let op = node.op();
    let compute = |scalar: &Scalar| match (op, scalar) {
        ("Not", scalar) => Ok(Scalar::Int((!truth(scalar)?).into())),
        // Sizes are whole.
        ("Floor" | "Ceil" | "Abs", Scalar::Size(_)) => Ok(scalar.clone()),
        ("Floor", Scalar::Float(value)) => Ok(Scalar::Float(value.floor())),
        ("Ceil", Scalar::Float(value)) => Ok(Scalar::Float(value.ceil())),
        ("Abs", Scalar::Int(value)) => {
            value.checked_abs().map(Scalar::Int).ok_or_else(|| overflow(scalar, "to", scalar))
        }
        ("Neg", Scalar::Int(value)) => {
            value.checked_neg().map(Scalar::Int).ok_or_else(|| overflow(scalar, "to", scalar))
        }
        (op, scalar) => Err(unknown(format!("{op} of {scalar}"))),
    };
    let values = x.values.iter().map(compute).collect::<Outcome<_>>()?;
    Ok(vec![Elements { data_type: x.data_type, shape: x.shape.clone(), values }])
}

fn cast(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let to = match operands.0.get(1).and_then(Option::as_deref) {
        Some(like) if node.op() == "CastLike" => like.data_type,
        _ => node.cast_target()?,
    };
    Ok(vec![convert(operands.get(0, "input")?, to)?])
}

/// The elements as elements of another type.
pub(super) fn convert(x: &Elements, to: DataType) -> Outcome<Elements> {
    let is_float = matches!(to, DataType::Float | DataType::Double);
    let compute = |scalar: &Scalar| match (scalar, to) {
        (Scalar::Int(value), DataType::Bool) => Ok(Scalar::Int((*value != 0).into())),
        (Scalar::Float(value), DataType::Bool) => Ok(Scalar::Int((*value != 0.0).into())),
        (Scalar::Int(value), _) if is_float => Ok(round(to, Scalar::Float(*value as f64))),
        (Scalar::Float(value), _) if is_float => Ok(round(to, Scalar::Float(*value))),
        (Scalar::Float(value), _) if value.is_finite() => Ok(Scalar::Int(*value as i64)),
        (Scalar::Size(_) | Scalar::Int(_), to) if to != DataType::Bool => Ok(scalar.clone()),
        (scalar, to) => Err(unknown(format!("{scalar} as {to}"))),
    };
    let values = x.values.iter().map(compute).collect::<Outcome<_>>()?;
    Ok(Elements { data_type: to, shape: x.shape.clone(), values })
}

fn select(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    node.at_most(3)?;
    let condition = operands.get(0, "condition")?;
    let (yes, no) = (operands.get(1, "first choice")?, operands.get(2, "second choice")?);
    // The shape that all three broadcast to, by way of two passes of the pairwise rule.
    let first = zip(condition, yes, yes.data_type, |_, yes| Ok(yes.clone()))?;
    let no = zip(&first, no, yes.data_type, |_, no| Ok(no.clone()))?;
    let (condition, yes) = (condition.broadcast(&no.shape)?, yes.broadcast(&no.shape)?);
    let choices = condition.values.iter().zip(yes.values.into_iter().zip(no.values));
    let values = choices.map(|(holds, (yes, no))| Ok(if truth(holds)? { yes } else { no }));
    let values = values.collect::<Outcome<_>>()?;
    Ok(vec![Elements { data_type: yes.data_type, shape: no.shape, values }])
}

fn reduce(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let x = operands.get(0, "input")?;
    let rank = x.shape.len();
    let since = if node.op() == "ReduceSum" { 13 } else { 18 };
    let given = node.ints("axes", since, 1)?.unwrap_or_default();
    let keep = node.flag("keepdims", true)?;
    if node.flag("noop_with_empty_axes", false)? && given.is_empty() {
        return Ok(vec![x.clone()]);
    }
    let reduced = if given.is_empty() { (0..rank).collect() } else { axes(&given, rank)? };
    let op = node.op();
    let kept: Vec<usize> = (0..rank)
        .map(|at| if reduced.contains(&at) { 1 } else { x.shape.get(at).copied().unwrap_or(1) })
        .collect();
    let mut values: Vec<Option<Scalar>> = vec![None; count(&kept)?];
    let mut index = vec![0usize; rank];
    for value in &x.values {
        let flat =
            index.iter().zip(&kept).fold(0, |flat, (&at, &size)| flat * size + at.min(size - 1));
        if let Some(slot) = values.get_mut(flat) {
            *slot = Some(match slot.take() {
                None => value.clone(),
                Some(so_far) => round(x.data_type, fold_two(op, &so_far, value)?),
            });
        }
        for (at, size) in index.iter_mut().zip(&x.shape).rev() {
            *at += 1;
            if *at < *size {
                break;
            }
            *at = 0;
        }
    }
    let values = values.into_iter().collect::<Option<Vec<_>>>();
    let values = values.ok_or_else(|| ProblemKind::Arithmetic("from no elements".into()))?;
    let squeezed = kept.iter().enumerate().filter(|(at, _)| !reduced.contains(at));
    let shape = if keep { kept } else { squeezed.map(|(_, &size)| size).collect() };
    Ok(vec![Elements { data_type: x.data_type, shape, values }])
}

// Operators that make or move elements

fn ints(elements: &Elements, what: &'static str) -> Outcome<Vec<i64>> {
    let int = |scalar: &Scalar| match scalar {
        Scalar::Int(value) => Ok(*value),
        Scalar::Size(_) => Err(ProblemKind::Dynamic(what)),
        Scalar::Float(_) => Err(ProblemKind::value(what, scalar, "and should be integers")),
    };
    elements.values.iter().map(int).collect()
}

fn sizes(elements: &Elements, what: &'static str) -> Outcome<Vec<usize>> {
    if elements.values.len() > MAX_RANK {
        return Err(ProblemKind::Rank(elements.values.len()));
    }
    ints(elements, what)?.into_iter().map(size).collect()
}

fn constant_of_shape(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    node.at_most(1)?;
    let shape = sizes(operands.get(0, "shape")?, "shape")?;
    let value = match node.attributes.tensor("value")? {
        None => Elements::scalar(DataType::Float, Scalar::Float(0.0)),
        Some(tensor) => match weights::inline(node.builder, tensor)? {
            Known::Tensor(tensor) => Elements::of_tensor(&tensor).ok_or(ProblemKind::TooLarge)?,
            Known::Elements(elements) => elements,
        },
    };
    match value.values.as_slice() {
        [one] => Ok(vec![Elements::full(value.data_type, shape, one)?]),
        _ => Err(ProblemKind::value("value", value.shape, "and should be one element")),
    }
}

fn range(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    node.at_most(3)?;
    let part = |at, what| -> Outcome<Scalar> {
        match operands.get(at, what)?.values.as_slice() {
            [value] => Ok(value.clone()),
            other => Err(ProblemKind::value(what, other.len(), "and should be one element")),
        }
    };
    let (start, limit, delta) = (part(0, "start")?, part(1, "limit")?, part(2, "delta")?);
    let number = |scalar: &Scalar, what| match scalar {
        Scalar::Int(value) => Ok(*value as f64),
        Scalar::Float(value) => Ok(*value),
        Scalar::Size(_) => Err(ProblemKind::Dynamic(what)),
    };
    let (from, to) = (number(&start, "start")?, number(&limit, "limit")?);
    let length = ((to - from) / number(&delta, "delta")?).ceil().max(0.0);
    // A step of 0 makes the length infinite or NaN.
    let length = if length.is_finite() { length as usize } else { usize::MAX };
    count(&[length])?;
    let data_type = operands.get(0, "start")?.data_type;
    let mut values = Vec::with_capacity(length);
    for at in 0..length {
        let at = i64::try_from(at).unwrap_or(i64::MAX);
        let steps = if matches!(delta, Scalar::Int(_)) {
            Scalar::Int(at)
        } else {
            Scalar::Float(at as f64)
        };
        values.push(round(data_type, add(&start, &mul(&steps, &delta)?)?));
    }
    Ok(vec![Elements::vector(data_type, values)])
}

fn concat(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let first = operands.get(0, "operand")?;
    let given = node.attributes.int("axis")?.ok_or(ProblemKind::MissingAttribute("axis"))?;
    let at = axis(given, first.shape.len())?;
    let mut shape = first.shape.clone();
    let mut parts = Vec::with_capacity(operands.0.len());
    let mut length = 0usize;
    for place in 0..operands.0.len() {
        let part = operands.get(place, "operand")?;
        let own = part.shape.get(at).copied().unwrap_or(0);
        let mut alike = part.shape.clone();
        alike.get_mut(at).into_iter().for_each(|size| *size = first.shape[at]);
        if alike != first.shape {
            let what = format!("shapes {:?} and {:?} joined", first.shape, part.shape);
            return Err(ProblemKind::Arithmetic(what));
        }
        length = length.saturating_add(own);
        parts.push((part, own * part.shape.iter().skip(at + 1).product::<usize>()));
    }
    shape[at] = length;
    let total = count(&shape)?;
    let outer: usize = shape.iter().take(at).product();
    let mut values = Vec::with_capacity(total);
    for block in 0..outer {
        for (part, row) in &parts {
            values.extend(part.values.iter().skip(block * row).take(*row).cloned());
        }
    }
    Ok(vec![Elements { data_type: first.data_type, shape, values }])
}

fn expand(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    node.at_most(2)?;
    let x = operands.get(0, "input")?;
    let shape = sizes(operands.get(1, "shape")?, "shape")?;
    let filler = Elements::full(DataType::Bool, shape, &Scalar::Int(0))?;
    Ok(vec![zip(x, &filler, x.data_type, |x, _| Ok(x.clone()))?])
}

fn tile(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    node.at_most(2)?;
    let x = operands.get(0, "input")?;
    let repeats = sizes(operands.get(1, "repeats")?, "repeats")?;
    if repeats.len() != x.shape.len() {
        return Err(ProblemKind::value("repeats", repeats, "which is not one for each dimension"));
    }
    let shape = x.shape.iter().zip(&repeats).map(|(&size, &times)| size.saturating_mul(times));
    let result = x.rearranged(shape.collect(), |index| {
        index.iter().zip(&x.shape).fold(0, |flat, (&at, &size)| flat * size + at % size.max(1))
    })?;
    Ok(vec![result])
}

fn gather(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    node.at_most(2)?;
    let x = operands.get(0, "input")?;
    let at = node.axis(0, x.shape.len())?;
    let wanted = operands.get(1, "indices")?;
    let length = x.shape.get(at).copied().unwrap_or(0);
    let indices = ints(wanted, "indices")?;
    let indices = indices.iter().map(|&index| axis(index, length)).collect::<Outcome<Vec<_>>>()?;
    let (before, after) = (&x.shape[..at], &x.shape[at + 1..]);
    let shape = [before, &wanted.shape, after].concat();
    if shape.len() > MAX_RANK {
        return Err(ProblemKind::Rank(shape.len()));
    }
    let rank = wanted.shape.len();
    let result = x.rearranged(shape, |index| {
        let (head, rest) = index.split_at(at);
        let (place, tail) = rest.split_at(rank);
        let place = place.iter().zip(&wanted.shape).fold(0, |flat, (&at, &size)| flat * size + at);
        let chosen = indices.get(place).copied().unwrap_or(0);
        let own = head.iter().zip(before).chain([(&chosen, &length)]).chain(tail.iter().zip(after));
        own.fold(0, |flat, (&at, &size)| flat * size + at)
    })?;
    Ok(vec![result])
}

fn slice(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let x = operands.get(0, "input")?;
    let dims: Vec<Dim> = x.shape.iter().copied().map(Dim::Fixed).collect();
    let mut result = x.clone();
    for range in lower::slice_ranges(node, &dims)? {
        let length = result.shape.get(range.axis).copied().unwrap_or(0);
        // A range without elements is fine for a list of sizes.
        let (start, count, step) = bunjae_ir::resolve_range(&range, length).unwrap_or((0, 0, 1));
        let start = i64::try_from(start).unwrap_or(0);
        let mut shape = result.shape.clone();
        shape[range.axis] = count;
        let old = result.shape.clone();
        result = result.rearranged(shape, |index| {
            index.iter().enumerate().zip(&old).fold(0, |flat, ((axis, &at), &size)| {
                let at = if axis == range.axis {
                    let offset = step.saturating_mul(i64::try_from(at).unwrap_or(0));
                    usize::try_from(start.saturating_add(offset)).unwrap_or(usize::MAX)
                } else {
                    at
                };
                flat.saturating_mul(size).saturating_add(at)
            })
        })?;
    }
    Ok(vec![result])
}

fn split(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let x = operands.get(0, "input")?;
    let at = node.axis(0, x.shape.len())?;
    let length = x.shape.get(at).copied().unwrap_or(0);
    let parts = lower::split_sizes(node, &Dim::Fixed(length))?;
    let mut offset = 0;
    let mut results = Vec::with_capacity(parts.len());
    for part in parts {
        let mut shape = x.shape.clone();
        shape[at] = part;
        let old = &x.shape;
        results.push(x.rearranged(shape, |index| {
            index.iter().enumerate().zip(old).fold(0, |flat, ((axis, &own), &size)| {
                flat * size + own + if axis == at { offset } else { 0 }
            })
        })?);
        offset += part;
    }
    Ok(results)
}

fn transpose(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let x = operands.get(0, "input")?;
    let perm = lower::permutation(node, x.shape.len())?;
    let mut strides = vec![1usize; x.shape.len()];
    for at in (1..strides.len()).rev() {
        strides[at - 1] = strides[at] * x.shape[at];
    }
    let shape = perm.iter().map(|&at| x.shape[at]).collect();
    let result = x.rearranged(shape, |index| {
        index.iter().zip(&perm).map(|(&own, &at)| own * strides[at]).sum()
    })?;
    Ok(vec![result])
}

fn reshaped(x: &Elements, shape: Vec<usize>) -> Outcome<Vec<Elements>> {
    if count(&shape)? != x.values.len() {
        let what = format!("a reshape of {:?} to {shape:?}", x.shape);
        return Err(ProblemKind::Arithmetic(what));
    }
    Ok(vec![Elements { data_type: x.data_type, shape, values: x.values.clone() }])
}

fn reshape(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let x = operands.get(0, "input")?;
    node.at_most(2)?;
    let copy = !node.flag("allowzero", false)?;
    let target = ints(operands.get(1, "shape")?, "shape")?;
    if target.len() > MAX_RANK {
        return Err(ProblemKind::Rank(target.len()));
    }
    let mut shape = Vec::with_capacity(target.len());
    let mut inferred = None;
    for (at, &entry) in target.iter().enumerate() {
        shape.push(match entry {
            -1 if inferred.is_none() => {
                inferred = Some(at);
                1
            }
            0 if copy => x.shape.get(at).copied().unwrap_or(0),
            entry => size(entry)?,
        });
    }
    if let Some(at) = inferred {
        shape[at] = x.values.len().checked_div(count(&shape)?).unwrap_or(0);
    }
    reshaped(x, shape)
}

fn flatten(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let x = operands.get(0, "input")?;
    let at = lower::flatten_axis(node, x.shape.len())?;
    let (before, after) = x.shape.split_at(at);
    reshaped(x, vec![before.iter().product(), after.iter().product()])
}

fn squeeze(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let x = operands.get(0, "input")?;
    let dims: Vec<Dim> = x.shape.iter().copied().map(Dim::Fixed).collect();
    let dropped = lower::squeezed_axes(node, &dims)?;
    let kept = x.shape.iter().enumerate().filter(|(at, _)| !dropped.contains(at));
    reshaped(x, kept.map(|(_, &size)| size).collect())
}

fn unsqueeze(node: &mut Lowering<'_>, operands: &Operands) -> Outcome<Vec<Elements>> {
    let x = operands.get(0, "input")?;
    let mut shape = x.shape.clone();
    for at in lower::inserted_axes(node, x.shape.len())? {
        shape.insert(at.min(shape.len()), 1);
    }
    reshaped(x, shape)
}
