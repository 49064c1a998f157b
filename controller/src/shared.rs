//! What the parts of one controller share.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
    time::Duration,
};

use informer_store::ResourceVersion;
use informer_workqueue::{AddOptions, WorkQueue};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::Instant,
};

use crate::{
    Key, Phase, SeesWrites,
    source::{Driver, Feed, State as SourceState},
    stats::Counters,
    writes::Write,
};

pub(crate) struct Shared<T> {
    pub(crate) name: &'static str,
    pub(crate) queue: WorkQueue<T>,
    pub(crate) counters: Counters,
    pub(crate) runs: AtomicU64,
    pub(crate) stopping: watch::Sender<bool>,
    pub(crate) phase: watch::Sender<RunPhase>,
    pub(crate) write_deadline: Duration,
    pub(crate) stuck_after: Duration,
    pub(crate) workers: usize,
    pub(crate) sources: Mutex<Sources>,
    /// What each worker runs now.
    pub(crate) running: Box<[Mutex<Option<Run<T>>>]>,
    commands: mpsc::UnboundedSender<Command<T>>,
    /// Told when a source moves on to its next phase.
    pub(crate) progress: Arc<Notify>,
}

/// Where a controller is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RunPhase {
    /// Not run yet.
    Idle,
    /// Sources run, and workers wait until all of them are synced.
    Syncing,
    /// Workers run.
    Running,
    /// Told to stop: sources are off, running reconciles finish.
    Stopping,
    /// Over.
    Stopped,
}

/// A reconcile that runs now.
#[derive(Debug)]
pub(crate) struct Run<T> {
    pub(crate) key: T,
    pub(crate) run: u64,
    pub(crate) attempt: u32,
    pub(crate) since: Instant,
    pub(crate) stuck: bool,
}

/// What the run loop is asked to do.
pub(crate) enum Command<T> {
    Add(u64, Driver),
    Remove(u64),
    Await(Write<T>),
}

/// The sources by number, in the order in which they were added.
#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) next: u64,
    pub(crate) states: Vec<(u64, Arc<SourceState>)>,
    /// What sources counted that were removed since.
    pub(crate) past: PastSources,
}

#[derive(Default)]
pub(crate) struct PastSources {
    pub(crate) events: u64,
    pub(crate) filtered: u64,
    pub(crate) triggered: u64,
    pub(crate) panics: u64,
}

impl<T: Key> Shared<T> {
    pub(crate) fn new(
        name: &'static str,
        queue: WorkQueue<T>,
        workers: usize,
        write_deadline: Duration,
        stuck_after: Duration,
        commands: mpsc::UnboundedSender<Command<T>>,
    ) -> Self {
        Self {
            name,
            queue,
            counters: Counters::default(),
            runs: AtomicU64::new(0),
            stopping: watch::Sender::new(false),
            phase: watch::Sender::new(RunPhase::Idle),
            write_deadline,
            stuck_after,
            workers,
            sources: Mutex::default(),
            running: (0..workers).map(|_| Mutex::new(None)).collect(),
            commands,
            progress: Arc::new(Notify::new()),
        }
    }

    pub(crate) fn sources(&self) -> MutexGuard<'_, Sources> {
        lock(&self.sources)
    }

    pub(crate) fn running(&self, worker: usize) -> MutexGuard<'_, Option<Run<T>>> {
        lock(&self.running[worker])
    }

    /// Whether no source holds up the start.
    pub(crate) fn is_synced(&self) -> bool {
        let sources = self.sources();
        sources
            .states
            .iter()
            .all(|(_, state)| state.phase() != Phase::Waiting)
    }

    /// Takes a source in; the run loop sets it in motion.
    pub(crate) fn add_source(&self, driver: Driver) -> u64 {
        let mut sources = self.sources();
        sources.next += 1;
        let id = sources.next;
        sources.states.push((id, Arc::clone(&driver.state)));
        drop(sources);
        let state = Arc::clone(&driver.state);
        if !self.send(Command::Add(id, driver)) {
            state.enter(Phase::Removed);
        }
        id
    }

    /// Lets a source go. Whether it was there.
    pub(crate) fn remove_source(&self, id: u64) -> bool {
        let mut sources = self.sources();
        let Some(index) = sources.states.iter().position(|(known, _)| *known == id) else {
            return false;
        };
        let (_, state) = sources.states.remove(index);
        state.enter(Phase::Removed);
        sources.past.events += state.events.get();
        sources.past.filtered += state.filtered.get();
        sources.past.triggered += state.triggered.get();
        sources.past.panics += state.panics.get();
        drop(sources);
        self.send(Command::Remove(id));
        true
    }

    /// Parks `key` until `cache` has seen `version`.
    pub(crate) fn wrote(&self, key: &T, cache: &(impl SeesWrites + ?Sized), version: ResourceVersion) {
        if version.is_unset() || cache.has_seen(&version) {
            return;
        }
        let deadline = Instant::now() + self.write_deadline;
        self.counters.writes_awaited.add(1);
        let seen = cache.seen(version, deadline);
        // Parked by the queue beyond the deadline of the wait, which has to end first to be counted.
        self.queue.park_because(key, deadline + PARK_MARGIN, "write");
        let key = key.clone();
        self.send(Command::Await(Write { key, seen }));
    }

    /// Whether there is still a run that follows it.
    fn send(&self, command: Command<T>) -> bool {
        self.commands.send(command).is_ok()
    }
}

/// What a source holds of its controller.
pub(crate) struct QueueFeed<T> {
    pub(crate) queue: WorkQueue<T>,
    pub(crate) progress: Arc<Notify>,
}

impl<T: Key> Feed<T> for QueueFeed<T> {
    fn add(&self, key: T, options: AddOptions) {
        self.queue.add_with(key, options);
    }

    fn progress(&self) -> Arc<Notify> {
        Arc::clone(&self.progress)
    }
}

/// Nothing panics under these locks; what they guard is whole at any moment.
fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A key stays parked for as much longer than its wait lasts, should the run loop be late.
const PARK_MARGIN: Duration = Duration::from_secs(1);
