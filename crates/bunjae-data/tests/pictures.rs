//! Corrupt pictures are taken out and reported, or too many.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use bunjae_data::pictures::{Keep, Pictures, Reading};
use bunjae_data::{Colour, DataError, Preprocess, layout};
use bunjae_testkit::data_dir;
use image::GrayImage;

/// Two classes of five pictures, of which the first two of class b are broken.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for class in ["a", "b"] {
        fs::create_dir(folder.path().join(class)).unwrap();
        for index in 0..5 {
            let path = folder.path().join(class).join(format!("{index}.png"));
            GrayImage::from_fn(30, 20, |x, y| image::Luma([(x * y + index) as u8]))
                .save(&path)
                .unwrap();
        }
    }
    let whole = fs::read(folder.path().join("a/0.png")).unwrap();
    fs::write(folder.path().join("b/0.png"), &whole[..whole.len() / 2]).unwrap();
    fs::write(folder.path().join("b/1.png"), "").unwrap();
    folder
}

fn pictures(folder: &Path) -> Pictures {
    let reading = Reading::new(Preprocess::plain(8, 8, Colour::Grey));
    Pictures::new(layout::open(folder).unwrap(), reading).unwrap()
}

#[test]
fn corrupt_pictures_are_listed_and_taken_out() {
    let folder = folder();
    let mut pictures = pictures(folder.path());
    let heard = AtomicUsize::new(0);
    let corrupt = pictures
        .check(0.2, 3, &|done| {
            heard.fetch_max(done, Ordering::Relaxed);
        })
        .unwrap();
    assert_eq!(heard.into_inner(), 10);
    let whys: Vec<&str> = corrupt.iter().map(|corrupt| corrupt.why.as_str()).collect();
    assert!(whys[0].starts_with("not a valid PNG file: ") && whys[1] == "the file is empty");
    assert_eq!(pictures.dataset().counts(), [5, 3]);
    // What is left is what it says it is, from the cache as from the file.
    let fresh = self::pictures(folder.path());
    assert_eq!(pictures.get(5).unwrap(), fresh.get(7).unwrap());
    assert!(pictures.get(8).is_err());
}

#[test]
fn too_many_corrupt_pictures_are_an_error() {
    let folder = folder();
    let error = pictures(folder.path()).check(0.19, 1, &|_| {}).unwrap_err();
    let shown = error.to_string();
    assert!(shown.starts_with("2 of 10 pictures are corrupt, more than 19.0 %; the first: "));
    assert!(shown.contains("b/0.png: not a valid PNG file"), "{shown}");
    assert!(error.hint().unwrap().contains("data inspect"));
    // All of them are too many whatever the share.
    for class in ["a", "b"] {
        for index in 0..5 {
            fs::write(folder.path().join(class).join(format!("{index}.png")), "?").unwrap();
        }
    }
    let error = pictures(folder.path()).check(1.0, 1, &|_| {}).unwrap_err();
    assert!(matches!(error, DataError::TooManyCorrupt { corrupt: 10, .. }));
}

#[test]
fn labels_without_a_class_are_refused() {
    let folder = folder();
    let mut dataset = layout::open(folder.path()).unwrap();
    dataset.items[3].label = Some(2);
    let reading = Reading::new(Preprocess::plain(8, 8, Colour::Grey));
    let error = Pictures::new(dataset, reading).err().unwrap();
    assert_eq!(error.to_string(), "label: 2 of 2 classes");
}

#[test]
fn whole_pictures_are_kept_in_proportion() {
    let folder = folder();
    let shown = |shorter| {
        let reading = Reading {
            keep: Keep::Whole { shorter },
            ..Reading::new(Preprocess::plain(8, 8, Colour::Grey))
        };
        let pictures = Pictures::new(layout::open(folder.path()).unwrap(), reading).unwrap();
        let picture = pictures.get(0).unwrap();
        (picture.width(), picture.height())
    };
    assert_eq!(shown(10), (15, 10));
    assert_eq!(shown(25), (30, 20));
}

#[test]
fn real_pictures_are_all_whole() {
    let Some(data) = data_dir("real_pictures_are_all_whole") else { return };
    let mut dataset = layout::open(&data.join("facemask")).unwrap();
    dataset.items = dataset.items.into_iter().step_by(10).collect();
    let reading = Reading::new(Preprocess::imagenet(64, 64));
    let mut pictures = Pictures::new(dataset, reading).unwrap();
    assert_eq!(pictures.check(0.0, 0, &|_| {}).unwrap(), []);
    assert_eq!(pictures.cached_bytes(), pictures.dataset().items.len() * 64 * 64 * 3);
}
