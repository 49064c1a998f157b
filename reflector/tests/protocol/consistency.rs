//! Faults of protocol and consistency: P1 to P21.

use std::time::Duration;

use informer_reflector::{ApiListWatch, Reflector, RelistReason};
use informer_store::Cache;
use kube_client::core::{ApiResource, DynamicObject};

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

fn expired_event() -> Piece {
    event(
        "ERROR",
        &failure(410, "Expired", "too old resource version: 5 (313)"),
    )
}

/// The versions lists were asked for; `-` for none.
fn list_versions(server: &Server) -> Vec<String> {
    server
        .lists()
        .iter()
        .map(|list| list.param("resourceVersion").unwrap_or_else(|| "-".into()))
        .collect()
}

#[tokio::test(start_paused = true)]
async fn p1_and_p2_an_expired_version_lists_anew_no_older_than_what_was_seen() {
    for gone in [
        Answer::ok([expired_event()]),
        Answer::failure(410, "Expired", "too old resource version"),
        Answer::failure(410, "Gone", "gone"),
        Answer::status(410, []),
    ] {
        let server = Server::script(
            vec![abc(), Answer::list("40", &[object("a", 3), object("c", 40)])],
            vec![gone, Answer::watch([modified("c", 41)])],
        );
        let rig = Rig::plain(server);
        rig.run(10).await;
        assert_eq!(rig.store.log(), ["replace 2@10", "replace 2@40", "update c@41"]);
        assert_eq!(list_versions(&rig.server), ["-", "10"]);
        let relist = &rig.server.lists()[1];
        assert_eq!(
            relist.param("resourceVersionMatch").as_deref(),
            Some("NotOlderThan")
        );
        assert_eq!(relist.param("limit"), None, "served from memory, whole");
        assert_eq!(rig.reflector.stats().relists(RelistReason::Expired), 1);
        assert_eq!(rig.reflector.stats().held, 1, "what is held is not decoded again");
        let waited = relist.at - rig.server.watches()[0].at;
        assert!(
            waited <= Duration::from_millis(500),
            "at once, with jitter: {waited:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p1_a_relist_that_is_expired_too_reads_the_latest() {
    let server = Server::script(
        vec![
            abc(),
            Answer::failure(410, "Expired", "old"),
            Answer::list("40", &[object("c", 40)]),
        ],
        vec![Answer::ok([expired_event()]), Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(list_versions(&rig.server), ["-", "10", "-"]);
    assert_eq!(rig.store.contents(), ["c@40"]);
}

#[tokio::test(start_paused = true)]
async fn p2_a_watch_expired_again_and_again_is_no_storm() {
    let server = Server::script(vec![abc()], vec![Answer::failure(410, "Expired", "old")]);
    let rig = Rig::plain(server);
    rig.run(600).await;
    assert!(
        rig.server.busiest_minute() <= 8,
        "{}",
        rig.server.busiest_minute()
    );
    assert!(rig.states().contains(&"degraded expired".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn p3_an_expired_page_falls_back_once_to_the_whole_list() {
    let expired = r#"{"kind":"Status","apiVersion":"v1","metadata":{"continue":"inconsistent"},"status":"Failure","message":"The provided continue parameter is too old","reason":"Expired","code":410}"#;
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return Answer::watch([]);
        }
        match (seen.param("limit"), seen.param("continue")) {
            (_, Some(_)) => Answer::status(410, [text(expired)]),
            (Some(_), None) => Answer::ok([text(page("10", "t1", &[object("a", 3)]))]),
            (None, None) => Answer::list("12", &[object("a", 3), object("b", 12)]),
        }
    });
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@12"]);
    let lists = rig.server.lists();
    assert_eq!(lists.len(), 3);
    assert!(
        lists
            .iter()
            .all(|list| list.param("continue").as_deref() != Some("inconsistent"))
    );
}

#[tokio::test(start_paused = true)]
async fn p4_a_version_too_large_reads_the_latest() {
    let details = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: Too large resource version: 10, current: 5","reason":"Timeout","details":{"causes":[{"reason":"ResourceVersionTooLarge","message":"Too large resource version"}],"retryAfterSeconds":1},"code":504}"#;
    let server = Server::script(
        vec![
            abc(),
            Answer::status(504, [text(details)]),
            Answer::list("40", &[object("a", 40)]),
        ],
        vec![Answer::ok([expired_event()]), Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(list_versions(&rig.server), ["-", "10", "-"]);
    assert_eq!(rig.store.contents(), ["a@40"]);

    let server = Server::script(
        vec![abc(), Answer::list("40", &[object("a", 40)])],
        vec![Answer::ok([event("ERROR", details)]), Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(list_versions(&rig.server), ["-", "-"]);
    assert_eq!(rig.reflector.stats().relists(RelistReason::TooLarge), 1);
}

#[tokio::test(start_paused = true)]
async fn p5_a_rewound_history_is_noticed_declared_and_taken_whole() {
    let server = Server::new(|seen| {
        if !seen.is_watch() {
            return if seen.at.elapsed() == Duration::ZERO && seen.param("limit").as_deref() == Some("500") {
                Answer::list("1000", &[object("a", 900), object("b", 950)])
            } else {
                Answer::list("100", &[object("a", 90)])
            };
        }
        Answer::watch([])
    });
    let mut first = true;
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("1000") => Answer::watch([pause(1), bookmark("1001")]),
                // The version is ahead of the restored server: accepted, and silent.
                Some("1001") => Answer::watch([]),
                _ => Answer::watch([modified("a", 101)]),
            };
        }
        if std::mem::take(&mut first) {
            return Answer::list("1000", &[object("a", 900), object("b", 950)]);
        }
        let _ = &server;
        Answer::list("100", &[object("a", 90)])
    });
    let rig = Rig::plain(server);
    rig.run(150).await;
    assert_eq!(rig.store.contents(), ["a@101"]);
    assert_eq!(rig.store.rewound(), 1, "I2: a declared rewind");
    let stats = rig.reflector.stats();
    assert_eq!((stats.rewinds, stats.relists(RelistReason::Rewound)), (1, 1));
    assert!(rig.server.busiest_minute() <= 8);
}

#[tokio::test(start_paused = true)]
async fn p5_a_whole_watch_without_a_word_is_followed_by_a_probe() {
    let mut lists = 0;
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("1000") => Answer::ok([pause(300)]),
                _ => Answer::watch([]),
            };
        }
        lists += 1;
        if lists == 1 {
            Answer::list("1000", &[object("a", 900)])
        } else {
            Answer::list("100", &[object("a", 90)])
        }
    });
    let rig = Rig::plain(server);
    rig.run(330).await;
    assert_eq!(rig.store.contents(), ["a@90"]);
    assert_eq!(rig.reflector.stats().probes, 1);
}

#[tokio::test(start_paused = true)]
async fn p6_an_older_answer_is_refused_and_nothing_rises_from_the_dead() {
    let server = Server::script(
        vec![
            Answer::list("100", &[object("a", 90)]),
            Answer::list("50", &[object("a", 40), object("dead", 45)]),
            Answer::list("50", &[object("a", 40), object("dead", 45)]),
            Answer::list("120", &[object("a", 110)]),
        ],
        vec![Answer::ok([expired_event()]), Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(30).await;
    assert_eq!(rig.store.log(), ["replace 1@100", "replace 1@120"]);
    assert_eq!(rig.reflector.stats().stale_answers, 2);
    assert_eq!(rig.store.rewound(), 0);
}

#[tokio::test(start_paused = true)]
async fn p6_any_version_is_asked_for_only_before_the_first_list() {
    let server = Server::script(
        vec![Answer::list("100", &[]), Answer::list("120", &[])],
        vec![Answer::ok([expired_event()]), Answer::watch([])],
    );
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.initial_read(informer_reflector::InitialRead::Any),
    );
    rig.run(10).await;
    assert_eq!(list_versions(&rig.server), ["0", "100"]);
    assert_eq!(
        rig.server.lists()[0].param("limit"),
        None,
        "a limit would undo it"
    );
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
async fn p16_a_refused_streaming_list_falls_back_and_is_remembered() {
    let refusals = [
        Answer::failure(
            422,
            "Invalid",
            "sendInitialEvents: Forbidden: unless the WatchList feature gate is enabled",
        ),
        Answer::failure(400, "BadRequest", "unknown parameter"),
        Answer::ok([event(
            "ERROR",
            &failure(
                500,
                "InternalError",
                "a required storage feature RequestWatchProgress is disabled",
            ),
        )]),
    ];
    for refusal in refusals {
        let mut plain = 0;
        let server = Server::new(move |seen| {
            if !seen.is_watch() {
                return abc();
            }
            if seen.param("sendInitialEvents").is_some() {
                return refusal.clone();
            }
            plain += 1;
            if plain == 1 {
                Answer::ok([expired_event()])
            } else {
                Answer::watch([])
            }
        });
        let rig = Rig::new(server);
        rig.run(30).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
        let asked = rig
            .server
            .watches()
            .iter()
            .filter(|w| w.param("sendInitialEvents").is_some())
            .count();
        assert_eq!(asked, 1, "remembered over a relist");
        assert_eq!(rig.reflector.stats().streaming_list_fallbacks, 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p17_initial_events_without_an_end_fall_back() {
    let server = Server::new(|seen| {
        if !seen.is_watch() {
            return abc();
        }
        if seen.param("sendInitialEvents").is_some() {
            return Answer::watch([added("a", 3), added("b", 5)]);
        }
        Answer::watch([modified("a", 11)])
    });
    let rig = Rig::new(server);
    rig.run(35).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "update a@11"]);
}

#[tokio::test(start_paused = true)]
async fn p17_changes_and_bookmarks_without_an_end_are_no_progress() {
    let server = Server::new(|seen| {
        if !seen.is_watch() {
            return abc();
        }
        if seen.param("sendInitialEvents").is_some() {
            let changes = (11..100)
                .flat_map(|version| [pause(5), modified("a", version), bookmark(&version.to_string())]);
            return Answer::watch([added("a", 3), added("b", 5)].into_iter().chain(changes));
        }
        Answer::watch([])
    });
    let rig = Rig::new(server);
    rig.run(40).await;
    assert_eq!(rig.store.log(), ["replace 2@10"]);
}

#[tokio::test(start_paused = true)]
async fn p17_changes_during_the_initial_events_count() {
    let server = Server::script(
        vec![],
        vec![Answer::watch([
            added("a", 3),
            added("b", 5),
            modified("a", 8),
            deleted("b", 9),
            bookmark("9"),
            initial_end("10"),
        ])],
    );
    let rig = Rig::new(server);
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 1@10"]);
    assert_eq!(rig.store.contents(), ["a@8"]);
}

#[tokio::test(start_paused = true)]
async fn p18_the_mark_counts_only_where_it_was_asked_for() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([initial_end("12"), modified("a", 13)])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "bookmark @12", "update a@13"]);
}

#[tokio::test(start_paused = true)]
async fn p19_an_object_that_leaves_the_selector_is_deleted() {
    let server = Server::script(vec![abc()], vec![Answer::watch([deleted("a", 12)])]);
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists().labels("app=web,tier!=db"),
        |b| b,
    );
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "delete a@12"]);
    for seen in rig.server.seen() {
        assert_eq!(
            seen.param("labelSelector").as_deref(),
            Some("app%3Dweb%2Ctier%21%3Ddb")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p20_a_kind_that_is_away_is_found_again_within_a_minute() {
    for (code, reason, state) in [
        (404, "NotFound", "degraded not-found"),
        (500, "InternalError", "degraded server-error"),
    ] {
        let start = tokio::time::Instant::now();
        let server = Server::new(move |seen| {
            let away = seen.at - start < Duration::from_secs(600);
            match (seen.is_watch(), away) {
                (_, true) => Answer::failure(code, reason, "away"),
                (true, false) => Answer::watch([]),
                (false, false) => abc(),
            }
        });
        let rig = Rig::new(server);
        rig.run(600).await;
        assert!(
            rig.server.busiest_minute() <= 8,
            "{}",
            rig.server.busiest_minute()
        );
        assert!(rig.states().contains(&state.to_owned()), "{:?}", rig.states());
        rig.run(60).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p21_another_kind_is_refused() {
    let table = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"10"},"columnDefinitions":[],"rows":[]}"#;
    let other = list("10", &[object("a", 3)]).replace("ConfigMapList", "SecretList");
    for wrong in [table.to_owned(), other] {
        let server = Server::script(vec![Answer::ok([text(wrong)])], vec![Answer::watch([])]);
        let rig = Rig::plain(server);
        rig.run(60).await;
        assert_eq!(rig.store.replaced(), 0);
        assert!(
            rig.states().contains(&"degraded wrong-kind".to_owned()),
            "{:?}",
            rig.states()
        );
        assert!(rig.server.busiest_minute() <= 8);
    }
    let server = Server::script(
        vec![abc()],
        vec![
            Answer::watch([event("ADDED", table), modified("a", 11)]),
            Answer::watch([modified("a", 11)]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
}

/// A server that knows nothing of initial events sends what it has and then whatever happens.
#[tokio::test(start_paused = true)]
async fn p17_a_live_watch_that_was_to_begin_with_the_contents_is_given_up_however_busy() {
    let busy = (0..600).flat_map(|n| [pause(1), modified("a", 100 + n)]);
    let marked = (0..600).flat_map(|n| [pause(1), bookmark(&(100 + n).to_string())]);
    for live in [busy.collect::<Vec<_>>(), marked.collect()] {
        let pieces: Vec<_> = [added("a", 3), added("b", 5)].into_iter().chain(live).collect();
        let rig = Rig::new(Server::script(
            vec![abc()],
            vec![Answer::watch(pieces), Answer::watch([])],
        ));
        rig.run(60).await;
        assert_eq!(rig.server.lists().len(), 1, "it is listed instead");
        assert_eq!(rig.store.replaced(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn p6_after_an_older_answer_another_connection_is_asked() {
    let expired = Answer::ok([expired_event()]);
    let rig = Rig::plain(Server::script(
        vec![
            Answer::list("10", &[object("a", 3)]),
            Answer::list("8", &[object("a", 3), object("old", 4)]),
            Answer::list("11", &[object("a", 3)]),
        ],
        vec![expired, Answer::watch([])],
    ));
    rig.run(30).await;
    let fresh: Vec<_> = rig.server.lists().iter().map(|seen| seen.fresh).collect();
    assert_eq!(fresh, [false, false, true]);
    assert_eq!(rig.store.contents(), ["a@3"]);
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

#[tokio::test(start_paused = true)]
async fn an_item_without_a_version_is_set_apart() {
    let item = object("b", 4).replace(r#","resourceVersion":"4""#, "");
    let rig = Rig::plain(Server::script(
        vec![Answer::list("10", &[object("a", 3), item])],
        vec![Answer::watch([])],
    ));
    rig.run(5).await;
    assert_eq!(rig.store.contents(), ["a@3"]);
    assert_eq!(rig.reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p21_one_stray_object_of_another_kind_is_set_apart_and_the_rest_flows() {
    let stray = |name: &str, version| object(name, version).replace("ConfigMap", "Secret");
    let rig = Rig::plain(Server::script(
        vec![Answer::list("10", &[object("a", 3), stray("s", 4)])],
        vec![Answer::watch([
            event("ADDED", &stray("t", 11)),
            added("b", 12),
            event("MODIFIED", &stray("t", 13)),
        ])],
    ));
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@12"]);
    assert_eq!(rig.server.seen().len(), 2);
    assert_eq!(rig.reflector.resource_version().to_string(), "13");
    let apart: Vec<_> = rig
        .reflector
        .quarantined()
        .into_iter()
        .filter_map(|entry| entry.key)
        .collect();
    assert_eq!(apart.iter().map(|key| key.name()).collect::<Vec<_>>(), ["s", "t"]);
}

/// The kind's name is not asked for: it shows in the first object whose plural is what was asked for.
#[tokio::test(start_paused = true)]
async fn p21_a_stray_object_is_told_even_where_the_kind_was_given_by_its_plural_alone() {
    let stray = object("s", 11).replace("ConfigMap", "Secret");
    let server = Server::script(
        vec![Answer::list("10", &[object("a", 3)])],
        vec![Answer::watch([event("ADDED", &stray), added("b", 12)])],
    );
    let kind = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: String::new(),
        plural: "configmaps".into(),
    };
    let cache = Cache::<DynamicObject>::new();
    let source = ApiListWatch::dynamic(server.client(), &kind).no_streaming_lists();
    let reflector = Reflector::builder(source, cache.clone()).build();
    let end = tokio::time::sleep(Duration::from_secs(10));
    reflector
        .run(end)
        .await
        .expect("nothing a server does ends a run");
    assert_eq!(cache.len(), 2);
    assert_eq!(reflector.quarantined().len(), 1);
}
