//! The handle.

use std::fmt;
use std::hash::Hash;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::builder::Builder;
use crate::in_flight::InFlight;
use crate::next::{Next, NextBatch};
use crate::options::{AddOptions, Added};
use crate::queue::{Request, Taken};
use crate::shared::Shared;
use crate::stats::{KeySnapshot, Stats};
use crate::sync::{Arc, now};

/// A queue of keys to work on; a clone is another handle to the same queue. client-go: `workqueue.TypedInterface`,
/// `TypedDelayingInterface` and `TypedRateLimitingInterface` in one.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use informer_workqueue::WorkQueue;
///
/// let queue = WorkQueue::new();
/// queue.add("default/web");
/// queue.add("default/web");
/// queue.close();
/// let mut runs = 0;
/// while let Some(item) = queue.next().await {
///     runs += 1;
///     item.done();
/// }
/// assert_eq!(runs, 1);
/// # }
/// ```
pub struct WorkQueue<T> {
    pub(crate) shared: Arc<Shared<T>>,
}

impl<T: Clone + Eq + Hash + 'static> WorkQueue<T> {
    /// A queue with the default settings.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Settings to choose.
    pub fn builder() -> Builder<T> {
        Builder::new()
    }
}

impl<T: Clone + Eq + Hash> WorkQueue<T> {
    /// Asks for a run of `key`: once for all adds until the run starts, once more if the key is running.
    pub fn add(&self, key: T) -> Added {
        let class = self.shared.class(&key);
        self.shared.with(|state| state.add(key, class))
    }

    /// Asks for a run not before `delay` from now. A key that is ready stays ready; of two delays the earlier counts.
    pub fn add_after(&self, key: T, delay: Duration) -> Added {
        let request = Request {
            after: Some(delay),
            ..self.request(&key)
        };
        self.shared.with(|state| {
            let now = state.now();
            state.core.add_at(key, request, now)
        })
    }

    /// Asks for a run as soon as the rate limiter allows, as after a failure. For a key that is in flight, end the run
    /// with [`InFlight::retry`] instead.
    pub fn add_rate_limited(&self, key: T) -> Added {
        self.add_with(key, AddOptions::new().rate_limited())
    }

    /// Asks for a run with options.
    pub fn add_with(&self, key: T, options: AddOptions) -> Added {
        let mut request = self.request(&key);
        if options.rate_limited {
            let failures = self.shared.with(|state| state.core.retries(&key));
            request.limited = Some(self.shared.delay(&key, failures));
        }
        request.after = options.after;
        request.priority = options.priority;
        request.merge = options.merge;
        request.debounce = options.debounce;
        request.min_interval = options.min_interval;
        request.at_once = options.at_once;
        request.source = options.source;
        self.shared.with(|state| {
            let now = state.now();
            state.core.add_at(key, request, now)
        })
    }

    /// Asks for a run of each key, in one step. Returns how many runs were ordered that were not before.
    pub fn add_many(&self, keys: impl IntoIterator<Item = T>) -> usize {
        let requests: Vec<_> = keys.into_iter().map(|key| (self.request(&key), key)).collect();
        self.shared.with(|state| {
            let now = state.now();
            let added = requests
                .into_iter()
                .map(|(request, key)| state.core.add_at(key, request, now));
            added.filter(|added| *added == Added::New).count()
        })
    }

    /// Waits for the next key; `None` once the queue is closed and nothing more can come.
    ///
    /// A burst of keys wakes few of those who wait, and each wakes the next before it returns. So a future that was woken
    /// should be polled or dropped soon: keys may wait for it meanwhile, though others are passed the word when it is slow.
    /// While keys are ready the future is ready at its first poll and does not yield: a worker whose runs never wait for
    /// anything should yield now and then.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: a key leaves the queue only when the future completes.
    ///
    /// # Panics
    /// While a key is delayed, outside a tokio runtime with time enabled.
    pub fn next(&self) -> Next<'_, T> {
        Next::new(self)
    }

    /// Waits for at least one key and takes up to `max` (at least one) that are ready; empty once the queue is closed and
    /// nothing more can come.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: keys leave the queue only when the future completes.
    ///
    /// # Panics
    /// While a key is delayed, outside a tokio runtime with time enabled.
    pub fn next_batch(&self, max: usize) -> NextBatch<'_, T> {
        NextBatch::new(self, max.max(1))
    }

    /// The next key if one is ready.
    #[must_use]
    pub fn try_next(&self) -> Option<InFlight<T>> {
        self.shared.with(|state| {
            let now = state.clock();
            Some(self.lease(state.take(now)?))
        })
    }

    /// Forgets the failures of a key. Runs that end with [`InFlight::done`] do it by themselves.
    pub fn forget(&self, key: &T) {
        self.shared.with(|state| state.core.forget(key));
        self.shared.forget_in_limiter(key);
    }

    /// Failures of a key in a row, the one whose delay is being served included. client-go: `NumRequeues`.
    #[must_use]
    pub fn retries(&self, key: &T) -> u32 {
        self.shared.with(|state| state.core.retries(key))
    }

    /// Withdraws what was asked of a key: its delay, its place in line, or the run after the present one. Returns whether
    /// anything was. The failures of a key that does not run are forgotten.
    pub fn cancel(&self, key: &T) -> bool {
        let withdrawn = self.shared.with(|state| state.core.withdraw(key, now()));
        if withdrawn.forget {
            self.shared.forget_in_limiter(key);
        }
        withdrawn.wanted
    }

    /// Holds a key back until `until` or until [`unpark`](Self::unpark), whichever is first: for a key whose last run
    /// wrote something the cache has not seen yet. Whatever was or is asked of the key meanwhile happens then. A key that
    /// runs keeps running. Parking asks for nothing by itself: a key nobody adds does not run.
    pub fn park(&self, key: &T, until: Instant) {
        self.park_because(key, until, "parked");
    }

    /// As [`park`](Self::park), with a reason for [`Stats::parked`].
    pub fn park_because(&self, key: &T, until: Instant, reason: &'static str) {
        let class = self.shared.class(key);
        let key = key.clone();
        self.shared
            .with(|state| state.core.park(key, until, reason, class, now()));
    }

    /// Ends [`park`](Self::park). Returns whether the key was parked.
    pub fn unpark(&self, key: &T) -> bool {
        self.shared.with(|state| state.core.unpark(key, now()))
    }

    /// Takes no more adds. What is ready by now is still handed out, then [`next`](Self::next) returns `None` for everybody;
    /// delayed and parked keys are not waited for. Idempotent. client-go: `ShutDown`.
    pub fn close(&self) {
        self.shared.with(|state| {
            state.core.settle_to(now());
            state.core.close();
        });
    }

    /// Whether the queue was closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.with(|state| state.core.is_closed())
    }

    /// Keys waiting to be handed out; delayed and running ones do not count. client-go: `Len`.
    #[must_use]
    pub fn len(&self) -> usize {
        self.shared.with(|state| {
            state.core.settle_to(now());
            state.core.len()
        })
    }

    /// Whether no key waits to be handed out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The name given to the builder.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// All numbers of the queue at this instant. Nothing is computed unless asked for.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.shared.with(|state| state.core.stats(now()));
        stats.dead_letters = self.shared.dead_letters.load(Ordering::Relaxed);
        stats.contained_panics = self.shared.panics.load(Ordering::Relaxed);
        stats
    }

    /// Everything the queue knows about a key; `None` if nothing.
    #[must_use]
    pub fn snapshot(&self, key: &T) -> Option<KeySnapshot> {
        self.shared.with(|state| state.core.snapshot(key, now()))
    }

    /// The keys with the most failures in a row, at most `max` of them, the worst first.
    #[must_use]
    pub fn top_failing(&self, max: usize) -> Vec<(T, u32)> {
        self.shared.with(|state| state.core.top_failing(max))
    }

    #[inline]
    pub(crate) fn lease(&self, taken: Taken<T>) -> InFlight<T> {
        InFlight::new(Arc::clone(&self.shared), taken)
    }

    pub(crate) fn request(&self, key: &T) -> Request {
        let (flow, group) = self.shared.class(key);
        Request {
            flow,
            group,
            ..Request::default()
        }
    }
}

impl<T: Clone + Eq + Hash + 'static> Default for WorkQueue<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for WorkQueue<T> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T> fmt::Debug for WorkQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.shared.fmt(f)
    }
}
