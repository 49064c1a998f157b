//! Custom resource definitions: the kinds they bring, the status they get, the rules they follow.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::kind::{Kind, PrinterColumn, Registry, ScalePaths, Subresource};
use crate::schema::Schema;
use crate::status::{ApiError, Cause};
use crate::write::{self, Target, Updated, WriteContext};

/// The kinds of the versions a definition serves.
pub(crate) fn kinds(definition: &Value) -> Vec<Kind> {
    let versions = definition.pointer("/spec/versions").and_then(Value::as_array);
    let served = versions
        .into_iter()
        .flatten()
        .filter(|v| v.get("served") == Some(&Value::Bool(true)));
    served.map(|version| kind(definition, version)).collect()
}

/// The resource a definition brings: group and plural.
pub(crate) fn resource(definition: &Value) -> (&str, &str) {
    (
        text(definition, "/spec/group"),
        text(definition, "/spec/names/plural"),
    )
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

fn words(value: &Value, path: &str) -> Vec<String> {
    let list = value
        .pointer(path)
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn kind(definition: &Value, version: &Value) -> Kind {
    let mut kind = Kind::new(
        text(definition, "/spec/group"),
        text(version, "/name"),
        text(definition, "/spec/names/kind"),
        text(definition, "/spec/names/plural"),
    );
    let names = |field: &str| text(definition, &format!("/spec/names/{field}"));
    if !names("listKind").is_empty() {
        names("listKind").clone_into(&mut kind.list_kind);
    }
    if !names("singular").is_empty() {
        names("singular").clone_into(&mut kind.singular);
    }
    kind.short_names = words(definition, "/spec/names/shortNames");
    kind.categories = words(definition, "/spec/names/categories");
    kind.namespaced = text(definition, "/spec/scope") != "Cluster";
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for stored in versions.filter(|v| v.get("storage") == Some(&Value::Bool(true))) {
        text(stored, "/name").clone_into(&mut kind.storage_version);
    }
    if version
        .pointer("/subresources/status")
        .is_some_and(|s| !s.is_null())
    {
        kind = kind.with_status();
    }
    if let Some(scale) = version.pointer("/subresources/scale").filter(|s| s.is_object()) {
        let selector = text(scale, "/labelSelectorPath");
        kind.scale = Some(ScalePaths {
            spec_replicas: text(scale, "/specReplicasPath").to_owned(),
            status_replicas: text(scale, "/statusReplicasPath").to_owned(),
            label_selector: (!selector.is_empty()).then(|| selector.to_owned()),
        });
        kind.subresources.push(Subresource {
            name: "scale".to_owned(),
            group: "autoscaling".to_owned(),
            version: "v1".to_owned(),
            kind: "Scale".to_owned(),
            verbs: vec!["get", "patch", "update"],
        });
    }
    if let Some(root) = version
        .pointer("/schema/openAPIV3Schema")
        .filter(|s| s.is_object())
    {
        kind.schema = Some(Arc::new(Schema::new(root.clone())));
    }
    let columns = version.get("additionalPrinterColumns").and_then(Value::as_array);
    kind.columns = columns.into_iter().flatten().map(column).collect();
    let fields = version
        .get("selectableFields")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    kind.selectable_fields = fields
        .map(|field| text(field, "/jsonPath").trim_start_matches('.').to_owned())
        .collect();
    if version.get("deprecated") == Some(&Value::Bool(true)) {
        let own = text(version, "/deprecationWarning");
        let usual = format!("{} {} is deprecated", kind.api_version(), kind.kind);
        kind.deprecation_warning = Some(if own.is_empty() { usual } else { own.to_owned() });
    }
    kind
}

fn column(column: &Value) -> PrinterColumn {
    let path = text(column, "/jsonPath");
    let description = match text(column, "/description") {
        "" => format!("Custom resource definition column (in JSONPath format): {path}"),
        given => given.to_owned(),
    };
    PrinterColumn {
        name: text(column, "/name").to_owned(),
        kind: text(column, "/type").to_owned(),
        format: text(column, "/format").to_owned(),
        description,
        priority: column.get("priority").and_then(Value::as_i64).unwrap_or(0),
        json_path: path.to_owned(),
    }
}

/// Gives a definition the status of an established one: names accepted, conditions set.
///
/// Where another definition or a built-in kind of the same group holds one of its names, the names are refused instead.
///
/// # Errors
/// As [`write::update`]; a definition the server itself stored gives none.
pub(crate) fn establish(
    kind: &Kind,
    registry: &Registry,
    definition: &Value,
    ctx: &mut WriteContext<'_>,
) -> Result<Updated, ApiError> {
    let now = ctx.stamp();
    let conflict = name_conflict(registry, definition);
    let names = definition
        .pointer("/spec/names")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let condition = |kind: &str, yes: bool, reason: &str, message: &str| {
        let status = if yes { "True" } else { "False" };
        json!({"type": kind, "status": status, "lastTransitionTime": now, "reason": reason, "message": message})
    };
    let accepted = conflict.is_none();
    let conditions = match &conflict {
        None => json!([
            condition("NamesAccepted", true, "NoConflicts", "no conflicts found"),
            condition(
                "Established",
                true,
                "InitialNamesAccepted",
                "the initial names have been accepted"
            ),
        ]),
        Some((reason, message)) => json!([
            condition("NamesAccepted", false, reason, message),
            condition("Established", false, "NotAccepted", "not all names are accepted"),
        ]),
    };
    let mut body = definition.clone();
    let known = |kind: &str| {
        let list = definition
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        list.into_iter()
            .find(|c| c.get("type").is_some_and(|t| t == kind))
            .cloned()
    };
    // A condition that holds already keeps its time, so that nothing is written twice.
    let kept: Vec<Value> = conditions
        .as_array()
        .into_iter()
        .flatten()
        .map(|fresh| match known(text(fresh, "/type")) {
            Some(old) if old.get("status") == fresh.get("status") => old,
            _ => fresh.clone(),
        })
        .collect();
    body["status"]["conditions"] = Value::Array(kept);
    body["status"]["acceptedNames"] = if accepted {
        names
    } else {
        json!({"plural": "", "kind": ""})
    };
    let mut stored = definition
        .pointer("/status/storedVersions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    for version in versions.filter(|v| v.get("storage") == Some(&Value::Bool(true))) {
        let name = version.get("name").cloned().unwrap_or_default();
        if !stored.contains(&name) {
            stored.push(name);
        }
    }
    body["status"]["storedVersions"] = Value::Array(stored);
    let manager = std::mem::replace(&mut ctx.manager, "kube-apiserver".to_owned());
    let name = text(definition, "/metadata/name").to_owned();
    let updated = write::update(kind, Target::Status, &name, definition, body, ctx);
    ctx.manager = manager;
    updated
}

/// The finalizer that holds a definition until its objects are gone.
const CLEANUP: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Marks a definition for deletion: it stays until its objects are gone.
pub(crate) fn mark_for_deletion(definition: &mut Value, now: Value) {
    let metadata = &mut definition["metadata"];
    metadata["deletionTimestamp"] = now.clone();
    let finalizers = &mut metadata["finalizers"];
    if !finalizers.is_array() {
        *finalizers = json!([]);
    }
    if let Some(list) = finalizers
        .as_array_mut()
        .filter(|list| !list.contains(&json!(CLEANUP)))
    {
        list.push(json!(CLEANUP));
    }
    let why = "CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon";
    set_terminating(definition, true, "InstanceDeletionPending", why, &now);
}

/// Whether a definition is on its way out and waits for its objects.
pub(crate) fn awaits_cleanup(definition: &Value) -> bool {
    is_deleting(definition)
        && words(definition, "/metadata/finalizers")
            .iter()
            .any(|f| f == CLEANUP)
}

/// Whether a definition is on its way out.
pub(crate) fn is_deleting(definition: &Value) -> bool {
    definition
        .pointer("/metadata/deletionTimestamp")
        .is_some_and(Value::is_string)
}

/// Says in a definition's status that its objects are being deleted.
pub(crate) fn cleanup_started(definition: &mut Value, now: &Value) {
    let why = "CustomResource deletion is in progress";
    set_terminating(definition, true, "InstanceDeletionInProgress", why, now);
}

/// Lets a definition go: its objects are gone.
pub(crate) fn cleanup_done(definition: &mut Value, now: &Value) {
    if is_established(definition) {
        let why = "removed all instances";
        set_terminating(definition, false, "InstanceDeletionCompleted", why, now);
    } else {
        let why = "resource was never established";
        set_terminating(definition, false, "NeverEstablished", why, now);
    }
    if let Some(list) = definition
        .pointer_mut("/metadata/finalizers")
        .and_then(Value::as_array_mut)
    {
        list.retain(|finalizer| finalizer != CLEANUP);
    }
}

fn set_terminating(definition: &mut Value, yes: bool, reason: &str, message: &str, now: &Value) {
    let status = if yes { "True" } else { "False" };
    let conditions = &mut definition["status"]["conditions"];
    if !conditions.is_array() {
        *conditions = json!([]);
    }
    let Some(list) = conditions.as_array_mut() else {
        return;
    };
    let mut fresh = json!({"type": "Terminating", "status": status, "lastTransitionTime": now, "reason": reason,
        "message": message});
    match list
        .iter_mut()
        .find(|condition| condition["type"] == "Terminating")
    {
        Some(old) => {
            if old["status"] == fresh["status"] {
                fresh["lastTransitionTime"] = old["lastTransitionTime"].clone();
            }
            *old = fresh;
        }
        None => list.push(fresh),
    }
}

/// Whether a definition's status says that its kinds are served.
pub(crate) fn is_established(definition: &Value) -> bool {
    let conditions = definition
        .pointer("/status/conditions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let mut established = conditions.filter(|c| c["type"] == "Established");
    established.any(|c| c["status"] == "True")
}

fn name_conflict(registry: &Registry, definition: &Value) -> Option<(&'static str, String)> {
    let (group, plural) = resource(definition);
    let kind = text(definition, "/spec/names/kind");
    let others = || {
        registry
            .kinds()
            .iter()
            .filter(|k| k.group == group && (k.plural != plural || !k.custom))
    };
    if others()
        .any(|k| k.plural == plural || k.singular == plural || k.short_names.iter().any(|s| s == plural))
    {
        return Some(("PluralConflict", format!("{plural:?} is already in use")));
    }
    others()
        .any(|k| k.kind == kind || k.list_kind == kind)
        .then(|| ("KindConflict", format!("{kind:?} is already in use")))
}

/// Checks what an update may not change: objects are stored under it.
pub(crate) fn validate_update(definition: &Value, current: &Value, causes: &mut Vec<Cause>) {
    let mut fixed = Vec::new();
    if is_established(current) {
        fixed.extend(["spec.scope", "spec.names.kind"]);
    }
    fixed.extend(["spec.group", "spec.names.plural"]);
    for field in fixed {
        let path = format!("/{}", field.replace('.', "/"));
        let (new, old) = (text(definition, &path), text(current, &path));
        if new != old {
            causes.push(Cause::invalid(field, &json!(new), "field is immutable"));
        }
    }
    let list = |path: &str| {
        let list = definition.pointer(path).and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    };
    for (at, stored) in list("/status/storedVersions").iter().enumerate() {
        if list("/spec/versions")
            .iter()
            .any(|version| version["name"] == *stored)
        {
            continue;
        }
        let version = stored.as_str().unwrap_or_default();
        let why = format!(
            "missing from spec.versions; {version} was previously a storage version, and must remain in spec.versions \
             until a storage migration ensures no data remains persisted in {version} and removes {version} from \
             status.storedVersions"
        );
        causes.push(Cause::invalid(
            format!("status.storedVersions[{at}]"),
            stored,
            &why,
        ));
    }
}

/// Checks a definition.
pub(crate) fn validate(definition: &Value, causes: &mut Vec<Cause>) {
    for (path, field) in [
        ("/spec/group", "spec.group"),
        ("/spec/names/plural", "spec.names.plural"),
        ("/spec/names/kind", "spec.names.kind"),
    ] {
        if text(definition, path).is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    let scope = text(definition, "/spec/scope");
    if scope.is_empty() {
        causes.push(Cause::required("spec.scope", ""));
    } else if !matches!(scope, "Namespaced" | "Cluster") {
        causes.push(Cause::not_supported(
            "spec.scope",
            &json!(scope),
            &["Cluster", "Namespaced"],
        ));
    }
    let versions = definition
        .pointer("/spec/versions")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let stored = versions
        .iter()
        .filter(|v| v.get("storage") == Some(&Value::Bool(true)))
        .count();
    if stored != 1 {
        let shown = definition
            .pointer("/spec/versions")
            .cloned()
            .unwrap_or(Value::Null);
        let why = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &shown, why));
    }
    for (at, version) in versions.iter().enumerate() {
        if version
            .pointer("/schema/openAPIV3Schema")
            .is_none_or(|s| !s.is_object())
        {
            let field = format!("spec.versions[{at}].schema.openAPIV3Schema");
            causes.push(Cause::required(field, "schemas are required"));
            continue;
        }
        structural(
            &version["schema"]["openAPIV3Schema"],
            &format!("spec.versions[{at}].schema.openAPIV3Schema"),
            causes,
        );
    }
}

/// A schema must say what type everything is, or nothing could be pruned.
fn structural(schema: &Value, path: &str, causes: &mut Vec<Cause>) {
    let kind = text(schema, "/type");
    let marked = |mark: &str| schema.get(mark) == Some(&Value::Bool(true));
    if kind.is_empty()
        && !marked("x-kubernetes-int-or-string")
        && !marked("x-kubernetes-preserve-unknown-fields")
    {
        causes.push(Cause::required(
            format!("{path}.type"),
            "must not be empty for specified object fields",
        ));
    }
    for (name, below) in schema
        .get("properties")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        structural(below, &format!("{path}.properties[{name}]"), causes);
    }
    match schema.get("items") {
        Some(items @ Value::Object(_)) => structural(items, &format!("{path}.items"), causes),
        _ if kind == "array" => causes.push(Cause::required(format!("{path}.items"), "must be specified")),
        _ => {}
    }
    if let Some(below @ Value::Object(_)) = schema.get("additionalProperties") {
        structural(below, &format!("{path}.additionalProperties"), causes);
    }
}

#[cfg(test)]
pub(crate) mod tests;
