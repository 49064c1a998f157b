//! [`Memory`]: where a cache's memory goes.

use crate::{Cache, Object, Snapshot, index::Table, state::State};

/// Where a cache's memory goes, in bytes of heap; objects themselves are measured by [`Cache::weigh`].
///
/// Approximate: allocators round up, and chunks that snapshots keep alive are not counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Number of objects.
    pub objects: usize,
    /// The texts of the keys.
    pub key_bytes: usize,
    /// The slots: keys, pointers to objects, versions.
    pub slot_bytes: usize,
    /// The table that finds a key's slot; where a key function is set, also that of the metadata's keys, without their texts.
    pub table_bytes: usize,
    /// Every index, that by namespace first.
    pub indexes: Vec<IndexMemory>,
    /// Changes held for subscriptions that have not taken them yet.
    pub log_changes: usize,
    /// Subscriptions.
    pub subscriptions: usize,
}

/// Where an index's memory goes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct IndexMemory {
    /// Its name.
    pub name: String,
    /// Number of distinct values.
    pub values: usize,
    /// Number of pairs of a value and an object that has it.
    pub entries: usize,
    /// Keys left out because the function panicked.
    pub quarantined: usize,
    /// Bytes of heap, without what values own themselves.
    pub bytes: usize,
}

impl Memory {
    /// Bytes of everything but the objects and what the log holds.
    #[must_use]
    pub fn overhead_bytes(&self) -> usize {
        let indexes: usize = self.indexes.iter().map(|index| index.bytes).sum();
        self.key_bytes + self.slot_bytes + self.table_bytes + indexes
    }

    fn of<K>(state: &State<K>) -> Self {
        let index = |name: &str, (values, entries, bytes): (usize, usize, usize), quarantined| IndexMemory {
            name: name.to_owned(),
            values,
            entries,
            quarantined,
            bytes,
        };
        let (key_bytes, slot_bytes, table_bytes) = state.heap_bytes();
        let mut indexes = vec![index("namespace", state.namespaces().size(), 0)];
        for held in state.indexes() {
            indexes.push(index(held.name(), held.size(), held.quarantined().len()));
        }
        Self {
            objects: state.len(),
            key_bytes,
            slot_bytes,
            table_bytes,
            indexes,
            ..Self::default()
        }
    }
}

impl<K: Object> Cache<K> {
    /// Where the memory goes. Visits the values of the indexes and the chunks of the table, not the objects: fit to be
    /// asked each second.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let (log_changes, subscriptions) = self.inner.log.size();
        Memory {
            log_changes,
            subscriptions,
            ..Memory::of(self.snapshot().state())
        }
    }

    /// The bytes of all objects, estimated from at most `sample` of them, evenly spread, as `weigh` measures them.
    pub fn weigh(&self, sample: usize, weigh: impl Fn(&K) -> usize) -> usize {
        let snapshot: Snapshot<K> = self.snapshot();
        let step = snapshot.len().div_ceil(sample.max(1)).max(1);
        let (mut weight, mut count) = (0usize, 0usize);
        for object in snapshot.list().step_by(step) {
            weight = weight.saturating_add(weigh(object));
            count += 1;
        }
        let all = weight as u128 * snapshot.len() as u128 / count.max(1) as u128;
        usize::try_from(all).unwrap_or(usize::MAX)
    }
}
