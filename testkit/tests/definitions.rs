//! Custom resource definitions on their way out.

use futures::StreamExt;
use informer_testkit::{ApiServer, Body};
use serde_json::{Value, json};
use tower::Service;

const CRDS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

async fn send(server: &ApiServer, method: &str, uri: &str, body: Value) -> (u16, Value) {
    let (status, text) = server.request(method, uri, body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn server() -> ApiServer {
    let server = ApiServer::builder().build();
    let definition = json!({
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}}],
        },
    });
    server
        .create("customresourcedefinitions", definition)
        .expect("created");
    server
}

fn condition(definition: &Value, kind: &str) -> Value {
    let conditions = definition["status"]["conditions"].as_array().expect("conditions");
    let found = conditions
        .iter()
        .find(|condition| condition["type"] == kind)
        .cloned();
    found.unwrap_or_default()
}

fn foo(name: &str, finalizers: &[&str]) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": name, "finalizers": finalizers}})
}

#[tokio::test(start_paused = true)]
async fn a_definition_goes_when_its_objects_are_gone() {
    let server = server();
    let uri = format!("{CRDS}/foos.example.com");
    assert_eq!(send(&server, "POST", FOOS, foo("held", &["x.io/f"])).await.0, 201);
    assert_eq!(send(&server, "POST", FOOS, foo("free", &[])).await.0, 201);

    let (status, marked) = send(&server, "DELETE", &uri, json!({})).await;
    assert_eq!(
        (status, &marked["kind"]),
        (200, &json!("CustomResourceDefinition"))
    );
    assert!(marked["metadata"]["deletionTimestamp"].is_string(), "{marked}");
    assert_eq!(
        marked["metadata"]["finalizers"],
        json!(["customresourcecleanup.apiextensions.k8s.io"])
    );
    let pending = condition(&marked, "Terminating");
    assert_eq!(
        (&pending["status"], &pending["reason"]),
        (&json!("True"), &json!("InstanceDeletionPending"))
    );

    // The object without a finalizer is gone, the other waits, and so does the definition.
    assert_eq!(
        send(&server, "GET", &format!("{FOOS}/free"), json!({})).await.0,
        404
    );
    let (_, held) = send(&server, "GET", &format!("{FOOS}/held"), json!({})).await;
    assert!(held["metadata"]["deletionTimestamp"].is_string(), "{held}");
    let (status, waiting) = send(&server, "GET", &uri, json!({})).await;
    assert_eq!(status, 200);
    assert_eq!(
        condition(&waiting, "Terminating")["reason"],
        "InstanceDeletionInProgress"
    );
    assert_eq!(condition(&waiting, "Established")["status"], "True");

    // Nothing new is made meanwhile.
    let (status, refused) = send(&server, "POST", FOOS, foo("late", &[])).await;
    assert_eq!(
        (status, &refused["message"]),
        (
            403,
            &json!(
                "foos.example.com \"late\" is forbidden: create not allowed while custom resource definition is terminating"
            )
        )
    );

    let mut held = held;
    held["metadata"]["finalizers"] = json!([]);
    assert_eq!(send(&server, "PUT", &format!("{FOOS}/held"), held).await.0, 200);
    assert_eq!(send(&server, "GET", &uri, json!({})).await.0, 404);
    assert_eq!(
        send(&server, "GET", FOOS, json!({})).await,
        (404, json!("404 page not found\n"))
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_a_definition_ends_its_watches_after_the_deletes() {
    let server = server();
    assert_eq!(send(&server, "POST", FOOS, foo("free", &[])).await.0, 201);
    let version = server.revision();
    let request = http::Request::builder()
        .uri(format!("{FOOS}?watch=true&resourceVersion={version}"))
        .body(Body::empty())
        .expect("a request");
    let watch = server.service().call(request).await.expect("an answer");
    let uri = format!("{CRDS}/foos.example.com");
    assert_eq!(send(&server, "DELETE", &uri, json!({})).await.0, 200);
    let mut body = http_body_util::BodyStream::new(watch.into_body());
    let mut text = String::new();
    while let Some(frame) = body.next().await {
        if let Ok(data) = frame.expect("no break").into_data() {
            text.push_str(std::str::from_utf8(&data).expect("text"));
        }
    }
    let kinds: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON")["type"].clone())
        .collect();
    assert_eq!(kinds, ["DELETED"], "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_dry_run_and_a_wrong_precondition_leave_a_definition_alone() {
    let server = server();
    let uri = format!("{CRDS}/foos.example.com");
    let (status, answer) = send(&server, "DELETE", &uri, json!({"dryRun": ["All"]})).await;
    assert_eq!(status, 200);
    assert!(answer["metadata"]["deletionTimestamp"].is_string(), "{answer}");
    let (status, answer) = send(&server, "DELETE", &uri, json!({"preconditions": {"uid": "x"}})).await;
    assert_eq!(status, 409);
    assert!(
        answer["message"]
            .as_str()
            .is_some_and(|m| m.contains("Precondition failed: UID in precondition: x, UID in object meta: ")),
        "{answer}"
    );
    let (_, untouched) = send(&server, "GET", &uri, json!({})).await;
    assert_eq!(untouched["metadata"].get("deletionTimestamp"), None);
}

#[tokio::test(start_paused = true)]
async fn what_stored_objects_depend_on_stays_in_a_definition() {
    let server = server();
    let uri = format!("{CRDS}/foos.example.com");
    let (_, whole) = send(&server, "GET", &uri, json!({})).await;
    let change = async |path: &str, value: Value| {
        let mut body = whole.clone();
        *body.pointer_mut(path).expect("a field") = value;
        let (status, answer) = send(&server, "PUT", &uri, body).await;
        assert_eq!(status, 422, "{answer}");
        answer["message"].as_str().unwrap_or_default().to_owned()
    };
    let invalid = "CustomResourceDefinition.apiextensions.k8s.io \"foos.example.com\" is invalid: ";
    assert_eq!(
        change("/spec/scope", json!("Cluster")).await,
        format!("{invalid}spec.scope: Invalid value: \"Cluster\": field is immutable")
    );
    assert_eq!(
        change("/spec/names/kind", json!("Other")).await,
        format!("{invalid}spec.names.kind: Invalid value: \"Other\": field is immutable")
    );
    assert_eq!(
        change("/spec/versions/0/name", json!("v2")).await,
        format!(
            "{invalid}status.storedVersions[0]: Invalid value: \"v1\": missing from spec.versions; v1 was previously a \
             storage version, and must remain in spec.versions until a storage migration ensures no data remains \
             persisted in v1 and removes v1 from status.storedVersions"
        )
    );
}
