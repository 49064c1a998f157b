//! The classic mode: replacements and resyncs dealt out against what the consumer holds (D3).

mod common;

use std::sync::Arc;

use common::{KnownMap, Obj, added, deleted, replaced, shown, updated};
use informer_deltafifo::{Config, DeltaFifo, Discipline};
use informer_store::{Delta, ResourceVersion, ResyncPart};

const DISCIPLINES: [Discipline; 3] = [Discipline::Compressed, Discipline::Ordered, Discipline::Latest];

fn push_all(fifo: &mut DeltaFifo<Obj>, deltas: Vec<Delta<Obj>>) {
    for delta in deltas {
        drop(fifo.push(delta).expect("there is room"));
    }
}

fn pop(fifo: &mut DeltaFifo<Obj>, max: usize) -> (Vec<String>, Option<ResourceVersion>) {
    let popped = fifo.pop(max).expect("something waits");
    (shown(&popped.batch), popped.batch.version)
}

fn classic(known: &KnownMap, config: Config) -> DeltaFifo<Obj> {
    DeltaFifo::classic(config, Arc::new(known.clone()))
}

#[test]
fn d3_a_classic_replacement_deletes_what_is_known_or_waits_and_is_not_listed() {
    let known = KnownMap::of(&[("k1", "u1", 1), ("k2", "u2", 1), ("both", "u3", 1)]);
    let mut fifo = classic(&known, Config::default());
    push_all(
        &mut fifo,
        vec![
            added("w1", "u4", 2),
            updated("both", "u3", 3),
            deleted("k2", "u2", 4),
        ],
    );
    push_all(&mut fifo, vec![replaced(&[("z", "u9", 5), ("k9", "u8", 5)], 6)]);
    let (deltas, version) = pop(&mut fifo, usize::MAX);
    let expected = [
        "added w1/u4@2",
        "deleted? w1/u4@2",
        "updated both/u3@3",
        "deleted? both/u3@3",
        "deleted k2/u2@4",
        "deleted? k1/u1@1",
        "sync z/u9@5",
        "sync k9/u8@5",
    ];
    assert_eq!(
        deltas, expected,
        "the newest waiting object is the last state, and none is deleted twice"
    );
    assert_eq!(version, Some(6_u64.into()));
}

#[test]
fn a_classic_replacement_brings_what_waits_to_the_listed_state() {
    let known = KnownMap::of(&[("a", "u1", 1), ("b", "u2", 1)]);
    let check = |discipline: Discipline, expected: &[&str]| {
        let mut fifo = classic(&known, Config::default().discipline(discipline));
        push_all(&mut fifo, vec![updated("a", "u1", 2), updated("b", "u2", 3)]);
        push_all(
            &mut fifo,
            vec![
                replaced(&[("a", "u1", 8), ("b", "u3", 9)], 9),
                updated("a", "u1", 10),
            ],
        );
        assert_eq!(
            pop(&mut fifo, 9),
            (
                expected.iter().map(ToString::to_string).collect(),
                Some(10_u64.into())
            )
        );
    };
    check(
        Discipline::Compressed,
        &["updated a/u1@10", "updated b/u2@3", "sync b/u3@9"],
    );
    check(Discipline::Latest, &["updated a/u1@10", "updated b/u3@9"]);
    check(
        Discipline::Ordered,
        &[
            "updated a/u1@2",
            "updated b/u2@3",
            "sync a/u1@8",
            "sync b/u3@9",
            "updated a/u1@10",
        ],
    );
    let mut fifo = classic(&known, Config::default());
    push_all(
        &mut fifo,
        vec![
            updated("a", "u1", 2),
            replaced(&[("a", "u1", 8), ("b", "u2", 1)], 9),
        ],
    );
    assert_eq!(
        pop(&mut fifo, 9).0,
        ["updated a/u1@8", "sync b/u2@1"],
        "events between the two that nobody saw are in the list"
    );
}

#[test]
fn a_classic_replacement_of_a_history_that_went_back_takes_back_objects_and_version() {
    for discipline in DISCIPLINES {
        let known = KnownMap::of(&[("a", "u1", 1)]);
        let mut fifo = classic(&known, Config::default().discipline(discipline));
        push_all(
            &mut fifo,
            vec![updated("a", "u1", 99), Delta::Bookmark(100_u64.into())],
        );
        known.apply(&fifo.pop(9).expect("a waits").batch);
        fifo.applied();
        push_all(&mut fifo, vec![updated("a", "u1", 101)]);
        let Delta::Replaced(mut rewound) = replaced(&[("a", "u1", 40)], 50) else {
            unreachable!()
        };
        rewound.rewound = true;
        push_all(&mut fifo, vec![Delta::Replaced(rewound), updated("b", "u2", 51)]);
        let popped = fifo.pop(9).expect("both wait");
        known.apply(&popped.batch);
        assert_eq!(popped.batch.version, Some(51_u64.into()), "{discipline:?}");
        assert_eq!(known.contents()["a"].1, "40", "{discipline:?}");
        push_all(&mut fifo, vec![Delta::Bookmark(60_u64.into())]);
        assert_eq!(pop(&mut fifo, 9).1, Some(60_u64.into()), "{discipline:?}");
    }
}

#[test]
fn bookmarks_after_a_list_whose_history_went_back_claim_nothing_of_the_lost_one() {
    let mut fifo = classic(&KnownMap::default(), Config::default());
    push_all(&mut fifo, vec![Delta::Bookmark(100_u64.into())]);
    assert_eq!(pop(&mut fifo, 9).1, Some(100_u64.into()));
    let Delta::Replaced(mut rewound) = replaced(&[], 50) else {
        unreachable!()
    };
    rewound.rewound = true;
    push_all(
        &mut fifo,
        vec![
            Delta::Replaced(rewound),
            updated("b", "u2", 51),
            updated("c", "u3", 52),
            Delta::Bookmark(60_u64.into()),
        ],
    );
    let claimed: Vec<_> = std::iter::from_fn(|| fifo.pop(1))
        .map(|popped| popped.batch.version)
        .collect();
    assert_eq!(claimed, [Some(51_u64.into()), Some(60_u64.into())]);
}

#[test]
fn a_classic_deletion_of_something_nobody_knows_is_ignored_unless_every_event_is_asked_for() {
    let known = KnownMap::of(&[("k", "u1", 1)]);
    let mut fifo = classic(&known, Config::default());
    push_all(&mut fifo, vec![deleted("x", "u2", 2)]);
    assert!(fifo.is_empty());
    assert_eq!(fifo.stats().ignored, 1);
    push_all(&mut fifo, vec![deleted("k", "u1", 3)]);
    assert_eq!(pop(&mut fifo, 9).0, ["deleted k/u1@3"]);
    let mut ordered = classic(&known, Config::default().discipline(Discipline::Ordered));
    push_all(&mut ordered, vec![deleted("x", "u2", 2)]);
    assert_eq!(pop(&mut ordered, 9).0, ["deleted x/u2@2"]);
}

#[test]
fn a_classic_resync_delivers_what_is_known_and_has_nothing_waiting() {
    let known = KnownMap::of(&[("a", "u1", 1), ("b", "u2", 1)]);
    let mut fifo = classic(&known, Config::default());
    push_all(
        &mut fifo,
        vec![updated("a", "u1", 2), Delta::Resync(ResyncPart::ALL)],
    );
    assert_eq!(pop(&mut fifo, 9).0, ["updated a/u1@2", "sync b/u2@1"]);
    push_all(&mut fifo, vec![Delta::Resync(ResyncPart::ALL)]);
    assert_eq!(
        fifo.len(),
        0,
        "what was handed out is not known to be applied yet"
    );
    fifo.applied();
    for part in 0..3 {
        push_all(&mut fifo, vec![Delta::Resync(ResyncPart { part, of: 3 })]);
    }
    assert_eq!(fifo.len(), 2, "every object is in exactly one part");
}

#[test]
fn a_classic_replacement_knows_what_was_handed_out_and_not_yet_applied() {
    let known = KnownMap::default();
    let mut fifo = classic(&known, Config::default());
    push_all(&mut fifo, vec![added("a", "u1", 1)]);
    let popped = fifo.pop(9).expect("a waits");
    // The consumer has not applied it, so that it is in neither place.
    push_all(&mut fifo, vec![replaced(&[], 2)]);
    known.apply(&popped.batch);
    assert_eq!(pop(&mut fifo, 9).0, ["deleted? a/u1@1"]);
}

#[test]
fn of_what_was_handed_out_and_what_waits_the_latter_is_newer() {
    let mut fifo = classic(&KnownMap::default(), Config::default());
    push_all(&mut fifo, vec![added("a", "u1", 1), deleted("a", "u1", 2)]);
    assert_eq!(pop(&mut fifo, 9).0.len(), 2);
    push_all(&mut fifo, vec![added("a", "u2", 3), replaced(&[], 4)]);
    assert_eq!(pop(&mut fifo, 9).0, ["added a/u2@3", "deleted? a/u2@3"]);
}

#[test]
fn classic_sync_is_complete_once_the_first_list_is_out_or_if_there_was_none() {
    let mut listed = classic(&KnownMap::default(), Config::default());
    push_all(
        &mut listed,
        vec![
            replaced(&[("a", "u1", 1), ("b", "u2", 1)], 1),
            updated("a", "u1", 2),
        ],
    );
    assert!(!listed.pop(1).unwrap().completes_sync);
    assert!(listed.pop(1).unwrap().completes_sync);
    let mut fed = classic(&KnownMap::default(), Config::default());
    push_all(&mut fed, vec![added("a", "u1", 1)]);
    assert!(fed.pop(1).unwrap().completes_sync);
    let mut empty = classic(&KnownMap::default(), Config::default());
    push_all(&mut empty, vec![replaced(&[], 1)]);
    assert!(empty.pop(1).unwrap().completes_sync);
}
