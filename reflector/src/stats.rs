//! [`Stats`]: what a reflector has done so far, in numbers.

use std::time::Duration;

use tokio::time::Instant;

use crate::RelistReason;

/// Counters since `run` was first called; copied out whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Lists begun (not pages), probes and audits not included.
    pub lists: u64,
    /// Pages asked for.
    pub pages: u64,
    /// Watches begun, streaming lists included.
    pub watches: u64,
    /// Lists begun as the initial events of a watch.
    pub streaming_lists: u64,
    /// Falls from a streaming list back to a plain one.
    pub streaming_list_fallbacks: u64,
    /// Lists begun to check whether a silent server is sane.
    pub probes: u64,
    /// Audits begun.
    pub audits: u64,
    /// Single reads of quarantined objects.
    pub gets: u64,
    /// Bytes of answers read, after decompression.
    pub bytes: u64,
    /// Objects received in lists, decoded or not.
    pub items: u64,
    /// Listed objects that were held already and not decoded.
    pub held: u64,
    /// Events received, bookmarks not included.
    pub events: u64,
    /// Bookmarks received.
    pub bookmarks: u64,
    /// Lists made anew, by [`RelistReason::ALL`].
    relists: [u64; RelistReason::ALL.len()],
    /// Attempts made after a failure.
    pub retries: u64,
    /// Requests answered 429.
    pub throttled: u64,
    /// Watches that ended at once or without an event.
    pub short_watches: u64,
    /// Objects put into quarantine.
    pub quarantined: u64,
    /// Objects let out of quarantine.
    pub released: u64,
    /// Events dropped since what is held is at least as new.
    pub duplicates: u64,
    /// Objects that a list had twice.
    pub list_duplicates: u64,
    /// Events and bookmarks without a usable version.
    pub bad_versions: u64,
    /// Bookmarks older than what had been seen.
    pub old_bookmarks: u64,
    /// Lines of a watch that could not be read.
    pub unreadable: u64,
    /// Deletions of objects that were not held.
    pub unknown_deletes: u64,
    /// Answers refused since they are older than what is held.
    pub stale_answers: u64,
    /// Rewinds of the server's history that were accepted.
    pub rewinds: u64,
    /// Times the server was silent for too long.
    pub watchdog_trips: u64,
    /// Requests given up for want of an answer or of progress.
    pub timeouts: u64,
    /// Differences an audit found.
    pub audit_differences: u64,
    /// Objects left out since they belong to another shard.
    pub other_shard: u64,
    /// Redeliveries begun (parts of a resync).
    pub resync_parts: u64,
    /// Lists that were read to their end and taken, streaming ones included.
    pub lists_taken: u64,
    /// How long those took, from the first request on, summed.
    pub list_time: Duration,
    /// The objects in those.
    pub listed_items: u64,
    /// Watches that were answered and have ended.
    pub watches_ended: u64,
    /// How long those were open, summed.
    pub watch_time: Duration,
    /// The events of those.
    pub watched_events: u64,
    /// When the last event of a watch came.
    pub last_event: Option<Instant>,
}

impl Stats {
    /// Lists made anew for `reason`.
    #[must_use]
    pub fn relists(&self, reason: RelistReason) -> u64 {
        self.relists[reason as usize]
    }

    /// Lists made anew for any reason.
    #[must_use]
    pub fn relists_total(&self) -> u64 {
        self.relists.iter().sum()
    }

    /// Adds what another reflector has done.
    pub(crate) fn add(&mut self, other: &Self) {
        macro_rules! sum {
            ($($field:ident)*) => {
                $(self.$field += other.$field;)*
            };
        }
        sum! {
            lists pages watches streaming_lists streaming_list_fallbacks probes audits gets bytes items held events
            bookmarks retries throttled short_watches quarantined released duplicates list_duplicates bad_versions
            old_bookmarks unreadable unknown_deletes stale_answers rewinds watchdog_trips timeouts
            audit_differences other_shard resync_parts lists_taken list_time listed_items watches_ended watch_time
            watched_events
        }
        self.last_event = self.last_event.max(other.last_event);
        for (mine, theirs) in self.relists.iter_mut().zip(other.relists) {
            *mine += theirs;
        }
    }

    pub(crate) fn count_relist(&mut self, reason: RelistReason) {
        self.relists[reason as usize] += 1;
    }

    /// Every request sent: pages, watches, probes, reads.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.pages + self.watches + self.gets
    }
}
