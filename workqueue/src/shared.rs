//! What all handles of a queue share: the core under its mutex, those who wait, and the user's own code.

use std::fmt;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use crate::in_flight::DeadLetter;
use crate::order::{Flow, Group};
use crate::queue::{Lease, Tickets, Verdict};
use crate::rate_limit::{Attempt, Delay, RateLimiter};
use crate::state::State;
use crate::sync::{Mutex, MutexGuard, lock, now};
use crate::timer::Timer;

/// How long a key waits for which the rate limiter panicked.
pub const PANIC_DELAY: Duration = Duration::from_secs(1);

pub(crate) type FlowFn<T> = Box<dyn Fn(&T) -> Flow + Send + Sync>;
pub(crate) type GroupFn<T> = Box<dyn Fn(&T) -> Option<Group> + Send + Sync>;
pub(crate) type DeadLetterFn<T> = Box<dyn Fn(DeadLetter<T>) + Send + Sync>;

pub(crate) struct Shared<T> {
    state: Mutex<State<T>>,
    pacer: Mutex<Pacer<T>>,
    pub(crate) name: String,
    pub(crate) flow: Option<FlowFn<T>>,
    pub(crate) group: Option<GroupFn<T>>,
    pub(crate) dead_letter: Option<DeadLetterFn<T>>,
    pub(crate) max_attempts: u32,
    pub(crate) dead_letters: AtomicU64,
    pub(crate) panics: AtomicU64,
}

/// The limiter and its randomness, under a lock of their own: user code never runs under the queue's.
pub(crate) struct Pacer<T> {
    pub(crate) limiter: Box<dyn RateLimiter<T>>,
    pub(crate) rng: fastrand::Rng,
    pub(crate) jitter: bool,
}

impl<T: Clone + Eq + Hash> Shared<T> {
    pub(crate) fn new(state: State<T>, pacer: Pacer<T>, name: String) -> Self {
        Self {
            state: Mutex::new(state),
            pacer: Mutex::new(pacer),
            name,
            flow: None,
            group: None,
            dead_letter: None,
            max_attempts: u32::MAX,
            dead_letters: AtomicU64::new(0),
            panics: AtomicU64::new(0),
        }
    }

    /// Runs one operation under the lock, then wakes whom it concerns and returns what reservations it freed.
    #[inline]
    pub(crate) fn with<R>(&self, act: impl FnOnce(&mut State<T>) -> R) -> R {
        // Dropped after the lock.
        let unfinished = Unfinished { shared: self };
        let mut state = lock(&self.state);
        state.begin();
        let result = act(&mut state);
        std::mem::forget(unfinished);
        if !state.is_quiet() && !state.is_settled() {
            self.wake(state);
        }
        result
    }

    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let wakes = state.wakes();
        let tickets = state.core.take_tickets();
        drop(state);
        wakes.into_iter().for_each(Waker::wake);
        if !tickets.is_empty() {
            self.give_back(tickets);
        }
    }

    /// One poll of a waiter: what `take` gets at the present time, or `None` when the queue is closed and exhausted.
    #[inline]
    pub(crate) fn poll_take<R>(
        &self,
        id: &mut Option<usize>,
        timer: &mut Timer,
        cx: &mut Context<'_>,
        mut take: impl FnMut(&mut State<T>, u64) -> Option<R>,
    ) -> Poll<Option<R>> {
        self.with(|state| {
            loop {
                let now = state.clock();
                let taken = take(state, now);
                if taken.is_some() || state.core.is_exhausted() {
                    if id.is_some() {
                        state.leave(id);
                    }
                    return Poll::Ready(taken);
                }
                if state.wait(id, timer, now, cx).is_pending() {
                    return Poll::Pending;
                }
            }
        })
    }

    /// A waiter is dropped.
    pub(crate) fn leave(&self, id: &mut Option<usize>) {
        if id.is_some() {
            self.with(|state| state.leave(id));
        }
    }

    #[inline]
    pub(crate) fn class(&self, key: &T) -> (Option<Flow>, Option<Group>) {
        if self.flow.is_none() && self.group.is_none() {
            (None, None)
        } else {
            self.ask_class(key)
        }
    }

    fn ask_class(&self, key: &T) -> (Option<Flow>, Option<Group>) {
        let flow = self
            .flow
            .as_ref()
            .and_then(|flow| self.contain("flow", || flow(key)));
        let group = self
            .group
            .as_ref()
            .and_then(|group| self.contain("group", || group(key)).flatten());
        (flow, group)
    }

    /// Asks the limiter about a failure of `key`.
    pub(crate) fn delay(&self, key: &T, failures: u32) -> Delay {
        let mut pacer = lock(&self.pacer);
        let Pacer { limiter, rng, jitter } = &mut *pacer;
        let mut attempt = Attempt::new(failures, now());
        if *jitter {
            attempt = attempt.jitter(rng);
        }
        let delay = self.contain("rate limiter", || limiter.next_delay(key, &mut attempt));
        delay.unwrap_or_else(|| PANIC_DELAY.into())
    }

    fn give_back(&self, tickets: Tickets) {
        let mut pacer = lock(&self.pacer);
        let now = now();
        for ticket in tickets {
            let _ = self.contain("rate limiter", || pacer.limiter.give_back(ticket, now));
        }
    }

    pub(crate) fn forget_in_limiter(&self, key: &T) {
        let mut pacer = lock(&self.pacer);
        let _ = self.contain("rate limiter", || pacer.limiter.forget(key));
    }

    /// Ends a run that succeeded.
    #[inline]
    pub(crate) fn done(&self, key: &T, lease: Lease) {
        let ended = self.with(|state| state.done(lease));
        if ended.is_some_and(|ended| ended.forget) {
            self.forget_in_limiter(key);
        }
    }

    /// Ends a run.
    pub(crate) fn finish(&self, key: &T, lease: Lease, verdict: Verdict) {
        let ended = self.with(|state| state.finish(lease, verdict));
        if ended.is_some_and(|ended| ended.forget) {
            self.forget_in_limiter(key);
        }
    }

    /// Ends a run that failed; `hint` is the least to wait.
    pub(crate) fn fail(&self, key: &T, lease: Lease, hint: Duration) {
        let failures = self.with(|state| state.core.failures(lease)).unwrap_or_default();
        if failures.saturating_add(1) >= self.max_attempts {
            self.give_up(key, lease, failures + 1);
            return;
        }
        let mut delay = self.delay(key, failures);
        delay.after = delay.after.max(hint);
        self.finish(key, lease, Verdict::Retry(delay));
    }

    pub(crate) fn give_up(&self, key: &T, lease: Lease, attempts: u32) {
        self.finish(key, lease, Verdict::Forget);
        self.dead_letters.fetch_add(1, Ordering::Relaxed);
        if let Some(hook) = &self.dead_letter {
            let _ = self.contain("dead-letter hook", || {
                hook(DeadLetter {
                    key: key.clone(),
                    attempts,
                })
            });
        }
    }

    /// Runs user code; a panic in it is counted and logged and goes no further.
    pub(crate) fn contain<R>(&self, what: &'static str, run: impl FnOnce() -> R) -> Option<R> {
        let result = catch_unwind(AssertUnwindSafe(run));
        if result.is_err() {
            self.panics.fetch_add(1, Ordering::Relaxed);
            tracing::error!(queue = %self.name, what, "user code panicked");
        }
        result.ok()
    }
}

/// An operation in which the hash, comparison, clone or drop of a key panicked: those whom the part that was done concerns
/// are woken all the same.
struct Unfinished<'a, T: Clone + Eq + Hash> {
    shared: &'a Shared<T>,
}

impl<T: Clone + Eq + Hash> Drop for Unfinished<'_, T> {
    #[cold]
    fn drop(&mut self) {
        let state = lock(&self.shared.state);
        if !state.is_quiet() {
            self.shared.wake(state);
        }
    }
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
