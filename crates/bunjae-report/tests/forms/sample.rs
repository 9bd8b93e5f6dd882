//! Reports for the tests: one with everything in it, and one with names that mean harm.

use bunjae_report::{
    ClassQuality, Cost, DataSet, Environment, Epoch, Layer, Model, ModelFile, Protocol, Quality,
    Report, Run, Step, Timing, Training,
};

/// Costs of a base and a small network, one model of several seeds, and one that lacks almost
/// everything.
pub(crate) fn report() -> Report {
    let mut report = Report::new("Face masks");
    report.environment = Environment {
        processor: Some("A Processor".into()),
        cores: Some(2),
        memory_bytes: Some(24 << 30),
        system: Some("linux x86_64".into()),
        features: vec!["portable".into(), "avx2".into()],
        isa: Some("avx2".into()),
        threads: vec![1],
        versions: [("bunjae".to_string(), "0.1.0".to_string())].into(),
    };
    report.data.push(DataSet {
        role: "evaluation".into(),
        path: "pictures".into(),
        split: Some("val".into()),
        classes: labels(),
        pictures: Some(200),
        sha256: Some("ab".repeat(32)),
    });
    report.steps.push(Step {
        name: "teacher".into(),
        command: "bunjae train base.onnx --data pictures".into(),
        seed: Some(7),
        cached: true,
        seconds: Some(61.5),
    });
    report.protocol = Some(Protocol { warmup: 10, runs: 100, seconds: 1.0, seed: 0 });
    let base = run(0, [93, 7, 4, 96], [93_954, 224, 165_150_976, 168_952_192], 2.5);
    let small = [(0, 90), (1, 93), (2, 96)].map(|(seed, right)| {
        let confusion = [right, 100 - right, 6, 94];
        run(seed, confusion, [6_210, 0, 12_976_192, 13_926_496], 0.25 + 0.01 * seed as f64)
    });
    report.models.push(Model::new("base", vec![base]));
    let small = Model { description: Some("8-16-32".into()), ..Model::new("small", small.into()) };
    report.models.push(small);
    let file = ModelFile { path: "other.onnx".into(), bytes: 1234, sha256: None };
    let other = Run { file: Some(file), ..Run::default() };
    report.models.push(Model::new("other", vec![other]));
    report
}

fn labels() -> Vec<String> {
    vec!["with_mask".into(), "without_mask".into()]
}

/// Two convolutions' layers, and figures that hang together.
fn run(seed: u64, [aa, ab, ba, bb]: [u64; 4], counts: [u64; 4], median_ms: f64) -> Run {
    let [parameters, zero_parameters, macs, thop] = counts;
    let share = |part: u64, whole: u64| part as f64 / whole as f64;
    let class = |right: u64, pictures: u64, predicted: u64| ClassQuality {
        pictures,
        predicted,
        precision: share(right, predicted),
        recall: share(right, pictures),
        f1: share(2 * right, pictures + predicted),
    };
    let classes = vec![class(aa, aa + ab, aa + ba), class(bb, ba + bb, ab + bb)];
    let mean = |of: fn(&ClassQuality) -> f64| classes.iter().map(of).sum::<f64>() / 2.0;
    let quality = Quality {
        data: "pictures".into(),
        split: "val".into(),
        pictures: 200,
        corrupt: 0,
        accuracy: share(aa + bb, 200),
        macro_f1: mean(|class| class.f1),
        macro_precision: mean(|class| class.precision),
        macro_recall: mean(|class| class.recall),
        log_loss: 0.2,
        roc_auc: Some(0.98),
        calibration_error: 0.02,
        labels: labels(),
        classes,
        confusion: vec![vec![aa, ab], vec![ba, bb]],
    };
    let layer = |name: &str, channels: u64, part: u64| Layer {
        name: name.into(),
        operator: "conv2d".into(),
        shape: vec![1, channels, 64, 64],
        channels: Some(channels),
        parameters: parameters / part,
        macs: macs / part,
        activation_bytes: 4 * channels * 64 * 64,
    };
    let width = if parameters > 10_000 { 32 } else { 8 };
    let cost = Cost {
        parameters,
        zero_parameters,
        macs,
        macs_thop: Some(thop),
        weight_bytes: 4 * parameters,
        peak_activation_bytes: 1 << 20,
        layers: vec![layer("features.0", width, 4), layer("features.4", 2 * width, 2)],
    };
    let timing = Timing {
        engine: "bunjae".into(),
        threads: 1,
        batch: 1,
        runs: 400,
        median_ms,
        mean_ms: 1.02 * median_ms,
        p90_ms: 1.1 * median_ms,
        p99_ms: 1.4 * median_ms,
        minimum_ms: 0.9 * median_ms,
        frames_per_second: Some(1e3 / (1.02 * median_ms)),
        arena_bytes: Some(1 << 21),
        peak_resident_bytes: Some(12 << 20),
    };
    let epoch = |epoch: u64| Epoch {
        epoch,
        rate: 0.1 / epoch as f64,
        train_loss: 0.7 / epoch as f64,
        loss: Some(0.75 / epoch as f64),
        accuracy: Some(1.0 - 0.4 / epoch as f64),
        macro_f1: Some(1.0 - 0.41 / epoch as f64),
    };
    Run {
        seed: Some(seed),
        file: Some(ModelFile {
            path: format!("model-{seed}.onnx"),
            bytes: 4 * parameters + 2500,
            sha256: Some("cd".repeat(32)),
        }),
        history: vec!["new mask-base".into(), "train --epochs 3".into()],
        quality: Some(quality),
        cost: Some(cost),
        timings: vec![timing],
        training: vec![Training { name: "train".into(), epochs: (1..=3).map(epoch).collect() }],
    }
}
