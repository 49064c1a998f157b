//! Faults of load and poison: L1 to L8.

use std::{sync::Arc, time::Duration};

use informer_reflector::{ApiListWatch, Limits, ListPermits, PoisonPolicy, Reflector};

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn l1_a_server_that_asks_for_patience_gets_it() {
    let busy = Answer::status(429, [text("Too many requests, please try again later.")])
        .header("content-type", "text/plain")
        .header("retry-after", "10");
    let server = Server::script(vec![busy.clone(), abc()], vec![busy, Answer::watch([])]);
    let rig = Rig::plain(server);
    rig.run(40).await;
    let (lists, watches) = (rig.server.lists(), rig.server.watches());
    for waited in [lists[1].at - lists[0].at, watches[1].at - watches[0].at] {
        assert!((10_000..=12_001).contains(&waited.as_millis()), "{waited:?}");
    }
    assert_eq!(rig.reflector.stats().throttled, 2);
    assert!(rig.states().contains(&"degraded throttled".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn l2_no_server_silences_us_for_longer_than_a_minute() {
    for asked in [
        "100000",
        "18446744073709551616",
        "-5",
        "Wed, 21 Oct 2099 07:28:00 GMT",
        "soon",
        "",
    ] {
        let busy = Answer::status(429, [text("{}")]).header("retry-after", asked);
        let server = Server::script(vec![busy, abc()], vec![Answer::watch([])]);
        let rig = Rig::plain(server);
        rig.run(61).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"], "Retry-After: {asked}");
    }
    let details = r#"{"kind":"Status","status":"Failure","reason":"TooManyRequests","details":{"retryAfterSeconds":100000},"code":429}"#;
    let server = Server::script(
        vec![Answer::status(429, [text(details)]), abc()],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(61).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
}

#[tokio::test(start_paused = true)]
async fn l1_a_date_is_as_far_off_as_the_answers_own_date_says() {
    let date = "Fri, 28 Feb 2200 23:59:50 GMT";
    for (asked, told, from, to) in [
        ("Sat, 01 Mar 2200 00:00:00 GMT", Some(date), 10_000, 12_001),
        ("Fri, 28 Feb 2200 23:59:40 GMT", Some(date), 400, 1_201),
        ("Sat, 01 Mar 2200 00:00:00 GMT", None, 400, 1_201),
        ("Sat, 01 Mar 2200 00:00:00 GMT", Some("today"), 400, 1_201),
        (
            "Tue, 29 Feb 2000 00:00:20 GMT",
            Some("Mon, 28 Feb 2000 23:59:50 GMT"),
            30_000,
            36_001,
        ),
        ("Sat, 31 Dec 9999 23:59:59 GMT", Some(date), 40_000, 60_001),
        (
            "Sat, 99 Mar 2200 99:99:99 GMT",
            Some("Sat, 1 Mar 2200 0:0:0 GMT"),
            400,
            1_201,
        ),
    ] {
        let mut busy = Answer::failure(429, "TooManyRequests", "busy").header("retry-after", asked);
        if let Some(told) = told {
            busy = busy.header("date", told);
        }
        let server = Server::script(vec![busy, abc()], vec![Answer::watch([])]);
        let rig = Rig::plain(server);
        rig.run(70).await;
        let lists = rig.server.lists();
        let waited = (lists[1].at - lists[0].at).as_millis();
        assert!((from..=to).contains(&waited), "{asked} at {told:?}: {waited} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn l3_only_so_many_lists_are_read_at_once() {
    let slow = || {
        let server = Server::script(
            vec![Answer::ok([pause(10), text(list("10", &[object("a", 3)]))])],
            vec![Answer::watch([])],
        );
        (server.clone(), server)
    };
    let permits = ListPermits::new(2);
    let rigs: Vec<_> = (0..6)
        .map(|_| {
            let (server, _) = slow();
            Rig::with(
                server,
                |source| source.no_streaming_lists(),
                |builder| builder.permits(&permits),
            )
        })
        .collect();
    futures::future::join_all(rigs.iter().map(|rig| rig.run(45))).await;
    let mut starts: Vec<_> = rigs.iter().map(|rig| rig.server.lists()[0].at).collect();
    starts.sort();
    for pair in starts.windows(3) {
        assert!(
            pair[2] - pair[0] >= Duration::from_secs(10),
            "a third waits for the first"
        );
    }
    assert!(rigs.iter().all(|rig| rig.store.replaced() == 1));
}

#[tokio::test(start_paused = true)]
async fn l3_reflectors_of_one_kind_do_not_come_back_in_step() {
    let mut firsts = Vec::new();
    for seed in 0..10 {
        let server = Server::script(vec![Answer::Refuse], vec![Answer::Refuse]);
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists(),
            |builder| builder.seed(seed),
        );
        rig.run(10).await;
        let seen = rig.server.seen();
        firsts.push(seen[1].at - seen[0].at);
    }
    firsts.sort();
    firsts.dedup();
    assert!(firsts.len() >= 9, "{firsts:?}");
}

#[tokio::test(start_paused = true)]
async fn l4_an_item_is_there_before_the_list_has_ended() {
    use futures::StreamExt;
    use informer_reflector::{Held, ListRequest, ListWatch, Listed, ReadAt};
    use k8s_openapi::api::core::v1::ConfigMap;

    let body = list("10", &[object("a", 3), object("b", 5)]);
    let first = body.find(r#",{"kind"#).expect("there are two items");
    let server = Server::script(vec![Answer::ok([text(&body[..first]), Piece::Hang])], vec![]);
    let source = ApiListWatch::<ConfigMap>::all(server.client());
    let mut parts = source
        .list(&ListRequest::new(ReadAt::Latest), &Held::nothing())
        .await
        .expect("the list is answered");
    assert!(matches!(parts.next().await, Some(Ok(Listed::Progress(_)))));
    assert!(matches!(parts.next().await, Some(Ok(Listed::Object(item))) if item.key.name() == "a"));
}

#[tokio::test(start_paused = true)]
async fn l4_a_list_larger_than_its_cap_is_an_error() {
    let server = Server::script(vec![abc()], vec![Answer::watch([])]);
    let mut limits = Limits::default();
    limits.list_bytes = Some(100);
    let rig = Rig::with(server, |source| source.no_streaming_lists().limits(limits), |b| b);
    rig.run(20).await;
    assert_eq!(rig.store.replaced(), 0);
    assert!(rig.states().contains(&"degraded oversize".to_owned()));
}

fn small() -> Limits {
    let mut limits = Limits::default();
    limits.object_bytes = 4096;
    limits
}

fn huge(name: &str, version: u64) -> String {
    object(name, version).replace(
        r#""data":{"#,
        &format!(r#""data":{{"x":"{}","#, "y".repeat(1 << 20)),
    )
}

#[tokio::test(start_paused = true)]
async fn l5_an_endless_line_is_cut_and_set_apart_by_its_name() {
    let server = Server::new(
        |seen| match (seen.is_watch(), seen.param("resourceVersion").as_deref()) {
            (false, _) => abc(),
            (true, Some("10")) => Answer::watch([event("MODIFIED", &huge("a", 11)), modified("b", 12)]),
            _ => Answer::watch([modified("b", 12)]),
        },
    );
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists().limits(small()),
        |b| b,
    );
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@12"]);
    let quarantined = rig.reflector.quarantined();
    assert_eq!(quarantined[0].key.as_ref().map(|key| key.name()), Some("a"));
    assert_eq!(quarantined[0].error.kind().as_str(), "oversize");
    assert_eq!(rig.server.lists().len(), 1);
}

/// Set apart it would stay for ever: no later event tells of it.
#[tokio::test(start_paused = true)]
async fn l5_an_endless_line_that_tells_of_a_deletion_lists_anew() {
    let server = Server::new(
        |seen| match (seen.is_watch(), seen.param("resourceVersion").as_deref()) {
            (false, None) => abc(),
            (false, Some(_)) => Answer::list("11", &[object("b", 5)]),
            (true, Some("10")) => Answer::watch([event("DELETED", &huge("a", 11))]),
            _ => Answer::watch([modified("b", 12)]),
        },
    );
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists().limits(small()),
        |b| b,
    );
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["b@12"]);
    assert!(rig.reflector.quarantined().is_empty());
    assert_eq!(rig.server.lists().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn l5_an_oversize_item_of_a_list_is_set_apart_and_the_rest_flows() {
    for size in [1000, 1 << 21] {
        let body = list("10", &[object("a", 3), huge("b", 5), object("c", 7)]);
        let pieces = body
            .as_bytes()
            .chunks(size)
            .map(|piece| Piece::Bytes(piece.to_vec().into()));
        let server = Server::script(vec![Answer::ok(pieces)], vec![Answer::watch([])]);
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists().limits(small()),
            |b| b,
        );
        rig.run(10).await;
        assert_eq!(rig.store.contents(), ["a@3", "c@7"]);
        assert_eq!(rig.reflector.quarantined().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn l6_pages_that_repeat_themselves_end_in_one_whole_list() {
    let server = Server::new(|seen| {
        if seen.is_watch() {
            return Answer::watch([]);
        }
        match seen.param("limit") {
            Some(_) => Answer::ok([text(page("10", "same", &[object("a", 3)]))]),
            None => abc(),
        }
    });
    let rig = Rig::plain(server);
    rig.run(30).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    assert!(rig.server.lists().len() <= 4, "{}", rig.server.lists().len());
}

#[tokio::test(start_paused = true)]
async fn l6_pages_that_never_end_are_an_error() {
    let mut token = 0;
    let server = Server::new(move |_| {
        token += 1;
        Answer::ok([text(page("10", &format!("t{token}"), &[object("a", 3)]))])
    });
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.store.replaced(), 0);
    assert!(
        rig.states().contains(&"degraded no-progress".to_owned()),
        "{:?}",
        rig.states()
    );
    assert!(
        rig.server.busiest_minute() <= 20,
        "{}",
        rig.server.busiest_minute()
    );
}

#[tokio::test(start_paused = true)]
async fn l6_a_token_is_passed_on_whatever_is_in_it_and_capped() {
    let server = Server::new(|seen| {
        if seen.is_watch() {
            return Answer::watch([]);
        }
        match seen.param("continue") {
            None => Answer::ok([text(page("10", r"a&b\r\n=c", &[object("a", 3)]))]),
            Some(token) => {
                assert_eq!(token, "a%26b%0D%0A%3Dc");
                Answer::list("10", &[object("b", 5)])
            }
        }
    });
    let rig = Rig::plain(server);
    rig.run(5).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);

    let server = Server::script(
        vec![Answer::ok([text(page(
            "10",
            &"x".repeat(100_000),
            &[object("a", 3)],
        ))])],
        vec![],
    );
    let rig = Rig::plain(server);
    rig.run(5).await;
    assert!(rig.states().contains(&"degraded oversize".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn l7_one_bad_object_of_a_list_does_not_stop_the_others() {
    let events = Arc::new(std::sync::Mutex::new(Vec::new()));
    let noted = Arc::clone(&events);
    let server = Server::script(
        vec![Answer::list(
            "10",
            &[object("a", 3), poison("b", 5), object("c", 7)],
        )],
        vec![Answer::watch([event("MODIFIED", &object("b", 12))])],
    );
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| {
            builder.on_quarantine(move |event| {
                noted.lock().unwrap().push(match event {
                    informer_reflector::QuarantineEvent::In(object) => format!("in {object}"),
                    informer_reflector::QuarantineEvent::Out(key) => format!("out {key}"),
                    _ => unreachable!("there is no third"),
                });
            })
        },
    );
    rig.run(10).await;
    assert_eq!(
        rig.store.log(),
        ["replace 2@10", "add b@12"],
        "retried when its version changes"
    );
    let events = events.lock().unwrap();
    assert!(
        events[0].starts_with("in default/b at version 5: list failed (decode)"),
        "{events:?}"
    );
    assert_eq!(events[1], "out default/b");
    assert!(rig.reflector.quarantined().is_empty());
    assert_eq!(rig.server.lists().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn l8_one_bad_object_of_a_watch_is_set_apart_and_the_rest_flows() {
    for (policy, contents) in [
        (PoisonPolicy::KeepLast, vec!["a@3", "b@12"]),
        (PoisonPolicy::Remove, vec!["b@12"]),
    ] {
        let server = Server::script(
            vec![abc()],
            vec![Answer::watch([
                event("MODIFIED", &poison("a", 11)),
                modified("b", 12),
            ])],
        );
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists(),
            |builder| builder.poison(policy),
        );
        rig.run(10).await;
        assert_eq!(rig.store.contents(), contents);
        assert_eq!(rig.reflector.quarantined()[0].version.to_string(), "11");
        assert_eq!(rig.reflector.resource_version().to_string(), "12");
        assert_eq!(rig.server.seen().len(), 2, "no request more");
    }
}

#[tokio::test(start_paused = true)]
async fn l8_what_is_kept_of_a_bad_object_outlives_a_relist_and_dies_with_it() {
    let gone = event("ERROR", &failure(410, "Expired", "old"));
    let server = Server::script(
        vec![
            abc(),
            Answer::list("20", &[poison("a", 11), object("b", 5)]),
            Answer::list("30", &[object("b", 5)]),
        ],
        vec![
            Answer::ok([event("MODIFIED", &poison("a", 11)), pause(30), gone.clone()]),
            Answer::ok([pause(60), bookmark("25"), gone]),
            Answer::watch([]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    let rig = {
        rig.run(0).await;
        rig
    };
    assert_eq!(rig.reflector.quarantined().len(), 0, "a new run begins anew");
}

#[tokio::test(start_paused = true)]
async fn l8_a_bad_object_is_read_again_in_time() {
    let server = Server::new(|seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("10") => Answer::watch([
                    event("MODIFIED", &poison("a", 11)),
                    bookmark("12"),
                    pause(60),
                    bookmark("13"),
                    pause(60),
                    bookmark("14"),
                    pause(60),
                    bookmark("15"),
                    pause(60),
                    bookmark("16"),
                    pause(60),
                    bookmark("17"),
                ]),
                _ => Answer::watch([pause(60), bookmark("20")]),
            };
        }
        if seen.uri.ends_with("/namespaces/default/configmaps/a") {
            return Answer::ok([text(object("a", 11))]);
        }
        abc()
    });
    let rig = Rig::plain(server);
    rig.run(310).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
    assert_eq!(rig.reflector.stats().gets, 1);
    assert!(rig.reflector.quarantined().is_empty());
}

/// The server lost the deletion, or sent it before the state that could not be decoded.
#[tokio::test(start_paused = true)]
async fn l8_a_bad_object_that_is_not_there_twice_is_gone() {
    let server = Server::new(|seen| {
        if !seen.is_watch() {
            return if seen.uri.ends_with("/configmaps/a") {
                Answer::failure(404, "NotFound", "there is none")
            } else if seen.param("limit").as_deref() == Some("1") {
                Answer::list("11", &[object("b", 5)])
            } else {
                abc()
            };
        }
        match seen.param("resourceVersion").as_deref() {
            Some("10") => Answer::watch([event("MODIFIED", &poison("a", 11))]),
            _ => Answer::watch([]),
        }
    });
    let rig = Rig::plain(server);
    rig.run(400).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"], "the watch may tell yet");
    let rig = Rig::plain(rig.server);
    rig.run(700).await;
    assert_eq!(
        rig.store.log(),
        ["replace 2@10", "delete a@ inferred"],
        "it has not, and never will"
    );
    assert!(rig.reflector.quarantined().is_empty());
    assert_eq!(rig.reflector.stats().gets, 2);
}

#[tokio::test(start_paused = true)]
async fn oddities_of_json_set_the_object_apart_and_nothing_else() {
    let deep = format!(r#""x":{}{}"#, "[".repeat(5000), "]".repeat(5000));
    let odd = [
        ("surrogate", r#""data":{"v":"\ud800"}"#.to_owned()),
        ("number", r#""data":{"v":1e999}"#.to_owned()),
        ("nan", r#""immutable":17"#.to_owned()),
        ("deep", deep),
        ("twice", r#""data":{"a":"b"},"data":{"a":"b"}"#.to_owned()),
    ];
    for (name, member) in odd {
        let bad = object("a", 11).replace(r#""data":{"v":"11"}"#, &member);
        let server = Server::script(
            vec![Answer::list(
                "10",
                &[bad.replace("\"11\"", "\"9\""), object("b", 5)],
            )],
            vec![Answer::watch([event("MODIFIED", &bad), modified("b", 12)])],
        );
        let rig = Rig::plain(server);
        rig.run(30).await;
        let contents = rig.store.contents();
        assert!(contents.contains(&"b@12".to_owned()), "{name}: {contents:?}");
        assert!(
            rig.server.seen().len() <= 3,
            "{name}: {}",
            rig.server.seen().len()
        );
    }
}

/// The version of one and the contents of the other would make the store claim what never was.
#[tokio::test(start_paused = true)]
async fn an_object_with_two_versions_or_names_is_set_apart() {
    for twice in [r#""resourceVersion":"99""#, r#""name":"c""#, r#""uid":"u-c""#] {
        let bad = object("a", 11).replace(r#""managedFields""#, &format!(r#"{twice},"managedFields""#));
        let server = Server::script(
            vec![abc()],
            vec![Answer::watch([event("MODIFIED", &bad), modified("b", 12)])],
        );
        let rig = Rig::plain(server);
        rig.run(10).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@12"], "{twice}");
        assert_eq!(rig.reflector.resource_version().to_string(), "12");
        assert_eq!(rig.reflector.quarantined().len(), 1);
    }
}

/// Which of them is meant nobody knows; one must not be taken for the other.
#[tokio::test(start_paused = true)]
async fn an_event_with_two_objects_is_set_apart() {
    let twice = format!(
        r#"{{"type":"MODIFIED","object":{},"object":{}}}"#,
        object("a", 11),
        object("b", 12)
    );
    let server = Server::script(vec![abc()], vec![Answer::watch([line(twice), modified("b", 13)])]);
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@13"]);
    assert_eq!(rig.reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn bytes_that_are_no_text_set_the_object_apart() {
    let mut bad = format!(r#"{{"type":"MODIFIED","object":{}}}"#, object("a", 11)).into_bytes();
    let at = bad.len() - 6;
    bad[at] = 0xff;
    bad.push(b'\n');
    let server = Server::script(
        vec![abc()],
        vec![Answer::watch([Piece::Bytes(bad.into()), modified("b", 12)])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@12"]);
    assert_eq!(rig.reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_of_another_namespace_is_set_apart() {
    let foreign = object("x", 6).replace("\"default\"", "\"other\"");
    let server = Server::script(
        vec![Answer::list("10", &[object("a", 3), foreign])],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3"]);
    assert_eq!(rig.reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_transform_runs_once_per_object_and_a_panic_sets_it_apart() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    let server = Server::script(
        vec![],
        vec![Answer::watch([
            added("a", 3),
            added("b", 5),
            added("c", 7),
            initial_end("10"),
            modified("a", 11),
        ])],
    );
    let store = Checked::default();
    let source = ApiListWatch::namespaced(server.client(), "default").transform(
        move |object: &mut k8s_openapi::api::core::v1::ConfigMap| {
            counted.fetch_add(1, Ordering::Relaxed);
            assert_ne!(
                object.metadata.name.as_deref(),
                Some("b"),
                "a bug in the transform"
            );
            object.data = None;
        },
    );
    let reflector = Reflector::builder(source, store.clone()).build();
    let run = reflector.run(tokio::time::sleep(Duration::from_secs(5)));
    run.await.expect("a transform's panic ends nothing");
    assert_eq!(runs.load(Ordering::Relaxed), 4);
    assert_eq!(store.contents(), ["a@11", "c@7"]);
    assert_eq!(reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn l6_empty_pages_without_end_are_an_error() {
    let mut token = 0;
    let rig = Rig::plain(Server::new(move |seen| {
        token += 1;
        if seen.is_watch() {
            Answer::watch([])
        } else if seen.param("limit").is_some() {
            Answer::ok([text(page("10", &format!("t{token}"), &[]))])
        } else {
            Answer::list("10", &[object("a", 3)])
        }
    }));
    rig.run(20).await;
    assert!(rig.server.lists().len() <= 6, "{:?}", rig.server.lists());
    assert_eq!(rig.store.contents(), ["a@3"]);
}

#[tokio::test(start_paused = true)]
async fn l7_a_list_of_nothing_but_bad_objects_is_no_more_work_than_another() {
    let bad: Vec<_> = (0..20_000).map(|n| poison(&format!("bad-{n}"), 1 + n)).collect();
    let server = Server::script(
        vec![Answer::list("30000", &bad)],
        vec![Answer::watch(
            (0..2_000).map(|n| added(&format!("n{n}"), 30_001 + n)),
        )],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.reflector.quarantined().len(), 20_000);
    assert_eq!(rig.store.contents().len(), 2_000);
}

/// Blanks may be many, but not without end where they have to be kept.
#[tokio::test(start_paused = true)]
async fn a_name_in_a_list_that_nothing_follows_is_given_up() {
    let blank = format!("\"kind\"{}", " ".repeat(300 * 1024));
    let endless = list("10", &[object("a", 3)]).replacen("\"kind\"", &blank, 1);
    let pieces: Vec<_> = endless.as_bytes().chunks(8 * 1024).collect();
    let pieces = pieces
        .into_iter()
        .map(|piece| Piece::Bytes(piece.to_vec().into()));
    let server = Server::script(
        vec![Answer::ok(pieces), Answer::list("11", &[object("a", 3)])],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 1@11"]);
}
