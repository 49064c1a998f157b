//! [`Builder`]: the settings of a controller.

use std::{fmt, sync::Arc, time::Duration};

use futures::Stream;
use informer_store::{Cache, Change, Object};
use informer_workqueue::{RateLimiter, WorkQueue};
use tokio::sync::mpsc;

use crate::{
    Controller, Exponential, Reconciler, Source, Spawner, Trigger,
    shared::{QueueFeed, Shared},
    source::Driver,
};

/// Builds a [`Controller`]. Every setting has a default; none can contradict another.
#[must_use]
pub struct Builder<R: Reconciler> {
    name: &'static str,
    reconciler: R,
    sources: Vec<MakeDriver<R::Key>>,
    queue: informer_workqueue::Builder<R::Key>,
    workers: usize,
    settings: Settings,
    write_deadline: Duration,
    stuck_after: Duration,
    spawner: Option<Box<dyn Spawner>>,
}

type MakeDriver<T> = Box<dyn FnOnce(QueueFeed<T>) -> Driver + Send>;

/// What only the run loop needs to know.
pub(crate) struct Settings {
    pub(crate) timeout: Option<Duration>,
    pub(crate) grace: Duration,
    pub(crate) sync_timeout: Option<Duration>,
    pub(crate) when_unsynced: WhenUnsynced,
}

/// What a controller does about a source that is not synced in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenUnsynced {
    /// Warns, naming the source, and waits on: a missing kind or permission may still come. The state shows in
    /// [`Handle::status`](crate::Handle::status).
    #[default]
    Wait,
    /// Ends the run with an error. As controller-runtime does.
    Fail,
    /// Starts the workers with what there is.
    Start,
}

impl<R: Reconciler> Builder<R> {
    pub(crate) fn new(name: &'static str, reconciler: R) -> Self {
        Self {
            queue: WorkQueue::builder().name(name).limiter(Exponential::new(
                Duration::from_millis(5),
                Duration::from_secs(1000),
            )),
            name,
            reconciler,
            sources: Vec::new(),
            workers: 8,
            settings: Settings {
                timeout: None,
                grace: Duration::from_secs(30),
                sync_timeout: Some(Duration::from_secs(120)),
                when_unsynced: WhenUnsynced::default(),
            },
            write_deadline: Duration::from_secs(10),
            stuck_after: Duration::from_secs(300),
            spawner: None,
        }
    }

    /// Changes that trigger reconciles: a subscription, and which keys each change concerns. [`watch`](Self::watch) takes
    /// a source with more settings.
    ///
    /// Default: none; more can be added later through the [`Handle`](crate::Handle).
    pub fn source<K, S, G>(self, changes: S, trigger: G) -> Self
    where
        K: Send + Sync + 'static,
        S: Stream<Item = Change<K>> + Send + 'static,
        G: Trigger<K, R::Key> + 'static,
    {
        self.watch(Source::new(changes, trigger))
    }

    /// The changes of a cache; workers start once it is synced.
    pub fn cache<K, G>(self, cache: &Cache<K>, trigger: G) -> Self
    where
        K: Object,
        G: Trigger<K, R::Key> + 'static,
    {
        self.watch(Source::of(cache, trigger))
    }

    /// A source of changes that trigger reconciles.
    pub fn watch<K: Send + Sync + 'static>(mut self, source: Source<K, R::Key>) -> Self {
        self.sources.push(Box::new(move |feed| source.into_driver(feed)));
        self
    }

    /// How many keys are reconciled at once, at most; 0 counts as 1.
    ///
    /// Default: `8`. More helps where reconciles wait for a server; they share one task unless there is a
    /// [`spawner`](Self::spawner).
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers.max(1);
        self
    }

    /// How long one reconcile may take before it is dropped and tried again.
    ///
    /// Default: no limit, since a reconcile that is dropped in the middle must be written for it.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = Some(timeout);
        self
    }

    /// How long running reconciles may go on once the controller is told to stop, before they are dropped.
    ///
    /// Default: 30 s, as long as Kubernetes gives a pod.
    pub fn grace(mut self, grace: Duration) -> Self {
        self.settings.grace = grace;
        self
    }

    /// How long the sources may take to be synced before `then` happens; `None` for ever.
    ///
    /// Default: 2 min, then [`WhenUnsynced::Wait`].
    pub fn sync_timeout(mut self, timeout: impl Into<Option<Duration>>, then: WhenUnsynced) -> Self {
        self.settings.sync_timeout = timeout.into();
        self.settings.when_unsynced = then;
        self
    }

    /// How long a key stays parked for a write its cache has not seen: see [`Context::wrote`](crate::Context::wrote).
    ///
    /// Default: 10 s. A cache is normally behind by milliseconds.
    pub fn write_deadline(mut self, deadline: Duration) -> Self {
        self.write_deadline = deadline;
        self
    }

    /// After how long a reconcile that still runs is logged and counted as stuck.
    ///
    /// Default: 5 min.
    pub fn stuck_after(mut self, time: Duration) -> Self {
        self.stuck_after = time;
        self
    }

    /// How long a key waits after a failure.
    ///
    /// Default: 5 ms, twice as long after each failure in a row, up to 1000 s, with jitter; as controller-runtime, which
    /// has no bucket for all keys together either.
    pub fn limiter(mut self, limiter: impl RateLimiter<R::Key> + 'static) -> Self {
        self.queue = self.queue.limiter(limiter);
        self
    }

    /// Any other setting of the queue: lanes, flows, groups, debounce, maximum of attempts, dead letters.
    ///
    /// # Examples
    /// ```
    /// use std::time::Duration;
    /// use informer_controller::{Action, Context, Controller, reconcile_fn};
    /// use informer_workqueue::Debounce;
    ///
    /// let reconciler = reconcile_fn(|_: Context| async { Ok(Action::done()) });
    /// let calm = Debounce::new(Duration::from_millis(100), Duration::from_secs(1));
    /// let controller = Controller::builder("calm", reconciler).queue(|queue| queue.debounce(calm)).build();
    /// # let _ = controller;
    /// ```
    pub fn queue(
        mut self,
        settings: impl FnOnce(informer_workqueue::Builder<R::Key>) -> informer_workqueue::Builder<R::Key>,
    ) -> Self {
        self.queue = settings(self.queue);
        self
    }

    /// Runs each worker as a task of its own.
    ///
    /// Default: all share the task that runs the controller.
    pub fn spawner(mut self, spawner: impl Spawner) -> Self {
        self.spawner = Some(Box::new(spawner));
        self
    }

    /// Makes the controller. Starts nothing.
    pub fn build(self) -> Controller<R> {
        let (sender, commands) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared::new(
            self.name,
            self.queue.build(),
            self.workers,
            self.write_deadline,
            self.stuck_after,
            sender,
        ));
        for make in self.sources {
            shared.add_source(make(QueueFeed {
                queue: shared.queue.clone(),
                progress: Arc::clone(&shared.progress),
            }));
        }
        Controller {
            shared,
            reconciler: Arc::new(self.reconciler),
            settings: self.settings,
            spawner: self.spawner,
            commands,
        }
    }
}

impl<R: Reconciler> fmt::Debug for Builder<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("sources", &self.sources.len())
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}
