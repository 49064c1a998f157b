//! Finding where JSON values end, without reading them.

use memchr::memchr2;

/// Finds the end of one JSON value that may arrive in parts.
///
/// It counts brackets outside of strings; whether the value is well-formed is for the decoder to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skipper {
    depth: u32,
    deepest: u32,
    place: Place,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the first byte of the value.
    #[default]
    Before,
    /// Between tokens inside a container.
    Between,
    String,
    /// Behind a backslash in a string.
    Escape,
    /// In a number or a word that is the whole value.
    Scalar,
}

impl Skipper {
    /// Reads on; the number of bytes up to the end of the value once it is there, `None` if it takes more.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<usize> {
        let mut at = 0;
        loop {
            match self.place {
                Place::String => match string_end(&bytes[at..]) {
                    StringEnd::Quote(end) => {
                        at += end + 1;
                        if self.depth == 0 {
                            return Some(at);
                        }
                        self.place = Place::Between;
                    }
                    StringEnd::Escape => {
                        self.place = Place::Escape;
                        return None;
                    }
                    StringEnd::More => return None,
                },
                Place::Escape => {
                    bytes.get(at)?;
                    at += 1;
                    self.place = Place::String;
                }
                Place::Scalar => {
                    let ends = |byte: &u8| matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t');
                    return bytes[at..].iter().position(ends).map(|end| at + end);
                }
                Place::Before => match bytes.get(at)? {
                    b'"' => {
                        at += 1;
                        self.place = Place::String;
                    }
                    b'{' | b'[' => {
                        at += 1;
                        (self.depth, self.deepest) = (1, 1);
                        self.place = Place::Between;
                    }
                    b'}' | b']' => return Some(at + 1),
                    b' ' | b'\n' | b'\r' | b'\t' => at += 1,
                    _ => {
                        at += 1;
                        self.place = Place::Scalar;
                    }
                },
                Place::Between => {
                    at = self.between(bytes, at)?;
                    if self.depth == 0 {
                        return Some(at);
                    }
                }
            }
        }
    }

    /// Goes on inside a container until it ends or a string does not.
    fn between(&mut self, bytes: &[u8], mut at: usize) -> Option<usize> {
        let mut depth = self.depth;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            match byte {
                b'"' => match string_end(&bytes[at..]) {
                    StringEnd::Quote(end) => at += end + 1,
                    end => {
                        self.depth = depth;
                        self.place = match end {
                            StringEnd::Escape => Place::Escape,
                            _ => Place::String,
                        };
                        return None;
                    }
                },
                b'{' | b'[' => {
                    depth += 1;
                    self.deepest = self.deepest.max(depth);
                }
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.depth = 0;
                        return Some(at);
                    }
                }
                _ => {}
            }
        }
        self.depth = depth;
        None
    }

    /// How deep the value nests.
    pub(crate) fn deepest(&self) -> u32 {
        self.deepest
    }
}

pub(crate) enum StringEnd {
    /// The closing quote is here.
    Quote(usize),
    /// The bytes end behind a backslash.
    Escape,
    More,
}

/// Looks for the quote that ends a string whose inside `bytes` begins with.
pub(crate) fn string_end(bytes: &[u8]) -> StringEnd {
    let mut at = 0;
    while let Some(found) = find_stop::<false>(&bytes[at..]) {
        if bytes[at + found] == b'"' {
            return StringEnd::Quote(at + found);
        }
        at += found + 2;
        if at > bytes.len() {
            return StringEnd::Escape;
        }
    }
    StringEnd::More
}

/// The first quote or backslash, or control character if `CONTROL`, eight bytes at a time.
///
/// Most strings are shorter than it takes to get a vectorised search going; long ones are left to it.
#[inline]
pub(crate) fn find_stop<const CONTROL: bool>(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // The lowest high bit left standing marks the first byte that is zero.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        if !CONTROL && at >= LONG {
            return memchr2(b'"', b'\\', &bytes[at..]).map(|found| at + found);
        }
        let word = u64::from_le_bytes(*word);
        let mut hit = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if CONTROL {
            hit |= word.wrapping_sub(ONES * 0x20) & !word & (ONES << 7);
        }
        if hit != 0 {
            return Some(at + hit.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let stops = |byte: &u8| matches!(byte, b'"' | b'\\') || (CONTROL && *byte < b' ');
    bytes[at..].iter().position(stops).map(|found| at + found)
}

/// From here on a string counts as long.
const LONG: usize = 64;

/// The bytes of `json` from its first byte that is no white space.
pub(crate) fn trim_start(json: &[u8]) -> &[u8] {
    let blank = json
        .iter()
        .take_while(|byte| matches!(byte, b' ' | b'\n' | b'\r' | b'\t'))
        .count();
    &json[blank..]
}

/// Walks over the members of the object that `json` begins with: key between its quotes, then value.
///
/// Ends at the end of the object or where it stops making sense.
#[derive(Clone, Debug)]
pub(crate) struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    pub(crate) fn new(json: &'a [u8]) -> Option<Self> {
        let rest = trim_start(json).strip_prefix(b"{")?;
        Some(Self { rest })
    }

    /// The next key and the bytes that begin with its value. [`Self::skip_value`] must follow.
    pub(crate) fn next_key(&mut self) -> Option<&'a [u8]> {
        let mut rest = trim_start(self.rest);
        if let Some(next) = rest.strip_prefix(b",") {
            rest = trim_start(next);
        }
        let inside = rest.strip_prefix(b"\"")?;
        let StringEnd::Quote(end) = string_end(inside) else {
            return None;
        };
        let value = trim_start(&inside[end + 1..]).strip_prefix(b":")?;
        self.rest = trim_start(value);
        Some(&inside[..end])
    }

    /// Whether the object has ended and nothing follows it.
    pub(crate) fn is_at_end(&self) -> bool {
        let behind = trim_start(self.rest).strip_prefix(b"}");
        behind.is_some_and(|behind| trim_start(behind).is_empty())
    }

    /// The bytes from the value on.
    pub(crate) fn value(&self) -> &'a [u8] {
        self.rest
    }

    /// Steps over the value and returns it.
    pub(crate) fn skip_value(&mut self) -> Option<&'a [u8]> {
        let mut skipper = Skipper::default();
        let end = skipper.feed(self.rest)?;
        let (value, rest) = self.rest.split_at(end);
        self.rest = rest;
        Some(value)
    }
}

/// Reads the string that `json` begins with.
pub(crate) fn read_string(json: &[u8]) -> Option<std::borrow::Cow<'_, str>> {
    let inside = json.strip_prefix(b"\"")?;
    let StringEnd::Quote(end) = string_end(inside) else {
        return None;
    };
    let raw = &inside[..end];
    if memchr::memchr(b'\\', raw).is_none() {
        return std::str::from_utf8(raw).ok().map(Into::into);
    }
    serde_json::from_slice::<String>(&json[..end + 2])
        .ok()
        .map(Into::into)
}
