//! The watch: initial events, then what happens, in revision order, until its time is over.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use bytes::Bytes;
use futures::stream;
use tokio::time::{Instant, sleep_until};

use super::{
    encode::{Encoder, error_line},
    filter::Filter,
    spoil::{self, Spoiled},
    watchers::{Command, Watcher},
};
use crate::{
    body::{Body, coalesce},
    clock,
    faults::Fault,
    requests::Request,
    state::{Shared, State},
    status::ApiError,
    storage::{Event, EventType, Followed, KindId, Stored},
};

/// What a watch starts from.
#[derive(Debug)]
pub(crate) enum Start {
    /// Events after this revision.
    After(u64),
    /// All objects as they were at this revision, then events after it.
    Initial {
        items: Vec<Arc<Stored>>,
        version: u64,
        mark_end: bool,
    },
    /// One error, then the end.
    Failed(ApiError),
}

/// Everything a watch needs to know about its request.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) request: Request,
    pub(crate) id: KindId,
    pub(crate) encoder: Encoder,
    pub(crate) filter: Filter,
    pub(crate) start: Start,
    pub(crate) bookmarks: bool,
    pub(crate) timeout: Duration,
    pub(crate) faults: Vec<Fault>,
}

/// An open watch.
struct Stream {
    shared: Arc<Shared>,
    watcher: Arc<Watcher>,
    id: KindId,
    encoder: Encoder,
    filter: Filter,
    epoch: u64,
    /// Everything up to here has been looked at.
    cursor: u64,
    /// The revision the live part began at; what came later counts against the queue.
    live_from: u64,
    /// Objects of the initial state still to send.
    initial: VecDeque<Arc<Stored>>,
    /// The bookmark that ends the initial events.
    end_mark: Option<u64>,
    pending: VecDeque<Bytes>,
    /// Bytes among the pending ones that are no stored object's, but were made for this watch.
    own: usize,
    /// An event kept back to go out after the next one.
    held: VecDeque<Bytes>,
    bookmarks: bool,
    next_bookmark: Instant,
    last_bookmark: Instant,
    deadline: Instant,
    end: Option<Ending>,
}

/// How a stream ends once everything pending is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    Clean,
    Reset,
    Never,
}

/// What a look at the events found.
#[derive(Clone, Copy, Debug, Default)]
struct Look {
    /// There was nothing more.
    drained: bool,
    /// When a lagging replica will show more, if that is a matter of time.
    wake_at: Option<Instant>,
}

/// Events looked at under one lock.
const BATCH: usize = 256;
/// With more bytes than this made by faults, what is there goes out first.
const ENOUGH: usize = 1 << 20;

/// Opens a watch. Its place among the open ones is taken at once, not when the body is first read.
pub(crate) fn open(shared: &Arc<Shared>, state: &State, plan: Plan) -> Body {
    let now = clock::now();
    let mut pending = VecDeque::new();
    let mut end = None;
    let (cursor, initial, end_mark) = match plan.start {
        Start::After(version) => (version, VecDeque::new(), None),
        Start::Initial {
            items,
            version,
            mark_end,
        } => (version, VecDeque::from(items), mark_end.then_some(version)),
        Start::Failed(error) => {
            pending.push_back(error_line(&error));
            end = Some(Ending::Clean);
            (state.storage.revision(), VecDeque::new(), None)
        }
    };
    let silent = plan
        .faults
        .iter()
        .any(|fault| matches!(fault, Fault::NoBookmarks));
    let endless = plan
        .faults
        .iter()
        .any(|fault| matches!(fault, Fault::NoInitialEventsEnd));
    let deadline = clock::after(now, plan.timeout);
    let last_bookmark = deadline.checked_sub(BEFORE_DEADLINE).unwrap_or(now).max(now);
    let mut stream = Stream {
        watcher: shared
            .watchers
            .open(plan.request.clone(), &plan.id, plan.request.replica, 0),
        shared: Arc::clone(shared),
        epoch: state.storage.epoch(),
        live_from: state.storage.revision(),
        id: plan.id,
        encoder: plan.encoder,
        filter: plan.filter,
        cursor,
        initial,
        end_mark: end_mark.filter(|_| !endless),
        pending,
        own: 0,
        held: VecDeque::new(),
        bookmarks: plan.bookmarks && !silent,
        next_bookmark: clock::after(now, shared.config.bookmark_every).min(last_bookmark),
        last_bookmark,
        deadline,
        end,
    };
    stream.note_progress();
    Body::stream(stream::unfold(stream, |mut stream| async move {
        let item = stream.next().await?;
        Some((item, stream))
    }))
}

/// A last bookmark goes out this long before the time-out.
const BEFORE_DEADLINE: Duration = Duration::from_secs(2);

impl Drop for Stream {
    fn drop(&mut self) {
        self.shared.watchers.close(&self.watcher);
    }
}

impl Stream {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        loop {
            self.obey();
            if let Some(chunk) = coalesce(&mut self.pending) {
                return Some(Ok(chunk));
            }
            match self.end {
                Some(Ending::Clean) if !self.held.is_empty() => self.pending.append(&mut self.held),
                Some(Ending::Clean) => return None,
                Some(Ending::Reset) => {
                    self.end = Some(Ending::Clean);
                    return Some(Err(io::ErrorKind::ConnectionReset.into()));
                }
                Some(Ending::Never) => {
                    // Only a command can move a stalled stream.
                    self.watcher.wake.notified().await;
                    continue;
                }
                None => {}
            }
            if !self.pending.is_empty() {
                continue;
            }
            if !self.initial.is_empty() {
                self.send_initial();
                continue;
            }
            if let Some(version) = self.end_mark.take() {
                self.send_bookmark(&version.to_string(), true);
                continue;
            }
            let look = self.collect();
            if !self.pending.is_empty() || self.end.is_some() {
                continue;
            }
            if !look.drained {
                // None of these was for this watch, but more are there. Others come first.
                tokio::task::yield_now().await;
                continue;
            }
            self.note_progress();
            let watcher = Arc::clone(&self.watcher);
            let timer = self.deadline.min(if self.bookmarks {
                self.next_bookmark
            } else {
                self.deadline
            });
            let timer = look.wake_at.map_or(timer, |at| at.min(timer));
            tokio::select! {
                biased;
                () = watcher.wake.notified() => {}
                () = sleep_until(timer) => self.on_timer(),
            }
        }
    }

    fn obey(&mut self) {
        for command in self.watcher.take_commands() {
            match command {
                Command::Raw(bytes) => self.pending.push_back(bytes),
                Command::Bookmark(version) => {
                    let line = self.encoder.bookmark(&version, false);
                    self.pending.push_back(line);
                }
                Command::Close => self.end = Some(Ending::Clean),
                Command::Reset => self.end = Some(Ending::Reset),
                Command::Stall => self.end = Some(Ending::Never),
            }
        }
    }

    fn on_timer(&mut self) {
        let now = clock::now();
        if now >= self.deadline {
            self.end = Some(Ending::Clean);
        } else if self.bookmarks && now >= self.next_bookmark {
            // Writes to other kinds wake nobody here, but a bookmark tells of them.
            self.collect();
            self.send_bookmark(&self.cursor.to_string(), false);
            let next = clock::after(now, self.shared.config.bookmark_every);
            self.next_bookmark = if now < self.last_bookmark {
                next.min(self.last_bookmark)
            } else {
                self.deadline
            };
        }
    }

    fn send_bookmark(&mut self, version: &str, ends_initial_events: bool) {
        let faults = self.shared.faults.on_bookmark(&self.watcher.request);
        let version = faults.iter().fold(version, |version, fault| match fault {
            Fault::BookmarkVersion { version } => version,
            _ => version,
        });
        let line = self.encoder.bookmark(version, ends_initial_events);
        self.pending.push_back(line);
    }

    fn send_initial(&mut self) {
        self.own = 0;
        for _ in 0..BATCH {
            if self.end.is_some() || self.own > ENOUGH {
                return;
            }
            let Some(stored) = self.initial.pop_front() else {
                return;
            };
            self.send(EventType::Added, &stored);
        }
    }

    /// Looks at what happened since the cursor, as much as goes in one batch.
    fn collect(&mut self) -> Look {
        let shared = Arc::clone(&self.shared);
        let state = shared.lock();
        let storage = &state.storage;
        if storage.epoch() != self.epoch {
            self.end = Some(Ending::Clean);
            return Look::default();
        }
        let (visible, wake_at) = storage.visible(self.watcher.replica, clock::now());
        let followed = storage.followed(&self.id);
        if self.is_too_slow(followed) {
            tracing::debug!(kind = %self.id, "a slow watcher is cut off");
            self.end = Some(Ending::Clean);
            return Look::default();
        }
        let events: Vec<Arc<Event>> = followed
            .after(self.cursor)
            .take_while(|event| event.version <= visible)
            .take(BATCH)
            .cloned()
            .collect();
        let mut drained = events.len() < BATCH;
        let closed = followed.is_closed();
        drop(state);
        self.own = 0;
        for event in &events {
            if self.end.is_some() {
                break;
            }
            if self.own > ENOUGH {
                drained = false;
                break;
            }
            if let Some((kind, stored)) = self.filter.see(event) {
                self.send(kind, stored);
            }
            self.cursor = event.version;
        }
        if drained && self.end.is_none() {
            // Writes to other kinds move the version too, and bookmarks tell of it.
            self.cursor = self.cursor.max(visible);
        }
        if closed && drained {
            self.end.get_or_insert(Ending::Clean);
        }
        Look { drained, wake_at }
    }

    /// A watcher that lost touch with the history, or left more than its queue holds lying, is cut off.
    fn is_too_slow(&self, followed: Followed<'_>) -> bool {
        let seen = self.cursor.max(self.live_from);
        let fell_out = self.cursor < followed.lost();
        let limit = self.shared.config.watch_queue;
        fell_out || (limit < usize::MAX && followed.after(seen).nth(limit).is_some())
    }

    fn send(&mut self, kind: EventType, stored: &Stored) {
        self.watcher.events.fetch_add(1, SeqCst);
        let faults = self
            .shared
            .faults
            .on_event(&self.watcher.request, &stored.namespace, &stored.name);
        if faults.is_empty() && self.held.is_empty() {
            self.encoder.event(kind, stored, &mut self.pending);
            return;
        }
        let mut line = VecDeque::new();
        self.encoder.event(kind, stored, &mut line);
        let spoiled = spoil::event(line, &faults, stored);
        self.own += spoiled.len();
        match spoiled {
            Spoiled::Send(pieces) => {
                self.pending.extend(pieces);
                self.pending.append(&mut self.held);
            }
            Spoiled::Hold(pieces) => self.held.extend(pieces),
            Spoiled::Close(pieces) => self.finish(pieces, Ending::Clean),
            Spoiled::Reset(pieces) => self.finish(pieces, Ending::Reset),
            Spoiled::Stall(pieces) => self.finish(pieces, Ending::Never),
        }
    }

    fn finish(&mut self, pieces: VecDeque<Bytes>, ending: Ending) {
        self.pending.extend(pieces);
        self.end = Some(ending);
    }

    fn note_progress(&mut self) {
        let before = self.watcher.sent.swap(self.cursor, SeqCst);
        if before != self.cursor {
            self.shared.watchers.progress.notify_waiters();
        }
    }
}
