//! Subscriptions: joining, falling behind, filtering, leaving, failing (H1–H5).

mod support;

use std::{sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt};
use informer_store::{
    Batch, Cache, Change, Delta, HandlerPanic, Replacement, Store, Subscription, SubscriptionHandle,
    Tombstone,
};
use support::{Replay, Thing, at_hand, lines, thing};
use tokio::time::Instant;

fn put(cache: &Cache<Thing>, thing: Thing) {
    let version = thing.version.as_str().into();
    cache.apply(Batch::new(vec![Delta::Updated(thing.entry())], Some(version)));
}

fn remove(cache: &Cache<Thing>, thing: Thing) {
    let version = thing.version.as_str().into();
    cache.apply(Batch::new(vec![Delta::Deleted(thing.tombstone())], Some(version)));
}

fn relist(cache: &Cache<Thing>, things: Vec<Thing>, version: u64) {
    let entries = things.into_iter().map(Thing::entry).collect();
    let replacement = Replacement::new(entries, version.into());
    cache.apply(Batch::new(
        vec![Delta::Replaced(replacement)],
        Some(version.into()),
    ));
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(5)
}

#[test]
fn h3_a_late_subscription_gets_what_is_held_and_then_every_later_change() {
    let cache = Cache::new();
    relist(&cache, vec![thing("a/1", 1), thing("a/2", 2)], 2);
    let mut changes = cache.subscribe();
    put(&cache, thing("a/2", 3));
    remove(&cache, thing("a/1", 4));
    put(&cache, thing("a/1", 5));
    assert_eq!(
        lines(&at_hand(&mut changes)),
        ["+a/1@1!", "+a/2@2!", "~a/2@2>3", "-a/1@4", "+a/1@5"]
    );
    assert_eq!(changes.delivered_version().as_u64(), Some(5));
}

#[test]
fn a_change_is_visible_to_readers_before_it_is_delivered() {
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    for version in 1..50 {
        match version % 7 {
            0 => remove(&cache, thing("a/1", version)),
            _ => put(&cache, thing("a/1", version)),
        }
        for change in at_hand(&mut changes) {
            let held = cache.get_by_key(change.key());
            assert_eq!(
                held.map(|held| held.version.clone()),
                change.current().map(|new| new.version.clone())
            );
        }
    }
}

#[test]
fn h2_a_subscription_that_falls_out_of_the_log_gets_the_newest_state_of_each_key() {
    let cache = Cache::builder().log_capacity(2).build();
    relist(
        &cache,
        vec![thing("a/1", 1), thing("a/2", 2), thing("a/3", 3), thing("b/4", 4)],
        4,
    );
    let mut changes = cache.subscribe();
    assert_eq!(at_hand(&mut changes).len(), 4);
    put(&cache, thing("a/1", 10));
    put(&cache, thing("a/1", 11));
    put(&cache, thing("a/1", 12));
    // Out of the log from here; what it held is still delivered one by one.
    put(&cache, thing("a/1", 13));
    put(&cache, thing("a/1", 14));
    remove(&cache, thing("b/4", 15));
    remove(&cache, thing("a/3", 16));
    put(&cache, thing("c/5", 17));
    put(&cache, thing("c/6", 18));
    remove(&cache, thing("c/6", 19));
    put(&cache, thing("a/2", 20).uid("another"));
    assert_eq!(
        changes.lag(),
        12,
        "the last one counts as a deletion and an addition"
    );
    assert_eq!(
        lines(&at_hand(&mut changes)),
        [
            "~a/1@1>10",
            "~a/1@10>11",
            "~a/1@11>12",
            "-a/2@2!",
            "-a/3@3!",
            "-b/4@4!",
            "~a/1@12>14",
            "+a/2@20",
            "+c/5@17",
        ],
        "the log's rest, then deletions in key order, then the rest in slot order"
    );
    assert_eq!(changes.lag(), 0);
    assert_eq!(changes.delivered_version().as_u64(), Some(20));
}

#[test]
fn h4_one_that_is_never_polled_neither_holds_up_the_others_nor_grows() {
    let cache = Cache::builder().log_capacity(8).build();
    let idle = cache.subscribe();
    let mut stuck = cache.subscribe();
    at_hand(&mut stuck);
    let mut busy = cache.subscribe();
    let mut replay = Replay::default();
    for version in 1..=5_000u64 {
        put(&cache, thing(&format!("a/{}", version % 10), version));
        let changes = at_hand(&mut busy);
        assert_eq!(changes.len(), 1);
        replay.take(&changes[0]);
        assert!(cache.memory().log_changes <= 9);
    }
    assert_eq!(cache.memory().subscriptions, 3);
    for mut late in [idle, stuck] {
        let mut replay = Replay::default();
        at_hand(&mut late).iter().for_each(|change| replay.take(change));
        assert_eq!(replay.held.len(), 10);
        assert!(
            replay
                .held
                .iter()
                .all(|(key, held)| Arc::ptr_eq(held, &cache.get_by_key(key).unwrap()))
        );
    }
}

#[test]
fn the_log_lets_go_of_what_everybody_has_taken() {
    let cache = Cache::new();
    let (mut one, mut two) = (cache.subscribe(), cache.subscribe());
    at_hand(&mut one);
    at_hand(&mut two);
    for version in 1..=20 {
        put(&cache, thing("a/1", version));
    }
    assert_eq!(cache.memory().log_changes, 20);
    at_hand(&mut one);
    assert_eq!(cache.memory().log_changes, 20);
    drop(two);
    assert_eq!(cache.memory().log_changes, 0);
    let replaced = Arc::downgrade(&cache.get("a", "1").unwrap());
    put(&cache, thing("a/1", 30));
    at_hand(&mut one);
    assert!(
        replaced.upgrade().is_none(),
        "nobody keeps an object that was replaced and delivered"
    );
}

#[test]
fn a_batch_larger_than_the_log_is_still_delivered_in_order() {
    let cache = Cache::builder().log_capacity(4).build();
    let mut changes = cache.subscribe();
    at_hand(&mut changes);
    relist(
        &cache,
        (0..100)
            .map(|at| thing(&format!("a/{:02}", 99 - at), at + 1))
            .collect(),
        100,
    );
    let expect: Vec<_> = (0..100)
        .map(|at| format!("+a/{:02}@{}!", 99 - at, at + 1))
        .collect();
    assert_eq!(lines(&at_hand(&mut changes)), expect);
}

#[test]
fn a_filter_turns_updates_into_additions_and_deletions() {
    let cache = Cache::new();
    put(&cache, thing("a/1", 1).body(1));
    put(&cache, thing("a/2", 2).body(2));
    let mut odd = cache.subscribe().only(|held: &Thing| held.body % 2 == 1);
    let mut check = |expect: &[&str]| assert_eq!(lines(&at_hand(&mut odd)), expect);
    check(&["+a/1@1!"]);
    put(&cache, thing("a/1", 3).body(3));
    check(&["~a/1@1>3"]);
    put(&cache, thing("a/1", 4).body(4));
    check(&["-a/1@3"]);
    put(&cache, thing("a/1", 5).body(6));
    check(&[]);
    put(&cache, thing("a/1", 6).body(7));
    check(&["+a/1@6"]);
    remove(&cache, thing("a/2", 7).body(2));
    check(&[]);
    // The final state does not match, but the subscriber has seen the object: it must learn that it is gone.
    remove(&cache, thing("a/1", 8).body(8));
    check(&["-a/1@8"]);
    put(&cache, thing("a/3", 9).body(2));
    // Never seen matching, though its final state would.
    remove(&cache, thing("a/3", 10).body(3));
    check(&[]);
}

#[test]
fn an_object_that_passes_a_filter_no_more_is_said_to_live_on() {
    let cache = Cache::new();
    let mut odd = cache.subscribe().only(|held: &Thing| held.body % 2 == 1);
    put(&cache, thing("a/1", 1).body(1));
    put(&cache, thing("a/1", 2).body(2));
    put(&cache, thing("a/2", 3).body(3));
    remove(&cache, thing("a/2", 4).body(3));
    let hints: Vec<_> = at_hand(&mut odd)
        .iter()
        .filter_map(|change| match change {
            Change::Deleted {
                key, left_selector, ..
            } => Some((key.to_string(), *left_selector)),
            _ => None,
        })
        .collect();
    assert_eq!(hints, [("a/1".to_owned(), true), ("a/2".to_owned(), false)]);
}

#[test]
fn the_stream_ends_when_the_last_handle_of_the_cache_is_gone() {
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    let other = cache.clone();
    put(&cache, thing("a/1", 1));
    drop(cache);
    assert_eq!(lines(&at_hand(&mut changes)), ["+a/1@1"]);
    assert!(changes.next().now_or_never().is_none());
    put(&other, thing("a/1", 2));
    drop(other);
    assert_eq!(
        changes
            .next()
            .now_or_never()
            .unwrap()
            .map(|change| change.key().to_string()),
        Some("a/1".into())
    );
    assert!(changes.next().now_or_never().unwrap().is_none());
}

#[test]
fn a_waiting_subscription_is_woken() {
    let cache = Cache::new();
    let mut changes = tokio_test::task::spawn(cache.subscribe());
    assert!(changes.poll_next().is_pending());
    put(&cache, thing("a/1", 1));
    assert!(changes.is_woken());
    assert!(changes.poll_next().is_ready());
    assert!(changes.poll_next().is_pending());
    drop(cache);
    assert!(changes.is_woken());
}

#[test]
fn synced_means_that_the_first_list_has_been_delivered_and_handled() {
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    at_hand(&mut changes);
    assert!(!changes.is_synced());
    relist(&cache, vec![thing("a/1", 1), thing("a/2", 2)], 2);
    assert!(!changes.is_synced());
    let mut next = || changes.next().now_or_never();
    assert!(next().is_some() && next().is_some());
    let handle = changes.handle();
    assert!(!handle.is_synced(), "the last one may still be being handled");
    at_hand(&mut changes);
    assert!(handle.is_synced());
    let mut late = cache.subscribe();
    assert!(!late.is_synced());
    at_hand(&mut late);
    assert!(late.is_synced());
}

#[test]
fn lag_counts_down_to_nothing() {
    let cache = Cache::new();
    relist(
        &cache,
        (0..5).map(|at| thing(&format!("a/{at}"), at + 1)).collect(),
        5,
    );
    let mut changes = cache.subscribe();
    let mut lags = vec![changes.lag()];
    put(&cache, thing("a/0", 6));
    put(&cache, thing("a/0", 7));
    while changes.next().now_or_never().is_some() {
        lags.push(changes.lag());
    }
    assert_eq!(lags.last(), Some(&0));
    assert!(lags[1..].is_sorted_by(|a, b| a > b), "{lags:?}");
}

/// A handler that notes what it gets in a channel.
fn noting() -> (
    impl FnMut(Change<Thing>) + Send,
    std::sync::mpsc::Receiver<String>,
) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let handler = move |change: Change<Thing>| sender.send(support::line(&change)).unwrap();
    (handler, receiver)
}

#[tokio::test(start_paused = true)]
async fn leaving_drains_what_is_there_and_nothing_more() {
    let cache = Cache::new();
    put(&cache, thing("a/1", 1));
    let changes = cache.subscribe();
    let handle = changes.handle();
    put(&cache, thing("a/1", 2));
    put(&cache, thing("a/1", 3));
    let (handler, noted) = noting();
    let leaving = handle.leave(soon());
    let running = async {
        put(&cache, thing("a/1", 4));
        changes.run(handler).await
    };
    let (departure, handled) = futures::join!(leaving, running);
    assert!(departure.drained);
    assert_eq!(departure.undelivered, 0);
    assert_eq!(
        noted.try_iter().collect::<Vec<_>>(),
        ["+a/1@1!", "~a/1@1>2", "~a/1@2>3"]
    );
    assert_eq!(handled.changes, 3);
    assert!(handle.is_finished());
    assert!(handle.leave(soon()).await.drained, "leaving again is no error");
    assert_eq!(cache.memory().subscriptions, 0);
}

#[tokio::test(start_paused = true)]
async fn leaving_ends_a_subscription_that_waits() {
    let cache = Cache::<Thing>::new();
    let changes = cache.subscribe();
    let handle = changes.handle();
    let mut running = tokio_test::task::spawn(changes.run(|_: Change<Thing>| {}));
    assert!(running.poll().is_pending());
    let mut leaving = tokio_test::task::spawn(handle.leave(soon()));
    assert!(leaving.poll().is_pending());
    assert!(running.is_woken());
    assert!(running.poll().is_ready());
    assert!(leaving.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn leaving_has_a_deadline() {
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    for version in 1..=5 {
        put(&cache, thing("a/1", version));
    }
    assert!(changes.next().await.is_some());
    let departure = changes.handle().leave(soon()).await;
    assert!(!departure.drained);
    assert_eq!(departure.undelivered, 4);
    assert!(
        changes.next().await.is_none(),
        "it has ended with the change it was at"
    );
}

/// Silences the messages of panics that a test provokes.
async fn quietly<R>(work: impl Future<Output = R>) -> R {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let outcome = std::panic::AssertUnwindSafe(work).catch_unwind().await;
    std::panic::set_hook(hook);
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

fn run_with_a_bug(
    changes: Subscription<Thing>,
) -> (
    impl Future<Output = informer_store::Handled>,
    SubscriptionHandle<Thing>,
) {
    let handle = changes.handle();
    let run = changes.run(|change: Change<Thing>| assert!(change.object().body != 13, "a bug in a handler"));
    (run, handle)
}

#[tokio::test(start_paused = true)]
async fn h5_a_handler_that_panics_goes_on_with_the_next_change() {
    let cache = Cache::new();
    for (version, body) in [(1, 1), (2, 13), (3, 3), (4, 13)] {
        put(&cache, thing(&format!("a/{version}"), version).body(body));
    }
    let mut healthy = cache.subscribe();
    let (run, handle) = run_with_a_bug(cache.subscribe());
    drop(cache);
    let handled = quietly(run).await;
    assert_eq!((handled.changes, handled.panics), (4, 2));
    assert_eq!(handle.panics(), 2);
    assert!(handle.is_finished());
    assert_eq!(at_hand(&mut healthy).len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_handlers_panic_goes_on_where_that_is_wanted() {
    let cache = Cache::new();
    put(&cache, thing("a/1", 1).body(13));
    let (run, handle) = run_with_a_bug(cache.subscribe().on_panic(HandlerPanic::Propagated));
    let outcome = quietly(std::panic::AssertUnwindSafe(run).catch_unwind()).await;
    assert!(outcome.is_err());
    assert!(handle.is_finished());
    assert_eq!(cache.memory().subscriptions, 0);
}

#[tokio::test]
async fn a_handler_with_much_to_do_lets_other_tasks_run() {
    let cache = Cache::new();
    relist(
        &cache,
        (0..1_000).map(|at| thing(&format!("a/{at}"), at + 1)).collect(),
        1_000,
    );
    let mut running = tokio_test::task::spawn(cache.subscribe().run(|_: Change<Thing>| {}));
    let mut turns = 0;
    while running.poll().is_pending() && running.is_woken() {
        turns += 1;
    }
    assert!(turns > 5);
}

#[test]
fn dropping_a_subscription_from_within_another_threads_poll_is_harmless() {
    // The slot of one that left is used again by the next; a stale handle must not end the newcomer.
    let cache = Cache::<Thing>::new();
    let first = cache.subscribe();
    let stale = first.handle();
    drop(first);
    let mut second = tokio_test::task::spawn(cache.subscribe());
    assert!(second.poll_next().is_pending());
    stale.abort();
    assert!(second.poll_next().is_pending());
    put(&cache, thing("a/1", 1));
    assert!(second.poll_next().is_ready());
}

#[test]
fn catching_up_tells_of_a_key_that_moved_to_another_slot_as_an_update() {
    let cache = Cache::builder().log_capacity(1).build();
    put(&cache, thing("a/1", 1));
    put(&cache, thing("a/2", 2));
    let mut changes = cache.subscribe();
    assert_eq!(at_hand(&mut changes).len(), 2);
    let spill = |version| put(&cache, thing("z/spill", version));
    spill(10);
    spill(11);
    spill(12);
    for (key, version) in [("a/1", 13), ("a/2", 14)] {
        let mut tombstone = Tombstone::of(key.parse().unwrap());
        tombstone.version = version.into();
        cache.apply(Batch::new(vec![Delta::Deleted(tombstone)], None));
    }
    // Back in the opposite order, so each takes the other's slot.
    put(&cache, thing("a/1", 15));
    put(&cache, thing("a/2", 16));
    let told = lines(&at_hand(&mut changes));
    let (spilled, rest): (Vec<_>, Vec<_>) = told.into_iter().partition(|line| line.contains("z/spill"));
    assert!(!spilled.is_empty());
    assert_eq!(rest, ["~a/2@2>16", "~a/1@1>15"]);
    assert_eq!(Store::list(&cache).len(), 3);
}
