//! `metadata.managedFields`: who wrote which field.

use serde_json::Value;

use crate::kind::Kind;
use crate::write::{Target, WriteContext};

/// Records the fields of a new object as its creator's.
pub(crate) fn on_create(
    _kind: &Kind,
    _object: &mut Value,
    _tracked: Option<Value>,
    _ctx: &mut WriteContext<'_>,
) {
}

/// Records the fields an update changed as the updater's.
pub(crate) fn on_update(
    _kind: &Kind,
    _target: Target,
    _current: &Value,
    _object: &mut Value,
    _tracked: Option<Value>,
    _ctx: &mut WriteContext<'_>,
) {
}
