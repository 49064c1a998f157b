//! Objects that leave, kinds that are away, and what is of another kind.

use std::time::Duration;

use futures::{FutureExt, StreamExt};
use informer_reflector::{ApiListWatch, Reflector};
use informer_store::{Cache, Change};
use informer_testkit::ApiServer;
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::core::{ApiResource, DynamicObject};
use serde_json::json;

use crate::support::*;

const KIND: &str = "configmaps";

fn abc() -> Answer {
    Answer::list("10", &[object("a", 3), object("b", 5)])
}

#[tokio::test(start_paused = true)]
async fn p19_an_object_that_leaves_the_selector_is_deleted() {
    let server = Server::script(vec![abc()], vec![Answer::watch([deleted("a", 12)])]);
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists().labels("app=web,tier!=db"),
        |b| b,
    );
    rig.run(10).await;
    assert_eq!(rig.store.log(), ["replace 2@10", "delete a@12"]);
    for seen in rig.server.seen() {
        assert_eq!(
            seen.param("labelSelector").as_deref(),
            Some("app%3Dweb%2Ctier%21%3Ddb")
        );
    }
}

/// A watch tells of an object that has left the selector as of one that is gone. What can be known of the difference is
/// said with the deletion.
#[tokio::test(start_paused = true)]
async fn p19_a_deletion_says_whether_the_object_may_only_have_left_the_selector() {
    let mark = r#""deletionTimestamp":"2026-01-01T00:00:00Z","uid""#;
    let marked = object("b", 13).replace(r#""uid""#, mark);
    let selectors: [(Select, bool); 4] = [
        (|source| source.labels("app=web"), true),
        (|source| source.labels("").fields(""), false),
        (|source| source.fields("metadata.name!=c"), true),
        (|source| source, false),
    ];
    for (select, selects) in selectors {
        let list = Answer::list("10", &[object("a", 3), object("b", 5), object("c", 7)]);
        let watch = Answer::watch([
            deleted("a", 12),
            event("DELETED", &marked),
            // Its last state cannot be decoded.
            event("DELETED", &poison("c", 14)),
        ]);
        let server = Server::script(vec![list], vec![watch]);
        let source = ApiListWatch::<ConfigMap>::all(server.client()).no_streaming_lists();
        let hints = hints_of(select(source), std::future::ready(())).await;
        let expected = [("a", selects), ("b", false), ("c", selects)];
        assert_eq!(hints, expected.map(|(name, hint)| (name.to_owned(), hint)));
    }
}

#[tokio::test(start_paused = true)]
async fn p19_an_object_whose_labels_change_may_live_on() {
    let server = ApiServer::new();
    for name in ["marked", "moves", "stays"] {
        let labels = json!({"app": "web"});
        let mut object = json!({"metadata": {"name": name, "namespace": "default", "labels": labels}});
        if name == "marked" {
            object["metadata"]["finalizers"] = json!(["example.com/held"]);
        }
        server.create(KIND, object).expect("the object is new");
    }
    let source = ApiListWatch::<ConfigMap>::all(server.client()).labels("app=web");
    let hints = hints_of(source, async {
        let patch = |name, patch| server.patch(KIND, "default", name, patch).expect("it is there");
        patch("moves", json!({"metadata": {"labels": {"app": "db"}}}));
        server.delete(KIND, "default", "marked").expect("it is there");
        patch("marked", json!({"metadata": {"finalizers": null}}));
    });
    assert_eq!(
        hints.await,
        [("marked".to_owned(), false), ("moves".to_owned(), true)]
    );
}

type Source = ApiListWatch<ConfigMap>;
type Select = fn(Source) -> Source;

/// Runs a reflector, has `happen` happen once it is in sync, and tells which objects were deleted, and whether each may
/// have left the selector.
async fn hints_of(source: Source, happen: impl Future<Output = ()> + Send) -> Vec<(String, bool)> {
    let cache = Cache::new();
    let mut changes = cache.subscribe();
    let reflector = Reflector::builder(source, cache.clone()).seed(7).build();
    let done = async {
        cache.synced().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        happen.await;
        tokio::time::sleep(Duration::from_secs(5)).await;
    };
    reflector.run(done).await.expect("nothing ends the run");
    let mut hints = Vec::new();
    while let Some(Some(change)) = changes.next().now_or_never() {
        if let Change::Deleted {
            key, left_selector, ..
        } = change
        {
            hints.push((key.name().to_owned(), left_selector));
        }
    }
    hints.sort();
    hints
}

#[tokio::test(start_paused = true)]
async fn p20_a_kind_that_is_away_is_found_again_within_a_minute() {
    for (code, reason, state) in [
        (404, "NotFound", "degraded not-found"),
        (500, "InternalError", "degraded server-error"),
    ] {
        let start = tokio::time::Instant::now();
        let server = Server::new(move |seen| {
            let away = seen.at - start < Duration::from_secs(600);
            match (seen.is_watch(), away) {
                (_, true) => Answer::failure(code, reason, "away"),
                (true, false) => Answer::watch([]),
                (false, false) => abc(),
            }
        });
        let rig = Rig::new(server);
        rig.run(600).await;
        assert!(
            rig.server.busiest_minute() <= 8,
            "{}",
            rig.server.busiest_minute()
        );
        assert!(rig.states().contains(&state.to_owned()), "{:?}", rig.states());
        rig.run(60).await;
        assert_eq!(rig.store.contents(), ["a@3", "b@5"]);
    }
}

#[tokio::test(start_paused = true)]
async fn p21_another_kind_is_refused() {
    let table = r#"{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"10"},"columnDefinitions":[],"rows":[]}"#;
    let other = list("10", &[object("a", 3)]).replace("ConfigMapList", "SecretList");
    for wrong in [table.to_owned(), other] {
        let server = Server::script(vec![Answer::ok([text(wrong)])], vec![Answer::watch([])]);
        let rig = Rig::plain(server);
        rig.run(60).await;
        assert_eq!(rig.store.replaced(), 0);
        assert!(
            rig.states().contains(&"degraded wrong-kind".to_owned()),
            "{:?}",
            rig.states()
        );
        assert!(rig.server.busiest_minute() <= 8);
    }
    let server = Server::script(
        vec![abc()],
        vec![
            Answer::watch([event("ADDED", table), modified("a", 11)]),
            Answer::watch([modified("a", 11)]),
        ],
    );
    let rig = Rig::plain(server);
    rig.run(60).await;
    assert_eq!(rig.store.contents(), ["a@11", "b@5"]);
}

#[tokio::test(start_paused = true)]
async fn an_item_without_a_version_is_set_apart() {
    let item = object("b", 4).replace(r#","resourceVersion":"4""#, "");
    let rig = Rig::plain(Server::script(
        vec![Answer::list("10", &[object("a", 3), item])],
        vec![Answer::watch([])],
    ));
    rig.run(5).await;
    assert_eq!(rig.store.contents(), ["a@3"]);
    assert_eq!(rig.reflector.quarantined().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn p21_one_stray_object_of_another_kind_is_set_apart_and_the_rest_flows() {
    let stray = |name: &str, version| object(name, version).replace("ConfigMap", "Secret");
    let rig = Rig::plain(Server::script(
        vec![Answer::list("10", &[object("a", 3), stray("s", 4)])],
        vec![Answer::watch([
            event("ADDED", &stray("t", 11)),
            added("b", 12),
            event("MODIFIED", &stray("t", 13)),
        ])],
    ));
    rig.run(10).await;
    assert_eq!(rig.store.contents(), ["a@3", "b@12"]);
    assert_eq!(rig.server.seen().len(), 2);
    assert_eq!(rig.reflector.resource_version().to_string(), "13");
    let apart: Vec<_> = rig
        .reflector
        .quarantined()
        .into_iter()
        .filter_map(|entry| entry.key)
        .collect();
    assert_eq!(apart.iter().map(|key| key.name()).collect::<Vec<_>>(), ["s", "t"]);
}

/// The kind's name is not asked for: it shows in the first object whose plural is what was asked for.
#[tokio::test(start_paused = true)]
async fn p21_a_stray_object_is_told_even_where_the_kind_was_given_by_its_plural_alone() {
    let stray = object("s", 11).replace("ConfigMap", "Secret");
    let server = Server::script(
        vec![Answer::list("10", &[object("a", 3)])],
        vec![Answer::watch([event("ADDED", &stray), added("b", 12)])],
    );
    let kind = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: String::new(),
        plural: "configmaps".into(),
    };
    let cache = Cache::<DynamicObject>::new();
    let source = ApiListWatch::dynamic(server.client(), &kind).no_streaming_lists();
    let reflector = Reflector::builder(source, cache.clone()).build();
    let end = tokio::time::sleep(Duration::from_secs(10));
    reflector
        .run(end)
        .await
        .expect("nothing a server does ends a run");
    assert_eq!(cache.len(), 2);
    assert_eq!(reflector.quarantined().len(), 1);
}

/// Some extension servers answer in no other form than whole objects: probes and audits make do with those.
#[tokio::test(start_paused = true)]
async fn p5_and_p7_a_server_that_knows_no_metadata_is_probed_and_audited_all_the_same() {
    let mut first = Some(bookmark("10"));
    let server = Server::new(move |seen| {
        if seen.is_watch() {
            return Answer::watch(first.take());
        }
        let forms = seen.accept.split(',').map(|form| form.split(";q=").next());
        if !forms.flatten().any(|form| form == "application/json") {
            return Answer::failure(406, "NotAcceptable", "only application/json");
        }
        Answer::list("10", &[object("a", 3), object("b", 5)])
    });
    let rig = Rig::with(
        server,
        |source| source.no_streaming_lists(),
        |builder| builder.audit(std::time::Duration::from_secs(40)),
    );
    rig.run(400).await;
    let stats = rig.reflector.stats();
    assert!(stats.probes > 0 && stats.audits > 0, "{stats:?}");
    assert_eq!((stats.retries, stats.lists), (0, 1), "{stats:?}");
}
