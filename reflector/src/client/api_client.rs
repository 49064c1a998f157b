//! [`ApiClient`]: a client as reflectors want it.

use std::{fmt, net::IpAddr, sync::Arc};

use kube_client::{Client, Config};

use super::answer::transport;
use crate::{Commons, Error, ErrorKind};

/// A Kubernetes client together with what everybody who uses it should share: a limit on the lists in flight, what
/// the server has refused, and a way to get new connections.
///
/// Make one per cluster and clone it; a bare `kube_client::Client` shares nothing with its clones, for it cannot be
/// told whether two of them are the same.
///
/// # Examples
/// ```no_run
/// use informer_reflector::{ApiClient, ApiListWatch};
/// use k8s_openapi::api::core::v1::{Pod, Service};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = ApiClient::new(kube_client::Config::infer().await?)?;
/// // At most four lists at a time, whoever makes them.
/// let pods = ApiListWatch::<Pod>::all(&client);
/// let services = ApiListWatch::<Service>::all(&client);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct ApiClient {
    client: Client,
    pub(super) fresh: Option<Arc<Fresh>>,
    commons: Commons,
}

pub(super) type Fresh = dyn Fn() -> Client + Send + Sync;

/// What becomes of credentials that would travel over plain HTTP.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlainHttp {
    /// They are not sent: making the client is an error, unless the server is this machine.
    #[default]
    WithoutCredentials,
    /// They are sent, for whoever knows that the network is safe.
    WithCredentials,
}

impl ApiClient {
    /// A client of `config` whose own retries are off: retrying is the reflector's job.
    ///
    /// # Errors
    /// [`ErrorKind::Insecure`] if credentials would travel over plain HTTP to another machine,
    /// [`ErrorKind::Invalid`] if no client can be made of `config`, [`ErrorKind::Tls`] if this needs TLS.
    ///
    /// # Panics
    /// Outside a tokio runtime, as `Client::try_from`.
    pub fn new(config: Config) -> Result<Self, Error> {
        Self::with(config, PlainHttp::default())
    }

    /// As [`new`](Self::new), with a choice about plain HTTP.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    ///
    /// # Panics
    /// As [`new`](Self::new).
    pub fn with(mut config: Config, plain: PlainHttp) -> Result<Self, Error> {
        check_url(&config, plain)?;
        config.default_retry = false;
        let client = Client::try_from(config.clone()).map_err(made)?;
        let first = client.clone();
        Ok(Self {
            client,
            // What could be made once can be made again; if not, the old one must do.
            fresh: Some(Arc::new(move || {
                Client::try_from(config.clone()).unwrap_or_else(|_| first.clone())
            })),
            commons: Commons::default(),
        })
    }

    /// At most `lists` lists at a time. Default: 4.
    #[must_use]
    pub fn lists_at_once(mut self, lists: usize) -> Self {
        self.commons = Commons::new(lists);
        self
    }

    /// The client itself, for requests of one's own.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// What all who use it share.
    #[must_use]
    pub fn commons(&self) -> &Commons {
        &self.commons
    }
}

/// A client that shares its limits with nothing but clones of this value, and cannot make new connections.
impl From<Client> for ApiClient {
    fn from(client: Client) -> Self {
        Self {
            client,
            fresh: None,
            commons: Commons::default(),
        }
    }
}

impl From<&Self> for ApiClient {
    fn from(client: &Self) -> Self {
        client.clone()
    }
}

fn check_url(config: &Config, plain: PlainHttp) -> Result<(), Error> {
    let url = &config.cluster_url;
    let (Some(scheme), Some(host)) = (url.scheme_str(), url.host().filter(|host| !host.is_empty())) else {
        let message = "the server's address is no URL; it should look like https://host:port";
        return Err(Error::new(ErrorKind::Invalid, "connect", message));
    };
    if scheme != "http" && scheme != "https" {
        let message = format!("the server's address has the scheme {scheme:.32}, neither https nor http");
        return Err(Error::new(ErrorKind::Invalid, "connect", message));
    }
    if scheme == "https" || is_loopback(host) {
        return Ok(());
    }
    if !has_credentials(config) {
        tracing::warn!(
            host,
            "the server is reached over plain http: what it answers can be forged on the way"
        );
        return Ok(());
    }
    if plain == PlainHttp::WithCredentials {
        tracing::warn!(host, "credentials are sent over plain http");
        return Ok(());
    }
    let message = format!("credentials would be sent to {host:.128} over plain http; use https");
    Err(Error::new(ErrorKind::Insecure, "connect", message))
}

/// Whether requests carry anything worth stealing. A client certificate does not travel without TLS.
fn has_credentials(config: &Config) -> bool {
    let auth = &config.auth_info;
    let secret = |name: &http::HeaderName| {
        [
            http::header::AUTHORIZATION,
            http::header::PROXY_AUTHORIZATION,
            http::header::COOKIE,
        ]
        .contains(name)
    };
    let in_url = config
        .cluster_url
        .authority()
        .is_some_and(|authority| authority.as_str().contains('@'));
    in_url
        || auth.token.is_some()
        || auth.token_file.is_some()
        || auth.password.is_some()
        || auth.username.is_some()
        || auth.exec.is_some()
        || auth.auth_provider.is_some()
        || config
            .headers
            .iter()
            .any(|(name, value)| secret(name) || value.is_sensitive())
}

fn is_loopback(host: &str) -> bool {
    let bare = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host);
    bare.parse::<IpAddr>().map_or_else(
        |_| bare.eq_ignore_ascii_case("localhost") || bare.to_ascii_lowercase().ends_with(".localhost"),
        |address| address.is_loopback(),
    )
}

fn made(error: kube_client::Error) -> Error {
    let error = transport("connect", error);
    if error.kind() == ErrorKind::Transport {
        error.into_kind(ErrorKind::Invalid)
    } else {
        error
    }
}

impl fmt::Debug for ApiClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiClient")
            .field("commons", &self.commons)
            .finish_non_exhaustive()
    }
}
