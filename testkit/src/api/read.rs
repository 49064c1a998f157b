//! Get, list and watch: which state a request reads, by the rules for versions.

use std::{sync::Arc, time::Duration};

use http::{Response, StatusCode};
use tokio::time::sleep;

use super::{
    Answer, Call, compress,
    encode::{Encoder, ListMeta},
    filter::Filter,
    json_response,
    negotiate::{self, Shape, accepts_gzip},
    params::{ListOptions, Match, parse_version},
    route::ResourcePath,
    spoil,
    token::Continue,
    watch::{self, Plan, Start},
};
use crate::{
    body::Body,
    clock,
    faults::Fault,
    kind::Kind,
    state::{Shared, State, storage_id},
    status::ApiError,
    storage::{Key, Page, Stored},
    table::Include,
    write::scale_of,
};

/// Reads one object.
pub(crate) async fn get(shared: &Arc<Shared>, call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Answer {
    if !kind.allows("get") {
        return Err(ApiError::method_not_allowed());
    }
    if path.subresource.is_some() && !has(kind, path) {
        return Err(ApiError::resource_not_found());
    }
    let form = negotiate::form(&call.headers, kind, Shape::Object)?;
    let version = call
        .query
        .non_empty("resourceVersion")
        .filter(|version| *version != "0");
    let version = version
        .map(|text| {
            // A list words this better.
            parse_version(text).map_err(ApiError::untyped)
        })
        .transpose()?;
    if let Some(version) = version {
        wait_for(shared, version, call.entry.replica).await?;
    }
    let key = key(path);
    let stored = {
        let state = shared.lock();
        // Only a read that allows any age is answered from a replica's own state.
        let at = match call.query.get("resourceVersion") {
            Some(text) if !text.is_empty() => state.storage.visible(call.entry.replica, clock::now()).0,
            _ => state.storage.revision(),
        };
        state.storage.get_at(&kind.storage, &key, at).ok().flatten()
    };
    let stored = stored.ok_or_else(|| ApiError::not_found(kind, &key.1))?;
    let mut body = match path.subresource.as_deref() {
        None | Some("status" | "finalize") if path.subresource.is_none() || has(kind, path) => {
            encoder(shared, call, kind, form)?.object(&stored)
        }
        Some("scale") if has(kind, path) => {
            let scale = scale_of(kind, &stored.value()).ok_or_else(ApiError::resource_not_found)?;
            [bytes::Bytes::from(scale.to_string())].into()
        }
        _ => return Err(ApiError::resource_not_found()),
    };
    body.push_back(bytes::Bytes::from_static(b"\n"));
    Ok(pretty(call, json_response(StatusCode::OK, Body::pieces(body))))
}

fn has(kind: &Kind, path: &ResourcePath) -> bool {
    path.subresource
        .as_deref()
        .is_some_and(|name| kind.subresource(name).is_some())
}

/// Reads a collection.
pub(crate) async fn list(shared: &Arc<Shared>, call: &Call, kind: &Arc<Kind>, path: &ResourcePath) -> Answer {
    if !kind.allows("list") {
        return Err(ApiError::method_not_allowed());
    }
    let form = negotiate::form(&call.headers, kind, Shape::List)?;
    let options = ListOptions::parse(&call.query, false, shared.config.watch_list)?;
    let filter = Filter::parse(kind, path.namespace.as_deref(), None, &options)?;
    let scope = Scope {
        kind,
        path,
        options: &options,
        filter: &filter,
    };
    if !options.continue_token.is_empty() {
        if call.faults.contains(&Fault::ContinueExpired) {
            let token = Continue::decode(
                &options.continue_token,
                kind.namespaced,
                path.namespace.as_deref(),
            )?;
            return Err(scope.expired_token(&token));
        }
        let token = scope.token()?;
        if let Some(version) = token.version {
            wait_for(shared, version, HEAD).await?;
        }
        return scope.respond(shared, call, form, token.version, Some(&token));
    }
    let version = options.version_number()?;
    let exact = match (version, options.version_match, options.limit) {
        (None, ..) => None,
        (Some(0), ..) => {
            // Any age will do, and such a list is never paged.
            let at = shared.lock().storage.visible(call.entry.replica, clock::now()).0;
            let options = ListOptions {
                limit: None,
                ..options.clone()
            };
            let scope = Scope {
                options: &options,
                ..scope
            };
            return scope.respond(shared, call, form, Some(at), None);
        }
        (Some(version), Some(Match::Exact), _) | (Some(version), None, Some(_)) => {
            wait_for(shared, version, HEAD).await?;
            Some(version)
        }
        (Some(version), ..) => {
            wait_for(shared, version, call.entry.replica).await?;
            Some(shared.lock().storage.visible(call.entry.replica, clock::now()).0)
        }
    };
    scope.respond(shared, call, form, exact, None)
}

/// What a list is about.
#[derive(Clone, Copy)]
struct Scope<'a> {
    kind: &'a Arc<Kind>,
    path: &'a ResourcePath,
    options: &'a ListOptions,
    filter: &'a Filter,
}

impl Scope<'_> {
    fn token(&self) -> Result<Continue, ApiError> {
        let token = Continue::decode(
            &self.options.continue_token,
            self.kind.namespaced,
            self.path.namespace.as_deref(),
        )?;
        if !self.options.version.is_empty() && self.options.version != "0" {
            return Err(ApiError::bad_request(
                "specifying resource version is not allowed when using continue",
            ));
        }
        Ok(token)
    }

    fn page(
        &self,
        state: &State,
        replica: usize,
        version: u64,
        after: Option<&Key>,
        limit: Option<usize>,
    ) -> Result<Page, ApiError> {
        let storage = &state.storage;
        // What a replica shows is its own, whatever is compacted.
        if version < storage.compacted() && version != storage.visible(replica, clock::now()).0 {
            return Err(ApiError::expired(
                "The resourceVersion for the provided list is too old.",
            ));
        }
        storage
            .page(
                &self.kind.storage,
                version,
                self.filter.namespace(),
                after,
                limit,
                |stored| self.filter.matches(stored),
            )
            .map_err(|_| ApiError::expired("The resourceVersion for the provided list is too old."))
    }

    /// The answer at a version, `None` being the newest.
    fn respond(
        &self,
        shared: &Arc<Shared>,
        call: &Call,
        form: negotiate::Form,
        version: Option<u64>,
        token: Option<&Continue>,
    ) -> Answer {
        let stale = call.fault(|fault| match fault {
            Fault::StaleList { version } => Some(*version),
            _ => None,
        });
        let limit = self.options.limit;
        let (page, version) = {
            let mut state = shared.lock();
            state.storage.expire(&self.kind.storage, clock::now());
            let version = stale.or(version).unwrap_or_else(|| state.storage.revision());
            let after = token.map(|token| &token.after);
            let page = self.page(&state, call.entry.replica, version, after, limit);
            let page = page.map_err(|error| match token {
                Some(token) if error.code() == 410 => self.expired_token(token),
                _ => error,
            })?;
            (page, version)
        };
        let namespace = self.path.namespace.as_deref();
        let consistent = token.is_none_or(|token| token.version.is_some());
        let next = page.next_after.as_ref().map(|after| {
            let next = Continue {
                version: consistent.then_some(version),
                after: after.clone(),
            };
            next.encode(namespace)
        });
        let repeated = call.faults.contains(&Fault::RepeatContinue);
        let next = if repeated && token.is_some() {
            Some(self.options.continue_token.clone())
        } else {
            next
        };
        let forged = call.fault(|fault| match fault {
            Fault::ListVersion { version } => Some(version.clone()),
            _ => None,
        });
        let items = spoil_items(shared, call, self.kind, page.items);
        let meta = ListMeta {
            version: &forged.unwrap_or_else(|| version.to_string()),
            token: next.as_deref().unwrap_or_default(),
            remaining: (page.next_after.is_some() && !self.filter.selects()).then_some(page.remaining),
            shard: self.filter.shard_text().filter(|_| form == negotiate::Form::Json),
        };
        let body = encoder(shared, call, self.kind, form)?.list(&items, &meta);
        Ok(pretty(call, json_response(StatusCode::OK, Body::pieces(body))))
    }

    fn expired_token(&self, token: &Continue) -> ApiError {
        let fresh = token.encode_inconsistent(self.path.namespace.as_deref());
        ApiError::expired(EXPIRED_TOKEN).with_continue(fresh)
    }
}

const EXPIRED_TOKEN: &str = "The provided continue parameter is too old to display a consistent list result. You can \
    start a new list without the continue parameter, or use the continue token in this response to retrieve the \
    remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were \
    created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";

/// Spoils the objects that a fault names.
fn spoil_items(shared: &Shared, call: &Call, kind: &Kind, items: Vec<Arc<Stored>>) -> Vec<Arc<Stored>> {
    if !shared.faults.touches_objects() {
        return items;
    }
    let opening = super::encode::opening(kind);
    let spoiled = |stored: Arc<Stored>| {
        if shared
            .faults
            .on_object(&call.entry, &stored.namespace, &stored.name)
            .is_empty()
        {
            return stored;
        }
        let mut object = stored.value();
        spoil::spoil_object(&mut object);
        Arc::new(stored.replaced(&object, &opening))
    };
    items.into_iter().map(spoiled).collect()
}

/// Follows a collection, or one object of it.
pub(crate) async fn watch(
    shared: &Arc<Shared>,
    mut call: Call,
    kind: &Arc<Kind>,
    path: &ResourcePath,
) -> Answer {
    if !kind.allows("watch") {
        return Err(ApiError::method_not_allowed());
    }
    let form = negotiate::form(&call.headers, kind, Shape::Object)?;
    let refused = call.fault(|fault| match fault {
        Fault::WatchListRefused { in_stream } => Some(*in_stream),
        _ => None,
    });
    let enabled = shared.config.watch_list && refused != Some(false);
    let options = ListOptions::parse(&call.query, true, enabled)?;
    let filter = Filter::parse(kind, path.namespace.as_deref(), path.name.as_deref(), &options)?;
    let start = if refused == Some(true) && options.send_initial_events == Some(true) {
        Begin::Now(Start::Failed(ApiError::new(500, "", OLD_STORAGE)))
    } else {
        begin(shared, &call, enabled, &options).await?
    };
    let timeout = options.timeout.unwrap_or_else(|| {
        // Without a wish the server picks one, so that not all watches end at once.
        Duration::from_secs(1800 + shared.lock().rng.u64(0..1800))
    });
    let id = storage_id(kind);
    let gzip = shared.config.watch_gzip && accepts_gzip(&call.headers);
    let encoder = encoder(shared, &call, kind, form)?;
    let mut state = shared.lock();
    state.storage.expire(&id, clock::now());
    let (shown, _) = state.storage.visible(call.entry.replica, clock::now());
    let start = match start {
        Begin::Now(start) => start,
        // Whoever is as far as a replica that lags behind misses nothing there.
        Begin::After(version) if version < state.storage.window_start(&id) && version < shown => {
            let oldest = state.storage.window_start(&id);
            Start::Failed(ApiError::expired(format!(
                "too old resource version: {version} ({oldest})"
            )))
        }
        Begin::After(version) => Start::After(version),
        Begin::Initial { mark_end } => {
            let version = shown;
            let page = state
                .storage
                .page(&id, version, filter.namespace(), None, None, |stored| {
                    filter.matches(stored)
                })
                .map_err(|_| ApiError::expired("The resourceVersion for the provided watch is too old."))?;
            Start::Initial {
                items: page.items,
                version,
                mark_end,
            }
        }
    };
    let plan = Plan {
        request: call.entry.clone(),
        id,
        encoder,
        filter,
        start,
        bookmarks: options.bookmarks,
        timeout,
        faults: std::mem::take(&mut call.faults),
    };
    let body = watch::open(shared, &state, plan);
    drop(state);
    let response = json_response(StatusCode::OK, body);
    Ok(if gzip {
        compress::per_flush(response)
    } else {
        response
    })
}

const OLD_STORAGE: &str = "a required storage feature is missing for streaming lists: RequestWatchProgress";

enum Begin {
    Now(Start),
    After(u64),
    Initial { mark_end: bool },
}

/// Applies the rules for a watch's version.
async fn begin(
    shared: &Arc<Shared>,
    call: &Call,
    watch_list: bool,
    options: &ListOptions,
) -> Result<Begin, ApiError> {
    let version = options.version_number()?;
    let mark_end = options.bookmarks && watch_list && options.asked_watch;
    match (options.send_initial_events, version) {
        (Some(true), version) => {
            // Nothing older than the request, or than the version it names.
            let at_least = match version {
                None => shared.lock().storage.revision(),
                Some(version) => version,
            };
            match wait_for(shared, at_least, call.entry.replica).await {
                Ok(()) => Ok(Begin::Initial { mark_end }),
                Err(error) => Ok(Begin::Now(Start::Failed(error))),
            }
        }
        (Some(false), None | Some(0)) => {
            let now = shared.lock().storage.visible(call.entry.replica, clock::now()).0;
            Ok(Begin::After(now))
        }
        (None, None | Some(0)) => Ok(Begin::Initial { mark_end }),
        (_, Some(version)) => Ok(Begin::After(version)),
    }
}

/// Stands for the newest state, whatever replica serves the request.
const HEAD: usize = usize::MAX;

/// Waits until a replica shows a version, as long as the API server would.
///
/// # Errors
/// 504 when it doesn't come.
async fn wait_for(shared: &Arc<Shared>, version: u64, replica: usize) -> Result<(), ApiError> {
    let deadline = clock::after(clock::now(), shared.config.version_wait);
    loop {
        let (visible, now) = {
            let now = clock::now();
            (shared.lock().storage.visible(replica, now).0, now)
        };
        if visible >= version {
            return Ok(());
        }
        if now >= deadline {
            return Err(ApiError::too_large_resource_version(version, visible));
        }
        sleep(Duration::from_millis(50).min(deadline - now)).await;
    }
}

fn key(path: &ResourcePath) -> Key {
    (
        path.namespace.as_deref().unwrap_or_default().into(),
        path.name.as_deref().unwrap_or_default().into(),
    )
}

/// # Errors
/// 400 for a table with objects in an unknown form.
pub(crate) fn encoder(
    shared: &Shared,
    call: &Call,
    kind: &Arc<Kind>,
    form: negotiate::Form,
) -> Result<Encoder, ApiError> {
    let asked = call.query.get("includeObject").unwrap_or_default();
    if matches!(form, negotiate::Form::Table(_)) && !matches!(asked, "" | "Metadata" | "None" | "Object") {
        return Err(ApiError::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {}: must be 'Metadata', 'Object', \
             'None', or empty",
            serde_json::Value::from(asked)
        )));
    }
    Ok(Encoder::for_reads(
        kind,
        form,
        Include::parse(asked),
        shared.clock,
    ))
}

/// Indents an answer for people.
pub(crate) fn pretty(call: &Call, response: Response<Body>) -> Response<Body> {
    if !negotiate::wants_pretty(&call.headers, &call.query) {
        return response;
    }
    let (parts, body) = response.into_parts();
    let body = match body.into_bytes() {
        Err(stream) => stream,
        Ok(bytes) => match serde_json::from_slice::<serde_json::Value>(&bytes) {
            Ok(value) => Body::full(format!("{value:#}")),
            Err(_) => Body::full(bytes),
        },
    };
    Response::from_parts(parts, body)
}
