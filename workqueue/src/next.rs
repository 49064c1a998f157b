//! Waiting for keys.

use std::fmt;
use std::hash::Hash;
use std::pin::Pin;
use std::task::{Context, Poll};

use crate::in_flight::InFlight;
use crate::queue::Taken;
use crate::timer::Timer;
use crate::work_queue::WorkQueue;

/// Future of [`WorkQueue::next`].
#[must_use = "futures do nothing unless awaited"]
pub struct Next<'a, T: Clone + Eq + Hash> {
    waiting: Waiting<'a, T>,
}

/// Future of [`WorkQueue::next_batch`].
#[must_use = "futures do nothing unless awaited"]
pub struct NextBatch<'a, T: Clone + Eq + Hash> {
    waiting: Waiting<'a, T>,
    max: usize,
}

/// A place among the waiters, given up when dropped.
struct Waiting<'a, T: Clone + Eq + Hash> {
    queue: &'a WorkQueue<T>,
    id: Option<usize>,
    timer: Timer,
}

impl<'a, T: Clone + Eq + Hash> Next<'a, T> {
    pub(crate) fn new(queue: &'a WorkQueue<T>) -> Self {
        Self {
            waiting: Waiting {
                queue,
                id: None,
                timer: Timer::default(),
            },
        }
    }
}

impl<'a, T: Clone + Eq + Hash> NextBatch<'a, T> {
    pub(crate) fn new(queue: &'a WorkQueue<T>, max: usize) -> Self {
        Self {
            waiting: Waiting {
                queue,
                id: None,
                timer: Timer::default(),
            },
            max,
        }
    }
}

impl<T: Clone + Eq + Hash> Future for Next<'_, T> {
    type Output = Option<InFlight<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Waiting { queue, id, timer } = &mut self.waiting;
        queue.shared.poll_take(id, timer, cx, |state, now| {
            // Under the lock, where the count of handles is at hand.
            Some(queue.lease(state.take(now)?))
        })
    }
}

impl<T: Clone + Eq + Hash> Future for NextBatch<'_, T> {
    type Output = Vec<InFlight<T>>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let max = self.max;
        let Waiting { queue, id, timer } = &mut self.waiting;
        // Kept outside the lock, which a lease that is dropped takes.
        let mut batch = Batch {
            queue,
            taken: Vec::new(),
        };
        std::task::ready!(queue.shared.poll_take(id, timer, cx, |state, now| {
            batch.taken.push(state.take(now)?);
            while batch.taken.len() < max
                && let Some(next) = state.take(now)
            {
                batch.taken.push(next);
            }
            Some(())
        }));
        let taken = std::mem::take(&mut batch.taken).into_iter();
        Poll::Ready(taken.map(|taken| queue.lease(taken)).collect())
    }
}

/// Keys that were taken. Should the key of the next panic when it is cloned, those before it are not lost.
struct Batch<'a, T: Clone + Eq + Hash> {
    queue: &'a WorkQueue<T>,
    taken: Vec<Taken<T>>,
}

impl<T: Clone + Eq + Hash> Drop for Batch<'_, T> {
    fn drop(&mut self) {
        for taken in self.taken.drain(..) {
            drop(self.queue.lease(taken));
        }
    }
}

impl<T: Clone + Eq + Hash> Drop for Waiting<'_, T> {
    fn drop(&mut self) {
        self.queue.shared.leave(&mut self.id);
    }
}

impl<T: Clone + Eq + Hash> fmt::Debug for Next<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next")
            .field("waits", &self.waiting.id.is_some())
            .finish_non_exhaustive()
    }
}

impl<T: Clone + Eq + Hash> fmt::Debug for NextBatch<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NextBatch")
            .field("max", &self.max)
            .finish_non_exhaustive()
    }
}
