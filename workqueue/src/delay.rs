//! Deadlines: a hierarchical wheel of plain vectors, exact to the nanosecond.
//!
//! Eight levels of 64 buckets cover every `u64` of nanoseconds with ticks of 2²⁰ ns (about a millisecond). A bucket is a
//! row of pages, so adding is a push and firing walks contiguous memory; a linked wheel or a heap pays a cache miss per
//! entry instead, and a level of more buckets one per add, since so many ends are not in the cache. The bucket of the
//! current tick is sorted once when it is opened, which makes firing exact: never early, earliest first, equal deadlines
//! in the order they were armed.
//!
//! [`Wheel`] is public for whoever needs the delays without the queue.
//!
//! Cancelling is lazy: the owner forgets the token, and an entry whose token nobody knows is skipped. [`Wheel::compact`]
//! keeps the forgotten entries a constant fraction of the live ones, so repeated re-arming cannot grow memory.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// log2 of the nanoseconds in a tick.
const TICK_BITS: u32 = 20;
/// log2 of the buckets in a level.
const LEVEL_BITS: u32 = 6;
const BUCKETS: usize = 1 << LEVEL_BITS;
/// `64 - TICK_BITS` bits of ticks need eight levels of six bits.
const LEVELS: usize = 8;
/// A bucket that small is scanned for its exact minimum; a larger one answers with its start, which only costs a wake-up.
const EXACT_SCAN: usize = 64;
/// Timers in a page of a bucket: a large bucket grows without being copied.
const PAGE: usize = 256;
/// A bucket keeps a buffer up to this many entries for its next use; larger ones are given back to the allocator.
const KEEP_CAPACITY: usize = 64;
/// Forgotten entries tolerated before a sweep is worth its cost.
const COMPACT_FLOOR: usize = 1024;

/// Names one arming of a timer. Tokens grow, so they also break ties between equal deadlines. Zero is never given out.
/// After 2³² armings they start again; an owner that checks its own deadline as well cannot be misled by that.
pub type Token = u32;

/// One armed timer: what it is for (`slot`), which arming it is (`token`) and when it is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// Nanoseconds since the owner's epoch.
    pub deadline: u64,
    /// Which arming.
    pub token: Token,
    /// What for, in the owner's terms.
    pub slot: u32,
}

#[derive(Debug, Default)]
struct Bucket {
    full: Vec<Vec<Timer>>,
    last: Vec<Timer>,
}

impl Bucket {
    #[inline]
    fn push(&mut self, timer: Timer) {
        if self.last.len() == PAGE {
            self.turn_page();
        }
        self.last.push(timer);
    }

    #[cold]
    fn turn_page(&mut self) {
        self.full
            .push(std::mem::replace(&mut self.last, Vec::with_capacity(PAGE)));
    }

    fn len(&self) -> usize {
        self.full.len() * PAGE + self.last.len()
    }

    fn iter(&self) -> impl Iterator<Item = &Timer> {
        self.full.iter().flatten().chain(&self.last)
    }

    fn retain(&mut self, mut is_live: impl FnMut(&Timer) -> bool) {
        let old = std::mem::take(self);
        let live = old.full.into_iter().chain([old.last]).flatten();
        live.filter(|timer| is_live(timer))
            .for_each(|timer| self.push(timer));
        self.last.shrink_to(KEEP_CAPACITY);
    }

    fn clear(&mut self) {
        self.full = Vec::new();
        self.last.clear();
        self.last.shrink_to(KEEP_CAPACITY);
    }
}

#[derive(Debug, Default)]
struct Level {
    /// Bit set of the buckets that are not empty.
    occupied: u64,
    /// Empty until the level is first used, then `BUCKETS` long.
    buckets: Vec<Bucket>,
}

impl Level {
    #[inline]
    fn push(&mut self, index: usize, timer: Timer) {
        if self.buckets.is_empty() {
            self.buckets.resize_with(BUCKETS, Bucket::default);
        }
        self.occupied |= 1 << index;
        self.buckets[index].push(timer);
    }

    fn take(&mut self, index: usize) -> Bucket {
        self.occupied &= !(1 << index);
        std::mem::take(&mut self.buckets[index])
    }

    /// Gives a drained buffer back to its bucket unless it is large.
    fn recycle(&mut self, index: usize, mut buffer: Vec<Timer>) {
        if buffer.capacity() <= KEEP_CAPACITY && self.buckets[index].last.capacity() == 0 {
            buffer.clear();
            self.buckets[index].last = buffer;
        }
    }

    /// The first occupied bucket after `index`. Earlier ones are empty: their time has passed.
    fn next_after(&self, index: usize) -> Option<usize> {
        // In two steps, since all 64 bits may have to go.
        let later = self.occupied & (u64::MAX << index << 1);
        (later != 0).then(|| later.trailing_zeros() as usize)
    }
}

/// The timers of one queue, in nanoseconds since an epoch of the owner's.
///
/// # Memory
/// 16 bytes per timer, plus what the vectors hold in reserve; 3 KiB per level that was ever used.
///
/// # Examples
/// ```
/// use informer_workqueue::delay::Wheel;
///
/// let mut wheel = Wheel::new();
/// let late = wheel.arm(2_000_000, 0, 0);
/// let early = wheel.arm(1_000_000, 1, 0);
/// assert_eq!(wheel.pop_due(999_999), None);
/// assert_eq!(wheel.pop_due(1_000_000).map(|timer| timer.token), Some(early));
/// wheel.fired();
/// // Cancelled: its token is not honoured any more.
/// wheel.forget_one();
/// assert_eq!(wheel.next_due(), None);
/// # let _ = late;
/// ```
#[derive(Debug)]
pub struct Wheel {
    /// Every timer of a tick up to here is in `opened` or `late`; every later one is in `levels`.
    cursor: u64,
    levels: [Level; LEVELS],
    /// Timers of opened ticks, sorted latest first.
    opened: Vec<Timer>,
    /// Timers armed for a tick that was already open.
    late: BinaryHeap<Reverse<Timer>>,
    /// No timer is due before this; `None` = must be computed.
    hint: Option<u64>,
    last_token: Token,
    live: usize,
    total: usize,
}

impl Default for Wheel {
    fn default() -> Self {
        Self::new()
    }
}

impl Wheel {
    /// No timers, no allocation.
    #[must_use]
    pub fn new() -> Self {
        Self {
            cursor: 0,
            levels: std::array::from_fn(|_| Level::default()),
            opened: Vec::new(),
            late: BinaryHeap::new(),
            hint: Some(u64::MAX),
            last_token: 0,
            live: 0,
            total: 0,
        }
    }

    /// Arms a timer and returns its token, which the owner keeps for as long as it still wants it.
    #[inline]
    pub fn arm(&mut self, deadline: u64, slot: u32, now: u64) -> Token {
        if self.total == 0 {
            self.cursor = self.cursor.max(now >> TICK_BITS);
        }
        self.last_token = self.last_token.checked_add(1).unwrap_or(1);
        self.live += 1;
        self.total += 1;
        self.hint = self.hint.map(|hint| hint.min(deadline));
        self.place(Timer {
            deadline,
            token: self.last_token,
            slot,
        });
        self.last_token
    }

    /// Says that one armed timer is no longer wanted. Its owner must not honour its token any more.
    pub fn forget_one(&mut self) {
        self.live -= 1;
        if self.live == 0 {
            self.clear();
        }
    }

    /// Whether forgotten timers are worth sweeping out.
    #[must_use]
    pub fn wants_compaction(&self) -> bool {
        self.total > 2 * self.live + COMPACT_FLOOR
    }

    /// Removes every timer that `is_live` does not know.
    pub fn compact(&mut self, mut is_live: impl FnMut(&Timer) -> bool) {
        self.opened.retain(&mut is_live);
        self.late.retain(|timer| is_live(&timer.0));
        let mut total = self.opened.len() + self.late.len();
        for level in &mut self.levels {
            for (index, bucket) in level.buckets.iter_mut().enumerate() {
                if bucket.len() == 0 {
                    continue;
                }
                bucket.retain(&mut is_live);
                total += bucket.len();
                if bucket.len() == 0 {
                    level.occupied &= !(1 << index);
                }
            }
        }
        self.total = total;
        self.hint = None;
    }

    /// Hands out the next timer due by `now`, earliest first; forgotten ones included, the caller checks the token and
    /// calls [`fired`](Self::fired) for a timer it honours.
    pub fn pop_due(&mut self, now: u64) -> Option<Timer> {
        loop {
            if let Some(first) = self.first_opened() {
                if first.deadline > now {
                    self.hint = Some(first.deadline);
                    return None;
                }
                self.total -= 1;
                self.hint = None;
                if self.opened.last() == Some(&first) {
                    self.opened.pop();
                } else {
                    self.late.pop();
                }
                return Some(first);
            }
            if self.total == 0 {
                self.clear();
                return None;
            }
            if !self.open_next(now >> TICK_BITS) {
                return None;
            }
        }
    }

    /// The timers that are next as far as they are in order yet, latest first.
    pub(crate) fn opened(&self) -> &[Timer] {
        &self.opened
    }

    /// Accounts for a timer that was handed out by [`pop_due`](Self::pop_due) and honoured.
    pub fn fired(&mut self) {
        self.live -= 1;
        if self.live == 0 && self.total > 0 {
            // The rest is forgotten: nobody has to be woken for it, nor its slots looked at when they may be gone.
            self.clear();
        }
    }

    /// A time before which nothing is due; `None` when nothing is armed.
    pub fn next_due(&mut self) -> Option<u64> {
        if self.total == 0 {
            return None;
        }
        Some(*self.hint.get_or_insert_with(|| {
            let opened = self.opened.last().map(|timer| timer.deadline);
            let late = self.late.peek().map(|timer| timer.0.deadline);
            match (opened, late) {
                (Some(a), Some(b)) => a.min(b),
                (Some(only), None) | (None, Some(only)) => only,
                (None, None) => next_bucket_bound(&self.levels, self.cursor),
            }
        }))
    }

    /// Whether no timer is armed, not even a forgotten one.
    #[inline]
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.total == 0
    }

    /// Whether something may be due; cheap enough for every operation of the queue.
    #[inline]
    #[must_use]
    pub fn may_be_due(&self, now: u64) -> bool {
        self.total != 0 && self.hint.is_none_or(|hint| hint <= now)
    }

    fn first_opened(&self) -> Option<Timer> {
        match (self.opened.last(), self.late.peek()) {
            (Some(a), Some(Reverse(b))) => Some(*a.min(b)),
            (Some(only), None) => Some(*only),
            (None, Some(Reverse(only))) => Some(*only),
            (None, None) => None,
        }
    }

    /// Opens the next occupied bucket that starts by `now_tick`; false when there is none.
    fn open_next(&mut self, now_tick: u64) -> bool {
        let Some((level, index, start)) = next_bucket(&self.levels, self.cursor) else {
            return false;
        };
        self.hint = None;
        if start > now_tick {
            self.cursor = self.cursor.max(now_tick);
            return false;
        }
        self.cursor = start;
        let Bucket { full, mut last } = self.levels[level].take(index);
        if level == 0 {
            full.iter().for_each(|page| last.extend_from_slice(page));
            last.sort_unstable_by_key(|timer| Reverse((timer.deadline, timer.token)));
            let spent = std::mem::replace(&mut self.opened, last);
            self.levels[0].recycle(index, spent);
        } else {
            full.into_iter().flatten().for_each(|timer| self.place(timer));
            last.drain(..).for_each(|timer| self.place(timer));
            self.levels[level].recycle(index, last);
        }
        true
    }

    /// Puts a timer where its tick belongs: the level of the highest digit in which it differs from the cursor.
    #[inline]
    fn place(&mut self, timer: Timer) {
        let tick = timer.deadline >> TICK_BITS;
        if tick <= self.cursor {
            self.late.push(Reverse(timer));
            return;
        }
        let level = ((63 - (tick ^ self.cursor).leading_zeros()) / LEVEL_BITS) as usize;
        self.levels[level].push(index_at(tick, level), timer);
    }

    fn clear(&mut self) {
        self.total = 0;
        self.hint = Some(u64::MAX);
        self.opened.clear();
        self.opened.shrink_to(KEEP_CAPACITY);
        self.late.clear();
        self.late.shrink_to(KEEP_CAPACITY);
        for level in &mut self.levels {
            let mut bits = std::mem::take(&mut level.occupied);
            while bits != 0 {
                level.buckets[bits.trailing_zeros() as usize].clear();
                bits &= bits - 1;
            }
        }
    }
}

fn index_at(tick: u64, level: usize) -> usize {
    ((tick >> (LEVEL_BITS * level as u32)) & (BUCKETS as u64 - 1)) as usize
}

/// The next occupied bucket (level, index) and its first tick. Lower levels hold earlier ticks.
fn next_bucket(levels: &[Level; LEVELS], cursor: u64) -> Option<(usize, usize, u64)> {
    levels.iter().enumerate().find_map(|(level, buckets)| {
        let index = buckets.next_after(index_at(cursor, level))?;
        let shift = LEVEL_BITS * level as u32;
        let block = cursor >> shift >> LEVEL_BITS << LEVEL_BITS << shift;
        Some((level, index, block | (index as u64) << shift))
    })
}

fn next_bucket_bound(levels: &[Level; LEVELS], cursor: u64) -> u64 {
    let Some((level, index, start)) = next_bucket(levels, cursor) else {
        return u64::MAX;
    };
    let bucket = &levels[level].buckets[index];
    let exact = (bucket.len() <= EXACT_SCAN).then(|| bucket.iter().map(|timer| timer.deadline).min());
    exact.flatten().unwrap_or(start << TICK_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(wheel: &mut Wheel, now: u64) -> Vec<(u64, u32)> {
        std::iter::from_fn(|| wheel.pop_due(now))
            .map(|timer| (timer.deadline, timer.slot))
            .collect()
    }

    #[test]
    fn fires_exactly_at_the_deadline_in_order_with_ties_in_arming_order() {
        let mut rng = fastrand::Rng::with_seed(7);
        for spread in [10u64, 1 << 22, 1 << 30, 1 << 42, 1 << 62] {
            let mut wheel = Wheel::new();
            let mut expected = Vec::new();
            for slot in 0..2_000u32 {
                let deadline = rng.u64(0..spread);
                wheel.arm(deadline, slot, 0);
                expected.push((deadline, slot));
            }
            expected.sort();
            let mut now = 0;
            let mut seen = Vec::new();
            while seen.len() < expected.len() {
                let due = wheel.next_due().expect("timers are armed");
                assert!(due <= expected[seen.len()].0, "the bound is never late");
                now = now
                    .max(due)
                    .max(rng.u64(0..=spread.min(now.saturating_add(spread / 50 + 1))));
                let fired = drain(&mut wheel, now);
                assert!(fired.iter().all(|(deadline, _)| *deadline <= now), "never early");
                seen.extend(fired);
                let rest = expected.get(seen.len()).map(|next| next.0);
                assert!(rest.is_none_or(|next| next > now), "never late");
                if let Some(next) = rest {
                    // A deadline nobody moved is reported at the latest when it is next.
                    assert!(wheel.next_due().expect("timers are armed") <= next);
                }
            }
            assert_eq!(seen, expected);
            assert_eq!(wheel.next_due(), None);
        }
    }

    #[test]
    fn forgotten_timers_are_swept_so_that_rearming_one_slot_stays_small() {
        let mut wheel = Wheel::new();
        let mut last = 0;
        for round in 0..100_000u64 {
            if last != 0 {
                wheel.live -= 1;
            }
            last = wheel.arm(1 << 40, 0, round);
            if wheel.wants_compaction() {
                wheel.compact(|timer| timer.token == last);
            }
            assert!(wheel.total <= COMPACT_FLOOR + 3);
        }
        wheel.forget_one();
        assert_eq!(wheel.next_due(), None);
    }
}
