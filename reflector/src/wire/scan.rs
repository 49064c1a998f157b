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
        while let Some(&byte) = bytes.get(at) {
            match self.place {
                Place::String => match string_end(&bytes[at..]) {
                    StringEnd::Quote(end) => {
                        at += end + 1;
                        if self.depth == 0 {
                            return Some(at);
                        }
                        self.place = Place::Between;
                        continue;
                    }
                    StringEnd::Escape => {
                        self.place = Place::Escape;
                        return None;
                    }
                    StringEnd::More => return None,
                },
                Place::Escape => self.place = Place::String,
                Place::Scalar => {
                    if matches!(byte, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t') {
                        return Some(at);
                    }
                }
                Place::Before | Place::Between => match byte {
                    b'"' => self.place = Place::String,
                    b'{' | b'[' => {
                        self.depth += 1;
                        self.deepest = self.deepest.max(self.depth);
                        self.place = Place::Between;
                    }
                    b'}' | b']' => {
                        self.depth = self.depth.saturating_sub(1);
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    b' ' | b'\n' | b'\r' | b'\t' => {}
                    _ if self.place == Place::Before => self.place = Place::Scalar,
                    _ => {}
                },
            }
            at += 1;
        }
        None
    }

    /// How deep the value nests.
    pub(crate) fn deepest(&self) -> u32 {
        self.deepest
    }
}

enum StringEnd {
    /// The closing quote is here.
    Quote(usize),
    /// The bytes end behind a backslash.
    Escape,
    More,
}

/// Looks for the quote that ends a string whose inside `bytes` begins with.
fn string_end(bytes: &[u8]) -> StringEnd {
    let mut at = 0;
    while let Some(found) = memchr2(b'"', b'\\', &bytes[at..]) {
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
