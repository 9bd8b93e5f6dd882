//! Attributes: the settings of an operator as they stand in the text form.

use std::collections::BTreeMap;
use std::fmt;

use bunjae_tensor::DType;

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
    const EXPECTED: &'static str;
    /// The setting in its text form.
    fn to_attr(&self) -> Attr;
    /// Reads the text form; `None` where it is something else.
    fn from_attr(attr: &Attr) -> Option<Self>;
}

impl AttrValue for bool {
    const EXPECTED: &'static str = "true or false";
    fn to_attr(&self) -> Attr {
        Attr::Bool(*self)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Bool(value) = attr { Some(*value) } else { None }
    }
}

impl AttrValue for i64 {
    const EXPECTED: &'static str = "a whole number";
    fn to_attr(&self) -> Attr {
        Attr::Int(*self)
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Int(value) = attr { Some(*value) } else { None }
    }
}

impl AttrValue for usize {
    const EXPECTED: &'static str = "a whole number of at least 0";
    fn to_attr(&self) -> Attr {
        Attr::Int(i64::try_from(*self).unwrap_or(i64::MAX))
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        i64::from_attr(attr).and_then(|value| value.try_into().ok())
    }
}

impl AttrValue for f32 {
    const EXPECTED: &'static str = "a number";
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
    const EXPECTED: &'static str = "an element type";
    fn to_attr(&self) -> Attr {
        Attr::Word(self.name().to_string())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        if let Attr::Word(word) = attr { word.parse().ok() } else { None }
    }
}

impl<T: AttrValue> AttrValue for Vec<T> {
    const EXPECTED: &'static str = "a list";
    fn to_attr(&self) -> Attr {
        Attr::List(self.iter().map(T::to_attr).collect())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        let Attr::List(items) = attr else { return None };
        items.iter().map(T::from_attr).collect()
    }
}

impl<T: AttrValue, const LEN: usize> AttrValue for [T; LEN] {
    const EXPECTED: &'static str = "a list of fixed length";
    fn to_attr(&self) -> Attr {
        Attr::List(self.iter().map(T::to_attr).collect())
    }
    fn from_attr(attr: &Attr) -> Option<Self> {
        Vec::from_attr(attr)?.try_into().ok()
    }
}

/// The attributes that were read for one operator, taken out one by one.
#[derive(Clone, Debug, Default)]
pub struct AttrMap(BTreeMap<String, Attr>);

impl AttrMap {
    /// Adds an attribute; false where one of that name is there already.
    pub fn insert(&mut self, name: &str, attr: Attr) -> bool {
        self.0.insert(name.to_string(), attr).is_none()
    }

    /// Takes the attribute `name`, or the default where it is not given.
    ///
    /// # Errors
    /// A sentence where its form does not fit.
    pub fn take<T: AttrValue>(&mut self, name: &str, default: T) -> Result<T, String> {
        match self.0.remove(name) {
            None => Ok(default),
            Some(attr) => T::from_attr(&attr).ok_or_else(|| {
                format!("attribute `{name}` is {attr}, but should be {}", T::EXPECTED)
            }),
        }
    }

    /// Checks that every attribute was taken.
    ///
    /// # Errors
    /// A sentence that names those left over.
    pub fn finish(self) -> Result<(), String> {
        match self.0.keys().map(|name| format!("`{name}`")).collect::<Vec<_>>() {
            left if left.is_empty() => Ok(()),
            left => Err(format!("unknown attribute {}", left.join(", "))),
        }
    }
}

/// Defines a plain enum of words that is an [`AttrValue`].
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$vmeta:meta])* $variant:ident = $word:literal),* $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vmeta])* $variant),* }

        impl $crate::attr::AttrValue for $name {
            const EXPECTED: &'static str = concat!("one of", $(" ", $word),*);
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
            fn from_attrs(map: &mut $crate::attr::AttrMap) -> Result<Self, String> {
                Ok($name { $($field: map.take(stringify!($field), $default)?),* })
            }
        }
    };
}
pub(crate) use {settings, words};
