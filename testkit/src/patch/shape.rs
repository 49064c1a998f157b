//! How the lists and maps of a kind merge: as one value, as a set, or item by item under a key.
//!
//! Built-in kinds are described by field names (a field of one name merges the same way wherever it stands, with few
//! exceptions); custom kinds by the `x-kubernetes-*` marks of their schema.

use serde_json::{Map, Value, json};

use crate::kind::Kind;

/// How a list merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListShape {
    /// As one value.
    Atomic,
    /// As a set of plain values.
    Set,
    /// Item by item; these fields tell the items apart.
    Keyed(Vec<String>),
}

/// A place in the objects of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    kind: &'a Kind,
    source: Source<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// A built-in kind: the named field the place is in, and the one around that.
    Names { around: &'a str, field: &'a str },
    /// A custom kind: the schema of the place, if it has one.
    Schema(Option<&'a Value>),
}

impl<'a> Place<'a> {
    /// The object as a whole.
    pub(crate) fn root(kind: &'a Kind) -> Self {
        let source = match &kind.schema {
            Some(schema) => Source::Schema(Some(schema.root())),
            None if kind.custom => Source::Schema(None),
            None => Source::Names {
                around: "",
                field: "",
            },
        };
        Self { kind, source }
    }

    /// A field of the map at this place.
    pub(crate) fn field(self, name: &'a str) -> Self {
        // Metadata is the same everywhere, whatever a schema says.
        let source = match self.source {
            Source::Schema(_) if self.is_root_of_schema() && name == "metadata" => Source::Names {
                around: "",
                field: "metadata",
            },
            Source::Schema(schema) => Source::Schema(schema.and_then(|schema| {
                schema
                    .get("properties")
                    .and_then(|p| p.get(name))
                    .or_else(|| schema.get("additionalProperties"))
            })),
            Source::Names { field, .. } => Source::Names {
                around: field,
                field: name,
            },
        };
        Self {
            kind: self.kind,
            source,
        }
    }

    /// An item of the list at this place.
    pub(crate) fn item(self) -> Self {
        let source = match self.source {
            Source::Schema(schema) => Source::Schema(schema.and_then(|s| s.get("items"))),
            names @ Source::Names { .. } => names,
        };
        Self {
            kind: self.kind,
            source,
        }
    }

    fn is_root_of_schema(self) -> bool {
        match (self.source, &self.kind.schema) {
            (Source::Schema(Some(here)), Some(schema)) => std::ptr::eq(here, schema.root()),
            (Source::Schema(None), None) => true,
            _ => false,
        }
    }

    /// How the list at this place merges.
    pub(crate) fn list(self) -> ListShape {
        match self.source {
            Source::Schema(schema) => schema_list(schema),
            Source::Names { around, field } => match (around, field) {
                ("metadata", "finalizers") => ListShape::Set,
                _ => keyed(self.kind, around, field).map_or(ListShape::Atomic, |keys| {
                    ListShape::Keyed(keys.iter().map(|key| (*key).to_owned()).collect())
                }),
            },
        }
    }

    /// Whether the map at this place merges as one value.
    pub(crate) fn is_atomic_map(self) -> bool {
        match self.source {
            Source::Schema(schema) => schema
                .and_then(|s| s.get("x-kubernetes-map-type"))
                .is_some_and(|t| t == "atomic"),
            Source::Names { field, .. } => ATOMIC_MAPS.contains(&field),
        }
    }

    /// Whether the keys of the map at this place are fields of a type (and not the user's own words).
    pub(crate) fn is_struct(self, name: &str) -> bool {
        match self.source {
            Source::Schema(schema) => {
                (self.is_root_of_schema() && name == "metadata")
                    || schema
                        .and_then(|s| s.get("properties"))
                        .is_some_and(|p| p.get(name).is_some())
            }
            Source::Names { field, .. } => !FREE_MAPS.contains(&field),
        }
    }

    /// The value of a key field that an item leaves out.
    pub(crate) fn key_default(self, key: &str) -> Option<Value> {
        match self.source {
            Source::Schema(schema) => schema
                .and_then(|s| s.pointer(&format!("/items/properties/{key}/default")))
                .cloned(),
            Source::Names { .. } => (key == "protocol").then(|| json!("TCP")),
        }
    }

    /// The one field that tells items apart in a strategic merge patch.
    pub(crate) fn merge_key(self) -> Option<&'static str> {
        let Source::Names { around, field } = self.source else {
            return None;
        };
        match (self.kind.kind.as_str(), field) {
            ("Job", "conditions") if around == "status" => Some("type"),
            _ => keyed(self.kind, around, field).and_then(|keys| keys.first().copied()),
        }
    }

    /// Whether a list of plain values merges as a set in a strategic merge patch.
    pub(crate) fn merges_values(self) -> bool {
        let Source::Names { around, field } = self.source else {
            return false;
        };
        matches!((around, field), ("metadata", "finalizers") | ("spec", "podCIDRs"))
    }
}

fn schema_list(schema: Option<&Value>) -> ListShape {
    let Some(schema) = schema else {
        return ListShape::Atomic;
    };
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListShape::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let keys = keys
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            ListShape::Keyed(keys)
        }
        _ => ListShape::Atomic,
    }
}

/// The key fields of a list of a built-in kind; the first is also its strategic merge key.
fn keyed(kind: &Kind, around: &str, field: &str) -> Option<&'static [&'static str]> {
    Some(match field {
        "containers"
        | "initContainers"
        | "ephemeralContainers"
        | "volumes"
        | "env"
        | "imagePullSecrets"
        | "resourceClaims"
        | "schedulingGates"
        | "webhooks" => &["name"],
        "secrets" if kind.kind == "ServiceAccount" => &["name"],
        "volumeMounts" => &["mountPath"],
        "volumeDevices" => &["devicePath"],
        "ports" if matches!(around, "containers" | "initContainers" | "ephemeralContainers") => {
            &["containerPort", "protocol"]
        }
        "ports" if kind.kind == "Service" => &["port", "protocol"],
        "conditions" if kind.kind != "Job" => &["type"],
        "ownerReferences" => &["uid"],
        "hostAliases" | "podIPs" => &["ip"],
        "topologySpreadConstraints" => &["topologyKey", "whenUnsatisfiable"],
        "addresses" if kind.kind == "Node" => &["type"],
        _ => return None,
    })
}

/// Maps of built-in kinds that merge as one value.
const ATOMIC_MAPS: &[&str] = &[
    "selector",
    "labelSelector",
    "namespaceSelector",
    "podSelector",
    "objectSelector",
    "nodeSelector",
    "involvedObject",
    "regarding",
    "related",
    "configMapKeyRef",
    "secretKeyRef",
    "fieldRef",
    "resourceFieldRef",
    "secretRef",
    "targetRef",
    "roleRef",
    "scaleTargetRef",
];

/// Maps of built-in kinds whose keys are the user's.
const FREE_MAPS: &[&str] = &[
    "labels",
    "annotations",
    "data",
    "binaryData",
    "stringData",
    "matchLabels",
    "limits",
    "requests",
    "capacity",
    "allocatable",
    "hard",
    "used",
    "parameters",
    "volumeAttributes",
    "options",
    "overhead",
    "default",
    "defaultRequest",
    "max",
    "min",
    "maxLimitRequestRatio",
];

/// The fields that every object of a built-in type holds, even one nobody has written to: they are plain members of
/// its type. A write that fills them does not make them appear.
pub(crate) fn skeleton(kind: &Kind) -> Value {
    if kind.custom {
        return json!({"metadata": {}});
    }
    let pod = || json!({"containers": null});
    let template = || json!({"metadata": {}, "spec": pod()});
    let mut object = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => json!({"spec": pod(), "status": {}}),
        ("apps", "Deployment") => json!({"spec": {"template": template(), "strategy": {}}, "status": {}}),
        ("apps", "StatefulSet" | "DaemonSet") => {
            json!({"spec": {"template": template(), "updateStrategy": {}}, "status": {}})
        }
        ("apps", "ReplicaSet") | ("batch", "Job") => json!({"spec": {"template": template()}, "status": {}}),
        ("batch", "CronJob") => {
            json!({"spec": {"jobTemplate": {"metadata": {}, "spec": {"template": template()}}}, "status": {}})
        }
        ("", "Service") => json!({"spec": {}, "status": {"loadBalancer": {}}}),
        ("", "Node") => {
            json!({"spec": {}, "status": {"daemonEndpoints": {"kubeletEndpoint": {}}, "nodeInfo": {}}})
        }
        ("", "PersistentVolumeClaim") => json!({"spec": {"resources": {}}, "status": {}}),
        ("", "PodTemplate") => json!({"template": template()}),
        ("", "Event") => json!({
            "involvedObject": {}, "source": {}, "reportingComponent": "", "reportingInstance": "",
            "firstTimestamp": null, "lastTimestamp": null, "eventTime": null,
        }),
        ("events.k8s.io", "Event") => json!({"regarding": {}}),
        ("autoscaling", _) => json!({"spec": {"scaleTargetRef": {}}, "status": {}}),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            json!({"spec": {"names": {}, "versions": null}, "status": {"acceptedNames": {}, "conditions": null, "storedVersions": null}})
        }
        ("rbac.authorization.k8s.io", "Role" | "ClusterRole") => json!({"rules": null}),
        ("rbac.authorization.k8s.io", _) => json!({"roleRef": {}}),
        ("discovery.k8s.io", "EndpointSlice") => json!({"endpoints": null, "ports": null, "addressType": ""}),
        ("coordination.k8s.io" | "networking.k8s.io" | "policy", _)
        | ("", "Namespace" | "PersistentVolume" | "ReplicationController" | "ResourceQuota" | "LimitRange") =>
        {
            json!({"spec": {}, "status": {}})
        }
        _ => json!({}),
    };
    if let Some(fields) = object.as_object_mut() {
        fields.insert("metadata".to_owned(), Value::Object(Map::new()));
    }
    object
}

/// Lays an object over the fields its type always holds.
pub(crate) fn over_skeleton(kind: &Kind, object: &Value) -> Value {
    let mut base = skeleton(kind);
    lay(&mut base, object);
    base
}

fn lay(base: &mut Value, object: &Value) {
    match (base, object) {
        (Value::Object(base), Value::Object(fields)) => {
            for (key, value) in fields {
                match base.get_mut(key) {
                    Some(slot) => lay(slot, value),
                    None => {
                        base.insert(key.clone(), value.clone());
                    }
                }
            }
        }
        (base, value) => *base = value.clone(),
    }
}
