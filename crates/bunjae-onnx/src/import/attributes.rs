//! The attributes of one node, taken out one by one and checked.

use super::problem::ProblemKind;
use crate::proto::{AttributeProto, AttributeType, NodeProto, TensorProto};

/// The attributes of a node. Those that nobody asked for are a problem in the end, because they may
/// change what the operator means.
pub(super) struct Attributes<'a> {
    node: &'a NodeProto,
    asked: Vec<&'static str>,
}

impl<'a> Attributes<'a> {
    pub(super) fn of(node: &'a NodeProto) -> Self {
        Attributes { node, asked: Vec::new() }
    }

    fn find(
        &mut self,
        name: &'static str,
        kind: AttributeType,
        expected: &'static str,
    ) -> Result<Option<&'a AttributeProto>, ProblemKind> {
        self.asked.push(name);
        let Some(attribute) = self.node.attribute.iter().find(|a| a.name == name) else {
            return Ok(None);
        };
        let holds = match kind {
            AttributeType::Float => attribute.f.is_some(),
            AttributeType::Int => attribute.i.is_some(),
            AttributeType::String => attribute.s.is_some(),
            AttributeType::Tensor => attribute.t.is_some(),
            _ => true,
        };
        let fits = match attribute.r#type {
            // Files of the first version of the format do not state the kind.
            0 => holds,
            // Some writers leave out zeros and empty strings.
            stated => stated == kind.code() && (holds || kind != AttributeType::Tensor),
        };
        if fits && attribute.ref_attr_name.is_empty() {
            Ok(Some(attribute))
        } else {
            Err(ProblemKind::AttributeKind { name, expected })
        }
    }

    /// An integer.
    pub(super) fn int(&mut self, name: &'static str) -> Result<Option<i64>, ProblemKind> {
        Ok(self.find(name, AttributeType::Int, "an integer")?.map(|a| a.i.unwrap_or_default()))
    }

    /// A number.
    pub(super) fn float(&mut self, name: &'static str) -> Result<Option<f32>, ProblemKind> {
        Ok(self.find(name, AttributeType::Float, "a number")?.map(|a| a.f.unwrap_or_default()))
    }

    /// A list of integers.
    pub(super) fn ints(&mut self, name: &'static str) -> Result<Option<&'a [i64]>, ProblemKind> {
        let found = self.find(name, AttributeType::Ints, "a list of integers")?;
        Ok(found.map(|a| a.ints.as_slice()))
    }

    /// A list of numbers.
    pub(super) fn floats(&mut self, name: &'static str) -> Result<Option<&'a [f32]>, ProblemKind> {
        let found = self.find(name, AttributeType::Floats, "a list of numbers")?;
        Ok(found.map(|a| a.floats.as_slice()))
    }

    /// A tensor.
    pub(super) fn tensor(
        &mut self,
        name: &'static str,
    ) -> Result<Option<&'a TensorProto>, ProblemKind> {
        Ok(self.find(name, AttributeType::Tensor, "a tensor")?.and_then(|a| a.t.as_deref()))
    }

    /// One of several words; the first of `choices` is the default.
    pub(super) fn word<T: Copy>(
        &mut self,
        name: &'static str,
        choices: &[(&str, T)],
    ) -> Result<T, ProblemKind> {
        let word = self.find(name, AttributeType::String, "a word")?;
        let word = word.map(|attribute| attribute.s.as_deref().unwrap_or_default());
        let chosen = match word {
            None => choices.first(),
            Some(word) => choices.iter().find(|(choice, _)| choice.as_bytes() == word),
        };
        chosen.map(|&(_, value)| value).ok_or_else(|| {
            let word = String::from_utf8_lossy(word.unwrap_or_default());
            let known: Vec<&str> = choices.iter().map(|&(choice, _)| choice).collect();
            let why = format!("which is not supported, only {}", known.join(", "));
            ProblemKind::value(name, word, &why)
        })
    }

    /// Attributes without influence on the results that are used.
    pub(super) fn ignore(&mut self, names: &[&'static str]) {
        self.asked.extend_from_slice(names);
    }

    /// Checks that every attribute was asked for and stands there once.
    pub(super) fn finish(&self) -> Result<(), ProblemKind> {
        for (at, attribute) in self.node.attribute.iter().enumerate() {
            let name = &attribute.name;
            if !self.asked.contains(&name.as_str()) {
                return Err(ProblemKind::UnknownAttribute(name.clone()));
            }
            // Only names that were asked for get here, so this is no quadratic search.
            if self.node.attribute.iter().take(at).any(|other| other.name == *name) {
                return Err(ProblemKind::DuplicateAttribute(name.clone()));
            }
        }
        Ok(())
    }
}
