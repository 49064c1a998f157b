//! [`Backoff`]: how long to wait after failures, and never more requests than a failing server can bear.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// How a reflector waits between attempts.
///
/// # Source
/// client-go `tools/cache/reflector.go` constants of `NewReflectorWithOptions`; differs: the count of failures is
/// forgotten after a healthy stretch, not on a clock of its own, and there is a hard budget of requests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BackoffConfig {
    /// The wait after the first failure. Default: 0.8 s.
    pub initial: Duration,
    /// The longest wait. Default: 30 s.
    pub max: Duration,
    /// How long things must go well before the failures are forgotten. Default: 2 min.
    pub reset_after: Duration,
    /// The most a server's `Retry-After` is honoured. Default: 60 s.
    pub retry_after_max: Duration,
    /// How many requests may be sent in any 60 s while attempts fail. Default: 8.
    pub requests_per_minute: usize,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            initial: Duration::from_millis(800),
            max: Duration::from_secs(30),
            reset_after: Duration::from_secs(120),
            retry_after_max: Duration::from_secs(60),
            requests_per_minute: 8,
        }
    }
}

/// Counts failures and says when the next attempt may be made.
///
/// A wait is the base `initial × 2ⁿ` (at most `max`), jittered over its full width to between half and one and a
/// half of it.
///
/// # Examples
/// ```
/// use informer_reflector::{Backoff, BackoffConfig};
/// # tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(async {
/// let now = tokio::time::Instant::now();
/// let mut backoff = Backoff::new(BackoffConfig::default());
/// let mut rng = fastrand::Rng::with_seed(1);
/// let first = backoff.failed(now, None, &mut rng) - now;
/// assert!(first.as_millis() >= 400 && first.as_millis() <= 1200);
/// # });
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    config: BackoffConfig,
    failures: u32,
    since: Option<Instant>,
    last: Option<Instant>,
    /// When the latest requests were sent, oldest first; as many as the budget.
    sent: VecDeque<Instant>,
}

impl Backoff {
    /// No failures yet.
    #[must_use]
    pub fn new(config: BackoffConfig) -> Self {
        Self {
            config,
            failures: 0,
            since: None,
            last: None,
            sent: VecDeque::new(),
        }
    }

    /// Records a failure at `now` and returns when to try again; `asked` is the server's own wish.
    pub fn failed(&mut self, now: Instant, asked: Option<Duration>, rng: &mut fastrand::Rng) -> Instant {
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(now);
        self.last = Some(now);
        let base = self.base(self.failures);
        let mut wait = base.mul_f64(rng.f64() + 0.5);
        if let Some(asked) = asked {
            let cap = self.config.retry_after_max;
            let jittered = if asked >= cap {
                cap.mul_f64(0.8 + rng.f64() * 0.2)
            } else {
                asked.mul_f64(1.0 + rng.f64() * 0.2).min(cap)
            };
            wait = wait.max(jittered);
        }
        self.within_budget(now + wait)
    }

    /// The failure counts as the worst yet: the longest waits from now on.
    pub fn escalate(&mut self) {
        self.failures = self.failures.max(LONGEST);
    }

    /// The first time at or after `at` at which the budget allows another request.
    #[must_use]
    pub fn within_budget(&self, at: Instant) -> Instant {
        if self.sent.len() < self.config.requests_per_minute.max(1) {
            return at;
        }
        self.sent.front().map_or(at, |oldest| at.max(*oldest + MINUTE))
    }

    /// Records that a request is sent.
    pub fn sent(&mut self, now: Instant) {
        while self.sent.len() >= self.config.requests_per_minute.max(1) {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }

    /// Forgets the failures if none was recorded for [`BackoffConfig::reset_after`]; says whether it did.
    pub fn healthy(&mut self, now: Instant) -> bool {
        let quiet = self
            .last
            .is_some_and(|last| now.saturating_duration_since(last) >= self.config.reset_after);
        if quiet {
            self.failures = 0;
            self.since = None;
            self.last = None;
        }
        quiet
    }

    /// How many failures in a row.
    #[must_use]
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// When the row of failures began.
    #[must_use]
    pub fn since(&self) -> Option<Instant> {
        self.since
    }

    fn base(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.config
            .initial
            .saturating_mul(1 << doublings)
            .min(self.config.max)
    }
}

/// From here on every wait is the longest, whatever the configuration is likely to be.
const LONGEST: u32 = 7;

const MINUTE: Duration = Duration::from_secs(60);
