//! The words of the command line for what makes a channel important.

use bunjae_compress::{Across, Course, Criterion, Normalise, Sparsity};
use clap::ValueEnum;

use crate::args;

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum CriterionArg {
    /// Sum of absolute weights
    L1,
    /// Sum of squared weights
    L2,
    /// Squares, each over the sum of those not smaller
    Lamp,
    /// Distance to the other filters of the layer
    Fpgm,
    /// Scale of batch normalisation
    BnScale,
    /// Chance
    Random,
    /// By --data: change of the loss when the channel is closed, to first order, by activations and
    /// their gradients (Molchanov 2017)
    Taylor,
    /// By --data: half the mean square of that change
    Fisher,
    /// By --data: sum of absolute products of weights and gradients (Molchanov 2019)
    WeightTaylor,
    /// By --data: absolute sum of these products
    WeightTaylorSum,
    /// By --data: sum of squared weights times the mean square of their gradients, picture by picture
    Hessian,
    /// By --data: the same for the layers that make the channel alone (EigenDamage's OBD-C)
    ObdC,
}

impl CriterionArg {
    pub(super) fn criterion(self) -> Criterion {
        match self {
            CriterionArg::L1 => Criterion::L1,
            CriterionArg::L2 => Criterion::L2,
            CriterionArg::Lamp => Criterion::Lamp,
            CriterionArg::Fpgm => Criterion::Fpgm,
            CriterionArg::BnScale => Criterion::BnScale,
            CriterionArg::Random => Criterion::Random,
            CriterionArg::Taylor => Criterion::Taylor,
            CriterionArg::Fisher => Criterion::Fisher,
            CriterionArg::WeightTaylor => Criterion::WeightTaylor,
            CriterionArg::WeightTaylorSum => Criterion::WeightTaylorSum,
            CriterionArg::Hessian => Criterion::Hessian,
            CriterionArg::ObdC => Criterion::ObdC,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum AcrossArg {
    /// Their mean
    Mean,
    /// Their sum
    Sum,
    /// The largest
    Max,
    /// Their product
    Product,
    /// That of the first layer
    First,
    /// That of the last layer
    Last,
}

impl AcrossArg {
    pub(super) fn across(self) -> Across {
        match self {
            AcrossArg::Mean => Across::Mean,
            AcrossArg::Sum => Across::Sum,
            AcrossArg::Max => Across::Max,
            AcrossArg::Product => Across::Product,
            AcrossArg::First => Across::First,
            AcrossArg::Last => Across::Last,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum CourseArg {
    /// All at once
    OneShot,
    /// The same share in every step
    Linear,
    /// Much at first, then less and less: 1 - (1 - t/n)^3 (Zhu and Gupta)
    Agp,
}

impl CourseArg {
    pub(super) fn course(self) -> Course {
        match self {
            CourseArg::OneShot => Course::OneShot,
            CourseArg::Linear => Course::Linear,
            CourseArg::Agp => Course::Agp,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum SparsityArg {
    /// Absolute scales of batch normalisation (Network Slimming)
    BnScale,
    /// Norms of all weights of a channel, over coupled layers (group lasso)
    GroupLasso,
    /// Their squares, those of weak channels up to 16 times as much (DepGraph)
    GroupNorm,
}

impl SparsityArg {
    pub(super) fn sparsity(self) -> Sparsity {
        match self {
            SparsityArg::BnScale => Sparsity::BnScale,
            SparsityArg::GroupLasso => Sparsity::GroupLasso,
            SparsityArg::GroupNorm => Sparsity::GroupNorm,
        }
    }
}

pub(super) fn normalise(text: &str) -> Result<Normalise, String> {
    match text {
        "none" => Ok(Normalise::None),
        "sum" => Ok(Normalise::Sum),
        "mean" => Ok(Normalise::Mean),
        "max" => Ok(Normalise::Max),
        "l2" => Ok(Normalise::L2),
        "standardise" | "standardize" => Ok(Normalise::Standardise),
        "gaussian" => Ok(Normalise::Gaussian),
        "lamp" => Ok(Normalise::Lamp),
        _ => match text.strip_prefix("sentinel=") {
            Some(text) => args::share(text).map(Normalise::Sentinel),
            None => Err("expected none, sum, mean, max, l2, standardise, gaussian, lamp or \
                         sentinel=SHARE"
                .to_string()),
        },
    }
}

/// The words that [`normalise`] reads.
pub(super) fn normalise_word(choice: Normalise) -> String {
    let word = match choice {
        Normalise::None => "none",
        Normalise::Sum => "sum",
        Normalise::Mean => "mean",
        Normalise::Max => "max",
        Normalise::L2 => "l2",
        Normalise::Standardise => "standardise",
        Normalise::Gaussian => "gaussian",
        Normalise::Lamp => "lamp",
        Normalise::Sentinel(share) => return format!("sentinel={share}"),
    };
    word.to_string()
}

pub(super) fn layer_ratio(text: &str) -> Result<(String, f64), String> {
    let (pattern, ratio) =
        text.rsplit_once('=').ok_or("expected PATTERN=SHARE, such as layer1=0.3")?;
    Ok((pattern.to_string(), args::share(ratio)?))
}

/// A number that is not negative.
pub(super) fn amount(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(amount) if amount.is_finite() && amount >= 0.0 => Ok(amount),
        _ => Err(format!("`{text}` is no number from 0")),
    }
}

/// The name of a choice on the command line, for provenance.
pub(super) fn word(choice: impl ValueEnum) -> String {
    choice.to_possible_value().map_or(String::new(), |value| value.get_name().to_string())
}
