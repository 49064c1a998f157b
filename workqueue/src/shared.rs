//! What all handles of a queue share: the core under its mutex, those who wait, and the user's own code.

use std::fmt;
use std::hash::Hash;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::in_flight::DeadLetter;
use crate::options::Added;
use crate::order::{Flow, Group};
use crate::pace::{PATIENCE, Pace};
use crate::queue::{Core, Ended, Lease, Taken, Tickets, Verdict};
use crate::rate_limit::{Attempt, Delay, RateLimiter};
use crate::sync::{Mutex, MutexGuard, lock, now};
use crate::timer::Timer;
use crate::waiters::Waiters;

/// How long a key waits for which the rate limiter panicked.
pub const PANIC_DELAY: Duration = Duration::from_secs(1);

pub(crate) type FlowFn<T> = Box<dyn Fn(&T) -> Flow + Send + Sync>;
pub(crate) type GroupFn<T> = Box<dyn Fn(&T) -> Option<Group> + Send + Sync>;
pub(crate) type DeadLetterFn<T> = Box<dyn Fn(DeadLetter<T>) + Send + Sync>;
type Wakes = SmallVec<[Waker; 4]>;

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

pub(crate) struct State<T> {
    /// Somebody waits for something: to be looked at after every operation.
    watched: bool,
    /// When the clock was last read, and whether that was in the present operation.
    seen: u64,
    fresh: bool,
    pace: Pace,
    /// When a waiter in [`next`](crate::WorkQueue::next) was last woken for a key.
    woken: u64,
    pub(crate) core: Core<T>,
    /// Those in [`next`](crate::WorkQueue::next).
    pub(crate) next: Waiters,
    /// Which of them drives the timer, and for when it is set.
    timer: Option<(usize, Instant)>,
    /// Those in [`drain`](crate::WorkQueue::drain).
    pub(crate) drains: Waiters,
    /// Those in [`add_wait`](crate::WorkQueue::add_wait).
    pub(crate) room: Waiters,
    pub(crate) capacity: usize,
    /// Those who watch for the order to stop.
    pub(crate) stops: Waiters,
    /// In-flight work was told to stop.
    pub(crate) stop: bool,
}

impl<T: Clone + Eq + Hash> State<T> {
    pub(crate) fn new(core: Core<T>, capacity: usize) -> Self {
        Self {
            watched: false,
            seen: 0,
            fresh: false,
            pace: Pace::default(),
            woken: 0,
            core,
            next: Waiters::default(),
            timer: None,
            drains: Waiters::default(),
            room: Waiters::default(),
            capacity,
            stops: Waiters::default(),
            stop: false,
        }
    }

    /// The present time, in the core's terms.
    #[inline]
    pub(crate) fn now(&mut self) -> u64 {
        self.seen = self.core.nanos(now());
        self.fresh = true;
        self.seen
    }

    /// The present time if it matters, see [`Builder::durations`](crate::Builder::durations).
    #[inline]
    pub(crate) fn clock(&mut self) -> u64 {
        if self.core.needs_clock() { self.now() } else { 0 }
    }

    /// [`Core::add`] of a plain add; the clock is read only if it matters.
    #[inline]
    pub(crate) fn add(&mut self, key: T, class: (Option<Flow>, Option<Group>)) -> Added {
        let (seen, fresh) = (&mut self.seen, &mut self.fresh);
        self.core.add_plain(key, class, |core| {
            (*seen, *fresh) = (core.nanos(now()), true);
            *seen
        })
    }

    #[inline]
    pub(crate) fn take(&mut self, now: u64) -> Option<Taken<T>> {
        let taken = self.core.take_at(now)?;
        let core = &self.core;
        self.pace.started(taken.lease, || core.nanos(crate::sync::now()));
        Some(taken)
    }

    #[inline]
    fn done(&mut self, lease: Lease) -> Option<Ended> {
        let now = self.clock();
        let core = &self.core;
        self.pace.finished(lease, || core.nanos(crate::sync::now()));
        self.core.done_at(lease, now)
    }

    fn finish(&mut self, lease: Lease, verdict: Verdict) -> Option<Ended> {
        let now = self.now();
        self.pace.finished(lease, || now);
        self.core.finish_at(lease, verdict, now)
    }

    pub(crate) fn has_room_for(&self, key: &T) -> bool {
        crate::bounded::fits(&self.core, self.capacity, key)
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.core.running() == 0 && self.core.is_exhausted()
    }

    /// Registers a waiter that found nothing. Ready if it should look again.
    fn wait(
        &mut self,
        id: &mut Option<usize>,
        timer: &mut Timer,
        now: u64,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.watch();
        self.next.register(id, cx);
        let me = id.unwrap_or_default();
        let Some(due) = self.core.next_wake() else {
            // What this waiter was set for is gone: whoever brings the next delay must find nobody driving,
            // or a driver set for the past would be trusted with it.
            self.timer = self.timer.filter(|(driver, _)| *driver != me);
            return Poll::Pending;
        };
        if self.core.nanos(due) <= now {
            return Poll::Ready(());
        }
        if self.timer.is_some_and(|(driver, _)| driver != me) {
            return Poll::Pending;
        }
        self.timer = Some((me, due));
        timer.poll_until(due, cx)
    }

    /// Takes a waiter out of [`next`](Self::next), and the timer from it.
    fn leave(&mut self, id: &mut Option<usize>) {
        if self.timer.is_some_and(|(driver, _)| Some(driver) == *id) {
            self.timer = None;
        }
        self.next.remove(id);
    }

    /// Nobody waits for anything and no reservation came free.
    #[inline]
    fn is_quiet(&self) -> bool {
        !self.watched && !self.core.has_tickets()
    }

    /// Somebody is about to register among the waiters.
    pub(crate) fn watch(&mut self) {
        self.watched = true;
    }

    /// Who has to look again after a change. While there are keys to take, some waiters are kept notified: few next to the
    /// keys, since each that takes one and leaves others passes the word on before it goes to work, and so does one that
    /// is dropped after it was notified. And whenever a delay runs and somebody waits, one waiter drives the timer or was
    /// notified and will.
    fn wakes(&mut self) -> Wakes {
        let mut wakes = Wakes::new();
        if !self.next.is_empty() {
            self.wake_next(&mut wakes);
        }
        if !self.drains.is_empty() && (self.stop || self.is_drained()) {
            wakes.extend(self.drains.notify_all());
        }
        if !self.room.is_empty() {
            let room = if self.core.is_closed() {
                usize::MAX
            } else {
                self.capacity.saturating_sub(self.core.keys())
            };
            while self.room.notified() < room.min(self.room.len()) {
                wakes.extend(self.room.notify_one(None));
            }
        }
        if self.stop && !self.stops.is_empty() {
            wakes.extend(self.stops.notify_all());
        }
        self.watched = !(self.next.is_empty()
            && self.drains.is_empty()
            && self.room.is_empty()
            && self.stops.is_empty());
        wakes
    }

    fn wake_next(&mut self, wakes: &mut Wakes) {
        if self.core.is_exhausted() {
            if self.next.notified() < self.next.len() {
                wakes.extend(self.next.notify_all());
            }
            return;
        }
        let driver = self.timer.map(|(driver, _)| driver);
        let wanted = self.wanted().min(self.next.len());
        while self.next.notified() < wanted {
            wakes.extend(self.next.notify_one(driver));
            self.woken = if self.fresh { self.seen } else { self.now() };
        }
        match (self.timer, self.core.next_wake()) {
            (Some((driver, set)), Some(due)) if due < set => {
                self.timer = Some((driver, due));
                wakes.extend(self.next.notify(driver));
            }
            (None, Some(_)) if self.next.notified() == 0 => wakes.extend(self.next.notify_one(None)),
            _ => {}
        }
    }

    /// How many waiters have to be on their way to the keys there are.
    ///
    /// As long as runs are short, one: it has the next one woken when it comes, and may well be done with all keys by the
    /// time a second thread could be up. A waiter whose task is kept busy by something else, or sits in its scheduler
    /// behind one that is, must not hold up the others: if it does not look for a while, another is woken. Where runs are
    /// long, one for one key, two for two, then one more whenever the keys double.
    fn wanted(&mut self) -> usize {
        let (runnable, coming) = (self.core.runnable(), self.next.notified());
        if !self.pace.is_short() {
            return (usize::BITS - runnable.leading_zeros()) as usize;
        }
        if coming == 0 || coming >= runnable {
            return runnable.min(1);
        }
        let now = if self.fresh { self.seen } else { self.now() };
        coming + usize::from(now.saturating_sub(self.woken) > PATIENCE)
    }
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
        let mut state = lock(&self.state);
        let result = act(&mut state);
        if !state.is_quiet() {
            self.wake(state);
        }
        result
    }

    fn wake(&self, mut state: MutexGuard<'_, State<T>>) {
        let wakes = state.wakes();
        let tickets = state.core.take_tickets();
        state.fresh = false;
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

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WorkQueue")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
