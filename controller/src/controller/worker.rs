//! One worker: takes keys from the queue and reconciles them, one after the other.

use std::{
    error::Error as StdError,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures::FutureExt as _;
use informer_workqueue::{AddOptions, InFlight};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::{
    Action, Context, Failure, Key, Reconciler,
    panic::PanicText,
    shared::{Run, Shared},
    yields::Turns,
};

pub(crate) struct Worker<R: Reconciler> {
    pub(crate) index: usize,
    pub(crate) shared: Arc<Shared<R::Key>>,
    pub(crate) reconciler: Arc<R>,
    pub(crate) timeout: Option<Duration>,
}

/// How a reconcile ended.
enum Outcome {
    Done(Action),
    Failed(Failure<Box<dyn StdError + Send + Sync>>),
    Panicked,
    TimedOut,
}

impl<R: Reconciler> Worker<R> {
    /// Works until the queue is closed and has nothing more to hand out.
    pub(crate) async fn work(self) {
        // What a reconcile does is contained where it is called; this is for what its future does when it is dropped.
        while let Err(panic) = AssertUnwindSafe(self.take_turns()).catch_unwind().await {
            self.shared.counters.panics.add(1);
            tracing::error!(controller = self.shared.name, panic = ?PanicText::of(&panic), "dropping a reconcile panicked");
        }
    }

    async fn take_turns(&self) {
        let mut turns = Turns::default();
        while let Some(item) = self.shared.queue.next().await {
            let run = self.shared.runs.fetch_add(1, Relaxed) + 1;
            let cx = Context::new(&item, run, &self.shared);
            let span = tracing::info_span!(
                "reconcile",
                controller = self.shared.name,
                key = ?item.key(),
                attempt = item.attempt(),
                trigger = ?cx.triggers(),
                run,
            );
            let active = Active::enter(&self.shared, self.index, &cx);
            let outcome = self.reconcile(cx).instrument(span.clone()).await;
            let took = active.finish();
            self.shared.counters.took(took);
            span.in_scope(|| self.settle(item, outcome));
            turns.next().await;
        }
    }

    async fn reconcile(&self, cx: Context<R::Key>) -> Outcome {
        // Called inside, so that a panic before the first await is contained too.
        let reconciling = async { self.reconciler.reconcile(cx).await };
        let contained = AssertUnwindSafe(reconciling).catch_unwind();
        let result = match self.timeout {
            None => contained.await,
            Some(timeout) => match tokio::time::timeout(timeout, contained).await {
                Ok(result) => result,
                Err(_) => return Outcome::TimedOut,
            },
        };
        match result {
            Ok(Ok(action)) => Outcome::Done(action),
            Ok(Err(failure)) => Outcome::Failed(failure.map(Into::into)),
            Err(panic) => {
                tracing::error!(panic = ?PanicText::of(&panic), "reconcile panicked");
                Outcome::Panicked
            }
        }
    }

    /// Counts how a run ended and says what is to become of its key.
    fn settle(&self, item: InFlight<R::Key>, outcome: Outcome) {
        let counters = &self.shared.counters;
        match outcome {
            Outcome::Done(action) => {
                match action.after() {
                    None => counters.succeeded.add(1),
                    Some(Duration::ZERO) => counters.requeued.add(1),
                    Some(_) => counters.requeued_after.add(1),
                }
                self.follow(item, action);
                return;
            }
            Outcome::Failed(Failure::Terminal(error)) => {
                counters.errors.add(1);
                counters.terminal_errors.add(1);
                tracing::warn!(error = %Chain(&*error), "reconcile failed for good");
                item.give_up();
                return;
            }
            Outcome::Failed(Failure::RetryAfter(error, delay)) => {
                tracing::warn!(error = %Chain(&*error), ?delay, "reconcile failed");
                item.retry_after(delay);
            }
            Outcome::Failed(Failure::Retry(error)) => {
                tracing::warn!(error = %Chain(&*error), "reconcile failed");
                item.retry();
            }
            Outcome::Panicked => {
                counters.panics.add(1);
                item.retry();
            }
            Outcome::TimedOut => {
                counters.timeouts.add(1);
                tracing::warn!(timeout = ?self.timeout, "reconcile took too long and was dropped");
                item.retry();
            }
        }
        counters.errors.add(1);
    }

    fn follow(&self, item: InFlight<R::Key>, action: Action) {
        match (action.after(), action.lane()) {
            (None, _) => item.done(),
            (Some(delay), None) => item.requeue_after(delay),
            (Some(delay), Some(lane)) => {
                let options = AddOptions::new().after(delay).priority(lane);
                self.shared.queue.add_with(item.key().clone(), options);
                item.done();
            }
        }
    }
}

/// A run in the list of running ones, and in the count; taken out when it ends in whatever way.
struct Active<'a, T: Key> {
    shared: &'a Shared<T>,
    worker: usize,
    since: Instant,
    finished: bool,
}

impl<'a, T: Key> Active<'a, T> {
    fn enter(shared: &'a Shared<T>, worker: usize, cx: &Context<T>) -> Self {
        let since = Instant::now();
        *shared.running(worker) = Some(Run {
            key: cx.key().clone(),
            run: cx.run(),
            attempt: cx.attempt(),
            since,
            stuck: false,
        });
        shared.counters.active.fetch_add(1, Relaxed);
        Self {
            shared,
            worker,
            since,
            finished: false,
        }
    }

    fn finish(mut self) -> Duration {
        self.finished = true;
        self.since.elapsed()
    }
}

impl<T: Key> Drop for Active<'_, T> {
    fn drop(&mut self) {
        self.shared.running(self.worker).take();
        self.shared.counters.active.fetch_sub(1, Relaxed);
        if !self.finished {
            self.shared.counters.abandoned.add(1);
        }
    }
}

/// An error with all its causes.
struct Chain<'a>(&'a (dyn StdError + 'static));

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        // An error that is its own cause must not print for ever.
        for _ in 0..CAUSES_MAX {
            let Some(error) = cause else { break };
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

const CAUSES_MAX: usize = 16;
