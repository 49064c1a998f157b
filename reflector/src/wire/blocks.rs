//! [`Block`]: what 64 bytes of JSON hold, one bit a byte.
//!
//! Brackets and quotes are found for 64 bytes at once with whatever vectors the processor has; what is left to do byte
//! by byte is the few bytes where something begins or ends.

use std::ops::ControlFlow;

use fearless_simd::{Simd, prelude::*, u8x64};

/// Where in 64 bytes the bytes are that JSON is built of. The lowest bit stands for the first byte.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block {
    pub(crate) quotes: u64,
    pub(crate) backslashes: u64,
    /// `{` and `[`.
    pub(crate) opening: u64,
    /// `}` and `]`.
    pub(crate) closing: u64,
    /// Of the brackets, `{` and `}`; of other bytes it says nothing.
    pub(crate) curly: u64,
    pub(crate) commas: u64,
    /// Quotes, backslashes, and control characters, which may not be in a string as they are.
    pub(crate) stops: u64,
}

impl Block {
    /// Looks at 64 bytes. What the caller does not use of the result is not computed.
    #[inline(always)]
    fn read<S: Simd>(simd: S, bytes: &[u8; SIZE]) -> Self {
        let bytes = u8x64::from_slice(simd, bytes);
        // This bit is all that sets `{` apart from `[`, and `}` from `]`; no other byte turns into one of them.
        let folded = bytes | CURLY;
        // Each of these is zero for the bytes it stands for. Compilers make less of an "or" of masks.
        let (quotes, backslashes) = (bytes ^ b'"', bytes ^ b'\\');
        let controls = bytes.max(b' ' - 1) ^ (b' ' - 1);
        let stops = quotes.min(backslashes).min(controls);
        Self {
            quotes: quotes.simd_eq(0).to_bitmask(),
            backslashes: backslashes.simd_eq(0).to_bitmask(),
            opening: folded.simd_eq(b'{').to_bitmask(),
            closing: folded.simd_eq(b'}').to_bitmask(),
            curly: (bytes & CURLY).simd_eq(CURLY).to_bitmask(),
            commas: bytes.simd_eq(b',').to_bitmask(),
            stops: stops.simd_eq(0).to_bitmask(),
        }
    }
}

/// Hands `bytes` over in blocks, each with where it begins and how many bytes of it count; the rest of the last one is
/// blank.
#[inline(always)]
pub(crate) fn each<S: Simd, B>(
    simd: S,
    bytes: &[u8],
    mut take: impl FnMut(Block, usize, usize) -> ControlFlow<B>,
) -> Option<B> {
    let (whole, tail) = bytes.as_chunks::<SIZE>();
    let mut at = 0;
    for bytes in whole {
        if let ControlFlow::Break(found) = take(Block::read(simd, bytes), at, SIZE) {
            return Some(found);
        }
        at += SIZE;
    }
    if tail.is_empty() {
        return None;
    }
    let mut last = [b' '; SIZE];
    last[..tail.len()].copy_from_slice(tail);
    take(Block::read(simd, &last), at, tail.len()).break_value()
}

/// Which bytes are in strings, from block to block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Strings {
    /// All ones if the next block begins inside a string.
    inside: u64,
    /// Whether the first byte of the next block is escaped.
    escaped: bool,
}

impl Strings {
    /// The bytes of the block that are in strings, their opening quotes included and their closing ones not; `len` bytes
    /// of the block count.
    #[inline(always)]
    pub(crate) fn find(&mut self, block: &Block, len: usize) -> u64 {
        let mut escaped = u64::from(self.escaped);
        let mut left = block.backslashes & !escaped;
        self.escaped = false;
        while left != 0 {
            // The first backslash that is not escaped escapes whatever follows it.
            let first = left & left.wrapping_neg();
            let next = first << 1;
            self.escaped |= first == 1 << (len - 1);
            escaped |= next;
            left &= !(first | next);
        }
        // Every quote turns all bits from its own on: what an odd number of quotes has turned is in a string.
        let mut turned = block.quotes & !escaped;
        for distance in [1, 2, 4, 8, 16, 32] {
            turned ^= turned << distance;
        }
        let strings = turned ^ self.inside;
        self.inside = 0_u64.wrapping_sub(strings >> (SIZE - 1));
        strings
    }
}

/// The bits that are set, each by itself, from the lowest on.
#[inline(always)]
pub(crate) fn bits(mut set: u64) -> impl Iterator<Item = u64> {
    std::iter::from_fn(
        #[inline(always)]
        move || {
            let bit = set & set.wrapping_neg();
            set ^= bit;
            (bit != 0).then_some(bit)
        },
    )
}

const CURLY: u8 = b'{' ^ b'[';
/// Bytes of a block.
pub(crate) const SIZE: usize = u64::BITS as usize;
