//! The rules by which deltas become changes: pure, one state in, effects out.

use std::{
    cmp::Ordering,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use smallvec::SmallVec;

use crate::{
    Cause, Change, Delta, Entry, KeyError, Object, ObjectKey, Replacement, ResourceVersion, ResyncPart,
    Stamped, Tombstone,
    index::Postings,
    log::Logged,
    slots::Held,
    state::{Prepared, State},
    stats::Tally,
};

/// What a relist says of objects that are as they were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unchanged {
    /// Nothing.
    #[default]
    Silent,
    /// An update of each, as client-go does.
    Announced,
}

/// What becomes of an object whose name is taken by one of another uid.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum UidChange {
    /// The old one is deleted, the new one added.
    #[default]
    DeleteThenAdd,
    /// One update from the old to the new, as client-go does.
    Update,
}

/// In which order a relist tells its changes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum RelistOrder {
    /// Deletions in key order, then the rest in list order.
    #[default]
    DeletesFirst,
    /// What was listed in list order, then deletions in key order, as client-go's `DeltaFIFO` does.
    DeletesLast,
}

/// How objects are keyed, where not by namespace and name.
pub(crate) type KeyFunction<K> = dyn Fn(&K) -> Result<ObjectKey, KeyError> + Send + Sync;

/// What stays the same from batch to batch.
pub(crate) struct Rules<K> {
    pub(crate) unchanged: Unchanged,
    pub(crate) uid_change: UidChange,
    pub(crate) relist_order: RelistOrder,
    pub(crate) key_function: Option<Arc<KeyFunction<K>>>,
}

/// What applying a batch gave, besides the state.
pub(crate) struct Effects<K> {
    /// Whether anybody listens.
    pub(crate) wanted: bool,
    pub(crate) changes: SmallVec<[Logged<K>; 1]>,
    /// Objects to let go of once no lock is held.
    pub(crate) dropped: SmallVec<[Arc<K>; 2]>,
    pub(crate) tally: Tally,
}

impl<K> Effects<K> {
    pub(crate) fn new(mut tally: Tally) -> Self {
        tally.batches = 1;
        Self {
            wanted: false,
            changes: SmallVec::new(),
            dropped: SmallVec::new(),
            tally,
        }
    }

    fn added(&mut self, key: &ObjectKey, new: &Arc<K>, initial: bool, cause: Cause) {
        self.tally.added += 1;
        if self.wanted {
            self.log(Change::added(key.clone(), Arc::clone(new), initial, cause));
        }
    }

    fn updated(&mut self, key: &ObjectKey, old: &Arc<K>, new: &Arc<K>, cause: Cause) {
        self.tally.updated += 1;
        if self.wanted {
            self.log(Change::updated(
                key.clone(),
                Arc::clone(old),
                Arc::clone(new),
                cause,
            ));
        }
    }

    /// `held` is what the key held, where `last` is something else.
    fn deleted(&mut self, key: &ObjectKey, last: Arc<K>, held: Option<Arc<K>>, end: End) {
        self.tally.deleted += 1;
        if self.wanted {
            let change = Change::deleted(key.clone(), last, end.inferred, end.cause)
                .or_left_selector(end.left_selector);
            self.changes.push(Logged { change, held });
        } else {
            self.dropped.push(last);
            self.dropped.extend(held);
        }
    }

    fn log(&mut self, change: Change<K>) {
        self.changes.push(Logged { change, held: None });
    }
}

/// What is known of the end of an object.
#[derive(Clone, Copy)]
struct End {
    inferred: bool,
    left_selector: bool,
    cause: Cause,
}

impl End {
    fn inferred(cause: Cause) -> Self {
        Self {
            inferred: true,
            left_selector: false,
            cause,
        }
    }
}

/// How an object that arrives relates to the one held under its key.
enum Relation {
    /// The same uid (or none known) and newer, or not comparable.
    Newer,
    /// The same uid and the same version, or the very same object.
    Same,
    /// The same uid, an older version.
    Older,
    /// Another uid: another object of that name.
    Other,
}

#[inline]
fn relation<K: Object>(held: Held<'_, K>, new: &Stamped<K>) -> Relation {
    if Arc::ptr_eq(held.object, new) {
        return Relation::Same;
    }
    if held.stamp.is_other_uid(new.stamp()) {
        return Relation::Other;
    }
    match held.stamp.compare(new.stamp()) {
        Some(Ordering::Less) => Relation::Newer,
        Some(Ordering::Equal) => Relation::Same,
        Some(Ordering::Greater) => Relation::Older,
        None => compare_versions(&held.object.version(), &new.version()),
    }
}

#[cold]
fn compare_versions(held: &ResourceVersion, new: &ResourceVersion) -> Relation {
    // Objects made by hand carry no version; nothing can be said of their age.
    if held.is_unset() || new.is_unset() {
        return Relation::Newer;
    }
    match new.partial_cmp(held) {
        Some(Ordering::Equal) => Relation::Same,
        Some(Ordering::Less) => Relation::Older,
        Some(Ordering::Greater) | None => Relation::Newer,
    }
}

/// Asks a key function; a panic counts as a refusal.
pub(crate) fn ask_key<K>(function: &KeyFunction<K>, object: &K) -> Result<ObjectKey, KeyError> {
    // Unwind safe: the function has seen nothing but an object that nobody can change.
    let asked = catch_unwind(AssertUnwindSafe(|| function(object)));
    asked.unwrap_or_else(|_| Err(KeyError::Refused("it panicked".into())))
}

/// Gives every object of `delta` the key it is to be held under, and leaves out those that are refused one; false if
/// nothing is left to apply. To be called before the state is at hand: the key function is the user's.
pub(crate) fn rekey<K: Object>(delta: &mut Delta<K>, rules: &Rules<K>, tally: &mut Tally) -> bool {
    let Some(function) = &rules.key_function else {
        return true;
    };
    let key_of = |object: &K| ask_key(&**function, object).ok();
    let mut keep = |entry: &mut Entry<K>| {
        let key = key_of(&entry.object);
        tally.unkeyed += u64::from(key.is_none());
        key.map(|key| entry.key = key).is_some()
    };
    match delta {
        Delta::Added(entry) | Delta::Updated(entry) | Delta::Sync(entry) => keep(entry),
        Delta::Replaced(replacement) => {
            replacement.entries.retain_mut(keep);
            true
        }
        Delta::Deleted(tombstone) => {
            // Without an object, or if that is refused, the key stays the metadata's.
            if let Some(key) = tombstone.object.as_deref().and_then(key_of) {
                tombstone.key = key;
            }
            true
        }
        Delta::Resync(_) | Delta::Bookmark(_) => true,
    }
}

/// What is held under the key of each delta.
pub(crate) fn find_held<K>(state: &State<K>, deltas: &[Delta<K>]) -> Found<K> {
    let find = |delta: &Delta<K>| {
        let (slot, held) = state.find(delta.key()?)?;
        Some((slot, Arc::clone(held.object)))
    };
    deltas.iter().map(find).collect()
}

/// What is held under the key of each of some deltas.
type Found<K> = SmallVec<[Option<(u32, Arc<K>)>; 1]>;

/// What each of some deltas does to the indexes; empty where there are none.
pub(crate) type PreparedAll<K> = SmallVec<[Option<Prepared<K>>; 1]>;

/// What each delta is going to do to the indexes, if what is held under its key is still that by then.
pub(crate) fn prepare<K: Object>(
    deltas: &[Delta<K>],
    held: Found<K>,
    indexes: &[Arc<dyn Postings<K>>],
) -> PreparedAll<K> {
    let prepare = |(delta, held): (&Delta<K>, Option<(u32, Arc<K>)>)| match delta {
        Delta::Added(entry) | Delta::Updated(entry) | Delta::Sync(entry) => {
            Some(Prepared::new(indexes, held, Some(&entry.object)))
        }
        Delta::Deleted(_) if held.is_some() => Some(Prepared::new(indexes, held, None)),
        _ => None,
    };
    deltas.iter().zip(held).map(prepare).collect()
}

/// Applies a batch to `state`; `prepared` has one element for each delta, or none.
#[inline]
pub(crate) fn apply<K: Object>(
    state: &mut State<K>,
    deltas: impl IntoIterator<Item = Delta<K>>,
    mut version: Option<ResourceVersion>,
    prepared: PreparedAll<K>,
    rules: &Rules<K>,
    effects: &mut Effects<K>,
) {
    let mut rewound = false;
    let mut prepared = prepared.into_iter();
    for delta in deltas {
        let prepared = prepared.next().flatten();
        match delta {
            Delta::Added(entry) | Delta::Updated(entry) => upsert(state, entry, prepared, rules, effects),
            Delta::Deleted(tombstone) => delete(state, tombstone, prepared, rules, effects),
            Delta::Replaced(replacement) => {
                rewound |= replacement.rewound;
                replace(state, replacement, rules, effects);
            }
            Delta::Sync(entry) => sync(state, entry, prepared, rules, effects),
            Delta::Resync(part) => resync(state, part, effects),
            Delta::Bookmark(_) => {}
        }
    }
    if !claim(state, &mut version, rewound) {
        effects.tally.stale_versions += 1;
    }
    state.steps += 1;
    state.changes += effects.tally.added + effects.tally.updated + effects.tally.deleted;
}

/// Claims the version of a batch, and leaves the one it had instead; false if a newer one is claimed already and stays.
#[inline]
fn claim<K>(state: &mut State<K>, version: &mut Option<ResourceVersion>, rewound: bool) -> bool {
    let Some(version) = version else { return true };
    let is_accepted = rewound || !is_older(version, &state.version);
    if is_accepted {
        std::mem::swap(version, &mut state.version);
    }
    is_accepted
}

/// Applies one object that is newer than the one held under its key, as [`apply`] does, to a state without indexes and with
/// nobody to tell: the two change places. Whether the version was accepted; `None`, with nothing changed, if the object
/// is anything but that.
#[inline]
pub(crate) fn update_quietly<K: Object>(
    state: &mut State<K>,
    entry: &mut Entry<K>,
    version: &mut Option<ResourceVersion>,
) -> Option<bool> {
    let (slot, held) = state.find(&entry.key)?;
    if !matches!(relation(held, &entry.object), Relation::Newer) {
        return None;
    }
    state.exchange(slot, &mut entry.object);
    state.steps += 1;
    state.changes += 1;
    Some(claim(state, version, false))
}

/// Whether `version` is surely older than `than`; unset counts as older than anything.
#[inline]
fn is_older(version: &ResourceVersion, than: &ResourceVersion) -> bool {
    version.partial_cmp(than) == Some(Ordering::Less)
}

fn upsert<K: Object>(
    state: &mut State<K>,
    entry: Entry<K>,
    prepared: Option<Prepared<K>>,
    rules: &Rules<K>,
    effects: &mut Effects<K>,
) {
    let Some((slot, held)) = state.find(&entry.key) else {
        effects.added(&entry.key, &entry.object, false, entry.cause);
        state.insert(entry.key, entry.object, prepared);
        return;
    };
    match relation(held, &entry.object) {
        Relation::Newer => change(state, slot, entry, prepared, effects),
        Relation::Same | Relation::Older => {
            effects.tally.stale += 1;
            effects.dropped.push(entry.object.into_inner());
        }
        Relation::Other => match rules.uid_change {
            UidChange::Update => change(state, slot, entry, prepared, effects),
            UidChange::DeleteThenAdd => {
                let old = state.replace(slot, entry.object.clone(), prepared);
                effects.deleted(&entry.key, old, None, End::inferred(entry.cause));
                effects.added(&entry.key, &entry.object, false, entry.cause);
            }
        },
    }
}

fn change<K: Object>(
    state: &mut State<K>,
    slot: u32,
    entry: Entry<K>,
    prepared: Option<Prepared<K>>,
    effects: &mut Effects<K>,
) {
    let Entry { key, object, cause } = entry;
    if effects.wanted {
        let old = state.replace(slot, object.clone(), prepared);
        effects.tally.updated += 1;
        effects.log(Change::updated(key, old, object.into_inner(), cause));
    } else {
        let old = state.replace(slot, object, prepared);
        effects.tally.updated += 1;
        effects.dropped.push(old);
    }
}

fn delete<K: Object>(
    state: &mut State<K>,
    tombstone: Tombstone<K>,
    mut prepared: Option<Prepared<K>>,
    rules: &Rules<K>,
    effects: &mut Effects<K>,
) {
    let found = state.find(&tombstone.key).map(|(slot, _)| slot);
    let mut slots: SmallVec<[u32; 1]> = found.into_iter().collect();
    // Keys of the user's cannot be told from a tombstone without an object: its name is the metadata's.
    if slots.is_empty() && rules.key_function.is_some() {
        slots = state.find_metadata(&tombstone.key).into();
    }
    if slots.is_empty() {
        effects.tally.unknown += 1;
    }
    for slot in slots {
        let held = state.slot(slot).expect("a slot just found is held");
        if tombstone.uid.as_deref().is_some_and(|uid| held.stamp.is_not(uid)) {
            effects.tally.foreign_tombstones += 1;
            continue;
        }
        // A deletion at exactly the held version is honoured: some servers send the last state's version.
        if !tombstone.version.is_unset() && is_older(&tombstone.version, &held.version()) {
            effects.tally.stale += 1;
            continue;
        }
        let (key, held) = state.remove(slot, prepared.take());
        let (last, before) = match &tombstone.object {
            Some(object) => (Arc::clone(object), Some(held)),
            None => (held, None),
        };
        let end = End {
            inferred: tombstone.inferred,
            left_selector: tombstone.left_selector,
            cause: tombstone.cause,
        };
        effects.deleted(&key, last, before, end);
    }
}

fn sync<K: Object>(
    state: &mut State<K>,
    entry: Entry<K>,
    prepared: Option<Prepared<K>>,
    rules: &Rules<K>,
    effects: &mut Effects<K>,
) {
    let entry = entry.cause(Cause::Resync);
    let Some((_, held)) = state.find(&entry.key) else {
        return upsert(state, entry, prepared, rules, effects);
    };
    match relation(held, &entry.object) {
        // What is delivered again is what is held, so that handlers never go back.
        Relation::Same | Relation::Older => {
            effects.updated(&entry.key, held.object, held.object, Cause::Resync);
        }
        Relation::Newer | Relation::Other => upsert(state, entry, prepared, rules, effects),
    }
}

fn resync<K: Object>(state: &State<K>, part: ResyncPart, effects: &mut Effects<K>) {
    if !effects.wanted {
        return;
    }
    let of = part.of.max(1);
    for (_, held) in state.iter().filter(|(slot, _)| slot % of == part.part) {
        effects.updated(held.key, held.object, held.object, Cause::Resync);
    }
}

/// Compares the whole contents with a list.
fn replace<K: Object>(
    state: &mut State<K>,
    replacement: Replacement<K>,
    rules: &Rules<K>,
    effects: &mut Effects<K>,
) {
    let Replacement {
        entries,
        kept,
        as_of,
        rewound,
        cause,
        ..
    } = replacement;
    let initial = !state.synced;
    if state.len() == 0 {
        // Nothing to compare with. A key that was made with its object, a whole list ago, is in memory by now: looking at a
        // few of them first, the processor waits for all of those at once.
        let mut entries = entries.into_iter();
        while !entries.as_slice().is_empty() {
            let next = entries.as_slice().iter().take(AHEAD);
            std::hint::black_box(next.fold(0, |hashes, entry| hashes ^ entry.key.precomputed_hash()));
            for entry in entries.by_ref().take(AHEAD) {
                carry_out(state, entry.cause(cause), &Plan::Add, initial, effects);
            }
        }
        state.synced = true;
        return;
    }
    let mut listed = Marks::new(state.slot_count());
    for slot in kept.iter().flat_map(|key| state.find_metadata(key)) {
        listed.set(slot);
    }
    // Grows with what changed: a relist of what is held already must not cost memory by its size.
    let mut plans = Vec::new();
    let mut gone = Vec::new();
    for entry in entries {
        let Some((slot, held)) = state.find(&entry.key) else {
            plans.push((entry, Plan::Add));
            continue;
        };
        listed.set(slot);
        let plan = match relation(held, &entry.object) {
            Relation::Newer => Plan::Update,
            Relation::Older if rewound => Plan::TakeBack,
            // Versions of a history that was lost are given again, to other states.
            Relation::Same if rewound && !Arc::ptr_eq(held.object, &entry.object) => Plan::TakeBack,
            Relation::Older => {
                effects.tally.stale += 1;
                Plan::Keep
            }
            Relation::Same => Plan::Keep,
            Relation::Other if rules.uid_change == UidChange::Update => Plan::Update,
            Relation::Other => {
                gone.push(slot);
                Plan::Add
            }
        };
        if matches!(plan, Plan::Keep) && rules.unchanged == Unchanged::Silent {
            effects.tally.unchanged += 1;
            // The held one itself is let go of here and now: a list of those would grow to the size of the contents.
            if !Arc::ptr_eq(held.object, &entry.object) {
                effects.dropped.push(entry.object.into_inner());
            }
        } else {
            plans.push((entry, plan));
        }
    }
    for (slot, held) in state.iter() {
        if listed.get(slot) {
            continue;
        }
        // What is newer than the list was made after it.
        if !rewound && is_older(&as_of, &held.version()) && !as_of.is_unset() {
            effects.tally.stale += 1;
            continue;
        }
        gone.push(slot);
    }
    gone.sort_unstable_by(|a, b| {
        let key = |slot: &u32| state.slot(*slot).map(|held| held.key);
        key(a).cmp(&key(b))
    });
    gone.dedup();
    let mut deleted = Vec::with_capacity(gone.len());
    for slot in gone {
        deleted.push(state.remove(slot, None));
    }
    let tell_deleted = |deleted: Vec<(ObjectKey, Arc<K>)>, effects: &mut Effects<K>| {
        for (key, object) in deleted {
            effects.deleted(&key, object, None, End::inferred(cause));
        }
    };
    if rules.relist_order == RelistOrder::DeletesFirst {
        tell_deleted(std::mem::take(&mut deleted), effects);
    }
    for (entry, plan) in plans {
        carry_out(state, entry.cause(cause), &plan, initial, effects);
    }
    tell_deleted(deleted, effects);
    state.synced = true;
}

/// So many keys are looked at at once.
const AHEAD: usize = 8;

/// What a relist does with one of its items.
enum Plan {
    Add,
    Update,
    /// Accepts an older version.
    TakeBack,
    Keep,
}

fn carry_out<K: Object>(
    state: &mut State<K>,
    entry: Entry<K>,
    plan: &Plan,
    initial: bool,
    effects: &mut Effects<K>,
) {
    let Some((slot, held)) = state.find(&entry.key) else {
        effects.added(&entry.key, &entry.object, initial, entry.cause);
        state.insert(entry.key, entry.object, None);
        return;
    };
    match plan {
        Plan::TakeBack => change(state, slot, entry, None, effects),
        Plan::Keep => {
            effects.tally.unchanged += 1;
            effects.updated(&entry.key, held.object, held.object, entry.cause);
        }
        // An earlier item of the list may have had the same key; the newer one stays.
        Plan::Add | Plan::Update => match relation(held, &entry.object) {
            Relation::Newer | Relation::Other => change(state, slot, entry, None, effects),
            Relation::Same | Relation::Older => effects.tally.stale += 1,
        },
    }
}

/// A set of slots, one bit each.
struct Marks(Vec<u64>);

impl Marks {
    fn new(slots: u32) -> Self {
        Self(vec![0; slots as usize / 64 + 1])
    }

    fn set(&mut self, slot: u32) {
        self.0[slot as usize / 64] |= 1 << (slot % 64);
    }

    fn get(&self, slot: u32) -> bool {
        self.0[slot as usize / 64] >> (slot % 64) & 1 == 1
    }
}
