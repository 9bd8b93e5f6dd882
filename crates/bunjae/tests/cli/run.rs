//! `bunjae run`, `status` and `clean`: what is done once stays done, what is stopped goes on, and
//! nothing is lost.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{Folder, snapshot};

/// Everything but time, on 36 small pictures.
const TINY: &str = r#"
title = "tiny"
data = "pulses"
seed = 1
epochs = 3
batch = 6
flip = 0
shift = 0

[generate.pulses]
kind = "prps"
per-class = 6
difficulty = 0.1

[new]
architecture = "mask-small"
input = "1x16x32"
classes = 6
[new.net]
[new.thin]
width = 0.5

[train.teacher]
model = "net"

[distill.student]
model = "thin"
teacher = "teacher"

[prune.cut]
model = "teacher"
ratio = [0.3, 0.5]

[finetune.pruned]
model = "cut"
epochs = 2

[evaluate.scores]
model = ["teacher", "pruned"]
split = "all"
"#;

fn folder(recipe: &str) -> Folder {
    let folder = Folder::new();
    folder.write("r.toml", recipe);
    folder
}

/// What the run says of each stage.
#[track_caller]
fn stages(folder: &Folder, line: &str, key: &str) -> BTreeMap<String, String> {
    let report = folder.json(&format!("{line} --quiet"));
    let stages = report["stages"].as_array().unwrap().iter();
    let text = |stage: &serde_json::Value, key: &str| match &stage[key] {
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    stages.map(|stage| (text(stage, "name"), text(stage, key))).collect()
}

/// The stages of a run in this state.
#[track_caller]
fn in_state(folder: &Folder, line: &str, state: &str) -> Vec<String> {
    let stages = stages(folder, line, "state");
    stages.into_iter().filter(|(_, found)| found == state).map(|(name, _)| name).collect()
}

/// The bytes of everything that stages made, by the name of the stage and the file.
fn results(folder: &Folder, work: &str) -> BTreeMap<String, Vec<u8>> {
    let mut results = BTreeMap::new();
    let stages = fs::read_dir(folder.path(work).join("stages")).unwrap();
    for stage in stages {
        let stage = stage.unwrap().path();
        let name = stage.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(!name.ends_with(".partial"), "{name} was left behind");
        for file in fs::read_dir(&stage).unwrap() {
            let file = file.unwrap().path();
            let file_name = file.file_name().unwrap().to_str().unwrap();
            assert!(!file_name.ends_with(".tmp"), "{}", file.display());
            if file_name.ends_with(".onnx") {
                results.insert(format!("{name}/{file_name}"), fs::read(&file).unwrap());
            }
        }
    }
    results
}

#[track_caller]
fn assert_same(a: &BTreeMap<String, Vec<u8>>, b: &BTreeMap<String, Vec<u8>>) {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    assert_eq!(a.len(), 8);
    for (name, bytes) in a {
        assert!(b[name] == *bytes, "{name} differs");
    }
}

/// Text without what differs from run to run or between processors: keys, times and the comparison
/// of models.
fn steady(text: &str) -> String {
    let mut steady = String::new();
    let mut compares = false;
    for line in text.lines() {
        if line.starts_with("model ") {
            if !compares {
                steady.push_str("[COMPARISON]\n\n");
            }
            compares = true;
        }
        compares &= !line.starts_with("report:");
        if compares {
            continue;
        }
        let words: Vec<String> = line.split_whitespace().map(steady_word).collect();
        let indent = line.len() - line.trim_start().len();
        steady.push_str(&" ".repeat(indent));
        let words = words.join(" ");
        let words = words.replace("[N] min ", "").replace("[N] s", "[TIME]");
        steady.push_str(&words);
        steady.push('\n');
    }
    steady
}

fn steady_word(word: &str) -> String {
    // Percentages differ between processors, which round sums otherwise.
    let bare = word.trim_end_matches(',');
    if bare.contains('.') && bare.parse::<f64>().is_ok() {
        return word.replace(bare, "[N]");
    }
    let mut text = word.to_owned();
    let is_key = |part: &str| part.len() == 12 && part.bytes().all(|b| b.is_ascii_hexdigit());
    for part in word.split(['.', '/', ',']).filter(|part| is_key(part)) {
        text = text.replace(part, "[KEY]");
    }
    text
}

#[test]
fn a_second_run_does_nothing_and_a_change_runs_what_follows() {
    let folder = folder(TINY);
    let text = folder.session(&["run r.toml --dry-run"]);
    snapshot!("run_dry", steady(&text));
    assert!(!folder.path("r.work").exists(), "a dry run writes nothing");
    let text = folder.session(&["run r.toml --jobs 2 --quiet", "run r.toml", "status r.toml"]);
    snapshot!("run_twice", steady(&text));
    let before = results(&folder, "r.work");

    let follows = in_state(&folder, "run r.toml --set distill.student.epochs=2 --dry-run", "runs");
    assert_eq!(follows, ["student"]);
    let change = "run r.toml --set finetune.pruned.epochs=1";
    let follows = ["pruned-0.3", "pruned-0.5", "scores-pruned-0.3", "scores-pruned-0.5"];
    let why = stages(&folder, &format!("{change} --dry-run"), "why");
    assert_eq!(why["pruned-0.3"], "epochs: 2 -> 1");
    assert_eq!(why["scores-pruned-0.3"], "follows `pruned-0.3`");
    assert_eq!(in_state(&folder, change, "ran"), follows);
    assert_eq!(in_state(&folder, "run r.toml", "ran"), [""; 0], "the old results are still there");
    let status = folder.session(&["status r.toml --set train.teacher.epochs=4"]);
    snapshot!("run_status_outdated", steady(&status));

    // What was changed by hand is made again, and comes out the same.
    let cut = stages(&folder, "run r.toml --dry-run", "folder")["cut-0.3"].clone();
    folder.write(&format!("{cut}/cut-0.3.onnx"), "no model");
    assert_eq!(in_state(&folder, "run r.toml", "ran"), ["cut-0.3"]);
    let after = results(&folder, "r.work");
    assert!(before.iter().all(|(name, bytes)| after[name] == *bytes));

    let text = folder.session(&[
        "clean r.toml --dry-run",
        "clean r.toml",
        "clean r.toml",
        "run r.toml --force cut-0.3 --force scores --dry-run",
        "run r.toml --force nothing",
    ]);
    snapshot!("run_clean", steady(&sizes(&text)));
    // The same cut comes out, so what follows is not run again.
    assert_eq!(in_state(&folder, "run r.toml --force cut", "ran"), ["cut-0.3", "cut-0.5"]);
    assert_same(&before, &results(&folder, "r.work"));

    folder.write("r.work/mine.txt", "not made by a run");
    folder.done("clean r.toml --all --quiet");
    assert_eq!(fs::read_dir(folder.path("r.work")).unwrap().count(), 1);
    assert_eq!(folder.files(), ["r.toml", "r.work"]);
}

/// Sizes of folders depend on how long messages are.
fn sizes(text: &str) -> String {
    let line = |line: &str| match line.split_once(" bytes") {
        Some((before, after)) if before.contains("remove") => {
            let (what, _) = before.rsplit_once(' ').unwrap();
            let rest = after.split_once(';').map_or("", |(_, rest)| rest);
            format!("{what} [SIZE]{rest}")
        }
        _ => line.to_owned(),
    };
    text.lines().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn pictures_that_change_change_what_learns_from_them() {
    let folder = folder(TINY);
    folder.done("data generate prps -o own --per-class 6 --difficulty 0.1 --quiet");
    let line = "run r.toml --set data=own";
    let trained = ["pruned-0.3", "pruned-0.5", "student", "teacher"];
    folder.done(&format!("{line} --quiet"));
    assert_eq!(in_state(&folder, line, "ran"), [""; 0]);
    let noise = fs::read_dir(folder.path("own/noise")).unwrap().next().unwrap().unwrap().path();
    fs::rename(&noise, folder.path("taken.png")).unwrap();
    let runs = in_state(&folder, &format!("{line} --dry-run"), "runs");
    assert!(trained.iter().all(|name| runs.iter().any(|run| run == name)), "{runs:?}");
    assert!(!runs.iter().any(|name| name == "net" || name == "pulses"), "{runs:?}");
    let why = stages(&folder, &format!("{line} --dry-run"), "why");
    assert_eq!(why["teacher"], "own has changed");
    fs::rename(folder.path("taken.png"), &noise).unwrap();
    assert_eq!(in_state(&folder, &format!("{line} --dry-run"), "runs"), [""; 0]);
}

#[test]
fn one_job_and_two_make_the_same_bytes() {
    let folder = folder(TINY);
    folder.done("run r.toml --work one --quiet");
    folder.done("run r.toml --work two --jobs 2 --quiet");
    assert_same(&results(&folder, "one"), &results(&folder, "two"));
}

/// A generator whose sequence is fixed, for moments that are random and can be repeated.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: u64) -> u64 {
        // Knuth's MMIX.
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % most
    }
}

#[test]
fn a_run_killed_ten_times_ends_with_the_bytes_of_one_that_was_not() {
    let folder = folder(TINY);
    let began = Instant::now();
    folder.done("run r.toml --work whole --quiet");
    // A tenth of the whole on average, so that ten are stopped on the way.
    let mut most = began.elapsed().as_millis() as u64 / 5;
    let mut chance = Chance(5);
    let mut killed = 0;
    for attempt in 0..200 {
        let jobs = 1 + attempt % 2;
        let line = format!("run r.toml --work killed --jobs {jobs} --quiet");
        let mut child = folder.command(&line).stdout(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 + chance.below(most + 1)));
        let over = child.try_wait().unwrap();
        // SIGKILL, which no program can handle.
        child.kill().unwrap();
        child.wait().unwrap();
        if let Some(status) = over {
            assert!(status.success(), "{status}");
            // The machine has less to do than when the whole run was timed: from the beginning.
            fs::remove_dir_all(folder.path("killed")).unwrap();
            (most, killed) = (most / 2, 0);
            continue;
        }
        killed += 1;
        if killed == 10 {
            break;
        }
    }
    assert_eq!(killed, 10, "no run could be killed ten times");
    folder.done("run r.toml --work killed --quiet");
    assert_same(&results(&folder, "whole"), &results(&folder, "killed"));
    assert_eq!(in_state(&folder, "run r.toml --work killed", "ran"), [""; 0]);
}

/// Waits until a training has done an epoch.
fn wait_for_an_epoch(training: &Path) {
    let path = training.join("metrics.jsonl");
    let began = Instant::now();
    while !fs::read_to_string(&path).is_ok_and(|lines| lines.contains('\n')) {
        assert!(began.elapsed() < Duration::from_secs(60), "no epoch in a minute");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn spawn(folder: &Folder, line: &str) -> std::process::Child {
    let mut command: Command = folder.command(line);
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// The folder of a stage that is being made.
fn partial(folder: &Folder, line: &str, stage: &str) -> PathBuf {
    let finished = stages(folder, &format!("run {line} --dry-run"), "folder")[stage].clone();
    folder.path(&format!("{finished}.partial"))
}

#[test]
fn two_runs_in_one_folder_do_not_meet() {
    let folder = folder(TINY);
    let long = "r.toml --set epochs=2000 --set train.teacher.rate=1e-5";
    let mut first = spawn(&folder, &format!("run {long}"));
    wait_for_an_epoch(&partial(&folder, long, "teacher").join("training"));
    let text = folder.session(&["run r.toml", "clean r.toml --all"]);
    let process = format!("(process {})", first.id());
    assert_eq!(text.matches(&process).count(), 2, "{text}");
    snapshot!("run_in_use", text.replace(&process, "(process [ID])"));
    // Status may be asked meanwhile.
    let status = folder.json(&format!("status {long}"));
    let teacher = &status["stages"][3];
    assert_eq!((&teacher["name"], &teacher["state"]), (&"teacher".into(), &"stopped".into()));
    assert!(teacher["epoch"].as_u64().unwrap() >= 1, "{teacher}");
    assert_eq!(teacher["epochs"], 2000);
    // One that waits comes to its turn.
    let mut second = spawn(&folder, "run r.toml --wait");
    std::thread::sleep(Duration::from_millis(200));
    assert!(second.try_wait().unwrap().is_none(), "it did not wait");
    first.kill().unwrap();
    first.wait().unwrap();
    assert!(second.wait().unwrap().success());
    assert_eq!(in_state(&folder, "run r.toml", "ran"), [""; 0]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_what_a_next_run_goes_on_with() {
    let folder = folder(TINY);
    let long = "r.toml --set train.teacher.epochs=60";
    let line = format!("run {long}");
    let mut command = folder.command(&line);
    let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let training = partial(&folder, long, "teacher").join("training");
    wait_for_an_epoch(&training);
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(signal.success());
    let output = child.wait_with_output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{message}");
    assert!(message.ends_with(&format!("stopped; this goes on: bunjae {line}\n")), "{message}");
    let why = &stages(&folder, &format!("{line} --dry-run"), "why")["teacher"];
    assert!(why.starts_with("goes on after epoch ") && why.ends_with(" of 60"), "{why}");
    let output = folder.run(&line);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(message.contains("teacher: note: goes on after epoch "), "{message}");
    assert_eq!(output.status.code(), Some(0), "{message}");
}

#[test]
fn a_stage_that_fails_ends_what_needs_it_and_nothing_else() {
    let folder = folder(&TINY.replace("[train.teacher]", "[train.teacher]\nfreeze = \"nowhere\""));
    let text = folder.session(&["run r.toml", "status r.toml"]);
    snapshot!("run_failed", steady(&text));
    let log = partial(&folder, "r.toml", "teacher").join("log.txt");
    let log = fs::read_to_string(log).unwrap();
    assert!(log.starts_with("$ bunjae train r.work/stages/net."), "{log}");
    assert!(log.contains("error: "), "{log}");
    folder.write("r.toml", TINY);
    assert_eq!(folder.run("run r.toml --quiet").status.code(), Some(0));
}

/// The share of lines of a predictions file whose label is predicted.
fn recount(folder: &Path) -> f64 {
    let text = fs::read_to_string(folder.join("predictions.csv")).unwrap();
    let lines: Vec<Vec<&str>> = text.lines().skip(1).map(|l| l.split(',').collect()).collect();
    let right = lines.iter().filter(|cells| cells[1] == cells[2]).count();
    right as f64 / lines.len() as f64
}

#[test]
fn the_report_says_what_the_files_say() {
    let bench = "[bench.speed]\nmodels = [\"teacher\", \"pruned\"]\nruns = 3\nseconds = 0\n";
    let folder = folder(&format!("{TINY}\n{bench}\n[report]\nbase = \"pruned-0.5\"\n"));
    folder.done("run r.toml --quiet --table table.md");
    let report: serde_json::Value =
        serde_json::from_slice(&folder.read("r.work/report.json")).unwrap();
    assert_eq!(report["title"], "tiny");
    assert_eq!(report["steps"].as_array().unwrap().len(), 13);
    let models = report["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|model| model["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["pruned-0.5", "teacher", "pruned-0.3"], "the base first");
    let folders = stages(&folder, "run r.toml --dry-run", "folder");
    for (model, name) in models.iter().zip(names) {
        let run = &model["runs"][0];
        let file = folder.path(run["file"]["path"].as_str().unwrap());
        assert_eq!(run["file"]["bytes"], fs::metadata(file).unwrap().len());
        let counted = recount(&folder.path(&folders[&format!("scores-{name}")]));
        assert_eq!(run["quality"]["accuracy"], counted, "{name}");
        assert_eq!(run["quality"]["pictures"], 36);
        assert!(run["cost"]["parameters"].as_u64().unwrap() > 1000);
        assert!(run["timings"][0]["median_ms"].as_f64().unwrap() > 0.0);
        let epochs = if name == "teacher" { 3 } else { 2 };
        assert_eq!(run["training"][0]["epochs"].as_array().unwrap().len(), epochs);
        assert_eq!(run["seed"], 1);
    }
    let page = String::from_utf8(folder.read("r.work/report.html")).unwrap();
    assert!(page.contains("<svg") && page.contains("pruned-0.3"));
    let table = String::from_utf8(folder.read("table.md")).unwrap();
    assert!(table.starts_with("| model |") && table.contains("\n| teacher |"), "{table}");
}

#[test]
fn a_check_that_fails_is_exit_code_1_each_time() {
    let recipe = TINY.replace("split = \"all\"", "split = \"all\"\nmin-accuracy = 1.0");
    let folder = folder(&recipe);
    for state in ["ran", "done"] {
        let output = folder.run("run r.toml --quiet --format json");
        assert_eq!(output.status.code(), Some(1));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let stages = report["stages"].as_array().unwrap();
        let scores = stages.iter().find(|stage| stage["name"] == "scores-teacher").unwrap();
        assert_eq!(scores["state"], state);
        assert_eq!(scores["passed"], false);
    }
}

#[test]
fn what_is_no_recipe_or_no_work_folder_is_said() {
    let folder = folder(TINY);
    folder.write("binary.toml", [0xff, 0xfe, 0]);
    folder.write("wrong.toml", "[train.a]\nmodel = \"b\"\nepoch = 1\n");
    fs::create_dir(folder.path("mine")).unwrap();
    folder.write("mine/letter.txt", "dear diary");
    let text = folder.session(&[
        "run r",
        "run nowhere.toml",
        "run mine",
        "run binary.toml",
        "run wrong.toml",
        "run r.toml --work mine",
        "status r.toml --work mine",
        "clean r.toml --work mine --all",
        "clean r.toml --all",
        "run r.toml --set epochs=none",
        "run r.toml --jobs 0",
    ]);
    snapshot!("run_wrong", text);
    assert_eq!(folder.files(), ["binary.toml", "mine", "r.toml", "wrong.toml"]);
}
