//! What each kind of delta does to the contents, the version, the counts and the subscriptions.

mod support;

use std::sync::Arc;

use informer_store::{
    Batch, Cache, CacheBuilder, Cause, Change, Delta, Entry, ObjectKey, RelistOrder, Replacement,
    ResourceVersion, ResyncPart, Tombstone, UidChange, Unchanged,
};
use support::{Thing, at_hand, line, lines, thing};

/// Applies `deltas` one by one and compares the changes they make with `expect`.
fn check(builder: CacheBuilder<Thing>, deltas: Vec<Delta<Thing>>, expect: &[&str]) -> Cache<Thing> {
    let cache = builder.build();
    let mut changes = cache.subscribe();
    for delta in deltas {
        cache.apply(Batch::new(vec![delta], None));
    }
    assert_eq!(lines(&at_hand(&mut changes)), expect);
    cache
}

fn added(thing: Thing) -> Delta<Thing> {
    Delta::Added(thing.entry())
}

fn updated(thing: Thing) -> Delta<Thing> {
    Delta::Updated(thing.entry())
}

fn deleted(thing: Thing) -> Delta<Thing> {
    Delta::Deleted(thing.tombstone())
}

fn list(things: Vec<Thing>, version: u64) -> Replacement<Thing> {
    Replacement::new(things.into_iter().map(Thing::entry).collect(), version.into())
}

fn replaced(things: Vec<Thing>, version: u64) -> Delta<Thing> {
    Delta::Replaced(list(things, version))
}

fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

#[test]
fn what_the_server_calls_it_does_not_matter_what_is_held_does() {
    check(
        Cache::builder(),
        vec![
            updated(thing("a/x", 1)),
            added(thing("a/x", 2)),
            deleted(thing("a/x", 3)),
            deleted(thing("a/y", 4)),
        ],
        &["+a/x@1", "~a/x@1>2", "-a/x@3"],
    );
}

#[test]
fn i4_a_version_that_is_not_newer_is_refused_and_counted() {
    let cache = check(
        Cache::builder(),
        vec![
            added(thing("a/x", 5)),
            updated(thing("a/x", 5).body(9)),
            updated(thing("a/x", 4)),
            deleted(thing("a/x", 4)),
        ],
        &["+a/x@5"],
    );
    assert_eq!(cache.stats().stale, 3);
    assert_eq!(cache.get("a", "x").unwrap().body, 5);
}

#[test]
fn a_deletion_at_exactly_the_held_version_is_honoured() {
    check(
        Cache::builder(),
        vec![added(thing("a/x", 5)), deleted(thing("a/x", 5))],
        &["+a/x@5", "-a/x@5"],
    );
}

#[test]
fn versions_compare_as_numbers_of_any_length() {
    let at = |version: &str| {
        let mut made = thing("a/x", 1);
        made.version = version.into();
        made
    };
    check(
        Cache::builder(),
        vec![
            added(at("99")),
            updated(at("100")),
            updated(at("99999999999999999999999999")),
            updated(at("100000000000000000000000000")),
            updated(at("18446744073709551615")),
        ],
        &[
            "+a/x@99",
            "~a/x@99>100",
            "~a/x@100>99999999999999999999999999",
            "~a/x@99999999999999999999999999>100000000000000000000000000",
        ],
    );
}

#[test]
fn opaque_versions_are_compared_for_equality_only() {
    let at = |version: &str| {
        let mut made = thing("a/x", 1);
        made.version = version.into();
        made
    };
    let cache = check(
        Cache::builder(),
        vec![
            added(at("abc")),
            updated(at("abc")),
            updated(at("abb")),
            updated(at("7")),
            deleted(at("zzz")),
        ],
        &["+a/x@abc", "~a/x@abc>abb", "~a/x@abb>7", "-a/x@zzz"],
    );
    assert_eq!(cache.stats().stale, 1);
}

#[test]
fn objects_without_a_version_are_always_taken() {
    let mut bare = thing("a/x", 1);
    bare.version.clear();
    check(
        Cache::builder(),
        vec![
            added(bare.clone()),
            updated(bare.clone()),
            updated(thing("a/x", 2)),
            updated(bare),
        ],
        &["+a/x@", "~a/x@>", "~a/x@>2", "~a/x@2>"],
    );
}

#[test]
fn i7_another_uid_under_the_same_name_is_a_deletion_and_an_addition() {
    let deltas = || {
        vec![
            added(thing("a/x", 1).uid("one")),
            updated(thing("a/x", 2).uid("two")),
        ]
    };
    check(Cache::builder(), deltas(), &["+a/x@1", "-a/x@1!", "+a/x@2"]);
    check(
        Cache::builder().uid_change(UidChange::Update),
        deltas(),
        &["+a/x@1", "~a/x@1>2"],
    );
}

#[test]
fn a_tombstone_of_another_uid_is_ignored_and_counted() {
    let cache = check(
        Cache::builder(),
        vec![
            added(thing("a/x", 1).uid("one")),
            deleted(thing("a/x", 9).uid("two")),
        ],
        &["+a/x@1"],
    );
    assert_eq!(cache.stats().foreign_tombstones, 1);
}

#[test]
fn a_tombstone_without_an_object_tells_what_was_held() {
    let mut tombstone = Tombstone::of(key("a/x"));
    tombstone.cause = Cause::Repair;
    let cache = Cache::builder().build();
    let mut changes = cache.subscribe();
    cache.apply(Batch::new(
        vec![added(thing("a/x", 1)), Delta::Deleted(tombstone)],
        None,
    ));
    let changes = at_hand(&mut changes);
    assert_eq!(lines(&changes), ["+a/x@1", "-a/x@1!"]);
    assert_eq!(changes[1].cause(), Cause::Repair);
}

#[test]
fn i7_a_relist_tells_deletions_first_in_key_order_then_the_list_in_its_order() {
    let before = vec![
        thing("b/gone", 1),
        thing("a/gone", 2),
        thing("a/kept", 3),
        thing("a/changed", 4),
        thing("a/new-uid", 5),
    ];
    let after = || {
        vec![
            thing("c/new", 9),
            thing("a/new-uid", 8).uid("other"),
            thing("a/changed", 7),
            thing("a/kept", 3),
            thing("b/new", 6),
        ]
    };
    let initial = [
        "+b/gone@1!",
        "+a/gone@2!",
        "+a/kept@3!",
        "+a/changed@4!",
        "+a/new-uid@5!",
    ];
    let expect = |rest: &[&'static str]| [&initial[..], rest].concat();
    let cache = check(
        Cache::builder(),
        vec![replaced(before.clone(), 5), replaced(after(), 10)],
        &expect(&[
            "-a/gone@2!",
            "-a/new-uid@5!",
            "-b/gone@1!",
            "+c/new@9",
            "+a/new-uid@8",
            "~a/changed@4>7",
            "+b/new@6",
        ]),
    );
    assert_eq!(cache.stats().unchanged, 1);
    check(
        Cache::builder()
            .relist_order(RelistOrder::DeletesLast)
            .uid_change(UidChange::Update),
        vec![replaced(before, 5), replaced(after(), 10)],
        &expect(&[
            "+c/new@9",
            "~a/new-uid@5>8",
            "~a/changed@4>7",
            "+b/new@6",
            "-a/gone@2!",
            "-b/gone@1!",
        ]),
    );
}

#[test]
fn the_silence_of_a_list_counts_up_to_what_it_is_as_of() {
    let held = || replaced(vec![thing("a/x", 3), thing("a/y", 7), thing("b/z", 9)], 9);
    let of_all = list(vec![], 5);
    assert_eq!(of_all.as_of, of_all.version);
    let mut of_one = list(vec![], 5);
    of_one.kept = vec![key("b/z")];
    of_one.as_of = 8.into();
    let initial = ["+a/x@3!", "+a/y@7!", "+b/z@9!"];
    for (list, gone) in [(of_all, &["-a/x@3!"][..]), (of_one, &["-a/x@3!", "-a/y@7!"])] {
        let expect = [&initial[..], gone].concat();
        check(Cache::builder(), vec![held(), Delta::Replaced(list)], &expect);
    }
}

#[test]
fn a_relist_keeps_the_held_arc_of_what_is_unchanged() {
    let cache = Cache::new();
    cache.apply(Batch::new(vec![replaced(vec![thing("a/x", 1)], 1)], None));
    let held = cache.get("a", "x").unwrap();
    cache.apply(Batch::new(vec![replaced(vec![thing("a/x", 1)], 2)], None));
    assert!(Arc::ptr_eq(&held, &cache.get("a", "x").unwrap()));
}

#[test]
fn an_unchanged_object_is_announced_on_request() {
    check(
        Cache::builder().unchanged(Unchanged::Announced),
        vec![
            replaced(vec![thing("a/x", 1)], 1),
            replaced(vec![thing("a/x", 1)], 2),
        ],
        &["+a/x@1!", "~a/x@1>1"],
    );
}

#[test]
fn keys_that_could_not_be_decoded_stay_as_they_are() {
    let mut list = list(vec![], 9);
    list.kept = vec![key("a/x"), key("a/unknown")];
    let cache = check(
        Cache::builder(),
        vec![
            replaced(vec![thing("a/x", 1), thing("a/y", 2)], 2),
            Delta::Replaced(list),
        ],
        &["+a/x@1!", "+a/y@2!", "-a/y@2!"],
    );
    assert!(cache.get("a", "x").is_some());
}

#[test]
fn i2_a_list_older_than_what_is_held_takes_nothing_back_unless_it_says_rewound() {
    let deltas = |rewound| {
        let mut old = list(vec![thing("a/x", 3), thing("a/y", 4)], 5);
        old.rewound = rewound;
        vec![
            replaced(vec![thing("a/x", 8), thing("a/new", 9), thing("a/y", 2)], 10),
            Delta::Replaced(old),
        ]
    };
    let first = ["+a/x@8!", "+a/new@9!", "+a/y@2!"];
    let expect = |rest: &[&'static str]| [&first[..], rest].concat();
    let cache = check(Cache::builder(), deltas(false), &expect(&["~a/y@2>4"]));
    assert_eq!(cache.stats().stale, 2);
    check(
        Cache::builder(),
        deltas(true),
        &expect(&["-a/new@9!", "~a/x@8>3", "~a/y@2>4"]),
    );
}

#[test]
fn i1_a_version_that_a_lost_history_gave_too_is_another_state() {
    let cache = Cache::builder().build();
    let before = vec![thing("a/x", 8), thing("a/y", 4)];
    cache.apply(Batch::new(vec![replaced(before, 9)], Some(9.into())));
    let kept = cache.get("a", "y").unwrap();
    let mut changes = cache.subscribe();
    assert_eq!(at_hand(&mut changes).len(), 2);
    // What is known to be held comes as the held `Arc`, and yields nothing.
    let entries = vec![
        thing("a/x", 8).body(77).entry(),
        Entry::new(Arc::clone(&kept)).unwrap(),
    ];
    let mut again = Replacement::new(entries, 8.into());
    again.rewound = true;
    cache.apply(Batch::new(vec![Delta::Replaced(again)], Some(8.into())));
    assert_eq!(lines(&at_hand(&mut changes)), ["~a/x@8>8"]);
    assert_eq!(cache.get("a", "x").unwrap().body, 77);
    assert!(Arc::ptr_eq(&kept, &cache.get("a", "y").unwrap()));
}

/// What several sources of one store bring: the history of one went back, and of the others' nothing is known anew.
#[test]
fn i2_a_part_of_the_contents_goes_back_with_the_version_and_what_is_kept_stays() {
    let cache = Cache::builder().build();
    let contents = vec![thing("a/x", 8), thing("a/new", 9), thing("b/y", 10)];
    cache.apply(Batch::new(vec![replaced(contents, 10)], Some(10.into())));
    let mut changes = cache.subscribe();
    assert_eq!(at_hand(&mut changes).len(), 3);
    let mut old = list(vec![thing("a/x", 3)], 5);
    old.rewound = true;
    old.kept = vec![key("b/y"), key("b/on-its-way")];
    cache.apply(Batch::new(vec![Delta::Replaced(old)], Some(5.into())));
    assert_eq!(lines(&at_hand(&mut changes)), ["-a/new@9!", "~a/x@8>3"]);
    assert_eq!(cache.get("b", "y").unwrap().version, "10");
    assert_eq!(cache.resource_version(), ResourceVersion::from(5));
}

#[test]
fn a_key_listed_twice_counts_once_at_its_newest() {
    let twice = vec![thing("a/x", 3), thing("a/x", 4), thing("a/x", 2)];
    let cache = check(
        Cache::builder(),
        vec![replaced(twice.clone(), 5)],
        &["+a/x@3!", "~a/x@3>4"],
    );
    assert_eq!(cache.len(), 1);
    let cache = check(
        Cache::builder(),
        vec![replaced(vec![thing("a/x", 1)], 1), replaced(twice, 5)],
        &["+a/x@1!", "~a/x@1>3", "~a/x@3>4"],
    );
    assert_eq!(cache.get("a", "x").unwrap().version, "4");
}

#[test]
fn the_version_is_claimed_by_the_batch_alone_and_goes_back_only_when_rewound() {
    let cache = Cache::new();
    let apply = |deltas, version: &str| {
        let version = (!version.is_empty()).then(|| ResourceVersion::new(version));
        cache.apply(Batch::new(deltas, version));
        cache.resource_version().to_string()
    };
    assert_eq!(
        apply(vec![added(thing("a/x", 7))], ""),
        "",
        "older deltas still wait"
    );
    assert_eq!(apply(vec![Delta::Bookmark("8".into())], "8"), "8");
    assert_eq!(apply(vec![added(thing("a/y", 5))], "5"), "8");
    assert_eq!(apply(vec![replaced(vec![], 6)], "6"), "8");
    let mut rewound = list(vec![], 3);
    rewound.rewound = true;
    assert_eq!(apply(vec![Delta::Replaced(rewound)], "3"), "3");
    assert_eq!(apply(vec![], "opaque"), "opaque");
    assert_eq!(apply(vec![], "2"), "2", "not comparable with what was");
}

#[test]
fn synced_flips_once_with_the_first_list_even_an_empty_one() {
    let cache = Cache::<Thing>::new();
    cache.apply(Batch::new(vec![added(thing("a/x", 1))], None));
    assert!(!cache.is_synced());
    cache.apply(Batch::new(vec![replaced(vec![], 2)], None));
    assert!(cache.is_synced() && cache.is_empty());
    let mut changes = cache.subscribe();
    cache.apply(Batch::new(vec![replaced(vec![thing("a/y", 3)], 3)], None));
    assert_eq!(
        lines(&at_hand(&mut changes)),
        ["+a/y@3"],
        "not initial after the first list"
    );
}

#[test]
fn resync_delivers_each_object_in_exactly_one_part_as_an_update_to_itself() {
    let cache = Cache::new();
    let things: Vec<_> = (0..10).map(|at| thing(&format!("a/{at}"), at + 1)).collect();
    cache.apply(Batch::new(vec![replaced(things, 10)], Some(10.into())));
    let mut changes = cache.subscribe();
    assert_eq!(at_hand(&mut changes).len(), 10);
    let mut seen = Vec::new();
    for part in 0..3 {
        cache.apply(Batch::new(vec![Delta::Resync(ResyncPart { part, of: 3 })], None));
        for change in at_hand(&mut changes) {
            assert!(
                matches!(&change, Change::Updated { old, new, cause: Cause::Resync, .. } if Arc::ptr_eq(old, new))
            );
            seen.push(change.key().clone());
        }
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 10);
    cache.apply(Batch::new(vec![Delta::Resync(ResyncPart::ALL)], None));
    assert_eq!(at_hand(&mut changes).len(), 10);
    assert_eq!(cache.resource_version(), 10.into());
}

#[test]
fn sync_delivers_what_is_held_again_and_never_takes_a_handler_back() {
    check(
        Cache::builder(),
        vec![
            added(thing("a/x", 5)),
            Delta::Sync(thing("a/x", 5).entry()),
            Delta::Sync(thing("a/x", 3).entry()),
            Delta::Sync(thing("a/x", 6).entry()),
            Delta::Sync(thing("a/y", 1).entry()),
        ],
        &["+a/x@5", "~a/x@5>5", "~a/x@5>5", "~a/x@5>6", "+a/y@1"],
    );
}

#[test]
fn readers_see_all_of_a_batch_or_nothing() {
    let cache = Cache::new();
    let before = cache.snapshot();
    cache.apply(Batch::new(
        vec![
            added(thing("a/x", 1)),
            added(thing("a/y", 2)),
            deleted(thing("a/x", 3)),
        ],
        Some(3.into()),
    ));
    assert!(before.is_empty() && before.resource_version().is_unset());
    let after = cache.snapshot();
    assert_eq!((after.len(), after.resource_version().as_u64()), (1, Some(3)));
}

#[test]
fn a_large_batch_is_one_step_too() {
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    let deltas = (0..2_000)
        .map(|at| added(thing(&format!("a/{at}"), at + 1)))
        .collect();
    cache.apply(Batch::new(deltas, Some(2_000.into())));
    assert_eq!(cache.len(), 2_000);
    let changes = at_hand(&mut changes);
    assert_eq!(changes.len(), 2_000);
    assert!(
        changes
            .iter()
            .zip(0..)
            .all(|(change, at)| line(change) == format!("+a/{at}@{}", at + 1))
    );
}

#[test]
fn an_empty_object_key_or_a_debug_line_shows_no_body() {
    let mut made = thing("a/x", 1);
    made.labels.insert("secret".into(), "canary".into());
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    let batch = Batch::new(vec![added(made)], None);
    let mut shown = format!("{batch:?}");
    cache.apply(batch);
    shown += &format!(
        "{:?} {:?} {:?} {:?}",
        at_hand(&mut changes),
        cache,
        cache.snapshot(),
        changes
    );
    assert!(shown.contains("a/x") && !shown.contains("canary"));
}

#[test]
fn what_is_gone_is_no_longer_counted_as_memory() {
    let cache = Cache::new();
    for round in 0..3u64 {
        let things = (0..100).map(|at| thing(&format!("a/{at}"), round * 1_000 + at + 1));
        cache.apply(Batch::new(things.map(added).collect(), None));
        let full = cache.memory();
        assert!(full.objects == 100 && full.key_bytes > 100 * "a/0".len());
        let gone = (0..100).map(|at| thing(&format!("a/{at}"), round * 1_000 + 500));
        cache.apply(Batch::new(gone.map(deleted).collect(), None));
        let empty = cache.memory();
        assert_eq!((empty.objects, empty.key_bytes), (0, 0));
        // Its room is kept for those that come.
        assert_eq!(empty.slot_bytes, full.slot_bytes);
    }
}

#[test]
fn the_keys_of_the_metadata_are_counted_where_others_are_used() {
    let bytes = |builder: CacheBuilder<Thing>| {
        let cache = builder.build();
        let things = (0..1_000).map(|at| thing(&format!("a/{at}"), at + 1));
        cache.apply(Batch::new(things.map(added).collect(), None));
        cache.memory().table_bytes
    };
    let (plain, by_uid) = (bytes(Cache::builder()), bytes(Cache::builder().key_by_uid()));
    assert!(
        by_uid > plain + 1_000 * size_of::<ObjectKey>(),
        "{plain} {by_uid}"
    );
}
