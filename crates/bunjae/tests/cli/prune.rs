//! `bunjae prune`.

use crate::support::{ANY_SIZE, Folder, TINY, sizes, snapshot};

/// The figures of the face-mask system: widths, parameters and MACs of the base network at three
/// ratios, as torch-pruning 1.6 cuts it.
#[test]
fn mask_base_is_cut_to_the_recorded_sizes() {
    let folder = Folder::new();
    folder.done("new mask-base -o base.onnx");
    for (ratio, widths, parameters, macs) in [
        ("0.3", [22, 44, 89], 45_195, 81_506_482),
        ("0.5", [16, 32, 64], 23_938, 44_826_752),
        ("70%", [9, 19, 38], 8_556, 16_939_084),
    ] {
        let report = folder.json(&format!("prune base.onnx -o small.onnx --ratio {ratio}"));
        let kept: Vec<u64> = report["groups"].as_array().unwrap()[..3]
            .iter()
            .map(|group| group["kept"].as_u64().unwrap())
            .collect();
        assert_eq!(kept, widths, "{ratio}");
        assert_eq!(sizes(&report, "before"), [93_954, 165_150_976]);
        assert_eq!(sizes(&report, "after"), [parameters, macs], "{ratio}");
        assert_eq!(report["check"]["outputs"][0]["largest_difference"], 0.0);
        // The file holds what the report says.
        let written = folder.json("profile small.onnx");
        assert_eq!(written["parameters"]["total"], parameters);
        assert_eq!(written["macs"], macs);
        assert_eq!(written["file_bytes"], report["after"]["file_bytes"]);
    }
}

#[test]
fn a_cut_is_reported() {
    let folder = Folder::new();
    folder.done("new mask-base -o base.onnx");
    folder.model("tiny.onnx", TINY);
    snapshot!(
        "prune",
        folder.session(&[
            "prune base.onnx -o small.onnx --ratio 0.5",
            "prune tiny.onnx -o small.onnx --ratio 0.25 --format json",
            "prune tiny.onnx -o small.onnx --ratio 0.25 --no-check --quiet",
        ])
    );
}

#[test]
fn targets_are_met_and_not_passed_by_much() {
    let folder = Folder::new();
    folder.done("new mask-base -o base.onnx");
    let report = folder.json("prune base.onnx -o s.onnx --keep-macs 40% --global --max-ratio 0.9");
    let [_, macs] = sizes(&report, "after");
    assert!(macs <= 165_150_976 * 4 / 10, "{macs}");
    assert!(macs >= 165_150_976 * 35 / 100, "{macs}");
    let report = folder.json("prune base.onnx -o s.onnx --keep-params 0.25");
    let [parameters, _] = sizes(&report, "after");
    assert!((93_954 / 5..=93_954 / 4).contains(&parameters), "{parameters}");
}

#[test]
fn layers_can_be_left_alone_and_given_ratios_of_their_own() {
    let folder = Folder::new();
    folder.done("new mask-base -o base.onnx");
    snapshot!(
        "prune_patterns",
        folder.session(&["prune base.onnx -o small.onnx --ratio 0.5 --ignore features.0 \
                          --layer-ratio features.?=25% --layer-ratio features.8=0.75 --round-to 8"])
    );
}

#[test]
fn criteria_choose_different_channels() {
    let folder = Folder::new();
    folder.done("new mask-small -o m.onnx");
    let mut outcomes = Vec::new();
    for criterion in ["l1", "l2", "lamp", "fpgm", "bn-scale", "random", "random --seed 1"] {
        folder.done(&format!("prune m.onnx -o p.onnx --ratio 0.5 --criterion {criterion}"));
        // Without the metadata, which tells them apart anyway.
        let dump = folder.done("inspect p.onnx --dump --weights");
        let weights: Vec<&str> = dump.lines().filter(|line| line.starts_with("w ")).collect();
        outcomes.push((criterion, weights.join("\n")));
    }
    let kept = |name: &str| &outcomes.iter().find(|(criterion, _)| *criterion == name).unwrap().1;
    assert_ne!(kept("random"), kept("random --seed 1"));
    assert_ne!(kept("l2"), kept("bn-scale"));
    assert_ne!(kept("l2"), kept("fpgm"));
    // Squares over their sum rank within a group as the squares do.
    assert_eq!(kept("l2"), kept("lamp"));
}

#[test]
fn what_can_be_cut_is_explained_without_writing() {
    let folder = Folder::new();
    folder.model("tiny.onnx", TINY);
    snapshot!(
        "prune_explain",
        folder.session(&[
            "prune tiny.onnx --explain",
            "prune tiny.onnx --explain --ratio 0.5 --ignore c2",
            "prune tiny.onnx --explain --format json",
        ])
    );
    assert_eq!(folder.files(), ["tiny.onnx"]);
    // Nothing is counted, so that open sizes may stay open.
    folder.model("any.onnx", ANY_SIZE);
    assert!(folder.done("prune any.onnx --explain --ratio 0.5").contains("1 of 2 groups"));
    assert_eq!(folder.run("prune any.onnx --explain --keep-macs 0.5").status.code(), Some(2));
}

#[test]
fn masks_on_single_weights_say_that_they_save_nothing() {
    let folder = Folder::with_tiny();
    snapshot!(
        "prune_unstructured",
        folder.session(&[
            "prune tiny.onnx -o masked.onnx --ratio 0.5 --unstructured",
            "prune tiny.onnx -o masked.onnx --ratio 0.5 --unstructured --global --format json",
        ])
    );
    let masked = folder.json("profile masked.onnx");
    let (total, zero) = (&masked["parameters"]["total"], &masked["parameters"]["zero"]);
    assert_eq!((total.as_u64(), zero.as_u64()), (Some(268), Some(132)));
}

#[test]
fn open_sizes_are_needed_for_counting_and_for_the_check() {
    let folder = Folder::new();
    folder.model("any.onnx", ANY_SIZE);
    snapshot!(
        "prune_sizes",
        folder.session(&[
            "prune any.onnx -o small.onnx --ratio 0.5",
            "prune any.onnx -o small.onnx --ratio 0.5 --size height=6 --size width=5",
        ])
    );
    // What was given for counting is not written into the model.
    assert_eq!(folder.json("inspect small.onnx")["inputs"][0]["type"], "f32[N,3,height,width]");
}

#[test]
fn one_command_gives_one_file_wherever_it_lies() {
    let folder = Folder::with_tiny();
    std::fs::create_dir(folder.path("below")).unwrap();
    folder.done("prune tiny.onnx -o a.onnx --ratio 0.5 --criterion random --seed 5");
    folder.done("prune ./tiny.onnx -o below/b.onnx --ratio 50% --criterion random --seed 5");
    assert!(folder.read("a.onnx") == folder.read("below/b.onnx"));
}

#[test]
fn the_written_model_says_where_it_comes_from() {
    let folder = Folder::with_tiny();
    folder.done("prune tiny.onnx -o small.onnx --ratio 0.5 --seed 11");
    let metadata = &folder.json("inspect small.onnx")["metadata"];
    assert_eq!(
        metadata["bunjae.command"],
        "prune --ratio 0.5 --criterion l2 --across mean --normalise mean --max-ratio 1 \
         --round-to 1 --size N=1 --seed 11"
    );
    assert_eq!(metadata["bunjae.seed"], "11");
    assert_eq!(metadata["bunjae.version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(metadata["bunjae.check"], "removed equals masked to the bit, input seed 11");
    let sizes = |key: &str| -> serde_json::Value {
        serde_json::from_str(metadata[key].as_str().unwrap()).unwrap()
    };
    assert_eq!(sizes("bunjae.before")["parameters"], 268);
    assert_eq!(sizes("bunjae.after")["parameters"], 54 + 2 + 36 + 6);
    // The parent's hash, by another program where there is one.
    let hash = metadata["bunjae.parent_sha256"].as_str().unwrap();
    assert_eq!(hash.len(), 64);
    let judge = std::process::Command::new("sha256sum").arg(folder.path("tiny.onnx")).output();
    if let Ok(judge) = judge {
        assert!(String::from_utf8(judge.stdout).unwrap().starts_with(hash));
    }
}

/// Exporters store equal values once; taken at its word, that would couple the two layers.
#[test]
fn layers_that_share_a_bias_by_chance_are_cut_apart() {
    let folder = Folder::new();
    folder.model(
        "shared.onnx",
        "graph @shared
         in   %x: f32[N,3,4,4]
         w    @c1.w: f32[4,3,1,1] = rand(seed=1)
         w    @zeros: f32[4] = zeros
         %1 = conv2d %x, @c1.w, @zeros : f32[N,4,4,4] ; \"c1\"
         w    @c2.w: f32[4,4,1,1] = rand(seed=2)
         %2 = conv2d %1, @c2.w, @zeros : f32[N,4,4,4] ; \"c2\"
         w    @c3.w: f32[2,4,1,1] = rand(seed=3)
         %3 = conv2d %2, @c3.w : f32[N,2,4,4] ; \"c3\"
         out  %3 ; \"y\"",
    );
    let report = folder.json("prune shared.onnx -o small.onnx --ratio 0.5");
    assert_eq!(report["untied"], serde_json::json!(["zeros"]));
    assert_eq!(report["groups"].as_array().unwrap().len(), 3);
    let text = folder.done("prune shared.onnx -o small.onnx --ratio 0.5");
    assert!(text.contains("weights of equal values, given to each of their layers\nzeros\n"));
}

/// Infinity minus infinity everywhere: both networks say NaN, which is no proof that they agree.
#[test]
fn outputs_that_are_not_numbers_prove_nothing() {
    let folder = Folder::new();
    folder.model(
        "nan.onnx",
        "graph @nan
         in   %x: f32[N,1,2,2]
         w    @c1.w: f32[2,1,1,1] = [1, 2]
         %1 = conv2d %x, @c1.w : f32[N,2,2,2] ; \"c1\"
         w    @c2.w: f32[1,2,1,1] = [3, 4]
         w    @c2.b: f32[1] = [inf]
         %2 = conv2d %1, @c2.w, @c2.b : f32[N,1,2,2] ; \"c2\"
         %3 = sub %2, %2 : f32[N,1,2,2] ; \"zero\"
         out  %3 ; \"y\"",
    );
    let found = folder.run("prune nan.onnx -o small.onnx --ratio 0.5");
    assert_eq!(found.status.code(), Some(1));
    let text = String::from_utf8_lossy(&found.stdout);
    assert!(text.contains("the outputs are not numbers, which proves nothing"), "{text}");
    assert!(!folder.path("small.onnx").exists());
}

/// A channel with an infinite bias: masked, it reaches the next layer as 0 times infinity, which is
/// not a number, while the removed one is gone.
#[test]
fn a_check_that_fails_writes_nothing() {
    let folder = Folder::new();
    folder.model(
        "broken.onnx",
        "graph @broken
         in   %x: f32[N,1,2,2]
         w    @c1.w: f32[2,1,1,1] = [0, 1]
         w    @c1.b: f32[2] = [inf, 0]
         %1 = conv2d %x, @c1.w, @c1.b : f32[N,2,2,2] ; \"c1\"
         w    @c2.w: f32[1,2,1,1] = [0, 1]
         %2 = conv2d %1, @c2.w : f32[N,1,2,2] ; \"c2\"
         out  %2 ; \"y\"",
    );
    folder.write("small.onnx", "precious");
    snapshot!(
        "prune_check_fails",
        folder.session(&[
            "prune broken.onnx -o small.onnx --ratio 0.5",
            "prune broken.onnx -o small.onnx --ratio 0.5 --format json --quiet",
        ])
    );
    assert_eq!(folder.read("small.onnx"), b"precious");
    assert_eq!(folder.files(), ["broken.onnx", "small.onnx"]);
}

#[test]
fn a_failed_run_leaves_the_old_output_alone() {
    let folder = Folder::with_tiny();
    folder.write("out.onnx", "precious");
    folder.write("broken.onnx", &folder.read("tiny.onnx")[..200]);
    for line in [
        "prune broken.onnx -o out.onnx --ratio 0.5",
        "prune tiny.onnx -o out.onnx --keep-macs 1%",
        "prune tiny.onnx -o out.onnx --ratio 0.5 --ignore nowhere",
    ] {
        assert_eq!(folder.run(line).status.code(), Some(2), "{line}");
        assert_eq!(folder.read("out.onnx"), b"precious", "{line}");
    }
    folder.done("prune tiny.onnx -o out.onnx --ratio 0.5");
    folder.done("inspect out.onnx");
    assert_eq!(folder.files(), ["broken.onnx", "out.onnx", "tiny.onnx"]);
}

/// Whenever the signal comes, there is the whole file or none, and no temporary one.
#[cfg(unix)]
#[test]
fn an_interrupted_run_leaves_no_half_files() {
    use std::process::Stdio;
    use std::time::Instant;

    let folder = Folder::new();
    folder.done("new resnet18 --width 0.6 -o net.onnx");
    let line = "prune net.onnx -o small.onnx --ratio 0.01 --no-check";
    let start = Instant::now();
    folder.done(line);
    // Signals spread over a run's time; the files are written towards its end.
    let step = start.elapsed() / 20;
    let mut interrupted = 0;
    for delay in (8..=21).map(|steps| step * steps) {
        std::fs::remove_file(folder.path("small.onnx")).ok();
        let mut child =
            folder.command(line).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(delay);
        let kill = std::process::Command::new("kill")
            .args(["-INT", &child.id().to_string()])
            .stderr(Stdio::null())
            .status();
        assert!(kill.is_ok());
        let status = child.wait().unwrap();
        interrupted += usize::from(!status.success());
        let files = folder.files();
        let files: Vec<&str> = files.iter().map(String::as_str).collect();
        match files.as_slice() {
            ["net.onnx"] => assert!(!status.success()),
            ["net.onnx", "small.onnx"] => drop(folder.done("inspect small.onnx")),
            _ => panic!("{files:?} after {delay:?}, {status}"),
        }
    }
    assert!(interrupted > 0, "every run was over before its signal");
}
