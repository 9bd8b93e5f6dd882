//! Pictures through a model whose answer is known.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::path::Path;
use std::sync::Arc;

use bunjae_classify::{Classifier, ClassifyError, top};
use bunjae_data::{Annotations, Colour, Labels, Layout, Preprocess, Scores, Source};
use bunjae_engine::{CompileOptions, Model};
use bunjae_ir::Graph;

/// Which of red, green and blue is strongest, from the mean of each.
const STRONGEST: &str = "graph @strongest
in   %x: f32[N,3,4,4]
%1 = global_pool %x {kind=mean} : f32[N,3,1,1] ; \"pool\"
%2 = flatten %1 {axis=1} : f32[N,3] ; \"flatten\"
out  %2 ; \"scores\"
";

fn model(batch: usize) -> Arc<Model> {
    let graph = Graph::parse(STRONGEST).unwrap();
    Arc::new(Model::compile(&graph, &CompileOptions::batch(batch)).unwrap())
}

fn annotations() -> Annotations {
    Annotations {
        preprocess: Some(Preprocess::plain(4, 4, Colour::Rgb)),
        labels: Some(Labels::parse("red\ngreen\nblue").unwrap()),
        scores: Some(Scores::Probabilities),
    }
}

/// A bitmap of one colour: a header of 54 bytes, then rows of blue, green, red.
fn bitmap(path: &Path, [red, green, blue]: [u8; 3]) -> Source {
    let mut bytes = b"BM".to_vec();
    bytes.extend(u32::to_le_bytes(54 + 48));
    bytes.extend([0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend([blue, green, red].repeat(16));
    std::fs::write(path, bytes).unwrap();
    Source::File(path.to_owned())
}

#[test]
fn pictures_get_their_class_whatever_the_batch_and_the_threads() {
    let folder = tempfile::tempdir().unwrap();
    let colours = [[255, 0, 51], [0, 51, 255], [51, 255, 0], [0, 255, 51], [255, 51, 0]];
    let mut pictures: Vec<Source> = (0..)
        .zip(colours)
        .map(|(at, colour)| bitmap(&folder.path().join(format!("{at}.bmp")), colour))
        .collect();
    pictures.insert(1, Source::File(folder.path().join("missing.bmp")));
    for (batch, threads) in [(1, 1), (2, 2), (4, 1), (8, 3)] {
        let mut classifier = Classifier::new(model(batch), annotations(), threads).unwrap();
        assert_eq!((classifier.batch(), classifier.classes()), (batch, 3));
        let results = classifier.classify(&pictures).unwrap();
        assert_eq!(results.len(), pictures.len());
        let found: Vec<Option<&str>> = results
            .iter()
            .map(|result| {
                let best = top(result.as_ref().ok()?, 1);
                classifier.label(best.first()?.class)
            })
            .collect();
        let expected = ["red", "", "blue", "green", "green", "red"];
        assert_eq!(found, expected.map(|name| (!name.is_empty()).then_some(name)), "{batch}");
        assert_eq!(results[0].as_ref().unwrap(), &[1.0, 0.0, 0.2]);
    }
}

#[test]
fn logits_become_probabilities() {
    let folder = tempfile::tempdir().unwrap();
    let picture = bitmap(&folder.path().join("a.bmp"), [255, 0, 0]);
    let annotations = Annotations { scores: None, ..annotations() };
    let mut classifier = Classifier::new(model(1), annotations, 1).unwrap();
    let probabilities = classifier.classify(&[picture]).unwrap().remove(0).unwrap();
    let e = std::f64::consts::E;
    assert!((f64::from(probabilities[0]) - e / (e + 2.0)).abs() < 1e-6, "{probabilities:?}");
}

#[test]
fn what_does_not_suit_the_model_is_refused() {
    let refused = |annotations: Annotations| match Classifier::new(model(1), annotations, 1) {
        Ok(_) => panic!("accepted"),
        Err(error) => error,
    };
    let none = Annotations { preprocess: None, ..annotations() };
    assert_eq!(refused(none), ClassifyError::NoPreprocess);
    let preprocess = Some(Preprocess::plain(8, 4, Colour::Rgb));
    assert_eq!(
        refused(Annotations { preprocess, ..annotations() }).to_string(),
        "input `x` is f32[1, 3, 4, 4], where the preprocessing makes f32[N, 3, 4, 8]"
    );
    let plain = Preprocess::plain(4, 4, Colour::Rgb);
    let preprocess = Some(Preprocess { layout: Layout::Hwc, ..plain });
    let refusal = refused(Annotations { preprocess, ..annotations() });
    assert!(matches!(refusal, ClassifyError::Port { what: "input", .. }), "{refusal}");
    let labels = Some(Labels::parse("warm\ncold").unwrap());
    assert_eq!(
        refused(Annotations { labels, ..annotations() }).to_string(),
        "the model tells 3 classes apart, but there are 2 labels"
    );
}
