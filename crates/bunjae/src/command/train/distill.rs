//! `bunjae distill`: what is asked for beside the options of every training.

use std::path::PathBuf;

use bunjae_data::munge::Munge;
use bunjae_train::recipe::{Distil, Hint, Method};
use clap::{Args, ValueEnum};

use super::options::{Defaults, Options};
use super::{Lessons, run};
use crate::args;
use crate::command::Outcome;
use crate::failure::{Failure, Fallible};
use crate::output::Output;

/// Train a model to imitate better ones
///
/// As `bunjae train`, with one or several teachers, whose logits are averaged. A teacher sees the
/// same changed pictures as the student; where pictures are not changed (`--flip 0 --shift 0`), it is
/// asked once, and its answers are kept in the folder of the run.
///
/// Methods add up: `--method kd --method at` imitates logits and features. The loss is lambda times
/// that of the labels and 1 - lambda times kd, logits and noisy; dkd, dist, fitnet and at are added
/// with their own weights.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples: bunjae distill new.onnx --teacher large.onnx --data pictures -o small.onnx\n  \
    bunjae distill new.onnx --teacher large.onnx --data pictures -o small.onnx --unlabelled more --method kd,at"
)]
pub(crate) struct Distill {
    /// A model to imitate; may be repeated
    #[arg(long, value_name = "FILE", required = true, help_heading = "Teacher")]
    teacher: Vec<PathBuf>,
    /// What is imitated; may be repeated
    #[arg(long, value_enum, value_delimiter = ',', default_value = "kd", help_heading = "Teacher")]
    method: Vec<MethodArg>,
    /// What logits are divided by, for kd, dkd [default: 4] and dist [default: 1]
    #[arg(long, value_name = "T", help_heading = "Teacher")]
    temperature: Option<f64>,
    /// The share of the labels in the loss, for kd, logits and noisy
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0.5", help_heading = "Teacher")]
    lambda: f64,
    /// The weight of the first term of dkd (the target class) and dist (between classes)
    /// [default: 1]
    #[arg(long, value_name = "WEIGHT", help_heading = "Teacher")]
    alpha: Option<f64>,
    /// The weight of the second term of dkd (the other classes) [default: 8] and dist (between
    /// pictures) [default: 1]
    #[arg(long, value_name = "WEIGHT", help_heading = "Teacher")]
    beta: Option<f64>,
    /// Epochs in which the weight of dkd grows [default: a twelfth of all]
    #[arg(long, value_name = "EPOCHS", help_heading = "Teacher")]
    dkd_warm_up: Option<u64>,
    /// The deviation of the noise of noisy
    #[arg(long, value_name = "SIGMA", default_value_t = 0.1, help_heading = "Teacher")]
    noise: f64,
    /// Layers that fitnet (one pair) or at (one or more) compares [default: of each picture size that
    /// both models have the last layer; for fitnet the one in the middle]
    #[arg(long, value_name = "STUDENT=TEACHER", value_parser = hint, help_heading = "Teacher")]
    hint: Vec<Hint>,
    /// The weight of fitnet [default: 100] and at [default: 1000]
    #[arg(long, value_name = "WEIGHT", help_heading = "Teacher")]
    hint_weight: Option<f64>,
    /// A folder with more pictures, which need no labels, as only the teacher is imitated on them;
    /// may be repeated
    #[arg(long, value_name = "DIR", help_heading = "Teacher")]
    unlabelled: Vec<PathBuf>,
    /// For munge: synthetic pictures for each real one
    #[arg(long, value_name = "N", default_value_t = 1, help_heading = "Teacher")]
    munge_times: usize,
    /// For munge: how often a patch is exchanged with one of the nearest picture
    #[arg(long, value_name = "SHARE", value_parser = args::share, default_value = "0.2", help_heading = "Teacher")]
    munge_share: f64,
    /// For munge: what the difference of two patches is divided by to give the deviation of what is
    /// exchanged
    #[arg(long, value_name = "S", default_value_t = 2.0, help_heading = "Teacher")]
    munge_nearness: f64,
    /// For munge: the side of a patch [default: an eighth of the picture's]
    #[arg(
        long,
        value_name = "PIXELS",
        default_value_t = 0,
        hide_default_value = true,
        help_heading = "Teacher"
    )]
    munge_patch: usize,
    #[command(flatten)]
    options: Options,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MethodArg {
    /// Softened probabilities (Hinton)
    Kd,
    /// The logits, by their squared error (Ba and Caruana)
    Logits,
    /// Logits with noise (Sau and Balasubramanian)
    Noisy,
    /// Also on synthetic pictures, grown from the real ones (Bucila); logits, unless kd or noisy is
    /// asked for as well
    Munge,
    /// Features of a layer in the middle (Romero); best between models of one family
    Fitnet,
    /// Where features are large (attention transfer); best between models of one family
    At,
    /// The target class and the others apart; with two classes the same as kd
    Dkd,
    /// Correlations between classes and between pictures
    Dist,
}

fn hint(text: &str) -> Result<Hint, String> {
    match text.split_once('=') {
        Some((student, teacher)) if !student.is_empty() && !teacher.is_empty() => {
            Ok(Hint { student: student.to_string(), teacher: teacher.to_string() })
        }
        _ => Err("expected two layers, such as conv3=conv5".to_string()),
    }
}

impl Distill {
    pub(crate) fn run(&self, output: &Output) -> Fallible<Outcome> {
        let lessons = Lessons {
            distil: Distil { methods: self.methods()?, labels: self.lambda },
            teachers: &self.teacher,
            unlabelled: &self.unlabelled,
            munge: self.asks(MethodArg::Munge).then_some(Munge {
                times: self.munge_times,
                p: self.munge_share,
                s: self.munge_nearness,
                patch: self.munge_patch,
            }),
        };
        if let Some(munge) = &lessons.munge {
            munge.check()?;
        }
        run("distill", &self.options, &Defaults { rate: 4e-3 }, Some(&lessons), output)
    }

    fn asks(&self, method: MethodArg) -> bool {
        self.method.contains(&method)
    }

    /// What is compared, each method once.
    fn methods(&self) -> Fallible<Vec<Method>> {
        if !self.hint.is_empty() && !self.asks(MethodArg::Fitnet) && !self.asks(MethodArg::At) {
            return Err(Failure::new("`--hint` is for the methods fitnet and at")
                .hint("add `--method at`, or leave it out"));
        }
        if self.hint.len() > 1 && self.asks(MethodArg::Fitnet) {
            let what = format!("fitnet compares one pair of layers, not {}", self.hint.len());
            return Err(Failure::new(what).hint("`--method at` takes several"));
        }
        let mut asked = self.method.clone();
        let on_logits = [MethodArg::Kd, MethodArg::Logits, MethodArg::Noisy];
        if self.asks(MethodArg::Munge) && !on_logits.into_iter().any(|method| self.asks(method)) {
            asked.push(MethodArg::Logits);
        }
        let mut methods: Vec<Method> = Vec::new();
        for (at, method) in asked.iter().enumerate() {
            if !asked[..at].contains(method) {
                methods.extend(self.method(*method));
            }
        }
        Ok(methods)
    }

    /// A method with its settings; none for munge, which is about pictures.
    fn method(&self, method: MethodArg) -> Option<Method> {
        let temperature = |usual: f64| self.temperature.unwrap_or(usual);
        let weights = |usual: f64| (self.alpha.unwrap_or(1.0), self.beta.unwrap_or(usual));
        let hint_weight = |usual: f64| self.hint_weight.unwrap_or(usual);
        Some(match method {
            MethodArg::Kd => Method::Kd { temperature: temperature(4.0) },
            MethodArg::Logits => Method::Logits,
            MethodArg::Noisy => Method::Noisy { deviation: self.noise },
            MethodArg::Munge => return None,
            MethodArg::Fitnet => {
                Method::FitNet { hint: self.hint.first().cloned(), weight: hint_weight(100.0) }
            }
            MethodArg::At => Method::At { hints: self.hint.clone(), weight: hint_weight(1000.0) },
            MethodArg::Dkd => {
                let (alpha, beta) = weights(8.0);
                // The authors' 20 of 240 epochs, in proportion.
                let warm_up = self.dkd_warm_up.unwrap_or(self.options.epochs / 12);
                Method::Dkd { temperature: temperature(4.0), alpha, beta, warm_up }
            }
            MethodArg::Dist => {
                let (beta, gamma) = weights(1.0);
                Method::Dist { temperature: temperature(1.0), beta, gamma }
            }
        })
    }
}
