//! Finding where JSON values end, without reading them.

use std::ops::ControlFlow;

use fearless_simd::{Level, Simd, dispatch};
use memchr::memchr2;

use super::{
    blocks::{self, Block, SIZE, Strings},
    index::Index,
};

/// Finds the end of one JSON value that may arrive in parts.
///
/// It counts brackets outside of strings; whether the value is well-formed is for the decoder to say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Skipper {
    place: Place,
    nesting: Nesting,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    /// Before the first byte of the value.
    #[default]
    Before,
    /// In a container that is the whole value, or before it.
    Container,
    /// In a string that is the whole value.
    String,
    /// Behind a backslash in it.
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
                    StringEnd::Quote(end) => return Some(at + end + 1),
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
                    b'{' | b'[' => self.place = Place::Container,
                    b'}' | b']' => return Some(at + 1),
                    b' ' | b'\n' | b'\r' | b'\t' => at += 1,
                    _ => {
                        at += 1;
                        self.place = Place::Scalar;
                    }
                },
                Place::Container => {
                    let rest = &bytes[at..];
                    let found = dispatch!(Level::new(), simd => self.container(simd, rest));
                    return found.map(|end| at + end);
                }
            }
        }
    }

    #[inline(always)]
    fn container<S: Simd>(&mut self, simd: S, bytes: &[u8]) -> Option<usize> {
        let mut nesting = self.nesting;
        let found = blocks::each(
            simd,
            bytes,
            #[inline(always)]
            |block, at, len| match nesting.read(&block, len).1 {
                Some(end) => ControlFlow::Break(at + end),
                None => ControlFlow::Continue(()),
            },
        );
        self.nesting = nesting;
        found
    }

    /// As [`feed`](Self::feed), of a container: `bytes` is all there is of it so far, its first bracket first. What has
    /// been seen goes to `index`, which is empty in the beginning.
    pub(crate) fn feed_whole(&mut self, bytes: &[u8], index: &mut Index) -> Option<usize> {
        self.place = Place::Container;
        dispatch!(Level::new(), simd => self.index(simd, bytes, index))
    }

    #[inline(always)]
    fn index<S: Simd>(&mut self, simd: S, bytes: &[u8], index: &mut Index) -> Option<usize> {
        let seen = index.bytes();
        let mut nesting = self.nesting;
        let found = blocks::each(
            simd,
            &bytes[seen..],
            #[inline(always)]
            |block, at, len| {
                let mut read = nesting;
                let (outside, end) = read.read(&block, len);
                if len < SIZE && end.is_none() {
                    // Once more has come the block is looked at again.
                    return ControlFlow::Continue(());
                }
                nesting = read;
                index.push(&block, outside);
                match end {
                    Some(end) => ControlFlow::Break(seen + at + end),
                    None => ControlFlow::Continue(()),
                }
            },
        );
        self.nesting = nesting;
        found
    }

    /// From here on the value is not kept: goes on behind what an index has seen of `bytes`.
    pub(crate) fn forget(&mut self, bytes: &[u8], index: &mut Index) {
        let seen = index.bytes().min(bytes.len());
        let found = self.feed(&bytes[seen..]);
        debug_assert!(found.is_none(), "the end would have been found");
        index.clear();
    }

    /// How deep the value nests.
    pub(crate) fn deepest(&self) -> u32 {
        self.nesting.deepest
    }
}

/// How deep a container nests where it is read, from block to block.
#[derive(Clone, Copy, Debug, Default)]
struct Nesting {
    strings: Strings,
    depth: u32,
    deepest: u32,
}

impl Nesting {
    /// Reads on: the bytes of the block that are in no string, and how many are left to the end of the container, if it
    /// is there.
    #[inline(always)]
    fn read(&mut self, block: &Block, len: usize) -> (u64, Option<usize>) {
        let outside = !self.strings.find(block, len);
        let (opening, closing) = (block.opening & outside, block.closing & outside);
        // Only where the end may be, or the deepest place, do single brackets matter.
        let (opened, closed) = (opening.count_ones(), closing.count_ones());
        // Empty containers, of which there are many where there are many brackets, lead no deeper than one.
        let down = || {
            let empty = opening & (closing >> 1);
            (opening ^ empty).count_ones() + u32::from(empty != 0)
        };
        if closed < self.depth && (self.depth + opened <= self.deepest || self.depth + down() <= self.deepest)
        {
            self.depth = self.depth + opened - closed;
            return (outside, None);
        }
        for bit in blocks::bits(opening | closing) {
            if opening & bit != 0 {
                self.depth += 1;
                self.deepest = self.deepest.max(self.depth);
                continue;
            }
            self.depth = self.depth.saturating_sub(1);
            if self.depth == 0 {
                return (outside, Some(bit.trailing_zeros() as usize + 1));
            }
        }
        (outside, None)
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
    while let Some(found) = find_stop(&bytes[at..]) {
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

/// The first quote or backslash, eight bytes at a time: most strings are shorter than it takes to get a vectorised search
/// going. Long ones are left to it.
#[inline]
fn find_stop(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    // The lowest high bit left standing marks the first byte that is zero.
    let zero = |word: u64| word.wrapping_sub(ONES) & !word & (ONES << 7);
    let mut at = 0;
    while let Some(word) = bytes.get(at..).and_then(<[u8]>::first_chunk::<8>) {
        if at >= LONG {
            return memchr2(b'"', b'\\', &bytes[at..]).map(|found| at + found);
        }
        let word = u64::from_le_bytes(*word);
        let hit = zero(word ^ (ONES * u64::from(b'"'))) | zero(word ^ (ONES * u64::from(b'\\')));
        if hit != 0 {
            return Some(at + hit.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let stops = |byte: &u8| matches!(byte, b'"' | b'\\');
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
