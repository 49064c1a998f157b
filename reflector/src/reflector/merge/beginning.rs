//! [`Beginning`]: what a source has brought while its list waits for the store.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem,
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use informer_store::{Cause, Delta, Entry, Object, ObjectKey, Replacement, ResourceVersion};

/// What a source has brought while others have yet to list: its list, and what has changed since.
pub(super) struct Beginning<K> {
    list: Replacement<K>,
    /// The last state of what has changed; `None` is gone.
    changed: BTreeMap<ObjectKey, Option<Entry<K>>>,
}

impl<K: Object> Beginning<K> {
    /// Begins with a list. Of what was brought `before`, what it keeps is kept.
    pub(super) fn new(mut list: Replacement<K>, before: Option<Self>) -> Self {
        if let Some(before) = before {
            let rewound = before.list.rewound;
            if !list.kept.is_empty() {
                let kept: BTreeSet<_> = list.kept.iter().collect();
                let before = before.contents().entries.into_iter();
                list.entries
                    .extend(before.filter(|entry| kept.contains(&entry.key)));
            }
            // The store has not heard of it.
            list.rewound |= rewound;
        }
        Self {
            list,
            changed: BTreeMap::new(),
        }
    }

    pub(super) fn take(&mut self, delta: Delta<K>) {
        match delta {
            Delta::Added(entry) | Delta::Updated(entry) => {
                self.changed.insert(entry.key.clone(), Some(entry));
            }
            Delta::Deleted(tombstone) => {
                self.changed.insert(tombstone.key, None);
            }
            // There is nothing yet that could be delivered once more.
            _ => {}
        }
        // Others may never list, and names that came and went would be remembered for ever.
        if self.changed.len() > self.list.entries.len() + CHANGED_MAX {
            self.settle();
        }
    }

    /// Works what has changed since into the list.
    fn settle(&mut self) {
        let changed = mem::take(&mut self.changed);
        if changed.is_empty() {
            return;
        }
        let list = &mut self.list;
        list.entries.retain(|entry| !changed.contains_key(&entry.key));
        list.kept.retain(|key| !changed.contains_key(key));
        let entries = changed.into_values().flatten();
        list.entries
            .extend(entries.map(|entry| entry.cause(Cause::Relist)));
    }

    /// What the source has by now.
    pub(super) fn contents(mut self) -> Replacement<K> {
        self.settle();
        self.list
    }
}

/// So many more changes than objects are remembered apart.
const CHANGED_MAX: usize = 256;

/// What several sources have listed, in their order.
pub(super) struct Listed<K> {
    entries: Vec<Entry<K>>,
    /// How many entries there were when those of a source had been added, and whether that source has yet to notice that
    /// the history went back.
    ends: Vec<(usize, bool)>,
}

impl<K> Default for Listed<K> {
    fn default() -> Self {
        Self {
            entries: Vec::new(),
            ends: Vec::new(),
        }
    }
}

impl<K: Object> Listed<K> {
    pub(super) fn add(&mut self, mut entries: Vec<Entry<K>>, is_behind: bool) {
        if self.entries.is_empty() {
            self.entries = entries;
        } else {
            self.entries.append(&mut entries);
        }
        self.ends.push((self.entries.len(), is_behind));
    }

    /// All of it, where no two sources have listed the same key.
    pub(super) fn all(self) -> Vec<Entry<K>> {
        self.entries
    }

    /// Of the entries of a key only the newest. What a source brings that has yet to notice that the history went back is
    /// older than anything another brings, whatever the versions say.
    pub(super) fn newest(self) -> Vec<Entry<K>> {
        let Self { mut entries, ends } = self;
        let mut newest: HashMap<ObjectKey, (usize, (bool, ResourceVersion)), FixedState> = HashMap::default();
        newest.reserve(entries.len());
        let mut ends = ends.into_iter();
        let mut part = ends.next();
        for (at, entry) in entries.iter().enumerate() {
            while part.is_some_and(|(end, _)| end <= at) {
                part = ends.next();
            }
            let rank = (
                !part.is_some_and(|(_, is_behind)| is_behind),
                entry.object.version(),
            );
            match newest.get_mut(&entry.key) {
                Some(known) if known.1 < rank => *known = (at, rank),
                Some(_) => {}
                None => {
                    newest.insert(entry.key.clone(), (at, rank));
                }
            }
        }
        let mut at = 0;
        entries.retain(|entry| {
            let is_newest = newest.get(&entry.key).is_some_and(|(newest, _)| *newest == at);
            at += 1;
            is_newest
        });
        entries
    }
}
