//! [`Lines`]: the lines of a watch, cut from whatever pieces they arrive in.

use bytes::{Buf, BytesMut};
use memchr::{memchr, memrchr};

/// Cuts lines out of a stream of bytes.
#[derive(Debug)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// Bytes of the buffer known to hold no line end.
    searched: usize,
    max: usize,
    taken: usize,
}

/// A line longer than its cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLong;

impl Lines {
    /// Lines of at most `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            searched: 0,
            max,
            taken: 0,
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.release();
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete line that is not blank, without its end.
    pub(crate) fn next_line(&mut self) -> Result<Option<&[u8]>, TooLong> {
        loop {
            self.release();
            let Some(found) = memchr(b'\n', &self.buffer[self.searched..]) else {
                self.searched = self.buffer.len();
                return if self.searched > self.max {
                    Err(TooLong)
                } else {
                    Ok(None)
                };
            };
            let end = self.searched + found;
            if end > self.max {
                return Err(TooLong);
            }
            self.taken = end + 1;
            if !is_blank(&self.buffer[..end]) {
                return Ok(Some(trim_end(&self.buffer[..end])));
            }
        }
    }

    /// What has arrived of a line that is not complete.
    pub(crate) fn rest(&mut self) -> &[u8] {
        self.release();
        &self.buffer
    }

    /// Whether a line has begun and not ended.
    pub(crate) fn is_partial(&self) -> bool {
        // What has been searched is not searched again, piece by piece of a long line.
        let from = self.searched.max(self.taken);
        let begun = memrchr(b'\n', &self.buffer[from..]).map_or(self.taken, |end| from + end + 1);
        !is_blank(&self.buffer[begun..])
    }

    fn release(&mut self) {
        if self.taken > 0 {
            self.buffer.advance(self.taken);
            self.taken = 0;
            self.searched = 0;
        }
    }
}

fn is_blank(line: &[u8]) -> bool {
    line.iter().all(u8::is_ascii_whitespace)
}

fn trim_end(line: &[u8]) -> &[u8] {
    line.trim_ascii_end()
}
