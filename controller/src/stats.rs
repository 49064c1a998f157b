//! [`Stats`]: what a controller has done so far.

use std::{
    sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use informer_workqueue::Histogram;

/// What a controller has done so far, from [`Handle::stats`](crate::Handle::stats). Counters never go back.
///
/// # Source
/// controller-runtime `pkg/internal/controller/metrics`; the upstream names are with the fields.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// `controller_runtime_reconcile_total{result="success"}`.
    pub succeeded: u64,
    /// `controller_runtime_reconcile_total{result="requeue_after"}`.
    pub requeued_after: u64,
    /// `controller_runtime_reconcile_total{result="requeue"}`.
    pub requeued: u64,
    /// `controller_runtime_reconcile_total{result="error"}` and `controller_runtime_reconcile_errors_total`: failures of
    /// every kind, those below included.
    pub errors: u64,
    /// `controller_runtime_terminal_reconcile_errors_total`.
    pub terminal_errors: u64,
    /// `controller_runtime_reconcile_panics_total`.
    pub panics: u64,
    /// `controller_runtime_reconcile_timeouts_total`: runs ended by this controller's own timeout.
    pub timeouts: u64,
    /// Runs dropped by a forced stop.
    pub abandoned: u64,
    /// `controller_runtime_max_concurrent_reconciles`.
    pub workers: usize,
    /// `controller_runtime_active_workers`.
    pub active: usize,
    /// Runs that have taken longer than the warning threshold, whether or not they ended since.
    pub stuck: u64,
    /// `controller_runtime_reconcile_time_seconds`.
    pub reconcile_time: Durations,
    /// From the trigger, or the end of a delay, to the start of the reconcile: `workqueue_queue_duration_seconds`.
    pub event_latency: Histogram,
    /// Changes that sources delivered.
    pub events: u64,
    /// Changes that a predicate said don't matter.
    pub filtered: u64,
    /// Keys that triggers named.
    pub triggered: u64,
    /// Panics of streams, predicates and triggers that were contained.
    pub source_panics: u64,
    /// Writes a key was parked for.
    pub writes_awaited: u64,
    /// Writes that a cache had not seen by the deadline: the key ran all the same.
    pub writes_unseen: u64,
}

impl Stats {
    /// Runs that ended, however.
    #[must_use]
    pub fn reconciles(&self) -> u64 {
        self.succeeded + self.requeued_after + self.requeued + self.errors
    }
}

/// How long things took, counted in buckets each twice as wide as the one before.
///
/// # Units
/// Bounds from 1.024 µs to 1,100 s; what takes longer is in the last bucket, which has no bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Durations {
    buckets: [u64; BUCKETS],
    sum_ns: u64,
}

impl Durations {
    /// How many there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// All together.
    #[must_use]
    pub fn sum(&self) -> Duration {
        Duration::from_nanos(self.sum_ns)
    }

    /// Each bound with how many took no longer, cumulative as Prometheus wants it. Without the last bucket, whose bound
    /// is infinite: that is [`count`](Self::count).
    pub fn buckets(&self) -> impl Iterator<Item = (Duration, u64)> {
        let mut total = 0;
        self.buckets[..BUCKETS - 1]
            .iter()
            .enumerate()
            .map(move |(index, count)| {
                total += count;
                (Duration::from_nanos(FIRST_BOUND_NS << index), total)
            })
    }

    /// The bound below which a share of `quantile`, from 0 to 1, lies; `None` where nothing was counted.
    #[must_use]
    pub fn quantile(&self, quantile: f64) -> Option<Duration> {
        let count = self.count();
        // Rounding up: the median of one is that one.
        let rank = (quantile.clamp(0.0, 1.0) * count as f64).ceil().max(1.0) as u64;
        let found = self.buckets().find(|(_, total)| *total >= rank);
        (count > 0).then(|| found.map_or(Duration::MAX, |(bound, _)| bound))
    }
}

/// The counters behind [`Stats`], written by whatever thread a worker is on.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) succeeded: Counter,
    pub(crate) requeued_after: Counter,
    pub(crate) requeued: Counter,
    pub(crate) errors: Counter,
    pub(crate) terminal_errors: Counter,
    pub(crate) panics: Counter,
    pub(crate) timeouts: Counter,
    pub(crate) abandoned: Counter,
    pub(crate) stuck: Counter,
    pub(crate) writes_awaited: Counter,
    pub(crate) writes_unseen: Counter,
    pub(crate) active: AtomicUsize,
    buckets: [Counter; BUCKETS],
    sum_ns: Counter,
}

impl Counters {
    pub(crate) fn took(&self, time: Duration) {
        let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.add(ns);
        self.buckets[bucket(ns)].add(1);
    }

    pub(crate) fn snapshot(&self) -> Stats {
        Stats {
            succeeded: self.succeeded.get(),
            requeued_after: self.requeued_after.get(),
            requeued: self.requeued.get(),
            errors: self.errors.get(),
            terminal_errors: self.terminal_errors.get(),
            panics: self.panics.get(),
            timeouts: self.timeouts.get(),
            abandoned: self.abandoned.get(),
            stuck: self.stuck.get(),
            writes_awaited: self.writes_awaited.get(),
            writes_unseen: self.writes_unseen.get(),
            active: self.active.load(Relaxed),
            reconcile_time: Durations {
                buckets: std::array::from_fn(|index| self.buckets[index].get()),
                sum_ns: self.sum_ns.get(),
            },
            ..Stats::default()
        }
    }
}

/// A number that only grows. Relaxed: nothing is concluded from one counter about another.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, more: u64) {
        self.0.fetch_add(more, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Which bucket `ns` is counted in: the first whose bound is not below it.
fn bucket(ns: u64) -> usize {
    let above = ns.saturating_sub(1) / FIRST_BOUND_NS;
    (u64::BITS - above.leading_zeros()).min(BUCKETS as u32 - 1) as usize
}

const FIRST_BOUND_NS: u64 = 1024;
const BUCKETS: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_fall_into_the_first_bucket_whose_bound_is_not_below() {
        for (ns, expected) in [
            (0, 0),
            (1024, 0),
            (1025, 1),
            (2048, 1),
            (2049, 2),
            (u64::MAX, BUCKETS - 1),
        ] {
            assert_eq!(bucket(ns), expected, "{ns} ns");
        }
    }

    #[test]
    fn quantiles_are_bounds_of_buckets() {
        let counters = Counters::default();
        assert_eq!(counters.snapshot().reconcile_time.quantile(0.5), None);
        for ms in [1, 1, 1, 900] {
            counters.took(Duration::from_millis(ms));
        }
        let times = counters.snapshot().reconcile_time;
        assert_eq!(times.count(), 4);
        assert_eq!(times.sum(), Duration::from_millis(903));
        assert_eq!(times.quantile(0.5), Some(Duration::from_nanos(1024 << 10)));
        assert_eq!(times.quantile(1.0), Some(Duration::from_nanos(1024 << 20)));
    }
}
