//! How two deltas of one key become one.

use std::{cmp::Ordering, mem};

use informer_store::{Cause, Object, Stamped, Tombstone};

use super::line::{Item, Line, Node, Verb};

pub(super) enum Merged<K> {
    /// The waiting delta now says both; what is no longer needed.
    Into(Item<K>),
    /// Both must be told.
    Apart(Item<K>),
}

/// Merges `item`, the newer, into the waiting `node`, if no life of an object gets lost by it; with `latest`, always.
pub(super) fn merge<K: Object>(node: &mut Node<K>, item: Item<K>, number: u64, latest: bool) -> Merged<K> {
    let spent = match (&mut node.item, item) {
        // What waits is delivered anyway.
        (Item::Live { .. }, item @ Item::Live { verb: Verb::Sync, .. }) => return Merged::Into(item),
        (
            Item::Live { verb, cause, object },
            Item::Live {
                verb: newer_verb,
                cause: newer_cause,
                object: newer,
            },
        ) if latest || (is_same_uid(object, &newer) && newer_verb != Verb::TakenBack) => {
            // Versions of different uids, and of a history that went back, say nothing of each other.
            if newer_verb != Verb::TakenBack && is_same_uid(object, &newer) && is_older(&newer, object) {
                // A duplicate from the past: a store would pass it over too.
                return Merged::Into(Item::live(newer_verb, newer_cause, newer));
            }
            if verb.is_sync() {
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
            let verb = if verb.is_sync() { Verb::Updated } else { verb };
            mem::replace(waiting, Item::live(verb, cause, object))
        }
        (_, item) => return Merged::Apart(item),
    };
    node.last = number;
    Merged::Into(spent)
}

fn is_same_uid<K>(a: &Stamped<K>, b: &Stamped<K>) -> bool {
    a.stamp().is_same_uid(b.stamp())
}

/// Whether `newer`, which came later, is of an older version than `object` nonetheless.
fn is_older<K: Object>(newer: &Stamped<K>, object: &Stamped<K>) -> bool {
    match newer.stamp().compare(object.stamp()) {
        Some(order) => order == Ordering::Less,
        None => is_older_text(newer, object),
    }
}

/// The same for versions that the stamps do not tell: those too large for them, or 0. Of one that is unset nothing can be said.
#[cold]
fn is_older_text<K: Object>(newer: &Stamped<K>, object: &Stamped<K>) -> bool {
    let (newer, older) = (newer.version(), object.version());
    !newer.is_unset() && !older.is_unset() && newer < older
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

impl<K: Object> Line<K> {
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
