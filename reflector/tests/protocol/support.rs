//! A scripted API server behind a `kube_client::Client`, and a store that checks what it is given.
#![allow(unreachable_pub, reason = "shared by the files of one test crate")]

mod store;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use informer_reflector::{ApiClient, ApiListWatch, Reflector, ReflectorBuilder};
use informer_store::{Cache, Object, ReflectorStore};
use k8s_openapi::api::core::v1::ConfigMap;
use kube_client::{Client, client::Body};
use tokio::time::Instant;

pub use self::store::{Checked, Truth};

/// One piece of an answer.
#[derive(Clone, Debug)]
pub enum Piece {
    Bytes(Bytes),
    /// Nothing for this long.
    Pause(Duration),
    /// Nothing any more.
    Hang,
    /// The connection breaks.
    Reset,
}

pub fn text(text: impl Into<String>) -> Piece {
    Piece::Bytes(text.into().into())
}

pub fn line(text: impl Into<String>) -> Piece {
    let mut text = text.into();
    text.push('\n');
    Piece::Bytes(text.into())
}

pub fn pause(seconds: u64) -> Piece {
    Piece::Pause(Duration::from_secs(seconds))
}

/// One answer.
#[derive(Clone, Debug)]
pub enum Answer {
    Respond {
        status: u16,
        headers: Vec<(String, String)>,
        pieces: Vec<Piece>,
    },
    /// Accepted and never answered.
    Never,
    /// Refused.
    Refuse,
    /// The server's certificate is not trusted.
    Untrusted,
}

impl Answer {
    pub fn ok(pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self::status(200, pieces)
    }

    pub fn status(status: u16, pieces: impl IntoIterator<Item = Piece>) -> Self {
        Self::Respond {
            status,
            headers: vec![("content-type".into(), "application/json".into())],
            pieces: pieces.into_iter().collect(),
        }
    }

    pub fn failure(code: u16, reason: &str, message: &str) -> Self {
        Self::status(code, [text(failure(code, reason, message))])
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        if let Self::Respond { headers, .. } = &mut self {
            headers.retain(|(known, _)| known != name);
            headers.push((name.into(), value.into()));
        }
        self
    }

    /// A list of `objects` at `version`.
    pub fn list(version: &str, objects: &[String]) -> Self {
        Self::ok([text(list(version, objects))])
    }

    /// A watch that sends `events` and stays open.
    pub fn watch(events: impl IntoIterator<Item = Piece>) -> Self {
        Self::ok(events.into_iter().chain([Piece::Hang]))
    }
}

pub fn failure(code: u16, reason: &str, message: &str) -> String {
    format!(
        r#"{{"kind":"Status","apiVersion":"v1","metadata":{{}},"status":"Failure","message":"{message}","reason":"{reason}","code":{code}}}"#
    )
}

pub fn list(version: &str, objects: &[String]) -> String {
    format!(
        r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}},"items":[{}]}}"#,
        objects.join(",")
    )
}

pub fn page(version: &str, token: &str, objects: &[String]) -> String {
    format!(
        r#"{{"kind":"ConfigMapList","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","continue":"{token}"}},"items":[{}]}}"#,
        objects.join(",")
    )
}

/// A config map `default/name` with uid `u-name`.
pub fn object(name: &str, version: u64) -> String {
    object_of(name, &format!("u-{name}"), version)
}

pub fn object_of(name: &str, uid: &str, version: u64) -> String {
    format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"default","uid":"{uid}","resourceVersion":"{version}","managedFields":[{{"manager":"m","operation":"Update"}}]}},"data":{{"v":"{version}"}}}}"#
    )
}

/// The same in another namespace.
pub fn object_in(namespace: &str, name: &str, version: u64) -> String {
    object(name, version).replace("\"default\"", &format!("\"{namespace}\""))
}

/// An object that is well-formed and no config map.
pub fn poison(name: &str, version: u64) -> String {
    format!(
        r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"default","uid":"u-{name}","resourceVersion":"{version}"}},"data":17}}"#
    )
}

pub fn event(kind: &str, object: &str) -> Piece {
    line(format!(r#"{{"type":"{kind}","object":{object}}}"#))
}

pub fn added(name: &str, version: u64) -> Piece {
    event("ADDED", &object(name, version))
}

pub fn modified(name: &str, version: u64) -> Piece {
    event("MODIFIED", &object(name, version))
}

pub fn deleted(name: &str, version: u64) -> Piece {
    event("DELETED", &object(name, version))
}

pub fn bookmark(version: &str) -> Piece {
    event(
        "BOOKMARK",
        &format!(r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"resourceVersion":"{version}"}}}}"#),
    )
}

pub fn initial_end(version: &str) -> Piece {
    event(
        "BOOKMARK",
        &format!(
            r#"{{"kind":"ConfigMap","apiVersion":"v1","metadata":{{"resourceVersion":"{version}","annotations":{{"k8s.io/initial-events-end":"true"}}}}}}"#
        ),
    )
}

/// The error in a stream that an expired version leads to.
pub fn expired_event() -> Piece {
    event(
        "ERROR",
        &failure(410, "Expired", "too old resource version: 5 (313)"),
    )
}

/// A request the server saw.
#[derive(Clone, Debug)]
pub struct Seen {
    pub at: Instant,
    pub uri: String,
    pub accept: String,
    pub fresh: bool,
}

impl Seen {
    pub fn is_watch(&self) -> bool {
        self.uri.contains("watch=true")
    }

    pub fn param(&self, name: &str) -> Option<String> {
        let query = self.uri.split_once('?')?.1;
        query.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=')?;
            (key == name).then(|| value.to_owned())
        })
    }
}

type Handler = dyn FnMut(&Seen) -> Answer + Send;

/// A server that answers as a closure says and remembers what it was asked.
#[derive(Clone)]
pub struct Server {
    seen: Arc<Mutex<Vec<Seen>>>,
    handler: Arc<Mutex<Box<Handler>>>,
}

impl Server {
    pub fn new(handler: impl FnMut(&Seen) -> Answer + Send + 'static) -> Self {
        Self {
            seen: Arc::default(),
            handler: Arc::new(Mutex::new(Box::new(handler))),
        }
    }

    /// Lists and watches are answered from two scripts; the last answer of each is repeated.
    pub fn script(lists: Vec<Answer>, watches: Vec<Answer>) -> Self {
        let (mut lists, mut watches) = (VecDeque::from(lists), VecDeque::from(watches));
        let next = |script: &mut VecDeque<Answer>| {
            if script.len() > 1 {
                script.pop_front().expect("the script has more than one answer")
            } else {
                script.front().cloned().unwrap_or(Answer::Never)
            }
        };
        Self::new(move |seen| next(if seen.is_watch() { &mut watches } else { &mut lists }))
    }

    pub fn client(&self) -> Client {
        let server = self.clone();
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let server = server.clone();
                async move { server.answer(request.map(drop)).await }
            }),
            "default",
        )
    }

    async fn answer(&self, request: Request<()>) -> Result<Response<Body2>, std::io::Error> {
        let header = |name: &str| {
            request
                .headers()
                .get(name)
                .and_then(|value| value.to_str().ok())
                .unwrap_or_default()
                .to_owned()
        };
        let seen = Seen {
            at: Instant::now(),
            uri: request.uri().to_string(),
            accept: header("accept"),
            fresh: header("connection") == "close",
        };
        self.seen.lock().unwrap().push(seen.clone());
        let answer = (self.handler.lock().unwrap())(&seen);
        match answer {
            Answer::Never => std::future::pending().await,
            Answer::Untrusted => Err(std::io::Error::other("invalid peer certificate: Expired")),
            Answer::Refuse => Err(std::io::Error::from(std::io::ErrorKind::ConnectionRefused)),
            Answer::Respond {
                status,
                headers,
                pieces,
            } => {
                let body = stream::iter(pieces).then(|piece| async move {
                    match piece {
                        Piece::Bytes(bytes) => Some(Ok(bytes)),
                        Piece::Pause(time) => {
                            tokio::time::sleep(time).await;
                            None
                        }
                        Piece::Hang => std::future::pending().await,
                        Piece::Reset => Some(Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))),
                    }
                });
                let frames = body
                    .filter_map(|piece| async move { piece.map(|piece| piece.map(http_body::Frame::data)) });
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                let body: Body2 = StreamBody::new(frames.boxed());
                Ok(response.body(body).expect("the headers are valid"))
            }
        }
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    pub fn lists(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| !seen.is_watch()).collect()
    }

    pub fn watches(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(Seen::is_watch).collect()
    }

    /// The most requests in any 60 s.
    pub fn busiest_minute(&self) -> usize {
        let times: Vec<_> = self.seen().iter().map(|seen| seen.at).collect();
        times
            .iter()
            .map(|start| {
                times
                    .iter()
                    .filter(|at| **at >= *start && **at < *start + Duration::from_secs(60))
                    .count()
            })
            .max()
            .unwrap_or(0)
    }
}

type Body2 = StreamBody<stream::BoxStream<'static, Result<http_body::Frame<Bytes>, std::io::Error>>>;

fn note(states: &Mutex<Vec<String>>, text: String) {
    let mut states = states.lock().unwrap();
    if states.last() != Some(&text) {
        states.push(text);
    }
}

/// A server, a store and a reflector between them.
pub struct Rig {
    pub server: Server,
    pub store: Checked,
    pub reflector: Reflector<ConfigMap>,
    pub states: Arc<Mutex<Vec<String>>>,
}

impl Rig {
    pub fn new(server: Server) -> Self {
        Self::with(server, |source| source, |builder| builder)
    }

    /// A rig that lists in the plain way.
    pub fn plain(server: Server) -> Self {
        Self::with(server, ApiListWatch::no_streaming_lists, |builder| builder)
    }

    /// A rig that lists in the plain way and is built in another.
    pub fn plain_with(
        server: Server,
        build: impl FnOnce(ReflectorBuilder<ConfigMap>) -> ReflectorBuilder<ConfigMap>,
    ) -> Self {
        Self::with(server, ApiListWatch::no_streaming_lists, build)
    }

    pub fn with(
        server: Server,
        source: impl FnOnce(ApiListWatch<ConfigMap>) -> ApiListWatch<ConfigMap>,
        build: impl FnOnce(ReflectorBuilder<ConfigMap>) -> ReflectorBuilder<ConfigMap>,
    ) -> Self {
        let client = ApiClient::from(server.client());
        Self::of(&client, server, source, build)
    }

    /// A rig that shares its client with others.
    pub fn of(
        client: &ApiClient,
        server: Server,
        source: impl FnOnce(ApiListWatch<ConfigMap>) -> ApiListWatch<ConfigMap>,
        build: impl FnOnce(ReflectorBuilder<ConfigMap>) -> ReflectorBuilder<ConfigMap>,
    ) -> Self {
        let store = Checked::default();
        let source = source(ApiListWatch::namespaced(client, "default"));
        let reflector = build(Reflector::builder(source, store.clone()).seed(7)).build();
        Self {
            server,
            store,
            reflector,
            states: Arc::default(),
        }
    }

    /// Lets everything run for so many simulated seconds, then stops it.
    pub async fn run(&self, seconds: u64) {
        let mut receiver = self.reflector.state();
        let states = Arc::clone(&self.states);
        let log = async move {
            loop {
                let state = receiver.borrow_and_update().clone();
                let text = match state.reason() {
                    Some(reason) => format!("{} {reason}", state.as_str()),
                    None => state.as_str().to_owned(),
                };
                note(&states, text);
                if receiver.changed().await.is_err() {
                    break;
                }
            }
        };
        let shutdown = tokio::time::sleep(Duration::from_secs(seconds));
        tokio::select! {
            biased;
            done = self.reflector.run(shutdown) => done.expect("nothing a server does ends a run"),
            () = log => {}
        }
    }

    pub fn states(&self) -> Vec<String> {
        self.states.lock().unwrap().clone()
    }
}

/// A reflector of the namespaces `a` and `b` into one store, which lists in the plain way.
pub fn two_namespaces(
    server: &Server,
    store: impl ReflectorStore<ConfigMap> + 'static,
) -> ReflectorBuilder<ConfigMap> {
    two_sources(
        store,
        ["a", "b"].map(|namespace| ApiListWatch::namespaced(server.client(), namespace)),
    )
}

/// A reflector of the objects of one namespace that have either of these labels, `app=a` and `app=b`.
pub fn two_selectors(
    server: &Server,
    store: impl ReflectorStore<ConfigMap> + 'static,
) -> ReflectorBuilder<ConfigMap> {
    two_sources(
        store,
        ["app=a", "app=b"].map(|labels| ApiListWatch::namespaced(server.client(), "default").labels(labels)),
    )
}

fn two_sources(
    store: impl ReflectorStore<ConfigMap> + 'static,
    sources: [ApiListWatch<ConfigMap>; 2],
) -> ReflectorBuilder<ConfigMap> {
    let [first, second] = sources.map(ApiListWatch::no_streaming_lists);
    Reflector::builder(first, store).also(second).seed(7)
}

/// `namespace/name@version` of every object, in order.
pub fn contents(store: &Cache<ConfigMap>) -> Vec<String> {
    let snapshot = store.snapshot();
    let all = snapshot.entries();
    let mut all: Vec<_> = all
        .map(|(key, object)| format!("{key}@{}", object.version()))
        .collect();
    all.sort();
    all
}

/// Lets it run for so many simulated seconds.
pub async fn run_for(reflector: &Reflector<ConfigMap>, seconds: u64) {
    let shutdown = tokio::time::sleep(Duration::from_secs(seconds));
    reflector
        .run(shutdown)
        .await
        .expect("nothing a server does ends a run");
}
