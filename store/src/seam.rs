//! The seams into a store: [`ReflectorStore`] for one delta at a time, [`Apply`] for batches.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{Batch, Delta, Entry, KeyRef, Replacement, ResourceVersion, ResyncPart, Tombstone};

/// Where a reflector puts what it learns: a store, a delta FIFO, or anything of the user's.
///
/// # Contract
/// One caller at a time, in the server's order. The first call is [`replace`](Self::replace); after that the
/// contents and every later delta are one gapless history until the next `replace`. Awaiting is back-pressure: the
/// caller reads nothing more from the server until a call returns.
///
/// # Errors
/// [`Closed`] from any method means that nobody will take anything any more; the caller stops.
///
/// # Cancel safety
/// A call that is dropped has either taken its argument whole or not at all.
///
/// # Source
/// client-go `tools/cache/reflector.go` `ReflectorStore`, `ReflectorBookmarkStore`.
#[async_trait]
pub trait ReflectorStore<K: Send + Sync + 'static>: Send + Sync {
    /// Takes the whole contents: what is not in it is gone.
    async fn replace(&self, replacement: Replacement<K>) -> Result<(), Closed>;

    /// Takes an object the server calls new.
    async fn add(&self, entry: Entry<K>) -> Result<(), Closed>;

    /// Takes an object the server calls changed.
    async fn update(&self, entry: Entry<K>) -> Result<(), Closed>;

    /// Takes a deletion.
    async fn delete(&self, tombstone: Tombstone<K>) -> Result<(), Closed>;

    /// Delivers a part of what is held once more to those who listen.
    async fn resync(&self, part: ResyncPart) -> Result<(), Closed>;

    /// Learns that nothing changed up to `version`.
    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed>;

    /// Takes a change of one of several histories that share this store. How far all of them have come is told by
    /// `reached`, where that has moved, and by [`bookmark`](Self::bookmark); the change's own version says nothing of
    /// the others. Never a replacement.
    ///
    /// Default: the method for that change, then [`bookmark`](Self::bookmark). Who claims the versions of single changes
    /// should do better.
    async fn merge(&self, delta: Delta<K>, reached: Option<ResourceVersion>) -> Result<(), Closed> {
        match delta {
            Delta::Added(entry) => self.add(entry).await?,
            Delta::Updated(entry) | Delta::Sync(entry) => self.update(entry).await?,
            Delta::Deleted(tombstone) => self.delete(tombstone).await?,
            Delta::Replaced(replacement) => self.replace(replacement).await?,
            Delta::Resync(part) => self.resync(part).await?,
            Delta::Bookmark(version) => self.bookmark(version).await?,
        }
        match reached {
            Some(version) => self.bookmark(version).await,
            None => Ok(()),
        }
    }

    /// What is held under `key`, if its uid and version are these: such an object need not be decoded again.
    fn held(&self, _key: KeyRef<'_>, _uid: &str, _version: &str) -> Option<Arc<K>> {
        None
    }
}

#[async_trait]
impl<K: Send + Sync + 'static, S: ReflectorStore<K> + ?Sized> ReflectorStore<K> for Arc<S> {
    async fn replace(&self, replacement: Replacement<K>) -> Result<(), Closed> {
        (**self).replace(replacement).await
    }

    async fn add(&self, entry: Entry<K>) -> Result<(), Closed> {
        (**self).add(entry).await
    }

    async fn update(&self, entry: Entry<K>) -> Result<(), Closed> {
        (**self).update(entry).await
    }

    async fn delete(&self, tombstone: Tombstone<K>) -> Result<(), Closed> {
        (**self).delete(tombstone).await
    }

    async fn resync(&self, part: ResyncPart) -> Result<(), Closed> {
        (**self).resync(part).await
    }

    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        (**self).bookmark(version).await
    }

    async fn merge(&self, delta: Delta<K>, reached: Option<ResourceVersion>) -> Result<(), Closed> {
        (**self).merge(delta, reached).await
    }

    fn held(&self, key: KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<K>> {
        (**self).held(key, uid, version)
    }
}

/// A store that takes batches.
pub trait Apply<K>: Send + Sync {
    /// Applies `batch` in one step: a reader sees all of it or nothing, and changes are handed out afterwards.
    /// Never blocks on readers or subscribers.
    fn apply(&self, batch: Batch<K>);
}

/// The other side is gone: nothing will be taken any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the store is closed")]
pub struct Closed;
