//! Watching: every event in order, none twice, none skipped; and a dog that notices silence.

use std::time::Duration;

use informer_store::{Cause, Delta, Entry, Object, ObjectKey, ResourceVersion, Tombstone};
use tokio::time::Instant;

use super::{Effect, Flight, Machine, Next, Phase, Request, Watchdog, contents::is_usable, index::Verdict};
use crate::{
    Error, ErrorKind, Event, Got, Item, Poison, PoisonPolicy, Reason, RelistReason, Seen, SyncState,
};

/// A watch in progress.
#[derive(Debug)]
pub(super) struct WatchRun {
    pub(super) flight: Flight,
    timeout: Duration,
    opened: Option<Instant>,
    /// Complete events and bookmarks so far.
    frames: u64,
    /// How many events there had been when it began.
    pub(super) events_before: u64,
    last_frame: Option<Instant>,
    /// The version it began at.
    from: Option<ResourceVersion>,
    last_bookmark: Option<Instant>,
    settled: bool,
    /// How long the store blocked us since the last frame; the server may have spoken meanwhile.
    blocked: Duration,
    /// The same since the watch began.
    blocked_in_all: Duration,
}

impl WatchRun {
    pub(super) fn new(timeout: Duration) -> Self {
        Self {
            flight: Flight::default(),
            timeout,
            opened: None,
            frames: 0,
            events_before: 0,
            last_frame: None,
            from: None,
            last_bookmark: None,
            settled: false,
            blocked: Duration::ZERO,
            blocked_in_all: Duration::ZERO,
        }
    }

    pub(super) fn opened(&mut self, now: Instant) {
        self.opened = Some(now);
        self.flight.rest();
    }

    pub(super) fn frame(&mut self, now: Instant) {
        self.frames += 1;
        self.last_frame = Some(now);
        self.blocked = Duration::ZERO;
    }

    pub(super) fn blocked(&mut self, time: Duration) {
        self.flight.blocked(time);
        self.blocked += time;
        self.blocked_in_all += time;
    }

    /// When the silence has lasted too long.
    pub(super) fn silence_deadline(&self, watchdog: &Watchdog) -> Option<Instant> {
        let opened = self.opened?;
        Some(if watchdog.armed {
            self.last_frame.unwrap_or(opened) + watchdog.patience() + self.blocked
        } else {
            opened + self.timeout + GRACE + self.blocked_in_all
        })
    }

    /// When the watch has held long enough to count as working.
    pub(super) fn settles_at(&self) -> Option<Instant> {
        self.opened
            .filter(|_| !self.settled)
            .map(|opened| opened + SETTLED)
    }
}

impl<K: Object> Machine<K> {
    pub(super) fn draw_watch_timeout(&mut self) -> Duration {
        let base = self.config.watch_timeout.max(Duration::from_secs(1));
        let seconds = base.mul_f64(1.0 + self.rng.f64()).as_secs().max(1);
        Duration::from_secs(seconds)
    }

    pub(super) fn send_watch(&mut self) {
        let timeout = self.draw_watch_timeout();
        let mut request = crate::WatchRequest::new(self.version.clone(), timeout);
        request.fresh = std::mem::take(&mut self.plan.fresh);
        self.stats.watches += 1;
        let mut run = WatchRun::new(timeout);
        run.from = Some(self.version.clone());
        run.events_before = self.stats.events;
        self.phase = Phase::Watching(run);
        self.effects.push_back(Effect::Send(Request::Watch(request)));
    }

    pub(super) fn on_event(&mut self, now: Instant, event: Event<K>) {
        if let Event::Progress { bytes, partial } = event {
            if matches!(self.phase, Phase::Watching(_)) {
                self.stats.bytes += bytes;
                let (timeout, floor) = (self.config.body_timeout, self.config.body_floor);
                if let Some(flight) = self.flight() {
                    if partial {
                        flight.progress(now, bytes, timeout, floor);
                    } else {
                        flight.rest();
                    }
                }
            } else if matches!(&self.phase, Phase::Contents(run) if run.idle) {
                self.stats.bytes += bytes;
            } else {
                self.progress(now, bytes);
            }
            return;
        }
        match &mut self.phase {
            Phase::Contents(run) if run.streaming => self.on_initial_event(now, event),
            Phase::Watching(_) => {
                let doubts = self.doubts();
                self.on_live_event(now, event);
                if self.doubts() == doubts {
                    self.heard(now);
                }
            }
            _ => {}
        }
    }

    /// How much has arrived that proves nothing: repetitions, versions gone back, lines nobody can read.
    fn doubts(&self) -> u64 {
        let stats = &self.stats;
        stats.duplicates + stats.old_bookmarks + stats.bad_versions + stats.unreadable
    }

    /// The server has said something new.
    fn heard(&mut self, now: Instant) {
        if let Phase::Watching(run) = &mut self.phase {
            run.frame(now);
            self.proved = Some(now);
            self.refused_watches = 0;
            self.watchdog.trips = 0;
            self.backoff.healthy(now);
            self.recovered(now, false);
        }
    }

    /// The watch works: what was degraded is not any more.
    fn recovered(&mut self, now: Instant, held: bool) {
        let Phase::Watching(run) = &mut self.phase else {
            return;
        };
        let lived = run
            .opened
            .map_or(Duration::ZERO, |opened| now.saturating_duration_since(opened));
        if lived >= SETTLED || held {
            run.settled = true;
            self.plan.relisted = false;
        }
        let works = lived >= SETTLED || run.frames > 0;
        if works && self.is_degraded() && self.bad_line.is_none() {
            self.set_state(SyncState::Synced {
                version: self.version.clone(),
            });
        }
    }

    /// Counts the watch that ends, if one does.
    pub(super) fn count_watch(&mut self, now: Instant) {
        if let Phase::Watching(WatchRun {
            opened: Some(opened),
            events_before,
            ..
        }) = &self.phase
        {
            self.stats.watches_ended += 1;
            self.stats.watch_time += now.saturating_duration_since(*opened);
            self.stats.watched_events += self.stats.events - events_before;
        }
    }

    fn on_live_event(&mut self, now: Instant, event: Event<K>) {
        if !matches!(event, Event::Bookmark { .. } | Event::Progress { .. }) {
            self.stats.last_event = Some(now);
        }
        match event {
            Event::Added(item) | Event::Modified(item) => {
                self.stats.events += 1;
                self.upsert(now, item);
            }
            Event::Deleted(item) => {
                self.stats.events += 1;
                let seen = Seen {
                    key: item.key,
                    uid: item.uid,
                    version: item.version,
                };
                self.delete(now, seen, Some(item.object));
            }
            Event::Gone(seen) => {
                self.stats.events += 1;
                self.delete(now, seen, None);
            }
            Event::Poison(poison) => {
                self.stats.events += 1;
                self.poisoned(now, poison);
            }
            Event::OtherShard(version) => {
                self.stats.events += 1;
                self.stats.other_shard += 1;
                self.advance(&version);
            }
            Event::Bookmark { version, .. } => {
                self.stats.bookmarks += 1;
                self.bookmarked(now, version);
            }
            Event::Unreadable(poison) => self.unreadable(now, poison),
            Event::Progress { .. } => {}
        }
    }

    /// An event must carry a version that can be compared with what was seen.
    fn has_usable_version(&mut self, version: &ResourceVersion) -> bool {
        let usable = is_usable(version) && (version.is_ordered() || !self.version.is_ordered());
        self.stats.bad_versions += u64::from(!usable);
        usable
    }

    fn advance(&mut self, version: &ResourceVersion) {
        if self
            .version
            .partial_cmp(version)
            .is_none_or(|order| order.is_lt())
            && is_usable(version)
        {
            self.version = version.clone();
            self.bad_line = None;
        }
    }

    /// Something the server had declared past arrives: more may be missing.
    fn breaks_bookmark(&self, version: &ResourceVersion) -> bool {
        !self.bookmark.is_unset() && version <= &self.bookmark
    }

    fn upsert(&mut self, now: Instant, item: Item<K>) {
        if !self.has_usable_version(&item.version) {
            let error = Error::new(
                ErrorKind::Protocol,
                "watch",
                "the event has no usable resource version",
            );
            return self.poisoned_in_place(now, Poison::new(Some(item.key), ResourceVersion::UNSET, error));
        }
        let Item {
            key,
            object,
            uid,
            version,
        } = item;
        let verdict = self.index.judge(&key, uid, &version, &self.floor);
        if verdict == Verdict::Duplicate {
            self.stats.duplicates += 1;
            return;
        }
        if verdict == Verdict::New && self.config.max_objects.is_some_and(|max| self.index.len() >= max) {
            return self.overflow(now);
        }
        self.release(&key);
        let entry = Entry::with_key(key.clone(), object);
        let delta = match verdict {
            Verdict::Changed => Delta::Updated(entry),
            Verdict::Replaced => {
                self.deliver_removal(&key, Cause::Live);
                Delta::Added(entry)
            }
            Verdict::New | Verdict::Duplicate => Delta::Added(entry),
        };
        self.index.insert(key, uid, version.clone());
        self.effects.push_back(Effect::Deliver(delta));
        let broken = self.breaks_bookmark(&version);
        self.advance(&version);
        if broken {
            self.relist(now, RelistReason::Diverged);
        }
    }

    /// One object too many: it is not taken, nor is anything after it. What comes next is a list, for later events
    /// may have made room.
    fn overflow(&mut self, now: Instant) {
        self.stats.count_relist(RelistReason::Overloaded);
        self.plan.reason = Some(RelistReason::Overloaded);
        self.plan.relisted = true;
        self.overloaded(now);
    }

    fn delete(&mut self, now: Instant, seen: Seen, object: Option<std::sync::Arc<K>>) {
        let Seen { key, uid, version } = seen;
        let usable = self.has_usable_version(&version);
        let Some(slot) = self.index.get(&key) else {
            if self.quarantine.get(&key).is_none() {
                self.stats.unknown_deletes += 1;
            }
            self.release(&key);
            if usable {
                self.index.bury(key, version.clone());
                self.advance(&version);
            }
            return;
        };
        if usable && version < slot.version {
            self.stats.duplicates += 1;
            return;
        }
        // A server that sends the last state's version with a deletion means the object we hold.
        let repeats = version == slot.version;
        let other = uid != slot.uid && uid != 0 && slot.uid != 0;
        let mut tombstone = Tombstone::of(key.clone());
        tombstone.version = version.clone();
        tombstone.inferred = other || object.is_none();
        if !other {
            tombstone.uid = object.as_ref().and_then(|object| object.uid()).map(Into::into);
            tombstone.object = object;
        }
        self.index.remove(&key);
        self.release(&key);
        self.effects.push_back(Effect::Deliver(Delta::Deleted(tombstone)));
        let broken = usable && !repeats && self.breaks_bookmark(&version);
        if usable {
            self.index.bury(key, version.clone());
            self.advance(&version);
        }
        if broken {
            self.relist(now, RelistReason::Diverged);
        }
    }

    /// An object whose name and version are known but not its contents: it waits apart, the rest flows.
    fn poisoned(&mut self, now: Instant, poison: Poison) {
        let Some(key) = poison.key.clone() else {
            return self.unreadable(now, poison);
        };
        if !self.has_usable_version(&poison.version) {
            return self.poisoned_in_place(now, poison);
        }
        let version = poison.version.clone();
        let verdict = self.index.judge(&key, 0, &version, &self.floor);
        if verdict == Verdict::Duplicate {
            self.stats.duplicates += 1;
            return;
        }
        let apart = self.index.len() + self.quarantine.len();
        if verdict == Verdict::New
            && self.quarantine.get(&key).is_none()
            && self.config.max_objects.is_some_and(|max| apart >= max)
        {
            return self.overflow(now);
        }
        self.poisoned_in_place(now, poison);
        self.advance(&version);
    }

    fn poisoned_in_place(&mut self, now: Instant, poison: Poison) {
        if let Some(key) = &poison.key
            && self.config.poison == PoisonPolicy::Remove
        {
            self.deliver_removal(key, Cause::Live);
        }
        let retry = self.config.quarantine_retry;
        self.put_in_quarantine(now, poison, retry);
    }

    fn bookmarked(&mut self, now: Instant, version: ResourceVersion) {
        if !self.has_usable_version(&version) {
            return;
        }
        let longest = self.config.watch_timeout * 2;
        if let Phase::Watching(run) = &mut self.phase {
            if let Some(last) = run.last_bookmark.replace(now) {
                let gap = now.saturating_duration_since(last);
                self.watchdog.cadence = self.watchdog.cadence.max(gap.min(longest));
            }
            self.watchdog.armed = true;
        }
        if version < self.version {
            // Nobody but a server whose history was rewound has reason to say so.
            self.stats.old_bookmarks += 1;
            self.effects.push_back(Effect::Abort);
            return self.fail_for(now, Reason::Diverged, None, Next::Probe);
        }
        self.bookmark = version.clone();
        if self.version != version {
            self.version = version.clone();
            self.bad_line = None;
            self.effects.push_back(Effect::Deliver(Delta::Bookmark(version)));
        }
    }

    /// A line that cannot be read: nothing behind it counts. First ask again from the last good version, then list
    /// anew. Where that cannot help, for the object is too large or was the one that made us list, it is set apart.
    fn unreadable(&mut self, now: Instant, poison: Poison) {
        self.stats.unreadable += 1;
        let times = match &mut self.bad_line {
            Some((version, times)) if *version == self.version => {
                *times += 1;
                *times
            }
            _ => {
                self.bad_line = Some((self.version.clone(), 1));
                1
            }
        };
        self.effects.push_back(Effect::Abort);
        if times < 2 {
            return self.fail_for(now, Reason::Unreadable, None, Next::Watch);
        }
        self.bad_line = None;
        let news = poison
            .key
            .as_ref()
            .is_some_and(|key| self.index.judge(key, 0, &poison.version, &self.floor) != Verdict::Duplicate);
        let hopeless = poison.error.kind() == ErrorKind::Oversize || self.bad_key == poison.key;
        if hopeless && news && is_usable(&poison.version) && poison.version > self.version {
            let version = poison.version.clone();
            self.poisoned_in_place(now, poison);
            self.advance(&version);
            self.fail_for(now, Reason::Unreadable, None, Next::Watch);
        } else {
            self.bad_key = poison.key;
            self.plan.relisted = true;
            self.relist(now, RelistReason::Unreadable);
        }
    }

    pub(super) fn watch_closed(&mut self, now: Instant) {
        let Phase::Watching(run) = &self.phase else {
            return;
        };
        let lived = run
            .opened
            .map_or(Duration::ZERO, |opened| now.saturating_duration_since(opened));
        self.backoff.healthy(now);
        if lived < SHORT || (run.frames == 0 && lived < EMPTY) {
            self.stats.short_watches += 1;
            self.fail_for(now, Reason::ShortWatch, None, Next::Watch);
        } else if (run.frames == 0 || run.from.as_ref() == Some(&self.version)) && lived >= run.timeout / 2 {
            // Nothing new in the whole watch: the version may be ahead of what this server knows.
            self.go_on(now, Next::Probe);
        } else {
            self.go_on(now, Next::Watch);
        }
    }

    pub(super) fn watch_failed(&mut self, now: Instant, error: Error) {
        let Phase::Watching(run) = &self.phase else {
            return;
        };
        match error.kind() {
            ErrorKind::Expired => self.relist(now, RelistReason::Expired),
            ErrorKind::TooLarge => {
                self.plan.latest = true;
                self.relist(now, RelistReason::TooLarge);
            }
            kind if self.is_refusal(kind) => {
                self.refused_watches += 1;
                if self.refused_watches < REFUSALS_MAX {
                    self.fail(now, &error, Next::Watch);
                } else {
                    self.refused_watches = 0;
                    self.relist(now, RelistReason::Refused);
                }
            }
            ErrorKind::Transport
                if run.frames > 0 && run.opened.is_some_and(|opened| now - opened >= EMPTY) =>
            {
                // A connection that served well broke: the next one is worth a quick try.
                self.stats.retries += 1;
                self.soon(now, Next::Watch);
            }
            _ => self.fail(now, &error, Next::Watch),
        }
    }

    /// Whether an error of this kind may be the server's word on the version a watch began at. On one that is no
    /// number a real server answers with an internal error.
    fn is_refusal(&self, kind: ErrorKind) -> bool {
        kind == ErrorKind::Invalid || (kind == ErrorKind::Server && !self.version.is_ordered())
    }

    pub(super) fn tick_watch(&mut self, now: Instant) {
        let Phase::Watching(run) = &self.phase else {
            return;
        };
        if run.flight.is_late(now) {
            let message = if run.opened.is_some() {
                "an event arrives too slowly"
            } else {
                "no answer in time"
            };
            self.stats.timeouts += 1;
            self.effects.push_back(Effect::Abort);
            self.plan.fresh = true;
            return self.watch_failed(now, Error::new(ErrorKind::Timeout, "watch", message));
        }
        if run.silence_deadline(&self.watchdog).is_some_and(|at| at <= now) {
            return self.silent(now);
        }
        if run.settles_at().is_some_and(|at| at <= now) {
            self.recovered(now, true);
        }
        if self.audit_at.is_some_and(|at| at <= now) {
            return self.begin_audit(now);
        }
        if self.quarantine.retry_at().is_some_and(|at| at <= now) {
            let keys = self.quarantine.due(now, self.config.quarantine_retry);
            if !keys.is_empty() {
                self.go_on(now, Next::Read(keys));
            }
        }
    }

    /// Nothing was heard for longer than this server ever pauses: drops the watch and asks on a new connection.
    fn silent(&mut self, now: Instant) {
        self.stats.watchdog_trips += 1;
        self.watchdog.trips += 1;
        tracing::debug!(rv = %self.version, "the watch is silent; probing");
        self.set_state(SyncState::Degraded {
            reason: Reason::Silent,
            since: self.proved.unwrap_or(now),
            attempts: self.watchdog.trips,
        });
        self.go_on(now, Next::Probe);
    }

    /// A silent server told its version.
    pub(super) fn probed(&mut self, now: Instant, version: ResourceVersion) {
        self.plan.fresh = true;
        if !self.can_follow(&version) {
            self.stats.bad_versions += 1;
            let error = Error::new(
                ErrorKind::Protocol,
                "list",
                "the list has no usable resource version",
            );
            return self.fail(now, &error, Next::Watch);
        }
        if version < self.version {
            self.plan.older += 1;
            self.plan.latest = true;
            self.plan.plain = true;
            return self.relist(now, RelistReason::Rewound);
        }
        self.plan.older = 0;
        if version == self.version {
            // Nothing has happened, so there was nothing to say.
            self.proved = Some(now);
            if std::mem::take(&mut self.watchdog.trips) > 0 {
                self.watchdog.widen(self.config.watch_timeout * 2);
            }
            self.set_state(SyncState::Synced { version });
        } else if self.watchdog.trips >= 2 {
            self.watchdog.trips = 0;
            self.plan.latest = true;
            return self.relist(now, RelistReason::Silent);
        }
        self.go_on(now, Next::Watch);
    }

    /// A quarantined object has been read again.
    pub(super) fn on_got(&mut self, now: Instant, got: Option<Got<K>>) {
        let Phase::Reading { key, rest, .. } = &self.phase else {
            return;
        };
        let (key, rest) = (key.clone(), rest.clone());
        match got {
            Some(Got::Object(item)) if item.key == key => self.reread(item),
            Some(Got::Poison(poison)) => {
                let known = self.quarantine.get(&key).map(|known| known.version.clone());
                if known.as_ref() == Some(&poison.version) {
                    let retry = self.config.quarantine_retry;
                    self.put_in_quarantine(now, Poison::new(Some(key), poison.version, poison.error), retry);
                }
            }
            // Gone: the watch says so when it comes to it.
            _ => {}
        }
        self.next_read(now, rest);
    }

    /// Delivers an object read on its own, unless the watch has yet to tell of this version.
    fn reread(&mut self, item: Item<K>) {
        let Item {
            key,
            object,
            uid,
            version,
        } = item;
        let ahead = version
            .partial_cmp(&self.version)
            .is_none_or(|order| order.is_gt());
        let old = self.index.get(&key);
        let known = self.quarantine.get(&key).map(|known| known.version.clone());
        let behind = known.is_some_and(|known| version < known)
            || old.is_some_and(|slot| {
                version
                    .partial_cmp(&slot.version)
                    .is_some_and(|order| order.is_le())
            });
        let full = old.is_none() && self.config.max_objects.is_some_and(|max| self.index.len() >= max);
        if ahead || behind || full {
            return;
        }
        let replaced = old.is_some_and(|slot| slot.uid != uid && slot.uid != 0 && uid != 0);
        if replaced {
            self.deliver_removal(&key, Cause::Live);
        }
        let entry = Entry::with_key(key.clone(), object);
        let delta = if self.index.insert(key.clone(), uid, version).is_some() {
            Delta::Updated(entry)
        } else {
            Delta::Added(entry)
        };
        self.effects.push_back(Effect::Deliver(delta));
        self.release(&key);
    }

    pub(super) fn read_failed(&mut self, now: Instant, error: Error) {
        let Phase::Reading { rest, .. } = &self.phase else {
            return;
        };
        let rest = rest.clone();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::Unsupported | ErrorKind::Forbidden | ErrorKind::Decode => {
                self.next_read(now, rest);
            }
            _ => self.fail(now, &error, Next::Watch),
        }
    }

    fn next_read(&mut self, now: Instant, rest: Vec<ObjectKey>) {
        let next = if rest.is_empty() {
            Next::Watch
        } else {
            Next::Read(rest)
        };
        self.go_on(now, next);
    }
}

/// How much later than asked a server may end a watch.
const GRACE: Duration = Duration::from_secs(5);
/// A watch that ends sooner than this did no good.
const SHORT: Duration = Duration::from_secs(1);
/// A watch that ends sooner than this without an event did no good.
const EMPTY: Duration = Duration::from_secs(20);
/// A watch open for this long works.
const SETTLED: Duration = Duration::from_secs(5);
/// Watches called invalid, in a row, after which the contents are listed anew: the version must be to blame.
const REFUSALS_MAX: u32 = 2;
