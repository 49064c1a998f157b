//! What is read of an object: its envelope, the event around it, and all of it.

use std::fmt::Debug;

use k8s_openapi::api::core::v1::ConfigMap;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::places::outside_of_strings;
use crate::wire::{
    envelope::{Envelope, ends_initial_events},
    event,
    index::Index,
    prune,
    reader::{ReadError, Reader},
    scan::Skipper,
};

/// What is read of an object without decoding it is what a decoder reads.
pub fn envelope(data: &[u8]) {
    #[derive(Deserialize)]
    struct Object {
        metadata: Option<Meta>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Meta {
        name: Option<String>,
        namespace: Option<String>,
        uid: Option<String>,
        resource_version: Option<String>,
    }
    let read = Envelope::read(data);
    let _ = ends_initial_events(data);
    if let Some(key) = read.key() {
        assert!(!key.name.is_empty() && !key.name.contains('/'));
    }
    let mut skipper = Skipper::default();
    let end = skipper.feed(data);
    assert!(end.is_none_or(|end| end <= data.len()));
    if let Ok(object) = serde_json::from_slice::<Object>(data)
        && data.trim_ascii().first() == Some(&b'{')
        && !data.windows(2).any(|pair| pair == b"\\u")
    {
        let meta = object.metadata;
        let want = |text: fn(&Meta) -> &Option<String>| {
            meta.as_ref()
                .and_then(|meta| text(meta).clone())
                .unwrap_or_default()
        };
        assert_eq!(read.name, want(|meta| &meta.name));
        assert_eq!(read.namespace, want(|meta| &meta.namespace));
        assert_eq!(read.uid, want(|meta| &meta.uid));
        assert_eq!(read.version, want(|meta| &meta.resource_version));
    }
}

/// A line is split as a plain parser splits it, and decoding whatever it holds never panics.
pub fn event(data: &[u8]) {
    #[derive(Deserialize)]
    struct Line {
        #[serde(rename = "type")]
        kind: String,
        object: IgnoredAny,
    }
    let found = event::split(data);
    if let Some((_, object)) = found {
        let _ = Envelope::read(object);
        let _ = ends_initial_events(object);
        let decoded: Result<Metadata, _> = crate::Decode::decode(&crate::Json::new(), object);
        drop(decoded);
    }
    if let Ok(Line {
        kind,
        object: IgnoredAny,
    }) = serde_json::from_slice(data)
        && data.first() == Some(&b'{')
        && !data.windows(2).any(|pair| pair == b"\\u")
    {
        let (found, object) = event::exactly(data).expect("a well-formed event is an event");
        assert_eq!(
            format!("{found:?}").to_uppercase() == kind,
            found != event::EventType::Unknown
        );
        assert!(serde_json::from_slice::<IgnoredAny>(object).is_ok());
    }
}

/// Our reader reads what `serde_json` reads, and refuses what it refuses.
pub fn reader(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = read_whole::<Value>(text);
    let known = serde_json::from_str::<Value>(text);
    match (read, known) {
        (Ok(read), Ok(known)) => assert_eq!(read, known),
        (Err(_), Err(_)) => {}
        (read, known) => panic!("{:?} where serde_json has {:?}", read.map(drop), known.map(drop)),
    }
    if let Ok(known) = serde_json::from_str::<ConfigMap>(text) {
        let read = read_whole::<ConfigMap>(text);
        assert_eq!(read.expect("what serde_json reads can be read"), known);
    }
    // What is hidden is stepped over with the index, which must be the same as reading over it.
    let paths = [
        ["metadata", "managedFields"],
        ["spec", "items"],
        ["items", "metadata"],
    ];
    let mut hidden = prune::Hidden::default();
    for path in paths {
        hidden.add(path);
    }
    let mut plain = serde_json::Deserializer::from_str(text);
    let known =
        prune::deserialize::<Value, _>(&mut plain, &hidden).and_then(|value| plain.end().map(|()| value));
    let index = Index::new(data);
    let mut reader = Reader::new(text, &index);
    let read =
        prune::deserialize::<Value, _>(&mut reader, &hidden).and_then(|value| reader.end().map(|()| value));
    skips_alike(text, read, known);
    skips_alike(text, read_whole::<Few>(text), serde_json::from_str::<Few>(text));
}

/// A type that has next to nothing of an object.
#[derive(Debug, Deserialize, PartialEq)]
struct Few {
    metadata: Option<FewMeta>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct FewMeta {
    name: Option<String>,
}

/// Whoever steps over a part reads the rest as `serde_json` does, and refuses less only where all brackets belong
/// together.
fn skips_alike<T: PartialEq + Debug>(text: &str, read: Result<T, ReadError>, known: serde_json::Result<T>) {
    match (read, known) {
        (read, Ok(known)) => {
            assert_eq!(
                read.expect("what serde_json reads over can be stepped over"),
                known
            );
        }
        (Ok(_), Err(_)) => {
            let mut open = Vec::new();
            for (at, byte) in outside_of_strings(text.as_bytes()) {
                match byte {
                    b'{' | b'[' => open.push(byte),
                    b'}' | b']' => assert_eq!(open.pop(), Some(byte ^ b'{' ^ b'}'), "the bracket at {at}"),
                    _ => {}
                }
            }
            assert!(open.is_empty(), "what is open is closed");
        }
        (Err(_), Err(_)) => {}
    }
}

pub(super) fn read_whole<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, ReadError> {
    let index = Index::new(text.as_bytes());
    let mut reader = Reader::new(text, &index);
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

type Metadata = kube_client::core::metadata::PartialObjectMeta<kube_client::core::DynamicObject>;
