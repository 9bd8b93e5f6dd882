//! Sources through GStreamer; only with the feature, and with GStreamer on the machine.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(feature = "gstreamer")]

mod support;

use std::path::Path;
use std::time::Duration;

use bunjae_camera::source::{Asked, Fault, Read, Source, SourceError, Spec, open};
use bunjae_camera::{Control, run};
use bunjae_data::encode::jpeg;
use bunjae_data::{Channels, Picture};
use gstreamer as gst;
use gstreamer::prelude::*;
use support::{Script, collect, setup};

fn opened(spec: &str) -> Result<Box<dyn Source>, SourceError> {
    open(&spec.parse::<Spec>().unwrap(), &Asked::default())
}

fn empty() -> Picture {
    Picture::filled(1, 1, Channels::Grey, [0; 3])
}

/// The frames of a source up to its end, at most so many.
fn frames(source: &mut dyn Source, most: usize) -> Vec<Picture> {
    let mut frames = Vec::new();
    while frames.len() < most {
        let mut picture = empty();
        match source.read(&mut picture).unwrap() {
            Read::End => break,
            _ => frames.push(picture),
        }
    }
    frames
}

#[test]
fn a_pipeline_delivers_its_frames_in_rgb_and_ends() {
    // A width that rows are padded for.
    let text = "gst:videotestsrc num-buffers=5 pattern=red ! video/x-raw,width=62,height=46,\
                framerate=50/1 ! videoconvert";
    let frames = frames(opened(text).unwrap().as_mut(), 100);
    assert!((1..=5).contains(&frames.len()), "{}", frames.len());
    for frame in &frames {
        assert_eq!((frame.width(), frame.height()), (62, 46));
        let (pixels, _) = frame.samples().as_chunks::<3>();
        assert!(pixels.iter().all(|&[red, green, blue]| red > 240 && green < 15 && blue < 15));
    }
}

#[test]
fn a_slow_reader_gets_the_newest_frame() {
    let text = "gst:videotestsrc is-live=true ! video/x-raw,width=32,height=32,framerate=100/1 \
                ! videoconvert";
    let mut source = opened(text).unwrap();
    let mut picture = empty();
    source.read(&mut picture).unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let asked = std::time::Instant::now();
    // Fifty frames came meanwhile; the one that waits is the last of them.
    let Ok(Read::Live { captured }) = source.read(&mut picture) else { panic!() };
    let age = asked.saturating_duration_since(captured);
    assert!(age < Duration::from_millis(300), "{age:?}");
}

/// Writes a video of a second with GStreamer itself.
fn video(path: &Path) {
    gst::init().unwrap();
    let text = format!(
        "videotestsrc num-buffers=30 ! video/x-raw,width=64,height=48,framerate=30/1 \
         ! theoraenc ! oggmux ! filesink location={}",
        path.display()
    );
    let pipeline = gst::parse::launch(&text).unwrap();
    pipeline.set_state(gst::State::Playing).unwrap();
    let ends = [gst::MessageType::Eos, gst::MessageType::Error];
    let message =
        pipeline.bus().unwrap().timed_pop_filtered(gst::ClockTime::from_seconds(60), &ends);
    assert_eq!(message.unwrap().type_(), gst::MessageType::Eos);
    pipeline.set_state(gst::State::Null).unwrap();
}

#[test]
fn a_video_file_is_decoded_and_played_at_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip with \"quotes\".ogv");
    let plain = folder.path().join("clip.ogv");
    video(&plain);
    std::fs::rename(&plain, &path).unwrap();
    let begun = std::time::Instant::now();
    let mut source = open(&Spec::Path(path), &Asked::default()).unwrap();
    let frames = frames(source.as_mut(), 1000);
    // A second of video: not read as fast as the disk gives it.
    assert!(begun.elapsed() > Duration::from_millis(700), "{:?}", begun.elapsed());
    assert!((5..=30).contains(&frames.len()), "{}", frames.len());
    assert_eq!((frames[0].width(), frames[0].height()), (64, 48));
}

#[test]
fn a_video_file_can_be_worked_through_frame_by_frame() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("clip.ogv");
    video(&path);
    let asked = Asked { every: true, ..Asked::default() };
    let frames = frames(open(&Spec::Path(path), &asked).unwrap().as_mut(), 1000);
    assert_eq!(frames.len(), 30);
}

#[test]
fn pictures_that_are_numbered_are_a_pipeline_too() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..6_u8 {
        let mut bytes = Vec::new();
        let picture = Picture::filled(40, 32, Channels::Rgb, [number * 40; 3]);
        jpeg(&picture, 95, &mut bytes).unwrap();
        std::fs::write(folder.path().join(format!("{number:03}.jpg")), bytes).unwrap();
    }
    let text = format!(
        "gst:multifilesrc location={}/%03d.jpg caps=image/jpeg,framerate=20/1 ! jpegdec \
         ! videoconvert",
        folder.path().display()
    );
    let frames = frames(opened(&text).unwrap().as_mut(), 100);
    assert!((2..=6).contains(&frames.len()), "{}", frames.len());
    let shades: Vec<u8> = frames.iter().map(|frame| frame.samples()[0]).collect();
    assert!(shades.is_sorted(), "{shades:?}");
}

#[test]
fn what_is_missing_or_wrong_is_said() {
    for (spec, word) in [
        ("gst:nosuchelement", "nosuchelement"),
        ("csi:0", "nvarguscamerasrc"),
        ("gst:videotestsrc ! filesink", "link"),
    ] {
        let error = opened(spec).err().unwrap();
        assert_eq!(error.fault(), Fault::Fatal, "{error}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(error.hint().is_some(), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise.mp4");
    std::fs::write(&path, [7; 5000]).unwrap();
    let mut source = open(&Spec::Path(path), &Asked::default()).unwrap();
    assert_eq!(source.read(&mut empty()).unwrap_err().fault(), Fault::Fatal);
}

#[test]
fn a_pipeline_that_breaks_while_it_runs_is_lost_and_opened_again() {
    let (sink, frames) = collect("frames");
    let mut setup = setup(Script::new([]), vec![sink]);
    let mut first = true;
    setup.open = Box::new(move || {
        // The first one fails after some frames, as a camera does that is plugged out.
        let error = if std::mem::take(&mut first) { "identity error-after=10 !" } else { "" };
        opened(&format!(
            "gst:videotestsrc is-live=true num-buffers=30 \
             ! video/x-raw,width=32,height=32,framerate=60/1 ! {error} videoconvert"
        ))
    });
    setup.reopen = Some(bunjae_camera::BackOff {
        first: Duration::from_millis(10),
        most: Duration::from_millis(50),
    });
    let (summary, error) = run(setup, &Control::default());
    assert_eq!(error, None);
    assert_eq!(summary.source_lost, 1);
    let numbers: Vec<u64> = frames.lock().unwrap().iter().map(|seen| seen.0).collect();
    assert!(numbers.len() > 10 && numbers.is_sorted(), "{numbers:?}");
}
