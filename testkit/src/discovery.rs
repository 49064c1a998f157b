//! Discovery: which groups, versions and resources the server has, in the legacy and the aggregated shape.

use serde::Serialize;
use serde_json::{Value, json};

use crate::kind::{Kind, Registry, Subresource, api_version};

mod hash_text;

pub(crate) use hash_text::base64;

/// An answer of discovery.
#[derive(Debug)]
pub(crate) struct Document {
    /// The `Content-Type` to send.
    pub(crate) content_type: &'static str,
    /// The body, line feed included.
    pub(crate) body: Vec<u8>,
    /// The `ETag` to send, quotes included.
    pub(crate) etag: Option<String>,
}

const JSON: &str = "application/json";
const AGGREGATED_V2: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
const AGGREGATED_BETA: &str = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

/// Answers a discovery path (`/api`, `/apis`, `/api/v1`, `/apis/G`, `/apis/G/V`, a trailing slash is fine), or `None`
/// where the path is not one or names a group or version the server does not have.
///
/// `host` is the address clients reach the server at, which `/api` repeats.
pub(crate) fn document(registry: &Registry, path: &str, accept: &str, host: &str) -> Option<Document> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts.as_slice() {
        ["api"] | ["apis"] => {
            let core = parts == ["api"];
            if let Some(content_type) = aggregated(accept) {
                let version = if content_type == AGGREGATED_V2 {
                    "v2"
                } else {
                    "v2beta1"
                };
                return Some(aggregate(registry, core, version, content_type));
            }
            Some(plain(&if core {
                api_versions(host)
            } else {
                group_list(registry)
            }))
        }
        ["api", version] => resource_list(registry, "", version),
        ["apis", group] if !group.is_empty() => {
            let (name, versions) = registry
                .groups()
                .into_iter()
                .find(|(name, _)| name == group && !name.is_empty())?;
            let mut body = Ordered::new("APIGroup", "v1");
            body.extend(&group_entry(&name, &versions));
            Some(plain(&Value::String(body.finish())))
        }
        ["apis", group, version] if !group.is_empty() => resource_list(registry, group, version),
        _ => None,
    }
}

/// A JSON object written in a chosen order of keys.
struct Ordered(Vec<(String, String)>);

impl Ordered {
    fn new(kind: &str, api_version: &str) -> Self {
        let mut object = Self(Vec::new());
        object.set("kind", &kind);
        object.set("apiVersion", &api_version);
        object
    }

    fn set<T: Serialize>(&mut self, key: &str, value: &T) {
        let value = serde_json::to_string(value).expect("discovery documents have string keys only");
        self.0.push((key.to_owned(), value));
    }

    fn extend(&mut self, entries: &[(&str, Value)]) {
        for (key, value) in entries {
            self.set(key, value);
        }
    }

    fn finish(self) -> String {
        let fields: Vec<_> = self
            .0
            .iter()
            .map(|(key, value)| format!("\"{key}\":{value}"))
            .collect();
        format!("{{{}}}\n", fields.join(","))
    }
}

fn plain(body: &Value) -> Document {
    let body = match body {
        Value::String(text) => text.clone().into_bytes(),
        other => format!("{other}\n").into_bytes(),
    };
    Document {
        content_type: JSON,
        body,
        etag: None,
    }
}

/// The aggregated content type the client asks for, if any, best first.
fn aggregated(accept: &str) -> Option<&'static str> {
    for clause in accept.split(',') {
        let params: Vec<&str> = clause.split(';').map(str::trim).collect();
        let is = |wanted: &str| params.iter().any(|p| p.eq_ignore_ascii_case(wanted));
        if !is("as=APIGroupDiscoveryList") || !is("g=apidiscovery.k8s.io") {
            match params.first() {
                Some(&("application/json" | "*/*" | "application/*")) => return None,
                _ => continue,
            }
        }
        if !matches!(
            params.first(),
            Some(&("application/json" | "*/*" | "application/*"))
        ) {
            continue;
        }
        if is("v=v2") {
            return Some(AGGREGATED_V2);
        }
        if is("v=v2beta1") {
            return Some(AGGREGATED_BETA);
        }
    }
    None
}

fn api_versions(host: &str) -> Value {
    let mut body = Ordered(Vec::new());
    body.set("kind", &"APIVersions");
    body.set("versions", &["v1"]);
    let address = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]);
    body.set("serverAddressByClientCIDRs", &address);
    Value::String(body.finish())
}

fn group_list(registry: &Registry) -> Value {
    let mut body = Ordered::new("APIGroupList", "v1");
    let groups: Vec<Value> = registry
        .groups()
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, versions)| {
            let entry = group_entry(name, versions);
            Value::Object(
                entry
                    .into_iter()
                    .map(|(key, value)| (key.to_owned(), value))
                    .collect(),
            )
        })
        .collect();
    body.set("groups", &groups);
    Value::String(body.finish())
}

fn group_entry(name: &str, versions: &[String]) -> Vec<(&'static str, Value)> {
    let entry = |version: &String| json!({"groupVersion": api_version(name, version), "version": version});
    vec![
        ("name", json!(name)),
        ("versions", versions.iter().map(entry).collect()),
        ("preferredVersion", versions.first().map_or(Value::Null, entry)),
    ]
}

fn resource_list(registry: &Registry, group: &str, version: &str) -> Option<Document> {
    if !registry.has_version(group, version) {
        return None;
    }
    let mut resources = Vec::new();
    for kind in registry
        .kinds()
        .iter()
        .filter(|k| k.group == group && k.version == version)
    {
        let mut row = json!({
            "name": kind.plural,
            "singularName": kind.singular,
            "namespaced": kind.namespaced,
            "kind": kind.kind,
            "verbs": kind.verbs,
        });
        if !kind.short_names.is_empty() {
            row["shortNames"] = json!(kind.short_names);
        }
        if !kind.categories.is_empty() {
            row["categories"] = json!(kind.categories);
        }
        if kind.allows("watch") {
            row["storageVersionHash"] = json!(storage_version_hash(kind));
        }
        resources.push(row);
        for sub in sorted(&kind.subresources) {
            let mut row = json!({
                "name": format!("{}/{}", kind.plural, sub.name),
                "singularName": "",
                "namespaced": kind.namespaced,
                "kind": sub.kind,
                "verbs": sub.verbs,
            });
            if (sub.group.as_str(), sub.version.as_str()) != (group, version) {
                row["group"] = json!(sub.group);
                row["version"] = json!(sub.version);
            }
            resources.push(row);
        }
    }
    let gv = api_version(group, version);
    let mut body = Ordered(Vec::new());
    body.set("kind", &"APIResourceList");
    if !group.is_empty() {
        body.set("apiVersion", &"v1");
    }
    body.set("groupVersion", &gv);
    body.set("resources", &resources);
    Some(plain(&Value::String(body.finish())))
}

fn sorted(subresources: &[Subresource]) -> Vec<&Subresource> {
    let mut all: Vec<_> = subresources.iter().collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));
    all
}

fn aggregate(registry: &Registry, core: bool, version: &str, content_type: &'static str) -> Document {
    let mut items = Vec::new();
    for (group, versions) in registry
        .groups()
        .iter()
        .filter(|(name, _)| name.is_empty() == core)
    {
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| {
                let of_version =
                    |kind: &&std::sync::Arc<Kind>| kind.group == *group && kind.version == *version;
                let resources: Vec<Value> = registry
                    .kinds()
                    .iter()
                    .filter(of_version)
                    .map(|kind| aggregate_resource(kind))
                    .collect();
                json!({"version": version, "resources": resources, "freshness": "Current"})
            })
            .collect();
        let metadata = if group.is_empty() {
            json!({})
        } else {
            json!({"name": group})
        };
        items.push(json!({"metadata": metadata, "versions": versions}));
    }
    let mut body = Ordered::new("APIGroupDiscoveryList", &format!("apidiscovery.k8s.io/{version}"));
    body.set("metadata", &json!({}));
    body.set("items", &items);
    let body = body.finish().into_bytes();
    let etag = format!("\"{}\"", hex_hash(&body));
    Document {
        content_type,
        body,
        etag: Some(etag),
    }
}

fn aggregate_resource(kind: &Kind) -> Value {
    // Built-in kinds leave the version of their response kind empty; a client falls back to the list's.
    let response = |group: &str, version: &str, name: &str| {
        let same = group == kind.group && version == kind.version && !kind.custom;
        json!({
            "group": if same { "" } else { group },
            "version": if same { "" } else { version },
            "kind": name,
        })
    };
    let mut row = json!({
        "resource": kind.plural,
        "responseKind": response(&kind.group, &kind.version, &kind.kind),
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if !kind.short_names.is_empty() {
        row["shortNames"] = json!(kind.short_names);
    }
    if !kind.categories.is_empty() {
        row["categories"] = json!(kind.categories);
    }
    let subresources: Vec<Value> = sorted(&kind.subresources)
        .into_iter()
        .map(|sub| {
            json!({
                "subresource": sub.name,
                "responseKind": response(&sub.group, &sub.version, &sub.kind),
                "verbs": sub.verbs,
            })
        })
        .collect();
    if !subresources.is_empty() {
        row["subresources"] = json!(subresources);
    }
    row
}

/// An identity of what the storage holds: it changes with group, version or kind.
fn storage_version_hash(kind: &Kind) -> String {
    let identity = format!("{}/{}/{}", kind.group, kind.storage_version, kind.kind);
    hash_text::storage(&identity)
}

/// A fingerprint of a document, for its `ETag`.
pub(crate) fn hex_hash(body: &[u8]) -> String {
    hash_text::hex(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str, accept: &str) -> Value {
        let registry = Registry::builtin();
        let document = document(&registry, path, accept, "127.0.0.1:6443").expect(path);
        serde_json::from_slice(&document.body).expect("JSON")
    }

    #[test]
    fn legacy_documents_have_the_recorded_shape() {
        assert_eq!(
            get("/api", ""),
            json!({"kind":"APIVersions","versions":["v1"],
                "serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"127.0.0.1:6443"}]})
        );
        let groups = get("/apis/", "");
        assert_eq!(groups["groups"][0]["name"], "apiregistration.k8s.io");
        assert_eq!(
            groups["groups"][1]["preferredVersion"],
            json!({"groupVersion":"apps/v1","version":"v1"})
        );
        let core = get("/api/v1", "");
        assert_eq!(
            core["resources"][2],
            json!({"name":"configmaps","singularName":"configmap","namespaced":true,"kind":"ConfigMap",
                "verbs":["create","delete","deletecollection","get","list","patch","update","watch"],
                "shortNames":["cm"],"storageVersionHash":"qFsyl6wFWjQ="})
        );
        assert_eq!(get("/apis/apps", "")["kind"], "APIGroup");
        assert_eq!(get("/apis/apps/v1", "")["groupVersion"], "apps/v1");
    }

    #[test]
    fn unknown_groups_and_versions_have_no_document() {
        let registry = Registry::builtin();
        for path in [
            "/apis/nosuch.io",
            "/apis/nosuch.io/v1",
            "/apis/apps/v9",
            "/api/v2",
            "/nosuch",
            "/",
            "/apis//v1",
        ] {
            assert!(document(&registry, path, "", "").is_none(), "{path}");
        }
    }

    #[test]
    fn the_aggregated_shape_is_chosen_by_accept_and_named_in_the_content_type() {
        let kubectl = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                       application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json";
        let registry = Registry::builtin();
        let answer = document(&registry, "/api", kubectl, "").expect("aggregated");
        assert_eq!(answer.content_type, AGGREGATED_V2);
        assert!(answer.etag.is_some());
        let body: Value = serde_json::from_slice(&answer.body).expect("JSON");
        assert_eq!(body["items"][0]["metadata"], json!({}));
        assert_eq!(
            body["items"][0]["versions"][0]["resources"][0],
            json!({"resource":"bindings","responseKind":{"group":"","version":"","kind":"Binding"},
                "scope":"Namespaced","singularResource":"binding","verbs":["create"]})
        );
        let apps = get("/apis", kubectl);
        let deployments = &apps["items"][1]["versions"][0]["resources"][2];
        assert_eq!(deployments["resource"], "deployments");
        assert_eq!(
            deployments["subresources"][0],
            json!({"subresource":"scale","responseKind":{"group":"autoscaling","version":"v1","kind":"Scale"},
                "verbs":["get","patch","update"]})
        );
        let plain = document(&registry, "/api", "application/json", "").expect("plain");
        assert_eq!(plain.content_type, JSON);
        let beta = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";
        assert_eq!(
            document(&registry, "/apis", beta, "").expect("beta").content_type,
            AGGREGATED_BETA
        );
    }
}
