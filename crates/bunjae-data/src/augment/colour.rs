//! Changes of colour, with the arithmetic of Pillow's `ImageEnhance` and `ImageOps`, which
//! torchvision calls. Grey pictures are taken wherever that has a meaning; where it has none (hue,
//! saturation) they stay as they are.

use crate::picture::{Channels, Picture, luma};

/// `from + factor * (to - from)` in f32, cut off to a whole sample within 0 and 255.
fn blend(from: u8, to: u8, factor: f32) -> u8 {
    let (from, to) = (f32::from(from), f32::from(to));
    // The conversion cuts off and stops at both ends.
    (from + factor * (to - from)) as u8
}

/// Towards black (0), unchanged (1), brighter (above 1).
pub fn brightness(picture: &mut Picture, factor: f32) {
    map(picture, |sample| blend(0, sample, factor));
}

/// Towards the mean brightness (0), unchanged (1), apart from it (above 1).
pub fn contrast(picture: &mut Picture, factor: f32) {
    let samples = picture.samples();
    let (sum, count) = match picture.channels() {
        Channels::Grey => (samples.iter().map(|&s| u64::from(s)).sum::<u64>(), samples.len()),
        Channels::Rgb => {
            let (pixels, _) = samples.as_chunks::<3>();
            let sum = pixels.iter().map(|&[r, g, b]| u64::from(luma(r, g, b))).sum();
            (sum, pixels.len())
        }
    };
    let mean = (sum as f64 / count.max(1) as f64 + 0.5) as u8;
    map(picture, |sample| blend(mean, sample, factor));
}

/// Towards grey (0), unchanged (1), more colourful (above 1).
pub fn saturation(picture: &mut Picture, factor: f32) {
    if picture.channels() == Channels::Rgb {
        let (pixels, _) = picture.samples_mut().as_chunks_mut::<3>();
        for pixel in pixels {
            let grey = luma(pixel[0], pixel[1], pixel[2]);
            *pixel = pixel.map(|sample| blend(grey, sample, factor));
        }
    }
}

/// Towards a smoothed picture (0), unchanged (1), sharper (above 1). The smoothing weights the
/// pixel by 5 and its eight neighbours by 1; the outermost pixels stay as they are.
pub fn sharpness(picture: &mut Picture, factor: f32) {
    let (width, height) = (picture.width(), picture.height());
    let (stride, count) = (picture.stride(), picture.channels().count());
    if width < 3 || height < 3 {
        return;
    }
    let original = picture.samples().to_vec();
    for y in 1..height - 1 {
        for at in y * stride + count..(y + 1) * stride - count {
            let row = |start: usize| {
                [start - count, start, start + count]
                    .map(|i| u32::from(original[i]))
                    .iter()
                    .sum::<u32>()
            };
            let sum = row(at - stride) + row(at) + row(at + stride) + 4 * u32::from(original[at]);
            let smooth = ((2 * sum + 13) / 26) as u8;
            picture.samples_mut()[at] = blend(smooth, original[at], factor);
        }
    }
}

/// Only the `bits` highest bits are kept.
pub fn posterize(picture: &mut Picture, bits: u32) {
    let mask = !(0xff_u32 >> bits.min(8)) as u8;
    map(picture, |sample| sample & mask);
}

/// Samples of at least `threshold` are inverted.
pub fn solarize(picture: &mut Picture, threshold: f64) {
    map(picture, |sample| if f64::from(sample) < threshold { sample } else { 255 - sample });
}

/// Each channel is stretched to run from 0 to 255.
pub fn autocontrast(picture: &mut Picture) {
    each_channel(picture, |histogram| {
        let low = histogram.iter().position(|&count| count > 0).unwrap_or(0);
        let high = histogram.iter().rposition(|&count| count > 0).unwrap_or(0);
        let scale = (high > low).then(|| 255.0 / (high - low) as f64);
        Box::new(move |sample| match scale {
            Some(scale) => (sample as f64 * scale + -(low as f64) * scale) as u8,
            None => sample as u8,
        })
    });
}

/// Each channel is spread so that all samples are about equally frequent.
pub fn equalize(picture: &mut Picture) {
    each_channel(picture, |histogram| {
        let last = histogram.iter().rev().find(|&&count| count > 0).copied().unwrap_or(0);
        let step = (histogram.iter().sum::<u64>() - last) / 255;
        let mut sum = step / 2;
        let table: Vec<u8> = histogram
            .iter()
            .enumerate()
            .map(|(sample, &count)| {
                let level = sum.checked_div(step).map_or(sample as u64, |level| level.min(255));
                sum += count;
                level as u8
            })
            .collect();
        Box::new(move |sample| table.get(sample).copied().unwrap_or(0))
    });
}

/// Hue turned by a share of the circle, -0.5 to 0.5, in Pillow's 8-bit HSV.
pub fn hue(picture: &mut Picture, turn: f64) {
    if picture.channels() == Channels::Rgb {
        // Cut off towards 0, and added modulo 256.
        let turn = (turn * 255.0) as i32 as u8;
        let (pixels, _) = picture.samples_mut().as_chunks_mut::<3>();
        for pixel in pixels {
            let [hue, saturation, value] = to_hsv(*pixel);
            *pixel = from_hsv([hue.wrapping_add(turn), saturation, value]);
        }
    }
}

fn to_hsv([red, green, blue]: [u8; 3]) -> [u8; 3] {
    let most = red.max(green).max(blue);
    let least = red.min(green).min(blue);
    if most == least {
        return [0, 0, most];
    }
    let range = f32::from(most - least);
    let saturation = range / f32::from(most);
    let [r, g, b] = [red, green, blue].map(|sample| f32::from(most - sample) / range);
    let hue = if red == most {
        b - g
    } else if green == most {
        // As in Pillow, sums with a whole number are formed in f64.
        (2.0 + f64::from(r) - f64::from(b)) as f32
    } else {
        (4.0 + f64::from(g) - f64::from(r)) as f32
    };
    let hue = ((f64::from(hue) / 6.0 + 1.0) % 1.0) as f32;
    [(f64::from(hue) * 255.0) as u8, (f64::from(saturation) * 255.0) as u8, most]
}

fn from_hsv([hue, saturation, value]: [u8; 3]) -> [u8; 3] {
    if saturation == 0 {
        return [value; 3];
    }
    let h = f64::from(hue) * 6.0 / 255.0;
    let s = (f64::from(saturation) / 255.0) as f32;
    let sector = h.floor();
    let f = (h - sector) as f32;
    let v = f64::from(value);
    let (s, f) = (f64::from(s), f64::from(f));
    let p = (v * (1.0 - s)).round() as u8;
    let q = (v * (1.0 - s * f)).round() as u8;
    let t = (v * (1.0 - s * (1.0 - f))).round() as u8;
    match sector as i32 % 6 {
        0 => [value, t, p],
        1 => [q, value, p],
        2 => [p, value, t],
        3 => [p, q, value],
        4 => [t, p, value],
        _ => [value, p, q],
    }
}

fn map(picture: &mut Picture, function: impl Fn(u8) -> u8) {
    let table: [u8; 256] = std::array::from_fn(|sample| function(sample as u8));
    for sample in picture.samples_mut() {
        *sample = table[usize::from(*sample)];
    }
}

/// Applies to each channel the function that `make` makes of its histogram.
fn each_channel(picture: &mut Picture, make: impl Fn(&[u64; 256]) -> Box<dyn Fn(usize) -> u8>) {
    let count = picture.channels().count();
    for channel in 0..count {
        let mut histogram = [0; 256];
        for &sample in picture.samples().iter().skip(channel).step_by(count) {
            histogram[usize::from(sample)] += 1;
        }
        let function = make(&histogram);
        let table: [u8; 256] = std::array::from_fn(function);
        for sample in picture.samples_mut().iter_mut().skip(channel).step_by(count) {
            *sample = table[usize::from(*sample)];
        }
    }
}
