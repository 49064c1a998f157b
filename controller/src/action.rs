//! [`Action`]: what a reconcile that succeeded asks for.

use std::time::Duration;

use informer_workqueue::Priority;

/// What a reconcile that succeeded asks for. Whatever it is, the key's failures are forgotten.
///
/// # Examples
/// ```
/// use std::time::Duration;
/// use informer_controller::Action;
///
/// assert_eq!(Action::done().after(), None);
/// assert_eq!(Action::requeue_after(Duration::from_secs(60)).after(), Some(Duration::from_secs(60)));
/// ```
///
/// # Source
/// controller-runtime `reconcile.Result`; kube-runtime `controller::Action`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[must_use = "an action does nothing unless a reconcile returns it"]
pub struct Action {
    after: Option<Duration>,
    priority: Option<Priority>,
}

impl Action {
    /// Nothing until the next trigger.
    pub const fn done() -> Self {
        Self {
            after: None,
            priority: None,
        }
    }

    /// Reconciles the key again once `delay` has passed, or at the next trigger if that comes earlier.
    pub const fn requeue_after(delay: Duration) -> Self {
        Self {
            after: Some(delay),
            priority: None,
        }
    }

    /// Reconciles the key again at once, behind whatever waits already.
    pub const fn requeue() -> Self {
        Self::requeue_after(Duration::ZERO)
    }

    /// The lane in which the key waits for its next run.
    ///
    /// Default: the one it came from.
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// When to reconcile again, if asked for.
    #[must_use]
    pub const fn after(&self) -> Option<Duration> {
        self.after
    }

    pub(crate) const fn lane(&self) -> Option<Priority> {
        self.priority
    }
}
