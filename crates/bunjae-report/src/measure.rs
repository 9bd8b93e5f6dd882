//! The measures by which models are compared.

use serde::{Deserialize, Serialize};

use crate::number;
use crate::record::Run;

/// A measure of a run. The order is that of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub enum Measure {
    /// The share of pictures whose class is predicted.
    Accuracy,
    /// The mean of the classes' F1.
    MacroF1,
    /// What training may change.
    Parameters,
    /// Parameters that are 0.
    ZeroParameters,
    /// Parameters that are not.
    NonzeroParameters,
    /// Multiply-accumulates of convolutions, linear layers and matrix products.
    Macs,
    /// Multiply-accumulates as thop counts them.
    MacsThop,
    /// Floating-point operations: twice the MACs.
    Flops,
    /// The size on disk.
    FileBytes,
    /// The median time of a run.
    MedianMs,
    /// What 90 % of the runs do not exceed.
    P90Ms,
    /// Pictures per second, by the network alone.
    FramesPerSecond,
    /// The most memory of a process that does nothing but run the model.
    PeakResidentBytes,
}

/// What a measure is about; each has a table of its own on a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    /// How well it does.
    Quality,
    /// How large it is, and how much there is to compute.
    Size,
    /// How long it takes, and what it takes meanwhile.
    Speed,
}

/// Which of two figures one would rather have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// The larger one.
    Higher,
    /// The smaller one.
    Lower,
    /// That depends.
    Neither,
}

/// How a figure is held against that of the base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// By the difference of the two shares, in points.
    Difference,
    /// By the difference as a share of the base.
    Relative,
}

impl Measure {
    /// All measures in the order of the tables.
    pub const ALL: [Measure; 13] = [
        Measure::Accuracy,
        Measure::MacroF1,
        Measure::Parameters,
        Measure::ZeroParameters,
        Measure::NonzeroParameters,
        Measure::Macs,
        Measure::MacsThop,
        Measure::Flops,
        Measure::FileBytes,
        Measure::MedianMs,
        Measure::P90Ms,
        Measure::FramesPerSecond,
        Measure::PeakResidentBytes,
    ];

    /// The head of its column.
    pub fn label(self) -> &'static str {
        match self {
            Measure::Accuracy => "accuracy",
            Measure::MacroF1 => "macro F1",
            Measure::Parameters => "parameters",
            Measure::ZeroParameters => "zero",
            Measure::NonzeroParameters => "non-zero",
            Measure::Macs => "MACs",
            Measure::MacsThop => "MACs (thop)",
            Measure::Flops => "FLOPs",
            Measure::FileBytes => "bytes on disk",
            Measure::MedianMs => "median ms",
            Measure::P90Ms => "p90 ms",
            Measure::FramesPerSecond => "frames/s",
            Measure::PeakResidentBytes => "peak memory",
        }
    }

    /// What the figure says, in half a sentence.
    pub fn meaning(self) -> &'static str {
        match self {
            Measure::Accuracy => "share of pictures whose class is predicted",
            Measure::MacroF1 => "mean of the classes' F1",
            Measure::Parameters => "what training may change",
            Measure::ZeroParameters => "parameters that are 0",
            Measure::NonzeroParameters => "parameters that are not 0",
            Measure::Macs => {
                "multiply-accumulates of convolutions, linear layers and matrix products in one run"
            }
            Measure::MacsThop => "multiply-accumulates as thop counts them",
            Measure::Flops => "twice the MACs, for the multiplication and the addition",
            Measure::FileBytes => "size of the model file with its weights",
            Measure::MedianMs => "median time of a run",
            Measure::P90Ms => "time that 90 % of the runs do not exceed",
            Measure::FramesPerSecond => {
                "pictures per second at the mean time, by the network alone"
            }
            Measure::PeakResidentBytes => {
                "most resident memory of a process that reads, compiles and runs this model"
            }
        }
    }

    /// What it is about.
    pub fn group(self) -> Group {
        match self {
            Measure::Accuracy | Measure::MacroF1 => Group::Quality,
            Measure::Parameters
            | Measure::ZeroParameters
            | Measure::NonzeroParameters
            | Measure::Macs
            | Measure::MacsThop
            | Measure::Flops
            | Measure::FileBytes => Group::Size,
            Measure::MedianMs
            | Measure::P90Ms
            | Measure::FramesPerSecond
            | Measure::PeakResidentBytes => Group::Speed,
        }
    }

    /// Which of two figures is better.
    pub fn better(self) -> Better {
        match self {
            Measure::Accuracy | Measure::MacroF1 | Measure::FramesPerSecond => Better::Higher,
            Measure::ZeroParameters => Better::Neither,
            _ => Better::Lower,
        }
    }

    /// How two figures are held against each other.
    pub fn change(self) -> Change {
        match self {
            Measure::Accuracy | Measure::MacroF1 => Change::Difference,
            _ => Change::Relative,
        }
    }

    /// The figure of a run; `None` where it was not measured.
    pub fn of(self, run: &Run) -> Option<f64> {
        let (quality, cost, timing) =
            (run.quality.as_ref(), run.cost.as_ref(), run.timings.first());
        let value = match self {
            Measure::Accuracy => quality?.accuracy,
            Measure::MacroF1 => quality?.macro_f1,
            Measure::Parameters => cost?.parameters as f64,
            Measure::ZeroParameters => cost?.zero_parameters as f64,
            Measure::NonzeroParameters => {
                let cost = cost?;
                cost.parameters.saturating_sub(cost.zero_parameters) as f64
            }
            Measure::Macs => cost?.macs as f64,
            Measure::MacsThop => cost?.macs_thop? as f64,
            Measure::Flops => 2.0 * cost?.macs as f64,
            Measure::FileBytes => run.file.as_ref()?.bytes as f64,
            Measure::MedianMs => timing?.median_ms,
            Measure::P90Ms => timing?.p90_ms,
            Measure::FramesPerSecond => timing?.frames_per_second?,
            Measure::PeakResidentBytes => timing?.peak_resident_bytes? as f64,
        };
        value.is_finite().then_some(value)
    }

    /// The figure in full, as tables show it.
    pub fn show(self, value: f64) -> String {
        match self {
            Measure::Accuracy | Measure::MacroF1 => format!("{:.2} %", 100.0 * value),
            Measure::MedianMs | Measure::P90Ms => format!("{value:.3}"),
            Measure::FramesPerSecond => format!("{value:.1}"),
            Measure::PeakResidentBytes => number::bytes(value),
            _ => number::count(value),
        }
    }

    /// The figure in few letters, as charts show it.
    pub fn brief(self, value: f64) -> String {
        match self {
            Measure::Accuracy | Measure::MacroF1 => number::percent(value),
            Measure::MedianMs | Measure::P90Ms => format!("{} ms", number::digits(value, 3)),
            Measure::FramesPerSecond => number::scaled(value),
            Measure::PeakResidentBytes | Measure::FileBytes => number::bytes(value),
            _ => number::scaled(value),
        }
    }

    /// A spread in the unit of [`Measure::show`], without the unit.
    pub(crate) fn show_spread(self, spread: f64) -> String {
        match self {
            Measure::Accuracy | Measure::MacroF1 => format!("{:.2}", 100.0 * spread),
            _ => self.show(spread),
        }
    }

    /// How far a figure is from that of the base; `None` where neither of two would be better, or a
    /// share of nothing would be asked for.
    pub fn changed(self, base: f64, value: f64) -> Option<f64> {
        if self.better() == Better::Neither {
            return None;
        }
        match self.change() {
            Change::Difference => Some(value - base),
            Change::Relative => (base > 0.0).then(|| (value - base) / base),
        }
    }

    /// A change as tables show it: `-93.4 %`, `+0.50 points`.
    pub fn show_change(self, change: f64) -> String {
        match self.change() {
            Change::Difference => number::signed(100.0 * change, 2),
            Change::Relative => format!("{} %", number::signed(100.0 * change, 1)),
        }
    }
}
