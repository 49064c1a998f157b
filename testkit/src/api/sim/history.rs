//! History, snapshots and replicas.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, Nothing, given, read};
use crate::{
    server::ApiServer,
    state::{Shared, Snapshots},
    status::ApiError,
    storage::Lag,
};

pub(super) fn state(shared: &Shared, server: &ApiServer) -> Value {
    let mut shown = {
        let state = shared.lock();
        let window = state.storage.window();
        let age = (window.age < Duration::MAX).then(|| millis(window.age));
        let kinds = state.registry.kinds().iter();
        let counts: std::collections::BTreeMap<&str, usize> = kinds
            .map(|kind| (kind.storage.as_str(), state.storage.count(&kind.storage)))
            .filter(|(_, count)| *count > 0)
            .collect();
        json!({
            "revision": state.storage.revision(), "compacted": state.storage.compacted(),
            "history": {"events": window.events, "ageMs": age}, "objects": counts,
        })
    };
    shown["watches"] = json!(server.watches().len());
    shown["settled"] = json!(server.is_settled());
    shown["snapshots"] = json!(shared.snapshots().len());
    shown["panics"] = json!(server.panics());
    shown
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Compact {
    #[serde(default, deserialize_with = "given")]
    version: Option<u64>,
}

pub(super) fn compact(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    match read::<Compact>(call)?.version {
        Some(version) => compact_at(server, version),
        None => {
            server.compact();
            Ok(json!({ "compacted": server.revision() }))
        }
    }
}

pub(super) fn compact_to(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    let version = read::<Compact>(call)?.version;
    compact_at(
        server,
        version.ok_or_else(|| ApiError::bad_request("missing field `version`"))?,
    )
}

fn compact_at(server: &ApiServer, version: u64) -> Result<Value, ApiError> {
    let newest = server.revision();
    if version > newest {
        let why = format!("version {version} is still to come; the newest is {newest}");
        return Err(ApiError::bad_request(why));
    }
    server.compact_to(version);
    Ok(json!({ "compacted": version }))
}

pub(super) fn set(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct History {
        #[serde(default, deserialize_with = "given")]
        events: Option<usize>,
        #[serde(default, deserialize_with = "given")]
        age_ms: Option<u64>,
    }
    let asked: History = read(call)?;
    if asked.events.is_none() && asked.age_ms.is_none() {
        return Err(ApiError::bad_request("missing field `events` or `ageMs`"));
    }
    if asked.events == Some(0) || asked.age_ms == Some(0) {
        return Err(ApiError::bad_request("a history of nothing serves no watch"));
    }
    let age = asked.age_ms.map_or(Duration::MAX, Duration::from_millis);
    server.history(asked.events.unwrap_or(usize::MAX), age);
    Ok(json!({ "events": asked.events, "ageMs": asked.age_ms }))
}

// --- snapshots ---

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Back {
    snapshot: u64,
}

/// As many as are held at once; their objects are shared with the state as long as that keeps them.
const MOST: usize = 16;

pub(super) fn snapshots(shared: &Shared) -> Value {
    let held = shared.snapshots();
    let rows = held.iter().map(
        |(id, snapshot)| json!({"snapshot": id, "revision": snapshot.revision(), "objects": snapshot.len()}),
    );
    json!({ "snapshots": rows.collect::<Vec<_>>() })
}

pub(super) fn snapshot(shared: &Shared, server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    read::<Nothing>(call)?;
    let taken = server.snapshot();
    let shown = json!({ "revision": taken.revision(), "objects": taken.len() });
    let mut held = shared.snapshots();
    if held.len() >= MOST {
        let why = format!("{MOST} snapshots are held already; DELETE /_sim/snapshots/ID lets one go");
        return Err(ApiError::bad_request(why));
    }
    let id = held.last_key_value().map_or(1, |(id, _)| id + 1);
    held.insert(id, taken);
    let mut shown = shown;
    shown["snapshot"] = json!(id);
    Ok(shown)
}

pub(super) fn forget(shared: &Shared, id: u64) -> Result<Value, ApiError> {
    match shared.snapshots().remove(&id) {
        Some(_) => Ok(json!({})),
        None => Err(no_snapshot(id)),
    }
}

pub(super) fn go_back(
    shared: &Arc<Shared>,
    server: &ApiServer,
    how: &str,
    call: &Call,
) -> Result<Value, ApiError> {
    let Back { snapshot: id } = read(call)?;
    let found = |held: &Snapshots| held.get(&id).cloned();
    let snapshot = found(&shared.snapshots()).ok_or_else(|| no_snapshot(id))?;
    if how == "rewind" {
        server.rewind(&snapshot);
    } else {
        server.restore(&snapshot);
    }
    Ok(json!({ "revision": server.revision() }))
}

fn no_snapshot(id: u64) -> ApiError {
    ApiError::new(404, "NotFound", format!("no snapshot {id}"))
}

// --- replicas ---

pub(super) fn replicas(shared: &Shared, server: &ApiServer) -> Value {
    let lags = shared.lock().storage.lags().to_vec();
    let rows = lags.iter().enumerate().map(|(index, lag)| {
        let mut row = match lag {
            Lag::None => json!({}),
            Lag::Frozen(version) => json!({ "frozen": version }),
            Lag::Behind(revisions) => json!({ "behind": revisions }),
            Lag::Delay(delay) => json!({ "delayMs": millis(*delay) }),
        };
        row["index"] = json!(index);
        row["revision"] = json!(server.replica(index).revision());
        row
    });
    json!({ "replicas": rows.collect::<Vec<_>>() })
}

pub(super) fn replica(
    shared: &Shared,
    server: &ApiServer,
    index: u64,
    what: &str,
    call: &Call,
) -> Result<Value, ApiError> {
    let count = shared.lock().storage.replicas();
    let replica = usize::try_from(index)
        .ok()
        .filter(|index| *index < count)
        .map(|index| server.replica(index))
        .ok_or_else(|| ApiError::new(404, "NotFound", format!("no replica {index}; there are {count}")))?;
    if what == "lag" {
        replica.lag(lag(read(call)?)?);
    } else {
        read::<Nothing>(call)?;
        match what {
            "freeze" => {
                replica.freeze();
            }
            _ => replica.thaw(),
        }
    }
    Ok(json!({ "revision": replica.revision() }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PostedLag {
    #[serde(default, deserialize_with = "given")]
    frozen: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    behind: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    delay_ms: Option<u64>,
}

fn lag(posted: PostedLag) -> Result<Lag, ApiError> {
    match (posted.frozen, posted.behind, posted.delay_ms) {
        (Some(version), None, None) => Ok(Lag::Frozen(version)),
        (None, Some(revisions), None) => Ok(Lag::Behind(revisions)),
        (None, None, Some(ms)) => Ok(Lag::Delay(Duration::from_millis(ms))),
        _ => Err(ApiError::bad_request(
            "a lag is one of `frozen`, `behind` and `delayMs`",
        )),
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
