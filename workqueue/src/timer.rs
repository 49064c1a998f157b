//! The one timer of a waiter that drives the delays of a queue.

#[cfg(not(loom))]
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

/// Made when first needed, dropped with the waiter: whoever takes over makes its own, on its own runtime.
#[derive(Debug, Default)]
pub(crate) struct Timer {
    #[cfg(not(loom))]
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

#[cfg(not(loom))]
impl Timer {
    /// Ready once `due` has come.
    pub(crate) fn poll_until(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self
            .sleep
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx)
    }
}

#[cfg(loom)]
impl Timer {
    /// Time stands still under loom.
    pub(crate) fn poll_until(&mut self, _due: Instant, _cx: &mut Context<'_>) -> Poll<()> {
        Poll::Pending
    }
}
