//! [`ContentsRun`]: the contents as far as they have been read.

use informer_store::{Cause, Entry, Object, ObjectKey, ResourceVersion};
use tokio::time::Instant;

use super::super::{
    Flight, Index,
    index::{KeyMap, Slot},
};
use crate::{Item, ListRequest, Poison, quarantine::UNKEYED_MAX};

/// The contents as far as they have been read.
#[derive(Debug)]
pub(in crate::machine) struct ContentsRun<K> {
    pub(in crate::machine) flight: Flight,
    /// Whether they come as initial events.
    pub(in crate::machine) streaming: bool,
    pub(in crate::machine) request: ListRequest,
    pub(super) watch_timeout: std::time::Duration,
    pub(in crate::machine) entries: Vec<Entry<K>>,
    pub(in crate::machine) index: Index,
    pub(in crate::machine) poison: Vec<Poison>,
    /// How many objects there were whose name could not be read.
    pub(super) nameless: usize,
    /// Where the poison of a key is.
    pub(super) poison_at: KeyMap<usize>,
    /// Entries are superseded by later ones or deleted: `index` tells which count.
    pub(super) untidy: bool,
    /// The version of the first page.
    pub(super) version: Option<ResourceVersion>,
    pub(super) pages: u32,
    pub(super) page: Page,
    pub(super) begun: Instant,
    /// Pages without an item, in a row.
    pub(super) empty_pages: u32,
    /// The last initial event brought no object that was not there: such a watch may be live already and never end.
    pub(in crate::machine) idle: bool,
    pub(super) items: u64,
    pub(super) expected: Option<u64>,
    pub(super) announced: Instant,
}

/// What the page being read has brought, and where it began.
#[derive(Debug, Default)]
pub(super) struct Page {
    pub(super) items: u64,
    pub(super) news: u64,
    /// The news there were when the deadline was last moved.
    pub(super) news_seen: u64,
    /// Attempts at it that failed, in a row.
    pub(super) failures: u32,
    /// How much there was of everything when it began.
    pub(super) entries_before: usize,
    pub(super) poison_before: usize,
    pub(super) nameless_before: usize,
    pub(super) items_before: u64,
    /// What was known of objects that earlier pages had brought.
    pub(super) superseded: Vec<(ObjectKey, Slot)>,
}

impl<K: Object> ContentsRun<K> {
    pub(in crate::machine) fn len(&self) -> usize {
        self.index.len() + self.poison.len() + self.more_nameless()
    }

    /// Forgets what the page has brought so far.
    pub(super) fn begin_page_again(&mut self) {
        for entry in self.entries.drain(self.page.entries_before..) {
            self.index.remove(&entry.key);
        }
        let superseded = std::mem::take(&mut self.page.superseded);
        if !superseded.is_empty() {
            // What superseded itself within the page was not there before.
            let mut before = KeyMap::default();
            before.extend(self.entries.iter().map(|entry| (entry.key.clone(), ())));
            for (key, Slot { uid, version }) in superseded.into_iter().rev() {
                if before.contains_key(&key) {
                    self.index.insert(key, uid, version);
                }
            }
        }
        self.poison.truncate(self.page.poison_before);
        self.poison_at.retain(|_, place| *place < self.page.poison_before);
        self.nameless = self.page.nameless_before;
        self.items = self.page.items_before;
        (self.page.items, self.page.news, self.page.news_seen) = (0, 0, 0);
    }

    pub(super) fn take(&mut self, item: Item<K>, stats: &mut crate::Stats) {
        self.items += 1;
        self.page.items += 1;
        let Item {
            key,
            object,
            uid,
            version,
            ..
        } = item;
        if let Some(slot) = self.index.get(&key) {
            self.untidy = true;
            stats.list_duplicates += u64::from(!self.streaming);
            if version <= slot.version {
                return;
            }
        } else {
            self.page.news += 1;
        }
        let old = self.index.insert(key.clone(), uid, version);
        if let Some(old) = old.filter(|_| !self.streaming) {
            self.page.superseded.push((key.clone(), old));
        }
        self.entries
            .push(Entry::with_key(key, object).cause(Cause::Relist));
        if self.streaming && self.entries.len() > 2 * self.index.len() + UNTIDY_MAX {
            // A busy server changes objects while it still sends the first ones.
            self.tidy();
        }
    }

    /// Sets an object apart, once whatever is said of it. Without a name it may be two bytes of garbage among millions
    /// like it.
    pub(super) fn set_apart(&mut self, poison: Poison) {
        self.page.items += 1;
        self.items += 1;
        let Some(key) = &poison.key else {
            self.page.news += 1;
            self.nameless += 1;
            if self.nameless <= UNKEYED_MAX {
                self.poison.push(poison);
            }
            return;
        };
        if self.streaming {
            self.forget(key);
        } else if let Some(known) = self
            .poison_at
            .get(key)
            .and_then(|place| self.poison.get_mut(*place))
        {
            if poison.version > known.version {
                *known = poison;
            }
            return;
        }
        self.page.news += 1;
        self.poison_at.insert(key.clone(), self.poison.len());
        self.poison.push(poison);
    }

    /// How many objects without a readable name there are beside those that are kept.
    pub(in crate::machine) fn more_nameless(&self) -> usize {
        self.nameless.saturating_sub(UNKEYED_MAX)
    }

    pub(super) fn forget(&mut self, key: &ObjectKey) {
        if self.index.remove(key).is_some() {
            self.untidy = true;
        }
        if let Some(place) = self.poison_at.remove(key) {
            self.poison.swap_remove(place);
            if let Some(key) = self.poison.get(place).and_then(|moved| moved.key.as_ref()) {
                self.poison_at.insert(key.clone(), place);
            }
        }
    }

    /// Whether an object's name could not be read.
    pub(in crate::machine) fn nameless(&self) -> bool {
        self.nameless > 0
    }

    /// Leaves of every key only the entry read last, if it still counts.
    pub(super) fn tidy(&mut self) {
        if !self.untidy {
            return;
        }
        let mut seen = KeyMap::default();
        let mut entries = std::mem::take(&mut self.entries);
        entries.reverse();
        entries.retain(|entry| {
            self.index.get(&entry.key).is_some() && seen.insert(entry.key.clone(), ()).is_none()
        });
        entries.reverse();
        self.entries = entries;
        self.untidy = false;
    }
}

/// Superseded entries kept beside those that count, before they are cleared away.
const UNTIDY_MAX: usize = 256;
