//! Every fault against every way to begin, one source and several, objects read whole, as metadata and as they come:
//! once it is calm the cache is the server again, and a handler was told all of it, nothing twice.

use std::{collections::BTreeMap, time::Duration};

use futures::{FutureExt, StreamExt};
use informer_reflector::{ApiListWatch, Compression, Reflector, StreamingLists};
use informer_store::{Cache, Change, Object};
use informer_testkit::{ApiServer, Fault, On, Verb};
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::{
    Client,
    core::{ApiResource, DynamicObject, PartialObjectMeta},
};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::time::sleep;

const KIND: &str = "configmaps";
const NAMESPACES: [&str; 2] = ["default", "kube-system"];

/// `namespace/name` to version.
type Contents = BTreeMap<String, String>;

fn faults() -> Vec<(On, Fault)> {
    let (any, list, watch) = (|| On::any().resource(KIND), || On::list(KIND), || On::watch(KIND));
    let drip = || Fault::Drip {
        bytes: 1,
        every: Duration::from_secs(10),
    };
    let bookmark = |version: &str| Fault::BookmarkVersion {
        version: version.into(),
    };
    let error = |code| Fault::ErrorEvent {
        code,
        reason: None,
        message: None,
    };
    vec![
        (watch(), Fault::CutAt { byte: 5000 }),
        (watch(), Fault::ResetAt { byte: 3000 }),
        (watch(), Fault::EofAt { byte: 2500 }),
        (watch(), Fault::EofAt { byte: 0 }),
        (watch().times(2), Fault::StallAt { byte: 2500 }),
        (list().times(3), Fault::EofAt { byte: 2500 }),
        (list().times(2), Fault::StallAt { byte: 2500 }),
        (watch().skip(5).times(3), Fault::TruncateLine),
        (
            watch().skip(5).times(6),
            Fault::raw_line("{\"type\":\"ADDED\",\"obj\n"),
        ),
        (watch().skip(12).times(2), Fault::StallBefore),
        (any().times(4), Fault::Hang),
        (list().times(2), drip()),
        (watch().times(2), drip()),
        (any().times(12), Fault::Refuse),
        (any().times(4), Fault::Html { code: 200 }),
        (any().times(4), Fault::Html { code: 502 }),
        (any().times(3), Fault::status(401)),
        (any().times(3), Fault::status(403)),
        (any(), Fault::status(404)),
        (any(), Fault::status(500)),
        (any().times(3), Fault::too_many_requests("100000")),
        (
            any().times(6),
            Fault::Latency {
                delay: Duration::from_secs(65),
            },
        ),
        (any().times(6), Fault::Panic),
        (any().times(7), Fault::Gone),
        (any().times(5), Fault::TooLargeVersion),
        (watch().times(30), Fault::CloseBefore),
        (watch().skip(4).times(5), Fault::GoneEvent),
        (watch().skip(4).times(4), error(500)),
        (watch().skip(4).times(4), error(504)),
        (watch(), bookmark("")),
        (watch(), bookmark("1")),
        (watch().times(2), bookmark("99999999")),
        (watch(), Fault::NoBookmarks),
        (watch(), Fault::NoInitialEventsEnd),
        (watch(), Fault::WatchListRefused { in_stream: false }),
        (watch(), Fault::WatchListRefused { in_stream: true }),
        (watch(), Fault::DuplicateEvent),
        (watch().skip(4).times(3), Fault::UnknownType),
        (
            watch().skip(5).times(2),
            Fault::EventVersion {
                version: String::new(),
            },
        ),
        (
            watch().name("m03").times(4),
            Fault::OversizeLine { bytes: 20 << 20 },
        ),
        (list(), Fault::RepeatContinue),
        (list(), Fault::ContinueExpired),
        (
            list().times(2),
            Fault::ListVersion {
                version: String::new(),
            },
        ),
        (On::any().name("m03"), Fault::Undecodable),
    ]
}

fn text(object: &Value, field: &str) -> String {
    object["metadata"][field].as_str().unwrap_or_default().to_owned()
}

fn contents(server: &ApiServer) -> Contents {
    let objects = server.list(KIND, None);
    objects
        .iter()
        .map(|object| {
            let key = format!("{}/{}", text(object, "namespace"), text(object, "name"));
            (key, text(object, "resourceVersion"))
        })
        .collect()
}

fn put(server: &ApiServer, namespace: &str, name: &str, value: u32) {
    let data = json!({"v": value.to_string()});
    if server.get(KIND, namespace, name).is_some() {
        server
            .patch(KIND, namespace, name, json!({"data": data}))
            .expect("it is there");
    } else {
        let metadata = json!({"name": name, "namespace": namespace});
        server
            .create(KIND, json!({"metadata": metadata, "data": data}))
            .expect("it is new");
    }
}

fn step(server: &ApiServer, rng: &mut fastrand::Rng) {
    let namespace = NAMESPACES[rng.usize(..NAMESPACES.len())];
    let name = format!("m{:02}", rng.u8(0..30));
    if rng.u8(0..6) == 0 && server.get(KIND, namespace, &name).is_some() {
        server.delete(KIND, namespace, &name).expect("it is there");
    } else {
        put(server, namespace, &name, rng.u32(..));
    }
}

/// The busiest minute of the requests for the kind.
fn busiest(server: &ApiServer) -> usize {
    let ours = server.requests().matching(|request| {
        request.resource == KIND && matches!(request.verb, Verb::List | Verb::Watch | Verb::Get)
    });
    let minute = |start| {
        let within = ours
            .iter()
            .filter(|request| request.at >= start && request.at < start + Duration::from_secs(60));
        within.count()
    };
    ours.iter().map(|request| minute(request.at)).max().unwrap_or(0)
}

fn version_of<K: Object>(object: &K) -> String {
    object.resource_version().unwrap_or_default().to_owned()
}

/// Ten minutes of the fault and two of calm.
async fn play<K: Object + DeserializeOwned>(
    source: impl Fn(Client, Option<&str>) -> ApiListWatch<K>,
    several: bool,
    streaming: bool,
    (on, fault): (On, Fault),
) {
    let told = format!("{fault:?} on {on:?}, several sources: {several}, streaming: {streaming}");
    let server = ApiServer::new();
    let mut rng = fastrand::Rng::with_seed(5);
    for n in 0..20 {
        put(&server, NAMESPACES[n % 2], &format!("m{n:02}"), rng.u32(..));
    }
    let cache = Cache::<K>::new();
    let mut changes = cache.subscribe();
    let [one, other] = NAMESPACES.map(|namespace| source(server.client(), Some(namespace)));
    let builder = if several {
        Reflector::builder(one, cache.clone()).also(other)
    } else {
        Reflector::builder(source(server.client(), None), cache.clone())
    };
    let lists = if streaming {
        StreamingLists::Auto
    } else {
        StreamingLists::Off
    };
    let reflector = builder.seed(3).page_size(Some(12)).streaming_lists(lists).build();
    server.faults().inject(on, fault);
    let life = async {
        for _ in 0..120 {
            sleep(Duration::from_secs(5)).await;
            step(&server, &mut rng);
        }
        server.faults().clear();
        // What was set apart is let out by a new version.
        for namespace in NAMESPACES {
            put(&server, namespace, "m03", rng.u32(..));
        }
        sleep(Duration::from_secs(135)).await;
    };
    reflector
        .run(life)
        .await
        .expect("nothing a server does ends a run");

    let snapshot = cache.snapshot();
    let held: Contents = snapshot
        .entries()
        .map(|(key, object)| (key.to_string(), version_of(&**object)))
        .collect();
    assert_eq!(held, contents(&server), "I1 in the end; {told}");
    let mut replayed = Contents::new();
    while let Some(Some(change)) = changes.next().now_or_never() {
        let key = change.key().to_string();
        let before = match &change {
            Change::Deleted { .. } => replayed.remove(&key),
            _ => replayed.insert(key, version_of(&**change.object())),
        };
        let is_new = matches!(change, Change::Added { .. });
        assert_eq!(before.is_none(), is_new, "H1: {:?}; {told}", change.key());
    }
    assert_eq!(replayed, held, "H2; {told}");
    assert!(reflector.quarantined().is_empty(), "{told}");
    // Each source has a budget of its own.
    let most = if several { 16 } else { 8 };
    assert!(busiest(&server) <= most, "I9: {}; {told}", busiest(&server));
}

/// The three ways to read objects take turns.
async fn play_all(several: bool, streaming: bool) {
    let resource = ApiResource {
        group: String::new(),
        version: "v1".into(),
        api_version: "v1".into(),
        kind: String::new(),
        plural: KIND.into(),
    };
    for (turn, fault) in faults().into_iter().enumerate() {
        match (turn + usize::from(several) + 2 * usize::from(streaming)) % 3 {
            0 => {
                let source = |client, namespace: Option<&str>| ApiListWatch::with(client, namespace, &());
                play::<ConfigMap>(source, several, streaming, fault).await;
            }
            1 => {
                let source = |client, namespace: Option<&str>| ApiListWatch::with(client, namespace, &());
                play::<PartialObjectMeta<ConfigMap>>(source, several, streaming, fault).await;
            }
            _ => {
                let source = |client, namespace: Option<&str>| {
                    ApiListWatch::with(client, namespace, &resource).compression(Compression::All)
                };
                play::<DynamicObject>(source, several, streaming, fault).await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_source_that_begins_with_a_list() {
    play_all(false, false).await;
}

#[tokio::test(start_paused = true)]
async fn one_source_that_begins_with_a_streaming_list() {
    play_all(false, true).await;
}

#[tokio::test(start_paused = true)]
async fn several_sources_that_begin_with_lists() {
    play_all(true, false).await;
}

#[tokio::test(start_paused = true)]
async fn several_sources_that_begin_with_streaming_lists() {
    play_all(true, true).await;
}
