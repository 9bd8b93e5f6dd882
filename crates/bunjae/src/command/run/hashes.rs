//! What data sets and files hold, as hashes that are part of keys.
//!
//! Reading all pictures takes a while, so the hash of a data set is kept with the names, sizes and
//! times of its files, and taken again where none of these has changed. A file that was changed
//! within the clock's grain of the hashing could have the same time afterwards; such times do not
//! count, as in git's index.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bunjae_data::{ContentHash, Dataset, Source, layout};
use bunjae_recipe::Wanted;
use serde::{Deserialize, Serialize};

use super::work::{Work, write_json};
use crate::failure::{Failure, Fallible};
use crate::model;
use crate::output::Output;

const FILE: &str = "hashes.json";

/// Times nearer to the hashing than this do not count: file systems with the coarsest clock have two
/// seconds.
const GRAIN: Duration = Duration::from_secs(2);

/// What is known of data sets from earlier runs.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Known {
    #[serde(default)]
    sets: BTreeMap<String, Entry>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Entry {
    /// The hash of names, sizes and times.
    listing: String,
    content: String,
}

/// Hashes, each found once.
pub(crate) struct Hashes<'o> {
    known: Known,
    changed: bool,
    found: BTreeMap<(Wanted, PathBuf), String>,
    output: &'o Output,
}

impl<'o> Hashes<'o> {
    /// With what earlier runs in this folder found; a file that cannot be read is as good as none.
    pub(crate) fn open(work: &Work, output: &'o Output) -> Self {
        let text = std::fs::read_to_string(work.path(FILE)).unwrap_or_default();
        let known = serde_json::from_str(&text).unwrap_or_default();
        Hashes { known, changed: false, found: BTreeMap::new(), output }
    }

    /// Keeps what was found for later runs.
    pub(crate) fn save(&self, work: &Work) -> Fallible<()> {
        if self.changed { write_json(&work.path(FILE), &self.known) } else { Ok(()) }
    }

    /// The hash of what lies at a path.
    pub(crate) fn of(&mut self, wanted: Wanted, path: &Path) -> Fallible<String> {
        let asked = (wanted, path.to_owned());
        if let Some(hash) = self.found.get(&asked) {
            return Ok(hash.clone());
        }
        let hash = match wanted {
            Wanted::File => model::sha256(path)?,
            Wanted::Data => self.of_data(path, &layout::open(path)?, "")?,
            Wanted::Pictures => self.of_data(path, &layout::unlabelled(path)?, "pictures ")?,
        };
        self.found.insert(asked, hash.clone());
        Ok(hash)
    }

    fn of_data(&mut self, path: &Path, dataset: &Dataset, kind: &str) -> Fallible<String> {
        let shown = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let name = format!("{kind}{}", shown.display());
        let now = SystemTime::now();
        let listing = listing(path, dataset, now);
        if let (Some(listing), Some(entry)) = (&listing, self.known.sets.get(&name))
            && entry.listing == *listing
        {
            return Ok(entry.content.clone());
        }
        self.output.progress(&format!("reading {}", path.display()));
        let mut text = String::new();
        describe(path, dataset, &mut text, |source, text| {
            // What cannot be read is found corrupt later on, and changes the key when it is mended.
            let hash = source.content_hash(Default::default());
            text.push_str(&hash.map(|hash| hash.to_string()).unwrap_or_default());
        });
        let content = ContentHash::of(text.as_bytes()).to_string();
        if let Some(listing) = listing {
            self.known.sets.insert(name, Entry { listing, content: content.clone() });
            self.changed = true;
        }
        Ok(content)
    }
}

/// The classes and pictures as text: the place within the set, label, split, group, and what `extra`
/// adds.
fn describe(
    path: &Path,
    dataset: &Dataset,
    text: &mut String,
    mut extra: impl FnMut(&Source, &mut String),
) {
    let folder = if path.is_dir() { path } else { path.parent().unwrap_or(Path::new("")) };
    text.push_str(&format!("{:?}\n", dataset.classes));
    for item in &dataset.items {
        let place = match &item.source {
            Source::File(file) => file.strip_prefix(folder).unwrap_or(file).display().to_string(),
            Source::Record { index, .. } => format!("#{index}"),
        };
        text.push_str(&format!("{place} {:?} {:?} {:?} ", item.label, item.split, item.group));
        extra(&item.source, text);
        text.push('\n');
    }
}

/// The hash of names, sizes and times; none where something has no time, or too late a one.
fn listing(path: &Path, dataset: &Dataset, now: SystemTime) -> Option<String> {
    let mut text = String::new();
    let mut is_old = true;
    describe(path, dataset, &mut text, |source, text| {
        let metadata = match source {
            Source::File(file) => std::fs::metadata(file).ok(),
            Source::Record { .. } => None,
        };
        let time = metadata.as_ref().and_then(|metadata| metadata.modified().ok());
        let age = time.and_then(|time| now.duration_since(time).ok());
        is_old &= age.is_some_and(|age| age > GRAIN);
        let since = time.and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok());
        let size = metadata.map_or(0, |metadata| metadata.len());
        text.push_str(&format!("{size} {}", since.map_or(0, |since| since.as_nanos())));
    });
    is_old.then(|| ContentHash::of(text.as_bytes()).to_string())
}

/// What distinguishes this machine for results that depend on it.
pub(crate) fn machine() -> Fallible<String> {
    let isa = bunjae_engine::Isa::preferred().map_err(Failure::new)?;
    Ok(format!("{} {}", std::env::consts::ARCH, isa.name()))
}
