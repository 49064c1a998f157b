//! Faults of load: L1 to L6.

use std::time::Duration;

use informer_reflector::{ApiListWatch, Limits, ListPermits};

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

/// However it arrives: what ends it may come long after all of it has been dropped.
#[tokio::test(start_paused = true)]
async fn l5_an_oversize_item_that_is_no_object_is_set_apart_and_the_rest_flows() {
    let items = ["1".repeat(10_000), object("a", 3)];
    for size in [1, 64, 1 << 20] {
        let body = list("10", &items);
        let pieces = body.as_bytes().chunks(size);
        let pieces: Vec<_> = pieces.map(|piece| Piece::Bytes(piece.to_vec().into())).collect();
        let server = Server::script(vec![Answer::ok(pieces)], vec![Answer::watch([])]);
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists().limits(small()),
            |builder| builder,
        );
        rig.run(10).await;
        assert_eq!(rig.store.contents(), ["a@3"], "in pieces of {size}");
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

/// However many pieces it comes in, a byte is looked at only so often.
#[tokio::test(start_paused = true)]
async fn l5_a_long_line_in_small_pieces_is_read() {
    let long = object("a", 11).replace("\"v\":\"11\"", &format!("\"v\":\"{}\"", "x".repeat(12 << 20)));
    let line = format!("{{\"type\":\"MODIFIED\",\"object\":{long}}}\n");
    let pieces = line.into_bytes();
    let pieces = pieces
        .chunks(512)
        .map(|piece| Piece::Bytes(piece.to_vec().into()));
    let rig = Rig::plain(Server::script(vec![abc()], vec![Answer::watch(pieces)]));
    rig.run(20).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
}

/// It is the object that is at fault, not the server.
#[tokio::test(start_paused = true)]
async fn l5_an_oversize_object_read_again_stays_apart_and_stops_nothing() {
    let big = object("big", 7).replace("\"v\":\"7\"", &format!("\"v\":\"{}\"", "x".repeat(5000)));
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            let from: u64 = seen
                .param("resourceVersion")
                .expect("it has one")
                .parse()
                .expect("a number");
            return Answer::watch(
                (from + 1..from + 200).flat_map(|version| [pause(30), bookmark(&version.to_string())]),
            );
        }
        if seen.uri.ends_with("/configmaps/big") {
            return Answer::ok([text(&big)]);
        }
        Answer::list("10", &[object("a", 3), big.clone()])
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists().limits(small()),
        |builder| builder,
    );
    rig.run(3600).await;
    assert!(rig.reflector.stats().gets >= 3);
    assert_eq!(rig.reflector.quarantined().len(), 1);
    assert_eq!(rig.states(), ["listing", "synced"]);
}
