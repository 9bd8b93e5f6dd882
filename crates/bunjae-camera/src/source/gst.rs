//! Whatever GStreamer can play: a pipeline that ends in a sink which keeps one frame, the newest.

use std::time::{Duration, Instant};

use bunjae_data::{Channels, Picture};
use gstreamer as gst;
use gstreamer::prelude::*;
use gstreamer_app::AppSink;
use gstreamer_video::{VideoFrameRef, VideoInfo};

use super::{Read, Source, SourceError};

/// What stands behind every pipeline: RGB, and a place for one frame.
const SINK: &str = " ! video/x-raw,format=RGB ! appsink name=bunjae max-buffers=1";

/// Newer frames replace one that nobody has taken yet.
const NEWEST: &str = " drop=true";

/// Frames wait until they are taken, and the clock does not count.
const EVERY: &str = " drop=false sync=false";

/// How long to wait for a frame before the pipeline is asked how it is.
const PATIENCE: gst::ClockTime = gst::ClockTime::from_mseconds(200);

/// How long a pipeline may take to deliver its first frame: cameras on the network need seconds.
const START: Duration = Duration::from_secs(20);

/// How long one that delivered frames may be silent.
const SILENCE: Duration = Duration::from_secs(5);

pub(crate) struct Pipeline {
    name: String,
    pipeline: gst::Pipeline,
    sink: AppSink,
    heard: Instant,
    begun: bool,
}

impl Pipeline {
    /// Starts a pipeline, in the words of `gst-launch-1.0`, up to where the sink comes.
    pub(crate) fn open(name: &str, text: &str, every: bool) -> Result<Pipeline, SourceError> {
        let failed = |why: String| {
            let hint = match why.contains("no element") {
                true => {
                    "a plugin of GStreamer is missing; Debian: gstreamer1.0-plugins-good, \
                     gstreamer1.0-plugins-bad, gstreamer1.0-libav; `nvarguscamerasrc` is there on \
                     Jetson boards only"
                }
                false => "`gst-launch-1.0 PIPELINE ! fakesink` says more",
            };
            SourceError::failed(name, why, hint)
        };
        gst::init().map_err(|error| failed(error.to_string()))?;
        let keep = if every { EVERY } else { NEWEST };
        let element = gst::parse::launch(&format!("{text}{SINK}{keep}"));
        let element = element.map_err(|error| failed(error.message().to_owned()))?;
        let pipeline = element.downcast::<gst::Pipeline>();
        let pipeline = pipeline.map_err(|_| failed("it is no pipeline".to_owned()))?;
        let sink = pipeline.by_name("bunjae").and_then(|sink| sink.downcast::<AppSink>().ok());
        let sink = sink.ok_or_else(|| failed("it has no end".to_owned()))?;
        let opened =
            Pipeline { name: name.to_owned(), pipeline, sink, heard: Instant::now(), begun: false };
        if opened.pipeline.set_state(gst::State::Playing).is_err() {
            let why = opened.complaint().unwrap_or_else(|| "it does not start".to_owned());
            return Err(failed(why));
        }
        Ok(opened)
    }

    /// What went wrong in the pipeline, where something did.
    fn complaint(&self) -> Option<String> {
        let message = self.pipeline.bus()?.pop_filtered(&[gst::MessageType::Error])?;
        match message.view() {
            gst::MessageView::Error(error) => {
                let from = error.src().map(|source| source.name().to_string()).unwrap_or_default();
                Some(format!("{from}: {}", error.error().message()))
            }
            _ => None,
        }
    }

    /// When a buffer was taken: the running time that it is stamped with, by the pipeline's clock.
    fn captured(&self, stamp: Option<gst::ClockTime>) -> Instant {
        let now = Instant::now();
        let running = self.pipeline.current_running_time();
        let age = running.zip(stamp).and_then(|(running, stamp)| running.checked_sub(stamp));
        let age = age.map_or(Duration::ZERO, Duration::from);
        now.checked_sub(age).unwrap_or(now)
    }

    fn copy(&self, sample: &gst::Sample, picture: &mut Picture) -> Result<(), SourceError> {
        let corrupt = |why: &str| SourceError::Corrupt(why.to_owned());
        let caps = sample.caps().ok_or_else(|| corrupt("a frame of no kind"))?;
        let info = VideoInfo::from_caps(caps).map_err(|_| corrupt("a frame that is no video"))?;
        let buffer = sample.buffer().ok_or_else(|| corrupt("a frame without bytes"))?;
        let frame = VideoFrameRef::from_buffer_ref_readable(buffer, &info)
            .map_err(|_| corrupt("a frame that cannot be read"))?;
        let (width, height) = (info.width() as usize, info.height() as usize);
        let bytes = frame.plane_data(0).map_err(|_| corrupt("a frame without a plane"))?;
        let stride = usize::try_from(info.stride().first().copied().unwrap_or(0));
        let stride = stride.ok().filter(|&stride| stride >= width * 3);
        let stride = stride.ok_or_else(|| corrupt("rows of no length"))?;
        let samples = picture.reshape(width, height, Channels::Rgb);
        let samples = samples.ok_or_else(|| corrupt("a frame of no size"))?;
        if bytes.len() < stride * (height - 1) + width * 3 {
            return Err(corrupt("a frame with too few bytes"));
        }
        for (row, bytes) in samples.chunks_exact_mut(width * 3).zip(bytes.chunks(stride)) {
            row.copy_from_slice(&bytes[..width * 3]);
        }
        Ok(())
    }
}

impl Source for Pipeline {
    fn describe(&self) -> String {
        format!("{} through GStreamer", self.name)
    }

    fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
        loop {
            if let Some(sample) = self.sink.try_pull_sample(PATIENCE) {
                (self.heard, self.begun) = (Instant::now(), true);
                let stamp = sample.buffer().and_then(gst::BufferRef::pts);
                let running = sample
                    .segment()
                    .and_then(|segment| segment.downcast_ref::<gst::ClockTime>())
                    .and_then(|segment| segment.to_running_time(stamp));
                let captured = self.captured(running);
                self.copy(&sample, picture)?;
                return Ok(Read::Live { captured });
            }
            if let Some(complaint) = self.complaint() {
                return Err(match self.begun {
                    true => SourceError::lost(&self.name, complaint),
                    false => SourceError::failed(&self.name, complaint, ""),
                });
            }
            if self.sink.is_eos() {
                return Ok(Read::End);
            }
            let patience = if self.begun { SILENCE } else { START };
            if self.heard.elapsed() > patience {
                let what = format!("no frame for {} seconds", patience.as_secs());
                return Err(SourceError::lost(&self.name, what));
            }
        }
    }
}

impl Drop for Pipeline {
    fn drop(&mut self) {
        // Nobody is left to tell where this fails.
        let _ = self.pipeline.set_state(gst::State::Null);
    }
}
