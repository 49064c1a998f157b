//! [`Decode`]: how bytes become objects.

use std::{error::Error as StdError, fmt, marker::PhantomData, panic::AssertUnwindSafe, sync::Arc};

use serde::de::DeserializeOwned;

#[cfg(not(feature = "simd-json"))]
use crate::wire::reader::Reader;
use crate::wire::{
    index::Index,
    prune::{self, Hidden},
};

/// Makes an object out of the JSON of one.
///
/// # Contract
/// Called once per object received, never for one the store holds already. An error sets the object apart and
/// nothing else; a panic of user code within counts as an error.
pub trait Decode<K>: Send + Sync {
    /// Decodes one object.
    ///
    /// # Errors
    /// [`DecodeError`] where `json` is not a `K`. Its text must not repeat the object's contents.
    fn decode(&self, json: &[u8]) -> Result<K, DecodeError>;

    /// Decodes one object that has been looked through already, which [`Json`] makes use of.
    ///
    /// By default this is [`decode`](Self::decode), and its result is never another. Who wraps a decoder should hand
    /// this on as well.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    fn decode_indexed(&self, object: &Indexed<'_>) -> Result<K, DecodeError> {
        self.decode(object.json)
    }
}

impl<K, D: Decode<K> + ?Sized> Decode<K> for Arc<D> {
    fn decode(&self, json: &[u8]) -> Result<K, DecodeError> {
        (**self).decode(json)
    }

    fn decode_indexed(&self, object: &Indexed<'_>) -> Result<K, DecodeError> {
        (**self).decode_indexed(object)
    }
}

/// The JSON of one object and where its strings and brackets are.
///
/// Finding the end of an object in a list takes a look at each of its bytes; this is what was seen.
#[derive(Clone, Copy)]
pub struct Indexed<'a> {
    json: &'a [u8],
    #[cfg_attr(
        feature = "simd-json",
        expect(dead_code, reason = "simd-json makes one of its own")
    )]
    index: &'a Index,
}

impl<'a> Indexed<'a> {
    /// `index` belongs to `json`.
    pub(crate) fn new(json: &'a [u8], index: &'a Index) -> Self {
        Self { json, index }
    }

    /// The JSON.
    #[must_use]
    pub fn json(&self) -> &'a [u8] {
        self.json
    }
}

impl fmt::Debug for Indexed<'_> {
    /// Nothing of the object's contents.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Indexed")
            .field("bytes", &self.json.len())
            .finish_non_exhaustive()
    }
}

/// Why an object could not be decoded.
#[derive(Debug)]
pub struct DecodeError(Box<dyn StdError + Send + Sync>);

impl DecodeError {
    /// An error with its cause.
    #[must_use]
    pub fn new(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(cause.into())
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the object cannot be decoded")
    }
}

impl StdError for DecodeError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&*self.0)
    }
}

/// Decodes with a reader of our own on top of `serde_json`, or with simd-json if the feature of that name is on. Either
/// way every array is allocated at its size.
///
/// Leaves out `metadata.managedFields` unless told otherwise: it is a third of a typical object and hardly anybody
/// reads it. What is left out is never allocated.
///
/// # What is checked
/// Everything that is read is JSON. Of what is left out, and of members that the type does not have, a string, a number
/// or a word is JSON as well; of an object or an array only the strings and brackets are looked at: each bracket must
/// be closed by one of its own kind, so that what follows is what it seems to be. Commas, colons, names, numbers, words
/// and escapes *inside* of it are not checked, where `serde_json` would: `"managedFields":[1,,2]` is passed over. To
/// check them as well took 8 % more instructions for a typical pod of which only `managedFields` is left out, and 89 %
/// more for one of which next to nothing is read. With simd-json everything is checked.
pub struct Json<K> {
    hidden: Hidden,
    #[cfg(feature = "simd-json")]
    scratch: std::sync::Mutex<Scratch>,
    kind: PhantomData<fn() -> K>,
}

#[cfg(feature = "simd-json")]
#[derive(Default)]
struct Scratch {
    json: Vec<u8>,
    buffers: simd_json::Buffers,
}

impl<K> Json<K> {
    /// Leaves out `metadata.managedFields`.
    #[must_use]
    pub fn new() -> Self {
        Self::whole().hide(["metadata", "managedFields"])
    }

    /// Leaves nothing out.
    #[must_use]
    pub fn whole() -> Self {
        Self {
            hidden: Hidden::default(),
            #[cfg(feature = "simd-json")]
            scratch: std::sync::Mutex::default(),
            kind: PhantomData,
        }
    }

    /// Leaves out the member at `path` as well; lists on the way are stepped through: `["spec", "containers",
    /// "env"]` hides the environment of every container. The object must decode without it.
    #[must_use]
    pub fn hide<S: Into<Box<str>>>(mut self, path: impl IntoIterator<Item = S>) -> Self {
        self.hidden.add(path);
        self
    }
}

impl<K> Default for Json<K> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K> fmt::Debug for Json<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Json")
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

impl<K: DeserializeOwned> Decode<K> for Json<K> {
    #[cfg(not(feature = "simd-json"))]
    fn decode(&self, json: &[u8]) -> Result<K, DecodeError> {
        self.decode_indexed(&Indexed::new(json, &Index::new(json)))
    }

    #[cfg(not(feature = "simd-json"))]
    fn decode_indexed(&self, object: &Indexed<'_>) -> Result<K, DecodeError> {
        // One check of the whole text is cheaper than one of every string in it.
        let text = simdutf8::basic::from_utf8(object.json).map_err(DecodeError::new)?;
        let mut reader = Reader::new(text, object.index);
        let mut object = prune::deserialize(&mut reader, &self.hidden);
        // An object is large: it is not moved for what is looked at in passing.
        if object.is_ok()
            && let Err(error) = reader.end()
        {
            object = Err(error);
        }
        object.map_err(DecodeError::new)
    }

    #[cfg(feature = "simd-json")]
    fn decode(&self, json: &[u8]) -> Result<K, DecodeError> {
        let mut scratch = self
            .scratch
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let Scratch { json: copy, buffers } = &mut *scratch;
        copy.clear();
        copy.extend_from_slice(json);
        let mut reader = simd_json::Deserializer::from_slice_with_buffers(copy, buffers).map_err(mute)?;
        prune::deserialize(&mut reader, &self.hidden).map_err(mute)
    }
}

/// A decoder's text may quote what it met.
#[cfg(feature = "simd-json")]
fn mute(error: simd_json::Error) -> DecodeError {
    let path = missing(&error.to_string());
    DecodeError::new(format!("the JSON is malformed or a member is wrong{path}"))
}

/// Names of fields are the schema's, not the object's: they may be told.
#[cfg(feature = "simd-json")]
fn missing(text: &str) -> String {
    ["missing field `", "duplicate field `"]
        .iter()
        .find_map(|prefix| {
            let name = text.split_once(prefix)?.1.split('`').next()?;
            Some(format!(": {prefix}{name}`"))
        })
        .unwrap_or_default()
}

/// Decodes and then changes: once per object, before anybody sees it.
pub(crate) struct Transformed<K> {
    pub(crate) inner: Arc<dyn Decode<K>>,
    pub(crate) transform: Transform<K>,
}

type Transform<K> = Box<dyn Fn(&mut K) -> Result<(), DecodeError> + Send + Sync>;

impl<K> Decode<K> for Transformed<K> {
    fn decode(&self, json: &[u8]) -> Result<K, DecodeError> {
        self.change(self.inner.decode(json)?)
    }

    fn decode_indexed(&self, object: &Indexed<'_>) -> Result<K, DecodeError> {
        self.change(self.inner.decode_indexed(object)?)
    }
}

impl<K> Transformed<K> {
    fn change(&self, mut object: K) -> Result<K, DecodeError> {
        let changed = std::panic::catch_unwind(AssertUnwindSafe(|| (self.transform)(&mut object)));
        match changed {
            Ok(done) => done.map(|()| object),
            Err(_) => Err(DecodeError::new("the transform panicked")),
        }
    }
}
