//! [`ResourceVersion`]: how far the history of a kind has been seen.

use std::{cmp::Ordering, fmt, sync::Arc};

/// A resource version as the API server gave it.
///
/// The API defines versions made of digits as comparable, whatever their length: the longer is the newer, equal
/// lengths compare as text. Any other text is opaque: it equals itself and compares with nothing.
///
/// # Examples
/// ```
/// use informer_store::ResourceVersion;
///
/// let (old, new) = (ResourceVersion::new("99"), ResourceVersion::new("100"));
/// assert!(old < new);
/// assert!(ResourceVersion::UNSET < old);
/// let opaque = ResourceVersion::new("abc");
/// assert_eq!(opaque.partial_cmp(&old), None);
/// ```
///
/// # Source
/// KEP-5504; apimachinery `resourceversion.CompareResourceVersion`.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct ResourceVersion(Repr);

#[derive(Clone, PartialEq, Eq, Hash, Default)]
enum Repr {
    #[default]
    Unset,
    Number(u64),
    /// Digits beyond `u64`, without a leading zero.
    Digits(Arc<str>),
    Opaque(Arc<str>),
}

impl ResourceVersion {
    /// No version: nothing has been seen yet.
    pub const UNSET: Self = Self(Repr::Unset);

    /// Reads a version; the empty text is [`UNSET`](Self::UNSET).
    #[must_use]
    pub fn new(text: &str) -> Self {
        let bytes = text.as_bytes();
        match bytes {
            [] => return Self(Repr::Unset),
            // No sum of nineteen digits is too large, so that the versions there are take one plain pass.
            [b'1'..=b'9', ..] if bytes.len() <= 19 => {
                let digits = bytes.iter().map(|byte| byte.wrapping_sub(b'0'));
                let number = digits.map(u64::from).try_fold(0u64, |number, digit| {
                    (digit <= 9).then(|| number.wrapping_mul(10).wrapping_add(digit))
                });
                if let Some(number) = number {
                    return Self(Repr::Number(number));
                }
            }
            _ => {}
        }
        Self::unusual(text)
    }

    /// Anything but a number of few digits.
    #[cold]
    fn unusual(text: &str) -> Self {
        let bytes = text.as_bytes();
        let is_number = bytes.iter().all(u8::is_ascii_digit);
        Self(match text.parse() {
            Ok(number) if is_number && (bytes[0] != b'0' || bytes.len() == 1) => Repr::Number(number),
            Err(_) if is_number && bytes[0] != b'0' => Repr::Digits(text.into()),
            _ => Repr::Opaque(text.into()),
        })
    }

    /// Whether there is no version.
    #[must_use]
    pub fn is_unset(&self) -> bool {
        matches!(self.0, Repr::Unset)
    }

    /// Whether this version can be compared with others: digits without a leading zero.
    #[must_use]
    pub fn is_ordered(&self) -> bool {
        matches!(self.0, Repr::Number(_) | Repr::Digits(_))
    }

    /// The version as a number, where it fits one.
    #[must_use]
    #[inline]
    pub fn as_u64(&self) -> Option<u64> {
        if let Repr::Number(number) = self.0 {
            Some(number)
        } else {
            None
        }
    }
}

impl PartialOrd for ResourceVersion {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        use Repr::{Digits, Number, Opaque, Unset};
        match (&self.0, &other.0) {
            (Unset, Unset) => Some(Ordering::Equal),
            (Unset, _) => Some(Ordering::Less),
            (_, Unset) => Some(Ordering::Greater),
            (Number(a), Number(b)) => Some(a.cmp(b)),
            (Number(_), Digits(_)) => Some(Ordering::Less),
            (Digits(_), Number(_)) => Some(Ordering::Greater),
            (Digits(a), Digits(b)) => Some(a.len().cmp(&b.len()).then_with(|| a.cmp(b))),
            (Opaque(a), Opaque(b)) => (a == b).then_some(Ordering::Equal),
            (Opaque(_), _) | (_, Opaque(_)) => None,
        }
    }
}

impl From<&str> for ResourceVersion {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<u64> for ResourceVersion {
    fn from(number: u64) -> Self {
        Self(Repr::Number(number))
    }
}

impl fmt::Display for ResourceVersion {
    /// The text the server gave; empty for [`UNSET`](Self::UNSET).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Unset => Ok(()),
            Repr::Number(number) => fmt::Display::fmt(number, f),
            Repr::Digits(text) | Repr::Opaque(text) => f.pad(text),
        }
    }
}

impl fmt::Debug for ResourceVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_unset() {
            f.write_str("unset")
        } else {
            write!(f, "\"{self}\"")
        }
    }
}
