//! [`Subscription`]: the changes of a cache as a stream, or handed to a handler.

mod handle;
mod handler;

use std::{
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures::Stream;

use self::handle::Shared;
pub use self::{
    handle::{Departure, SubscriptionHandle},
    handler::{EventHandler, Handled, HandlerPanic},
};
use crate::{
    Change, Object, ResourceVersion,
    cache::Inner,
    catch_up::{Backlog, CatchUp},
    log::{Found, Logged},
    state::State,
};

/// Every change of a [`Cache`](crate::Cache), from a snapshot on: first each object held, as
/// [`Added`](Change::Added) with `initial`, then every later change; no gap, no duplicate.
///
/// Per key the changes match `(Added Updated* Deleted)*`, and applying them to an empty map gives the cache's
/// contents. A change is visible to readers before it is delivered here. The stream ends when the last handle of the
/// cache is gone and everything has been delivered, or after [`SubscriptionHandle::leave`]. Dropping it leaves at
/// once.
///
/// It is a [`Stream`]; [`run`](Self::run) hands the changes to a handler instead.
///
/// # Falling behind
/// Changes wait in a log that all subscriptions share, which is
/// [bounded](crate::CacheBuilder::log_capacity). A subscription that falls out of it gets what the log still held,
/// and from there on the newest state of each key that changed, with `old` being what it last saw: intermediate
/// states are skipped, never a key, and the rule above still holds. Such changes come as deletions in key order, with
/// `inferred` set, then the rest in slot order. It holds up neither the writer nor any other subscription.
///
/// # Memory
/// Up to the log's capacity of changes, 256 more (or one batch) taken from it, and, while it is behind, what the
/// snapshot it last saw keeps alive.
///
/// # Cancel safety
/// Awaiting the next change and dropping that future loses nothing.
///
/// # Examples
/// ```
/// use futures::StreamExt;
/// use informer_store::{Cache, Change, Entry, Store};
/// use k8s_openapi::api::core::v1::Pod;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let cache = Cache::<Pod>::new();
/// let mut web = cache.subscribe().only(|pod| pod.metadata.name.as_deref() == Some("web"));
/// for name in ["db", "web"] {
///     let json = format!(r#"{{"metadata": {{"namespace": "shop", "name": "{name}"}}}}"#);
///     cache.add(std::sync::Arc::new(serde_json::from_str(&json)?))?;
/// }
/// let change = web.next().await.ok_or("the cache lives")?;
/// assert!(matches!(change, Change::Added { .. }));
/// assert_eq!(change.key().name(), "web");
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// client-go `tools/cache/shared_informer.go` `processorListener`; differs: one bounded log for all instead of an
/// unbounded buffer each, and nothing queued is lost on leaving.
#[must_use = "a subscription does nothing unless polled"]
pub struct Subscription<K> {
    inner: Arc<Inner<K>>,
    reader: usize,
    source: Source<K>,
    filter: Option<Box<Filter<K>>>,
    shared: Arc<Shared>,
    on_panic: HandlerPanic,
}

type Filter<K> = dyn FnMut(&K) -> bool + Send + Sync;

/// Where the next change comes from.
enum Source<K> {
    /// From one pinned state to another.
    CatchUp { changes: CatchUp<K>, told: u64 },
    /// Blocks of the log, the first read up to `at`; then `pin`, if the log went on without this subscription.
    Blocks {
        blocks: Backlog<K>,
        at: usize,
        /// The position of the first block.
        position: u64,
        pin: Option<Arc<State<K>>>,
    },
}

impl<K: Object> Subscription<K> {
    pub(crate) fn new(inner: Arc<Inner<K>>) -> Self {
        let reader = inner.log.join();
        let start = inner.state.pin_in_order();
        let source = Source::CatchUp {
            changes: inner.catch_up(None, start),
            told: 0,
        };
        Self {
            inner,
            reader,
            source,
            filter: None,
            shared: Arc::new(Shared::new()),
            on_panic: HandlerPanic::default(),
        }
    }

    /// Keeps what concerns objects for which `filter` is true. An object that comes to match is
    /// [`Added`](Change::Added), one that ceases to is [`Deleted`](Change::Deleted) with the last state that matched.
    ///
    /// `filter` must depend on the object alone.
    ///
    /// # Source
    /// client-go `tools/cache/controller.go` `FilteringResourceEventHandler`; differs: a deletion is judged by what
    /// was last seen, so that an object that was added is always deleted.
    pub fn only(mut self, filter: impl FnMut(&K) -> bool + Send + Sync + 'static) -> Self {
        self.filter = Some(Box::new(filter));
        self
    }

    /// How many changes of the cache have not been delivered yet, before any filter.
    ///
    /// While objects held at the start are delivered, these count. While a subscription that fell behind catches up,
    /// this is how many changes it is behind, more than it will get.
    #[must_use]
    pub fn lag(&self) -> u64 {
        self.handle().lag()
    }

    /// The version up to which every change has been delivered and, as the next was asked for since, handled.
    #[must_use]
    pub fn delivered_version(&self) -> ResourceVersion {
        self.shared.version()
    }

    /// Whether the cache was synced and everything up to that point has been delivered and handled.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.shared.is_synced()
    }

    /// A handle to watch and to end this subscription from elsewhere.
    #[must_use]
    pub fn handle(&self) -> SubscriptionHandle<K> {
        SubscriptionHandle::new(Arc::clone(&self.inner), self.reader, Arc::clone(&self.shared))
    }

    /// The next change that is here already, before any filter; `None` where more must be fetched.
    fn at_hand(&mut self) -> Option<Logged<K>> {
        match &mut self.source {
            Source::CatchUp { changes, told } => {
                let change = changes.next()?;
                *told += 1;
                if changes.origin().is_none() {
                    let left = (changes.target().len() as u64).saturating_sub(*told);
                    self.shared.reach(changes.target().changes.saturating_sub(left));
                }
                Some(Logged { change, held: None })
            }
            Source::Blocks {
                blocks, at, position, ..
            } => {
                while let Some(block) = blocks.front() {
                    if *position >= self.shared.leave_at() {
                        return None;
                    }
                    if let Some(logged) = block.changes.get(*at) {
                        *at += 1;
                        self.shared
                            .reach(block.total - (block.changes.len() - *at) as u64);
                        return Some(Logged {
                            change: logged.change.clone(),
                            held: logged.held.clone(),
                        });
                    }
                    self.shared.deliver(&block.version, block.total, block.synced);
                    *at = 0;
                    *position += 1;
                    blocks.pop_front();
                }
                None
            }
        }
    }

    /// Finds a new source once the old one is used up; false at the end.
    fn fetch(&mut self, context: &Context<'_>) -> Poll<bool> {
        // What was seen last, if this subscription is not in the log.
        let (seen, position) = match &mut self.source {
            Source::CatchUp { changes, .. } => {
                let seen = Arc::clone(changes.target());
                let steps = seen.steps;
                (Some(seen), steps)
            }
            Source::Blocks { pin, position, .. } => (pin.take(), *position),
        };
        if let Some(seen) = &seen {
            self.shared.deliver(&seen.version, seen.changes, seen.synced);
        }
        if position >= self.shared.leave_at() {
            return Poll::Ready(false);
        }
        if let Some(seen) = seen {
            if !self.inner.log.resume(self.reader, seen.steps) {
                let now = self.inner.state.pin_in_order();
                self.source = Source::CatchUp {
                    changes: self.inner.catch_up(Some(seen), now),
                    told: 0,
                };
                return Poll::Ready(true);
            }
            self.source = Source::nothing(seen.steps);
        }
        // The buffer is used again and again: one that keeps up takes a block at a time.
        let mut blocks = match &mut self.source {
            Source::Blocks { blocks, .. } => std::mem::take(blocks),
            Source::CatchUp { .. } => Backlog::new(),
        };
        let found = self.inner.log.take(self.reader, context.waker(), &mut blocks);
        let at_position = |blocks, position| Source::Blocks {
            blocks,
            at: 0,
            position,
            pin: None,
        };
        match found {
            Found::Blocks(position) => {
                self.source = at_position(blocks, position);
                Poll::Ready(true)
            }
            Found::Overrun(overrun) => {
                self.source = Source::Blocks {
                    position: overrun.pin.steps - overrun.backlog.len() as u64,
                    blocks: overrun.backlog,
                    at: 0,
                    pin: Some(overrun.pin),
                };
                Poll::Ready(true)
            }
            // Asked to leave between the look at it above and leaving the waker?
            Found::Nothing if position >= self.shared.leave_at() => Poll::Ready(false),
            Found::Nothing => {
                self.source = at_position(blocks, position);
                Poll::Pending
            }
            Found::Closed => Poll::Ready(false),
        }
    }

    /// What a filtered subscription makes of a change; `None` for nothing.
    fn filtered(&mut self, logged: Logged<K>) -> Option<Change<K>> {
        let Some(filter) = &mut self.filter else {
            return Some(logged.change);
        };
        match logged.change {
            Change::Added { ref new, .. } => filter(new).then_some(logged.change),
            Change::Updated { key, old, new, cause } => match (filter(&old), filter(&new)) {
                (true, true) => Some(Change::updated(key, old, new, cause)),
                (false, true) => Some(Change::added(key, new, false, cause)),
                (true, false) => Some(Change::deleted(key, old, false, cause).or_left_selector(true)),
                (false, false) => None,
            },
            Change::Deleted { ref last, .. } => {
                filter(logged.held.as_ref().unwrap_or(last)).then_some(logged.change)
            }
        }
    }
}

impl<K> Source<K> {
    fn nothing(position: u64) -> Self {
        Self::Blocks {
            blocks: Backlog::new(),
            at: 0,
            position,
            pin: None,
        }
    }
}

impl<K: Object> Stream for Subscription<K> {
    type Item = Change<K>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Change<K>>> {
        loop {
            if self.shared.is_finished() {
                return Poll::Ready(None);
            }
            if let Some(logged) = self.at_hand() {
                if let Some(change) = self.filtered(logged) {
                    return Poll::Ready(Some(change));
                }
                continue;
            }
            match self.fetch(context) {
                Poll::Ready(true) => {}
                Poll::Ready(false) => {
                    self.shared.finish();
                    return Poll::Ready(None);
                }
                Poll::Pending => return Poll::Pending,
            }
        }
    }
}

impl<K> Unpin for Subscription<K> {}

impl<K> Drop for Subscription<K> {
    fn drop(&mut self) {
        self.inner.log.leave(self.reader);
        self.shared.finish();
    }
}

impl<K> fmt::Debug for Subscription<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("delivered_version", &self.shared.version())
            .finish_non_exhaustive()
    }
}
