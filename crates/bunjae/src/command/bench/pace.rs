//! How much is timed, and with what.

use std::num::NonZeroUsize;

use bunjae_measure::latency::Protocol;
use clap::Args;

use crate::args::positive;

/// How runs are timed.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Protocol")]
pub(crate) struct Pace {
    /// Time at least so many runs of each model
    #[arg(long, value_name = "N", value_parser = positive, default_value = "100")]
    pub(crate) runs: NonZeroUsize,
    /// And at least so many seconds
    #[arg(
        long,
        value_name = "S",
        value_parser = seconds,
        allow_negative_numbers = true,
        default_value = "1"
    )]
    pub(crate) seconds: f64,
    /// Runs that do not count, before the others
    #[arg(long, value_name = "N", default_value = "10")]
    pub(crate) warmup: usize,
    /// The numbers of threads to measure with, such as 1,2
    #[arg(
        long,
        value_name = "N,...",
        value_parser = positive,
        value_delimiter = ',',
        default_value = "1"
    )]
    pub(crate) threads: Vec<NonZeroUsize>,
    /// The seed of the input
    #[arg(long, default_value_t = 0)]
    pub(crate) seed: u64,
}

impl Pace {
    /// The protocol of one measurement.
    pub(crate) fn protocol(&self) -> Protocol {
        Protocol { warmup: self.warmup, runs: self.runs.get(), seconds: self.seconds }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is no number of seconds"))?;
    if (0.0..=3600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("expected between 0 and 3600 seconds".to_string())
    }
}
