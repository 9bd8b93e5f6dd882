//! What people have marked on pictures, and how much of it a detector finds.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use roxmltree::Node as Element;
use thiserror::Error;

use crate::detection::{Detection, Rect};
use crate::xml;

/// The largest file of annotations.
const MAX_BYTES: u64 = 4 << 20;

/// Something that somebody has marked.
#[derive(Clone, Debug, PartialEq)]
pub struct Marked {
    /// What it is called.
    pub label: String,
    /// Where it is, in pixels.
    pub area: Rect,
}

/// Why a file has no annotations that can be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {what}", path.display())]
pub struct TruthError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub what: String,
}

/// Reads the annotations of one picture in the XML of Pascal VOC: an `<object>` for each thing, with
/// a `<name>` and a `<bndbox>` of `<xmin>`, `<ymin>`, `<xmax>` and `<ymax>`.
///
/// # Errors
/// [`TruthError`].
pub fn read_voc(path: &Path) -> Result<Vec<Marked>, TruthError> {
    let wrong = |what: String| TruthError { path: path.to_owned(), what };
    let mut text = String::new();
    let file = File::open(path).map_err(|error| wrong(error.to_string()))?;
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(|error| wrong(error.to_string()))?;
    parse_voc(&text).map_err(wrong)
}

/// As [`read_voc`], for the text of a file.
///
/// # Errors
/// What is wrong with it.
pub fn parse_voc(text: &str) -> Result<Vec<Marked>, String> {
    let document = xml::parse(text)?;
    let root = document.root_element();
    if !root.has_tag_name("annotation") {
        return Err(format!("<{}> instead of <annotation>", root.tag_name().name()));
    }
    let objects = root.children().filter(|child| child.has_tag_name("object"));
    let marked = |object: Element<'_, '_>| -> Result<Marked, String> {
        let line = document.text_pos_at(object.range().start).row;
        let child = |of: Element<'_, '_>, name: &str| {
            let text = of.children().find(|child| child.has_tag_name(name));
            let text = text.and_then(|child| child.text().map(|text| text.trim().to_owned()));
            text.ok_or_else(|| format!("line {line}: an object without <{name}>"))
        };
        let Some(place) = object.children().find(|child| child.has_tag_name("bndbox")) else {
            return Err(format!("line {line}: an object without <bndbox>"));
        };
        let side = |name: &str| -> Result<f32, String> {
            let text = child(place, name)?;
            let number = text.parse::<f32>().ok().filter(|number| number.is_finite());
            number.ok_or_else(|| format!("line {line}: <{name}> is no number"))
        };
        let (left, top) = (side("xmin")?, side("ymin")?);
        let area = Rect { left, top, width: side("xmax")? - left, height: side("ymax")? - top };
        Ok(Marked { label: child(object, "name")?, area })
    };
    objects.map(marked).collect()
}

/// What counts as found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Protocol {
    /// The least overlap (IoU, 0 to 1) of a detection with what is marked.
    pub overlap: f32,
    /// What is marked with a shorter side below this, in pixels, need not be found; it is not held
    /// against a detector that does.
    pub least_side: f32,
}

/// How much of one label was found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Marked, and large enough.
    pub marked: usize,
    /// Of these, found.
    pub found: usize,
}

/// How detections fit annotations, over any number of pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    protocol: Protocol,
    /// Of each label, how much was found.
    pub labels: BTreeMap<String, Found>,
    /// Detections of something that is marked, whatever its size.
    pub right: usize,
    /// Detections of nothing that is marked.
    pub wrong: usize,
}

impl Fit {
    /// No pictures yet.
    pub fn new(protocol: Protocol) -> Fit {
        Fit { protocol, labels: BTreeMap::new(), right: 0, wrong: 0 }
    }

    /// How it is counted.
    pub fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// Adds a picture. The best detection chooses first, and takes what it overlaps most of what is
    /// still there; each thing is found once.
    pub fn add(&mut self, detections: &[Detection], marked: &[Marked]) {
        let mut order: Vec<&Detection> = detections.iter().collect();
        order.sort_by(|a, b| b.score.total_cmp(&a.score));
        let mut taken = vec![false; marked.len()];
        for detection in order {
            let free = marked.iter().enumerate().filter(|&(at, _)| !taken[at]);
            let overlaps = free.map(|(at, thing)| (detection.area.overlap(&thing.area), at));
            // The first of equals.
            let best = overlaps.fold((0.0, None), |best, (overlap, at)| {
                if overlap > best.0 { (overlap, Some(at)) } else { best }
            });
            match best {
                (overlap, Some(at)) if overlap >= self.protocol.overlap => {
                    taken[at] = true;
                    self.right += 1;
                }
                _ => self.wrong += 1,
            }
        }
        for (thing, taken) in marked.iter().zip(taken) {
            if thing.area.width.min(thing.area.height) >= self.protocol.least_side {
                let found = self.labels.entry(thing.label.clone()).or_default();
                found.marked += 1;
                found.found += usize::from(taken);
            }
        }
    }

    /// The share of what is marked with this label that was found; `None` where there is nothing.
    pub fn recall(&self, label: &str) -> Option<f64> {
        let found = self.labels.get(label).filter(|found| found.marked > 0)?;
        Some(found.found as f64 / found.marked as f64)
    }

    /// The share of detections that are of something marked; `None` where nothing was detected.
    pub fn precision(&self) -> Option<f64> {
        let all = self.right + self.wrong;
        (all > 0).then(|| self.right as f64 / all as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rect(left: f32, top: f32, side: f32) -> Rect {
        Rect { left, top, width: side, height: side }
    }

    fn detection(area: Rect, score: f32) -> Detection {
        Detection { area, score, class: 0, landmarks: None }
    }

    fn marked(label: &str, area: Rect) -> Marked {
        Marked { label: label.to_owned(), area }
    }

    #[test]
    fn each_thing_is_found_once_and_small_ones_do_not_count() {
        let mut fit = Fit::new(Protocol { overlap: 0.5, least_side: 24.0 });
        let things = [
            marked("mask", rect(0.0, 0.0, 40.0)),
            marked("mask", rect(100.0, 0.0, 40.0)),
            marked("bare", rect(200.0, 0.0, 10.0)),
        ];
        let detections = [
            detection(rect(2.0, 0.0, 40.0), 0.7),
            detection(rect(0.0, 0.0, 40.0), 0.9),
            detection(rect(200.0, 0.0, 10.0), 0.8),
            detection(rect(300.0, 0.0, 40.0), 0.8),
        ];
        fit.add(&detections, &things);
        assert_eq!(fit.labels["mask"], Found { marked: 2, found: 1 });
        assert_eq!((fit.recall("mask"), fit.recall("bare")), (Some(0.5), None));
        // The second box on the same face and the one on nothing are wrong.
        assert_eq!((fit.right, fit.wrong, fit.precision()), (2, 2, Some(0.5)));
    }

    #[test]
    fn annotations_are_read_from_voc() {
        let text = "<annotation><size><width>9</width></size>
            <object><name>mask</name><bndbox><xmin>1</xmin><ymin>2.5</ymin><xmax>11</xmax>
            <ymax>22.5</ymax></bndbox>stray words</object></annotation>";
        let area = Rect { left: 1.0, top: 2.5, width: 10.0, height: 20.0 };
        assert_eq!(parse_voc(text), Ok(vec![marked("mask", area)]));
        let without = text.replace("<ymax>22.5</ymax>", "");
        assert_eq!(parse_voc(&without).unwrap_err(), "line 2: an object without <ymax>");
        let strange = text.replace("22.5", "inf");
        assert_eq!(parse_voc(&strange).unwrap_err(), "line 2: <ymax> is no number");
        assert!(parse_voc("<a/>").unwrap_err().contains("<a> instead of <annotation>"));
        assert!(parse_voc(&"<a>".repeat(100_000)).unwrap_err().contains("not XML"));
    }
}
