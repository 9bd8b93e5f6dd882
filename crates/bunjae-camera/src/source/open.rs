//! From what the user calls a source to a source.

use std::fs::File;
use std::io::{BufRead, BufReader, stdin};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bunjae_data::Picture;
use bunjae_data::decode::{Format, Limits};

use super::files::Pictures;
use super::gif::Gif;
use super::mjpeg::Mjpeg;
use super::pattern::Pattern;
use super::pipeline;
use super::y4m::{self, Y4m};
use super::{Read, Source, SourceError, webcam};

/// No camera is faster, and no rate above it is meant.
pub const MAX_RATE: f64 = 10_000.0;

/// Frames per second of what does not say.
const RATE: f64 = 25.0;

/// The largest side of what is asked of a camera or a pattern.
const MAX_SIDE: usize = 16_384;

/// What the user calls a source.
#[derive(Clone, Debug, PartialEq)]
pub enum Spec {
    /// A V4L2 device.
    Webcam(PathBuf),
    /// A camera at the CSI connector of a Jetson board.
    Csi(u32),
    /// A GStreamer pipeline, up to the sink.
    Pipeline(String),
    /// What GStreamer opens by its address, such as RTSP.
    Address(String),
    /// A moving pattern.
    Test {
        /// Columns and rows, unless told otherwise.
        size: Option<[usize; 2]>,
        /// Frames per second, unless told otherwise.
        rate: Option<f64>,
    },
    /// YUV4MPEG2 or motion JPEG from standard input.
    Stdin,
    /// A file or folder.
    Path(PathBuf),
}

/// `640x480`.
fn size(text: &str) -> Result<[usize; 2], String> {
    let wrong = || format!("`{text}` is no size such as 640x480");
    let (width, height) = text.split_once('x').ok_or_else(wrong)?;
    let side = |text: &str| {
        let side: usize = text.parse().map_err(|_| wrong())?;
        let fits = (1..=MAX_SIDE).contains(&side);
        if fits { Ok(side) } else { Err(format!("a side is within 1 and {MAX_SIDE}")) }
    };
    Ok([side(width)?, side(height)?])
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.01 && rate <= MAX_RATE => Ok(rate),
        _ => Err(format!("`{text}` is no rate in frames per second, such as 30")),
    }
}

impl FromStr for Spec {
    type Err = String;

    fn from_str(text: &str) -> Result<Spec, String> {
        let (kind, rest) = text.split_once(':').unwrap_or((text, ""));
        let number = |what| {
            let number = if rest.is_empty() { Ok(0) } else { rest.parse::<u32>() };
            number.map_err(|_| format!("`{rest}` is no number of a {what}, such as 0"))
        };
        Ok(match kind {
            "webcam" if rest.starts_with('/') => Spec::Webcam(PathBuf::from(rest)),
            "webcam" => Spec::Webcam(PathBuf::from(format!("/dev/video{}", number("camera")?))),
            "csi" => Spec::Csi(number("camera")?),
            "gst" if rest.trim().is_empty() => return Err("an empty pipeline".to_owned()),
            "gst" => Spec::Pipeline(rest.to_owned()),
            "rtsp" | "rtsps" | "http" | "https" | "srt" | "udp" if rest.starts_with("//") => {
                Spec::Address(text.to_owned())
            }
            "test" => {
                let (sides, beat) = rest.split_once('@').unwrap_or((rest, ""));
                let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
                Spec::Test {
                    size: some(sides).as_deref().map(size).transpose()?,
                    rate: some(beat).as_deref().map(rate).transpose()?,
                }
            }
            "-" => Spec::Stdin,
            "" => return Err("an empty name".to_owned()),
            _ => Spec::Path(PathBuf::from(text)),
        })
    }
}

impl Spec {
    /// Whether it goes on by itself, so that it may be opened again when it is lost.
    pub fn is_live(&self) -> bool {
        match self {
            Spec::Webcam(_) | Spec::Csi(_) | Spec::Pipeline(_) | Spec::Address(_) => true,
            Spec::Test { .. } | Spec::Stdin | Spec::Path(_) => false,
        }
    }
}

/// How the picture of a CSI camera is turned; the numbers of `flip-method`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Flip {
    /// As it is.
    #[default]
    None = 0,
    /// A quarter against the clock.
    Left = 1,
    /// Upside down.
    Half = 2,
    /// A quarter with the clock.
    Right = 3,
    /// Left and right exchanged.
    Horizontal = 4,
    /// Top and bottom exchanged.
    Vertical = 6,
}

/// What is asked of a source beside its name.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Asked {
    /// Columns and rows, of cameras and patterns.
    pub size: Option<[usize; 2]>,
    /// Frames per second: of cameras and patterns, and in place of what a file says.
    pub rate: Option<f64>,
    /// How a CSI camera's picture is turned.
    pub flip: Flip,
    /// Whether a file starts again at its end.
    pub repeat: bool,
    /// Whether every frame of a video file is wanted, however slowly they are taken.
    pub every: bool,
    /// What a picture may cost.
    pub limits: Limits,
}

impl Asked {
    /// Reads a size such as `640x480`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_size(text: &str) -> Result<[usize; 2], String> {
        size(text)
    }

    /// Reads a rate in frames per second.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_rate(text: &str) -> Result<f64, String> {
        rate(text)
    }

    fn lasts(&self) -> Option<Duration> {
        self.rate.map(|rate| Duration::from_secs_f64(1.0 / rate))
    }
}

/// What this build can read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported {
    /// V4L2 devices.
    pub webcams: bool,
    /// GStreamer: CSI cameras, pipelines, video files, RTSP.
    pub gstreamer: bool,
}

/// What this build can read.
pub fn supported() -> Supported {
    Supported { webcams: cfg!(target_os = "linux"), gstreamer: cfg!(feature = "gstreamer") }
}

/// Opens a source.
///
/// # Errors
/// [`SourceError`].
pub fn open(spec: &Spec, asked: &Asked) -> Result<Box<dyn Source>, SourceError> {
    Ok(match spec {
        Spec::Webcam(device) => webcam::open(device, asked)?,
        Spec::Csi(sensor) => play(&format!("csi:{sensor}"), &pipeline::csi(*sensor, asked), false)?,
        Spec::Pipeline(text) => play("the pipeline", text, asked.every)?,
        Spec::Address(address) => play(address, &pipeline::address(address), false)?,
        Spec::Test { size, rate } => {
            let [width, height] = asked.size.or(*size).unwrap_or([640, 480]);
            Box::new(Pattern::new(width, height, asked.rate.or(*rate).unwrap_or(30.0)))
        }
        Spec::Stdin => stream("standard input", BufReader::new(stdin()), asked.limits)?,
        Spec::Path(path) if asked.repeat => {
            let source = open_path(path, asked)?;
            Box::new(Repeated { path: path.clone(), asked: *asked, source, good: false })
        }
        Spec::Path(path) => open_path(path, asked)?,
    })
}

#[cfg(feature = "gstreamer")]
fn play(name: &str, pipeline: &str, every: bool) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(super::gst::Pipeline::open(name, pipeline, every)?))
}

#[cfg(not(feature = "gstreamer"))]
fn play(name: &str, _: &str, _: bool) -> Result<Box<dyn Source>, SourceError> {
    let what = "this program was built without GStreamer";
    let hint = "build it with `--features gstreamer` (Debian: libgstreamer1.0-dev and \
                libgstreamer-plugins-base1.0-dev), or pipe what another program decodes: \
                `ffmpeg -i ... -f yuv4mpegpipe - | bunjae camera --source -`";
    Err(SourceError::failed(name, what, hint))
}

/// What a file turns out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Picture,
    Gif,
    Mjpeg,
    Y4m,
    Video,
}

impl Kind {
    fn of(path: &Path, start: &[u8]) -> Kind {
        let ending = path.extension().map(|ending| ending.to_string_lossy().to_ascii_lowercase());
        let single = matches!(ending.as_deref(), Some("jpg" | "jpeg"));
        match Format::of(start) {
            Some(Format::Gif) => Kind::Gif,
            Some(Format::Jpeg) if !single => Kind::Mjpeg,
            Some(_) => Kind::Picture,
            None if start.starts_with(y4m::MAGIC) => Kind::Y4m,
            // A multipart stream that was saved as it came.
            None if start.starts_with(b"--") || start.starts_with(b"\r\n--") => Kind::Mjpeg,
            None => Kind::Video,
        }
    }
}

fn open_path(path: &Path, asked: &Asked) -> Result<Box<dyn Source>, SourceError> {
    let shown = path.display().to_string();
    let failed = |error: std::io::Error, hint| SourceError::failed(&shown, error, hint);
    let metadata = path.metadata().map_err(|error| {
        failed(error, "sources are webcam:N, csi:N, gst:PIPELINE, rtsp://..., test:, - and paths")
    })?;
    let Asked { limits, .. } = *asked;
    let lasts = asked.lasts();
    let beat = lasts.unwrap_or(Duration::from_secs_f64(1.0 / RATE));
    if metadata.is_dir() {
        return Ok(Box::new(Pictures::folder(path, limits, beat)?));
    }
    let file = File::open(path).map_err(|error| failed(error, ""))?;
    let mut reader = BufReader::new(file);
    if !metadata.is_file() {
        // A pipe: frames are shown as they come.
        return stream(&shown, reader, limits);
    }
    let start = reader.fill_buf().map_err(|error| failed(error, ""))?;
    Ok(match Kind::of(path, start) {
        Kind::Picture => Box::new(Pictures::one(path, limits, beat)),
        Kind::Gif => Box::new(Gif::open(path, limits, lasts)?),
        Kind::Mjpeg => Box::new(Mjpeg::new(shown, reader, limits, Some(beat))),
        Kind::Y4m => Box::new(Y4m::open(shown, reader, limits, lasts, false)?),
        Kind::Video => play(&shown, &pipeline::file(path), asked.every)?,
    })
}

/// A stream that cannot be played again.
fn stream(
    name: &str,
    mut reader: impl BufRead + 'static,
    limits: Limits,
) -> Result<Box<dyn Source>, SourceError> {
    let start = reader.fill_buf().map_err(|error| SourceError::failed(name, error, ""))?;
    match Kind::of(Path::new(""), start) {
        Kind::Mjpeg => Ok(Box::new(Mjpeg::new(name, reader, limits, None))),
        Kind::Y4m => Ok(Box::new(Y4m::open(name, reader, limits, None, true)?)),
        Kind::Picture | Kind::Gif | Kind::Video => {
            let what = "neither YUV4MPEG2 nor motion JPEG";
            let hint = "`ffmpeg -i ... -f yuv4mpegpipe -` writes the first";
            Err(SourceError::failed(name, what, hint))
        }
    }
}

/// A file that starts again at its end.
struct Repeated {
    path: PathBuf,
    asked: Asked,
    source: Box<dyn Source>,
    /// Whether this round had a frame. A round without one is the last.
    good: bool,
}

impl Source for Repeated {
    fn describe(&self) -> String {
        format!("{}, again and again", self.source.describe())
    }

    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
        match self.source.read(picture)? {
            Read::End if self.good => {
                self.good = false;
                self.source = open_path(&self.path, &self.asked)?;
                self.read(picture)
            }
            Read::End => Ok(Read::End),
            frame => {
                self.good = true;
                Ok(frame)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bunjae_data::Channels;
    use bunjae_data::encode::{GifWriter, png};

    use super::*;

    #[test]
    fn names_of_sources_are_told_apart() {
        for (text, expected) in [
            ("webcam:2", Spec::Webcam("/dev/video2".into())),
            ("webcam", Spec::Webcam("/dev/video0".into())),
            ("webcam:/dev/v4l/by-id/x", Spec::Webcam("/dev/v4l/by-id/x".into())),
            ("csi:1", Spec::Csi(1)),
            ("gst:videotestsrc ! a:b", Spec::Pipeline("videotestsrc ! a:b".into())),
            ("rtsp://host/x", Spec::Address("rtsp://host/x".into())),
            ("test:", Spec::Test { size: None, rate: None }),
            ("test:320x240@5", Spec::Test { size: Some([320, 240]), rate: Some(5.0) }),
            ("test:@5", Spec::Test { size: None, rate: Some(5.0) }),
            ("-", Spec::Stdin),
            ("clip.gif", Spec::Path("clip.gif".into())),
            ("a:b.gif", Spec::Path("a:b.gif".into())),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for wrong in ["", "webcam:x", "csi:-1", "gst:", "test:0x5", "test:5", "test:@0", "test:@x"]
        {
            assert!(wrong.parse::<Spec>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn files_are_told_apart_by_their_first_bytes() {
        let kind = |name: &str, start: &[u8]| Kind::of(Path::new(name), start);
        assert_eq!(kind("a.jpg", b"GIF89a"), Kind::Gif);
        assert_eq!(kind("a.jpg", &[0xff, 0xd8, 0xff]), Kind::Picture);
        assert_eq!(kind("a.mjpeg", &[0xff, 0xd8, 0xff]), Kind::Mjpeg);
        assert_eq!(kind("a", b"--frame\r\n"), Kind::Mjpeg);
        assert_eq!(kind("a", b"YUV4MPEG2 W2"), Kind::Y4m);
        assert_eq!(kind("a.mp4", &[0, 0, 0, 24]), Kind::Video);
        assert_eq!(kind("a.gif", b""), Kind::Video);
    }

    fn count(spec: &str, asked: &Asked, most: usize) -> usize {
        let mut source = open(&spec.parse().unwrap(), asked).unwrap();
        let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
        (0..most).take_while(|_| source.read(&mut picture).unwrap() != Read::End).count()
    }

    #[test]
    fn a_file_ends_or_starts_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("clip.gif");
        let mut writer = GifWriter::new(File::create(&path).unwrap());
        for shade in [0, 100, 200] {
            let picture = Picture::filled(4, 4, Channels::Rgb, [shade; 3]);
            writer.write(&picture, Duration::from_millis(40)).unwrap();
        }
        drop(writer);
        let spec = path.to_str().unwrap();
        assert_eq!(count(spec, &Asked::default(), 10), 3);
        assert_eq!(count(spec, &Asked { repeat: true, ..Asked::default() }, 10), 10);
    }

    #[test]
    fn a_file_with_nothing_good_does_not_start_again_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.png"), b"\x89PNG\r\n\x1a\nrest").unwrap();
        let asked = Asked { repeat: true, ..Asked::default() };
        let spec = Spec::Path(folder.path().to_owned());
        let mut source = open(&spec, &asked).unwrap();
        let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
        assert!(source.read(&mut picture).is_err());
        assert_eq!(source.read(&mut picture), Ok(Read::End));
    }

    #[test]
    fn one_picture_is_one_frame_at_the_rate_asked() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("one.png");
        png(&Picture::filled(4, 4, Channels::Rgb, [9; 3]), File::create(&path).unwrap()).unwrap();
        let asked = Asked { rate: Some(4.0), ..Asked::default() };
        let mut source = open(&Spec::Path(path), &asked).unwrap();
        let mut picture = Picture::filled(1, 1, Channels::Grey, [0; 3]);
        let lasts = Duration::from_millis(250);
        assert_eq!(source.read(&mut picture), Ok(Read::Paced { lasts }));
        assert_eq!(source.read(&mut picture), Ok(Read::End));
    }

    #[cfg(not(feature = "gstreamer"))]
    #[test]
    fn what_needs_gstreamer_says_how_to_get_it() {
        for spec in ["csi:0", "gst:videotestsrc", "rtsp://127.0.0.1/x"] {
            let error = open(&spec.parse().unwrap(), &Asked::default()).err().unwrap();
            assert!(error.to_string().contains("built without GStreamer"), "{error}");
            assert!(error.hint().unwrap().contains("--features gstreamer"));
        }
    }
}
