//! What follows when the contents cannot be read, or not in the way that was tried.

use informer_store::Object;
use tokio::time::Instant;

use super::super::{Effect, Machine, Next, Phase};
use crate::{Error, ErrorKind, ReadAt};

impl<K: Object> Machine<K> {
    pub(super) fn contents_failed(&mut self, now: Instant, error: Error) {
        if matches!(&self.phase, Phase::Contents(run) if run.streaming) {
            self.effects.push_back(Effect::Abort);
            self.streaming_failed(now, error);
        } else {
            self.list_failed(now, error);
        }
    }

    pub(in crate::machine) fn list_failed(&mut self, now: Instant, error: Error) {
        let Phase::Contents(run) = &self.phase else {
            return;
        };
        let later_page = run.request.continue_token.is_some();
        let bound = run.request.at != ReadAt::Latest;
        match error.kind() {
            ErrorKind::Expired | ErrorKind::NoProgress | ErrorKind::Invalid
                if later_page && !self.plan.unpaged =>
            {
                // The pages cannot be finished: ask for everything at once, this once.
                self.plan.unpaged = true;
                self.stats.retries += 1;
                self.soon(now, Next::Contents);
            }
            ErrorKind::Expired | ErrorKind::TooLarge if bound && !later_page => {
                self.plan.latest = true;
                self.stats.retries += 1;
                self.soon(now, Next::Contents);
            }
            kind if later_page && leaves_pages(kind) => self.page_failed(now, &error),
            _ => self.fail(now, &error, Next::Contents),
        }
    }

    /// A later page did not come, for a reason that says nothing against its token: what has been read counts still.
    fn page_failed(&mut self, now: Instant, error: &Error) {
        let Phase::Contents(run) = &mut self.phase else {
            return;
        };
        run.page.failures += 1;
        if run.page.failures >= PAGE_FAILURES_MAX {
            // This page never comes. Another way may lead past it: all at once, or in pages again.
            self.plan.unpaged = !self.plan.unpaged;
            return self.fail(now, error, Next::Contents);
        }
        if let Phase::Contents(mut run) = std::mem::replace(&mut self.phase, Phase::Idle) {
            run.begin_page_again();
            run.request.fresh = matches!(
                error.kind(),
                ErrorKind::Transport | ErrorKind::Timeout | ErrorKind::Unauthorized
            );
            self.fail(now, error, Next::Page(run));
        }
    }

    pub(in crate::machine) fn streaming_failed(&mut self, now: Instant, error: Error) {
        let Phase::Contents(run) = &self.phase else {
            return;
        };
        let bound = run.request.at != ReadAt::Latest;
        let refused = matches!(
            error.kind(),
            ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::NotFound
        ) || (error.kind() == ErrorKind::Server && run.flight.has_opened());
        match error.kind() {
            ErrorKind::Expired | ErrorKind::TooLarge if bound => {
                self.plan.latest = true;
                self.stats.retries += 1;
                self.soon(now, Next::Contents);
            }
            ErrorKind::Timeout => {
                // Silence is remembered, too, but not held against the server in anybody else's name.
                self.streaming_blocked = Some(now + self.config.streaming_lists_retry);
                self.fall_back(now, &error);
            }
            _ if refused => {
                self.plan.refused = true;
                self.fall_back(now, &error);
            }
            ErrorKind::Forbidden => self.fall_back(now, &error),
            _ => {
                self.plan.streaming_failures += 1;
                // The next attempt is a plain list: it may well do.
                self.plan.plain |= self.plan.streaming_failures >= 2;
                if self.plan.plain {
                    self.stats.streaming_list_fallbacks += 1;
                }
                self.fail(now, &error, Next::Contents);
            }
        }
    }

    fn fall_back(&mut self, now: Instant, error: &Error) {
        tracing::debug!(kind = %error.kind(), error = %error, "streaming list refused; listing instead");
        self.stats.streaming_list_fallbacks += 1;
        self.plan.plain = true;
        self.effects.push_back(Effect::Abort);
        self.go_on(now, Next::Contents);
    }

    pub(in crate::machine) fn streaming_closed(&mut self, now: Instant) {
        let error = Error::new(
            ErrorKind::Transport,
            "watch",
            "the watch ended before its initial events did",
        );
        self.streaming_failed(now, error);
    }
}

/// Whether an error of this kind leaves the pages of a list as they were.
fn leaves_pages(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Transport
            | ErrorKind::Tls
            | ErrorKind::Timeout
            | ErrorKind::Server
            | ErrorKind::TooLarge
            | ErrorKind::Throttled
            | ErrorKind::Unauthorized
            | ErrorKind::Protocol
    )
}

/// Attempts at one page, in a row, after which the list is begun anew.
const PAGE_FAILURES_MAX: u32 = 6;
