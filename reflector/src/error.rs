//! [`Error`]: what can go wrong between a reflector and the API server.

use std::{error::Error as StdError, fmt, time::Duration};

/// Why a list, a watch or a read failed.
///
/// Opaque: ask [`kind`](Self::kind) what to do about it. The text never holds an object's body; what a server
/// wrote is cut to 1 KiB and freed of control characters.
pub struct Error {
    kind: ErrorKind,
    operation: &'static str,
    message: Box<str>,
    code: Option<u16>,
    retry_after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// What an [`Error`] means for the one who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The version or page token asked for is no longer kept: list again.
    Expired,
    /// The version asked for is ahead of what the server has.
    TooLarge,
    /// The server asks for patience.
    Throttled,
    /// The credentials were not accepted.
    Unauthorized,
    /// The credentials do not allow this; grant `list` and `watch` on the resource.
    Forbidden,
    /// The resource is not served, or the object is gone.
    NotFound,
    /// The server refuses the request as it was put.
    Invalid,
    /// The server cannot stream the initial state of a watch.
    Unsupported,
    /// The server failed (5xx).
    Server,
    /// No connection, or it broke.
    Transport,
    /// The TLS session could not be set up.
    Tls,
    /// Credentials would travel unencrypted.
    Insecure,
    /// No answer, or no progress, in time.
    Timeout,
    /// The answer is not what the API promises.
    Protocol,
    /// The answer is about another kind, or a table of rows.
    WrongKind,
    /// An item, line, token or answer is larger than its cap.
    Oversize,
    /// The pages of a list repeat themselves.
    NoProgress,
    /// The answer is older than what is held already.
    Stale,
    /// An object could not be decoded.
    Decode,
    /// The store takes nothing any more.
    StoreClosed,
    /// The reflector runs already.
    AlreadyRunning,
}

impl ErrorKind {
    /// A short constant name for logs, metrics and states.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::TooLarge => "version-too-large",
            Self::Throttled => "throttled",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::Invalid => "invalid-request",
            Self::Unsupported => "unsupported",
            Self::Server => "server-error",
            Self::Transport => "transport",
            Self::Tls => "tls",
            Self::Insecure => "insecure",
            Self::Timeout => "timeout",
            Self::Protocol => "protocol",
            Self::WrongKind => "wrong-kind",
            Self::Oversize => "oversize",
            Self::NoProgress => "no-progress",
            Self::Stale => "stale",
            Self::Decode => "decode",
            Self::StoreClosed => "store-closed",
            Self::AlreadyRunning => "already-running",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Error {
    /// An error of `kind` from `operation` (`"list"`, `"watch"`, `"get"`). The message is cut and sanitised.
    #[must_use]
    pub fn new(kind: ErrorKind, operation: &'static str, message: impl AsRef<str>) -> Self {
        Self {
            kind,
            operation,
            message: sanitise(message.as_ref()),
            code: None,
            retry_after: None,
            source: None,
        }
    }

    /// The error an HTTP status or a `Status` object stands for.
    ///
    /// The reason wins over the code where both are known: a watch reports an expired version as a `Status` in a
    /// stream that began with 200.
    #[must_use]
    pub fn from_status(operation: &'static str, code: u16, reason: &str, message: &str) -> Self {
        let too_large = message.contains("Too large resource version") || reason == "ResourceVersionTooLarge";
        let expired = EXPIRED.iter().any(|words| message.contains(words));
        let kind = match (reason, code) {
            _ if too_large => ErrorKind::TooLarge,
            ("Expired" | "Gone", _) | (_, 410) => ErrorKind::Expired,
            ("", _) | (_, 0 | 500) if expired => ErrorKind::Expired,
            ("TooManyRequests", _) | (_, 429) => ErrorKind::Throttled,
            ("Unauthorized", _) | (_, 401) => ErrorKind::Unauthorized,
            ("Forbidden", _) | (_, 403) => ErrorKind::Forbidden,
            ("NotFound", _) | (_, 404) => ErrorKind::NotFound,
            // A proxy's word on the time it took, not on what was asked for.
            (_, 408 | 425 | 499) => ErrorKind::Server,
            (_, 400..=499) => ErrorKind::Invalid,
            (_, 501) => ErrorKind::Unsupported,
            (_, 500..=599) => ErrorKind::Server,
            _ => ErrorKind::Protocol,
        };
        let text = match (reason.is_empty(), message.is_empty()) {
            (true, true) => String::from("the server gave no reason"),
            (false, true) => reason.to_owned(),
            (true, false) => message.to_owned(),
            (false, false) => format!("{reason}: {message}"),
        };
        let mut error = Self::new(kind, operation, text);
        error.code = (code != 0).then_some(code);
        error
    }

    /// The same error with what caused it.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The same error with the wait the server asked for. Any value is accepted here; the reflector caps it.
    #[must_use]
    pub fn wait(mut self, retry_after: Option<Duration>) -> Self {
        self.retry_after = retry_after;
        self
    }

    /// The same error as another kind.
    #[must_use]
    pub(crate) fn into_kind(mut self, kind: ErrorKind) -> Self {
        self.kind = kind;
        self
    }

    /// What it means.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Which request failed: `"list"`, `"watch"`, `"get"`.
    #[must_use]
    pub fn operation(&self) -> &'static str {
        self.operation
    }

    /// The HTTP status code, where there was one.
    #[must_use]
    pub fn code(&self) -> Option<u16> {
        self.code
    }

    /// How long the server asked to wait, uncapped.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether asking again may help without anybody mending something first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(
            self.kind,
            ErrorKind::StoreClosed
                | ErrorKind::AlreadyRunning
                | ErrorKind::Forbidden
                | ErrorKind::WrongKind
                | ErrorKind::Insecure
        )
    }
}

/// What servers say of an expired version, whatever else they make of it on the way.
const EXPIRED: [&str; 2] = ["too old resource version", "required revision has been compacted"];

/// At most 1 KiB, without control characters.
fn sanitise(text: &str) -> Box<str> {
    let clean = |c: char| if c.is_control() { ' ' } else { c };
    if text.len() <= MESSAGE_MAX {
        return text.chars().map(clean).collect();
    }
    let mut end = MESSAGE_MAX;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].chars().map(clean).chain(['…']).collect()
}

/// Enough for every message a real API server writes.
const MESSAGE_MAX: usize = 1024;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({}", self.operation, self.kind)?;
        if let Some(code) = self.code {
            write!(f, ", status {code}")?;
        }
        write!(f, "): {}", self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.kind)
            .field("operation", &self.operation)
            .field("code", &self.code)
            .field("message", &self.message)
            .field("retry_after", &self.retry_after)
            .finish_non_exhaustive()
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
