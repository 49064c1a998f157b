//! [`Informer`]: reflector, delta FIFO and cache in one, shared by everybody who needs the kind.

mod builder;
mod informers;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use informer_deltafifo::{Consumer, Monitor};
use informer_reflector::{ListWatch, Quarantined, Reflector, SyncState};
use informer_store::{Cache, Object, Subscription};
use tokio::sync::{oneshot, watch};

pub use self::{
    builder::InformerBuilder,
    informers::{Informers, Scope},
};

/// A cache of one kind that keeps itself equal to the API server.
///
/// It wires the three lower layers together: a [`Reflector`] lists and watches, a
/// [`DeltaFifo`](informer_deltafifo::DeltaFifo) takes the deltas, a [`Cache`] applies them and tells its
/// subscribers. Clones share all of it.
///
/// # Ordering & consistency
/// What a subscriber is told, readers of the cache can see already. Everything else is the promise of the layer
/// that makes it.
///
/// # Memory
/// One object each, in the cache; the queue holds at most its configured number of deltas.
///
/// # Examples
/// ```
/// # tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?.block_on(async {
/// use informer::{Informer, reflector::ApiListWatch};
/// use informer_testkit::ApiServer;
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use serde_json::json;
///
/// let server = ApiServer::new();
/// server.create("configmaps", json!({"metadata": {"namespace": "default", "name": "colours"}}))?;
///
/// let informer = Informer::new(ApiListWatch::<ConfigMap>::all(server.client()));
/// informer.start();
/// informer.synced().await;
/// assert!(informer.cache().get("default", "colours").is_some());
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// client-go `tools/cache/shared_informer.go` `SharedIndexInformer`.
pub struct Informer<K> {
    parts: Arc<Parts<K>>,
    /// Dropped with the last clone, which stops what [`start`](Self::start) began.
    started: Arc<Mutex<Option<oneshot::Sender<()>>>>,
}

struct Parts<K> {
    cache: Cache<K>,
    reflector: Reflector<K>,
    queue: Monitor<K>,
    consumer: tokio::sync::Mutex<Consumer<K>>,
}

impl<K: Object> Informer<K> {
    /// An informer over `list_watch` with every default.
    #[must_use]
    pub fn new(list_watch: impl ListWatch<K> + 'static) -> Self {
        Self::builder(list_watch).build()
    }

    /// Begins to describe an informer over `list_watch`.
    pub fn builder(list_watch: impl ListWatch<K> + 'static) -> InformerBuilder<K> {
        InformerBuilder::new(list_watch)
    }

    /// Lists, watches and applies until `shutdown` completes; what had arrived by then is applied.
    ///
    /// # Errors
    /// [`ErrorKind::AlreadyRunning`](informer_reflector::ErrorKind::AlreadyRunning) if another call has not ended.
    /// Nothing a server does ends it.
    ///
    /// # Cancel safety
    /// Dropping the future stops at once and leaves the cache at a version it had. `run` may be called again.
    pub async fn run(
        &self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<(), informer_reflector::Error> {
        let parts = &*self.parts;
        parts.run(shutdown).await
    }

    /// Runs on a task of the current tokio runtime until the last clone is dropped or [`stop`](Self::stop) is called.
    /// Does nothing if it was started before.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[track_caller]
    pub fn start(&self) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        if started.is_some() {
            return;
        }
        let (stop, stopped) = oneshot::channel::<()>();
        *started = Some(stop);
        let parts = Arc::clone(&self.parts);
        #[expect(clippy::disallowed_methods, reason = "the root is where tasks are spawned")]
        tokio::spawn(async move {
            let shutdown = async {
                // Completes with an error once the sender is dropped, which is what is waited for.
                let _ = stopped.await;
            };
            if let Err(error) = parts.run(shutdown).await {
                tracing::error!(%error, "informer stopped");
            }
        });
    }

    /// Stops what [`start`](Self::start) began; it may be started again.
    pub fn stop(&self) {
        self.started.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Waits until the first list has been applied.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn synced(&self) {
        self.parts.cache.synced().await;
    }

    /// Whether the first list has been applied; never goes back.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.parts.cache.is_synced()
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache<K> {
        &self.parts.cache
    }

    /// Everything there is, then every change: see [`Cache::subscribe`].
    pub fn subscribe(&self) -> Subscription<K> {
        self.parts.cache.subscribe()
    }

    /// What it is doing, and why it cannot sync when it cannot.
    #[must_use]
    pub fn state(&self) -> watch::Receiver<SyncState> {
        self.parts.reflector.state()
    }

    /// The objects that cannot be decoded, in key order.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.parts.reflector.quarantined()
    }

    /// The reflector: its version, age and counters.
    #[must_use]
    pub fn reflector(&self) -> &Reflector<K> {
        &self.parts.reflector
    }

    /// The queue between reflector and cache: its depth and counters.
    #[must_use]
    pub fn queue(&self) -> &Monitor<K> {
        &self.parts.queue
    }
}

impl<K: Object> Parts<K> {
    async fn run(&self, shutdown: impl Future<Output = ()> + Send) -> Result<(), informer_reflector::Error> {
        // Whoever runs holds the consumer. A second call finds the reflector running and gets its error.
        let Ok(mut consumer) = self.consumer.try_lock() else {
            return self.reflector.run(std::future::ready(())).await;
        };
        let reflected = tokio::select! {
            biased;
            () = consumer.drain_into(&self.cache) => Ok(()),
            reflected = self.reflector.run(shutdown) => reflected,
        };
        // The reflector ended; what it still put into the queue is part of the history.
        while let Ok(Some(batch)) = consumer.try_pop_batch(usize::MAX) {
            self.cache.apply(batch);
            consumer.commit();
        }
        reflected
    }
}

impl<K> Clone for Informer<K> {
    fn clone(&self) -> Self {
        Self {
            parts: Arc::clone(&self.parts),
            started: Arc::clone(&self.started),
        }
    }
}

impl<K> fmt::Debug for Informer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informer")
            .field("reflector", &self.parts.reflector)
            .field("queue", &self.parts.queue)
            .finish_non_exhaustive()
    }
}
