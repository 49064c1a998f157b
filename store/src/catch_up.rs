//! [`CatchUp`]: the changes that lead from one state to a later one, however far apart.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    Cause, Change, ObjectKey,
    slots::{DifferingSlots, Held, Slots},
    state::State,
};

/// Tells the newest state of each key that differs, with what it was before: deletions first, in key order, then the
/// rest in slot order.
pub(crate) struct CatchUp<K> {
    /// What was seen last; `None` for nothing at all.
    from: Option<Arc<State<K>>>,
    to: Arc<State<K>>,
    delete_then_add: bool,
    /// Slots of `from` whose objects are gone, last first; found in the first step.
    gone: Option<Vec<u32>>,
    differing: DifferingSlots,
    empty: Slots<K>,
}

impl<K> CatchUp<K> {
    pub(crate) fn new(from: Option<Arc<State<K>>>, to: Arc<State<K>>, delete_then_add: bool) -> Self {
        Self {
            from,
            to,
            delete_then_add,
            gone: None,
            differing: DifferingSlots::default(),
            empty: Slots::default(),
        }
    }

    /// What was seen before, if anything.
    pub(crate) fn origin(&self) -> Option<&Arc<State<K>>> {
        self.from.as_ref()
    }

    pub(crate) fn target(&self) -> &Arc<State<K>> {
        &self.to
    }

    /// Whether `old` was followed by another object of its name rather than by a change of itself.
    fn is_other(&self, old: Held<'_, K>, new: Held<'_, K>) -> bool {
        self.delete_then_add && old.stamp.is_other_uid(new.stamp)
    }

    fn find_gone(&self, from: &State<K>) -> Vec<u32> {
        let mut differing = DifferingSlots::default();
        let mut gone: Vec<(&ObjectKey, u32)> = Vec::new();
        while let Some(at) = differing.next(self.to.slots(), from.slots()) {
            let Some(old) = from.slot(at) else {
                continue;
            };
            // The key may live on in another slot.
            if self
                .to
                .find(old.key)
                .is_none_or(|(_, new)| self.is_other(old, new))
            {
                gone.push((old.key, at));
            }
        }
        gone.sort_unstable_by(|a, b| b.cmp(a));
        gone.into_iter().map(|(_, slot)| slot).collect()
    }

    pub(crate) fn next(&mut self) -> Option<Change<K>> {
        if self.gone.is_none() {
            let gone = self.from.as_deref().map(|from| self.find_gone(from));
            self.gone = Some(gone.unwrap_or_default());
        }
        if let (Some(slot), Some(from)) = (self.gone.as_mut().and_then(Vec::pop), &self.from) {
            let held = from.slot(slot).expect("what is gone was held");
            return Some(Change::deleted(
                held.key.clone(),
                Arc::clone(held.object),
                true,
                Cause::Live,
            ));
        }
        let initial = self.from.as_deref().is_none_or(|from| !from.synced);
        loop {
            let before = self.from.as_deref().map_or(&self.empty, State::slots);
            let at = self.differing.next(self.to.slots(), before)?;
            let Some(new) = self.to.slot(at) else {
                continue;
            };
            let old = self.from.as_deref().and_then(|from| from.find(new.key));
            let (key, object) = (new.key.clone(), Arc::clone(new.object));
            match old {
                Some((_, old)) if Arc::ptr_eq(old.object, &object) => {}
                Some((_, old)) if !self.is_other(old, new) => {
                    return Some(Change::updated(key, Arc::clone(old.object), object, Cause::Live));
                }
                _ => return Some(Change::added(key, object, initial, Cause::Live)),
            }
        }
    }
}

impl<K> std::fmt::Debug for CatchUp<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CatchUp").finish_non_exhaustive()
    }
}

/// Changes taken from the log, on their way out.
pub(crate) type Backlog<K> = VecDeque<crate::log::BlockRef<K>>;
