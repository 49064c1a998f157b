//! Objects like those of real clusters, for tests and benches: the same seed gives the same objects.
//!
//! # Examples
//! ```
//! use informer_testkit::{ApiServer, generate};
//! let server = ApiServer::new();
//! let mut rng = fastrand::Rng::with_seed(1);
//! server.load((0..10).map(|i| generate::pod(i, &mut rng)))?;
//! assert_eq!(server.count("pods"), 10);
//! # Ok::<(), informer_testkit::ApiError>(())
//! ```

mod churn;
mod pod;

use serde_json::{Value, json};

pub use self::{churn::Churn, pod::pod};

/// Pods and their like are spread over this many namespaces.
pub const NAMESPACES: usize = 50;

/// The namespace of the `index`-th object: `ns-000` and so on.
pub fn namespace(index: usize) -> String {
    format!("ns-{:03}", index % NAMESPACES)
}

/// A small config map, about 0.5 KB.
pub fn config_map(index: usize, rng: &mut fastrand::Rng) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {
            "name": format!("config-{index:06}"), "namespace": namespace(index),
            "labels": {"app": format!("app-{:03}", index % 200), "tier": pick(rng, &["web", "db", "batch"])},
        },
        "data": {
            "log-level": pick(rng, &["debug", "info", "warn"]),
            "replicas": rng.u32(1..10).to_string(),
            "endpoint": format!("http://service-{:04}.{}.svc:8080", rng.u32(0..1000), namespace(index)),
            "token": text(rng, 64),
        },
    })
}

/// A service with two ports, about 1 KB.
pub fn service(index: usize, rng: &mut fastrand::Rng) -> Value {
    let app = format!("app-{:03}", index % 200);
    let address = format!("10.96.{}.{}", rng.u8(..), rng.u8(1..255));
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": format!("service-{index:06}"), "namespace": namespace(index),
            "labels": {"app": app, "component": pick(rng, &["api", "worker", "cache"])},
        },
        "spec": {
            "clusterIP": address, "clusterIPs": [address], "type": "ClusterIP",
            "internalTrafficPolicy": "Cluster", "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack",
            "ports": [
                {"name": "http", "port": 80, "protocol": "TCP", "targetPort": 8080},
                {"name": "metrics", "port": 9090, "protocol": "TCP", "targetPort": 9090},
            ],
            "selector": {"app": app}, "sessionAffinity": "None",
        },
        "status": {"loadBalancer": {}},
    })
}

/// A ready node, about 2 KB.
pub fn node(index: usize, rng: &mut fastrand::Rng) -> Value {
    let name = format!("node-{index:04}");
    let condition = |kind: &str, status: &str, reason: &str| {
        json!({
            "type": kind, "status": status, "reason": reason, "message": format!("kubelet: {reason}"),
            "lastHeartbeatTime": "2026-01-01T00:00:00Z", "lastTransitionTime": "2025-12-01T00:00:00Z",
        })
    };
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {
                "kubernetes.io/arch": "amd64", "kubernetes.io/hostname": name, "kubernetes.io/os": "linux",
                "topology.kubernetes.io/zone": pick(rng, &["zone-a", "zone-b", "zone-c"]),
            },
            "annotations": {"node.alpha.kubernetes.io/ttl": "0"},
        },
        "spec": {"podCIDR": format!("10.{}.{}.0/24", index / 256 % 256, index % 256)},
        "status": {
            "addresses": [
                {"type": "InternalIP", "address": format!("192.168.{}.{}", index / 256 % 256, index % 256)},
                {"type": "Hostname", "address": name},
            ],
            "allocatable": {"cpu": "7910m", "memory": "31211588Ki", "pods": "110"},
            "capacity": {"cpu": "8", "memory": "32211588Ki", "pods": "110"},
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID"),
                condition("Ready", "True", "KubeletReady"),
            ],
            "nodeInfo": {
                "architecture": "amd64", "operatingSystem": "linux", "kubeletVersion": "v1.36.0",
                "containerRuntimeVersion": "containerd://2.1.0", "kernelVersion": "6.12.0", "osImage": "Linux",
                "machineID": hex(rng, 32), "systemUUID": hex(rng, 32), "bootID": hex(rng, 32),
                "kubeProxyVersion": "",
            },
        },
    })
}

fn pick<'a>(rng: &mut fastrand::Rng, among: &[&'a str]) -> &'a str {
    among[rng.usize(0..among.len())]
}

fn text(rng: &mut fastrand::Rng, len: usize) -> String {
    (0..len).map(|_| rng.alphanumeric()).collect()
}

fn hex(rng: &mut fastrand::Rng, len: usize) -> String {
    (0..len).map(|_| rng.digit(16)).collect()
}
