//! [`Machine`]: the whole protocol between a reflector and an API server, without any I/O.

mod audit;
mod contents;
mod flight;
mod index;
mod watching;

use std::{collections::VecDeque, time::Duration};

use informer_store::{Delta, Object, ObjectKey, ResourceVersion, ResyncPart};
use tokio::time::Instant;

use self::{audit::AuditRun, contents::ContentsRun, flight::Flight, index::Index, watching::WatchRun};
use crate::{
    Backoff, Commons, Config, Error, ErrorKind, Event, GetRequest, Got, InitialRead, ListRequest, Listed,
    Purpose, Quarantined, ReadAt, Reason, RelistReason, Stats, StreamingLists, SyncState, WatchRequest,
    quarantine::{Quarantine, QuarantineEvent},
};

/// The list/watch protocol as a state machine: inputs with the time go in, effects come out.
///
/// It owns versions, reasons to list anew, waits, deadlines and the watchdog; it has no clock, no tasks and no
/// connection. [`Reflector`](crate::Reflector) is the shell that connects it with the world; tests drive it with a
/// simulated clock.
///
/// # Contract
/// After every [`handle`](Self::handle) all effects are taken with [`next_effect`](Self::next_effect) and carried out
/// in order. There is at most one request at a time: [`Effect::Send`] and [`Effect::Abort`] end the one before, and
/// inputs of a request that has ended must not be given any more. Once [`deadline`](Self::deadline) has passed,
/// [`Input::Tick`] is due.
///
/// # Memory
/// Beside the store: per object its key (shared with the store), a fingerprint of its uid and its version, about
/// 80 bytes; while a list is read, the same once more and the listed `Arc`s.
#[derive(Debug)]
pub struct Machine<K> {
    config: Config,
    rng: fastrand::Rng,
    backoff: Backoff,
    phase: Phase<K>,
    effects: VecDeque<Effect<K>>,
    state: SyncState,
    stats: Stats,
    /// How far the history has been delivered.
    version: ResourceVersion,
    /// The version of the last list.
    floor: ResourceVersion,
    /// The newest bookmark since the last list.
    bookmark: ResourceVersion,
    index: Index,
    quarantine: Quarantine,
    synced: bool,
    plan: Plan,
    watchdog: Watchdog,
    /// Whether a streaming list can be asked for, and until when one that never ended is not tried again.
    streaming: bool,
    streaming_blocked: Option<Instant>,
    commons: Commons,
    /// A line that could not be read: after which version, and how often in a row.
    bad_line: Option<(ResourceVersion, u32)>,
    /// The object whose unreadable line made us list anew.
    bad_key: Option<ObjectKey>,
    /// Watches from the present version that the server called invalid, in a row.
    refused_watches: u32,
    /// Whether the one retry with fresh credentials has been spent.
    credentials_retried: bool,
    resync_at: Option<(Instant, ResyncPart)>,
    audit_at: Option<Instant>,
    proved: Option<Instant>,
    /// Lists after the first are delivered as single deltas: the store holds more than this machine's objects.
    piecewise: bool,
}

/// What happens to a [`Machine`].
#[derive(Debug)]
#[non_exhaustive]
pub enum Input<K> {
    /// Begin.
    Start,
    /// The request has been handed to the transport.
    Sent,
    /// The answer has begun.
    Opened,
    /// A part of a list.
    Listed(Listed<K>),
    /// A part of a watch.
    Event(Event<K>),
    /// The answer to a single read.
    Got(Option<Got<K>>),
    /// The answer has ended without an error.
    Closed,
    /// The request failed, before or during its answer.
    Failed(Error),
    /// Delivering took so long that nothing could be read meanwhile: not the server's fault.
    Blocked(Duration),
    /// A deadline may have passed.
    Tick,
    /// Stop.
    Shutdown,
}

/// What a [`Machine`] wants done.
#[derive(Debug)]
#[non_exhaustive]
pub enum Effect<K> {
    /// Send this, and drop whatever request there is.
    Send(Request),
    /// Drop the request there is.
    Abort,
    /// Hand this to the store.
    Deliver(Delta<K>),
    /// The state changed.
    State(SyncState),
    /// The quarantine changed.
    Quarantine(QuarantineEvent),
}

/// A request to the source.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Request {
    /// A list or a page of one.
    List(ListRequest),
    /// A watch.
    Watch(WatchRequest),
    /// A single read.
    Get(GetRequest),
}

#[derive(Debug)]
enum Phase<K> {
    Idle,
    Waiting {
        at: Instant,
        next: Next<K>,
    },
    Contents(Box<ContentsRun<K>>),
    Watching(WatchRun),
    Probing {
        flight: Flight,
        version: Option<ResourceVersion>,
    },
    Reading {
        flight: Flight,
        key: ObjectKey,
        rest: Vec<ObjectKey>,
    },
    Auditing(Box<AuditRun>),
    Stopped,
}

/// What is sent after a wait.
#[derive(Debug)]
enum Next<K> {
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

/// How the contents are to be read next.
#[derive(Clone, Debug)]
struct Plan {
    /// Read the latest, not merely something as new as what was seen.
    latest: bool,
    /// How many pages the last list had.
    pages: usize,
    /// Do not ask for pages, though they would help.
    unpaged: bool,
    /// The server pages even lists it serves from memory.
    paged: bool,
    /// Do not ask for a streaming list this time.
    plain: bool,
    /// Attempts at the present contents that failed while streaming.
    streaming_failures: u32,
    /// A streaming list was refused: remembered once a plain one has shown that it was not for another reason.
    refused: bool,
    /// Lists without a readable name in them, in a row.
    nameless: u32,
    /// Answers older than what is held, in a row.
    older: u32,
    /// Why the contents are read again.
    reason: Option<RelistReason>,
    /// Whether a relist has been tried since things last went well.
    relisted: bool,
    /// Use a fresh connection for the next request.
    fresh: bool,
}

#[derive(Debug)]
struct Watchdog {
    cadence: Duration,
    armed: bool,
    /// Trips since the last frame.
    trips: u32,
}

impl<K: Object> Machine<K> {
    /// A machine at rest. `streaming` says whether the source can stream lists; `rng` decides every jitter.
    #[must_use]
    pub fn new(config: Config, streaming: bool, rng: fastrand::Rng) -> Self {
        let config = config.clamped();
        Self {
            backoff: Backoff::new(config.backoff.clone()),
            phase: Phase::Idle,
            effects: VecDeque::new(),
            state: SyncState::NotStarted,
            stats: Stats::default(),
            version: ResourceVersion::UNSET,
            floor: ResourceVersion::UNSET,
            bookmark: ResourceVersion::UNSET,
            index: Index::default(),
            quarantine: Quarantine::default(),
            synced: false,
            plan: Plan {
                latest: false,
                pages: 1,
                unpaged: false,
                paged: false,
                plain: false,
                streaming_failures: 0,
                refused: false,
                nameless: 0,
                older: 0,
                reason: None,
                relisted: false,
                fresh: false,
            },
            watchdog: Watchdog {
                cadence: config.bookmark_cadence,
                armed: false,
                trips: 0,
            },
            streaming: streaming && config.streaming_lists != StreamingLists::Off,
            streaming_blocked: None,
            commons: Commons::default(),
            bad_line: None,
            bad_key: None,
            refused_watches: 0,
            credentials_retried: false,
            resync_at: None,
            audit_at: None,
            proved: None,
            piecewise: false,
            config,
            rng,
        }
    }

    /// Delivers every list after the first as single deltas, deletions first in key order: for a store that others
    /// fill as well, where a replacement would take their objects away.
    #[must_use]
    pub fn piecewise(mut self) -> Self {
        self.piecewise = true;
        self
    }

    /// Accepts no list older than `version`: for a store that an earlier machine has filled.
    #[must_use]
    pub fn not_older_than(mut self, version: ResourceVersion) -> Self {
        self.version = version;
        self
    }

    /// Shares what the server refuses with other machines. Default: with none.
    #[must_use]
    pub fn sharing(mut self, commons: &Commons) -> Self {
        self.commons = commons.clone();
        self
    }

    /// Takes an input at `now`.
    pub fn handle(&mut self, now: Instant, input: Input<K>) {
        match input {
            Input::Start => self.start(now),
            Input::Sent => self.on_sent(now),
            Input::Opened => self.on_opened(now),
            Input::Listed(part) => self.on_listed(now, part),
            Input::Event(event) => self.on_event(now, event),
            Input::Got(got) => self.on_got(now, got),
            Input::Closed => self.on_closed(now),
            Input::Failed(error) => self.on_failed(now, error),
            Input::Blocked(time) => match &mut self.phase {
                Phase::Watching(run) => run.blocked(time),
                _ => {
                    if let Some(flight) = self.flight() {
                        flight.blocked(time);
                    }
                }
            },
            Input::Tick => self.on_tick(now),
            Input::Shutdown => {
                self.count_watch(now);
                self.phase = Phase::Stopped;
                self.effects.push_back(Effect::Abort);
                self.set_state(SyncState::Stopped);
            }
        }
    }

    /// The next thing to do, until there is none.
    pub fn next_effect(&mut self) -> Option<Effect<K>> {
        self.effects.pop_front()
    }

    /// When [`Input::Tick`] is due, if nothing else happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let phase = match &self.phase {
            Phase::Idle | Phase::Stopped => return None,
            Phase::Waiting { at, .. } => Some(*at),
            Phase::Contents(run) => run.flight.deadline(),
            Phase::Watching(run) => earliest([
                run.flight.deadline(),
                run.silence_deadline(&self.watchdog),
                run.settles_at(),
                self.audit_at,
                self.quarantine.retry_at(),
            ]),
            Phase::Probing { flight, .. } | Phase::Reading { flight, .. } => flight.deadline(),
            Phase::Auditing(run) => run.flight.deadline(),
        };
        earliest([phase, self.resync_at.map(|(at, _)| at).filter(|_| self.synced)])
    }

    /// How far the history has been delivered.
    #[must_use]
    pub fn version(&self) -> &ResourceVersion {
        &self.version
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> &SyncState {
        &self.state
    }

    /// What it has done.
    #[must_use]
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// When the server last proved that what was delivered is current.
    #[must_use]
    pub fn proved(&self) -> Option<Instant> {
        self.proved
    }

    /// After which silence of the server what is held counts as stale.
    #[must_use]
    pub fn patience(&self) -> Duration {
        self.watchdog.patience()
    }

    /// The objects in quarantine, in key order.
    #[must_use]
    pub fn quarantined(&self) -> Vec<Quarantined> {
        self.quarantine.list()
    }

    /// How many objects the store is known to hold.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether the store is known to hold nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn start(&mut self, now: Instant) {
        if !matches!(self.phase, Phase::Idle) {
            return;
        }
        if let Some(period) = self.config.resync.filter(|period| !period.is_zero()) {
            let of = u32::try_from(period.as_secs().clamp(1, RESYNC_PARTS)).unwrap_or(1);
            self.resync_at = Some((now + period / of, ResyncPart { part: 0, of }));
        }
        if let Some(period) = self.config.audit {
            self.audit_at = Some(now + self.jittered(period));
        }
        self.send_next(now, Next::Contents);
    }

    fn on_sent(&mut self, now: Instant) {
        let timeout = self.config.header_timeout;
        if let Some(flight) = self.flight() {
            flight.sent(now, timeout);
        }
    }

    fn on_opened(&mut self, now: Instant) {
        let timeout = self.config.body_timeout;
        self.credentials_retried = false;
        match &mut self.phase {
            Phase::Watching(run) => run.opened(now),
            _ => {
                if let Some(flight) = self.flight() {
                    flight.opened(now, timeout);
                }
            }
        }
    }

    fn on_tick(&mut self, now: Instant) {
        self.tick_resync(now);
        let header = self.config.header_timeout;
        match &mut self.phase {
            Phase::Waiting { .. } => self.send_if_due(now),
            Phase::Watching(_) => self.tick_watch(now),
            _ => {
                let late = self.flight().filter(|flight| flight.is_late(now));
                if let Some(flight) = late {
                    let message = if flight.has_opened() {
                        String::from("the answer makes no progress")
                    } else {
                        format!("no answer within {} s", header.as_secs())
                    };
                    self.stats.timeouts += 1;
                    self.effects.push_back(Effect::Abort);
                    self.on_failed(now, Error::new(ErrorKind::Timeout, "list", message));
                }
            }
        }
    }

    fn tick_resync(&mut self, now: Instant) {
        let (Some((at, part)), Some(period)) = (self.resync_at, self.config.resync) else {
            return;
        };
        if at > now {
            return;
        }
        if self.synced {
            self.stats.resync_parts += 1;
            self.effects.push_back(Effect::Deliver(Delta::Resync(part)));
        }
        // Parts that came due while nobody looked are left out, not made up for in a burst.
        let step = (period / part.of).max(Duration::from_millis(1));
        let steps = (now - at).as_nanos() / step.as_nanos() + 1;
        let next = u32::try_from((u128::from(part.part) + steps) % u128::from(part.of)).unwrap_or(0);
        let at = at + step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        self.resync_at = Some((
            at,
            ResyncPart {
                part: next,
                of: part.of,
            },
        ));
    }

    fn on_closed(&mut self, now: Instant) {
        match &self.phase {
            Phase::Watching(_) => self.watch_closed(now),
            Phase::Contents(run) if run.streaming => self.streaming_closed(now),
            Phase::Idle | Phase::Stopped | Phase::Waiting { .. } => {}
            _ => {
                let error = Error::new(
                    ErrorKind::Transport,
                    "list",
                    "the answer ended before it was complete",
                );
                self.on_failed(now, error);
            }
        }
    }

    fn on_failed(&mut self, now: Instant, error: Error) {
        if error.kind() == ErrorKind::Throttled {
            self.stats.throttled += 1;
        }
        match &self.phase {
            Phase::Contents(run) if run.streaming => self.streaming_failed(now, error),
            Phase::Contents(_) => self.list_failed(now, error),
            Phase::Watching(_) => self.watch_failed(now, error),
            Phase::Probing { .. } => {
                self.plan.fresh = true;
                self.fail(now, &error, Next::Watch);
            }
            Phase::Reading { .. } => self.read_failed(now, error),
            Phase::Auditing(_) => self.audit_failed(now, error),
            Phase::Idle | Phase::Waiting { .. } | Phase::Stopped => {}
        }
    }

    /// Waits as the failures demand and then does `next`.
    fn fail(&mut self, now: Instant, error: &Error, next: Next<K>) {
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
            return self.degrade(now, reason, at, next);
        }
        self.fail_for(now, reason, error.retry_after(), next);
    }

    fn fail_for(&mut self, now: Instant, reason: Reason, asked: Option<Duration>, next: Next<K>) {
        let at = self.backoff.failed(now, asked, &mut self.rng);
        self.degrade(now, reason, at, next);
    }

    /// There are more objects than may be held: what is held stays, and a list is tried again after a long wait.
    fn overloaded(&mut self, now: Instant) {
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

    fn wait(&mut self, now: Instant, at: Instant, next: Next<K>) {
        if !matches!(self.phase, Phase::Waiting { .. }) {
            self.effects.push_back(Effect::Abort);
        }
        self.count_watch(now);
        let at = match next {
            // More pages and a watch follow at once.
            Next::Contents => self
                .backoff
                .with_room_for(self.plan.pages.min(PAGES_RESERVED) + 1, at),
            _ => at,
        };
        self.phase = Phase::Waiting { at, next };
    }

    /// Waits until the budget allows `next`, and no longer.
    fn go_on(&mut self, now: Instant, next: Next<K>) {
        self.wait(now, self.backoff.within_budget(now), next);
        self.send_if_due(now);
    }

    fn send_if_due(&mut self, now: Instant) {
        if !matches!(&self.phase, Phase::Waiting { at, .. } if *at <= now) {
            return;
        }
        if let Phase::Waiting { next, .. } = std::mem::replace(&mut self.phase, Phase::Idle) {
            self.send_next(now, next);
        }
    }

    /// Does `next` as soon as the budget allows, slightly jittered so that many reflectors do not do it at once.
    fn soon(&mut self, now: Instant, next: Next<K>) {
        let at = self.backoff.within_budget(now + SOON.mul_f64(self.rng.f64()));
        self.wait(now, at, next);
    }

    /// Reads the contents anew: at once the first time, with growing waits when it does not help.
    fn relist(&mut self, now: Instant, reason: RelistReason) {
        self.stats.count_relist(reason);
        tracing::debug!(reason = %reason, rv = %self.version, "listing anew");
        self.plan.reason = Some(reason);
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

    fn send_next(&mut self, now: Instant, next: Next<K>) {
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

    fn set_state(&mut self, state: SyncState) {
        if self.state != state {
            self.state = state.clone();
            self.effects.push_back(Effect::State(state));
        }
    }

    fn flight(&mut self) -> Option<&mut Flight> {
        match &mut self.phase {
            Phase::Idle | Phase::Waiting { .. } | Phase::Stopped => None,
            Phase::Contents(run) => Some(&mut run.flight),
            Phase::Watching(run) => Some(&mut run.flight),
            Phase::Probing { flight, .. } | Phase::Reading { flight, .. } => Some(flight),
            Phase::Auditing(run) => Some(&mut run.flight),
        }
    }

    /// The answer brought so many bytes.
    fn progress(&mut self, now: Instant, bytes: u64) {
        self.stats.bytes += bytes;
        let (timeout, floor) = (self.config.body_timeout, self.config.body_floor);
        if let Some(flight) = self.flight() {
            flight.progress(now, bytes, timeout, floor);
        }
    }

    fn jittered(&mut self, period: Duration) -> Duration {
        period.mul_f64(0.9 + 0.2 * self.rng.f64())
    }

    /// Whether a list at `version` can be watched from, and told newer or older than what was seen.
    fn can_follow(&self, version: &ResourceVersion) -> bool {
        contents::is_usable(version)
            && (version.is_ordered() || !self.version.is_ordered() || self.version.is_unset())
    }

    /// What the next list may be answered with.
    fn read_at(&self) -> ReadAt {
        if self.version.is_unset() {
            match self.config.initial_read {
                InitialRead::Any if !self.plan.latest => ReadAt::Any,
                _ => ReadAt::Latest,
            }
        } else if self.plan.latest || !self.version.is_ordered() {
            ReadAt::Latest
        } else {
            ReadAt::NotOlderThan(self.version.clone())
        }
    }
}

impl Watchdog {
    /// A quarter longer than the server ever pauses.
    fn patience(&self) -> Duration {
        self.cadence + self.cadence / 4
    }

    /// It tripped and nothing was wrong: this server pauses longer.
    fn widen(&mut self, max: Duration) {
        self.cadence = (self.cadence * 2).min(max);
    }
}

fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Option<Instant> {
    times.into_iter().flatten().min()
}

/// The most parts a resync is spread over.
const RESYNC_PARTS: u64 = 64;
/// The most pages of a list that the budget is asked for beforehand: a longer list is not put off for ever.
const PAGES_RESERVED: usize = 3;
/// How much a reaction that need not wait is jittered.
const SOON: Duration = Duration::from_millis(500);
