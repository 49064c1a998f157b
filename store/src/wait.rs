//! [`Waiters`]: those who wait for a version, or for the first list.

use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::oneshot;

use crate::ResourceVersion;

/// What somebody waits for.
pub(crate) enum Goal {
    Version(ResourceVersion),
    Synced,
}

impl Goal {
    pub(crate) fn is_met(&self, version: &ResourceVersion, synced: bool) -> bool {
        match self {
            Self::Version(goal) => reaches(version, goal),
            Self::Synced => synced,
        }
    }
}

/// Whether a history at `version` contains `goal`: as new or newer; opaque versions only equal.
fn reaches(version: &ResourceVersion, goal: &ResourceVersion) -> bool {
    version >= goal
}

#[derive(Default)]
pub(crate) struct Waiters {
    /// Number of waiters, to be read without the lock.
    count: AtomicUsize,
    waiting: Mutex<Vec<(Goal, oneshot::Sender<()>)>>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, Vec<(Goal, oneshot::Sender<()>)>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a waiter. The caller must look at the state afterwards: it may have met the goal before.
    pub(crate) fn add(&self, goal: Goal) -> oneshot::Receiver<()> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        waiting.retain(|(_, sender)| !sender.is_closed());
        waiting.push((goal, sender));
        self.count.store(waiting.len(), Ordering::SeqCst);
        receiver
    }

    /// Whether anybody waits. Asked under the state's mutex, before which waiters have been added.
    #[inline]
    pub(crate) fn is_wanted(&self) -> bool {
        self.count.load(Ordering::SeqCst) > 0
    }

    /// Wakes those whose goal is met.
    pub(crate) fn wake(&self, version: &ResourceVersion, synced: bool) {
        let mut waiting = self.lock();
        let met: Vec<_> = waiting
            .extract_if(.., |(goal, sender)| {
                sender.is_closed() || goal.is_met(version, synced)
            })
            .collect();
        self.count.store(waiting.len(), Ordering::SeqCst);
        drop(waiting);
        for (_, sender) in met {
            // A waiter that has gone away needs no word.
            let _ = sender.send(());
        }
    }
}
