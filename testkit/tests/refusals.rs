//! What the server says to requests that are wrong in part or in whole, in the words of a real one.

use informer_testkit::{ApiServer, Body};
use serde_json::{Value, json};
use tower::Service;

const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const FOOS: &str = "/apis/example.com/v1/namespaces/default/foos";

const JSON: &str = "application/json";
const MERGE: &str = "application/merge-patch+json";
const STRATEGIC: &str = "application/strategic-merge-patch+json";
const JSON_PATCH: &str = "application/json-patch+json";
const APPLY: &str = "application/apply-patch+yaml";

/// An answer: status, warnings, and the body as it came.
#[derive(Debug)]
struct Answer {
    status: u16,
    warnings: Vec<String>,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or(&self.text).to_owned()
    }
}

struct Bench(ApiServer);

impl Bench {
    fn new() -> Self {
        let server = ApiServer::builder().managed_fields(true).build();
        server
            .create("customresourcedefinitions", definition())
            .expect("created");
        server
            .create(
                "configmaps",
                json!({"metadata": {"name": "a"}, "data": {"k": "v"}}),
            )
            .expect("created");
        server
            .create(
                "foos.example.com",
                json!({"metadata": {"name": "f"}, "spec": {"size": 1}}),
            )
            .expect("created");
        Self(server)
    }

    async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<String>,
    ) -> Answer {
        let mut request = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::full(body.into())).expect("a request");
        let response = self.0.service().call(request).await.expect("an answer");
        let warnings = response.headers().get_all("warning").iter();
        let warnings = warnings
            .map(|value| value.to_str().expect("text").to_owned())
            .collect();
        let status = response.status().as_u16();
        let body = http_body_util::BodyExt::collect(response.into_body())
            .await
            .expect("a body");
        let text = String::from_utf8(body.to_bytes().to_vec()).expect("text");
        Answer {
            status,
            warnings,
            text,
        }
    }

    async fn write(&self, method: &str, uri: &str, media: &str, body: impl ToString) -> Answer {
        let headers = [("content-type", media), ("user-agent", "rec/1.0")];
        self.send(method, uri, &headers, body.to_string()).await
    }

    async fn get(&self, uri: &str, accept: &str) -> Answer {
        self.send("GET", uri, &[("accept", accept)], "").await
    }
}

fn definition() -> Value {
    json!({
        "metadata": {"name": "foos.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "foos", "kind": "Foo"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}],
        },
    })
}

fn warning(text: &str) -> String {
    format!("299 - \"{}\"", text.replace('"', "\\\""))
}

#[tokio::test(start_paused = true)]
async fn a_patch_that_leaves_unknown_fields_is_told_refused_or_taken_as_asked() {
    let bench = Bench::new();
    let map = format!("{MAPS}/a");
    let foo = format!("{FOOS}/f");
    let add = r#"[{"op":"add","path":"/foo","value":1}]"#;
    for (uri, media, body) in [
        (&map, MERGE, r#"{"foo":1}"#),
        (&map, STRATEGIC, r#"{"foo":1}"#),
        (&map, JSON_PATCH, add),
        (&foo, MERGE, r#"{"foo":1}"#),
        (&foo, JSON_PATCH, add),
    ] {
        let before = bench.get(uri, JSON).await.json();
        let told = bench.write("PATCH", uri, media, body).await;
        assert_eq!(
            (told.status, told.warnings.clone()),
            (200, vec![warning("unknown field \"foo\"")]),
            "{media}"
        );
        assert_eq!(told.json(), before, "nothing of it is kept");
        let silent = bench
            .write("PATCH", &format!("{uri}?fieldValidation=Ignore"), media, body)
            .await;
        assert_eq!((silent.status, silent.warnings.len()), (200, 0));
        let strict = bench
            .write("PATCH", &format!("{uri}?fieldValidation=Strict"), media, body)
            .await;
        assert_eq!(strict.status, 422, "{media}: {strict:?}");
        let cause = &strict.json()["details"]["causes"][0];
        assert_eq!(
            (&cause["field"], &cause["reason"]),
            (&json!("patch"), &json!("FieldValueInvalid"))
        );
        assert!(
            strict
                .message()
                .ends_with(": strict decoding error: unknown field \"foo\""),
            "{strict:?}"
        );
    }
    let strategic = bench
        .write(
            "PATCH",
            &format!("{map}?fieldValidation=Strict"),
            STRATEGIC,
            r#"{"data":{"x":"y"},"foo":1}"#,
        )
        .await;
    assert_eq!(
        strategic.message(),
        " \"\" is invalid: patch: Invalid value: \"map[data:map[x:y] foo:1]\": strict decoding error: unknown field \"foo\""
    );
}

#[tokio::test(start_paused = true)]
async fn unknown_fields_are_found_at_any_depth_of_a_built_in_kind() {
    let bench = Bench::new();
    let pod = json!({"metadata": {"name": "p", "labelz": {}}, "spec": {"containers": [
        {"name": "c", "image": "x", "imagePullPolic": "Always", "ports": [{"containerPort": 1, "x": 2}]}]}});
    let uri = "/api/v1/namespaces/default/pods";
    let made = bench.write("POST", uri, JSON, &pod).await;
    let expect = [
        "unknown field \"metadata.labelz\"",
        "unknown field \"spec.containers[0].imagePullPolic\"",
        "unknown field \"spec.containers[0].ports[0].x\"",
    ];
    assert_eq!(made.status, 201, "{made:?}");
    assert_eq!(made.warnings, expect.map(warning));
    assert_eq!(
        made.json()["spec"]["containers"][0]["ports"],
        json!([{"containerPort": 1, "protocol": "TCP"}])
    );
    let strict = bench
        .write("POST", &format!("{uri}?fieldValidation=Strict"), JSON, &pod)
        .await;
    assert_eq!(
        (strict.status, strict.message()),
        (
            400,
            format!(
                "Pod in version \"v1\" cannot be handled as a Pod: strict decoding error: {}",
                expect.join(", ")
            )
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_key_that_stands_twice_is_told_or_refused() {
    let bench = Bench::new();
    let body = r#"{"metadata":{"name":"b","name":"c"},"data":{"k":"1","k":"2"},"foo":1}"#;
    let expect = [
        "duplicate field \"metadata.name\"",
        "duplicate field \"data.k\"",
        "unknown field \"foo\"",
    ];
    let strict = bench
        .write("POST", &format!("{MAPS}?fieldValidation=Strict"), JSON, body)
        .await;
    assert_eq!(
        (strict.status, strict.message()),
        (
            400,
            format!(
                "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: {}",
                expect.join(", ")
            )
        )
    );
    let told = bench.write("POST", MAPS, JSON, body).await;
    assert_eq!(
        (told.status, told.warnings.clone()),
        (201, expect.map(warning).to_vec())
    );
    assert_eq!(told.json()["data"]["k"], "2", "the last one counts");
    let foo = r#"{"apiVersion":"example.com/v1","kind":"Foo","metadata":{"name":"g"},"spec":{"size":1,"size":2,"x":1}}"#;
    let told = bench.write("POST", FOOS, JSON, foo).await;
    let expect = ["duplicate field \"spec.size\"", "unknown field \"spec.x\""];
    assert_eq!((told.status, told.warnings), (201, expect.map(warning).to_vec()));
    let patch = r#"{"data":{"k":"3"},"data":{"k":"4"}}"#;
    let told = bench.write("PATCH", &format!("{MAPS}/a"), MERGE, patch).await;
    assert_eq!(told.warnings, [warning("duplicate field \"data\"")]);
}

#[tokio::test(start_paused = true)]
async fn server_side_apply_of_a_field_nobody_declared_fails() {
    let bench = Bench::new();
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"},
        "spec": {"foo": 1, "replicas": "x"}});
    for (uri, body, why) in [
        (
            "/apis/apps/v1/namespaces/default/deployments/d",
            deployment,
            "failed to create typed patch object (/d; apps/v1, Kind=Deployment): errors:\n  .spec.foo: field not declared \
             in schema\n  .spec.replicas: expected numeric (int or float), got string",
        ),
        (
            "/apis/example.com/v1/namespaces/default/foos/f",
            json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "f", "namespace": "default"},
                "spec": {"bar": 1}}),
            "failed to create typed patch object (default/f; example.com/v1, Kind=Foo): .spec.bar: field not declared in \
             schema",
        ),
    ] {
        let answer = bench
            .write("PATCH", &format!("{uri}?fieldManager=me"), APPLY, body)
            .await;
        assert_eq!((answer.status, answer.message()), (500, why.to_owned()));
    }
    for (body, why) in [
        (
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}),
            "invalid object type: /v1, Kind=Secret",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "b"}}),
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "managedFields": []}}),
            "metadata.managedFields must be nil",
        ),
    ] {
        let answer = bench
            .write(
                "PATCH",
                &format!("{MAPS}/a?fieldManager=me&force=true"),
                APPLY,
                body,
            )
            .await;
        assert_eq!((answer.status, answer.message()), (400, why.to_owned()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_patch_cannot_make_another_object_of_it() {
    let bench = Bench::new();
    let map = format!("{MAPS}/a");
    for (uri, body, status, end) in [
        (
            &map,
            json!({"kind": "Secret"}),
            422,
            ": converting (v1.Secret) to (core.ConfigMap): unknown conversion",
        ),
        (
            &map,
            json!({"apiVersion": "v9"}),
            422,
            ": no kind \"ConfigMap\" is registered for version \"v9\" in scheme \"pkg/api/legacyscheme/scheme.go:30\"",
        ),
        (
            &map,
            json!({"metadata": {"name": "b"}}),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            &map,
            json!({"metadata": {"name": null}}),
            400,
            "the name of the object (a based on URL) was undeterminable: name must be provided",
        ),
        (
            &map,
            json!({"metadata": {"namespace": "other"}}),
            400,
            "the namespace of the provided object does not match the namespace sent on the request",
        ),
        (
            &map,
            json!({"metadata": {"uid": "x"}}),
            422,
            "ConfigMap \"a\" is invalid: metadata.uid: Invalid value: \"x\": field is immutable",
        ),
        (
            &format!("{FOOS}/f"),
            json!({"kind": "Bar"}),
            422,
            "Bar.example.com \"f\" is invalid: kind: Invalid value: \"Bar\": must be Foo",
        ),
    ] {
        let answer = bench.write("PATCH", uri, MERGE, &body).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        assert!(answer.message().ends_with(end), "{body}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn names_of_managers_finalizers_and_keys_have_rules() {
    let bench = Bench::new();
    let long = "m".repeat(129);
    let answer = bench
        .write("POST", &format!("{MAPS}?fieldManager={long}"), JSON, "{}")
        .await;
    assert_eq!(
        (answer.status, answer.message()),
        (
            422,
            "CreateOptions.meta.k8s.io \"\" is invalid: fieldManager: Too long: may not be more than 128 bytes".to_owned()
        )
    );
    let key = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
               'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    for (uri, body, why) in [
        (
            MAPS,
            json!({"metadata": {"name": "b", "finalizers": ["plain"]}}),
            "ConfigMap \"b\" is invalid: metadata.finalizers[0]: Invalid value: \"plain\": name is neither a standard \
             finalizer name nor is it fully qualified"
                .to_owned(),
        ),
        (
            MAPS,
            json!({"metadata": {"name": "b"}, "data": {"a b": "x"}}),
            format!("ConfigMap \"b\" is invalid: data[a b]: Invalid value: \"a b\": {key}"),
        ),
        (
            "/api/v1/namespaces/default/secrets",
            json!({"metadata": {"name": "b"}, "data": {"..x": "eA=="}}),
            "Secret \"b\" is invalid: data[..x]: Invalid value: \"..x\": must not start with '..'".to_owned(),
        ),
        (
            "/api/v1/namespaces",
            json!({"metadata": {"name": "a.b"}}),
            "Namespace \"a.b\" is invalid: metadata.name: Invalid value: \"a.b\": must not contain dots".to_owned(),
        ),
    ] {
        let answer = bench.write("POST", uri, JSON, body).await;
        assert_eq!((answer.status, answer.message()), (422, why));
    }
    // A custom kind takes such a finalizer, with a word of advice.
    let foo = json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "g", "finalizers": ["plain"]}});
    let answer = bench.write("POST", FOOS, JSON, foo).await;
    let advice = "metadata.finalizers: \"plain\": prefer a domain-qualified finalizer name to avoid accidental conflicts \
                  with other finalizer writers";
    assert_eq!((answer.status, answer.warnings), (201, vec![warning(advice)]));
}

/// Each layer of a real server that looks at metadata adds its own cause; the message names each complaint once.
#[tokio::test(start_paused = true)]
async fn finalizers_are_not_added_to_what_is_being_deleted() {
    let bench = Bench::new();
    let map = format!("{MAPS}/a");
    let hold = json!({"metadata": {"finalizers": ["x.io/f"]}});
    assert_eq!(bench.write("PATCH", &map, MERGE, hold).await.status, 200);
    assert_eq!(bench.send("DELETE", &map, &[], "").await.status, 200);
    let more = json!({"metadata": {"finalizers": ["x.io/f", "x.io/g"]}});
    let answer = bench.write("PATCH", &map, MERGE, more).await;
    let why = "Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers \
               []string{\"x.io/g\"}";
    assert_eq!(
        (answer.status, answer.message()),
        (
            422,
            format!("ConfigMap \"a\" is invalid: metadata.finalizers: {why}")
        )
    );
    let cause = json!({"reason": "FieldValueForbidden", "message": why, "field": "metadata.finalizers"});
    assert_eq!(answer.json()["details"]["causes"], json!([cause, cause]));
}

#[tokio::test(start_paused = true)]
async fn delete_takes_delete_options_and_nothing_else() {
    let bench = Bench::new();
    let map = format!("{MAPS}/a");
    let answer = bench
        .write("DELETE", &map, JSON, r#"{"kind":"ConfigMap","apiVersion":"v1"}"#)
        .await;
    assert_eq!(
        (answer.status, answer.message()),
        (
            400,
            "no kind \"ConfigMap\" is registered for version \"v1\" in scheme \
             \"pkg/apis/meta/internalversion/scheme/register.go:27\""
                .to_owned()
        )
    );
    assert_eq!(bench.write("DELETE", &map, "text/plain", "{}").await.status, 415);
    // Where there is a body, the query is not looked at.
    let answer = bench
        .write(
            "DELETE",
            &format!("{map}?propagationPolicy=Nonsense"),
            JSON,
            r#"{"kind":"DeleteOptions","apiVersion":"v1"}"#,
        )
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The old option tells by the status that the object is still there.
    let hold = json!({"metadata": {"finalizers": ["x.io/f"]}});
    bench.write("PATCH", &format!("{FOOS}/f"), MERGE, hold).await;
    let answer = bench
        .write(
            "DELETE",
            &format!("{FOOS}/f"),
            JSON,
            r#"{"orphanDependents":false}"#,
        )
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_continue_token_that_is_none_or_comes_from_the_future_is_refused() {
    let bench = Bench::new();
    let answer = bench.get(&format!("{MAPS}?limit=1&continue=x"), JSON).await;
    assert_eq!(
        (answer.status, answer.message()),
        (
            400,
            "invalid continue token: continue key is not valid: illegal base64 data at input byte 0"
                .to_owned()
        )
    );
    // {"v":"meta.k8s.io/v1","rv":99999999,"start":"/a\u0000"}
    let future = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6OTk5OTk5OTksInN0YXJ0IjoiL2FcdTAwMDAifQ";
    let answer = bench
        .get(&format!("{MAPS}?limit=1&continue={future}"), JSON)
        .await;
    assert_eq!(answer.status, 504);
    assert!(
        answer
            .message()
            .starts_with("Timeout: Too large resource version: 99999999"),
        "{answer:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_form_the_answer_has_not_is_refused_and_its_refusal_is_indented() {
    let bench = Bench::new();
    let (partial, list) = (
        "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1",
        "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1",
    );
    for (uri, accept, why) in [
        (
            MAPS.to_owned(),
            partial,
            "you requested PartialObjectMetadata, but the requested object is a list (*core.ConfigMapList)",
        ),
        (
            FOOS.to_owned(),
            partial,
            "you requested PartialObjectMetadata, but the requested object is a list (*unstructured.UnstructuredList)",
        ),
        (
            format!("{MAPS}/a"),
            list,
            "you requested PartialObjectMetadataList, but the requested object is not a list (*core.ConfigMap)",
        ),
        (
            MAPS.to_owned(),
            "application/json;as=Nonsense;g=meta.k8s.io;v=v1",
            "only the following media types are accepted: application/json, application/yaml, \
             application/vnd.kubernetes.protobuf",
        ),
    ] {
        let answer = bench.get(&uri, accept).await;
        assert_eq!((answer.status, answer.message()), (406, why.to_owned()));
        assert!(answer.text.starts_with("{\n  \"kind\": \"Status\""), "{answer:?}");
        assert!(answer.text.ends_with('}'), "{answer:?}");
    }
    // Any other refusal is indented too where the client can read no plain one.
    let answer = bench.get(&format!("{MAPS}/nope"), partial).await;
    assert!(answer.text.starts_with("{\n"), "{answer:?}");
    let answer = bench
        .get(&format!("{MAPS}/nope"), &format!("{partial},{JSON}"))
        .await;
    assert!(answer.text.starts_with("{\"kind\""), "{answer:?}");
    let old = partial.replace("v=v1", "v=v1beta1");
    let answer = bench.get(&format!("{MAPS}/a"), &old).await;
    assert_eq!(answer.json()["apiVersion"], "meta.k8s.io/v1beta1");
}

#[tokio::test(start_paused = true)]
async fn paths_of_custom_kinds_that_lead_nowhere_are_no_paths() {
    let bench = Bench::new();
    for (method, uri, status, text) in [
        ("GET", "/apis/example.com/v1/nosuch", 404, "404 page not found\n"),
        ("GET", "/apis/example.com/v1/foos/f", 404, "404 page not found\n"),
        ("POST", "/apis/example.com/v1/foos", 404, "404 page not found\n"),
        ("DELETE", "/apis/example.com/v1/foos", 404, "404 page not found\n"),
        ("GET", "/apis/example.com/v2", 404, "404 page not found\n"),
        ("GET", "/apis/example.com/v2/foos", 404, "404 page not found\n"),
        (
            "GET",
            "/apis/example.com/v1/namespaces/default/foos/f/nosuch",
            404,
            "foos.example.com \"f\" not found",
        ),
        (
            "GET",
            "/apis/example.com/v1/namespaces/default/foos/f/nosuch/deeper",
            404,
            "foos.example.com \"f\" not found",
        ),
        (
            "PUT",
            "/apis/example.com/v1/namespaces/default/foos",
            400,
            "name must be provided",
        ),
        (
            "PATCH",
            "/apis/example.com/v1/namespaces/default/foos",
            415,
            "the body of the request was in an unknown format - accepted media types include: \
             application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
        ),
    ] {
        let answer = bench.send(method, uri, &[], "").await;
        assert_eq!(
            (answer.status, answer.message().as_str()),
            (status, text),
            "{method} {uri}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn paths_of_built_in_groups_that_lead_nowhere_name_no_resource() {
    let bench = Bench::new();
    for uri in [
        "/api/v2",
        "/api/v2/pods",
        "/apis/apps/v2",
        "/apis/apps/v2/deployments",
        "/api/v1/namespaces/default/configmaps/a/b/c",
        "/apis/apps/v1/namespaces/default/deployments/d/status/deeper",
        "/api/v1/watch",
    ] {
        for method in ["GET", "POST"] {
            let answer = bench.send(method, uri, &[], "").await;
            assert_eq!(
                (answer.status, answer.message().as_str()),
                (404, "the server could not find the requested resource"),
                "{method} {uri}"
            );
        }
    }
    for uri in [
        "/apis/nosuch.io",
        "/apis/nosuch.io/v1",
        "/apis/nosuch.io/v1/a/b/c/d/e/f",
    ] {
        let answer = bench.send("GET", uri, &[], "").await;
        assert_eq!(
            (answer.status, answer.text.as_str()),
            (404, "404 page not found\n"),
            "{uri}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_number_too_large_is_told_from_what_is_none() {
    let bench = Bench::new();
    const HUGE: &str = "99999999999999999999";
    let body = json!({"metadata": {"name": "a", "resourceVersion": HUGE}});
    for (method, query, body, function) in [
        ("GET", format!("?limit={HUGE}"), String::new(), "ParseInt"),
        (
            "GET",
            format!("?timeoutSeconds=-{HUGE}"),
            String::new(),
            "ParseInt",
        ),
        (
            "DELETE",
            format!("/a?gracePeriodSeconds={HUGE}"),
            String::new(),
            "ParseInt",
        ),
        ("PUT", "/a".to_owned(), body.to_string(), "ParseUint"),
    ] {
        let answer = bench.write(method, &format!("{MAPS}{query}"), JSON, body).await;
        let message = answer.message();
        assert!(
            message.starts_with(&format!("strconv.{function}: parsing \""))
                && message.ends_with(&format!("{HUGE}\": value out of range")),
            "{method} {query}: {message}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_table_with_objects_in_an_unknown_form_is_refused() {
    let bench = Bench::new();
    let table = "application/json;as=Table;g=meta.k8s.io;v=v1,application/json";
    let answer = bench.get(&format!("{MAPS}?includeObject=All"), table).await;
    assert_eq!(
        (answer.status, answer.message()),
        (
            400,
            "Unable to convert to Table as requested: includeObject: Invalid value: \"All\": must be 'Metadata', \
             'Object', 'None', or empty"
                .to_owned()
        )
    );
    // What is written comes back in the form that was asked for, too.
    let headers = [("accept", table), ("content-type", JSON)];
    let made = bench
        .send("POST", MAPS, &headers, r#"{"metadata":{"name":"t"}}"#)
        .await;
    assert_eq!((made.status, made.json()["kind"].clone()), (201, json!("Table")));
}

#[tokio::test(start_paused = true)]
async fn what_a_body_says_too_much_is_told_along_with_the_refusal() {
    let bench = Bench::new();
    let unnamed = bench
        .write("POST", MAPS, JSON, r#"{"metadata":{},"foo":1}"#)
        .await;
    assert_eq!(
        (unnamed.status, unnamed.warnings),
        (422, vec![warning("unknown field \"foo\"")])
    );
    let missing = bench
        .write(
            "PUT",
            &format!("{MAPS}/none"),
            JSON,
            r#"{"metadata":{"name":"none"},"foo":1}"#,
        )
        .await;
    assert_eq!(
        (missing.status, missing.warnings),
        (404, vec![warning("unknown field \"foo\"")])
    );
    let body = r#"{"foo":1,"metadata":{"resourceVersion":"1"}}"#;
    let late = bench.write("PATCH", &format!("{MAPS}/a"), MERGE, body).await;
    assert_eq!(
        (late.status, late.warnings),
        (409, vec![warning("unknown field \"foo\"")])
    );
    // And so is that a kind is on its way out.
    let old = bench.get("/api/v1/namespaces/default/endpoints/none", JSON).await;
    let advice = "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice";
    assert_eq!((old.status, old.warnings), (404, vec![warning(advice)]));
}
