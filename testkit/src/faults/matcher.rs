//! When a fault strikes.

use serde::{Deserialize, Serialize};

use crate::requests::{Request, Verb};

/// The occasions on which a fault strikes: requests, or the objects and events that go out in them.
///
/// Everything left open matches everything. For faults of single objects and events, name and namespace are those of
/// the object, and the count is one of objects or events; otherwise they are those of the request.
///
/// # Examples
/// ```
/// use informer_testkit::{On, Verb};
/// let third_page = On::list("pods").nth(3);
/// let two_writes = On::verb(Verb::Update).namespace("default").times(2);
/// # let _ = (third_page, two_writes);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
#[non_exhaustive]
pub struct On {
    /// The verb. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verb: Option<Verb>,
    /// The plural name, as `pods`, `deployments` or `deployments.apps`. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// The namespace. Default: any, and none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The object's name. Default: any, and none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A text that path and query together contain. Default: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_contains: Option<String>,
    /// How many matching occasions pass unharmed first. Default: `0`.
    pub skip: u64,
    /// How many occasions it strikes on after that. Default: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u64>,
}

impl On {
    /// Every occasion.
    pub fn any() -> Self {
        Self::default()
    }

    /// Requests with this verb.
    pub fn verb(verb: Verb) -> Self {
        Self {
            verb: Some(verb),
            ..Self::default()
        }
    }

    /// Lists of a resource, by its plural name.
    pub fn list(resource: impl Into<String>) -> Self {
        Self::verb(Verb::List).resource(resource)
    }

    /// Watches of a resource, by its plural name.
    pub fn watch(resource: impl Into<String>) -> Self {
        Self::verb(Verb::Watch).resource(resource)
    }

    /// Narrows to a resource, by its plural name.
    #[must_use]
    pub fn resource(mut self, resource: impl Into<String>) -> Self {
        self.resource = Some(resource.into());
        self
    }

    /// Narrows to a namespace.
    #[must_use]
    pub fn namespace(mut self, namespace: impl Into<String>) -> Self {
        self.namespace = Some(namespace.into());
        self
    }

    /// Narrows to an object's name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Narrows to requests whose path and query contain a text, such as `continue=`.
    #[must_use]
    pub fn path_contains(mut self, text: impl Into<String>) -> Self {
        self.path_contains = Some(text.into());
        self
    }

    /// Strikes on the n-th occasion alone, counted from 1.
    #[must_use]
    pub fn nth(self, nth: u64) -> Self {
        self.skip(nth.saturating_sub(1)).times(1)
    }

    /// Lets this many occasions pass first.
    #[must_use]
    pub fn skip(mut self, occasions: u64) -> Self {
        self.skip = occasions;
        self
    }

    /// Strikes this many times at most.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    pub(crate) fn matches_request(&self, request: &Request) -> bool {
        let same = |wanted: &Option<String>, got: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| got == Some(wanted))
        };
        self.matches_target(request)
            && same(&self.namespace, request.namespace.as_deref())
            && same(&self.name, request.name.as_deref())
    }

    pub(crate) fn matches_object(&self, request: &Request, namespace: &str, name: &str) -> bool {
        self.matches_target(request)
            && self.namespace.as_deref().is_none_or(|wanted| wanted == namespace)
            && self.name.as_deref().is_none_or(|wanted| wanted == name)
    }

    fn matches_target(&self, request: &Request) -> bool {
        self.verb.is_none_or(|verb| verb == request.verb)
            && self
                .resource
                .as_deref()
                .is_none_or(|wanted| is_resource(wanted, request))
            && self
                .path_contains
                .as_deref()
                .is_none_or(|text| request.uri.contains(text))
    }
}

/// Whether a request is about a resource, named by its plural, with or without its group.
pub(crate) fn is_resource(wanted: &str, request: &Request) -> bool {
    match wanted.strip_prefix(request.resource.as_str()) {
        Some("") => true,
        Some(rest) => !request.group.is_empty() && rest.strip_prefix('.') == Some(request.group.as_str()),
        None => false,
    }
}
