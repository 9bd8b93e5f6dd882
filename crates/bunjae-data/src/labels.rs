//! What a classifier's file says about its use: the names of its classes, how a picture becomes its
//! input, and what its output holds.
//!
//! All of it travels in the text records of the model's file (ONNX's `metadata_props`), so that
//! every command that runs a model on pictures runs it as it was trained. This is the one place
//! that knows the keys.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::DataError;
use crate::preprocess::Preprocess;

/// The key of the classes' names: a JSON array of texts.
const LABELS: &str = "bunjae.labels";

/// The key of the way from picture to input: the JSON of [`Preprocess::to_text`].
const PREPROCESS: &str = "bunjae.preprocess";

/// The key of what the output holds: the name of one of [`Scores`].
const SCORES: &str = "bunjae.scores";

/// The most classes that a list may name.
const MAX_LABELS: usize = 1 << 20;

/// The names of a classifier's classes, in the order of its outputs.
///
/// Two classes may share a name: ImageNet has two cranes, a bird and a machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Labels(Vec<String>);

impl Labels {
    /// Names of classes, in the order of the outputs.
    ///
    /// # Errors
    /// [`DataError::Setting`] where there is none, where one is empty or has control characters, or
    /// where there are more than 2^20.
    pub fn new(names: Vec<String>) -> Result<Labels, DataError> {
        let wrong = |what: String| Err(DataError::setting("labels", what));
        if names.is_empty() {
            return wrong("no class".to_owned());
        }
        if names.len() > MAX_LABELS {
            return wrong(format!("{} classes, the limit is {MAX_LABELS}", names.len()));
        }
        for (index, name) in names.iter().enumerate() {
            if name.trim().is_empty() {
                return wrong(format!("class {} has no name", index + 1));
            }
            if name.contains(char::is_control) {
                return wrong(format!("the name of class {} has control characters", index + 1));
            }
        }
        Ok(Labels(names))
    }

    /// Reads a list of names: a JSON array of texts, or a name a line. Space around a line and
    /// empty lines at the end do not count.
    ///
    /// # Errors
    /// [`DataError::Text`], and as [`Labels::new`].
    pub fn parse(text: &str) -> Result<Labels, DataError> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text).trim_end();
        if text.trim_start().starts_with('[') {
            let names = serde_json::from_str(text)
                .map_err(|source| DataError::Text { record: "the list of labels", source })?;
            return Labels::new(names);
        }
        Labels::new(text.lines().map(|line| line.trim().to_owned()).collect())
    }

    /// The names.
    pub fn names(&self) -> &[String] {
        &self.0
    }

    /// Reads a model's records; `None` where they name no classes.
    ///
    /// # Errors
    /// [`DataError::Text`], [`DataError::Setting`] where the record is no list of names.
    pub fn read(metadata: &BTreeMap<String, String>) -> Result<Option<Labels>, DataError> {
        let Some(text) = metadata.get(LABELS) else { return Ok(None) };
        let names = serde_json::from_str(text)
            .map_err(|source| DataError::Text { record: LABELS, source })?;
        Labels::new(names).map(Some)
    }

    /// Writes the names into a model's records.
    pub fn record(&self, metadata: &mut BTreeMap<String, String>) {
        metadata.insert(LABELS.to_owned(), serde_json::Value::from(self.0.clone()).to_string());
    }
}

impl Preprocess {
    /// Reads a model's records; `None` where they do not say how a picture becomes the input.
    ///
    /// # Errors
    /// As [`Preprocess::from_text`].
    pub fn read(metadata: &BTreeMap<String, String>) -> Result<Option<Preprocess>, DataError> {
        metadata.get(PREPROCESS).map(|text| Preprocess::from_text(text)).transpose()
    }

    /// Writes the record into a model's records.
    ///
    /// # Errors
    /// As [`Preprocess::to_text`].
    pub fn record(&self, metadata: &mut BTreeMap<String, String>) -> Result<(), DataError> {
        metadata.insert(PREPROCESS.to_owned(), self.to_text()?);
        Ok(())
    }
}

/// What the numbers of a classifier's output are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scores {
    /// Any numbers, the larger the likelier: a softmax makes probabilities of them.
    Logits,
    /// Probabilities already.
    Probabilities,
}

impl Scores {
    /// Both.
    pub const ALL: [Scores; 2] = [Scores::Logits, Scores::Probabilities];

    /// `logits` or `probabilities`.
    pub const fn name(self) -> &'static str {
        match self {
            Scores::Logits => "logits",
            Scores::Probabilities => "probabilities",
        }
    }

    /// Reads a model's records; `None` where they do not say what the output holds.
    ///
    /// # Errors
    /// [`DataError::Setting`].
    pub fn read(metadata: &BTreeMap<String, String>) -> Result<Option<Scores>, DataError> {
        let Some(name) = metadata.get(SCORES) else { return Ok(None) };
        let found = Scores::ALL.into_iter().find(|scores| scores.name() == name);
        let wrong = || format!("`{name}` is neither logits nor probabilities");
        found.map(Some).ok_or_else(|| DataError::setting("scores", wrong()))
    }

    /// Writes the record into a model's records.
    pub fn record(self, metadata: &mut BTreeMap<String, String>) {
        metadata.insert(SCORES.to_owned(), self.name().to_owned());
    }
}

impl fmt::Display for Scores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The records that make a network a classifier of pictures. Each may be missing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Annotations {
    /// How a picture becomes the input.
    pub preprocess: Option<Preprocess>,
    /// The names of the classes.
    pub labels: Option<Labels>,
    /// What the output holds.
    pub scores: Option<Scores>,
}

impl Annotations {
    /// Reads a model's records; other keys do not matter.
    ///
    /// # Errors
    /// [`DataError::Text`], [`DataError::Setting`] where a record is there but has no meaning.
    pub fn read(metadata: &BTreeMap<String, String>) -> Result<Annotations, DataError> {
        Ok(Annotations {
            preprocess: Preprocess::read(metadata)?,
            labels: Labels::read(metadata)?,
            scores: Scores::read(metadata)?,
        })
    }

    /// Writes the records that there are into a model's records, and leaves the others alone.
    ///
    /// # Errors
    /// As [`Preprocess::to_text`].
    pub fn record(&self, metadata: &mut BTreeMap<String, String>) -> Result<(), DataError> {
        if let Some(preprocess) = &self.preprocess {
            preprocess.record(metadata)?;
        }
        if let Some(labels) = &self.labels {
            labels.record(metadata);
        }
        if let Some(scores) = self.scores {
            scores.record(metadata);
        }
        Ok(())
    }

    /// These records, and those of `other` where these say nothing.
    #[must_use]
    pub fn or(self, other: Annotations) -> Annotations {
        Annotations {
            preprocess: self.preprocess.or(other.preprocess),
            labels: self.labels.or(other.labels),
            scores: self.scores.or(other.scores),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_written() {
        let mut metadata = BTreeMap::from([("bunjae.seed".to_owned(), "7".to_owned())]);
        assert_eq!(Annotations::read(&metadata).unwrap(), Annotations::default());
        let annotations = Annotations {
            preprocess: Some(Preprocess::imagenet(96, 64)),
            labels: Some(Labels::new(vec!["cat, \"big\"".to_owned(), "dog".to_owned()]).unwrap()),
            scores: Some(Scores::Probabilities),
        };
        annotations.record(&mut metadata).unwrap();
        assert_eq!(metadata["bunjae.labels"], r#"["cat, \"big\"","dog"]"#);
        assert_eq!(metadata["bunjae.scores"], "probabilities");
        assert_eq!(metadata["bunjae.seed"], "7");
        assert_eq!(Annotations::read(&metadata).unwrap(), annotations);
        Annotations::default().record(&mut metadata).unwrap();
        assert_eq!(Annotations::read(&metadata).unwrap(), annotations, "nothing was to be said");
    }

    #[test]
    fn what_is_no_list_of_names_is_refused() {
        let message = |text: &str| {
            let metadata = BTreeMap::from([("bunjae.labels".to_owned(), text.to_owned())]);
            Labels::read(&metadata).unwrap_err().to_string()
        };
        assert!(message("cat,dog").starts_with("bunjae.labels does not parse"));
        assert_eq!(message("[]"), "labels: no class");
        assert_eq!(message(r#"["a",""]"#), "labels: class 2 has no name");
        let metadata = BTreeMap::from([("bunjae.scores".to_owned(), "softmax".to_owned())]);
        assert!(Annotations::read(&metadata).is_err());
    }

    #[test]
    fn a_file_of_labels_is_lines_or_json() {
        let names = |text| Labels::parse(text).map(|labels| labels.0).map_err(|e| e.to_string());
        let expected = Ok(vec!["crane".to_owned(), "b c".to_owned(), "crane".to_owned()]);
        assert_eq!(names("crane\nb c\ncrane"), expected);
        assert_eq!(names("\u{feff}crane \r\n b c\r\ncrane\n\n\n"), expected);
        assert_eq!(names("[\"crane\", \"b c\", \"crane\"]\n"), expected);
        let wrong = |text| names(text).unwrap_err();
        assert_eq!(wrong(""), "labels: no class");
        assert_eq!(wrong("a\n\nb"), "labels: class 2 has no name");
        assert_eq!(wrong("[\"a\\u0007\"]"), "labels: the name of class 1 has control characters");
        assert!(wrong("[1, 2]").starts_with("the list of labels does not parse"));
    }
}
