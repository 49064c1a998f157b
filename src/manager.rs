//! Runs what a controller process consists of: ordered start and stop, signals, leader election, health, metrics.
//!
//! A [`Manager`] runs [`Component`]s. Each is a task of its own, in a [`Group`] that says when it starts; the order of
//! stop is the reverse. One that fails or panics degrades only itself. With an [`Elector`](leader::Elector) the group of
//! controllers runs only while this process leads.

mod backoff;
mod board;
mod component;
mod context;
pub mod health;
pub mod leader;
mod ready_made;
mod run;
mod signal;
mod status;
mod supervise;
mod text;

pub use self::{
    backoff::Backoff,
    board::AddError,
    component::{BoxError, Component, Group, OnFailure, Readiness, Runnable},
    context::Context,
    run::{Handle, Manager, ManagerBuilder, ManagerError},
    signal::Signals,
    status::{ComponentState, ComponentStatus, ElectionStatus, Phase, Status},
};
