//! The monotonic clock of an election, with the time that the machine was suspended added.

use std::{fmt, sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};

/// How long the machine has been suspended since it was started.
pub(super) type Suspended = Arc<dyn Fn() -> Duration + Send + Sync>;

/// Tokio's clock does not run while the machine sleeps; the leases that others count do. This one is put ahead by the
/// sleep as soon as the machine is awake again.
#[derive(Clone)]
pub(super) struct Clock {
    suspended: Suspended,
    before: Duration,
}

impl Clock {
    pub(super) fn new(suspended: Suspended) -> Self {
        let before = suspended();
        Self { suspended, before }
    }

    /// Now: tokio's clock and the sleep since this clock was made.
    pub(super) fn now(&self) -> Instant {
        Instant::now() + self.slept()
    }

    /// What tokio's clock shows when this one shows `time`, if the machine does not sleep any more.
    pub(super) fn on_tokio(&self, time: Instant) -> Instant {
        time.checked_sub(self.slept()).unwrap_or(time)
    }

    /// Waits until this clock shows `time`.
    pub(super) async fn sleep_until(&self, time: Instant) {
        loop {
            let left = time.saturating_duration_since(self.now());
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }

    fn slept(&self) -> Duration {
        let slept = (self.suspended)().saturating_sub(self.before);
        if slept < NOISE { Duration::ZERO } else { slept }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("slept", &self.slept()).finish()
    }
}

/// What the system says: Linux has a clock that stops in a suspend and one that does not. Elsewhere nothing is known.
pub(super) fn system() -> Suspended {
    #[cfg(target_os = "linux")]
    return Arc::new(linux);
    #[cfg(not(target_os = "linux"))]
    Arc::new(|| Duration::ZERO)
}

/// The difference of the two clocks. They are read one after the other, so a pause of the thread in between would look
/// like a sleep: the reading in the middle has to be close to both others, or the pause is taken off.
#[cfg(target_os = "linux")]
fn linux() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    let read = |clock| {
        let time = clock_gettime(clock);
        i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
    };
    let mut slept = 0;
    for _ in 0..4 {
        let before = read(ClockId::Monotonic);
        let all = read(ClockId::Boottime);
        let after = read(ClockId::Monotonic);
        slept = all - after;
        if after - before < 1_000_000 {
            break;
        }
    }
    Duration::from_nanos(u64::try_from(slept).unwrap_or_default())
}

/// Differences below this come from reading two clocks, not from a sleep.
const NOISE: Duration = Duration::from_millis(100);
