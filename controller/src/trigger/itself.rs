//! [`itself()`]: the object's own key.

use informer_store::{Change, ObjectKey};

use super::{Keys, Trigger};

/// The key of the object that changed.
///
/// # Source
/// controller-runtime `handler.EnqueueRequestForObject`.
#[must_use]
pub fn itself() -> Itself {
    Itself(())
}

/// What [`itself()`] makes.
#[derive(Clone, Copy, Debug)]
pub struct Itself(());

impl<K> Trigger<K, ObjectKey> for Itself {
    fn keys(&self, change: &Change<K>, keys: &mut Keys<ObjectKey>) {
        keys.add(change.key().clone());
    }
}
