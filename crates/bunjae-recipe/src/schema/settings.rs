//! The settings, in groups that several kinds share.

use super::{Effect, Form, Setting};

const fn setting(name: &'static str, form: Form) -> Setting {
    Setting { name, form, effect: Effect::Result }
}

const fn pace(name: &'static str, form: Form) -> Setting {
    Setting { name, form, effect: Effect::Pace }
}

const fn count(least: u64) -> Form {
    Form::Count { least }
}

const fn from(least: f64) -> Form {
    Form::Number { least, over: false, most: f64::INFINITY }
}

const OVER_0: Form = Form::Number { least: 0.0, over: true, most: f64::INFINITY };

/// Options that name layers take any text.
fn any(text: &str) -> bool {
    !text.is_empty()
}

fn pair(text: &str) -> bool {
    text.split_once('=').is_some_and(|(left, right)| !left.is_empty() && !right.is_empty())
}

fn named_share(text: &str) -> bool {
    text.rsplit_once('=').is_some_and(|(name, share)| !name.is_empty() && is_share(share))
}

fn named_count(text: &str) -> bool {
    text.rsplit_once('=').is_some_and(|(name, n)| !name.is_empty() && is_count(n))
}

fn is_count(text: &str) -> bool {
    text.parse().is_ok_and(|number: u64| number > 0)
}

/// A share as text: `0.3` or `30%`.
pub(crate) fn is_share(text: &str) -> bool {
    share(text).is_some_and(|share| (0.0..=1.0).contains(&share))
}

/// The number that a text gives as a share, which may lie outside of 0 to 1.
pub(crate) fn share(text: &str) -> Option<f64> {
    let (number, scale) = match text.strip_suffix('%') {
        Some(number) => (number.trim_end(), 100.0),
        None => (text, 1.0),
    };
    number.parse::<f64>().ok().map(|number| number / scale)
}

fn sizes(text: &str, count: usize) -> bool {
    let parts: Vec<&str> = text.split('x').collect();
    parts.len() == count && parts.iter().all(|part| is_count(part))
}

fn picture(text: &str) -> bool {
    sizes(text, 2)
}

fn input(text: &str) -> bool {
    sizes(text, 3)
}

fn width(text: &str) -> bool {
    let over_0 =
        |text: &str| text.parse().is_ok_and(|number: f64| number > 0.0 && number.is_finite());
    over_0(text) || text.contains(',') && text.split(',').all(is_count)
}

fn fit(text: &str) -> bool {
    matches!(text, "stretch" | "letterbox") || text.strip_prefix("crop=").is_some_and(is_count)
}

fn normalise(text: &str) -> bool {
    const WORDS: [&str; 9] =
        ["none", "sum", "mean", "max", "l2", "standardise", "standardize", "gaussian", "lamp"];
    WORDS.contains(&text) || text.strip_prefix("sentinel=").is_some_and(is_share)
}

pub(super) const SEED: Setting = setting("seed", count(0));
pub(super) const EPOCHS: Setting = setting("epochs", count(1));
pub(super) const BATCH: Setting = setting("batch", count(1));
pub(super) const CLASSES: Setting = setting("classes", count(1));
pub(super) const MAX_CORRUPT: Setting = setting("max-corrupt", Form::Share);
/// Where threads only make it faster.
pub(super) const THREADS: Setting = pace("threads", count(1));

/// How a picture becomes the input.
pub(super) const PICTURES: &[Setting] = &[
    setting("labels", Form::File),
    setting("preprocess", Form::Word(&["imagenet", "unit", "none"])),
    setting("picture", Form::Text { example: "224x224", check: picture }),
    setting("fit", Form::Text { example: "stretch, crop=256 or letterbox", check: fit }),
    setting("filter", Form::Word(&["nearest", "box", "bilinear", "bicubic", "lanczos"])),
    setting("colour", Form::Word(&["rgb", "bgr", "grey"])),
    setting("layout", Form::Word(&["chw", "hwc"])),
    setting("range", Form::Numbers { whole: false }),
    setting("mean", Form::Numbers { whole: false }),
    setting("std", Form::Numbers { whole: false }),
];

pub(super) const SCORES: &[Setting] =
    &[setting("scores", Form::Word(&["logits", "probabilities"]))];

/// How a model is trained.
pub(super) const TEACHING: &[Setting] = &[
    setting("val-share", Form::Share),
    MAX_CORRUPT,
    setting("freeze", Form::Texts { example: "features.*", check: any }),
    setting("recalibrate-bn", Form::Flag),
    setting("accumulate", count(1)),
    setting("optimizer", Form::Word(&["sgd", "adam", "adamw"])),
    setting("rate", OVER_0),
    setting("schedule", Form::Word(&["constant", "step", "cosine", "one-cycle"])),
    setting("drops", Form::Numbers { whole: true }),
    setting("warm-up", from(0.0)),
    setting("weight-decay", from(0.0)),
    setting("clip", OVER_0),
    setting("ema", Form::Number { least: 0.0, over: false, most: 0.999_999_9 }),
    setting("label-smoothing", Form::Share),
    setting("focal", from(0.0)),
    setting("class-weights", Form::Word(&["equal", "inverse", "root"])),
    setting("balance", Form::Flag),
    setting("flip", Form::Share),
    setting("shift", Form::Share),
    setting("crop", Form::Share),
    setting("jitter", Form::Share),
    setting("rand-augment", Form::Numbers { whole: true }),
    setting("erase", Form::Share),
    setting("cutout", Form::Share),
    setting("mixup", from(0.0)),
    setting("cutmix", from(0.0)),
    setting("metric", Form::Word(&["accuracy", "macro-f1", "loss"])),
    setting("patience", count(1)),
    setting("least-gain", from(0.0)),
];

/// What every training has beside.
pub(super) const TRAINING: &[Setting] = &[SEED, EPOCHS, BATCH, CLASSES, THREADS];

pub(super) const METHODS: &[&str] =
    &["kd", "logits", "noisy", "munge", "fitnet", "at", "dkd", "dist"];

/// What a student imitates.
pub(super) const DISTILLING: &[Setting] = &[
    setting("method", Form::Words(METHODS)),
    setting("temperature", OVER_0),
    setting("lambda", Form::Share),
    setting("alpha", from(0.0)),
    setting("beta", from(0.0)),
    setting("dkd-warm-up", count(0)),
    setting("noise", from(0.0)),
    setting("hint", Form::Texts { example: "conv3=conv5", check: pair }),
    setting("hint-weight", from(0.0)),
    setting("munge-times", count(1)),
    setting("munge-share", Form::Share),
    setting("munge-nearness", OVER_0),
    setting("munge-patch", count(0)),
];

pub(super) const NEW: &[Setting] = &[
    CLASSES,
    setting("input", Form::Text { example: "3x224x224", check: input }),
    setting("width", Form::Text { example: "0.5 or 16,32,64", check: width }),
    setting("head", Form::Word(&["logits", "probabilities"])),
    SEED,
];

pub(super) const ARCHITECTURE: Setting = setting("architecture", Form::Architecture);

pub(super) const GENERATE: &[Setting] =
    &[setting("per-class", count(1)), setting("difficulty", Form::Share), SEED];

pub(super) const PATTERN: Setting = setting("kind", Form::Word(&["prps"]));

/// How much is cut. One of the first five is needed.
pub(super) const CUTTING: &[Setting] = &[
    setting("ratio", Form::Share),
    setting("keep-macs", Form::Share),
    setting("keep-params", Form::Share),
    setting("keep-latency", Form::Share),
    setting("latency-ms", OVER_0),
    setting("layer-ratio", Form::Texts { example: "conv1=0.3", check: named_share }),
    setting("ignore", Form::Texts { example: "head*", check: any }),
    setting("max-ratio", Form::Share),
    setting("round-to", count(1)),
    setting(
        "criterion",
        Form::Word(&[
            "l1",
            "l2",
            "lamp",
            "fpgm",
            "bn-scale",
            "random",
            "taylor",
            "fisher",
            "weight-taylor",
            "weight-taylor-sum",
            "hessian",
            "obd-c",
        ]),
    ),
    setting("across", Form::Word(&["mean", "sum", "max", "product", "first", "last"])),
    setting("normalise", Form::Text { example: "mean or sentinel=0.5", check: normalise }),
    setting("global", Form::Flag),
    setting("macs-penalty", from(0.0)),
    setting("unstructured", Form::Flag),
    SEED,
    setting("no-check", Form::Flag),
];

/// What pictures are for in a cut.
pub(super) const CUTTING_WITH_DATA: &[Setting] = &[
    setting("samples", count(1)),
    setting("cut-schedule", Form::Word(&["one-shot", "linear", "agp"])),
    setting("steps", count(1)),
    setting("epochs-per-step", count(0)),
    setting("final-epochs", count(0)),
    setting("train-batch", count(1)),
    setting("sparsity", Form::Word(&["bn-scale", "group-lasso", "group-norm"])),
    setting("sparsity-strength", from(0.0)),
    setting("sparsity-epochs", count(1)),
    THREADS,
];

/// Values for sizes that a model leaves open.
pub(super) const SIZES: &[Setting] =
    &[BATCH, setting("size", Form::Texts { example: "H=320", check: named_count })];

pub(super) const ENGINE: &[Setting] =
    &[setting("isa", Form::Text { example: "avx2", check: any }), setting("tune", Form::Flag)];

pub(super) const COMPILE: &[Setting] = &[
    setting("emit", Form::Word(&["model", "exe", "c"])),
    // The number is written into the model.
    setting("threads", count(1)),
];

pub(super) const EVALUATE: &[Setting] = &[
    setting("split", Form::Word(&["train", "val", "test", "all"])),
    setting("min-accuracy", Form::Share),
    setting("min-f1", Form::Share),
    MAX_CORRUPT,
    BATCH,
    THREADS,
];

pub(super) const BENCH: &[Setting] = &[
    setting("against", Form::Word(&["onnxruntime"])),
    setting("runs", count(1)),
    setting("seconds", Form::Number { least: 0.0, over: false, most: 3600.0 }),
    setting("warmup", count(0)),
    setting("threads", Form::Numbers { whole: true }),
    SEED,
];
