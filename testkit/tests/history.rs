//! What a server remembers, what compaction and age take away, and what they must leave alone.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use informer_testkit::{ApiServer, Lag};
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::{Api, api::WatchEvent, api::WatchParams};
use serde_json::{Value, json};

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name}})
}

async fn lines(server: &ApiServer, query: &str) -> Vec<Value> {
    let (status, body) = server
        .request("GET", &format!("{MAPS}?watch=1&{query}"), "")
        .await;
    assert_eq!(status, 200, "{body}");
    body.lines()
        .map(|line| serde_json::from_str(line).expect("a line of JSON"))
        .collect()
}

fn quiet() -> WatchParams {
    WatchParams {
        bookmarks: false,
        ..WatchParams::default()
    }
}

#[tokio::test(start_paused = true)]
async fn a_compaction_leaves_watches_alone_that_miss_nothing() {
    let server = ApiServer::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let from = server.revision().to_string();
    let mut events = maps.watch(&quiet(), &from).await.expect("a watch").boxed();
    for i in 0..5 {
        server.create("secrets", map(&format!("s{i}"))).expect("created");
    }
    server.compact();
    server.create("configmaps", map("a")).expect("created");
    let next = events.try_next().await.expect("no error");
    assert!(matches!(next, Some(WatchEvent::Added(_))), "{next:?}");
}

#[tokio::test(start_paused = true)]
async fn a_compaction_cuts_watches_off_that_had_not_read_everything() {
    let server = ApiServer::new();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let from = server.revision().to_string();
    let mut events = maps.watch(&quiet(), &from).await.expect("a watch").boxed();
    server.create("configmaps", map("a")).expect("created");
    server.compact();
    server.create("configmaps", map("b")).expect("created");
    let next = events.try_next().await.expect("no error");
    assert!(next.is_none(), "b without a would be a gap: {next:?}");
}

#[tokio::test(start_paused = true)]
async fn history_grows_old_without_further_writes() {
    let server = ApiServer::builder()
        .history(1000, Duration::from_secs(75))
        .build();
    let from = server.revision();
    server.create("configmaps", map("a")).expect("created");
    tokio::time::advance(Duration::from_secs(75)).await;
    let young = lines(&server, &format!("timeoutSeconds=1&resourceVersion={from}")).await;
    assert_eq!(young[0]["type"], "ADDED");
    tokio::time::advance(Duration::from_secs(1)).await;
    let old = lines(&server, &format!("timeoutSeconds=1&resourceVersion={from}")).await;
    assert_eq!(old[0]["object"]["code"], 410);
    let exact = format!("{MAPS}?resourceVersion={from}&resourceVersionMatch=Exact");
    assert_eq!(server.request("GET", &exact, "").await.0, 410);
}

#[tokio::test(start_paused = true)]
async fn history_can_be_set_while_the_server_runs() {
    let server = ApiServer::new();
    let from = server.revision();
    for name in ["a", "b", "c"] {
        server.create("configmaps", map(name)).expect("created");
    }
    server.history(2, Duration::MAX);
    let at = |version: u64| format!("timeoutSeconds=1&resourceVersion={version}");
    assert_eq!(lines(&server, &at(from)).await[0]["object"]["code"], 410);
    assert_eq!(lines(&server, &at(from + 1)).await.len(), 2);
    server.history(0, Duration::ZERO);
    tokio::time::advance(Duration::from_secs(1)).await;
    let last = lines(&server, &at(from + 2)).await;
    assert_eq!(
        last[0]["object"]["code"], 410,
        "an age of nothing keeps nothing old"
    );
    server.create("configmaps", map("d")).expect("created");
    assert_eq!(
        lines(&server, &at(from + 3)).await.len(),
        1,
        "the newest event is always there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_frozen_replica_shows_its_state_whatever_is_compacted() {
    let server = ApiServer::builder().replicas(2).build();
    server.create("configmaps", map("a")).expect("created");
    let frozen = server.replica(1).freeze();
    server.delete("configmaps", "default", "a").expect("deleted");
    server.compact();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.replica(1).client());
    let any = kube_client::api::ListParams {
        resource_version: Some("0".to_owned()),
        limit: None,
        ..Default::default()
    };
    let stale = maps.list(&any).await.expect("a list");
    assert_eq!(
        (stale.items.len(), stale.metadata.resource_version),
        (1, Some(frozen.to_string()))
    );
    let mut events = maps
        .watch(&quiet(), &frozen.to_string())
        .await
        .expect("a watch")
        .boxed();
    let silent = tokio::time::timeout(Duration::from_secs(60), events.try_next()).await;
    assert!(silent.is_err(), "nothing happens there: {silent:?}");
    server.replica(1).thaw();
    assert!(matches!(
        events.try_next().await,
        Ok(Some(WatchEvent::Deleted(_)))
    ));
}

#[tokio::test(start_paused = true)]
async fn no_duration_is_too_long() {
    let server = ApiServer::builder()
        .replicas(2)
        .bookmark_every(Duration::MAX)
        .version_wait(Duration::MAX)
        .history(10, Duration::MAX)
        .build();
    server.replica(1).lag(Lag::Delay(Duration::MAX));
    server.create("configmaps", map("a")).expect("created");
    let longest = format!(
        "timeoutSeconds={}&allowWatchBookmarks=1&resourceVersion=0",
        i64::MAX
    );
    let watch = lines(&server, &longest);
    assert!(
        tokio::time::timeout(Duration::from_secs(3600), watch)
            .await
            .is_err()
    );
    let future = format!("{MAPS}?resourceVersion=99");
    let list = server.request("GET", &future, "");
    assert!(
        tokio::time::timeout(Duration::from_secs(3600), list)
            .await
            .is_err()
    );
    assert!(server.replica(1).revision() < server.revision());
    assert_eq!(server.panics(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_watch_finds_what_it_selects_behind_any_number_of_other_events() {
    let server = ApiServer::new();
    let from = server.revision();
    for i in 0..600 {
        server
            .create("configmaps", map(&format!("other-{i}")))
            .expect("created");
    }
    server.create("configmaps", map("wanted")).expect("created");
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let params = quiet().fields("metadata.name=wanted");
    let mut events = maps
        .watch(&params, &from.to_string())
        .await
        .expect("a watch")
        .boxed();
    let found = tokio::time::timeout(Duration::from_secs(1), events.try_next()).await;
    assert!(
        matches!(found, Ok(Ok(Some(WatchEvent::Added(_))))),
        "at once, not with the next write: {found:?}"
    );
}
