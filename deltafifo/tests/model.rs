//! Random histories against a store without a queue: what comes out, applied, is what went in (D1, D2, D4, D5).

mod common;

use std::collections::BTreeMap;

use common::{Contents, KnownMap, Obj, added, apply, deleted, entry, key, obj, shown, updated};
use informer_deltafifo::{Config, DeltaFifo, Discipline, Full, WhenFull};
use informer_store::{Batch, Delta, Entry, Replacement, ResyncPart};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    Create(usize),
    Update(usize),
    Delete(usize),
    /// A relist; the keys of the mask are listed but cannot be decoded.
    Relist {
        undecodable: u8,
        rewound: bool,
    },
    Bookmark,
    Resync(u32),
    Pop(usize),
    PopAll,
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => (0..NAMES).prop_map(Op::Create),
        6 => (0..NAMES).prop_map(Op::Update),
        4 => (0..NAMES).prop_map(Op::Delete),
        1 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(a, b, rewound)| Op::Relist {
            undecodable: a & b,
            rewound
        }),
        1 => Just(Op::Bookmark),
        1 => (0..3_u32).prop_map(Op::Resync),
        3 => (0..4_usize).prop_map(Op::Pop),
        1 => Just(Op::PopAll),
    ];
    prop::collection::vec(op, 1..120)
}

const NAMES: usize = 6;

fn name(index: usize) -> String {
    format!("o{index}")
}

/// The server, and what a store would hold that takes each delta at once.
#[derive(Default)]
struct Server {
    objects: BTreeMap<String, (String, u64)>,
    version: u64,
    uids: u64,
}

impl Server {
    fn delta(&mut self, op: &Op) -> Option<Delta<Obj>> {
        match op {
            Op::Create(index) if !self.objects.contains_key(&name(*index)) => {
                self.version += 1;
                self.uids += 1;
                let uid = format!("u{}", self.uids);
                self.objects.insert(name(*index), (uid.clone(), self.version));
                Some(added(&name(*index), &uid, self.version))
            }
            Op::Update(index) => {
                let (uid, version) = self.objects.get_mut(&name(*index))?;
                self.version += 1;
                *version = self.version;
                Some(updated(&name(*index), uid, self.version))
            }
            Op::Delete(index) => {
                let (uid, _) = self.objects.remove(&name(*index))?;
                self.version += 1;
                Some(deleted(&name(*index), &uid, self.version))
            }
            Op::Relist { undecodable, rewound } => {
                self.version += 1;
                let mut replacement = Replacement::new(Vec::new(), self.version.into());
                replacement.rewound = *rewound;
                for (index, (name, (uid, version))) in self.objects.iter().enumerate() {
                    if undecodable & (1 << index) == 0 {
                        replacement.entries.push(entry(name, uid, *version));
                    } else {
                        replacement.kept.push(key(name));
                    }
                }
                Some(Delta::Replaced(replacement))
            }
            Op::Bookmark => Some(Delta::Bookmark(self.version.into())),
            Op::Resync(part) => Some(Delta::Resync(ResyncPart { part: *part, of: 3 })),
            Op::Create(_) | Op::Pop(_) | Op::PopAll => None,
        }
    }
}

/// A queue under test, the store behind it, and all that must hold between them.
struct Check {
    fifo: DeltaFifo<Obj>,
    config: Config,
    /// What a store without a queue holds, now and after each version.
    direct: Contents,
    at: BTreeMap<u64, Contents>,
    store: Contents,
    claimed: u64,
    /// The version and number of the newest delta seen of each key.
    seen: BTreeMap<String, u64>,
    synced: bool,
    replaced_once: bool,
}

impl Check {
    fn new(config: Config) -> Self {
        Self {
            fifo: DeltaFifo::new(config),
            config,
            direct: Contents::new(),
            at: BTreeMap::new(),
            store: Contents::new(),
            claimed: 0,
            seen: BTreeMap::new(),
            synced: false,
            replaced_once: false,
        }
    }

    fn push(&mut self, delta: Delta<Obj>, version: u64) {
        apply(&mut self.direct, &delta);
        self.at.insert(version, self.direct.clone());
        self.replaced_once |= matches!(delta, Delta::Replaced(_));
        let mut delta = delta;
        while let Err(Full(back)) = self.fifo.push(delta) {
            assert_eq!(
                self.fifo.len(),
                self.config.capacity,
                "D5: refused only when full"
            );
            self.pop(1);
            delta = back;
        }
        self.check_shape();
    }

    fn pop(&mut self, max: usize) {
        let Some(popped) = self.fifo.pop(max) else {
            assert!(self.fifo.is_empty());
            return;
        };
        let batch = &popped.batch;
        let singles = batch.deltas.iter().filter(|delta| delta.key().is_some()).count();
        assert!(singles <= max.max(1), "{singles} deltas, {max} asked for");
        if batch
            .deltas
            .iter()
            .any(|delta| matches!(delta, Delta::Replaced(_)))
        {
            assert_eq!(batch.len(), 1, "a replacement travels alone");
        }
        for delta in &batch.deltas {
            self.check_order(delta);
            apply(&mut self.store, delta);
        }
        self.check_version(batch);
        assert!(
            !(popped.completes_sync && self.synced),
            "the sync is completed once"
        );
        self.synced |= popped.completes_sync;
        self.check_shape();
    }

    /// D1: per key, versions rise.
    fn check_order(&mut self, delta: &Delta<Obj>) {
        let newest = match delta {
            Delta::Added(entry) | Delta::Updated(entry) => {
                Some((&entry.key, entry.object.version.parse().unwrap()))
            }
            Delta::Deleted(tombstone) => Some((&tombstone.key, tombstone.version.as_u64().unwrap())),
            _ => None,
        };
        if let Some((key, version)) = newest {
            let before = self.seen.insert(key.name().into(), version).unwrap_or(0);
            assert!(before < version, "{key}: {version} after {before}");
        }
    }

    /// D4: a batch that claims a version leaves the store as it was at that version.
    fn check_version(&mut self, batch: &Batch<Obj>) {
        if let Some(version) = &batch.version {
            let version = version.as_u64().expect("versions are numbers here");
            assert!(version >= self.claimed, "the version went back");
            self.claimed = version;
            assert_eq!(
                Some(&self.store),
                self.at.get(&version),
                "at {version}, after {:?}",
                shown(batch)
            );
        }
    }

    /// D2, D5, and the books.
    fn check_shape(&self) {
        let mut keys: Vec<_> = self.fifo.keys().collect();
        if self.config.discipline != Discipline::Ordered {
            let all = keys.len();
            keys.sort();
            keys.dedup();
            assert_eq!(keys.len(), all, "a key waits once");
        }
        assert!(self.fifo.len() <= self.config.capacity);
        let stats = self.fifo.stats();
        let accounted = stats.popped + stats.depth as u64 + stats.coalesced + stats.swallowed;
        assert_eq!(stats.added, accounted, "{stats:?}");
    }

    fn finish(mut self) {
        while !self.fifo.is_empty() {
            self.pop(usize::MAX);
        }
        assert_eq!(self.store, self.direct);
        let reached = self.at.last_key_value().map_or(0, |(version, _)| *version);
        assert_eq!(
            self.claimed, reached,
            "everything is out, so its version is claimed"
        );
        assert_eq!(self.synced, self.replaced_once);
    }
}

fn run(ops: &[Op], config: Config) {
    let mut server = Server::default();
    let mut check = Check::new(config);
    for op in ops {
        match op {
            Op::Pop(max) => check.pop(*max),
            Op::PopAll => check.pop(usize::MAX),
            op => {
                if let Some(delta) = server.delta(op) {
                    check.push(delta, server.version);
                }
            }
        }
    }
    check.finish();
}

fn configs() -> Vec<Config> {
    use Discipline::{Compressed, Latest, Ordered};
    let mut configs = Vec::new();
    for discipline in [Compressed, Ordered, Latest] {
        for when_full in [WhenFull::Backpressure, WhenFull::Compress] {
            for capacity in [1, 3, 1000] {
                configs.push(
                    Config::default()
                        .discipline(discipline)
                        .when_full(when_full)
                        .capacity(capacity),
                );
            }
        }
    }
    configs
}

/// What an ordered queue must give: everything, as it came.
fn ordered_is_a_plain_queue(ops: &[Op]) {
    let mut server = Server::default();
    let mut fifo = DeltaFifo::new(Config::default().discipline(Discipline::Ordered));
    let (mut pushed, mut popped) = (Vec::new(), Vec::new());
    for op in ops {
        match op {
            Op::Relist { .. } | Op::Bookmark | Op::Resync(_) => {}
            Op::Pop(max) => popped.extend(fifo.pop(*max).iter().flat_map(|popped| shown(&popped.batch))),
            Op::PopAll => popped.extend(
                fifo.pop(usize::MAX)
                    .iter()
                    .flat_map(|popped| shown(&popped.batch)),
            ),
            op => {
                if let Some(delta) = server.delta(op) {
                    pushed.push(common::show(&delta));
                    drop(fifo.push(delta).expect("there is room"));
                }
            }
        }
    }
    popped.extend(
        fifo.pop(usize::MAX)
            .iter()
            .flat_map(|popped| shown(&popped.batch)),
    );
    assert_eq!(popped, pushed);
}

/// A compressed queue tells of every life of an object: as many additions and deletions come out as went in.
fn compressed_tells_every_life(ops: &[Op]) {
    let mut server = Server::default();
    let mut fifo = DeltaFifo::new(Config::default());
    let mut lives = BTreeMap::<&'static str, i64>::new();
    let mut out = Vec::new();
    for op in ops {
        match op {
            Op::Relist { .. } | Op::Bookmark | Op::Resync(_) => {}
            Op::Pop(max) => out.extend(fifo.pop(*max)),
            Op::PopAll => out.extend(fifo.pop(usize::MAX)),
            op => {
                if let Some(delta) = server.delta(op) {
                    *lives.entry(delta.kind()).or_default() += 1;
                    drop(fifo.push(delta).expect("there is room"));
                }
            }
        }
    }
    out.extend(fifo.pop(usize::MAX));
    for delta in out.iter().flat_map(|popped| &popped.batch.deltas) {
        *lives.entry(delta.kind()).or_default() -= 1;
    }
    assert_eq!(lives.get("added").copied().unwrap_or(0), 0);
    assert_eq!(lives.get("deleted").copied().unwrap_or(0), 0);
    assert!(lives.get("updated").copied().unwrap_or(0) >= 0);
}

/// The known objects of a classic queue come to hold what the server has, with each batch applied late (D3).
fn classic_converges(ops: &[Op], config: Config) {
    let mut server = Server::default();
    let known = KnownMap::default();
    let mut fifo = DeltaFifo::classic(config, std::sync::Arc::new(known.clone()));
    let mut direct = Contents::new();
    let mut late: Option<Batch<Obj>> = None;
    let mut pop = |fifo: &mut DeltaFifo<Obj>, max| {
        // The batch before is applied only now: what it holds was in neither the queue nor the known objects.
        if let Some(batch) = late.take() {
            known.apply(&batch);
        }
        late = fifo.pop(max).map(|popped| popped.batch);
        late.is_some()
    };
    for op in ops {
        match op {
            Op::Pop(max) => drop(pop(&mut fifo, *max)),
            Op::PopAll => drop(pop(&mut fifo, usize::MAX)),
            Op::Relist { undecodable, .. } => {
                // What the watch missed is why there is a list.
                for index in (0..NAMES).filter(|index| undecodable >> index & 1 == 1) {
                    if index % 2 == 0 {
                        server.delta(&Op::Delete(index));
                        server.delta(&Op::Create(index));
                    } else {
                        server.delta(&Op::Update(index));
                    }
                }
                let delta = server.delta(&Op::Relist {
                    undecodable: 0,
                    rewound: false,
                });
                let delta = delta.expect("a relist always gives a delta");
                apply(&mut direct, &delta);
                drop(fifo.push(delta).expect("a replacement is always taken"));
            }
            op => {
                let Some(mut delta) = server.delta(op) else {
                    continue;
                };
                apply(&mut direct, &delta);
                while let Err(Full(back)) = fifo.push(delta) {
                    pop(&mut fifo, 1);
                    delta = back;
                }
            }
        }
    }
    while pop(&mut fifo, usize::MAX) {}
    assert_eq!(known.contents(), direct);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn what_comes_out_applied_is_what_went_in(ops in ops()) {
        for config in configs() {
            run(&ops, config);
        }
    }

    #[test]
    fn an_ordered_queue_keeps_every_event_in_order(ops in ops()) {
        ordered_is_a_plain_queue(&ops);
    }

    #[test]
    fn a_compressed_queue_keeps_every_life(ops in ops()) {
        compressed_tells_every_life(&ops);
    }

    #[test]
    fn a_classic_queue_brings_its_known_objects_to_the_servers_state(ops in ops()) {
        for config in configs() {
            classic_converges(&ops, config);
        }
    }
}

#[test]
fn keeping_an_undecodable_key_keeps_what_waits_of_it() {
    let mut fifo = DeltaFifo::new(Config::default());
    drop(fifo.push(updated("a", "u1", 3)));
    drop(fifo.push(deleted("b", "u2", 4)));
    let mut replacement = Replacement::new(vec![Entry::new(obj("c", "u3", 1)).unwrap()], 9_u64.into());
    replacement.kept = vec![key("a"), key("b"), key("d")];
    drop(fifo.push(Delta::Replaced(replacement)));
    let Some(popped) = fifo.pop(1) else {
        panic!("a replacement waits")
    };
    let [Delta::Replaced(replacement)] = &popped.batch.deltas[..] else {
        panic!("{popped:?}")
    };
    let entries: Vec<_> = replacement.entries.iter().map(|entry| entry.key.name()).collect();
    assert_eq!(entries, ["c", "a"], "what waits of a is carried on, b is gone");
    assert_eq!(replacement.kept, [key("d")]);
}
