//! Settings of a queue.

use std::fmt;
use std::hash::Hash;
use std::time::Duration;

use crate::in_flight::DeadLetter;
use crate::options::Debounce;
use crate::order::{Flow, Group, Order};
use crate::queue::{Config, Core};
use crate::rate_limit::{RateLimiter, default_controller};
use crate::shared::{DeadLetterFn, FlowFn, GroupFn, Pacer, Shared};
use crate::state::State;
use crate::sync::{Arc, now};
use crate::work_queue::WorkQueue;

/// Builds a [`WorkQueue`]. Every setting has a default; none can contradict another.
#[must_use]
pub struct Builder<T> {
    name: String,
    config: Config,
    limiter: Option<Box<dyn RateLimiter<T>>>,
    rng: Option<fastrand::Rng>,
    jitter: bool,
    flow: Option<FlowFn<T>>,
    group: Option<GroupFn<T>>,
    dead_letter: Option<DeadLetterFn<T>>,
    max_attempts: u32,
    capacity: usize,
}

impl<T: Clone + Eq + Hash + 'static> Builder<T> {
    pub(crate) fn new() -> Self {
        Self {
            name: String::new(),
            config: Config::default(),
            limiter: None,
            rng: None,
            jitter: true,
            flow: None,
            group: None,
            dead_letter: None,
            max_attempts: u32::MAX,
            capacity: usize::MAX,
        }
    }

    /// The name in logs and for metrics. Default: empty.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Which lane is served. Default: [`Order::Lanes`] with shares of 8, 4 and 1.
    pub fn order(mut self, order: Order) -> Self {
        self.config.order = order;
        self
    }

    /// Under [`Order::Strict`] or [`Order::Lanes`]: a ready key that has waited `age` per lane it is down the list
    /// (`age` for normal, twice that for resync) goes by age against all others. Default: off.
    pub fn aging(mut self, age: Duration) -> Self {
        self.config.aging = Some(age);
        self
    }

    /// Collapses bursts of plain adds: see [`Debounce`]. Adds with a delay and retries are not affected. Default: off.
    pub fn debounce(mut self, debounce: Debounce) -> Self {
        self.config.debounce = Some(debounce);
        self
    }

    /// At least this much time from the start of a key's run to the start of its next. Default: none.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.config.min_interval = Some(interval);
        self
    }

    /// Whether the queue looks at the clock to measure how long keys wait and run, for the histograms and ages in
    /// [`Stats`](crate::Stats) and [`KeySnapshot`](crate::KeySnapshot). Reading the clock three times per run is a good
    /// part of what a run costs. client-go measures only queues that were given a name. Default: `true`.
    pub fn durations(mut self, on: bool) -> Self {
        self.config.durations = on;
        self
    }

    /// How long a key waits after a failure. Default: [`default_controller`].
    pub fn limiter(mut self, limiter: impl RateLimiter<T> + 'static) -> Self {
        self.limiter = Some(Box::new(limiter));
        self
    }

    /// Whether limiters spread their delays at random. Default: `true`; off for exact upstream delays.
    pub fn jitter(mut self, on: bool) -> Self {
        self.jitter = on;
        self
    }

    /// Where the jitter comes from. Default: a generator seeded at random.
    pub fn rng(mut self, rng: fastrand::Rng) -> Self {
        self.rng = Some(rng);
        self
    }

    /// Gives every key a flow; flows take turns. Called when a key is added, outside the queue's lock; the answer should
    /// depend on nothing but the key. Default: one flow.
    pub fn flow(mut self, flow: impl Fn(&T) -> Flow + Send + Sync + 'static) -> Self {
        self.flow = Some(Box::new(flow));
        self
    }

    /// Puts keys into exclusion groups. Called as [`flow`](Self::flow) is. Default: no groups.
    pub fn group(mut self, group: impl Fn(&T) -> Option<Group> + Send + Sync + 'static) -> Self {
        self.group = Some(Box::new(group));
        self
    }

    /// Failed runs, the first included, after which a key is given up. Zero counts as one. Default: no limit.
    pub fn max_attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = attempts.max(1);
        self
    }

    /// Called with every key that is given up, outside the queue's lock, by whoever ended its last run. Default: none.
    pub fn dead_letter(mut self, hook: impl Fn(DeadLetter<T>) + Send + Sync + 'static) -> Self {
        self.dead_letter = Some(Box::new(hook));
        self
    }

    /// Keys the queue may hold before [`try_add`](WorkQueue::try_add) refuses and [`add_wait`](WorkQueue::add_wait)
    /// waits. The other ways to add never refuse: they are for keys that are bounded already, by being the keys of a
    /// cache. Zero counts as one. Default: no bound.
    pub fn capacity(mut self, keys: usize) -> Self {
        self.capacity = keys.max(1);
        self
    }

    /// Makes the queue. Starts nothing.
    #[must_use]
    pub fn build(self) -> WorkQueue<T> {
        let pacer = Pacer {
            limiter: self.limiter.unwrap_or_else(|| Box::new(default_controller())),
            rng: self.rng.unwrap_or_default(),
            jitter: self.jitter,
        };
        let state = State::new(Core::new(self.config, now()), self.capacity);
        let mut shared = Shared::new(state, pacer, self.name);
        (shared.flow, shared.group) = (self.flow, self.group);
        (shared.dead_letter, shared.max_attempts) = (self.dead_letter, self.max_attempts);
        WorkQueue {
            shared: Arc::new(shared),
        }
    }
}

impl<T> fmt::Debug for Builder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
