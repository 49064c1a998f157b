//! The rules for which state a request reads, one test per row of the tables for lists and watches.

use std::time::Duration;

use informer_testkit::{ApiServer, Lag};
use serde_json::{Value, json};
use tokio::time::Instant;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// Config maps `a` to `e`, each written once, at consecutive revisions. Returns the revision of the last one.
fn server() -> (ApiServer, u64) {
    let server = ApiServer::builder().replicas(2).build();
    for name in ["a", "b", "c", "d", "e"] {
        let labels = json!({"odd": (name != "b" && name != "d").to_string()});
        server
            .create(
                "configmaps",
                json!({"metadata": {"name": name, "labels": labels}}),
            )
            .expect("created");
    }
    let last = server.revision();
    (server, last)
}

#[derive(Debug)]
struct List {
    status: u16,
    body: Value,
    took: Duration,
}

impl List {
    fn names(&self) -> String {
        let items = self.body["items"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        items
            .iter()
            .filter_map(|item| item["metadata"]["name"].as_str())
            .collect()
    }

    fn version(&self) -> u64 {
        self.body["metadata"]["resourceVersion"]
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("a version")
    }

    fn token(&self) -> &str {
        self.body["metadata"]["continue"].as_str().unwrap_or_default()
    }

    fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }

    /// The fields that an invalid-options answer complains about.
    fn fields(&self) -> Vec<&str> {
        let causes = self.body["details"]["causes"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        causes
            .iter()
            .filter_map(|cause| cause["field"].as_str())
            .collect()
    }
}

async fn list(server: &ApiServer, query: &str) -> List {
    let start = Instant::now();
    let (status, body) = server.request("GET", &format!("{MAPS}?{query}"), "").await;
    List {
        status,
        body: serde_json::from_str(&body).expect("JSON"),
        took: start.elapsed(),
    }
}

/// Reads a watch to its end: its lines in short, as `+a` (added), `~a` (modified), `-a` (deleted), `.7` (bookmark),
/// `!7` (the bookmark that ends the initial events), `?410` (error).
async fn watch(server: &ApiServer, query: &str) -> (u16, Vec<String>, Duration) {
    let start = Instant::now();
    let (status, body) = server
        .request("GET", &format!("{MAPS}?watch=true&{query}"), "")
        .await;
    let took = start.elapsed();
    if status != 200 {
        return (status, vec![body], took);
    }
    let short = |line: &str| {
        let event: Value = serde_json::from_str(line).expect("JSON");
        let metadata = &event["object"]["metadata"];
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        match event["type"].as_str() {
            Some("ADDED") => format!("+{}", text(&metadata["name"])),
            Some("MODIFIED") => format!("~{}", text(&metadata["name"])),
            Some("DELETED") => format!("-{}", text(&metadata["name"])),
            Some("BOOKMARK") if metadata.get("annotations").is_some() => {
                format!("!{}", text(&metadata["resourceVersion"]))
            }
            Some("BOOKMARK") => format!(".{}", text(&metadata["resourceVersion"])),
            _ => format!("?{}", event["object"]["code"]),
        }
    };
    (status, body.lines().map(short).collect(), took)
}

// --- lists ---

#[tokio::test(start_paused = true)]
async fn list_without_version_is_consistent_and_pages() {
    let (server, last) = server();
    server.replica(0).freeze();
    server
        .create("configmaps", json!({"metadata": {"name": "f"}}))
        .expect("created");
    let all = list(&server, "").await;
    assert_eq!(
        (all.status, all.names().as_str(), all.version()),
        (200, "abcdef", last + 1)
    );
    let page = list(&server, "limit=2").await;
    assert_eq!(
        (
            page.names().as_str(),
            &page.body["metadata"]["remainingItemCount"]
        ),
        ("ab", &json!(4))
    );
    let selected = list(&server, "limit=2&labelSelector=odd%3Dtrue").await;
    assert_eq!(selected.names(), "ac");
    assert!(
        selected.body["metadata"].get("remainingItemCount").is_none(),
        "not counted with a selector"
    );
    let rest = list(
        &server,
        &format!("limit=2&labelSelector=odd%3Dtrue&continue={}", selected.token()),
    )
    .await;
    assert_eq!((rest.names().as_str(), rest.token()), ("e", ""));
}

#[tokio::test(start_paused = true)]
async fn list_at_zero_takes_any_version_and_ignores_the_limit() {
    let (server, last) = server();
    server.replica(0).lag(Lag::Frozen(last - 1));
    for query in [
        "resourceVersion=0",
        "resourceVersion=0&resourceVersionMatch=NotOlderThan&limit=2",
    ] {
        let any = list(&server, query).await;
        assert_eq!(
            (any.names().as_str(), any.version(), any.token()),
            ("abcd", last - 1, ""),
            "{query}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn list_at_a_version_is_at_least_that_new_and_waits_three_seconds_for_the_future() {
    let (server, last) = server();
    let fresh = list(&server, &format!("resourceVersion={}", last - 3)).await;
    assert_eq!((fresh.names().as_str(), fresh.version()), ("abcde", last));
    let future = list(&server, &format!("resourceVersion={}", last + 9)).await;
    assert_eq!((future.status, future.took), (504, Duration::from_secs(3)));
    assert_eq!(
        future.message(),
        format!(
            "Timeout: Too large resource version: {}, current: {last}",
            last + 9
        )
    );
    let arrives = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server
            .create("configmaps", json!({"metadata": {"name": "f"}}))
            .expect("created");
    };
    let query = format!("resourceVersion={}", last + 1);
    let (there, ()) = tokio::join!(list(&server, &query), arrives);
    assert_eq!(
        (there.status, there.names().as_str()),
        (200, "abcdef"),
        "it came in time"
    );
}

#[tokio::test(start_paused = true)]
async fn list_at_a_version_with_a_limit_is_exact() {
    let (server, last) = server();
    let page = list(&server, &format!("resourceVersion={}&limit=2", last - 1)).await;
    assert_eq!((page.names().as_str(), page.version()), ("ab", last - 1));
    let rest = list(&server, &format!("limit=9&continue={}", page.token())).await;
    assert_eq!((rest.names().as_str(), rest.version()), ("cd", last - 1));
    server.compact_to(last);
    let gone = list(&server, &format!("resourceVersion={}&limit=2", last - 1)).await;
    assert_eq!(
        (gone.status, gone.body["reason"].as_str()),
        (410, Some("Expired"))
    );
}

#[tokio::test(start_paused = true)]
async fn list_not_older_than_pages_at_the_newest() {
    let (server, last) = server();
    let page = list(
        &server,
        &format!(
            "resourceVersion={}&resourceVersionMatch=NotOlderThan&limit=2",
            last - 3
        ),
    )
    .await;
    assert_eq!((page.names().as_str(), page.version()), ("ab", last));
    assert!(!page.token().is_empty());
}

#[tokio::test(start_paused = true)]
async fn list_exact_reads_the_past_until_it_is_compacted() {
    let (server, last) = server();
    server.delete("configmaps", "default", "a").expect("deleted");
    server
        .patch("configmaps", "default", "b", json!({"data": {"k": "new"}}))
        .expect("patched");
    for (back, names) in [(0, "abcde"), (1, "abcd"), (4, "a"), (5, "")] {
        let version = last - back;
        let then = list(
            &server,
            &format!("resourceVersion={version}&resourceVersionMatch=Exact"),
        )
        .await;
        assert_eq!((then.names().as_str(), then.version()), (names, version));
    }
    let then = list(
        &server,
        &format!("resourceVersion={last}&resourceVersionMatch=Exact"),
    )
    .await;
    assert!(
        then.body["items"][1].get("data").is_none(),
        "the object as it was, too"
    );
    let future = list(
        &server,
        &format!("resourceVersion={}&resourceVersionMatch=Exact", last + 9),
    )
    .await;
    assert_eq!((future.status, future.took), (504, Duration::from_secs(3)));
    server.compact();
    let gone = list(
        &server,
        &format!("resourceVersion={last}&resourceVersionMatch=Exact"),
    )
    .await;
    assert_eq!(
        (gone.status, gone.message()),
        (410, "The resourceVersion for the provided list is too old.")
    );
}

#[tokio::test(start_paused = true)]
async fn a_continued_list_goes_on_at_its_revision_and_has_rules_of_its_own() {
    let (server, last) = server();
    let first = list(&server, "limit=2").await;
    server.delete("configmaps", "default", "c").expect("deleted");
    let token = first.token();
    let second = list(&server, &format!("limit=2&continue={token}")).await;
    assert_eq!(
        (second.names().as_str(), second.version()),
        ("cd", last),
        "deleted since, but there then"
    );
    let other = list(&server, &format!("continue={token}&resourceVersion=5")).await;
    assert_eq!(other.status, 400);
    assert_eq!(
        other.message(),
        "specifying resource version is not allowed when using continue"
    );
    assert_eq!(
        list(&server, &format!("limit=2&resourceVersion=0&continue={token}"))
            .await
            .status,
        200
    );
    let matched = list(&server, &format!("continue={token}&resourceVersionMatch=Exact")).await;
    assert_eq!(matched.status, 422);
    assert_eq!(list(&server, "continue=garbage").await.status, 400);
    server.compact();
    let expired = list(&server, &format!("limit=2&continue={token}")).await;
    assert_eq!(
        (expired.status, expired.body["reason"].as_str()),
        (410, Some("Expired"))
    );
    let rest = list(&server, &format!("limit=2&continue={}", expired.token())).await;
    assert_eq!(
        (rest.status, rest.names().as_str()),
        (200, "de"),
        "the rest of the newest state"
    );
}

#[tokio::test(start_paused = true)]
async fn lists_refuse_what_does_not_go_together() {
    let (server, _) = server();
    for (query, field) in [
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            "resourceVersionMatch",
        ),
        ("resourceVersionMatch=NotOlderThan", "resourceVersionMatch"),
        ("resourceVersionMatch=Exact", "resourceVersionMatch"),
        (
            "resourceVersion=1&resourceVersionMatch=Newest",
            "resourceVersionMatch",
        ),
        ("sendInitialEvents=true", "sendInitialEvents"),
    ] {
        let refused = list(&server, query).await;
        assert_eq!(refused.status, 422, "{query}");
        assert!(refused.fields().contains(&field), "{query}: {refused:?}");
    }
    let garbage = list(&server, "resourceVersion=abc").await;
    assert_eq!(garbage.status, 400);
    assert!(garbage.message().starts_with("invalid resource version: "));
    assert_eq!(list(&server, "limit=abc").await.status, 400);
}

#[tokio::test(start_paused = true)]
async fn a_get_is_at_least_as_new_as_asked() {
    let (server, last) = server();
    let get = |version: u64| {
        let server = server.clone();
        async move {
            server
                .request("GET", &format!("{MAPS}/a?resourceVersion={version}"), "")
                .await
                .0
        }
    };
    assert_eq!(get(0).await, 200);
    assert_eq!(get(last).await, 200);
    assert_eq!(get(last + 1).await, 504);
}

// --- watches ---

#[tokio::test(start_paused = true)]
async fn watch_without_version_sends_the_state_in_key_order() {
    let (server, _) = server();
    server
        .patch("configmaps", "default", "a", json!({"data": {"k": "v"}}))
        .expect("patched");
    for query in [
        "timeoutSeconds=1",
        "timeoutSeconds=1&resourceVersion=",
        "timeoutSeconds=1&resourceVersion=0",
    ] {
        let (_, events, took) = watch(&server, query).await;
        assert_eq!(events, ["+a", "+b", "+c", "+d", "+e"], "{query}");
        assert_eq!(took, Duration::from_secs(1));
    }
}

#[tokio::test(start_paused = true)]
async fn watch_without_version_but_with_bookmarks_also_marks_the_end() {
    let (server, last) = server();
    for query in ["resourceVersion=0", "resourceVersion=", ""] {
        let (_, events, _) = watch(
            &server,
            &format!("timeoutSeconds=1&allowWatchBookmarks=true&{query}"),
        )
        .await;
        let mark = format!("!{last}");
        assert_eq!(
            events[..6],
            ["+a", "+b", "+c", "+d", "+e", mark.as_str()],
            "{query}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_streaming_list_is_as_new_as_its_request() {
    let (server, last) = server();
    const STREAM: &str = "timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    let mark = format!("!{last}");
    for version in [
        String::new(),
        "&resourceVersion=0".to_owned(),
        format!("&resourceVersion={}", last - 2),
    ] {
        let (_, events, _) = watch(&server, &format!("{STREAM}&allowWatchBookmarks=true{version}")).await;
        assert_eq!(
            events[..6],
            ["+a", "+b", "+c", "+d", "+e", mark.as_str()],
            "{version}"
        );
        let (_, events, _) = watch(&server, &format!("{STREAM}{version}")).await;
        assert_eq!(
            events,
            ["+a", "+b", "+c", "+d", "+e"],
            "no bookmarks asked for, none sent: {version}"
        );
    }
    let (status, events, took) = watch(&server, &format!("{STREAM}&resourceVersion={}", last + 9)).await;
    assert_eq!((status, events), (200, vec!["?504".to_owned()]));
    assert_eq!(took, Duration::from_secs(3));
    server.replica(0).lag(Lag::Frozen(last - 1));
    let (_, events, _) = watch(&server, STREAM).await;
    assert_eq!(
        events,
        ["?504"],
        "a replica that does not catch up can't serve a consistent one"
    );
}

#[tokio::test(start_paused = true)]
async fn watch_from_zero_without_initial_events_starts_now() {
    let (server, last) = server();
    let query =
        "timeoutSeconds=5&resourceVersion=0&sendInitialEvents=false&resourceVersionMatch=NotOlderThan";
    let change = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        server.delete("configmaps", "default", "c").expect("deleted");
    };
    let ((_, events, _), ()) = tokio::join!(watch(&server, query), change);
    assert_eq!(events, ["-c"]);
    assert!(server.revision() > last);
}

#[tokio::test(start_paused = true)]
async fn watch_from_a_version_sends_what_came_after_or_says_it_is_gone_or_waits() {
    let (server, last) = server();
    let (_, events, _) = watch(&server, &format!("timeoutSeconds=1&resourceVersion={}", last - 2)).await;
    assert_eq!(events, ["+d", "+e"]);
    let (status, events, took) = watch(
        &server,
        &format!("timeoutSeconds=7&resourceVersion={}", last + 99),
    )
    .await;
    assert_eq!(
        (status, events.len(), took),
        (200, 0, Duration::from_secs(7)),
        "the future is silence"
    );
    server.compact_to(last - 1);
    let (status, events, took) =
        watch(&server, &format!("timeoutSeconds=7&resourceVersion={}", last - 2)).await;
    assert_eq!(
        (status, events, took),
        (200, vec!["?410".to_owned()], Duration::ZERO)
    );
    let (_, events, _) = watch(&server, &format!("timeoutSeconds=1&resourceVersion={}", last - 1)).await;
    assert_eq!(events, ["+e"], "the oldest version that is left");
    let (status, body, _) = watch(&server, "resourceVersion=abc").await;
    assert_eq!(status, 500);
    assert!(!body[0].contains("\"reason\""), "{body:?}");
}

#[tokio::test(start_paused = true)]
async fn watches_refuse_what_does_not_go_together() {
    let (server, _) = server();
    for query in [
        "sendInitialEvents=true",
        "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=5",
        "resourceVersionMatch=NotOlderThan&resourceVersion=5",
    ] {
        assert_eq!(watch(&server, query).await.0, 422, "{query}");
    }
    let old = ApiServer::builder().watch_list(false).build();
    let (status, body, _) = watch(&old, "sendInitialEvents=true&resourceVersionMatch=NotOlderThan").await;
    assert_eq!(status, 422);
    assert!(body[0].contains("unless the WatchList feature gate is enabled"));
    let (_, events, _) = watch(
        &old,
        "timeoutSeconds=1&allowWatchBookmarks=true&resourceVersion=0",
    )
    .await;
    assert!(
        events.iter().all(|event| !event.starts_with('!')),
        "old servers mark no end either: {events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn bookmarks_come_each_minute_and_before_the_end_and_follow_other_kinds() {
    let (server, last) = server();
    let change = async {
        tokio::time::sleep(Duration::from_secs(61)).await;
        server
            .create("secrets", json!({"metadata": {"name": "s"}}))
            .expect("created");
    };
    let query = format!("timeoutSeconds=150&allowWatchBookmarks=true&resourceVersion={last}");
    let ((_, events, took), ()) = tokio::join!(watch(&server, &query), change);
    assert_eq!(
        events,
        [
            format!(".{last}"),
            format!(".{}", last + 1),
            format!(".{}", last + 1)
        ]
    );
    assert_eq!(took, Duration::from_secs(150));
    let (_, events, _) = watch(&server, &format!("timeoutSeconds=150&resourceVersion={last}")).await;
    assert!(events.is_empty(), "only if asked for");
    let often = ApiServer::builder()
        .bookmark_every(Duration::from_secs(10))
        .build();
    let (_, events, _) = watch(
        &often,
        "timeoutSeconds=35&allowWatchBookmarks=true&resourceVersion=0",
    )
    .await;
    assert_eq!(
        events.len(),
        1 + 3 + 1,
        "the mark, then at 10, 20, 30 and 33 s: {events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn objects_enter_and_leave_a_selector() {
    let (server, last) = server();
    let relabel = |name: &str, odd: &str| {
        server
            .patch(
                "configmaps",
                "default",
                name,
                json!({"metadata": {"labels": {"odd": odd}}}),
            )
            .expect("patched")
    };
    relabel("a", "false");
    relabel("b", "true");
    server
        .patch("configmaps", "default", "c", json!({"data": {"k": "v"}}))
        .expect("patched");
    server
        .patch("configmaps", "default", "d", json!({"data": {"k": "v"}}))
        .expect("patched");
    server.delete("configmaps", "default", "e").expect("deleted");
    let uri = format!("{MAPS}?watch=1&labelSelector=odd%3Dtrue&timeoutSeconds=1&resourceVersion={last}");
    let (_, events, _) = watch(&server, uri.split_once('?').expect("a query").1).await;
    assert_eq!(events, ["-a", "+b", "~c", "-e"]);
    let body = server.request("GET", &uri, "").await.1;
    let left: Value = serde_json::from_str(body.lines().next().expect("a line")).expect("JSON");
    assert_eq!(
        left["object"]["metadata"]["labels"]["odd"], "true",
        "as it was inside the selector"
    );
    assert_eq!(
        left["object"]["metadata"]["resourceVersion"],
        (last + 1).to_string(),
        "under the event's version"
    );
}

#[tokio::test(start_paused = true)]
async fn one_object_is_followed_by_field_selector_or_by_its_old_path() {
    let (server, _) = server();
    let (_, events, _) = watch(&server, "timeoutSeconds=1&fieldSelector=metadata.name%3Db").await;
    assert_eq!(events, ["+b"]);
    let old = "/api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1";
    assert_eq!(server.request("GET", old, "").await.1.lines().count(), 1);
}

#[tokio::test(start_paused = true)]
async fn shards_share_the_objects_out() {
    let server = ApiServer::new();
    let mut rng = fastrand::Rng::with_seed(5);
    server
        .load((0..40).map(|i| informer_testkit::generate::config_map(i, &mut rng)))
        .expect("loaded");
    let half = |from: &str, to: &str| {
        let selector = format!("shardRange(object.metadata.uid, '{from}', '{to}')");
        form(&selector)
    };
    fn form(text: &str) -> String {
        text.replace(' ', "%20")
            .replace('\'', "%27")
            .replace('(', "%28")
            .replace(')', "%29")
            .replace(',', "%2C")
    }
    let (low, high) = ("0x0000000000000000", "0x8000000000000000");
    let mut sizes = Vec::new();
    for (from, to) in [(low, high), (high, "0x10000000000000000")] {
        let uri = format!("/api/v1/configmaps?shardSelector={}", half(from, to));
        let list: Value = serde_json::from_str(&server.request("GET", &uri, "").await.1).expect("JSON");
        let count = list["items"].as_array().expect("items").len();
        assert!(list["metadata"]["shardInfo"]["selector"].is_string());
        let uri = format!("{uri}&watch=1&timeoutSeconds=1");
        assert_eq!(
            server.request("GET", &uri, "").await.1.lines().count(),
            count,
            "a watch sees the same"
        );
        sizes.push(count);
    }
    assert_eq!(sizes.iter().sum::<usize>(), 40);
    assert!(sizes.iter().all(|size| *size > 5), "{sizes:?}");
    let bad = format!("/api/v1/configmaps?shardSelector={}", half("0x0", high));
    assert_eq!(server.request("GET", &bad, "").await.0, 500);
}

#[tokio::test(start_paused = true)]
async fn history_is_bounded_by_count_and_by_age() {
    let few = ApiServer::builder().history(3, Duration::MAX).build();
    let start = few.revision();
    for name in ["a", "b", "c", "d"] {
        few.create("configmaps", json!({"metadata": {"name": name}}))
            .expect("created");
    }
    let (_, events, _) = watch(&few, &format!("timeoutSeconds=1&resourceVersion={start}")).await;
    assert_eq!(events, ["?410"]);
    let (_, events, _) = watch(&few, &format!("timeoutSeconds=1&resourceVersion={}", start + 1)).await;
    assert_eq!(events, ["+b", "+c", "+d"]);

    let young = ApiServer::builder()
        .history(1000, Duration::from_secs(75))
        .build();
    let start = young.revision();
    young
        .create("configmaps", json!({"metadata": {"name": "a"}}))
        .expect("created");
    tokio::time::advance(Duration::from_secs(76)).await;
    young
        .create("configmaps", json!({"metadata": {"name": "b"}}))
        .expect("created");
    let (_, events, _) = watch(&young, &format!("timeoutSeconds=1&resourceVersion={start}")).await;
    assert_eq!(events, ["?410"]);
    let (_, events, _) = watch(&young, &format!("timeoutSeconds=1&resourceVersion={}", start + 1)).await;
    assert_eq!(events, ["+b"]);
}

#[tokio::test(start_paused = true)]
async fn a_slow_watcher_is_cut_off_without_an_error_and_others_are_not() {
    use futures::{StreamExt, TryStreamExt};
    use k8s_openapi::api::core::v1::ConfigMap;
    use kube_client::{Api, api::WatchEvent, api::WatchParams};

    let server = ApiServer::builder().watch_queue(10).build();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let params = WatchParams {
        bookmarks: false,
        ..WatchParams::default()
    };
    let from = server.revision().to_string();
    let mut slow = maps.watch(&params, &from).await.expect("a watch").boxed();
    let mut quick = maps.watch(&params, &from).await.expect("a watch").boxed();
    for i in 0..11 {
        server
            .create("configmaps", json!({"metadata": {"name": format!("m{i}")}}))
            .expect("created");
        assert!(matches!(quick.try_next().await, Ok(Some(WatchEvent::Added(_)))));
    }
    assert!(slow.try_next().await.expect("no error").is_none(), "cut off");
    server
        .create("configmaps", json!({"metadata": {"name": "last"}}))
        .expect("created");
    assert!(matches!(quick.try_next().await, Ok(Some(WatchEvent::Added(_)))));
}
