//! Running a function over many items with bounded concurrency.

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};

use crate::sync::{Arc, Mutex, lock};

/// Runs `f` over every item, at most `n` at a time (zero counts as one), each item exactly once. client-go:
/// `ParallelizeUntil`.
///
/// Nothing is spawned: the work happens where the returned future is polled, so `n` bounds how many items are *waiting*
/// for something at a time; hand CPU-bound work to threads in `f`. A panic in `f` ends that item only, the others go on.
/// By its [`CancelHandle`] the run can be told to start no more items; those that run are finished.
///
/// # Cancel safety
/// Dropping the future drops the items in progress.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use informer_workqueue::parallelize;
///
/// let outcome = parallelize(4, 0..100, |item| async move {
///     tokio::task::yield_now().await;
///     assert!(item < 100);
/// }).await;
/// assert_eq!((outcome.finished, outcome.panicked, outcome.cancelled), (100, 0, false));
/// # }
/// ```
pub fn parallelize<I, F, Fut>(n: usize, items: I, f: F) -> Parallelize
where
    I: IntoIterator,
    I::IntoIter: Send + 'static,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let cancel = CancelHandle::default();
    let run = run(n.max(1), 1, items.into_iter(), f, cancel.clone());
    Parallelize {
        run: run.boxed(),
        cancel,
    }
}

/// [`parallelize`] with items handed to a worker `chunk` at a time (zero counts as one): a chunk is run in order, by one
/// worker, and there are no more workers than chunks. client-go: `WithChunkSize`.
pub fn parallelize_chunked<I, F, Fut>(n: usize, chunk: usize, items: I, f: F) -> Parallelize
where
    I: IntoIterator,
    I::IntoIter: Send + 'static,
    I::Item: Send + 'static,
    F: Fn(I::Item) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let cancel = CancelHandle::default();
    let run = run(n.max(1), chunk.max(1), items.into_iter(), f, cancel.clone());
    Parallelize {
        run: run.boxed(),
        cancel,
    }
}

/// Future of [`parallelize`].
#[must_use = "futures do nothing unless awaited"]
pub struct Parallelize {
    run: BoxFuture<'static, Outcome>,
    cancel: CancelHandle,
}

impl Parallelize {
    /// A handle to stop it with.
    #[must_use]
    pub fn cancel_handle(&self) -> CancelHandle {
        self.cancel.clone()
    }

    /// Starts no more items once `stop` is done.
    ///
    /// # Cancel safety
    /// As [`parallelize`].
    pub async fn until(mut self, stop: impl Future<Output = ()>) -> Outcome {
        let cancel = self.cancel.clone();
        let stop = async {
            stop.await;
            cancel.cancel();
            futures::future::pending::<()>().await;
        };
        let mut stop = std::pin::pin!(stop);
        std::future::poll_fn(|cx| {
            let _ = stop.as_mut().poll(cx);
            self.run.poll_unpin(cx)
        })
        .await
    }
}

impl Future for Parallelize {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Outcome> {
        self.run.poll_unpin(cx)
    }
}

impl fmt::Debug for Parallelize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parallelize")
            .field("cancel", &self.cancel)
            .finish_non_exhaustive()
    }
}

/// Tells a [`parallelize`] to start no more items.
#[derive(Clone, Debug, Default)]
pub struct CancelHandle {
    cancelled: std::sync::Arc<AtomicBool>,
}

impl CancelHandle {
    /// Looked at before each item.
    pub fn cancel(&self) {
        self.cancelled.store(true, Ordering::Relaxed);
    }

    fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Relaxed)
    }
}

/// How a [`parallelize`] went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Outcome {
    /// Items that ran to their end.
    pub finished: usize,
    /// Items that panicked.
    pub panicked: usize,
    /// Whether items were left out because it was cancelled.
    pub cancelled: bool,
}

async fn run<I, F, Fut>(n: usize, chunk: usize, items: I, f: F, cancel: CancelHandle) -> Outcome
where
    I: Iterator + Send + 'static,
    I::Item: Send,
    F: Fn(I::Item) -> Fut + Send + Sync,
    Fut: Future<Output = ()> + Send,
{
    let items = Arc::new(Mutex::new(items.fuse()));
    let take = || {
        let mut items = lock(&items);
        items.by_ref().take(chunk).collect::<Vec<_>>()
    };
    let work = |mut current: Vec<I::Item>| {
        let (f, cancel, take) = (&f, &cancel, &take);
        async move {
            let mut outcome = Outcome::default();
            while !current.is_empty() {
                for item in current {
                    if cancel.is_cancelled() {
                        outcome.cancelled = true;
                        return outcome;
                    }
                    // The call is inside: it may panic before there is a future.
                    let run = async { f(item).await };
                    match AssertUnwindSafe(run).catch_unwind().await {
                        Ok(()) => outcome.finished += 1,
                        Err(_) => outcome.panicked += 1,
                    }
                }
                current = take();
            }
            outcome
        }
    };
    let mut workers = FuturesUnordered::new();
    while workers.len() < n {
        let first = take();
        if first.is_empty() {
            break;
        }
        workers.push(work(first));
    }
    let mut total = Outcome::default();
    while let Some(part) = workers.next().await {
        total.finished += part.finished;
        total.panicked += part.panicked;
        total.cancelled |= part.cancelled;
    }
    total
}
