//! The signals by which an operator or Kubernetes ends a process.

use std::io;

/// Whether a manager listens to signals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Signals {
    /// SIGTERM or SIGINT stops the manager, a second one forces it to end at once. Ctrl-C where there are no signals.
    #[default]
    Listen,
    /// Signals are left to others.
    Ignore,
}

/// Both signals in one wait.
#[derive(Debug)]
pub(super) struct Listener {
    #[cfg(unix)]
    streams: Option<(tokio::signal::unix::Signal, tokio::signal::unix::Signal)>,
    #[cfg(not(unix))]
    listens: bool,
}

impl Listener {
    #[cfg(unix)]
    pub(super) fn new(signals: Signals) -> io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        let streams = match signals {
            Signals::Listen => Some((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)),
            Signals::Ignore => None,
        };
        Ok(Self { streams })
    }

    #[cfg(not(unix))]
    pub(super) fn new(signals: Signals) -> io::Result<Self> {
        Ok(Self {
            listens: signals == Signals::Listen,
        })
    }

    /// Waits for the next signal.
    #[cfg(unix)]
    pub(super) async fn next(&mut self) -> &'static str {
        if let Some((terminate, interrupt)) = &mut self.streams {
            tokio::select! {
                Some(()) = terminate.recv() => return "SIGTERM",
                Some(()) = interrupt.recv() => return "SIGINT",
                else => {}
            }
        }
        std::future::pending().await
    }

    /// Waits for the next Ctrl-C.
    #[cfg(not(unix))]
    pub(super) async fn next(&mut self) -> &'static str {
        if self.listens && tokio::signal::ctrl_c().await.is_ok() {
            return "Ctrl-C";
        }
        std::future::pending().await
    }
}
