//! Server-side apply: a manager states the fields it wants; it owns them, and loses those it no longer states.

use serde_json::{Map, Value};

use super::fields::{FieldSet, compare, item_edge, stated};
use super::managed::{Entry, Operation, read, record, strip};
use super::shape::{ListShape, Place, over_skeleton, skeleton};
use super::typed;
use crate::kind::Kind;
use crate::status::{ApiError, Cause};
use crate::write::{self, Target, WriteContext};

/// What to apply, and how.
#[derive(Debug)]
pub(crate) struct Apply<'a> {
    /// The configuration, read from YAML or JSON.
    pub(crate) config: &'a Value,
    /// Which part of the object it aims at.
    pub(crate) target: Target,
    /// Whether fields that others own are taken from them.
    pub(crate) force: bool,
}

/// What the object becomes by an apply, managed fields included; takes the manager's name out of the context, since
/// nothing is left to record. `current` is `None` where it does not exist yet; the
/// result is then a body for [`crate::write::create`].
///
/// # Errors
/// 400 for a configuration of another type or with managed fields, 409 where others own fields it changes, 500 for fields
/// the type does not have (as the real server, which finds them where it expects none).
pub(crate) fn apply(
    kind: &Kind,
    current: Option<&Value>,
    apply: &Apply<'_>,
    ctx: &mut WriteContext<'_>,
) -> Result<Value, ApiError> {
    let config = apply.config;
    if !config.is_object() {
        return Err(ApiError::bad_request(format!(
            "error decoding YAML: error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {} into Go value \
             of type map[string]interface {{}}",
            super::type_name(config)
        )));
    }
    let text = |path: &str| config.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (version, name) = (text("/apiVersion"), text("/kind"));
    let full = |version: &str, name: &str| {
        let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
        format!("{group}/{version}, Kind={name}")
    };
    if version != kind.api_version() || name != kind.kind {
        return Err(ApiError::bad_request(format!(
            "invalid object type: {}",
            full(version, name)
        )));
    }
    if config
        .pointer("/metadata/managedFields")
        .is_some_and(|m| !m.is_null())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    if let Some(why) = typed::problem(config, Place::root(kind)) {
        return Err(ApiError::untyped(format!(
            "failed to create typed patch object ({}/{}; {}): {why}",
            text("/metadata/namespace"),
            text("/metadata/name"),
            full(version, name)
        )));
    }
    let root = Place::root(kind);
    let manager = std::mem::take(&mut ctx.manager);
    let named = stated(config, root);
    let mut own = named.clone();
    strip(kind, apply.target, &mut own);

    let empty = Value::Object(Map::new());
    let live = current.unwrap_or(&empty);
    let mut merged = live.clone();
    merge(&mut merged, config, root);

    let mut entries = read(live.pointer("/metadata/managedFields"));
    if entries.is_empty() && ctx.track_updates && current.is_some() {
        entries.extend(before_first_apply(kind, live, apply.target));
    }
    let id = Entry {
        manager,
        operation: Operation::Apply,
        api_version: kind.api_version(),
        time: Some(write::stamp(ctx.now)),
        subresource: apply.target.subresource().to_owned(),
        fields: own,
    };
    let before = entries
        .iter()
        .position(|entry| entry.is_same(&id))
        .map(|at| entries.remove(at));
    if let Some(before) = &before {
        let others = entries
            .iter()
            .fold(FieldSet::default(), |all, entry| all.union(&entry.fields));
        // What identifies the object is stated and owned by nobody, and must not go with a metadata that loses the rest.
        let mut kept = id.fields.union(&named).union(&others).with_parents();
        kept.insert(&["f:metadata".to_owned()]);
        before
            .fields
            .with_parents()
            .difference(&kept)
            .remove_from(&mut merged, root);
    }

    let base = if current.is_some() {
        over_skeleton(kind, live)
    } else {
        skeleton(kind)
    };
    let mut changed = compare(&base, &over_skeleton(kind, &merged), root);
    strip(kind, apply.target, &mut changed.touched);
    strip(kind, apply.target, &mut changed.removed);
    conflicts(&mut entries, &changed.touched, apply.force)?;
    for entry in &mut entries {
        entry.fields = entry.fields.difference(&changed.removed);
        // Who is named here for the first time is no older than this request.
        entry.time.get_or_insert_with(|| write::stamp(ctx.now));
    }

    let mut id = id;
    if let Some(before) = before
        && before.fields == id.fields
        && changed.touched.is_empty()
        && changed.removed.is_empty()
    {
        id.time = before.time;
    }
    entries.push(id);
    if !merged.get("metadata").is_some_and(Value::is_object) {
        merged["metadata"] = Value::Object(Map::new());
    }
    record(&mut merged, entries);
    // The result is read as any object is; what does not fit has been refused above.
    let _ = write::read_as(kind, &mut merged, &mut Vec::new());
    Ok(merged)
}

/// Who owns what an object without managed fields held when the first manager applies something to it.
fn before_first_apply(kind: &Kind, live: &Value, target: Target) -> Option<Entry> {
    let mut fields = compare(&skeleton(kind), &over_skeleton(kind, live), Place::root(kind)).touched;
    strip(kind, target, &mut fields);
    (!fields.is_empty()).then(|| Entry {
        manager: "before-first-apply".to_owned(),
        operation: Operation::Update,
        api_version: kind.api_version(),
        time: None,
        subresource: target.subresource().to_owned(),
        fields,
    })
}

/// Finds fields others own that change; takes them away from their owners, or refuses.
fn conflicts(entries: &mut [Entry], touched: &FieldSet, force: bool) -> Result<(), ApiError> {
    let mut causes = Vec::new();
    for entry in entries.iter_mut() {
        let contested = entry.fields.intersection(touched);
        if contested.is_empty() {
            continue;
        }
        if force {
            entry.fields = entry.fields.difference(&contested);
            continue;
        }
        let message = format!("conflict with {}", show(entry));
        causes.extend(
            contested
                .paths()
                .into_iter()
                .map(|path| Cause::new("FieldManagerConflict", message.clone(), path)),
        );
    }
    if causes.is_empty() {
        Ok(())
    } else {
        Err(ApiError::apply_conflict(causes))
    }
}

fn show(entry: &Entry) -> String {
    let mut text = format!("{:?}", entry.manager);
    if !entry.subresource.is_empty() {
        text = format!("{text} with subresource {:?}", entry.subresource);
    }
    match (entry.operation, &entry.time) {
        (Operation::Apply, _) => text,
        (Operation::Update, None) => format!("{text} using {}", entry.api_version),
        (Operation::Update, Some(time)) => format!("{text} using {} at {time}", entry.api_version),
    }
}

/// Merges a configuration into an object: maps by field, keyed lists by item, sets by value, the rest as a whole.
fn merge(object: &mut Value, config: &Value, place: Place<'_>) {
    match (&mut *object, config) {
        (Value::Object(fields), Value::Object(wanted)) if !place.is_atomic_map() => {
            for (name, value) in wanted {
                if value.is_null() {
                    fields.remove(name);
                    continue;
                }
                match fields.get_mut(name) {
                    Some(slot) => merge(slot, value, place.field(name)),
                    None => {
                        fields.insert(name.clone(), value.clone());
                    }
                }
            }
        }
        (Value::Array(list), Value::Array(wanted)) => {
            let shape = place.list();
            let named = |list: &[Value]| list.iter().all(|item| item_edge(place, &shape, item).is_some());
            if shape == ListShape::Atomic || !named(list) || !named(wanted) {
                wanted.clone_into(list);
                return;
            }
            for item in wanted {
                let edge = item_edge(place, &shape, item);
                match list.iter_mut().find(|own| item_edge(place, &shape, own) == edge) {
                    Some(own) => merge(own, item, place.item()),
                    None => list.push(item.clone()),
                }
            }
        }
        (object, config) => *object = config.clone(),
    }
}
