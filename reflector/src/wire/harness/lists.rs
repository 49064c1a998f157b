//! Items of a list.

use bytes::Bytes;
use serde::{Deserialize, de::IgnoredAny};
use serde_json::Value;

use crate::wire::{
    index::Index,
    splitter::{ListHead, ListMeta, Part, Splitter},
};

/// The items of a list come out the same however the bytes arrive, and as a plain parser sees them.
pub fn splitter(data: &[u8]) {
    let large: &[usize] = &[1, 3, 17, 200];
    for (item_max, sizes) in [(1 << 20, large), (70, &[1, 64])] {
        let whole = split(data, item_max, |_| (data.len().max(1), false));
        for &size in sizes {
            let found = split(data, item_max, |_| (size, false));
            assert_eq!(found, whole, "in pieces of {size}");
            let found = split(data, item_max, |nth| (size + nth % 2, nth % 3 != 1));
            assert_eq!(found, whole, "in pieces of {size}, most of them copied");
        }
        agrees_with_a_plain_parser(data, item_max, &whole);
    }
}

pub(super) fn agrees_with_a_plain_parser(data: &[u8], item_max: usize, found: &Split) {
    let is_json = |json: &[u8]| serde_json::from_slice::<IgnoredAny>(json).is_ok();
    if found.ended && !is_json(data) {
        let mut items = found
            .items
            .iter()
            .map(|item| item.as_ref().unwrap_or_else(|head| head));
        assert!(
            items.any(|item| !is_json(item)),
            "what is no JSON is no complete list, unless it is one of the items"
        );
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    #[expect(dead_code, reason = "whether it can be read is what matters")]
    struct List<T> {
        kind: Option<String>,
        api_version: Option<String>,
        metadata: Option<ListMeta>,
        items: Option<Vec<T>>,
    }
    let Ok(list) = serde_json::from_slice::<List<IgnoredAny>>(data) else {
        return;
    };
    if data.trim_ascii().first() != Some(&b'{') {
        return;
    }
    assert!(found.ended, "a well-formed list is complete");
    assert!(found.head.has_items || list.items.is_none());
    assert_eq!(found.items.len(), list.items.map_or(0, |items| items.len()));
    for item in &found.items {
        let json = item.as_ref().unwrap_or_else(|head| head);
        assert_eq!(json.len() <= item_max, item.is_ok());
        assert!(
            serde_json::from_slice::<IgnoredAny>(json).is_ok(),
            "an item of a well-formed list is well-formed"
        );
    }
    if let Ok(list) = serde_json::from_slice::<List<Value>>(data) {
        let read = |item: &Result<Vec<u8>, Vec<u8>>| {
            let json = item.as_ref().unwrap_or_else(|head| head);
            serde_json::from_slice::<Value>(json).expect("it could be read within the list")
        };
        let found: Vec<_> = found.items.iter().map(read).collect();
        assert_eq!(found, list.items.unwrap_or_default());
    }
}

/// What came out of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    /// The items, and the beginnings of those that are too large.
    pub(super) items: Vec<Result<Vec<u8>, Vec<u8>>>,
    pub(super) ended: bool,
    pub(super) head: ListHead,
}

/// Cuts a list that arrives in pieces; `cut` says of each how long it is, and whether it does not last.
pub(super) fn split(data: &[u8], item_max: usize, mut cut: impl FnMut(usize) -> (usize, bool)) -> Split {
    let mut splitter = Splitter::new(item_max);
    let mut items = Vec::new();
    let (mut rest, mut malformed) = (data, false);
    for nth in 0.. {
        if rest.is_empty() || malformed {
            break;
        }
        let (size, copied) = cut(nth);
        let (piece, behind) = rest.split_at(size.min(rest.len()));
        rest = behind;
        if copied {
            splitter.push_copied(piece);
        } else {
            splitter.push(Bytes::copy_from_slice(piece));
        }
        loop {
            match splitter.next_part() {
                Part::Item(item) => {
                    if let Some(index) = item.index {
                        assert!(index.agrees(&Index::new(item.json), item.json.len()));
                    }
                    items.push(Ok(item.json.to_vec()));
                }
                Part::Oversize(head) => items.push(Err(head.into_owned())),
                Part::More | Part::End => break,
                Part::Malformed(_) => {
                    malformed = true;
                    break;
                }
            }
        }
    }
    let ended = !malformed && matches!(splitter.next_part(), Part::End);
    Split {
        items,
        ended,
        head: splitter.head().clone(),
    }
}
