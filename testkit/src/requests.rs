//! The request log: what clients asked for, to assert on.

use std::{
    collections::VecDeque,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{api::params::Query, faults::is_resource};

/// What a request does, in the words of Kubernetes' own access rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Verb {
    /// Reads one object.
    Get,
    /// Reads a collection.
    List,
    /// Follows a collection or an object.
    Watch,
    /// Creates an object.
    Create,
    /// Replaces an object.
    Update,
    /// Changes parts of an object.
    Patch,
    /// Deletes an object.
    Delete,
    /// Deletes a collection.
    DeleteCollection,
    /// Anything that is not about objects: discovery, health, version.
    Other,
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Get => "get",
            Self::List => "list",
            Self::Watch => "watch",
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Delete => "delete",
            Self::DeleteCollection => "deletecollection",
            Self::Other => "other",
        })
    }
}

/// One request a client sent.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Request {
    /// Position in the log, from 0.
    pub sequence: u64,
    /// When it arrived, since the server was built.
    pub at: Duration,
    /// What it does.
    pub verb: Verb,
    /// The HTTP method.
    pub method: String,
    /// Path and query as sent.
    pub uri: String,
    /// The API group; empty for the core group and for requests that are not about objects.
    pub group: String,
    /// The plural name; empty for requests that are not about objects.
    pub resource: String,
    /// The namespace in the path.
    pub namespace: Option<String>,
    /// The name in the path, or the one a field selector asks for.
    pub name: Option<String>,
    /// The subresource in the path.
    pub subresource: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: String,
    /// Which replica served it.
    pub replica: usize,
    /// The HTTP status of the answer; 0 while there is none.
    pub status: u16,
    pub(crate) query: Query,
}

impl Request {
    /// A query parameter; `None` if it was not sent.
    pub fn param(&self, name: &str) -> Option<&str> {
        self.query.get(name)
    }
}

/// The log of requests: [`ApiServer::requests`](crate::ApiServer::requests).
///
/// It keeps the newest 100,000.
#[derive(Clone, Debug, Default)]
pub struct Requests {
    log: Arc<Mutex<Log>>,
}

#[derive(Debug, Default)]
struct Log {
    next: u64,
    entries: VecDeque<Request>,
}

const KEEP: usize = 100_000;

impl Requests {
    pub(crate) fn push(&self, mut request: Request) -> Request {
        let mut log = self.lock();
        request.sequence = log.next;
        log.next += 1;
        if log.entries.len() == KEEP {
            log.entries.pop_front();
        }
        log.entries.push_back(request.clone());
        request
    }

    pub(crate) fn answered(&self, sequence: u64, status: u16) {
        let mut log = self.lock();
        let first = log.entries.front().map_or(0, |entry| entry.sequence);
        let at = usize::try_from(sequence.wrapping_sub(first)).unwrap_or(usize::MAX);
        if let Some(entry) = log.entries.get_mut(at) {
            entry.status = status;
        }
    }

    /// Every request, oldest first.
    pub fn all(&self) -> Vec<Request> {
        self.lock().entries.iter().cloned().collect()
    }

    /// The requests that `wanted` accepts, oldest first.
    pub fn matching(&self, mut wanted: impl FnMut(&Request) -> bool) -> Vec<Request> {
        self.lock()
            .entries
            .iter()
            .filter(|request| wanted(request))
            .cloned()
            .collect()
    }

    /// How many requests `wanted` accepts.
    pub fn count(&self, mut wanted: impl FnMut(&Request) -> bool) -> usize {
        self.lock()
            .entries
            .iter()
            .filter(|request| wanted(request))
            .count()
    }

    /// How many requests had this verb, for a resource by its plural name.
    pub fn verb(&self, verb: Verb, resource: &str) -> usize {
        self.count(|request| request.verb == verb && is_resource(resource, request))
    }

    /// How many lists of a resource, pages counted singly.
    pub fn lists(&self, resource: &str) -> usize {
        self.verb(Verb::List, resource)
    }

    /// How many watches of a resource were started.
    pub fn watches(&self, resource: &str) -> usize {
        self.verb(Verb::Watch, resource)
    }

    /// How many requests changed objects of a resource, or tried to.
    pub fn writes(&self, resource: &str) -> usize {
        self.count(|request| {
            is_resource(resource, request)
                && !matches!(request.verb, Verb::Get | Verb::List | Verb::Watch | Verb::Other)
        })
    }

    /// The newest request.
    pub fn last(&self) -> Option<Request> {
        self.lock().entries.back().cloned()
    }

    /// How many requests there were since the start or the last [`clear`](Self::clear), up to what the log keeps.
    pub fn len(&self) -> usize {
        self.lock().entries.len()
    }

    /// Whether there was none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets everything so far.
    pub fn clear(&self) {
        self.lock().entries.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
