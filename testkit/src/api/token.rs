//! Continue tokens: which revision a paged list reads and where its next page starts.

use base64::{
    DecodeError, Engine,
    alphabet::URL_SAFE,
    engine::{
        DecodePaddingMode,
        general_purpose::{GeneralPurpose, GeneralPurposeConfig, URL_SAFE_NO_PAD},
    },
};
use serde::Serialize;
use serde_json::Value;

use crate::{status::ApiError, storage::Key, write::syntax_error};

/// A decoded continue token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Continue {
    /// The revision to read, or `None` for the newest.
    pub(crate) version: Option<u64>,
    /// The last key already sent.
    pub(crate) after: Key,
}

#[derive(Serialize)]
struct Wire {
    v: &'static str,
    rv: i64,
    start: String,
}

/// As the real server reads them: bits that are left over at the end do not matter.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

const API: &str = "meta.k8s.io/v1";

impl Continue {
    /// Encodes as the API server does: the key relative to what the list covers, and a zero byte behind it.
    pub(crate) fn encode(&self, namespace: Option<&str>) -> String {
        let start = match namespace {
            None if !self.after.0.is_empty() => format!("/{}/{}\0", self.after.0, self.after.1),
            _ => format!("/{}\0", self.after.1),
        };
        self.encode_start(start)
    }

    /// The token that goes with an expired one: the newest state, same place.
    pub(crate) fn encode_inconsistent(&self, namespace: Option<&str>) -> String {
        let start = match namespace {
            None if !self.after.0.is_empty() => format!("{}/{}\0", self.after.0, self.after.1),
            _ => format!("{}\0", self.after.1),
        };
        Self {
            version: None,
            ..self.clone()
        }
        .encode_start(start)
    }

    fn encode_start(&self, start: String) -> String {
        let rv = self
            .version
            .map_or(-1, |version| i64::try_from(version).unwrap_or(i64::MAX));
        let wire = Wire { v: API, rv, start };
        let json = serde_json::to_vec(&wire).expect("a token is plain JSON");
        URL_SAFE_NO_PAD.encode(json)
    }

    /// # Errors
    /// 400 for anything this or a real server would not have written for a list of this scope.
    pub(crate) fn decode(token: &str, namespaced: bool, namespace: Option<&str>) -> Result<Self, ApiError> {
        let bad = |why: String| {
            ApiError::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let json = LENIENT.decode(token).map_err(|error| {
            let at = match error {
                DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol(at, _) => at,
                _ => token.find('=').unwrap_or_else(|| token.len().saturating_sub(1)),
            };
            bad(format!("illegal base64 data at input byte {at}"))
        })?;
        let wire: Value = serde_json::from_slice(&json).map_err(|_| bad(syntax_error(&json)))?;
        let found = |value: &Value| match value {
            Value::Null => "null",
            Value::Bool(_) => "bool",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        if !wire.is_object() && !wire.is_null() {
            let found = found(&wire);
            return Err(bad(format!(
                "json: cannot unmarshal {found} into Go value of type storage.continueToken"
            )));
        }
        let field = |name: &str, kind: &str, fits: fn(&Value) -> bool| match wire.get(name) {
            Some(value) if !value.is_null() && !fits(value) => {
                let found = found(value);
                Err(bad(format!(
                    "json: cannot unmarshal {found} into Go struct field continueToken.{name} of type {kind}"
                )))
            }
            value => Ok(value),
        };
        let version = field("v", "string", Value::is_string)?;
        let revision = field("rv", "int64", Value::is_i64)?
            .and_then(Value::as_i64)
            .unwrap_or(0);
        let start = field("start", "string", Value::is_string)?;
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let (version, given) = (text(version), text(start));
        if version != API {
            return Err(bad(format!(
                "server does not recognize this encoded version {version}"
            )));
        }
        if revision == 0 {
            return Err(bad(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)".to_owned(),
            ));
        }
        if given.is_empty() {
            return Err(bad("encoded start key empty (version meta.k8s.io/v1)".to_owned()));
        }
        // The place must be below the list: no step up, no empty step.
        let path = given.strip_prefix('/').unwrap_or(&given);
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            return Err(bad(given));
        }
        let start = path.trim_end_matches('\0');
        let after = match namespace {
            Some(namespace) => (namespace.into(), start.into()),
            None if namespaced => {
                let (namespace, name) = start.split_once('/').unwrap_or((start, ""));
                (namespace.into(), name.into())
            }
            None => ("".into(), start.into()),
        };
        Ok(Self {
            version: u64::try_from(revision).ok(),
            after,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_read_as_recorded() {
        // Recorded from a real server: {"v":"meta.k8s.io/v1","rv":120,"start":"/w1\u0000"}
        let recorded = "eyJ2IjoibWV0YS5rOHMuaW8vdjEiLCJydiI6MTIwLCJzdGFydCI6Ii93MVx1MDAwMCJ9";
        let token = Continue::decode(recorded, true, Some("default")).expect("a recorded token");
        assert_eq!(
            token,
            Continue {
                version: Some(120),
                after: ("default".into(), "w1".into())
            }
        );
        assert_eq!(token.encode(Some("default")), recorded);
        assert_eq!(
            token.encode_inconsistent(Some("default")),
            URL_SAFE_NO_PAD.encode(br#"{"v":"meta.k8s.io/v1","rv":-1,"start":"w1\u0000"}"#)
        );
    }

    #[test]
    fn any_scope_comes_back_as_it_went() {
        for (namespaced, namespace, key) in [
            (true, None, ("a", "b")),
            (true, Some("a"), ("a", "b")),
            (false, None, ("", "node")),
        ] {
            let token = Continue {
                version: Some(7),
                after: (key.0.into(), key.1.into()),
            };
            assert_eq!(
                Continue::decode(&token.encode(namespace), namespaced, namespace).expect("own token"),
                token
            );
        }
    }

    #[test]
    fn garbage_is_refused_with_the_real_server_s_words() {
        let token = |json: &str| URL_SAFE_NO_PAD.encode(json);
        for (token, why) in [
            ("!!".to_owned(), "illegal base64 data at input byte 0"),
            ("eyJ2IjoieCJ9=".to_owned(), "illegal base64 data at input byte 12"),
            (
                token("nope"),
                "invalid character 'o' in literal null (expecting 'u')",
            ),
            (token(""), "unexpected end of JSON input"),
            (
                token("[]"),
                "json: cannot unmarshal array into Go value of type storage.continueToken",
            ),
            (
                token(r#"{"rv":"1"}"#),
                "json: cannot unmarshal string into Go struct field continueToken.rv of type int64",
            ),
            (
                token(r#"{"v":"v2"}"#),
                "server does not recognize this encoded version v2",
            ),
            (
                token(r#"{"v":"meta.k8s.io/v1","start":"a"}"#),
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ),
            (
                token(r#"{"v":"meta.k8s.io/v1","rv":1}"#),
                "encoded start key empty (version meta.k8s.io/v1)",
            ),
            (token(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"../x"}"#), "../x"),
        ] {
            let error = Continue::decode(&token, true, None).expect_err("garbage");
            assert_eq!(
                error.message(),
                format!("invalid continue token: continue key is not valid: {why}")
            );
        }
    }
}
