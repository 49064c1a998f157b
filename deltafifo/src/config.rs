//! [`Config`]: how a queue orders, merges and bounds what it holds.

/// What a queue keeps of the deltas of one key while they wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Discipline {
    /// Deltas are grouped per key, and a key keeps its place in line. Of updates that follow each other only the
    /// newest is kept; a deletion, and an object of another uid, are always kept apart.
    ///
    /// client-go `tools/cache/delta_fifo.go`, which keeps superseded updates too.
    #[default]
    Compressed,
    /// Every delta, in the order of arrival.
    ///
    /// client-go `tools/cache/the_real_fifo.go`.
    Ordered,
    /// Only the newest delta of each key; a key keeps its place in line. An object that came and went while
    /// waiting is seen as its deletion alone.
    ///
    /// client-go `tools/cache/fifo.go`, which forgets deletions.
    Latest,
}

/// What happens to a delta that finds the queue full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// The producer waits until there is room.
    #[default]
    Backpressure,
    /// An [`Ordered`](Discipline::Ordered) queue is compressed per key in place, and stays
    /// [`Compressed`](Discipline::Compressed) until it has been emptied. The producer waits only if that makes no
    /// room. The other disciplines are compressed already and wait.
    Compress,
}

/// How a queue orders, merges and bounds what it holds.
///
/// # Examples
/// ```
/// use informer_deltafifo::{Config, Discipline, WhenFull};
///
/// let config = Config::default().discipline(Discipline::Ordered).capacity(1_000).when_full(WhenFull::Compress);
/// assert_eq!(config.capacity, 1_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// What is kept of the deltas of one key.
    pub discipline: Discipline,
    /// How many deltas may wait; 0 counts as 1.
    pub capacity: usize,
    /// What happens when that many wait.
    pub when_full: WhenFull,
}

impl Config {
    /// What is kept of the deltas of one key.
    ///
    /// Default: [`Discipline::Compressed`], since a consumer that falls behind then catches up in one step per key.
    #[must_use]
    pub fn discipline(mut self, discipline: Discipline) -> Self {
        self.discipline = discipline;
        self
    }

    /// How many deltas may wait. A whole replacement counts as none: there is never more than one.
    ///
    /// Default: `4096`. At the 30 KB of a typical pod that is about 120 MB in the worst case, and a consumer that
    /// applies to a store needs a few milliseconds for as many.
    #[must_use]
    pub fn capacity(mut self, deltas: usize) -> Self {
        self.capacity = deltas;
        self
    }

    /// What happens to a delta that finds the queue full.
    ///
    /// Default: [`WhenFull::Backpressure`], so that the server is read no faster than its events are applied.
    #[must_use]
    pub fn when_full(mut self, when_full: WhenFull) -> Self {
        self.when_full = when_full;
        self
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            discipline: Discipline::default(),
            capacity: 4096,
            when_full: WhenFull::default(),
        }
    }
}
