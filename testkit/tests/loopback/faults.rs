//! Every fault through both doors: a client on a socket meets what a client in the process meets.

use std::{collections::BTreeSet, io};

use futures::StreamExt;
use http_body_util::BodyExt;
use informer_testkit::{ApiError, ApiServer, Body, Fault, Lag, Listener, On};
use serde_json::{Value, json};
use tower::Service;

use super::raw::{Client, End, Received, get};

const LIST: &str = "/api/v1/namespaces/default/configmaps";
const WATCH: &str = "/api/v1/namespaces/default/configmaps?watch=1&resourceVersion=0";
const MARKED: &str = "/api/v1/namespaces/default/configmaps?watch=1&allowWatchBookmarks=1&timeoutSeconds=1";
const STREAMED: &str = "/api/v1/namespaces/default/configmaps?watch=1&allowWatchBookmarks=1&timeoutSeconds=1\
    &sendInitialEvents=true&resourceVersionMatch=NotOlderThan";

/// Config maps `a`, `b`, `c` and `z`; a watch without bookmarks ends before `z`.
async fn listening() -> (ApiServer, Listener) {
    let server = ApiServer::builder().replicas(2).build();
    for name in ["a", "b", "c", "z"] {
        let map = json!({"metadata": {"name": name}, "data": {"k": "v"}});
        server.create("configmaps", map).expect("created");
    }
    server.faults().inject(
        On::watch("configmaps")
            .name("z")
            .path_contains("resourceVersion=0"),
        Fault::CloseBefore,
    );
    let listener = server.listen_on_loopback().await.expect("a port");
    (server, listener)
}

/// What a client met: the status and the body as far as it came, and how it ended. No status: no answer.
#[derive(Debug, PartialEq, Eq)]
struct Met {
    status: Option<u16>,
    body: String,
    end: End,
}

async fn in_process(server: &ApiServer, path: &str) -> Met {
    let request = http::Request::get(path).body(Body::empty()).expect("a request");
    let Ok(response) = server.service().call(request).await else {
        return Met {
            status: None,
            body: String::new(),
            end: End::Reset,
        };
    };
    let status = Some(response.status().as_u16());
    let (mut chunks, mut body, mut end) = (response.into_body().into_data_stream(), Vec::new(), End::Whole);
    while let Some(chunk) = chunks.next().await {
        match chunk {
            Ok(chunk) => body.extend_from_slice(&chunk),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => end = End::Reset,
            Err(_) => end = End::Closed,
        }
    }
    Met {
        status,
        body: String::from_utf8(body).expect("text"),
        end,
    }
}

fn met(received: Option<Received>) -> Met {
    match received {
        Some(received) => Met {
            status: Some(received.status),
            body: received.text(),
            end: received.end,
        },
        None => Met {
            status: None,
            body: String::new(),
            end: End::Reset,
        },
    }
}

/// Faults with an answer to compare, and the request that meets them. `CONTINUE` stands for a token, `OLD` for the
/// version of `c`.
const CASES: &[(&str, &str, &str)] = &[
    (r#"{"fault":"status","code":401}"#, "", LIST),
    (r#"{"fault":"status","code":403}"#, "", WATCH),
    (r#"{"fault":"status","code":429,"retryAfter":"7"}"#, "", LIST),
    (
        r#"{"fault":"status","code":429,"retryAfter":"100000","text":true}"#,
        "",
        LIST,
    ),
    (r#"{"fault":"status","code":500}"#, "", LIST),
    (
        r#"{"fault":"status","code":503,"reason":"Gone Fishing","message":"later"}"#,
        "",
        LIST,
    ),
    (r#"{"fault":"status","code":504}"#, "", LIST),
    (r#"{"fault":"html","code":200}"#, "", LIST),
    (r#"{"fault":"html","code":502}"#, "", WATCH),
    (r#"{"fault":"gone"}"#, "", WATCH),
    (r#"{"fault":"tooLargeVersion"}"#, "", LIST),
    (r#"{"fault":"latency","ms":1}"#, "", LIST),
    (r#"{"fault":"refuse"}"#, "", LIST),
    (r#"{"fault":"panic"}"#, "", LIST),
    (r#"{"fault":"resetAt","byte":100}"#, "", LIST),
    (r#"{"fault":"resetAt","byte":100}"#, "", WATCH),
    (r#"{"fault":"cutAt","byte":100}"#, "", LIST),
    (r#"{"fault":"cutAt","byte":100}"#, "", WATCH),
    (r#"{"fault":"eofAt","byte":100}"#, "", LIST),
    (r#"{"fault":"eofAt","byte":100}"#, "", WATCH),
    (r#"{"fault":"eofAt","byte":0}"#, "", WATCH),
    (r#"{"fault":"drip","bytes":100,"ms":1}"#, "", LIST),
    (r#"{"fault":"listVersion","version":""}"#, "", LIST),
    (r#"{"fault":"listVersion","version":"abc"}"#, "", LIST),
    (r#"{"fault":"repeatContinue"}"#, "", "CONTINUE"),
    (r#"{"fault":"continueExpired"}"#, "", "CONTINUE"),
    (r#"{"fault":"staleList","version":OLD}"#, "", LIST),
    (r#"{"fault":"undecodable"}"#, "b", LIST),
    (r#"{"fault":"undecodable"}"#, "b", WATCH),
    (r#"{"fault":"noBookmarks"}"#, "", MARKED),
    (r#"{"fault":"noInitialEventsEnd"}"#, "", STREAMED),
    (r#"{"fault":"watchListRefused"}"#, "", STREAMED),
    (r#"{"fault":"watchListRefused","inStream":true}"#, "", STREAMED),
    (r#"{"fault":"bookmarkVersion","version":""}"#, "", STREAMED),
    (r#"{"fault":"bookmarkVersion","version":"abc"}"#, "", STREAMED),
    (r#"{"fault":"dropEvent"}"#, "b", WATCH),
    (r#"{"fault":"duplicateEvent"}"#, "b", WATCH),
    (r#"{"fault":"reorderEvent"}"#, "a", WATCH),
    (r#"{"fault":"truncateLine"}"#, "b", WATCH),
    (r#"{"fault":"rawLine","bytes":"}{\n"}"#, "b", WATCH),
    (r#"{"fault":"unknownType"}"#, "b", WATCH),
    (r#"{"fault":"oversizeLine","bytes":300000}"#, "b", WATCH),
    (r#"{"fault":"eventVersion","version":""}"#, "b", WATCH),
    (r#"{"fault":"eventVersion","version":"abc"}"#, "b", WATCH),
    (r#"{"fault":"errorEvent","code":500}"#, "b", WATCH),
    (r#"{"fault":"goneEvent"}"#, "b", WATCH),
    (r#"{"fault":"closeBefore"}"#, "b", WATCH),
    (r#"{"fault":"resetBefore"}"#, "b", WATCH),
];

/// Faults after which nothing comes, with what comes before.
const SILENT: &[(&str, &str, &str, usize)] = &[
    (r#"{"fault":"hang"}"#, "", LIST, 0),
    (r#"{"fault":"stallAt","byte":100}"#, "", LIST, 100),
    (r#"{"fault":"stallAt","byte":100}"#, "", WATCH, 100),
    (r#"{"fault":"stallBefore"}"#, "b", WATCH, usize::MAX),
];

/// The fault's JSON with its occasion: the next one, on this object if one is named.
fn posted(fault: &str, name: &str, old: u64) -> (String, String) {
    let mut posted: Value = serde_json::from_str(&fault.replace("OLD", &old.to_string())).expect("JSON");
    posted["on"] = json!({ "times": 1 });
    if !name.is_empty() {
        posted["on"]["name"] = json!(name);
    }
    let name = posted["fault"].as_str().expect("a name").to_owned();
    (name, posted.to_string())
}

async fn token(server: &ApiServer) -> String {
    let page = in_process(server, &format!("{LIST}?limit=2")).await.body;
    let page: Value = serde_json::from_str(&page).expect("a page");
    page["metadata"]["continue"].as_str().expect("a token").to_owned()
}

async fn check(fault: &str, name: &str, path: &str) {
    let (server, listener) = listening().await;
    let old = server.revision() - 1;
    let path = path.replace(
        "CONTINUE",
        &format!("{LIST}?limit=1&continue={}", token(&server).await),
    );
    let unharmed = met(get(listener.address(), &path).await);
    assert_eq!((unharmed.status, unharmed.end), (Some(200), End::Whole), "{path}");
    let (kind, posted) = posted(fault, name, old);
    let inside = server.faults().inject_json(&posted).expect("a fault");
    let expected = in_process(&server, &path).await;
    assert_eq!(inside.count(), 1, "{fault}");
    let outside = server.faults().inject_json(&posted).expect("a fault");
    let received = get(listener.address(), &path).await;
    if let (Some(received), Some(wanted)) = (
        &received,
        serde_json::from_str::<Value>(&posted).expect("JSON")["retryAfter"].as_str(),
    ) {
        assert_eq!(received.header("retry-after"), Some(wanted), "{fault}");
    }
    let got = met(received);
    assert_eq!(got, expected, "{fault} {path}");
    assert_eq!(outside.count(), 1, "{fault}");
    assert_eq!(
        server.faults().counts().get(kind.as_str()).map(|count| count % 2),
        Some(u64::from(kind == "closeBefore")),
        "{fault}"
    );
    if !matches!(kind.as_str(), "latency" | "drip") {
        assert_ne!(got, unharmed, "{fault} {path}: the client is told something else");
    }
    assert_eq!(server.panics(), if kind == "panic" { 2 } else { 0 });
}

#[tokio::test]
async fn every_fault_is_the_same_in_the_process_and_on_a_socket() {
    let all = CASES.iter().map(|(fault, name, path)| check(fault, name, path));
    futures::stream::iter(all)
        .buffer_unordered(16)
        .collect::<Vec<()>>()
        .await;
}

#[tokio::test]
async fn silence_is_silence_on_a_socket_too() {
    for (fault, name, path, length) in SILENT {
        let (server, listener) = listening().await;
        let whole = get(listener.address(), path).await.expect("an answer").body;
        let first_line = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
        let length = if *length == usize::MAX {
            first_line
        } else {
            *length
        };
        let injected = server
            .faults()
            .inject_json(posted(fault, name, 0).1)
            .expect("a fault");
        let mut client = Client::connect(listener.address()).await.expect("a connection");
        client.ask("GET", path).await;
        if fault.contains("hang") {
            while injected.count() == 0 {
                tokio::task::yield_now().await;
            }
        } else {
            let got = client.receive_up_to(length).await.expect("a head");
            assert_eq!(got.body, whole[..length], "{fault} {path}");
        }
        // Others are answered meanwhile, so this one could have been.
        for _ in 0..3 {
            assert_eq!(
                get(listener.address(), LIST).await.expect("an answer").status,
                200
            );
        }
        assert!(client.is_silent().await, "{fault} {path}");
        assert_eq!(injected.count(), 1, "{fault}");
    }
}

#[test]
fn no_fault_is_missing_here() {
    let server = ApiServer::new();
    let known = server
        .faults()
        .inject_json(r#"{"fault":"nosuch"}"#)
        .expect_err("unknown");
    let (_, list) = known.message().split_once("expected one of").expect("the names");
    let known: BTreeSet<&str> = list.split('`').skip(1).step_by(2).collect();
    assert!(known.len() > 30);
    let tested = CASES
        .iter()
        .map(|case| case.0)
        .chain(SILENT.iter().map(|case| case.0));
    let tested: BTreeSet<String> = tested.map(|fault| posted(fault, "", 0).0).collect();
    let tested: BTreeSet<&str> = tested.iter().map(String::as_str).collect();
    assert_eq!(known, tested);
}

// --- what is no rule but an order ---

async fn watching(server: &ApiServer, listener: &Listener) -> Client {
    let before = server.watches().len();
    let mut client = Client::connect(listener.address()).await.expect("a connection");
    client
        .ask(
            "GET",
            &format!("{LIST}?watch=1&resourceVersion={}", server.revision()),
        )
        .await;
    while server.watches().len() == before {
        tokio::task::yield_now().await;
    }
    client
}

#[tokio::test]
async fn open_watches_on_sockets_take_orders() {
    let (server, listener) = listening().await;
    let mut client = watching(&server, &listener).await;
    assert_eq!(server.watches().close(), 1);
    let closed = client.receive().await.expect("a head");
    assert_eq!((closed.text().as_str(), closed.end), ("", End::Whole));

    let mut client = watching(&server, &listener).await;
    server.watches().raw("}{\n");
    server.watches().bookmark("abc");
    server.watches().reset();
    let broken = client.receive().await.expect("a head");
    let text = broken.text();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines[0], broken.end), (2, "}{", End::Reset));
    assert!(lines[1].contains(r#""resourceVersion":"abc""#));

    let mut client = watching(&server, &listener).await;
    server
        .watches()
        .fail(&ApiError::new(500, "InternalError", "etcd is gone"));
    let failed = client.receive().await.expect("a head");
    assert!(failed.text().contains("etcd is gone"));
    assert_eq!(failed.end, End::Whole);

    let mut client = watching(&server, &listener).await;
    server.watches().expire();
    assert!(
        client
            .receive()
            .await
            .expect("a head")
            .text()
            .contains("\"code\":410")
    );

    let mut client = watching(&server, &listener).await;
    server.watches().stall();
    server.delete("configmaps", "default", "a").expect("deleted");
    assert_eq!(client.receive_up_to(0).await.expect("a head").status, 200);
    assert_eq!(
        get(listener.address(), LIST).await.expect("an answer").status,
        200
    );
    assert!(client.is_silent().await);
}

#[tokio::test]
async fn restores_rewinds_and_lost_deletes_reach_sockets() {
    let (server, listener) = listening().await;
    let backup = server.snapshot();
    let then = server.revision();
    server.delete("configmaps", "default", "a").expect("deleted");
    let mut client = watching(&server, &listener).await;
    server.rewind(&backup);
    let list = get(listener.address(), LIST).await.expect("a list");
    assert!(
        list.text().contains(&format!("\"resourceVersion\":\"{then}\"")),
        "from the past"
    );
    assert_eq!(client.receive_up_to(0).await.expect("a head").status, 200);
    assert!(client.is_silent().await);
    let mut later = watching(&server, &listener).await;
    server.restore(&backup);
    assert_eq!(later.receive().await.expect("a head").end, End::Whole);

    let mut client = watching(&server, &listener).await;
    server
        .faults()
        .lose_delete(&server, "configmaps", "default", "b")
        .expect("deleted");
    assert_eq!(client.receive().await.expect("a head").end, End::Reset);
    let again = get(
        listener.address(),
        &format!("{LIST}?watch=1&resourceVersion={then}"),
    )
    .await;
    assert!(again.expect("an answer").text().contains("\"code\":410"));
}

#[tokio::test]
async fn outages_and_stale_replicas_reach_sockets() {
    let (server, listener) = listening().await;
    server.faults().refuse_connections(true);
    assert!(get(listener.address(), LIST).await.is_none());
    server.faults().refuse_connections(false);
    server.replica(1).lag(Lag::Behind(1));
    server.delete("configmaps", "default", "a").expect("deleted");
    let mut sizes = BTreeSet::new();
    for _ in 0..2 {
        let list = get(listener.address(), &format!("{LIST}?resourceVersion=0")).await;
        let list: Value = serde_json::from_str(&list.expect("a list").text()).expect("JSON");
        sizes.insert(list["items"].as_array().map(Vec::len));
    }
    assert_eq!(
        sizes,
        BTreeSet::from([Some(3), Some(4)]),
        "connections take turns"
    );
}
