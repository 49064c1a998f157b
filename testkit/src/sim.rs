//! What a server offers below `/_sim/` when [`Builder::sim`](crate::Builder::sim) switches it on: the handle's powers,
//! for programs in other languages.
//!
//! Bodies are JSON objects. A field that is not known, of the wrong type or out of range gets 400 and a `Status`, and
//! nothing happens; what is not there gets 404. An empty body stands for `{}`.
//!
//! # Examples
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! use informer_testkit::ApiServer;
//! let server = ApiServer::builder().sim(true).build();
//! let (status, _) = server.request("POST", "/_sim/compact", r#"{"version":1}"#).await;
//! assert_eq!(status, 200);
//! assert_eq!(server.faults().counts()["compact"], 1);
//! # }
//! ```

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Operation {
    /// `GET`, `POST` or `DELETE`.
    pub method: &'static str,
    /// The path below `/_sim/`; a segment in braces stands for any.
    pub path: &'static str,
    /// The fields of the body or, for a `GET`, the parameters of the query; those with `?` may be left out.
    pub fields: &'static str,
    /// What it does.
    pub what: &'static str,
}

impl Operation {
    pub(crate) fn is_at(&self, path: &[&str]) -> bool {
        let own = self.path.split('/').filter(|segment| !segment.is_empty());
        own.clone().count() == path.len()
            && own
                .zip(path)
                .all(|(own, given)| own.starts_with('{') || own == *given)
    }
}

/// Every operation, by topic.
#[rustfmt::skip]
pub const OPERATIONS: [Operation; 34] = [
    op("GET", "", "", "these operations"),
    op("GET", "state", "", "revision, history, watches, objects, snapshots, panics"),
    op("POST", "settled", "timeoutMs?", "waits until every open watch has got everything"),
    op("GET", "faults", "", "faults in force, and how often each struck"),
    op("POST", "faults", "on?, fault, …", "puts a fault in force"),
    op("DELETE", "faults", "", "takes every fault out of force"),
    op("DELETE", "faults/{id}", "", "takes one fault out of force"),
    op("POST", "refuseConnections", "on", "an outage begins or ends"),
    op("POST", "loseDelete", "resource, namespace?, name", "deletes an object so that no watch can tell"),
    op("GET", "watches", "resource?, id?", "the open watches"),
    op("POST", "watches/close", "resource?, id?", "ends them as a time-out does"),
    op("POST", "watches/reset", "resource?, id?", "breaks their connections"),
    op("POST", "watches/stall", "resource?, id?", "makes them silent for ever"),
    op("POST", "watches/expire", "resource?, id?", "sends 410 and ends them"),
    op("POST", "watches/fail", "resource?, id?, code, reason?, message?", "sends an error and ends them"),
    op("POST", "watches/raw", "resource?, id?, text", "sends any text"),
    op("POST", "watches/bookmark", "resource?, id?, version", "sends a bookmark with any version"),
    op("GET", "replicas", "", "the replicas and what each shows"),
    op("POST", "replicas/{index}/freeze", "", "stops a replica at what it shows"),
    op("POST", "replicas/{index}/thaw", "", "lets a replica catch up"),
    op("POST", "replicas/{index}/lag", "frozen | behind | delayMs", "makes a replica lag"),
    op("POST", "compact", "version?", "forgets history up to a version; without one, all of it"),
    op("POST", "compactTo", "version", "forgets history up to a version"),
    op("POST", "history", "events?, ageMs?", "sets how much history a kind keeps; what is left out has no bound"),
    op("POST", "bumpRevision", "", "uses up one revision"),
    op("GET", "snapshots", "", "the snapshots held"),
    op("POST", "snapshot", "", "takes a snapshot and holds it"),
    op("DELETE", "snapshots/{id}", "", "lets a snapshot go"),
    op("POST", "restore", "snapshot", "goes back to a snapshot and ends open watches"),
    op("POST", "rewind", "snapshot", "goes back to a snapshot and leaves open watches hanging"),
    op("POST", "load", "YAML or JSON", "loads objects as they are, status included"),
    op("POST", "register", "group, version, kind, plural, clusterScoped?, status?, shortNames?, selectableFields?", "serves a kind without a definition"),
    op("GET", "requests", "verb?, resource?", "the log of requests"),
    op("DELETE", "requests", "", "empties the log of requests"),
];

const fn op(method: &'static str, path: &'static str, fields: &'static str, what: &'static str) -> Operation {
    Operation {
        method,
        path,
        fields,
        what,
    }
}
