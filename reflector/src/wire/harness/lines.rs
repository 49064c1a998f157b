//! Lines of a watch.

use crate::wire::lines::{Lines, TooLong};

/// Lines come out the same however the bytes arrive, and no line beyond the cap is ever kept. The first byte says how
/// many bytes arrive at a time.
pub fn framing(data: &[u8]) {
    const CAP: usize = 64;
    let (size, data) = data
        .split_first()
        .map_or((1, data), |(size, rest)| (usize::from(*size).max(1), rest));
    let mut lines = Lines::new(CAP);
    let mut got: Vec<Vec<u8>> = Vec::new();
    let mut too_long = false;
    for piece in data.chunks(size) {
        lines.push(piece);
        loop {
            match lines.next_line() {
                Ok(Some(line)) => got.push(line.to_vec()),
                Ok(None) => break,
                Err(TooLong) => {
                    too_long = true;
                    break;
                }
            }
        }
        if too_long {
            break;
        }
        assert!(lines.rest().len() <= CAP, "no more than the cap is kept");
    }
    let complete = data
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |end| end + 1);
    let all = data[..complete].split(|byte| *byte == b'\n');
    let want: Vec<&[u8]> = all
        .take_while(|line| line.len() <= CAP)
        .map(<[u8]>::trim_ascii_end)
        .filter(|line| !line.is_empty())
        .collect();
    assert_eq!(got, want, "every line up to the first that is too long");
    if !too_long {
        let rest = data[complete..].iter().any(|byte| !byte.is_ascii_whitespace());
        assert_eq!(lines.is_partial(), rest);
    }
}
