//! [`Snapshot`]: one instant of a cache.

use std::{
    borrow::Borrow,
    fmt,
    hash::Hash,
    ops::{Bound, RangeBounds},
    sync::Arc,
};

use crate::{
    Index, IndexHandle, KeyRef, Lookup, Object, ObjectKey, OrderedIndex, Query, ResourceVersion,
    index::ValueTable,
    persist::{SlotSet, SlotSetIter},
    state::State,
};

/// One instant of a [`Cache`](crate::Cache): its objects, every index and the resource version.
///
/// A snapshot never changes, holds up nobody, and is cloned for the price of a reference count. It keeps what it
/// shows alive: while it is held, a write copies the chunks it touches (some 8 entries each) instead of writing in
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
        Some(held.object)
    }

    /// The object of `key`.
    #[must_use]
    pub fn get_by_key(&self, key: &ObjectKey) -> Option<&Arc<K>> {
        Some(self.state.find(key)?.1.object)
    }

    /// Every object, in slot order. Lazy; allocates nothing.
    pub fn list(&self) -> impl Iterator<Item = &Arc<K>> {
        self.state.slots().objects()
    }

    /// Every key with its object, in slot order. Lazy; allocates nothing.
    pub fn entries(&self) -> impl Iterator<Item = (&ObjectKey, &Arc<K>)> {
        self.state.iter().map(|(_, held)| (held.key, held.object))
    }

    /// The objects of one namespace, in slot order. Lazy; allocates nothing.
    pub fn namespace(&self, namespace: &str) -> impl ExactSizeIterator<Item = &Arc<K>> {
        let slots = self.state.namespace(namespace);
        self.objects(slots.map_or_else(SlotSetIter::empty, |slots| slots.iter()))
    }

    pub(crate) fn objects<'a>(&'a self, slots: SlotSetIter<'a>) -> impl ExactSizeIterator<Item = &'a Arc<K>> {
        slots.map(|slot| {
            let held = self.state.slot(slot).expect("an index holds held slots");
            held.object
        })
    }
}

impl<K: Object> Snapshot<K> {
    /// The objects that have `value` in `index`, in slot order. Lazy.
    ///
    /// A snapshot that is without the index, being older than it or taken after it was dropped, answers by scanning.
    pub fn by_index<'a, Q: ?Sized>(
        &'a self,
        index: &'a impl Lookup<K, Q>,
        value: &'a Q,
    ) -> impl Iterator<Item = &'a Arc<K>> {
        let found = index.look_up(self, value);
        let scanned = found
            .is_none()
            .then(|| self.list().filter(move |object| index.has(object, value)));
        let slots = found.and_then(|found| found.0);
        let indexed = self.objects(slots.map_or_else(SlotSetIter::empty, |slots| slots.iter()));
        indexed.chain(scanned.into_iter().flatten())
    }

    /// How many objects have `value` in `index`, without visiting them.
    #[must_use]
    pub fn count_by_index<Q: ?Sized>(&self, index: &impl Lookup<K, Q>, value: &Q) -> usize {
        match index.look_up(self, value) {
            Some(found) => found.0.map_or(0, SlotSet::len),
            None => self.list().filter(|object| index.has(object, value)).count(),
        }
    }

    /// Values within `range` and the objects that have them, by value, then in slot order. Lazy.
    ///
    /// Empty if the snapshot is without the index.
    pub fn range<'a, V, Q, R>(
        &'a self,
        index: &OrderedIndex<K, V>,
        range: R,
    ) -> impl Iterator<Item = (&'a V, &'a Arc<K>)> + use<'a, K, V, Q, R>
    where
        V: Borrow<Q> + Ord + Clone + Send + Sync + 'static,
        Q: Ord + ?Sized + 'a,
        R: RangeBounds<Q> + 'a,
    {
        self.range_of(index, range).flat_map(|(value, slots)| {
            let objects = self.objects(slots.iter());
            objects.map(move |object| (value, object))
        })
    }

    pub(crate) fn range_of<'a, V, Q, R>(
        &'a self,
        index: &OrderedIndex<K, V>,
        range: R,
    ) -> impl Iterator<Item = (&'a V, &'a SlotSet)> + use<'a, K, V, Q, R>
    where
        V: Borrow<Q> + Ord + Clone + Send + Sync + 'static,
        Q: Ord + ?Sized + 'a,
        R: RangeBounds<Q> + 'a,
    {
        let table = index.table(self);
        let found = table.map(|table| table.from(range.start_bound()));
        found
            .into_iter()
            .flatten()
            .take_while(move |(value, _)| match range.end_bound() {
                Bound::Unbounded => true,
                Bound::Included(end) => (*value).borrow() <= end,
                Bound::Excluded(end) => (*value).borrow() < end,
            })
    }

    /// Values that begin with `prefix` and the objects that have them, by value, then in slot order. Lazy.
    ///
    /// Empty if the snapshot is without the index.
    pub fn prefix<'a, V>(
        &'a self,
        index: &OrderedIndex<K, V>,
        prefix: &'a str,
    ) -> impl Iterator<Item = (&'a V, &'a Arc<K>)> + use<'a, K, V>
    where
        V: Borrow<str> + Ord + Clone + Send + Sync + 'static,
    {
        let range = self.range::<V, str, _>(index, (Bound::Included(prefix), Bound::Unbounded));
        range.take_while(move |(value, _)| (*value).borrow().starts_with(prefix))
    }

    /// Every value of `index`, in no particular order, with the number of objects that have it.
    pub fn values<'a, V>(
        &'a self,
        index: &Index<K, V>,
    ) -> impl Iterator<Item = (&'a V, usize)> + use<'a, K, V>
    where
        V: Hash + Eq + Clone + Send + Sync + 'static,
    {
        let table = index.table(self);
        let buckets = table.into_iter().flat_map(ValueTable::iter);
        buckets.map(|bucket| (&bucket.value, bucket.slots.len()))
    }

    /// The values that more than one object has, for an index that should be [`unique`](Index::unique), with the
    /// keys that share them. Visits every value.
    pub fn conflicts<'a, V>(
        &'a self,
        index: &Index<K, V>,
    ) -> impl Iterator<Item = (&'a V, Vec<ObjectKey>)> + use<'a, K, V>
    where
        V: Hash + Eq + Clone + Send + Sync + 'static,
    {
        let buckets = index.table(self).into_iter().flat_map(ValueTable::iter);
        let shared = buckets.filter(|bucket| bucket.slots.len() > 1);
        shared.map(|bucket| (&bucket.value, self.keys(&bucket.slots)))
    }

    /// The keys that `index` leaves out because its function panicked on their objects.
    #[must_use]
    pub fn quarantined(&self, index: &impl IndexHandle<K>) -> Vec<ObjectKey> {
        let postings = self.state.index(index.id());
        postings.map_or_else(Vec::new, |postings| self.keys(postings.quarantined()))
    }

    pub(crate) fn keys(&self, slots: &SlotSet) -> Vec<ObjectKey> {
        let held = slots.iter().filter_map(|slot| self.state.slot(slot));
        held.map(|held| held.key.clone()).collect()
    }

    /// A question that combines several conditions.
    pub fn query(&self) -> Query<'_, K> {
        Query::new(self)
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
