//! Structural schemas of custom kinds.

use serde_json::Value;

use crate::status::Cause;

/// The schema of one version of a custom kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schema {
    root: Value,
}

impl Schema {
    /// Takes `openAPIV3Schema` as it stands in a definition.
    pub(crate) fn new(root: Value) -> Self {
        Self { root }
    }

    /// Removes fields the schema does not name.
    pub(crate) fn prune(&self, _object: &mut Value) {}

    /// Fills in the schema's defaults.
    pub(crate) fn default(&self, _object: &mut Value) {}

    /// The paths of fields the schema does not name.
    pub(crate) fn unknown_fields(&self, _object: &Value) -> Vec<String> {
        Vec::new()
    }

    /// Adds what is wrong with the object.
    pub(crate) fn validate(&self, _object: &Value, _causes: &mut Vec<Cause>) {}

    /// The schema as the definition states it.
    pub(crate) fn root(&self) -> &Value {
        &self.root
    }
}
