//! Motion JPEG: pictures one after the other, with or without the headers of a multipart stream
//! between them.

use std::io::{BufRead, ErrorKind};
use std::time::{Duration, Instant};

use bunjae_data::decode::{Limits, decode};
use bunjae_data::{Channels, Picture};

use super::{Read, Source, SourceError};

/// The largest picture, in bytes: a raw frame of 8K would be smaller.
const MAX_BYTES: usize = 64 << 20;

/// The most bytes between two pictures. Headers take some hundred.
const MAX_GAP: usize = 1 << 20;

pub(crate) struct Mjpeg<R> {
    name: String,
    reader: R,
    limits: Limits,
    /// `None` for a stream, whose frames are shown as they come.
    lasts: Option<Duration>,
    /// The picture.
    bytes: Vec<u8>,
    /// A byte that was read too early.
    back: Option<u8>,
}

impl<R: BufRead> Mjpeg<R> {
    pub(crate) fn new(
        name: impl ToString,
        reader: R,
        limits: Limits,
        lasts: Option<Duration>,
    ) -> Mjpeg<R> {
        Mjpeg { name: name.to_string(), reader, limits, lasts, bytes: Vec::new(), back: None }
    }

    fn byte(&mut self) -> Result<Option<u8>, SourceError> {
        if let Some(byte) = self.back.take() {
            return Ok(Some(byte));
        }
        loop {
            match self.reader.fill_buf() {
                Ok([first, ..]) => {
                    let first = *first;
                    self.reader.consume(1);
                    return Ok(Some(first));
                }
                Ok([]) => return Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(SourceError::lost(&self.name, error)),
            }
        }
    }

    /// Goes to just behind the next start of a picture, `ff d8 ff`; false at the end.
    fn find_start(&mut self) -> Result<bool, SourceError> {
        let mut last = [0; 2];
        for _ in 0..MAX_GAP {
            let Some(byte) = self.byte()? else { return Ok(false) };
            if last == [0xff, 0xd8] && byte == 0xff {
                return Ok(true);
            }
            last = [last[1], byte];
        }
        let what = format!("{MAX_GAP} bytes without a JPEG picture");
        Err(SourceError::failed(&self.name, what, ""))
    }

    /// The next byte, which belongs to the picture.
    fn more(&mut self) -> Result<u8, SourceError> {
        let Some(byte) = self.byte()? else {
            return Err(SourceError::Corrupt("the file ends within a picture".to_owned()));
        };
        if self.bytes.len() == MAX_BYTES {
            let what = format!("a picture of more than {MAX_BYTES} bytes");
            return Err(SourceError::Corrupt(what));
        }
        self.bytes.push(byte);
        Ok(byte)
    }

    /// Copies a picture whose first marker byte was read, by the lengths of its segments, so that a
    /// thumbnail within does not end it.
    fn gather(&mut self) -> Result<(), SourceError> {
        self.bytes.clear();
        self.bytes.extend([0xff, 0xd8, 0xff]);
        loop {
            // Behind an `ff`: fill bytes, then the marker.
            let mut marker = self.more()?;
            while marker == 0xff {
                marker = self.more()?;
            }
            match marker {
                0xd9 => return Ok(()),
                // Without a length: restarts, and a lone start.
                0xd0..=0xd8 | 0x01 => {}
                _ => {
                    let length = [self.more()?, self.more()?];
                    let length = usize::from(u16::from_be_bytes(length));
                    for _ in 2..length {
                        self.more()?;
                    }
                    if marker == 0xda {
                        self.skip_scan()?;
                        continue;
                    }
                }
            }
            if self.more()? != 0xff {
                return Err(SourceError::Corrupt("no marker where one has to be".to_owned()));
            }
        }
    }

    /// Copies entropy-coded data up to and with the `ff` of the marker behind it; a restart marker
    /// and an `ff 00` belong to the data.
    fn skip_scan(&mut self) -> Result<(), SourceError> {
        loop {
            if self.more()? != 0xff {
                continue;
            }
            let mut next = self.more()?;
            while next == 0xff {
                next = self.more()?;
            }
            if !matches!(next, 0 | 0xd0..=0xd7) {
                // The marker is read again by the caller.
                self.bytes.pop();
                self.back = Some(next);
                return Ok(());
            }
        }
    }
}

impl<R: BufRead> Source for Mjpeg<R> {
    fn describe(&self) -> String {
        format!("motion JPEG {}", self.name)
    }

    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
        if !self.find_start()? {
            return Ok(Read::End);
        }
        self.gather()?;
        let captured = Instant::now();
        *picture = decode(&self.bytes, Channels::Rgb, self.limits)?;
        Ok(match self.lasts {
            Some(lasts) => Read::Paced { lasts },
            None => Read::Live { captured },
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::Fault;
    use super::*;

    fn jpeg(shade: u8) -> Vec<u8> {
        let mut bytes = Vec::new();
        let picture = Picture::filled(24, 16, Channels::Rgb, [shade; 3]);
        bunjae_data::encode::jpeg(&picture, 95, &mut bytes).unwrap();
        bytes
    }

    /// The shades of the frames, and how often a frame was corrupt.
    fn play(bytes: &[u8]) -> (Vec<u8>, usize) {
        let mut source = Mjpeg::new("bytes", Cursor::new(bytes), Limits::default(), None);
        let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
        let (mut shades, mut corrupt) = (Vec::new(), 0);
        loop {
            match source.read(&mut picture) {
                Ok(Read::End) => return (shades, corrupt),
                Ok(_) => shades.push(picture.samples()[0]),
                Err(error) if error.fault() == Fault::Frame => corrupt += 1,
                Err(error) => panic!("{error}"),
            }
        }
    }

    #[test]
    fn pictures_in_a_row_and_in_a_multipart_stream_are_found() {
        let row = [jpeg(20), jpeg(200)].concat();
        assert_eq!(play(&row), (vec![20, 200], 0));
        let mut stream = Vec::new();
        for shade in [20, 200] {
            let picture = jpeg(shade);
            let length = picture.len();
            stream.extend(format!("--frame\r\nContent-Length: {length}\r\n\r\n").bytes());
            stream.extend(picture);
            stream.extend(b"\r\n");
        }
        assert_eq!(play(&stream), (vec![20, 200], 0));
    }

    #[test]
    fn a_picture_within_a_segment_does_not_end_the_one_around_it() {
        let (outer, thumbnail) = (jpeg(90), jpeg(250));
        let mut bytes = outer[..2].to_vec();
        bytes.extend([0xff, 0xe1]);
        bytes.extend(u16::try_from(thumbnail.len() + 2).unwrap().to_be_bytes());
        bytes.extend(&thumbnail);
        bytes.extend(&outer[2..]);
        assert_eq!(play(&bytes), (vec![90], 0));
    }

    #[test]
    fn a_broken_picture_is_counted_and_the_next_one_found() {
        let mut broken = jpeg(20);
        let middle = broken.len() / 2;
        broken.truncate(middle);
        let (shades, corrupt) = play(&[broken, jpeg(200), jpeg(100)].concat());
        // What was cut off may take the next picture with it, never the one after.
        assert!(corrupt >= 1 && shades.last() == Some(&100), "{shades:?} {corrupt}");
    }

    #[test]
    fn a_stream_cut_anywhere_or_with_any_byte_changed_ends() {
        let whole = [jpeg(20), jpeg(200)].concat();
        let mut good = 0;
        for end in 0..whole.len() {
            good += play(&whole[..end]).0.len();
        }
        assert!(good > 0);
        for place in 0..whole.len() {
            let mut changed = whole.clone();
            changed[place] ^= 0x55;
            play(&changed);
        }
    }

    #[test]
    fn endless_bytes_without_a_picture_are_refused() {
        let zeros = std::io::BufReader::new(std::io::repeat(0));
        let mut source = Mjpeg::new("zeros", zeros, Limits::default(), None);
        let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
        assert_eq!(source.read(&mut picture).unwrap_err().fault(), Fault::Fatal);
        // A segment's worth of 0xff is a marker's filling.
        let start = Cursor::new([0xff, 0xd8]);
        let endless = std::io::Read::chain(start, std::io::BufReader::new(std::io::repeat(0xff)));
        let mut source = Mjpeg::new("filling", endless, Limits::default(), None);
        assert_eq!(source.read(&mut picture).unwrap_err().fault(), Fault::Frame);
    }
}
