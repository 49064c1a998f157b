//! Errors as the API answers them: a `Status` document with the code, reason, message and details a real server sends.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::num::{IntErrorKind, ParseIntError};

use serde::Serialize;
use serde_json::Value;

use crate::kind::Kind;

/// A refusal as a client sees it: an HTTP status and a `Status` document (or, for a few paths, plain text).
///
/// Texts, reasons and details are those a kube-apiserver 1.36 sends, so clients that branch on them behave the same.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    inner: Box<Inner>,
}

#[derive(Clone, Debug, PartialEq)]
struct Inner {
    code: u16,
    reason: Cow<'static, str>,
    message: String,
    details: Option<Details>,
    continue_token: Option<String>,
    /// The answer is plain text: the message alone.
    text: bool,
    /// Sentences for `Warning` headers.
    warnings: Vec<String>,
}

/// What a refusal is about.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Details {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) name: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) group: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) kind: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) uid: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) causes: Vec<Cause>,
    #[serde(rename = "retryAfterSeconds", skip_serializing_if = "is_zero")]
    pub(crate) retry_after_seconds: u32,
}

/// One of the things wrong with an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Cause {
    reason: Cow<'static, str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    field: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// The document, its fields in the order a real server writes them.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: ListMeta<'a>,
    status: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<&'a Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
}

#[derive(Serialize)]
struct ListMeta<'a> {
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    continue_token: Option<&'a str>,
}

impl Cause {
    /// A cause with any reason: `FieldManagerConflict`, `NamespaceTerminating`, ...
    pub(crate) fn new(
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
        field: impl Into<String>,
    ) -> Self {
        Self {
            reason: reason.into(),
            message: message.into(),
            field: field.into(),
        }
    }

    /// `Required value: why`
    pub(crate) fn required(field: impl Into<String>, why: &str) -> Self {
        let message = if why.is_empty() {
            "Required value".to_owned()
        } else {
            format!("Required value: {why}")
        };
        Self::new("FieldValueRequired", message, field)
    }

    /// `Invalid value: <value as JSON>: why`
    pub(crate) fn invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self::new(
            "FieldValueInvalid",
            format!("Invalid value: {value}: {why}"),
            field,
        )
    }

    /// `Invalid value: "<type>": why`, where a schema asks for another type.
    pub(crate) fn type_invalid(field: impl Into<String>, value: &Value, why: &str) -> Self {
        Self::new(
            "FieldValueTypeInvalid",
            format!("Invalid value: {value}: {why}"),
            field,
        )
    }

    /// `Forbidden: why`
    pub(crate) fn forbidden(field: impl Into<String>, why: &str) -> Self {
        Self::new("FieldValueForbidden", format!("Forbidden: {why}"), field)
    }

    /// `Unsupported value: <value>: supported values: "a", "b"`
    pub(crate) fn not_supported(field: impl Into<String>, value: &Value, supported: &[&str]) -> Self {
        let list = supported
            .iter()
            .map(|s| format!("\"{s}\""))
            .collect::<Vec<_>>()
            .join(", ");
        Self::new(
            "FieldValueNotSupported",
            format!("Unsupported value: {value}: supported values: {list}"),
            field,
        )
    }

    /// `Duplicate value: <value>`
    pub(crate) fn duplicate(field: impl Into<String>, value: &Value) -> Self {
        Self::new("FieldValueDuplicate", format!("Duplicate value: {value}"), field)
    }

    /// `Too long: may not be more than <most> bytes`
    pub(crate) fn too_long(field: impl Into<String>, most: usize) -> Self {
        let message = format!("Too long: may not be more than {most} bytes");
        Self::new("FieldValueTooLong", message, field)
    }

    fn line(&self) -> String {
        if self.field.is_empty() {
            self.message.clone()
        } else {
            format!("{}: {}", self.field, self.message)
        }
    }
}

impl ApiError {
    /// Any answer: the status code, the reason (may be empty) and the message.
    #[must_use]
    pub fn new(code: u16, reason: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        let inner = Inner {
            code,
            reason: reason.into(),
            message: message.into(),
            details: None,
            continue_token: None,
            text: false,
            warnings: Vec::new(),
        };
        Self {
            inner: Box::new(inner),
        }
    }

    /// A plain-text answer, as unknown paths get.
    #[must_use]
    pub fn text(code: u16, body: impl Into<String>) -> Self {
        let mut error = Self::new(code, "", body);
        error.inner.text = true;
        error
    }

    pub(crate) fn with_details(mut self, details: Details) -> Self {
        self.inner.details = Some(details);
        self
    }

    pub(crate) fn with_continue(mut self, token: impl Into<String>) -> Self {
        self.inner.continue_token = Some(token.into());
        self
    }

    /// Adds `details.retryAfterSeconds`, which also becomes the `Retry-After` header.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u32) -> Self {
        self.inner
            .details
            .get_or_insert_with(Details::default)
            .retry_after_seconds = seconds;
        self
    }

    fn about(self, kind: &Kind, name: &str) -> Self {
        self.with_details(Details {
            name: name.to_owned(),
            group: kind.group.clone(),
            kind: kind.plural.clone(),
            ..Details::default()
        })
    }

    /// 404: the object does not exist.
    pub(crate) fn not_found(kind: &Kind, name: &str) -> Self {
        Self::new(
            404,
            "NotFound",
            format!("{} \"{name}\" not found", kind.resource()),
        )
        .about(kind, name)
    }

    /// 404: a served version without this resource.
    pub(crate) fn resource_not_found() -> Self {
        Self::new(
            404,
            "NotFound",
            "the server could not find the requested resource",
        )
        .with_details(Details::default())
    }

    /// 404 in plain text: a path the server knows nothing about.
    pub(crate) fn path_not_found() -> Self {
        Self::text(404, "404 page not found\n")
    }

    /// 409: create of a name that is taken.
    pub(crate) fn already_exists(kind: &Kind, name: &str, being_deleted: bool) -> Self {
        let prefix = if being_deleted {
            "object is being deleted: "
        } else {
            ""
        };
        Self::new(
            409,
            "AlreadyExists",
            format!("{prefix}{} \"{name}\" already exists", kind.resource()),
        )
        .about(kind, name)
    }

    /// 409: every name made from a base was taken.
    pub(crate) fn no_free_name(kind: &Kind, name: &str) -> Self {
        let message = format!(
            "{} \"{name}\" already exists, the server was not able to generate a unique name for the object",
            kind.resource()
        );
        Self::new(409, "AlreadyExists", message)
            .about(kind, name)
            .with_retry_after(1)
    }

    /// 409: the object has moved on since the client read it.
    pub(crate) fn conflict(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict_because(kind, name, why)
    }

    /// 409 with a cause of its own after the usual beginning.
    pub(crate) fn conflict_because(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.resource()
        );
        Self::new(409, "Conflict", message).about(kind, name)
    }

    /// 409: a delete whose precondition does not hold. Names the kind, not the resource, as the real server does.
    pub(crate) fn precondition(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            kind.group_kind()
        );
        let mut error = Self::new(409, "Conflict", message).about(kind, name);
        if let Some(details) = &mut error.inner.details {
            details.kind.clone_from(&kind.kind);
        }
        error
    }

    /// 409: server-side apply met fields that others own.
    pub(crate) fn apply_conflict(causes: Vec<Cause>) -> Self {
        let message = if let [one] = causes.as_slice() {
            format!("Apply failed with 1 conflict: {}: {}", one.message, one.field)
        } else {
            // Conflicts of one manager stand under its name.
            let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for cause in &causes {
                groups
                    .entry(&cause.message)
                    .or_default()
                    .push(format!("- {}", cause.field));
            }
            let groups = groups.iter().map(|(manager, fields)| {
                format!(
                    "{}:\n{}",
                    manager.replacen("conflict with", "conflicts with", 1),
                    fields.join("\n")
                )
            });
            let groups = groups.collect::<Vec<_>>().join("\n");
            format!("Apply failed with {} conflicts: {groups}", causes.len())
        };
        Self::new(409, "Conflict", message).with_details(Details {
            causes,
            ..Details::default()
        })
    }

    /// 422: the object breaks the rules of its kind.
    pub(crate) fn invalid(kind: &Kind, name: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_kind(&kind.group, &kind.kind, name, causes)
    }

    /// 422 for a kind the registry does not hold, such as `ListOptions`.
    pub(crate) fn invalid_kind(group: &str, kind: &str, name: &str, causes: Vec<Cause>) -> Self {
        let qualified = if group.is_empty() {
            kind.to_owned()
        } else {
            format!("{kind}.{group}")
        };
        // The same complaint is made once in the message, though it may have several causes.
        let mut seen = HashSet::new();
        let lines = causes.iter().map(Cause::line);
        let lines: Vec<String> = lines.filter(|line| seen.insert(line.clone())).collect();
        let text = match lines.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        Self::new(
            422,
            "Invalid",
            format!("{qualified} \"{name}\" is invalid: {text}"),
        )
        .with_details(Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
            ..Details::default()
        })
    }

    /// 422: options of a request (`ListOptions`, `CreateOptions`, ...) that contradict each other.
    pub(crate) fn invalid_options(options: &str, causes: Vec<Cause>) -> Self {
        Self::invalid_kind("meta.k8s.io", options, "", causes)
    }

    /// 422 without a field: a patch that cannot be applied.
    pub(crate) fn unprocessable_patch() -> Self {
        Self::new(
            422,
            "Invalid",
            "the server rejected our request due to an error in our request",
        )
        .with_details(Details::default())
    }

    /// 400.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// 403 for a request on a resource, as authorisation words it.
    pub(crate) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let what = if name.is_empty() {
            format!("{} is forbidden: {why}", kind.resource())
        } else {
            format!("{} \"{name}\" is forbidden: {why}", kind.resource())
        };
        Self::new(403, "Forbidden", what).about(kind, name)
    }

    /// 403: a create in a namespace that is going away.
    pub(crate) fn namespace_terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let mut error = Self::forbidden(kind, name, &why);
        if let Some(details) = &mut error.inner.details {
            let message = format!("namespace {namespace} is being terminated");
            details.causes = vec![Cause::new("NamespaceTerminating", message, "metadata.namespace")];
        }
        error
    }

    /// What is wrong with a number in a query, in the words of the real server's parser: `Int` or `Uint`.
    pub(crate) fn no_number(parser: &str, text: &str, error: &ParseIntError) -> String {
        let why = match error.kind() {
            IntErrorKind::PosOverflow | IntErrorKind::NegOverflow => "value out of range",
            _ => "invalid syntax",
        };
        format!("strconv.Parse{parser}: parsing {}: {why}", Value::from(text))
    }

    /// 405.
    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "MethodNotAllowed",
            "the server does not allow this method on the requested resource",
        )
        .with_details(Details::default())
    }

    /// 406 for a client that reads none of the formats there are.
    pub(crate) fn not_acceptable() -> Self {
        let offered = "application/json, application/yaml, application/vnd.kubernetes.protobuf, \
                       application/json;stream=watch, application/vnd.kubernetes.protobuf;stream=watch";
        Self::new(
            406,
            "NotAcceptable",
            format!("406: Not Acceptable\n\nAvailable representations: {offered}"),
        )
        .with_details(Details::default())
    }

    /// 406 for a client that reads a format there is, but asks for a form there is not.
    pub(crate) fn not_acceptable_form() -> Self {
        let why = "only the following media types are accepted: application/json, application/yaml, \
                   application/vnd.kubernetes.protobuf";
        Self::new(406, "NotAcceptable", why)
    }

    /// 406 for the metadata form of a list asked for an object, or the other way round.
    pub(crate) fn not_acceptable_shape(why: String) -> Self {
        Self::new(406, "NotAcceptable", why)
    }

    /// 415 for the body of a create or update.
    pub(crate) fn unsupported_body() -> Self {
        Self::unsupported_media("application/json, application/yaml, application/vnd.kubernetes.protobuf")
    }

    /// 415 with the list of accepted media types.
    pub(crate) fn unsupported_media(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    /// 415 for a patch whose content type is no patch type at all.
    pub(crate) fn unsupported_patch() -> Self {
        Self::new(415, "UnsupportedMediaType", "415: Unsupported Media Type").with_details(Details::default())
    }

    /// 413 for a body beyond the limit.
    pub(crate) fn request_too_large(limit: usize) -> Self {
        Self::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {limit}"),
        )
    }

    /// 410 for a list, continue token or watch that asks for history that is gone.
    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    /// 504: the client asks for a version the server has not reached.
    pub(crate) fn too_large_resource_version(asked: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
        let cause = Cause::new("ResourceVersionTooLarge", "Too large resource version", "");
        Self::new(504, "Timeout", message).with_details(Details {
            causes: vec![cause],
            retry_after_seconds: 1,
            ..Details::default()
        })
    }

    /// 500 with the usual beginning.
    pub(crate) fn internal(why: &str) -> Self {
        let cause = Cause {
            reason: Cow::Borrowed(""),
            message: why.to_owned(),
            field: String::new(),
        };
        Self::new(500, "InternalError", format!("Internal error occurred: {why}")).with_details(Details {
            causes: vec![cause],
            ..Details::default()
        })
    }

    /// 500 without a reason.
    pub(crate) fn untyped(message: impl Into<String>) -> Self {
        Self::new(500, "", message)
    }

    /// The HTTP status code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.inner.code
    }

    /// The machine-readable reason, such as `NotFound`; may be empty.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.inner.reason
    }

    /// The sentence for people.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.inner.message
    }

    /// Has sentences sent along, each as a `Warning` header.
    pub(crate) fn with_warnings(mut self, warnings: Vec<String>) -> Self {
        self.inner.warnings = warnings;
        self
    }

    pub(crate) fn warnings(&self) -> &[String] {
        &self.inner.warnings
    }

    /// Seconds the client is asked to wait, also sent as the `Retry-After` header.
    #[must_use]
    pub fn retry_after(&self) -> Option<u32> {
        self.inner
            .details
            .as_ref()
            .map(|d| d.retry_after_seconds)
            .filter(|s| *s > 0)
    }

    /// Whether the answer is plain text rather than a `Status`.
    #[must_use]
    pub(crate) fn is_text(&self) -> bool {
        self.inner.text
    }

    fn document(&self) -> Document<'_> {
        Document {
            kind: "Status",
            api_version: "v1",
            metadata: ListMeta {
                continue_token: self.inner.continue_token.as_deref(),
            },
            status: "Failure",
            message: &self.inner.message,
            reason: &self.inner.reason,
            details: self.inner.details.as_ref(),
            code: Some(self.inner.code),
        }
    }

    /// The `Status` document, for an `ERROR` event of a watch.
    #[must_use]
    pub fn to_value(&self) -> Value {
        serde_json::to_value(self.document()).expect("a status has string keys only")
    }

    /// The bytes of the HTTP answer: the document and a line feed, or the text.
    #[must_use]
    pub fn to_body(&self) -> Vec<u8> {
        if self.inner.text {
            return self.inner.message.clone().into_bytes();
        }
        let mut body = self.to_json();
        body.push(b'\n');
        body
    }

    /// The document indented, without a line feed at the end.
    #[must_use]
    pub(crate) fn to_pretty_body(&self) -> Vec<u8> {
        if self.inner.text {
            return self.to_body();
        }
        serde_json::to_vec_pretty(&self.document()).expect("a status has string keys only")
    }

    /// The document on one line without a line feed, its fields in the real server's order.
    #[must_use]
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(&self.document()).expect("a status has string keys only")
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {}: {}",
            self.inner.code,
            self.inner.reason,
            self.inner.message.trim_end()
        )
    }
}

impl std::error::Error for ApiError {}

/// The answer to a delete that removed the object: `Status` `Success` with the object's name, kind and uid, no code.
pub(crate) fn deleted(kind: &Kind, name: &str, uid: &str) -> Vec<u8> {
    let details = Details {
        name: name.to_owned(),
        group: kind.group.clone(),
        kind: kind.plural.clone(),
        uid: uid.to_owned(),
        ..Details::default()
    };
    let document = Document {
        kind: "Status",
        api_version: "v1",
        metadata: ListMeta { continue_token: None },
        status: "Success",
        message: "",
        reason: "",
        details: Some(&details),
        code: None,
    };
    let mut body = serde_json::to_vec(&document).expect("a status has string keys only");
    body.push(b'\n');
    body
}

#[cfg(test)]
mod tests;
