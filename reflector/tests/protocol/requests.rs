//! What is asked for, request by request.

use std::time::Duration;

use informer_reflector::{ApiListWatch, InitialRead, Json, Reflector, Shard, ShardField, StreamingLists};
use k8s_openapi::api::core::v1::{ConfigMap, Node, Pod};
use kube_client::core::{ApiResource, DynamicObject, GroupVersionKind, metadata::PartialObjectMeta};

use crate::support::*;

const ROOT: &str = "/api/v1/namespaces/default/configmaps";

/// Plays a script and compares everything that was asked for, without the random time-outs.
async fn check(
    server: Server,
    build: impl FnOnce(
        informer_reflector::ReflectorBuilder<ConfigMap>,
    ) -> informer_reflector::ReflectorBuilder<ConfigMap>,
    expect: &[&str],
) {
    let rig = Rig::with(server, |source| source, build);
    rig.run(10).await;
    let asked: Vec<_> = rig
        .server
        .seen()
        .iter()
        .map(|seen| without_timeout(&seen.uri))
        .collect();
    let expect: Vec<_> = expect.iter().map(|query| format!("{ROOT}{query}")).collect();
    assert_eq!(asked, expect);
}

fn without_timeout(uri: &str) -> String {
    let kept: Vec<_> = uri
        .split('&')
        .filter(|pair| !pair.starts_with("timeoutSeconds="))
        .collect();
    kept.join("&")
}

fn expired() -> Answer {
    Answer::ok([expired_event()])
}

#[tokio::test(start_paused = true)]
async fn the_plain_way() {
    check(
        Server::script(
            vec![Answer::list("10", &[]), Answer::list("20", &[])],
            vec![expired(), Answer::watch([])],
        ),
        |builder| builder.streaming_lists(StreamingLists::Off),
        &[
            "?limit=500",
            "?watch=true&allowWatchBookmarks=true&resourceVersion=10",
            "?resourceVersion=10&resourceVersionMatch=NotOlderThan",
            "?watch=true&allowWatchBookmarks=true&resourceVersion=20",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_streaming_way() {
    let first = Answer::ok([initial_end("10"), expired_event()]);
    check(
        Server::script(vec![], vec![first, Answer::watch([initial_end("20")])]),
        |builder| builder,
        &[
            "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
            "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=10",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn any_version_will_do_at_first() {
    check(
        Server::script(vec![Answer::list("10", &[])], vec![Answer::watch([])]),
        |builder| {
            builder
                .streaming_lists(StreamingLists::Off)
                .initial_read(InitialRead::Any)
        },
        &[
            "?resourceVersion=0",
            "?watch=true&allowWatchBookmarks=true&resourceVersion=10",
        ],
    )
    .await;
    check(
        Server::script(vec![], vec![Answer::watch([initial_end("10")])]),
        |builder| builder.initial_read(InitialRead::Any),
        &["?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&resourceVersion=0"],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn pages_carry_the_token_and_no_version() {
    let server = Server::new(
        |seen| match (seen.is_watch(), seen.param("continue").as_deref()) {
            (true, _) => Answer::watch([]),
            (_, None) => Answer::ok([text(page("10", "t1", &[object("a", 3)]))]),
            (_, Some("t1")) => Answer::ok([text(page("10", "t2", &[object("b", 4)]))]),
            _ => Answer::list("10", &[object("c", 5)]),
        },
    );
    check(
        server,
        |builder| builder.streaming_lists(StreamingLists::Off).page_size(Some(1)),
        &[
            "?limit=1",
            "?continue=t1&limit=1",
            "?continue=t2&limit=1",
            "?watch=true&allowWatchBookmarks=true&resourceVersion=10",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_server_that_pages_unasked_is_asked_for_pages_from_then_on() {
    let server = Server::new(
        |seen| match (seen.is_watch(), seen.param("continue").as_deref()) {
            (true, _) if seen.param("resourceVersion").as_deref() == Some("10") => expired(),
            (true, _) => Answer::watch([]),
            (_, None) if seen.param("resourceVersion").as_deref() == Some("0") => {
                Answer::ok([text(page("10", "t1", &[object("a", 3)]))])
            }
            (_, None) => Answer::list("20", &[object("a", 3)]),
            _ => Answer::list("10", &[object("b", 4)]),
        },
    );
    check(
        server,
        |builder| {
            builder
                .streaming_lists(StreamingLists::Off)
                .initial_read(InitialRead::Any)
        },
        &[
            "?resourceVersion=0",
            "?continue=t1",
            "?watch=true&allowWatchBookmarks=true&resourceVersion=10",
            "?resourceVersion=10&resourceVersionMatch=NotOlderThan&limit=500",
            "?watch=true&allowWatchBookmarks=true&resourceVersion=20",
        ],
    )
    .await;
}

#[tokio::test(start_paused = true)]
async fn watch_timeouts_are_jittered_between_one_and_two_times_the_base() {
    let server = Server::script(
        vec![Answer::list("10", &[])],
        vec![Answer::ok([modified("a", 1), pause(30)])],
    );
    let rig = Rig::plain(server);
    rig.run(300).await;
    let asked: Vec<u64> = rig
        .server
        .watches()
        .iter()
        .map(|watch| {
            watch
                .param("timeoutSeconds")
                .and_then(|text| text.parse().ok())
                .expect("a number")
        })
        .collect();
    assert!(
        asked.iter().all(|seconds| (300..600).contains(seconds)),
        "{asked:?}"
    );
    assert!(asked.windows(2).any(|pair| pair[0] != pair[1]));
}

async fn first_request<K: informer_store::Object>(source: ApiListWatch<K>, server: &Server) -> Seen {
    let reflector = Reflector::builder(source.no_streaming_lists(), informer_store::Cache::new()).build();
    let shutdown = tokio::time::sleep(Duration::from_secs(1));
    reflector.run(shutdown).await.expect("nothing ends the run");
    server.seen().remove(0)
}

#[tokio::test(start_paused = true)]
async fn every_kind_of_kind_has_its_address_and_type() {
    let server = || Server::script(vec![Answer::Never], vec![]);

    let it = server();
    let seen = first_request(ApiListWatch::<Node>::all(it.client()), &it).await;
    assert_eq!(seen.uri, "/api/v1/nodes?limit=500");
    assert_eq!(seen.accept, "application/json");

    let it = server();
    let seen = first_request(
        ApiListWatch::<PartialObjectMeta<Pod>>::namespaced(it.client(), "x"),
        &it,
    )
    .await;
    assert_eq!(seen.uri, "/api/v1/namespaces/x/pods?limit=500");
    assert_eq!(
        seen.accept,
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
    );

    let it = server();
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("example.com", "v1", "Foo"));
    let seen = first_request(ApiListWatch::<DynamicObject>::dynamic(it.client(), &kind), &it).await;
    assert_eq!(seen.uri, "/apis/example.com/v1/foos?limit=500");

    let it = server();
    let source = ApiListWatch::<Pod>::all(it.client())
        .labels("a in (b,c)")
        .fields("spec.nodeName=n");
    let seen = first_request(source, &it).await;
    assert_eq!(
        seen.uri,
        "/api/v1/pods?labelSelector=a%20in%20%28b%2Cc%29&fieldSelector=spec.nodeName%3Dn&limit=500"
    );
}

#[tokio::test(start_paused = true)]
async fn a_shard_is_asked_for_and_filtered_where_the_server_does_not() {
    let whole: Vec<_> = (0..40_u64)
        .map(|n| object_of(&format!("o{n}"), &uid(n), n + 1))
        .collect();
    let mut seen_by_any = 0;
    for index in 0..4 {
        let server = Server::script(
            vec![Answer::list("100", &whole)],
            vec![Answer::watch([event("ADDED", &object_of("late", &uid(99), 101))])],
        );
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists().shard(Shard::nth(index, 4)),
            |b| b,
        );
        rig.run(5).await;
        let asked = rig.server.lists()[0]
            .param("shardSelector")
            .expect("the shard is asked for");
        assert!(
            asked.starts_with("shardRange%28object.metadata.uid%2C%20%270x"),
            "{asked}"
        );
        seen_by_any += rig.store.contents().len();
        assert!(rig.store.contents().len() < 30);
        assert_eq!(
            rig.reflector.resource_version().to_string(),
            "101",
            "the version goes on"
        );
    }
    assert_eq!(seen_by_any, 41, "every object in one shard");
}

/// Looks as random as a real one.
fn uid(n: u64) -> String {
    format!("{:016x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))
}

#[test]
fn shards_cover_everything_once_in_the_form_a_server_takes() {
    assert_eq!(
        Shard::nth(0, 2).selector(),
        "shardRange(object.metadata.uid, '0x0000000000000000', '0x8000000000000000')"
    );
    assert_eq!(
        Shard::nth(1, 2).by(ShardField::Namespace).selector(),
        "shardRange(object.metadata.namespace, '0x8000000000000000', '0x10000000000000000')"
    );
    // A real server put this object in the lower half and that one in the upper.
    assert!(Shard::nth(0, 2).has("efe496d6-fbc2-45fc-9f71-fad063a4d22d", ""));
    assert!(Shard::nth(1, 2).has("b1fc3ffb-f372-44a6-9126-060d34af6795", ""));
}

#[tokio::test(start_paused = true)]
async fn what_is_hidden_is_hidden_and_the_rest_is_not() {
    use informer_reflector::Decode;

    let json = r#"{"metadata":{"name":"p","managedFields":[{"manager":"m"}],"annotations":{"keep":"1","kubectl.kubernetes.io/last-applied-configuration":"{}"}},"spec":{"containers":[{"name":"c","env":[{"name":"A","value":"1"}]},{"name":"d"}],"nodeName":"n"}}"#;
    let decode = |decoder: Json<Pod>| decoder.decode(json.as_bytes()).expect("a pod");
    let pod = decode(Json::new());
    assert!(pod.metadata.managed_fields.is_none());
    assert_eq!(pod.metadata.annotations.as_ref().map(|all| all.len()), Some(2));
    let pod = decode(Json::whole());
    assert_eq!(pod.metadata.managed_fields.as_ref().map(Vec::len), Some(1));
    let pod = decode(
        Json::new()
            .hide([
                "metadata",
                "annotations",
                "kubectl.kubernetes.io/last-applied-configuration",
            ])
            .hide(["spec", "containers", "env"]),
    );
    assert_eq!(pod.metadata.annotations.as_ref().map(|all| all.len()), Some(1));
    let spec = pod.spec.expect("the spec is there");
    assert_eq!(spec.node_name.as_deref(), Some("n"));
    assert!(spec.containers.iter().all(|container| container.env.is_none()));
    assert_eq!(spec.containers.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_resync_is_spread_over_its_period_and_heeds_no_relist() {
    let server = Server::new(|seen| {
        if seen.is_watch() {
            return match seen.param("resourceVersion").as_deref() {
                Some("10") => Answer::ok([pause(33), expired_event()]),
                _ => Answer::watch([]),
            };
        }
        Answer::list(
            if seen.param("resourceVersion").is_some() {
                "20"
            } else {
                "10"
            },
            &[object("a", 3)],
        )
    });
    let rig = Rig::plain_with(server, |builder| builder.resync(Duration::from_secs(10)));
    rig.run(65).await;
    let parts: Vec<_> = rig
        .store
        .log()
        .into_iter()
        .filter(|entry| entry.starts_with("resync"))
        .collect();
    assert_eq!(parts.len(), 64);
    for (nth, part) in parts.iter().enumerate() {
        assert_eq!(*part, format!("resync {}/10", nth % 10));
    }
}

/// Of a line that makes no sense nobody can say that it is another shard's.
#[tokio::test(start_paused = true)]
async fn an_event_whose_uid_cannot_be_read_is_not_left_to_other_shards() {
    let all = [object("a", 3), object("b", 5), object("c", 6), object("d", 7)];
    let mut lists = 0;
    for index in 0..3 {
        let garbled = object("a", 12).replace(r#""uid""#, r#",,"uid""#);
        let server = Server::script(
            vec![Answer::list("10", &all)],
            vec![
                Answer::watch([event("MODIFIED", &garbled), bookmark("13")]),
                Answer::watch([]),
            ],
        );
        let rig = Rig::with(
            server,
            |source| source.no_streaming_lists().shard(Shard::nth(index, 3)),
            |builder| builder,
        );
        rig.run(5).await;
        assert_eq!(rig.reflector.stats().unreadable, 1, "shard {index}");
        assert_eq!(rig.reflector.resource_version().to_string(), "10", "I3");
        lists += rig.server.lists().len();
    }
    assert_eq!(lists, 3);
}
