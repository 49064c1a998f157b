//! [`owner()`]: the object that owns the one that changed.

use std::any::TypeId;

use informer_store::{Change, Object, ObjectKey, OwnerRef};
use kube_core::{ClusterResourceScope, Resource};

use super::{Keys, Trigger};

/// The key of the controlling owner of `kind`, before and after the change.
///
/// `api_version` is that of the kind, `apps/v1` say. Only its group counts, since owner references name whatever version
/// their writer knew.
///
/// # Examples
/// ```
/// use informer_controller::trigger;
///
/// let pods = trigger::owner("apps/v1", "ReplicaSet");
/// let configs = trigger::owner("example.com/v1", "Tenant").any_owner().cluster_scoped();
/// # let _ = (pods, configs);
/// ```
///
/// # Source
/// controller-runtime `handler.EnqueueRequestForOwner` with `OnlyControllerOwner`.
#[must_use]
pub fn owner(api_version: &str, kind: &str) -> Owner {
    Owner {
        group: group(api_version).to_owned(),
        kind: kind.to_owned(),
        controller_only: true,
        cluster_scoped: false,
    }
}

/// [`owner()`] for a kind that is known as a type; the scope is its own.
#[must_use]
pub fn owner_of<O>() -> Owner
where
    O: Resource<DynamicType = ()>,
    O::Scope: 'static,
{
    Owner {
        cluster_scoped: TypeId::of::<O::Scope>() == TypeId::of::<ClusterResourceScope>(),
        ..owner(&O::api_version(&()), &O::kind(&()))
    }
}

/// What [`owner()`] makes.
#[derive(Clone, Debug)]
pub struct Owner {
    group: String,
    kind: String,
    controller_only: bool,
    cluster_scoped: bool,
}

impl Owner {
    /// Every owner of the kind counts.
    ///
    /// Default: only the one marked as the controller.
    #[must_use]
    pub fn any_owner(mut self) -> Self {
        self.controller_only = false;
        self
    }

    /// The owners have no namespace.
    ///
    /// Default: they are in the namespace of what they own.
    #[must_use]
    pub fn cluster_scoped(mut self) -> Self {
        self.cluster_scoped = true;
        self
    }

    fn owns(&self, owner: &OwnerRef<'_>) -> bool {
        owner.kind == self.kind
            && group(owner.api_version) == self.group
            && (owner.controller || !self.controller_only)
            && !owner.name.is_empty()
    }
}

impl<K: Object> Trigger<K, ObjectKey> for Owner {
    fn keys(&self, change: &Change<K>, keys: &mut Keys<ObjectKey>) {
        for object in change.old().into_iter().chain(change.current()) {
            object.each_owner(&mut |owner| {
                if self.owns(&owner) {
                    let namespace = object.namespace().filter(|_| !self.cluster_scoped);
                    keys.add(ObjectKey::new(namespace, owner.name));
                }
            });
        }
    }
}

/// `apps/v1` is of the group `apps`, `v1` of the group without a name.
fn group(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}
