//! Ending a queue in two phases.

use std::fmt;
use std::hash::Hash;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use crate::shared::Shared;
use crate::sync::now;
use crate::timer::Timer;
use crate::work_queue::WorkQueue;

/// How to drain a queue; made from a deadline: a [`Duration`] from now or an [`Instant`].
#[derive(Clone, Copy, Debug)]
#[must_use]
pub struct Drain {
    deadline: Option<Instant>,
    run_queued: bool,
}

impl Drain {
    /// Waits at most `time`.
    pub fn within(time: Duration) -> Self {
        Self {
            deadline: now().checked_add(time),
            run_queued: true,
        }
    }

    /// Waits until then at most.
    pub fn until(deadline: Instant) -> Self {
        Self {
            deadline: Some(deadline),
            run_queued: true,
        }
    }

    /// Whether keys that are ready are still run, or only running ones finished. Default: `true`.
    pub fn run_queued(mut self, run: bool) -> Self {
        self.run_queued = run;
        self
    }
}

impl From<Duration> for Drain {
    fn from(time: Duration) -> Self {
        Self::within(time)
    }
}

impl From<Instant> for Drain {
    fn from(deadline: Instant) -> Self {
        Self::until(deadline)
    }
}

/// What a drain did and what it left.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report<T> {
    /// Runs finished since the drain began.
    pub done: u64,
    /// Keys still running when the deadline passed. Their runs were told to stop.
    pub abandoned: Vec<T>,
    /// Keys that were wanted and were not run: ready, delayed or parked.
    pub pending: Vec<T>,
}

impl<T> Report<T> {
    /// Whether every run was finished in time; delayed and parked keys may be pending all the same.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.abandoned.is_empty()
    }
}

impl<T> fmt::Debug for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("done", &self.done)
            .field("abandoned", &self.abandoned.len())
            .field("pending", &self.pending.len())
            .finish()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// Closes the queue, lets workers run what is ready and finish what is running, and reports; at the deadline tells
    /// the runs that are left to [stop](crate::InFlight::stopped) and returns. Workers have to keep calling
    /// [`next`](Self::next). Any number of callers may drain; the earliest deadline counts. client-go:
    /// `ShutDownWithDrain`, which does not wait for what is queued.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the queue closed; running work is not told to stop.
    ///
    /// # Panics
    /// Outside a tokio runtime with time enabled, if there is a deadline to wait for.
    pub async fn drain(&self, deadline: impl Into<Drain>) -> Report<T> {
        let drain = deadline.into();
        let before = self.shared.with(|state| {
            state.core.settle_to(now());
            if drain.run_queued {
                state.core.close()
            } else {
                state.core.stop()
            }
            state.core.done()
        });
        let mut waiting = Draining {
            shared: &self.shared,
            id: None,
            timer: Timer::default(),
        };
        std::future::poll_fn(|cx| waiting.poll(drain.deadline, cx)).await;
        self.shared.with(|state| Report {
            done: state.core.done() - before,
            abandoned: state.core.running_keys().cloned().collect(),
            pending: state.core.waiting_keys().cloned().collect(),
        })
    }
}

struct Draining<'a, T: Clone + Eq + Hash> {
    shared: &'a Shared<T>,
    id: Option<usize>,
    timer: Timer,
}

impl<T: Clone + Eq + Hash> Draining<'_, T> {
    fn poll(&mut self, deadline: Option<Instant>, cx: &mut Context<'_>) -> Poll<()> {
        let (id, timer) = (&mut self.id, &mut self.timer);
        self.shared.with(|state| {
            if state.stop || state.is_drained() {
                return Poll::Ready(());
            }
            state.watch();
            state.drains.register(id, cx);
            let Some(deadline) = deadline else {
                return Poll::Pending;
            };
            if deadline > now() && timer.poll_until(deadline, cx).is_pending() {
                return Poll::Pending;
            }
            state.core.stop();
            state.stop = true;
            Poll::Ready(())
        })
    }
}

impl<T: Clone + Eq + Hash> Drop for Draining<'_, T> {
    fn drop(&mut self) {
        if self.id.is_some() {
            let id = &mut self.id;
            self.shared.with(|state| state.drains.remove(id));
        }
    }
}
