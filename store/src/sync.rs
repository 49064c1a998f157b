//! The primitives of the publish step: std's, or loom's when a model checker drives them.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, Ordering},
};

use std::sync::{Arc, PoisonError};

/// Locks, whether or not a holder panicked: every structure here is left whole at each point that can unwind.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A place for a published value, taken by readers without waiting.
#[cfg(not(loom))]
pub(crate) struct Published<T>(arc_swap::ArcSwapOption<T>);

#[cfg(not(loom))]
impl<T> Published<T> {
    pub(crate) fn empty() -> Self {
        Self(arc_swap::ArcSwapOption::const_empty())
    }

    pub(crate) fn set(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        self.0.swap(value)
    }

    pub(crate) fn get(&self) -> Option<Arc<T>> {
        self.0.load_full()
    }

    #[inline]
    pub(crate) fn with<R>(&self, look: impl FnOnce(&Arc<T>) -> R) -> Option<R> {
        let published = self.0.load();
        published.as_ref().map(look)
    }
}

/// Loom cannot see into `arc_swap`; a mutex has the same outcomes, and loom explores its orders.
#[cfg(loom)]
pub(crate) struct Published<T>(Mutex<Option<Arc<T>>>);

#[cfg(loom)]
impl<T> Published<T> {
    pub(crate) fn empty() -> Self {
        Self(Mutex::new(None))
    }

    pub(crate) fn set(&self, value: Option<Arc<T>>) -> Option<Arc<T>> {
        std::mem::replace(&mut *lock(&self.0), value)
    }

    pub(crate) fn get(&self) -> Option<Arc<T>> {
        lock(&self.0).clone()
    }

    pub(crate) fn with<R>(&self, look: impl FnOnce(&Arc<T>) -> R) -> Option<R> {
        self.get().as_ref().map(look)
    }
}
