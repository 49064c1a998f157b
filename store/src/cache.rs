//! [`Cache`]: the built-in store.

mod as_store;
mod builder;
mod indexes;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use tokio::time::Instant;

pub use self::builder::CacheBuilder;
use crate::{
    Apply, Batch, Closed, Delta, Entry, KeyRef, Object, ObjectKey, ReflectorStore, Replacement,
    ResourceVersion, ResyncPart, Snapshot, Stats, Subscription, Tombstone,
    apply::{self, Effects, PreparedAll, Rules, UidChange},
    catch_up::CatchUp,
    log::{Block, Log},
    publish::Publish,
    state::State,
    stats::{Counters, Tally},
    wait::{Goal, Waiters},
};

/// Most deltas that are applied in one hold of the state's mutex; a larger batch is applied to a copy that shares
/// what it does not change. 512 steps of some 100 ns keep a reader that must wait under a tenth of a millisecond.
const SHORT: usize = 512;

/// A store of objects with snapshots, indexes and subscriptions: cheap to clone, and every clone is the same store.
///
/// See the [crate's documentation](crate) for what it promises.
///
/// # Examples
/// ```
/// use informer_store::{Batch, Cache, Delta, Entry, ResourceVersion};
/// use k8s_openapi::api::core::v1::Pod;
///
/// let pod: Pod = serde_json::from_str(
///     r#"{"metadata": {"namespace": "shop", "name": "cart-0", "uid": "u1", "resourceVersion": "7"}}"#,
/// )?;
/// let cache = Cache::new();
/// cache.apply(Batch::new(vec![Delta::Added(Entry::new(pod)?)], Some("7".into())));
/// assert!(cache.get("shop", "cart-0").is_some());
/// assert_eq!(cache.resource_version(), ResourceVersion::from(7));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Source
/// client-go `tools/cache/thread_safe_store.go`, `store.go`; differs: readers never hold a lock while they look.
pub struct Cache<K> {
    pub(crate) inner: Arc<Inner<K>>,
    /// Closes the log when the last handle is gone; subscriptions do not count.
    _alive: Arc<Alive<K>>,
}

pub(crate) struct Inner<K> {
    /// The right to write is held from the first look at the state until the changes are in the log.
    pub(crate) state: Publish<State<K>>,
    pub(crate) log: Log<K>,
    /// Whether there are indexes besides that by namespace; changed by writers only.
    has_indexes: AtomicBool,
    rules: Rules<K>,
    waiters: Waiters,
    counters: Counters,
}

struct Alive<K>(Arc<Inner<K>>);

impl<K> Drop for Alive<K> {
    fn drop(&mut self) {
        self.0.log.close();
    }
}

impl<K> Inner<K> {
    pub(crate) fn catch_up(&self, from: Option<Arc<State<K>>>, to: Arc<State<K>>) -> CatchUp<K> {
        CatchUp::new(from, to, self.rules.uid_change == UidChange::DeleteThenAdd)
    }
}

/// What the writer takes from the state it has just written.
struct Outcome {
    steps: u64,
    changes: u64,
    /// Version and sync state, where somebody wants to know.
    news: Option<(ResourceVersion, bool)>,
}

impl<K: Object> Inner<K> {
    fn apply(&self, mut batch: Batch<K>) {
        if let [delta] = &mut *batch.deltas
            && self.apply_quietly(delta, &mut batch.version)
        {
            return;
        }
        self.apply_batch(batch);
    }

    fn apply_one(&self, mut delta: Delta<K>, mut version: Option<ResourceVersion>) {
        if !self.apply_quietly(&mut delta, &mut version) {
            self.apply_loudly(delta, version);
        }
    }

    /// The commonest step by far: an object newer than the one held, while nobody listens and no index is kept. A step like
    /// any other, but for what it need not ask or collect. True if that is what it was, and what was replaced is left in
    /// its place; else nothing has changed.
    #[inline]
    fn apply_quietly(&self, delta: &mut Delta<K>, version: &mut Option<ResourceVersion>) -> bool {
        let (Delta::Added(entry) | Delta::Updated(entry)) = delta else {
            return false;
        };
        let is_quiet = || !self.log.is_wanted() && !self.waiters.is_wanted();
        if self.rules.key_function.is_some() || self.has_indexes.load(Ordering::Relaxed) || !is_quiet() {
            return false;
        }
        let applied = self.state.try_write(|state| {
            // Asked again, as somebody may have come before the state was in hand.
            if !is_quiet() || !state.indexes().is_empty() {
                return false;
            }
            let Some(is_accepted) = apply::update_quietly(state, entry, version) else {
                return false;
            };
            self.counters.add_update(is_accepted);
            true
        });
        applied.unwrap_or(false)
    }

    #[inline(never)]
    fn apply_loudly(&self, mut delta: Delta<K>, version: Option<ResourceVersion>) {
        let mut tally = Tally::default();
        if !apply::rekey(&mut delta, &self.rules, &mut tally) {
            self.apply_short([], version, tally);
        } else if is_long(&delta) {
            self.apply_long(vec![delta], version, tally);
        } else {
            self.apply_short([delta], version, tally);
        }
    }

    #[inline(never)]
    fn apply_batch(&self, batch: Batch<K>) {
        let Batch { mut deltas, version } = batch;
        if deltas.len() == 1
            && let Some(delta) = deltas.pop()
        {
            return self.apply_loudly(delta, version);
        }
        let mut tally = Tally::default();
        deltas.retain_mut(|delta| apply::rekey(delta, &self.rules, &mut tally));
        if deltas.len() > SHORT || deltas.iter().any(is_long) {
            self.apply_long(deltas, version, tally);
        } else {
            self.apply_short(deltas, version, tally);
        }
    }

    /// Applies deltas that take a bounded moment, in place.
    fn apply_short<D>(&self, deltas: D, version: Option<ResourceVersion>, tally: Tally)
    where
        D: IntoIterator<Item = Delta<K>> + AsRef<[Delta<K>]>,
    {
        let mut effects = Effects::new(tally);
        let mut writing = self.state.begin();
        let prepared = self.prepare(deltas.as_ref());
        let outcome = writing.write_short(|state| self.step(state, deltas, version, prepared, &mut effects));
        self.counters.add(&effects.tally);
        if effects.wanted {
            self.append(&mut effects, &outcome);
        }
        drop(writing);
        self.wake(&outcome);
        drop(effects);
    }

    /// Applies deltas that take long, aside.
    fn apply_long(&self, deltas: Vec<Delta<K>>, version: Option<ResourceVersion>, tally: Tally) {
        let mut effects = Effects::new(tally);
        let mut writing = self.state.begin();
        let before = self.state.pin_in_order();
        let prepared = PreparedAll::new();
        let mut outcome =
            writing.write_long(|state| self.step(state, deltas, version, prepared, &mut effects));
        // Somebody may have begun to wait while the step was under way.
        outcome.news = self.state.read_in_order(|state| self.news(state));
        self.counters.add(&effects.tally);
        if effects.wanted {
            self.append(&mut effects, &outcome);
        } else {
            self.log.skip(outcome.steps, &before);
        }
        drop(writing);
        self.wake(&outcome);
        drop((effects, before));
    }

    fn append(&self, effects: &mut Effects<K>, outcome: &Outcome) {
        let (version, synced) = outcome.news.clone().unwrap_or_default();
        let block = Block {
            changes: std::mem::take(&mut effects.changes),
            total: outcome.changes,
            version,
            synced,
        };
        self.log
            .append(outcome.steps, block, || self.state.pin_in_order());
    }

    fn wake(&self, outcome: &Outcome) {
        if let Some((version, synced)) = &outcome.news {
            self.waiters.wake(version, *synced);
        }
    }

    /// Asks the functions of the indexes before the state is taken in hand, as they are the user's.
    fn prepare(&self, deltas: &[Delta<K>]) -> PreparedAll<K> {
        if !self.has_indexes.load(Ordering::Relaxed) {
            return PreparedAll::new();
        }
        let look = |state: &State<K>| (state.share_indexes(), apply::find_held(state, deltas));
        let (indexes, held) = self.state.read_in_order(look);
        apply::prepare(deltas, held, &indexes)
    }

    /// One step of the history, from the question who wants to know to the answer.
    fn step(
        &self,
        state: &mut State<K>,
        deltas: impl IntoIterator<Item = Delta<K>>,
        version: Option<ResourceVersion>,
        prepared: PreparedAll<K>,
        effects: &mut Effects<K>,
    ) -> Outcome {
        effects.wanted = self.log.is_wanted();
        apply::apply(state, deltas, version, prepared, &self.rules, effects);
        Outcome {
            steps: state.steps,
            changes: state.changes,
            news: self.news(state),
        }
    }

    fn news(&self, state: &State<K>) -> Option<(ResourceVersion, bool)> {
        (self.log.is_wanted() || self.waiters.is_wanted()).then(|| (state.version.clone(), state.synced))
    }

    async fn wait(&self, goal: Goal) {
        let met = |goal: &Goal| {
            let state = self.state.pin_in_order();
            goal.is_met(&state.version, state.synced)
        };
        let again = match &goal {
            Goal::Version(version) => Goal::Version(version.clone()),
            Goal::Synced => Goal::Synced,
        };
        let told = self.waiters.add(goal);
        if !met(&again) {
            // The sender lives in `self`; it is dropped only after having been used.
            let _ = told.await;
        }
    }
}

/// Whether it takes long, by the size of what is held or listed.
fn is_long<K>(delta: &Delta<K>) -> bool {
    matches!(delta, Delta::Replaced(_) | Delta::Resync(_))
}

impl<K: Object> Cache<K> {
    /// An empty cache with the defaults of [`builder`](Self::builder).
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// A cache to be set up.
    pub fn builder() -> CacheBuilder<K> {
        CacheBuilder::new()
    }

    /// Applies `batch` in one step: a reader sees all of it or nothing. Changes are handed to the subscriptions
    /// afterwards, in order. Never waits for readers or subscriptions.
    ///
    /// Per key, a delta at most as new as what is held with the same uid is refused and counted in [`Stats::stale`].
    pub fn apply(&self, batch: Batch<K>) {
        self.inner.apply(batch);
    }

    /// Applies one delta and claims `version`: a [`Batch`] of one, without what it takes to hold many.
    pub fn apply_one(&self, delta: Delta<K>, version: Option<ResourceVersion>) {
        self.inner.apply_one(delta, version);
    }

    /// Pins this instant.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot<K> {
        Snapshot::new(self.inner.state.pin())
    }

    /// The newest object of `name` in `namespace` (empty for a cluster-scoped one). Allocates nothing.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        let key = KeyRef::new(Some(namespace), name);
        self.inner
            .state
            .read(move |state| state.find_ref(key).map(|held| Arc::clone(held.object)))
    }

    /// The newest object of `key`. Allocates nothing.
    #[must_use]
    pub fn get_by_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        self.inner
            .state
            .read(|state| state.find(key).map(|(_, held)| Arc::clone(held.object)))
    }

    /// How many objects are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.inner.state.read(State::len)
    }

    /// Whether none is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How far the history has been applied.
    #[must_use]
    pub fn resource_version(&self) -> ResourceVersion {
        self.inner.state.read(|state| state.version.clone())
    }

    /// Whether a whole list has been applied. Once true, always true.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.inner.state.read(|state| state.synced)
    }

    /// Waits until a whole list has been applied.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn synced(&self) {
        self.inner.wait(Goal::Synced).await;
    }

    /// Waits until the history has been applied up to `version`, but not beyond `deadline`. Without polling.
    ///
    /// A version that is not a number is met only by itself.
    ///
    /// # Errors
    /// [`TimedOut`] once `deadline` has passed.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn wait_for(&self, version: &ResourceVersion, deadline: Instant) -> Result<(), TimedOut> {
        let waiting = self.inner.wait(Goal::Version(version.clone()));
        tokio::time::timeout_at(deadline, waiting)
            .await
            .map_err(|_| TimedOut)
    }

    /// Every object held, then every later change.
    pub fn subscribe(&self) -> Subscription<K> {
        Subscription::new(Arc::clone(&self.inner))
    }

    /// What the cache has done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.inner.counters.read()
    }
}

/// The deadline passed first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("the deadline passed before the version was reached")]
pub struct TimedOut;

impl<K: Object> Default for Cache<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> Clone for Cache<K> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            _alive: Arc::clone(&self._alive),
        }
    }
}

impl<K> fmt::Debug for Cache<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}

impl<K: Object> Apply<K> for Cache<K> {
    fn apply(&self, batch: Batch<K>) {
        Self::apply(self, batch);
    }
}

#[async_trait]
impl<K: Object> ReflectorStore<K> for Cache<K> {
    async fn replace(&self, replacement: Replacement<K>) -> Result<(), Closed> {
        let version = Some(replacement.version.clone());
        self.inner.apply_one(Delta::Replaced(replacement), version);
        Ok(())
    }

    async fn add(&self, entry: Entry<K>) -> Result<(), Closed> {
        let version = claimed(entry.object.version());
        self.inner.apply_one(Delta::Added(entry), version);
        Ok(())
    }

    async fn update(&self, entry: Entry<K>) -> Result<(), Closed> {
        let version = claimed(entry.object.version());
        self.inner.apply_one(Delta::Updated(entry), version);
        Ok(())
    }

    async fn delete(&self, tombstone: Tombstone<K>) -> Result<(), Closed> {
        let version = claimed(tombstone.version.clone());
        self.inner.apply_one(Delta::Deleted(tombstone), version);
        Ok(())
    }

    async fn resync(&self, part: ResyncPart) -> Result<(), Closed> {
        self.inner.apply_one(Delta::Resync(part), None);
        Ok(())
    }

    async fn bookmark(&self, version: ResourceVersion) -> Result<(), Closed> {
        let claimed = claimed(version.clone());
        self.inner.apply_one(Delta::Bookmark(version), claimed);
        Ok(())
    }

    async fn merge(&self, delta: Delta<K>, reached: Option<ResourceVersion>) -> Result<(), Closed> {
        self.inner.apply_one(delta, reached);
        Ok(())
    }

    fn held(&self, key: KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<K>> {
        self.inner.state.read(|state| {
            let held = state.find_metadata_ref(key)?;
            let object = held.object;
            (object.uid() == Some(uid) && object.resource_version() == Some(version))
                .then(|| Arc::clone(object))
        })
    }
}

/// The version an event brings a store to; none if it does not say.
fn claimed(version: ResourceVersion) -> Option<ResourceVersion> {
    (!version.is_unset()).then_some(version)
}
