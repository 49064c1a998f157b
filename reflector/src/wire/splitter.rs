//! [`Splitter`]: the items of a list, each as soon as it is complete.

use std::borrow::Cow;

use bytes::{Buf, Bytes, BytesMut};
use serde::{
    Deserialize,
    de::{DeserializeOwned, IgnoredAny},
};

use super::{
    index::{Index, Unpaired},
    scan::{Skipper, read_string, trim_start},
};

/// Cuts the items out of a list that arrives in pieces, and reads the list's own head.
///
/// # Contract
/// A list ends with [`Part::End`] only if everything around its items is JSON: every comma stands between two members
/// or two items, and nothing else does. An item must end with the bracket that belongs to its first, or be a string, a
/// number or a word of JSON; what is inside its brackets is for its reader to judge. Of what is not kept, an item larger
/// than its cap or a member that nobody asked for of more than 256 KiB, only the end is looked for.
///
/// # Memory
/// Of what one piece has whole nothing is copied. Only what is torn between pieces is put together, and only as much of
/// the next piece is added as it takes.
#[derive(Debug)]
pub(crate) struct Splitter {
    input: Input,
    /// Bytes of the input the skipper has seen.
    scanned: usize,
    /// Bytes of the input that have been handed out.
    taken: usize,
    skipper: Skipper,
    /// Of the item, as far as it has been scanned.
    index: Index,
    place: Place,
    item_max: usize,
    /// The beginning of an item that is longer than its cap.
    head: Option<Vec<u8>>,
    list: ListHead,
    /// The members there have been, of those that count; `None` for the items.
    seen: Vec<Option<Member>>,
    /// Whether a part of the member that is being stepped over is not kept.
    is_cut: bool,
}

/// What a list says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListHead {
    pub(crate) kind: String,
    pub(crate) api_version: String,
    pub(crate) version: String,
    pub(crate) continue_token: String,
    pub(crate) remaining: Option<u64>,
    /// Whether it has items, be they none.
    pub(crate) has_items: bool,
}

/// The metadata of a list, as far as it matters.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListMeta {
    resource_version: Option<String>,
    r#continue: Option<String>,
    remaining_item_count: Option<serde_json::Value>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Start,
    /// Behind the first bracket: before a key, or the end.
    First,
    /// Behind a comma: before a key.
    Key,
    /// Behind a member: before a comma, or the end.
    Behind,
    /// In a key.
    Name,
    /// Behind the key of this member, or of the items.
    Colon(Option<Member>),
    /// In the value of this member of the list.
    Value(Member),
    /// Before `[` or `null`.
    Items,
    /// Behind the first bracket of the items: before an item, or their end.
    FirstItem,
    /// Behind a comma: before an item.
    NextItem,
    Item,
    /// Behind an item: before a comma, or their end.
    BehindItem,
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

impl Scanned<'_> {
    /// Whether every bracket is closed by one of its own kind. Where they are not, the end of the item is a guess, and
    /// another may be hidden inside.
    ///
    /// Who decodes the item finds out anyway; this is for those who do not, or failed.
    pub(crate) fn is_paired(&self) -> bool {
        match self.index.map(|index| index.end(self.json, 0)) {
            None => true,
            Some(Err(Unpaired::Deep)) => is_json(self.json),
            Some(end) => end == Ok(self.json.len() - 1),
        }
    }
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

/// What has arrived and is not yet used up: either the rest of a piece, or what was torn with a part of the next piece.
#[derive(Debug, Default)]
struct Input {
    piece: Bytes,
    /// What was torn and what has been added to it; in use unless it is empty.
    torn: BytesMut,
    /// So many bytes at the beginning of the piece are at the end of what was torn, too.
    added: usize,
}

impl Input {
    fn bytes(&self) -> &[u8] {
        if self.torn.is_empty() {
            &self.piece
        } else {
            &self.torn
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    /// Takes the next piece, once there is no [`more`](Self::more) of the last.
    fn push(&mut self, piece: Bytes) {
        self.keep();
        self.piece = piece;
    }

    /// Adds to what is there, whatever it is.
    fn extend(&mut self, bytes: &[u8]) {
        self.keep();
        self.torn.extend_from_slice(bytes);
    }

    /// Puts what is left of the piece to what was torn.
    fn keep(&mut self) {
        self.torn.extend_from_slice(&self.piece[self.added..]);
        self.piece = Bytes::new();
        self.added = 0;
    }

    /// Whether there are more bytes than before: those of the piece that have not been added yet, some at a time.
    fn more(&mut self) -> bool {
        let left = self.piece.len() - self.added;
        if self.torn.is_empty() || left == 0 {
            return false;
        }
        let count = left.min(ADDED);
        self.torn
            .extend_from_slice(&self.piece[self.added..self.added + count]);
        self.added += count;
        true
    }

    /// Drops white space; how many bytes of it.
    fn skip_blank(&mut self) -> usize {
        let mut all = 0;
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.bytes().first() {
            let blank = self.len() - trim_start(self.bytes()).len();
            self.advance(blank);
            all += blank;
        }
        all
    }

    fn advance(&mut self, count: usize) {
        if self.torn.is_empty() {
            self.piece.advance(count);
            return;
        }
        let left = self.torn.len() - count;
        if left <= self.added {
            // What is left is in the piece as it arrived.
            self.piece.advance(self.added - left);
            self.torn.clear();
            self.added = 0;
        } else {
            self.torn.advance(count);
        }
    }
}

impl Splitter {
    /// A splitter for items of at most `item_max` bytes.
    pub(crate) fn new(item_max: usize) -> Self {
        Self {
            input: Input::default(),
            scanned: 0,
            taken: 0,
            skipper: Skipper::default(),
            index: Index::default(),
            place: Place::Start,
            item_max,
            head: None,
            list: ListHead::default(),
            seen: Vec::new(),
            is_cut: false,
        }
    }

    /// The next piece. What of it is used where it is stays in memory until the piece is used up.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.release();
        self.input.push(piece);
    }

    /// As [`push`](Self::push), with bytes that do not last.
    pub(crate) fn push_copied(&mut self, bytes: &[u8]) {
        self.release();
        self.input.extend(bytes);
    }

    /// What the list has said of itself so far; whole after [`Part::End`].
    pub(crate) fn head(&self) -> &ListHead {
        &self.list
    }

    pub(crate) fn next_part(&mut self) -> Part<'_> {
        self.release();
        loop {
            let more = match self.place {
                Place::Item => match self.item() {
                    Some(found) => return self.found(found).unwrap_or(GARBLED),
                    None => self.input.more(),
                },
                Place::Name => match self.scan() {
                    Some(end) if end > HEAD_MAX => return TOO_LARGE,
                    Some(end) => {
                        let Some(member) = Self::named(&self.input.bytes()[..end]) else {
                            return HEAD_GARBLED;
                        };
                        if member != Some(Member::Other) {
                            if self.seen.contains(&member) {
                                return Part::Malformed("the list has a member twice");
                            }
                            self.seen.push(member);
                        }
                        self.input.advance(end);
                        self.scanned = end;
                        self.place = Place::Colon(member);
                        true
                    }
                    None if self.input.len() > HEAD_MAX => return TOO_LARGE,
                    None => self.input.more(),
                },
                Place::Value(member) => match self.scan() {
                    Some(end) if end > HEAD_MAX && member != Member::Other => return TOO_LARGE,
                    Some(end) => {
                        if self.member(member, end).is_none() {
                            return HEAD_GARBLED;
                        }
                        self.input.advance(end);
                        self.place = Place::Behind;
                        true
                    }
                    // A large member that nobody asked for is not kept while it is stepped over.
                    None if member == Member::Other && (self.is_cut || self.input.len() > HEAD_MAX) => {
                        self.is_cut = true;
                        self.drop_scanned()
                    }
                    None if self.input.len() > HEAD_MAX => return TOO_LARGE,
                    None => self.input.more(),
                },
                _ => match self.step() {
                    None => true,
                    Some(Part::More) => self.input.more(),
                    Some(part) => return part,
                },
            };
            if !more {
                return Part::More;
            }
        }
    }

    /// One token between values; `None` to go on.
    fn step(&mut self) -> Option<Part<'static>> {
        let blank = self.input.skip_blank();
        if let Place::Colon(_) = self.place {
            // A name that nothing follows is no name.
            self.scanned += blank;
            if self.scanned > HEAD_MAX {
                return Some(TOO_LARGE);
            }
        }
        let Some(&byte) = self.input.bytes().first() else {
            return Some(if self.place == Place::End {
                Part::End
            } else {
                Part::More
            });
        };
        match (&self.place, byte) {
            (Place::Start, b'{') => self.advance_to(Place::First),
            (Place::Behind, b',') => self.advance_to(Place::Key),
            (Place::First | Place::Behind, b'}') => self.advance_to(Place::End),
            (Place::First | Place::Key, b'"') => self.begin(Place::Name),
            (Place::Colon(member), b':') => {
                let value = member.map_or(Place::Items, Place::Value);
                self.input.advance(1);
                self.begin(value);
            }
            (Place::Items, b'[') => {
                self.list.has_items = true;
                self.advance_to(Place::FirstItem);
            }
            (Place::Items, b'n') => {
                if self.input.len() < 4 {
                    return Some(Part::More);
                }
                if !self.input.bytes().starts_with(b"null") {
                    return Some(Part::Malformed("the items are no array"));
                }
                self.list.has_items = true;
                self.input.advance(4);
                self.place = Place::Behind;
            }
            (Place::FirstItem | Place::BehindItem, b']') => self.advance_to(Place::Behind),
            (Place::BehindItem, b',') => self.advance_to(Place::NextItem),
            (
                Place::FirstItem | Place::NextItem,
                b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n',
            ) => {
                self.index.clear();
                self.begin(Place::Item);
            }
            (Place::FirstItem | Place::NextItem | Place::BehindItem, _) => return Some(GARBLED),
            (Place::End, _) => return Some(Part::Malformed("something follows the list")),
            _ => return Some(Part::Malformed("the answer is no list")),
        }
        None
    }

    /// Steps over one byte.
    fn advance_to(&mut self, place: Place) {
        self.input.advance(1);
        self.place = place;
    }

    /// What is at this place begins here.
    fn begin(&mut self, place: Place) {
        self.skipper = Skipper::default();
        self.is_cut = false;
        self.scanned = 0;
        self.place = place;
    }

    /// Which member a name stands for, and within `None` for the items; `None` if it is no name.
    #[expect(clippy::option_option, reason = "the inner one is what a place has")]
    fn named(name: &[u8]) -> Option<Option<Member>> {
        let plain = &name[1..name.len() - 1];
        let unescaped = plain.contains(&b'\\').then(|| read_string(name)).flatten();
        let member = match unescaped.as_ref().map_or(plain, |name| name.as_bytes()) {
            b"items" => None,
            b"kind" => Some(Member::Kind),
            b"apiVersion" => Some(Member::ApiVersion),
            b"metadata" => Some(Member::Metadata),
            _ if is_json(name) => Some(Member::Other),
            _ => return None,
        };
        Some(member)
    }

    fn scan(&mut self) -> Option<usize> {
        let found = self.skipper.feed(&self.input.bytes()[self.scanned..]);
        match found {
            Some(end) => Some(self.scanned + end),
            None => {
                self.scanned = self.input.len();
                None
            }
        }
    }

    /// What the item turned out to be, once its end is there.
    fn item(&mut self) -> Option<Found> {
        let is_container = matches!(self.input.bytes().first(), Some(b'{' | b'['));
        let found = if is_container && self.head.is_none() {
            self.skipper.feed_whole(self.input.bytes(), &mut self.index)
        } else {
            self.scan()
        };
        let Some(end) = found else {
            let bytes = self.input.bytes();
            if self.head.is_none() && bytes.len() > self.item_max {
                self.head = Some(Vec::new());
                if is_container {
                    self.skipper.forget(bytes, &mut self.index);
                }
            }
            // From the cap on no more is kept of the item than its beginning.
            self.keep_head(self.input.len());
            return if self.head.is_some() && self.drop_scanned() {
                self.item()
            } else {
                None
            };
        };
        let last = end.checked_sub(1).map(|last| self.input.bytes()[last]);
        self.keep_head(end);
        self.place = Place::BehindItem;
        self.scanned = 0;
        self.taken = end;
        // Nothing is left of the item where its rest was dropped and what ends it came later.
        Some(if let Some(head) = self.head.take() {
            Found::Rest { head, last }
        } else {
            Found::Whole { is_container }
        })
    }

    /// `None` if the item is none: then who knows where the next one begins.
    fn found(&self, found: Found) -> Option<Part<'_>> {
        let json = &self.input.bytes()[..self.taken];
        Some(match found {
            Found::Rest { head, last } => {
                if !are_a_pair(head.first().copied(), last) {
                    return None;
                }
                Part::Oversize(Cow::Owned(head))
            }
            Found::Whole { is_container } => {
                let is_large = json.len() > self.item_max;
                // A large string or word is not kept where it comes in pieces, so it is not looked at here either.
                let is_item = if is_container {
                    are_a_pair(json.first().copied(), json.last().copied())
                } else {
                    is_large || is_json(json)
                };
                if !is_item {
                    return None;
                }
                if is_large {
                    return Some(Part::Oversize(Cow::Borrowed(
                        &json[..json.len().min(OVERSIZE_HEAD)],
                    )));
                }
                Part::Item(Scanned {
                    json,
                    deepest: self.skipper.deepest(),
                    index: is_container.then_some(&self.index),
                })
            }
        })
    }

    /// Keeps of these bytes of an item that is longer than its cap what belongs to its beginning.
    fn keep_head(&mut self, count: usize) {
        if let Some(head) = &mut self.head {
            let room = OVERSIZE_HEAD.saturating_sub(head.len());
            head.extend_from_slice(&self.input.bytes()[..count.min(room)]);
        }
    }

    /// Drops all that has been scanned; whether something is left.
    fn drop_scanned(&mut self) -> bool {
        self.input.advance(self.input.len());
        self.scanned = 0;
        self.input.len() > 0
    }

    /// Reads a member of the list; `None` if it is not what it should be.
    fn member(&mut self, member: Member, end: usize) -> Option<()> {
        let json = &self.input.bytes()[..end];
        match member {
            Member::Kind => self.list.kind = read(json)?,
            Member::ApiVersion => self.list.api_version = read(json)?,
            Member::Metadata => self.list.read_metadata(read(json)?),
            Member::Other if self.is_cut || end > HEAD_MAX || is_json(json) => {}
            Member::Other => return None,
        }
        Some(())
    }

    fn release(&mut self) {
        if self.taken > 0 {
            self.input.advance(self.taken);
            self.taken = 0;
        }
    }
}

impl ListHead {
    fn read_metadata(&mut self, meta: Option<ListMeta>) {
        let Some(meta) = meta else { return };
        self.version = meta.resource_version.unwrap_or_default();
        self.continue_token = meta.r#continue.unwrap_or_default();
        self.remaining = meta.remaining_item_count.and_then(|count| count.as_u64());
    }
}

/// Reads a member exactly: what cannot be read of a list's head may be that the list goes on.
fn read<T: Default + DeserializeOwned>(json: &[u8]) -> Option<T> {
    let value: Option<T> = serde_json::from_slice(json).ok()?;
    Some(value.unwrap_or_default())
}

/// What was at the place of an item.
enum Found {
    /// An item, or one longer than its cap that arrived in one piece.
    Whole { is_container: bool },
    /// The rest of one whose beginning was kept, and what it ended with.
    Rest { head: Vec<u8>, last: Option<u8> },
}

fn is_json(value: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(value).is_ok()
}

/// Whether what begins with `first` may end with `last`. Brackets of a pair differ in the same bits, whichever pair it
/// is.
fn are_a_pair(first: Option<u8>, last: Option<u8>) -> bool {
    match (first, last) {
        (Some(first @ (b'{' | b'[')), Some(last)) => first ^ last == b'{' ^ b'}',
        _ => true,
    }
}

/// A list's own metadata is a few hundred bytes, its token at most 64 KiB of use.
const HEAD_MAX: usize = 256 * 1024;
const TOO_LARGE: Part<'static> = Part::Malformed("the list's head is too large");
const HEAD_GARBLED: Part<'static> = Part::Malformed("the list's head is garbled");
const GARBLED: Part<'static> = Part::Malformed("the list's items are garbled");
/// How much is added at a time to what was torn.
const ADDED: usize = 4 * 1024;
/// How much of an oversize item is kept to read its name from.
const OVERSIZE_HEAD: usize = 64 * 1024;
