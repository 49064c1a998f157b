//! Random histories against a naive map; every invariant after every step.

mod support;

use std::{collections::BTreeMap, sync::Arc};

use informer_store::{
    Batch, Cache, Delta, Index, ObjectKey, Replacement, ResourceVersion, ResyncPart, Snapshot, Subscription,
    Tombstone,
};
use proptest::prelude::*;
use support::{Replay, Thing, at_hand, thing};

/// Enough for several chunks of slots.
const KEYS: [&str; 20] = [
    "a/0", "b/1", "c/2", "d3", "a/4", "b/5", "c/6", "d7", "a/8", "b/9", "c/10", "d11", "a/12", "b/13",
    "c/14", "d15", "a/16", "b/17", "c/18", "d19",
];

/// One operation; versions are dealt out by the model, so `age` says how far below the newest one is.
#[derive(Clone, Debug)]
enum Op {
    Upsert {
        key: usize,
        uid: u8,
        labels: u8,
        age: u64,
    },
    Delete {
        key: usize,
        uid: Option<u8>,
        age: u64,
        with_object: bool,
    },
    Replace {
        mask: u32,
        changed: u32,
        uid: u8,
        kept: u32,
    },
    Rewind {
        mask: u32,
    },
    Bookmark,
    Resync {
        part: u32,
    },
    Sync {
        key: usize,
    },
    Subscribe,
    Unsubscribe,
    Poll {
        subscription: usize,
        most: usize,
    },
    Snapshot,
}

fn ops() -> impl Strategy<Value = Op> {
    let key = || 0..KEYS.len();
    let age = || prop_oneof![4 => Just(0u64), 1 => 1..4u64];
    let uid = || prop_oneof![4 => Just(0u8), 1 => 0..3u8];
    prop_oneof![
        8 => (key(), uid(), any::<u8>(), age())
            .prop_map(|(key, uid, labels, age)| Op::Upsert { key, uid, labels, age }),
        4 => (key(), prop::option::of(uid()), age(), any::<bool>())
            .prop_map(|(key, uid, age, with_object)| Op::Delete { key, uid, age, with_object }),
        2 => (any::<u32>(), any::<u32>(), uid(), prop_oneof![2 => Just(0), 1 => any::<u32>()])
            .prop_map(|(mask, changed, uid, kept)| Op::Replace { mask, changed, uid, kept }),
        1 => any::<u32>().prop_map(|mask| Op::Rewind { mask }),
        1 => Just(Op::Bookmark),
        1 => (0..3u32).prop_map(|part| Op::Resync { part }),
        1 => key().prop_map(|key| Op::Sync { key }),
        1 => Just(Op::Subscribe),
        1 => Just(Op::Unsubscribe),
        4 => (any::<usize>(), 0..6usize).prop_map(|(subscription, most)| Op::Poll { subscription, most }),
        1 => Just(Op::Snapshot),
    ]
}

struct World {
    cache: Cache<Thing>,
    by_label: Index<Thing, String>,
    model: BTreeMap<ObjectKey, Thing>,
    /// The newest version dealt out, and the one the cache must claim.
    version: u64,
    claimed: u64,
    subscriptions: Vec<(Subscription<Thing>, Replay<Thing>)>,
    /// Snapshots held, with what they must show for ever.
    snapshots: Vec<(Snapshot<Thing>, BTreeMap<ObjectKey, Thing>, u64)>,
}

fn key(at: usize) -> ObjectKey {
    KEYS[at].parse().expect("well-formed")
}

fn labels(thing: &Thing) -> Vec<String> {
    thing.labels.values().cloned().collect()
}

impl World {
    /// Without the index, lookups by it scan, and updates with nobody listening take the shortest way.
    fn new(log_capacity: usize, is_indexed: bool) -> Self {
        let by_label = Index::hash("labels", labels);
        let mut cache = Cache::builder().log_capacity(log_capacity);
        if is_indexed {
            cache = cache.index(&by_label);
        }
        Self {
            cache: cache.build(),
            by_label,
            model: BTreeMap::new(),
            version: 0,
            claimed: 0,
            subscriptions: Vec::new(),
            snapshots: Vec::new(),
        }
    }

    fn make(&mut self, at: usize, uid: u8, labels: u8, version: u64) -> Thing {
        let mut made = thing(KEYS[at], version).uid(&format!("{}-{uid}", KEYS[at]));
        for bit in 0..3 {
            if labels >> bit & 1 == 1 {
                made = made.label(&format!("l{bit}"), &format!("v{}", labels >> 4 & 1));
            }
        }
        made
    }

    fn claim(&mut self, version: u64) -> Option<ResourceVersion> {
        self.claimed = self.claimed.max(version);
        Some(version.into())
    }

    fn apply(&mut self, delta: Delta<Thing>, version: Option<ResourceVersion>) {
        self.cache.apply(Batch::new(vec![delta], version));
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Upsert {
                key: at,
                uid,
                labels,
                age,
            } => {
                self.version += 1;
                let version = self.version.saturating_sub(age).max(1);
                let new = self.make(at, uid, labels, version);
                let stale = self.model.get(&key(at)).is_some_and(|held| {
                    held.uid == new.uid && held.version.parse::<u64>().expect("a number") >= version
                });
                if !stale {
                    self.model.insert(key(at), new.clone());
                }
                let claim = self.claim(version);
                let delta = if age % 2 == 0 {
                    Delta::Added
                } else {
                    Delta::Updated
                };
                self.apply(delta(new.entry()), claim);
            }
            Op::Delete {
                key: at,
                uid,
                age,
                with_object,
            } => {
                self.version += 1;
                let version = self.version.saturating_sub(age).max(1);
                let uid = uid.map(|uid| format!("{}-{uid}", KEYS[at]));
                let gone = self.model.get(&key(at)).is_some_and(|held| {
                    uid.as_ref().is_none_or(|uid| *uid == held.uid)
                        && held.version.parse::<u64>().expect("a number") <= version
                });
                if gone {
                    self.model.remove(&key(at));
                }
                let mut tombstone = Tombstone::of(key(at));
                tombstone.version = version.into();
                tombstone.uid = uid.as_deref().map(Into::into);
                tombstone.object = with_object.then(|| Arc::new(thing(KEYS[at], version)));
                let claim = self.claim(version);
                self.apply(Delta::Deleted(tombstone), claim);
            }
            Op::Replace {
                mask,
                changed,
                uid,
                kept,
            } => {
                let listed: Vec<_> = (0..KEYS.len()).filter(|at| mask >> at & 1 == 1).collect();
                let mut entries = Vec::new();
                let mut model = BTreeMap::new();
                for at in listed {
                    let held = self.model.get(&key(at)).cloned();
                    let item = match held {
                        Some(held) if changed >> at & 1 == 0 => held,
                        _ => {
                            self.version += 1;
                            self.make(at, uid, (changed >> 20) as u8, self.version)
                        }
                    };
                    model.insert(key(at), item.clone());
                    entries.push(item.entry());
                }
                let kept: Vec<_> = (0..KEYS.len())
                    .filter(|at| kept >> at & 1 == 1 && mask >> at & 1 == 0)
                    .map(key)
                    .collect();
                for key in &kept {
                    if let Some(held) = self.model.remove(key) {
                        model.insert(key.clone(), held);
                    }
                }
                self.model = model;
                self.version += 1;
                let claim = self.claim(self.version);
                let mut replacement = Replacement::new(entries, self.version.into());
                replacement.kept = kept;
                self.apply(Delta::Replaced(replacement), claim);
            }
            Op::Rewind { mask } => {
                self.version /= 2;
                self.model.clear();
                let mut entries = Vec::new();
                for at in (0..KEYS.len()).filter(|at| mask >> at & 1 == 1) {
                    let version = self.version.max(1);
                    // The versions of the lost history are given again: the same uid and version says nothing now.
                    let item = self
                        .make(at, 0, (mask >> 20) as u8, version)
                        .body(u64::from(mask));
                    entries.push(item.clone().entry());
                    self.model.insert(key(at), item);
                }
                let mut replacement = Replacement::new(entries, self.version.max(1).into());
                replacement.rewound = true;
                self.version = self.version.max(1);
                self.claimed = self.version;
                self.apply(Delta::Replaced(replacement), Some(self.version.into()));
            }
            Op::Bookmark => {
                self.version += 1;
                let claim = self.claim(self.version);
                self.apply(Delta::Bookmark(self.version.into()), claim);
            }
            Op::Resync { part } => self.apply(Delta::Resync(ResyncPart { part, of: 3 }), None),
            Op::Sync { key: at } => {
                if let Some(held) = self.model.get(&key(at)).cloned() {
                    self.apply(Delta::Sync(held.entry()), None);
                }
            }
            Op::Subscribe => {
                if self.subscriptions.len() < 4 {
                    self.subscriptions
                        .push((self.cache.subscribe(), Replay::default()));
                }
            }
            Op::Unsubscribe => drop(self.subscriptions.pop()),
            Op::Poll { subscription, most } => self.poll(subscription, most),
            Op::Snapshot => {
                let snapshot = self.cache.snapshot();
                self.snapshots.push((snapshot, self.model.clone(), self.claimed));
            }
        }
    }

    fn poll(&mut self, subscription: usize, most: usize) {
        let count = self.subscriptions.len().max(1);
        let Some((stream, replay)) = self.subscriptions.get_mut(subscription % count) else {
            return;
        };
        for _ in 0..most {
            use futures::{FutureExt, StreamExt};
            match stream.next().now_or_never().flatten() {
                Some(change) => replay.take(&change),
                None => break,
            }
        }
    }

    /// I1, I6, I8 of a snapshot.
    fn check_snapshot(&self, snapshot: &Snapshot<Thing>, model: &BTreeMap<ObjectKey, Thing>, claimed: u64) {
        let held: BTreeMap<_, _> = snapshot
            .entries()
            .map(|(key, held)| (key.clone(), (**held).clone()))
            .collect();
        assert_eq!(&held, model, "I1: the contents");
        assert_eq!(snapshot.len(), model.len());
        assert_eq!(snapshot.list().count(), model.len());
        assert_eq!(
            snapshot.resource_version().as_u64().unwrap_or(0),
            claimed,
            "I1: the version"
        );
        for namespace in ["a", "b", "c", "none"] {
            let mut names: Vec<_> = snapshot
                .namespace(namespace)
                .map(|held| held.name.clone())
                .collect();
            names.sort_unstable();
            let expect: Vec<_> = model
                .values()
                .filter(|held| held.namespace == namespace)
                .map(|held| held.name.clone())
                .collect();
            assert_eq!(names, expect, "I8: namespace {namespace}");
        }
        for value in ["v0", "v1", "v2"] {
            let mut keys: Vec<_> = snapshot
                .by_index(&self.by_label, value)
                .map(|held| informer_store::Object::key(&**held).expect("named"))
                .collect();
            keys.sort_unstable();
            let expect: Vec<_> = model
                .iter()
                .filter(|(_, held)| labels(held).iter().any(|label| label == value))
                .map(|(key, _)| key.clone())
                .collect();
            assert_eq!(keys, expect, "I8: label value {value}");
        }
        for at in 0..KEYS.len() {
            let expect = model.get(&key(at));
            assert_eq!(snapshot.get_by_key(&key(at)).map(|held| &**held), expect);
            let (namespace, name) = (
                key(at).namespace().unwrap_or_default().to_owned(),
                key(at).name().to_owned(),
            );
            assert_eq!(snapshot.get(&namespace, &name).map(|held| &**held), expect);
        }
    }

    fn check(&mut self) {
        self.check_snapshot(&self.cache.snapshot(), &self.model, self.claimed);
        for at in 0..KEYS.len() {
            let held = self.cache.get_by_key(&key(at));
            assert_eq!(held.as_deref(), self.model.get(&key(at)));
        }
    }

    fn finish(&mut self) {
        for (snapshot, model, claimed) in &self.snapshots {
            self.check_snapshot(snapshot, model, *claimed);
        }
        for (stream, replay) in &mut self.subscriptions {
            for change in at_hand(stream) {
                replay.take(&change);
            }
            let held: BTreeMap<_, _> = replay
                .held
                .iter()
                .map(|(key, held)| (key.clone(), (**held).clone()))
                .collect();
            assert_eq!(held, self.model, "H2: a drained subscription has the contents");
            assert_eq!(stream.delivered_version().as_u64().unwrap_or(0), self.claimed);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn the_cache_and_every_subscription_follow_the_history(
        log_capacity in prop_oneof![Just(1usize), Just(4), Just(4096)],
        is_indexed in any::<bool>(),
        ops in prop::collection::vec(ops(), 1..120),
    ) {
        let mut world = World::new(log_capacity, is_indexed);
        for op in &ops {
            world.run(op);
            world.check();
        }
        world.finish();
    }
}
