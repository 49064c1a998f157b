//! [`CacheBuilder`]: what can be chosen before a cache is made.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use super::{Alive, Cache, Inner};
use crate::{
    IndexHandle, KeyError, Object, ObjectKey, RelistOrder, UidChange, Unchanged,
    apply::{KeyFunction, Rules},
    index::{Postings, sealed::Build},
    log::Log,
    publish::Publish,
    state::State,
    stats::Counters,
    wait::Waiters,
};

/// A [`Cache`] to be set up; see [`Cache::builder`].
#[must_use]
pub struct CacheBuilder<K> {
    key_function: Option<Arc<KeyFunction<K>>>,
    indexes: Vec<Arc<dyn Postings<K>>>,
    unchanged: Unchanged,
    uid_change: UidChange,
    relist_order: RelistOrder,
    log_capacity: usize,
}

impl<K: Object> CacheBuilder<K> {
    pub(super) fn new() -> Self {
        Self {
            key_function: None,
            indexes: Vec::new(),
            unchanged: Unchanged::default(),
            uid_change: UidChange::default(),
            relist_order: RelistOrder::default(),
            log_capacity: 4096,
        }
    }

    /// Keys objects by `key` instead of by namespace and name. Objects it refuses are left out and counted in
    /// [`Stats::unkeyed`](crate::Stats::unkeyed). Default: the meta-namespace key.
    pub fn key_function(
        mut self,
        key: impl Fn(&K) -> Result<ObjectKey, KeyError> + Send + Sync + 'static,
    ) -> Self {
        self.key_function = Some(Arc::new(key));
        self
    }

    /// Keys objects by their uid.
    pub fn key_by_uid(self) -> Self {
        self.key_function(|object| match object.uid() {
            Some(uid) if !uid.is_empty() => Ok(ObjectKey::cluster(uid)),
            _ => Err(KeyError::Refused("the object has no uid".into())),
        })
    }

    /// Keeps an index from the start; one that is kept already stays as it is. Default: only that by namespace, which is
    /// built in.
    pub fn index(mut self, index: &impl IndexHandle<K>) -> Self {
        let Build(postings) = index.build();
        if self.indexes.iter().all(|kept| kept.id() != postings.id()) {
            self.indexes.push(postings);
        }
        self
    }

    /// What a relist says of unchanged objects. Default: [`Unchanged::Silent`].
    pub fn unchanged(mut self, unchanged: Unchanged) -> Self {
        self.unchanged = unchanged;
        self
    }

    /// What becomes of an object whose name is taken by another. Default: [`UidChange::DeleteThenAdd`].
    pub fn uid_change(mut self, uid_change: UidChange) -> Self {
        self.uid_change = uid_change;
        self
    }

    /// In which order a relist tells its changes. Default: [`RelistOrder::DeletesFirst`].
    pub fn relist_order(mut self, order: RelistOrder) -> Self {
        self.relist_order = order;
        self
    }

    /// How many changes the log holds for subscriptions that have not taken them yet; the newest batch is always
    /// held whole. Default: `4096`, some seconds of a busy kind.
    pub fn log_capacity(mut self, changes: usize) -> Self {
        self.log_capacity = changes;
        self
    }

    /// The cache, empty.
    #[must_use]
    pub fn build(self) -> Cache<K> {
        let mut state = State::new(self.key_function.is_some());
        let has_indexes = AtomicBool::new(!self.indexes.is_empty());
        state.set_indexes(self.indexes);
        let inner = Arc::new(Inner {
            state: Publish::new(state),
            log: Log::new(self.log_capacity),
            has_indexes,
            rules: Rules {
                unchanged: self.unchanged,
                uid_change: self.uid_change,
                relist_order: self.relist_order,
                key_function: self.key_function,
            },
            waiters: Waiters::default(),
            counters: Counters::default(),
        });
        Cache {
            _alive: Arc::new(Alive(Arc::clone(&inner))),
            inner,
        }
    }
}

impl<K> fmt::Debug for CacheBuilder<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("unchanged", &self.unchanged)
            .field("uid_change", &self.uid_change)
            .field("relist_order", &self.relist_order)
            .field("log_capacity", &self.log_capacity)
            .finish_non_exhaustive()
    }
}
