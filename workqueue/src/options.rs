//! How a key is added.

use std::time::Duration;

/// The lane a key waits in.
///
/// Which lane is served when several have keys is the queue's [`Order`](crate::Order).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Somebody is waiting for the result.
    Urgent,
    /// Ordinary events.
    #[default]
    Normal,
    /// Initial lists, periodic resyncs, unchanged objects. controller-runtime: `handler.LowPriority`.
    Resync,
}

impl Priority {
    /// Every lane, the most urgent first.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Resync];

    pub(crate) const COUNT: usize = Self::ALL.len();

    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// What happens when a delayed add meets a delay the key is already waiting for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Merge {
    /// The earlier of the two deadlines; a key that is already ready stays ready. As upstream.
    #[default]
    Earliest,
    /// The later of the two deadlines: postpones. A key that is already ready goes back to waiting.
    Latest,
    /// The new deadline, earlier or later.
    Replace,
}

/// Collapses a burst of adds into one run.
///
/// The run starts once no add came for `quiet`, or `max` after the first add of the burst, whichever is earlier.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Debounce {
    pub(crate) quiet: Duration,
    pub(crate) max: Duration,
}

impl Debounce {
    /// Waits for `quiet` without an add, but never longer than `max` in total.
    #[must_use]
    pub fn new(quiet: Duration, max: Duration) -> Self {
        Self {
            quiet,
            max: max.max(quiet),
        }
    }
}

/// Options of [`WorkQueue::add_with`](crate::WorkQueue::add_with). controller-runtime: `priorityqueue.AddOpts`.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use informer_workqueue::{AddOptions, Priority};
///
/// let options = AddOptions::new().after(Duration::from_secs(30)).priority(Priority::Resync).source("resync");
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct AddOptions {
    pub(crate) after: Option<Duration>,
    pub(crate) rate_limited: bool,
    pub(crate) priority: Priority,
    pub(crate) merge: Merge,
    pub(crate) debounce: Option<Debounce>,
    pub(crate) min_interval: Option<Duration>,
    pub(crate) at_once: bool,
    pub(crate) source: Option<&'static str>,
}

impl AddOptions {
    /// A plain add: as soon as possible, [`Priority::Normal`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Not before `delay` from now. Default: no delay.
    pub fn after(mut self, delay: Duration) -> Self {
        self.after = Some(delay);
        self
    }

    /// Not before the rate limiter allows. With [`after`](Self::after) as well, the shorter delay counts, as in
    /// controller-runtime. Default: off.
    pub fn rate_limited(mut self) -> Self {
        self.rate_limited = true;
        self
    }

    /// The lane to wait in. A key that waits already is only ever raised. Default: [`Priority::Normal`].
    pub fn priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// What to do with a delay that is already running. Default: [`Merge::Earliest`].
    pub fn merge(mut self, merge: Merge) -> Self {
        self.merge = merge;
        self
    }

    /// Collapses a burst, for this add. Default: the queue's setting.
    pub fn debounce(mut self, debounce: Debounce) -> Self {
        self.debounce = Some(debounce);
        self
    }

    /// At least this much time from the start of the key's last run to the start of the next, for this add. The queue
    /// remembers starts for as long as the longest interval it was ever given. Default: the queue's setting.
    pub fn min_interval(mut self, interval: Duration) -> Self {
        self.min_interval = Some(interval);
        self
    }

    /// Ignores the queue's debounce and minimum interval. Default: off.
    pub fn at_once(mut self) -> Self {
        self.at_once = true;
        self
    }

    /// Who asks, for [`InFlight::sources`](crate::InFlight::sources) and [`KeySnapshot`](crate::KeySnapshot). A queue
    /// tells 31 names apart; later ones are reported as `"other"`. Default: nobody.
    pub fn source(mut self, name: &'static str) -> Self {
        self.source = Some(name);
        self
    }
}

/// What became of an add. Nothing has to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Added {
    /// The key was not waiting: a run was ordered.
    New,
    /// The key was waiting already: this add and the earlier ones lead to the same run.
    Merged,
    /// The queue is closed: nothing was ordered.
    Closed,
}
