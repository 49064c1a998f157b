//! Redelivery of what is held, spread over its period.

use std::time::Duration;

use informer_store::{Delta, Object, ResyncPart};
use tokio::time::Instant;

use super::{Effect, Machine};

impl<K: Object> Machine<K> {
    pub(super) fn tick_resync(&mut self, now: Instant) {
        let (Some((at, part)), Some(period)) = (self.resync_at, self.config.resync) else {
            return;
        };
        if at > now {
            return;
        }
        if self.synced {
            self.stats.resync_parts += 1;
            self.effects.push_back(Effect::Deliver(Delta::Resync(part)));
        }
        // Parts that came due while nobody looked are left out, not made up for in a burst.
        let step = (period / part.of).max(Duration::from_millis(1));
        let steps = (now - at).as_nanos() / step.as_nanos() + 1;
        let next = u32::try_from((u128::from(part.part) + steps) % u128::from(part.of)).unwrap_or(0);
        let at = at + step.saturating_mul(u32::try_from(steps).unwrap_or(u32::MAX));
        self.resync_at = Some((
            at,
            ResyncPart {
                part: next,
                of: part.of,
            },
        ));
    }
}
