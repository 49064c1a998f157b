//! What the server adds to built-in kinds: the defaults of decoding, and what creation sets.

use serde_json::{Map, Value, json};

use super::WriteContext;
use crate::kind::Kind;

mod rarer;

/// Defaults that count as written by the client.
pub(super) fn before_create(kind: &Kind, object: &mut Value) {
    decode(kind, object);
    if is_daemon_set(kind) {
        rarer::count_template(None, object);
    }
    wipe_status(kind, object);
}

/// Defaults of an update.
pub(super) fn before_update(kind: &Kind, current: &Value, object: &mut Value) {
    decode(kind, object);
    if kind.is_pod() {
        admit_pod(object);
    }
    if is_daemon_set(kind) {
        rarer::count_template(Some(current), object);
    }
    if kind.is_core("Service") {
        // Addresses once given stay, even where the client leaves them out.
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
            return;
        };
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if let (None, Some(value)) = (spec.get(field), current.pointer(&format!("/spec/{field}"))) {
                spec.insert(field.to_owned(), value.clone());
            }
        }
        rarer::node_ports(Some(current), object);
    }
}

fn is_daemon_set(kind: &Kind) -> bool {
    kind.group == "apps" && kind.kind == "DaemonSet"
}

/// Defaults of reading an object, on create and update alike.
fn decode(kind: &Kind, object: &mut Value) {
    if kind.custom {
        return;
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Secret") => secret(object),
        ("", "Service") => service(object),
        ("", "Pod") => rarer::pod(object),
        ("", "Namespace") => namespace(object),
        ("", "Event") => event(object),
        ("apps", "Deployment") => {
            if let Some(spec) = part(object, "spec") {
                set(spec, "replicas", json!(1));
                set(spec, "revisionHistoryLimit", json!(10));
                set(spec, "progressDeadlineSeconds", json!(600));
                rolling(
                    spec,
                    "strategy",
                    json!({"maxUnavailable": "25%", "maxSurge": "25%"}),
                );
                template(spec);
            }
        }
        ("apps", "ReplicaSet") | ("", "ReplicationController") => {
            if let Some(spec) = part(object, "spec") {
                set(spec, "replicas", json!(1));
                template(spec);
            }
        }
        ("apps", "StatefulSet") => {
            if let Some(spec) = part(object, "spec") {
                set(spec, "replicas", json!(1));
                set(spec, "podManagementPolicy", json!("OrderedReady"));
                set(spec, "revisionHistoryLimit", json!(10));
                let keep = json!({"whenDeleted": "Retain", "whenScaled": "Retain"});
                set(spec, "persistentVolumeClaimRetentionPolicy", keep);
                rolling(spec, "updateStrategy", json!({"partition": 0}));
                template(spec);
            }
        }
        ("apps", "DaemonSet") => {
            if let Some(spec) = part(object, "spec") {
                set(spec, "revisionHistoryLimit", json!(10));
                rolling(
                    spec,
                    "updateStrategy",
                    json!({"maxUnavailable": 1, "maxSurge": 0}),
                );
                template(spec);
            }
        }
        ("batch", "Job") => {
            if let Some(spec) = part(object, "spec") {
                job(spec);
            }
        }
        ("batch", "CronJob") => cron_job(object),
        ("", "PersistentVolumeClaim") => {
            if let Some(spec) = part(object, "spec") {
                set(spec, "volumeMode", json!("Filesystem"));
            }
        }
        ("", "PersistentVolume") => {
            if let Some(spec) = part(object, "spec") {
                set(spec, "persistentVolumeReclaimPolicy", json!("Retain"));
                set(spec, "volumeMode", json!("Filesystem"));
            }
        }
        ("apiextensions.k8s.io", "CustomResourceDefinition") => definition(object),
        ("rbac.authorization.k8s.io", "RoleBinding" | "ClusterRoleBinding") => binding(object),
        ("autoscaling", "HorizontalPodAutoscaler") => autoscaler(object, &kind.version),
        _ => {}
    }
    rarer::decode(kind, object);
}

/// Whom a binding means, and what it gives them.
fn binding(object: &mut Value) {
    const GROUP: &str = "rbac.authorization.k8s.io";
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    for subject in items(fields, "subjects") {
        if subject
            .get("kind")
            .is_some_and(|kind| kind == "User" || kind == "Group")
        {
            set(subject, "apiGroup", json!(GROUP));
        }
    }
    if let Some(role) = fields.get_mut("roleRef").and_then(Value::as_object_mut)
        && role.get("apiGroup").is_none_or(|group| group == "")
    {
        role.insert("apiGroup".to_owned(), json!(GROUP));
    }
}

/// An autoscaler without a goal holds the load of the processors at four fifths.
fn autoscaler(object: &mut Value, version: &str) {
    let Some(spec) = part(object, "spec") else { return };
    set(spec, "minReplicas", json!(1));
    if version == "v2" {
        let target = json!({"type": "Utilization", "averageUtilization": 80});
        let metric = json!([{"type": "Resource", "resource": {"name": "cpu", "target": target}}]);
        set(spec, "metrics", metric);
    } else {
        set(spec, "targetCPUUtilizationPercentage", json!(80));
    }
}

/// What the server itself sets on a new object, after the client's fields are on record.
pub(super) fn on_create(kind: &Kind, object: &mut Value, ctx: &mut WriteContext<'_>) {
    if kind.custom {
        return;
    }
    match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Namespace") => {
            set(part_or_new(object, "spec"), "finalizers", json!(["kubernetes"]));
        }
        ("", "Pod") => admit_pod(object),
        ("", "Node") => {
            let spec = part_or_new(object, "spec");
            set(
                spec,
                "taints",
                json!([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}]),
            );
        }
        ("", "Service") => {
            allocate(object, ctx);
            rarer::node_ports(None, object);
        }
        ("", "PersistentVolume") => {
            let status = part_or_new(object, "status");
            set(status, "lastPhaseTransitionTime", ctx.stamp());
            protect(object, "kubernetes.io/pv-protection");
        }
        ("", "PersistentVolumeClaim") => protect(object, "kubernetes.io/pvc-protection"),
        ("storage.k8s.io", "VolumeAttributesClass") => protect(object, "kubernetes.io/vac-protection"),
        ("batch", "Job") => job_labels(object),
        _ => {}
    }
}

/// What volumes may use is not deleted while they do.
fn protect(object: &mut Value, finalizer: &str) {
    let all = part_or_list(part_or_new(object, "metadata"), "finalizers");
    if !all.iter().any(|held| held == finalizer) {
        all.push(json!(finalizer));
    }
}

/// Status is the server's to begin with.
fn wipe_status(kind: &Kind, object: &mut Value) {
    if kind.custom || !kind.status {
        return;
    }
    let first = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => json!({"phase": "Pending", "qosClass": quality(object)}),
        ("", "Namespace") => json!({"phase": "Active"}),
        ("", "Service") => json!({"loadBalancer": {}}),
        // A node reports for itself: kubelets create it with its status.
        ("", "Node") => {
            let mut status = object
                .get("status")
                .cloned()
                .filter(Value::is_object)
                .unwrap_or_else(|| json!({}));
            let fields = part_or_new_at(&mut status);
            set(fields, "daemonEndpoints", json!({"kubeletEndpoint": {"Port": 0}}));
            let info = [
                "machineID",
                "systemUUID",
                "bootID",
                "kernelVersion",
                "osImage",
                "containerRuntimeVersion",
                "kubeletVersion",
                "kubeProxyVersion",
                "operatingSystem",
                "architecture",
            ];
            let empty: Map<String, Value> = info
                .iter()
                .map(|field| ((*field).to_owned(), json!("")))
                .collect();
            set(fields, "nodeInfo", Value::Object(empty));
            status
        }
        ("", "PersistentVolumeClaim" | "PersistentVolume") => json!({"phase": "Pending"}),
        ("apps", "ReplicaSet") | ("", "ReplicationController") => json!({"replicas": 0}),
        ("apps", "StatefulSet") => json!({"replicas": 0, "availableReplicas": 0}),
        ("apps", "DaemonSet") => json!({
            "currentNumberScheduled": 0, "numberMisscheduled": 0, "desiredNumberScheduled": 0, "numberReady": 0
        }),
        ("networking.k8s.io", "Ingress") => json!({"loadBalancer": {}}),
        ("apiextensions.k8s.io", "CustomResourceDefinition") => {
            let versions = object.pointer("/spec/versions").and_then(Value::as_array);
            let stored = versions
                .into_iter()
                .flatten()
                .filter(|v| v.get("storage") == Some(&Value::Bool(true)));
            let stored: Vec<Value> = stored.filter_map(|v| v.get("name").cloned()).collect();
            json!({"conditions": null, "acceptedNames": {"plural": "", "kind": ""}, "storedVersions": stored})
        }
        ("policy", _) => {
            json!({"disruptionsAllowed": 0, "currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0})
        }
        _ => json!({}),
    };
    object["status"] = first;
}

type Fields = Map<String, Value>;

fn set(fields: &mut Fields, key: &str, value: Value) {
    if fields.get(key).is_none_or(Value::is_null) {
        fields.insert(key.to_owned(), value);
    }
}

fn part<'a>(object: &'a mut Value, field: &str) -> Option<&'a mut Fields> {
    object.get_mut(field).and_then(Value::as_object_mut)
}

fn part_or_new<'a>(object: &'a mut Value, field: &str) -> &'a mut Fields {
    if !object.is_object() {
        *object = json!({});
    }
    part_or_new_at(&mut object[field])
}

fn part_or_new_at(slot: &mut Value) -> &mut Fields {
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("just made an object")
}

/// A namespace is labelled with its name, whatever else its labels become.
fn namespace(object: &mut Value) {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    let labels = &mut object["metadata"]["labels"];
    if !labels.is_object() {
        *labels = json!({});
    }
    labels["kubernetes.io/metadata.name"] = name;
    part_or_new(object, "spec");
}

fn secret(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    if let Some(Value::Object(plain)) = fields.remove("stringData") {
        let data = part_or_new_at(fields.entry("data").or_insert_with(|| json!({})));
        for (key, value) in plain {
            data.insert(key, json!(base64(value.as_str().unwrap_or_default().as_bytes())));
        }
    }
    set(fields, "type", json!("Opaque"));
}

fn base64(bytes: &[u8]) -> String {
    crate::discovery::base64(bytes)
}

fn service(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    set(spec, "sessionAffinity", json!("None"));
    set(spec, "type", json!("ClusterIP"));
    let kind = spec
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if kind != "ExternalName" {
        set(spec, "internalTrafficPolicy", json!("Cluster"));
    }
    if matches!(kind.as_str(), "NodePort" | "LoadBalancer") {
        set(spec, "externalTrafficPolicy", json!("Cluster"));
    }
    if kind == "LoadBalancer" {
        set(spec, "allocateLoadBalancerNodePorts", json!(true));
    }
    for port in items(spec, "ports") {
        set(port, "protocol", json!("TCP"));
        let unset = |target: &Value| target.is_null() || *target == 0 || *target == "";
        if let (true, Some(number)) = (
            port.get("targetPort").is_none_or(unset),
            port.get("port").cloned(),
        ) {
            port.insert("targetPort".to_owned(), number);
        }
    }
}

/// Gives a service its cluster address.
fn allocate(object: &mut Value, ctx: &mut WriteContext<'_>) {
    let spec = part_or_new(object, "spec");
    if spec.get("type").is_some_and(|t| t == "ExternalName") {
        return;
    }
    let address = match spec.get("clusterIP").and_then(Value::as_str) {
        Some(given) if !given.is_empty() => given.to_owned(),
        _ => format!("10.0.{}.{}", ctx.rng.u8(..), ctx.rng.u8(1..255)),
    };
    spec.insert("clusterIP".to_owned(), json!(address));
    set(spec, "clusterIPs", json!([address]));
    set(spec, "ipFamilies", json!(["IPv4"]));
    set(spec, "ipFamilyPolicy", json!("SingleStack"));
}

fn event(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    set(fields, "source", json!({}));
    set(fields, "reportingComponent", json!(""));
    set(fields, "reportingInstance", json!(""));
    for time in ["firstTimestamp", "lastTimestamp", "eventTime"] {
        fields.entry(time).or_insert(Value::Null);
    }
}

fn rolling(spec: &mut Fields, field: &str, update: Value) {
    let strategy = part_or_new_at(spec.entry(field).or_insert_with(|| json!({})));
    set(strategy, "type", json!("RollingUpdate"));
    if strategy.get("type").is_some_and(|t| t == "RollingUpdate") {
        let slot = part_or_new_at(strategy.entry("rollingUpdate").or_insert_with(|| json!({})));
        for (key, value) in update.as_object().into_iter().flatten() {
            set(slot, key, value.clone());
        }
    }
}

fn template(spec: &mut Fields) {
    let Some(template) = spec.get_mut("template") else {
        return;
    };
    part_or_new(template, "metadata");
    if let Some(pod) = part(template, "spec") {
        pod_spec(pod);
    }
}

fn job(spec: &mut Fields) {
    set(spec, "backoffLimit", json!(6));
    set(spec, "completionMode", json!("NonIndexed"));
    set(spec, "suspend", json!(false));
    set(spec, "manualSelector", json!(false));
    set(spec, "podReplacementPolicy", json!("TerminatingOrFailed"));
    if !spec.contains_key("completions") && !spec.contains_key("parallelism") {
        set(spec, "completions", json!(1));
    }
    set(spec, "parallelism", json!(1));
    if let Some(pod) = spec.get_mut("template").and_then(|t| part(t, "spec")) {
        pod_spec(pod);
    }
}

/// A job selects its pods by labels made of its own uid and name.
fn job_labels(object: &mut Value) {
    let text = |path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let (uid, name) = (text("/metadata/uid"), text("/metadata/name"));
    let labels = [
        ("batch.kubernetes.io/controller-uid", &uid),
        ("batch.kubernetes.io/job-name", &name),
        ("controller-uid", &uid),
        ("job-name", &name),
    ];
    let Some(spec) = part(object, "spec") else { return };
    if spec.get("manualSelector") == Some(&Value::Bool(true)) {
        return;
    }
    spec.insert(
        "selector".to_owned(),
        json!({"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}),
    );
    if let Some(template) = spec.get_mut("template") {
        label(template, &labels);
    }
    label(object, &labels);
}

fn label(object: &mut Value, labels: &[(&str, &String)]) {
    let metadata = part_or_new(object, "metadata");
    let slot = part_or_new_at(metadata.entry("labels").or_insert_with(|| json!({})));
    for (key, value) in labels {
        slot.insert((*key).to_owned(), json!(value));
    }
}

fn cron_job(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    set(spec, "concurrencyPolicy", json!("Allow"));
    set(spec, "suspend", json!(false));
    set(spec, "successfulJobsHistoryLimit", json!(3));
    set(spec, "failedJobsHistoryLimit", json!(1));
    let pod = spec
        .get_mut("jobTemplate")
        .and_then(|job| job.get_mut("spec"))
        .and_then(|spec| spec.get_mut("template"))
        .and_then(|template| part(template, "spec"));
    if let Some(pod) = pod {
        pod_spec(pod);
    }
}

fn definition(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    set(spec, "conversion", json!({"strategy": "None"}));
    if let Some(names) = spec.get_mut("names").and_then(Value::as_object_mut) {
        let kind = names
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned();
        set(names, "singular", json!(kind.to_lowercase()));
        set(names, "listKind", json!(format!("{kind}List")));
    }
}

fn items<'a>(fields: &'a mut Fields, key: &str) -> impl Iterator<Item = &'a mut Fields> {
    fields
        .get_mut(key)
        .and_then(Value::as_array_mut)
        .into_iter()
        .flatten()
        .filter_map(Value::as_object_mut)
}

fn pod_spec(spec: &mut Fields) {
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for container in items(spec, list) {
            self::container(container);
        }
    }
    for volume in items(spec, "volumes") {
        for source in ["configMap", "secret", "downwardAPI", "projected"] {
            if let Some(source) = volume.get_mut(source).and_then(Value::as_object_mut) {
                set(source, "defaultMode", json!(0o644));
            }
        }
        if let Some(path) = volume.get_mut("hostPath").and_then(Value::as_object_mut) {
            set(path, "type", json!(""));
        }
        if let Some(projected) = volume.get_mut("projected").and_then(Value::as_object_mut) {
            for source in items(projected, "sources") {
                if let Some(token) = source
                    .get_mut("serviceAccountToken")
                    .and_then(Value::as_object_mut)
                {
                    set(token, "expirationSeconds", json!(3600));
                }
                if let Some(downward) = source.get_mut("downwardAPI").and_then(Value::as_object_mut) {
                    downward_items(downward);
                }
            }
        }
        if let Some(downward) = volume.get_mut("downwardAPI").and_then(Value::as_object_mut) {
            downward_items(downward);
        }
        // A volume of no source is an empty directory.
        if volume.keys().all(|field| field == "name") {
            volume.insert("emptyDir".to_owned(), json!({}));
        }
    }
    set(spec, "restartPolicy", json!("Always"));
    set(spec, "terminationGracePeriodSeconds", json!(30));
    set(spec, "dnsPolicy", json!("ClusterFirst"));
    set(spec, "securityContext", json!({}));
    set(spec, "schedulerName", json!("default-scheduler"));
    if let Some(account) = spec.get("serviceAccountName").cloned() {
        set(spec, "serviceAccount", account);
    }
}

fn downward_items(volume: &mut Fields) {
    for item in items(volume, "items") {
        if let Some(field) = item.get_mut("fieldRef").and_then(Value::as_object_mut) {
            set(field, "apiVersion", json!("v1"));
        }
    }
}

fn http_get(action: &mut Value) {
    if let Some(get) = part(action, "httpGet") {
        set(get, "path", json!("/"));
        set(get, "scheme", json!("HTTP"));
    }
}

fn container(container: &mut Fields) {
    let image = container.get("image").and_then(Value::as_str).unwrap_or_default();
    let name = image.rsplit('/').next().unwrap_or_default();
    let floating = !name.contains('@') && name.split_once(':').is_none_or(|(_, tag)| tag == "latest");
    let pull = if floating { "Always" } else { "IfNotPresent" };
    set(container, "imagePullPolicy", json!(pull));
    set(container, "resources", json!({}));
    set(container, "terminationMessagePath", json!("/dev/termination-log"));
    set(container, "terminationMessagePolicy", json!("File"));
    for port in items(container, "ports") {
        set(port, "protocol", json!("TCP"));
    }
    for variable in items(container, "env") {
        let field = variable
            .get_mut("valueFrom")
            .and_then(|from| from.get_mut("fieldRef"));
        if let Some(field) = field.and_then(Value::as_object_mut) {
            set(field, "apiVersion", json!("v1"));
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = container.get_mut(name).and_then(Value::as_object_mut) {
            for (key, value) in [
                ("timeoutSeconds", 1),
                ("periodSeconds", 10),
                ("successThreshold", 1),
                ("failureThreshold", 3),
            ] {
                set(probe, key, json!(value));
            }
            if let Some(grpc) = probe.get_mut("grpc").and_then(Value::as_object_mut) {
                set(grpc, "service", json!(""));
            }
        }
        if let Some(probe) = container.get_mut(name) {
            http_get(probe);
        }
    }
    if let Some(lifecycle) = container.get_mut("lifecycle").and_then(Value::as_object_mut) {
        for hook in ["postStart", "preStop"] {
            if let Some(hook) = lifecycle.get_mut(hook) {
                http_get(hook);
            }
        }
    }
}

/// What admission adds to a pod.
fn admit_pod(object: &mut Value) {
    let Some(spec) = part(object, "spec") else { return };
    let stays = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 300});
    let tolerations = part_or_list(spec, "tolerations");
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = |t: &Value| {
            let is = |field: &str, word: &str| t.get(field).and_then(Value::as_str).is_none_or(|v| v == word);
            is("key", key) && is("effect", "NoExecute")
        };
        if !tolerations.iter().any(tolerated) {
            tolerations.push(stays(key));
        }
    }
    set(spec, "priority", json!(0));
    set(spec, "preemptionPolicy", json!("PreemptLowerPriority"));
}

fn part_or_list<'a>(fields: &'a mut Fields, key: &str) -> &'a mut Vec<Value> {
    let slot = fields.entry(key).or_insert_with(|| json!([]));
    if !slot.is_array() {
        *slot = json!([]);
    }
    slot.as_array_mut().expect("just made a list")
}

/// The quality of service a pod's requests and limits give it.
fn quality(object: &Value) -> &'static str {
    let containers = ["containers", "initContainers"]
        .iter()
        .filter_map(|list| object.pointer(&format!("/spec/{list}")).and_then(Value::as_array))
        .flatten();
    let (mut any, mut guaranteed) = (false, true);
    for container in containers {
        let of = |which: &str, what: &str| container.pointer(&format!("/resources/{which}/{what}"));
        for what in ["cpu", "memory"] {
            let (request, limit) = (of("requests", what), of("limits", what));
            any |= request.is_some() || limit.is_some();
            guaranteed &= limit.is_some() && request.is_none_or(|request| Some(request) == limit);
        }
    }
    match (any, guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}
