//! What flows into a store: [`Delta`], its parts, and the [`Batch`] they are applied in.

use std::{fmt, sync::Arc};

use crate::{Object, ObjectKey, ResourceVersion, Stamped, Unkeyed, stamp::given};

/// One object on its way into a store, with its key.
pub struct Entry<K> {
    /// The key, computed and hashed once, here.
    pub key: ObjectKey,
    /// The object, looked at once, here; moved along, never cloned.
    pub object: Stamped<K>,
    /// What brought it.
    pub cause: Cause,
}

impl<K: Object> Entry<K> {
    /// Keys `object` by its namespace and name.
    ///
    /// # Errors
    /// [`Unkeyed`] hands the object back if it has no name.
    pub fn new(object: impl Into<Arc<K>>) -> Result<Self, Unkeyed<Arc<K>>> {
        let object = object.into();
        match object.key() {
            Ok(key) => Ok(Self::with_key(key, object)),
            Err(error) => Err(Unkeyed { object, error }),
        }
    }
}

impl<K: Object> Entry<K> {
    /// An entry whose key is known already.
    #[must_use]
    pub fn with_key(key: ObjectKey, object: impl Into<Stamped<K>>) -> Self {
        Self {
            key,
            object: object.into(),
            cause: Cause::Live,
        }
    }
}

impl<K> Entry<K> {
    /// The same entry with another cause.
    #[must_use]
    pub fn cause(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }
}

/// What brought a delta or a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// An event of a watch, or a direct call.
    #[default]
    Live,
    /// A list that replaced the contents.
    Relist,
    /// A periodic redelivery of what is held.
    Resync,
    /// An audit that found the store and the server apart.
    Repair,
}

/// An object that is gone.
pub struct Tombstone<K> {
    /// The key of the object.
    pub key: ObjectKey,
    /// The uid of the object, where it is known. A store ignores a tombstone of another uid than it holds.
    pub uid: Option<Box<str>>,
    /// The version of the deletion; [`ResourceVersion::UNSET`] if nobody saw it happen.
    pub version: ResourceVersion,
    /// The last state, where the server sent one that could be decoded.
    pub object: Option<Arc<K>>,
    /// Whether the deletion was concluded from an absence, not seen as an event.
    pub inferred: bool,
    /// Whether the object may only have left what its source selects by labels or fields, and live on. A hint: a watch tells
    /// both as a deletion, and only one read of the object knows. It is set unless the object was marked for deletion; where
    /// the deletion was `inferred` from a list it says nothing.
    pub left_selector: bool,
    /// What brought it.
    pub cause: Cause,
}

impl<K: Object> Tombstone<K> {
    /// The tombstone of an object whose last state is known.
    ///
    /// # Errors
    /// [`Unkeyed`] hands the object back if it has no name.
    pub fn new(object: impl Into<Arc<K>>) -> Result<Self, Unkeyed<Arc<K>>> {
        let object = object.into();
        match object.key() {
            Ok(key) => Ok(Self {
                key,
                uid: given(object.uid()).map(Into::into),
                version: object.version(),
                object: Some(object),
                inferred: false,
                left_selector: false,
                cause: Cause::Live,
            }),
            Err(error) => Err(Unkeyed { object, error }),
        }
    }
}

impl<K> Tombstone<K> {
    /// The tombstone of a key of which nothing else is known.
    #[must_use]
    pub fn of(key: ObjectKey) -> Self {
        Self {
            key,
            uid: None,
            version: ResourceVersion::UNSET,
            object: None,
            inferred: true,
            left_selector: false,
            cause: Cause::Live,
        }
    }
}

/// The whole contents of a kind at one version, in list order.
pub struct Replacement<K> {
    /// Every object that could be decoded.
    ///
    /// One that is held already (same uid and version) may be the held `Arc` itself: see
    /// [`ReflectorStore::held`](crate::ReflectorStore::held).
    pub entries: Vec<Entry<K>>,
    /// Keys the server listed whose objects could not be decoded, or that other sources of the same store brought: what
    /// is held of them stays as it is.
    pub kept: Vec<ObjectKey>,
    /// The version of the list, which a store claims afterwards; of several sources that share the store, the one that
    /// all of them have reached.
    pub version: ResourceVersion,
    /// Up to where its silence counts: what is held in a later state was made after the list, and stays. The same as
    /// `version`, unless some of several sources have got further.
    pub as_of: ResourceVersion,
    /// Whether the list was accepted although it is older than what was held: the server's history was rewound.
    /// A store takes it whole, and no version guard applies to it: an object is held already only if it is the held `Arc`
    /// itself, since the versions of a lost history are given again.
    pub rewound: bool,
    /// What brought it: [`Cause::Relist`] unless an audit did.
    pub cause: Cause,
}

impl<K> Replacement<K> {
    /// The contents at `version`.
    #[must_use]
    pub fn new(entries: Vec<Entry<K>>, version: ResourceVersion) -> Self {
        Self {
            entries,
            kept: Vec::new(),
            as_of: version.clone(),
            version,
            rewound: false,
            cause: Cause::Relist,
        }
    }
}

/// One part of a redelivery that is spread over a period: the held objects are dealt into `of` parts, each object
/// always into the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResyncPart {
    /// Which part, from 0.
    pub part: u32,
    /// How many parts there are; at least 1.
    pub of: u32,
}

impl ResyncPart {
    /// Everything at once.
    pub const ALL: Self = Self { part: 0, of: 1 };
}

/// One step of a kind's history, on its way into a store.
///
/// # Source
/// client-go `tools/cache/delta_fifo.go` `Delta`, `the_real_fifo.go` `ReplacedAllInfo`, `SyncAllInfo`.
#[non_exhaustive]
pub enum Delta<K> {
    /// The server said the object is new.
    Added(Entry<K>),
    /// The server said the object changed.
    Updated(Entry<K>),
    /// The object is gone.
    Deleted(Tombstone<K>),
    /// All there is: what is not in it is gone. Travels alone.
    Replaced(Replacement<K>),
    /// Deliver this object again as an update, though it did not change.
    Sync(Entry<K>),
    /// Deliver a part of what is held again as updates.
    Resync(ResyncPart),
    /// Nothing changed up to this version.
    Bookmark(ResourceVersion),
}

impl<K> Delta<K> {
    /// The key it is about; `None` for what concerns the whole kind.
    #[must_use]
    pub fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::Added(entry) | Self::Updated(entry) | Self::Sync(entry) => Some(&entry.key),
            Self::Deleted(tombstone) => Some(&tombstone.key),
            Self::Replaced(_) | Self::Resync(_) | Self::Bookmark(_) => None,
        }
    }

    /// A short constant name, for logs and counters.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Added(_) => "added",
            Self::Updated(_) => "updated",
            Self::Deleted(_) => "deleted",
            Self::Replaced(_) => "replaced",
            Self::Sync(_) => "sync",
            Self::Resync(_) => "resync",
            Self::Bookmark(_) => "bookmark",
        }
    }
}

/// Deltas that a store applies in one step: readers see all of them or none.
///
/// Deltas of one key are in the server's order. `version` is how far the history reaches once the batch has been
/// applied; it is `None` where deltas older than some in this batch still wait in the queue, and the store then
/// keeps the version it claims.
pub struct Batch<K> {
    /// The deltas, oldest first per key.
    pub deltas: Vec<Delta<K>>,
    /// The version to claim afterwards.
    pub version: Option<ResourceVersion>,
}

impl<K> Batch<K> {
    /// A batch that brings a store to `version`.
    #[must_use]
    pub fn new(deltas: Vec<Delta<K>>, version: Option<ResourceVersion>) -> Self {
        Self { deltas, version }
    }

    /// How many deltas.
    #[must_use]
    pub fn len(&self) -> usize {
        self.deltas.len()
    }

    /// Whether there is nothing to apply.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.deltas.is_empty()
    }
}

// `Debug` shows keys and versions, never an object's body, and asks nothing of `K`.

impl<K> fmt::Debug for Entry<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("key", &self.key)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Tombstone<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tombstone")
            .field("key", &self.key)
            .field("version", &self.version)
            .field("inferred", &self.inferred)
            .field("left_selector", &self.left_selector)
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Replacement<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Replacement")
            .field("entries", &self.entries.len())
            .field("kept", &self.kept.len())
            .field("version", &self.version)
            .field("rewound", &self.rewound)
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Delta<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(entry) => f.debug_tuple("Added").field(entry).finish(),
            Self::Updated(entry) => f.debug_tuple("Updated").field(entry).finish(),
            Self::Deleted(tombstone) => f.debug_tuple("Deleted").field(tombstone).finish(),
            Self::Replaced(replacement) => f.debug_tuple("Replaced").field(replacement).finish(),
            Self::Sync(entry) => f.debug_tuple("Sync").field(entry).finish(),
            Self::Resync(part) => f.debug_tuple("Resync").field(part).finish(),
            Self::Bookmark(version) => f.debug_tuple("Bookmark").field(version).finish(),
        }
    }
}

impl<K> fmt::Debug for Batch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("deltas", &self.deltas)
            .field("version", &self.version)
            .finish()
    }
}

// Cloning shares the objects; derives would ask `K: Clone`.

impl<K> Clone for Entry<K> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            object: self.object.clone(),
            cause: self.cause,
        }
    }
}

impl<K> Clone for Tombstone<K> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            uid: self.uid.clone(),
            version: self.version.clone(),
            object: self.object.clone(),
            inferred: self.inferred,
            left_selector: self.left_selector,
            cause: self.cause,
        }
    }
}
