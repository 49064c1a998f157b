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
        let mut field: Option<&str> = None;
        let mut ranges = Vec::new();
        for term in text.split("||") {
            let (of, start, end) = parse_term(term.trim()).map_err(|why| refused(&why))?;
            if field.is_some_and(|known| known != of) {
                return Err(refused("all shard ranges must use the same field"));
            }
            field = Some(of);
            ranges.push((start, end));
        }
        let by_namespace = field == Some("object.metadata.namespace");
        Ok(Self {
            text: text.to_owned(),
            by_namespace,
            ranges,
        })
    }

    /// The selector as the client wrote it, which a list repeats in `metadata.shardInfo`.
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

fn parse_term(term: &str) -> Result<(&str, u128, u128), String> {
    let inner = term
        .strip_prefix("shardRange(")
        .and_then(|rest| rest.strip_suffix(')'))
        .ok_or_else(|| format!("expected shardRange(field, hexStart, hexEnd), got {term:?}"))?;
    let parts: Vec<&str> = inner.split(',').map(str::trim).collect();
    let [field, start, end] = parts.as_slice() else {
        return Err(format!("shardRange takes 3 arguments, got {}", parts.len()));
    };
    if !matches!(*field, "object.metadata.uid" | "object.metadata.namespace") {
        return Err(format!("unsupported field path {field:?}"));
    }
    let start = hex("hexStart", unquote(start)?)?;
    let end = hex("hexEnd", unquote(end)?)?;
    if start >= end {
        return Err("hexStart must be less than hexEnd".to_owned());
    }
    Ok((field, start, end))
}

fn unquote(text: &str) -> Result<&str, String> {
    ['\'', '"']
        .iter()
        .find_map(|quote| text.strip_prefix(*quote)?.strip_suffix(*quote))
        .ok_or_else(|| format!("expected a quoted string, got {text:?}"))
}

fn hex(name: &str, text: &str) -> Result<u128, String> {
    if name == "hexEnd" && text == "0x10000000000000000" {
        return Ok(1 << 64);
    }
    let digits = text
        .strip_prefix("0x")
        .filter(|d| d.chars().all(|c| c.is_ascii_hexdigit()));
    match digits {
        Some(digits) if digits.len() == 16 => {
            u128::from_str_radix(digits, 16).map_err(|error| format!("{name}: {error}"))
        }
        Some(digits) if digits.len() < 16 => Err(format!(
            "{name} must be a 0x-prefixed 16-digit hex value, got {text:?} (did you mean \"0x{digits:0>16}\"?)"
        )),
        _ => Err(format!(
            "{name} must be a 0x-prefixed 16-digit hex value, got {text:?}"
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
    fn nonsense_is_refused() {
        for text in [
            "",
            "x",
            "shardRange()",
            "shardRange(object.spec.x, '0x0000000000000000', '0x8000000000000000')",
            "shardRange(object.metadata.uid, 0x0000000000000000, '0x8000000000000000')",
            "shardRange(object.metadata.uid, '0x8000000000000000', '0x0000000000000000')",
        ] {
            assert!(ShardSelector::parse(text).is_err(), "{text:?}");
        }
    }
}
