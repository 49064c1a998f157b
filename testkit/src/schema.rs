//! Structural schemas of custom kinds: pruning, defaulting and validation.

use serde_json::Value;

use crate::status::Cause;

mod validate;

/// The schema of one version of a custom kind.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Schema {
    root: Value,
}

/// Deeper values than this are left as they are: no body can exhaust the stack.
const DEPTH_MAX: usize = 128;

impl Schema {
    /// Takes `openAPIV3Schema` as it stands in a definition.
    pub(crate) fn new(root: Value) -> Self {
        Self { root }
    }

    /// The schema as the definition states it.
    pub(crate) fn root(&self) -> &Value {
        &self.root
    }

    /// Removes fields the schema does not name. `apiVersion`, `kind` and `metadata` stay.
    pub(crate) fn prune(&self, object: &mut Value) {
        walk(&self.root, object, &mut String::new(), 0, &mut Vec::new());
    }

    /// Fills in the schema's defaults.
    pub(crate) fn default(&self, object: &mut Value) {
        default(&self.root, object, 0);
    }

    /// The paths of fields the schema does not name, in order.
    pub(crate) fn unknown_fields(&self, object: &Value) -> Vec<String> {
        let mut unknown = Vec::new();
        walk(
            &self.root,
            &mut object.clone(),
            &mut String::new(),
            0,
            &mut unknown,
        );
        unknown
    }

    /// Adds what is wrong with the object.
    pub(crate) fn validate(&self, object: &Value, causes: &mut Vec<Cause>) {
        validate::check(&self.root, object, "", causes, 0);
    }
}

fn marked(schema: &Value, mark: &str) -> bool {
    schema.get(mark) == Some(&Value::Bool(true))
}

fn walk(schema: &Value, value: &mut Value, path: &mut String, depth: usize, unknown: &mut Vec<String>) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            let embedded = depth == 0 || marked(schema, "x-kubernetes-embedded-resource");
            let keep_all = marked(schema, "x-kubernetes-preserve-unknown-fields");
            let properties = schema.get("properties");
            let additional = schema.get("additionalProperties");
            let mut dropped = Vec::new();
            for (key, below) in map.iter_mut() {
                if embedded && matches!(key.as_str(), "apiVersion" | "kind" | "metadata") {
                    continue;
                }
                let length = path.len();
                if !path.is_empty() {
                    path.push('.');
                }
                path.push_str(key);
                match (properties.and_then(|p| p.get(key)), additional) {
                    (Some(schema), _) => walk(schema, below, path, depth + 1, unknown),
                    (None, Some(schema @ Value::Object(_))) => walk(schema, below, path, depth + 1, unknown),
                    (None, Some(Value::Bool(true))) => {}
                    _ if keep_all => {}
                    _ => {
                        unknown.push(path.clone());
                        dropped.push(key.clone());
                    }
                }
                path.truncate(length);
            }
            for key in dropped {
                map.remove(&key);
            }
        }
        Value::Array(list) => {
            let Some(items) = schema.get("items") else { return };
            for (at, item) in list.iter_mut().enumerate() {
                let length = path.len();
                path.push_str(&format!("[{at}]"));
                walk(items, item, path, depth + 1, unknown);
                path.truncate(length);
            }
        }
        _ => {}
    }
}

fn default(schema: &Value, value: &mut Value, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    match value {
        Value::Object(map) => {
            for (key, below) in schema
                .get("properties")
                .and_then(Value::as_object)
                .into_iter()
                .flatten()
            {
                if let Some(standard) = below.get("default") {
                    let unset = match map.get(key) {
                        None => true,
                        Some(Value::Null) => !marked(below, "nullable"),
                        Some(_) => false,
                    };
                    if unset {
                        map.insert(key.clone(), standard.clone());
                    }
                } else if map.get(key) == Some(&Value::Null) && !marked(below, "nullable") {
                    map.remove(key);
                }
                if let Some(slot) = map.get_mut(key) {
                    default(below, slot, depth + 1);
                }
            }
            if let Some(below @ Value::Object(_)) = schema.get("additionalProperties") {
                let named = schema.get("properties");
                for (_, slot) in map
                    .iter_mut()
                    .filter(|(key, _)| named.and_then(|n| n.get(*key)).is_none())
                {
                    default(below, slot, depth + 1);
                }
            }
        }
        Value::Array(list) => {
            if let Some(items) = schema.get("items") {
                for item in list {
                    default(items, item, depth + 1);
                }
            }
        }
        _ => {}
    }
}

/// The name of a value's type as schemas call it.
fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(n) if n.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema() -> Schema {
        Schema::new(json!({
            "type": "object",
            "properties": {
                "spec": {
                    "type": "object",
                    "required": ["color"],
                    "properties": {
                        "size": {"type": "integer", "default": 1, "minimum": 1, "maximum": 9},
                        "color": {"type": "string", "enum": ["red", "blue"]},
                        "name": {"type": "string", "pattern": "^[a-z]+$", "minLength": 2, "maxLength": 4},
                        "port": {"x-kubernetes-int-or-string": true},
                        "tags": {"type": "array", "x-kubernetes-list-type": "set", "maxItems": 3,
                            "items": {"type": "string"}},
                        "parts": {"type": "array", "x-kubernetes-list-type": "map",
                            "x-kubernetes-list-map-keys": ["id"],
                            "items": {"type": "object", "properties": {
                                "id": {"type": "string"}, "weight": {"type": "integer", "default": 5}}}},
                        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                        "any": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                        "maybe": {"type": "string", "nullable": true},
                        "inner": {"type": "object", "default": {}, "properties": {
                            "deep": {"type": "boolean", "default": true}}},
                    }
                }
            }
        }))
    }

    #[test]
    fn pruning_keeps_what_the_schema_names_and_says_what_went() {
        let mut object = json!({
            "apiVersion": "v", "kind": "K", "metadata": {"name": "n", "strange": 1}, "extra": 1,
            "spec": {"color": "red", "unknown": 1, "any": {"x": {"y": 1}}, "labels": {"a": "b"},
                "parts": [{"id": "a", "no": 1}]},
        });
        assert_eq!(
            schema().unknown_fields(&object),
            ["extra", "spec.parts[0].no", "spec.unknown"]
        );
        schema().prune(&mut object);
        assert_eq!(
            object,
            json!({
                "apiVersion": "v", "kind": "K", "metadata": {"name": "n", "strange": 1},
                "spec": {"color": "red", "any": {"x": {"y": 1}}, "labels": {"a": "b"}, "parts": [{"id": "a"}]},
            })
        );
    }

    #[test]
    fn defaults_fill_what_is_absent_at_every_depth_and_replace_null() {
        let mut object =
            json!({"spec": {"size": null, "maybe": null, "color": null, "parts": [{"id": "a"}]}});
        schema().default(&mut object);
        assert_eq!(
            object,
            json!({"spec": {"size": 1, "maybe": null, "parts": [{"id": "a", "weight": 5}], "inner": {"deep": true}}})
        );
        // No spec, nothing to fill.
        let mut empty = json!({});
        schema().default(&mut empty);
        assert_eq!(empty, json!({}));
    }

    #[test]
    fn each_broken_rule_is_named_with_the_real_server_s_words() {
        for (spec, message) in [
            (
                json!({"color": "red", "size": "bad"}),
                "spec.size: Invalid value: \"string\": spec.size in body must be of type integer: \"string\"",
            ),
            (
                json!({"color": "red", "size": 0}),
                "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
            ),
            (
                json!({"color": "red", "size": 10}),
                "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9",
            ),
            (json!({}), "spec.color: Required value"),
            (
                json!({"color": "green"}),
                "spec.color: Unsupported value: \"green\": supported values: \"red\", \"blue\"",
            ),
            (
                json!({"color": "red", "name": "A1"}),
                "spec.name: Invalid value: \"A1\": spec.name in body should match '^[a-z]+$'",
            ),
            (
                json!({"color": "red", "name": "a"}),
                "spec.name: Invalid value: \"a\": spec.name in body should be at least 2 chars long",
            ),
            (
                json!({"color": "red", "name": "aaaaa"}),
                "spec.name: Too long: may not be more than 4 bytes",
            ),
            (
                json!({"color": "red", "tags": ["a", "a"]}),
                "spec.tags[1]: Duplicate value: \"a\"",
            ),
            (
                json!({"color": "red", "tags": ["a", "b", "c", "d"]}),
                "spec.tags: Too many: 4: must have at most 3 items",
            ),
            (
                json!({"color": "red", "parts": [{"id": "a"}, {"id": "a"}]}),
                "spec.parts[1]: Duplicate value: {\"id\":\"a\"}",
            ),
            (
                json!({"color": "red", "port": true}),
                "spec.port: Invalid value: \"boolean\": spec.port in body must be of type integer,string: \"boolean\"",
            ),
            (
                json!({"color": "red", "labels": {"a": 1}}),
                "spec.labels.a: Invalid value: \"integer\": spec.labels.a in body must be of type string: \"integer\"",
            ),
        ] {
            let mut causes = Vec::new();
            schema().validate(&json!({"spec": spec}), &mut causes);
            let error = crate::ApiError::invalid_kind("", "K", "n", causes);
            assert_eq!(
                error.message(),
                format!("K \"n\" is invalid: {message}"),
                "{spec}"
            );
        }
        let mut causes = Vec::new();
        let good =
            json!({"color": "red", "port": 80, "maybe": null, "labels": {"a": "b"}, "tags": ["a", "b"]});
        schema().validate(&json!({"spec": good}), &mut causes);
        assert_eq!(causes, []);
    }
}
