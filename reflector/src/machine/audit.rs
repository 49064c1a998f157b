//! The audit: a list of names, uids and versions, compared with what is held.

use foldhash::fast::FixedState;
use hashbrown::HashSet;
use informer_store::{Object, ObjectKey, ResourceVersion};
use tokio::time::Instant;

use super::{Effect, Flight, Machine, Next, Phase, Request};
use crate::{Error, ErrorKind, ListEnd, ListRequest, Listed, Purpose, ReadAt, RelistReason};

/// An audit in progress. The watch rests meanwhile, so that what is held stands still.
#[derive(Debug)]
pub(super) struct AuditRun {
    pub(super) flight: Flight,
    exact: bool,
    matched: HashSet<ObjectKey, FixedState>,
    /// Objects that differ, and how many of those are no newer on the server than what is held.
    different: u64,
    overdue: u64,
}

impl<K: Object> Machine<K> {
    pub(super) fn begin_audit(&mut self, now: Instant) {
        let Some(period) = self.config.audit else {
            return;
        };
        self.audit_at = Some(now + self.jittered(period));
        self.stats.audits += 1;
        self.go_on(now, Next::Audit { exact: true });
    }

    pub(super) fn send_audit(&mut self, exact: bool) {
        let exact = exact && self.version.is_ordered();
        let mut request = ListRequest::new(if exact {
            ReadAt::Exact(self.version.clone())
        } else {
            ReadAt::Latest
        });
        request.purpose = Purpose::Audit;
        self.stats.pages += 1;
        self.phase = Phase::Auditing(Box::new(AuditRun {
            flight: Flight::default(),
            exact,
            matched: HashSet::default(),
            different: 0,
            overdue: 0,
        }));
        self.effects.push_back(Effect::Send(Request::List(request)));
    }

    pub(super) fn audit_listed(&mut self, now: Instant, part: Listed<K>) {
        match part {
            Listed::Seen(seen) => self.audit_object(seen.key, seen.uid, seen.version),
            Listed::Object(item) | Listed::Held(item) => self.audit_object(item.key, item.uid, item.version),
            Listed::End(end) => self.audit_ended(now, end),
            _ => {}
        }
    }

    fn audit_object(&mut self, key: ObjectKey, uid: u64, version: ResourceVersion) {
        let Phase::Auditing(run) = &mut self.phase else {
            return;
        };
        let same = self
            .index
            .get(&key)
            .is_some_and(|slot| slot.uid == uid && slot.version == version);
        let set_apart = self.quarantine.get(&key).is_some();
        if self.index.get(&key).is_some() {
            run.matched.insert(key);
        }
        if !same && !set_apart {
            run.different += 1;
            run.overdue += u64::from(version <= self.version);
        }
    }

    fn audit_ended(&mut self, now: Instant, end: ListEnd) {
        let Phase::Auditing(run) = &self.phase else {
            return;
        };
        self.credentials_retried = false;
        if end.version < self.version && end.version.is_ordered() {
            self.stats.stale_answers += 1;
            // A replica that lags, or a history that went back: a new connection tells.
            let error = Error::new(ErrorKind::Stale, "list", "the audit's list is too old");
            return self.fail(now, &error, Next::Probe);
        }
        // What happened after the version held is news that the watch has yet to bring, no difference.
        let certain = run.exact && end.version == self.version;
        let differing = if certain { run.different } else { run.overdue };
        let missing = if end.version == self.version {
            self.index.len() - run.matched.len()
        } else {
            0
        };
        let differences = differing + missing as u64;
        if differences > 0 {
            self.stats.audit_differences += differences;
            tracing::warn!(differences, rv = %self.version, "the audit found differences; repairing");
            self.plan.latest = true;
            self.relist(now, RelistReason::Audit);
        } else {
            self.go_on(now, Next::Watch);
        }
    }

    pub(super) fn audit_failed(&mut self, now: Instant, error: Error) {
        let exact = matches!(&self.phase, Phase::Auditing(run) if run.exact);
        let refused = matches!(
            error.kind(),
            ErrorKind::Expired | ErrorKind::TooLarge | ErrorKind::Invalid | ErrorKind::Unsupported
        );
        if exact && refused {
            self.soon(now, Next::Audit { exact: false });
        } else if refused || error.kind() == ErrorKind::Forbidden {
            self.go_on(now, Next::Watch);
        } else {
            self.fail(now, &error, Next::Watch);
        }
    }
}
