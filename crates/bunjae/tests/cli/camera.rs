//! `bunjae camera`, from files and patterns, to lines, files and the page.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bunjae_data::encode::{GifWriter, png};
use bunjae_data::{Channels, Picture};
use bunjae_testkit::data_dir;
use serde_json::Value;

use crate::detect::{DOTS, LEFT};
use crate::predict::{STRONGEST, folder};
use crate::support::{Folder, argument, snapshot};

/// A folder with an annotated model that says which colour is strongest, and an animation that is
/// red, green and blue.
fn colours() -> Folder {
    let folder = folder();
    let how = "--labels colours.txt --preprocess unit --scores probabilities";
    folder.done(&format!("annotate colour.onnx -o named.onnx {how}"));
    let mut writer = GifWriter::new(File::create(folder.path("clip.gif")).unwrap());
    for colour in [[255, 0, 0], [0, 255, 0], [0, 0, 255]] {
        let picture = Picture::filled(64, 48, Channels::Rgb, colour);
        writer.write(&picture, Duration::from_millis(20)).unwrap();
    }
    drop(writer);
    folder
}

/// The lines of JSON that a run printed: those of frames, and the last.
fn lines(text: &str) -> (Vec<Value>, Value) {
    let mut lines: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let last = lines.pop().unwrap();
    assert_eq!(last["event"], "summary");
    assert!(lines.iter().all(|line| line["event"] == "frame" && line["schema_version"] == 1));
    (lines, last)
}

#[test]
fn each_frame_of_a_file_is_a_line_and_the_last_sums_up() {
    let folder = colours();
    let text = folder.done("camera named.onnx --source clip.gif --fast --format json --quiet");
    let (frames, summary) = lines(&text);
    let labels: Vec<_> =
        frames.iter().map(|line| &line["faces"][0]["classes"][0]["label"]).collect();
    assert_eq!(labels, ["red", "green, as grass", "blue"]);
    let numbers: Vec<_> = frames.iter().map(|line| line["frame"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [0, 1, 2]);
    let whole = serde_json::json!({"left": 0, "top": 0, "width": 64, "height": 48});
    assert_eq!(frames[0]["faces"][0]["box"], whole);
    assert_eq!(summary["frames_labelled"], 3);
    assert_eq!(summary["models"][0]["infer"]["count"], 3);
}

/// What the camera says of pictures is what `predict` says of them, to the last bit: it is the same
/// code, and the settings come from the model alone.
#[test]
fn the_camera_sees_the_bits_that_predict_sees() {
    let folder = Folder::new();
    // Its outputs depend on every pixel of the input.
    folder.model("net.onnx", &STRONGEST.replace("4,4", "24,20"));
    folder.write("colours.txt", "red\ngreen\nblue\n");
    let settings = "--labels colours.txt --preprocess imagenet --fit crop=28 --colour bgr \
                    --filter bicubic --scores logits";
    folder.done(&format!("annotate net.onnx -o named.onnx {settings}"));
    std::fs::create_dir(folder.path("pictures")).unwrap();
    for seed in 1..6_usize {
        let (width, height) = (31 + 7 * seed, 60 - 5 * seed);
        let samples = (0..width * height * 3).map(|i| (i * i * seed / 7) as u8).collect();
        let picture = Picture::new(width, height, Channels::Rgb, samples).unwrap();
        let file = File::create(folder.path(&format!("pictures/{seed}.png"))).unwrap();
        png(&picture, file).unwrap();
    }
    let probabilities = |line: &Value, of: &str| -> Vec<String> {
        let classes = line.pointer(of).unwrap().as_array().unwrap();
        classes.iter().map(|class| class["probability"].to_string()).collect()
    };
    // One picture at a time, as the camera has it.
    let predicted = folder.done("predict named.onnx pictures --batch 1 -k 3 --format json");
    let predicted: Vec<_> = predicted
        .lines()
        .map(|line| probabilities(&serde_json::from_str(line).unwrap(), "/classes"))
        .collect();
    let seen = folder.done("camera named.onnx -s pictures --fast -k 3 --format json --quiet");
    let seen: Vec<_> =
        lines(&seen).0.iter().map(|line| probabilities(line, "/faces/0/classes")).collect();
    assert_eq!(seen.len(), 5);
    assert_eq!(seen, predicted);
}

#[test]
fn files_are_written_and_read_again() {
    let folder = colours();
    for name in ["out.gif", "out.y4m", "out.mjpeg", "frames"] {
        folder.done(&format!("camera named.onnx -s clip.gif --fast --save {name} --quiet"));
        let text =
            folder.done(&format!("camera named.onnx -s {name} --fast --format json --quiet"));
        let (frames, _) = lines(&text);
        let labels: Vec<_> =
            frames.iter().map(|line| &line["faces"][0]["classes"][0]["label"]).collect();
        assert_eq!(labels, ["red", "green, as grass", "blue"], "{name}");
    }
    assert!(!folder.files().iter().any(|name| name.ends_with(".part")), "{:?}", folder.files());
    let pictures = std::fs::read_dir(folder.path("frames")).unwrap().count();
    assert_eq!(pictures, 3);
}

#[test]
fn nothing_is_stored_unless_asked_for() {
    let folder = colours();
    let before = folder.files();
    folder.done("camera named.onnx -s clip.gif --fast --page --port 0 --quiet");
    assert_eq!(folder.files(), before);
}

/// The detector is 0.55 sure of the face: more than the 0.5 that `--help` speaks of.
#[test]
fn a_face_counts_from_the_score_that_was_asked_for() {
    let folder = colours();
    folder.model("left.onnx", LEFT);
    let picture = Picture::filled(40, 32, Channels::Rgb, [215; 3]);
    png(&picture, File::create(folder.path("grey.png")).unwrap()).unwrap();
    let line = "camera named.onnx -s grey.png --fast --detector left.onnx --format json --quiet";
    let faces = |more: &str| {
        lines(&folder.done(&format!("{line} {more}"))).0[0]["faces"].as_array().unwrap().len()
    };
    assert_eq!([faces(""), faces("--score 0.5"), faces("--score 0.6")], [1, 1, 0]);
    assert!(folder.done("camera --help").contains("of networks [default: 0.5]"));
}

#[test]
fn a_score_is_refused_where_the_detector_is_a_cascade() {
    let folder = colours();
    folder.write("dots.xml", DOTS);
    let refused = folder.run("camera named.onnx -s clip.gif --detector dots.xml --score 0.5");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("`--score` means nothing here: dots.xml is a cascade"), "{said}");
}

#[test]
fn models_are_compared_in_a_table() {
    let folder = colours();
    std::fs::copy(folder.path("named.onnx"), folder.path("other.onnx")).unwrap();
    let line = "camera --compare named.onnx other.onnx -s clip.gif --loop --fast --runs 20";
    let text = folder.done(line);
    let row = |name: &str| -> Vec<String> {
        let row =
            text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{text}"));
        row.split_whitespace().map(str::to_owned).collect()
    };
    for name in ["named", "other"] {
        let row = row(name);
        assert_eq!(row[1..3], ["20", "20"], "{text}");
        assert!(row[3..].iter().all(|figure| figure.parse::<f64>().unwrap() > 0.0), "{text}");
    }
}

#[test]
fn what_is_wrong_is_said_with_the_way_out() {
    let folder = colours();
    folder.write("notes.txt", "no video");
    folder.write("empty.gif", "");
    folder.write("half.gif", &folder.read("clip.gif")[..40]);
    folder.write("wide.y4m", "YUV4MPEG2 W99999 H99999 F25:1\nFRAME\n");
    std::fs::create_dir(folder.path("nothing")).unwrap();
    snapshot!(
        "camera_errors",
        folder
            .session(&[
                "camera named.onnx -s nowhere.gif --fast --format json --quiet",
                "camera named.onnx -s nowhere.gif --save out.gif",
                "camera named.onnx -s nothing --format json --quiet",
                "camera named.onnx -s half.gif --format json --quiet",
                "camera named.onnx -s wide.y4m --format json --quiet",
                "camera named.onnx -s webcam:x",
                "camera named.onnx -s test:0x0",
                "camera colour.onnx -s test:",
                "camera nowhere.onnx -s test:",
                "camera named.onnx -s test: --seconds 0",
                "camera named.onnx -s clip.gif --save pictures",
                "camera named.onnx -s clip.gif --bind 300.1.1.1",
            ])
            // The figures of the lines of JSON are for other tests.
            .lines()
            .map(|line| if line.starts_with('{') { "{...}" } else { line })
            .collect::<Vec<_>>()
            .join("\n")
    );
}

#[test]
fn sources_that_this_program_lacks_say_how_to_get_them() {
    let folder = colours();
    let list = folder.done("camera --list");
    assert!(list.contains("always there: test:, GIF"), "{list}");
    if list.contains("built without GStreamer") {
        folder.write("door.mp4", [0, 0, 0, 24]);
        for source in ["door.mp4", "csi:0", "rtsp://127.0.0.1/door"] {
            let output = folder.run(&format!("camera named.onnx -s {source} --format json"));
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2));
            assert!(text.contains("--features gstreamer") && text.contains("ffmpeg"), "{text}");
        }
    }
    let report = folder.json("camera --list");
    assert!(report["devices"].is_array() && report["gstreamer"].is_boolean());
}

#[test]
fn a_port_in_use_is_an_error_before_anything_starts() {
    let folder = colours();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let output = folder.run(&format!("camera named.onnx -s test: --port {port}"));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains(&format!("port {port} of 127.0.0.1 is in use")), "{text}");
    assert!(text.contains("--port 0"), "{text}");
}

/// A running program, ended with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn start(mut command: Command) -> Running {
        Running(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    /// Waits for the end; the exit code and what it printed.
    fn end(mut self) -> (Option<i32>, String, String) {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                let mut texts = [String::new(), String::new()];
                self.0.stdout.take().unwrap().read_to_string(&mut texts[0]).unwrap();
                if let Some(mut stderr) = self.0.stderr.take() {
                    stderr.read_to_string(&mut texts[1]).unwrap();
                }
                let [out, err] = texts;
                return (status.code(), out, err);
            }
            assert!(begun.elapsed() < Duration::from_secs(120), "the program does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(unix)]
fn interrupt(running: &Running) {
    let id = running.0.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
}

#[cfg(unix)]
#[test]
fn ctrl_c_closes_files_and_ends_with_130() {
    let folder = colours();
    for name in ["out.gif", "out.y4m", "out.mjpeg"] {
        let line = format!("camera named.onnx -s test:96x64@50 --save {name} --quiet");
        let running = Running::start(folder.command(&line));
        // Until frames are written: the temporary file grows.
        let part = || {
            let files = folder.files();
            let part = files.into_iter().find(|file| file.ends_with(".part"));
            part.map_or(0, |part| {
                std::fs::metadata(folder.path(&part)).map_or(0, |file| file.len())
            })
        };
        let begun = Instant::now();
        while part() < 20_000 {
            assert!(begun.elapsed() < Duration::from_secs(120), "{name} does not grow");
            std::thread::sleep(Duration::from_millis(10));
        }
        interrupt(&running);
        let (code, text, _) = running.end();
        assert_eq!(code, Some(130), "{name}");
        assert!(text.contains("written") && text.contains(name), "{text}");
        assert!(!folder.files().iter().any(|file| file.ends_with(".part")));
        let text =
            folder.done(&format!("camera named.onnx -s {name} --fast --format json --quiet"));
        let (frames, summary) = lines(&text);
        assert!(frames.len() > 1, "{name}");
        assert_eq!(summary["frames_corrupt"], 0, "{name}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_the_other_outputs_go_on() {
    let folder = colours();
    std::os::unix::fs::symlink("/dev/full", folder.path("full.y4m")).unwrap();
    let output = folder.run("camera named.onnx -s clip.gif --fast --save full.y4m");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("cannot write full.y4m") && text.contains("o space left"), "{text}");
    let output = folder.run("camera named.onnx -s clip.gif --fast --save full.y4m --format json");
    let (frames, summary) = lines(&String::from_utf8(output.stdout).unwrap());
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(frames.len(), 3);
    assert!(summary["outputs"][0]["failure"].as_str().unwrap().contains("full.y4m"));
}

#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_ends_the_program() {
    let folder = colours();
    let line = "camera named.onnx -s test:64x48@100 --format json --quiet";
    let mut running = Running::start(folder.command(line));
    let mut reader = BufReader::new(running.0.stdout.take().unwrap());
    let mut first = String::new();
    reader.read_line(&mut first).unwrap();
    assert!(first.contains("\"event\":\"frame\""), "{first}");
    drop(reader);
    running.0.stdout =
        Some(Command::new("true").stdout(Stdio::piped()).spawn().unwrap().stdout.take().unwrap());
    let (code, _, text) = running.end();
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_stream_on_standard_input_is_labelled_as_it_comes() {
    let folder = colours();
    let mut command = folder.command("camera named.onnx --source - --format json --quiet");
    let mut running = Running::start({
        command.stdin(Stdio::piped());
        command
    });
    let mut input = running.0.stdin.take().unwrap();
    input.write_all(b"YUV4MPEG2 W2 H2 F25:1 C444 XCOLORRANGE=FULL\n").unwrap();
    let mut reader = BufReader::new(running.0.stdout.take().unwrap());
    // Red and blue, each awaited before the next is sent, so that none is left out.
    for (frame, label) in [([76, 85, 255], "red"), ([29, 255, 107], "blue")] {
        input.write_all(b"FRAME\n").unwrap();
        frame.iter().for_each(|&sample| input.write_all(&[sample; 4]).unwrap());
        input.flush().unwrap();
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let line: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(line["faces"][0]["classes"][0]["label"], label);
    }
    drop(input);
    let mut rest = String::new();
    reader.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("\"event\":\"summary\""), "{rest}");
    assert!(running.0.wait().unwrap().success());
}

/// Where a running program says that its page is.
fn page_address(running: &mut Running) -> String {
    let mut reader = BufReader::new(running.0.stderr.take().unwrap());
    let mut line = String::new();
    loop {
        line.clear();
        assert_ne!(reader.read_line(&mut line).unwrap(), 0);
        if let Some((_, rest)) = line.split_once("http://") {
            return rest.trim().trim_end_matches('/').to_owned();
        }
    }
}

#[test]
fn the_page_is_served_where_it_says() {
    let folder = colours();
    let mut running = Running::start(folder.command("camera named.onnx -s test:64x48@50 --port 0"));
    let address = page_address(&mut running);
    assert!(address.starts_with("127.0.0.1:"), "{address}");
    let mut stream = TcpStream::connect(&address).unwrap();
    write!(stream, "GET /frame/-1 HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")
        .unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 200"));
    let text = String::from_utf8_lossy(&answer);
    assert!(text.contains("\"classes\":[{\"class\":"), "{text}");
}

#[test]
fn clips_and_frames_of_people_are_worked_through() {
    let Some(data) = data_dir("clips_and_frames_of_people_are_worked_through") else { return };
    let folder = colours();
    // The numbers of frames in the folder's README.
    for (clip, frames) in [
        ("mask_on_off_overlay.gif", 65),
        ("face_female_turning.gif", 23),
        ("frames/face_female_turning", 23),
        ("frames/mask_on_off_overlay", 65),
    ] {
        let path = argument(&data.join("video").join(clip));
        let text =
            folder.done(&format!("camera named.onnx -s {path} --fast --format json --quiet"));
        let (lines, summary) = lines(&text);
        assert_eq!(lines.len(), frames, "{clip}");
        assert_eq!(summary["frames_corrupt"], 0, "{clip}");
    }
}

/// A browser draws the page: its texts come from frames, and the model is switched by a click.
#[test]
fn the_page_shows_frames_in_a_browser() {
    let Some(browser) = bunjae_testkit::browser("the_page_shows_frames_in_a_browser") else {
        return;
    };
    let folder = colours();
    let mut running = Running::start(folder.command("camera named.onnx -s test:64x48@50 --port 0"));
    let address = page_address(&mut running);
    let profile = folder.path("profile");
    let look = || {
        let output = Command::new(&browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic"])
            .args(["--disable-background-networking", "--disable-component-update"])
            .args(["--no-first-run", "--disable-sync"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .args(["--virtual-time-budget=3000", "--dump-dom"])
            .arg(format!("http://{address}/"))
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let is_live = |text: &String| text.contains("class=\"live\">live</span>");
    // The browser's clock runs ahead while it has nothing to do; on a busy machine the first frame may
    // come after its three seconds.
    let text = std::iter::repeat_with(look).take(5).find(is_live);
    let text = text.expect("the page is not live");
    let shown = |name: &str| text.contains(&format!("<span>{name}</span>"));
    assert!(["red", "green, as grass", "blue"].into_iter().any(shown), "{text}");
    assert!(text.contains("aria-pressed=\"true\">named</button>"), "{text}");
    assert!(!text.contains("<b id=\"rate\">–</b>"), "{text}");
}
