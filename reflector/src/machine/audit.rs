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
    request: ListRequest,
    exact: bool,
    /// The version of the first page, and whether all pages are of that version.
    version: Option<ResourceVersion>,
    whole: bool,
    pages: u32,
    /// Pages in a row that had nothing of what is held.
    strange_pages: u32,
    /// Objects that were matched before the present page.
    matched_before: usize,
    matched: HashSet<ObjectKey, FixedState>,
    /// Objects that differ, and how many of those are no newer on the server than what is held.
    different: u64,
    overdue: u64,
}

impl<K: Object> Machine<K> {
    /// Says when the next audit is due; counted from the end of the last, for one may take longer than its period.
    pub(super) fn plan_audit(&mut self, now: Instant) {
        let period = self.config.audit.filter(|period| !period.is_zero());
        self.audit_at = period.map(|period| now + self.jittered(period));
    }

    pub(super) fn begin_audit(&mut self, now: Instant) {
        self.plan_audit(now);
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
        self.phase = Phase::Auditing(Box::new(AuditRun {
            flight: Flight::default(),
            request: request.clone(),
            exact,
            version: None,
            whole: true,
            pages: 0,
            strange_pages: 0,
            matched_before: 0,
            matched: HashSet::default(),
            different: 0,
            overdue: 0,
        }));
        self.effects.push_back(Effect::Send(Request::List(request)));
    }

    pub(super) fn audit_listed(&mut self, now: Instant, part: Listed<K>) {
        match part {
            Listed::Seen(seen) => self.audit_object(now, seen.key, seen.uid, seen.version),
            Listed::Object(item) | Listed::Held(item) => {
                self.audit_object(now, item.key, item.uid, item.version);
            }
            Listed::End(end) => self.audit_ended(now, end),
            _ => {}
        }
    }

    fn audit_object(&mut self, now: Instant, key: ObjectKey, uid: u64, version: ResourceVersion) {
        let Phase::Auditing(run) = &mut self.phase else {
            return;
        };
        let same = self
            .index
            .get(&key)
            .is_some_and(|slot| slot.uid == uid && slot.version == version);
        let set_apart = self.quarantine.get(&key).is_some();
        if self.index.get(&key).is_some() && run.matched.insert(key) {
            // Nothing else is progress: a list may repeat itself for ever.
            run.flight.part(now);
        }
        if !same && !set_apart {
            run.different += 1;
            run.overdue += u64::from(version <= self.version);
        }
    }

    /// A server may send pages that nobody asked for.
    fn audit_ended(&mut self, now: Instant, mut end: ListEnd) {
        if !matches!(self.phase, Phase::Auditing(_)) {
            return;
        }
        self.served(now);
        let Phase::Auditing(run) = &mut self.phase else {
            return;
        };
        run.pages += 1;
        run.strange_pages += 1;
        if run.matched.len() > run.matched_before {
            run.strange_pages = 0;
            run.matched_before = run.matched.len();
        }
        let first = run.version.get_or_insert_with(|| end.version.clone());
        run.whole &= *first == end.version;
        if let Some(token) = end.continue_token.take().filter(|token| !token.is_empty()) {
            let repeated = run.request.continue_token.as_ref() == Some(&token);
            let failing = self.backoff.failures() > 0 && self.backoff.with_room_for(2, now) > now;
            let endless = run.strange_pages >= STRANGE_PAGES_MAX || run.pages >= self.config.pages_max;
            if repeated || failing || endless {
                return self.go_on(now, Next::Watch);
            }
            run.request.continue_token = Some(token);
            run.flight = Flight::default();
            self.backoff.followed(now);
            self.place.goes_on(now);
            let request = Request::List(run.request.clone());
            self.effects.push_back(Effect::Send(request));
            return;
        }
        if end.version < self.version && end.version.is_ordered() {
            self.stats.stale_answers += 1;
            // A replica that lags, or a history that went back: a new connection tells.
            let error = Error::new(ErrorKind::Stale, "list", "the audit's list is too old");
            return self.fail(now, &error, Next::Probe);
        }
        // What happened after the version held is news that the watch has yet to bring, no difference.
        let run = &*run;
        let present = run.whole && end.version == self.version;
        let differing = if run.exact && present {
            run.different
        } else {
            run.overdue
        };
        let missing = if present {
            self.index.len() - run.matched.len()
        } else {
            0
        };
        let differences = differing + missing as u64;
        self.plan_audit(now);
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
        self.plan_audit(now);
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

/// Pages in a row that have nothing of what is held, after which no more are asked for.
const STRANGE_PAGES_MAX: u32 = 4;
