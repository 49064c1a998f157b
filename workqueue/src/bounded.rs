//! Adding under a bound.

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::options::Added;
use crate::queue::Core;
use crate::sync::now;
use crate::work_queue::WorkQueue;

/// The queue holds as many keys as it may; here is the key that did not fit.
#[derive(Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the work queue is full: wait with add_wait, or add again later")]
pub struct Full<T>(pub T);

impl<T> fmt::Debug for Full<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Full(..)")
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// Asks for a run of `key` unless the queue is at its [`capacity`](crate::Builder::capacity) and does not hold the
    /// key yet.
    ///
    /// # Errors
    /// [`Full`] with the key.
    pub fn try_add(&self, key: T) -> Result<Added, Full<T>> {
        let request = self.request(&key);
        self.shared.with(|state| {
            if state.has_room_for(&key) {
                Ok(state.core.add(key, request, now()))
            } else {
                Err(Full(key))
            }
        })
    }

    /// Asks for a run of `key`, waiting for room first.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in line and drops the key; nothing was added.
    pub fn add_wait(&self, key: T) -> AddWait<'_, T> {
        AddWait {
            queue: self,
            key: Some(key),
            id: None,
        }
    }
}

/// Future of [`WorkQueue::add_wait`].
#[must_use = "futures do nothing unless awaited"]
pub struct AddWait<'a, T: Clone + Eq + Hash> {
    queue: &'a WorkQueue<T>,
    key: Option<T>,
    id: Option<usize>,
}

// The key is moved out, never pinned.
impl<T: Clone + Eq + Hash> Unpin for AddWait<'_, T> {}

impl<T: Clone + Eq + Hash> Future for AddWait<'_, T> {
    type Output = Added;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Added> {
        let Self { queue, key, id } = &mut *self;
        let wanted = key.take().expect("polled after completion");
        let request = queue.request(&wanted);
        queue.shared.with(|state| {
            if state.has_room_for(&wanted) {
                state.room.remove(id);
                return Poll::Ready(state.core.add(wanted, request, now()));
            }
            state.watch();
            state.room.register(id, cx);
            *key = Some(wanted);
            Poll::Pending
        })
    }
}

impl<T: Clone + Eq + Hash> Drop for AddWait<'_, T> {
    fn drop(&mut self) {
        let id = &mut self.id;
        if id.is_some() {
            self.queue.shared.with(|state| state.room.remove(id));
        }
    }
}

impl<T: Clone + Eq + Hash> fmt::Debug for AddWait<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AddWait")
            .field("waits", &self.id.is_some())
            .finish_non_exhaustive()
    }
}

/// Whether a bounded queue takes this key: a key it holds already, and any key once it is closed.
pub(crate) fn fits<T: Clone + Eq + Hash>(core: &mut Core<T>, capacity: usize, key: &T) -> bool {
    core.keys() < capacity || core.is_closed() || core.contains(key) || {
        // Keys that are only remembered for some time may have been so for long enough.
        core.settle_to(now());
        core.keys() < capacity
    }
}
