//! Handing a key out and taking it back.

use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use super::Core;
use super::lines::First;
use super::slot::{Again, Class, NEVER, NONE, State};
use super::timers::FIRE_BATCH;
use crate::options::Priority;
use crate::rate_limit::{Delay, nanos};

/// Delayed keys made ready at a time when one is taken, and the keys in line from which on the rest may wait.
const TAKE_BATCH: usize = 32;

/// Names one run of one key. Only [`Core::take`] makes leases, and a lease that was finished is never valid again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lease {
    slot: u32,
    run: u32,
}

/// A key that was handed out.
#[derive(Debug)]
#[non_exhaustive]
pub struct Taken<T> {
    /// The key.
    pub key: T,
    /// To finish the run with.
    pub lease: Lease,
    /// Failures before this run whose delay was served.
    pub failures: u32,
    /// The lane it came from.
    pub priority: Priority,
    /// Bit set of those who asked for it, for [`Core::sources`].
    pub sources: u32,
}

/// How a run ended.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Verdict {
    /// It succeeded: failures are forgotten.
    Done,
    /// It succeeded, and the key is to run again after a while.
    Again(Duration),
    /// It failed: the key runs again after this delay.
    Retry(Delay),
    /// The key is gone, or given up: everything about it is forgotten.
    Forget,
}

/// What a finished run left behind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The key is wanted again.
    pub wanted: bool,
    /// A limiter was asked about the key, and its failures are forgotten now: the limiter should hear of it.
    pub forget: bool,
}

impl<T: Clone + Eq + Hash> Core<T> {
    /// Hands out the next key, or `None` when none may run.
    pub fn take(&mut self, now: Instant) -> Option<Taken<T>> {
        self.take_at(self.nanos(now))
    }

    #[inline]
    pub(crate) fn take_at(&mut self, now: u64) -> Option<Taken<T>> {
        // Few at a time: they come in order, and are taken while they are still in the cache.
        let due = self.wheel.may_be_due(now) && !self.closed && !self.may_leave_due();
        let mut more = due && self.fire_batch(now, TAKE_BATCH);
        if more && !self.is_one_line() {
            // One that is further behind may go first.
            more = self.fire_batch(now, FIRE_BATCH);
        }
        if self.stopped {
            return None;
        }
        loop {
            let Some(first) = self.lines.next(now, &self.slots) else {
                // A batch may consist of delays that ask for nothing, such as minimum intervals that are over.
                if !more {
                    return None;
                }
                more = self.fire_batch(now, TAKE_BATCH);
                continue;
            };
            let group = self.classes.of(first.index).group;
            if self.groups.is_full(group) {
                self.lines.remove(first.index, first.flow, &mut self.slots);
                self.block(first.index);
                continue;
            }
            return Some(self.start(first, group, now));
        }
    }

    /// Whether keys whose delay is over may stay where they are until a line that is long enough gets shorter. An add lets
    /// them go first.
    fn may_leave_due(&self) -> bool {
        self.is_one_line() && self.lines.len() >= TAKE_BATCH
    }

    /// Whether keys whose delay ends come last in line: not if there are several, nor if the gate of a key may open that
    /// was wanted before.
    fn is_one_line(&self) -> bool {
        !self.lanes_used && self.classes.are_plain() && self.parked_keys == 0
    }

    #[inline]
    fn start(&mut self, first: First, group: u32, now: u64) -> Taken<T> {
        let index = first.index;
        // User code first: if cloning panics, the key is still in line.
        let key = self.slots[index as usize]
            .key
            .clone()
            .expect("a slot in line is occupied");
        // Zero means not running. A lease would have to outlive 2³² runs to be mistaken for another.
        self.runs = self.runs.checked_add(1).unwrap_or(1);
        self.lines.start(first, &mut self.slots);
        self.groups.start(group);
        let tail = self.running_tail;
        let slot = &mut self.slots[index as usize];
        slot.state = State::Running;
        slot.again = Again::No;
        slot.run = self.runs;
        slot.started = now;
        slot.run_priority = slot.priority;
        (slot.prev, slot.next) = (tail, NONE);
        self.counters
            .started(now.saturating_sub(slot.at), now, self.durations);
        let taken = Taken {
            key,
            lease: Lease {
                slot: index,
                run: self.runs,
            },
            failures: self
                .extras
                .get(slot.extra as usize)
                .map_or(0, |extra| extra.failures),
            priority: slot.priority,
            sources: std::mem::take(&mut slot.sources),
        };
        match tail {
            NONE => self.running_head = index,
            tail => self.slots[tail as usize].next = index,
        }
        self.running_tail = index;
        taken
    }

    /// Takes a key back; `None` if the lease is not valid, in which case nothing happens.
    pub fn finish(&mut self, lease: Lease, verdict: Verdict, now: Instant) -> Option<Ended> {
        let now = self.nanos(now);
        if matches!(verdict, Verdict::Done) {
            self.done_at(lease, now)
        } else {
            self.finish_at(lease, verdict, now)
        }
    }

    /// [`finish`](Self::finish) for the ordinary case, with a short way for the most ordinary: nobody wants the key again
    /// and nothing has to be remembered of it.
    #[inline]
    pub(crate) fn done_at(&mut self, lease: Lease, now: u64) -> Option<Ended> {
        let index = lease.slot;
        let slot = self.slots.get(index as usize)?;
        let ordinary = slot.run == lease.run
            && slot.again == Again::No
            && slot.extra == NONE
            && slot.timer == 0
            && self.remember == 0
            && self.classes.are_plain()
            && (!self.wheel.may_be_due(now) || self.may_leave_due());
        if !ordinary {
            return self.finish_at(lease, Verdict::Done, now);
        }
        self.counters.finished(slot.started, now, self.durations);
        self.stop_running(index);
        self.remove_plain(index);
        Some(Ended::default())
    }

    pub(crate) fn finish_at(&mut self, lease: Lease, verdict: Verdict, now: u64) -> Option<Ended> {
        self.fire_due(now);
        let index = lease.slot;
        let slot = self
            .slots
            .get(index as usize)
            .filter(|slot| slot.run == lease.run)?;
        debug_assert_eq!(slot.state, State::Running, "a valid lease names a running key");
        let again = slot.again;
        let Class { flow, group } = self.classes.of(index);
        self.counters.finished(slot.started, now, self.durations);
        self.stop_running(index);
        self.set_state(index, State::Idle);
        self.lines.finish(flow);
        if group != NONE {
            for released in self.groups.finish(group) {
                self.enter_line(released);
            }
        }
        let forget = self.settle_failures(index, &verdict);
        let wanted = match again {
            Again::Now => {
                self.counters.dirty -= 1;
                if matches!(verdict, Verdict::Again(_) | Verdict::Retry(_)) {
                    self.counters.retries += 1;
                }
                if let Verdict::Retry(delay) = verdict {
                    // An event overtook the backoff: it is not served, so it does not count.
                    self.free_tickets(Some(delay));
                }
                self.slots[index as usize].again = Again::No;
                self.line_up(index);
                true
            }
            Again::No | Again::At => self.finish_later(index, verdict, again == Again::At, now),
        };
        Some(Ended { wanted, forget })
    }

    /// A run ended and no event came meanwhile, at most one that is delayed.
    fn finish_later(&mut self, index: u32, verdict: Verdict, asked: bool, now: u64) -> bool {
        let (delay, backoff) = match verdict {
            Verdict::Done | Verdict::Forget => (None, None),
            Verdict::Again(after) => (Some(nanos(after)), None),
            Verdict::Retry(delay) => (Some(nanos(delay.after)), Some(delay)),
        };
        let slot = &mut self.slots[index as usize];
        slot.again = Again::No;
        if !asked {
            slot.priority = slot.run_priority;
        }
        let Some(delay) = delay else {
            if !asked {
                self.settle(index, now);
                return false;
            }
            self.set_state(index, State::Delayed);
            return true;
        };
        self.counters.retries += 1;
        let interval = if self.min_interval > 0 {
            slot.started.saturating_add(self.min_interval)
        } else {
            0
        };
        let at = now.saturating_add(delay).max(interval);
        if asked && slot.at < at {
            self.set_state(index, State::Delayed);
            self.free_tickets(backoff);
            return true;
        }
        slot.priority = slot.priority.min(slot.run_priority);
        self.skip_delay(index);
        self.note_backoff(index, backoff);
        if at <= now && !self.closed {
            self.disarm(index);
            self.serve_delay(index);
            self.want(index, now);
        } else {
            self.set_state(index, State::Delayed);
            self.delay_until(index, at, now);
        }
        true
    }

    /// Failures served before the run of `lease`; `None` for a lease that is not valid.
    #[must_use]
    pub fn failures(&self, lease: Lease) -> Option<u32> {
        let slot = self.slots.get(lease.slot as usize)?;
        (slot.run == lease.run).then(|| {
            self.extras
                .get(slot.extra as usize)
                .map_or(0, |extra| extra.failures)
        })
    }

    /// Forgets the failures unless the run failed. Returns whether a limiter has to hear of it.
    fn settle_failures(&mut self, index: u32, verdict: &Verdict) -> bool {
        let slot = &mut self.slots[index as usize];
        if matches!(verdict, Verdict::Forget) {
            slot.started = NEVER;
        }
        if matches!(verdict, Verdict::Retry(_)) {
            return false;
        }
        let Some(extra) = self.extras.get_mut(slot.extra as usize) else {
            return false;
        };
        if extra.backing_off && matches!(verdict, Verdict::Done) {
            // Rate-limited while it ran, as client-go's users do it: the failure stands.
            return false;
        }
        extra.failures = 0;
        std::mem::take(&mut extra.limited)
    }

    #[inline]
    fn stop_running(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        let (prev, next) = (slot.prev, slot.next);
        // The lease is spent.
        slot.run = 0;
        match prev {
            NONE => self.running_head = next,
            prev => self.slots[prev as usize].next = next,
        }
        match next {
            NONE => self.running_tail = prev,
            next => self.slots[next as usize].prev = prev,
        }
    }
}
