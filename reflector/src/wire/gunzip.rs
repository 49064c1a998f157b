//! [`Gunzip`]: a body compressed with gzip, in as many members as the server likes.

use std::io::Write;

use flate2::write::MultiGzDecoder;

/// Decompresses a stream piece by piece.
pub(crate) struct Gunzip(MultiGzDecoder<Vec<u8>>);

impl std::fmt::Debug for Gunzip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gunzip")
    }
}

impl Gunzip {
    pub(crate) fn new() -> Self {
        Self(MultiGzDecoder::new(Vec::new()))
    }

    /// Takes compressed bytes and hands everything they decompress to over to `sink`, in bounded pieces.
    pub(crate) fn push(&mut self, bytes: &[u8], mut sink: impl FnMut(&[u8])) -> std::io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            self.0.write_all(piece)?;
            self.0.flush()?;
            let out = self.0.get_mut();
            sink(out);
            out.clear();
            out.shrink_to(OUT_KEPT);
        }
        Ok(())
    }
}

/// Small enough that even a bomb (1:1000) opens to a few MiB at a time.
const PIECE: usize = 4096;
const OUT_KEPT: usize = 256 * 1024;
