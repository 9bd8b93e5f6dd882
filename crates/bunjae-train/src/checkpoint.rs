//! Checkpoints: one file that holds everything a run needs to go on.
//!
//! A checkpoint is a safetensors file: the arrays by name, and a record in JSON under the key
//! `bunjae.checkpoint` of its metadata. Being one file, it is replaced by one renaming, so that
//! arrays and record always belong together: a run that is killed while it writes, or finds the disk
//! full, leaves the checkpoint before.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::TrainError;

/// The key of the record in the file's metadata.
const RECORD: &str = "bunjae.checkpoint";

/// What a checkpoint holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint<R> {
    /// Numbers and settings.
    pub record: R,
    /// Arrays of f32 by name.
    pub arrays: BTreeMap<String, Vec<f32>>,
}

impl<R: Serialize + DeserializeOwned> Checkpoint<R> {
    /// Writes the file whole or not at all.
    ///
    /// # Errors
    /// [`TrainError::Write`], [`TrainError::Checkpoint`] where the record is no JSON; the file that
    /// was there, if any, is then as it was.
    pub fn write(&self, path: &Path) -> Result<(), TrainError> {
        let wrong = |what: String| TrainError::Checkpoint { path: path.to_owned(), what };
        let record =
            serde_json::to_string(&self.record).map_err(|error| wrong(error.to_string()))?;
        let views = self.arrays.iter().map(|(name, values)| {
            let bytes = bytemuck::cast_slice(values);
            TensorView::new(Dtype::F32, vec![values.len()], bytes).map(|view| (name, view))
        });
        let views = views.collect::<Result<Vec<_>, _>>().map_err(|e| wrong(e.to_string()))?;
        let metadata = Some(std::iter::once((RECORD.to_owned(), record)).collect());
        let bytes =
            safetensors::serialize(views, metadata).map_err(|error| wrong(error.to_string()))?;
        Ok(bunjae_files::write(path, &bytes)?)
    }

    /// Reads what [`Checkpoint::write`] wrote.
    ///
    /// # Errors
    /// [`TrainError::Read`], [`TrainError::Checkpoint`].
    pub fn read(path: &Path) -> Result<Checkpoint<R>, TrainError> {
        let wrong = |what: String| TrainError::Checkpoint { path: path.to_owned(), what };
        let bytes = fs::read(path).map_err(TrainError::read(path))?;
        let (_, header) =
            SafeTensors::read_metadata(&bytes).map_err(|error| wrong(error.to_string()))?;
        let record = header.metadata().as_ref().and_then(|metadata| metadata.get(RECORD));
        let record = record.ok_or_else(|| wrong(format!("it has no `{RECORD}`")))?;
        let record = serde_json::from_str(record).map_err(|error| wrong(error.to_string()))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|error| wrong(error.to_string()))?;
        let mut arrays = BTreeMap::new();
        for (name, view) in tensors.tensors() {
            if view.dtype() != Dtype::F32 {
                return Err(wrong(format!("`{name}` holds {:?}, not F32", view.dtype())));
            }
            arrays.insert(name, bytemuck::pod_collect_to_vec(view.data()));
        }
        Ok(Checkpoint { record, arrays })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn sample(steps: u64) -> Checkpoint<Value> {
        let first = vec![1.0, -0.0, f32::MIN_POSITIVE, f32::INFINITY];
        let arrays =
            BTreeMap::from([("parameters".to_owned(), first), ("empty".to_owned(), Vec::new())]);
        Checkpoint { record: json!({"steps": steps, "rate": 0.1}), arrays }
    }

    #[test]
    fn a_checkpoint_comes_back_to_the_bit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        sample(3).write(&path).unwrap();
        sample(4).write(&path).unwrap();
        let read = Checkpoint::<Value>::read(&path).unwrap();
        assert_eq!(read, sample(4));
        let bits = |c: &Checkpoint<Value>| c.arrays["parameters"][1].to_bits();
        assert_eq!(bits(&read), (-0.0f32).to_bits());
        let left = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(left, 1, "no temporary file is left");
        // The same contents give the same file.
        let bytes = fs::read(&path).unwrap();
        sample(4).write(&path).unwrap();
        assert!(fs::read(&path).unwrap() == bytes);
    }

    #[test]
    fn what_is_no_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("last.safetensors");
        let message = || Checkpoint::<Value>::read(&path).unwrap_err().to_string();
        assert!(message().contains("cannot read"), "{}", message());
        sample(3).write(&path).unwrap();
        let whole = fs::read(&path).unwrap();
        for length in [0, 7, 20, whole.len() - 1] {
            fs::write(&path, &whole[..length]).unwrap();
            assert!(message().contains("is no checkpoint"), "{}", message());
        }
        // A header that claims to be longer than any file.
        let mut hostile = whole.clone();
        hostile[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        fs::write(&path, hostile).unwrap();
        assert!(message().contains("is no checkpoint"), "{}", message());
        let none: Option<_> = None;
        let bare = safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), none).unwrap();
        fs::write(&path, bare).unwrap();
        assert!(message().contains("it has no `bunjae.checkpoint`"), "{}", message());
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nowhere").join("last.safetensors");
        assert!(matches!(sample(1).write(&missing), Err(TrainError::Write { .. })));
        // A folder in the place of the file.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).unwrap();
        fs::write(taken.join("kept"), "old").unwrap();
        assert!(matches!(sample(1).write(&taken), Err(TrainError::Write { .. })));
        assert_eq!(fs::read(taken.join("kept")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }
}
