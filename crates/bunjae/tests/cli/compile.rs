//! `bunjae compile` and what it writes.

use std::process::Command;

use crate::predict::{STRONGEST, bitmap, folder};
use crate::support::{Folder, TINY, snapshot};

/// The colours by their probabilities, in a model that knows how it is used.
fn compiled() -> Folder {
    let folder = folder();
    folder.done(
        "annotate colour.onnx -o named.onnx --labels colours.txt --preprocess unit \
         --scores probabilities",
    );
    folder
}

#[test]
fn a_compiled_model_answers_as_its_onnx_file_does() {
    let folder = compiled();
    let report = folder.json("compile named.onnx -o named.bunjae");
    assert_eq!((&report["batch"], &report["emit"]), (&serde_json::Value::Null, &"model".into()));
    assert_eq!(report["output_bytes"], folder.read("named.bunjae").len());
    let expected = folder.done("predict named.onnx pictures --csv");
    assert_eq!(folder.done("predict named.bunjae pictures --csv"), expected);
    assert_eq!(folder.done("predict named.bunjae pictures --csv --isa portable"), expected);
    // The batch can be fixed, and then is.
    folder.done("compile named.onnx -o two.bunjae --batch 2 --threads 2");
    assert_eq!(folder.done("predict two.bunjae pictures --csv"), expected);
    // Records can be given while compiling.
    folder.done("compile colour.onnx -o c.bunjae --labels colours.txt --preprocess unit");
    let text = folder.done("predict c.bunjae pictures/a.bmp -k 1");
    assert_eq!(text, "pictures/a.bmp: red 55.0 %\n");
    let bench = "bench named.bunjae named.onnx --runs 2 --warmup 0 --seconds 0";
    assert_eq!(folder.json(bench)["results"].as_array().unwrap().len(), 2);
}

#[test]
fn the_plan_is_explained_without_writing() {
    let folder = Folder::with_tiny();
    let report = folder.json("compile tiny.onnx --explain --isa portable");
    let steps = report["plan"]["steps"].as_array().unwrap();
    let macs: u64 = steps.iter().map(|step| step["macs"].as_u64().unwrap()).sum();
    assert_eq!(folder.json("profile tiny.onnx")["macs"], macs);
    assert_eq!((&report["macs"], &report["isa"]), (&macs.into(), &"portable".into()));
    assert_eq!(folder.files(), ["tiny.onnx"]);
    let text = folder.done("compile tiny.onnx -o tiny.bunjae");
    assert!(text.contains("\nbatch            any\n"), "{text}");
    assert!(text.contains("\npreprocess       not said\n"), "{text}");
}

#[test]
fn an_executable_takes_pictures_instead_of_commands() {
    let folder = compiled();
    folder.done("compile named.onnx -o classify --emit exe");
    let run = |arguments: &str| {
        let mut command = Command::new(folder.path("classify"));
        command.current_dir(folder.path("")).args(arguments.split_whitespace());
        let output = command.output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let expected = folder.done("predict named.onnx pictures --csv");
    assert_eq!(run("pictures --csv"), (Some(0), expected, String::new()));
    folder.write("half.bmp", &bitmap([1, 2, 3])[..60]);
    let (code, text, said) = run("half.bmp pictures/a.bmp --top 1");
    assert_eq!((code, text.as_str()), (Some(1), "pictures/a.bmp: red 100.0 %\n"));
    assert!(said.starts_with("error: half.bmp: not a valid BMP file"), "{said}");
    let (code, _, said) = run("");
    assert!(code == Some(2) && said.contains("<PICTURE|FOLDER>"), "{said}");
    // A damaged model is found out before it answers.
    let mut whole = folder.read("classify");
    let at = whole.len() - 100;
    whole[at] ^= 1;
    folder.write("damaged", &whole);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(folder.path("classify")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, (mode & 0o444) >> 2);
        std::fs::set_permissions(folder.path("damaged"), PermissionsExt::from_mode(mode)).unwrap();
        let output =
            Command::new(folder.path("damaged")).arg(folder.path("pictures")).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && said.contains("checksum"), "{said}");
    }
}

#[test]
fn a_folder_for_c_has_all_that_it_takes() {
    let folder = compiled();
    // Cargo has built the libraries for the tests of this crate, in the folder of the tests.
    let libraries = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let libraries = crate::support::argument(&libraries);
    let report =
        folder.json(&format!("compile named.onnx -o for-c --emit c --library {libraries}"));
    let mut names: Vec<String> = std::fs::read_dir(folder.path("for-c"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    for name in ["bunjae.h", "example.c", "model.bunjae"] {
        assert!(names.iter().any(|found| found == name), "{names:?}");
    }
    assert!(names.iter().any(|name| name.contains("bunjae_capi")), "{names:?}");
    // The command that is named does what it says, where there is a compiler.
    if cfg!(unix) && Command::new("cc").arg("--version").output().is_ok() {
        let next = report["next"].as_str().unwrap();
        let line = format!("{next} pictures/a.bmp");
        let output =
            Command::new("sh").current_dir(folder.path("")).args(["-c", &line]).output().unwrap();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "pictures/a.bmp: red 100.0 %; blue 20.0 %; green, as grass 0.0 %\n",
            "{line}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

#[test]
fn what_cannot_be_compiled_or_opened_is_refused_with_a_way_out() {
    let folder = compiled();
    folder.model("tiny.onnx", TINY);
    folder.model("any.onnx", &STRONGEST.replace("4,4]", "height,width]"));
    folder.done("compile named.onnx -o named.bunjae");
    let whole = folder.read("named.bunjae");
    folder.write("truncated.bunjae", &whole[..whole.len() - 10]);
    let changed = |name: &str, at: usize| {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x40;
        folder.write(name, bytes);
    };
    // The version of the format stands in bytes 12 to 16.
    changed("version.bunjae", 12);
    changed("damaged.bunjae", whole.len() - 1);
    // The byte order stands in bytes 16 to 20; another machine's has them the other way round.
    let mut turned = whole.clone();
    turned[16..20].reverse();
    folder.write("turned.bunjae", turned);
    folder.write("empty.bunjae", "");
    folder.write("start.bunjae", &whole[..8]);
    folder.write("garbage.bunjae", [0x57; 4096]);
    std::fs::create_dir(folder.path("folder.bunjae")).unwrap();
    std::fs::create_dir(folder.path("empty")).unwrap();
    let files = folder.files();
    let session = folder.session(&[
        "compile named.onnx",
        "compile named.bunjae -o again.bunjae",
        "compile named.onnx -o named.onnx",
        "compile named.onnx -o nowhere/a.bunjae",
        "compile tiny.onnx -o tiny --emit exe",
        "compile named.onnx -o pictures --emit c",
        "compile named.onnx -o new --emit c --library empty",
        "compile any.onnx -o any.bunjae",
        "compile tiny.onnx -o a.bunjae --size H=3",
        "compile named.onnx -o a.bunjae --isa neon",
        "predict truncated.bunjae pictures",
        "predict version.bunjae pictures",
        "predict damaged.bunjae pictures",
        "predict turned.bunjae pictures",
        "predict empty.bunjae pictures",
        "predict start.bunjae pictures",
        "predict garbage.bunjae pictures",
        "predict folder.bunjae pictures",
        "predict nowhere.bunjae pictures",
        "predict named.bunjae pictures --isa neon",
        "evaluate version.bunjae --data pictures",
        "bench garbage.bunjae",
        "predict named.bunjae pictures --tune",
        "bench truncated.bunjae",
        "bench named.bunjae --against onnxruntime",
        "inspect named.bunjae",
    ]);
    assert_eq!(folder.files(), files);
    let number = |text: &str, from: &str| text.replace(from, "[SIZE]");
    let session = number(&session, &(whole.len() - 10).to_string());
    let session = number(&session, &whole.len().to_string());
    if cfg!(target_arch = "x86_64") {
        snapshot!("compile_refused", session);
    }
}
