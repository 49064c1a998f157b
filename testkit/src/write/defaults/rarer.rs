//! Defaults of kinds that tests write less often, and what the server adds to them.

use serde_json::{Value, json};

use super::{Fields, items, part, part_or_new, part_or_new_at, pod_spec, set, template};
use crate::kind::Kind;

/// Defaults of reading an object of a built-in kind.
pub(super) fn decode(kind: &Kind, object: &mut Value) {
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "ReplicationController") => replication_controller(object),
        ("", "PodTemplate") => {
            if let Some(fields) = object.as_object_mut() {
                template(fields);
            }
        }
        ("", "PersistentVolume") => {
            if let Some(path) = part(object, "spec").and_then(|spec| part_of(spec, "hostPath")) {
                set(path, "type", json!(""));
            }
        }
        ("", "LimitRange") => {
            for limit in part(object, "spec")
                .into_iter()
                .flat_map(|spec| items(spec, "limits"))
            {
                limits(limit);
            }
        }
        ("", "Endpoints") => {
            let subsets = object
                .as_object_mut()
                .into_iter()
                .flat_map(|fields| items(fields, "subsets"));
            for port in subsets.flat_map(|subset| items(subset, "ports")) {
                set(port, "protocol", json!("TCP"));
            }
        }
        ("discovery.k8s.io", "EndpointSlice") => {
            let fields = object.as_object_mut().into_iter();
            for port in fields.flat_map(|fields| items(fields, "ports")) {
                set(port, "name", json!(""));
                set(port, "protocol", json!("TCP"));
            }
        }
        ("apps", "StatefulSet") => {
            let spec = part(object, "spec").into_iter();
            for claim in spec.flat_map(|spec| items(spec, "volumeClaimTemplates")) {
                claim.insert("kind".to_owned(), json!("PersistentVolumeClaim"));
                claim.insert("apiVersion".to_owned(), json!("v1"));
                if let Some(spec) = part_of(claim, "spec") {
                    set(spec, "volumeMode", json!("Filesystem"));
                }
                let status = part_or_new_at(claim.entry("status").or_insert_with(|| json!({})));
                set(status, "phase", json!("Pending"));
            }
        }
        ("networking.k8s.io", "NetworkPolicy") => network_policy(object),
        ("networking.k8s.io", "IngressClass") => {
            if let Some(parameters) = part(object, "spec").and_then(|spec| part_of(spec, "parameters")) {
                set(parameters, "scope", json!("Cluster"));
            }
        }
        ("storage.k8s.io", "StorageClass") => {
            set(part_or_new_at(object), "reclaimPolicy", json!("Delete"));
            set(part_or_new_at(object), "volumeBindingMode", json!("Immediate"));
        }
        ("storage.k8s.io", "CSIDriver") => {
            let spec = part_or_new(object, "spec");
            set(spec, "attachRequired", json!(true));
            for field in [
                "podInfoOnMount",
                "storageCapacity",
                "requiresRepublish",
                "seLinuxMount",
            ] {
                set(spec, field, json!(false));
            }
            set(spec, "fsGroupPolicy", json!("ReadWriteOnceWithFSType"));
            set(spec, "volumeLifecycleModes", json!(["Persistent"]));
        }
        ("scheduling.k8s.io", "PriorityClass") => {
            set(
                part_or_new_at(object),
                "preemptionPolicy",
                json!("PreemptLowerPriority"),
            );
        }
        ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration") => webhooks(object, false),
        ("admissionregistration.k8s.io", "MutatingWebhookConfiguration") => webhooks(object, true),
        ("apiregistration.k8s.io", "APIService") => {
            if let Some(service) = part(object, "spec").and_then(|spec| part_of(spec, "service")) {
                set(service, "port", json!(443));
            }
        }
        _ => {}
    }
}

fn part_of<'a>(fields: &'a mut Fields, field: &str) -> Option<&'a mut Fields> {
    fields.get_mut(field).and_then(Value::as_object_mut)
}

/// It selects the pods its template makes, and is labelled as they are.
fn replication_controller(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let Some(labels) = labels.filter(|labels| labels.as_object().is_some_and(|labels| !labels.is_empty()))
    else {
        return;
    };
    let is_empty = |value: Option<&Value>| value.and_then(Value::as_object).is_none_or(Fields::is_empty);
    if is_empty(object.pointer("/spec/selector")) {
        part_or_new(object, "spec").insert("selector".to_owned(), labels.clone());
    }
    if is_empty(object.pointer("/metadata/labels")) {
        part_or_new(object, "metadata").insert("labels".to_owned(), labels);
    }
}

/// What a container may use at most it also gets, unless told otherwise.
fn limits(limit: &mut Fields) {
    if limit.get("type").is_none_or(|kind| kind != "Container") {
        return;
    }
    for (from, to) in [
        ("max", "default"),
        ("default", "defaultRequest"),
        ("min", "defaultRequest"),
    ] {
        let Some(Value::Object(amounts)) = limit.get(from).cloned() else {
            continue;
        };
        let slot = part_or_new_at(limit.entry(to).or_insert_with(|| json!({})));
        for (resource, amount) in amounts {
            slot.entry(resource).or_insert(amount);
        }
    }
}

fn network_policy(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    for list in ["ingress", "egress"] {
        for port in items(spec, list).flat_map(|rule| items(rule, "ports")) {
            set(port, "protocol", json!("TCP"));
        }
    }
    let has = |field: &str| {
        spec.get(field)
            .and_then(Value::as_array)
            .is_some_and(|all| !all.is_empty())
    };
    if !has("policyTypes") {
        let types = if has("egress") {
            json!(["Ingress", "Egress"])
        } else {
            json!(["Ingress"])
        };
        spec.insert("policyTypes".to_owned(), types);
    }
}

fn webhooks(object: &mut Value, mutating: bool) {
    let fields = object.as_object_mut().into_iter();
    for hook in fields.flat_map(|fields| items(fields, "webhooks")) {
        set(hook, "failurePolicy", json!("Fail"));
        set(hook, "matchPolicy", json!("Equivalent"));
        set(hook, "namespaceSelector", json!({}));
        set(hook, "objectSelector", json!({}));
        set(hook, "timeoutSeconds", json!(10));
        if mutating {
            set(hook, "reinvocationPolicy", json!("Never"));
        }
        for rule in items(hook, "rules") {
            set(rule, "scope", json!("*"));
        }
        if let Some(service) = part_of(hook, "clientConfig").and_then(|config| part_of(config, "service")) {
            set(service, "port", json!(443));
        }
    }
}

/// Defaults of a pod alone: those its templates do not have.
pub(super) fn pod(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    pod_spec(spec);
    set(spec, "enableServiceLinks", json!(true));
    if spec.get("hostNetwork") == Some(&Value::Bool(true)) {
        for list in ["containers", "initContainers"] {
            for port in items(spec, list).flat_map(|container| items(container, "ports")) {
                if let Some(number) = port.get("containerPort").cloned() {
                    set(port, "hostPort", number);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            let Some(Value::Object(limits)) = container
                .get("resources")
                .and_then(|resources| resources.get("limits"))
                .cloned()
            else {
                continue;
            };
            let resources = part_or_new_at(container.entry("resources").or_insert_with(|| json!({})));
            let requests = part_or_new_at(resources.entry("requests").or_insert_with(|| json!({})));
            for (resource, amount) in limits {
                requests.entry(resource).or_insert(amount);
            }
        }
    }
}

const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";

/// Counts the templates a daemon set has had.
pub(super) fn count_template(current: Option<&Value>, object: &mut Value) {
    let count = match current {
        None => 1,
        Some(current) => {
            let annotation = current
                .pointer("/metadata/annotations")
                .and_then(|annotations| annotations.get(TEMPLATE_GENERATION))
                .and_then(Value::as_str);
            let before: i64 = annotation.and_then(|count| count.parse().ok()).unwrap_or(0);
            let path = "/spec/template";
            before + i64::from(current.pointer(path) != object.pointer(path))
        }
    };
    let metadata = part_or_new(object, "metadata");
    let annotations = part_or_new_at(metadata.entry("annotations").or_insert_with(|| json!({})));
    annotations.insert(TEMPLATE_GENERATION.to_owned(), json!(count.to_string()));
}

/// The first and the number of ports nodes keep for services.
const NODE_PORTS: (u64, u64) = (30_000, 2_768);

/// Gives the ports of a service that nodes answer for a number there, each another one.
///
/// Numbers are kept where the service has them already, else drawn from its uid.
pub(super) fn node_ports(current: Option<&Value>, object: &mut Value) {
    let uid = object
        .pointer("/metadata/uid")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let mut next = uid.bytes().fold(0_u64, |hash, byte| {
        hash.wrapping_mul(31).wrapping_add(byte.into())
    });
    let Some(spec) = part(object, "spec") else { return };
    let allocates = match spec.get("type").and_then(Value::as_str) {
        Some("NodePort") => true,
        Some("LoadBalancer") => spec.get("allocateLoadBalancerNodePorts") != Some(&Value::Bool(false)),
        _ => false,
    };
    if !allocates {
        return;
    }
    let number = |port: &Fields| {
        port.get("nodePort")
            .and_then(Value::as_u64)
            .filter(|port| *port > 0)
    };
    let mut used: Vec<u64> = items(spec, "ports").filter_map(|port| number(port)).collect();
    let before = current
        .and_then(|current| current.pointer("/spec/ports"))
        .and_then(Value::as_array);
    let before: Vec<&Fields> = before
        .into_iter()
        .flatten()
        .filter_map(Value::as_object)
        .collect();
    for port in items(spec, "ports").filter(|port| number(port).is_none()) {
        let same = |other: &&&Fields| {
            ["protocol", "port"]
                .iter()
                .all(|field| other.get(*field) == port.get(*field))
        };
        let kept = before.iter().find(same).and_then(|port| number(port));
        let mut chosen = kept.filter(|port| !used.contains(port));
        // More ports than numbers: some stay without.
        for _ in 0..NODE_PORTS.1 {
            if chosen.is_some() {
                break;
            }
            let candidate = NODE_PORTS.0 + next % NODE_PORTS.1;
            next = next.wrapping_add(1);
            chosen = Some(candidate).filter(|port| !used.contains(port));
        }
        if let Some(chosen) = chosen {
            used.push(chosen);
            port.insert("nodePort".to_owned(), json!(chosen));
        }
    }
}
