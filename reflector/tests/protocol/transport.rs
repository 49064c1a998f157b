//! Faults of the transport: T1 to T3, T7 to T9 and T11; those that are silence have a file of their own.

use std::time::Duration;

use informer_reflector::{RelistReason, SyncState};

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

/// A watch that ends cleanly after so many seconds.
fn ends_after(seconds: u64, events: impl IntoIterator<Item = Piece>) -> Answer {
    Answer::ok(events.into_iter().chain([pause(seconds)]))
}

#[tokio::test(start_paused = true)]
async fn t1_a_watch_that_times_out_is_taken_up_again_without_a_word() {
    let server = Server::script(
        vec![abc()],
        vec![
            ends_after(300, [modified("a", 11)]),
            ends_after(2, [pause(60), bookmark("20")]),
            Answer::watch([modified("a", 21)]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(400).await;
    assert_eq!(rig.store.contents(), ["a@21", "b@5"]);
    assert_eq!(rig.server.lists().len(), 1, "I9: no list without a cause");
    let versions: Vec<_> = rig
        .server
        .watches()
        .iter()
        .map(|w| w.param("resourceVersion"))
        .collect();
    assert_eq!(
        versions,
        [Some("10".into()), Some("11".into()), Some("20".into())],
        "I5"
    );
    assert_eq!(rig.states(), ["listing", "synced"], "no noise");
    assert_eq!(rig.store.replaced(), 1);
}

#[tokio::test(start_paused = true)]
async fn t2_a_connection_cut_in_a_line_loses_nothing() {
    let half = r#"{"type":"MODIFIED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"b","namespace":"default","uid":"u-b","resourceVersion":"12"},"da"#;
    for end in [vec![], vec![Piece::Reset]] {
        let first = Answer::ok([modified("a", 11), text(half)].into_iter().chain(end));
        let server = Server::script(vec![abc()], vec![first, Answer::watch([modified("b", 12)])]);
        let rig = Rig::plain(server);
        rig.run(30).await;
        assert_eq!(
            rig.store.log(),
            ["replace 2@10", "update a@11", "update b@12"],
            "I3"
        );
        assert_eq!(
            rig.server.watches()[1].param("resourceVersion").as_deref(),
            Some("11")
        );
        assert_eq!(rig.server.lists().len(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn t2_a_whole_event_without_a_line_end_counts() {
    let whole = format!(r#"{{"type":"MODIFIED","object":{}}}"#, object("b", 12));
    let server = Server::script(vec![abc()], vec![Answer::ok([text(whole)]), Answer::watch([])]);
    let rig = Rig::plain(server);
    rig.run(30).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "update b@12"]);
}

#[tokio::test(start_paused = true)]
async fn t3_a_cut_line_with_more_behind_it_is_never_passed_over() {
    let cut = line(
        r#"{"type":"MODIFIED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default","uid":"u-a","resourceVersion":"11"},"data":{"v"#,
    );
    let server = Server::script(
        vec![abc()],
        vec![
            Answer::watch([cut, modified("b", 12)]),
            Answer::watch([modified("a", 11), modified("b", 12)]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(30).await;
    assert_eq!(
        rig.store.log(),
        ["replace 2@10", "update a@11", "update b@12"],
        "I3"
    );
    assert_eq!(
        rig.server.watches()[1].param("resourceVersion").as_deref(),
        Some("10")
    );
    assert_eq!(rig.reflector.stats().unreadable, 1);
    assert_eq!(
        rig.states(),
        ["listing", "synced", "degraded unreadable", "synced"]
    );
}

#[tokio::test(start_paused = true)]
async fn t3_a_line_cut_every_time_lists_anew_once_and_is_then_set_apart_by_its_name() {
    let cut = line(
        r#"{"type":"MODIFIED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default","uid":"u-a","resourceVersion":"11"},"data":{"v"#,
    );
    let server = Server::new(
        move |seen| match (seen.is_watch(), seen.param("resourceVersion")) {
            (false, _) => abc(),
            (true, Some(version)) if version == "10" => Answer::watch([cut.clone(), modified("b", 12)]),
            _ => Answer::watch([modified("b", 12)]),
        },
    );
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@12"]);
    let quarantined = rig.reflector.quarantined();
    assert_eq!(quarantined.len(), 1);
    assert_eq!(
        quarantined[0].version.to_string(),
        "11",
        "I1: what is behind is on record"
    );
    assert_eq!(rig.server.lists().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn t3_a_nameless_garbled_line_that_comes_twice_lists_anew() {
    let mut lists = 0;
    let server = Server::new(move |seen| {
        if !seen.is_watch() {
            lists += 1;
            return if lists == 1 {
                abc()
            } else {
                Answer::list("15", &[object("a", 11), object("b", 15)])
            };
        }
        match seen.param("resourceVersion").as_deref() {
            Some("10") => Answer::watch([line("}{ garbage"), modified("b", 15)]),
            _ => Answer::watch([]),
        }
    });
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@15"]);
    assert_eq!(rig.server.lists().len(), 2);
    assert_eq!(rig.reflector.stats().relists(RelistReason::Unreadable), 1);
}

#[tokio::test(start_paused = true)]
async fn t7_refused_connections_back_off_and_never_list_anew() {
    let server = Server::script(
        vec![abc()],
        vec![
            Answer::ok([modified("a", 11), pause(60), Piece::Reset]),
            Answer::Refuse,
            Answer::Refuse,
            Answer::Refuse,
            Answer::Refuse,
            Answer::watch([modified("b", 12)]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(120).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@12"]);
    assert_eq!(rig.server.lists().len(), 1);
    let times: Vec<_> = rig.server.watches().iter().map(|watch| watch.at).collect();
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).skip(1).collect();
    for (nth, gap) in gaps.iter().enumerate().skip(1) {
        let base = Duration::from_millis(800) * (1 << (nth - 1));
        assert!(*gap >= base / 2, "I9: the wait grows: {gaps:?}");
    }
    assert!(rig.server.busiest_minute() <= 8);
}

#[tokio::test(start_paused = true)]
async fn t7_an_hour_of_refusal_costs_at_most_eight_requests_a_minute() {
    let server = Server::script(vec![Answer::Refuse], vec![Answer::Refuse]);
    let rig = Rig::new(server);
    rig.run(3600).await;
    assert!(
        rig.server.busiest_minute() <= 8,
        "{}",
        rig.server.busiest_minute()
    );
    assert!(rig.server.seen().len() >= 100, "it goes on trying");
}

#[tokio::test(start_paused = true)]
async fn t8_html_is_no_list_and_no_watch() {
    let page = "<html><body>502 Bad Gateway\u{1b}[31m</body></html>";
    let html = |status| Answer::status(status, [text(page)]).header("content-type", "text/html");
    for bad in [html(200), html(502), html(503)] {
        let server = Server::script(
            vec![bad.clone(), abc()],
            vec![bad.clone(), bad, Answer::watch([modified("a", 11)])],
        );
        let rig = Rig::plain(server);
        rig.run(60).await;
        assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
        assert_eq!(rig.server.lists().len(), 2, "a watch's trouble lists nothing");
        assert!(rig.server.busiest_minute() <= 8);
    }
}

#[tokio::test(start_paused = true)]
async fn t8_a_page_that_calls_itself_json_in_place_of_a_watch_lists_nothing() {
    let page = Answer::ok([text("<html>\n<body>log in</body>\n</html>\n")]);
    let server = Server::script(
        vec![abc()],
        vec![page.clone(), page.clone(), page, Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.server.lists().len(), 1);
    assert!(
        rig.states().contains(&"degraded protocol".to_owned()),
        "{:?}",
        rig.states()
    );
}

#[tokio::test(start_paused = true)]
async fn t9_a_tls_failure_has_its_own_name_and_keeps_the_cache() {
    let server = Server::script(vec![abc()], vec![Answer::Untrusted]);
    let rig = Rig::plain(server);
    rig.run(300).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    assert_eq!(rig.server.lists().len(), 1);
    assert!(
        rig.states().contains(&"degraded tls".to_owned()),
        "{:?}",
        rig.states()
    );
    assert!(rig.reflector.is_stale());
    assert!(rig.server.busiest_minute() <= 8);
}

#[tokio::test(start_paused = true)]
async fn t11_watches_that_end_at_once_back_off_and_never_list_anew() {
    let server = Server::script(vec![abc()], vec![Answer::ok([])]);
    let rig = Rig::plain(server);
    rig.run(600).await;
    assert_eq!(rig.server.lists().len(), 1);
    assert!(
        rig.server.busiest_minute() <= 8,
        "{}",
        rig.server.busiest_minute()
    );
    assert!(rig.states().contains(&"degraded short-watch".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn t11_watches_that_end_after_one_event_lose_none() {
    let mut version = 10;
    let server = Server::new(move |seen| {
        if !seen.is_watch() {
            return abc();
        }
        version += 1;
        Answer::ok([modified("a", version)])
    });
    let rig = Rig::plain(server);
    rig.run(600).await;
    assert_eq!(rig.server.lists().len(), 1);
    assert!(
        rig.server.busiest_minute() <= 8,
        "{}",
        rig.server.busiest_minute()
    );
    let updates = rig.store.log().len() - 1;
    assert_eq!(updates, rig.server.watches().len(), "I3");
}

#[tokio::test(start_paused = true)]
async fn a_degraded_reflector_is_synced_again_once_the_watch_works() {
    let server = Server::script(
        vec![abc()],
        vec![
            Answer::status(500, []),
            Answer::status(503, []),
            Answer::watch([]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(
        rig.states(),
        ["listing", "synced", "degraded server-error", "synced"]
    );
    assert!(matches!(*rig.reflector.state().borrow(), SyncState::Stopped));
}

/// Some servers and proxies write no line end between events.
#[tokio::test(start_paused = true)]
async fn several_events_on_one_line_are_all_taken() {
    let event = |kind: &str, name: &str, version| {
        format!(r#"{{"object": {}, "type": "{kind}"}}"#, object(name, version))
    };
    let three = [
        event("ADDED", "d", 11),
        event("MODIFIED", "d", 12),
        event("ADDED", "e", 13),
    ];
    for (glue, end) in [("", "\n"), (" ", "\r\n"), ("", "")] {
        let rig = Rig::plain(Server::script(
            vec![Answer::list("10", &[])],
            vec![
                Answer::ok([text(three.join(glue) + end), pause(20)]),
                Answer::watch([]),
            ],
        ));
        rig.run(40).await;
        assert_eq!(rig.store.log()[1..], ["add d@11", "update d@12", "add e@13"]);
        assert_eq!(
            rig.server.watches()[1].param("resourceVersion").as_deref(),
            Some("13")
        );
        assert_eq!(rig.reflector.stats().unreadable, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn t3_what_follows_an_event_on_its_line_is_never_passed_over() {
    let first = format!(r#"{{"object": {}, "type": "ADDED"}}"#, object("d", 11));
    let second = format!(r#"{{"object": {}, "type": "ADDED"}}"#, object("e", 12));
    let rig = Rig::plain(Server::script(
        vec![Answer::list("10", &[])],
        vec![
            Answer::watch([line(format!("{first}{}", &second[..40])), bookmark("20")]),
            Answer::watch([line(first), line(second)]),
        ],
    ));
    rig.run(30).await;
    assert_eq!(rig.store.log()[1..], ["add d@11", "add e@12"]);
    assert_eq!(
        rig.server.watches()[1].param("resourceVersion").as_deref(),
        Some("10")
    );
}

#[tokio::test(start_paused = true)]
async fn an_empty_content_type_says_no_more_than_none() {
    for kind in ["", "  "] {
        let server = Server::script(
            vec![abc().header("content-type", kind)],
            vec![Answer::watch([modified("a", 11)]).header("content-type", kind)],
        );
        let rig = Rig::plain(server);
        rig.run(5).await;
        assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
    }
}

/// What a proxy says of its patience is no word on the version.
#[tokio::test(start_paused = true)]
async fn t8_a_proxy_that_gives_up_waiting_never_lists_anew() {
    for code in [408, 425, 499] {
        let gives_up = || Answer::status(code, [text("<html>")]).header("content-type", "text/html");
        let server = Server::script(
            vec![abc()],
            vec![
                gives_up(),
                gives_up(),
                gives_up(),
                Answer::watch([modified("a", 11)]),
            ],
        );
        let rig = Rig::plain(server);
        rig.run(30).await;
        assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
        assert_eq!(rig.server.lists().len(), 1, "{code}");
        assert!(rig.states().contains(&"degraded server-error".to_owned()));
    }
}

/// What one event proves is soon disproved: only a while without a failure makes the waits short again.
#[tokio::test(start_paused = true)]
async fn t7_an_event_before_each_failure_is_no_recovery() {
    let server = Server::new(|seen| {
        let Some(from) = seen.param("resourceVersion").filter(|_| seen.is_watch()) else {
            return abc();
        };
        let next = from.parse::<u64>().expect("a number") + 1;
        let fails = event("ERROR", &failure(500, "InternalError", "no"));
        Answer::ok([modified("a", next), fails])
    });
    let rig = Rig::plain(server);
    rig.run(600).await;
    let watches = rig.server.watches();
    assert!((15..=35).contains(&watches.len()), "{}", watches.len());
    let last = &watches[watches.len() - 5..];
    for pair in last.windows(2) {
        assert!(pair[1].at - pair[0].at >= Duration::from_secs(15), "I9");
    }
    assert_eq!(rig.reflector.stats().events, watches.len() as u64);
}

#[tokio::test(start_paused = true)]
async fn t7_after_two_minutes_without_a_failure_the_waits_are_short_again() {
    let mut watches = 0;
    let server = Server::new(move |seen| {
        if !seen.is_watch() {
            return abc();
        }
        watches += 1;
        match watches {
            6 => Answer::ok([pause(60), bookmark("11"), pause(61), bookmark("12"), Piece::Reset]),
            _ => Answer::Refuse,
        }
    });
    let rig = Rig::plain(server);
    rig.run(300).await;
    let at: Vec<_> = rig.server.watches().iter().map(|watch| watch.at).collect();
    assert!(at[5] - at[4] >= Duration::from_secs(5), "they have grown");
    let again = [at[7] - at[6], at[8] - at[7]];
    assert!(again[0] <= Duration::from_millis(1200), "{again:?}");
    assert!(again[1] <= Duration::from_millis(2400), "{again:?}");
}

/// A connection that served well and broke is no failing server: the next one is tried at once.
#[tokio::test(start_paused = true)]
async fn t7_a_connection_that_served_well_is_replaced_without_much_ado() {
    for seed in 0..10 {
        let server = Server::script(
            vec![abc()],
            vec![
                Answer::ok([pause(30), modified("a", 11), pause(30), Piece::Reset]),
                Answer::watch([]),
            ],
        );
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists(),
            |builder| builder.seed(seed),
        );
        rig.run(65).await;
        let watches = rig.server.watches();
        assert!(
            watches[1].at - watches[0].at <= Duration::from_millis(60_501),
            "seed {seed}"
        );
        assert_eq!(rig.states(), ["listing", "synced"], "nobody need know");
    }
}
