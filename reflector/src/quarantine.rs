//! The quarantine: objects that cannot be decoded, kept apart so that the rest flows.

use std::{fmt, sync::Arc, time::Duration};

use informer_store::{ObjectKey, ResourceVersion};
use tokio::time::Instant;

use crate::Error;

/// An object that cannot be decoded.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Quarantined {
    /// The key; `None` for a listed object whose name could not be read.
    pub key: Option<ObjectKey>,
    /// The version that cannot be decoded.
    pub version: ResourceVersion,
    /// What is wrong with it.
    pub error: Arc<Error>,
    /// When it was found.
    pub since: Instant,
    /// How often it was read again.
    pub attempts: u32,
    pub(crate) retry_at: Instant,
    /// It was not there when it was read again.
    pub(crate) missed: bool,
}

/// What happens in the quarantine.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum QuarantineEvent {
    /// An object was put in, or stays in with another version or error. Of the objects of one list that have no readable
    /// name only the first 64 are told; [`Stats::quarantined`](crate::Stats::quarantined) counts them all.
    In(Quarantined),
    /// An object was decoded after all, or is gone.
    Out(ObjectKey),
}

/// Every object in quarantine, in key order.
#[derive(Debug, Default)]
pub(crate) struct Quarantine {
    held: std::collections::BTreeMap<ObjectKey, Quarantined>,
    unkeyed: Vec<Quarantined>,
    last_round: Option<Instant>,
    /// No object is due before this; exact after every round.
    earliest: Option<Instant>,
}

impl Quarantine {
    pub(crate) fn put(
        &mut self,
        key: Option<ObjectKey>,
        version: ResourceVersion,
        error: Error,
        now: Instant,
        retry: Duration,
    ) -> Quarantined {
        let known = key.as_ref().and_then(|key| self.held.get(key));
        let same = known.filter(|known| known.version == version);
        let entry = Quarantined {
            since: same.map_or(now, |known| known.since),
            attempts: same.map_or(0, |known| known.attempts),
            retry_at: same.map_or(now + retry, |known| known.retry_at),
            missed: false,
            key: key.clone(),
            version,
            error: Arc::new(error),
        };
        match key {
            Some(key) => {
                let due = entry.retry_at;
                self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
                self.held.insert(key, entry.clone());
            }
            None if self.unkeyed.len() < UNKEYED_MAX => self.unkeyed.push(entry.clone()),
            None => {}
        }
        entry
    }

    pub(crate) fn remove(&mut self, key: &ObjectKey) -> bool {
        self.held.remove(key).is_some()
    }

    /// Notes that the object was not there; true if that is what was noted before. Else it is read once more in `retry`.
    pub(crate) fn miss(&mut self, key: &ObjectKey, now: Instant, retry: Duration) -> bool {
        let Some(entry) = self.held.get_mut(key) else {
            return false;
        };
        let due = now + retry;
        entry.retry_at = due;
        self.earliest = Some(self.earliest.map_or(due, |earliest| earliest.min(due)));
        std::mem::replace(&mut entry.missed, true)
    }

    /// Notes that the object was there after all.
    pub(crate) fn found(&mut self, key: &ObjectKey) {
        if let Some(entry) = self.held.get_mut(key) {
            entry.missed = false;
        }
    }

    pub(crate) fn get(&self, key: &ObjectKey) -> Option<&Quarantined> {
        self.held.get(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.held.len()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.held.keys()
    }

    pub(crate) fn list(&self) -> Vec<Quarantined> {
        self.held.values().chain(&self.unkeyed).cloned().collect()
    }

    pub(crate) fn forget_unkeyed(&mut self) {
        self.unkeyed.clear();
    }

    /// When to ask for the objects that are [due](Self::due). There may be none: looking at all of them is for then.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        let earliest = self.earliest.filter(|_| !self.held.is_empty())?;
        Some(
            self.last_round
                .map_or(earliest, |last| earliest.max(last + ROUND)),
        )
    }

    /// The objects to be read again at `now`, a few at a time; their next turn is set.
    pub(crate) fn due(&mut self, now: Instant, retry: Duration) -> Vec<ObjectKey> {
        let keys = self.take_due(now, retry);
        if !keys.is_empty() {
            self.last_round = Some(now);
        }
        self.earliest = self.held.values().map(|entry| entry.retry_at).min();
        keys
    }

    fn take_due(&mut self, now: Instant, retry: Duration) -> Vec<ObjectKey> {
        let mut due: Vec<_> = self
            .held
            .values_mut()
            .filter(|entry| entry.retry_at <= now)
            .collect();
        due.sort_by_key(|entry| entry.retry_at);
        due.truncate(ROUND_KEYS);
        due.into_iter()
            .filter_map(|entry| {
                entry.attempts = entry.attempts.saturating_add(1);
                let wait = retry
                    .saturating_mul(1 << entry.attempts.min(10))
                    .min(RETRY_MAX.max(retry));
                entry.retry_at = now + wait;
                entry.key.clone()
            })
            .collect()
    }
}

/// Objects without a readable name kept for inspection; more are only counted.
pub(crate) const UNKEYED_MAX: usize = 64;
/// Reads made in one round, and the least time between rounds: each round costs the watch a reconnect, and all of it
/// most of what may be asked for in a minute. However many objects are set apart, the others flow.
const ROUND_KEYS: usize = 4;
const ROUND: Duration = Duration::from_secs(120);
/// The longest time between two reads of one object.
const RETRY_MAX: Duration = Duration::from_secs(3600);

impl fmt::Display for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "{key} at version {}: {}", self.version, self.error),
            None => write!(f, "an object without a readable name: {}", self.error),
        }
    }
}
