//! Deployments and replica sets with pods that run at once: enough for `kubectl rollout status` and `scale`.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{Place, is_deleting, references, text};
use crate::api::write::create_object;
use crate::discovery::hex_hash;
use crate::kind::Kind;
use crate::state::State;
use crate::storage::Key;
use crate::write::{DeleteOptions, Target, stamp};

const REVISION: &str = "deployment.kubernetes.io/revision";
const HASH: &str = "pod-template-hash";

/// Whether changes of this kind are looked at.
pub(super) fn concerns(kind: &Kind) -> bool {
    kind.is_pod() || (kind.group == "apps" && matches!(kind.kind.as_str(), "Deployment" | "ReplicaSet"))
}

impl State {
    /// Brings a deployment, replica set or pod closer to what is wanted.
    pub(super) fn reconcile_workload(&mut self, place: &Place) {
        let Some((kind, object)) = self.read(place) else {
            return;
        };
        match kind.kind.as_str() {
            "Pod" if is_deleting(&object) => self.delete_at(&kind, &place.1, &DeleteOptions::default()),
            "Pod" => {}
            _ if is_deleting(&object) => {}
            "Deployment" => self.roll_out(&kind, &place.1, &object),
            _ => self.fill(&kind, &place.1, &object),
        }
    }

    fn owned(&self, plural: &str, group: &str, owner: &Value) -> Vec<(Key, Value)> {
        let Some(kind) = self.registry.lookup(group, "v1", plural).cloned() else {
            return Vec::new();
        };
        let uid = text(owner, "/metadata/uid");
        let all = self.all_of(&kind, Some(text(owner, "/metadata/namespace")));
        let mine = all.into_iter().filter(|(_, object)| {
            references(object)
                .any(|r| text(r, "/uid") == uid && r.get("controller") == Some(&Value::Bool(true)))
        });
        mine.map(|((_, key), object)| (key, object)).collect()
    }

    fn make(&mut self, plural: &str, group: &str, namespace: &str, object: Value) -> Option<Key> {
        let kind = self.registry.lookup(group, "v1", plural).cloned()?;
        let made =
            self.as_controller(|state, ctx| create_object(state, &kind, Some(namespace), object, ctx, false));
        made.ok().map(|stored| stored.key())
    }

    /// One replica set for the deployment's template has all the pods, older ones have none.
    fn roll_out(&mut self, kind: &Arc<Kind>, key: &Key, deployment: &Value) {
        let wanted = number(deployment, "/spec/replicas", 1);
        let template = deployment.pointer("/spec/template").cloned().unwrap_or_default();
        let hash = hex_hash(template.to_string().as_bytes())[..10].to_lowercase();
        let name = format!("{}-{hash}", text(deployment, "/metadata/name"));
        let Some(sets) = self.registry.lookup("apps", "v1", "replicasets").cloned() else {
            return;
        };
        let owned = self.owned("replicasets", "apps", deployment);
        let revision = |set: &Value| -> i64 {
            let noted = set
                .pointer("/metadata/annotations")
                .and_then(|a| a.get(REVISION))
                .and_then(Value::as_str);
            noted.and_then(|text| text.parse().ok()).unwrap_or(0)
        };
        let last = owned.iter().map(|(_, set)| revision(set)).max().unwrap_or(0);
        for (set_key, set) in &owned {
            let current = *set_key.1 == *name;
            let replicas = if current { wanted } else { 0 };
            let mut patch = json!({"spec": {"replicas": replicas}});
            if current && revision(set) < last {
                patch["metadata"] = json!({"annotations": {REVISION: (last + 1).to_string()}});
            }
            self.merge_at(&sets, set_key, Target::Main, &patch);
        }
        if !owned.iter().any(|(set_key, _)| *set_key.1 == *name) {
            let set = replica_set(deployment, &name, &hash, &template, wanted, last + 1);
            self.make("replicasets", "apps", &key.0, set);
        }
        let count = |set: &Value| number(set, "/status/readyReplicas", 0);
        let owned = self.owned("replicasets", "apps", deployment);
        let total: i64 = owned
            .iter()
            .map(|(_, set)| number(set, "/status/replicas", 0))
            .sum();
        let ready: i64 = owned.iter().map(|(_, set)| count(set)).sum();
        let updated = owned
            .iter()
            .filter(|(set_key, _)| *set_key.1 == *name)
            .map(|(_, set)| count(set))
            .sum::<i64>();
        let now = self.timestamp();
        let conditions = conditions(deployment, &name, ready >= wanted, &stamp(now));
        let status = json!({
            "observedGeneration": deployment.pointer("/metadata/generation").cloned().unwrap_or_default(),
            "replicas": total,
            "updatedReplicas": updated,
            "readyReplicas": ready,
            "availableReplicas": ready,
            "unavailableReplicas": if ready < wanted { json!(wanted - ready) } else { Value::Null },
            "conditions": conditions,
        });
        self.merge_at(kind, key, Target::Status, &json!({"status": status}));
    }

    /// A replica set has as many running pods as it wants.
    fn fill(&mut self, kind: &Arc<Kind>, key: &Key, set: &Value) {
        let wanted = number(set, "/spec/replicas", 1).clamp(0, 10_000);
        let Some(pods) = self.registry.lookup("", "v1", "pods").cloned() else {
            return;
        };
        let mut have = self.owned("pods", "", set);
        have.retain(|(_, pod)| !is_deleting(pod));
        for (pod, _) in have.iter().skip(usize::try_from(wanted).unwrap_or(0)) {
            self.delete_at(&pods, pod, &DeleteOptions::default());
        }
        for _ in i64::try_from(have.len()).unwrap_or(i64::MAX)..wanted {
            if let Some(made) = self.make("pods", "", &key.0, pod(set)) {
                self.start(&pods, &made);
            }
        }
        let have = self.owned("pods", "", set).len();
        let status = json!({
            "observedGeneration": set.pointer("/metadata/generation").cloned().unwrap_or_default(),
            "replicas": have,
            "fullyLabeledReplicas": have,
            "readyReplicas": have,
            "availableReplicas": have,
        });
        self.merge_at(kind, key, Target::Status, &json!({"status": status}));
        // The deployment above counts what its replica sets have.
        let owner = references(set)
            .find(|owner| text(owner, "/kind") == "Deployment")
            .map(|o| text(o, "/name"));
        if let Some(name) = owner {
            let above: Place = (Arc::from("deployments.apps"), (key.0.clone(), name.into()));
            self.background.later(super::Task::Workload(above));
        }
    }

    /// A pod runs the moment it is made.
    fn start(&mut self, pods: &Arc<Kind>, key: &Key) {
        let Some(stored) = self.storage.get(&pods.storage, key) else {
            return;
        };
        let pod = stored.value();
        let now = stamp(self.timestamp());
        let ip = format!("10.244.{}.{}", self.rng.u8(..), self.rng.u8(1..255));
        let containers = pod
            .pointer("/spec/containers")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let containers: Vec<Value> = containers
            .map(|container| {
                json!({
                    "name": container["name"], "image": container["image"], "imageID": "", "ready": true,
                    "started": true, "restartCount": 0, "state": {"running": {"startedAt": now}}, "lastState": {},
                })
            })
            .collect();
        let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": now});
        let conditions: Vec<Value> = ["PodScheduled", "Initialized", "ContainersReady", "Ready"]
            .into_iter()
            .map(condition)
            .collect();
        let status = json!({
            "phase": "Running", "startTime": now, "podIP": ip, "podIPs": [{"ip": ip}], "hostIP": "10.0.0.2",
            "conditions": conditions, "containerStatuses": containers,
        });
        self.merge_at(pods, key, Target::Main, &json!({"spec": {"nodeName": "node-0"}}));
        self.merge_at(pods, key, Target::Status, &json!({"status": status}));
    }
}

fn number(object: &Value, path: &str, otherwise: i64) -> i64 {
    object.pointer(path).and_then(Value::as_i64).unwrap_or(otherwise)
}

fn owner(object: &Value, api_version: &str, kind: &str) -> Value {
    json!([{
        "apiVersion": api_version, "kind": kind, "name": text(object, "/metadata/name"),
        "uid": text(object, "/metadata/uid"), "controller": true, "blockOwnerDeletion": true,
    }])
}

fn with_hash(labels: Option<&Value>, hash: &str) -> Value {
    let mut labels: Map<String, Value> = labels.and_then(Value::as_object).cloned().unwrap_or_default();
    labels.insert(HASH.to_owned(), json!(hash));
    Value::Object(labels)
}

fn replica_set(
    deployment: &Value,
    name: &str,
    hash: &str,
    template: &Value,
    replicas: i64,
    revision: i64,
) -> Value {
    let labels = with_hash(template.pointer("/metadata/labels"), hash);
    let mut template = template.clone();
    template["metadata"]["labels"] = labels.clone();
    let mut selector = deployment.pointer("/spec/selector").cloned().unwrap_or_default();
    selector["matchLabels"] = with_hash(selector.get("matchLabels"), hash);
    json!({
        "metadata": {"name": name, "labels": labels, "annotations": {REVISION: revision.to_string()},
            "ownerReferences": owner(deployment, "apps/v1", "Deployment")},
        "spec": {"replicas": replicas, "selector": selector, "template": template},
    })
}

fn pod(set: &Value) -> Value {
    let template = set.pointer("/spec/template");
    let meta = |field: &str| {
        template
            .and_then(|t| t.pointer(&format!("/metadata/{field}")))
            .cloned()
    };
    json!({
        "metadata": {"generateName": format!("{}-", text(set, "/metadata/name")), "labels": meta("labels"),
            "annotations": meta("annotations"), "ownerReferences": owner(set, "apps/v1", "ReplicaSet")},
        "spec": template.and_then(|t| t.get("spec")).cloned(),
    })
}

/// A condition that holds already keeps its times, so that a second look writes nothing.
fn conditions(deployment: &Value, set: &str, done: bool, now: &str) -> Vec<Value> {
    let (status, available) = if done {
        ("True", "MinimumReplicasAvailable")
    } else {
        ("False", "MinimumReplicasUnavailable")
    };
    let message = format!("ReplicaSet \"{set}\" has successfully progressed.");
    let fresh = [
        (
            "Available",
            status,
            available,
            "Deployment has its minimum availability.".to_owned(),
        ),
        ("Progressing", "True", "NewReplicaSetAvailable", message),
    ];
    let known = deployment.pointer("/status/conditions").and_then(Value::as_array);
    fresh
        .into_iter()
        .map(|(kind, status, reason, message)| {
            let old = known
                .into_iter()
                .flatten()
                .find(|c| c["type"] == kind && c["status"] == status);
            let since = old.map_or(now, |old| text(old, "/lastTransitionTime"));
            let same = old.filter(|old| old["message"] == message.as_str());
            let updated = same.map_or(now, |old| text(old, "/lastUpdateTime"));
            json!({"type": kind, "status": status, "reason": reason, "message": message,
                "lastUpdateTime": updated, "lastTransitionTime": since})
        })
        .collect()
}
