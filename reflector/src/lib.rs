#![doc = include_str!("../README.md")]

mod backoff;
mod client;
mod commons;
mod config;
mod decode;
mod error;
mod interner;
mod list_watch;
mod machine;
mod permits;
mod quarantine;
mod reflector;
mod state;
mod stats;
mod wire;

/// Entry points of the fuzz targets.
#[cfg(fuzzing)]
pub use crate::wire::harness as fuzzing;

pub use crate::{
    backoff::{Backoff, BackoffConfig},
    client::{ApiClient, ApiListWatch, Compression, Limits, PlainHttp, Shard, ShardField},
    commons::Commons,
    config::{Config, InitialRead, PoisonPolicy, StreamingLists},
    decode::{Decode, DecodeError, Indexed, Json},
    error::{Error, ErrorKind},
    interner::Interner,
    list_watch::{
        Event, EventStream, GetRequest, Got, Held, Item, ListEnd, ListRequest, ListStream, ListWatch, Listed,
        Poison, Purpose, ReadAt, Seen, WatchRequest, listed,
    },
    machine::{Effect, Gate, Input, Machine, Request, Room},
    permits::ListPermits,
    quarantine::{QuarantineEvent, Quarantined},
    reflector::{Reflector, ReflectorBuilder},
    state::{Reason, RelistReason, SyncState},
    stats::Stats,
};
