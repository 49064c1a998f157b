//! The events of a watch in progress: what each of them means beside what is held.

use informer_store::{Cause, Delta, Entry, Object, ObjectKey, ResourceVersion, Tombstone};
use tokio::time::Instant;

use super::{Effect, Machine, Next, Phase, contents::is_usable, index::Verdict};
use crate::{Error, ErrorKind, Event, Item, Poison, Reason, RelistReason, Seen};

impl<K: Object> Machine<K> {
    pub(super) fn on_live_event(&mut self, now: Instant, event: Event<K>) {
        if !matches!(event, Event::Bookmark { .. } | Event::Progress { .. }) {
            self.stats.last_event = Some(now);
        }
        match event {
            Event::Added(item) | Event::Modified(item) => {
                self.stats.events += 1;
                self.upsert(now, item);
            }
            Event::Deleted(item) => {
                self.stats.events += 1;
                let seen = Seen {
                    key: item.key,
                    uid: item.uid,
                    version: item.version,
                    left_selector: item.left_selector,
                };
                self.delete(now, seen, Some(item.object));
            }
            Event::Gone(seen) => {
                self.stats.events += 1;
                self.delete(now, seen, None);
            }
            Event::Poison(poison) => {
                self.stats.events += 1;
                self.poisoned(now, poison);
            }
            Event::OtherShard(version) => {
                self.stats.events += 1;
                self.stats.other_shard += 1;
                self.advance(&version);
            }
            Event::Bookmark { version, .. } => {
                self.stats.bookmarks += 1;
                self.bookmarked(now, version);
            }
            Event::Unreadable(poison) => self.unreadable(now, poison),
            Event::Progress { .. } => {}
        }
    }

    /// An event must carry a version that can be compared with what was seen.
    pub(super) fn has_usable_version(&mut self, version: &ResourceVersion) -> bool {
        let usable = is_usable(version) && (version.is_ordered() || !self.version.is_ordered());
        self.stats.bad_versions += u64::from(!usable);
        usable
    }

    pub(super) fn advance(&mut self, version: &ResourceVersion) {
        if self
            .version
            .partial_cmp(version)
            .is_none_or(|order| order.is_lt())
            && is_usable(version)
        {
            self.version = version.clone();
            self.bad_line = None;
        }
    }

    /// Something the server had declared past arrives: more may be missing.
    fn breaks_bookmark(&self, version: &ResourceVersion) -> bool {
        !self.bookmark.is_unset() && version <= &self.bookmark
    }

    /// Whether an object nobody has seen comes after the bookmark that it should have come before, as one may that an
    /// end of initial events has left out.
    pub(super) fn is_late(&self, key: &ObjectKey, verdict: Verdict, version: &ResourceVersion) -> bool {
        let unseen = verdict == Verdict::Duplicate && self.index.get(key).is_none();
        unseen && !self.index.is_buried(key) && self.breaks_bookmark(version)
    }

    /// Whether a later state of the object is in quarantine: then this one is a repetition.
    pub(super) fn is_set_apart_since(&self, key: &ObjectKey, version: &ResourceVersion) -> bool {
        self.quarantine
            .get(key)
            .is_some_and(|known| *version < known.version)
    }

    fn upsert(&mut self, now: Instant, item: Item<K>) {
        if !self.has_usable_version(&item.version) {
            let error = Error::new(
                ErrorKind::Protocol,
                "watch",
                "the event has no usable resource version",
            );
            return self.poisoned_in_place(now, Poison::new(Some(item.key), ResourceVersion::UNSET, error));
        }
        let Item {
            key,
            object,
            uid,
            version,
            ..
        } = item;
        let verdict = self.index.judge(&key, uid, &version, &self.floor);
        if verdict == Verdict::Contradiction || self.is_late(&key, verdict, &version) {
            // Whether there is such an object only a list can tell, and not one that comes in the same way.
            self.plan.plain = true;
            return self.relist(now, RelistReason::Diverged);
        }
        if verdict == Verdict::Duplicate || self.is_set_apart_since(&key, &version) {
            self.stats.duplicates += 1;
            return;
        }
        if verdict == Verdict::New && self.exceeds(self.index.len() + 1) {
            return self.overflow(now);
        }
        self.release(&key);
        let entry = Entry::with_key(key.clone(), object);
        let delta = match verdict {
            Verdict::Changed => Delta::Updated(entry),
            Verdict::Replaced => {
                self.deliver_removal(&key, Cause::Live);
                Delta::Added(entry)
            }
            Verdict::New | Verdict::Duplicate | Verdict::Contradiction => Delta::Added(entry),
        };
        self.index.insert(key, uid, version.clone());
        self.effects.push_back(Effect::Deliver(delta));
        let broken = self.breaks_bookmark(&version);
        self.advance(&version);
        if broken {
            self.relist(now, RelistReason::Diverged);
        }
    }

    /// One object too many: it is not taken, nor is anything after it. What comes next is a list, for later events
    /// may have made room.
    pub(super) fn overflow(&mut self, now: Instant) {
        self.count_relist(RelistReason::Overloaded);
        self.plan.relisted = true;
        self.overloaded(now);
    }

    fn delete(&mut self, now: Instant, seen: Seen, object: Option<std::sync::Arc<K>>) {
        let Seen {
            key,
            uid,
            version,
            left_selector,
        } = seen;
        let usable = self.has_usable_version(&version);
        if usable && self.is_set_apart_since(&key, &version) {
            self.stats.duplicates += 1;
            return;
        }
        let Some(slot) = self.index.get(&key) else {
            if self.quarantine.get(&key).is_none() {
                self.stats.unknown_deletes += 1;
            }
            self.release(&key);
            if usable {
                self.index.bury(key, uid, version.clone());
                self.advance(&version);
            }
            return;
        };
        if usable && version < slot.version {
            self.stats.duplicates += 1;
            return;
        }
        // A server that sends the last state's version with a deletion means the object we hold.
        let repeats = version == slot.version;
        let other = uid != slot.uid && uid != 0 && slot.uid != 0;
        let mut tombstone = Tombstone::of(key.clone());
        tombstone.version = version.clone();
        tombstone.inferred = other || object.is_none();
        if !other {
            tombstone.uid = object.as_ref().and_then(|object| object.uid()).map(Into::into);
            tombstone.object = object;
            tombstone.left_selector = left_selector;
        }
        self.index.remove(&key);
        self.release(&key);
        self.effects.push_back(Effect::Deliver(Delta::Deleted(tombstone)));
        let broken = usable && !repeats && self.breaks_bookmark(&version);
        if usable {
            self.index.bury(key, uid, version.clone());
            self.advance(&version);
        }
        if broken {
            self.relist(now, RelistReason::Diverged);
        }
    }

    fn bookmarked(&mut self, now: Instant, version: ResourceVersion) {
        if !self.has_usable_version(&version) {
            return;
        }
        let longest = self.config.watch_timeout * 2;
        if let Phase::Watching(run) = &mut self.phase {
            if let Some(last) = run.last_bookmark.replace(now) {
                let gap = now.saturating_duration_since(last);
                self.watchdog.cadence = self.watchdog.cadence.max(gap.min(longest));
            }
            self.watchdog.armed = true;
        }
        if version < self.version {
            // Nobody but a server whose history was rewound has reason to say so.
            self.stats.old_bookmarks += 1;
            self.effects.push_back(Effect::Abort);
            return self.fail_for(now, Reason::Diverged, None, Next::Probe);
        }
        self.bookmark = version.clone();
        if self.version != version {
            self.version = version.clone();
            self.bad_line = None;
            self.effects.push_back(Effect::Deliver(Delta::Bookmark(version)));
        }
    }

    /// A line that cannot be read: nothing behind it counts. First ask again from the last good version, then list
    /// anew. Where that cannot help, for the object is too large or was the one that made us list, it is set apart.
    pub(super) fn unreadable(&mut self, now: Instant, poison: Poison) {
        self.stats.unreadable += 1;
        let times = match &mut self.bad_line {
            Some((version, times)) if *version == self.version => {
                *times += 1;
                *times
            }
            _ => {
                self.bad_line = Some((self.version.clone(), 1));
                1
            }
        };
        self.effects.push_back(Effect::Abort);
        if times < 2 {
            return self.fail_for(now, Reason::Unreadable, None, Next::Watch);
        }
        self.bad_line = None;
        let news = poison
            .key
            .as_ref()
            .is_some_and(|key| self.index.judge(key, 0, &poison.version, &self.floor) != Verdict::Duplicate);
        let hopeless = poison.error.kind() == ErrorKind::Oversize || self.bad_key == poison.key;
        if hopeless && news && is_usable(&poison.version) && poison.version > self.version {
            let version = poison.version.clone();
            self.poisoned_in_place(now, poison);
            self.advance(&version);
            self.fail_for(now, Reason::Unreadable, None, Next::Watch);
        } else {
            self.bad_key = poison.key;
            self.plan.relisted = true;
            self.relist(now, RelistReason::Unreadable);
        }
    }
}
