//! A key that is being worked on.

use std::fmt;
use std::future::poll_fn;
use std::hash::Hash;
use std::ops::Deref;
use std::task::Poll;
use std::time::Duration;

use crate::options::Priority;
use crate::queue::{Lease, Taken, Verdict};
use crate::shared::Shared;
use crate::sync::Arc;

/// A lease on one key: while it exists, nobody else gets the key. client-go: what lies between `Get` and `Done`.
///
/// It ends with a verdict, or by being dropped, which counts as [`retry`](Self::retry): a panic or a cancelled future
/// never loses a key. It cannot be copied, so a run cannot be finished twice or by somebody else.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use informer_workqueue::WorkQueue;
///
/// let queue = WorkQueue::new();
/// queue.add("default/web");
/// let item = queue.next().await.expect("the queue is open");
/// assert_eq!((*item, item.attempt()), ("default/web", 1));
/// item.done();
/// # }
/// ```
#[must_use = "dropping a lease counts as a failed run"]
pub struct InFlight<T: Clone + Eq + Hash> {
    shared: Arc<Shared<T>>,
    key: T,
    lease: Lease,
    failures: u32,
    priority: Priority,
    sources: u32,
    finished: bool,
}

impl<T: Clone + Eq + Hash> InFlight<T> {
    pub(crate) fn new(shared: Arc<Shared<T>>, taken: Taken<T>) -> Self {
        let Taken {
            key,
            lease,
            failures,
            priority,
            sources,
        } = taken;
        Self {
            shared,
            key,
            lease,
            failures,
            priority,
            sources,
            finished: false,
        }
    }

    /// The key.
    #[must_use]
    pub fn key(&self) -> &T {
        &self.key
    }

    /// Which attempt this is: 1, and one more per failed run whose delay was served since the last success.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.failures.saturating_add(1)
    }

    /// The lane the key came from; a retry goes back to it.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Who asked for this run, see [`AddOptions::source`](crate::AddOptions::source).
    #[must_use]
    pub fn sources(&self) -> Vec<&'static str> {
        if self.sources == 0 {
            Vec::new()
        } else {
            self.shared.with(|state| state.core.sources(self.sources))
        }
    }

    /// The run succeeded: the key's failures are forgotten. If it was added meanwhile it runs once more.
    pub fn done(mut self) {
        self.finished = true;
        self.shared.done(&self.key, self.lease);
    }

    /// The run succeeded, and the key is to run again after `delay`, or when it is added before that.
    /// controller-runtime: `Result.RequeueAfter`.
    pub fn requeue_after(mut self, delay: Duration) {
        self.end(Verdict::Again(delay));
    }

    /// The run failed: the key runs again after the delay its limiter says, or when it is added before that; then the
    /// failure does not count. After the maximum of attempts the key is given up instead. client-go: `AddRateLimited`
    /// and `Done`.
    pub fn retry(self) {
        self.retry_after(Duration::ZERO);
    }

    /// As [`retry`](Self::retry), but not before `delay`: for a server's `Retry-After`.
    pub fn retry_after(mut self, delay: Duration) {
        self.finished = true;
        self.shared.fail(&self.key, self.lease, delay);
    }

    /// The key's object is gone: everything about the key is forgotten. If it was added meanwhile it runs once more.
    pub fn forget(mut self) {
        self.end(Verdict::Forget);
    }

    /// The run failed and is not worth trying again: the key goes to the dead-letter hook. controller-runtime:
    /// `TerminalError`. If it was added meanwhile it runs once more, as if for the first time.
    pub fn give_up(mut self) {
        self.finished = true;
        self.shared.give_up(&self.key, self.lease, self.attempt());
    }

    /// Whether in-flight work was told to stop: the deadline of [`drain`](crate::WorkQueue::drain) has passed.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.shared.with(|state| state.stop)
    }

    /// Waits until in-flight work is told to stop: the deadline of [`drain`](crate::WorkQueue::drain) has passed. Not
    /// before: a queue that is only closed lets running work finish.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn stopped(&self) {
        let mut waiting = Stopped {
            shared: &self.shared,
            id: None,
        };
        poll_fn(|cx| {
            waiting.shared.with(|state| {
                if state.stop {
                    state.stops.remove(&mut waiting.id);
                    return Poll::Ready(());
                }
                state.watch();
                state.stops.register(&mut waiting.id, cx);
                Poll::Pending
            })
        })
        .await;
    }

    fn end(&mut self, verdict: Verdict) {
        self.finished = true;
        self.shared.finish(&self.key, self.lease, verdict);
    }
}

struct Stopped<'a, T: Clone + Eq + Hash> {
    shared: &'a Shared<T>,
    id: Option<usize>,
}

impl<T: Clone + Eq + Hash> Drop for Stopped<'_, T> {
    fn drop(&mut self) {
        if self.id.is_some() {
            self.shared.with(|state| state.stops.remove(&mut self.id));
        }
    }
}

impl<T: Clone + Eq + Hash> Deref for InFlight<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.key
    }
}

impl<T: Clone + Eq + Hash> Drop for InFlight<T> {
    fn drop(&mut self) {
        if !self.finished {
            self.shared.fail(&self.key, self.lease, Duration::ZERO);
        }
    }
}

impl<T: Clone + Eq + Hash + fmt::Debug> fmt::Debug for InFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight")
            .field("key", &self.key)
            .field("attempt", &self.attempt())
            .finish_non_exhaustive()
    }
}

/// A key that was given up, for the hook of [`Builder::dead_letter`](crate::Builder::dead_letter).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadLetter<T> {
    /// The key.
    pub key: T,
    /// How many attempts it had.
    pub attempts: u32,
}
