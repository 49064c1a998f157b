//! [`Interner`]: one copy of every text that many objects share.

use std::{
    fmt,
    hash::BuildHasher,
    sync::{Arc, LazyLock, Mutex, PoisonError},
};

use foldhash::quality::RandomState;
use hashbrown::HashTable;
use serde::de::{Deserializer, Error, Visitor};

/// Keeps one copy of every text: names of nodes, namespaces and images repeat in thousands of objects.
///
/// A slim type takes its strings as `Arc<str>` and reads them with [`shared`](Self::shared).
///
/// # Memory
/// Texts that nobody else holds any more are dropped whenever the table has doubled.
///
/// # Examples
/// ```
/// use std::sync::Arc;
/// use informer_reflector::Interner;
///
/// #[derive(serde::Deserialize)]
/// struct Spec {
///     #[serde(deserialize_with = "Interner::shared")]
///     node: Arc<str>,
/// }
///
/// let read = |json| serde_json::from_str::<Spec>(json);
/// let (one, other) = (read(r#"{"node":"n1"}"#)?, read(r#"{"node":"n1"}"#)?);
/// assert!(Arc::ptr_eq(&one.node, &other.node));
/// # Ok::<(), serde_json::Error>(())
/// ```
pub struct Interner {
    hasher: RandomState,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    texts: HashTable<Arc<str>>,
    /// At how many texts those that nobody holds are dropped.
    sweep_at: usize,
}

/// One for the whole process, for [`Interner::shared`].
static SHARED: LazyLock<Interner> = LazyLock::new(Interner::new);

impl Interner {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self {
            hasher: RandomState::default(),
            table: Mutex::default(),
        }
    }

    /// The one copy of `text`.
    #[must_use]
    pub fn intern(&self, text: &str) -> Arc<str> {
        let hash = self.hasher.hash_one(text);
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = table.texts.find(hash, |known| **known == *text) {
            return Arc::clone(known);
        }
        if table.texts.len() >= table.sweep_at {
            table.texts.retain(|text| Arc::strong_count(text) > 1);
            table.sweep_at = (table.texts.len() * 2).max(SWEEP_MIN);
        }
        let text: Arc<str> = text.into();
        table
            .texts
            .insert_unique(hash, Arc::clone(&text), |text| self.hasher.hash_one(&**text));
        text
    }

    /// How many texts it keeps.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .texts
            .len()
    }

    /// Whether it keeps none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Reads a text through the interner of the process, for `#[serde(deserialize_with = "Interner::shared")]`.
    ///
    /// # Errors
    /// Where there is no text.
    pub fn shared<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Arc<str>, D::Error> {
        struct Text;

        impl Visitor<'_> for Text {
            type Value = Arc<str>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Arc<str>, E> {
                Ok(SHARED.intern(text))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

impl Default for Interner {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Interner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interner").field("texts", &self.len()).finish()
    }
}

/// Below this many texts a sweep is not worth its while.
const SWEEP_MIN: usize = 1024;
