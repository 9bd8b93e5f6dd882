//! The page over HTTP, by a client that is written out here.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::io::{BufRead, BufReader, Read as _, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use bunjae_camera::{Control, Page, PageError, run};
use bunjae_data::decode::{Limits, decode_native};
use support::{Script, Step, collect, model, setup};

/// An answer: the number of its first line, its head, its body.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

/// Sends a request and reads the answer up to the length that it gives.
fn ask(at: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(at).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        assert_ne!(reader.read_line(&mut head).unwrap(), 0, "no answer to {request:?}: {head}");
    }
    let head = head.to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
    reader.read_exact(&mut body).unwrap();
    Answer { status, head, body }
}

fn get(at: SocketAddr, path: &str) -> Answer {
    ask(at, &format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n"))
}

/// Runs a pipeline with a page at a free port while `watch` looks at it.
fn with_page(watch: impl FnOnce(SocketAddr, &Control)) -> bunjae_camera::Summary {
    let control = Control::default();
    let models = vec![model(0, "first"), model(1, "second <b>")];
    let names: Vec<_> = models.iter().map(|model| model.name().clone()).collect();
    let page = Page::serve("127.0.0.1:0".parse().unwrap(), &control, &names).unwrap();
    let at = page.address();
    let endless = Step::Live { count: usize::MAX, every: Duration::from_millis(5) };
    let source = Script::new([Step::Size(160, 120), endless]);
    let (others, _) = collect("others");
    let mut setup = setup(source, vec![Box::new(page), others]);
    setup.models = models;
    let pipeline = thread::spawn({
        let control = control.clone();
        move || run(setup, &control)
    });
    watch(at, &control);
    control.stop();
    let (summary, error) = pipeline.join().unwrap();
    assert_eq!(error, None);
    summary
}

/// The text and the picture of a frame for browsers.
fn parse(body: &[u8]) -> (serde_json::Value, bunjae_data::Picture) {
    let length = u32::from_le_bytes(body[..4].try_into().unwrap()) as usize;
    let text = serde_json::from_slice(&body[4..4 + length]).unwrap();
    (text, decode_native(&body[4 + length..], Limits::default()).unwrap())
}

#[test]
fn the_page_is_whole_and_lets_nobody_embed_it() {
    with_page(|at, _| {
        let page = get(at, "/");
        assert_eq!(page.status, 200);
        let text = String::from_utf8(page.body).unwrap();
        assert!(text.contains("<title>Bunjae camera</title>"));
        // Nothing is loaded from elsewhere.
        for elsewhere in ["http://", "https://", "src=\"", "@import"] {
            assert!(!text.contains(elsewhere), "{elsewhere}");
        }
        for line in [
            "cross-origin-resource-policy: same-origin",
            "cache-control: no-store",
            "content-security-policy: default-src 'none'",
        ] {
            assert!(page.head.contains(line), "{line}: {}", page.head);
        }
        assert_eq!(get(at, "/elsewhere").status, 404);
    });
}

#[test]
fn each_answer_is_a_newer_frame_with_its_picture() {
    with_page(|at, _| {
        let mut after = -1;
        for _ in 0..5 {
            let answer = get(at, &format!("/frame/{after}"));
            assert_eq!(answer.status, 200);
            assert!(answer.head.contains("age-ms: "), "{}", answer.head);
            let (text, picture) = parse(&answer.body);
            let number = text["frame"].as_i64().unwrap();
            assert!(number > after);
            after = number;
            assert_eq!((picture.width(), picture.height()), (160, 120));
            let class = &text["faces"][0]["classes"][0];
            assert!(["mask", "none", "wrong"].contains(&class["name"].as_str().unwrap()));
            assert!(text["live"]["frames_per_second"].as_f64().unwrap() > 0.0);
            assert_eq!(text["live"]["stages_ms"].as_array().unwrap().len(), 4);
        }
    });
}

#[test]
fn the_model_is_switched_from_the_page_alone() {
    let summary = with_page(|at, control| {
        let about: serde_json::Value = serde_json::from_slice(&get(at, "/about").body).unwrap();
        assert_eq!(about["models"][1]["name"], "second <b>");
        // A frame of the first model, and no sooner the second.
        let (first, _) = parse(&get(at, "/frame/-1").body);
        assert_eq!(first["model"], 0);
        let post = |path: &str, more: &str| {
            let length = "Content-Length: 0";
            ask(at, &format!("POST {path} HTTP/1.1\r\nHost: {at}\r\n{length}\r\n{more}\r\n")).status
        };
        assert_eq!(post("/model/1", "Origin: http://example.com\r\n"), 403);
        assert_eq!(post("/model/7", ""), 404);
        assert_eq!(post("/model/x", ""), 400);
        assert_eq!(control.model(), 0);
        assert_eq!(post("/model/1", &format!("Origin: http://{at}\r\n")), 204);
        assert_eq!(control.model(), 1);
        // The next frames were labelled by it.
        let mut after = -1;
        for _ in 0..200 {
            let (text, _) = parse(&get(at, &format!("/frame/{after}")).body);
            after = text["frame"].as_i64().unwrap();
            if text["model"] == 1 {
                return;
            }
        }
        panic!("no frame of the second model");
    });
    assert!(summary.models.iter().all(|model| model.frames > 0));
}

#[test]
fn a_name_that_somebody_points_here_is_sent_away() {
    with_page(|at, _| {
        let asked = |host: &str| ask(at, &format!("GET /about HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        assert_eq!(asked("evil.example.com").status, 403);
        assert_eq!(asked(&format!("localhost:{}", at.port())).status, 200);
    });
}

#[test]
fn browsers_that_stop_reading_hold_up_nobody() {
    let summary = with_page(|at, _| {
        // Ten that read a little of the stream and then nothing more, and ten that ask for frames
        // and never take them.
        let mut idle = Vec::new();
        for place in 0..20 {
            let mut stream = TcpStream::connect(at).unwrap();
            let path = if place % 2 == 0 { "/stream.mjpg" } else { "/frame/-1" };
            write!(stream, "GET {path} HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
            idle.push(stream);
        }
        let mut start = [0; 12];
        idle[0].read_exact(&mut start).unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        let mut after = -1;
        for _ in 0..50 {
            let (text, _) = parse(&get(at, &format!("/frame/{after}")).body);
            let frame = text["frame"].as_i64().unwrap();
            assert!(frame > after, "{frame} after {after}");
            after = frame;
        }
    });
    let shown = summary.outputs[0].work.unwrap().count;
    assert!(shown >= 50, "{shown}");
}

#[test]
fn the_stream_is_motion_jpeg_that_other_programs_read() {
    with_page(|at, _| {
        let mut stream = TcpStream::connect(at).unwrap();
        write!(stream, "GET /stream.mjpg HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(stream);
        let mut text = String::new();
        let mut found = Vec::new();
        while found.len() < 3 {
            text.clear();
            reader.read_line(&mut text).unwrap();
            let Some(length) = text.trim_end().strip_prefix("Content-Length: ") else { continue };
            let mut picture = vec![0; length.parse().unwrap()];
            reader.read_line(&mut text).unwrap();
            reader.read_exact(&mut picture).unwrap();
            found.push(decode_native(&picture, Limits::default()).unwrap());
        }
        assert!(found.iter().all(|picture| picture.width() == 160));
    });
}

#[test]
fn too_many_browsers_are_sent_away_and_come_back_later() {
    with_page(|at, _| {
        let streams: Vec<_> = (0..32)
            .map(|_| {
                let mut stream = TcpStream::connect(at).unwrap();
                write!(stream, "GET /stream.mjpg HTTP/1.1\r\nHost: {at}\r\n\r\n").unwrap();
                let mut start = [0; 12];
                stream.read_exact(&mut start).unwrap();
                stream
            })
            .collect();
        assert_eq!(get(at, "/frame/-1").status, 503);
        drop(streams);
        // The server notices that they are gone when it writes to them.
        let back = (0..500).any(|_| {
            thread::sleep(Duration::from_millis(10));
            get(at, "/frame/-1").status == 200
        });
        assert!(back);
    });
}

#[test]
fn a_port_in_use_is_told_by_its_number() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap();
    let error = Page::serve(at, &Control::default(), &[]).err().unwrap();
    assert!(matches!(error, PageError::InUse(_)), "{error}");
    assert_eq!(error.to_string(), format!("port {} of 127.0.0.1 is in use", at.port()));
}

#[test]
fn the_port_is_free_again_when_the_page_is_gone() {
    let page = Page::serve("127.0.0.1:0".parse().unwrap(), &Control::default(), &[]).unwrap();
    let at = page.address();
    drop(page);
    assert!(Page::serve(at, &Control::default(), &[]).is_ok());
}
