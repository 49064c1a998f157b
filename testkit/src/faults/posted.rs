//! Faults as text: what `/_sim/faults` and the command line take.

use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value, json};

use super::{Fault, On, op::LONGEST_LINE};
use crate::status::ApiError;

/// Reads a fault and its occasions: `{"on":{"verb":"list","resource":"pods"},"fault":"status","code":429}`.
///
/// # Errors
/// 400 for anything else, unknown fields and values that no answer can carry included.
pub(super) fn parse(text: &[u8]) -> Result<(On, Fault), ApiError> {
    let bad = |error: serde_json::Error| ApiError::bad_request(error.to_string());
    let mut posted: Map<String, Value> = serde_json::from_slice(text).map_err(bad)?;
    let on = match posted.remove("on") {
        Some(on) => serde_json::from_value(on).map_err(bad)?,
        None => On::default(),
    };
    let fault: Fault = serde_json::from_value(Value::Object(posted.clone())).map_err(bad)?;
    // A fault without fields of its own takes any: the reader skips them.
    let known = json!(fault);
    if let Some(unknown) = posted.keys().find(|name| known.get(name.as_str()).is_none()) {
        let why = format!("unknown field `{unknown}` for `{}`", fault.name());
        return Err(ApiError::bad_request(why));
    }
    check(&fault).map_err(|why| ApiError::bad_request(format!("`{}`: {why}", fault.name())))?;
    Ok((on, fault))
}

/// Whether an answer can carry what the fault asks for.
fn check(fault: &Fault) -> Result<(), String> {
    match fault {
        Fault::Status {
            code, retry_after, ..
        } => {
            if !(400..600).contains(code) {
                return Err(format!("the code of an error is from 400 to 599, not {code}"));
            }
            let sendable = |value: &String| HeaderValue::from_str(value).is_ok();
            match retry_after.as_ref().filter(|value| !sendable(value)) {
                Some(value) => Err(format!("no header can hold the retryAfter {value:?}")),
                None => Ok(()),
            }
        }
        Fault::ErrorEvent { code, .. } if !(400..600).contains(code) => {
            Err(format!("the code of an error is from 400 to 599, not {code}"))
        }
        Fault::Html { code } => {
            let code = StatusCode::from_u16(*code).map_err(|_| format!("{code} is no HTTP status"))?;
            let bodiless = matches!(
                code,
                StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED
            );
            if code.is_informational() || bodiless || code.as_u16() >= 600 {
                return Err(format!("an answer of {code} can't carry a page"));
            }
            Ok(())
        }
        Fault::OversizeLine { bytes } if *bytes > LONGEST_LINE => {
            Err(format!("a line has at most {LONGEST_LINE} bytes, not {bytes}"))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, message: &str) {
        let error = parse(text.as_bytes()).expect_err(text);
        assert_eq!(error.code(), 400, "{text}");
        assert!(error.message().contains(message), "{text}: {}", error.message());
    }

    #[test]
    fn what_is_no_fault_is_refused_with_the_reason() {
        check("", "EOF");
        check("[]", "map");
        check("{}", "missing field `fault`");
        check(r#"{"fault":"nosuch"}"#, "unknown variant `nosuch`");
        check(r#"{"fault":"gone","code":1}"#, "unknown field `code` for `gone`");
        check(
            r#"{"fault":"status","code":429,"retry":1}"#,
            "unknown field `retry`",
        );
        check(r#"{"fault":"status","code":99}"#, "from 400 to 599");
        check(r#"{"fault":"status","code":-1}"#, "invalid value");
        check(
            r#"{"fault":"status","code":429,"retryAfter":"a\nb"}"#,
            "retryAfter",
        );
        check(r#"{"fault":"errorEvent","code":200}"#, "from 400 to 599");
        check(r#"{"fault":"html","code":204}"#, "can't carry a page");
        check(r#"{"fault":"html","code":1000}"#, "no HTTP status");
        check(
            r#"{"fault":"oversizeLine","bytes":18446744073709551615}"#,
            "at most",
        );
        check(
            r#"{"fault":"gone","on":{"verbs":"list"}}"#,
            "unknown field `verbs`",
        );
        check(r#"{"fault":"gone","on":{"verb":"lst"}}"#, "unknown variant `lst`");
        check(r#"{"fault":"gone","on":3}"#, "invalid type");
    }

    #[test]
    fn what_is_shown_can_be_put_in_force_again() {
        let text = r#"{"on":{"verb":"list","resource":"pods","skip":2},"fault":"drip","bytes":3,"ms":5}"#;
        let (on, fault) = parse(text.as_bytes()).expect("a fault");
        assert_eq!(on, On::list("pods").skip(2));
        let mut shown = json!(fault);
        shown["on"] = json!(on);
        assert_eq!(
            parse(shown.to_string().as_bytes()).expect("the same fault"),
            (on, fault)
        );
    }
}
