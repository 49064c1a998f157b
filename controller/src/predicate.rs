//! Predicates: which changes matter.
//!
//! A predicate sees the whole [`Change`], old and new, so it can tell an object that stops matching from one that never
//! did. It decides which changes trigger a reconcile; what is cached stays as it is.
//!
//! A closure `Fn(&Change<K>) -> bool` is a predicate. [`Predicate::and`], [`Predicate::or`] and [`Predicate::not`]
//! combine them.
//!
//! # Examples
//! ```
//! use informer_controller::predicate::{self, Predicate as _};
//! use k8s_openapi::api::apps::v1::Deployment;
//!
//! // A new spec, or new labels; but never a mere redelivery.
//! let matters = predicate::generation_changed::<Deployment>
//!     .or(predicate::labels_changed)
//!     .and(predicate::not_resync);
//! # fn check<K>(_: impl informer_controller::Predicate<K>) {}
//! # check::<Deployment>(matters);
//! ```
//!
//! # Source
//! controller-runtime `pkg/predicate`; differs: [`matches()`] looks at the old object too, so that the change by which an
//! object leaves a selection is delivered, and an object made anew under the same name always counts as changed.

use std::{collections::BTreeMap, fmt, sync::Arc};

use informer_store::{Cause, Change, Object};
use kube_core::Resource;

/// Decides whether a change matters.
pub trait Predicate<K>: Send {
    /// Whether `change` matters. A panic is contained and counts as yes.
    fn test(&self, change: &Change<K>) -> bool;

    /// Both must say yes.
    fn and<P: Predicate<K>>(self, other: P) -> And<Self, P>
    where
        Self: Sized,
    {
        And(self, other)
    }

    /// One must say yes.
    fn or<P: Predicate<K>>(self, other: P) -> Or<Self, P>
    where
        Self: Sized,
    {
        Or(self, other)
    }

    /// The opposite.
    fn not(self) -> Not<Self>
    where
        Self: Sized,
    {
        Not(self)
    }
}

impl<K, F: Fn(&Change<K>) -> bool + Send> Predicate<K> for F {
    fn test(&self, change: &Change<K>) -> bool {
        self(change)
    }
}

/// What [`Predicate::and`] makes.
#[derive(Clone, Copy)]
pub struct And<A, B>(A, B);

impl<K, A: Predicate<K>, B: Predicate<K>> Predicate<K> for And<A, B> {
    fn test(&self, change: &Change<K>) -> bool {
        self.0.test(change) && self.1.test(change)
    }
}

/// What [`Predicate::or`] makes.
#[derive(Clone, Copy)]
pub struct Or<A, B>(A, B);

impl<K, A: Predicate<K>, B: Predicate<K>> Predicate<K> for Or<A, B> {
    fn test(&self, change: &Change<K>) -> bool {
        self.0.test(change) || self.1.test(change)
    }
}

/// What [`Predicate::not`] makes.
#[derive(Clone, Copy)]
pub struct Not<A>(A);

impl<K, A: Predicate<K>> Predicate<K> for Not<A> {
    fn test(&self, change: &Change<K>) -> bool {
        !self.0.test(change)
    }
}

/// The object came to be.
pub fn added<K>(change: &Change<K>) -> bool {
    matches!(change, Change::Added { .. })
}

/// The object changed or was delivered again.
pub fn updated<K>(change: &Change<K>) -> bool {
    matches!(change, Change::Updated { .. })
}

/// The object is gone.
pub fn deleted<K>(change: &Change<K>) -> bool {
    matches!(change, Change::Deleted { .. })
}

/// Not the first delivery of what was there already.
pub fn not_initial<K>(change: &Change<K>) -> bool {
    !matches!(change, Change::Added { initial: true, .. })
}

/// Not a mere redelivery of what is held.
pub fn not_resync<K>(change: &Change<K>) -> bool {
    change.cause() != Cause::Resync
}

/// The resource version differs. An addition and a deletion always count.
pub fn resource_version_changed<K: Object>(change: &Change<K>) -> bool {
    on_update(change, |old, new| {
        old.resource_version() != new.resource_version()
    })
}

/// The generation differs, that is, the spec or the request to delete. An addition, a deletion, an object made anew
/// and a kind that has no generations always count.
pub fn generation_changed<K: Resource + Object>(change: &Change<K>) -> bool {
    on_update(change, |old, new| {
        let (was, is) = (old.meta().generation, new.meta().generation);
        was != is || is.is_none()
    })
}

/// The labels differ. An addition, a deletion and an object made anew always count.
pub fn labels_changed<K: Object>(change: &Change<K>) -> bool {
    fn labels<K: Object>(object: &K) -> BTreeMap<String, String> {
        let mut labels = BTreeMap::new();
        object.each_label(&mut |key, value| {
            labels.insert(key.to_owned(), value.to_owned());
        });
        labels
    }
    on_update(change, |old, new| labels(old) != labels(new))
}

/// The annotations differ. An addition, a deletion and an object made anew always count.
pub fn annotations_changed<K: Resource + Object>(change: &Change<K>) -> bool {
    on_update(change, |old, new| {
        old.meta().annotations != new.meta().annotations
    })
}

/// The object is waiting for its finalizers, or gone.
pub fn deletion_requested<K: Resource>(change: &Change<K>) -> bool {
    deleted(change) || change.object().meta().deletion_timestamp.is_some()
}

/// The object is chosen by `select` now, or was before: also the change by which it stops being chosen matters.
pub fn matches<K>(select: impl Fn(&K) -> bool + Send) -> impl Predicate<K> {
    move |change: &Change<K>| {
        let chosen = |object: Option<&Arc<K>>| object.is_some_and(|object| select(object));
        chosen(change.current()) || chosen(change.old())
    }
}

/// The object has the label `key`, with this value if one is given, or had it before.
pub fn label<K: Object>(key: impl Into<String>, value: Option<&str>) -> impl Predicate<K> {
    let (key, value) = (key.into(), value.map(str::to_owned));
    matches(move |object: &K| {
        let found = object.label(&key);
        found.is_some() && (value.is_none() || found == value.as_deref())
    })
}

/// The object is in this namespace.
pub fn namespace<K>(name: impl Into<String>) -> impl Predicate<K> {
    let name = name.into();
    move |change: &Change<K>| change.key().namespace() == Some(&name)
}

/// What `differ` says of an update of one object; everything else counts.
fn on_update<K: Object>(change: &Change<K>, differ: impl Fn(&K, &K) -> bool) -> bool {
    match change {
        Change::Updated { old, new, .. } => {
            !Arc::ptr_eq(old, new) && (old.uid() != new.uid() || differ(old, new))
        }
        _ => true,
    }
}

impl<A, B> fmt::Debug for And<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("And")
    }
}

impl<A, B> fmt::Debug for Or<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Or")
    }
}

impl<A> fmt::Debug for Not<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Not")
    }
}
