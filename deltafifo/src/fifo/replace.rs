//! A replacement that travels as one delta: what it makes void, and what it must carry on.

use std::mem;

use informer_store::{Entry, Object, ObjectKey, Replacement};

use super::{
    DeltaFifo, Initial, KeyMap, Line, Spent, SpentInner,
    line::{Item, Node},
};

impl<K: Object> DeltaFifo<K> {
    pub(super) fn replace(&mut self, mut replacement: Replacement<K>) -> Spent<K> {
        self.stats.replaced += 1;
        if self.known.is_some() {
            return self.classic_replace(replacement);
        }
        self.carry_kept(&mut replacement);
        // The history stays rewound for a consumer that never saw the replacement which said so.
        replacement.rewound |= self.replaced.as_ref().is_some_and(|void| void.rewound);
        self.stats.replaced_void += u64::from(self.replaced.is_some());
        self.stats.swallowed += self.line.len() as u64;
        self.stats.depth = 0;
        self.number += 1;
        if self.initial == Initial::Missing {
            self.initial = Initial::Waiting(self.number);
        }
        self.bookmark = None;
        let line = Line::new(self.config.discipline != crate::Discipline::Ordered);
        let line = mem::replace(&mut self.line, line);
        Spent(SpentInner::All(self.replaced.replace(replacement), line))
    }

    /// A key the server listed but nobody could decode keeps what is held of it. If something of it waits here, that
    /// is what would be held by now: it goes along as an entry, or, if it was a deletion, the key goes.
    fn carry_kept(&mut self, replacement: &mut Replacement<K>) {
        if replacement.kept.is_empty() || (self.line.is_empty() && self.replaced.is_none()) {
            return;
        }
        let waiting = self.newest_by_key();
        let void = self.replaced.as_ref().map(|void| {
            let kept = void.kept.iter().map(|key| (key, None));
            let entries = void.entries.iter().map(|entry| (&entry.key, Some(entry)));
            kept.chain(entries).collect::<KeyMap<_, _>>()
        });
        let mut carried = Vec::new();
        replacement.kept.retain(|key| {
            if let Some(node) = waiting.get(key) {
                if let Item::Live { cause, object, .. } = &node.item {
                    carried.push(Entry::with_key(key.clone(), object.clone()).cause(*cause));
                }
                return false;
            }
            match void.as_ref().map(|void| void.get(key)) {
                // Nothing waits of it, or a waiting replacement keeps it too.
                None | Some(Some(None)) => true,
                Some(Some(Some(entry))) => {
                    carried.push(Entry::clone(entry));
                    false
                }
                // A waiting replacement removes it.
                Some(None) => false,
            }
        });
        replacement.entries.append(&mut carried);
    }

    /// The newest waiting delta of each key.
    pub(super) fn newest_by_key(&self) -> KeyMap<&ObjectKey, &Node<K>> {
        self.line.iter().map(|node| (&node.key, node)).collect()
    }
}
