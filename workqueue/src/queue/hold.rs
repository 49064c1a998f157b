//! Holding keys back and letting go of them: park, cancel, forget, close.

use std::hash::{BuildHasher, Hash};

use tokio::time::Instant;

use super::slot::{Again, NONE, State};
use super::table::tag;
use super::{Core, Ended};
use crate::order::{Flow, Group};

impl<T: Clone + Eq + Hash> Core<T> {
    /// Shuts the gate of a key until `until`: it is not handed out before that, or before [`unpark`](Self::unpark). A key
    /// that runs keeps running; whatever was or is asked of the key happens when the gate opens. Nothing is asked by it.
    pub fn park(
        &mut self,
        key: T,
        until: Instant,
        reason: &'static str,
        (flow, group): (Option<Flow>, Option<Group>),
        now: Instant,
    ) {
        let (now, until) = (self.nanos(now), self.nanos(until));
        self.fire_due(now);
        if self.closed {
            return;
        }
        let tag = tag(self.hasher.hash_one(&key));
        if until <= now {
            if let Some(index) = self.find_tagged(&key, tag) {
                self.open_gate(index, now);
            }
            return;
        }
        let (index, _) = self.find_or_insert(key, tag, (flow, group));
        let waits = matches!(
            self.slots[index as usize].state,
            State::Ready | State::Blocked | State::Parked
        );
        if waits {
            self.leave_line(index);
        }
        let timer = self.wheel.arm(until, index, now);
        let extra = self.extra(index);
        (extra.gate, extra.gate_reason) = (until, reason);
        if std::mem::replace(&mut extra.gate_timer, timer) != 0 {
            self.forget_timer();
        }
        if waits {
            self.line_up(index);
        }
    }

    /// Opens the gate of a key. Returns whether it was shut.
    pub fn unpark(&mut self, key: &T, now: Instant) -> bool {
        let now = self.nanos(now);
        self.fire_due(now);
        self.find(key).is_some_and(|index| self.open_gate(index, now))
    }

    pub(super) fn open_gate(&mut self, index: u32, now: u64) -> bool {
        let slot = &self.slots[index as usize];
        let (extra, state) = (slot.extra, slot.state);
        if extra == NONE || self.extras[extra as usize].gate == 0 {
            return false;
        }
        if state == State::Parked {
            self.leave_line(index);
        }
        let extra = &mut self.extras[extra as usize];
        extra.gate = 0;
        if std::mem::take(&mut extra.gate_timer) != 0 {
            self.forget_timer();
        }
        match state {
            State::Parked => self.line_up(index),
            State::Idle => self.settle(index, now),
            State::Delayed | State::Running | State::Ready | State::Blocked => {}
        }
        true
    }

    pub(super) fn count_parked(&mut self, reason: &'static str, more: bool) {
        self.parked_keys = if more {
            self.parked_keys + 1
        } else {
            self.parked_keys - 1
        };
        match self.parked.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count = if more { *count + 1 } else { *count - 1 },
            None => self.parked.push((reason, 1)),
        }
    }

    /// Withdraws what was asked of a key: delay, place in line, or the run after the present one. Its failures are
    /// forgotten unless it runs. Returns whether anything was withdrawn.
    pub fn cancel(&mut self, key: &T, now: Instant) -> bool {
        self.withdraw(key, now).wanted
    }

    /// [`cancel`](Self::cancel), which also says whether a limiter has to forget the key.
    pub(crate) fn withdraw(&mut self, key: &T, now: Instant) -> Ended {
        let now = self.nanos(now);
        self.fire_due(now);
        let mut ended = Ended::default();
        let Some(index) = self.find(key) else {
            return ended;
        };
        let slot = &mut self.slots[index as usize];
        match slot.state {
            State::Idle => return ended,
            State::Delayed => {
                self.disarm(index);
                self.skip_delay(index);
            }
            State::Ready | State::Blocked | State::Parked => self.leave_line(index),
            State::Running => {
                let again = std::mem::replace(&mut slot.again, Again::No);
                slot.sources = 0;
                match again {
                    Again::No => return ended,
                    Again::Now => self.counters.dirty -= 1,
                    Again::At => {
                        self.disarm(index);
                        self.skip_delay(index);
                    }
                }
                ended.wanted = true;
                return ended;
            }
        }
        ended.wanted = true;
        let extra = self.slots[index as usize].extra;
        if let Some(extra) = self.extras.get_mut(extra as usize) {
            extra.failures = 0;
            ended.forget = std::mem::take(&mut extra.limited);
        }
        self.settle(index, now);
        ended
    }

    /// Forgets the failures of a key. A delay that is being served goes on. Returns how many there were.
    pub fn forget(&mut self, key: &T) -> u32 {
        let Some(extra) = self.find(key).map(|index| self.slots[index as usize].extra) else {
            return 0;
        };
        let Some(extra) = self.extras.get_mut(extra as usize) else {
            return 0;
        };
        let failures = extra.failures.saturating_add(u32::from(extra.backing_off));
        (extra.failures, extra.backing_off) = (0, false);
        failures
    }

    /// Takes no more adds. Waiting keys are still handed out; delayed and parked ones stay where they are.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Hands out nothing more.
    pub fn stop(&mut self) {
        self.closed = true;
        self.stopped = true;
    }

    /// Whether [`close`](Self::close) was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Whether a closed queue has nothing more to hand out, now or once running keys are finished.
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.stopped
            || self.closed && self.lines.len() == 0 && self.groups.waiting() == 0 && self.counters.dirty == 0
    }

    /// Keys being run.
    #[must_use]
    pub fn running(&self) -> usize {
        self.counters.running
    }

    /// The running keys, the one that has run longest first.
    pub fn running_keys(&self) -> impl Iterator<Item = &T> {
        let mut index = self.running_head;
        std::iter::from_fn(move || {
            let slot = self.slots.get(index as usize)?;
            index = slot.next;
            slot.key.as_ref()
        })
    }

    /// The keys that are wanted and do not run.
    pub fn waiting_keys(&self) -> impl Iterator<Item = &T> {
        let waits = |state| !matches!(state, State::Idle | State::Running);
        self.slots
            .iter()
            .filter(move |slot| waits(slot.state))
            .filter_map(|slot| slot.key.as_ref())
    }
}
