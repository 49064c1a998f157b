//! The scale subresource: an `autoscaling/v1` `Scale` made from an object, and written back into it.

use serde_json::{Value, json};

use crate::kind::{Kind, ScalePaths};
use crate::status::{ApiError, Cause};

/// The `Scale` of an object, or `None` where the kind has none.
pub(crate) fn scale_of(kind: &Kind, object: &Value) -> Option<Value> {
    let paths = kind.scale.as_ref()?;
    let number = |path: &str| at(object, path).and_then(Value::as_i64);
    let mut metadata = json!({});
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{field}")) {
            metadata[field] = value.clone();
        }
    }
    let replicas = number(&paths.spec_replicas);
    let mut spec = json!({});
    if let Some(replicas) = replicas.filter(|n| *n != 0) {
        spec["replicas"] = json!(replicas);
    }
    let mut status = json!({"replicas": number(&paths.status_replicas).unwrap_or(0)});
    let selector = match &paths.label_selector {
        Some(path) => at(object, path)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        None if !kind.custom => print_selector(object.pointer("/spec/selector")),
        None => String::new(),
    };
    if !selector.is_empty() {
        status["selector"] = json!(selector);
    }
    Some(json!({
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": metadata,
        "spec": spec,
        "status": status,
    }))
}

/// The object with the replica count of a `Scale`, ready for [`super::update`] with [`super::Target::Scale`].
///
/// # Errors
/// 422 for a count that is none, or negative.
pub(crate) fn scale_to_object(kind: &Kind, current: &Value, scale: &Value) -> Result<Value, ApiError> {
    let name = current
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let Some(paths) = kind.scale.as_ref() else {
        return Err(ApiError::resource_not_found());
    };
    let replicas = match scale.pointer("/spec/replicas") {
        None | Some(Value::Null) => 0,
        Some(value) => value.as_i64().ok_or_else(|| {
            let why =
                "json: cannot unmarshal string into Go struct field ScaleSpec.spec.replicas of type int32";
            let cause = Cause::invalid("patch", &Value::String(scale.to_string()), why);
            ApiError::invalid_kind("", "", "", vec![cause])
        })?,
    };
    if replicas < 0 {
        let cause = Cause::invalid(
            "spec.replicas",
            &json!(replicas),
            "must be greater than or equal to 0",
        );
        return Err(ApiError::invalid_kind("autoscaling", "Scale", name, vec![cause]));
    }
    let mut object = current.clone();
    if let Some(version) = scale
        .pointer("/metadata/resourceVersion")
        .filter(|v| v.is_string())
    {
        object["metadata"]["resourceVersion"] = version.clone();
    }
    set(&mut object, &paths.spec_replicas, json!(replicas));
    Ok(object)
}

/// Counts of a custom object must be numbers, or its scale could not be shown.
pub(super) fn validate(paths: &ScalePaths, object: &Value, causes: &mut Vec<Cause>) {
    for path in [&paths.spec_replicas, &paths.status_replicas] {
        let wrong = match at(object, path) {
            None | Some(Value::Null) => None,
            Some(Value::Number(n)) if n.is_i64() => {
                (n.as_i64() < Some(0)).then(|| "should be a non-negative integer".to_owned())
            }
            Some(value) => {
                let shown = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                let found = match value {
                    Value::String(_) => "string",
                    Value::Bool(_) => "bool",
                    Value::Number(_) => "float64",
                    Value::Array(_) => "[]interface {}",
                    Value::Object(_) | Value::Null => "map[string]interface {}",
                };
                Some(format!(
                    "{path} accessor error: {shown} is of the type {found}, expected int64"
                ))
            }
        };
        if let Some(why) = wrong {
            causes.push(Cause::invalid(path.clone(), &json!(0), &why));
        }
    }
}

fn at<'a>(object: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.')
        .filter(|part| !part.is_empty())
        .try_fold(object, |value, part| value.get(part))
}

fn set(object: &mut Value, path: &str, value: Value) {
    let mut slot = object;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        if !slot.is_object() {
            *slot = json!({});
        }
        slot = &mut slot[part];
    }
    *slot = value;
}

/// A selector as text: `a=b,c in (d,e)`.
pub(crate) fn print_selector(selector: Option<&Value>) -> String {
    let Some(selector) = selector.and_then(Value::as_object) else {
        return String::new();
    };
    let plain = |map: &Value| -> Vec<String> {
        let pairs = map.as_object().into_iter().flatten();
        pairs
            .map(|(key, value)| format!("{key}={}", value.as_str().unwrap_or_default()))
            .collect()
    };
    if !selector.contains_key("matchLabels") && !selector.contains_key("matchExpressions") {
        return plain(&Value::Object(selector.clone())).join(",");
    }
    let mut terms = selector.get("matchLabels").map(plain).unwrap_or_default();
    for expression in selector
        .get("matchExpressions")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |field: &str| expression.get(field).and_then(Value::as_str).unwrap_or_default();
        let values = expression
            .get("values")
            .and_then(Value::as_array)
            .into_iter()
            .flatten();
        let values = values.filter_map(Value::as_str).collect::<Vec<_>>().join(",");
        let key = text("key");
        terms.push(match text("operator") {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "Exists" => key.to_owned(),
            _ => format!("!{key}"),
        });
    }
    terms.join(",")
}
