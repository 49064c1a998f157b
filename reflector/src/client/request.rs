//! Addresses of requests.

use std::fmt::Write;

use informer_store::ObjectKey;

use crate::{ListRequest, ReadAt, WatchRequest};

/// What is listed and watched.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The collection.
    path: String,
    /// The collection without its namespace.
    root: String,
    pub(super) labels: Option<String>,
    pub(super) fields: Option<String>,
    pub(super) shard: Option<String>,
}

impl Target {
    pub(super) fn new(path: String, root: String) -> Self {
        Self {
            path,
            root,
            labels: None,
            fields: None,
            shard: None,
        }
    }

    pub(super) fn list(&self, request: &ListRequest) -> String {
        let mut query = self.query();
        if let Some(token) = &request.continue_token {
            query.add("continue", token);
        } else {
            match &request.at {
                ReadAt::Latest => {}
                ReadAt::Any => query.add("resourceVersion", "0"),
                ReadAt::NotOlderThan(version) => {
                    query.add("resourceVersion", &version.to_string());
                    query.add("resourceVersionMatch", "NotOlderThan");
                }
                ReadAt::Exact(version) => {
                    query.add("resourceVersion", &version.to_string());
                    query.add("resourceVersionMatch", "Exact");
                }
            }
        }
        if let Some(limit) = request.limit {
            query.add("limit", &limit.to_string());
        }
        query.text
    }

    pub(super) fn watch(&self, request: &WatchRequest) -> String {
        let mut query = self.query();
        query.add("watch", "true");
        query.add("allowWatchBookmarks", "true");
        query.add("timeoutSeconds", &request.timeout.as_secs().max(1).to_string());
        if request.initial_events {
            query.add("sendInitialEvents", "true");
            query.add("resourceVersionMatch", "NotOlderThan");
        }
        if !request.version.is_unset() {
            query.add("resourceVersion", &request.version.to_string());
        }
        query.text
    }

    pub(super) fn get(&self, key: &ObjectKey) -> String {
        let name = encode(key.name());
        let Some(namespace) = key.namespace() else {
            return format!("{}/{name}", self.root);
        };
        let (before, plural) = self.root.rsplit_once('/').unwrap_or(("", &self.root));
        format!("{before}/namespaces/{}/{plural}/{name}", encode(namespace))
    }

    fn query(&self) -> Query {
        let mut query = Query {
            text: self.path.clone(),
            separator: '?',
        };
        for (name, value) in [
            ("labelSelector", &self.labels),
            ("fieldSelector", &self.fields),
            ("shardSelector", &self.shard),
        ] {
            if let Some(value) = value {
                query.add(name, value);
            }
        }
        query
    }
}

struct Query {
    text: String,
    separator: char,
}

impl Query {
    fn add(&mut self, name: &str, value: &str) {
        let separator = std::mem::replace(&mut self.separator, '&');
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{separator}{name}={}", encode(value));
    }
}

/// Percent-encodes everything but letters, digits and `-._~`.
fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}
