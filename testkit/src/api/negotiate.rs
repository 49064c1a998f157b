//! Which representation the client asked for.

use http::{HeaderMap, header};

use crate::{api::params::Query, kind::Kind, status::ApiError};

/// The form an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Objects as they are.
    Json,
    /// Metadata alone.
    Partial(MetaVersion),
    /// Rows of cells, for people.
    Table(MetaVersion),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaVersion {
    V1,
    V1beta1,
}

impl MetaVersion {
    pub(crate) fn api_version(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

/// What kind of answer is negotiated: lists have another metadata form than single objects and watches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    Object,
    List,
}

/// One clause of an `Accept` header.
#[derive(Debug)]
struct Clause<'a> {
    media: &'a str,
    params: Vec<(&'a str, &'a str)>,
}

impl<'a> Clause<'a> {
    fn param(&self, name: &str) -> &'a str {
        self.params
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map_or("", |(_, value)| value)
    }

    fn accepts_json(&self) -> bool {
        matches!(self.media, "application/json" | "application/*" | "*/*")
    }
}

fn clauses(headers: &HeaderMap) -> Vec<Clause<'_>> {
    let all = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut clauses: Vec<Clause<'_>> = all
        .flat_map(|value| value.split(','))
        .filter_map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            let media = parts.next().filter(|media| !media.is_empty())?;
            let params = parts
                .filter_map(|part| part.split_once('='))
                .map(|(k, v)| (k.trim(), v.trim()))
                .collect();
            Some(Clause { media, params })
        })
        .collect();
    // Stable: clauses of equal weight keep the client's order.
    let weight = |clause: &Clause<'_>| clause.param("q").parse::<f32>().unwrap_or(1.0);
    clauses.sort_by(|a, b| weight(b).total_cmp(&weight(a)));
    clauses
}

/// Picks the form for an object, list or watch.
///
/// # Errors
/// 406 if the client accepts nothing this server can write, or a form that the answer has not.
pub(crate) fn form(headers: &HeaderMap, kind: &Kind, shape: Shape) -> Result<Form, ApiError> {
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return Ok(Form::Json);
    }
    let mut readable = clauses.iter().filter(|clause| clause.accepts_json()).peekable();
    if readable.peek().is_none() && !kind.custom {
        return Err(ApiError::not_acceptable());
    }
    for clause in readable {
        let meta = match (clause.param("g"), clause.param("v")) {
            ("meta.k8s.io", "v1") => Some(MetaVersion::V1),
            ("meta.k8s.io", "v1beta1") => Some(MetaVersion::V1beta1),
            _ => None,
        };
        match (clause.param("as"), meta, shape) {
            ("", ..) => return Ok(Form::Json),
            ("Table", Some(version), _) => return Ok(Form::Table(version)),
            ("PartialObjectMetadata", Some(version), Shape::Object)
            | ("PartialObjectMetadataList", Some(version), Shape::List) => return Ok(Form::Partial(version)),
            ("PartialObjectMetadata", Some(_), Shape::List) => {
                return Err(ApiError::not_acceptable_shape(format!(
                    "you requested PartialObjectMetadata, but the requested object is a list ({})",
                    kind.go_type(true)
                )));
            }
            ("PartialObjectMetadataList", Some(_), Shape::Object) => {
                return Err(ApiError::not_acceptable_shape(format!(
                    "you requested PartialObjectMetadataList, but the requested object is not a list ({})",
                    kind.go_type(false)
                )));
            }
            _ => {}
        }
    }
    Err(ApiError::not_acceptable_form())
}

/// Whether errors are indented: where people read them, and where the client asked for a form that errors have not
/// and for nothing else.
pub(crate) fn indents_errors(headers: &HeaderMap, query: &Query) -> bool {
    let clauses = clauses(headers);
    let plain = |clause: &Clause<'_>| clause.accepts_json() && clause.param("as").is_empty();
    wants_pretty(headers, query) || (!clauses.is_empty() && !clauses.iter().any(plain))
}

/// Whether the answer may be compressed.
pub(crate) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let all = headers
        .get_all(header::ACCEPT_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(',')).any(|clause| {
        let mut parts = clause.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip")) && !parts.any(|part| part == "q=0")
    })
}

/// Whether to indent the answer: on request, and for people with a terminal or a browser.
pub(crate) fn wants_pretty(headers: &HeaderMap, query: &Query) -> bool {
    if query.get("pretty").is_some() {
        return query.flag("pretty");
    }
    let agent = headers
        .get(header::USER_AGENT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|known| agent.starts_with(known))
}
