//! YUV4MPEG2: raw video with a line of text before each frame, which every video tool writes and
//! reads.
//!
//! Read here rather than with the `y4m` crate, which multiplies the sides of a header before it
//! looks at its limit.

use std::io::{BufRead, ErrorKind, Read as _, Write};
use std::time::{Duration, Instant};

use bunjae_data::Picture;
use bunjae_data::decode::Limits;

use super::convert::{Planar, Range, planar, to_i420};
use super::{MAX_RATE, Read, Source, SourceError};

/// The first word of a file.
pub(crate) const MAGIC: &[u8] = b"YUV4MPEG2";

/// The longest line of parameters.
const MAX_LINE: u64 = 1024;

pub(crate) struct Y4m<R> {
    name: String,
    reader: R,
    header: Header,
    /// `None` for a stream, whose frames are shown as they come.
    lasts: Option<Duration>,
    bytes: Vec<u8>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Header {
    width: usize,
    height: usize,
    /// Frames per second.
    rate: f64,
    /// How many columns and rows share a colour; none for grey.
    shared: Option<[usize; 2]>,
    range: Range,
}

/// A line without its end; `None` where there is nothing any more.
fn line(reader: &mut impl BufRead) -> Result<Option<Vec<u8>>, String> {
    let mut line = Vec::new();
    let read = reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut line);
    read.map_err(|error| error.to_string())?;
    match line.pop() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err("a line of parameters that does not end".to_owned()),
    }
}

impl Header {
    fn parse(line: &[u8], limits: Limits) -> Result<Header, String> {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split(' ');
        if words.next().map(str::as_bytes) != Some(MAGIC) {
            return Err("no YUV4MPEG2 header".to_owned());
        }
        let mut header =
            Header { width: 0, height: 0, rate: 25.0, shared: Some([2, 2]), range: Range::Video };
        for word in words.filter(|word| !word.is_empty()) {
            let wrong = || format!("`{word}` in the header has no meaning");
            let mut characters = word.chars();
            let key = characters.next();
            let value = characters.as_str();
            match key {
                Some('W') => header.width = value.parse().map_err(|_| wrong())?,
                Some('H') => header.height = value.parse().map_err(|_| wrong())?,
                Some('F') => {
                    let (over, under) = value.split_once(':').ok_or_else(wrong)?;
                    let number = |text: &str| text.parse::<u32>().map_err(|_| wrong());
                    let (over, under) = (number(over)?, number(under)?);
                    let rate = f64::from(over) / f64::from(under);
                    // 0:0 says that the rate is not known.
                    if rate > 0.0 && rate <= MAX_RATE {
                        header.rate = rate;
                    }
                }
                Some('C') => {
                    header.shared = match value {
                        "420" | "420jpeg" | "420paldv" | "420mpeg2" => Some([2, 2]),
                        "422" => Some([2, 1]),
                        "444" => Some([1, 1]),
                        "mono" => None,
                        _ => return Err(format!("pixels of the kind `{value}`")),
                    };
                }
                Some('I') if !matches!(value, "p" | "?") => {
                    return Err("interlaced video".to_owned());
                }
                Some('X') if value == "COLORRANGE=FULL" => header.range = Range::Full,
                _ => {}
            }
        }
        let Header { width, height, .. } = header;
        let pixels = (width as u64).checked_mul(height as u64);
        match pixels {
            Some(0) => Err("the header gives no size".to_owned()),
            Some(pixels) if pixels <= limits.pixels => Ok(header),
            _ => Err(format!("{width} x {height} pixels, the limit is {} in all", limits.pixels)),
        }
    }

    /// Bytes of the brightness and of each colour.
    fn sizes(&self) -> (usize, usize) {
        let chroma = self
            .shared
            .map_or(0, |[across, down]| self.width.div_ceil(across) * self.height.div_ceil(down));
        (self.width * self.height, chroma)
    }
}

impl<R: BufRead> Y4m<R> {
    /// Reads the header. `lasts` takes the place of its rate; streams have none.
    pub(crate) fn open(
        name: impl ToString,
        mut reader: R,
        limits: Limits,
        lasts: Option<Duration>,
        live: bool,
    ) -> Result<Y4m<R>, SourceError> {
        let failed = |why: String| {
            let hint = "8-bit 4:2:0, 4:2:2, 4:4:4 and mono are read: ffmpeg -pix_fmt yuv420p";
            SourceError::failed(name.to_string(), why, hint)
        };
        let line = line(&mut reader).map_err(failed)?.unwrap_or_default();
        let header = Header::parse(&line, limits).map_err(failed)?;
        let interval = Duration::from_secs_f64(1.0 / header.rate);
        let lasts = (!live).then(|| lasts.unwrap_or(interval));
        Ok(Y4m { name: name.to_string(), reader, header, lasts, bytes: Vec::new() })
    }
}

impl<R: BufRead> Source for Y4m<R> {
    fn describe(&self) -> String {
        let Header { width, height, .. } = self.header;
        format!("YUV4MPEG2 video {}, {width} x {height}", self.name)
    }

    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
        let failed = |why: String| SourceError::failed(&self.name, why, "");
        let Some(line) = line(&mut self.reader).map_err(failed)? else { return Ok(Read::End) };
        if !line.starts_with(b"FRAME") {
            // Without it nobody knows where the next one begins.
            return Err(failed("no FRAME where one has to be".to_owned()));
        }
        let (luma, chroma) = self.header.sizes();
        self.bytes.resize(luma + 2 * chroma, 0);
        match self.reader.read_exact(&mut self.bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                return Err(SourceError::Corrupt("the file ends within a frame".to_owned()));
            }
            Err(error) => return Err(SourceError::lost(&self.name, error)),
        }
        let captured = Instant::now();
        let Header { width, height, shared, range, .. } = self.header;
        let (luma, colours) = self.bytes.split_at(luma);
        let (cb, cr) = colours.split_at(chroma);
        let (chroma, shared) = (shared.map(|_| [cb, cr]), shared.unwrap_or([1, 1]));
        planar(Planar { width, height, luma, chroma, shared, range }, picture)
            .ok_or_else(|| SourceError::Corrupt("too few bytes".to_owned()))?;
        Ok(match self.lasts {
            Some(lasts) => Read::Paced { lasts },
            None => Read::Live { captured },
        })
    }
}

/// Writes video, 4:2:0.
pub(crate) struct Writer<W> {
    writer: W,
    rate: [u32; 2],
    sides: Option<[usize; 2]>,
    bytes: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Nothing is written before the first frame. The rate is a fraction.
    pub(crate) fn new(writer: W, rate: [u32; 2]) -> Writer<W> {
        Writer { writer, rate, sides: None, bytes: Vec::new() }
    }

    /// Adds a frame, of the size of the first.
    pub(crate) fn write(&mut self, picture: &Picture) -> std::io::Result<()> {
        let sides = [picture.width(), picture.height()];
        if self.sides.is_none() {
            let ([width, height], [over, under]) = (sides, self.rate);
            writeln!(self.writer, "YUV4MPEG2 W{width} H{height} F{over}:{under} Ip A1:1 C420jpeg")?;
            self.sides = Some(sides);
        }
        self.writer.write_all(b"FRAME\n")?;
        to_i420(picture, &mut self.bytes);
        self.writer.write_all(&self.bytes)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use bunjae_data::Channels;

    use super::super::Fault;
    use super::*;

    fn opened(bytes: &[u8]) -> Result<Y4m<Cursor<&[u8]>>, SourceError> {
        Y4m::open("bytes", Cursor::new(bytes), Limits::default(), None, false)
    }

    fn empty() -> Picture {
        Picture::filled(1, 1, Channels::Grey, [0; 3])
    }

    #[test]
    fn what_was_written_is_read_back_at_its_rate() {
        let mut writer = Writer::new(Vec::new(), [30_000, 1_001]);
        for shade in [10, 200] {
            writer.write(&Picture::filled(5, 3, Channels::Rgb, [shade, 100, 50])).unwrap();
        }
        let bytes = writer.writer;
        let mut source = opened(&bytes).unwrap();
        let mut picture = empty();
        for shade in [10, 200_u8] {
            let lasts = Duration::from_secs_f64(1.001 / 30.0);
            assert_eq!(source.read(&mut picture), Ok(Read::Paced { lasts }));
            assert_eq!((picture.width(), picture.height()), (5, 3));
            assert!(picture.samples()[0].abs_diff(shade) <= 3);
        }
        assert_eq!(source.read(&mut picture), Ok(Read::End));
    }

    #[test]
    fn headers_say_kind_and_range() {
        for (kind, bytes, expected) in [
            ("Cmono XCOLORRANGE=FULL", &[7, 8, 9, 10][..], [7, 7, 7]),
            (
                "C444 XCOLORRANGE=FULL",
                &[7, 8, 9, 10, 128, 128, 128, 128, 128, 128, 128, 128],
                [7; 3],
            ),
            ("C422", &[235, 235, 235, 235, 128, 128, 128, 128], [255; 3]),
            ("", &[16, 16, 16, 16, 128, 128], [0; 3]),
        ] {
            let mut file = format!("YUV4MPEG2 W2 H2 F25:1 {kind}\nFRAME Xa\n").into_bytes();
            file.extend(bytes);
            let mut picture = empty();
            opened(&file).unwrap().read(&mut picture).unwrap();
            assert_eq!(picture.samples()[..3], expected, "{kind}");
        }
    }

    #[test]
    fn headers_that_cannot_be_true_are_refused_before_memory_is_taken() {
        for header in [
            "",
            "YUV4MPEG2",
            "YUV4MPEG W2 H2",
            "YUV4MPEG2 W0 H2",
            "YUV4MPEG2 W-1 H2",
            "YUV4MPEG2 W18446744073709551615 H18446744073709551615",
            "YUV4MPEG2 W4294967296 H4294967296",
            "YUV4MPEG2 W100000 H100000",
            "YUV4MPEG2 W2 H2 F1",
            "YUV4MPEG2 W2 H2 C420p10",
            "YUV4MPEG2 W2 H2 It",
        ] {
            let bytes = format!("{header}\nFRAME\n");
            let error = opened(bytes.as_bytes()).err().unwrap_or_else(|| panic!("{header}"));
            assert_eq!(error.fault(), Fault::Fatal, "{header}");
        }
        assert!(opened(&[b'Y'; 5000]).is_err());
    }

    #[test]
    fn a_file_that_ends_within_a_frame_is_corrupt_and_then_over() {
        let bytes = b"YUV4MPEG2 W2 H2 F25:1\nFRAME\n\x10\x10\x10";
        let mut source = opened(bytes).unwrap();
        let mut picture = empty();
        assert_eq!(source.read(&mut picture).unwrap_err().fault(), Fault::Frame);
        assert_eq!(source.read(&mut picture), Ok(Read::End));
        let bytes = b"YUV4MPEG2 W2 H2 F0:0\nFRUME\n\x10\x10\x10\x10\x80\x80";
        let error = opened(bytes).unwrap().read(&mut picture).unwrap_err();
        assert_eq!(error.fault(), Fault::Fatal);
    }
}
