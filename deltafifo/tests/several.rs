//! Random histories of several sources through the queue into a cache: what one of them lists anew leaves in one step, with
//! what the others hold as it would be by then.

mod common;

use std::collections::BTreeMap;

use common::{Contents, Obj, added, apply, deleted, entry, key, updated};
use informer_deltafifo::{Config, DeltaFifo, Discipline, Full, WhenFull};
use informer_store::{Cache, Delta, Object, Replacement};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Op {
    /// An object of a source comes, changes or goes.
    Put(usize, usize),
    Delete(usize, usize),
    /// The same, unseen until the source is listed anew.
    PutUnseen(usize, usize),
    DeleteUnseen(usize, usize),
    Relist {
        part: usize,
        rewound: bool,
    },
    Bookmark(usize),
    Pop(usize),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let (part, name) = (|| 0..PARTS, || 0..NAMES);
    let op = prop_oneof![
        6 => (part(), name()).prop_map(|(part, name)| Op::Put(part, name)),
        3 => (part(), name()).prop_map(|(part, name)| Op::Delete(part, name)),
        2 => (part(), name()).prop_map(|(part, name)| Op::PutUnseen(part, name)),
        2 => (part(), name()).prop_map(|(part, name)| Op::DeleteUnseen(part, name)),
        3 => (part(), prop::bool::weighted(0.2)).prop_map(|(part, rewound)| Op::Relist { part, rewound }),
        1 => part().prop_map(Op::Bookmark),
        3 => (0..4_usize).prop_map(Op::Pop),
    ];
    prop::collection::vec(op, 1..120)
}

const PARTS: usize = 3;
const NAMES: usize = 4;

fn name(part: usize, index: usize) -> String {
    format!("{part}-{index}")
}

/// Name to uid and version.
type Objects = BTreeMap<String, (String, u64)>;

/// What the server has of one source, what has been told of it, and how far it has come.
#[derive(Clone, Default)]
struct Source {
    objects: Objects,
    told: Objects,
    version: u64,
}

struct Check {
    fifo: DeltaFifo<Obj>,
    cache: Cache<Obj>,
    sources: Vec<Source>,
    /// The server's version and the number of uids given.
    version: u64,
    uids: u64,
    claimed: u64,
    /// What a store without a queue holds.
    direct: Contents,
    /// The same when the replacement was pushed that waits.
    replaced: Option<Contents>,
}

impl Check {
    fn new(config: Config) -> Self {
        let mut check = Self {
            fifo: DeltaFifo::new(config),
            cache: Cache::new(),
            sources: vec![Source::default(); PARTS],
            version: 1,
            uids: 0,
            claimed: 1,
            direct: Contents::new(),
            replaced: None,
        };
        for source in &mut check.sources {
            source.version = 1;
        }
        check.push(Delta::Replaced(Replacement::new(Vec::new(), 1.into())));
        check.fifo.claim_bookmarks_only();
        check
    }

    fn put(&mut self, part: usize, index: usize) -> Delta<Obj> {
        self.version += 1;
        let (name, version) = (name(part, index), self.version);
        let objects = &mut self.sources[part].objects;
        if let Some((uid, held)) = objects.get_mut(&name) {
            *held = version;
            return updated(&name, uid, version);
        }
        self.uids += 1;
        let uid = format!("u{}", self.uids);
        let delta = added(&name, &uid, version);
        objects.insert(name, (uid, version));
        delta
    }

    fn delete(&mut self, part: usize, index: usize) -> Option<Delta<Obj>> {
        let name = name(part, index);
        let (uid, _) = self.sources[part].objects.remove(&name)?;
        self.version += 1;
        Some(deleted(&name, &uid, self.version))
    }

    /// A delta that is seen; after something unseen the source has nothing to tell until it is listed anew.
    fn tell(&mut self, part: usize, before: &Objects, delta: Delta<Obj>) {
        let source = &mut self.sources[part];
        if source.told != *before {
            return;
        }
        source.told.clone_from(&source.objects);
        source.version = self.version;
        self.push(delta);
        self.reach();
    }

    fn reach(&mut self) {
        let reached = self.sources.iter().map(|source| source.version).min();
        let reached = reached.expect("there are sources");
        if reached > self.claimed {
            self.claimed = reached;
            self.push(Delta::Bookmark(reached.into()));
        }
    }

    fn relist(&mut self, part: usize, rewound: bool) {
        self.version += 1;
        let source = &mut self.sources[part];
        source.version = self.version;
        source.told.clone_from(&source.objects);
        let versions = || self.sources.iter().map(|source| source.version);
        let claim = versions().min().expect("there are sources");
        let entries = self.sources[part].objects.iter();
        let entries = entries.map(|(name, (uid, version))| entry(name, uid, *version));
        let mut list = Replacement::new(entries.collect(), claim.into());
        list.as_of = versions().max().expect("there are sources").into();
        list.rewound = rewound;
        for other in (0..PARTS).filter(|other| *other != part) {
            list.kept
                .extend(self.sources[other].told.keys().map(|name| key(name)));
        }
        self.claimed = claim;
        self.push(Delta::Replaced(list));
    }

    fn push(&mut self, delta: Delta<Obj>) {
        apply(&mut self.direct, &delta);
        if let Delta::Replaced(_) = delta {
            self.replaced = Some(self.direct.clone());
        }
        let mut delta = delta;
        while let Err(Full(back)) = self.fifo.push(delta) {
            self.pop(1);
            delta = back;
        }
    }

    fn pop(&mut self, max: usize) {
        let Some(popped) = self.fifo.pop(max) else {
            return;
        };
        let is_replaced = matches!(popped.batch.deltas[..], [Delta::Replaced(_)]);
        self.cache.apply(popped.batch);
        let claimed = self.cache.resource_version().as_u64();
        assert!(claimed <= Some(self.claimed), "{claimed:?} of {}", self.claimed);
        if is_replaced {
            let then = self.replaced.take().expect("one was pushed");
            assert_eq!(self.held(), then, "I6: all of the step");
        }
    }

    fn held(&self) -> Contents {
        let snapshot = self.cache.snapshot();
        let entries = snapshot.entries();
        entries
            .map(|(key, object)| {
                let version = object.version().to_string();
                (key.name().to_owned(), (object.uid.clone(), version))
            })
            .collect()
    }

    fn take(&mut self, op: &Op) {
        match *op {
            Op::Put(part, index) => {
                let before = self.sources[part].objects.clone();
                let delta = self.put(part, index);
                self.tell(part, &before, delta);
            }
            Op::Delete(part, index) => {
                let before = self.sources[part].objects.clone();
                if let Some(delta) = self.delete(part, index) {
                    self.tell(part, &before, delta);
                }
            }
            Op::PutUnseen(part, index) => drop(self.put(part, index)),
            Op::DeleteUnseen(part, index) => drop(self.delete(part, index)),
            Op::Relist { part, rewound } => self.relist(part, rewound),
            Op::Bookmark(part) => {
                let source = &mut self.sources[part];
                if source.told == source.objects {
                    source.version = self.version;
                    self.reach();
                }
            }
            Op::Pop(max) => self.pop(max),
        }
    }

    fn end(mut self) {
        for part in 0..PARTS {
            self.relist(part, false);
        }
        while !self.fifo.is_empty() {
            self.pop(2);
        }
        assert_eq!(self.held(), self.direct);
        let truth: Contents = self
            .sources
            .iter()
            .flat_map(|source| source.objects.clone())
            .map(|(name, (uid, version))| (name, (uid, version.to_string())))
            .collect();
        assert_eq!(self.held(), truth, "I1 in the end");
        assert_eq!(self.cache.resource_version().as_u64(), Some(self.claimed));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn i6_what_one_of_several_sources_lists_anew_leaves_in_one_step(
        ops in ops(),
        discipline in prop::sample::select(vec![Discipline::Compressed, Discipline::Ordered, Discipline::Latest]),
        when_full in prop::sample::select(vec![WhenFull::Backpressure, WhenFull::Compress]),
        capacity in 1..12_usize,
    ) {
        let config = Config::default().discipline(discipline).when_full(when_full).capacity(capacity);
        let mut check = Check::new(config);
        for op in &ops {
            check.take(op);
        }
        check.end();
    }
}
