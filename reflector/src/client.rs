//! [`ApiListWatch`]: lists and watches through a `kube_client::Client`.

mod answer;
mod api_client;
mod context;
mod ground;
mod limits;
mod list;
mod request;
mod shard;
mod watch;

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use http::{HeaderValue, header};
use informer_store::Object;
use kube_client::{
    Client,
    client::Body,
    core::{ApiResource, DynamicObject, Resource},
};
use serde::de::DeserializeOwned;

use self::{
    answer::Answer,
    context::{Context, Read},
    ground::Ground,
    list::ListBody,
    request::Target,
    watch::WatchBody,
};
pub use self::{
    api_client::{ApiClient, PlainHttp},
    limits::{Compression, Limits},
    shard::{Shard, ShardField},
};
use crate::{
    Commons, Decode, Error, ErrorKind, EventStream, GetRequest, Got, Held, Json, ListRequest, ListStream,
    ListWatch, Purpose, WatchRequest,
    decode::{DecodeError, Transformed},
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
                selects: false,
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
        let selector = selector.into();
        self.context.selects |= !selector.is_empty();
        self.target.labels = Some(selector);
        self
    }

    /// Only objects with these fields, `spec.nodeName=a`. Default: all.
    #[must_use]
    pub fn fields(mut self, selector: impl Into<String>) -> Self {
        let selector = selector.into();
        self.context.selects |= !selector.is_empty();
        self.target.fields = Some(selector);
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
        let metadata = self.context.metadata_only;
        let accept = match request.purpose {
            Purpose::Contents if metadata => METADATA_LIST,
            Purpose::Contents => JSON,
            _ => METADATA_LIST_OR_JSON,
        };
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

impl<K> fmt::Debug for ApiListWatch<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiListWatch")
            .field("target", &self.target)
            .field("limits", &self.context.limits)
            .finish_non_exhaustive()
    }
}

const JSON: &str = "application/json";
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
const METADATA_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// Some extension servers know no other form than whole objects, which will do as well.
const METADATA_LIST_OR_JSON: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;q=0.5";
/// Longer addresses cannot be put into a request, or not before the server's own base address.
const URI_MAX: usize = 60_000;
