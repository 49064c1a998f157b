//! What must hold for any bytes: run by the fuzz targets, and over their corpus by the tests here.

use std::collections::HashMap;

use serde::{Deserialize, de::IgnoredAny};

use super::{
    envelope::{Envelope, ends_initial_events},
    event,
    lines::{Lines, TooLong},
    reader::Reader,
    scan::Skipper,
    splitter::{Part, Splitter},
};
use k8s_openapi::api::core::v1::ConfigMap;

/// Lines come out the same however the bytes arrive, and no line beyond the cap is ever kept. The first byte says how
/// many bytes arrive at a time.
pub fn framing(data: &[u8]) {
    const CAP: usize = 64;
    let (size, data) = data
        .split_first()
        .map_or((1, data), |(size, rest)| (usize::from(*size).max(1), rest));
    let mut lines = Lines::new(CAP);
    let mut got: Vec<Vec<u8>> = Vec::new();
    let mut too_long = false;
    for piece in data.chunks(size) {
        lines.push(piece);
        loop {
            match lines.next_line() {
                Ok(Some(line)) => got.push(line.to_vec()),
                Ok(None) => break,
                Err(TooLong) => {
                    too_long = true;
                    break;
                }
            }
        }
        if too_long {
            break;
        }
        assert!(lines.rest().len() <= CAP, "no more than the cap is kept");
    }
    let complete = data
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let all = data[..complete].split(|byte| *byte == b'\n');
    let want: Vec<&[u8]> = all
        .take_while(|line| line.len() <= CAP)
        .map(<[u8]>::trim_ascii_end)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(got, want, "every line up to the first that is too long");
    if !too_long {
        let rest = data[complete..].iter().any(|byte| !byte.is_ascii_whitespace());
        assert_eq!(lines.is_partial(), rest);
    }
}

/// The items of a list come out the same however the bytes arrive, and as a plain parser sees them.
pub fn splitter(data: &[u8]) {
    let whole = split(data, data.len().max(1));
    for size in [1, 3, 17] {
        assert_eq!(split(data, size), whole, "in pieces of {size}");
    }
    #[derive(Deserialize)]
    struct List {
        items: Option<Vec<IgnoredAny>>,
    }
    let (items, ended, _) = &whole;
    if let Ok(list) = serde_json::from_slice::<List>(data)
        && data.first() == Some(&b'{')
        && !escapes_items(data)
    {
        assert!(ended, "a well-formed list is complete");
        if let Some(listed) = list.items {
            assert_eq!(items.len(), listed.len());
        }
        for item in items {
            assert!(
                serde_json::from_slice::<IgnoredAny>(item).is_ok(),
                "an item of a well-formed list is well-formed"
            );
        }
    }
}

/// Member names are compared as they are written: nobody escapes letters in them.
fn escapes_items(data: &[u8]) -> bool {
    serde_json::from_slice::<HashMap<String, IgnoredAny>>(data).is_ok_and(|members| {
        members.contains_key("items") && !data.windows(7).any(|window| window == b"\"items\"")
    })
}

fn split(data: &[u8], size: usize) -> (Vec<Vec<u8>>, bool, super::splitter::ListHead) {
    let mut splitter = Splitter::new(1 << 20);
    let mut items = Vec::new();
    let mut malformed = false;
    for piece in data.chunks(size) {
        splitter.push(piece);
        loop {
            match splitter.next_part() {
                Part::Item(item, _) => items.push(item.to_vec()),
                Part::Oversize(_) => {}
                Part::More | Part::End => break,
                Part::Malformed(_) => {
                    malformed = true;
                    break;
                }
            }
        }
        if malformed {
            break;
        }
    }
    let ended = !malformed && matches!(splitter.next_part(), Part::End);
    (items, ended, splitter.head().clone())
}

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
    let mut reader = Reader::new(text);
    let read = serde_json::Value::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    let known = serde_json::from_str::<serde_json::Value>(text);
    match (read, known) {
        (Ok(read), Ok(known)) => assert_eq!(read, known),
        (Err(_), Err(_)) => {}
        (read, known) => panic!("{:?} where serde_json has {:?}", read.map(drop), known.map(drop)),
    }
    let mut reader = Reader::new(text);
    let read = ConfigMap::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
    if let Ok(known) = serde_json::from_str::<ConfigMap>(text) {
        assert_eq!(read.expect("what serde_json reads can be read"), known);
    }
}

type Metadata = kube_client::core::metadata::PartialObjectMeta<kube_client::core::DynamicObject>;

#[cfg(test)]
mod tests {
    use std::{fs, path::PathBuf};

    use super::*;

    /// Runs a target over its corpus, and over mutations of it that are the same every time.
    fn check(name: &str, target: fn(&[u8]), files_min: usize) {
        let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "fuzz", "corpus", name]
            .iter()
            .collect();
        let mut paths: Vec<_> = fs::read_dir(folder)
            .expect("the corpus is committed")
            .map(|entry| entry.expect("the corpus can be read").path())
            .collect();
        paths.sort();
        assert!(paths.len() >= files_min, "{} files", paths.len());
        let mut rng = fastrand::Rng::with_seed(42);
        for path in paths {
            let data = fs::read(&path).expect("the corpus can be read");
            target(&data);
            for _ in 0..60 {
                target(&mutate(&data, &mut rng));
            }
        }
    }

    fn mutate(data: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut data = data.to_vec();
        for _ in 0..rng.usize(1..4) {
            if data.is_empty() {
                data.push(rng.u8(..));
                continue;
            }
            let at = rng.usize(..data.len());
            match rng.u8(0..6) {
                0 => data[at] = rng.u8(..),
                1 => data[at] = b"{}[]\",:\\\n x"[rng.usize(..11)],
                2 => data.truncate(at),
                3 => drop(data.remove(at)),
                4 => data.insert(at, b"{}[]\",:\\\n x"[rng.usize(..11)]),
                _ => {
                    let end = rng.usize(at..=data.len().min(at + 40));
                    let piece = data[at..end].to_vec();
                    let to = rng.usize(..=data.len());
                    data.splice(to..to, piece);
                }
            }
        }
        data
    }

    #[test]
    fn framing_holds_for_the_corpus_and_its_mutations() {
        check("framing", framing, 20);
    }

    #[test]
    fn splitting_holds_for_the_corpus_and_its_mutations() {
        check("splitter", splitter, 80);
    }

    #[test]
    fn envelopes_hold_for_the_corpus_and_its_mutations() {
        check("envelope", envelope, 80);
    }

    #[test]
    fn reading_holds_for_the_corpus_and_its_mutations() {
        check("envelope", reader, 80);
        check("splitter", reader, 80);
        check("event", reader, 80);
    }

    #[test]
    fn arrays_are_allocated_at_their_size() {
        let json = r#"{"a":[1,2,3],"b":[],"skip":[[1],[2,[3]]],"c":[[5],[6,7]],"d":[ ]}"#;
        #[derive(Deserialize)]
        struct Arrays {
            a: Vec<u8>,
            b: Vec<u8>,
            c: Vec<Vec<u8>>,
            d: Vec<u8>,
        }
        let read = Arrays::deserialize(&mut Reader::new(json)).expect("it is well-formed");
        assert_eq!(
            (
                read.a.capacity(),
                read.b.capacity(),
                read.c.capacity(),
                read.d.capacity()
            ),
            (3, 0, 2, 0)
        );
        assert_eq!((read.c[0].capacity(), read.c[1].capacity()), (1, 2));
    }

    #[test]
    fn events_hold_for_the_corpus_and_its_mutations() {
        check("event", event, 80);
    }
}
