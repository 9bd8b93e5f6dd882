//! Dimensions that may depend on symbols such as the batch size.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// One dimension of a tensor: a number, or an expression over named symbols (`N`, `(H+1)/2`).
///
/// Expressions are kept in a normal form, so two that are built by different but equivalent chains
/// of strided layers compare equal: every `floor(x / n) + k` becomes `floor((x + k n) / n)`, and
/// nested floors are merged.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dim {
    /// A known size.
    Fixed(usize),
    /// A size that is known only once its symbols are bound.
    Dynamic(Arc<DimExpr>),
}

/// An expression over symbols. Made through the methods of [`Dim`], which keep it normal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DimExpr {
    /// A named size, such as the batch `N`.
    Symbol(Box<str>),
    /// A dimension plus a constant.
    Add(Dim, i64),
    /// The sum of two dynamic dimensions.
    Sum(Dim, Dim),
    /// A product, at least one factor dynamic; a fixed factor stands second.
    Product(Dim, Dim),
    /// The floor of a dimension over a constant greater than 1.
    Floor(Dim, usize),
}

/// What can go wrong with a dimension.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DimError {
    /// A symbol has no value.
    #[error("the size `{0}` is not known; give it a value")]
    Unbound(String),
    /// The value is negative or does not fit.
    #[error("the size {0} comes out negative or too large")]
    Range(String),
    /// The expression has too many parts to be a real shape.
    #[error("a size is too long an expression")]
    TooLong,
}

/// Values for symbols, by name.
pub type Bindings = BTreeMap<String, usize>;

/// Expressions with more parts than this do not come from real networks.
const MAX_PARTS: usize = 64;

impl Dim {
    /// The dimension named `name`.
    pub fn symbol(name: &str) -> Self {
        Dim::Dynamic(Arc::new(DimExpr::Symbol(name.into())))
    }

    /// The size, where it is known.
    pub fn fixed(&self) -> Option<usize> {
        match self {
            Dim::Fixed(size) => Some(*size),
            Dim::Dynamic(_) => None,
        }
    }

    /// True where the dimension is known to be 1, and so broadcasts.
    pub fn is_one(&self) -> bool {
        *self == Dim::Fixed(1)
    }

    /// False only where both are known and differ: two dimensions of which one depends on a symbol
    /// may turn out equal, which is then checked when the graph runs.
    pub fn may_equal(&self, other: &Dim) -> bool {
        match (self, other) {
            (Dim::Fixed(a), Dim::Fixed(b)) => a == b,
            _ => true,
        }
    }

    /// Takes the number of parts of this expression from `budget`, and stops where it runs out:
    /// shared parts make an expression exponentially larger than the memory it takes.
    fn spend(&self, budget: &mut usize) {
        if let Dim::Dynamic(expr) = self
            && *budget > 0
        {
            *budget -= 1;
            match expr.as_ref() {
                DimExpr::Symbol(_) => {}
                DimExpr::Add(a, _) | DimExpr::Floor(a, _) => a.spend(budget),
                DimExpr::Sum(a, b) | DimExpr::Product(a, b) => {
                    a.spend(budget);
                    b.spend(budget);
                }
            }
        }
    }

    fn dynamic(expr: DimExpr) -> Result<Dim, DimError> {
        let dim = Dim::Dynamic(Arc::new(expr));
        let mut budget = MAX_PARTS;
        dim.spend(&mut budget);
        if budget == 0 { Err(DimError::TooLong) } else { Ok(dim) }
    }

    /// This dimension plus a constant.
    ///
    /// # Errors
    /// [`DimError::Range`] where a known result is negative or does not fit.
    pub fn add(&self, constant: i64) -> Result<Dim, DimError> {
        match self {
            Dim::Fixed(size) => i64::try_from(*size)
                .ok()
                .and_then(|size| size.checked_add(constant))
                .and_then(|sum| usize::try_from(sum).ok())
                .map(Dim::Fixed)
                .ok_or_else(|| DimError::Range(format!("{size}{constant:+}"))),
            _ if constant == 0 => Ok(self.clone()),
            Dim::Dynamic(expr) => {
                let range = || DimError::Range(format!("{self}{constant:+}"));
                match expr.as_ref() {
                    DimExpr::Add(inner, first) => {
                        inner.add(first.checked_add(constant).ok_or_else(range)?)
                    }
                    DimExpr::Floor(inner, divisor) => {
                        let scaled = i64::try_from(*divisor)
                            .ok()
                            .and_then(|divisor| divisor.checked_mul(constant))
                            .ok_or_else(range)?;
                        inner.add(scaled)?.floor_div(*divisor)
                    }
                    _ => Dim::dynamic(DimExpr::Add(self.clone(), constant)),
                }
            }
        }
    }

    /// The sum of two dimensions.
    ///
    /// # Errors
    /// [`DimError::Range`] where a known result does not fit.
    pub fn sum(&self, other: &Dim) -> Result<Dim, DimError> {
        match (self, other) {
            (dim, Dim::Fixed(size)) | (Dim::Fixed(size), dim) => {
                dim.add(i64::try_from(*size).map_err(|_| DimError::Range(format!("{size}")))?)
            }
            (a, b) => {
                let (a, b) = if a <= b { (a, b) } else { (b, a) };
                Dim::dynamic(DimExpr::Sum(a.clone(), b.clone()))
            }
        }
    }

    /// The product of two dimensions.
    ///
    /// # Errors
    /// [`DimError::Range`] where a known result does not fit.
    pub fn product(&self, other: &Dim) -> Result<Dim, DimError> {
        match (self, other) {
            (Dim::Fixed(a), Dim::Fixed(b)) => {
                a.checked_mul(*b).map(Dim::Fixed).ok_or_else(|| DimError::Range(format!("{a}*{b}")))
            }
            (dim, Dim::Fixed(1)) | (Dim::Fixed(1), dim) => Ok(dim.clone()),
            (_, Dim::Fixed(0)) | (Dim::Fixed(0), _) => Ok(Dim::Fixed(0)),
            (Dim::Dynamic(expr), Dim::Fixed(b)) | (Dim::Fixed(b), Dim::Dynamic(expr)) => {
                match expr.as_ref() {
                    DimExpr::Product(inner, Dim::Fixed(a)) => {
                        inner.product(&Dim::Fixed(*a).product(&Dim::Fixed(*b))?)
                    }
                    _ => Dim::dynamic(DimExpr::Product(Dim::Dynamic(expr.clone()), Dim::Fixed(*b))),
                }
            }
            (a, b) => {
                let (a, b) = if a <= b { (a, b) } else { (b, a) };
                Dim::dynamic(DimExpr::Product(a.clone(), b.clone()))
            }
        }
    }

    /// The floor of this dimension over `divisor`; a divisor of 0 counts as 1.
    ///
    /// # Errors
    /// [`DimError::TooLong`].
    pub fn floor_div(&self, divisor: usize) -> Result<Dim, DimError> {
        match self {
            _ if divisor <= 1 => Ok(self.clone()),
            Dim::Fixed(size) => Ok(Dim::Fixed(size / divisor)),
            Dim::Dynamic(expr) => match expr.as_ref() {
                DimExpr::Floor(inner, first) => {
                    let merged = first
                        .checked_mul(divisor)
                        .ok_or_else(|| DimError::Range(format!("{self}/{divisor}")))?;
                    inner.floor_div(merged)
                }
                DimExpr::Product(inner, Dim::Fixed(factor)) if factor % divisor == 0 => {
                    inner.product(&Dim::Fixed(factor / divisor))
                }
                _ => Dim::dynamic(DimExpr::Floor(self.clone(), divisor)),
            },
        }
    }

    /// The dimension with the given symbols replaced by their values.
    ///
    /// # Errors
    /// [`DimError::Range`] where a result is negative or does not fit.
    pub fn bind(&self, bindings: &Bindings) -> Result<Dim, DimError> {
        match self {
            Dim::Fixed(_) => Ok(self.clone()),
            Dim::Dynamic(expr) => match expr.as_ref() {
                DimExpr::Symbol(name) => {
                    Ok(bindings.get(name.as_ref()).map_or(self.clone(), |&n| Dim::Fixed(n)))
                }
                // A product or a sum below may pass through negative values, which `add` refuses
                // too early; only whole expressions have to come out as sizes.
                _ => match self.value(bindings) {
                    Ok(value) => usize::try_from(value)
                        .map(Dim::Fixed)
                        .map_err(|_| DimError::Range(self.to_string())),
                    Err(DimError::Unbound(_)) => self.bind_parts(expr, bindings),
                    Err(error) => Err(error),
                },
            },
        }
    }

    fn bind_parts(&self, expr: &DimExpr, bindings: &Bindings) -> Result<Dim, DimError> {
        match expr {
            DimExpr::Symbol(_) => Ok(self.clone()),
            DimExpr::Add(a, constant) => a.bind(bindings)?.add(*constant),
            DimExpr::Sum(a, b) => a.bind(bindings)?.sum(&b.bind(bindings)?),
            DimExpr::Product(a, b) => a.bind(bindings)?.product(&b.bind(bindings)?),
            DimExpr::Floor(a, divisor) => a.bind(bindings)?.floor_div(*divisor),
        }
    }

    /// The size under the given values.
    ///
    /// # Errors
    /// [`DimError::Unbound`] names a symbol without a value; [`DimError::Range`] where the result
    /// is negative or does not fit.
    pub fn eval(&self, bindings: &Bindings) -> Result<usize, DimError> {
        usize::try_from(self.value(bindings)?).map_err(|_| DimError::Range(self.to_string()))
    }

    fn value(&self, bindings: &Bindings) -> Result<i64, DimError> {
        let range = || DimError::Range(self.to_string());
        match self {
            Dim::Fixed(size) => i64::try_from(*size).map_err(|_| range()),
            Dim::Dynamic(expr) => match expr.as_ref() {
                DimExpr::Symbol(name) => {
                    let value = bindings
                        .get(name.as_ref())
                        .ok_or_else(|| DimError::Unbound(name.to_string()))?;
                    i64::try_from(*value).map_err(|_| range())
                }
                DimExpr::Add(a, constant) => {
                    a.value(bindings)?.checked_add(*constant).ok_or_else(range)
                }
                DimExpr::Sum(a, b) => {
                    a.value(bindings)?.checked_add(b.value(bindings)?).ok_or_else(range)
                }
                DimExpr::Product(a, b) => {
                    a.value(bindings)?.checked_mul(b.value(bindings)?).ok_or_else(range)
                }
                DimExpr::Floor(a, divisor) => {
                    let divisor = i64::try_from(*divisor).map_err(|_| range())?;
                    Ok(a.value(bindings)?.div_euclid(divisor))
                }
            },
        }
    }

    /// Adds the names of the symbols in this dimension to `names`, each once, in order of
    /// appearance.
    pub fn symbols(&self, names: &mut Vec<String>) {
        if let Dim::Dynamic(expr) = self {
            match expr.as_ref() {
                DimExpr::Symbol(name) => {
                    if !names.iter().any(|known| known == name.as_ref()) {
                        names.push(name.to_string());
                    }
                }
                DimExpr::Add(a, _) | DimExpr::Floor(a, _) => a.symbols(names),
                DimExpr::Sum(a, b) | DimExpr::Product(a, b) => {
                    a.symbols(names);
                    b.symbols(names);
                }
            }
        }
    }

    /// Reads the form that `Display` writes, such as `32`, `N` or `(H+1)/2`.
    ///
    /// # Errors
    /// A sentence that says what was expected where.
    pub fn parse(text: &str) -> Result<Dim, String> {
        let mut parser = Parser { text, at: 0, depth: 0 };
        let dim = parser.sum()?;
        parser.skip_space();
        if parser.at < text.len() {
            return Err(format!("unexpected `{}` in the size `{text}`", &text[parser.at..]));
        }
        Ok(dim)
    }
}

impl From<usize> for Dim {
    fn from(size: usize) -> Self {
        Dim::Fixed(size)
    }
}

impl From<&str> for Dim {
    /// A symbol.
    fn from(name: &str) -> Self {
        Dim::symbol(name)
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Dim::Fixed(size) => write!(f, "{size}"),
            Dim::Dynamic(expr) => match expr.as_ref() {
                DimExpr::Symbol(name) => f.write_str(name),
                DimExpr::Add(a, constant) => write!(f, "({a}{constant:+})"),
                DimExpr::Sum(a, b) => write!(f, "({a}+{b})"),
                DimExpr::Product(a, b) => match b {
                    Dim::Dynamic(right)
                        if matches!(right.as_ref(), DimExpr::Product(..) | DimExpr::Floor(..)) =>
                    {
                        write!(f, "{a}*({b})")
                    }
                    _ => write!(f, "{a}*{b}"),
                },
                // `a*b/c` reads as `(a*b)/c`, which is what a floor over a product means.
                DimExpr::Floor(a, divisor) => write!(f, "{a}/{divisor}"),
            },
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for DimExpr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", Dim::Dynamic(Arc::new(self.clone())))
    }
}

/// True for a name that can stand bare in an expression.
pub(crate) fn is_symbol(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn skip_space(&mut self) {
        while self.text[self.at..].starts_with(' ') {
            self.at += 1;
        }
    }

    fn eat(&mut self, symbol: char) -> bool {
        self.skip_space();
        let found = self.text[self.at..].starts_with(symbol);
        if found {
            self.at += symbol.len_utf8();
        }
        found
    }

    fn word(&mut self) -> String {
        self.skip_space();
        let rest = &self.text[self.at..];
        let end =
            rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
        self.at += end;
        rest[..end].to_string()
    }

    fn number(&mut self) -> Result<usize, String> {
        let word = self.word();
        word.parse().map_err(|_| format!("`{word}` is not a number in the size `{}`", self.text))
    }

    fn sum(&mut self) -> Result<Dim, String> {
        let mut left = self.product()?;
        loop {
            left = if self.eat('+') {
                left.sum(&self.product()?)
            } else if self.eat('-') {
                let constant = self.number()?;
                left.add(-i64::try_from(constant).map_err(|e| e.to_string())?)
            } else {
                return Ok(left);
            }
            .map_err(|e| e.to_string())?;
        }
    }

    fn product(&mut self) -> Result<Dim, String> {
        let mut left = self.atom()?;
        loop {
            left = if self.eat('*') {
                left.product(&self.atom()?)
            } else if self.eat('/') {
                match self.number()? {
                    0 => return Err(format!("division by zero in the size `{}`", self.text)),
                    divisor => left.floor_div(divisor),
                }
            } else {
                return Ok(left);
            }
            .map_err(|e| e.to_string())?;
        }
    }

    fn atom(&mut self) -> Result<Dim, String> {
        if self.eat('(') {
            self.depth += 1;
            if self.depth > MAX_PARTS {
                return Err(DimError::TooLong.to_string());
            }
            let inner = self.sum()?;
            self.depth -= 1;
            return if self.eat(')') {
                Ok(inner)
            } else {
                Err(format!("a `)` is missing in the size `{}`", self.text))
            };
        }
        let word = self.word();
        if is_symbol(&word) {
            Ok(Dim::symbol(&word))
        } else if self.text.trim().is_empty() {
            Err("a size is missing".into())
        } else {
            word.parse()
                .map(Dim::Fixed)
                .map_err(|_| format!("expected a number or a name in the size `{}`", self.text))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Output size of a layer with the given kernel, stride and total padding.
    fn strided(dim: &Dim, kernel: i64, stride: usize, pad: i64) -> Dim {
        dim.add(pad - kernel).unwrap().floor_div(stride).unwrap().add(1).unwrap()
    }

    #[test]
    fn chains_of_strided_layers_have_one_form() {
        let h = Dim::symbol("H");
        let once = strided(&h, 3, 2, 2);
        assert_eq!(once.to_string(), "(H+1)/2");
        let twice = strided(&once, 3, 2, 2);
        assert_eq!(twice.to_string(), "(H+3)/4");
        assert_eq!(strided(&h, 2, 2, 0).to_string(), "H/2");
        assert_eq!(strided(&h, 3, 1, 2), h);
    }

    #[test]
    fn expressions_evaluate_like_the_layers_they_stand_for() {
        let bound = |n| Bindings::from([("H".to_string(), n)]);
        let form = strided(&strided(&Dim::symbol("H"), 3, 2, 2), 5, 3, 1);
        for n in 8..40 {
            let direct = strided(&strided(&Dim::Fixed(n), 3, 2, 2), 5, 3, 1);
            assert_eq!(Dim::Fixed(form.eval(&bound(n)).unwrap()), direct, "H = {n}");
            assert_eq!(form.bind(&bound(n)).unwrap(), direct);
        }
        assert!(matches!(form.eval(&bound(1)), Ok(0) | Err(DimError::Range(_))));
        assert_eq!(form.eval(&Bindings::new()), Err(DimError::Unbound("H".into())));
    }

    #[test]
    fn the_printed_form_parses_back() {
        let (h, w) = (Dim::symbol("H"), Dim::symbol("W"));
        let eighth = strided(&strided(&h, 3, 2, 2), 2, 2, 0);
        let forms = [
            eighth.product(&w.floor_div(8).unwrap()).unwrap(),
            h.product(&Dim::Fixed(6)).unwrap().floor_div(4).unwrap(),
            h.sum(&w).unwrap().add(-3).unwrap(),
            h.add(1).unwrap().product(&Dim::Fixed(3)).unwrap(),
            w.product(&h.floor_div(2).unwrap()).unwrap().product(&Dim::Fixed(2)).unwrap(),
            h.floor_div(3).unwrap().product(&h.floor_div(2).unwrap()).unwrap(),
            Dim::Fixed(7),
        ];
        for form in forms {
            assert_eq!(Dim::parse(&form.to_string()), Ok(form.clone()), "{form}");
        }
        for bad in ["", "(H", "H/0", "3x", "H)", "+1", "-1"] {
            assert!(Dim::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn hostile_nesting_is_refused() {
        let deep = "(".repeat(100_000) + "H";
        assert!(Dim::parse(&deep).is_err());
        let mut dim = Dim::symbol("H");
        let error = (0..1000).find_map(|_| match dim.product(&Dim::symbol("W")) {
            Ok(next) => {
                dim = next;
                None
            }
            Err(error) => Some(error),
        });
        assert_eq!(error, Some(DimError::TooLong));
    }
}
