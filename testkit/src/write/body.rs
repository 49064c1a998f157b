//! Request bodies: from bytes to an object of the right kind, with the real server's complaints.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{FieldValidation, WriteContext};
use super::{json_error, strict};
use crate::kind::{Kind, is_builtin, types};
use crate::selector::{label_value_errors, qualified_name_errors};
use crate::status::{ApiError, Cause};

/// Reads the body of a create or update.
///
/// JSON and YAML are read; no content type counts as JSON. Unknown fields are dropped, with a warning or a refusal as
/// the request asks; a built-in kind comes out in the form its type is written in.
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
    let (object, repeated) = match media.as_str() {
        "" | "application/json" => {
            let read = strict::parse(body);
            read.map_err(|_| {
                let why = format!(
                    "couldn't get version/kind; json parse error: {}",
                    json_error::explain(body)
                );
                unreadable(kind, &why, body)
            })?
        }
        "application/yaml" => {
            let read = parse_yaml(body);
            (
                read.map_err(|error| unreadable(kind, error.message(), body))?,
                Vec::new(),
            )
        }
        _ => return Err(ApiError::unsupported_body()),
    };
    check_object(kind, object, repeated, body, ctx)
}

/// Reads the body of an update of the scale subresource.
///
/// # Errors
/// As [`decode`].
pub(crate) fn decode_scale(
    content_type: &str,
    body: &[u8],
    ctx: &mut WriteContext<'_>,
) -> Result<Value, ApiError> {
    decode(&scale_kind(), content_type, body, ctx)
}

/// The kind of what the scale subresource shows.
pub(crate) fn scale_kind() -> Kind {
    let mut kind = Kind::new("autoscaling", "v1", "Scale", "scales");
    kind.read_as_builtin(types::find("autoscaling.Scale"));
    kind
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
    serde_saphyr::from_str(text).map_err(|error| {
        // The first line says what is wrong, the others show where.
        let why = error.to_string();
        let first = why
            .lines()
            .next()
            .unwrap_or_default()
            .trim_start_matches("error: ");
        let (place, what) = first.split_once(": ").unwrap_or(("", first));
        let line = place
            .strip_prefix("line ")
            .and_then(|rest| rest.split(' ').next());
        let line = line.map(|line| format!("line {line}: ")).unwrap_or_default();
        ApiError::bad_request(format!("error converting YAML to JSON: yaml: {line}{what}"))
    })
}

/// Why these bytes are no JSON, in the words of the real server's parser.
pub(crate) fn syntax_error(body: &[u8]) -> String {
    json_error::explain(body)
}

fn unreadable(kind: &Kind, why: &str, body: &[u8]) -> ApiError {
    ApiError::bad_request(format!(
        "the object provided is unrecognized (must be of type {}): {why} ({})",
        kind.kind,
        summary(body)
    ))
}

/// The beginning of a body as error messages quote it: JSON as text, anything else in hex.
fn summary(body: &[u8]) -> String {
    const MOST: usize = 30;
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
    repeated: Vec<String>,
    body: &[u8],
    ctx: &mut WriteContext<'_>,
) -> Result<Value, ApiError> {
    // Nothing at all counts as an empty object.
    if object.is_null() && !kind.custom {
        object = json!({});
    }
    let Some(fields) = object.as_object() else {
        let why = format!(
            "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ \
             APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
            go_type(&object)
        );
        return Err(unreadable(kind, &why, body));
    };
    let text = |field: &str| fields.get(field).and_then(Value::as_str).unwrap_or_default();
    let (given_version, given_kind) = (text("apiVersion").to_owned(), text("kind").to_owned());
    let own_version = kind.api_version();
    // Only a built-in kind is known without being named.
    if kind.custom && given_kind.is_empty() {
        let why = format!("Object 'Kind' is missing in '{}'", String::from_utf8_lossy(body));
        return Err(unreadable(kind, &why, body));
    }
    if kind.custom && given_version != own_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({given_version}) does not match the expected API version ({own_version})"
        )));
    }
    if let Some(why) = other_type(kind, &given_version, &given_kind) {
        let given_version = non_empty(&given_version, &own_version);
        let given_kind = non_empty(&given_kind, &kind.kind);
        let version = given_version.rsplit('/').next().unwrap_or_default();
        return Err(ApiError::bad_request(format!(
            "{given_kind} in version \"{version}\" cannot be handled as a {}: {why}",
            kind.kind
        )));
    }
    check_kind(kind, &given_version, &given_kind, &object)?;
    let mut unknown = Vec::new();
    read_as(kind, &mut object, &mut unknown).map_err(|why| unhandled(kind, &why))?;
    // A built-in kind is read field by field, a custom one is pruned after it has been read.
    let document = (!kind.custom).then_some(body);
    let sentences = strict::complaints(document, repeated, unknown);
    complain(sentences, ctx, |list| {
        unhandled(kind, &format!("strict decoding error: {list}"))
    })?;
    Ok(object)
}

fn non_empty<'a>(given: &'a str, own: &'a str) -> &'a str {
    if given.is_empty() { own } else { given }
}

/// Why a built-in kind cannot take an object that names another type; nothing where it names this one, or none.
fn other_type(kind: &Kind, given_version: &str, given_kind: &str) -> Option<String> {
    let own_version = kind.api_version();
    let (version, name) = (
        non_empty(given_version, &own_version),
        non_empty(given_kind, &kind.kind),
    );
    if kind.custom || (version == own_version && name == kind.kind) {
        return None;
    }
    Some(if is_builtin(version, name) {
        let version = version.rsplit('/').next().unwrap_or_default();
        format!(
            "converting ({version}.{name}) to ({}): unknown conversion",
            kind.go_type(false).trim_start_matches('*')
        )
    } else {
        format!(
            "no kind \"{name}\" is registered for version \"{version}\" in scheme \
             \"pkg/api/legacyscheme/scheme.go:30\""
        )
    })
}

/// A custom kind takes no object that names another; the complaint is about the kind the object names.
fn check_kind(kind: &Kind, given_version: &str, given_kind: &str, object: &Value) -> Result<(), ApiError> {
    if !kind.custom {
        return Ok(());
    }
    let mut causes = Vec::new();
    if !given_kind.is_empty() && given_kind != kind.kind {
        let why = format!("must be {}", kind.kind);
        causes.push(Cause::invalid("kind", &json!(given_kind), &why));
    }
    let own_version = kind.api_version();
    if !given_version.is_empty() && given_version != own_version {
        let why = format!("must be {own_version}");
        causes.push(Cause::invalid("apiVersion", &json!(given_version), &why));
    }
    if causes.is_empty() {
        return Ok(());
    }
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let group = given_version
        .rsplit_once('/')
        .map_or(kind.group.as_str(), |(group, _)| group);
    Err(ApiError::invalid_kind(
        group,
        non_empty(given_kind, &kind.kind),
        name,
        causes,
    ))
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

/// Reads an object as its kind's type does: fields the type does not know go and are named, the others get the form
/// they are written in. Custom kinds are read by their schema, and their metadata as any.
pub(crate) fn read_as(kind: &Kind, object: &mut Value, unknown: &mut Vec<String>) -> Result<(), String> {
    if let Some(of) = kind.shape() {
        return types::read(of, object, unknown);
    }
    if !kind.custom {
        return Ok(());
    }
    if let Some(metadata) = object.get_mut("metadata").filter(|metadata| !metadata.is_null()) {
        types::read_metadata(metadata, unknown)?;
    }
    if let Some(schema) = &kind.schema {
        unknown.extend(schema.unknown_fields(object));
        schema.prune(object);
    }
    Ok(())
}

/// Deals with complaints as the request asks: not at all, by warnings, or by refusing it.
fn complain(
    sentences: Vec<String>,
    ctx: &mut WriteContext<'_>,
    refuse: impl FnOnce(&str) -> ApiError,
) -> Result<(), ApiError> {
    match ctx.validation {
        _ if sentences.is_empty() => Ok(()),
        FieldValidation::Ignore => Ok(()),
        FieldValidation::Warn => {
            ctx.warnings.extend(sentences);
            Ok(())
        }
        FieldValidation::Strict => Err(refuse(&sentences.join(", "))),
    }
}

/// Reads what a patch made of an object.
///
/// `shown` is what the refusal shows as the patch, `repeated` are the paths the patch itself has twice.
///
/// # Errors
/// 422 naming the patch, for anything no object of the kind could hold, and for unknown fields where the request is
/// strict.
pub(crate) fn read_patched(
    kind: &Kind,
    object: &mut Value,
    shown: impl Fn(&Value) -> String,
    repeated: &[String],
    ctx: &mut WriteContext<'_>,
) -> Result<(), ApiError> {
    let refused = |object: &Value, why: &str| {
        let cause = Cause::invalid("patch", &Value::String(shown(object)), why);
        ApiError::invalid_kind("", "", "", vec![cause])
    };
    let before = object.clone();
    let text = |field: &str| before.get(field).and_then(Value::as_str);
    for (field, name) in [("kind", "Kind"), ("apiVersion", "apiVersion")] {
        if text(field).unwrap_or_default().is_empty() {
            let why = format!("Object '{name}' is missing in '{}'", shown(&before));
            return Err(refused(&before, &why));
        }
    }
    let (given_version, given_kind) = (
        text("apiVersion").unwrap_or_default(),
        text("kind").unwrap_or_default(),
    );
    if let Some(why) = other_type(kind, given_version, given_kind) {
        return Err(refused(&before, &why));
    }
    check_kind(kind, given_version, given_kind, &before)?;
    let mut unknown = Vec::new();
    read_as(kind, object, &mut unknown).map_err(|why| refused(&before, &why))?;
    let mut sentences: Vec<String> = repeated
        .iter()
        .map(|path| format!("duplicate field {}", json!(path)))
        .collect();
    sentences.extend(
        unknown
            .iter()
            .map(|path| format!("unknown field {}", json!(path))),
    );
    complain(sentences, ctx, |list| {
        refused(&before, &format!("strict decoding error: {list}"))
    })
}

fn unhandled(kind: &Kind, why: &str) -> ApiError {
    let (name, version) = (&kind.kind, &kind.version);
    ApiError::bad_request(format!(
        "{name} in version \"{version}\" cannot be handled as a {name}: {why}"
    ))
}

/// Checks metadata as every object's is: labels, annotations, owners, finalizers, managers.
pub(super) fn validate_metadata(object: &Value, causes: &mut Vec<Cause>) {
    validate_marks(object, causes);
    validate_owners(object, causes);
    validate_finalizers(object, causes);
    validate_managers(object, causes);
}

/// Checks what an update makes of metadata: some fields may not change, and labels are looked at once more.
pub(super) fn validate_metadata_update(object: &Value, current: &Value, causes: &mut Vec<Cause>) {
    validate_new_finalizers(object, current, causes);
    for field in ["uid", "deletionTimestamp", "deletionGracePeriodSeconds"] {
        let at = |object: &Value| object.pointer(&format!("/metadata/{field}")).cloned();
        let (given, stored) = (at(object), at(current));
        if given != stored {
            let shown = given.unwrap_or(Value::Null);
            causes.push(Cause::invalid(
                format!("metadata.{field}"),
                &shown,
                "field is immutable",
            ));
        }
    }
    validate_marks(object, causes);
    validate_owners(object, causes);
    validate_managers(object, causes);
}

/// Labels and annotations.
fn validate_marks(object: &Value, causes: &mut Vec<Cause>) {
    let map = |path: &str| {
        object
            .pointer(path)
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
    };
    for (key, value) in map("/metadata/labels") {
        for why in qualified_name_errors(key) {
            causes.push(Cause::invalid("metadata.labels", &json!(key), &why));
        }
        for why in label_value_errors(value.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid("metadata.labels", value, &why));
        }
    }
    for (key, _) in map("/metadata/annotations") {
        for why in qualified_name_errors(&key.to_lowercase()) {
            causes.push(Cause::invalid("metadata.annotations", &json!(key), &why));
        }
    }
    let total: usize = map("/metadata/annotations")
        .map(|(k, v)| k.len() + v.as_str().map_or(0, str::len))
        .sum();
    const ANNOTATIONS_MAX: usize = 256 * 1024;
    if total > ANNOTATIONS_MAX {
        causes.push(Cause::too_long("metadata.annotations", ANNOTATIONS_MAX));
    }
}

fn finalizers(object: &Value) -> Vec<&Value> {
    let list = object.pointer("/metadata/finalizers").and_then(Value::as_array);
    list.into_iter().flatten().collect()
}

fn validate_finalizers(object: &Value, causes: &mut Vec<Cause>) {
    let all = finalizers(object);
    for finalizer in &all {
        for why in qualified_name_errors(finalizer.as_str().unwrap_or_default()) {
            causes.push(Cause::invalid("metadata.finalizers", finalizer, &why));
        }
    }
    let has = |name: &str| all.iter().any(|finalizer| **finalizer == name);
    if has("orphan") && has("foregroundDeletion") {
        let why = "finalizer orphan and foregroundDeletion cannot be both set";
        causes.push(Cause::invalid("metadata.finalizers", &json!(all), why));
    }
}

fn validate_new_finalizers(object: &Value, current: &Value, causes: &mut Vec<Cause>) {
    let deleting = current.pointer("/metadata/deletionTimestamp");
    if deleting.is_none_or(Value::is_null) {
        return;
    }
    let words =
        |object| -> BTreeSet<String> { finalizers(object).into_iter().map(Value::to_string).collect() };
    let (known, wanted) = (words(current), words(object));
    let new: Vec<&str> = wanted.difference(&known).map(String::as_str).collect();
    if !new.is_empty() {
        let why = format!(
            "no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}",
            new.join(", ")
        );
        causes.push(Cause::forbidden("metadata.finalizers", &why));
    }
}

fn validate_owners(object: &Value, causes: &mut Vec<Cause>) {
    const OWNERS: &str = "metadata.ownerReferences";
    let owners = object.pointer("/metadata/ownerReferences");
    let mut first: Option<String> = None;
    for owner in owners.and_then(Value::as_array).into_iter().flatten() {
        let text = |field: &str| owner.get(field).and_then(Value::as_str).unwrap_or_default();
        let version = text("apiVersion").rsplit('/').next().unwrap_or_default();
        for (field, empty, why) in [
            ("apiVersion", version.is_empty(), "version must not be empty"),
            ("kind", text("kind").is_empty(), "must not be empty"),
            ("name", text("name").is_empty(), "must not be empty"),
            ("uid", text("uid").is_empty(), "must not be empty"),
        ] {
            if empty {
                causes.push(Cause::invalid(
                    format!("{OWNERS}.{field}"),
                    &json!(text(field)),
                    why,
                ));
            }
        }
        if (text("apiVersion"), text("kind")) == ("v1", "Event") {
            let why = "/v1, Kind=Event is disallowed from being an owner";
            causes.push(Cause::invalid(OWNERS, owner, why));
        }
        if owner.get("controller") == Some(&Value::Bool(true)) {
            let name = format!("{}/{}", text("kind"), text("name"));
            match &first {
                None => first = Some(name),
                Some(first) => {
                    let why = format!(
                        "Only one reference can have Controller set to true. Found \"true\" in references for {first} \
                         and {name}"
                    );
                    causes.push(Cause::invalid(OWNERS, owners.unwrap_or(&Value::Null), &why));
                }
            }
        }
    }
}

fn validate_managers(object: &Value, causes: &mut Vec<Cause>) {
    let entries = object
        .pointer("/metadata/managedFields")
        .and_then(Value::as_array);
    for (at, entry) in entries.into_iter().flatten().enumerate() {
        let text = |field: &str| entry.get(field).and_then(Value::as_str).unwrap_or_default();
        let path = |field: &str| format!("metadata.managedFields[{at}].{field}");
        if !matches!(text("operation"), "Apply" | "Update") {
            let why = "must be `Apply` or `Update`";
            causes.push(Cause::invalid(path("operation"), &json!(text("operation")), why));
        }
        if !matches!(text("fieldsType"), "" | "FieldsV1") {
            let why = "must be `FieldsV1`";
            causes.push(Cause::invalid(
                path("fieldsType"),
                &json!(text("fieldsType")),
                why,
            ));
        }
        validate_manager(text("manager"), &path("manager"), causes);
    }
}

/// Checks the name of a field manager.
pub(crate) fn validate_manager(name: &str, path: &str, causes: &mut Vec<Cause>) {
    const MANAGER_MAX: usize = 128;
    if name.len() > MANAGER_MAX {
        causes.push(Cause::too_long(path, MANAGER_MAX));
    }
    for (at, c) in name.char_indices() {
        if c.is_control() || (c.is_whitespace() && c != ' ') {
            let code = u32::from(c);
            let why = format!("invalid character U+{code:04X} (at position {at})");
            causes.push(Cause::invalid(path, &json!(name), &why));
        }
    }
}
