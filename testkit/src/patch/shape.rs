//! How the lists and maps of a kind merge: as one value, as a set, or item by item under a key.
//!
//! Built-in kinds are described by their types; custom kinds by the `x-kubernetes-*` marks of their schema.

use serde_json::{Value, json};

use crate::kind::Kind;
use crate::kind::types::{self, Field, Merge, Shape, Struct};

/// How a list merges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ListShape {
    /// As one value.
    Atomic,
    /// As a set of plain values.
    Set,
    /// Item by item; these fields tell the items apart.
    Keyed(Vec<String>),
}

/// What kind of value a place holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    Text,
    Number,
    Boolean,
    /// Any of these.
    Scalar,
    List,
    Map,
    Anything,
}

/// A place in the objects of a kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    kind: &'a Kind,
    source: Source<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    /// A built-in type, or a part of one.
    Typed(Spot),
    /// A custom kind: the schema of the place, if it has one.
    Schema(Option<&'a Value>),
}

/// A place in a built-in type.
#[derive(Clone, Copy, Debug, Default)]
struct Spot {
    /// The struct the place holds.
    of: Option<&'static Struct>,
    /// The type of the place, where it is no struct.
    shape: Option<&'static Shape>,
    /// The field the place is, where it is one.
    field: Option<&'static Field>,
}

impl Spot {
    fn new(shape: &'static Shape, field: Option<&'static Field>) -> Self {
        let of = match shape {
            Shape::Struct(name) => types::find(name),
            Shape::SchemaOr => types::find("apiextensions.JSONSchemaProps"),
            _ => None,
        };
        Self {
            of,
            shape: Some(shape),
            field,
        }
    }

    fn field(self, name: &str) -> Self {
        match (self.of, self.shape) {
            (Some(of), _) => of
                .field(name)
                .map_or_else(Self::default, |field| Self::new(&field.of.shape, Some(field))),
            (None, Some(Shape::Map(item))) => Self::new(&item.shape, None),
            _ => Self::default(),
        }
    }

    fn item(self) -> Self {
        match self.shape {
            Some(Shape::List(item)) => Self::new(&item.shape, None),
            _ => Self::default(),
        }
    }
}

impl<'a> Place<'a> {
    /// The object as a whole.
    pub(crate) fn root(kind: &'a Kind) -> Self {
        let source = match (&kind.schema, kind.shape()) {
            (Some(schema), _) => Source::Schema(Some(schema.root())),
            (None, _) if kind.custom => Source::Schema(None),
            (None, of) => Source::Typed(Spot {
                of,
                ..Spot::default()
            }),
        };
        Self { kind, source }
    }

    /// A field of the map at this place.
    pub(crate) fn field(self, name: &'a str) -> Self {
        // Metadata is the same everywhere, whatever a schema says.
        let source = match self.source {
            Source::Schema(_) if self.is_root_of_schema() && name == "metadata" => Source::Typed(Spot {
                of: types::find("meta.ObjectMeta"),
                ..Spot::default()
            }),
            Source::Schema(schema) => Source::Schema(schema.and_then(|schema| {
                schema
                    .get("properties")
                    .and_then(|p| p.get(name))
                    .or_else(|| schema.get("additionalProperties"))
            })),
            Source::Typed(spot) => Source::Typed(spot.field(name)),
        };
        Self {
            kind: self.kind,
            source,
        }
    }

    /// An item of the list at this place.
    pub(crate) fn item(self) -> Self {
        let source = match self.source {
            Source::Schema(schema) => Source::Schema(schema.and_then(|s| s.get("items"))),
            Source::Typed(spot) => Source::Typed(spot.item()),
        };
        Self {
            kind: self.kind,
            source,
        }
    }

    fn is_root_of_schema(self) -> bool {
        match (self.source, &self.kind.schema) {
            (Source::Schema(Some(here)), Some(schema)) => std::ptr::eq(here, schema.root()),
            (Source::Schema(None), None) => true,
            _ => false,
        }
    }

    /// How the list at this place merges.
    pub(crate) fn list(self) -> ListShape {
        match self.source {
            Source::Schema(schema) => schema_list(schema),
            Source::Typed(spot) => match spot.field.and_then(|field| field.merge.as_ref()) {
                Some(Merge::Set) => ListShape::Set,
                Some(Merge::Keyed(keys)) => {
                    ListShape::Keyed(keys.iter().map(|key| (*key).to_owned()).collect())
                }
                Some(Merge::Atomic) | None => ListShape::Atomic,
            },
        }
    }

    /// Whether the map at this place merges as one value.
    pub(crate) fn is_atomic_map(self) -> bool {
        match self.source {
            Source::Schema(schema) => schema
                .and_then(|s| s.get("x-kubernetes-map-type"))
                .is_some_and(|t| t == "atomic"),
            Source::Typed(spot) => {
                spot.of.is_some_and(|of| of.atomic)
                    || spot.field.is_some_and(|field| field.merge == Some(Merge::Atomic))
            }
        }
    }

    /// Whether the keys of the map at this place are fields of a type (and not the user's own words).
    pub(crate) fn is_struct(self, name: &str) -> bool {
        match self.source {
            Source::Schema(schema) => {
                (self.is_root_of_schema() && name == "metadata")
                    || schema
                        .and_then(|s| s.get("properties"))
                        .is_some_and(|p| p.get(name).is_some())
            }
            Source::Typed(spot) => spot.of.is_some(),
        }
    }

    /// Whether the map at this place may have a field of this name.
    pub(crate) fn declares(self, name: &str) -> bool {
        match self.source {
            Source::Typed(spot) => spot.of.is_none_or(|of| of.field(name).is_some()),
            Source::Schema(None) => true,
            Source::Schema(Some(schema)) => {
                let marked = |mark: &str| schema.get(mark) == Some(&Value::Bool(true));
                let whole = self.is_root_of_schema() || marked("x-kubernetes-embedded-resource");
                (whole && matches!(name, "apiVersion" | "kind" | "metadata"))
                    || schema.get("properties").is_some_and(|p| p.get(name).is_some())
                    || schema
                        .get("additionalProperties")
                        .is_some_and(|a| a != &Value::Bool(false))
                    || marked("x-kubernetes-preserve-unknown-fields")
            }
        }
    }

    /// What kind of value belongs here.
    pub(crate) fn expected(self) -> Expected {
        match self.source {
            Source::Typed(Spot { of: Some(_), .. }) => Expected::Map,
            Source::Typed(spot) => match spot.shape {
                Some(Shape::Text | Shape::Bytes | Shape::Duration) => Expected::Text,
                Some(Shape::Int32 | Shape::Int64 | Shape::Float) => Expected::Number,
                Some(Shape::Bool) => Expected::Boolean,
                Some(Shape::Time | Shape::MicroTime | Shape::Quantity | Shape::IntOrString) => {
                    Expected::Scalar
                }
                Some(Shape::List(_)) => Expected::List,
                Some(Shape::Map(_)) => Expected::Map,
                _ => Expected::Anything,
            },
            Source::Schema(None) => Expected::Anything,
            Source::Schema(Some(schema)) => {
                if schema.get("x-kubernetes-int-or-string") == Some(&Value::Bool(true)) {
                    return Expected::Scalar;
                }
                match schema.get("type").and_then(Value::as_str) {
                    Some("string") => Expected::Text,
                    Some("integer" | "number") => Expected::Number,
                    Some("boolean") => Expected::Boolean,
                    Some("array") => Expected::List,
                    Some("object") => Expected::Map,
                    _ => Expected::Anything,
                }
            }
        }
    }

    /// The value of a key field that an item leaves out.
    pub(crate) fn key_default(self, key: &str) -> Option<Value> {
        match self.source {
            Source::Schema(schema) => schema
                .and_then(|s| s.pointer(&format!("/items/properties/{key}/default")))
                .cloned(),
            Source::Typed(_) => (key == "protocol").then(|| json!("TCP")),
        }
    }

    /// The one field that tells items apart in a strategic merge patch.
    pub(crate) fn merge_key(self) -> Option<&'static str> {
        let Source::Typed(spot) = self.source else {
            return None;
        };
        spot.field
            .filter(|field| field.patch_merges)
            .and_then(|field| field.patch_key)
    }

    /// Whether a list of plain values merges as a set in a strategic merge patch.
    pub(crate) fn merges_values(self) -> bool {
        let Source::Typed(spot) = self.source else {
            return false;
        };
        spot.field
            .is_some_and(|field| field.patch_merges && field.patch_key.is_none())
    }
}

fn schema_list(schema: Option<&Value>) -> ListShape {
    let Some(schema) = schema else {
        return ListShape::Atomic;
    };
    match schema.get("x-kubernetes-list-type").and_then(Value::as_str) {
        Some("set") => ListShape::Set,
        Some("map") => {
            let keys = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
            let keys = keys
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect();
            ListShape::Keyed(keys)
        }
        _ => ListShape::Atomic,
    }
}

/// The fields that every object of a built-in type holds, even one nobody has written to: they are plain members of
/// its type. A write that fills them does not make them appear.
pub(crate) fn skeleton(kind: &Kind) -> Value {
    over_skeleton(kind, &json!({"metadata": {}}))
}

/// Lays an object over the fields its type always holds.
pub(crate) fn over_skeleton(kind: &Kind, object: &Value) -> Value {
    let mut whole = object.clone();
    if let Some(of) = kind.shape() {
        // An object that came in past the checks is taken as it is.
        let _ = types::read(of, &mut whole, &mut Vec::new());
    }
    whole
}
