//! `bunjae prune` with pictures.

use std::fs;

use serde_json::Value;

use crate::support::{Folder, TINY, sizes, snapshot};

/// Two convolutions with batch normalisation and a classifier of the six classes of `prps`.
const NET: &str = r#"graph @net
meta "bunjae.preprocess" = "{\"width\":24,\"height\":12,\"colour\":\"grey\",\"fit\":\"stretch\",\"filter\":\"bilinear\",\"range\":[0.0,1.0],\"mean\":[0.2],\"std\":[0.25]}"
in   %x: f32[N,1,12,24]
w    @c1.w: f32[8,1,3,3] = rand(seed=1)
w    @b1.g: f32[8] = ones
w    @b1.b: f32[8] = zeros
w    @b1.m: f32[8] frozen = zeros
w    @b1.v: f32[8] frozen = ones
%1 = conv2d %x, @c1.w {pad=[1,1,1,1], stride=[2,2]} : f32[N,8,6,12] ; "c1"
%2 = batch_norm %1, @b1.g, @b1.b, @b1.m, @b1.v : f32[N,8,6,12] ; "b1"
%3 = relu %2 : f32[N,8,6,12] ; "r1"
w    @c2.w: f32[12,8,3,3] = rand(seed=2)
w    @c2.b: f32[12] = rand(seed=3)
%4 = conv2d %3, @c2.w, @c2.b {pad=[1,1,1,1]} : f32[N,12,6,12] ; "c2"
%5 = relu %4 : f32[N,12,6,12] ; "r2"
%6 = global_pool %5 {kind=mean} : f32[N,12,1,1] ; "pool"
%7 = flatten %6 {axis=1} : f32[N,12] ; "flatten"
w    @fc.w: f32[6,12] = rand(seed=4)
w    @fc.b: f32[6] = zeros
%8 = linear %7, @fc.w, @fc.b : f32[N,6] ; "fc"
out  %8 ; "scores"
"#;

/// A folder with pictures in `prps` and a model for them that knows a little.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.done("data generate prps -o prps --per-class 16 --difficulty 0.2 --seed 5 -q");
    folder.model("net.onnx", NET);
    folder.done("train net.onnx --data prps -o base.onnx --epochs 6 --rate 2e-2 --batch 16 -q");
    folder
}

fn figure(figures: &Value, name: &str) -> f64 {
    figures[name].as_f64().unwrap_or_else(|| panic!("no {name} in {figures}"))
}

#[test]
fn a_model_is_cut_in_steps_and_trained_between() {
    let folder = folder();
    let line = "prune base.onnx --data prps --importance taylor --ratio 0.75 --cut-schedule agp \
                --steps 2 --epochs-per-step 1 --final-epochs 3 --train-batch 16 --rate 1e-2 -q";
    let report = folder.json(&format!("{line} -o small.onnx --threads 1"));
    let kept = |at: usize| report["groups"][at]["kept"].as_u64().unwrap();
    assert_eq!([kept(0), kept(1)], [2, 3]);
    assert_eq!(report["groups"][1]["channels"], 12);
    let learning = &report["learning"];
    assert_eq!(
        learning["train_pictures"].as_u64().unwrap() + learning["val_pictures"].as_u64().unwrap(),
        96
    );
    let steps = learning["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 2);
    // 1 - (1 - 1/2)^3
    assert_eq!((&steps[0]["share"], &steps[1]["share"]), (&0.875.into(), &1.0.into()));
    for (step, epochs) in steps.iter().zip([1, 3]) {
        assert_eq!(step["check"]["passed"], true);
        assert_eq!(step["lesson"]["epochs"].as_array().unwrap().len(), epochs);
        assert_eq!(step["looked_at"]["pictures"], learning["train_pictures"]);
    }
    let last = &steps[1]["lesson"]["figures"];
    assert!(figure(&learning["start"], "accuracy") > 0.3, "{learning}");
    assert!(figure(last, "loss") < figure(&steps[1]["cut"], "loss"), "{learning}");
    assert_eq!(sizes(&report, "after")[0], 2 * 9 + 4 + 3 * 18 + 3 + 18 + 6);

    // The model says what it is, and is what any number of threads makes of that seed.
    let metadata = &folder.json("inspect small.onnx")["metadata"];
    let metrics: Value =
        serde_json::from_str(metadata["bunjae.metrics"].as_str().unwrap()).unwrap();
    assert_eq!(metrics, *last);
    assert_eq!(metadata["bunjae.data_sha256"], learning["data_sha256"]);
    assert!(metadata["bunjae.labels"].as_str().unwrap().contains("corona"));
    assert_eq!(
        metadata["bunjae.check"],
        "removed equals masked to the bit in each step, input seed 0"
    );
    let command = metadata["bunjae.command"].as_str().unwrap();
    assert!(command.contains("--criterion taylor") && command.contains("--cut-schedule agp"));
    folder.done(&format!("{line} -o again.onnx --threads 2"));
    assert!(folder.read("small.onnx") == folder.read("again.onnx"));
    folder.done(&format!("{line} -o other.onnx --seed 1"));
    assert!(folder.read("small.onnx") != folder.read("other.onnx"));

    let text = folder.done(&format!("{line} -o again.onnx --work other"));
    for line in [
        "on the validation part",
        "step 1/2: 87.5 % of the cut",
        "  trained",
        "equal on random input",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    for part in ["step-1", "step-2"] {
        assert!(folder.path(&format!("small.run/{part}/last.safetensors")).is_file(), "{part}");
    }
}

#[test]
fn every_criterion_by_pictures_cuts_and_is_checked() {
    let folder = folder();
    let mut seen = Vec::new();
    for criterion in
        ["taylor", "fisher", "weight-taylor", "weight-taylor-sum", "hessian", "obd-c", "l2"]
    {
        let line = format!(
            "prune base.onnx -o small.onnx --data prps --criterion {criterion} --samples 24 \
             --keep-macs 0.5 --global --train-batch 16 -q"
        );
        let report = folder.json(&line);
        assert_eq!(report["check"]["passed"], true, "{criterion}");
        let [before, after] = ["before", "after"].map(|key| sizes(&report, key)[1]);
        assert!(after * 2 <= before, "{criterion}: {after} of {before}");
        let step = &report["learning"]["steps"][0];
        assert_eq!(step["lesson"], Value::Null);
        let looked_at = step["looked_at"]["pictures"].as_u64();
        assert_eq!(looked_at, (criterion != "l2").then_some(24));
        let dump = folder.done("inspect small.onnx --dump --weights");
        seen.push(dump.lines().filter(|line| line.starts_with("w ")).collect::<String>());
    }
    seen.sort();
    seen.dedup();
    assert!(seen.len() > 3, "they all agree");
    let plan =
        folder.json("prune base.onnx --data prps --criterion fisher --ratio 0.5 --explain -q");
    assert_eq!(plan["groups"][0]["kept"], 4);
}

#[test]
fn sparsity_comes_before_the_cut() {
    let folder = folder();
    let line = "prune base.onnx -o small.onnx --data prps --criterion bn-scale --ratio 0.5 \
                --sparsity bn-scale --sparsity-strength 0.01 --sparsity-epochs 2 --train-batch 16 \
                --ignore c2 --recalibrate-bn -q";
    let report = folder.json(line);
    let learning = &report["learning"];
    assert_eq!(learning["sparse"]["epochs"].as_array().unwrap().len(), 2);
    assert_eq!(learning["steps"][0]["lesson"]["epochs"].as_array().unwrap().len(), 0);
    assert!(learning["steps"][0]["lesson"]["figures"]["accuracy"].is_number());
    let metadata = &folder.json("inspect small.onnx")["metadata"];
    let command = metadata["bunjae.command"].as_str().unwrap();
    assert!(command.contains("--sparsity bn-scale --sparsity-strength 0.01"), "{command}");
}

#[test]
fn the_oracle_measures_every_channel_and_writes_nothing() {
    let folder = folder();
    let before = folder.files();
    let report =
        folder.json("prune base.onnx --data prps --oracle --samples 24 --train-batch 8 -q");
    assert_eq!(report["pictures"], 24);
    let removals = report["removals"].as_array().unwrap();
    assert_eq!(removals.len(), 8 + 12);
    assert!(removals.iter().any(|removal| figure(removal, "change").abs() > 1e-4));
    let criteria = report["criteria"].as_array().unwrap();
    assert_eq!(criteria.len(), 12);
    let of = |name: &str| criteria.iter().find(|own| own["criterion"] == name).unwrap();
    assert_eq!((&of("taylor")["channels"], &of("bn-scale")["channels"]), (&20.into(), &8.into()));
    for own in criteria {
        for kind in ["spearman", "kendall"] {
            let value = figure(&own["all"], kind);
            assert!((-1.0..=1.0).contains(&value), "{own}");
        }
    }
    assert!(figure(&of("fisher")["all"], "spearman") > 0.3, "{}", of("fisher"));
    let text = folder.done("prune base.onnx --data prps --oracle --samples 8 --train-batch 8 -q");
    assert!(text.contains("rank correlation with the absolute change"), "{text}");
    assert_eq!(folder.files(), before);
}

/// What a kill leaves behind is made by taking away what a whole run has written last.
#[test]
fn a_stopped_run_goes_on_to_the_bit() {
    let folder = folder();
    let line = "prune base.onnx --data prps --importance taylor --ratio 0.5 --cut-schedule linear \
                --steps 2 --epochs-per-step 2 --sparsity bn-scale --sparsity-epochs 2 \
                --train-batch 16 --rate 1e-2 --threads 1";
    folder.done(&format!("{line} -o whole.onnx"));
    let records = |part: &str| {
        let log = folder.read(&format!("stopped.run/{part}/metrics.jsonl"));
        String::from_utf8(log).unwrap().lines().count()
    };
    folder.done(&format!("{line} -o stopped.onnx"));
    assert_eq!(["sparse", "step-1", "step-2"].map(records), [2, 2, 2]);
    let text = folder.session(&[&format!("{line} -o stopped.onnx")]);
    snapshot!("prune_over_a_run", text);
    fs::remove_dir_all(folder.path("stopped.run/step-2")).unwrap();
    let resumed = folder.run(&format!("{line} -o stopped.onnx --resume"));
    let told = String::from_utf8(resumed.stderr).unwrap();
    assert!(told.contains("note: the training before the first cut was done before"), "{told}");
    assert!(told.contains("note: the training after step 1/2 was done before"), "{told}");
    assert!(!told.contains("the training after step 2/2"), "{told}");
    assert_eq!(records("step-2"), 2);
    assert!(folder.read("whole.onnx") == folder.read("stopped.onnx"), "the models differ");
    let other = folder.run(&format!("{line} -o stopped.onnx --resume --max-ratio 0.4"));
    let message = String::from_utf8(other.stderr).unwrap();
    assert!(message.contains("another model or other pictures"), "{message}");
    let alone = folder.run("prune base.onnx -o alone.onnx --ratio 0.5 --data prps --resume");
    let message = String::from_utf8(alone.stderr).unwrap();
    assert!(message.contains("there is no training to go on with"), "{message}");
}

/// Times are never the same twice, but a training that goes on has the ratio that it began with.
#[test]
fn a_latency_that_training_began_with_is_not_measured_anew() {
    let folder = folder();
    let line = "prune base.onnx --data prps --keep-latency 80% --final-epochs 1 --train-batch 16 \
                --rate 1e-2 --threads 1 -q -o small.onnx";
    folder.done(line);
    let (model, ratio) = (folder.read("small.onnx"), folder.read("small.run/ratio.json"));
    folder.done(&format!("{line} --resume"));
    assert!(folder.read("small.onnx") == model, "the models differ");
    assert!(folder.read("small.run/ratio.json") == ratio);
    folder.write("small.run/ratio.json", "much");
    let broken = folder.run(&format!("{line} --resume"));
    let message = String::from_utf8(broken.stderr).unwrap();
    assert!(message.contains("cannot read small.run/ratio.json: "), "{message}");
}

/// Times are never asserted, only that they were measured, and that what was cut is less.
#[test]
fn a_latency_is_a_target_like_others() {
    let folder = Folder::new();
    folder.done("new mask-small -o net.onnx");
    let report = folder.json("prune net.onnx -o small.onnx --keep-latency 90% --threads 1 -q");
    let latency = &report["latency"];
    assert!(figure(latency, "before_ms") > 0.0 && figure(latency, "after_ms") > 0.0, "{latency}");
    assert_eq!(latency["threads"], 1);
    let [before, after] = ["before", "after"].map(|key| sizes(&report, key)[1]);
    assert!(after < before && figure(&report, "ratio") > 0.0, "{after} of {before}");
    let metadata = &folder.json("inspect small.onnx")["metadata"];
    let command = metadata["bunjae.command"].as_str().unwrap();
    assert!(command.starts_with("prune --keep-latency 0.9 --ratio "), "{command}");
    let refused = folder.run("prune net.onnx -o other.onnx --latency-ms 1e-6 --threads 1 -q");
    assert_eq!(refused.status.code(), Some(2));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        text.contains("cannot bring the latency down to 0.000001 ms: with every group"),
        "{text}"
    );
    assert!(!folder.path("other.onnx").exists());
}

#[test]
fn what_pictures_cannot_do_is_said() {
    let folder = Folder::new();
    folder.done("data generate prps -o prps --per-class 3 --seed 5 -q");
    folder.model("net.onnx", NET);
    folder.model("tiny.onnx", TINY);
    let meta = r#"meta "bunjae.labels" = "[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\"]""#;
    folder.model("named.onnx", &NET.replacen("in   %x", &format!("{meta}\nin   %x"), 1));
    let plain = NET.lines().filter(|line| !line.contains("@b1") || line.starts_with("%2"));
    let plain: String = plain
        .map(|line| match line.starts_with("%2") {
            true => "%2 = sigmoid %1 : f32[N,8,6,12] ; \"b1\"\n".to_owned(),
            false => format!("{line}\n"),
        })
        .collect();
    folder.model("plain.onnx", &plain);
    fs::create_dir_all(folder.path("one/corona")).unwrap();
    fs::copy(folder.path("prps/corona/00000.png"), folder.path("one/corona/a.png")).unwrap();
    fs::create_dir(folder.path("empty")).unwrap();
    let session = folder.session(&[
        "prune net.onnx -o out.onnx --ratio 0.5 --criterion taylor",
        "prune net.onnx -o out.onnx --ratio 0.5 --data nowhere",
        "prune net.onnx -o out.onnx --ratio 0.5 --data empty",
        "prune net.onnx -o out.onnx --ratio 0.5 --data one",
        "prune tiny.onnx -o out.onnx --ratio 0.5 --data prps --colour rgb --picture 8x8",
        "prune named.onnx -o out.onnx --ratio 0.5 --data prps",
        "prune plain.onnx -o out.onnx --ratio 0.5 --data prps --sparsity bn-scale --train-batch 4",
        "prune net.onnx -o out.onnx --ratio 0.5 --data prps --steps 3",
        "prune net.onnx -o out.onnx --ratio 0.5 --data prps --final-epochs 1",
        "prune net.onnx -o out.onnx --ratio 0.5 --samples 3",
        "prune net.onnx -o out.onnx --ratio 0.5 --flip 0.2",
        "prune net.onnx -o out.onnx --ratio 0.5 --mean 0.5",
        "prune net.onnx --oracle --data prps --ratio 0.5",
    ]);
    assert_eq!(session.matches("[exit code 2]").count(), 13, "{session}");
    snapshot!("prune_data_refused", session);
    assert!(!folder.path("out.onnx").exists());
}
