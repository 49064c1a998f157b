//! The manager: order of start and stop, failures that stay where they are, deadlines, leadership.

#![expect(clippy::disallowed_methods, reason = "a test may run things side by side")]

mod failures;
mod leadership;
mod order;
mod stopping;
mod support;
