//! Which representation the client asked for.

use http::{HeaderMap, header};

use crate::{api::params::Query, status::ApiError};

/// The form an answer takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// Objects as they are.
    Json,
    /// Metadata alone.
    Partial,
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
/// 406 if the client accepts nothing this server can write.
pub(crate) fn form(headers: &HeaderMap, shape: Shape) -> Result<Form, ApiError> {
    let clauses = clauses(headers);
    if clauses.is_empty() {
        return Ok(Form::Json);
    }
    clauses
        .iter()
        .filter(|clause| clause.accepts_json())
        .find_map(|clause| {
            let (group, version) = (clause.param("g"), clause.param("v"));
            let meta = match (group, version) {
                ("meta.k8s.io", "v1") => Some(MetaVersion::V1),
                ("meta.k8s.io", "v1beta1") => Some(MetaVersion::V1beta1),
                _ => None,
            };
            match (clause.param("as"), shape) {
                ("", _) => Some(Form::Json),
                ("PartialObjectMetadata", Shape::Object) | ("PartialObjectMetadataList", Shape::List) => {
                    meta.map(|_| Form::Partial)
                }
                ("Table", _) => meta.map(Form::Table),
                _ => None,
            }
        })
        .ok_or_else(ApiError::not_acceptable)
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
