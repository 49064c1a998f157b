//! Text of others made fit for one line of a log or a status page.

/// One line without control characters, at most [`LIMIT`] bytes: what a server or a component says of itself must
/// neither forge a line nor fill the log.
pub(super) fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LIMIT));
    for c in text.chars() {
        let c = if c.is_control() { ' ' } else { c };
        if line.len() + c.len_utf8() > LIMIT {
            line.push('…');
            break;
        }
        line.push(c);
    }
    line
}

/// The longest text that is kept, in bytes.
const LIMIT: usize = 1024;
