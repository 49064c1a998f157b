//! [`Context`]: what the objects of an answer are read with, one by one.

use std::sync::{Arc, OnceLock};

use informer_store::{Object, ResourceVersion};

use super::{Limits, Shard, ground::Ground};
use crate::{
    Decode, Error, ErrorKind, Item, Poison,
    decode::{DecodeError, Indexed},
    wire::{envelope::Envelope, index::Index, scan::Skipper},
};

/// What the answers are read with.
pub(super) struct Context<K> {
    pub(super) decode: Arc<dyn Decode<K>>,
    pub(super) limits: Limits,
    pub(super) namespace: Option<Arc<str>>,
    pub(super) kind: Arc<str>,
    /// Where the name of the kind was not given: learned from the first object that can only be of it.
    pub(super) learned: Arc<OnceLock<Box<str>>>,
    pub(super) plural: Arc<str>,
    pub(super) api_version: Arc<str>,
    pub(super) metadata_only: bool,
    pub(super) require_uid: bool,
    /// Whether objects are selected by labels or fields.
    pub(super) selects: bool,
    pub(super) shard: Option<Arc<Shard>>,
    pub(super) ground: Ground,
}

/// What an object's bytes turned out to be.
pub(super) enum Read<K> {
    Item(Item<K>),
    Poison(Poison),
    OtherShard,
}

impl<K: Object> Context<K> {
    /// Reads one object.
    pub(super) fn read(&self, operation: &'static str, json: &[u8]) -> Read<K> {
        let envelope = Envelope::read(json);
        if self.is_elsewhere(&envelope) {
            return Read::OtherShard;
        }
        if let Err(error) = self.check(operation, &envelope) {
            return Read::Poison(self.poison(&envelope, error));
        }
        self.look_and_decode(operation, json, &envelope)
    }

    /// Decodes one object that nobody has looked through yet, unless it nests too deep.
    pub(super) fn look_and_decode(
        &self,
        operation: &'static str,
        json: &[u8],
        envelope: &Envelope<'_>,
    ) -> Read<K> {
        let (mut skipper, mut index) = (Skipper::default(), Index::with_room_for(json.len()));
        skipper.feed_whole(json, &mut index);
        if skipper.deepest() > self.limits.depth {
            return Read::Poison(self.poison(envelope, too_deep(operation)));
        }
        self.decode(operation, json, &index, envelope)
    }

    /// Decodes one object with its index.
    pub(super) fn decode(
        &self,
        operation: &'static str,
        json: &[u8],
        index: &Index,
        envelope: &Envelope<'_>,
    ) -> Read<K> {
        // The object's own block of memory is asked for first and given back for it last.
        let place = self.ground.prepare(size_of::<K>() + ARC_COUNTS);
        let mut decoded = None;
        let mut refused = None;
        let mut contradicts = false;
        let decode = || {
            let object = self.decode.decode_indexed(&Indexed::new(json, index));
            drop(std::hint::black_box(place));
            // Two places of one word each, for the reason that `Reader::owned` has.
            match object.map(Arc::new) {
                Ok(object) => {
                    contradicts = is_another(&*object, envelope);
                    decoded = Some(object);
                }
                Err(error) => refused = Some(error),
            }
        };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)).is_err() {
            refused = Some(DecodeError::new("the decoder panicked"));
        }
        let decoded = match (decoded, refused) {
            (Some(object), None) => Ok(object),
            (_, refused) => Err(refused.unwrap_or_else(|| DecodeError::new("the decoder panicked"))),
        };
        match (decoded, envelope.key()) {
            (Ok(_), Some(_)) if contradicts => {
                let error = Error::new(
                    ErrorKind::Decode,
                    operation,
                    "the object's metadata contradicts itself",
                );
                Read::Poison(self.poison(envelope, error))
            }
            (Ok(object), Some(key)) => Read::Item(Item::with_key(
                key.to_key(),
                &envelope.uid,
                ResourceVersion::new(&envelope.version),
                object,
            )),
            (Ok(_), None) => {
                let error = Error::new(ErrorKind::Decode, operation, "the object has no usable name");
                Read::Poison(self.poison(envelope, error))
            }
            (Err(error), _) => {
                let why = std::error::Error::source(&error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let error = Error::new(ErrorKind::Decode, operation, why).caused_by(error);
                Read::Poison(self.poison(envelope, error))
            }
        }
    }

    /// Whether the envelope is that of an object asked for.
    pub(super) fn check(&self, operation: &'static str, envelope: &Envelope<'_>) -> Result<(), Error> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Decode, operation, message));
        if envelope.key().is_none() {
            return wrong("the object has no usable name");
        }
        if self.require_uid && envelope.uid.is_empty() {
            return wrong("the object has no uid");
        }
        if envelope.version.len() > VERSION_MAX {
            return wrong("the object's version is too long");
        }
        if self
            .namespace
            .as_deref()
            .is_some_and(|namespace| namespace != envelope.namespace)
        {
            return wrong("the object is in another namespace than was asked for");
        }
        Ok(())
    }

    /// Whether the kind, where one is told, is another than was asked for.
    pub(super) fn is_foreign(&self, envelope: &Envelope<'_>) -> bool {
        if self.metadata_only {
            return !envelope.kind.is_empty() && envelope.kind != "PartialObjectMetadata";
        }
        let kind = &*envelope.kind;
        (!kind.is_empty() && (!self.is_of_kind(kind) || !self.is_like_the_others(kind)))
            || (!envelope.api_version.is_empty() && *envelope.api_version != *self.api_version)
    }

    /// Whether objects may call themselves `kind`. Where the name of the kind is not known, only what can be no
    /// object is refused.
    pub(super) fn is_of_kind(&self, kind: &str) -> bool {
        if self.kind.is_empty() {
            !is_no_object(kind)
        } else {
            *kind == *self.kind
        }
    }

    /// Where the name of the kind is not known: whether `kind` is the one whose plural was asked for, once an object
    /// of that kind has been seen. Plurals are not always regular; until then nothing is held against a kind.
    fn is_like_the_others(&self, kind: &str) -> bool {
        if !self.kind.is_empty() {
            return true;
        }
        if let Some(learned) = self.learned.get() {
            return **learned == *kind;
        }
        if is_regular_plural(kind, &self.plural) {
            // Whoever was first learned the same.
            let _ = self.learned.set(kind.into());
        }
        true
    }

    pub(super) fn is_elsewhere(&self, envelope: &Envelope<'_>) -> bool {
        self.shard
            .as_ref()
            .is_some_and(|shard| !shard.has(&envelope.uid, &envelope.namespace))
    }

    pub(super) fn poison(&self, envelope: &Envelope<'_>, error: Error) -> Poison {
        let key = envelope.key().map(|key| key.to_key());
        Poison::new(key, version_of(envelope), error)
    }
}

impl<K> Clone for Context<K> {
    fn clone(&self) -> Self {
        Self {
            decode: Arc::clone(&self.decode),
            limits: self.limits,
            namespace: self.namespace.clone(),
            kind: Arc::clone(&self.kind),
            learned: Arc::clone(&self.learned),
            plural: Arc::clone(&self.plural),
            api_version: Arc::clone(&self.api_version),
            metadata_only: self.metadata_only,
            require_uid: self.require_uid,
            selects: self.selects,
            shard: self.shard.clone(),
            // Each answer's objects are decoded in one row.
            ground: Ground::default(),
        }
    }
}

/// Whether what was decoded calls itself otherwise than its envelope: a member may be there twice, and its readers need
/// not agree on which of them counts.
fn is_another<K: Object>(object: &K, envelope: &Envelope<'_>) -> bool {
    let differs = |told: Option<&str>, read: &str| told.is_some_and(|told| !told.is_empty() && told != read);
    differs(object.name(), &envelope.name)
        || differs(object.namespace(), &envelope.namespace)
        || differs(object.uid(), &envelope.uid)
        || differs(object.resource_version(), &envelope.version)
}

pub(super) fn too_deep(operation: &'static str) -> Error {
    Error::new(ErrorKind::Decode, operation, "the object nests too deep")
}

/// Whether this is the kind of what is no object: an answer in another form than was asked for.
pub(super) fn is_no_object(kind: &str) -> bool {
    matches!(kind, "Table" | "Status" | "PartialObjectMetadata")
}

/// Whether `plural` is how the plural of `kind` is formed as a rule.
fn is_regular_plural(kind: &str, plural: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let Some(ending) = plural.strip_prefix(kind.trim_end_matches('y')) else {
        return false;
    };
    if kind.ends_with('y') {
        matches!(ending, "ies" | "ys")
    } else {
        matches!(ending, "" | "s" | "es")
    }
}

/// The version told, unless it is too long to be one.
pub(super) fn version_of(envelope: &Envelope<'_>) -> ResourceVersion {
    if envelope.version.len() > VERSION_MAX {
        ResourceVersion::UNSET
    } else {
        ResourceVersion::new(&envelope.version)
    }
}

/// What an `Arc` adds to what it holds.
const ARC_COUNTS: usize = 2 * size_of::<usize>();
/// Digits of the longest version taken for one.
pub(super) const VERSION_MAX: usize = 39;
