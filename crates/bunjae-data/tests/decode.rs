//! Picture files of every kind, and what is no picture file.
//!
//! The files are made here, byte by byte or with the encoders of `image`; JPEG files, for which
//! there is no encoder in the build, come from the folder with real data.
#![allow(clippy::unwrap_used, reason = "in a test, a missing value is a failure")]

use std::fs;
use std::io::Cursor;

use bunjae_data::decode::{DecodeError, Format, Limits, decode, decode_native};
use bunjae_data::{Channels, Picture};
use bunjae_tensor::Random;
use bunjae_testkit::data_dir;
use image::{DynamicImage, ImageBuffer, ImageFormat, Luma, LumaA, Rgb, Rgba};

fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    image.into().write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// 5 x 3 pixels, all different.
fn colourful() -> ImageBuffer<Rgb<u8>, Vec<u8>> {
    ImageBuffer::from_fn(5, 3, |x, y| Rgb([(x * 50) as u8, (y * 100) as u8, (x * y * 30) as u8]))
}

fn native(bytes: &[u8]) -> Result<Picture, DecodeError> {
    decode_native(bytes, Limits::default())
}

#[test]
fn lossless_formats_give_the_samples_back() {
    let expected = colourful();
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp] {
        let picture = native(&encoded(expected.clone(), format)).unwrap();
        assert_eq!((picture.width(), picture.height()), (5, 3), "{format:?}");
        assert_eq!(picture.samples(), expected.as_raw().as_slice(), "{format:?}");
    }
    // Fifteen colours fit the palette of a GIF.
    let picture = native(&encoded(expected.clone(), ImageFormat::Gif)).unwrap();
    assert_eq!(picture.samples(), expected.as_raw().as_slice());
}

#[test]
fn grey_and_16_bits_are_brought_to_8() {
    let grey: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_raw(2, 1, vec![7u8, 200]).unwrap();
    let bytes = encoded(grey, ImageFormat::Png);
    assert_eq!(native(&bytes).unwrap().channels(), Channels::Grey);
    let colour = decode(&bytes, Channels::Rgb, Limits::default()).unwrap();
    assert_eq!(colour.samples(), [7, 7, 7, 200, 200, 200]);
    // Exact steps, and halves between: 257 is one step.
    let deep = vec![0u16, 257, 128, 129, 65_535, 65_406];
    let deep: ImageBuffer<Luma<u16>, _> = ImageBuffer::from_raw(6, 1, deep).unwrap();
    assert_eq!(native(&encoded(deep, ImageFormat::Png)).unwrap().samples(), [0, 1, 0, 1, 255, 254]);
}

#[test]
fn transparency_is_laid_on_white() {
    let samples = vec![10u8, 20, 30, 255, 10, 20, 30, 0, 0, 100, 255, 128];
    let clear: ImageBuffer<Rgba<u8>, _> = ImageBuffer::from_raw(3, 1, samples).unwrap();
    let picture = native(&encoded(clear, ImageFormat::Png)).unwrap();
    // 255 - 128 + 100 * 128 / 255 = 177.2
    assert_eq!(picture.samples(), [10, 20, 30, 255, 255, 255, 127, 177, 255]);
    let grey: ImageBuffer<LumaA<u8>, _> = ImageBuffer::from_raw(1, 1, vec![0u8, 51]).unwrap();
    assert_eq!(native(&encoded(grey, ImageFormat::Png)).unwrap().samples(), [204]);
}

/// A TIFF block with the one entry that tells the orientation.
fn exif(orientation: u8) -> Vec<u8> {
    let mut block = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    block.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    block
}

fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// A PNG file with a chunk put in after the header.
fn with_chunk(png: &[u8], kind: &[u8; 4], content: &[u8]) -> Vec<u8> {
    const HEADER: usize = 8 + 25;
    let mut body = kind.to_vec();
    body.extend(content);
    let mut bytes = png[..HEADER].to_vec();
    bytes.extend((content.len() as u32).to_be_bytes());
    bytes.extend(&body);
    bytes.extend(crc32(&body).to_be_bytes());
    bytes.extend(&png[HEADER..]);
    bytes
}

#[test]
fn orientation_is_applied() {
    // a b c
    // d e f
    let grey: ImageBuffer<Luma<u8>, _> = ImageBuffer::from_raw(3, 2, b"abcdef".to_vec()).unwrap();
    let png = encoded(grey, ImageFormat::Png);
    // The eight values of the EXIF standard: the rows as a viewer shows them.
    let expected = [
        "abc def", "cba fed", "fed cba", "def abc", "ad be cf", "da eb fc", "fc eb da", "cf be ad",
    ];
    for (orientation, expected) in (1..).zip(expected) {
        let picture = native(&with_chunk(&png, b"eXIf", &exif(orientation))).unwrap();
        let rows: Vec<&str> = picture.rows().map(|row| std::str::from_utf8(row).unwrap()).collect();
        assert_eq!(rows.join(" "), expected, "orientation {orientation}");
    }
    // What is no orientation is passed over.
    assert_eq!(native(&with_chunk(&png, b"eXIf", &exif(77))).unwrap().width(), 3);
    assert_eq!(native(&with_chunk(&png, b"eXIf", b"II*\0\xff\xff\xff\xff")).unwrap().width(), 3);
}

#[test]
fn sizes_are_refused_before_memory_is_taken() {
    let png = encoded(colourful(), ImageFormat::Png);
    let limits = Limits { pixels: 14, ..Limits::default() };
    let refused = DecodeError::LargePicture { width: 5, height: 3, limit: 14 };
    assert_eq!(decode_native(&png, limits), Err(refused));
    let limits = Limits { file_bytes: 10, ..Limits::default() };
    assert!(matches!(decode_native(&png, limits), Err(DecodeError::LargeFile { limit: 10, .. })));

    // Headers that announce the largest sides there are.
    let mut huge = png.clone();
    huge[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let crc = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&crc.to_be_bytes());
    let mut gif = encoded(colourful(), ImageFormat::Gif);
    gif[6..10].fill(0xff);
    let mut bmp = encoded(colourful(), ImageFormat::Bmp);
    bmp[18..26].copy_from_slice(&[0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0x7f]);
    let mut jpeg = b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03".to_vec();
    jpeg.extend(
        b"\x01\x22\0\x02\x11\x01\x03\x11\x01\xff\xda\0\x0c\x03\x01\0\x02\x11\x03\x11\0\x3f\0",
    );
    for bytes in [huge, gif, bmp, jpeg] {
        assert!(native(&bytes).is_err());
    }
}

#[test]
fn what_is_no_picture_is_named() {
    assert_eq!(native(b""), Err(DecodeError::Empty));
    assert_eq!(native(b"just some text"), Err(DecodeError::UnknownFormat));
    let error = native(b"\xff\xd8\xff\xe0 and nothing else").unwrap_err();
    assert!(error.to_string().starts_with("not a valid JPEG file: "), "{error}");
}

/// Cuts and changes `file` in many ways; counts how many variants still decode.
fn torture(file: &[u8], random: &mut Random, rounds: usize) -> usize {
    let limits = Limits { pixels: 1 << 20, ..Limits::default() };
    let mut decoded = 0;
    for _ in 0..rounds {
        let mut bytes = file.to_vec();
        if random.below(3) == 0 {
            bytes.truncate(random.below(bytes.len()));
        }
        for _ in 0..random.below(6) {
            let at = random.below(bytes.len().max(1));
            if let Some(byte) = bytes.get_mut(at) {
                *byte = random.bits() as u8;
            }
        }
        if let Ok(picture) = decode_native(&bytes, limits) {
            assert!(picture.width() * picture.height() <= 1 << 20);
            decoded += 1;
        }
    }
    decoded
}

#[test]
fn broken_files_are_errors_and_never_panic() {
    let mut random = Random::new(5);
    let image: ImageBuffer<Rgb<u8>, Vec<u8>> =
        ImageBuffer::from_fn(24, 18, |x, y| Rgb([(x * 9) as u8, (y * 13) as u8, (x * y) as u8]));
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif] {
        let file = encoded(image.clone(), format);
        assert_eq!(
            Format::of(&file).map(|f| f.name().to_lowercase()),
            format.extensions_str().first().map(|f| (*f).to_owned())
        );
        // Changes of metadata or of single pixels leave some of them whole.
        let decoded = torture(&file, &mut random, 400);
        assert!((1..400).contains(&decoded), "{format:?}: {decoded}");
    }
}

#[test]
fn truncated_lossless_files_are_errors() {
    for format in [ImageFormat::Png, ImageFormat::WebP, ImageFormat::Bmp, ImageFormat::Gif] {
        let file = encoded(colourful(), format);
        assert!(native(&file[..file.len() * 6 / 10]).is_err(), "{format:?}");
    }
}

/// JPEG files of several kinds and sizes.
fn jpegs(data: &std::path::Path, every: usize) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    for folder in ["facemask/with_mask", "facemask/without_mask", "imagenet_samples"] {
        let mut paths: Vec<_> =
            fs::read_dir(data.join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|ending| ending == "jpg"));
        paths.sort();
        files.extend(paths.iter().step_by(every).map(|path| fs::read(path).unwrap()));
    }
    files
}

#[test]
fn real_jpeg_files_decode_and_truncated_ones_do_not() {
    let Some(data) = data_dir("real_jpeg_files_decode_and_truncated_ones_do_not") else { return };
    let files = jpegs(&data, 40);
    assert!(files.len() > 80);
    for file in files {
        let picture = native(&file).unwrap();
        assert!(picture.width() >= 32 && picture.height() >= 32, "{picture:?}");
        let cut = native(&file[..file.len() * 7 / 10]);
        assert!(matches!(cut, Err(DecodeError::Corrupt { format: "JPEG", .. })), "{cut:?}");
    }
}

#[test]
fn broken_jpeg_files_never_panic() {
    let Some(data) = data_dir("broken_jpeg_files_never_panic") else { return };
    let mut random = Random::new(6);
    let decoded: usize = jpegs(&data, 400).iter().map(|file| torture(file, &mut random, 20)).sum();
    assert!(decoded > 0);
}

#[test]
fn orientation_of_jpeg_is_applied() {
    let Some(data) = data_dir("orientation_of_jpeg_is_applied") else { return };
    let file = &jpegs(&data, 4000)[0];
    let mut app1 = b"Exif\0\0".to_vec();
    app1.extend(exif(6));
    let mut turned = vec![0xff, 0xd8, 0xff, 0xe1];
    turned.extend((app1.len() as u16 + 2).to_be_bytes());
    turned.extend(&app1);
    turned.extend(&file[2..]);
    let (upright, turned) = (native(file).unwrap(), native(&turned).unwrap());
    assert_eq!((turned.width(), turned.height()), (upright.height(), upright.width()));
    // Turned to the right, the first row becomes the last column.
    let last = |row: &[u8]| row[row.len() - 3..].to_vec();
    let column: Vec<u8> = turned.rows().flat_map(last).collect();
    assert_eq!(column, upright.rows().next().unwrap());
}

#[test]
fn a_gif_film_gives_its_first_frame() {
    let Some(data) = data_dir("a_gif_film_gives_its_first_frame") else { return };
    let file = fs::read(data.join("video/face_female_turning.gif")).unwrap();
    let picture = native(&file).unwrap();
    assert_eq!((picture.width(), picture.height()), (480, 270));
}

/// The bytes of a text of hexadecimal digits.
fn from_hex(text: &str) -> Vec<u8> {
    let (pairs, _) = text.as_bytes().as_chunks::<2>();
    let digits = pairs.iter().map(|pair| std::str::from_utf8(pair).unwrap());
    digits.map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
}

/// 16 x 16 pixels of one colour, written by Pillow 13.0.0 at quality 95.
const CMYK: &str = "ffd8ffee000e41646f626500640000000000ffdb00430002010101010102010101020202020204\
    03020202020504040304060506060605060606070908060709070606080b08090a0a0a0a0a06080b0c0b0a0c090a0a\
    0affc000140800100010044311004d11005911004b1100ffc400150001010000000000000000000000000000000\
    9ffc40014100100000000000000000000000000000000ffda000e0443004d0059004b00003f009b6b08a18ab80000\
    00ffd9";
const GREY: &str = "ffd8ffe000104a46494600010100000100010000ffdb004300020101010101020101010202020202\
    0403020202020504040304060506060605060606070908060709070606080b08090a0a0a0a0a06080b0c0b0a0c090a\
    0a0affc0000b080010001001011100ffc40015000101000000000000000000000000000000\
    08ffc40014100100000000000000000000000000000000ffda0008010100003f0099c07fffd9";

#[test]
fn jpeg_in_grey_and_cmyk_is_understood() {
    let grey = native(&from_hex(GREY)).unwrap();
    assert_eq!(grey, Picture::filled(16, 16, Channels::Grey, [90; 3]));
    // Ink 200, 30, 60 and black 40 of 255: what is left of white is (1 - ink) (1 - black).
    let cmyk = native(&from_hex(CMYK)).unwrap();
    let pixel = &cmyk.samples()[..3];
    let apart = pixel.iter().zip([46u8, 190, 164]).map(|(&a, b)| a.abs_diff(b)).max();
    assert!(apart <= Some(1), "{pixel:?}");
}
