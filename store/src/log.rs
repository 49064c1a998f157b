//! [`Log`]: the changes on their way to the subscriptions, kept once for all of them.
//!
//! One block per applied batch. Each subscription has a cursor; a block that every cursor has passed is let go of.
//! The log is bounded: when it overflows, the subscriptions still at its oldest block are given what the log holds
//! and a pin of the state at its end, and are on their own from there: they hold up nobody, and go on by comparing
//! their pin with the state of the day.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::Waker,
};

use smallvec::SmallVec;

use crate::{Change, ResourceVersion, state::State};

/// What one applied batch changed.
pub(crate) struct Block<K> {
    pub(crate) changes: SmallVec<[Logged<K>; 1]>,
    /// Changes of the cache's life up to and with this block.
    pub(crate) total: u64,
    pub(crate) version: ResourceVersion,
    pub(crate) synced: bool,
}

/// A change, and what it does not tell itself.
pub(crate) struct Logged<K> {
    pub(crate) change: Change<K>,
    /// What was held before a deletion that brought a final state of its own.
    pub(crate) held: Option<Arc<K>>,
}

pub(crate) type BlockRef<K> = Arc<Block<K>>;

pub(crate) struct Log<K> {
    inner: Mutex<Inner<K>>,
    /// Number of subscriptions, to be read without the lock.
    count: AtomicUsize,
    capacity: usize,
}

struct Inner<K> {
    blocks: VecDeque<BlockRef<K>>,
    /// The position of the first block.
    tail: u64,
    /// Changes in all blocks; an empty block counts as one.
    held: usize,
    readers: slab::Slab<Reader<K>>,
    closed: bool,
}

struct Reader<K> {
    cursor: Cursor<K>,
    waker: Option<Waker>,
}

enum Cursor<K> {
    /// Has taken every block below.
    At(u64),
    /// Fell out of the log.
    Overrun(Overrun<K>),
    /// Reads something else for now.
    Away,
}

/// What is left to a subscription that fell out of the log.
pub(crate) struct Overrun<K> {
    pub(crate) backlog: VecDeque<BlockRef<K>>,
    /// The state at the end of the backlog.
    pub(crate) pin: Arc<State<K>>,
}

/// What a subscription finds in the log.
pub(crate) enum Found<K> {
    /// Blocks from this position on, put where the caller wants them.
    Blocks(u64),
    Overrun(Overrun<K>),
    Nothing,
    Closed,
}

/// Changes a subscription takes from the log at once: bounds what it holds beyond the log's own bound.
const TAKE: usize = 256;

impl<K> Log<K> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                blocks: VecDeque::new(),
                tail: 0,
                held: 0,
                readers: slab::Slab::new(),
                closed: false,
            }),
            count: AtomicUsize::new(0),
            capacity,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner<K>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether anybody listens. A joiner counts before it pins the state under the state's mutex; a writer that asks
    /// under that mutex and sees nobody will be seen by the pin of whoever joins.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Notes that a long step went to `steps` with nobody listening when it began. Who joined meanwhile and pinned
    /// `before` still has that step to make up. Short steps with nobody listening need no note: whoever joins later has
    /// them in its pin.
    pub(crate) fn skip(&self, steps: u64, before: &Arc<State<K>>) {
        let mut inner = self.lock();
        for (_, reader) in &mut inner.readers {
            if matches!(reader.cursor, Cursor::At(at) if at < steps) {
                reader.cursor = Cursor::Overrun(Overrun {
                    backlog: VecDeque::new(),
                    pin: Arc::clone(before),
                });
            }
        }
        inner.tail = steps;
        let wakers = inner.wakers();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Appends the block that brought the state to `steps`; `pin` pins that state.
    pub(crate) fn append(&self, steps: u64, block: Block<K>, pin: impl FnOnce() -> Arc<State<K>>) {
        let block = Arc::new(block);
        let mut gone = Vec::new();
        let mut inner = self.lock();
        if inner.blocks.is_empty() {
            // The steps before it were taken with nobody listening.
            inner.tail = steps - 1;
        }
        inner.held += weight(&block);
        inner.blocks.push_back(block);
        debug_assert_eq!(inner.tail + inner.blocks.len() as u64, steps);
        if inner.readers.is_empty() || inner.held > self.capacity && inner.blocks.len() > 1 {
            inner.trim(&mut gone);
        }
        if inner.held > self.capacity && inner.blocks.len() > 1 {
            inner.overflow(self.capacity, pin, &mut gone);
        }
        let wakers = inner.wakers();
        drop(inner);
        drop(gone);
        wakers.into_iter().for_each(Waker::wake);
    }

    /// Adds a reader that is away at first.
    pub(crate) fn join(&self) -> usize {
        let mut inner = self.lock();
        self.count.fetch_add(1, Ordering::SeqCst);
        inner.readers.insert(Reader {
            cursor: Cursor::Away,
            waker: None,
        })
    }

    pub(crate) fn leave(&self, reader: usize) {
        let mut gone = Vec::new();
        let mut inner = self.lock();
        let reader = inner.readers.remove(reader);
        self.count.fetch_sub(1, Ordering::SeqCst);
        inner.trim(&mut gone);
        drop(inner);
        drop((reader, gone));
    }

    /// Puts a reader that was away at position `steps`; false if the log no longer reaches back to there.
    pub(crate) fn resume(&self, reader: usize, steps: u64) -> bool {
        let mut inner = self.lock();
        let reaches = inner.tail <= steps;
        if reaches {
            inner.readers[reader].cursor = Cursor::At(steps);
        }
        reaches
    }

    /// Takes what is next for `reader` into `blocks`, which is empty, or leaves `waker` to be told of it.
    pub(crate) fn take(&self, reader: usize, waker: &Waker, blocks: &mut VecDeque<BlockRef<K>>) -> Found<K> {
        let mut gone = Vec::new();
        let mut inner = self.lock();
        let found = inner.take(reader, waker, blocks, &mut gone);
        drop(inner);
        drop(gone);
        found
    }

    /// The end of the log.
    pub(crate) fn head(&self) -> u64 {
        self.lock().head()
    }

    /// Has `reader` looked at again.
    pub(crate) fn wake(&self, reader: usize) {
        let waker = self
            .lock()
            .readers
            .get_mut(reader)
            .and_then(|reader| reader.waker.take());
        waker.into_iter().for_each(Waker::wake);
    }

    /// Changes held for the subscriptions, and how many these are.
    pub(crate) fn size(&self) -> (usize, usize) {
        let inner = self.lock();
        (inner.held, inner.readers.len())
    }

    /// Ends the log: readers get what is in it, then nothing more.
    pub(crate) fn close(&self) {
        let mut inner = self.lock();
        inner.closed = true;
        let wakers = inner.wakers();
        drop(inner);
        wakers.into_iter().for_each(Waker::wake);
    }
}

fn weight<K>(block: &Block<K>) -> usize {
    block.changes.len().max(1)
}

impl<K> Inner<K> {
    fn head(&self) -> u64 {
        self.tail + self.blocks.len() as u64
    }

    fn pop(&mut self) -> Option<BlockRef<K>> {
        let block = self.blocks.pop_front()?;
        self.tail += 1;
        self.held -= weight(&block);
        Some(block)
    }

    /// Lets go of the blocks that every cursor has passed.
    fn trim(&mut self, gone: &mut Vec<BlockRef<K>>) {
        let mut passed = self.head();
        for (_, reader) in &self.readers {
            match reader.cursor {
                Cursor::At(at) => passed = passed.min(at),
                Cursor::Overrun(_) => {}
                // It may come back to any position; the capacity bounds what is kept for it.
                Cursor::Away => return,
            }
        }
        while self.tail < passed {
            gone.extend(self.pop());
        }
    }

    /// Makes room by giving the readers at the oldest blocks all there is, to read at their leisure.
    fn overflow(
        &mut self,
        capacity: usize,
        pin: impl FnOnce() -> Arc<State<K>>,
        gone: &mut Vec<BlockRef<K>>,
    ) {
        while self.held > capacity && self.blocks.len() > 1 {
            gone.extend(self.pop());
        }
        let mut pin = Some(pin);
        let mut pinned: Option<Arc<State<K>>> = None;
        let tail = self.tail;
        let evicted = gone.len() as u64;
        for (_, reader) in &mut self.readers {
            let Cursor::At(at) = reader.cursor else { continue };
            if at >= tail {
                continue;
            }
            let pinned = pinned.get_or_insert_with(|| pin.take().expect("pinned once")());
            let first = usize::try_from(evicted - (tail - at)).expect("evicted blocks are in memory");
            let backlog = gone[first..].iter().chain(&self.blocks).map(Arc::clone).collect();
            reader.cursor = Cursor::Overrun(Overrun {
                backlog,
                pin: Arc::clone(pinned),
            });
        }
    }

    fn wakers(&mut self) -> SmallVec<[Waker; 4]> {
        self.readers
            .iter_mut()
            .filter_map(|(_, reader)| reader.waker.take())
            .collect()
    }

    fn take(
        &mut self,
        reader: usize,
        waker: &Waker,
        blocks: &mut VecDeque<BlockRef<K>>,
        gone: &mut Vec<BlockRef<K>>,
    ) -> Found<K> {
        let (tail, head) = (self.tail, self.head());
        let state = &mut self.readers[reader];
        let at = match std::mem::replace(&mut state.cursor, Cursor::Away) {
            Cursor::At(at) => at,
            Cursor::Overrun(overrun) => return Found::Overrun(overrun),
            Cursor::Away => unreachable!("a reader that is away takes nothing"),
        };
        // A step that was applied but not yet appended has no block here yet.
        if at >= head {
            state.cursor = Cursor::At(at);
            if self.closed {
                return Found::Closed;
            }
            state.waker = Some(waker.clone());
            return Found::Nothing;
        }
        let first = usize::try_from(at - tail).expect("blocks are in memory");
        let mut taken = 0;
        for block in self.blocks.range(first..) {
            taken += weight(block);
            if taken > TAKE && !blocks.is_empty() {
                break;
            }
            blocks.push_back(Arc::clone(block));
        }
        state.cursor = Cursor::At(at + blocks.len() as u64);
        if at == tail {
            self.trim(gone);
        }
        Found::Blocks(at)
    }
}
