//! [`Spawner`]: who runs the workers, where one task is not enough.

use futures::future::BoxFuture;

/// Runs workers as tasks of their own, to spread them over threads.
///
/// A controller spawns nothing by itself: without a spawner all workers share the task that
/// [`run`](crate::Controller::run) is polled on, which costs least where reconciles mostly wait.
///
/// A closure `Fn(BoxFuture<'static, ()>)` is one. The future must be polled to its end; it ends by itself when the
/// controller stops. Dropping it early is taken as the end of that worker.
///
/// # Examples
/// ```
/// use futures::future::BoxFuture;
///
/// # fn check(_: impl informer_controller::Spawner) {}
/// check(|worker: BoxFuture<'static, ()>| {
///     tokio::spawn(worker);
/// });
/// ```
pub trait Spawner: Send + Sync + 'static {
    /// Starts `worker`.
    fn spawn(&self, worker: BoxFuture<'static, ()>);
}

impl<F: Fn(BoxFuture<'static, ()>) + Send + Sync + 'static> Spawner for F {
    fn spawn(&self, worker: BoxFuture<'static, ()>) {
        self(worker);
    }
}
