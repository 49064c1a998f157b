//! One term of leadership, as those see it who work in it.

use std::sync::Arc;
use std::time::Duration;

use tokio::{sync::watch, time::Instant};

use super::{clock::Clock, core::LostReason, record::FencingToken};

/// A term of leadership: says when to stop, until when the lease is valid, and what to fence writes with.
///
/// A cheap handle; all clones speak of the same term. After the term it says so for ever: a term is never resumed, the
/// next one is a new value with a newer token.
#[derive(Clone, Debug)]
pub struct Term {
    token: Arc<FencingToken>,
    clock: Clock,
    state: watch::Receiver<State>,
}

/// Why a term ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EndReason {
    /// This process stops; the lease is renewed until the work has stopped.
    Shutdown,
    /// The lease is lost, or was not renewed in time; work must stop before [`Term::valid_for`] reaches zero.
    Lost(LostReason),
}

impl std::fmt::Display for EndReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Shutdown => f.write_str("shutdown"),
            Self::Lost(reason) => write!(f, "lease lost: {reason}"),
        }
    }
}

/// This process does not lead, or not in the term asked about: a write must not be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not leading: the lease has run out, stop this work")]
pub struct NotLeading;

impl Term {
    /// The token of this term, for writers that fence.
    pub fn token(&self) -> &FencingToken {
        &self.token
    }

    /// How long the lease may still be relied upon if it is not renewed; zero after the term.
    pub fn valid_for(&self) -> Duration {
        self.state
            .borrow()
            .valid_until
            .saturating_duration_since(self.clock.now())
    }

    /// The check before a write: passes as long as no other process can hold the lease.
    ///
    /// It passes also while the term is ending, since work may finish what it has begun. A task that was stopped by the
    /// operating system between the check and the write can still write late; only a store that compares tokens rules
    /// that out.
    ///
    /// # Errors
    ///
    /// [`NotLeading`] once the lease may be in other hands.
    pub fn check(&self) -> Result<&FencingToken, NotLeading> {
        if self.valid_for().is_zero() {
            Err(NotLeading)
        } else {
            Ok(&self.token)
        }
    }

    /// Whether work has been asked to stop.
    pub fn is_ended(&self) -> bool {
        self.state.borrow().end.is_some() || self.valid_for().is_zero()
    }

    /// Waits until work has to stop, and says why.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn ended(&self) -> EndReason {
        let mut state = self.state.clone();
        let end = state
            .wait_for(|state| state.end.is_some())
            .await
            .ok()
            .and_then(|state| state.end.clone());
        end.unwrap_or(EndReason::Lost(LostReason::RenewDeadline))
    }

    /// Waits until the lease can no longer be relied upon: what still runs now must be dropped.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub async fn expired(&self) {
        let mut state = self.state.clone();
        loop {
            let until = state.borrow_and_update().valid_until;
            tokio::select! {
                () = self.clock.sleep_until(until) => return,
                changed = state.changed() => if changed.is_err() {
                    return;
                },
            }
        }
    }
}

/// The side of the term that the election holds. Dropping it ends the term at once.
#[derive(Debug)]
pub(super) struct Reign {
    token: Arc<FencingToken>,
    clock: Clock,
    state: watch::Sender<State>,
}

#[derive(Clone, Debug)]
struct State {
    valid_until: Instant,
    end: Option<EndReason>,
}

impl Reign {
    pub(super) fn new(token: FencingToken, valid_until: Instant, clock: Clock) -> Self {
        Self {
            token: Arc::new(token),
            clock,
            state: watch::Sender::new(State {
                valid_until,
                end: None,
            }),
        }
    }

    pub(super) fn term(&self) -> Term {
        Term {
            token: Arc::clone(&self.token),
            clock: self.clock.clone(),
            state: self.state.subscribe(),
        }
    }

    pub(super) fn token(&self) -> &FencingToken {
        &self.token
    }

    pub(super) fn valid_until(&self) -> Instant {
        self.state.borrow().valid_until
    }

    /// A renewal was acknowledged.
    pub(super) fn renewed(&self, valid_until: Instant) {
        self.state.send_if_modified(|state| {
            let later = valid_until > state.valid_until;
            state.valid_until = state.valid_until.max(valid_until);
            later
        });
    }

    /// Asks the work to stop, by `expires` at the latest; the first reason stays.
    pub(super) fn end(&self, reason: EndReason, expires: Option<Instant>) {
        self.state.send_modify(|state| {
            state.end.get_or_insert(reason);
            if let Some(expires) = expires {
                state.valid_until = state.valid_until.min(expires);
            }
        });
    }

    /// Whether the work was asked to stop.
    pub(super) fn is_ended(&self) -> bool {
        self.state.borrow().end.is_some()
    }
}

impl Drop for Reign {
    fn drop(&mut self) {
        self.end(EndReason::Shutdown, Some(self.clock.now()));
    }
}
