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
    /// How many requests may be sent in any 60 s while attempts fail; by all sources of a reflector together, while none of
    /// them is served. Other reflectors have budgets of their own. Default: 8.
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
    /// The same of pages that followed others while all went well.
    followers: VecDeque<Instant>,
}

impl Backoff {
    /// No failures yet. No wait is longer than ten years, whatever `config` says.
    #[must_use]
    pub fn new(mut config: BackoffConfig) -> Self {
        for wait in [
            &mut config.initial,
            &mut config.max,
            &mut config.reset_after,
            &mut config.retry_after_max,
        ] {
            *wait = (*wait).min(FOREVER);
        }
        Self {
            config,
            failures: 0,
            since: None,
            last: None,
            sent: VecDeque::new(),
            followers: VecDeque::new(),
        }
    }

    /// Records a failure at `now` and returns when to try again; `asked` is the server's own wish.
    pub fn failed(&mut self, now: Instant, asked: Option<Duration>, rng: &mut fastrand::Rng) -> Instant {
        self.record(now);
        let base = self.base(self.failures);
        self.after(now, base, asked, rng)
    }

    /// Records a failure that time alone does not mend, such as a right that is missing: as
    /// [`failed`](Self::failed), with the longest wait from the first time on.
    pub fn refused(&mut self, now: Instant, asked: Option<Duration>, rng: &mut fastrand::Rng) -> Instant {
        self.record(now);
        self.after(now, self.config.max, asked, rng)
    }

    fn record(&mut self, now: Instant) {
        if self.failures == 0 && !self.followers.is_empty() {
            self.sent.append(&mut self.followers);
            self.sent.make_contiguous().sort_unstable();
            self.keep_budget();
        }
        self.failures = self.failures.saturating_add(1);
        self.since.get_or_insert(now);
        self.last = Some(now);
    }

    fn after(
        &self,
        now: Instant,
        base: Duration,
        asked: Option<Duration>,
        rng: &mut fastrand::Rng,
    ) -> Instant {
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

    /// The first time at or after `at` at which the budget allows another request.
    #[must_use]
    pub fn within_budget(&self, at: Instant) -> Instant {
        self.with_room_for(1, at)
    }

    /// The first time at or after `at` at which the budget allows so many requests at once, or all there ever are.
    pub(crate) fn with_room_for(&self, requests: usize, at: Instant) -> Instant {
        let budget = self.config.requests_per_minute.max(1);
        let old_enough = (self.sent.len() + requests.min(budget)).checked_sub(budget + 1);
        old_enough
            .and_then(|index| self.sent.get(index))
            .map_or(at, |sent| at.max(*sent + MINUTE))
    }

    /// Records that a request is sent.
    pub fn sent(&mut self, now: Instant) {
        self.sent.push_back(now);
        self.keep_budget();
    }

    /// Records that a page that follows another is asked for: it uses up the budget only if something fails, for a
    /// long list is no storm.
    pub(crate) fn followed(&mut self, now: Instant) {
        if self.failures > 0 {
            self.sent(now);
        } else {
            self.followers.push_back(now);
            self.keep_budget();
        }
    }

    fn keep_budget(&mut self) {
        let budget = self.config.requests_per_minute.max(1);
        for times in [&mut self.sent, &mut self.followers] {
            while times.len() > budget {
                times.pop_front();
            }
        }
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

/// A little more than a minute: whoever counts on the other side begins when the first request has reached it.
pub(crate) const MINUTE: Duration = Duration::from_secs(61);

/// Longer than anybody waits, and short enough to be added to any time.
pub(crate) const FOREVER: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);
