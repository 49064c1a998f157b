//! One rate for all keys together.

use std::collections::BTreeSet;
use std::time::Duration;

use smallvec::smallvec;
use tokio::time::Instant;

use super::{Attempt, Delay, RateLimiter, Ticket, nanos};

/// A bucket of tokens that refills at a steady rate; each failure reserves one, and waits for it if there is none left.
/// client-go: `BucketRateLimiter`.
///
/// A reservation whose key ran without it, or was dropped, is returned: the next key gets its place. Reservations go out
/// at the promised time whatever is returned later. Memory: eight bytes per returned reservation that lies ahead.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Nanoseconds per token.
    interval: u64,
    burst: u64,
    max_wait: Duration,
    epoch: Option<Instant>,
    /// When the bucket would be full again, nanoseconds since `epoch`, which lies `burst` intervals before the first use.
    full_at: u64,
    /// Returned reservations that lie ahead.
    returned: BTreeSet<u64>,
}

impl TokenBucket {
    /// `per_second` tokens per second, at most `burst` saved up. A rate that is not a positive number never refills; a
    /// burst of zero counts as one.
    #[must_use]
    pub fn new(per_second: f64, burst: u32) -> Self {
        let interval = if per_second > 0.0 {
            (1e9 / per_second) as u64
        } else {
            u64::MAX / 4
        };
        let burst = u64::from(burst.max(1));
        let interval = interval.clamp(1, u64::MAX / 4 / burst);
        Self {
            interval,
            burst,
            max_wait: Duration::MAX,
            epoch: None,
            full_at: interval * burst,
            returned: BTreeSet::new(),
        }
    }

    /// A key never waits longer than this for a token, it goes without one instead. Bounds what thousands of keys
    /// failing at once can pile up. Default: no bound, as upstream.
    #[must_use]
    pub fn max_wait(mut self, max: Duration) -> Self {
        self.max_wait = max;
        self
    }

    /// Nanoseconds on the bucket's clock, which starts late enough for `full_at` never to be negative.
    fn clock(&mut self, now: Instant) -> u64 {
        let epoch = *self.epoch.get_or_insert(now);
        nanos(now.saturating_duration_since(epoch)).saturating_add(self.interval * self.burst)
    }

    /// Reserves a token and returns when it is there.
    fn reserve(&mut self, now: u64) -> Option<u64> {
        while let Some(&due) = self.returned.first() {
            if due > now {
                break;
            }
            // Nobody took it in time: it is a token in the bucket again.
            self.returned.pop_first();
            self.full_at = self.full_at.saturating_sub(self.interval);
        }
        let full_at = self.full_at.max(now);
        let due = full_at.saturating_sub(self.interval * (self.burst - 1)).max(now);
        let earlier = self.returned.first().copied().filter(|returned| *returned < due);
        let chosen = earlier.unwrap_or(due);
        if chosen - now > nanos(self.max_wait) {
            return None;
        }
        if earlier.is_some() {
            self.returned.pop_first();
        } else {
            self.full_at = full_at.saturating_add(self.interval);
        }
        Some(chosen)
    }
}

/// 10 per second, burst 100, as in [`default_controller`](super::default_controller).
impl Default for TokenBucket {
    fn default() -> Self {
        Self::new(10.0, 100)
    }
}

impl<T> RateLimiter<T> for TokenBucket {
    fn next_delay(&mut self, _key: &T, attempt: &mut Attempt<'_>) -> Delay {
        let now = self.clock(attempt.now());
        match self.reserve(now) {
            Some(due) => Delay {
                after: Duration::from_nanos(due - now),
                tickets: smallvec![Ticket::new(due)],
            },
            None => self.max_wait.into(),
        }
    }

    fn give_back(&mut self, ticket: Ticket, now: Instant) {
        let now = self.clock(now);
        let due = ticket.value();
        let last = self.full_at.saturating_sub(self.interval * self.burst);
        if due <= now || due >= last {
            self.full_at = self.full_at.saturating_sub(self.interval);
        } else {
            self.returned.insert(due);
        }
    }
}
