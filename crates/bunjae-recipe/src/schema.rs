//! What a recipe may say: the kinds of stages, their inputs and their settings.
//!
//! A setting has the name of the option of the command that the stage is, without the dashes before
//! it. A test of the program holds these tables against its options.

mod kinds;
mod settings;

pub use kinds::{Inherits, KINDS, Kind};
pub(crate) use settings::{is_share, share as share_of};

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Form {
    /// A whole number from `least` on.
    Count {
        /// The least value.
        least: u64,
    },
    /// A number.
    Number {
        /// The least value.
        least: f64,
        /// Whether the least value itself is refused.
        over: bool,
        /// The largest value.
        most: f64,
    },
    /// A share between 0 and 1: a number, or a text such as `"30%"`.
    Share,
    /// True or false; the option is given where it is true.
    Flag,
    /// One of these words.
    Word(&'static [&'static str]),
    /// One or several of these words, between commas.
    Words(&'static [&'static str]),
    /// An architecture of the program.
    Architecture,
    /// Text; what it may hold is for the command. The example goes into messages.
    Text {
        /// What is expected, such as `1x60x120`.
        example: &'static str,
        /// Says whether the text is well-formed.
        check: fn(&str) -> bool,
    },
    /// A list of numbers, which becomes one argument with commas.
    Numbers {
        /// Whether only whole numbers from 1 on are taken.
        whole: bool,
    },
    /// A list of texts, for each of which the option is given once; one text is a list of one.
    Texts {
        /// What is expected, such as `conv1=0.3`.
        example: &'static str,
        /// Says whether a text is well-formed.
        check: fn(&str) -> bool,
    },
    /// A file; its contents count, not its name.
    File,
}

/// What a setting changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The result, so that it is part of the key.
    Result,
    /// Only how long it takes.
    Pace,
}

/// A setting of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The option's name.
    pub name: &'static str,
    /// What it takes.
    pub form: Form,
    /// What it changes.
    pub effect: Effect,
}

/// What an input has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// An ONNX file.
    Model,
    /// An ONNX file or a compiled one.
    Runnable,
    /// Labelled pictures.
    Data,
    /// A folder with pictures, whose labels do not count.
    Pictures,
}

/// An input of a stage.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// The key in the recipe.
    pub name: &'static str,
    /// What it has to be.
    pub wants: Wants,
    /// The option it becomes; none where it is given by its place.
    pub option: Option<&'static str>,
    /// Whether a list means all of them together rather than one stage each.
    pub together: bool,
    /// Whether a stage cannot do without. Of `teacher` and `teachers` one is needed.
    pub required: bool,
}

impl Input {
    /// Whether it is pictures, with labels or without.
    pub(crate) fn is_pictures(&self) -> bool {
        matches!(self.wants, Wants::Data | Wants::Pictures)
    }
}

/// What a stage makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Makes {
    /// An ONNX file.
    Model,
    /// A compiled model, in the form that `emit` says.
    Compiled,
    /// A folder of labelled pictures.
    Data,
    /// Figures alone.
    Figures,
}
