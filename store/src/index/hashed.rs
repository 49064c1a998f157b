//! [`ValueTable`]: postings found by hash.

use std::{borrow::Borrow, collections::HashSet, hash::Hash};

use foldhash::quality::RandomState;

use super::{hash_value, postings::Table};
use crate::persist::{Shards, SlotSet};

#[derive(Clone)]
pub(crate) struct Bucket<V> {
    hash: u64,
    pub(crate) value: V,
    pub(crate) slots: SlotSet,
}

/// Value → slots, without empty sets.
pub(crate) struct ValueTable<V> {
    buckets: Shards<triomphe::Arc<Bucket<V>>>,
    entries: usize,
}

impl<V> Clone for ValueTable<V> {
    fn clone(&self) -> Self {
        Self {
            buckets: self.buckets.clone(),
            entries: self.entries,
        }
    }
}

impl<V> Default for ValueTable<V> {
    fn default() -> Self {
        Self {
            buckets: Shards::default(),
            entries: 0,
        }
    }
}

impl<V> ValueTable<V> {
    pub(crate) fn find<Q>(&self, value: &Q) -> Option<&SlotSet>
    where
        V: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let found = self
            .buckets
            .find(hash_value(value), |bucket| bucket.value.borrow() == value)?;
        Some(&found.slots)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Bucket<V>> {
        self.buckets.iter().map(|bucket| &**bucket)
    }

    pub(crate) fn heap_bytes(&self) -> usize {
        let sets = self
            .iter()
            .map(|bucket| size_of::<Bucket<V>>() + 8 + bucket.slots.heap_bytes());
        self.buckets.heap_bytes() + sets.sum::<usize>()
    }
}

impl<V: Clone> ValueTable<V> {
    /// Adds `slot` to the set of `value`, which is made owned only if it is new.
    pub(crate) fn insert<Q>(&mut self, value: &Q, slot: u32)
    where
        V: Borrow<Q> + for<'a> From<&'a Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = hash_value(value);
        if !self.add_to(hash, value, slot) {
            self.open(hash, V::from(value), slot);
        }
    }

    pub(crate) fn insert_owned(&mut self, value: V, slot: u32)
    where
        V: Hash + Eq,
    {
        let hash = hash_value(&value);
        if !self.add_to(hash, &value, slot) {
            self.open(hash, value, slot);
        }
    }

    /// Whether there is a set of `value`.
    fn add_to<Q>(&mut self, hash: u64, value: &Q, slot: u32) -> bool
    where
        V: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        let Some(bucket) = self
            .buckets
            .find_mut(hash, |bucket| bucket.value.borrow() == value)
        else {
            return false;
        };
        let is_new = triomphe::Arc::make_mut(bucket).slots.insert(slot);
        self.entries += usize::from(is_new);
        true
    }

    fn open(&mut self, hash: u64, value: V, slot: u32) {
        let mut slots = SlotSet::default();
        slots.insert(slot);
        let bucket = triomphe::Arc::new(Bucket { hash, value, slots });
        self.buckets.insert_new(hash, bucket, |bucket| bucket.hash);
        self.entries += 1;
    }

    pub(crate) fn remove<Q>(&mut self, value: &Q, slot: u32)
    where
        V: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        let hash = hash_value(value);
        let Some(bucket) = self
            .buckets
            .find_mut(hash, |bucket| bucket.value.borrow() == value)
        else {
            return;
        };
        let bucket = triomphe::Arc::make_mut(bucket);
        self.entries -= usize::from(bucket.slots.remove(slot));
        if bucket.slots.is_empty() {
            self.buckets.remove(hash, |bucket| bucket.value.borrow() == value);
        }
    }
}

impl<V: Hash + Eq + Clone + Send + Sync + 'static> Table<V> for ValueTable<V> {
    type Set = HashSet<V, RandomState>;

    fn take(set: &mut Self::Set, value: &V) -> bool {
        set.remove(value)
    }

    fn insert(&mut self, value: V, slot: u32) {
        self.insert_owned(value, slot);
    }

    fn remove(&mut self, value: &V, slot: u32) {
        Self::remove(self, value, slot);
    }

    fn purge(&mut self, slot: u32) {
        let with_slot = self.iter().filter(|bucket| bucket.slots.contains(slot));
        let values: Vec<V> = with_slot.map(|bucket| bucket.value.clone()).collect();
        values.iter().for_each(|value| self.remove(value, slot));
    }

    fn size(&self) -> (usize, usize, usize) {
        (self.buckets.len(), self.entries, self.heap_bytes())
    }
}
