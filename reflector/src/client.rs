//! [`ApiListWatch`]: lists and watches through a `kube_client::Client`.

mod answer;
mod api_client;
mod ground;
mod list;
mod request;
mod shard;
mod watch;

use std::{
    fmt,
    sync::{Arc, OnceLock},
};

use async_trait::async_trait;
use http::{HeaderValue, header};
use informer_store::{Object, ResourceVersion};
use kube_client::{
    Client,
    client::Body,
    core::{ApiResource, DynamicObject, Resource},
};
use serde::de::DeserializeOwned;

use self::{answer::Answer, ground::Ground, list::ListBody, request::Target, watch::WatchBody};
pub use self::{
    api_client::{ApiClient, PlainHttp},
    shard::{Shard, ShardField},
};
use crate::{
    Commons, Decode, Error, ErrorKind, EventStream, GetRequest, Got, Held, Item, Json, ListRequest,
    ListStream, ListWatch, Poison, Purpose, WatchRequest,
    decode::{DecodeError, Indexed, Transformed},
    wire::{envelope::Envelope, index::Index, scan::Skipper},
};

/// Lists and watches one kind through a Kubernetes client.
///
/// It sends its own requests with [`Client::send`] and reads the bytes as they come: an object is decoded once it
/// is complete, whatever else the answer still holds, and an object that is held already is not decoded at all.
///
/// # Clients
/// Made from an [`ApiClient`] it shares the client's limits with everything else that is, retries nothing behind the
/// reflector's back, and can get new connections when a server falls silent. It may be made from a bare
/// `kube_client::Client` as well; then set [`Config::default_retry`](kube_client::Config::default_retry) to `false`,
/// for `kube_client` retries 429, 503 and 504 up to 15 times and as long as a server asks, and give
/// [`fresh_clients`](Self::fresh_clients): without, a request that should not use an existing connection only asks for
/// its connection to be closed afterwards, and the pool decides.
///
/// # Examples
/// ```no_run
/// use informer_reflector::{ApiClient, ApiListWatch};
/// use k8s_openapi::api::core::v1::Pod;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ApiClient::new(kube_client::Config::infer().await?)?;
/// let pods = ApiListWatch::<Pod>::namespaced(client, "default").labels("app=web");
/// # Ok(())
/// # }
/// ```
///
/// # Source
/// client-go `tools/cache/listwatch.go` `NewFilteredListWatchFromClient`.
pub struct ApiListWatch<K> {
    client: ApiClient,
    /// The client's, for the API group of the kind.
    commons: Commons,
    target: Target,
    context: Context<K>,
    compression: Compression,
    streaming: bool,
}

/// What the answers are read with.
struct Context<K> {
    decode: Arc<dyn Decode<K>>,
    limits: Limits,
    namespace: Option<Arc<str>>,
    kind: Arc<str>,
    /// Where the name of the kind was not given: learned from the first object that can only be of it.
    learned: Arc<OnceLock<Box<str>>>,
    plural: Arc<str>,
    api_version: Arc<str>,
    metadata_only: bool,
    require_uid: bool,
    shard: Option<Arc<Shard>>,
    ground: Ground,
}

/// Caps on what a server may send in one answer; how many objects may be held is for
/// [`Config::max_objects`](crate::Config::max_objects) to say.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Limits {
    /// The largest item of a list and line of a watch, in bytes. Default: 16 MiB; etcd keeps at most 1.5 MiB.
    pub object_bytes: usize,
    /// The largest page token, in bytes. Default: 64 KiB.
    pub token_bytes: usize,
    /// How much of an answer with an error status is read, in bytes. Default: 64 KiB.
    pub error_bytes: usize,
    /// How deep objects may nest. Default: 128.
    pub depth: u32,
    /// The most bytes of one list, all pages apart. Default: none.
    pub list_bytes: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            object_bytes: 16 << 20,
            token_bytes: 64 << 10,
            error_bytes: 64 << 10,
            depth: 128,
            list_bytes: None,
        }
    }
}

/// Which answers may be compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// None.
    #[default]
    Off,
    /// Lists: for networks slower than 10 Gbit/s.
    Lists,
    /// Lists and watches; saves a server that compresses watches most of its traffic.
    All,
}

impl<K: Resource<DynamicType = ()> + Object + DeserializeOwned> ApiListWatch<K> {
    /// Every object of the kind.
    #[must_use]
    pub fn all(client: impl Into<ApiClient>) -> Self {
        Self::with(client, None, &())
    }

    /// The objects in one namespace.
    #[must_use]
    pub fn namespaced(client: impl Into<ApiClient>, namespace: &str) -> Self {
        Self::with(client, Some(namespace), &())
    }
}

impl ApiListWatch<DynamicObject> {
    /// Every object of a kind known at run time. Where the name of the kind is empty, every kind of object is taken;
    /// rows of a table, statuses and bare metadata are not.
    #[must_use]
    pub fn dynamic(client: impl Into<ApiClient>, resource: &ApiResource) -> Self {
        Self::with(client, None, resource)
    }
}

impl<K: Object + DeserializeOwned> ApiListWatch<K> {
    /// The objects of a kind whose type is known at run time, in one namespace or all.
    #[must_use]
    pub fn with(client: impl Into<ApiClient>, namespace: Option<&str>, kind: &K::DynamicType) -> Self
    where
        K: Resource,
    {
        Self::of::<K>(client, namespace, kind)
    }

    /// The objects of kind `R`, read as `K`: a slim type that has only the members somebody reads.
    ///
    /// # Examples
    /// ```no_run
    /// use informer_reflector::ApiListWatch;
    /// use informer_store::Object;
    /// use k8s_openapi::api::core::v1::Pod;
    ///
    /// #[derive(serde::Deserialize)]
    /// struct Slim { metadata: Meta }
    ///
    /// #[derive(serde::Deserialize)]
    /// #[serde(rename_all = "camelCase")]
    /// struct Meta { name: String, namespace: Option<String>, uid: String, resource_version: String }
    ///
    /// impl Object for Slim {
    ///     fn namespace(&self) -> Option<&str> { self.metadata.namespace.as_deref() }
    ///     fn name(&self) -> Option<&str> { Some(&self.metadata.name) }
    ///     fn uid(&self) -> Option<&str> { Some(&self.metadata.uid) }
    ///     fn resource_version(&self) -> Option<&str> { Some(&self.metadata.resource_version) }
    /// }
    ///
    /// # fn example(client: kube_client::Client) {
    /// let pods = ApiListWatch::<Slim>::of::<Pod>(client, None, &());
    /// # }
    /// ```
    #[must_use]
    pub fn of<R: Resource>(
        client: impl Into<ApiClient>,
        namespace: Option<&str>,
        kind: &R::DynamicType,
    ) -> Self {
        let namespace = namespace.filter(|namespace| !namespace.is_empty());
        let client = client.into();
        Self {
            commons: client.commons().of_group(&R::group(kind)),
            client,
            target: Target::new(R::url_path(kind, namespace), R::url_path(kind, None)),
            context: Context {
                decode: Arc::new(Json::new()),
                limits: Limits::default(),
                namespace: namespace.map(Into::into),
                kind: R::kind(kind).into(),
                learned: Arc::default(),
                plural: R::plural(kind).into(),
                api_version: R::api_version(kind).into(),
                metadata_only: R::metadata_api(),
                require_uid: false,
                shard: None,
                ground: Ground::default(),
            },
            compression: Compression::default(),
            streaming: true,
        }
    }
}

impl<K: Object> ApiListWatch<K> {
    /// Only objects with these labels, `app=web,tier!=db`. Default: all.
    #[must_use]
    pub fn labels(mut self, selector: impl Into<String>) -> Self {
        self.target.labels = Some(selector.into());
        self
    }

    /// Only objects with these fields, `spec.nodeName=a`. Default: all.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        self.target.fields = Some(selector.into());
        self
    }

    /// Only the objects of one shard. A server that does not know shards sends everything, and the rest is left out
    /// here. Default: all.
    #[must_use]
    pub fn shard(mut self, shard: Shard) -> Self {
        self.target.shard = Some(shard.selector());
        self.context.shard = Some(Arc::new(shard));
        self
    }

    /// How bytes become objects. Default: [`Json::new`], without `managedFields`.
    #[must_use]
    pub fn decode(mut self, decode: impl Decode<K> + 'static) -> Self {
        self.context.decode = Arc::new(decode);
        self
    }

    /// Changes every object once, before anybody sees it. Name, namespace, uid and version it must leave as they are, or
    /// take away: an object that calls itself otherwise than its server does is set apart, as one is on a panic.
    /// Default: nothing.
    #[must_use]
    pub fn transform(self, transform: impl Fn(&mut K) + Send + Sync + 'static) -> Self {
        self.try_transform(move |object| {
            transform(object);
            Ok(())
        })
    }

    /// As [`transform`](Self::transform); an error sets the object apart.
    #[must_use]
    pub fn try_transform(
        mut self,
        transform: impl Fn(&mut K) -> Result<(), DecodeError> + Send + Sync + 'static,
    ) -> Self {
        self.context.decode = Arc::new(Transformed {
            inner: self.context.decode,
            transform: Box::new(transform),
        });
        self
    }

    /// Caps on what a server may send. Default: [`Limits::default`].
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.context.limits = limits;
        self
    }

    /// Which answers may be compressed. Default: [`Compression::Off`], for it costs more time than a fast network.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Sets objects without a uid apart. Default: they are taken.
    #[must_use]
    pub fn require_uid(mut self) -> Self {
        self.context.require_uid = true;
        self
    }

    /// Says that the server cannot begin a watch with the contents. Default: it is tried.
    #[must_use]
    pub fn no_streaming_lists(mut self) -> Self {
        self.streaming = false;
        self
    }

    /// How to get a client with new connections and credentials. Default: as the [`ApiClient`] does, and none for a
    /// bare client.
    #[must_use]
    pub fn fresh_clients(mut self, make: impl Fn() -> Client + Send + Sync + 'static) -> Self {
        self.client.fresh = Some(Arc::new(make));
        self
    }

    async fn send(
        &self,
        operation: &'static str,
        uri: String,
        accept: &'static str,
        compressed: bool,
        fresh: bool,
    ) -> Result<Answer, Error> {
        if uri.len() > URI_MAX {
            let message = "the address is too long; is the selector or the page token too large?";
            return Err(Error::new(ErrorKind::Invalid, operation, message));
        }
        let encoding = if compressed { "gzip" } else { "identity" };
        let mut request = http::Request::get(uri)
            .header(header::ACCEPT, accept)
            .header(header::ACCEPT_ENCODING, encoding)
            .body(Body::empty())
            .map_err(|error| {
                Error::new(ErrorKind::Invalid, operation, "the request cannot be built").caused_by(error)
            })?;
        let client = match &self.client.fresh {
            Some(make) if fresh => make(),
            _ => self.client.client().clone(),
        };
        if fresh && self.client.fresh.is_none() {
            request
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        let response = client
            .send(request)
            .await
            .map_err(|error| answer::transport(operation, error))?;
        Answer::check(operation, response, &self.context.limits).await
    }
}

#[async_trait]
impl<K: Object> ListWatch<K> for ApiListWatch<K> {
    async fn list(&self, request: &ListRequest, held: &Held<K>) -> Result<ListStream<K>, Error> {
        let uri = self.target.list(request);
        let metadata = self.context.metadata_only || request.purpose != Purpose::Contents;
        let accept = if metadata { METADATA_LIST } else { JSON };
        let answer = self
            .send(
                "list",
                uri,
                accept,
                self.compression != Compression::Off,
                request.fresh,
            )
            .await?;
        Ok(Box::pin(ListBody::new(
            answer,
            self.context.clone(),
            held.clone(),
            request.purpose,
        )))
    }

    async fn watch(&self, request: &WatchRequest, held: &Held<K>) -> Result<EventStream<K>, Error> {
        let uri = self.target.watch(request);
        let accept = if self.context.metadata_only {
            METADATA
        } else {
            JSON
        };
        let answer = self
            .send(
                "watch",
                uri,
                accept,
                self.compression == Compression::All,
                request.fresh,
            )
            .await?;
        let held = request.initial_events.then(|| held.clone());
        Ok(Box::pin(WatchBody::new(answer, self.context.clone(), held)))
    }

    async fn get(&self, request: &GetRequest) -> Result<Option<Got<K>>, Error> {
        let uri = self.target.get(&request.key);
        let accept = if self.context.metadata_only {
            METADATA
        } else {
            JSON
        };
        let answer = match self.send("get", uri, accept, false, false).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let json = answer.whole(self.context.limits.object_bytes).await?;
        match self.context.read("get", &json) {
            Read::Item(item) => Ok(Some(Got::Object(item))),
            Read::Poison(poison) => Ok(Some(Got::Poison(poison))),
            Read::OtherShard => Ok(None),
        }
    }

    fn streams_lists(&self) -> bool {
        self.streaming
    }

    fn commons(&self) -> Option<&Commons> {
        Some(&self.commons)
    }
}

/// What an object's bytes turned out to be.
enum Read<K> {
    Item(Item<K>),
    Poison(Poison),
    OtherShard,
}

impl<K: Object> Context<K> {
    /// Reads one object.
    fn read(&self, operation: &'static str, json: &[u8]) -> Read<K> {
        let envelope = Envelope::read(json);
        if self.is_elsewhere(&envelope) {
            return Read::OtherShard;
        }
        if let Err(error) = self.check(operation, &envelope) {
            return Read::Poison(self.poison(&envelope, error));
        }
        self.look_and_decode(operation, json, &envelope)
    }

    /// Decodes one object that nobody has looked through yet, unless it nests too deep.
    fn look_and_decode(&self, operation: &'static str, json: &[u8], envelope: &Envelope<'_>) -> Read<K> {
        let (mut skipper, mut index) = (Skipper::default(), Index::with_room_for(json.len()));
        skipper.feed_whole(json, &mut index);
        if skipper.deepest() > self.limits.depth {
            return Read::Poison(self.poison(envelope, too_deep(operation)));
        }
        self.decode(operation, json, &index, envelope)
    }

    /// Decodes one object with its index.
    fn decode(
        &self,
        operation: &'static str,
        json: &[u8],
        index: &Index,
        envelope: &Envelope<'_>,
    ) -> Read<K> {
        // The object's own block of memory is asked for first and given back for it last.
        let place = self.ground.prepare(size_of::<K>() + ARC_COUNTS);
        let mut decoded = None;
        let mut refused = None;
        let decode = || {
            let object = self.decode.decode_indexed(&Indexed::new(json, index));
            drop(std::hint::black_box(place));
            // Two places of one word each, for the reason that `Reader::owned` has.
            match object.map(Arc::new) {
                Ok(object) => decoded = Some(object),
                Err(error) => refused = Some(error),
            }
        };
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode)).is_err() {
            refused = Some(DecodeError::new("the decoder panicked"));
        }
        let decoded = match (decoded, refused) {
            (Some(object), None) => Ok(object),
            (_, refused) => Err(refused.unwrap_or_else(|| DecodeError::new("the decoder panicked"))),
        };
        match (decoded, envelope.key()) {
            (Ok(object), Some(_)) if is_another(&*object, envelope) => {
                let error = Error::new(
                    ErrorKind::Decode,
                    operation,
                    "the object's metadata contradicts itself",
                );
                Read::Poison(self.poison(envelope, error))
            }
            (Ok(object), Some(key)) => Read::Item(Item::with_key(
                key.to_key(),
                &envelope.uid,
                ResourceVersion::new(&envelope.version),
                object,
            )),
            (Ok(_), None) => {
                let error = Error::new(ErrorKind::Decode, operation, "the object has no usable name");
                Read::Poison(self.poison(envelope, error))
            }
            (Err(error), _) => {
                let why = std::error::Error::source(&error)
                    .map(ToString::to_string)
                    .unwrap_or_default();
                let error = Error::new(ErrorKind::Decode, operation, why).caused_by(error);
                Read::Poison(self.poison(envelope, error))
            }
        }
    }

    /// Whether the envelope is that of an object asked for.
    fn check(&self, operation: &'static str, envelope: &Envelope<'_>) -> Result<(), Error> {
        let wrong = |message: &str| Err(Error::new(ErrorKind::Decode, operation, message));
        if envelope.key().is_none() {
            return wrong("the object has no usable name");
        }
        if self.require_uid && envelope.uid.is_empty() {
            return wrong("the object has no uid");
        }
        if envelope.version.len() > VERSION_MAX {
            return wrong("the object's version is too long");
        }
        if self
            .namespace
            .as_deref()
            .is_some_and(|namespace| namespace != envelope.namespace)
        {
            return wrong("the object is in another namespace than was asked for");
        }
        Ok(())
    }

    /// Whether the kind, where one is told, is another than was asked for.
    fn is_foreign(&self, envelope: &Envelope<'_>) -> bool {
        if self.metadata_only {
            return !envelope.kind.is_empty() && envelope.kind != "PartialObjectMetadata";
        }
        let kind = &*envelope.kind;
        (!kind.is_empty() && (!self.is_of_kind(kind) || !self.is_like_the_others(kind)))
            || (!envelope.api_version.is_empty() && *envelope.api_version != *self.api_version)
    }

    /// Whether objects may call themselves `kind`. Where the name of the kind is not known, only what can be no
    /// object is refused.
    fn is_of_kind(&self, kind: &str) -> bool {
        if self.kind.is_empty() {
            !is_no_object(kind)
        } else {
            *kind == *self.kind
        }
    }

    /// Where the name of the kind is not known: whether `kind` is the one whose plural was asked for, once an object
    /// of that kind has been seen. Plurals are not always regular; until then nothing is held against a kind.
    fn is_like_the_others(&self, kind: &str) -> bool {
        if !self.kind.is_empty() {
            return true;
        }
        if let Some(learned) = self.learned.get() {
            return **learned == *kind;
        }
        if is_regular_plural(kind, &self.plural) {
            // Whoever was first learned the same.
            let _ = self.learned.set(kind.into());
        }
        true
    }

    fn is_elsewhere(&self, envelope: &Envelope<'_>) -> bool {
        self.shard
            .as_ref()
            .is_some_and(|shard| !shard.has(&envelope.uid, &envelope.namespace))
    }

    fn poison(&self, envelope: &Envelope<'_>, error: Error) -> Poison {
        let key = envelope.key().map(|key| key.to_key());
        Poison::new(key, version_of(envelope), error)
    }
}

impl<K> Clone for Context<K> {
    fn clone(&self) -> Self {
        Self {
            decode: Arc::clone(&self.decode),
            limits: self.limits,
            namespace: self.namespace.clone(),
            kind: Arc::clone(&self.kind),
            learned: Arc::clone(&self.learned),
            plural: Arc::clone(&self.plural),
            api_version: Arc::clone(&self.api_version),
            metadata_only: self.metadata_only,
            require_uid: self.require_uid,
            shard: self.shard.clone(),
            // Each answer's objects are decoded in one row.
            ground: Ground::default(),
        }
    }
}

impl<K> fmt::Debug for ApiListWatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiListWatch")
            .field("target", &self.target)
            .field("limits", &self.context.limits)
            .finish_non_exhaustive()
    }
}

/// Whether what was decoded calls itself otherwise than its envelope: a member may be there twice, and its readers need
/// not agree on which of them counts.
fn is_another<K: Object>(object: &K, envelope: &Envelope<'_>) -> bool {
    let differs = |told: Option<&str>, read: &str| told.is_some_and(|told| !told.is_empty() && told != read);
    differs(object.name(), &envelope.name)
        || differs(object.namespace(), &envelope.namespace)
        || differs(object.uid(), &envelope.uid)
        || differs(object.resource_version(), &envelope.version)
}

fn too_deep(operation: &'static str) -> Error {
    Error::new(ErrorKind::Decode, operation, "the object nests too deep")
}

/// Whether this is the kind of what is no object: an answer in another form than was asked for.
fn is_no_object(kind: &str) -> bool {
    matches!(kind, "Table" | "Status" | "PartialObjectMetadata")
}

/// Whether `plural` is how the plural of `kind` is formed as a rule.
fn is_regular_plural(kind: &str, plural: &str) -> bool {
    let kind = kind.to_ascii_lowercase();
    let Some(ending) = plural.strip_prefix(kind.trim_end_matches('y')) else {
        return false;
    };
    if kind.ends_with('y') {
        matches!(ending, "ies" | "ys")
    } else {
        matches!(ending, "" | "s" | "es")
    }
}

/// The version told, unless it is too long to be one.
fn version_of(envelope: &Envelope<'_>) -> ResourceVersion {
    if envelope.version.len() > VERSION_MAX {
        ResourceVersion::UNSET
    } else {
        ResourceVersion::new(&envelope.version)
    }
}

/// What an `Arc` adds to what it holds.
const ARC_COUNTS: usize = 2 * size_of::<usize>();
const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Longer addresses cannot be put into a request, or not before the server's own base address.
const URI_MAX: usize = 60_000;
/// Digits of the longest version taken for one.
const VERSION_MAX: usize = 39;
