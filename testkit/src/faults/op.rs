//! What can go wrong.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One thing that goes wrong. [`Faults::inject`](crate::Faults::inject) puts it in force.
///
/// Over `/_sim/faults` and on the command line a fault is its name with its fields, as in
/// `{"fault":"status","code":429,"retryAfter":"1"}`; durations are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "fault",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
#[non_exhaustive]
pub enum Fault {
    // Instead of an answer.
    /// Answers with an error status.
    Status {
        /// The HTTP status.
        code: u16,
        /// The reason in the body. Default: the usual one for the code.
        #[serde(default)]
        reason: Option<String>,
        /// The message in the body. Default: a short one.
        #[serde(default)]
        message: Option<String>,
        /// The `Retry-After` header, sent as it stands, garbage included. Default: none.
        #[serde(default)]
        retry_after: Option<String>,
        /// Plain text in place of a JSON `Status`, as priority and fairness answers. Default: `false`.
        #[serde(default)]
        text: bool,
    },
    /// Answers with a page of HTML, as proxies and captive portals do.
    Html {
        /// The HTTP status.
        code: u16,
    },
    /// Answers 410 as HTTP status: the version is too old.
    Gone,
    /// Answers 504 with the cause `ResourceVersionTooLarge`.
    TooLargeVersion,
    /// Answers late: the headers come after this time.
    Latency {
        /// Milliseconds.
        #[serde(rename = "ms", with = "millis")]
        delay: Duration,
    },
    /// Takes the request and never answers.
    Hang,
    /// Closes the connection without an answer.
    Refuse,
    /// Panics in the handler, which must come out as a 500.
    Panic,

    // Damage to the bytes of the answer.
    /// Breaks the connection after this many bytes of the body (a reset on sockets).
    ResetAt {
        /// Bytes of the body that still arrive.
        byte: u64,
    },
    /// Closes the connection after this many bytes of the body, without the end that HTTP asks for.
    CutAt {
        /// Bytes of the body that still arrive.
        byte: u64,
    },
    /// Ends the body after this many bytes, as if it were complete.
    EofAt {
        /// Bytes of the body that still arrive.
        byte: u64,
    },
    /// Sends nothing more after this many bytes, and leaves the connection open: half-open.
    StallAt {
        /// Bytes of the body that still arrive.
        byte: u64,
    },
    /// Sends the body drop by drop.
    Drip {
        /// Bytes a drop.
        bytes: usize,
        /// Milliseconds between drops.
        #[serde(rename = "ms", with = "millis")]
        every: Duration,
    },

    // Lists.
    /// Writes another version into a list, empty or not a number if you like.
    ListVersion {
        /// The version.
        version: String,
    },
    /// Gives the same continue token again and again.
    RepeatContinue,
    /// Answers a continued list with 410.
    ContinueExpired,
    /// Serves the list as it was at an older version, and says so: a stale replica.
    StaleList {
        /// The version served. Not older than the kind's history.
        version: u64,
    },
    /// Sends an object that no client of the kind can decode: its spec and status become numbers. Lists and watches.
    Undecodable,

    // Watches as a whole.
    /// Sends no bookmark but the one that ends initial events.
    NoBookmarks,
    /// Never marks the end of the initial events.
    NoInitialEventsEnd,
    /// Refuses streaming lists, as servers without the feature do.
    WatchListRefused {
        /// Refuse with an ERROR event in a 200 answer, as 1.36 on an old etcd does. Default: HTTP 422.
        #[serde(default)]
        in_stream: bool,
    },

    // Single events of a watch.
    /// Loses an event.
    DropEvent,
    /// Sends an event twice.
    DuplicateEvent,
    /// Sends an event after the next one; bookmarks in between overtake it too.
    ReorderEvent,
    /// Cuts an event's line in half, then goes on with the next line.
    TruncateLine,
    /// Sends raw bytes before an event. No line end is added.
    RawLine {
        /// The bytes.
        #[serde(with = "text_bytes")]
        bytes: Vec<u8>,
    },
    /// Sends an event with a type nobody knows.
    UnknownType,
    /// Blows an event's line up to at least this size, with spaces between its tokens.
    OversizeLine {
        /// Bytes of the line, up to 256 MiB.
        bytes: usize,
    },
    /// Writes another version into an event's object.
    EventVersion {
        /// The version, empty or not a number if you like.
        version: String,
    },
    /// Sends an ERROR event in place of an event and ends the stream.
    ErrorEvent {
        /// The code in the status.
        code: u16,
        /// The reason in the status. Default: the usual one for the code.
        #[serde(default)]
        reason: Option<String>,
        /// The message in the status. Default: a short one.
        #[serde(default)]
        message: Option<String>,
    },
    /// Sends 410 in the stream in place of an event and ends the stream.
    GoneEvent,
    /// Ends the stream before an event.
    CloseBefore,
    /// Breaks the connection before an event.
    ResetBefore,
    /// Sends nothing more from this event on, and leaves the connection open.
    StallBefore,
    /// Writes another version into a bookmark.
    BookmarkVersion {
        /// The version, empty or not a number if you like.
        version: String,
    },
}

impl Fault {
    /// An error status with the usual JSON body.
    pub fn status(code: u16) -> Self {
        Self::Status {
            code,
            reason: None,
            message: None,
            retry_after: None,
            text: false,
        }
    }

    /// 429 as priority and fairness sends it: plain text and this `Retry-After`.
    pub fn too_many_requests(retry_after: impl Into<String>) -> Self {
        let retry_after = Some(retry_after.into());
        Self::Status {
            code: 429,
            reason: None,
            message: None,
            retry_after,
            text: true,
        }
    }

    /// Sets the `Retry-After` header of a status; other faults stay as they are.
    #[must_use]
    pub fn retry_after(mut self, value: impl Into<String>) -> Self {
        if let Self::Status { retry_after, .. } = &mut self {
            *retry_after = Some(value.into());
        }
        self
    }

    /// Raw bytes before an event.
    pub fn raw_line(bytes: impl Into<Vec<u8>>) -> Self {
        Self::RawLine { bytes: bytes.into() }
    }

    /// Its name, as the counters and `/_sim/faults` use it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::Html { .. } => "html",
            Self::Gone => "gone",
            Self::TooLargeVersion => "tooLargeVersion",
            Self::Latency { .. } => "latency",
            Self::Hang => "hang",
            Self::Refuse => "refuse",
            Self::Panic => "panic",
            Self::ResetAt { .. } => "resetAt",
            Self::CutAt { .. } => "cutAt",
            Self::EofAt { .. } => "eofAt",
            Self::StallAt { .. } => "stallAt",
            Self::Drip { .. } => "drip",
            Self::ListVersion { .. } => "listVersion",
            Self::RepeatContinue => "repeatContinue",
            Self::ContinueExpired => "continueExpired",
            Self::StaleList { .. } => "staleList",
            Self::Undecodable => "undecodable",
            Self::NoBookmarks => "noBookmarks",
            Self::NoInitialEventsEnd => "noInitialEventsEnd",
            Self::WatchListRefused { .. } => "watchListRefused",
            Self::DropEvent => "dropEvent",
            Self::DuplicateEvent => "duplicateEvent",
            Self::ReorderEvent => "reorderEvent",
            Self::TruncateLine => "truncateLine",
            Self::RawLine { .. } => "rawLine",
            Self::UnknownType => "unknownType",
            Self::OversizeLine { .. } => "oversizeLine",
            Self::EventVersion { .. } => "eventVersion",
            Self::ErrorEvent { .. } => "errorEvent",
            Self::GoneEvent => "goneEvent",
            Self::CloseBefore => "closeBefore",
            Self::ResetBefore => "resetBefore",
            Self::StallBefore => "stallBefore",
            Self::BookmarkVersion { .. } => "bookmarkVersion",
        }
    }

    pub(crate) fn is_per_request(&self) -> bool {
        !self.is_per_object() && !self.is_per_event() && !self.is_per_bookmark()
    }

    pub(crate) fn is_per_object(&self) -> bool {
        matches!(self, Self::Undecodable)
    }

    pub(crate) fn is_per_bookmark(&self) -> bool {
        matches!(self, Self::BookmarkVersion { .. })
    }

    pub(crate) fn is_per_event(&self) -> bool {
        matches!(
            self,
            Self::DropEvent
                | Self::DuplicateEvent
                | Self::ReorderEvent
                | Self::TruncateLine
                | Self::RawLine { .. }
                | Self::UnknownType
                | Self::OversizeLine { .. }
                | Self::EventVersion { .. }
                | Self::ErrorEvent { .. }
                | Self::GoneEvent
                | Self::CloseBefore
                | Self::ResetBefore
                | Self::StallBefore
        )
    }
}

/// Longer lines would say nothing more about a client, and much about the memory of this machine.
pub(crate) const LONGEST_LINE: usize = 256 << 20;

mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }
}

mod text_bytes {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&String::from_utf8_lossy(value))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        String::deserialize(deserializer).map(String::into_bytes)
    }
}
