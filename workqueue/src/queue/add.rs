//! Adding a key.

use std::hash::{BuildHasher, Hash};
use tokio::time::Instant;

use super::slot::{Again, NEVER, NONE, State};
use super::table::tag;
use super::{Core, Request};
use crate::options::{Added, Merge, Priority};
use crate::order::{Flow, Group};
use crate::rate_limit::{Delay, nanos};

/// The flow and the group of a key.
pub(crate) type Class = (Option<Flow>, Option<Group>);

/// When an add wants its key to run.
struct Wanted {
    at: u64,
    /// A limiter's delay that sets `at`.
    backoff: Option<Delay>,
    debounced: bool,
}

impl<T: Clone + Eq + Hash> Core<T> {
    /// Asks for a run of `key`. Ignored once the queue is closed.
    pub fn add(&mut self, key: T, request: Request, now: Instant) -> Added {
        self.add_at(key, request, self.nanos(now))
    }

    pub(crate) fn add_at(&mut self, key: T, mut request: Request, now: u64) -> Added {
        self.fire_due(now);
        if self.closed {
            self.free_tickets(request.limited);
            return Added::Closed;
        }
        if request.after.is_some() || request.limited.is_some() {
            self.counters.retries += 1;
        }
        if let Some(interval) = request.min_interval {
            if self.remember == 0 {
                self.date_running(now);
            }
            self.remember = self.remember.max(nanos(interval));
        }
        if request.priority != Priority::default() {
            self.lanes_used = true;
        }
        let source = self.source_bit(request.source);
        let tag = tag(self.hasher.hash_one(&key));
        let (index, new) = self.find_or_insert(key, tag, (request.flow, request.group));
        let slot = &mut self.slots[index as usize];
        slot.sources |= source;
        let debounced = !request.at_once && request.debounce.or(self.debounce).is_some();
        if new && request.after.is_none() && request.limited.is_none() && !debounced {
            // The ordinary case, and what the general one comes to.
            slot.priority = request.priority;
            self.want(index, now);
            return Added::New;
        }
        if request.limited.is_some() {
            self.extra(index).limited = true;
        }
        self.merge(index, &mut request, now)
    }

    /// Starts matter from now on. Of runs that started while they did not, and the clock was not read, the best that is
    /// known is that they have not started since.
    fn date_running(&mut self, now: u64) {
        let mut index = self.running_head;
        while let Some(slot) = self.slots.get_mut(index as usize) {
            if slot.started == 0 {
                slot.started = now;
                self.counters.starts += u128::from(now);
            }
            index = slot.next;
        }
    }

    /// [`add`](Self::add) without options. The clock is read only where the time matters: not for a key that waits.
    #[inline]
    pub(crate) fn add_plain(&mut self, key: T, class: Class, now: impl FnOnce(&Self) -> u64) -> Added {
        if self.timed || self.remember > 0 || !self.wheel.is_idle() {
            let (now, (flow, group)) = (now(self), class);
            return self.add_at(
                key,
                Request {
                    flow,
                    group,
                    ..Request::default()
                },
                now,
            );
        }
        if self.closed {
            return Added::Closed;
        }
        let tag = tag(self.hasher.hash_one(&key));
        let (index, new) = self.find_or_insert(key, tag, class);
        if new {
            let now = if self.durations { now(self) } else { 0 };
            self.want(index, now);
            return Added::New;
        }
        let slot = &self.slots[index as usize];
        let waits = matches!(slot.state, State::Ready | State::Blocked | State::Parked);
        if waits && slot.priority <= Priority::Normal {
            return Added::Merged;
        }
        let now = if self.durations { now(self) } else { 0 };
        self.merge(index, &mut Request::default(), now)
    }

    fn merge(&mut self, index: u32, request: &mut Request, now: u64) -> Added {
        let (merge, priority) = (request.merge, request.priority);
        let wanted = self.wanted(index, request, now);
        let slot = &mut self.slots[index as usize];
        match slot.state {
            State::Idle => {
                slot.priority = priority;
                self.order(index, wanted, now);
                Added::New
            }
            State::Delayed => {
                slot.priority = slot.priority.min(priority);
                self.reschedule(index, wanted, merge, now);
                Added::Merged
            }
            State::Ready | State::Blocked | State::Parked => {
                let current = slot.priority;
                if merge != Merge::Earliest && wanted.at > now {
                    self.put_off(index, current.min(priority), wanted, now);
                } else {
                    self.free_tickets(wanted.backoff);
                    if priority < current {
                        self.raise(index, priority);
                    }
                }
                Added::Merged
            }
            State::Running => self.add_running(index, wanted, merge, priority, now),
        }
    }

    /// A key that neither waits nor runs gets its run ordered.
    fn order(&mut self, index: u32, wanted: Wanted, now: u64) {
        if wanted.at <= now {
            self.note_backoff(index, wanted.backoff);
            self.serve_delay(index);
            self.disarm(index);
            self.want(index, now);
            return;
        }
        self.note_backoff(index, wanted.backoff);
        if wanted.debounced {
            self.extra(index).burst.get_or_insert(now);
        }
        self.set_state(index, State::Delayed);
        self.delay_until(index, wanted.at, now);
    }

    /// An add meets a delay.
    fn reschedule(&mut self, index: u32, wanted: Wanted, merge: Merge, now: u64) {
        let slot = &self.slots[index as usize];
        let burst = slot.extra != NONE && self.extras[slot.extra as usize].burst.is_some();
        let moves = match merge {
            // A debounced add prolongs its own burst.
            _ if burst && wanted.debounced => true,
            Merge::Earliest => wanted.at < slot.at,
            Merge::Latest => wanted.at > slot.at,
            Merge::Replace => true,
        };
        if !moves {
            self.free_tickets(wanted.backoff);
            return;
        }
        if !(burst && wanted.debounced) {
            self.skip_delay(index);
        }
        self.order(index, wanted, now);
    }

    /// A ready key goes back to waiting.
    fn put_off(&mut self, index: u32, priority: Priority, wanted: Wanted, now: u64) {
        self.leave_line(index);
        self.slots[index as usize].priority = priority;
        self.order(index, wanted, now);
    }

    /// A waiting key gets to the end of a more urgent lane.
    fn raise(&mut self, index: u32, priority: Priority) {
        self.leave_line(index);
        let slot = &mut self.slots[index as usize];
        slot.priority = priority;
        slot.seq = self.next_seq;
        self.next_seq += 1;
        self.line_up(index);
    }

    fn add_running(
        &mut self,
        index: u32,
        wanted: Wanted,
        merge: Merge,
        priority: Priority,
        now: u64,
    ) -> Added {
        let slot = &mut self.slots[index as usize];
        let burst = self
            .extras
            .get(slot.extra as usize)
            .is_some_and(|extra| extra.burst.is_some());
        let (again, current) = (slot.again, if slot.again == Again::Now { now } else { slot.at });
        slot.priority = if again == Again::No {
            priority
        } else {
            slot.priority.min(priority)
        };
        let moves = match merge {
            _ if again == Again::No => true,
            _ if again == Again::At && burst && wanted.debounced => true,
            Merge::Earliest => wanted.at < current,
            Merge::Latest => wanted.at > current,
            Merge::Replace => true,
        };
        let added = if again == Again::No {
            Added::New
        } else {
            Added::Merged
        };
        if !moves || again == Again::Now && wanted.at <= now {
            self.free_tickets(wanted.backoff);
            return added;
        }
        if again == Again::Now {
            self.counters.dirty -= 1;
        }
        if !(burst && wanted.debounced) {
            self.skip_delay(index);
        }
        if wanted.at <= now {
            self.free_tickets(wanted.backoff);
            self.disarm(index);
            let priority = self.slots[index as usize].priority;
            self.want_again(index, priority, now);
            return added;
        }
        self.note_backoff(index, wanted.backoff);
        if wanted.debounced {
            self.extra(index).burst.get_or_insert(now);
        }
        self.slots[index as usize].again = Again::At;
        self.delay_until(index, wanted.at, now);
        added
    }

    fn wanted(&mut self, index: u32, request: &mut Request, now: u64) -> Wanted {
        let slot = &self.slots[index as usize];
        let mut wanted = Wanted {
            at: now,
            backoff: None,
            debounced: false,
        };
        let after = request.after.map(|after| now.saturating_add(nanos(after)));
        if let Some(limited) = request.limited.take() {
            let at = now.saturating_add(nanos(limited.after));
            if after.is_some_and(|after| after < at) {
                self.freed.extend(limited.tickets);
            } else {
                (wanted.at, wanted.backoff) = (at, Some(limited));
            }
        }
        if wanted.backoff.is_none() {
            if let Some(after) = after {
                wanted.at = after;
            } else if let Some(debounce) = request.debounce.or(self.debounce).filter(|_| !request.at_once) {
                let burst = self
                    .extras
                    .get(slot.extra as usize)
                    .and_then(|extra| extra.burst)
                    .unwrap_or(now);
                let last = burst.saturating_add(nanos(debounce.max));
                (wanted.at, wanted.debounced) = (now.saturating_add(nanos(debounce.quiet)).min(last), true);
            }
        }
        if !request.at_once && slot.started != NEVER {
            let interval = request.min_interval.map_or(self.min_interval, nanos);
            if interval > 0 {
                wanted.at = wanted.at.max(slot.started.saturating_add(interval));
            }
        }
        wanted
    }

    /// Remembers the backoff a key is about to serve.
    pub(super) fn note_backoff(&mut self, index: u32, backoff: Option<Delay>) {
        if let Some(backoff) = backoff {
            let extra = self.extra(index);
            extra.backing_off = true;
            extra.limited = true;
            extra.tickets = backoff.tickets;
        }
    }

    pub(super) fn free_tickets(&mut self, delay: Option<Delay>) {
        if let Some(delay) = delay {
            self.freed.extend(delay.tickets);
        }
    }
}
