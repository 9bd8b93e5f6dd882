//! `bunjae train`, `finetune` and `distill`, on pictures that are made up here.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{Folder, snapshot};

/// A convolution with batch normalisation and a classifier of three classes.
fn net(channels: usize) -> String {
    let list = |number: &str| vec![number; channels].join(", ");
    let (ones, zeros, c) = (list("1"), list("0"), channels);
    format!(
        "graph @net
in   %x: f32[N,3,8,8]
w    @conv.w: f32[{c},3,3,3] = rand(seed=1)
w    @bn.g: f32[{c}] = [{ones}]
w    @bn.b: f32[{c}] = [{zeros}]
w    @bn.m: f32[{c}] frozen = [{zeros}]
w    @bn.v: f32[{c}] frozen = [{ones}]
%1 = conv2d %x, @conv.w {{pad=[1,1,1,1]}} : f32[N,{c},8,8] ; \"conv\"
%2 = batch_norm %1, @bn.g, @bn.b, @bn.m, @bn.v : f32[N,{c},8,8] ; \"bn\"
%3 = relu %2 : f32[N,{c},8,8] ; \"relu\"
%4 = global_pool %3 {{kind=mean}} : f32[N,{c},1,1] ; \"pool\"
%5 = flatten %4 {{axis=1}} : f32[N,{c}] ; \"flatten\"
w    @fc.w: f32[3,{c}] = rand(seed=2)
w    @fc.b: f32[3] = [0, 0, 0]
%6 = linear %5, @fc.w, @fc.b : f32[N,3] ; \"fc\"
out  %6 ; \"scores\"
"
    )
}

/// A picture of 8 x 8 pixels as Windows bitmaps are written: 14 + 40 bytes of headers, then rows of
/// 24 bytes.
fn bitmap(grey: impl Fn(usize, usize) -> u8) -> Vec<u8> {
    let mut bytes = b"BM".to_vec();
    [54 + 192, 0, 54, 40, 8, 8].iter().for_each(|&n: &u32| bytes.extend(n.to_le_bytes()));
    bytes.extend([1, 0, 24, 0]);
    [0, 192, 0, 0, 0, 0].iter().for_each(|&n: &u32| bytes.extend(n.to_le_bytes()));
    for y in 0..8 {
        (0..8).for_each(|x| bytes.extend([grey(x, y); 3]));
    }
    bytes
}

const CLASSES: [&str; 3] = ["across", "down", "plain"];

/// Lines across, lines down and no lines, under noise: twelve of each for training, four for validation
/// and four without a label.
fn pictures(folder: &Folder) {
    let mut noise = 1u32;
    for (class, name) in CLASSES.iter().enumerate() {
        for number in 0..20 {
            let line = |x: usize, y: usize| [y % 2, x % 2, 0][class] as u8;
            let seed = noise;
            let picture = bitmap(|x, y| {
                // Linear congruential, as in the standard of C.
                let mut state = seed.wrapping_add((x * 8 + y) as u32 * 7919);
                state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
                60 + 120 * line(x, y) + (state >> 24) as u8 / 4
            });
            noise = noise.wrapping_mul(69_069).wrapping_add(1);
            let place = match number {
                0..12 => format!("set/train/{name}/{number:02}.bmp"),
                12..16 => format!("set/val/{name}/{number:02}.bmp"),
                _ => format!("more/{name}{number}.bmp"),
            };
            write(&folder.path(&place), &picture);
        }
    }
}

fn write(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
}

fn folder() -> Folder {
    let folder = Folder::new();
    folder.model("net.onnx", &net(4));
    folder.model("wide.onnx", &net(8));
    pictures(&folder);
    folder
}

/// The text without what differs between processors: numbers with a point, the best epoch, and the
/// widths of columns.
fn steady(text: &str) -> String {
    let mut result = String::new();
    for line in text.lines() {
        let indent = line.len() - line.trim_start().len();
        result.push_str(&line[..indent.min(2)]);
        let words: Vec<String> = line.split_whitespace().map(word).collect();
        let words = words.join(" ").replace(", best so far", "");
        let is_best = words.starts_with("best epoch ");
        result.push_str(if is_best { "best epoch [N]" } else { &words });
        result.push('\n');
    }
    result
}

fn word(word: &str) -> String {
    let number = word.trim_end_matches(',');
    match number.contains('.') && number.parse::<f64>().is_ok() {
        true => word.replace(number, "[N]"),
        false => word.to_owned(),
    }
}

#[test]
fn from_a_folder_of_pictures_to_a_small_student() {
    let folder = folder();
    let text = folder.session(&[
        "train wide.onnx --data set -o teacher.onnx --epochs 8 --batch 6 --rate 0.1",
        "evaluate teacher.onnx --data set --min-accuracy 90%",
        "finetune teacher.onnx --data set -o again.onnx --epochs 1 --batch 6 --freeze conv --freeze bn \
         --recalibrate-bn --quiet",
        "distill net.onnx --teacher teacher.onnx --data set --unlabelled more -o student.onnx \
         --epochs 8 --batch 6 --rate 0.1 --method kd,at,munge",
        "evaluate student.onnx --data set --min-accuracy 90% --quiet",
    ]);
    snapshot!("train_to_student", steady(&text));
    let files = folder.files();
    for file in ["teacher.onnx", "teacher.run", "again.onnx", "student.onnx", "student.run"] {
        assert!(files.iter().any(|name| name == file), "{file} of {files:?}");
    }
    let report = folder.json("inspect student.onnx");
    let metadata = &report["metadata"];
    assert_eq!(metadata["bunjae.labels"], r#"["across","down","plain"]"#);
    assert!(metadata["bunjae.preprocess"].as_str().unwrap().contains(r#""width":8"#));
    let command = metadata["bunjae.command"].as_str().unwrap();
    assert!(command.starts_with(r#"distill --munge {"times":1,"p":0.2"#), "{command}");
}

#[test]
fn labels_give_the_order_of_the_outputs() {
    let folder = folder();
    folder.write("order.txt", "plain\nacross\ndown\n");
    let line = "train net.onnx --data set -o ordered.onnx --epochs 1 --batch 6 --labels order.txt";
    folder.done(line);
    let report = folder.json("inspect ordered.onnx");
    assert_eq!(report["metadata"]["bunjae.labels"], r#"["plain","across","down"]"#);
    folder.write("order.txt", "plain\nacross\nelse\n");
    let text = folder.session(&[&line.replace("ordered", "other")]);
    snapshot!("train_with_labels_of_other_classes", text);
}

#[test]
fn hints_and_unchanged_pictures() {
    let folder = folder();
    let distill = "distill net.onnx --teacher wide.onnx --data set --epochs 1 --batch 6 --quiet";
    folder.done(&format!("{distill} -o fitnet.onnx --method fitnet --hint conv=relu"));
    folder.done(&format!("{distill} -o still.onnx --flip 0 --shift 0 --method dkd,dist"));
    assert!(folder.path("still.run/teacher.safetensors").exists());
    let text = folder.session(&[
        &format!("{distill} -o wrong.onnx --method at --hint conv=nowhere"),
        &format!("{distill} -o wrong.onnx --hint conv=conv"),
        &format!("{distill} -o wrong.onnx --method fitnet --hint conv=conv --hint bn=bn"),
        &format!("{distill} -o wrong.onnx --method at --hint conv"),
        &format!("{distill} -o wrong.onnx --method at --teacher net.onnx"),
    ]);
    snapshot!("distill_wrong_hints", text);
    assert!(!folder.path("wrong.run").exists());
}

/// A layer that is fixed to its picture's size.
const FLAT: &str = "graph @flat
in   %x: f32[N,3,8,8]
%1 = flatten %x {axis=1} : f32[N,192] ; \"flatten\"
w    @fc.w: f32[3,192] = rand(seed=2)
w    @fc.b: f32[3] = [0, 0, 0]
%2 = linear %1, @fc.w, @fc.b : f32[N,3] ; \"fc\"
out  %2 ; \"scores\"
";

#[test]
fn a_model_may_be_trained_for_pictures_of_another_size() {
    let folder = folder();
    folder.model("flat.onnx", FLAT);
    let line = "train net.onnx --data set -o sized.onnx --batch 6 --epochs 1 --picture 12x10";
    let told = folder.run(line);
    let told = String::from_utf8(told.stderr).unwrap();
    assert!(told.contains("took pictures of 3x8x8, and is made one for 3x10x12"), "{told}");
    let inspected = folder.done("inspect sized.onnx");
    assert!(inspected.contains("f32[N,3,10,12]"), "{inspected}");
    folder.done("evaluate sized.onnx --data set");
    let text = folder.session(&[
        "train flat.onnx --data set -o out.onnx --batch 6 --picture 12x10",
        "distill sized.onnx --teacher wide.onnx --data set -o out.onnx --batch 6",
        "prune net.onnx --data set -o out.onnx --picture 12x10 --criterion taylor --ratio .5",
    ]);
    snapshot!("train_picture_sizes", text);
}

/// Waits until a run has done so many epochs.
fn wait_for(folder: &Folder, run: &str, epochs: usize) {
    let path = folder.path(run).join("metrics.jsonl");
    let began = Instant::now();
    while fs::read_to_string(&path).unwrap_or_default().lines().count() < epochs {
        assert!(began.elapsed() < Duration::from_secs(60), "no {epochs} epochs in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

const LONG: &str = "--data set --epochs 60 --batch 6 --ema 0.9 --metric loss --quiet";

/// Kills a run after some epochs, and returns the bytes of its last checkpoint.
fn killed(folder: &Folder, name: &str) -> Vec<u8> {
    let line = format!("train net.onnx -o {name}.onnx {LONG}");
    let mut child = folder.command(&line).spawn().unwrap();
    wait_for(folder, &format!("{name}.run"), 3);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(
        !folder.path(&format!("{name}.onnx")).exists(),
        "the run was over before it was killed"
    );
    folder.read(&format!("{name}.run/last.safetensors"))
}

#[test]
fn a_killed_run_is_resumed_to_the_bit() {
    let folder = folder();
    folder.done(&format!("train net.onnx -o whole.onnx {LONG}"));
    killed(&folder, "killed");
    let text = folder.session(&[&format!("train net.onnx -o killed.onnx {LONG}")]);
    snapshot!("train_over_a_run", text);
    folder.done(&format!("train net.onnx -o killed.onnx {LONG} --resume"));
    assert!(folder.read("whole.onnx") == folder.read("killed.onnx"), "the models differ");
    let lines = String::from_utf8(folder.read("killed.run/metrics.jsonl")).unwrap();
    assert_eq!(lines.lines().count(), 60);
    let other = folder.run(&format!("train net.onnx -o killed.onnx {LONG} --resume --mean 0.5"));
    let message = String::from_utf8(other.stderr).unwrap();
    assert!(message.contains("another model or other pictures"), "{message}");
}

/// A limit on the size of files is what a test can have of a full disk.
#[cfg(unix)]
#[test]
fn a_checkpoint_that_does_not_fit_leaves_the_last_one() {
    let folder = folder();
    folder.done(&format!("train net.onnx -o whole.onnx {LONG}"));
    let last = killed(&folder, "full");
    // As if the run had been killed in the middle of a checkpoint.
    folder.write("full.run/.last.safetensors.4711-0.tmp", "half of it");
    // A block is 512 or 1024 bytes; the signal that comes with the error would end the program.
    let line = format!("train net.onnx -o full.onnx {LONG} --resume");
    let script =
        format!("trap '' XFSZ; ulimit -f 2; exec '{}' {line}", env!("CARGO_BIN_EXE_bunjae"));
    let mut shell = std::process::Command::new("sh");
    let output = shell.current_dir(folder.path("")).args(["-c", &script]).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{message}");
    assert!(message.contains("cannot write full.run/last.safetensors: "), "{message}");
    assert!(message.contains("the last good checkpoint is still there"), "{message}");
    assert!(folder.read("full.run/last.safetensors") == last, "the checkpoint has changed");
    let left = fs::read_dir(folder.path("full.run")).unwrap();
    let names: Vec<String> =
        left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| !name.starts_with('.')), "{names:?}");
    folder.done(&line);
    assert!(folder.read("whole.onnx") == folder.read("full.onnx"), "the models differ");
}

#[test]
fn what_cannot_be_trained_is_said() {
    let folder = folder();
    fs::create_dir_all(folder.path("empty")).unwrap();
    folder.write("file", "no pictures");
    for number in 0..4 {
        let picture = bitmap(|_, _| number * 9);
        write(&folder.path(&format!("one/only/{number}.bmp")), &picture);
        for class in ["a", "b"] {
            write(&folder.path(&format!("two/{class}/{number}.bmp")), &picture);
            write(&folder.path(&format!("bad/{class}/{number}.bmp")), b"BM, but no picture");
        }
        write(&folder.path(&format!("strange/train/a/{number}.bmp")), &picture);
        write(&folder.path(&format!("strange/train/b/{number}.bmp")), &picture);
        write(&folder.path(&format!("strange/val/c/{number}.bmp")), &picture);
    }
    folder.model("map.onnx", crate::support::ANY_SIZE);
    let text = folder.session(&[
        "train net.onnx --data empty -o out.onnx",
        "train net.onnx --data nowhere -o out.onnx",
        "train net.onnx --data file -o out.onnx",
        "train net.onnx --data one -o out.onnx",
        "train net.onnx --data two -o out.onnx --batch 4",
        "train net.onnx --data bad -o out.onnx --classes 2 --batch 4",
        "train net.onnx --data strange -o out.onnx --batch 4",
        "train map.onnx --data set -o out.onnx --picture 8x8",
        "train net.onnx --data set -o out.onnx --batch 64",
        "train net.onnx --data set -o out.onnx --batch 6 --rate 0",
        "train net.onnx --data set -o out.onnx --batch 6 --freeze nothing",
        "finetune net.onnx --data set -o out.onnx --batch 6 --classes 5",
        "distill net.onnx --data set -o out.onnx",
        "distill net.onnx --teacher map.onnx --data set -o out.onnx --batch 6",
        "distill net.onnx --teacher wide.onnx --unlabelled empty --data set -o out.onnx --batch 6",
    ]);
    snapshot!("train_bad_input", text);
    assert!(!folder.files().iter().any(|name| name.starts_with("out")), "{:?}", folder.files());
    let wild =
        "train net.onnx --data set -o out.onnx --batch 6 --optimizer sgd --rate 1e30 --quiet";
    let wild = folder.run(&format!("{wild} --schedule constant"));
    let message = String::from_utf8(wild.stderr).unwrap();
    assert_eq!(wild.status.code(), Some(2), "{message}");
    assert!(
        message.contains(" at step ") && message.contains("a lower learning rate"),
        "{message}"
    );
    assert!(!folder.path("out.onnx").exists());
}

#[cfg(unix)]
#[test]
fn a_folder_that_may_not_be_read_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = folder();
    let closed = folder.path("set/train/down");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).unwrap();
    let may_read = fs::read_dir(&closed).is_ok();
    let output = folder.run("train net.onnx --data set -o out.onnx --batch 6 --epochs 1");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
    // The administrator may read everything.
    if !may_read {
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(message.contains("cannot read set/train/down"), "{message}");
    }
}
