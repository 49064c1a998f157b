//! Selectors of list, watch and deletecollection: by label, by field, and by hash range (shards).

mod field;
mod label;
mod shard;

pub(crate) use field::{FieldSelector, field_value};
pub(crate) use label::{LabelSelector, is_dns_word, label_value_errors, qualified_name_errors};
pub(crate) use shard::ShardSelector;
