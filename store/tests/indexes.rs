//! Typed indexes: what they find, in which order, and what becomes of functions that fail (I8).

mod support;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use informer_store::{Batch, Cache, Delta, Index, ObjectKey, OrderedIndex, Overlay, Replacement, Snapshot};
use kube_core::{Expression, Selector};
use proptest::prelude::*;
use support::{Thing, thing};

fn put(cache: &Cache<Thing>, thing: Thing) {
    cache.apply(Batch::new(vec![Delta::Updated(thing.entry())], None));
}

fn remove(cache: &Cache<Thing>, thing: Thing) {
    cache.apply(Batch::new(vec![Delta::Deleted(thing.tombstone())], None));
}

fn names<'a>(found: impl Iterator<Item = &'a Arc<Thing>>) -> Vec<String> {
    found.map(|held| held.name.clone()).collect()
}

#[test]
fn a_multi_valued_index_follows_each_value_and_keeps_no_empty_sets() {
    let by_label = Index::hash("labels", |held: &Thing| {
        held.labels.values().cloned().collect::<Vec<_>>()
    });
    let cache = Cache::builder().index(&by_label).build();
    let check = |expect: &[(&str, &[&str])]| {
        let snapshot = cache.snapshot();
        let mut values: Vec<_> = snapshot
            .values(&by_label)
            .map(|(value, count)| (value.clone(), count))
            .collect();
        values.sort();
        let counts: Vec<_> = expect
            .iter()
            .map(|(value, names)| ((*value).to_owned(), names.len()))
            .collect();
        assert_eq!(values, counts);
        for (value, expect) in expect {
            assert_eq!(names(snapshot.by_index(&by_label, *value)), *expect, "{value}");
            assert_eq!(snapshot.count_by_index(&by_label, *value), expect.len());
        }
    };
    put(&cache, thing("a/1", 1).label("x", "red").label("y", "blue"));
    put(&cache, thing("a/2", 2).label("x", "red").label("y", "red"));
    check(&[("blue", &["1"]), ("red", &["1", "2"])]);
    put(&cache, thing("a/1", 3).label("x", "green").label("y", "blue"));
    check(&[("blue", &["1"]), ("green", &["1"]), ("red", &["2"])]);
    put(&cache, thing("a/2", 4).label("x", "red"));
    check(&[("blue", &["1"]), ("green", &["1"]), ("red", &["2"])]);
    put(&cache, thing("a/2", 5));
    check(&[("blue", &["1"]), ("green", &["1"])]);
    remove(&cache, thing("a/1", 6));
    check(&[]);
}

#[test]
fn an_ordered_index_answers_ranges_and_prefixes_in_the_order_of_values() {
    let by_body = OrderedIndex::new("body", |held: &Thing| Some(held.body));
    let by_name = OrderedIndex::new("name", |held: &Thing| Some(held.name.clone()));
    let cache = Cache::builder().index(&by_body).index(&by_name).build();
    for (name, body) in [("web-1", 30), ("web-2", 10), ("db", 20), ("web-3", 10)] {
        put(&cache, thing(&format!("a/{name}"), 1).body(body));
    }
    let snapshot = cache.snapshot();
    let of = |found: Vec<(&u64, &Arc<Thing>)>| -> Vec<(u64, String)> {
        found
            .into_iter()
            .map(|(value, held)| (*value, held.name.clone()))
            .collect()
    };
    let all = of(snapshot.range::<u64, u64, _>(&by_body, ..).collect());
    assert_eq!(
        all,
        [
            (10, "web-2".into()),
            (10, "web-3".into()),
            (20, "db".into()),
            (30, "web-1".into())
        ]
    );
    assert_eq!(
        of(snapshot.range(&by_body, 11..30).collect()),
        [(20, "db".into())]
    );
    assert_eq!(of(snapshot.range(&by_body, 20..=30).collect()).len(), 2);
    assert_eq!(snapshot.range(&by_body, 31..).count(), 0);
    let found: Vec<_> = snapshot
        .prefix(&by_name, "web-")
        .map(|(value, _)| value.as_str())
        .collect();
    assert_eq!(found, ["web-1", "web-2", "web-3"]);
    assert_eq!(snapshot.prefix(&by_name, "x").count(), 0);
    assert_eq!(names(snapshot.by_index(&by_body, &10)), ["web-2", "web-3"]);
    let found = snapshot
        .query()
        .range(&by_body, 10..=20)
        .filter(|held| held.name != "db");
    assert_eq!(names(found.into_iter()), ["web-2", "web-3"]);
}

#[test]
fn a_unique_index_reports_conflicts_and_finds_both() {
    let by_body = Index::unique("body", |held: &Thing| Some(held.body));
    let cache = Cache::builder().index(&by_body).build();
    put(&cache, thing("a/1", 1).body(7));
    put(&cache, thing("a/2", 2).body(8));
    assert_eq!(cache.snapshot().conflicts(&by_body).count(), 0);
    put(&cache, thing("a/3", 3).body(7));
    let snapshot = cache.snapshot();
    let conflicts: Vec<_> = snapshot.conflicts(&by_body).collect();
    assert_eq!(
        conflicts,
        [(
            &7,
            vec![ObjectKey::namespaced("a", "1"), ObjectKey::namespaced("a", "3")]
        )]
    );
    assert_eq!(snapshot.by_index(&by_body, &7).count(), 2);
    put(&cache, thing("a/3", 4).body(9));
    assert_eq!(cache.snapshot().conflicts(&by_body).count(), 0);
}

#[test]
fn owners_are_indexed_by_uid() {
    let by_owner = Index::by_owner_uid();
    let cache = Cache::builder().index(&by_owner).build();
    let mut owned = thing("a/pod", 1);
    owned.owner = Some("set".into());
    put(&cache, owned);
    put(&cache, thing("a/alone", 2));
    assert_eq!(names(cache.snapshot().by_index(&by_owner, "set")), ["pod"]);
}

#[test]
fn conditions_combine() {
    let by_app = Index::by_label("app");
    let by_body = Index::hash("body", |held: &Thing| Some(held.body % 3));
    let cache = Cache::builder().index(&by_app).index(&by_body).build();
    for at in 0..60u64 {
        let app = if at % 2 == 0 { "web" } else { "db" };
        put(
            &cache,
            thing(&format!("{}/{at}", ["a", "b"][at as usize % 5 / 4]), at + 1)
                .label("app", app)
                .body(at),
        );
    }
    let snapshot = cache.snapshot();
    let expect: Vec<_> = (0..60u64)
        .filter(|at| at % 2 == 0 && at % 3 == 1 && at % 5 == 4)
        .map(|at| at.to_string())
        .collect();
    let query = || {
        snapshot
            .query()
            .namespace("b")
            .by(&by_app, "web")
            .by(&by_body, &1)
    };
    assert_eq!(names(query().into_iter()), expect);
    assert_eq!(query().count(), expect.len());
    let selector: Selector = Expression::Equal("app".into(), "web".into()).into();
    let query = snapshot
        .query()
        .labels(&selector)
        .namespace("b")
        .filter(|held| held.body % 3 == 1);
    assert_eq!(names(query.into_iter()), expect);
    assert_eq!(snapshot.query().namespace("none").count(), 0);
    assert_eq!(snapshot.query().count(), 60);
}

#[test]
fn a_snapshot_without_the_index_answers_by_scanning() {
    let by_body = Index::hash("body", |held: &Thing| Some(held.body));
    let ordered = OrderedIndex::new("ordered", |held: &Thing| Some(held.body));
    let cache = Cache::new();
    put(&cache, thing("a/1", 1).body(7));
    let before = cache.snapshot();
    cache.add_index(&by_body).unwrap();
    cache.add_index(&ordered).unwrap();
    let with = cache.snapshot();
    assert!(cache.drop_index(&by_body) && cache.drop_index(&ordered));
    let after = cache.snapshot();
    let check = |snapshot: &Snapshot<Thing>| {
        assert_eq!(names(snapshot.by_index(&by_body, &7)), ["1"]);
        assert_eq!(snapshot.count_by_index(&by_body, &7), 1);
        assert_eq!(snapshot.query().by(&by_body, &7).count(), 1);
        assert_eq!(snapshot.query().by(&by_body, &8).count(), 0);
        assert_eq!(snapshot.query().range(&ordered, 5..8).count(), 1);
        assert_eq!(snapshot.query().range(&ordered, 8..).count(), 0);
    };
    check(&before);
    check(&with);
    check(&after);
    assert_eq!(with.range(&ordered, 5..8).count(), 1);
    assert_eq!(after.range(&ordered, 5..8).count(), 0, "a range needs the index");
}

/// Silences the messages of panics that a test provokes.
fn quietly<R>(work: impl FnOnce() -> R) -> R {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = catch_unwind(AssertUnwindSafe(work));
    std::panic::set_hook(hook);
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[test]
fn a_function_that_panics_quarantines_its_key_in_that_index_alone() {
    let fragile = Index::hash("fragile", |held: &Thing| {
        assert!(held.body != 13, "a bug in an index function");
        Some(held.body)
    });
    let sturdy = Index::hash("sturdy", |held: &Thing| Some(held.body));
    let cache = Cache::builder().index(&fragile).index(&sturdy).build();
    let quarantined = |cache: &Cache<Thing>| cache.snapshot().quarantined(&fragile).len();
    quietly(|| {
        put(&cache, thing("a/1", 1).body(1));
        put(&cache, thing("a/1", 2).body(13));
        put(&cache, thing("a/2", 3).body(13));
    });
    let snapshot = cache.snapshot();
    assert_eq!(cache.len(), 2);
    assert_eq!(snapshot.by_index(&sturdy, &13).count(), 2);
    assert_eq!(
        snapshot.by_index(&fragile, &1).count(),
        0,
        "the old value is gone"
    );
    assert_eq!(quarantined(&cache), 2);
    assert_eq!(snapshot.quarantined(&sturdy), []);
    assert_eq!(cache.memory().indexes[1].quarantined, 2);
    quietly(|| {
        put(&cache, thing("a/1", 4).body(5));
        remove(&cache, thing("a/2", 5));
    });
    assert_eq!(quarantined(&cache), 0);
    assert_eq!(cache.snapshot().by_index(&fragile, &5).count(), 1);
}

/// Snapshots without the index, and notes of own writes, are asked one by one.
#[test]
fn where_no_index_answers_a_function_that_panics_leaves_its_key_out_too() {
    let fragile = |held: &Thing| {
        assert!(held.body != 13, "a bug in an index function");
        Some(held.body)
    };
    let (hashed, ordered) = (
        Index::hash("fragile", fragile),
        OrderedIndex::new("ordered", fragile),
    );
    let cache = Cache::new();
    for (at, body) in [(1u64, 5), (2, 13), (3, 5)] {
        put(&cache, thing(&format!("a/{at}"), at).body(body));
    }
    let snapshot = cache.snapshot();
    let overlay = Overlay::new(cache.clone(), Duration::from_secs(60));
    overlay.wrote(thing("a/4", 9).body(13)).unwrap();
    quietly(|| {
        assert_eq!(names(snapshot.by_index(&hashed, &5)), ["1", "3"]);
        assert_eq!(snapshot.count_by_index(&ordered, &5), 2);
        assert_eq!(snapshot.query().by(&hashed, &5).count(), 2);
        assert_eq!(snapshot.query().range(&ordered, 0..20).count(), 2);
        assert_eq!(overlay.by_index(&hashed, &5).len(), 2);
    });
}

/// An object may have as many owners or the like as fit its size.
#[test]
fn an_object_with_many_values_is_compared_with_its_past_in_one_pass() {
    use std::{cell::Cell, hash::Hash};
    thread_local!(static COMPARED: Cell<usize> = const { Cell::new(0) });
    #[derive(Clone, Eq, PartialOrd, Ord)]
    struct Counted(u64);
    impl PartialEq for Counted {
        fn eq(&self, other: &Self) -> bool {
            COMPARED.set(COMPARED.get() + 1);
            self.0 == other.0
        }
    }
    impl Hash for Counted {
        fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
            self.0.hash(state);
        }
    }
    // 2,000 values, each twice; the next body has all but one of them, and another.
    let values = |held: &Thing| {
        let from = held.body;
        (0..4_000u64).map(move |at| Counted(from + at % 2_000))
    };
    let hashed = Index::hash("hashed", values);
    let ordered = OrderedIndex::new("ordered", move |held: &Thing| values(held));
    let cache = Cache::builder().index(&hashed).index(&ordered).build();
    for body in 1..=3 {
        put(&cache, thing("a/1", body).body(body));
    }
    let snapshot = cache.snapshot();
    assert_eq!(snapshot.values(&hashed).count(), 2_000);
    assert_eq!(snapshot.range(&ordered, Counted(0)..).count(), 2_000);
    for (value, held) in [(1, 0), (2, 0), (3, 1), (2_002, 1), (2_003, 0)] {
        assert_eq!(snapshot.count_by_index(&hashed, &Counted(value)), held);
        assert_eq!(snapshot.count_by_index(&ordered, &Counted(value)), held);
    }
    let compared = COMPARED.get();
    assert!(compared < 200_000, "{compared} comparisons");
    remove(&cache, thing("a/1", 9));
    assert_eq!(cache.snapshot().values(&hashed).count(), 0);
}

#[test]
fn a_function_that_begins_to_panic_leaves_nothing_behind() {
    let broken = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&broken);
    let moody = Index::hash("moody", move |held: &Thing| {
        assert!(!flag.load(Ordering::Relaxed), "a function that changes its mind");
        Some(held.body)
    });
    let cache = Cache::builder().index(&moody).build();
    put(&cache, thing("a/1", 1).body(1));
    put(&cache, thing("a/2", 2).body(2));
    broken.store(true, Ordering::Relaxed);
    quietly(|| {
        put(&cache, thing("a/1", 3).body(3));
        remove(&cache, thing("a/2", 4));
    });
    assert_eq!(cache.snapshot().values(&moody).count(), 0);
    assert_eq!(cache.snapshot().quarantined(&moody).len(), 1);
    broken.store(false, Ordering::Relaxed);
    put(&cache, thing("a/1", 5).body(5));
    assert_eq!(names(cache.snapshot().by_index(&moody, &5)), ["1"]);
}

#[test]
fn an_index_function_may_read_the_cache_it_does_not_serve_and_the_one_it_serves_stays_usable() {
    let cache = Cache::<Thing>::new();
    let other = cache.clone();
    let nosy = Index::hash("nosy", move |held: &Thing| {
        // Discouraged, and still no deadlock: nothing of the user's runs while the state is locked.
        other.get(&held.namespace, "leader").map(|leader| leader.body)
    });
    put(&cache, thing("a/leader", 1).body(4));
    cache.add_index(&nosy).unwrap();
    put(&cache, thing("a/1", 2));
    assert_eq!(cache.len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// I8 for both kinds of table, with an index that comes and goes in the middle of the history.
    #[test]
    fn indexes_equal_what_their_functions_say(
        steps in prop::collection::vec((0..40u64, 0..12u64, 0..10u8), 1..200),
        add_at in 0..200usize,
    ) {
        let hashed = Index::hash("hashed", |held: &Thing| vec![held.body, held.body / 3]);
        let ordered = OrderedIndex::new("ordered", |held: &Thing| vec![held.body, held.body / 3]);
        let late = Index::hash("late", |held: &Thing| (held.body != 5).then_some(held.body));
        let cache = Cache::builder().index(&hashed).index(&ordered).build();
        let mut held_back = Vec::new();
        for (version, (name, body, action)) in (1u64..).zip(steps) {
            if version as usize == add_at {
                cache.add_index(&late).unwrap();
            }
            let made = thing(&format!("a/{name}"), version).body(body);
            match action {
                0..=6 => put(&cache, made),
                7 | 8 => remove(&cache, made),
                _ => {
                    let keep: Vec<_> = cache.snapshot().list().step_by(2).map(|held| (**held).clone().entry()).collect();
                    cache.apply(Batch::new(vec![Delta::Replaced(Replacement::new(keep, version.into()))], None));
                }
            }
            if version % 7 == 0 {
                held_back.push(cache.snapshot());
            }
        }
        held_back.push(cache.snapshot());
        for snapshot in &held_back {
            for value in 0..12u64 {
                let expect: Vec<_> = snapshot.list().filter(|held| held.body == value || held.body / 3 == value).collect();
                prop_assert_eq!(&snapshot.by_index(&hashed, &value).collect::<Vec<_>>(), &expect);
                prop_assert_eq!(&snapshot.by_index(&ordered, &value).collect::<Vec<_>>(), &expect);
                let in_range: Vec<_> = snapshot.range(&ordered, value..=value).map(|(_, held)| held).collect();
                prop_assert_eq!(&in_range, &expect);
                let expect: Vec<_> = snapshot.list().filter(|held| held.body == value && value != 5).collect();
                prop_assert_eq!(&snapshot.by_index(&late, &value).collect::<Vec<_>>(), &expect);
            }
        }
    }
}
