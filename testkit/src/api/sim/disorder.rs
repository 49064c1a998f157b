//! Faults and open watches.

use serde::Deserialize;
use serde_json::{Value, json};

use super::{Call, check_query, given, number, read};
use crate::{server::ApiServer, status::ApiError, watches::Watches};

pub(super) fn faults(server: &ApiServer) -> Value {
    let faults = server.faults();
    let rules = faults.rules().into_iter().map(|(id, on, fault, count)| {
        let mut rule = json!(fault);
        rule["id"] = json!(id);
        rule["on"] = json!(on);
        rule["count"] = json!(count);
        rule
    });
    json!({ "rules": rules.collect::<Vec<_>>(), "counts": faults.counts() })
}

pub(super) fn inject(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    check_query(call, &[])?;
    Ok(json!({ "id": server.faults().inject_json(&call.body)?.id() }))
}

pub(super) fn clear(server: &ApiServer) -> Value {
    server.faults().clear();
    json!({})
}

pub(super) fn remove(server: &ApiServer, id: u64) -> Result<Value, ApiError> {
    if !server.faults().remove(id) {
        return Err(ApiError::new(404, "NotFound", format!("no fault {id}")));
    }
    Ok(json!({}))
}

pub(super) fn refuse_connections(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Refuse {
        on: bool,
    }
    let asked: Refuse = read(call)?;
    server.faults().refuse_connections(asked.on);
    Ok(json!({ "on": asked.on }))
}

pub(super) fn lose_delete(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Lose {
        resource: String,
        #[serde(default)]
        namespace: String,
        name: String,
    }
    let asked: Lose = read(call)?;
    let (resource, namespace, name) = (&asked.resource, &asked.namespace, &asked.name);
    server.faults().lose_delete(server, resource, namespace, name)?;
    Ok(json!({ "revision": server.revision() }))
}

/// What a command to open watches may say; each command takes some of it.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Order {
    #[serde(default, deserialize_with = "given")]
    resource: Option<String>,
    #[serde(default, deserialize_with = "given")]
    id: Option<u64>,
    #[serde(default, deserialize_with = "given")]
    code: Option<u16>,
    #[serde(default, deserialize_with = "given")]
    reason: Option<String>,
    #[serde(default, deserialize_with = "given")]
    message: Option<String>,
    #[serde(default, deserialize_with = "given")]
    text: Option<String>,
    #[serde(default, deserialize_with = "given")]
    version: Option<String>,
}

impl Order {
    fn of(&self, server: &ApiServer) -> Watches {
        let mut watches = server.watches();
        if let Some(resource) = &self.resource {
            watches = watches.of(resource.clone());
        }
        if let Some(id) = self.id {
            watches = watches.opened_by(id);
        }
        watches
    }

    /// # Errors
    /// 400 for a field that this command has no use for.
    fn check(&self, what: &str) -> Result<(), ApiError> {
        let given = [
            ("code", self.code.is_some(), "fail"),
            ("reason", self.reason.is_some(), "fail"),
            ("message", self.message.is_some(), "fail"),
            ("text", self.text.is_some(), "raw"),
            ("version", self.version.is_some(), "bookmark"),
        ];
        match given
            .iter()
            .find(|(_, given, command)| *given && *command != what)
        {
            Some((field, ..)) => Err(ApiError::bad_request(format!(
                "unknown field `{field}` for `watches/{what}`"
            ))),
            None => Ok(()),
        }
    }
}

/// The open watches; each is known by the number its request has in the log.
pub(super) fn watches(server: &ApiServer, call: &Call) -> Result<Value, ApiError> {
    check_query(call, &["resource", "id"])?;
    let asked = Order {
        resource: call.query.get("resource").map(str::to_owned),
        id: call.query.get("id").map(number).transpose()?,
        ..Order::default()
    };
    let rows = asked.of(server).open().into_iter().map(|watcher| {
        json!({
            "id": watcher.request.sequence, "resource": watcher.request.resource, "group": watcher.request.group,
            "uri": watcher.request.uri, "replica": watcher.replica, "userAgent": watcher.request.user_agent,
            "events": watcher.events.load(std::sync::atomic::Ordering::SeqCst),
            "sent": watcher.sent.load(std::sync::atomic::Ordering::SeqCst),
        })
    });
    Ok(json!({ "watches": rows.collect::<Vec<_>>() }))
}

pub(super) fn command(server: &ApiServer, what: &str, call: &Call) -> Result<Value, ApiError> {
    let order: Order = read(call)?;
    order.check(what)?;
    let watches = order.of(server);
    let missing = |field: &str| ApiError::bad_request(format!("missing field `{field}`"));
    let count = match what {
        "close" => watches.close(),
        "reset" => watches.reset(),
        "stall" => watches.stall(),
        "expire" => watches.expire(),
        "raw" => watches.raw(order.text.ok_or_else(|| missing("text"))?),
        "bookmark" => watches.bookmark(order.version.ok_or_else(|| missing("version"))?),
        "fail" => {
            let code = order.code.ok_or_else(|| missing("code"))?;
            if !(400..600).contains(&code) {
                let why = format!("the code of an error is from 400 to 599, not {code}");
                return Err(ApiError::bad_request(why));
            }
            let (reason, message) = (order.reason.as_deref(), order.message.as_deref());
            watches.fail(&crate::api::spoil::status(code, reason, message))
        }
        other => unreachable!("{other} is not among the operations"),
    };
    Ok(json!({ "watches": count }))
}
