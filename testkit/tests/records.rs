//! Recording and replay, snapshots, fixtures, compressed answers, size limits, and the request log.

use std::{io::Read, time::Duration};

use futures::{StreamExt, TryStreamExt};
use informer_testkit::{
    ApiServer, Body, Verb, fixtures, generate,
    record::{Recorder, Replay},
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::{
    Api,
    api::{ListParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};
use tower::Service;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn config_map(name: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": "v"}})
}

#[tokio::test(start_paused = true)]
async fn a_recording_plays_back_lists_writes_errors_and_watches_in_order() {
    let path = std::env::temp_dir().join(format!("testkit-records-{}.jsonl", std::process::id()));
    let real = ApiServer::new();
    real.create("configmaps", config_map("a")).expect("created");
    let from = real.revision().to_string();
    let watch = WatchParams {
        bookmarks: false,
        timeout: Some(5),
        ..WatchParams::default()
    };
    let session = |client: kube_client::Client| {
        let (watch, from) = (watch.clone(), from.clone());
        async move {
            let maps: Api<ConfigMap> = Api::default_namespaced(client);
            let mut seen = vec![format!(
                "{:?}",
                maps.list(&ListParams::default()).await.expect("a list").items
            )];
            let map = serde_json::from_value(config_map("b")).expect("a config map");
            let made = maps.create(&PostParams::default(), &map).await.expect("created");
            seen.push(format!("{made:?}"));
            seen.push(format!(
                "{:?}",
                maps.list(&ListParams::default()).await.expect("a list").items
            ));
            let missing = maps.get("nope").await.expect_err("missing");
            assert!(matches!(&missing, kube_client::Error::Api(status) if status.code == 404));
            let events: Vec<WatchEvent<ConfigMap>> = maps
                .watch(&watch, &from)
                .await
                .expect("a watch")
                .try_collect()
                .await
                .expect("events");
            seen.push(format!("{events:?}"));
            seen
        }
    };
    let recorder = Recorder::create(real.client(), &path).expect("a file");
    let recorded = session(recorder.client()).await;
    let replayed = session(Replay::open(&path).expect("a recording").client()).await;
    assert_eq!(recorded, replayed);
    let text = std::fs::read_to_string(&path).expect("the file");
    assert_eq!(text.lines().count(), 5);
    assert!(!text.to_lowercase().contains("authorization"));
    std::fs::write(&path, "{}\n").expect("written");
    assert!(
        Replay::open(&path)
            .expect_err("no exchange")
            .to_string()
            .contains("line 1")
    );
    std::fs::remove_file(&path).expect("removed");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_restores_objects_definitions_and_the_revision_and_ends_watches() {
    let server = ApiServer::new();
    let definition = |plural: &str, kind: &str| {
        json!({
            "metadata": {"name": format!("{plural}.example.com")},
            "spec": {
                "group": "example.com", "scope": "Namespaced",
                "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                    "type": "object", "x-kubernetes-preserve-unknown-fields": true,
                }}}],
            },
        })
    };
    server
        .create("customresourcedefinitions", definition("foos", "Foo"))
        .expect("created");
    server
        .create("foos", json!({"metadata": {"name": "f"}}))
        .expect("created");
    let backup = server.snapshot();
    server
        .delete("customresourcedefinitions", "", "foos.example.com")
        .expect("deleted");
    server
        .create("customresourcedefinitions", definition("bars", "Bar"))
        .expect("created");
    server.create("configmaps", config_map("later")).expect("created");
    assert_eq!(server.count("foos"), 0);
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let mut events = maps
        .watch(&WatchParams::default(), &server.revision().to_string())
        .await
        .expect("a watch")
        .boxed();
    server.restore(&backup);
    assert!(
        events.try_next().await.expect("no error").is_none(),
        "streams of the lost state end"
    );
    assert_eq!(server.revision(), backup.revision());
    assert_eq!(server.count("configmaps"), 0);
    assert_eq!(server.count("foos"), 1);
    assert_eq!(
        server.request("GET", "/apis/example.com/v1/foos", "").await.0,
        200,
        "served again"
    );
    assert_eq!(
        server.request("GET", "/apis/example.com/v1/bars", "").await.0,
        404,
        "never defined"
    );
}

#[tokio::test(start_paused = true)]
async fn deleting_a_definition_deletes_its_objects_and_ends_its_watches() {
    let server = ApiServer::new();
    let loaded = fixtures::load_text(&server, FIXTURES).expect("loaded");
    assert_eq!(loaded, 4);
    assert_eq!(
        server.get("foos", "default", "f").expect("there")["spec"]["size"],
        3
    );
    assert_eq!(
        server.get("configmaps", "made", "settings").expect("there")["data"]["a"],
        "b"
    );
    assert_eq!(server.count("secrets"), 1, "from a list");
    let from = server.revision();
    let uri = format!("/apis/example.com/v1/foos?watch=1&resourceVersion={from}");
    let watch = server.request("GET", &uri, "");
    let delete = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server
            .delete("customresourcedefinitions", "", "foos.example.com")
            .expect("deleted");
    };
    let ((status, body), ()) = tokio::join!(watch, delete);
    assert_eq!(status, 200);
    let last: Value = serde_json::from_str(body.lines().last().expect("an event")).expect("JSON");
    assert_eq!(
        (last["type"].as_str(), last["object"]["metadata"]["name"].as_str()),
        (Some("DELETED"), Some("f"))
    );
    let wrong = fixtures::load_text(&server, "kind: Nothing\napiVersion: v1\nmetadata: {name: a}\n");
    assert!(
        wrong
            .expect_err("unknown")
            .to_string()
            .starts_with("document 1: ")
    );
}

const FIXTURES: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: foos.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: foos, singular: foo, kind: Foo}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, properties: {spec: {type: object, properties: {size: {type: integer}}}}}}
---
# nothing but a remark
---
apiVersion: example.com/v1
kind: Foo
metadata: {name: f}
spec: {size: 3}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: settings, namespace: made}
data: {a: b}
---
apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Secret, metadata: {name: s}}
";

async fn fetch(server: &ApiServer, uri: &str, gzip: bool) -> (http::HeaderMap, Vec<u8>) {
    let encoding = if gzip { "gzip" } else { "identity" };
    let request = http::Request::get(uri)
        .header("accept-encoding", encoding)
        .body(Body::empty());
    let response = server
        .service()
        .call(request.expect("a request"))
        .await
        .expect("an answer");
    let (parts, body) = response.into_parts();
    let body = http_body_util::BodyExt::collect(body)
        .await
        .expect("a body")
        .to_bytes();
    (parts.headers, body.to_vec())
}

fn unzipped(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    flate2::read::MultiGzDecoder::new(bytes)
        .read_to_end(&mut out)
        .expect("gzip");
    out
}

#[tokio::test(start_paused = true)]
async fn large_answers_are_compressed_on_request_and_watches_a_member_per_flush() {
    let server = ApiServer::builder().watch_gzip(true).build();
    let mut rng = fastrand::Rng::with_seed(1);
    server
        .load((0..40).map(|i| generate::pod(i, &mut rng)))
        .expect("loaded");
    let (headers, plain) = fetch(&server, "/api/v1/pods", false).await;
    assert!(!headers.contains_key("content-encoding"));
    let (headers, zipped) = fetch(&server, "/api/v1/pods", true).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(headers["vary"], "Accept-Encoding");
    assert!(zipped.len() * 4 < plain.len());
    assert_eq!(unzipped(&zipped), plain);
    let (headers, _) = fetch(&server, "/api/v1/namespaces", true).await;
    assert!(
        !headers.contains_key("content-encoding"),
        "small answers are not worth it"
    );

    let uri = "/api/v1/pods?watch=1&timeoutSeconds=70&allowWatchBookmarks=true";
    let (_, plain) = fetch(&server, uri, false).await;
    let (headers, zipped) = fetch(&server, uri, true).await;
    assert_eq!(headers["content-encoding"], "gzip");
    assert_eq!(unzipped(&zipped), plain);
    let members = memchr::memmem::find_iter(&zipped, b"\x1f\x8b\x08").count();
    assert!(members > 2, "{members}");
    let old = ApiServer::new();
    let (headers, _) = fetch(&old, "/api/v1/pods?watch=1&timeoutSeconds=1", true).await;
    assert!(
        !headers.contains_key("content-encoding"),
        "servers before 1.37 do not"
    );
}

#[tokio::test(start_paused = true)]
async fn bodies_beyond_three_mebibytes_are_refused() {
    let server = ApiServer::new();
    let map = |size: usize| json!({"metadata": {"name": "big"}, "data": {"k": "x".repeat(size)}}).to_string();
    let (status, body) = server.request("POST", MAPS, map(3 << 20)).await;
    assert_eq!(status, 413, "{body}");
    assert!(body.contains("\"reason\":\"RequestEntityTooLarge\""));
    assert_eq!(server.count("configmaps"), 0);
}

#[tokio::test(start_paused = true)]
async fn the_log_tells_who_asked_what_and_what_came_of_it() {
    let server = ApiServer::new();
    server
        .request("GET", &format!("{MAPS}?limit=5&labelSelector=a%3Db"), "")
        .await;
    server.request("GET", &format!("{MAPS}/x"), "").await;
    server.request("POST", MAPS, config_map("a").to_string()).await;
    server
        .request(
            "GET",
            &format!("{MAPS}?watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3Da"),
            "",
        )
        .await;
    server.request("DELETE", MAPS, "").await;
    server.request("GET", "/version", "").await;
    let log = server.requests();
    assert_eq!(
        (
            log.lists("configmaps"),
            log.watches("configmaps"),
            log.writes("configmaps")
        ),
        (1, 1, 2)
    );
    assert_eq!(log.len(), 6);
    let list = &log.all()[0];
    assert_eq!(
        (list.param("labelSelector"), list.param("limit"), list.status),
        (Some("a=b"), Some("5"), 200)
    );
    assert_eq!(log.matching(|request| request.status == 404).len(), 1);
    let watch = log.matching(|request| request.verb == Verb::Watch);
    assert_eq!(watch[0].name.as_deref(), Some("a"));
    assert_eq!(log.all()[4].verb, Verb::DeleteCollection);
    assert_eq!(log.last().expect("one").verb, Verb::Other);
    log.clear();
    assert!(log.is_empty());
}

#[tokio::test(start_paused = true)]
async fn settled_waits_for_every_watcher() {
    let server = ApiServer::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let mut events = maps
        .watch(&WatchParams::default(), &server.revision().to_string())
        .await
        .expect("a watch")
        .boxed();
    server.create("configmaps", config_map("a")).expect("created");
    let before = tokio::time::timeout(Duration::from_secs(60), server.settled()).await;
    assert!(before.is_err(), "nobody has read it");
    assert!(matches!(events.try_next().await, Ok(Some(WatchEvent::Added(_)))));
    let read_on = tokio::time::timeout(Duration::from_secs(1), events.try_next());
    let (_, ()) = tokio::join!(read_on, server.settled());
}
