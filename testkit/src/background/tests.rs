use serde_json::{Value, json};

use crate::ApiServer;

fn owned(name: &str, owners: &[&Value], block: bool) -> Value {
    let reference = |owner: &&Value| {
        json!({"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": owner["metadata"]["name"],
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": block})
    };
    json!({"metadata": {"name": name, "ownerReferences": owners.iter().map(reference).collect::<Vec<_>>()}})
}

fn map(server: &ApiServer, object: Value) -> Value {
    server.create("configmaps", object).expect("a good object")
}

fn names(server: &ApiServer, resource: &str, namespace: &str) -> Vec<String> {
    let all = server.list(resource, Some(namespace));
    all.iter()
        .map(|object| object["metadata"]["name"].as_str().unwrap_or_default().to_owned())
        .collect()
}

async fn delete(server: &ApiServer, path: &str, policy: &str) -> Value {
    let (status, body) = server
        .request("DELETE", &format!("{path}?propagationPolicy={policy}"), "")
        .await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str(&body).expect("JSON")
}

const MAPS: &str = "/api/v1/namespaces/default/configmaps";

#[tokio::test(start_paused = true)]
async fn dependents_follow_their_last_owner() {
    let server = ApiServer::builder().build();
    let (a, b) = (
        map(&server, json!({"metadata": {"name": "a"}})),
        map(&server, json!({"metadata": {"name": "b"}})),
    );
    let both = map(&server, owned("both", &[&a, &b], false));
    map(&server, owned("below", &[&both], false));
    server.delete("configmaps", "default", "a").expect("there");
    assert_eq!(names(&server, "configmaps", "default"), ["b", "below", "both"]);
    let kept = server.get("configmaps", "default", "both").expect("kept by b");
    assert_eq!(
        kept["metadata"]["ownerReferences"].as_array().map(Vec::len),
        Some(1)
    );
    server.delete("configmaps", "default", "b").expect("there");
    assert!(names(&server, "configmaps", "default").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_foreground_delete_waits_for_blocking_dependents() {
    let server = ApiServer::builder().build();
    let owner = map(&server, json!({"metadata": {"name": "owner"}}));
    let mut held = owned("held", &[&owner], true);
    held["metadata"]["finalizers"] = json!(["x.io/f"]);
    map(&server, held);
    map(&server, owned("free", &[&owner], true));
    let answer = delete(&server, &format!("{MAPS}/owner"), "Foreground").await;
    assert_eq!(answer["metadata"]["finalizers"], json!(["foregroundDeletion"]));
    assert_eq!(names(&server, "configmaps", "default"), ["held", "owner"]);
    server
        .patch(
            "configmaps",
            "default",
            "held",
            json!({"metadata": {"finalizers": null}}),
        )
        .expect("there");
    assert!(names(&server, "configmaps", "default").is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_orphaning_delete_lets_dependents_go() {
    let server = ApiServer::builder().build();
    let owner = map(&server, json!({"metadata": {"name": "owner"}}));
    map(&server, owned("child", &[&owner], true));
    delete(&server, &format!("{MAPS}/owner"), "Orphan").await;
    assert_eq!(names(&server, "configmaps", "default"), ["child"]);
    let child = server.get("configmaps", "default", "child").expect("kept");
    assert!(child["metadata"].get("ownerReferences").is_none());
}

#[tokio::test(start_paused = true)]
async fn with_the_collector_off_dependents_stay() {
    let server = ApiServer::builder().garbage_collection(false).build();
    let owner = map(&server, json!({"metadata": {"name": "owner"}}));
    map(&server, owned("child", &[&owner], true));
    delete(&server, &format!("{MAPS}/owner"), "Background").await;
    assert_eq!(names(&server, "configmaps", "default"), ["child"]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_namespace_is_emptied_then_gone() {
    let server = ApiServer::builder().namespace("work").build();
    server
        .create(
            "configmaps",
            json!({"metadata": {"name": "held", "namespace": "work", "finalizers": ["x.io/f"]}}),
        )
        .expect("a good object");
    server
        .create("secrets", json!({"metadata": {"name": "s", "namespace": "work"}}))
        .expect("a good object");
    let (status, body) = server.request("DELETE", "/api/v1/namespaces/work", "").await;
    assert_eq!(status, 200, "{body}");
    assert_eq!(
        serde_json::from_str::<Value>(&body).expect("JSON")["status"]["phase"],
        "Terminating"
    );
    assert!(names(&server, "secrets", "work").is_empty());
    assert_eq!(names(&server, "configmaps", "work"), ["held"]);
    let create = server.request(
        "POST",
        "/api/v1/namespaces/work/configmaps",
        r#"{"metadata":{"name":"late"}}"#,
    );
    assert_eq!(create.await.0, 403);
    server
        .patch(
            "configmaps",
            "work",
            "held",
            json!({"metadata": {"finalizers": null}}),
        )
        .expect("there");
    assert!(server.get("namespaces", "", "work").is_none());
}

#[tokio::test(start_paused = true)]
async fn a_namespace_stays_terminating_when_nobody_empties_it() {
    let server = ApiServer::builder()
        .namespace("work")
        .namespace_lifecycle(false)
        .build();
    server.request("DELETE", "/api/v1/namespaces/work", "").await;
    assert_eq!(
        server.get("namespaces", "", "work").expect("stays")["status"]["phase"],
        "Terminating"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deployment_gets_running_pods_and_rolls_out_its_changes() {
    let server = ApiServer::builder().workloads(true).build();
    let deployment = json!({
        "metadata": {"name": "web"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": {
            "metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "x:1"}]}}},
    });
    server.create("deployments", deployment).expect("a good object");
    let status = || server.get("deployments", "default", "web").expect("there")["status"].clone();
    let images = || -> Vec<Value> {
        let pods = server.list("pods", Some("default"));
        pods.iter()
            .map(|pod| pod["spec"]["containers"][0]["image"].clone())
            .collect()
    };
    assert_eq!(images(), ["x:1", "x:1"]);
    assert_eq!(
        (&status()["readyReplicas"], &status()["observedGeneration"]),
        (&json!(2), &json!(1))
    );
    assert!(
        server
            .list("pods", Some("default"))
            .iter()
            .all(|pod| pod["status"]["phase"] == "Running")
    );
    // A new template: new pods in, old ones out, one replica set more.
    let image = json!({"spec": {"template": {"spec": {"containers": [{"name": "c", "image": "x:2"}]}}}});
    server
        .patch("deployments", "default", "web", image)
        .expect("there");
    assert_eq!(images(), ["x:2", "x:2"]);
    assert_eq!(server.count("replicasets.apps"), 2);
    assert_eq!(
        (&status()["updatedReplicas"], &status()["replicas"]),
        (&json!(2), &json!(2))
    );
    server
        .patch("deployments", "default", "web", json!({"spec": {"replicas": 3}}))
        .expect("there");
    assert_eq!(images().len(), 3);
    // A lost pod comes back; without its deployment everything goes.
    let pod = names(&server, "pods", "default").remove(0);
    server.delete("pods", "default", &pod).expect("there");
    assert_eq!(images().len(), 3);
    server.delete("deployments", "default", "web").expect("there");
    assert_eq!((server.count("replicasets.apps"), server.count("pods")), (0, 0));
}
