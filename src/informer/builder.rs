//! [`InformerBuilder`].

use std::{
    fmt,
    sync::{Arc, Mutex},
};

use informer_deltafifo::{Config as QueueConfig, channel};
use informer_reflector::{ListWatch, Reflector, ReflectorBuilder};
use informer_store::{Cache, Object, ReflectorStore};

use super::{Informer, Parts};

/// Describes an [`Informer`].
///
/// Options of a layer are set on that layer's own builder: [`cache`](Self::cache) takes a finished cache with its
/// indexes, [`reflector`](Self::reflector) changes the reflector's.
#[must_use = "a builder does nothing until build"]
pub struct InformerBuilder<K> {
    list_watch: Arc<dyn ListWatch<K>>,
    cache: Option<Cache<K>>,
    queue: QueueConfig,
    reflector: Box<dyn FnOnce(ReflectorBuilder<K>) -> ReflectorBuilder<K> + Send>,
}

impl<K: Object> InformerBuilder<K> {
    pub(super) fn new(list_watch: impl ListWatch<K> + 'static) -> Self {
        Self {
            list_watch: Arc::new(list_watch),
            cache: None,
            queue: QueueConfig::default(),
            reflector: Box::new(|reflector| reflector),
        }
    }

    /// The cache to keep, with its indexes and switches. Default: [`Cache::new`].
    pub fn cache(mut self, cache: Cache<K>) -> Self {
        self.cache = Some(cache);
        self
    }

    /// How the queue between reflector and cache orders and bounds what it holds. Default: [`QueueConfig::default`].
    pub fn queue(mut self, config: QueueConfig) -> Self {
        self.queue = config;
        self
    }

    /// Changes the reflector's options: resync and audit periods, initial read, page size, quarantine. Called again,
    /// it adds to what was said before. Default: [`Config::default`](informer_reflector::Config::default).
    pub fn reflector(
        mut self,
        options: impl FnOnce(ReflectorBuilder<K>) -> ReflectorBuilder<K> + Send + 'static,
    ) -> Self {
        let before = self.reflector;
        self.reflector = Box::new(move |reflector| options(before(reflector)));
        self
    }

    /// The informer, not yet running.
    #[must_use]
    pub fn build(self) -> Informer<K> {
        let cache = self.cache.unwrap_or_default();
        let (producer, consumer) = channel(self.queue);
        let queue = producer.monitor();
        let held = cache.clone();
        let producer = producer.held_by(move |key, uid, version| held.held(key, uid, version));
        let reflector = (self.reflector)(Reflector::builder(self.list_watch, producer)).build();
        Informer {
            parts: Arc::new(Parts {
                cache,
                reflector,
                queue,
                consumer: tokio::sync::Mutex::new(consumer),
            }),
            started: Arc::new(Mutex::new(None)),
        }
    }
}

impl<K> fmt::Debug for InformerBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InformerBuilder")
            .field("queue", &self.queue)
            .finish_non_exhaustive()
    }
}
