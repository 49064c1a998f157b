//! Exclusion groups: how many keys of each run, and the keys that wait because too many do.

use std::collections::{BTreeMap, HashMap};

use slab::Slab;
use smallvec::SmallVec;

use super::slot::NONE;
use crate::options::Priority;
use crate::order::Group;

#[derive(Debug)]
struct GroupState {
    id: u64,
    limit: u32,
    running: u32,
    members: u32,
    /// Members that wait here instead, by lane and place in line.
    waiting: BTreeMap<(Priority, u64), u32>,
}

/// The groups of a queue. A key is looked at when it is about to run and when its group has room again, never in between.
#[derive(Debug, Default)]
pub(super) struct Groups {
    groups: Slab<GroupState>,
    by_id: HashMap<u64, u32, foldhash::fast::RandomState>,
    waiting: usize,
}

/// Keys to put back in line.
pub(super) type Released = SmallVec<[u32; Priority::COUNT]>;

impl Groups {
    #[inline]
    pub(super) fn join(&mut self, group: Option<Group>) -> u32 {
        group.map_or(NONE, |group| self.join_named(group))
    }

    #[inline(never)]
    fn join_named(&mut self, group: Group) -> u32 {
        if let Some(&index) = self.by_id.get(&group.id) {
            let state = &mut self.groups[index as usize];
            state.members += 1;
            state.limit = group.limit;
            return index;
        }
        let index = self.groups.insert(GroupState {
            id: group.id,
            limit: group.limit,
            running: 0,
            members: 1,
            waiting: BTreeMap::new(),
        }) as u32;
        self.by_id.insert(group.id, index);
        index
    }

    pub(super) fn leave(&mut self, group: u32) {
        if group == NONE {
            return;
        }
        let state = &mut self.groups[group as usize];
        state.members -= 1;
        if state.members == 0 {
            self.by_id.remove(&state.id);
            self.groups.remove(group as usize);
        }
    }

    /// So many fit without more memory.
    #[cfg(test)]
    pub(super) fn room(&self) -> usize {
        self.groups.capacity() + self.by_id.capacity()
    }

    /// Gives the memory of groups back that have ended, if all have.
    pub(super) fn shrink(&mut self) {
        if self.groups.is_empty() {
            (self.groups, self.by_id) = (Slab::new(), HashMap::default());
        }
    }

    /// Keys that wait for their group.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    #[inline]
    pub(super) fn is_full(&self, group: u32) -> bool {
        group != NONE && self.groups[group as usize].running >= self.groups[group as usize].limit
    }

    /// A member left its line without running; names members to put in line instead.
    pub(super) fn left_line(&mut self, group: u32) -> Released {
        if group == NONE {
            return Released::new();
        }
        if self.is_full(group) {
            Released::new()
        } else {
            self.release(group)
        }
    }

    /// A member in line turned out to have to wait.
    pub(super) fn wait(&mut self, group: u32, priority: Priority, seq: u64, index: u32) {
        self.groups[group as usize].waiting.insert((priority, seq), index);
        self.waiting += 1;
    }

    pub(super) fn stop_waiting(&mut self, group: u32, priority: Priority, seq: u64) {
        self.groups[group as usize].waiting.remove(&(priority, seq));
        self.waiting -= 1;
    }

    /// A member that stood in line starts to run.
    #[inline]
    pub(super) fn start(&mut self, group: u32) {
        if group != NONE {
            self.groups[group as usize].running += 1;
        }
    }

    /// A run ended; names members to put in line.
    pub(super) fn finish(&mut self, group: u32) -> Released {
        if group == NONE {
            return Released::new();
        }
        self.groups[group as usize].running -= 1;
        if self.is_full(group) {
            Released::new()
        } else {
            self.release(group)
        }
    }

    /// The first waiting member of each lane: which of them runs is for the lanes to say.
    fn release(&mut self, group: u32) -> Released {
        let state = &mut self.groups[group as usize];
        let mut released = Released::new();
        for priority in Priority::ALL {
            let first = state
                .waiting
                .range((priority, 0)..=(priority, u64::MAX))
                .next()
                .map(|(key, _)| *key);
            if let Some(index) = first.and_then(|first| state.waiting.remove(&first)) {
                released.push(index);
            }
        }
        self.waiting -= released.len();
        released
    }
}
