//! The targets, over their corpus and over mutations of it.

use std::{fs, path::PathBuf};

use serde::Deserialize;

use super::{
    lists::{agrees_with_a_plain_parser, split},
    objects::read_whole,
    *,
};

/// Runs a target over its corpus, and over mutations of it that are the same every time.
fn check(name: &str, target: fn(&[u8]), files_min: usize) {
    let folder: PathBuf = [env!("CARGO_MANIFEST_DIR"), "..", "fuzz", "corpus", name]
        .iter()
        .collect();
    let mut paths: Vec<_> = fs::read_dir(folder)
        .expect("the corpus is committed")
        .map(|entry| entry.expect("the corpus can be read").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= files_min, "{} files", paths.len());
    let mut rng = fastrand::Rng::with_seed(42);
    for path in paths {
        let data = fs::read(&path).expect("the corpus can be read");
        target(&data);
        for _ in 0..60 {
            target(&mutate(&data, &mut rng));
        }
    }
}

fn mutate(data: &[u8], rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut data = data.to_vec();
    for _ in 0..rng.usize(1..4) {
        if data.is_empty() {
            data.push(rng.u8(..));
            continue;
        }
        let at = rng.usize(..data.len());
        match rng.u8(0..6) {
            0 => data[at] = rng.u8(..),
            1 => data[at] = b"{}[]\",:\\\n x"[rng.usize(..11)],
            2 => data.truncate(at),
            3 => drop(data.remove(at)),
            4 => data.insert(at, b"{}[]\",:\\\n x"[rng.usize(..11)]),
            _ => {
                let end = rng.usize(at..=data.len().min(at + 40));
                let piece = data[at..end].to_vec();
                let to = rng.usize(..=data.len());
                data.splice(to..to, piece);
            }
        }
    }
    data
}

#[test]
fn framing_holds_for_the_corpus_and_its_mutations() {
    check("framing", framing, 20);
}

#[test]
fn splitting_holds_for_the_corpus_and_its_mutations() {
    check("splitter", splitter, 80);
}

/// Lists made of everything JSON has, whole and garbled, cut anywhere.
#[test]
fn splitting_holds_for_lists_made_at_random() {
    let mut rng = fastrand::Rng::with_seed(11);
    for nth in 0..600 {
        let list = random_list(&mut rng);
        for list in [mutate(&list, &mut rng), list] {
            let whole = split(&list, 300, |_| (list.len().max(1), false));
            let found = split(&list, 300, |_| (rng.usize(1..130), rng.bool()));
            assert_eq!(found, whole);
            agrees_with_a_plain_parser(&list, 300, &whole);
            if nth % 10 == 0 {
                splitter(&list);
            }
        }
    }
}

fn random_list(rng: &mut fastrand::Rng) -> Vec<u8> {
    let mut members: Vec<String> = Vec::new();
    let items: Vec<_> = (0..rng.usize(0..6)).map(|_| random_value(rng, 3)).collect();
    let blank = BLANKS[rng.usize(..BLANKS.len())];
    members.push(match rng.u8(0..9) {
        0 => String::from("\"items\":null"),
        1 => String::from("\"it\\u0065ms\":[ ]"),
        2 => String::new(),
        _ => format!(
            "\"items\"{blank}:{blank}[{blank}{}{blank}]",
            items.join(&format!("{blank},{blank}"))
        ),
    });
    members.push(format!("\"kind\":{blank}\"PodList\""));
    members.push(format!(
        "\"metadata\":{{\"resourceVersion\":\"{}\",\"continue\":{},\"remainingItemCount\":7}}",
        rng.u64(..),
        random_string(rng)
    ));
    for nth in 0..rng.usize(0..3) {
        members.push(format!("\"more{nth}\":{}", random_value(rng, 3)));
    }
    if rng.u8(0..10) == 0 {
        members.push(members[rng.usize(..members.len())].clone());
    }
    members.retain(|member| !member.is_empty());
    rng.shuffle(&mut members);
    format!("{{{blank}{}{blank}}}{blank}", members.join(&format!("{blank},"))).into_bytes()
}

fn random_value(rng: &mut fastrand::Rng, deep: u32) -> String {
    let blank = BLANKS[rng.usize(..BLANKS.len())];
    match rng.u8(if deep == 0 { 3 } else { 0 }..8) {
        0 | 1 => {
            let members: Vec<_> = (0..rng.usize(0..4))
                .map(|_| format!("{}:{blank}{}", random_string(rng), random_value(rng, deep - 1)))
                .collect();
            format!("{{{}{blank}}}", members.join(&format!("{blank},")))
        }
        2 => {
            let values: Vec<_> = (0..rng.usize(0..4))
                .map(|_| random_value(rng, deep - 1))
                .collect();
            format!("[{}{blank}]", values.join(&format!("{blank},")))
        }
        3 => String::from(["true", "false", "null"][rng.usize(..3)]),
        4 => format!("{}", rng.i64(..)),
        5 => String::from(["-0.5e+30", "1E9", "0", "1e999", "-1.25"][rng.usize(..5)]),
        _ => random_string(rng),
    }
}

fn random_string(rng: &mut fastrand::Rng) -> String {
    let pieces = [
        "a",
        "\\\\",
        "\\\"",
        "\\ud83d\\ude00",
        "\\ud83d",
        "\\n",
        "\u{e4}\u{1f600}",
        "{[",
        "]}",
        ",:",
        "a string that is as long as a block of sixty-four bytes, or longer",
    ];
    let text: String = (0..rng.usize(0..5))
        .map(|_| pieces[rng.usize(..pieces.len())])
        .collect();
    format!("\"{text}\"")
}

const BLANKS: [&str; 5] = ["", "", " ", "\r\n\t", "          \n            "];

/// Each byte of a name is looked at once, however the name arrives: this would not end if all of it were looked at
/// for each.
#[test]
fn names_in_pieces_of_a_byte_are_read_once() {
    let name = "a".repeat(250_000);
    let list = format!("{{\"{name}\" : 1, \"items\"\n: [{{}}]}}");
    let found = split(list.as_bytes(), 1 << 20, |_| (1, false));
    assert_eq!((found.items, found.ended), (vec![Ok(b"{}".to_vec())], true));
}

/// What is too large to be kept where it comes in pieces is judged no better where it does not.
#[test]
fn large_members_that_nobody_asked_for_come_out_the_same_however_they_arrive() {
    for garbled in ["tru", "[1,,2]", "{\"a\"}", "[}"] {
        let blank = " ".repeat(300_000);
        let list = format!("{{\"x\":[{blank}{garbled}],\"items\":[{{}}]}}");
        let whole = split(list.as_bytes(), 1 << 20, |_| (list.len(), false));
        for size in [4096, 100_000, 299_000] {
            let found = split(list.as_bytes(), 1 << 20, |_| (size, false));
            assert_eq!(found, whole, "{garbled} by {size}");
        }
        assert!(whole.ended, "{garbled}");
    }
}

#[test]
fn ends_of_values_hold_for_the_corpus_and_its_mutations() {
    check("splitter", skipping, 80);
    check("envelope", skipping, 80);
}

#[test]
fn indexes_hold_for_the_corpus_and_its_mutations() {
    check("splitter", index, 80);
    check("event", index, 80);
}

/// Quotes, backslashes and brackets in any order, at and across the seams of blocks.
#[test]
fn blocks_hold_for_texts_made_to_confuse_them() {
    let mut rng = fastrand::Rng::with_seed(7);
    for _ in 0..3000 {
        let mut text = vec![b'{'];
        let length = rng.usize(0..300);
        while text.len() < length {
            let piece: &[u8] = match rng.u8(0..12) {
                0 => b"\\\\\\\\\\\\\\\\\\",
                1 => b"\\\"",
                2 => b"\"",
                3 => b"[",
                4 => b"]",
                5 => b"{\"a\":",
                6 => b"}",
                7 => b",",
                8 => b"\"abc\\\\\",",
                9 => b"a string of more than sixty-four bytes, which is more than a block has",
                10 => b"\n\x1f\x7f\xc3\xa4",
                _ => b" ",
            };
            text.extend_from_slice(&piece[..rng.usize(1..=piece.len())]);
        }
        skipping(&text);
        index(&text);
    }
}

#[test]
fn envelopes_hold_for_the_corpus_and_its_mutations() {
    check("envelope", envelope, 80);
}

#[test]
fn reading_holds_for_the_corpus_and_its_mutations() {
    check("envelope", reader, 80);
    check("splitter", reader, 80);
    check("event", reader, 80);
}

#[test]
fn arrays_are_allocated_at_their_size() {
    let json = r#"{"a":[1,2,3],"b":[],"skip":[[1],[2,[3]]],"c":[[5],[6,7]],"d":[ ]}"#;
    #[derive(Deserialize)]
    struct Arrays {
        a: Vec<u8>,
        b: Vec<u8>,
        c: Vec<Vec<u8>>,
        d: Vec<u8>,
    }
    let read = read_whole::<Arrays>(json).expect("it is well-formed");
    assert_eq!(
        (
            read.a.capacity(),
            read.b.capacity(),
            read.c.capacity(),
            read.d.capacity()
        ),
        (3, 0, 2, 0)
    );
    assert_eq!((read.c[0].capacity(), read.c[1].capacity()), (1, 2));
}

#[test]
fn events_hold_for_the_corpus_and_its_mutations() {
    check("event", event, 80);
}
