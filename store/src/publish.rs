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
//! # Who writes
//! Whoever holds [`Writing`], for as many steps and looks as it takes; or, for a single short step that needs nothing
//! besides, whoever holds the mutex and sees that nobody holds `Writing` ([`Publish::try_write`]).
//!
//! # Why a reader always sees the newest state
//! A publication is taken back under the mutex *before* the state changes under the same hold. So whatever is
//! published is what the mutex holds, until a writer that has already taken the mutex commits; a reader that sees
//! the older state then was concurrent with that commit.

use std::sync::Arc;

use crate::sync::{AtomicBool, Mutex, MutexGuard, Ordering, Published, lock};

/// Reads that found nothing published before one of them publishes: publishing makes the next write copy chunks,
/// which only pays if several readers share it.
const READS_BEFORE_PUBLISHING: u32 = 16;

pub(crate) struct Publish<T> {
    resting: Mutex<Resting<T>>,
    published: Published<T>,
    writer: Mutex<()>,
    /// Whether `writer` is held. Set before its holder takes the mutex of the state for the first time, so that whoever
    /// takes that mutex later sees it.
    is_writing: AtomicBool,
}

/// The right to write, of one at a time.
pub(crate) struct Writing<'a, T> {
    publish: &'a Publish<T>,
    _writer: MutexGuard<'a, ()>,
}

impl<T> Drop for Writing<'_, T> {
    fn drop(&mut self) {
        // Release, for what was done under this right: who sees it gone through `try_write` does the same.
        self.publish.is_writing.store(false, Ordering::Release);
    }
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
            writer: Mutex::new(()),
            is_writing: AtomicBool::new(false),
        }
    }

    /// Waits for the right to write.
    pub(crate) fn begin(&self) -> Writing<'_, T> {
        let writer = lock(&self.writer);
        // Relaxed, since the mutex of the state orders it: a holder of that before this one has done its step, one after
        // it sees this.
        self.is_writing.store(true, Ordering::Relaxed);
        Writing {
            publish: self,
            _writer: writer,
        }
    }

    /// Writes in one short step, in place as far as nobody holds a pin; not if somebody has the right to write.
    #[inline]
    pub(crate) fn try_write<R>(&self, step: impl FnOnce(&mut T) -> R) -> Option<R> {
        let mut resting = lock(&self.resting);
        if self.is_writing.load(Ordering::Acquire) {
            return None;
        }
        // Dropped under the mutex on purpose, see `write_short`.
        drop(self.unpublish(&mut resting));
        Some(step(&mut resting.state))
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
    pub(crate) fn read<R>(&self, look: impl Fn(&T) -> R + Copy) -> R {
        match self.published.with(|pinned| look(pinned)) {
            Some(answer) => answer,
            None => self.read_resting(look),
        }
    }

    /// Looks at the newest state under the mutex, for a bounded moment, ordered with every write.
    pub(crate) fn read_in_order<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&lock(&self.resting).state)
    }

    #[cold]
    #[inline(never)]
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

    fn unpublish(&self, resting: &mut Resting<T>) -> Option<Arc<T>> {
        resting.reads = 0;
        if !std::mem::take(&mut resting.is_published) {
            return None;
        }
        self.published.set(None)
    }
}

impl<T: Clone> Writing<'_, T> {
    /// Writes in one short step, in place as far as nobody holds a pin.
    pub(crate) fn write_short<R>(&mut self, step: impl FnOnce(&mut T) -> R) -> R {
        let mut resting = lock(&self.publish.resting);
        let unpublished = self.publish.unpublish(&mut resting);
        // Dropped under the mutex on purpose: it must go before the write for chunks to be unshared, and what it
        // shares with the state is all it can free.
        drop(unpublished);
        step(&mut resting.state)
    }

    /// Writes for as long as it takes; readers see the state as it was until `step` returns, and then all of it.
    ///
    pub(crate) fn write_long<R>(&mut self, step: impl FnOnce(&mut T) -> R) -> R {
        let mut state = {
            let mut resting = lock(&self.publish.resting);
            self.publish.publish(&mut resting);
            resting.state.clone()
        };
        let answer = step(&mut state);
        let mut resting = lock(&self.publish.resting);
        let unpublished = self.publish.unpublish(&mut resting);
        let before = std::mem::replace(&mut resting.state, state);
        drop(resting);
        drop((unpublished, before));
        answer
    }
}
