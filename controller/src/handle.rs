//! [`Handle`]: looks at a running controller and changes its sources.

use std::{fmt, sync::Arc, time::Duration};

use informer_store::ObjectKey;
use informer_workqueue::WorkQueue;
use tokio::time::Instant;

use crate::{
    Key, Phase, RunPhase, Source, Stats,
    shared::{QueueFeed, Shared},
};

/// Looks at a controller, adds and removes sources, and asks for runs; before, during and after its run. Cheap to clone.
pub struct Handle<T = ObjectKey>(pub(crate) Arc<Shared<T>>);

/// One source of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SourceId(u64);

impl<T: Key> Handle<T> {
    /// Adds a source, also to a controller that runs already. Workers that run do not wait for it to be synced.
    pub fn add_source<K: Send + Sync + 'static>(&self, source: Source<K, T>) -> SourceId {
        let feed = QueueFeed {
            queue: self.0.queue.clone(),
            progress: Arc::clone(&self.0.progress),
        };
        SourceId(self.0.add_source(source.into_driver(feed)))
    }

    /// Removes a source: its stream is dropped, what it triggered stays queued. Whether it was there.
    pub fn remove_source(&self, id: SourceId) -> bool {
        self.0.remove_source(id.0)
    }

    /// The queue: to add keys by hand, and for its numbers.
    #[must_use]
    pub fn queue(&self) -> &WorkQueue<T> {
        &self.0.queue
    }

    /// What the controller has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.0.counters.snapshot();
        stats.event_latency = self.0.queue.stats().queue_duration;
        let sources = self.0.sources();
        stats.workers = self.0.workers;
        stats.events = sources.past.events;
        stats.filtered = sources.past.filtered;
        stats.triggered = sources.past.triggered;
        stats.source_panics = sources.past.panics;
        for (_, state) in &sources.states {
            stats.events += state.events.get();
            stats.filtered += state.filtered.get();
            stats.triggered += state.triggered.get();
            stats.source_panics += state.panics.get();
        }
        stats
    }

    /// What the controller is doing now.
    #[must_use]
    pub fn status(&self) -> Status<T> {
        let now = Instant::now();
        let running = (0..self.0.workers).filter_map(|worker| {
            let run = self.0.running(worker);
            run.as_ref().map(|run| Running {
                key: run.key.clone(),
                run: run.run,
                attempt: run.attempt,
                age: now.saturating_duration_since(run.since),
                stuck: now.saturating_duration_since(run.since) >= self.0.stuck_after,
            })
        });
        let mut running: Vec<_> = running.collect();
        running.sort_by_key(|run| std::cmp::Reverse(run.age));
        let sources = self.0.sources();
        Status {
            name: self.0.name,
            phase: *self.0.phase.borrow(),
            sources: sources
                .states
                .iter()
                .map(|(id, state)| SourceStatus {
                    id: SourceId(*id),
                    name: state.name,
                    phase: state.phase(),
                    events: state.events.get(),
                    filtered: state.filtered.get(),
                    triggered: state.triggered.get(),
                    panics: state.panics.get(),
                })
                .collect(),
            running,
        }
    }

    /// Waits until the workers run; `false` if the controller stops before that.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn started(&self) -> bool {
        let mut phase = self.0.phase.subscribe();
        let phase = phase.wait_for(|phase| *phase >= RunPhase::Running).await;
        phase.is_ok_and(|phase| *phase == RunPhase::Running)
    }
}

/// What a controller is doing at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Status<T = ObjectKey> {
    /// The name of the controller.
    pub name: &'static str,
    /// Where it is in its life.
    pub phase: RunPhase,
    /// Its sources, in the order in which they were added.
    pub sources: Vec<SourceStatus>,
    /// The reconciles that run, the oldest first.
    pub running: Vec<Running<T>>,
}

/// What a source is doing, and has done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SourceStatus {
    /// What [`Handle::add_source`] gave.
    pub id: SourceId,
    /// Its name.
    pub name: &'static str,
    /// What it is doing.
    pub phase: Phase,
    /// Changes it delivered.
    pub events: u64,
    /// Changes its predicate said don't matter.
    pub filtered: u64,
    /// Keys its trigger named.
    pub triggered: u64,
    /// Panics in it that were contained.
    pub panics: u64,
}

/// A reconcile that runs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Running<T = ObjectKey> {
    /// The key.
    pub key: T,
    /// The number of the run.
    pub run: u64,
    /// Which attempt it is.
    pub attempt: u32,
    /// For how long it has been running.
    pub age: Duration,
    /// Whether that is longer than it should be.
    pub stuck: bool,
}

impl<T> Clone for Handle<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Handle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("name", &self.0.name)
            .finish_non_exhaustive()
    }
}
