//! [`Stats`]: what a cache has done so far.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a cache has done since it was made, each a count that only grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Batches applied.
    pub batches: u64,
    /// Keys that came to hold an object.
    pub added: u64,
    /// Objects that changed, or were delivered again.
    pub updated: u64,
    /// Keys that ceased to hold an object.
    pub deleted: u64,
    /// Items of relists that were held already, kept as they were.
    pub unchanged: u64,
    /// Deltas refused because what is held is as new or newer.
    pub stale: u64,
    /// Batches whose version was older than the one claimed, which was kept.
    pub stale_versions: u64,
    /// Deletions of keys that were not held.
    pub unknown: u64,
    /// Deletions ignored because they were about an object of another uid.
    pub foreign_tombstones: u64,
    /// Objects refused because the key function gave no key.
    pub unkeyed: u64,
}

/// The counts of one batch.
pub(crate) type Tally = Stats;

macro_rules! counters {
    ($($field:ident),*) => {
        /// The counts of a cache's lifetime.
        #[derive(Default)]
        pub(crate) struct Counters { $($field: AtomicU64),* }

        impl Counters {
            /// Adds the counts of one batch. One writer at a time, so a load and a store do for each count.
            pub(crate) fn add(&self, tally: &Tally) {
                $(if tally.$field != 0 {
                    self.$field.store(self.$field.load(Relaxed) + tally.$field, Relaxed);
                })*
            }

            /// Adds a batch of one update, whose version was accepted or not.
            #[inline]
            pub(crate) fn add_update(&self, is_accepted: bool) {
                for count in [&self.batches, &self.updated] {
                    count.store(count.load(Relaxed) + 1, Relaxed);
                }
                if !is_accepted {
                    self.stale_versions.store(self.stale_versions.load(Relaxed) + 1, Relaxed);
                }
            }

            pub(crate) fn read(&self) -> Stats {
                Stats { $($field: self.$field.load(Relaxed)),* }
            }
        }
    };
}

counters!(
    batches,
    added,
    updated,
    deleted,
    unchanged,
    stale,
    stale_versions,
    unknown,
    foreign_tombstones,
    unkeyed
);
