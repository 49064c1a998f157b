//! Deletes: options, preconditions, grace, finalizers and propagation.

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::{WriteContext, metadata, stamp};
use crate::kind::{Kind, types};
use crate::status::{ApiError, Cause};

/// `DeleteOptions`, from the body and the query.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeleteOptions {
    pub(crate) grace_period_seconds: Option<i64>,
    pub(crate) propagation: Option<Propagation>,
    pub(crate) uid: Option<String>,
    pub(crate) resource_version: Option<String>,
    pub(crate) dry_run: bool,
    /// The old way to ask for the dependents' end: 202 tells that the object is still there.
    pub(crate) waits_for_dependents: bool,
}

/// What happens to the objects that the deleted one owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Propagation {
    /// They lose their owner.
    Orphan,
    /// They are deleted afterwards.
    Background,
    /// They are deleted first.
    Foreground,
}

/// What the store has to do after a delete.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Deletion {
    /// Remove the object; this is its last state.
    Removed(Value),
    /// Store this: the object now waits for finalizers or its grace period.
    Marked(Value),
    /// It is waiting already and nothing differs.
    Unchanged,
}

impl DeleteOptions {
    /// Reads the options of a delete: from the body, or where that is empty from the query.
    ///
    /// # Errors
    /// 415 for a body in another format, 400 for one that is no `DeleteOptions`, 422 for options that contradict each
    /// other.
    pub(crate) fn parse<'a>(
        content_type: &str,
        body: &[u8],
        query: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ApiError> {
        if body.is_empty() {
            return Self::from_query(query);
        }
        let media = content_type.split(';').next().unwrap_or_default().trim();
        let given: Value = match media.to_ascii_lowercase().as_str() {
            "" | "application/json" => serde_json::from_slice(body).map_err(|_| {
                let why = super::syntax_error(body);
                ApiError::bad_request(format!("couldn't get version/kind; json parse error: {why}"))
            })?,
            "application/yaml" => super::parse_yaml(body)?,
            _ => return Err(ApiError::unsupported_body()),
        };
        if !given.is_object() {
            return Err(ApiError::bad_request(format!(
                "couldn't get version/kind; json parse error: json: cannot unmarshal {} into Go value of type struct {{ \
                 APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }}",
                super::body::go_type(&given)
            )));
        }
        let text = |field: &str| given.get(field).and_then(Value::as_str).unwrap_or_default();
        if !matches!(text("kind"), "" | "DeleteOptions") {
            let version = match text("apiVersion") {
                "" => "meta.k8s.io/v1",
                given => given,
            };
            return Err(ApiError::bad_request(format!(
                "no kind \"{}\" is registered for version \"{version}\" in scheme \
                 \"pkg/apis/meta/internalversion/scheme/register.go:27\"",
                text("kind")
            )));
        }
        let mut given = given;
        if let Some(of) = types::find("meta.DeleteOptions") {
            types::read(of, &mut given, &mut Vec::new()).map_err(ApiError::bad_request)?;
        }
        Self::from_value(&given)
    }

    fn from_query<'a>(query: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Self, ApiError> {
        let mut given = json!({});
        for (key, value) in query {
            let parsed = match key {
                "gracePeriodSeconds" => value
                    .parse::<i64>()
                    .map(Value::from)
                    .map_err(|error| ApiError::bad_request(ApiError::no_number("Int", value, &error)))?,
                "orphanDependents" => json!(!matches!(value.to_ascii_lowercase().as_str(), "false" | "0")),
                "propagationPolicy" => json!(value),
                "dryRun" => {
                    let mut asked = given["dryRun"].as_array().cloned().unwrap_or_default();
                    asked.push(json!(value));
                    Value::Array(asked)
                }
                _ => continue,
            };
            given[key] = parsed;
        }
        Self::from_value(&given)
    }

    fn from_value(given: &Value) -> Result<Self, ApiError> {
        let mut causes = Vec::new();
        let policy = given.get("propagationPolicy").filter(|policy| policy.is_string());
        let orphan = given.get("orphanDependents").and_then(Value::as_bool);
        if let (Some(policy), Some(_)) = (policy, orphan) {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            causes.push(Cause::invalid("propagationPolicy", policy, why));
        }
        let mut propagation = match policy.and_then(Value::as_str) {
            None => None,
            Some("Orphan") => Some(Propagation::Orphan),
            Some("Background") => Some(Propagation::Background),
            Some("Foreground") => Some(Propagation::Foreground),
            Some(other) => {
                let supported = ["Foreground", "Background", "Orphan", "nil"];
                causes.push(Cause::not_supported(
                    "propagationPolicy",
                    &json!(other),
                    &supported,
                ));
                None
            }
        };
        match orphan {
            Some(true) => propagation = Some(Propagation::Orphan),
            Some(false) => propagation = Some(Propagation::Background),
            None => {}
        }
        let dry_run = given
            .get("dryRun")
            .and_then(Value::as_array)
            .filter(|list| !list.is_empty());
        if let Some(list) = dry_run
            && list.iter().any(|word| word != "All")
        {
            causes.push(Cause::not_supported("dryRun", &json!(list), &["All"]));
        }
        if !causes.is_empty() {
            return Err(ApiError::invalid_options("DeleteOptions", causes));
        }
        let precondition = |field: &str| {
            given
                .get("preconditions")
                .and_then(|p| p.get(field))
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        Ok(Self {
            grace_period_seconds: given.get("gracePeriodSeconds").and_then(Value::as_i64),
            propagation,
            uid: precondition("uid"),
            resource_version: precondition("resourceVersion"),
            dry_run: dry_run.is_some(),
            waits_for_dependents: orphan == Some(false),
        })
    }
}

/// Works out what a delete does to the stored object.
///
/// # Errors
/// 409 where a precondition does not hold.
pub(crate) fn delete(
    kind: &Kind,
    current: &Value,
    options: &DeleteOptions,
    ctx: &mut WriteContext<'_>,
) -> Result<Deletion, ApiError> {
    let meta = |field: &str| current.pointer(&format!("/metadata/{field}"));
    let text = |field: &str| meta(field).and_then(Value::as_str).unwrap_or_default();
    let name = text("name");
    if kind.is_crd() && !meta("deletionTimestamp").is_some_and(Value::is_string) {
        check_definition(kind, name, text("uid"), text("resourceVersion"), options)?;
        let mut definition = current.clone();
        crate::crd::mark_for_deletion(&mut definition, ctx.stamp());
        return Ok(Deletion::Marked(definition));
    }
    check_preconditions(kind, name, text("uid"), text("resourceVersion"), options)?;

    let mut object = current.clone();
    let deleting = meta("deletionTimestamp").is_some_and(Value::is_string);
    let mut finalizers: Vec<Value> = meta("finalizers")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    apply_propagation(options.propagation, &mut finalizers);
    let grace = grace_period(kind, current, options);
    let waits_for_spec = kind.is_core("Namespace")
        && current
            .pointer("/spec/finalizers")
            .and_then(Value::as_array)
            .is_some_and(|f| !f.is_empty());

    if finalizers.is_empty() && grace == 0 && !waits_for_spec {
        if kind.is_pod() {
            mark(kind, &mut object, 0, deleting, ctx);
        }
        metadata(&mut object).remove("finalizers");
        return Ok(Deletion::Removed(object));
    }
    if finalizers.is_empty() {
        metadata(&mut object).remove("finalizers");
    } else {
        metadata(&mut object).insert("finalizers".to_owned(), Value::Array(finalizers));
    }
    if kind.is_core("Namespace") {
        if !deleting {
            let now = ctx.stamp();
            metadata(&mut object).insert("deletionTimestamp".to_owned(), now);
        }
        object["status"]["phase"] = json!("Terminating");
    } else {
        mark(kind, &mut object, grace, deleting, ctx);
    }
    if object == *current {
        Ok(Deletion::Unchanged)
    } else {
        Ok(Deletion::Marked(object))
    }
}

fn check_preconditions(
    kind: &Kind,
    name: &str,
    uid: &str,
    version: &str,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    if let Some(wanted) = options.uid.as_deref()
        && wanted != uid
    {
        let why = format!(
            "the UID in the precondition ({wanted}) does not match the UID in record ({uid}). The object might have \
             been deleted and then recreated"
        );
        return Err(ApiError::precondition(kind, name, &why));
    }
    if let Some(wanted) = options.resource_version.as_deref()
        && wanted != version
    {
        let why = format!(
            "the ResourceVersion in the precondition ({wanted}) does not match the ResourceVersion in record \
             ({version}). The object might have been modified"
        );
        return Err(ApiError::precondition(kind, name, &why));
    }
    Ok(())
}

/// The preconditions of deleting a definition, which the real server words in its own way.
fn check_definition(
    kind: &Kind,
    name: &str,
    uid: &str,
    version: &str,
    options: &DeleteOptions,
) -> Result<(), ApiError> {
    for (field, wanted, found) in [
        ("UID", &options.uid, uid),
        ("ResourceVersion", &options.resource_version, version),
    ] {
        if let Some(wanted) = wanted.as_deref()
            && wanted != found
        {
            let why = format!(
                "Precondition failed: {field} in precondition: {wanted}, {field} in object meta: {found}"
            );
            return Err(ApiError::conflict_because(kind, name, &why));
        }
    }
    Ok(())
}

fn apply_propagation(propagation: Option<Propagation>, finalizers: &mut Vec<Value>) {
    const FOREGROUND: &str = "foregroundDeletion";
    const ORPHAN: &str = "orphan";
    let wanted = match propagation {
        None => return,
        Some(Propagation::Background) => None,
        Some(Propagation::Foreground) => Some(FOREGROUND),
        Some(Propagation::Orphan) => Some(ORPHAN),
    };
    finalizers
        .retain(|f| Some(f.as_str().unwrap_or_default()) == wanted || (*f != FOREGROUND && *f != ORPHAN));
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|f| f == wanted)
    {
        finalizers.push(json!(wanted));
    }
}

/// Only a pod that runs somewhere is given time.
fn grace_period(kind: &Kind, current: &Value, options: &DeleteOptions) -> i64 {
    let text = |path: &str| current.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let scheduled = !text("/spec/nodeName").is_empty();
    if !kind.is_pod() || !scheduled || matches!(text("/status/phase"), "Succeeded" | "Failed") {
        return 0;
    }
    let own = current
        .pointer("/spec/terminationGracePeriodSeconds")
        .and_then(Value::as_i64)
        .unwrap_or(30);
    // A negative period means the shortest that is none.
    let asked = options.grace_period_seconds.unwrap_or(own);
    let asked = if asked < 0 { 1 } else { asked };
    match current
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64)
    {
        // A grace period that runs may be cut short, never lengthened.
        Some(running) => running.min(asked),
        None => asked,
    }
}

fn mark(kind: &Kind, object: &mut Value, grace: i64, deleting: bool, ctx: &mut WriteContext<'_>) {
    let now = ctx.now;
    let meta = metadata(object);
    let running = meta.get("deletionGracePeriodSeconds").and_then(Value::as_i64);
    if deleting && running == Some(grace) {
        return;
    }
    let end = now.checked_add(SignedDuration::from_secs(grace)).unwrap_or(now);
    if !deleting || kind.is_pod() {
        meta.insert("deletionTimestamp".to_owned(), Value::String(stamp(end)));
    }
    meta.insert("deletionGracePeriodSeconds".to_owned(), json!(grace));
    if let (false, Some(generation)) = (deleting, meta.get("generation").and_then(Value::as_i64)) {
        meta.insert("generation".to_owned(), json!(generation + 1));
    }
}
