//! Patches: JSON patch, merge patch, strategic merge patch and server-side apply.
//!
//! [`apply`] gives what the object becomes; [`crate::write::update`] then treats it like any update, so the rules of
//! metadata, status, generation and no-op writes are the same for both.

use serde_json::Value;

use crate::kind::Kind;
use crate::status::ApiError;
use crate::write::{WriteContext, parse_json, read_patched, syntax_error};

mod apply;
mod fields;
pub(crate) mod managed;
mod shape;
mod strategic;
mod typed;

pub(crate) use apply::{Apply, apply as server_side};

/// The five ways to say what should change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PatchType {
    /// `application/json-patch+json`
    Json,
    /// `application/merge-patch+json`
    Merge,
    /// `application/strategic-merge-patch+json`
    Strategic,
    /// `application/apply-patch+yaml`
    Apply,
}

/// More operations than this are refused.
const JSON_PATCH_MAX: usize = 10_000;

impl PatchType {
    /// Finds the type a `Content-Type` names.
    ///
    /// # Errors
    /// 415 for anything else, and for a strategic patch of a custom kind.
    pub(crate) fn parse(kind: &Kind, content_type: &str) -> Result<Self, ApiError> {
        let media = content_type
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        match media.as_str() {
            "application/json-patch+json" => Ok(Self::Json),
            "application/merge-patch+json" => Ok(Self::Merge),
            "application/apply-patch+yaml" => Ok(Self::Apply),
            _ if kind.custom => Err(ApiError::unsupported_media(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            _ => Err(ApiError::unsupported_patch()),
        }
    }
}

/// What the object becomes by a JSON, merge or strategic patch. Fields the kind does not know are dropped, with a
/// warning or a refusal as the request asks.
///
/// # Errors
/// 400 for a body that cannot be read, 413 for too many operations, 422 for one that cannot be applied or makes of the
/// object what it cannot be.
pub(crate) fn apply(
    kind: &Kind,
    patch_type: PatchType,
    current: &Value,
    body: &[u8],
    ctx: &mut WriteContext<'_>,
) -> Result<Value, ApiError> {
    let (mut object, repeated, strategic) = raw(kind, patch_type, current, body)?;
    read_patched(
        kind,
        &mut object,
        |object| shown(object, strategic.as_ref()),
        &repeated,
        ctx,
    )?;
    Ok(object)
}

/// What the object becomes by a patch, whatever that is; and the fields that stand twice in the patch.
///
/// # Errors
/// As [`apply`], what becomes of the object aside.
pub(crate) fn apply_plain(
    kind: &Kind,
    patch_type: PatchType,
    current: &Value,
    body: &[u8],
) -> Result<Value, ApiError> {
    Ok(raw(kind, patch_type, current, body)?.0)
}

type Patched = (Value, Vec<String>, Option<Value>);

fn raw(kind: &Kind, patch_type: PatchType, current: &Value, body: &[u8]) -> Result<Patched, ApiError> {
    Ok(match patch_type {
        PatchType::Json => (json_patch(current, body)?, Vec::new(), None),
        PatchType::Merge => {
            let (patch, repeated) = parse_map(body, "error decoding patch: ")?;
            let mut object = current.clone();
            json_patch::merge(&mut object, &patch);
            (object, repeated, None)
        }
        PatchType::Strategic => {
            let (patch, repeated) = parse_map(body, "")?;
            let mut object = current.clone();
            strategic::merge(&mut object, &patch, shape::Place::root(kind))?;
            (object, repeated, Some(patch))
        }
        PatchType::Apply => return Err(ApiError::unsupported_patch()),
    })
}

/// What a refusal shows: the patched object, or of a strategic merge patch the patch.
fn shown(object: &Value, strategic: Option<&Value>) -> String {
    strategic.map_or_else(|| object.to_string(), go_print)
}

/// A value as Go prints it.
fn go_print(value: &Value) -> String {
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(go_print).collect();
            format!("[{}]", items.join(" "))
        }
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{key}:{}", go_print(value)))
                .collect();
            format!("map[{}]", fields.join(" "))
        }
        plain => plain.to_string(),
    }
}

fn parse_map(body: &[u8], opening: &str) -> Result<(Value, Vec<String>), ApiError> {
    let (patch, repeated) =
        parse_json(body).map_err(|_| ApiError::bad_request(format!("{opening}{}", syntax_error(body))))?;
    if patch.is_object() {
        Ok((patch, repeated))
    } else {
        Err(ApiError::bad_request(format!(
            "{opening}json: cannot unmarshal {} into Go value of type map[string]interface {{}}",
            type_name(&patch)
        )))
    }
}

fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn json_patch(current: &Value, body: &[u8]) -> Result<Value, ApiError> {
    let operations: Value = serde_json::from_slice(body)
        .map_err(|_| ApiError::bad_request(format!("error decoding patch: {}", syntax_error(body))))?;
    let Some(list) = operations.as_array() else {
        return Err(ApiError::bad_request(format!(
            "error decoding patch: json: cannot unmarshal {} into Go value of type []handlers.jsonPatchOp",
            type_name(&operations)
        )));
    };
    if list.len() > JSON_PATCH_MAX {
        let why = format!(
            "Request entity too large: The allowed maximum operations in a JSON patch is {JSON_PATCH_MAX}, got {}",
            list.len()
        );
        return Err(ApiError::new(413, "RequestEntityTooLarge", why));
    }
    let patch: json_patch::Patch =
        serde_json::from_value(operations).map_err(|_| ApiError::unprocessable_patch())?;
    let mut object = current.clone();
    json_patch::patch(&mut object, &patch).map_err(|_| ApiError::unprocessable_patch())?;
    if object.is_object() {
        Ok(object)
    } else {
        Err(ApiError::unprocessable_patch())
    }
}

#[cfg(test)]
mod tests;
