//! [`KnownObjects`]: what a consumer that is not our store already holds.

use std::sync::Arc;

use informer_store::ObjectKey;

/// What the consumer of a classic queue has applied so far.
///
/// A classic queue asks it to find out what a replacement removed, whether a deletion concerns anybody, and what to
/// deliver on a resync. Called with the queue locked: answer from memory, and never call back into the queue.
///
/// # Examples
/// ```
/// use std::{collections::BTreeMap, sync::{Arc, Mutex}};
/// use informer_deltafifo::KnownObjects;
/// use informer_store::ObjectKey;
///
/// struct Mine<K>(Mutex<BTreeMap<ObjectKey, Arc<K>>>);
///
/// impl<K: Send + Sync> KnownObjects<K> for Mine<K> {
///     fn keys(&self) -> Vec<ObjectKey> { self.0.lock().unwrap().keys().cloned().collect() }
///     fn get(&self, key: &ObjectKey) -> Option<Arc<K>> { self.0.lock().unwrap().get(key).cloned() }
/// }
/// ```
///
/// # Source
/// client-go `tools/cache/delta_fifo.go` `KeyListerGetter`.
pub trait KnownObjects<K>: Send + Sync {
    /// The keys of all objects held.
    fn keys(&self) -> Vec<ObjectKey>;

    /// The object under `key`. `None` for a key that [`keys`](Self::keys) named means that only its key is known.
    fn get(&self, key: &ObjectKey) -> Option<Arc<K>>;

    /// Whether there is an object under `key`.
    fn contains(&self, key: &ObjectKey) -> bool {
        self.get(key).is_some()
    }
}

impl<K, S: KnownObjects<K> + ?Sized> KnownObjects<K> for Arc<S> {
    fn keys(&self) -> Vec<ObjectKey> {
        (**self).keys()
    }

    fn get(&self, key: &ObjectKey) -> Option<Arc<K>> {
        (**self).get(key)
    }

    fn contains(&self, key: &ObjectKey) -> bool {
        (**self).contains(key)
    }
}
