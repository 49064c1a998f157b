//! Sets of field paths, as `fieldsV1` writes them, and the comparison of two objects that yields them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::shape::{ListShape, Place};

/// A set of paths into an object: a tree whose edges are spelled as in `fieldsV1` (`f:name`, `k:{…}`, `v:…`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSet {
    /// The path that ends here is in the set.
    member: bool,
    children: BTreeMap<String, Self>,
}

impl FieldSet {
    /// Reads `fieldsV1`. Anything that is no map counts as empty.
    pub(crate) fn from_value(value: &Value) -> Self {
        let mut set = Self::read(value);
        set.member = false;
        set
    }

    fn read(value: &Value) -> Self {
        let Some(map) = value.as_object() else {
            return Self {
                member: true,
                ..Self::default()
            };
        };
        let mut set = Self {
            member: map.is_empty(),
            ..Self::default()
        };
        for (edge, below) in map {
            if edge == "." {
                set.member = true;
            } else {
                set.children.insert(edge.clone(), Self::read(below));
            }
        }
        set
    }

    /// Writes `fieldsV1`.
    pub(crate) fn to_value(&self) -> Value {
        let mut map = Map::new();
        if self.member && !self.children.is_empty() {
            map.insert(".".to_owned(), Value::Object(Map::new()));
        }
        for (edge, below) in &self.children {
            map.insert(edge.clone(), below.to_value());
        }
        Value::Object(map)
    }

    /// Whether no path is in the set.
    pub(crate) fn is_empty(&self) -> bool {
        !self.member && self.children.values().all(Self::is_empty)
    }

    /// Adds a path.
    pub(crate) fn insert(&mut self, path: &[String]) {
        match path {
            [] => self.member = true,
            [edge, rest @ ..] => self.children.entry(edge.clone()).or_default().insert(rest),
        }
    }

    /// Removes a path and all below it.
    pub(crate) fn remove_tree(&mut self, path: &[&str]) {
        match path {
            [] => *self = Self::default(),
            [edge, rest @ ..] => {
                if let Some(below) = self.children.get_mut(*edge) {
                    below.remove_tree(rest);
                    if below.is_empty() {
                        self.children.remove(*edge);
                    }
                }
            }
        }
    }

    /// Keeps only what stands at or below a path.
    pub(crate) fn keep_tree(&mut self, edge: &str) {
        self.member = false;
        self.children.retain(|name, _| name == edge);
    }

    /// Paths in either set.
    pub(crate) fn union(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.member |= other.member;
        for (edge, below) in &other.children {
            match all.children.get_mut(edge) {
                Some(own) => *own = own.union(below),
                None => {
                    all.children.insert(edge.clone(), below.clone());
                }
            }
        }
        all
    }

    /// Paths in this set and not in the other.
    pub(crate) fn difference(&self, other: &Self) -> Self {
        self.combine(other, |own, theirs| own && !theirs)
    }

    /// Paths in both sets.
    pub(crate) fn intersection(&self, other: &Self) -> Self {
        self.combine(other, |own, theirs| own && theirs)
    }

    fn combine(&self, other: &Self, keep: fn(bool, bool) -> bool) -> Self {
        let nothing = Self::default();
        let mut kept = Self {
            member: keep(self.member, other.member),
            children: BTreeMap::new(),
        };
        for (edge, below) in &self.children {
            let below = below.combine(other.children.get(edge).unwrap_or(&nothing), keep);
            if !below.is_empty() {
                kept.children.insert(edge.clone(), below);
            }
        }
        kept
    }

    /// The set with every path's parents added.
    pub(crate) fn with_parents(&self) -> Self {
        let mut all = self.clone();
        all.member = all.member || !all.children.is_empty();
        for below in all.children.values_mut() {
            *below = below.with_parents();
        }
        all
    }

    /// Every path, in order, printed as conflicts show them: `.spec.containers[name="c"].image`.
    pub(crate) fn paths(&self) -> Vec<String> {
        let mut found = Vec::new();
        self.collect("", &mut found);
        found
    }

    fn collect(&self, prefix: &str, found: &mut Vec<String>) {
        if self.member {
            found.push(prefix.to_owned());
        }
        for (edge, below) in &self.children {
            below.collect(&format!("{prefix}{}", show(edge)), found);
        }
    }

    /// Takes out of an object what the set names. A path takes with it all that is below.
    pub(crate) fn remove_from(&self, object: &mut Value, place: Place<'_>) {
        match object {
            Value::Object(map) => {
                for (edge, below) in &self.children {
                    let Some(name) = edge.strip_prefix("f:") else {
                        continue;
                    };
                    if below.member {
                        map.remove(name);
                    } else if let Some(value) = map.get_mut(name) {
                        below.remove_from(value, place.field(name));
                    }
                }
            }
            Value::Array(list) => {
                let shape = place.list();
                list.retain_mut(|item| {
                    let Some(edge) = item_edge(place, &shape, item) else {
                        return true;
                    };
                    match self.children.get(&edge) {
                        None => true,
                        Some(below) if below.member => false,
                        Some(below) => {
                            below.remove_from(item, place.item());
                            true
                        }
                    }
                });
            }
            _ => {}
        }
    }
}

/// An edge as paths are printed: `.name`, `[key=value]`, `[=value]`.
pub(crate) fn show(edge: &str) -> String {
    if let Some(name) = edge.strip_prefix("f:") {
        return format!(".{name}");
    }
    if let Some(value) = edge.strip_prefix("v:") {
        return format!("[={value}]");
    }
    if let Some(Ok(Value::Object(keys))) = edge.strip_prefix("k:").map(serde_json::from_str) {
        let keys: Vec<String> = keys.iter().map(|(key, value)| format!("{key}={value}")).collect();
        return format!("[{}]", keys.join(","));
    }
    format!("[{}]", edge.trim_start_matches("i:"))
}

/// How an item of a list is spelled as an edge, or `None` where the list is one value.
pub(crate) fn item_edge(place: Place<'_>, shape: &ListShape, item: &Value) -> Option<String> {
    match shape {
        ListShape::Atomic => None,
        ListShape::Set => Some(format!("v:{item}")),
        ListShape::Keyed(keys) => {
            let mut found = Map::new();
            for key in keys {
                let value = item
                    .get(key)
                    .filter(|v| !v.is_null())
                    .cloned()
                    .or_else(|| place.key_default(key));
                if let Some(value) = value {
                    found.insert(key.clone(), value);
                }
            }
            (!found.is_empty()).then(|| format!("k:{}", Value::Object(found)))
        }
    }
}

/// The paths an applied configuration states.
pub(crate) fn stated(object: &Value, place: Place<'_>) -> FieldSet {
    let mut set = FieldSet::default();
    state(object, place, &mut set);
    set
}

fn state(value: &Value, place: Place<'_>, set: &mut FieldSet) {
    match value {
        Value::Object(map) if !map.is_empty() && !place.is_atomic_map() => {
            for (name, below) in map {
                let child = set.children.entry(format!("f:{name}")).or_default();
                child.member = !place.is_struct(name);
                state(below, place.field(name), child);
            }
        }
        Value::Array(list) if !list.is_empty() && place.list() != ListShape::Atomic => {
            let shape = place.list();
            for item in list {
                let Some(edge) = item_edge(place, &shape, item) else {
                    set.member = true;
                    return;
                };
                let child = set.children.entry(edge).or_default();
                child.member = true;
                if shape != ListShape::Set {
                    state(item, place.item(), child);
                }
            }
        }
        _ => set.member = true,
    }
}

/// What changed between two objects.
#[derive(Debug, Default)]
pub(crate) struct Comparison {
    /// Paths that are new or hold another value.
    pub(crate) touched: FieldSet,
    /// Paths that are gone.
    pub(crate) removed: FieldSet,
}

/// Compares two objects field by field.
pub(crate) fn compare(old: &Value, new: &Value, place: Place<'_>) -> Comparison {
    let mut found = Comparison::default();
    walk(Some(old), Some(new), place, &mut Vec::new(), &mut found);
    found
}

fn walk(
    old: Option<&Value>,
    new: Option<&Value>,
    place: Place<'_>,
    path: &mut Vec<String>,
    found: &mut Comparison,
) {
    match (old, new) {
        (None, None) => {}
        (old, new) if old == new => {}
        (old, new) => {
            let leaf = is_leaf(old, new, place);
            match (old, new) {
                (None, _) => found.touched.insert(path),
                (_, None) => found.removed.insert(path),
                _ if leaf => found.touched.insert(path),
                _ => {}
            }
            if !leaf {
                descend(old, new, place, path, found);
            }
        }
    }
}

/// Whether the two values are compared as one: plain values, atomic maps and lists, and empty ones.
fn is_leaf(old: Option<&Value>, new: Option<&Value>, place: Place<'_>) -> bool {
    let filled = |value: Option<&Value>| match value {
        Some(Value::Object(map)) => !map.is_empty(),
        Some(Value::Array(list)) => !list.is_empty(),
        _ => false,
    };
    let kind_of = |value: Option<&Value>| match value {
        Some(Value::Object(_)) => 1,
        Some(Value::Array(_)) => 2,
        Some(Value::Null) | None => 0,
        Some(_) => 3,
    };
    let (a, b) = (kind_of(old), kind_of(new));
    if a == 3 || b == 3 || (a != 0 && b != 0 && a != b) || (!filled(old) && !filled(new)) {
        return true;
    }
    let container = a.max(b);
    if container == 1 {
        return place.is_atomic_map();
    }
    let shape = place.list();
    let named = |value: Option<&Value>| {
        value
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .all(|item| item_edge(place, &shape, item).is_some())
    };
    shape == ListShape::Atomic || !named(old) || !named(new)
}

fn descend(
    old: Option<&Value>,
    new: Option<&Value>,
    place: Place<'_>,
    path: &mut Vec<String>,
    found: &mut Comparison,
) {
    let (old_map, new_map) = (old.and_then(Value::as_object), new.and_then(Value::as_object));
    if old_map.is_some() || new_map.is_some() {
        let names = old_map.into_iter().flat_map(Map::keys);
        let added = new_map
            .into_iter()
            .flat_map(Map::keys)
            .filter(|k| old_map.is_none_or(|o| !o.contains_key(*k)));
        for name in names.chain(added) {
            path.push(format!("f:{name}"));
            let (a, b) = (
                old_map.and_then(|m| m.get(name)),
                new_map.and_then(|m| m.get(name)),
            );
            walk(a, b, place.field(name), path, found);
            path.pop();
        }
        return;
    }
    let shape = place.list();
    let items = |value: Option<&'_ Value>| -> BTreeMap<String, Value> {
        let list = value.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|item| Some((item_edge(place, &shape, item)?, item.clone())))
            .collect()
    };
    let (old_items, new_items) = (items(old), items(new));
    let added = new_items.keys().filter(|edge| !old_items.contains_key(*edge));
    for edge in old_items.keys().chain(added) {
        path.push(edge.clone());
        let (a, b) = (old_items.get(edge), new_items.get(edge));
        if shape == ListShape::Set {
            match (a, b) {
                (None, _) => found.touched.insert(path),
                (_, None) => found.removed.insert(path),
                _ => {}
            }
        } else {
            walk(a, b, place.item(), path, found);
        }
        path.pop();
    }
}
