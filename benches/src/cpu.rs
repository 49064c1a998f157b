//! Processor time of this process, and medians of it.

use std::time::Duration;

use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use rustix::time::{ClockId, clock_gettime};

/// Processor time spent by all threads of this process so far.
#[must_use]
pub fn process_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// Processor time spent by this thread so far.
#[must_use]
pub fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

/// Runs `work` and returns its result with the processor time it took.
pub fn timed<R>(work: impl FnOnce() -> R) -> (R, Duration) {
    let start = process_time();
    let result = work();
    (result, process_time().saturating_sub(start))
}

/// Has criterion measure the processor time of the calling thread, which other load on the machine disturbs less than
/// wall-clock time.
#[derive(Clone, Copy, Debug, Default)]
pub struct ThreadTime;

impl Measurement for ThreadTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        thread_time()
    }

    fn end(&self, start: Duration) -> Duration {
        thread_time().saturating_sub(start)
    }

    fn add(&self, a: &Duration, b: &Duration) -> Duration {
        *a + *b
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        value.as_nanos() as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

/// The median of `samples`.
///
/// # Panics
/// If there are none.
#[must_use]
pub fn median(mut samples: Vec<Duration>) -> Duration {
    samples.sort_unstable();
    *samples.get(samples.len() / 2).expect("a median needs a sample")
}

/// Runs each of `sides` `rounds` times, in turn, so that drift of the machine hits all alike; returns the median
/// processor time of each.
pub fn side_by_side(rounds: usize, sides: &mut [&mut dyn FnMut()]) -> Vec<Duration> {
    let mut samples = vec![Vec::with_capacity(rounds); sides.len()];
    for _ in 0..rounds {
        for (side, samples) in sides.iter_mut().zip(&mut samples) {
            samples.push(timed(&mut **side).1);
        }
    }
    samples.into_iter().map(median).collect()
}
