//! Validation against a schema, one complaint per broken rule.

use std::collections::HashSet;

use serde_json::{Map, Value, json};

use super::{DEPTH_MAX, marked, type_of};
use crate::status::Cause;

/// Checks a value against a schema; `path` is where the value stands, empty for the object itself.
pub(super) fn check(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>, depth: usize) {
    if depth > DEPTH_MAX {
        return;
    }
    if value.is_null() && marked(schema, "nullable") {
        return;
    }
    if !right_type(schema, value, path, causes) {
        return;
    }
    enumeration(schema, value, path, causes);
    combined(schema, value, path, causes, depth);
    match value {
        Value::Number(number) => numeric(schema, number.as_f64().unwrap_or_default(), value, path, causes),
        Value::String(text) => string(schema, text, value, path, causes),
        Value::Array(list) => array(schema, list, value, path, causes, depth),
        Value::Object(map) => object(schema, map, value, path, causes, depth),
        Value::Null | Value::Bool(_) => {}
    }
}

fn right_type(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) -> bool {
    let found = type_of(value);
    let wanted = schema.get("type").and_then(Value::as_str).unwrap_or_default();
    let (fits, wanted) = if marked(schema, "x-kubernetes-int-or-string") {
        (matches!(found, "integer" | "string"), "integer,string")
    } else {
        let whole = value.as_f64().is_some_and(|n| n.fract() == 0.0);
        let fits = wanted.is_empty()
            || wanted == found
            || (wanted == "number" && found == "integer")
            || (wanted == "integer" && found == "number" && whole);
        (fits, wanted)
    };
    if !fits {
        let why = format!("{}must be of type {wanted}: \"{found}\"", in_body(path));
        causes.push(Cause::type_invalid(shown(path), &json!(found), &why));
    }
    fits
}

fn in_body(path: &str) -> String {
    if path.is_empty() {
        String::new()
    } else {
        format!("{path} in body ")
    }
}

fn shown(path: &str) -> String {
    if path.is_empty() {
        "<nil>".to_owned()
    } else {
        path.to_owned()
    }
}

fn enumeration(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let Some(allowed) = schema.get("enum").and_then(Value::as_array) else {
        return;
    };
    if !allowed.contains(value) {
        let words: Vec<String> = allowed
            .iter()
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned))
            .collect();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        causes.push(Cause::not_supported(shown(path), value, &words));
    }
}

fn combined(schema: &Value, value: &Value, path: &str, causes: &mut Vec<Cause>, depth: usize) {
    let list = |word: &str| schema.get(word).and_then(Value::as_array);
    let holds = |below: &Value| {
        let mut found = Vec::new();
        check(below, value, path, &mut found, depth + 1);
        found.is_empty()
    };
    for below in list("allOf").into_iter().flatten() {
        check(below, value, path, causes, depth + 1);
    }
    let mut refuse = |word: &str, why: &str| {
        let name = if path.is_empty() { "<nil>" } else { path };
        let text = format!("{name:?} must validate {why} ({word})");
        causes.push(Cause::invalid(shown(path), value, &text));
    };
    if let Some(any) = list("anyOf")
        && !any.iter().any(holds)
    {
        refuse("anyOf", "at least one schema");
    }
    if let Some(one) = list("oneOf") {
        let count = one.iter().filter(|below| holds(below)).count();
        if count != 1 {
            refuse("oneOf", "one and only one schema");
        }
    }
    if let Some(not) = schema.get("not").filter(|n| n.is_object())
        && holds(not)
    {
        let name = if path.is_empty() { "<nil>" } else { path };
        let text = format!("{name:?} must not validate the schema (not)");
        causes.push(Cause::invalid(shown(path), value, &text));
    }
}

fn numeric(schema: &Value, number: f64, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let bound = |word: &str| schema.get(word).filter(|b| b.is_number());
    let mut refuse = |why: String| {
        causes.push(Cause::invalid(
            shown(path),
            value,
            &format!("{}{why}", in_body(path)),
        ))
    };
    if let Some(least) = bound("minimum") {
        let exclusive = marked(schema, "exclusiveMinimum");
        let limit = least.as_f64().unwrap_or(f64::MIN);
        if number < limit || (exclusive && number <= limit) {
            let or = if exclusive { "" } else { " or equal to" };
            refuse(format!("should be greater than{or} {least}"));
        }
    }
    if let Some(most) = bound("maximum") {
        let exclusive = marked(schema, "exclusiveMaximum");
        let limit = most.as_f64().unwrap_or(f64::MAX);
        if number > limit || (exclusive && number >= limit) {
            let or = if exclusive { "" } else { " or equal to" };
            refuse(format!("should be less than{or} {most}"));
        }
    }
    if let Some(step) = bound("multipleOf")
        && let Some(size) = step.as_f64().filter(|s| *s > 0.0)
        && (number / size).fract().abs() > 1e-9
    {
        refuse(format!("should be a multiple of {step}"));
    }
}

fn string(schema: &Value, text: &str, value: &Value, path: &str, causes: &mut Vec<Cause>) {
    let count = |word: &str| schema.get(word).and_then(Value::as_u64);
    let length = text.chars().count() as u64;
    if let Some(most) = count("maxLength").filter(|most| length > *most) {
        let message = format!("Too long: may not be more than {most} bytes");
        causes.push(Cause::new("FieldValueTooLong", message, shown(path)));
    }
    let mut refuse = |why: String| {
        causes.push(Cause::invalid(
            shown(path),
            value,
            &format!("{}{why}", in_body(path)),
        ))
    };
    if let Some(least) = count("minLength").filter(|least| length < *least) {
        refuse(format!("should be at least {least} chars long"));
    }
    if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
        // A pattern this library cannot read is not held against the object.
        if regex::Regex::new(pattern).is_ok_and(|regex| !regex.is_match(text)) {
            refuse(format!("should match '{pattern}'"));
        }
    }
    let fits = match schema.get("format").and_then(Value::as_str) {
        Some("date-time") => text.parse::<jiff::Timestamp>().is_ok(),
        Some("date") => text.parse::<jiff::civil::Date>().is_ok(),
        Some("ipv4") => text.parse::<std::net::Ipv4Addr>().is_ok(),
        Some("ipv6") => text.parse::<std::net::Ipv6Addr>().is_ok(),
        _ => true,
    };
    if !fits {
        let format = schema.get("format").and_then(Value::as_str).unwrap_or_default();
        refuse(format!("must be of type {format}: {value}"));
    }
}

fn array(schema: &Value, list: &[Value], value: &Value, path: &str, causes: &mut Vec<Cause>, depth: usize) {
    let count = |word: &str| schema.get(word).and_then(Value::as_u64);
    let length = list.len() as u64;
    if let Some(most) = count("maxItems").filter(|most| length > *most) {
        let message = format!("Too many: {length}: must have at most {most} items");
        causes.push(Cause::new("FieldValueTooMany", message, shown(path)));
    }
    if let Some(least) = count("minItems").filter(|least| length < *least) {
        let why = format!("{}should have at least {least} items", in_body(path));
        causes.push(Cause::invalid(shown(path), value, &why));
    }
    if let Some(items) = schema.get("items") {
        for (at, item) in list.iter().enumerate() {
            check(items, item, &format!("{path}[{at}]"), causes, depth + 1);
        }
    }
    let keys: Option<Vec<&str>> = match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => Some(Vec::new()),
        Some("map") => {
            let keys = schema
                .get("x-kubernetes-list-map-keys")
                .and_then(Value::as_array)
                .into_iter()
                .flatten();
            Some(keys.filter_map(Value::as_str).collect())
        }
        _ if marked(schema, "uniqueItems") => Some(Vec::new()),
        _ => None,
    };
    let Some(keys) = keys else { return };
    let mut seen = HashSet::new();
    for (at, item) in list.iter().enumerate() {
        let id = if keys.is_empty() {
            item.clone()
        } else {
            let of = |key: &&str| Some(((*key).to_owned(), item.get(*key)?.clone()));
            Value::Object(keys.iter().filter_map(of).collect::<Map<_, _>>())
        };
        if !seen.insert(id.to_string()) {
            causes.push(Cause::duplicate(format!("{path}[{at}]"), &id));
        }
    }
}

fn object(
    schema: &Value,
    map: &Map<String, Value>,
    value: &Value,
    path: &str,
    causes: &mut Vec<Cause>,
    depth: usize,
) {
    let count = |word: &str| schema.get(word).and_then(Value::as_u64);
    let at = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    for name in schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !map.contains_key(name) {
            causes.push(Cause::required(at(name), ""));
        }
    }
    let length = map.len() as u64;
    if let Some(most) = count("maxProperties").filter(|most| length > *most) {
        let message = format!("Too many: {length}: must have at most {most} items");
        causes.push(Cause::new("FieldValueTooMany", message, shown(path)));
    }
    if let Some(least) = count("minProperties").filter(|least| length < *least) {
        let why = format!("{}should have at least {least} properties", in_body(path));
        causes.push(Cause::invalid(shown(path), value, &why));
    }
    let properties = schema.get("properties");
    let additional = schema.get("additionalProperties").filter(|a| a.is_object());
    for (key, below) in map {
        // Metadata has rules of its own, which hold whatever a schema says.
        if depth == 0 && path.is_empty() && key == "metadata" {
            continue;
        }
        if let Some(schema) = properties.and_then(|p| p.get(key)).or(additional) {
            check(schema, below, &at(key), causes, depth + 1);
        }
    }
}
