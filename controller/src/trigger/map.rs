//! [`map`] and [`map_change`]: the keys that a function gives.

use std::{fmt, marker::PhantomData};

use informer_store::Change;

use super::{Keys, Trigger};

/// The keys that `keys_of` gives for the object before the change and after it.
///
/// # Examples
/// ```
/// use informer_controller::trigger;
/// use informer_store::ObjectKey;
/// use k8s_openapi::api::core::v1::Pod;
///
/// // Every pod concerns the ConfigMap `pods` of its namespace.
/// let counts = trigger::map(|pod: &Pod| {
///     pod.metadata.namespace.as_ref().map(|namespace| ObjectKey::namespaced(namespace, "pods"))
/// });
/// # fn check(_: impl trigger::Trigger<Pod, ObjectKey>) {}
/// # check(counts);
/// ```
///
/// # Source
/// controller-runtime `handler.EnqueueRequestsFromMapFunc`.
pub fn map<K, T, I, F>(keys_of: F) -> Map<F, I>
where
    I: IntoIterator<Item = T>,
    F: Fn(&K) -> I + Send,
{
    Map {
        keys_of,
        keys: PhantomData,
    }
}

/// What [`map`] makes.
pub struct Map<F, I> {
    keys_of: F,
    keys: PhantomData<fn() -> I>,
}

impl<K, T, I, F> Trigger<K, T> for Map<F, I>
where
    T: PartialEq,
    I: IntoIterator<Item = T>,
    F: Fn(&K) -> I + Send,
{
    fn keys(&self, change: &Change<K>, keys: &mut Keys<T>) {
        for object in change.old().into_iter().chain(change.current()) {
            keys.extend((self.keys_of)(object));
        }
    }
}

impl<F, I> fmt::Debug for Map<F, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Map")
    }
}

/// The keys that `keys_of` gives for the whole change.
pub fn map_change<K, T, I, F>(keys_of: F) -> MapChange<F, I>
where
    I: IntoIterator<Item = T>,
    F: Fn(&Change<K>) -> I + Send,
{
    MapChange {
        keys_of,
        keys: PhantomData,
    }
}

/// What [`map_change`] makes.
pub struct MapChange<F, I> {
    keys_of: F,
    keys: PhantomData<fn() -> I>,
}

impl<K, T, I, F> Trigger<K, T> for MapChange<F, I>
where
    T: PartialEq,
    I: IntoIterator<Item = T>,
    F: Fn(&Change<K>) -> I + Send,
{
    fn keys(&self, change: &Change<K>, keys: &mut Keys<T>) {
        keys.extend((self.keys_of)(change));
    }
}

impl<F, I> fmt::Debug for MapChange<F, I> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("MapChange")
    }
}
