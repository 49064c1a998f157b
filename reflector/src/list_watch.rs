//! [`ListWatch`]: where a reflector gets objects from.

use std::{fmt, pin::Pin, sync::Arc, time::Duration};

use async_trait::async_trait;
use futures::{Stream, StreamExt, stream};
use informer_store::{KeyRef, Object, ObjectKey, ReflectorStore, ResourceVersion, Unkeyed};

use crate::{Commons, Error, ErrorKind};

/// Lists objects and watches them change.
///
/// Implemented for a Kubernetes client by [`ApiListWatch`](crate::ApiListWatch); one of your own needs two
/// methods. The reflector decides when to ask and what for; an implementation only asks.
///
/// # Contract
/// A list carries a resource version. A watch delivers every event after the version asked for, in order. Streams
/// are dropped at any time, which must end the request.
///
/// # Examples
/// A source with one fixed object:
/// ```
/// use async_trait::async_trait;
/// use informer_reflector::{Error, EventStream, Held, ListRequest, ListStream, ListWatch, WatchRequest, listed};
/// use k8s_openapi::api::core::v1::ConfigMap;
///
/// struct Fixed(ConfigMap);
///
/// #[async_trait]
/// impl ListWatch<ConfigMap> for Fixed {
///     async fn list(&self, _: &ListRequest, _: &Held<ConfigMap>) -> Result<ListStream<ConfigMap>, Error> {
///         Ok(listed([self.0.clone()], "1"))
///     }
///
///     async fn watch(&self, _: &WatchRequest, _: &Held<ConfigMap>) -> Result<EventStream<ConfigMap>, Error> {
///         Ok(Box::pin(futures::stream::pending()))
///     }
/// }
/// ```
///
/// # Source
/// client-go `tools/cache/listwatch.go` `ListerWatcherWithContext`; differs: a list is a stream too, so that no
/// list is ever held twice.
#[async_trait]
pub trait ListWatch<K: Send + Sync + 'static>: Send + Sync {
    /// Asks for a list, or one page of it. `held` knows what the store has: an object of the same uid and version
    /// need not be built again.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream ends the request.
    async fn list(&self, request: &ListRequest, held: &Held<K>) -> Result<ListStream<K>, Error>;

    /// Asks for the events after a version.
    ///
    /// # Cancel safety
    /// Dropping the future or the stream ends the request.
    async fn watch(&self, request: &WatchRequest, held: &Held<K>) -> Result<EventStream<K>, Error>;

    /// Reads one object again, `None` if it is gone. Asked only for objects in quarantine.
    ///
    /// # Errors
    /// By default [`ErrorKind::Unsupported`]: quarantined objects then wait for their next version.
    async fn get(&self, _request: &GetRequest) -> Result<Option<Got<K>>, Error> {
        Err(Error::new(
            ErrorKind::Unsupported,
            "get",
            "this source reads no single objects",
        ))
    }

    /// Whether a watch can begin with the whole contents. By default it cannot.
    fn streams_lists(&self) -> bool {
        false
    }

    /// What this source shares with the others of its client. By default nothing: its reflector has limits of its own.
    fn commons(&self) -> Option<&Commons> {
        None
    }
}

#[async_trait]
impl<K: Send + Sync + 'static, L: ListWatch<K> + ?Sized> ListWatch<K> for Arc<L> {
    async fn list(&self, request: &ListRequest, held: &Held<K>) -> Result<ListStream<K>, Error> {
        (**self).list(request, held).await
    }

    async fn watch(&self, request: &WatchRequest, held: &Held<K>) -> Result<EventStream<K>, Error> {
        (**self).watch(request, held).await
    }

    async fn get(&self, request: &GetRequest) -> Result<Option<Got<K>>, Error> {
        (**self).get(request).await
    }

    fn streams_lists(&self) -> bool {
        (**self).streams_lists()
    }

    fn commons(&self) -> Option<&Commons> {
        (**self).commons()
    }
}

/// The parts of one list or page: objects as they arrive, then one [`Listed::End`].
pub type ListStream<K> = Pin<Box<dyn Stream<Item = Result<Listed<K>, Error>> + Send>>;

/// The events of one watch. An error ends it; so does its end, which is no error.
pub type EventStream<K> = Pin<Box<dyn Stream<Item = Result<Event<K>, Error>> + Send>>;

/// A whole list at `version`, for sources that have it in hand.
///
/// An object without a name becomes [`Listed::Poison`].
pub fn listed<K: Object>(
    objects: impl IntoIterator<Item = K, IntoIter: Send + 'static>,
    version: impl Into<ResourceVersion>,
) -> ListStream<K> {
    let end = Listed::End(ListEnd::new(version.into()));
    let parts = objects.into_iter().map(|object| match Item::new(object) {
        Ok(item) => Listed::Object(item),
        Err(unkeyed) => Listed::Poison(Poison::new(
            None,
            ResourceVersion::UNSET,
            Error::new(ErrorKind::Decode, "list", unkeyed.error.to_string()),
        )),
    });
    Box::pin(stream::iter(parts).chain(stream::iter([end])).map(Ok))
}

/// One list, or one page of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListRequest {
    /// The version the answer must satisfy; see [`ReadAt`].
    pub at: ReadAt,
    /// How many objects the page may have; `None` for all of them.
    pub limit: Option<u32>,
    /// Where the page begins: the token that ended the one before.
    pub continue_token: Option<Box<str>>,
    /// What the list is for.
    pub purpose: Purpose,
    /// Whether an existing connection and cached credentials are better not used.
    pub fresh: bool,
    /// Whether objects count as held only if they are read again: the history may have gone back, and may have given a
    /// version out twice. The reflector then tells the source that nothing is held.
    pub anew: bool,
}

impl ListRequest {
    /// A list of everything at `at`.
    #[must_use]
    pub fn new(at: ReadAt) -> Self {
        Self {
            at,
            limit: None,
            continue_token: None,
            purpose: Purpose::Contents,
            fresh: false,
            anew: false,
        }
    }
}

/// Which version of the contents a list must show.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReadAt {
    /// The latest: a consistent read. No `resourceVersion` is sent.
    Latest,
    /// Any the server has at hand: `resourceVersion=0`.
    Any,
    /// This one or a newer: `resourceVersionMatch=NotOlderThan`.
    NotOlderThan(ResourceVersion),
    /// This one: `resourceVersionMatch=Exact`.
    Exact(ResourceVersion),
}

/// What a list is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Purpose {
    /// The contents.
    Contents,
    /// Only the version counts; objects may be left out.
    Probe,
    /// Only names, uids and versions count: yield [`Listed::Seen`] or objects.
    Audit,
}

/// One watch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchRequest {
    /// The version to begin after; with `initial_events` the one the contents must not be older than, and unset
    /// for the latest.
    pub version: ResourceVersion,
    /// Whether the watch begins with the whole contents, ended by a marked bookmark.
    pub initial_events: bool,
    /// After which time the server ends the watch. Whole seconds.
    pub timeout: Duration,
    /// Whether an existing connection and cached credentials are better not used.
    pub fresh: bool,
    /// As [`ListRequest::anew`], for initial events.
    pub anew: bool,
}

impl WatchRequest {
    /// A watch of what happens after `version`.
    #[must_use]
    pub fn new(version: ResourceVersion, timeout: Duration) -> Self {
        Self {
            version,
            initial_events: false,
            timeout,
            fresh: false,
            anew: false,
        }
    }
}

/// One read of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GetRequest {
    /// Which.
    pub key: ObjectKey,
}

impl GetRequest {
    /// A read of `key`.
    #[must_use]
    pub fn new(key: ObjectKey) -> Self {
        Self { key }
    }
}

/// A part of a list.
#[non_exhaustive]
pub enum Listed<K> {
    /// An object.
    Object(Item<K>),
    /// An object the store has already; the item holds the store's own `Arc`.
    Held(Item<K>),
    /// That an object exists, for lists made to [audit](Purpose::Audit).
    Seen(Seen),
    /// An object that could not be decoded.
    Poison(Poison),
    /// An object that belongs to another shard.
    OtherShard,
    /// So many bytes arrived.
    Progress(u64),
    /// The list or page is complete.
    End(ListEnd),
}

/// How a list or page ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListEnd {
    /// The version of the list.
    pub version: ResourceVersion,
    /// The token of the next page, if there is one.
    pub continue_token: Option<Box<str>>,
    /// How many objects follow this page, where the server tells.
    pub remaining: Option<u64>,
}

impl ListEnd {
    /// The end of the only page of a list at `version`.
    #[must_use]
    pub fn new(version: ResourceVersion) -> Self {
        Self {
            version,
            continue_token: None,
            remaining: None,
        }
    }

    /// The same with a page to follow.
    #[must_use]
    pub fn continued(mut self, token: impl Into<Box<str>>) -> Self {
        self.continue_token = Some(token.into());
        self
    }
}

/// An event of a watch.
#[non_exhaustive]
pub enum Event<K> {
    /// An object is new.
    Added(Item<K>),
    /// An object changed.
    Modified(Item<K>),
    /// An object is gone; this is its last state, with the version of the deletion.
    Deleted(Item<K>),
    /// An object is gone whose last state could not be decoded.
    Gone(Seen),
    /// An object is new or changed and could not be decoded, though its name and version could be read.
    Poison(Poison),
    /// Nothing else happened up to this version.
    Bookmark {
        /// The version.
        version: ResourceVersion,
        /// Whether it ends the initial events.
        initial_events_end: bool,
    },
    /// A line that makes no sense: cut, garbled, too long or of an unknown type. Nothing after it can be trusted.
    Unreadable(Poison),
    /// An object that belongs to another shard.
    OtherShard(ResourceVersion),
    /// So many bytes arrived.
    Progress {
        /// How many.
        bytes: u64,
        /// Whether an event has begun and not yet ended.
        partial: bool,
    },
}

/// What a single read found.
#[non_exhaustive]
pub enum Got<K> {
    /// The object.
    Object(Item<K>),
    /// The object, still undecodable.
    Poison(Poison),
}

/// An object on its way from a source to a store.
pub struct Item<K> {
    /// The key.
    pub key: ObjectKey,
    /// The object.
    pub object: Arc<K>,
    /// The uid's fingerprint; 0 where there is none.
    pub(crate) uid: u64,
    /// The version.
    pub version: ResourceVersion,
    pub(crate) left_selector: bool,
}

impl<K: Object> Item<K> {
    /// Reads key, uid and version from the object.
    ///
    /// # Errors
    /// [`Unkeyed`] hands the object back if it has no name.
    pub fn new(object: impl Into<Arc<K>>) -> Result<Self, Unkeyed<Arc<K>>> {
        let object = object.into();
        match object.key() {
            Ok(key) => Ok(Self {
                key,
                uid: fingerprint(object.uid().unwrap_or_default()),
                version: object.version(),
                object,
                left_selector: false,
            }),
            Err(error) => Err(Unkeyed { object, error }),
        }
    }
}

impl<K> Item<K> {
    /// An item whose key, uid and version are known already.
    #[must_use]
    pub fn with_key(key: ObjectKey, uid: &str, version: ResourceVersion, object: Arc<K>) -> Self {
        Self {
            key,
            object,
            uid: fingerprint(uid),
            version,
            left_selector: false,
        }
    }

    /// Says of the object of an [`Event::Deleted`] that it may live on, outside of what is selected. Default: it is gone.
    #[must_use]
    pub fn or_left_selector(mut self, may_live: bool) -> Self {
        self.left_selector = may_live;
        self
    }
}

/// An object of which only name, uid and version are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    /// The key.
    pub key: ObjectKey,
    /// The uid's fingerprint; 0 where there is none.
    pub(crate) uid: u64,
    /// The version.
    pub version: ResourceVersion,
    pub(crate) left_selector: bool,
}

impl Seen {
    /// What is known of an object.
    #[must_use]
    pub fn new(key: ObjectKey, uid: &str, version: ResourceVersion) -> Self {
        Self {
            key,
            uid: fingerprint(uid),
            version,
            left_selector: false,
        }
    }

    /// Says of the object of an [`Event::Gone`] that it may live on, outside of what is selected. Default: it is gone.
    #[must_use]
    pub fn or_left_selector(mut self, may_live: bool) -> Self {
        self.left_selector = may_live;
        self
    }
}

/// An object that could not be decoded.
#[derive(Debug)]
pub struct Poison {
    /// The key, where it could be read.
    pub key: Option<ObjectKey>,
    /// The version, unset where it could not be read.
    pub version: ResourceVersion,
    /// What is wrong with it.
    pub error: Error,
}

impl Poison {
    /// An undecodable object.
    #[must_use]
    pub fn new(key: Option<ObjectKey>, version: ResourceVersion, error: Error) -> Self {
        Self { key, version, error }
    }
}

/// What a store holds, for sources that need not build an object twice. Cheap to clone.
pub struct Held<K>(Option<Arc<dyn ReflectorStore<K>>>);

impl<K: Send + Sync + 'static> Held<K> {
    /// Nothing is held.
    #[must_use]
    pub fn nothing() -> Self {
        Self(None)
    }

    /// What `store` holds.
    #[must_use]
    pub fn by(store: Arc<dyn ReflectorStore<K>>) -> Self {
        Self(Some(store))
    }

    /// The object held under `key` if its uid and version are these.
    #[must_use]
    pub fn get(&self, key: KeyRef<'_>, uid: &str, version: &str) -> Option<Arc<K>> {
        self.0.as_ref()?.held(key, uid, version)
    }
}

impl<K> Clone for Held<K> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// 64 bits that stand for a uid, seeded per process; 0 stands for none.
pub(crate) fn fingerprint(uid: &str) -> u64 {
    if uid.is_empty() {
        0
    } else {
        KeyRef::new(None, uid).hash().max(1)
    }
}

// `Debug` shows keys and versions, never a body, and asks nothing of `K`.

impl<K> fmt::Debug for Held<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Item<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("key", &self.key)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl<K> fmt::Debug for Listed<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(item) => f.debug_tuple("Object").field(item).finish(),
            Self::Held(item) => f.debug_tuple("Held").field(item).finish(),
            Self::Seen(seen) => f.debug_tuple("Seen").field(seen).finish(),
            Self::Poison(poison) => f.debug_tuple("Poison").field(poison).finish(),
            Self::OtherShard => f.write_str("OtherShard"),
            Self::Progress(bytes) => f.debug_tuple("Progress").field(bytes).finish(),
            Self::End(end) => f.debug_tuple("End").field(end).finish(),
        }
    }
}

impl<K> fmt::Debug for Event<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Added(item) => f.debug_tuple("Added").field(item).finish(),
            Self::Modified(item) => f.debug_tuple("Modified").field(item).finish(),
            Self::Deleted(item) => f.debug_tuple("Deleted").field(item).finish(),
            Self::Gone(seen) => f.debug_tuple("Gone").field(seen).finish(),
            Self::Poison(poison) => f.debug_tuple("Poison").field(poison).finish(),
            Self::Bookmark {
                version,
                initial_events_end,
            } => f
                .debug_struct("Bookmark")
                .field("version", version)
                .field("initial_events_end", initial_events_end)
                .finish(),
            Self::Unreadable(poison) => f.debug_tuple("Unreadable").field(poison).finish(),
            Self::OtherShard(version) => f.debug_tuple("OtherShard").field(version).finish(),
            Self::Progress { bytes, partial } => f
                .debug_struct("Progress")
                .field("bytes", bytes)
                .field("partial", partial)
                .finish(),
        }
    }
}

impl<K> fmt::Debug for Got<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Object(item) => f.debug_tuple("Object").field(item).finish(),
            Self::Poison(poison) => f.debug_tuple("Poison").field(poison).finish(),
        }
    }
}
