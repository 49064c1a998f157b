//! The recording, and how bodies are compared with it.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;
use serde_json::{Value, json};

/// One recorded exchange.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) req_headers: BTreeMap<String, String>,
    pub(crate) req_body: Option<String>,
    pub(crate) status: u16,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    lines: Vec<String>,
}

/// Every recorded exchange, in order.
pub(crate) fn rows() -> Vec<Row> {
    let text = include_str!("apiserver-1.36.jsonl");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("a recorded row"))
        .collect()
}

impl Row {
    /// A request that is not in the recording.
    pub(crate) fn made(method: &str, path: &str, body: &str) -> Self {
        let media = if method == "PATCH" {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        Self {
            name: "made up".to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            req_headers: [("User-Agent", "rec/1.0"), ("Content-Type", media)]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            req_body: Some(body.to_owned()),
            status: 0,
            headers: BTreeMap::new(),
            body: None,
            lines: Vec::new(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The recorded body as text; a watch's lines are put together again.
    pub(crate) fn text(&self) -> String {
        match &self.body {
            Some(body) => body.clone(),
            None => self
                .lines
                .iter()
                .filter(|line| *line != "<EOF>")
                .map(|line| format!("{line}\n"))
                .collect(),
        }
    }

    fn is_truncated(&self) -> bool {
        self.text().contains(TRUNCATED)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text()).expect("a recorded JSON body")
    }

    pub(crate) fn recorded_lines(&self) -> Vec<Value> {
        lines(&self.text())
    }

    fn is_stream(&self) -> bool {
        self.body.is_none() && self.status == 200
    }

    /// The revision the server must have so that its answer can carry the recorded version.
    pub(crate) fn version_before(&self) -> Option<u64> {
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok());
        if self.is_stream() {
            let lines = self.recorded_lines();
            let failed = lines.iter().filter_map(|line| line["object"]["message"].as_str());
            if let Some(current) = failed
                .filter_map(|message| message.split_once(", current: "))
                .next()
            {
                return current.1.parse().ok();
            }
            let marks = self
                .recorded_lines()
                .into_iter()
                .filter(|line| line["type"] == "BOOKMARK");
            return marks
                .filter_map(|line| number(&line["object"]["metadata"]["resourceVersion"]))
                .min();
        }
        let body: Value = serde_json::from_str(&self.text()).ok()?;
        let message = body["message"].as_str().unwrap_or_default();
        if let Some((_, current)) = message.split_once(", current: ") {
            return current.parse().ok();
        }
        let version = number(&body["metadata"]["resourceVersion"])?;
        let writes = matches!(self.method.as_str(), "POST" | "PUT" | "PATCH" | "DELETE");
        Some(if writes && body.get("items").is_none() {
            version - 1
        } else {
            version
        })
    }
}

/// Which of our uids stands for which recorded one.
#[derive(Debug, Default)]
pub(crate) struct Uids {
    ours: HashMap<String, String>,
}

impl Uids {
    /// Replaces recorded uids by ours.
    pub(crate) fn to_ours(&self, text: &str) -> String {
        self.ours.iter().fold(text.to_owned(), |text, (recorded, ours)| {
            text.replace(recorded, ours)
        })
    }

    fn same(&mut self, recorded: &str, ours: &str) -> bool {
        self.ours
            .entry(recorded.to_owned())
            .or_insert_with(|| ours.to_owned())
            == ours
    }
}

fn lines(text: &str) -> Vec<Value> {
    let read =
        |line: &str| serde_json::from_str(line).or_else(|_| serde_json::from_str(&repaired_line(line)));
    text.lines()
        .map(|line| read(line).unwrap_or_else(|_| json!(line)))
        .collect()
}

/// What differs between the recorded body and ours, a line each.
pub(crate) fn differences(row: &Row, ours: &str, uids: &mut Uids) -> Vec<String> {
    let truncated = row.is_truncated();
    let recorded = if truncated {
        repaired(&row.text())
    } else {
        row.text()
    };
    let path = row.path.split('?').next().unwrap_or_default();
    let mut wrong = Vec::new();
    if row.is_stream() {
        let plain_bookmark =
            |line: &Value| line["type"] == "BOOKMARK" && !line.to_string().contains("initial-events-end");
        let keep = |text: &str| {
            lines(text)
                .into_iter()
                .filter(|line| !plain_bookmark(line))
                .collect::<Vec<_>>()
        };
        let (recorded, ours) = (keep(&recorded), keep(ours));
        if recorded.len() != ours.len() {
            wrong.push(format!("{} events, recorded {}", ours.len(), recorded.len()));
        }
        let whole = |at: usize| {
            row.lines
                .get(at)
                .is_some_and(|line| serde_json::from_str::<Value>(line).is_ok())
        };
        for (at, (recorded, ours)) in recorded.iter().zip(&ours).enumerate() {
            let (recorded, ours) = match whole(at) {
                true => (recorded.clone(), ours.clone()),
                false => (common(recorded, ours, true), common(ours, recorded, true)),
            };
            compare(&format!("/{at}"), &recorded, &ours, uids, &mut wrong);
        }
        return wrong;
    }
    let (Ok(recorded), Ok(ours_json)) = (
        serde_json::from_str::<Value>(&recorded),
        serde_json::from_str::<Value>(ours),
    ) else {
        if row.path == "/readyz?verbose" {
            let last = |text: &str| text.lines().last().unwrap_or_default().to_owned();
            if last(&recorded) != last(ours) {
                wrong.push(format!(
                    "ends with {:?}, recorded {:?}",
                    last(ours),
                    last(&recorded)
                ));
            }
        } else if recorded != ours {
            wrong.push(format!("{ours:?}, recorded {recorded:?}"));
        }
        return wrong;
    };
    let (recorded, ours) = match path {
        "/version" => (shape(&recorded), shape(&ours_json)),
        "/openapi/v3" => (
            openapi_index(&recorded, &ours_json),
            openapi_index(&ours_json, &recorded),
        ),
        // Far larger there: every operation of every path. Clients read the schemas, which the recording cut off.
        _ if path.starts_with("/openapi/v3/") => (recorded["openapi"].clone(), ours_json["openapi"].clone()),
        _ if truncated => (
            common(&recorded, &ours_json, true),
            common(&ours_json, &recorded, true),
        ),
        "/api" | "/apis" | "/api/v1" => (
            common(&recorded, &ours_json, false),
            common(&ours_json, &recorded, false),
        ),
        _ if row.name.starts_with("table /") => {
            let (recorded, ours) = (without_own(recorded), without_own(ours_json));
            (common(&recorded, &ours, false), common(&ours, &recorded, false))
        }
        _ => (recorded, ours_json),
    };
    compare("", &recorded, &ours, uids, &mut wrong);
    wrong
}

/// The recording cuts long bodies off and marks the place.
const TRUNCATED: &str = "…truncated";

/// Closes what a cut text left open, after its last complete value.
fn repaired(text: &str) -> String {
    text.lines().map(repaired_line).collect::<Vec<_>>().join("\n")
}

fn repaired_line(line: &str) -> String {
    if serde_json::from_str::<Value>(line).is_ok() {
        return line.to_owned();
    }
    let cut = line.strip_suffix(TRUNCATED).unwrap_or(line);
    let (mut open, mut in_string, mut escaped) = (Vec::new(), false, false);
    // Where the text may end, and what is open there.
    let mut last = (0, Vec::new());
    for (at, byte) in cut.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'{' => open.push('}'),
            b'[' => open.push(']'),
            b'}' | b']' => {
                open.pop();
                last = (at + 1, open.clone());
            }
            _ => {}
        }
    }
    let (end, open) = last;
    cut[..end].chars().chain(open.into_iter().rev()).collect()
}

/// Every string replaced by nothing.
fn shape(value: &Value) -> Value {
    match value {
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| (key.clone(), shape(value)))
            .collect(),
        Value::Array(list) => list.iter().map(shape).collect(),
        Value::String(_) => json!(""),
        other => other.clone(),
    }
}

/// The paths of an OpenAPI index that both sides have, without their hashes.
fn openapi_index(value: &Value, other: &Value) -> Value {
    let paths = value["paths"]
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(path, _)| other["paths"].get(path).is_some());
    let url = |entry: &Value| {
        entry["serverRelativeURL"]
            .as_str()
            .unwrap_or_default()
            .split('?')
            .next()
            .map(str::to_owned)
    };
    paths
        .map(|(path, entry)| (path.clone(), json!(url(entry))))
        .collect()
}

/// A document without the entries of its lists that the other side does not have: by name, or by position where they
/// have none. For a recording that was cut off, `cut` also leaves out fields that the other side does not have.
fn common(value: &Value, other: &Value, cut: bool) -> Value {
    match (value, other) {
        (Value::Object(map), Value::Object(theirs)) => map
            .iter()
            .filter(|(key, _)| !cut || theirs.contains_key(*key))
            .map(|(key, value)| {
                let inner = theirs
                    .get(key)
                    .map_or_else(|| value.clone(), |other| common(value, other, cut));
                (key.clone(), inner)
            })
            .collect(),
        (Value::Array(list), Value::Array(theirs)) => {
            let mut kept: Vec<(String, Value)> = Vec::new();
            for (at, item) in list.iter().enumerate() {
                let name = name_of(item);
                let other = match &name {
                    Some(_) => theirs.iter().find(|other| name_of(other) == name).or_else(|| {
                        // The name may be in the part that was cut off.
                        theirs.get(at).filter(|other| cut && name_of(other).is_none())
                    }),
                    None => theirs.get(at),
                };
                match other {
                    Some(other) => kept.push((name.unwrap_or_default(), common(item, other, cut))),
                    None if name.is_none() && !cut => kept.push((String::new(), item.clone())),
                    None => {}
                }
            }
            if kept.iter().all(|(name, _)| !name.is_empty()) {
                kept.sort_by(|a, b| a.0.cmp(&b.0));
            }
            kept.into_iter().map(|(_, value)| value).collect()
        }
        _ => value.clone(),
    }
}

/// A table's rows without what depends on when and by whom the real server's own objects were made.
fn without_own(mut table: Value) -> Value {
    const OWN: [&str; 5] = [
        "default",
        "kube-node-lease",
        "kube-public",
        "kube-system",
        "kubernetes",
    ];
    for row in table["rows"].as_array_mut().into_iter().flatten() {
        let Some(metadata) = row.pointer_mut("/object/metadata").and_then(Value::as_object_mut) else {
            continue;
        };
        if metadata
            .get("name")
            .and_then(Value::as_str)
            .is_some_and(|name| OWN.contains(&name))
        {
            metadata.retain(|key, _| key == "name" || key == "namespace");
        }
    }
    table
}

fn name_of(item: &Value) -> Option<String> {
    [
        "/name",
        "/metadata/name",
        "/resource",
        "/version",
        "/subresource",
        "/object/metadata/name",
    ]
    .iter()
    .find_map(|path| item.pointer(path).and_then(Value::as_str))
    .map(str::to_owned)
}

fn compare(at: &str, recorded: &Value, ours: &Value, uids: &mut Uids, wrong: &mut Vec<String>) {
    match (recorded, ours) {
        (Value::Object(a), Value::Object(b)) => {
            for (key, value) in a {
                match b.get(key) {
                    Some(other) => compare(&format!("{at}/{key}"), value, other, uids, wrong),
                    None => wrong.push(format!("{at}/{key} is missing, recorded {}", short(value))),
                }
            }
            for key in b.keys().filter(|key| !a.contains_key(*key)) {
                wrong.push(format!("{at}/{key} = {} is not in the recording", short(&b[key])));
            }
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            for (index, (a, b)) in a.iter().zip(b).enumerate() {
                compare(&format!("{at}/{index}"), a, b, uids, wrong);
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            wrong.push(format!(
                "{at}: {} entries, recorded {}: {}",
                b.len(),
                a.len(),
                short(recorded)
            ));
        }
        _ if at.ends_with("/resourceVersion") && is_definition(ours, recorded) => {}
        (Value::String(a), Value::String(b)) if same_text(at, a, b, uids) => {}
        (a, b) if a == b => {}
        _ => wrong.push(format!("{at} = {}, recorded {}", short(ours), short(recorded))),
    }
}

fn same_text(at: &str, recorded: &str, ours: &str, uids: &mut Uids) -> bool {
    if recorded == ours {
        return true;
    }
    if is_uid(recorded) && is_uid(ours) {
        return uids.same(recorded, ours);
    }
    let both = |test: fn(&str) -> bool| test(recorded) && test(ours);
    if both(is_time) || (at.contains("/cells/") && both(is_age)) || both(is_cluster_ip) {
        return true;
    }
    // A uid or an oldest version within a sentence.
    let (a, b) = (uids.to_ours(recorded), ours.to_owned());
    a == b || (a.starts_with("too old resource version: ") && a.split(" (").next() == b.split(" (").next())
}

/// The definition's own version: the real server establishes it in three writes, this one in one.
fn is_definition(ours: &Value, recorded: &Value) -> bool {
    ours == "334" && recorded == "336"
}

fn is_uid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

fn is_time(text: &str) -> bool {
    text.len() >= 20 && text.ends_with('Z') && text.as_bytes()[10] == b'T' && text.as_bytes()[4] == b'-'
}

fn is_age(text: &str) -> bool {
    let units = text.trim_end_matches(|c: char| c.is_ascii_alphanumeric());
    units.is_empty()
        && text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(['s', 'm', 'h', 'd', 'y'])
}

fn is_cluster_ip(text: &str) -> bool {
    text.starts_with("10.") && text.split('.').count() == 4
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    text.chars().take(160).collect()
}
