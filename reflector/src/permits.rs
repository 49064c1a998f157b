//! [`ListPermits`]: how many lists may be read at once.

use std::{fmt, sync::Arc};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A limit on lists in flight, shared by all reflectors of one client so that a restart of the server is no
/// stampede. Clones share the limit.
#[derive(Clone)]
pub struct ListPermits(Arc<Semaphore>);

impl ListPermits {
    /// At most `limit` lists at a time, at least one.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Semaphore::new(limit.clamp(1, Semaphore::MAX_PERMITS))))
    }

    /// Waits for a permit. It is given back when dropped.
    ///
    /// # Cancel safety
    /// Dropping the future gives up the place in line.
    pub(crate) async fn acquire(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).acquire_owned().await.ok()
    }
}

impl Default for ListPermits {
    /// Four.
    fn default() -> Self {
        Self::new(4)
    }
}

impl fmt::Debug for ListPermits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ListPermits")
            .field("free", &self.0.available_permits())
            .finish_non_exhaustive()
    }
}
