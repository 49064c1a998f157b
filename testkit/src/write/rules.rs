//! Rules of built-in kinds that clients meet, beyond those of metadata.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::name::label_errors;
use crate::kind::Kind;
use crate::selector::qualified_name_errors;
use crate::status::{ApiError, Cause};

/// Checks an object of a built-in kind; `current` is the stored one of an update.
pub(super) fn validate(kind: &Kind, object: &Value, current: Option<&Value>, causes: &mut Vec<Cause>) {
    if kind.custom {
        return;
    }
    if checks_finalizers(kind) {
        finalizers(object, causes);
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "ConfigMap") => keyed_data(object, current, causes),
        ("", "Secret") => {
            keyed_data(object, current, causes);
            secret_type(object, causes);
        }
        ("apps", "Deployment" | "ReplicaSet" | "StatefulSet" | "DaemonSet") => {
            workload(kind, object, current, causes)
        }
        ("batch", "Job") => job(object, causes),
        ("coordination.k8s.io", "Lease") => lease(object, causes),
        ("", "Event") => event(object, causes),
        ("", "Pod") => pod_rules(object, "spec", causes),
        ("", "Service") => service(object, causes),
        ("", "Namespace") => namespace(object, current, causes),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            crate::crd::validate(object, causes);
            if let Some(current) = current {
                crate::crd::validate_update(object, current, causes);
            }
        }
        _ => {}
    }
}

/// The phase tells whether a namespace is being deleted. One that was loaded with another is left alone.
fn namespace(object: &Value, current: Option<&Value>, causes: &mut Vec<Cause>) {
    const PHASE: &str = "/status/phase";
    let phase = object.pointer(PHASE);
    if current.is_none_or(|current| current.pointer(PHASE) == phase) {
        return;
    }
    let deleting = object
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(|time| !time.is_null());
    let (only, state) = if deleting {
        ("Terminating", "not empty")
    } else {
        ("Active", "empty")
    };
    if phase.and_then(Value::as_str) != Some(only) {
        let given = phase.cloned().unwrap_or_else(|| json!(""));
        let why = format!("may only be '{only}' if `deletionTimestamp` is {state}");
        causes.push(Cause::invalid("status.Phase", &given, &why));
    }
}

/// Groups whose kinds are checked by rules of their own know nothing about the finalizers of the core.
fn checks_finalizers(kind: &Kind) -> bool {
    !matches!(
        kind.group.as_str(),
        "apiextensions.k8s.io" | "apiregistration.k8s.io" | "coordination.k8s.io"
    )
}

/// A finalizer without a domain is one of the few the cluster itself has.
fn finalizers(object: &Value, causes: &mut Vec<Cause>) {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    for (at, finalizer) in list.into_iter().flatten().enumerate() {
        let name = finalizer.as_str().unwrap_or_default();
        let path = format!("metadata.finalizers[{at}]");
        for why in qualified_name_errors(name) {
            causes.push(Cause::invalid(path.as_str(), finalizer, &why));
        }
        if !name.contains('/') && !STANDARD.contains(&name) {
            let why = "name is neither a standard finalizer name nor is it fully qualified";
            causes.push(Cause::invalid(path.as_str(), finalizer, why));
        }
    }
}

/// The rules of config maps and secrets: frozen ones stay, keys are file names, and there is a limit.
fn keyed_data(object: &Value, current: Option<&Value>, causes: &mut Vec<Cause>) {
    const WHY: &str = "field is immutable when `immutable` is set";
    const DATA_MAX: usize = 1024 * 1024;
    let secret = object["kind"] == "Secret";
    let frozen = |field: &str| current.is_some_and(|current| current.get(field) != object.get(field));
    if secret && frozen("type") {
        causes.push(Cause::invalid("type", &object["type"], "field is immutable"));
    }
    if current.and_then(|c| c.get("immutable")) == Some(&Value::Bool(true)) {
        for field in ["immutable", "data", "binaryData"] {
            if frozen(field) {
                causes.push(Cause::forbidden(field, WHY));
            }
        }
    }
    let mut total = 0;
    for field in ["data", "binaryData"] {
        for (key, value) in object.get(field).and_then(Value::as_object).into_iter().flatten() {
            let path = format!("{field}[{key}]");
            for why in key_errors(key) {
                causes.push(Cause::invalid(path.as_str(), &json!(key), &why));
            }
            if field == "data"
                && object
                    .get("binaryData")
                    .is_some_and(|other| other.get(key).is_some())
            {
                let why = "duplicate of key present in binaryData";
                causes.push(Cause::invalid(path.as_str(), &json!(key), why));
            }
            let length = value.as_str().map_or(0, str::len);
            // Bytes are written in base64.
            total += if secret || field == "binaryData" {
                length / 4 * 3
            } else {
                length
            };
        }
    }
    if total > DATA_MAX {
        let path = if secret { "data" } else { "" };
        causes.push(Cause::too_long(path, DATA_MAX));
    }
}

/// What a secret of a known type must hold.
fn secret_type(object: &Value, causes: &mut Vec<Cause>) {
    const ACCOUNT: &str = "kubernetes.io/service-account.name";
    let data = object.get("data").and_then(Value::as_object);
    let held = |key: &str| data.and_then(|data| data.get(key));
    let mut needs = |keys: &[&str]| {
        for key in keys {
            causes.push(Cause::required(format!("data[{key}]"), ""));
        }
    };
    match object["type"].as_str().unwrap_or_default() {
        "kubernetes.io/service-account-token" => {
            let account = object
                .pointer("/metadata/annotations")
                .and_then(|annotations| annotations.get(ACCOUNT));
            if account.and_then(Value::as_str).unwrap_or_default().is_empty() {
                causes.push(Cause::required(format!("metadata.annotations[{ACCOUNT}]"), ""));
            }
        }
        "kubernetes.io/dockercfg" if held(".dockercfg").is_none() => needs(&[".dockercfg"]),
        "kubernetes.io/dockerconfigjson" if held(".dockerconfigjson").is_none() => {
            needs(&[".dockerconfigjson"]);
        }
        "kubernetes.io/basic-auth" if held("username").is_none() && held("password").is_none() => {
            needs(&["username", "password"]);
        }
        "kubernetes.io/ssh-auth" => {
            let key = held("ssh-privatekey").and_then(Value::as_str);
            if key.unwrap_or_default().is_empty() {
                needs(&["ssh-privatekey"]);
            }
        }
        "kubernetes.io/tls" => {
            for key in ["tls.crt", "tls.key"] {
                if held(key).is_none() {
                    needs(&[key]);
                }
            }
        }
        _ => {}
    }
}

fn key_errors(key: &str) -> Vec<String> {
    const KEY_MAX: usize = 253;
    let mut errors = Vec::new();
    if key.len() > KEY_MAX {
        errors.push(format!("must be no more than {KEY_MAX} characters"));
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if key.is_empty() || !key.chars().all(fits) {
        errors.push(
            "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or \
             'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
                .to_owned(),
        );
    }
    match key {
        "." => errors.push("must not be '.'".to_owned()),
        ".." => errors.push("must not be '..'".to_owned()),
        _ if key.starts_with("..") => errors.push("must not start with '..'".to_owned()),
        _ => {}
    }
    errors
}

/// What a client should be told about an object that is taken all the same.
pub(super) fn warnings(kind: &Kind, object: &Value, current: Option<&Value>) -> Vec<String> {
    if kind.custom {
        return finalizer_warnings(object, current);
    }
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match current {
        None if kind.is_pod() => {
            let errors = label_errors(name);
            let told = (!errors.is_empty()).then(|| {
                format!(
                    "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS \
                     label is recommended: [{}]",
                    errors.join(" ")
                )
            });
            told.into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn finalizer_warnings(object: &Value, current: Option<&Value>) -> Vec<String> {
    const STANDARD: [&str; 3] = ["kubernetes", "orphan", "foregroundDeletion"];
    let list = |object: &Value| -> Vec<String> {
        let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
        let words = list.into_iter().flatten().filter_map(Value::as_str);
        words.map(str::to_owned).collect()
    };
    let known = current.map(list).unwrap_or_default();
    let mut new: Vec<String> = list(object)
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect();
    new.sort();
    new.dedup();
    let plain = |name: &String| !name.contains('/') && !STANDARD.contains(&name.as_str());
    let told = new.into_iter().filter(|name| plain(name)).map(|name| {
        let path = if name.contains('.') { "including a path (/) " } else { "" };
        format!(
            "metadata.finalizers: {}: prefer a domain-qualified finalizer name {path}to avoid accidental conflicts with \
             other finalizer writers",
            json!(name)
        )
    });
    told.collect()
}

/// What controllers of pods have in common: a selector that fits the labels of a template.
fn workload(kind: &Kind, object: &Value, current: Option<&Value>, causes: &mut Vec<Cause>) {
    let at = |path: &str| object.pointer(path).filter(|value| !value.is_null());
    if at("/spec/replicas")
        .and_then(Value::as_i64)
        .is_some_and(|n| n < 0)
    {
        let why = "must be greater than or equal to 0";
        causes.push(Cause::invalid("spec.replicas", &object["spec"]["replicas"], why));
    }
    let selector = at("/spec/selector");
    let empty = |selector: &Value| {
        let none = |field: &str| match selector.get(field) {
            Some(Value::Object(map)) => map.is_empty(),
            Some(Value::Array(list)) => list.is_empty(),
            _ => true,
        };
        none("matchLabels") && none("matchExpressions")
    };
    match selector {
        None => causes.push(Cause::required("spec.selector", "")),
        Some(selector) if empty(selector) => {
            let name = match kind.kind.as_str() {
                "StatefulSet" => "statefulset",
                "DaemonSet" => "daemonset",
                _ => "deployment",
            };
            let why = format!("empty selector is invalid for {name}");
            causes.push(Cause::invalid("spec.selector", selector, &why));
        }
        Some(_) => {}
    }
    let labels = at("/spec/template/metadata/labels");
    // No selector at all fits nothing, an empty one everything.
    let fits = selector.is_some_and(|selector| selects(selector, labels));
    if !fits {
        let shown = labels.cloned().unwrap_or(Value::Null);
        let why = "`selector` does not match template `labels`";
        causes.push(Cause::invalid("spec.template.metadata.labels", &shown, why));
    }
    if let Some(template) = at("/spec/template") {
        pod_rules(template, "spec.template.spec", causes);
        let policy = template
            .pointer("/spec/restartPolicy")
            .cloned()
            .unwrap_or_default();
        if policy.as_str().is_some_and(|policy| policy != "Always") {
            let path = "spec.template.spec.restartPolicy";
            causes.push(Cause::not_supported(path, &policy, &["Always"]));
        }
    }
    if let (Some(selector), Some(current)) = (selector, current)
        && current.pointer("/spec/selector") != Some(selector)
    {
        causes.push(Cause::invalid("spec.selector", selector, "field is immutable"));
    }
}

/// Whether a label selector picks what has these labels.
fn selects(selector: &Value, labels: Option<&Value>) -> bool {
    let of = |key: &str| labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
    let pairs = selector.get("matchLabels").and_then(Value::as_object);
    let terms = selector.get("matchExpressions").and_then(Value::as_array);
    pairs
        .into_iter()
        .flatten()
        .all(|(key, value)| of(key) == value.as_str())
        && terms.into_iter().flatten().all(|term| {
            let text = |field: &str| term.get(field).and_then(Value::as_str).unwrap_or_default();
            let values = term.get("values").and_then(Value::as_array).into_iter().flatten();
            let listed = |found: &str| values.clone().any(|value| value == found);
            match (text("operator"), of(text("key"))) {
                ("In", found) => found.is_some_and(listed),
                ("NotIn", found) => !found.is_some_and(listed),
                ("Exists", found) => found.is_some(),
                ("DoesNotExist", found) => found.is_none(),
                _ => false,
            }
        })
}

/// A job's pods end, so they are not started again without end.
fn job(object: &Value, causes: &mut Vec<Cause>) {
    let Some(template) = object.pointer("/spec/template") else {
        return;
    };
    pod_rules(template, "spec.template.spec", causes);
    if template
        .pointer("/spec/restartPolicy")
        .is_some_and(|policy| policy == "Always")
    {
        let why = "valid values: \"OnFailure\", \"Never\"";
        causes.push(Cause::required("spec.template.spec.restartPolicy", why));
    }
}

fn pod_rules(pod: &Value, at: &str, causes: &mut Vec<Cause>) {
    let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
    let containers = containers.map(Vec::as_slice).unwrap_or_default();
    if containers.is_empty() {
        causes.push(Cause::required(format!("{at}.containers"), ""));
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let text = |field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default();
        let name = text("name");
        let path = format!("{at}.containers[{index}]");
        if name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else {
            for why in label_errors(name) {
                causes.push(Cause::invalid(format!("{path}.name"), &json!(name), &why));
            }
            if !names.insert(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &json!(name)));
            }
        }
        if text("image").is_empty() {
            causes.push(Cause::required(format!("{path}.image"), ""));
        }
        let ports = container
            .get("ports")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        for (index, port) in ports.enumerate() {
            let path = format!("{path}.ports[{index}]");
            let number = port.get("containerPort").and_then(Value::as_i64).unwrap_or(0);
            if number == 0 {
                causes.push(Cause::required(format!("{path}.containerPort"), ""));
            } else {
                port_number(number, format!("{path}.containerPort"), causes);
            }
            protocol(port, &path, causes);
        }
    }
    for (field, allowed) in [
        ("restartPolicy", ["Always", "Never", "OnFailure"].as_slice()),
        (
            "dnsPolicy",
            &["ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"],
        ),
    ] {
        let value = pod
            .get("spec")
            .and_then(|spec| spec.get(field))
            .cloned()
            .unwrap_or_default();
        if value.as_str().is_some_and(|value| !allowed.contains(&value)) {
            causes.push(Cause::not_supported(format!("{at}.{field}"), &value, allowed));
        }
    }
}

fn port_number(number: i64, path: String, causes: &mut Vec<Cause>) {
    if !(1..=65535).contains(&number) {
        let why = "must be between 1 and 65535, inclusive";
        causes.push(Cause::invalid(path, &json!(number), why));
    }
}

fn protocol(port: &Value, path: &str, causes: &mut Vec<Cause>) {
    const PROTOCOLS: [&str; 3] = ["SCTP", "TCP", "UDP"];
    let value = port.get("protocol").cloned().unwrap_or_default();
    if value.as_str().is_some_and(|value| !PROTOCOLS.contains(&value)) {
        causes.push(Cause::not_supported(
            format!("{path}.protocol"),
            &value,
            &PROTOCOLS,
        ));
    }
}

fn service(object: &Value, causes: &mut Vec<Cause>) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let ports = object.pointer("/spec/ports").and_then(Value::as_array);
    let ports = ports.map(Vec::as_slice).unwrap_or_default();
    let kind = text("/spec/type");
    if ports.is_empty() && text("/spec/clusterIP") != "None" && kind != "ExternalName" {
        causes.push(Cause::required("spec.ports", ""));
    }
    let mut names: BTreeSet<&str> = BTreeSet::new();
    for (at, port) in ports.iter().enumerate() {
        let path = format!("spec.ports[{at}]");
        let name = port.get("name").and_then(Value::as_str).unwrap_or_default();
        if ports.len() > 1 && name.is_empty() {
            causes.push(Cause::required(format!("{path}.name"), ""));
        } else if !name.is_empty() {
            for why in label_errors(name) {
                causes.push(Cause::invalid(format!("{path}.name"), &json!(name), &why));
            }
            if !names.insert(name) {
                causes.push(Cause::duplicate(format!("{path}.name"), &json!(name)));
            }
        }
        let number = port.get("port").and_then(Value::as_i64).unwrap_or(0);
        port_number(number, format!("{path}.port"), causes);
        protocol(port, &path, causes);
    }
    const TYPES: [&str; 4] = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
    if !TYPES.contains(&kind) {
        causes.push(Cause::not_supported("spec.type", &json!(kind), &TYPES));
    }
    if kind == "ExternalName" && text("/spec/externalName").is_empty() {
        causes.push(Cause::required("spec.externalName", ""));
    }
}

fn lease(object: &Value, causes: &mut Vec<Cause>) {
    for (field, least, why) in [
        ("leaseDurationSeconds", 1, "must be greater than 0"),
        ("leaseTransitions", 0, "must be greater than or equal to 0"),
    ] {
        let value = object.pointer(&format!("/spec/{field}")).and_then(Value::as_i64);
        if let Some(number) = value.filter(|number| *number < least) {
            causes.push(Cause::invalid(format!("spec.{field}"), &json!(number), why));
        }
    }
}

/// An event is where the object is that it is about.
fn event(object: &Value, causes: &mut Vec<Cause>) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (own, involved) = (text("/metadata/namespace"), text("/involvedObject/namespace"));
    let fits = match involved {
        "" => matches!(own, "" | "default"),
        involved => involved == own,
    };
    if !fits {
        let why = "does not match event.namespace";
        causes.push(Cause::invalid("involvedObject.namespace", &json!(involved), why));
    }
}

/// Refuses a client's change to a pod that kubelets could not follow.
///
/// # Errors
/// 422 for any change of the spec but images, a deadline, more tolerations and a few others.
pub(crate) fn check_running(kind: &Kind, current: &Value, object: &Value) -> Result<(), ApiError> {
    if !kind.is_pod() {
        return Ok(());
    }
    let (mut before, mut after) = (current.clone(), object.clone());
    for pod in [&mut before, &mut after] {
        // What was loaded past the checks is brought into the usual form first.
        let _ = super::body::read_as(kind, pod, &mut Vec::new());
        super::defaults::before_update(kind, current, pod);
    }
    let (Some(old), Some(new)) = (
        before.get("spec").and_then(Value::as_object),
        after.get_mut("spec").and_then(Value::as_object_mut),
    ) else {
        return Ok(());
    };
    for list in ["containers", "initContainers"] {
        let old = old.get(list).and_then(Value::as_array);
        let new = new.get_mut(list).and_then(Value::as_array_mut);
        for (old, new) in old.into_iter().flatten().zip(new.into_iter().flatten()) {
            if let (Some(image), Some(slot)) = (old.get("image"), new.get_mut("image")) {
                slot.clone_from(image);
            }
        }
    }
    let items = |fields: &Map<String, Value>, field: &str| -> Vec<Value> {
        fields
            .get(field)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let known = items(new, "tolerations");
    let all_kept = items(old, "tolerations").iter().all(|one| known.contains(one));
    let gates = items(old, "schedulingGates");
    let none_new = items(new, "schedulingGates")
        .iter()
        .all(|one| gates.contains(one));
    let mut free = vec!["activeDeadlineSeconds"];
    free.extend(all_kept.then_some("tolerations"));
    free.extend(none_new.then_some("schedulingGates"));
    if !gates.is_empty() {
        free.extend(["nodeSelector", "affinity"]);
    }
    if old.get("terminationGracePeriodSeconds").and_then(Value::as_i64) < Some(0) {
        free.push("terminationGracePeriodSeconds");
    }
    for field in free {
        match old.get(field) {
            Some(value) => new.insert(field.to_owned(), value.clone()),
            None => new.remove(field),
        };
    }
    if new == old {
        return Ok(());
    }
    let why = "pod updates may not change fields other than \
               `spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` \
               (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if \
               it was previously negative)";
    let name = current
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    Err(ApiError::invalid(kind, name, vec![Cause::forbidden("spec", why)]))
}
