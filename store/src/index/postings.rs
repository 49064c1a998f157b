//! Which slots hold which value, as part of a state.

use std::{
    any::Any,
    borrow::Borrow,
    hash::Hash,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use smallvec::SmallVec;

use super::{Definition, hash_value};
use crate::persist::{Shards, SlotSet};

/// A change to one index, computed before anything is touched.
pub(crate) type Edit = Box<dyn Any>;

/// An index whatever the type of its values. Cloned with the state, in O(1).
pub(crate) trait Postings<K>: Send + Sync {
    fn id(&self) -> u64;
    fn name(&self) -> &str;
    fn fork(&self) -> Arc<dyn Postings<K>>;
    /// What changes when `slot` goes from `old` to `new`; `None` if nothing does.
    fn edit(&self, slot: u32, old: Option<&K>, new: Option<&K>) -> Option<Edit>;
    fn commit(&mut self, slot: u32, edit: Edit);
    fn quarantined(&self) -> &SlotSet;
    /// Number of (value, slot) pairs, and bytes of heap.
    fn size(&self) -> (usize, usize);
    fn as_any(&self) -> &dyn Any;
}

type Values<V> = SmallVec<[V; 2]>;

struct ValueEdit<V> {
    gone: Values<V>,
    come: Values<V>,
    quarantine: bool,
}

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

    /// Number of (value, slot) pairs, and bytes of heap.
    pub(crate) fn size(&self) -> (usize, usize) {
        let sets: usize = self
            .iter()
            .map(|bucket| size_of::<Bucket<V>>() + 8 + bucket.slots.heap_bytes())
            .sum();
        (self.entries, self.buckets.heap_bytes() + sets)
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

/// An index by equality.
pub(crate) struct HashPostings<K, V> {
    definition: Arc<Definition<K, V>>,
    table: ValueTable<V>,
    quarantined: SlotSet,
}

impl<K, V: Eq> HashPostings<K, V> {
    pub(crate) fn new(definition: Arc<Definition<K, V>>) -> Self {
        Self {
            definition,
            table: ValueTable::default(),
            quarantined: SlotSet::default(),
        }
    }

    pub(crate) fn table(&self) -> &ValueTable<V> {
        &self.table
    }

    /// The values of an object, or `None` if the function panicked.
    fn values(&self, object: Option<&K>) -> Option<Values<V>> {
        let mut values = Values::new();
        let Some(object) = object else {
            return Some(values);
        };
        // Unwind safe: the function sees only the object, which nobody can change, and a list that is dropped.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            (self.definition.extract)(object, &mut |value| {
                if !values.contains(&value) {
                    values.push(value);
                }
            });
        }));
        outcome.ok().map(|()| values)
    }
}

impl<K, V> Postings<K> for HashPostings<K, V>
where
    K: Send + Sync + 'static,
    V: Hash + Eq + Clone + Send + Sync + 'static,
{
    fn id(&self) -> u64 {
        self.definition.id
    }

    fn name(&self) -> &str {
        &self.definition.name
    }

    fn fork(&self) -> Arc<dyn Postings<K>> {
        Arc::new(Self {
            definition: Arc::clone(&self.definition),
            table: self.table.clone(),
            quarantined: self.quarantined.clone(),
        })
    }

    fn edit(&self, slot: u32, old: Option<&K>, new: Option<&K>) -> Option<Edit> {
        let was_quarantined = self.quarantined.contains(slot);
        let old = if was_quarantined { None } else { old };
        let mut gone = self.values(old).unwrap_or_default();
        let come = self.values(new);
        let quarantine = come.is_none();
        let mut come = come.unwrap_or_default();
        gone.retain(|value| {
            let stays = come.iter().position(|new| new == value);
            if let Some(at) = stays {
                come.swap_remove(at);
            }
            stays.is_none()
        });
        if gone.is_empty() && come.is_empty() && quarantine == was_quarantined {
            return None;
        }
        Some(Box::new(ValueEdit {
            gone,
            come,
            quarantine,
        }))
    }

    fn commit(&mut self, slot: u32, edit: Edit) {
        let Ok(edit) = edit.downcast::<ValueEdit<V>>() else {
            unreachable!("an edit is committed to the index that made it");
        };
        for value in &edit.gone {
            self.table.remove(value, slot);
        }
        for value in edit.come {
            self.table.insert_owned(value, slot);
        }
        if edit.quarantine {
            self.quarantined.insert(slot);
        } else if !self.quarantined.is_empty() {
            self.quarantined.remove(slot);
        }
    }

    fn quarantined(&self) -> &SlotSet {
        &self.quarantined
    }

    fn size(&self) -> (usize, usize) {
        self.table.size()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
