//! Delays: arming them, and what happens when they are over.

use std::hash::Hash;

use super::Core;
use super::slot::{NONE, State};

/// Delayed keys that become ready in one call at most, so that a million due at once cannot hold the lock for long.
pub(super) const FIRE_BATCH: usize = 1024;
/// Timers whose entries are looked at together, and from how many keys on it is worth it: fewer are in the cache anyway.
const WARM_UP: usize = 32;
const WARM_UP_ABOVE: usize = 1 << 14;

impl<T: Clone + Eq + Hash> Core<T> {
    #[inline]
    pub(super) fn fire_due(&mut self, now: u64) -> bool {
        !self.closed && self.wheel.may_be_due(now) && self.fire_batch(now, FIRE_BATCH)
    }

    pub(super) fn fire_batch(&mut self, now: u64, most: usize) -> bool {
        for n in 0..most {
            if n % WARM_UP == 0 && self.slots.len() > WARM_UP_ABOVE {
                self.warm_up();
            }
            let Some(timer) = self.wheel.pop_due(now) else {
                return false;
            };
            let Some(slot) = self.slots.get(timer.slot as usize) else {
                continue;
            };
            if slot.timer == timer.token {
                self.wheel.fired();
                self.fire(timer.slot, timer.deadline, now);
            } else if slot.extra != NONE && self.extras[slot.extra as usize].is_gate(&timer) {
                self.wheel.fired();
                self.extras[slot.extra as usize].gate_timer = 0;
                self.open_gate(timer.slot, now);
            }
        }
        true
    }

    /// Looks at the entries of the next timers, of which nothing comes but that they are in the cache: in a large queue
    /// they lie anywhere, and the processor waits for all of them at once here, one after the other later.
    fn warm_up(&self) {
        let mut tags = [(0, NONE); WARM_UP];
        let upcoming = self.wheel.opened().iter().rev();
        let mut delayed = 0u32;
        for (tag, timer) in tags.iter_mut().zip(upcoming) {
            if let Some(slot) = self.slots.get(timer.slot as usize) {
                *tag = (slot.tag, timer.slot);
                // An entry may lie in two cache lines, this at its end.
                delayed += u32::from(slot.state == State::Delayed);
            }
        }
        let known = |(tag, index): &&(u32, u32)| self.table.find(*tag, |found| found == *index).is_some();
        std::hint::black_box((delayed, tags.iter().filter(known).count()));
    }

    /// The run timer of a slot went off.
    fn fire(&mut self, index: u32, armed_for: u64, now: u64) {
        let slot = &mut self.slots[index as usize];
        slot.timer = 0;
        if slot.at > armed_for {
            // Postponed since it was armed; it may be due all the same, but others may come before it.
            slot.timer = self.wheel.arm(slot.at, index, now);
            return;
        }
        let due = slot.at;
        match slot.state {
            State::Delayed => {
                self.serve_delay(index);
                self.want(index, due);
            }
            State::Running => {
                let priority = slot.priority;
                self.serve_delay(index);
                self.want_again(index, priority, due);
            }
            State::Idle => self.settle(index, now),
            State::Ready | State::Blocked | State::Parked => {
                debug_assert!(false, "a waiting key has no timer")
            }
        }
    }

    /// Arms or moves the run timer of a slot. A later deadline than the armed one costs nothing until that one fires.
    pub(super) fn delay_until(&mut self, index: u32, deadline: u64, now: u64) {
        let slot = &mut self.slots[index as usize];
        let later = slot.timer != 0 && deadline >= slot.at;
        slot.at = deadline;
        if !later {
            self.disarm(index);
            self.slots[index as usize].timer = self.wheel.arm(deadline, index, now);
        }
    }

    pub(super) fn disarm(&mut self, index: u32) {
        if std::mem::take(&mut self.slots[index as usize].timer) != 0 {
            self.forget_timer();
        }
    }

    pub(super) fn forget_timer(&mut self) {
        self.wheel.forget_one();
        if self.wheel.wants_compaction() {
            let (slots, extras) = (&self.slots, &self.extras);
            self.wheel.compact(|timer| {
                let Some(slot) = slots.get(timer.slot as usize) else {
                    return false;
                };
                let gate = || {
                    extras
                        .get(slot.extra as usize)
                        .map_or(0, |extra| extra.gate_timer)
                };
                slot.timer == timer.token || gate() == timer.token
            });
        }
    }
}
