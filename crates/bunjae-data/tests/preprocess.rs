//! One rule from the picture to the input, which survives its text form.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use bunjae_data::{Channels, Colour, Filter, Fit, Layout, Picture, Preprocess, resize};
use proptest::prelude::*;

fn picture(width: usize, height: usize) -> Picture {
    let samples = (0..width * height * 3).map(|i| (i * 31 % 251) as u8).collect();
    Picture::new(width, height, Channels::Rgb, samples).unwrap()
}

fn values(preprocess: &Preprocess, picture: Picture) -> Vec<f32> {
    preprocess.apply(picture).unwrap().elements().unwrap().to_vec()
}

#[test]
fn samples_become_planes_of_normalised_numbers() {
    let picture = Picture::new(2, 1, Channels::Rgb, vec![0, 51, 255, 255, 102, 0]).unwrap();
    let plain = Preprocess::plain(2, 1, Colour::Rgb);
    assert_eq!(values(&plain, picture.clone()), [0.0, 1.0, 0.2, 0.4, 1.0, 0.0]);
    let bgr = Preprocess { colour: Colour::Bgr, range: [0.0, 255.0], ..plain };
    assert_eq!(values(&bgr, picture.clone()), [255.0, 0.0, 51.0, 102.0, 0.0, 255.0]);
    let imagenet = Preprocess::imagenet(2, 1);
    let expected = |sample: f64, mean: f32, std: f32| {
        ((sample / 255.0 - f64::from(mean)) / f64::from(std)) as f32
    };
    let found = values(&imagenet, picture.clone());
    assert_eq!(found[0], expected(0.0, 0.485, 0.229));
    assert_eq!(found[3], expected(102.0, 0.456, 0.224));
    let grey = values(&Preprocess::plain(2, 1, Colour::Grey), picture);
    // 0.587 * 51 + 0.114 * 255 = 59.0, 0.299 * 255 + 0.587 * 102 = 136.1
    assert_eq!(grey, [(59.0f64 / 255.0) as f32, (136.0f64 / 255.0) as f32]);
}

#[test]
fn a_layout_orders_the_same_numbers_otherwise() {
    let picture = picture(5, 4);
    let planes = Preprocess { colour: Colour::Bgr, ..Preprocess::imagenet(5, 4) };
    let pixels = Preprocess { layout: Layout::Hwc, ..planes.clone() };
    assert_eq!((planes.shape(), pixels.shape()), ([3, 4, 5], [4, 5, 3]));
    let (planes, pixels) = (values(&planes, picture.clone()), values(&pixels, picture));
    for (place, value) in pixels.iter().enumerate() {
        assert_eq!(*value, planes[place % 3 * 20 + place / 3]);
    }
}

#[test]
fn the_mean_colour_is_next_to_zero_in_the_input() {
    let bgr = Preprocess {
        colour: Colour::Bgr,
        mean: vec![0.406, 0.456, 0.485],
        ..Preprocess::imagenet(4, 4)
    };
    for preprocess in [Preprocess::imagenet(4, 4), bgr] {
        let filled = Picture::filled(4, 4, Channels::Rgb, preprocess.mean_colour());
        assert!(values(&preprocess, filled).iter().all(|value| value.abs() < 0.01));
    }
}

#[test]
fn a_letterbox_keeps_proportions_in_the_middle_of_its_ground() {
    let fit = Fit::Letterbox { ground: [1, 2, 3] };
    let preprocess = Preprocess { fit, ..Preprocess::plain(8, 8, Colour::Rgb) };
    let fitted = preprocess.fitted(Picture::filled(40, 20, Channels::Rgb, [200; 3]));
    let column: Vec<u8> = fitted.rows().map(|row| row[12]).collect();
    assert_eq!(column, [1, 1, 200, 200, 200, 200, 1, 1]);
    let tall = preprocess.fitted(Picture::filled(3, 300, Channels::Rgb, [200; 3]));
    let row: Vec<u8> = tall.rows().next().unwrap().iter().step_by(3).copied().collect();
    assert_eq!(row, [1, 1, 1, 200, 1, 1, 1, 1]);
}

#[test]
fn records_without_meaning_are_refused() {
    let refused = |change: fn(&mut Preprocess)| {
        let mut preprocess = Preprocess::imagenet(8, 8);
        change(&mut preprocess);
        preprocess.check().unwrap_err().to_string()
    };
    assert_eq!(refused(|p| p.width = 0), "width: 0 is not within 1 and 16384");
    assert_eq!(refused(|p| p.height = 1 << 40), "height: 1099511627776 is not within 1 and 16384");
    assert_eq!(refused(|p| p.colour = Colour::Grey), "mean: 3 values for 1 channels");
    assert_eq!(refused(|p| p.std[1] = 0.0), "std: 0 is not above 0");
    assert_eq!(refused(|p| p.mean[0] = f32::NAN), "mean: NaN is no number");
    assert_eq!(refused(|p| p.range = [1.0, 1.0]), "range: 1 to 1 is no range");
    let small = refused(|p| p.fit = Fit::CentreCrop { shorter: 7 });
    assert_eq!(small, "fit: shorter = 7 does not cover 8 x 8");
}

#[test]
fn the_text_form_is_fixed() {
    let fit = Fit::CentreCrop { shorter: 256 };
    let preprocess = Preprocess { fit, ..Preprocess::imagenet(224, 224) };
    let text = preprocess.to_text().unwrap();
    assert_eq!(
        text,
        r#"{"width":224,"height":224,"colour":"rgb","fit":{"centre_crop":{"shorter":256}},"filter":"bilinear","range":[0.0,1.0],"mean":[0.485,0.456,0.406],"std":[0.229,0.224,0.225]}"#
    );
    assert_eq!(Preprocess::from_text(&text).unwrap(), preprocess);
    for broken in ["", "{}", &text.replace("rgb", "xyz"), &text.replace("\"mean\"", "\"maen\"")] {
        assert!(Preprocess::from_text(broken).is_err(), "{broken}");
    }
    // What parses has been checked as well.
    assert!(Preprocess::from_text(&text.replace("256", "100")).is_err());
}

#[test]
fn constant_pictures_stay_constant() {
    for filter in Filter::ALL {
        for sample in [0, 1, 127, 254, 255] {
            let picture = Picture::filled(37, 23, Channels::Grey, [sample; 3]);
            let resized = resize(&picture, 11, 40, filter);
            assert!(resized.samples().iter().all(|&s| s == sample), "{filter:?} {sample}");
        }
    }
}

fn any_preprocess() -> impl Strategy<Value = Preprocess> {
    let fit = prop_oneof![
        Just(Fit::Stretch),
        (0..40usize).prop_map(|shorter| Fit::CentreCrop { shorter: 40 + shorter }),
        any::<[u8; 3]>().prop_map(|ground| Fit::Letterbox { ground }),
    ];
    let colour = prop_oneof![Just(Colour::Grey), Just(Colour::Rgb), Just(Colour::Bgr)];
    let filter = prop::sample::select(Filter::ALL.to_vec());
    (1..40usize, 1..40usize, colour, fit, filter, any::<[u16; 8]>()).prop_map(
        |(width, height, colour, fit, filter, numbers)| {
            let channels = colour.channels().count();
            let [low, high, rest @ ..] = numbers.map(|n| f32::from(n) / 777.0);
            Preprocess {
                width,
                height,
                colour,
                layout: if numbers[0] % 2 == 0 { Layout::Chw } else { Layout::Hwc },
                fit,
                filter,
                range: [low.min(high), low.max(high) + 0.1],
                mean: rest[..channels].to_vec(),
                std: rest[3..3 + channels].iter().map(|std| std + 0.01).collect(),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(150) })]

    #[test]
    fn every_record_fits_every_picture_and_parses_back(
        preprocess in any_preprocess(), width in 1..90usize, height in 1..90usize,
    ) {
        prop_assert!(preprocess.check().is_ok());
        let fitted = preprocess.fitted(picture(width, height));
        prop_assert_eq!((fitted.width(), fitted.height()), (preprocess.width, preprocess.height));
        let text = preprocess.to_text().unwrap();
        prop_assert_eq!(Preprocess::from_text(&text).unwrap(), preprocess);
    }
}
