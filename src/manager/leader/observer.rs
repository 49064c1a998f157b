//! The election as seen from outside: status, health, metrics.

use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::{clock::Clock, record::FencingToken, timing::Timing};

/// A view of an election. A cheap handle that stays valid while and after the election runs.
#[derive(Clone, Debug)]
pub struct Observer {
    name: String,
    timing: Timing,
    clock: Clock,
    status: watch::Receiver<LeaderStatus>,
}

/// Where an election stands, as one process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LeaderStatus {
    /// The name of this process in the election.
    pub identity: String,
    /// Who holds the lease, as last seen; `None` for nobody or not known yet.
    pub holder: Option<String>,
    /// The term of this process, if it leads.
    pub token: Option<FencingToken>,
    /// Until when this process may rely on the lease, if it leads.
    pub valid_until: Option<Instant>,
    /// How many terms this process has begun.
    pub terms: u64,
    /// How many renewals needed a second look at the lease.
    pub slow_renewals: u64,
    /// Why the last request failed; `None` once one succeeded.
    pub last_error: Option<String>,
    /// Whether the election is over for this process.
    pub stopped: bool,
}

impl LeaderStatus {
    pub(super) fn new(identity: String) -> Self {
        Self {
            identity,
            holder: None,
            token: None,
            valid_until: None,
            terms: 0,
            slow_renewals: 0,
            last_error: None,
            stopped: false,
        }
    }
}

impl Observer {
    pub(super) const fn new(
        name: String,
        timing: Timing,
        clock: Clock,
        status: watch::Receiver<LeaderStatus>,
    ) -> Self {
        Self {
            name,
            timing,
            clock,
            status,
        }
    }

    /// The name of the election: `<namespace>/<name>` of its lease.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The durations of the election.
    pub const fn timing(&self) -> &Timing {
        &self.timing
    }

    /// Where the election stands.
    pub fn status(&self) -> LeaderStatus {
        let mut status = self.status.borrow().clone();
        // The run may have been dropped in the middle.
        if self.status.has_changed().is_err() {
            status.token = None;
            status.valid_until = None;
            status.stopped = true;
        }
        status.valid_until = status.valid_until.map(|until| self.clock.on_tokio(until));
        status
    }

    /// Whether this process leads and its lease is valid at this moment.
    pub fn is_leading(&self) -> bool {
        self.status()
            .valid_until
            .is_some_and(|until| Instant::now() < until)
    }

    /// Waits until this process leads, and gives its token; `None` if the election ended before.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn leading(&self) -> Option<FencingToken> {
        let mut status = self.status.clone();
        let led = status.wait_for(|status| status.token.is_some()).await.ok()?;
        led.token.clone()
    }

    /// Waits for the next change of the status.
    ///
    /// # Errors
    ///
    /// [`NotRunning`](super::NotRunning) once the election has ended and will not change any more.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing: the change is seen by the next call.
    pub async fn changed(&mut self) -> Result<(), super::NotRunning> {
        self.status.changed().await.map_err(|_| super::NotRunning)
    }

    /// Whether the election does its job: fails if this process holds a term whose lease ran out more than `tolerance`
    /// ago without the term having ended, which means that the election is stuck.
    ///
    /// # Errors
    ///
    /// [`Stuck`] with the time since the lease ran out.
    ///
    /// # Source
    ///
    /// client-go `tools/leaderelection/healthzadaptor.go` `HealthzAdaptor`.
    pub fn check(&self, tolerance: Duration) -> Result<(), Stuck> {
        let Some(until) = self.status().valid_until else {
            return Ok(());
        };
        let over = Instant::now().saturating_duration_since(until + self.timing.margin);
        if over > tolerance {
            Err(Stuck { over })
        } else {
            Ok(())
        }
    }
}

/// The election does not keep its times; the process should be restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leader election is stuck: the lease ran out {over:?} ago and the term goes on")]
pub struct Stuck {
    /// How long ago the lease ran out.
    pub over: Duration,
}
