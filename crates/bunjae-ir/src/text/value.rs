//! The elements of a weight as text.

use std::str::FromStr;

use bunjae_tensor::{DType, Element, Random, Tensor, TensorError, element_count};

use super::cursor::Cursor;
use super::error::{ParseError, ParseProblem};
use crate::types::TensorType;

/// The most elements of one weight, and of all generated weights together: a line of text must not
/// ask for more memory than a machine has.
pub(super) const MAX_ELEMENTS: usize = 1 << 26;

/// An element that can be written down and read back to the last bit.
trait Literal: Element {
    /// Appends the shortest text that reads back as this very element.
    fn write(self, text: &mut String);
    /// Reads an element; `None` where the text is none or the type does not hold it.
    fn read(text: &str) -> Option<Self>;
    /// The whole number, where the type holds it; rounded for floats.
    fn from_whole(value: i64) -> Option<Self>;
    /// The nearest value; for whole numbers truncated.
    fn from_fraction(value: f64) -> Self;
}

macro_rules! whole {
    ($($ty:ty),*) => {$(
        impl Literal for $ty {
            fn write(self, text: &mut String) {
                text.push_str(&self.to_string());
            }
            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }
            fn from_whole(value: i64) -> Option<Self> {
                value.try_into().ok()
            }
            fn from_fraction(value: f64) -> Self {
                value as $ty
            }
        }
    )*};
}
whole!(i8, u8, i32, i64);

macro_rules! fraction {
    ($($ty:ty: $bits:ty),*) => {$(
        impl Literal for $ty {
            fn write(self, text: &mut String) {
                use std::fmt::Write;
                // Writing to a string cannot fail.
                let _ = match self {
                    // A NaN has a sign and a payload; all but the usual one are written in full.
                    _ if self.is_nan() && self.to_bits() != <$ty>::NAN.to_bits() => {
                        write!(text, "nan({:#x})", self.to_bits())
                    }
                    _ if self.is_nan() => write!(text, "nan"),
                    // The debug form is the shortest that reads back, with an exponent where that
                    // saves zeros, but always with a point.
                    _ => write!(text, "{self:?}"),
                };
                if text.ends_with(".0") {
                    text.truncate(text.len() - 2);
                }
            }

            fn read(text: &str) -> Option<Self> {
                if let Some(bits) = text.strip_prefix("nan(0x").and_then(|t| t.strip_suffix(')')) {
                    let digits = bits.bytes().all(|c| c.is_ascii_hexdigit());
                    let value = <$bits>::from_str_radix(bits, 16).ok().map(<$ty>::from_bits);
                    return value.filter(|value| digits && value.is_nan());
                }
                match text {
                    "nan" => Some(<$ty>::NAN),
                    "inf" => Some(<$ty>::INFINITY),
                    "-inf" => Some(<$ty>::NEG_INFINITY),
                    _ => text.parse().ok().filter(|value: &$ty| value.is_finite()),
                }
            }

            fn from_whole(value: i64) -> Option<Self> {
                Some(value as $ty)
            }
            fn from_fraction(value: f64) -> Self {
                value as $ty
            }
        }
    )*};
}
fraction!(f32: u32, f64: u64);

/// Evaluates an expression with `$ty` standing for the Rust type of an element type.
macro_rules! with_element {
    ($dtype:expr, $ty:ident => $body:expr) => {
        match $dtype {
            DType::F32 => {
                type $ty = f32;
                $body
            }
            DType::F64 => {
                type $ty = f64;
                $body
            }
            DType::I8 => {
                type $ty = i8;
                $body
            }
            DType::U8 => {
                type $ty = u8;
                $body
            }
            DType::I32 => {
                type $ty = i32;
                $body
            }
            DType::I64 => {
                type $ty = i64;
                $body
            }
        }
    };
}

/// Appends all elements of a tensor as a list.
pub(super) fn write_elements(tensor: &Tensor, text: &mut String) {
    fn write<T: Literal>(tensor: &Tensor, text: &mut String) {
        // The caller asks for the type that the tensor has.
        for (index, element) in tensor.elements::<T>().into_iter().flatten().enumerate() {
            text.push_str(if index > 0 { ", " } else { "" });
            element.write(text);
        }
    }
    text.push('[');
    with_element!(tensor.dtype(), T => write::<T>(tensor, text));
    text.push(']');
}

/// Finds the elements of a weight that are kept elsewhere, of a type and shape, at a place.
pub(super) type Reader<'r> = &'r mut dyn FnMut(DType, &[usize], u64) -> Result<Tensor, TensorError>;

/// Reads the place `at(128)` of the elements of a weight of type `ty`, and finds them there.
pub(super) fn read_apart(
    cursor: &mut Cursor<'_>,
    ty: &TensorType,
    read: &mut Reader<'_>,
) -> Result<Tensor, ParseError> {
    let at = cursor.place();
    let Some(shape) = ty.fixed_shape() else {
        return Err(cursor.error_at(at, ParseProblem::SymbolicWeight(ty.clone())));
    };
    let mut start = cursor.clone();
    if cursor.word() != "at" {
        return Err(start.expected("the place of the elements, such as `at(128)`"));
    }
    cursor.expect('(', "and the place")?;
    let mut start = cursor.clone();
    let digits = cursor.take_while(|c| c.is_ascii_digit());
    let place = digits.parse().map_err(|_| start.expected("a whole number"))?;
    cursor.expect(')', "after the place")?;
    read(ty.dtype, &shape, place)
        .map_err(|error| cursor.error_at(at, ParseProblem::Graph(error.into())))
}

/// Reads the value of a weight of type `ty`: a list of elements or a generator.
///
/// `generated` counts the elements that generators have made so far.
pub(super) fn read(
    cursor: &mut Cursor<'_>,
    ty: &TensorType,
    generated: &mut usize,
) -> Result<Tensor, ParseError> {
    let at = cursor.place();
    let Some(shape) = ty.fixed_shape() else {
        return Err(cursor.error_at(at, ParseProblem::SymbolicWeight(ty.clone())));
    };
    let count = element_count(&shape).unwrap_or(usize::MAX);
    if count > MAX_ELEMENTS {
        let limit = MAX_ELEMENTS;
        return Err(cursor.error_at(at, ParseProblem::TooLarge { count, limit }));
    }
    if cursor.eat('[') {
        return with_element!(ty.dtype, T => list::<T>(cursor, at, ty, &shape));
    }
    let mut start = cursor.clone();
    let generator = cursor.word();
    if generator == "at" {
        return Err(cursor.error_at(at, ParseProblem::Apart));
    }
    if !["zeros", "ones", "full", "rand", "randint", "elided"].contains(&generator) {
        return Err(start.expected(
            "the elements in `[...]`, or one of `zeros`, `ones`, `full`, `rand`, `randint`",
        ));
    }
    if generator == "elided" {
        return Err(cursor.error_at(at, ParseProblem::Elided));
    }
    *generated = generated.saturating_add(count);
    if *generated > MAX_ELEMENTS {
        let (count, limit) = (*generated, MAX_ELEMENTS);
        return Err(cursor.error_at(at, ParseProblem::TooMuchGenerated { count, limit }));
    }
    with_element!(ty.dtype, T => generate::<T>(cursor, at, generator, &shape, count))
}

fn list<T: Literal>(
    cursor: &mut Cursor<'_>,
    start: usize,
    ty: &TensorType,
    shape: &[usize],
) -> Result<Tensor, ParseError> {
    let mut elements: Vec<T> = Vec::new();
    if !cursor.eat(']') {
        loop {
            elements.push(element(cursor, T::DTYPE, [',', ']'])?);
            if !cursor.eat(',') {
                cursor.expect(']', "after the elements")?;
                break;
            }
        }
    }
    let expected = element_count(shape).unwrap_or(usize::MAX);
    if elements.len() != expected {
        let (ty, found) = (ty.clone(), elements.len());
        return Err(cursor.error_at(start, ParseProblem::Count { ty, expected, found }));
    }
    tensor(cursor, start, shape, &elements)
}

/// Reads one element up to one of `ends`.
fn element<T: Literal>(
    cursor: &mut Cursor<'_>,
    dtype: DType,
    ends: [char; 2],
) -> Result<T, ParseError> {
    let at = cursor.place();
    if cursor.peek().is_some_and(|c| ends.contains(&c)) {
        return Err(cursor.expected(format!("an element of type {dtype}")));
    }
    let text = cursor.until(ends, &format!("`{}` or `{}`", ends[0], ends[1]))?;
    T::read(text).ok_or_else(|| {
        let text = text.chars().take(40).collect();
        cursor.error_at(at, ParseProblem::Element { text, dtype })
    })
}

fn tensor<T: Literal>(
    cursor: &Cursor<'_>,
    at: usize,
    shape: &[usize],
    elements: &[T],
) -> Result<Tensor, ParseError> {
    Tensor::from_slice(shape, elements)
        .map_err(|error| cursor.error_at(at, ParseProblem::Graph(error.into())))
}

fn generate<T: Literal>(
    cursor: &mut Cursor<'_>,
    at: usize,
    generator: &str,
    shape: &[usize],
    count: usize,
) -> Result<Tensor, ParseError> {
    // Every type holds 0 and 1.
    let whole = |value| T::from_whole(value).into_iter().cycle().take(count).collect();
    let elements: Vec<T> = match generator {
        "zeros" => whole(0),
        "ones" => whole(1),
        "full" => {
            cursor.expect('(', "and a value")?;
            let value: T = element(cursor, T::DTYPE, [')', ')'])?;
            cursor.expect(')', "after the value")?;
            vec![value; count]
        }
        "rand" => {
            if !T::DTYPE.is_float() {
                return Err(cursor.error_at(at, ParseProblem::Fractions(T::DTYPE)));
            }
            cursor.expect('(', "and `seed=...`")?;
            let mut random = Random::new(argument(cursor, "seed")?);
            cursor.expect(')', "after the seed")?;
            (0..count).map(|_| T::from_fraction(random.uniform(-1.0, 1.0))).collect()
        }
        _ => {
            cursor.expect('(', "and `seed=..., low=..., high=...`")?;
            let mut random = Random::new(argument(cursor, "seed")?);
            cursor.expect(',', "and `low=...`")?;
            let low = bound::<T>(cursor, "low")?;
            cursor.expect(',', "and `high=...`")?;
            let high = bound::<T>(cursor, "high")?;
            cursor.expect(')', "after the bounds")?;
            if low > high {
                return Err(cursor.error_at(at, ParseProblem::Range { low, high }));
            }
            // What lies between two numbers of a type is one of that type.
            (0..count).filter_map(|_| T::from_whole(random.integer(low, high))).collect()
        }
    };
    tensor(cursor, at, shape, &elements)
}

/// Reads `name=number`.
fn argument<N: FromStr>(cursor: &mut Cursor<'_>, name: &str) -> Result<N, ParseError> {
    let mut start = cursor.clone();
    if cursor.word() != name {
        return Err(start.expected(format!("`{name}=`")));
    }
    cursor.expect('=', &format!("after `{name}`"))?;
    let mut start = cursor.clone();
    let text = cursor.take_while(|c| c.is_ascii_digit() || c == '-');
    text.parse().map_err(|_| start.expected(format!("a whole number for `{name}`")))
}

/// Reads an end of the range of a generator, which has to be a value of the weight's type.
fn bound<T: Literal>(cursor: &mut Cursor<'_>, name: &str) -> Result<i64, ParseError> {
    let at = cursor.place();
    let value = argument(cursor, name)?;
    let text = format!("{value}");
    match T::from_whole(value) {
        Some(_) => Ok(value),
        None => Err(cursor.error_at(at, ParseProblem::Element { text, dtype: T::DTYPE })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip<T: Literal>(value: T, expected: &str) {
        let mut text = String::new();
        value.write(&mut text);
        assert_eq!(text, expected);
        let back = T::read(&text).unwrap();
        assert_eq!(bits(back), bits(value), "{expected}");
    }

    fn bits<T: Element>(value: T) -> Vec<u8> {
        Tensor::scalar(value).bytes().to_vec()
    }

    #[test]
    fn elements_read_back_to_the_last_bit() {
        round_trip(0f32, "0");
        round_trip(-0f32, "-0");
        round_trip(0.1f32, "0.1");
        round_trip(0.1f64, "0.1");
        round_trip(1e30f32, "1e30");
        round_trip(f32::MIN_POSITIVE / 4.0, "2.938736e-39");
        round_trip(16777216f32, "16777216");
        round_trip(f32::NAN, "nan");
        round_trip(f32::from_bits(0xffc0_0001), "nan(0xffc00001)");
        round_trip(f64::from_bits(0x7ff0_0000_0000_0001), "nan(0x7ff0000000000001)");
        round_trip(f32::INFINITY, "inf");
        round_trip(f64::NEG_INFINITY, "-inf");
        round_trip(-128i8, "-128");
        round_trip(i64::MIN, "-9223372036854775808");
        let mut random = Random::new(3);
        for _ in 0..2000 {
            let (single, double) = (f32::from_bits(random.bits() as u32), random.bits());
            for value in [single, single.fract(), single.round()] {
                let mut text = String::new();
                value.write(&mut text);
                assert_eq!(f32::read(&text).map(f32::to_bits), Some(value.to_bits()), "{text}");
            }
            let mut text = String::new();
            f64::from_bits(double).write(&mut text);
            assert_eq!(f64::read(&text).map(f64::to_bits), Some(double), "{text}");
        }
    }

    #[test]
    fn values_that_the_type_does_not_hold_are_refused() {
        for bad in ["", "1e39", "x", "infinity", "nan(0x0)", "nan(0x+7fc00000)", "nan(1)", "1 2"] {
            assert_eq!(f32::read(bad), None, "{bad}");
        }
        assert_eq!(i8::read("128"), None);
        assert_eq!(u8::read("-1"), None);
        assert_eq!(i32::read("0.5"), None);
    }

    fn parsed(ty: &str, text: &str) -> Result<Tensor, String> {
        let ty = TensorType::parse(ty).unwrap();
        read(&mut Cursor::new(1, text), &ty, &mut 0).map_err(|error| error.problem.to_string())
    }

    #[test]
    fn generators_make_what_they_say() {
        assert_eq!(parsed("i8[2]", "ones"), Ok(Tensor::from_slice(&[2], &[1i8, 1]).unwrap()));
        assert_eq!(parsed("f64[]", "full( -0.5 )"), Ok(Tensor::scalar(-0.5f64)));
        assert_eq!(
            parsed("f32[0,3]", "zeros"),
            Tensor::zeros(DType::F32, &[0, 3]).map_err(|_| "".into())
        );
        let mut random = Random::new(7);
        let expected = [0; 3].map(|_| random.uniform(-1.0, 1.0) as f32);
        assert_eq!(
            parsed("f32[3]", "rand(seed=7)"),
            Ok(Tensor::from_slice(&[3], &expected).unwrap())
        );
        let whole = parsed("i32[100]", "randint(seed=1, low=-3, high=3)").unwrap();
        let elements = whole.elements::<i32>().unwrap();
        assert!((-3..=3).all(|value| elements.contains(&value)));
        assert!(elements.iter().all(|value| (-3..=3).contains(value)));
    }

    #[test]
    fn generators_refuse_what_they_cannot_make() {
        for (ty, text, message) in [
            ("i8[2]", "rand(seed=1)", "`rand` makes fractions"),
            ("u8[2]", "randint(seed=1, low=-1, high=1)", "`-1` is no u8 value"),
            ("i8[2]", "randint(seed=1, low=2, high=1)", "`low` is 2, above `high`, which is 1"),
            ("i8[2]", "full(300)", "`300` is no i8 value"),
            ("f32[2]", "rand(seed=-1)", "expected a whole number for `seed`, found `-1`"),
            ("f32[2]", "rand(sed=1)", "expected `seed=`, found `sed`"),
            ("f32[2]", "rand", "expected `(` and `seed=...`, found the end of the line"),
            ("f32[N]", "zeros", "the sizes of a weight have to be numbers, but this is f32[N]"),
            (
                "f32[67108865]",
                "zeros",
                "a weight of 67108865 elements; the text form takes at most 67108864",
            ),
            ("f32[9999999999,9999999999]", "[1]", "elements; the text form takes at most"),
        ] {
            let error = parsed(ty, text).unwrap_err();
            assert!(error.contains(message), "{text}: {error}");
        }
    }

    #[test]
    fn generated_weights_share_one_limit() {
        let ty = TensorType::parse("u8[33554432]").unwrap();
        let mut generated = 0;
        for expected in [true, true, false] {
            let found = read(&mut Cursor::new(1, "zeros"), &ty, &mut generated);
            assert_eq!(found.is_ok(), expected);
        }
        let own =
            read(&mut Cursor::new(1, "[1]"), &TensorType::parse("u8[1]").unwrap(), &mut generated);
        assert!(own.is_ok(), "elements in the text are bounded by the text");
    }
}
