//! [`Scope`]: where the objects of a source may be, as far as they tell.

use informer_store::ObjectKey;

/// In which namespaces the objects are that a source has brought: most sources share none, and need not be asked about
/// the keys of others.
#[derive(Clone, Debug, Default)]
pub(super) enum Scope {
    #[default]
    Nowhere,
    /// In that of this object, or like it in none.
    With(ObjectKey),
    Anywhere,
}

impl Scope {
    /// Takes in that the source has brought `key`.
    pub(super) fn widen(&mut self, key: &ObjectKey) {
        match self {
            Self::Nowhere => *self = Self::With(key.clone()),
            Self::With(known) if known.namespace() != key.namespace() => *self = Self::Anywhere,
            Self::With(_) | Self::Anywhere => {}
        }
    }

    /// Whether the source may have brought `key`.
    pub(super) fn may_have(&self, key: &ObjectKey) -> bool {
        match self {
            Self::Nowhere => false,
            Self::With(known) => known.namespace() == key.namespace(),
            Self::Anywhere => true,
        }
    }

    /// Whether both may have brought the same.
    pub(super) fn meets(&self, other: &Self) -> bool {
        match self {
            Self::Nowhere => false,
            Self::With(key) => other.may_have(key),
            Self::Anywhere => !matches!(other, Self::Nowhere),
        }
    }
}
