//! [`Consumer`]: the end of a queue that feeds a store.

use std::{
    fmt,
    future::{Future, poll_fn},
    ops::Deref,
    sync::Arc,
    task::Poll,
};

use informer_store::{Apply, Batch, Closed, Object};

use crate::{Monitor, Popped, Stats, channel::Shared};

/// The end of a queue that feeds a store. Dropping it tells the producer that nothing is taken any more.
///
/// What was popped counts as applied when the next batch is asked for, or with [`commit`](Self::commit). A consumer
/// that awaits between the two uses [`lease`](Self::lease): a lease that is dropped puts its batch back.
///
/// # Source
/// client-go `tools/cache/fifo.go` `QueueWithBatch`; differs: nothing runs under the queue's lock.
pub struct Consumer<K> {
    shared: Arc<Shared<K>>,
    /// The last batch handed out, not known to be applied yet: whether it completes the sync.
    handed: Option<bool>,
    /// A batch that a lease put back.
    returned: Option<Popped<K>>,
    classic: bool,
}

impl<K: Object> Consumer<K> {
    pub(crate) fn new(shared: Arc<Shared<K>>, classic: bool) -> Self {
        Self {
            shared,
            handed: None,
            returned: None,
            classic,
        }
    }

    /// Waits for the next batch, oldest delta first.
    ///
    /// What was popped before counts as applied from here on.
    ///
    /// # Shape
    /// At most `max` deltas of single objects; 0 counts as 1, and `usize::MAX` is the natural choice: only a batch
    /// that leaves nothing older behind has a version. A replacement, and resync parts, come alone; a bookmark is the
    /// version of the batch before it, or comes alone.
    ///
    /// # Errors
    /// [`Closed`] once the producer is gone *and* nothing waits.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing: deltas leave the queue only when it completes.
    pub async fn pop_batch(&mut self, max: usize) -> Result<Batch<K>, Closed> {
        let popped = self.pop(max).await?;
        self.handed = Some(popped.completes_sync);
        Ok(popped.batch)
    }

    /// The next batch, if one waits; otherwise as [`pop_batch`](Self::pop_batch).
    ///
    /// # Errors
    /// [`Closed`] once the producer is gone and nothing waits.
    pub fn try_pop_batch(&mut self, max: usize) -> Result<Option<Batch<K>>, Closed> {
        self.commit();
        let Some(popped) = self.try_pop(max)? else {
            return Ok(None);
        };
        self.handed = Some(popped.completes_sync);
        Ok(Some(popped.batch))
    }

    /// Waits for the next batch and lends it, as [`pop_batch`](Self::pop_batch) does otherwise: it goes back to the
    /// front of the queue unless it is applied or committed.
    ///
    /// # Errors
    /// [`Closed`] once the producer is gone and nothing waits.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing, and neither does dropping the lease.
    pub async fn lease(&mut self, max: usize) -> Result<Lease<'_, K>, Closed> {
        let popped = self.pop(max).await?;
        Ok(Lease {
            popped: Some(popped),
            consumer: self,
        })
    }

    /// Says that all that was popped has been applied.
    pub fn commit(&mut self) {
        if let Some(completes_sync) = self.handed.take() {
            if self.classic {
                self.shared.lock().fifo.applied();
            }
            if completes_sync {
                self.shared.sync_is_reached();
            }
        }
    }

    /// Applies everything to `store` as it comes, until the producer is gone and nothing waits.
    ///
    /// # Cancel safety
    /// The future may be dropped at any time and the call repeated: a batch is applied right after it is popped,
    /// with no await in between.
    pub async fn drain_into<S: Apply<K> + ?Sized>(&mut self, store: &S) {
        while let Ok(popped) = self.pop(usize::MAX).await {
            store.apply(popped.batch);
            self.handed = Some(popped.completes_sync);
            self.commit();
            // A producer on another thread may refill the queue for ever: others on this task get their turn.
            yield_now().await;
        }
    }

    async fn pop(&mut self, max: usize) -> Result<Popped<K>, Closed> {
        self.commit();
        loop {
            if let Some(popped) = self.try_pop(max)? {
                return Ok(popped);
            }
            self.shared.items.notified().await;
        }
    }

    fn try_pop(&mut self, max: usize) -> Result<Option<Popped<K>>, Closed> {
        if let Some(returned) = self.returned.take() {
            let (popped, rest) = split(returned, max.max(1));
            self.returned = rest;
            return Ok(Some(popped));
        }
        let mut state = self.shared.lock();
        let popped = state.fifo.pop(max);
        let closed = popped.is_none() && state.producer_gone;
        drop(state);
        if popped.is_some() {
            self.shared.room.notify_waiters();
        }
        if closed {
            self.shared.sync_is_out_of_reach();
            return Err(Closed);
        }
        Ok(popped)
    }
}

impl<K> Consumer<K> {
    /// What the queue holds and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.shared.lock().fifo.stats()
    }

    /// A handle that looks at the queue from outside.
    #[must_use]
    pub fn monitor(&self) -> Monitor<K> {
        Monitor(Arc::clone(&self.shared))
    }
}

impl<K> Drop for Consumer<K> {
    fn drop(&mut self) {
        self.shared.lock().consumer_gone = true;
        self.shared.room.notify_waiters();
        self.shared.sync_is_out_of_reach();
    }
}

impl<K> fmt::Debug for Consumer<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Consumer")
            .field("fifo", &self.shared.lock().fifo)
            .field("returned", &self.returned)
            .finish_non_exhaustive()
    }
}

/// A batch on loan. Dropping it puts the batch back to the front of the queue.
///
/// # Examples
/// ```
/// use informer_deltafifo::{Config, channel};
/// use informer_store::{Batch, Delta};
/// use k8s_openapi::api::core::v1::ConfigMap;
///
/// # async fn write_somewhere(_: &Batch<ConfigMap>) {}
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (producer, mut consumer) = channel::<ConfigMap>(Config::default());
/// producer.push(Delta::Bookmark("7".into())).await?;
///
/// let lease = consumer.lease(100).await?;
/// write_somewhere(&lease).await; // cancelled here, the batch would be popped again
/// lease.commit();
/// # Ok(()) }
/// ```
#[must_use = "dropping a lease puts its batch back"]
pub struct Lease<'a, K: Object> {
    /// `None` once it is settled.
    popped: Option<Popped<K>>,
    consumer: &'a mut Consumer<K>,
}

impl<K: Object> Lease<'_, K> {
    /// Applies the batch to `store` and settles the lease.
    pub fn apply<S: Apply<K> + ?Sized>(self, store: &S) {
        self.settle(|batch| store.apply(batch));
    }

    /// Says that the batch has been applied, and hands it over.
    pub fn commit(self) -> Batch<K> {
        self.settle(|batch| batch)
    }

    fn settle<T>(mut self, apply: impl FnOnce(Batch<K>) -> T) -> T {
        let popped = self.popped.take().expect("a lease is settled once");
        let applied = apply(popped.batch);
        self.consumer.handed = Some(popped.completes_sync);
        self.consumer.commit();
        applied
    }
}

impl<K: Object> Deref for Lease<'_, K> {
    type Target = Batch<K>;

    fn deref(&self) -> &Batch<K> {
        &self.popped.as_ref().expect("a lease is settled once").batch
    }
}

impl<K: Object> Drop for Lease<'_, K> {
    fn drop(&mut self) {
        if let Some(mut popped) = self.popped.take() {
            if let Some(mut rest) = self.consumer.returned.take() {
                popped.batch.deltas.append(&mut rest.batch.deltas);
                popped.batch.version = rest.batch.version;
                popped.completes_sync = rest.completes_sync;
            }
            self.consumer.returned = Some(popped);
        }
    }
}

impl<K: Object> fmt::Debug for Lease<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Lease").field(&**self).finish()
    }
}

/// The first `max` deltas, and the rest, which keeps what is only true of the whole.
fn split<K>(mut popped: Popped<K>, max: usize) -> (Popped<K>, Option<Popped<K>>) {
    if popped.batch.len() <= max {
        return (popped, None);
    }
    let rest = popped.batch.deltas.split_off(max);
    let rest = Popped {
        batch: Batch::new(rest, popped.batch.version.take()),
        completes_sync: popped.completes_sync,
    };
    popped.completes_sync = false;
    (popped, Some(rest))
}

fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}
