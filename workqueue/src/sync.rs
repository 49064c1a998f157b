//! The few things the front needs from its surroundings, so that loom can take their place.

#[cfg(loom)]
pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};
#[cfg(not(loom))]
pub(crate) use std::sync::{Arc, Mutex, MutexGuard};

use std::sync::PoisonError;

use tokio::time::Instant;

/// Locks. The core finishes every change before user code (`Eq`, `Hash`, `Clone`, `Drop` of a key) can run again, so a
/// panic there leaves it whole and the poison mark says nothing.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The present time on tokio's clock, which tests can pause.
#[cfg(not(loom))]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Under loom time stands still: no delay may end.
#[cfg(loom)]
pub(crate) fn now() -> Instant {
    use std::sync::OnceLock;
    static START: OnceLock<Instant> = OnceLock::new();
    *START.get_or_init(Instant::now)
}
