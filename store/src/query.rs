//! [`Query`]: several conditions at once.

use std::{borrow::Borrow, fmt, ops::RangeBounds, sync::Arc};

use kube_core::{Expression, Selector};

use crate::{
    Lookup, Object, OrderedIndex, Snapshot,
    index::find_text,
    persist::{SlotSet, SlotSetIter},
    slots::Held,
};

/// A question to a [`Snapshot`] that combines several conditions; an object must meet all of them.
///
/// The condition with the fewest candidates among those an index can answer is walked, the others are checked for
/// each candidate; without such a condition every object is visited.
///
/// # Examples
/// ```
/// use informer_store::{Cache, Index};
/// use k8s_openapi::api::core::v1::Pod;
/// use kube_core::{Expression, Selector};
///
/// let by_app = Index::by_label("app");
/// let cache = Cache::<Pod>::builder().index(&by_app).build();
/// let selector = Selector::from_iter([
///     Expression::Equal("app".into(), "web".into()),
///     Expression::DoesNotExist("canary".into()),
/// ]);
/// let snapshot = cache.snapshot();
/// // `app` is answered from the index, `canary` is checked on what is left.
/// assert_eq!(snapshot.query().namespace("shop").labels(&selector).count(), 0);
/// ```
#[must_use = "a query does nothing until it is iterated"]
pub struct Query<'a, K> {
    snapshot: &'a Snapshot<K>,
    sets: Vec<Candidates<'a>>,
    checks: Vec<Box<Check<'a, K>>>,
}

type Check<'a, K> = dyn Fn(Held<'_, K>) -> bool + 'a;

/// Slots that an index proposes.
enum Candidates<'a> {
    None,
    Set(&'a SlotSet),
    /// Of several values, sorted and each once.
    Merged(Vec<u32>),
}

impl<'a> Candidates<'a> {
    fn of(set: Option<&'a SlotSet>) -> Self {
        set.map_or(Self::None, Self::Set)
    }

    fn merged(sets: impl Iterator<Item = &'a SlotSet>) -> Self {
        let mut slots: Vec<u32> = sets.flat_map(SlotSet::iter).collect();
        slots.sort_unstable();
        slots.dedup();
        Self::Merged(slots)
    }

    fn len(&self) -> usize {
        match self {
            Self::None => 0,
            Self::Set(set) => set.len(),
            Self::Merged(slots) => slots.len(),
        }
    }

    fn contains(&self, slot: u32) -> bool {
        match self {
            Self::None => false,
            Self::Set(set) => set.contains(slot),
            Self::Merged(slots) => slots.binary_search(&slot).is_ok(),
        }
    }
}

impl<'a, K: Object> Query<'a, K> {
    pub(crate) fn new(snapshot: &'a Snapshot<K>) -> Self {
        Self {
            snapshot,
            sets: Vec::new(),
            checks: Vec::new(),
        }
    }

    /// Of this namespace.
    pub fn namespace(mut self, namespace: &str) -> Self {
        let set = self.snapshot.state().namespace(namespace);
        self.sets.push(Candidates::of(set));
        self
    }

    /// With `value` in `index`.
    pub fn by<Q: ?Sized>(mut self, index: &'a impl Lookup<K, Q>, value: &'a Q) -> Self {
        match index.look_up(self.snapshot, value) {
            Some(found) => self.sets.push(Candidates::of(found.0)),
            None => self
                .checks
                .push(Box::new(move |held| index.has(held.object, value))),
        }
        self
    }

    /// With a value within `range` in `index`.
    pub fn range<V, Q, R>(mut self, index: &'a OrderedIndex<K, V>, range: R) -> Self
    where
        V: Borrow<Q> + Ord + Clone + Send + Sync + 'static,
        Q: Ord + ?Sized + 'a,
        R: RangeBounds<Q> + 'a,
    {
        if index.table(self.snapshot).is_some() {
            let sets = self.snapshot.range_of(index, range).map(|(_, slots)| slots);
            self.sets.push(Candidates::merged(sets));
        } else {
            let is_within = move |held: Held<'_, K>| {
                let definition = &index.definition;
                definition.has(held.object, |value| range.contains(value.borrow()))
            };
            self.checks.push(Box::new(is_within));
        }
        self
    }

    /// With labels that match `selector`. Requirements that a label has some value are answered from an index made
    /// with [`Index::by_label`](crate::Index::by_label), where there is one of that label.
    pub fn labels(mut self, selector: &Selector) -> Self {
        for expression in selector.clone() {
            match self.candidates(&expression) {
                Some(candidates) => self.sets.push(candidates),
                None => self
                    .checks
                    .push(Box::new(move |held| label_matches(&**held.object, &expression))),
            }
        }
        self
    }

    /// What the index of a label has to say on a requirement; `None` if there is no such index, or it cannot tell.
    fn candidates(&self, expression: &Expression) -> Option<Candidates<'a>> {
        let (label, values) = match expression {
            Expression::Equal(label, value) => {
                (label, std::slice::from_ref(value).iter().collect::<Vec<_>>())
            }
            Expression::In(label, values) => (label, values.iter().collect()),
            _ => return None,
        };
        let indexes = self.snapshot.state().indexes();
        let index = indexes.iter().find(|index| index.label() == Some(label))?;
        // Objects on which a function panicked are in no set; that of labels never does.
        if let [value] = values[..] {
            return Some(Candidates::of(find_text(&**index, value)?));
        }
        let sets = values
            .into_iter()
            .filter_map(|value| find_text(&**index, value).flatten());
        Some(Candidates::merged(sets))
    }

    /// For which `check` is true.
    pub fn filter(mut self, check: impl Fn(&K) -> bool + 'a) -> Self {
        self.checks.push(Box::new(move |held| check(held.object)));
        self
    }

    /// How many objects there are.
    #[must_use]
    pub fn count(self) -> usize {
        self.into_iter().count()
    }

    /// The objects, in slot order.
    #[must_use]
    pub fn to_vec(self) -> Vec<Arc<K>> {
        self.into_iter().cloned().collect()
    }
}

impl<'a, K: Object> IntoIterator for Query<'a, K> {
    type Item = &'a Arc<K>;
    type IntoIter = QueryIter<'a, K>;

    /// The objects, in slot order. Lazy.
    fn into_iter(mut self) -> QueryIter<'a, K> {
        let snapshot = self.snapshot;
        let fewest = (0..self.sets.len()).min_by_key(|at| self.sets[*at].len());
        let slots = match fewest.map(|at| self.sets.swap_remove(at)) {
            None => Slots::All(0..snapshot.state().slot_count()),
            Some(Candidates::None) => Slots::All(0..0),
            Some(Candidates::Set(set)) => Slots::Set(set.iter()),
            Some(Candidates::Merged(slots)) => Slots::Merged(slots.into_iter()),
        };
        QueryIter {
            snapshot,
            slots,
            sets: self.sets,
            checks: self.checks,
        }
    }
}

/// The objects that meet the conditions of a [`Query`], in slot order.
pub struct QueryIter<'a, K> {
    snapshot: &'a Snapshot<K>,
    slots: Slots<'a>,
    sets: Vec<Candidates<'a>>,
    checks: Vec<Box<Check<'a, K>>>,
}

enum Slots<'a> {
    All(std::ops::Range<u32>),
    Set(SlotSetIter<'a>),
    Merged(std::vec::IntoIter<u32>),
}

impl<'a, K> Iterator for QueryIter<'a, K> {
    type Item = &'a Arc<K>;

    fn next(&mut self) -> Option<&'a Arc<K>> {
        loop {
            let slot = match &mut self.slots {
                Slots::All(slots) => slots.next(),
                Slots::Set(slots) => slots.next(),
                Slots::Merged(slots) => slots.next(),
            }?;
            let Some(held) = self.snapshot.state().slot(slot) else {
                continue;
            };
            if self.sets.iter().all(|set| set.contains(slot)) && self.checks.iter().all(|check| check(held)) {
                return Some(held.object);
            }
        }
    }
}

/// Whether the object's labels meet a requirement.
pub(crate) fn label_matches<K: Object>(object: &K, expression: &Expression) -> bool {
    match expression {
        Expression::In(label, values) => object.label(label).is_some_and(|value| values.contains(value)),
        Expression::NotIn(label, values) => object.label(label).is_none_or(|value| !values.contains(value)),
        Expression::Equal(label, value) => object.label(label) == Some(value),
        Expression::NotEqual(label, value) => object.label(label) != Some(value),
        Expression::Exists(label) => object.label(label).is_some(),
        Expression::DoesNotExist(label) => object.label(label).is_none(),
    }
}

impl<K> fmt::Debug for Query<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("indexed", &self.sets.len())
            .field("checked", &self.checks.len())
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for QueryIter<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryIter").finish_non_exhaustive()
    }
}
