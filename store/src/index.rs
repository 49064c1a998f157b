//! [`Index`]: typed secondary indexes.

mod postings;

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::quality::RandomState;

pub(crate) use self::postings::{HashPostings, Postings, ValueTable};

/// Values come from whoever may create objects, so the seed is random.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

pub(crate) fn hash_value<V: Hash + ?Sized>(value: &V) -> u64 {
    HASHER.hash_one(value)
}

/// What an index takes of an object: calls the sink with each value.
type Extract<K, V> = dyn Fn(&K, &mut dyn FnMut(V)) + Send + Sync;

pub(crate) struct Definition<K, V> {
    pub(crate) id: u64,
    pub(crate) name: Box<str>,
    pub(crate) extract: Box<Extract<K, V>>,
}

/// A typed handle on an index of a [`Cache`](crate::Cache): says which values of type `V` an object has, and asks
/// for the objects that have one.
///
/// The handle is the definition: make it once, give it to the cache, keep it (or a clone) for lookups.
///
/// The function must depend on the object alone: called twice with the same object it gives the same values.
/// Where it panics, the object is left out of this index and of no other, and the cache goes on.
///
/// # Examples
/// ```
/// use informer_store::{Cache, Entry, Index};
/// use k8s_openapi::api::core::v1::Pod;
///
/// let by_node = Index::hash("node", |pod: &Pod| pod.spec.as_ref()?.node_name.clone());
/// let cache = Cache::<Pod>::builder().index(&by_node).build();
/// assert_eq!(cache.snapshot().by_index(&by_node, "node-1").count(), 0);
/// ```
///
/// # Source
/// client-go `tools/cache/index.go` `IndexFunc`; differs: values are typed, and a failing function quarantines.
pub struct Index<K, V> {
    pub(crate) definition: Arc<Definition<K, V>>,
}

impl<K: 'static, V: Hash + Eq + Clone + Send + Sync + 'static> Index<K, V> {
    /// An index by equality. `values` gives none, one (`Option<V>`) or many (`Vec<V>`, any iterable) values.
    #[must_use]
    pub fn hash<I: IntoIterator<Item = V>>(
        name: &str,
        values: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self {
        Self {
            definition: Arc::new(Definition {
                id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
                name: name.into(),
                extract: Box::new(move |object, sink| values(object).into_iter().for_each(sink)),
            }),
        }
    }

    pub(crate) fn postings(&self) -> Arc<dyn Postings<K>>
    where
        K: Send + Sync,
    {
        Arc::new(HashPostings::new(Arc::clone(&self.definition)))
    }
}

impl<K, V> Index<K, V> {
    /// The name it was made with.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.definition.name
    }
}

impl<K, V> Clone for Index<K, V> {
    fn clone(&self) -> Self {
        Self {
            definition: Arc::clone(&self.definition),
        }
    }
}

impl<K, V> fmt::Debug for Index<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// Whether `object` has `value`, asked of the function itself.
pub(crate) fn has_value<K, V, Q>(definition: &Definition<K, V>, object: &K, value: &Q) -> bool
where
    V: Borrow<Q>,
    Q: Eq + ?Sized,
{
    let mut found = false;
    (definition.extract)(object, &mut |candidate| found |= candidate.borrow() == value);
    found
}
