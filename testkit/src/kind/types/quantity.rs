//! Quantities such as `500m` or `1Gi`, in the form the API gives them back.

const RULE: &str = "quantities must match the regular expression \
                    '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
const SUFFIX: &str = "unable to parse quantity's suffix";

/// The decimal suffixes and their powers of ten.
const DECIMAL: [(&str, i32); 10] = [
    ("n", -9),
    ("u", -6),
    ("m", -3),
    ("", 0),
    ("k", 3),
    ("M", 6),
    ("G", 9),
    ("T", 12),
    ("P", 15),
    ("E", 18),
];
/// The binary suffixes, each 1024 times the one before.
const BINARY: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// How a quantity is written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Format {
    Decimal,
    Exponent,
    Binary,
}

/// Writes a quantity in its shortest form with a whole number before the suffix. What is finer than a billionth is
/// rounded up; what is larger than this can count is given back as it came.
///
/// # Errors
/// For a text that is no quantity.
pub(super) fn canonical(text: &str) -> Result<String, String> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if number.is_empty() || number == "." || fraction.contains('.') {
        return Err(RULE.to_owned());
    }
    let (format, scale, factor) = scale_of(suffix)?;
    let digits = format!("{whole}{fraction}");
    let power = scale - i32::try_from(fraction.len()).unwrap_or(i32::MAX) + 9;
    let Some(nano) = nano(&digits, power, factor) else {
        return Ok(text.to_owned());
    };
    let sign = if text.starts_with('-') && nano != 0 {
        "-"
    } else {
        ""
    };
    Ok(format!("{sign}{}", written(nano, format)))
}

/// The format, the power of ten and the binary factor a suffix stands for.
fn scale_of(suffix: &str) -> Result<(Format, i32, i128), String> {
    if let Some((_, power)) = DECIMAL.iter().find(|(name, _)| *name == suffix) {
        return Ok((Format::Decimal, *power, 1));
    }
    if let Some(at) = BINARY.iter().position(|name| *name == suffix) {
        return Ok((Format::Binary, 0, 1 << (10 * (at + 1))));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).map(str::parse::<i32>);
    match exponent {
        Some(Ok(power)) if power.abs() <= 30 => Ok((Format::Exponent, power, 1)),
        _ if suffix.chars().all(|c| "eEinumkKMGTP+-0123456789".contains(c)) => Err(SUFFIX.to_owned()),
        _ => Err(RULE.to_owned()),
    }
}

/// The quantity in billionths, rounded up.
fn nano(digits: &str, power: i32, factor: i128) -> Option<i128> {
    let digits = digits.trim_start_matches('0');
    let number: i128 = if digits.is_empty() {
        0
    } else {
        digits.parse().ok()?
    };
    let number = number.checked_mul(factor)?;
    let ten = 10_i128.checked_pow(power.unsigned_abs())?;
    if power >= 0 {
        number.checked_mul(ten)
    } else {
        Some(number / ten + i128::from(number % ten != 0))
    }
}

fn written(nano: i128, format: Format) -> String {
    const ONE: i128 = 1_000_000_000;
    if nano == 0 {
        return "0".to_owned();
    }
    // Small or broken amounts of bytes are written in decimal.
    if format == Format::Binary && nano >= 1024 * ONE {
        let mut number = nano / ONE + i128::from(nano % ONE != 0);
        let mut step = 0;
        while number % 1024 == 0 && step < BINARY.len() {
            number /= 1024;
            step += 1;
        }
        let suffix = step.checked_sub(1).map_or("", |at| BINARY[at]);
        return format!("{number}{suffix}");
    }
    let fits = |power: i32| {
        10_i128
            .checked_pow(u32::try_from(power + 9).unwrap_or(0))
            .filter(|ten| nano % ten == 0)
    };
    let found = DECIMAL
        .iter()
        .rev()
        .find_map(|(suffix, power)| fits(*power).map(|ten| (suffix, power, nano / ten)));
    match found {
        Some((_, 0, number)) if format == Format::Exponent => number.to_string(),
        Some((_, power, number)) if format == Format::Exponent => format!("{number}e{power}"),
        Some((suffix, _, number)) => format!("{number}{suffix}"),
        None => nano.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::canonical;

    #[test]
    fn quantities_get_their_shortest_form() {
        for (given, expect) in [
            ("1", "1"),
            ("0", "0"),
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("1024Mi", "1Gi"),
            ("1536Mi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("1000", "1k"),
            ("1e3", "1e3"),
            ("10E", "10E"),
            ("512", "512"),
            ("-250m", "-250m"),
            ("0Gi", "0"),
            ("0.5Ki", "512"),
            ("100000n", "100u"),
        ] {
            assert_eq!(canonical(given), Ok(expect.to_owned()), "{given}");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for bad in ["", "x", "1x", "1.2.3", "1Mb", "--1"] {
            assert!(canonical(bad).is_err(), "{bad}");
        }
    }
}
