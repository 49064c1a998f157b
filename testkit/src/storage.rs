//! Everything the server knows: objects of all kinds under one revision counter, and what happened to them lately.
//!
//! # Ordering & consistency
//! One counter numbers every write of every kind, as etcd's does. A kind keeps its newest state and a window of events;
//! a state inside the window is rebuilt by undoing events, so exact lists, continued pages and lagging replicas all
//! share one mechanism.
//!
//! # Memory
//! An object is encoded once, as the watch line of its write. State, events, lists and watchers share these bytes.

mod history;
mod object;

use std::{
    collections::{BTreeMap, VecDeque},
    ops::Bound,
    sync::Arc,
    time::Duration,
};

use serde_json::Value;
use tokio::time::Instant;

use crate::clock;

pub(crate) use self::{
    history::{Event, Log, Window},
    object::{EventType, Key, Opening, Stored},
};

/// Names a kind within the storage: `plural` or `plural.group`.
pub(crate) type KindId = Arc<str>;

/// How far behind a replica answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Lag {
    /// Always current.
    #[default]
    None,
    /// Stuck at one revision until told otherwise.
    Frozen(u64),
    /// A number of revisions behind the newest.
    Behind(u64),
    /// Sees each write this much later.
    Delay(Duration),
}

/// Objects, events and the revision.
#[derive(Debug, Default)]
pub(crate) struct Storage {
    revision: u64,
    /// Revisions at or below can't be read exactly any more.
    compacted: u64,
    kinds: BTreeMap<KindId, Kind>,
    window: Window,
    /// When each recent revision was written; kept only as far back as the longest delay of a replica.
    commits: VecDeque<(Instant, u64)>,
    replicas: Vec<Lag>,
    /// Grows when the state was replaced: streams of an older epoch end.
    epoch: u64,
}

/// One kind's state and history.
#[derive(Debug, Default)]
struct Kind {
    objects: BTreeMap<Key, Arc<Stored>>,
    log: Log,
    /// Its definition is gone: watches end once they have sent what is left.
    closed: bool,
}

/// The whole state at one moment, cheap to take and to hold: the objects' bytes are shared.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) kinds: BTreeMap<KindId, BTreeMap<Key, Arc<Stored>>>,
}

impl Snapshot {
    /// The revision it was taken at.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// How many objects it holds, of all kinds.
    pub fn len(&self) -> usize {
        self.kinds.values().map(BTreeMap::len).sum()
    }

    /// Whether it holds no object.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One page of a list.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) items: Vec<Arc<Stored>>,
    /// The key after which more items follow.
    pub(crate) next_after: Option<Key>,
    /// Items after this page, counted without any selector.
    pub(crate) remaining: usize,
}

/// A kind as its watches see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Followed<'a>(Option<&'a Kind>);

impl<'a> Followed<'a> {
    /// Events after `version`, oldest first.
    pub(crate) fn after(self, version: u64) -> impl Iterator<Item = &'a Arc<Event>> {
        self.0.into_iter().flat_map(move |kind| kind.log.after(version))
    }

    /// The newest event that no watch can get any more.
    pub(crate) fn lost(self) -> u64 {
        self.0.map_or(0, |kind| kind.log.lost())
    }

    /// Its definition is gone.
    pub(crate) fn is_closed(self) -> bool {
        self.0.is_some_and(|kind| kind.closed)
    }
}

/// The revision asked for has left the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compacted;

impl Storage {
    pub(crate) fn new(window: Window, replicas: usize) -> Self {
        Self {
            revision: 1,
            window,
            replicas: vec![Lag::None; replicas.max(1)],
            ..Self::default()
        }
    }

    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    pub(crate) fn compacted(&self) -> u64 {
        self.compacted
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn get(&self, kind: &str, key: &Key) -> Option<&Arc<Stored>> {
        self.kinds.get(kind)?.objects.get(key)
    }

    pub(crate) fn count(&self, kind: &str) -> usize {
        self.kinds.get(kind).map_or(0, |kind| kind.objects.len())
    }

    /// Writes an object and returns it as stored, with its new version.
    pub(crate) fn put(
        &mut self,
        kind: &KindId,
        opening: &Opening,
        mut object: Value,
        fields: BTreeMap<String, String>,
        now: Instant,
    ) -> Arc<Stored> {
        let version = self.next_revision(now);
        set_version(&mut object, version);
        let entry = self.kind_mut(kind);
        let key = key_of(&object);
        let previous = entry.objects.get(&key).cloned();
        let event = if previous.is_some() {
            EventType::Modified
        } else {
            EventType::Added
        };
        let stored = Arc::new(Stored::encode(&object, version, opening, event, fields));
        entry.objects.insert(key, Arc::clone(&stored));
        entry
            .log
            .push(Event::new(version, event, Arc::clone(&stored), previous, now));
        self.trim(kind, now);
        stored
    }

    /// Removes an object; `last` is its final state, which watchers get under the new version.
    pub(crate) fn remove(
        &mut self,
        kind: &KindId,
        opening: &Opening,
        mut last: Value,
        fields: BTreeMap<String, String>,
        now: Instant,
    ) -> Option<Arc<Stored>> {
        let key = key_of(&last);
        let previous = self.kinds.get_mut(kind)?.objects.remove(&key)?;
        let version = self.next_revision(now);
        set_version(&mut last, version);
        let stored = Arc::new(Stored::encode(
            &last,
            version,
            opening,
            EventType::Deleted,
            fields,
        ));
        self.kind_mut(kind).log.push(Event::new(
            version,
            EventType::Deleted,
            Arc::clone(&stored),
            Some(previous),
            now,
        ));
        self.trim(kind, now);
        Some(stored)
    }

    /// Uses up one revision, as a write to something outside the served kinds does.
    pub(crate) fn next_revision(&mut self, now: Instant) -> u64 {
        self.revision += 1;
        let longest = self.replicas.iter().filter_map(|lag| match lag {
            Lag::Delay(delay) => Some(*delay),
            _ => None,
        });
        if let Some(longest) = longest.max() {
            self.commits.push_back((now, self.revision));
            // One commit older than the delay stays: it is the newest a replica may show.
            while self.commits.len() > 1 && now.saturating_duration_since(self.commits[1].0) >= longest {
                self.commits.pop_front();
            }
        }
        self.revision
    }

    /// Events at or below this version have left the kind's window.
    pub(crate) fn window_start(&self, kind: &str) -> u64 {
        self.kinds
            .get(kind)
            .map_or(0, |kind| kind.log.start())
            .max(self.compacted)
    }

    /// What a watch of a kind needs to know, found once.
    pub(crate) fn followed(&self, kind: &str) -> Followed<'_> {
        Followed(self.kinds.get(kind))
    }

    pub(crate) fn window(&self) -> Window {
        self.window
    }

    /// Sets how much history each kind keeps.
    pub(crate) fn set_window(&mut self, window: Window, now: Instant) {
        self.window = window;
        let pin = self.pinned();
        for kind in self.kinds.values_mut() {
            kind.log.trim(window, pin, now);
        }
    }

    /// Lets events of a kind go that have grown old since its last write.
    pub(crate) fn expire(&mut self, kind: &str, now: Instant) {
        let (window, pin) = (self.window, self.pinned());
        if let Some(kind) = self.kinds.get_mut(kind) {
            kind.log.trim(window, pin, now);
        }
    }

    /// The newest revision a replica shows. Also when it will show more, if that is a matter of time.
    pub(crate) fn visible(&self, replica: usize, now: Instant) -> (u64, Option<Instant>) {
        match self.replicas.get(replica).copied().unwrap_or_default() {
            Lag::None => (self.revision, None),
            Lag::Frozen(at) => (at.min(self.revision), None),
            Lag::Behind(by) => (self.revision.saturating_sub(by).max(1), None),
            Lag::Delay(delay) => {
                let hidden = self
                    .commits
                    .iter()
                    .find(|(at, _)| now.saturating_duration_since(*at) < delay);
                match hidden {
                    Some((at, revision)) => (revision - 1, Some(clock::after(*at, delay))),
                    None => (self.revision, None),
                }
            }
        }
    }

    pub(crate) fn replicas(&self) -> usize {
        self.replicas.len()
    }

    pub(crate) fn lags(&self) -> &[Lag] {
        &self.replicas
    }

    pub(crate) fn set_lag(&mut self, replica: usize, lag: Lag) {
        if let Some(slot) = self.replicas.get_mut(replica) {
            *slot = lag;
        }
        self.commits.clear();
    }

    /// Freezes a replica at what it shows now.
    pub(crate) fn freeze(&mut self, replica: usize, now: Instant) -> u64 {
        let (at, _) = self.visible(replica, now);
        self.set_lag(replica, Lag::Frozen(at));
        at
    }

    /// One object as it was at a revision.
    pub(crate) fn get_at(
        &self,
        kind: &str,
        key: &Key,
        version: u64,
    ) -> Result<Option<Arc<Stored>>, Compacted> {
        let Some(kind_state) = self.kinds.get(kind) else {
            return Ok(None);
        };
        let overlay = kind_state.undone(version)?;
        Ok(match overlay.get(key) {
            Some(then) => then.clone(),
            None => kind_state.objects.get(key).cloned(),
        })
    }

    /// Items of a kind at a revision, in key order.
    ///
    /// `namespace` narrows to one; `after` starts behind a key; at most `limit` items that `keep` accepts.
    pub(crate) fn page(
        &self,
        kind: &str,
        version: u64,
        namespace: Option<&str>,
        after: Option<&Key>,
        limit: Option<usize>,
        mut keep: impl FnMut(&Stored) -> bool,
    ) -> Result<Page, Compacted> {
        let mut page = Page {
            items: Vec::new(),
            next_after: None,
            remaining: 0,
        };
        let Some(state) = self.kinds.get(kind) else {
            return Ok(page);
        };
        let overlay = state.undone(version)?;
        let from = match (after, namespace) {
            (Some(key), _) => Bound::Excluded(key.clone()),
            (None, Some(namespace)) => Bound::Included((namespace.into(), "".into())),
            (None, None) => Bound::Unbounded,
        };
        if overlay.is_empty() && limit.is_none() && namespace.is_none() {
            page.items.reserve(state.objects.len());
        }
        let in_range = |key: &Key| namespace.is_none_or(|namespace| *key.0 == *namespace);
        let mut full_at: Option<Key> = None;
        for (key, stored) in merged(&state.objects, &overlay, from) {
            if !in_range(key) {
                break;
            }
            if full_at.is_some() {
                page.remaining += 1;
            } else if keep(stored) {
                page.items.push(Arc::clone(stored));
                if limit == Some(page.items.len()) {
                    full_at = Some(key.clone());
                }
            }
        }
        if page.remaining > 0 {
            page.next_after = full_at;
        }
        Ok(page)
    }

    /// Forgets history at or below a revision.
    pub(crate) fn compact_to(&mut self, version: u64) {
        self.compacted = self.compacted.max(version.min(self.revision));
        let compacted = self.compacted;
        let pin = self.pinned();
        for kind in self.kinds.values_mut() {
            kind.log.forget_to(compacted, pin);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        Snapshot {
            revision: self.revision,
            kinds: self
                .kinds
                .iter()
                .map(|(id, kind)| (Arc::clone(id), kind.objects.clone()))
                .collect(),
        }
    }

    /// Goes back to a snapshot: the revision goes back too, history is empty, streams of the old epoch end.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot, end_streams: bool) {
        self.revision = snapshot.revision;
        self.compacted = self.compacted.min(snapshot.revision);
        self.commits.clear();
        for (id, kind) in &mut self.kinds {
            kind.objects = snapshot.kinds.get(id).cloned().unwrap_or_default();
            kind.log.clear(snapshot.revision);
        }
        for (id, objects) in &snapshot.kinds {
            self.kinds.entry(Arc::clone(id)).or_insert_with(|| {
                let mut log = Log::default();
                log.clear(snapshot.revision);
                Kind {
                    objects: objects.clone(),
                    log,
                    closed: false,
                }
            });
        }
        if end_streams {
            self.epoch += 1;
        }
    }

    /// Opens or closes a kind. Watches of a closed kind end once they have sent what is left.
    pub(crate) fn set_closed(&mut self, kind: &KindId, closed: bool) {
        self.kind_mut(kind).closed = closed;
    }

    fn kind_mut(&mut self, id: &KindId) -> &mut Kind {
        self.kinds.entry(Arc::clone(id)).or_default()
    }

    fn trim(&mut self, kind: &KindId, now: Instant) {
        let (window, pin) = (self.window, self.pinned());
        self.kind_mut(kind).log.trim(window, pin, now);
    }

    /// History after this revision must stay, since a replica still shows it.
    fn pinned(&self) -> u64 {
        let stuck = self.replicas.iter().filter_map(|lag| match lag {
            Lag::Frozen(at) => Some(*at),
            Lag::Behind(by) => Some(self.revision.saturating_sub(*by)),
            Lag::Delay(_) => self
                .commits
                .front()
                .map(|(_, revision)| revision.saturating_sub(1)),
            Lag::None => None,
        });
        stuck.min().unwrap_or(u64::MAX)
    }
}

impl Kind {
    /// What differed at `version`: each key touched later, with the state it had then.
    fn undone(&self, version: u64) -> Result<BTreeMap<Key, Option<Arc<Stored>>>, Compacted> {
        if !self.log.reaches(version) {
            return Err(Compacted);
        }
        let mut then = BTreeMap::new();
        for event in self.log.after(version) {
            then.entry(event.object.key())
                .or_insert_with(|| event.previous.clone());
        }
        Ok(then)
    }
}

/// Walks the live objects with the overlay laid over them, in key order.
fn merged<'a>(
    live: &'a BTreeMap<Key, Arc<Stored>>,
    overlay: &'a BTreeMap<Key, Option<Arc<Stored>>>,
    from: Bound<Key>,
) -> impl Iterator<Item = (&'a Key, &'a Arc<Stored>)> {
    let range = (from, Bound::Unbounded);
    let mut live = live.range(range.clone()).peekable();
    let mut overlay = overlay.range(range).peekable();
    std::iter::from_fn(move || {
        loop {
            let take_overlay = match (live.peek(), overlay.peek()) {
                (None, None) => return None,
                (Some(_), None) => false,
                (None, Some(_)) => true,
                (Some(&(a, _)), Some(&(b, _))) => {
                    if a == b {
                        live.next();
                    }
                    // On equal keys the live one was just passed over: the overlay is what held then.
                    a >= b
                }
            };
            if !take_overlay {
                return live.next();
            }
            if let Some((key, Some(stored))) = overlay.next() {
                return Some((key, stored));
            }
        }
    })
}

pub(crate) fn key_of(object: &Value) -> Key {
    let metadata = object.get("metadata");
    let text = |field: &str| {
        metadata
            .and_then(|m| m.get(field))
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    (text("namespace").into(), text("name").into())
}

fn set_version(object: &mut Value, version: u64) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("resourceVersion".to_owned(), Value::from(version.to_string()));
    }
}
