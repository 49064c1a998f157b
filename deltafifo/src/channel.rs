//! [`channel`]: a queue with a lock and wakers around it.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use informer_store::{Closed, Object};
use tokio::sync::{Notify, watch};

use crate::{Config, Consumer, DeltaFifo, KnownObjects, Producer, Stats};

/// A queue between a reflector and a store.
///
/// # Examples
/// ```
/// use informer_deltafifo::{Config, channel};
/// use informer_store::{Delta, Entry, Replacement, ReflectorStore as _};
/// use k8s_openapi::api::core::v1::ConfigMap;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let (producer, mut consumer) = channel::<ConfigMap>(Config::default());
/// producer.replace(Replacement::new(Vec::new(), "5".into())).await?;
/// drop(producer);
///
/// let batch = consumer.pop_batch(usize::MAX).await?;
/// assert_eq!(batch.version, Some("5".into()));
/// assert!(consumer.pop_batch(usize::MAX).await.is_err(), "closed, since the producer is gone and all is popped");
/// # Ok(()) }
/// ```
#[must_use]
pub fn channel<K: Object>(config: Config) -> (Producer<K>, Consumer<K>) {
    pair(DeltaFifo::new(config), false)
}

/// A queue in front of a consumer that is not our store: see [`DeltaFifo::classic`].
#[must_use]
pub fn classic_channel<K: Object>(
    config: Config,
    known: impl KnownObjects<K> + 'static,
) -> (Producer<K>, Consumer<K>) {
    pair(DeltaFifo::classic(config, Arc::new(known)), true)
}

fn pair<K: Object>(fifo: DeltaFifo<K>, classic: bool) -> (Producer<K>, Consumer<K>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            fifo,
            producer_gone: false,
            consumer_gone: false,
        }),
        items: Notify::new(),
        room: Notify::new(),
        sync: watch::Sender::new(Sync::Waiting),
    });
    (Producer::new(Arc::clone(&shared)), Consumer::new(shared, classic))
}

/// Looks at a queue from outside: how full it is, and whether its first replacement has been applied.
///
/// A cheap handle that keeps neither side open.
pub struct Monitor<K>(pub(crate) Arc<Shared<K>>);

impl<K> Monitor<K> {
    /// What the queue holds and has done.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.0.lock().fifo.stats()
    }

    /// Whether the first replacement has been applied; never goes back.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        *self.0.sync.borrow() == Sync::Synced
    }

    /// Waits until the first replacement has been applied.
    ///
    /// # Errors
    /// [`Closed`] if that can never happen, since one side is gone.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn synced(&self) -> Result<(), Closed> {
        let mut sync = self.0.sync.subscribe();
        let state = sync.wait_for(|sync| *sync != Sync::Waiting).await;
        match state.map(|state| *state) {
            Ok(Sync::Synced) => Ok(()),
            Ok(Sync::Waiting | Sync::Closed) | Err(_) => Err(Closed),
        }
    }
}

impl<K> Clone for Monitor<K> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<K> fmt::Debug for Monitor<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0.lock().fifo, f)
    }
}

pub(crate) struct Shared<K> {
    state: Mutex<State<K>>,
    /// Told when an empty queue has got something, and when the producer goes.
    pub(crate) items: Notify,
    /// Told when something has left the queue, and when the consumer goes.
    pub(crate) room: Notify,
    sync: watch::Sender<Sync>,
}

pub(crate) struct State<K> {
    pub(crate) fifo: DeltaFifo<K>,
    pub(crate) producer_gone: bool,
    pub(crate) consumer_gone: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sync {
    Waiting,
    Synced,
    Closed,
}

impl<K> Shared<K> {
    pub(crate) fn lock(&self) -> MutexGuard<'_, State<K>> {
        // Only the accessors of a user's own object type can panic under this lock, and they are called before
        // anything is changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn sync_is_reached(&self) {
        self.sync.send_replace(Sync::Synced);
    }

    pub(crate) fn sync_is_out_of_reach(&self) {
        self.sync.send_if_modified(|sync| {
            let waiting = *sync == Sync::Waiting;
            if waiting {
                *sync = Sync::Closed;
            }
            waiting
        });
    }
}
