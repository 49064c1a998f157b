//! The control plane below `/_sim/`: the handle's powers for programs in other languages. Off unless switched on.

mod disorder;
mod history;
mod requests;

use std::{sync::Arc, time::Duration};

use http::StatusCode;
use serde::{Deserialize, Deserializer, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{Answer, Call, json_response};
use crate::{body::Body, server::ApiServer, sim::OPERATIONS, state::Shared, status::ApiError};

pub(crate) async fn answer(shared: &Arc<Shared>, call: &Call, path: &str) -> Answer {
    if !shared.config.sim {
        return Err(ApiError::path_not_found());
    }
    let path: Vec<&str> = path.split('/').filter(|segment| !segment.is_empty()).collect();
    let at_path = OPERATIONS.iter().filter(|operation| operation.is_at(&path));
    if at_path.clone().count() == 0 {
        let why = format!("no operation /_sim/{}; GET /_sim/ lists them", path.join("/"));
        return Err(ApiError::new(404, "NotFound", why));
    }
    let mut found = at_path.filter(|operation| operation.method == call.method.as_str());
    if found.next().is_none() {
        return Err(ApiError::method_not_allowed());
    }
    let server = ApiServer::of(shared);
    let done = match (call.method.as_str(), path.as_slice()) {
        ("GET", []) => index(),
        ("GET", ["state"]) => history::state(shared, &server),
        (_, ["settled"]) => settled(&server, call).await?,
        ("GET", ["faults"]) => disorder::faults(&server),
        ("POST", ["faults"]) => disorder::inject(&server, call)?,
        (_, ["faults"]) => disorder::clear(&server),
        (_, ["faults", id]) => disorder::remove(&server, number(id)?)?,
        (_, ["refuseConnections"]) => disorder::refuse_connections(&server, call)?,
        (_, ["loseDelete"]) => disorder::lose_delete(&server, call)?,
        ("GET", ["watches"]) => disorder::watches(&server, call)?,
        (_, ["watches", what]) => disorder::command(&server, what, call)?,
        ("GET", ["replicas"]) => history::replicas(shared, &server),
        (_, ["replicas", index, what]) => history::replica(shared, &server, number(index)?, what, call)?,
        (_, ["compact"]) => history::compact(&server, call)?,
        (_, ["compactTo"]) => history::compact_to(&server, call)?,
        (_, ["history"]) => history::set(&server, call)?,
        (_, ["bumpRevision"]) => {
            read::<Nothing>(call)?;
            json!({ "revision": server.bump_revision() })
        }
        ("GET", ["snapshots"]) => history::snapshots(shared),
        (_, ["snapshot"]) => history::snapshot(shared, &server, call)?,
        (_, ["snapshots", id]) => history::forget(shared, number(id)?)?,
        (_, [back @ ("restore" | "rewind")]) => history::go_back(shared, &server, back, call)?,
        (_, ["load"]) => requests::load(&server, call)?,
        (_, ["register"]) => requests::register(shared, &server, call)?,
        ("GET", ["requests"]) => requests::log(&server, call)?,
        _ => {
            server.requests().clear();
            json!({})
        }
    };
    Ok(json_response(StatusCode::OK, Body::full(format!("{done}\n"))))
}

fn index() -> Value {
    let rows = OPERATIONS.iter().map(|operation| {
        json!({
            "method": operation.method, "path": format!("/_sim/{}", operation.path),
            "fields": operation.fields, "what": operation.what,
        })
    });
    json!({ "operations": rows.collect::<Vec<_>>() })
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Settle {
    #[serde(default, deserialize_with = "given")]
    timeout_ms: Option<u64>,
}

async fn settled(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    const USUAL: u64 = 10_000;
    const LONGEST: u64 = 600_000;
    let asked: Settle = read(call)?;
    let limit = asked.timeout_ms.unwrap_or(USUAL);
    if limit > LONGEST {
        return Err(ApiError::bad_request(format!(
            "timeoutMs is at most {LONGEST}, not {limit}"
        )));
    }
    let settled = tokio::time::timeout(Duration::from_millis(limit), server.settled()).await;
    Ok(json!({ "settled": settled.is_ok() }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

/// Reads the body of a POST. What is not known there is refused: a field that is spelt wrong must not turn "some" into
/// "all".
fn read<T: DeserializeOwned>(call: &Call) -> Result<T, ApiError> {
    check_query(call, &[])?;
    let body: &[u8] = if call.body.is_empty() { b"{}" } else { &call.body };
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(ApiError::bad_request("the body is a JSON object"));
    }
    serde_json::from_slice(body).map_err(|error| ApiError::bad_request(error.to_string()))
}

/// # Errors
/// 400 for parameters that are not known here.
fn check_query(call: &Call, known: &[&str]) -> Result<(), ApiError> {
    let unknown = call
        .query
        .pairs()
        .iter()
        .find(|(name, _)| !known.contains(&name.as_str()));
    match unknown {
        Some((name, _)) => Err(ApiError::bad_request(format!("unknown parameter `{name}`"))),
        None => Ok(()),
    }
}

fn number(text: &str) -> Result<u64, ApiError> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .ok_or_else(|| ApiError::bad_request(format!("{text:?} is no number")))
}

/// A field that may be left out, but not be `null`: that would be a value that got lost on the way.
fn given<'de, D: Deserializer<'de>, T: Deserialize<'de>>(field: D) -> Result<Option<T>, D::Error> {
    T::deserialize(field).map(Some)
}
