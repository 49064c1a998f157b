//! OpenAPI: what `kubectl` needs to create, apply and explain.
//!
//! Version 3 alone: the index, and one document per group and version. Custom kinds state the schema of their
//! definition. Built-in kinds state the shape that every object has and leave the rest open, since the full documents
//! of a real server are megabytes; `kubectl` validates on the server then.

use serde_json::{Map, Value, json};

use crate::discovery::hex_hash;
use crate::kind::{Kind, Registry, api_version};

/// An OpenAPI document.
#[derive(Debug)]
pub(crate) struct Document {
    /// The body.
    pub(crate) body: Vec<u8>,
    /// The `ETag`, quotes included. It is also the hash in the index.
    pub(crate) etag: String,
}

/// Answers `/openapi/v3` (`path` empty) and what is below it (`api/v1`, `apis/apps/v1`), or `None` where the server
/// has no such group and version.
pub(crate) fn document(registry: &Registry, path: &str) -> Option<Document> {
    let body = match path.trim_matches('/') {
        "" => index(registry),
        path => {
            let (group, version) = group_version(path)?;
            if !registry.has_version(group, version) {
                return None;
            }
            group_document(registry, group, version)
        }
    };
    let body = body.to_string().into_bytes();
    let etag = format!("\"{}\"", hex_hash(&body));
    Some(Document { body, etag })
}

fn group_version(path: &str) -> Option<(&str, &str)> {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => Some(("", version)),
        ["apis", group, version] => Some((group, version)),
        _ => None,
    }
}

fn index(registry: &Registry) -> Value {
    let mut paths = Map::new();
    for (group, versions) in registry.groups() {
        for version in versions {
            let path = if group.is_empty() {
                format!("api/{version}")
            } else {
                format!("apis/{group}/{version}")
            };
            let document = group_document(registry, &group, &version).to_string();
            let hash = hex_hash(document.as_bytes());
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

fn group_document(registry: &Registry, group: &str, version: &str) -> Value {
    let mut paths = Map::new();
    let mut schemas = Map::new();
    for (name, schema) in shared_schemas() {
        schemas.insert(name.to_owned(), schema);
    }
    for kind in registry
        .kinds()
        .iter()
        .filter(|k| k.group == group && k.version == version)
    {
        let name = schema_name(kind);
        schemas.insert(format!("{name}List"), list_schema(kind, &name));
        schemas.insert(name.clone(), kind_schema(kind));
        add_paths(kind, &name, &mut paths);
    }
    json!({
        "openapi": "3.0.0",
        "info": {"title": "Kubernetes", "version": "v1.36.0"},
        "paths": paths,
        "components": {"schemas": schemas},
    })
}

const OBJECT_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta";
const LIST_META: &str = "io.k8s.apimachinery.pkg.apis.meta.v1.ListMeta";

/// The name of a kind's schema: the group's parts reversed for custom kinds, the package for built-in ones.
fn schema_name(kind: &Kind) -> String {
    let group = kind.group.as_str();
    if kind.custom {
        let reversed: Vec<&str> = group.split('.').rev().collect();
        return format!("{}.{}.{}", reversed.join("."), kind.version, kind.kind);
    }
    let package = if group.is_empty() {
        "core"
    } else {
        group.split('.').next().unwrap_or_default()
    };
    format!("io.k8s.api.{package}.{}.{}", kind.version, kind.kind)
}

fn type_mark(kind: &Kind, name: &str) -> Value {
    json!([{"group": kind.group, "version": kind.version, "kind": name}])
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

const API_VERSION: &str = "The version of the schema this object follows.";
const KIND: &str = "The name of the type this object has.";

fn kind_schema(kind: &Kind) -> Value {
    let mut schema = match &kind.schema {
        Some(schema) => schema.root().clone(),
        None => builtin_schema(kind),
    };
    if !schema.is_object() {
        schema = json!({"type": "object"});
    }
    let properties = &mut schema["properties"];
    if !properties.is_object() {
        *properties = json!({});
    }
    properties["apiVersion"] = json!({"type": "string", "description": API_VERSION});
    properties["kind"] = json!({"type": "string", "description": KIND});
    properties["metadata"] =
        json!({"description": "Standard object metadata.", "allOf": [reference(OBJECT_META)], "default": {}});
    schema["x-kubernetes-group-version-kind"] = type_mark(kind, &kind.kind);
    schema
}

/// What is known of a built-in kind: its parts, and that anything may stand in them.
fn builtin_schema(kind: &Kind) -> Value {
    let open = |what: &str| json!({"type": "object", "description": what, "x-kubernetes-preserve-unknown-fields": true});
    let mut properties = json!({});
    let words = || json!({"type": "object", "additionalProperties": {"type": "string"}});
    match kind.kind.as_str() {
        "ConfigMap" => {
            properties["data"] = words();
            properties["binaryData"] = words();
            properties["immutable"] = json!({"type": "boolean"});
        }
        "Secret" => {
            properties["data"] = words();
            properties["stringData"] = words();
            properties["type"] = json!({"type": "string"});
            properties["immutable"] = json!({"type": "boolean"});
        }
        _ => {
            let title = &kind.kind;
            properties["spec"] = open(&format!("What is wanted of the {title}."));
            if kind.status {
                properties["status"] = open(&format!("What was last seen of the {title}."));
            }
        }
    }
    json!({
        "type": "object",
        "description": format!("{} of {}.", kind.kind, api_version(&kind.group, &kind.version)),
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": true,
    })
}

fn list_schema(kind: &Kind, name: &str) -> Value {
    json!({
        "type": "object",
        "description": format!("A list of {}.", kind.kind),
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": API_VERSION},
            "kind": {"type": "string", "description": KIND},
            "metadata": {"allOf": [reference(LIST_META)], "default": {}},
            "items": {"type": "array", "items": {"allOf": [reference(name)]}},
        },
        "x-kubernetes-group-version-kind": type_mark(kind, &kind.list_kind),
    })
}

fn shared_schemas() -> [(&'static str, Value); 2] {
    let text = |what: &str| json!({"type": "string", "description": what});
    let words = |what: &str| json!({"type": "object", "description": what, "additionalProperties": {"type": "string", "default": ""}});
    let meta = json!({
        "type": "object",
        "description": "Metadata that every stored object has.",
        "properties": {
            "name": text("The name, unique among objects of a kind in a namespace."),
            "generateName": text("What the server makes a name from where none is given."),
            "namespace": text("The namespace the name is unique in."),
            "uid": text("The identity of this very object, never used again."),
            "resourceVersion": text("The version of this state; opaque to clients."),
            "generation": {"type": "integer", "format": "int64", "description": "Counts changes of what is wanted."},
            "creationTimestamp": {"type": "string", "format": "date-time", "description": "When it was created."},
            "deletionTimestamp": {"type": "string", "format": "date-time", "description": "When it will be gone."},
            "deletionGracePeriodSeconds": {"type": "integer", "format": "int64", "description": "Time to end in peace."},
            "labels": words("Words to select objects by."),
            "annotations": words("Any other words about the object."),
            "finalizers": {"type": "array", "items": {"type": "string", "default": ""},
                "description": "Who must act before the object may go.", "x-kubernetes-list-type": "set"},
            "ownerReferences": {"type": "array", "description": "Objects this one depends on.",
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["uid"]},
            "managedFields": {"type": "array", "description": "Who wrote which field.",
                "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
        },
    });
    let list = json!({
        "type": "object",
        "description": "Metadata of a list.",
        "properties": {
            "resourceVersion": text("The version of the list."),
            "continue": text("Where the next page begins."),
            "remainingItemCount": {"type": "integer", "format": "int64", "description": "How many items follow."},
        },
    });
    [(OBJECT_META, meta), (LIST_META, list)]
}

fn add_paths(kind: &Kind, name: &str, paths: &mut Map<String, Value>) {
    let root = if kind.group.is_empty() {
        format!("/api/{}", kind.version)
    } else {
        format!("/apis/{}/{}", kind.group, kind.version)
    };
    let collection = if kind.namespaced {
        format!("{root}/namespaces/{{namespace}}/{}", kind.plural)
    } else {
        format!("{root}/{}", kind.plural)
    };
    let mut on_collection = Map::new();
    let mut on_object = Map::new();
    for (verb, method, action) in [
        ("list", "get", "list"),
        ("create", "post", "post"),
        ("deletecollection", "delete", "deletecollection"),
    ] {
        if kind.allows(verb) {
            on_collection.insert(method.to_owned(), operation(kind, name, action));
        }
    }
    for (verb, method) in [
        ("get", "get"),
        ("update", "put"),
        ("patch", "patch"),
        ("delete", "delete"),
    ] {
        if kind.allows(verb) {
            on_object.insert(method.to_owned(), operation(kind, name, method));
        }
    }
    if !on_collection.is_empty() {
        paths.insert(collection.clone(), Value::Object(on_collection));
    }
    if !on_object.is_empty() {
        paths.insert(format!("{collection}/{{name}}"), Value::Object(on_object));
    }
}

/// An operation, with the parameters that tell clients what the server understands.
fn operation(kind: &Kind, name: &str, action: &str) -> Value {
    let parameter = |name: &str, what: &str| json!({"name": name, "in": "query", "description": what, "schema": {"type": "string", "uniqueItems": true}});
    let mut parameters = vec![parameter("pretty", "Indent the answer.")];
    if matches!(action, "post" | "put" | "patch") {
        parameters.push(parameter("dryRun", "Do everything but store: All."));
        parameters.push(parameter("fieldManager", "Who writes."));
        parameters.push(parameter(
            "fieldValidation",
            "What to do about unknown fields: Ignore, Warn or Strict.",
        ));
    }
    if matches!(action, "delete" | "deletecollection") {
        parameters.push(parameter("dryRun", "Do everything but store: All."));
    }
    let schema = if action == "list" {
        format!("{name}List")
    } else {
        name.to_owned()
    };
    let mut operation = json!({
        "description": format!("{action} {}", kind.kind),
        "operationId": format!("{action}{}", name.replace('.', "_")),
        "parameters": parameters,
        "responses": {"200": {"description": "OK", "content": {"application/json": {"schema": reference(&schema)}}}},
        "x-kubernetes-action": action,
        "x-kubernetes-group-version-kind": {"group": kind.group, "version": kind.version, "kind": kind.kind},
    });
    if matches!(action, "post" | "put") {
        operation["requestBody"] = json!({"required": true, "content": {"*/*": {"schema": reference(name)}}});
    }
    if action == "patch" {
        let any = json!({"schema": {"type": "object"}});
        // Strategic merge is left out for built-in kinds too: a client that reads it here wants the merge keys of
        // every list from the schema. Without, it takes those it was built with, which are the same.
        let content = json!({
            "application/json-patch+json": any,
            "application/merge-patch+json": any,
            "application/apply-patch+yaml": any,
        });
        operation["requestBody"] = json!({"required": true, "content": content});
    }
    operation
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(registry: &Registry, path: &str) -> Value {
        serde_json::from_slice(&document(registry, path).expect(path).body).expect("JSON")
    }

    #[test]
    fn the_index_lists_a_document_for_every_group_and_version() {
        let registry = Registry::builtin();
        let index = read(&registry, "");
        for path in ["api/v1", "apis/apps/v1", "apis/apiextensions.k8s.io/v1"] {
            let url = index["paths"][path]["serverRelativeURL"].as_str().expect(path);
            let (base, hash) = url.split_once("?hash=").expect("a hash");
            assert_eq!(base, format!("/openapi/v3/{path}"));
            let document = document(&registry, path).expect(path);
            assert_eq!(document.etag, format!("\"{hash}\""));
        }
        for path in ["api/v9", "apis/nosuch.io/v1", "apis", "x/y/z/w"] {
            assert!(document(&registry, path).is_none(), "{path}");
        }
    }

    #[test]
    fn patches_say_that_the_server_validates() {
        let apps = read(&Registry::builtin(), "apis/apps/v1");
        let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
        assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
        let names: Vec<&Value> = patch["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|p| &p["name"])
            .collect();
        assert!(names.contains(&&json!("fieldValidation")) && names.contains(&&json!("fieldManager")));
    }

    #[test]
    fn a_custom_kind_shows_the_schema_of_its_definition() {
        let mut registry = Registry::builtin();
        for kind in crate::crd::kinds(&crate::crd::tests::definition()) {
            registry.register(kind);
        }
        let document = read(&registry, "apis/example.com/v1");
        let schema = &document["components"]["schemas"]["com.example.v1.Foo"];
        assert_eq!(
            schema["properties"]["spec"]["properties"]["size"],
            json!({"type": "integer", "default": 1})
        );
        assert_eq!(
            schema["x-kubernetes-group-version-kind"],
            json!([{"group": "example.com", "version": "v1", "kind": "Foo"}])
        );
    }
}
