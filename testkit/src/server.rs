//! The handle on a server: everything a test does without HTTP.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::Ordering::{Relaxed, SeqCst},
    },
    time::Duration,
};

use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    api::write::{as_served, commit, create_object, delete_object},
    body::Body,
    builder::Builder,
    clock,
    faults::Faults,
    kind::Kind,
    listener::Listener,
    patch::{self, PatchType},
    replica::Replica,
    requests::Requests,
    service::ApiService,
    state::{Shared, State},
    status::ApiError,
    storage::{Key, Snapshot, Window, key_of},
    watches::Watches,
    write::{self, DeleteOptions, FieldValidation, Target, WriteContext},
};

/// An embedded Kubernetes API server.
///
/// The handle is cheap to clone; all clones are the same server. It lives as long as a handle, a client or a listener.
///
/// Resources are named by their plural, with the group behind it where two groups share one: `pods`, `deployments` or
/// `deployments.apps`.
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use informer_testkit::ApiServer;
/// use k8s_openapi::api::core::v1::ConfigMap;
/// use serde_json::json;
///
/// let server = ApiServer::new();
/// server.create("configmaps", json!({"metadata": {"name": "a", "namespace": "default"}, "data": {"k": "v"}}))?;
/// let maps: kube_client::Api<ConfigMap> = kube_client::Api::default_namespaced(server.client());
/// assert_eq!(maps.get("a").await?.data.unwrap_or_default()["k"], "v");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
}

impl Default for ApiServer {
    fn default() -> Self {
        Self::new()
    }
}

impl ApiServer {
    /// A server with the built-in kinds and the usual namespaces.
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// Sets up a server.
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn from_shared(shared: Shared) -> Self {
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Another handle on the server.
    pub(crate) fn of(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
        }
    }

    /// The server as a tower service.
    pub fn service(&self) -> ApiService {
        ApiService::new(Arc::clone(&self.shared), 0)
    }

    /// A client that talks to the server without sockets. It retries nothing by itself.
    ///
    /// # Panics
    /// Outside a tokio runtime: the client keeps its queue in a task.
    pub fn client(&self) -> kube_client::Client {
        kube_client::Client::new(self.service(), "default")
    }

    /// Serves HTTP/1.1 on an address; port 0 picks a free one.
    ///
    /// # Errors
    /// When the address can't be bound.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn listen(&self, address: impl Into<SocketAddr>) -> io::Result<Listener> {
        Listener::bind(Arc::clone(&self.shared), address.into()).await
    }

    /// Serves on a free port of the loopback address.
    ///
    /// # Errors
    /// When no port can be bound.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub async fn listen_on_loopback(&self) -> io::Result<Listener> {
        self.listen(([127, 0, 0, 1], 0)).await
    }

    /// Sends one request in-process and reads the whole answer: status and body. For watches, use a client.
    ///
    /// A broken connection gives status 0 and what had arrived until then.
    ///
    /// # Cancel safety
    /// A request that was not answered yet may still take effect.
    pub async fn request(&self, method: &str, uri: &str, body: impl Into<String>) -> (u16, String) {
        let request = http::Request::builder()
            .method(method)
            .uri(uri)
            .body(Body::full(body.into()));
        let Ok(request) = request else {
            return (0, "not a valid method and URI".to_owned());
        };
        let Ok(response) = crate::api::handle(Arc::clone(&self.shared), request, 0).await else {
            return (0, String::new());
        };
        let status = response.status().as_u16();
        let mut body = response.into_body();
        let mut all = Vec::new();
        while let Some(frame) = body.frame().await {
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => all.extend_from_slice(&data),
                Ok(Err(_)) => {}
                Err(_) => return (0, String::from_utf8_lossy(&all).into_owned()),
            }
        }
        (status, String::from_utf8_lossy(&all).into_owned())
    }

    /// The faults: what goes wrong, when, and how often it did.
    pub fn faults(&self) -> Faults {
        Faults::new(Arc::clone(&self.shared.faults))
    }

    /// The log of requests.
    pub fn requests(&self) -> Requests {
        self.shared.requests.clone()
    }

    /// The open watches.
    pub fn watches(&self) -> Watches {
        Watches::new(Arc::clone(&self.shared))
    }

    /// One of the replicas that answer reads, counted from 0. One that is not there shows the newest state, and
    /// can't lag.
    pub fn replica(&self, index: usize) -> Replica {
        Replica::new(Arc::clone(&self.shared), index)
    }

    /// How many handlers panicked, and connections while an answer was sent. A test of the server itself ends with this
    /// at zero.
    pub fn panics(&self) -> u64 {
        self.shared.panics.load(Relaxed)
    }

    /// Adds a kind while the server runs, without a definition.
    pub fn register(&self, kind: Kind) {
        self.shared.lock().registry.register(kind);
    }

    // --- objects, without HTTP ---

    /// Creates an object, as a client would; a missing namespace is made on the way.
    ///
    /// # Errors
    /// What the API answers: invalid, already exists, and so on.
    pub fn create(&self, resource: &str, object: impl Serialize) -> Result<Value, ApiError> {
        let object = to_value(object)?;
        let kind = self.kind(resource)?;
        let namespace = self.namespace_of(&kind, &object);
        self.write(|state, ctx| {
            let mut object = object;
            write::read_as(&kind, &mut object, &mut Vec::new()).map_err(ApiError::bad_request)?;
            let stored = create_object(state, &kind, namespace.as_deref(), object, ctx, false)?;
            Ok(as_served(&kind, stored.value()))
        })
    }

    /// Replaces an object, status included. A resource version in it must be the current one.
    ///
    /// # Errors
    /// What the API answers: not found, conflict, invalid.
    pub fn update(&self, resource: &str, object: impl Serialize) -> Result<Value, ApiError> {
        let object = to_value(object)?;
        let kind = self.kind(resource)?;
        let namespace = self.namespace_of(&kind, &object);
        let (_, name) = key_of(&object);
        self.write(|state, ctx| {
            let key: Key = (namespace.as_deref().unwrap_or_default().into(), name);
            let mut object = object;
            object["metadata"]["namespace"] = json!(&*key.0);
            change(state, &kind, &key, ctx, |current| {
                if object.pointer("/metadata/resourceVersion").is_none() {
                    object["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"].clone();
                }
                Ok(object)
            })
        })
    }

    /// Changes parts of an object, status included, by a merge patch.
    ///
    /// # Errors
    /// What the API answers: not found, invalid.
    pub fn patch(
        &self,
        resource: &str,
        namespace: &str,
        name: &str,
        patch: Value,
    ) -> Result<Value, ApiError> {
        let kind = self.kind(resource)?;
        self.write(|state, ctx| {
            let key: Key = (namespace.into(), name.into());
            change(state, &kind, &key, ctx, |current| {
                patch::apply_plain(&kind, PatchType::Merge, current, patch.to_string().as_bytes())
            })
        })
    }

    /// Deletes an object; finalizers hold it as usual, a grace period does not. Returns its last state.
    ///
    /// # Errors
    /// What the API answers: not found.
    pub fn delete(&self, resource: &str, namespace: &str, name: &str) -> Result<Value, ApiError> {
        let kind = self.kind(resource)?;
        let options = DeleteOptions {
            grace_period_seconds: Some(0),
            ..DeleteOptions::default()
        };
        self.write(|state, ctx| {
            let key: Key = (namespace.into(), name.into());
            let (stored, _) = delete_object(state, &kind, &key, &options, ctx)?;
            Ok(as_served(&kind, stored.value()))
        })
    }

    /// Reads an object; the namespace is empty for cluster-scoped kinds.
    pub fn get(&self, resource: &str, namespace: &str, name: &str) -> Option<Value> {
        let kind = self.kind(resource).ok()?;
        let key: Key = (namespace.into(), name.into());
        let stored = self.shared.lock().storage.get(&kind.storage, &key).cloned()?;
        Some(as_served(&kind, stored.value()))
    }

    /// Reads all objects of a kind, of one namespace or of all, in key order.
    pub fn list(&self, resource: &str, namespace: Option<&str>) -> Vec<Value> {
        let Ok(kind) = self.kind(resource) else {
            return Vec::new();
        };
        let items = {
            let state = self.shared.lock();
            let head = state.storage.revision();
            state
                .storage
                .page(&kind.storage, head, namespace, None, None, |_| true)
                .map(|page| page.items)
        };
        items
            .unwrap_or_default()
            .iter()
            .map(|stored| as_served(&kind, stored.value()))
            .collect()
    }

    /// How many objects of a kind there are.
    pub fn count(&self, resource: &str) -> usize {
        let Ok(kind) = self.kind(resource) else { return 0 };
        self.shared.lock().storage.count(&kind.storage)
    }

    /// Loads objects as they are, status included: bulk set-up for tests and benches. Each names its kind.
    ///
    /// What is missing of uid, creation time and namespace is filled in; an object of the same name is replaced.
    /// Returns how many were loaded.
    ///
    /// # Errors
    /// For an object without kind and name, or of an unknown kind; those before it stay loaded.
    pub fn load(&self, objects: impl IntoIterator<Item = Value>) -> Result<usize, ApiError> {
        let mut loaded = 0;
        for mut object in objects {
            let (kind, namespace) = {
                let state = self.shared.lock();
                let text = |field: &str| object.get(field).and_then(Value::as_str).unwrap_or_default();
                let kind = state.registry.by_kind(text("apiVersion"), text("kind")).cloned();
                let kind = kind.ok_or_else(|| {
                    let why = format!("no kind \"{}\" in \"{}\"", text("kind"), text("apiVersion"));
                    ApiError::bad_request(why)
                })?;
                drop(state);
                let namespace = self.namespace_of(&kind, &object);
                (kind, namespace)
            };
            if key_of(&object).1.is_empty() {
                return Err(ApiError::bad_request(format!(
                    "a {} without a name can't be loaded",
                    kind.kind
                )));
            }
            // A definition is completed and checked like any: what it defines depends on it.
            if kind.is_crd() && self.get(&kind.resource(), "", &key_of(&object).1).is_none() {
                self.create(&kind.resource(), object)?;
                loaded += 1;
                continue;
            }
            let mut state = self.shared.lock();
            let uid = write::uid(&mut state.rng);
            let now = self.shared.clock.rfc3339();
            if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
                match namespace {
                    Some(namespace) => metadata.insert("namespace".to_owned(), namespace.into()),
                    None => metadata.remove("namespace"),
                };
                metadata.entry("uid").or_insert_with(|| uid.into());
                metadata.entry("creationTimestamp").or_insert_with(|| now.into());
            }
            state.put(&kind, object);
            loaded += 1;
        }
        Ok(loaded)
    }

    // --- time and history ---

    /// The newest revision.
    pub fn revision(&self) -> u64 {
        self.shared.lock().storage.revision()
    }

    /// Uses up one revision without touching any object, as a write to a kind nobody looks at does.
    pub fn bump_revision(&self) -> u64 {
        let mut state = self.shared.lock();
        let revision = state.storage.next_revision(clock::now());
        state.wake_all();
        revision
    }

    /// Sets how much history a kind keeps from now on, as [`Builder::history`] does.
    pub fn history(&self, events: usize, age: Duration) {
        let mut state = self.shared.lock();
        state.storage.set_window(Window::new(events, age), clock::now());
    }

    /// Forgets history at or below a revision: older watches, exact lists and continue tokens get 410.
    pub fn compact_to(&self, revision: u64) {
        self.shared.faults.count("compact");
        self.shared.lock().storage.compact_to(revision);
    }

    /// Forgets all history.
    pub fn compact(&self) {
        self.shared.faults.count("compact");
        let mut state = self.shared.lock();
        let head = state.storage.revision();
        state.storage.compact_to(head);
    }

    /// The whole state, to go back to with [`restore`](Self::restore).
    pub fn snapshot(&self) -> Snapshot {
        self.shared.lock().storage.snapshot()
    }

    /// Goes back to a snapshot as a restore from backup does: revisions go back too, history is empty, and open
    /// watches end.
    pub fn restore(&self, snapshot: &Snapshot) {
        self.shared.faults.count("restore");
        let mut state = self.shared.lock();
        state.restore(snapshot, true);
        state.wake_all();
    }

    /// Goes back to a snapshot and leaves open watches hanging: they stay silent until the old revision is passed.
    pub fn rewind(&self, snapshot: &Snapshot) {
        self.shared.faults.count("rewind");
        self.shared.lock().restore(snapshot, false);
    }

    /// Waits until every open watch has been handed everything its replica shows.
    ///
    /// # Cancel safety
    /// Dropping the future changes nothing.
    pub async fn settled(&self) {
        loop {
            let progress = self.shared.watchers.progress.notified();
            tokio::pin!(progress);
            progress.as_mut().enable();
            if self.is_settled() {
                return;
            }
            progress.await;
        }
    }

    pub(crate) fn is_settled(&self) -> bool {
        let watchers = self.shared.watchers.all();
        let state = self.shared.lock();
        watchers.iter().all(|watcher| {
            let sent = watcher.sent.load(SeqCst);
            let (visible, _) = state.storage.visible(watcher.replica, clock::now());
            let next = state.storage.followed(&watcher.kind).after(sent).next();
            next.is_none_or(|event| event.version > visible)
        })
    }

    // --- private ---

    pub(crate) fn ensure_namespace(&self, name: &str) {
        let Ok(kind) = self.kind("namespaces") else { return };
        if self
            .shared
            .lock()
            .storage
            .get(&kind.storage, &("".into(), name.into()))
            .is_some()
        {
            return;
        }
        // The name was checked by whoever needs the namespace; a bad one fails there with a better message.
        let _ = self.create("namespaces", json!({"metadata": {"name": name}}));
    }

    fn kind(&self, resource: &str) -> Result<Arc<Kind>, ApiError> {
        let state = self.shared.lock();
        let kinds = state.registry.kinds();
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let found = kinds
            .iter()
            .find(|kind| kind.plural == plural && kind.group == group);
        let found = found.or_else(|| kinds.iter().find(|kind| kind.plural == resource));
        found.cloned().ok_or_else(ApiError::resource_not_found)
    }

    /// The namespace an object goes to, made if missing.
    fn namespace_of(&self, kind: &Kind, object: &Value) -> Option<String> {
        if !kind.namespaced {
            return None;
        }
        let namespace = match &*key_of(object).0 {
            "" => "default".to_owned(),
            namespace => namespace.to_owned(),
        };
        self.ensure_namespace(&namespace);
        Some(namespace)
    }

    fn write<T>(
        &self,
        work: impl FnOnce(&mut State, &mut WriteContext<'_>) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let mut state = self.shared.lock();
        let mut rng = state.rng.fork();
        let mut ctx = WriteContext {
            now: self.shared.clock.timestamp(),
            rng: &mut rng,
            manager: "testkit".to_owned(),
            validation: FieldValidation::Warn,
            track_updates: self.shared.config.managed_fields,
            warnings: Vec::new(),
        };
        work(&mut state, &mut ctx)
    }
}

/// Changes an object and its status in one call: first what the main endpoint takes, then the status.
fn change(
    state: &mut State,
    kind: &Arc<Kind>,
    key: &Key,
    ctx: &mut WriteContext<'_>,
    make: impl FnOnce(&Value) -> Result<Value, ApiError>,
) -> Result<Value, ApiError> {
    let current = state
        .storage
        .get(&kind.storage, key)
        .ok_or_else(|| ApiError::not_found(kind, &key.1))?;
    let current = as_served(kind, current.value());
    let mut wanted = make(&current)?;
    write::read_as(kind, &mut wanted, &mut Vec::new()).map_err(ApiError::bad_request)?;
    write::check_uid(
        kind,
        &key.0,
        &key.1,
        current["metadata"]["uid"].as_str().unwrap_or_default(),
        &wanted,
    )?;
    let status = wanted.get("status").cloned();
    let updated = write::update(kind, Target::Main, &key.1, &current, wanted, ctx)?;
    let stored = commit(state, kind, key, updated, false);
    let now = as_served(kind, stored.value());
    let Some(status) = status.filter(|status| kind.status && now.get("status") != Some(status)) else {
        return Ok(now);
    };
    if state.storage.get(&kind.storage, key).is_none() {
        return Ok(now);
    }
    let mut wanted = now.clone();
    wanted["status"] = status;
    let updated = write::update(kind, Target::Status, &key.1, &now, wanted, ctx)?;
    let stored = commit(state, kind, key, updated, false);
    Ok(as_served(kind, stored.value()))
}

fn to_value(object: impl Serialize) -> Result<Value, ApiError> {
    serde_json::to_value(object).map_err(|error| ApiError::bad_request(format!("not an object: {error}")))
}
