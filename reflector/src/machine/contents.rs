//! Reading the whole contents: as a list, in pages or not, or as the initial events of a watch.

mod failure;
mod run;

use std::time::Duration;

use informer_store::{Cause, Delta, Object, ObjectKey, Replacement, ResourceVersion, Tombstone};
use tokio::time::Instant;

pub(super) use self::run::ContentsRun;
use self::run::Page;
use super::{
    Effect, Flight, Index, Machine, Next, PAGES_RESERVED, Phase, Request, WatchRun,
    index::{KeyMap, Slot},
};
use crate::{
    Error, ErrorKind, Event, ListEnd, ListRequest, Listed, Poison, ReadAt, RelistReason, StreamingLists,
    SyncState, WatchRequest,
};

impl<K: Object> Machine<K> {
    /// Whether the contents are asked for as a stream.
    fn streams(&self, now: Instant) -> bool {
        let refused =
            || self.streaming_blocked.is_some_and(|until| now < until) || self.commons.refuses_streaming(now);
        let always = self.config.streaming_lists == StreamingLists::Always;
        self.streaming && !self.plan.plain && (always || !refused())
    }

    pub(super) fn send_contents(&mut self, now: Instant) {
        let streaming = self.streams(now);
        let at = self.read_at();
        let mut request = ListRequest::new(at.clone());
        request.fresh = std::mem::take(&mut self.plan.fresh);
        request.anew = self.plan.older > 0 || self.plan.doubted;
        // A list of the latest comes from the database, in pages; one from the server's memory is whole.
        let paged = at == ReadAt::Latest || self.plan.paged;
        request.limit = self.config.page_size.filter(|_| paged && !self.plan.unpaged);
        let mut run = ContentsRun {
            flight: Flight::default(),
            streaming,
            request,
            watch_timeout: self.draw_watch_timeout(),
            entries: Vec::new(),
            index: Index::default(),
            poison: Vec::new(),
            nameless: 0,
            poison_at: KeyMap::default(),
            untidy: false,
            version: None,
            pages: 0,
            page: Page::default(),
            begun: now,
            empty_pages: 0,
            idle: false,
            items: 0,
            expected: None,
            announced: now,
        };
        if self.synced {
            run.entries.reserve(self.index.len());
        }
        if streaming {
            let version = match at {
                ReadAt::NotOlderThan(version) => version,
                ReadAt::Any => ResourceVersion::new("0"),
                _ => ResourceVersion::UNSET,
            };
            let mut watch = WatchRequest::new(version, run.watch_timeout);
            watch.initial_events = true;
            (watch.fresh, watch.anew) = (run.request.fresh, run.request.anew);
            self.effects.push_back(Effect::Send(Request::Watch(watch)));
            self.phase = Phase::Contents(Box::new(run));
            if !self.is_degraded() {
                self.set_state(SyncState::Streaming);
            }
        } else {
            self.effects
                .push_back(Effect::Send(Request::List(run.request.clone())));
            self.phase = Phase::Contents(Box::new(run));
            if !self.is_degraded() {
                self.set_state(SyncState::Listing {
                    items: 0,
                    expected: None,
                });
            }
        }
    }

    /// Asks for the page whose turn it is, or once more for one that failed.
    pub(super) fn send_page(&mut self, mut run: Box<ContentsRun<K>>) {
        run.flight = Flight::default();
        self.effects
            .push_back(Effect::Send(Request::List(run.request.clone())));
        self.phase = Phase::Contents(run);
    }

    pub(super) fn is_degraded(&self) -> bool {
        matches!(self.state, SyncState::Degraded { .. })
    }

    pub(super) fn on_listed(&mut self, now: Instant, part: Listed<K>) {
        if let Listed::Progress(bytes) = part {
            self.progress(now, bytes);
            return;
        }
        match &mut self.phase {
            Phase::Contents(run) if !run.streaming => match part {
                Listed::Object(item) => {
                    self.stats.items += 1;
                    run.take(item, &mut self.stats);
                    self.taken(now);
                }
                Listed::Held(item) => {
                    self.stats.items += 1;
                    self.stats.held += 1;
                    run.take(item, &mut self.stats);
                    self.taken(now);
                }
                Listed::Poison(poison) => {
                    self.stats.items += 1;
                    run.set_apart(poison);
                    self.taken(now);
                }
                Listed::OtherShard => {
                    self.stats.other_shard += 1;
                    run.page.items += 1;
                    run.page.news += 1;
                    run.flight.part(now);
                }
                Listed::End(end) => self.page_ended(now, end),
                Listed::Seen(_) | Listed::Progress(_) => {}
            },
            Phase::Probing { version, .. } => {
                if let Listed::End(end) = part {
                    *version = Some(end.version.clone());
                    self.probed(now, end.version);
                }
            }
            Phase::Auditing(_) => self.audit_listed(now, part),
            _ => {}
        }
    }

    /// One more has been read: is that too many? Says now and then how far the list has come.
    fn taken(&mut self, now: Instant) {
        if matches!(&self.phase, Phase::Contents(run) if self.exceeds(run.len())) {
            return self.overloaded(now);
        }
        let Phase::Contents(run) = &mut self.phase else {
            return;
        };
        if !run.streaming && run.page.news != run.page.news_seen {
            // What was there before is no progress: a list may repeat itself for ever.
            run.page.news_seen = run.page.news;
            run.flight.part(now);
        }
        if now.saturating_duration_since(run.announced) < ANNOUNCE_EVERY {
            return;
        }
        run.announced = now;
        let state = SyncState::Listing {
            items: run.items,
            expected: run.expected,
        };
        if !self.is_degraded() {
            self.set_state(state);
        }
    }

    fn page_ended(&mut self, now: Instant, end: ListEnd) {
        let usable = self.can_follow(&end.version);
        let Phase::Contents(run) = &mut self.phase else {
            return;
        };
        run.pages += 1;
        self.credentials_retried = false;
        if !usable {
            self.stats.bad_versions += 1;
            let error = Error::new(
                ErrorKind::Protocol,
                "list",
                "the list has no usable resource version",
            );
            return self.list_failed(now, error);
        }
        let first = run.version.get_or_insert_with(|| end.version.clone());
        if end.version < *first {
            self.stats.stale_answers += 1;
            self.plan.fresh = true;
            let error = Error::new(ErrorKind::Stale, "list", "a page is older than the first one");
            return self.list_failed(now, error);
        }
        let token = end.continue_token.filter(|token| !token.is_empty());
        let Some(token) = token else {
            self.plan.pages = run.pages as usize;
            let version = first.clone();
            return self.contents_complete(now, version, false);
        };
        if run.request.limit.is_none() && run.request.continue_token.is_none() {
            // Pages nobody asked for: this server has no copy in memory.
            self.plan.paged = true;
        }
        let repeated = run.request.continue_token.as_ref() == Some(&token);
        let nothing_new = run.page.items > 0 && run.page.news == 0;
        run.empty_pages = if run.page.items == 0 {
            run.empty_pages + 1
        } else {
            0
        };
        let no_progress = repeated || nothing_new || run.empty_pages >= EMPTY_PAGES_MAX;
        if no_progress || run.pages >= self.config.pages_max {
            let error = Error::new(
                ErrorKind::NoProgress,
                "list",
                format!("the pages lead nowhere after {} of them", run.pages),
            );
            return self.list_failed(now, error);
        }
        run.expected = end.remaining.map(|remaining| run.items.saturating_add(remaining));
        run.page = Page {
            entries_before: run.entries.len(),
            poison_before: run.poison.len(),
            nameless_before: run.nameless,
            items_before: run.items,
            ..Page::default()
        };
        // A page token carries its own version, and a server refuses any other beside it.
        run.request.continue_token = Some(token);
        run.request.at = ReadAt::Latest;
        let pages = run.pages as usize;
        self.plan.pages = self.plan.pages.max(pages + 1);
        let Phase::Contents(run) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        self.served(now);
        // This page, and the watch if it is the last.
        let at = self.backoff.with_room_for(2, now);
        if at > now && self.backoff.failures() > 0 && pages <= PAGES_RESERVED {
            // A short list keeps to the budget; a long one that succeeds is no failing server.
            return self.wait(now, at, Next::Page(run));
        }
        self.backoff.followed(now);
        self.place.goes_on(now);
        self.send_page(run);
    }

    /// Everything has been read: checks that it is no step back, and delivers it.
    fn contents_complete(&mut self, now: Instant, version: ResourceVersion, keep_watch: bool) {
        let Phase::Contents(run) = &self.phase else {
            return;
        };
        if run.nameless() && self.plan.nameless == 0 {
            self.plan.nameless += 1;
            let error = Error::new(ErrorKind::Decode, "list", "an item has no readable name");
            return self.contents_failed(now, error);
        }
        // A history that was rewound may have got past what was seen by now: then single objects tell.
        let older = version < self.version || run.index.is_behind(&self.index);
        if older {
            self.plan.older += 1;
            self.stats.stale_answers += 1;
            let consistent = run.request.at == ReadAt::Latest && !run.streaming;
            if self.plan.older < OLDER_MAX || !consistent {
                self.plan.latest = true;
                self.plan.plain = true;
                // Another connection may lead to a replica that knows better.
                self.plan.fresh = true;
                let message = if version < self.version {
                    format!(
                        "the answer is at version {version}, older than {} which was seen",
                        self.version
                    )
                } else {
                    format!("the answer at version {version} has objects older than those seen")
                };
                return self.contents_failed(now, Error::new(ErrorKind::Stale, "list", message));
            }
        }
        let rewound = older || self.plan.doubted;
        if rewound {
            self.stats.rewinds += 1;
            tracing::warn!(rv = %version, held = %self.version, "the server's history went back; taking it as it is");
        }
        self.accept(now, version, rewound, keep_watch);
    }

    fn accept(&mut self, now: Instant, version: ResourceVersion, rewound: bool, keep_watch: bool) {
        let Phase::Contents(run) = std::mem::replace(&mut self.phase, Phase::Idle) else {
            return;
        };
        let mut run = *run;
        self.stats.lists_taken += 1;
        self.stats.listed_items += run.items;
        self.stats.list_time += now.saturating_duration_since(run.begun);
        if std::mem::take(&mut self.plan.refused) {
            self.commons
                .refuse_streaming(now, now + self.config.streaming_lists_retry);
        }
        run.tidy();
        let kept = self.take_poison(now, &mut run);
        let reason = self.plan.reason.take();
        if reason == Some(RelistReason::Silent) && self.synced && run.index.same_as(&self.index) {
            self.watchdog.widen(self.config.watch_timeout * 2);
        }
        let mut replacement = Replacement::new(run.entries, version.clone());
        replacement.kept = kept;
        replacement.rewound = rewound;
        if reason == Some(RelistReason::Audit) {
            replacement.cause = Cause::Repair;
            for entry in &mut replacement.entries {
                entry.cause = Cause::Repair;
            }
        }
        self.index = run.index;
        self.version = version.clone();
        self.floor = version.clone();
        // The end of initial events is a bookmark as well: what it has left out does not come later.
        self.bookmark = if keep_watch {
            version.clone()
        } else {
            ResourceVersion::UNSET
        };
        self.bad_line = None;
        self.refused_watches = 0;
        self.plan.latest = false;
        self.plan.unpaged = false;
        self.plan.plain = false;
        self.plan.streaming_failures = 0;
        self.plan.nameless = 0;
        self.plan.older = 0;
        self.plan.doubted = false;
        if !std::mem::replace(&mut self.synced, true) {
            tracing::info!(rv = %version, objects = self.index.len(), "synced");
        }
        self.proved = Some(now);
        self.watchdog.unheard = Duration::ZERO;
        self.served(now);
        self.effects
            .push_back(Effect::Deliver(Delta::Replaced(replacement)));
        self.set_state(SyncState::Synced { version });
        if keep_watch {
            let mut watch = WatchRun::new(run.watch_timeout);
            watch.opened(run.flight.opened_at().unwrap_or(now));
            watch.frame(now);
            watch.arrived(now);
            watch.events_before = self.stats.events;
            // A server that streams lists sends bookmarks.
            self.watchdog.armed = true;
            self.phase = Phase::Watching(watch);
        } else {
            self.backoff.sent(now);
            self.place.follows(now);
            self.send_watch();
        }
    }

    /// The event, but what has no usable version is set apart, as it is in a list or a watch.
    fn with_usable_version(&mut self, event: Event<K>) -> Event<K> {
        match event {
            Event::Added(item) | Event::Modified(item) if !is_usable(&item.version) => {
                self.stats.bad_versions += 1;
                let error = Error::new(
                    ErrorKind::Protocol,
                    "watch",
                    "the event has no usable resource version",
                );
                Event::Poison(Poison::new(Some(item.key), ResourceVersion::UNSET, error))
            }
            event => event,
        }
    }

    /// An event of a watch that began with the contents and has not shown all of them.
    pub(super) fn on_initial_event(&mut self, now: Instant, event: Event<K>) {
        let timeout = self.config.body_timeout;
        let event = self.with_usable_version(event);
        let Phase::Contents(run) = &mut self.phase else {
            return;
        };
        let news = match &event {
            Event::Added(item) | Event::Modified(item) => Some(run.index.get(&item.key).is_none()),
            Event::OtherShard(_) => Some(true),
            Event::Deleted(_) | Event::Gone(_) | Event::Bookmark { .. } => Some(false),
            _ => None,
        };
        if let Some(news) = news {
            run.idle = !news;
        }
        if news == Some(true) {
            run.flight.complete(now, timeout);
        }
        match event {
            Event::Added(item) | Event::Modified(item) => {
                self.stats.items += 1;
                run.take(item, &mut self.stats);
                self.taken(now);
            }
            Event::Deleted(item) => run.forget(&item.key),
            Event::Gone(seen) => run.forget(&seen.key),
            Event::Poison(poison) => {
                self.stats.items += 1;
                run.set_apart(poison);
                self.taken(now);
            }
            Event::OtherShard(_) => self.stats.other_shard += 1,
            Event::Bookmark {
                version,
                initial_events_end,
            } => {
                self.stats.bookmarks += 1;
                if !initial_events_end {
                    return;
                }
                if !self.can_follow(&version) {
                    self.stats.bad_versions += 1;
                    let error = Error::new(
                        ErrorKind::Protocol,
                        "watch",
                        "the initial events end at no usable version",
                    );
                    return self.contents_failed(now, error);
                }
                self.contents_complete(now, version, true);
            }
            Event::Unreadable(poison) => {
                self.stats.unreadable += 1;
                self.contents_failed(now, poison.error);
            }
            Event::Progress { .. } => {}
        }
    }

    /// Removes `key` from the store, if it is held.
    pub(super) fn deliver_removal(&mut self, key: &ObjectKey, cause: Cause) {
        if let Some(slot) = self.index.remove(key) {
            let gone = self.gone(key, &slot, cause);
            self.effects.push_back(Effect::Deliver(gone));
        }
    }

    /// The conclusion that the object of `slot` is gone.
    fn gone(&self, key: &ObjectKey, slot: &Slot, cause: Cause) -> Delta<K> {
        let mut tombstone = Tombstone::of(key.clone());
        tombstone.inferred = true;
        tombstone.cause = cause;
        if self.has_neighbours {
            tombstone.version = slot.version.clone();
        }
        Delta::Deleted(tombstone)
    }
}

/// Whether a watch can begin at `version`.
pub(super) fn is_usable(version: &ResourceVersion) -> bool {
    !version.is_unset() && version.as_u64() != Some(0)
}

/// Answers of the latest state, in a row, that must all be older before the server's history counts as rewound.
const OLDER_MAX: u32 = 3;
/// Pages without an item, in a row, after which no more are asked for.
const EMPTY_PAGES_MAX: u32 = 4;
/// How often a list in progress says how far it has come.
const ANNOUNCE_EVERY: Duration = Duration::from_millis(250);
