//! [`Snapshot`]: one instant of a cache.

use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc};

use crate::{
    Index, KeyRef, Object, ObjectKey, ResourceVersion,
    index::{HashPostings, has_value},
    persist::SlotSetIter,
    state::State,
};

/// One instant of a [`Cache`](crate::Cache): its objects, every index and the resource version.
///
/// A snapshot never changes, holds up nobody, and is cloned for the price of a reference count. It keeps what it
/// shows alive: while it is held, a write copies the chunks it touches (some 16 entries each) instead of writing in
/// place, and replaced objects stay in memory. Hold it for a look, not for a lifetime.
///
/// # Ordering
/// [`list`](Self::list), [`namespace`](Self::namespace) and [`by_index`](Self::by_index) all go in *slot order*:
/// the order in which keys arrived, where a new key takes the place of one that went. An object keeps its place for
/// as long as its key is held, across updates and snapshots.
pub struct Snapshot<K> {
    state: Arc<State<K>>,
}

impl<K> Snapshot<K> {
    pub(crate) fn new(state: Arc<State<K>>) -> Self {
        Self { state }
    }

    pub(crate) fn state(&self) -> &Arc<State<K>> {
        &self.state
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.state.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the history had been applied.
    #[must_use]
    pub fn resource_version(&self) -> &ResourceVersion {
        &self.state.version
    }

    /// Whether a whole list had been applied.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.state.synced
    }

    /// The object of `name` in `namespace` (empty for a cluster-scoped one). Allocates nothing.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<&Arc<K>> {
        let held = self.state.find_ref(KeyRef::new(Some(namespace), name))?;
        Some(&held.object)
    }

    /// The object of `key`.
    #[must_use]
    pub fn get_by_key(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        Some(&self.state.find(key)?.1.object)
    }

    /// Every object, in slot order. Lazy; allocates nothing.
    pub fn list(&self) -> impl Iterator<Item = &Arc<K>> {
        self.state.iter().map(|(_, held)| &held.object)
    }

    /// Every key with its object, in slot order. Lazy; allocates nothing.
    pub fn entries(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<K>)> {
        self.state.iter().map(|(_, held)| (&held.key, &held.object))
    }

    /// The objects of one namespace, in slot order. Lazy; allocates nothing.
    pub fn namespace(&self, namespace: &str) -> impl ExactSizeIterator<Item = &Arc<K>> {
        let slots = self.state.namespace(namespace);
        self.objects(slots.map_or_else(SlotSetIter::empty, |slots| slots.iter()))
    }

    fn objects<'a>(&'a self, slots: SlotSetIter<'a>) -> impl ExactSizeIterator<Item = &'a Arc<K>> {
        slots.map(|slot| {
            let held = self.state.slot(slot).expect("an index holds held slots");
            &held.object
        })
    }
}

impl<K: Object> Snapshot<K> {
    /// The objects that have `value` in `index`, in slot order. Lazy; allocates nothing but the iterator.
    ///
    /// A snapshot taken before the index was added, or after it was dropped, answers by scanning.
    pub fn by_index<'a, V, Q>(
        &'a self,
        index: &'a Index<K, V>,
        value: &'a Q,
    ) -> impl Iterator<Item = &'a Arc<K>>
    where
        V: Borrow<Q> + Hash + Eq + Clone + Send + Sync + 'static,
        Q: Hash + Eq + ?Sized,
    {
        let postings = self.postings(index);
        let slots = postings.and_then(|postings| postings.table().find(value));
        let indexed = self.objects(slots.map_or_else(SlotSetIter::empty, |slots| slots.iter()));
        let scanned = postings.is_none().then(|| {
            self.list()
                .filter(move |object| has_value(&index.definition, object, value))
        });
        indexed.chain(scanned.into_iter().flatten())
    }

    fn postings<V: 'static>(&self, index: &Index<K, V>) -> Option<&HashPostings<K, V>> {
        let found = self
            .state
            .indexes()
            .iter()
            .find(|postings| postings.id() == index.definition.id)?;
        found.as_any().downcast_ref()
    }
}

impl<K> Clone for Snapshot<K> {
    fn clone(&self) -> Self {
        Self {
            state: Arc::clone(&self.state),
        }
    }
}

impl<K> fmt::Debug for Snapshot<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("len", &self.len())
            .field("version", self.resource_version())
            .finish_non_exhaustive()
    }
}
