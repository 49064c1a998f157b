//! What happened to one kind lately.

use std::{
    collections::VecDeque,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::time::Instant;

use super::object::{EventType, Stored};

/// How much history a kind keeps. An event leaves when either bound is passed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) events: usize,
    pub(crate) age: Duration,
}

impl Window {
    /// The newest event of a kind is always kept: without it no watch would ever get one.
    pub(crate) fn new(events: usize, age: Duration) -> Self {
        Self {
            events: events.max(1),
            age,
        }
    }
}

impl Default for Window {
    fn default() -> Self {
        Self {
            events: 10_000,
            age: Duration::MAX,
        }
    }
}

/// One write.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) version: u64,
    pub(crate) kind: EventType,
    /// The state written; for a deletion the last state, under the deletion's version.
    pub(crate) object: Arc<Stored>,
    pub(crate) previous: Option<Arc<Stored>>,
    pub(crate) at: Instant,
    /// The state for watchers whose selector the object just left: built when the first of them asks.
    left: OnceLock<Arc<Stored>>,
}

impl Event {
    pub(crate) fn new(
        version: u64,
        kind: EventType,
        object: Arc<Stored>,
        previous: Option<Arc<Stored>>,
        at: Instant,
    ) -> Arc<Self> {
        Arc::new(Self {
            version,
            kind,
            object,
            previous,
            at,
            left: OnceLock::new(),
        })
    }

    /// The previous state under this event's version: what a watcher gets when the object leaves its selector.
    pub(crate) fn left(&self) -> &Arc<Stored> {
        self.left.get_or_init(|| {
            let previous = self.previous.as_ref().unwrap_or(&self.object);
            Arc::new(previous.at_version(self.version))
        })
    }
}

/// A kind's events, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Log {
    events: VecDeque<Arc<Event>>,
    /// Watches may start at this version or later.
    start: u64,
    /// States from this version on can be rebuilt; below `start` only for replicas that are still there.
    floor: u64,
    /// The newest event that was let go: who had not got there yet has missed it.
    lost: u64,
}

impl Log {
    pub(crate) fn start(&self) -> u64 {
        self.start
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost
    }

    pub(crate) fn reaches(&self, version: u64) -> bool {
        version >= self.floor
    }

    pub(crate) fn push(&mut self, event: Arc<Event>) {
        self.events.push_back(event);
    }

    pub(crate) fn after(&self, version: u64) -> impl Iterator<Item = &Arc<Event>> {
        self.events.range(self.position_after(version)..)
    }

    /// Where the events after a version begin, looked for from the newest backwards: that is where watches are.
    fn position_after(&self, version: u64) -> usize {
        let is_after = |at: usize| self.events[at].version > version;
        let mut end = self.events.len();
        let mut stride = 1;
        while end > 0 && is_after(end - 1) {
            let back = end.saturating_sub(stride);
            if !is_after(back) {
                // It is between here and there.
                let (mut low, mut high) = (back + 1, end - 1);
                while low < high {
                    let middle = low + (high - low) / 2;
                    if is_after(middle) {
                        high = middle;
                    } else {
                        low = middle + 1;
                    }
                }
                return low;
            }
            end = back;
            stride *= 2;
        }
        end
    }

    /// Lets events go that are outside the window, but none after `pin`.
    pub(crate) fn trim(&mut self, window: Window, pin: u64, now: Instant) {
        let beyond = self.events.len().saturating_sub(window.events);
        if beyond > 0 {
            self.start = self.start.max(self.events[beyond - 1].version);
        }
        if window.age < Duration::MAX {
            let too_old = |event: &Arc<Event>| now.saturating_duration_since(event.at) > window.age;
            let old = self.events.iter().take_while(|event| too_old(event)).last();
            self.start = self.start.max(old.map_or(0, |event| event.version));
        }
        self.release(pin);
    }

    pub(crate) fn forget_to(&mut self, version: u64, pin: u64) {
        self.start = self.start.max(version);
        self.release(pin);
    }

    /// Empties the log: history begins anew after `version`.
    pub(crate) fn clear(&mut self, version: u64) {
        let before = self.events.iter().rev().map(|event| event.version);
        let newest = before.chain([self.lost]).find(|event| *event <= version);
        self.lost = newest.unwrap_or_default();
        self.events.clear();
        self.start = version;
        self.floor = version;
    }

    fn release(&mut self, pin: u64) {
        let to = self.start.min(pin);
        while self.events.front().is_some_and(|event| event.version <= to) {
            self.lost = self.events.pop_front().map_or(self.lost, |event| event.version);
        }
        self.floor = self.floor.max(to);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::{super::object::Opening, *};

    #[test]
    fn events_after_a_version_are_found_wherever_they_begin() {
        let object = json!({"metadata": {"name": "a"}});
        let stored = Stored::encode(
            &object,
            1,
            &Opening::new("K", "v1", false),
            EventType::Added,
            BTreeMap::new(),
        );
        let stored = Arc::new(stored);
        let mut log = Log::default();
        for count in 0..40_u64 {
            for version in 0..=count * 3 + 1 {
                let found: Vec<u64> = log.after(version).map(|event| event.version).collect();
                let expected: Vec<u64> = (1..=count).map(|at| at * 3).filter(|at| *at > version).collect();
                assert_eq!(found, expected, "after {version} of {count}");
            }
            let version = (count + 1) * 3;
            log.push(Event::new(
                version,
                EventType::Added,
                Arc::clone(&stored),
                None,
                crate::clock::now(),
            ));
        }
    }
}
