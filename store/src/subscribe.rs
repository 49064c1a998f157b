//! [`Subscription`]: the changes of a cache as a stream.

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;

use crate::{
    Change, Object, ResourceVersion,
    cache::Inner,
    catch_up::{Backlog, CatchUp},
    log::Found,
    state::State,
};

/// Every change of a [`Cache`](crate::Cache), from a snapshot on: first each object held, as
/// [`Added`](Change::Added) with `initial`, then every later change; no gap, no duplicate.
///
/// Per key the changes match `(Added Updated* Deleted)*`, and applying them to an empty map gives the cache's
/// contents. A change is visible to readers before it is delivered here. The stream ends when the last handle of the
/// cache is gone and everything has been delivered. Dropping it leaves.
///
/// # Falling behind
/// Changes wait in a log that all subscriptions share, which is bounded. A subscription that falls out of it gets
/// what the log still held, and from there on the newest state of each key that changed, with `old` being what it
/// last saw: intermediate states are skipped, never a key, and the rule above still holds. It holds up neither the
/// writer nor any other subscription.
#[must_use = "a subscription does nothing unless polled"]
pub struct Subscription<K> {
    inner: Arc<Inner<K>>,
    reader: usize,
    source: Source<K>,
    delivered: ResourceVersion,
}

/// Where the next change comes from.
enum Source<K> {
    /// From one pinned state to another.
    CatchUp(CatchUp<K>),
    /// Blocks of the log, the first read up to `at`; then `pin`, if the log went on without this subscription.
    Blocks {
        blocks: Backlog<K>,
        at: usize,
        pin: Option<Arc<State<K>>>,
    },
}

impl<K: Object> Subscription<K> {
    pub(crate) fn new(inner: Arc<Inner<K>>) -> Self {
        let reader = inner.log.join();
        let start = inner.state.pin_in_order();
        let source = Source::CatchUp(inner.catch_up(None, start));
        Self {
            inner,
            reader,
            source,
            delivered: ResourceVersion::UNSET,
        }
    }

    /// The version up to which every change has been delivered.
    #[must_use]
    pub fn delivered_version(&self) -> &ResourceVersion {
        &self.delivered
    }

    /// The next change that is here already; `None` where more must be fetched.
    fn at_hand(&mut self) -> Option<Change<K>> {
        match &mut self.source {
            Source::CatchUp(catch_up) => catch_up.next(),
            Source::Blocks { blocks, at, .. } => {
                while let Some(block) = blocks.front() {
                    if let Some(change) = block.changes.get(*at) {
                        *at += 1;
                        return Some(change.clone());
                    }
                    self.delivered = block.version.clone();
                    *at = 0;
                    blocks.pop_front();
                }
                None
            }
        }
    }

    /// Finds a new source once the old one is used up.
    fn fetch(&mut self, context: &Context<'_>) -> Poll<bool> {
        // What was seen last, if this subscription is not in the log.
        let seen = match &mut self.source {
            Source::CatchUp(catch_up) => Some(Arc::clone(catch_up.target())),
            Source::Blocks { pin, .. } => pin.take(),
        };
        if let Some(seen) = seen {
            self.delivered = seen.version.clone();
            if !self.inner.log.resume(self.reader, seen.steps) {
                let now = self.inner.state.pin_in_order();
                self.source = Source::CatchUp(self.inner.catch_up(Some(seen), now));
                return Poll::Ready(true);
            }
            self.source = Source::nothing();
        }
        match self.inner.log.take(self.reader, context.waker()) {
            Found::Blocks(blocks) => {
                self.source = Source::Blocks {
                    blocks,
                    at: 0,
                    pin: None,
                };
                Poll::Ready(true)
            }
            Found::Overrun(overrun) => {
                self.source = Source::Blocks {
                    blocks: overrun.backlog,
                    at: 0,
                    pin: Some(overrun.pin),
                };
                Poll::Ready(true)
            }
            Found::Nothing => Poll::Pending,
            Found::Closed => Poll::Ready(false),
        }
    }
}

impl<K> Source<K> {
    fn nothing() -> Self {
        Self::Blocks {
            blocks: Backlog::new(),
            at: 0,
            pin: None,
        }
    }
}

impl<K: Object> Stream for Subscription<K> {
    type Item = Change<K>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        loop {
            if let Some(change) = self.at_hand() {
                return Poll::Ready(Some(change));
            }
            match self.fetch(context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<K> Unpin for Subscription<K> {}

impl<K> Drop for Subscription<K> {
    fn drop(&mut self) {
        self.inner.log.leave(self.reader);
    }
}

impl<K> fmt::Debug for Subscription<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("delivered_version", &self.delivered)
            .finish_non_exhaustive()
    }
}
