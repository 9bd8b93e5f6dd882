//! Attributes: the settings of an operator as they stand in the text form.

use std::collections::BTreeMap;
use std::fmt;

use bunjae_tensor::DType;
use thiserror::Error;

/// A setting of an operator in the text form.
#[derive(Clone, Debug, PartialEq)]
pub enum Attr {
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a point or an exponent.
    Float(f32),
    /// A bare word, such as `half_pixel`.
    Word(String),
    /// `[a, b, ...]`.
    List(Vec<Attr>),
}

impl fmt::Display for Attr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Attr::Bool(value) => write!(f, "{value}"),
            Attr::Int(value) => write!(f, "{value}"),
            // The debug form keeps a point or an exponent, so that a float parses as one.
            Attr::Float(value) => write!(f, "{value:?}"),
            Attr::Word(word) => f.write_str(word),
            Attr::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    write!(f, "{}{item}", if index > 0 { "," } else { "" })?;
                }
                f.write_str("]")
            }
        }
    }
}

/// A Rust type that can be the type of an operator's setting.
pub trait AttrValue: Sized {
    /// What the setting looks like, for error messages: "a number".
    fn expected() -> String;
    /// The setting in its text form.
    fn to_attr(&self) -> Attr;
    /// Reads the text form; `None` where it is something else.
    fn from_attr(attr: &Attr) -> Option<Self>;
}

impl AttrValue for bool {
    fn expected() -> String {
        "true or false".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Bool(*self)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Bool(value) = attr { Some(*value) } else { None }
    }
}

impl AttrValue for i64 {
    fn expected() -> String {
        "a whole number".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Int(*self)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Int(value) = attr { Some(*value) } else { None }
    }
}

impl AttrValue for usize {
    fn expected() -> String {
        "a whole number of at least 0".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Int(i64::try_from(*self).unwrap_or(i64::MAX))
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        i64::from_attr(attr).and_then(|value| value.try_into().ok())
    }
}

impl AttrValue for f32 {
    fn expected() -> String {
        "a number".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Float(*self)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        match attr {
            Attr::Float(value) => Some(*value),
            Attr::Int(value) => Some(*value as f32),
            Attr::Word(word) => match word.as_str() {
                "inf" => Some(f32::INFINITY),
                "-inf" => Some(f32::NEG_INFINITY),
                "NaN" => Some(f32::NAN),
                _ => None,
            },
            _ => None,
        }
    }
}

impl AttrValue for DType {
    fn expected() -> String {
        "an element type: f32, f64, i8, u8, i32 or i64".into()
    }
    fn to_attr(&self) -> Attr {
        Attr::Word(self.name().to_string())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Word(word) = attr { word.parse().ok() } else { None }
    }
}

impl<T: AttrValue> AttrValue for Vec<T> {
    fn expected() -> String {
        format!("a list, each {}", T::expected())
    }
    fn to_attr(&self) -> Attr {
        Attr::List(self.iter().map(T::to_attr).collect())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        let Attr::List(items) = attr else { return None };
        items.iter().map(T::from_attr).collect()
    }
}

impl<T: AttrValue, const LEN: usize> AttrValue for [T; LEN] {
    fn expected() -> String {
        format!("a list of {LEN}, each {}", T::expected())
    }
    fn to_attr(&self) -> Attr {
        Attr::List(self.iter().map(T::to_attr).collect())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        Vec::from_attr(attr)?.try_into().ok()
    }
}

/// Why a name and settings are not those of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AttrError {
    /// No operator of this name.
    #[error("there is no operator `{0}`")]
    Operator(String),
    /// The operator has no such setting.
    #[error("{op} has no setting `{attribute}`; {}", listed(.known))]
    Attribute {
        /// The operator's name.
        op: String,
        /// The name of the setting.
        attribute: String,
        /// The names of the settings that it has.
        known: Vec<&'static str>,
    },
    /// A setting of the wrong form.
    #[error("`{attribute}` is {found}, but should be {expected}")]
    Value {
        /// The name of the setting.
        attribute: &'static str,
        /// What was given, in the text form.
        found: String,
        /// What it should be, in words.
        expected: String,
    },
}

fn listed(known: &[&str]) -> String {
    if known.is_empty() { "it has none".into() } else { format!("it has {}", known.join(", ")) }
}

/// The attributes that were read for one operator, taken out one by one.
#[derive(Clone, Debug, Default)]
pub struct AttrMap {
    given: BTreeMap<String, Attr>,
    asked: Vec<&'static str>,
}

impl AttrMap {
    /// Adds an attribute; false where one of that name is there already.
    pub fn insert(&mut self, name: &str, attr: Attr) -> bool {
        self.given.insert(name.to_string(), attr).is_none()
    }

    /// Takes the attribute `name`, or the default where it is not given.
    ///
    /// # Errors
    /// [`AttrError::Value`] where its form does not fit.
    pub fn take<T: AttrValue>(&mut self, name: &'static str, default: T) -> Result<T, AttrError> {
        self.asked.push(name);
        match self.given.remove(name) {
            None => Ok(default),
            Some(attr) => T::from_attr(&attr).ok_or_else(|| AttrError::Value {
                attribute: name,
                found: attr.to_string(),
                expected: T::expected(),
            }),
        }
    }

    /// Checks that every attribute was taken by the operator `op`.
    ///
    /// # Errors
    /// [`AttrError::Attribute`] for the first that was not.
    pub fn finish(mut self, op: &str) -> Result<(), AttrError> {
        let Some((attribute, _)) = self.given.pop_first() else { return Ok(()) };
        self.asked.sort_unstable();
        Err(AttrError::Attribute { op: op.to_string(), attribute, known: self.asked })
    }
}

/// Defines a plain enum of words that is an [`AttrValue`].
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),* }

        impl $crate::attr::AttrValue for $name {
            fn expected() -> String {
                format!("one of {}", [$($word),*].join(", "))
            }
            fn to_attr(&self) -> $crate::attr::Attr {
                $crate::attr::Attr::Word(match self { $($name::$variant => $word),* }.to_string())
            }
            fn from_attr(attr: &$crate::attr::Attr) -> Option<Self> {
                let $crate::attr::Attr::Word(word) = attr else { return None };
                match word.as_str() { $($word => Some($name::$variant),)* _ => None }
            }
        }
    };
}

/// Defines the settings of one operator: a plain struct with defaults and its attributes.
macro_rules! settings {
    ($(#[$meta:meta])* $name:ident {
        $($(#[$fmeta:meta])* $field:ident : $ty:ty = $default:expr),* $(,)?
    }) => {
        $(#[$meta])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty),* }

        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default),* }
            }
        }

        impl $name {
            /// The settings that differ from the defaults, sorted by name.
            #[allow(unused_mut, clippy::vec_init_then_push, reason = "some have no settings")]
            fn attrs(&self) -> Vec<(&'static str, $crate::attr::Attr)> {
                let mut attrs: Vec<(&'static str, $crate::attr::Attr)> = Vec::new();
                $(let default: $ty = $default;
                if self.$field != default {
                    attrs.push((stringify!($field), $crate::attr::AttrValue::to_attr(&self.$field)));
                })*
                attrs.sort_by_key(|(name, _)| *name);
                attrs
            }

            /// Takes the settings from `map`, defaults for those it does not hold.
            #[allow(unused_variables, reason = "some have no settings")]
            fn from_attrs(
                map: &mut $crate::attr::AttrMap,
            ) -> Result<Self, $crate::attr::AttrError> {
                Ok($name { $($field: map.take(stringify!($field), $default)?),* })
            }
        }
    };
}
pub(crate) use {settings, words};
