//! [`Reflector`]: the shell that connects a [`Machine`] with a source, a store and the clock.

mod builder;
mod drive;

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
    permits: ListPermits,
    seed: Mutex<fastrand::Rng>,
    state: watch::Sender<SyncState>,
    shared: Mutex<Shared>,
    observer: Option<Observer>,
    running: tokio::sync::Mutex<()>,
}

type Observer = Box<dyn Fn(&QuarantineEvent) + Send + Sync>;

/// What a running machine last told of itself.
#[derive(Default)]
struct Shared {
    stats: Stats,
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
        self.shared(|shared| shared.stats.clone())
    }

    /// How far the history has been delivered to the store.
    #[must_use]
    pub fn resource_version(&self) -> ResourceVersion {
        self.shared(|shared| shared.version.clone())
    }

    /// The objects in quarantine, in key order.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.shared(|shared| shared.quarantined.clone())
    }

    /// How many objects the store was given and not told to delete.
    #[must_use]
    pub fn objects(&self) -> usize {
        self.shared(|shared| shared.objects)
    }

    /// How long ago the server last proved that what was delivered is current; `None` before the first list.
    #[must_use]
    pub fn age(&self) -> Option<Duration> {
        self.shared(|shared| shared.proved).map(|proved| proved.elapsed())
    }

    /// Whether the store may be out of date: nothing listed yet, or the server silent for longer than it ever
    /// pauses. A server that sends no bookmarks proves nothing while nothing happens.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        let patience = self.shared(|shared| shared.patience);
        self.age().is_none_or(|age| age > patience)
    }

    fn shared<R>(&self, read: impl FnOnce(&Shared) -> R) -> R {
        read(&self.inner.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }
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
