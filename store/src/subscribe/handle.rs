//! [`SubscriptionHandle`]: watching and ending a subscription from elsewhere.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{sync::watch, time::Instant};

use crate::{Object, ResourceVersion, cache::Inner};

/// Nobody has asked to leave.
const NEVER: u64 = u64::MAX;

/// What a subscription and its handles share.
pub(super) struct Shared {
    version: Mutex<ResourceVersion>,
    /// Changes of the cache's life that have been delivered.
    reached: AtomicU64,
    synced: AtomicBool,
    /// The position in the log at which to end.
    leave_at: AtomicU64,
    panics: AtomicU64,
    finished: watch::Sender<bool>,
    is_finished: AtomicBool,
}

impl Shared {
    pub(super) fn new() -> Self {
        Self {
            version: Mutex::default(),
            reached: AtomicU64::new(0),
            synced: AtomicBool::new(false),
            leave_at: AtomicU64::new(NEVER),
            panics: AtomicU64::new(0),
            finished: watch::Sender::new(false),
            is_finished: AtomicBool::new(false),
        }
    }

    pub(super) fn reach(&self, changes: u64) {
        self.reached.store(changes, Ordering::Relaxed);
    }

    /// Everything up to here has been delivered and handled.
    pub(super) fn deliver(&self, version: &ResourceVersion, changes: u64, synced: bool) {
        self.reach(changes);
        version.clone_into(&mut self.version.lock().unwrap_or_else(PoisonError::into_inner));
        if synced {
            self.synced.store(true, Ordering::Release);
        }
    }

    pub(super) fn version(&self) -> ResourceVersion {
        self.version
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(super) fn is_synced(&self) -> bool {
        self.synced.load(Ordering::Acquire)
    }

    pub(super) fn leave_at(&self) -> u64 {
        self.leave_at.load(Ordering::Acquire)
    }

    pub(super) fn note_panic(&self) {
        self.panics.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    pub(super) fn is_finished(&self) -> bool {
        self.is_finished.load(Ordering::Acquire)
    }

    pub(super) fn finish(&self) {
        self.is_finished.store(true, Ordering::Release);
        self.finished.send_replace(true);
    }
}

/// Watches a [`Subscription`](crate::Subscription) and ends it, from anywhere.
pub struct SubscriptionHandle<K> {
    inner: Arc<Inner<K>>,
    reader: usize,
    shared: Arc<Shared>,
}

/// How a subscription ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Departure {
    /// Whether everything that was there when it was asked to leave has been delivered and handled.
    pub drained: bool,
    /// Changes of the cache that were not delivered; 0 if it drained.
    pub undelivered: u64,
}

impl<K: Object> SubscriptionHandle<K> {
    pub(super) fn new(inner: Arc<Inner<K>>, reader: usize, shared: Arc<Shared>) -> Self {
        Self {
            inner,
            reader,
            shared,
        }
    }

    /// See [`Subscription::lag`](crate::Subscription::lag).
    #[must_use]
    pub fn lag(&self) -> u64 {
        let made = self.inner.state.read(|state| state.changes);
        made.saturating_sub(self.shared.reached.load(Ordering::Relaxed))
    }

    /// See [`Subscription::delivered_version`](crate::Subscription::delivered_version).
    #[must_use]
    pub fn delivered_version(&self) -> ResourceVersion {
        self.shared.version()
    }

    /// See [`Subscription::is_synced`](crate::Subscription::is_synced).
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.shared.is_synced()
    }

    /// How often the handler panicked.
    #[must_use]
    pub fn panics(&self) -> u64 {
        self.shared.panics()
    }

    /// Whether the subscription has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.shared.is_finished()
    }

    /// Has the subscription deliver what is there now and then end; waits until it has, or until `deadline`, when it
    /// ends with the change it is at. Leaving again, or after the end, is no error.
    ///
    /// Do not await this within the subscription's own handler: the deadline would have to pass.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the subscription draining, without a deadline.
    pub async fn leave(&self, deadline: Instant) -> Departure {
        let head = self.inner.log.head();
        self.shared.leave_at.fetch_min(head, Ordering::AcqRel);
        self.inner.log.wake(self.reader);
        let mut finished = self.shared.finished.subscribe();
        // The sender lives in `self`, so the wait ends by the value or the deadline.
        let drained = tokio::time::timeout_at(deadline, finished.wait_for(|finished| *finished))
            .await
            .is_ok();
        let undelivered = if drained { 0 } else { self.lag() };
        if !drained {
            self.abort();
        }
        Departure { drained, undelivered }
    }

    /// Ends the subscription with the change it is at.
    pub fn abort(&self) {
        self.shared.finish();
        self.inner.log.wake(self.reader);
    }
}

impl<K> Clone for SubscriptionHandle<K> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            reader: self.reader,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K> fmt::Debug for SubscriptionHandle<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubscriptionHandle")
            .field("delivered_version", &self.shared.version())
            .field("is_finished", &self.shared.is_finished())
            .finish_non_exhaustive()
    }
}
