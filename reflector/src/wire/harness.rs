//! What must hold for any bytes: run by the fuzz targets, and over their corpus by the tests here.

use std::fmt::Debug;

use bytes::Bytes;
use fearless_simd::Level;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use super::{
    envelope::{Envelope, ends_initial_events},
    event,
    index::{Index, PAIRED_DEPTH, Unpaired},
    lines::{Lines, TooLong},
    prune,
    reader::Reader,
    scan::Skipper,
    splitter::{ListHead, ListMeta, Part, Splitter},
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
    let large: &[usize] = &[1, 3, 17, 200];
    for (item_max, sizes) in [(1 << 20, large), (70, &[1, 64])] {
        let whole = split(data, item_max, |_| (data.len().max(1), false));
        for &size in sizes {
            let found = split(data, item_max, |_| (size, false));
            assert_eq!(found, whole, "in pieces of {size}");
            let found = split(data, item_max, |nth| (size + nth % 2, nth % 3 != 1));
            assert_eq!(found, whole, "in pieces of {size}, most of them copied");
        }
        agrees_with_a_plain_parser(data, item_max, &whole);
    }
}

fn agrees_with_a_plain_parser(data: &[u8], item_max: usize, found: &Split) {
    let is_json = |json: &[u8]| serde_json::from_slice::<IgnoredAny>(json).is_ok();
    if found.ended && !is_json(data) {
        let mut items = found
            .items
            .iter()
            .map(|item| item.as_ref().unwrap_or_else(|head| head));
        assert!(
            items.any(|item| !is_json(item)),
            "what is no JSON is no complete list, unless it is one of the items"
        );
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "whether it can be read is what matters")]
    struct List<T> {
        kind: Option<String>,
        api_version: Option<String>,
        metadata: Option<ListMeta>,
        items: Option<Vec<T>>,
    }
    let Ok(list) = serde_json::from_slice::<List<IgnoredAny>>(data) else {
        return;
    };
    if data.trim_ascii().first() != Some(&b'{') {
        return;
    }
    assert!(found.ended, "a well-formed list is complete");
    assert!(found.head.has_items || list.items.is_none());
    assert_eq!(found.items.len(), list.items.map_or(0, |items| items.len()));
    for item in &found.items {
        let json = item.as_ref().unwrap_or_else(|head| head);
        assert_eq!(json.len() <= item_max, item.is_ok());
        assert!(
            serde_json::from_slice::<IgnoredAny>(json).is_ok(),
            "an item of a well-formed list is well-formed"
        );
    }
    if let Ok(list) = serde_json::from_slice::<List<Value>>(data) {
        let read = |item: &Result<Vec<u8>, Vec<u8>>| {
            let json = item.as_ref().unwrap_or_else(|head| head);
            serde_json::from_slice::<Value>(json).expect("it could be read within the list")
        };
        let found: Vec<_> = found.items.iter().map(read).collect();
        assert_eq!(found, list.items.unwrap_or_default());
    }
}

/// What came out of a list.
#[derive(Debug, PartialEq, Eq)]
struct Split {
    /// The items, and the beginnings of those that are too large.
    items: Vec<Result<Vec<u8>, Vec<u8>>>,
    ended: bool,
    head: ListHead,
}

/// Cuts a list that arrives in pieces; `cut` says of each how long it is, and whether it does not last.
fn split(data: &[u8], item_max: usize, mut cut: impl FnMut(usize) -> (usize, bool)) -> Split {
    let mut splitter = Splitter::new(item_max);
    let mut items = Vec::new();
    let (mut rest, mut malformed) = (data, false);
    for nth in 0.. {
        if rest.is_empty() || malformed {
            break;
        }
        let (size, copied) = cut(nth);
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        if copied {
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
                    items.push(Ok(item.json.to_vec()));
                }
                Part::Oversize(head) => items.push(Err(head.into_owned())),
                Part::More | Part::End => break,
                Part::Malformed(_) => {
                    malformed = true;
                    break;
                }
            }
        }
    }
    let ended = !malformed && matches!(splitter.next_part(), Part::End);
    Split {
        items,
        ended,
        head: splitter.head().clone(),
    }
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
    let outside = outside_of_strings(data);
    for (nth, (at, byte)) in outside.iter().enumerate() {
        if !b"{[".contains(byte) {
            continue;
        }
        let (mut depth, mut commas, mut end) = (0, 0, None);
        let (mut open, mut deepest, mut paired) = (Vec::new(), 0, Err(Unpaired::CutOff));
        for (at, byte) in &outside[nth..] {
            match byte {
                b'{' | b'[' => {
                    depth += 1;
                    open.push(*byte);
                    deepest = deepest.max(open.len());
                }
                b'}' | b']' => {
                    depth -= 1;
                    let alike = open.pop().is_some_and(|open| open ^ byte == b'{' ^ b'}');
                    if !alike && paired == Err(Unpaired::CutOff) {
                        paired = Err(Unpaired::Kinds);
                    }
                }
                _ => commas += usize::from(depth == 1),
            }
            if depth == 0 {
                end = Some(*at);
                break;
            }
        }
        if let (Some(end), Err(Unpaired::CutOff)) = (end, paired) {
            paired = Ok(end);
        }
        match index.end(data, *at) {
            Err(Unpaired::Deep) => assert!(deepest > PAIRED_DEPTH, "{deepest} is not deep"),
            found => assert_eq!(found, paired, "the end of what begins at {at}"),
        }
        if data.len() < 1024 {
            assert_eq!(
                index.commas(*at),
                end.map(|_| commas),
                "commas in what begins at {at}"
            );
        }
    }
}

/// Brackets and commas that are in no string, and where.
fn outside_of_strings(data: &[u8]) -> Vec<(usize, u8)> {
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
    outside
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
fn skips_alike<T: PartialEq + Debug>(
    text: &str,
    read: Result<T, super::reader::ReadError>,
    known: serde_json::Result<T>,
) {
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

    /// Lists made of everything JSON has, whole and garbled, cut anywhere.
    #[test]
    fn splitting_holds_for_lists_made_at_random() {
        let mut rng = fastrand::Rng::with_seed(11);
        for nth in 0..600 {
            let list = random_list(&mut rng);
            for list in [mutate(&list, &mut rng), list] {
                let whole = split(&list, 300, |_| (list.len().max(1), false));
                let found = split(&list, 300, |_| (rng.usize(1..130), rng.bool()));
                assert_eq!(found, whole);
                agrees_with_a_plain_parser(&list, 300, &whole);
                if nth % 10 == 0 {
                    splitter(&list);
                }
            }
        }
    }

    fn random_list(rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut members: Vec<String> = Vec::new();
        let items: Vec<_> = (0..rng.usize(0..6)).map(|_| random_value(rng, 3)).collect();
        let blank = BLANKS[rng.usize(..BLANKS.len())];
        members.push(match rng.u8(0..9) {
            0 => String::from("\"items\":null"),
            1 => String::from("\"it\\u0065ms\":[ ]"),
            2 => String::new(),
            _ => format!(
                "\"items\"{blank}:{blank}[{blank}{}{blank}]",
                items.join(&format!("{blank},{blank}"))
            ),
        });
        members.push(format!("\"kind\":{blank}\"PodList\""));
        members.push(format!(
            "\"metadata\":{{\"resourceVersion\":\"{}\",\"continue\":{},\"remainingItemCount\":7}}",
            rng.u64(..),
            random_string(rng)
        ));
        for nth in 0..rng.usize(0..3) {
            members.push(format!("\"more{nth}\":{}", random_value(rng, 3)));
        }
        if rng.u8(0..10) == 0 {
            members.push(members[rng.usize(..members.len())].clone());
        }
        members.retain(|member| !member.is_empty());
        rng.shuffle(&mut members);
        format!("{{{blank}{}{blank}}}{blank}", members.join(&format!("{blank},"))).into_bytes()
    }

    fn random_value(rng: &mut fastrand::Rng, deep: u32) -> String {
        let blank = BLANKS[rng.usize(..BLANKS.len())];
        match rng.u8(if deep == 0 { 3 } else { 0 }..8) {
            0 | 1 => {
                let members: Vec<_> = (0..rng.usize(0..4))
                    .map(|_| format!("{}:{blank}{}", random_string(rng), random_value(rng, deep - 1)))
                    .collect();
                format!("{{{}{blank}}}", members.join(&format!("{blank},")))
            }
            2 => {
                let values: Vec<_> = (0..rng.usize(0..4))
                    .map(|_| random_value(rng, deep - 1))
                    .collect();
                format!("[{}{blank}]", values.join(&format!("{blank},")))
            }
            3 => String::from(["true", "false", "null"][rng.usize(..3)]),
            4 => format!("{}", rng.i64(..)),
            5 => String::from(["-0.5e+30", "1E9", "0", "1e999", "-1.25"][rng.usize(..5)]),
            _ => random_string(rng),
        }
    }

    fn random_string(rng: &mut fastrand::Rng) -> String {
        let pieces = [
            "a",
            "\\\\",
            "\\\"",
            "\\ud83d\\ude00",
            "\\ud83d",
            "\\n",
            "\u{e4}\u{1f600}",
            "{[",
            "]}",
            ",:",
            "a string that is as long as a block of sixty-four bytes, or longer",
        ];
        let text: String = (0..rng.usize(0..5))
            .map(|_| pieces[rng.usize(..pieces.len())])
            .collect();
        format!("\"{text}\"")
    }

    const BLANKS: [&str; 5] = ["", "", " ", "\r\n\t", "          \n            "];

    /// Each byte of a name is looked at once, however the name arrives: this would not end if all of it were looked at
    /// for each.
    #[test]
    fn names_in_pieces_of_a_byte_are_read_once() {
        let name = "a".repeat(250_000);
        let list = format!("{{\"{name}\" : 1, \"items\"\n: [{{}}]}}");
        let found = split(list.as_bytes(), 1 << 20, |_| (1, false));
        assert_eq!((found.items, found.ended), (vec![Ok(b"{}".to_vec())], true));
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
