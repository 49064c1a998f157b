//! client-go's queue in Rust: a list, a set of keys that are wanted and a set of keys that run, under one mutex.

use std::collections::{HashSet, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

struct Sets<T> {
    queue: VecDeque<T>,
    dirty: HashSet<T>,
    processing: HashSet<T>,
    closed: bool,
}

pub(crate) struct GoShaped<T> {
    sets: Mutex<Sets<T>>,
    ready: Notify,
}

impl<T: Clone + Eq + Hash> GoShaped<T> {
    pub(crate) fn new() -> Self {
        let sets = Sets {
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
