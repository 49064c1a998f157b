//! [`WatchBody`]: the events of a watch as its bytes arrive.

use std::{
    pin::Pin,
    task::{Context as TaskContext, Poll, ready},
};

use bytes::Bytes;
use futures::Stream;
use http_body::Body as _;
use informer_store::Object;
use serde::de::IgnoredAny;

use super::{
    answer::{Answer, Status, garbled, transport},
    context::{Context, Read, is_no_object, version_of},
    list::held_item,
};
use crate::{
    Error, ErrorKind, Event, Held, Poison, Seen,
    wire::{
        envelope::{Envelope, ends_initial_events, is_marked_for_deletion},
        event::{EventType, exactly, first_end, is_several, split, split_beginning},
        lines::Lines,
    },
};

pub(super) struct WatchBody<K> {
    answer: Answer,
    context: Context<K>,
    /// What the store holds, until the initial events have ended.
    held: Option<Held<K>>,
    lines: Lines,
    /// What is left of a line with several events on it.
    glued: Bytes,
    /// Whether a first line has come that was no page of HTML.
    begun: bool,
    done: bool,
}

impl<K: Object> WatchBody<K> {
    pub(super) fn new(answer: Answer, context: Context<K>, held: Option<Held<K>>) -> Self {
        Self {
            lines: Lines::new(context.limits.object_bytes),
            answer,
            context,
            held,
            glued: Bytes::new(),
            begun: false,
            done: false,
        }
    }

    fn event(&mut self) -> Option<Result<Event<K>, Error>> {
        if !self.glued.is_empty() {
            return Some(self.next_glued());
        }
        match self.lines.next_line() {
            Ok(None) => None,
            Ok(Some(line)) if !self.begun && line.first() == Some(&b'<') => Some(Err(Error::new(
                ErrorKind::Protocol,
                "watch",
                "the answer is no stream of events; is a proxy or a login page in the way?",
            ))),
            Ok(Some(line)) => {
                self.begun = true;
                let event = read_line(&self.context, self.held.as_ref(), line);
                if matches!(event, Ok(Event::Unreadable(_))) && is_several(line) {
                    self.glued = Bytes::copy_from_slice(line);
                    return Some(self.next_glued());
                }
                Some(self.seen(event))
            }
            Err(_) => {
                let error = Error::new(ErrorKind::Oversize, "watch", "a line is larger than its cap");
                let head = self.lines.rest();
                Some(Ok(unreadable(
                    &self.context,
                    &head[..head.len().min(HEAD)],
                    error,
                )))
            }
        }
    }

    /// The next of several events on one line.
    fn next_glued(&mut self) -> Result<Event<K>, Error> {
        let first = self.glued.split_to(first_end(&self.glued));
        let event = read_line(&self.context, self.held.as_ref(), &first);
        self.seen(event)
    }

    fn seen(&mut self, event: Result<Event<K>, Error>) -> Result<Event<K>, Error> {
        if let Ok(Event::Bookmark {
            initial_events_end: true,
            ..
        }) = event
        {
            self.held = None;
        }
        event
    }

    /// The body has ended. A line without its end counts only if it is a whole event: a part of one never is.
    fn last(&mut self) -> Option<Result<Event<K>, Error>> {
        if !self.lines.is_partial() {
            return None;
        }
        let line = self.lines.rest().trim_ascii();
        if is_several(line) {
            self.glued = Bytes::copy_from_slice(line);
            return Some(self.next_glued());
        }
        if serde_json::from_slice::<IgnoredAny>(line).is_err() {
            return Some(Err(Error::new(
                ErrorKind::Transport,
                "watch",
                "the watch ended in the middle of an event",
            )));
        }
        Some(read_line(&self.context, self.held.as_ref(), line))
    }
}

fn read_line<K: Object>(
    context: &Context<K>,
    held: Option<&Held<K>>,
    line: &[u8],
) -> Result<Event<K>, Error> {
    let Some((kind, object)) = split(line) else {
        let error = Error::new(ErrorKind::Protocol, "watch", "a line is no event");
        return Ok(unreadable(context, line, error));
    };
    match kind {
        EventType::Error => return read_error(context, line, object),
        EventType::Unknown => {
            let error = Error::new(ErrorKind::Protocol, "watch", "an event is of an unknown type");
            return Ok(unreadable(context, object, error));
        }
        _ => {}
    }
    let envelope = Envelope::read(object);
    if context.is_foreign(&envelope) {
        let message = format!("the watch sends {:.64}, not {}", envelope.kind, context.kind);
        let error = Error::new(ErrorKind::WrongKind, "watch", message);
        // One stray object is set apart; anything else means that the whole answer is not what was asked for.
        let stray = kind != EventType::Bookmark
            && !is_no_object(&envelope.kind)
            && envelope.key().is_some()
            && serde_json::from_slice::<IgnoredAny>(line).is_ok();
        return if stray {
            Ok(Event::Poison(context.poison(&envelope, error)))
        } else {
            Err(error)
        };
    }
    if kind == EventType::Bookmark {
        if serde_json::from_slice::<IgnoredAny>(line).is_err() {
            let error = Error::new(ErrorKind::Protocol, "watch", "a bookmark is garbled");
            return Ok(unreadable(context, object, error));
        }
        return Ok(Event::Bookmark {
            version: version_of(&envelope),
            initial_events_end: ends_initial_events(object),
        });
    }
    // Where two objects touch there is more on the line than one event: no short cut then.
    let single = || memchr::memmem::find(line, b"}{").is_none();
    // Where no uid can be read it says nothing of the shard, unless there is none.
    let tells = || !envelope.uid.is_empty() || serde_json::from_slice::<IgnoredAny>(line).is_ok();
    if context.is_elsewhere(&envelope) && single() && tells() {
        return Ok(Event::OtherShard(version_of(&envelope)));
    }
    if kind == EventType::Added
        && single()
        && let Some(item) = held.and_then(|held| held_item(held, &envelope))
    {
        return Ok(Event::Added(item));
    }
    let read = match context.check("watch", &envelope) {
        Ok(()) => match context.look_and_decode("watch", object, &envelope) {
            // Members behind the object are rare enough to be looked for only now.
            Read::Poison(poison) => match exactly(line) {
                Some((_, shorter)) if shorter.len() < object.len() && Envelope::read(shorter) == envelope => {
                    context.look_and_decode("watch", shorter, &envelope)
                }
                _ => Read::Poison(poison),
            },
            read => read,
        },
        Err(error) => Read::Poison(context.poison(&envelope, error)),
    };
    let may_live = || context.selects && !is_marked_for_deletion(object);
    match (kind, read) {
        (EventType::Added, Read::Item(item)) => Ok(Event::Added(item)),
        (EventType::Deleted, Read::Item(item)) => Ok(Event::Deleted(item.or_left_selector(may_live()))),
        (_, Read::Item(item)) => Ok(Event::Modified(item)),
        (_, Read::OtherShard) => Ok(Event::OtherShard(version_of(&envelope))),
        // A line that is no JSON says nothing for certain, whatever its beginning looks like.
        (_, Read::Poison(poison)) if serde_json::from_slice::<IgnoredAny>(line).is_err() => {
            Ok(Event::Unreadable(poison))
        }
        (EventType::Deleted, Read::Poison(poison)) => Ok(match poison.key {
            Some(key) => {
                let seen = Seen::new(key, &envelope.uid, poison.version);
                Event::Gone(seen.or_left_selector(may_live()))
            }
            None => Event::Unreadable(poison),
        }),
        (_, Read::Poison(poison)) => Ok(Event::Poison(poison)),
    }
}

/// An error that cannot be understood is a line that cannot be read: it may be the word that the version has expired.
fn read_error<K: Object>(context: &Context<K>, line: &[u8], object: &[u8]) -> Result<Event<K>, Error> {
    let error = match serde_json::from_slice::<Status>(object) {
        Ok(status) if serde_json::from_slice::<IgnoredAny>(line).is_ok() => status.error("watch", 0, None),
        _ => Error::new(ErrorKind::Protocol, "watch", "an error event is garbled"),
    };
    if error.kind() == ErrorKind::Protocol {
        return Ok(unreadable(context, object, error));
    }
    Err(error)
}

/// A line nothing of which is certain; its name helps if it comes again.
fn unreadable<K: Object>(context: &Context<K>, json: &[u8], error: Error) -> Event<K> {
    let (kind, object) = split_beginning(json).unwrap_or((EventType::Unknown, json));
    let envelope = Envelope::read(object);
    // What cannot be read of an object that is gone is no reason to set it apart: a list tells that it is.
    let error = if kind == EventType::Deleted && error.kind() == ErrorKind::Oversize {
        error.into_kind(ErrorKind::Protocol)
    } else {
        error
    };
    let poison: Poison = context.poison(&envelope, error);
    Event::Unreadable(poison)
}

impl<K: Object> Stream for WatchBody<K> {
    type Item = Result<Event<K>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.done && this.glued.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(event) = this.event() {
            if matches!(event, Err(_) | Ok(Event::Unreadable(_))) {
                this.done = true;
                this.glued.clear();
            }
            return Poll::Ready(Some(event));
        }
        loop {
            if let Some(gunzip) = &mut this.answer.gunzip {
                match gunzip.read() {
                    Ok(None) => {}
                    Ok(Some(piece)) => {
                        let bytes = piece.len() as u64;
                        this.lines.push(piece);
                        let partial = this.lines.is_partial();
                        return Poll::Ready(Some(Ok(Event::Progress { bytes, partial })));
                    }
                    Err(error) => {
                        this.done = true;
                        return Poll::Ready(Some(Err(garbled("watch", error))));
                    }
                }
            }
            let Some(frame) = ready!(Pin::new(&mut this.answer.body).poll_frame(cx)) else {
                this.done = true;
                let last = this.last();
                if matches!(last, Some(Err(_) | Ok(Event::Unreadable(_)))) {
                    this.glued.clear();
                }
                return Poll::Ready(last);
            };
            let data = match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => data,
                Ok(Err(_)) => continue,
                Err(error) => {
                    this.done = true;
                    return Poll::Ready(Some(Err(transport("watch", error))));
                }
            };
            if let Some(gunzip) = &mut this.answer.gunzip {
                gunzip.push(data);
                continue;
            }
            this.lines.push(&data);
            return Poll::Ready(Some(Ok(Event::Progress {
                bytes: data.len() as u64,
                partial: this.lines.is_partial(),
            })));
        }
    }
}

/// How much of a line is looked at to find a name in it.
const HEAD: usize = 64 * 1024;
