//! The server through its in-process client: reads, writes, pages, watches.

use futures::{StreamExt, TryStreamExt};
use informer_testkit::{ApiServer, generate};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube_client::{
    Api,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams},
};
use serde_json::{Value, json};

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"k": "v"}})).expect("a config map")
}

#[tokio::test(start_paused = true)]
async fn objects_are_created_read_changed_and_deleted() {
    let server = ApiServer::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let made = maps
        .create(&PostParams::default(), &config_map("a"))
        .await
        .expect("created");
    assert!(made.metadata.uid.is_some());
    let patch = json!({"data": {"k": "w"}});
    let patched = maps
        .patch("a", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("patched");
    assert_ne!(patched.metadata.resource_version, made.metadata.resource_version);
    let stale = maps
        .replace("a", &PostParams::default(), &made)
        .await
        .expect_err("a stale write");
    assert!(
        matches!(&stale, kube_client::Error::Api(status) if status.code == 409),
        "{stale}"
    );
    maps.delete("a", &DeleteParams::default()).await.expect("deleted");
    let gone = maps.get("a").await.expect_err("gone");
    assert!(
        matches!(&gone, kube_client::Error::Api(status) if status.code == 404),
        "{gone}"
    );
    assert_eq!(server.panics(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_paged_list_reads_one_revision() {
    let server = ApiServer::new();
    let mut rng = fastrand::Rng::with_seed(1);
    server
        .load((0..25).map(|i| generate::pod(i, &mut rng)))
        .expect("loaded");
    let pods: Api<Pod> = Api::all(server.client());
    let mut page = pods
        .list(&ListParams::default().limit(10))
        .await
        .expect("first page");
    let version = page.metadata.resource_version.clone();
    assert_eq!(page.metadata.remaining_item_count, Some(15));
    server.load([generate::pod(99, &mut rng)]).expect("loaded");
    let mut names: Vec<_> = page.items.iter().map(|pod| pod.metadata.name.clone()).collect();
    while let Some(token) = page.metadata.continue_.clone().filter(|token| !token.is_empty()) {
        page = pods
            .list(&ListParams::default().limit(10).continue_token(&token))
            .await
            .expect("next page");
        assert_eq!(page.metadata.resource_version, version);
        names.extend(page.items.iter().map(|pod| pod.metadata.name.clone()));
    }
    assert_eq!(names.len(), 25);
    names.dedup();
    assert_eq!(names.len(), 25);
}

#[tokio::test(start_paused = true)]
async fn a_watch_list_sends_the_state_its_end_and_then_every_change() {
    let server = ApiServer::new();
    server
        .create("configmaps", json!({"metadata": {"name": "a"}}))
        .expect("created");
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let wanted = WatchParams {
        send_initial_events: true,
        bookmarks: true,
        ..WatchParams::default()
    };
    let mut events = maps.watch(&wanted, "").await.expect("a watch").boxed();
    assert!(matches!(events.try_next().await, Ok(Some(WatchEvent::Added(_)))));
    let end = events.try_next().await.expect("no error");
    let Some(WatchEvent::Bookmark(mark)) = end else {
        panic!("the end of the initial events, not {end:?}")
    };
    assert!(
        mark.metadata
            .annotations
            .contains_key("k8s.io/initial-events-end")
    );
    server
        .patch("configmaps", "default", "a", json!({"data": {"k": "v"}}))
        .expect("patched");
    assert!(matches!(
        events.try_next().await,
        Ok(Some(WatchEvent::Modified(_)))
    ));
    server.delete("configmaps", "default", "a").expect("deleted");
    assert!(matches!(
        events.try_next().await,
        Ok(Some(WatchEvent::Deleted(_)))
    ));
    // An idle watch gets a bookmark a minute, and ends at its time-out.
    assert!(matches!(
        events.try_next().await,
        Ok(Some(WatchEvent::Bookmark(_)))
    ));
    server.settled().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_from_before_the_window_gets_410_in_the_stream() {
    let server = ApiServer::new();
    let made = server
        .create("configmaps", json!({"metadata": {"name": "a"}}))
        .expect("created");
    server.delete("configmaps", "default", "a").expect("deleted");
    server.compact();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let version = made["metadata"]["resourceVersion"].as_str().expect("a version");
    let mut events = maps
        .watch(&WatchParams::default(), version)
        .await
        .expect("a watch")
        .boxed();
    let first = events.try_next().await.expect("no transport error");
    assert!(
        matches!(&first, Some(WatchEvent::Error(status)) if status.code == 410),
        "{first:?}"
    );
    assert!(matches!(events.try_next().await, Ok(None)));
}

#[tokio::test]
async fn the_same_server_answers_on_loopback() {
    let server = ApiServer::new();
    server
        .create("configmaps", json!({"metadata": {"name": "a"}}))
        .expect("created");
    let listener = server.listen_on_loopback().await.expect("a port");
    let maps: Api<ConfigMap> = Api::default_namespaced(listener.client().expect("a client"));
    assert_eq!(
        maps.list(&ListParams::default())
            .await
            .expect("a list")
            .items
            .len(),
        1
    );
    let mut events = maps
        .watch(
            &WatchParams {
                bookmarks: false,
                ..WatchParams::default()
            },
            "0",
        )
        .await
        .expect("a watch")
        .boxed();
    assert!(matches!(events.try_next().await, Ok(Some(WatchEvent::Added(_)))));
    server
        .patch("configmaps", "default", "a", json!({"data": {"k": "v"}}))
        .expect("patched");
    assert!(matches!(
        events.try_next().await,
        Ok(Some(WatchEvent::Modified(_)))
    ));
    listener.shutdown().await;
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_bytes() {
    async fn transcript(seed: u64) -> Vec<(u16, String)> {
        let server = ApiServer::builder().seed(seed).build();
        let mut all = Vec::new();
        for i in 0..3 {
            let body = json!({"metadata": {"generateName": "a-"}, "data": {"i": i.to_string()}}).to_string();
            all.push(
                server
                    .request("POST", "/api/v1/namespaces/default/configmaps", body)
                    .await,
            );
        }
        all.push(server.request("GET", "/api/v1/configmaps?limit=2", "").await);
        all.push(
            server
                .request(
                    "GET",
                    "/api/v1/configmaps?watch=1&timeoutSeconds=130&allowWatchBookmarks=1",
                    "",
                )
                .await,
        );
        all
    }
    let first = transcript(7).await;
    assert_eq!(first, transcript(7).await);
    assert_ne!(first, transcript(8).await);
    let watch: Vec<Value> = first[4]
        .1
        .lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect();
    assert_eq!(watch.len(), 3 + 1 + 3, "objects, their end, bookmarks: {watch:?}");
}

#[test]
fn handles_go_anywhere() {
    fn check<T: Send + Sync + Clone + std::fmt::Debug + 'static>() {}
    check::<ApiServer>();
    check::<informer_testkit::ApiService>();
    check::<informer_testkit::Faults>();
    check::<informer_testkit::Injected>();
    check::<informer_testkit::Replica>();
    check::<informer_testkit::Requests>();
    check::<informer_testkit::Watches>();
    check::<informer_testkit::Snapshot>();
}

#[tokio::test(start_paused = true)]
async fn paths_that_name_nothing_are_refused_as_the_api_server_does() {
    let server = ApiServer::new();
    for (method, path, status) in [
        ("GET", "/api/v1/pods/a", 404),
        ("GET", "/api/v1/namespaces/default/nodes", 404),
        ("GET", "/api/v1/namespaces/nosuch/pods", 200),
        ("POST", "/api/v1/pods", 405),
        ("DELETE", "/api/v1/pods", 405),
        ("PUT", "/api/v1/namespaces/default/pods", 405),
        ("POST", "/api/v1/namespaces/default/pods/a", 405),
        ("GET", "/api/v1/namespaces/default/pods/a/nosuch", 404),
        ("GET", "/livez/ping", 200),
        ("GET", "/livez/nosuch", 404),
        ("GET", "/metrics", 200),
        ("GET", "/", 200),
        ("GET", "/openapi/v2", 404),
        ("GET", "/_sim/faults", 404),
    ] {
        assert_eq!(
            server.request(method, path, "").await.0,
            status,
            "{method} {path}"
        );
    }
}
