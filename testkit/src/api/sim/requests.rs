//! The log of requests, objects and kinds.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, check_query, read};
use crate::{
    faults::is_resource, fixtures, kind::Kind, requests::Verb, server::ApiServer, state::Shared,
    status::ApiError,
};

pub(super) fn log(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    check_query(call, &["verb", "resource"])?;
    let verb: Option<Verb> = call
        .query
        .get("verb")
        .map(|text| serde_json::from_value(json!(text)))
        .transpose()
        .map_err(|error| ApiError::bad_request(error.to_string()))?;
    let resource = call.query.get("resource");
    let wanted = server.requests().matching(|request| {
        verb.is_none_or(|verb| verb == request.verb)
            && resource.is_none_or(|resource| is_resource(resource, request))
    });
    let rows = wanted.iter().map(|request| {
        json!({
            "sequence": request.sequence, "atMs": u64::try_from(request.at.as_millis()).unwrap_or(u64::MAX),
            "verb": request.verb, "method": request.method, "uri": request.uri, "status": request.status,
            "resource": request.resource, "replica": request.replica, "userAgent": request.user_agent,
        })
    });
    Ok(json!({ "count": wanted.len(), "requests": rows.collect::<Vec<_>>() }))
}

pub(super) fn load(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    check_query(call, &[])?;
    let text = std::str::from_utf8(&call.body)
        .map_err(|_| ApiError::bad_request("objects come as YAML or JSON, in UTF-8"))?;
    let loaded =
        fixtures::load_text(server, text).map_err(|error| ApiError::bad_request(error.to_string()))?;
    Ok(json!({ "loaded": loaded }))
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Posted {
    group: String,
    version: String,
    kind: String,
    plural: String,
    #[serde(default)]
    cluster_scoped: bool,
    #[serde(default)]
    status: bool,
    #[serde(default)]
    short_names: Vec<String>,
    #[serde(default)]
    selectable_fields: Vec<String>,
}

pub(super) fn register(shared: &Shared, server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    let posted: Posted = read(call)?;
    for (field, text) in [
        ("group", &posted.group),
        ("version", &posted.version),
        ("kind", &posted.kind),
        ("plural", &posted.plural),
    ] {
        let plain =
            |byte: u8| byte.is_ascii_alphanumeric() || (field == "group" && matches!(byte, b'.' | b'-'));
        if text.is_empty() || !text.bytes().all(plain) {
            return Err(ApiError::bad_request(format!("{text:?} is no {field}")));
        }
    }
    let mut kind = Kind::new(posted.group, posted.version, posted.kind, posted.plural);
    if posted.cluster_scoped {
        kind = kind.cluster_scoped();
    }
    if posted.status {
        kind = kind.with_status();
    }
    kind = posted.short_names.into_iter().fold(kind, Kind::short_name);
    kind = posted
        .selectable_fields
        .into_iter()
        .fold(kind, Kind::selectable_field);
    let resource = kind.resource();
    let taken =
        shared.lock().registry.kinds().iter().any(|known| {
            known.group == kind.group && (known.plural == kind.plural || known.kind == kind.kind)
        });
    if taken {
        return Err(ApiError::new(
            409,
            "AlreadyExists",
            format!("{resource} is served already"),
        ));
    }
    server.register(kind);
    Ok(json!({ "resource": resource }))
}
