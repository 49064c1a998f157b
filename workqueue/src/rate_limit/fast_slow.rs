//! A few quick retries, then slow ones.

use std::time::Duration;

use super::{Attempt, Delay, RateLimiter};

/// `fast` for the first `max_fast` failures, `slow` from then on. client-go: `ItemFastSlowRateLimiter`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FastSlow {
    fast: Duration,
    slow: Duration,
    max_fast: u32,
}

impl FastSlow {
    /// `fast` for `max_fast` failures, then `slow`.
    #[must_use]
    pub fn new(fast: Duration, slow: Duration, max_fast: u32) -> Self {
        Self { fast, slow, max_fast }
    }
}

impl<T> RateLimiter<T> for FastSlow {
    fn next_delay(&mut self, _key: &T, attempt: &mut Attempt<'_>) -> Delay {
        if attempt.failures() < self.max_fast {
            return self.fast.into();
        }
        attempt.spread(self.slow, self.fast.min(self.slow)).into()
    }
}
