//! [`Shards`]: a persistent hash table.

use hashbrown::HashTable;
use triomphe::Arc;

use super::Paged;

/// Entries per shard, on average, before another shard is opened: few enough that copying or splitting one takes
/// microseconds, enough that the headers of all shards of a large table stay in a core's cache.
const TARGET: usize = 96;

/// A hash table made of small ones. It grows one shard at a time (linear hashing), so no insertion ever moves more
/// than one shard's entries, and a write copies at most one shard while a clone is held.
pub(crate) struct Shards<T> {
    shards: Paged<Option<Arc<HashTable<T>>>>,
    len: usize,
}

impl<T> Clone for Shards<T> {
    fn clone(&self) -> Self {
        Self {
            shards: self.shards.clone(),
            len: self.len,
        }
    }
}

impl<T> Default for Shards<T> {
    fn default() -> Self {
        Self {
            shards: Paged::default(),
            len: 0,
        }
    }
}

/// The shard of `hash` among `count`. The bits are others than those a shard itself uses (the lowest and the top
/// seven).
#[inline]
fn shard_of(hash: u64, count: usize) -> usize {
    let bits = (hash >> 20) as usize;
    let mask = count.next_power_of_two() - 1;
    let at = bits & mask;
    if at < count { at } else { at & (mask >> 1) }
}

impl<T> Shards<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, eq: impl FnMut(&T) -> bool) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        let shard = self.shards.get(shard_of(hash, self.shards.len()))?;
        shard.as_ref()?.find(hash, eq)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.shards.iter().flatten().flat_map(|shard| shard.iter())
    }

    /// Bytes of heap, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        let tables: usize = self
            .shards
            .iter()
            .flatten()
            .map(|shard| shard.allocation_size() + 40)
            .sum();
        tables + super::paged::paged_bytes::<usize, 16>(self.shards.len())
    }
}

impl<T: Clone> Shards<T> {
    #[inline]
    pub(crate) fn find_mut(&mut self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<&mut T> {
        self.find(hash, &mut eq)?;
        let at = shard_of(hash, self.shards.len());
        Arc::make_mut(self.shards.get_mut(at).as_mut()?).find_mut(hash, eq)
    }

    /// Inserts `value`, whose equal must not be there; `hash_of` tells the hash of an entry again.
    pub(crate) fn insert_new(&mut self, hash: u64, value: T, hash_of: impl Fn(&T) -> u64) {
        if self.len >= self.shards.len() * TARGET {
            self.split(&hash_of);
        }
        self.len += 1;
        let at = shard_of(hash, self.shards.len());
        let shard = self
            .shards
            .get_mut(at)
            .get_or_insert_with(|| Arc::new(HashTable::new()));
        Arc::make_mut(shard).insert_unique(hash, value, hash_of);
    }

    pub(crate) fn remove(&mut self, hash: u64, mut eq: impl FnMut(&T) -> bool) -> Option<T> {
        self.find(hash, &mut eq)?;
        let at = shard_of(hash, self.shards.len());
        let shard = self.shards.get_mut(at);
        let table = Arc::make_mut(shard.as_mut()?);
        let (value, _) = table.find_entry(hash, eq).ok()?.remove();
        if table.is_empty() {
            *shard = None;
        }
        self.len -= 1;
        Some(value)
    }

    /// Opens one more shard and moves into it what belongs there.
    fn split(&mut self, hash_of: &impl Fn(&T) -> u64) {
        let new = self.shards.len();
        self.shards.push(None);
        if new == 0 {
            return;
        }
        let source = new - (1 << new.ilog2());
        let Some(table) = self.shards.get_mut(source).as_mut() else {
            return;
        };
        let mut moved = HashTable::new();
        let moving = Arc::make_mut(table).extract_if(|value| shard_of(hash_of(value), new + 1) == new);
        for value in moving {
            moved.insert_unique(hash_of(&value), value, hash_of);
        }
        if !moved.is_empty() {
            *self.shards.get_mut(new) = Some(Arc::new(moved));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    #[test]
    fn finds_what_was_inserted_and_nothing_else_at_every_size() {
        let hasher = foldhash::quality::FixedState::with_seed(7);
        let hash_of = |value: &u32| hasher.hash_one(value);
        let mut table = Shards::default();
        for value in 0..5_000u32 {
            table.insert_new(hash_of(&value), value, hash_of);
        }
        let before = table.clone();
        for value in (0..5_000).step_by(3) {
            assert_eq!(table.remove(hash_of(&value), |held| *held == value), Some(value));
        }
        for value in 0..6_000 {
            let hash = hash_of(&value);
            assert_eq!(before.find(hash, |held| *held == value).is_some(), value < 5_000);
            let expect = value < 5_000 && value % 3 != 0;
            assert_eq!(table.find(hash, |held| *held == value).is_some(), expect);
        }
        assert_eq!(before.len(), 5_000);
        assert_eq!(table.iter().count(), table.len());
    }
}
