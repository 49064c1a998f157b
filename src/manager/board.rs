//! Who may start and who must stop: the state of all components, without tasks and without a clock.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::Instant;

use super::{component::Group, leader::Term};

/// The components of a manager and where each of them stands.
#[derive(Clone, Debug)]
pub(super) struct Board {
    pub(super) started: Instant,
    pub(super) stopping: Option<Instant>,
    pub(super) forced: bool,
    pub(super) cause: Option<Cause>,
    /// The term in which components of the leader may start.
    pub(super) term: Option<Term>,
    pub(super) entries: BTreeMap<u64, Entry>,
    next_id: u64,
}

/// Why a manager stops, if it was not asked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Failed { component: String, error: String },
    LeadershipLost { component: String },
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) group: Group,
    pub(super) after: Vec<String>,
    pub(super) start_timeout: Duration,
    pub(super) required: bool,
    pub(super) added: Instant,
    pub(super) state: State,
    pub(super) since: Instant,
    /// When the later groups stopped waiting for it.
    pub(super) settled: Option<Instant>,
    pub(super) runs: u32,
    pub(super) failures: u32,
    pub(super) panics: u32,
    pub(super) last_error: Option<String>,
    pub(super) removed: bool,
    /// It did not stop in time and was dropped.
    pub(super) dropped: bool,
}

/// Where a component stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not its turn yet.
    Waiting,
    /// Its turn, but this process does not lead.
    Standby,
    /// Runs, not ready yet.
    Starting,
    /// Runs and is ready.
    Ready,
    /// Failed, will be run again.
    Backoff,
    /// Told to stop.
    Stopping,
    /// Returned by itself, its work is done.
    Finished,
    /// Failed for good.
    Failed,
    /// Was stopped.
    Stopped,
}

/// Whether something may happen now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    Open,
    /// Not before something changes, or this time comes.
    Closed(Option<Instant>),
}

/// Why a component cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddError {
    /// Two components of one name could not be told apart.
    #[error("there is a component named {0:?} already: give it another name")]
    Duplicate(String),
    /// The order contradicts itself.
    #[error("component {name:?} is to start after {other:?}, which is in a later group or starts after it")]
    Order {
        /// The component.
        name: String,
        /// What it was to start after.
        other: String,
    },
    /// The manager has begun to stop.
    #[error("the manager is stopping: nothing can be added")]
    Stopping,
}

impl Board {
    pub(super) const fn new(started: Instant) -> Self {
        Self {
            started,
            stopping: None,
            forced: false,
            cause: None,
            term: None,
            entries: BTreeMap::new(),
            next_id: 0,
        }
    }

    /// Adds a component; gives its number.
    pub(super) fn add(&mut self, entry: Entry) -> Result<u64, AddError> {
        if self.stopping.is_some() {
            return Err(AddError::Stopping);
        }
        if self.by_name(&entry.name).is_some() {
            return Err(AddError::Duplicate(entry.name));
        }
        for other in &entry.after {
            let later = self.by_name(other).is_some_and(|other| other.group > entry.group);
            if later || self.leads_to(other, &entry.name) {
                return Err(AddError::Order {
                    name: entry.name.clone(),
                    other: other.clone(),
                });
            }
        }
        for waiting in self.entries.values() {
            if waiting.after.contains(&entry.name) && entry.group > waiting.group {
                return Err(AddError::Order {
                    name: waiting.name.clone(),
                    other: entry.name,
                });
            }
        }
        let id = self.next_id;
        self.next_id += 1;
        self.entries.insert(id, entry);
        Ok(id)
    }

    /// Whether `from` starts, directly or not, after `to`.
    fn leads_to(&self, from: &str, to: &str) -> bool {
        let mut seen = Vec::new();
        let mut look = vec![from];
        while let Some(name) = look.pop() {
            if name == to {
                return true;
            }
            if !seen.contains(&name) {
                seen.push(name);
                look.extend(
                    self.by_name(name)
                        .into_iter()
                        .flat_map(|entry| entry.after.iter().map(String::as_str)),
                );
            }
        }
        false
    }

    pub(super) fn by_name(&self, name: &str) -> Option<&Entry> {
        self.entries.values().find(|entry| entry.name == name)
    }

    /// Whether a component may start: its turn has come, and what it starts after is ready.
    pub(super) fn may_start(&self, id: u64, now: Instant) -> Gate {
        let Some(entry) = self.entries.get(&id) else {
            return Gate::Closed(None);
        };
        let opens = self.opens(entry.group);
        if now < opens {
            return Gate::Closed(Some(opens));
        }
        let waits = entry
            .after
            .iter()
            .any(|name| !self.by_name(name).is_some_and(Entry::is_usable));
        if waits { Gate::Closed(None) } else { Gate::Open }
    }

    /// Whether a component must stop: it was removed, or the manager stops and what came up after it is down.
    pub(super) fn must_stop(&self, id: u64) -> bool {
        let Some(entry) = self.entries.get(&id) else {
            return true;
        };
        if entry.removed || self.forced {
            return true;
        }
        self.stopping.is_some()
            && self.entries.values().all(|other| {
                other.is_down() || !(other.group > entry.group || other.after.contains(&entry.name))
            })
    }

    /// Whether a component that does not run must stay down.
    pub(super) fn must_not_run(&self, id: u64) -> bool {
        self.stopping.is_some() || self.forced || self.entries.get(&id).is_none_or(|entry| entry.removed)
    }

    /// Whether no component of the leader runs.
    pub(super) fn leader_idle(&self) -> bool {
        self.entries
            .values()
            .filter(|entry| entry.group == Group::Controllers)
            .all(|entry| !entry.is_running())
    }

    /// What a component that waits for its turn waits for.
    pub(super) fn blockers(&self, entry: &Entry) -> Vec<String> {
        let mut names: Vec<_> = self
            .entries
            .values()
            .filter(|other| other.group < entry.group && other.settled.is_none())
            .map(|other| other.name.clone())
            .collect();
        for name in &entry.after {
            match self.by_name(name) {
                Some(other) if other.is_usable() || names.contains(name) => {}
                Some(_) => names.push(name.clone()),
                None => names.push(format!("{name} (unknown)")),
            }
        }
        names
    }

    pub(super) fn is_down(&self) -> bool {
        self.entries.values().all(Entry::is_down)
    }

    /// Moves a component to another state.
    pub(super) fn set(&mut self, id: u64, state: State, now: Instant) {
        let Some(entry) = self.entries.get_mut(&id) else {
            return;
        };
        if entry.state != state {
            entry.state = state;
            entry.since = now;
        }
        if matches!(state, State::Ready | State::Finished | State::Failed) {
            entry.settled.get_or_insert(now);
        }
    }

    /// Begins to stop everything; the first cause stays.
    pub(super) fn stop(&mut self, now: Instant, cause: Option<Cause>) {
        if self.stopping.is_none() {
            self.cause = cause;
        }
        self.stopping.get_or_insert(now);
    }

    /// When a group may start at the latest, as things stand.
    fn opens(&self, group: Group) -> Instant {
        let mut opens = self.started;
        for lower in [Group::Servers, Group::Caches, Group::Services, Group::Election] {
            if lower >= group {
                break;
            }
            let settles = |entry: &Entry| {
                entry.settled.unwrap_or_else(|| {
                    let from = opens.max(entry.added);
                    from.checked_add(entry.start_timeout).unwrap_or(from + FOREVER)
                })
            };
            let of_group = self
                .entries
                .values()
                .filter(|entry| entry.group == lower && !entry.removed);
            opens = of_group.map(settles).max().map_or(opens, |last| last.max(opens));
        }
        opens
    }
}

impl Entry {
    /// Whether what starts after it may start.
    fn is_usable(&self) -> bool {
        matches!(self.state, State::Ready | State::Finished)
    }

    /// Whether its code runs.
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.state, State::Starting | State::Ready | State::Stopping)
    }

    /// Whether it is over for this process.
    pub(super) const fn is_down(&self) -> bool {
        matches!(self.state, State::Finished | State::Failed | State::Stopped)
    }

    /// Whether it does what `/readyz` expects of it.
    pub(super) const fn is_healthy(&self) -> bool {
        matches!(self.state, State::Ready | State::Finished | State::Standby)
    }
}

/// Far enough: about thirty years.
const FOREVER: Duration = Duration::from_secs(1_000_000_000);
