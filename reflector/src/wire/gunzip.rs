//! [`Gunzip`]: a body compressed with gzip, in as many members as the server likes.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;

/// Decompresses a stream piece by piece.
pub(crate) struct Gunzip {
    decoder: MultiGzDecoder<Vec<u8>>,
    /// What has arrived and is still compressed.
    waiting: Bytes,
}

impl std::fmt::Debug for Gunzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gunzip")
    }
}

impl Gunzip {
    pub(crate) fn new() -> Self {
        Self {
            decoder: MultiGzDecoder::new(Vec::new()),
            waiting: Bytes::new(),
        }
    }

    /// Takes compressed bytes, once all that came before has been [read](Self::read).
    pub(crate) fn push(&mut self, bytes: Bytes) {
        debug_assert!(self.waiting.is_empty(), "what came before would be lost");
        self.waiting = bytes;
    }

    /// The next bytes, a bounded number of them; `None` once it takes more compressed ones.
    ///
    /// Whoever reads looks at them before going on: so a little that opens to very much is noticed in time.
    pub(crate) fn read(&mut self) -> io::Result<Option<&[u8]>> {
        let out = self.decoder.get_mut();
        out.clear();
        out.shrink_to(OUT_KEPT);
        while !self.waiting.is_empty() {
            let piece = self.waiting.split_to(self.waiting.len().min(PIECE));
            self.decoder.write_all(&piece)?;
            self.decoder.flush()?;
            if !self.decoder.get_ref().is_empty() {
                return Ok(Some(self.decoder.get_ref()));
            }
        }
        Ok(None)
    }
}

/// Small enough that even a bomb (1:1000) opens to a few MiB at a time.
const PIECE: usize = 4096;
const OUT_KEPT: usize = 256 * 1024;
