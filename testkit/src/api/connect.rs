//! Creates that make no object: reviews, and the pod subresources that bind and evict.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Value, json};

use super::write::{as_served, commit, context, delete_object};
use super::{Answer, Call, json_response, route::ResourcePath};
use crate::{
    body::Body,
    kind::Kind,
    state::{Shared, State},
    status::ApiError,
    storage::Key,
    write::{self, DeleteOptions, Target, WriteContext, stamp},
};

/// Answers a create below an object, such as `pods/NAME/binding`.
pub(crate) fn create(shared: &Shared, call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Answer {
    let name = path.subresource.as_deref().unwrap_or_default();
    let subresource = kind.subresource(name).ok_or_else(ApiError::resource_not_found)?;
    if !subresource.verbs.contains(&"create") {
        return Err(ApiError::method_not_allowed());
    }
    let body: Value = if call.body.is_empty() {
        json!({})
    } else {
        write::parse_yaml(&call.body)?
    };
    let mut state = shared.lock();
    let mut rng = state.rng.fork();
    let mut ctx = context(shared, call, &mut rng, "CreateOptions")?;
    let key: Key = (
        path.namespace.as_deref().unwrap_or_default().into(),
        path.name.as_deref().unwrap_or_default().into(),
    );
    if state.storage.get(&kind.storage, &key).is_none() {
        return Err(ApiError::not_found(kind, &key.1));
    }
    match name {
        "binding" => bind(&mut state, kind, &key, &body, &mut ctx)?,
        "eviction" => {
            let options = body.get("deleteOptions").filter(|options| options.is_object());
            let options = options.map(Value::to_string).unwrap_or_default();
            let options = DeleteOptions::parse("", options.as_bytes(), [])?;
            delete_object(&mut state, kind, &key, &options, &mut ctx)?;
        }
        "token" => return Ok(token(&body, &ctx)),
        _ => return Err(ApiError::method_not_allowed()),
    }
    let done =
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201});
    Ok(json_response(
        StatusCode::CREATED,
        Body::full(format!("{done}\n")),
    ))
}

/// Gives a pod its node, once.
fn bind(
    state: &mut State,
    kind: &Arc<Kind>,
    key: &Key,
    body: &Value,
    ctx: &mut WriteContext<'_>,
) -> Result<(), ApiError> {
    let node = body
        .pointer("/target/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if node.is_empty() {
        let cause = crate::status::Cause::required("target.name", "");
        return Err(ApiError::invalid_kind("", "Binding", &key.1, vec![cause]));
    }
    let Some(stored) = state.storage.get(&kind.storage, key) else {
        return Err(ApiError::not_found(kind, &key.1));
    };
    let current = as_served(kind, stored.value());
    let taken = current
        .pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !taken.is_empty() {
        let why = format!("pod {} is already assigned to node \"{taken}\"", key.1);
        return Err(ApiError::conflict_because(kind, &key.1, &why));
    }
    let mut bound = current.clone();
    bound["spec"]["nodeName"] = json!(node);
    let updated = write::update(kind, Target::Main, &key.1, &current, bound, ctx)?;
    let stored = commit(state, kind, key, updated, false);
    let current = as_served(kind, stored.value());
    let scheduled = json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null,
        "lastTransitionTime": stamp(ctx.now)});
    let patch = json!({"status": {"conditions": [scheduled]}}).to_string();
    let object = crate::patch::apply_plain(
        kind,
        crate::patch::PatchType::Strategic,
        &current,
        patch.as_bytes(),
    )?;
    let updated = write::update(kind, Target::Status, &key.1, &current, object, ctx)?;
    commit(state, kind, key, updated, false);
    Ok(())
}

fn token(body: &Value, ctx: &WriteContext<'_>) -> http::Response<Body> {
    let seconds = body
        .pointer("/spec/expirationSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(3600)
        .clamp(600, 1 << 32);
    let end = ctx
        .now
        .checked_add(jiff::SignedDuration::from_secs(seconds))
        .unwrap_or(ctx.now);
    let mut request = json!({"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1"});
    request["metadata"] = json!({"creationTimestamp": stamp(ctx.now)});
    request["spec"] = body.get("spec").cloned().unwrap_or_else(|| json!({}));
    request["status"] = json!({"token": "no-token-is-needed-here", "expirationTimestamp": stamp(end)});
    json_response(StatusCode::CREATED, Body::full(format!("{request}\n")))
}

/// The answer to a review, or `None` for a kind that is none. Everything is allowed; nothing is stored.
pub(crate) fn review(kind: &Kind, mut object: Value) -> Option<Value> {
    let user = json!({"username": "system:admin", "groups": ["system:masters", "system:authenticated"]});
    let status = match kind.kind.as_str() {
        _ if kind.custom => return None,
        "SelfSubjectReview" => json!({"userInfo": user}),
        "TokenReview" => json!({"authenticated": true, "user": user}),
        "SelfSubjectRulesReview" => json!({
            "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}],
            "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
            "incomplete": false,
        }),
        name if name.ends_with("AccessReview") => json!({"allowed": true, "reason": "everything is allowed"}),
        _ => return None,
    };
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.clone().into();
    object["status"] = status;
    Some(object)
}
