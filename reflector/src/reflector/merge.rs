//! [`Sink`]: one store behind one source or several.

mod beginning;
mod doubts;
mod parts;

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use informer_store::{
    Cause, Closed, Delta, Entry, Object, ObjectKey, ReflectorStore, Replacement, ResourceVersion,
};
use tokio::sync;

use self::{
    beginning::{Beginning, Listed},
    doubts::Doubts,
    parts::Parts,
};
use super::drive::{Machines, lock};

/// Where machines deliver to. Several of them share the store: it gets one replacement once all have listed, then
/// everything as it comes, one call at a time.
///
/// # Ordering
/// What a source has listed comes to the store in one step, however many sources there are: a replacement that keeps
/// what the others hold. A machine goes by a list from the moment it has it, and what the others keep is asked of their
/// machines; so a list that waits for its turn goes along with the first that has one, or the store would be told of
/// half of it, by what is not kept. Nor is what waits to be told as deleted told so by the list of another.
///
/// What one source says of an object is past once the store has got a later state from another. One that is still on its
/// way makes nothing past: the store would claim a version for a state that it has not got.
pub(super) struct Sink<'a, K> {
    store: Arc<dyn ReflectorStore<K>>,
    machines: &'a Machines<K>,
    merge: Option<Merge<K>>,
}

/// What there is to know where sources are several.
struct Merge<K> {
    /// What each driver wants to hand over while it waits for its turn.
    on_the_way: Vec<Mutex<OnTheWay<K>>>,
    /// Held by whoever's turn it is to call the store.
    parts: sync::Mutex<Parts<K>>,
    doubts: Doubts,
}

/// What a machine goes by already and the store has yet to hear.
enum OnTheWay<K> {
    Nothing,
    List(Replacement<K>),
    /// A deletion. What others list must not be what takes the object away.
    Deletion(ObjectKey),
    /// An object that the source did not have. The store must not be told that it is past what it has yet to get.
    Addition(ObjectKey),
}

impl<K> Merge<K> {
    fn on_the_way(&self, part: usize) -> MutexGuard<'_, OnTheWay<K>> {
        let on_the_way = self.on_the_way[part].lock();
        on_the_way.unwrap_or_else(PoisonError::into_inner)
    }

    fn take_list(&self, part: usize) -> Option<Replacement<K>> {
        let mut on_the_way = self.on_the_way(part);
        match mem::replace(&mut *on_the_way, OnTheWay::Nothing) {
            OnTheWay::List(list) => Some(list),
            other => {
                *on_the_way = other;
                None
            }
        }
    }
}

impl<'a, K: Object> Sink<'a, K> {
    pub(super) fn new(store: Arc<dyn ReflectorStore<K>>, machines: &'a Machines<K>) -> Self {
        let sources = machines.len();
        let merge = (sources > 1).then(|| Merge {
            on_the_way: (0..sources).map(|_| Mutex::new(OnTheWay::Nothing)).collect(),
            parts: sync::Mutex::new(Parts::new(sources)),
            doubts: Doubts::new(sources),
        });
        Self {
            store,
            machines,
            merge,
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
        let delta = match delta {
            Delta::Replaced(list) => {
                *merge.on_the_way(part) = OnTheWay::List(list);
                return self.lists_go(merge).await;
            }
            delta => delta,
        };
        match &delta {
            Delta::Added(entry) => *merge.on_the_way(part) = OnTheWay::Addition(entry.key.clone()),
            Delta::Deleted(tombstone) => {
                *merge.on_the_way(part) = OnTheWay::Deletion(tombstone.key.clone());
            }
            _ => {}
        }
        let mut parts = merge.parts.lock().await;
        *merge.on_the_way(part) = OnTheWay::Nothing;
        if !parts.begun {
            parts.go_on_waiting(part, delta);
            return Ok(());
        }
        parts.note(part, &delta);
        let is_past = self.is_past(&parts, part, &delta);
        if is_past {
            // It may be by a list that is on its way.
            self.hand_over_lists(merge, &mut parts).await?;
        }
        let is_news = !is_past && !matches!(delta, Delta::Bookmark(_));
        let reached = parts.claim();
        match reached {
            _ if is_news => self.store.merge(delta, reached).await,
            Some(reached) => self.store.bookmark(reached).await,
            None => Ok(()),
        }
    }

    /// Hands over all lists that are on their way. Before all sources have listed, what there is is kept: a store that is
    /// told of one half of its contents would call the other half gone. The sources go on meanwhile, for what one of them
    /// is told may be what the others wait for: room.
    async fn lists_go(&self, merge: &Merge<K>) -> Result<(), Closed> {
        let mut parts = merge.parts.lock().await;
        self.hand_over_lists(merge, &mut parts).await
    }

    async fn hand_over_lists(&self, merge: &Merge<K>, parts: &mut Parts<K>) -> Result<(), Closed> {
        for part in 0..self.machines.len() {
            if let Some(list) = merge.take_list(part) {
                let rewound = list.rewound;
                let is_news = parts.takes_list(part, list);
                if rewound {
                    merge.doubts.settle(part);
                }
                if is_news {
                    merge.doubts.raise(part);
                }
            }
        }
        let Some(whole) = self.whole(merge, parts) else {
            return Ok(());
        };
        let version = whole.version.clone();
        self.store.replace(whole).await?;
        parts.claimed = version;
        parts.begun = true;
        Ok(())
    }

    /// What there is in lists for the store, in one replacement.
    fn whole(&self, merge: &Merge<K>, parts: &mut Parts<K>) -> Option<Replacement<K>> {
        let lists = parts.waiting_lists();
        if lists.is_empty() {
            return None;
        }
        let mut whole = Replacement::new(Vec::new(), parts.reached());
        whole.as_of = parts.furthest();
        whole.rewound = lists.iter().any(|(_, list)| list.rewound);
        // Of lists that go together the commonest cause is told for all.
        if lists.iter().all(|(_, list)| list.cause == Cause::Repair) {
            whole.cause = Cause::Repair;
        }
        let mut others = vec![true; self.machines.len()];
        for (part, list) in &lists {
            others[*part] = false;
            parts.widen(*part, list.entries.iter().map(|entry| &entry.key));
            parts.widen(*part, &list.kept);
        }
        let mut listed = Listed::default();
        for (part, mut list) in lists {
            whole.kept.append(&mut list.kept);
            if parts.meets_any(part, &others) {
                let repairs = list.cause == Cause::Repair && !parts.is_behind(part);
                let mut contradicted = false;
                list.entries.retain(|entry| {
                    let has_moved = self.has_moved(parts, part, entry, &others);
                    if has_moved {
                        whole.kept.push(entry.key.clone());
                        contradicted |=
                            repairs && self.is_contradicted(parts, part, entry, &list.version, &others);
                    }
                    !has_moved
                });
                if contradicted {
                    merge.doubts.raise(part);
                }
            }
            listed.add(list.entries, parts.is_behind(part));
        }
        whole.entries = if parts.meet() {
            listed.newest()
        } else {
            listed.all()
        };
        self.keep(merge, &others, &mut whole.kept);
        Some(whole)
    }

    /// Whether what source `part` has listed has moved since to one of `others`: that one's state is kept.
    fn has_moved(&self, parts: &Parts<K>, part: usize, entry: &Entry<K>, others: &[bool]) -> bool {
        let later = |other, held: &ResourceVersion| {
            *held > entry.object.version() && !self.is_on_the_way(other, &entry.key)
        };
        self.is_held(parts, part, &entry.key, later, |other| others[other])
    }

    /// Whether one of `others` holds what source `part` has listed in a state that never was, if the list is right: a later
    /// one that the list, at `version`, would have had. A difference that an audit has found is then not for its source
    /// alone to repair. What came after the list only moved.
    fn is_contradicted(
        &self,
        parts: &Parts<K>,
        part: usize,
        entry: &Entry<K>,
        version: &ResourceVersion,
        others: &[bool],
    ) -> bool {
        let listed = entry.object.version();
        let never_was = |_, held: &ResourceVersion| *held > listed && held <= version;
        self.is_held(parts, part, &entry.key, never_was, |other| others[other])
    }

    /// Keeps what `others` hold that no source has listed. What they have yet to deliver comes later.
    fn keep(&self, merge: &Merge<K>, others: &[bool], kept: &mut Vec<ObjectKey>) {
        let machines = || self.machines.iter().zip(others).enumerate();
        let listed = machines().filter(|(_, (_, other))| !**other);
        let listed: Vec<_> = listed.map(|(_, (machine, _))| lock(machine)).collect();
        let is_kept = |key: &&ObjectKey| listed.iter().all(|listed| listed.version_of(key).is_none());
        for (part, (machine, _)) in machines().filter(|(_, (_, other))| **other) {
            let machine = lock(machine);
            kept.reserve(machine.len());
            kept.extend(machine.keys().filter(is_kept).cloned());
            if let OnTheWay::Deletion(key) = &*merge.on_the_way(part) {
                kept.extend(Some(key).filter(is_kept).cloned());
            }
        }
    }

    /// Waits until another source has found that the history went back, unless source `part` has found so itself since.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn doubt(&self, part: usize) {
        match &self.merge {
            Some(merge) => merge.doubts.heard(part).await,
            None => std::future::pending().await,
        }
    }

    /// Whether that is so now; said once.
    pub(super) fn take_doubt(&self, part: usize) -> bool {
        self.merge.as_ref().is_some_and(|merge| merge.doubts.take(part))
    }

    /// Whether what `delta` says of an object is past: another source holds it, or another object of its name, in a
    /// later state. Objects come from one source to another by their labels or, in shards, as others of the same name;
    /// and the source that they come to may tell it first.
    fn is_past(&self, parts: &Parts<K>, part: usize, delta: &Delta<K>) -> bool {
        match delta {
            Delta::Added(entry) | Delta::Updated(entry) | Delta::Sync(entry) => {
                let later = |other, held: &ResourceVersion| {
                    *held > entry.object.version() && !self.is_on_the_way(other, &entry.key)
                };
                self.is_held(parts, part, &entry.key, later, |_| true)
            }
            Delta::Deleted(tombstone) => {
                let (key, version) = (&tombstone.key, &tombstone.version);
                // What comes in the version of the deletion has only moved; what comes later was gone in between.
                let was_gone = |held: &ResourceVersion| held > version && !version.is_unset();
                let later = |other, held: &ResourceVersion| {
                    held >= version && !(was_gone(held) && self.is_on_the_way(other, key))
                };
                self.is_held(parts, part, key, later, |_| true)
            }
            _ => false,
        }
    }

    /// Whether another source than `part`, and one that is asked for, holds `key` in a later state: by its version, or
    /// since what `part` says is of a history that is lost.
    fn is_held(
        &self,
        parts: &Parts<K>,
        part: usize,
        key: &ObjectKey,
        is_later: impl Fn(usize, &ResourceVersion) -> bool,
        is_asked_for: impl Fn(usize) -> bool,
    ) -> bool {
        let others = parts.others_with(part, key).filter(|other| is_asked_for(*other));
        let mut others = others.map(|other| (other, lock(&self.machines[other])));
        let behind = parts.is_behind(part);
        others.any(|(other, machine)| {
            let held = machine.version_of(key);
            held.is_some_and(|held| (behind && !parts.is_behind(other)) || is_later(other, held))
        })
    }

    /// Whether source `part` has `key` as one that it did not have before, and the store has yet to hear.
    fn is_on_the_way(&self, part: usize, key: &ObjectKey) -> bool {
        let on_the_way = self.merge.as_ref().map(|merge| merge.on_the_way(part));
        on_the_way.is_some_and(|on_the_way| matches!(&*on_the_way, OnTheWay::Addition(added) if added == key))
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
