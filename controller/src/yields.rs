//! Giving others on the same task their turn.

use std::{
    future::{Future, poll_fn},
    task::Poll,
};

/// Counts what was done without a pause.
#[derive(Debug, Default)]
pub(crate) struct Turns(u32);

impl Turns {
    /// Ends a turn; every so often the task is given up for a moment.
    pub(crate) async fn next(&mut self) {
        self.0 += 1;
        if self.0 >= TURNS {
            self.0 = 0;
            yield_now().await;
        }
    }
}

fn yield_now() -> impl Future<Output = ()> {
    let mut yielded = false;
    poll_fn(move |cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
}

/// Turns without a pause: long enough to make a pause cheap, short enough (some ten microseconds) to go unnoticed.
const TURNS: u32 = 32;
