//! Which objects a list or watch is about.

use std::borrow::Cow;

use super::params::ListOptions;
use crate::{
    kind::Kind,
    selector::{FieldSelector, LabelSelector, ShardSelector},
    status::ApiError,
    storage::{Event, EventType, Stored},
};

/// Selectors of a request, applied to what is parsed out of stored objects.
#[derive(Debug, Default)]
pub(crate) struct Filter {
    namespace: Option<String>,
    labels: Option<LabelSelector>,
    fields: Option<FieldSelector>,
    shard: Option<ShardSelector>,
}

impl Filter {
    /// # Errors
    /// 400 for selectors that don't parse or name unknown fields, 500 for a bad shard selector, as recorded.
    pub(crate) fn parse(
        kind: &Kind,
        namespace: Option<&str>,
        name: Option<&str>,
        options: &ListOptions,
    ) -> Result<Self, ApiError> {
        let labels = LabelSelector::parse(&options.label_selector)?;
        let mut fields = FieldSelector::parse(kind, &options.field_selector)?;
        if let Some(name) = name {
            if fields.name().is_some_and(|other| other != name) {
                let why = "fieldSelector metadata.name doesn't match requested name";
                return Err(ApiError::bad_request(why));
            }
            fields = FieldSelector::parse(kind, &format!("metadata.name={name}"))?;
        }
        let shard = match options.shard_selector.as_str() {
            "" => None,
            text => Some(ShardSelector::parse(text)?),
        };
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            labels: (!labels.is_empty()).then_some(labels),
            fields: (!fields.is_empty()).then_some(fields),
            shard,
        })
    }

    /// Whether anything but the namespace narrows the answer.
    pub(crate) fn selects(&self) -> bool {
        self.labels.is_some() || self.fields.is_some() || self.shard.is_some()
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(crate) fn shard_text(&self) -> Option<&str> {
        self.shard.as_ref().map(ShardSelector::text)
    }

    pub(crate) fn matches(&self, stored: &Stored) -> bool {
        let field = |field: &str| match field {
            "metadata.name" => Cow::Borrowed(&*stored.name),
            "metadata.namespace" => Cow::Borrowed(&*stored.namespace),
            other => Cow::Borrowed(stored.fields.get(other).map_or("", String::as_str)),
        };
        self.namespace
            .as_deref()
            .is_none_or(|namespace| *namespace == *stored.namespace)
            && self.fields.as_ref().is_none_or(|fields| fields.matches(field))
            && self
                .labels
                .as_ref()
                .is_none_or(|labels| labels.matches(|label| stored.labels.get(label).map(String::as_str)))
            && self
                .shard
                .as_ref()
                .is_none_or(|shard| shard.matches(&stored.uid, &stored.namespace))
    }

    /// What a watcher with this filter sees of an event: nothing, or a type and the state to send.
    pub(crate) fn see<'a>(&self, event: &'a Event) -> Option<(EventType, &'a Stored)> {
        let was = event
            .previous
            .as_ref()
            .is_some_and(|previous| self.matches(previous));
        let is = event.kind != EventType::Deleted && self.matches(&event.object);
        match (event.kind, was, is) {
            (EventType::Deleted, true, _) => Some((EventType::Deleted, &event.object)),
            (_, false, true) => Some((EventType::Added, &event.object)),
            (_, true, true) => Some((EventType::Modified, &event.object)),
            (_, true, false) => Some((EventType::Deleted, event.left())),
            _ => None,
        }
    }
}
