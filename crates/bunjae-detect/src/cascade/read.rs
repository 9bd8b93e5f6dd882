//! Cascades from OpenCV's XML: the form that its trainer writes today, and the older one of Haar
//! cascades.
//!
//! The file comes from anywhere, so everything in it is checked before it is believed: sizes and
//! counts against limits, every rectangle to lie in the window, every number to be one, every tree to
//! end. What OpenCV would read differently, or past the end of an array, is an error with its line.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use roxmltree::{Document, Node as Element};
use thiserror::Error;

use crate::xml;

use super::model::{Block, Cascade, Child, Features, HaarFeature, Node, Stage, Test, Tree};

/// The largest file; OpenCV's own are below 2 MiB.
const MAX_BYTES: u64 = 16 << 20;

/// The largest window, in corners of its pixels: offsets in a window have 16 bits, with room for
/// rows that are wider than it.
const MAX_CORNERS: usize = 1 << 15;

/// The most nodes of a tree.
const MAX_TREE: usize = 64;

/// Taken off every stage's threshold, as OpenCV does: a window that hits it exactly passes whatever
/// the order of summation.
const THRESHOLD_SLACK: f32 = 1e-5;

/// Why a file is no cascade that can be used.
#[derive(Clone, Debug, PartialEq, Error)]
#[error("{}: {problem}", path.display())]
pub struct CascadeError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it.
    pub problem: CascadeProblem,
}

/// What is wrong with a cascade.
#[derive(Clone, Debug, PartialEq, Error)]
#[non_exhaustive]
pub enum CascadeProblem {
    /// The file cannot be read.
    #[error("{0}")]
    Read(String),
    /// The file is larger than the limit.
    #[error("more than {limit} bytes; a cascade is smaller")]
    Large {
        /// The limit.
        limit: u64,
    },
    /// The file is no XML.
    #[error("{0}")]
    Xml(String),
    /// XML of something else.
    #[error("not a cascade of OpenCV: {0}")]
    Other(String),
    /// A part of the cascade is not there.
    #[error("line {line}: <{within}> has no <{what}>")]
    Missing {
        /// Counted from 1.
        line: u32,
        /// Where it should be.
        within: String,
        /// What should be there.
        what: &'static str,
    },
    /// A value that has no meaning.
    #[error("line {line}: {what}")]
    Value {
        /// Counted from 1.
        line: u32,
        /// What is wrong with it.
        what: String,
    },
    /// Sizes of windows that would not grow.
    #[error("a scale factor of {0}; it has to be at least 1.001")]
    ScaleFactor(f64),
}

impl Cascade {
    /// Reads a file.
    ///
    /// # Errors
    /// [`CascadeError`].
    pub fn read(path: &Path) -> Result<Cascade, CascadeError> {
        let read = || -> Result<Cascade, CascadeProblem> {
            let unreadable = |error: std::io::Error| CascadeProblem::Read(error.to_string());
            let mut text = Vec::new();
            let file = File::open(path).map_err(unreadable)?;
            file.take(MAX_BYTES + 1).read_to_end(&mut text).map_err(unreadable)?;
            let text = String::from_utf8(text)
                .map_err(|_| CascadeProblem::Xml("not XML: the text is not in UTF-8".to_owned()))?;
            Cascade::parse(&text)
        };
        read().map_err(|problem| CascadeError { path: path.to_owned(), problem })
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`CascadeProblem`].
    pub fn parse(text: &str) -> Result<Cascade, CascadeProblem> {
        if text.len() as u64 > MAX_BYTES {
            return Err(CascadeProblem::Large { limit: MAX_BYTES });
        }
        let document = xml::parse(text).map_err(CascadeProblem::Xml)?;
        let reader = Reader { document: &document };
        let root = document.root_element();
        if root.tag_name().name() != "opencv_storage" {
            let what = format!("the file is about <{}>", root.tag_name().name());
            return Err(CascadeProblem::Other(what));
        }
        let Some(cascade) = root.children().find(Element::is_element) else {
            return Err(CascadeProblem::Other("nothing is stored in it".to_owned()));
        };
        if child(cascade, "stageType").is_some() {
            reader.today(cascade)
        } else if child(cascade, "size").is_some() && child(cascade, "stages").is_some() {
            reader.older(cascade)
        } else {
            let what =
                format!("<{}> has neither a stageType nor a size", cascade.tag_name().name());
            Err(CascadeProblem::Other(what))
        }
    }
}

fn child<'a>(element: Element<'a, 'a>, name: &str) -> Option<Element<'a, 'a>> {
    element.children().find(|child| child.has_tag_name(name))
}

/// The elements of a sequence, which OpenCV calls `_`.
fn items<'a>(element: Element<'a, 'a>) -> impl Iterator<Item = Element<'a, 'a>> {
    element.children().filter(Element::is_element)
}

/// The words of an element's own text.
fn words<'a>(element: Element<'a, 'a>) -> impl Iterator<Item = &'a str> {
    let texts = element.children().filter(Element::is_text);
    texts.filter_map(|text| text.text()).flat_map(str::split_whitespace)
}

struct Reader<'a> {
    document: &'a Document<'a>,
}

type Parsed<T> = Result<T, CascadeProblem>;

impl<'a> Reader<'a> {
    fn wrong<T>(&self, element: Element<'a, 'a>, what: impl ToString) -> Parsed<T> {
        let line = self.document.text_pos_at(element.range().start).row;
        Err(CascadeProblem::Value { line, what: what.to_string() })
    }

    fn need(&self, element: Element<'a, 'a>, what: &'static str) -> Parsed<Element<'a, 'a>> {
        child(element, what).ok_or_else(|| CascadeProblem::Missing {
            line: self.document.text_pos_at(element.range().start).row,
            within: element.tag_name().name().to_owned(),
            what,
        })
    }

    /// All words of an element as numbers.
    fn numbers<T: FromStr>(&self, element: Element<'a, 'a>) -> Parsed<Vec<T>> {
        let number = |word: &str| match word.parse() {
            Ok(number) => Ok(number),
            Err(_) => self.wrong(element, format!("`{}` is no such number", shortened(word))),
        };
        words(element).map(number).collect()
    }

    /// An element that is one number.
    fn number<T: FromStr>(&self, element: Element<'a, 'a>) -> Parsed<T> {
        let mut numbers = self.numbers::<T>(element)?;
        match (numbers.pop(), numbers.len()) {
            (Some(number), 0) => Ok(number),
            _ => self.wrong(element, format!("<{}> is not one number", element.tag_name().name())),
        }
    }

    /// A finite number, which the file may give with more digits than an f32 has.
    fn real(&self, element: Element<'a, 'a>, value: f64) -> Parsed<f32> {
        let value = value as f32;
        if value.is_finite() {
            Ok(value)
        } else {
            self.wrong(element, format!("{value} is no value"))
        }
    }

    fn one_real(&self, element: Element<'a, 'a>) -> Parsed<f32> {
        self.real(element, self.number(element)?)
    }

    fn window(&self, element: Element<'a, 'a>, width: usize, height: usize) -> Parsed<[usize; 2]> {
        let corners = (width.saturating_add(3)).saturating_mul(height.saturating_add(1));
        if width < 3 || height < 3 || corners > MAX_CORNERS {
            return self.wrong(element, format!("windows of {width} x {height} pixels"));
        }
        Ok([width, height])
    }

    /// The form with `stageType`, `featureType` and a list of features.
    fn today(&self, cascade: Element<'a, 'a>) -> Parsed<Cascade> {
        let word = |name| -> Parsed<(Element<'a, 'a>, &str)> {
            let element = self.need(cascade, name)?;
            Ok((element, words(element).next().unwrap_or_default()))
        };
        let (place, stage_type) = word("stageType")?;
        if stage_type != "BOOST" {
            return self.wrong(place, format!("stages of the type `{}`", shortened(stage_type)));
        }
        let width = self.number(self.need(cascade, "width")?)?;
        let height_place = self.need(cascade, "height")?;
        let window = self.window(height_place, width, self.number(height_place)?)?;
        let parameters = self.need(cascade, "featureParams")?;
        let categories = match child(parameters, "maxCatCount") {
            Some(count) => self.number(count)?,
            None => 0usize,
        };
        let (place, feature_type) = word("featureType")?;
        let list = items(self.need(cascade, "features")?);
        let features = match (feature_type, categories) {
            ("HAAR", 0) => {
                Features::Haar(list.map(|item| self.haar(item, window)).collect::<Result<_, _>>()?)
            }
            ("LBP", 256) => {
                Features::Lbp(list.map(|item| self.lbp(item, window)).collect::<Result<_, _>>()?)
            }
            ("HAAR" | "LBP", _) => {
                return self
                    .wrong(parameters, format!("{feature_type} with {categories} categories"));
            }
            _ => {
                let what = format!("features of the type `{}`", shortened(feature_type));
                return self.wrong(place, what + "; there are HAAR and LBP");
            }
        };
        let mut made = Made { window, ..Made::default() };
        for stage in items(self.need(cascade, "stages")?) {
            let threshold = self.one_real(self.need(stage, "stageThreshold")?)?;
            let first = made.trees.len();
            for weak in items(self.need(stage, "weakClassifiers")?) {
                self.tree(weak, &features, &mut made)?;
            }
            self.finish_stage(stage, threshold, first, &mut made)?;
        }
        self.finish(cascade, features, made)
    }

    /// Closes a stage whose trees begin at `first`.
    fn finish_stage(
        &self,
        stage: Element<'a, 'a>,
        threshold: f32,
        first: usize,
        made: &mut Made,
    ) -> Parsed<()> {
        if first == made.trees.len() {
            return self.wrong(stage, "a stage without a tree");
        }
        let threshold = threshold - THRESHOLD_SLACK;
        made.stages.push(Stage { threshold, trees: first..made.trees.len() });
        Ok(())
    }

    fn finish(&self, cascade: Element<'a, 'a>, features: Features, made: Made) -> Parsed<Cascade> {
        if made.stages.is_empty() {
            return self.wrong(cascade, "a cascade without a stage");
        }
        let Made { window, stages, trees, nodes } = made;
        Ok(Cascade { window, features, stages, trees, nodes })
    }

    /// One tree: nodes of (left, right, feature, threshold or set), where a child above 0 is a node
    /// and any other the leaf of the negated number.
    fn tree(&self, weak: Element<'a, 'a>, features: &Features, made: &mut Made) -> Parsed<()> {
        let place = self.need(weak, "internalNodes")?;
        let leaves: Vec<f64> = self.numbers(self.need(weak, "leafValues")?)?;
        let leaves: Vec<f32> =
            leaves.into_iter().map(|leaf| self.real(weak, leaf)).collect::<Result<_, _>>()?;
        let all: Vec<f64> = self.numbers(place)?;
        let (count, length) = match features {
            Features::Haar(features) => (features.len(), 4),
            Features::Lbp(features) => (features.len(), 3 + 8),
        };
        let nodes = all.len() / length;
        if !all.len().is_multiple_of(length) || nodes == 0 || nodes > MAX_TREE {
            return self.wrong(place, format!("a tree of {} numbers", all.len()));
        }
        let first = made.nodes.len();
        for (at, numbers) in all.chunks_exact(length).enumerate() {
            let child = |value: f64| match value {
                value if value > at as f64 && value < nodes as f64 && value.fract() == 0.0 => {
                    Ok(Child::Node(value as usize))
                }
                value if value <= 0.0 && value.fract() == 0.0 && -value < leaves.len() as f64 => {
                    Ok(Child::Leaf(leaves[-value as usize]))
                }
                _ => self.wrong(place, format!("node {at} goes on to {value}, which is not there")),
            };
            let feature = numbers[2];
            if !(feature >= 0.0 && feature < count as f64 && feature.fract() == 0.0) {
                return self.wrong(place, format!("feature {feature} of {count}"));
            }
            let test = match features {
                Features::Haar(_) => Test::Below(self.real(place, numbers[3])?),
                Features::Lbp(_) => {
                    let mut set = [0; 8];
                    for (part, &number) in set.iter_mut().zip(&numbers[3..]) {
                        *part = self.bits(place, number)?;
                    }
                    Test::Among(set)
                }
            };
            let children = [child(numbers[0])?, child(numbers[1])?];
            made.nodes.push(Node { feature: feature as usize, test, children });
        }
        made.trees.push(first..made.nodes.len());
        Ok(())
    }

    /// 32 bits, written as a signed number.
    fn bits(&self, place: Element<'a, 'a>, number: f64) -> Parsed<u32> {
        let whole = number as i64;
        match i32::try_from(whole) {
            Ok(bits) if whole as f64 == number => Ok(bits as u32),
            _ => self.wrong(place, format!("{number} is no set of 32 codes")),
        }
    }

    /// A rectangle that lies in the window `times` times side by side and below each other.
    fn block(
        &self,
        place: Element<'a, 'a>,
        sides: &[f64],
        window: [usize; 2],
        times: usize,
    ) -> Parsed<Block> {
        let whole = |side: &f64| {
            (0.0..=window[0].max(window[1]) as f64).contains(side) && side.fract() == 0.0
        };
        if let &[left, top, width, height] = sides
            && sides.iter().all(whole)
        {
            let [left, top, width, height] = [left, top, width, height].map(|side| side as usize);
            if width * times + left <= window[0]
                && height * times + top <= window[1]
                && width * height > 0
            {
                return Ok(Block { left, top, width, height });
            }
        }
        let [width, height] = window;
        self.wrong(
            place,
            format!("the rectangle {sides:?} does not lie in a window of {width} x {height}"),
        )
    }

    fn lbp(&self, item: Element<'a, 'a>, window: [usize; 2]) -> Parsed<Block> {
        let place = self.need(item, "rect")?;
        self.block(place, &self.numbers::<f64>(place)?, window, 3)
    }

    fn haar(&self, item: Element<'a, 'a>, window: [usize; 2]) -> Parsed<HaarFeature> {
        let tilted = match child(item, "tilted") {
            Some(tilted) => self.number::<i32>(tilted)? != 0,
            None => false,
        };
        let mut feature = HaarFeature { tilted, ..HaarFeature::default() };
        let mut parts = feature.parts.iter_mut();
        for place in items(self.need(item, "rects")?) {
            let numbers = self.numbers::<f64>(place)?;
            let (Some(part), Some((&weight, sides))) = (parts.next(), numbers.split_last()) else {
                return self.wrong(place, "a feature has up to three rectangles of five numbers");
            };
            let block = match tilted {
                true => self.tilted_block(place, sides, window)?,
                false => self.block(place, sides, window, 1)?,
            };
            *part = (block, self.real(place, weight)?);
        }
        if feature.parts[0].0 == Block::default() {
            return self.wrong(item, "a feature without a rectangle");
        }
        Ok(feature)
    }

    /// A turned rectangle: its left corner lies `height` to the left of the upper one, its lowest
    /// `width + height` below.
    fn tilted_block(
        &self,
        place: Element<'a, 'a>,
        sides: &[f64],
        window: [usize; 2],
    ) -> Parsed<Block> {
        let block = match *sides {
            [left, top, width, height] => {
                // The upper corner alone has to be a place in the window here.
                let corner =
                    self.block(place, &[left, top, 1.0, 1.0], [window[0] + 1, window[1] + 1], 1)?;
                let size = self.block(place, &[0.0, 0.0, width, height], window, 1)?;
                Block { width: size.width, height: size.height, ..corner }
            }
            _ => return self.wrong(place, "a rectangle of other than four numbers and a weight"),
        };
        let fits = block.left >= block.height
            && block.left + block.width <= window[0]
            && block.top + block.width + block.height <= window[1];
        if fits {
            return Ok(block);
        }
        let [width, height] = window;
        self.wrong(
            place,
            format!(
                "the turned rectangle {sides:?} does not lie in a window of {width} x {height}"
            ),
        )
    }

    /// The form with `size`, and features inside of the trees.
    fn older(&self, cascade: Element<'a, 'a>) -> Parsed<Cascade> {
        let size = self.need(cascade, "size")?;
        let &[width, height] = &*self.numbers::<usize>(size)? else {
            return self.wrong(size, "a size is two numbers");
        };
        let mut made = Made { window: self.window(size, width, height)?, ..Made::default() };
        let mut features = Vec::new();
        for stage in items(self.need(cascade, "stages")?) {
            let threshold = self.one_real(self.need(stage, "stage_threshold")?)?;
            let first = made.trees.len();
            for tree in items(self.need(stage, "trees")?) {
                self.older_tree(tree, &mut features, &mut made)?;
            }
            self.finish_stage(stage, threshold, first, &mut made)?;
        }
        self.finish(cascade, Features::Haar(features), made)
    }

    fn older_tree(
        &self,
        tree: Element<'a, 'a>,
        features: &mut Vec<HaarFeature>,
        made: &mut Made,
    ) -> Parsed<()> {
        let nodes: Vec<Element<'a, 'a>> = items(tree).take(MAX_TREE + 1).collect();
        if nodes.is_empty() || nodes.len() > MAX_TREE {
            return self.wrong(tree, format!("a tree of {} nodes", nodes.len()));
        }
        let first = made.nodes.len();
        for (at, &node) in nodes.iter().enumerate() {
            let child = |value: &'static str, next: &'static str| -> Parsed<Child> {
                if let Some(leaf) = child(node, value) {
                    return Ok(Child::Leaf(self.one_real(leaf)?));
                }
                let place = self.need(node, next)?;
                let next: usize = self.number(place)?;
                match at < next && next < nodes.len() {
                    true => Ok(Child::Node(next)),
                    false => self
                        .wrong(place, format!("node {at} goes on to {next}, which is not there")),
                }
            };
            let children = [child("left_val", "left_node")?, child("right_val", "right_node")?];
            let threshold = self.one_real(self.need(node, "threshold")?)?;
            features.push(self.haar(self.need(node, "feature")?, made.window)?);
            let feature = features.len() - 1;
            made.nodes.push(Node { feature, test: Test::Below(threshold), children });
        }
        made.trees.push(first..made.nodes.len());
        Ok(())
    }
}

/// What has been read so far.
#[derive(Default)]
struct Made {
    window: [usize; 2],
    stages: Vec<Stage>,
    trees: Vec<Tree>,
    nodes: Vec<Node>,
}

/// The beginning of a word from the file, for messages.
fn shortened(word: &str) -> &str {
    let end = word.char_indices().nth(24).map_or(word.len(), |(at, _)| at);
    &word[..end]
}
