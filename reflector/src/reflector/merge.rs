//! [`Sink`]: one store behind one source or several.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use foldhash::fast::FixedState;
use hashbrown::HashMap;
use informer_store::{
    Cause, Closed, Delta, Entry, Object, ObjectKey, ReflectorStore, Replacement, ResourceVersion,
};
use tokio::sync::{Mutex, MutexGuard, Notify};

use super::{
    drive::{Machines, lock},
    scope::Scope,
};

/// Where machines deliver to. Several of them share the store: it gets one replacement once all have listed, then
/// everything as it comes, one call at a time.
pub(super) struct Sink<'a, K> {
    store: Arc<dyn ReflectorStore<K>>,
    merge: Option<Mutex<Parts<K>>>,
    machines: &'a Machines<K>,
    /// What each source is to be told of the others.
    doubts: Vec<Doubt>,
}

/// Whether a source is to be told that the history went back.
#[derive(Debug, Default)]
struct Doubt {
    raised: AtomicBool,
    news: Notify,
}

struct Parts<K> {
    /// What each source has brought, until all have listed.
    waiting: Vec<Option<Beginning<K>>>,
    /// Whether the store has got those.
    begun: bool,
    /// How far each source has come.
    versions: Vec<ResourceVersion>,
    /// Where the objects of each are.
    scopes: Vec<Scope>,
    /// Whether each has yet to notice that the history went back: versions of different histories do not compare.
    behind: Vec<bool>,
    /// How far the store was told it has come.
    claimed: ResourceVersion,
}

/// What a source has brought while others have yet to list: its list, and what has changed since.
struct Beginning<K> {
    list: Replacement<K>,
    /// The last state of what has changed; `None` is gone.
    changed: BTreeMap<ObjectKey, Option<Entry<K>>>,
}

impl<K: Object> Beginning<K> {
    /// Begins with a list. Of what was brought `before`, what it keeps is kept.
    fn new(mut list: Replacement<K>, before: Option<Self>) -> Self {
        if let Some(before) = before.filter(|_| !list.kept.is_empty()) {
            let kept: BTreeSet<_> = list.kept.iter().collect();
            let before = before.contents().entries.into_iter();
            list.entries
                .extend(before.filter(|entry| kept.contains(&entry.key)));
        }
        Self {
            list,
            changed: BTreeMap::new(),
        }
    }

    fn take(&mut self, delta: Delta<K>) {
        match delta {
            Delta::Added(entry) | Delta::Updated(entry) => {
                self.changed.insert(entry.key.clone(), Some(entry));
            }
            Delta::Deleted(tombstone) => {
                self.changed.insert(tombstone.key, None);
            }
            // There is nothing yet that could be delivered once more.
            _ => {}
        }
    }

    /// What the source has by now.
    fn contents(self) -> Replacement<K> {
        let Self { mut list, changed } = self;
        if !changed.is_empty() {
            list.entries.retain(|entry| !changed.contains_key(&entry.key));
            let entries = changed.into_values().flatten();
            list.entries
                .extend(entries.map(|entry| entry.cause(Cause::Relist)));
        }
        list
    }
}

impl<'a, K: Object> Sink<'a, K> {
    pub(super) fn new(store: Arc<dyn ReflectorStore<K>>, machines: &'a Machines<K>) -> Self {
        let sources = machines.len();
        let merge = (sources > 1).then(|| {
            Mutex::new(Parts {
                waiting: (0..sources).map(|_| None).collect(),
                begun: false,
                versions: vec![ResourceVersion::UNSET; sources],
                scopes: vec![Scope::default(); sources],
                behind: vec![false; sources],
                claimed: ResourceVersion::UNSET,
            })
        });
        Self {
            store,
            merge,
            machines,
            doubts: (0..sources).map(|_| Doubt::default()).collect(),
        }
    }

    /// Hands over what source `part` has learned.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the store as a whole call left it.
    pub(super) async fn deliver(&self, part: usize, delta: Delta<K>) -> Result<(), Closed> {
        let Some(merge) = &self.merge else {
            return self.store_takes(delta).await;
        };
        let mut parts = merge.lock().await;
        match delta {
            Delta::Replaced(replacement) if parts.begun => self.rewound(parts, part, replacement).await,
            Delta::Replaced(replacement) => self.first_list(parts, part, replacement).await,
            delta if !parts.begun => {
                parts.go_on_waiting(part, delta);
                Ok(())
            }
            Delta::Bookmark(version) => {
                parts.versions[part] = version;
                match parts.claim() {
                    Some(reached) => self.store.bookmark(reached).await,
                    None => Ok(()),
                }
            }
            delta => {
                parts.note(part, &delta);
                let reached = parts.claim();
                if !self.is_past(&parts, part, &delta) {
                    return self.store.merge(delta, reached).await;
                }
                match reached {
                    Some(reached) => self.store.bookmark(reached).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Keeps what a source has listed until all have: a store that is told of one half of its contents would call the
    /// other half gone. The source goes on meanwhile, for what it is told may be what the others wait for: room.
    async fn first_list(
        &self,
        mut parts: MutexGuard<'_, Parts<K>>,
        part: usize,
        replacement: Replacement<K>,
    ) -> Result<(), Closed> {
        let before = parts.waiting[part].take();
        if before.is_some() {
            let is_news = parts.go_back(part, replacement.version.clone());
            self.raise_doubts(part, is_news);
        } else {
            parts.versions[part] = replacement.version.clone();
            parts.behind[part] = false;
        }
        parts.waiting[part] = Some(Beginning::new(replacement, before));
        if parts.waiting.iter().any(Option::is_none) {
            return Ok(());
        }
        let version = parts.reached();
        let mut whole = Replacement::new(Vec::new(), version.clone());
        let waiting: Vec<_> = parts.waiting.iter_mut().map(Option::take).collect();
        for (part, beginning) in waiting.into_iter().enumerate() {
            let Some(replacement) = beginning.map(Beginning::contents) else {
                continue;
            };
            parts.widen(part, replacement.entries.iter().map(|entry| &entry.key));
            parts.widen(part, &replacement.kept);
            whole.entries.extend(replacement.entries);
            whole.kept.extend(replacement.kept);
            whole.rewound |= replacement.rewound;
        }
        if parts.meet() {
            leave_newest(&mut whole.entries);
        }
        self.store.replace(whole).await?;
        parts.claimed = version;
        parts.begun = true;
        Ok(())
    }

    /// The history of one source went back. The store is told in one step: of all the others have brought, nothing
    /// changes, and the version it claims goes back with the one furthest behind.
    async fn rewound(
        &self,
        mut parts: MutexGuard<'_, Parts<K>>,
        part: usize,
        mut replacement: Replacement<K>,
    ) -> Result<(), Closed> {
        let is_news = parts.go_back(part, replacement.version);
        let version = parts.reached();
        replacement.version = version.clone();
        parts.widen(part, replacement.entries.iter().map(|entry| &entry.key));
        // What has moved to another source since it was listed is that one's to keep.
        replacement.entries.retain(|entry| {
            let later = |held: &ResourceVersion| *held > entry.object.version();
            !self.others_hold(&parts, part, &entry.key, later)
        });
        // What the others have yet to deliver is in order whatever becomes of it here: their deltas come later.
        for other in (0..self.machines.len()).filter(|other| *other != part) {
            replacement
                .kept
                .extend(lock(&self.machines[other]).keys().cloned());
        }
        self.store.replace(replacement).await?;
        parts.claimed = version;
        self.raise_doubts(part, is_news);
        Ok(())
    }

    /// Source `part` knows that the history went back; the others have yet to, if that is news.
    fn raise_doubts(&self, part: usize, is_news: bool) {
        self.doubts[part].raised.store(false, Ordering::Relaxed);
        let others = self.doubts.iter().enumerate();
        for (_, doubt) in others.filter(|(other, _)| is_news && *other != part) {
            doubt.raised.store(true, Ordering::Relaxed);
            doubt.news.notify_one();
        }
    }

    /// Waits until another source has found that the history went back, unless source `part` has found so itself since.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn doubt(&self, part: usize) {
        while !self.take_doubt(part) {
            self.doubts[part].news.notified().await;
        }
    }

    /// Whether that is so now; said once.
    pub(super) fn take_doubt(&self, part: usize) -> bool {
        let raised = &self.doubts[part].raised;
        raised.load(Ordering::Relaxed) && raised.swap(false, Ordering::Relaxed)
    }

    /// Whether what `delta` says of an object is past: another source holds it, or another object of its name, in a
    /// later state. Objects come from one source to another by their labels or, in shards, as others of the same name;
    /// and the source that they come to may tell it first.
    fn is_past(&self, parts: &Parts<K>, part: usize, delta: &Delta<K>) -> bool {
        match delta {
            Delta::Added(entry) | Delta::Updated(entry) | Delta::Sync(entry) => {
                let later = |held: &ResourceVersion| *held > entry.object.version();
                self.others_hold(parts, part, &entry.key, later)
            }
            Delta::Deleted(tombstone) => {
                let later = |held: &ResourceVersion| *held >= tombstone.version;
                self.others_hold(parts, part, &tombstone.key, later)
            }
            _ => false,
        }
    }

    /// Whether another source of the history of `part` holds `key` at a version that is as asked for.
    fn others_hold(
        &self,
        parts: &Parts<K>,
        part: usize,
        key: &ObjectKey,
        is: impl Fn(&ResourceVersion) -> bool,
    ) -> bool {
        let others = parts.scopes.iter().enumerate();
        others
            .filter(|(other, scope)| *other != part && scope.may_have(key))
            .filter(|(other, _)| parts.behind[*other] == parts.behind[part])
            .any(|(other, _)| lock(&self.machines[other]).version_of(key).is_some_and(&is))
    }

    async fn store_takes(&self, delta: Delta<K>) -> Result<(), Closed> {
        match delta {
            Delta::Added(entry) => self.store.add(entry).await,
            Delta::Updated(entry) | Delta::Sync(entry) => self.store.update(entry).await,
            Delta::Deleted(tombstone) => self.store.delete(tombstone).await,
            Delta::Replaced(replacement) => self.store.replace(replacement).await,
            Delta::Resync(part) => self.store.resync(part).await,
            Delta::Bookmark(version) => self.store.bookmark(version).await,
            _ => Ok(()),
        }
    }
}

impl<K: Object> Parts<K> {
    /// Takes what source `part` brings while others have yet to list.
    fn go_on_waiting(&mut self, part: usize, delta: Delta<K>) {
        self.note(part, &delta);
        if let Delta::Bookmark(version) = delta {
            self.versions[part] = version;
        } else if let Some(beginning) = &mut self.waiting[part] {
            beginning.take(delta);
        }
    }

    /// Notes what `delta` says of how far source `part` has come. What a list brings comes in no order, and its end is
    /// told by a bookmark.
    fn note(&mut self, part: usize, delta: &Delta<K>) {
        self.widen(part, delta.key());
        let version = match delta {
            Delta::Added(entry) | Delta::Updated(entry) if entry.cause == Cause::Live => {
                entry.object.version()
            }
            Delta::Deleted(tombstone) if tombstone.cause == Cause::Live => tombstone.version.clone(),
            _ => return,
        };
        if version > self.versions[part] {
            self.versions[part] = version;
        }
    }

    /// Notes that the history of source `part` went back to `version`. Whether that is news: then the others have yet to
    /// notice.
    fn go_back(&mut self, part: usize, version: ResourceVersion) -> bool {
        self.versions[part] = version;
        if self.behind[part] {
            self.behind[part] = false;
            return false;
        }
        self.behind.fill(true);
        self.behind[part] = false;
        true
    }

    fn widen<'k>(&mut self, part: usize, keys: impl IntoIterator<Item = &'k ObjectKey>) {
        for key in keys {
            self.scopes[part].widen(key);
        }
    }

    /// Whether two sources may have brought the same key.
    fn meet(&self) -> bool {
        let scopes = self.scopes.iter().enumerate();
        scopes
            .flat_map(|(at, one)| self.scopes[..at].iter().map(move |other| (one, other)))
            .any(|(one, other)| one.meets(other))
    }

    /// How far all have come, if the store has not been told.
    fn claim(&mut self) -> Option<ResourceVersion> {
        let reached = self.reached();
        (reached > self.claimed).then(|| {
            self.claimed.clone_from(&reached);
            reached
        })
    }

    /// How far every source has come.
    fn reached(&self) -> ResourceVersion {
        let mut reached = self.versions[0].clone();
        for version in &self.versions[1..] {
            if *version < reached {
                reached = version.clone();
            }
        }
        reached
    }
}

/// Leaves of the entries of a key only the newest.
fn leave_newest<K: Object>(entries: &mut Vec<Entry<K>>) {
    let mut newest: HashMap<ObjectKey, (usize, ResourceVersion), FixedState> = HashMap::default();
    newest.reserve(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let version = entry.object.version();
        match newest.get_mut(&entry.key) {
            Some(known) if known.1 < version => *known = (at, version),
            Some(_) => {}
            None => {
                newest.insert(entry.key.clone(), (at, version));
            }
        }
    }
    let mut at = 0;
    entries.retain(|entry| {
        let is_newest = newest.get(&entry.key).is_some_and(|(newest, _)| *newest == at);
        at += 1;
        is_newest
    });
}
