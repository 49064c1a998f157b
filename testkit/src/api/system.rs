//! Everything that is not about objects: version, health, discovery, OpenAPI, metrics.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use http::{HeaderValue, Method, StatusCode, header};
use serde_json::json;

use super::{Answer, Call, json_response, missing_in, read::pretty, route::Route, text_response};
use crate::{body::Body, discovery, openapi, state::Shared, status::ApiError};

pub(crate) fn answer(shared: &Arc<Shared>, call: &Call, route: &Route) -> Answer {
    if !matches!(call.method, Method::GET | Method::HEAD) {
        return Err(match route {
            Route::Unknown => ApiError::path_not_found(),
            Route::GroupVersion { group, version } => unserved(shared, group, version),
            _ => ApiError::method_not_allowed(),
        });
    }
    match route {
        Route::Root => Ok(pretty(
            call,
            json_response(StatusCode::OK, Body::full(format!("{}\n", paths(shared)))),
        )),
        Route::Version => Ok(json_response(
            StatusCode::OK,
            Body::full(format!("{:#}", version())),
        )),
        Route::Health { endpoint, check } => health(call, endpoint, check.as_deref()),
        Route::Metrics => Ok(text_response(StatusCode::OK, metrics(shared))),
        Route::CoreVersions | Route::Groups | Route::Group(_) => discover(shared, call),
        Route::GroupVersion { group, version } => {
            discover(shared, call).map_err(|_| unserved(shared, group, version))
        }
        Route::OpenApiV3(path) => open_api(shared, call, path),
        Route::OpenApiV2 | Route::Unknown | Route::Sim(_) | Route::Resource(_) => {
            Err(ApiError::path_not_found())
        }
    }
}

/// What another method than a read meets at a version, and any at one that is not served.
fn unserved(shared: &Shared, group: &str, version: &str) -> ApiError {
    let state = shared.lock();
    let kinds = state.registry.kinds();
    if kinds.iter().any(|k| k.group == group && k.version == version) {
        ApiError::method_not_allowed()
    } else {
        missing_in(&state.registry, group)
    }
}

fn discover(shared: &Shared, call: &Call) -> Answer {
    let accept = call.header(&header::ACCEPT);
    let host = call.header(&header::HOST);
    let host = if host.is_empty() { "localhost" } else { host };
    let document = discovery::document(&shared.lock().registry, &call.path, accept, host);
    let document = document.ok_or_else(ApiError::path_not_found)?;
    let known = call
        .headers
        .get(header::IF_NONE_MATCH)
        .and_then(|value| value.to_str().ok());
    let unchanged = known.is_some() && document.etag.as_deref() == known;
    let mut response = json_response(StatusCode::OK, Body::full(document.body));
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static(document.content_type),
    );
    if let Some(etag) = document.etag.and_then(|etag| HeaderValue::from_str(&etag).ok()) {
        headers.insert(header::ETAG, etag);
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    }
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        return Ok(response);
    }
    Ok(pretty(call, response))
}

fn open_api(shared: &Shared, call: &Call, path: &str) -> Answer {
    let accept = call.header(&header::ACCEPT);
    let readable = |clause: &str| {
        let media = clause.split(';').next().unwrap_or_default().trim();
        matches!(
            media,
            "" | "*/*" | "application/*" | "application/json" | "text/plain"
        )
    };
    if !accept.split(',').any(readable) {
        return Err(ApiError::not_acceptable());
    }
    let document = openapi::document(&shared.lock().registry, path).ok_or_else(ApiError::path_not_found)?;
    let known = call.header(&header::IF_NONE_MATCH);
    let mut response = json_response(StatusCode::OK, Body::full(document.body));
    if known == document.etag {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
    }
    if path.is_empty() {
        // The index goes out as a plain file does.
        let text = HeaderValue::from_static("text/plain; charset=utf-8");
        response.headers_mut().insert(header::CONTENT_TYPE, text);
        return Ok(response);
    }
    if let Ok(etag) = HeaderValue::from_str(&document.etag) {
        response.headers_mut().insert(header::ETAG, etag);
    }
    response
        .headers_mut()
        .insert(header::VARY, HeaderValue::from_static("Accept"));
    Ok(response)
}

fn version() -> serde_json::Value {
    json!({
        "major": "1",
        "minor": "36",
        "emulationMajor": "1",
        "emulationMinor": "36",
        "minCompatibilityMajor": "1",
        "minCompatibilityMinor": "35",
        "gitVersion": "v1.36.0-informer-testkit",
        "gitCommit": "",
        "gitTreeState": "clean",
        "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}

/// What a real server's parts report about themselves. The parts of this one are always ready.
const CHECKS: [&str; 34] = [
    "ping",
    "log",
    "informer-sync",
    "poststarthook/start-apiserver-admission-initializer",
    "poststarthook/generic-apiserver-start-informers",
    "poststarthook/priority-and-fairness-config-consumer",
    "poststarthook/priority-and-fairness-filter",
    "poststarthook/storage-object-count-tracker-hook",
    "poststarthook/start-apiextensions-informers",
    "poststarthook/start-apiextensions-controllers",
    "poststarthook/crd-informer-synced",
    "poststarthook/start-system-namespaces-controller",
    "poststarthook/peer-endpoint-reconciler-controller",
    "poststarthook/start-cluster-authentication-info-controller",
    "poststarthook/start-kube-apiserver-identity-lease-controller",
    "poststarthook/start-kube-apiserver-identity-lease-garbage-collector",
    "poststarthook/storage-readiness",
    "poststarthook/start-legacy-token-tracking-controller",
    "poststarthook/start-service-ip-repair-controllers",
    "poststarthook/scheduling/bootstrap-system-priority-classes",
    "poststarthook/priority-and-fairness-config-producer",
    "poststarthook/bootstrap-controller",
    "poststarthook/start-kubernetes-service-cidr-controller",
    "poststarthook/start-kube-aggregator-informers",
    "poststarthook/apiservice-status-local-available-controller",
    "poststarthook/apiservice-status-remote-available-controller",
    "poststarthook/apiservice-registration-controller",
    "poststarthook/apiservice-wait-for-first-sync",
    "poststarthook/apiservice-discovery-controller",
    "poststarthook/kube-apiserver-autoregistration",
    "autoregister-completion",
    "poststarthook/apiservice-openapi-controller",
    "poststarthook/apiservice-openapiv3-controller",
    "shutdown",
];

fn health(call: &Call, endpoint: &str, check: Option<&str>) -> Answer {
    // Being alive is less than being ready.
    let own = |check: &&str| endpoint == "readyz" || !matches!(*check, "informer-sync" | "shutdown");
    let checks: Vec<&str> = CHECKS.iter().copied().filter(own).collect();
    if let Some(check) = check {
        if !checks.contains(&check) {
            return Err(ApiError::path_not_found());
        }
        let mut response = text_response(StatusCode::OK, "ok");
        response.headers_mut().remove(header::X_CONTENT_TYPE_OPTIONS);
        return Ok(response);
    }
    if call.query.get("verbose").is_none() {
        return Ok(text_response(StatusCode::OK, "ok"));
    }
    let mut excluded: Vec<&str> = call.query.all("exclude").collect();
    excluded.sort_unstable();
    excluded.dedup();
    let mut lines = String::new();
    for check in &checks {
        lines.push_str(&if excluded.contains(check) {
            format!("[+]{check} excluded: ok\n")
        } else {
            format!("[+]{check} ok\n")
        });
    }
    let strange: Vec<String> = excluded
        .iter()
        .filter(|check| !checks.contains(check))
        .map(|check| json!(check).to_string())
        .collect();
    if !strange.is_empty() {
        let strange = strange.join(",");
        lines.push_str(&format!(
            "warn: some health checks cannot be excluded: no matches for {strange}\n"
        ));
    }
    lines.push_str(&format!("{endpoint} check passed\n"));
    Ok(text_response(StatusCode::OK, lines))
}

fn paths(shared: &Shared) -> serde_json::Value {
    let mut paths = vec!["/api".to_owned(), "/apis".to_owned()];
    for (group, versions) in shared.lock().registry.groups() {
        if !group.is_empty() {
            paths.push(format!("/apis/{group}"));
        }
        paths.extend(versions.iter().map(|version| match group.as_str() {
            "" => format!("/api/{version}"),
            group => format!("/apis/{group}/{version}"),
        }));
    }
    paths.extend(
        [
            "/healthz",
            "/livez",
            "/metrics",
            "/openapi/v3",
            "/readyz",
            "/version",
        ]
        .map(str::to_owned),
    );
    paths.sort();
    json!({ "paths": paths })
}

/// Counters in the Prometheus text format.
fn metrics(shared: &Shared) -> String {
    let mut out = String::new();
    let mut line = |name: &str, help: &str, kind: &str, rows: Vec<(String, u64)>| {
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        for (labels, value) in rows {
            out.push_str(&format!("{name}{labels} {value}\n"));
        }
    };
    let mut requests: std::collections::BTreeMap<String, u64> = std::collections::BTreeMap::new();
    for request in shared.requests.all() {
        let labels = format!(
            "{{code=\"{}\",resource=\"{}\",verb=\"{}\"}}",
            request.status, request.resource, request.verb
        );
        *requests.entry(labels).or_default() += 1;
    }
    line(
        "apiserver_request_total",
        "Requests still in the log.",
        "counter",
        requests.into_iter().collect(),
    );
    let watchers = shared.watchers.all();
    let events = watchers.iter().map(|watcher| watcher.events.load(Relaxed)).sum();
    line(
        "apiserver_longrunning_requests",
        "Open watches.",
        "gauge",
        vec![(String::new(), watchers.len() as u64)],
    );
    line(
        "apiserver_watch_events_open",
        "Events sent by open watches.",
        "gauge",
        vec![(String::new(), events)],
    );
    let (revision, objects) = {
        let state = shared.lock();
        let ids: std::collections::BTreeSet<String> = state
            .registry
            .kinds()
            .iter()
            .map(|kind| kind.storage.clone())
            .collect();
        let rows = ids
            .into_iter()
            .map(|id| (format!("{{resource=\"{id}\"}}"), state.storage.count(&id) as u64));
        (
            state.storage.revision(),
            rows.filter(|(_, count)| *count > 0).collect(),
        )
    };
    line("apiserver_storage_objects", "Stored objects.", "gauge", objects);
    line(
        "testkit_revision",
        "The newest revision.",
        "counter",
        vec![(String::new(), revision)],
    );
    let panics = shared.panics.load(Relaxed);
    line(
        "apiserver_request_panics_total",
        "Panics caught in handlers.",
        "counter",
        vec![(String::new(), panics)],
    );
    let faults = shared.faults.counts();
    let rows = faults
        .into_iter()
        .map(|(name, count)| (format!("{{fault=\"{name}\"}}"), count))
        .collect();
    line("testkit_faults_total", "Faults that struck.", "counter", rows);
    out
}
