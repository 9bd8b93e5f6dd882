//! A report on a data set: what is in it, and what is wrong with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dataset::{ContentHash, Dataset, Skipped, Source, Split};
use crate::decode::{DecodeError, Format, Limits};
use crate::parallel;
use crate::picture::{Channels, Picture};
use crate::pictures::Corrupt;
use crate::resize::{Filter, resize};

/// What a report looks for beyond counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Looking {
    /// What a file may cost.
    pub limits: Limits,
    /// Threads; 0 for as many as the machine runs at once.
    pub threads: usize,
    /// How many of the 128 bits of two pictures' fingerprints may differ for them to count as
    /// nearly the same.
    pub near: u32,
}

impl Default for Looking {
    /// All threads; 6 of 128 bits.
    fn default() -> Self {
        Looking { limits: Limits::default(), threads: 0, near: 6 }
    }
}

/// More pictures than this are not compared in pairs.
const MAX_COMPARED: usize = 30_000;

/// What is in a data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    /// All pictures, the corrupt ones as well.
    pub pictures: usize,
    /// Pictures without a label.
    pub unlabelled: usize,
    /// The counts of each class.
    pub classes: Vec<ClassCounts>,
    /// Bytes of all picture files (of records: of their samples).
    pub bytes: u64,
    /// How many pictures there are of each format; records count as `raw`.
    pub formats: BTreeMap<String, usize>,
    /// How many pictures have no colour.
    pub grey: usize,
    /// Columns of the pictures; none where every picture is corrupt.
    pub width: Option<Spread>,
    /// Rows of the pictures.
    pub height: Option<Spread>,
    /// Pictures that decode to the same samples.
    pub duplicates: Vec<Group>,
    /// Pictures that look nearly the same and are no duplicates, in pairs; `None` where there are
    /// too many pictures to compare.
    pub near_duplicates: Option<Vec<Group>>,
    /// Files that cannot be decoded.
    pub corrupt: Vec<Corrupt>,
    /// Files among the pictures that are none.
    pub skipped: Vec<Skipped>,
}

/// The pictures of a class in each split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClassCounts {
    /// The class.
    pub class: String,
    /// In train.
    pub train: usize,
    /// In val.
    pub val: usize,
    /// In test.
    pub test: usize,
    /// In no split.
    pub unassigned: usize,
}

impl ClassCounts {
    /// In all.
    pub fn total(&self) -> usize {
        self.train + self.val + self.test + self.unassigned
    }
}

/// How a size is spread over the pictures.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The smallest.
    pub least: usize,
    /// The one in the middle (of two the smaller).
    pub median: usize,
    /// The mean.
    pub mean: f64,
    /// The largest.
    pub most: usize,
}

/// Pictures that are the same, or nearly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// The pictures, as [`Source`] prints them.
    pub items: Vec<String>,
    /// True where they lie in different splits: what is learnt is then scored.
    pub leaks: bool,
    /// True where their labels differ: one of them is wrong.
    pub contradicts: bool,
}

impl Inspection {
    /// The groups and pairs that lie in more than one split.
    pub fn leaks(&self) -> impl Iterator<Item = &Group> {
        let near = self.near_duplicates.iter().flatten();
        self.duplicates.iter().chain(near).filter(|group| group.leaks)
    }
}

/// What is learnt from one picture.
struct Look {
    bytes: u64,
    format: &'static str,
    channels: Channels,
    width: usize,
    height: usize,
    content: ContentHash,
    fingerprint: u128,
}

/// Decodes every picture and reports. `progress` hears, from any thread, how many are done.
pub fn inspect(
    dataset: &Dataset,
    looking: &Looking,
    progress: &(dyn Fn(usize) + Sync),
) -> Inspection {
    let items = &dataset.items;
    let looks = parallel::map(items.len(), looking.threads, progress, |index| {
        look(&items[index].source, looking.limits)
    });
    let mut inspection = Inspection {
        pictures: items.len(),
        unlabelled: items.iter().filter(|item| item.label.is_none()).count(),
        classes: class_counts(dataset),
        bytes: 0,
        formats: BTreeMap::new(),
        grey: 0,
        width: None,
        height: None,
        duplicates: Vec::new(),
        near_duplicates: None,
        corrupt: Vec::new(),
        skipped: dataset.skipped.clone(),
    };
    let mut good: Vec<(usize, &Look)> = Vec::new();
    for (index, look) in looks.iter().enumerate() {
        match look {
            Ok(look) => {
                inspection.bytes += look.bytes;
                *inspection.formats.entry(look.format.to_owned()).or_default() += 1;
                inspection.grey += usize::from(look.channels == Channels::Grey);
                good.push((index, look));
            }
            Err(error) => inspection
                .corrupt
                .push(Corrupt { item: items[index].source.to_string(), why: error.to_string() }),
        }
    }
    inspection.width = spread(good.iter().map(|(_, look)| look.width).collect());
    inspection.height = spread(good.iter().map(|(_, look)| look.height).collect());

    let mut by_content: BTreeMap<ContentHash, Vec<usize>> = BTreeMap::new();
    for (index, look) in &good {
        by_content.entry(look.content).or_default().push(*index);
    }
    let mut duplicates: Vec<&Vec<usize>> =
        by_content.values().filter(|members| members.len() > 1).collect();
    duplicates.sort_unstable();
    inspection.duplicates = duplicates.into_iter().map(|members| group(dataset, members)).collect();
    inspection.near_duplicates = near_pairs(&good, looking)
        .map(|pairs| pairs.iter().map(|pair| group(dataset, pair)).collect());
    inspection
}

fn look(source: &Source, limits: Limits) -> Result<Look, DecodeError> {
    let mut picture = source.native(limits)?;
    if picture.is_grey() {
        // So that a grey picture is the same whether a format stores it in grey or in colour.
        picture = picture.into_channels(Channels::Grey);
    }
    let (bytes, format) = match source {
        Source::File(path) => {
            let mut start = [0; 16];
            let read = |error: std::io::Error| DecodeError::Read(error.to_string());
            let mut file = std::fs::File::open(path).map_err(read)?;
            let bytes = file.metadata().map_err(read)?.len();
            let count = std::io::Read::read(&mut file, &mut start).map_err(read)?;
            (bytes, Format::of(&start[..count]).map_or("unknown", Format::name))
        }
        Source::Record { .. } => (picture.samples().len() as u64, "raw"),
    };
    Ok(Look {
        bytes,
        format,
        channels: picture.channels(),
        width: picture.width(),
        height: picture.height(),
        content: ContentHash::of_picture(&picture),
        fingerprint: fingerprint(picture),
    })
}

/// 128 bits that stay nearly the same when a picture is resized or compressed: whether the
/// brightness rises to the right, and downwards, on a grid of 8 x 8 places.
fn fingerprint(picture: Picture) -> u128 {
    let grey = picture.into_channels(Channels::Grey);
    let wide = resize(&grey, 9, 8, Filter::Box);
    let tall = resize(&grey, 8, 9, Filter::Box);
    let right = wide.rows().flat_map(|row| row.windows(2).map(|pair| pair[1] > pair[0]));
    let below = tall.rows().zip(tall.rows().skip(1));
    let down = below.flat_map(|(upper, lower)| upper.iter().zip(lower).map(|(a, b)| b > a));
    right.chain(down).fold(0, |bits, rises| bits << 1 | u128::from(rises))
}

/// A fingerprint with fewer bits set, or fewer not set, belongs to a picture too plain to judge.
const LEAST_STRUCTURE: u32 = 16;

/// Pairs of pictures whose fingerprints differ little; `None` where there are too many to compare.
fn near_pairs(good: &[(usize, &Look)], looking: &Looking) -> Option<Vec<[usize; 2]>> {
    let structured = |print: u128| {
        (LEAST_STRUCTURE..=u128::BITS - LEAST_STRUCTURE).contains(&print.count_ones())
    };
    let prints: Vec<(usize, &Look)> =
        good.iter().filter(|(_, look)| structured(look.fingerprint)).copied().collect();
    if prints.len() > MAX_COMPARED {
        return None;
    }
    let pairs = parallel::map(prints.len(), looking.threads, &|_| {}, |first| {
        let (index, look) = prints[first];
        let near = |(_, other): &&(usize, &Look)| {
            (look.fingerprint ^ other.fingerprint).count_ones() <= looking.near
                && look.content != other.content
        };
        prints[first + 1..]
            .iter()
            .filter(near)
            .map(|(other, _)| [index, *other])
            .collect::<Vec<_>>()
    });
    Some(pairs.concat())
}

fn group(dataset: &Dataset, members: &[usize]) -> Group {
    let items = || members.iter().filter_map(|&index| dataset.items.get(index));
    let differ = |mut values: Vec<Option<usize>>| {
        values.sort_unstable();
        values.dedup();
        values.len() > 1
    };
    Group {
        items: items().map(|item| item.source.to_string()).collect(),
        leaks: differ(items().map(|item| item.split.map(|split| split as usize)).collect()),
        contradicts: differ(items().map(|item| item.label).collect()),
    }
}

fn class_counts(dataset: &Dataset) -> Vec<ClassCounts> {
    let mut counts: Vec<ClassCounts> = dataset
        .classes
        .iter()
        .map(|class| ClassCounts { class: class.clone(), train: 0, val: 0, test: 0, unassigned: 0 })
        .collect();
    for item in &dataset.items {
        if let Some(counts) = item.label.and_then(|label| counts.get_mut(label)) {
            match item.split {
                Some(Split::Train) => counts.train += 1,
                Some(Split::Val) => counts.val += 1,
                Some(Split::Test) => counts.test += 1,
                None => counts.unassigned += 1,
            }
        }
    }
    counts
}

fn spread(mut sizes: Vec<usize>) -> Option<Spread> {
    sizes.sort_unstable();
    Some(Spread {
        least: *sizes.first()?,
        median: *sizes.get((sizes.len() - 1) / 2)?,
        mean: sizes.iter().sum::<usize>() as f64 / sizes.len() as f64,
        most: *sizes.last()?,
    })
}
