//! Events and bookmarks in every order and shape, and what no event told.

use std::time::Duration;

use informer_reflector::RelistReason;

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn p7_an_audit_finds_what_the_server_never_sent() {
    let mut lists = 0;
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("10") => Answer::watch([pause(1), bookmark("20")]),
                _ => Answer::watch([]),
            };
        }
        let now = [object("a", 15), object("c", 16)];
        if seen.accept.contains("PartialObjectMetadataList") {
            assert_eq!(seen.param("resourceVersionMatch").as_deref(), Some("Exact"));
            return Answer::ok([text(
                list("20", &now).replace("ConfigMap", "PartialObjectMetadata"),
            )]);
        }
        lists += 1;
        if lists == 1 {
            abc()
        } else {
            Answer::list("21", &now)
        }
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.audit(Duration::from_secs(20)),
    );
    rig.run(30).await;
    assert_eq!(rig.store.contents(), ["a@15", "c@16"]);
    let stats = rig.reflector.stats();
    assert_eq!((stats.audits, stats.audit_differences), (1, 3));
    assert_eq!(stats.relists(RelistReason::Audit), 1);
}

#[tokio::test(start_paused = true)]
async fn p7_an_audit_of_an_equal_server_changes_nothing() {
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return Answer::watch([]);
        }
        if seen.accept.contains("PartialObjectMetadataList") {
            return Answer::list("10", &[object("a", 3), object("b", 5)]);
        }
        abc()
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.audit(Duration::from_secs(20)),
    );
    rig.run(100).await;
    assert_eq!(rig.store.log(), ["replace 2@10"]);
    assert!(rig.reflector.stats().audits >= 4);
}

#[tokio::test(start_paused = true)]
async fn p8_an_event_behind_a_bookmark_is_taken_and_lists_anew() {
    let server = Server::script(
        vec![abc(), Answer::list("30", &[object("a", 11), object("b", 12)])],
        vec![
            Answer::watch([bookmark("20"), modified("a", 11)]),
            Answer::watch([]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@12"]);
    assert_eq!(rig.reflector.stats().relists(RelistReason::Diverged), 1);
}

#[tokio::test(start_paused = true)]
async fn p9_a_bookmark_without_a_version_changes_nothing() {
    let nameless = event(
        "BOOKMARK",
        r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{}}"#,
    );
    for bad in [bookmark(""), bookmark("0"), bookmark("abc"), nameless] {
        let server = Server::script(
            vec![abc()],
            vec![
                Answer::ok([modified("a", 11), bad, pause(30)]),
                Answer::watch([deleted("b", 12)]),
            ],
        );
        let rig = Rig::plain(server);
        rig.run(60).await;
        assert_eq!(
            rig.server.watches()[1].param("resourceVersion").as_deref(),
            Some("11"),
            "I5"
        );
        assert_eq!(rig.store.contents(), ["a@11"]);
        assert_eq!(rig.reflector.stats().bad_versions, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p10_repetitions_and_replays_are_dropped() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([
            modified("a", 11),
            modified("a", 11),
            added("a", 3),
            added("c", 12),
            deleted("c", 13),
            added("c", 12),
            deleted("c", 13),
            added("old", 7),
            modified("b", 14),
        ])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(
        rig.store.log(),
        [
            "replace 2@10",
            "update a@11",
            "add c@12",
            "delete c@13",
            "update b@14"
        ],
        "I4"
    );
    assert_eq!(rig.reflector.stats().duplicates, 4);
    assert_eq!(rig.server.lists().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p10_events_out_of_order_are_all_taken_and_the_version_never_goes_back() {
    let server = Server::script(
        vec![abc()],
        vec![
            Answer::ok([modified("a", 12), modified("b", 11), pause(30)]),
            Answer::watch([]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@12", "b@11"]);
    assert_eq!(
        rig.server.watches()[1].param("resourceVersion").as_deref(),
        Some("12"),
        "I2"
    );
}

#[tokio::test(start_paused = true)]
async fn p10_a_deletion_with_the_version_held_is_honoured() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([
            modified("b", 12),
            deleted("a", 3),
            deleted("b", 11),
        ])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(
        rig.store.contents(),
        ["b@12"],
        "and one older than what is held is not"
    );
}

#[tokio::test(start_paused = true)]
async fn p11_a_deletion_of_nobody_knows_what_is_a_gap() {
    for nothing in ["null", "{}", r#"{"metadata":{}}"#] {
        let server = Server::script(
            vec![abc(), Answer::list("20", &[object("b", 5)])],
            vec![
                Answer::watch([event("DELETED", nothing)]),
                Answer::watch([event("DELETED", nothing)]),
                Answer::watch([]),
            ],
        );
        let rig = Rig::plain(server);
        rig.run(30).await;
        assert_eq!(rig.store.contents(), ["b@5"], "{nothing}");
        assert_eq!(rig.server.lists().len(), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn p11_a_deletion_whose_state_cannot_be_decoded_deletes_all_the_same() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([event("DELETED", &poison("a", 12))])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "delete a@12 inferred"]);
}

#[tokio::test(start_paused = true)]
async fn p12_objects_deleted_in_a_gap_are_gone_after_the_relist() {
    let server = Server::script(
        vec![abc(), Answer::list("40", &[object("b", 5)])],
        vec![Answer::ok([expired_event()]), Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["b@5"], "I7");
}

#[tokio::test(start_paused = true)]
async fn p13_another_object_of_the_same_name_is_a_deletion_and_an_addition() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([event("MODIFIED", &object_of("a", "u-other", 12))])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(
        rig.store.log(),
        ["replace 2@10", "delete a@ inferred", "add a@12"]
    );
}

#[tokio::test(start_paused = true)]
async fn p14_the_kind_of_event_is_what_the_store_makes_of_it() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([
            added("a", 11),
            modified("c", 12),
            deleted("d", 13),
        ])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "update a@11", "add c@12"]);
    assert_eq!(rig.reflector.stats().unknown_deletes, 1);
    assert_eq!(rig.reflector.resource_version().to_string(), "13");
}

#[tokio::test(start_paused = true)]
async fn p15_an_unknown_type_of_event_is_not_passed_over() {
    let server = Server::script(
        vec![abc(), Answer::list("20", &[object("a", 12), object("b", 5)])],
        vec![
            Answer::watch([event("SHINY", &object("a", 11)), modified("a", 12)]),
            Answer::watch([event("SHINY", &object("a", 11)), modified("a", 12)]),
            Answer::watch([modified("a", 12)]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(30).await;
    assert_eq!(rig.store.contents(), ["a@12", "b@5"]);
    let watches = rig.server.watches();
    assert_eq!(
        watches[1].param("resourceVersion").as_deref(),
        Some("10"),
        "asked again from before it"
    );
}

#[tokio::test(start_paused = true)]
async fn p15_errors_in_the_stream_back_off_and_watch_again() {
    for (code, reason) in [
        (500, "InternalError"),
        (429, "TooManyRequests"),
        (403, "Forbidden"),
        (0, ""),
    ] {
        let server = Server::script(
            vec![abc()],
            vec![
                Answer::ok([modified("a", 11), event("ERROR", &failure(code, reason, "no"))]),
                Answer::watch([modified("b", 12)]),
            ],
        );
        let rig = Rig::plain(server);
        rig.run(60).await;
        assert_eq!(rig.store.contents(), ["a@11", "b@12"]);
        assert_eq!(rig.server.lists().len(), 1, "{code}");
        assert_eq!(
            rig.server.watches()[1].param("resourceVersion").as_deref(),
            Some("11")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p9_a_bookmark_too_long_to_be_a_version_changes_nothing() {
    let long = "9".repeat(40);
    let rig = Rig::plain(Server::script(
        vec![Answer::list("10", &[])],
        vec![Answer::ok([bookmark(&long), pause(30)]), Answer::watch([])],
    ));
    rig.run(60).await;
    assert_eq!(
        rig.server.watches()[1].param("resourceVersion").as_deref(),
        Some("10")
    );
    assert_eq!(rig.reflector.stats().bad_versions, 1);
}

/// Members that nobody reads count as well: an object is not well in a watch and set apart in a list.
#[tokio::test(start_paused = true)]
async fn an_object_that_nests_too_deep_is_set_apart_in_watches_as_in_lists() {
    let deep = format!(r#"{{"unknown":{}{},"kind""#, "[".repeat(150), "]".repeat(150));
    let deep = object("c", 11).replacen(r#"{"kind""#, &deep, 1);
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([event("ADDED", &deep), modified("a", 12)])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@12", "b@5"]);
    let quarantined = rig.reflector.quarantined();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(quarantined[0].version.as_u64(), Some(11));
}

/// A server that pages whatever it is asked for says in several answers what it holds.
#[tokio::test(start_paused = true)]
async fn p7_an_audit_reads_every_page_of_a_server_that_sends_pages_unasked() {
    let watch = || {
        Answer::watch(
            [bookmark("10")]
                .into_iter()
                .chain((0..20).flat_map(|_| [pause(30), bookmark("10")])),
        )
    };
    for lost in [false, true] {
        let server = Server::new(move |seen| match seen.param("continue").as_deref() {
            _ if seen.is_watch() => watch(),
            None => Answer::ok([text(page("10", "t", &[object("a", 3)]))]),
            Some("t") => Answer::ok([text(page("10", "u", &[object("b", 5)]))]),
            Some(_) if lost && seen.accept.contains("PartialObjectMetadata") => Answer::list("10", &[]),
            Some(_) => Answer::list("10", &[object("c", 6)]),
        });
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists(),
            |builder| builder.audit(Duration::from_secs(100)),
        );
        rig.run(150).await;
        let stats = rig.reflector.stats();
        assert_eq!(stats.audits, 1);
        assert_eq!(stats.audit_differences, u64::from(lost));
        assert_eq!(stats.relists(RelistReason::Audit), u64::from(lost));
        let audits = rig
            .server
            .seen()
            .into_iter()
            .filter(|seen| seen.accept.contains("PartialObjectMetadata"));
        let tokens: Vec<_> = audits.map(|seen| seen.param("continue")).collect();
        assert_eq!(tokens, [None, Some("t".into()), Some("u".into())]);
        assert!(rig.server.busiest_minute() <= 8);
    }
}

#[tokio::test(start_paused = true)]
async fn p7_an_audit_of_pages_without_end_is_given_up() {
    for (repeated, pages) in [(true, 2), (false, 5)] {
        let mut asked = 0;
        let server = Server::new(move |seen| match seen.accept.contains("PartialObjectMetadata") {
            true => {
                asked += 1;
                let token = if repeated { 0 } else { asked };
                Answer::ok([text(page("10", &token.to_string(), &[object("a", 3)]))])
            }
            false if seen.is_watch() => Answer::watch([bookmark("10"), pause(60), bookmark("10")]),
            false => abc(),
        });
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists(),
            |builder| builder.audit(Duration::from_secs(50)),
        );
        rig.run(58).await;
        let stats = rig.reflector.stats();
        assert_eq!(
            (stats.audits, stats.lists, stats.watches, stats.pages),
            (1, 1, 2, 1 + pages)
        );
    }
}

/// The watch rests meanwhile.
#[tokio::test(start_paused = true)]
async fn p7_an_audit_without_end_is_given_up() {
    let items = format!("{},{},", object("a", 3), object("x", 4)).repeat(20);
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return Answer::watch([bookmark("10"), pause(60), bookmark("10")]);
        }
        if seen.accept.contains("PartialObjectMetadata") {
            let head = r#"{"kind":"PartialObjectMetadataList","metadata":{"resourceVersion":"10"},"items":["#;
            let endless = (0..1000).flat_map(|_| [text(&items), pause(1)]);
            return Answer::ok([text(head)].into_iter().chain(endless));
        }
        abc()
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.audit(Duration::from_secs(50)),
    );
    rig.run(400).await;
    assert_eq!(rig.reflector.stats().timeouts, 1);
    assert_eq!(rig.server.watches().len(), 2, "the watch is taken up again");
}

#[tokio::test(start_paused = true)]
async fn an_audit_once_in_no_time_is_none() {
    let rig = Rig::with(
        Server::script(vec![abc()], vec![Answer::watch([bookmark("10")])]),
        |source| source.no_streaming_lists(),
        |builder| builder.audit(Duration::ZERO),
    );
    rig.run(30).await;
    assert_eq!((rig.reflector.stats().audits, rig.server.seen().len()), (0, 2));
}

/// What a list left out although the server knew it at that version does not come later.
#[tokio::test(start_paused = true)]
async fn p8_initial_events_that_come_after_their_end_are_listed() {
    for late in [added("b", 5), event("ADDED", &poison("b", 5))] {
        let server = Server::script(
            vec![abc()],
            vec![
                Answer::watch([added("a", 3), initial_end("10"), late, modified("a", 11)]),
                Answer::watch([modified("a", 11)]),
            ],
        );
        let rig = Rig::new(server);
        rig.run(20).await;
        assert_eq!(rig.store.log(), ["replace 1@10", "replace 2@10", "update a@11"]);
        assert_eq!(rig.reflector.stats().relists(RelistReason::Diverged), 1);
        assert_eq!(rig.server.seen().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn p8_a_second_end_of_initial_events_is_a_bookmark_like_any_other() {
    let server = Server::script(
        vec![],
        vec![Answer::watch([
            added("a", 3),
            initial_end("10"),
            initial_end("10"),
            added("b", 11),
            initial_end("12"),
        ])],
    );
    let rig = Rig::new(server);
    rig.run(20).await;
    assert_eq!(rig.store.log(), ["replace 1@10", "add b@11", "bookmark @12"]);
}

/// No repetition of the object deleted, and no news that a server in order could have: only a list can tell.
#[tokio::test(start_paused = true)]
async fn p10_another_object_no_newer_than_the_deletion_of_its_name_is_looked_for() {
    let server = Server::script(
        vec![
            abc(),
            Answer::list("20", &[object_of("a", "u-new", 11), object("b", 5)]),
        ],
        vec![
            Answer::watch([deleted("a", 12), event("ADDED", &object_of("a", "u-new", 11))]),
            Answer::watch([]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(20).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "delete a@12", "replace 2@20"]);
    assert_eq!(rig.reflector.stats().relists(RelistReason::Diverged), 1);
}

/// The deletion remembered of a name is its last.
#[tokio::test(start_paused = true)]
async fn p10_an_old_deletion_does_not_let_a_later_one_be_forgotten() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([
            added("c", 14),
            deleted("c", 15),
            deleted("c", 12),
            added("c", 14),
        ])],
    );
    let rig = Rig::plain(server);
    rig.run(20).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "add c@14", "delete c@15"]);
}

/// Only so many deletions are remembered. What is forgotten for want of room is the oldest, not the last of a name
/// that came and went then as well.
#[tokio::test(start_paused = true)]
async fn p10_a_name_that_comes_and_goes_hides_no_other_that_is_out_of_order() {
    let mut version = 10;
    let mut next = |kind: fn(&str, u64) -> Piece, name: &str| {
        version += 1;
        kind(name, version)
    };
    let mut events = Vec::new();
    let others: Vec<_> = (0..4095).map(|n| format!("o{n}")).collect();
    let names = others.iter().map(String::as_str);
    for name in ["k"].into_iter().chain(names).chain(["k", "last"]) {
        events.push(next(added, name));
        if name == "last" {
            events.push(added("late", 8203));
        }
        events.push(next(deleted, name));
    }
    let rig = Rig::plain(Server::script(vec![abc()], vec![Answer::watch(events)]));
    rig.run(20).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5", "late@8203"]);
}

/// Nor does its deletion before that, nor another state that cannot be decoded.
#[tokio::test(start_paused = true)]
async fn p10_an_older_state_lets_nothing_out_of_quarantine() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([
            event("MODIFIED", &poison("a", 12)),
            modified("a", 11),
            event("ADDED", &poison("c", 14)),
            added("c", 13),
            deleted("c", 13),
            event("MODIFIED", &poison("c", 13)),
            event("MODIFIED", &poison("c", 14)),
            deleted("a", 11),
            modified("b", 15),
        ])],
    );
    let rig = Rig::plain(server);
    rig.run(20).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "update b@15"]);
    let apart: Vec<_> = rig
        .reflector
        .quarantined()
        .iter()
        .map(|entry| entry.version.to_string())
        .collect();
    assert_eq!(apart, ["12", "14"], "I1");
    assert_eq!(rig.reflector.stats().duplicates, 6);
}

/// The next audit is due a period after the end of the last: the watch has that long for itself.
#[tokio::test(start_paused = true)]
async fn p7_audits_that_take_longer_than_their_period_leave_time_for_the_watch() {
    let server = Server::new(|seen| {
        if seen.is_watch() {
            let from: u64 = seen
                .param("resourceVersion")
                .expect("it has one")
                .parse()
                .expect("a number");
            return Answer::watch([pause(2), modified("a", from + 1)]);
        }
        if seen.accept.contains("PartialObjectMetadata") {
            return Answer::Never;
        }
        abc()
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.audit(Duration::from_secs(20)),
    );
    rig.run(600).await;
    let stats = rig.reflector.stats();
    assert!(stats.audits >= 4, "{stats:?}");
    assert!(stats.events + 1 >= stats.audits, "{stats:?}");
}
