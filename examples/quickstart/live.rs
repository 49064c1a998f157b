//! What is printed while it runs: progress until everything is synced, then a line a second.

use std::time::Duration;

use informer::{Informer, reflector::SyncState, store::Object};
use tokio::time::Instant;

use crate::{counts::Counts, support::say};

pub struct Live<'a> {
    counts: &'a Counts,
    start: Instant,
    last: Totals,
}

/// What only grows.
#[derive(Clone, Copy, Default)]
struct Totals {
    at: Duration,
    events: u64,
    reconciles: u64,
}

impl<'a> Live<'a> {
    pub fn new(counts: &'a Counts) -> Self {
        Self {
            counts,
            start: Instant::now(),
            last: Totals::default(),
        }
    }

    /// Prints how far each cache is, until all are synced. Why one is not, it says for as long as that lasts.
    pub async fn until_synced(&mut self) {
        let counts = self.counts;
        let synced = async {
            counts.pods.synced().await;
            counts.config_maps.synced().await;
            counts.namespaces.synced().await;
        };
        let mut synced = std::pin::pin!(synced);
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tokio::select! {
                () = &mut synced => break,
                _ = tick.tick() => say!(
                    "syncing: pods {}, config maps {}, namespaces {}",
                    progress(&counts.pods),
                    progress(&counts.config_maps),
                    progress(&counts.namespaces)
                ),
            }
        }
        say!(
            "synced: {} pods, {} config maps, {} namespaces in {:.2} s",
            counts.pods.cache().len(),
            counts.config_maps.cache().len(),
            counts.namespaces.cache().len(),
            self.start.elapsed().as_secs_f64()
        );
        self.last = self.totals();
    }

    /// Prints the line of this second.
    pub fn line(&mut self) {
        let (counts, now) = (self.counts, self.totals());
        let seconds = (now.at - self.last.at).as_secs_f64().max(0.001);
        let rate = |now: u64, before: u64| (now - before) as f64 / seconds;
        let queue = counts.controller.queue().stats();
        let objects =
            counts.pods.cache().len() + counts.config_maps.cache().len() + counts.namespaces.cache().len();
        say!(
            "{:>3.0} s  objects {objects}  events/s {:.0}  queue {}  reconciles/s {:.0}  retries {}  relists {}",
            now.at.as_secs_f64(),
            rate(now.events, self.last.events),
            queue.depth,
            rate(now.reconciles, self.last.reconciles),
            queue.retries,
            relists(counts),
        );
        self.last = now;
    }

    fn totals(&self) -> Totals {
        Totals {
            at: self.start.elapsed(),
            events: events(self.counts),
            reconciles: self.counts.controller.stats().reconciles(),
        }
    }
}

/// Events that the three watches brought.
pub fn events(counts: &Counts) -> u64 {
    let (pods, config_maps, namespaces) = (&counts.pods, &counts.config_maps, &counts.namespaces);
    pods.reflector().stats().events
        + config_maps.reflector().stats().events
        + namespaces.reflector().stats().events
}

/// Lists that had to be made anew.
pub fn relists(counts: &Counts) -> u64 {
    let (pods, config_maps, namespaces) = (&counts.pods, &counts.config_maps, &counts.namespaces);
    pods.reflector().stats().relists_total()
        + config_maps.reflector().stats().relists_total()
        + namespaces.reflector().stats().relists_total()
}

fn progress<K: Object>(informer: &Informer<K>) -> String {
    match &*informer.state().borrow() {
        SyncState::Listing {
            items,
            expected: Some(expected),
        } => format!("{items} of {expected}"),
        SyncState::Listing {
            items,
            expected: None,
        } => items.to_string(),
        SyncState::Streaming => {
            format!(
                "streaming, {:.1} MB",
                informer.reflector().stats().bytes as f64 / 1e6
            )
        }
        SyncState::Degraded { reason, attempts, .. } => format!("failing ({reason}, {attempts} attempts)"),
        state if informer.is_synced() => format!("{} ({})", informer.cache().len(), state.as_str()),
        state => state.as_str().to_owned(),
    }
}
