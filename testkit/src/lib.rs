#![doc = include_str!("../README.md")]

mod api;
mod background;
mod body;
mod builder;
mod clock;
mod crd;
mod discovery;
mod faults;
pub mod fixtures;
pub mod generate;
mod kind;
mod listener;
mod openapi;
mod patch;
pub mod record;
mod replica;
mod requests;
mod schema;
mod selector;
mod server;
mod service;
pub mod sim;
mod state;
mod status;
mod storage;
mod table;
mod watches;
mod write;

pub use crate::{
    body::Body,
    builder::Builder,
    faults::{Fault, Faults, Injected, On},
    kind::Kind,
    listener::Listener,
    replica::Replica,
    requests::{Request, Requests, Verb},
    server::ApiServer,
    service::ApiService,
    status::ApiError,
    storage::{Lag, Snapshot},
    watches::Watches,
};
