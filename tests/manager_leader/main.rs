//! Leader election: at most one contender works at a time, whatever the network and the clocks do.

#![expect(clippy::disallowed_methods, reason = "a test may run things side by side")]

mod network;
mod records;
mod release;
mod support;
mod terms;
