//! One line of a watch: its type and the bytes of its object.

use serde::de::IgnoredAny;

use super::scan::{Members, read_string, trim_start};

/// What a line says happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventType {
    Added,
    Modified,
    Deleted,
    Bookmark,
    Error,
    Unknown,
}

/// Splits a line into type and object; `None` if it has not got both or more follows.
///
/// The object's bytes are not checked. The fast path takes the form in which every API server writes events.
pub(crate) fn split(line: &[u8]) -> Option<(EventType, &[u8])> {
    fast(line).or_else(|| exactly(line))
}

/// As [`split`], of a line that may be cut off or go on behind its event.
pub(crate) fn split_beginning(line: &[u8]) -> Option<(EventType, &[u8])> {
    members(line, false)
}

/// Whether a line consists of several values, none of them cut off.
pub(crate) fn is_several(line: &[u8]) -> bool {
    let mut values = 0;
    for value in serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>() {
        if value.is_err() {
            return false;
        }
        values += 1;
    }
    values > 1
}

/// Where the first value of several ends.
pub(crate) fn first_end(line: &[u8]) -> usize {
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>();
    match values.next() {
        Some(Ok(_)) => values.byte_offset(),
        _ => line.len(),
    }
}

fn fast(line: &[u8]) -> Option<(EventType, &[u8])> {
    let rest = line.strip_prefix(b"{\"type\":\"")?;
    let (kind, rest) = PREFIXES
        .iter()
        .find_map(|(text, kind)| Some((*kind, rest.strip_prefix(*text)?)))?;
    let object = rest.strip_prefix(b"\",\"object\":")?.strip_suffix(b"}")?;
    (object.starts_with(b"{") && object.ends_with(b"}")).then_some((kind, object))
}

/// As [`split`], member by member.
pub(crate) fn exactly(line: &[u8]) -> Option<(EventType, &[u8])> {
    members(line, true)
}

fn members(line: &[u8], whole: bool) -> Option<(EventType, &[u8])> {
    let mut members = Members::new(line)?;
    let (mut kind, mut object) = (None, None);
    while let Some(key) = members.next_key() {
        let value = members.value();
        match key {
            b"type" => {
                let text = read_string(value)?;
                let known = PREFIXES.iter().find(|(name, _)| *name == text.as_bytes());
                kind = Some(known.map_or(EventType::Unknown, |(_, kind)| *kind));
                members.skip_value()?;
            }
            // An object that is cut off still tells its name.
            b"object" => object = Some(members.skip_value().unwrap_or_else(|| trim_start(value))),
            _ => {
                members.skip_value()?;
            }
        }
    }
    if whole && !members.is_at_end() {
        return None;
    }
    Some((kind?, object?))
}

const PREFIXES: [(&[u8], EventType); 5] = [
    (b"MODIFIED", EventType::Modified),
    (b"ADDED", EventType::Added),
    (b"DELETED", EventType::Deleted),
    (b"BOOKMARK", EventType::Bookmark),
    (b"ERROR", EventType::Error),
];
