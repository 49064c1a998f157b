//! Exponential backoff per key.

use std::time::Duration;

use super::{Attempt, Delay, RateLimiter, nanos};

/// `base` doubled per failure, never more than `max`. client-go: `ItemExponentialFailureRateLimiter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exponential {
    base: Duration,
    max: Duration,
}

impl Exponential {
    /// `base` for the first failure, then twice as long each time, up to `max` (at least `base`).
    #[must_use]
    pub fn new(base: Duration, max: Duration) -> Self {
        Self {
            base,
            max: max.max(base),
        }
    }

    /// 1 ms to 1000 s. client-go: `DefaultTypedItemBasedRateLimiter`.
    #[must_use]
    pub fn item_based() -> Self {
        Self::new(Duration::from_millis(1), Duration::from_secs(1000))
    }

    /// The delay after `failures` earlier failures, without jitter.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let doubled = u128::from(nanos(self.base)) << failures.min(64);
        Duration::from_nanos(u64::try_from(doubled).unwrap_or(u64::MAX)).min(self.max)
    }
}

/// 5 ms to 1000 s, as in [`default_controller`](super::default_controller).
impl Default for Exponential {
    fn default() -> Self {
        Self::new(Duration::from_millis(5), Duration::from_secs(1000))
    }
}

impl<T> RateLimiter<T> for Exponential {
    fn next_delay(&mut self, _key: &T, attempt: &mut Attempt<'_>) -> Delay {
        let delay = self.delay(attempt.failures());
        attempt.spread(delay, self.base).into()
    }
}
