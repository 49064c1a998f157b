//! What a manager runs: a component, its place in the order, and what to do when it fails.

use std::{fmt, future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::future::BoxFuture;
use serde::Serialize;

use super::{backoff::Backoff, context::Context};

/// The error of a component: any error, since the manager only reports it.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Something that runs until it is told to stop.
///
/// Every closure `Fn(Context) -> impl Future<Output = Result<T, E>>` is one.
///
/// # Guarantee
///
/// `run` is never called again before the last call has ended. When [`Context::stopping`] resolves it should return
/// soon; after the component's stop time-out, or when the lease of its term runs out, it is dropped. To return `Ok`
/// earlier means that the work is done; it is not run again.
///
/// # Source
///
/// controller-runtime `pkg/manager` `Runnable`.
#[async_trait]
pub trait Runnable: Send + Sync + 'static {
    /// Does the work.
    ///
    /// # Errors
    ///
    /// Any error means that the work stopped too early; the component's [`OnFailure`] says what follows.
    ///
    /// # Cancel safety
    ///
    /// The future is dropped at the end of the stop time-out, and when the process is forced to end.
    async fn run(&self, context: Context) -> Result<(), BoxError>;
}

#[async_trait]
impl<F, Fut, T, E> Runnable for F
where
    F: Fn(Context) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, E>> + Send + 'static,
    E: Into<BoxError> + 'static,
{
    async fn run(&self, context: Context) -> Result<(), BoxError> {
        self(context).await.map(drop).map_err(Into::into)
    }
}

/// Where a component stands in the order of start; the order of stop is the reverse.
///
/// A group starts once each component of the groups before it is ready, has finished or failed, or has used up its
/// start time-out: a component that never gets ready delays the others, but does not keep them from running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Group {
    /// Answers others: health, metrics, webhooks. First up, last down.
    Servers,
    /// Informers and caches. They run on every replica, so that a new leader starts warm.
    Caches,
    /// What needs caches but no leadership.
    Services,
    /// The leader election itself; the manager puts it there.
    Election,
    /// What only the leader does, if there is an election.
    Controllers,
}

/// What follows when a component fails or panics.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum OnFailure {
    /// It is run again after a delay; the others go on.
    Restart(Backoff),
    /// It stays down and is reported; the others go on.
    Degrade,
    /// The manager stops everything, and its run ends with the error.
    StopAll,
}

/// Whether `/readyz` waits for a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Readiness {
    /// Not ready before it is, and while it is down.
    Required,
    /// Shown, but of no influence.
    Optional,
}

/// A named part of the process, with its place in the order and its policies.
///
/// # Examples
///
/// ```
/// use std::time::Duration;
/// use informer::manager::{Component, Context, Group, OnFailure};
///
/// let component = Component::new("sweeper", |context: Context| async move {
///         context.stopping().await;
///         Ok::<_, std::io::Error>(())
///     })
///     .group(Group::Services)
///     .after("pods")
///     .stop_timeout(Duration::from_secs(5))
///     .on_failure(OnFailure::Degrade);
/// assert_eq!(component.name(), "sweeper");
/// ```
#[must_use = "a component does nothing until a manager runs it"]
pub struct Component {
    pub(super) name: String,
    pub(super) work: Work,
    pub(super) group: Group,
    pub(super) after: Vec<String>,
    pub(super) start_timeout: Duration,
    pub(super) stop_timeout: Duration,
    pub(super) on_failure: OnFailure,
    pub(super) readiness: Option<Readiness>,
    pub(super) ready: Ready,
}

/// When a component counts as ready.
pub(super) enum Ready {
    /// As soon as it runs.
    Started,
    /// When it says so.
    Reported,
    /// When a future made for each run resolves.
    When(Arc<dyn Fn() -> BoxFuture<'static, ()> + Send + Sync>),
}

type Once = Box<dyn FnOnce(Context) -> BoxFuture<'static, Result<(), BoxError>> + Send>;

pub(super) enum Work {
    Again(Arc<dyn Runnable>),
    Once(Option<Once>),
}

impl Component {
    /// A component that can be run any number of times.
    pub fn new(name: impl Into<String>, work: impl Runnable) -> Self {
        Self::with(
            name.into(),
            Work::Again(Arc::new(work)),
            OnFailure::Restart(Backoff::default()),
        )
    }

    /// A component that can be run once, for work that is used up by running.
    ///
    /// A failure is final ([`OnFailure::Restart`] acts as [`OnFailure::Degrade`]). In the group
    /// [`Controllers`](Group::Controllers) of a manager with an election, a lost term stops the manager, since the work
    /// cannot be done in the next one.
    pub fn once<F, Fut, T, E>(name: impl Into<String>, work: F) -> Self
    where
        F: FnOnce(Context) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
        E: Into<BoxError> + 'static,
    {
        let work: Once = Box::new(move |context| {
            let future = work(context);
            Box::pin(async move { future.await.map(drop).map_err(Into::into) })
        });
        Self::with(name.into(), Work::Once(Some(work)), OnFailure::Degrade)
    }

    fn with(name: String, work: Work, on_failure: OnFailure) -> Self {
        Self {
            name,
            work,
            group: Group::Controllers,
            after: Vec::new(),
            start_timeout: Duration::from_secs(120),
            stop_timeout: Duration::from_secs(10),
            on_failure,
            readiness: None,
            ready: Ready::Started,
        }
    }

    /// Its name: unique in a manager, used in logs, checks and metrics.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its group. Default: [`Group::Controllers`], the most careful one.
    pub const fn group(mut self, group: Group) -> Self {
        self.group = group;
        self
    }

    /// Starts once `other` is ready, however long that takes, and stops before it. May be given several times. Default:
    /// the order of the groups only.
    pub fn after(mut self, other: impl Into<String>) -> Self {
        self.after.push(other.into());
        self
    }

    /// How long later groups wait for this component to get ready. Default: `2 min`, as controller-runtime waits for
    /// caches.
    pub const fn start_timeout(mut self, timeout: Duration) -> Self {
        self.start_timeout = timeout;
        self
    }

    /// How long it may take to stop before it is dropped. Default: `10 s`, of the 30 s that Kubernetes gives a pod.
    pub const fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// What follows a failure. Default: [`OnFailure::Restart`] with [`Backoff::default`]; [`OnFailure::Degrade`] for
    /// [`once`](Self::once).
    pub fn on_failure(mut self, policy: OnFailure) -> Self {
        self.on_failure = policy;
        self
    }

    /// Whether `/readyz` waits for it. Default: required, but optional in [`Group::Controllers`]: what only the leader
    /// does should not take a replica out of service.
    pub const fn readiness(mut self, readiness: Readiness) -> Self {
        self.readiness = Some(readiness);
        self
    }

    /// It is ready when it calls [`Context::ready`]. Default: as soon as it runs.
    pub fn reports_ready(mut self) -> Self {
        self.ready = Ready::Reported;
        self
    }

    /// It is ready when a future made for each run resolves, such as that of a cache that waits to be synced.
    pub fn ready_when<F, Fut>(mut self, ready: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.ready = Ready::When(Arc::new(move || Box::pin(ready())));
        self
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.name)
            .field("group", &self.group)
            .field("after", &self.after)
            .field("on_failure", &self.on_failure)
            .finish_non_exhaustive()
    }
}
