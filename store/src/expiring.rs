//! [`ExpiringStore`]: a store that forgets.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Entry, Object, ObjectKey, ResourceVersion, Store, Unkeyed};

/// A [`Store`] whose objects vanish some time after they were last put.
///
/// An object older than the time to live is never returned. Readers only skip it; writers and
/// [`purge`](Self::purge) remove it, so that no read takes a lock for writing.
///
/// # Memory
/// Expired objects stay until the next purge. Each write that meets a full table purges first, so the table grows only
/// if live objects need it.
///
/// # Examples
/// ```
/// use std::{sync::Arc, time::Duration};
/// use informer_store::{ExpiringStore, Store};
/// use k8s_openapi::api::core::v1::Pod;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = ExpiringStore::<Pod>::new(Duration::from_secs(60));
/// store.add(Arc::new(serde_json::from_str(r#"{"metadata": {"namespace": "shop", "name": "web"}}"#)?))?;
/// assert!(store.get("shop", "web").is_some());
/// tokio::time::advance(Duration::from_secs(61)).await;
/// assert!(store.get("shop", "web").is_none());
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// client-go `tools/cache/expiration_cache.go` `ExpirationCache`, `NewTTLStore`; differs: reads take no write lock.
pub struct ExpiringStore<K> {
    contents: RwLock<Contents<K>>,
    time_to_live: Duration,
}

struct Contents<K> {
    objects: HashMap<ObjectKey, (Instant, Arc<K>)>,
    version: ResourceVersion,
}

impl<K> Contents<K> {
    /// Moves the version on, never back: objects are put and deleted in any order.
    fn reach(&mut self, version: ResourceVersion) {
        if !version.is_unset() && version.partial_cmp(&self.version) != Some(Ordering::Less) {
            self.version = version;
        }
    }
}

impl<K: Object> ExpiringStore<K> {
    /// A store that forgets after `time_to_live`; never, if that is zero.
    #[must_use]
    pub fn new(time_to_live: Duration) -> Self {
        let contents = Contents {
            objects: HashMap::new(),
            version: ResourceVersion::UNSET,
        };
        Self {
            contents: RwLock::new(contents),
            time_to_live,
        }
    }

    fn read<R>(&self, look: impl FnOnce(&Contents<K>) -> R) -> R {
        look(&self.contents.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<R>(&self, step: impl FnOnce(&mut Contents<K>) -> R) -> R {
        step(&mut self.contents.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn is_live(&self, put: Instant, now: Instant) -> bool {
        self.time_to_live.is_zero() || now.duration_since(put) <= self.time_to_live
    }

    /// Removes what has expired; returns how many objects that were.
    pub fn purge(&self) -> usize {
        let now = Instant::now();
        let expired = self.write(|contents| self.expired(contents, now));
        expired.len()
    }

    /// Taken out, to be dropped once no lock is held.
    fn expired(&self, contents: &mut Contents<K>, now: Instant) -> Vec<(ObjectKey, (Instant, Arc<K>))> {
        let is_expired = |_: &ObjectKey, (put, _): &mut (Instant, Arc<K>)| !self.is_live(*put, now);
        contents.objects.extract_if(is_expired).collect()
    }

    fn put(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        let Entry { key, object, .. } = Entry::new(object)?;
        let now = Instant::now();
        let version = object.version();
        let dropped = self.write(|contents| {
            let is_full = contents.objects.len() == contents.objects.capacity();
            let expired = if is_full {
                self.expired(contents, now)
            } else {
                Vec::new()
            };
            contents.reach(version);
            (expired, contents.objects.insert(key, (now, object.into_inner())))
        });
        drop(dropped);
        Ok(())
    }

    fn live(&self) -> Vec<(ObjectKey, Arc<K>)> {
        let now = Instant::now();
        self.read(|contents| {
            let live = contents
                .objects
                .iter()
                .filter(|(_, (put, _))| self.is_live(*put, now));
            live.map(|(key, (_, object))| (key.clone(), Arc::clone(object)))
                .collect()
        })
    }
}

/// Lists are in no particular order.
impl<K: Object> Store<K> for ExpiringStore<K> {
    fn add(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        self.put(object)
    }

    fn update(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        self.put(object)
    }

    fn delete(&self, object: Arc<K>) -> Result<(), Unkeyed<Arc<K>>> {
        let Entry { key, object, .. } = Entry::new(object)?;
        let version = object.version();
        let removed = self.write(|contents| {
            contents.reach(version);
            contents.objects.remove(&key)
        });
        drop(removed);
        Ok(())
    }

    fn delete_key(&self, key: &ObjectKey) {
        let removed = self.write(|contents| contents.objects.remove(key));
        drop(removed);
    }

    fn replace(&self, objects: Vec<Arc<K>>, version: ResourceVersion) -> Result<(), Unkeyed<Arc<K>>> {
        let now = Instant::now();
        let entries = objects.into_iter().map(Entry::<K>::new);
        let objects = entries
            .map(|entry| entry.map(|Entry { key, object, .. }| (key, (now, object.into_inner()))))
            .collect::<Result<HashMap<_, _>, _>>()?;
        let before = self.write(|contents| {
            contents.version = version;
            std::mem::replace(&mut contents.objects, objects)
        });
        drop(before);
        Ok(())
    }

    fn bookmark(&self, version: ResourceVersion) {
        self.write(|contents| contents.reach(version));
    }

    fn resource_version(&self) -> ResourceVersion {
        self.read(|contents| contents.version.clone())
    }

    fn list(&self) -> Vec<Arc<K>> {
        self.live().into_iter().map(|(_, object)| object).collect()
    }

    fn list_keys(&self) -> Vec<ObjectKey> {
        self.live().into_iter().map(|(key, _)| key).collect()
    }

    fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get_by_key(&ObjectKey::new(Some(namespace), name))
    }

    fn get_by_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let now = Instant::now();
        self.read(|contents| {
            let (put, object) = contents.objects.get(key)?;
            self.is_live(*put, now).then(|| Arc::clone(object))
        })
    }
}

impl<K> fmt::Debug for ExpiringStore<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExpiringStore")
            .field("time_to_live", &self.time_to_live)
            .finish_non_exhaustive()
    }
}
