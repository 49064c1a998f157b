//! The line of waiting deltas: a slab of nodes linked in order, with a table from key to node where deltas are
//! grouped per key.

use std::{mem, sync::Arc};

use hashbrown::HashTable;
use informer_store::{Cause, Delta, Entry, ObjectKey, Stamped, Tombstone};
use slab::Slab;

/// One waiting delta.
pub(super) struct Node<K> {
    pub(super) key: ObjectKey,
    pub(super) item: Item<K>,
    /// The number of the oldest delta merged into this one. The head of a group never passes a smaller one than
    /// the next group's, so the front of the line tells how old the oldest waiting delta can be.
    pub(super) first: u64,
    /// The number of the newest delta merged into this one.
    pub(super) last: u64,
    /// The next in line; only meaningful for the head of a group.
    next: u32,
    /// The next delta of the same key.
    more: u32,
    /// The newest delta of the same key; only meaningful for the head of a group.
    tail: u32,
}

/// A delta without its key.
pub(super) enum Item<K> {
    Live {
        verb: Verb,
        cause: Cause,
        object: Stamped<K>,
    },
    Dead(Box<Tombstone<K>>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Added,
    Updated,
    /// A redelivery of what is known already.
    Sync,
    /// Of a list that is dealt out: what the server has, whatever waits. Leaves as a `Sync`.
    Listed,
    /// The same, of a list whose history went back behind what waits.
    TakenBack,
}

impl Verb {
    /// Whether it leaves as a `Sync`.
    pub(super) fn is_sync(self) -> bool {
        matches!(self, Self::Sync | Self::Listed | Self::TakenBack)
    }
}

/// No node.
const NIL: u32 = u32::MAX;

pub(super) struct Line<K> {
    nodes: Slab<Node<K>>,
    /// Heads of groups by key; empty where deltas are not grouped.
    heads: HashTable<u32>,
    front: u32,
    back: u32,
    grouped: bool,
}

impl<K> Line<K> {
    pub(super) fn new(grouped: bool) -> Self {
        Self {
            nodes: Slab::new(),
            heads: HashTable::new(),
            front: NIL,
            back: NIL,
            grouped,
        }
    }

    /// Puts a delta at the end: of the group `head` if its key waits already, else of the line.
    pub(super) fn append(&mut self, head: Option<u32>, mut node: Node<K>) {
        (node.next, node.more, node.tail) = (NIL, NIL, NIL);
        let hash = node.key.precomputed_hash();
        let index = u32::try_from(self.nodes.insert(node)).expect("fewer than 2^32 deltas wait");
        if let Some(head) = head {
            let tail = mem::replace(&mut self.at_mut(head).tail, index);
            self.at_mut(tail).more = index;
            return;
        }
        self.at_mut(index).tail = index;
        if self.back == NIL {
            self.front = index;
        } else {
            let back = self.back;
            self.at_mut(back).next = index;
        }
        self.back = index;
        if self.grouped {
            let Self { heads, nodes, .. } = self;
            heads.insert_unique(hash, index, |index| nodes[*index as usize].key.precomputed_hash());
        }
    }

    /// Takes the oldest delta of the first key.
    pub(super) fn pop(&mut self) -> Option<Node<K>> {
        let index = (self.front != NIL).then_some(self.front)?;
        let node = self.nodes.remove(index as usize);
        if node.more == NIL {
            self.front = node.next;
            if self.front == NIL {
                self.back = NIL;
            }
            if self.grouped {
                let slot = self
                    .heads
                    .find_entry(node.key.precomputed_hash(), |head| *head == index);
                if let Ok(slot) = slot {
                    slot.remove();
                }
            }
            return Some(node);
        }
        // The next delta of the key takes the place of its head, age included: the front of the line must not look
        // younger than a delta that waits behind it.
        let head = node.more;
        if self.back == index {
            self.back = head;
        }
        self.front = head;
        let successor = &mut self.nodes[head as usize];
        successor.next = node.next;
        successor.tail = node.tail;
        successor.first = node.first;
        if self.grouped {
            let slot = self
                .heads
                .find_mut(node.key.precomputed_hash(), |head| *head == index);
            *slot.expect("the head of a group is in the table") = head;
        }
        Some(node)
    }

    /// Hands every delta to `take` in order and leaves the line empty, its memory kept.
    pub(super) fn drain(&mut self, mut take: impl FnMut(Node<K>)) {
        self.heads.clear();
        let mut head = mem::replace(&mut self.front, NIL);
        self.back = NIL;
        while head != NIL {
            let node = self.nodes.remove(head as usize);
            let (next, mut more) = (node.next, node.more);
            take(node);
            while more != NIL {
                let node = self.nodes.remove(more as usize);
                more = node.more;
                take(node);
            }
            head = next;
        }
        // Restarts the slab at its first slot, so that the next burst is laid out in order again.
        self.nodes.clear();
    }

    /// Gives back memory beyond what `deltas` need; only where the line is empty.
    pub(super) fn shrink_to(&mut self, deltas: usize) {
        if self.is_empty() && self.nodes.capacity() > deltas {
            self.nodes = Slab::new();
            self.heads = HashTable::new();
        }
    }

    /// From now on a key waits once. The line must be empty.
    pub(super) fn set_grouped(&mut self, grouped: bool) {
        debug_assert!(self.is_empty(), "only an empty line changes its discipline");
        self.grouped = grouped;
    }

    pub(super) fn find(&self, key: &ObjectKey) -> Option<u32> {
        let matches = |index: &u32| self.nodes[*index as usize].key == *key;
        self.heads.find(key.precomputed_hash(), matches).copied()
    }

    /// The newest delta of the group whose head is `head`.
    pub(super) fn tail_mut(&mut self, head: u32) -> &mut Node<K> {
        let tail = self.at(head).tail;
        self.at_mut(tail)
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.front == NIL
    }

    pub(super) fn grouped(&self) -> bool {
        self.grouped
    }

    /// A number no greater than that of any waiting delta; `None` where none waits.
    pub(super) fn oldest(&self) -> Option<u64> {
        (self.front != NIL).then(|| self.at(self.front).first)
    }

    /// Every waiting delta, in the order in which it would be popped.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Node<K>> {
        let (mut next, mut more) = (self.front, NIL);
        std::iter::from_fn(move || {
            let index = if more == NIL { next } else { more };
            if index == NIL {
                return None;
            }
            let node = self.at(index);
            if more == NIL {
                next = node.next;
            }
            more = node.more;
            Some(node)
        })
    }

    fn at(&self, index: u32) -> &Node<K> {
        &self.nodes[index as usize]
    }

    fn at_mut(&mut self, index: u32) -> &mut Node<K> {
        &mut self.nodes[index as usize]
    }
}

impl<K> Node<K> {
    /// A node that is in no line.
    pub(super) fn new(key: ObjectKey, item: Item<K>, number: u64) -> Self {
        Self {
            key,
            item,
            first: number,
            last: number,
            next: NIL,
            more: NIL,
            tail: NIL,
        }
    }

    pub(super) fn into_delta(self) -> Delta<K> {
        match self.item {
            Item::Live { verb, cause, object } => {
                let key = self.key;
                let entry = Entry { key, object, cause };
                match verb {
                    Verb::Added => Delta::Added(entry),
                    Verb::Updated => Delta::Updated(entry),
                    Verb::Sync | Verb::Listed | Verb::TakenBack => Delta::Sync(entry),
                }
            }
            Item::Dead(tombstone) => Delta::Deleted(*tombstone),
        }
    }
}

impl<K> Item<K> {
    /// Whether it is no step of the history: what it tells is past, or of a list.
    pub(super) fn is_sync(&self) -> bool {
        matches!(self, Self::Live { verb, .. } if verb.is_sync())
    }

    /// The version it brings, if it is a number.
    pub(super) fn version(&self) -> Option<u64> {
        match self {
            Self::Live { object, .. } => object.stamp().version(),
            Self::Dead(_) => None,
        }
    }

    pub(super) fn object(&self) -> Option<&Arc<K>> {
        match self {
            Self::Live { object, .. } => Some(object),
            Self::Dead(_) => None,
        }
    }
}
