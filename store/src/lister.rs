//! [`Lister`]: reading by namespace and label selector.

use std::{fmt, sync::Arc};

use kube_core::Selector;

use crate::{Cache, Object};

/// Reads a cache by namespace and labels.
///
/// # Contract
/// Each call answers from one instant. Lists are in slot order where [`Cache`] answers.
///
/// # Source
/// client-go `tools/cache/listers.go` `GenericLister`, `ListAll`, `ListAllByNamespace`; differs: what is missing is
/// `None` rather than a NotFound error.
pub trait Lister<K>: Send + Sync {
    /// Every object whose labels match `selector`; [`Selector::default`] matches all.
    fn list_all(&self, selector: &Selector) -> Vec<Arc<K>>;

    /// Every object of `namespace` whose labels match `selector`.
    fn list_namespace(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>>;

    /// The object of `name` in `namespace`; empty for a cluster-scoped one.
    fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>>;

    /// The same, bound to one namespace.
    fn namespace(&self, namespace: &str) -> NamespaceLister<'_, K>
    where
        Self: Sized,
    {
        NamespaceLister::new(self, namespace)
    }
}

/// A [`Lister`] bound to one namespace.
pub struct NamespaceLister<'a, K> {
    lister: &'a dyn Lister<K>,
    namespace: Box<str>,
}

impl<'a, K> NamespaceLister<'a, K> {
    /// Binds `lister` to `namespace`.
    #[must_use]
    pub fn new(lister: &'a dyn Lister<K>, namespace: &str) -> Self {
        Self {
            lister,
            namespace: namespace.into(),
        }
    }

    /// Every object of the namespace whose labels match `selector`.
    #[must_use]
    pub fn list(&self, selector: &Selector) -> Vec<Arc<K>> {
        self.lister.list_namespace(&self.namespace, selector)
    }

    /// The object of `name`.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<Arc<K>> {
        self.lister.find(&self.namespace, name)
    }
}

impl<K> fmt::Debug for NamespaceLister<'_, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NamespaceLister")
            .field("namespace", &self.namespace)
            .finish_non_exhaustive()
    }
}

impl<K: Object> Lister<K> for Cache<K> {
    fn list_all(&self, selector: &Selector) -> Vec<Arc<K>> {
        self.snapshot().query().labels(selector).to_vec()
    }

    fn list_namespace(&self, namespace: &str, selector: &Selector) -> Vec<Arc<K>> {
        self.snapshot()
            .query()
            .namespace(namespace)
            .labels(selector)
            .to_vec()
    }

    fn find(&self, namespace: &str, name: &str) -> Option<Arc<K>> {
        self.get(namespace, name)
    }
}
