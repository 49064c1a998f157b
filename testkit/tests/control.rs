//! The control plane below `/_sim/`: it can do what the handle can, and refuses what it does not understand.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use informer_testkit::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::{Api, api::ListParams, api::WatchEvent, api::WatchParams};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn server() -> ApiServer {
    let server = ApiServer::builder().sim(true).replicas(2).build();
    for name in ["a", "b", "c"] {
        server
            .create("configmaps", json!({"metadata": {"name": name}}))
            .expect("created");
    }
    server
}

async fn ask(server: &ApiServer, method: &str, path: &str, body: impl Into<String>) -> (u16, Value) {
    let (status, body) = server.request(method, &format!("/_sim/{path}"), body).await;
    let body = serde_json::from_str(&body).unwrap_or_else(|_| panic!("{method} {path}: {body}"));
    (status, body)
}

/// Posts and expects success.
async fn post(server: &ApiServer, path: &str, body: Value) -> Value {
    let (status, answer) = ask(server, "POST", path, body.to_string()).await;
    assert_eq!(status, 200, "{path} {body}: {answer}");
    answer
}

async fn open(
    server: &ApiServer,
) -> futures::stream::BoxStream<'static, kube_client::Result<WatchEvent<ConfigMap>>> {
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let params = WatchParams {
        bookmarks: false,
        ..WatchParams::default()
    };
    let from = server.revision().to_string();
    maps.watch(&params, &from).await.expect("a watch").boxed()
}

#[tokio::test(start_paused = true)]
async fn every_operation_is_listed_routed_documented_and_off_unless_switched_on() {
    let server = server();
    let off = ApiServer::new();
    let (_, index) = ask(&server, "GET", "", "").await;
    let operations = index["operations"].as_array().expect("operations");
    assert!(operations.len() > 30);
    let readme = include_str!("../README.md");
    for operation in operations {
        let text = |field: &str| operation[field].as_str().expect("text");
        let (method, path) = (text("method"), text("path"));
        let sent = path.replace("{id}", "99").replace("{index}", "99");
        let (status, body) = server.request(method, &sent, r#"{"no such field": 1}"#).await;
        let fine = if method == "POST" {
            matches!(status, 400 | 404)
        } else {
            matches!(status, 200 | 404)
        };
        assert!(fine, "{method} {path}: {status} {body}");
        assert!(!body.contains("no operation"), "{method} {path}: {body}");
        let documented = format!("`{method} {}`", path.trim_start_matches("/_sim/"));
        assert!(
            path == "/_sim/" || readme.contains(&documented),
            "README.md does not know {documented}"
        );
        assert_eq!(
            off.request(method, &sent, "").await,
            (404, "404 page not found\n".to_owned()),
            "{method} {path}"
        );
    }
    assert_eq!(ask(&server, "GET", "nosuch", "").await.0, 404);
    assert_eq!(ask(&server, "PUT", "faults", "{}").await.0, 405);
    assert_eq!(ask(&server, "GET", "compact", "").await.0, 405);
    assert_eq!(server.panics() + off.panics(), 0);
}

#[tokio::test(start_paused = true)]
async fn bad_input_is_refused_and_changes_nothing() {
    let server = server();
    let backup = ask(&server, "GET", "state", "").await.1;
    let newest = server.revision();
    for (path, body) in [
        ("compact", r#"{"version":"5"}"#),
        ("compact", r#"{"version":null}"#),
        ("compact", r#"{"version":-1}"#),
        ("compact", r#"{"version":1.5}"#),
        ("compact", r#"{"version":99999999999999999999}"#),
        ("compact", r#"{"revision":5}"#),
        ("compact", "5"),
        ("compact", "null"),
        ("compact", "[]"),
        ("compact", "[5]"),
        ("compact", "not JSON"),
        ("compact", "version=5"),
        ("compactTo", "{}"),
        ("compact?version=5", ""),
        ("history", "{}"),
        ("history", r#"{"events":0}"#),
        ("history", r#"{"ageMs":0}"#),
        ("history", r#"{"age":5}"#),
        ("bumpRevision", r#"{"by":5}"#),
        ("settled", r#"{"timeoutMs":600001}"#),
        ("refuseConnections", "{}"),
        ("refuseConnections", r#"{"on":"yes"}"#),
        ("loseDelete", r#"{"resource":"configmaps"}"#),
        ("replicas/0/lag", "{}"),
        ("replicas/0/lag", r#"{"frozen":1,"behind":1}"#),
        ("replicas/0/lag", r#"{"delay":1}"#),
        ("replicas/0/freeze", r#"{"at":1}"#),
        ("replicas/x/freeze", ""),
        ("replicas/+1/freeze", ""),
        ("replicas/-1/freeze", ""),
        ("restore", "{}"),
        ("rewind", r#"{"snapshot":"1"}"#),
        ("snapshot", r#"{"name":"x"}"#),
        ("watches/raw", "{}"),
        ("watches/bookmark", r#"{"version":5}"#),
        ("watches/fail", r#"{"code":200}"#),
        ("watches/fail", r#"{"message":"no code"}"#),
        ("watches/close", r#"{"ressource":"pods"}"#),
        ("watches/close", r#"{"id":null}"#),
        ("watches/close", r#"{"code":500}"#),
        ("watches/close?resource=pods", ""),
        ("faults", ""),
        ("faults", r#"{"fault":"nosuch"}"#),
        ("faults", r#"{"fault":"gone","on":{"kind":"Pod"}}"#),
        ("load", "kind: Nothing"),
        ("load", "\u{0}"),
        ("load", r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{}}"#),
        ("register", r#"{"group":"x.y","version":"v1","kind":"A"}"#),
        (
            "register",
            r#"{"group":"x.y","version":"v1","kind":"A","plural":"a/b"}"#,
        ),
        (
            "register",
            r#"{"group":"","version":"v1","kind":"A","plural":"as"}"#,
        ),
    ] {
        let (status, answer) = ask(&server, "POST", path, body).await;
        assert_eq!(status, 400, "{path} {body}: {answer}");
        assert_eq!(answer["kind"], "Status", "{path} {body}");
        assert_eq!(answer["reason"], "BadRequest", "{path} {body}");
    }
    let future = json!({"version": newest + 1}).to_string();
    for path in ["compact", "compactTo"] {
        assert_eq!(
            ask(&server, "POST", path, future.clone()).await.0,
            400,
            "the future"
        );
    }
    for (method, path, body) in [
        ("POST", "replicas/2/freeze", "{}"),
        ("POST", "restore", r#"{"snapshot":1}"#),
        ("DELETE", "snapshots/1", ""),
        ("DELETE", "faults/1", ""),
        (
            "POST",
            "loseDelete",
            r#"{"resource":"configmaps","namespace":"default","name":"nope"}"#,
        ),
    ] {
        assert_eq!(ask(&server, method, path, body).await.0, 404, "{path}");
    }
    for path in [
        "watches?id=x",
        "watches?resources=pods",
        "requests?verb=lst",
        "requests?limit=1",
    ] {
        assert_eq!(ask(&server, "GET", path, "").await.0, 400, "{path}");
    }
    assert_eq!(ask(&server, "GET", "state", "").await.1, backup);
    assert_eq!(server.panics(), 0);
}

#[tokio::test(start_paused = true)]
async fn history_is_compacted_and_bounded() {
    let server = server();
    let newest = server.revision();
    let at = |version: u64| format!("{MAPS}?resourceVersion={version}&resourceVersionMatch=Exact");
    post(&server, "compact", json!({"version": newest - 1})).await;
    assert_eq!(server.request("GET", &at(newest - 2), "").await.0, 410);
    assert_eq!(server.request("GET", &at(newest - 1), "").await.0, 200);
    post(&server, "compactTo", json!({"version": newest})).await;
    assert_eq!(server.request("GET", &at(newest - 1), "").await.0, 410);
    assert_eq!(
        post(&server, "bumpRevision", json!({})).await["revision"],
        newest + 1
    );
    assert_eq!(server.request("GET", &at(newest), "").await.0, 200);
    assert_eq!(
        ask(&server, "POST", "compact", "").await.1["compacted"],
        newest + 1
    );
    assert_eq!(server.request("GET", &at(newest), "").await.0, 410);

    post(&server, "history", json!({"events": 2, "ageMs": 75_000})).await;
    let (_, state) = ask(&server, "GET", "state", "").await;
    assert_eq!(state["history"], json!({"events": 2, "ageMs": 75_000}));
    assert_eq!(state["objects"]["configmaps"], 3);
    let from = server.revision();
    for value in ["1", "2", "3"] {
        let patch = json!({"data": {"k": value}});
        server
            .patch("configmaps", "default", "a", patch)
            .expect("patched");
    }
    assert_eq!(server.request("GET", &at(from), "").await.0, 410, "by count");
    assert_eq!(server.request("GET", &at(from + 1), "").await.0, 200);
    tokio::time::advance(Duration::from_secs(76)).await;
    assert_eq!(server.request("GET", &at(from + 1), "").await.0, 410, "by age");
    assert_eq!(server.faults().counts().get("compact"), Some(&3));
}

#[tokio::test(start_paused = true)]
async fn snapshots_are_taken_restored_rewound_and_let_go() {
    let server = server();
    let taken = post(&server, "snapshot", json!({})).await;
    assert_eq!(taken["snapshot"], 1);
    let then = server.revision();
    assert_eq!(taken["revision"], then);
    let mut watched = open(&server).await;
    server.delete("configmaps", "default", "a").expect("deleted");
    assert!(matches!(
        watched.try_next().await,
        Ok(Some(WatchEvent::Deleted(_)))
    ));
    post(&server, "rewind", json!({"snapshot": 1})).await;
    assert_eq!((server.revision(), server.count("configmaps")), (then, 3));
    assert_eq!(
        server.watches().len(),
        1,
        "rewound under the feet of open watches"
    );
    post(&server, "restore", json!({"snapshot": 1})).await;
    assert!(
        watched.try_next().await.expect("no error").is_none(),
        "restored: they end"
    );
    let counts = server.faults().counts();
    assert_eq!(
        (counts.get("rewind"), counts.get("restore")),
        (Some(&1), Some(&1))
    );
    for id in 2..=16 {
        assert_eq!(post(&server, "snapshot", json!({})).await["snapshot"], id);
    }
    let (status, full) = ask(&server, "POST", "snapshot", "").await;
    assert_eq!(status, 400, "{full}");
    assert_eq!(ask(&server, "DELETE", "snapshots/7", "").await.0, 200);
    assert_eq!(post(&server, "snapshot", json!({})).await["snapshot"], 17);
    let (_, held) = ask(&server, "GET", "snapshots", "").await;
    assert_eq!(held["snapshots"].as_array().map(Vec::len), Some(16));
}

#[tokio::test(start_paused = true)]
async fn replicas_freeze_lag_and_catch_up() {
    let server = server();
    let then = server.revision();
    assert_eq!(
        post(&server, "replicas/1/freeze", json!({})).await["revision"],
        then
    );
    server.delete("configmaps", "default", "a").expect("deleted");
    let maps: Api<ConfigMap> = Api::default_namespaced(server.replica(1).client());
    let any = ListParams {
        resource_version: Some("0".to_owned()),
        ..ListParams::default()
    };
    assert_eq!(maps.list(&any).await.expect("a list").items.len(), 3, "stale");
    let (_, shown) = ask(&server, "GET", "replicas", "").await;
    assert_eq!(
        shown["replicas"],
        json!([{"index": 0, "revision": then + 1}, {"index": 1, "revision": then, "frozen": then}])
    );
    post(&server, "replicas/1/thaw", json!({})).await;
    assert_eq!(maps.list(&any).await.expect("a list").items.len(), 2);
    assert_eq!(
        post(&server, "replicas/1/lag", json!({"behind": 1})).await["revision"],
        then
    );
    assert_eq!(
        post(&server, "replicas/1/lag", json!({"frozen": then - 1})).await["revision"],
        then - 1
    );
    post(&server, "replicas/1/lag", json!({"delayMs": 5_000})).await;
    server.delete("configmaps", "default", "b").expect("deleted");
    assert_eq!(server.replica(1).revision(), then + 1);
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(server.replica(1).revision(), then + 2);
    let counts = server.faults().counts();
    assert_eq!(
        (counts.get("replica.freeze"), counts.get("replica.lag")),
        (Some(&1), Some(&3))
    );
}

#[tokio::test(start_paused = true)]
async fn open_watches_are_listed_and_take_orders_one_by_one_or_all() {
    let server = server();
    let (mut first, mut second) = (open(&server).await, open(&server).await);
    let (_, listed) = ask(&server, "GET", "watches?resource=configmaps", "").await;
    let watches = listed["watches"].as_array().expect("a list").clone();
    assert_eq!(watches.len(), 2);
    assert_eq!(watches[0]["resource"], "configmaps");
    assert!(watches[0]["uri"].as_str().expect("a URI").contains("watch="));
    let only = json!({"id": watches[0]["id"], "version": "77"});
    assert_eq!(post(&server, "watches/bookmark", only).await["watches"], 1);
    assert!(matches!(
        first.try_next().await,
        Ok(Some(WatchEvent::Bookmark(_)))
    ));
    assert_eq!(
        post(&server, "watches/close", json!({"resource": "pods"})).await["watches"],
        0
    );
    let close = json!({"id": watches[0]["id"], "resource": "configmaps"});
    assert_eq!(post(&server, "watches/close", close).await["watches"], 1);
    assert!(first.try_next().await.expect("no error").is_none());
    assert_eq!(
        post(&server, "watches/expire", json!({})).await["watches"],
        1,
        "all that are left"
    );
    assert!(matches!(second.try_next().await, Ok(Some(WatchEvent::Error(status))) if status.code == 410));
    let mut third = open(&server).await;
    post(
        &server,
        "watches/fail",
        json!({"code": 500, "message": "etcd is gone"}),
    )
    .await;
    assert!(
        matches!(third.try_next().await, Ok(Some(WatchEvent::Error(status))) if status.message == "etcd is gone")
    );
    let mut fourth = open(&server).await;
    post(&server, "watches/raw", json!({"text": "not json\n"})).await;
    assert!(fourth.try_next().await.is_err());
    let mut fifth = open(&server).await;
    post(&server, "watches/reset", json!({})).await;
    assert!(fifth.try_next().await.is_err());
    let mut sixth = open(&server).await;
    post(&server, "watches/stall", json!({"resource": "configmaps"})).await;
    server.delete("configmaps", "default", "a").expect("deleted");
    let silent = tokio::time::timeout(Duration::from_secs(3600), sixth.try_next()).await;
    assert!(silent.is_err());
}

#[tokio::test(start_paused = true)]
async fn outages_and_lost_deletes_are_to_be_had() {
    let server = server();
    let then = server.revision();
    let mut watched = open(&server).await;
    post(
        &server,
        "loseDelete",
        json!({"resource": "configmaps", "namespace": "default", "name": "a"}),
    )
    .await;
    assert!(watched.try_next().await.is_err(), "broken before it could tell");
    assert_eq!(server.count("configmaps"), 2);
    let uri = format!("{MAPS}?watch=1&resourceVersion={then}");
    assert!(server.request("GET", &uri, "").await.1.contains("\"code\":410"));
    post(&server, "refuseConnections", json!({"on": true})).await;
    assert_eq!(server.request("GET", MAPS, "").await.0, 0);
    post(&server, "refuseConnections", json!({"on": false})).await;
    assert_eq!(server.request("GET", MAPS, "").await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn objects_are_loaded_kinds_are_registered_and_the_log_is_read() {
    let server = server();
    let kind = json!({
        "group": "example.com", "version": "v1", "kind": "Foo", "plural": "foos", "status": true,
        "shortNames": ["fo"], "selectableFields": ["spec.color"],
    });
    assert_eq!(
        post(&server, "register", kind.clone()).await["resource"],
        "foos.example.com"
    );
    assert_eq!(ask(&server, "POST", "register", kind.to_string()).await.0, 409);
    let foos = "apiVersion: example.com/v1\nkind: Foo\nmetadata: {name: f}\nspec: {color: red}\nstatus: {ready: true}\n---\n\
                apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nstatus: {phase: Running}\n";
    assert_eq!(ask(&server, "POST", "load", foos).await.1["loaded"], 2);
    assert_eq!(
        server.get("foos", "default", "f").expect("there")["status"]["ready"],
        true
    );
    let red = "/apis/example.com/v1/foos?fieldSelector=spec.color%3Dred";
    assert!(server.request("GET", red, "").await.1.contains("\"name\":\"f\""));
    server.request("GET", MAPS, "").await;
    let (_, log) = ask(&server, "GET", "requests?verb=list&resource=foos.example.com", "").await;
    assert_eq!(
        (log["count"].as_u64(), &log["requests"][0]["uri"]),
        (Some(1), &json!(red))
    );
    assert_eq!(
        ask(&server, "GET", "requests", "").await.1["count"],
        2,
        "not the control plane's own"
    );
    assert_eq!(ask(&server, "DELETE", "requests", "").await.0, 200);
    assert!(server.requests().is_empty());
    let large = format!(
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: big}}\ndata: {{k: \"{}\"}}\n",
        "x".repeat(4 << 20)
    );
    assert_eq!(
        ask(&server, "POST", "load", large).await.0,
        200,
        "a bulk load may be larger than a request"
    );
}

#[tokio::test(start_paused = true)]
async fn settled_is_told_or_given_up() {
    let server = server();
    let mut watched = open(&server).await;
    assert_eq!(post(&server, "settled", json!({})).await["settled"], true);
    server.delete("configmaps", "default", "a").expect("deleted");
    let wait = json!({"timeoutMs": 60_000});
    assert_eq!(
        post(&server, "settled", wait.clone()).await["settled"],
        false,
        "nobody reads"
    );
    let read = async {
        assert!(matches!(
            watched.try_next().await,
            Ok(Some(WatchEvent::Deleted(_)))
        ));
        let _ = tokio::time::timeout(Duration::from_secs(1), watched.try_next()).await;
    };
    let ((), settled) = tokio::join!(read, post(&server, "settled", wait));
    assert_eq!(settled["settled"], true);
}
