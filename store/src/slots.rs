//! [`Slots`]: what is held, by slot number.

use std::sync::Arc;

use crate::{
    ObjectKey, Stamp, Stamped,
    persist::{Differing, Paged, paged_bytes},
};

const NO_SLOT: u32 = u32::MAX;

/// Slots in a chunk: what one write copies while a clone is held.
const LANES: usize = 8;

/// Bytes of a block for which glibc's allocator joins the small ones that are free: those it caches for a thread are
/// smaller.
const NOT_SMALL: usize = 2048;

/// Held objects with their keys and stamps, at numbers that stay theirs. Cloned in O(1).
pub(crate) struct Slots<K> {
    chunks: Paged<Chunk<K>, 1>,
    /// One past the highest slot ever used.
    count: u32,
    /// First of the list of vacant slots.
    vacant: u32,
}

/// A few slots. The objects come first: every write asks how many share the chunk, and that count lies right before
/// them, mostly in the line of the one that is replaced; and a list passes over little else.
#[repr(C)]
struct Chunk<K> {
    objects: [Option<Arc<K>>; LANES],
    heads: [Head; LANES],
}

#[derive(Clone)]
enum Head {
    Vacant { next: u32 },
    Held { key: ObjectKey, stamp: Stamp },
}

/// One held object, with what must be known of it without touching it.
pub(crate) struct Held<'a, K> {
    pub(crate) key: &'a ObjectKey,
    pub(crate) object: &'a Arc<K>,
    pub(crate) stamp: Stamp,
}

impl<K> Clone for Held<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Held<'_, K> {}

impl<K> Clone for Slots<K> {
    fn clone(&self) -> Self {
        Self {
            chunks: self.chunks.clone(),
            count: self.count,
            vacant: self.vacant,
        }
    }
}

impl<K> Default for Slots<K> {
    fn default() -> Self {
        Self {
            chunks: Paged::default(),
            count: 0,
            vacant: NO_SLOT,
        }
    }
}

impl<K> Clone for Chunk<K> {
    fn clone(&self) -> Self {
        Self {
            objects: self.objects.clone(),
            heads: self.heads.clone(),
        }
    }
}

impl<K> Default for Chunk<K> {
    fn default() -> Self {
        Self {
            objects: [const { None }; LANES],
            heads: [const { Head::Vacant { next: NO_SLOT } }; LANES],
        }
    }
}

impl<K> Drop for Chunk<K> {
    /// Lets go of objects a chunk at a time, and has the allocator join what they leave behind while it is still in the
    /// processor's caches: one that keeps small blocks apart until much has been freed, as glibc's does, else goes over
    /// the memory of a whole cache once more, and waits for each line of it.
    fn drop(&mut self) {
        let is_last = |object: &&Arc<K>| Arc::strong_count(object) == 1;
        if self.objects.iter().flatten().filter(is_last).count() > LANES / 2 {
            self.objects = [const { None }; LANES];
            drop(std::hint::black_box(Vec::<u8>::with_capacity(NOT_SMALL)));
        }
    }
}

impl<K> Chunk<K> {
    #[inline]
    fn held(&self, lane: usize) -> Option<Held<'_, K>> {
        match (&self.heads[lane], &self.objects[lane]) {
            (Head::Held { key, stamp }, Some(object)) => Some(Held {
                key,
                object,
                stamp: *stamp,
            }),
            _ => None,
        }
    }
}

#[inline]
fn place(slot: u32) -> (usize, usize) {
    (slot as usize / LANES, slot as usize % LANES)
}

impl<K> Slots<K> {
    /// One past the highest slot ever used.
    pub(crate) fn count(&self) -> u32 {
        self.count
    }

    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<Held<'_, K>> {
        let (chunk, lane) = place(slot);
        self.chunks.get(chunk)?.held(lane)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, Held<'_, K>)> {
        let slots = self
            .chunks
            .iter()
            .flat_map(|chunk| (0..LANES).map(|lane| chunk.held(lane)));
        slots.zip(0u32..).filter_map(|(held, slot)| Some((slot, held?)))
    }

    /// Every object, in slot order.
    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<K>> {
        self.chunks
            .iter()
            .flat_map(|chunk| chunk.objects.iter().flatten())
    }

    /// A handle of each object, in slot order; `len` is how many there are.
    pub(crate) fn to_vec(&self, len: usize) -> Vec<Arc<K>> {
        let mut objects = Vec::with_capacity(len);
        for chunk in self.chunks.iter() {
            // A core that raises a count waits for the line it is in, and does nothing else meanwhile. Looking at them
            // first, it waits for all of a chunk's at once.
            let held = chunk.objects.iter().flatten();
            let (held, counts) = held.fold((0, 0), |(held, counts), object| {
                (held + 1, Arc::strong_count(object) ^ counts)
            });
            std::hint::black_box(counts);
            if held == LANES {
                let object = |object: &Option<Arc<K>>| Arc::clone(object.as_ref().expect("all are held"));
                objects.extend(chunk.objects.iter().map(object));
            } else {
                objects.extend(chunk.objects.iter().flatten().cloned());
            }
        }
        objects
    }

    /// Bytes of heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        paged_bytes::<Chunk<K>, 1>(self.chunks.len())
    }

    /// The slot that the next [`insert`](Self::insert) takes.
    pub(crate) fn next(&self) -> u32 {
        match self.vacant {
            NO_SLOT => self.count,
            vacant => vacant,
        }
    }

    /// Puts a new key's object into a slot.
    pub(crate) fn insert(&mut self, key: ObjectKey, object: Stamped<K>) {
        let (chunk, lane) = place(self.take_vacant());
        let chunk = self.chunks.get_mut(chunk);
        let stamp = object.stamp();
        chunk.objects[lane] = Some(object.into_inner());
        chunk.heads[lane] = Head::Held { key, stamp };
    }

    fn take_vacant(&mut self) -> u32 {
        let slot = self.vacant;
        if slot == NO_SLOT {
            let slot = self.count;
            assert!(slot != NO_SLOT, "fewer than 2^32 - 1 objects");
            if (slot as usize).is_multiple_of(LANES) {
                self.chunks.push(Chunk::default());
            }
            self.count += 1;
            return slot;
        }
        let (chunk, lane) = place(slot);
        let Some(Head::Vacant { next }) = self.chunks.get(chunk).map(|chunk| &chunk.heads[lane]) else {
            unreachable!("the list of vacant slots holds vacant slots")
        };
        self.vacant = *next;
        slot
    }

    /// Puts `object` into `slot` in exchange for what it holds.
    #[inline]
    pub(crate) fn exchange(&mut self, slot: u32, object: &mut Stamped<K>) {
        let (chunk, lane) = place(slot);
        let chunk = self.chunks.get_mut(chunk);
        let (Head::Held { stamp, .. }, Some(place)) = (&mut chunk.heads[lane], &mut chunk.objects[lane])
        else {
            unreachable!("only held slots are replaced")
        };
        object.exchange(place, stamp);
    }

    /// Empties `slot`, and hands back what it held.
    pub(crate) fn remove(&mut self, slot: u32) -> (ObjectKey, Arc<K>) {
        let next = std::mem::replace(&mut self.vacant, slot);
        let (chunk, lane) = place(slot);
        let chunk = self.chunks.get_mut(chunk);
        let head = std::mem::replace(&mut chunk.heads[lane], Head::Vacant { next });
        let (Head::Held { key, .. }, Some(object)) = (head, chunk.objects[lane].take()) else {
            unreachable!("only held slots are emptied")
        };
        (key, object)
    }
}

/// Walks the slots in which two arrays may differ: those of chunks the two do not share.
#[derive(Default)]
pub(crate) struct DifferingSlots {
    chunks: Differing,
    chunk: usize,
    lane: usize,
}

impl DifferingSlots {
    /// The next slot; the arrays must be the same two in every call. Some may be held in neither.
    pub(crate) fn next<K>(&mut self, new: &Slots<K>, old: &Slots<K>) -> Option<u32> {
        if self.lane == 0 {
            self.chunk = self.chunks.next(&new.chunks, &old.chunks)?;
        }
        let slot = self.chunk * LANES + self.lane;
        self.lane = (self.lane + 1) % LANES;
        // Numbers that no slot ever had come last, at the end of the last chunk.
        u32::try_from(slot).ok().filter(|slot| *slot != NO_SLOT)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;
    use crate::Object;

    struct Thing {
        name: String,
        version: String,
    }

    impl Object for Thing {
        fn namespace(&self) -> Option<&str> {
            None
        }

        fn name(&self) -> Option<&str> {
            Some(&self.name)
        }

        fn uid(&self) -> Option<&str> {
            None
        }

        fn resource_version(&self) -> Option<&str> {
            Some(&self.version)
        }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert,
        Remove(usize),
        Exchange(usize),
        Clone,
    }

    /// Slot to the name and version it must hold.
    type Naive = BTreeMap<u32, (String, u64)>;

    /// A clone, what it must show for ever, and the chunks written since it was made.
    struct Kept {
        slots: Slots<Thing>,
        naive: Naive,
        count: u32,
        written: BTreeSet<u32>,
    }

    #[derive(Default)]
    struct World {
        slots: Slots<Thing>,
        naive: Naive,
        count: u32,
        version: u64,
        kept: Vec<Kept>,
    }

    impl World {
        fn make(&mut self, name: String) -> Stamped<Thing> {
            self.version += 1;
            let version = self.version.to_string();
            Stamped::new(Arc::new(Thing { name, version }))
        }

        fn pick(&self, at: usize) -> Option<u32> {
            self.naive.keys().nth(at % self.naive.len().max(1)).copied()
        }

        fn note(&mut self, slot: u32) {
            for kept in &mut self.kept {
                kept.written.insert(slot / LANES as u32);
            }
        }

        fn insert(&mut self) {
            let slot = self.slots.next();
            assert!(!self.naive.contains_key(&slot), "slot {slot} is held");
            let vacant = (0..self.count).any(|slot| !self.naive.contains_key(&slot));
            assert!(
                slot < self.count || !vacant,
                "a vacant slot is taken before a new one"
            );
            let object = self.make(format!("o{}", self.version));
            let name = object.name.clone();
            self.slots.insert(ObjectKey::cluster(&name), object);
            self.naive.insert(slot, (name, self.version));
            self.count = self.count.max(slot + 1);
            self.note(slot);
        }

        fn run(&mut self, op: &Op) {
            match *op {
                Op::Insert => self.insert(),
                Op::Remove(at) => {
                    let Some(slot) = self.pick(at) else { return };
                    let (key, object) = self.slots.remove(slot);
                    let (name, version) = self.naive.remove(&slot).expect("it was picked");
                    assert_eq!(
                        (key.name(), &object.version),
                        (name.as_str(), &version.to_string())
                    );
                    self.note(slot);
                }
                Op::Exchange(at) => {
                    let Some(slot) = self.pick(at) else { return };
                    let (name, before) = self.naive[&slot].clone();
                    let mut object = self.make(name.clone());
                    self.slots.exchange(slot, &mut object);
                    assert_eq!(object.stamp().version(), Some(before), "the stamp comes along");
                    assert_eq!(object.into_inner().version, before.to_string());
                    self.naive.insert(slot, (name, self.version));
                    self.note(slot);
                }
                Op::Clone => {
                    self.kept.push(Kept {
                        slots: self.slots.clone(),
                        naive: self.naive.clone(),
                        count: self.count,
                        written: BTreeSet::new(),
                    });
                }
            }
        }

        fn check(&self) {
            check(&self.slots, &self.naive, self.count);
            for kept in &self.kept {
                check(&kept.slots, &kept.naive, kept.count);
                let expect: Vec<u32> = kept
                    .written
                    .iter()
                    .flat_map(|chunk| (0..LANES as u32).map(move |lane| chunk * LANES as u32 + lane))
                    .collect();
                let visited = differing(&self.slots, &kept.slots);
                assert_eq!(visited, expect, "the slots of the chunks that were written");
                assert_eq!(differing(&kept.slots, &self.slots), expect);
                let slots: BTreeSet<&u32> = self.naive.keys().chain(kept.naive.keys()).collect();
                for slot in slots {
                    let differs = self.naive.get(slot) != kept.naive.get(slot);
                    assert!(!differs || visited.contains(slot), "slot {slot} differs");
                }
            }
        }
    }

    fn differing(new: &Slots<Thing>, old: &Slots<Thing>) -> Vec<u32> {
        let mut differing = DifferingSlots::default();
        std::iter::from_fn(|| differing.next(new, old)).collect()
    }

    fn check(slots: &Slots<Thing>, naive: &Naive, count: u32) {
        assert_eq!(slots.count(), count);
        let show = |held: Held<'_, Thing>| {
            let version = held.stamp.version().expect("versions are numbers");
            assert_eq!(
                (held.object.name.as_str(), &held.object.version),
                (held.key.name(), &version.to_string())
            );
            (held.key.name().to_owned(), version)
        };
        let walked: Naive = slots.iter().map(|(slot, held)| (slot, show(held))).collect();
        assert_eq!(&walked, naive);
        assert!(slots.iter().map(|(slot, _)| slot).is_sorted());
        for slot in 0..count + 2 * LANES as u32 {
            assert_eq!(slots.get(slot).map(show).as_ref(), naive.get(&slot));
        }
        assert!(slots.get(NO_SLOT).is_none());
        let names = naive.values().map(|(name, _)| name);
        assert!(slots.objects().map(|object| &object.name).eq(names.clone()));
        let list = slots.to_vec(naive.len());
        assert!(list.iter().map(|object| &object.name).eq(names));
        assert_eq!(list.capacity(), naive.len(), "a list takes one allocation");
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            4 => Just(Op::Insert),
            4 => any::<usize>().prop_map(Op::Remove),
            4 => any::<usize>().prop_map(Op::Exchange),
            1 => Just(Op::Clone),
        ];
        prop::collection::vec(op, 1..60)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// From nothing, and where chunks, nodes and branches of the array below begin.
        #[test]
        fn slots_are_a_map_whose_clones_stay_and_tell_what_differs(
            held in prop_oneof![4 => 0..20u32, 2 => 120..136u32, 1 => 2040..2056u32],
            ops in ops(),
        ) {
            let mut world = World::default();
            (0..held).for_each(|_| world.insert());
            world.run(&Op::Clone);
            for op in &ops {
                world.run(op);
            }
            world.check();
            for op in &ops {
                world.run(op);
                if held < 20 {
                    world.check();
                }
            }
            world.check();
        }
    }

    #[test]
    fn what_was_emptied_is_filled_again_before_the_array_grows() {
        let mut world = World::default();
        (0..20).for_each(|_| world.insert());
        world.run(&Op::Clone);
        while !world.naive.is_empty() {
            world.run(&Op::Remove(world.naive.len() / 2));
        }
        world.check();
        (0..21).for_each(|_| world.insert());
        world.check();
        assert_eq!(world.slots.count(), 21);
    }

    #[test]
    fn arrays_of_different_lengths_differ_where_only_one_has_anything() {
        let (empty, mut world) = (Slots::default(), World::default());
        (0..300).for_each(|_| world.insert());
        let all: Vec<u32> = (0..304).collect();
        assert_eq!(differing(&world.slots, &empty), all);
        assert_eq!(differing(&empty, &world.slots), all);
        assert!(differing(&world.slots, &world.slots.clone()).is_empty());
    }
}
