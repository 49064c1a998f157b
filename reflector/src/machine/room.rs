//! [`Room`]: how many objects several machines hold together.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// What machines that fill one store are limited by together: see [`Config::max_objects`](crate::Config::max_objects).
/// Clones are the same room.
#[derive(Clone, Debug, Default)]
pub struct Room(Arc<AtomicUsize>);

/// What one machine has taken of a room; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Share {
    room: Room,
    taken: usize,
}

impl Share {
    pub(super) fn of(room: &Room) -> Self {
        Self {
            room: room.clone(),
            taken: 0,
        }
    }

    /// Takes as much as this, no more and no less.
    pub(super) fn take(&mut self, objects: usize) {
        if objects > self.taken {
            self.room.0.fetch_add(objects - self.taken, Ordering::Relaxed);
        } else if objects < self.taken {
            self.room.0.fetch_sub(self.taken - objects, Ordering::Relaxed);
        }
        self.taken = objects;
    }

    /// How much others have taken.
    pub(super) fn others(&self) -> usize {
        self.room.0.load(Ordering::Relaxed).saturating_sub(self.taken)
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.take(0);
    }
}
