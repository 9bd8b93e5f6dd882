//! What a classifier's pictures and classes are: from its metadata, or from options.

use std::path::{Path, PathBuf};

use bunjae_data::{Annotations, Colour, Filter, Fit, Labels, Layout, Preprocess, Scores};
use bunjae_ir::{Dim, Graph, Source};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::failure::{Failure, Fallible};
use crate::number::{first_few_by, thousands};

/// Options that say what a model's metadata do not, or say it otherwise.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Pictures and classes")]
pub(crate) struct Annotating {
    #[command(flatten)]
    pictures: PictureOptions,
    /// What the output holds; logits go through a softmax
    #[arg(long, value_enum, value_name = "KIND")]
    scores: Option<ScoresArg>,
}

/// Options for the way from a picture to the input, and for the classes of the output.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Pictures and classes")]
pub(crate) struct PictureOptions {
    /// The names of the classes, one a line in the order of the output, or a JSON list
    #[arg(long, value_name = "FILE")]
    labels: Option<PathBuf>,
    /// How a picture becomes the input; the options below change single settings of it
    #[arg(long, value_enum, value_name = "PRESET")]
    preprocess: Option<Preset>,
    /// The size a picture is brought to [default: the size of the model's input]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = size)]
    picture: Option<[usize; 2]>,
    /// How a picture fills that size: each side on its own, the middle of a picture whose shorter
    /// side is N, or whole on black [values: stretch, crop=N, letterbox]
    #[arg(long, value_name = "HOW", value_parser = fit)]
    fit: Option<Fit>,
    /// How a picture is resized
    #[arg(
        long,
        value_name = "FILTER",
        value_parser = PossibleValuesParser::new(FILTERS.map(|(name, _)| name)).map(filter),
    )]
    filter: Option<Filter>,
    /// The order of the channels
    #[arg(long, value_enum, value_name = "ORDER")]
    colour: Option<ColourArg>,
    /// The order of the axes after the batch [default: as the model's input looks]
    #[arg(long, value_enum, value_name = "ORDER")]
    layout: Option<LayoutArg>,
    /// What black and white become, before the mean is taken off
    #[arg(long, value_name = "LOW,HIGH", value_parser = numbers, allow_hyphen_values = true)]
    range: Option<Numbers>,
    /// What is taken off each channel, or off all
    #[arg(long, value_name = "NUMBERS", value_parser = numbers, allow_hyphen_values = true)]
    mean: Option<Numbers>,
    /// What each channel is divided by, or all
    #[arg(long, value_name = "NUMBERS", value_parser = numbers)]
    std: Option<Numbers>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Preset {
    /// The middle of the picture, 0 to 1, ImageNet's mean and deviation: what torchvision's models
    /// take
    Imagenet,
    /// Stretched, 0 to 1
    Unit,
    /// Stretched, 0 to 255
    None,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColourArg {
    Rgb,
    Bgr,
    Grey,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum LayoutArg {
    /// Channels, height, width
    Chw,
    /// Height, width, channels
    Hwc,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ScoresArg {
    Logits,
    Probabilities,
}

/// Numbers between commas.
#[derive(Clone, Debug)]
struct Numbers(Vec<f32>);

const FILTERS: [(&str, Filter); 5] = [
    ("nearest", Filter::Nearest),
    ("box", Filter::Box),
    ("bilinear", Filter::Bilinear),
    ("bicubic", Filter::Bicubic),
    ("lanczos", Filter::Lanczos),
];

fn filter(name: String) -> Filter {
    let found = FILTERS.into_iter().find(|(known, _)| *known == name);
    found.map_or(Filter::Bilinear, |(_, filter)| filter)
}

fn size(text: &str) -> Result<[usize; 2], String> {
    let sides: Result<Vec<usize>, _> = text.split('x').map(str::parse).collect();
    let sides = sides.ok().and_then(|sides| sides.try_into().ok());
    sides.ok_or_else(|| "expected width and height, such as 224x224".to_string())
}

fn fit(text: &str) -> Result<Fit, String> {
    match text.split_once('=') {
        None if text == "stretch" => Ok(Fit::Stretch),
        None if text == "letterbox" => Ok(Fit::Letterbox { ground: [0; 3] }),
        Some(("crop", shorter)) => shorter
            .parse()
            .map(|shorter| Fit::CentreCrop { shorter })
            .map_err(|_| format!("`{shorter}` is no length, such as crop=256")),
        _ => Err("expected stretch, crop=N or letterbox".to_string()),
    }
}

fn numbers(text: &str) -> Result<Numbers, String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|part| part.trim().parse()).collect();
    numbers.map(Numbers).map_err(|_| "expected numbers such as 0.5 or 0.4,0.5,0.6".to_string())
}

/// What an input of pictures looks like; sizes that are open are not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    layout: Layout,
    channels: usize,
    height: Option<usize>,
    width: Option<usize>,
}

impl Look {
    /// The look of the one input that a classifier has.
    fn of(dims: &[Option<usize>]) -> Option<Look> {
        let &[_, a, b, c] = dims else { return None };
        let counts = |length: Option<usize>| length.filter(|length| matches!(length, 1 | 3));
        match (counts(a), counts(c)) {
            (Some(channels), _) => {
                Some(Look { layout: Layout::Chw, channels, height: b, width: c })
            }
            (None, Some(channels)) => {
                Some(Look { layout: Layout::Hwc, channels, height: a, width: b })
            }
            (None, None) => None,
        }
    }
}

impl Annotating {
    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.scores.is_none() && self.pictures.is_empty()
    }

    /// What the options say and, where they say nothing, what the metadata `found` say, for a model
    /// whose one input has these dimensions.
    ///
    /// # Errors
    /// A file that cannot be read, settings without meaning, a size that nobody gives.
    pub(crate) fn annotations(
        &self,
        found: Annotations,
        input: &[Option<usize>],
    ) -> Fallible<Annotations> {
        let preprocess = self.pictures.preprocess(found.preprocess.clone(), input)?;
        let scores = self.scores.map(|scores| match scores {
            ScoresArg::Logits => Scores::Logits,
            ScoresArg::Probabilities => Scores::Probabilities,
        });
        let labels = self.pictures.labels()?;
        Ok(Annotations { preprocess, labels, scores }.or(found))
    }

    /// The options that count, for the record of where a model comes from.
    pub(crate) fn command(&self) -> String {
        let given = [
            ("labels", self.pictures.labels.is_some()),
            ("preprocess", self.pictures.change_preprocessing()),
            ("scores", self.scores.is_some()),
        ];
        let given = given.into_iter().filter(|(_, given)| *given);
        given.map(|(name, _)| format!(" --{name}")).collect()
    }
}

impl PictureOptions {
    /// Whether nothing was asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_none() && !self.change_preprocessing()
    }

    fn change_preprocessing(&self) -> bool {
        let PictureOptions { preprocess, picture, fit, filter, colour, layout, .. } = self;
        let shape = picture.is_some() || fit.is_some() || filter.is_some();
        let order = colour.is_some() || layout.is_some();
        let numbers = self.range.is_some() || self.mean.is_some() || self.std.is_some();
        preprocess.is_some() || shape || order || numbers
    }

    /// The names of the classes, where a file of them is given.
    ///
    /// # Errors
    /// A file that cannot be read, or is no list.
    pub(crate) fn labels(&self) -> Fallible<Option<Labels>> {
        self.labels.as_deref().map(read_labels).transpose()
    }

    /// What the options and, where they are silent, the record `found` say, for a model whose one input
    /// has these dimensions.
    ///
    /// # Errors
    /// Settings without meaning, a size that nobody gives.
    pub(crate) fn preprocess(
        &self,
        found: Option<Preprocess>,
        input: &[Option<usize>],
    ) -> Fallible<Option<Preprocess>> {
        match self.change_preprocessing() {
            true => Ok(Some(self.changed(found, Look::of(input))?)),
            false => Ok(found),
        }
    }

    /// The preset, or what is known already, with single settings changed.
    fn changed(&self, found: Option<Preprocess>, look: Option<Look>) -> Fallible<Preprocess> {
        let found = found.filter(|_| self.preprocess.is_none());
        let known = found.as_ref().map(|found| [found.width, found.height]);
        let seen = look.and_then(|look| Some([look.width?, look.height?]));
        let Some([width, height]) = self.picture.or(known).or(seen) else {
            return Err(Failure::new("the model leaves the size of its pictures open")
                .hint("give it with `--picture`, as in `--picture 224x224`"));
        };
        let grey = look.is_some_and(|look| look.channels == 1);
        let colour = match self.colour {
            Some(ColourArg::Rgb) => Some(Colour::Rgb),
            Some(ColourArg::Bgr) => Some(Colour::Bgr),
            Some(ColourArg::Grey) => Some(Colour::Grey),
            None => None,
        };
        let order = colour.unwrap_or(if grey { Colour::Grey } else { Colour::Rgb });
        let mut preprocess = match (found, self.preprocess) {
            (Some(found), _) => Preprocess { colour: colour.unwrap_or(found.colour), ..found },
            (None, Some(Preset::Imagenet)) => {
                let mut imagenet = Preprocess::imagenet(width, height);
                if order == Colour::Bgr {
                    imagenet.mean.reverse();
                    imagenet.std.reverse();
                }
                Preprocess { colour: order, fit: evaluation_crop(width, height), ..imagenet }
            }
            (None, Some(Preset::None)) => {
                let plain = Preprocess::plain(width, height, order);
                Preprocess { range: [0.0, 255.0], ..plain }
            }
            (None, Some(Preset::Unit) | None) => Preprocess::plain(width, height, order),
        };
        (preprocess.width, preprocess.height) = (width, height);
        if let Some(look) = look {
            preprocess.layout = look.layout;
        }
        if let Some(layout) = self.layout {
            preprocess.layout = match layout {
                LayoutArg::Chw => Layout::Chw,
                LayoutArg::Hwc => Layout::Hwc,
            };
        }
        preprocess.fit = self.fit.unwrap_or(preprocess.fit);
        preprocess.filter = self.filter.unwrap_or(preprocess.filter);
        let channels = preprocess.colour.channels().count();
        let each = |numbers: &Numbers| match numbers.0.as_slice() {
            [all] => vec![*all; channels],
            _ => numbers.0.clone(),
        };
        if let Some(mean) = &self.mean {
            preprocess.mean = each(mean);
        }
        if let Some(std) = &self.std {
            preprocess.std = each(std);
        }
        if let Some(range) = &self.range {
            preprocess.range = range.0.clone().try_into().map_err(|_| {
                Failure::new("`--range` takes two numbers").hint("as in `--range -1,1`")
            })?;
        }
        preprocess.check().map_err(Failure::new)?;
        Ok(preprocess)
    }
}

/// How ImageNet's classifiers are evaluated: the shorter side at 8/7 of the input's longer one (256
/// for 224), and the middle cut out.
fn evaluation_crop(width: usize, height: usize) -> Fit {
    let longer = width.max(height);
    Fit::CentreCrop { shorter: longer.saturating_add(longer / 7) }
}

fn read_labels(path: &Path) -> Fallible<Labels> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::new(format!("cannot read {}: {error}", path.display())))?;
    Labels::parse(&text).map_err(|error| {
        Failure::new(format!("{}: {error}", path.display()))
            .hint("a list of labels is a text with one name a line, or a JSON list of strings")
    })
}

/// What an output holds, by the operator that makes it.
pub(crate) fn scores_of(graph: &Graph) -> Scores {
    let output = graph.outputs().first();
    let node = output.and_then(|output| match graph.value(output.tensor).source {
        Source::Node { node, .. } => Some(graph.node(node)),
        _ => None,
    });
    match node.map(|node| node.op.name()) {
        Some("softmax" | "sigmoid") => Scores::Probabilities,
        _ => Scores::Logits,
    }
}

/// Refuses labels that are not as many as the classes of the output, where those are known.
pub(crate) fn check_labels(graph: &Graph, annotations: &Annotations) -> Fallible<()> {
    let output = graph.outputs().first().map(|output| &graph.ty(output.tensor).dims);
    let classes = output.and_then(|dims| dims.get(1)?.fixed());
    let labels = annotations.labels.as_ref().map(|labels| labels.names().len());
    match (classes, labels) {
        (Some(classes), Some(labels)) if classes != labels => Err(Failure::new(format!(
            "the model tells {classes} classes apart, but there are {labels} labels"
        ))),
        _ => Ok(()),
    }
}

/// The dimensions of the first input; open ones are not known.
pub(crate) fn input_dims(graph: &Graph) -> Vec<Option<usize>> {
    let dims = graph.inputs().first().map(|&id| &graph.ty(id).dims);
    dims.into_iter().flatten().map(Dim::fixed).collect()
}

/// The records of a model, for reports.
#[derive(Serialize)]
pub(crate) struct Annotated {
    preprocess: Option<Preprocess>,
    labels: Option<Labels>,
    scores: Option<Scores>,
    /// What the output is taken for where nothing is said.
    #[serde(skip)]
    taken_for: Scores,
}

impl Annotated {
    pub(crate) fn new(annotations: Annotations, graph: &Graph) -> Annotated {
        let Annotations { preprocess, labels, scores } = annotations;
        Annotated { preprocess, labels, scores, taken_for: scores_of(graph) }
    }

    pub(crate) fn fields(&self) -> Vec<(&'static str, String)> {
        let none = || "not said".to_string();
        let labels = self.labels.as_ref().map(|labels| {
            let names = labels.names();
            let few = first_few_by("; ", names.iter().map(String::as_str), 3);
            format!("{}: {few}", thousands(names.len() as u64))
        });
        let scores = self.scores.map(|scores| scores.to_string());
        vec![
            ("preprocess", self.preprocess.as_ref().map_or_else(none, described)),
            ("labels", labels.unwrap_or_else(none)),
            (
                "scores",
                scores.unwrap_or_else(|| format!("{}, taken for {}", none(), self.taken_for)),
            ),
        ]
    }
}

/// The way from a picture to the input, in a line.
fn described(preprocess: &Preprocess) -> String {
    let Preprocess { width, height, colour, layout, fit, filter, range, mean, std } = preprocess;
    let fit = match fit {
        Fit::Stretch => "stretched".to_string(),
        Fit::CentreCrop { shorter } => format!("middle of shorter side {shorter}"),
        Fit::Letterbox { .. } => "whole on a ground".to_string(),
    };
    let filter =
        FILTERS.into_iter().find(|(_, known)| known == filter).map_or("", |(name, _)| name);
    let colour = match colour {
        Colour::Grey => "grey",
        Colour::Rgb => "rgb",
        Colour::Bgr => "bgr",
    };
    let layout = match layout {
        Layout::Chw => "chw",
        Layout::Hwc => "hwc",
    };
    let list = |numbers: &[f32]| numbers.iter().map(f32::to_string).collect::<Vec<_>>().join(",");
    let [low, high] = range;
    format!(
        "{width}x{height} {fit}, {filter}, {colour} {layout}, {low} to {high}, mean {}, std {}",
        list(mean),
        list(std)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_axis_of_colours_gives_the_layout_away() {
        let look = |dims: &[usize]| {
            Look::of(&dims.iter().map(|&n| (n > 0).then_some(n)).collect::<Vec<_>>())
        };
        let chw = Look { layout: Layout::Chw, channels: 3, height: Some(8), width: Some(6) };
        assert_eq!(look(&[1, 3, 8, 6]), Some(chw));
        assert_eq!(look(&[0, 8, 6, 3]), Some(Look { layout: Layout::Hwc, ..chw }));
        assert_eq!(look(&[0, 1, 0, 0]).map(|look| (look.channels, look.height)), Some((1, None)));
        assert_eq!(look(&[0, 64, 8, 8]), None);
        assert_eq!(look(&[0, 3]), None);
    }

    #[test]
    fn ways_to_fit_are_words() {
        assert_eq!(fit("stretch"), Ok(Fit::Stretch));
        assert_eq!(fit("crop=256"), Ok(Fit::CentreCrop { shorter: 256 }));
        assert_eq!(fit("letterbox"), Ok(Fit::Letterbox { ground: [0; 3] }));
        for wrong in ["crop", "crop=", "crop=-1", "pad", "stretch=3"] {
            assert!(fit(wrong).is_err(), "{wrong}");
        }
        assert_eq!(evaluation_crop(224, 224), Fit::CentreCrop { shorter: 256 });
    }
}
