//! The election as a state machine: no clock, no I/O, no tasks. It is told the time and the answers, and says what to
//! do next.
//!
//! Why at most one contender leads: a lease is written only with the resource version of a read that allowed it, so the
//! server serialises all takings. A leader relies on its lease from the *start* of the request that was acknowledged;
//! others count the same duration from the *arrival* of what that request wrote, which is never earlier. A request
//! whose answer was lost may still be carried out at any later time; it then either meets a newer version and fails, or
//! makes others wait longer.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use tokio::time::Instant;

use super::{
    record::{self, FencingToken},
    timing::Timing,
};

/// The pure half of an election.
#[derive(Debug)]
pub(super) struct Core {
    identity: String,
    timing: Timing,
    labels: BTreeMap<String, String>,
    rng: fastrand::Rng,
    phase: Phase,
    next: Next,
    observed: Option<Observed>,
    /// When this process last wrote itself into the lease, by the wall clock in the record: such a lease is its own
    /// even if the answer was lost.
    mark: Option<Timestamp>,
    slow_renewals: u64,
}

/// What the shell has to do.
#[derive(Debug)]
pub(super) enum Effect {
    /// Send the request; report its answer, or a failure at the deadline.
    Send { request: Request, deadline: Instant },
    /// Come back at this time, or earlier when there is reason to.
    Wait { until: Instant },
    /// The election is over for this process.
    Done,
}

/// A request to the server. Writes carry the version that they rest on.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Get,
    Create(Box<Lease>),
    Replace(Box<Lease>),
}

/// The answer to a request.
#[derive(Debug)]
pub(super) enum Reply {
    /// The lease as read or as stored.
    Lease(Box<Lease>),
    /// There is no such lease.
    Missing,
    /// Somebody else wrote first.
    Conflict,
    /// No answer, or one that says nothing about the lease: the request may have been carried out, or may yet be.
    Failed,
}

/// Where this process stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Phase {
    /// Contending.
    Follower,
    /// Leading since the request sent at `renewed` was acknowledged.
    Leader { token: FencingToken, renewed: Instant },
    /// Gives the lease back.
    Releasing { token: FencingToken, until: Instant },
    /// Over.
    Stopped,
    /// Just lost the lease; the shell takes note, then it contends again.
    Lost { reason: LostReason, expires: Instant },
}

/// Why a term ended before its holder wanted it to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LostReason {
    /// No renewal was acknowledged before the renew deadline.
    RenewDeadline,
    /// The lease names another holder, or another term.
    TakenOver {
        /// The holder it names, empty for none.
        holder: String,
    },
    /// The lease was deleted, so anybody may take it.
    Deleted,
}

impl std::fmt::Display for LostReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::RenewDeadline => f.write_str("not renewed in time"),
            Self::TakenOver { holder } if holder.is_empty() => f.write_str("released by somebody else"),
            Self::TakenOver { holder } => write!(f, "taken over by {holder}"),
            Self::Deleted => f.write_str("lease deleted"),
        }
    }
}

#[derive(Debug)]
struct Observed {
    lease: Lease,
    /// When the record was first seen in this state.
    at: Instant,
}

#[derive(Debug)]
enum Next {
    /// Nothing to do before this time; then look or renew.
    At(Instant),
    /// Read the lease now.
    Look,
    /// Write the lease now, as the purpose says.
    Write(Purpose),
    /// A request is under way.
    InFlight { purpose: Purpose, start: Instant },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Look,
    Create,
    Take,
    Renew { slow: bool },
    Release,
}

impl Core {
    /// Starts as a follower that looks at once.
    pub(super) fn new(
        identity: String,
        timing: Timing,
        labels: BTreeMap<String, String>,
        rng: fastrand::Rng,
        now: Instant,
    ) -> Self {
        Self {
            identity,
            timing,
            labels,
            rng,
            phase: Phase::Follower,
            next: Next::At(now),
            observed: None,
            mark: None,
            slow_renewals: 0,
        }
    }

    /// What to do now. After a [`Effect::Send`], the next call is [`reply`](Self::reply).
    pub(super) fn next(&mut self, now: Instant, wall: Timestamp) -> Effect {
        self.check_deadlines(now);
        match self.phase {
            Phase::Stopped => return Effect::Done,
            Phase::Lost { .. } => return Effect::Wait { until: now },
            Phase::Follower | Phase::Leader { .. } | Phase::Releasing { .. } => {}
        }
        let purpose = match self.next {
            Next::At(until) if now < until => {
                return Effect::Wait {
                    until: self.wake_by(until),
                };
            }
            Next::At(_) => match self.phase {
                Phase::Leader { .. } => Purpose::Renew { slow: false },
                Phase::Releasing { .. } => Purpose::Release,
                _ => Purpose::Look,
            },
            Next::Look => Purpose::Look,
            Next::Write(purpose) => purpose,
            Next::InFlight { start, .. } => {
                return Effect::Wait {
                    until: self.request_deadline(start),
                };
            }
        };
        let request = self.request(purpose, wall);
        self.next = Next::InFlight { purpose, start: now };
        Effect::Send {
            request,
            deadline: self.request_deadline(now),
        }
    }

    /// Takes the answer to the request under way.
    pub(super) fn reply(&mut self, reply: Reply, now: Instant) {
        let Next::InFlight { purpose, start } = std::mem::replace(&mut self.next, Next::At(now)) else {
            return; // nothing was asked: nothing to learn
        };
        self.next = match self.phase.clone() {
            Phase::Leader { token, renewed } => {
                self.leader_reply(purpose, reply, &token, renewed, start, now)
            }
            Phase::Releasing { token, .. } => self.release_reply(purpose, reply, &token, now),
            Phase::Follower | Phase::Lost { .. } => self.follower_reply(purpose, reply, start, now),
            Phase::Stopped => Next::At(now),
        };
        self.check_deadlines(now);
    }

    /// Stops: gives the lease back if this process holds it and `release` is set. Call it once the work has stopped.
    ///
    /// A request under way is left to its fate, the shell drops it: a write of it that is carried out later rests on an
    /// older version than the release, so it fails, or it comes first and the release looks again.
    pub(super) fn stop(&mut self, now: Instant, release: bool) {
        self.phase = match &self.phase {
            Phase::Leader { token, renewed } if release => {
                self.next = Next::At(now);
                let until = (*renewed + self.timing.validity()).min(now + self.timing.renew_deadline);
                Phase::Releasing {
                    token: token.clone(),
                    until,
                }
            }
            _ => Phase::Stopped,
        };
    }

    /// Whether the answer to a taking is outstanding: the lease may be this process's without its knowing.
    pub(super) const fn is_taking(&self) -> bool {
        matches!(
            self.next,
            Next::InFlight {
                purpose: Purpose::Create | Purpose::Take,
                ..
            }
        )
    }

    /// Goes back to contending after the shell has taken note of a loss.
    pub(super) fn contend(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Lost { .. }) {
            self.phase = Phase::Follower;
            if !matches!(self.next, Next::InFlight { .. }) {
                self.next = Next::At(now + self.jittered());
            }
        }
    }

    /// Looks at once instead of at the next turn: something is known to have happened to the lease.
    pub(super) fn nudge(&mut self, now: Instant) {
        if self.phase == Phase::Follower
            && let Next::At(until) = &mut self.next
        {
            *until = now.min(*until);
        }
    }

    /// Where this process stands.
    pub(super) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// Until when the lease may be relied upon, if this process leads.
    pub(super) fn valid_until(&self) -> Option<Instant> {
        match self.phase {
            Phase::Leader { renewed, .. } => Some(renewed + self.timing.validity()),
            _ => None,
        }
    }

    /// Who holds the lease as far as is known; `None` if it was not seen yet or nobody does.
    pub(super) fn holder(&self) -> Option<&str> {
        self.observed
            .as_ref()
            .map(|seen| record::holder(&seen.lease))
            .filter(|holder| !holder.is_empty())
    }

    /// How many renewals needed a second look at the lease.
    pub(super) const fn slow_renewals(&self) -> u64 {
        self.slow_renewals
    }

    fn check_deadlines(&mut self, now: Instant) {
        match self.phase {
            Phase::Leader { renewed, .. } if now >= renewed + self.timing.renew_deadline => {
                self.lose(LostReason::RenewDeadline, renewed + self.timing.validity());
            }
            Phase::Releasing { until, .. } if now >= until => self.phase = Phase::Stopped,
            _ => {}
        }
    }

    fn wake_by(&self, until: Instant) -> Instant {
        match self.phase {
            Phase::Leader { renewed, .. } => until.min(renewed + self.timing.renew_deadline),
            Phase::Releasing { until: end, .. } => until.min(end),
            _ => until,
        }
    }

    fn request_deadline(&self, start: Instant) -> Instant {
        self.wake_by(start + self.timing.request_timeout)
    }

    fn request(&mut self, purpose: Purpose, wall: Timestamp) -> Request {
        let mut lease = self
            .observed
            .as_ref()
            .map(|seen| seen.lease.clone())
            .unwrap_or_default();
        match purpose {
            Purpose::Look => return Request::Get,
            Purpose::Create | Purpose::Take => {
                record::take(&mut lease, &self.identity, self.timing.lease_duration, wall);
            }
            Purpose::Renew { .. } => record::renew(&mut lease, self.timing.lease_duration, wall),
            Purpose::Release => record::release(&mut lease, wall),
        }
        if matches!(purpose, Purpose::Create | Purpose::Take) {
            self.mark = record::acquired(&lease);
        }
        if !self.labels.is_empty() && purpose != Purpose::Release {
            lease
                .metadata
                .labels
                .get_or_insert_default()
                .extend(self.labels.clone());
        }
        match purpose {
            Purpose::Create => Request::Create(Box::new(lease)),
            _ => Request::Replace(Box::new(lease)),
        }
    }

    fn follower_reply(&mut self, purpose: Purpose, reply: Reply, start: Instant, now: Instant) -> Next {
        match (purpose, reply) {
            (Purpose::Look, Reply::Missing) => {
                self.observed = None;
                Next::Write(Purpose::Create)
            }
            (Purpose::Look, Reply::Lease(lease)) => {
                self.observe(*lease, now);
                self.follow_or_take(now)
            }
            (Purpose::Create | Purpose::Take, Reply::Lease(lease)) => {
                let ours = self.is_ours(&lease);
                let token = FencingToken::of(&lease);
                self.observe(*lease, now);
                // An answer that took too long proves nothing any more: look again.
                if ours && now < start + self.timing.renew_deadline {
                    self.phase = Phase::Leader {
                        token,
                        renewed: start,
                    };
                    Next::At(self.next_renewal(start))
                } else {
                    Next::Look
                }
            }
            _ => Next::At(now + self.jittered()),
        }
    }

    fn leader_reply(
        &mut self,
        purpose: Purpose,
        reply: Reply,
        token: &FencingToken,
        renewed: Instant,
        start: Instant,
        now: Instant,
    ) -> Next {
        match (purpose, reply) {
            (Purpose::Look, Reply::Lease(lease)) => {
                let still = token.matches(&lease);
                let holder = record::holder(&lease).to_owned();
                self.observe(*lease, now);
                if still {
                    Next::Write(Purpose::Renew { slow: true })
                } else {
                    self.lose(LostReason::TakenOver { holder }, now);
                    Next::At(now + self.jittered())
                }
            }
            (Purpose::Renew { .. }, Reply::Lease(lease)) if token.matches(&lease) => {
                self.observe(*lease, now);
                self.phase = Phase::Leader {
                    token: token.clone(),
                    renewed: renewed.max(start),
                };
                Next::At(self.next_renewal(start))
            }
            (_, Reply::Missing) => {
                self.observed = None;
                self.lose(LostReason::Deleted, now);
                Next::At(now + self.jittered())
            }
            // The version was not the newest, or the answer was lost: what the lease says decides.
            (Purpose::Renew { slow: false }, _) => {
                self.slow_renewals = self.slow_renewals.saturating_add(1);
                Next::Look
            }
            _ => Next::At(now.max(start + self.timing.retry_period)),
        }
    }

    fn release_reply(&mut self, purpose: Purpose, reply: Reply, token: &FencingToken, now: Instant) -> Next {
        match (purpose, reply) {
            (Purpose::Look, Reply::Lease(lease)) if token.matches(&lease) => {
                self.observe(*lease, now);
                Next::Write(Purpose::Release)
            }
            // Not ours to release, or released.
            (_, Reply::Lease(_) | Reply::Missing) => {
                self.phase = Phase::Stopped;
                Next::At(now)
            }
            (Purpose::Release, Reply::Conflict) => Next::Look,
            // Whether the release was carried out is unknown: a repeat with the same version does no harm.
            _ => Next::At(now + self.timing.retry_period / 4),
        }
    }

    fn observe(&mut self, lease: Lease, now: Instant) {
        let at = match &self.observed {
            Some(seen) if record::same_record(&seen.lease, &lease) => seen.at,
            _ => now,
        };
        self.observed = Some(Observed { lease, at });
    }

    fn follow_or_take(&mut self, now: Instant) -> Next {
        let Some(seen) = &self.observed else {
            return Next::Look;
        };
        let expires = seen.at + record::duration(&seen.lease).unwrap_or(self.timing.lease_duration);
        if record::holder(&seen.lease).is_empty() || self.is_ours(&seen.lease) || now >= expires {
            return Next::Write(Purpose::Take);
        }
        let look = now + self.jittered();
        // Be there soon after the lease has run out, spread over a part of the period.
        let takeover = expires + self.timing.retry_period.mul_f64(self.rng.f64() / 4.0);
        Next::At(look.min(takeover))
    }

    /// Whether this very process wrote itself into the lease. The identity alone does not tell: a process that was
    /// restarted under the same name cannot know that its former self is gone, so it waits like any other.
    fn is_ours(&self, lease: &Lease) -> bool {
        record::holder(lease) == self.identity && self.mark.is_some() && record::acquired(lease) == self.mark
    }

    fn lose(&mut self, reason: LostReason, expires: Instant) {
        self.phase = Phase::Lost { reason, expires };
    }

    /// Renewals come a little early at random, never late: many leaders started at once drift apart.
    fn next_renewal(&mut self, start: Instant) -> Instant {
        start + self.timing.retry_period.mul_f64(1.0 - self.rng.f64() / 10.0)
    }

    /// The period with up to 120 % on top, client-go's jitter for contenders.
    fn jittered(&mut self) -> Duration {
        self.timing.retry_period.mul_f64(1.0 + 1.2 * self.rng.f64())
    }
}
