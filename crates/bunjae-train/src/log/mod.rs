//! The figures of a run, for people's tools: JSON lines, and event files for TensorBoard.

mod tensorboard;

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::error::TrainError;

/// What one epoch came to. Shares are between 0 and 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EpochRecord {
    /// From 0.
    pub epoch: u64,
    /// Steps made since the beginning of the run.
    pub step: u64,
    /// The learning rate of the last step.
    pub rate: f64,
    /// The mean of the loss over the epoch's pictures.
    pub train_loss: f64,
    /// The mean cross-entropy on the validation part.
    pub loss: Option<f64>,
    /// The accuracy on the validation part.
    pub accuracy: Option<f64>,
    /// The mean of the classes' F1 on the validation part.
    pub macro_f1: Option<f64>,
}

impl EpochRecord {
    /// The figures with the names under which TensorBoard shows them.
    fn scalars(&self) -> Vec<(&'static str, f64)> {
        let validated = [
            ("val/loss", self.loss),
            ("val/accuracy", self.accuracy),
            ("val/macro_f1", self.macro_f1),
        ];
        let known = validated.into_iter().filter_map(|(name, value)| Some((name, value?)));
        [("train/loss", self.train_loss), ("train/rate", self.rate)]
            .into_iter()
            .chain(known)
            .collect()
    }
}

/// The logs of a run in its folder: `metrics.jsonl` with one [`EpochRecord`] a line, and an event
/// file that TensorBoard reads.
pub struct Log {
    lines: File,
    path: PathBuf,
    events: tensorboard::Events,
}

/// The name of the file with a line for each epoch.
const LINES: &str = "metrics.jsonl";

impl Log {
    /// Opens the logs of a run that begins, or goes on, after these epochs. A killed run may have
    /// left lines that are newer than its last checkpoint, or have lacked the time for the last one.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn open(folder: &Path, done: &[EpochRecord]) -> Result<Log, TrainError> {
        let path = folder.join(LINES);
        let mut text = String::new();
        for record in done {
            text.push_str(&line(record, &path)?);
        }
        bunjae_files::write(&path, text.as_bytes())?;
        let lines =
            OpenOptions::new().append(true).open(&path).map_err(TrainError::write(&path))?;
        let events = tensorboard::Events::create(folder, done.len() as u64)?;
        Ok(Log { lines, path, events })
    }

    /// Adds an epoch.
    ///
    /// # Errors
    /// [`TrainError::Write`].
    pub fn add(&mut self, record: &EpochRecord) -> Result<(), TrainError> {
        let line = line(record, &self.path)?;
        self.lines.write_all(line.as_bytes()).map_err(TrainError::write(&self.path))?;
        self.events.add(record.step, &record.scalars())
    }
}

/// A record as a line of the file at `path`.
fn line(record: &EpochRecord, path: &Path) -> Result<String, TrainError> {
    let line = serde_json::to_string(record);
    Ok(line.map_err(|error| TrainError::write(path)(error.into()))? + "\n")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn record(epoch: u64, accuracy: f64) -> EpochRecord {
        EpochRecord {
            epoch,
            step: epoch * 10 + 10,
            rate: 0.1,
            train_loss: 0.5,
            loss: None,
            accuracy: Some(accuracy),
            macro_f1: None,
        }
    }

    #[test]
    fn a_resumed_run_writes_every_epoch_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), &[]).unwrap();
        for (epoch, accuracy) in [(0, 0.1), (1, 0.2), (2, 0.3)] {
            log.add(&record(epoch, accuracy)).unwrap();
        }
        drop(log);
        // Killed in the middle of a line; the last checkpoint is that after epoch 0.
        let path = folder.path().join(LINES);
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("{\"epoch\":3,");
        fs::write(&path, text).unwrap();
        let read = || -> Vec<EpochRecord> {
            let text = fs::read_to_string(&path).unwrap();
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
        };
        let mut log = Log::open(folder.path(), &[record(0, 0.1)]).unwrap();
        log.add(&record(1, 0.25)).unwrap();
        assert_eq!(read(), [record(0, 0.1), record(1, 0.25)]);
        // Killed after a checkpoint and before its line.
        let done = [record(0, 0.1), record(1, 0.25), record(2, 1.0 / 3.0)];
        drop(Log::open(folder.path(), &done).unwrap());
        assert_eq!(read(), done);
    }
}
