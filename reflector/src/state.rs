//! [`SyncState`]: what a reflector is doing, and why it cannot sync when it cannot.

use std::fmt;

use informer_store::ResourceVersion;
use tokio::time::Instant;

use crate::ErrorKind;

/// What a reflector is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SyncState {
    /// `run` has not been called.
    NotStarted,
    /// The contents are being listed.
    Listing {
        /// Objects read so far.
        items: u64,
        /// Objects there should be, where the server told.
        expected: Option<u64>,
    },
    /// The contents arrive as the initial events of a watch.
    Streaming,
    /// The store has the whole contents and a watch keeps them.
    Synced {
        /// The version when this state was entered.
        version: ResourceVersion,
    },
    /// Attempts fail; the store keeps what it has.
    Degraded {
        /// Why.
        reason: Reason,
        /// When the row of failures began.
        since: Instant,
        /// How many failures in a row.
        attempts: u32,
    },
    /// `run` has ended.
    Stopped,
}

impl SyncState {
    /// A short constant name.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotStarted => "not-started",
            Self::Listing { .. } => "listing",
            Self::Streaming => "streaming",
            Self::Synced { .. } => "synced",
            Self::Degraded { .. } => "degraded",
            Self::Stopped => "stopped",
        }
    }

    /// Why it is degraded, if it is.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        if let Self::Degraded { reason, .. } = self {
            Some(*reason)
        } else {
            None
        }
    }
}

/// Why a reflector is degraded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// A request failed.
    Failed(ErrorKind),
    /// Watches end at once or without a single event.
    ShortWatch,
    /// Nothing came from the server for longer than it ever pauses.
    Silent,
    /// A line of the watch could not be read.
    Unreadable,
    /// The server broke a promise of the API: an event it had declared past, or a version gone back.
    Diverged,
    /// There are more objects than [`Config::max_objects`](crate::Config::max_objects) allows.
    Overloaded,
}

impl Reason {
    /// A short constant name; never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed(kind) => kind.as_str(),
            Self::ShortWatch => "short-watch",
            Self::Silent => "silent",
            Self::Unreadable => "unreadable",
            Self::Diverged => "diverged",
            Self::Overloaded => "overloaded",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why the contents are listed anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RelistReason {
    /// The version is no longer kept by the server (410).
    Expired,
    /// The version is ahead of the server.
    TooLarge,
    /// The server's history went back.
    Rewound,
    /// A line of the watch could not be read twice in a row.
    Unreadable,
    /// The watch broke a promise of the API.
    Diverged,
    /// The watch stays silent although the server moves on.
    Silent,
    /// An audit found a difference.
    Audit,
    /// An event brought one object too many.
    Overloaded,
    /// The server refuses to watch from the version, for a reason of its own.
    Refused,
}

impl RelistReason {
    /// Every reason, in the order of [`Stats::relists`](crate::Stats::relists).
    pub const ALL: [Self; 9] = [
        Self::Expired,
        Self::TooLarge,
        Self::Rewound,
        Self::Unreadable,
        Self::Diverged,
        Self::Silent,
        Self::Audit,
        Self::Overloaded,
        Self::Refused,
    ];

    /// A short constant name; never changes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::TooLarge => "too-large",
            Self::Rewound => "rewound",
            Self::Unreadable => "unreadable",
            Self::Diverged => "diverged",
            Self::Silent => "silent",
            Self::Audit => "audit",
            Self::Overloaded => "overloaded",
            Self::Refused => "refused",
        }
    }
}

impl fmt::Display for RelistReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
