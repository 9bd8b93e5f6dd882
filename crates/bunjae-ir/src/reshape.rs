//! Reshapes written down as what becomes of each run of axes.
//!
//! A reshape that names absolute sizes breaks as soon as a channel is removed. Written as factors
//! it does not: `[[1,_],[1,2,_],[1,_],[1,_]]` is the first half of a channel shuffle with two
//! groups, for any number of channels, any batch and any picture size.

use crate::attr::{Attr, AttrValue};
use crate::dim::{Dim, DimExpr};
use crate::error::ShapeError;

/// One axis that a group of factors results in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Factor {
    /// A fixed length.
    Fixed(usize),
    /// Whatever is left of the group's elements; at most one in a group.
    Rest,
}

/// A run of operand axes and the axes it becomes, in row-major order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FactorGroup {
    /// The number of operand axes, 0 to insert axes of length 1.
    pub axes: usize,
    /// The resulting axes; none to drop axes of length 1.
    pub out: Vec<Factor>,
}

/// A whole reshape: its groups cover the operand's axes in order.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Factors(pub Vec<FactorGroup>);

/// One entry of the shape that a reshape asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// A size, known or not.
    Size(Dim),
    /// The size of the operand's axis in the same place (ONNX's 0).
    Copy,
    /// Whatever is left (ONNX's -1).
    Infer,
}

impl FactorGroup {
    fn to_attr(&self) -> Attr {
        let out = self.out.iter().map(|factor| match factor {
            Factor::Fixed(size) => size.to_attr(),
            Factor::Rest => Attr::Word("_".into()),
        });
        Attr::List(std::iter::once(self.axes.to_attr()).chain(out).collect())
    }
}

impl AttrValue for Factors {
    fn expected() -> String {
        "a list of groups [number of axes, sizes...] in which `_` stands for the rest".into()
    }

    fn to_attr(&self) -> Attr {
        Attr::List(self.0.iter().map(FactorGroup::to_attr).collect())
    }

    fn from_attr(attr: &Attr) -> Option<Self> {
        let Attr::List(groups) = attr else { return None };
        let group = |attr: &Attr| {
            let Attr::List(parts) = attr else { return None };
            let (axes, out) = parts.split_first()?;
            let out = out.iter().map(|part| match part {
                Attr::Word(word) if word == "_" => Some(Factor::Rest),
                other => usize::from_attr(other).map(Factor::Fixed),
            });
            Some(FactorGroup { axes: usize::from_attr(axes)?, out: out.collect::<Option<_>>()? })
        };
        groups.iter().map(group).collect::<Option<_>>().map(Factors)
    }
}

/// A product of sizes: a number times dynamic factors, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Monomial {
    fixed: usize,
    dynamic: Vec<Dim>,
}

impl Monomial {
    const ONE: Monomial = Monomial { fixed: 1, dynamic: Vec::new() };

    fn of(dims: &[Dim]) -> Option<Monomial> {
        let mut result = Monomial::ONE;
        dims.iter().try_for_each(|dim| result.multiply(dim))?;
        result.dynamic.sort();
        Some(result)
    }

    fn multiply(&mut self, dim: &Dim) -> Option<()> {
        match dim {
            Dim::Fixed(size) => self.fixed = self.fixed.checked_mul(*size)?,
            Dim::Dynamic(expr) => match expr.as_ref() {
                DimExpr::Product(a, b) => {
                    self.multiply(a)?;
                    self.multiply(b)?;
                }
                _ => self.dynamic.push(dim.clone()),
            },
        }
        Some(())
    }

    /// This product over `other`, where it goes without a remainder.
    fn over(&self, other: &Monomial) -> Option<Monomial> {
        let fixed = self.fixed.checked_div(other.fixed)?;
        let mut dynamic = self.dynamic.clone();
        for factor in &other.dynamic {
            let at = dynamic.iter().position(|own| own == factor)?;
            dynamic.remove(at);
        }
        (fixed * other.fixed == self.fixed).then_some(Monomial { fixed, dynamic })
    }

    fn dim(&self) -> Result<Dim, ShapeError> {
        let dynamic = self
            .dynamic
            .iter()
            .try_fold(Dim::Fixed(1), |product, factor| product.product(factor))?;
        Ok(dynamic.product(&Dim::Fixed(self.fixed))?)
    }
}

impl Factors {
    /// The reshape that merges the axes before `axis` into one and those from there on into another.
    pub(crate) fn flatten(rank: usize, axis: usize) -> Factors {
        let group = |axes| FactorGroup {
            axes,
            out: vec![if axes == 0 { Factor::Fixed(1) } else { Factor::Rest }],
        };
        Factors(vec![group(axis), group(rank - axis)])
    }

    /// Writes down the reshape of `input` to `target`, in the smallest groups there are.
    ///
    /// Where a group splits into several known sizes, the inferred one is the rest, otherwise the
    /// largest: the groups of a channel shuffle are fewer than the channels in each.
    ///
    /// # Errors
    /// [`ShapeError::Reshape`] where the sizes do not fit together, or cannot be shown to.
    pub fn between(input: &[Dim], target: &[Target]) -> Result<Factors, ShapeError> {
        let fail = || ShapeError::Reshape {
            input: input.to_vec(),
            target: target
                .iter()
                .map(|entry| match entry {
                    Target::Size(dim) => dim.to_string(),
                    Target::Copy => "0".to_string(),
                    Target::Infer => "-1".to_string(),
                })
                .collect(),
        };
        let (sizes, inferred) = resolve(input, target).ok_or_else(fail)??;
        let mut groups = Vec::new();
        let (mut from, mut to) = (0, 0);
        while from < input.len() || to < sizes.len() {
            let one = Dim::Fixed(1);
            let (next_in, next_out) = (input.get(from), sizes.get(to));
            let (axes, count) = match (next_in, next_out) {
                (Some(a), Some(b)) if a == b => (1, 1),
                (Some(a), _) if *a == one => (1, 0),
                (_, Some(b)) if *b == one => (0, 1),
                _ => balance(&input[from..], &sizes[to..]).ok_or_else(fail)?,
            };
            let range = to..to + count;
            let out = if axes == 0 {
                vec![Factor::Fixed(1); count]
            } else {
                let inside = inferred.filter(|at| range.contains(at)).map(|at| at - to);
                split(&sizes[range], inside).ok_or_else(fail)?
            };
            groups.push(FactorGroup { axes, out });
            from += axes;
            to += count;
        }
        Ok(Factors(groups))
    }

    /// The dimensions of the result for an operand of dimensions `input`.
    ///
    /// # Errors
    /// [`ShapeError::Reshape`] where a group does not fit.
    pub fn apply(&self, input: &[Dim]) -> Result<Vec<Dim>, ShapeError> {
        let fail = || ShapeError::Reshape {
            input: input.to_vec(),
            target: self.0.iter().map(|group| group.to_attr().to_string()).collect(),
        };
        let mut dims = Vec::new();
        let mut at = 0usize;
        for group in &self.0 {
            let end = at.checked_add(group.axes).filter(|&end| end <= input.len());
            let run = &input[at..end.ok_or_else(fail)?];
            at += group.axes;
            let total = Monomial::of(run).ok_or_else(fail)?;
            let mut known = Monomial::ONE;
            for factor in &group.out {
                if let Factor::Fixed(size) = factor {
                    known.fixed = known.fixed.checked_mul(*size).ok_or_else(fail)?;
                }
            }
            let rests = group.out.iter().filter(|&&factor| factor == Factor::Rest).count();
            let rest = match rests {
                0 if known == total => Dim::Fixed(1),
                1 => match total.over(&known) {
                    Some(rest) => rest.dim()?,
                    // A dynamic size may well be divisible once it is known.
                    None if !total.dynamic.is_empty() && known.fixed > 0 => {
                        total.dim()?.floor_div(known.fixed)?
                    }
                    None => return Err(fail()),
                },
                _ => return Err(fail()),
            };
            dims.extend(group.out.iter().map(|factor| match factor {
                Factor::Fixed(size) => Dim::Fixed(*size),
                Factor::Rest => rest.clone(),
            }));
        }
        if at == input.len() { Ok(dims) } else { Err(fail()) }
    }
}

/// The target sizes with copies and the inferred one filled in, and where the inferred one stands.
#[allow(clippy::type_complexity, reason = "used once, right above")]
fn resolve(
    input: &[Dim],
    target: &[Target],
) -> Option<Result<(Vec<Dim>, Option<usize>), ShapeError>> {
    let mut inferred = None;
    let mut sizes = Vec::new();
    for (at, entry) in target.iter().enumerate() {
        sizes.push(match entry {
            Target::Size(Dim::Fixed(0)) => return None,
            Target::Size(dim) => dim.clone(),
            Target::Copy => input.get(at)?.clone(),
            Target::Infer if inferred.is_some() => return None,
            Target::Infer => {
                inferred = Some(at);
                Dim::Fixed(1)
            }
        });
    }
    let (total, known) = (Monomial::of(input)?, Monomial::of(&sizes)?);
    match inferred {
        Some(at) => match total.over(&known)?.dim() {
            Ok(dim) => sizes[at] = dim,
            Err(error) => return Some(Err(error)),
        },
        None if total != known => return None,
        None => {}
    }
    Some(Ok((sizes, inferred)))
}

/// How many axes of each side, from the front, first hold equally many elements.
fn balance(input: &[Dim], output: &[Dim]) -> Option<(usize, usize)> {
    let (mut axes, mut count) = (1, 1);
    loop {
        let from = Monomial::of(input.get(..axes)?)?;
        let to = Monomial::of(output.get(..count)?)?;
        if from == to {
            return Some((axes, count));
        }
        if to.over(&from).is_some() {
            axes += 1;
        } else if from.over(&to).is_some() || count < output.len() {
            count += 1;
        } else {
            axes += 1;
        }
    }
}

/// The sizes of one group as factors.
fn split(sizes: &[Dim], inferred: Option<usize>) -> Option<Vec<Factor>> {
    let rest = match inferred {
        _ if sizes.len() == 1 => Some(0),
        Some(at) => Some(at),
        None => {
            let dynamic = sizes.iter().position(|dim| dim.fixed().is_none());
            dynamic.or_else(|| (0..sizes.len()).max_by_key(|&at| sizes[at].fixed()))
        }
    };
    let factor = |(at, dim): (usize, &Dim)| {
        if Some(at) == rest { Some(Factor::Rest) } else { dim.fixed().map(Factor::Fixed) }
    };
    sizes.iter().enumerate().map(factor).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dims(text: &str) -> Vec<Dim> {
        text.split_whitespace().map(|dim| Dim::parse(dim).unwrap()).collect()
    }

    fn targets(text: &str) -> Vec<Target> {
        text.split_whitespace()
            .map(|entry| match entry {
                "-1" => Target::Infer,
                "0" => Target::Copy,
                other => Target::Size(Dim::parse(other).unwrap()),
            })
            .collect()
    }

    #[track_caller]
    fn check(input: &str, target: &str, factors: &str, result: &str) {
        let found = Factors::between(&dims(input), &targets(target)).unwrap();
        assert_eq!(found.to_attr().to_string(), factors);
        assert_eq!(found.apply(&dims(input)).unwrap(), dims(result));
        assert_eq!(Factors::from_attr(&found.to_attr()), Some(found));
    }

    #[test]
    fn reshapes_are_split_into_the_smallest_groups() {
        check("N 8 2 2", "0 -1", "[[1,_],[3,_]]", "N 32");
        check("N 8 2 2", "-1 32", "[[1,_],[3,_]]", "N 32");
        check("N 116 7 7", "N 2 58 7 7", "[[1,_],[1,2,_],[1,_],[1,_]]", "N 2 58 7 7");
        check("N 58 2 7 7", "N -1 7 7", "[[1,_],[2,_],[1,_],[1,_]]", "N 116 7 7");
        check("N H W 8", "N -1 2", "[[1,_],[3,_,2]]", "N H*W*4 2");
        check("N H/8 W/8 1", "N -1 1", "[[1,_],[2,_],[1,_]]", "N H/8*(W/8) 1");
        check("N 8 1 1", "N 8", "[[1,_],[1,_],[1],[1]]", "N 8");
        check("N 8", "N 8 1 1", "[[1,_],[1,_],[0,1],[0,1]]", "N 8 1 1");
        check("6 4", "8 3", "[[2,_,3]]", "8 3");
        check("1 1", "1 1", "[[1,_],[1,_]]", "1 1");
    }

    #[test]
    fn impossible_reshapes_are_refused() {
        for (input, target) in [
            ("N 8", "N 9"),
            ("N 8", "-1 -1"),
            ("N 8", "5"),
            ("8", "0 0"),
            ("N 8", "8 M"),
            ("", "3"),
        ] {
            let found = Factors::between(&dims(input), &targets(target));
            assert!(found.is_err(), "{input} to {target}: {found:?}");
        }
        let halves =
            Factors(vec![FactorGroup { axes: 1, out: vec![Factor::Fixed(2), Factor::Rest] }]);
        assert!(halves.apply(&dims("7")).is_err());
        assert!(halves.apply(&dims("6 2")).is_err());
    }
}
