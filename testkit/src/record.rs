//! Traffic with a real server, written to a file and played back.
//!
//! [`Recorder`] stands between clients and a server and writes each exchange to a file as it ends. [`Replay`] answers
//! from such a file. The format is one JSON object a line: `method`, `path`, `req_headers`, `req_body`, `status`,
//! `headers`, and `body`, or `lines` for a watch. Credentials are never written; bodies are, secrets included, so record
//! from servers that hold none.
//!
//! # Examples
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use informer_testkit::{ApiServer, record::{Recorder, Replay}};
//! use k8s_openapi::api::core::v1::Namespace;
//! use kube_client::{Api, api::ListParams};
//!
//! let path = std::env::temp_dir().join(format!("informer-testkit-doc-{}.jsonl", std::process::id()));
//! let real = ApiServer::new(); // stands for a cluster here
//! let recorder = Recorder::create(real.client(), &path)?;
//! let through: Api<Namespace> = Api::all(recorder.client());
//! let recorded = through.list(&ListParams::default()).await?;
//!
//! let again: Api<Namespace> = Api::all(Replay::open(&path)?.client());
//! assert_eq!(again.list(&ListParams::default()).await?.items, recorded.items);
//! # std::fs::remove_file(path)?;
//! # Ok(()) }
//! ```

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, File},
    future::Future,
    io::{self, Write},
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures::{StreamExt, stream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use serde::{Deserialize, Serialize};
use tower::Service;

use crate::body::Body;

/// One recorded exchange.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Exchange {
    method: String,
    path: String,
    #[serde(default)]
    req_headers: BTreeMap<String, String>,
    #[serde(default)]
    req_body: Option<String>,
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Option<String>,
    /// The lines of a watch; `<EOF>` where the server ended it.
    #[serde(default)]
    lines: Vec<String>,
}

const END: &str = "<EOF>";
/// What a request is known by; everything else, credentials above all, stays out of the file.
const REQUEST_HEADERS: [HeaderName; 3] = [header::ACCEPT, header::CONTENT_TYPE, header::USER_AGENT];
const RESPONSE_HEADERS: [HeaderName; 4] = [
    header::CONTENT_TYPE,
    header::RETRY_AFTER,
    header::WARNING,
    header::ETAG,
];

/// Why a recording can't be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The file can't be read.
    #[error("can't read the recording")]
    Read(#[from] io::Error),
    /// A line is no exchange.
    #[error("line {line} of the recording is no exchange")]
    Line {
        /// Position in the file, from 1.
        line: usize,
        /// Why.
        source: serde_json::Error,
    },
}

/// Passes requests on to a server and writes what happens to a file.
#[derive(Clone)]
pub struct Recorder {
    upstream: kube_client::Client,
    file: Arc<Mutex<File>>,
}

impl std::fmt::Debug for Recorder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Recorder").finish_non_exhaustive()
    }
}

impl Recorder {
    /// Starts a recording; a file that is there is replaced.
    ///
    /// # Errors
    /// When the file can't be made.
    pub fn create(upstream: kube_client::Client, path: impl AsRef<Path>) -> io::Result<Self> {
        Ok(Self {
            upstream,
            file: Arc::new(Mutex::new(File::create(path)?)),
        })
    }

    /// A client whose traffic is recorded.
    ///
    /// # Panics
    /// Outside a tokio runtime: the client keeps its queue in a task.
    pub fn client(&self) -> kube_client::Client {
        kube_client::Client::new(self.clone(), "default")
    }
}

/// Writes an exchange when it is over, however it ends.
struct Pending {
    exchange: Exchange,
    partial: Vec<u8>,
    watch: bool,
    file: Arc<Mutex<File>>,
}

impl Pending {
    fn push(&mut self, chunk: &[u8]) {
        self.partial.extend_from_slice(chunk);
        if !self.watch {
            return;
        }
        while let Some(end) = memchr::memchr(b'\n', &self.partial) {
            let line: Vec<u8> = self.partial.drain(..=end).collect();
            self.exchange
                .lines
                .push(String::from_utf8_lossy(&line[..end]).into_owned());
        }
    }

    fn ended(&mut self) {
        if self.watch {
            self.exchange.lines.push(END.to_owned());
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.watch {
            self.exchange.body = Some(String::from_utf8_lossy(&self.partial).into_owned());
        }
        let written = serde_json::to_vec(&self.exchange)
            .map_err(io::Error::from)
            .and_then(|mut line| {
                line.push(b'\n');
                self.file
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .write_all(&line)
            });
        if let Err(error) = written {
            tracing::warn!(%error, "an exchange could not be recorded");
        }
    }
}

impl<B> Service<Request<B>> for Recorder
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send,
{
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (upstream, file) = (self.upstream.clone(), Arc::clone(&self.file));
        Box::pin(async move {
            let other = |error: &dyn std::fmt::Display| io::Error::other(error.to_string());
            let (parts, body) = request.into_parts();
            let body = body.collect().await.map_err(|error| other(&error))?.to_bytes();
            let mut exchange = Exchange {
                method: parts.method.to_string(),
                path: path_of(&parts.uri),
                req_headers: pick(&parts.headers, &REQUEST_HEADERS),
                req_body: (!body.is_empty()).then(|| String::from_utf8_lossy(&body).into_owned()),
                status: 0,
                headers: BTreeMap::new(),
                body: None,
                lines: Vec::new(),
            };
            let request = Request::from_parts(parts, kube_client::client::Body::from(body.to_vec()));
            let response = upstream.send(request).await.map_err(|error| other(&error))?;
            let (parts, body) = response.into_parts();
            exchange.status = parts.status.as_u16();
            exchange.headers = pick(&parts.headers, &RESPONSE_HEADERS);
            let watch = parts.status.is_success() && exchange.path.contains("watch=");
            let pending = Pending {
                exchange,
                partial: Vec::new(),
                watch,
                file,
            };
            let chunks = stream::unfold(
                (body.into_data_stream(), pending),
                |(mut body, mut pending)| async move {
                    match body.next().await {
                        None => {
                            pending.ended();
                            None
                        }
                        Some(Ok(chunk)) => {
                            pending.push(&chunk);
                            Some((Ok(chunk), (body, pending)))
                        }
                        Some(Err(error)) => Some((Err(io::Error::other(error.to_string())), (body, pending))),
                    }
                },
            );
            Ok(Response::from_parts(parts, Body::stream(chunks)))
        })
    }
}

/// Answers from a recording.
///
/// A request gets the answer of the recorded one with the same method, path, query and body; several of these are
/// given in their recorded order, and the last one again and again. A watch that was still open when the recording
/// ended stays open. Requests that were not recorded get 501.
#[derive(Clone, Debug)]
pub struct Replay {
    exchanges: Arc<HashMap<Asked, Vec<Exchange>>>,
    given: Arc<Mutex<HashMap<Asked, usize>>>,
}

/// Method, path with query, and body.
type Asked = (String, String, String);

impl Replay {
    /// Reads a recording.
    ///
    /// # Errors
    /// When the file can't be read or holds something else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, ReplayError> {
        let text = fs::read_to_string(path)?;
        let mut exchanges: HashMap<Asked, Vec<Exchange>> = HashMap::new();
        for (at, line) in text.lines().enumerate() {
            let exchange: Exchange =
                serde_json::from_str(line).map_err(|source| ReplayError::Line { line: at + 1, source })?;
            let body = exchange.req_body.clone().unwrap_or_default();
            exchanges
                .entry((exchange.method.clone(), exchange.path.clone(), body))
                .or_default()
                .push(exchange);
        }
        Ok(Self {
            exchanges: Arc::new(exchanges),
            given: Arc::default(),
        })
    }

    /// A client that is answered from the recording.
    ///
    /// # Panics
    /// Outside a tokio runtime: the client keeps its queue in a task.
    pub fn client(&self) -> kube_client::Client {
        kube_client::Client::new(self.clone(), "default")
    }

    fn answer(&self, asked: Asked) -> Response<Body> {
        let Some(recorded) = self.exchanges.get(&asked) else {
            let mut response =
                Response::new(Body::full(format!("{} {} was not recorded\n", asked.0, asked.1)));
            *response.status_mut() = StatusCode::NOT_IMPLEMENTED;
            return response;
        };
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let turn = given.entry(asked).or_default();
        let exchange = recorded[(*turn).min(recorded.len() - 1)].clone();
        *turn += 1;
        drop(given);
        let status = StatusCode::from_u16(exchange.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = match exchange.body {
            Some(body) => Body::full(body),
            None => lines(exchange.lines),
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        for (name, value) in &exchange.headers {
            let (name, value) = (
                HeaderName::try_from(name.as_str()),
                HeaderValue::try_from(value.as_str()),
            );
            if let (Ok(name), Ok(value)) = (name, value)
                && name != header::CONTENT_LENGTH
                && name != header::TRANSFER_ENCODING
            {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

/// A watch's lines, then its end if the server ended it.
fn lines(mut lines: Vec<String>) -> Body {
    let ended = lines.last().is_some_and(|line| line == END);
    if ended {
        lines.pop();
    }
    let sent = stream::iter(lines.into_iter().map(|line| Ok(Bytes::from(line + "\n"))));
    if ended {
        Body::stream(sent)
    } else {
        Body::stream(sent.chain(stream::pending()))
    }
}

impl<B> Service<Request<B>> for Replay
where
    B: http_body::Body<Data = Bytes> + Send + 'static,
    B::Error: std::fmt::Display + Send,
{
    type Response = Response<Body>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Response<Body>>> + Send>>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let replay = self.clone();
        Box::pin(async move {
            let (parts, body) = request.into_parts();
            let body = body
                .collect()
                .await
                .map_err(|error| io::Error::other(error.to_string()))?
                .to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok(replay.answer((parts.method.to_string(), path_of(&parts.uri), body)))
        })
    }
}

/// Path and query, without the stray `&` that some clients put first.
fn path_of(uri: &http::Uri) -> String {
    let text = uri
        .path_and_query()
        .map_or_else(|| uri.path(), |both| both.as_str());
    text.replacen("?&", "?", 1).trim_end_matches('?').to_owned()
}

fn pick(headers: &HeaderMap, wanted: &[HeaderName]) -> BTreeMap<String, String> {
    let value = |name: &HeaderName| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned)
    };
    wanted
        .iter()
        .filter_map(|name| Some((name.to_string(), value(name)?)))
        .collect()
}
