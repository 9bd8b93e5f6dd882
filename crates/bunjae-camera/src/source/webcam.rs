//! Video4Linux devices: what they offer, and frames from them.

use std::path::{Path, PathBuf};

use super::{Asked, Source, SourceError};

/// A device and what it offers.
#[derive(Clone, Debug, PartialEq)]
pub struct Device {
    /// Where it is, such as `/dev/video0`.
    pub path: PathBuf,
    /// What its driver calls it.
    pub name: String,
    /// What it offers, or why that cannot be asked.
    pub formats: Result<Vec<DeviceFormat>, String>,
}

/// A kind of pixels that a device offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceFormat {
    /// Its four characters.
    pub code: String,
    /// What the driver says about it.
    pub description: String,
    /// Whether it can be read here.
    pub readable: bool,
    /// Sizes, each with its rates, such as `640x480 at 15, 30`.
    pub sizes: Vec<String>,
}

/// The kinds of pixels that can be read here, the best first: compressed pictures come at the full
/// rate over USB, where raw ones often do not.
#[cfg(any(target_os = "linux", test))]
const READABLE: [&[u8; 4]; 3] = [b"MJPG", b"YUYV", b"NV12"];

/// All devices, in the order of their numbers.
pub fn devices() -> Vec<Device> {
    #[cfg(target_os = "linux")]
    return linux::devices();
    #[cfg(not(target_os = "linux"))]
    Vec::new()
}

#[cfg(target_os = "linux")]
pub(crate) fn open(path: &Path, asked: &Asked) -> Result<Box<dyn Source>, SourceError> {
    Ok(Box::new(linux::Webcam::open(path, asked)?))
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn open(path: &Path, _: &Asked) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::failed(path.display(), "there is V4L2 on Linux only", ""))
}

/// The size nearest to the one asked for: the smallest that is no smaller, or else the largest.
#[cfg(any(target_os = "linux", test))]
fn nearest_size(asked: [u32; 2], offered: &[[u32; 2]]) -> Option<[u32; 2]> {
    let area = |size: &[u32; 2]| u64::from(size[0]) * u64::from(size[1]);
    let covers = |size: &&[u32; 2]| size[0] >= asked[0] && size[1] >= asked[1];
    let smallest = offered.iter().filter(covers).min_by_key(|size| area(size));
    smallest.or_else(|| offered.iter().max_by_key(|size| area(size))).copied()
}

/// The interval, a fraction of a second, whose rate is nearest to the one asked for.
#[cfg(any(target_os = "linux", test))]
fn nearest_interval(rate: f64, offered: &[[u32; 2]]) -> Option<[u32; 2]> {
    let apart = |[over, under]: [u32; 2]| (f64::from(under) / f64::from(over.max(1)) - rate).abs();
    offered.iter().copied().min_by(|&a, &b| apart(a).total_cmp(&apart(b)))
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::io::ErrorKind;
    use std::path::{Path, PathBuf};
    use std::time::{Duration, Instant};

    use bunjae_data::decode::{Limits, decode};
    use bunjae_data::{Channels, Picture};
    use rscam::{Camera, Config, IntervalInfo, ResolutionInfo};
    use rustix::time::{ClockId, clock_gettime};

    use super::super::convert::{nv12, yuyv};
    use super::super::{Asked, Read, Source, SourceError};
    use super::{Device, DeviceFormat, READABLE, nearest_interval, nearest_size};

    /// A time stamp that says a frame is older is one of another clock.
    const OLDEST: Duration = Duration::from_secs(5);

    /// Sizes and rates that are named where a device takes every one within a range.
    const USUAL: [[u32; 2]; 5] = [[320, 240], [640, 480], [800, 600], [1280, 720], [1920, 1080]];

    pub(super) fn devices() -> Vec<Device> {
        let entries = fs::read_dir("/dev").into_iter().flatten().flatten();
        let number = |path: &PathBuf| -> Option<u32> {
            path.file_name()?.to_str()?.strip_prefix("video")?.parse().ok()
        };
        let mut paths: Vec<PathBuf> =
            entries.map(|entry| entry.path()).filter(|path| number(path).is_some()).collect();
        paths.sort_by_key(number);
        paths.into_iter().map(device).collect()
    }

    fn device(path: PathBuf) -> Device {
        let name = path.file_name().map(|name| {
            let file = Path::new("/sys/class/video4linux").join(name).join("name");
            fs::read_to_string(file).unwrap_or_default().trim().to_owned()
        });
        let formats = formats(&path);
        Device { path, name: name.unwrap_or_default(), formats }
    }

    fn formats(path: &Path) -> Result<Vec<DeviceFormat>, String> {
        let camera = Camera::new(&path.to_string_lossy()).map_err(|error| error.to_string())?;
        let mut formats = Vec::new();
        for format in camera.formats() {
            let format = format.map_err(|error| error.to_string())?;
            let code = &format.format;
            let mut sizes = Vec::new();
            for [width, height] in sizes_of(&camera, code).unwrap_or_default() {
                let rates = intervals_of(&camera, code, [width, height]).unwrap_or_default();
                let mut rates: Vec<f64> = rates
                    .iter()
                    .map(|&[over, under]| f64::from(under) / f64::from(over.max(1)))
                    .collect();
                rates.sort_by(f64::total_cmp);
                let rates: Vec<String> = rates
                    .iter()
                    .map(|rate| {
                        format!("{rate:.4}").trim_end_matches('0').trim_end_matches('.').to_owned()
                    })
                    .collect();
                sizes.push(format!("{width}x{height} at {}", rates.join(", ")));
            }
            formats.push(DeviceFormat {
                code: String::from_utf8_lossy(code).into_owned(),
                description: format.description.clone(),
                readable: READABLE.contains(&code),
                sizes,
            });
        }
        Ok(formats)
    }

    fn sizes_of(camera: &Camera, code: &[u8; 4]) -> Result<Vec<[u32; 2]>, rscam::Error> {
        Ok(match camera.resolutions(code)? {
            ResolutionInfo::Discretes(sizes) => {
                sizes.into_iter().map(|(width, height)| [width, height]).collect()
            }
            ResolutionInfo::Stepwise { min, max, step } => {
                let on_grid =
                    |value: u32, min: u32, step: u32| (value - min).is_multiple_of(step.max(1));
                let fits = |&[width, height]: &[u32; 2]| {
                    (min.0..=max.0).contains(&width)
                        && (min.1..=max.1).contains(&height)
                        && on_grid(width, min.0, step.0)
                        && on_grid(height, min.1, step.1)
                };
                let mut sizes: Vec<[u32; 2]> = USUAL.into_iter().filter(fits).collect();
                if sizes.is_empty() {
                    sizes.push([max.0, max.1]);
                }
                sizes
            }
        })
    }

    fn intervals_of(
        camera: &Camera,
        code: &[u8; 4],
        [width, height]: [u32; 2],
    ) -> Result<Vec<[u32; 2]>, rscam::Error> {
        Ok(match camera.intervals(code, (width, height))? {
            IntervalInfo::Discretes(intervals) => {
                intervals.into_iter().map(|(over, under)| [over, under]).collect()
            }
            IntervalInfo::Stepwise { min, max, .. } => {
                let seconds = |[over, under]: [u32; 2]| f64::from(over) / f64::from(under.max(1));
                let range = seconds([min.0, min.1])..=seconds([max.0, max.1]);
                let usual = [[1, 60], [1, 30], [1, 25], [1, 15], [1, 10], [1, 5]];
                usual.into_iter().filter(|&interval| range.contains(&seconds(interval))).collect()
            }
        })
    }

    pub(super) struct Webcam {
        name: String,
        camera: Camera,
        code: [u8; 4],
        limits: Limits,
        rate: f64,
        /// Columns and rows.
        sides: [usize; 2],
    }

    impl Webcam {
        pub(super) fn open(path: &Path, asked: &Asked) -> Result<Webcam, SourceError> {
            let name = path.display().to_string();
            let failed = |why: String, hint: &str| SourceError::failed(&name, why, hint);
            let camera = Camera::new(&name).map_err(|error| {
                let hint = match error.kind() {
                    ErrorKind::NotFound => "`bunjae camera --list` shows the devices there are",
                    ErrorKind::PermissionDenied => {
                        "whoever is in the group `video` may use cameras"
                    }
                    _ => "",
                };
                failed(error.to_string(), hint)
            })?;
            let offered = camera.formats().collect::<Result<Vec<_>, _>>();
            let offered = offered.map_err(|error| {
                failed(format!("it does not say what it offers: {error}"), "is it a camera?")
            })?;
            let has = |code: &&&[u8; 4]| offered.iter().any(|format| format.format == ***code);
            let Some(&code) = READABLE.iter().find(has) else {
                let codes: Vec<_> = offered
                    .iter()
                    .map(|format| String::from_utf8_lossy(&format.format).into_owned())
                    .collect();
                let what = format!("it offers {}, not MJPG, YUYV or NV12", codes.join(", "));
                let hint = "GStreamer converts others: `--source \"gst:v4l2src device=/dev/video0 \
                            ! videoconvert\"`";
                return Err(failed(what, hint));
            };
            Self::start(name.clone(), camera, *code, asked).map_err(|error| {
                let busy = matches!(&error, rscam::Error::Io(error)
                    if error.kind() == ErrorKind::ResourceBusy);
                failed(error.to_string(), if busy { "another program uses it" } else { "" })
            })
        }

        fn start(
            name: String,
            mut camera: Camera,
            code: [u8; 4],
            asked: &Asked,
        ) -> Result<Webcam, rscam::Error> {
            let [width, height] = asked.size.unwrap_or([640, 480]).map(|side| side as u32);
            let sizes = sizes_of(&camera, &code)?;
            let size = nearest_size([width, height], &sizes).unwrap_or([width, height]);
            let intervals = intervals_of(&camera, &code, size)?;
            let rate = asked.rate.unwrap_or(30.0);
            let interval = nearest_interval(rate, &intervals).unwrap_or([1, 30]);
            camera.start(&Config {
                interval: (interval[0], interval[1]),
                resolution: (size[0], size[1]),
                format: &code,
                ..Config::default()
            })?;
            let rate = f64::from(interval[1]) / f64::from(interval[0].max(1));
            let sides = size.map(|side| side as usize);
            Ok(Webcam { name, camera, code, limits: asked.limits, rate, sides })
        }
    }

    /// When a frame with this stamp, in microseconds of the monotonic clock, was taken.
    fn when(stamp: u64) -> Instant {
        let now = clock_gettime(ClockId::Monotonic);
        let now = Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32);
        let age = now.checked_sub(Duration::from_micros(stamp)).filter(|&age| age < OLDEST);
        let arrived = Instant::now();
        arrived.checked_sub(age.unwrap_or_default()).unwrap_or(arrived)
    }

    impl Source for Webcam {
        fn describe(&self) -> String {
            let ([width, height], code) = (self.sides, String::from_utf8_lossy(&self.code));
            let Webcam { name, rate, .. } = self;
            format!("{name}, {width} x {height} {code} at {rate} frames per second")
        }

        fn read(&mut self, picture: &mut Picture) -> Result<Read, SourceError> {
            let frame = self.camera.capture();
            let frame = frame.map_err(|error| SourceError::lost(&self.name, error))?;
            let captured = when(frame.get_timestamp());
            let few = || SourceError::Corrupt(format!("a frame of {} bytes", frame.len()));
            match &self.code {
                b"YUYV" => yuyv(&frame, self.sides, picture).ok_or_else(few)?,
                b"NV12" => nv12(&frame, self.sides, picture).ok_or_else(few)?,
                _ => *picture = decode(&frame, Channels::Rgb, self.limits)?,
            }
            Ok(Read::Live { captured })
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn stamps_of_the_monotonic_clock_become_instants() {
            let now = clock_gettime(ClockId::Monotonic);
            let now = now.tv_sec as u64 * 1_000_000 + now.tv_nsec as u64 / 1_000;
            let age = when(now - 100_000).elapsed();
            assert!((0.1..2.0).contains(&age.as_secs_f64()), "{age:?}");
            // Stamps of other clocks are taken for now.
            for strange in [0, now + 1_000_000_000] {
                assert!(when(strange).elapsed() < Duration::from_secs(2));
            }
        }

        #[test]
        fn what_is_no_camera_is_refused_with_its_name() {
            for path in ["/dev/video4711", "/dev/null"] {
                let error = Webcam::open(Path::new(path), &Asked::default()).err().unwrap();
                assert!(error.to_string().starts_with(path), "{error}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_size_covers_what_is_asked() {
        let offered = [[320, 240], [640, 480], [1280, 720]];
        assert_eq!(nearest_size([640, 480], &offered), Some([640, 480]));
        assert_eq!(nearest_size([600, 400], &offered), Some([640, 480]));
        assert_eq!(nearest_size([4000, 3000], &offered), Some([1280, 720]));
        assert_eq!(nearest_size([1, 1], &[]), None);
    }

    #[test]
    fn the_nearest_rate_is_taken() {
        let offered = [[1, 30], [1, 15], [1001, 30_000], [0, 0]];
        assert_eq!(nearest_interval(30.0, &offered), Some([1, 30]));
        assert_eq!(nearest_interval(29.97, &offered), Some([1001, 30_000]));
        assert_eq!(nearest_interval(5.0, &offered[..3]), Some([1, 15]));
        assert_eq!(READABLE[0], b"MJPG");
    }
}
