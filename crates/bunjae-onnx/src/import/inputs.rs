//! The types of the model's inputs, and names for sizes that are not fixed.

use std::collections::BTreeMap;

use bunjae_ir::{Dim, TensorType};
use bunjae_tensor::MAX_BYTES;

use super::builder::{Builder, MAX_RANK};
use super::elements::dtype;
use super::node::Outcome;
use super::problem::ProblemKind;
use crate::names::Names;
use crate::proto::{Dimension, DimensionValue, TypeValue, ValueInfoProto};
use crate::tensor_data::DataType;

/// A longer name does not come from a person.
const LONGEST_NAME: usize = 64;

/// The symbols given to sizes so far.
#[derive(Default)]
pub(super) struct Symbols {
    /// By the name in the file.
    given: BTreeMap<String, Dim>,
    names: Names,
    /// The size of every first axis that the file does not name.
    batch: Option<Dim>,
}

impl Symbols {
    /// Gives all sizes that have a name in the file a symbol of that name, so that names made up
    /// later do not get in their way.
    pub(super) fn name_all<'a>(&mut self, inputs: impl Iterator<Item = &'a ValueInfoProto>) {
        let mut altered = Vec::new();
        for dimension in inputs.flat_map(dimensions) {
            let Some(DimensionValue::DimParam(name)) = &dimension.value else { continue };
            if name.is_empty() || name.len() > LONGEST_NAME {
                continue;
            }
            match Dim::parse(name) {
                // A symbol, or an expression as export writes them.
                Ok(dim) if dim.fixed().is_none() => {
                    let mut symbols = Vec::new();
                    dim.symbols(&mut symbols);
                    for symbol in &symbols {
                        self.names.take(symbol);
                    }
                    self.given.insert(name.clone(), dim);
                }
                _ => altered.push(name),
            }
        }
        for name in altered {
            if !self.given.contains_key(name) {
                let dim = Dim::symbol(&self.names.unique(&sanitised(name)));
                self.given.insert(name.clone(), dim);
            }
        }
    }

    fn dim(&mut self, axis: usize, rank: usize, dimension: &Dimension) -> Outcome<Dim> {
        match &dimension.value {
            // Some writers state -1 for what they do not know.
            Some(DimensionValue::DimValue(size)) if *size != -1 => match usize::try_from(*size) {
                Ok(known) if known > 0 => Ok(Dim::Fixed(known)),
                _ => Err(ProblemKind::Dimension { axis, size: *size }),
            },
            Some(DimensionValue::DimParam(name)) if self.given.contains_key(name) => {
                Ok(self.given.get(name).cloned().unwrap_or(Dim::Fixed(1)))
            }
            _ if axis == 0 => {
                let names = &mut self.names;
                let batch = self.batch.get_or_insert_with(|| Dim::symbol(&names.unique("N")));
                Ok(batch.clone())
            }
            _ => {
                let name = match (axis, rank) {
                    (2, 4) => "H".to_owned(),
                    (3, 4) => "W".to_owned(),
                    _ => format!("D{axis}"),
                };
                Ok(Dim::symbol(&self.names.unique(&name)))
            }
        }
    }
}

fn dimensions(info: &ValueInfoProto) -> &[Dimension] {
    let Some(TypeValue::Tensor(tensor)) = info.r#type.as_ref().and_then(|ty| ty.value.as_ref())
    else {
        return &[];
    };
    tensor.shape.as_ref().map_or(&[], |shape| &shape.dim)
}

/// `name` with everything that may not stand in a symbol replaced.
fn sanitised(name: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let symbol: String = name.chars().map(legal).collect();
    if symbol.starts_with(|c: char| c.is_ascii_digit()) { format!("_{symbol}") } else { symbol }
}

/// The type of an input.
pub(super) fn input_type(
    builder: &mut Builder,
    symbols: &mut Symbols,
    info: &ValueInfoProto,
) -> Outcome<TensorType> {
    let tensor = match info.r#type.as_ref().and_then(|ty| ty.value.as_ref()) {
        Some(TypeValue::Tensor(tensor)) => tensor,
        Some(TypeValue::Sequence(_)) => return Err(ProblemKind::NotATensor("a list")),
        Some(TypeValue::Map(_)) => return Err(ProblemKind::NotATensor("a dictionary")),
        Some(TypeValue::Opaque(_)) => return Err(ProblemKind::NotATensor("of an opaque type")),
        Some(TypeValue::SparseTensor(_)) => {
            return Err(ProblemKind::NotATensor("a sparse tensor"));
        }
        Some(TypeValue::Optional(_)) => return Err(ProblemKind::NotATensor("an optional value")),
        None => return Err(ProblemKind::NotATensor("of no type")),
    };
    let data_type = DataType::from_code(tensor.elem_type);
    if let Some(wide @ (DataType::Float16 | DataType::Bfloat16)) = data_type {
        builder.widened.insert(wide);
    }
    let dtype = data_type.and_then(dtype);
    let dtype = dtype.ok_or_else(|| ProblemKind::element_type(tensor.elem_type))?;
    let dimensions = match &tensor.shape {
        Some(shape) => &shape.dim,
        None => return Err(ProblemKind::NoShape),
    };
    let rank = dimensions.len();
    if rank > MAX_RANK {
        return Err(ProblemKind::Rank(rank));
    }
    let dims = dimensions.iter().enumerate();
    let dims = dims.map(|(axis, dimension)| symbols.dim(axis, rank, dimension));
    let dims = dims.collect::<Outcome<Vec<Dim>>>()?;
    let known = dims.iter().filter_map(Dim::fixed);
    if known.fold(dtype.size(), usize::saturating_mul) > MAX_BYTES {
        return Err(ProblemKind::TooLarge);
    }
    Ok(TensorType { dtype, dims })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::{TensorShapeProto, TensorType as ProtoType, TypeProto};

    fn input(dims: &[Option<DimensionValue>]) -> ValueInfoProto {
        let dim = dims.iter().map(|value| Dimension { value: value.clone() }).collect();
        let tensor = ProtoType { elem_type: 1, shape: Some(TensorShapeProto { dim }) };
        let r#type = Some(TypeProto { value: Some(TypeValue::Tensor(tensor)) });
        ValueInfoProto { name: "x".to_owned(), r#type, ..ValueInfoProto::default() }
    }

    fn named(name: &str) -> Option<DimensionValue> {
        Some(DimensionValue::DimParam(name.to_owned()))
    }

    #[track_caller]
    fn check(inputs: &[&[Option<DimensionValue>]], expected: &[&str]) {
        let inputs: Vec<ValueInfoProto> = inputs.iter().map(|dims| input(dims)).collect();
        let (mut builder, mut symbols) = (Builder::new(""), Symbols::default());
        symbols.name_all(inputs.iter());
        let types: Vec<String> = inputs
            .iter()
            .map(|input| input_type(&mut builder, &mut symbols, input).unwrap().to_string())
            .collect();
        assert_eq!(types, expected);
    }

    #[test]
    fn sizes_without_a_number_become_symbols() {
        let fixed = |size| Some(DimensionValue::DimValue(size));
        check(&[&[named("batch"), fixed(3), None, None]], &["f32[batch,3,H,W]"]);
        check(&[&[None, None], &[None, fixed(-1)]], &["f32[N,D1]", "f32[N,D1_2]"]);
        // A name of the file goes before one that is made up.
        check(&[&[None, fixed(1)], &[named("N")]], &["f32[N_2,1]", "f32[N]"]);
        check(
            &[&[named("in put"), named("in_put"), named("1st"), named("in put")]],
            &["f32[in_put_2,in_put,_1st,in_put_2]"],
        );
        check(&[&[named("(H+1)/2"), named(&"x".repeat(65))]], &["f32[(H+1)/2,D1]"]);
    }

    #[test]
    fn impossible_sizes_are_refused() {
        let mut builder = Builder::new("");
        let mut message = |sizes: &[i64]| {
            let dims: Vec<_> = sizes.iter().map(|&s| Some(DimensionValue::DimValue(s))).collect();
            let result = input_type(&mut builder, &mut Symbols::default(), &input(&dims));
            result.unwrap_err().to_string()
        };
        assert_eq!(message(&[1, 0]), "dimension 1 is 0");
        assert_eq!(message(&[-2]), "dimension 0 is -2");
        assert_eq!(
            message(&[1 << 40, 1 << 40]),
            "its size passes any memory this program asks for"
        );
        assert_eq!(message(&[1; 17]), "17 dimensions are too many");
    }
}
