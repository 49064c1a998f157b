//! [`Index`]: where the strings end and the brackets are in a text, found before it is read.

use std::ops::ControlFlow;

use fearless_simd::{Level, Simd, dispatch};

use super::blocks::{self, Block, SIZE, Strings};

/// What can be known of a whole JSON text at little cost: with it the end of a string is found with one look, a
/// container that nobody wants is stepped over in strides, and the elements of an array are counted before they are read.
///
/// # Memory
/// Five eighths of the text's size.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Index(Vec<Marks>);

/// 64 bytes of the text, one bit a byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Marks {
    /// Quotes, backslashes and control characters, wherever they are.
    stops: u64,
    /// Brackets and commas outside of strings.
    opening: u64,
    closing: u64,
    commas: u64,
    /// How many brackets there are: counted where the processor's own instruction for it may be used.
    opened: u8,
    closed: u8,
}

impl Marks {
    /// What is known from the byte `at` on.
    #[inline(always)]
    fn behind(self, at: usize) -> Self {
        let kept = from(at);
        let (opening, closing) = (self.opening & kept, self.closing & kept);
        Self {
            stops: self.stops & kept,
            opening,
            closing,
            commas: self.commas & kept,
            opened: count(opening),
            closed: count(closing),
        }
    }
}

/// Why a container does not end as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unpaired {
    /// Its last bracket is missing.
    CutOff,
    /// A bracket is closed by one of the other kind.
    Kinds,
    /// It nests deeper than is looked at here.
    Deep,
}

/// The number of bits that are set.
#[inline(always)]
fn count(bits: u64) -> u8 {
    // At most 64.
    bits.count_ones() as u8
}

impl Index {
    /// An empty one, for a text of so many bytes.
    pub(crate) fn with_room_for(bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes.div_ceil(SIZE)))
    }

    /// Goes on with a block, of which these bytes are in no string.
    #[inline(always)]
    pub(crate) fn push(&mut self, block: &Block, outside: u64) {
        let (opening, closing) = (block.opening & outside, block.closing & outside);
        self.0.push(Marks {
            stops: block.stops,
            opening,
            closing,
            commas: block.commas & outside,
            opened: count(opening),
            closed: count(closing),
        });
    }

    /// How many bytes it has seen, in whole blocks.
    pub(crate) fn bytes(&self) -> usize {
        self.0.len() * SIZE
    }

    /// Begins anew, with the memory of one typical object.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
        self.0.shrink_to(KEPT / SIZE);
    }

    /// Looks through a text.
    pub(crate) fn new(text: &[u8]) -> Self {
        Self::with(Level::new(), text)
    }

    /// As [`new`](Self::new), with these vectors.
    pub(crate) fn with(level: Level, text: &[u8]) -> Self {
        let mut index = Self::with_room_for(text.len());
        dispatch!(level, simd => index.fill(simd, text));
        index
    }

    #[inline(always)]
    fn fill<S: Simd>(&mut self, simd: S, text: &[u8]) {
        let mut strings = Strings::default();
        blocks::each(
            simd,
            text,
            #[inline(always)]
            |block, _, len| {
                self.push(&block, !strings.find(&block, len));
                ControlFlow::<()>::Continue(())
            },
        );
    }

    /// Whether both say the same of the first `len` bytes.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn agrees(&self, other: &Self, len: usize) -> bool {
        let of = |marks: &Marks, nth: usize| {
            let left = len - nth * SIZE;
            let kept = if left < SIZE { (1 << left) - 1 } else { u64::MAX };
            [marks.stops, marks.opening, marks.closing, marks.commas].map(|bits| bits & kept)
        };
        let mut pairs = self.0.iter().zip(&other.0).enumerate();
        self.0.len() == other.0.len() && pairs.all(|(nth, (one, two))| of(one, nth) == of(two, nth))
    }

    /// The first quote, backslash or control character at or behind `at`.
    #[inline(always)]
    pub(crate) fn stop(&self, at: usize) -> Option<usize> {
        let mut nth = at / SIZE;
        let mut stops = self.0.get(nth)?.stops & from(at);
        while stops == 0 {
            nth += 1;
            stops = self.0.get(nth)?.stops;
        }
        Some(nth * SIZE + stops.trailing_zeros() as usize)
    }

    /// Where the container ends whose first bracket is at `at` of `text`: the place of the bracket that closes it. Every
    /// bracket in between must be closed by one of its own kind.
    ///
    /// This is what is checked of a value that nobody reads. Most brackets of a typical object, those of empty
    /// containers, are checked a block at a time.
    pub(crate) fn end(&self, text: &[u8], at: usize) -> Result<usize, Unpaired> {
        dispatch!(Level::new(), simd => self.end_with(simd, text, at))
    }

    #[inline(always)]
    fn end_with<S: Simd>(&self, simd: S, text: &[u8], at: usize) -> Result<usize, Unpaired> {
        if matches!(text.get(at..at + 2), Some(b"{}" | b"[]")) {
            return Ok(at + 1);
        }
        let first = at / SIZE * SIZE;
        let mut kept = from(at);
        // What is open, the innermost lowest: a one for an object. The topmost one says where it ends.
        let mut open = 1_u64;
        let found = blocks::each(
            simd,
            text.get(first..).unwrap_or_default(),
            #[inline(always)]
            |block, begin, _| {
                let Some(marks) = self.0.get((first + begin) / SIZE) else {
                    return ControlFlow::Break(Err(Unpaired::CutOff));
                };
                let (opening, closing) = (marks.opening & kept, marks.closing & kept);
                kept = u64::MAX;
                let alike = !(block.curly ^ (block.curly >> 1));
                let empty = opening & (closing >> 1) & alike;
                for bit in blocks::bits((opening | closing) ^ (empty | empty << 1)) {
                    let kind = u64::from(block.curly & bit != 0);
                    if opening & bit != 0 {
                        if open > u64::MAX / 2 {
                            return ControlFlow::Break(Err(Unpaired::Deep));
                        }
                        open = open << 1 | kind;
                        continue;
                    }
                    if open & 1 != kind {
                        return ControlFlow::Break(Err(Unpaired::Kinds));
                    }
                    open >>= 1;
                    if open == 1 {
                        let end = first + begin + bit.trailing_zeros() as usize;
                        return ControlFlow::Break(Ok(end));
                    }
                }
                ControlFlow::Continue(())
            },
        );
        found.unwrap_or(Err(Unpaired::CutOff))
    }

    /// How many commas are between the elements of the array whose first bracket is at `at`; `None` if it does not end
    /// soon.
    pub(crate) fn commas(&self, at: usize) -> Option<usize> {
        let first = at / SIZE;
        let soon = self.0.len().min(first + COUNT_MAX / SIZE);
        let blocks = self.0.get(first..soon)?;
        let mut marks = blocks.first()?.behind(at);
        let (mut commas, mut depth) = (0, 0);
        for next in blocks[1..].iter().map(Some).chain([None]) {
            let (opened, closed) = (u32::from(marks.opened), u32::from(marks.closed));
            // Unless nothing here is the array's own.
            if closed + 1 < depth {
                depth = depth + opened - closed;
            } else {
                let mut behind = u64::MAX;
                for bit in blocks::bits(marks.opening | marks.closing) {
                    let before = bit - 1;
                    if depth == 1 {
                        commas += few(marks.commas & behind & before);
                    }
                    behind = !before;
                    if marks.opening & bit != 0 {
                        depth += 1;
                        continue;
                    }
                    depth = depth.checked_sub(1)?;
                    if depth == 0 {
                        return Some(commas);
                    }
                }
                if depth == 1 {
                    commas += few(marks.commas & behind);
                }
            }
            marks = *next?;
        }
        None
    }
}

/// The number of bits that are set, most often none or one.
#[inline(always)]
fn few(bits: u64) -> usize {
    if bits & bits.wrapping_sub(1) == 0 {
        usize::from(bits != 0)
    } else {
        bits.count_ones() as usize
    }
}

/// The bits of a block that stand for the bytes from `at` on.
fn from(at: usize) -> u64 {
    u64::MAX << (at % SIZE)
}

/// Memory for an object of this size is kept for the next.
const KEPT: usize = 256 * 1024;
/// How far ahead elements are counted: more than any array of a Kubernetes object takes, few enough for bad intent.
const COUNT_MAX: usize = 64 * 1024;
/// How many containers can be open at once where their brackets are paired.
#[cfg(any(test, fuzzing))]
pub(crate) const PAIRED_DEPTH: usize = u64::BITS as usize - 1;
