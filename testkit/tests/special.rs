//! Requests that are no plain create, read, update or delete.

use informer_testkit::{ApiServer, Body};
use serde_json::{Value, json};
use tower::Service;

async fn send(server: &ApiServer, method: &str, uri: &str, body: Value) -> (u16, Value) {
    let (status, text) = server.request(method, uri, body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Applies to the config map `a`: the fields given, and the name unless the metadata is among them.
async fn apply(server: &ApiServer, manager: &str, rest: Value) -> (u16, Value) {
    let mut config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}});
    for (field, value) in rest.as_object().expect("fields") {
        config[field] = value.clone();
    }
    let uri = format!("/api/v1/namespaces/default/configmaps/a?fieldManager={manager}");
    patch(server, &uri, "application/apply-patch+yaml", &config).await
}

async fn patch(server: &ApiServer, uri: &str, media: &str, body: &Value) -> (u16, Value) {
    let request = http::Request::builder()
        .method("PATCH")
        .uri(uri)
        .header("content-type", media)
        .body(Body::full(body.to_string()))
        .expect("a request");
    let answer = server.service().call(request).await.expect("an answer");
    let status = answer.status().as_u16();
    let body = http_body_util::BodyExt::collect(answer.into_body())
        .await
        .expect("a body");
    (
        status,
        serde_json::from_slice(&body.to_bytes()).unwrap_or_default(),
    )
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

#[tokio::test(start_paused = true)]
async fn a_manager_that_states_no_more_than_the_name_gives_up_its_fields_alone() {
    let server = ApiServer::builder().managed_fields(true).build();
    let apply = async |manager: &str, rest: Value| apply(&server, manager, rest).await.0;
    assert_eq!(apply("one", json!({"data": {"x": "1"}})).await, 201);
    let before = server.get("configmaps", "default", "a").expect("there");
    let labelled = json!({"metadata": {"name": "a", "labels": {"l": "1"}}, "data": {"y": "1"}});
    assert_eq!(apply("two", labelled).await, 200);
    assert_eq!(apply("two", json!({})).await, 200);
    let after = server.get("configmaps", "default", "a").expect("there");
    assert_eq!(after["data"], json!({"x": "1"}));
    assert!(after["metadata"]["labels"]["l"].is_null(), "{after}");
    for field in ["name", "namespace", "uid", "creationTimestamp"] {
        assert_eq!(after["metadata"][field], before["metadata"][field], "{field}");
    }
    // What is left of the metadata is nobody's to give up, whether the name is stated or not.
    assert_eq!(
        apply("two", json!({"metadata": {"labels": {"l": "1"}}})).await,
        200
    );
    assert_eq!(apply("two", json!({"metadata": {}})).await, 200);
    let after = server.get("configmaps", "default", "a").expect("there");
    assert_eq!(after["metadata"]["uid"], before["metadata"]["uid"]);
}

#[tokio::test(start_paused = true)]
async fn fields_without_an_owner_belong_to_who_came_before_the_first_apply() {
    let server = ApiServer::builder().managed_fields(true).build();
    let uri = "/api/v1/namespaces/default/configmaps/a?fieldManager=m";
    let merge = "application/merge-patch+json";
    let create = json!({"metadata": {"name": "a"}});
    server.create("configmaps", create).expect("created");
    // Nobody owns a field of it, and a plain write does not change that.
    let (status, body) = patch(&server, uri, merge, &json!({"data": {"k": "v"}})).await;
    assert_eq!(
        (status, &body["metadata"]["managedFields"]),
        (200, &Value::Null),
        "{body}"
    );
    let (status, body) = apply(&server, "one", json!({"data": {"k": "w"}})).await;
    assert_eq!(
        (status, body["message"].as_str().unwrap_or_default()),
        (
            409,
            "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.k"
        )
    );
    let (status, body) = apply(&server, "one", json!({"data": {"k": "v", "l": "1"}})).await;
    assert_eq!(status, 200, "{body}");
    let owners = body["metadata"]["managedFields"]
        .as_array()
        .expect("owners")
        .clone();
    let owners: Vec<_> = owners.iter().map(|o| (&o["manager"], &o["operation"])).collect();
    assert_eq!(
        owners,
        [
            (&json!("one"), &json!("Apply")),
            (&json!("before-first-apply"), &json!("Update"))
        ]
    );
    // One empty entry takes all owners away, whatever else the write changes.
    let forget = json!({"metadata": {"managedFields": [{}]}, "data": {"k": "x"}});
    let (status, body) = patch(&server, uri, merge, &forget).await;
    assert_eq!(
        (status, &body["metadata"]["managedFields"]),
        (200, &Value::Null),
        "{body}"
    );
}
