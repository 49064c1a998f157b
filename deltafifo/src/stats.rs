//! [`Stats`]: what a queue has done so far.

/// What a queue holds and has done so far; counters never go back.
///
/// Nothing is dropped without a trace: `added == popped + depth + coalesced + swallowed` at any moment, where a
/// delta that a lease put back counts as popped once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Deltas that wait now.
    pub depth: usize,
    /// The most that ever waited.
    pub depth_max: usize,
    /// Deltas of single objects taken.
    pub added: u64,
    /// Deltas of single objects handed out.
    pub popped: u64,
    /// Deltas merged into one that was waiting, or superseding it.
    pub coalesced: u64,
    /// Waiting deltas that a replacement made void.
    pub swallowed: u64,
    /// Replacements taken.
    pub replaced: u64,
    /// Replacements that a later one made void before they were handed out.
    pub replaced_void: u64,
    /// Bookmarks taken.
    pub bookmarks: u64,
    /// Resync parts taken.
    pub resyncs: u64,
    /// Batches handed out.
    pub batches: u64,
    /// Classic mode: deletions of objects that neither the queue nor the known objects held.
    pub ignored: u64,
    /// How often an ordered queue was compressed because it was full.
    pub step_downs: u64,
    /// How often a producer had to wait for room.
    pub waits: u64,
}
