//! Tables and partial metadata: the views of objects that `kubectl get` and metadata clients ask for.

use std::collections::HashMap;
use std::sync::LazyLock;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::kind::Kind;

mod cells;

/// What a row carries besides its cells: `includeObject=`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Include {
    /// Nothing.
    None,
    /// The object's metadata.
    #[default]
    Metadata,
    /// The whole object.
    Object,
}

impl Include {
    /// Parses the query parameter; anything unknown counts as the default.
    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "None" => Self::None,
            "Object" => Self::Object,
            _ => Self::Metadata,
        }
    }
}

/// How to render a table.
#[derive(Clone, Debug)]
pub(crate) struct TableOptions<'a> {
    /// `meta.k8s.io/v1` or `meta.k8s.io/v1beta1`.
    pub(crate) api_version: &'a str,
    /// The list's metadata: version, continue token and so on.
    pub(crate) metadata: Value,
    /// What rows carry.
    pub(crate) include: Include,
    /// Whether the columns are described. Later events of a watch leave them out.
    pub(crate) columns: bool,
}

/// Renders objects as a `Table`.
pub(crate) fn render(kind: &Kind, items: &[Value], options: &TableOptions<'_>, now: Timestamp) -> Value {
    let rows: Vec<Value> = items.iter().map(|item| row(kind, item, options, now)).collect();
    let definitions = if options.columns {
        columns(kind)
    } else {
        Value::Null
    };
    json!({
        "kind": "Table",
        "apiVersion": options.api_version,
        "metadata": options.metadata,
        "columnDefinitions": definitions,
        "rows": rows,
    })
}

fn row(kind: &Kind, object: &Value, options: &TableOptions<'_>, now: Timestamp) -> Value {
    let cells = if kind.custom {
        custom_cells(kind, object, now)
    } else {
        cells::builtin(kind, object, now)
    };
    let shown = match options.include {
        Include::None => Value::Null,
        Include::Metadata => partial(object, options.api_version),
        Include::Object => object.clone(),
    };
    let mut row = json!({"cells": cells, "object": shown});
    if let Some(done) = completed(kind, object) {
        row["conditions"] = json!([done]);
    }
    row
}

/// Rows of pods that have ended say so.
fn completed(kind: &Kind, object: &Value) -> Option<Value> {
    let phase = object
        .pointer("/status/phase")
        .filter(|_| kind.is_pod())?
        .as_str()?;
    let message = match phase {
        "Succeeded" => "The pod has completed successfully.",
        "Failed" => "The pod failed.",
        _ => return None,
    };
    Some(json!({"type": "Completed", "status": "True", "reason": phase, "message": message}))
}

/// An object's metadata alone, as `PartialObjectMetadata`.
pub(crate) fn partial(object: &Value, api_version: &str) -> Value {
    json!({
        "kind": "PartialObjectMetadata",
        "apiVersion": api_version,
        "metadata": object.get("metadata").cloned().unwrap_or_else(|| json!({})),
    })
}

/// Descriptions of the columns of a kind.
fn columns(kind: &Kind) -> Value {
    if kind.custom && !kind.columns.is_empty() {
        let mut all = vec![COLUMNS["default"][0].clone()];
        all.extend(kind.columns.iter().map(|column| {
            json!({
                "name": column.name,
                "type": column.kind,
                "format": column.format,
                "description": column.description,
                "priority": column.priority,
            })
        }));
        return Value::Array(all);
    }
    let name = if kind.custom {
        "custom".to_owned()
    } else {
        kind.group_kind()
    };
    Value::Array(COLUMNS.get(&name).unwrap_or_else(|| &COLUMNS["default"]).clone())
}

/// The columns of every kind, from the file beside this one.
static COLUMNS: LazyLock<HashMap<String, Vec<Value>>> = LazyLock::new(|| {
    let file: Value =
        serde_json::from_str(include_str!("table/columns.json")).expect("the file is checked by tests");
    let texts = &file["texts"];
    let column = |row: &Value| {
        let text = &row[4];
        let text = text.as_str().and_then(|key| texts.get(key)).unwrap_or(text);
        json!({"name": row[0], "type": row[1], "format": row[2], "priority": row[3], "description": text})
    };
    let kinds = file["kinds"].as_object().into_iter().flatten();
    kinds
        .map(|(kind, rows)| {
            (
                kind.clone(),
                rows.as_array().into_iter().flatten().map(column).collect(),
            )
        })
        .collect()
});

fn custom_cells(kind: &Kind, object: &Value, now: Timestamp) -> Vec<Value> {
    let name = object.pointer("/metadata/name").cloned().unwrap_or_default();
    if kind.columns.is_empty() {
        return vec![name, json!(age(object, now))];
    }
    let mut cells = vec![name];
    for column in &kind.columns {
        let value = at_path(object, &column.json_path);
        cells.push(match (column.kind.as_str(), value) {
            (_, None | Some(Value::Null)) => Value::Null,
            ("integer", Some(Value::Number(n))) => {
                n.as_f64().map_or(Value::Null, |n| json!(n.trunc() as i64))
            }
            ("number", Some(Value::Number(n))) => Value::Number(n),
            ("boolean", Some(Value::Bool(b))) => Value::Bool(b),
            ("string", Some(Value::String(text))) => Value::String(text),
            ("string", Some(other)) => Value::String(other.to_string()),
            ("date", Some(Value::String(text))) if text.parse::<Timestamp>().is_ok() => {
                json!(since(&text, now))
            }
            ("date", Some(Value::String(_))) => json!("<invalid>"),
            _ => Value::Null,
        });
    }
    cells
}

/// Follows the simple JSON paths of printer columns: fields, quoted fields, indexes, `[*]` and `[?(@.a=="b")]`.
fn at_path(object: &Value, path: &str) -> Option<Value> {
    let mut found: Vec<&Value> = vec![object];
    let mut many = false;
    let mut rest = path.trim_start_matches('$');
    while !rest.is_empty() {
        if let Some(inner) = rest.strip_prefix('[') {
            let end = inner.find(']')?;
            let step = &inner[..end];
            rest = &inner[end + 1..];
            if step == "*" {
                many = true;
                found = found.into_iter().flat_map(children).collect();
            } else if let Some(filter) = step.strip_prefix("?(@.").and_then(|f| f.strip_suffix(')')) {
                let (field, wanted) = filter.split_once("==")?;
                let wanted = wanted.trim().trim_matches(['"', '\'']);
                let field = field.trim();
                let matches = |item: &&Value| {
                    let value = field.split('.').try_fold(*item, |value, part| value.get(part));
                    value.is_some_and(|value| print(value) == wanted)
                };
                found = found.into_iter().flat_map(children).filter(matches).collect();
            } else if let Ok(index) = step.parse::<usize>() {
                found = found.into_iter().filter_map(|value| value.get(index)).collect();
            } else {
                let name = step.trim_matches(['"', '\'']);
                found = found.into_iter().filter_map(|value| value.get(name)).collect();
            }
            continue;
        }
        rest = rest.trim_start_matches('.');
        // A backslash protects a dot inside a name.
        let mut name = String::new();
        let mut chars = rest.char_indices();
        let mut end = rest.len();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => name.extend(chars.next().map(|(_, c)| c)),
                '.' | '[' => {
                    end = at;
                    break;
                }
                _ => name.push(c),
            }
        }
        rest = &rest[end..];
        if !name.is_empty() {
            found = found.into_iter().filter_map(|value| value.get(&name)).collect();
        }
    }
    if many && found.len() > 1 {
        let words = found
            .iter()
            .map(|v| v.as_str().map_or_else(|| v.to_string(), str::to_owned));
        return Some(Value::String(words.collect::<Vec<_>>().join(" ")));
    }
    found.first().map(|value| (*value).clone())
}

/// A value as text, strings without their quotes.
fn print(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(list) => list.iter().collect(),
        Value::Object(map) => Map::values(map).collect(),
        _ => Vec::new(),
    }
}

/// How long ago the object was made.
fn age(object: &Value, now: Timestamp) -> String {
    since(
        object
            .pointer("/metadata/creationTimestamp")
            .and_then(Value::as_str)
            .unwrap_or_default(),
        now,
    )
}

/// How long ago a time was, in the two largest units that matter.
fn since(time: &str, now: Timestamp) -> String {
    time.parse::<Timestamp>().map_or_else(
        |_| "<unknown>".to_owned(),
        |time| span(now.as_second() - time.as_second()),
    )
}

/// Prints a number of seconds as `kubectl` shows ages: `65s`, `3m33s`, `7h`, `2d4h`, `3y`.
fn span(seconds: i64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let pair = |large: i64, l: char, small: i64, s: char| {
        if small == 0 {
            format!("{large}{l}")
        } else {
            format!("{large}{l}{small}{s}")
        }
    };
    match seconds {
        ..=-2 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        _ if seconds < 120 => format!("{seconds}s"),
        _ if minutes < 10 => pair(minutes, 'm', seconds % 60, 's'),
        _ if minutes < 180 => format!("{minutes}m"),
        _ if hours < 8 => pair(hours, 'h', minutes % 60, 'm'),
        _ if hours < 48 => format!("{hours}h"),
        _ if days < 8 => pair(days, 'd', hours % 24, 'h'),
        _ if days < 730 => format!("{days}d"),
        _ if days < 2920 => pair(days / 365, 'y', days % 365, 'd'),
        _ => format!("{}y", days / 365),
    }
}

#[cfg(test)]
mod tests;
