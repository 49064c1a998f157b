//! [`OrderedTable`]: postings found by order.

use std::{borrow::Borrow, collections::BTreeSet, ops::Bound};

use triomphe::Arc;

use super::postings::Table;
use crate::persist::SlotSet;

/// Most values in a leaf.
const LEAF: usize = 64;

#[derive(Clone)]
struct Bucket<V> {
    value: V,
    slots: SlotSet,
}

type Leaf<V> = Vec<Arc<Bucket<V>>>;

/// Value → slots, in the values' order, without empty sets.
pub(crate) struct OrderedTable<V> {
    /// None is empty; each is sorted, and all of one is below all of the next.
    leaves: Arc<Vec<Arc<Leaf<V>>>>,
    values: usize,
    entries: usize,
}

impl<V> Clone for OrderedTable<V> {
    fn clone(&self) -> Self {
        Self {
            leaves: Arc::clone(&self.leaves),
            values: self.values,
            entries: self.entries,
        }
    }
}

impl<V> Default for OrderedTable<V> {
    fn default() -> Self {
        Self {
            leaves: Arc::new(Vec::new()),
            values: 0,
            entries: 0,
        }
    }
}

impl<V> OrderedTable<V> {
    /// The leaf and the place in it of the first value for which `is_below` is false, which it is for all after it.
    fn place(&self, is_below: impl Fn(&V) -> bool) -> (usize, usize) {
        let leaf = self
            .leaves
            .partition_point(|leaf| is_below(&leaf[0].value))
            .saturating_sub(1);
        let Some(buckets) = self.leaves.get(leaf) else {
            return (0, 0);
        };
        (leaf, buckets.partition_point(|bucket| is_below(&bucket.value)))
    }

    pub(crate) fn find<Q>(&self, value: &Q) -> Option<&SlotSet>
    where
        V: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let leaf = self
            .leaves
            .partition_point(|leaf| leaf[0].value.borrow() <= value)
            .checked_sub(1)?;
        let buckets = &self.leaves[leaf];
        let at = buckets
            .binary_search_by(|bucket| bucket.value.borrow().cmp(value))
            .ok()?;
        Some(&buckets[at].slots)
    }

    /// Values and their slots from `start` on, in order.
    pub(crate) fn from<'a, Q>(
        &'a self,
        start: Bound<&Q>,
    ) -> impl Iterator<Item = (&'a V, &'a SlotSet)> + use<'a, V, Q>
    where
        V: Borrow<Q>,
        Q: Ord + ?Sized,
    {
        let (leaf, at) = match start {
            Bound::Unbounded => (0, 0),
            Bound::Included(start) => self.place(|held| held.borrow() < start),
            Bound::Excluded(start) => self.place(|held| held.borrow() <= start),
        };
        let leaves = self.leaves.iter().skip(leaf).enumerate();
        leaves.flat_map(move |(nth, buckets)| {
            let skip = if nth == 0 { at } else { 0 };
            buckets
                .iter()
                .skip(skip)
                .map(|bucket| (&bucket.value, &bucket.slots))
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&V, &SlotSet)> {
        self.leaves
            .iter()
            .flat_map(|buckets| buckets.iter())
            .map(|bucket| (&bucket.value, &bucket.slots))
    }
}

impl<V: Ord + Clone + Send + Sync + 'static> Table<V> for OrderedTable<V> {
    type Set = BTreeSet<V>;

    fn take(set: &mut Self::Set, value: &V) -> bool {
        set.remove(value)
    }

    fn insert(&mut self, value: V, slot: u32) {
        let leaves = Arc::make_mut(&mut self.leaves);
        let leaf = leaves
            .partition_point(|leaf| leaf[0].value <= value)
            .saturating_sub(1);
        let Some(buckets) = leaves.get_mut(leaf) else {
            let mut slots = SlotSet::default();
            slots.insert(slot);
            leaves.push(Arc::new(vec![Arc::new(Bucket { value, slots })]));
            self.values += 1;
            self.entries += 1;
            return;
        };
        let buckets = Arc::make_mut(buckets);
        match buckets.binary_search_by(|bucket| bucket.value.cmp(&value)) {
            Ok(at) => self.entries += usize::from(Arc::make_mut(&mut buckets[at]).slots.insert(slot)),
            Err(at) => {
                let mut slots = SlotSet::default();
                slots.insert(slot);
                buckets.insert(at, Arc::new(Bucket { value, slots }));
                self.values += 1;
                self.entries += 1;
                if buckets.len() > LEAF {
                    let upper = buckets.split_off(LEAF / 2);
                    leaves.insert(leaf + 1, Arc::new(upper));
                }
            }
        }
    }

    fn remove(&mut self, value: &V, slot: u32) {
        let leaves = Arc::make_mut(&mut self.leaves);
        let Some(leaf) = leaves
            .partition_point(|leaf| leaf[0].value <= *value)
            .checked_sub(1)
        else {
            return;
        };
        let Ok(at) = leaves[leaf].binary_search_by(|bucket| bucket.value.cmp(value)) else {
            return;
        };
        let buckets = Arc::make_mut(&mut leaves[leaf]);
        let slots = &mut Arc::make_mut(&mut buckets[at]).slots;
        self.entries -= usize::from(slots.remove(slot));
        if slots.is_empty() {
            buckets.remove(at);
            self.values -= 1;
            if buckets.is_empty() {
                leaves.remove(leaf);
            }
        }
    }

    fn purge(&mut self, slot: u32) {
        let with_slot = self.iter().filter(|(_, slots)| slots.contains(slot));
        let values: Vec<V> = with_slot.map(|(value, _)| value.clone()).collect();
        values.iter().for_each(|value| self.remove(value, slot));
    }

    fn size(&self) -> (usize, usize, usize) {
        let sets: usize = self
            .iter()
            .map(|(_, slots)| size_of::<Bucket<V>>() + 16 + slots.heap_bytes())
            .sum();
        (self.values, self.entries, sets + self.leaves.len() * 40)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    #[test]
    fn equals_a_sorted_map_through_growth_and_shrinking() {
        let mut rng = fastrand::Rng::with_seed(3);
        let (mut table, mut model) = (OrderedTable::default(), BTreeMap::<u32, BTreeSet<u32>>::new());
        for round in 0..20_000u32 {
            let (value, slot) = (rng.u32(..700), rng.u32(..5));
            if rng.u32(..20_000) > round {
                table.insert(value, slot);
                model.entry(value).or_default().insert(slot);
            } else {
                table.remove(&value, slot);
                if let Some(slots) = model.get_mut(&value) {
                    slots.remove(&slot);
                }
                model.retain(|_, slots| !slots.is_empty());
            }
            if round % 500 == 0 {
                let held: Vec<(u32, Vec<u32>)> = table
                    .iter()
                    .map(|(value, slots)| (*value, slots.iter().collect()))
                    .collect();
                let expect: Vec<(u32, Vec<u32>)> = model
                    .iter()
                    .map(|(value, slots)| (*value, slots.iter().copied().collect()))
                    .collect();
                assert_eq!(held, expect);
                for probe in 0..720 {
                    assert_eq!(table.find(&probe).is_some(), model.contains_key(&probe));
                    for start in [Bound::Included(&probe), Bound::Excluded(&probe)] {
                        let found = table.from(start).next().map(|(value, _)| *value);
                        let expect = model
                            .range((start, Bound::Unbounded))
                            .next()
                            .map(|(value, _)| *value);
                        assert_eq!(found, expect);
                    }
                }
                assert_eq!(table.size().0, model.len());
                assert_eq!(table.size().1, model.values().map(BTreeSet::len).sum::<usize>());
            }
        }
    }
}
