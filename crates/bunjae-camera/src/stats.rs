//! What is measured while the pipeline runs, in a place that does not grow.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;

/// Steps between one power of two and the next: a time is known to 3 %.
const STEPS: u32 = 32;

/// Times from 1 us to more than an hour.
const BUCKETS: usize = 33 * STEPS as usize;

/// How far back a rate looks.
const WINDOW: Duration = Duration::from_secs(2);

/// Times of one kind: how many, their mean and largest, and their distribution.
#[derive(Clone, Debug)]
pub struct Timings {
    count: u64,
    sum: Duration,
    largest: Duration,
    last: Duration,
    buckets: Vec<u32>,
}

impl Default for Timings {
    fn default() -> Self {
        let buckets = vec![0; BUCKETS];
        Timings {
            count: 0,
            sum: Duration::ZERO,
            largest: Duration::ZERO,
            last: Duration::ZERO,
            buckets,
        }
    }
}

/// The bucket of a time: its power of two in microseconds, and how far it is on the way to the next.
fn bucket(time: Duration) -> usize {
    let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1);
    let power = micros.ilog2();
    let step = ((micros << (63 - power)) << 1) >> (64 - STEPS.ilog2());
    (power as usize * STEPS as usize + step as usize).min(BUCKETS - 1)
}

/// The smallest time of the next bucket.
fn above(bucket: usize) -> Duration {
    let (power, step) = (bucket as u32 / STEPS, bucket as u32 % STEPS);
    let micros = (1u64 << power) as f64 * (1.0 + f64::from(step + 1) / f64::from(STEPS));
    Duration::from_secs_f64(micros * 1e-6)
}

impl Timings {
    /// Adds a time.
    pub fn add(&mut self, time: Duration) {
        self.count += 1;
        self.sum += time;
        self.largest = self.largest.max(time);
        self.last = time;
        let bucket = &mut self.buckets[bucket(time)];
        *bucket = bucket.saturating_add(1);
    }

    /// How many there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Their mean; zero where there were none.
    pub fn mean(&self) -> Duration {
        self.sum.div_f64((self.count as f64).max(1.0))
    }

    /// The time that this share (0 to 1) of all is not above, to 3 %.
    pub fn quantile(&self, share: f64) -> Duration {
        let wanted = (share * self.count as f64).ceil().max(1.0);
        let mut seen = 0.0;
        for (place, &count) in self.buckets.iter().enumerate() {
            seen += f64::from(count);
            if seen >= wanted {
                return above(place).min(self.largest);
            }
        }
        self.largest
    }

    /// The figures for a report.
    pub fn summary(&self) -> Option<Timing> {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        (self.count > 0).then(|| Timing {
            count: self.count,
            mean_ms: ms(self.mean()),
            p50_ms: ms(self.quantile(0.5)),
            p95_ms: ms(self.quantile(0.95)),
            max_ms: ms(self.largest),
        })
    }
}

/// Times of one kind, for a report.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Timing {
    /// How many.
    pub count: u64,
    /// Milliseconds.
    pub mean_ms: f64,
    /// Half of them are not above; to 3 %, as the next.
    pub p50_ms: f64,
    /// 95 % of them are not above.
    pub p95_ms: f64,
    /// The largest.
    pub max_ms: f64,
}

/// How often something happens in a second, over the last two.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rate {
    times: VecDeque<Instant>,
}

impl Rate {
    /// More are not needed to tell a rate.
    const MOST: usize = 256;

    pub(crate) fn tick(&mut self, now: Instant) {
        self.times.push_back(now);
        while self.times.len() > Rate::MOST
            || self.times.front().is_some_and(|&first| now - first > WINDOW)
        {
            self.times.pop_front();
        }
    }

    pub(crate) fn per_second(&self, now: Instant) -> f64 {
        let recent = || self.times.iter().filter(|&&time| now - time < WINDOW);
        let (Some(&first), Some(&last)) = (recent().next(), recent().next_back()) else {
            return 0.0;
        };
        let count = recent().count() as f64;
        let per = |count: f64, span: Duration| count / span.as_secs_f64().max(1e-6);
        // Between the ticks, or less where the last is longer ago than usual.
        let in_silence = per(count, now - first);
        if count < 2.0 {
            in_silence.min(1.0)
        } else {
            per(count - 1.0, last - first).min(in_silence)
        }
    }
}

/// A stage of the pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Reading, decoding and converting frames.
    Read,
    /// Finding faces.
    Detect,
    /// Making inputs of faces.
    Prepare,
    /// Running the model.
    Infer,
}

impl Stage {
    /// All of them, in the order of the pipeline.
    pub const ALL: [Stage; 4] = [Stage::Read, Stage::Detect, Stage::Prepare, Stage::Infer];

    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Read => "read",
            Stage::Detect => "detect",
            Stage::Prepare => "prepare",
            Stage::Infer => "infer",
        }
    }
}

/// What one model did.
#[derive(Clone, Debug, Default)]
pub(crate) struct OfModel {
    pub(crate) infer: Timings,
    pub(crate) prepare: Timings,
    pub(crate) faces: u64,
    pub(crate) frames: u64,
    pub(crate) shown_in: Duration,
}

/// All that is counted.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) stages: [Timings; 4],
    pub(crate) models: Vec<OfModel>,
    pub(crate) captured: u64,
    pub(crate) corrupt: u64,
    pub(crate) lost: u64,
    pub(crate) faces: u64,
    pub(crate) labelled: u64,
    pub(crate) rate: Rate,
    pub(crate) started: Option<Instant>,
    pub(crate) ended: Option<Instant>,
}

/// [`Counts`] that all threads share.
#[derive(Debug, Default)]
pub(crate) struct Shared(Mutex<Counts>);

impl Shared {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_three_per_cent() {
        let mut timings = Timings::default();
        for micros in 1..=10_000 {
            timings.add(Duration::from_micros(micros));
        }
        assert_eq!(timings.mean(), Duration::from_nanos(5_000_500));
        for (share, micros) in [(0.5, 5_000.0), (0.95, 9_500.0), (0.01, 100.0), (1.0, 10_000.0)] {
            let found = timings.quantile(share).as_secs_f64() * 1e6;
            assert!((1.0..1.04).contains(&(found / micros)), "{share}: {found}");
        }
    }

    #[test]
    fn times_of_any_length_have_a_bucket() {
        let mut timings = Timings::default();
        for time in [Duration::ZERO, Duration::from_nanos(1), Duration::from_secs(90_000)] {
            timings.add(time);
        }
        timings.add(Duration::MAX - Duration::from_secs(100_000));
        assert_eq!(timings.count(), 4);
        assert_eq!(Timings::default().summary(), None);
        // Buckets and their bounds agree.
        for micros in [64, 65, 99, 1000, 65_535, 65_536] {
            let time = Duration::from_micros(micros);
            let place = bucket(time);
            assert!(above(place) > time && bucket(above(place)) == place + 1, "{micros}");
        }
    }

    #[test]
    fn a_rate_counts_the_last_two_seconds_and_falls_in_silence() {
        let (mut rate, start) = (Rate::default(), Instant::now());
        for tick in 0..100 {
            rate.tick(start + Duration::from_millis(40 * tick));
        }
        let last = start + Duration::from_millis(40 * 99);
        assert!((rate.per_second(last) - 25.0).abs() < 0.1);
        assert!(rate.per_second(last + Duration::from_millis(1500)) < 13.0);
        assert_eq!(rate.per_second(last + Duration::from_secs(60)), 0.0);
        assert_eq!(Rate::default().per_second(last), 0.0);
    }
}
