//! [`Controller`]: sources, a queue and workers, run as one future.

mod run;
mod worker;

use std::{fmt, future::Future, sync::Arc};

use tokio::sync::mpsc;

use crate::{
    Builder, Handle, Reconciler, Spawner,
    builder::Settings,
    shared::{Command, Shared},
};

/// Keeps the world in the state that objects ask for: learns from its sources what changed, and reconciles the keys
/// concerned, a bounded number at a time, each by one worker at a time.
///
/// # Ordering & consistency
/// A key that is triggered while it waits runs once; triggered while it runs, once more afterwards. No worker starts
/// before all sources given to the builder are synced. No trigger is lost: not by a panic, a timeout or a cancelled
/// future.
///
/// # Errors of reconciles
/// An error is tried again after a delay that grows with each failure in a row; a terminal one when the key is triggered
/// next. A panic counts as an error.
///
/// # Examples
/// ```
/// use informer_controller::{Action, Context, Controller, reconcile_fn, trigger};
/// use informer_store::Cache;
/// use k8s_openapi::api::core::v1::ConfigMap;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::<ConfigMap>::new(); // filled by a reflector
/// let reconciler = {
///     let cache = cache.clone();
///     reconcile_fn(move |cx: Context| {
///         let config = cache.get_by_key(cx.key());
///         async move {
///             match config {
///                 Some(config) => println!("{} has {} entries", cx.key(), config.data.iter().flatten().count()),
///                 None => println!("{} is gone", cx.key()),
///             }
///             Ok(Action::done())
///         }
///     })
/// };
/// let controller = Controller::builder("configs", reconciler)
///     .source(cache.subscribe(), trigger::itself())
///     .workers(4)
///     .build();
/// let report = controller.run(std::future::ready(())).await?;
/// assert!(report.is_complete());
/// # Ok(()) }
/// ```
///
/// # Source
/// controller-runtime `pkg/controller`; kube-runtime `Controller`.
#[must_use = "a controller does nothing unless run"]
pub struct Controller<R: Reconciler> {
    pub(crate) shared: Arc<Shared<R::Key>>,
    pub(crate) reconciler: Arc<R>,
    pub(crate) settings: Settings,
    pub(crate) spawner: Option<Box<dyn Spawner>>,
    pub(crate) commands: mpsc::UnboundedReceiver<Command<R::Key>>,
}

impl<R: Reconciler> Controller<R> {
    /// The settings of a controller with this name.
    pub fn builder(name: &'static str, reconciler: R) -> Builder<R> {
        Builder::new(name, reconciler)
    }

    /// A handle to look at it and to change its sources.
    #[must_use]
    pub fn handle(&self) -> Handle<R::Key> {
        Handle(Arc::clone(&self.shared))
    }

    /// Runs until `shutdown` completes, then stops gracefully: sources are dropped, no key is started any more, running
    /// reconciles finish within the grace period and are dropped after it.
    ///
    /// # Errors
    /// [`Unsynced`] if sources are not synced in time and [`WhenUnsynced::Fail`](crate::WhenUnsynced::Fail) was chosen.
    ///
    /// # Cancel safety
    /// Dropping the future drops all running reconciles at once. Workers that were given to a spawner stop by themselves.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Report<R::Key>, Unsynced> {
        run::run(self, shutdown).await
    }
}

/// How a controller ended.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report<T> {
    /// Reconciles that finished after the controller was told to stop.
    pub finished: u64,
    /// Keys whose reconciles were dropped at the end of the grace period.
    pub abandoned: Vec<T>,
    /// Keys that were wanted and did not run any more: ready, delayed or parked.
    pub pending: Vec<T>,
}

impl<T> Report<T> {
    /// Whether every reconcile that ran could finish.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.abandoned.is_empty()
    }
}

/// Sources were not synced in time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the controller {controller} did not start: not synced in time: {}; check that the kinds exist and may be listed and watched",
    sources.join(", ")
)]
#[non_exhaustive]
pub struct Unsynced {
    /// The name of the controller.
    pub controller: &'static str,
    /// The names of the sources.
    pub sources: Vec<&'static str>,
}

impl<R: Reconciler> fmt::Debug for Controller<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Controller")
            .field("name", &self.shared.name)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Report<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Report")
            .field("finished", &self.finished)
            .field("abandoned", &self.abandoned.len())
            .field("pending", &self.pending.len())
            .finish()
    }
}
