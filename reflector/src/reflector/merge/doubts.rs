//! [`Doubts`]: what one source finds out about the history, the others must look into.

use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Who is to be told that the history went back.
#[derive(Debug)]
pub(super) struct Doubts(Vec<Doubt>);

/// Whether a source is to be told.
#[derive(Debug, Default)]
struct Doubt {
    raised: AtomicBool,
    news: Notify,
}

impl Doubts {
    pub(super) fn new(sources: usize) -> Self {
        Self((0..sources).map(|_| Doubt::default()).collect())
    }

    /// Source `part` has looked into it.
    pub(super) fn settle(&self, part: usize) {
        self.0[part].raised.store(false, Ordering::Relaxed);
    }

    /// What source `part` has found out the others are to look into.
    pub(super) fn raise(&self, part: usize) {
        let others = self.0.iter().enumerate();
        for (_, doubt) in others.filter(|(other, _)| *other != part) {
            doubt.raised.store(true, Ordering::Relaxed);
            doubt.news.notify_one();
        }
    }

    /// Waits until source `part` is to be told, unless it has found out itself since.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn heard(&self, part: usize) {
        while !self.take(part) {
            self.0[part].news.notified().await;
        }
    }

    /// Whether source `part` is to be told; said once.
    pub(super) fn take(&self, part: usize) -> bool {
        let raised = &self.0[part].raised;
        raised.load(Ordering::Relaxed) && raised.swap(false, Ordering::Relaxed)
    }
}
