//! [`Store`] and [`Indexer`]: the traits behind which a cache can be swapped.

use std::{collections::HashSet, sync::Arc};

use async_trait::async_trait;

use crate::{
    Closed, Entry, Object, ObjectKey, ReflectorStore, Replacement, ResourceVersion, ResyncPart, Tombstone,
    Unkeyed,
};

/// A thread-safe store of objects by key.
///
/// The smallest thing that can stand at the end of a pipeline; [`Cache`](crate::Cache) is the built-in one. To put
/// one of your own behind a reflector, wrap it in [`Direct`].
///
/// # Contract
/// Every method may be called from any thread at any time. A call that returns has taken effect for every later call.
/// Objects are shared, never changed. The order of lists is the implementation's to document.
///
/// # Errors
/// A method that takes an object hands it back, with the reason, where it has no key.
///
/// # Source
/// client-go `tools/cache/store.go` `Store`; differs: `get` takes namespace and name instead of an object.
pub trait Store<K>: Send + Sync {
    /// Puts an object under its key, replacing what is there.
    ///
    /// # Errors
    /// [`Unkeyed`] hands the object back.
    fn add(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>>;

    /// Puts an object under its key, replacing what is there.
    ///
    /// # Errors
    /// [`Unkeyed`] hands the object back.
    fn update(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>>;

    /// Removes the object of this object's key; nothing happens if there is none.
    ///
    /// # Errors
    /// [`Unkeyed`] hands the object back.
    fn delete(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>>;

    /// Removes what is under a key, where no object is at hand.
    fn delete_key(&self, key: &ObjectKey);

    /// Makes `objects` the whole contents, at `version`. All or nothing.
    ///
    /// # Errors
    /// [`Unkeyed`] hands back the first object without a key; nothing was replaced then.
    fn replace(&self, objects: Vec<Arc<K>>, version: ResourceVersion) -> Result<(), Unkeyed<Arc<K>>>;

    /// Delivers everything once more to those who listen, if the store has listeners.
    fn resync(&self) {}

    /// Learns that nothing changed up to `version`.
    fn bookmark(&self, _version: ResourceVersion) {}

    /// How far the history has been applied, if the store keeps track.
    fn resource_version(&self) -> ResourceVersion {
        ResourceVersion::UNSET
    }

    /// Every object.
    fn list(&self) -> Vec<Arc<K>>;

    /// Every key.
    fn list_keys(&self) -> Vec<ObjectKey>;

    /// The object of `name` in `namespace`; empty for a cluster-scoped one.
    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>>;

    /// The object of `key`.
    fn get_by_key(&self, key: &ObjectKey) -> Option<Arc<K>>;
}

/// What an index named at run time takes of an object.
pub type TextValues<K> = Box<dyn Fn(&K) -> Vec<String> + Send + Sync>;

/// A [`Store`] with indexes that go by name and whose values are text.
///
/// Where types are known, [`Index`](crate::Index) handles are faster and checked by the compiler; these serve generic
/// code, and finds what they hold as long as the values are `String`s.
///
/// # Errors
/// [`NoIndex`] for a name under which there is no index of text.
///
/// # Source
/// client-go `tools/cache/index.go` `Indexer`; differs: indexes can be dropped, and an unknown one is a typed error.
pub trait Indexer<K>: Store<K> {
    /// The objects that share a value of `index` with `object`, each once.
    fn index(&self, index: &str, object: &K) -> Result<Vec<Arc<K>>, NoIndex>;

    /// The keys of the objects with `value`, sorted.
    fn index_keys(&self, index: &str, value: &str) -> Result<Vec<ObjectKey>, NoIndex>;

    /// The objects with `value`.
    fn by_index(&self, index: &str, value: &str) -> Result<Vec<Arc<K>>, NoIndex>;

    /// Every value that some object has, sorted.
    fn list_index_values(&self, index: &str) -> Result<Vec<String>, NoIndex>;

    /// The names of all indexes.
    fn list_indexes(&self) -> Vec<String>;

    /// Adds an index and fills it with what is held.
    ///
    /// # Errors
    /// [`IndexExists`] if the name is taken.
    fn add_index(&self, name: &str, values: TextValues<K>) -> Result<(), IndexExists>;

    /// Drops an index; false if there is none of that name.
    fn drop_index(&self, name: &str) -> bool;
}

/// There is no index of that name, or its values are not text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no index named {0:?} whose values are text: add it, or use its typed handle")]
pub struct NoIndex(pub String);

/// There is an index of that name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is an index named {0:?} already: choose another name, or drop it first")]
pub struct IndexExists(pub String);

/// Puts a [`Store`] directly behind a reflector: every call goes through at once.
///
/// Objects that the store refuses a key are left out, and logged. A list with such objects is put object by object, as a
/// store takes lists whole or not at all.
///
/// # Examples
/// See `examples/custom_store.rs` of this crate.
#[derive(Clone, Debug, Default)]
pub struct Direct<S>(pub S);

impl<S> Direct<S> {
    /// Takes a list of which the store refuses some objects: finds out which, and leaves them out.
    fn replace_singly<K: Object>(&self, mut objects: Vec<Arc<K>>, version: ResourceVersion)
    where
        S: Store<K>,
    {
        objects.retain(|object| self.0.update(Arc::clone(object)).inspect_err(left_out).is_ok());
        let _ = self.0.replace(objects, version).inspect_err(left_out);
    }
}

fn left_out<K: Object>(refused: &Unkeyed<Arc<K>>) {
    let key = refused.object.key().ok();
    let error = refused.error.to_string();
    tracing::warn!(key = ?key, error = ?error, "the store refuses an object; left out");
}

#[async_trait]
impl<K: Object, S: Store<K>> ReflectorStore<K> for Direct<S> {
    async fn replace(&self, replacement: Replacement<K>) -> Result<(), Closed> {
        let mut objects: Vec<_> = replacement
            .entries
            .into_iter()
            .map(|entry| entry.object.into_inner())
            .collect();
        // What could not be decoded stays as it is.
        if !replacement.kept.is_empty() {
            let kept: HashSet<_> = replacement.kept.iter().collect();
            // By the keys of the metadata: the store may have others.
            let is_kept = |held: &Arc<K>| held.key().is_ok_and(|key| kept.contains(&key));
            objects.extend(self.0.list().into_iter().filter(is_kept));
        }
        if self
            .0
            .replace(objects.clone(), replacement.version.clone())
            .is_err()
        {
            self.replace_singly(objects, replacement.version);
        }
        Ok(())
    }

    async fn add(&self, entry: Entry<K>) -> Result<(), Closed> {
        let _ = self.0.add(entry.object.into_inner()).inspect_err(left_out);
        Ok(())
    }

    async fn update(&self, entry: Entry<K>) -> Result<(), Closed> {
        let _ = self.0.update(entry.object.into_inner()).inspect_err(left_out);
        Ok(())
    }

    async fn delete(&self, tombstone: Tombstone<K>) -> Result<(), Closed> {
        match tombstone.object {
            Some(object) => drop(self.0.delete(object).inspect_err(left_out)),
            None => self.0.delete_key(&tombstone.key),
        }
        Ok(())
    }

    async fn resync(&self, part: ResyncPart) -> Result<(), Closed> {
        // A plain store knows no parts: all at once, in the first.
        if part.part == 0 {
            self.0.resync();
        }
        Ok(())
    }

    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        self.0.bookmark(version);
        Ok(())
    }

    fn held(&self, key: crate::KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<K>> {
        let held = self.0.get(key.namespace.unwrap_or_default(), key.name)?;
        (held.uid() == Some(uid) && held.resource_version() == Some(version)).then_some(held)
    }
}
