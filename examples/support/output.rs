//! What an example says, to whoever still listens.

use std::{
    fmt,
    io::{self, Write},
    process,
};

/// Prints a line, as `println!`; where nobody reads it any more, as behind `| head -1`, the program ends without a
/// word, for there is nobody left to tell.
macro_rules! say {
    ($($text:tt)*) => {
        $crate::support::output::line(format_args!($($text)*))
    };
}
pub(crate) use say;

/// See [`say`]. Each line is flushed, so that a reader has it at once.
pub fn line(text: fmt::Arguments<'_>) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{text}").and_then(|()| out.flush()).is_err() {
        process::exit(0);
    }
}

/// Prints a line on standard error, if anybody reads that.
pub fn complain(text: fmt::Arguments<'_>) {
    drop(writeln!(io::stderr(), "{text}"));
}
