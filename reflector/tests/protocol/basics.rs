//! List, watch and relist, the plain way.

use std::time::Duration;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn first_lists_then_watches_from_the_lists_version() {
    let server = Server::script(
        vec![Answer::list("10", &[object("a", 3), object("b", 5)])],
        vec![Answer::watch([
            modified("a", 11),
            added("c", 12),
            deleted("b", 13),
            bookmark("20"),
        ])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@11", "c@12"]);
    assert_eq!(
        rig.store.log(),
        [
            "replace 2@10",
            "update a@11",
            "add c@12",
            "delete b@13",
            "bookmark @20"
        ]
    );
    let seen = rig.server.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(seen[1].param("resourceVersion").as_deref(), Some("10"));
    assert_eq!(rig.states(), ["listing", "synced"]);
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_becomes_the_watch() {
    let server = Server::script(
        vec![],
        vec![Answer::watch([
            added("a", 3),
            added("b", 5),
            initial_end("10"),
            modified("a", 11),
        ])],
    );
    let rig = Rig::new(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
    assert_eq!(rig.server.seen().len(), 1);
    assert_eq!(rig.reflector.stats().relists_total(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_lists_and_watches_took_is_counted() {
    let server = Server::script(
        vec![Answer::ok([
            pause(3),
            text(list("10", &[object("a", 3), object("b", 5)])),
        ])],
        vec![
            Answer::ok([pause(40), modified("a", 11), bookmark("12"), pause(20)]),
            Answer::watch([]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(100).await;
    let stats = rig.reflector.stats();
    assert_eq!((stats.lists_taken, stats.listed_items), (1, 2));
    assert_eq!(stats.list_time.as_secs(), 3);
    assert_eq!((stats.watches_ended, stats.watched_events), (1, 1));
    assert_eq!(stats.watch_time.as_secs(), 60, "the second watch has not ended");
    let last = stats.last_event.expect("there was one");
    assert_eq!(last.elapsed().as_secs(), 57);
}

#[tokio::test(start_paused = true)]
async fn times_without_end_are_no_overflow() {
    let server = Server::script(
        vec![
            Answer::Refuse,
            Answer::list("10", &[object("a", 3), poison("b", 4)]),
        ],
        vec![Answer::watch([bookmark("11")])],
    );
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| {
            let mut config = informer_reflector::Config::default();
            for time in [
                &mut config.watch_timeout,
                &mut config.header_timeout,
                &mut config.body_timeout,
                &mut config.bookmark_cadence,
                &mut config.streaming_lists_retry,
                &mut config.quarantine_retry,
                &mut config.backoff.max,
                &mut config.backoff.reset_after,
                &mut config.backoff.retry_after_max,
            ] {
                *time = std::time::Duration::MAX;
            }
            config.resync = Some(std::time::Duration::MAX);
            config.audit = Some(std::time::Duration::MAX);
            builder.config(config)
        },
    );
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3"]);
}

/// Every fault is seen in its counter, and in no other.
#[tokio::test(start_paused = true)]
async fn what_goes_wrong_is_counted_where_it_is_looked_for() {
    let good = object("a", 12);
    let first = [event("MODIFIED", &good), event("MODIFIED", &good), bookmark("13")];
    let last = [bookmark(""), bookmark("14"), modified("b", 15), deleted("x", 16)];
    let contents = [text(list("10", &[object("a", 3), poison("b", 5)]))];
    let sent: usize = [&contents[..], &first, &last]
        .concat()
        .iter()
        .map(|piece| match piece {
            Piece::Bytes(bytes) => bytes.len(),
            _ => 0,
        })
        .sum();
    let server = Server::script(
        vec![Answer::ok(contents)],
        vec![Answer::ok(first), Answer::ok([]), Answer::watch(last)],
    );
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.resync(Duration::from_secs(10)),
    );
    rig.run(30).await;
    assert_eq!(rig.store.contents(), ["a@12", "b@15"]);
    let stats = rig.reflector.stats();
    assert_eq!(
        (stats.lists, stats.pages, stats.watches, stats.requests()),
        (1, 1, 3, 4)
    );
    assert_eq!((stats.items, stats.quarantined, stats.released), (2, 1, 1));
    assert_eq!((stats.events, stats.duplicates, stats.unknown_deletes), (4, 1, 1));
    assert_eq!(
        (stats.bookmarks, stats.bad_versions, stats.old_bookmarks),
        (3, 1, 0)
    );
    assert_eq!((stats.short_watches, stats.retries), (2, 2));
    // One tenth of the objects a second.
    assert!((28..=30).contains(&stats.resync_parts), "{}", stats.resync_parts);
    assert_eq!(stats.bytes, sent as u64);
    let none = [
        stats.throttled,
        stats.timeouts,
        stats.unreadable,
        stats.stale_answers,
        stats.rewinds,
    ];
    assert_eq!(
        (none, stats.watchdog_trips, stats.probes, stats.gets),
        ([0; 5], 0, 0, 0)
    );
    assert_eq!(
        (stats.relists_total(), stats.other_shard, stats.list_duplicates),
        (0, 0, 0)
    );
}
