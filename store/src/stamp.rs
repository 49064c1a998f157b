//! [`Stamped`]: an object with what is asked of it again and again.

use std::{cmp::Ordering, fmt, ops::Deref, sync::Arc};

use crate::{KeyRef, Object, ResourceVersion};

/// An object's version and uid in short: enough for most comparisons, without touching the object.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Stamp {
    /// The version where it is a number of 64 bits, else 0.
    version: u64,
    /// A hash of the uid; 0 where there is none.
    uid: u64,
}

impl Stamp {
    /// Looks at `object`.
    #[must_use]
    #[inline]
    pub fn of<K: Object>(object: &K) -> Self {
        let version = object.version().as_u64().unwrap_or(0);
        let uid = given(object.uid()).map_or(0, Self::uid_hash);
        Self { version, uid }
    }

    fn uid_hash(uid: &str) -> u64 {
        KeyRef {
            namespace: None,
            name: uid,
        }
        .hash()
        .max(1)
    }

    /// Whether both have the same uid, or neither has one. Two uids are taken for the same by accident once in 2⁶⁴
    /// times.
    #[must_use]
    #[inline]
    pub fn is_same_uid(self, other: Self) -> bool {
        self.uid == other.uid
    }

    /// Whether both have a uid, and not the same.
    #[must_use]
    #[inline]
    pub fn is_other_uid(self, other: Self) -> bool {
        self.uid != other.uid && self.uid != 0 && other.uid != 0
    }

    /// Whether the object is surely not the one of `uid`.
    #[must_use]
    pub fn is_not(self, uid: &str) -> bool {
        self.uid != 0 && !uid.is_empty() && self.uid != Self::uid_hash(uid)
    }

    /// How the version compares with that of `other`; `None` if the stamps cannot tell: a version is missing, 0, or no
    /// number of 64 bits.
    #[must_use]
    #[inline]
    pub fn compare(self, other: Self) -> Option<Ordering> {
        (self.version != 0 && other.version != 0).then(|| self.version.cmp(&other.version))
    }

    /// The version, where the stamp tells it.
    #[must_use]
    #[inline]
    pub fn version(self) -> Option<u64> {
        (self.version != 0).then_some(self.version)
    }
}

/// A uid, if it is one: a type that has always some text for it has an empty one where it is not known.
pub(crate) fn given(uid: Option<&str>) -> Option<&str> {
    uid.filter(|uid| !uid.is_empty())
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stamp")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// An object and its [`Stamp`], which was made with it and goes along: no later layer has to read version and uid again.
///
/// # Shape
/// 24 bytes: the handle of the object and the stamp.
pub struct Stamped<K> {
    object: Arc<K>,
    stamp: Stamp,
}

impl<K: Object> Stamped<K> {
    /// Looks at `object`, once.
    #[must_use]
    #[inline]
    pub fn new(object: Arc<K>) -> Self {
        let stamp = Stamp::of(&*object);
        Self { object, stamp }
    }

    /// The version: from the stamp if that tells it.
    #[must_use]
    pub fn version(&self) -> ResourceVersion {
        match self.stamp.version() {
            Some(number) => number.into(),
            None => self.object.version(),
        }
    }
}

impl<K> Stamped<K> {
    /// The stamp.
    #[must_use]
    #[inline]
    pub fn stamp(&self) -> Stamp {
        self.stamp
    }

    /// The object alone.
    #[must_use]
    #[inline]
    pub fn into_inner(self) -> Arc<K> {
        self.object
    }

    /// The object in exchange for one of that stamp, which has just been looked at.
    #[inline]
    pub(crate) fn exchange(&mut self, object: &mut Arc<K>, stamp: &mut Stamp) {
        std::mem::swap(&mut self.object, object);
        std::mem::swap(&mut self.stamp, stamp);
    }
}

impl<K> Clone for Stamped<K> {
    fn clone(&self) -> Self {
        Self {
            object: Arc::clone(&self.object),
            stamp: self.stamp,
        }
    }
}

impl<K> Deref for Stamped<K> {
    type Target = Arc<K>;

    #[inline]
    fn deref(&self) -> &Arc<K> {
        &self.object
    }
}

impl<K: Object> From<Arc<K>> for Stamped<K> {
    fn from(object: Arc<K>) -> Self {
        Self::new(object)
    }
}

impl<K> fmt::Debug for Stamped<K> {
    /// The stamp alone: bodies are not shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.stamp.fmt(f)
    }
}
