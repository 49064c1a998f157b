#![doc = include_str!("../README.md")]

mod action;
mod builder;
mod context;
mod controller;
mod failure;
mod handle;
mod panic;
pub mod predicate;
mod reconciler;
mod shared;
mod source;
mod spawner;
mod stats;
pub mod trigger;
mod writes;
mod yields;

pub use crate::{
    action::Action,
    builder::{Builder, WhenUnsynced},
    context::Context,
    controller::{Controller, Report, Unsynced},
    failure::{AnyError, Failure},
    handle::{Handle, Running, SourceId, SourceStatus, Status},
    predicate::Predicate,
    reconciler::{Key, ReconcileFn, Reconciler, reconcile_fn},
    shared::RunPhase,
    source::{Phase, Source},
    spawner::Spawner,
    stats::{Durations, Stats},
    trigger::{Keys, Trigger},
    writes::SeesWrites,
};
#[doc(no_inline)]
pub use async_trait::async_trait;
#[doc(no_inline)]
pub use informer_workqueue::{Exponential, Priority};
