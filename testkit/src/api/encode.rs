//! From stored objects to the bytes of an answer, splicing stored slices wherever the form allows it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use super::negotiate::Form;
use crate::{
    kind::Kind,
    storage::{EventType, Opening, Stored},
};

/// Writes objects of one kind in one form.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) kind: Arc<Kind>,
    pub(crate) form: Form,
    opening: Opening,
    /// Objects are served in the version they are stored in.
    as_stored: bool,
}

const PARTIAL: &[u8] = b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",";

impl Encoder {
    pub(crate) fn new(kind: &Arc<Kind>, form: Form) -> Self {
        Self {
            opening: opening(kind),
            as_stored: is_as_stored(kind),
            kind: Arc::clone(kind),
            form,
        }
    }

    /// One object as a document of its own.
    pub(crate) fn object(&self, stored: &Stored) -> VecDeque<Bytes> {
        let mut out = VecDeque::new();
        self.push_object(stored, &mut out);
        out
    }

    fn push_object(&self, stored: &Stored, out: &mut VecDeque<Bytes>) {
        match self.form {
            Form::Partial => {
                out.push_back(Bytes::from_static(PARTIAL));
                out.push_back(stored.metadata());
                out.push_back(Bytes::from_static(b"}"));
            }
            _ if self.as_stored => out.push_back(stored.json()),
            _ => {
                out.push_back(self.opening.bytes().clone());
                out.push_back(stored.body());
            }
        }
    }

    /// A list. `shard` is the shard selector it was cut with.
    pub(crate) fn list(&self, items: &[Arc<Stored>], meta: &ListMeta<'_>) -> VecDeque<Bytes> {
        let mut out = VecDeque::with_capacity(items.len() * 2 + 2);
        let metadata = meta.json(self.kind.custom && self.form == Form::Json);
        let custom = self.kind.custom && self.form == Form::Json;
        let (kind, version) = match self.form {
            Form::Partial => ("PartialObjectMetadataList", "meta.k8s.io/v1".to_owned()),
            _ => (self.kind.list_kind.as_str(), self.kind.api_version()),
        };
        if custom {
            out.push_back(Bytes::from(format!("{{\"apiVersion\":\"{version}\",\"items\":[")));
        } else {
            let head = format!(
                "{{\"kind\":\"{kind}\",\"apiVersion\":\"{version}\",\"metadata\":{metadata},\"items\":["
            );
            out.push_back(Bytes::from(head));
        }
        let bare = self.form == Form::Json && !self.opening.items_carry_type();
        for (at, stored) in items.iter().enumerate() {
            if bare {
                out.push_back(Bytes::from_static(if at == 0 { b"{" } else { b",{" }));
                out.push_back(stored.body());
            } else {
                if at > 0 {
                    out.push_back(Bytes::from_static(b","));
                }
                self.push_object(stored, &mut out);
            }
        }
        if custom {
            out.push_back(Bytes::from(format!(
                "],\"kind\":\"{kind}\",\"metadata\":{metadata}}}\n"
            )));
        } else {
            out.push_back(Bytes::from_static(b"]}\n"));
        }
        out
    }

    /// One line of a watch.
    pub(crate) fn event(&mut self, event: EventType, stored: &Stored, out: &mut VecDeque<Bytes>) {
        if self.form == Form::Json && self.as_stored {
            if let Some(line) = stored.line(event) {
                out.push_back(line.clone());
            } else {
                out.push_back(Bytes::from_static(event.opening()));
                out.push_back(stored.line_tail());
            }
            return;
        }
        out.push_back(Bytes::from_static(event.opening()));
        self.push_object(stored, out);
        out.push_back(Bytes::from_static(b"}\n"));
    }

    /// The line of a bookmark.
    pub(crate) fn bookmark(&mut self, version: &str, ends_initial_events: bool) -> Bytes {
        let version = serde_json::Value::from(version);
        const END: &str = "\"annotations\":{\"k8s.io/initial-events-end\":\"true\"}";
        let metadata = match (ends_initial_events, self.kind.custom) {
            (false, _) => format!("\"metadata\":{{\"resourceVersion\":{version}}}"),
            (true, false) => format!("\"metadata\":{{\"resourceVersion\":{version},{END}}}"),
            (true, true) => format!("\"metadata\":{{{END},\"resourceVersion\":{version}}}"),
        };
        let opening = match self.form {
            Form::Json => String::from_utf8_lossy(self.opening.bytes()).into_owned(),
            _ => String::from_utf8_lossy(PARTIAL).into_owned(),
        };
        let object = format!("{opening}{metadata}}}");
        Bytes::from(format!("{{\"type\":\"BOOKMARK\",\"object\":{object}}}\n"))
    }
}

/// The metadata of a list.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct ListMeta<'a> {
    pub(crate) version: &'a str,
    pub(crate) token: &'a str,
    pub(crate) remaining: Option<usize>,
    pub(crate) shard: Option<&'a str>,
}

impl ListMeta<'_> {
    fn json(&self, custom: bool) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut parts = Vec::new();
        if custom {
            // Custom kinds spell the token out even when there is none.
            parts.push(format!("\"continue\":{}", quoted(self.token)));
        }
        let remaining = self
            .remaining
            .map(|count| format!("\"remainingItemCount\":{count}"));
        let version = format!("\"resourceVersion\":{}", quoted(self.version));
        if custom {
            parts.extend(remaining);
            parts.push(version);
        } else {
            parts.push(version);
            if !self.token.is_empty() {
                parts.push(format!("\"continue\":{}", quoted(self.token)));
            }
            parts.extend(remaining);
        }
        parts.extend(
            self.shard
                .map(|text| format!("\"shardInfo\":{{\"selector\":{}}}", quoted(text))),
        );
        format!("{{{}}}", parts.join(","))
    }
}

/// How objects of a kind open in the version it serves.
pub(crate) fn opening(kind: &Kind) -> Opening {
    Opening::new(&kind.kind, &kind.api_version(), kind.custom)
}

fn is_as_stored(kind: &Kind) -> bool {
    kind.version == kind.storage_version && kind.storage == kind.resource()
}

/// A line that carries an error to a watch.
pub(crate) fn error_line(error: &crate::status::ApiError) -> Bytes {
    let mut line = b"{\"type\":\"ERROR\",\"object\":".to_vec();
    line.extend_from_slice(error.to_value().to_string().as_bytes());
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}
