//! [`Index`] and [`OrderedIndex`]: typed secondary indexes.

mod by_name;
mod hashed;
mod ordered;
mod postings;

use std::{
    borrow::Borrow,
    fmt,
    hash::{BuildHasher, Hash},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU64, Ordering},
    },
};

use foldhash::quality::RandomState;

pub(crate) use self::{
    by_name::{ByName, find_text, text_of, values_text},
    hashed::ValueTable,
    ordered::OrderedTable,
    postings::{Edit, Postings, Table, TypedPostings},
};
use crate::{Object, Snapshot, persist::SlotSet};

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
    /// The label whose values these are, if that is what they are.
    pub(crate) label: Option<Box<str>>,
}

impl<K, V> Definition<K, V> {
    fn new(name: &str, extract: Box<Extract<K, V>>) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            name: name.into(),
            extract,
            label: None,
        }
    }

    fn from_values<I: IntoIterator<Item = V>>(
        name: &str,
        values: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self {
        Self::new(
            name,
            Box::new(move |object, sink| values(object).into_iter().for_each(sink)),
        )
    }

    /// Whether `object` has a value for which `is_it`, asked of the function itself; it has none where that panics, as in
    /// the index.
    pub(crate) fn has(&self, object: &K, is_it: impl Fn(&V) -> bool) -> bool {
        // Unwind safe: the function sees only the object, which nobody can change.
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let mut found = false;
            (self.extract)(object, &mut |value| found |= is_it(&value));
            found
        }));
        asked.unwrap_or(false)
    }
}

/// A typed handle on an index of a [`Cache`](crate::Cache) by equality: says which values of type `V` an object has,
/// and asks for the objects that have one.
///
/// The handle is the definition: make it once, give it to the cache
/// ([`CacheBuilder::index`](crate::CacheBuilder::index), [`Cache::add_index`](crate::Cache::add_index)), keep it or
/// a clone for lookups. Give each of your indexes a name of its own; names serve lookups by name
/// ([`Indexer`](crate::Indexer)) and reports.
///
/// # The function
/// It must depend on the object alone: called twice with the same object it gives the same values. Where it panics,
/// the object is *quarantined* in this index ([`Snapshot::quarantined`]) until it changes; it is in every other
/// index and in the cache, and nothing else is affected. It must not call the cache it serves.
///
/// # Memory
/// Some 4 to 8 bytes per object and value, and some 100 per distinct value besides the value itself.
///
/// # Examples
/// ```
/// use informer_store::{Cache, Index};
/// use k8s_openapi::api::core::v1::Pod;
///
/// // One value or none: an `Option`. Several: a `Vec`, or anything iterable.
/// let by_node = Index::hash("node", |pod: &Pod| pod.spec.as_ref()?.node_name.clone());
/// let by_app = Index::by_label("app");
/// let cache = Cache::<Pod>::builder().index(&by_node).index(&by_app).build();
///
/// let snapshot = cache.snapshot();
/// assert_eq!(snapshot.by_index(&by_node, "node-1").count(), 0);
/// assert_eq!(snapshot.query().by(&by_node, "node-1").by(&by_app, "web").count(), 0);
/// ```
///
/// # Source
/// client-go `tools/cache/index.go` `IndexFunc`; differs: values are typed, and a failing function quarantines.
pub struct Index<K, V> {
    pub(crate) definition: Arc<Definition<K, V>>,
}

impl<K: Send + Sync + 'static, V: Hash + Eq + Clone + Send + Sync + 'static> Index<K, V> {
    /// An index by equality. `values` gives none, one (`Option<V>`) or many (`Vec<V>`, any iterable) values.
    #[must_use]
    pub fn hash<I: IntoIterator<Item = V>>(
        name: &str,
        values: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self {
        Definition::from_values(name, values).into()
    }

    /// An index whose values should each belong to one object; where two share one, both are found and
    /// [`Snapshot::conflicts`] reports them. Nothing is ever refused: the server's state is what it is.
    #[must_use]
    pub fn unique<I: IntoIterator<Item = V>>(
        name: &str,
        values: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self {
        Self::hash(name, values)
    }
}

impl<K: Object> Index<K, String> {
    /// An index by the value of one label, named `label:<label>`. Label selectors are answered from it.
    #[must_use]
    pub fn by_label(label: &str) -> Self {
        let key: Box<str> = label.into();
        let values = move |object: &K, sink: &mut dyn FnMut(String)| {
            object.label(&key).map(str::to_owned).into_iter().for_each(sink);
        };
        let mut definition = Definition::new(&format!("label:{label}"), Box::new(values));
        definition.label = Some(label.into());
        definition.into()
    }

    /// An index by the uid of each owner, named `owner`.
    #[must_use]
    pub fn by_owner_uid() -> Self {
        let values = |object: &K, sink: &mut dyn FnMut(String)| {
            object.each_owner(&mut |owner| sink(owner.uid.to_owned()));
        };
        Definition::new("owner", Box::new(values)).into()
    }
}

/// A typed handle on an index of a [`Cache`](crate::Cache) in the values' order, for ranges and prefixes besides
/// equality. Otherwise as [`Index`].
///
/// # Memory
/// As [`Index`]; a lookup costs a binary search instead of a hash.
///
/// # Examples
/// ```
/// use informer_store::{Cache, OrderedIndex};
/// use k8s_openapi::api::core::v1::Pod;
///
/// let by_image = OrderedIndex::new("image", |pod: &Pod| {
///     let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
///     containers.filter_map(|container| container.image.clone()).collect::<Vec<_>>()
/// });
/// let cache = Cache::<Pod>::builder().index(&by_image).build();
/// assert_eq!(cache.snapshot().prefix(&by_image, "registry.example/").count(), 0);
/// ```
pub struct OrderedIndex<K, V> {
    pub(crate) definition: Arc<Definition<K, V>>,
}

impl<K: Send + Sync + 'static, V: Ord + Clone + Send + Sync + 'static> OrderedIndex<K, V> {
    /// An ordered index. `values` gives none, one (`Option<V>`) or many (`Vec<V>`, any iterable) values.
    #[must_use]
    pub fn new<I: IntoIterator<Item = V>>(
        name: &str,
        values: impl Fn(&K) -> I + Send + Sync + 'static,
    ) -> Self {
        let definition = Arc::new(Definition::from_values(name, values));
        Self { definition }
    }

    pub(crate) fn table<'a>(&self, snapshot: &'a Snapshot<K>) -> Option<&'a OrderedTable<V>> {
        let postings = snapshot.state().index(self.definition.id)?;
        let typed = postings
            .as_any()
            .downcast_ref::<TypedPostings<K, V, OrderedTable<V>>>();
        typed.map(TypedPostings::table)
    }
}

/// What can be given to a cache as an index: [`Index`] and [`OrderedIndex`]. Sealed.
pub trait IndexHandle<K>: sealed::Handle<K> {
    /// The name it was made with.
    fn name(&self) -> &str;
}

/// An index in which objects with the value `Q` can be looked up: [`Index`] and [`OrderedIndex`]. Sealed.
pub trait Lookup<K, Q: ?Sized>: sealed::Lookup<K, Q> {}

impl<K, Q: ?Sized, T: sealed::Lookup<K, Q>> Lookup<K, Q> for T {}

pub(crate) mod sealed {
    use super::{Postings, SlotSet, Snapshot};

    #[expect(unnameable_types, reason = "seals the public trait of the same name")]
    pub trait Handle<K> {
        #[doc(hidden)]
        fn id(&self) -> u64;
        #[doc(hidden)]
        fn build(&self) -> Build<K>;
    }

    /// An index without entries.
    #[expect(unnameable_types, reason = "part of a sealed trait")]
    pub struct Build<K>(pub(crate) std::sync::Arc<dyn Postings<K>>);

    impl<K> std::fmt::Debug for Build<K> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Build").finish_non_exhaustive()
        }
    }

    impl std::fmt::Debug for Found<'_> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_tuple("Found")
                .field(&self.0.map_or(0, SlotSet::len))
                .finish()
        }
    }

    #[expect(unnameable_types, reason = "seals the public trait of the same name")]
    pub trait Lookup<K, Q: ?Sized> {
        /// `None` if the snapshot is without this index.
        #[doc(hidden)]
        fn look_up<'a>(&self, snapshot: &'a Snapshot<K>, value: &Q) -> Option<Found<'a>>;
        #[doc(hidden)]
        fn has(&self, object: &K, value: &Q) -> bool;
    }

    /// Where the objects are.
    #[expect(unnameable_types, reason = "part of a sealed trait")]
    pub struct Found<'a>(pub(crate) Option<&'a SlotSet>);
}

impl<K: Send + Sync + 'static, V: Hash + Eq + Clone + Send + Sync + 'static> Index<K, V> {
    pub(crate) fn table<'a>(&self, snapshot: &'a Snapshot<K>) -> Option<&'a ValueTable<V>> {
        let postings = snapshot.state().index(self.definition.id)?;
        let typed = postings
            .as_any()
            .downcast_ref::<TypedPostings<K, V, ValueTable<V>>>();
        typed.map(TypedPostings::table)
    }
}

macro_rules! handle {
    ($handle:ident, $table:ident, $($bound:ident)+) => {
        impl<K, V> sealed::Handle<K> for $handle<K, V>
        where
            K: Send + Sync + 'static,
            V: $($bound +)+ Clone + Send + Sync + 'static,
        {
            fn id(&self) -> u64 {
                self.definition.id
            }

            fn build(&self) -> sealed::Build<K> {
                let definition = Arc::clone(&self.definition);
                sealed::Build(Arc::new(TypedPostings::<K, V, $table<V>>::new(definition)))
            }
        }

        impl<K, V> IndexHandle<K> for $handle<K, V>
        where
            K: Send + Sync + 'static,
            V: $($bound +)+ Clone + Send + Sync + 'static,
        {
            fn name(&self) -> &str {
                &self.definition.name
            }
        }

        impl<K, V, Q> sealed::Lookup<K, Q> for $handle<K, V>
        where
            K: Send + Sync + 'static,
            V: Borrow<Q> + $($bound +)+ Clone + Send + Sync + 'static,
            Q: $($bound +)+ ?Sized,
        {
            fn look_up<'a>(&self, snapshot: &'a Snapshot<K>, value: &Q) -> Option<sealed::Found<'a>> {
                Some(sealed::Found(self.table(snapshot)?.find(value)))
            }

            fn has(&self, object: &K, value: &Q) -> bool {
                self.definition.has(object, |held| held.borrow() == value)
            }
        }

        impl<K, V> From<Definition<K, V>> for $handle<K, V> {
            fn from(definition: Definition<K, V>) -> Self {
                Self { definition: Arc::new(definition) }
            }
        }

        impl<K, V> Clone for $handle<K, V> {
            fn clone(&self) -> Self {
                Self { definition: Arc::clone(&self.definition) }
            }
        }

        impl<K, V> fmt::Debug for $handle<K, V> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($handle))
                    .field("name", &self.definition.name)
                    .finish_non_exhaustive()
            }
        }
    };
}

handle!(Index, ValueTable, Hash Eq);
handle!(OrderedIndex, OrderedTable, Ord);
