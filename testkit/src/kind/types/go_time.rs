//! Times as the API reads and writes them, with the complaints of Go's parser.

use jiff::Timestamp;

const SECONDS: &str = "2006-01-02T15:04:05Z07:00";
const MICROSECONDS: &str = "2006-01-02T15:04:05.000000Z07:00";

/// A time in whole seconds, UTC.
///
/// # Errors
/// For a text that is no RFC 3339 time.
pub(super) fn seconds(text: &str) -> Result<String, String> {
    parse(text, SECONDS).map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
}

/// A time in microseconds, UTC. Six digits after the point are a must.
///
/// # Errors
/// For any other text.
pub(super) fn microseconds(text: &str) -> Result<String, String> {
    parse(text, MICROSECONDS).map(|time| time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string())
}

/// The parts of a time: how many digits or which mark, what the layout calls it, and the largest number.
const PARTS: [(&str, &str, u32); 11] = [
    ("dddd", "2006", 9999),
    ("-", "-", 0),
    ("dd", "01", 12),
    ("-", "-", 0),
    ("dd", "02", 31),
    ("T", "T", 0),
    ("dd", "15", 23),
    (":", ":", 0),
    ("dd", "04", 59),
    (":", ":", 0),
    ("dd", "05", 59),
];

fn parse(text: &str, layout: &str) -> Result<Timestamp, String> {
    let quoted = serde_json::Value::from(text).to_string();
    let fail = |rest: &str, element: &str| {
        let rest = serde_json::Value::from(rest).to_string();
        format!("parsing time {quoted} as \"{layout}\": cannot parse {rest} as \"{element}\"")
    };
    let mut rest = text;
    for (form, element, most) in PARTS {
        let digits = form.starts_with('d');
        let taken = rest.get(..form.len()).filter(|taken| {
            if digits {
                taken.bytes().all(|byte| byte.is_ascii_digit())
            } else {
                *taken == form
            }
        });
        let Some(taken) = taken else {
            return Err(fail(rest, element));
        };
        if digits && taken.parse::<u32>().is_ok_and(|number| number > most) {
            let what = match element {
                "01" => "month",
                "02" => "day",
                "15" => "hour",
                "04" => "minute",
                _ => "second",
            };
            return Err(format!("parsing time {quoted}: {what} out of range"));
        }
        rest = &rest[form.len()..];
    }
    let fraction = rest
        .strip_prefix('.')
        .map_or(0, |digits| digits.bytes().take_while(u8::is_ascii_digit).count());
    if layout == MICROSECONDS && fraction != 6 {
        return Err(fail(rest, ".000000"));
    }
    if fraction > 0 {
        rest = &rest[fraction + 1..];
    }
    let zone = rest == "Z"
        || (rest.len() == 6
            && rest.starts_with(['+', '-'])
            && rest.bytes().enumerate().skip(1).all(|(at, byte)| match at {
                3 => byte == b':',
                _ => byte.is_ascii_digit(),
            }));
    if !zone {
        if let Some(extra) = rest.strip_prefix('Z') {
            let extra = serde_json::Value::from(extra).to_string();
            return Err(format!("parsing time {quoted}: extra text: {extra}"));
        }
        return Err(fail(rest, "Z07:00"));
    }
    text.parse::<Timestamp>()
        .map_err(|_| format!("parsing time {quoted}: day out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_come_out_in_utc_and_whole_units() {
        assert_eq!(
            seconds("2026-01-01T02:00:00.5+02:00"),
            Ok("2026-01-01T00:00:00Z".to_owned())
        );
        assert_eq!(
            microseconds("2026-01-01T02:00:00.000001+02:00"),
            Ok("2026-01-01T00:00:00.000001Z".to_owned())
        );
    }

    #[test]
    fn what_is_no_time_is_refused_where_it_stops_being_one() {
        for (text, why) in [
            (
                "abc",
                "parsing time \"abc\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"abc\" as \"2006\"",
            ),
            (
                "2026-01-01",
                "parsing time \"2026-01-01\" as \"2006-01-02T15:04:05Z07:00\": cannot parse \"\" as \"T\"",
            ),
            (
                "2026-13-01T00:00:00Z",
                "parsing time \"2026-13-01T00:00:00Z\": month out of range",
            ),
            (
                "2026-02-30T00:00:00Z",
                "parsing time \"2026-02-30T00:00:00Z\": day out of range",
            ),
        ] {
            assert_eq!(seconds(text), Err(why.to_owned()));
        }
    }
}
