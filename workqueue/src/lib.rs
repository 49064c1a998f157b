#![doc = include_str!("../README.md")]

mod bounded;
mod builder;
pub mod conformance;
mod contract;
pub mod delay;
pub mod guide;
mod in_flight;
mod next;
mod options;
mod order;
mod pace;
mod parallelize;
pub mod queue;
mod rate_limit;
mod shared;
mod shutdown;
mod state;
mod stats;
mod sync;
mod timer;
mod waiters;
mod work_queue;

pub use bounded::{AddWait, Full};
pub use builder::Builder;
pub use contract::{Queue, QueueItem};
pub use in_flight::{DeadLetter, InFlight};
pub use next::{Next, NextBatch};
pub use options::{AddOptions, Added, Debounce, Merge, Priority};
pub use order::{Flow, Group, Order, Shares};
pub use parallelize::{CancelHandle, Outcome, Parallelize, parallelize, parallelize_chunked};
pub use rate_limit::{
    Attempt, Delay, Exponential, FastSlow, MaxOf, MaxWait, RateLimiter, Ticket, TokenBucket,
    default_controller,
};
pub use shared::PANIC_DELAY;
pub use shutdown::{Drain, Report};
pub use stats::{Histogram, KeySnapshot, KeyState, Stats};
pub use work_queue::WorkQueue;
