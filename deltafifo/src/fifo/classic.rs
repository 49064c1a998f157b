//! The classic mode: replacements and resyncs become deltas of single objects, by looking at what the consumer
//! holds.

use std::sync::Arc;

use informer_store::{Cause, Object, ObjectKey, Replacement, ResourceVersion, ResyncPart, Tombstone};

use super::{
    DeltaFifo, Initial, KeyMap, Spent, SpentInner,
    line::{Item, Verb},
};
use crate::Discipline;

/// What would be held of a key if all that is on its way had been applied.
enum Fate<K> {
    /// An object, or at least its key.
    Held(Option<Arc<K>>),
    Gone,
}

impl<K: Object> DeltaFifo<K> {
    /// Deletions first, in key order, then the list in its own order.
    pub(super) fn classic_replace(&mut self, replacement: Replacement<K>) -> Spent<K> {
        let listed: KeyMap<&ObjectKey, ()> = replacement
            .entries
            .iter()
            .map(|entry| &entry.key)
            .chain(&replacement.kept)
            .map(|key| (key, ()))
            .collect();
        let mut gone: Vec<(ObjectKey, Option<Arc<K>>)> = self
            .fates()
            .into_iter()
            .filter(|(key, _)| !listed.contains_key(key))
            .filter_map(|(key, fate)| match fate {
                Fate::Held(object) => Some((key, object)),
                Fate::Gone => None,
            })
            .collect();
        gone.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        drop(listed);
        for (key, object) in gone {
            let tombstone = Tombstone {
                uid: object.as_ref().and_then(|object| object.uid()).map(Into::into),
                version: ResourceVersion::UNSET,
                object,
                cause: replacement.cause,
                ..Tombstone::of(key.clone())
            };
            self.take_anyway(key, Item::Dead(Box::new(tombstone)));
        }
        let verb = if replacement.rewound {
            Verb::TakenBack
        } else {
            Verb::Listed
        };
        for entry in replacement.entries {
            self.take_anyway(entry.key, Item::live(verb, replacement.cause, entry.object));
        }
        self.mark(replacement.version, replacement.rewound);
        if self.initial == Initial::Missing {
            self.initial = Initial::Waiting(self.number);
        }
        Spent(SpentInner::Nothing)
    }

    /// One `Sync` for each known object of this part of which nothing waits.
    pub(super) fn classic_resync(&mut self, part: ResyncPart) {
        let Some(known) = &self.known else { return };
        let waiting = self.newest_by_key();
        let due: Vec<_> = known
            .objects
            .keys()
            .into_iter()
            .filter(|key| key.precomputed_hash() % u64::from(part.of.max(1)) == u64::from(part.part))
            .filter(|key| !waiting.contains_key(key))
            .filter(|key| !known.in_flight.iter().any(|(handed, _)| handed == key))
            .filter_map(|key| known.objects.get(&key).map(|object| (key, object)))
            .collect();
        drop(waiting);
        for (key, object) in due {
            self.take_anyway(key, Item::live(Verb::Sync, Cause::Resync, object.into()));
        }
    }

    /// Whether a deletion of `key` concerns nobody.
    pub(super) fn is_unknown(&self, key: &ObjectKey) -> bool {
        let Some(known) = &self.known else { return false };
        self.config.discipline != Discipline::Ordered
            && self.line.find(key).is_none()
            && !known.in_flight.iter().any(|(handed, _)| handed == key)
            && !known.objects.contains(key)
    }

    /// What every key known, handed out or waiting comes to.
    fn fates(&self) -> KeyMap<ObjectKey, Fate<K>> {
        let mut fates = KeyMap::default();
        let Some(known) = &self.known else { return fates };
        for key in known.objects.keys() {
            let object = known.objects.get(&key);
            fates.insert(key, Fate::Held(object));
        }
        let handed = known.in_flight.iter().map(|(key, object)| (key, object.clone()));
        let waiting = self
            .line
            .iter()
            .map(|node| (&node.key, node.item.object().cloned()));
        for (key, object) in handed.chain(waiting) {
            let fate = object.map_or(Fate::Gone, |object| Fate::Held(Some(object)));
            fates.insert(key.clone(), fate);
        }
        fates
    }

    /// Takes a delta of which the queue is the author, so that nobody can be asked to wait.
    fn take_anyway(&mut self, key: ObjectKey, item: Item<K>) {
        let taken = self.take_within(usize::MAX, key, item);
        debug_assert!(taken.is_ok(), "there is no limit to exceed");
    }
}
