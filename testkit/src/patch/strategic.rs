//! Strategic merge patch: a merge patch whose lists merge by key, with directives.

use serde_json::{Map, Value, json};

use super::shape::Place;
use crate::status::ApiError;

/// Merges a patch into an object of a built-in kind.
///
/// # Errors
/// 500 for a directive the server does not know, or an item without its key.
pub(super) fn merge(object: &mut Value, patch: &Value, place: Place<'_>) -> Result<(), ApiError> {
    let Some(patch) = patch.as_object() else {
        *object = patch.clone();
        return Ok(());
    };
    match patch.get("$patch").and_then(Value::as_str) {
        None | Some("merge") => {}
        Some("replace") => {
            let kept = patch.iter().filter(|(key, _)| *key != "$patch");
            *object = Value::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect());
            return Ok(());
        }
        Some("delete") => {
            *object = json!({});
            return Ok(());
        }
        Some(other) => return Err(unknown_directive(other, &Value::Object(patch.clone()))),
    }
    if !object.is_object() {
        *object = json!({});
    }
    let Some(fields) = object.as_object_mut() else {
        return Ok(());
    };
    retain_keys(fields, patch);
    for (key, value) in patch {
        if let Some(name) = key.strip_prefix("$deleteFromPrimitiveList/") {
            let gone = value.as_array().cloned().unwrap_or_default();
            if let Some(list) = fields.get_mut(name).and_then(Value::as_array_mut) {
                list.retain(|item| !gone.contains(item));
            }
        } else if !key.starts_with('$') {
            field(fields, key, value, place.field(key))?;
        }
    }
    for (key, order) in patch {
        if let Some(name) = key.strip_prefix("$setElementOrder/")
            && let Some(list) = fields.get_mut(name).and_then(Value::as_array_mut)
        {
            reorder(list, order, place.field(name).merge_key());
        }
    }
    Ok(())
}

/// The real server has no better name for such a patch than an error of its own.
fn unknown_directive(word: &str, patch: &Value) -> ApiError {
    ApiError::untyped(format!(
        "unknown patch type: {word} in map: {}",
        super::go_print(patch)
    ))
}

/// `$retainKeys` names the only fields that may stay.
fn retain_keys(fields: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if let Some(kept) = patch.get("$retainKeys").and_then(Value::as_array) {
        fields.retain(|key, _| kept.iter().any(|k| k == key));
    }
}

fn field(
    fields: &mut Map<String, Value>,
    key: &str,
    value: &Value,
    place: Place<'_>,
) -> Result<(), ApiError> {
    match value {
        Value::Null => {
            fields.remove(key);
        }
        Value::Object(map) => {
            // A map that is deleted stays, empty; one that is not there stays away.
            let deleted = map.get("$patch").is_some_and(|p| p == "delete");
            if !deleted || fields.contains_key(key) {
                merge(fields.entry(key).or_insert_with(|| json!({})), value, place)?;
            }
        }
        Value::Array(items) => {
            let slot = fields.entry(key).or_insert_with(|| json!([]));
            if !slot.is_array() {
                *slot = json!([]);
            }
            if let Some(list) = slot.as_array_mut() {
                merge_list(list, items, place)?;
            }
        }
        plain => {
            fields.insert(key.to_owned(), plain.clone());
        }
    }
    Ok(())
}

fn merge_list(list: &mut Vec<Value>, items: &[Value], place: Place<'_>) -> Result<(), ApiError> {
    if items
        .iter()
        .any(|item| item.get("$patch").is_some_and(|p| p == "replace"))
    {
        *list = items
            .iter()
            .filter(|item| item.get("$patch").is_none())
            .cloned()
            .collect();
        return Ok(());
    }
    if place.merges_values() {
        for item in items {
            if !list.contains(item) {
                list.push(item.clone());
            }
        }
        return Ok(());
    }
    let Some(key) = place.merge_key() else {
        *list = items.to_vec();
        return Ok(());
    };
    for item in items {
        let Some(id) = item.get(key) else {
            return Err(ApiError::untyped(format!(
                "map: {} does not contain declared merge key: {key}",
                super::go_print(item)
            )));
        };
        let found = list.iter().position(|own| own.get(key) == Some(id));
        match (item.get("$patch").and_then(Value::as_str), found) {
            (Some("delete"), found) => {
                if found.is_some() {
                    list.retain(|own| own.get(key) != Some(id));
                }
            }
            (None | Some("merge"), Some(at)) => merge(&mut list[at], item, place.item())?,
            (None | Some("merge"), None) => {
                let mut fresh = json!({});
                merge(&mut fresh, item, place.item())?;
                list.push(fresh);
            }
            (Some(other), _) => return Err(unknown_directive(other, item)),
        }
    }
    Ok(())
}

/// Puts the listed items in the listed order; those not listed keep their place relative to what stood before them.
fn reorder(list: &mut [Value], order: &Value, key: Option<&str>) {
    let Some(order) = order.as_array() else { return };
    let id =
        |item: &Value| key.map_or_else(|| item.clone(), |key| item.get(key).cloned().unwrap_or_default());
    let rank = |item: &Value| order.iter().position(|wanted| id(wanted) == id(item));
    let mut ranked = Vec::with_capacity(list.len());
    let mut last = 0;
    for item in list.iter() {
        last = rank(item).map_or(last, |rank| rank + 1);
        ranked.push(last);
    }
    let mut places: Vec<usize> = (0..list.len()).collect();
    places.sort_by_key(|at| ranked[*at]);
    let sorted: Vec<Value> = places.into_iter().map(|at| list[at].clone()).collect();
    list.clone_from_slice(&sorted);
}
