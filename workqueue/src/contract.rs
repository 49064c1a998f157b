//! The contract of a work queue as a trait, and tests of it that run on any implementation.

use std::ops::Deref;
use std::time::Duration;

use crate::in_flight::InFlight;
use crate::work_queue::WorkQueue;

/// What every work queue promises; [`workqueue_conformance!`](crate::workqueue_conformance) tests it.
///
/// A key added while it waits runs once; added while it runs, once more afterwards. No key runs twice at a time. Keys run
/// in the order they were added. A delayed key never runs early. A lease that is dropped counts as a retry.
pub trait Queue: Clone + Send + Sync + 'static {
    /// What is queued.
    type Key: Clone + Eq + Send + std::fmt::Debug + 'static;
    /// A key that was handed out.
    type Item: QueueItem<Key = Self::Key>;

    /// Asks for a run.
    fn add(&self, key: Self::Key);

    /// Asks for a run not before `delay` from now.
    fn add_after(&self, key: Self::Key, delay: Duration);

    /// Waits for the next key; `None` once the queue is closed and empty. Has to be cancel safe.
    fn next(&self) -> impl Future<Output = Option<Self::Item>> + Send;

    /// Takes no more adds; what is ready is still handed out.
    fn close(&self);

    /// Keys ready to be handed out.
    fn len(&self) -> usize;

    /// Whether none is.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A key that was handed out by a [`Queue`]. Dropping it counts as [`retry`](Self::retry).
pub trait QueueItem: Deref<Target = Self::Key> + Send + 'static {
    /// What is queued.
    type Key;

    /// The run succeeded.
    fn done(self);

    /// The run failed.
    fn retry(self);
}

impl<T> Queue for WorkQueue<T>
where
    T: Clone + Eq + std::hash::Hash + Send + Sync + std::fmt::Debug + 'static,
{
    type Key = T;
    type Item = InFlight<T>;

    fn add(&self, key: T) {
        Self::add(self, key);
    }

    fn add_after(&self, key: T, delay: Duration) {
        Self::add_after(self, key, delay);
    }

    fn next(&self) -> impl Future<Output = Option<InFlight<T>>> + Send {
        Self::next(self)
    }

    fn close(&self) {
        Self::close(self);
    }

    fn len(&self) -> usize {
        Self::len(self)
    }
}

impl<T: Clone + Eq + std::hash::Hash + Send + Sync + 'static> QueueItem for InFlight<T> {
    type Key = T;

    fn done(self) {
        Self::done(self);
    }

    fn retry(self) {
        Self::retry(self);
    }
}
