//! `metadata.managedFields`: who wrote which field.

use serde_json::{Map, Value, json};

use super::fields::{FieldSet, compare};
use super::shape::{Place, over_skeleton, skeleton};
use crate::kind::Kind;
use crate::write::{Target, WriteContext};

/// How a manager came by its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Operation {
    /// By server-side apply: what it stops stating is removed.
    Apply,
    /// By any other write.
    Update,
}

/// The fields of one manager.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) manager: String,
    pub(crate) operation: Operation,
    pub(crate) api_version: String,
    pub(crate) time: Option<String>,
    pub(crate) subresource: String,
    pub(crate) fields: FieldSet,
}

/// Beyond this many managers by update, the oldest are counted as one.
const UPDATE_MANAGERS_MAX: usize = 10;

impl Entry {
    fn from_value(value: &Value) -> Option<Self> {
        let text = |field: &str| {
            value
                .get(field)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let operation = match text("operation").as_str() {
            "Apply" => Operation::Apply,
            "Update" => Operation::Update,
            _ => return None,
        };
        Some(Self {
            manager: text("manager"),
            operation,
            api_version: text("apiVersion"),
            time: value.get("time").and_then(Value::as_str).map(str::to_owned),
            subresource: text("subresource"),
            fields: FieldSet::from_value(value.get("fieldsV1").unwrap_or(&Value::Null)),
        })
    }

    fn to_value(&self) -> Value {
        let mut map = Map::new();
        let operation = if self.operation == Operation::Apply {
            "Apply"
        } else {
            "Update"
        };
        map.insert("manager".to_owned(), json!(self.manager));
        map.insert("operation".to_owned(), json!(operation));
        map.insert("apiVersion".to_owned(), json!(self.api_version));
        map.extend(self.time.iter().map(|time| ("time".to_owned(), json!(time))));
        map.insert("fieldsType".to_owned(), json!("FieldsV1"));
        map.insert("fieldsV1".to_owned(), self.fields.to_value());
        if !self.subresource.is_empty() {
            map.insert("subresource".to_owned(), json!(self.subresource));
        }
        Value::Object(map)
    }

    /// Whether both speak for the same manager.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.api_version == other.api_version
            && self.subresource == other.subresource
    }
}

/// Reads the entries of an object.
pub(crate) fn read(list: Option<&Value>) -> Vec<Entry> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Entry::from_value)
        .collect()
}

/// Writes entries into an object, those without fields left out.
pub(crate) fn record(object: &mut Value, mut entries: Vec<Entry>) {
    entries.retain(|entry| !entry.fields.is_empty());
    entries.sort_by(|a, b| {
        let key = |e: &Entry| {
            (
                e.operation,
                e.time.clone(),
                e.manager.clone(),
                e.api_version.clone(),
                e.subresource.clone(),
            )
        };
        key(a).cmp(&key(b))
    });
    cap(&mut entries);
    let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) else {
        return;
    };
    if entries.is_empty() {
        meta.remove("managedFields");
    } else {
        meta.insert(
            "managedFields".to_owned(),
            entries.iter().map(Entry::to_value).collect(),
        );
    }
}

fn cap(entries: &mut Vec<Entry>) {
    loop {
        let updates: Vec<usize> = (0..entries.len())
            .filter(|at| entries[*at].operation == Operation::Update)
            .collect();
        let [first, second, ..] = updates.as_slice() else {
            return;
        };
        if updates.len() <= UPDATE_MANAGERS_MAX {
            return;
        }
        let gone = entries.remove(*second);
        let kept = &mut entries[*first];
        "ancient-changes".clone_into(&mut kept.manager);
        kept.fields = kept.fields.union(&gone.fields);
        kept.time = gone.time;
    }
}

/// Fields nobody owns: the server's own.
pub(crate) fn strip(kind: &Kind, target: Target, set: &mut FieldSet) {
    for field in ["f:apiVersion", "f:kind"] {
        set.remove_tree(&[field]);
    }
    for field in [
        "f:name",
        "f:namespace",
        "f:creationTimestamp",
        "f:deletionTimestamp",
        "f:deletionGracePeriodSeconds",
        "f:selfLink",
        "f:uid",
        "f:generation",
        "f:managedFields",
        "f:resourceVersion",
    ] {
        set.remove_tree(&["f:metadata", field]);
    }
    match target {
        Target::Main | Target::Scale if kind.status => set.remove_tree(&["f:status"]),
        Target::Main | Target::Scale => {}
        Target::Status => set.keep_tree("f:status"),
        Target::Finalize => set.keep_tree("f:spec"),
    }
}

/// Records the fields of a new object as its creator's. `tracked` is what the creator sent as `managedFields`.
pub(crate) fn on_create(kind: &Kind, object: &mut Value, tracked: Option<Value>, ctx: &mut WriteContext<'_>) {
    let entries = read(tracked.as_ref());
    if ctx.track_updates && !ctx.manager.is_empty() {
        update(kind, Target::Main, &skeleton(kind), object, entries, ctx);
    } else {
        record(object, entries);
    }
}

/// Records the fields an update changed as the updater's. `tracked` is what the updater sent as `managedFields`.
pub(crate) fn on_update(
    kind: &Kind,
    target: Target,
    current: &Value,
    object: &mut Value,
    tracked: Option<Value>,
    ctx: &mut WriteContext<'_>,
) {
    if ctx.manager.is_empty() {
        record(object, read(tracked.as_ref()));
        return;
    }
    let stored = current.pointer("/metadata/managedFields");
    let sent = tracked.filter(|list| list.as_array().is_some_and(|list| !list.is_empty()));
    // One empty entry asks for all to be forgotten.
    let entries = match &sent {
        Some(list) if *list == json!([{}]) => Vec::new(),
        Some(list) => read(Some(list)),
        None => read(stored),
    };
    // An object that nobody owns a field of stays so until the first apply, as with the real server.
    if entries.is_empty() {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove("managedFields");
        }
        return;
    }
    update(kind, target, &over_skeleton(kind, current), object, entries, ctx);
}

fn update(
    kind: &Kind,
    target: Target,
    old: &Value,
    object: &mut Value,
    mut entries: Vec<Entry>,
    ctx: &mut WriteContext<'_>,
) {
    let new = over_skeleton(kind, object);
    let mut found = compare(old, &new, Place::root(kind));
    strip(kind, target, &mut found.touched);
    strip(kind, target, &mut found.removed);
    for entry in &mut entries {
        entry.fields = entry.fields.difference(&found.touched).difference(&found.removed);
    }
    if !found.touched.is_empty() {
        let own = Entry {
            manager: ctx.manager.clone(),
            operation: Operation::Update,
            api_version: kind.api_version(),
            time: Some(crate::write::stamp(ctx.now)),
            subresource: target.subresource().to_owned(),
            fields: found.touched,
        };
        add(&mut entries, own);
    }
    record(object, entries);
}

/// Adds fields to their manager's entry, or makes one.
fn add(entries: &mut Vec<Entry>, own: Entry) {
    match entries.iter_mut().find(|entry| entry.is_same(&own)) {
        Some(entry) => {
            entry.fields = entry.fields.union(&own.fields);
            entry.time = own.time;
        }
        None => entries.push(own),
    }
}
