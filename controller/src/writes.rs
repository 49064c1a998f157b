//! [`SeesWrites`]: read-your-writes, by parking a key until a cache has seen what its run wrote.

use futures::{FutureExt as _, future::BoxFuture};
use informer_store::{Cache, Object, ResourceVersion};
use tokio::time::Instant;

/// Something that comes to see writes: a cache.
pub trait SeesWrites: Send + Sync {
    /// Whether everything up to `version` has been seen.
    fn has_seen(&self, version: &ResourceVersion) -> bool;

    /// Completes with `true` once everything up to `version` has been seen, or with `false` at `deadline`.
    fn seen(&self, version: ResourceVersion, deadline: Instant) -> BoxFuture<'static, bool>;
}

impl<K: Object> SeesWrites for Cache<K> {
    fn has_seen(&self, version: &ResourceVersion) -> bool {
        // Nobody could tell when a version that can't be compared has been passed: better not to wait at all.
        !version.is_ordered() || *version <= self.resource_version()
    }

    fn seen(&self, version: ResourceVersion, deadline: Instant) -> BoxFuture<'static, bool> {
        let cache = self.clone();
        async move { cache.wait_for(&version, deadline).await.is_ok() }.boxed()
    }
}

/// One write that a key is parked for.
pub(crate) struct Write<T> {
    pub(crate) key: T,
    pub(crate) seen: BoxFuture<'static, bool>,
}

impl<T> Write<T> {
    /// The key, and whether the write was seen in time.
    pub(crate) async fn wait(self) -> (T, bool) {
        (self.key, self.seen.await)
    }
}
