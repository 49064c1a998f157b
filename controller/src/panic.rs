//! What a contained panic said.

use std::{any::Any, fmt};

/// The message of a panic, cut to a length fit for a log.
pub(crate) struct PanicText<'a>(&'a str);

impl<'a> PanicText<'a> {
    pub(crate) fn of(payload: &'a Box<dyn Any + Send>) -> Self {
        let text = payload
            .downcast_ref::<&'static str>()
            .copied()
            .or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        let text = text.unwrap_or("not a text");
        let end = text
            .char_indices()
            .nth(TEXT_MAX)
            .map_or(text.len(), |(end, _)| end);
        Self(&text[..end])
    }
}

impl fmt::Debug for PanicText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0, f)
    }
}

impl fmt::Display for PanicText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// Characters of a panic message that are kept.
const TEXT_MAX: usize = 256;
