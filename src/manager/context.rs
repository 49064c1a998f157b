//! What a component is given for one run.

use std::{future::Future, sync::Arc};

use tokio::sync::watch;

use super::leader::Term;

/// One run of a component: says when to stop, takes note when it is ready, knows the term of leadership.
///
/// A cheap handle; clones speak of the same run.
#[derive(Clone, Debug)]
pub struct Context {
    name: Arc<str>,
    run: u32,
    stop: watch::Receiver<bool>,
    ready: watch::Sender<bool>,
    term: Option<Term>,
}

impl Context {
    pub(super) fn new(
        name: Arc<str>,
        run: u32,
        stop: watch::Receiver<bool>,
        ready: watch::Sender<bool>,
        term: Option<Term>,
    ) -> Self {
        Self {
            name,
            run,
            stop,
            ready,
            term,
        }
    }

    /// The name of the component.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Which run of the component this is, the first being 1.
    pub const fn run(&self) -> u32 {
        self.run
    }

    /// Waits until the component has to stop. The future is independent of this handle, as `shutdown` arguments want
    /// it.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future loses nothing.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let mut stop = self.stop.clone();
        async move {
            // A closed channel means that the manager is gone.
            let _ = stop.wait_for(|stop| *stop).await;
        }
    }

    /// Whether the component has to stop.
    pub fn is_stopping(&self) -> bool {
        *self.stop.borrow() || self.stop.has_changed().is_err()
    }

    /// Says that the component is ready. Only the first call of a run counts, and only for a component that
    /// [reports](super::Component::reports_ready) it.
    pub fn ready(&self) {
        self.ready.send_replace(true);
    }

    /// The term in which a leader's component runs: its [token](Term::token) and its [check](Term::check) guard writes.
    /// `None` outside the group of controllers and without an election.
    pub const fn term(&self) -> Option<&Term> {
        self.term.as_ref()
    }
}
