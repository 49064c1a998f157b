//! Reading an object as the API's own types do: unknown fields go, empty ones are left out, the others get their form.

use serde_json::{Map, Value, json};

use super::{Field, Omit, Shape, Struct, Type, find, go_time, quantity};

/// Why a value is none of its type, in the words of Go's decoder.
type Problem = String;

/// Where a value stands: as strict complaints spell it (`spec.containers[0].name`) and as type errors do
/// (`PodSpec.spec.containers.name`).
struct At<'a> {
    up: Option<&'a Self>,
    step: Step<'a>,
}

enum Step<'a> {
    /// What is read from here on, and where it stands in the whole object.
    Root(&'a str),
    Field(&'a str),
    Key(&'a str),
    Index(usize),
}

impl At<'_> {
    fn strict(&self) -> String {
        let above = self.up.map(At::strict).unwrap_or_default();
        match self.step {
            Step::Root(path) => path.to_owned(),
            Step::Field(name) | Step::Key(name) if above.is_empty() => name.to_owned(),
            Step::Field(name) | Step::Key(name) => format!("{above}.{name}"),
            Step::Index(at) => format!("{above}[{at}]"),
        }
    }

    /// The names of the fields on the way: neither keys nor positions count.
    fn fields(&self) -> String {
        let above = self.up.map(At::fields).unwrap_or_default();
        match self.step {
            Step::Root(_) => String::new(),
            Step::Field(name) if above.is_empty() => name.to_owned(),
            Step::Field(name) => format!("{above}.{name}"),
            Step::Key(_) | Step::Index(_) => above,
        }
    }
}

/// Brings an object of a type into the form the API writes it in. Fields the type does not have are taken out and
/// named in `unknown`.
///
/// # Errors
/// The first value that is none of its type.
pub(crate) fn read(of: &Struct, object: &mut Value, unknown: &mut Vec<String>) -> Result<(), Problem> {
    read_below(of, object, "", unknown)
}

/// As [`read`], for the `metadata` of any object.
///
/// # Errors
/// The first value that is none of its type.
pub(crate) fn read_metadata(metadata: &mut Value, unknown: &mut Vec<String>) -> Result<(), Problem> {
    match find("meta.ObjectMeta") {
        Some(of) => read_below(of, metadata, "metadata", unknown),
        None => Ok(()),
    }
}

fn read_below(of: &Struct, value: &mut Value, path: &str, unknown: &mut Vec<String>) -> Result<(), Problem> {
    let root = At {
        up: None,
        step: Step::Root(path),
    };
    match value {
        Value::Object(map) => structure(of, map, &root, unknown),
        other => Err(format!(
            "json: cannot unmarshal {} into Go value of type v1.{}",
            found(other),
            of.name
        )),
    }
}

/// A value of a type with nothing in it, as the API writes it.
fn zero(of: &Type) -> Value {
    if of.pointer {
        return Value::Null;
    }
    match &of.shape {
        Shape::Text => json!(""),
        Shape::Bool => json!(false),
        Shape::Int32 | Shape::Int64 | Shape::Float | Shape::IntOrString => json!(0),
        Shape::Duration => json!("0s"),
        Shape::Quantity => json!("0"),
        Shape::Struct(name) => {
            let mut map = Map::new();
            for field in find(name).into_iter().flat_map(|found| &found.fields) {
                if is_written_empty(field) {
                    map.insert(field.name.to_owned(), zero(&field.of));
                }
            }
            Value::Object(map)
        }
        Shape::Bytes
        | Shape::Time
        | Shape::MicroTime
        | Shape::Any
        | Shape::SchemaOr
        | Shape::List(_)
        | Shape::Map(_) => Value::Null,
    }
}

/// Whether a field without a value is written all the same.
fn is_written_empty(field: &Field) -> bool {
    match field.omit {
        Omit::Never => true,
        Omit::Zero => false,
        Omit::Empty => !field.of.pointer && is_go_struct(&field.of.shape),
    }
}

/// Go leaves out empty values, but never a struct.
fn is_go_struct(shape: &Shape) -> bool {
    matches!(
        shape,
        Shape::Struct(_)
            | Shape::Time
            | Shape::MicroTime
            | Shape::Duration
            | Shape::Quantity
            | Shape::IntOrString
            | Shape::Any
    )
}

fn structure(
    of: &Struct,
    map: &mut Map<String, Value>,
    at: &At<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), Problem> {
    map.retain(|key, _| {
        let known = of.field(key).is_some();
        if !known {
            let step = Step::Key(key);
            unknown.push(At { up: Some(at), step }.strict());
        }
        known
    });
    for field in &of.fields {
        match map.get_mut(field.name) {
            None | Some(Value::Null) => {
                if is_written_empty(field) {
                    map.insert(field.name.to_owned(), zero(&field.of));
                } else {
                    map.remove(field.name);
                }
            }
            Some(slot) => {
                let step = Step::Field(field.name);
                value(&field.of, slot, of, &At { up: Some(at), step }, unknown)?;
                if !field.of.pointer
                    && field.omit != Omit::Never
                    && is_empty(slot)
                    && !is_go_struct(&field.of.shape)
                {
                    map.remove(field.name);
                }
            }
        }
    }
    Ok(())
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

fn value(
    of: &Type,
    slot: &mut Value,
    holder: &Struct,
    at: &At<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), Problem> {
    let wrong = |found: &str| {
        Err(format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {}",
            holder.name,
            at.fields(),
            of.go
        ))
    };
    match (&of.shape, &mut *slot) {
        (Shape::Any, _) | (Shape::Text, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => Ok(()),
        (Shape::Float, Value::Number(_)) => Ok(()),
        (Shape::Int32 | Shape::Int64, Value::Number(number)) => {
            let fits = number
                .as_i64()
                .is_some_and(|n| !matches!(of.shape, Shape::Int32) || i32::try_from(n).is_ok());
            if fits {
                Ok(())
            } else {
                wrong(&format!("number {number}"))
            }
        }
        (Shape::List(item), Value::Array(list)) => {
            for (index, below) in list.iter_mut().enumerate() {
                let step = Step::Index(index);
                inner(item, below, holder, &At { up: Some(at), step }, unknown)?;
            }
            Ok(())
        }
        (Shape::Map(item), Value::Object(map)) => {
            for (key, below) in map.iter_mut() {
                let step = Step::Key(key);
                inner(item, below, holder, &At { up: Some(at), step }, unknown)?;
            }
            Ok(())
        }
        (Shape::Struct(name), Value::Object(map)) => match find(name) {
            Some(of) => structure(of, map, at, unknown),
            None => Ok(()),
        },
        (Shape::SchemaOr, slot) => schema_or(slot, at, unknown),
        (Shape::Bytes, Value::String(text)) => match base64_error(text) {
            Some(place) => Err(format!("illegal base64 data at input byte {place}")),
            None => {
                text.retain(|c| !matches!(c, '\n' | '\r'));
                Ok(())
            }
        },
        (Shape::Time, Value::String(text)) => go_time::seconds(text).map(|good| *text = good),
        (Shape::MicroTime, Value::String(text)) => go_time::microseconds(text).map(|good| *text = good),
        (Shape::Duration, Value::String(_)) => Ok(()),
        (Shape::Time | Shape::MicroTime | Shape::Duration, other) => Err(format!(
            "json: cannot unmarshal {} into Go value of type string",
            found(other)
        )),
        (Shape::Quantity, Value::String(text)) => quantity::canonical(text).map(|good| *text = good),
        (Shape::Quantity, other) => {
            let good = quantity::canonical(&other.to_string())?;
            *other = Value::String(good);
            Ok(())
        }
        (Shape::IntOrString, Value::String(_)) => Ok(()),
        (Shape::IntOrString, Value::Number(number)) => {
            let fits = number.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
            let why = || format!("json: cannot unmarshal number {number} into Go value of type int32");
            if fits { Ok(()) } else { Err(why()) }
        }
        (Shape::IntOrString, other) => Err(format!(
            "json: cannot unmarshal {} into Go value of type int32",
            found(other)
        )),
        (_, other) => wrong(found(other)),
    }
}

/// An item of a list or map; nothing there is an item without a value.
fn inner(
    of: &Type,
    slot: &mut Value,
    holder: &Struct,
    at: &At<'_>,
    unknown: &mut Vec<String>,
) -> Result<(), Problem> {
    if slot.is_null() {
        *slot = match of.shape {
            Shape::Bytes => json!(""),
            _ => zero(of),
        };
        return Ok(());
    }
    value(of, slot, holder, at, unknown)
}

fn schema_or(slot: &mut Value, at: &At<'_>, unknown: &mut Vec<String>) -> Result<(), Problem> {
    let Some(of) = find("apiextensions.JSONSchemaProps") else {
        return Ok(());
    };
    match slot {
        Value::Object(map) => structure(of, map, at, unknown),
        Value::Bool(_) | Value::Array(_) => Ok(()),
        _ => Err("boolean or JSON schema expected".to_owned()),
    }
}

/// What Go's decoder calls a value.
fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Where a text stops being base64, line feeds aside.
fn base64_error(text: &str) -> Option<usize> {
    let body = text.trim_end_matches('=');
    let padding = text.len() - body.len();
    let clean = |c: &(usize, u8)| !matches!(c.1, b'\n' | b'\r');
    let bytes: Vec<(usize, u8)> = body.bytes().enumerate().filter(clean).collect();
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    if let Some((at, _)) = bytes.iter().find(|(_, byte)| !allowed(*byte)) {
        return Some(*at);
    }
    let whole = (bytes.len() + padding).is_multiple_of(4) && padding <= 2;
    (!whole).then_some(bytes.len() - bytes.len() % 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, mut object: Value) -> (Value, Vec<String>) {
        let mut unknown = Vec::new();
        read(find(name).expect("a type"), &mut object, &mut unknown).expect("readable");
        (object, unknown)
    }

    #[test]
    fn unknown_fields_go_and_are_named_by_their_place() {
        let (object, unknown) = read_as(
            "core.Pod",
            json!({"metadata": {"name": "p", "x": 1}, "spec": {"containers": [{"name": "c", "imagee": "i"}], "foo": 1},
                "nope": {}}),
        );
        assert_eq!(
            unknown,
            ["nope", "metadata.x", "spec.foo", "spec.containers[0].imagee"]
        );
        assert_eq!(
            object,
            json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "resources": {}}]}, "status": {}})
        );
    }

    #[test]
    fn empty_fields_are_left_out_and_those_always_written_appear() {
        let (object, _) = read_as(
            "core.ConfigMap",
            json!({"metadata": {"labels": {}, "creationTimestamp": null, "name": ""}, "data": {"a": null}, "immutable": false}),
        );
        assert_eq!(
            object,
            json!({"metadata": {}, "data": {"a": ""}, "immutable": false})
        );
        let (object, _) = read_as(
            "apps.Deployment",
            json!({"spec": {"replicas": 0, "paused": false}}),
        );
        assert_eq!(
            object,
            json!({"metadata": {}, "spec": {"replicas": 0, "selector": null, "strategy": {},
                "template": {"metadata": {}, "spec": {"containers": null}}}, "status": {}})
        );
    }

    #[test]
    fn values_of_another_type_are_refused_in_the_decoder_s_words() {
        for (name, object, why) in [
            (
                "core.ConfigMap",
                json!({"data": {"a": 1}}),
                "json: cannot unmarshal number into Go struct field ConfigMap.data of type string",
            ),
            (
                "core.Pod",
                json!({"spec": {"containers": [{"ports": [{"containerPort": "x"}]}]}}),
                "json: cannot unmarshal string into Go struct field ContainerPort.spec.containers.ports.containerPort \
                 of type int32",
            ),
            (
                "apps.Deployment",
                json!({"spec": {"replicas": 1.5}}),
                "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32",
            ),
            (
                "core.Pod",
                json!({"status": {"phase": 1}}),
                "json: cannot unmarshal number into Go struct field PodStatus.status.phase of type v1.PodPhase",
            ),
            (
                "core.Pod",
                json!({"spec": {"containers": "c"}}),
                "json: cannot unmarshal string into Go struct field PodSpec.spec.containers of type []v1.Container",
            ),
            (
                "core.Secret",
                json!({"data": {"a": "!"}}),
                "illegal base64 data at input byte 0",
            ),
            (
                "coordination.Lease",
                json!({"spec": {"renewTime": "2026-01-01T00:00:00Z"}}),
                "parsing time \"2026-01-01T00:00:00Z\" as \"2006-01-02T15:04:05.000000Z07:00\": cannot parse \"Z\" as \
                 \".000000\"",
            ),
        ] {
            let mut object = object;
            let problem = read(find(name).expect("a type"), &mut object, &mut Vec::new());
            assert_eq!(problem, Err(why.to_owned()));
        }
    }
}
