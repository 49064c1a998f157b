//! Indexes that come and go while the cache runs.

use std::sync::{Arc, atomic::Ordering};

use super::{Cache, Inner};
use crate::{
    IndexExists, IndexHandle, Object,
    index::{Postings, sealed::Build},
    slots::{DifferingSlots, Slots},
    state::State,
};

impl<K: Object> Cache<K> {
    /// Adds an index and fills it with what is held, on this thread, from snapshots: neither readers nor the writer
    /// wait for it, but for the few changes made meanwhile. Complete in every snapshot that has it.
    ///
    /// # Errors
    /// [`IndexExists`] if there is an index of that name.
    pub fn add_index(&self, index: &impl IndexHandle<K>) -> Result<(), IndexExists> {
        self.inner.add_index(index.name(), index.build())
    }

    /// Drops an index; false if the cache has it not. Snapshots that have it keep it.
    pub fn drop_index(&self, index: &impl IndexHandle<K>) -> bool {
        self.inner.drop_index(|held| held.id() == index.id())
    }
}

impl<K: Object> Inner<K> {
    pub(super) fn add_index(&self, name: &str, index: Build<K>) -> Result<(), IndexExists> {
        let taken = |state: &State<K>| {
            let mut names = state.indexes().iter().map(|index| index.name());
            names.any(|held| held == name) || name == "namespace"
        };
        let exists = || IndexExists(name.to_owned());
        let Build(mut postings) = index;
        let first = self.state.pin_in_order();
        if taken(&first) {
            return Err(exists());
        }
        // The bulk off the writer's path, then what changed meanwhile, then, with the writer halted, the rest.
        fill(&mut postings, None, &first);
        let second = self.state.pin_in_order();
        fill(&mut postings, Some(&first), &second);
        drop(first);
        let mut writing = self.state.begin();
        let last = self.state.pin_in_order();
        if taken(&last) {
            return Err(exists());
        }
        fill(&mut postings, Some(&second), &last);
        drop((second, last));
        writing.write_short(|state| {
            let mut indexes = state.indexes().to_vec();
            indexes.push(postings);
            state.set_indexes(indexes);
        });
        self.has_indexes.store(true, Ordering::Relaxed);
        drop(writing);
        Ok(())
    }

    pub(super) fn drop_index(&self, which: impl Fn(&dyn Postings<K>) -> bool) -> bool {
        let mut writing = self.state.begin();
        let dropped = writing.write_short(|state| {
            let at = state.indexes().iter().position(|index| which(&**index))?;
            let mut indexes = state.indexes().to_vec();
            let dropped = indexes.remove(at);
            state.set_indexes(indexes);
            Some(dropped)
        });
        drop(writing);
        dropped.is_some()
    }
}

/// Brings an index that is not shared yet from one state to another.
fn fill<K: Object>(postings: &mut Arc<dyn Postings<K>>, from: Option<&State<K>>, to: &State<K>) {
    let postings = Arc::get_mut(postings).expect("a new index has one owner");
    let empty = Slots::default();
    let before = from.map_or(&empty, State::slots);
    let mut differing = DifferingSlots::default();
    while let Some(slot) = differing.next(to.slots(), before) {
        let object = |slots: &Slots<K>| slots.get(slot).map(|held| Arc::clone(held.object));
        let (old, new) = (object(before), object(to.slots()));
        if let Some(edit) = postings.edit(slot, old.as_deref(), new.as_deref()) {
            postings.commit(slot, edit);
        }
    }
}
