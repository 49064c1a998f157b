//! [`Cache`] as a [`Store`] and an [`Indexer`].

use std::{collections::BTreeSet, sync::Arc};

use super::{Cache, claimed};
use crate::{
    Delta, Entry, IndexExists, Indexer, NoIndex, Object, ObjectKey, Replacement, ResourceVersion, ResyncPart,
    Snapshot, Store, TextValues, Tombstone, Unkeyed,
    apply::ask_key,
    index::{ByName, Postings, find_text, text_of, values_text},
    persist::SlotSet,
};

/// The name of the index that is built in.
const NAMESPACE: &str = "namespace";

impl<K: Object> Cache<K> {
    /// `object` with its metadata key, refused if the key function refuses it.
    fn entry(&self, object: Arc<K>) -> Result<Entry<K>, Unkeyed<Arc<K>>> {
        if let Some(function) = &self.inner.rules.key_function {
            return match ask_key(&**function, &object) {
                // The name is the metadata's where there is one; the function is asked again when it is applied.
                Ok(key) => Ok(Entry::with_key(object.key().unwrap_or(key), object)),
                Err(error) => Err(Unkeyed { object, error }),
            };
        }
        Entry::new(object)
    }

    fn put(&self, object: Arc<K>, delta: fn(Entry<K>) -> Delta<K>) -> Result<(), Unkeyed<Arc<K>>> {
        let version = claimed(object.version());
        let entry = self.entry(object)?;
        self.inner.apply_one(delta(entry), version);
        Ok(())
    }
}

/// Direct use, without a reflector. The guards of [`Cache::apply`] hold here too: an object that is older than the one
/// held under its key and uid, or of the same version, changes nothing; objects without a version always pass.
impl<K: Object> Store<K> for Cache<K> {
    fn add(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        self.put(object, Delta::Added)
    }

    fn update(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        self.put(object, Delta::Updated)
    }

    /// The object names the key; whichever uid or version is held under it goes. Its version, where newer, becomes
    /// the version of the store.
    fn delete(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        let version = claimed(object.version());
        let Entry { key, object, .. } = self.entry(object)?;
        let tombstone = Tombstone {
            object: Some(object.into_inner()),
            inferred: false,
            ..Tombstone::of(key)
        };
        self.inner.apply_one(Delta::Deleted(tombstone), version);
        Ok(())
    }

    fn delete_key(&self, key: &ObjectKey) {
        let tombstone = Tombstone::of(key.clone());
        self.inner.apply_one(Delta::Deleted(tombstone), None);
    }

    fn replace(&self, objects: Vec<Arc<K>>, version: ResourceVersion) -> Result<(), Unkeyed<Arc<K>>> {
        let entries: Result<Vec<_>, _> = objects.into_iter().map(|object| self.entry(object)).collect();
        let replacement = Replacement::new(entries?, version.clone());
        self.inner
            .apply_one(Delta::Replaced(replacement), claimed(version));
        Ok(())
    }

    fn resync(&self) {
        self.inner.apply_one(Delta::Resync(ResyncPart::ALL), None);
    }

    fn bookmark(&self, version: ResourceVersion) {
        let claimed = claimed(version.clone());
        self.inner.apply_one(Delta::Bookmark(version), claimed);
    }

    fn resource_version(&self) -> ResourceVersion {
        Self::resource_version(self)
    }

    /// In slot order.
    fn list(&self) -> Vec<Arc<K>> {
        let snapshot = self.snapshot();
        snapshot.state().slots().to_vec(snapshot.len())
    }

    /// In slot order.
    fn list_keys(&self) -> Vec<ObjectKey> {
        let snapshot = self.snapshot();
        snapshot.entries().map(|(key, _)| key.clone()).collect()
    }

    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        Self::get(self, namespace, name)
    }

    fn get_by_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        Self::get_by_key(self, key)
    }
}

/// One index of one instant, by name.
enum Named<'a, K> {
    Namespace,
    Postings(&'a dyn Postings<K>),
}

fn named<'a, K>(snapshot: &'a Snapshot<K>, name: &str) -> Result<Named<'a, K>, NoIndex> {
    let mut indexes = snapshot.state().indexes().iter();
    match indexes.find(|index| index.name() == name) {
        Some(index) => Ok(Named::Postings(&**index)),
        None if name == NAMESPACE => Ok(Named::Namespace),
        None => Err(NoIndex(name.to_owned())),
    }
}

fn slots<'a, K: 'static>(
    snapshot: &'a Snapshot<K>,
    name: &str,
    value: &str,
) -> Result<Option<&'a SlotSet>, NoIndex> {
    match named(snapshot, name)? {
        Named::Namespace => Ok(snapshot.state().namespace(value)),
        Named::Postings(postings) => find_text(postings, value).ok_or_else(|| NoIndex(name.to_owned())),
    }
}

impl<K: Object> Indexer<K> for Cache<K> {
    fn index(&self, index: &str, object: &K) -> Result<Vec<Arc<K>>, NoIndex> {
        let snapshot = self.snapshot();
        let values = match named(&snapshot, index)? {
            Named::Namespace => object.namespace().map(str::to_owned).into_iter().collect(),
            Named::Postings(postings) => {
                text_of(postings, object).ok_or_else(|| NoIndex(index.to_owned()))?
            }
        };
        let mut found = BTreeSet::new();
        for value in values {
            found.extend(
                slots(&snapshot, index, &value)?
                    .into_iter()
                    .flat_map(SlotSet::iter),
            );
        }
        let held = found.into_iter().filter_map(|slot| snapshot.state().slot(slot));
        Ok(held.map(|held| Arc::clone(held.object)).collect())
    }

    fn index_keys(&self, index: &str, value: &str) -> Result<Vec<ObjectKey>, NoIndex> {
        let snapshot = self.snapshot();
        let slots = slots(&snapshot, index, value)?;
        let mut keys = slots.map_or_else(Vec::new, |slots| snapshot.keys(slots));
        keys.sort_unstable();
        Ok(keys)
    }

    fn by_index(&self, index: &str, value: &str) -> Result<Vec<Arc<K>>, NoIndex> {
        let snapshot = self.snapshot();
        let slots = slots(&snapshot, index, value)?;
        Ok(slots.map_or_else(Vec::new, |slots| {
            snapshot.objects(slots.iter()).cloned().collect()
        }))
    }

    fn list_index_values(&self, index: &str) -> Result<Vec<String>, NoIndex> {
        let snapshot = self.snapshot();
        let mut values = match named(&snapshot, index)? {
            Named::Namespace => {
                let namespaces = snapshot.state().namespaces().iter();
                namespaces.map(|bucket| bucket.value.to_string()).collect()
            }
            Named::Postings(postings) => values_text(postings).ok_or_else(|| NoIndex(index.to_owned()))?,
        };
        values.sort_unstable();
        Ok(values)
    }

    fn list_indexes(&self) -> Vec<String> {
        let snapshot = self.snapshot();
        let indexes = snapshot
            .state()
            .indexes()
            .iter()
            .map(|index| index.name().to_owned());
        [NAMESPACE.to_owned()].into_iter().chain(indexes).collect()
    }

    fn add_index(&self, name: &str, values: TextValues<K>) -> Result<(), IndexExists> {
        let index = ByName::new(name, values);
        self.inner.add_index(index.name(), index.build())
    }

    fn drop_index(&self, name: &str) -> bool {
        self.inner.drop_index(|index| index.name() == name)
    }
}
