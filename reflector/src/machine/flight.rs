//! [`Flight`]: the deadlines of one request.

use std::time::Duration;

use tokio::time::Instant;

/// A request on its way: first it must be answered, then the answer must make progress.
#[derive(Debug, Default)]
pub(super) struct Flight {
    deadline: Option<Instant>,
    opened: Option<Instant>,
    /// Bytes since the deadline was last moved.
    window: u64,
}

impl Flight {
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= now)
    }

    pub(super) fn has_opened(&self) -> bool {
        self.opened.is_some()
    }

    pub(super) fn opened_at(&self) -> Option<Instant> {
        self.opened
    }

    pub(super) fn sent(&mut self, now: Instant, timeout: Duration) {
        self.deadline = Some(now + timeout);
    }

    /// The answer has begun; it must make progress from now on.
    pub(super) fn opened(&mut self, now: Instant, timeout: Duration) {
        self.opened = Some(now);
        self.deadline = Some(now + timeout);
        self.window = 0;
    }

    /// The answer may pause.
    pub(super) fn rest(&mut self) {
        self.deadline = None;
        self.window = 0;
    }

    /// So many bytes arrived; enough of them move the deadline.
    pub(super) fn progress(&mut self, now: Instant, bytes: u64, timeout: Duration, floor: u64) {
        self.window = self.window.saturating_add(bytes);
        if self.deadline.is_none() || self.window >= floor {
            self.deadline = Some(now + timeout);
            self.window = 0;
        }
    }

    /// A complete part arrived, however small.
    pub(super) fn complete(&mut self, now: Instant, timeout: Duration) {
        self.deadline = Some(now + timeout);
        self.window = 0;
    }

    pub(super) fn blocked(&mut self, time: Duration) {
        if let Some(deadline) = &mut self.deadline {
            *deadline += time;
        }
    }
}
