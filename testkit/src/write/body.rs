//! Request bodies: from bytes to an object of the right kind, with the real server's complaints.

use serde_json::{Map, Value, json};

use super::{FieldValidation, WriteContext};
use super::{json_error, types};
use crate::kind::{Kind, is_builtin};
use crate::selector::{label_value_errors, qualified_name_errors};
use crate::status::{ApiError, Cause};

/// Reads the body of a create or update.
///
/// JSON and YAML are read; no content type counts as JSON. Unknown fields are dropped, with a warning or a refusal as
/// the request asks.
///
/// # Errors
/// 415 for another content type, 400 for a body that cannot be read or is of another kind.
pub(crate) fn decode(
    kind: &Kind,
    content_type: &str,
    body: &[u8],
    ctx: &mut WriteContext<'_>,
) -> Result<Value, ApiError> {
    let media = content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase();
    let object: Value = match media.as_str() {
        "" | "application/json" => serde_json::from_slice(body).map_err(|_| unreadable(kind, body))?,
        "application/yaml" => parse_yaml(body)?,
        _ => return Err(ApiError::unsupported_body()),
    };
    check_object(kind, object, body, ctx)
}

/// Reads YAML (or JSON, which is YAML).
///
/// # Errors
/// 400 for anything else.
pub(crate) fn parse_yaml(body: &[u8]) -> Result<Value, ApiError> {
    let text = std::str::from_utf8(body)
        .map_err(|_| ApiError::bad_request("error converting YAML to JSON: yaml: invalid UTF-8"))?;
    if let Ok(value) = serde_json::from_str(text) {
        return Ok(value);
    }
    serde_saphyr::from_str(text)
        .map_err(|error| ApiError::bad_request(format!("error converting YAML to JSON: yaml: {error}")))
}

/// Why these bytes are no JSON, in the words of the real server's parser.
pub(crate) fn syntax_error(body: &[u8]) -> String {
    json_error::explain(body)
}

fn unreadable(kind: &Kind, body: &[u8]) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: {} ({})",
        kind.kind,
        json_error::explain(body),
        summary(body)
    ))
}

/// The beginning of a body as error messages quote it: JSON as text, anything else in hex.
fn summary(body: &[u8]) -> String {
    const MOST: usize = 4096;
    if body.is_empty() {
        return "<empty>".to_owned();
    }
    let cut = &body[..body.len().min(MOST)];
    let end = if body.len() > MOST { " ..." } else { "" };
    if body.first() == Some(&b'{') {
        return format!("{}{end}", String::from_utf8_lossy(cut));
    }
    let hex = cut.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    format!("{hex}{end}")
}

fn check_object(
    kind: &Kind,
    mut object: Value,
    body: &[u8],
    ctx: &mut WriteContext<'_>,
) -> Result<Value, ApiError> {
    let Some(fields) = object.as_object() else {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): couldn't get version/kind; json parse error: \
             json: cannot unmarshal {} into Go value of type struct {{ APIVersion string \
             \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }} ({})",
            kind.kind,
            go_type(&object),
            summary(body)
        )));
    };
    let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
    let (given_version, given_kind) = (text("apiVersion"), text("kind"));
    let own_version = kind.api_version();
    let version_differs = !given_version.is_empty() && given_version != own_version;
    let kind_differs = !given_kind.is_empty() && given_kind != kind.kind;
    if kind.custom && version_differs {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({own_version})"
        )));
    }
    if version_differs || kind_differs {
        let given_version = if given_version.is_empty() {
            own_version.as_str()
        } else {
            given_version
        };
        let given_kind = if given_kind.is_empty() {
            kind.kind.as_str()
        } else {
            given_kind
        };
        let version = given_version.rsplit('/').next().unwrap_or_default();
        let why = if is_builtin(given_version, given_kind) {
            format!(
                "converting ({version}.{given_kind}) to ({}): unknown conversion",
                package(kind)
            )
        } else {
            format!(
                "no kind \"{given_kind}\" is registered for version \"{given_version}\" in scheme \
                 \"pkg/api/legacyscheme/scheme.go:30\""
            )
        };
        return Err(ApiError::bad_request(format!(
            "{given_kind} in version \"{version}\" cannot be handled as a {}: {why}",
            kind.kind
        )));
    }
    check_types(kind, fields)?;
    check_fields(kind, &object)?;
    unknown_fields(kind, &mut object, ctx)?;
    Ok(object)
}

/// The internal package a built-in kind belongs to, as one error message names it.
fn package(kind: &Kind) -> String {
    let group = kind.group.split('.').next().unwrap_or_default();
    format!("{}.{}", if group.is_empty() { "core" } else { group }, kind.kind)
}

/// The name Go's decoder has for a value's type.
pub(super) fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Checks the types of an object's metadata and drops the fields its kind does not know, as [`decode`] does.
///
/// # Errors
/// 400 for a wrong type, or for unknown fields where the request is strict.
pub(crate) fn check(kind: &Kind, object: &mut Value, ctx: &mut WriteContext<'_>) -> Result<(), ApiError> {
    let Some(fields) = object.as_object() else {
        let found = go_type(object);
        return Err(ApiError::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: json: cannot unmarshal {found} into Go value of type \
             map[string]interface {{}}"
        )));
    };
    check_types(kind, fields)?;
    check_fields(kind, object)?;
    unknown_fields(kind, object, ctx)
}

/// Checks the types in what a patch made of an object.
///
/// # Errors
/// 422 naming the patch, for anything no object of the kind could hold.
pub(crate) fn check_patched(kind: &Kind, object: &Value, patch: &[u8]) -> Result<(), ApiError> {
    let wrong = match object.as_object().map(|fields| check_types(kind, fields)) {
        None => Some("json: cannot unmarshal into Go value".to_owned()),
        Some(Err(error)) => error.message().split_once(": ").map(|(_, why)| why.to_owned()),
        Some(Ok(())) => types::mismatch(kind, object),
    };
    let Some(why) = wrong else { return Ok(()) };
    let shown = Value::String(String::from_utf8_lossy(patch).into_owned());
    Err(ApiError::invalid_kind(
        "",
        "",
        "",
        vec![Cause::invalid("patch", &shown, &why)],
    ))
}

fn check_fields(kind: &Kind, object: &Value) -> Result<(), ApiError> {
    types::mismatch(kind, object).map_or(Ok(()), |why| Err(unhandled(kind, &why)))
}

fn unhandled(kind: &Kind, why: &str) -> ApiError {
    let (name, version) = (&kind.kind, &kind.version);
    ApiError::bad_request(format!(
        "{name} in version \"{version}\" cannot be handled as a {name}: {why}"
    ))
}

/// What `metadata` holds must have the right types, else nothing later could trust it.
fn check_types(kind: &Kind, object: &Map<String, Value>) -> Result<(), ApiError> {
    let wrong = |path: &str, value: &Value, wanted: &str| {
        Err(ApiError::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: json: cannot unmarshal {} into Go struct field \
             ObjectMeta.{path} of type {wanted}",
            kind.kind,
            kind.version,
            kind.kind,
            go_type(value)
        )))
    };
    let Some(meta) = object.get("metadata").filter(|m| !m.is_null()) else {
        return Ok(());
    };
    let Some(fields) = meta.as_object() else {
        return wrong("metadata", meta, "v1.ObjectMeta");
    };
    for (field, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
        let path = format!("metadata.{field}");
        match field.as_str() {
            "uid" if !value.is_string() => return wrong(&path, value, "types.UID"),
            "name" | "generateName" | "namespace" | "resourceVersion" | "selfLink" if !value.is_string() => {
                return wrong(&path, value, "string");
            }
            "creationTimestamp" | "deletionTimestamp" => {
                let time = value.as_str().map(str::parse::<jiff::Timestamp>);
                if !matches!(time, Some(Ok(_))) {
                    return wrong(&path, value, "v1.Time");
                }
            }
            "generation" | "deletionGracePeriodSeconds" if !value.is_i64() => {
                return wrong(&path, value, "int64");
            }
            "labels" | "annotations" => {
                let Some(map) = value.as_object() else {
                    return wrong(&path, value, "map[string]string");
                };
                if let Some(bad) = map.values().find(|v| !v.is_string() && !v.is_null()) {
                    return wrong(&path, bad, "string");
                }
            }
            "finalizers" => {
                let Some(list) = value.as_array() else {
                    return wrong(&path, value, "[]string");
                };
                if let Some(bad) = list.iter().find(|v| !v.is_string()) {
                    return wrong(&path, bad, "string");
                }
            }
            "ownerReferences" | "managedFields" => {
                let Some(list) = value.as_array() else {
                    return wrong(&path, value, "[]v1.OwnerReference");
                };
                if let Some(bad) = list.iter().find(|v| !v.is_object()) {
                    return wrong(&path, bad, "v1.OwnerReference");
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Drops fields the kind does not know: those a schema does not name, or for built-in kinds those at the top.
fn unknown_fields(kind: &Kind, object: &mut Value, ctx: &mut WriteContext<'_>) -> Result<(), ApiError> {
    let mut unknown = match &kind.schema {
        Some(schema) => schema.unknown_fields(object),
        None => Vec::new(),
    };
    if let (Some(known), Some(fields)) = (top_level(kind), object.as_object_mut()) {
        let mut strange: Vec<String> = fields
            .keys()
            .filter(|key| !known.contains(&key.as_str()))
            .cloned()
            .collect();
        fields.retain(|key, _| known.contains(&key.as_str()));
        unknown.append(&mut strange);
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let sentences: Vec<String> = unknown
        .iter()
        .map(|field| format!("unknown field \"{field}\""))
        .collect();
    match ctx.validation {
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            ctx.warnings.extend(sentences);
            Ok(())
        }
        FieldValidation::Strict => Err(ApiError::bad_request(format!(
            "{} in version \"{}\" cannot be handled as a {}: strict decoding error: {}",
            kind.kind,
            kind.version,
            kind.kind,
            sentences.join(", ")
        ))),
    }
}

/// The top-level fields of a built-in kind, or `None` where anything goes.
fn top_level(kind: &Kind) -> Option<&'static [&'static str]> {
    macro_rules! fields {
        ($($name:literal),*) => { Some(&["apiVersion", "kind", "metadata", $($name),*]) };
    }
    if kind.custom {
        return None;
    }
    match kind.kind.as_str() {
        "ConfigMap" => fields!("data", "binaryData", "immutable"),
        "Secret" => fields!("data", "stringData", "immutable", "type"),
        "ServiceAccount" => fields!("secrets", "imagePullSecrets", "automountServiceAccountToken"),
        "Pod"
        | "Service"
        | "Node"
        | "Namespace"
        | "PersistentVolume"
        | "PersistentVolumeClaim"
        | "Deployment"
        | "ReplicaSet"
        | "StatefulSet"
        | "DaemonSet"
        | "Job"
        | "CronJob"
        | "Ingress"
        | "ReplicationController"
        | "ResourceQuota"
        | "PodDisruptionBudget"
        | "HorizontalPodAutoscaler"
        | "CustomResourceDefinition" => {
            fields!("spec", "status")
        }
        "Lease" | "NetworkPolicy" | "LimitRange" => fields!("spec"),
        "Endpoints" => fields!("subsets"),
        "EndpointSlice" => fields!("addressType", "endpoints", "ports"),
        "Role" => fields!("rules"),
        "ClusterRole" => fields!("rules", "aggregationRule"),
        "RoleBinding" | "ClusterRoleBinding" => fields!("subjects", "roleRef"),
        "ControllerRevision" => fields!("data", "revision"),
        _ => None,
    }
}

/// Checks labels, annotations, finalizers and owners.
pub(super) fn validate_metadata(object: &Value, current: Option<&Value>, causes: &mut Vec<Cause>) {
    let at = |path: &str| object.pointer(path);
    for (key, value) in at("/metadata/labels")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        for why in qualified_name_errors(key) {
            causes.push(Cause::invalid("metadata.labels", &json!(key), &why));
        }
        for why in label_value_errors(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid("metadata.labels", value, &why));
        }
    }
    for key in at("/metadata/annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::keys)
    {
        for why in qualified_name_errors(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), &why));
        }
    }
    let annotations = at("/metadata/annotations")
        .and_then(Value::as_object)
        .into_iter()
        .flatten();
    let total: usize = annotations
        .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
        .sum();
    const ANNOTATIONS_MAX: usize = 256 * 1024;
    if total > ANNOTATIONS_MAX {
        let message = format!("Too long: may not be more than {ANNOTATIONS_MAX} bytes");
        causes.push(Cause::new("FieldValueTooLong", message, "metadata.annotations"));
    }
    validate_finalizers(object, current, causes);
    validate_owners(object, causes);
}

fn validate_finalizers(object: &Value, current: Option<&Value>, causes: &mut Vec<Cause>) {
    let list = |object: &Value| -> Vec<Value> {
        object
            .pointer("/metadata/finalizers")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let finalizers = list(object);
    for finalizer in &finalizers {
        let word = finalizer.as_str().unwrap_or_default();
        for why in qualified_name_errors(word) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, &why));
        }
    }
    let Some(current) = current else { return };
    if current
        .pointer("/metadata/deletionTimestamp")
        .is_none_or(Value::is_null)
    {
        return;
    }
    let known = list(current);
    let new: Vec<String> = finalizers
        .iter()
        .filter(|f| !known.contains(f))
        .map(Value::to_string)
        .collect();
    if !new.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", &why));
    }
}

fn validate_owners(object: &Value, causes: &mut Vec<Cause>) {
    let owners = object
        .pointer("/metadata/ownerReferences")
        .and_then(Value::as_array);
    let mut controllers = Vec::new();
    for (at, owner) in owners.into_iter().flatten().enumerate() {
        for field in ["apiVersion", "kind", "name", "uid"] {
            if owner.get(field).and_then(Value::as_str).is_none_or(str::is_empty) {
                let path = format!("metadata.ownerReferences[{at}].{field}");
                let why = if field == "apiVersion" {
                    "version must not be empty"
                } else {
                    "must not be empty"
                };
                let empty = json!(owner.get(field).and_then(Value::as_str).unwrap_or_default());
                causes.push(Cause::invalid(path, &empty, why));
            }
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            controllers.push(owner.get("name").cloned().unwrap_or_default());
        }
    }
    if let [first, second, ..] = controllers.as_slice() {
        let why = format!(
            "Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
            first.as_str().unwrap_or_default(),
            second.as_str().unwrap_or_default()
        );
        causes.push(Cause::invalid(
            "metadata.ownerReferences",
            &json!(controllers),
            &why,
        ));
    }
}
