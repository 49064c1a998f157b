//! Which slots hold which value, as part of a state.

use std::{
    any::Any,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use smallvec::SmallVec;

use super::Definition;
use crate::persist::SlotSet;

/// A change to one index, computed before anything is touched.
pub(crate) type Edit = Box<dyn Any + Send>;

/// An index whatever the type of its values. Cloned with the state, in O(1).
pub(crate) trait Postings<K>: Send + Sync {
    fn id(&self) -> u64;
    fn name(&self) -> &str;
    /// The label whose values these are, if that is what they are.
    fn label(&self) -> Option<&str>;
    fn fork(&self) -> Arc<dyn Postings<K>>;
    /// What changes when `slot` goes from `old` to `new`; `None` if nothing does.
    fn edit(&self, slot: u32, old: Option<&K>, new: Option<&K>) -> Option<Edit>;
    fn commit(&mut self, slot: u32, edit: Edit);
    fn quarantined(&self) -> &SlotSet;
    /// Number of values, of (value, slot) pairs, and bytes of heap.
    fn size(&self) -> (usize, usize, usize);
    fn as_any(&self) -> &dyn Any;
}

type Values<V> = SmallVec<[V; 2]>;

/// Up to so many values of one object are compared each with each.
const FEW: usize = 16;

struct ValueEdit<V> {
    gone: Values<V>,
    come: Values<V>,
    /// Whether the slot must be searched for in all values.
    purge: bool,
    quarantine: bool,
}

/// Value → slots, whatever the way values are found.
pub(crate) trait Table<V>: Clone + Default + Send + Sync + 'static {
    /// For objects with many values: whoever may create objects must not make writers compare each with each.
    type Set: FromIterator<V> + IntoIterator<Item = V>;
    /// Takes a value out; whether it was there.
    fn take(set: &mut Self::Set, value: &V) -> bool;
    fn insert(&mut self, value: V, slot: u32);
    fn remove(&mut self, value: &V, slot: u32);
    /// Removes `slot` wherever it is.
    fn purge(&mut self, slot: u32);
    /// Number of values, of (value, slot) pairs, and bytes of heap.
    fn size(&self) -> (usize, usize, usize);
}

/// An index whose values are of one type.
pub(crate) struct TypedPostings<K, V, T> {
    definition: Arc<Definition<K, V>>,
    table: T,
    quarantined: SlotSet,
}

impl<K, V: Eq, T: Table<V>> TypedPostings<K, V, T> {
    pub(crate) fn new(definition: Arc<Definition<K, V>>) -> Self {
        Self {
            definition,
            table: T::default(),
            quarantined: SlotSet::default(),
        }
    }

    pub(crate) fn table(&self) -> &T {
        &self.table
    }

    /// The values of an object, or `None` if the function panicked.
    pub(super) fn values(&self, object: Option<&K>) -> Option<Values<V>> {
        let mut values = Values::new();
        let Some(object) = object else {
            return Some(values);
        };
        // Unwind safe: the function sees only the object, which nobody can change, and a list that is dropped.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            (self.definition.extract)(object, &mut |value| {
                if values.len() > FEW || !values.contains(&value) {
                    values.push(value);
                }
            });
            if values.len() > FEW {
                let each_once: T::Set = values.drain(..).collect();
                values.extend(each_once);
            }
        }));
        outcome.ok().map(|()| values)
    }
}

impl<K, V, T> Postings<K> for TypedPostings<K, V, T>
where
    K: Send + Sync + 'static,
    V: Eq + Send + Sync + 'static,
    T: Table<V>,
{
    fn id(&self) -> u64 {
        self.definition.id
    }

    fn name(&self) -> &str {
        &self.definition.name
    }

    fn label(&self) -> Option<&str> {
        self.definition.label.as_deref()
    }

    fn fork(&self) -> Arc<dyn Postings<K>> {
        Arc::new(Self {
            definition: Arc::clone(&self.definition),
            table: self.table.clone(),
            quarantined: self.quarantined.clone(),
        })
    }

    fn edit(&self, slot: u32, old: Option<&K>, new: Option<&K>) -> Option<Edit> {
        let was_quarantined = self.quarantined.contains(slot);
        let old = if was_quarantined { None } else { old };
        let gone = self.values(old);
        // A function that gives other answers than it gave leaves it to us to find what it said.
        let purge = gone.is_none();
        let mut gone = gone.unwrap_or_default();
        let come = self.values(new);
        let quarantine = come.is_none();
        let mut come = come.unwrap_or_default();
        if gone.len().min(come.len()) > FEW {
            let mut new: T::Set = come.drain(..).collect();
            gone.retain(|value| !T::take(&mut new, value));
            come.extend(new);
        } else {
            gone.retain(|value| {
                let stays = come.iter().position(|new| new == value);
                if let Some(at) = stays {
                    come.swap_remove(at);
                }
                stays.is_none()
            });
        }
        if gone.is_empty() && come.is_empty() && !purge && quarantine == was_quarantined {
            return None;
        }
        Some(Box::new(ValueEdit {
            gone,
            come,
            purge,
            quarantine,
        }))
    }

    fn commit(&mut self, slot: u32, edit: Edit) {
        let Ok(edit) = edit.downcast::<ValueEdit<V>>() else {
            unreachable!("an edit is committed to the index that made it");
        };
        if edit.purge {
            self.table.purge(slot);
        }
        for value in &edit.gone {
            self.table.remove(value, slot);
        }
        for value in edit.come {
            self.table.insert(value, slot);
        }
        if edit.quarantine {
            self.quarantined.insert(slot);
        } else if !self.quarantined.is_empty() {
            self.quarantined.remove(slot);
        }
    }

    fn quarantined(&self) -> &SlotSet {
        &self.quarantined
    }

    fn size(&self) -> (usize, usize, usize) {
        self.table.size()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
