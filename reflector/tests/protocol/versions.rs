//! Versions: expired, too large, gone back, older than what was seen.

use std::time::Duration;

use informer_reflector::RelistReason;
use informer_store::{KeyRef, ReflectorStore as _};

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
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

/// A server at version 1001 that is restored to version 100 as soon as it has said so; `silent` is how it answers a
/// watch from a version that it does not know any more.
fn restored(silent: fn() -> Answer) -> Server {
    let mut lists = 0;
    Server::new(move |seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("1000") => Answer::ok([pause(1), bookmark("1001"), pause(1)]),
                Some("1001") => silent(),
                _ => Answer::watch([]),
            };
        }
        lists += 1;
        if lists == 1 {
            return Answer::list("1000", &[object("a", 900), object("b", 950)]);
        }
        let now = list("100", &[object("a", 90)]);
        let metadata = seen.accept.contains("PartialObjectMetadataList");
        let kind = if metadata {
            "PartialObjectMetadata"
        } else {
            "ConfigMap"
        };
        Answer::ok([text(now.replace("ConfigMap", kind))])
    })
}

/// Each audit begins a new watch, so that none is silent for as long as the watchdog waits.
#[tokio::test(start_paused = true)]
async fn p5_audits_more_frequent_than_bookmarks_do_not_hide_a_rewind() {
    let rig = Rig::with(
        restored(|| Answer::watch([])),
        |source| source.no_streaming_lists(),
        |builder| builder.audit(Duration::from_secs(30)),
    );
    rig.run(200).await;
    assert_eq!(rig.store.contents(), ["a@90"]);
    assert_eq!(rig.store.rewound(), 1);
    assert!(rig.server.busiest_minute() <= 8);
}

/// A proxy that ends what is idle for a minute: no watch is silent for long, but all of them are.
#[tokio::test(start_paused = true)]
async fn p5_watches_that_somebody_ends_before_the_watchdog_trips_do_not_hide_a_rewind() {
    for silent in [(|| Answer::ok([pause(60)])) as fn() -> Answer, || {
        Answer::ok([pause(60), Piece::Reset])
    }] {
        let rig = Rig::plain(restored(silent));
        rig.run(250).await;
        assert_eq!(rig.store.contents(), ["a@90"]);
        assert_eq!(rig.store.rewound(), 1);
    }
}

/// A server that lists a@900 and b@950 at 1000, expires the watch after it, and then lists `objects` at `version`.
fn rewound_to(version: &'static str, objects: Vec<String>) -> Server {
    let mut first = true;
    Server::new(
        move |seen| match (seen.is_watch(), seen.param("resourceVersion").as_deref()) {
            (false, _) if std::mem::take(&mut first) => {
                Answer::list("1000", &[object("a", 900), object("b", 950)])
            }
            (true, Some("1000")) => Answer::ok([pause(2), event("ERROR", &failure(410, "Expired", "old"))]),
            (true, _) => Answer::watch([]),
            (false, _) => Answer::list(version, &objects),
        },
    )
}

/// The version of the list is newer than what was seen, but an object in it is older than the one held.
#[tokio::test(start_paused = true)]
async fn p5_a_rewound_history_that_got_past_what_was_seen_is_told_by_its_objects() {
    let rig = Rig::plain(rewound_to("1100", vec![object("a", 800), object("c", 1050)]));
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@800", "c@1050"]);
    assert_eq!(rig.store.rewound(), 1, "I2: a declared rewind");
    assert_eq!(
        rig.reflector.stats().stale_answers,
        3,
        "not at once: it may be one bad replica"
    );
}

/// A history that went back gives versions out again: the same uid and version, another object.
#[tokio::test(start_paused = true)]
async fn p5_a_version_that_a_lost_history_gave_out_too_is_read_again() {
    let again = object("a", 900).replace(
        "\"managedFields\"",
        "\"labels\":{\"history\":\"second\"},\"managedFields\"",
    );
    let rig = Rig::plain(rewound_to("920", vec![again]));
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@900"]);
    assert_eq!(rig.store.rewound(), 1, "I2: a declared rewind");
    let key = KeyRef::new(Some("default"), "a");
    let held = rig.store.held(key, "u-a", "900").expect("it is listed");
    let labels = held.metadata.labels.clone().unwrap_or_default();
    assert_eq!(labels["history"], "second", "I1: what the server has");
}

/// The history of one namespace is seen to have gone back; the other's has got past what was seen, and tells nothing.
#[tokio::test(start_paused = true)]
async fn p5_what_one_source_finds_out_about_the_history_the_others_look_into() {
    let of = |namespace: &str, name: &str, version| {
        object(name, version).replace("\"default\"", &format!("\"{namespace}\""))
    };
    let mut listed = [false; 2];
    let server = Server::new(move |seen| {
        let a = seen.uri.contains("/namespaces/a/");
        match (seen.is_watch(), a, seen.param("resourceVersion").as_deref()) {
            (true, true, Some("1000")) => Answer::watch([pause(1), bookmark("100")]),
            (true, false, Some("1000")) => {
                Answer::watch((1001..1020).flat_map(|at| [pause(30), bookmark(&at.to_string())]))
            }
            (true, ..) => Answer::watch([]),
            (false, ..) if !std::mem::replace(&mut listed[usize::from(a)], true) => {
                let namespace = if a { "a" } else { "b" };
                Answer::list("1000", &[of(namespace, "x", 500), of(namespace, "lost", 900)])
            }
            (false, true, _) => Answer::list("100", &[of("a", "x", 90)]),
            (false, false, _) => Answer::list("1003", &[of("b", "x", 500), of("b", "y", 950)]),
        }
    });
    let cache = informer_store::Cache::<k8s_openapi::api::core::v1::ConfigMap>::new();
    let source = |namespace: &str| {
        informer_reflector::ApiListWatch::namespaced(server.client(), namespace).no_streaming_lists()
    };
    let reflector = informer_reflector::Reflector::builder(source("a"), cache.clone())
        .also(source("b"))
        .seed(7)
        .build();
    let run = reflector.run(tokio::time::sleep(Duration::from_secs(60)));
    run.await.expect("a rewind ends nothing");
    let snapshot = cache.snapshot();
    let mut held: Vec<_> = snapshot.entries().map(|(key, _)| key.to_string()).collect();
    held.sort();
    assert_eq!(held, ["a/x", "b/x", "b/y"]);
    assert_eq!(snapshot.resource_version().as_u64(), Some(100));
    assert_eq!(reflector.stats().rewinds, 2);
    let lists_of_b = server
        .lists()
        .iter()
        .filter(|seen| seen.uri.contains("/namespaces/b/"))
        .count();
    assert_eq!(lists_of_b, 2, "once is enough");
}

/// While one source still reads the list that its doubt made it ask for, an object of it has moved to the other.
#[tokio::test(start_paused = true)]
async fn p5_what_moved_during_the_list_of_a_doubt_is_not_taken_back() {
    let mut listed = [false; 2];
    let server = Server::new(move |seen| {
        let a = seen.uri.contains("of%3Da");
        match (seen.is_watch(), a, seen.param("resourceVersion").as_deref()) {
            (true, true, Some("1000")) => Answer::watch([pause(1), bookmark("100")]),
            (true, true, Some("100")) => Answer::watch([pause(5), added("m", 1200)]),
            (true, false, Some("1100")) => Answer::watch([deleted("m", 1200)]),
            (true, ..) => Answer::watch([]),
            (false, ..) if !std::mem::replace(&mut listed[usize::from(a)], true) => {
                let name = if a { "x" } else { "m" };
                Answer::list("1000", &[object(name, 600)])
            }
            (false, true, _) => Answer::list("100", &[object("x", 90)]),
            (false, false, _) => Answer::ok([
                text(list("1100", &[object("m", 1050)]).trim_end_matches('}')),
                pause(15),
                text("}"),
            ]),
        }
    });
    let cache = informer_store::Cache::<k8s_openapi::api::core::v1::ConfigMap>::new();
    let source = |labels: &str| {
        informer_reflector::ApiListWatch::namespaced(server.client(), "default")
            .labels(labels)
            .no_streaming_lists()
    };
    let reflector = informer_reflector::Reflector::builder(source("of=a"), cache.clone())
        .also(source("of=b"))
        .seed(7)
        .build();
    let run = reflector.run(tokio::time::sleep(Duration::from_secs(60)));
    run.await.expect("a rewind ends nothing");
    assert_eq!(reflector.stats().rewinds, 2);
    let m = cache.get("default", "m").expect("one of the sources has it");
    assert_eq!(m.metadata.resource_version.as_deref(), Some("1200"));
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

/// Not every server, nor every proxy before it, writes a status as Kubernetes does.
#[tokio::test(start_paused = true)]
async fn p1_an_expired_version_is_told_whatever_else_is_wrong_with_the_status() {
    for status in [
        r#"{"kind":"Status","message":null,"reason":"Expired","code":410}"#,
        r#"{"kind":"Status","message":"gone","reason":null,"code":410}"#,
        r#"{"kind":"Status","reason":"Expired","code":"410"}"#,
        r#"{"kind":"Status","reason":"Expired","code":410,"details":{"retryAfterSeconds":-1}}"#,
        r#"{"kind":"Status","reason":"Expired","code":410,"details":{"causes":[{"reason":null}]}}"#,
        r#"{"kind":"Status","reason":"Expired","code":410,"details":"none"}"#,
        r#"{"kind":"Status","reason":"Expired","code":70000}"#,
        r#"{"code":410}"#,
        r#"{"message":"too old resource version: 5 (313)"}"#,
        r#"{"code":500,"message":"etcdserver: mvcc: required revision has been compacted"}"#,
    ] {
        let server = Server::script(
            vec![abc(), Answer::list("20", &[object("a", 13)])],
            vec![Answer::ok([event("ERROR", status)]), Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(20).await;
        assert_eq!(rig.store.log(), ["replace 2@10", "replace 1@20"], "{status}");
        assert_eq!(
            rig.reflector.stats().relists(RelistReason::Expired),
            1,
            "{status}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn p4_a_version_too_large_is_told_whatever_else_is_wrong_with_the_status() {
    let bad = failure(504, "Timeout", "no")
        .replace("504}", r#"504,"details":{"causes":[{"reason":"ResourceVersionTooLarge","message":null}],"retryAfterSeconds":"1"}}"#);
    let server = Server::script(
        vec![
            abc(),
            Answer::status(504, [text(bad)]),
            Answer::list("20", &[object("a", 13)]),
        ],
        vec![Answer::ok([expired_event()]), Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(20).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "replace 1@20"]);
    assert_eq!(rig.server.lists()[2].param("resourceVersion"), None);
    assert_eq!(rig.server.lists().len(), 3);
}

/// An error that nobody understands may be any, that the version has expired as well.
#[tokio::test(start_paused = true)]
async fn p15_an_error_nobody_understands_lists_anew_if_it_comes_twice() {
    for nonsense in ["null", r#""gone""#, "{}", "[410]", r#"{"code":0}"#] {
        let bad = || Answer::ok([event("ERROR", nonsense)]);
        let server = Server::script(
            vec![abc(), Answer::list("20", &[object("a", 13)])],
            vec![bad(), bad(), Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(20).await;
        assert_eq!(rig.store.log(), ["replace 2@10", "replace 1@20"], "{nonsense}");
        assert_eq!(
            rig.reflector.stats().relists(RelistReason::Unreadable),
            1,
            "{nonsense}"
        );
        assert_eq!(rig.server.seen().len(), 5, "{nonsense}");
    }
}

/// So that the reflectors of one cluster do not all list at the same moment.
#[tokio::test(start_paused = true)]
async fn p1_a_list_made_anew_comes_at_once_but_not_in_step_with_others() {
    let mut waits = std::collections::BTreeSet::new();
    for seed in 0..10 {
        let server = Server::script(
            vec![abc(), Answer::list("20", &[])],
            vec![Answer::ok([pause(30), expired_event()]), Answer::watch([])],
        );
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists(),
            |builder| builder.seed(seed),
        );
        let begun = tokio::time::Instant::now();
        rig.run(40).await;
        let wait = rig.server.lists()[1].at - begun - Duration::from_secs(30);
        assert!(wait <= Duration::from_millis(501), "{wait:?}");
        waits.insert(wait);
    }
    assert!(waits.len() >= 8, "{waits:?}");
}

/// A version that goes back within a watch is the word of a server whose history did, or of one that errs.
#[tokio::test(start_paused = true)]
async fn p5_a_bookmark_that_goes_back_is_looked_into_and_never_followed() {
    for (now, rewound) in [("40", 0), ("20", 1)] {
        let mut lists = 0;
        let server = Server::new(move |seen| {
            if seen.is_watch() {
                return match seen.param("resourceVersion").as_deref() {
                    Some("10") => Answer::watch([bookmark("30"), bookmark("20"), added("c", 35)]),
                    _ => Answer::watch([modified("a", 45)]),
                };
            }
            lists += 1;
            if lists == 1 {
                return abc();
            }
            Answer::list(now, &[object("a", 3), object("b", 5)])
        });
        let rig = Rig::plain(server);
        rig.run(60).await;
        assert_eq!(
            rig.store.contents(),
            ["a@45", "b@5"],
            "what followed was not heard"
        );
        assert_eq!(rig.store.rewound(), rewound);
        let stats = rig.reflector.stats();
        assert_eq!((stats.old_bookmarks, stats.probes, stats.bookmarks), (1, 1, 2));
        assert_eq!(stats.relists(RelistReason::Rewound), u64::from(rewound));
        assert!(rig.states().contains(&"degraded diverged".to_owned()));
        let from = rig.server.watches()[1].param("resourceVersion");
        assert_eq!(
            from.as_deref(),
            Some(if rewound == 0 { "30" } else { "20" }),
            "I2, I5"
        );
    }
}
