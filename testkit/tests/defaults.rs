//! What the server fills in on objects of kinds that no recording covers.

use informer_testkit::ApiServer;
use serde_json::{Value, json};

async fn send(server: &ApiServer, method: &str, uri: &str, body: Value) -> (u16, Value) {
    let (status, text) = server.request(method, uri, body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn create(server: &ApiServer, uri: &str, mut body: Value) -> Value {
    if body["metadata"]["name"].is_null() {
        body["metadata"]["name"] = json!("x");
    }
    let (status, made) = send(server, "POST", uri, body).await;
    assert_eq!(status, 201, "{made}");
    made
}

const CORE: &str = "/api/v1/namespaces/default";

fn template() -> Value {
    json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}})
}

/// Where an object is created, what is sent, and which fields come back.
type Case = (&'static str, Value, &'static [(&'static str, &'static str)]);

#[tokio::test(start_paused = true)]
async fn fields_left_out_are_filled_in() {
    let server = ApiServer::builder().build();
    let cases: Vec<Case> = vec![
        (
            "/apis/storage.k8s.io/v1/storageclasses",
            json!({"provisioner": "a.b/c"}),
            &[
                ("/reclaimPolicy", "\"Delete\""),
                ("/volumeBindingMode", "\"Immediate\""),
            ],
        ),
        (
            "/apis/scheduling.k8s.io/v1/priorityclasses",
            json!({"value": 1}),
            &[("/preemptionPolicy", "\"PreemptLowerPriority\"")],
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies",
            json!({"spec": {"podSelector": {}, "egress": [{"ports": [{"port": 1}]}]}}),
            &[
                ("/spec/policyTypes", "[\"Ingress\",\"Egress\"]"),
                ("/spec/egress/0/ports/0/protocol", "\"TCP\""),
            ],
        ),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            json!({"addressType": "IPv4", "endpoints": [], "ports": [{"port": 1}]}),
            &[("/ports/0", "{\"name\":\"\",\"port\":1,\"protocol\":\"TCP\"}")],
        ),
        (
            "/api/v1/namespaces/default/limitranges",
            json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1000m"}, "min": {"memory": "1"}}]}}),
            &[
                ("/spec/limits/0/default", "{\"cpu\":\"1\"}"),
                (
                    "/spec/limits/0/defaultRequest",
                    "{\"cpu\":\"1\",\"memory\":\"1\"}",
                ),
            ],
        ),
        (
            "/api/v1/namespaces/default/replicationcontrollers",
            json!({"spec": {"template": template()}}),
            &[
                ("/spec/selector", "{\"a\":\"b\"}"),
                ("/metadata/labels", "{\"a\":\"b\"}"),
            ],
        ),
        (
            "/api/v1/namespaces/default/podtemplates",
            json!({"template": template()}),
            &[("/template/spec/restartPolicy", "\"Always\"")],
        ),
        (
            "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
            json!({"webhooks": [{"name": "a.b.c", "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": {"name": "s", "namespace": "n"}},
                "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]}]}),
            &[
                ("/webhooks/0/failurePolicy", "\"Fail\""),
                ("/webhooks/0/reinvocationPolicy", "\"Never\""),
                ("/webhooks/0/timeoutSeconds", "10"),
                ("/webhooks/0/rules/0/scope", "\"*\""),
                ("/webhooks/0/clientConfig/service/port", "443"),
            ],
        ),
        (
            "/apis/apps/v1/namespaces/default/statefulsets",
            json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template(), "serviceName": "s",
                "volumeClaimTemplates": [{"metadata": {"name": "v"}, "spec": {"accessModes": ["ReadWriteOnce"],
                    "resources": {"requests": {"storage": "1Gi"}}}}]}}),
            &[
                ("/spec/volumeClaimTemplates/0/kind", "\"PersistentVolumeClaim\""),
                ("/spec/volumeClaimTemplates/0/status", "{\"phase\":\"Pending\"}"),
                ("/spec/volumeClaimTemplates/0/spec/volumeMode", "\"Filesystem\""),
            ],
        ),
        (
            "/api/v1/namespaces/default/pods",
            json!({"spec": {"hostNetwork": true, "volumes": [{"name": "v"}], "containers": [{"name": "c", "image": "x",
                "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": "1"}},
                "lifecycle": {"preStop": {"httpGet": {"port": 1}}}}]}}),
            &[
                ("/spec/volumes/0/emptyDir", "{}"),
                ("/spec/containers/0/ports/0/hostPort", "80"),
                ("/spec/containers/0/resources/requests", "{\"cpu\":\"1\"}"),
                ("/spec/containers/0/lifecycle/preStop/httpGet/scheme", "\"HTTP\""),
            ],
        ),
    ];
    for (uri, body, fields) in cases {
        let made = create(&server, uri, body).await;
        for (path, value) in fields {
            let wanted: Value = serde_json::from_str(value).expect("JSON");
            assert_eq!(made.pointer(path), Some(&wanted), "{path} of {made}");
        }
        // What was filled in is no change.
        let one = format!("{uri}/x");
        let (status, again) = send(&server, "PUT", &one, made.clone()).await;
        assert_eq!((status, &again), (200, &made));
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_counts_its_templates() {
    const GENERATION: &str = "/metadata/annotations/deprecated.daemonset.template.generation";
    let server = ApiServer::builder().build();
    let uri = "/apis/apps/v1/namespaces/default/daemonsets";
    let body = json!({"spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template()}});
    let mut made = create(&server, uri, body).await;
    assert_eq!(made.pointer(GENERATION), Some(&json!("1")));
    // Nobody takes the count away.
    made["metadata"]["annotations"] = json!({"own": "1"});
    made["spec"]["minReadySeconds"] = json!(1);
    let (_, kept) = send(&server, "PUT", &format!("{uri}/x"), made).await;
    assert_eq!(kept.pointer(GENERATION), Some(&json!("1")));
    let mut changed = kept;
    changed["spec"]["template"]["spec"]["containers"][0]["image"] = json!("y");
    let (_, changed) = send(&server, "PUT", &format!("{uri}/x"), changed).await;
    assert_eq!(changed.pointer(GENERATION), Some(&json!("2")));
    assert_eq!(changed["metadata"]["generation"], 3);
}

#[tokio::test(start_paused = true)]
async fn services_have_ports_on_nodes_and_keep_them() {
    let server = ApiServer::builder().build();
    let uri = format!("{CORE}/services");
    let ports = json!([{"name": "a", "port": 80}, {"name": "b", "port": 81}]);
    let body = json!({"spec": {"type": "NodePort", "ports": ports}});
    let made = create(&server, &uri, body.clone()).await;
    let numbers = |service: &Value| -> Vec<u64> {
        let ports = service["spec"]["ports"].as_array().expect("ports");
        ports
            .iter()
            .filter_map(|port| port["nodePort"].as_u64())
            .collect()
    };
    let first = numbers(&made);
    assert_eq!(first.len(), 2);
    assert!(
        first.iter().all(|port| (30_000..32_768).contains(port)),
        "{first:?}"
    );
    assert_ne!(first[0], first[1]);
    let mut again = body;
    again["metadata"] = json!({"name": "x", "labels": {"a": "b"}});
    let (status, updated) = send(&server, "PUT", &format!("{uri}/x"), again).await;
    assert_eq!((status, numbers(&updated)), (200, first));
    // A service inside the cluster has none, until it becomes one of nodes.
    let inner = create(
        &server,
        &uri,
        json!({"metadata": {"name": "y"}, "spec": {"ports": [{"port": 80}]}}),
    )
    .await;
    assert_eq!(numbers(&inner), [0_u64; 0]);
    let mut outer = inner;
    outer["spec"]["type"] = json!("NodePort");
    let (_, outer) = send(&server, "PUT", &format!("{uri}/y"), outer).await;
    assert_eq!(numbers(&outer).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn claims_are_protected_until_they_are_deleted() {
    let claim =
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}});
    let uri = format!("{CORE}/persistentvolumeclaims");
    for garbage in [true, false] {
        let server = ApiServer::builder().garbage_collection(garbage).build();
        let made = create(&server, &uri, claim.clone()).await;
        assert_eq!(
            made["metadata"]["finalizers"],
            json!(["kubernetes.io/pvc-protection"])
        );
        let (status, answer) = send(&server, "DELETE", &format!("{uri}/x"), json!({})).await;
        assert_eq!(
            (status, answer["metadata"]["deletionTimestamp"].is_string()),
            (200, true)
        );
        // Somebody has to take the protection off.
        assert_eq!(server.count("persistentvolumeclaims"), usize::from(!garbage));
    }
}
