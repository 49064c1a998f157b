//! The handler form of a subscription.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use futures::StreamExt;

use super::Subscription;
use crate::{Change, Object};

/// Changes handled before other tasks of the runtime get a turn.
const TURN: u32 = 128;

/// Takes changes one after the other; every `FnMut(Change<K>)` is one.
///
/// # Source
/// client-go `tools/cache/controller.go` `ResourceEventHandler`.
pub trait EventHandler<K>: Send {
    /// Takes a change. A slow handler delays only its own subscription.
    fn handle(&mut self, change: Change<K>);
}

impl<K, F: FnMut(Change<K>) + Send> EventHandler<K> for F {
    fn handle(&mut self, change: Change<K>) {
        self(change);
    }
}

/// What becomes of a handler's panic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerPanic {
    /// It is counted and logged with the key, and the next change is handled.
    #[default]
    Contained,
    /// It goes on through [`Subscription::run`], as with client-go.
    Propagated,
}

/// What [`Subscription::run`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Handled {
    /// Changes given to the handler.
    pub changes: u64,
    /// Times it panicked.
    pub panics: u64,
}

impl<K: Object> Subscription<K> {
    /// What becomes of a handler's panic. Default: [`HandlerPanic::Contained`].
    pub fn on_panic(mut self, on_panic: HandlerPanic) -> Self {
        self.on_panic = on_panic;
        self
    }

    /// Gives every change to `handler`, one at a time, until the subscription ends.
    ///
    /// # Panics
    /// If the handler does and [`HandlerPanic::Propagated`] is chosen.
    ///
    /// # Cancel safety
    /// Dropping the future leaves at once; no handler call is interrupted.
    pub async fn run(mut self, mut handler: impl EventHandler<K>) -> Handled {
        let mut handled = Handled::default();
        let mut turn = TURN;
        while let Some(change) = self.next().await {
            handled.changes += 1;
            let key = change.key().clone();
            // What the handler leaves behind is its own affair; nothing of ours is within reach of the unwinding.
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| handler.handle(change))) {
                handled.panics += 1;
                self.shared.note_panic();
                tracing::error!(%key, "handler panicked");
                if self.on_panic == HandlerPanic::Propagated {
                    resume_unwind(panic);
                }
            }
            turn -= 1;
            if turn == 0 {
                turn = TURN;
                yield_now().await;
            }
        }
        handled
    }
}

/// Lets other tasks run.
async fn yield_now() {
    let mut yielded = false;
    futures::future::poll_fn(|context| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}
