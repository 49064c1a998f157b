//! Where strings and containers end.

use fearless_simd::Level;

use crate::wire::{
    index::{Index, PAIRED_DEPTH, Unpaired},
    scan::Skipper,
};

/// Ends of values are found where a search byte by byte finds them, wherever the bytes are torn apart.
pub fn skipping(data: &[u8]) {
    let known = end_of_value(data);
    let seams = [1, 2, 62, 63, 64, 65, 66, 127, 128, 129];
    for tear in seams.into_iter().chain((0..=data.len()).step_by(31)) {
        if tear > data.len() {
            continue;
        }
        let mut skipper = Skipper::default();
        let (head, tail) = data.split_at(tear);
        let found = skipper.feed(head).or_else(|| Some(tear + skipper.feed(tail)?));
        assert_eq!(found, known.map(|(end, _)| end), "torn at {tear}");
        if let Some((_, deepest)) = known {
            assert_eq!(skipper.deepest(), deepest, "torn at {tear}");
        }
    }
}

/// Where the value ends that `data` begins with, and how deep it nests, byte by byte.
fn end_of_value(data: &[u8]) -> Option<(usize, u32)> {
    let blank = |byte: &u8| b" \n\r\t".contains(byte);
    let start = data.iter().position(|byte| !blank(byte))?;
    match data[start] {
        b'}' | b']' => return Some((start + 1, 0)),
        b'"' | b'{' | b'[' => {}
        _ => {
            let ends = |byte: &u8| blank(byte) || b",]}".contains(byte);
            let end = data[start + 1..].iter().position(ends)?;
            return Some((start + 1 + end, 0));
        }
    }
    let (mut depth, mut deepest) = (0, 0);
    let (mut string, mut escaped) = (false, false);
    for (at, byte) in data.iter().enumerate().skip(start) {
        if std::mem::take(&mut escaped) && (string || matches!(byte, b'"' | b'\\')) {
            continue;
        }
        match byte {
            // Where there is no string a backslash makes no sense, but it always makes the same.
            b'\\' => escaped = true,
            b'"' => string = !string,
            b'{' | b'[' if !string => depth += 1,
            b'}' | b']' if !string => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
        if depth == 0 && !string {
            return Some((at + 1, deepest));
        }
    }
    None
}

/// What an index knows of a text is what a search byte by byte finds, with whatever vectors it was made.
pub fn index(data: &[u8]) {
    let index = Index::new(data);
    assert_eq!(
        index,
        Index::with(Level::baseline(), data),
        "with vectors that all have"
    );
    let stops = |byte: &u8| matches!(byte, b'"' | b'\\' | ..b' ');
    let mut next = None;
    for at in (0..data.len()).rev() {
        if stops(&data[at]) {
            next = Some(at);
        }
        assert_eq!(index.stop(at), next, "from {at}");
    }
    let outside = outside_of_strings(data);
    for (nth, (at, byte)) in outside.iter().enumerate() {
        if !b"{[".contains(byte) {
            continue;
        }
        let (mut depth, mut commas, mut end) = (0, 0, None);
        let (mut open, mut deepest, mut paired) = (Vec::new(), 0, Err(Unpaired::CutOff));
        for (at, byte) in &outside[nth..] {
            match byte {
                b'{' | b'[' => {
                    depth += 1;
                    open.push(*byte);
                    deepest = deepest.max(open.len());
                }
                b'}' | b']' => {
                    depth -= 1;
                    let alike = open.pop().is_some_and(|open| open ^ byte == b'{' ^ b'}');
                    if !alike && paired == Err(Unpaired::CutOff) {
                        paired = Err(Unpaired::Kinds);
                    }
                }
                _ => commas += usize::from(depth == 1),
            }
            if depth == 0 {
                end = Some(*at);
                break;
            }
        }
        if let (Some(end), Err(Unpaired::CutOff)) = (end, paired) {
            paired = Ok(end);
        }
        match index.end(data, *at) {
            Err(Unpaired::Deep) => assert!(deepest > PAIRED_DEPTH, "{deepest} is not deep"),
            found => assert_eq!(found, paired, "the end of what begins at {at}"),
        }
        if data.len() < 1024 {
            assert_eq!(
                index.commas(*at),
                end.map(|_| commas),
                "commas in what begins at {at}"
            );
        }
    }
}

/// Brackets and commas that are in no string, and where.
pub(super) fn outside_of_strings(data: &[u8]) -> Vec<(usize, u8)> {
    let mut outside = Vec::new();
    let (mut string, mut escaped) = (false, false);
    for (at, byte) in data.iter().enumerate() {
        match byte {
            b'\\' if !escaped => {
                escaped = true;
                continue;
            }
            b'"' if !escaped => string = !string,
            _ if !string && b"{}[],".contains(byte) => outside.push((at, *byte)),
            _ => {}
        }
        escaped = false;
    }
    outside
}
