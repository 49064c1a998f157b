//! What must hold for any bytes: run by the fuzz targets, and over their corpus by the tests here.

use std::collections::HashMap;

use bytes::Bytes;
use fearless_simd::Level;
use serde::{Deserialize, de::IgnoredAny};

use super::{
    envelope::{Envelope, ends_initial_events},
    event,
    index::Index,
    lines::{Lines, TooLong},
    prune,
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
    let whole = split(data, data.len().max(1), |_| false);
    for size in [1, 3, 17, 200] {
        assert_eq!(split(data, size, |_| false), whole, "in pieces of {size}");
        assert_eq!(split(data, size, |_| true), whole, "in copied pieces of {size}");
        assert_eq!(
            split(data, size, |nth| nth % 3 == 1),
            whole,
            "in pieces of {size}, some of them copied"
        );
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

fn split(
    data: &[u8],
    size: usize,
    copied: fn(usize) -> bool,
) -> (Vec<Vec<u8>>, bool, super::splitter::ListHead) {
    let mut splitter = Splitter::new(1 << 20);
    let mut items = Vec::new();
    let mut malformed = false;
    for (nth, piece) in data.chunks(size).enumerate() {
        if copied(nth) {
            splitter.push_copied(piece);
        } else {
            splitter.push(Bytes::copy_from_slice(piece));
        }
        loop {
            match splitter.next_part() {
                Part::Item(item) => {
                    if let Some(index) = item.index {
                        assert!(index.agrees(&Index::new(item.json), item.json.len()));
                    }
                    items.push(item.json.to_vec());
                }
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

/// Ends of values are found where a search byte by byte finds them, wherever the bytes are torn apart.
pub fn skipping(data: &[u8]) {
    let known = end_of_value(data);
    let seams = [1, 2, 62, 63, 64, 65, 66, 127, 128, 129];
    for tear in seams.into_iter().chain((0..=data.len()).step_by(31)) {
        if tear > data.len() {
            continue;
        }
        let mut skipper = Skipper::default();
        let (head, tail) = data.split_at(tear);
        let found = skipper.feed(head).or_else(|| Some(tear + skipper.feed(tail)?));
        assert_eq!(found, known.map(|(end, _)| end), "torn at {tear}");
        if let Some((_, deepest)) = known {
            assert_eq!(skipper.deepest(), deepest, "torn at {tear}");
        }
    }
}

/// Where the value ends that `data` begins with, and how deep it nests, byte by byte.
fn end_of_value(data: &[u8]) -> Option<(usize, u32)> {
    let blank = |byte: &u8| b" \n\r\t".contains(byte);
    let start = data.iter().position(|byte| !blank(byte))?;
    match data[start] {
        b'}' | b']' => return Some((start + 1, 0)),
        b'"' | b'{' | b'[' => {}
        _ => {
            let ends = |byte: &u8| blank(byte) || b",]}".contains(byte);
            let end = data[start + 1..].iter().position(ends)?;
            return Some((start + 1 + end, 0));
        }
    }
    let (mut depth, mut deepest) = (0, 0);
    let (mut string, mut escaped) = (false, false);
    for (at, byte) in data.iter().enumerate().skip(start) {
        if std::mem::take(&mut escaped) && (string || matches!(byte, b'"' | b'\\')) {
            continue;
        }
        match byte {
            // Where there is no string a backslash makes no sense, but it always makes the same.
            b'\\' => escaped = true,
            b'"' => string = !string,
            b'{' | b'[' if !string => depth += 1,
            b'}' | b']' if !string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
        if depth == 0 && !string {
            return Some((at + 1, deepest));
        }
    }
    None
}

/// What an index knows of a text is what a search byte by byte finds, with whatever vectors it was made.
pub fn index(data: &[u8]) {
    let index = Index::new(data);
    assert_eq!(
        index,
        Index::with(Level::baseline(), data),
        "with vectors that all have"
    );
    let stops = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    let mut next = None;
    for at in (0..data.len()).rev() {
        if stops(&data[at]) {
            next = Some(at);
        }
        assert_eq!(index.stop(at), next, "from {at}");
    }
    let mut outside = Vec::new();
    let (mut string, mut escaped) = (false, false);
    for (at, byte) in data.iter().enumerate() {
        match byte {
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            b'"' if !escaped => string = !string,
            _ if !string && b"{}[],".contains(byte) => outside.push((at, *byte)),
            _ => {}
        }
        escaped = false;
    }
    for (nth, (at, byte)) in outside.iter().enumerate() {
        if !b"{[".contains(byte) {
            continue;
        }
        let (mut depth, mut commas, mut end) = (0, 0, None);
        for (at, byte) in &outside[nth..] {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => commas += usize::from(depth == 1),
            }
            if depth == 0 {
                end = Some(*at);
                break;
            }
        }
        assert_eq!(index.end(*at), end, "the end of what begins at {at}");
        if data.len() < 1024 {
            assert_eq!(
                index.commas(*at),
                end.map(|_| commas),
                "commas in what begins at {at}"
            );
        }
    }
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
    let read = read_whole::<serde_json::Value>(text);
    let known = serde_json::from_str::<serde_json::Value>(text);
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
    let paths = paths.map(|path| path.map(Into::into).into());
    let mut plain = serde_json::Deserializer::from_str(text);
    if let Ok(known) = prune::deserialize::<serde_json::Value, _>(&mut plain, &paths)
        && plain.end().is_ok()
    {
        let index = Index::new(data);
        let mut reader = Reader::new(text, &index);
        let read = prune::deserialize::<serde_json::Value, _>(&mut reader, &paths);
        assert_eq!(
            read.expect("what serde_json reads over can be stepped over"),
            known
        );
        reader.end().expect("nothing follows");
    }
}

fn read_whole<'de, T: Deserialize<'de>>(text: &'de str) -> Result<T, super::reader::ReadError> {
    let index = Index::new(text.as_bytes());
    let mut reader = Reader::new(text, &index);
    let value = T::deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
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

    /// Each byte of a name is looked at once, however the name arrives: this would not end if all of it were looked at
    /// for each.
    #[test]
    fn names_in_pieces_of_a_byte_are_read_once() {
        let name = "a".repeat(250_000);
        let list = format!("{{\"{name}\" : 1, \"items\"\n: [{{}}]}}");
        let (items, ended, _) = split(list.as_bytes(), 1, |_| false);
        assert_eq!((items, ended), (vec![b"{}".to_vec()], true));
    }

    #[test]
    fn ends_of_values_hold_for_the_corpus_and_its_mutations() {
        check("splitter", skipping, 80);
        check("envelope", skipping, 80);
    }

    #[test]
    fn indexes_hold_for_the_corpus_and_its_mutations() {
        check("splitter", index, 80);
        check("event", index, 80);
    }

    /// Quotes, backslashes and brackets in any order, at and across the seams of blocks.
    #[test]
    fn blocks_hold_for_texts_made_to_confuse_them() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..3000 {
            let mut text = vec![b'{'];
            let length = rng.usize(0..300);
            while text.len() < length {
                let piece: &[u8] = match rng.u8(0..12) {
                    0 => b"\\\\\\\\\\\\\\\\\\",
                    1 => b"\\\"",
                    2 => b"\"",
                    3 => b"[",
                    4 => b"]",
                    5 => b"{\"a\":",
                    6 => b"}",
                    7 => b",",
                    8 => b"\"abc\\\\\",",
                    9 => b"a string of more than sixty-four bytes, which is more than a block has",
                    10 => b"\n\x1f\x7f\xc3\xa4",
                    _ => b" ",
                };
                text.extend_from_slice(&piece[..rng.usize(1..=piece.len())]);
            }
            skipping(&text);
            index(&text);
        }
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
        let read = read_whole::<Arrays>(json).expect("it is well-formed");
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
