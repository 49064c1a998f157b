//! The run loop: sources, workers and parked keys in one future.

use std::{
    collections::HashMap,
    convert::Infallible,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use informer_workqueue::Drain;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, MissedTickBehavior},
};

use super::{Controller, Report, Unsynced, worker::Worker};
use crate::{
    Key, Phase, Reconciler, RunPhase, WhenUnsynced,
    panic::PanicText,
    shared::{Command, Shared},
    source::Driver,
};

pub(super) async fn run<R: Reconciler>(
    controller: Controller<R>,
    shutdown: impl Future<Output = ()>,
) -> Result<Report<R::Key>, Unsynced> {
    let Controller {
        shared,
        reconciler,
        settings,
        spawner,
        mut commands,
    } = controller;
    let mut shutdown = pin!(shutdown);
    let _ending = Ending(Arc::clone(&shared));
    // Lives as long as this future: workers elsewhere stop when it is dropped.
    let (alive, forced) = watch::channel(());
    let mut parts = Parts::new(Arc::clone(&shared));
    let mut workers = Workers::default();
    shared.phase.send_replace(RunPhase::Syncing);
    tracing::info!(controller = shared.name, "started");

    let mut started = false;
    let mut sync_deadline = settings.sync_timeout.map(|timeout| Instant::now() + timeout);
    let mut watchdog = tokio::time::interval(shared.stuck_after.max(WATCHDOG_MIN) / 2);
    watchdog.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if !started && parts.is_synced(&mut commands) {
            started = true;
            sync_deadline = None;
            for index in 0..shared.workers {
                let worker = Worker {
                    index,
                    shared: Arc::clone(&shared),
                    reconciler: Arc::clone(&reconciler),
                    timeout: settings.timeout,
                };
                match &spawner {
                    None => workers.here.push(worker.work().boxed()),
                    Some(spawner) => spawner.spawn(workers.elsewhere(worker, forced.clone())),
                }
            }
            shared.phase.send_replace(RunPhase::Running);
            tracing::info!(controller = shared.name, workers = shared.workers, "synced");
        }
        tokio::select! {
            biased;
            () = &mut shutdown => break,
            Some(command) = commands.recv() => parts.follow(command),
            () = parts.turn() => {}
            Some(()) = workers.here.next(), if !workers.here.is_empty() => {}
            () = shared.progress.notified(), if !started => {}
            () = sleep_until(sync_deadline), if !started => {
                sync_deadline = None;
                started_late(&shared, settings.when_unsynced)?;
                if settings.when_unsynced == WhenUnsynced::Start {
                    parts.start_anyway = true;
                }
            }
            _ = watchdog.tick() => shared.warn_of_stuck(),
        }
    }

    shared.stopping.send_replace(true);
    shared.phase.send_replace(RunPhase::Stopping);
    tracing::info!(controller = shared.name, "stopping");
    contain(&shared, || drop(parts));
    let mut drained = pin!(
        shared
            .queue
            .drain(Drain::within(settings.grace).run_queued(false))
    );
    let report = loop {
        tokio::select! {
            biased;
            report = &mut drained => break report,
            Some(()) = workers.here.next(), if !workers.here.is_empty() => {}
        }
    };
    // What is left is dropped: here at once, elsewhere at its next await.
    drop(alive);
    contain(&shared, || workers.here.clear());
    let _ = tokio::time::timeout(FORCED_WAIT, workers.ended()).await;
    let report = Report {
        finished: report.done,
        abandoned: report.abandoned,
        pending: report.pending,
    };
    tracing::info!(
        controller = shared.name,
        finished = report.finished,
        abandoned = report.abandoned.len(),
        pending = report.pending.len(),
        "stopped"
    );
    Ok(report)
}

fn started_late<T: Key>(shared: &Shared<T>, when_unsynced: WhenUnsynced) -> Result<(), Unsynced> {
    let sources = shared.sources();
    let waiting = sources
        .states
        .iter()
        .filter(|(_, state)| state.phase() == Phase::Waiting);
    let unsynced = Unsynced {
        controller: shared.name,
        sources: waiting.map(|(_, state)| state.name).collect(),
    };
    drop(sources);
    if when_unsynced == WhenUnsynced::Fail {
        return Err(unsynced);
    }
    tracing::warn!(controller = shared.name, sources = ?unsynced.sources, "sources are not synced in time");
    Ok(())
}

/// Drops what is the user's; a panic in that goes no further.
fn contain<T: Key>(shared: &Shared<T>, drop: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(drop)) {
        shared.counters.panics.add(1);
        tracing::error!(controller = shared.name, panic = ?PanicText::of(&panic), "something panicked when dropped");
    }
}

/// However the run ends, nothing is taken any more and whoever asks is told.
struct Ending<T: Key>(Arc<Shared<T>>);

impl<T: Key> Drop for Ending<T> {
    fn drop(&mut self) {
        self.0.queue.close();
        self.0.stopping.send_replace(true);
        self.0.phase.send_replace(RunPhase::Stopped);
    }
}

/// The workers, on this task or on others.
struct Workers {
    here: FuturesUnordered<BoxFuture<'static, ()>>,
    /// Every worker elsewhere holds a sender; when none is left, all have ended.
    ended: (mpsc::Sender<()>, mpsc::Receiver<()>),
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            here: FuturesUnordered::new(),
            ended: mpsc::channel(1),
        }
    }
}

impl Workers {
    /// The future of a worker that runs elsewhere: it ends when the queue does, or when `forced` says so.
    fn elsewhere<R: Reconciler>(
        &self,
        worker: Worker<R>,
        mut forced: watch::Receiver<()>,
    ) -> BoxFuture<'static, ()> {
        let ended = self.ended.0.clone();
        async move {
            let _ended = ended;
            tokio::select! {
                biased;
                _ = forced.changed() => {}
                () = worker.work() => {}
            }
        }
        .boxed()
    }

    async fn ended(self) {
        let (sender, mut receiver) = self.ended;
        drop(sender);
        let _ = receiver.recv().await;
    }
}

/// What runs besides the workers: sources, and waits for writes.
struct Parts<T: Key> {
    shared: Arc<Shared<T>>,
    sources: FuturesUnordered<BoxFuture<'static, u64>>,
    kept: HashMap<u64, oneshot::Sender<Infallible>>,
    writes: FuturesUnordered<BoxFuture<'static, (T, bool)>>,
    /// How many writes each parked key waits for.
    awaited: HashMap<T, usize>,
    start_anyway: bool,
}

impl<T: Key> Parts<T> {
    fn new(shared: Arc<Shared<T>>) -> Self {
        Self {
            shared,
            sources: FuturesUnordered::new(),
            kept: HashMap::new(),
            writes: FuturesUnordered::new(),
            awaited: HashMap::new(),
            start_anyway: false,
        }
    }

    /// Whether workers may start: every source known by now is synced.
    fn is_synced(&mut self, commands: &mut mpsc::UnboundedReceiver<Command<T>>) -> bool {
        while let Ok(command) = commands.try_recv() {
            self.follow(command);
        }
        self.start_anyway || self.shared.is_synced()
    }

    fn follow(&mut self, command: Command<T>) {
        match command {
            Command::Add(id, Driver { keep, future, .. }) => {
                self.kept.insert(id, keep);
                self.sources.push(future.map(move |()| id).boxed());
            }
            Command::Remove(id) => {
                self.kept.remove(&id);
            }
            Command::Await(write) => {
                *self.awaited.entry(write.key.clone()).or_default() += 1;
                self.writes.push(write.wait().boxed());
            }
        }
    }

    /// Waits until a source or a wait for a write ends.
    async fn turn(&mut self) {
        tokio::select! {
            biased;
            Some((key, seen)) = self.writes.next(), if !self.writes.is_empty() => self.wrote(key, seen),
            Some(id) = self.sources.next(), if !self.sources.is_empty() => {
                self.kept.remove(&id);
            }
            else => std::future::pending().await,
        }
    }

    fn wrote(&mut self, key: T, seen: bool) {
        if !seen {
            self.shared.counters.writes_unseen.add(1);
            tracing::warn!(
                controller = self.shared.name,
                ?key,
                "a write was not seen by its cache in time"
            );
        }
        let Some(left) = self.awaited.get_mut(&key) else {
            return;
        };
        *left -= 1;
        if *left == 0 {
            self.awaited.remove(&key);
            self.shared.queue.unpark(&key);
        }
    }
}

impl<T: Key> Shared<T> {
    /// Logs and counts, once each, the runs that take too long.
    fn warn_of_stuck(&self) {
        let now = Instant::now();
        for worker in 0..self.workers {
            let mut running = self.running(worker);
            let Some(run) = running.as_mut() else { continue };
            let age = now.saturating_duration_since(run.since);
            if !run.stuck && age >= self.stuck_after {
                run.stuck = true;
                self.counters.stuck.add(1);
                let (key, run, attempt) = (run.key.clone(), run.run, run.attempt);
                drop(running);
                tracing::warn!(
                    controller = self.name,
                    ?key,
                    run,
                    attempt,
                    ?age,
                    "reconcile seems stuck"
                );
            }
        }
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// How long workers elsewhere may take to notice a forced stop: they do at their next await.
const FORCED_WAIT: Duration = Duration::from_secs(1);

/// Looking for stuck runs more often than this would cost more than it tells.
const WATCHDOG_MIN: Duration = Duration::from_millis(2);
