//! From the pixels of cameras and video files to RGB.
//!
//! Colours are those of ITU-R BT.601. JPEG, and what cameras say is full range, use all of 0 to 255;
//! video uses 16 to 235 for brightness and 16 to 240 for colour.

use bunjae_data::{Channels, Picture};

/// Which samples stand for black and white.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    /// 0 and 255.
    Full,
    /// 16 and 235.
    Video,
}

/// The factors of a range, in 16-bit fixed point.
#[derive(Clone, Copy)]
struct Factors {
    black: i32,
    luma: i32,
    red_cr: i32,
    green_cb: i32,
    green_cr: i32,
    blue_cb: i32,
}

impl Range {
    const fn factors(self) -> Factors {
        // BT.601: red = y + 1.402 cr, green = y - 0.344136 cb - 0.714136 cr, blue = y + 1.772 cb;
        // for video times 255/219 for brightness and 255/224 for colour.
        match self {
            Range::Full => Factors {
                black: 0,
                luma: 65_536,
                red_cr: 91_881,
                green_cb: 22_553,
                green_cr: 46_802,
                blue_cb: 116_130,
            },
            Range::Video => Factors {
                black: 16,
                luma: 76_309,
                red_cr: 104_597,
                green_cb: 25_675,
                green_cr: 53_279,
                blue_cb: 132_201,
            },
        }
    }
}

/// What a pair of colour samples adds to brightness.
#[derive(Clone, Copy)]
struct Tint {
    red: i32,
    green: i32,
    blue: i32,
}

impl Factors {
    fn tint(&self, cb: u8, cr: u8) -> Tint {
        let (cb, cr) = (i32::from(cb) - 128, i32::from(cr) - 128);
        Tint {
            red: self.red_cr * cr,
            green: -(self.green_cb * cb + self.green_cr * cr),
            blue: self.blue_cb * cb,
        }
    }

    fn pixel(&self, luma: u8, tint: Tint) -> [u8; 3] {
        let luma = (i32::from(luma) - self.black) * self.luma + 0x8000;
        [tint.red, tint.green, tint.blue].map(|add| ((luma + add) >> 16).clamp(0, 255) as u8)
    }
}

/// Planes of brightness and colour; `None` where the bytes are too few for the sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Planar<'a> {
    pub(crate) width: usize,
    pub(crate) height: usize,
    pub(crate) luma: &'a [u8],
    /// Cb and Cr; none for grey.
    pub(crate) chroma: Option<[&'a [u8]; 2]>,
    /// How many columns and rows share a colour: 2, 2 for 4:2:0; 2, 1 for 4:2:2; 1, 1 for 4:4:4.
    pub(crate) shared: [usize; 2],
    pub(crate) range: Range,
}

/// Converts planes.
pub(crate) fn planar(planes: Planar<'_>, picture: &mut Picture) -> Option<()> {
    let Planar { width, height, luma, chroma, shared: [across, down], range } = planes;
    let factors = range.factors();
    let samples = picture.reshape(width, height, Channels::Rgb)?;
    let chroma_width = width.div_ceil(across);
    let rows = samples.chunks_exact_mut(width * 3).zip(luma.chunks_exact(width));
    if luma.len() < width * height {
        return None;
    }
    for (y, (row, luma)) in rows.enumerate() {
        let (pixels, _) = row.as_chunks_mut::<3>();
        let Some([cb, cr]) = chroma else {
            let grey = factors.tint(128, 128);
            for (pixel, &luma) in pixels.iter_mut().zip(luma) {
                *pixel = factors.pixel(luma, grey);
            }
            continue;
        };
        let start = (y / down) * chroma_width;
        let cb = cb.get(start..start + chroma_width)?;
        let cr = cr.get(start..start + chroma_width)?;
        let groups = pixels.chunks_mut(across).zip(luma.chunks(across));
        for ((pixels, luma), (&cb, &cr)) in groups.zip(cb.iter().zip(cr)) {
            let tint = factors.tint(cb, cr);
            for (pixel, &luma) in pixels.iter_mut().zip(luma) {
                *pixel = factors.pixel(luma, tint);
            }
        }
    }
    Some(())
}

/// `Y0 Cb Y1 Cr` for each pair of pixels, rows without padding.
pub(crate) fn yuyv(bytes: &[u8], sides: [usize; 2], picture: &mut Picture) -> Option<()> {
    let [width, height] = sides;
    let factors = Range::Video.factors();
    let stride = width.div_ceil(2).checked_mul(4)?;
    if bytes.len() < stride.checked_mul(height)? {
        return None;
    }
    let samples = picture.reshape(width, height, Channels::Rgb)?;
    for (row, bytes) in samples.chunks_exact_mut(width * 3).zip(bytes.chunks_exact(stride)) {
        let (pixels, _) = row.as_chunks_mut::<3>();
        let (groups, _) = bytes.as_chunks::<4>();
        for (pixels, &[first, cb, second, cr]) in pixels.chunks_mut(2).zip(groups) {
            let tint = factors.tint(cb, cr);
            for (pixel, luma) in pixels.iter_mut().zip([first, second]) {
                *pixel = factors.pixel(luma, tint);
            }
        }
    }
    Some(())
}

/// A plane of brightness and one of `Cb Cr` for each 2 x 2 pixels, rows without padding.
pub(crate) fn nv12(bytes: &[u8], sides: [usize; 2], picture: &mut Picture) -> Option<()> {
    let [width, height] = sides;
    let factors = Range::Video.factors();
    let chroma_stride = width.div_ceil(2).checked_mul(2)?;
    let luma_size = width.checked_mul(height)?;
    let size = luma_size.checked_add(chroma_stride.checked_mul(height.div_ceil(2))?)?;
    if bytes.len() < size {
        return None;
    }
    let (luma, chroma) = bytes.split_at(luma_size);
    let samples = picture.reshape(width, height, Channels::Rgb)?;
    let rows = samples.chunks_exact_mut(width * 3).zip(luma.chunks_exact(width));
    for (y, (row, luma)) in rows.enumerate() {
        let start = (y / 2) * chroma_stride;
        let (pairs, _) = chroma.get(start..start + chroma_stride)?.as_chunks::<2>();
        let (pixels, _) = row.as_chunks_mut::<3>();
        for ((pixels, luma), &[cb, cr]) in pixels.chunks_mut(2).zip(luma.chunks(2)).zip(pairs) {
            let tint = factors.tint(cb, cr);
            for (pixel, &luma) in pixels.iter_mut().zip(luma) {
                *pixel = factors.pixel(luma, tint);
            }
        }
    }
    Some(())
}

/// Planes of 4:2:0 in full or video range, for writing: brightness, Cb, Cr, one after the other.
pub(crate) fn to_i420(picture: &Picture, bytes: &mut Vec<u8>) {
    let (width, height) = (picture.width(), picture.height());
    let (half_width, half_height) = (width.div_ceil(2), height.div_ceil(2));
    bytes.clear();
    bytes.reserve(width * height + 2 * half_width * half_height);
    let count = picture.channels().count();
    let colour = |pixel: &[u8]| match *pixel {
        [red, green, blue] => [red, green, blue].map(i32::from),
        [grey, ..] => [i32::from(grey); 3],
        [] => [0; 3],
    };
    // The inverse of the factors above, for video range: 219/255 and 224/255 of BT.601's.
    for pixel in picture.samples().chunks_exact(count) {
        let [red, green, blue] = colour(pixel);
        let luma = 16_829 * red + 33_039 * green + 6_416 * blue;
        bytes.push(((luma + 0x8000) >> 16) as u8 + 16);
    }
    for [of_red, of_green, of_blue] in [[-9_714, -19_070, 28_784], [28_784, -24_103, -4_681]] {
        for y in 0..half_height {
            for x in 0..half_width {
                let mut sum = [0; 3];
                let mut number = 0;
                for y in (2 * y)..(2 * y + 2).min(height) {
                    for x in (2 * x)..(2 * x + 2).min(width) {
                        let start = (y * width + x) * count;
                        let pixel =
                            colour(picture.samples().get(start..start + count).unwrap_or(&[]));
                        for (sum, sample) in sum.iter_mut().zip(pixel) {
                            *sum += sample;
                        }
                        number += 1;
                    }
                }
                let [red, green, blue] = sum.map(|sum| (sum + number / 2) / number.max(1));
                let value = of_red * red + of_green * green + of_blue * blue;
                bytes.push((((value + 0x8000) >> 16) + 128).clamp(0, 255) as u8);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn empty() -> Picture {
        Picture::filled(1, 1, Channels::Grey, [0; 3])
    }

    /// BT.601 in f64, as the reference.
    fn reference(luma: f64, cb: f64, cr: f64, range: Range) -> [u8; 3] {
        let (y, cb, cr) = match range {
            Range::Full => (luma, cb - 128.0, cr - 128.0),
            Range::Video => (
                (luma - 16.0) * 255.0 / 219.0,
                (cb - 128.0) * 255.0 / 224.0,
                (cr - 128.0) * 255.0 / 224.0,
            ),
        };
        let (kr, kb) = (0.299, 0.114);
        let kg = 1.0 - kr - kb;
        let red = y + 2.0 * (1.0 - kr) * cr;
        let blue = y + 2.0 * (1.0 - kb) * cb;
        let green = (y - kr * red - kb * blue) / kg;
        [red, green, blue].map(|value| value.round().clamp(0.0, 255.0) as u8)
    }

    #[test]
    fn fixed_point_is_within_a_step_of_the_formula() {
        for range in [Range::Full, Range::Video] {
            let factors = range.factors();
            for luma in (0..=255).step_by(5) {
                for cb in (0..=255).step_by(15) {
                    for cr in (0..=255).step_by(15) {
                        let found = factors.pixel(luma, factors.tint(cb, cr));
                        let [y, cb, cr] = [luma, cb, cr].map(f64::from);
                        let expected = reference(y, cb, cr, range);
                        for (found, expected) in found.iter().zip(expected) {
                            assert!(found.abs_diff(expected) <= 1, "{range:?} {luma} {cb} {cr}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn all_layouts_of_the_same_colours_give_the_same_picture() {
        // 3 x 2 pixels: odd, so that the last column has a colour of its own.
        let luma = [50, 60, 70, 80, 90, 100];
        let (cb, cr) = ([100, 110], [140, 150]);
        let sides = [3, 2];
        let mut i420 = empty();
        let chroma = Some([&cb[..], &cr[..]]);
        let range = Range::Video;
        let planes = Planar { width: 3, height: 2, luma: &luma, chroma, shared: [2, 2], range };
        planar(planes, &mut i420).unwrap();
        let mut from_nv12 = empty();
        let bytes = [50, 60, 70, 80, 90, 100, 100, 140, 110, 150];
        nv12(&bytes, sides, &mut from_nv12).unwrap();
        assert_eq!(from_nv12.samples(), i420.samples());
        let mut from_yuyv = empty();
        let bytes = [50, 100, 60, 140, 70, 110, 0, 150, 80, 100, 90, 140, 100, 110, 0, 150];
        yuyv(&bytes, sides, &mut from_yuyv).unwrap();
        assert_eq!(from_yuyv.samples(), i420.samples());
    }

    #[test]
    fn too_few_bytes_are_refused_whatever_the_sides() {
        let mut picture = empty();
        for sides in [[4, 4], [usize::MAX, 2], [2, usize::MAX], [0, 0]] {
            assert!(yuyv(&[0; 31], sides, &mut picture).is_none(), "{sides:?}");
            assert!(nv12(&[0; 23], sides, &mut picture).is_none(), "{sides:?}");
        }
        let luma = [0; 16];
        let planes = Planar {
            width: 4,
            height: 4,
            luma: &luma,
            chroma: Some([&[0; 4], &[0; 3]]),
            shared: [2, 2],
            range: Range::Full,
        };
        assert!(planar(planes, &mut picture).is_none());
        assert!(
            planar(Planar { luma: &luma[1..], chroma: None, ..planes }, &mut picture).is_none()
        );
    }

    #[test]
    fn colours_survive_the_way_to_video_and_back() {
        for colour in [[255, 0, 0], [0, 255, 0], [0, 0, 255], [255; 3], [0; 3], [90, 120, 33]] {
            let picture = Picture::filled(5, 3, Channels::Rgb, colour);
            let mut bytes = Vec::new();
            to_i420(&picture, &mut bytes);
            assert_eq!(bytes.len(), 15 + 2 * 6);
            let (luma, chroma) = bytes.split_at(15);
            let (cb, cr) = chroma.split_at(6);
            let mut back = empty();
            let planes = Planar {
                width: 5,
                height: 3,
                luma,
                chroma: Some([cb, cr]),
                shared: [2, 2],
                range: Range::Video,
            };
            planar(planes, &mut back).unwrap();
            for (a, b) in back.samples().iter().zip(picture.samples()) {
                assert!(a.abs_diff(*b) <= 3, "{colour:?} came back as {a}");
            }
        }
    }
}
