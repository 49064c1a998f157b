//! [`Config`]: how a reflector behaves.

use std::time::Duration;

use crate::{BackoffConfig, backoff::FOREVER};

/// How a reflector behaves; the defaults suit a Kubernetes API server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Config {
    /// How fresh the first list must be. Default: [`InitialRead::Consistent`].
    pub initial_read: InitialRead,
    /// Whether the contents may come as initial events of a watch. Default: [`StreamingLists::Auto`].
    pub streaming_lists: StreamingLists,
    /// Objects per page where pages help the server, `None` for never. Default: `500`.
    pub page_size: Option<u32>,
    /// The most pages one list may have. Default: `100_000`.
    pub pages_max: u32,
    /// The shortest time after which a watch is asked to end; each asks for a random time of up to twice this.
    /// Default: 5 min.
    pub watch_timeout: Duration,
    /// How long a request may go without an answer. Default: 70 s, above the 60 s of a server's own deadline.
    pub header_timeout: Duration,
    /// In which time an answer that is not complete must bring [`body_floor`](Self::body_floor) bytes. Default: 30 s.
    pub body_timeout: Duration,
    /// See [`body_timeout`](Self::body_timeout). Default: `1024`.
    pub body_floor: u64,
    /// How often a server is assumed to send bookmarks once it has sent one; a watch silent for a quarter longer
    /// is given up and the server is probed. Default: 60 s.
    pub bookmark_cadence: Duration,
    /// How long a refused streaming list is not tried again, by any reflector that shares [`Commons`] with this
    /// one. Default: 1 h.
    ///
    /// [`Commons`]: crate::Commons
    pub streaming_lists_retry: Duration,
    /// The most objects this reflector may hold, of all its sources together. A list or an event that brings more is not
    /// taken: what is held stays as it is, at its version, the state says [`Reason::Overloaded`], and a list is tried again after the
    /// longest wait. Default: `None`, as many as there are.
    ///
    /// [`Reason::Overloaded`]: crate::Reason::Overloaded
    pub max_objects: Option<usize>,
    /// Waits and budgets. See [`BackoffConfig`].
    pub backoff: BackoffConfig,
    /// Redeliver everything once in this time, spread evenly over it. Default: `None`.
    pub resync: Option<Duration>,
    /// Compare the contents with the server's once in this time, jittered by a tenth and counted from the end of the
    /// last audit; zero is never. An audit puts the watch down, so it waits until the server has been heard in that
    /// watch, or for as long as it might be silent. Default: `None`.
    pub audit: Option<Duration>,
    /// What becomes of the last good state of an object that cannot be decoded any more. Default:
    /// [`PoisonPolicy::KeepLast`].
    pub poison: PoisonPolicy,
    /// How long until an object in quarantine is read again; doubles with every attempt up to 1 h. However many there
    /// are, four are read every two minutes at most: each round puts the watch down. Default: 5 min.
    pub quarantine_retry: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            initial_read: InitialRead::Consistent,
            streaming_lists: StreamingLists::Auto,
            page_size: Some(500),
            pages_max: 100_000,
            watch_timeout: Duration::from_secs(300),
            header_timeout: Duration::from_secs(70),
            body_timeout: Duration::from_secs(30),
            body_floor: 1024,
            bookmark_cadence: Duration::from_secs(60),
            streaming_lists_retry: Duration::from_secs(3600),
            max_objects: None,
            backoff: BackoffConfig::default(),
            resync: None,
            audit: None,
            poison: PoisonPolicy::KeepLast,
            quarantine_retry: Duration::from_secs(300),
        }
    }
}

impl Config {
    /// The same with every time short enough to be added to any other.
    pub(crate) fn clamped(mut self) -> Self {
        for time in [
            &mut self.watch_timeout,
            &mut self.header_timeout,
            &mut self.body_timeout,
            &mut self.bookmark_cadence,
            &mut self.streaming_lists_retry,
            &mut self.quarantine_retry,
        ]
        .into_iter()
        .chain(&mut self.resync)
        .chain(&mut self.audit)
        {
            *time = (*time).min(FOREVER);
        }
        self
    }
}

/// How fresh the first list must be. Later lists are never older than what was seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitialRead {
    /// The latest state.
    #[default]
    Consistent,
    /// Whatever the server has at hand (`resourceVersion=0`): cheaper, possibly minutes old.
    Any,
}

/// Whether the contents may come as the initial events of a watch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum StreamingLists {
    /// Where the source says it can, until it refuses: then not for
    /// [`streaming_lists_retry`](Config::streaming_lists_retry).
    #[default]
    Auto,
    /// Each time anew, where the source says it can, whatever it refused before; a list takes the place of one that
    /// is refused, never ends or breaks twice, that one time.
    Always,
    /// Never.
    Off,
}

/// What becomes of the last good state of an object that cannot be decoded any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PoisonPolicy {
    /// It stays.
    #[default]
    KeepLast,
    /// It is deleted.
    Remove,
}
