//! Resizing, fitting and every operation of augmentation give the bits of Pillow and torchvision.
//!
//! The hashes in `pillow.golden` were printed by `pillow_goldens.py` beside it.
#![allow(clippy::unwrap_used, reason = "a test stops at what it does not expect")]

use bunjae_data::augment::{Op, colour};
use bunjae_data::{Channels, Colour, Filter, Fit, Picture, Preprocess, resize};

/// The picture that `pillow_goldens.py` makes.
fn picture(width: usize, height: usize, channels: Channels) -> Picture {
    let count = channels.count();
    let mut samples = Vec::new();
    for y in 0..height {
        for x in 0..width {
            for c in 0..count {
                let value = (x * 37 + y * 61 + c * 97 + x * y * 13 + (x * x + y) % 7 * 5 * c) % 256;
                let value = if (x + y) % 5 == 0 { value / 3 + 40 } else { value };
                samples.push(value as u8);
            }
        }
    }
    Picture::new(width, height, channels, samples).unwrap()
}

/// FNV-1a, 64 bits.
fn fnv(picture: &Picture) -> u64 {
    picture.samples().iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

fn number(text: &str) -> f64 {
    text.parse().unwrap()
}

/// What the words of a golden line ask for.
fn made(words: &[&str]) -> Picture {
    let channels = if words[1] == "L" { Channels::Grey } else { Channels::Rgb };
    let mut image = match words[1] {
        "flat" => Picture::filled(9, 7, Channels::Rgb, [10, 200, 200]),
        _ => picture(61, 47, channels),
    };
    match words[0] {
        "resize" => {
            let filter: Filter = serde_json::from_str(&format!("\"{}\"", words[2])).unwrap();
            resize(&image, number(words[3]) as usize, number(words[4]) as usize, filter)
        }
        "crop" => {
            let side = number(words[3]) as usize;
            let colour = if channels == Channels::Grey { Colour::Grey } else { Colour::Rgb };
            let fit = Fit::CentreCrop { shorter: number(words[2]) as usize };
            Preprocess { fit, ..Preprocess::plain(side, side, colour) }.fitted(image)
        }
        "op" => {
            let op: Op = serde_json::from_str(&format!("\"{}\"", words[2])).unwrap();
            let level = number(words[3]) as usize;
            let magnitude = op.magnitude(level, 31, image.width(), image.height());
            op.apply(image, magnitude * number(words[4]))
        }
        name => {
            let factor = number(words[2]);
            match name {
                "brightness" => colour::brightness(&mut image, factor as f32),
                "contrast" => colour::contrast(&mut image, factor as f32),
                "saturation" => colour::saturation(&mut image, factor as f32),
                "sharpness" => colour::sharpness(&mut image, factor as f32),
                "hue" => colour::hue(&mut image, factor),
                _ => panic!("unknown golden {name}"),
            }
            image
        }
    }
}

#[test]
fn every_result_has_the_bits_of_pillow() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for line in include_str!("pillow.golden").lines().filter(|line| !line.starts_with('#')) {
        let (name, numbers) = line.split_once(": ").unwrap();
        let numbers: Vec<&str> = numbers.split(' ').collect();
        let words: Vec<&str> = name.split(' ').collect();
        let picture = made(&words);
        let hash = format!("{:#018x}", fnv(&picture));
        let sides = [picture.width().to_string(), picture.height().to_string()];
        if sides != [numbers[0], numbers[1]] || hash != numbers[2] {
            wrong.push(format!("{name}: {sides:?} {hash} instead of {numbers:?}"));
        }
        count += 1;
    }
    assert!(wrong.is_empty(), "{} of {count} differ:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(count, 340, "the golden file is not whole");
}
