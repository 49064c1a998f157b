//! Limiters made of limiters.

use std::time::Duration;

use tokio::time::Instant;

use super::{Attempt, Delay, RateLimiter, Ticket};

/// Bits of a ticket's path per level.
const PATH_BITS: u32 = 8;

/// The longest of several delays; every limiter is charged. client-go: `MaxOfRateLimiter`.
pub struct MaxOf<T> {
    limiters: Vec<Box<dyn RateLimiter<T>>>,
}

impl<T> MaxOf<T> {
    /// No limiter yet: no delay.
    #[must_use]
    pub fn new() -> Self {
        Self { limiters: Vec::new() }
    }

    /// Adds one. Only the first 255 get their reservations back.
    #[must_use]
    pub fn and(mut self, limiter: impl RateLimiter<T> + 'static) -> Self {
        self.limiters.push(Box::new(limiter));
        self
    }
}

impl<T> Default for MaxOf<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> std::fmt::Debug for MaxOf<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MaxOf")
            .field("limiters", &self.limiters.len())
            .finish()
    }
}

impl<T> RateLimiter<T> for MaxOf<T> {
    fn next_delay(&mut self, key: &T, attempt: &mut Attempt<'_>) -> Delay {
        let mut longest = Delay::default();
        for (index, limiter) in self.limiters.iter_mut().enumerate() {
            let delay = limiter.next_delay(key, attempt);
            longest.after = longest.after.max(delay.after);
            longest
                .tickets
                .extend(delay.tickets.into_iter().filter_map(|ticket| nest(ticket, index)));
        }
        longest
    }

    fn give_back(&mut self, ticket: Ticket, now: Instant) {
        let index = (ticket.path & ((1 << PATH_BITS) - 1)) as usize;
        if let Some(limiter) = index
            .checked_sub(1)
            .and_then(|index| self.limiters.get_mut(index))
        {
            limiter.give_back(
                Ticket {
                    path: ticket.path >> PATH_BITS,
                    value: ticket.value,
                },
                now,
            );
        }
    }

    fn forget(&mut self, key: &T) {
        for limiter in &mut self.limiters {
            limiter.forget(key);
        }
    }
}

/// Prefixes a ticket's path with the limiter it came from; `None` when the path has no room.
fn nest(ticket: Ticket, index: usize) -> Option<Ticket> {
    let step = u64::try_from(index + 1)
        .ok()
        .filter(|step| *step < 1 << PATH_BITS)?;
    (ticket.path >> (u64::BITS - PATH_BITS) == 0).then_some(Ticket {
        path: ticket.path << PATH_BITS | step,
        value: ticket.value,
    })
}

/// Another limiter's delay, but never more than `max`. client-go: `WithMaxWaitRateLimiter`.
///
/// When the delay is cut short, the reservations that went with it are returned.
#[derive(Clone, Debug)]
pub struct MaxWait<L> {
    limiter: L,
    max: Duration,
}

impl<L> MaxWait<L> {
    /// Caps the delays of `limiter`.
    #[must_use]
    pub fn new(limiter: L, max: Duration) -> Self {
        Self { limiter, max }
    }
}

impl<T, L: RateLimiter<T>> RateLimiter<T> for MaxWait<L> {
    fn next_delay(&mut self, key: &T, attempt: &mut Attempt<'_>) -> Delay {
        let delay = self.limiter.next_delay(key, attempt);
        if delay.after <= self.max {
            return delay;
        }
        for ticket in delay.tickets {
            self.limiter.give_back(ticket, attempt.now());
        }
        self.max.into()
    }

    fn give_back(&mut self, ticket: Ticket, now: Instant) {
        self.limiter.give_back(ticket, now);
    }

    fn forget(&mut self, key: &T) {
        self.limiter.forget(key);
    }
}
