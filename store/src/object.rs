//! [`Object`]: what a value must offer to be cached.

use std::fmt;

use kube_core::Resource;

use crate::{ObjectKey, ResourceVersion};

/// What the pipeline must know of a value to cache it.
///
/// Implemented for every kube [`Resource`]: typed kinds, `DynamicObject`, `PartialObjectMeta`, derived custom
/// resources. A slim type of your own implements the first four methods and, if label or owner indexes are
/// wanted, the rest.
///
/// # Examples
/// ```
/// use informer_store::Object;
///
/// /// All that one controller needs of a pod.
/// struct SlimPod { namespace: String, name: String, uid: String, version: String }
///
/// impl Object for SlimPod {
///     fn namespace(&self) -> Option<&str> { Some(&self.namespace) }
///     fn name(&self) -> Option<&str> { Some(&self.name) }
///     fn uid(&self) -> Option<&str> { Some(&self.uid) }
///     fn resource_version(&self) -> Option<&str> { Some(&self.version) }
/// }
/// ```
pub trait Object: Send + Sync + 'static {
    /// The namespace; `None` or empty for a cluster-scoped object.
    fn namespace(&self) -> Option<&str>;

    /// The name; `None` or empty makes the object uncacheable, a [`KeyError`].
    fn name(&self) -> Option<&str>;

    /// The uid, which tells an object from a later one of the same name; `None` or empty where it is not known.
    fn uid(&self) -> Option<&str>;

    /// The resource version the object was last written at.
    fn resource_version(&self) -> Option<&str>;

    /// The value of one label.
    fn label(&self, _key: &str) -> Option<&str> {
        None
    }

    /// Calls `visit` with each label's key and value.
    fn each_label(&self, _visit: &mut dyn FnMut(&str, &str)) {}

    /// Calls `visit` with each owner reference.
    fn each_owner(&self, _visit: &mut dyn FnMut(OwnerRef<'_>)) {}

    /// The key under which the object is cached: `<namespace>/<name>`.
    ///
    /// # Errors
    /// [`KeyError`] where the object has no name.
    fn key(&self) -> Result<ObjectKey, KeyError> {
        match self.name() {
            Some(name) if !name.is_empty() => Ok(ObjectKey::new(self.namespace(), name)),
            _ => Err(KeyError::NoName),
        }
    }

    /// The resource version, read; [`ResourceVersion::UNSET`] where there is none.
    fn version(&self) -> ResourceVersion {
        ResourceVersion::new(self.resource_version().unwrap_or_default())
    }
}

impl<K: Resource + Send + Sync + 'static> Object for K {
    fn namespace(&self) -> Option<&str> {
        self.meta().namespace.as_deref()
    }

    fn name(&self) -> Option<&str> {
        self.meta().name.as_deref()
    }

    fn uid(&self) -> Option<&str> {
        self.meta().uid.as_deref()
    }

    fn resource_version(&self) -> Option<&str> {
        self.meta().resource_version.as_deref()
    }

    fn label(&self, key: &str) -> Option<&str> {
        self.meta().labels.as_ref()?.get(key).map(String::as_str)
    }

    fn each_label(&self, visit: &mut dyn FnMut(&str, &str)) {
        for (key, value) in self.meta().labels.iter().flatten() {
            visit(key, value);
        }
    }

    fn each_owner(&self, visit: &mut dyn FnMut(OwnerRef<'_>)) {
        for owner in self.meta().owner_references.iter().flatten() {
            visit(OwnerRef {
                api_version: &owner.api_version,
                kind: &owner.kind,
                name: &owner.name,
                uid: &owner.uid,
                controller: owner.controller.unwrap_or(false),
            });
        }
    }
}

/// One owner of an object, borrowed from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnerRef<'a> {
    /// Group and version, `apps/v1`.
    pub api_version: &'a str,
    /// Kind, `ReplicaSet`.
    pub kind: &'a str,
    /// Name, in the namespace of the owned object unless the owner is cluster-scoped.
    pub name: &'a str,
    /// Uid.
    pub uid: &'a str,
    /// Whether this owner is the managing controller.
    pub controller: bool,
}

/// Why an object has no key.
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The object's metadata has no name.
    #[error("the object has no name")]
    NoName,
    /// A key function of the user's refused the object.
    #[error("the key function refused the object: {0}")]
    Refused(String),
}

impl fmt::Debug for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An object that could not be keyed, handed back with the reason.
pub struct Unkeyed<T> {
    /// The object, as it was given.
    pub object: T,
    /// Why it has no key.
    pub error: KeyError,
}

impl<T> fmt::Display for Unkeyed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cannot cache an object without a key")
    }
}

impl<T> fmt::Debug for Unkeyed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unkeyed")
            .field("error", &self.error)
            .finish_non_exhaustive()
    }
}

impl<T> std::error::Error for Unkeyed<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
