//! [`SlotSet`]: a persistent sorted set of slot numbers, the postings of one index value.

use smallvec::SmallVec;
use triomphe::Arc;

/// Up to this many, a set is one sorted array.
const FEW: usize = 128;
/// Most slots in one leaf of a larger set.
const LEAF: usize = 512;

/// Slots in ascending order.
#[derive(Clone)]
pub(crate) enum SlotSet {
    Few(SmallVec<[u32; 4]>),
    Many(Arc<Leaves>),
}

#[derive(Clone)]
pub(crate) struct Leaves {
    /// None is empty; each is sorted, and all of one is below all of the next.
    leaves: Vec<Arc<Vec<u32>>>,
    len: usize,
}

impl Default for SlotSet {
    fn default() -> Self {
        Self::Few(SmallVec::new())
    }
}

impl Leaves {
    /// The leaf where `slot` is, or would be inserted.
    fn leaf_of(&self, slot: u32) -> usize {
        self.leaves
            .partition_point(|leaf| leaf[0] <= slot)
            .saturating_sub(1)
    }
}

impl SlotSet {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Few(slots) => slots.len(),
            Self::Many(many) => many.len,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn contains(&self, slot: u32) -> bool {
        match self {
            Self::Few(slots) => slots.binary_search(&slot).is_ok(),
            Self::Many(many) => many.leaves[many.leaf_of(slot)].binary_search(&slot).is_ok(),
        }
    }

    /// Whether it was missing.
    pub(crate) fn insert(&mut self, slot: u32) -> bool {
        match self {
            Self::Few(slots) => {
                let Err(at) = slots.binary_search(&slot) else {
                    return false;
                };
                slots.insert(at, slot);
                if slots.len() > FEW {
                    let leaves = vec![Arc::new(slots.to_vec())];
                    let len = slots.len();
                    *self = Self::Many(Arc::new(Leaves { leaves, len }));
                }
                true
            }
            Self::Many(many) => {
                let many = Arc::make_mut(many);
                let at = many.leaf_of(slot);
                let leaf = &many.leaves[at];
                let Err(place) = leaf.binary_search(&slot) else {
                    return false;
                };
                many.len += 1;
                let last = at + 1 == many.leaves.len();
                if leaf.len() < LEAF {
                    Arc::make_mut(&mut many.leaves[at]).insert(place, slot);
                } else if last && place == LEAF {
                    // Ascending arrival, the common case of a first list, leaves full leaves behind.
                    many.leaves.push(Arc::new(vec![slot]));
                } else {
                    let leaf = Arc::make_mut(&mut many.leaves[at]);
                    let mut upper = leaf.split_off(LEAF / 2);
                    if place <= leaf.len() {
                        leaf.insert(place, slot);
                    } else {
                        upper.insert(place - LEAF / 2, slot);
                    }
                    many.leaves.insert(at + 1, Arc::new(upper));
                }
                true
            }
        }
    }

    /// Whether it was there.
    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        match self {
            Self::Few(slots) => {
                let found = slots.binary_search(&slot);
                if let Ok(at) = found {
                    slots.remove(at);
                }
                found.is_ok()
            }
            Self::Many(many) => {
                let many = Arc::make_mut(many);
                let at = many.leaf_of(slot);
                let Ok(place) = many.leaves[at].binary_search(&slot) else {
                    return false;
                };
                many.len -= 1;
                let leaf = Arc::make_mut(&mut many.leaves[at]);
                leaf.remove(place);
                if leaf.is_empty() {
                    many.leaves.remove(at);
                }
                if many.len <= FEW / 2 {
                    *self = Self::Few(self.iter().collect());
                }
                true
            }
        }
    }

    pub(crate) fn iter(&self) -> SlotSetIter<'_> {
        match self {
            Self::Few(slots) => SlotSetIter {
                slots: slots.iter(),
                leaves: [].iter(),
                left: slots.len(),
            },
            Self::Many(many) => SlotSetIter {
                slots: [].iter(),
                leaves: many.leaves.iter(),
                left: many.len,
            },
        }
    }

    /// Bytes of heap, roughly.
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Self::Few(slots) if slots.spilled() => slots.capacity() * 4,
            Self::Few(_) => 0,
            Self::Many(many) => {
                many.leaves.capacity() * 8
                    + many
                        .leaves
                        .iter()
                        .map(|leaf| 32 + leaf.capacity() * 4)
                        .sum::<usize>()
            }
        }
    }
}

/// Walks a [`SlotSet`] in ascending order.
#[derive(Clone)]
pub(crate) struct SlotSetIter<'a> {
    slots: std::slice::Iter<'a, u32>,
    leaves: std::slice::Iter<'a, Arc<Vec<u32>>>,
    left: usize,
}

impl SlotSetIter<'_> {
    pub(crate) fn empty() -> Self {
        Self {
            slots: [].iter(),
            leaves: [].iter(),
            left: 0,
        }
    }
}

impl Iterator for SlotSetIter<'_> {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        loop {
            if let Some(slot) = self.slots.next() {
                self.left -= 1;
                return Some(*slot);
            }
            self.slots = self.leaves.next()?.iter();
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl ExactSizeIterator for SlotSetIter<'_> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn equals_a_sorted_set_through_growth_and_shrinking() {
        let mut state = 1u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state >> 8
        };
        let (mut set, mut model) = (SlotSet::default(), BTreeSet::new());
        for round in 0..30_000 {
            let slot = random() % 6_000;
            // Grows first, then shrinks to nothing.
            if random() % 30_000 > round {
                assert_eq!(set.insert(slot), model.insert(slot));
            } else {
                assert_eq!(set.remove(slot), model.remove(&slot));
            }
            assert_eq!(set.contains(slot), model.contains(&slot));
            assert_eq!(set.len(), model.len());
            if round % 1_000 == 0 {
                assert!(set.iter().eq(model.iter().copied()));
            }
        }
        assert!(set.iter().eq(model.iter().copied()));
    }
}
