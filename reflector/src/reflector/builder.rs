//! [`ReflectorBuilder`].

use std::{
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use informer_store::{Object, ReflectorStore};
use tokio::sync::watch;

use super::{Inner, Observer, Part, Reflector};
use crate::{
    BackoffConfig, Config, InitialRead, ListPermits, ListWatch, PoisonPolicy, QuarantineEvent,
    StreamingLists, SyncState,
};

/// Describes a [`Reflector`].
#[must_use = "a builder does nothing until build"]
pub struct ReflectorBuilder<K> {
    sources: Vec<Arc<dyn ListWatch<K>>>,
    store: Arc<dyn ReflectorStore<K>>,
    config: Config,
    permits: Option<ListPermits>,
    seed: Option<u64>,
    observer: Option<Observer>,
}

impl<K: Object> ReflectorBuilder<K> {
    pub(super) fn new(source: Arc<dyn ListWatch<K>>, store: Arc<dyn ReflectorStore<K>>) -> Self {
        Self {
            sources: vec![source],
            store,
            config: Config::default(),
            permits: None,
            seed: None,
            observer: None,
        }
    }

    /// Merges another source into the same store: one more namespace, or a selector that shares no object with the
    /// others, though an object may move from one to another. The store is complete once every source has been listed.
    /// What one of them lists anew comes in one step beside what the others hold, and while the server serves none of
    /// them they share the budget of requests.
    pub fn also(mut self, source: impl ListWatch<K> + 'static) -> Self {
        self.sources.push(Arc::new(source));
        self
    }

    /// Replaces the whole configuration. Default: [`Config::default`].
    pub fn config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    /// Redelivers everything once in `period`, spread evenly. Default: never.
    pub fn resync(mut self, period: Duration) -> Self {
        self.config.resync = Some(period);
        self
    }

    /// Compares with the server once in `period` and repairs what differs. Default: never, for it costs a list.
    pub fn audit(mut self, period: Duration) -> Self {
        self.config.audit = Some(period);
        self
    }

    /// How fresh the first list must be. Default: [`InitialRead::Consistent`].
    pub fn initial_read(mut self, read: InitialRead) -> Self {
        self.config.initial_read = read;
        self
    }

    /// Whether the contents may come as initial events. Default: [`StreamingLists::Auto`].
    pub fn streaming_lists(mut self, lists: StreamingLists) -> Self {
        self.config.streaming_lists = lists;
        self
    }

    /// Objects per page, `None` for never in pages. Default: `500`.
    pub fn page_size(mut self, size: Option<u32>) -> Self {
        self.config.page_size = size.map(|size| size.max(1));
        self
    }

    /// Waits and budgets. Default: [`BackoffConfig::default`].
    pub fn backoff(mut self, backoff: BackoffConfig) -> Self {
        self.config.backoff = backoff;
        self
    }

    /// What becomes of the last state of an object that cannot be decoded. Default: [`PoisonPolicy::KeepLast`].
    pub fn poison(mut self, policy: PoisonPolicy) -> Self {
        self.config.poison = policy;
        self
    }

    /// The most objects all sources together may bring. Default: as many as there are. See
    /// [`Config::max_objects`].
    pub fn max_objects(mut self, max: usize) -> Self {
        self.config.max_objects = Some(max);
        self
    }

    /// Limits the lists in flight together with everything else that shares `permits`. Default: the limit that the
    /// first source [shares](ListWatch::commons) with others of its client, or else a limit of its own, of 4.
    pub fn permits(mut self, permits: &ListPermits) -> Self {
        self.permits = Some(permits.clone());
        self
    }

    /// Seeds every random choice. Default: at random.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Calls `observer` with each change of the quarantine, from within `run`; it must not block.
    pub fn on_quarantine(mut self, observer: impl Fn(&QuarantineEvent) + Send + Sync + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// The reflector, not yet running.
    #[must_use]
    pub fn build(self) -> Reflector<K> {
        let cadence = self.config.clone().clamped().bookmark_cadence;
        let patience = cadence + cadence / 4;
        let parts = self.sources.len();
        Reflector {
            inner: Arc::new(Inner {
                sources: self.sources,
                store: self.store,
                config: self.config,
                permits: self.permits,
                own_permits: ListPermits::default(),
                seed: Mutex::new(
                    self.seed
                        .map_or_else(fastrand::Rng::new, fastrand::Rng::with_seed),
                ),
                state: watch::Sender::new(SyncState::NotStarted),
                parts: Mutex::new(vec![Part::default(); parts]),
                patience,
                observer: self.observer,
                running: tokio::sync::Mutex::new(()),
            }),
        }
    }
}

impl<K> fmt::Debug for ReflectorBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReflectorBuilder")
            .field("sources", &self.sources.len())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
