//! From a request to an answer: routing, faults, the request log, and a net under the handlers.

pub(crate) mod compress;
mod connect;
pub(crate) mod encode;
pub(crate) mod filter;
pub(crate) mod negotiate;
pub(crate) mod params;
mod read;
pub(crate) mod route;
mod sim;
pub(crate) mod spoil;
mod system;
pub(crate) mod token;
mod watch;
pub(crate) mod watchers;
pub(crate) mod write;

use std::{
    future, io,
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode, header};
use http_body_util::BodyExt;

use self::{
    params::Query,
    route::{ResourcePath, Route},
};
use crate::{
    body::Body,
    faults::{self, Fault},
    kind::{Kind, Registry},
    patch::PatchType,
    requests::{Request, Verb},
    state::Shared,
    status::ApiError,
};

/// A request with its body read.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) query: Query,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// The log's entry for it.
    pub(crate) entry: Request,
    /// Faults that strike on it.
    pub(crate) faults: Vec<Fault>,
}

impl Call {
    pub(crate) fn header(&self, name: &HeaderName) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    pub(crate) fn fault<T>(&self, pick: impl Fn(&Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(pick)
    }
}

/// The answer to a request, before headers that every answer has.
pub(crate) type Answer = Result<Response<Body>, ApiError>;

/// Answers one request. An error means that the connection breaks without an answer.
pub(crate) async fn handle<B>(
    shared: Arc<Shared>,
    request: http::Request<B>,
    replica: usize,
) -> io::Result<Response<Body>>
where
    B: http_body::Body + Send,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    let (parts, body) = request.into_parts();
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let path = parts.uri.path().to_owned();
    let route = Route::parse(&path);
    let entry = describe(
        &shared,
        &parts.method,
        &parts.uri,
        &parts.headers,
        &query,
        &route,
        replica,
    );
    let is_sim = matches!(route, Route::Sim(_));
    let (entry, faults) = if is_sim {
        (entry, Vec::new())
    } else {
        let entry = shared.requests.push(entry);
        let faults = shared.faults.on_request(&entry);
        (entry, faults)
    };
    let (sequence, verb, refused) = (entry.sequence, entry.verb, shared.faults.is_refusing() && !is_sim);
    if refused || faults.iter().any(|fault| matches!(fault, Fault::Refuse)) {
        return Err(io::ErrorKind::ConnectionRefused.into());
    }
    for fault in &faults {
        match fault {
            Fault::Latency { delay } => tokio::time::sleep(*delay).await,
            Fault::Hang => future::pending().await,
            _ => {}
        }
    }
    let damage = faults.clone();
    let asked = query.clone();
    let limit = if is_sim && shared.config.sim {
        LARGEST_LOAD
    } else {
        shared.config.body_limit
    };
    let answer = match read_body(body, limit).await? {
        Err(too_large) => Err(too_large),
        Ok(body) => {
            let call = Call {
                method: parts.method,
                path,
                query,
                headers: parts.headers.clone(),
                body,
                entry,
                faults,
            };
            let work = AssertUnwindSafe(answer(&shared, call, route)).catch_unwind();
            work.await.unwrap_or_else(|_| {
                shared.panics.fetch_add(1, Relaxed);
                Err(ApiError::internal("the handler panicked"))
            })
        }
    };
    let indented = negotiate::indents_errors(&parts.headers, &asked);
    let response = answer.unwrap_or_else(|error| error_response(&error, indented));
    let mut response = faults_instead(response, &damage);
    if verb != Verb::Watch {
        response = compress::whole(response, &parts.headers);
    }
    finish(&shared, &mut response);
    shared.requests.answered(sequence, response.status().as_u16());
    Ok(faults::damage(response, &damage))
}

/// Who sends more than this is hung up on.
const MOST_DROPPED: usize = 64 << 20;

/// Bulk loads may be larger than what a cluster takes at once.
const LARGEST_LOAD: usize = 64 << 20;

/// Reads a body, up to the limit.
///
/// Of a larger one the rest is read too, within reason, and dropped: a client that is still sending when the connection
/// closes may never see the answer.
async fn read_body<B>(body: B, limit: usize) -> io::Result<Result<Bytes, ApiError>>
where
    B: http_body::Body + Send,
    B::Data: Send,
    B::Error: std::fmt::Display,
{
    let mut body = std::pin::pin!(body);
    let mut all = BytesMut::new();
    let mut size = 0_usize;
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| io::Error::other(format!("request body: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        size += bytes::Buf::remaining(&data);
        if size > MOST_DROPPED.max(limit) {
            break;
        }
        if size > limit {
            all = BytesMut::new();
        } else {
            bytes::BufMut::put(&mut all, data);
        }
    }
    if size > limit {
        return Ok(Err(ApiError::request_too_large(limit)));
    }
    Ok(Ok(all.freeze()))
}

async fn answer(shared: &Arc<Shared>, call: Call, route: Route) -> Answer {
    if call.faults.iter().any(|fault| matches!(fault, Fault::Panic)) {
        panic!("injected panic");
    }
    let resource = match route {
        Route::Resource(resource) => resource,
        Route::Sim(path) => return sim::answer(shared, &call, &path).await,
        other => return system::answer(shared, &call, &other),
    };
    // A fault that replaces the whole answer spares the server the work, and the object the write.
    if call.faults.iter().any(replaces_answer) {
        return Ok(Response::new(Body::empty()));
    }
    let kind = find_kind(shared, &resource, call.entry.verb)?;
    let mut answer = match call.entry.verb {
        Verb::Get => read::get(shared, &call, &kind, &resource).await,
        Verb::List => read::list(shared, &call, &kind, &resource).await,
        Verb::Watch => read::watch(shared, call, &kind, &resource).await,
        Verb::Create => write::create(shared, &call, &kind, &resource),
        Verb::Update => write::update(shared, &call, &kind, &resource),
        Verb::Patch => write::patch(shared, &call, &kind, &resource),
        Verb::Delete => write::delete(shared, &call, &kind, &resource),
        Verb::DeleteCollection => write::delete_collection(shared, &call, &kind, &resource),
        // Custom kinds take the method and miss the name.
        Verb::Other if kind.custom && resource.name.is_none() => Err(match call.method {
            Method::PUT => ApiError::bad_request("name must be provided"),
            Method::PATCH => match PatchType::parse(&kind, call.header(&header::CONTENT_TYPE)) {
                Ok(_) => ApiError::bad_request("name must be provided"),
                Err(unsupported) => unsupported,
            },
            _ => ApiError::method_not_allowed(),
        }),
        Verb::Other => Err(ApiError::method_not_allowed()),
    };
    if let Some(warning) = &kind.deprecation_warning {
        match &mut answer {
            Ok(response) => write::warn(response, warning),
            Err(error) => {
                let told = std::iter::once(warning.clone()).chain(error.warnings().iter().cloned());
                let told = told.collect();
                answer = answer.map_err(|error| error.with_warnings(told));
            }
        }
    }
    answer
}

/// 404 for what is missing in a group: a built-in one lacks the resource. Custom kinds are served one by one, so what is
/// none of them is no path at all.
fn missing_in(registry: &Registry, group: &str) -> ApiError {
    if registry.has_builtin_group(group) {
        ApiError::resource_not_found()
    } else {
        ApiError::path_not_found()
    }
}

fn find_kind(shared: &Shared, resource: &ResourcePath, verb: Verb) -> Result<Arc<Kind>, ApiError> {
    let state = shared.lock();
    let registry = &state.registry;
    let Some(kind) = registry.lookup(&resource.group, &resource.version, &resource.resource) else {
        return Err(missing_in(registry, &resource.group));
    };
    // A cluster-scoped kind has no place in a namespace, and one object of a namespaced kind is found there alone. The
    // path across namespaces takes other methods than reads with a built-in kind only, to refuse them.
    let misplaced = match &resource.namespace {
        Some(_) => !kind.namespaced,
        None if kind.custom => kind.namespaced && !matches!(verb, Verb::List | Verb::Watch),
        None => kind.namespaced && resource.name.is_some(),
    };
    if misplaced {
        return Err(if kind.custom {
            ApiError::path_not_found()
        } else {
            ApiError::resource_not_found()
        });
    }
    if let (Some(name), Some(subresource)) = (&resource.name, &resource.subresource)
        && kind.subresource(subresource).is_none()
    {
        return Err(if kind.custom {
            ApiError::not_found(kind, name)
        } else {
            ApiError::resource_not_found()
        });
    }
    Ok(Arc::clone(kind))
}

fn describe(
    shared: &Shared,
    method: &Method,
    uri: &http::Uri,
    headers: &HeaderMap,
    query: &Query,
    route: &Route,
    replica: usize,
) -> Request {
    let mut entry = Request {
        sequence: 0,
        at: shared.clock.elapsed(),
        verb: Verb::Other,
        method: method.to_string(),
        uri: uri
            .path_and_query()
            .map_or_else(|| uri.path().to_owned(), ToString::to_string),
        group: String::new(),
        resource: String::new(),
        namespace: None,
        name: None,
        subresource: None,
        user_agent: headers
            .get(header::USER_AGENT)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
            .to_owned(),
        replica,
        status: 0,
        query: query.clone(),
    };
    if let Route::Resource(path) = route {
        entry.verb = verb_of(method, path, query);
        entry.group.clone_from(&path.group);
        entry.resource.clone_from(&path.resource);
        entry.namespace.clone_from(&path.namespace);
        entry.name = path.name.clone().or_else(|| name_selected(query));
        entry.subresource.clone_from(&path.subresource);
    }
    entry
}

fn name_selected(query: &Query) -> Option<String> {
    let selector = query.get("fieldSelector")?;
    selector
        .split(',')
        .find_map(|term| term.strip_prefix("metadata.name="))
        .map(|name| name.replace('=', ""))
}

fn verb_of(method: &Method, path: &ResourcePath, query: &Query) -> Verb {
    let one = path.name.is_some();
    match *method {
        Method::GET | Method::HEAD if path.watch_prefix => Verb::Watch,
        // One object is read, whatever the query says: it is watched by a field selector.
        Method::GET | Method::HEAD if query.flag("watch") && !one => Verb::Watch,
        Method::GET | Method::HEAD if one => Verb::Get,
        Method::GET | Method::HEAD => Verb::List,
        Method::POST if !one || path.subresource.is_some() => Verb::Create,
        Method::PUT if one => Verb::Update,
        Method::PATCH if one => Verb::Patch,
        Method::DELETE if one => Verb::Delete,
        Method::DELETE => Verb::DeleteCollection,
        _ => Verb::Other,
    }
}

/// An answer in JSON, in whatever pieces.
pub(crate) fn json_response(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// An answer in plain text.
pub(crate) fn text_response(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

pub(crate) fn error_response(error: &ApiError, indented: bool) -> Response<Body> {
    let status = StatusCode::from_u16(error.code()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = if indented {
        error.to_pretty_body()
    } else {
        error.to_body()
    };
    let mut response = if error.is_text() {
        text_response(status, body)
    } else {
        json_response(status, Body::full(body))
    };
    if let Some(seconds) = error.retry_after() {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    for warning in error.warnings() {
        write::warn(&mut response, warning);
    }
    response
}

fn replaces_answer(fault: &Fault) -> bool {
    matches!(
        fault,
        Fault::Status { .. } | Fault::Html { .. } | Fault::Gone | Fault::TooLargeVersion
    )
}

/// The answer a fault gives in place of the server's.
fn faults_instead(response: Response<Body>, faults: &[Fault]) -> Response<Body> {
    let Some(fault) = faults.iter().find(|fault| replaces_answer(fault)) else {
        return response;
    };
    match fault {
        Fault::Status {
            code,
            reason,
            message,
            retry_after,
            text,
        } => {
            let error = spoil::status(*code, reason.as_deref(), message.as_deref());
            let mut response = if *text {
                let words = message
                    .as_deref()
                    .unwrap_or("Too many requests, please try again later.");
                error_response(&ApiError::text(*code, format!("{words}\n")), false)
            } else {
                error_response(&error, false)
            };
            if let Some(value) = retry_after
                .as_deref()
                .and_then(|value| HeaderValue::from_str(value).ok())
            {
                response.headers_mut().insert(header::RETRY_AFTER, value);
            }
            response
        }
        Fault::Html { code } => {
            const PAGE: &str =
                "<html><head><title>gateway</title></head><body><h1>Sign in</h1></body></html>\n";
            let mut response = Response::new(Body::full(PAGE));
            *response.status_mut() = StatusCode::from_u16(*code).unwrap_or(StatusCode::BAD_GATEWAY);
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html"));
            response
        }
        Fault::Gone => error_response(&ApiError::expired("too old resource version"), false),
        Fault::TooLargeVersion => error_response(&ApiError::too_large_resource_version(99_999_999, 1), false),
        _ => response,
    }
}

/// Headers that every answer carries.
fn finish(shared: &Shared, response: &mut Response<Body>) {
    let id = crate::write::uid(&mut shared.lock().rng);
    let length = http_body::Body::size_hint(response.body()).exact();
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(HeaderName::from_static("audit-id"), id);
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert_with(|| HeaderValue::from_static("no-cache, private"));
    if let Some(length) = length {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
}
