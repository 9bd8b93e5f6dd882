//! Cascades from nowhere good: no panic, no memory out of proportion, an error that says where.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use bunjae_data::{Channels, Picture};
use bunjae_detect::cascade::CascadeProblem;
use bunjae_detect::{Cascade, CascadeDetector, CascadeSettings, DetectError, Detector};

/// Two stages: the left half is darker than the right by a little; the upper one than the lower.
const HAAR: &str = r#"<?xml version="1.0"?>
<opencv_storage>
<cascade type_id="opencv-cascade-classifier">
  <stageType>BOOST</stageType>
  <featureType>HAAR</featureType>
  <height>10</height>
  <width>12</width>
  <featureParams><maxCatCount>0</maxCatCount></featureParams>
  <stages>
    <_>
      <stageThreshold>0.5</stageThreshold>
      <weakClassifiers>
        <_><internalNodes>0 -1 0 0.05</internalNodes><leafValues>0. 1.</leafValues></_>
      </weakClassifiers></_>
    <_>
      <stageThreshold>0.5</stageThreshold>
      <weakClassifiers>
        <_><internalNodes>1 0 0 10. -1 -2 1 -10.</internalNodes>
          <leafValues>0.25 0. 1.</leafValues></_>
      </weakClassifiers></_>
  </stages>
  <features>
    <_><rects><_>0 0 12 10 -1.</_><_>6 0 6 10 2.</_></rects></_>
    <_><rects><_>4 0 2 3 -1.</_><_>4 1 1 1 2.</_></rects><tilted>1</tilted></_>
  </features>
</cascade>
</opencv_storage>
"#;

/// One stump that asks for a bright middle.
const LBP: &str = r#"<opencv_storage><cascade>
<stageType>BOOST</stageType><featureType>LBP</featureType><height>9</height><width>9</width>
<featureParams><maxCatCount>256</maxCatCount></featureParams>
<stages><_><stageThreshold>0.5</stageThreshold><weakClassifiers><_>
<internalNodes>0 -1 0 1 0 0 0 0 0 0 0</internalNodes><leafValues>1. 0.</leafValues>
</_></weakClassifiers></_></stages>
<features><_><rect>0 0 3 3</rect></_></features></cascade></opencv_storage>"#;

/// The older form of one Haar feature.
const OLDER: &str = r#"<opencv_storage><old type_id="opencv-haar-classifier"><size>12 10</size>
<stages><_><trees><_><_><feature><rects><_>0 0 12 10 -1.</_><_>6 0 6 10 2.</_></rects>
<tilted>0</tilted></feature><threshold>0.05</threshold><left_val>0.</left_val>
<right_val>1.</right_val></_></_></trees><stage_threshold>0.5</stage_threshold>
<parent>-1</parent><next>-1</next></_></stages></old></opencv_storage>"#;

/// 40 x 30, dark on the left and bright on the right of column 20.
fn halves() -> Picture {
    let samples = (0..40 * 30).map(|at| if at % 40 < 20 { 30 } else { 220 }).collect();
    Picture::new(40, 30, Channels::Grey, samples).unwrap()
}

fn lefts(text: &str, picture: &Picture) -> Vec<i32> {
    let settings =
        CascadeSettings { min_neighbours: 0, max_size: [12, 10], ..CascadeSettings::default() };
    let mut detector = CascadeDetector::new(Cascade::parse(text).unwrap(), settings).unwrap();
    let mut lefts: Vec<i32> =
        detector.windows(picture).unwrap().iter().map(|window| window.left).collect();
    lefts.sort_unstable();
    lefts.dedup();
    lefts
}

#[test]
fn cascades_made_by_hand_find_what_they_ask_for() {
    // Windows of 12 that have some of their right half beyond column 20, and not all of the left.
    assert_eq!(lefts(HAAR, &halves()), [10, 12, 14, 16, 18]);
    assert_eq!(lefts(OLDER, &halves()), [10, 12, 14, 16, 18]);
    let mut dot = Picture::filled(30, 30, Channels::Grey, [10; 3]);
    for y in 13..16 {
        dot.samples_mut()[y * 30 + 15..][..3].fill(250);
    }
    // A middle that is brighter than all around. Of the even places every second one is looked at, as
    // the one before it fails.
    assert_eq!(lefts(LBP, &dot), [12]);
}

#[test]
fn every_cut_of_a_file_is_an_error() {
    for text in [HAAR, LBP, OLDER] {
        let end = text.trim_end().len();
        for cut in 0..end {
            assert!(Cascade::parse(&text[..cut]).is_err(), "{cut}");
        }
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let message = |from: &str, to: &str| {
        let text = HAAR.replacen(from, to, 1);
        assert_ne!(text, HAAR, "{from}");
        Cascade::parse(&text).unwrap_err().to_string()
    };
    assert_eq!(message("BOOST", "TREE"), "line 4: stages of the type `TREE`");
    assert_eq!(
        message("HAAR", "HOG"),
        "line 5: features of the type `HOG`; there are HAAR and LBP"
    );
    assert_eq!(message("0 -1 0 0.05", "0 -1 2 0.05"), "line 13: feature 2 of 2");
    assert_eq!(message("0 -1 0 0.05", "0 -1 0 nan"), "line 13: NaN is no value");
    assert_eq!(message("0 -1 0 0.05", "0 -1 0 1e99"), "line 13: inf is no value");
    assert_eq!(message("0 -1 0 0.05", "0 -1 0 x"), "line 13: `x` is no such number");
    assert_eq!(message("0 -1 0 0.05", "0 -1 0"), "line 13: a tree of 3 numbers");
    // A tree that would never end, and leaves that are not there.
    assert_eq!(
        message("1 0 0 10. -1 -2 1", "1 0 0 10. 1 -2 1"),
        "line 18: node 1 goes on to 1, which is not there"
    );
    assert_eq!(
        message("0 -1 0 0.05", "0 -7 0 0.05"),
        "line 13: node 0 goes on to -7, which is not there"
    );
    assert_eq!(
        message("6 0 6 10 2.", "6 0 7 10 2."),
        "line 23: the rectangle [6.0, 0.0, 7.0, 10.0] does not lie in a window of 12 x 10"
    );
    assert_eq!(
        message("4 0 2 3 -1.", "2 0 2 3 -1."),
        "line 24: the turned rectangle [2.0, 0.0, 2.0, 3.0] does not lie in a window of 12 x 10"
    );
    assert_eq!(message("<width>12", "<width>1"), "line 6: windows of 1 x 10 pixels");
    assert_eq!(
        message("<height>10", "<height>18446744073709551615"),
        "line 6: windows of 12 x 18446744073709551615 pixels"
    );
    assert_eq!(message("<height>10</height>", ""), "line 3: <cascade> has no <height>");
    assert!(message("<stageThreshold>0.5", "<stageThreshold>inf").contains("inf is no value"));
    assert!(message("opencv_storage", "storage").starts_with("not XML"));
    let other = Cascade::parse("<svg/>").unwrap_err();
    assert_eq!(other.to_string(), "not a cascade of OpenCV: the file is about <svg>");
    assert!(matches!(Cascade::parse("<opencv_storage/>"), Err(CascadeProblem::Other(_))));
}

#[test]
fn counts_and_sizes_are_bounded() {
    let huge = format!("<opencv_storage><cascade>{}", "<_/>".repeat(2 << 20));
    assert!(Cascade::parse(&huge).is_err());
    let long = format!("<opencv_storage>{}", " ".repeat(17 << 20));
    assert!(matches!(Cascade::parse(&long), Err(CascadeProblem::Large { .. })));
    let nodes = "1 0 0 10. ".repeat(100_000);
    let text = HAAR.replacen("0 -1 0 0.05", &nodes, 1);
    assert!(Cascade::parse(&text).unwrap_err().to_string().contains("a tree of 400000 numbers"));
    let word = "9".repeat(1000);
    let message = Cascade::parse(&HAAR.replacen("BOOST", &word, 1)).unwrap_err().to_string();
    assert!(message.len() < 100, "{message}");
}

/// Bytes of the texts changed one after the other: whatever comes of it, it is an answer, and what is
/// taken for a cascade can be used.
#[test]
fn changed_bytes_never_panic() {
    let picture = halves();
    let mut taken = 0;
    for text in [HAAR, LBP, OLDER] {
        for at in 0..text.len() {
            for byte in *b"09-.<>_ \0" {
                let mut bytes = text.as_bytes().to_vec();
                bytes[at] = byte;
                let Ok(changed) = String::from_utf8(bytes) else { continue };
                let Ok(cascade) = Cascade::parse(&changed) else { continue };
                taken += 1;
                if taken % 50 == 0 {
                    let settings = CascadeSettings::default();
                    let mut detector = CascadeDetector::new(cascade, settings).unwrap();
                    let _ = detector.detect(&picture);
                }
            }
        }
    }
    assert!(taken > 500, "only {taken} changed texts are cascades");
}

#[test]
fn a_cascade_that_takes_everything_is_stopped() {
    let text = HAAR.replace("<stageThreshold>0.5", "<stageThreshold>-9");
    let mut detector =
        CascadeDetector::new(Cascade::parse(&text).unwrap(), CascadeSettings::default()).unwrap();
    let samples = (0..600 * 600).map(|at: u32| (at * 7919 % 251) as u8).collect();
    let picture = Picture::new(600, 600, Channels::Grey, samples).unwrap();
    assert!(matches!(detector.detect(&picture), Err(DetectError::TooMany { .. })));
}

#[test]
fn pictures_of_any_size_can_be_searched() {
    for text in [HAAR, LBP, OLDER] {
        let mut detector =
            CascadeDetector::new(Cascade::parse(text).unwrap(), CascadeSettings::default())
                .unwrap();
        for (width, height) in
            [(1, 1), (12, 10), (11, 100), (13, 11), (7001, 12), (12, 3000), (64, 9)]
        {
            let picture = Picture::filled(width, height, Channels::Rgb, [7, 80, 200]);
            let found = detector.detect(&picture).unwrap();
            assert_eq!(found, [], "{width} x {height}");
        }
    }
    let settings = CascadeSettings { scale_factor: 1.0, ..CascadeSettings::default() };
    assert!(CascadeDetector::new(Cascade::parse(HAAR).unwrap(), settings).is_err());
    let settings = CascadeSettings { scale_factor: f64::NAN, ..settings };
    assert!(CascadeDetector::new(Cascade::parse(HAAR).unwrap(), settings).is_err());
}
