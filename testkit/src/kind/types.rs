//! The types of built-in kinds: which fields an object has, what each holds, and how its lists and maps merge.
//!
//! The facts stand in `types.txt`, one type a line, as the public API of Kubernetes 1.36 declares them:
//!
//! ```text
//! core.ConfigMap kind:?s apiVersion:?s metadata:?meta.ObjectMeta immutable:?&b data:?{s} binaryData:?{B}
//! core.PodPhase =s
//! ```
//!
//! A name is followed by the fields in the order the API writes them, each `name:type`. `?` marks a field left out when
//! it holds nothing, `!` one left out even where it is a struct or a time, `&` one that may be unset, and `<` stands for
//! all fields of another type. Types are `s` (text), `b`, `i32`, `i64`, `f64`, `B` (bytes in base64), `t` and `m` (times in
//! seconds and microseconds), `d` (a duration), `q` (a quantity), `x` (a number or a text), `*` (anything), `[T]`, `{T}`
//! (a map from text) or the name of another line. `~` adds how a place merges: `atomic`, `set` or `map(keys)` for
//! server-side apply, `patch(strategy,key)` for strategic merge patches. A line with `=` gives another type a name.

use std::collections::HashMap;
use std::sync::OnceLock;

pub(crate) use read::{read, read_metadata};

mod go_time;
mod quantity;
mod read;

/// What a place holds.
#[derive(Debug)]
pub(crate) enum Shape {
    Text,
    Bool,
    Int32,
    Int64,
    Float,
    Bytes,
    Time,
    MicroTime,
    Duration,
    Quantity,
    IntOrString,
    Any,
    /// A schema, or in its place a list of them, a list of texts or a boolean.
    SchemaOr,
    List(Box<Type>),
    Map(Box<Type>),
    Struct(&'static str),
}

/// The type of a place.
#[derive(Debug)]
pub(crate) struct Type {
    pub(crate) shape: Shape,
    /// May be unset: then nothing is written, however the type looks without a value.
    pub(crate) pointer: bool,
    /// What Go calls it, as its decoder's complaints do.
    pub(crate) go: String,
}

/// When a field is left out of the written object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Omit {
    Never,
    Empty,
    Zero,
}

/// How server-side apply merges a list or map that is not merged field by field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    Atomic,
    Set,
    Keyed(Vec<&'static str>),
}

/// A field of a struct.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) name: &'static str,
    pub(crate) of: Type,
    pub(crate) omit: Omit,
    pub(crate) merge: Option<Merge>,
    /// A strategic merge patch merges the list instead of replacing it.
    pub(crate) patch_merges: bool,
    /// The field that tells the items of that list apart.
    pub(crate) patch_key: Option<&'static str>,
}

/// A struct of the API.
#[derive(Debug)]
pub(crate) struct Struct {
    /// Its name without the package.
    pub(crate) name: &'static str,
    pub(crate) fields: Vec<Field>,
    pub(crate) atomic: bool,
    by_name: HashMap<&'static str, usize>,
}

impl Struct {
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.by_name.get(name).map(|at| &self.fields[*at])
    }
}

/// The struct with this full name, such as `core.Pod`.
pub(crate) fn find(name: &str) -> Option<&'static Struct> {
    static TABLE: OnceLock<HashMap<&'static str, Struct>> = OnceLock::new();
    TABLE.get_or_init(parse).get(name)
}

/// The struct of a built-in kind's objects; `None` where the table has none.
pub(crate) fn of_kind(group: &str, version: &str, kind: &str) -> Option<&'static Struct> {
    let package = match group {
        "" => "core",
        "rbac.authorization.k8s.io" => "rbac",
        "flowcontrol.apiserver.k8s.io" => "flowcontrol",
        group => group.split('.').next().unwrap_or_default(),
    };
    let package = match (package, version) {
        ("autoscaling", "v2") => "autoscaling2",
        (package, _) => package,
    };
    find(&format!("{package}.{kind}"))
}

/// Whether two texts are spellings of one time or quantity.
pub(crate) fn same_value(a: &str, b: &str) -> bool {
    let same = |read: fn(&str) -> Result<String, String>| match (read(a), read(b)) {
        (Ok(a), Ok(b)) => a == b,
        _ => false,
    };
    let digit = |text: &str| text.bytes().any(|byte| byte.is_ascii_digit());
    // Neither is written without a digit.
    digit(a)
        && digit(b)
        && (same(quantity::canonical) || same(go_time::microseconds) || same(go_time::seconds))
}

fn parse() -> HashMap<&'static str, Struct> {
    let lines: HashMap<&'static str, &'static str> = include_str!("types.txt")
        .lines()
        .filter_map(|line| line.split_once(' '))
        .collect();
    let structs = lines.iter().filter(|(_, rest)| !rest.starts_with('='));
    structs
        .map(|(name, rest)| (*name, structure(&lines, name, rest)))
        .collect()
}

type Lines = HashMap<&'static str, &'static str>;

fn structure(lines: &Lines, name: &'static str, rest: &'static str) -> Struct {
    let mut fields = Vec::new();
    let mut atomic = false;
    collect(lines, rest, &mut fields, &mut atomic);
    let by_name = fields
        .iter()
        .enumerate()
        .map(|(at, field)| (field.name, at))
        .collect();
    Struct {
        name: local(name),
        fields,
        atomic,
        by_name,
    }
}

fn local(name: &'static str) -> &'static str {
    name.split_once('.').map_or(name, |(_, local)| local)
}

fn collect(lines: &Lines, rest: &'static str, fields: &mut Vec<Field>, atomic: &mut bool) {
    for word in rest.split_whitespace() {
        if word == "~atomic" {
            *atomic = true;
        } else if let Some(inline) = word.strip_prefix('<') {
            if let Some(rest) = lines.get(inline) {
                collect(lines, rest, fields, &mut false);
            }
        } else if let Some((name, text)) = word.split_once(':') {
            fields.push(field(lines, name, text));
        }
    }
}

fn field(lines: &Lines, name: &'static str, text: &'static str) -> Field {
    let mut parts = text.split('~');
    let spelled = parts.next().unwrap_or_default();
    let (omit, spelled) = match spelled.as_bytes().first() {
        Some(b'?') => (Omit::Empty, &spelled[1..]),
        Some(b'!') => (Omit::Zero, &spelled[1..]),
        _ => (Omit::Never, spelled),
    };
    let mut made = Field {
        name,
        of: type_of(lines, spelled),
        omit,
        merge: None,
        patch_merges: false,
        patch_key: None,
    };
    // The type may have a rule of its own, which the field's replaces.
    let own = spelled.trim_start_matches('&');
    if lines
        .get(own)
        .is_some_and(|rest| rest.starts_with('=') && rest.ends_with("~atomic"))
    {
        made.merge = Some(Merge::Atomic);
    }
    for mark in parts {
        let inner = |word: &str| mark.strip_prefix(word).and_then(|rest| rest.strip_suffix(')'));
        if mark == "atomic" {
            made.merge = Some(Merge::Atomic);
        } else if mark == "set" {
            made.merge = Some(Merge::Set);
        } else if let Some(keys) = inner("map(") {
            made.merge = Some(Merge::Keyed(keys.split(',').collect()));
        } else if let Some(patch) = inner("patch(") {
            let (strategy, key) = patch.split_once(',').unwrap_or((patch, ""));
            made.patch_merges = strategy.split('+').any(|word| word == "merge");
            made.patch_key = (!key.is_empty()).then_some(key);
        }
    }
    made
}

fn type_of(lines: &Lines, text: &'static str) -> Type {
    if let Some(inner) = text.strip_prefix('&') {
        return Type {
            pointer: true,
            ..type_of(lines, inner)
        };
    }
    let plain = |shape: Shape, go: &str| Type {
        shape,
        pointer: false,
        go: go.to_owned(),
    };
    let inside = |open: char, close: char| text.strip_prefix(open).and_then(|rest| rest.strip_suffix(close));
    if let Some(inner) = inside('[', ']') {
        let item = type_of(lines, inner);
        let go = format!("[]{}", item.go);
        return plain(Shape::List(Box::new(item)), &go);
    }
    if let Some(inner) = inside('{', '}') {
        let item = type_of(lines, inner);
        let go = format!("map[string]{}", item.go);
        return plain(Shape::Map(Box::new(item)), &go);
    }
    match text {
        "s" => plain(Shape::Text, "string"),
        "uid" => plain(Shape::Text, "types.UID"),
        "b" => plain(Shape::Bool, "bool"),
        "i32" => plain(Shape::Int32, "int32"),
        "i64" => plain(Shape::Int64, "int64"),
        "f64" => plain(Shape::Float, "float64"),
        "B" => plain(Shape::Bytes, "[]uint8"),
        "t" => plain(Shape::Time, "v1.Time"),
        "m" => plain(Shape::MicroTime, "v1.MicroTime"),
        "d" => plain(Shape::Duration, "v1.Duration"),
        "q" => plain(Shape::Quantity, "resource.Quantity"),
        "x" => plain(Shape::IntOrString, "intstr.IntOrString"),
        "*" => plain(Shape::Any, "interface {}"),
        "soa" | "sob" | "sos" => plain(Shape::SchemaOr, "v1.JSONSchemaPropsOrBool"),
        named => {
            let version = if named.starts_with("autoscaling2.") {
                "v2"
            } else {
                "v1"
            };
            let go = format!("{version}.{}", local(named));
            match lines.get(named).and_then(|rest| rest.strip_prefix('=')) {
                Some(alias) => {
                    let alias = alias.split('~').next().unwrap_or(alias);
                    plain(type_of(lines, alias).shape, &go)
                }
                None => plain(Shape::Struct(named), &go),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(of: &Type, at: &str) {
        match &of.shape {
            Shape::List(item) | Shape::Map(item) => check(item, at),
            Shape::Struct(name) => assert!(find(name).is_some(), "{at} names {name}, which is not there"),
            _ => {}
        }
    }

    #[test]
    fn every_type_that_is_named_is_there() {
        for line in include_str!("types.txt").lines() {
            let (name, rest) = line.split_once(' ').expect("a name and fields");
            if rest.starts_with('=') {
                continue;
            }
            let found = find(name).expect("a struct");
            for field in &found.fields {
                check(&field.of, &format!("{name}.{}", field.name));
            }
        }
    }

    #[test]
    fn every_built_in_kind_with_objects_has_its_type() {
        for kind in crate::kind::Registry::builtin().kinds() {
            if kind.verbs.contains(&"get") {
                assert!(
                    of_kind(&kind.group, &kind.version, &kind.kind).is_some(),
                    "{}",
                    kind.resource()
                );
            }
        }
    }

    #[test]
    fn marks_say_how_lists_merge() {
        let pod = find("core.PodSpec").expect("there");
        let containers = pod.field("containers").expect("there");
        assert_eq!(containers.merge, Some(Merge::Keyed(vec!["name"])));
        assert_eq!(containers.patch_key, Some("name"));
        assert_eq!(
            pod.field("nodeSelector").expect("there").merge,
            Some(Merge::Atomic)
        );
        let ports = find("core.Container")
            .expect("there")
            .field("ports")
            .expect("there");
        assert_eq!(ports.merge, Some(Merge::Keyed(vec!["containerPort", "protocol"])));
        assert_eq!(ports.patch_key, Some("containerPort"));
        // An inline struct lends its fields.
        assert!(find("core.Volume").expect("there").field("configMap").is_some());
        assert!(find("meta.LabelSelector").expect("there").atomic);
    }
}
