//! [`Answer`]: a response whose status and type are in order, or the error it stands for.

use std::{error::Error as StdError, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode, header};
use http_body_util::BodyExt;
use kube_client::client::{AuthError, Body};
use serde::{Deserialize, Deserializer, de::DeserializeOwned};

use super::Limits;
use crate::{Error, ErrorKind, wire::gunzip::Gunzip};

/// The body of a good answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) body: Body,
    pub(super) gunzip: Option<Gunzip>,
    pub(super) operation: &'static str,
}

/// A `Status` object, as far as it matters.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Status {
    #[serde(deserialize_with = "if_right")]
    kind: String,
    #[serde(deserialize_with = "if_right")]
    status: String,
    #[serde(deserialize_with = "if_right")]
    code: u16,
    #[serde(deserialize_with = "if_right")]
    reason: String,
    #[serde(deserialize_with = "if_right")]
    message: String,
    #[serde(deserialize_with = "if_right")]
    details: Option<Details>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    #[serde(deserialize_with = "if_right")]
    retry_after_seconds: Option<u64>,
    #[serde(deserialize_with = "if_right")]
    causes: Option<Vec<Cause>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cause {
    #[serde(deserialize_with = "if_right")]
    reason: String,
    #[serde(deserialize_with = "if_right")]
    message: String,
}

/// A member of another type than it should be counts as none: the others still say what is wrong.
fn if_right<'de, T: Default + DeserializeOwned, D: Deserializer<'de>>(member: D) -> Result<T, D::Error> {
    let member = serde_json::Value::deserialize(member)?;
    Ok(T::deserialize(member).unwrap_or_default())
}

impl Answer {
    pub(super) async fn check(
        operation: &'static str,
        response: Response<Body>,
        limits: &Limits,
    ) -> Result<Self, Error> {
        let (parts, body) = response.into_parts();
        let encoding = parts.headers.get(header::CONTENT_ENCODING);
        let encoding = encoding.map_or(&[][..], |value| value.as_bytes().trim_ascii());
        let is = |name: &str| encoding.eq_ignore_ascii_case(name.as_bytes());
        let is_zipped = is("gzip") || is("x-gzip");
        let is_known = is_zipped || is("") || is("identity");
        let answer = Self {
            body,
            gunzip: is_zipped.then(Gunzip::new),
            operation,
        };
        if parts.status != StatusCode::OK {
            // What cannot be read is not looked at; the status is an answer by itself.
            let max = if is_known { limits.error_bytes } else { 0 };
            return Err(answer.error(parts.status, &parts.headers, max).await);
        }
        if !is_known {
            let message = "the answer has an encoding nobody asked for";
            return Err(Error::new(ErrorKind::Protocol, operation, message));
        }
        let is_json = parts.headers.get(header::CONTENT_TYPE).is_none_or(|value| {
            let value = value.as_bytes().trim_ascii();
            value.is_empty() || value.len() >= 16 && value[..16].eq_ignore_ascii_case(b"application/json")
        });
        if !is_json {
            let message = String::from("the answer is not JSON; is a proxy or a login page in the way?");
            return Err(Error::new(ErrorKind::Protocol, operation, message));
        }
        Ok(answer)
    }

    async fn error(mut self, status: StatusCode, headers: &HeaderMap, max: usize) -> Error {
        let asked = retry_after(headers);
        let is_json = headers
            .get(header::CONTENT_TYPE)
            .is_none_or(|value| value.as_bytes().starts_with(b"application/json"));
        let operation = self.operation;
        let text = tokio::time::timeout(ERROR_BODY_TIMEOUT, self.beginning(max))
            .await
            .unwrap_or_default();
        if is_json && let Ok(told) = serde_json::from_slice::<Status>(&text) {
            return told.error(operation, status.as_u16(), asked);
        }
        // Not an API server's words: a proxy's page, or a plain line of text.
        let plain = String::from_utf8_lossy(&text);
        let plain = if plain.trim_start().starts_with('<') {
            "an HTML page"
        } else {
            plain.trim()
        };
        Error::from_status(operation, status.as_u16(), "", plain).wait(asked)
    }

    /// As much of the body as `max` allows; whatever goes wrong ends it.
    async fn beginning(&mut self, max: usize) -> Vec<u8> {
        let mut text = Vec::new();
        while text.len() < max {
            match self.frame().await {
                Some(Ok(piece)) => {
                    let room = max - text.len();
                    text.extend_from_slice(&piece[..piece.len().min(room)]);
                }
                _ => break,
            }
        }
        text
    }

    /// The whole body.
    pub(super) async fn whole(mut self, max: usize) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        while let Some(piece) = self.frame().await {
            text.extend_from_slice(&piece?);
            if text.len() > max {
                return Err(Error::new(
                    ErrorKind::Oversize,
                    self.operation,
                    "the object is too large",
                ));
            }
        }
        Ok(text)
    }

    async fn frame(&mut self) -> Option<Result<Bytes, Error>> {
        loop {
            if let Some(gunzip) = &mut self.gunzip {
                match gunzip.read() {
                    Ok(None) => {}
                    Ok(Some(piece)) => return Some(Ok(Bytes::copy_from_slice(piece))),
                    Err(error) => return Some(Err(garbled(self.operation, error))),
                }
            }
            let frame = match self.body.frame().await? {
                Ok(frame) => frame,
                Err(error) => return Some(Err(transport(self.operation, error))),
            };
            let Ok(data) = frame.into_data() else { continue };
            let Some(gunzip) = &mut self.gunzip else {
                return Some(Ok(data));
            };
            gunzip.push(data);
        }
    }
}

impl Status {
    pub(super) fn error(self, operation: &'static str, code: u16, asked: Option<Duration>) -> Error {
        let code = if self.code == 0 { code } else { self.code };
        let details = self.details.unwrap_or_default();
        let too_large = details.causes.unwrap_or_default().iter().any(|cause| {
            cause.reason == "ResourceVersionTooLarge" || cause.message.contains("Too large resource version")
        });
        let reason = if too_large {
            "ResourceVersionTooLarge"
        } else {
            &self.reason
        };
        let asked = asked.or_else(|| details.retry_after_seconds.map(Duration::from_secs));
        let error = Error::from_status(operation, code, reason, &self.message).wait(asked);
        if operation == "watch" && self.message.contains("RequestWatchProgress") {
            return error.into_kind(ErrorKind::Unsupported);
        }
        error
    }

    pub(super) fn is_failure(&self) -> bool {
        self.kind == "Status" && self.status != "Success"
    }
}

/// Seconds, as every API server sends it, or a date, as a proxy may: then the answer's own date says how far off that
/// is, so that nobody's clock matters. Garbage counts as none.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit mean a very long time: the cap decides.
        let seconds = text.parse::<u64>().unwrap_or(u64::MAX);
        return Some(Duration::from_secs(seconds.min(u64::from(u32::MAX))));
    }
    let then = seconds_of(text)?;
    let now = seconds_of(headers.get(header::DATE)?.to_str().ok()?)?;
    Some(Duration::from_secs(
        then.saturating_sub(now).min(u64::from(u32::MAX)),
    ))
}

/// The seconds of a date as HTTP writes it, `Sun, 06 Nov 1994 08:49:37 GMT`, since some day before every such date.
fn seconds_of(date: &str) -> Option<u64> {
    let (_, date) = date.trim().split_once(", ")?;
    let parts: Vec<&str> = date.split(' ').collect();
    let &[day, month, year, time, "GMT"] = parts.as_slice() else {
        return None;
    };
    let number = |text: &str, digits| {
        let plain = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| plain)
    };
    let clock: Vec<&str> = time.split(':').collect();
    let &[hour, minute, second] = clock.as_slice() else {
        return None;
    };
    let month = MONTHS.iter().position(|name| *name == month)? as u64;
    // Years begin in March here, so that the day of a leap year comes last.
    let (year, month) = if month < 2 {
        (number(year, 4)?.checked_sub(1)?, month + 10)
    } else {
        (number(year, 4)?, month - 2)
    };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + number(day, 2)?;
    Some(((days * 24 + number(hour, 2)?) * 60 + number(minute, 2)?) * 60 + number(second, 2)?)
}

const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];

pub(super) fn garbled(operation: &'static str, error: std::io::Error) -> Error {
    Error::new(
        ErrorKind::Transport,
        operation,
        "the compressed answer is garbled",
    )
    .caused_by(error)
}

/// What went wrong below HTTP.
pub(super) fn transport(operation: &'static str, error: kube_client::Error) -> Error {
    if let kube_client::Error::Api(status) = &error {
        return Error::from_status(operation, status.code, &status.reason, &status.message);
    }
    let mut kind = match &error {
        kube_client::Error::Auth(_) => ErrorKind::Unauthorized,
        kube_client::Error::TlsRequired => ErrorKind::Tls,
        _ => ErrorKind::Transport,
    };
    let mut message = String::new();
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(error) = cause {
        if let Some(auth) = error.downcast_ref::<AuthError>() {
            // Not passed on: what a credential plugin printed may be the credentials.
            return Error::new(ErrorKind::Unauthorized, operation, unspoken(auth));
        }
        let text = error.to_string();
        let lower = text.to_ascii_lowercase();
        if ["certificate", "tls", "ssl", "handshake"]
            .iter()
            .any(|word| lower.contains(word))
        {
            kind = ErrorKind::Tls;
        }
        message = text;
        cause = error.source();
    }
    Error::new(kind, operation, message).caused_by(error)
}

/// What is wrong with the credentials, without a word of them.
fn unspoken(error: &AuthError) -> String {
    match error {
        AuthError::AuthExecRun { out, .. } => format!("the credential plugin failed ({})", out.status),
        AuthError::AuthExec(_) | AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => {
            String::from("the credential plugin printed no credentials")
        }
        error => error.to_string(),
    }
}

/// An error's own explanation is not worth waiting long for.
const ERROR_BODY_TIMEOUT: Duration = Duration::from_secs(5);
