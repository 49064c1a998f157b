//! [`Overlay`]: one's own writes, visible before the watch brings them back.

use std::{
    cmp::Ordering,
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::{Cache, Entry, Lookup, Object, ObjectKey, ResourceVersion, Snapshot, Unkeyed, stamp::given};

/// A view of a [`Cache`] that shows one's own creates, updates and deletions from the moment they are noted until the
/// cache has caught up with them.
///
/// Note the server's answer to each write: [`wrote`](Self::wrote) with the object it returned,
/// [`deleted`](Self::deleted) with the last state known. Reads then show whichever is newer, the note or the cache:
///
/// - A written object is shown until the cache's version has reached it, or the cache holds the same object as new or
///   newer, or another object of that name.
/// - A deleted object is hidden until the cache no longer holds that uid. While the note lives, later notes of writes
///   to that uid are refused: an answer that comes late does not raise the dead.
/// - Either note expires, in case the watch never brings what it waits for.
///
/// # Memory
/// One entry per key written and not yet seen or expired; any number of them. Notes are let go of by reads of their
/// key and by later notes.
///
/// # Trade-offs
/// Indexes are asked of noted objects one by one, so lookups cost a function call per note. Opaque versions are
/// compared for equality only: a note of such a version lives until the cache holds exactly it, or expires.
///
/// # Source
/// client-go `tools/cache/mutation_cache.go` `MutationCache`; differs: any number of entries, opaque versions do not
/// panic, and notes go as soon as the cache's version passes them, even if the object is gone by then.
pub struct Overlay<K> {
    cache: Cache<K>,
    notes: Mutex<HashMap<ObjectKey, Note<K>>>,
    expiry: Duration,
}

struct Note<K> {
    what: Noted<K>,
    expires: Instant,
}

enum Noted<K> {
    Wrote(Arc<K>),
    Deleted {
        uid: Option<Box<str>>,
        version: ResourceVersion,
    },
}

/// What a note makes of what the cache holds.
enum Verdict<'a, K> {
    /// The cache has caught up.
    Spent,
    Show(&'a Arc<K>),
    Hide,
}

impl<K: Object> Note<K> {
    fn judge(&self, held: Option<&Arc<K>>, claimed: &ResourceVersion, now: Instant) -> Verdict<'_, K> {
        if now >= self.expires {
            return Verdict::Spent;
        }
        match &self.what {
            Noted::Wrote(object) => {
                let version = object.version();
                let is_passed = claimed.is_ordered() && version.is_ordered() && *claimed >= version;
                let is_known = held.is_some_and(|held| {
                    let other = is_other(held.uid(), object.uid());
                    // Another object of that name: the newer of the two, or the cache's where they cannot be compared.
                    let order = held.version().partial_cmp(&version);
                    order.is_some_and(Ordering::is_ge) || (other && order != Some(Ordering::Less))
                });
                if is_passed || is_known {
                    Verdict::Spent
                } else {
                    Verdict::Show(object)
                }
            }
            Noted::Deleted { uid, version } => match held {
                Some(held) if is_other(held.uid(), uid.as_deref()) => Verdict::Spent,
                Some(held) if uid.is_none() && !version.is_unset() && held.version() > *version => {
                    Verdict::Spent
                }
                // Gone from the cache too; the note stays to refuse late answers, and has nothing to hide.
                _ => Verdict::Hide,
            },
        }
    }
}

fn is_other(a: Option<&str>, b: Option<&str>) -> bool {
    given(a).zip(given(b)).is_some_and(|(a, b)| a != b)
}

impl<K: Object> Overlay<K> {
    /// A view of `cache` whose notes expire after `expiry`: longer than any watch is late, a minute or some.
    #[must_use]
    pub fn new(cache: Cache<K>, expiry: Duration) -> Self {
        Self {
            cache,
            notes: Mutex::new(HashMap::new()),
            expiry,
        }
    }

    /// The cache behind it.
    #[must_use]
    pub fn cache(&self) -> &Cache<K> {
        &self.cache
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<ObjectKey, Note<K>>> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the server answered to a create, update or patch; false if something newer is known already.
    ///
    /// # Errors
    /// [`Unkeyed`] hands the object back if it has no name.
    pub fn wrote(&self, object: impl Into<Arc<K>>) -> Result<bool, Unkeyed<Arc<K>>> {
        let Entry { key, object, .. } = Entry::new(object)?;
        let now = Instant::now();
        let snapshot = self.cache.snapshot();
        let note = Note {
            what: Noted::Wrote(object.into_inner()),
            expires: now + self.expiry,
        };
        let mut notes = self.lock();
        self.sweep(&mut notes, &snapshot, now);
        let Noted::Wrote(object) = &note.what else {
            unreachable!("just made")
        };
        let is_late = match notes.get(&key).map(|note| &note.what) {
            Some(Noted::Wrote(known)) => known.version() > object.version(),
            Some(Noted::Deleted { uid, version }) => {
                let same_uid = uid.is_some() && uid.as_deref() == object.uid();
                same_uid || (!version.is_unset() && object.version() <= *version)
            }
            None => false,
        };
        let held = snapshot.get_by_key(&key);
        if is_late || matches!(note.judge(held, snapshot.resource_version(), now), Verdict::Spent) {
            return Ok(false);
        }
        let replaced = notes.insert(key, note);
        drop(notes);
        drop(replaced);
        Ok(true)
    }

    /// Notes that the server accepted the deletion of `object`, whose uid tells it from a later one of its name.
    /// `version` is that of the deletion where the server gave one, else [`ResourceVersion::UNSET`].
    ///
    /// # Errors
    /// [`Unkeyed`] hands the object back if it has no name.
    pub fn deleted(
        &self,
        object: impl Into<Arc<K>>,
        version: ResourceVersion,
    ) -> Result<(), Unkeyed<Arc<K>>> {
        let Entry { key, object, .. } = Entry::new(object)?;
        let now = Instant::now();
        let snapshot = self.cache.snapshot();
        let uid = given(object.uid()).map(Into::into);
        let note = Note {
            what: Noted::Deleted { uid, version },
            expires: now + self.expiry,
        };
        let mut notes = self.lock();
        self.sweep(&mut notes, &snapshot, now);
        let replaced = notes.insert(key, note);
        drop(notes);
        drop(replaced);
        Ok(())
    }

    /// Lets go of notes that are spent, once in a while: when the table would have to grow.
    fn sweep(&self, notes: &mut HashMap<ObjectKey, Note<K>>, snapshot: &Snapshot<K>, now: Instant) {
        if notes.len() < notes.capacity() {
            return;
        }
        let claimed = snapshot.resource_version();
        notes.retain(|key, note| {
            !matches!(note.judge(snapshot.get_by_key(key), claimed, now), Verdict::Spent)
        });
    }

    /// How many notes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is no note.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The newest known object of `name` in `namespace`; empty for a cluster-scoped one.
    #[must_use]
    pub fn get(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get_by_key(&ObjectKey::new(Some(namespace), name))
    }

    /// The newest known object of `key`.
    #[must_use]
    pub fn get_by_key(&self, key: &ObjectKey) -> Option<Arc<K>> {
        let now = Instant::now();
        let mut notes = self.lock();
        let Some(note) = notes.get(key) else {
            drop(notes);
            return self.cache.get_by_key(key);
        };
        let snapshot = self.cache.snapshot();
        let held = snapshot.get_by_key(key);
        match note.judge(held, snapshot.resource_version(), now) {
            Verdict::Show(object) => Some(Arc::clone(object)),
            Verdict::Hide => None,
            Verdict::Spent => {
                let spent = notes.remove(key);
                drop(notes);
                drop(spent);
                held.cloned()
            }
        }
    }

    /// Every object as far as known: what the cache holds, in slot order, then what it does not yet hold.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<K>> {
        let snapshot = self.cache.snapshot();
        self.merge(&snapshot, snapshot.list(), |_| true)
    }

    /// The objects that have `value` in `index` as far as known: from the cache, in slot order, then from notes.
    #[must_use]
    pub fn by_index<Q: ?Sized>(&self, index: &impl Lookup<K, Q>, value: &Q) -> Vec<Arc<K>> {
        let snapshot = self.cache.snapshot();
        self.merge(&snapshot, snapshot.by_index(index, value), |object| {
            index.has(object, value)
        })
    }

    fn merge<'a>(
        &self,
        snapshot: &'a Snapshot<K>,
        listed: impl Iterator<Item = &'a Arc<K>>,
        belongs: impl Fn(&K) -> bool,
    ) -> Vec<Arc<K>> {
        let now = Instant::now();
        let claimed = snapshot.resource_version();
        // Copied out, so that the user's function runs with no lock held.
        let mut shown: HashMap<ObjectKey, Option<Arc<K>>> = HashMap::new();
        for (key, note) in &*self.lock() {
            match note.judge(snapshot.get_by_key(key), claimed, now) {
                Verdict::Show(object) => drop(shown.insert(key.clone(), Some(Arc::clone(object)))),
                Verdict::Hide => drop(shown.insert(key.clone(), None)),
                Verdict::Spent => {}
            }
        }
        if shown.is_empty() {
            return listed.cloned().collect();
        }
        let is_noted = |object: &Arc<K>| object.key().is_ok_and(|key| shown.contains_key(&key));
        let mut merged: Vec<_> = listed.filter(|object| !is_noted(object)).cloned().collect();
        let mut own: Vec<_> = shown
            .into_iter()
            .filter_map(|(key, object)| Some((key, object?)))
            .collect();
        own.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        merged.extend(
            own.into_iter()
                .map(|(_, object)| object)
                .filter(|object| belongs(object)),
        );
        merged
    }
}

impl<K> fmt::Debug for Overlay<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Overlay")
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}
