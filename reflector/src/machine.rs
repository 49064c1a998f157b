//! [`Machine`]: the whole protocol between a reflector and an API server, without any I/O.

mod audit;
mod contents;
mod exchange;
mod flight;
mod gate;
mod index;
mod live;
mod plan;
mod poison;
mod resync;
mod room;
mod waiting;
mod watchdog;
mod watching;

use std::{collections::VecDeque, time::Duration};

use informer_store::{Object, ObjectKey, ResourceVersion, ResyncPart};
use tokio::time::Instant;

use self::{
    audit::AuditRun, contents::ContentsRun, flight::Flight, gate::Place, index::Index, plan::Plan,
    room::Share, waiting::Next, watchdog::Watchdog, watching::WatchRun,
};
pub use self::{
    exchange::{Effect, Input, Request},
    gate::Gate,
    room::Room,
};
use crate::{
    Backoff, Commons, Config, Error, ErrorKind, Quarantined, Stats, StreamingLists, SyncState,
    quarantine::Quarantine,
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
    /// Whether the one retry with fresh credentials has been spent, since an answer last brought anything.
    credentials_retried: bool,
    resync_at: Option<(Instant, ResyncPart)>,
    audit_at: Option<Instant>,
    proved: Option<Instant>,
    /// What it takes of the room for objects, where there is a limit.
    share: Share,
    /// Where it asks to send anything, where others ask the same server.
    place: Place,
    /// The store holds more than this machine's objects.
    has_neighbours: bool,
}

#[derive(Debug)]
enum Phase<K> {
    Idle,
    Waiting {
        at: Instant,
        next: Next<K>,
        /// Whether it ends as soon as the server is seen to serve another machine.
        outage: bool,
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
                doubted: false,
                fresh: false,
            },
            watchdog: Watchdog {
                cadence: config.bookmark_cadence,
                armed: false,
                trips: 0,
                unheard: Duration::ZERO,
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
            share: Share::default(),
            place: Place::default(),
            has_neighbours: false,
            config,
            rng,
        }
    }

    /// Is one of several that fill the same store, of which none knows what the others hold. A deletion that it concludes
    /// carries the version of the object that was held, for the name may be another's by now.
    ///
    /// A list replaces what this machine holds, no more: whoever hands it to the store adds the [keys](Self::keys) of
    /// the others to those that are [kept](informer_store::Replacement::kept).
    #[must_use]
    pub fn with_neighbours(mut self) -> Self {
        self.has_neighbours = true;
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

    /// Shares [`Config::max_objects`] with other machines. Default: it is for this one alone.
    #[must_use]
    pub fn in_room(mut self, room: &Room) -> Self {
        self.share = Share::of(room);
        self
    }

    /// Shares the budget of requests with other machines while the server serves none of them; see [`Gate`]. Default: with
    /// none.
    ///
    /// # Contract
    /// [`Effect::Recovered`] is passed on to the other machines of the gate as [`Input::Recovered`].
    #[must_use]
    pub fn behind(mut self, gate: &Gate) -> Self {
        self.place = Place::at(gate);
        self
    }

    /// Takes an input at `now`.
    pub fn handle(&mut self, now: Instant, input: Input<K>) {
        self.take(now, input);
        if self.config.max_objects.is_some() {
            self.share.take(self.needs());
        }
    }

    fn take(&mut self, now: Instant, input: Input<K>) {
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
            Input::Doubt => self.on_doubt(now),
            Input::Recovered => self.on_recovered(now),
            Input::Tick => self.on_tick(now),
            Input::Shutdown => {
                self.count_watch(now);
                self.place = Place::default();
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
                self.audit_at.and_then(|due| run.lets_go_at(due, &self.watchdog)),
                self.quarantine
                    .retry_at()
                    .and_then(|due| run.lets_go_at(due, &self.watchdog)),
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

    /// The version of the object that the store is known to hold under `key`.
    #[must_use]
    pub fn version_of(&self, key: &ObjectKey) -> Option<&ResourceVersion> {
        self.index.get(key).map(|slot| &slot.version)
    }

    /// The keys of the objects that the store is known to hold, in no order.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.index.keys()
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
        self.plan_audit(now);
        self.phase = Phase::Waiting {
            at: now,
            next: Next::Contents,
            outage: false,
        };
        self.send_if_due(now);
    }

    fn on_sent(&mut self, now: Instant) {
        let can_wait = matches!(
            self.phase,
            Phase::Contents(_) | Phase::Watching(_) | Phase::Auditing(_)
        );
        if let Err(until) = self.place.sent(now, can_wait) {
            return self.put_off(now, until);
        }
        match &self.phase {
            Phase::Contents(run) => {
                self.stats.lists += u64::from(run.request.continue_token.is_none());
                self.stats.pages += u64::from(!run.streaming);
                self.stats.watches += u64::from(run.streaming);
                self.stats.streaming_lists += u64::from(run.streaming);
            }
            Phase::Watching(_) => self.stats.watches += 1,
            Phase::Auditing(_) => self.stats.pages += 1,
            _ => {}
        }
        let timeout = self.config.header_timeout;
        if let Some(flight) = self.flight() {
            flight.sent(now, timeout);
        }
    }

    fn on_opened(&mut self, now: Instant) {
        let timeout = self.config.body_timeout;
        match &mut self.phase {
            Phase::Watching(run) => {
                run.opened(now);
                // It may be silent for long. A list soon shows whether it is any good.
                if self.place.opened(now) {
                    self.effects.push_back(Effect::Recovered);
                }
            }
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
                    // Its connection may be one that leads nowhere any more, and it may not be the only one.
                    self.plan.fresh = true;
                    self.on_failed(now, Error::new(ErrorKind::Timeout, "list", message));
                }
            }
        }
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
        self.place.failed(now, None);
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

    /// The server has given a good answer.
    fn served(&mut self, now: Instant) {
        self.credentials_retried = false;
        if self.place.is_served(now) {
            self.effects.push_back(Effect::Recovered);
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

    /// How many objects it keeps in memory, on their way to the store or there.
    fn needs(&self) -> usize {
        match &self.phase {
            Phase::Contents(run) => run.len().max(self.index.len()),
            _ => self.index.len(),
        }
    }

    /// Whether so many objects are more than may be held, beside what others hold.
    fn exceeds(&self, objects: usize) -> bool {
        let max = self.config.max_objects;
        max.is_some_and(|max| objects > max.saturating_sub(self.share.others()))
    }

    fn jittered(&mut self, period: Duration) -> Duration {
        period.mul_f64(0.9 + 0.2 * self.rng.f64())
    }
}

fn earliest<const N: usize>(times: [Option<Instant>; N]) -> Option<Instant> {
    times.into_iter().flatten().min()
}

/// The most parts a resync is spread over.
const RESYNC_PARTS: u64 = 64;
/// The most pages of a list that the budget is asked for beforehand: a longer list is not put off for ever.
const PAGES_RESERVED: usize = 3;
