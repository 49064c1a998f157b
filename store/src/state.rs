//! [`State`]: everything a snapshot pins, and the primitive steps on it.

use std::sync::Arc;

use smallvec::SmallVec;

use crate::{
    KeyRef, Object, ObjectKey, ResourceVersion, Stamped,
    index::{Edit, Postings, ValueTable},
    persist::{SlotSet, SlotTable},
    slots::{Held, Slots},
};

/// Objects, their table, every index and the version, of one instant. Cloned in O(1).
pub(crate) struct State<K> {
    slots: Slots<K>,
    /// Key → slot.
    table: SlotTable,
    namespaces: ValueTable<Box<str>>,
    /// Bytes of the texts of all keys.
    key_bytes: usize,
    /// Metadata key → slots, kept only where a key function of the user's makes the two differ.
    metadata: Option<ValueTable<ObjectKey>>,
    indexes: triomphe::Arc<Vec<Arc<dyn Postings<K>>>>,
    /// How far the history has been applied.
    pub(crate) version: ResourceVersion,
    /// Steps applied: the position in the log at which a subscription that starts here goes on.
    pub(crate) steps: u64,
    /// Changes made, ever.
    pub(crate) changes: u64,
    /// Whether a list has been applied.
    pub(crate) synced: bool,
}

impl<K> Clone for State<K> {
    fn clone(&self) -> Self {
        Self {
            slots: self.slots.clone(),
            table: self.table.clone(),
            namespaces: self.namespaces.clone(),
            key_bytes: self.key_bytes,
            metadata: self.metadata.clone(),
            indexes: triomphe::Arc::clone(&self.indexes),
            version: self.version.clone(),
            steps: self.steps,
            changes: self.changes,
            synced: self.synced,
        }
    }
}

impl<K: Object> Held<'_, K> {
    pub(crate) fn version(&self) -> ResourceVersion {
        match self.stamp.version() {
            Some(number) => number.into(),
            None => self.object.version(),
        }
    }
}

impl<K> State<K> {
    /// An empty state; `rekeyed` where keys are not those of the metadata.
    pub(crate) fn new(rekeyed: bool) -> Self {
        Self {
            slots: Slots::default(),
            table: SlotTable::default(),
            namespaces: ValueTable::default(),
            key_bytes: 0,
            metadata: rekeyed.then(ValueTable::default),
            indexes: triomphe::Arc::new(Vec::new()),
            version: ResourceVersion::UNSET,
            steps: 0,
            changes: 0,
            synced: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.table.len()
    }

    /// One past the highest slot ever used.
    pub(crate) fn slot_count(&self) -> u32 {
        self.slots.count()
    }

    #[inline]
    pub(crate) fn slot(&self, slot: u32) -> Option<Held<'_, K>> {
        self.slots.get(slot)
    }

    #[inline]
    pub(crate) fn find(&self, key: &ObjectKey) -> Option<(u32, Held<'_, K>)> {
        let slot = self.table.first(key.precomputed_hash())?;
        match self.slot(slot) {
            Some(held) if held.key == key => Some((slot, held)),
            _ => self.find_further(key.as_ref()),
        }
    }

    #[inline]
    pub(crate) fn find_ref(&self, key: KeyRef<'_>) -> Option<Held<'_, K>> {
        match self.slot(self.table.first(key.hash())?) {
            Some(held) if key == *held.key => Some(held),
            _ => self.find_further(key).map(|(_, held)| held),
        }
    }

    /// Finds `key` where another key has as good as the same hash.
    #[cold]
    #[inline(never)]
    fn find_further(&self, key: KeyRef<'_>) -> Option<(u32, Held<'_, K>)> {
        let is_it = |slot| self.slot(slot).is_some_and(|held| key == *held.key);
        let slot = self.table.find(key.hash(), is_it)?;
        Some((slot, self.slot(slot)?))
    }

    /// The slots of objects whose metadata has `key`.
    pub(crate) fn find_metadata(&self, key: &ObjectKey) -> Vec<u32> {
        match &self.metadata {
            Some(metadata) => metadata.find(key).into_iter().flat_map(SlotSet::iter).collect(),
            None => self.find(key).map(|(slot, _)| slot).into_iter().collect(),
        }
    }

    /// What is held under the metadata key `key`, any of several.
    pub(crate) fn find_metadata_ref(&self, key: KeyRef<'_>) -> Option<Held<'_, K>> {
        match &self.metadata {
            Some(metadata) => self.slot(metadata.find(&key.to_key())?.iter().next()?),
            None => self.find_ref(key),
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Held<'_, K>)> {
        self.slots.iter()
    }

    pub(crate) fn slots(&self) -> &Slots<K> {
        &self.slots
    }

    pub(crate) fn namespace(&self, namespace: &str) -> Option<&SlotSet> {
        self.namespaces.find(namespace)
    }

    pub(crate) fn namespaces(&self) -> &ValueTable<Box<str>> {
        &self.namespaces
    }

    /// Bytes of heap of key texts, slots and tables.
    pub(crate) fn heap_bytes(&self) -> (usize, usize, usize) {
        let mut tables = self.table.heap_bytes();
        if let Some(metadata) = &self.metadata {
            tables += metadata.heap_bytes();
        }
        (self.key_bytes, self.slots.heap_bytes(), tables)
    }

    pub(crate) fn indexes(&self) -> &[Arc<dyn Postings<K>>] {
        &self.indexes
    }

    /// The indexes as they are, to be read for a moment after the state is out of hand. To be dropped before the next
    /// write, which else copies.
    pub(crate) fn share_indexes(&self) -> triomphe::Arc<Vec<Arc<dyn Postings<K>>>> {
        triomphe::Arc::clone(&self.indexes)
    }

    pub(crate) fn index(&self, id: u64) -> Option<&dyn Postings<K>> {
        let found = self.indexes.iter().find(|postings| postings.id() == id)?;
        Some(&**found)
    }

    pub(crate) fn set_indexes(&mut self, indexes: Vec<Arc<dyn Postings<K>>>) {
        self.indexes = triomphe::Arc::new(indexes);
    }
}

/// The text of a key with its reference count, its hash, and where it splits.
fn key_bytes(key: &ObjectKey) -> usize {
    key.as_str().len() + 20
}

/// What a change of one slot does to the indexes, computed before the state was at hand: the functions are the user's,
/// and nothing of the user's runs while readers may wait.
pub(crate) struct Prepared<K> {
    old: Option<Arc<K>>,
    /// One for each index.
    edits: SmallVec<[Option<Edit>; 2]>,
}

impl<K> Prepared<K> {
    pub(crate) fn new(indexes: &[Arc<dyn Postings<K>>], old: Option<(u32, Arc<K>)>, new: Option<&K>) -> Self {
        // No index says anything of a slot that is not held yet.
        let (slot, old) = old.map_or((u32::MAX, None), |(slot, old)| (slot, Some(old)));
        let edits = indexes.iter().map(|index| index.edit(slot, old.as_deref(), new));
        Self {
            edits: edits.collect(),
            old,
        }
    }

    /// Whether it was computed for this change of what is held; an earlier delta of the same batch may have changed
    /// that.
    fn fits(&self, old: Option<&Arc<K>>) -> bool {
        match (&self.old, old) {
            (None, None) => true,
            (Some(expected), Some(old)) => Arc::ptr_eq(expected, old),
            _ => false,
        }
    }
}

impl<K: Object> State<K> {
    /// Puts a new key's object into a slot.
    pub(crate) fn insert(&mut self, key: ObjectKey, object: Stamped<K>, prepared: Option<Prepared<K>>) {
        self.key_bytes += key_bytes(&key);
        let hash = key.precomputed_hash();
        let slot = self.slots.next();
        self.reindex(slot, None, Some(&object), prepared);
        if let Some(namespace) = self.namespace_of(&key, &*object) {
            self.namespaces.insert(namespace, slot);
        }
        if let Some(metadata) = &mut self.metadata
            && let Ok(key) = object.key()
        {
            metadata.insert_owned(key, slot);
        }
        self.slots.insert(key, object);
        self.table.insert_new(hash, slot);
    }

    /// Replaces what `slot` holds, and hands it back.
    #[inline]
    pub(crate) fn replace(&mut self, slot: u32, object: Stamped<K>, prepared: Option<Prepared<K>>) -> Arc<K> {
        if !self.indexes.is_empty() || self.metadata.is_some() {
            let held = self.slot(slot).expect("only held slots are replaced");
            let old = Arc::clone(held.object);
            self.reindex(slot, Some(&old), Some(&object), prepared);
            if self.metadata.is_some() {
                self.move_metadata(slot, &old, &object);
            }
        }
        let mut object = object;
        self.exchange(slot, &mut object);
        object.into_inner()
    }

    /// Puts `object` into `slot` in exchange for what it holds, as far as no index is concerned.
    #[inline]
    pub(crate) fn exchange(&mut self, slot: u32, object: &mut Stamped<K>) {
        self.slots.exchange(slot, object);
    }

    /// The namespace under which `object` is found. Its key tells, unless keys are the user's: that is at hand, while the
    /// object may have to be waited for.
    fn namespace_of<'a>(&self, key: &'a ObjectKey, object: &'a K) -> Option<&'a str> {
        match self.metadata {
            None => key.namespace(),
            Some(_) => object.namespace().filter(|text| !text.is_empty()),
        }
    }

    /// Keys of the user's may stay while namespace or name change.
    fn move_metadata(&mut self, slot: u32, old: &K, new: &K) {
        let text = |object: &K| {
            object
                .namespace()
                .filter(|text| !text.is_empty())
                .map(Box::<str>::from)
        };
        let (from, to) = (text(old), text(new));
        if from != to {
            if let Some(from) = from {
                self.namespaces.remove(&*from, slot);
            }
            if let Some(to) = to {
                self.namespaces.insert_owned(to, slot);
            }
        }
        let (from, to) = (old.key().ok(), new.key().ok());
        if let Some(metadata) = self.metadata.as_mut().filter(|_| from != to) {
            if let Some(from) = from {
                metadata.remove(&from, slot);
            }
            if let Some(to) = to {
                metadata.insert_owned(to, slot);
            }
        }
    }

    /// Empties `slot`, and hands back what it held.
    pub(crate) fn remove(&mut self, slot: u32, prepared: Option<Prepared<K>>) -> (ObjectKey, Arc<K>) {
        let (key, object) = self.slots.remove(slot);
        self.key_bytes -= key_bytes(&key);
        self.table.remove(key.precomputed_hash(), slot);
        if let Some(namespace) = self.namespace_of(&key, &object) {
            self.namespaces.remove(namespace, slot);
        }
        if let Some(metadata) = &mut self.metadata
            && let Ok(key) = object.key()
        {
            metadata.remove(&key, slot);
        }
        self.reindex(slot, Some(&object), None, prepared);
        (key, object)
    }

    fn reindex(
        &mut self,
        slot: u32,
        old: Option<&Arc<K>>,
        new: Option<&Arc<K>>,
        prepared: Option<Prepared<K>>,
    ) {
        if self.indexes.is_empty() {
            return;
        }
        let prepared = prepared.filter(|prepared| prepared.fits(old));
        let prepared = prepared.unwrap_or_else(|| {
            let old = old.map(|old| (slot, Arc::clone(old)));
            Prepared::new(&self.indexes, old, new.map(|new| &**new))
        });
        for (at, edit) in prepared.edits.into_iter().enumerate() {
            let Some(edit) = edit else { continue };
            let index = &mut triomphe::Arc::make_mut(&mut self.indexes)[at];
            if Arc::get_mut(index).is_none() {
                *index = index.fork();
            }
            let index = Arc::get_mut(index).expect("a fork has one owner");
            index.commit(slot, edit);
        }
    }
}
