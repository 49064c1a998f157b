//! From a request to an answer, without a socket: any HTTP server can mount it.

use std::net::IpAddr;

use super::{Access, Health};

/// What is asked, taken from whatever HTTP server there is.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Request<'a> {
    /// The method; only `GET` and `HEAD` are answered.
    pub method: &'a str,
    /// The path, as `/readyz/pods`.
    pub path: &'a str,
    /// What follows the `?`, or nothing.
    pub query: &'a str,
    /// Who asks; without it nothing that is for this machine only is told.
    pub peer: Option<IpAddr>,
    /// The `Host` header, or nothing.
    pub host: Option<&'a str>,
}

impl<'a> Request<'a> {
    /// A `GET` of a path with an optional query, from nobody in particular.
    pub fn get(target: &'a str) -> Self {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        Self {
            method: "GET",
            path,
            query,
            peer: None,
            host: None,
        }
    }

    /// As it comes from `peer`.
    #[must_use]
    pub const fn from(mut self, peer: IpAddr) -> Self {
        self.peer = Some(peer);
        self
    }

    /// As it was sent to `host`.
    #[must_use]
    pub const fn host(mut self, host: &'a str) -> Self {
        self.host = Some(host);
        self
    }
}

/// The answer to a [`Request`]. To `HEAD` the server sends it without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The media type.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
}

impl Health {
    /// Answers a request: `/livez`, `/healthz`, `/readyz`, each with `/NAME`, `?verbose` and `?exclude=NAME`;
    /// `/metrics`; `/debug` and `/debug/NAME` where allowed. Never fails: what is not known is answered 404.
    ///
    /// # Examples
    ///
    /// ```
    /// use informer::manager::health::{Health, Request};
    ///
    /// let health = Health::new();
    /// health.ready("warm", || Err("cold".to_owned()));
    /// let answer = health.respond(&Request::get("/readyz?verbose"));
    /// assert_eq!(answer.status, 500);
    /// assert_eq!(answer.body, "[+]ping ok\n[-]warm failed: reason withheld\nreadyz check failed\n");
    /// assert_eq!(health.respond(&Request::get("/livez")).body, "ok");
    /// ```
    pub fn respond(&self, request: &Request<'_>) -> Response {
        if !matches!(request.method, "GET" | "HEAD") {
            return plain(405, "only GET and HEAD are answered here\n");
        }
        let path = request.path.strip_prefix('/').unwrap_or(request.path);
        let (endpoint, rest) = path.split_once('/').unwrap_or((path, ""));
        let rest = rest.trim_end_matches('/');
        match endpoint {
            "livez" | "healthz" | "readyz" => self.probe(endpoint, rest, request.query),
            "metrics" if rest.is_empty() => Response {
                status: 200,
                content_type: "text/plain; version=0.0.4; charset=utf-8",
                body: self.metrics(),
            },
            "debug" => self.show(rest, request),
            _ => plain(404, "not found: try /livez, /readyz, /metrics\n"),
        }
    }

    fn probe(&self, endpoint: &str, name: &str, query: &str) -> Response {
        let checked = if endpoint == "readyz" {
            self.check_ready()
        } else {
            self.check_live()
        };
        let reasons = self.options().reasons;
        if !name.is_empty() {
            let name = decode(name);
            return match checked.render_one(&name, reasons) {
                Some((true, text)) => plain(200, text),
                Some((false, text)) => plain(500, text),
                None => plain(404, format!("no check of that name: see /{endpoint}?verbose\n")),
            };
        }
        let mut exclude = Vec::new();
        let mut verbose = false;
        for pair in query.split('&') {
            match pair.split_once('=').unwrap_or((pair, "")) {
                ("verbose", value) => verbose = !matches!(value, "0" | "false"),
                ("exclude", name) if exclude.len() < EXCLUDES => exclude.push(decode(name)),
                _ => {}
            }
        }
        let (passed, text) = checked.render(endpoint, &exclude, verbose, reasons);
        plain(if passed { 200 } else { 500 }, text)
    }

    fn show(&self, name: &str, request: &Request<'_>) -> Response {
        match self.options().debug {
            Access::Off => return plain(404, "not found: /debug is switched off\n"),
            Access::Loopback if !is_local(request) => {
                return plain(
                    403,
                    "/debug answers on the machine itself only: use a port-forward\n",
                );
            }
            Access::Loopback | Access::Anywhere => {}
        }
        let value = if name.is_empty() {
            Some(self.describe_all())
        } else {
            self.describe_one(&decode(name))
        };
        match value {
            Some(value) => Response {
                status: 200,
                content_type: "application/json",
                body: format!("{value:#}\n"),
            },
            None => plain(404, "nothing of that name: see /debug\n"),
        }
    }
}

fn plain(status: u16, body: impl Into<String>) -> Response {
    Response {
        status,
        content_type: "text/plain; charset=utf-8",
        body: body.into(),
    }
}

/// Whether the request came from this machine, and meant it: a page in a browser that was led here under a foreign
/// name says so in its `Host`.
fn is_local(request: &Request<'_>) -> bool {
    let peer = request.peer.is_some_and(|peer| peer.to_canonical().is_loopback());
    let host = request.host.is_none_or(|host| {
        let name = match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => host.split(':').next().unwrap_or_default(),
        };
        name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    });
    peer && host
}

/// Undoes percent-encoding; what is no encoding stays as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let pair = (byte == b'%').then(|| (hex(ahead.next()), hex(ahead.next())));
        match pair {
            Some((Some(high), Some(low))) => {
                bytes.push(high << 4 | low);
                rest = ahead;
            }
            _ if byte == b'+' => bytes.push(b' '),
            _ => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex(byte: Option<u8>) -> Option<u8> {
    char::from(byte?)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// How many exclusions of one request are looked at.
const EXCLUDES: usize = 100;
