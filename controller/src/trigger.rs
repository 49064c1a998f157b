//! Triggers: which keys a change concerns.
//!
//! [`itself()`] for the object's own key, [`owner()`] for the object that owns it, [`map`] for anything else. An update is
//! asked about both objects, the old and the new, so that the key an object stops concerning is reconciled too.
//!
//! # Source
//! controller-runtime `pkg/handler`: `EnqueueRequestForObject`, `EnqueueRequestForOwner`, `EnqueueRequestsFromMapFunc`.

mod itself;
mod map;
mod owner;

use std::fmt;

use informer_store::Change;

pub use self::{
    itself::{Itself, itself},
    map::{Map, MapChange, map, map_change},
    owner::{Owner, owner, owner_of},
};

/// Says which keys a change concerns.
///
/// A closure that takes `(&Change<K>, &mut Keys<T>)` is one.
pub trait Trigger<K, T>: Send {
    /// Adds the keys that `change` concerns to `keys`. A panic is contained: the change triggers what was added so far.
    fn keys(&self, change: &Change<K>, keys: &mut Keys<T>);
}

impl<K, T, F: Fn(&Change<K>, &mut Keys<T>) + Send> Trigger<K, T> for F {
    fn keys(&self, change: &Change<K>, keys: &mut Keys<T>) {
        self(change, keys);
    }
}

/// The keys that one change concerns, each once.
pub struct Keys<T>(Vec<T>);

impl<T: PartialEq> Keys<T> {
    pub(crate) fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds a key, unless it is there already.
    pub fn add(&mut self, key: T) {
        // The keys of one change are few, and mostly one or two.
        if self.0.len() < SCANNED_MAX && self.0.contains(&key) {
            return;
        }
        self.0.push(key);
    }
}

impl<T> Keys<T> {
    /// How many keys there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The keys, in the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    pub(crate) fn drain(&mut self) -> impl Iterator<Item = T> {
        self.0.drain(..)
    }
}

impl<T: PartialEq> Extend<T> for Keys<T> {
    fn extend<I: IntoIterator<Item = T>>(&mut self, keys: I) {
        keys.into_iter().for_each(|key| self.add(key));
    }
}

impl<T> fmt::Debug for Keys<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keys").field("len", &self.0.len()).finish()
    }
}

/// Beyond this many keys duplicates are left to the queue, which finds them in constant time.
const SCANNED_MAX: usize = 32;
