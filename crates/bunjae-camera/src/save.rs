//! Frames on disk: pictures in a folder, or one file that moves.
//!
//! A file is written under a temporary name beside its own and renamed when it is closed, so that an
//! old one stays until a new one is whole. What is no file, such as a pipe, is written as it is.
//! Where the disk is full, what was written is closed after the last whole frame.

use std::fs::{self, File};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bunjae_data::encode::{GifWriter, jpeg, png};
use bunjae_data::{Channels, Filter, Picture, resize};

use crate::frame::Seen;
use crate::overlay::draw;
use crate::sink::Sink;
use crate::source::y4m;

/// The quality of JPEG pictures, of 100.
const QUALITY: u8 = 90;

/// Frames per second of a video whose source does not say.
const RATE: f64 = 30.0;

/// The longest gap that is filled with copies of a frame, in seconds.
const GAP: f64 = 10.0;

/// How frames are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaveAs {
    /// A picture for each frame.
    Png,
    /// A picture for each frame, smaller and not exact.
    Jpeg,
    /// An animation.
    Gif,
    /// Raw video.
    Y4m,
    /// JPEG pictures one after the other.
    Mjpeg,
}

impl SaveAs {
    /// What the ending of a file name says.
    pub fn of(path: &Path) -> Option<SaveAs> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "gif" => Some(SaveAs::Gif),
            "y4m" => Some(SaveAs::Y4m),
            "mjpeg" | "mjpg" => Some(SaveAs::Mjpeg),
            _ => None,
        }
    }
}

/// What a saver is asked beside its path.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Saving {
    /// Frames per second of a video, where it is not that of the source.
    pub rate: Option<f64>,
    /// Whether files are worked through, so that the time of a frame is what the file says.
    pub fast: bool,
}

/// Writes frames, with their boxes, to disk.
pub struct Saver {
    shown: String,
    saving: Saving,
    drawn: Picture,
    form: Form,
    frames: u64,
    clock: Clock,
}

enum Form {
    Pictures { folder: PathBuf, jpeg: bool, bytes: Vec<u8> },
    Film(Box<Film<Part>>),
}

impl Saver {
    /// Makes the folder, or opens the file under a temporary name.
    ///
    /// # Errors
    /// What stands against it.
    pub fn new(path: &Path, save_as: SaveAs, saving: Saving) -> Result<Saver, SaveError> {
        let failed =
            |error: io::Error| SaveError { path: path.to_owned(), reason: error.to_string() };
        let form = match save_as {
            SaveAs::Png | SaveAs::Jpeg => {
                fs::create_dir_all(path).map_err(failed)?;
                if fs::read_dir(path).map_err(failed)?.next().is_some() {
                    let reason = "the folder is not empty".to_owned();
                    return Err(SaveError { path: path.to_owned(), reason });
                }
                let jpeg = save_as == SaveAs::Jpeg;
                Form::Pictures { folder: path.to_owned(), jpeg, bytes: Vec::new() }
            }
            SaveAs::Gif | SaveAs::Y4m | SaveAs::Mjpeg => {
                Form::Film(Box::new(Film::new(Part::create(path).map_err(failed)?, save_as)))
            }
        };
        Ok(Saver {
            shown: path.display().to_string(),
            saving,
            drawn: Picture::filled(1, 1, Channels::Rgb, [0; 3]),
            form,
            frames: 0,
            clock: Clock::default(),
        })
    }
}

/// Why frames cannot be written to a place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot write {}: {reason}", path.display())]
pub struct SaveError {
    /// Where.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

/// When frames are shown, from the first one on.
#[derive(Clone, Copy, Debug, Default)]
struct Clock {
    first: Option<Instant>,
    of_file: Duration,
}

impl Clock {
    /// When this frame is shown: by the durations that its file gives, or by when it was taken.
    fn at(&mut self, captured: Instant, lasts: Option<Duration>, fast: bool) -> Duration {
        let first = *self.first.get_or_insert(captured);
        match lasts {
            Some(lasts) if fast => {
                let at = self.of_file;
                self.of_file += lasts;
                at
            }
            _ => captured.saturating_duration_since(first),
        }
    }
}

impl Sink for Saver {
    fn name(&self) -> String {
        "save".to_owned()
    }

    fn show(&mut self, seen: &Arc<Seen>) -> Result<(), String> {
        draw(seen, &mut self.drawn);
        let failed = |error: io::Error| format!("cannot write {}: {error}", self.shown);
        match &mut self.form {
            Form::Pictures { folder, jpeg: as_jpeg, bytes } => {
                bytes.clear();
                let ending = if *as_jpeg { "jpg" } else { "png" };
                let encoded = match as_jpeg {
                    true => jpeg(&self.drawn, QUALITY, bytes),
                    false => png(&self.drawn, &mut *bytes),
                };
                let name = format!("frame-{:06}.{ending}", seen.frame.number);
                encoded.and_then(|()| replace(&folder.join(name), bytes)).map_err(failed)?;
            }
            Form::Film(film) => {
                let lasts = seen.frame.lasts;
                let at = self.clock.at(seen.frame.captured, lasts, self.saving.fast);
                let rate = self.saving.rate;
                film.add(&self.drawn, at, lasts, rate).map_err(failed)?;
            }
        }
        self.frames += 1;
        Ok(())
    }

    fn finish(&mut self) -> Result<Option<String>, String> {
        let failed = |error: io::Error| format!("cannot write {}: {error}", self.shown);
        if let Form::Film(film) = &mut self.form {
            film.close().map_err(failed)?;
        }
        Ok((self.frames > 0).then(|| format!("{}, {} frames", self.shown, self.frames)))
    }
}

/// Writes a small file whole, or not at all.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut part = Part::create(path)?;
    part.write_all(bytes)?;
    part.keep()
}

/// Where a film goes.
trait Target: Write {
    /// Takes back what was written after so many bytes.
    fn cut(&mut self, length: u64) -> io::Result<()>;

    /// Everything is written.
    fn keep(&mut self) -> io::Result<()>;
}

/// A file that gets its name when it is whole.
struct Part {
    file: File,
    /// The temporary name and the one it is to have; none for what is no file.
    names: Option<[PathBuf; 2]>,
}

impl Part {
    fn create(path: &Path) -> io::Result<Part> {
        let special = fs::metadata(path).is_ok_and(|metadata| !metadata.is_file());
        if special {
            let file = File::options().write(true).open(path)?;
            return Ok(Part { file, names: None });
        }
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut part = std::ffi::OsString::from(".");
        part.push(name);
        part.push(format!(".{}.part", std::process::id()));
        let part = path.with_file_name(part);
        Ok(Part { file: File::create(&part)?, names: Some([part, path.to_owned()]) })
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Target for Part {
    fn cut(&mut self, length: u64) -> io::Result<()> {
        if self.names.is_some() {
            self.file.set_len(length)?;
            self.file.seek(io::SeekFrom::Start(length))?;
        }
        Ok(())
    }

    fn keep(&mut self) -> io::Result<()> {
        if let Some([part, path]) = self.names.take() {
            fs::rename(&part, path).inspect_err(|_| {
                // Nothing is left to be done where this fails too.
                let _ = fs::remove_file(&part);
            })?;
        }
        Ok(())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some([part, _]) = &self.names {
            // A file without a name of its own is of no use.
            let _ = fs::remove_file(part);
        }
    }
}

/// Bytes between an encoder and a file.
#[derive(Clone, Default)]
struct Bucket(Arc<Mutex<Vec<u8>>>);

impl Write for Bucket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A frame that waits until it is known how long it is shown.
struct Waiting {
    picture: Picture,
    at: Duration,
    lasts: Option<Duration>,
}

enum Encoder {
    Gif { writer: Option<Box<GifWriter<Bucket>>>, waiting: Option<Waiting> },
    Y4m { writer: Option<y4m::Writer<Bucket>> },
    Mjpeg,
}

/// One file of many frames.
struct Film<T> {
    target: T,
    bucket: Bucket,
    encoder: Encoder,
    /// The size of all frames.
    sides: Option<[usize; 2]>,
    /// Of a video.
    rate: f64,
    /// Frames in the file, with copies.
    written: u64,
    /// Bytes up to the end of the last whole frame.
    good: u64,
    broken: bool,
}

/// A rate as a fraction.
fn fraction(rate: f64) -> [u32; 2] {
    if rate.fract() == 0.0 { [rate as u32, 1] } else { [(rate * 1000.0).round() as u32, 1000] }
}

impl<T: Target> Film<T> {
    fn new(target: T, save_as: SaveAs) -> Film<T> {
        let bucket = Bucket::default();
        let encoder = match save_as {
            SaveAs::Gif => Encoder::Gif {
                writer: Some(Box::new(GifWriter::new(bucket.clone()))),
                waiting: None,
            },
            SaveAs::Y4m => Encoder::Y4m { writer: None },
            SaveAs::Png | SaveAs::Jpeg | SaveAs::Mjpeg => Encoder::Mjpeg,
        };
        let (sides, rate, written, good) = (None, RATE, 0, 0);
        Film { target, bucket, encoder, sides, rate, written, good, broken: false }
    }

    /// Adds a frame that is shown from `at` on.
    fn add(
        &mut self,
        picture: &Picture,
        at: Duration,
        lasts: Option<Duration>,
        rate: Option<f64>,
    ) -> io::Result<()> {
        if self.sides.is_none() {
            self.sides = Some([picture.width(), picture.height()]);
            let of_source = lasts.map(|lasts| 1.0 / lasts.as_secs_f64());
            self.rate = rate.or(of_source).unwrap_or(RATE);
        }
        let fitted = self.fitted(picture);
        let picture = fitted.as_ref().unwrap_or(picture);
        match &mut self.encoder {
            Encoder::Gif { writer, waiting } => {
                let next = Waiting { picture: picture.clone(), at, lasts };
                if let Some((writer, last)) = writer.as_mut().zip(waiting.replace(next)) {
                    writer.write(&last.picture, at.saturating_sub(last.at))?;
                    self.written += 1;
                }
            }
            Encoder::Y4m { writer } => {
                let (copies, rate) = (copies(at, self.rate, self.written), self.rate);
                let writer = writer
                    .get_or_insert_with(|| y4m::Writer::new(self.bucket.clone(), fraction(rate)));
                for _ in 0..copies {
                    writer.write(picture)?;
                }
                self.written += copies;
            }
            Encoder::Mjpeg => {
                let mut bytes = self.bucket.0.lock().unwrap_or_else(PoisonError::into_inner);
                let copies = copies(at, self.rate, self.written);
                if copies > 0 {
                    jpeg(picture, QUALITY, &mut bytes)?;
                    let one = bytes.clone();
                    for _ in 1..copies {
                        bytes.extend_from_slice(&one);
                    }
                }
                self.written += copies;
            }
        }
        self.drain()
    }

    /// The picture in the size of the first one, where it has another.
    fn fitted(&self, picture: &Picture) -> Option<Picture> {
        let [width, height] = self.sides?;
        let other = (picture.width(), picture.height()) != (width, height);
        other.then(|| resize(picture, width, height, Filter::Bilinear))
    }

    /// Brings what was encoded to the file, whole or not at all.
    fn drain(&mut self) -> io::Result<()> {
        let mut bytes = self.bucket.0.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.target.write_all(&bytes).and_then(|()| self.target.flush());
        let length = bytes.len() as u64;
        bytes.clear();
        if let Err(error) = written {
            self.broken = true;
            self.target.cut(self.good)?;
            return Err(error);
        }
        self.good += length;
        Ok(())
    }

    /// Writes what is left, and gives the file its name where it holds a frame.
    fn close(&mut self) -> io::Result<()> {
        let broken = self.broken;
        if let Encoder::Gif { writer: Some(writer), waiting } = &mut self.encoder
            && let Some(last) = waiting.take()
            && !broken
        {
            writer.write(&last.picture, last.lasts.unwrap_or(Duration::from_millis(100)))?;
            self.written += 1;
            self.drain()?;
        }
        if let Encoder::Gif { writer, .. } = &mut self.encoder {
            // Dropped, it writes the end of the file, for which there is room even on a full disk:
            // a frame was just taken back.
            *writer = None;
            if self.good > 0 {
                self.drain()?;
            }
        }
        if self.good > 0 { self.target.keep() } else { Ok(()) }
    }
}

/// How many copies of a frame fill a video of a fixed rate up to it: more where frames were left
/// out, none where they come too fast.
fn copies(at: Duration, rate: f64, written: u64) -> u64 {
    let wanted = (at.as_secs_f64() * rate).round() as u64 + 1;
    let most = (GAP * rate).max(1.0) as u64;
    wanted.saturating_sub(written).min(most)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use bunjae_data::animation::Animation;
    use bunjae_data::decode::Limits;

    use super::*;

    /// A disk with so much room.
    struct Disk {
        bytes: Vec<u8>,
        room: usize,
        kept: bool,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room - self.bytes.len());
            if fits == 0 && !bytes.is_empty() {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.bytes.extend_from_slice(&bytes[..fits]);
            Ok(fits)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Target for Disk {
        fn cut(&mut self, length: u64) -> io::Result<()> {
            self.bytes.truncate(length as usize);
            Ok(())
        }

        fn keep(&mut self) -> io::Result<()> {
            self.kept = true;
            Ok(())
        }
    }

    fn noise(seed: u8) -> Picture {
        let samples = (0..40 * 30 * 3).map(|i| (i as u8).wrapping_mul(seed | 1)).collect();
        Picture::new(40, 30, Channels::Rgb, samples).unwrap()
    }

    /// Writes ten frames of 100 ms to a disk with so much room; how many were taken.
    fn film(save_as: SaveAs, room: usize) -> (Film<Disk>, usize) {
        let mut film = Film::new(Disk { bytes: Vec::new(), room, kept: false }, save_as);
        let frames = (0..10).take_while(|&frame| {
            let at = Duration::from_millis(100) * frame;
            film.add(&noise(frame as u8), at, None, Some(10.0)).is_ok()
        });
        let frames = frames.count();
        (film, frames)
    }

    fn frames_of(save_as: SaveAs, bytes: Vec<u8>) -> usize {
        use crate::source::{Asked, Read, Spec, open};
        if save_as == SaveAs::Gif {
            let frames = Animation::gif(Cursor::new(bytes), Limits::default()).unwrap();
            return frames.filter(Result::is_ok).count();
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film");
        fs::write(&path, bytes).unwrap();
        let mut source = open(&Spec::Path(path), &Asked::default()).unwrap();
        let mut picture = noise(0);
        (0..100).take_while(|_| source.read(&mut picture).unwrap() != Read::End).count()
    }

    #[test]
    fn films_are_whole_after_closing() {
        for save_as in [SaveAs::Gif, SaveAs::Y4m, SaveAs::Mjpeg] {
            let (mut film, frames) = film(save_as, usize::MAX);
            film.close().unwrap();
            assert!(film.target.kept);
            assert_eq!((frames, frames_of(save_as, film.target.bytes)), (10, 10), "{save_as:?}");
        }
    }

    #[test]
    fn a_full_disk_leaves_the_frames_before_it() {
        for save_as in [SaveAs::Gif, SaveAs::Y4m, SaveAs::Mjpeg] {
            let (mut whole, _) = film(save_as, usize::MAX);
            whole.close().unwrap();
            let room = whole.target.bytes.len() / 2;
            let (mut film, taken) = film(save_as, room);
            assert!(taken < 10, "{save_as:?}");
            film.close().unwrap();
            assert!(film.target.kept && film.target.bytes.len() <= room);
            let frames = frames_of(save_as, film.target.bytes);
            assert!((1..=taken).contains(&frames), "{save_as:?}: {frames} of {taken}");
        }
    }

    #[test]
    fn a_disk_without_any_room_leaves_nothing() {
        for save_as in [SaveAs::Gif, SaveAs::Y4m, SaveAs::Mjpeg] {
            let (mut film, _) = film(save_as, 0);
            let _ = film.close();
            assert!(!film.target.kept && film.target.bytes.is_empty(), "{save_as:?}");
        }
    }

    #[test]
    fn videos_keep_time_where_frames_were_left_out_or_come_too_fast() {
        let mut written = 0;
        let mut all = Vec::new();
        for at in [0.0, 0.1, 0.11, 0.12, 0.5, 100.0] {
            let copies = copies(Duration::from_secs_f64(at), 10.0, written);
            written += copies;
            all.push(copies);
        }
        assert_eq!(all, [1, 1, 0, 0, 4, 100]);
    }

    #[test]
    fn a_file_that_is_not_closed_leaves_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("film.y4m");
        fs::write(&path, "old").unwrap();
        let saver = Saver::new(&path, SaveAs::Y4m, Saving::default()).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        drop(saver);
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_folder_with_files_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("mine"), "").unwrap();
        let error = Saver::new(folder.path(), SaveAs::Png, Saving::default()).err().unwrap();
        assert!(error.to_string().contains("not empty"), "{error}");
    }
}
