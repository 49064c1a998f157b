//! The types of fields that later steps rely on: a body with a text where a map belongs is refused when it is read.
//!
//! This is no full schema of the built-in kinds. It names the fields the server itself looks into, and those that typed
//! clients could not decode.

use serde_json::Value;

use crate::kind::Kind;

/// What a field must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Type {
    Map,
    /// A map of texts.
    Texts,
    /// A map of base64 texts.
    Bytes,
    List,
    Text,
    Integer,
    Bool,
}

/// A kind (or `*`), a path (`[]` stands for every item of a list), its type, and how Go calls struct and type.
struct Rule(&'static str, &'static str, Type, &'static str, &'static str);

#[rustfmt::skip]
const RULES: &[Rule] = &[
    Rule("ConfigMap", "data", Type::Texts, "ConfigMap", "map[string]string"),
    Rule("ConfigMap", "binaryData", Type::Bytes, "ConfigMap", "map[string][]uint8"),
    Rule("ConfigMap", "immutable", Type::Bool, "ConfigMap", "bool"),
    Rule("Secret", "data", Type::Bytes, "Secret", "map[string][]uint8"),
    Rule("Secret", "stringData", Type::Texts, "Secret", "map[string]string"),
    Rule("Secret", "immutable", Type::Bool, "Secret", "bool"),
    Rule("Secret", "type", Type::Text, "Secret", "v1.SecretType"),
    Rule("*", "spec", Type::Map, "", ""),
    Rule("*", "status", Type::Map, "", ""),
    Rule("Namespace", "spec.finalizers", Type::List, "NamespaceSpec", "[]v1.FinalizerName"),
    Rule("Namespace", "spec.finalizers.[]", Type::Text, "NamespaceSpec", "v1.FinalizerName"),
    Rule("Namespace", "status.phase", Type::Text, "NamespaceStatus", "v1.NamespacePhase"),
    Rule("Service", "spec.type", Type::Text, "ServiceSpec", "v1.ServiceType"),
    Rule("Service", "spec.clusterIP", Type::Text, "ServiceSpec", "string"),
    Rule("Service", "spec.selector", Type::Texts, "ServiceSpec", "map[string]string"),
    Rule("Service", "spec.ports", Type::List, "ServiceSpec", "[]v1.ServicePort"),
    Rule("Service", "spec.ports.[]", Type::Map, "ServiceSpec", "v1.ServicePort"),
    Rule("Service", "spec.ports.[].port", Type::Integer, "ServicePort", "int32"),
    Rule("Pod", "spec.nodeName", Type::Text, "PodSpec", "string"),
    Rule("Pod", "spec.terminationGracePeriodSeconds", Type::Integer, "PodSpec", "int64"),
    Rule("Pod", "status.phase", Type::Text, "PodStatus", "v1.PodPhase"),
    Rule("*", "spec.replicas", Type::Integer, "", "int32"),
    Rule("*", "spec.template", Type::Map, "", "v1.PodTemplateSpec"),
    Rule("*", "spec.template.metadata", Type::Map, "PodTemplateSpec", "v1.ObjectMeta"),
    Rule("*", "spec.template.metadata.labels", Type::Texts, "ObjectMeta", "map[string]string"),
    Rule("*", "spec.template.spec", Type::Map, "PodTemplateSpec", "v1.PodSpec"),
    Rule("Deployment", "spec.selector", Type::Map, "DeploymentSpec", "v1.LabelSelector"),
    Rule("Deployment", "spec.selector.matchLabels", Type::Texts, "LabelSelector", "map[string]string"),
    Rule("Deployment", "spec.strategy", Type::Map, "DeploymentSpec", "v1.DeploymentStrategy"),
    Rule("ReplicaSet", "spec.selector", Type::Map, "ReplicaSetSpec", "v1.LabelSelector"),
    Rule("ReplicaSet", "spec.selector.matchLabels", Type::Texts, "LabelSelector", "map[string]string"),
    Rule("StatefulSet", "spec.selector", Type::Map, "StatefulSetSpec", "v1.LabelSelector"),
    Rule("StatefulSet", "spec.updateStrategy", Type::Map, "StatefulSetSpec", "v1.StatefulSetUpdateStrategy"),
    Rule("DaemonSet", "spec.selector", Type::Map, "DaemonSetSpec", "v1.LabelSelector"),
    Rule("DaemonSet", "spec.updateStrategy", Type::Map, "DaemonSetSpec", "v1.DaemonSetUpdateStrategy"),
    Rule("CronJob", "spec.schedule", Type::Text, "CronJobSpec", "string"),
    Rule("CronJob", "spec.jobTemplate", Type::Map, "CronJobSpec", "v1.JobTemplateSpec"),
    Rule("Lease", "spec.holderIdentity", Type::Text, "LeaseSpec", "string"),
    Rule("Lease", "spec.leaseDurationSeconds", Type::Integer, "LeaseSpec", "int32"),
    Rule("Event", "involvedObject", Type::Map, "Event", "v1.ObjectReference"),
    Rule("Event", "source", Type::Map, "Event", "v1.EventSource"),
    Rule("CustomResourceDefinition", "spec.group", Type::Text, "CustomResourceDefinitionSpec", "string"),
    Rule("CustomResourceDefinition", "spec.names", Type::Map, "CustomResourceDefinitionSpec", "v1.CustomResourceDefinitionNames"),
    Rule("CustomResourceDefinition", "spec.versions", Type::List, "CustomResourceDefinitionSpec", "[]v1.CustomResourceDefinitionVersion"),
    Rule("CustomResourceDefinition", "spec.versions.[]", Type::Map, "CustomResourceDefinitionSpec", "v1.CustomResourceDefinitionVersion"),
    Rule("CustomResourceDefinition", "spec.versions.[].name", Type::Text, "CustomResourceDefinitionVersion", "string"),
    Rule("CustomResourceDefinition", "status.conditions", Type::List, "CustomResourceDefinitionStatus", "[]v1.CustomResourceDefinitionCondition"),
    Rule("CustomResourceDefinition", "status.storedVersions", Type::List, "CustomResourceDefinitionStatus", "[]string"),
];

/// Lists of containers, at both places pods are described.
const CONTAINERS: [(&str, &str); 4] = [
    ("spec.containers", "v1.Container"),
    ("spec.initContainers", "v1.Container"),
    ("spec.template.spec.containers", "v1.Container"),
    ("spec.template.spec.initContainers", "v1.Container"),
];

/// The first field of a built-in kind that holds another type than it must, as Go's decoder complains.
pub(super) fn mismatch(kind: &Kind, object: &Value) -> Option<String> {
    if kind.custom {
        return None;
    }
    for Rule(of, path, wanted, structure, go) in RULES {
        if *of != "*" && *of != kind.kind {
            continue;
        }
        let structure = match (*structure, path.contains('.')) {
            ("", false) => kind.kind.clone(),
            ("", true) => format!("{}Spec", kind.kind),
            (given, _) => given.to_owned(),
        };
        let go = if go.is_empty() {
            format!("v1.{}{}", kind.kind, capital(path))
        } else {
            (*go).to_owned()
        };
        let parts: Vec<&str> = path.split('.').collect();
        if let Some(found) = look(object, &parts, *wanted) {
            return Some(complain(&found, &structure, path, &go));
        }
    }
    for (path, go) in CONTAINERS {
        let parts: Vec<&str> = path.split('.').collect();
        if let Some(found) = look(object, &parts, Type::List) {
            return Some(complain(&found, "PodSpec", path, &format!("[]{go}")));
        }
        let items: Vec<&str> = parts.iter().copied().chain(["[]"]).collect();
        if let Some(found) = look(object, &items, Type::Map) {
            return Some(complain(&found, "PodSpec", path, go));
        }
        for field in ["name", "image"] {
            let parts: Vec<&str> = items.iter().copied().chain([field]).collect();
            if let Some(found) = look(object, &parts, Type::Text) {
                return Some(complain(
                    &found,
                    "Container",
                    &format!("{path}.{field}"),
                    "string",
                ));
            }
        }
    }
    None
}

fn capital(word: &str) -> String {
    word[..1].to_uppercase() + &word[1..]
}

/// What was found in place of the wanted type.
enum Found {
    Type(&'static str),
    Inner(&'static str),
    NoBase64(usize),
}

fn complain(found: &Found, structure: &str, path: &str, go: &str) -> String {
    let path = path.replace(".[]", "");
    match found {
        Found::Type(found) => {
            format!("json: cannot unmarshal {found} into Go struct field {structure}.{path} of type {go}")
        }
        Found::Inner(found) => {
            let go = go.rsplit_once(']').map_or(go, |(_, inner)| inner);
            format!("json: cannot unmarshal {found} into Go struct field {structure}.{path} of type {go}")
        }
        Found::NoBase64(at) => format!("illegal base64 data at input byte {at}"),
    }
}

fn look(value: &Value, path: &[&str], wanted: Type) -> Option<Found> {
    match path {
        [] => check(value, wanted),
        ["[]", rest @ ..] => value.as_array()?.iter().find_map(|item| look(item, rest, wanted)),
        [field, rest @ ..] => look(value.get(field)?, rest, wanted),
    }
}

fn check(value: &Value, wanted: Type) -> Option<Found> {
    let fits = match wanted {
        _ if value.is_null() => true,
        Type::Map | Type::Texts | Type::Bytes => value.is_object(),
        Type::List => value.is_array(),
        Type::Text => value.is_string(),
        Type::Integer => value.is_i64(),
        Type::Bool => value.is_boolean(),
    };
    if !fits {
        return Some(Found::Type(super::body::go_type(value)));
    }
    let inner = matches!(wanted, Type::Texts | Type::Bytes)
        .then(|| value.as_object())
        .flatten()?;
    inner
        .values()
        .filter(|value| !value.is_null())
        .find_map(|value| match value.as_str() {
            None => Some(Found::Inner(super::body::go_type(value))),
            Some(text) if wanted == Type::Bytes => base64_error(text).map(Found::NoBase64),
            Some(_) => None,
        })
}

/// Where a text stops being base64, line feeds aside.
fn base64_error(text: &str) -> Option<usize> {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let clean = |c: &(usize, u8)| !matches!(c.1, b'\n' | b'\r');
    let bytes: Vec<(usize, u8)> = body.bytes().enumerate().filter(clean).collect();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if let Some((at, _)) = bytes.iter().find(|(_, byte)| !allowed(*byte)) {
        return Some(*at);
    }
    let whole = (bytes.len() + padding).is_multiple_of(4) && padding <= 2;
    (!whole).then_some(bytes.len() - bytes.len() % 4)
}
