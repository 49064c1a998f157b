//! What the server adds to built-in kinds: the defaults of decoding, and what creation sets.

use serde_json::{Value, json};

use super::WriteContext;
use crate::kind::Kind;
use crate::status::Cause;

/// Defaults that count as written by the client.
pub(super) fn before_create(_kind: &Kind, _object: &mut Value) {}

/// What the server itself sets on a new object.
pub(super) fn on_create(kind: &Kind, object: &mut Value, _ctx: &mut WriteContext<'_>) {
    if kind.is_core("Namespace") {
        object["status"] = json!({"phase": "Active"});
    }
}

/// Defaults of an update.
pub(super) fn before_update(_kind: &Kind, _current: &Value, _object: &mut Value) {}

/// Rules of built-in kinds.
pub(super) fn validate(_kind: &Kind, _object: &Value, _current: Option<&Value>, _causes: &mut Vec<Cause>) {}
