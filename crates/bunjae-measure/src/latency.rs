//! How long runs take: the protocol by which they are timed, and what the times amount to.
//!
//! Somebody else's load, a change of the clock and a cold cache move the times of a machine by more
//! than what two models differ by. So everybody warms up first, then all take turns in an order that
//! turns around each time, and what slows the machine down for a while hits all alike. Compare
//! figures of one measurement only.
//!
//! ```
//! use std::time::{Duration, Instant};
//!
//! use bunjae_measure::latency::{Contestant, Protocol, Statistics};
//!
//! struct Sum(Vec<u64>);
//!
//! impl Contestant for Sum {
//!     type Error = std::convert::Infallible;
//!
//!     fn run(&mut self, runs: usize) -> Result<Vec<Duration>, Self::Error> {
//!         let time = |_| {
//!             let start = Instant::now();
//!             std::hint::black_box(self.0.iter().sum::<u64>());
//!             start.elapsed()
//!         };
//!         Ok((0..runs).map(time).collect())
//!     }
//! }
//!
//! let (mut short, mut long) = (Sum(vec![1; 10]), Sum(vec![1; 1000]));
//! let protocol = Protocol { warmup: 3, runs: 20, seconds: 0.0 };
//! let times = protocol.measure(&mut [&mut short, &mut long])?;
//! let statistics: Vec<Statistics> = times.into_iter().map(Statistics::of).collect();
//! assert!(statistics.iter().all(|statistics| statistics.runs >= 20));
//! # Ok::<(), std::convert::Infallible>(())
//! ```

use std::time::{Duration, Instant};

use serde::Serialize;

/// So many times everybody has a turn, if there are enough runs.
const ROUNDS: usize = 10;

/// Threads of the one whose turn is over may still spin, in wait for more to do.
const PAUSE: Duration = Duration::from_millis(10);

/// Somebody whose runs are timed.
pub trait Contestant {
    /// Why a run may fail.
    type Error;

    /// Runs so many times and returns how long each took.
    ///
    /// # Errors
    /// A run has failed, which ends the measurement.
    fn run(&mut self, runs: usize) -> Result<Vec<Duration>, Self::Error>;
}

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Protocol {
    /// Runs that do not count, before the first that does.
    pub warmup: usize,
    /// At least so many runs of each.
    pub runs: usize,
    /// And at least so many seconds of each.
    pub seconds: f64,
}

impl Protocol {
    /// Times all contestants and returns the times of each, in the order in which they ran.
    ///
    /// # Errors
    /// The first error of a contestant.
    pub fn measure<E>(
        &self,
        contestants: &mut [&mut dyn Contestant<Error = E>],
    ) -> Result<Vec<Vec<Duration>>, E> {
        let mut times: Vec<Vec<Duration>> = vec![Vec::new(); contestants.len()];
        for contestant in &mut *contestants {
            contestant.run(self.warmup)?;
        }
        let alone = contestants.len() == 1;
        let per_turn = self.runs.div_ceil(ROUNDS).max(1);
        let mut forwards = true;
        loop {
            let enough = |times: &Vec<Duration>| {
                let total: Duration = times.iter().sum();
                times.len() >= self.runs.max(1) && total.as_secs_f64() >= self.seconds
            };
            if times.iter().all(enough) {
                return Ok(times);
            }
            let mut order: Vec<usize> = (0..contestants.len()).collect();
            if !forwards {
                order.reverse();
            }
            forwards = !forwards;
            for at in order {
                if !alone {
                    std::thread::sleep(PAUSE);
                    // Brings back what the others drove out of the caches.
                    contestants[at].run(1.min(self.warmup))?;
                }
                // A turn lasts long enough that the clock and the caches do not matter, or as long
                // as what is left to do.
                let mut turn = contestants[at].run(per_turn)?;
                let share = self.seconds / ROUNDS as f64;
                let begin = Instant::now();
                while turn.iter().sum::<Duration>().as_secs_f64() < share
                    && begin.elapsed().as_secs_f64() < share
                {
                    turn.extend(contestants[at].run(per_turn)?);
                }
                times[at].extend(turn);
            }
        }
    }
}

/// What many times amount to, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Statistics {
    /// How many there are.
    pub runs: usize,
    /// The median; of an even number of times, the mean of the middle two.
    pub median_ms: f64,
    /// The mean.
    pub mean_ms: f64,
    /// The smallest time that at least 90 % do not exceed (nearest rank).
    pub p90_ms: f64,
    /// The smallest time that at least 99 % do not exceed (nearest rank).
    pub p99_ms: f64,
    /// The smallest.
    pub minimum_ms: f64,
}

impl Statistics {
    /// The figures of these times, in any order; of no times, zeros.
    pub fn of(mut times: Vec<Duration>) -> Statistics {
        times.sort_unstable();
        let runs = times.len();
        let ms = |time: Duration| 1e3 * time.as_secs_f64();
        let at = |index: usize| times.get(index).copied().map_or(0.0, ms);
        let percentile = |percent: usize| at((runs * percent).div_ceil(100).saturating_sub(1));
        Statistics {
            runs,
            median_ms: (at(runs / 2) + at(runs.saturating_sub(1) / 2)) / 2.0,
            mean_ms: times.iter().copied().map(ms).sum::<f64>() / runs.max(1) as f64,
            p90_ms: percentile(90),
            p99_ms: percentile(99),
            minimum_ms: at(0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(times: &[u64]) -> Vec<Duration> {
        times.iter().map(|&time| Duration::from_millis(time)).collect()
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_times() {
        let hundred: Vec<u64> = (1..=100).rev().collect();
        let found = Statistics::of(milliseconds(&hundred));
        let expected = Statistics {
            runs: 100,
            median_ms: 50.5,
            mean_ms: 50.5,
            p90_ms: 90.0,
            p99_ms: 99.0,
            minimum_ms: 1.0,
        };
        assert_eq!(found, expected);
        let one = Statistics::of(milliseconds(&[7]));
        assert_eq!([one.median_ms, one.p90_ms, one.p99_ms, one.mean_ms], [7.0; 4]);
        assert_eq!(Statistics::of(milliseconds(&[3, 1, 2])).median_ms, 2.0);
        assert_eq!(Statistics::of(Vec::new()).median_ms, 0.0);
    }

    /// Takes a second by the clock of its own for each run.
    struct Slow(usize);

    impl Contestant for Slow {
        type Error = &'static str;

        fn run(&mut self, runs: usize) -> Result<Vec<Duration>, &'static str> {
            if self.0 > 1000 {
                return Err("broken");
            }
            self.0 += runs;
            Ok(vec![Duration::from_secs(1); runs])
        }
    }

    #[test]
    fn everybody_runs_often_and_long_enough() {
        let (mut a, mut b) = (Slow(0), Slow(0));
        let protocol = Protocol { warmup: 3, runs: 25, seconds: 0.0 };
        let times = protocol.measure(&mut [&mut a]).unwrap();
        assert_eq!((times[0].len(), a.0), (27, 30), "turns of 3, after 3 to warm up");
        let protocol = Protocol { warmup: 0, runs: 1, seconds: 12.0 };
        let times = protocol.measure(&mut [&mut a, &mut b]).unwrap();
        assert!(times.iter().all(|times| times.len() == 12), "{times:?}");
    }

    #[test]
    fn the_error_of_a_contestant_ends_it() {
        let (mut a, mut b) = (Slow(0), Slow(1001));
        let protocol = Protocol { warmup: 1, runs: 1, seconds: 0.0 };
        assert_eq!(protocol.measure(&mut [&mut a, &mut b]), Err("broken"));
    }
}
