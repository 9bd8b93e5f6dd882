//! `bunjae camera --list`: what there is to see with.

use bunjae_camera::source::{Supported, supported, webcam};
use serde::Serialize;

use crate::command::Outcome;
use crate::failure::Fallible;
use crate::output::{Output, Report};
use crate::page::Page;

/// What can be read on this machine.
#[derive(Serialize)]
struct Sources {
    devices: Vec<Device>,
    /// Sources that need nothing but this program.
    built_in: &'static [&'static str],
    webcams: bool,
    gstreamer: bool,
}

#[derive(Serialize)]
struct Device {
    source: String,
    path: String,
    name: String,
    error: Option<String>,
    formats: Vec<Format>,
}

#[derive(Serialize)]
struct Format {
    code: String,
    description: String,
    readable: bool,
    sizes: Vec<String>,
}

const BUILT_IN: &[&str] =
    &["test:", "GIF", "motion JPEG", "YUV4MPEG2", "pictures and folders of them", "standard input"];

/// Prints the list.
pub(super) fn show(output: &Output) -> Fallible<Outcome> {
    let Supported { webcams, gstreamer } = supported();
    let devices = webcam::devices().into_iter().map(|device| {
        let path = device.path.display().to_string();
        let source = format!("webcam:{}", path.strip_prefix("/dev/video").unwrap_or(&path));
        let (formats, error) = match device.formats {
            Ok(formats) => (formats, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let format = |format: webcam::DeviceFormat| Format {
            code: format.code,
            description: format.description,
            readable: format.readable,
            sizes: format.sizes,
        };
        let formats = formats.into_iter().map(format).collect();
        Device { source, path, name: device.name, error, formats }
    });
    let devices = devices.collect();
    output.report(&Sources { devices, built_in: BUILT_IN, webcams, gstreamer })?;
    Ok(Outcome::Done)
}

impl Report for Sources {
    const COMMAND: &'static str = "camera";

    fn write(&self, page: &mut Page) {
        if self.devices.is_empty() {
            page.line(match self.webcams {
                true => "no V4L2 devices: there is no /dev/video0 or any other",
                false => "no V4L2 devices: they are there on Linux only",
            });
        }
        for device in &self.devices {
            page.line(&format!("{}  {}, {}", device.source, device.name, device.path));
            if let Some(error) = &device.error {
                page.line(&format!("  it does not say what it offers: {error}"));
            }
            for format in &device.formats {
                let readable = if format.readable { "" } else { ", not read here" };
                page.line(&format!("  {}  {}{readable}", format.code, format.description));
                for size in &format.sizes {
                    page.line(&format!("    {size}"));
                }
            }
        }
        page.gap();
        page.line(&format!("always there: {}", self.built_in.join(", ")));
        page.line(match self.gstreamer {
            true => "through GStreamer: csi:N, gst:PIPELINE, rtsp://..., video files",
            false => {
                "not in this program, which was built without GStreamer: csi:N, gst:PIPELINE, \
                 rtsp://..., video files; `--features gstreamer` builds it in"
            }
        });
    }
}
