//! Leader election: of all replicas of a controller, at most one works at a time.
//!
//! The record is a `coordination.k8s.io/v1` Lease as client-go writes it, so contenders in Go and Rust can share one.
//! What each process relies on is its own monotonic clock only:
//!
//! - a leader's lease counts from the *start* of the last acknowledged request, a contender's wait from the
//!   *arrival* of the last change it saw; clocks may be hours apart, and may step;
//! - at the renew deadline work is told to stop, before the lease can have run out it is dropped;
//! - the lease is released only after the work has stopped, and only if it is still the same term;
//! - each term has a [`FencingToken`], newer than that of every term before.
//!
//! # Trade-offs
//!
//! Clocks that run at different *rates* are covered up to [`Timing::margin`]. Contenders of one lease must not share an
//! identity; if two do, a process waits for the lease to run out like for anybody else's, so the worst is that a
//! restarted process waits.

mod clock;
mod core;
mod elector;
mod lock;
mod observer;
mod record;
mod term;
mod timing;

pub use self::{
    core::LostReason,
    elector::{Elector, ElectorBuilder, ElectorError, Ended, OnLost, Release},
    lock::{LeaseLock, Lock, LockError},
    observer::{LeaderStatus, Observer, Stuck},
    record::FencingToken,
    term::{EndReason, NotLeading, Term},
    timing::{Timing, TimingError},
};

/// The election has ended, its status will not change any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the leader election has ended")]
pub struct NotRunning;
