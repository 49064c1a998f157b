//! What comes out of a store: [`Change`].

use std::{fmt, sync::Arc};

use crate::{Cause, ObjectKey};

/// One change of a store's contents, as a handler sees it: after readers can see it.
///
/// Per key the sequence of changes matches `(Added Updated* Deleted)*`.
///
/// # Source
/// client-go `tools/cache/controller.go` `ResourceEventHandler`; `inferred` is `DeletedFinalStateUnknown`.
#[non_exhaustive]
pub enum Change<K> {
    /// The key came to hold an object.
    #[non_exhaustive]
    Added {
        /// The key.
        key: ObjectKey,
        /// The object.
        new: Arc<K>,
        /// Whether the object was there before the subscription, or came with the first list.
        initial: bool,
        /// What brought it.
        cause: Cause,
    },
    /// The object changed, or is delivered again by a resync, in which case `old` and `new` are the same `Arc`.
    #[non_exhaustive]
    Updated {
        /// The key.
        key: ObjectKey,
        /// What the key held before.
        old: Arc<K>,
        /// What it holds now.
        new: Arc<K>,
        /// What brought it.
        cause: Cause,
    },
    /// The object is gone.
    #[non_exhaustive]
    Deleted {
        /// The key.
        key: ObjectKey,
        /// The last state known.
        last: Arc<K>,
        /// Whether nobody saw the deletion itself, so that `last` may not be the final state.
        inferred: bool,
        /// Whether the object may live on, outside of what is selected: see
        /// [`Tombstone::left_selector`](crate::Tombstone::left_selector). True of an object that passes the subscription's
        /// own filter no more.
        left_selector: bool,
        /// What brought it.
        cause: Cause,
    },
}

impl<K> Change<K> {
    /// An [`Added`](Self::Added).
    #[must_use]
    pub fn added(key: ObjectKey, new: Arc<K>, initial: bool, cause: Cause) -> Self {
        Self::Added {
            key,
            new,
            initial,
            cause,
        }
    }

    /// An [`Updated`](Self::Updated).
    #[must_use]
    pub fn updated(key: ObjectKey, old: Arc<K>, new: Arc<K>, cause: Cause) -> Self {
        Self::Updated { key, old, new, cause }
    }

    /// A [`Deleted`](Self::Deleted), with no hint that the object may live on.
    #[must_use]
    pub fn deleted(key: ObjectKey, last: Arc<K>, inferred: bool, cause: Cause) -> Self {
        Self::Deleted {
            key,
            last,
            inferred,
            left_selector: false,
            cause,
        }
    }

    /// The same, where it is a [`Deleted`](Self::Deleted) of an object that may live on.
    #[must_use]
    pub fn or_left_selector(mut self, may_live: bool) -> Self {
        if let Self::Deleted { left_selector, .. } = &mut self {
            *left_selector = may_live;
        }
        self
    }

    /// The key that changed.
    #[must_use]
    pub fn key(&self) -> &ObjectKey {
        match self {
            Self::Added { key, .. } | Self::Updated { key, .. } | Self::Deleted { key, .. } => key,
        }
    }

    /// What the key holds now; `None` after a deletion.
    #[must_use]
    pub fn current(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added { new, .. } | Self::Updated { new, .. } => Some(new),
            Self::Deleted { .. } => None,
        }
    }

    /// What the key held before; `None` for an addition.
    #[must_use]
    pub fn old(&self) -> Option<&Arc<K>> {
        match self {
            Self::Added { .. } => None,
            Self::Updated { old, .. } => Some(old),
            Self::Deleted { last, .. } => Some(last),
        }
    }

    /// The newest state known of the object, dead or alive.
    #[must_use]
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Added { new, .. } | Self::Updated { new, .. } => new,
            Self::Deleted { last, .. } => last,
        }
    }

    /// What brought the change.
    #[must_use]
    pub fn cause(&self) -> Cause {
        match self {
            Self::Added { cause, .. } | Self::Updated { cause, .. } | Self::Deleted { cause, .. } => *cause,
        }
    }
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Added {
                key,
                new,
                initial,
                cause,
            } => Self::added(key.clone(), Arc::clone(new), *initial, *cause),
            Self::Updated { key, old, new, cause } => {
                Self::updated(key.clone(), Arc::clone(old), Arc::clone(new), *cause)
            }
            Self::Deleted {
                key,
                last,
                inferred,
                left_selector,
                cause,
            } => Self::deleted(key.clone(), Arc::clone(last), *inferred, *cause)
                .or_left_selector(*left_selector),
        }
    }
}

impl<K> fmt::Debug for Change<K> {
    /// Shows the key and the kind of change, never an object's body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, mark) = match self {
            Self::Added { initial, .. } => ("Added", ("initial", *initial)),
            Self::Updated { old, new, .. } => ("Updated", ("resync", Arc::ptr_eq(old, new))),
            Self::Deleted { inferred, .. } => ("Deleted", ("inferred", *inferred)),
        };
        f.debug_struct(name)
            .field("key", self.key())
            .field(mark.0, &mark.1)
            .finish_non_exhaustive()
    }
}
