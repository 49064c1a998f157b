//! [`ObjectKey`]: the name an object goes by in every layer, `<namespace>/<name>` or `<name>`.

use std::{
    cmp::Ordering,
    fmt,
    hash::{BuildHasher, Hash, Hasher},
    str::FromStr,
    sync::LazyLock,
};

use foldhash::fast::RandomState;
use smallvec::SmallVec;
use triomphe::{Arc, HeaderSlice};

/// One hasher for the whole process: a key is hashed once, when it is made, and carries the result along.
/// Seeded at random, since names are chosen by whoever may create objects.
static HASHER: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// The namespace and name of an object.
///
/// Made once per event and handed along from layer to layer: it holds its own hash, so no later table has to
/// compute it again, and cloning it copies no text. Ordered by namespace, then name; cluster-scoped keys come
/// first.
///
/// # Shape
/// 16 bytes and one shared allocation: the hash, and the text `<namespace>/<name>`.
///
/// # Examples
/// ```
/// use informer_store::ObjectKey;
///
/// let key: ObjectKey = "kube-system/coredns".parse()?;
/// assert_eq!((key.namespace(), key.name()), (Some("kube-system"), "coredns"));
/// assert_eq!(key, ObjectKey::namespaced("kube-system", "coredns"));
/// assert_eq!(ObjectKey::cluster("node-1").to_string(), "node-1");
/// # Ok::<(), informer_store::ParseKeyError>(())
/// ```
///
/// # Source
/// client-go `tools/cache/store.go` `ObjectName`, `MetaNamespaceKeyFunc`, `SplitMetaNamespaceKey`.
#[derive(Clone)]
pub struct ObjectKey(Arc<HeaderSlice<Head, str>>);

/// What a key knows of its text; bytes, so that the text follows without a gap.
struct Head {
    hash: [u8; 8],
    /// Bytes of the namespace; [`CLUSTER`] where there is none.
    split: [u8; 4],
}

const CLUSTER: u32 = u32::MAX;

impl ObjectKey {
    /// The key of `name` in `namespace`, or of a cluster-scoped object where `namespace` is `None` or empty.
    #[must_use]
    pub fn new(namespace: Option<&str>, name: &str) -> Self {
        match namespace {
            Some(namespace) => Self::namespaced(namespace, name),
            None => Self::cluster(name),
        }
    }

    /// The key of `name` in `namespace`, or of a cluster-scoped object where `namespace` is empty.
    ///
    /// # Panics
    /// If `namespace` is 4 GiB or longer.
    #[must_use]
    #[track_caller]
    pub fn namespaced(namespace: &str, name: &str) -> Self {
        if namespace.is_empty() {
            return Self::cluster(name);
        }
        // Put together on the stack: a key costs one allocation, its own.
        let mut text = SmallVec::<[u8; 128]>::with_capacity(namespace.len() + 1 + name.len());
        text.extend_from_slice(namespace.as_bytes());
        text.push(b'/');
        text.extend_from_slice(name.as_bytes());
        let text = str::from_utf8(&text).expect("two texts and a slash are a text");
        let split = u32::try_from(namespace.len())
            .ok()
            .filter(|split| *split != CLUSTER);
        let split = split.expect("a namespace is shorter than 4 GiB");
        Self::of(KeyRef::new(Some(namespace), name), split, text)
    }

    /// The key of a cluster-scoped object.
    #[must_use]
    pub fn cluster(name: &str) -> Self {
        Self::of(KeyRef::new(None, name), CLUSTER, name)
    }

    fn of(key: KeyRef<'_>, split: u32, text: &str) -> Self {
        let head = Head {
            hash: key.hash().to_ne_bytes(),
            split: split.to_ne_bytes(),
        };
        Self(Arc::from_header_and_str(head, text))
    }

    /// Bytes of the namespace; [`CLUSTER`] where there is none.
    #[inline]
    fn split(&self) -> u32 {
        u32::from_ne_bytes(self.0.header.split)
    }

    /// The namespace, `None` for a cluster-scoped object.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        let split = self.split();
        (split != CLUSTER).then(|| &self.as_str()[..split as usize])
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self.split() {
            CLUSTER => self.as_str(),
            split => &self.as_str()[split as usize + 1..],
        }
    }

    /// `<namespace>/<name>`, or `<name>` for a cluster-scoped object.
    #[must_use]
    #[inline]
    pub fn as_str(&self) -> &str {
        &self.0.slice
    }

    /// The same key, borrowed.
    #[must_use]
    pub fn as_ref(&self) -> KeyRef<'_> {
        KeyRef {
            namespace: self.namespace(),
            name: self.name(),
        }
    }

    /// The hash computed when the key was made; equal keys have equal hashes within one process.
    #[must_use]
    #[inline]
    pub fn precomputed_hash(&self) -> u64 {
        u64::from_ne_bytes(self.0.header.hash)
    }
}

/// A borrowed [`ObjectKey`], for lookups that allocate nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyRef<'a> {
    /// The namespace, `None` for a cluster-scoped object.
    pub namespace: Option<&'a str>,
    /// The name.
    pub name: &'a str,
}

impl<'a> KeyRef<'a> {
    /// A borrowed key; an empty namespace counts as none.
    #[must_use]
    #[inline]
    pub fn new(namespace: Option<&'a str>, name: &'a str) -> Self {
        Self {
            namespace: namespace.filter(|namespace| !namespace.is_empty()),
            name,
        }
    }

    /// Reads `<namespace>/<name>` or `<name>` without copying.
    ///
    /// # Errors
    /// [`ParseKeyError`] as for [`ObjectKey::from_str`].
    pub fn parse(text: &'a str) -> Result<Self, ParseKeyError> {
        let (namespace, name) = match text.split_once('/') {
            Some((namespace, name)) => (Some(namespace), name),
            None => (None, text),
        };
        if name.is_empty() || namespace == Some("") || name.contains('/') {
            return Err(ParseKeyError {
                text: text.chars().take(256).collect(),
            });
        }
        Ok(Self { namespace, name })
    }

    /// The hash that the equal [`ObjectKey`] carries.
    #[must_use]
    #[inline]
    pub fn hash(&self) -> u64 {
        let mut hasher = HASHER.build_hasher();
        // The hasher takes the length of each part in, so the border between the two needs no mark.
        if let Some(namespace) = self.namespace {
            hasher.write(namespace.as_bytes());
        }
        hasher.write(self.name.as_bytes());
        hasher.finish()
    }

    /// The owned key.
    #[must_use]
    pub fn to_key(&self) -> ObjectKey {
        ObjectKey::new(self.namespace, self.name)
    }
}

impl PartialEq<ObjectKey> for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &ObjectKey) -> bool {
        // Bytes, since slicing text would look for the borders of characters.
        let (text, name) = (other.as_str().as_bytes(), self.name.as_bytes());
        let Some(namespace) = self.namespace else {
            return text.len() == name.len() && other.split() == CLUSTER && text == name;
        };
        let Some((front, back)) = text.split_at_checked(namespace.len()) else {
            return false;
        };
        // The lengths first: they lie beside the pointer to the text, all else behind it.
        back.len() == name.len() + 1
            && other.split() as usize == namespace.len()
            && is_same_short(front, namespace.as_bytes())
            && back[1..] == *name
    }
}

/// Whether two texts of one length are the same, without a call where they are of the usual length of a namespace.
#[inline]
fn is_same_short(a: &[u8], b: &[u8]) -> bool {
    let ends = |text: &[u8]| Some((*text.first_chunk::<8>()?, *text.last_chunk::<8>()?));
    match ends(a).zip(ends(b)) {
        Some((a_ends, b_ends)) if a.len() <= 16 => a_ends == b_ends,
        _ => a == b,
    }
}

impl PartialEq for ObjectKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.as_str().len() == other.as_str().len()
                && self.0.header.hash == other.0.header.hash
                && self.0.header.split == other.0.header.split
                && self.as_str() == other.as_str())
    }
}

impl Eq for ObjectKey {}

impl Hash for ObjectKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.precomputed_hash());
    }
}

impl Ord for ObjectKey {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().cmp(&other.as_ref())
    }
}

impl PartialOrd for ObjectKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

impl FromStr for ObjectKey {
    type Err = ParseKeyError;

    /// Reads what [`Display`](fmt::Display) writes.
    ///
    /// # Errors
    /// [`ParseKeyError`] for an empty name or namespace, or more than one slash.
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        KeyRef::parse(text).map(|key| key.to_key())
    }
}

/// A text that is not `<namespace>/<name>` or `<name>`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed key {text:?}: expected <namespace>/<name> or <name>")]
pub struct ParseKeyError {
    text: String,
}
