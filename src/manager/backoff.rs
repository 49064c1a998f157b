//! How long to wait before a failed component is run again.

use std::time::Duration;

/// Delays that double from failure to failure, with jitter, forgotten after a good run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Backoff {
    /// The delay after the first failure. Default: `1 s`.
    pub initial: Duration,
    /// The longest delay. Default: `1 min`.
    pub max: Duration,
    /// A run of at least this length starts the count anew. Default: `2 min`, twice the longest delay.
    pub reset_after: Duration,
}

impl Backoff {
    /// Delays from `initial` to `max`, forgotten after a run of twice `max`.
    pub const fn new(initial: Duration, max: Duration) -> Self {
        Self {
            initial,
            max,
            reset_after: max.saturating_mul(2),
        }
    }

    /// The delay after `failures` failures in a row, the first being 1: between half of the full delay and all of it.
    pub(super) fn delay(&self, failures: u32, rng: &mut fastrand::Rng) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        let full = self.initial.saturating_mul(1 << doublings).min(self.max);
        full.mul_f64(0.5 + rng.f64() / 2.0)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_secs(1), Duration::from_secs(60))
    }
}
