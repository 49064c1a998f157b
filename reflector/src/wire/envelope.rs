//! [`Envelope`]: name, uid and version of an object, read without decoding it.

use std::borrow::Cow;

use informer_store::KeyRef;

use super::scan::{Members, read_string};

/// What the pipeline must know of an object before anybody decodes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Envelope<'a> {
    pub(crate) kind: Cow<'a, str>,
    pub(crate) api_version: Cow<'a, str>,
    pub(crate) name: Cow<'a, str>,
    pub(crate) namespace: Cow<'a, str>,
    pub(crate) uid: Cow<'a, str>,
    pub(crate) version: Cow<'a, str>,
}

impl<'a> Envelope<'a> {
    /// Reads as far as needed; what cannot be read stays empty. The object may be cut off or garbled.
    pub(crate) fn read(json: &'a [u8]) -> Self {
        let mut envelope = Self::default();
        let Some(mut members) = Members::new(json) else {
            return envelope;
        };
        while let Some(key) = members.next_key() {
            match key {
                b"kind" => envelope.kind = text(members.value()),
                b"apiVersion" => envelope.api_version = text(members.value()),
                b"metadata" => {
                    envelope.read_metadata(members.value());
                    if !envelope.kind.is_empty() || !envelope.version.is_empty() {
                        // The kind comes before the metadata or, in lists of built-in kinds, not at all.
                        return envelope;
                    }
                }
                _ => {}
            }
            if members.skip_value().is_none() {
                break;
            }
        }
        envelope
    }

    fn read_metadata(&mut self, json: &'a [u8]) {
        let Some(mut members) = Members::new(json) else {
            return;
        };
        let mut wanted = 4;
        while let Some(key) = members.next_key() {
            let slot = match key {
                b"name" => Some(&mut self.name),
                b"namespace" => Some(&mut self.namespace),
                b"uid" => Some(&mut self.uid),
                b"resourceVersion" => Some(&mut self.version),
                _ => None,
            };
            if let Some(slot) = slot {
                // One that is there twice leaves as many to be found.
                wanted -= usize::from(slot.is_empty());
                *slot = text(members.value());
                if wanted == 0 {
                    return;
                }
            }
            if members.skip_value().is_none() {
                return;
            }
        }
    }

    /// The key, if there is a name that can be part of one.
    pub(crate) fn key(&self) -> Option<KeyRef<'_>> {
        let whole = !self.name.is_empty() && !self.name.contains('/') && !self.namespace.contains('/');
        whole.then(|| KeyRef::new(Some(&*self.namespace), &self.name))
    }
}

/// What a bookmark says.
pub(crate) fn ends_initial_events(json: &[u8]) -> bool {
    member(json, b"metadata")
        .and_then(|metadata| member(metadata, b"annotations"))
        .and_then(|annotations| member(annotations, b"k8s.io/initial-events-end"))
        .and_then(read_string)
        .is_some_and(|value| value == "true")
}

/// Whether an object is marked for deletion.
pub(crate) fn is_marked_for_deletion(json: &[u8]) -> bool {
    member(json, b"metadata")
        .and_then(|metadata| member(metadata, b"deletionTimestamp"))
        .is_some_and(|value| value.starts_with(b"\""))
}

/// What begins with the value of the member of this name.
fn member<'a>(json: &'a [u8], wanted: &[u8]) -> Option<&'a [u8]> {
    let mut members = Members::new(json)?;
    while let Some(key) = members.next_key() {
        if key == wanted {
            return Some(members.value());
        }
        members.skip_value()?;
    }
    None
}

fn text(json: &[u8]) -> Cow<'_, str> {
    read_string(json).unwrap_or_default()
}
