//! The layers together: an informer over the embedded API server, under paused time.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::{FutureExt, StreamExt};
use informer::{
    Change, Informer,
    deltafifo::{Config, Discipline},
    informer::{Informers, Scope},
    reflector::{ApiListWatch, ErrorKind, SyncState},
    store::{Object, Subscription},
};
use informer_testkit::{ApiServer, Fault, On, generate};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube_core::{ApiResource, GroupVersionKind};
use serde_json::{Value, json};

fn config_map(name: &str, data: &str) -> Value {
    json!({ "metadata": { "namespace": "default", "name": name }, "data": { "value": data } })
}

fn informer(server: &ApiServer) -> Informer<ConfigMap> {
    Informer::builder(ApiListWatch::<ConfigMap>::all(server.client()).labels("!system"))
        .reflector(|reflector| reflector.seed(1))
        .build()
}

/// Waits until the cache is where the server is.
async fn caught_up<K: Object>(server: &ApiServer, informer: &Informer<K>, resource: &str) {
    let newest = |object: &Value| object["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(600);
    loop {
        let expect: Vec<_> = server.list(resource, None).iter().map(newest).collect();
        let snapshot = informer.cache().snapshot();
        let mut held: Vec<_> = snapshot
            .list()
            .map(|object| object.resource_version().unwrap_or_default().to_owned())
            .collect();
        let mut expect = expect;
        held.sort();
        expect.sort();
        if held == expect {
            return;
        }
        assert!(
            tokio::time::Instant::now() < deadline,
            "the cache never caught up: {held:?} {expect:?}"
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What is ready to be delivered, as text: `+` added, `~` updated, `-` deleted, with `!` for initial or inferred.
fn ready(changes: &mut Subscription<ConfigMap>) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(Some(change)) = changes.next().now_or_never() {
        let name = change.key().name().to_owned();
        seen.push(match &change {
            Change::Added { initial, .. } => format!("+{name}{}", if *initial { "!" } else { "" }),
            Change::Deleted { inferred, .. } => format!("-{name}{}", if *inferred { "!" } else { "" }),
            _ => format!("~{name}"),
        });
    }
    seen
}

#[tokio::test(start_paused = true)]
async fn what_a_subscriber_is_told_readers_can_see_already() {
    let server = ApiServer::builder().seed(1).build();
    server.create("configmaps", config_map("a", "1")).unwrap();
    let informer = informer(&server);
    let mut changes = informer.subscribe();
    informer.start();
    let first = changes.next().await.expect("the first list comes");
    assert_eq!(first.key().name(), "a");
    assert!(informer.is_synced());
    for round in 2..20 {
        server
            .update("configmaps", config_map("a", &round.to_string()))
            .unwrap();
        let change = changes.next().await.expect("an update comes");
        let held = informer.cache().get("default", "a").expect("it is held");
        assert!(held.version() >= change.object().version());
    }
}

#[tokio::test(start_paused = true)]
async fn a_late_subscriber_gets_everything_and_misses_nothing() {
    let server = ApiServer::builder().seed(1).build();
    for name in ["a", "b"] {
        server.create("configmaps", config_map(name, "1")).unwrap();
    }
    let informer = informer(&server);
    informer.start();
    informer.synced().await;
    server.delete("configmaps", "default", "a").unwrap();
    server.create("configmaps", config_map("c", "1")).unwrap();
    caught_up(&server, &informer, "configmaps").await;

    let mut late = informer.subscribe();
    let mut initial = ready(&mut late);
    initial.sort();
    assert_eq!(initial, ["+b!", "+c!"]);
    server.update("configmaps", config_map("b", "2")).unwrap();
    server.delete("configmaps", "default", "c").unwrap();
    caught_up(&server, &informer, "configmaps").await;
    assert_eq!(ready(&mut late), ["~b", "-c"]);
}

/// I7: what went while nobody watched is told, once, as inferred.
#[tokio::test(start_paused = true)]
async fn deletes_in_a_gap_are_told_after_the_relist() {
    let server = ApiServer::builder().seed(1).build();
    for name in ["a", "b"] {
        server.create("configmaps", config_map(name, "1")).unwrap();
    }
    let informer = informer(&server);
    let mut changes = informer.subscribe();
    informer.start();
    informer.synced().await;
    caught_up(&server, &informer, "configmaps").await;
    ready(&mut changes);

    // The watch breaks at the first event; when it is asked for again, its version is gone.
    server
        .faults()
        .inject(On::watch("configmaps").times(1), Fault::DropEvent);
    server
        .faults()
        .inject(On::watch("configmaps").times(1), Fault::GoneEvent);
    server.delete("configmaps", "default", "a").unwrap();
    server.create("configmaps", config_map("c", "1")).unwrap();
    caught_up(&server, &informer, "configmaps").await;
    let seen = ready(&mut changes);
    assert_eq!(
        seen,
        ["-a!", "+c"],
        "deletes first, then list order, nothing for what is unchanged"
    );
    assert_eq!(informer.reflector().stats().relists_total(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_informer_stops_and_starts_again_without_losing_its_cache() {
    let server = ApiServer::builder().seed(1).build();
    server.create("configmaps", config_map("a", "1")).unwrap();
    let informer = informer(&server);
    informer.run(informer.synced()).await.unwrap();
    assert_eq!(*informer.state().borrow(), SyncState::Stopped);
    assert!(
        informer.cache().get("default", "a").is_some(),
        "a stopped informer still answers"
    );

    server.create("configmaps", config_map("b", "1")).unwrap();
    informer.start();
    caught_up(&server, &informer, "configmaps").await;
    let second = informer.run(std::future::ready(())).await;
    assert_eq!(second.unwrap_err().kind(), ErrorKind::AlreadyRunning);
}

#[tokio::test(start_paused = true)]
async fn what_is_unchanged_is_not_decoded_again() {
    let server = ApiServer::builder().seed(1).build();
    let mut rng = fastrand::Rng::with_seed(1);
    server
        .load((0..50).map(|index| generate::pod(index, &mut rng)))
        .unwrap();
    let decoded = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&decoded);
    let source = ApiListWatch::<Pod>::all(server.client()).transform(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let pods = Informer::new(source);
    pods.run(pods.synced()).await.unwrap();
    let before: Vec<Arc<Pod>> = pods.cache().snapshot().list().cloned().collect();

    pods.run(async { tokio::time::sleep(Duration::from_secs(5)).await })
        .await
        .unwrap();
    let after: Vec<Arc<Pod>> = pods.cache().snapshot().list().cloned().collect();
    assert_eq!(before.len(), 50);
    assert!(
        before
            .iter()
            .zip(&after)
            .all(|(before, after)| Arc::ptr_eq(before, after))
    );
    assert_eq!(
        decoded.load(Ordering::Relaxed),
        50,
        "each object was decoded once, by the first list"
    );
}

#[tokio::test(start_paused = true)]
async fn equal_scopes_share_one_informer_and_the_last_holder_ends_it() {
    let server = ApiServer::builder().seed(1).build();
    server.create("configmaps", config_map("a", "1")).unwrap();
    let informers = Informers::new(server.client());
    let default = Scope::all().namespace("default");
    let first = informers.get::<ConfigMap>(&default);
    let second = informers.get::<ConfigMap>(&default.clone().namespace("default"));
    let other = informers.get::<ConfigMap>(&Scope::all());
    let kind = ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap"));
    let dynamic = informers.get_dynamic(&kind, &default);
    first.synced().await;
    assert!(second.is_synced(), "the same one");
    other.synced().await;
    dynamic.synced().await;
    assert_eq!(informers.len(), 3);

    let state = first.state();
    drop(first);
    assert_ne!(*state.borrow(), SyncState::Stopped, "somebody still holds it");
    drop(second);
    let mut ended = state.clone();
    ended
        .wait_for(|state| *state == SyncState::Stopped)
        .await
        .unwrap();
    assert_eq!(informers.len(), 2);
    let again = informers.get::<ConfigMap>(&default);
    again.synced().await;
}

#[tokio::test(start_paused = true)]
async fn several_namespaces_merge_into_one_cache() {
    let server = ApiServer::builder().seed(1).build();
    for namespace in ["red", "green", "blue"] {
        let map = json!({ "metadata": { "namespace": namespace, "name": "a" } });
        server.create("configmaps", map).unwrap();
    }
    let informers = Informers::new(server.client());
    let two = informers.get::<ConfigMap>(&Scope::all().namespace("red").namespace("blue"));
    two.synced().await;
    let mut keys: Vec<_> = two
        .cache()
        .snapshot()
        .entries()
        .map(|(key, _)| key.to_string())
        .collect();
    keys.sort();
    assert_eq!(keys, ["blue/a", "red/a"]);
}

/// Through every discipline of the queue: the cache claims the older version, and each change is told once.
#[tokio::test(start_paused = true)]
async fn several_namespaces_of_a_server_restored_from_a_backup_go_back_together() {
    for discipline in [Discipline::Compressed, Discipline::Ordered, Discipline::Latest] {
        let server = ApiServer::builder().seed(1).build();
        let put = |namespace: &str, name: &str| {
            let map = json!({ "metadata": { "namespace": namespace, "name": name } });
            server.create("configmaps", map).unwrap();
        };
        put("red", "old");
        put("blue", "old");
        let backup = server.snapshot();
        for at in 0..20 {
            put("red", &format!("new-{at:02}"));
        }
        put("blue", "new");
        let source = |namespace| ApiListWatch::<ConfigMap>::namespaced(server.client(), namespace);
        let blue = source("blue");
        let informer = Informer::builder(source("red"))
            .queue(Config::default().discipline(discipline))
            .reflector(|reflector| reflector.seed(1).also(blue))
            .build();
        let mut changes = informer.subscribe();
        informer.start();
        informer.synced().await;
        caught_up(&server, &informer, "configmaps").await;
        let before = informer.cache().resource_version();
        assert_eq!(ready(&mut changes).len(), 23);

        server.restore(&backup);
        caught_up(&server, &informer, "configmaps").await;
        assert!(informer.cache().resource_version() < before, "{discipline:?}");
        assert_eq!(informer.reflector().stats().rewinds, 2);
        // What is held at a version that the lost history gave out may be another state now: it is told again.
        let (gone, again): (Vec<_>, Vec<_>) = ready(&mut changes)
            .into_iter()
            .partition(|told| told.starts_with('-'));
        assert_eq!(gone.len(), 21, "{gone:?}");
        assert!(
            gone.iter()
                .all(|told| told.starts_with("-new") && told.ends_with('!'))
        );
        assert_eq!(again, ["~old", "~old"]);

        put("red", "newer");
        caught_up(&server, &informer, "configmaps").await;
        assert_eq!(ready(&mut changes), ["+newer"]);
    }
}

#[tokio::test(start_paused = true)]
async fn an_informer_that_may_not_list_says_why() {
    let server = ApiServer::builder().seed(1).build();
    let refused = server
        .faults()
        .inject(On::any().resource("configmaps"), Fault::status(403));
    let informer = informer(&server);
    informer.start();
    let mut state = informer.state();
    let degraded = state
        .wait_for(|state| state.reason().is_some())
        .await
        .unwrap()
        .clone();
    assert_eq!(degraded.reason().map(|reason| reason.as_str()), Some("forbidden"));
    assert!(!informer.is_synced());
    refused.remove();
    informer.synced().await;
}
