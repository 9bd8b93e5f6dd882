//! The report on a data set finds what was hidden in it.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fs;
use std::path::Path;

use bunjae_data::generate::prps::{Defect, Prps};
use bunjae_data::inspect::{Looking, Spread, inspect};
use bunjae_data::layout;
use bunjae_testkit::data_dir;
use image::{DynamicImage, GrayImage, Luma};

/// A picture with structure, different for each seed.
fn image(seed: u32, width: u32, height: u32) -> GrayImage {
    let wave = |x: f64, y: f64| {
        let s = f64::from(seed);
        ((x * (9.0 + s % 5.0)).sin() + (y * (11.0 + s % 7.0) + x * s).cos()) * 55.0 + 128.0
    };
    GrayImage::from_fn(width, height, |x, y| {
        Luma([wave(f64::from(x) / f64::from(width), f64::from(y) / f64::from(height)) as u8])
    })
}

fn save(image: &GrayImage, folder: &Path, name: &str) {
    let path = folder.join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    DynamicImage::ImageLuma8(image.clone()).save(path).unwrap();
}

#[test]
fn hidden_faults_are_found() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for seed in 0..6 {
        save(&image(seed, 40 + seed, 30), folder, &format!("train/a/{seed}.png"));
        save(&image(seed + 20, 50, 30), folder, &format!("train/b/{seed}.png"));
    }
    // The same samples in another format and another class; the same view in another size; a plain
    // picture twice, in one class.
    save(&image(2, 42, 30), folder, "val/b/copy.bmp");
    save(&image(3, 86, 60), folder, "val/a/larger.png");
    let plain = GrayImage::from_pixel(20, 20, Luma([9]));
    save(&plain, folder, "train/b/plain_1.png");
    save(&plain, folder, "train/b/plain_2.png");
    fs::write(folder.join("val/a/cut.png"), &fs::read(folder.join("train/a/1.png")).unwrap()[..90])
        .unwrap();
    fs::write(folder.join("val/a/notes.txt"), "no picture").unwrap();

    let dataset = layout::open(folder).unwrap();
    let report = inspect(&dataset, &Looking::default(), &|_| {});
    let name = |text: &String| text.replace(&format!("{}/", folder.display()), "");
    assert_eq!((report.pictures, report.unlabelled, report.grey), (17, 0, 16));
    assert_eq!(report.classes[0].train, 6);
    assert_eq!(report.classes[1].total(), 9);
    assert_eq!(
        report.formats.into_iter().collect::<Vec<_>>(),
        [("BMP".into(), 1), ("PNG".into(), 15)]
    );
    assert_eq!(report.width.map(|w| (w.least, w.median, w.most)), Some((20, 44, 86)));
    assert_eq!(report.corrupt.len(), 1);
    assert_eq!(name(&report.corrupt[0].item), "val/a/cut.png");
    assert!(report.corrupt[0].why.starts_with("not a valid PNG file"), "{:?}", report.corrupt);
    assert_eq!(report.skipped[0].why, "not the ending of a picture");

    let duplicates: Vec<_> = report
        .duplicates
        .iter()
        .map(|group| {
            (group.items.iter().map(name).collect::<Vec<_>>(), group.leaks, group.contradicts)
        })
        .collect();
    let pair = |a: &str, b: &str| vec![a.to_owned(), b.to_owned()];
    assert_eq!(
        duplicates,
        [
            (pair("train/a/2.png", "val/b/copy.bmp"), true, true),
            (pair("train/b/plain_1.png", "train/b/plain_2.png"), false, false),
        ]
    );
    let near = report.near_duplicates.unwrap();
    let views: Vec<_> = near.iter().filter(|group| group.leaks).collect();
    assert_eq!(views.len(), 1, "{near:?}");
    assert_eq!(
        views[0].items.iter().map(name).collect::<Vec<_>>(),
        pair("train/a/3.png", "val/a/larger.png")
    );
}

#[test]
fn nothing_but_corrupt_pictures_is_still_a_report() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("a")).unwrap();
    fs::write(folder.path().join("a/1.jpg"), "no JPEG").unwrap();
    let dataset = layout::open(folder.path()).unwrap();
    let report = inspect(&dataset, &Looking::default(), &|_| {});
    assert_eq!((report.corrupt.len(), report.width), (1, None));
    assert_eq!(report.near_duplicates, Some(vec![]));
}

#[test]
fn a_report_survives_its_text_form_and_the_number_of_threads() {
    let dataset = Prps { per_class: 3, difficulty: 0.3, seed: 1 }.dataset(2).unwrap();
    let one = inspect(&dataset, &Looking { threads: 1, ..Looking::default() }, &|_| {});
    let three = inspect(&dataset, &Looking { threads: 3, ..Looking::default() }, &|_| {});
    assert_eq!(one, three);
    assert_eq!(one.height, Some(Spread { least: 60, median: 60, mean: 60.0, most: 60 }));
    assert_eq!(one.formats["raw"], 3 * Defect::ALL.len());
    let text = serde_json::to_string(&one).unwrap();
    assert_eq!(serde_json::from_str::<bunjae_data::inspect::Inspection>(&text).unwrap(), one);
}

/// The README beside the pictures: 3 byte duplicates in two classes were taken out, and others that
/// are nearly the same were left.
#[test]
fn real_pictures_hold_no_exact_duplicates() {
    let Some(data) = data_dir("real_pictures_hold_no_exact_duplicates") else { return };
    let mut dataset = layout::open(&data.join("facemask_crops")).unwrap();
    dataset.items.truncate(600);
    let report = inspect(&dataset, &Looking::default(), &|_| {});
    assert_eq!((report.pictures, report.corrupt.len()), (600, 0));
    assert_eq!(report.duplicates, []);
    // Shorter sides of 20 pixels and longest sides of 128, times 1.3 for the margin.
    assert!(report.width.unwrap().least >= 20 && report.width.unwrap().most <= 128);
}
