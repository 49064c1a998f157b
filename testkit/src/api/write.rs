//! Create, update, patch and delete: the request's part. What becomes of the objects is decided in [`crate::write`].

use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Value, json};

use super::{
    Answer, Call, connect,
    encode::{ListMeta, opening},
    filter::Filter,
    json_response,
    negotiate::{self, Form, Shape},
    params::ListOptions,
    read::{encoder, pretty},
    route::ResourcePath,
    token::Continue,
};
use crate::{
    body::Body,
    kind::{Kind, event},
    patch::{self, Apply, PatchType},
    state::{Shared, State},
    status::{self, ApiError, Cause},
    storage::{EventType, Key, Stored},
    write::{self, DeleteOptions, Deletion, FieldValidation, Propagation, Target, Updated, WriteContext},
};

/// What a write has to say about the body it read, it says along with a refusal too.
fn telling(write: impl FnOnce(&mut Vec<String>) -> Answer) -> Answer {
    let mut told = Vec::new();
    write(&mut told).map_err(|error| error.with_warnings(told))
}

/// Creates an object, or what a subresource stands for.
pub(crate) fn create(shared: &Shared, call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Answer {
    telling(|told| create_telling(shared, call, kind, path, told))
}

fn create_telling(
    shared: &Shared,
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    told: &mut Vec<String>,
) -> Answer {
    if path.subresource.is_some() {
        return connect::create(shared, call, kind, path);
    }
    if !kind.allows("create") || (kind.namespaced && path.namespace.is_none()) {
        return Err(ApiError::method_not_allowed());
    }
    let form = negotiate::form(&call.headers, kind, Shape::Object)?;
    let dry_run = write_options(call, "CreateOptions", None)?;
    let mut state = shared.lock();
    let mut rng = state.rng.fork();
    let mut ctx = context(shared, call, &mut rng, "CreateOptions")?;
    let object = write::decode(kind, call.header(&header::CONTENT_TYPE), &call.body, &mut ctx)?;
    told.clone_from(&ctx.warnings);
    if kind.verbs == ["create"]
        && let Some(answer) = connect::review(kind, object.clone())
    {
        let body = Body::full(format!("{answer}\n"));
        return Ok(pretty(call, json_response(StatusCode::CREATED, body)));
    }
    let name = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .unwrap_or_default();
    check_not_terminating(&state, kind, name)?;
    let stored = create_object(
        &mut state,
        kind,
        path.namespace.as_deref(),
        object,
        &mut ctx,
        dry_run,
    )?;
    let warnings = std::mem::take(&mut ctx.warnings);
    drop(state);
    object_response(shared, call, kind, form, StatusCode::CREATED, &stored, &warnings)
}

/// Nothing is created of a kind whose definition is going away.
fn check_not_terminating(state: &State, kind: &Kind, name: &str) -> Result<(), ApiError> {
    if state.is_terminating(kind) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(ApiError::forbidden(kind, name, why));
    }
    Ok(())
}

/// Creates an object in the locked state. Names made from a base are tried again when taken.
pub(crate) fn create_object(
    state: &mut State,
    kind: &Arc<Kind>,
    namespace: Option<&str>,
    object: Value,
    ctx: &mut WriteContext<'_>,
    dry_run: bool,
) -> Result<Stored, ApiError> {
    let named = object
        .pointer("/metadata/name")
        .and_then(Value::as_str)
        .is_some_and(|name| !name.is_empty());
    let tries = if named { 1 } else { NAME_TRIES };
    write::check_namespace(kind, namespace, &object)?;
    if let Some(namespace) = namespace {
        let text = |field: &str| object["metadata"][field].as_str().filter(|text| !text.is_empty());
        let name = text("name").or_else(|| text("generateName")).unwrap_or("Unknown");
        check_namespace(state, kind, namespace, name)?;
    }
    for attempt in 1..=tries {
        let object = write::create(kind, namespace, object.clone(), ctx)?;
        let key = crate::storage::key_of(&object);
        let Some(taken) = state.storage.get(&kind.storage, &key) else {
            if dry_run {
                return Ok(loose(kind, &object));
            }
            return Ok(Stored::clone(&state.put(kind, object)));
        };
        if attempt == tries {
            let deleting = taken.value().pointer("/metadata/deletionTimestamp").is_some();
            return Err(if named {
                ApiError::already_exists(kind, &key.1, deleting)
            } else {
                ApiError::no_free_name(kind, &key.1)
            });
        }
    }
    unreachable!("the last attempt returns")
}

const NAME_TRIES: usize = 8;

fn check_namespace(state: &State, kind: &Kind, namespace: &str, name: &str) -> Result<(), ApiError> {
    let Some(namespaces) = state.registry.lookup("", "v1", "namespaces") else {
        return Ok(());
    };
    let key: Key = ("".into(), namespace.into());
    let Some(found) = state.storage.get(&namespaces.storage, &key) else {
        return Err(ApiError::not_found(namespaces, namespace));
    };
    let terminating = found
        .fields
        .get("status.phase")
        .is_some_and(|phase| phase == "Terminating");
    if terminating {
        Err(ApiError::namespace_terminating(kind, name, namespace))
    } else {
        Ok(())
    }
}

/// Replaces an object, its status, its scale, or a namespace's finalizers.
pub(crate) fn update(shared: &Shared, call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Answer {
    telling(|told| update_telling(shared, call, kind, path, told))
}

fn update_telling(
    shared: &Shared,
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    told: &mut Vec<String>,
) -> Answer {
    let target = target(kind, path, "update")?;
    let form = negotiate::form(&call.headers, kind, Shape::Object)?;
    let dry_run = write_options(call, "UpdateOptions", None)?;
    let mut state = shared.lock();
    let mut rng = state.rng.fork();
    let mut ctx = context(shared, call, &mut rng, "UpdateOptions")?;
    let key = key(path);
    let scale = target == Target::Scale;
    let body = if scale {
        write::decode_scale(call.header(&header::CONTENT_TYPE), &call.body, &mut ctx)?
    } else {
        write::decode(kind, call.header(&header::CONTENT_TYPE), &call.body, &mut ctx)?
    };
    told.clone_from(&ctx.warnings);
    check_place(kind, &key, &body)?;
    let Some(current) = state.storage.get(&kind.storage, &key) else {
        if target != Target::Main || !kind.allows_create_on_update() {
            return Err(ApiError::not_found(kind, &key.1));
        }
        write::check_uid(kind, &key.0, &key.1, "", &body)?;
        let namespace = path.namespace.as_deref();
        let stored = create_object(&mut state, kind, namespace, body, &mut ctx, dry_run)?;
        let warnings = std::mem::take(&mut ctx.warnings);
        drop(state);
        return object_response(shared, call, kind, form, StatusCode::CREATED, &stored, &warnings);
    };
    write::check_uid(kind, &key.0, &key.1, &current.uid, &body)?;
    let current = as_served(kind, current.value());
    let object = if scale {
        write::scale_to_object(kind, &current, &body)?
    } else {
        body
    };
    if target == Target::Main {
        write::check_running(kind, &current, &object)?;
    }
    let updated = write::update(kind, target, &key.1, &current, object, &mut ctx)?;
    let stored = commit(&mut state, kind, &key, updated, dry_run);
    let warnings = std::mem::take(&mut ctx.warnings);
    drop(state);
    if scale {
        return scale_response(call, kind, &stored);
    }
    object_response(shared, call, kind, form, StatusCode::OK, &stored, &warnings)
}

/// A body must be for the object the path names, and say so.
fn check_place(kind: &Kind, key: &Key, object: &Value) -> Result<(), ApiError> {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default();
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    if kind.namespaced && !namespace.is_empty() && *namespace != *key.0 {
        return Err(ApiError::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let wanted = &key.1;
    if name.is_empty() {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({wanted} based on URL) was undeterminable: name must be provided"
        )));
    }
    if *name != **wanted {
        return Err(ApiError::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({wanted})"
        )));
    }
    Ok(())
}

/// Changes parts of an object; server-side apply may create it.
pub(crate) fn patch(shared: &Shared, call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Answer {
    telling(|told| patch_telling(shared, call, kind, path, told))
}

fn patch_telling(
    shared: &Shared,
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
    told: &mut Vec<String>,
) -> Answer {
    let target = target(kind, path, "patch")?;
    let form = negotiate::form(&call.headers, kind, Shape::Object)?;
    let patch_type = PatchType::parse(kind, call.header(&header::CONTENT_TYPE))?;
    let dry_run = write_options(call, "PatchOptions", Some(patch_type))?;
    let mut state = shared.lock();
    let mut rng = state.rng.fork();
    let mut ctx = context(shared, call, &mut rng, "PatchOptions")?;
    let key = key(path);
    let config = if patch_type == PatchType::Apply {
        let read = write::parse_yaml(&call.body);
        Some(
            read.map_err(|error| ApiError::bad_request(format!("error decoding YAML: {}", error.message())))?,
        )
    } else {
        None
    };
    let force = call.query.flag("force");
    let apply = config.as_ref().map(|config| Apply {
        config,
        target,
        force,
    });
    let Some(current) = state.storage.get(&kind.storage, &key).cloned() else {
        let Some(apply) = apply.filter(|_| target == Target::Main) else {
            return Err(ApiError::not_found(kind, &key.1));
        };
        let object = patch::server_side(kind, None, &apply, &mut ctx)?;
        told.clone_from(&ctx.warnings);
        if let Some(uid) = object
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .filter(|uid| !uid.is_empty())
        {
            let why = format!(
                "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            );
            return Err(ApiError::conflict_because(kind, &key.1, &why));
        }
        check_place(kind, &key, &object)?;
        check_not_terminating(&state, kind, &key.1)?;
        let stored = create_object(
            &mut state,
            kind,
            path.namespace.as_deref(),
            object,
            &mut ctx,
            dry_run,
        )?;
        return object_response(
            shared,
            call,
            kind,
            form,
            StatusCode::CREATED,
            &stored,
            &ctx.warnings,
        );
    };
    let current = as_served(kind, current.value());
    let object = match &apply {
        Some(apply) => patch::server_side(kind, Some(&current), apply, &mut ctx)?,
        None if target == Target::Scale => {
            let scale = write::scale_of(kind, &current).ok_or_else(ApiError::resource_not_found)?;
            let patched = patch::apply(&write::scale_kind(), patch_type, &scale, &call.body, &mut ctx)?;
            check_place(kind, &key, &patched)?;
            write::scale_to_object(kind, &current, &patched)?
        }
        None => patch::apply(kind, patch_type, &current, &call.body, &mut ctx)?,
    };
    told.clone_from(&ctx.warnings);
    check_place(kind, &key, &object)?;
    if target == Target::Main {
        write::check_running(kind, &current, &object)?;
    }
    let updated = write::update(kind, target, &key.1, &current, object, &mut ctx)?;
    let stored = commit(&mut state, kind, &key, updated, dry_run);
    let warnings = std::mem::take(&mut ctx.warnings);
    drop(state);
    if target == Target::Scale {
        return scale_response(call, kind, &stored);
    }
    object_response(shared, call, kind, form, StatusCode::OK, &stored, &warnings)
}

/// Deletes an object, or marks it for deletion.
pub(crate) fn delete(shared: &Shared, call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Answer {
    if path.subresource.is_some() {
        return Err(ApiError::method_not_allowed());
    }
    if !kind.allows("delete") {
        return Err(ApiError::method_not_allowed());
    }
    let form = negotiate::form(&call.headers, kind, Shape::Object)?;
    let mut options = delete_options(call)?;
    let mut warnings = Vec::new();
    if options.propagation.is_none() && kind.orphans_by_default() {
        options.propagation = Some(Propagation::Orphan);
        warnings.extend((kind.kind == "Job").then(|| ORPHANED_PODS.to_owned()));
    }
    let mut state = shared.lock();
    let mut rng = state.rng.fork();
    let mut ctx = context(shared, call, &mut rng, "DeleteOptions")?;
    let key = key(path);
    if kind.is_core("Namespace") && PERMANENT.contains(&&*key.1) {
        return Err(ApiError::forbidden(
            kind,
            &key.1,
            "this namespace may not be deleted",
        ));
    }
    let (stored, removed) = delete_object(&mut state, kind, &key, &options, &mut ctx)?;
    drop(state);
    if removed && !kind.returns_deleted() {
        let body = status::deleted(kind, &stored.name, &stored.uid);
        let mut response = json_response(StatusCode::OK, Body::full(body));
        warnings.iter().for_each(|warning| warn(&mut response, warning));
        return Ok(pretty(call, response));
    }
    let status = if options.waits_for_dependents && !removed {
        StatusCode::ACCEPTED
    } else {
        StatusCode::OK
    };
    object_response(shared, call, kind, form, status, &stored, &warnings)
}

/// What deleting a job without a word about its pods is answered with.
const ORPHANED_PODS: &str = "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background \
                             to remove them or set propagationPolicy=Orphan to suppress this warning";

/// Namespaces that a cluster cannot be without.
const PERMANENT: [&str; 3] = ["default", "kube-system", "kube-public"];

/// Deletes an object in the locked state. Returns its last state, and whether it is gone.
pub(crate) fn delete_object(
    state: &mut State,
    kind: &Arc<Kind>,
    key: &Key,
    options: &DeleteOptions,
    ctx: &mut WriteContext<'_>,
) -> Result<(Arc<Stored>, bool), ApiError> {
    let current = state.storage.get(&kind.storage, key).cloned();
    let current = current.ok_or_else(|| ApiError::not_found(kind, &key.1))?;
    let object = as_served(kind, current.value());
    Ok(match write::delete(kind, &object, options, ctx)? {
        Deletion::Unchanged => (current, false),
        Deletion::Marked(object) if options.dry_run => (Arc::new(loose(kind, &object)), false),
        Deletion::Removed(object) if options.dry_run => (Arc::new(loose(kind, &object)), true),
        Deletion::Marked(object) => (state.put(kind, object), false),
        Deletion::Removed(object) => (state.remove(kind, object).unwrap_or(current), true),
    })
}

/// Deletes every object that the selectors pick.
pub(crate) fn delete_collection(
    shared: &Shared,
    call: &Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
) -> Answer {
    if !kind.allows("deletecollection") || (kind.namespaced && path.namespace.is_none()) {
        return Err(ApiError::method_not_allowed());
    }
    let form = negotiate::form(&call.headers, kind, Shape::List)?;
    let list = ListOptions::parse(&call.query, false, shared.config.watch_list)?;
    let filter = Filter::parse(kind, path.namespace.as_deref(), None, &list)?;
    let mut options = delete_options(call)?;
    let unsaid = options.propagation.is_none() && kind.orphans_by_default();
    if unsaid {
        options.propagation = Some(Propagation::Orphan);
    }
    let mut state = shared.lock();
    let mut rng = state.rng.fork();
    let mut ctx = context(shared, call, &mut rng, "DeleteOptions")?;
    let head = state.storage.revision();
    let page = state
        .storage
        .page(
            &kind.storage,
            head,
            filter.namespace(),
            None,
            list.limit,
            |stored| filter.matches(stored),
        )
        .map_err(|_| ApiError::internal("the newest state is always there"))?;
    for item in &page.items {
        delete_object(&mut state, kind, &item.key(), &options, &mut ctx)?;
    }
    drop(state);
    // The answer is the list as it was before: what was deleted, or marked.
    let next = page.next_after.as_ref().map(|after| {
        let next = Continue {
            version: Some(head),
            after: after.clone(),
        };
        next.encode(path.namespace.as_deref())
    });
    let body = encoder(shared, call, kind, form)?.list(
        &page.items,
        &ListMeta {
            version: &head.to_string(),
            token: next.as_deref().unwrap_or_default(),
            remaining: (next.is_some() && !filter.selects()).then_some(page.remaining),
            ..ListMeta::default()
        },
    );
    let mut response = json_response(StatusCode::OK, Body::pieces(body));
    if unsaid && kind.kind == "Job" {
        warn(&mut response, ORPHANED_PODS);
    }
    Ok(pretty(call, response))
}

/// Stores what an update came to. The answer is the object as the client shall see it.
pub(crate) fn commit(
    state: &mut State,
    kind: &Arc<Kind>,
    key: &Key,
    updated: Updated,
    dry_run: bool,
) -> Stored {
    match updated {
        Updated::Unchanged => match state.storage.get(&kind.storage, key) {
            Some(stored) => Stored::clone(stored),
            None => loose(kind, &json!({})),
        },
        Updated::Changed(object) | Updated::Removed(object) if dry_run => loose(kind, &object),
        Updated::Changed(object) => Stored::clone(&state.put(kind, object)),
        Updated::Removed(object) => {
            // Watchers get the state as it was stored, finalizers and all.
            if let Some(stored) = state.storage.get(&kind.storage, key).cloned() {
                state.remove(kind, stored.value());
            }
            loose(kind, &object)
        }
    }
}

/// An object that is answered but not stored, at whatever version it carries.
fn loose(kind: &Kind, object: &Value) -> Stored {
    let version = object
        .pointer("/metadata/resourceVersion")
        .and_then(Value::as_str);
    let version = version.and_then(|text| text.parse().ok()).unwrap_or_default();
    Stored::encode(
        object,
        version,
        &opening(kind),
        EventType::Modified,
        std::collections::BTreeMap::new(),
    )
}

/// A stored object in the version a kind serves.
pub(crate) fn as_served(kind: &Kind, mut object: Value) -> Value {
    if kind.is_new_event() {
        object = event::from_core(object);
    }
    object["apiVersion"] = kind.api_version().into();
    object["kind"] = kind.kind.clone().into();
    object
}

fn target(kind: &Kind, path: &ResourcePath, verb: &str) -> Result<Target, ApiError> {
    let Some(name) = path.subresource.as_deref() else {
        return if kind.allows(verb) {
            Ok(Target::Main)
        } else {
            Err(ApiError::method_not_allowed())
        };
    };
    let subresource = kind.subresource(name).ok_or_else(ApiError::resource_not_found)?;
    if !subresource.verbs.contains(&verb) {
        return Err(ApiError::method_not_allowed());
    }
    match name {
        "status" => Ok(Target::Status),
        "scale" => Ok(Target::Scale),
        "finalize" => Ok(Target::Finalize),
        _ => Err(ApiError::method_not_allowed()),
    }
}

pub(crate) fn context<'a>(
    shared: &Shared,
    call: &Call,
    rng: &'a mut fastrand::Rng,
    options: &str,
) -> Result<WriteContext<'a>, ApiError> {
    let manager = match call.query.non_empty("fieldManager") {
        Some(manager) => manager.to_owned(),
        None => write::manager_of(call.header(&header::USER_AGENT)),
    };
    let validation = call.query.get("fieldValidation").unwrap_or_default();
    Ok(WriteContext {
        now: shared.clock.timestamp(),
        rng,
        manager,
        validation: FieldValidation::parse(validation)
            .map_err(|cause| ApiError::invalid_options(options, vec![cause]))?,
        track_updates: shared.config.managed_fields,
        warnings: Vec::new(),
    })
}

/// Checks the options of a write, all of them at once; tells whether it is a dry run.
fn write_options(call: &Call, options: &str, patch_type: Option<PatchType>) -> Result<bool, ApiError> {
    let mut causes = Vec::new();
    match patch_type {
        Some(PatchType::Apply) if call.query.non_empty("fieldManager").is_none() => {
            causes.push(Cause::required("fieldManager", "is required for apply patch"));
        }
        Some(PatchType::Apply) | None => {}
        Some(_) if call.query.get("force").is_some() => {
            let why = "may not be specified for non-apply patch";
            causes.push(Cause::forbidden("force", why));
        }
        Some(_) => {}
    }
    let manager = call.query.get("fieldManager").unwrap_or_default();
    write::validate_manager(manager, "fieldManager", &mut causes);
    let asked: Vec<&str> = call.query.all("dryRun").collect();
    if asked.iter().any(|word| *word != "All") {
        causes.push(Cause::not_supported("dryRun", &json!(asked), &["All"]));
    }
    let validation = call.query.get("fieldValidation").unwrap_or_default();
    causes.extend(FieldValidation::parse(validation).err());
    if causes.is_empty() {
        Ok(!asked.is_empty())
    } else {
        Err(ApiError::invalid_options(options, causes))
    }
}

fn delete_options(call: &Call) -> Result<DeleteOptions, ApiError> {
    let pairs = call
        .query
        .pairs()
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    DeleteOptions::parse(call.header(&header::CONTENT_TYPE), &call.body, pairs)
}

fn key(path: &ResourcePath) -> Key {
    (
        path.namespace.as_deref().unwrap_or_default().into(),
        path.name.as_deref().unwrap_or_default().into(),
    )
}

fn object_response(
    shared: &Shared,
    call: &Call,
    kind: &Arc<Kind>,
    form: Form,
    status: StatusCode,
    stored: &Stored,
    warnings: &[String],
) -> Answer {
    let mut body = encoder(shared, call, kind, form)?.object(stored);
    body.push_back(Bytes::from_static(b"\n"));
    let mut response = json_response(status, Body::pieces(body));
    for warning in warnings {
        warn(&mut response, warning);
    }
    Ok(pretty(call, response))
}

/// Adds a sentence for the client's user.
pub(crate) fn warn(response: &mut Response<Body>, warning: &str) {
    let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
    if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
        response.headers_mut().append(header::WARNING, value);
    }
}

fn scale_response(call: &Call, kind: &Kind, stored: &Stored) -> Answer {
    let scale = write::scale_of(kind, &stored.value()).ok_or_else(ApiError::resource_not_found)?;
    Ok(pretty(
        call,
        json_response(StatusCode::OK, Body::full(format!("{scale}\n"))),
    ))
}
