//! One node while it is being imported: its operands, attributes and results.

use std::rc::Rc;

use bunjae_ir::{Dim, Op};
use bunjae_tensor::{DType, Tensor};

use super::attributes::Attributes;
use super::builder::{Builder, Known, MAX_RANK, Operand};
use super::elements::{Elements, Scalar, dtype};
use super::problem::ProblemKind;
use crate::proto::NodeProto;
use crate::tensor_data::DataType;

/// What most functions of the import return.
pub(super) type Outcome<T> = Result<T, ProblemKind>;

/// What a name of the file stands for.
#[derive(Clone, Debug)]
pub(super) struct Bound {
    pub(super) operand: Operand,
    /// The shape that the operand was to be repeated to. Arithmetic repeats by itself, so that the
    /// node that asked for it was left out.
    pub(super) expanded: Option<Vec<Dim>>,
}

impl From<Operand> for Bound {
    fn from(operand: Operand) -> Self {
        Bound { operand, expanded: None }
    }
}

/// A node, and everything needed to make operators of it.
pub(super) struct Lowering<'a> {
    pub(super) builder: &'a mut Builder,
    pub(super) attributes: Attributes<'a>,
    /// The version of the operators since when this one has had its meaning.
    pub(super) since: i64,
    /// True where every use of the first result is arithmetic on two operands.
    pub(super) only_arithmetic: bool,
    node: &'a NodeProto,
    name: String,
    inputs: Vec<Option<Bound>>,
    results: Vec<Option<Bound>>,
    /// Which results somebody uses.
    used: Vec<bool>,
}

impl<'a> Lowering<'a> {
    pub(super) fn new(
        builder: &'a mut Builder,
        node: &'a NodeProto,
        since: i64,
        inputs: Vec<Option<Bound>>,
        used: Vec<bool>,
        only_arithmetic: bool,
    ) -> Self {
        let result = node.output.iter().find(|name| !name.is_empty());
        let name = match node.name.as_str() {
            // Reports name layers, so a node without a name takes that of its result.
            "" => result.cloned().unwrap_or_default(),
            name => name.to_owned(),
        };
        let attributes = Attributes::of(node);
        let results = vec![None; node.output.len()];
        Lowering { builder, attributes, since, only_arithmetic, node, name, inputs, results, used }
    }

    /// The operator.
    pub(super) fn op(&self) -> &'a str {
        &self.node.op_type
    }

    /// What the node's results are, after checking that nothing was overlooked.
    pub(super) fn finish(self) -> Outcome<Vec<Option<Bound>>> {
        self.attributes.finish()?;
        Ok(self.results)
    }

    // Operands

    /// The number of operands, trailing ones left out not counted.
    pub(super) fn operand_count(&self) -> usize {
        self.inputs.iter().rposition(Option::is_some).map_or(0, |last| last + 1)
    }

    /// Refuses operands beyond those that are understood.
    pub(super) fn at_most(&self, most: usize) -> Outcome<()> {
        match self.operand_count() {
            found if found > most => Err(ProblemKind::Operands { most, found }),
            _ => Ok(()),
        }
    }

    /// An operand that arithmetic uses, with the shape it stands for where that is another one.
    pub(super) fn bound(&self, at: usize) -> Option<&Bound> {
        self.inputs.get(at)?.as_ref()
    }

    /// An operand that may be left out.
    pub(super) fn optional(&self, at: usize) -> Outcome<Option<Operand>> {
        match self.bound(at) {
            None => Ok(None),
            Some(Bound { operand, expanded: None }) => Ok(Some(*operand)),
            Some(Bound { expanded: Some(_), .. }) => Err(ProblemKind::Expanded),
        }
    }

    /// An operand that has to be there.
    pub(super) fn operand(&self, at: usize, what: &'static str) -> Outcome<Operand> {
        self.optional(at)?.ok_or(ProblemKind::MissingOperand(what))
    }

    /// The first operand.
    pub(super) fn x(&self) -> Outcome<Operand> {
        self.operand(0, "input")
    }

    /// All operands, for operators that take any number.
    pub(super) fn operands(&self) -> Outcome<Vec<Operand>> {
        (0..self.operand_count().max(1)).map(|at| self.operand(at, "operand")).collect()
    }

    pub(super) fn dims(&self, operand: Operand) -> Vec<Dim> {
        self.builder.dims(operand)
    }

    pub(super) fn rank(&self, operand: Operand) -> usize {
        self.builder.rank(operand)
    }

    /// The element type for computing.
    pub(super) fn dtype(&self, operand: Operand) -> Outcome<DType> {
        let data_type = self.builder.data_type(operand);
        dtype(data_type).ok_or_else(|| ProblemKind::ElementType(data_type.name().to_owned()))
    }

    /// The elements of an operand that has to be known at import.
    pub(super) fn elements(
        &mut self,
        operand: Operand,
        what: &'static str,
    ) -> Outcome<Rc<Elements>> {
        self.builder.elements(operand).ok_or(match operand {
            Operand::Tensor(_) => ProblemKind::NotConstant(what),
            Operand::Constant(_) => ProblemKind::TooMuchWork,
        })
    }

    /// The integers of the operand at a place, if it is there.
    pub(super) fn known_ints(
        &mut self,
        at: usize,
        what: &'static str,
    ) -> Outcome<Option<Vec<i64>>> {
        let Some(operand) = self.optional(at)? else { return Ok(None) };
        let elements = self.elements(operand, what)?;
        let int = |scalar: &Scalar| match scalar {
            Scalar::Int(value) => Ok(*value),
            Scalar::Size(_) => Err(ProblemKind::Dynamic(what)),
            Scalar::Float(_) => Err(ProblemKind::value(what, scalar, "and should be integers")),
        };
        elements.values.iter().map(int).collect::<Outcome<_>>().map(Some)
    }

    /// The numbers of the operand at a place, if it is there.
    pub(super) fn known_floats(
        &mut self,
        at: usize,
        what: &'static str,
    ) -> Outcome<Option<Vec<f64>>> {
        let Some(operand) = self.optional(at)? else { return Ok(None) };
        let elements = self.elements(operand, what)?;
        let float = |scalar: &Scalar| match scalar {
            Scalar::Int(value) => Ok(*value as f64),
            Scalar::Float(value) => Ok(*value),
            Scalar::Size(_) => Err(ProblemKind::Dynamic(what)),
        };
        elements.values.iter().map(float).collect::<Outcome<_>>().map(Some)
    }

    /// Integers that were an attribute before operator set `since`, and are an operand from then on.
    pub(super) fn ints(
        &mut self,
        name: &'static str,
        since: i64,
        at: usize,
    ) -> Outcome<Option<Vec<i64>>> {
        if self.since >= since {
            self.known_ints(at, name)
        } else {
            Ok(self.attributes.ints(name)?.map(<[i64]>::to_vec))
        }
    }

    // Attributes

    /// An axis, counted from the front.
    pub(super) fn axis(&mut self, default: i64, rank: usize) -> Outcome<usize> {
        let given = self.attributes.int("axis")?.unwrap_or(default);
        axis(given, rank)
    }

    /// Two positive numbers, one for height and one for width.
    pub(super) fn pair(&mut self, name: &'static str, default: [usize; 2]) -> Outcome<[usize; 2]> {
        match self.attributes.ints(name)? {
            None => Ok(default),
            Some(&[height, width]) if height > 0 && width > 0 => Ok([size(height)?, size(width)?]),
            Some(other) => {
                Err(ProblemKind::value(name, other, "and should be two positive numbers"))
            }
        }
    }

    /// A flag.
    pub(super) fn flag(&mut self, name: &'static str, default: bool) -> Outcome<bool> {
        match self.attributes.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(other) => Err(ProblemKind::value(name, other, "and should be 0 or 1")),
        }
    }

    /// The element type that the attribute `to` asks for.
    pub(super) fn cast_target(&mut self) -> Outcome<DataType> {
        // These concern 8-bit floats alone.
        self.attributes.ignore(&["saturate", "round_mode"]);
        let code = self.attributes.int("to")?.ok_or(ProblemKind::MissingAttribute("to"))?;
        let code = i32::try_from(code).unwrap_or(0);
        match DataType::from_code(code) {
            Some(wide @ (DataType::Float16 | DataType::Bfloat16)) => {
                self.builder.widened.insert(wide);
                Ok(DataType::Float)
            }
            Some(data_type) if data_type.size().is_some() => Ok(data_type),
            _ => Err(ProblemKind::element_type(code)),
        }
    }

    // Results

    /// Refuses results beyond the first that somebody wants.
    pub(super) fn only_first_result(&self, second: &'static str) -> Outcome<()> {
        match self.used.iter().skip(1).any(|&used| used) {
            true => Err(ProblemKind::ResultUsed(second)),
            false => Ok(()),
        }
    }

    /// The number of results that the node names.
    pub(super) fn result_count(&self) -> usize {
        self.node.output.len()
    }

    /// Makes a value the result at a place.
    pub(super) fn set(&mut self, at: usize, result: impl Into<Bound>) {
        if let Some(slot) = self.results.get_mut(at) {
            *slot = Some(result.into());
        }
    }

    /// Applies the node's main operator.
    pub(super) fn emit(&mut self, op: impl Into<Op>, operands: &[Operand]) -> Outcome<Operand> {
        self.emit_part("", op, operands)
    }

    /// Applies an operator that is a part of what the node computes.
    pub(super) fn emit_part(
        &mut self,
        part: &str,
        op: impl Into<Op>,
        operands: &[Operand],
    ) -> Outcome<Operand> {
        let name = self.part_name(part);
        let results = self.builder.emit(&name, op.into(), operands)?;
        results.first().copied().ok_or(ProblemKind::NoResult)
    }

    /// Applies an operator with several results, all results of the node.
    pub(super) fn emit_all(&mut self, op: Op, operands: &[Operand]) -> Outcome<()> {
        let name = self.name.clone();
        for (at, result) in self.builder.emit(&name, op, operands)?.into_iter().enumerate() {
            self.set(at, result);
        }
        Ok(())
    }

    /// The main operator, and its result as the node's.
    pub(super) fn finish_with(&mut self, op: impl Into<Op>, operands: &[Operand]) -> Outcome<()> {
        let result = self.emit(op, operands)?;
        self.set(0, result);
        Ok(())
    }

    /// A fixed tensor that the operator brings along.
    pub(super) fn constant(&mut self, part: &str, tensor: Tensor) -> Operand {
        self.derived(part, tensor, true)
    }

    /// A tensor that was computed from others.
    pub(super) fn derived(&mut self, part: &str, tensor: Tensor, frozen: bool) -> Operand {
        let name = self.part_name(part);
        self.builder.constant(Known::Tensor(tensor), &name, frozen)
    }

    /// A fixed number of the element type of `like`.
    pub(super) fn number(&mut self, part: &str, value: f64, like: Operand) -> Outcome<Operand> {
        let data_type = self.builder.data_type(like);
        let scalar = match data_type {
            DataType::Float | DataType::Double => Scalar::Float(value),
            _ => Scalar::Int(value as i64),
        };
        let tensor = Elements::scalar(data_type, scalar).to_tensor()?;
        Ok(self.constant(part, tensor))
    }

    /// The file's name for a result.
    pub(super) fn result_name(&self, at: usize) -> String {
        self.node.output.get(at).cloned().unwrap_or_default()
    }

    fn part_name(&self, part: &str) -> String {
        match part {
            "" => self.name.clone(),
            part => format!("{}/{part}", self.name),
        }
    }
}

/// An axis, counted from the front.
pub(super) fn axis(given: i64, rank: usize) -> Outcome<usize> {
    let from_end = if given < 0 { i64::try_from(rank).unwrap_or(i64::MAX) } else { 0 };
    let absolute = given.checked_add(from_end).and_then(|axis| usize::try_from(axis).ok());
    absolute.filter(|&axis| axis < rank).ok_or(ProblemKind::Axis { axis: given, rank })
}

/// Axes, counted from the front and ascending.
pub(super) fn axes(given: &[i64], rank: usize) -> Outcome<Vec<usize>> {
    if given.len() > MAX_RANK {
        return Err(ProblemKind::Rank(given.len()));
    }
    let mut axes = given.iter().map(|&at| axis(at, rank)).collect::<Outcome<Vec<_>>>()?;
    axes.sort_unstable();
    if axes.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(ProblemKind::value("axes", given, "which names an axis twice"));
    }
    Ok(axes)
}

/// A size that is not negative.
pub(super) fn size(value: i64) -> Outcome<usize> {
    usize::try_from(value).map_err(|_| ProblemKind::Arithmetic(format!("with a size of {value}")))
}
