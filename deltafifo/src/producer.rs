//! [`Producer`]: the end of a queue that a reflector writes to.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use informer_store::{
    Closed, Delta, Entry, KeyRef, Object, ReflectorStore, Replacement, ResourceVersion, ResyncPart, Tombstone,
};

use crate::{Full, Monitor, Stats, channel::Shared};

/// The end of a queue that a reflector writes to. Dropping it lets the consumer take what waits, then closes.
///
/// All methods take `&self`, so several tasks may share one in an `Arc`; each task's own deltas keep their order.
///
/// # Source
/// client-go `tools/cache/fifo.go` `Queue`, its `ReflectorStore` half.
pub struct Producer<K> {
    shared: Arc<Shared<K>>,
    held: Option<Box<Held<K>>>,
}

type Held<K> = dyn Fn(KeyRef<'_>, &str, &str) -> Option<Arc<K>> + Send + Sync;

/// Why a delta was not taken; it comes back.
#[derive(thiserror::Error)]
pub enum TryPushError<K> {
    /// There is no room now.
    #[error("the queue is full")]
    Full(Delta<K>),
    /// There is no consumer any more.
    #[error("the queue is closed")]
    Closed(Delta<K>),
}

impl<K> Producer<K> {
    pub(crate) fn new(shared: Arc<Shared<K>>) -> Self {
        Self { shared, held: None }
    }

    /// Answers a reflector's question what the store behind the queue holds under a key, if its uid and version are
    /// these: see [`ReflectorStore::held`].
    ///
    /// Default: nothing is known to be held, so every listed object is decoded.
    #[must_use]
    pub fn held_by(
        mut self,
        look_up: impl Fn(KeyRef<'_>, &str, &str) -> Option<Arc<K>> + Send + Sync + 'static,
    ) -> Self {
        self.held = Some(Box::new(look_up));
        self
    }

    /// Lets the consumer take what waits, then closes; nothing more is taken.
    pub fn close(&self) {
        self.shared.lock().producer_gone = true;
        self.shared.items.notify_one();
        self.shared.room.notify_waiters();
    }

    /// What the queue holds and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().fifo.stats()
    }

    /// A handle that looks at the queue from outside.
    #[must_use]
    pub fn monitor(&self) -> Monitor<K> {
        Monitor(Arc::clone(&self.shared))
    }
}

impl<K: Object> Producer<K> {
    /// Puts a delta into the queue, waiting for room where it needs some.
    ///
    /// # Errors
    /// [`Closed`] if there is no consumer any more, or after [`close`](Self::close).
    ///
    /// # Cancel safety
    /// A call that is dropped while it waits has not put the delta in.
    pub async fn push(&self, delta: Delta<K>) -> Result<(), Closed> {
        let mut delta = delta;
        let mut waited = false;
        loop {
            // Made before looking: it hears of any room made from here on.
            let room = self.shared.room.notified();
            delta = match self.attempt(delta) {
                Ok(()) => return Ok(()),
                Err(TryPushError::Closed(_)) => return Err(Closed),
                Err(TryPushError::Full(delta)) => delta,
            };
            if !std::mem::replace(&mut waited, true) {
                self.shared.lock().fifo.count_wait();
            }
            room.await;
        }
    }

    /// Puts a delta into the queue if there is room.
    ///
    /// # Errors
    /// [`TryPushError`] hands the delta back.
    pub fn try_push(&self, delta: Delta<K>) -> Result<(), TryPushError<K>> {
        self.attempt(delta)
    }

    fn attempt(&self, delta: Delta<K>) -> Result<(), TryPushError<K>> {
        let mut state = self.shared.lock();
        if state.consumer_gone || state.producer_gone {
            return Err(TryPushError::Closed(delta));
        }
        let was_empty = state.fifo.is_empty();
        let spent = state.fifo.push(delta);
        let wakes = was_empty && !state.fifo.is_empty();
        drop(state);
        if wakes {
            self.shared.items.notify_one();
        }
        match spent {
            Ok(_spent) => Ok(()),
            Err(Full(delta)) => Err(TryPushError::Full(delta)),
        }
    }
}

#[async_trait]
impl<K: Object> ReflectorStore<K> for Producer<K> {
    async fn replace(&self, replacement: Replacement<K>) -> Result<(), Closed> {
        self.push(Delta::Replaced(replacement)).await
    }

    async fn add(&self, entry: Entry<K>) -> Result<(), Closed> {
        self.push(Delta::Added(entry)).await
    }

    async fn update(&self, entry: Entry<K>) -> Result<(), Closed> {
        self.push(Delta::Updated(entry)).await
    }

    async fn delete(&self, tombstone: Tombstone<K>) -> Result<(), Closed> {
        self.push(Delta::Deleted(tombstone)).await
    }

    async fn resync(&self, part: ResyncPart) -> Result<(), Closed> {
        self.push(Delta::Resync(part)).await
    }

    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        self.push(Delta::Bookmark(version)).await
    }

    async fn merge(&self, delta: Delta<K>, reached: Option<ResourceVersion>) -> Result<(), Closed> {
        self.shared.lock().fifo.claim_bookmarks_only();
        self.push(delta).await?;
        match reached {
            Some(version) => self.push(Delta::Bookmark(version)).await,
            None => Ok(()),
        }
    }

    fn held(&self, key: KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<K>> {
        self.held.as_ref().and_then(|look_up| look_up(key, uid, version))
    }
}

impl<K> Drop for Producer<K> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<K> fmt::Debug for Producer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Producer")
            .field("fifo", &self.shared.lock().fifo)
            .field("held", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for TryPushError<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, delta) = match self {
            Self::Full(delta) => ("Full", delta),
            Self::Closed(delta) => ("Closed", delta),
        };
        f.debug_tuple(name).field(delta).finish()
    }
}
