//! Shard selectors: `shardRange(object.metadata.uid, '0x…', '0x…')`, ranges of a 64-bit FNV-1a hash joined by `||`.

use crate::status::ApiError;

/// A parsed shard selector: an object is selected if its hash is in one of the ranges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ShardSelector {
    text: String,
    by_namespace: bool,
    /// Start (inclusive) and end (exclusive; `u128` because the end may be 2^64).
    ranges: Vec<(u128, u128)>,
}

impl ShardSelector {
    /// Parses the query parameter.
    ///
    /// # Errors
    /// 500 without a reason, as a 1.36 server answers.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let mut ranges = Vec::new();
        let mut fields: Vec<&str> = Vec::new();
        let mut shown = Vec::new();
        for term in text.split("||") {
            let term = parse_term(term.trim()).map_err(|why| refused(&why))?;
            fields.push(term.field);
            ranges.push((term.start.1, term.end.1));
            shown.push(format!(
                "shardRange({}, '{}', '{}')",
                term.field, term.start.0, term.end.0
            ));
        }
        let first = fields.first().copied().unwrap_or_default();
        if let Some(other) = fields.iter().find(|field| **field != first) {
            return Err(refused(&format!(
                "all shard ranges must use the same field, got {first:?} and {other:?}"
            )));
        }
        Ok(Self {
            by_namespace: first == "object.metadata.namespace",
            text: shown.join(" || "),
            ranges,
        })
    }

    /// The selector as the server writes it, which a list repeats in `metadata.shardInfo`.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Whether an object with this uid and namespace is selected.
    pub(crate) fn matches(&self, uid: &str, namespace: &str) -> bool {
        let hash = u128::from(fnv1a(if self.by_namespace { namespace } else { uid }));
        self.ranges
            .iter()
            .any(|(start, end)| (*start..*end).contains(&hash))
    }
}

fn refused(why: &str) -> ApiError {
    ApiError::untyped(format!("invalid shard selector: {why}"))
}

/// One range: the field, and the ends as written and as numbers.
struct Term<'a> {
    field: &'a str,
    start: (&'a str, u128),
    end: (&'a str, u128),
}

fn parse_term(term: &str) -> Result<Term<'_>, String> {
    let (name, inner) = term
        .strip_suffix(')')
        .and_then(|rest| rest.split_once('('))
        .ok_or_else(|| {
            format!("unexpected expression {term:?}; expected shardRange() call or || operator")
        })?;
    if name.trim() != "shardRange" {
        return Err(format!(
            "unsupported function {:?}; only shardRange() and || are allowed",
            name.trim()
        ));
    }
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    let [field, start, end] = parts.as_slice() else {
        return Err(format!(
            "shardRange() requires exactly 3 arguments, got {}",
            parts.iter().filter(|part| !part.is_empty()).count()
        ));
    };
    if !matches!(*field, "object.metadata.uid" | "object.metadata.namespace") {
        return Err(format!(
            "unsupported field path {field:?}; supported: object.metadata.uid, object.metadata.namespace"
        ));
    }
    let (start, end) = (unquote("hexStart", start)?, unquote("hexEnd", end)?);
    let (from, to) = (hex("hexStart", start)?, hex("hexEnd", end)?);
    if from >= to {
        return Err(format!("shard range start {start} must be less than end {end}"));
    }
    Ok(Term {
        field,
        start: (start, from),
        end: (end, to),
    })
}

fn unquote<'a>(name: &str, text: &'a str) -> Result<&'a str, String> {
    let quoted = ['\'', '"']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote));
    quoted.ok_or_else(|| {
        let number = text.parse::<i64>().is_ok();
        if number {
            format!("{name} must be a string literal, got int64")
        } else {
            format!("{name} must be a string literal (e.g. '0xff'), got {text}")
        }
    })
}

fn hex(name: &str, text: &str) -> Result<u128, String> {
    let Some(digits) = text.strip_prefix("0x") else {
        return Err(format!("{name} must have '0x' prefix, got {text:?}"));
    };
    if digits.is_empty() {
        return Err(format!("{name}: hex value is required after '0x'"));
    }
    if digits.len() > 17 {
        return Err(format!(
            "{name}: hex value too long ({} chars, max 17): {digits:?}",
            digits.len()
        ));
    }
    if let Some(bad) = digits.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
        return Err(format!(
            "{name}: invalid hex character {:?} in {text:?}",
            bad.to_string()
        ));
    }
    match digits.len() {
        17 if text != "0x10000000000000000" => Err(format!(
            "{name}: 17-digit hex value must be '0x10000000000000000' (2^64), got {text:?}"
        )),
        16 | 17 => u128::from_str_radix(digits, 16).map_err(|error| format!("{name}: {error}")),
        _ => Err(format!(
            "{name} must be a 0x-prefixed 16-digit hex value, got {text:?} (did you mean \"0x{digits:0>16}\"?)"
        )),
    }
}

fn fnv1a(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOW: &str = "shardRange(object.metadata.uid, '0x0000000000000000', '0x8000000000000000')";
    const HIGH: &str = "shardRange(object.metadata.uid, '0x8000000000000000', '0x10000000000000000')";

    #[test]
    fn uids_fall_into_the_recorded_halves() {
        let (low, high) = (
            ShardSelector::parse(LOW).expect("good"),
            ShardSelector::parse(HIGH).expect("good"),
        );
        for (uid, in_low) in [
            ("efe496d6-fbc2-45fc-9f71-fad063a4d22d", true),
            ("dfc0d57c-4bcc-4c01-befa-d7c16a9bfdd5", true),
            ("b1fc3ffb-f372-44a6-9126-060d34af6795", false),
            ("80b88267-ed68-428a-a57f-215434da106e", false),
        ] {
            assert_eq!(low.matches(uid, "default"), in_low, "{uid}");
            assert_eq!(high.matches(uid, "default"), !in_low, "{uid}");
        }
        let both = ShardSelector::parse(&format!("{LOW} || {HIGH}")).expect("good");
        assert!(both.matches("anything", ""));
    }

    #[test]
    fn short_hex_is_refused_as_recorded() {
        let error = ShardSelector::parse("shardRange(object.metadata.uid, '0x0', '0x8000000000000000')")
            .expect_err("short");
        assert_eq!(error.code(), 500);
        assert_eq!(
            error.message(),
            "invalid shard selector: hexStart must be a 0x-prefixed 16-digit hex value, got \"0x0\" (did you mean \
             \"0x0000000000000000\"?)"
        );
    }

    #[test]
    fn nonsense_is_refused_with_the_real_server_s_words() {
        let range = |field: &str, start: &str, end: &str| format!("shardRange({field}, {start}, {end})");
        let (uid, zero, half) = (
            "object.metadata.uid",
            "'0x0000000000000000'",
            "'0x8000000000000000'",
        );
        for (text, why) in [
            (
                range("object.metadata.name", zero, half),
                "unsupported field path \"object.metadata.name\"; supported: object.metadata.uid, object.metadata.namespace",
            ),
            (
                format!("shardRange({uid}, {zero})"),
                "shardRange() requires exactly 3 arguments, got 2",
            ),
            (
                range(uid, half, zero),
                "shard range start 0x8000000000000000 must be less than end 0x0000000000000000",
            ),
            (
                range(uid, "'0'", half),
                "hexStart must have '0x' prefix, got \"0\"",
            ),
            (
                range(uid, "'0x'", half),
                "hexStart: hex value is required after '0x'",
            ),
            (
                range(uid, "0", half),
                "hexStart must be a string literal, got int64",
            ),
            (
                range(uid, zero, "'0x0g'"),
                "hexEnd: invalid hex character \"g\" in \"0x0g\"",
            ),
            (
                range(uid, zero, "'0x20000000000000000'"),
                "hexEnd: 17-digit hex value must be '0x10000000000000000' (2^64), got \"0x20000000000000000\"",
            ),
            (
                format!(
                    "{} || {}",
                    range(uid, zero, half),
                    range("object.metadata.namespace", zero, half)
                ),
                "all shard ranges must use the same field, got \"object.metadata.uid\" and \"object.metadata.namespace\"",
            ),
            (
                "other(object.metadata.uid)".to_owned(),
                "unsupported function \"other\"; only shardRange() and || are allowed",
            ),
        ] {
            let error = ShardSelector::parse(&text).expect_err("refused");
            assert_eq!(error.message(), format!("invalid shard selector: {why}"));
        }
        for text in ["", "x", "shardRange()"] {
            assert!(ShardSelector::parse(text).is_err(), "{text:?}");
        }
    }
}
