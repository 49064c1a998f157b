//! Patches: JSON patch, merge patch, strategic merge patch and server-side apply.
//!
//! [`apply`] gives what the object becomes; [`crate::write::update`] then treats it like any update, so the rules of
//! metadata, status, generation and no-op writes are the same for both.

use serde_json::Value;

use crate::kind::Kind;
use crate::status::ApiError;
use crate::write::{check_patched, syntax_error};

mod apply;
mod fields;
pub(crate) mod managed;
mod shape;
mod strategic;

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
            "application/strategic-merge-patch+json" if kind.custom => Err(ApiError::unsupported_media(
                "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml",
            )),
            "application/strategic-merge-patch+json" => Ok(Self::Strategic),
            _ => Err(ApiError::unsupported_patch()),
        }
    }
}

/// What the object becomes by a JSON, merge or strategic patch.
///
/// # Errors
/// 400 for a body that cannot be read, 413 for too many operations, 422 for one that cannot be applied.
pub(crate) fn apply(
    kind: &Kind,
    patch_type: PatchType,
    current: &Value,
    body: &[u8],
) -> Result<Value, ApiError> {
    let object = match patch_type {
        PatchType::Json => json_patch(current, body)?,
        PatchType::Merge => {
            let patch = parse_map(body)?;
            let mut object = current.clone();
            json_patch::merge(&mut object, &patch);
            object
        }
        PatchType::Strategic => {
            let patch = parse_map(body)?;
            let mut object = current.clone();
            strategic::merge(&mut object, &patch, shape::Place::root(kind))?;
            object
        }
        PatchType::Apply => return Err(ApiError::unsupported_patch()),
    };
    check_patched(kind, &object, body)?;
    Ok(object)
}

fn parse_map(body: &[u8]) -> Result<Value, ApiError> {
    let patch: Value = serde_json::from_slice(body)
        .map_err(|_| ApiError::bad_request(format!("error decoding patch: {}", syntax_error(body))))?;
    if patch.is_object() {
        Ok(patch)
    } else {
        Err(not_a_map(&patch))
    }
}

fn not_a_map(patch: &Value) -> ApiError {
    let found = match patch {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        _ => "array",
    };
    ApiError::bad_request(format!(
        "error decoding patch: json: cannot unmarshal {found} into Go value of type map[string]interface {{}}"
    ))
}

fn json_patch(current: &Value, body: &[u8]) -> Result<Value, ApiError> {
    let operations: Value = serde_json::from_slice(body)
        .map_err(|_| ApiError::bad_request(format!("error decoding patch: {}", syntax_error(body))))?;
    let Some(list) = operations.as_array() else {
        return Err(ApiError::bad_request(
            "error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch",
        ));
    };
    if list.len() > JSON_PATCH_MAX {
        let why = format!(
            "The allowed maximum operations in a JSON patch is {JSON_PATCH_MAX}, got {}",
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
