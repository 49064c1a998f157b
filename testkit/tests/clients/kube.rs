//! kube-client and kube-runtime: over loopback, as an operator in Rust runs them.

use futures::{StreamExt, TryStreamExt};
use informer_testkit::{ApiServer, Listener};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube_client::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube_client::{Api, Client, Config, Discovery, ResourceExt};
use kube_runtime::{WatchStreamExt, reflector, watcher};
use serde_json::json;

async fn connect(server: &ApiServer) -> (Client, Listener) {
    let listener = server
        .listen_on_loopback()
        .await
        .expect("loopback has a free port");
    let config = Config::new(listener.url().parse().expect("a URL"));
    (
        Client::try_from(config).expect("plain HTTP needs nothing"),
        listener,
    )
}

fn config_map(name: &str, value: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name, "labels": {"app": "t"}}, "data": {"k": value}}))
        .expect("a map")
}

#[tokio::test]
async fn kube_client_reads_writes_and_discovers() {
    let server = ApiServer::builder().build();
    let (client, _listener) = connect(&server).await;
    assert_eq!(client.apiserver_version().await.expect("a version").minor, "36");
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "default");
    let made = maps
        .create(&PostParams::default(), &config_map("a", "v"))
        .await
        .expect("creates");
    let mut newer = made.clone();
    newer.data = Some([("k".to_owned(), "w".to_owned())].into());
    let newer = maps
        .replace("a", &PostParams::default(), &newer)
        .await
        .expect("replaces");
    assert!(newer.resource_version() > made.resource_version());
    let stale = maps
        .replace("a", &PostParams::default(), &made)
        .await
        .expect_err("an old version");
    assert!(
        matches!(stale, kube_client::Error::Api(ref status) if status.code == 409 && status.reason == "Conflict")
    );
    let patch = json!({"data": {"l": "x"}});
    let patched = maps
        .patch("a", &PatchParams::default(), &Patch::Merge(patch))
        .await
        .expect("patches");
    assert_eq!(patched.data.map(|data| data.len()), Some(2));
    for name in ["b", "c", "d"] {
        maps.create(&PostParams::default(), &config_map(name, "v"))
            .await
            .expect("creates");
    }
    let page = maps
        .list(&ListParams::default().labels("app=t").limit(3))
        .await
        .expect("lists");
    assert_eq!(page.items.len(), 3);
    let token = page.metadata.continue_.expect("more to come");
    let rest = maps
        .list(
            &ListParams::default()
                .labels("app=t")
                .limit(3)
                .continue_token(&token),
        )
        .await;
    assert_eq!(
        rest.expect("lists")
            .items
            .iter()
            .map(ResourceExt::name_any)
            .collect::<Vec<_>>(),
        ["d"]
    );
    let metadata = maps.list_metadata(&ListParams::default()).await.expect("lists");
    assert_eq!(metadata.items.len(), 4);
    assert!(maps.get_opt("nope").await.expect("answers").is_none());
    let gone = maps.delete("a", &DeleteParams::default()).await.expect("deletes");
    assert!(gone.right().is_some_and(|status| status.is_success()));
    let deployments: Api<Deployment> = Api::namespaced(client.clone(), "default");
    let deployment = serde_json::from_value(json!({
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
            "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}},
    }));
    deployments
        .create(&PostParams::default(), &deployment.expect("a deployment"))
        .await
        .expect("creates");
    let scale = json!({"spec": {"replicas": 4}});
    let scale = deployments
        .patch_scale("d", &PatchParams::default(), &Patch::Merge(scale))
        .await
        .expect("scales");
    assert_eq!(scale.spec.and_then(|spec| spec.replicas), Some(4));
    for discovery in [
        Discovery::new(client.clone()).run().await.expect("discovers"),
        Discovery::new(client.clone())
            .run_aggregated()
            .await
            .expect("discovers at once"),
    ] {
        assert!(
            discovery
                .get("apps")
                .is_some_and(|group| group.recommended_kind("Deployment").is_some())
        );
        assert!(
            discovery
                .get("")
                .is_some_and(|group| group.recommended_kind("Pod").is_some())
        );
    }
    assert_eq!(server.panics(), 0);
}

#[tokio::test]
async fn kube_client_applies_and_meets_conflicts() {
    let server = ApiServer::builder().build();
    let (client, _listener) = connect(&server).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let config = |value: &str| json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": value}});
    let apply = async |manager: &str, force: bool, value: &str| {
        let params = PatchParams {
            force,
            ..PatchParams::apply(manager)
        };
        maps.patch("a", &params, &Patch::Apply(config(value))).await
    };
    let first = apply("one", false, "1").await.expect("creates");
    let again = apply("one", false, "1").await.expect("changes nothing");
    assert_eq!(first.resource_version(), again.resource_version());
    let conflict = apply("two", false, "2").await.expect_err("one owns it");
    let kube_client::Error::Api(status) = conflict else {
        panic!("{conflict}")
    };
    assert_eq!(
        (status.code, status.message.as_str()),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"one\": .data.k"
        )
    );
    let taken = apply("two", true, "2").await.expect("takes it");
    let owners: Vec<_> = taken
        .managed_fields()
        .iter()
        .filter_map(|entry| entry.manager.clone())
        .collect();
    assert_eq!(owners, ["two"]);
}

#[tokio::test]
async fn kube_client_watches_changes_in_order() {
    let server = ApiServer::builder().build();
    let (client, _listener) = connect(&server).await;
    let maps: Api<ConfigMap> = Api::namespaced(client, "default");
    let from = maps
        .list(&ListParams::default())
        .await
        .expect("lists")
        .metadata
        .resource_version
        .expect("a version");
    let params = WatchParams::default().timeout(5);
    let mut events = maps.watch(&params, &from).await.expect("watches").boxed();
    server
        .create("configmaps", config_map("a", "1"))
        .expect("a good object");
    server
        .patch("configmaps", "default", "a", json!({"data": {"k": "2"}}))
        .expect("there");
    server.delete("configmaps", "default", "a").expect("there");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        match events.try_next().await.expect("readable").expect("open") {
            WatchEvent::Added(_) => seen.push("added"),
            WatchEvent::Modified(_) => seen.push("modified"),
            WatchEvent::Deleted(_) => seen.push("deleted"),
            WatchEvent::Bookmark(_) => {}
            WatchEvent::Error(status) => panic!("{status:?}"),
        }
    }
    assert_eq!(seen, ["added", "modified", "deleted"]);
}

#[tokio::test]
async fn kube_runtime_watches_and_reflects_by_list_and_by_stream() {
    for config in [
        watcher::Config::default(),
        watcher::Config::default().streaming_lists(),
    ] {
        let server = ApiServer::builder().build();
        let (client, _listener) = connect(&server).await;
        for name in ["a", "b"] {
            server
                .create("configmaps", config_map(name, "1"))
                .expect("a good object");
        }
        let maps: Api<ConfigMap> = Api::namespaced(client, "default");
        let (store, writer) = reflector::store();
        let mut events = reflector::reflector(writer, watcher(maps, config))
            .default_backoff()
            .boxed();
        loop {
            let event = events.try_next().await.expect("no error").expect("endless");
            if matches!(event, watcher::Event::InitDone) {
                break;
            }
        }
        assert_eq!(store.len(), 2);
        server
            .create("configmaps", config_map("c", "1"))
            .expect("a good object");
        server.delete("configmaps", "default", "a").expect("there");
        let mut live = Vec::new();
        while live.len() < 2 {
            match events.try_next().await.expect("no error").expect("endless") {
                watcher::Event::Apply(object) => live.push(format!("+{}", object.name_any())),
                watcher::Event::Delete(object) => live.push(format!("-{}", object.name_any())),
                _ => {}
            }
        }
        assert_eq!(live, ["+c", "-a"]);
        let mut names: Vec<String> = store.state().iter().map(|object| object.name_any()).collect();
        names.sort();
        assert_eq!(names, ["b", "c"]);
    }
}

/// The same client code in-process, under paused time.
#[tokio::test(start_paused = true)]
async fn kube_client_works_without_sockets_too() {
    let server = ApiServer::builder().build();
    let client = server.client();
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .delete("kube-node-lease", &DeleteParams::default())
        .await
        .expect("deletes");
    assert!(
        namespaces
            .get_opt("kube-node-lease")
            .await
            .expect("answers")
            .is_none()
    );
    let pods: Api<Pod> = Api::default_namespaced(client);
    let pod =
        json!({"metadata": {"generateName": "p-"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let made = pods
        .create(
            &PostParams::default(),
            &serde_json::from_value(pod).expect("a pod"),
        )
        .await
        .expect("creates");
    assert!(made.name_any().starts_with("p-") && made.name_any().len() == 7);
}
