//! One stored object: encoded once, as the watch line it caused, with what selectors need parsed out of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value};

/// Where an object lives within its kind: namespace (empty for cluster-scoped kinds), then name. Lists are in this order.
pub(crate) type Key = (Box<str>, Box<str>);

/// What happened to an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
}

impl EventType {
    /// The opening of a watch line, up to the object.
    pub(crate) const fn opening(self) -> &'static [u8] {
        match self {
            Self::Added => b"{\"type\":\"ADDED\",\"object\":",
            Self::Modified => b"{\"type\":\"MODIFIED\",\"object\":",
            Self::Deleted => b"{\"type\":\"DELETED\",\"object\":",
        }
    }
}

/// How a kind's objects open: `{"kind":K,"apiVersion":V,` for built-in kinds, the other way round for custom ones.
#[derive(Clone, Debug)]
pub(crate) struct Opening {
    bytes: Bytes,
    items_carry_type: bool,
}

impl Opening {
    pub(crate) fn new(kind: &str, api_version: &str, custom: bool) -> Self {
        let (kind_json, version_json) = (Value::from(kind), Value::from(api_version));
        let text = if custom {
            format!("{{\"apiVersion\":{version_json},\"kind\":{kind_json},")
        } else {
            format!("{{\"kind\":{kind_json},\"apiVersion\":{version_json},")
        };
        Self {
            bytes: Bytes::from(text),
            items_carry_type: custom,
        }
    }

    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Built-in kinds leave kind and apiVersion out of list items, custom kinds keep them.
    pub(crate) fn items_carry_type(&self) -> bool {
        self.items_carry_type
    }
}

/// An object as stored. The bytes are the whole watch line of the write that made it; the object is a slice of them.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) namespace: Box<str>,
    pub(crate) name: Box<str>,
    pub(crate) uid: Box<str>,
    pub(crate) version: u64,
    pub(crate) labels: BTreeMap<String, String>,
    /// Values of the kind's selectable fields beyond name and namespace.
    pub(crate) fields: BTreeMap<String, String>,
    line: Bytes,
    json_at: usize,
    body_at: usize,
    metadata_end: usize,
    opening_kind: EventType,
}

impl Stored {
    /// Encodes `object`, which must already carry its name, uid and `version`.
    pub(crate) fn encode(
        object: &Value,
        version: u64,
        opening: &Opening,
        event: EventType,
        fields: BTreeMap<String, String>,
    ) -> Self {
        let metadata = object.get("metadata");
        let text = |field: &str| {
            metadata
                .and_then(|m| m.get(field))
                .and_then(Value::as_str)
                .unwrap_or_default()
                .into()
        };
        let labels = metadata
            .and_then(|m| m.get("labels"))
            .and_then(Value::as_object)
            .map(|labels| {
                labels
                    .iter()
                    .filter_map(|(k, v)| v.as_str().map(|v| (k.clone(), v.to_owned())))
                    .collect()
            })
            .unwrap_or_default();
        let mut line = Vec::with_capacity(512);
        line.extend_from_slice(event.opening());
        let json_at = line.len();
        line.extend_from_slice(opening.bytes());
        let body_at = line.len();
        let metadata_end = encode_body(object, &mut line);
        line.extend_from_slice(b"}\n");
        line.shrink_to_fit();
        Self {
            namespace: text("namespace"),
            name: text("name"),
            uid: text("uid"),
            version,
            labels,
            fields,
            line: Bytes::from(line),
            json_at,
            body_at,
            metadata_end,
            opening_kind: event,
        }
    }

    pub(crate) fn key(&self) -> Key {
        (self.namespace.clone(), self.name.clone())
    }

    /// The watch line, when it is wanted under the event type it was written with.
    pub(crate) fn line(&self, event: EventType) -> Option<&Bytes> {
        (event == self.opening_kind).then_some(&self.line)
    }

    /// The object and the end of its watch line: what follows [`EventType::opening`].
    pub(crate) fn line_tail(&self) -> Bytes {
        self.line.slice(self.json_at..)
    }

    /// The object as JSON.
    pub(crate) fn json(&self) -> Bytes {
        self.line.slice(self.json_at..self.line.len() - 2)
    }

    /// The object without its opening: `"metadata":{…},…}`.
    pub(crate) fn body(&self) -> Bytes {
        self.line.slice(self.body_at..self.line.len() - 2)
    }

    /// The object's metadata alone: `"metadata":{…}`.
    pub(crate) fn metadata(&self) -> Bytes {
        self.line.slice(self.body_at..self.metadata_end)
    }

    /// This state under another version, as a watcher gets it whose selector the object left.
    pub(crate) fn at_version(&self, version: u64) -> Self {
        // Names can't hold quotes, so the first match is the version we wrote ourselves.
        let old = format!("\"resourceVersion\":\"{}\"", self.version);
        let new = format!("\"resourceVersion\":\"{version}\"");
        let json = &self.line[self.json_at..];
        let at = memchr::memmem::find(json, old.as_bytes()).unwrap_or(json.len());
        let rest = (at + old.len()).min(json.len());
        let opening = EventType::Deleted.opening();
        let mut line = Vec::with_capacity(opening.len() + json.len() + new.len());
        line.extend_from_slice(opening);
        line.extend_from_slice(&json[..at]);
        line.extend_from_slice(new.as_bytes());
        line.extend_from_slice(&json[rest..]);
        let moved = |offset: usize| offset - self.json_at + opening.len();
        Self {
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            uid: self.uid.clone(),
            version,
            labels: self.labels.clone(),
            fields: self.fields.clone(),
            json_at: opening.len(),
            body_at: moved(self.body_at),
            metadata_end: moved(self.metadata_end) + new.len() - old.len(),
            opening_kind: EventType::Deleted,
            line: Bytes::from(line),
        }
    }

    /// Another object in the place and version of this one.
    pub(crate) fn replaced(&self, object: &Value, opening: &Opening) -> Self {
        let stored = Self::encode(
            object,
            self.version,
            opening,
            self.opening_kind,
            self.fields.clone(),
        );
        Self {
            labels: self.labels.clone(),
            ..stored
        }
    }

    /// The object parsed again; the stored bytes are our own, so this can't fail.
    pub(crate) fn value(&self) -> Value {
        serde_json::from_slice(&self.line[self.json_at..self.line.len() - 2])
            .expect("stored bytes are valid JSON")
    }
}

/// Writes everything but kind and apiVersion: metadata first, then the other fields by name, then the closing brace.
/// Returns where the metadata ends.
fn encode_body(object: &Value, out: &mut Vec<u8>) -> usize {
    let empty = Map::new();
    let object = object.as_object().unwrap_or(&empty);
    out.extend_from_slice(b"\"metadata\":");
    match object.get("metadata").and_then(Value::as_object) {
        Some(metadata) => encode_metadata(metadata, out),
        None => out.extend_from_slice(b"{}"),
    }
    let metadata_end = out.len();
    for (name, value) in object {
        if !matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
            out.push(b',');
            encode(name, out);
            out.push(b':');
            encode(value, out);
        }
    }
    out.push(b'}');
    metadata_end
}

/// Metadata in the order of the API's own encoder, so that sizes and access patterns are like a real server's.
fn encode_metadata(metadata: &Map<String, Value>, out: &mut Vec<u8>) {
    const ORDER: [&str; 14] = [
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "labels",
        "annotations",
        "ownerReferences",
        "finalizers",
        "managedFields",
    ];
    let known = ORDER.iter().filter_map(|name| metadata.get_key_value(*name));
    let others = metadata
        .iter()
        .filter(|(name, _)| !ORDER.contains(&name.as_str()));
    let mut first = true;
    for (name, value) in known.chain(others) {
        out.push(if first { b'{' } else { b',' });
        first = false;
        encode(name, out);
        out.push(b':');
        encode(value, out);
    }
    if first {
        out.push(b'{');
    }
    out.push(b'}');
}

fn encode<T: serde::Serialize + ?Sized>(value: &T, out: &mut Vec<u8>) {
    serde_json::to_writer(out, value).expect("writing JSON values to memory can't fail");
}
