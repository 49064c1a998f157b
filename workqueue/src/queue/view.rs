//! Looking at a queue: nothing here changes what happens next.

use std::hash::Hash;
use std::time::Duration;

use tokio::time::Instant;

use super::slot::{Again, NONE, State};
use super::{Core, SOURCES};
use crate::options::Priority;
use crate::stats::{KeySnapshot, KeyState, Stats};

impl<T: Clone + Eq + Hash> Core<T> {
    /// Runs that are ordered and did not start: `workqueue_depth`, of which [`len`](Self::len) leaves out the keys that
    /// run at present.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.len() + self.counters.dirty
    }

    /// Keys that wait to be handed out, delayed ones not included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lines.len() + self.groups.waiting() + self.parked_keys
    }

    /// Whether no key waits to be handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Runs finished so far.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.counters.done
    }

    /// Keys in any state.
    #[must_use]
    pub fn keys(&self) -> usize {
        self.table.len()
    }

    /// Whether the queue holds a key, in any state.
    #[must_use]
    pub fn contains(&self, key: &T) -> bool {
        self.find(key).is_some()
    }

    /// Failures of a key in a row, the one whose delay is being served included.
    #[must_use]
    pub fn retries(&self, key: &T) -> u32 {
        self.find(key).map_or(0, |index| self.retries_at(index))
    }

    fn retries_at(&self, index: u32) -> u32 {
        let extra = self.extras.get(self.slots[index as usize].extra as usize);
        extra.map_or(0, |extra| {
            extra.failures.saturating_add(u32::from(extra.backing_off))
        })
    }

    /// All numbers at once. O(flows + keys with failures): for people and scrapers.
    pub fn stats(&mut self, now: Instant) -> Stats {
        let now = self.settle_to(now);
        let age = |since: u64| {
            Duration::from_nanos(if self.durations {
                now.saturating_sub(since)
            } else {
                0
            })
        };
        let everything = u128::from(now) * self.counters.running as u128;
        let unfinished = if self.durations {
            everything.saturating_sub(self.counters.starts)
        } else {
            0
        };
        let oldest = |priority: Priority| self.lines.oldest(priority.index(), &self.slots).map(age);
        Stats {
            depth: self.depth(),
            adds: self.counters.adds,
            queue_duration: self.counters.queue.clone(),
            work_duration: self.counters.work.clone(),
            unfinished_work: Duration::from_nanos(u64::try_from(unfinished).unwrap_or(u64::MAX)),
            longest_running: self
                .slots
                .get(self.running_head as usize)
                .map_or(Duration::ZERO, |slot| age(slot.started)),
            retries: self.counters.retries,
            running: self.counters.running,
            delayed: self.delayed,
            ready: Priority::ALL.map(|priority| self.lines.lane_len(priority)),
            oldest_ready: Priority::ALL.map(oldest),
            held_by_flow: self.lines.held(),
            blocked_by_group: self.groups.waiting(),
            parked: self
                .parked
                .iter()
                .filter(|(_, count)| *count > 0)
                .copied()
                .collect(),
            failing: self
                .extras
                .iter()
                .filter(|(_, extra)| extra.failures > 0 || extra.backing_off)
                .count(),
            keys: self.keys(),
            done: self.counters.done,
            dead_letters: 0,
            contained_panics: 0,
            closed: self.closed,
        }
    }

    /// What the queue knows about a key; `None` = nothing.
    pub fn snapshot(&mut self, key: &T, now: Instant) -> Option<KeySnapshot> {
        let now = self.settle_to(now);
        let index = self.find(key)?;
        let slot = &self.slots[index as usize];
        let extra = self.extras.get(slot.extra as usize);
        let state = match (slot.state, slot.again) {
            (State::Idle, _) => KeyState::Idle,
            (State::Delayed, _) => KeyState::Delayed,
            (State::Ready, _) => KeyState::Ready,
            (State::Blocked, _) => KeyState::Blocked,
            (State::Parked, _) => KeyState::Parked,
            (State::Running, Again::No) => KeyState::Running,
            (State::Running, _) => KeyState::RunningAndWanted,
        };
        let gate = extra.filter(|extra| extra.gate != 0);
        let delayed = slot.state == State::Delayed || slot.state == State::Running && slot.again == Again::At;
        let gated = gate
            .filter(|_| delayed || slot.state == State::Parked)
            .map(|extra| extra.gate);
        let next_run = delayed.then_some(slot.at).max(gated);
        let since = match slot.state {
            State::Ready | State::Blocked | State::Parked => Some(slot.at),
            State::Running => Some(slot.started),
            State::Idle | State::Delayed => None,
        };
        Some(KeySnapshot {
            state,
            priority: slot.priority,
            retries: self.retries_at(index),
            next_run: next_run.map(|at| self.instant(at)),
            age: since
                .filter(|_| self.durations)
                .map(|since| Duration::from_nanos(now.saturating_sub(since))),
            parked: gate.map(|extra| (self.instant(extra.gate), extra.gate_reason)),
            sources: self.sources(slot.sources),
        })
    }

    /// The keys with the most failures in a row, at most `max` of them, the worst first. O(keys).
    #[must_use]
    pub fn top_failing(&self, max: usize) -> Vec<(T, u32)> {
        let mut failing: Vec<(u32, u32)> = (0u32..)
            .zip(&self.slots)
            .filter(|(_, slot)| slot.key.is_some() && slot.extra != NONE)
            .map(|(index, _)| (self.retries_at(index), index))
            .filter(|(retries, _)| *retries > 0)
            .collect();
        failing.sort_unstable_by(|a, b| b.cmp(a));
        let named = |(retries, index): (u32, u32)| Some((self.slots[index as usize].key.clone()?, retries));
        failing.into_iter().take(max).filter_map(named).collect()
    }

    /// The names behind a bit set of sources.
    #[must_use]
    pub fn sources(&self, bits: u32) -> Vec<&'static str> {
        let name = |bit: usize| self.sources.get(bit).copied().unwrap_or("other");
        (0..=SOURCES)
            .filter(|bit| bits >> bit & 1 == 1)
            .map(name)
            .collect()
    }

    /// Makes everything ready that is due, and returns the time in nanoseconds.
    pub(crate) fn settle_to(&mut self, now: Instant) -> u64 {
        let now = self.nanos(now);
        while self.fire_due(now) {}
        now
    }
}
