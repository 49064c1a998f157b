//! The control plane below `/_sim/`: the handle's powers for programs in other languages. Off unless switched on.

use std::sync::Arc;

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Answer, Call, json_response};
use crate::{
    body::Body,
    faults::{Fault, Faults, On},
    state::Shared,
    status::ApiError,
};

/// A fault as it is posted: when and what, side by side.
#[derive(Debug, Deserialize)]
struct Posted {
    #[serde(default)]
    on: On,
    #[serde(flatten)]
    fault: Fault,
}

pub(crate) fn answer(shared: &Arc<Shared>, call: &Call, path: &str) -> Answer {
    if !shared.config.sim {
        return Err(ApiError::path_not_found());
    }
    let faults = Faults::new(Arc::clone(&shared.faults));
    let parts: Vec<&str> = path.split('/').collect();
    let done = match (&call.method, parts.as_slice()) {
        (&Method::GET, ["faults"]) => {
            let rules = faults.rules().into_iter().map(|(id, on, fault, count)| {
                let mut rule = json!(fault);
                rule["id"] = json!(id);
                rule["on"] = json!(on);
                rule["count"] = json!(count);
                rule
            });
            json!({ "rules": rules.collect::<Vec<_>>(), "counts": faults.counts() })
        }
        (&Method::POST, ["faults"]) => {
            let posted: Posted = read(call)?;
            json!({ "id": faults.inject(posted.on, posted.fault).id() })
        }
        (&Method::DELETE, ["faults"]) => {
            faults.clear();
            json!({})
        }
        (&Method::DELETE, ["faults", id]) => {
            let id = id
                .parse()
                .map_err(|_| ApiError::bad_request("a fault's id is a number"))?;
            if !faults.remove(id) {
                return Err(ApiError::path_not_found());
            }
            json!({})
        }
        (&Method::GET, ["requests"]) => {
            let all = shared.requests.all();
            let rows = all.iter().map(|request| {
                json!({
                    "sequence": request.sequence, "atMs": u64::try_from(request.at.as_millis()).unwrap_or(u64::MAX),
                    "verb": request.verb, "method": request.method, "uri": request.uri, "status": request.status,
                    "userAgent": request.user_agent,
                })
            });
            json!({ "requests": rows.collect::<Vec<_>>() })
        }
        (&Method::POST, ["compact"]) => {
            let asked: Value = read(call)?;
            let mut state = shared.lock();
            let to = asked["version"]
                .as_u64()
                .unwrap_or_else(|| state.storage.revision());
            state.storage.compact_to(to);
            json!({ "compacted": state.storage.compacted() })
        }
        (&Method::GET, ["state"]) => {
            let state = shared.lock();
            let (revision, compacted) = (state.storage.revision(), state.storage.compacted());
            json!({ "revision": revision, "compacted": compacted, "watches": shared.watchers.all().len() })
        }
        _ => return Err(ApiError::path_not_found()),
    };
    Ok(json_response(StatusCode::OK, Body::full(format!("{done}\n"))))
}

fn read<T: serde::de::DeserializeOwned>(call: &Call) -> Result<T, ApiError> {
    let body: &[u8] = if call.body.is_empty() { b"{}" } else { &call.body };
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(error.to_string()))
}
