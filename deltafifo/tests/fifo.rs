//! The queue by itself: what each discipline keeps, replacements, versions, bounds (D1–D5).

mod common;

use std::sync::Arc;

use common::{Obj, added, deleted, inferred, key, obj, replaced, shown, updated};
use informer_deltafifo::{Config, DeltaFifo, Discipline, WhenFull};
use informer_store::{Cause, Delta, Entry, ResourceVersion, ResyncPart};

const DISCIPLINES: [Discipline; 3] = [Discipline::Compressed, Discipline::Ordered, Discipline::Latest];

fn fifo(discipline: Discipline) -> DeltaFifo<Obj> {
    DeltaFifo::new(Config::default().discipline(discipline))
}

fn push_all(fifo: &mut DeltaFifo<Obj>, deltas: Vec<Delta<Obj>>) {
    for delta in deltas {
        drop(fifo.push(delta).expect("there is room"));
    }
}

fn pop(fifo: &mut DeltaFifo<Obj>, max: usize) -> (Vec<String>, Option<ResourceVersion>) {
    let popped = fifo.pop(max).expect("something waits");
    (shown(&popped.batch), popped.batch.version)
}

/// What comes out at once after these went in.
fn check(discipline: Discipline, deltas: Vec<Delta<Obj>>, expected: &[&str]) {
    let mut fifo = fifo(discipline);
    push_all(&mut fifo, deltas);
    assert_eq!(pop(&mut fifo, usize::MAX).0, expected, "{discipline:?}");
    assert!(fifo.is_empty());
}

#[test]
fn superseded_updates_are_merged_and_a_key_keeps_its_place() {
    let deltas = || {
        vec![
            added("a", "u1", 1),
            added("b", "u2", 2),
            updated("a", "u1", 3),
            updated("a", "u1", 4),
        ]
    };
    let all = ["added a/u1@1", "added b/u2@2", "updated a/u1@3", "updated a/u1@4"];
    check(
        Discipline::Compressed,
        deltas(),
        &["added a/u1@4", "added b/u2@2"],
    );
    check(Discipline::Latest, deltas(), &["added a/u1@4", "added b/u2@2"]);
    check(Discipline::Ordered, deltas(), &all);
}

#[test]
fn every_life_of_an_object_is_told_unless_only_the_latest_is_asked_for() {
    let deltas = || {
        vec![
            updated("a", "u1", 1),
            deleted("a", "u1", 2),
            added("a", "u2", 3),
            updated("a", "u2", 4),
            deleted("a", "u2", 5),
        ]
    };
    let lives = [
        "updated a/u1@1",
        "deleted a/u1@2",
        "added a/u2@4",
        "deleted a/u2@5",
    ];
    check(Discipline::Compressed, deltas(), &lives);
    // Whatever is held has to go, also u1, of whose deletion nobody heard.
    check(Discipline::Latest, deltas(), &["deleted a/*@5"]);
}

#[test]
fn an_object_of_another_uid_is_kept_apart_even_where_no_deletion_was_seen() {
    let deltas = || vec![updated("a", "u1", 1), updated("a", "u2", 2)];
    check(
        Discipline::Compressed,
        deltas(),
        &["updated a/u1@1", "updated a/u2@2"],
    );
    check(Discipline::Latest, deltas(), &["updated a/u2@2"]);
}

#[test]
fn two_deletions_in_a_row_are_one_and_the_seen_one_stays() {
    check(
        Discipline::Compressed,
        vec![deleted("a", "u1", 2), inferred("a")],
        &["deleted a/*@2"],
    );
    check(
        Discipline::Compressed,
        vec![inferred("a"), deleted("a", "u1", 2)],
        &["deleted a/*@2"],
    );
    check(
        Discipline::Compressed,
        vec![deleted("a", "u1", 2), deleted("a", "u1", 3)],
        &["deleted a/u1@3"],
    );
    let apart = ["deleted a/u1@2", "deleted a/u2@3"];
    check(
        Discipline::Compressed,
        vec![deleted("a", "u1", 2), deleted("a", "u2", 3)],
        &apart,
    );
    check(
        Discipline::Ordered,
        vec![deleted("a", "u1", 2), inferred("a")],
        &["deleted a/u1@2", "deleted? a/*@-"],
    );
}

#[test]
fn a_late_duplicate_never_replaces_a_newer_state() {
    check(
        Discipline::Compressed,
        vec![updated("a", "u1", 9), updated("a", "u1", 8)],
        &["updated a/u1@9"],
    );
}

#[test]
fn a_late_duplicate_is_told_whatever_the_length_of_its_version() {
    let update = |version: &str| {
        let mut object = Arc::unwrap_or_clone(obj("a", "u1", 0));
        object.version = version.into();
        Delta::Updated(Entry::new(object).expect("it has a name"))
    };
    let (large, larger) = ("100000000000000000000008", "100000000000000000000009");
    let newest = |versions: [&str; 2]| {
        let mut fifo = fifo(Discipline::Compressed);
        push_all(&mut fifo, versions.map(update).into());
        pop(&mut fifo, 9).0
    };
    assert_eq!(newest([larger, large]), [format!("updated a/u1@{larger}")]);
    assert_eq!(newest([large, larger]), [format!("updated a/u1@{larger}")]);
    assert_eq!(newest([large, "9"]), [format!("updated a/u1@{large}")]);
    assert_eq!(newest(["7", "0"]), ["updated a/u1@7"]);
    // Nothing is known of the age of these.
    assert_eq!(newest(["7", ""]), ["updated a/u1@"]);
    assert_eq!(newest(["7", "opaque"]), ["updated a/u1@opaque"]);
}

#[test]
fn a_redelivery_tells_nothing_beyond_what_waits() {
    let sync = |version| Delta::Sync(Entry::with_key(key("a"), obj("a", "u1", version)).cause(Cause::Resync));
    check(
        Discipline::Compressed,
        vec![updated("a", "u1", 2), sync(1)],
        &["updated a/u1@2"],
    );
    check(
        Discipline::Compressed,
        vec![sync(1), updated("a", "u1", 2)],
        &["updated a/u1@2"],
    );
    check(Discipline::Compressed, vec![sync(1), sync(1)], &["sync a/u1@1"]);
}

#[test]
fn a_replacement_travels_alone_and_swallows_what_waited() {
    for discipline in DISCIPLINES {
        let mut fifo = fifo(discipline);
        push_all(
            &mut fifo,
            vec![
                added("a", "u1", 1),
                replaced(&[("b", "u2", 2)], 3),
                updated("b", "u2", 4),
                added("c", "u3", 5),
            ],
        );
        assert_eq!(
            pop(&mut fifo, usize::MAX),
            (vec!["replaced [b] @3".into()], Some(3_u64.into()))
        );
        let rest = vec!["updated b/u2@4".to_owned(), "added c/u3@5".into()];
        assert_eq!(pop(&mut fifo, usize::MAX), (rest, Some(5_u64.into())));
        assert_eq!(fifo.stats().swallowed, 1);
    }
}

#[test]
fn a_replacement_that_nobody_saw_is_void_but_its_rewind_is_not() {
    let mut fifo = fifo(Discipline::Compressed);
    let Delta::Replaced(mut rewound) = replaced(&[("a", "u1", 2)], 2) else {
        unreachable!()
    };
    rewound.rewound = true;
    push_all(
        &mut fifo,
        vec![Delta::Replaced(rewound), replaced(&[("b", "u2", 3)], 3)],
    );
    let popped = fifo.pop(1).expect("a replacement waits");
    let [Delta::Replaced(replacement)] = &popped.batch.deltas[..] else {
        panic!("{popped:?}")
    };
    assert!(
        replacement.rewound,
        "the consumer may hold a version that the server lost"
    );
    assert_eq!(replacement.entries.len(), 1);
    assert!(fifo.pop(1).is_none());
    assert_eq!((fifo.stats().replaced, fifo.stats().replaced_void), (2, 1));
}

#[test]
fn a_bookmark_waits_for_what_precedes_it() {
    let mut fifo = fifo(Discipline::Compressed);
    push_all(
        &mut fifo,
        vec![
            added("a", "u1", 1),
            added("b", "u2", 2),
            Delta::Bookmark(5_u64.into()),
        ],
    );
    assert_eq!(pop(&mut fifo, 1).1, Some(1_u64.into()));
    assert_eq!(pop(&mut fifo, 1).1, Some(5_u64.into()));
    assert!(fifo.is_empty());
}

#[test]
fn a_bookmark_from_before_a_rewind_is_void() {
    let mut fifo = fifo(Discipline::Compressed);
    let Delta::Replaced(mut rewound) = replaced(&[], 5) else {
        unreachable!()
    };
    rewound.rewound = true;
    push_all(
        &mut fifo,
        vec![Delta::Bookmark(10_u64.into()), Delta::Replaced(rewound)],
    );
    assert_eq!(pop(&mut fifo, 9).1, Some(5_u64.into()));
    assert!(fifo.is_empty());
    push_all(&mut fifo, vec![added("a", "u1", 6)]);
    assert_eq!(pop(&mut fifo, 9).1, Some(6_u64.into()));
}

#[test]
fn a_batch_has_a_version_only_when_nothing_older_stays_behind() {
    let mut fifo = fifo(Discipline::Compressed);
    push_all(
        &mut fifo,
        vec![
            added("a", "u1", 1),
            added("b", "u2", 2),
            updated("a", "u1", 3),
            added("c", "u3", 4),
        ],
    );
    assert_eq!(
        pop(&mut fifo, 1),
        (vec!["added a/u1@3".into()], None),
        "b@2 still waits"
    );
    assert_eq!(
        pop(&mut fifo, 1),
        (vec!["added b/u2@2".into()], Some(3_u64.into())),
        "now all up to 3 is out"
    );
    assert_eq!(
        pop(&mut fifo, 1),
        (vec!["added c/u3@4".into()], Some(4_u64.into()))
    );
}

#[test]
fn a_bookmark_is_the_version_of_what_precedes_it_and_bookmarks_merge() {
    let bookmark = |version: u64| Delta::Bookmark(version.into());
    for discipline in DISCIPLINES {
        let mut fifo = fifo(discipline);
        push_all(&mut fifo, vec![bookmark(5), bookmark(6)]);
        assert_eq!(
            pop(&mut fifo, 9),
            (vec!["bookmark @6".into()], Some(6_u64.into()))
        );
        push_all(&mut fifo, vec![added("a", "u1", 7), bookmark(9)]);
        assert_eq!(
            pop(&mut fifo, 9),
            (vec!["added a/u1@7".into()], Some(9_u64.into()))
        );
        push_all(&mut fifo, vec![bookmark(10), added("b", "u2", 11)]);
        assert_eq!(
            pop(&mut fifo, 9),
            (vec!["added b/u2@11".into()], Some(11_u64.into()))
        );
        push_all(&mut fifo, vec![bookmark(10)]);
        assert_eq!(
            pop(&mut fifo, 9).1,
            Some(11_u64.into()),
            "I2: the version does not go back"
        );
        assert!(fifo.is_empty());
    }
}

#[test]
fn resync_parts_merge_and_leave_after_all_that_waited() {
    let part = |part, of| Delta::Resync(ResyncPart { part, of });
    let mut fifo = fifo(Discipline::Compressed);
    push_all(
        &mut fifo,
        vec![
            added("a", "u1", 1),
            part(0, 3),
            part(1, 3),
            part(0, 3),
            added("b", "u2", 2),
        ],
    );
    assert_eq!(pop(&mut fifo, 1).0, ["added a/u1@1"]);
    assert_eq!(
        pop(&mut fifo, 1),
        (vec!["resync 0/3".into(), "resync 1/3".into()], None)
    );
    push_all(&mut fifo, vec![part(0, 3), part(0, 1), part(2, 3)]);
    assert_eq!(pop(&mut fifo, 1).0, ["added b/u2@2"]);
    assert_eq!(
        pop(&mut fifo, 1).0,
        ["resync 0/1"],
        "everything includes every part"
    );
    for of in 2..1000 {
        push_all(&mut fifo, vec![part(1, of)]);
    }
    assert!(
        pop(&mut fifo, 1).0.len() <= 65,
        "D5: bounded whatever is asked for"
    );
}

#[test]
fn a_full_queue_refuses_what_needs_room_and_takes_what_does_not() {
    let mut fifo = DeltaFifo::new(Config::default().capacity(2));
    push_all(&mut fifo, vec![added("a", "u1", 1), added("b", "u2", 2)]);
    assert!(fifo.is_full());
    let Err(refused) = fifo.push(added("c", "u3", 3)) else {
        panic!("there is no room")
    };
    assert_eq!(
        common::show(&refused.0),
        "added c/u3@3",
        "the delta comes back whole"
    );
    push_all(
        &mut fifo,
        vec![updated("a", "u1", 4), Delta::Bookmark(5_u64.into())],
    );
    let Err(refused) = fifo.push(deleted("b", "u2", 6)) else {
        panic!("a deletion is kept apart")
    };
    assert_eq!(common::show(&refused.0), "deleted b/u2@6");
    push_all(&mut fifo, vec![replaced(&[], 7)]);
    assert!(!fifo.is_full());
    assert_eq!(fifo.stats().depth_max, 2);
}

#[test]
fn a_full_ordered_queue_steps_down_to_compressed_until_it_has_been_emptied() {
    let config = Config::default()
        .discipline(Discipline::Ordered)
        .when_full(WhenFull::Compress)
        .capacity(4);
    let mut fifo = DeltaFifo::new(config);
    for version in 1..=20 {
        push_all(&mut fifo, vec![updated("a", "u1", version)]);
    }
    push_all(
        &mut fifo,
        vec![added("b", "u2", 21), added("c", "u3", 22), added("d", "u4", 23)],
    );
    assert!(
        fifo.push(added("e", "u5", 24)).is_err(),
        "four keys that differ can't be merged"
    );
    assert_eq!(fifo.stats().step_downs, 1);
    let all = [
        "updated a/u1@20",
        "added b/u2@21",
        "added c/u3@22",
        "added d/u4@23",
    ];
    assert_eq!(
        pop(&mut fifo, 9),
        (all.map(String::from).to_vec(), Some(23_u64.into()))
    );
    push_all(&mut fifo, vec![updated("a", "u1", 25), updated("a", "u1", 26)]);
    assert_eq!(
        pop(&mut fifo, 9).0,
        ["updated a/u1@25", "updated a/u1@26"],
        "ordered again"
    );
}

#[test]
fn the_sync_is_completed_by_the_batch_that_ends_the_first_replacement() {
    let mut fifo = fifo(Discipline::Compressed);
    push_all(&mut fifo, vec![added("early", "u0", 1)]);
    assert!(!fifo.pop(1).unwrap().completes_sync);
    push_all(&mut fifo, vec![replaced(&[], 2), added("a", "u1", 3)]);
    assert!(fifo.pop(1).unwrap().completes_sync, "an empty list is a list");
    push_all(&mut fifo, vec![replaced(&[], 4)]);
    assert!(!fifo.pop(1).unwrap().completes_sync, "once");
}

// Classic mode.

#[test]
fn memory_of_a_backlog_is_bounded_by_its_keys() {
    let mut fifo = fifo(Discipline::Compressed);
    let object = obj("k0", "u", 1);
    for version in 0..10_000_u64 {
        let name = format!("k{}", version % 10);
        drop(
            fifo.push(updated(&name, "u", version))
                .expect("ten keys find room"),
        );
    }
    assert_eq!(fifo.len(), 10);
    let held = Arc::downgrade(&object);
    drop(fifo.push(Delta::Updated(Entry::with_key(key("k0"), object))));
    assert!(held.upgrade().is_none(), "a superseded object is let go at once");
}

#[test]
fn debug_shows_no_object() {
    let mut fifo = fifo(Discipline::Compressed);
    push_all(&mut fifo, vec![added("a", "canary-uid", 1)]);
    let text = format!("{fifo:?} {:?}", fifo.pop(1));
    assert!(text.contains("added") || text.contains("Added"), "{text}");
    assert!(!text.contains("canary"), "{text}");
}
