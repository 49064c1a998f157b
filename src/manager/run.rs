//! The manager itself: builds the order, runs it, ends it.

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::{
    board::{AddError, Board, Cause, Entry, State},
    component::{Component, Group, OnFailure, Readiness},
    leader::{Elector, Ended, Observer, Term},
    signal::{Listener, Signals},
    status::{Phase, Status},
    supervise::{Shared, supervise},
};

/// Runs the components of a process: starts them in order, keeps them up, stops them in reverse.
///
/// # Ordering & consistency
///
/// Groups start one after the other ([`Group`]), and each component after those it names. The order of stop is the exact
/// reverse: a component is told to stop once everything that started after it is down. With an election, the components
/// of [`Group::Controllers`] run only inside a term, and the lease is released after they are down.
///
/// A component that fails or panics harms nobody else; its [`OnFailure`](super::OnFailure) says whether it is run again.
///
/// # Trade-offs
///
/// Each run of a component is a task of its own, so it must be `Send`. A component that blocks its thread cannot be
/// dropped; the manager says so and goes on.
///
/// # Examples
///
/// ```
/// use informer::manager::{Component, Context, Group, Manager, Phase};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let manager = Manager::builder()
///     .component(
///         Component::new("pods", |context: Context| async move {
///             context.stopping().await;
///             Ok::<_, std::io::Error>(())
///         })
///         .group(Group::Caches),
///     )
///     .component(Component::once("job", |_| async { Ok::<_, std::io::Error>(()) }).after("pods"))
///     .build()?;
/// let handle = manager.handle();
/// let report = manager
///     .run_until(async move {
///         handle.ready().await;
///     })
///     .await?;
/// assert_eq!(report.phase, Phase::Stopped);
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// controller-runtime `pkg/manager` `Manager`; differs: a failure stays where it is, leadership may come and go.
#[must_use = "a manager does nothing until it is run"]
#[derive(Debug)]
pub struct Manager {
    handle: Handle,
    signals: Signals,
    stop_timeout: Duration,
    rng: fastrand::Rng,
}

/// Sets up a [`Manager`].
#[must_use = "a builder does nothing until it is built"]
#[derive(Debug)]
pub struct ManagerBuilder {
    components: Vec<Component>,
    elector: Option<Elector>,
    signals: Signals,
    stop_timeout: Duration,
    rng: Option<fastrand::Rng>,
}

/// A handle on a manager: to look at it, to stop it, to add and remove components. Cheap to clone, valid for ever.
#[derive(Clone, Debug)]
pub struct Handle {
    shared: Arc<Shared>,
    /// Added, not yet taken up by the run.
    queue: Arc<Mutex<VecDeque<(u64, Component)>>>,
    observer: Option<Observer>,
}

/// Why a manager ended other than as it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ManagerError {
    /// A component failed whose failure stops all, or all that was left had failed.
    #[error("component {component:?} failed: {error}")]
    Failed {
        /// The component.
        component: String,
        /// Its error, on one line.
        error: String,
    },
    /// The lease was lost under a component that can be run only once, or the election was to end then.
    #[error(
        "leadership lost, and component {component:?} does not go on after that: start the process again"
    )]
    LeadershipLost {
        /// The component.
        component: String,
    },
    /// Some components did not stop in time and were dropped.
    #[error("components did not stop in time and were dropped: {}", components.join(", "))]
    NotStopped {
        /// Their names.
        components: Vec<String>,
    },
    /// The signals could not be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
}

impl Manager {
    /// Starts with nothing to run.
    pub fn builder() -> ManagerBuilder {
        ManagerBuilder {
            components: Vec::new(),
            elector: None,
            signals: Signals::default(),
            stop_timeout: Duration::from_secs(28),
            rng: None,
        }
    }

    /// A handle that outlives the run.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until a signal, [`Handle::stop`], or the end of the last component.
    ///
    /// Gives the last status when everything has stopped as it was told.
    ///
    /// # Errors
    ///
    /// [`ManagerError`] if it stopped for another reason, or if something had to be dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops all components at once; a lease is not released but runs out.
    pub async fn run(self) -> Result<Status, ManagerError> {
        self.run_until(std::future::pending()).await
    }

    /// As [`run`](Self::run), and stops when `shutdown` resolves.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run).
    ///
    /// # Cancel safety
    ///
    /// As [`run`](Self::run).
    pub async fn run_until(mut self, shutdown: impl Future<Output = ()>) -> Result<Status, ManagerError> {
        let mut listener = Listener::new(self.signals).map_err(ManagerError::Signals)?;
        let shared = Arc::clone(&self.handle.shared);
        let mut changes = shared.board.subscribe();
        let mut shutdown = pin!(shutdown);
        let mut asked = false;
        let mut tasks = JoinSet::new();
        shared.update(|board, now| board.started = now);
        loop {
            while let Some((id, component)) = self.handle.take() {
                tasks.spawn(supervise(Arc::clone(&shared), id, component, self.rng.fork()));
            }
            let (down, forced, stop_by) = {
                let board = changes.borrow_and_update();
                let by = board.stopping.map(|since| since + self.stop_timeout);
                (board.is_down(), board.forced, by.filter(|_| !board.forced))
            };
            if down && tasks.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                signal = listener.next() => {
                    let stopping = shared.board.borrow().stopping.is_some();
                    tracing::info!(signal, second = stopping, "signal received");
                    if stopping { self.handle.force() } else { self.handle.stop() }
                }
                () = &mut shutdown, if !asked => {
                    asked = true;
                    self.handle.stop();
                }
                () = maybe_until(stop_by), if !forced => self.handle.force(),
                Some(ended) = tasks.join_next() => if let Err(error) = ended {
                    tracing::error!(%error, "a supervisor failed");
                },
                _ = changes.changed() => {}
            }
        }
        shared.update(|board, now| {
            let failed = board.entries.values().find(|entry| entry.state == State::Failed);
            let cause = failed.map(|entry| Cause::Failed {
                component: entry.name.clone(),
                error: entry.last_error.clone().unwrap_or_default(),
            });
            board.stop(now, cause);
        });
        self.handle.report()
    }
}

impl ManagerBuilder {
    /// Adds a component.
    pub fn component(mut self, component: Component) -> Self {
        self.components.push(component);
        self
    }

    /// Runs the components of [`Group::Controllers`] only while this process leads. Default: no election, they always
    /// run.
    pub fn leader_election(mut self, elector: Elector) -> Self {
        self.elector = Some(elector);
        self
    }

    /// Whether to listen to SIGTERM and SIGINT. Default: [`Signals::Listen`].
    pub const fn signals(mut self, signals: Signals) -> Self {
        self.signals = signals;
        self
    }

    /// How long the whole stop may take; what is left then is dropped. Default: `28 s`, just less than the 30 s that
    /// Kubernetes gives a pod.
    pub const fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// Where the jitter of restarts comes from. Default: seeded at random.
    pub fn rng(mut self, rng: fastrand::Rng) -> Self {
        self.rng = Some(rng);
        self
    }

    /// Puts the components in order.
    ///
    /// # Errors
    ///
    /// [`AddError`] if two have one name or the order contradicts itself.
    pub fn build(self) -> Result<Manager, AddError> {
        let observer = self.elector.as_ref().map(Elector::observer);
        let board = Board::new(Instant::now());
        let shared = Arc::new(Shared {
            board: watch::Sender::new(board),
            elected: observer.is_some(),
        });
        let handle = Handle {
            shared: Arc::clone(&shared),
            queue: Arc::default(),
            observer,
        };
        if let Some(elector) = self.elector {
            handle.add(election(shared, elector))?;
        }
        for component in self.components {
            handle.add(component)?;
        }
        Ok(Manager {
            handle,
            signals: self.signals,
            stop_timeout: self.stop_timeout,
            rng: self.rng.unwrap_or_default(),
        })
    }
}

impl Handle {
    /// Adds a component, which starts when its turn has come.
    ///
    /// # Errors
    ///
    /// [`AddError`] if the name is taken, the order would contradict itself, or the manager stops.
    pub fn add(&self, component: Component) -> Result<(), AddError> {
        // Both under the board's lock, so that the run sees the entry and the component together.
        self.shared.update(|board, now| {
            let required = match component.readiness {
                Some(readiness) => readiness == Readiness::Required,
                None => component.group < Group::Election,
            };
            let id = board.add(Entry {
                name: component.name.clone(),
                group: component.group,
                after: component.after.clone(),
                start_timeout: component.start_timeout,
                required,
                added: now,
                state: State::Waiting,
                since: now,
                settled: None,
                runs: 0,
                failures: 0,
                panics: 0,
                last_error: None,
                removed: false,
                dropped: false,
            })?;
            self.queue
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .push_back((id, component));
            Ok(())
        })
    }

    /// Stops a component and forgets it; what starts after it goes on. Returns whether there was one.
    ///
    /// # Cancel safety
    ///
    /// The component is told at once; dropping the future only ends the wait until it is gone.
    pub async fn remove(&self, name: &str) -> bool {
        let found = self.shared.update(|board, _| {
            let entry = board.entries.values_mut().find(|entry| entry.name == name);
            entry.map(|entry| entry.removed = true).is_some()
        });
        let down = |board: &Board| board.by_name(name).is_none_or(|entry| !entry.removed);
        // One that is over for good has no supervisor to forget it.
        self.shared.update(|board, _| {
            board
                .entries
                .retain(|_, entry| !(entry.removed && entry.is_down()))
        });
        self.shared.wait(down).await;
        found
    }

    /// Stops everything, in reverse order. Does nothing the second time.
    pub fn stop(&self) {
        self.shared.update(|board, now| board.stop(now, None));
    }

    /// Drops everything at once, without waiting for anybody.
    pub fn force(&self) {
        self.shared.update(|board, now| {
            board.stop(now, None);
            board.forced = true;
        });
    }

    /// What the components do at this moment.
    pub fn status(&self) -> Status {
        Status::of(
            &self.shared.board.borrow(),
            self.observer.as_ref(),
            Instant::now(),
        )
    }

    /// Waits until every required component is ready, or the manager stops; says which.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn ready(&self) -> bool {
        self.shared
            .until(|board, now| match Status::of(board, None, now).phase {
                Phase::Starting => Err(None),
                phase => Ok(phase == Phase::Running),
            })
            .await
    }

    /// Waits until a component is in a state that `holds`; `None` is a component that is not there.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn wait_for(&self, name: &str, mut holds: impl FnMut(Option<&super::ComponentStatus>) -> bool) {
        self.shared
            .until(|board, now| {
                if holds(Status::of(board, None, now).component(name)) {
                    Ok(())
                } else {
                    Err(None)
                }
            })
            .await;
    }

    /// The election, if there is one.
    pub const fn election(&self) -> Option<&Observer> {
        self.observer.as_ref()
    }

    fn take(&self) -> Option<(u64, Component)> {
        self.queue
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop_front()
    }

    fn report(&self) -> Result<Status, ManagerError> {
        let status = self.status();
        match self.shared.board.borrow().cause.clone() {
            Some(Cause::Failed { component, error }) => {
                return Err(ManagerError::Failed { component, error });
            }
            Some(Cause::LeadershipLost { component }) => {
                return Err(ManagerError::LeadershipLost { component });
            }
            None => {}
        }
        let dropped = status.components.iter().filter(|component| component.dropped);
        let components: Vec<_> = dropped.map(|component| component.name.clone()).collect();
        if components.is_empty() {
            Ok(status)
        } else {
            Err(ManagerError::NotStopped { components })
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed { component, error } => write!(f, "component {component:?} failed: {error}"),
            Self::LeadershipLost { component } => write!(f, "leadership lost by component {component:?}"),
        }
    }
}

/// The election as a component: up after everything that controllers need, down after the last of them.
fn election(shared: Arc<Shared>, elector: Elector) -> Component {
    let timeout = elector.timing().renew_deadline + elector.timing().request_timeout;
    let end = Arc::clone(&shared);
    Component::once(ELECTION, move |context| async move {
        let lead = move |term: Term| {
            let shared = Arc::clone(&shared);
            async move {
                shared.update(|board, _| board.term = Some(term.clone()));
                term.ended().await;
                shared.update(|board, _| board.term = None);
                shared.wait(Board::leader_idle).await;
            }
        };
        if let Ended::Lost(_) = elector.run(context.stopping(), lead).await {
            let cause = Cause::LeadershipLost {
                component: ELECTION.to_owned(),
            };
            end.update(|board, now| board.stop(now, Some(cause)));
        }
        Ok::<_, io::Error>(())
    })
    // Without it nobody would work any more, and nobody would notice.
    .on_failure(OnFailure::StopAll)
    .group(Group::Election)
    .stop_timeout(timeout)
}

/// The name of the election among the components.
const ELECTION: &str = "leader-election";

async fn maybe_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
