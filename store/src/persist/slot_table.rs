//! [`SlotTable`]: a persistent hash table of slot numbers.

use triomphe::Arc;

/// Entries per shard, on average, before another shard is opened: few enough that copying or splitting one takes
/// a microsecond, enough that where the shards lie stays in a core's cache.
const TARGET: usize = 96;

/// Shards that are copied together.
const CHUNK: usize = 32;

/// Places a shard has at least for each four entries: a lookup then passes over one entry or two, mostly in one line.
const ROOM: usize = 6;

/// Entries a shard has room for when it is made again, for each four it has.
const GROWTH: usize = 5;

/// Hash → slots. It grows one shard at a time (linear hashing), so no insertion ever moves more than one shard's
/// entries, and a write copies at most one shard while a clone is held.
///
/// A shard is one array without a header, probed place by place: a lookup touches one line of it. An entry holds half of
/// the hash besides the slot, so that what it stands for is looked at only if it is very likely the one sought, and never
/// to move it.
#[derive(Clone, Default)]
pub(crate) struct SlotTable {
    chunks: Arc<Vec<Arc<[Shard; CHUNK]>>>,
    count: Count,
    len: usize,
}

#[derive(Clone, Default)]
struct Shard {
    /// [`Entry`]s as numbers, 0 for none; never full.
    places: Option<Arc<[u64]>>,
    used: u32,
}

/// Half of a hash and a slot, as one number that is never 0.
#[derive(Clone, Copy)]
struct Entry(u64);

impl Entry {
    #[inline]
    fn new(hash: u64, slot: u32) -> Self {
        // One more than the slot, of which there are fewer than 2³² - 1.
        Self(hash & TAG | (u64::from(slot) + 1))
    }

    #[inline]
    fn slot(self) -> u32 {
        (self.0 as u32).wrapping_sub(1)
    }

    /// Whether it may be of `hash`.
    #[inline]
    fn is_of(self, hash: u64) -> bool {
        (self.0 ^ hash) & TAG == 0
    }

    /// The place it would have in an empty array of `places`.
    #[inline]
    fn home(self, places: usize) -> usize {
        home(self.0, places)
    }
}

/// The half of a hash that entries hold, its upper one.
const TAG: u64 = 0xffff_ffff_0000_0000;

/// The first place to look for `hash`, by the uppermost bits of its tag.
#[inline]
fn home(hash: u64, places: usize) -> usize {
    (((hash >> 32) * places as u64) >> 32) as usize
}

/// How many shards there are, and the lowest bits of a tag that tell in which one a hash is.
#[derive(Clone, Copy, Default)]
struct Count {
    shards: usize,
    mask: usize,
}

impl Count {
    fn of(shards: usize) -> Self {
        let mask = shards.next_power_of_two() - 1;
        Self { shards, mask }
    }

    #[inline]
    fn shard_of(self, hash: u64) -> usize {
        let at = (hash >> 32) as usize & self.mask;
        if at < self.shards {
            at
        } else {
            at & (self.mask >> 1)
        }
    }
}

impl Shard {
    /// A shard of these entries, with room for some more.
    fn of(entries: &[Entry]) -> Self {
        let places = entries.len() * GROWTH / 4 * ROOM / 4 + 2 * ROOM;
        let mut shard = Self {
            places: Some(std::iter::repeat_n(0, places).collect()),
            used: 0,
        };
        entries.iter().for_each(|entry| shard.put(*entry));
        shard
    }

    fn entries(&self) -> impl Iterator<Item = Entry> {
        let places = self.places.iter().flat_map(|places| places.iter());
        places.filter(|entry| **entry != 0).map(|entry| Entry(*entry))
    }

    /// The places where `hash` may be, in the order in which they are to be looked at: from home to the end, then the
    /// rest.
    #[inline]
    fn halves(&self, hash: u64) -> Option<(&[u64], &[u64])> {
        let places = self.places.as_deref()?;
        let (rest, from_home) = places.split_at_checked(home(hash, places.len()))?;
        Some((from_home, rest))
    }

    fn insert(&mut self, entry: Entry) {
        let room = self.places.as_deref().map_or(0, <[u64]>::len);
        if (self.used as usize + 1) * ROOM > room * 4 {
            *self = Self::of(&self.entries().collect::<Vec<_>>());
        }
        self.put(entry);
    }

    /// Puts an entry where there is room.
    fn put(&mut self, entry: Entry) {
        self.used += 1;
        let places = self.places_mut();
        let mut at = entry.home(places.len());
        while places[at] != 0 {
            at = (at + 1) % places.len();
        }
        places[at] = entry.0;
    }

    /// The array, to be changed; copied if it is shared.
    fn places_mut(&mut self) -> &mut [u64] {
        let places = self.places.as_mut().expect("a shard with entries has places");
        if !places.is_unique() {
            *places = Arc::from(&**places);
        }
        Arc::get_mut(places).expect("a copy has one owner")
    }

    /// Removes an entry, and moves those behind it that had no place nearer to home.
    fn remove(&mut self, entry: Entry) {
        self.used -= 1;
        if self.used == 0 {
            self.places = None;
            return;
        }
        let places = self.places_mut();
        let mut hole = entry.home(places.len());
        while places[hole] != entry.0 {
            hole = (hole + 1) % places.len();
        }
        let mut next = hole;
        loop {
            next = (next + 1) % places.len();
            if places[next] == 0 {
                places[hole] = 0;
                return;
            }
            let from_home = |to: usize| {
                let home = Entry(places[next]).home(places.len());
                (to + places.len() - home) % places.len()
            };
            if from_home(hole) < from_home(next) {
                places[hole] = places[next];
                hole = next;
            }
        }
    }
}

impl SlotTable {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    fn shard(&self, hash: u64) -> Option<&Shard> {
        let at = self.count.shard_of(hash);
        Some(&self.chunks.get(at / CHUNK)?[at % CHUNK])
    }

    /// The first slot that may be of `hash`: the one sought, but for one time in some thousands. Where it is not, ask
    /// [`find`](Self::find).
    #[inline]
    pub(crate) fn first(&self, hash: u64) -> Option<u32> {
        let (from_home, _) = self.shard(hash)?.halves(hash)?;
        for place in from_home {
            let entry = Entry(*place);
            if entry.is_of(hash) {
                // An empty place may look like a hash that begins with zeros.
                return if entry.0 == 0 { None } else { Some(entry.slot()) };
            }
            if entry.0 == 0 {
                return None;
            }
        }
        self.first_of_rest(hash)
    }

    #[cold]
    fn first_of_rest(&self, hash: u64) -> Option<u32> {
        self.find(hash, |_| true)
    }

    /// The first slot for which `is_it`, among those that may be of `hash`.
    pub(crate) fn find(&self, hash: u64, mut is_it: impl FnMut(u32) -> bool) -> Option<u32> {
        let (from_home, rest) = self.shard(hash)?.halves(hash)?;
        let places = from_home.iter().chain(rest).map(|place| Entry(*place));
        places
            .take_while(|entry| entry.0 != 0)
            .filter(|entry| entry.is_of(hash))
            .map(Entry::slot)
            .find(|slot| is_it(*slot))
    }

    fn shard_mut(&mut self, at: usize) -> &mut Shard {
        let chunk = &mut Arc::make_mut(&mut self.chunks)[at / CHUNK];
        &mut Arc::make_mut(chunk)[at % CHUNK]
    }

    /// Inserts `slot`, which must not be there.
    pub(crate) fn insert_new(&mut self, hash: u64, slot: u32) {
        if self.len >= self.count.shards * TARGET {
            self.split();
        }
        self.len += 1;
        let at = self.count.shard_of(hash);
        self.shard_mut(at).insert(Entry::new(hash, slot));
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, hash: u64, slot: u32) -> bool {
        if self.find(hash, |held| held == slot).is_none() {
            return false;
        }
        let at = self.count.shard_of(hash);
        self.shard_mut(at).remove(Entry::new(hash, slot));
        self.len -= 1;
        true
    }

    /// Opens one more shard and moves into it what belongs there.
    fn split(&mut self) {
        let new = self.count.shards;
        self.count = Count::of(new + 1);
        if new.is_multiple_of(CHUNK) {
            let chunk = Arc::new(std::array::from_fn(|_| Shard::default()));
            Arc::make_mut(&mut self.chunks).push(chunk);
        }
        if new == 0 {
            return;
        }
        let count = self.count;
        let source = self.shard_mut(new - (1 << new.ilog2()));
        let (moves, stays): (Vec<Entry>, Vec<Entry>) =
            source.entries().partition(|entry| count.shard_of(entry.0) == new);
        if moves.is_empty() {
            return;
        }
        *source = Shard::of(&stays);
        *self.shard_mut(new) = Shard::of(&moves);
    }

    /// Bytes of heap, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        let shards = self.chunks.iter().flat_map(|chunk| chunk.iter());
        let arrays = shards.filter_map(|shard| shard.places.as_deref());
        let arrays: usize = arrays.map(|places| size_of_val(places) + 16).sum();
        arrays + self.chunks.len() * (size_of::<[Shard; CHUNK]>() + 16)
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, hash::BuildHasher};

    use super::*;

    #[test]
    fn equals_a_map_through_growth_and_shrinking_and_clones_keep_what_they_held() {
        let hasher = foldhash::quality::FixedState::with_seed(7);
        let mut rng = fastrand::Rng::with_seed(5);
        let (mut table, mut model) = (SlotTable::default(), HashMap::new());
        let mut before = (table.clone(), model.clone());
        for round in 0..40_000u32 {
            let slot = rng.u32(..9_000);
            let hash = hasher.hash_one(slot);
            // Grows first, then shrinks to nothing.
            if rng.u32(..40_000) > round {
                if model.insert(slot, hash).is_none() {
                    table.insert_new(hash, slot);
                }
            } else {
                assert_eq!(table.remove(hash, slot), model.remove(&slot).is_some());
            }
            if round % 1_000 == 0 || round == 39_999 {
                for (table, model) in [(&table, &model), (&before.0, &before.1)] {
                    assert_eq!(table.len(), model.len());
                    for slot in 0..9_000 {
                        let found = table.find(hasher.hash_one(slot), |held| held == slot);
                        assert_eq!(found.is_some(), model.contains_key(&slot));
                        assert!(found.is_none() || table.first(hasher.hash_one(slot)).is_some());
                    }
                }
                before = (table.clone(), model.clone());
            }
        }
        model
            .iter()
            .for_each(|(slot, hash)| assert!(table.remove(*hash, *slot)));
        assert_eq!(table.len(), 0);
    }

    #[test]
    fn slots_of_one_hash_are_told_apart() {
        let mut table = SlotTable::default();
        for slot in 0..500 {
            table.insert_new(7 << 32, slot);
        }
        for slot in (0..500).step_by(2) {
            assert!(table.remove(7 << 32, slot));
        }
        for slot in 0..500 {
            let found = table.find(7 << 32, |held| held == slot);
            assert_eq!(found.is_some(), slot % 2 == 1);
        }
    }
}
