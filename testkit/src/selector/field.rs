//! Field selectors: `=`, `==` and `!=` on the few fields each kind offers.

use std::borrow::Cow;

use serde_json::Value;

use crate::kind::Kind;
use crate::status::ApiError;

/// A parsed field selector: every term must hold. Empty selects everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldSelector {
    terms: Vec<Term>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: String,
    equal: bool,
    value: String,
}

impl FieldSelector {
    /// Parses the query parameter for objects of this kind.
    ///
    /// # Errors
    /// 400 for bad syntax or a field the kind does not offer.
    pub(crate) fn parse(kind: &Kind, text: &str) -> Result<Self, ApiError> {
        let mut terms = Vec::new();
        for part in split(text) {
            if part.is_empty() {
                continue;
            }
            let (field, equal, raw) = split_term(&part).ok_or_else(|| {
                ApiError::bad_request(format!("invalid selector: '{text}'; can't understand '{part}'"))
            })?;
            let value = unescape(raw)?;
            terms.push(Term {
                field: check_field(kind, field)?,
                equal,
                value,
            });
        }
        Ok(Self { terms })
    }

    /// Whether everything is selected.
    pub(crate) fn is_empty(&self) -> bool {
        self.terms.is_empty()
    }

    /// Whether an object with these field values is selected. An absent field counts as empty.
    pub(crate) fn matches<'a>(&self, field: impl Fn(&str) -> Cow<'a, str>) -> bool {
        self.terms
            .iter()
            .all(|term| (field(&term.field) == term.value) == term.equal)
    }

    /// The one name that can match, where the selector states it.
    pub(crate) fn name(&self) -> Option<&str> {
        let stated = |term: &&Term| term.field == "metadata.name" && term.equal;
        self.terms.iter().find(stated).map(|term| term.value.as_str())
    }
}

/// The value a field selector compares: text as it is, numbers and booleans printed, anything else empty.
pub(crate) fn field_value<'a>(kind: &Kind, object: &'a Value, field: &str) -> Cow<'a, str> {
    match (kind.group.as_str(), kind.kind.as_str(), field) {
        ("", "Event", "source") => {
            let source = text(object, "source.component");
            return if source.is_empty() {
                text(object, "reportingComponent")
            } else {
                source
            };
        }
        ("", "Namespace", "name") => return text(object, "metadata.name"),
        ("", "Pod", "spec.hostNetwork") | ("", "Node", "spec.unschedulable") => {
            let value = text(object, field);
            return if value.is_empty() {
                Cow::Borrowed("false")
            } else {
                value
            };
        }
        ("", "Pod", "status.podIPs") => {
            let ips = object.pointer("/status/podIPs").and_then(Value::as_array);
            let ips = ips
                .into_iter()
                .flatten()
                .filter_map(|ip| ip.get("ip").and_then(Value::as_str));
            return Cow::Owned(ips.collect::<Vec<_>>().join(","));
        }
        ("batch", "Job", "status.successful") => {
            let value = text(object, "status.succeeded");
            return if value.is_empty() {
                Cow::Borrowed("0")
            } else {
                value
            };
        }
        _ => {}
    }
    // Core events are stored once and read in both shapes.
    let value = text(object, field);
    if !value.is_empty() || kind.group != "events.k8s.io" {
        return value;
    }
    match field.strip_prefix("regarding.") {
        Some(rest) => text(object, &format!("involvedObject.{rest}")),
        None if field == "reportingController" => text(object, "reportingComponent"),
        None => value,
    }
}

fn text<'a>(object: &'a Value, path: &str) -> Cow<'a, str> {
    let mut at = object;
    for part in path.split('.') {
        match at.get(part) {
            Some(next) => at = next,
            None => return Cow::Borrowed(""),
        }
    }
    match at {
        Value::String(text) => Cow::Borrowed(text),
        Value::Number(number) => Cow::Owned(number.to_string()),
        Value::Bool(yes) => Cow::Borrowed(if *yes { "true" } else { "false" }),
        _ => Cow::Borrowed(""),
    }
}

fn check_field(kind: &Kind, field: &str) -> Result<String, ApiError> {
    let always = matches!(field, "metadata.name" | "metadata.namespace");
    if always || kind.selectable_fields.iter().any(|offered| offered == field) {
        return Ok(field.to_owned());
    }
    let message = match (kind.custom, kind.group.as_str(), kind.kind.as_str()) {
        (true, _, _) => format!("field label not supported: {field}"),
        (_, "batch", "Job") => format!("field label {field:?} not supported for batchv1.Job"),
        _ if kind.selectable_fields.is_empty() => {
            format!("{field:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\"")
        }
        _ => format!("field label not supported: {field}"),
    };
    Err(ApiError::bad_request(message))
}

/// Splits at commas that no backslash protects.
fn split(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == ',' && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

/// Finds the first operator that no backslash protects.
fn split_term(term: &str) -> Option<(&str, bool, &str)> {
    let mut escaped = false;
    for (at, c) in term.char_indices() {
        if escaped {
            escaped = false;
            continue;
        }
        if c == '\\' {
            escaped = true;
            continue;
        }
        let rest = &term[at..];
        for (operator, equal) in [("!=", false), ("==", true), ("=", true)] {
            if let Some(value) = rest.strip_prefix(operator) {
                return Some((&term[..at], equal, value));
            }
        }
    }
    None
}

fn unescape(raw: &str) -> Result<String, ApiError> {
    let mut value = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some(next @ ('\\' | ',' | '=')) => value.push(next),
                Some(next) => {
                    return Err(ApiError::bad_request(format!(
                        "invalid field selector: invalid escape sequence: \\{next}"
                    )));
                }
                None => {
                    return Err(ApiError::bad_request(
                        "invalid field selector: invalid escape sequence: \\",
                    ));
                }
            },
            ',' | '=' => {
                return Err(ApiError::bad_request(format!(
                    "invalid field selector: unescaped character in value: {c}"
                )));
            }
            _ => value.push(c),
        }
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::Registry;
    use serde_json::json;

    fn kind(group: &str, plural: &str) -> Kind {
        Kind::clone(
            Registry::builtin()
                .lookup(group, "v1", plural)
                .expect("a built-in kind"),
        )
    }

    #[test]
    fn terms_select_by_the_fields_of_the_kind() {
        let pods = kind("", "pods");
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n"},
            "spec": {"nodeName": "node-1", "hostNetwork": true},
            "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]},
        });
        for (selector, expected) in [
            ("", true),
            ("metadata.name=p", true),
            ("metadata.name==q", false),
            ("metadata.name!=q,metadata.namespace=n", true),
            ("spec.nodeName=node-1", true),
            ("spec.nodeName!=node-1", false),
            ("status.phase=Running,spec.hostNetwork=true", true),
            ("spec.restartPolicy=", true),
            ("status.podIPs=10.0.0.1\\,fd00::1", true),
            (",metadata.name=p,", true),
        ] {
            let parsed = FieldSelector::parse(&pods, selector).expect(selector);
            assert_eq!(
                parsed.matches(|field| field_value(&pods, &pod, field)),
                expected,
                "{selector:?}"
            );
        }
    }

    #[test]
    fn unknown_fields_and_bad_syntax_are_refused_as_recorded() {
        let custom = Kind::new("example.com", "v1", "Foo", "foos").selectable_field("spec.color");
        assert!(FieldSelector::parse(&custom, "spec.color=red").is_ok());
        for (kind, selector, message) in [
            (custom, "spec.size=2", "field label not supported: spec.size"),
            (kind("", "pods"), "spec.x=2", "field label not supported: spec.x"),
            (
                kind("", "configmaps"),
                "data.k=v",
                "\"data.k\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"",
            ),
            (
                kind("", "pods"),
                "metadata.name",
                "invalid selector: 'metadata.name'; can't understand 'metadata.name'",
            ),
            (
                kind("", "pods"),
                "metadata.name=a=b",
                "invalid field selector: unescaped character in value: =",
            ),
            (
                kind("", "pods"),
                "metadata.name=a\\",
                "invalid field selector: invalid escape sequence: \\",
            ),
        ] {
            let error = FieldSelector::parse(&kind, selector).expect_err(selector);
            assert_eq!((error.code(), error.message()), (400, message));
        }
    }

    #[test]
    fn a_name_that_is_stated_is_known_in_advance() {
        for (selector, name) in [
            ("metadata.name=a", Some("a")),
            ("metadata.name!=a", None),
            ("metadata.namespace=a", None),
        ] {
            assert_eq!(
                FieldSelector::parse(&kind("", "pods"), selector)
                    .expect(selector)
                    .name(),
                name
            );
        }
    }
}
