//! [`Context`]: what a reconcile is told, and what it can tell.

use std::{fmt, sync::Arc};

use informer_store::{ObjectKey, ResourceVersion};
use informer_workqueue::{InFlight, Priority, WorkQueue};

use crate::{Key, SeesWrites, shared::Shared};

/// What a reconcile is told about its run, and what it can tell the controller. Cheap to clone.
pub struct Context<T = ObjectKey> {
    key: T,
    attempt: u32,
    priority: Priority,
    triggers: Vec<&'static str>,
    run: u64,
    shared: Arc<Shared<T>>,
}

impl<T: Key> Context<T> {
    pub(crate) fn new(item: &InFlight<T>, run: u64, shared: &Arc<Shared<T>>) -> Self {
        Self {
            key: item.key().clone(),
            attempt: item.attempt(),
            priority: item.priority(),
            triggers: item.sources(),
            run,
            shared: Arc::clone(shared),
        }
    }

    /// The key to reconcile.
    #[must_use]
    pub fn key(&self) -> &T {
        &self.key
    }

    /// Which attempt this is: 1, and one more for each failed one in a row before it whose delay was served.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// The lane the key came from.
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// The names of the sources that asked for this run. Empty for a retry or a requeue that no source asked for. For logs
    /// and for curiosity: what to do follows from what there is, not from what happened.
    #[must_use]
    pub fn triggers(&self) -> &[&'static str] {
        &self.triggers
    }

    /// The number of this run, unique within the controller; for logs. controller-runtime: `ReconcileIDFromContext`.
    #[must_use]
    pub fn run(&self) -> u64 {
        self.run
    }

    /// The name of the controller.
    #[must_use]
    pub fn controller(&self) -> &'static str {
        self.shared.name
    }

    /// The queue of the controller, to ask for runs of other keys.
    #[must_use]
    pub fn queue(&self) -> &WorkQueue<T> {
        &self.shared.queue
    }

    /// Says that this run wrote an object that `cache` holds, and that the server gave it `version`: the key does not run
    /// again before the cache has seen that, so that the next run reads its own writes (K3).
    ///
    /// Nothing blocks meanwhile: the key is parked, other keys run. Should the cache not get there by
    /// [`write_deadline`](crate::Builder::write_deadline), the key runs all the same; that is counted and logged.
    /// May be called for several writes, to several caches.
    ///
    /// # Examples
    /// ```no_run
    /// use informer_controller::{Action, Context, Failure};
    /// use informer_store::Cache;
    /// use k8s_openapi::api::core::v1::ConfigMap;
    ///
    /// # async fn write() -> Result<ConfigMap, std::io::Error> { Ok(ConfigMap::default()) }
    /// async fn reconcile(cx: Context, cache: Cache<ConfigMap>) -> Result<Action, Failure> {
    ///     let written = write().await?; // keep the server's answer
    ///     cx.wrote(&cache, written.metadata.resource_version.as_deref().unwrap_or_default());
    ///     Ok(Action::done())
    /// }
    /// ```
    ///
    /// # Source
    /// KEP-5647, `ConsistencyStore.WroteAt`; differs: no worker waits and nothing polls.
    pub fn wrote(&self, cache: &(impl SeesWrites + ?Sized), version: impl Into<ResourceVersion>) {
        self.shared.wrote(&self.key, cache, version.into());
    }

    /// Whether the controller has been told to stop. A run may go on until the grace period is over; one that takes long
    /// may like to end early, with an error to have its key tried again by the next instance.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        *self.shared.stopping.borrow()
    }

    /// Waits until the controller is told to stop.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn stopping(&self) {
        let mut stopping = self.shared.stopping.subscribe();
        // The sender lives in what this context shares, so there is always an answer.
        let _ = stopping.wait_for(|stopping| *stopping).await;
    }
}

impl<T: Clone> Clone for Context<T> {
    fn clone(&self) -> Self {
        Self {
            key: self.key.clone(),
            attempt: self.attempt,
            priority: self.priority,
            triggers: self.triggers.clone(),
            run: self.run,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for Context<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("key", &self.key)
            .field("attempt", &self.attempt)
            .field("triggers", &self.triggers)
            .field("run", &self.run)
            .finish_non_exhaustive()
    }
}
