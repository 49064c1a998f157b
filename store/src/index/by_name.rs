//! Lookups by an index's name, for values that are text.

use std::sync::Arc;

use super::{Definition, Index, IndexHandle, OrderedTable, Postings, TypedPostings, ValueTable, sealed};
use crate::{TextValues, persist::SlotSet};

type Hashed<K> = TypedPostings<K, String, ValueTable<String>>;
type Ordered<K> = TypedPostings<K, String, OrderedTable<String>>;

/// The slots of `value`; the outer `None` if the values are not text.
pub(crate) fn find_text<'a, K: 'static>(
    postings: &'a dyn Postings<K>,
    value: &str,
) -> Option<Option<&'a SlotSet>> {
    let any = postings.as_any();
    if let Some(hashed) = any.downcast_ref::<Hashed<K>>() {
        return Some(hashed.table().find(value));
    }
    Some(any.downcast_ref::<Ordered<K>>()?.table().find(value))
}

/// Every value, unsorted; `None` if the values are not text.
pub(crate) fn values_text<K: 'static>(postings: &dyn Postings<K>) -> Option<Vec<String>> {
    let any = postings.as_any();
    if let Some(hashed) = any.downcast_ref::<Hashed<K>>() {
        return Some(hashed.table().iter().map(|bucket| bucket.value.clone()).collect());
    }
    let ordered = any.downcast_ref::<Ordered<K>>()?;
    Some(ordered.table().iter().map(|(value, _)| value.clone()).collect())
}

/// The values of an object; `None` if they are not text, or the function panicked.
pub(crate) fn text_of<K: 'static>(postings: &dyn Postings<K>, object: &K) -> Option<Vec<String>> {
    let any = postings.as_any();
    if let Some(hashed) = any.downcast_ref::<Hashed<K>>() {
        return hashed.values(Some(object)).map(|values| values.into_vec());
    }
    let ordered = any.downcast_ref::<Ordered<K>>()?;
    ordered.values(Some(object)).map(|values| values.into_vec())
}

/// An index made from a boxed function, by [`Indexer::add_index`](crate::Indexer::add_index).
pub(crate) struct ByName<K>(pub(crate) Index<K, String>);

impl<K: Send + Sync + 'static> ByName<K> {
    pub(crate) fn new(name: &str, values: TextValues<K>) -> Self {
        Self(Index {
            definition: Arc::new(Definition::from_values(name, values)),
        })
    }

    pub(crate) fn build(&self) -> sealed::Build<K> {
        sealed::Handle::build(&self.0)
    }

    pub(crate) fn name(&self) -> &str {
        IndexHandle::name(&self.0)
    }
}
