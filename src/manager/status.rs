//! What a manager says of itself.

use std::fmt;

use serde::Serialize;
use tokio::time::Instant;

use super::{
    board::{Board, Entry, State},
    component::Group,
    leader::{LeaderStatus, Observer},
};

/// The state of a manager and its components at one moment, as `/debug` shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Status {
    /// Where the manager stands.
    pub phase: Phase,
    /// Why it stops, if that was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
    /// The election, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub election: Option<ElectionStatus>,
    /// The components in the order of their groups, then in that of their adding.
    pub components: Vec<ComponentStatus>,
}

/// Where a manager stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Phase {
    /// Some required component is not ready.
    Starting,
    /// Every required component is ready.
    Running,
    /// Components are being stopped.
    Stopping,
    /// All components are down.
    Stopped,
}

/// One component.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ComponentStatus {
    /// Its name.
    pub name: String,
    /// Its group.
    pub group: Group,
    /// Where it stands.
    pub state: ComponentState,
    /// For how long it has stood there, in seconds.
    pub seconds: f64,
    /// Whether `/readyz` waits for it.
    pub required: bool,
    /// What it waits for before it may start.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub waits_for: Vec<String>,
    /// How often it was run.
    pub runs: u32,
    /// How many of its runs failed, panics included.
    pub failures: u32,
    /// How many of its runs panicked.
    pub panics: u32,
    /// Its last failure, on one line of at most 1 KiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// Whether it did not stop in time and was dropped.
    pub dropped: bool,
}

/// Where a component stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum ComponentState {
    /// It is not its turn yet.
    Waiting,
    /// It would run if this process led.
    Standby,
    /// It runs, but is not ready yet.
    Starting,
    /// It runs and is ready.
    Ready,
    /// It failed and will be run again.
    Backoff,
    /// It was told to stop.
    Stopping,
    /// It returned by itself; its work is done.
    Finished,
    /// It failed and stays down.
    Failed,
    /// It was stopped.
    Stopped,
}

/// An election, as one process sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ElectionStatus {
    /// `<namespace>/<name>` of the lease.
    pub name: String,
    /// The name of this process in it.
    pub identity: String,
    /// Whether this process leads.
    pub leading: bool,
    /// Who leads, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub holder: Option<String>,
    /// The token of the term of this process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Why the last request for the lease failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

impl Status {
    pub(super) fn of(board: &Board, election: Option<&Observer>, now: Instant) -> Self {
        let mut entries: Vec<_> = board.entries.values().collect();
        entries.sort_by_key(|entry| entry.group);
        let ready = entries.iter().all(|entry| !entry.required || entry.is_healthy());
        let phase = match board.stopping {
            Some(_) if board.is_down() => Phase::Stopped,
            Some(_) => Phase::Stopping,
            None if ready => Phase::Running,
            None => Phase::Starting,
        };
        Self {
            phase,
            cause: board.cause.as_ref().map(ToString::to_string),
            election: election.map(ElectionStatus::of),
            components: entries
                .into_iter()
                .map(|entry| ComponentStatus::of(board, entry, now))
                .collect(),
        }
    }

    /// One component by name.
    pub fn component(&self, name: &str) -> Option<&ComponentStatus> {
        self.components.iter().find(|component| component.name == name)
    }
}

impl ComponentStatus {
    fn of(board: &Board, entry: &Entry, now: Instant) -> Self {
        Self {
            name: entry.name.clone(),
            group: entry.group,
            state: entry.state.into(),
            seconds: now.saturating_duration_since(entry.since).as_secs_f64(),
            required: entry.required,
            waits_for: if entry.state == State::Waiting {
                board.blockers(entry)
            } else {
                Vec::new()
            },
            runs: entry.runs,
            failures: entry.failures,
            panics: entry.panics,
            last_error: entry.last_error.clone(),
            dropped: entry.dropped,
        }
    }

    /// Whether it does what is expected of it: it is ready, has finished, or stands by for the leader.
    pub const fn is_healthy(&self) -> bool {
        matches!(
            self.state,
            ComponentState::Ready | ComponentState::Finished | ComponentState::Standby
        )
    }

    /// Says on one line what it does, and what keeps it from being ready.
    pub fn reason(&self) -> String {
        match (&self.last_error, self.waits_for.as_slice()) {
            (Some(error), _) => format!("{}: {error}", self.state),
            (None, []) => self.state.to_string(),
            (None, names) => format!("{} for {}", self.state, names.join(", ")),
        }
    }
}

impl ElectionStatus {
    fn of(observer: &Observer) -> Self {
        let LeaderStatus {
            identity,
            holder,
            token,
            last_error,
            ..
        } = observer.status();
        Self {
            name: observer.name().to_owned(),
            identity,
            leading: observer.is_leading(),
            holder,
            token: token.map(|token| token.to_string()),
            last_error,
        }
    }
}

impl fmt::Display for ComponentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Waiting => "waiting",
            Self::Standby => "standby",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Backoff => "backoff",
            Self::Stopping => "stopping",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        })
    }
}

impl From<State> for ComponentState {
    fn from(state: State) -> Self {
        match state {
            State::Waiting => Self::Waiting,
            State::Standby => Self::Standby,
            State::Starting => Self::Starting,
            State::Ready => Self::Ready,
            State::Backoff => Self::Backoff,
            State::Stopping => Self::Stopping,
            State::Finished => Self::Finished,
            State::Failed => Self::Failed,
            State::Stopped => Self::Stopped,
        }
    }
}
