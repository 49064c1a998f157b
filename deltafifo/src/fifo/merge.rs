//! How two deltas of one key become one.

use std::{mem, sync::Arc};

use foldhash::quality::RandomState;
use informer_store::{Cause, Object, Tombstone};

use super::line::{Item, Line, Mark, Node, Verb};

pub(super) enum Merged<K> {
    /// The waiting delta now says both; what is no longer needed.
    Into(Item<K>),
    /// Both must be told.
    Apart(Item<K>),
}

/// Merges `item`, the newer, into the waiting `node`, if no life of an object gets lost by it; with `latest`, always.
pub(super) fn merge<K>(
    node: &mut Node<K>,
    item: Item<K>,
    mark: Mark,
    number: u64,
    latest: bool,
) -> Merged<K> {
    let same_uid = node.mark.uid == mark.uid;
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
        ) if same_uid || latest => {
            if same_uid && mark.is_older_than(node.mark) {
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
    node.mark = mark;
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
    pub(super) fn live(verb: Verb, cause: Cause, object: Arc<K>) -> Self {
        Self::Live { verb, cause, object }
    }
}

impl<K: Object> Line<K> {
    /// Puts a delta that waited already behind those of its key; whether it merged.
    pub(super) fn regroup(&mut self, mut node: Node<K>, hasher: &RandomState) -> bool {
        node.mark = Mark::of(&node.item, hasher);
        let head = self.find(&node.key);
        if let Some(head) = head {
            match merge(self.tail_mut(head), node.item, node.mark, node.last, false) {
                Merged::Into(_) => return true,
                Merged::Apart(apart) => node.item = apart,
            }
        }
        self.append(head, node);
        false
    }
}
