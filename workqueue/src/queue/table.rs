//! Finds the slot of a key by its hash.
//!
//! Open addressing in one array, probed one place after the other: in a queue of a million keys a look-up costs one cache
//! line and one page of it, where a table that keeps control bytes apart from its entries costs two of each. An entry
//! holds enough of the hash to grow and to close gaps, and to pass over most other keys, without a look at the slots.

use super::slot::NONE;

/// The part of a key's hash that the table keeps.
pub(super) fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// Of five places at most four are taken. More of them free would make the table of a hundred thousand keys outgrow the
/// second-level cache.
const FULL: (usize, usize) = (4, 5);
const SMALLEST: usize = 8;

/// How many keys so many places take.
fn most(places: usize) -> usize {
    (places * FULL.0).div_ceil(FULL.1)
}

#[derive(Clone, Copy, Debug)]
struct Place {
    tag: u32,
    /// [`NONE`] in a free place.
    slot: u32,
}

const FREE: Place = Place { tag: 0, slot: NONE };

/// Slots by the tags of their keys.
#[derive(Debug, Default)]
pub(super) struct Table {
    /// Empty, or a power of two of them.
    places: Vec<Place>,
    len: usize,
    /// How many it takes before it grows.
    most: usize,
}

/// Where a key that was not found goes, until the table is changed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vacant(usize);

impl Table {
    /// With room for so many.
    pub(super) fn with_capacity(len: usize) -> Self {
        let places = (len * FULL.1).div_ceil(FULL.0).max(SMALLEST).next_power_of_two();
        Self {
            places: vec![FREE; places],
            len: 0,
            most: most(places),
        }
    }

    #[inline]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The first place to look for a tag: by the upper bits of a product, so that growing keeps the order of places.
    #[inline]
    fn home(&self, tag: u32) -> usize {
        let spread = u64::from(tag).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        ((spread * self.places.len() as u64) >> 32) as usize
    }

    /// The slot with this tag that is the `same`.
    #[inline]
    pub(super) fn find(&self, tag: u32, mut same: impl FnMut(u32) -> bool) -> Option<u32> {
        if self.places.is_empty() {
            return None;
        }
        let mut at = self.home(tag);
        loop {
            let place = self.places[at];
            if place.slot == NONE {
                return None;
            }
            if place.tag == tag && same(place.slot) {
                return Some(place.slot);
            }
            at = self.after(at);
        }
    }

    /// The same, or the place to [`insert`](Self::insert) it at.
    #[inline]
    pub(super) fn find_or_vacant(
        &mut self,
        tag: u32,
        mut same: impl FnMut(u32) -> bool,
    ) -> Result<u32, Vacant> {
        if self.len >= self.most {
            self.grow();
        }
        let mut at = self.home(tag);
        loop {
            let place = self.places[at];
            if place.slot == NONE {
                return Err(Vacant(at));
            }
            if place.tag == tag && same(place.slot) {
                return Ok(place.slot);
            }
            at = self.after(at);
        }
    }

    #[inline]
    pub(super) fn insert(&mut self, Vacant(at): Vacant, tag: u32, slot: u32) {
        self.places[at] = Place { tag, slot };
        self.len += 1;
    }

    /// Takes a slot out, and moves those up that had to go past it.
    #[inline]
    pub(super) fn remove(&mut self, tag: u32, slot: u32) {
        if self.places.is_empty() {
            return;
        }
        let mut gap = self.home(tag);
        while self.places[gap].slot != slot {
            if self.places[gap].slot == NONE {
                return;
            }
            gap = self.after(gap);
        }
        self.len -= 1;
        let mask = self.places.len() - 1;
        let mut at = gap;
        loop {
            at = self.after(at);
            let place = self.places[at];
            if place.slot == NONE {
                break;
            }
            // How far it is from where it would like to be, and from the gap.
            let (away, back) = (at.wrapping_sub(self.home(place.tag)), at.wrapping_sub(gap));
            if away & mask >= back & mask {
                self.places[gap] = place;
                gap = at;
            }
        }
        self.places[gap] = FREE;
    }

    #[inline]
    fn after(&self, at: usize) -> usize {
        (at + 1) & (self.places.len() - 1)
    }

    #[cold]
    fn grow(&mut self) {
        let places = (self.places.len() * 2).max(SMALLEST);
        let larger = Self {
            places: vec![FREE; places],
            len: self.len,
            most: most(places),
        };
        let old = std::mem::replace(self, larger);
        for place in old.places.into_iter().filter(|place| place.slot != NONE) {
            let mut at = self.home(place.tag);
            while self.places[at].slot != NONE {
                at = self.after(at);
            }
            self.places[at] = place;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Random histories against a map, with tags of which many are equal or neighbours.
    #[test]
    fn finds_what_was_inserted_and_nothing_else() {
        let mut rng = fastrand::Rng::with_seed(3);
        for (tags, keys) in [(3u32, 40u32), (200, 500), (u32::MAX, 3_000)] {
            let tag_of: Vec<u32> = (0..keys).map(|_| rng.u32(0..tags)).collect();
            let (mut table, mut model) = (Table::default(), BTreeMap::new());
            for _ in 0..20_000 {
                let slot = rng.u32(0..keys);
                let tag = tag_of[slot as usize];
                if rng.bool() {
                    match table.find_or_vacant(tag, |found| found == slot) {
                        Ok(found) => assert_eq!(model.get(&found), Some(&tag)),
                        Err(vacant) => {
                            table.insert(vacant, tag, slot);
                            assert_eq!(model.insert(slot, tag), None);
                        }
                    }
                } else {
                    table.remove(tag, slot);
                    model.remove(&slot);
                }
                assert_eq!(table.len(), model.len());
                let other = rng.u32(0..keys);
                let found = table.find(tag_of[other as usize], |found| found == other);
                assert_eq!(found.is_some(), model.contains_key(&other));
            }
            for slot in 0..keys {
                table.remove(tag_of[slot as usize], slot);
            }
            assert!(table.is_empty() && table.places.iter().all(|place| place.slot == NONE));
        }
    }

    #[test]
    fn has_the_room_it_was_made_with() {
        for len in [0, 1, 7, 1_000] {
            let mut table = Table::with_capacity(len);
            let places = table.places.len();
            for slot in 0..len as u32 {
                let Err(vacant) = table.find_or_vacant(slot, |_| false) else {
                    panic!("it is new");
                };
                table.insert(vacant, slot, slot);
            }
            assert_eq!(table.places.len(), places);
        }
    }
}
