//! [`Reflector`]: the shell that connects a [`Machine`] with a source, a store and the clock.

mod builder;
mod drive;
mod merge;
mod scope;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use informer_store::{Object, ReflectorStore, ResourceVersion};
use tokio::{sync::watch, time::Instant};

pub use self::builder::ReflectorBuilder;
use crate::{
    Config, Error, ErrorKind, ListPermits, ListWatch, QuarantineEvent, Quarantined, Stats, SyncState,
};

/// Keeps a store equal to what a source has: one list, then every change, for as long as it runs.
///
/// A handle: clones share one reflector. [`run`](Self::run) does the work; everything else may be asked at any time.
///
/// # Ordering & consistency
/// The store gets one `replace` first, then every event after it in the server's order, none twice and none left
/// out, until the next `replace`. What cannot be decoded is set apart, never skipped silently.
///
/// # Memory
/// See [`Machine`](crate::Machine); beside that one line or one item of an answer.
///
/// # Examples
/// ```no_run
/// use std::sync::Arc;
/// use informer_reflector::{ApiListWatch, Reflector};
/// use informer_store::ReflectorStore;
/// use k8s_openapi::api::core::v1::Pod;
///
/// # async fn example(client: kube_client::Client, store: Arc<dyn ReflectorStore<Pod>>) -> Result<(), informer_reflector::Error> {
/// let pods = ApiListWatch::<Pod>::all(client);
/// let reflector = Reflector::builder(pods, store).build();
/// let mut state = reflector.state();
/// reflector.run(async { let _ = tokio::signal::ctrl_c().await; }).await
/// # }
/// ```
///
/// # Source
/// client-go `tools/cache/reflector.go` `Reflector`.
pub struct Reflector<K> {
    inner: Arc<Inner<K>>,
}

struct Inner<K> {
    sources: Vec<Arc<dyn ListWatch<K>>>,
    store: Arc<dyn ReflectorStore<K>>,
    config: Config,
    /// Given by the user, who knows better than the sources.
    permits: Option<ListPermits>,
    /// For sources that share nothing.
    own_permits: ListPermits,
    seed: Mutex<fastrand::Rng>,
    state: watch::Sender<SyncState>,
    parts: Mutex<Vec<Part>>,
    /// The patience of a machine that has learned nothing yet.
    patience: Duration,
    observer: Option<Observer>,
    running: tokio::sync::Mutex<()>,
}

impl<K: Object> Inner<K> {
    /// The limit on lists that all its sources are under.
    fn permits(&self) -> ListPermits {
        let shared = || self.sources.iter().find_map(|source| source.commons());
        let given = self.permits.clone();
        given
            .or_else(|| shared().map(|commons| commons.permits().clone()))
            .unwrap_or_else(|| self.own_permits.clone())
    }
}

type Observer = Box<dyn Fn(&QuarantineEvent) + Send + Sync>;

/// What the machine of one source last told of itself.
#[derive(Clone, Default)]
struct Part {
    state: Option<SyncState>,
    stats: Stats,
    /// The counts of earlier runs.
    before: Stats,
    version: ResourceVersion,
    proved: Option<Instant>,
    patience: Duration,
    quarantined: Vec<Quarantined>,
    objects: usize,
}

impl<K: Object> Reflector<K> {
    /// Begins to describe a reflector from `source` into `store`.
    pub fn builder(
        source: impl ListWatch<K> + 'static,
        store: impl ReflectorStore<K> + 'static,
    ) -> ReflectorBuilder<K> {
        ReflectorBuilder::new(Arc::new(source), Arc::new(store))
    }

    /// Lists and watches until `shutdown` completes.
    ///
    /// # Errors
    /// [`ErrorKind::StoreClosed`] once the store takes nothing any more, [`ErrorKind::AlreadyRunning`] if another
    /// call has not ended. Nothing a server does ends it.
    ///
    /// # Cancel safety
    /// Dropping the future stops everything at once; the store is left at a version it had. `run` may be called
    /// again and then begins with a list.
    pub async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Result<(), Error> {
        let Ok(_running) = self.inner.running.try_lock() else {
            return Err(Error::new(
                ErrorKind::AlreadyRunning,
                "run",
                "the reflector runs already",
            ));
        };
        let _stopped = Stopped(&self.inner.state);
        drive::run(&self.inner, shutdown).await
    }

    /// What it is doing, and why it cannot sync when it cannot.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SyncState> {
        self.inner.state.subscribe()
    }

    /// What it has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.parts(|parts| {
            let mut sum = Stats::default();
            for part in parts {
                sum.add(&part.before);
                sum.add(&part.stats);
            }
            sum
        })
    }

    /// How far the history has been delivered to the store; of several sources, by the one furthest behind.
    #[must_use]
    pub fn resource_version(&self) -> ResourceVersion {
        self.parts(oldest_version)
    }

    /// The objects in quarantine, in key order.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        let mut all: Vec<Quarantined> =
            self.parts(|parts| parts.iter().flat_map(|part| part.quarantined.clone()).collect());
        all.sort_by(|a, b| a.key.cmp(&b.key));
        all
    }

    /// How many objects the store was given and not told to delete.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.parts(|parts| parts.iter().map(|part| part.objects).sum())
    }

    /// How long ago the server last proved that what was delivered is current; `None` before the first list.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        let proved = self.parts(|parts| parts.iter().map(|part| part.proved).min());
        proved.flatten().map(|proved| proved.elapsed())
    }

    /// Whether the store may be out of date: nothing listed yet, or the server silent for longer than it ever
    /// pauses. A server that sends no bookmarks proves nothing while nothing happens.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        // One source may be used to long pauses; that is no excuse for another.
        let silent = |part: &Part| {
            let patience = part.patience.max(self.inner.patience);
            part.proved.is_none_or(|proved| proved.elapsed() > patience)
        };
        self.parts(|parts| parts.iter().any(silent))
    }

    fn parts<R>(&self, read: impl FnOnce(&[Part]) -> R) -> R {
        read(&self.inner.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn oldest_version(parts: &[Part]) -> ResourceVersion {
    let mut versions = parts.iter().map(|part| &part.version);
    let first = versions.next().cloned().unwrap_or_default();
    versions.fold(first, |oldest, version| {
        if *version < oldest {
            version.clone()
        } else {
            oldest
        }
    })
}

impl<K> Clone for Reflector<K> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
        }
    }
}

impl<K> fmt::Debug for Reflector<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reflector")
            .field("state", &*self.inner.state.borrow())
            .finish_non_exhaustive()
    }
}

/// Says that `run` has ended, however it ends.
struct Stopped<'a>(&'a watch::Sender<SyncState>);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.send_replace(SyncState::Stopped);
    }
}
