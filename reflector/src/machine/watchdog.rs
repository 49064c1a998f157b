//! [`Watchdog`]: notices that a server is silent, and asks it why on a new connection.

use std::time::Duration;

use informer_store::{Object, ResourceVersion};
use tokio::time::Instant;

use super::{Machine, Next, Phase};
use crate::{Error, ErrorKind, Reason, RelistReason, SyncState};

/// Whether the server has been silent for longer than it ever pauses.
#[derive(Debug)]
pub(super) struct Watchdog {
    pub(super) cadence: Duration,
    pub(super) armed: bool,
    /// Trips since the last frame.
    pub(super) trips: u32,
    /// How long nothing was heard in watches that have ended, since something was: what is put down or closed before
    /// the dog trips must not keep it quiet for ever.
    pub(super) unheard: Duration,
}

impl Watchdog {
    /// A quarter longer than the server ever pauses.
    pub(super) fn patience(&self) -> Duration {
        self.cadence + self.cadence / 4
    }

    /// From when on something that was due at `due` may put the watch down: once the server has been heard, or was given
    /// the time to be. A server that has never sent a bookmark need not say anything.
    pub(super) fn lets_go_at(&self, due: Instant, heard: bool) -> Instant {
        if heard || !self.armed {
            due
        } else {
            due + self.patience()
        }
    }

    /// It tripped and nothing was wrong: this server pauses longer.
    pub(super) fn widen(&mut self, max: Duration) {
        self.cadence = (self.cadence * 2).min(max);
    }
}

impl<K: Object> Machine<K> {
    /// Nothing was heard for longer than this server ever pauses: drops the watch and asks on a new connection.
    pub(super) fn silent(&mut self, now: Instant) {
        self.stats.watchdog_trips += 1;
        self.watchdog.trips += 1;
        self.watchdog.unheard = Duration::ZERO;
        tracing::debug!(rv = %self.version, "the watch is silent; probing");
        self.set_state(SyncState::Degraded {
            reason: Reason::Silent,
            since: self.proved.unwrap_or(now),
            attempts: self.watchdog.trips,
        });
        self.go_on(now, Next::Probe);
    }

    /// Another source found that the history went back. This one may be past the point where that can be told, and so
    /// may be what it is being told now.
    pub(super) fn on_doubt(&mut self, now: Instant) {
        if matches!(self.phase, Phase::Stopped) {
            return;
        }
        self.plan.doubted = true;
        self.plan.latest = true;
        match &mut self.phase {
            // What is asked for is asked in the light of the doubt.
            Phase::Idle
            | Phase::Stopped
            | Phase::Waiting {
                next: Next::Contents, ..
            } => {}
            // While attempts fail the wait stays as it is, and so does what ends it.
            Phase::Waiting { at, outage, .. } => {
                let (at, in_outage) = (*at, *outage);
                self.count_relist(RelistReason::Rewound);
                self.wait(now, at, Next::Contents);
                if let Phase::Waiting { outage, .. } = &mut self.phase {
                    *outage = in_outage;
                }
            }
            // The list being read may have been begun before.
            Phase::Contents(_) => {
                self.count_relist(RelistReason::Rewound);
                self.soon(now, Next::Contents);
            }
            _ => self.relist(now, RelistReason::Rewound),
        }
    }

    /// A silent server told its version.
    pub(super) fn probed(&mut self, now: Instant, version: ResourceVersion) {
        self.plan.fresh = true;
        if !self.can_follow(&version) {
            self.stats.bad_versions += 1;
            let error = Error::new(
                ErrorKind::Protocol,
                "list",
                "the list has no usable resource version",
            );
            return self.fail(now, &error, Next::Watch);
        }
        self.served(now);
        if version < self.version {
            self.plan.older += 1;
            self.plan.latest = true;
            self.plan.plain = true;
            return self.relist(now, RelistReason::Rewound);
        }
        self.plan.older = 0;
        self.watchdog.unheard = Duration::ZERO;
        if version == self.version {
            // Nothing has happened, so there was nothing to say.
            self.proved = Some(now);
            if std::mem::take(&mut self.watchdog.trips) > 0 {
                self.watchdog.widen(self.config.watch_timeout * 2);
            }
            self.set_state(SyncState::Synced { version });
        } else if self.watchdog.trips >= 2 {
            self.watchdog.trips = 0;
            self.plan.latest = true;
            return self.relist(now, RelistReason::Silent);
        }
        self.go_on(now, Next::Watch);
    }
}
