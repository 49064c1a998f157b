//! [`Source`]: where a controller learns that something changed.

use std::{
    convert::Infallible,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering::Relaxed},
    },
};

use futures::{FutureExt as _, Stream, StreamExt as _, future::BoxFuture, stream::BoxStream};
use informer_store::{Cache, Cause, Change, Object};
use informer_workqueue::{AddOptions, Priority};
use tokio::sync::{Notify, oneshot};

use crate::{Key, Keys, Predicate, Trigger, panic::PanicText, stats::Counter, yields::Turns};

/// A stream of changes, and which keys each of them concerns.
///
/// Any stream of [`Change`]s will do: a subscription to a cache, or one made by hand.
///
/// # Examples
/// ```
/// use futures::stream;
/// use informer_controller::{Source, predicate, trigger};
/// use informer_store::{Change, ObjectKey};
/// use k8s_openapi::api::apps::v1::Deployment;
///
/// # let subscription = stream::empty::<Change<Deployment>>();
/// let source: Source<Deployment, ObjectKey> = Source::new(subscription, trigger::itself())
///     .named("deployments")
///     .predicate(predicate::generation_changed);
/// # let _ = source;
/// ```
///
/// # Source
/// controller-runtime `pkg/source` `Kind`, `Channel`.
pub struct Source<K, T> {
    name: &'static str,
    changes: BoxStream<'static, Change<K>>,
    trigger: Box<dyn Trigger<K, T>>,
    predicate: Option<Box<dyn Predicate<K>>>,
    lane: Box<LaneOf<K>>,
    synced: Option<BoxFuture<'static, ()>>,
}

type LaneOf<K> = dyn Fn(&Change<K>) -> Priority + Send;

impl<K: Send + Sync + 'static, T: Key> Source<K, T> {
    /// A source of `changes`, each of which concerns the keys that `trigger` names.
    pub fn new<S, G>(changes: S, trigger: G) -> Self
    where
        S: Stream<Item = Change<K>> + Send + 'static,
        G: Trigger<K, T> + 'static,
    {
        Self {
            name: "changes",
            changes: changes.boxed(),
            trigger: Box::new(trigger),
            predicate: None,
            lane: Box::new(lane_of),
            synced: None,
        }
    }

    /// The changes of `cache`, synced when it is.
    pub fn of<G>(cache: &Cache<K>, trigger: G) -> Self
    where
        K: Object,
        G: Trigger<K, T> + 'static,
    {
        let synced = cache.clone();
        Self::new(cache.subscribe(), trigger).synced(async move { synced.synced().await })
    }

    /// The name under which it appears in the status, in logs, and in [`Context::triggers`](crate::Context::triggers).
    ///
    /// Default: `"changes"`.
    #[must_use]
    pub fn named(mut self, name: &'static str) -> Self {
        self.name = name;
        self
    }

    /// Only changes of which `predicate` says so matter. A second one narrows the first.
    ///
    /// Default: every change matters.
    #[must_use]
    pub fn predicate(mut self, predicate: impl Predicate<K> + 'static) -> Self {
        self.predicate = Some(match self.predicate {
            Some(first) => Box::new(move |change: &Change<K>| first.test(change) && predicate.test(change)),
            None => Box::new(predicate),
        });
        self
    }

    /// The lane that the keys of a change wait in.
    ///
    /// Default: [`Priority::Resync`] for what was there at the start, for resyncs and for updates that leave the object
    /// as it is; [`Priority::Normal`] for everything else.
    #[must_use]
    pub fn lane(mut self, lane: impl Fn(&Change<K>) -> Priority + Send + 'static) -> Self {
        self.lane = Box::new(lane);
        self
    }

    /// Completes once the cache behind the source is synced. No worker starts before that and before what the source
    /// has to say then has been queued.
    ///
    /// Default: synced from the start.
    #[must_use]
    pub fn synced(mut self, synced: impl Future<Output = ()> + Send + 'static) -> Self {
        self.synced = Some(synced.boxed());
        self
    }

    pub(crate) fn into_driver(self, feed: impl Feed<T>) -> Driver {
        let state = Arc::new(State::new(self.name, feed.progress()));
        let shared = Arc::clone(&state);
        let (keep, removed) = oneshot::channel::<Infallible>();
        let future = async move {
            // Dropped inside what is contained, whichever of the two comes first.
            let drive = async {
                tokio::select! {
                    biased;
                    _ = removed => Phase::Removed,
                    () = self.drive(&shared, feed) => Phase::Ended,
                }
            };
            let phase = match AssertUnwindSafe(drive).catch_unwind().await {
                Ok(phase) => {
                    if phase == Phase::Ended {
                        tracing::warn!(source = shared.name, "source ended");
                    }
                    phase
                }
                Err(panic) => {
                    shared.panics.add(1);
                    tracing::error!(source = shared.name, panic = ?PanicText::of(&panic), "source panicked and is off");
                    Phase::Failed
                }
            };
            shared.enter(phase);
        };
        Driver {
            state,
            keep,
            future: future.boxed(),
        }
    }

    async fn drive(mut self, state: &State, feed: impl Feed<T>) {
        let mut synced = self
            .synced
            .take()
            .unwrap_or_else(|| std::future::ready(()).boxed());
        let mut is_synced = false;
        let mut keys = Keys::new();
        let mut turns = Turns::default();
        loop {
            let change = if is_synced && state.phase() == Phase::Waiting {
                // Nothing more to be had at once: what was there at the sync has been queued.
                let Some(change) = self.changes.next().now_or_never() else {
                    state.enter(Phase::Running);
                    continue;
                };
                change
            } else {
                tokio::select! {
                    biased;
                    change = self.changes.next() => change,
                    () = &mut synced, if !is_synced => {
                        is_synced = true;
                        continue;
                    }
                }
            };
            let Some(change) = change else { return };
            self.take(&change, &mut keys, state, &feed);
            // A source that always has more lets the others on the task have their turn.
            turns.next().await;
        }
    }

    /// Queues what one change concerns.
    fn take(&self, change: &Change<K>, keys: &mut Keys<T>, state: &State, feed: &impl Feed<T>) {
        state.events.add(1);
        let contained = |what, panic: Box<dyn std::any::Any + Send>| {
            state.panics.add(1);
            let (source, key) = (state.name, change.key());
            tracing::error!(source, %key, panic = ?PanicText::of(&panic), "{what} panicked");
        };
        if let Some(predicate) = &self.predicate {
            match catch_unwind(AssertUnwindSafe(|| predicate.test(change))) {
                Ok(true) => {}
                Ok(false) => {
                    state.filtered.add(1);
                    return;
                }
                // One reconcile too many does no harm, one too few may.
                Err(panic) => contained("predicate", panic),
            }
        }
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| self.trigger.keys(change, keys))) {
            contained("trigger", panic);
        }
        let lane = catch_unwind(AssertUnwindSafe(|| (self.lane)(change))).unwrap_or_else(|panic| {
            contained("lane", panic);
            Priority::Normal
        });
        state.triggered.add(keys.len() as u64);
        for key in keys.drain() {
            feed.add(key, AddOptions::new().priority(lane).source(state.name));
        }
    }
}

impl<K, T> fmt::Debug for Source<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source")
            .field("name", &self.name)
            .field("predicate", &self.predicate.is_some())
            .finish_non_exhaustive()
    }
}

/// Where a source puts its keys.
pub(crate) trait Feed<T>: Send + Sync + 'static {
    fn add(&self, key: T, options: AddOptions);
    fn progress(&self) -> Arc<Notify>;
}

/// A source, set in motion.
pub(crate) struct Driver {
    pub(crate) state: Arc<State>,
    /// Dropping it removes the source.
    pub(crate) keep: oneshot::Sender<Infallible>,
    pub(crate) future: BoxFuture<'static, ()>,
}

/// What is known of a source from outside.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) name: &'static str,
    phase: AtomicU8,
    pub(crate) events: Counter,
    pub(crate) filtered: Counter,
    pub(crate) triggered: Counter,
    pub(crate) panics: Counter,
    progress: Arc<Notify>,
}

impl State {
    fn new(name: &'static str, progress: Arc<Notify>) -> Self {
        Self {
            name,
            phase: AtomicU8::new(Phase::Waiting as u8),
            events: Counter::default(),
            filtered: Counter::default(),
            triggered: Counter::default(),
            panics: Counter::default(),
            progress,
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        // Relaxed: the keys a source queued before are found through the queue's own lock.
        Phase::ALL[usize::from(self.phase.load(Relaxed))]
    }

    pub(crate) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        self.progress.notify_one();
    }
}

/// What a source is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Phase {
    /// Its cache is not synced, or what was there then has not all been queued.
    Waiting,
    /// It delivers changes.
    Running,
    /// Its stream has ended. It triggers nothing any more.
    Ended,
    /// Its stream panicked. It triggers nothing any more.
    Failed,
    /// It was removed.
    Removed,
}

impl Phase {
    const ALL: [Self; 5] = [
        Self::Waiting,
        Self::Running,
        Self::Ended,
        Self::Failed,
        Self::Removed,
    ];
}

fn lane_of<K>(change: &Change<K>) -> Priority {
    match change {
        Change::Added { initial: true, .. } => Priority::Resync,
        Change::Updated { old, new, cause, .. } if *cause == Cause::Resync || Arc::ptr_eq(old, new) => {
            Priority::Resync
        }
        _ => Priority::Normal,
    }
}
