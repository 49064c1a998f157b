//! [`Reconciler`]: the user's part of a controller.

use std::{error::Error as StdError, fmt, future::Future, hash::Hash, marker::PhantomData, sync::Arc};

use async_trait::async_trait;

use crate::{Action, Context, Failure};

/// What a key of a controller must be; implemented for everything that is.
pub trait Key: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static {}

impl<T: Clone + Eq + Hash + fmt::Debug + Send + Sync + 'static> Key for T {}

/// Brings the world into the state that the object under a key asks for.
///
/// # Contract
/// It is given a key, not an event: it reads what there is now and acts on the difference. A key whose object is gone
/// is a normal case. No two calls run for one key at once; a trigger during a call leads to exactly one more.
/// A call may be dropped at any await, by the timeout or a forced stop, and its key is then tried again.
///
/// # Panics
/// A panic is contained, counted, logged and tried again like an error.
///
/// # Examples
/// ```
/// use informer_controller::{Action, Context, Failure, Reconciler, async_trait};
/// use informer_store::ObjectKey;
///
/// struct Greeter;
///
/// #[async_trait]
/// impl Reconciler for Greeter {
///     type Key = ObjectKey;
///     type Error = std::io::Error;
///
///     async fn reconcile(&self, cx: Context) -> Result<Action, Failure<Self::Error>> {
///         tracing::info!(key = %cx.key(), attempt = cx.attempt(), "hello");
///         Ok(Action::done())
///     }
/// }
/// ```
///
/// # Source
/// controller-runtime `reconcile.TypedReconciler`.
#[async_trait]
pub trait Reconciler: Send + Sync + 'static {
    /// What is queued and reconciled: an [`ObjectKey`](informer_store::ObjectKey), or a type of your own.
    type Key: Key;

    /// What it fails with: any standard error, or [`AnyError`](crate::AnyError).
    type Error: Into<Box<dyn StdError + Send + Sync>> + Send + 'static;

    /// Reconciles one key.
    ///
    /// # Errors
    /// [`Failure`] says whether trying again may help.
    async fn reconcile(&self, cx: Context<Self::Key>) -> Result<Action, Failure<Self::Error>>;
}

#[async_trait]
impl<R: Reconciler + ?Sized> Reconciler for Arc<R> {
    type Key = R::Key;
    type Error = R::Error;

    async fn reconcile(&self, cx: Context<Self::Key>) -> Result<Action, Failure<Self::Error>> {
        (**self).reconcile(cx).await
    }
}

/// A [`Reconciler`] from a closure, failing with [`AnyError`](crate::AnyError).
///
/// # Examples
/// ```
/// use informer_controller::{Action, Context, reconcile_fn};
///
/// let reconciler = reconcile_fn(|cx: Context| async move {
///     let replicas: u32 = cx.key().name().parse()?;
///     println!("{replicas} replicas");
///     Ok(Action::done())
/// });
/// # let _ = reconciler;
/// ```
pub fn reconcile_fn<T, F, Fut>(reconcile: F) -> ReconcileFn<T, F>
where
    T: Key,
    F: Fn(Context<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, Failure>> + Send + 'static,
{
    ReconcileFn {
        reconcile,
        key: PhantomData,
    }
}

/// What [`reconcile_fn`] makes.
pub struct ReconcileFn<T, F> {
    reconcile: F,
    key: PhantomData<fn(T)>,
}

#[async_trait]
impl<T, F, Fut> Reconciler for ReconcileFn<T, F>
where
    T: Key,
    F: Fn(Context<T>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Action, Failure>> + Send + 'static,
{
    type Key = T;
    type Error = crate::AnyError;

    async fn reconcile(&self, cx: Context<T>) -> Result<Action, Failure> {
        (self.reconcile)(cx).await
    }
}

impl<T, F> fmt::Debug for ReconcileFn<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReconcileFn").finish_non_exhaustive()
    }
}
