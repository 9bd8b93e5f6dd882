//! Boxes and labels drawn into a picture, in plain Rust.
//!
//! Letters are those of Noto Sans Mono, which `noto-sans-mono-bitmap` brings along as bitmaps: Latin
//! letters of Western Europe. Others are drawn as a box; the page in the browser shows every script.

use bunjae_data::{Channels, Picture, Region};
use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster};

use crate::frame::{Face, Seen};

/// One colour for each class, again from the start after the last: told apart by people who see
/// colours otherwise too (Okabe and Ito, 2008, without black and yellow).
pub const COLOURS: [[u8; 3]; 6] =
    [[0, 158, 115], [213, 94, 0], [86, 180, 233], [230, 159, 0], [204, 121, 167], [0, 114, 178]];

/// The colour of a box that no model was asked about.
const UNKNOWN: [u8; 3] = [200, 200, 200];

const INK: [u8; 3] = [255, 255, 255];

/// Draws the faces of a frame into a copy of its picture.
pub fn draw(seen: &Seen, picture: &mut Picture) {
    let source = &seen.frame.picture;
    let (width, height) = (source.width(), source.height());
    let Some(samples) = picture.reshape(width, height, source.channels()) else { return };
    samples.copy_from_slice(source.samples());
    for face in &seen.faces {
        let (colour, text) = (colour(face), label(seen, face));
        outline(picture, face.found.area, thickness(height), colour);
        if !text.is_empty() {
            tag(picture, face.found.area, &text, colour);
        }
    }
}

fn colour(face: &Face) -> [u8; 3] {
    face.guesses.first().map_or(UNKNOWN, |guess| COLOURS[guess.class % COLOURS.len()])
}

/// What is written at a face: its likeliest class.
fn label(seen: &Seen, face: &Face) -> String {
    let Some((model, guess)) = seen.model.as_ref().zip(face.guesses.first()) else {
        return String::new();
    };
    format!("{} {:.0} %", model.class(guess.class), f64::from(guess.probability) * 100.0)
}

/// A line that is seen on large pictures too.
fn thickness(height: usize) -> usize {
    (height / 200).clamp(2, 8)
}

/// The letters that fit a picture of this height.
fn size(height: usize) -> RasterHeight {
    match height {
        0..400 => RasterHeight::Size16,
        400..800 => RasterHeight::Size20,
        800..1200 => RasterHeight::Size24,
        _ => RasterHeight::Size32,
    }
}

/// Lays a colour over a pixel: `cover` of 255 parts of it.
fn blend(picture: &mut Picture, x: usize, y: usize, colour: [u8; 3], cover: u8) {
    if x >= picture.width() || y >= picture.height() {
        return;
    }
    let count = picture.channels().count();
    let start = (y * picture.width() + x) * count;
    let colour = match picture.channels() {
        Channels::Rgb => colour,
        Channels::Grey => [colour[1]; 3],
    };
    let pixel = picture.samples_mut().get_mut(start..start + count);
    for (sample, colour) in pixel.into_iter().flatten().zip(colour) {
        let (over, under) = (u32::from(cover), 255 - u32::from(cover));
        *sample = ((u32::from(colour) * over + u32::from(*sample) * under + 127) / 255) as u8;
    }
}

fn fill(picture: &mut Picture, area: Region, colour: [u8; 3]) {
    let right = (area.left + area.width).min(picture.width());
    let bottom = (area.top + area.height).min(picture.height());
    for y in area.top..bottom {
        for x in area.left..right {
            blend(picture, x, y, colour, 255);
        }
    }
}

/// A frame whose outer edge is the area's.
fn outline(picture: &mut Picture, area: Region, line: usize, colour: [u8; 3]) {
    let Region { left, top, width, height } = area;
    let (across, down) = (line.min(width), line.min(height));
    let edges = [
        Region { left, top, width, height: down },
        Region { left, top: top + height - down, width, height: down },
        Region { left, top, width: across, height },
        Region { left: left + width - across, top, width: across, height },
    ];
    for edge in edges {
        fill(picture, edge, colour);
    }
}

/// The label on a ground of its colour: above the box, or inside where there is no room above.
fn tag(picture: &mut Picture, area: Region, text: &str, colour: [u8; 3]) {
    let size = size(picture.height());
    let letter = noto_sans_mono_bitmap::get_raster_width(FontWeight::Regular, size);
    let (pad, high) = (4, size.val() + 2);
    let wide = text.chars().count() * letter + 2 * pad;
    let left = area.left.min(picture.width().saturating_sub(wide));
    let top = area.top.checked_sub(high).unwrap_or(area.top);
    fill(picture, Region { left, top, width: wide, height: high }, colour);
    for (place, character) in text.chars().enumerate() {
        glyph(picture, character, size, left + pad + place * letter, top + 1);
    }
}

fn glyph(picture: &mut Picture, character: char, size: RasterHeight, left: usize, top: usize) {
    let raster = get_raster(character, FontWeight::Regular, size);
    let Some(raster) = raster else {
        let width = noto_sans_mono_bitmap::get_raster_width(FontWeight::Regular, size);
        let height = size.val() * 3 / 5;
        let area = Region { left, top: top + size.val() / 5, width: width - 1, height };
        return outline(picture, area, 1, INK);
    };
    for (y, row) in raster.rows().enumerate() {
        for (x, &cover) in row.iter().enumerate() {
            if cover > 0 {
                blend(picture, left + x, top + y, INK, cover);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blank() -> Picture {
        Picture::filled(60, 40, Channels::Rgb, [10; 3])
    }

    fn at(picture: &Picture, x: usize, y: usize) -> [u8; 3] {
        let start = (y * picture.width() + x) * 3;
        [0, 1, 2].map(|place| picture.samples()[start + place])
    }

    #[test]
    fn an_outline_is_on_the_edge_and_nowhere_else() {
        let mut picture = blank();
        outline(&mut picture, Region { left: 10, top: 5, width: 20, height: 15 }, 2, [255; 3]);
        for (x, y, on) in [(10, 5, true), (29, 19, true), (11, 12, true), (12, 7, false)] {
            assert_eq!(at(&picture, x, y) == [255; 3], on, "{x} {y}");
        }
        assert_eq!(at(&picture, 30, 5), [10; 3]);
        assert_eq!(at(&picture, 9, 5), [10; 3]);
    }

    #[test]
    fn boxes_and_labels_at_any_place_stay_inside() {
        for (left, top, width, height) in
            [(0, 0, 60, 40), (55, 35, 5, 5), (59, 39, 1, 1), (58, 0, 2, 40), (0, 39, 60, 1)]
        {
            let mut picture = blank();
            let area = Region { left, top, width, height };
            outline(&mut picture, area, 3, [255; 3]);
            tag(&mut picture, area, "a label that is far too long 마스크", [255, 0, 0]);
        }
    }

    #[test]
    fn letters_are_drawn_and_unknown_ones_are_boxes() {
        let ink = |character| {
            let mut picture = blank();
            glyph(&mut picture, character, RasterHeight::Size16, 5, 5);
            picture.samples().iter().filter(|&&sample| sample > 128).count()
        };
        assert!(ink('m') > ink('i') && ink('i') > 0);
        assert_eq!(ink(' '), 0);
        assert!(ink('마') > 0);
        assert!(ink('é') > 0);
    }
}
