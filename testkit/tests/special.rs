//! Requests that are no plain create, read, update or delete.

use informer_testkit::ApiServer;
use serde_json::{Value, json};

async fn send(server: &ApiServer, method: &str, uri: &str, body: Value) -> (u16, Value) {
    let (status, text) = server.request(method, uri, body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn pod() -> Value {
    json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
}

#[tokio::test(start_paused = true)]
async fn a_pod_is_bound_once_and_evicted() {
    let server = ApiServer::builder().build();
    server.create("pods", pod()).expect("a good pod");
    let binding = "/api/v1/namespaces/default/pods/p/binding";
    let (status, body) = send(&server, "POST", binding, json!({"target": {"name": "n1"}})).await;
    assert_eq!((status, &body["status"]), (201, &json!("Success")));
    let bound = server.get("pods", "default", "p").expect("there");
    assert_eq!(bound["spec"]["nodeName"], "n1");
    assert_eq!(bound["status"]["conditions"][0]["type"], "PodScheduled");
    let (status, body) = send(&server, "POST", binding, json!({"target": {"name": "n2"}})).await;
    assert_eq!(status, 409);
    assert!(
        body["message"]
            .as_str()
            .is_some_and(|m| m.contains("already assigned to node \"n1\"")),
        "{body}"
    );
    assert_eq!(send(&server, "POST", binding, json!({})).await.0, 422);
    let eviction = json!({"kind": "Eviction", "deleteOptions": {"gracePeriodSeconds": 0}});
    assert_eq!(
        send(
            &server,
            "POST",
            "/api/v1/namespaces/default/pods/p/eviction",
            eviction.clone()
        )
        .await
        .0,
        201
    );
    assert!(server.get("pods", "default", "p").is_none());
    assert_eq!(
        send(
            &server,
            "POST",
            "/api/v1/namespaces/default/pods/p/eviction",
            eviction
        )
        .await
        .0,
        404
    );
    assert_eq!(
        send(
            &server,
            "POST",
            "/api/v1/namespaces/default/pods/p/nonsense",
            json!({})
        )
        .await
        .0,
        404
    );
}

#[tokio::test(start_paused = true)]
async fn reviews_are_answered_and_not_stored() {
    let server = ApiServer::builder().build();
    let before = server.revision();
    for (resource, pointer, expected) in [
        (
            "authorization.k8s.io/v1/selfsubjectaccessreviews",
            "/status/allowed",
            json!(true),
        ),
        (
            "authorization.k8s.io/v1/subjectaccessreviews",
            "/status/allowed",
            json!(true),
        ),
        (
            "authorization.k8s.io/v1/selfsubjectrulesreviews",
            "/status/incomplete",
            json!(false),
        ),
        (
            "authentication.k8s.io/v1/selfsubjectreviews",
            "/status/userInfo/username",
            json!("system:admin"),
        ),
        (
            "authentication.k8s.io/v1/tokenreviews",
            "/status/authenticated",
            json!(true),
        ),
    ] {
        let (status, body) = send(&server, "POST", &format!("/apis/{resource}"), json!({"spec": {}})).await;
        assert_eq!(
            (status, body.pointer(pointer)),
            (201, Some(&expected)),
            "{resource}: {body}"
        );
        assert_eq!(
            send(&server, "GET", &format!("/apis/{resource}"), json!({}))
                .await
                .0,
            405
        );
    }
    assert_eq!(server.revision(), before);
}

#[tokio::test(start_paused = true)]
async fn some_kinds_are_created_by_an_update_and_some_insist_on_a_version() {
    let server = ApiServer::builder().build();
    let lease = "/apis/coordination.k8s.io/v1/namespaces/default/leases/l";
    let spec = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}});
    for (body, why) in [
        (
            json!({"metadata": {"name": "other"}}),
            "the name of the object (other) does not match the name on the URL (l)",
        ),
        (
            json!({"spec": {}}),
            "the name of the object (l based on URL) was undeterminable: name must be provided",
        ),
    ] {
        let (status, answer) = send(&server, "PUT", lease, body).await;
        assert_eq!((status, answer["message"].as_str()), (400, Some(why)));
    }
    // A body that is meant for another object makes none, even of a kind that updates create.
    let mut another = spec.clone();
    another["metadata"]["uid"] = json!("11111111-1111-1111-1111-111111111111");
    let (status, body) = send(&server, "PUT", lease, another).await;
    assert_eq!(status, 409, "{body}");
    assert_eq!(
        body["message"],
        "Operation cannot be fulfilled on leases.coordination.k8s.io \"l\": StorageError: invalid object, Code: 4, Key: \
         /registry/leases/default/l, ResourceVersion: 0, AdditionalErrorMsg: Precondition failed: UID in precondition: \
         11111111-1111-1111-1111-111111111111, UID in object meta: "
    );
    assert_eq!(send(&server, "PUT", lease, spec.clone()).await.0, 201);
    let (status, body) = send(&server, "PUT", lease, spec).await;
    assert_eq!(status, 422);
    assert!(
        body["message"]
            .as_str()
            .is_some_and(|m| m.ends_with("must be specified for an update")),
        "{body}"
    );
    // Of the other kinds there is nothing to compare the uid with.
    let map = "/api/v1/namespaces/default/configmaps/a";
    let body = json!({"metadata": {"name": "a", "uid": "11111111-1111-1111-1111-111111111111"}});
    assert_eq!(send(&server, "PUT", map, body).await.0, 404);
}

/// A token for a service account has an end.
#[tokio::test(start_paused = true)]
async fn a_service_account_gets_a_token() {
    let server = ApiServer::builder().build();
    server
        .create("serviceaccounts", json!({"metadata": {"name": "sa"}}))
        .expect("a good account");
    let uri = "/api/v1/namespaces/default/serviceaccounts/sa/token";
    let (status, body) = send(&server, "POST", uri, json!({"spec": {"expirationSeconds": 600}})).await;
    assert_eq!((status, &body["kind"]), (201, &json!("TokenRequest")));
    assert_eq!(body["status"]["expirationTimestamp"], "2026-01-01T00:10:00Z");
}

#[tokio::test(start_paused = true)]
async fn a_deprecated_version_warns_and_versions_show_the_same_objects() {
    let server = ApiServer::builder().build();
    let version = |name: &str, storage: bool| {
        json!({"name": name, "served": true, "storage": storage, "deprecated": !storage,
            "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}})
    };
    let definition = json!({
        "metadata": {"name": "foos.example.com"},
        "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [version("v1", true), version("v1beta1", false)]},
    });
    server
        .create("customresourcedefinitions", definition)
        .expect("a good definition");
    let old = "/apis/example.com/v1beta1/namespaces/default/foos";
    let (status, made) = send(
        &server,
        "POST",
        old,
        json!({"apiVersion": "example.com/v1beta1", "kind": "Foo", "metadata": {"name": "f"}, "spec": {"a": 1}}),
    )
    .await;
    assert_eq!(
        (status, &made["apiVersion"]),
        (201, &json!("example.com/v1beta1"))
    );
    let (_, read) = send(
        &server,
        "GET",
        "/apis/example.com/v1/namespaces/default/foos/f",
        json!({}),
    )
    .await;
    assert_eq!(
        (&read["apiVersion"], &read["spec"]),
        (&json!("example.com/v1"), &json!({"a": 1}))
    );
    let (_, list) = send(&server, "GET", old, json!({})).await;
    assert_eq!(list["items"][0]["apiVersion"], "example.com/v1beta1");
    let request = http::Request::get(old)
        .body(informer_testkit::Body::full(String::new()))
        .expect("a request");
    let response = tower::Service::call(&mut server.service(), request)
        .await
        .expect("an answer");
    let warning = response
        .headers()
        .get("warning")
        .and_then(|value| value.to_str().ok());
    assert_eq!(warning, Some("299 - \"example.com/v1beta1 Foo is deprecated\""));
    let (_, group) = send(&server, "GET", "/apis/example.com", json!({})).await;
    assert_eq!(group["preferredVersion"]["version"], "v1");
}

#[tokio::test(start_paused = true)]
async fn an_event_shows_in_both_groups_in_the_shape_of_each() {
    let server = ApiServer::builder().build();
    let (core, new) = (
        "/api/v1/namespaces/default/events",
        "/apis/events.k8s.io/v1/namespaces/default/events",
    );
    let about = json!({"kind": "Pod", "name": "p", "namespace": "default"});
    let made = json!({"metadata": {"name": "a"}, "regarding": about, "note": "hello", "reason": "R", "type": "Normal",
        "eventTime": "2026-01-01T00:00:00.000000Z", "action": "x", "reportingController": "c/d", "reportingInstance": "i"});
    let (status, body) = send(&server, "POST", new, made).await;
    assert_eq!(
        (status, &body["regarding"], &body["note"]),
        (201, &about, &json!("hello"))
    );
    let (_, body) = send(&server, "GET", &format!("{core}/a"), json!({})).await;
    assert_eq!(
        (&body["involvedObject"], &body["message"]),
        (&about, &json!("hello"))
    );
    assert_eq!(
        (&body["apiVersion"], &body["reportingComponent"]),
        (&json!("v1"), &json!("c/d"))
    );
    let made = json!({"metadata": {"name": "b"}, "involvedObject": about, "message": "again", "reason": "R", "type": "Normal"});
    send(&server, "POST", core, made).await;
    for (path, field) in [(core, "involvedObject"), (new, "regarding")] {
        let (_, list) = send(
            &server,
            "GET",
            &format!("{path}?fieldSelector={field}.name%3Dp"),
            json!({}),
        )
        .await;
        let items = list["items"].as_array().expect("a list");
        assert_eq!(items.len(), 2, "{path}");
        assert!(items.iter().all(|item| item[field] == about), "{list}");
    }
    let patch = json!({"note": "changed"}).to_string();
    let request =
        http::Request::patch(format!("{new}/b")).header("content-type", "application/merge-patch+json");
    let request = request
        .body(informer_testkit::Body::full(patch))
        .expect("a request");
    let response = tower::Service::call(&mut server.service(), request)
        .await
        .expect("an answer");
    assert_eq!(response.status(), 200);
    assert_eq!(
        server.get("events", "default", "b").expect("there")["message"],
        "changed"
    );
}
