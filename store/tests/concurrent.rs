//! Readers, writers and subscriptions at once. The histories are made so that any mix of two instants shows.

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
};

use futures::StreamExt;
use informer_store::{Batch, Cache, Delta, Index, ObjectKey, OrderedIndex, Replacement, Snapshot};
use support::{Replay, Thing, thing};

const KEYS: u64 = 64;

/// Round `round` of a history in which everything held carries the round as its body: one batch updates every key, adds
/// some and deletes others.
fn round(round: u64) -> Batch<Thing> {
    let version = |at: u64| round * 1_000 + at;
    let deltas = (0..KEYS).map(|at| {
        let made = thing(&format!("n{}/{at}", at % 4), version(at)).body(round);
        if (at + round).is_multiple_of(5) {
            Delta::Deleted(made.tombstone())
        } else {
            Delta::Updated(made.entry())
        }
    });
    Batch::new(deltas.collect(), Some(version(KEYS).into()))
}

/// The same as a list.
fn relist(round: u64) -> Batch<Thing> {
    let version = |at: u64| round * 1_000 + at;
    let listed = (0..KEYS).filter(|at| !(at + round).is_multiple_of(5));
    let entries = listed.map(|at| {
        thing(&format!("n{}/{at}", at % 4), version(at))
            .body(round)
            .entry()
    });
    let version = version(KEYS).into();
    Batch::new(
        vec![Delta::Replaced(Replacement::new(entries.collect(), version))],
        Some((round * 1_000 + KEYS).into()),
    )
}

struct Indexes {
    hashed: Index<Thing, u64>,
    ordered: OrderedIndex<Thing, u64>,
}

/// I1, I6, I8: everything a snapshot shows is of one round, the one its version says.
fn check(snapshot: &Snapshot<Thing>, indexes: &Indexes) -> u64 {
    let Some(version) = snapshot.resource_version().as_u64() else {
        assert!(snapshot.is_empty());
        return 0;
    };
    let round = version / 1_000;
    let expect: Vec<u64> = (0..KEYS).filter(|at| !(at + round).is_multiple_of(5)).collect();
    assert_eq!(snapshot.len(), expect.len());
    assert!(snapshot.list().all(|held| held.body == round));
    assert_eq!(snapshot.list().count(), expect.len());
    for at in expect {
        let held = snapshot.get(&format!("n{}", at % 4), &at.to_string()).unwrap();
        assert_eq!(held.body, round);
    }
    let namespaced: usize = (0..4).map(|at| snapshot.namespace(&format!("n{at}")).len()).sum();
    assert_eq!(namespaced, snapshot.len());
    assert_eq!(snapshot.by_index(&indexes.hashed, &round).count(), snapshot.len());
    assert_eq!(snapshot.values(&indexes.hashed).count(), 1);
    assert_eq!(
        snapshot.range::<u64, u64, _>(&indexes.ordered, ..).count(),
        snapshot.len()
    );
    version
}

#[test]
fn i6_every_snapshot_is_one_that_existed() {
    let indexes = Indexes {
        hashed: Index::hash("hashed", |held: &Thing| Some(held.body)),
        ordered: OrderedIndex::new("ordered", |held: &Thing| Some(held.body)),
    };
    let cache = Cache::builder()
        .index(&indexes.hashed)
        .index(&indexes.ordered)
        .build();
    let done = AtomicBool::new(false);
    let checks = AtomicU64::new(0);
    thread::scope(|scope| {
        for reader in 0..3 {
            let (cache, done, checks, indexes) = (&cache, &done, &checks, &indexes);
            scope.spawn(move || {
                let mut newest = 0;
                let mut kept: Vec<(Snapshot<Thing>, u64)> = Vec::new();
                while !done.load(Ordering::Relaxed) {
                    let snapshot = cache.snapshot();
                    let version = check(&snapshot, indexes);
                    assert!(version >= newest, "I2: a reader never goes back");
                    newest = version;
                    // Single lookups are never older than a snapshot taken before them.
                    let key = ObjectKey::namespaced("n0", "0");
                    if let Some(held) = cache.get_by_key(&key) {
                        assert!(held.body >= version / 1_000);
                    }
                    if kept.len() < 4 {
                        kept.push((snapshot, version));
                    } else if newest % 3 == reader {
                        let (old, version) = kept.remove(0);
                        assert_eq!(check(&old, indexes), version, "a snapshot never changes");
                    }
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut next = 1;
        while next < 300 || (checks.load(Ordering::Relaxed) < 300 && next < 20_000) {
            cache.apply(if next % 10 == 0 { relist(next) } else { round(next) });
            next += 1;
        }
        done.store(true, Ordering::Relaxed);
    });
    assert!(checks.load(Ordering::Relaxed) > 0);
}

#[test]
fn h2_h3_subscriptions_that_join_and_leave_under_load_have_no_gap_and_no_duplicate() {
    for capacity in [16, 4096] {
        let cache = Cache::builder().log_capacity(capacity).build();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            for _ in 0..3 {
                let (cache, stop) = (&cache, &stop);
                scope.spawn(move || {
                    let mut joined = 0;
                    while !stop.load(Ordering::Relaxed) || joined == 0 {
                        joined += 1;
                        let mut replay = Replay::default();
                        let mut changes = cache.subscribe();
                        for _ in 0..(joined % 7) * 50 {
                            match futures::FutureExt::now_or_never(changes.next()) {
                                Some(Some(change)) => replay.take(&change),
                                _ => break,
                            }
                        }
                    }
                });
            }
            let last: Vec<_> = (0..3)
                .map(|_| {
                    let mut changes = cache.subscribe();
                    scope.spawn(move || {
                        let mut replay = Replay::default();
                        tokio_test::block_on(async {
                            while let Some(change) = changes.next().await {
                                replay.take(&change);
                                if change.key().name() == "last" {
                                    break;
                                }
                            }
                            for change in support::at_hand(&mut changes) {
                                replay.take(&change);
                            }
                        });
                        replay
                    })
                })
                .collect();
            for next in 1..150 {
                cache.apply(if next % 20 == 0 { relist(next) } else { round(next) });
            }
            let end = thing("n0/last", 1_000_000);
            cache.apply(Batch::new(
                vec![Delta::Added(end.entry())],
                Some(1_000_000.into()),
            ));
            stop.store(true, Ordering::Relaxed);
            for replay in last {
                let replay = replay.join().unwrap();
                assert_eq!(replay.held.len(), cache.len());
                for (key, held) in replay.held {
                    assert!(Arc::ptr_eq(&held, &cache.get_by_key(&key).unwrap()));
                }
            }
        });
    }
}

#[test]
fn h3_a_subscription_that_joins_during_a_long_step_misses_nothing_of_it() {
    // No subscription is there when the relist begins, so it writes no log; whoever joins meanwhile must make it up.
    let big = |version: u64| {
        let entries = (0..5_000).map(|at| thing(&format!("a/{at}"), version + at).entry());
        let replacement = Replacement::new(entries.collect(), (version + 5_000).into());
        Batch::new(vec![Delta::Replaced(replacement)], Some((version + 5_000).into()))
    };
    for attempt in 0..20u64 {
        let cache = Cache::new();
        cache.apply(big(1));
        let next = big(10_000);
        thread::scope(|scope| {
            let joiner = scope.spawn(|| {
                for _ in 0..attempt * 2_000 {
                    std::hint::spin_loop();
                }
                cache.subscribe()
            });
            cache.apply(next);
            let mut changes = joiner.join().unwrap();
            let mut replay = Replay::default();
            support::at_hand(&mut changes)
                .iter()
                .for_each(|change| replay.take(change));
            assert_eq!(replay.held.len(), 5_000);
            assert!(
                replay
                    .held
                    .iter()
                    .all(|(key, held)| Arc::ptr_eq(held, &cache.get_by_key(key).unwrap()))
            );
            assert_eq!(changes.delivered_version().as_u64(), Some(15_000));
        });
    }
}

#[test]
fn i8_an_index_added_under_load_is_complete() {
    let cache = Cache::new();
    cache.apply(relist(1));
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 2;
            while !stop.load(Ordering::Relaxed) {
                cache.apply(round(next));
                next += 1;
            }
        });
        for at in 0..30 {
            let index = Index::hash(&format!("late-{at}"), |held: &Thing| Some(held.body));
            cache.add_index(&index).unwrap();
            let snapshot = cache.snapshot();
            let round = snapshot.resource_version().as_u64().unwrap() / 1_000;
            assert_eq!(
                snapshot.values(&index).collect::<Vec<_>>(),
                [(&round, snapshot.len())]
            );
            assert!(cache.drop_index(&index));
        }
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn several_writers_take_turns() {
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    thread::scope(|scope| {
        for writer in 0..4u64 {
            let cache = &cache;
            scope.spawn(move || {
                for version in 1..200u64 {
                    let made = thing(&format!("w{writer}/{}", version % 7), version);
                    cache.apply(Batch::new(vec![Delta::Updated(made.entry())], None));
                }
            });
        }
    });
    let mut replay = Replay::default();
    support::at_hand(&mut changes)
        .iter()
        .for_each(|change| replay.take(change));
    assert_eq!(replay.held.len(), 28);
    assert_eq!(cache.stats().batches, 4 * 199);
}

/// I4, H2: single updates, which take the shortest way while nobody listens, beside relists, indexes and subscriptions that
/// come and go: each update is in the contents for good, counted once, and told in order to whoever listens.
#[test]
fn single_updates_beside_everything_else_are_neither_lost_nor_doubled() {
    const ROUNDS: u64 = 400;
    let cache = Cache::<Thing>::new();
    let key = |at: u64| format!("n{}/{at}", at % 4);
    let all = move || {
        let entries = (0..KEYS).map(|at| thing(&key(at), 1).entry()).collect();
        Batch::new(vec![Delta::Replaced(Replacement::new(entries, 1.into()))], None)
    };
    cache.apply(all());
    let done = Arc::new(AtomicBool::new(false));
    type Work = dyn Fn(&Cache<Thing>) + Send;
    let beside = |work: Box<Work>| {
        let (cache, done) = (cache.clone(), Arc::clone(&done));
        thread::spawn(move || {
            while !done.load(Ordering::Relaxed) {
                work(&cache);
                thread::yield_now();
            }
        })
    };
    let helpers = [
        // A list of old states: everything in it is known newer already.
        beside(Box::new(move |cache| cache.apply(all()))),
        beside(Box::new(|cache| {
            let index = Index::hash("body", |thing: &Thing| [thing.body]);
            cache.add_index(&index).unwrap();
            let snapshot = cache.snapshot();
            let sum: u64 = snapshot.list().map(|held| held.body).sum();
            let values = snapshot.values(&index);
            assert_eq!(values.map(|(body, held)| body * held as u64).sum::<u64>(), sum);
            assert!(cache.drop_index(&index));
        })),
        beside(Box::new(|cache| {
            let mut stream = cache.subscribe();
            let mut replay = Replay::default();
            for _ in 0..KEYS + 20 {
                use futures::FutureExt;
                match stream.next().now_or_never().flatten() {
                    Some(change) => replay.take(&change),
                    None => thread::yield_now(),
                }
            }
        })),
    ];
    for round in 2..ROUNDS {
        for at in 0..KEYS {
            let version = round * KEYS + at;
            let entry = thing(&key(at), version).body(round).entry();
            cache.apply_one(Delta::Updated(entry), Some(version.into()));
        }
    }
    done.store(true, Ordering::Relaxed);
    for helper in helpers {
        helper.join().unwrap();
    }
    let snapshot = cache.snapshot();
    assert_eq!(snapshot.len(), KEYS as usize);
    assert!(snapshot.list().all(|held| held.body == ROUNDS - 1));
    assert_eq!(
        snapshot.resource_version().as_u64(),
        Some((ROUNDS - 1) * KEYS + KEYS - 1)
    );
    assert_eq!(cache.stats().updated, (ROUNDS - 2) * KEYS);
    assert_eq!(cache.stats().stale_versions, 0);
}
