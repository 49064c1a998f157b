//! [`Publish`]: one state, written by one hand, read by many.
//!
//! The state is a bundle of persistent containers: cloning it is O(1), and writing to it copies only the chunks
//! that a clone still shares. It rests in a mutex. A reader that wants it pinned gets a clone behind an `Arc`, which
//! is left *published* for the readers after it, who take it without waiting for anybody. A writer that wants to
//! write first takes the publication back, so that, if nobody kept it, it writes in place.
//!
//! # Who waits for whom
//! The mutex is held for bounded moments only: by a reader for one clone (a handful of reference counts) or one
//! lookup, by a writer for one short step. A long write works on a clone of its own, off the mutex, and is then
//! swapped in; meanwhile the state as it was stays published. Nobody holds the mutex while iterating, building,
//! waiting or dropping objects.
//!
//! # Why a reader always sees the newest state
//! A publication is taken back under the mutex *before* the state changes under the same hold. So whatever is
//! published is what the mutex holds, until a writer that has already taken the mutex commits; a reader that sees
//! the older state then was concurrent with that commit.

use std::sync::Arc;

use crate::sync::{Mutex, Published, lock};

/// Reads that found nothing published before one of them publishes: publishing makes the next write copy chunks,
/// which only pays if several readers share it.
const READS_BEFORE_PUBLISHING: u32 = 16;

pub(crate) struct Publish<T> {
    resting: Mutex<Resting<T>>,
    published: Published<T>,
}

struct Resting<T> {
    state: T,
    is_published: bool,
    /// Reads through the mutex since the last write.
    reads: u32,
}

impl<T: Clone> Publish<T> {
    pub(crate) fn new(state: T) -> Self {
        Self {
            resting: Mutex::new(Resting {
                state,
                is_published: false,
                reads: 0,
            }),
            published: Published::empty(),
        }
    }

    /// Pins the newest state.
    pub(crate) fn pin(&self) -> Arc<T> {
        if let Some(pinned) = self.published.get() {
            return pinned;
        }
        let mut resting = lock(&self.resting);
        self.publish(&mut resting)
    }

    /// Pins the newest state under the mutex: ordered with every write, unlike a pin of what is published, which a
    /// writer may just be replacing.
    pub(crate) fn pin_in_order(&self) -> Arc<T> {
        let mut resting = lock(&self.resting);
        self.publish(&mut resting)
    }

    /// Looks at the newest state for a bounded moment.
    #[inline]
    pub(crate) fn read<R>(&self, look: impl Fn(&T) -> R) -> R {
        if let Some(answer) = self.published.with(|pinned| look(pinned)) {
            return answer;
        }
        self.read_resting(look)
    }

    /// Looks at the newest state under the mutex, for a bounded moment, ordered with every write.
    pub(crate) fn read_in_order<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&lock(&self.resting).state)
    }

    #[cold]
    fn read_resting<R>(&self, look: impl Fn(&T) -> R) -> R {
        let mut resting = lock(&self.resting);
        resting.reads += 1;
        if resting.reads < READS_BEFORE_PUBLISHING {
            return look(&resting.state);
        }
        let pinned = self.publish(&mut resting);
        drop(resting);
        look(&pinned)
    }

    fn publish(&self, resting: &mut Resting<T>) -> Arc<T> {
        // Another reader may have published while this one waited for the mutex.
        if resting.is_published
            && let Some(pinned) = self.published.get()
        {
            return pinned;
        }
        let pinned = Arc::new(resting.state.clone());
        self.published.set(Some(Arc::clone(&pinned)));
        resting.is_published = true;
        pinned
    }

    /// Writes in one short step, in place as far as nobody holds a pin. One writer at a time; the caller sees to it.
    pub(crate) fn write_short<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        let mut resting = lock(&self.resting);
        let unpublished = self.unpublish(&mut resting);
        // Dropped under the mutex on purpose: it must go before the write for chunks to be unshared, and what it
        // shares with the state is all it can free.
        drop(unpublished);
        step(&mut resting.state)
    }

    /// Writes for as long as it takes; readers see the state as it was until `step` returns, and then all of it.
    /// One writer at a time; the caller sees to it.
    pub(crate) fn write_long<R>(&self, step: impl FnOnce(&mut T) -> R) -> R {
        let mut state = {
            let mut resting = lock(&self.resting);
            self.publish(&mut resting);
            resting.state.clone()
        };
        let answer = step(&mut state);
        let mut resting = lock(&self.resting);
        let unpublished = self.unpublish(&mut resting);
        let before = std::mem::replace(&mut resting.state, state);
        drop(resting);
        drop((unpublished, before));
        answer
    }

    fn unpublish(&self, resting: &mut Resting<T>) -> Option<Arc<T>> {
        resting.reads = 0;
        if !std::mem::take(&mut resting.is_published) {
            return None;
        }
        self.published.set(None)
    }
}
