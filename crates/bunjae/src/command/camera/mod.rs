//! `bunjae camera`: frames in, labelled pictures out, live.

mod faces;
mod lines;
mod list;
mod models;
mod report;

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bunjae_camera::source::{self, Asked, Flip, Spec};
use bunjae_camera::{
    BackOff, Control, Event, Finder, FlowError, Page, PageError, Recogniser, SaveAs, Saver, Saving,
    Setup, Sink, Slow, Stage, Tell, Until,
};
use clap::{Args, ValueEnum};

use crate::args::positive;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::interrupt;
use crate::output::Output;
use crate::runnable::Compiling;

use faces::Faces;
use lines::Lines;

/// Frames with faces that each model of `--compare` is measured on, unless told otherwise.
const RUNS: u64 = 100;

/// Label what a camera sees, live
///
/// Frames come from a camera, a file, a folder of pictures or a pattern, go through the models, and
/// are shown. Reading, detecting, classifying and showing run at the same time, and each takes the
/// newest frame there is: where the machine is too slow for the camera, frames are left out (and
/// counted), and what is shown is never old. How a face becomes the input of a model, and what the
/// classes are called, stands in the model's metadata (`bunjae annotate` writes it).
///
/// Ends with the source, after --frames or --seconds, or at Ctrl-C, and then reports what each stage
/// took and how old frames were when they were shown. Ctrl-C closes files first; the exit code is
/// then 130.
#[derive(Debug, Args)]
#[command(after_help = "Examples: bunjae camera masks.onnx --source webcam:0\n  \
    bunjae camera masks.onnx --source clip.gif --fast --format json\n  \
    bunjae camera --compare teacher.onnx student.onnx --source clip.gif --loop\n  \
    ffmpeg -i door.mp4 -f yuv4mpegpipe - | bunjae camera masks.onnx --source -")]
pub(crate) struct Camera {
    /// Models, annotated with preprocessing and labels: ONNX files, or what `bunjae compile` wrote
    #[arg(value_name = "MODEL", conflicts_with = "list")]
    models: Vec<PathBuf>,
    #[command(flatten)]
    from: From,
    #[command(flatten)]
    faces: Faces,
    #[command(flatten)]
    to: To,
    #[command(flatten)]
    ends: Ends,
    /// Measure models one after the other in the running pipeline, and print a table of them at the
    /// end
    #[arg(long, value_name = "MODEL", num_args = 1.., conflicts_with_all = ["models", "list"])]
    compare: Vec<PathBuf>,
    /// How many frames with faces each model of --compare is measured on [default: 100]
    #[arg(long, value_name = "N", value_parser = positive, requires = "compare")]
    runs: Option<NonZeroUsize>,
    /// How many classes to name for each face
    #[arg(long, short = 'k', value_name = "K", value_parser = positive, default_value = "1")]
    top: NonZeroUsize,
    /// Show the devices there are, what they offer, and what this program can read, and end
    #[arg(long)]
    list: bool,
    /// The threads that compute [default: all of the machine]
    #[arg(long, value_name = "N", value_parser = positive, help_heading = "Engine")]
    threads: Option<NonZeroUsize>,
    #[command(flatten)]
    compiling: Compiling,
    /// Make a stage slower, as in infer=200, to see that the others do not suffer
    #[arg(long, hide = true, value_name = "STAGE=MILLISECONDS", value_parser = slow)]
    slow: Option<Slow>,
}

/// Where frames come from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Source")]
struct From {
    /// webcam:N, csi:N, gst:PIPELINE, rtsp://..., test:640x480@30, - for standard input, or a file
    /// (GIF, motion JPEG, YUV4MPEG2, a picture, and with GStreamer any video) or folder of pictures
    #[arg(long, short, value_name = "SOURCE", default_value = "webcam:0")]
    source: Spec,
    /// The size to ask a camera for [default: 640x480, of csi:N 1280x720]
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = Asked::parse_size)]
    size: Option<[usize; 2]>,
    /// Frames per second: of cameras [default: 30], and in place of what a file says
    #[arg(long, value_name = "RATE", value_parser = Asked::parse_rate)]
    rate: Option<f64>,
    /// How the picture of a camera at csi:N is turned
    #[arg(long, value_enum, value_name = "HOW", default_value = "none")]
    flip: FlipArg,
    /// Work through a file as fast as can be, and leave out no frame
    #[arg(long)]
    fast: bool,
    /// Play a file again at its end
    #[arg(long = "loop")]
    repeat: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum FlipArg {
    None,
    /// A quarter against the clock
    Left,
    /// Upside down
    Half,
    /// A quarter with the clock
    Right,
    /// Left and right exchanged
    Horizontal,
    /// Top and bottom exchanged
    Vertical,
}

/// Where frames go.
#[derive(Debug, Args)]
#[command(next_help_heading = "Where frames go")]
struct To {
    /// Show a page in the browser; goes without saying where nothing else is asked for
    #[arg(long)]
    page: bool,
    /// The port of the page; 0 takes any that is free
    #[arg(long, value_name = "PORT", default_value = "8080")]
    port: u16,
    /// The address of the page; 0.0.0.0 lets everybody in the network look
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    bind: IpAddr,
    /// Write frames with their boxes: to a file that ends in .gif, .y4m or .mjpeg, or else as
    /// pictures to a folder
    #[arg(long, value_name = "PATH")]
    save: Option<PathBuf>,
    /// The kind of the pictures in a folder
    #[arg(long, value_enum, value_name = "KIND", default_value = "png", requires = "save")]
    save_as: PictureKind,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum PictureKind {
    Png,
    Jpeg,
}

/// When it ends.
#[derive(Debug, Args)]
struct Ends {
    /// End after so many labelled frames
    #[arg(long, value_name = "N", value_parser = positive)]
    frames: Option<NonZeroUsize>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is no number of seconds over 0");
    let number: f64 = text.parse().map_err(|_| wrong())?;
    if number > 0.0 {
        Duration::try_from_secs_f64(number).map_err(|_| wrong())
    } else {
        Err(wrong())
    }
}

fn slow(text: &str) -> Result<Slow, String> {
    let (name, time) = text.split_once('=').ok_or("expected STAGE=MILLISECONDS")?;
    let stage = Stage::ALL.into_iter().find(|stage| stage.name() == name);
    let stage = stage.ok_or_else(|| format!("there is no stage `{name}`"))?;
    let time: u64 = time.parse().map_err(|_| format!("`{time}` is no time"))?;
    Ok(Slow { stage, time: Duration::from_millis(time) })
}

impl From {
    fn asked(&self) -> Asked {
        let flip = match self.flip {
            FlipArg::None => Flip::None,
            FlipArg::Left => Flip::Left,
            FlipArg::Half => Flip::Half,
            FlipArg::Right => Flip::Right,
            FlipArg::Horizontal => Flip::Horizontal,
            FlipArg::Vertical => Flip::Vertical,
        };
        let From { size, rate, repeat, fast, .. } = *self;
        Asked { size, rate, flip, repeat, every: fast, ..Asked::default() }
    }
}

impl Camera {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        if self.list {
            return list::show(output);
        }
        let comparing = !self.compare.is_empty();
        let paths = if comparing { &self.compare } else { &self.models };
        let threads = self.threads.map_or(0, NonZeroUsize::get);
        let models = models::load(paths, &self.compiling, threads, output)?;
        let finder = self.faces.finder(&self.compiling, threads, output)?;
        let control = Control::default();
        let sinks = self.sinks(&control, &models, output)?;
        interrupt::gently({
            let control = control.clone();
            move || control.stop()
        });
        let (summary, error) =
            bunjae_camera::run(self.setup(finder, models, sinks, output), &control);
        let interrupted = interrupt::was_gentle();
        // To people there is nothing to report of a source that was never opened, but the error.
        if output.is_json() || error.is_none() || !summary.source.is_empty() {
            report::print(&summary, comparing, output)?;
        }
        if let Some(error) = error {
            return Err(flow_failure(&error));
        }
        let failed = summary.outputs.iter().find_map(|output| {
            output.failure.as_ref().map(|reason| format!("{}: {reason}", output.output))
        });
        match failed {
            Some(failed) => Err(Failure::new(failed)),
            None if interrupted => Ok(Outcome::Interrupted),
            None => Ok(Outcome::Done),
        }
    }

    fn setup(
        &self,
        finder: Option<Box<dyn Finder>>,
        models: Vec<Recogniser>,
        sinks: Vec<Box<dyn Sink>>,
        output: &Output,
    ) -> Setup {
        let (spec, asked) = (self.from.source.clone(), self.from.asked());
        let runs = self.runs.map_or(RUNS, |runs| runs.get() as u64);
        Setup {
            reopen: spec.is_live().then(BackOff::default),
            open: Box::new(move || source::open(&spec, &asked)),
            fast: self.from.fast,
            finder,
            models,
            top: self.top.get(),
            sinks,
            until: Until {
                frames: self.ends.frames.map(|frames| frames.get() as u64),
                time: self.ends.seconds,
                runs_per_model: (!self.compare.is_empty()).then_some(runs),
            },
            slow: self.slow,
            tell: tell(output.clone()),
        }
    }

    fn sinks(
        &self,
        control: &Control,
        models: &[Recogniser],
        output: &Output,
    ) -> Fallible<Vec<Box<dyn Sink>>> {
        let To { page, port, bind, ref save, save_as } = self.to;
        let mut sinks: Vec<Box<dyn Sink>> = Vec::new();
        if page || !(output.is_json() || save.is_some() || !self.compare.is_empty()) {
            let names: Vec<_> = models.iter().map(|model| model.name().clone()).collect();
            let page = Page::serve(SocketAddr::new(bind, port), control, &names);
            let page = page.map_err(|error| no_page(&error))?;
            output.note(&format!("note: the page is at http://{}/", page.address()));
            if !page.address().ip().is_loopback() {
                output.note("note: everybody who reaches that address sees what the camera sees");
            }
            sinks.push(Box::new(page));
        }
        if let Some(path) = save {
            let kind = SaveAs::of(path).unwrap_or(match save_as {
                PictureKind::Png => SaveAs::Png,
                PictureKind::Jpeg => SaveAs::Jpeg,
            });
            let saving = Saving { rate: self.from.rate, fast: self.from.fast };
            let saver = Saver::new(path, kind, saving).map_err(|error| {
                let folder = matches!(kind, SaveAs::Png | SaveAs::Jpeg) && path.is_dir();
                Failure::new(error).maybe_hint(folder.then_some("give another folder"))
            })?;
            sinks.push(Box::new(saver));
        }
        if output.is_json() {
            sinks.push(Box::new(Lines::new(output.clone(), control.clone())));
        }
        Ok(sinks)
    }
}

fn no_page(error: &PageError) -> Failure {
    let failure = Failure::new(error);
    match error {
        PageError::InUse(_) => failure.hint("`--port 0` takes any port that is free"),
        PageError::Bind { .. } => failure,
    }
}

/// Notes on stderr about what happens.
fn tell(output: Output) -> Tell {
    Arc::new(move |event| {
        output.note(&match event {
            Event::Opened { source } => format!("note: {source}"),
            Event::Lost { reason } => format!("note: {reason}; trying to open it again"),
            Event::Corrupt { reason, last_told } => {
                let rest = if last_told { "; more of them are only counted" } else { "" };
                format!("note: {reason}{rest}")
            }
            Event::OutputFailed { output, reason } => format!("note: {output} ended: {reason}"),
        });
    })
}

fn flow_failure(error: &FlowError) -> Failure {
    let hint = match error {
        FlowError::Source(error) => error.hint(),
        _ => None,
    };
    Failure::new(error).maybe_hint(hint)
}
