//! [`WatchRun`]: a watch from its request to its end, and what its end means.

use std::time::Duration;

use informer_store::{Object, ResourceVersion};
use tokio::time::Instant;

use super::{Effect, Flight, Machine, Next, Phase, Request, Watchdog};
use crate::{Error, ErrorKind, Event, Reason, RelistReason, SyncState};

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
    pub(super) last_bookmark: Option<Instant>,
    settled: bool,
    /// How long the store blocked us since the last frame; the server may have spoken meanwhile.
    blocked: Duration,
    /// The same since the watch began.
    blocked_in_all: Duration,
    /// When the bytes being read arrived, at the latest, where the source tells of them.
    arrived: Option<Instant>,
    /// How long the store blocked us since then.
    blocked_since: Duration,
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
            arrived: None,
            blocked_since: Duration::ZERO,
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
        self.blocked_since += time;
    }

    /// Bytes were read. While the store blocked us they may have waited.
    pub(super) fn arrived(&mut self, now: Instant) {
        self.arrived = now.checked_sub(std::mem::take(&mut self.blocked_since));
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

    /// How long it has been open without a word, leaving out the time when nobody listened.
    fn silence(&self, now: Instant) -> Duration {
        let opened = self.opened.filter(|_| self.frames == 0).unwrap_or(now);
        now.saturating_duration_since(opened).saturating_sub(self.blocked)
    }

    /// From when on something that was due at `due` may put it down, if ever it is answered.
    pub(super) fn lets_go_at(&self, due: Instant, watchdog: &Watchdog) -> Option<Instant> {
        self.opened?;
        Some(watchdog.lets_go_at(due, self.frames > 0))
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
        let mut run = WatchRun::new(timeout);
        run.from = Some(self.version.clone());
        run.events_before = self.stats.events;
        self.phase = Phase::Watching(run);
        self.effects.push_back(Effect::Send(Request::Watch(request)));
    }

    pub(super) fn on_event(&mut self, now: Instant, event: Event<K>) {
        if let Event::Progress { bytes, partial } = event {
            if let Phase::Watching(run) = &mut self.phase {
                run.arrived(now);
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
        let told = self.stats.bytes > 0;
        if let Phase::Watching(run) = &mut self.phase {
            // What was said while the store blocked us may be as old as that.
            let said = run
                .arrived
                .filter(|_| told)
                .or_else(|| now.checked_sub(run.blocked));
            self.proved = self.proved.max(said);
            run.frame(now);
            self.refused_watches = 0;
            self.watchdog.trips = 0;
            self.watchdog.unheard = Duration::ZERO;
            self.backoff.healthy(now);
            self.served(now);
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
            self.served(now);
        }
        let Phase::Watching(run) = &self.phase else {
            return;
        };
        let works = lived >= SETTLED || run.frames > 0;
        if works && self.is_degraded() && self.bad_line.is_none() {
            self.set_state(SyncState::Synced {
                version: self.version.clone(),
            });
        }
    }

    /// Counts the watch that ends, if one does.
    pub(super) fn count_watch(&mut self, now: Instant) {
        if let Phase::Watching(run) = &self.phase
            && let Some(opened) = run.opened
        {
            self.stats.watches_ended += 1;
            self.stats.watch_time += now.saturating_duration_since(opened);
            self.stats.watched_events += self.stats.events - run.events_before;
            self.watchdog.unheard = self.watchdog.unheard.saturating_add(run.silence(now));
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
        let nothing_new = run.frames == 0 || run.from.as_ref() == Some(&self.version);
        let doubtful = (nothing_new && lived >= run.timeout / 2) || self.is_unheard(run.silence(now));
        if lived < SHORT || (run.frames == 0 && lived < EMPTY) {
            self.stats.short_watches += 1;
            self.fail_for(now, Reason::ShortWatch, None, Next::Watch);
        } else if doubtful {
            // Nothing new in the whole watch, or in some that somebody ended before: the version may be ahead of what
            // this server knows.
            self.go_on(now, Next::Probe);
        } else {
            self.go_on(now, Next::Watch);
        }
    }

    /// Whether nothing was heard for too long in a row of watches, the last of which was silent for so long. A server that
    /// never sends bookmarks is given as long as half a watch.
    pub(super) fn is_unheard(&self, last: Duration) -> bool {
        let enough = if self.watchdog.armed {
            self.watchdog.patience()
        } else {
            self.config.watch_timeout / 2
        };
        self.watchdog.unheard.saturating_add(last) >= enough
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
            ErrorKind::Transport if self.is_unheard(run.silence(now)) => self.fail(now, &error, Next::Probe),
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
        let due = |at: Option<Instant>| {
            at.and_then(|at| run.lets_go_at(at, &self.watchdog))
                .is_some_and(|at| at <= now)
        };
        let (audit, reads) = (due(self.audit_at), due(self.quarantine.retry_at()));
        if run.settles_at().is_some_and(|at| at <= now) {
            self.recovered(now, true);
        }
        if audit {
            return self.begin_audit(now);
        }
        if reads {
            let keys = self.quarantine.due(now, self.config.quarantine_retry);
            if !keys.is_empty() {
                self.go_on(now, Next::Read(keys));
            }
        }
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
