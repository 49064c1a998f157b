//! [`Flight`]: the deadlines of one request.

use std::time::Duration;

use tokio::time::Instant;

/// A request on its way: first it must be answered, then the answer must make progress.
#[derive(Debug, Default)]
pub(super) struct Flight {
    deadline: Option<Instant>,
    /// When the part that is being read must be complete, however many bytes arrive.
    part: Option<Instant>,
    opened: Option<Instant>,
    /// Bytes since the deadline was last moved.
    window: u64,
}

impl Flight {
    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.deadline, self.part].into_iter().flatten().min()
    }

    pub(super) fn is_late(&self, now: Instant) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
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
        self.complete(now, timeout);
    }

    /// The answer may pause.
    pub(super) fn rest(&mut self) {
        self.deadline = None;
        self.part = None;
        self.window = 0;
    }

    /// So many bytes arrived; enough of them move the deadline.
    pub(super) fn progress(&mut self, now: Instant, bytes: u64, timeout: Duration, floor: u64) {
        self.window = self.window.saturating_add(bytes);
        if self.part.is_none() {
            self.part(now);
        }
        if self.deadline.is_none() || self.window >= floor {
            self.deadline = Some(now + timeout);
            self.window = 0;
        }
    }

    /// A complete part arrived, however small.
    pub(super) fn complete(&mut self, now: Instant, timeout: Duration) {
        self.deadline = Some(now + timeout);
        self.window = 0;
        self.part(now);
    }

    /// A complete part arrived; that alone is no reason to wait longer for bytes.
    pub(super) fn part(&mut self, now: Instant) {
        self.part = Some(now + PART_MAX);
    }

    pub(super) fn blocked(&mut self, time: Duration) {
        for deadline in [&mut self.deadline, &mut self.part].into_iter().flatten() {
            *deadline += time;
        }
    }
}

/// The longest that one object may take: at 60 kB a second the largest there may be is through by then.
const PART_MAX: Duration = Duration::from_secs(300);
