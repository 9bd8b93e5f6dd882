//! What a classifier's file says about its use: the names of its classes, and how a picture becomes
//! its input.
//!
//! Both travel in the text records of the model's file (ONNX's `metadata_props`) as JSON, so that
//! every command that runs a model on pictures runs it as it was trained.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::DataError;
use crate::preprocess::Preprocess;

/// The key of the classes' names: a JSON array of texts.
const LABELS: &str = "bunjae.labels";

/// The key of the way from picture to input: the JSON of [`Preprocess::to_text`].
const PREPROCESS: &str = "bunjae.preprocess";

/// The names of a classifier's classes, in the order of its outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Labels(Vec<String>);

impl Labels {
    /// Names of classes, in the order of the outputs.
    ///
    /// # Errors
    /// [`DataError::Setting`] where there is none, one is empty, or one stands twice.
    pub fn new(names: Vec<String>) -> Result<Labels, DataError> {
        let mut seen = BTreeSet::new();
        if names.is_empty() {
            return Err(DataError::setting("labels", "no class"));
        }
        for name in &names {
            if name.is_empty() {
                return Err(DataError::setting("labels", "a class without a name"));
            }
            if !seen.insert(name) {
                return Err(DataError::setting("labels", format!("`{name}` stands twice")));
            }
        }
        Ok(Labels(names))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_come_back_as_they_were_written() {
        let mut metadata = BTreeMap::new();
        assert_eq!(Labels::read(&metadata).unwrap(), None);
        assert_eq!(Preprocess::read(&metadata).unwrap(), None);
        let labels = Labels::new(vec!["cat, \"big\"".to_owned(), "dog".to_owned()]).unwrap();
        labels.record(&mut metadata);
        assert_eq!(metadata["bunjae.labels"], r#"["cat, \"big\"","dog"]"#);
        assert_eq!(Labels::read(&metadata).unwrap(), Some(labels));
        let preprocess = Preprocess::imagenet(96, 64);
        preprocess.record(&mut metadata).unwrap();
        assert_eq!(Preprocess::read(&metadata).unwrap(), Some(preprocess));
    }

    #[test]
    fn what_is_no_list_of_names_is_refused() {
        let message = |text: &str| {
            let metadata = BTreeMap::from([("bunjae.labels".to_owned(), text.to_owned())]);
            Labels::read(&metadata).unwrap_err().to_string()
        };
        assert!(message("cat,dog").starts_with("bunjae.labels does not parse"));
        assert_eq!(message("[]"), "labels: no class");
        assert_eq!(message(r#"["a","b","a"]"#), "labels: `a` stands twice");
        assert_eq!(message(r#"["a",""]"#), "labels: a class without a name");
    }
}
