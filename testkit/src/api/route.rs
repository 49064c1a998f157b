//! What a path names.

use percent_encoding::percent_decode_str;

/// A path, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/`: the list of paths.
    Root,
    Version,
    /// `/healthz`, `/livez`, `/readyz`, with or without a check's name behind it.
    Health {
        endpoint: String,
        check: Option<String>,
    },
    Metrics,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/G`.
    Group(String),
    /// `/api/v1` and `/apis/G/V`.
    GroupVersion {
        group: String,
        version: String,
    },
    /// `/openapi/v3` and below.
    OpenApiV3(String),
    OpenApiV2,
    /// `/_sim/…`.
    Sim(String),
    Resource(ResourcePath),
    Unknown,
}

/// A path below a group and version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// The old `/watch/` form of a path.
    pub(crate) watch_prefix: bool,
}

impl Route {
    pub(crate) fn parse(path: &str) -> Self {
        let decoded: Option<Vec<String>> = path
            .trim_matches('/')
            .split('/')
            .filter(|segment| !segment.is_empty())
            .map(|segment| {
                percent_decode_str(segment)
                    .decode_utf8()
                    .ok()
                    .map(|text| text.into_owned())
            })
            .collect();
        let Some(segments) = decoded else {
            return Self::Unknown;
        };
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            [] => Self::Root,
            ["version"] => Self::Version,
            ["metrics"] => Self::Metrics,
            [endpoint @ ("healthz" | "livez" | "readyz")] => Self::Health {
                endpoint: (*endpoint).to_owned(),
                check: None,
            },
            [endpoint @ ("healthz" | "livez" | "readyz"), check @ ..] => Self::Health {
                endpoint: (*endpoint).to_owned(),
                check: Some(check.join("/")),
            },
            ["openapi", "v2"] => Self::OpenApiV2,
            ["openapi", "v3", rest @ ..] => Self::OpenApiV3(rest.join("/")),
            ["_sim", rest @ ..] => Self::Sim(rest.join("/")),
            ["api"] => Self::CoreVersions,
            ["apis"] => Self::Groups,
            ["apis", group] => Self::Group((*group).to_owned()),
            ["api", version] => Self::GroupVersion {
                group: String::new(),
                version: (*version).to_owned(),
            },
            ["apis", group, version] => Self::GroupVersion {
                group: (*group).to_owned(),
                version: (*version).to_owned(),
            },
            ["api", version, rest @ ..] => Self::resource("", version, rest),
            ["apis", group, version, rest @ ..] => Self::resource(group, version, rest),
            _ => Self::Unknown,
        }
    }

    fn resource(group: &str, version: &str, rest: &[&str]) -> Self {
        let (watch_prefix, rest) = match rest {
            ["watch", rest @ ..] if !rest.is_empty() => (true, rest),
            rest => (false, rest),
        };
        // Below `namespaces/NAME` these are subresources of the namespace itself, not resources within it.
        let (namespace, rest) = match rest {
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some((*namespace).to_owned()), rest),
            rest => (None, rest),
        };
        let mut path = ResourcePath {
            group: group.to_owned(),
            version: version.to_owned(),
            namespace,
            watch_prefix,
            ..ResourcePath::default()
        };
        match rest {
            [resource] => path.resource = (*resource).to_owned(),
            [resource, name] => {
                path.resource = (*resource).to_owned();
                path.name = Some((*name).to_owned());
            }
            // What is deeper than any path there is names a subresource that no kind has.
            [resource, name, subresource @ ..] => {
                path.resource = (*resource).to_owned();
                path.name = Some((*name).to_owned());
                path.subresource = Some(subresource.join("/"));
            }
            _ => return Self::Unknown,
        }
        Self::Resource(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(
        path: &str,
        namespace: Option<&str>,
        resource: &str,
        name: Option<&str>,
        subresource: Option<&str>,
    ) {
        let Route::Resource(found) = Route::parse(path) else {
            panic!("{path} is a resource")
        };
        let found = (found.namespace, found.resource, found.name, found.subresource);
        let own = |text: Option<&str>| text.map(str::to_owned);
        assert_eq!(
            found,
            (own(namespace), resource.to_owned(), own(name), own(subresource)),
            "{path}"
        );
    }

    #[test]
    fn paths_come_apart() {
        check("/api/v1/pods", None, "pods", None, None);
        check("/api/v1/namespaces/a/pods/", Some("a"), "pods", None, None);
        check("/api/v1/namespaces/a/pods/b", Some("a"), "pods", Some("b"), None);
        check(
            "/api/v1/namespaces/a/pods/b/status",
            Some("a"),
            "pods",
            Some("b"),
            Some("status"),
        );
        check("/api/v1/namespaces", None, "namespaces", None, None);
        check("/api/v1/namespaces/a", None, "namespaces", Some("a"), None);
        check(
            "/api/v1/namespaces/a/finalize",
            None,
            "namespaces",
            Some("a"),
            Some("finalize"),
        );
        check("/apis/apps/v1/deployments", None, "deployments", None, None);
        check(
            "/api/v1/watch/namespaces/a/pods/b",
            Some("a"),
            "pods",
            Some("b"),
            None,
        );
        check("/api/v1/nodes/a%2Fb", None, "nodes", Some("a/b"), None);
        check("/api/v1/a/b/c/d/e", None, "a", Some("b"), Some("c/d/e"));
    }

    #[test]
    fn other_paths_are_known_or_refused() {
        assert_eq!(Route::parse("/version/"), Route::Version);
        assert_eq!(Route::parse("/apis/apps"), Route::Group("apps".to_owned()));
        assert_eq!(Route::parse("/nosuch"), Route::Unknown);
        assert_eq!(Route::parse("/api/v1/%ff"), Route::Unknown);
    }
}
