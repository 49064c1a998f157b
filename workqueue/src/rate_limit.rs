//! Rate limiters: how long a key waits before it is tried again.

mod bucket;
mod exponential;
mod fast_slow;
mod max_of;

pub use bucket::TokenBucket;
pub use exponential::Exponential;
pub use fast_slow::FastSlow;
pub use max_of::{MaxOf, MaxWait};

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

/// Says how long a key has to wait before its next try. client-go: `workqueue.TypedRateLimiter`, whose `When` this is.
///
/// The queue counts the failures of each key and forgets them with the key, so a limiter needs no map of its own:
/// everything it has to know about a key comes with the [`Attempt`]. A limiter that keeps state per key nevertheless is
/// told when to [`forget`](Self::forget).
///
/// Limiters are called with none of the queue's locks held but the one around the limiter itself, which most operations of
/// the queue may need to give reservations back: a limiter must not call the queue it works for. A limiter that panics is contained: the key waits [`PANIC_DELAY`](crate::PANIC_DELAY).
pub trait RateLimiter<T>: Send {
    /// How long `key` has to wait. Called once per failure.
    fn next_delay(&mut self, key: &T, attempt: &mut Attempt<'_>) -> Delay;

    /// A reservation made by [`next_delay`](Self::next_delay) is not needed: the key ran, or was dropped, without it.
    fn give_back(&mut self, ticket: Ticket, now: Instant) {
        let _ = (ticket, now);
    }

    /// The key succeeded or is gone.
    fn forget(&mut self, key: &T) {
        let _ = key;
    }
}

impl<T, L: RateLimiter<T> + ?Sized> RateLimiter<T> for Box<L> {
    fn next_delay(&mut self, key: &T, attempt: &mut Attempt<'_>) -> Delay {
        (**self).next_delay(key, attempt)
    }

    fn give_back(&mut self, ticket: Ticket, now: Instant) {
        (**self).give_back(ticket, now);
    }

    fn forget(&mut self, key: &T) {
        (**self).forget(key);
    }
}

/// What a limiter is told about the try that failed.
#[derive(Debug)]
pub struct Attempt<'a> {
    failures: u32,
    now: Instant,
    jitter: Option<&'a mut fastrand::Rng>,
}

impl<'a> Attempt<'a> {
    /// A try after `failures` earlier ones whose delay was served, without jitter.
    #[must_use]
    pub fn new(failures: u32, now: Instant) -> Self {
        Self {
            failures,
            now,
            jitter: None,
        }
    }

    /// The same with jitter drawn from `rng`.
    #[must_use]
    pub fn jitter(mut self, rng: &'a mut fastrand::Rng) -> Self {
        self.jitter = Some(rng);
        self
    }

    /// Failures before this one whose delay was served: 0 for the first.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The present time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.now
    }

    /// `delay`, or with jitter on a random time from half of it (but at least `floor`) to all of it, so that keys that
    /// failed together do not come back together.
    pub fn spread(&mut self, delay: Duration, floor: Duration) -> Duration {
        let Some(rng) = self.jitter.as_deref_mut() else {
            return delay;
        };
        let low = nanos(delay / 2).max(nanos(floor));
        let high = nanos(delay);
        if low >= high {
            delay
        } else {
            Duration::from_nanos(rng.u64(low..=high))
        }
    }
}

/// A limiter's answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delay {
    /// How long to wait.
    pub after: Duration,
    /// Reservations that go with it, to be given back if the key does not wait that long.
    pub tickets: SmallVec<[Ticket; 1]>,
}

impl From<Duration> for Delay {
    fn from(after: Duration) -> Self {
        Self {
            after,
            tickets: SmallVec::new(),
        }
    }
}

/// A reservation in some limiter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Which limiter inside a [`MaxOf`], one byte per level, innermost last.
    path: u64,
    value: u64,
}

impl Ticket {
    /// A ticket with a meaning of its limiter's own.
    #[must_use]
    pub fn new(value: u64) -> Self {
        Self { path: 0, value }
    }

    /// What the limiter put into it.
    #[must_use]
    pub fn value(&self) -> u64 {
        self.value
    }
}

/// The limiter controllers use unless told otherwise: the larger of 5 ms doubled per failure up to 1000 s, and a bucket
/// of 100 refilled at 10 per second. client-go: `DefaultTypedControllerRateLimiter`.
#[must_use]
pub fn default_controller<T>() -> MaxOf<T> {
    MaxOf::new()
        .and(Exponential::default())
        .and(TokenBucket::default())
}

#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    let whole = duration.as_secs().saturating_mul(1_000_000_000);
    whole.saturating_add(u64::from(duration.subsec_nanos()))
}
