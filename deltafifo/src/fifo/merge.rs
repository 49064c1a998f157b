//! How two deltas of one key become one.

use std::{cmp::Ordering, mem};

use informer_store::{Cause, Stamped, Tombstone};

use super::line::{Item, Line, Node, Verb};

pub(super) enum Merged<K> {
    /// The waiting delta now says both; what is no longer needed.
    Into(Item<K>),
    /// Both must be told.
    Apart(Item<K>),
}

/// Merges `item`, the newer, into the waiting `node`, if no life of an object gets lost by it; with `latest`, always.
pub(super) fn merge<K>(node: &mut Node<K>, item: Item<K>, number: u64, latest: bool) -> Merged<K> {
    let spent = match (&mut node.item, item) {
        // What waits is delivered anyway.
        (Item::Live { .. }, item) if item.is_sync() => return Merged::Into(item),
        (
            Item::Live { verb, cause, object },
            Item::Live {
                verb: newer_verb,
                cause: newer_cause,
                object: newer,
            },
        ) if latest || object.stamp().is_same_uid(newer.stamp()) => {
            // Versions of different uids say nothing of each other.
            let (before, after) = (object.stamp(), newer.stamp());
            if before.is_same_uid(after) && after.compare(before) == Some(Ordering::Less) {
                // A duplicate from the past: a store would pass it over too.
                return Merged::Into(Item::live(newer_verb, newer_cause, newer));
            }
            if *verb == Verb::Sync {
                *verb = newer_verb;
            }
            *cause = newer_cause;
            Item::live(newer_verb, newer_cause, mem::replace(object, newer))
        }
        (Item::Dead(older), Item::Dead(newer)) => match merge_tombstones(older, newer, latest) {
            Ok(spent) => Item::Dead(spent),
            Err(newer) => return Merged::Apart(Item::Dead(newer)),
        },
        (waiting @ Item::Live { .. }, Item::Dead(mut tombstone)) if latest => {
            // Objects of other uids may have come and gone unseen: whatever is held has to go.
            tombstone.uid = None;
            mem::replace(waiting, Item::Dead(tombstone))
        }
        (waiting @ Item::Dead(_), Item::Live { verb, cause, object }) if latest => {
            let verb = if verb == Verb::Sync { Verb::Updated } else { verb };
            mem::replace(waiting, Item::live(verb, cause, object))
        }
        (_, item) => return Merged::Apart(item),
    };
    node.last = number;
    Merged::Into(spent)
}

/// Two deletions in a row are one; one that was seen tells more than one that was concluded.
fn merge_tombstones<K>(
    older: &mut Box<Tombstone<K>>,
    mut newer: Box<Tombstone<K>>,
    latest: bool,
) -> Result<Box<Tombstone<K>>, Box<Tombstone<K>>> {
    if older.uid == newer.uid {
        if newer.inferred && !older.inferred {
            return Ok(newer);
        }
        return Ok(mem::replace(older, newer));
    }
    // A tombstone without a uid removes whatever is held, so it may stand for one with a uid, but not the reverse.
    if !latest && older.uid.is_some() && newer.uid.is_some() {
        return Err(newer);
    }
    newer.uid = None;
    older.uid = None;
    if newer.inferred && !older.inferred {
        return Ok(newer);
    }
    Ok(mem::replace(older, newer))
}

impl<K> Item<K> {
    pub(super) fn live(verb: Verb, cause: Cause, object: Stamped<K>) -> Self {
        Self::Live { verb, cause, object }
    }
}

impl<K> Line<K> {
    /// Puts a delta that waited already behind those of its key; whether it merged.
    pub(super) fn regroup(&mut self, mut node: Node<K>) -> bool {
        let head = self.find(&node.key);
        if let Some(head) = head {
            match merge(self.tail_mut(head), node.item, node.last, false) {
                Merged::Into(_) => return true,
                Merged::Apart(apart) => node.item = apart,
            }
        }
        self.append(head, node);
        false
    }
}
