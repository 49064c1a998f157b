//! Every fault has a name and a counter, and is met by a client here.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use informer_testkit::{ApiError, ApiServer, Fault, Lag, On, Verb, generate};
use k8s_openapi::api::core::v1::Pod;
use kube_client::{Api, api::ListParams, api::WatchEvent, api::WatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, timeout};

const LIST: &str = "/api/v1/namespaces/default/configmaps";
const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0&timeoutSeconds=100";
const MARKED: &str = "&allowWatchBookmarks=true";

/// A server with config maps `a`, `b` and `c`.
fn server() -> ApiServer {
    let server = ApiServer::new();
    for name in ["a", "b", "c"] {
        let map = json!({"metadata": {"name": name}, "data": {"k": "v"}});
        server.create("configmaps", map).expect("created");
    }
    server
}

/// Asks once and checks that exactly this fault struck, once.
async fn check(fault: Fault, on: On, uri: &str) -> (u16, String) {
    let server = server();
    let name = fault.name();
    let injected = server.faults().inject(on, fault);
    let answer = server.request("GET", uri, "").await;
    assert_eq!(injected.count(), 1, "{name} strikes once");
    assert_eq!(server.faults().counts().get(name), Some(&1), "{name} is counted");
    answer
}

fn lines(body: &str) -> Vec<Value> {
    body.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn names(body: &str) -> Vec<String> {
    let name = |event: &Value| {
        event["object"]["metadata"]["name"]
            .as_str()
            .unwrap_or("-")
            .to_owned()
    };
    lines(body).iter().map(name).collect()
}

#[tokio::test(start_paused = true)]
async fn statuses_come_as_json_or_text_with_any_retry_after() {
    for code in [401, 403, 404, 429, 500, 503, 504] {
        let (status, body) = check(Fault::status(code), On::list("configmaps"), LIST).await;
        assert_eq!(status, code);
        let body: Value = serde_json::from_str(&body).expect("a Status");
        assert_eq!(body["code"], code);
        assert_eq!(body["kind"], "Status");
    }
    let server = server();
    server
        .faults()
        .inject(On::any().times(1), Fault::too_many_requests("100000"));
    let request = http::Request::get(LIST)
        .body(informer_testkit::Body::empty())
        .expect("a request");
    let response = tower::Service::call(&mut server.service(), request)
        .await
        .expect("an answer");
    assert_eq!(response.status(), 429);
    assert_eq!(response.headers()["retry-after"], "100000");
    assert_eq!(response.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(
        server.request("GET", LIST, "").await.0,
        200,
        "a fault with a count is over after it"
    );
}

#[tokio::test(start_paused = true)]
async fn other_answers_take_the_place_of_the_servers() {
    let (status, body) = check(Fault::Html { code: 200 }, On::list("configmaps"), LIST).await;
    assert_eq!(status, 200);
    assert!(body.starts_with("<html>"));
    let (status, body) = check(Fault::Gone, On::watch("configmaps"), WATCH).await;
    assert_eq!(status, 410);
    assert!(body.contains("Expired"));
    let (status, body) = check(Fault::TooLargeVersion, On::list("configmaps"), LIST).await;
    assert_eq!(status, 504);
    assert!(body.contains("ResourceVersionTooLarge"));
    assert_eq!(
        check(Fault::Refuse, On::list("configmaps"), LIST).await,
        (0, String::new())
    );
}

#[tokio::test(start_paused = true)]
async fn a_handlers_panic_is_a_500_and_counted() {
    let server = server();
    server.faults().inject(On::any().times(1), Fault::Panic);
    assert_eq!(server.request("GET", LIST, "").await.0, 500);
    assert_eq!(server.panics(), 1);
    assert_eq!(server.request("GET", LIST, "").await.0, 200, "the server goes on");
}

#[tokio::test(start_paused = true)]
async fn answers_come_late_or_never() {
    let before = Instant::now();
    let delay = Duration::from_secs(40);
    assert_eq!(check(Fault::Latency { delay }, On::any(), LIST).await.0, 200);
    assert_eq!(before.elapsed(), delay);

    let server = server();
    server.faults().inject(On::list("configmaps"), Fault::Hang);
    let never = timeout(Duration::from_secs(3600), server.request("GET", LIST, "")).await;
    assert!(never.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_body_breaks_ends_or_stalls_at_any_byte() {
    let whole = server().request("GET", LIST, "").await.1;
    let (status, body) = check(Fault::ResetAt { byte: 40 }, On::any(), LIST).await;
    assert_eq!((status, body.as_str()), (0, &whole[..40]));
    let (status, body) = check(Fault::CutAt { byte: 41 }, On::any(), LIST).await;
    assert_eq!((status, body.as_str()), (0, &whole[..41]));
    let (status, body) = check(Fault::EofAt { byte: 42 }, On::any(), LIST).await;
    assert_eq!((status, body.as_str()), (200, &whole[..42]));
    let (status, body) = check(Fault::EofAt { byte: 0 }, On::any(), WATCH).await;
    assert_eq!((status, body.as_str()), (200, ""), "a watch that closes at once");

    let server = server();
    server.faults().inject(On::any(), Fault::StallAt { byte: 43 });
    let stalled = timeout(Duration::from_secs(3600), server.request("GET", LIST, "")).await;
    assert!(stalled.is_err());

    let before = Instant::now();
    let every = Duration::from_secs(10);
    let (status, body) = check(Fault::Drip { bytes: 100, every }, On::any(), LIST).await;
    assert_eq!((status, &body), (200, &whole));
    assert_eq!(
        before.elapsed(),
        every * u32::try_from(whole.len().div_ceil(100)).expect("small")
    );
}

#[tokio::test(start_paused = true)]
async fn lists_lie_about_their_version() {
    for version in ["", "abc", "1"] {
        let fault = Fault::ListVersion {
            version: version.to_owned(),
        };
        let (_, body) = check(fault, On::list("configmaps"), LIST).await;
        let list: Value = serde_json::from_str(&body).expect("a list");
        assert_eq!(list["metadata"]["resourceVersion"], version);
        assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
    }
}

#[tokio::test(start_paused = true)]
async fn continue_tokens_repeat_or_expire() {
    let server = server();
    let page = |token: String| {
        let server = server.clone();
        async move {
            let (status, body) = server.request("GET", &format!("{LIST}?limit=1{token}"), "").await;
            (status, serde_json::from_str::<Value>(&body).expect("an answer"))
        }
    };
    let token = |list: &Value| {
        list["metadata"]["continue"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    let (_, first) = page(String::new()).await;
    let repeats = server.faults().inject(
        On::list("configmaps").path_contains("continue="),
        Fault::RepeatContinue,
    );
    let (_, second) = page(format!("&continue={}", token(&first))).await;
    assert_eq!(token(&first), token(&second), "no progress");
    assert_eq!(repeats.count(), 1);
    repeats.remove();
    let expired = server.faults().inject(
        On::list("configmaps").path_contains("continue="),
        Fault::ContinueExpired,
    );
    let (status, gone) = page(format!("&continue={}", token(&first))).await;
    assert_eq!((status, gone["reason"].as_str()), (410, Some("Expired")));
    assert!(
        !token(&gone).is_empty(),
        "a token for the rest of the newest state comes along"
    );
    assert_eq!(expired.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_comes_from_a_stale_replica() {
    let server = server();
    let then = server.revision();
    server.delete("configmaps", "default", "a").expect("deleted");
    let stale = server.faults().inject(
        On::list("configmaps").times(1),
        Fault::StaleList { version: then },
    );
    let list: Value = serde_json::from_str(&server.request("GET", LIST, "").await.1).expect("a list");
    assert_eq!(list["metadata"]["resourceVersion"], then.to_string());
    assert_eq!(
        list["items"].as_array().map(Vec::len),
        Some(3),
        "the deleted one is back"
    );
    assert_eq!(stale.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_object_can_be_undecodable_in_lists_and_watches() {
    let server = ApiServer::new();
    let mut rng = fastrand::Rng::with_seed(1);
    server
        .load((0..3).map(|i| generate::pod(i, &mut rng)))
        .expect("loaded");
    let pods: Api<Pod> = Api::all(server.client());
    let bad = pods.list(&ListParams::default()).await.expect("a list").items[1].clone();
    let name = bad.metadata.name.expect("a name");
    let poison = server
        .faults()
        .inject(On::any().resource("pods").name(&name), Fault::Undecodable);
    assert!(
        pods.list(&ListParams::default()).await.is_err(),
        "typed clients choke on the whole list"
    );
    assert_eq!(poison.count(), 1);
    let uri = "/api/v1/pods?watch=1&resourceVersion=0&timeoutSeconds=5";
    let events = lines(&server.request("GET", uri, "").await.1);
    let bad = events
        .iter()
        .find(|event| event["object"]["metadata"]["name"] == name.as_str())
        .expect("there");
    assert_eq!(bad["object"]["spec"], 13);
    assert!(
        bad["object"]["metadata"]["resourceVersion"].is_string(),
        "what it is can still be read"
    );
    assert_eq!(poison.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn bookmarks_stop_lie_or_never_mark_the_end() {
    let uri = format!("{WATCH}{MARKED}");
    let all = server().request("GET", &uri, "").await.1;
    assert_eq!(
        names(&all),
        ["a", "b", "c", "-", "-", "-"],
        "objects, the mark, bookmarks at 60 s and 98 s"
    );
    let (_, body) = check(Fault::NoBookmarks, On::watch("configmaps"), &uri).await;
    assert_eq!(names(&body), ["a", "b", "c", "-"]);
    assert!(body.contains("initial-events-end"));
    let (_, body) = check(Fault::NoInitialEventsEnd, On::watch("configmaps"), &uri).await;
    assert_eq!(names(&body), ["a", "b", "c", "-", "-"]);
    assert!(!body.contains("initial-events-end"));
    for version in ["", "abc"] {
        let fault = Fault::BookmarkVersion {
            version: version.to_owned(),
        };
        let (_, body) = check(fault, On::watch("configmaps").nth(2), &uri).await;
        assert_eq!(lines(&body)[4]["object"]["metadata"]["resourceVersion"], version);
    }
}

#[tokio::test(start_paused = true)]
async fn streaming_lists_are_refused_by_status_or_in_the_stream() {
    let uri = format!("{LIST}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan{MARKED}");
    let (status, body) = check(
        Fault::WatchListRefused { in_stream: false },
        On::watch("configmaps"),
        &uri,
    )
    .await;
    assert_eq!(status, 422);
    assert!(body.contains("WatchList feature gate"), "{body}");
    let (status, body) = check(
        Fault::WatchListRefused { in_stream: true },
        On::watch("configmaps"),
        &uri,
    )
    .await;
    assert_eq!(status, 200);
    assert_eq!(lines(&body)[0]["type"], "ERROR");
    let old = ApiServer::builder().watch_list(false).build();
    assert_eq!(
        old.request("GET", &uri, "").await.0,
        422,
        "a server without the feature"
    );
}

#[tokio::test(start_paused = true)]
async fn events_are_lost_doubled_and_swapped() {
    let b = || On::watch("configmaps").name("b");
    let (_, body) = check(Fault::DropEvent, b(), WATCH).await;
    assert_eq!(names(&body), ["a", "c"]);
    let (_, body) = check(Fault::DuplicateEvent, b(), WATCH).await;
    assert_eq!(names(&body), ["a", "b", "b", "c"]);
    let (_, body) = check(Fault::ReorderEvent, b(), WATCH).await;
    assert_eq!(names(&body), ["a", "c", "b"]);
}

#[tokio::test(start_paused = true)]
async fn lines_are_cut_raw_unknown_oversize_or_carry_a_strange_version() {
    let b = || On::watch("configmaps").name("b");
    let (_, body) = check(Fault::TruncateLine, b(), WATCH).await;
    let cut: Vec<&str> = body.lines().collect();
    assert_eq!(cut.len(), 3);
    assert!(serde_json::from_str::<Value>(cut[1]).is_err());
    assert!(
        serde_json::from_str::<Value>(cut[2]).is_ok(),
        "the stream goes on"
    );
    let (_, body) = check(Fault::raw_line("}{\n"), b(), WATCH).await;
    assert_eq!(body.lines().nth(1), Some("}{"));
    assert_eq!(body.lines().count(), 4);
    let (_, body) = check(Fault::UnknownType, b(), WATCH).await;
    assert_eq!(lines(&body)[1]["type"], "REPLACED");
    let (_, body) = check(Fault::OversizeLine { bytes: 1 << 20 }, b(), WATCH).await;
    let long: Vec<&str> = body.lines().collect();
    assert!(long[1].len() >= (1 << 20) - 1);
    assert_eq!(names(&body), ["a", "b", "c"], "it is still JSON");
    let (_, body) = check(
        Fault::EventVersion {
            version: "x".to_owned(),
        },
        b(),
        WATCH,
    )
    .await;
    assert_eq!(lines(&body)[1]["object"]["metadata"]["resourceVersion"], "x");
}

#[tokio::test(start_paused = true)]
async fn oversize_lines_are_made_one_after_the_other() {
    let server = ApiServer::new();
    for name in 0..100 {
        let map = json!({"metadata": {"name": format!("m{name}")}});
        server.create("configmaps", map).expect("created");
    }
    let long = server
        .faults()
        .inject(On::watch("configmaps"), Fault::OversizeLine { bytes: 1 << 20 });
    for from in ["0", "1"] {
        let uri = format!("{LIST}?watch=1&resourceVersion={from}");
        let request = http::Request::get(uri).body(informer_testkit::Body::empty());
        let response = tower::Service::call(&mut server.service(), request.expect("a request"));
        let mut body = response.await.expect("an answer").into_body();
        let before = long.count();
        let first = http_body_util::BodyExt::frame(&mut body).await.expect("a frame");
        assert!(first.is_ok());
        assert!(
            long.count() - before < 4,
            "memory for what is read next, not for all"
        );
        let mut lines = 1;
        while lines < 100 {
            let frame = http_body_util::BodyExt::frame(&mut body).await.expect("a frame");
            lines += frame
                .expect("data")
                .data_ref()
                .map_or(0, |data| data.iter().filter(|byte| **byte == b'\n').count());
        }
        assert_eq!(long.count() - before, 100, "none is lost or doubled");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_arrive_in_the_stream_and_end_it() {
    let b = || On::watch("configmaps").name("b");
    let fault = Fault::ErrorEvent {
        code: 500,
        reason: None,
        message: None,
    };
    let (status, body) = check(fault, b(), WATCH).await;
    assert_eq!((status, lines(&body).len()), (200, 2));
    assert_eq!(lines(&body)[1]["object"]["code"], 500);
    let (_, body) = check(Fault::GoneEvent, b(), WATCH).await;
    assert_eq!(lines(&body)[1]["object"]["reason"], "Expired");
    assert_eq!(lines(&body).len(), 2);
    assert_eq!(names(&check(Fault::CloseBefore, b(), WATCH).await.1), ["a"]);
    let (status, body) = check(Fault::ResetBefore, b(), WATCH).await;
    assert_eq!((status, names(&body)), (0, vec!["a".to_owned()]));
    let server = server();
    server.faults().inject(b(), Fault::StallBefore);
    assert!(
        timeout(Duration::from_secs(3600), server.request("GET", WATCH, ""))
            .await
            .is_err()
    );
}

#[tokio::test(start_paused = true)]
async fn open_watches_take_orders() {
    let server = server();
    let open = || async {
        let pods: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::default_namespaced(server.client());
        let params = WatchParams {
            bookmarks: false,
            ..WatchParams::default()
        };
        pods.watch(&params, &server.revision().to_string())
            .await
            .expect("a watch")
            .boxed()
    };
    let mut stream = open().await;
    assert_eq!(server.watches().of("configmaps").len(), 1);
    assert_eq!(server.watches().of("pods").len(), 0);
    assert_eq!(server.watches().bookmark("77"), 1);
    let next = stream.try_next().await.expect("no error");
    let Some(WatchEvent::Bookmark(mark)) = next else {
        panic!("a bookmark, not {next:?}")
    };
    assert_eq!(mark.metadata.resource_version, "77");
    assert_eq!(server.watches().expire(), 1);
    let next = stream.try_next().await.expect("no error");
    assert!(matches!(next, Some(WatchEvent::Error(status)) if status.code == 410));
    assert!(stream.try_next().await.expect("no error").is_none());
    assert!(server.watches().is_empty());

    let mut stream = open().await;
    server.watches().close();
    assert!(stream.try_next().await.expect("no error").is_none());
    let mut stream = open().await;
    server.watches().reset();
    assert!(stream.try_next().await.is_err());
    let mut stream = open().await;
    server.watches().stall();
    server
        .create("configmaps", json!({"metadata": {"name": "unseen"}}))
        .expect("created");
    assert!(
        timeout(Duration::from_secs(3600), stream.try_next())
            .await
            .is_err()
    );
    let mut stream = open().await;
    server.watches().raw("not json\n");
    assert!(stream.try_next().await.is_err());
    let mut stream = open().await;
    server
        .watches()
        .fail(&ApiError::new(500, "InternalError", "etcd is gone"));
    let next = stream.try_next().await.expect("no error");
    assert!(matches!(next, Some(WatchEvent::Error(status)) if status.code == 500));
    let counts = server.faults().counts();
    for name in [
        "watches.bookmark",
        "watches.close",
        "watches.reset",
        "watches.stall",
        "watches.raw",
        "watches.fail",
    ] {
        assert!(counts.get(name).is_some_and(|count| *count > 0), "{name}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_rewound_server_is_silent_until_its_old_revision_is_passed() {
    let server = server();
    let backup = server.snapshot();
    server
        .create("configmaps", json!({"metadata": {"name": "d"}}))
        .expect("created");
    let ahead = server.revision();
    server.rewind(&backup);
    assert!(server.revision() < ahead);
    assert_eq!(server.faults().counts().get("rewind"), Some(&1));
    let uri = format!("{LIST}?watch=1&resourceVersion={ahead}&timeoutSeconds=10");
    assert_eq!(
        server.request("GET", &uri, "").await,
        (200, String::new()),
        "no error, just silence"
    );
    let list: Value = serde_json::from_str(&server.request("GET", LIST, "").await.1).expect("a list");
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_lost_to_compaction() {
    let server = server();
    let then = server.revision();
    server
        .faults()
        .lose_delete(&server, "configmaps", "default", "a")
        .expect("deleted");
    let uri = format!("{LIST}?watch=1&resourceVersion={then}&timeoutSeconds=10");
    let events = lines(&server.request("GET", &uri, "").await.1);
    assert_eq!(events.len(), 1);
    assert_eq!(
        events[0]["object"]["code"], 410,
        "the delete can't be learnt from any watch"
    );
    assert_eq!(server.faults().counts().get("loseDelete"), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn replicas_lag_freeze_and_catch_up() {
    let server = ApiServer::builder().replicas(2).build();
    server
        .create("configmaps", json!({"metadata": {"name": "a"}}))
        .expect("created");
    let old = server.replica(1);
    let frozen = old.freeze();
    server
        .create("configmaps", json!({"metadata": {"name": "b"}}))
        .expect("created");
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> = Api::default_namespaced(old.client());
    let any = ListParams {
        resource_version: Some("0".to_owned()),
        limit: None,
        ..ListParams::default()
    };
    let stale = maps.list(&any).await.expect("a list");
    assert_eq!(stale.items.len(), 1);
    assert_eq!(stale.metadata.resource_version, Some(frozen.to_string()));
    assert_eq!(
        maps.list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .len(),
        2,
        "consistent reads are current"
    );
    let newer = ListParams {
        resource_version: Some(server.revision().to_string()),
        ..any.clone()
    };
    let error = maps
        .list(&newer)
        .await
        .expect_err("the replica does not get there");
    assert!(
        matches!(&error, kube_client::Error::Api(status) if status.code == 504),
        "{error}"
    );
    old.lag(Lag::Behind(1));
    assert_eq!(old.revision(), server.revision() - 1);
    old.lag(Lag::Delay(Duration::from_secs(5)));
    server
        .create("configmaps", json!({"metadata": {"name": "c"}}))
        .expect("created");
    let before = Instant::now();
    maps.list(&ListParams {
        resource_version: Some(server.revision().to_string()),
        ..any
    })
    .await
    .expect_err("3 s < 5 s");
    tokio::time::sleep(Duration::from_secs(5) - before.elapsed()).await;
    assert_eq!(old.revision(), server.revision(), "it got there in time");
    old.thaw();
    assert_eq!(old.revision(), server.revision());
}

#[tokio::test(start_paused = true)]
async fn a_watch_on_a_delayed_replica_gets_events_late_and_whole() {
    let server = ApiServer::builder().replicas(2).build();
    server.replica(1).lag(Lag::Delay(Duration::from_secs(5)));
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::default_namespaced(server.replica(1).client());
    let params = WatchParams {
        bookmarks: false,
        ..WatchParams::default()
    };
    let mut stream = maps
        .watch(&params, &server.revision().to_string())
        .await
        .expect("a watch")
        .boxed();
    let before = Instant::now();
    server
        .create("configmaps", json!({"metadata": {"name": "a"}}))
        .expect("created");
    assert!(matches!(stream.try_next().await, Ok(Some(WatchEvent::Added(_)))));
    assert_eq!(before.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn connections_are_refused_while_the_switch_is_on() {
    let server = server();
    server.faults().refuse_connections(true);
    assert_eq!(server.request("GET", LIST, "").await.0, 0);
    assert_eq!(server.faults().counts().get("refuseConnections"), Some(&1));
    server.faults().refuse_connections(false);
    assert_eq!(server.request("GET", LIST, "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn faults_match_by_verb_resource_namespace_name_and_turn() {
    let server = server();
    let put = On::verb(Verb::Patch)
        .resource("configmaps")
        .namespace("default")
        .name("b")
        .nth(2);
    let fault = server.faults().inject(put, Fault::status(500));
    let patch = |name: &str| {
        let (server, uri) = (server.clone(), format!("{LIST}/{name}"));
        async move {
            let request = http::Request::patch(uri)
                .header("content-type", "application/merge-patch+json")
                .body(informer_testkit::Body::full(r#"{"data":{"x":"y"}}"#));
            let request = request.expect("a request");
            tower::Service::call(&mut server.service(), request)
                .await
                .expect("an answer")
                .status()
                .as_u16()
        }
    };
    let mut codes = Vec::new();
    for name in ["a", "b", "a", "b", "b"] {
        codes.push(patch(name).await);
    }
    assert_eq!(codes, [200, 200, 200, 500, 200]);
    assert_eq!(fault.count(), 1);
    server.faults().clear();
    assert!(server.faults().rules().is_empty());
    assert_eq!(
        server.faults().counts().get("status"),
        Some(&1),
        "counts outlive the rules"
    );
}

#[tokio::test]
async fn on_a_socket_a_reset_is_a_reset_and_refusal_closes_the_connection() {
    let server = server();
    let listener = server.listen_on_loopback().await.expect("a port");
    let maps: Api<k8s_openapi::api::core::v1::ConfigMap> =
        Api::default_namespaced(listener.client().expect("a client"));
    server
        .faults()
        .inject(On::list("configmaps").times(1), Fault::ResetAt { byte: 10 });
    assert!(maps.list(&ListParams::default()).await.is_err());
    assert_eq!(
        maps.list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .len(),
        3
    );
    server.faults().refuse_connections(true);
    assert!(maps.list(&ListParams::default()).await.is_err());
    server.faults().refuse_connections(false);
    assert_eq!(
        maps.list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .len(),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn the_control_plane_is_off_unless_asked_for_and_then_does_the_same() {
    assert_eq!(server().request("GET", "/_sim/faults", "").await.0, 404);
    let server = ApiServer::builder().sim(true).build();
    let rule =
        json!({"on": {"verb": "list", "resource": "configmaps", "times": 1}, "fault": "status", "code": 503});
    let (status, body) = server.request("POST", "/_sim/faults", rule.to_string()).await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(server.request("GET", LIST, "").await.0, 503);
    assert_eq!(server.request("GET", LIST, "").await.0, 200);
    let (_, shown) = server.request("GET", "/_sim/faults", "").await;
    let shown: Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown["counts"]["status"], 1);
    assert_eq!(shown["rules"][0]["code"], 503);
    assert_eq!(server.request("DELETE", "/_sim/faults", "").await.0, 200);
    assert_eq!(
        server
            .request("POST", "/_sim/faults", "{\"fault\":\"nosuch\"}")
            .await
            .0,
        400
    );
    assert_eq!(server.request("POST", "/_sim/compact", "").await.0, 200);
    assert_eq!(
        server.requests().lists("configmaps"),
        2,
        "the control plane is not in the log"
    );
    assert_eq!(server.requests().len(), 2);
}
