//! Lists in every form a server may send them.

use std::time::Duration;

use informer_reflector::{ApiListWatch, PoisonPolicy, RelistReason, SyncState};

use crate::support::*;

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn a_list_without_a_version_is_refused() {
    for bad in ["", "0"] {
        let server = Server::script(
            vec![Answer::list(bad, &[object("a", 3)]), abc()],
            vec![Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(30).await;
        assert_eq!(rig.store.log(), ["replace 2@10"]);
        assert!(
            rig.server
                .watches()
                .iter()
                .all(|w| w.param("resourceVersion").as_deref() == Some("10"))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_is_read_whatever_the_order_of_its_members() {
    let bodies = [
        format!(
            r#"{{"items":[{},{}],"metadata":{{"resourceVersion":"10"}},"apiVersion":"v1","kind":"ConfigMapList"}}"#,
            object("a", 3),
            object("b", 5)
        ),
        format!(
            " {{ \"extra\" : [1,{{\"x\":\"]}}\"}}], \"items\" :\n [ {} ,\r\n {} ] , \"metadata\" : {{ \"resourceVersion\" : \"10\" }} }} \n",
            object("a", 3),
            object("b", 5)
        ),
    ];
    for body in bodies {
        for size in [1, 7, 100_000] {
            let pieces = body
                .as_bytes()
                .chunks(size)
                .map(|piece| Piece::Bytes(piece.to_vec().into()));
            let server = Server::script(vec![Answer::ok(pieces)], vec![Answer::watch([])]);
            let rig = Rig::plain(server);
            rig.run(5).await;
            assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
        }
    }
    let null = r#"{"kind":"ConfigMapList","metadata":{"resourceVersion":"10"},"items":null}"#;
    let server = Server::script(vec![Answer::ok([text(null)])], vec![Answer::watch([])]);
    let rig = Rig::plain(server);
    rig.run(5).await;
    assert_eq!(rig.store.log(), ["replace 0@10"]);
}

#[tokio::test(start_paused = true)]
async fn an_object_listed_twice_is_taken_once_in_its_newest_state() {
    let server = Server::script(
        vec![Answer::list(
            "10",
            &[object("a", 8), object("b", 5), object("a", 3), object("b", 9)],
        )],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(5).await;
    assert_eq!(rig.store.contents(), ["a@8", "b@9"]);
    assert_eq!(rig.reflector.stats().list_duplicates, 2);
}

/// The page tokens of all lists that were asked for, in order.
fn tokens(server: &Server) -> Vec<Option<String>> {
    server.lists().iter().map(|seen| seen.param("continue")).collect()
}

fn some(token: &str) -> Option<String> {
    Some(token.to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_page_that_breaks_is_asked_for_again_and_no_other() {
    let whole = list("10", &[object("c", 6), object("d", 7)]);
    let half = whole[..whole.len() - 60].to_owned();
    let first = || Answer::ok([text(page("10", "t", &[object("a", 3), object("b", 5)]))]);
    let breaks = [
        Answer::Refuse,
        Answer::ok([text(half.clone()), Piece::Reset]),
        Answer::ok([text(half)]),
        Answer::failure(503, "ServiceUnavailable", "not now"),
        Answer::failure(429, "TooManyRequests", "not now"),
        Answer::failure(
            504,
            "Timeout",
            "Timeout: Too large resource version: 10, current: 9",
        ),
        Answer::Never,
        Answer::ok([text("<html>")]).header("content-type", "text/html"),
    ];
    for broken in breaks {
        let server = Server::script(
            vec![first(), broken.clone(), broken, Answer::ok([text(whole.clone())])],
            vec![Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(300).await;
        assert_eq!(rig.store.log(), ["replace 4@10"]);
        assert_eq!(tokens(&rig.server), [None, some("t"), some("t"), some("t")]);
        let stats = rig.reflector.stats();
        assert_eq!((stats.lists, stats.pages, stats.list_duplicates), (1, 4, 0));
        let times: Vec<_> = rig.server.lists().iter().map(|seen| seen.at).collect();
        assert!(times[2] - times[1] >= Duration::from_millis(400), "with backoff");
        assert!(rig.server.busiest_minute() <= 8);
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_never_comes_begins_the_list_anew_and_all_at_once() {
    let server = Server::new(|seen| {
        let whole = [object("a", 3), object("b", 5), object("c", 6)];
        match (seen.is_watch(), seen.param("continue"), seen.param("limit")) {
            (true, ..) => Answer::watch([]),
            (_, Some(_), _) => Answer::Refuse,
            (_, None, Some(_)) => Answer::ok([text(page("10", "t", &whole[..2]))]),
            (_, None, None) => Answer::list("12", &whole),
        }
    });
    let rig = Rig::plain(server);
    rig.run(120).await;
    assert_eq!(rig.store.log(), ["replace 3@12"]);
    let failed = tokens(&rig.server).into_iter().flatten().count();
    assert_eq!(failed, 6);
    assert_eq!(rig.reflector.stats().lists, 2);
    assert!(rig.server.busiest_minute() <= 8);
}

#[tokio::test(start_paused = true)]
async fn a_page_token_nobody_knows_any_more_begins_the_list_anew() {
    let server = Server::script(
        vec![
            Answer::ok([text(page("10", "t", &[object("a", 3)]))]),
            Answer::failure(400, "BadRequest", "continue key is not valid"),
            abc(),
        ],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(30).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    assert_eq!(tokens(&rig.server), [None, some("t"), None]);
}

/// What a broken page brought counts for nothing, not even where it was newer than an earlier page.
#[tokio::test(start_paused = true)]
async fn a_page_that_breaks_leaves_nothing_behind() {
    let newer = page("10", "u", &[object("a", 9), object("x", 8), poison("y", 8)]);
    let server = Server::script(
        vec![
            Answer::ok([text(page("10", "t", &[object("a", 3)]))]),
            Answer::ok([text(newer[..newer.len() - 1].to_owned()), Piece::Reset]),
            Answer::list("10", &[object("b", 5)]),
        ],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(30).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    assert!(rig.reflector.quarantined().is_empty());
}

/// A page may name an object twice: what it brought is forgotten as a whole.
#[tokio::test(start_paused = true)]
async fn a_page_that_names_an_object_twice_and_breaks_does_not_lose_it() {
    let twice = page("10", "u", &[object("b", 5), object("b", 6)]);
    let server = Server::script(
        vec![
            Answer::ok([text(page("10", "t", &[object("a", 3)]))]),
            Answer::ok([text(twice[..twice.len() - 1].to_owned()), Piece::Reset]),
            Answer::list("10", &[object("b", 5)]),
        ],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(30).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
}

#[tokio::test(start_paused = true)]
async fn a_list_whose_names_are_escaped_is_no_empty_list() {
    let escaped = list("10", &[object("a", 3), object("b", 5)]).replace("\"items\"", r#""\u0069t\u0065ms""#);
    let server = Server::script(vec![Answer::ok([text(escaped)])], vec![Answer::watch([])]);
    let rig = Rig::plain(server);
    rig.run(5).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
}

/// A version that is no number cannot be told newer or older than one that is.
#[tokio::test(start_paused = true)]
async fn a_version_that_cannot_be_compared_with_what_was_seen_is_refused() {
    let expired = || Answer::failure(410, "Expired", "too old resource version");
    let server = Server::script(
        vec![
            abc(),
            Answer::list("abc", &[object("x", 3)]),
            Answer::list("12", &[object("b", 5)]),
        ],
        vec![expired(), Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(20).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "replace 1@12"]);
    assert_eq!(rig.reflector.stats().bad_versions, 1);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_the_server_refuses_to_watch_from_is_given_up() {
    let refusals = [
        (
            "abc",
            Answer::failure(400, "BadRequest", "invalid resource version"),
        ),
        ("abc", Answer::failure(500, "", "strconv.ParseUint: parsing")),
        ("10", Answer::failure(422, "Invalid", "not from there")),
    ];
    for (version, refusal) in refusals {
        let server = Server::script(
            vec![
                Answer::list(version, &[object("a", 3)]),
                Answer::list("12", &[object("a", 3), object("b", 5)]),
            ],
            vec![refusal.clone(), refusal, Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(20).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
        assert_eq!(rig.reflector.resource_version().to_string(), "12");
        assert_eq!(rig.reflector.stats().relists(RelistReason::Refused), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn watches_that_are_refused_for_ever_are_no_storm() {
    let server = Server::script(
        vec![abc()],
        vec![Answer::failure(405, "MethodNotAllowed", "no watches")],
    );
    let rig = Rig::plain(server);
    rig.run(600).await;
    assert!(
        rig.server.busiest_minute() <= 8,
        "{}",
        rig.server.busiest_minute()
    );
    assert!(rig.states().contains(&"degraded invalid-request".to_owned()));
}

/// I9: the pages of a list are requests like others.
#[tokio::test(start_paused = true)]
async fn a_list_of_pages_keeps_to_the_budget_while_watches_fail() {
    let server = Server::new(|seen| {
        let token = seen.param("continue");
        match (seen.is_watch(), token.as_deref()) {
            (true, _) => Answer::failure(410, "Expired", "too old resource version"),
            (_, None) => Answer::ok([text(page("10", "t", &[object("a", 3)]))]),
            (_, Some("t")) => Answer::ok([text(page("10", "u", &[object("b", 5)]))]),
            (_, Some(_)) => Answer::list("10", &[object("c", 6)]),
        }
    });
    let rig = Rig::plain(server);
    rig.run(600).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5", "c@6"]);
    assert!(
        rig.server.busiest_minute() <= 8,
        "{}",
        rig.server.busiest_minute()
    );
    assert!(rig.server.seen().len() >= 40, "and is not silent for long");
}

#[tokio::test(start_paused = true)]
async fn a_short_list_keeps_to_the_budget_that_failures_have_used_up() {
    let server = Server::script(
        vec![
            Answer::Refuse,
            Answer::Refuse,
            Answer::Refuse,
            Answer::Refuse,
            Answer::Refuse,
            Answer::ok([text(page("20", "t", &[object("a", 3)]))]),
            Answer::ok([text(page("20", "u", &[object("b", 5)]))]),
            Answer::list("20", &[object("c", 6)]),
        ],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(70).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@5", "c@6"]);
    let asked = tokens(&rig.server);
    assert_eq!(
        asked[5..],
        [None, some("t"), some("u")],
        "no page was asked for twice"
    );
    assert!(
        rig.server.busiest_minute() <= 8,
        "{}",
        rig.server.busiest_minute()
    );
}

/// What cannot be read of a list's head may be that the list goes on: taken for complete it would delete the rest.
#[tokio::test(start_paused = true)]
async fn a_list_whose_head_is_garbled_deletes_nothing() {
    let expired = || Answer::failure(410, "Expired", "too old resource version");
    let version = r#""resourceVersion":"12""#;
    let heads = [
        r#""resourceVersion":"12","continue":"\ud800""#,
        r#""resourceVersion":"12","continue":5"#,
        r#""resourceVersion":"12",5,"continue":"t""#,
        r#""resourceVersion":"12","resourceVersion":"13""#,
        r#""resourceVersion":"12"},"metadata":{"resourceVersion":"13""#,
        r#""resourceVersion":"12"},"items":null,"metadata":{"resourceVersion":"13""#,
        r#""resourceVersion":"12"},"kind":{"ConfigMapList":"PodList""#,
    ];
    let mut bad: Vec<_> = heads
        .map(|head| list("12", &[object("a", 3)]).replace(version, head))
        .into();
    bad.push(list("12", &[]).replace(r#","items":[]"#, ""));
    bad.push(list("12", &[]).replace("[]", r#"[],"items":[]"#));
    for bad in bad {
        let server = Server::script(
            vec![abc(), Answer::ok([text(&bad)]), abc()],
            vec![expired(), Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(20).await;
        assert_eq!(rig.store.log(), ["replace 2@10", "replace 2@10"], "{bad}");
        assert_eq!(rig.server.lists().len(), 3, "{bad}");
    }
}

/// Where one item ends and the next begins is a guess then: taken for complete the list might delete what it hides.
#[tokio::test(start_paused = true)]
async fn a_list_whose_items_are_garbled_deletes_nothing() {
    let (a, b) = (object("a", 3), object("b", 5));
    let expired = || Answer::failure(410, "Expired", "too old resource version");
    let whole = |items: &str| list("12", &[]).replace("[]", &format!("[{items}]"));
    let managed = |members: &str| a.replace(r#""operation":"Update""#, members);
    let mut bad: Vec<_> = [
        format!(",{a},{b}"),
        format!("{a},,{b}"),
        format!("{a} , , {b}"),
        format!("{a},{b},"),
        format!("{a}{b}"),
        format!("{a} {b}"),
        format!("{a}:{b}"),
        ",".into(),
        format!("{a},garbage,{b}"),
        format!("{a},{b}garbage"),
        format!("{a},tru"),
        format!("{a},01"),
        format!("{a},\"\u{1}\""),
        format!("{a},\"\\x\""),
        // Brackets that are closed by another kind, where only those of both are counted.
        format!("{},{b}", a.replace("}]", "}}")),
        format!("{},{b}", managed(r#""x":[}"#)),
        format!("{},{b}", managed(r#""x":[[}]"#)),
        format!("{},{b}", managed(r#""x":{"y":[{"z":1]}}"#)),
        // One such bracket undoes another, and `b` is in `a` between them.
        format!("{},{}", a.replace("}]", "]]"), b.replace("[{", "{{")),
    ]
    .iter()
    .map(|items| whole(items))
    .collect();
    let good = whole(&a);
    bad.extend([
        good.replace("{\"kind\"", "{,\"kind\""),
        good.replace("{\"kind\":", "{\"kind\":\"ConfigMapList\",,\"x\":"),
        good.replace("{\"kind\":", "{\"x\":1 \"kind\":"),
        good.replace("{\"kind\":", "{\"x\":[1,,2],\"kind\":"),
        good.replace("{\"kind\":", "{\"x\":{\"y\":[}},\"kind\":"),
        good.replace("{\"kind\":", "{\"x\":tru,\"kind\":"),
        good.replace("{\"kind\":", "{\"\\x\":1,\"kind\":"),
        format!("{},}}", good.strip_suffix('}').unwrap()),
    ]);
    for bad in bad {
        let server = Server::script(
            vec![abc(), Answer::ok([text(&bad)]), abc()],
            vec![expired(), Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(20).await;
        assert_eq!(rig.store.log(), ["replace 2@10", "replace 2@10"], "{bad}");
        assert_eq!(rig.server.lists().len(), 3, "{bad}");
    }
}

/// The same where nothing is decoded because it is held, or because only names are asked for.
#[tokio::test(start_paused = true)]
async fn brackets_are_checked_of_items_that_nobody_decodes() {
    let hidden = |b: &str| {
        let a = object("a", 3);
        list("12", &[a.replace("}]", "]]"), b.replace("[{", "{{")])
    };
    let expired = Answer::failure(410, "Expired", "too old resource version");
    let server = Server::script(
        vec![abc(), Answer::ok([text(hidden(&object("b", 5)))]), abc()],
        vec![expired, Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(20).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "replace 2@10"]);

    let server = Server::new(move |seen| match seen.is_watch() {
        true => Answer::watch([]),
        false if seen.accept.contains("PartialObjectMetadataList") => {
            Answer::ok([text(hidden(&object("b", 5)).replace("\"12\"", "\"10\""))])
        }
        false => abc(),
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.audit(Duration::from_secs(30)),
    );
    rig.run(50).await;
    assert_eq!(rig.store.log(), ["replace 2@10"], "an audit repairs nothing");
}

/// What is no JSON between its own brackets is that object's affair.
#[tokio::test(start_paused = true)]
async fn an_item_that_is_garbled_within_its_brackets_is_set_apart() {
    for (from, to) in [
        (r#""v":"3""#, r#""v":NaN"#),
        (r#""v":"3""#, r#""v""#),
        (r#"{"v":"3"}"#, "[,]"),
    ] {
        let server = Server::script(
            vec![Answer::list(
                "10",
                &[object("a", 3).replace(from, to), object("b", 5)],
            )],
            vec![Answer::watch([])],
        );
        let rig = Rig::plain(server);
        rig.run(10).await;
        assert_eq!(rig.store.contents(), ["b@5"], "{to}");
        assert_eq!(rig.reflector.quarantined().len(), 1, "{to}");
    }
}

/// What a list says of its kind and of what remains may be missing.
#[tokio::test(start_paused = true)]
async fn a_list_may_leave_out_what_nobody_needs() {
    for head in [
        r#""metadata":{"resourceVersion":"10","continue":null,"remainingItemCount":-1,"selfLink":""}"#,
        r#""kind":null,"apiVersion":null,"metadata":{"resourceVersion":"10","remainingItemCount":"many"}"#,
    ] {
        let body = format!("{{{head},\"items\":[{}]}}", object("a", 3));
        let rig = Rig::plain(Server::script(
            vec![Answer::ok([text(body)])],
            vec![Answer::watch([])],
        ));
        rig.run(5).await;
        assert_eq!(rig.store.log(), ["replace 1@10"]);
    }
}

/// It is nothing but a hint, and may be any number.
#[tokio::test(start_paused = true)]
async fn a_list_may_say_anything_of_what_remains() {
    const MOST: &str = "18446744073709551615";
    for remaining in [MOST, "-5", "1e300", "\"7\"", "{}"] {
        let server = Server::new(move |seen| {
            if seen.is_watch() {
                return Answer::watch([]);
            }
            let names = match seen.param("labelSelector") {
                Some(_) => ["a", "b"],
                None => ["c", "d"],
            };
            let [first, second] = names.map(|name| object(name, 3));
            if seen.param("continue").is_some() {
                let all = list("10", &[second]);
                let (item, end) = all.split_at(all.len() - 2);
                return Answer::ok([pause(1), text(item), pause(1), text(end)]);
            }
            let remains = format!(r#""continue":"t","remainingItemCount":{remaining}"#);
            let page = page("10", "t", &[first]).replace(r#""continue":"t""#, &remains);
            Answer::ok([text(page)])
        });
        let source = ApiListWatch::namespaced(server.client(), "default").no_streaming_lists();
        let rig = Rig::with(
            server,
            |source| source.labels("x=1").no_streaming_lists(),
            |builder| builder.also(source),
        );
        let state = rig.reflector.state();
        let told = async {
            tokio::time::sleep(Duration::from_millis(1500)).await;
            state.borrow().clone()
        };
        let ((), told) = tokio::join!(rig.run(4), told);
        let expected = (remaining == MOST).then_some(u64::MAX);
        assert_eq!(told, SyncState::Listing { items: 4, expected });
        assert_eq!(rig.store.log(), ["replace 4@10"]);
    }
}

/// A server that has one name twice may have one state of it that cannot be decoded: what counts is the newest.
#[tokio::test(start_paused = true)]
async fn l7_an_object_listed_twice_counts_in_its_newest_state_be_it_undecodable() {
    let objects = [
        object("a", 3),
        poison("a", 5),
        poison("b", 4),
        object("b", 6),
        poison("c", 7),
        poison("c", 8),
    ];
    for (policy, held) in [
        (PoisonPolicy::KeepLast, &["a@3", "b@6"][..]),
        (PoisonPolicy::Remove, &["b@6"]),
    ] {
        let server = Server::script(vec![Answer::list("10", &objects)], vec![Answer::watch([])]);
        let rig = Rig::with(server, ApiListWatch::no_streaming_lists, |builder| {
            builder.poison(policy)
        });
        rig.run(10).await;
        assert_eq!(rig.store.contents(), held);
        let apart: Vec<_> = rig
            .reflector
            .quarantined()
            .iter()
            .map(|entry| entry.version.to_string())
            .collect();
        assert_eq!(apart, ["5", "8"], "I1");
        assert_eq!(rig.reflector.objects(), held.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_page_that_breaks_forgets_what_was_undecodable_in_it() {
    let bad = [poison("a", 3), poison("c", 6)];
    let server = Server::script(
        vec![
            Answer::ok([text(page("10", "t", &bad[..1]))]),
            Answer::ok([text(list("10", &bad).trim_end_matches("]}")), Piece::Reset]),
            Answer::list("10", &[object("b", 5), poison("d", 7)]),
        ],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["b@5"]);
    let apart = rig.reflector.quarantined();
    let names: Vec<_> = apart
        .iter()
        .filter_map(|entry| Some(entry.key.as_ref()?.name().to_owned()))
        .collect();
    assert_eq!(names, ["a", "d"]);
}

/// Bytes without end and never a new object.
#[tokio::test(start_paused = true)]
async fn l7_one_bad_object_listed_for_ever_is_kept_once_and_given_up() {
    let head =
        text(r#"{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"10"},"items":["#);
    let items = format!("{},", poison("a", 3)).repeat(20);
    let endless = (0..1000).flat_map(|_| [text(&items), pause(1)]);
    let server = Server::script(
        vec![Answer::ok([head].into_iter().chain(endless)), abc()],
        vec![Answer::watch([])],
    );
    let rig = Rig::plain(server);
    rig.run(320).await;
    assert_eq!(rig.states(), ["listing", "degraded timeout", "synced"]);
    assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
}
