//! [`Informers`]: one informer per kind and scope, shared by everybody who asks.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use informer_reflector::{ApiClient, ApiListWatch};
use informer_store::{Cache, Object};
use kube_core::{ApiResource, DynamicObject, Resource};
use serde::de::DeserializeOwned;

use super::{Informer, Parts};

/// What part of a kind is wanted. Equal scopes of one kind share one informer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Scope {
    namespaces: Vec<String>,
    labels: Option<String>,
    fields: Option<String>,
}

impl Scope {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Also what is in `namespace`. Default: every namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        let namespace = namespace.into();
        if let Err(place) = self.namespaces.binary_search(&namespace) {
            self.namespaces.insert(place, namespace);
        }
        self
    }

    /// Only what the label selector matches. Default: no selector.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.labels = Some(selector.into());
        self
    }

    /// Only what the field selector matches. Default: no selector.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.fields = Some(selector.into());
        self
    }

    fn narrow<K: Object>(&self, mut source: ApiListWatch<K>) -> ApiListWatch<K> {
        if let Some(selector) = &self.labels {
            source = source.labels(selector);
        }
        if let Some(selector) = &self.fields {
            source = source.fields(selector);
        }
        source
    }
}

/// Hands out shared informers: who asks for the same kind and scope gets the same one, already running.
///
/// An informer lives as long as somebody holds a clone of it, then stops by itself. All share what [`ApiClient`] has
/// to share: one limit on concurrent initial lists, and what the server has refused.
///
/// # Source
/// client-go `informers/factory.go` `SharedInformerFactory`; differs: no start and stop by hand, and the scope is
/// part of the identity.
#[derive(Clone)]
pub struct Informers {
    client: ApiClient,
    shared: Arc<Mutex<HashMap<Identity, Box<dyn Entry>>>>,
}

/// A [`Remembered`] of any type of object.
trait Entry: Any + Send {
    fn is_alive(&self) -> bool;
    fn as_any(&self) -> &dyn Any;
}

#[derive(PartialEq, Eq, Hash)]
struct Identity {
    object: TypeId,
    resource: String,
    scope: Scope,
}

/// What is remembered of an informer without keeping it alive.
struct Remembered<K> {
    parts: Weak<Parts<K>>,
    started: Weak<Mutex<Option<tokio::sync::oneshot::Sender<()>>>>,
}

impl Informers {
    /// Informers over `client`.
    #[must_use]
    pub fn new(client: impl Into<ApiClient>) -> Self {
        Self {
            client: client.into(),
            shared: Arc::default(),
        }
    }

    /// The informer of `K` in `scope`, started on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    #[track_caller]
    pub fn get<K>(&self, scope: &Scope) -> Informer<K>
    where
        K: Resource<DynamicType = ()> + Object + DeserializeOwned,
    {
        self.shared(K::url_path(&(), None), scope, |namespace| {
            ApiListWatch::with(&self.client, namespace, &())
        })
    }

    /// The informer of a kind known at run time, in `scope`, started on the current tokio runtime.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[must_use]
    #[track_caller]
    pub fn get_dynamic(&self, resource: &ApiResource, scope: &Scope) -> Informer<DynamicObject> {
        self.shared(DynamicObject::url_path(resource, None), scope, |namespace| {
            ApiListWatch::with(&self.client, namespace, resource)
        })
    }

    /// How many informers somebody holds.
    #[must_use]
    pub fn len(&self) -> usize {
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        shared.values().filter(|entry| entry.is_alive()).count()
    }

    /// Whether nobody holds any.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[track_caller]
    fn shared<K: Object>(
        &self,
        resource: String,
        scope: &Scope,
        source: impl Fn(Option<&str>) -> ApiListWatch<K>,
    ) -> Informer<K> {
        let identity = Identity {
            object: TypeId::of::<K>(),
            resource,
            scope: scope.clone(),
        };
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = shared
            .get(&identity)
            .and_then(|entry| entry.as_any().downcast_ref::<Remembered<K>>());
        if let Some(informer) = remembered.and_then(Remembered::upgrade) {
            return informer;
        }
        let mut namespaces = scope.namespaces.iter();
        let first = scope.narrow(source(namespaces.next().map(String::as_str)));
        let others: Vec<_> = namespaces
            .map(|namespace| scope.narrow(source(Some(namespace))))
            .collect();
        let informer = Informer::builder(first)
            .cache(Cache::new())
            .reflector(move |reflector| {
                others
                    .into_iter()
                    .fold(reflector, |reflector, other| reflector.also(other))
            })
            .build();
        shared.retain(|_, entry| entry.is_alive());
        shared.insert(
            identity,
            Box::new(Remembered {
                parts: Arc::downgrade(&informer.parts),
                started: Arc::downgrade(&informer.started),
            }),
        );
        drop(shared);
        informer.start();
        informer
    }
}

impl<K: Object> Entry for Remembered<K> {
    fn is_alive(&self) -> bool {
        self.started.strong_count() > 0
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl<K> Remembered<K> {
    fn upgrade(&self) -> Option<Informer<K>> {
        // The order matters: without a holder there is no `started`, though a stopping task may still hold parts.
        let started = self.started.upgrade()?;
        Some(Informer {
            parts: self.parts.upgrade()?,
            started,
        })
    }
}

impl fmt::Debug for Informers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Informers")
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
