//! A pod as a busy cluster has it.

use serde_json::{Map, Value, json};

use super::{hex, namespace, pick, text};

/// The `index`-th pod: running, about 9 KB of JSON.
///
/// 15 labels, 7 annotations, 2.9 KB of managed fields, 2 containers, 2 volumes, 5 conditions. It belongs to one of
/// 200 apps and runs on one of 1,000 nodes.
pub fn pod(index: usize, rng: &mut fastrand::Rng) -> Value {
    let app = format!("app-{:03}", index % 200);
    let hash = hex(rng, 10);
    let ip = format!(
        "10.{}.{}.{}",
        index / 65_536 % 256,
        index / 256 % 256,
        index % 256
    );
    let node = format!("node-{:04}", rng.u32(0..1000));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": format!("{app}-{hash}-{index:06}"),
            "generateName": format!("{app}-{hash}-"),
            "namespace": namespace(index),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "generation": 1,
            "labels": labels(index, &app, &hash, rng),
            "annotations": annotations(&app, rng),
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": format!("{app}-{hash}"),
                "uid": uuid(rng), "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": managed_fields(),
        },
        "spec": spec(&app, &node, rng),
        "status": status(&ip, rng),
    })
}

fn uuid(rng: &mut fastrand::Rng) -> String {
    let h = hex(rng, 32);
    format!(
        "{}-{}-{}-{}-{}",
        &h[..8],
        &h[8..12],
        &h[12..16],
        &h[16..20],
        &h[20..]
    )
}

fn labels(index: usize, app: &str, hash: &str, rng: &mut fastrand::Rng) -> Value {
    json!({
        "app": app, "pod-template-hash": hash,
        "app.kubernetes.io/name": app, "app.kubernetes.io/instance": format!("{app}-{}", index % 7),
        "app.kubernetes.io/version": format!("1.{}.{}", rng.u8(0..20), rng.u8(0..50)),
        "app.kubernetes.io/component": pick(rng, &["server", "worker", "cache"]),
        "app.kubernetes.io/part-of": format!("platform-{:02}", index % 20),
        "app.kubernetes.io/managed-by": "Helm", "helm.sh/chart": format!("{app}-1.2.3"),
        "environment": pick(rng, &["production", "staging", "test"]),
        "team": format!("team-{:02}", index % 30), "tier": pick(rng, &["web", "db", "batch"]),
        "region": "eu-central-1", "cost-center": format!("cc-{:04}", rng.u16(0..2000)),
        "security.istio.io/tlsMode": "istio",
    })
}

fn annotations(app: &str, rng: &mut fastrand::Rng) -> Value {
    json!({
        "checksum/config": hex(rng, 64), "checksum/secret": hex(rng, 64),
        "prometheus.io/scrape": "true", "prometheus.io/port": "9090", "prometheus.io/path": "/metrics",
        "kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z",
        "kubectl.kubernetes.io/default-container": app,
    })
}

fn container(name: &str, app: &str, rng: &mut fastrand::Rng) -> Value {
    let env: Vec<Value> = (0..4)
        .map(|n| json!({"name": format!("SETTING_{n}"), "value": text(rng, 12)}))
        .chain([
            json!({"name": "POD_NAME", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}}),
            json!({"name": "POD_IP", "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": "status.podIP"}}}),
        ])
        .collect();
    let probe = |path: &str| {
        json!({
            "httpGet": {"path": path, "port": 8080, "scheme": "HTTP"}, "initialDelaySeconds": 5,
            "periodSeconds": 10, "timeoutSeconds": 1, "successThreshold": 1, "failureThreshold": 3,
        })
    };
    json!({
        "name": name, "image": format!("registry.example.com/{app}/{name}:1.2.3"), "imagePullPolicy": "IfNotPresent",
        "env": env,
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "resources": {"limits": {"cpu": "1", "memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "128Mi"}},
        "livenessProbe": probe("/healthz"), "readinessProbe": probe("/readyz"),
        "securityContext": {"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "runAsUser": 1000},
        "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "config", "mountPath": "/etc/config", "readOnly": true},
            {"name": "kube-api-access", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "readOnly": true},
        ],
    })
}

fn spec(app: &str, node: &str, rng: &mut fastrand::Rng) -> Value {
    json!({
        "containers": [container("main", app, rng), container("sidecar", app, rng)],
        "dnsPolicy": "ClusterFirst", "enableServiceLinks": true, "nodeName": node,
        "preemptionPolicy": "PreemptLowerPriority", "priority": 0, "restartPolicy": "Always",
        "schedulerName": "default-scheduler", "securityContext": {}, "serviceAccount": app,
        "serviceAccountName": app, "terminationGracePeriodSeconds": 30,
        "tolerations": [
            {"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
            {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300},
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": format!("{app}-config"), "defaultMode": 420}},
            {"name": "kube-api-access", "projected": {"defaultMode": 420, "sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            ]}},
        ],
    })
}

fn status(ip: &str, rng: &mut fastrand::Rng) -> Value {
    let since = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastProbeTime": null, "lastTransitionTime": since});
    let kinds = [
        "PodReadyToStartContainers",
        "Initialized",
        "Ready",
        "ContainersReady",
        "PodScheduled",
    ];
    let conditions = kinds.map(condition);
    let host = format!("192.168.{}.{}", rng.u8(..), rng.u8(1..255));
    let container = |name: &str, rng: &mut fastrand::Rng| {
        json!({
            "name": name, "ready": true, "started": true, "restartCount": rng.u8(0..3),
            "image": format!("registry.example.com/{name}:1.2.3"),
            "imageID": format!("registry.example.com/{name}@sha256:{}", hex(rng, 64)),
            "containerID": format!("containerd://{}", hex(rng, 64)),
            "lastState": {}, "state": {"running": {"startedAt": since}},
        })
    };
    json!({
        "phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": host, "hostIPs": [{"ip": host}],
        "qosClass": "Burstable", "startTime": since,
        "conditions": conditions,
        "containerStatuses": [container("main", rng), container("sidecar", rng)],
    })
}

/// Two entries, as the controller that made the pod and the kubelet leave them.
fn managed_fields() -> Value {
    let leaf = |names: &[&str]| -> Value {
        names
            .iter()
            .map(|name| (format!("f:{name}"), json!({})))
            .collect::<Map<_, _>>()
            .into()
    };
    let container = |name: &str| {
        let mut fields = leaf(&[
            "image",
            "imagePullPolicy",
            "name",
            "terminationMessagePath",
            "terminationMessagePolicy",
            "resources",
        ]);
        fields["."] = json!({});
        fields["f:env"] = json!({
            ".": {}, "k:{\"name\":\"SETTING_0\"}": {".": {}, "f:name": {}, "f:value": {}},
            "k:{\"name\":\"SETTING_1\"}": {".": {}, "f:name": {}, "f:value": {}},
            "k:{\"name\":\"POD_NAME\"}": {".": {}, "f:name": {}, "f:valueFrom": {".": {}, "f:fieldRef": {}}},
        });
        for probe in ["f:livenessProbe", "f:readinessProbe"] {
            fields[probe] = json!({
                ".": {}, "f:failureThreshold": {}, "f:httpGet": {".": {}, "f:path": {}, "f:port": {}, "f:scheme": {}},
                "f:initialDelaySeconds": {}, "f:periodSeconds": {}, "f:successThreshold": {}, "f:timeoutSeconds": {},
            });
        }
        fields["f:volumeMounts"] = json!({
            ".": {}, "k:{\"mountPath\":\"/etc/config\"}": {".": {}, "f:mountPath": {}, "f:name": {}, "f:readOnly": {}},
        });
        (format!("k:{{\"name\":\"{name}\"}}"), fields)
    };
    let containers: Map<String, Value> = [container("main"), container("sidecar")].into_iter().collect();
    let conditions: Map<String, Value> = ["ContainersReady", "Initialized", "Ready"]
        .map(|kind| {
            let fields = leaf(&["lastProbeTime", "lastTransitionTime", "status", "type"]);
            (format!("k:{{\"type\":\"{kind}\"}}"), fields)
        })
        .into_iter()
        .collect();
    json!([
        {
            "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1",
            "time": "2026-01-01T00:00:00Z", "fieldsType": "FieldsV1",
            "fieldsV1": {
                "f:metadata": {
                    "f:annotations": leaf(&["checksum/config", "checksum/secret", "prometheus.io/scrape"]),
                    "f:generateName": {},
                    "f:labels": leaf(&["app", "pod-template-hash", "team", "tier"]),
                    "f:ownerReferences": {".": {}},
                },
                "f:spec": {
                    "f:containers": containers, "f:dnsPolicy": {}, "f:enableServiceLinks": {}, "f:restartPolicy": {},
                    "f:schedulerName": {}, "f:securityContext": {}, "f:terminationGracePeriodSeconds": {},
                },
            },
        },
        {
            "manager": "kubelet", "operation": "Update", "apiVersion": "v1", "subresource": "status",
            "time": "2026-01-01T00:00:05Z", "fieldsType": "FieldsV1",
            "fieldsV1": {"f:status": {
                "f:conditions": conditions, "f:containerStatuses": {}, "f:hostIP": {}, "f:phase": {}, "f:podIP": {},
                "f:startTime": {},
            }},
        },
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_as_large_and_as_structured_as_promised() {
        let pod = pod(7, &mut fastrand::Rng::with_seed(1));
        let size = pod.to_string().len();
        assert!((8_500..=9_500).contains(&size), "{size}");
        let managed = pod["metadata"]["managedFields"].to_string().len();
        assert!((2_600..=3_200).contains(&managed), "{managed}");
        let count = |path: &str| match pod.pointer(path) {
            Some(Value::Array(list)) => list.len(),
            Some(Value::Object(map)) => map.len(),
            _ => 0,
        };
        assert_eq!(count("/metadata/labels"), 15);
        assert_eq!(count("/metadata/annotations"), 7);
        assert_eq!(count("/spec/containers"), 2);
        assert_eq!(count("/spec/volumes"), 2);
        assert_eq!(count("/status/conditions"), 5);
    }

    #[test]
    fn the_same_seed_gives_the_same_pods() {
        let make = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            (0..5).map(|i| pod(i, &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(make(3), make(3));
        assert_ne!(make(3), make(4));
    }
}
