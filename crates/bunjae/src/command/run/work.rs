//! The work folder: what lies where, who may write, and what a finished stage leaves.
//!
//! ```text
//! work.json                     whose folder this is
//! lock                          held by the one run that writes
//! hashes.json                   what data sets hold, so that they are read once
//! stages/NAME.KEY/              a finished stage: its results, stage.json, log.txt
//! stages/NAME.KEY.partial/      one that is being made, was stopped, or failed
//! report.html, report.json
//! ```
//!
//! A stage is made under its partial name and renamed when all of it is there, so a finished one is
//! whole. The key is part of the name, so a change of settings leaves the old results where they are.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use bunjae_recipe::{Key, Stage};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{Failure, Fallible};
use crate::interrupt::uninterrupted;
use crate::output::Output;

/// Marks a folder as ours.
const MARKER: &str = "work.json";
const LOCK: &str = "lock";
/// Who holds the lock; a file of its own, as a locked file cannot be read everywhere.
const HOLDER: &str = "lock.json";
const STAGES: &str = "stages";
const PARTIAL: &str = ".partial";
/// What a finished stage is.
const RECORD: &str = "stage.json";
/// Why a stage failed.
const FAILED: &str = "failed.json";
/// The log of a stage.
pub(crate) const LOG: &str = "log.txt";

/// The files in a work folder that runs write, the lock last.
pub(crate) const FILES: [&str; 6] =
    ["report.html", "report.json", "hashes.json", MARKER, HOLDER, LOCK];

/// A work folder, which need not be there yet.
#[derive(Debug)]
pub(crate) struct Work {
    pub(crate) root: PathBuf,
}

/// What `work.json` says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Marker {
    schema_version: u32,
    /// The recipe of the latest run, as it was named.
    pub(crate) recipe: String,
    /// Its `--set`.
    pub(crate) set: Vec<String>,
}

/// A finished stage.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) schema_version: u32,
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) key: Key,
    /// The command that it was.
    pub(crate) command: Vec<String>,
    /// Whether it went on with what an earlier run had begun.
    pub(crate) resumed: bool,
    /// How long it took, in this run.
    pub(crate) seconds: f64,
    /// Whether the checks that it was asked for passed.
    pub(crate) passed: bool,
    /// What it made.
    pub(crate) outputs: Vec<Made>,
    /// What the command reported.
    pub(crate) report: Value,
}

/// Something that a stage made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Made {
    /// Its name in the folder of the stage.
    pub(crate) name: String,
    pub(crate) bytes: u64,
    /// Of a file its own, of a folder that of the names and contents of all files below it.
    pub(crate) sha256: String,
}

/// Why a stage failed.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Failed {
    pub(crate) message: String,
}

/// Held by the one run that writes into a work folder.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
    holder: PathBuf,
}

impl Drop for Lock {
    fn drop(&mut self) {
        // The lock itself ends with the file; a note that stays behind is only read while it is held.
        let _ = fs::remove_file(&self.holder);
    }
}

#[derive(Serialize, Deserialize)]
struct Holder {
    process: u32,
    command: String,
}

impl Work {
    pub(crate) fn new(root: PathBuf) -> Work {
        Work { root }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    pub(crate) fn stages(&self) -> PathBuf {
        self.root.join(STAGES)
    }

    /// Where a stage lies when it is finished.
    pub(crate) fn finished(&self, stage: &Stage, key: &Key) -> PathBuf {
        self.stages().join(format!("{}.{}", stage.name, key.short()))
    }

    /// Where it lies until then.
    pub(crate) fn partial(&self, stage: &Stage, key: &Key) -> PathBuf {
        self.stages().join(format!("{}.{}{PARTIAL}", stage.name, key.short()))
    }

    /// What the folder is; none where it is not there yet or empty.
    ///
    /// # Errors
    /// A folder of somebody else.
    pub(crate) fn marker(&self) -> Fallible<Option<Marker>> {
        let shown = self.root.display();
        let path = self.path(MARKER);
        if let Ok(text) = fs::read_to_string(&path) {
            return serde_json::from_str(&text).map(Some).map_err(|error| {
                Failure::new(format!("cannot read {}: {error}", path.display()))
                    .hint("it was written by another version, or is damaged; `--work` names another folder")
            });
        }
        // A run that was stopped right at its beginning may leave its lock alone.
        let is_ours = |entry: &fs::DirEntry| {
            let name = entry.file_name();
            name == LOCK || name == HOLDER || name.to_string_lossy().starts_with('.')
        };
        let found = fs::read_dir(&self.root);
        match found.map(|entries| entries.flatten().all(|entry| is_ours(&entry))) {
            Ok(true) => Ok(None),
            Ok(false) => Err(Failure::new(format!("{shown} is no work folder, and not empty"))
                .hint("`--work` names a folder that is new or empty")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Failure::new(format!("cannot read {shown}: {error}"))),
        }
    }

    /// Makes the folder, or takes it over from the last run, for this one alone.
    ///
    /// # Errors
    /// A folder of somebody else, or one that another run writes into, unless `wait` is set.
    pub(crate) fn lock(&self, command: &str, wait: bool, output: &Output) -> Fallible<Lock> {
        self.marker()?;
        let shown = self.root.display();
        let make = |error| Failure::new(format!("cannot make the folder {shown}: {error}"));
        fs::create_dir_all(&self.root).map_err(make)?;
        let path = self.path(LOCK);
        let failure = |error| Failure::new(format!("cannot lock {}: {error}", path.display()));
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(failure)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(failure(error)),
            Err(TryLockError::WouldBlock) => {
                let holder = self.holder();
                if !wait {
                    return Err(Failure::new(format!("{shown} is in use by {holder}")).hint(
                        "`bunjae run --wait` waits until it is free; `--work` names another folder",
                    ));
                }
                output.note(&format!("note: {shown} is in use by {holder}; waiting"));
                file.lock().map_err(failure)?;
            }
        }
        let holder = self.path(HOLDER);
        let text = Holder { process: std::process::id(), command: command.to_owned() };
        write_json(&holder, &text)?;
        Ok(Lock { _file: file, holder })
    }

    fn holder(&self) -> String {
        let text = fs::read_to_string(self.path(HOLDER)).unwrap_or_default();
        match serde_json::from_str::<Holder>(&text) {
            Ok(Holder { process, command }) => format!("`{command}` (process {process})"),
            Err(_) => "another run".to_owned(),
        }
    }

    /// Marks the folder as ours, with what is run in it.
    pub(crate) fn mark(&self, recipe: &Path, set: &[String]) -> Fallible<()> {
        let recipe = recipe.display().to_string();
        write_json(&self.path(MARKER), &Marker { schema_version: 1, recipe, set: set.to_vec() })?;
        let stages = self.stages();
        fs::create_dir_all(&stages).map_err(|error| {
            Failure::new(format!("cannot make the folder {}: {error}", stages.display()))
        })
    }

    /// The record of a finished stage, where it is there and whole.
    pub(crate) fn record(&self, stage: &Stage, key: &Key) -> Option<Record> {
        let folder = self.finished(stage, key);
        let record = read_record(&folder).filter(|record| record.key.digest == key.digest)?;
        let is_whole = |made: &Made| {
            let found = Made::of(&folder, &made.name);
            found.is_ok_and(|found| found == *made)
        };
        record.outputs.iter().all(is_whole).then_some(record)
    }

    /// Why a stage failed the last time, where it did.
    pub(crate) fn failed(&self, stage: &Stage, key: &Key) -> Option<Failed> {
        let text = fs::read_to_string(self.partial(stage, key).join(FAILED)).ok()?;
        serde_json::from_str(&text).ok()
    }

    /// The latest finished result of a stage with other settings.
    pub(crate) fn earlier(&self, stage: &Stage, key: &Key) -> Option<Record> {
        let own = self.finished(stage, key);
        let mut latest = None;
        for entry in self.entries() {
            if entry.name != stage.name || entry.is_partial || entry.path == own {
                continue;
            }
            let record = entry.path.join(RECORD);
            let Ok(time) = fs::metadata(&record).and_then(|metadata| metadata.modified()) else {
                continue;
            };
            if latest.as_ref().is_none_or(|(latest, _)| time > *latest)
                && let Some(record) = read_record(&entry.path)
            {
                latest = Some((time, record));
            }
        }
        latest.map(|(_, record)| record)
    }

    /// The folders of stages, in the order of their names. What does not look like one is left out.
    pub(crate) fn entries(&self) -> Vec<Folder> {
        let entries = fs::read_dir(self.stages()).into_iter().flatten().flatten();
        let mut folders: Vec<Folder> = entries
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
            .filter_map(|entry| Folder::of(entry.path()))
            .collect();
        folders.sort_by(|a, b| a.path.cmp(&b.path));
        folders
    }
}

/// The folder of a stage.
#[derive(Debug)]
pub(crate) struct Folder {
    pub(crate) path: PathBuf,
    /// The stage's name.
    pub(crate) name: String,
    pub(crate) is_partial: bool,
}

impl Folder {
    fn of(path: PathBuf) -> Option<Folder> {
        let file_name = path.file_name()?.to_str()?;
        let (whole, is_partial) = match file_name.strip_suffix(PARTIAL) {
            Some(whole) => (whole, true),
            None => (file_name, false),
        };
        let (name, key) = whole.rsplit_once('.')?;
        let is_key = key.len() == 12 && key.bytes().all(|byte| byte.is_ascii_hexdigit());
        let name = name.to_owned();
        (is_key && !name.is_empty()).then_some(Folder { name, is_partial, path })
    }

    /// What it takes on disk.
    pub(crate) fn bytes(&self) -> u64 {
        files_below(&self.path).map_or(0, |files| {
            files.iter().filter_map(|file| fs::metadata(file).ok()).map(|file| file.len()).sum()
        })
    }
}

impl Made {
    /// What lies under a name in the folder of a stage.
    pub(crate) fn of(folder: &Path, name: &str) -> Fallible<Made> {
        let path = folder.join(name);
        let read = |path: &Path, error: std::io::Error| {
            Failure::new(format!("cannot read {}: {error}", path.display()))
        };
        let name = name.to_owned();
        let metadata = fs::metadata(&path).map_err(|error| read(&path, error))?;
        if !metadata.is_dir() {
            return Ok(Made { name, bytes: metadata.len(), sha256: crate::model::sha256(&path)? });
        }
        let mut text = String::new();
        let mut bytes = 0;
        for file in files_below(&path).map_err(|error| read(&path, error))? {
            bytes += fs::metadata(&file).map_err(|error| read(&file, error))?.len();
            let within = file.strip_prefix(&path).unwrap_or(&file);
            text.push_str(&format!("{} {}\n", crate::model::sha256(&file)?, within.display()));
        }
        let sha256 = bunjae_data::ContentHash::of(text.as_bytes()).to_string();
        Ok(Made { name, bytes, sha256 })
    }
}

/// All files in a folder and below, sorted; links are not followed.
fn files_below(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                _ => files.push(entry.path()),
            }
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn read_record(folder: &Path) -> Option<Record> {
    let text = fs::read_to_string(folder.join(RECORD)).ok()?;
    serde_json::from_str(&text).ok()
}

/// Writes the record of a stage that failed.
pub(crate) fn write_failed(folder: &Path, message: &str) -> Fallible<()> {
    write_json(&folder.join(FAILED), &Failed { message: message.to_owned() })
}

/// Forgets that a stage failed before.
pub(crate) fn forget_failure(folder: &Path) {
    let _ = fs::remove_file(folder.join(FAILED));
}

/// Finishes a stage: writes its record and gives its folder the final name, in place of what may lie
/// there.
pub(crate) fn finish(partial: &Path, finished: &Path, record: &Record) -> Fallible<()> {
    let failure = |error: std::io::Error| {
        Failure::new(format!("cannot finish {}: {error}", finished.display()))
    };
    write_json(&partial.join(RECORD), record)?;
    uninterrupted(|| {
        if finished.exists() {
            fs::remove_dir_all(finished)?;
        }
        fs::rename(partial, finished)
    })
    .map_err(failure)
}

/// Writes a file whole.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Fallible<()> {
    let text = serde_json::to_string_pretty(value).map_err(Failure::new)? + "\n";
    uninterrupted(|| bunjae_files::write(path, text.as_bytes())).map_err(Failure::new)
}
