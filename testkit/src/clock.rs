//! The server's clock: tokio's, so that paused tests cover everything, mapped to calendar time from a chosen start.

use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

/// Maps tokio's monotonic clock to calendar time.
///
/// The calendar starts at a fixed moment unless told otherwise, so the same seed gives the same timestamps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    started: Instant,
    calendar: Timestamp,
}

impl Clock {
    pub(crate) fn starting_at(calendar: Timestamp) -> Self {
        Self {
            started: now(),
            calendar,
        }
    }

    /// Calendar time now.
    pub(crate) fn timestamp(&self) -> Timestamp {
        self.calendar.checked_add(self.elapsed()).unwrap_or(self.calendar)
    }

    /// Calendar time now, in the form Kubernetes stores: whole seconds, UTC.
    pub(crate) fn rfc3339(&self) -> String {
        seconds(self.timestamp())
    }

    /// Time since the server was built.
    pub(crate) fn elapsed(&self) -> Duration {
        now().saturating_duration_since(self.started)
    }
}

/// Formats a moment as Kubernetes' `metav1.Time` does.
pub(crate) fn seconds(at: Timestamp) -> String {
    at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// tokio's clock; the one place that reads it.
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// The moment this long after another. What lies beyond the clock's range is decades away instead: never, for a test.
pub(crate) fn after(at: Instant, wait: Duration) -> Instant {
    const DECADES: Duration = Duration::from_secs(30 * 365 * 24 * 3600);
    at.checked_add(wait.min(DECADES)).unwrap_or(at)
}

/// The calendar of servers that were given none: fixed, so that runs can be compared byte by byte.
pub(crate) const EPOCH_SECONDS: i64 = 1_767_225_600; // 2026-01-01T00:00:00Z
