//! The shell of the election: sends the requests, keeps the time, runs the work.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    panic::{AssertUnwindSafe, resume_unwind},
    pin::{Pin, pin},
    sync::Arc,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use tokio::{sync::watch, time::Instant};

use super::{
    clock::{self, Clock, Suspended},
    core::{Core, Effect, LostReason, Phase, Reply, Request},
    lock::{Lock, LockError},
    observer::{LeaderStatus, Observer},
    term::{EndReason, Reign, Term},
    timing::{Timing, TimingError},
};

/// A contender for leadership: at most one of all those with the same lease leads at a time.
///
/// # Ordering & consistency
///
/// Work runs only inside a term, one term at a time. When the lease is lost, work is told at the renew deadline and
/// dropped when the lease could be in other hands, before anybody else can take it. When this process stops, the lease
/// is renewed until the work has stopped, then released, so that another contender can go on at once.
///
/// # Trade-offs
///
/// A lease bounds when two *processes* may work, not when their last writes reach the server, and a process that the
/// operating system stops does not notice before it runs again; the [`FencingToken`](super::FencingToken) is for
/// resources where that matters. After a suspend of the machine [`Term::check`] fails at once, and the work is stopped
/// at the next renewal, which is at most a retry period later.
///
/// # Examples
///
/// ```no_run
/// use informer::manager::leader::{Elector, LeaseLock};
///
/// # async fn example(client: kube_client::Client) -> Result<(), Box<dyn std::error::Error>> {
/// let elector = Elector::builder(LeaseLock::new(client, "default", "my-controller")).build()?;
/// let ctrl_c = async { let _ = tokio::signal::ctrl_c().await; };
/// elector
///     .run(ctrl_c, |term| async move {
///         println!("leading as {}", term.token());
///         term.ended().await;
///     })
///     .await;
/// # Ok(())
/// # }
/// ```
///
/// # Source
///
/// client-go `tools/leaderelection/leaderelection.go` `LeaderElector`; differs: it contends again after a loss, counts
/// the lease from the request, releases only its own term, and stops the work itself.
#[must_use = "an elector does nothing until it is run"]
pub struct Elector {
    lock: Arc<dyn Lock>,
    identity: String,
    timing: Timing,
    labels: BTreeMap<String, String>,
    release: Release,
    on_lost: OnLost,
    rng: fastrand::Rng,
    clock: Clock,
    status: watch::Sender<LeaderStatus>,
}

/// Whether the lease is given back when the process stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Release {
    /// Given back once the work has stopped, if it is still this process's own: another contender can go on at once.
    #[default]
    IfHeld,
    /// Left to run out.
    Never,
}

/// What to do after a lost term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum OnLost {
    /// Contend again.
    #[default]
    Contend,
    /// End the election, for work that cannot be started a second time.
    Stop,
}

/// How an election ended for this process.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It was told to stop.
    Shutdown,
    /// The work finished by itself.
    WorkFinished,
    /// The term was lost, and [`OnLost::Stop`] asked to end then.
    Lost(LostReason),
}

impl Elector {
    /// Starts from the place of the record; everything else has a default.
    pub fn builder(lock: impl Lock) -> ElectorBuilder {
        ElectorBuilder {
            lock: Arc::new(lock),
            identity: None,
            timing: Timing::default(),
            labels: BTreeMap::new(),
            release: Release::default(),
            on_lost: OnLost::default(),
            rng: None,
            suspended: clock::system(),
        }
    }

    /// The identity under which this process contends.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// The durations of the election.
    pub const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// A view of the election that outlives the call of [`run`](Self::run): for status, health and metrics.
    pub fn observer(&self) -> Observer {
        Observer::new(
            self.lock.name(),
            self.timing,
            self.clock.clone(),
            self.status.subscribe(),
        )
    }

    /// Contends until `shutdown`, and runs `work` in each term.
    ///
    /// `work` is called at the start of each term. It should return soon after [`Term::ended`] resolves; at
    /// [`Term::expired`] it is dropped. If it returns before, the lease is released and the election ends.
    ///
    /// # Panics
    ///
    /// With the panic of `work`, after the lease was released.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future drops the work and ends the term at once; the lease is not released but runs out.
    pub async fn run<W, F>(self, shutdown: impl Future<Output = ()>, mut work: W) -> Ended
    where
        W: FnMut(Term) -> F,
        F: Future<Output = ()>,
    {
        let mut shutdown = pin!(shutdown);
        let lock = Arc::clone(&self.lock);
        let name = lock.name();
        let clock = &self.clock;
        let start = clock.now();
        let mut core = Core::new(
            self.identity.clone(),
            self.timing,
            self.labels.clone(),
            self.rng.clone(),
            start,
        );
        let mut flight: Option<(BoxFuture<'_, Result<Reply, LockError>>, Instant)> = None;
        let mut job: Option<Job<F>> = None;
        let mut freed: Option<BoxFuture<'_, ()>> = None;
        let mut no_hint_before = start;
        let mut ended: Option<Ended> = None;
        let mut panic = None;
        let mut note = Note::default();

        loop {
            let now = clock.now();
            // A taking under way is waited for: its answer may be a lease to give back.
            if ended.is_some()
                && job.is_none()
                && !core.is_taking()
                && matches!(core.phase(), Phase::Follower | Phase::Leader { .. })
            {
                flight = None;
                core.stop(now, self.release == Release::IfHeld);
            }
            let wake = match &flight {
                Some((_, deadline)) => *deadline,
                None => match core.next(now, jiff::Timestamp::now()) {
                    Effect::Send { request, deadline } => {
                        flight = Some((send(&*lock, request), deadline));
                        deadline
                    }
                    Effect::Wait { until } => until,
                    Effect::Done => break,
                },
            };

            match core.phase().clone() {
                Phase::Leader { token, .. } => {
                    let valid_until = core.valid_until().unwrap_or(now);
                    match &job {
                        Some(job) if *job.reign.token() == token => job.reign.renewed(valid_until),
                        Some(_) => {} // the work of the last term still stops
                        None if ended.is_none() => {
                            tracing::info!(election = %name, term = %token, "leading");
                            note.terms += 1;
                            let reign = Reign::new(token, valid_until, clock.clone());
                            let future = Box::pin(AssertUnwindSafe(work(reign.term())).catch_unwind());
                            job = Some(Job { reign, future });
                        }
                        None => {}
                    }
                }
                Phase::Lost { reason, expires } => {
                    tracing::warn!(election = %name, %reason, "leadership lost");
                    if let Some(job) = &job {
                        job.reign.end(EndReason::Lost(reason.clone()), Some(expires));
                    }
                    if self.on_lost == OnLost::Stop {
                        ended.get_or_insert(Ended::Lost(reason));
                    }
                    core.contend(now);
                    self.publish(&core, &note);
                    continue;
                }
                Phase::Follower | Phase::Releasing { .. } | Phase::Stopped => {}
            }
            self.publish(&core, &note);

            let following = *core.phase() == Phase::Follower && flight.is_none() && ended.is_none();
            if *core.phase() != Phase::Follower {
                freed = None;
            } else if following && freed.is_none() && now >= no_hint_before {
                freed = Some(lock.freed());
            }
            let expires = job.as_ref().map(|job| job.reign.valid_until());

            tokio::select! {
                biased;
                () = maybe_until(clock, expires) => {
                    // Told to stop before, and late: what is left is dropped here.
                    let held = job.take().is_some_and(|job| !job.reign.is_ended());
                    if held {
                        tracing::warn!(election = %name, "lease ran out before it was noticed");
                    }
                }
                () = &mut shutdown, if ended.is_none() => {
                    ended = Some(Ended::Shutdown);
                    if let Some(job) = &job {
                        job.reign.end(EndReason::Shutdown, None);
                    }
                }
                reply = maybe(flight.as_mut().map(|(future, _)| future)) => {
                    flight = None;
                    core.reply(note.reply(&name, reply), clock.now());
                }
                () = clock.sleep_until(wake) => if flight.take().is_some() {
                    let timeout = LockError::Other("no answer in time".into());
                    core.reply(note.reply(&name, Err(timeout)), clock.now());
                },
                done = maybe(job.as_mut().map(|job| &mut job.future)) => {
                    let by_itself = job.take().is_some_and(|job| !job.reign.is_ended());
                    if by_itself {
                        ended.get_or_insert(Ended::WorkFinished);
                    }
                    if let Err(payload) = done {
                        ended.get_or_insert(Ended::WorkFinished);
                        panic.get_or_insert(payload);
                    }
                }
                () = maybe(freed.as_mut()), if following => {
                    freed = None;
                    let now = clock.now();
                    no_hint_before = now + self.timing.retry_period / 2;
                    core.nudge(now);
                }
            }
        }
        self.publish(&core, &note);
        tracing::info!(election = %name, "leader election stopped");
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
        ended.unwrap_or(Ended::Shutdown)
    }

    fn publish(&self, core: &Core, note: &Note) {
        let now = LeaderStatus {
            identity: self.identity.clone(),
            holder: core.holder().map(str::to_owned),
            token: match core.phase() {
                Phase::Leader { token, .. } => Some(token.clone()),
                _ => None,
            },
            valid_until: core.valid_until(),
            terms: note.terms,
            slow_renewals: core.slow_renewals(),
            last_error: note.last_error.clone(),
            stopped: *core.phase() == Phase::Stopped,
        };
        self.status.send_if_modified(|status| {
            let changed = *status != now;
            *status = now;
            changed
        });
    }
}

impl fmt::Debug for Elector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Elector")
            .field("lock", &self.lock.name())
            .field("identity", &self.identity)
            .field("timing", &self.timing)
            .finish_non_exhaustive()
    }
}

/// Sets up an [`Elector`].
#[must_use = "a builder does nothing until it is built"]
pub struct ElectorBuilder {
    lock: Arc<dyn Lock>,
    identity: Option<String>,
    timing: Timing,
    labels: BTreeMap<String, String>,
    release: Release,
    on_lost: OnLost,
    rng: Option<fastrand::Rng>,
    suspended: Suspended,
}

impl ElectorBuilder {
    /// The name of this process in the record; no two processes may share one.
    ///
    /// Default: the host's name and a random number, so that a restarted process is a new one.
    pub fn identity(mut self, identity: impl Into<String>) -> Self {
        self.identity = Some(identity.into());
        self
    }

    /// The durations. Default: 15 s, 10 s, 2 s, as in client-go.
    pub const fn timing(mut self, timing: Timing) -> Self {
        self.timing = timing;
        self
    }

    /// Adds a label to the lease whenever it is written; others on it stay. Default: none.
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.insert(key.into(), value.into());
        self
    }

    /// Whether to give the lease back at the end. Default: [`Release::IfHeld`], since work has stopped by then.
    pub const fn release(mut self, release: Release) -> Self {
        self.release = release;
        self
    }

    /// What to do after a loss. Default: [`OnLost::Contend`].
    pub const fn on_lost(mut self, on_lost: OnLost) -> Self {
        self.on_lost = on_lost;
        self
    }

    /// Where jitter and the default identity come from. Default: seeded at random.
    pub fn rng(mut self, rng: fastrand::Rng) -> Self {
        self.rng = Some(rng);
        self
    }

    /// How to read for how long the machine has been suspended since it was started. Time on tokio's clock stands still
    /// then, leases run on.
    ///
    /// Default: what Linux says; elsewhere a suspend is not noticed before the next renewal.
    pub fn suspended(mut self, read: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        self.suspended = Arc::new(read);
        self
    }

    /// Checks the options.
    ///
    /// # Errors
    ///
    /// [`ElectorError`] if the times contradict each other or the identity is empty.
    pub fn build(self) -> Result<Elector, ElectorError> {
        self.timing.validate()?;
        let mut rng = self.rng.unwrap_or_default();
        let identity = self.identity.unwrap_or_else(|| default_identity(&mut rng));
        if identity.is_empty() {
            return Err(ElectorError::Identity);
        }
        let status = watch::Sender::new(LeaderStatus::new(identity.clone()));
        Ok(Elector {
            lock: self.lock,
            identity,
            timing: self.timing,
            labels: self.labels,
            release: self.release,
            on_lost: self.on_lost,
            rng,
            clock: Clock::new(self.suspended),
            status,
        })
    }
}

impl fmt::Debug for ElectorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ElectorBuilder")
            .field("lock", &self.lock.name())
            .finish_non_exhaustive()
    }
}

/// Why an [`Elector`] cannot be built.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ElectorError {
    /// The times contradict each other.
    #[error("leader election timing: {0}")]
    Timing(#[from] TimingError),
    /// An empty identity means "nobody" in the record.
    #[error("leader election identity is empty: give each process a name of its own")]
    Identity,
}

/// The work of a term.
struct Job<F: Future<Output = ()>> {
    // Before the future in order of drop: whoever holds the term learns of its end while the work is dropped.
    reign: Reign,
    future: Pin<Box<futures::future::CatchUnwind<AssertUnwindSafe<F>>>>,
}

/// What the shell remembers for the status.
#[derive(Default)]
struct Note {
    terms: u64,
    last_error: Option<String>,
}

impl Note {
    fn reply(&mut self, election: &str, reply: Result<Reply, LockError>) -> Reply {
        match reply {
            Ok(reply) => {
                self.last_error = None;
                reply
            }
            Err(LockError::Conflict) => Reply::Conflict,
            Err(LockError::Missing) => Reply::Missing,
            Err(LockError::Other(error)) => {
                let text = crate::manager::text::one_line(&error.to_string());
                if self.last_error.as_deref() != Some(&*text) {
                    tracing::warn!(%election, error = %text, "cannot reach the lease");
                    self.last_error = Some(text);
                }
                Reply::Failed
            }
        }
    }
}

fn send(lock: &dyn Lock, request: Request) -> BoxFuture<'_, Result<Reply, LockError>> {
    Box::pin(async move {
        let lease = match request {
            Request::Get => match lock.get().await? {
                Some(lease) => lease,
                None => return Ok(Reply::Missing),
            },
            Request::Create(lease) => lock.create(*lease).await?,
            Request::Replace(lease) => lock.replace(*lease).await?,
        };
        Ok(Reply::Lease(Box::new(lease)))
    })
}

/// Polls a future that may not be there; without one it never resolves.
async fn maybe<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn maybe_until(clock: &Clock, deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => clock.sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// `<host>_<random>`, as controller-runtime does.
fn default_identity(rng: &mut fastrand::Rng) -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .map(|host| host.trim().to_owned())
        .filter(|host| !host.is_empty())
        .unwrap_or_else(|| "unknown".to_owned());
    format!("{host}_{:032x}", rng.u128(..))
}
