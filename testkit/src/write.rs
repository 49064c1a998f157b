//! Writes: what becomes of a body on create, update, status update and delete, before the store takes it.
//!
//! Everything here is a pure function from the stored object and the request to the object to store. Objects carry no
//! new resource version yet: the store sets it when it commits, and leaves it alone when nothing changed.

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kind::{Generation, Kind, types};
use crate::patch::managed;
use crate::status::{ApiError, Cause};

mod body;
mod defaults;
mod delete;
mod json_error;
mod name;
mod rules;
mod scale;
mod strict;

pub(crate) use body::{
    decode, decode_scale, parse_yaml, read_as, read_patched, scale_kind, syntax_error, validate_manager,
};
pub(crate) use delete::{DeleteOptions, Deletion, Propagation, delete};
pub(crate) use name::uid;
pub(crate) use rules::check_running;
pub(crate) use scale::{print_selector, scale_of, scale_to_object};
pub(crate) use strict::parse as parse_json;

/// What `fieldValidation=` asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    /// Unknown fields are dropped without a word.
    Ignore,
    /// Unknown fields are dropped with a `Warning` header.
    #[default]
    Warn,
    /// Unknown fields refuse the request.
    Strict,
}

impl FieldValidation {
    /// Parses the query parameter.
    ///
    /// # Errors
    /// A cause for any other word.
    pub(crate) fn parse(text: &str) -> Result<Self, Cause> {
        match text {
            "Ignore" => Ok(Self::Ignore),
            "" | "Warn" => Ok(Self::Warn),
            "Strict" => Ok(Self::Strict),
            other => Err(Cause::not_supported(
                "fieldValidation",
                &json!(other),
                &["", "Ignore", "Strict", "Warn"],
            )),
        }
    }
}

/// What a write needs besides the objects: the time, chance, and who asks.
#[derive(Debug)]
pub(crate) struct WriteContext<'a> {
    /// The wall-clock time to stamp.
    pub(crate) now: Timestamp,
    /// The source of uids and generated names.
    pub(crate) rng: &'a mut fastrand::Rng,
    /// Who writes: `fieldManager=`, or the first part of the user agent. Empty where the object's managed fields are
    /// complete already: server-side apply takes the name when it has written them.
    pub(crate) manager: String,
    /// What unknown fields mean.
    pub(crate) validation: FieldValidation,
    /// Whether updates leave entries in `metadata.managedFields`. Server-side apply always does.
    pub(crate) track_updates: bool,
    /// Sentences for `Warning` headers, in order.
    pub(crate) warnings: Vec<String>,
}

impl WriteContext<'_> {
    /// The time as objects carry it: whole seconds.
    pub(crate) fn stamp(&self) -> Value {
        Value::String(stamp(self.now))
    }
}

/// Formats a time as `metadata` carries it: whole seconds, UTC.
pub(crate) fn stamp(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// The manager a user agent stands for: what comes before the first slash.
pub(crate) fn manager_of(user_agent: &str) -> String {
    let name = user_agent.split('/').next().unwrap_or_default();
    if name.is_empty() {
        "unknown".to_owned()
    } else {
        name.chars().take(128).collect()
    }
}

/// The part of an object a write aims at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// The object itself.
    Main,
    /// Its status subresource.
    Status,
    /// Its scale subresource (the object has been changed by it already).
    Scale,
    /// A namespace's finalize subresource.
    Finalize,
}

impl Target {
    /// The name that managed fields carry.
    pub(crate) fn subresource(self) -> &'static str {
        match self {
            Self::Main => "",
            Self::Status => "status",
            Self::Scale => "scale",
            Self::Finalize => "finalize",
        }
    }
}

/// What the store has to do after an update.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Updated {
    /// Nothing differs: answer with the stored object, keep its version, send no event.
    Unchanged,
    /// Store this under a new version.
    Changed(Value),
    /// The last finalizer of a deleted object is gone: remove it. The answer is this object, at its old version.
    Removed(Value),
}

/// Prepares an object for its creation.
///
/// The result has its name (made from `generateName` if need be), uid, creation time, generation and defaults, and no
/// resource version. Whether the name is taken, and whether the namespace exists, is the caller's to check.
///
/// # Errors
/// 400 for another namespace, 422 for a bad name or invalid object, 500 for a resource version in the body.
pub(crate) fn create(
    kind: &Kind,
    namespace: Option<&str>,
    mut object: Value,
    ctx: &mut WriteContext<'_>,
) -> Result<Value, ApiError> {
    check_namespace(kind, namespace, &object)?;
    let versioned = {
        let meta = metadata(&mut object);
        let version = meta.get("resourceVersion").map(text).unwrap_or_default();
        let versioned = version.parse::<u64>().is_ok_and(|version| version != 0);
        for field in [
            "resourceVersion",
            "uid",
            "creationTimestamp",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "selfLink",
            "generation",
        ] {
            meta.remove(field);
        }
        if !matches!(kind.generation, Generation::Never) {
            meta.insert("generation".to_owned(), json!(1));
        }
        if let (true, Some(namespace)) = (kind.namespaced, namespace) {
            meta.insert("namespace".to_owned(), json!(namespace));
        }
        if !kind.namespaced {
            meta.remove("namespace");
        }
        name::fill(meta, ctx.rng);
        versioned
    };
    if kind.status && kind.custom {
        object.as_object_mut().map(|o| o.remove("status"));
    }
    set_type(kind, &mut object);
    let tracked = metadata(&mut object).remove("managedFields");
    defaults::before_create(kind, &mut object);
    // What the server itself has put in is written as everything is.
    let _ = body::read_as(kind, &mut object, &mut Vec::new());
    crd_fields(kind, &mut object)?;
    // Fields are recorded as the client sent them and as decoding defaulted them, before the server adds its own.
    managed::on_create(kind, &mut object, tracked, ctx);
    let meta = metadata(&mut object);
    meta.insert("uid".to_owned(), Value::String(uid(ctx.rng)));
    meta.insert("creationTimestamp".to_owned(), Value::String(stamp(ctx.now)));
    defaults::on_create(kind, &mut object, ctx);
    validate(kind, &object, None)?;
    if versioned {
        return Err(ApiError::untyped(
            "resourceVersion should not be set on objects to be created",
        ));
    }
    ctx.warnings.extend(rules::warnings(kind, &object, None));
    Ok(object)
}

/// Prepares an update: what the body becomes given the stored object.
///
/// `name` is the one in the path. A body without a resource version is taken as it is for built-in kinds and refused
/// for custom ones. Patches come here too: their result already carries the stored version.
///
/// # Errors
/// 400 for another name or namespace, 409 for another version, 422 for an invalid object.
pub(crate) fn update(
    kind: &Kind,
    target: Target,
    name: &str,
    current: &Value,
    mut object: Value,
    ctx: &mut WriteContext<'_>,
) -> Result<Updated, ApiError> {
    let stored = current
        .get("metadata")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    let namespace = stored.get("namespace").and_then(Value::as_str);
    check_namespace(kind, namespace, &object)?;
    check_identity(kind, name, &stored, &mut object)?;
    set_type(kind, &mut object);
    let tracked = metadata(&mut object).get("managedFields").cloned();
    keep_stored_metadata(&stored, &mut object);
    match target {
        Target::Main | Target::Scale => keep_status(kind, current, &mut object),
        Target::Status => take_only(kind, current, &mut object, "status"),
        Target::Finalize => take_only(kind, current, &mut object, "spec"),
    }
    match target {
        Target::Main => {}
        Target::Status if !kind.custom && !kind.is_crd() => restore_for_status(kind, &stored, &mut object),
        Target::Status | Target::Scale | Target::Finalize => restore_metadata(&stored, &mut object),
    }
    defaults::before_update(kind, current, &mut object);
    if target != Target::Finalize {
        crd_fields(kind, &mut object)?;
    }
    managed::on_update(kind, target, current, &mut object, tracked, ctx);
    raise_generation(kind, target, current, &mut object);
    validate(kind, &object, Some(current))?;
    ctx.warnings.extend(rules::warnings(kind, &object, Some(current)));
    Ok(settle(kind, current, object))
}

/// Decides what an update comes to once the object is complete.
pub(crate) fn settle(kind: &Kind, current: &Value, object: Value) -> Updated {
    let meta = object.get("metadata");
    let deleting = meta
        .and_then(|m| m.get("deletionTimestamp"))
        .is_some_and(|t| !t.is_null());
    let finalizers = meta
        .and_then(|m| m.get("finalizers"))
        .and_then(Value::as_array)
        .is_some_and(|f| !f.is_empty());
    let grace = meta
        .and_then(|m| m.get("deletionGracePeriodSeconds"))
        .and_then(Value::as_i64)
        .unwrap_or(0);
    let kept_by_spec = kind.is_core("Namespace")
        && object
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|f| !f.is_empty());
    if deleting && !finalizers && grace == 0 && !kept_by_spec {
        return Updated::Removed(object);
    }
    // What was loaded past the checks may be spelled in another way than a write would leave it.
    let same = object == *current
        || !plainly_differ(&object, current) && {
            let mut whole = current.clone();
            let read = body::read_as(kind, &mut whole, &mut Vec::new()).is_ok();
            defaults::before_update(kind, current, &mut whole);
            read && object == whole
        };
    if same {
        Updated::Unchanged
    } else {
        Updated::Changed(object)
    }
}

/// Whether two objects differ in more than their spelling: a field of both holds another value.
fn plainly_differ(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => a
            .iter()
            .any(|(key, value)| b.get(key).is_some_and(|other| plainly_differ(value, other))),
        (Value::Array(a), Value::Array(b)) => {
            a.len() != b.len() || a.iter().zip(b).any(|(a, b)| plainly_differ(a, b))
        }
        (Value::String(a), Value::String(b)) => a != b && !types::same_value(a, b),
        (Value::Number(_), Value::Number(_)) | (Value::Bool(_), Value::Bool(_)) => a != b,
        _ => false,
    }
}

/// The body of an object whose `metadata` is certain to be there.
fn metadata(object: &mut Value) -> &mut Map<String, Value> {
    if !object.is_object() {
        *object = json!({});
    }
    let slot = &mut object["metadata"];
    if !slot.is_object() {
        *slot = json!({});
    }
    slot.as_object_mut().expect("just made an object")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn set_type(kind: &Kind, object: &mut Value) {
    object["apiVersion"] = Value::String(kind.api_version());
    object["kind"] = Value::String(kind.kind.clone());
}

/// An object that names a namespace names the one of the path.
///
/// # Errors
/// 400 for another one.
pub(crate) fn check_namespace(kind: &Kind, namespace: Option<&str>, object: &Value) -> Result<(), ApiError> {
    let given = object
        .pointer("/metadata/namespace")
        .map(text)
        .unwrap_or_default();
    if !kind.namespaced || given.is_empty() || namespace.is_none_or(|ns| ns == given) {
        return Ok(());
    }
    Err(ApiError::bad_request(
        "the namespace of the provided object does not match the namespace sent on the request",
    ))
}

fn check_identity(
    kind: &Kind,
    name: &str,
    stored: &Map<String, Value>,
    object: &mut Value,
) -> Result<(), ApiError> {
    let stored_text = |field: &str| stored.get(field).map(text).unwrap_or_default();
    let meta = metadata(object);
    let given = meta.get("name").map(text).unwrap_or_default();
    if given.is_empty() {
        meta.insert("name".to_owned(), json!(name));
    } else if given != name {
        let why = format!("the name of the object ({given}) does not match the name on the URL ({name})");
        return Err(ApiError::bad_request(why));
    }
    let version = meta.get("resourceVersion").map(text).unwrap_or_default();
    if version.is_empty() || version == "0" {
        if !kind.allows_unconditional_update() {
            let cause = Cause::invalid(
                "metadata.resourceVersion",
                &json!(0),
                "must be specified for an update",
            );
            // Named by the resource: the real server has no kind at hand here.
            return Err(ApiError::invalid_kind(
                &kind.group,
                &kind.plural,
                name,
                vec![cause],
            ));
        }
    } else if let Err(error) = version.parse::<u64>() {
        // The real server has no better name for what its number parser says.
        return Err(ApiError::untyped(ApiError::no_number("Uint", version, &error)));
    } else if version != stored_text("resourceVersion") {
        return Err(ApiError::conflict(kind, name));
    }
    Ok(())
}

/// Refuses an update that is meant for another object than the stored one.
///
/// # Errors
/// 409 where the body's uid is not `stored`, which is empty for an object that is not there.
pub(crate) fn check_uid(
    kind: &Kind,
    namespace: &str,
    name: &str,
    stored: &str,
    body: &Value,
) -> Result<(), ApiError> {
    let uid = body.pointer("/metadata/uid").map(text).unwrap_or_default();
    if uid.is_empty() || uid == stored {
        return Ok(());
    }
    let path = if namespace.is_empty() {
        String::new()
    } else {
        format!("{namespace}/")
    };
    let why = format!(
        "StorageError: invalid object, Code: 4, Key: /registry/{}/{path}{name}, ResourceVersion: 0, \
         AdditionalErrorMsg: Precondition failed: UID in precondition: {uid}, UID in object meta: {stored}",
        kind.registry_path()
    );
    Err(ApiError::conflict_because(kind, name, &why))
}

/// Puts back what a client's update does not change, whatever it says.
fn keep_stored_metadata(stored: &Map<String, Value>, object: &mut Value) {
    let meta = metadata(object);
    for field in ["namespace", "resourceVersion", "generation", "creationTimestamp"] {
        match stored.get(field) {
            Some(value) => meta.insert(field.to_owned(), value.clone()),
            None => meta.remove(field),
        };
    }
    // An object on its way out stays so; the rest is refused later where it differs.
    if let Some(end) = stored.get("deletionTimestamp") {
        meta.insert("deletionTimestamp".to_owned(), end.clone());
    }
    for field in ["uid", "deletionGracePeriodSeconds"] {
        let unset = meta.get(field).is_none_or(|value| value.is_null() || value == "");
        match stored.get(field) {
            Some(value) if unset => {
                meta.insert(field.to_owned(), value.clone());
            }
            None if unset => {
                meta.remove(field);
            }
            _ => {}
        }
    }
    if meta.get("deletionTimestamp").is_some_and(Value::is_null) {
        meta.remove("deletionTimestamp");
    }
    if let (false, Some(generate_name)) = (meta.contains_key("generateName"), stored.get("generateName")) {
        meta.insert("generateName".to_owned(), generate_name.clone());
    }
    meta.remove("selfLink");
    for field in [
        "labels",
        "annotations",
        "finalizers",
        "ownerReferences",
        "managedFields",
    ] {
        if meta.get(field).is_some_and(is_empty) {
            meta.remove(field);
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn keep_status(kind: &Kind, current: &Value, object: &mut Value) {
    if !kind.status {
        return;
    }
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    match current.get("status") {
        Some(status) => fields.insert("status".to_owned(), status.clone()),
        None => fields.remove("status"),
    };
}

/// Keeps the stored object but for one field, which is the body's.
fn take_only(_kind: &Kind, current: &Value, object: &mut Value, field: &str) {
    let taken = object.as_object_mut().and_then(|fields| fields.remove(field));
    let meta = object.get("metadata").cloned();
    let mut merged = current.clone();
    if let Some(fields) = merged.as_object_mut() {
        match taken {
            Some(value) if !value.is_null() => fields.insert(field.to_owned(), value),
            _ => fields.remove(field),
        };
        fields.extend(meta.map(|meta| ("metadata".to_owned(), meta)));
    }
    *object = merged;
}

/// The status of a built-in kind is written with most of the metadata: only a few kinds keep a part of it.
fn restore_for_status(kind: &Kind, stored: &Map<String, Value>, object: &mut Value) {
    let kept = match (kind.group.as_str(), kind.kind.as_str()) {
        ("", "Pod") => "ownerReferences",
        ("apps", "Deployment") => "labels",
        _ => return,
    };
    let meta = metadata(object);
    match stored.get(kept) {
        Some(value) => meta.insert(kept.to_owned(), value.clone()),
        None => meta.remove(kept),
    };
}

/// A subresource writes no metadata.
fn restore_metadata(stored: &Map<String, Value>, object: &mut Value) {
    object["metadata"] = Value::Object(stored.clone());
}

fn raise_generation(kind: &Kind, target: Target, current: &Value, object: &mut Value) {
    if matches!(target, Target::Status | Target::Finalize) {
        return;
    }
    let differs = |skip: &[&str]| {
        let keys = |value: &Value| {
            value.as_object().map(|o| {
                o.iter()
                    .filter(|(k, _)| !skip.contains(&k.as_str()))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect()
            })
        };
        let (old, new): (Option<Map<_, _>>, Option<Map<_, _>>) = (keys(current), keys(object));
        old != new
    };
    let raise = match kind.generation {
        Generation::Never => false,
        Generation::Spec => differs(&["metadata", "status"]),
        Generation::AllButMetadata => differs(&["metadata"]),
        Generation::SpecAndAnnotations => {
            differs(&["metadata", "status"])
                || current.pointer("/metadata/annotations") != object.pointer("/metadata/annotations")
        }
    };
    if raise {
        let meta = metadata(object);
        let generation = meta.get("generation").and_then(Value::as_i64).unwrap_or(0);
        meta.insert("generation".to_owned(), json!(generation + 1));
    }
}

/// Prunes and defaults a custom object by its schema.
fn crd_fields(kind: &Kind, object: &mut Value) -> Result<(), ApiError> {
    if let Some(schema) = &kind.schema {
        schema.prune(object);
        schema.default(object);
    }
    Ok(())
}

/// Checks a complete object; `current` is the stored one of an update.
///
/// An update meets the rules of metadata several times, since the real server's layers each apply them: the answer
/// names a cause as often.
pub(crate) fn validate(kind: &Kind, object: &Value, current: Option<&Value>) -> Result<(), ApiError> {
    let name = object.pointer("/metadata/name").map(text).unwrap_or_default();
    let mut causes = Vec::new();
    match current {
        None => {
            name::validate(kind, object, &mut causes);
            body::validate_metadata(object, &mut causes);
        }
        Some(current) => {
            body::validate_metadata(object, &mut causes);
            body::validate_metadata_update(object, current, &mut causes);
            body::validate_metadata_update(object, current, &mut causes);
        }
    }
    if let Some(schema) = &kind.schema {
        schema.validate(object, &mut causes);
    }
    if current.is_some() && checks_metadata_again(kind) {
        body::validate_metadata(object, &mut causes);
    }
    rules::validate(kind, object, current, &mut causes);
    if let (Some(scale), true) = (&kind.scale, kind.custom) {
        scale::validate(scale, object, &mut causes);
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::invalid(kind, name, causes))
    }
}

/// Built-in kinds whose updates are checked as if they were new, on top of what an update may not change.
fn checks_metadata_again(kind: &Kind) -> bool {
    const AGAIN: [&str; 7] = [
        "ConfigMap",
        "Endpoints",
        "PersistentVolumeClaim",
        "Pod",
        "Secret",
        "Service",
        "ServiceAccount",
    ];
    !kind.custom && kind.group.is_empty() && AGAIN.contains(&kind.kind.as_str())
}

#[cfg(test)]
mod tests;
