//! Rules of single kinds, as controllers and their tests meet them.

use informer_testkit::ApiServer;
use serde_json::{Value, json};

async fn send(server: &ApiServer, method: &str, uri: &str, body: Value) -> (u16, Value) {
    let (status, text) = server.request(method, uri, body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn refused(server: &ApiServer, uri: &str, body: Value) -> String {
    let (status, answer) = send(server, "POST", uri, body).await;
    assert_eq!(status, 422, "{answer}");
    answer["message"].as_str().unwrap_or_default().to_owned()
}

const DEFAULT: &str = "/api/v1/namespaces/default";
const DEPLOYMENTS: &str = "/apis/apps/v1/namespaces/default/deployments";

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
}

#[tokio::test(start_paused = true)]
async fn a_workload_s_selector_must_be_there_and_fit_its_template() {
    let server = ApiServer::builder().build();
    let mismatch = "spec.template.metadata.labels: Invalid value: {\"a\":\"b\"}: `selector` does not match template `labels`";
    for (selector, why) in [
        (
            Value::Null,
            format!("[spec.selector: Required value, {mismatch}]"),
        ),
        (json!({"matchLabels": {"a": "c"}}), mismatch.to_owned()),
        (
            json!({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}),
            mismatch.to_owned(),
        ),
        (
            json!({}),
            "spec.selector: Invalid value: {}: empty selector is invalid for deployment".to_owned(),
        ),
    ] {
        let body = json!({"metadata": {"name": "d"}, "spec": {"selector": selector, "template": template()}});
        assert_eq!(
            refused(&server, DEPLOYMENTS, body).await,
            format!("Deployment.apps \"d\" is invalid: {why}")
        );
    }
    let mut never = json!({"metadata": {"name": "d"}, "spec": {"template": template(),
        "selector": {"matchExpressions": [{"key": "a", "operator": "Exists"}]}}});
    never["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    assert_eq!(
        refused(&server, DEPLOYMENTS, never).await,
        "Deployment.apps \"d\" is invalid: spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported \
         values: \"Always\""
    );
}

#[tokio::test(start_paused = true)]
async fn a_running_pod_changes_in_a_few_ways_alone() {
    let server = ApiServer::builder().build();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let uri = format!("{DEFAULT}/pods");
    let (_, made) = send(&server, "POST", &uri, pod.clone()).await;
    let uri = format!("{uri}/p");
    let mut moved = made.clone();
    moved["spec"]["nodeName"] = json!("n");
    let (status, answer) = send(&server, "PUT", &uri, moved).await;
    assert_eq!(status, 422, "{answer}");
    assert!(
        answer["message"].as_str().is_some_and(
            |m| m.starts_with("Pod \"p\" is invalid: spec: Forbidden: pod updates may not change fields")
        ),
        "{answer}"
    );
    let mut image = made.clone();
    image["spec"]["containers"][0]["image"] = json!("y");
    image["spec"]["activeDeadlineSeconds"] = json!(9);
    let (status, answer) = send(&server, "PUT", &uri, image).await;
    assert_eq!(
        (status, &answer["metadata"]["generation"]),
        (200, &json!(2)),
        "{answer}"
    );
    // What the server added does not have to be sent back.
    let mut again = pod;
    again["spec"]["containers"][0]["image"] = json!("y");
    again["spec"]["activeDeadlineSeconds"] = json!(9);
    let (status, answer) = send(&server, "PUT", &uri, again).await;
    assert_eq!(
        (status, &answer["metadata"]["generation"]),
        (200, &json!(2)),
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_status_of_a_pod_is_written_with_its_labels_that_of_a_custom_object_alone() {
    let server = ApiServer::builder().build();
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "x"}]}});
    let (_, mut pod) = send(&server, "POST", &format!("{DEFAULT}/pods"), pod).await;
    pod["metadata"]["labels"] = json!({"a": "b"});
    pod["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "X", "name": "x", "uid": "u"}]);
    pod["status"]["phase"] = json!("Running");
    let (status, answer) = send(&server, "PUT", &format!("{DEFAULT}/pods/p/status"), pod).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["metadata"]["labels"], json!({"a": "b"}));
    assert_eq!(answer["metadata"].get("ownerReferences"), None);
    assert_eq!(answer["status"]["phase"], "Running");
}

#[tokio::test(start_paused = true)]
async fn services_jobs_leases_and_events_have_rules_of_their_own() {
    let server = ApiServer::builder().build();
    for (uri, body, why) in [
        (
            format!("{DEFAULT}/services"),
            json!({"metadata": {"name": "s"}, "spec": {}}),
            "Service \"s\" is invalid: spec.ports: Required value",
        ),
        (
            format!("{DEFAULT}/services"),
            json!({"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80, "name": "a"}, {"port": 0}]}}),
            "Service \"s\" is invalid: [spec.ports[1].name: Required value, spec.ports[1].port: Invalid value: 0: must be \
             between 1 and 65535, inclusive]",
        ),
        (
            "/apis/batch/v1/namespaces/default/jobs".to_owned(),
            json!({"metadata": {"name": "j"}, "spec": {"template": template()}}),
            "Job.batch \"j\" is invalid: spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \
             \"Never\"",
        ),
        (
            "/apis/coordination.k8s.io/v1/namespaces/default/leases".to_owned(),
            json!({"metadata": {"name": "l"}, "spec": {"leaseDurationSeconds": 0}}),
            "Lease.coordination.k8s.io \"l\" is invalid: spec.leaseDurationSeconds: Invalid value: 0: must be greater than \
             0",
        ),
        (
            format!("{DEFAULT}/events"),
            json!({"metadata": {"name": "e"}, "involvedObject": {"namespace": "other"}}),
            "Event \"e\" is invalid: involvedObject.namespace: Invalid value: \"other\": does not match event.namespace",
        ),
    ] {
        assert_eq!(refused(&server, &uri, body).await, why);
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_a_cluster_needs_stay() {
    let server = ApiServer::builder().build();
    let (status, answer) = send(&server, "DELETE", "/api/v1/namespaces/kube-system", json!({})).await;
    assert_eq!(
        (status, &answer["message"]),
        (
            403,
            &json!("namespaces \"kube-system\" is forbidden: this namespace may not be deleted")
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_custom_object_names_its_kind_and_version() {
    let server = ApiServer::builder().build();
    server.register(informer_testkit::Kind::new("example.com", "v1", "Foo", "foos"));
    let uri = "/apis/example.com/v1/namespaces/default/foos";
    for (body, status, why) in [
        (
            json!({"metadata": {"name": "f"}}),
            400,
            "the object provided is unrecognized (must be of type Foo): Object 'Kind' is missing in \
             '{\"metadata\":{\"name\":\"f\"}}' ({\"metadata\":{\"name\":\"f\"}})",
        ),
        (
            json!({"kind": "Foo", "metadata": {"name": "f"}}),
            400,
            "the API version in the data () does not match the expected API version (example.com/v1)",
        ),
        (
            json!({"apiVersion": "example.com/v1", "kind": "Bar", "metadata": {"name": "f"}}),
            422,
            "Bar.example.com \"f\" is invalid: kind: Invalid value: \"Bar\": must be Foo",
        ),
        (
            json!({"apiVersion": "example.com/v1", "kind": "Foo", "metadata": {"name": "f", "labels": {"a": 1}}}),
            400,
            "Foo in version \"v1\" cannot be handled as a Foo: json: cannot unmarshal number into Go struct field \
             ObjectMeta.labels of type string",
        ),
    ] {
        let (found, answer) = send(&server, "POST", uri, body).await;
        assert_eq!((found, answer["message"].as_str()), (status, Some(why)));
    }
}

#[tokio::test(start_paused = true)]
async fn scale_is_read_as_a_type_of_its_own() {
    let server = ApiServer::builder().build();
    let body = json!({"metadata": {"name": "d"}, "spec": {"replicas": 1, "template": template(),
        "selector": {"matchLabels": {"a": "b"}}}});
    assert_eq!(send(&server, "POST", DEPLOYMENTS, body).await.0, 201);
    let scale = format!("{DEPLOYMENTS}/d/scale");
    for (body, status) in [
        (json!({"metadata": {"name": "d"}, "spec": {"replicas": 3}}), 200),
        (json!({"spec": {"replicas": 3}}), 400),
        (json!({"metadata": {"name": "d"}, "spec": {"replicas": "3"}}), 400),
        (json!({"metadata": {"name": "d"}, "spec": {"replicas": -3}}), 422),
        (
            json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "d"}}),
            400,
        ),
        (
            json!({"metadata": {"name": "d", "resourceVersion": "1"}, "spec": {"replicas": 3}}),
            409,
        ),
    ] {
        let (found, answer) = send(&server, "PUT", &scale, body.clone()).await;
        assert_eq!(found, status, "{body}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn one_object_is_read_whatever_the_query_says_about_watching() {
    let server = ApiServer::builder().build();
    server
        .create("configmaps", json!({"metadata": {"name": "a"}}))
        .expect("created");
    let uri = format!("{DEFAULT}/configmaps/a?watch=true");
    let (status, answer) = send(&server, "GET", &uri, json!({})).await;
    assert_eq!((status, &answer["kind"]), (200, &json!("ConfigMap")));
}

#[tokio::test(start_paused = true)]
async fn health_has_a_check_for_each_part() {
    let server = ApiServer::builder().build();
    for (uri, expect) in [
        ("/livez", (200, "ok".to_owned())),
        ("/livez/ping", (200, "ok".to_owned())),
        (
            "/readyz/poststarthook/crd-informer-synced",
            (200, "ok".to_owned()),
        ),
        ("/livez/shutdown", (404, "404 page not found\n".to_owned())),
    ] {
        assert_eq!(server.request("GET", uri, "").await, expect, "{uri}");
    }
    let (_, text) = server
        .request("GET", "/readyz?verbose&exclude=log&exclude=nope", "")
        .await;
    assert!(text.starts_with("[+]ping ok\n[+]log excluded: ok\n"), "{text}");
    let end = "warn: some health checks cannot be excluded: no matches for \"nope\"\nreadyz check passed\n";
    assert!(text.ends_with(end), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_job_s_pods_live_on_unless_the_delete_says_otherwise() {
    let server = ApiServer::builder().garbage_collection(false).build();
    let uri = "/apis/batch/v1/namespaces/default/jobs";
    let mut job = json!({"metadata": {"name": "j"}, "spec": {"template": template()}});
    job["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
    for (name, options, finalizers) in [
        ("a", json!({}), json!(["orphan"])),
        ("b", json!({"propagationPolicy": "Background"}), Value::Null),
    ] {
        job["metadata"]["name"] = json!(name);
        assert_eq!(send(&server, "POST", uri, job.clone()).await.0, 201);
        let (status, answer) = send(&server, "DELETE", &format!("{uri}/{name}"), options).await;
        assert_eq!(status, 200);
        let found = answer["metadata"].get("finalizers").cloned().unwrap_or_default();
        assert_eq!(found, finalizers, "{answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_create_is_refused_for_its_namespace_first_and_for_its_version_last() {
    let server = ApiServer::builder().build();
    for (uri, metadata, status) in [
        (
            "/api/v1/namespaces/nope/configmaps",
            json!({"name": "Bad_Name"}),
            404,
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"name": "Bad_Name", "resourceVersion": "5"}),
            422,
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"name": "a", "resourceVersion": "5"}),
            500,
        ),
        (
            "/api/v1/namespaces/default/configmaps",
            json!({"name": "a", "resourceVersion": "0"}),
            201,
        ),
    ] {
        let (found, answer) = send(&server, "POST", uri, json!({"metadata": metadata})).await;
        assert_eq!(found, status, "{metadata}: {answer}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_s_version_rule_is_told_in_full() {
    let server = ApiServer::builder().build();
    let needs = "resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
    let only = "resourceVersionMatch: Unsupported value: \"Exact\": supported values: \"NotOlderThan\"";
    for (query, why) in [
        (
            "sendInitialEvents=true&resourceVersionMatch=Exact",
            format!("[{needs}, {only}]"),
        ),
        (
            "resourceVersionMatch=Exact",
            format!(
                "[resourceVersionMatch: Forbidden: resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided, {only}]"
            ),
        ),
    ] {
        let uri = format!("{DEFAULT}/configmaps?watch=true&{query}");
        let (status, answer) = send(&server, "GET", &uri, json!({})).await;
        assert_eq!(
            (status, answer["message"].as_str()),
            (
                422,
                Some(format!("ListOptions.meta.k8s.io \"\" is invalid: {why}").as_str())
            )
        );
    }
}

#[tokio::test(start_paused = true)]
async fn some_kinds_are_deleted_with_their_last_state_others_with_a_word() {
    let server = ApiServer::builder().build();
    for (plural, object, answer) in [
        (
            "services",
            json!({"metadata": {"name": "x"}, "spec": {"ports": [{"port": 80}]}}),
            "Service",
        ),
        (
            "serviceaccounts",
            json!({"metadata": {"name": "x"}}),
            "ServiceAccount",
        ),
        ("configmaps", json!({"metadata": {"name": "x"}}), "Status"),
    ] {
        let uri = format!("{DEFAULT}/{plural}");
        assert_eq!(send(&server, "POST", &uri, object).await.0, 201);
        let (status, body) = send(&server, "DELETE", &format!("{uri}/x"), json!({})).await;
        assert_eq!((status, &body["kind"]), (200, &json!(answer)));
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_collection_is_answered_as_it_was_before() {
    let server = ApiServer::builder().build();
    for name in ["a", "b", "c"] {
        server
            .create("configmaps", json!({"metadata": {"name": name}}))
            .expect("created");
    }
    let before = server.revision();
    let uri = format!("{DEFAULT}/configmaps");
    let (_, listed) = send(&server, "GET", &format!("{uri}?limit=2"), json!({})).await;
    let (status, deleted) = send(&server, "DELETE", &format!("{uri}?limit=2"), json!({})).await;
    assert_eq!((status, &deleted), (200, &listed));
    assert_eq!(deleted["metadata"]["resourceVersion"], before.to_string());
    assert_eq!(server.count("configmaps"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_secret_of_a_known_type_holds_what_it_is_for() {
    let server = ApiServer::builder().build();
    let uri = format!("{DEFAULT}/secrets");
    for (kind, data, why) in [
        ("tls", json!({"tls.crt": "YQ=="}), "data[tls.key]: Required value"),
        (
            "basic-auth",
            json!({}),
            "[data[username]: Required value, data[password]: Required value]",
        ),
        ("ssh-auth", json!({}), "data[ssh-privatekey]: Required value"),
        (
            "service-account-token",
            json!({}),
            "metadata.annotations[kubernetes.io/service-account.name]: Required value",
        ),
    ] {
        let body =
            json!({"metadata": {"name": "s"}, "type": format!("kubernetes.io/{kind}"), "data": data.clone()});
        assert_eq!(
            refused(&server, &uri, body).await,
            format!("Secret \"s\" is invalid: {why}")
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_namespace_keeps_the_label_of_its_name_and_a_phase_that_fits() {
    let server = ApiServer::builder().build();
    let uri = "/api/v1/namespaces/default";
    let body = json!({"metadata": {"name": "default", "labels": {"x": "y"}}});
    let (status, answer) = send(&server, "PUT", uri, body).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["metadata"]["labels"],
        json!({"kubernetes.io/metadata.name": "default", "x": "y"})
    );
    let body = json!({"metadata": {"name": "default"}, "status": {"phase": "Terminating"}});
    let (status, answer) = send(&server, "PUT", &format!("{uri}/status"), body).await;
    assert_eq!(
        (status, answer["message"].as_str().unwrap_or_default()),
        (
            422,
            "Namespace \"default\" is invalid: status.Phase: Invalid value: \"Terminating\": may only be 'Active' if \
             `deletionTimestamp` is empty"
        )
    );
}

#[tokio::test(start_paused = true)]
async fn a_foreground_deletion_takes_all_dependents_but_those_another_owner_holds() {
    let server = ApiServer::builder().build();
    let maps = format!("{DEFAULT}/configmaps");
    let mut owners = Vec::new();
    for name in ["going", "staying"] {
        let (_, owner) = send(&server, "POST", &maps, json!({"metadata": {"name": name}})).await;
        owners.push(json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name,
            "uid": owner["metadata"]["uid"], "blockOwnerDeletion": true}));
    }
    let mut loose = owners[0].clone();
    loose["blockOwnerDeletion"] = json!(false);
    for (name, owners, finalizers) in [
        ("held", json!([owners[0]]), json!(["example.com/f"])),
        ("loose", json!([loose]), json!([])),
        ("shared", json!([owners[0], owners[1]]), json!([])),
    ] {
        let meta = json!({"name": name, "ownerReferences": owners, "finalizers": finalizers});
        assert_eq!(
            send(&server, "POST", &maps, json!({"metadata": meta})).await.0,
            201
        );
    }
    let options = json!({"propagationPolicy": "Foreground"});
    assert_eq!(
        send(&server, "DELETE", &format!("{maps}/going"), options).await.0,
        200
    );
    // The one with a finalizer holds its owner up; the one that blocks nothing goes at once.
    let meta = |name: &str| Some(server.get("configmaps", "default", name)?["metadata"].clone());
    assert!(meta("going").is_some());
    assert!(meta("held").is_some_and(|m| m["deletionTimestamp"].is_string()));
    assert_eq!(meta("loose"), None);
    let shared = meta("shared").expect("held by the other owner");
    assert!(shared["deletionTimestamp"].is_null(), "{shared}");
    assert_eq!(shared["ownerReferences"], json!([owners[1]]));
}
