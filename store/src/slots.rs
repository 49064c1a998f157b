//! [`Slots`]: what is held, by slot number.

use std::sync::Arc;

use crate::{
    ObjectKey, Stamp, Stamped,
    persist::{Differing, Paged, paged_bytes},
};

const NO_SLOT: u32 = u32::MAX;

/// Slots in a chunk: what one write copies while a clone is held.
const LANES: usize = 8;

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
