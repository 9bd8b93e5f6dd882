//! The pictures that a model is trained on: which they are, how they become its input, and which of
//! them it is judged by.

use std::path::Path;

use bunjae_data::pictures::{Keep, Pictures, Reading};
use bunjae_data::split::{Shares, split};
use bunjae_data::{Annotations, ContentHash, Dataset, Item, Labels, Preprocess, Split, layout};
use bunjae_ir::{Dim, Graph};

use super::options::Teaching;
use crate::annotate::{PictureOptions, input_dims};
use crate::failure::{Failure, Fallible};
use crate::output::Output;

/// A data set, split, and the way from its pictures to the input.
pub(in crate::command) struct Parts {
    pub(in crate::command) preprocess: Preprocess,
    pub(in crate::command) train: Dataset,
    pub(in crate::command) val: Dataset,
}

impl Parts {
    /// Opens a data set for a model. The classes have the order of the model's, where they are the
    /// same, unless the model gets a new head.
    pub(in crate::command) fn open(
        data: &Path,
        (teaching, pictures): (&Teaching, &PictureOptions),
        seed: u64,
        graph: &Graph,
        has_new_head: bool,
    ) -> Fallible<Parts> {
        let found = Annotations::read(&graph.metadata).map_err(Failure::new)?;
        let preprocess = preprocessing(pictures, graph, found.preprocess)?;
        let mut dataset = layout::open(data)?;
        dataset.check_trainable()?;
        match (pictures.labels()?, found.labels) {
            (Some(labels), _) => order_classes(&mut dataset, &labels).map_err(unnamed)?,
            // Other classes than the model's need a new head, and have an order of their own.
            (None, Some(labels)) if !has_new_head => {
                let _other_classes = order_classes(&mut dataset, &labels);
            }
            _ => {}
        }
        let (train, val) = parts(dataset, teaching.val_share, seed)?;
        Ok(Parts { preprocess, train, val })
    }

    /// Adds the pictures in a folder and below to those that are learnt from, without labels.
    pub(in crate::command) fn add_unlabelled(&mut self, folder: &Path) -> Fallible<()> {
        let found = layout::unlabelled(folder)?;
        let items = found.items.into_iter();
        self.train.items.extend(items.map(|item| Item { split: Some(Split::Train), ..item }));
        Ok(())
    }

    /// SHA-256 over the content and the label of every picture, in hexadecimal.
    pub(in crate::command) fn fingerprint(&self) -> Fallible<String> {
        let mut text = String::new();
        for (name, part) in [("train", &self.train), ("val", &self.val)] {
            for item in &part.items {
                // What cannot be read is found corrupt later on.
                let hash = item.source.content_hash(Default::default());
                let hash = hash.map(|hash| hash.to_string()).unwrap_or_default();
                text.push_str(&format!("{name} {hash} {:?}\n", item.label));
            }
        }
        Ok(ContentHash::of(text.as_bytes()).to_string())
    }

    /// The pictures to learn from, decoded; kept whole, where they are `cropped`.
    pub(in crate::command) fn train_pictures(
        &self,
        teaching: &Teaching,
        threads: usize,
        cropped: bool,
        output: &Output,
    ) -> Fallible<Pictures> {
        let keep = match cropped {
            // A little larger than the input, as most crops are enlarged parts of the picture.
            true => {
                let larger = self.preprocess.width.max(self.preprocess.height);
                Keep::Whole { shorter: larger * 5 / 4 }
            }
            false => Keep::Fitted,
        };
        let reading = Reading { keep, ..Reading::new(self.preprocess.clone()) };
        decoded(teaching, self.train.clone(), reading, threads, output)
    }

    /// The pictures to judge by, decoded.
    pub(in crate::command) fn val_pictures(
        &self,
        teaching: &Teaching,
        threads: usize,
        output: &Output,
    ) -> Fallible<Pictures> {
        let reading = Reading::new(self.preprocess.clone());
        decoded(teaching, self.val.clone(), reading, threads, output)
    }
}

/// What the options, then the metadata, say; for a model that says nothing, ImageNet's mean and
/// deviation on the stretched picture.
fn preprocessing(
    pictures: &PictureOptions,
    graph: &Graph,
    found: Option<Preprocess>,
) -> Fallible<Preprocess> {
    let dims = input_dims(graph);
    if let Some(preprocess) = pictures.preprocess(found, &dims)? {
        return Ok(preprocess);
    }
    match *dims.as_slice() {
        [_, Some(3), Some(height), Some(width)] => Ok(Preprocess::imagenet(width, height)),
        [_, Some(1), Some(height), Some(width)] => {
            let grey = Preprocess::plain(width, height, bunjae_data::Colour::Grey);
            Ok(Preprocess { mean: vec![0.449], std: vec![0.226], ..grey })
        }
        _ => Err(Failure::new("the model's input does not say how large its pictures are")
            .hint("give it with `--picture` and `--preprocess`")),
    }
}

/// The model as one that takes what the preprocessing makes of a picture: fixed sizes of its input
/// become the picture's, where its layers go with that.
pub(super) fn with_picture_size(
    graph: Graph,
    preprocess: &Preprocess,
    output: &Output,
) -> Fallible<Graph> {
    let Some([old, new]) = other_picture(&graph, preprocess) else { return Ok(graph) };
    let Some(&input) = graph.inputs().first() else { return Ok(graph) };
    let mut dims = graph.ty(input).dims.clone();
    dims.truncate(1);
    dims.extend(preprocess.shape().map(Dim::from));
    let sized = graph.with_input_dims(input, &dims).map_err(|error| {
        Failure::new(format!(
            "the model takes pictures of {old}, and cannot be brought to {new}: {error}"
        ))
        .hint("leave out `--picture`, or begin with a model whose last layers take any size")
    })?;
    output.note(&format!("note: the model took pictures of {old}, and is made one for {new}"));
    Ok(sized)
}

/// Refuses a model whose input has another size than the preprocessing gives.
pub(in crate::command) fn check_picture_size(
    graph: &Graph,
    shown: &str,
    preprocess: &Preprocess,
) -> Fallible<()> {
    match other_picture(graph, preprocess) {
        None => Ok(()),
        Some([old, new]) => {
            let what = format!("{shown} takes pictures of {old}, but is to be given {new}");
            Err(Failure::new(what)
                .hint("`bunjae finetune --picture` makes a model for another size"))
        }
    }
}

/// Channels, height and width, in the model's order, where the input has fixed ones that are not those
/// of the preprocessing: both.
fn other_picture(graph: &Graph, preprocess: &Preprocess) -> Option<[String; 2]> {
    let dims = input_dims(graph);
    let [_, picture @ ..] = dims.as_slice() else { return None };
    let wanted = preprocess.shape();
    let fits = |(own, wanted): (&Option<usize>, &usize)| own.is_none_or(|own| own == *wanted);
    if picture.len() != wanted.len() || picture.iter().zip(&wanted).all(fits) {
        return None;
    }
    let own = picture.iter().map(|own| own.map_or("?".to_owned(), |own| own.to_string()));
    let wanted = wanted.map(|length| length.to_string());
    Some([own.collect::<Vec<_>>().join("x"), wanted.join("x")])
}

/// Gives the data's classes the order of these names, of which the data may lack some. A class of the
/// data that is none of them is the error.
fn order_classes(dataset: &mut Dataset, labels: &Labels) -> Result<(), String> {
    let names = labels.names();
    let place =
        |class: &String| names.iter().position(|name| name == class).ok_or_else(|| class.clone());
    let places: Vec<usize> = dataset.classes.iter().map(place).collect::<Result<_, _>>()?;
    dataset.classes = names.to_vec();
    for item in &mut dataset.items {
        item.label = item.label.and_then(|label| places.get(label).copied());
    }
    Ok(())
}

fn unnamed(class: String) -> Failure {
    Failure::new(format!("the data has the class `{class}`, which `--labels` does not name"))
        .hint("`bunjae data inspect` lists the classes")
}

/// Train and val; made from train where the data has no val, and from all where it has no splits.
fn parts(mut dataset: Dataset, share: f64, seed: u64) -> Fallible<(Dataset, Dataset)> {
    if dataset.items.iter().all(|item| item.split.is_none()) {
        let shares = Shares { train: 1.0 - share, val: share, test: 0.0 };
        split(&mut dataset, shares, seed, Default::default(), 0)?;
    }
    let (mut train, mut val) = (dataset.part(Split::Train), dataset.part(Split::Val));
    if val.items.is_empty() && share > 0.0 {
        let shares = Shares { train: 1.0 - share, val: share, test: 0.0 };
        split(&mut train, shares, seed, Default::default(), 0)?;
        (train, val) = (train.part(Split::Train), train.part(Split::Val));
    }
    train.check_trainable()?;
    Ok((train, val))
}

/// The pictures of a part, all decoded once, without those that are corrupt.
fn decoded(
    teaching: &Teaching,
    dataset: Dataset,
    reading: Reading,
    threads: usize,
    output: &Output,
) -> Fallible<Pictures> {
    let count = dataset.items.len();
    let mut pictures = Pictures::new(dataset, reading)?;
    let bar = output.bar(count, "pictures decoded");
    let checked =
        pictures.check(teaching.max_corrupt, threads, &|done| bar.set_position(done as u64));
    bar.finish_and_clear();
    for corrupt in checked? {
        output.note(&format!("note: left out: {}: {}", corrupt.item, corrupt.why));
    }
    Ok(pictures)
}
