//! The `testkit` layer of the informer pipeline.

#![allow(dead_code, unused_imports)]

mod crd;
mod discovery;
mod kind;
mod patch;
mod schema;
mod selector;
mod status;
mod table;
mod write;

pub use kind::Kind;
pub use status::ApiError;
