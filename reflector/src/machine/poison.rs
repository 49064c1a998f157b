//! Objects that cannot be decoded: set apart by key, kept or removed, and read again in time.

use std::time::Duration;

use informer_store::{Cause, Delta, Entry, Object, ObjectKey};
use tokio::time::Instant;

use super::{
    ContentsRun, Effect, Machine, Next, Phase,
    index::{Slot, Verdict},
};
use crate::{Error, ErrorKind, Got, Item, Poison, PoisonPolicy, RelistReason, quarantine::QuarantineEvent};

impl<K: Object> Machine<K> {
    /// Puts the undecodable objects of a list into quarantine and lets the others out; returns the keys to keep.
    pub(super) fn take_poison(&mut self, now: Instant, run: &mut ContentsRun<K>) -> Vec<ObjectKey> {
        let mut kept = Vec::new();
        self.quarantine.forget_unkeyed();
        let retry = self.config.quarantine_retry;
        let mut poisoned = std::collections::BTreeSet::new();
        let nameless = run.nameless();
        let mut removed = false;
        self.stats.quarantined += run.more_nameless() as u64;
        for poison in std::mem::take(&mut run.poison) {
            if let Some(key) = &poison.key {
                let listed = run.index.get(key);
                if listed.is_some_and(|slot| poison.version <= slot.version) {
                    continue;
                }
                let is_listed = listed.is_some();
                poisoned.insert(key.clone());
                match self.config.poison {
                    // A list may have an older state of it as well.
                    PoisonPolicy::KeepLast if is_listed => {}
                    PoisonPolicy::KeepLast => {
                        if let Some(Slot { uid, version }) = self.index.get(key).cloned() {
                            kept.push(key.clone());
                            run.index.insert(key.clone(), uid, version);
                        }
                    }
                    PoisonPolicy::Remove => {
                        run.index.remove(key);
                        removed |= is_listed;
                    }
                }
            }
            self.put_in_quarantine(now, poison, retry);
        }
        if removed {
            run.entries.retain(|entry| run.index.get(&entry.key).is_some());
        }
        if nameless && self.config.poison == PoisonPolicy::KeepLast {
            // Any object that is missing may be the one without a name: none of them is called gone.
            for key in self.index.keys() {
                if run.index.get(key).is_none() && !poisoned.contains(key) {
                    kept.push(key.clone());
                }
            }
            for key in &kept {
                if let Some(Slot { uid, version }) = self.index.get(key).cloned() {
                    run.index.insert(key.clone(), uid, version);
                }
            }
        }
        let well: Vec<_> = self
            .quarantine
            .keys()
            .filter(|key| !poisoned.contains(*key))
            .cloned()
            .collect();
        for key in well {
            self.release(&key);
        }
        kept
    }

    fn put_in_quarantine(&mut self, now: Instant, poison: Poison, retry: std::time::Duration) {
        let Poison { key, version, error } = poison;
        let known = key.as_ref().and_then(|key| self.quarantine.get(key)).is_some();
        if !known {
            self.stats.quarantined += 1;
        }
        tracing::debug!(key = ?key, rv = %version, error = %error, "object put into quarantine");
        let entry = self.quarantine.put(key, version, error, now, retry);
        self.effects
            .push_back(Effect::Quarantine(QuarantineEvent::In(entry)));
    }

    pub(super) fn release(&mut self, key: &ObjectKey) {
        if self.quarantine.remove(key) {
            self.stats.released += 1;
            self.effects
                .push_back(Effect::Quarantine(QuarantineEvent::Out(key.clone())));
        }
    }

    /// An object whose name and version are known but not its contents: it waits apart, the rest flows.
    pub(super) fn poisoned(&mut self, now: Instant, poison: Poison) {
        let Some(key) = poison.key.clone() else {
            return self.unreadable(now, poison);
        };
        if !self.has_usable_version(&poison.version) {
            return self.poisoned_in_place(now, poison);
        }
        let version = poison.version.clone();
        let verdict = self.index.judge(&key, 0, &version, &self.floor);
        if self.is_late(&key, verdict, &version) {
            self.plan.plain = true;
            return self.relist(now, RelistReason::Diverged);
        }
        let known = self
            .quarantine
            .get(&key)
            .is_some_and(|known| version <= known.version);
        if verdict == Verdict::Duplicate || known {
            self.stats.duplicates += 1;
            return;
        }
        let apart = self.index.len() + self.quarantine.len();
        if verdict == Verdict::New && self.quarantine.get(&key).is_none() && self.exceeds(apart + 1) {
            // Of some that are set apart the last good state is held: those count once.
            let kept = self.quarantine.keys().filter(|key| self.index.get(key).is_some());
            if self.exceeds(apart + 1 - kept.count()) {
                return self.overflow(now);
            }
        }
        self.poisoned_in_place(now, poison);
        self.advance(&version);
    }

    pub(super) fn poisoned_in_place(&mut self, now: Instant, poison: Poison) {
        if let Some(key) = &poison.key
            && self.config.poison == PoisonPolicy::Remove
        {
            self.deliver_removal(key, Cause::Live);
        }
        let retry = self.config.quarantine_retry;
        self.put_in_quarantine(now, poison, retry);
    }

    /// A quarantined object has been read again.
    pub(super) fn on_got(&mut self, now: Instant, got: Option<Got<K>>) {
        let Phase::Reading { key, rest, .. } = &self.phase else {
            return;
        };
        let (key, rest) = (key.clone(), rest.clone());
        self.served(now);
        if got.is_some() {
            self.quarantine.found(&key);
        }
        match got {
            Some(Got::Object(item)) if item.key == key => self.reread(item),
            Some(Got::Poison(poison)) => {
                let known = self.quarantine.get(&key).map(|known| known.version.clone());
                if known.as_ref() == Some(&poison.version) {
                    let retry = self.config.quarantine_retry;
                    self.put_in_quarantine(now, Poison::new(Some(key), poison.version, poison.error), retry);
                }
            }
            // Gone: the watch says so when it comes to it. If it has not by the next time, it never will.
            None => {
                if self.quarantine.miss(&key, now, self.config.quarantine_retry) {
                    self.deliver_removal(&key, Cause::Repair);
                    self.release(&key);
                }
            }
            Some(Got::Object(_)) => {}
        }
        self.next_read(now, rest);
    }

    /// Delivers an object read on its own, unless the watch has yet to tell of this version.
    fn reread(&mut self, item: Item<K>) {
        let Item {
            key,
            object,
            uid,
            version,
            ..
        } = item;
        let ahead = version
            .partial_cmp(&self.version)
            .is_none_or(|order| order.is_gt());
        let old = self.index.get(&key);
        let known = self.quarantine.get(&key).map(|known| known.version.clone());
        let behind = known.is_some_and(|known| version < known)
            || old.is_some_and(|slot| {
                version
                    .partial_cmp(&slot.version)
                    .is_some_and(|order| order.is_le())
            });
        let full = old.is_none() && self.exceeds(self.index.len() + 1);
        if ahead || behind || full {
            return;
        }
        let replaced = old.is_some_and(|slot| slot.uid != uid && slot.uid != 0 && uid != 0);
        if replaced {
            self.deliver_removal(&key, Cause::Live);
        }
        let entry = Entry::with_key(key.clone(), object);
        let delta = if self.index.insert(key.clone(), uid, version).is_some() {
            Delta::Updated(entry)
        } else {
            Delta::Added(entry)
        };
        self.effects.push_back(Effect::Deliver(delta));
        self.release(&key);
    }

    pub(super) fn read_failed(&mut self, now: Instant, error: Error) {
        let Phase::Reading { rest, .. } = &self.phase else {
            return;
        };
        let rest = rest.clone();
        match error.kind() {
            ErrorKind::NotFound
            | ErrorKind::Unsupported
            | ErrorKind::Forbidden
            | ErrorKind::Decode
            | ErrorKind::Oversize => self.next_read(now, rest),
            _ => self.fail(now, &error, Next::Watch),
        }
    }

    fn next_read(&mut self, now: Instant, rest: Vec<ObjectKey>) {
        let next = if !rest.is_empty() {
            Next::Read(rest)
        } else if self.is_unheard(Duration::ZERO) {
            // The watches between reads are too short to notice that the server is silent.
            Next::Probe
        } else {
            Next::Watch
        };
        self.go_on(now, next);
    }
}
