//! [`ListBody`]: the parts of a list as its bytes arrive.

use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll, ready},
};

use futures::Stream;
use http_body::Body as _;
use informer_store::{Object, ResourceVersion};

use super::{
    answer::{Answer, Status, garbled, transport},
    context::{Context, Read, VERSION_MAX, too_deep},
};
use crate::{
    Error, ErrorKind, Held, Item, ListEnd, Listed, Purpose, Seen,
    wire::{
        envelope::Envelope,
        splitter::{Part, Scanned, Splitter},
    },
};

pub(super) struct ListBody<K> {
    answer: Answer,
    context: Context<K>,
    held: Held<K>,
    purpose: Purpose,
    splitter: Splitter,
    bytes: u64,
    /// The first bytes, to tell an error in place of a list; none once it has items.
    start: Vec<u8>,
    done: bool,
}

impl<K: Object> ListBody<K> {
    pub(super) fn new(answer: Answer, context: Context<K>, held: Held<K>, purpose: Purpose) -> Self {
        Self {
            splitter: Splitter::new(context.limits.object_bytes),
            answer,
            context,
            held,
            purpose,
            bytes: 0,
            start: Vec::new(),
            done: false,
        }
    }

    fn part(&mut self) -> Option<Result<Listed<K>, Error>> {
        match self.splitter.next_part() {
            Part::More => None,
            Part::Item(item) => {
                let read = read_item(&self.context, &self.held, self.purpose, item);
                if !matches!(read, Listed::Object(_)) && !item.is_paired() {
                    return Some(Err(
                        self.malformed("the brackets of an item do not belong together")
                    ));
                }
                Some(Ok(read))
            }
            Part::Oversize(head) => {
                let envelope = Envelope::read(&head);
                let error = Error::new(ErrorKind::Oversize, "list", "an item is larger than its cap");
                Some(Ok(Listed::Poison(self.context.poison(&envelope, error))))
            }
            Part::Malformed(why) => Some(Err(self.malformed(why))),
            Part::End => None,
        }
    }

    fn malformed(&self, why: &str) -> Error {
        if let Ok(status) = serde_json::from_slice::<Status>(&self.start)
            && status.is_failure()
        {
            return status.error("list", 500, None);
        }
        Error::new(ErrorKind::Protocol, "list", why)
    }

    /// The body has ended: is the list complete?
    fn end(&mut self) -> Result<Listed<K>, Error> {
        if !matches!(self.splitter.next_part(), Part::End) {
            return Err(Error::new(
                ErrorKind::Transport,
                "list",
                "the list ended before it was complete",
            ));
        }
        let head = self.splitter.head();
        if head.kind == "Status" {
            return Err(self.malformed("the answer is a status"));
        }
        let partial = head.kind == "PartialObjectMetadataList";
        let kind = head.kind.strip_suffix("List");
        let expected = kind.is_some_and(|kind| kind.is_empty() || self.context.is_of_kind(kind));
        let expected = expected || (partial && self.wants_metadata());
        if !head.kind.is_empty() && !expected {
            let message = format!(
                "the answer is a {}, not a list of {}",
                head.kind, self.context.kind
            );
            return Err(Error::new(ErrorKind::WrongKind, "list", message));
        }
        if !head.has_items {
            return Err(self.malformed("the answer has no items"));
        }
        if head.continue_token.len() > self.context.limits.token_bytes {
            return Err(Error::new(
                ErrorKind::Oversize,
                "list",
                "the page token is larger than its cap",
            ));
        }
        if head.version.len() > VERSION_MAX {
            return Err(Error::new(
                ErrorKind::Protocol,
                "list",
                "the list's version is too long",
            ));
        }
        let mut end = ListEnd::new(ResourceVersion::new(&head.version));
        if !head.continue_token.is_empty() {
            end.continue_token = Some(head.continue_token.as_str().into());
        }
        end.remaining = head.remaining;
        Ok(Listed::End(end))
    }

    /// Decompresses some more of what has arrived; how many bytes it came to.
    fn open(&mut self) -> Result<Option<usize>, Error> {
        let Some(gunzip) = &mut self.answer.gunzip else {
            return Ok(None);
        };
        let Some(piece) = gunzip.read().map_err(|error| garbled("list", error))? else {
            return Ok(None);
        };
        let size = piece.len();
        self.splitter.push_copied(piece);
        keep_start(
            &mut self.start,
            piece,
            &self.splitter,
            self.context.limits.error_bytes,
        );
        Ok(Some(size))
    }

    /// So many bytes have come.
    fn progress(&mut self, size: usize) -> Result<Listed<K>, Error> {
        self.bytes += size as u64;
        if self.context.limits.list_bytes.is_some_and(|max| self.bytes > max) {
            self.done = true;
            return Err(Error::new(
                ErrorKind::Oversize,
                "list",
                "the list is larger than its cap",
            ));
        }
        Ok(Listed::Progress(size as u64))
    }

    fn wants_metadata(&self) -> bool {
        self.context.metadata_only || self.purpose != Purpose::Contents
    }
}

fn read_item<K: Object>(
    context: &Context<K>,
    held: &Held<K>,
    purpose: Purpose,
    item: Scanned<'_>,
) -> Listed<K> {
    let envelope = Envelope::read(item.json);
    if context.is_elsewhere(&envelope) {
        return Listed::OtherShard;
    }
    let checked = context.check("list", &envelope).and_then(|()| {
        let foreign = purpose == Purpose::Contents && context.is_foreign(&envelope);
        if foreign {
            Err(Error::new(
                ErrorKind::WrongKind,
                "list",
                "the item is of another kind",
            ))
        } else if item.deepest > context.limits.depth {
            Err(too_deep("list"))
        } else if envelope.version.is_empty() {
            Err(Error::new(
                ErrorKind::Decode,
                "list",
                "the object has no resource version",
            ))
        } else {
            Ok(())
        }
    });
    if let Err(error) = checked {
        return Listed::Poison(context.poison(&envelope, error));
    }
    if purpose != Purpose::Contents {
        let Some(key) = envelope.key() else {
            return Listed::OtherShard;
        };
        let version = ResourceVersion::new(&envelope.version);
        return Listed::Seen(Seen::new(key.to_key(), &envelope.uid, version));
    }
    if let Some(item) = held_item(held, &envelope) {
        return Listed::Held(item);
    }
    let read = match item.index {
        Some(index) => context.decode("list", item.json, index, &envelope),
        None => context.look_and_decode("list", item.json, &envelope),
    };
    match read {
        Read::Item(item) => Listed::Object(item),
        Read::Poison(poison) => Listed::Poison(poison),
        Read::OtherShard => Listed::OtherShard,
    }
}

/// The object the store has already, if this is the same.
pub(super) fn held_item<K: Object>(held: &Held<K>, envelope: &Envelope<'_>) -> Option<Item<K>> {
    if envelope.uid.is_empty() || envelope.version.is_empty() {
        return None;
    }
    let key = envelope.key()?;
    let object = held.get(key, &envelope.uid, &envelope.version)?;
    let version = ResourceVersion::new(&envelope.version);
    Some(Item::with_key(key.to_key(), &envelope.uid, version, object))
}

impl<K: Object> Stream for ListBody<K> {
    type Item = Result<Listed<K>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done {
            return Poll::Ready(None);
        }
        if let Some(part) = this.part() {
            this.done = part.is_err();
            return Poll::Ready(Some(part));
        }
        loop {
            match this.open() {
                Ok(None) => {}
                Ok(Some(size)) => return Poll::Ready(Some(this.progress(size))),
                Err(error) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(error)));
                }
            }
            let Some(frame) = ready!(Pin::new(&mut this.answer.body).poll_frame(cx)) else {
                this.done = true;
                return Poll::Ready(Some(this.end()));
            };
            let data = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_)) => continue,
                Err(error) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(transport("list", error))));
                }
            };
            if let Some(gunzip) = &mut this.answer.gunzip {
                gunzip.push(data);
                continue;
            }
            let size = data.len();
            let max = this.context.limits.error_bytes;
            keep_start(&mut this.start, &data, &this.splitter, max);
            this.splitter.push(data);
            return Poll::Ready(Some(this.progress(size)));
        }
    }
}

/// Keeps as many of the first bytes as an error may have, until it is certain that there is none.
fn keep_start(start: &mut Vec<u8>, piece: &[u8], splitter: &Splitter, max: usize) {
    if splitter.head().has_items {
        *start = Vec::new();
        return;
    }
    let room = max.saturating_sub(start.len());
    start.extend_from_slice(&piece[..piece.len().min(room)]);
}
