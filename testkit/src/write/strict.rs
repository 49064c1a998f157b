//! Reading JSON with an eye on keys that stand twice, and on the order fields stand in.

use std::collections::HashMap;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// More complaints than this help nobody.
const COMPLAINTS_MAX: usize = 100;

/// What was met on the way through a document.
#[derive(Default)]
struct Notes {
    path: String,
    repeated: Vec<String>,
    /// Every field in the order of the document, where asked for.
    order: Option<Vec<String>>,
}

/// Reads a document; of keys that stand twice the last counts, and their paths are given back.
///
/// # Errors
/// For a text that is no JSON.
pub(crate) fn parse(body: &[u8]) -> Result<(Value, Vec<String>), serde_json::Error> {
    let mut notes = Notes::default();
    let value = walk(body, &mut notes)?;
    Ok((value, notes.repeated))
}

/// The complaints about a body: fields that stand twice and fields nobody knows. They stand in the order of the
/// document, where that is given.
pub(crate) fn complaints(
    document: Option<&[u8]>,
    repeated: Vec<String>,
    unknown: Vec<String>,
) -> Vec<String> {
    let mut all: Vec<(String, String)> = Vec::with_capacity(repeated.len() + unknown.len());
    for (word, paths) in [("duplicate", repeated), ("unknown", unknown)] {
        for path in paths {
            let sentence = format!("{word} field {}", Value::from(path.as_str()));
            all.push((path, sentence));
        }
    }
    if let (Some(body), true) = (document, all.len() > 1) {
        let mut notes = Notes {
            order: Some(Vec::new()),
            ..Notes::default()
        };
        // What cannot be read again (a body in YAML) keeps the order it has.
        if walk(body, &mut notes).is_ok() {
            let order = notes.order.unwrap_or_default();
            let last: HashMap<&str, usize> = order
                .iter()
                .enumerate()
                .map(|(at, path)| (path.as_str(), at))
                .collect();
            all.sort_by_key(|(path, _)| last.get(path.as_str()).copied());
        }
    }
    let mut sentences: Vec<String> = Vec::new();
    for (_, sentence) in all {
        if !sentences.contains(&sentence) && sentences.len() < COMPLAINTS_MAX {
            sentences.push(sentence);
        }
    }
    sentences
}

fn walk(body: &[u8], notes: &mut Notes) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let value = Seed(notes).deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

struct Seed<'a>(&'a mut Notes);

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let notes = self.0;
        let length = notes.path.len();
        let mut list = Vec::new();
        loop {
            notes.path.push_str(&format!("[{}]", list.len()));
            let next = items.next_element_seed(Seed(notes))?;
            notes.path.truncate(length);
            match next {
                Some(value) => list.push(value),
                None => return Ok(Value::Array(list)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let notes = self.0;
        let length = notes.path.len();
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if length > 0 {
                notes.path.push('.');
            }
            notes.path.push_str(&key);
            if map.contains_key(&key) && notes.repeated.len() < COMPLAINTS_MAX {
                notes.repeated.push(notes.path.clone());
            }
            if let Some(order) = &mut notes.order {
                order.push(notes.path.clone());
            }
            let value = entries.next_value_seed(Seed(notes))?;
            notes.path.truncate(length);
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn keys_that_stand_twice_are_named_and_the_last_counts() {
        let body = br#"{"a": {"b": 1, "b": 2}, "c": [{"d": 1, "d": null}], "a": 1.5}"#;
        let (value, repeated) = parse(body).expect("JSON");
        assert_eq!(value, json!({"a": 1.5, "c": [{"d": null}]}));
        assert_eq!(repeated, ["a.b", "c[0].d", "a"]);
        assert!(parse(b"{} {}").is_err());
    }

    #[test]
    fn complaints_stand_in_the_order_of_the_document() {
        let body = br#"{"z": 1, "m": {"y": 1}, "a": 1, "z": 2}"#;
        let unknown = vec!["a".to_owned(), "m.y".to_owned()];
        assert_eq!(
            complaints(Some(body), vec!["z".to_owned()], unknown),
            [
                "unknown field \"m.y\"",
                "unknown field \"a\"",
                "duplicate field \"z\""
            ]
        );
    }
}
