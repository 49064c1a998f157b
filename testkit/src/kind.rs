//! Kinds the server knows: what each is called, where it lives and which rules its writes follow.
//!
//! A [`Kind`] is plain data, one row per group, version and resource. The [`Registry`] holds the rows in the order
//! discovery shows them and finds one by the parts of a request path.

use std::collections::HashMap;
use std::sync::Arc;

use crate::schema::Schema;

mod builtin;
pub(crate) mod event;
pub(crate) mod types;

pub(crate) use builtin::is_builtin;

/// One resource of one API version: the names, the scope, and the rules the server applies to its objects.
///
/// Built-in kinds are there from the start; kinds of a custom resource definition appear when it is created.
/// A test that wants a kind without a definition makes one here.
///
/// # Examples
/// ```
/// use informer_testkit::Kind;
/// let kind = Kind::new("example.com", "v1", "Widget", "widgets").short_name("wd").with_status();
/// assert_eq!(kind.resource(), "widgets.example.com");
/// assert_eq!(kind.api_version(), "example.com/v1");
/// ```
#[derive(Clone, Debug)]
pub struct Kind {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) list_kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) verbs: Vec<&'static str>,
    pub(crate) status: bool,
    pub(crate) scale: Option<ScalePaths>,
    pub(crate) subresources: Vec<Subresource>,
    pub(crate) generation: Generation,
    /// Comes from a definition (or from the user): another wire shape and other update rules than a built-in type.
    pub(crate) custom: bool,
    /// Which table of the store holds the objects; kinds that are views of the same objects share it.
    pub(crate) storage: String,
    pub(crate) storage_version: String,
    pub(crate) schema: Option<Arc<Schema>>,
    /// The fields of a built-in kind.
    shape: Option<&'static types::Struct>,
    pub(crate) columns: Vec<PrinterColumn>,
    pub(crate) selectable_fields: Vec<String>,
    pub(crate) deprecation_warning: Option<String>,
}

/// When a write raises `metadata.generation`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Generation {
    /// Never: the kind has no generation at all.
    Never,
    /// On any change outside `metadata` and `status`.
    Spec,
    /// As [`Generation::Spec`], and when the annotations change.
    SpecAndAnnotations,
    /// On any change outside `metadata`: custom kinds without the status subresource.
    AllButMetadata,
}

/// Where the scale subresource finds its numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScalePaths {
    pub(crate) spec_replicas: String,
    pub(crate) status_replicas: String,
    pub(crate) label_selector: Option<String>,
}

/// A further resource below an object, as discovery lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Subresource {
    pub(crate) name: String,
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) verbs: Vec<&'static str>,
}

/// A column of the table view of a custom kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PrinterColumn {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) format: String,
    pub(crate) description: String,
    pub(crate) priority: i64,
    pub(crate) json_path: String,
}

/// The verbs of an ordinary resource, in the order discovery lists them.
pub(crate) const ALL_VERBS: [&str; 8] = [
    "create",
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "update",
    "watch",
];

impl Kind {
    /// Makes a namespaced custom kind with every verb, no subresources and no schema.
    #[must_use]
    pub fn new(
        group: impl Into<String>,
        version: impl Into<String>,
        kind: impl Into<String>,
        plural: impl Into<String>,
    ) -> Self {
        let (group, version, kind, plural) = (group.into(), version.into(), kind.into(), plural.into());
        let storage = resource_name(&group, &plural);
        Self {
            list_kind: format!("{kind}List"),
            singular: kind.to_lowercase(),
            storage,
            storage_version: version.clone(),
            short_names: Vec::new(),
            categories: Vec::new(),
            namespaced: true,
            verbs: ALL_VERBS.to_vec(),
            status: false,
            scale: None,
            subresources: Vec::new(),
            generation: Generation::AllButMetadata,
            custom: true,
            schema: None,
            shape: None,
            columns: Vec::new(),
            selectable_fields: Vec::new(),
            deprecation_warning: None,
            group,
            version,
            kind,
            plural,
        }
    }

    /// Makes the kind cluster-scoped. Default: namespaced.
    #[must_use]
    pub fn cluster_scoped(mut self) -> Self {
        self.namespaced = false;
        self
    }

    /// Adds a short name, such as `po` for pods. Default: none.
    #[must_use]
    pub fn short_name(mut self, name: impl Into<String>) -> Self {
        self.short_names.push(name.into());
        self
    }

    /// Adds the status subresource: status is then written through it alone. Default: off.
    #[must_use]
    pub fn with_status(mut self) -> Self {
        self.status = true;
        self.generation = Generation::Spec;
        let sub = Subresource {
            name: "status".to_owned(),
            group: self.group.clone(),
            version: self.version.clone(),
            kind: self.kind.clone(),
            verbs: vec!["get", "patch", "update"],
        };
        self.subresources.push(sub);
        self
    }

    /// Adds a field that field selectors may use, such as `spec.color`. Default: name and namespace alone.
    #[must_use]
    pub fn selectable_field(mut self, path: impl Into<String>) -> Self {
        self.selectable_fields.push(path.into());
        self
    }

    /// The API group, empty for the core group.
    #[must_use]
    pub fn group(&self) -> &str {
        &self.group
    }

    /// The version, such as `v1`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The kind, such as `Pod`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The plural name used in paths, such as `pods`.
    #[must_use]
    pub fn plural(&self) -> &str {
        &self.plural
    }

    /// Whether objects live in a namespace.
    #[must_use]
    pub fn is_namespaced(&self) -> bool {
        self.namespaced
    }

    /// The `apiVersion` of its objects: `v1` or `apps/v1`.
    #[must_use]
    pub fn api_version(&self) -> String {
        api_version(&self.group, &self.version)
    }

    /// The resource as error messages name it: `pods` or `deployments.apps`.
    #[must_use]
    pub fn resource(&self) -> String {
        resource_name(&self.group, &self.plural)
    }

    /// The kind as `Invalid` errors name it: `Pod` or `Deployment.apps`.
    #[must_use]
    pub(crate) fn group_kind(&self) -> String {
        resource_name(&self.group, &self.kind)
    }

    /// The type of a built-in kind's objects.
    pub(crate) fn shape(&self) -> Option<&'static types::Struct> {
        self.shape
    }

    /// Makes of the kind a built-in one whose objects have this type.
    pub(crate) fn read_as_builtin(&mut self, shape: Option<&'static types::Struct>) {
        self.custom = false;
        self.shape = shape;
    }

    /// Whether requests may use this verb.
    pub(crate) fn allows(&self, verb: &str) -> bool {
        self.verbs.contains(&verb)
    }

    /// Whether discovery lists this further resource, such as `status`.
    pub(crate) fn subresource(&self, name: &str) -> Option<&Subresource> {
        self.subresources.iter().find(|sub| sub.name == name)
    }

    /// Whether its deletion leaves the object in place for a grace period.
    pub(crate) fn is_pod(&self) -> bool {
        self.is_core("Pod")
    }

    /// Whether a delete is answered with the object's last state, where others tell that it is gone.
    pub(crate) fn returns_deleted(&self) -> bool {
        const CORE: [&str; 8] = [
            "Namespace",
            "PersistentVolume",
            "PersistentVolumeClaim",
            "Pod",
            "PodTemplate",
            "ResourceQuota",
            "Service",
            "ServiceAccount",
        ];
        match self.group.as_str() {
            "" => CORE.contains(&self.kind.as_str()),
            "storage.k8s.io" => !self.custom && self.kind != "CSIStorageCapacity",
            _ => false,
        }
    }

    /// Whether this is the core kind of that name.
    pub(crate) fn is_core(&self, kind: &str) -> bool {
        self.group.is_empty() && self.kind == kind
    }

    /// Whether this is a custom resource definition.
    pub(crate) fn is_crd(&self) -> bool {
        self.group == "apiextensions.k8s.io" && self.kind == "CustomResourceDefinition"
    }

    /// Whether its objects are events in the newer shape, which are stored in the core one.
    pub(crate) fn is_new_event(&self) -> bool {
        self.group == "events.k8s.io" && self.kind == "Event" && !self.custom
    }

    /// Whether a client's delete without a word about dependents lets them live on, as it did before there was a choice.
    pub(crate) fn orphans_by_default(&self) -> bool {
        !self.custom
            && matches!(
                (self.group.as_str(), self.kind.as_str()),
                ("batch", "Job") | ("", "ReplicationController")
            )
    }

    /// Whether an update without a resource version is taken as it is.
    pub(crate) fn allows_unconditional_update(&self) -> bool {
        const CONDITIONAL: [&str; 11] = [
            "APIService",
            "CustomResourceDefinition",
            "Lease",
            "MutatingWebhookConfiguration",
            "PodDisruptionBudget",
            "RuntimeClass",
            "ServiceAccount",
            "ValidatingAdmissionPolicy",
            "ValidatingAdmissionPolicyBinding",
            "ValidatingWebhookConfiguration",
            "VolumeAttachment",
        ];
        !self.custom && !CONDITIONAL.contains(&self.kind.as_str())
    }

    /// What the real server's code calls the kind, or its list, as a few of its errors tell.
    pub(crate) fn go_type(&self, list: bool) -> String {
        let list_name = if list { "List" } else { "" };
        if self.custom {
            return format!("*unstructured.Unstructured{list_name}");
        }
        let package = match self.group.as_str() {
            "" | "events.k8s.io" => "core",
            "rbac.authorization.k8s.io" => "rbac",
            "flowcontrol.apiserver.k8s.io" => "flowcontrol",
            group => group.split('.').next().unwrap_or_default(),
        };
        format!("*{package}.{}{list_name}", self.kind)
    }

    /// Where a real server keeps its objects, as some of its errors tell.
    pub(crate) fn registry_path(&self) -> String {
        match (self.group.as_str(), self.plural.as_str()) {
            ("", "endpoints") => "services/endpoints".to_owned(),
            ("", "services") => "services/specs".to_owned(),
            ("", "nodes") => "minions".to_owned(),
            ("", "replicationcontrollers") => "controllers".to_owned(),
            ("networking.k8s.io", "ingresses") => "ingress".to_owned(),
            (group @ ("apiextensions.k8s.io" | "apiregistration.k8s.io"), plural) => {
                format!("{group}/{plural}")
            }
            (group, plural) if self.custom => format!("{group}/{plural}"),
            (_, plural) => plural.to_owned(),
        }
    }

    /// Whether an update of an object that is not there creates it.
    pub(crate) fn allows_create_on_update(&self) -> bool {
        match self.group.as_str() {
            "" => matches!(
                self.kind.as_str(),
                "Endpoints" | "Event" | "LimitRange" | "Service"
            ),
            "coordination.k8s.io" | "rbac.authorization.k8s.io" | "events.k8s.io" => !self.custom,
            _ => false,
        }
    }
}

/// `v1` or `apps/v1`.
pub(crate) fn api_version(group: &str, version: &str) -> String {
    if group.is_empty() {
        version.to_owned()
    } else {
        format!("{group}/{version}")
    }
}

fn resource_name(group: &str, name: &str) -> String {
    if group.is_empty() {
        name.to_owned()
    } else {
        format!("{name}.{group}")
    }
}

/// Every kind of a server, in the order discovery shows them.
#[derive(Clone, Debug)]
pub(crate) struct Registry {
    kinds: Vec<Arc<Kind>>,
    by_path: HashMap<(String, String, String), Arc<Kind>>,
}

impl Registry {
    /// The built-in kinds.
    pub(crate) fn builtin() -> Self {
        let mut registry = Self {
            kinds: Vec::new(),
            by_path: HashMap::new(),
        };
        for kind in builtin::kinds() {
            registry.register(kind);
        }
        registry
    }

    /// Adds a kind, or puts it in the place of the one with the same group, version and plural.
    pub(crate) fn register(&mut self, kind: Kind) -> Arc<Kind> {
        let kind = Arc::new(kind);
        let path = (kind.group.clone(), kind.version.clone(), kind.plural.clone());
        match self.by_path.insert(path, Arc::clone(&kind)) {
            None => self.kinds.push(Arc::clone(&kind)),
            Some(old) => {
                for slot in &mut self.kinds {
                    if Arc::ptr_eq(slot, &old) {
                        *slot = Arc::clone(&kind);
                    }
                }
            }
        }
        kind
    }

    /// Removes every version of a resource. Returns the removed kinds.
    pub(crate) fn unregister(&mut self, group: &str, plural: &str) -> Vec<Arc<Kind>> {
        let (gone, kept) = std::mem::take(&mut self.kinds)
            .into_iter()
            .partition(|k| k.group == group && k.plural == plural);
        self.kinds = kept;
        self.by_path.retain(|(g, _, p), _| !(g == group && p == plural));
        gone
    }

    /// The kind a request path names.
    pub(crate) fn lookup(&self, group: &str, version: &str, plural: &str) -> Option<&Arc<Kind>> {
        self.by_path
            .get(&(group.to_owned(), version.to_owned(), plural.to_owned()))
    }

    /// The kind an object names by `apiVersion` and `kind`.
    pub(crate) fn by_kind(&self, api_version: &str, kind: &str) -> Option<&Arc<Kind>> {
        self.kinds
            .iter()
            .find(|k| k.kind == kind && k.api_version() == api_version)
    }

    /// Whether the version of the group is served.
    pub(crate) fn has_version(&self, group: &str, version: &str) -> bool {
        self.kinds
            .iter()
            .any(|k| k.group == group && k.version == version)
    }

    /// Whether a group is built in, in whatever version: what is missing below it is a resource, not a path.
    pub(crate) fn has_builtin_group(&self, group: &str) -> bool {
        self.kinds.iter().any(|k| k.group == group && !k.custom)
    }

    /// Every kind, in discovery order.
    pub(crate) fn kinds(&self) -> &[Arc<Kind>] {
        &self.kinds
    }

    /// The groups in discovery order, each with its versions, preferred one first. The core group has the empty name.
    pub(crate) fn groups(&self) -> Vec<(String, Vec<String>)> {
        let mut groups: Vec<(String, Vec<String>)> = Vec::new();
        for kind in &self.kinds {
            match groups.iter_mut().find(|(name, _)| *name == kind.group) {
                Some((_, versions)) if versions.contains(&kind.version) => {}
                Some((_, versions)) => versions.push(kind.version.clone()),
                None => groups.push((kind.group.clone(), vec![kind.version.clone()])),
            }
        }
        for (name, versions) in &mut groups {
            let custom = self.kinds.iter().any(|k| k.group == *name && k.custom);
            if custom {
                versions.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
            }
        }
        groups
    }
}

/// Orders versions as discovery prefers them: `v2 > v1 > v1beta2 > v1beta1 > v1alpha1 > anything else`.
pub(crate) fn version_rank(version: &str) -> (u8, u64, u64) {
    let parse = || -> Option<(u8, u64, u64)> {
        let rest = version.strip_prefix('v')?;
        for (word, stage) in [("alpha", 1_u8), ("beta", 2)] {
            if let Some((major, minor)) = rest.split_once(word) {
                return Some((stage, major.parse().ok()?, minor.parse().ok()?));
            }
        }
        Some((3, rest.parse().ok()?, 0))
    };
    parse().unwrap_or((0, 0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_finds_its_kind_and_unknown_paths_find_none() {
        let registry = Registry::builtin();
        for (group, version, plural, kind) in [
            ("", "v1", "pods", "Pod"),
            ("", "v1", "configmaps", "ConfigMap"),
            ("apps", "v1", "deployments", "Deployment"),
            ("events.k8s.io", "v1", "events", "Event"),
            ("coordination.k8s.io", "v1", "leases", "Lease"),
            (
                "apiextensions.k8s.io",
                "v1",
                "customresourcedefinitions",
                "CustomResourceDefinition",
            ),
        ] {
            let found = registry.lookup(group, version, plural).expect("a built-in kind");
            assert_eq!(found.kind, kind);
        }
        assert!(registry.lookup("", "v1", "nosuch").is_none());
        assert!(registry.lookup("apps", "v2", "deployments").is_none());
    }

    #[test]
    fn both_event_groups_share_one_store() {
        let registry = Registry::builtin();
        let core = registry.lookup("", "v1", "events").expect("core events");
        let new = registry
            .lookup("events.k8s.io", "v1", "events")
            .expect("new events");
        assert_eq!(core.storage, new.storage);
    }

    #[test]
    fn versions_are_preferred_by_stability_then_number() {
        let mut all = ["v1alpha1", "v10", "foo1", "v1beta2", "v2", "v1beta1", "v1"];
        all.sort_by_key(|v| std::cmp::Reverse(version_rank(v)));
        assert_eq!(all, ["v10", "v2", "v1", "v1beta2", "v1beta1", "v1alpha1", "foo1"]);
    }

    #[test]
    fn registering_twice_replaces_and_unregistering_removes_every_version() {
        let mut registry = Registry::builtin();
        let before = registry.kinds().len();
        registry.register(Kind::new("example.com", "v1", "Foo", "foos"));
        registry.register(Kind::new("example.com", "v2", "Foo", "foos"));
        registry.register(Kind::new("example.com", "v1", "Foo", "foos").with_status());
        assert_eq!(registry.kinds().len(), before + 2);
        assert!(
            registry
                .lookup("example.com", "v1", "foos")
                .expect("registered")
                .status
        );
        assert_eq!(registry.unregister("example.com", "foos").len(), 2);
        assert_eq!(registry.kinds().len(), before);
        assert!(!registry.has_version("example.com", "v1"));
    }
}
