//! The queue as a plain data structure: no clock, no locks, no tasks.
//!
//! [`Core`] is what [`WorkQueue`](crate::WorkQueue) puts under its mutex. It is public for whoever brings a runtime of
//! their own, and for tests that step through time.
//!
//! # Ordering & consistency
//! A key has one entry and one state: idle, delayed, ready, blocked by its group, parked, or running; while it runs the
//! entry also remembers whether it is wanted once more. Every operation is one `&mut self` call that takes the present
//! time, so any order of calls is a legal history. Among keys that may run, within one lane and flow, the one that was
//! wanted first runs first; a key wanted again while it ran keeps the place of that add, and a delayed key gets its place
//! when its delay is over.
//!
//! # Memory
//! One slab entry per key that is wanted, running, parked, or remembered for its minimum interval, plus eight bytes in a
//! table, and eight more once any key has a flow or a group; keys in line are linked through the slab. An entry is freed
//! with the last reason to keep it, and its slot reused.

mod add;
mod groups;
mod hold;
mod lines;
mod run;
mod slot;
mod table;
mod timers;
mod view;

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use slab::Slab;
use smallvec::SmallVec;
use tokio::time::Instant;

use crate::delay::Wheel;
use crate::options::{Debounce, Merge, Priority};
use crate::order::{Flow, Group, Order};
use crate::rate_limit::{Delay, Ticket, nanos};
use crate::stats::Counters;

use groups::Groups;
use lines::Lines;
use slot::{Again, Class, Classes, Extra, NEVER, NONE, Slot, State, UNNAMED};
use table::{Table, tag};

pub use run::{Ended, Lease, Taken, Verdict};

/// Entries a queue keeps room for once it has had them.
const SHRINK_FLOOR: usize = 1024;
/// Names of sources told apart; the last bit stands for all others.
const SOURCES: usize = 31;

/// Settings of a [`Core`].
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// Which lane is served. Default: [`Order::Lanes`] with the default shares.
    pub order: Order,
    /// See [`Builder::aging`](crate::Builder::aging). Default: off.
    pub aging: Option<Duration>,
    /// See [`Builder::debounce`](crate::Builder::debounce). Default: off.
    pub debounce: Option<Debounce>,
    /// See [`Builder::min_interval`](crate::Builder::min_interval). Default: off.
    pub min_interval: Option<Duration>,
    /// See [`Builder::durations`](crate::Builder::durations). Default: on.
    pub durations: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            order: Order::default(),
            aging: None,
            debounce: None,
            min_interval: None,
            durations: true,
        }
    }
}

/// An add, in the core's terms.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Request {
    /// Not before that long from now; `None` = as soon as debounce and minimum interval allow.
    pub after: Option<Duration>,
    /// A delay from a limiter. With `after` as well, the shorter counts.
    pub limited: Option<Delay>,
    /// The lane.
    pub priority: Priority,
    /// How the delay meets one that is running already.
    pub merge: Merge,
    /// Debounce of this add; `None` = the queue's.
    pub debounce: Option<Debounce>,
    /// Minimum interval of this add; `None` = the queue's.
    pub min_interval: Option<Duration>,
    /// Ignore debounce and minimum interval.
    pub at_once: bool,
    /// Who asks.
    pub source: Option<&'static str>,
    /// The flow of the key; looked at when the key gets its entry.
    pub flow: Option<Flow>,
    /// The exclusion group of the key; looked at when the key gets its entry.
    pub group: Option<Group>,
}

/// Reservations nobody waits for any more, to be given back to the limiter.
pub type Tickets = SmallVec<[Ticket; 1]>;

/// The state machine of a work queue.
///
/// # Examples
/// ```
/// use informer_workqueue::queue::{Config, Core, Request, Verdict};
/// use tokio::time::Instant;
///
/// let now = Instant::now();
/// let mut core = Core::new(Config::default(), now);
/// core.add("pod", Request::default(), now);
/// core.add("pod", Request::default(), now);
/// let taken = core.take(now).expect("one run for two adds");
/// assert_eq!(taken.key, "pod");
/// core.finish(taken.lease, Verdict::Done, now);
/// assert!(core.take(now).is_none());
/// ```
#[derive(Debug)]
pub struct Core<T> {
    epoch: Instant,
    hasher: foldhash::fast::RandomState,
    table: Table,
    slots: Vec<Slot<T>>,
    classes: Classes,
    /// First of the free slots.
    free: u32,
    extras: Slab<Extra>,
    lines: Lines,
    groups: Groups,
    wheel: Wheel,
    /// Running keys in the order they started, linked through the slots.
    running_head: u32,
    running_tail: u32,
    next_seq: u64,
    /// Runs started so far; a run's number is its lease.
    runs: u32,
    delayed: usize,
    /// Most keys at a time since the queue was last empty.
    peak: usize,
    /// See [`Config::durations`].
    durations: bool,
    /// Debounce or aging is set.
    timed: bool,
    /// A key was added to another lane than the ordinary one.
    lanes_used: bool,
    debounce: Option<Debounce>,
    min_interval: u64,
    /// How long starts are remembered.
    remember: u64,
    sources: Vec<&'static str>,
    counters: Counters,
    /// Why keys are parked: reason, how many.
    parked: Vec<(&'static str, usize)>,
    /// All of them.
    parked_keys: usize,
    closed: bool,
    /// Nothing is handed out any more.
    stopped: bool,
    freed: Tickets,
}

impl<T: Clone + Eq + Hash> Core<T> {
    /// An empty queue. No allocation before the first key.
    #[must_use]
    pub fn new(config: Config, now: Instant) -> Self {
        let min_interval = config.min_interval.map_or(0, nanos);
        Self {
            epoch: now,
            hasher: foldhash::fast::RandomState::default(),
            table: Table::default(),
            slots: Vec::new(),
            classes: Classes::default(),
            free: NONE,
            extras: Slab::new(),
            lines: Lines::new(config.order, config.aging.map(nanos)),
            groups: Groups::default(),
            wheel: Wheel::new(),
            running_head: NONE,
            running_tail: NONE,
            next_seq: 0,
            runs: 0,
            delayed: 0,
            peak: 0,
            durations: config.durations,
            timed: config.debounce.is_some() || config.aging.is_some(),
            lanes_used: false,
            debounce: config.debounce,
            min_interval,
            remember: min_interval,
            sources: Vec::new(),
            counters: Counters::default(),
            parked: Vec::new(),
            parked_keys: 0,
            closed: false,
            stopped: false,
            freed: Tickets::new(),
        }
    }

    /// Makes the keys ready whose delay is over: all that were due by `now`, or a batch of them; the other operations do
    /// the same first as far as it makes a difference to what happens next. Returns whether more are due.
    pub fn advance(&mut self, now: Instant) -> bool {
        let now = self.nanos(now);
        self.fire_due(now)
    }

    /// A time before which calling [`advance`](Self::advance) changes nothing; `None` = no delay is running.
    pub fn next_wake(&mut self) -> Option<Instant> {
        if self.closed {
            return None;
        }
        let due = self.wheel.next_due()?;
        Some(self.instant(due))
    }

    /// Keys that could be handed out now, as far as lanes and flows go.
    #[must_use]
    pub fn runnable(&self) -> usize {
        if self.stopped {
            0
        } else {
            self.lines.len() - self.lines.held()
        }
    }

    /// Reservations that came free in the operations so far. To be given back to the limiter.
    pub fn take_tickets(&mut self) -> Tickets {
        std::mem::take(&mut self.freed)
    }

    pub(crate) fn has_tickets(&self) -> bool {
        !self.freed.is_empty()
    }

    /// Whether any delay runs.
    pub(crate) fn has_delays(&self) -> bool {
        !self.wheel.is_idle()
    }

    /// Whether the present time matters to the next operation that brings no delay of its own.
    pub(crate) fn needs_clock(&self) -> bool {
        self.durations || self.remember > 0 || self.timed || !self.wheel.is_idle()
    }

    /// Nanoseconds since the epoch of this queue; a time for operations to which the present one does not matter is 0.
    #[inline]
    pub(crate) fn nanos(&self, now: Instant) -> u64 {
        nanos(now.saturating_duration_since(self.epoch))
    }

    fn instant(&self, nanos: u64) -> Instant {
        let far = || self.epoch + Duration::from_secs(60 * 60 * 24 * 365 * 30);
        self.epoch
            .checked_add(Duration::from_nanos(nanos))
            .unwrap_or_else(far)
    }

    fn set_state(&mut self, index: u32, state: State) {
        let old = std::mem::replace(&mut self.slots[index as usize].state, state);
        self.delayed += usize::from(state == State::Delayed);
        self.delayed -= usize::from(old == State::Delayed);
    }

    /// Orders the run of a key that neither waits nor runs: into its line, or behind its gate.
    #[inline]
    fn want(&mut self, index: u32, since: u64) {
        self.counters.adds += 1;
        let slot = &mut self.slots[index as usize];
        slot.at = since;
        slot.seq = self.next_seq;
        self.next_seq += 1;
        self.line_up(index);
    }

    /// Puts a key whose run is ordered where it has to wait for it.
    #[inline]
    fn line_up(&mut self, index: u32) {
        if self.slots[index as usize].extra == NONE && self.classes.are_plain() {
            self.set_state(index, State::Ready);
            self.lines.push_unnamed(index, &mut self.slots);
        } else {
            self.line_up_behind(index);
        }
    }

    fn line_up_behind(&mut self, index: u32) {
        let slot = &self.slots[index as usize];
        if slot.extra != NONE && self.extras[slot.extra as usize].gate != 0 {
            let reason = self.extras[slot.extra as usize].gate_reason;
            self.set_state(index, State::Parked);
            self.count_parked(reason, true);
            return;
        }
        let Class { flow, group } = self.classes.of(index);
        if self.groups.is_full(group) {
            self.block(index);
            return;
        }
        self.set_state(index, State::Ready);
        self.lines.push(index, flow, &mut self.slots);
    }

    fn enter_line(&mut self, index: u32) {
        self.set_state(index, State::Ready);
        self.lines
            .push(index, self.classes.of(index).flow, &mut self.slots);
    }

    fn block(&mut self, index: u32) {
        self.set_state(index, State::Blocked);
        let (slot, group) = (&self.slots[index as usize], self.classes.of(index).group);
        self.groups.wait(group, slot.priority, slot.seq, index);
    }

    /// Takes a waiting key from where it waits. It must be given a new state.
    fn leave_line(&mut self, index: u32) {
        let slot = &self.slots[index as usize];
        let Class { flow, group } = self.classes.of(index);
        match slot.state {
            State::Ready => {
                self.lines.remove(index, flow, &mut self.slots);
                // Not in line any more before others are: they may include nobody but this very key.
                self.set_state(index, State::Idle);
                for released in self.groups.left_line(group) {
                    self.enter_line(released);
                }
            }
            State::Blocked => self.groups.stop_waiting(group, slot.priority, slot.seq),
            State::Parked => {
                let reason = self.extras[slot.extra as usize].gate_reason;
                self.count_parked(reason, false);
            }
            State::Idle | State::Delayed | State::Running => debug_assert!(false, "the key does not wait"),
        }
        self.set_state(index, State::Idle);
    }

    fn want_again(&mut self, index: u32, priority: Priority, since: u64) {
        self.counters.adds += 1;
        self.counters.dirty += 1;
        let slot = &mut self.slots[index as usize];
        (slot.again, slot.priority, slot.at, slot.seq) = (Again::Now, priority, since, self.next_seq);
        self.next_seq += 1;
    }

    /// The delay of a backoff is over: its failure counts.
    fn serve_delay(&mut self, index: u32) {
        let extra = self.slots[index as usize].extra;
        if extra != NONE {
            let extra = &mut self.extras[extra as usize];
            if std::mem::take(&mut extra.backing_off) {
                extra.failures = extra.failures.saturating_add(1);
            }
            extra.tickets.clear();
            extra.burst = None;
        }
    }

    /// The key runs, or is dropped, without serving its delay: the failure does not count, its reservations come free.
    fn skip_delay(&mut self, index: u32) {
        let extra = self.slots[index as usize].extra;
        if extra != NONE {
            let extra = &mut self.extras[extra as usize];
            extra.backing_off = false;
            extra.burst = None;
            self.freed.append(&mut extra.tickets);
        }
    }

    /// A key nobody wants any more: kept while its gate is shut or its minimum interval runs, else freed.
    fn settle(&mut self, index: u32, now: u64) {
        let slot = &self.slots[index as usize];
        if slot.extra == NONE && self.remember == 0 {
            self.set_state(index, State::Idle);
            self.remove(index);
            return;
        }
        let gate = self.extras.get(slot.extra as usize).map_or(0, |extra| extra.gate);
        let interval = if slot.started == NEVER {
            0
        } else {
            slot.started.saturating_add(self.remember)
        };
        self.set_state(index, State::Idle);
        let interval = if self.remember == 0 { 0 } else { interval };
        if interval > now && !self.closed {
            self.slots[index as usize].sources = 0;
            self.delay_until(index, interval, now);
        } else if gate > now && !self.closed {
            // The gate's own timer ends it.
            self.slots[index as usize].sources = 0;
            self.disarm(index);
        } else {
            self.remove(index);
        }
    }

    /// [`remove`](Self::remove) for a key without timer, extra, flow and group.
    #[inline]
    fn remove_plain(&mut self, index: u32) {
        let slot = &mut self.slots[index as usize];
        (slot.state, slot.sources, slot.next) = (State::Idle, 0, self.free);
        let (tag, key) = (slot.tag, slot.key.take());
        self.free = index;
        self.table.remove(tag, index);
        if self.table.is_empty() {
            self.shrink();
        }
        // User code last: the entry is gone even if dropping the key panics.
        drop(key);
    }

    fn remove(&mut self, index: u32) {
        self.disarm(index);
        if self.slots[index as usize].extra != NONE {
            self.skip_delay(index);
        }
        let slot = &mut self.slots[index as usize];
        let (tag, extra) = (slot.tag, slot.extra);
        (slot.extra, slot.sources, slot.next) = (NONE, 0, self.free);
        let key = slot.key.take();
        self.free = index;
        if extra != NONE {
            let extra = self.extras.remove(extra as usize);
            if extra.gate_timer != 0 {
                self.forget_timer();
            }
        }
        self.table.remove(tag, index);
        if !self.classes.are_plain() {
            let Class { flow, group } = self.classes.of(index);
            self.lines.leave(flow);
            self.groups.leave(group);
        }
        if self.table.is_empty() {
            self.shrink();
        }
        // User code last: the entry is gone even if dropping the key panics.
        drop(key);
    }

    /// Gives memory back after a burst. A queue that fills up as much again and again keeps what it needs for that.
    fn shrink(&mut self) {
        let needed = (2 * self.peak).max(SHRINK_FLOOR);
        if self.slots.capacity() > 2 * needed {
            self.slots = Vec::with_capacity(needed);
            self.classes.clear();
            self.free = NONE;
            self.table = Table::with_capacity(needed);
            self.extras = Slab::new();
            self.lines.shrink();
            self.groups.shrink();
        }
        self.peak = 0;
    }

    fn find(&self, key: &T) -> Option<u32> {
        self.find_tagged(key, tag(self.hasher.hash_one(key)))
    }

    fn find_tagged(&self, key: &T, tag: u32) -> Option<u32> {
        self.table
            .find(tag, |slot| self.slots[slot as usize].key.as_ref() == Some(key))
    }

    /// The slot of a key, new if there is none; and whether it is new.
    #[inline]
    fn find_or_insert(
        &mut self,
        key: T,
        tag: u32,
        (flow, group): (Option<Flow>, Option<Group>),
    ) -> (u32, bool) {
        let slots = &mut self.slots;
        let same = |slot: u32| slots[slot as usize].key.as_ref() == Some(&key);
        let vacant = match self.table.find_or_vacant(tag, same) {
            Ok(found) => return (found, false),
            Err(vacant) => vacant,
        };
        let index = self.free;
        let index = if let Some(slot) = slots.get_mut(index as usize) {
            // The rest is as it was left by `remove`.
            self.free = slot.next;
            (slot.key, slot.tag) = (Some(key), tag);
            (slot.started, slot.priority) = (NEVER, Priority::default());
            index
        } else {
            let index = slots.len() as u32;
            assert!(index < UNNAMED, "fewer than 2³² - 2 keys fit in memory");
            slots.push(Slot::new(key, tag));
            index
        };
        self.table.insert(vacant, tag, index);
        self.peak = self.peak.max(self.table.len());
        if flow.is_some() || group.is_some() || !self.classes.are_plain() {
            let class = Class {
                flow: self.lines.join(flow),
                group: self.groups.join(group),
            };
            self.classes.set(index, class);
        }
        (index, true)
    }

    /// The extra of a slot, made if it has none.
    fn extra(&mut self, index: u32) -> &mut Extra {
        let slot = &mut self.slots[index as usize];
        if slot.extra == NONE {
            slot.extra = self.extras.insert(Extra::default()) as u32;
        }
        &mut self.extras[slot.extra as usize]
    }

    fn source_bit(&mut self, source: Option<&'static str>) -> u32 {
        let Some(source) = source else {
            return 0;
        };
        let known = self.sources.iter().position(|known| *known == source);
        let bit = known.unwrap_or_else(|| {
            if self.sources.len() < SOURCES {
                self.sources.push(source);
                self.sources.len() - 1
            } else {
                SOURCES
            }
        });
        1 << bit
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One flow and one group per key, so that both cost more than the keys.
    fn burst(core: &mut Core<u32>, keys: u32, now: Instant) {
        for key in 0..keys {
            let request = Request {
                flow: Some(Flow::of(key)),
                group: Some(Group::of(key)),
                ..Request::default()
            };
            core.add(key, request, now);
        }
        while let Some(taken) = core.take(now) {
            core.finish(taken.lease, Verdict::Done, now);
        }
    }

    #[test]
    fn the_memory_of_a_burst_is_given_back_once_the_queue_is_empty_after_a_small_one() {
        let now = Instant::now();
        let mut core = Core::new(Config::default(), now);
        burst(&mut core, 50_000, now);
        burst(&mut core, 1, now);
        assert!(core.slots.capacity() <= SHRINK_FLOOR);
        assert!(core.lines.room() + core.groups.room() <= 2 * SHRINK_FLOOR);
    }
}
