//! GStreamer pipelines as text: what is asked of a source, in the words of `gst-launch-1.0`.
//!
//! In every build, as the text can be shown and tested without GStreamer.

use std::path::Path;

use super::Asked;

/// A string in the quotes of GStreamer's pipelines, which take every character but a quote or a
/// backslash as it is.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// A rate as a fraction over 1000, or a whole number.
fn fraction(rate: f64) -> String {
    if rate.fract() == 0.0 {
        format!("{rate}/1")
    } else {
        format!("{}/1000", (rate * 1000.0).round())
    }
}

/// The camera at the CSI connector of a Jetson board, through NVIDIA's own elements: NV12 in the
/// memory of the image processor, turned and brought to main memory by its converter.
pub fn csi(sensor: u32, asked: &Asked) -> String {
    let [width, height] = asked.size.unwrap_or([1280, 720]);
    let rate = fraction(asked.rate.unwrap_or(30.0));
    let flip = asked.flip as u32;
    format!(
        "nvarguscamerasrc sensor-id={sensor} \
         ! video/x-raw(memory:NVMM),format=NV12,width={width},height={height},framerate={rate} \
         ! nvvidconv flip-method={flip} ! video/x-raw,format=BGRx ! videoconvert"
    )
}

/// What an address names, such as an RTSP camera.
pub fn address(address: &str) -> String {
    // 200 ms of jitter are evened out, where the default is 2 s.
    match address.starts_with("rtsp") {
        true => {
            let address = quoted(address);
            format!("rtspsrc location={address} latency=200 ! decodebin ! videoconvert")
        }
        false => format!("uridecodebin uri={} ! videoconvert", quoted(address)),
    }
}

/// A video file, at its own rate.
pub fn file(path: &Path) -> String {
    let path = quoted(&path.to_string_lossy());
    format!("filesrc location={path} ! decodebin ! videoconvert")
}

#[cfg(test)]
mod tests {
    use super::super::Flip;
    use super::*;

    #[test]
    fn a_csi_camera_is_asked_for_size_rate_and_flip() {
        let asked = Asked {
            size: Some([1920, 1080]),
            rate: Some(29.97),
            flip: Flip::Half,
            ..Asked::default()
        };
        assert_eq!(
            csi(1, &asked),
            "nvarguscamerasrc sensor-id=1 ! video/x-raw(memory:NVMM),format=NV12,width=1920,\
             height=1080,framerate=29970/1000 ! nvvidconv flip-method=2 \
             ! video/x-raw,format=BGRx ! videoconvert"
        );
        assert!(csi(0, &Asked::default()).contains("width=1280,height=720,framerate=30/1"));
    }

    #[test]
    fn names_with_quotes_cannot_leave_theirs() {
        let pipeline = file(Path::new("a\" ! fakesink \\.mp4"));
        assert_eq!(
            pipeline,
            "filesrc location=\"a\\\" ! fakesink \\\\.mp4\" ! decodebin ! videoconvert"
        );
    }
}
