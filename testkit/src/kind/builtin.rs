//! The table of built-in kinds, one row each, in the order a real server's discovery lists groups and resources.

use super::{ALL_VERBS, Generation, Kind, ScalePaths, Subresource, types};

/// A row: group, version, kind, plural, short names, categories, scope and generation, subresources.
struct Row(
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Flags,
    &'static str,
);

/// Scope, and when the generation rises.
struct Flags {
    namespaced: bool,
    generation: Generation,
}

const NS: Flags = Flags {
    namespaced: true,
    generation: Generation::Never,
};
const NS_GEN: Flags = Flags {
    namespaced: true,
    generation: Generation::Spec,
};
const NS_GEN_ANN: Flags = Flags {
    namespaced: true,
    generation: Generation::SpecAndAnnotations,
};
const CLUSTER: Flags = Flags {
    namespaced: false,
    generation: Generation::Never,
};
const CLUSTER_GEN: Flags = Flags {
    namespaced: false,
    generation: Generation::Spec,
};

const AUTH: &str = "rbac.authorization.k8s.io";
const NET: &str = "networking.k8s.io";
const STORAGE: &str = "storage.k8s.io";
const ADMISSION: &str = "admissionregistration.k8s.io";

#[rustfmt::skip]
const ROWS: &[Row] = &[
    Row("", "v1", "Binding", "bindings", "", "", NS, ""),
    Row("", "v1", "ComponentStatus", "componentstatuses", "cs", "", CLUSTER, ""),
    Row("", "v1", "ConfigMap", "configmaps", "cm", "", NS, ""),
    Row("", "v1", "Endpoints", "endpoints", "ep", "", NS, ""),
    Row("", "v1", "Event", "events", "ev", "", NS, ""),
    Row("", "v1", "LimitRange", "limitranges", "limits", "", NS, ""),
    Row("", "v1", "Namespace", "namespaces", "ns", "", CLUSTER, "finalize status"),
    Row("", "v1", "Node", "nodes", "no", "", CLUSTER, "proxy status"),
    Row("", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", "pvc", "", NS, "status"),
    Row("", "v1", "PersistentVolume", "persistentvolumes", "pv", "", CLUSTER, "status"),
    Row("", "v1", "Pod", "pods", "po", "all", NS_GEN, "attach binding ephemeralcontainers eviction exec log portforward proxy resize status"),
    Row("", "v1", "PodTemplate", "podtemplates", "", "", NS_GEN, ""),
    Row("", "v1", "ReplicationController", "replicationcontrollers", "rc", "all", NS_GEN, "scale status"),
    Row("", "v1", "ResourceQuota", "resourcequotas", "quota", "", NS, "status"),
    Row("", "v1", "Secret", "secrets", "", "", NS, ""),
    Row("", "v1", "ServiceAccount", "serviceaccounts", "sa", "", NS, "token"),
    Row("", "v1", "Service", "services", "svc", "all", NS, "proxy status"),
    Row("apiregistration.k8s.io", "v1", "APIService", "apiservices", "", "api-extensions", CLUSTER, "status"),
    Row("apps", "v1", "ControllerRevision", "controllerrevisions", "", "", NS, ""),
    Row("apps", "v1", "DaemonSet", "daemonsets", "ds", "all", NS_GEN, "status"),
    Row("apps", "v1", "Deployment", "deployments", "deploy", "all", NS_GEN_ANN, "scale status"),
    Row("apps", "v1", "ReplicaSet", "replicasets", "rs", "all", NS_GEN, "scale status"),
    Row("apps", "v1", "StatefulSet", "statefulsets", "sts", "all", NS_GEN, "scale status"),
    Row("events.k8s.io", "v1", "Event", "events", "ev", "", NS, ""),
    Row("authentication.k8s.io", "v1", "SelfSubjectReview", "selfsubjectreviews", "", "", CLUSTER, ""),
    Row("authentication.k8s.io", "v1", "TokenReview", "tokenreviews", "", "", CLUSTER, ""),
    Row("authorization.k8s.io", "v1", "LocalSubjectAccessReview", "localsubjectaccessreviews", "", "", NS, ""),
    Row("authorization.k8s.io", "v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews", "", "", CLUSTER, ""),
    Row("authorization.k8s.io", "v1", "SelfSubjectRulesReview", "selfsubjectrulesreviews", "", "", CLUSTER, ""),
    Row("authorization.k8s.io", "v1", "SubjectAccessReview", "subjectaccessreviews", "", "", CLUSTER, ""),
    Row("autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", "all", NS, "status"),
    Row("autoscaling", "v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", "all", NS, "status"),
    Row("batch", "v1", "CronJob", "cronjobs", "cj", "all", NS_GEN, "status"),
    Row("batch", "v1", "Job", "jobs", "", "all", NS_GEN, "status"),
    Row("certificates.k8s.io", "v1", "CertificateSigningRequest", "certificatesigningrequests", "csr", "", CLUSTER, "approval status"),
    Row(NET, "v1", "IngressClass", "ingressclasses", "", "", CLUSTER_GEN, ""),
    Row(NET, "v1", "Ingress", "ingresses", "ing", "", NS_GEN, "status"),
    Row(NET, "v1", "IPAddress", "ipaddresses", "ip", "", CLUSTER, ""),
    Row(NET, "v1", "NetworkPolicy", "networkpolicies", "netpol", "", NS_GEN, ""),
    Row(NET, "v1", "ServiceCIDR", "servicecidrs", "", "", CLUSTER, "status"),
    Row("policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", "pdb", "", NS_GEN, "status"),
    Row(AUTH, "v1", "ClusterRoleBinding", "clusterrolebindings", "", "", CLUSTER, ""),
    Row(AUTH, "v1", "ClusterRole", "clusterroles", "", "", CLUSTER, ""),
    Row(AUTH, "v1", "RoleBinding", "rolebindings", "", "", NS, ""),
    Row(AUTH, "v1", "Role", "roles", "", "", NS, ""),
    Row(STORAGE, "v1", "CSIDriver", "csidrivers", "", "", CLUSTER, ""),
    Row(STORAGE, "v1", "CSINode", "csinodes", "", "", CLUSTER, ""),
    Row(STORAGE, "v1", "CSIStorageCapacity", "csistoragecapacities", "", "", NS, ""),
    Row(STORAGE, "v1", "StorageClass", "storageclasses", "sc", "", CLUSTER, ""),
    Row(STORAGE, "v1", "VolumeAttachment", "volumeattachments", "", "", CLUSTER, "status"),
    Row(STORAGE, "v1", "VolumeAttributesClass", "volumeattributesclasses", "vac", "", CLUSTER, ""),
    Row(ADMISSION, "v1", "MutatingWebhookConfiguration", "mutatingwebhookconfigurations", "", "api-extensions", CLUSTER_GEN, ""),
    Row(ADMISSION, "v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies", "", "api-extensions", CLUSTER_GEN, "status"),
    Row(ADMISSION, "v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", "", "api-extensions", CLUSTER_GEN, ""),
    Row(ADMISSION, "v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations", "", "api-extensions", CLUSTER_GEN, ""),
    Row("apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", "crd crds", "api-extensions", CLUSTER_GEN, "status"),
    Row("scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", "pc", "", CLUSTER_GEN, ""),
    Row("coordination.k8s.io", "v1", "Lease", "leases", "", "", NS, ""),
    Row("node.k8s.io", "v1", "RuntimeClass", "runtimeclasses", "", "", CLUSTER, ""),
    Row("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices", "", "", NS_GEN, ""),
    Row("flowcontrol.apiserver.k8s.io", "v1", "FlowSchema", "flowschemas", "", "", CLUSTER_GEN, "status"),
    Row("flowcontrol.apiserver.k8s.io", "v1", "PriorityLevelConfiguration", "prioritylevelconfigurations", "", "", CLUSTER_GEN, "status"),
];

/// Whether a real server knows the kind, whatever this one serves.
pub(crate) fn is_builtin(api_version: &str, kind: &str) -> bool {
    ROWS.iter().any(|Row(group, version, name, ..)| {
        *name == kind && super::api_version(group, version) == api_version
    })
}

/// Builds every row.
pub(super) fn kinds() -> impl Iterator<Item = Kind> {
    ROWS.iter().map(build)
}

fn build(row: &Row) -> Kind {
    let Row(group, version, kind, plural, short, categories, flags, subresources) = row;
    let mut built = Kind::new(*group, *version, *kind, *plural);
    built.custom = false;
    built.shape = types::of_kind(group, version, kind);
    built.deprecation_warning = match (*group, *kind) {
        ("", "ComponentStatus") => Some("v1 ComponentStatus is deprecated in v1.19+"),
        ("", "Endpoints") => {
            Some("v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice")
        }
        _ => None,
    }
    .map(str::to_owned);
    built.namespaced = flags.namespaced;
    built.generation = flags.generation;
    built.short_names = short.split_whitespace().map(str::to_owned).collect();
    built.categories = categories.split_whitespace().map(str::to_owned).collect();
    built.subresources = subresources
        .split_whitespace()
        .map(|name| subresource(&built, name))
        .collect();
    built.status = built.subresource("status").is_some();
    built.verbs = match *kind {
        "Binding" => vec!["create"],
        "ComponentStatus" => vec!["get", "list"],
        "Namespace" => ALL_VERBS
            .iter()
            .copied()
            .filter(|verb| *verb != "deletecollection")
            .collect(),
        review if review.ends_with("Review") => vec!["create"],
        _ => ALL_VERBS.to_vec(),
    };
    if built.subresource("scale").is_some() {
        built.scale = Some(ScalePaths {
            spec_replicas: ".spec.replicas".to_owned(),
            status_replicas: ".status.replicas".to_owned(),
            label_selector: None,
        });
    }
    if *group == "events.k8s.io" {
        "events".clone_into(&mut built.storage);
    }
    built.selectable_fields = selectable(group, kind)
        .iter()
        .map(|field| (*field).to_owned())
        .collect();
    built
}

fn subresource(kind: &Kind, name: &str) -> Subresource {
    const CONNECT: &[&str] = &["create", "get"];
    const PROXY: &[&str] = &["create", "delete", "get", "patch", "update"];
    const WRITE: &[&str] = &["get", "patch", "update"];
    let own = (kind.group.as_str(), kind.version.as_str(), kind.kind.as_str());
    let ((group, version, sub_kind), verbs) = match (kind.kind.as_str(), name) {
        (_, "scale") => (("autoscaling", "v1", "Scale"), WRITE),
        (_, "finalize") => (own, &["update"] as &[_]),
        ("Node", "proxy") => (("", "v1", "NodeProxyOptions"), PROXY),
        ("Service", "proxy") => (("", "v1", "ServiceProxyOptions"), PROXY),
        ("Pod", "proxy") => (("", "v1", "PodProxyOptions"), PROXY),
        ("Pod", "attach") => (("", "v1", "PodAttachOptions"), CONNECT),
        ("Pod", "exec") => (("", "v1", "PodExecOptions"), CONNECT),
        ("Pod", "portforward") => (("", "v1", "PodPortForwardOptions"), CONNECT),
        ("Pod", "log") => (own, &["get"] as &[_]),
        ("Pod", "binding") => (("", "v1", "Binding"), &["create"] as &[_]),
        ("Pod", "eviction") => (("policy", "v1", "Eviction"), &["create"] as &[_]),
        ("ServiceAccount", "token") => (
            ("authentication.k8s.io", "v1", "TokenRequest"),
            &["create"] as &[_],
        ),
        _ => (own, WRITE),
    };
    Subresource {
        name: name.to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: sub_kind.to_owned(),
        verbs: verbs.to_vec(),
    }
}

/// Fields beyond name and namespace that field selectors may use.
fn selectable(group: &str, kind: &str) -> &'static [&'static str] {
    match (group, kind) {
        ("", "Pod") => &[
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.podIPs",
            "status.nominatedNodeName",
        ],
        ("", "Event") => &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
        ("events.k8s.io", "Event") => &[
            "regarding.kind",
            "regarding.namespace",
            "regarding.name",
            "regarding.uid",
            "regarding.apiVersion",
            "regarding.resourceVersion",
            "regarding.fieldPath",
            "reason",
            "reportingController",
            "type",
        ],
        ("", "Secret") => &["type"],
        ("", "Namespace") => &["status.phase", "name"],
        ("", "Node") => &["spec.unschedulable"],
        ("", "ReplicationController") | ("apps", "ReplicaSet") => &["status.replicas"],
        ("", "Service") => &["spec.clusterIP", "spec.type"],
        ("batch", "Job") => &["status.successful"],
        ("certificates.k8s.io", "CertificateSigningRequest") => &["spec.signerName"],
        _ => &[],
    }
}
