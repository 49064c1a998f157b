//! What follows a failure, and when: waits within the budget, and what is sent after them.

use std::time::Duration;

use informer_store::{Object, ObjectKey};
use tokio::time::Instant;

use super::{ContentsRun, Effect, Flight, Machine, PAGES_RESERVED, Phase, Request};
use crate::{Error, ErrorKind, GetRequest, ListRequest, Purpose, ReadAt, Reason, RelistReason, SyncState};

/// What is sent after a wait.
#[derive(Debug)]
pub(super) enum Next<K> {
    /// The contents, by whichever means the plan says.
    Contents,
    /// A page of the list being read, once more.
    Page(Box<ContentsRun<K>>),
    Watch,
    Probe,
    Read(Vec<ObjectKey>),
    Audit {
        exact: bool,
    },
}

impl<K: Object> Machine<K> {
    /// Waits as the failures demand and then does `next`.
    pub(super) fn fail(&mut self, now: Instant, error: &Error, next: Next<K>) {
        if error.kind() == ErrorKind::Unauthorized && !self.credentials_retried {
            self.credentials_retried = true;
            self.plan.fresh = true;
            self.stats.retries += 1;
            let at = self.backoff.within_budget(now);
            self.wait(now, at, next);
            return;
        }
        tracing::debug!(kind = %error.kind(), error = %error, "request failed");
        let reason = Reason::Failed(error.kind());
        let told = self.state.reason() == Some(reason);
        let lasting = matches!(error.kind(), ErrorKind::Forbidden | ErrorKind::NotFound);
        if !told && (lasting || matches!(error.kind(), ErrorKind::Unauthorized | ErrorKind::WrongKind)) {
            tracing::warn!(kind = %error.kind(), error = %error, "the server refuses; retrying slowly");
        }
        if lasting {
            let at = self.backoff.refused(now, error.retry_after(), &mut self.rng);
            self.degrade(now, reason, at, next);
            return self.blame_server(now, error.retry_after().map(|_| at));
        }
        self.fail_for(now, reason, error.retry_after(), next);
    }

    pub(super) fn fail_for(&mut self, now: Instant, reason: Reason, asked: Option<Duration>, next: Next<K>) {
        let at = self.backoff.failed(now, asked, &mut self.rng);
        self.degrade(now, reason, at, next);
        if matches!(reason, Reason::Failed(_) | Reason::ShortWatch) {
            self.blame_server(now, asked.map(|_| at));
        }
    }

    /// What is waited for now may be an outage: others of the gate fare the same, or find out that it is over. `not_before`
    /// is what the server has asked for.
    fn blame_server(&mut self, now: Instant, not_before: Option<Instant>) {
        self.place.failed(now, not_before);
        if let Phase::Waiting { outage, .. } = &mut self.phase {
            *outage = not_before.is_none();
        }
    }

    /// There are more objects than may be held: what is held stays, and a list is tried again after a long wait.
    pub(super) fn overloaded(&mut self, now: Instant) {
        if self.state.reason() != Some(Reason::Overloaded) {
            let max = self.config.max_objects;
            tracing::warn!(max, "there are more objects than may be held; retrying slowly");
        }
        let at = self.backoff.refused(now, None, &mut self.rng);
        self.degrade(now, Reason::Overloaded, at, Next::Contents);
    }

    fn degrade(&mut self, now: Instant, reason: Reason, at: Instant, next: Next<K>) {
        self.stats.retries += 1;
        self.set_state(SyncState::Degraded {
            reason,
            since: self.backoff.since().unwrap_or(now),
            attempts: self.backoff.failures(),
        });
        self.wait(now, at, next);
    }

    pub(super) fn wait(&mut self, now: Instant, at: Instant, next: Next<K>) {
        if !matches!(self.phase, Phase::Waiting { .. }) {
            self.effects.push_back(Effect::Abort);
        }
        self.count_watch(now);
        self.place.rests(now);
        let at = match next {
            // More pages and a watch follow at once.
            Next::Contents => self
                .backoff
                .with_room_for(self.plan.pages.min(PAGES_RESERVED) + 1, at),
            _ => at,
        };
        self.phase = Phase::Waiting {
            at,
            next,
            outage: false,
        };
    }

    /// Waits until the budget allows `next`, and no longer.
    pub(super) fn go_on(&mut self, now: Instant, next: Next<K>) {
        self.wait(now, self.backoff.within_budget(now), next);
        self.send_if_due(now);
    }

    pub(super) fn send_if_due(&mut self, now: Instant) {
        let Phase::Waiting { at, outage, .. } = &mut self.phase else {
            return;
        };
        if *at > now {
            return;
        }
        if let Err(until) = self.place.ask(now, &mut self.rng) {
            (*at, *outage) = (until, true);
            return;
        }
        if let Phase::Waiting { next, .. } = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.send_next(now, next);
        }
    }

    /// The server has gone while what was to be sent waited for a permit: it is not sent, and waits for the others of the
    /// gate. It has its place in this machine's own budget nonetheless.
    pub(super) fn put_off(&mut self, now: Instant, until: Instant) {
        let next = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Contents(run) if run.request.continue_token.is_some() => Next::Page(run),
            Phase::Contents(run) => {
                self.plan.fresh |= run.request.fresh;
                Next::Contents
            }
            _ => Next::Watch,
        };
        self.wait(now, until, next);
        if let Phase::Waiting { outage, .. } = &mut self.phase {
            *outage = true;
        }
    }

    /// The server serves another machine. What waited for that is done soon.
    pub(super) fn on_recovered(&mut self, now: Instant) {
        if !self.place.may_go() {
            return;
        }
        if let Phase::Waiting { at, outage: true, .. } = &mut self.phase {
            let soon = now + SOON.mul_f64(self.rng.f64());
            *at = (*at).min(self.backoff.within_budget(soon));
        }
    }

    /// Does `next` as soon as the budget allows, slightly jittered so that many reflectors do not do it at once.
    pub(super) fn soon(&mut self, now: Instant, next: Next<K>) {
        let at = self.backoff.within_budget(now + SOON.mul_f64(self.rng.f64()));
        self.wait(now, at, next);
    }

    /// Reads the contents anew: at once the first time, with growing waits when it does not help.
    pub(super) fn relist(&mut self, now: Instant, reason: RelistReason) {
        self.count_relist(reason);
        tracing::debug!(reason = %reason, rv = %self.version, "listing anew");
        if std::mem::replace(&mut self.plan.relisted, true) {
            let reason = match reason {
                RelistReason::Expired => Reason::Failed(ErrorKind::Expired),
                RelistReason::TooLarge => Reason::Failed(ErrorKind::TooLarge),
                RelistReason::Refused => Reason::Failed(ErrorKind::Invalid),
                RelistReason::Unreadable => Reason::Unreadable,
                RelistReason::Silent => Reason::Silent,
                RelistReason::Rewound | RelistReason::Diverged | RelistReason::Audit => Reason::Diverged,
                RelistReason::Overloaded => Reason::Overloaded,
            };
            self.fail_for(now, reason, None, Next::Contents);
        } else {
            self.soon(now, Next::Contents);
        }
    }

    pub(super) fn count_relist(&mut self, reason: RelistReason) {
        self.stats.count_relist(reason);
        self.plan.reason = Some(reason);
    }

    pub(super) fn send_next(&mut self, now: Instant, next: Next<K>) {
        self.backoff.sent(now);
        match next {
            Next::Contents => self.send_contents(now),
            Next::Page(run) => self.send_page(run),
            Next::Watch => self.send_watch(),
            Next::Probe => {
                self.stats.probes += 1;
                self.stats.pages += 1;
                let mut request = ListRequest::new(ReadAt::Latest);
                request.limit = Some(1);
                request.purpose = Purpose::Probe;
                request.fresh = true;
                self.phase = Phase::Probing {
                    flight: Flight::default(),
                    version: None,
                };
                self.effects.push_back(Effect::Send(Request::List(request)));
            }
            Next::Read(mut keys) => match keys.pop() {
                Some(key) => {
                    self.stats.gets += 1;
                    self.phase = Phase::Reading {
                        flight: Flight::default(),
                        key: key.clone(),
                        rest: keys,
                    };
                    self.effects
                        .push_back(Effect::Send(Request::Get(GetRequest::new(key))));
                }
                None => self.send_watch(),
            },
            Next::Audit { exact } => self.send_audit(exact),
        }
    }
}

/// How much a reaction that need not wait is jittered.
const SOON: Duration = Duration::from_millis(500);
