//! How runs are timed: warm-up, rounds in which everybody has a turn, and what the times amount to.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::failure::Fallible;

/// So many times everybody has a turn, if there are enough runs. The order turns around each time.
/// What makes the machine slower for a while then hits all alike.
const ROUNDS: usize = 10;

/// Threads of the one whose turn is over may still spin, in wait for more to do.
const PAUSE: Duration = Duration::from_millis(10);

/// Somebody whose runs are timed.
pub(in crate::command) trait Contestant {
    /// Runs so many times and returns how long each took.
    fn run(&mut self, runs: usize) -> Fallible<Vec<Duration>>;
}

/// How much is measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(in crate::command) struct Protocol {
    /// Runs that do not count, before the first that does.
    pub(in crate::command) warmup: usize,
    /// At least so many runs of each.
    pub(in crate::command) runs: usize,
    /// And at least so many seconds of each.
    pub(in crate::command) seconds: f64,
}

impl Protocol {
    /// Times all contestants and returns the times of each.
    pub(in crate::command) fn measure(
        &self,
        contestants: &mut [&mut dyn Contestant],
    ) -> Fallible<Vec<Vec<Duration>>> {
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
pub(in crate::command) struct Statistics {
    pub(in crate::command) runs: usize,
    pub(in crate::command) median_ms: f64,
    pub(in crate::command) mean_ms: f64,
    pub(in crate::command) p90_ms: f64,
    pub(in crate::command) p99_ms: f64,
    pub(in crate::command) minimum_ms: f64,
}

impl Statistics {
    /// The median of an even number of times is the mean of the middle two; the other quantiles are
    /// the smallest time that at least such a share does not exceed (nearest rank).
    pub(in crate::command) fn of(mut times: Vec<Duration>) -> Statistics {
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
        fn run(&mut self, runs: usize) -> Fallible<Vec<Duration>> {
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
}
