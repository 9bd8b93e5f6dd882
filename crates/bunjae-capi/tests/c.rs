//! The example in C, compiled against both libraries and run; and what the functions refuse.
#![allow(unsafe_code, clippy::unwrap_used, reason = "tests of functions for C")]

use std::ffi::{CStr, CString, c_void};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::ptr::{null, null_mut};

use bunjae_capi::*;
use bunjae_data::{Annotations, Colour, Labels, Preprocess, Scores};
use bunjae_engine::{CompileOptions, Network, Session};
use bunjae_ir::Graph;
use bunjae_tensor::Tensor;

/// Two convolutions and a classifier of three colours.
const NET: &str = "graph @net
in   %x: f32[N,3,8,8]
w    @c1.w: f32[4,3,3,3] = rand(seed=1)
w    @c1.b: f32[4] = rand(seed=2)
%1 = conv2d %x, @c1.w, @c1.b {pad=[1,1,1,1]} : f32[N,4,8,8] ; \"c1\"
%2 = relu %1 : f32[N,4,8,8] ; \"relu\"
w    @c2.w: f32[3,4,3,3] = rand(seed=3)
%3 = conv2d %2, @c2.w {pad=[1,1,1,1]} : f32[N,3,8,8] ; \"c2\"
%4 = global_pool %3 {kind=mean} : f32[N,3,1,1] ; \"pool\"
%5 = flatten %4 {axis=1} : f32[N,3] ; \"flatten\"
out  %5 ; \"scores\"
";

/// Which of red, green and blue is strongest, from the mean of each.
const STRONGEST: &str = "graph @strongest
in   %x: f32[N,3,4,4]
%1 = global_pool %x {kind=mean} : f32[N,3,1,1] ; \"pool\"
%2 = flatten %1 {axis=1} : f32[N,3] ; \"flatten\"
out  %2 ; \"scores\"
";

fn network(text: &str) -> Network {
    Network::compile(&Graph::parse(text).unwrap(), &CompileOptions::default()).unwrap()
}

/// A classifier with its records, as bytes.
fn classifier() -> Vec<u8> {
    let mut graph = Graph::parse(STRONGEST).unwrap();
    let annotations = Annotations {
        preprocess: Some(Preprocess::plain(4, 4, Colour::Rgb)),
        labels: Some(Labels::parse("red\ngreen\nblue").unwrap()),
        scores: Some(Scores::Probabilities),
    };
    annotations.record(&mut graph.metadata).unwrap();
    Network::compile(&graph, &CompileOptions::default()).unwrap().to_bytes()
}

/// A bitmap of one colour: a header of 54 bytes, then rows of blue, green, red.
fn bitmap([red, green, blue]: [u8; 3]) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    bytes.extend(u32::to_le_bytes(54 + 48));
    bytes.extend([0, 0, 0, 0, 54, 0, 0, 0, 40, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 0, 24, 0]);
    bytes.extend([0; 24]);
    bytes.extend([blue, green, red].repeat(16));
    bytes
}

fn last_error() -> String {
    // SAFETY: the message lasts until the next failure on this thread.
    unsafe { CStr::from_ptr(bunjae_last_error()) }.to_str().unwrap().to_owned()
}

/// Where cargo puts the libraries before it runs a test that depends on them.
#[cfg(unix)]
fn libraries() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// Compiles the example; `None` on a machine without a C compiler, which says so.
#[cfg(unix)]
fn example(folder: &Path, name: &str, link: &[String]) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let program = folder.join(name);
    let cc = std::env::var_os("CC").unwrap_or_else(|| "cc".into());
    let output = Command::new(cc)
        .args(["-std=c99", "-Wall", "-Wextra", "-Werror", "-I"])
        .arg(root.join("include"))
        .arg(root.join("examples/example.c"))
        .args(link)
        .args(["-lpthread", "-ldl", "-lm", "-o"])
        .arg(&program)
        .output();
    match output {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{link:?}: {said}");
            Some(program)
        }
        Err(error) if std::env::var_os("CI").is_none() => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "skipped: the example in C: cc: {error}");
            None
        }
        Err(error) => panic!("cc: {error}"),
    }
}

#[cfg(unix)]
#[test]
fn the_example_runs_with_either_library_and_computes_what_rust_does() {
    let folder = tempfile::tempdir().unwrap();
    let libraries = libraries();
    let shown = libraries.display();
    let (archive, shared) = (format!("{shown}/libbunjae_capi.a"), "-lbunjae_capi".to_owned());
    let links = [
        ("static", vec![archive]),
        ("shared", vec![format!("-L{shown}"), shared, format!("-Wl,-rpath,{shown}")]),
    ];
    network(NET).save(&folder.path().join("net.bunjae")).unwrap();
    std::fs::write(folder.path().join("colour.bunjae"), classifier()).unwrap();
    std::fs::write(folder.path().join("sky.bmp"), bitmap([0, 51, 255])).unwrap();
    std::fs::write(folder.path().join("half.bmp"), &bitmap([0, 51, 255])[..60]).unwrap();
    // The numbers that the example takes.
    let input: Vec<f32> = (0..3 * 8 * 8).map(|at| (at % 64) as f32 / 64.0).collect();
    let input = Tensor::from_slice(&[1, 3, 8, 8], &input).unwrap();
    let model = network(NET).model(1).unwrap();
    let expected = Session::with_threads(model, 1).unwrap().run_tensors(&[input]).unwrap();
    let expected = expected[0].elements::<f32>().unwrap();
    for (name, link) in links {
        let Some(program) = example(folder.path(), name, &link) else { return };
        let run = |arguments: &[&str]| {
            let output =
                Command::new(&program).current_dir(&folder).args(arguments).output().unwrap();
            let text = |bytes| String::from_utf8(bytes).unwrap();
            (output.status.code(), text(output.stdout), text(output.stderr))
        };
        let (code, text, said) = run(&["net.bunjae"]);
        assert_eq!(code, Some(0), "{name}: {said}");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[..2], ["input x: 1 3 8 8", "output scores: 1 3"], "{name}");
        let found: Vec<f32> = lines[2..].iter().map(|line| line.parse().unwrap()).collect();
        assert_eq!(found, expected, "{name}");

        let (code, text, said) = run(&["colour.bunjae", "sky.bmp", "half.bmp"]);
        assert_eq!(text, "sky.bmp: blue 100.0 %; green 20.0 %; red 0.0 %\n", "{name}: {said}");
        let broken = "no answer: half.bmp: not a valid BMP file";
        assert!(code == Some(1) && said.starts_with(broken), "{name}: {said}");
        let (code, _, said) = run(&["net.onnx"]);
        assert!(code == Some(1) && said.starts_with("net.onnx: net.onnx: No such file"), "{said}");
    }
}

/// A model and a session for a batch of two.
fn session() -> (*mut BunjaeModel, *mut BunjaeSession) {
    let bytes = network(NET).to_bytes();
    // SAFETY: the bytes are there, and the handle is that of a model.
    unsafe {
        let model = bunjae_open_memory(bytes.as_ptr().cast(), bytes.len());
        assert!(!model.is_null(), "{}", last_error());
        let session = bunjae_session_create(model, 2, 2);
        assert!(!session.is_null(), "{}", last_error());
        (model, session)
    }
}

#[test]
fn what_a_session_takes_is_told() {
    let (model, session) = session();
    // SAFETY: the handles are valid, and the model may go before its session.
    unsafe {
        bunjae_model_free(model);
        assert_eq!((bunjae_input_count(session), bunjae_output_count(session)), (1, 1));
        let mut tensor = std::mem::MaybeUninit::<BunjaeTensor>::uninit();
        assert_eq!(bunjae_input(session, 0, tensor.as_mut_ptr()), BunjaeStatus::Ok);
        let tensor = tensor.assume_init();
        assert_eq!(CStr::from_ptr(tensor.name), c"x");
        assert_eq!(std::slice::from_raw_parts(tensor.shape, tensor.rank), [2, 3, 8, 8]);
        assert_eq!((tensor.dtype, tensor.elements, tensor.bytes), (BunjaeDtype::F32, 384, 1536));
        bunjae_session_free(session);
    }
    // SAFETY: the text lasts for ever.
    let version = unsafe { CStr::from_ptr(bunjae_version()) };
    assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
}

#[test]
fn null_and_short_arguments_are_errors() {
    let (model, session) = session();
    let input = [0f32; 385];
    let mut output = [0f32; 6];
    let whole = BunjaeView { data: input.as_ptr().cast(), bytes: 1536 };
    let taken = BunjaeBuffer { data: output.as_mut_ptr().cast(), bytes: 24 };
    let view = |data: *const f32, bytes| BunjaeView { data: data.cast(), bytes };
    let odd = input.as_ptr().cast::<u8>().wrapping_add(1).cast();
    let mut errors = Vec::new();
    let mut refused = |what: BunjaeStatus| {
        assert_eq!(what, BunjaeStatus::Error);
        errors.push(last_error());
    };
    // SAFETY: whatever is too short, null or misaligned is said to be so and not read.
    unsafe {
        refused(bunjae_run(null_mut(), &whole, 1, &taken, 1));
        refused(bunjae_run(session, null(), 1, &taken, 1));
        refused(bunjae_run(session, null(), 0, &taken, 1));
        refused(bunjae_run(session, &whole, 1, null(), 0));
        refused(bunjae_run(session, &view(null(), 1536), 1, &taken, 1));
        refused(bunjae_run(session, &view(odd, 1536), 1, &taken, 1));
        refused(bunjae_run(session, &view(input.as_ptr(), 1535), 1, &taken, 1));
        let short = BunjaeBuffer { data: taken.data, bytes: 20 };
        refused(bunjae_run(session, &whole, 1, &short, 1));
        refused(bunjae_input(session, 1, null_mut()));
        refused(bunjae_output(session, 0, null_mut()));
        assert_eq!(bunjae_run(session, &whole, 1, &taken, 1), BunjaeStatus::Ok);

        assert!(bunjae_session_create(null(), 1, 1).is_null());
        assert_eq!(last_error(), "model is null");
        assert!(bunjae_open(null()).is_null());
        assert_eq!(last_error(), "path is null");
        assert!(bunjae_open(c"\xff".as_ptr()).is_null());
        assert_eq!(last_error(), "path is not UTF-8");
        assert!(bunjae_open_memory(null::<c_void>(), 9).is_null());
        assert_eq!(last_error(), "bytes is null");
        assert!(bunjae_open_memory(b"onnx".as_ptr().cast(), 4).is_null());
        assert!(last_error().starts_with("not a compiled network"), "{}", last_error());
        assert_eq!((bunjae_input_count(null()), bunjae_output_count(null())), (0, 0));
        bunjae_session_free(null_mut());
        bunjae_model_free(null_mut());
        bunjae_classifier_free(null_mut());
        bunjae_session_free(session);
        bunjae_model_free(model);
    }
    let expected = [
        "session is null",
        "inputs is null",
        "the model has 1 inputs, but 0 were given",
        "the model has 1 outputs, but 0 were given",
        "input x is null",
        "input x is not aligned to 4 bytes",
        "input x should be f32[2, 3, 8, 8], 1536 bytes, but 1535 were given",
        "output scores should be f32[2, 3], 24 bytes, but 20 were given",
        "there is no input 1, only 1",
        "tensor is null",
    ];
    assert_eq!(errors, expected);
}

#[test]
fn pictures_are_classified_and_the_rest_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sky.bmp");
    std::fs::write(&path, bitmap([0, 51, 255])).unwrap();
    let path = CString::new(path.to_str().unwrap()).unwrap();
    let bytes = classifier();
    // SAFETY: the handles are valid and the memory is as long as is said.
    unsafe {
        let model = bunjae_open_memory(bytes.as_ptr().cast(), bytes.len());
        let classifier = bunjae_classifier_create(model, 1);
        assert!(!classifier.is_null(), "{}", last_error());
        assert_eq!(bunjae_classifier_classes(classifier), 3);
        let mut classes = [BunjaeClass { index: 9, probability: 9.0 }; 4];
        let mut ask =
            |count| bunjae_classify_file(classifier, path.as_ptr(), classes.as_mut_ptr(), count);
        assert_eq!(ask(2), BunjaeStatus::Ok);
        assert_eq!(ask(4), BunjaeStatus::Error);
        assert_eq!(last_error(), "4 classes were asked for, but the model has 3");
        assert_eq!((classes[0].index, classes[0].probability), (2, 1.0));
        assert_eq!((classes[1].index, classes[2].index), (1, 9));
        assert_eq!(CStr::from_ptr(bunjae_class_label(classifier, 2)), c"blue");
        assert!(bunjae_class_label(classifier, 3).is_null());
        assert_eq!(last_error(), "there is no class 3, only 3");
        let nowhere = c"nowhere.png".as_ptr();
        let status = bunjae_classify_file(classifier, nowhere, null_mut(), 0);
        assert!(status == BunjaeStatus::Error && last_error().starts_with("nowhere.png: "));
        bunjae_classifier_free(classifier);
        bunjae_model_free(model);

        let (model, session) = session();
        assert!(bunjae_classifier_create(model, 1).is_null());
        assert_eq!(last_error(), "the model does not say how a picture becomes its input");
        bunjae_session_free(session);
        bunjae_model_free(model);
    }
}
