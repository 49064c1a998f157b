//! Query parameters, and the rules for which of them go together.

use std::time::Duration;

use serde_json::json;

use crate::status::{ApiError, Cause};

/// A query string, taken apart; the first value of a name counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        Self(
            form_urlencoded::parse(query.as_bytes())
                .into_owned()
                .filter(|(name, _)| !name.is_empty())
                .collect(),
        )
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The value, unless it is absent or empty.
    pub(crate) fn non_empty(&self, name: &str) -> Option<&str> {
        self.get(name).filter(|value| !value.is_empty())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub(crate) fn pairs(&self) -> &[(String, String)] {
        &self.0
    }

    /// A boolean as the API reads it: `false`, `0` (in any case) and absence are false, everything else true.
    pub(crate) fn flag(&self, name: &str) -> bool {
        self.optional_flag(name).unwrap_or(false)
    }

    fn optional_flag(&self, name: &str) -> Option<bool> {
        self.get(name)
            .map(|value| !matches!(value.to_ascii_lowercase().as_str(), "false" | "0"))
    }
}

/// How a version in a request binds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    Exact,
    NotOlderThan,
}

/// The parameters of list, watch and delete-collection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ListOptions {
    pub(crate) label_selector: String,
    pub(crate) field_selector: String,
    pub(crate) shard_selector: String,
    pub(crate) watch: bool,
    /// The query asks for the watch, not the path alone: only then it starts with the state, and says where that ends.
    pub(crate) asked_watch: bool,
    pub(crate) bookmarks: bool,
    /// As sent: the list and the watch read it differently.
    pub(crate) version: String,
    pub(crate) version_match: Option<Match>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) limit: Option<usize>,
    pub(crate) continue_token: String,
    pub(crate) send_initial_events: Option<bool>,
}

impl ListOptions {
    /// Reads the parameters and applies the rules that do not depend on the server's state.
    ///
    /// # Errors
    /// 400 for numbers that are none, 422 for combinations the API forbids.
    pub(crate) fn parse(query: &Query, watch: bool, watch_list_enabled: bool) -> Result<Self, ApiError> {
        let text = |name: &str| query.get(name).unwrap_or_default().to_owned();
        let asked_watch = query.flag("watch");
        let watch = watch || asked_watch;
        let mut causes = Vec::new();
        let version_match = match query.get("resourceVersionMatch") {
            None | Some("") => None,
            Some("Exact") => Some(Match::Exact),
            Some("NotOlderThan") => Some(Match::NotOlderThan),
            Some(_) => None,
        };
        let options = Self {
            label_selector: text("labelSelector"),
            field_selector: text("fieldSelector"),
            shard_selector: text("shardSelector"),
            watch,
            asked_watch,
            bookmarks: query.flag("allowWatchBookmarks"),
            version: text("resourceVersion"),
            version_match,
            timeout: number(query, "timeoutSeconds")?
                .filter(|&seconds| seconds > 0)
                .map(Duration::from_secs),
            limit: number(query, "limit")?
                .filter(|&limit| limit > 0)
                .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX)),
            continue_token: text("continue"),
            send_initial_events: query.optional_flag("sendInitialEvents"),
        };
        if asked_watch {
            options.check_watch(query, watch_list_enabled, &mut causes);
        } else {
            options.check_list(query, &mut causes);
        }
        if causes.is_empty() {
            Ok(options)
        } else {
            Err(ApiError::invalid_options("ListOptions", causes))
        }
    }

    fn check_watch(&self, query: &Query, watch_list_enabled: bool, causes: &mut Vec<Cause>) {
        const FIELD: &str = "resourceVersionMatch";
        const ONLY: &str = "NotOlderThan";
        let asked = query.non_empty(FIELD);
        if self.send_initial_events.is_some() {
            if asked != Some(ONLY) {
                let why = "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan";
                causes.push(Cause::forbidden(FIELD, why));
            }
            if !watch_list_enabled {
                causes.push(Cause::forbidden("sendInitialEvents", GATED));
            }
        }
        let Some(asked) = asked else { return };
        if self.send_initial_events.is_none() {
            let why = "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided";
            causes.push(Cause::forbidden(FIELD, why));
        }
        if asked != ONLY {
            causes.push(Cause::not_supported(FIELD, &json!(asked), &[ONLY]));
        }
        if !self.continue_token.is_empty() {
            let why = "resourceVersionMatch is forbidden when continue is provided";
            causes.push(Cause::forbidden(FIELD, why));
        }
    }

    fn check_list(&self, query: &Query, causes: &mut Vec<Cause>) {
        if let Some(asked) = query.non_empty("resourceVersionMatch") {
            if self.version.is_empty() {
                causes.push(Cause::forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden unless resourceVersion is provided",
                ));
            }
            if !self.continue_token.is_empty() {
                causes.push(Cause::forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch is forbidden when continue is provided",
                ));
            }
            if self.version_match.is_none() {
                causes.push(Cause::not_supported(
                    "resourceVersionMatch",
                    &json!(asked),
                    &["Exact", "NotOlderThan", ""],
                ));
            }
            if self.version_match == Some(Match::Exact) && self.version == "0" {
                causes.push(Cause::forbidden(
                    "resourceVersionMatch",
                    "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
                ));
            }
        }
        if self.send_initial_events.is_some() {
            causes.push(Cause::forbidden(
                "sendInitialEvents",
                "sendInitialEvents is forbidden for list",
            ));
        }
    }

    /// The version as a number; `None` when it is absent or empty.
    ///
    /// # Errors
    /// 400 on a list, and a 500 without reason on a watch, as recorded.
    pub(crate) fn version_number(&self) -> Result<Option<u64>, ApiError> {
        if self.version.is_empty() {
            return Ok(None);
        }
        parse_version(&self.version).map(Some).map_err(|problem| {
            if self.watch {
                ApiError::untyped(problem)
            } else {
                ApiError::bad_request(format!("invalid resource version: {problem}"))
            }
        })
    }
}

const GATED: &str = "sendInitialEvents is forbidden for watch unless the WatchList feature gate is enabled";

/// Reads a resource version; the error is the text the API server's number parser gives.
pub(crate) fn parse_version(text: &str) -> Result<u64, String> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let why = if digits {
        "value out of range"
    } else {
        "invalid syntax"
    };
    text.parse::<u64>().ok().filter(|_| digits).ok_or_else(|| {
        format!(
            "resourceVersion: Invalid value: {quoted}: strconv.ParseUint: parsing {quoted}: {why}",
            quoted = json!(text)
        )
    })
}

fn number(query: &Query, name: &str) -> Result<Option<u64>, ApiError> {
    let Some(text) = query.non_empty(name) else {
        return Ok(None);
    };
    let number: i64 = text
        .parse()
        .map_err(|error| ApiError::bad_request(ApiError::no_number("Int", text, &error)))?;
    // Negative numbers mean the same as none.
    Ok(u64::try_from(number).ok())
}
