//! Numbers about a queue, computed when asked for.

use std::time::Duration;

use tokio::time::Instant;

use crate::options::Priority;

/// Upper bounds of the histogram buckets, nanoseconds: 10⁻⁸ s to 10³ s. The first ten are client-go's, all twelve are
/// controller-runtime's.
const BOUNDS: [u64; 12] = [
    10,
    100,
    1_000,
    10_000,
    100_000,
    1_000_000,
    10_000_000,
    100_000_000,
    1_000_000_000,
    10_000_000_000,
    100_000_000_000,
    1_000_000_000_000,
];

/// Durations by order of magnitude.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BOUNDS.len() + 1],
    sum: u128,
}

impl Histogram {
    pub(crate) fn record(&mut self, nanos: u64) {
        // 1233/4096 is just above log10(2): at most one too many.
        let digits = (u64::BITS - nanos.leading_zeros()) as usize * 1233 / 4096;
        let guess = digits.saturating_sub(1).min(BOUNDS.len() - 1);
        let bucket = guess + usize::from(nanos > BOUNDS[guess]);
        self.buckets[bucket] += 1;
        self.sum += u128::from(nanos);
    }

    /// How many durations were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    #[must_use]
    pub fn sum(&self) -> Duration {
        let seconds = u64::try_from(self.sum / 1_000_000_000).unwrap_or(u64::MAX);
        Duration::new(seconds, (self.sum % 1_000_000_000) as u32)
    }

    /// `(upper bound, durations up to it)`, cumulative as Prometheus wants them; the last bucket, without a bound, is
    /// [`count`](Self::count). Twelve bounds from 10⁻⁸ s to 10³ s by factors of ten: client-go exports the first ten,
    /// controller-runtime all.
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut total = 0;
        BOUNDS.iter().zip(self.buckets).map(move |(bound, count)| {
            total += count;
            (Duration::from_nanos(*bound), total)
        })
    }
}

/// What the core counts as it goes.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) adds: u64,
    pub(crate) retries: u64,
    pub(crate) done: u64,
    /// Running keys that are wanted again.
    pub(crate) dirty: usize,
    pub(crate) running: usize,
    /// Sum of the start times of running keys.
    pub(crate) starts: u128,
    pub(crate) queue: Histogram,
    pub(crate) work: Histogram,
}

impl Counters {
    #[inline]
    pub(crate) fn started(&mut self, queued: u64, now: u64, durations: bool) {
        if durations {
            self.queue.record(queued);
        }
        self.running += 1;
        self.starts += u128::from(now);
    }

    #[inline]
    pub(crate) fn finished(&mut self, started: u64, now: u64, durations: bool) {
        if durations {
            self.work.record(now.saturating_sub(started));
        }
        self.running -= 1;
        self.starts -= u128::from(started);
        self.done += 1;
    }
}

/// The state of a queue at one instant, from [`WorkQueue::stats`](crate::WorkQueue::stats).
///
/// With [`Builder::durations`](crate::Builder::durations) off, the histograms are empty and ages zero or absent.
///
/// The first seven are what client-go exports as `workqueue_*`, with the same meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// `workqueue_depth`: runs that are ordered and did not start, keys wanted again while they run included, delayed
    /// ones not.
    pub depth: usize,
    /// `workqueue_adds_total`: runs ordered. A delayed add counts when its delay is over.
    pub adds: u64,
    /// `workqueue_queue_duration_seconds`: from the order of a run to its start.
    pub queue_duration: Histogram,
    /// `workqueue_work_duration_seconds`: from the start of a run to its end.
    pub work_duration: Histogram,
    /// `workqueue_unfinished_work_seconds`: how long the running keys have been running, summed.
    pub unfinished_work: Duration,
    /// `workqueue_longest_running_processor_seconds`.
    pub longest_running: Duration,
    /// `workqueue_retries_total`: adds with a delay, and runs that ended in a retry or are to be repeated after a delay, as
    /// client-go counts `AddAfter`.
    pub retries: u64,
    /// Keys running.
    pub running: usize,
    /// Keys that wait for their delay to end.
    pub delayed: usize,
    /// Keys ready per lane, by [`Priority::ALL`].
    pub ready: [usize; Priority::COUNT],
    /// How long the oldest ready key of each lane has been ready, by [`Priority::ALL`].
    pub oldest_ready: [Option<Duration>; Priority::COUNT],
    /// Ready keys whose flow runs as many as it may.
    pub held_by_flow: usize,
    /// Keys that wait for their exclusion group.
    pub blocked_by_group: usize,
    /// Keys that are wanted and parked, by reason.
    pub parked: Vec<(&'static str, usize)>,
    /// Keys with at least one failure.
    pub failing: usize,
    /// Keys the queue holds in any state, those remembered for their minimum interval or gate included.
    pub keys: usize,
    /// Runs finished.
    pub done: u64,
    /// Keys given up after the maximum of attempts or by [`InFlight::give_up`](crate::InFlight::give_up).
    pub dead_letters: u64,
    /// Panics of user code (limiter, flow, group, dead-letter hook) that were contained.
    pub contained_panics: u64,
    /// Whether the queue is closed.
    pub closed: bool,
}

/// What a key is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeyState {
    /// Not wanted; remembered for its minimum interval or because it is parked.
    Idle,
    /// Waits for its delay to end.
    Delayed,
    /// Waits for a worker.
    Ready,
    /// Waits for its exclusion group.
    Blocked,
    /// Wanted, but parked.
    Parked,
    /// Runs.
    Running,
    /// Runs, and is wanted again.
    RunningAndWanted,
}

/// Everything the queue knows about a key, from [`WorkQueue::snapshot`](crate::WorkQueue::snapshot).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeySnapshot {
    /// What it is doing.
    pub state: KeyState,
    /// The lane of its next run, or of the present one.
    pub priority: Priority,
    /// Failures in a row, the one whose delay is being served included. client-go: `NumRequeues`.
    pub retries: u32,
    /// When it runs at the earliest, if that is known and lies ahead.
    pub next_run: Option<Instant>,
    /// For how long it has been ready or running.
    pub age: Option<Duration>,
    /// Until when it is parked, and why.
    pub parked: Option<(Instant, &'static str)>,
    /// Who asked for the run it waits for.
    pub sources: Vec<&'static str>,
}
