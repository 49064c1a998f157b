//! [`Splitter`]: the items of a list, each as soon as it is complete.

use std::borrow::Cow;

use bytes::{Buf, BytesMut};

use super::{
    index::Index,
    scan::{Members, Skipper, read_string},
};

/// Cuts the items out of a list that arrives in pieces, and reads the list's own head.
#[derive(Debug)]
pub(crate) struct Splitter {
    buffer: BytesMut,
    /// Bytes of the buffer the skipper has seen.
    scanned: usize,
    /// Bytes of the buffer that have been handed out.
    taken: usize,
    skipper: Skipper,
    /// Of the item, as far as it has been scanned.
    index: Index,
    place: Place,
    item_max: usize,
    /// The beginning of an item that is longer than its cap.
    head: Option<Vec<u8>>,
    list: ListHead,
}

/// What a list says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListHead {
    pub(crate) kind: String,
    pub(crate) api_version: String,
    pub(crate) version: String,
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<u64>,
    /// Whether the server filtered by shard.
    pub(crate) sharded: bool,
    /// A status in place of a list.
    pub(crate) status: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Start,
    /// Before a key, or the end.
    Key,
    /// In the value of this member of the list.
    Value(Member),
    /// Before `[` or `null`.
    Items,
    /// Before an item, a comma or the end.
    Between,
    Item,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Kind,
    ApiVersion,
    Metadata,
    Other,
}

/// An item and what has been found out on the way to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Scanned<'a> {
    pub(crate) json: &'a [u8],
    /// How deep it nests.
    pub(crate) deepest: u32,
    /// Its index, if it is an object.
    pub(crate) index: Option<&'a Index>,
}

/// What comes next out of a [`Splitter`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<'a> {
    /// A complete item.
    Item(Scanned<'a>),
    /// The beginning of an item that is longer than its cap; the rest was dropped.
    Oversize(Cow<'a, [u8]>),
    /// It takes more bytes.
    More,
    /// The list is complete.
    End,
    /// This is no list.
    Malformed(&'static str),
}

impl Splitter {
    /// A splitter for items of at most `item_max` bytes.
    pub(crate) fn new(item_max: usize) -> Self {
        Self {
            buffer: BytesMut::new(),
            scanned: 0,
            taken: 0,
            skipper: Skipper::default(),
            index: Index::default(),
            place: Place::Start,
            item_max,
            head: None,
            list: ListHead::default(),
        }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.release();
        self.buffer.extend_from_slice(bytes);
    }

    /// What the list has said of itself so far; whole after [`Part::End`].
    pub(crate) fn head(&self) -> &ListHead {
        &self.list
    }

    pub(crate) fn next_part(&mut self) -> Part<'_> {
        self.release();
        loop {
            match self.place {
                Place::Item => return self.item(),
                Place::Value(member) => {
                    let Some(end) = self.scan() else {
                        return if self.buffer.len() > HEAD_MAX && member != Member::Other {
                            Part::Malformed("the list's head is too large")
                        } else {
                            self.drop_other(member);
                            Part::More
                        };
                    };
                    self.member(member, end);
                    self.consume(end);
                    self.place = Place::Key;
                }
                _ => match self.step() {
                    Some(Part::End) => return Part::End,
                    Some(Part::More) => return Part::More,
                    Some(Part::Malformed(why)) => return Part::Malformed(why),
                    _ => {}
                },
            }
        }
    }

    /// One token between values; `None` to go on.
    fn step(&mut self) -> Option<Part<'static>> {
        let blank = self.buffer.len() - super::scan::trim_start(&self.buffer).len();
        self.buffer.advance(blank);
        let Some(&byte) = self.buffer.first() else {
            return Some(if self.place == Place::End {
                Part::End
            } else {
                Part::More
            });
        };
        match (&self.place, byte) {
            (Place::Start, b'{') => {
                self.buffer.advance(1);
                self.place = Place::Key;
            }
            (Place::Key | Place::Between, b',') => self.buffer.advance(1),
            (Place::Key, b'}') => {
                self.buffer.advance(1);
                self.place = Place::End;
            }
            (Place::Key, b'"') => return self.key(),
            (Place::Items, b'[') => {
                self.buffer.advance(1);
                self.place = Place::Between;
            }
            (Place::Items, b'n') => {
                if self.buffer.len() < 4 {
                    return Some(Part::More);
                }
                if !self.buffer.starts_with(b"null") {
                    return Some(Part::Malformed("the items are no array"));
                }
                self.buffer.advance(4);
                self.place = Place::Key;
            }
            (Place::Between, b']') => {
                self.buffer.advance(1);
                self.place = Place::Key;
            }
            (Place::Between, _) => {
                self.skipper = Skipper::default();
                self.index.clear();
                self.scanned = 0;
                self.place = Place::Item;
            }
            (Place::End, _) => return Some(Part::Malformed("something follows the list")),
            _ => return Some(Part::Malformed("the answer is no list")),
        }
        None
    }

    fn key(&mut self) -> Option<Part<'static>> {
        let mut skipper = Skipper::default();
        let Some(end) = skipper.feed(&self.buffer) else {
            return Some(if self.buffer.len() > HEAD_MAX {
                Part::Malformed("the list's head is too large")
            } else {
                Part::More
            });
        };
        let colon = super::scan::trim_start(&self.buffer[end..]);
        match colon.first() {
            None if self.buffer.len() > HEAD_MAX => {
                return Some(Part::Malformed("the list's head is too large"));
            }
            None => return Some(Part::More),
            Some(b':') => {}
            Some(_) => return Some(Part::Malformed("the answer is no list")),
        }
        let used = self.buffer.len() - colon.len() + 1;
        let plain = &self.buffer[1..end - 1];
        let unescaped = plain
            .contains(&b'\\')
            .then(|| read_string(&self.buffer[..end]))
            .flatten();
        self.place = match unescaped.as_ref().map_or(plain, |key| key.as_bytes()) {
            b"items" => Place::Items,
            b"kind" => Place::Value(Member::Kind),
            b"apiVersion" => Place::Value(Member::ApiVersion),
            b"metadata" => Place::Value(Member::Metadata),
            _ => Place::Value(Member::Other),
        };
        self.buffer.advance(used);
        self.skipper = Skipper::default();
        self.scanned = 0;
        None
    }

    fn scan(&mut self) -> Option<usize> {
        let found = self.skipper.feed(&self.buffer[self.scanned..]);
        match found {
            Some(end) => Some(self.scanned + end),
            None => {
                self.scanned = self.buffer.len();
                None
            }
        }
    }

    fn item(&mut self) -> Part<'_> {
        let is_container = matches!(self.buffer.first(), Some(b'{' | b'['));
        let found = if is_container && self.head.is_none() {
            self.skipper.feed_whole(&self.buffer, &mut self.index)
        } else {
            self.scan()
        };
        let Some(end) = found else {
            if let Some(head) = &self.head {
                debug_assert!(!head.is_empty(), "the head was kept when the cap was passed");
                self.buffer.clear();
                self.scanned = 0;
            } else if self.buffer.len() > self.item_max {
                self.head = Some(self.buffer[..self.buffer.len().min(OVERSIZE_HEAD)].to_vec());
                if is_container {
                    self.skipper.forget(&self.buffer, &mut self.index);
                }
                self.buffer.clear();
                self.scanned = 0;
            }
            return Part::More;
        };
        self.place = Place::Between;
        self.scanned = 0;
        self.taken = end;
        let deepest = self.skipper.deepest();
        if end == 0 {
            return Part::Malformed("the answer is no list");
        }
        match self.head.take() {
            Some(head) => Part::Oversize(Cow::Owned(head)),
            None if end > self.item_max => {
                Part::Oversize(Cow::Borrowed(&self.buffer[..end.min(OVERSIZE_HEAD)]))
            }
            None => Part::Item(Scanned {
                json: &self.buffer[..end],
                deepest,
                index: is_container.then_some(&self.index),
            }),
        }
    }

    /// A member nobody asked for need not be kept while it is skipped.
    fn drop_other(&mut self, member: Member) {
        if member == Member::Other {
            self.buffer.clear();
            self.scanned = 0;
        }
    }

    fn member(&mut self, member: Member, end: usize) {
        let json = super::scan::trim_start(&self.buffer[..end]);
        let text = |json| read_string(json).unwrap_or_default().into_owned();
        match member {
            Member::Kind => self.list.kind = text(json),
            Member::ApiVersion => self.list.api_version = text(json),
            Member::Metadata => self.list.read_metadata(json),
            Member::Other => {}
        }
    }

    fn consume(&mut self, end: usize) {
        self.buffer.advance(end);
        self.scanned = 0;
    }

    fn release(&mut self) {
        if self.taken > 0 {
            self.buffer.advance(self.taken);
            self.taken = 0;
        }
    }
}

impl ListHead {
    fn read_metadata(&mut self, json: &[u8]) {
        let Some(mut members) = Members::new(json) else {
            return;
        };
        while let Some(key) = members.next_key() {
            let value = members.value();
            let text = || read_string(value).unwrap_or_default().into_owned();
            match key {
                b"resourceVersion" => self.version = text(),
                b"continue" => self.continue_token = text(),
                b"shardInfo" => self.sharded = value.starts_with(b"{"),
                b"remainingItemCount" => {
                    let digits = value.iter().take_while(|byte| byte.is_ascii_digit()).count();
                    self.remaining = std::str::from_utf8(&value[..digits])
                        .ok()
                        .and_then(|digits| digits.parse().ok());
                }
                _ => {}
            }
            if members.skip_value().is_none() {
                return;
            }
        }
    }
}

/// A list's own metadata is a few hundred bytes, its token at most 64 KiB of use.
const HEAD_MAX: usize = 256 * 1024;
/// How much of an oversize item is kept to read its name from.
const OVERSIZE_HEAD: usize = 64 * 1024;
