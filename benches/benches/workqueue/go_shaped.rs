//! client-go's queue in Rust: a list, a set of keys that are wanted and a set of keys that run, under one mutex.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

struct Sets<T> {
    queue: VecDeque<T>,
    dirty: HashSet<T>,
    processing: HashSet<T>,
    closed: bool,
    metrics: Option<Metrics<T>>,
}

/// What client-go keeps for a queue that has a name.
struct Metrics<T> {
    added: HashMap<T, Instant>,
    started: HashMap<T, Instant>,
    queued: Duration,
    worked: Duration,
}

pub(crate) struct GoShaped<T> {
    sets: Mutex<Sets<T>>,
    ready: Notify,
}

impl<T: Clone + Eq + Hash> GoShaped<T> {
    /// A queue without a name: no metrics.
    pub(crate) fn new() -> Self {
        Self::with(None)
    }

    /// A queue with a name.
    pub(crate) fn with_metrics() -> Self {
        let (added, started) = (HashMap::new(), HashMap::new());
        Self::with(Some(Metrics {
            added,
            started,
            queued: Duration::ZERO,
            worked: Duration::ZERO,
        }))
    }

    fn with(metrics: Option<Metrics<T>>) -> Self {
        let sets = Sets {
            metrics,
            queue: VecDeque::new(),
            dirty: HashSet::new(),
            processing: HashSet::new(),
            closed: false,
        };
        Self {
            sets: Mutex::new(sets),
            ready: Notify::new(),
        }
    }

    pub(crate) fn add(&self, key: T) {
        let mut sets = self.lock();
        if sets.closed || sets.dirty.contains(&key) {
            return;
        }
        if let Some(metrics) = &mut sets.metrics {
            metrics.added.entry(key.clone()).or_insert_with(Instant::now);
        }
        sets.dirty.insert(key.clone());
        if sets.processing.contains(&key) {
            return;
        }
        sets.queue.push_back(key);
        drop(sets);
        self.ready.notify_one();
    }

    pub(crate) fn try_get(&self) -> Option<T> {
        let mut sets = self.lock();
        let key = sets.queue.pop_front()?;
        if let Some(metrics) = &mut sets.metrics {
            let now = Instant::now();
            metrics.queued += metrics
                .added
                .remove(&key)
                .map_or(Duration::ZERO, |added| now - added);
            metrics.started.insert(key.clone(), now);
        }
        sets.processing.insert(key.clone());
        sets.dirty.remove(&key);
        Some(key)
    }

    pub(crate) async fn get(&self) -> Option<T> {
        loop {
            let ready = self.ready.notified();
            if let Some(key) = self.try_get() {
                return Some(key);
            }
            if self.lock().closed {
                self.ready.notify_waiters();
                return None;
            }
            ready.await;
        }
    }

    pub(crate) fn done(&self, key: &T) {
        let mut sets = self.lock();
        if let Some(metrics) = &mut sets.metrics {
            metrics.worked += metrics
                .started
                .remove(key)
                .map_or(Duration::ZERO, |started| started.elapsed());
        }
        sets.processing.remove(key);
        if sets.dirty.contains(key) {
            sets.queue.push_back(key.clone());
            drop(sets);
            self.ready.notify_one();
        }
    }

    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_waiters();
    }

    fn lock(&self) -> MutexGuard<'_, Sets<T>> {
        self.sets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
