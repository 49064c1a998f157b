//! Faults of single objects and events, applied to their bytes.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};

use super::encode::error_line;
use crate::{
    faults::{Fault, LONGEST_LINE},
    status::ApiError,
    storage::Stored,
};

/// What becomes of an event's line.
#[derive(Debug)]
pub(crate) enum Spoiled {
    Send(VecDeque<Bytes>),
    /// To be sent after the next event.
    Hold(VecDeque<Bytes>),
    /// To be sent, then the stream ends.
    Close(VecDeque<Bytes>),
    Reset(VecDeque<Bytes>),
    Stall(VecDeque<Bytes>),
}

impl Spoiled {
    /// Bytes made for it.
    pub(crate) fn len(&self) -> usize {
        let (Self::Send(pieces)
        | Self::Hold(pieces)
        | Self::Close(pieces)
        | Self::Reset(pieces)
        | Self::Stall(pieces)) = self;
        pieces.iter().map(Bytes::len).sum()
    }
}

/// Applies the faults of one event to its line.
pub(crate) fn event(line: VecDeque<Bytes>, faults: &[Fault], stored: &Stored) -> Spoiled {
    let mut line = join(line);
    let mut before = VecDeque::new();
    let mut hold = false;
    for fault in faults {
        match fault {
            Fault::DropEvent => line.clear(),
            Fault::DuplicateEvent => line.extend_from_slice(&line.clone()),
            Fault::ReorderEvent => hold = true,
            Fault::TruncateLine => {
                line.truncate(line.len() / 2);
                line.extend_from_slice(b"\n");
            }
            Fault::RawLine { bytes } => before.push_back(Bytes::from(bytes.clone())),
            Fault::UnknownType => edit(&mut line, |event| event["type"] = json!("REPLACED")),
            Fault::OversizeLine { bytes } => {
                // Spaces before the last brace are legal JSON of any length.
                let missing = (*bytes).min(LONGEST_LINE).saturating_sub(line.len());
                line.truncate(line.len().saturating_sub(2));
                line.resize(line.len() + missing, b' ');
                line.extend_from_slice(b"}\n");
            }
            Fault::EventVersion { version } => {
                edit(&mut line, |event| {
                    event["object"]["metadata"]["resourceVersion"] = json!(version)
                });
            }
            Fault::Undecodable => edit(&mut line, |event| spoil_object(&mut event["object"])),
            Fault::ErrorEvent {
                code,
                reason,
                message,
            } => {
                return Spoiled::Close(then(
                    before,
                    error_line(&status(*code, reason.as_deref(), message.as_deref())),
                ));
            }
            Fault::GoneEvent => {
                let error = ApiError::expired(format!("too old resource version: {}", stored.version));
                return Spoiled::Close(then(before, error_line(&error)));
            }
            Fault::CloseBefore => return Spoiled::Close(before),
            Fault::ResetBefore => return Spoiled::Reset(before),
            Fault::StallBefore => return Spoiled::Stall(before),
            _ => {}
        }
    }
    let pieces = then(before, line.freeze());
    if hold {
        Spoiled::Hold(pieces)
    } else {
        Spoiled::Send(pieces)
    }
}

/// Makes an object undecodable for any typed client: metadata stays, everything else turns into numbers.
pub(crate) fn spoil_object(object: &mut Value) {
    let Some(fields) = object.as_object_mut() else {
        return;
    };
    for (name, value) in fields.iter_mut() {
        if !matches!(name.as_str(), "kind" | "apiVersion" | "metadata") {
            *value = json!(13);
        }
    }
    // Kinds with nothing but metadata need something wrong in it.
    if let Some(metadata) = fields.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.insert("labels".to_owned(), json!("not a map"));
    }
}

/// An error as a fault describes it; what it leaves open is filled with the usual.
pub(crate) fn status(code: u16, reason: Option<&str>, message: Option<&str>) -> ApiError {
    let usual = match code {
        400 => ("BadRequest", "the server rejected the request"),
        401 => ("Unauthorized", "Unauthorized"),
        403 => ("Forbidden", "forbidden"),
        404 => ("NotFound", "the server could not find the requested resource"),
        409 => (
            "Conflict",
            "the object has been modified; please apply your changes to the latest version and try again",
        ),
        410 => ("Expired", "too old resource version"),
        429 => ("TooManyRequests", "too many requests, please try again later"),
        500 => ("InternalError", "Internal error occurred: injected fault"),
        503 => (
            "ServiceUnavailable",
            "the server is currently unable to handle the request",
        ),
        504 => (
            "Timeout",
            "Timeout: request did not complete within the allotted timeout",
        ),
        _ => ("", "injected fault"),
    };
    ApiError::new(
        code,
        reason.unwrap_or(usual.0).to_owned(),
        message.unwrap_or(usual.1),
    )
}

fn edit(line: &mut BytesMut, change: impl FnOnce(&mut Value)) {
    let Ok(mut event) = serde_json::from_slice::<Value>(line) else {
        return;
    };
    change(&mut event);
    // The type leads, as on a real server: clients that stream rely on it.
    let rest = event["object"].to_string();
    let text = format!("{{\"type\":{},\"object\":{rest}}}\n", event["type"]);
    *line = BytesMut::from(text.as_bytes());
}

fn join(pieces: VecDeque<Bytes>) -> BytesMut {
    let mut out = BytesMut::with_capacity(pieces.iter().map(Bytes::len).sum());
    pieces.iter().for_each(|piece| out.extend_from_slice(piece));
    out
}

fn then(mut pieces: VecDeque<Bytes>, last: Bytes) -> VecDeque<Bytes> {
    pieces.push_back(last);
    pieces
}
