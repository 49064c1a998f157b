//! Components made of the pieces of this crate.

use std::time::Duration;

use informer_controller::{Controller, Reconciler};
use informer_store::Object;

use super::{Component, Context, Group};
use crate::Informer;

impl Component {
    /// An informer in [`Group::Caches`], ready once it is synced. It is run on every replica, so a new leader starts with
    /// a warm cache.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use informer::{Informer, Manager, manager::Component, reflector::ApiListWatch};
    /// use k8s_openapi::api::core::v1::Pod;
    ///
    /// let server = informer_testkit::ApiServer::new();
    /// let pods = Informer::new(ApiListWatch::<Pod>::all(server.client()));
    /// let manager = Manager::builder().component(Component::informer("pods", &pods)).build()?;
    /// let handle = manager.handle();
    /// manager.run_until(async { assert!(handle.ready().await && pods.is_synced()) }).await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn informer<K: Object>(name: impl Into<String>, informer: &Informer<K>) -> Self {
        let synced = informer.clone();
        let informer = informer.clone();
        Self::new(name, move |context: Context| {
            let informer = informer.clone();
            async move { informer.run(context.stopping()).await }
        })
        .group(Group::Caches)
        .ready_when(move || {
            let synced = synced.clone();
            async move { synced.synced().await }
        })
    }

    /// A controller in [`Group::Controllers`]. A controller is used up by its run, so `make` makes one for each: at the
    /// start, after a failure, and in each term of an election.
    ///
    /// What it writes can be guarded by the [term](Context::term) in the context that `make` gets. The numbers of each
    /// controller can be shown by giving its handle to [`Health::controller`](super::health::Health::controller) in
    /// `make`.
    ///
    /// Its stop time-out is 20 s; a controller whose grace period is shorter ends by itself and reports what it dropped.
    pub fn controller<R, F>(name: impl Into<String>, make: F) -> Self
    where
        R: Reconciler + 'static,
        F: Fn(&Context) -> Controller<R> + Send + Sync + 'static,
    {
        Self::new(name, move |context: Context| {
            let controller = make(&context);
            async move { controller.run(context.stopping()).await }
        })
        .stop_timeout(Duration::from_secs(20))
    }
}
