//! [`Ground`]: the memory that objects are going to lie in.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Prepares memory for objects that are decoded one after another.
///
/// A large object is built of hundreds of small pieces, in memory that no cache of the processor has yet; whatever is read
/// back soon after it was written then waits for every write before it. Written to once in one go, that memory comes
/// with the processor's full bandwidth.
///
/// No more than a hint to the allocator: it asks for memory, and gives it back. Where an allocator does not take one
/// block behind the other, as most do for a list, it does nothing.
#[derive(Debug, Default)]
pub(super) struct Ground {
    /// Where the last object began.
    last: AtomicUsize,
    /// How far behind the one before it.
    distance: AtomicUsize,
}

impl Ground {
    /// A place of so many bytes, to be given back right before they are asked for: in front of all the object's other
    /// pieces, as it will be read, and an allocator that joins free blocks with those before them has an easy time of
    /// it when the objects are dropped in the order in which they came.
    #[inline]
    pub(super) fn prepare(&self, bytes: usize) -> Vec<u8> {
        let place: Vec<u8> = Vec::with_capacity(bytes);
        let at = place.as_ptr().addr();
        // About as much as an object takes, if they lie one behind the other: now and then there is something else between
        // two of them.
        let distance = at.wrapping_sub(self.last.swap(at, Ordering::Relaxed));
        let taken = distance.min(self.distance.swap(distance, Ordering::Relaxed));
        if (TAKEN_MIN..=TAKEN_MAX).contains(&taken) {
            warm(taken);
        }
        place
    }
}

#[inline(never)]
fn warm(bytes: usize) {
    let mut memory: Vec<u8> = Vec::with_capacity(bytes);
    // Not zeros, which an allocator may have without writing them.
    memory.resize(bytes, u8::MAX);
    drop(std::hint::black_box(memory));
}

/// Less is written faster than it is prepared.
const TAKEN_MIN: usize = 4 * 1024;
/// More would drive itself out of the caches.
const TAKEN_MAX: usize = 256 * 1024;
