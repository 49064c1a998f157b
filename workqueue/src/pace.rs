//! How long runs take lately, for deciding how many waiters a burst of keys is worth waking.

use crate::queue::Lease;

/// What a wake-up has to be worth: some waking of a thread, and how long a waiter that was woken may fail to look before
/// another is woken in its place.
pub(crate) const PATIENCE: u64 = 50_000;
/// One run in so many is timed.
const SAMPLE: u32 = 32;

/// A moving average over a sample of the runs, in nanoseconds.
#[derive(Debug)]
pub(crate) struct Pace {
    /// Nothing is known until a first run has ended: then runs count as long.
    average: u64,
    until_next: u32,
    /// The run that is being timed, and when it started.
    timed: Option<(Lease, u64)>,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            average: u64::MAX,
            until_next: 1,
            timed: None,
        }
    }
}

impl Pace {
    /// Whether runs are over before another waiter could have come to help.
    pub(crate) fn is_short(&self) -> bool {
        self.average < PATIENCE
    }

    /// A run starts. The clock is read for a sample of them only.
    #[inline]
    pub(crate) fn started(&mut self, lease: Lease, now: impl FnOnce() -> u64) {
        self.until_next -= 1;
        if self.until_next == 0 {
            self.sample(lease, now());
        }
    }

    #[cold]
    fn sample(&mut self, lease: Lease, now: u64) {
        self.until_next = SAMPLE;
        // One that is still running is at least that long.
        if let Some((_, start)) = self.timed.replace((lease, now)) {
            self.learn(now.saturating_sub(start));
        }
    }

    /// A run ends.
    #[inline]
    pub(crate) fn finished(&mut self, lease: Lease, now: impl FnOnce() -> u64) {
        if let Some((timed, start)) = self.timed
            && timed == lease
        {
            self.timed = None;
            self.learn(now().saturating_sub(start));
        }
    }

    fn learn(&mut self, took: u64) {
        self.average = if self.average == u64::MAX {
            took
        } else {
            self.average - self.average / 4 + took / 4
        };
    }
}
