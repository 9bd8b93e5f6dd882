//! What augmentation draws, and what it leaves alone. (Its arithmetic is compared in `pillow.rs`.)
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use bunjae_data::augment::{Augment, Op, RandAugment, RandomCrop, Step, random_for};
use bunjae_data::{Channels, Colour, Fit, Picture, Preprocess};
use proptest::prelude::*;

fn picture(width: usize, height: usize, channels: Channels) -> Picture {
    let samples = (0..width * height * channels.count()).map(|i| (i * 97 % 253) as u8).collect();
    Picture::new(width, height, channels, samples).unwrap()
}

#[test]
fn magnitudes_are_those_of_torchvision() {
    // torchvision 0.29.2, RandAugment()._augmentation_space(31, (47, 61)), at 9 and at 30.
    let expected = [
        (Op::Identity, 0.0, 0.0),
        (Op::ShearX, 0.09, 0.3),
        (Op::ShearY, 0.09, 0.3),
        (Op::TranslateX, 8.293_051, 27.643_505),
        (Op::TranslateY, 6.389_728, 21.299_093),
        (Op::Rotate, 9.0, 30.0),
        (Op::Brightness, 0.27, 0.9),
        (Op::Color, 0.27, 0.9),
        (Op::Contrast, 0.27, 0.9),
        (Op::Sharpness, 0.27, 0.9),
        (Op::Posterize, 7.0, 4.0),
        (Op::Solarize, 178.5, 0.0),
        (Op::AutoContrast, 0.0, 0.0),
        (Op::Equalize, 0.0, 0.0),
    ];
    assert_eq!(expected.map(|(op, ..)| op), Op::ALL);
    for (op, ninth, last) in expected {
        for (level, expected) in [(9, ninth), (30, last)] {
            let found = op.magnitude(level, 31, 61, 47);
            assert!((found - expected).abs() < 1e-5, "{op:?} {level}: {found}");
        }
    }
}

#[test]
fn random_numbers_differ_in_every_part_of_their_place() {
    let mut seen: Vec<u64> = Vec::new();
    for seed in 0..5 {
        for epoch in 0..5 {
            for index in 0..5 {
                seen.push(random_for(seed, epoch, index).bits());
            }
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 125);
}

#[test]
fn random_crops_keep_to_their_area_and_ratio() {
    let crop = RandomCrop { scale: [0.2, 0.6], ratio: [0.5, 2.0] };
    let (mut least, mut most) = (1f64, 0f64);
    for index in 0..2000 {
        let region = crop.region(200, 120, &mut random_for(1, 0, index));
        assert!(region.left + region.width <= 200 && region.top + region.height <= 120);
        let area = (region.width * region.height) as f64 / (200.0 * 120.0);
        let ratio = region.width as f64 / region.height as f64;
        // Sides are whole pixels.
        assert!((0.19..0.61).contains(&area) && (0.48..2.08).contains(&ratio), "{region:?}");
        (least, most) = (least.min(area), most.max(area));
    }
    assert!(least < 0.21 && most > 0.59, "{least} {most}");
    // No part of a line has such proportions: the middle is taken.
    let region = crop.region(1000, 3, &mut random_for(1, 0, 0));
    assert_eq!((region.left, region.width, region.height), (497, 6, 3));
}

#[test]
fn a_fitted_picture_is_not_fitted_again() {
    let fit = Fit::CentreCrop { shorter: 20 };
    let preprocess = Preprocess { fit, ..Preprocess::plain(16, 16, Colour::Rgb) };
    let fitted = preprocess.fitted(picture(50, 40, Channels::Rgb));
    let unchanged = Augment::default().apply(fitted.clone(), &preprocess, &mut random_for(0, 0, 0));
    assert_eq!(unchanged, fitted);
}

#[test]
fn erased_rectangles_have_the_mean_colour_and_the_right_area() {
    let preprocess = Preprocess::imagenet(40, 40);
    let white = Picture::filled(40, 40, Channels::Rgb, [255; 3]);
    let erase = Step::Erase { p: 1.0, scale: [0.1, 0.2], ratio: [0.5, 2.0] };
    let cutout = Step::Cutout { side: 0.5 };
    for (step, least, most) in [(erase, 0.08, 0.22), (cutout, 0.06, 0.2501)] {
        let augment = Augment { crop: None, steps: vec![step] };
        for index in 0..100 {
            let result = augment.apply(white.clone(), &preprocess, &mut random_for(0, 0, index));
            let (pixels, _) = result.samples().as_chunks::<3>();
            let erased = pixels.iter().filter(|pixel| **pixel == [124, 116, 104]).count();
            let kept = pixels.iter().filter(|pixel| **pixel == [255; 3]).count();
            assert_eq!(erased + kept, 1600);
            let share = erased as f64 / 1600.0;
            assert!((least..most).contains(&share), "{augment:?}: {share}");
        }
    }
}

#[test]
fn flips_come_as_often_as_asked() {
    let preprocess = Preprocess::plain(4, 1, Colour::Grey);
    let picture = Picture::new(4, 1, Channels::Grey, vec![1, 2, 3, 4]).unwrap();
    let augment = Augment { crop: None, steps: vec![Step::Flip { p: 0.25 }] };
    let flipped = (0..2000).filter(|&index| {
        let random = &mut random_for(9, 0, index);
        augment.apply(picture.clone(), &preprocess, random).samples() == [4, 3, 2, 1]
    });
    // 500, with a standard deviation of 19.
    assert!((430..570).contains(&flipped.count()));
}

#[test]
fn numbers_outside_their_range_are_refused() {
    let refused = |step: Step| Augment { crop: None, steps: vec![step] }.check().is_err();
    assert!(refused(Step::Flip { p: f64::NAN }));
    assert!(refused(Step::Shift { x: 0.1, y: -0.1 }));
    let jitter = |hue| Step::ColourJitter { brightness: 1.0, contrast: 0.0, saturation: 0.0, hue };
    assert!(refused(jitter(0.51)) && !refused(jitter(0.5)));
    assert!(refused(Step::RandAugment(RandAugment { ops: 2, magnitude: 31, bins: 31 })));
    assert!(refused(Step::Erase { p: 0.5, scale: [0.0, 0.3], ratio: [0.3, 3.0] }));
    assert!(refused(Step::Erase { p: 0.5, scale: [0.1, 0.3], ratio: [3.0, 0.3] }));
    assert!(refused(Step::Cutout { side: 1.1 }));
    let crop = Some(RandomCrop { scale: [0.5, 1.5], ratio: [1.0, 1.0] });
    assert!(Augment { crop, steps: vec![] }.check().is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Pictures of a single row or column, of one pixel, in grey: nothing may go out of bounds.
    #[test]
    fn every_step_takes_every_picture(
        (width, height) in (1..20usize, 1..20usize), grey in any::<bool>(), index in any::<u64>(),
    ) {
        let (channels, colour) =
            if grey { (Channels::Grey, Colour::Grey) } else { (Channels::Rgb, Colour::Rgb) };
        let preprocess = Preprocess::plain(width, height, colour);
        let augment = Augment {
            crop: Some(RandomCrop::default()),
            steps: vec![
                Step::Flip { p: 0.5 },
                Step::Shift { x: 1.0, y: 1.0 },
                Step::ColourJitter { brightness: 1.0, contrast: 1.0, saturation: 1.0, hue: 0.5 },
                Step::RandAugment(RandAugment { ops: 6, magnitude: 30, bins: 31 }),
                Step::Erase { p: 1.0, scale: [0.1, 1.0], ratio: [0.1, 10.0] },
                Step::Cutout { side: 1.0 },
            ],
        };
        augment.check().unwrap();
        let source = picture(height + 3, width + 2, channels);
        let result = augment.apply(source.clone(), &preprocess, &mut random_for(1, 2, index));
        prop_assert_eq!((result.width(), result.height()), (width, height));
        let again = augment.apply(source, &preprocess, &mut random_for(1, 2, index));
        prop_assert_eq!(result, again);
    }
}
