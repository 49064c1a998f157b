//! From stored objects to the bytes of an answer, splicing stored slices wherever the form allows it.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;

use serde_json::{Value, json};

use super::negotiate::{Form, MetaVersion};
use crate::{
    clock::Clock,
    kind::Kind,
    storage::{EventType, Opening, Stored},
    table::{self, Include, TableOptions},
};

/// Writes objects of one kind in one form.
#[derive(Clone, Debug)]
pub(crate) struct Encoder {
    pub(crate) kind: Arc<Kind>,
    pub(crate) form: Form,
    opening: Opening,
    /// Objects are served in the version they are stored in.
    as_stored: bool,
    table: Option<TableView>,
}

/// How tables are shown.
#[derive(Clone, Copy, Debug)]
struct TableView {
    version: MetaVersion,
    include: Include,
    clock: Clock,
    /// A watch describes the columns once.
    columns: bool,
}

/// How metadata alone opens.
fn partial(version: MetaVersion) -> &'static [u8] {
    match version {
        MetaVersion::V1 => b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",",
        MetaVersion::V1beta1 => {
            b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1beta1\","
        }
    }
}

impl Encoder {
    fn new(kind: &Arc<Kind>, form: Form) -> Self {
        Self {
            opening: opening(kind),
            as_stored: is_as_stored(kind),
            kind: Arc::clone(kind),
            form: match form {
                Form::Partial(_) => form,
                _ => Form::Json,
            },
            table: None,
        }
    }

    /// Answers with objects, or with tables where the client asked for them.
    pub(crate) fn for_reads(kind: &Arc<Kind>, form: Form, include: Include, clock: Clock) -> Self {
        let mut encoder = Self::new(kind, form);
        if let Form::Table(version) = form {
            encoder.form = form;
            encoder.table = Some(TableView {
                version,
                include,
                clock,
                columns: true,
            });
        }
        encoder
    }

    fn render(&self, view: TableView, items: &[Value], metadata: Value) -> Bytes {
        let options = TableOptions {
            api_version: view.version.api_version(),
            metadata,
            include: view.include,
            columns: view.columns,
        };
        let table = table::render(&self.kind, items, &options, view.clock.timestamp());
        Bytes::from(table.to_string())
    }

    fn value(&self, stored: &Stored) -> Value {
        super::write::as_served(&self.kind, stored.value())
    }

    /// One object as a document of its own.
    pub(crate) fn object(&self, stored: &Stored) -> VecDeque<Bytes> {
        let mut out = VecDeque::new();
        self.push_object(stored, &mut out);
        out
    }

    /// An object whose fields have other names in this kind than in the store.
    fn converted(&self, stored: &Stored) -> Stored {
        stored.replaced(&self.value(stored), &self.opening)
    }

    fn push_row(&self, view: TableView, stored: &Stored, out: &mut VecDeque<Bytes>) {
        let version = json!({"resourceVersion": stored.version.to_string()});
        out.push_back(self.render(view, &[self.value(stored)], version));
    }

    fn push_object(&self, stored: &Stored, out: &mut VecDeque<Bytes>) {
        if let Some(view) = self.table {
            return self.push_row(view, stored, out);
        }
        match self.form {
            Form::Partial(version) => {
                out.push_back(Bytes::from_static(partial(version)));
                out.push_back(stored.metadata());
                out.push_back(Bytes::from_static(b"}"));
            }
            _ if self.as_stored => out.push_back(stored.json()),
            _ if self.kind.is_new_event() => out.push_back(self.converted(stored).json()),
            _ => {
                out.push_back(self.opening.bytes().clone());
                out.push_back(stored.body());
            }
        }
    }

    /// A list. `shard` is the shard selector it was cut with.
    pub(crate) fn list(&self, items: &[Arc<Stored>], meta: &ListMeta<'_>) -> VecDeque<Bytes> {
        let mut out = VecDeque::with_capacity(items.len() * 2 + 2);
        if let Some(view) = self.table {
            let items: Vec<Value> = items.iter().map(|stored| self.value(stored)).collect();
            let metadata = serde_json::from_str(&meta.json(false)).unwrap_or_default();
            out.push_back(self.render(view, &items, metadata));
            out.push_back(Bytes::from_static(b"\n"));
            return out;
        }
        let metadata = meta.json(self.kind.custom && self.form == Form::Json);
        let custom = self.kind.custom && self.form == Form::Json;
        let (kind, version) = match self.form {
            Form::Partial(version) => ("PartialObjectMetadataList", version.api_version().to_owned()),
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
                if self.kind.is_new_event() {
                    out.push_back(self.converted(stored).body());
                } else {
                    out.push_back(stored.body());
                }
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
        if let Some(view) = &mut self.table {
            view.columns = false;
        }
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
            Form::Partial(version) => String::from_utf8_lossy(partial(version)).into_owned(),
            _ => String::from_utf8_lossy(self.opening.bytes()).into_owned(),
        };
        let object = match self.table {
            None => format!("{opening}{metadata}}}"),
            Some(view) => {
                let row: Value = serde_json::from_str(&format!("{{{metadata}}}")).unwrap_or_default();
                let table = self.render(view, &[row], json!({"resourceVersion": version}));
                String::from_utf8_lossy(&table).into_owned()
            }
        };
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

/// Whether objects of a kind are stored in the version it serves.
pub(crate) fn is_as_stored(kind: &Kind) -> bool {
    // `plural` or `plural.group`, compared without putting the text together: every write asks.
    let rest = kind.storage.strip_prefix(kind.plural.as_str());
    let same = match rest {
        Some("") => kind.group.is_empty(),
        Some(rest) => rest.strip_prefix('.') == Some(kind.group.as_str()),
        None => false,
    };
    same && kind.version == kind.storage_version
}

/// A line that carries an error to a watch.
pub(crate) fn error_line(error: &crate::status::ApiError) -> Bytes {
    let mut line = b"{\"type\":\"ERROR\",\"object\":".to_vec();
    line.extend_from_slice(error.to_value().to_string().as_bytes());
    line.extend_from_slice(b"}\n");
    Bytes::from(line)
}
