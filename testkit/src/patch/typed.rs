//! Whether a configuration for server-side apply fits its type, with the complaints of the real server's typed values.

use std::collections::HashSet;

use serde_json::Value;

use super::fields::{item_edge, show};
use super::shape::{Expected, ListShape, Place};

/// What is wrong with a configuration; several complaints stand on a line each.
pub(super) fn problem(config: &Value, root: Place<'_>) -> Option<String> {
    let mut found = Vec::new();
    walk(config, root, "", &mut found);
    match found.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        many => {
            let lines: Vec<String> = many.iter().map(|line| format!("  {line}")).collect();
            Some(format!("errors:\n{}", lines.join("\n")))
        }
    }
}

fn walk(value: &Value, place: Place<'_>, path: &str, found: &mut Vec<String>) {
    let mut complain = |path: &str, why: &str| {
        found.push(if path.is_empty() {
            why.to_owned()
        } else {
            format!("{path}: {why}")
        });
    };
    match (place.expected(), value) {
        (_, Value::Null) | (Expected::Anything, _) => {}
        (Expected::Text, Value::String(_))
        | (Expected::Number, Value::Number(_))
        | (Expected::Boolean, Value::Bool(_)) => {}
        (Expected::Scalar, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {}
        (Expected::Text, other) => {
            let why = format!(
                "expected string, got &value.valueUnstructured{{Value:{}}}",
                go_syntax(other)
            );
            complain(path, &why);
        }
        (Expected::Number, other) => {
            complain(
                path,
                &format!("expected numeric (int or float), got {}", go_type(other)),
            );
        }
        (Expected::Boolean, other) => {
            complain(
                path,
                &format!("expected boolean, got &{{{}}}", super::go_print(other)),
            );
        }
        (Expected::Scalar, other) => {
            complain(
                path,
                &format!("expected any scalar, got &{{{}}}", super::go_print(other)),
            );
        }
        (Expected::Map, Value::Object(map)) => {
            for (name, below) in map {
                let path = format!("{path}.{name}");
                if place.declares(name) {
                    walk(below, place.field(name), &path, found);
                } else {
                    found.push(format!("{path}: field not declared in schema"));
                }
            }
        }
        (Expected::Map, other) => {
            complain(
                path,
                &format!("expected map, got &{{{}}}", super::go_print(other)),
            );
        }
        (Expected::List, Value::Array(list)) => {
            let shape = place.list();
            let mut seen = HashSet::new();
            for (at, item) in list.iter().enumerate() {
                let edge = match item_edge(place, &shape, item) {
                    Some(edge) => show(&edge),
                    None => format!("[{at}]"),
                };
                if shape != ListShape::Atomic && !seen.insert(edge.clone()) {
                    let why = format!("duplicate entries for key {edge}");
                    found.push(if path.is_empty() {
                        why
                    } else {
                        format!("{path}: {why}")
                    });
                }
                walk(item, place.item(), &format!("{path}{edge}"), found);
            }
        }
        (Expected::List, other) => {
            complain(
                path,
                &format!("expected list, got &{{{}}}", super::go_print(other)),
            );
        }
    }
}

fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "int64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

/// A value as Go source would have it.
fn go_syntax(value: &Value) -> String {
    match value {
        Value::Null => "interface {}(nil)".to_owned(),
        Value::Array(list) => {
            let items: Vec<String> = list.iter().map(go_syntax).collect();
            format!("[]interface {{}}{{{}}}", items.join(", "))
        }
        Value::Object(map) => {
            let fields: Vec<String> = map
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), go_syntax(value)))
                .collect();
            format!("map[string]interface {{}}{{{}}}", fields.join(", "))
        }
        plain => plain.to_string(),
    }
}
