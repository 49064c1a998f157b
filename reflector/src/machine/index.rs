//! What the store is known to hold: key, uid and version of every object, to tell news from repetition.

use std::collections::VecDeque;

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use informer_store::{ObjectKey, ResourceVersion};

/// The key carries a seeded hash, so a fixed mixer on top of it is safe.
pub(super) type KeyMap<V> = HashMap<ObjectKey, V, FixedState>;

/// One object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) uid: u64,
    pub(super) version: ResourceVersion,
}

/// What an event means beside what is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing is held under the key.
    New,
    /// The held object changed.
    Changed,
    /// Another object of the same name took its place.
    Replaced,
    /// What is held is as new or newer.
    Duplicate,
    /// Another object than the one deleted under its name, and no newer than that: no repetition, and no news either.
    Contradiction,
}

#[derive(Debug, Default)]
pub(super) struct Index {
    slots: KeyMap<Slot>,
    /// Deletions seen in watches since the last list, oldest first, to tell a replay from a rebirth.
    graves: KeyMap<Slot>,
    burials: VecDeque<(ObjectKey, ResourceVersion)>,
    /// The newest deletion that was forgotten for want of room.
    forgotten: ResourceVersion,
}

impl Index {
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn get(&self, key: &ObjectKey) -> Option<&Slot> {
        self.slots.get(key)
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.slots.keys()
    }

    pub(super) fn same_as(&self, other: &Self) -> bool {
        self.len() == other.len()
            && self
                .slots
                .iter()
                .all(|(key, slot)| other.slots.get(key) == Some(slot))
    }

    /// Whether it has an older state of an object than `other`.
    pub(super) fn is_behind(&self, other: &Self) -> bool {
        let behind = |(key, slot): (&ObjectKey, &Slot)| {
            let held = other.slots.get(key);
            held.is_some_and(|held| held.uid == slot.uid && slot.version < held.version)
        };
        self.slots.iter().any(behind)
    }

    /// Weighs an addition or change. `floor` is the version of the last list: nothing older can be news.
    pub(super) fn judge(
        &self,
        key: &ObjectKey,
        uid: u64,
        version: &ResourceVersion,
        floor: &ResourceVersion,
    ) -> Verdict {
        if let Some(slot) = self.slots.get(key) {
            return match version.partial_cmp(&slot.version) {
                Some(order) if order.is_le() => Verdict::Duplicate,
                _ if slot.uid != uid && slot.uid != 0 && uid != 0 => Verdict::Replaced,
                _ => Verdict::Changed,
            };
        }
        let grave = self.graves.get(key);
        let buried = grave.map_or(&self.forgotten, |grave| &grave.version);
        let is_past = version <= floor || (!buried.is_unset() && version <= buried);
        if !is_past {
            Verdict::New
        } else if grave.is_some_and(|grave| grave.uid != uid && grave.uid != 0 && uid != 0) {
            Verdict::Contradiction
        } else {
            Verdict::Duplicate
        }
    }

    pub(super) fn insert(&mut self, key: ObjectKey, uid: u64, version: ResourceVersion) -> Option<Slot> {
        if !self.graves.is_empty() {
            self.graves.remove(&key);
        }
        self.slots.insert(key, Slot { uid, version })
    }

    pub(super) fn remove(&mut self, key: &ObjectKey) -> Option<Slot> {
        self.slots.remove(key)
    }

    /// Whether `key` was deleted not long ago.
    pub(super) fn is_buried(&self, key: &ObjectKey) -> bool {
        self.graves.contains_key(key)
    }

    /// Remembers that the object `uid` called `key` was deleted at `version`, unless a later one of that name was.
    pub(super) fn bury(&mut self, key: ObjectKey, uid: u64, version: ResourceVersion) {
        if self
            .graves
            .get(&key)
            .is_some_and(|later| version <= later.version)
        {
            return;
        }
        self.burials.push_back((key.clone(), version.clone()));
        self.graves.insert(key, Slot { uid, version });
        while self.burials.len() > GRAVES_MAX {
            let Some((key, version)) = self.burials.pop_front() else {
                return;
            };
            // One that has lived and died again since is remembered for that.
            if self
                .graves
                .get(&key)
                .is_some_and(|grave| grave.version == version)
            {
                self.graves.remove(&key);
                if version > self.forgotten {
                    self.forgotten = version;
                }
            }
        }
    }
}

/// Deletions remembered: a replay reaches back a few events, hardly ever thousands.
const GRAVES_MAX: usize = 4096;
