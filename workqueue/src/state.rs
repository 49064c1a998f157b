//! What is under the lock of a queue: the core, those who wait, and whom to wake.

use std::hash::Hash;
use std::task::{Context, Poll, Waker};

use smallvec::SmallVec;
use tokio::time::Instant;

use crate::options::Added;
use crate::order::{Flow, Group};
use crate::pace::{PATIENCE, Pace};
use crate::queue::{Core, Ended, Lease, Taken, Verdict};
use crate::sync::now;
use crate::timer::Timer;
use crate::waiters::Waiters;

/// While more keys than that are ready, the clock is read for waiters that do not look in one operation of so many.
const STRIDE: usize = 8;
/// How long after the end of a delay a waiter that drives the timer has looked at the latest, if it is going to: the timer
/// goes off with the next tick of tokio's clock, a millisecond.
const LATE: u64 = 2_000_000;

pub(crate) type Wakes = SmallVec<[Waker; 4]>;

pub(crate) struct State<T> {
    /// Somebody waits for something: to be looked at after every operation.
    watched: bool,
    /// Somebody waits for something else than a key.
    watched_otherwise: bool,
    /// When the clock was last read, and whether that was in the present operation.
    seen: u64,
    fresh: bool,
    /// Operations since the clock was last worth reading, see [`STRIDE`].
    unread: usize,
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
            watched_otherwise: false,
            seen: 0,
            fresh: false,
            unread: 0,
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
    pub(crate) fn done(&mut self, lease: Lease) -> Option<Ended> {
        let now = self.clock();
        let core = &self.core;
        self.pace.finished(lease, || core.nanos(crate::sync::now()));
        self.core.done_at(lease, now)
    }

    pub(crate) fn finish(&mut self, lease: Lease, verdict: Verdict) -> Option<Ended> {
        let now = self.now();
        self.pace.finished(lease, || now);
        self.core.finish_at(lease, verdict, now)
    }

    pub(crate) fn has_room_for(&mut self, key: &T) -> bool {
        crate::bounded::fits(&mut self.core, self.capacity, key)
    }

    pub(crate) fn is_drained(&self) -> bool {
        self.core.running() == 0 && self.core.is_exhausted()
    }

    /// Registers a waiter that found nothing. Ready if it should look again.
    pub(crate) fn wait(
        &mut self,
        id: &mut Option<usize>,
        timer: &mut Timer,
        now: u64,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        self.watched = true;
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
        // One whose timer has gone off and that did not look is not relied on.
        let is_ahead = |set| self.core.nanos(set) > now;
        if self
            .timer
            .is_some_and(|(driver, set)| driver != me && is_ahead(set))
        {
            return Poll::Pending;
        }
        self.timer = Some((me, due));
        timer.poll_until(due, cx)
    }

    /// Takes a waiter out of [`next`](Self::next), and the timer from it.
    pub(crate) fn leave(&mut self, id: &mut Option<usize>) {
        if self.timer.is_some_and(|(driver, _)| Some(driver) == *id) {
            self.timer = None;
        }
        self.next.remove(id);
    }

    /// An operation begins.
    #[inline]
    pub(crate) fn begin(&mut self) {
        self.fresh = false;
    }

    /// Nobody waits for anything and no reservation came free.
    #[inline]
    pub(crate) fn is_quiet(&self) -> bool {
        !self.watched && !self.core.has_tickets()
    }

    /// Those who wait for keys have nothing to do with the operation, or enough of them are on their way: the ordinary
    /// case, and short.
    #[inline]
    pub(crate) fn is_settled(&mut self) -> bool {
        let plain = !self.watched_otherwise
            && !self.core.has_tickets()
            && !self.core.is_closed()
            && !self.core.has_delays();
        plain && self.wanted() <= self.next.coming()
    }

    /// Somebody is about to register among those who wait for something else than a key.
    pub(crate) fn watch(&mut self) {
        (self.watched, self.watched_otherwise) = (true, true);
    }

    /// Who has to look again after a change. While there are keys to take, some waiters are kept notified: few next to the
    /// keys, since each that takes one and leaves others passes the word on before it goes to work, and so does one that
    /// is dropped after it was notified. And whenever a delay runs and somebody waits, one waiter drives the timer or was
    /// notified and will.
    pub(crate) fn wakes(&mut self) -> Wakes {
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
            while self.room.coming() < room.min(self.room.len()) {
                wakes.extend(self.room.notify_one(None));
            }
        }
        if self.stop && !self.stops.is_empty() {
            wakes.extend(self.stops.notify_all());
        }
        self.watched_otherwise = !(self.drains.is_empty() && self.room.is_empty() && self.stops.is_empty());
        self.watched = self.watched_otherwise || !self.next.is_empty();
        wakes
    }

    fn wake_next(&mut self, wakes: &mut Wakes) {
        if self.core.is_exhausted() {
            if self.next.asleep() > 0 {
                wakes.extend(self.next.notify_all());
            }
            return;
        }
        let driver = self.timer.map(|(driver, _)| driver);
        let wanted = self.wanted();
        while self.next.coming() < wanted {
            wakes.extend(self.next.notify_one(driver));
            self.woken = if self.fresh { self.seen } else { self.now() };
        }
        let due = self.core.next_wake();
        if due.is_some() && self.timer.is_some_and(|(_, set)| self.is_overdue(set)) {
            // Its timer has gone off, and it does not look.
            self.timer = None;
        }
        match (self.timer, due) {
            (Some((driver, set)), Some(due)) if due < set => {
                self.timer = Some((driver, due));
                wakes.extend(self.next.notify(driver));
            }
            (None, Some(_)) if self.next.coming() == 0 => wakes.extend(self.next.notify_one(driver)),
            _ => {}
        }
    }

    /// Whether a waiter with a timer set for then had time to look. Not known without the present time; while delays run,
    /// every operation that matters to them has read it.
    fn is_overdue(&self, set: Instant) -> bool {
        self.fresh && self.core.nanos(set).saturating_add(LATE) < self.seen
    }

    /// In a burst the clock is not worth reading for each key.
    fn may_read_clock(&mut self, runnable: usize) -> bool {
        self.unread = (self.unread + 1) % STRIDE;
        self.fresh || runnable <= STRIDE || self.unread == 0
    }

    /// How many waiters have to be on their way to the keys there are.
    ///
    /// As long as runs are short, one: it has the next one woken when it comes, and may well be done with all keys by the
    /// time a second thread could be up. Where runs are long, one for one key, two for two, then one more whenever the
    /// keys double. A waiter whose task is kept busy by something else, or sits in its scheduler behind one that is, must
    /// not hold up the others: those that do not look for a while count as not on their way.
    fn wanted(&mut self) -> usize {
        let runnable = self.core.runnable();
        if runnable == 0 || self.next.asleep() == 0 {
            return self.next.coming();
        }
        if self.next.coming() > 0 && self.may_read_clock(runnable) {
            let now = if self.fresh { self.seen } else { self.now() };
            if now.saturating_sub(self.woken) > PATIENCE {
                self.next.pass_over();
            }
        }
        let worth = if self.pace.is_short() {
            1
        } else {
            (usize::BITS - runnable.leading_zeros()) as usize
        };
        worth.min(self.next.coming() + self.next.asleep())
    }
}
