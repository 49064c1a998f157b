//! [`Plan`]: how the contents are to be read next.

use informer_store::{Object, ResourceVersion};

use super::{Machine, contents};
use crate::{InitialRead, ReadAt, RelistReason};

/// How the contents are to be read next.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    /// Read the latest, not merely something as new as what was seen.
    pub(super) latest: bool,
    /// How many pages the last list had.
    pub(super) pages: usize,
    /// Do not ask for pages, though they would help.
    pub(super) unpaged: bool,
    /// The server pages even lists it serves from memory.
    pub(super) paged: bool,
    /// Do not ask for a streaming list this time.
    pub(super) plain: bool,
    /// Attempts at the present contents that failed while streaming.
    pub(super) streaming_failures: u32,
    /// A streaming list was refused: remembered once a plain one has shown that it was not for another reason.
    pub(super) refused: bool,
    /// Lists without a readable name in them, in a row.
    pub(super) nameless: u32,
    /// Answers older than what is held, in a row.
    pub(super) older: u32,
    /// Why the contents are read again.
    pub(super) reason: Option<RelistReason>,
    /// Whether a relist has been tried since things last went well.
    pub(super) relisted: bool,
    /// Another source found that the history went back: the next contents are taken as they are.
    pub(super) doubted: bool,
    /// Use a fresh connection for the next request.
    pub(super) fresh: bool,
}

impl<K: Object> Machine<K> {
    /// Whether a list at `version` can be watched from, and told newer or older than what was seen.
    pub(super) fn can_follow(&self, version: &ResourceVersion) -> bool {
        contents::is_usable(version)
            && (version.is_ordered() || !self.version.is_ordered() || self.version.is_unset())
    }

    /// What the next list may be answered with.
    pub(super) fn read_at(&self) -> ReadAt {
        if self.version.is_unset() {
            match self.config.initial_read {
                InitialRead::Any if !self.plan.latest => ReadAt::Any,
                _ => ReadAt::Latest,
            }
        } else if self.plan.latest || !self.version.is_ordered() {
            ReadAt::Latest
        } else {
            ReadAt::NotOlderThan(self.version.clone())
        }
    }
}
