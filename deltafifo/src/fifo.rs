//! [`DeltaFifo`]: the queue itself, as a plain state machine.

mod classic;
mod line;
mod merge;
mod replace;

use std::{fmt, mem, sync::Arc};

use informer_store::{Batch, Delta, Object, ObjectKey, Replacement, ResourceVersion, ResyncPart};

use self::{
    line::{Item, Line, Node, Verb},
    merge::{Merged, merge},
};
use crate::{Config, Discipline, KnownObjects, Stats, WhenFull};

/// A bounded queue of deltas: no lock, no clock, no waiting.
///
/// [`channel`](crate::channel) puts a lock and wakers around it; use it directly for a scheduler of your own, for
/// simulation or for measurement.
///
/// # Ordering
/// Deltas of one key leave in the order in which they came (D1). Under [`Discipline::Compressed`] and
/// [`Discipline::Latest`] keys leave in the order in which they began to wait; under [`Discipline::Ordered`] all
/// deltas leave in the order of arrival. A replacement leaves alone, before everything that came after it, and makes
/// void everything that came before it.
///
/// # Memory
/// About 100 bytes a waiting delta besides the object, at most [`Config::capacity`] of them, and at most one
/// replacement.
///
/// # Examples
/// ```
/// use informer_deltafifo::{Config, DeltaFifo};
/// use informer_store::{Delta, Entry};
/// use k8s_openapi::api::core::v1::Pod;
/// # fn pod(version: &str) -> Pod {
/// #     let mut pod = Pod::default();
/// #     pod.metadata.name = Some("web".into());
/// #     pod.metadata.uid = Some("u1".into());
/// #     pod.metadata.resource_version = Some(version.into());
/// #     pod
/// # }
///
/// let mut fifo = DeltaFifo::new(Config::default());
/// fifo.push(Delta::Added(Entry::new(pod("7"))?))?;
/// fifo.push(Delta::Updated(Entry::new(pod("8"))?))?;
///
/// let batch = fifo.pop(usize::MAX).ok_or("nothing waits")?.batch;
/// assert_eq!((batch.len(), batch.deltas[0].kind()), (1, "added"));
/// assert_eq!(batch.version, Some("8".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// client-go `tools/cache/delta_fifo.go` `DeltaFIFO`, `the_real_fifo.go` `RealFIFO`, `fifo.go` `FIFO`.
pub struct DeltaFifo<K> {
    config: Config,
    line: Line<K>,
    replaced: Option<Replacement<K>>,
    bookmark: Option<Reached>,
    resync: Vec<ResyncPart>,
    /// The number of the newest resync part.
    resync_at: u64,
    /// The number of the newest delta taken; each gets one.
    number: u64,
    /// The newest delta handed out that moved the history, and the version it brought.
    cut: (u64, ResourceVersion),
    /// Whether versions of single deltas say how far the history has come.
    claims_deltas: bool,
    /// The newest delta of the first replacement, until that has been handed out whole.
    initial: Initial,
    known: Option<Known<K>>,
    stats: Stats,
}

/// What a batch is, besides its deltas.
#[non_exhaustive]
pub struct Popped<K> {
    /// The deltas, in order.
    pub batch: Batch<K>,
    /// Whether the first replacement has been applied whole once this batch has been. True for one batch only.
    pub completes_sync: bool,
}

/// The queue has no room: the delta comes back.
#[derive(thiserror::Error)]
#[error("the queue is full")]
pub struct Full<K>(pub Delta<K>);

/// What a delta made void. Dropping it may free many objects: do so outside any lock.
#[must_use = "drop it outside the lock around the queue"]
pub struct Spent<K>(
    #[expect(dead_code, reason = "only there to be dropped by whoever holds it")] SpentInner<K>,
);

#[expect(dead_code, reason = "only there to be dropped by whoever holds it")]
enum SpentInner<K> {
    Nothing,
    Item(Item<K>),
    All(Option<Replacement<K>>, Line<K>),
}

/// Keys carry a seeded hash of their own, so that a plain hasher over it will do.
type KeyMap<Q, V> = hashbrown::HashMap<Q, V, foldhash::fast::RandomState>;

/// A version that is reached once everything before `number` has been handed out.
struct Reached {
    number: u64,
    version: ResourceVersion,
    /// The newest list among all that this stands for whose history had gone back, if any, with its number: before it,
    /// versions may be larger.
    rewound: Option<(u64, ResourceVersion)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Initial {
    Missing,
    Waiting(u64),
    Done,
}

/// The known objects of a classic queue, and what has been handed out to them but perhaps not applied yet.
struct Known<K> {
    objects: Arc<dyn KnownObjects<K>>,
    in_flight: Vec<(ObjectKey, Option<Arc<K>>)>,
}

impl<K: Object> DeltaFifo<K> {
    /// An empty queue for a consumer that compares replacements with what it holds, as our store does.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with(config, None)
    }

    /// An empty queue that turns each replacement and resync into deltas of single objects, by looking at what the
    /// consumer holds.
    ///
    /// A replacement becomes a [`Delta::Deleted`] marked as inferred for each object that is known or waits but is
    /// not listed, in key order, then a [`Delta::Sync`] for each listed one, in list order (D3); a resync becomes a
    /// [`Delta::Sync`] for each known object of which nothing waits. Where it merges, a listed object brings what waits of
    /// it to the state that was listed. A replacement is always taken whole, even
    /// where that exceeds the capacity. Deletions of objects that nobody knows are ignored, except under
    /// [`Discipline::Ordered`].
    #[must_use]
    pub fn classic(config: Config, known: Arc<dyn KnownObjects<K>>) -> Self {
        let known = Known {
            objects: known,
            in_flight: Vec::new(),
        };
        Self::with(config, Some(known))
    }

    fn with(config: Config, known: Option<Known<K>>) -> Self {
        Self {
            line: Line::new(config.discipline != Discipline::Ordered),
            config: config.capacity(config.capacity.clamp(1, u32::MAX as usize - 1)),
            replaced: None,
            bookmark: None,
            resync: Vec::new(),
            resync_at: 0,
            number: 0,
            cut: (0, ResourceVersion::UNSET),
            claims_deltas: true,
            initial: Initial::Missing,
            known,
            stats: Stats::default(),
        }
    }

    /// From now on only replacements and bookmarks say how far the history has come: the deltas are of several
    /// histories, which do not go on together.
    pub fn claim_bookmarks_only(&mut self) {
        self.claims_deltas = false;
    }

    /// Takes a delta. O(1), except for a replacement.
    ///
    /// # Errors
    /// [`Full`] hands the delta back if it needs room and there is none. One that merges into a waiting one needs
    /// none, nor does a replacement, a resync or a bookmark.
    pub fn push(&mut self, delta: Delta<K>) -> Result<Spent<K>, Full<K>> {
        match delta {
            Delta::Added(entry) => self.take(entry.key, Item::live(Verb::Added, entry.cause, entry.object)),
            Delta::Updated(entry) => {
                self.take(entry.key, Item::live(Verb::Updated, entry.cause, entry.object))
            }
            Delta::Sync(entry) => self.take(entry.key, Item::live(Verb::Sync, entry.cause, entry.object)),
            Delta::Deleted(tombstone) => {
                if self.is_unknown(&tombstone.key) {
                    self.stats.ignored += 1;
                    return Ok(Spent(SpentInner::Item(Item::Dead(Box::new(tombstone)))));
                }
                self.take(tombstone.key.clone(), Item::Dead(Box::new(tombstone)))
            }
            Delta::Replaced(replacement) => Ok(self.replace(replacement)),
            Delta::Resync(part) => {
                self.resync(part);
                Ok(Spent(SpentInner::Nothing))
            }
            Delta::Bookmark(version) => {
                self.stats.bookmarks += 1;
                self.mark(version, false);
                Ok(Spent(SpentInner::Nothing))
            }
            // A kind of delta that this version does not know concerns the consumer alone; there is none.
            _ => Ok(Spent(SpentInner::Nothing)),
        }
    }

    /// Takes the oldest deltas, at most `max` of single objects; 0 counts as 1. `None` where nothing waits.
    ///
    /// A replacement leaves alone, and so do resync parts. A bookmark leaves as the version of the batch before it,
    /// or alone. The version of the batch is set if nothing waits any more that is older than what has been handed
    /// out. O(batch).
    pub fn pop(&mut self, max: usize) -> Option<Popped<K>> {
        self.forget_in_flight();
        let batch = if let Some(replacement) = self.replaced.take() {
            self.cut.1 = replacement.version.clone();
            let version = replacement.version.clone();
            Batch::new(vec![Delta::Replaced(replacement)], set(version))
        } else if !self.resync.is_empty() && self.passed(self.resync_at) {
            let parts = mem::take(&mut self.resync);
            Batch::new(parts.into_iter().map(Delta::Resync).collect(), None)
        } else if !self.line.is_empty() {
            let deltas = self.pop_line(max.max(1));
            Batch::new(deltas, self.reached())
        } else {
            let version = self.bookmark.take().map(|mark| self.reach(mark))?;
            let deltas = version.clone().map(Delta::Bookmark).into_iter().collect();
            Batch::new(deltas, version)
        };
        self.stats.batches += 1;
        self.stats.depth = self.line.len();
        let completes_sync = match self.initial {
            Initial::Waiting(number) => self.replaced.is_none() && self.passed(number),
            Initial::Missing | Initial::Done => false,
        };
        if completes_sync {
            self.initial = Initial::Done;
        }
        Some(Popped {
            batch,
            completes_sync,
        })
    }

    /// Learns that all that was handed out has been applied. Only a classic queue needs to know; the next
    /// [`pop`](Self::pop) says the same.
    pub fn applied(&mut self) {
        self.forget_in_flight();
    }

    /// Whether a delta of one more key would find no room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        let steps_down = self.config.when_full == WhenFull::Compress && !self.line.grouped();
        self.line.len() >= self.config.capacity && !steps_down
    }

    fn take(&mut self, key: ObjectKey, item: Item<K>) -> Result<Spent<K>, Full<K>> {
        if self.line.len() >= self.config.capacity
            && self.config.when_full == WhenFull::Compress
            && !self.line.grouped()
        {
            self.step_down();
        }
        let capacity = self.config.capacity;
        let spent = self.take_within(capacity, key, item)?;
        if self.initial == Initial::Missing && self.known.is_some() {
            // Fed without a first replacement, as client-go allows: there is nothing to wait for.
            self.initial = Initial::Waiting(0);
        }
        Ok(spent)
    }

    fn take_within(&mut self, capacity: usize, key: ObjectKey, item: Item<K>) -> Result<Spent<K>, Full<K>> {
        let head = if self.line.grouped() {
            self.line.find(&key)
        } else {
            None
        };
        let number = self.number + 1;
        let mut item = item;
        if let Some(head) = head {
            let latest = self.config.discipline == Discipline::Latest;
            match merge(self.line.tail_mut(head), item, number, latest) {
                Merged::Into(spent) => {
                    self.number = number;
                    self.stats.added += 1;
                    self.stats.coalesced += 1;
                    return Ok(Spent(SpentInner::Item(spent)));
                }
                Merged::Apart(apart) => item = apart,
            }
        }
        if self.line.len() >= capacity {
            return Err(Full(Node::new(key, item, number).into_delta()));
        }
        self.line.append(head, Node::new(key, item, number));
        self.number = number;
        self.stats.added += 1;
        self.stats.depth = self.line.len();
        self.stats.depth_max = self.stats.depth_max.max(self.stats.depth);
        Ok(Spent(SpentInner::Nothing))
    }

    fn resync(&mut self, part: ResyncPart) {
        self.stats.resyncs += 1;
        if self.known.is_some() {
            self.classic_resync(part);
            return;
        }
        self.number += 1;
        self.resync_at = self.number;
        let whole = part.of <= 1 || self.resync.len() >= RESYNC_PARTS_MAX;
        if whole || self.resync.contains(&ResyncPart::ALL) {
            self.resync.clear();
            self.resync.push(ResyncPart::ALL);
        } else if !self.resync.contains(&part) {
            self.resync.push(part);
        }
    }

    /// Notes that `version` is reached with all that waits now.
    fn mark(&mut self, version: ResourceVersion, rewound: bool) {
        self.number += 1;
        let before = self.bookmark.take().and_then(|mark| mark.rewound);
        let rewound = rewound.then(|| (self.number, version.clone())).or(before);
        self.bookmark = Some(Reached {
            number: self.number,
            version,
            rewound,
        });
    }

    fn pop_line(&mut self, max: usize) -> Vec<Delta<K>> {
        let waiting = self.line.len();
        let mut deltas = Vec::with_capacity(waiting.min(max));
        // Reading a version costs more than all the rest, so only the newest delta is asked for it, and only if its stamp
        // does not tell.
        let mut newest = (self.cut.0, None);
        let mut in_flight = self.known.as_mut().map(|known| &mut known.in_flight);
        let mut take = |node: Node<K>| {
            if node.last > newest.0 && !node.item.is_sync() {
                newest = (node.last, Some((deltas.len(), node.item.version())));
            }
            if let Some(in_flight) = &mut in_flight {
                in_flight.push((node.key.clone(), node.item.object().cloned()));
            }
            deltas.push(node.into_delta());
        };
        if max >= waiting {
            self.line.drain(&mut take);
        } else {
            for node in std::iter::from_fn(|| self.line.pop()).take(max) {
                take(node);
            }
        }
        if let (number, Some((index, noted))) = newest
            && self.claims_deltas
        {
            self.cut.0 = number;
            let version = match noted {
                Some(noted) => noted.into(),
                None => version_of(&deltas[index]),
            };
            if let Some(mark) = &mut self.bookmark {
                take_back(&mut self.cut.1, &mut mark.rewound, |at| at < number);
            }
            advance(&mut self.cut.1, version);
        }
        self.stats.popped += deltas.len() as u64;
        if self.line.is_empty() {
            self.line
                .shrink_to(self.config.capacity.saturating_mul(2).max(1024));
            self.line
                .set_grouped(self.config.discipline != Discipline::Ordered);
        }
        deltas
    }

    /// The version to claim after what has been handed out so far; `None` while something older waits.
    fn reached(&mut self) -> Option<ResourceVersion> {
        if !self.passed(self.cut.0) {
            return None;
        }
        match self.bookmark.take() {
            Some(mark) if self.passed(mark.number) => return self.reach(mark),
            // One that is older than the cut says nothing new.
            Some(mark) if mark.number > self.cut.0 => self.bookmark = Some(mark),
            Some(_) | None => {}
        }
        set(self.cut.1.clone())
    }

    fn reach(&mut self, mut mark: Reached) -> Option<ResourceVersion> {
        take_back(&mut self.cut.1, &mut mark.rewound, |_| true);
        advance(&mut self.cut.1, mark.version);
        self.cut.0 = self.cut.0.max(mark.number);
        set(self.cut.1.clone())
    }

    /// Whether everything up to `number` has left the line.
    fn passed(&self, number: u64) -> bool {
        self.line.oldest().is_none_or(|oldest| oldest > number)
    }

    /// Regroups a full ordered queue per key, in place.
    fn step_down(&mut self) {
        let mut nodes = Vec::with_capacity(self.line.len());
        self.line.drain(|node| nodes.push(node));
        self.line.set_grouped(true);
        for node in nodes {
            self.stats.coalesced += u64::from(self.line.regroup(node));
        }
        self.stats.step_downs += 1;
        self.stats.depth = self.line.len();
        tracing::debug!(depth = self.stats.depth, "full queue compressed per key");
    }

    fn forget_in_flight(&mut self) {
        if let Some(known) = &mut self.known {
            known.in_flight.clear();
        }
    }
}

impl<K> DeltaFifo<K> {
    /// How many deltas of single objects wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.line.len()
    }

    /// Whether there is nothing to pop.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.line.is_empty() && self.replaced.is_none() && self.bookmark.is_none() && self.resync.is_empty()
    }

    /// The keys that wait, in the order in which they would be popped; under [`Discipline::Ordered`] once for each
    /// delta. A waiting replacement is not looked into.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        let mut last = None;
        let grouped = self.line.grouped();
        self.line
            .iter()
            .map(|node| &node.key)
            .filter(move |key| !grouped || last.replace(*key) != Some(*key))
    }

    /// What the queue holds and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The options, as they are in force.
    #[must_use]
    pub fn config(&self) -> Config {
        self.config
    }

    pub(crate) fn count_wait(&mut self) {
        self.stats.waits += 1;
    }
}

impl<K> fmt::Debug for DeltaFifo<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeltaFifo")
            .field("config", &self.config)
            .field("replaced", &self.replaced.is_some())
            .field("stats", &self.stats)
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Popped<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Popped")
            .field("batch", &self.batch)
            .field("completes_sync", &self.completes_sync)
            .finish()
    }
}

impl<K> fmt::Debug for Full<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Full").field(&self.0).finish()
    }
}

impl<K> fmt::Debug for Spent<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spent").finish_non_exhaustive()
    }
}

/// The version a delta was seen at; unset for one that carries none.
fn version_of<K: Object>(delta: &Delta<K>) -> ResourceVersion {
    match delta {
        Delta::Added(entry) | Delta::Updated(entry) | Delta::Sync(entry) => entry.object.version(),
        Delta::Deleted(tombstone) => tombstone.version.clone(),
        _ => ResourceVersion::UNSET,
    }
}

/// Moves a version back to that of a list whose history had gone back, once, if what has been handed out reaches beyond it.
fn take_back(
    version: &mut ResourceVersion,
    rewound: &mut Option<(u64, ResourceVersion)>,
    is_passed: impl Fn(u64) -> bool,
) {
    if let Some((_, to)) = rewound.take_if(|(number, _)| is_passed(*number)) {
        *version = to;
    }
}

/// Moves a version on, never back.
fn advance(version: &mut ResourceVersion, to: ResourceVersion) {
    if !to.is_unset() && !matches!(to.partial_cmp(version), Some(std::cmp::Ordering::Less)) {
        *version = to;
    }
}

fn set(version: ResourceVersion) -> Option<ResourceVersion> {
    (!version.is_unset()).then_some(version)
}

/// More waiting parts than this become one redelivery of everything.
const RESYNC_PARTS_MAX: usize = 64;
