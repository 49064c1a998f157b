//! The core against a naive model, every step checked (W1–W5, W7): who may run and in which order, what is delayed and
//! until when, failures, reservations, counters, and how many keys are held.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use informer_workqueue::queue::{Config, Core, Lease, Request, Verdict};
use informer_workqueue::{Debounce, Delay, Flow, Group, Merge, Order, Priority, Shares, Ticket};
use proptest::prelude::*;
use tokio::time::Instant;

const KEYS: u8 = 7;
const FLOW_LIMIT: u32 = 2;

#[derive(Clone, Debug)]
enum Op {
    Add {
        key: u8,
        priority: Priority,
        merge: Merge,
        after: Option<u64>,
        limited: Option<u64>,
        at_once: bool,
    },
    Take,
    Finish {
        nth: usize,
        verdict: End,
    },
    Cancel(u8),
    Park(u8, u64),
    Unpark(u8),
    Forget(u8),
    Pass(u64),
}

#[derive(Clone, Debug)]
enum End {
    Done,
    Again(u64),
    Retry(u64),
    Forget,
}

fn nanos() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => (0u64..20).prop_map(|ms| ms * 1_000_000),
        2 => 0u64..5_000_000,
        1 => 0u64..2_000_000_000_000,
        1 => Just(0),
    ]
}

fn priority() -> impl Strategy<Value = Priority> {
    prop_oneof![
        Just(Priority::Urgent),
        Just(Priority::Normal),
        Just(Priority::Resync)
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let merge = prop_oneof![4 => Just(Merge::Earliest), 1 => Just(Merge::Latest), 1 => Just(Merge::Replace)];
    let add = (
        0..KEYS,
        priority(),
        merge,
        prop::option::weighted(0.4, nanos()),
        prop::option::weighted(0.3, nanos()),
        prop::bool::weighted(0.2),
    );
    let end = prop_oneof![
        3 => Just(End::Done),
        1 => nanos().prop_map(End::Again),
        3 => nanos().prop_map(End::Retry),
        1 => Just(End::Forget),
    ];
    prop_oneof![
        8 => add.prop_map(|(key, priority, merge, after, limited, at_once)| Op::Add { key, priority, merge, after, limited, at_once }),
        6 => Just(Op::Take),
        5 => (any::<usize>(), end).prop_map(|(nth, verdict)| Op::Finish { nth, verdict }),
        1 => (0..KEYS).prop_map(Op::Cancel),
        1 => (0..KEYS, nanos()).prop_map(|(key, time)| Op::Park(key, time)),
        1 => (0..KEYS).prop_map(Op::Unpark),
        1 => (0..KEYS).prop_map(Op::Forget),
        4 => nanos().prop_map(Op::Pass),
    ]
}

/// What the model knows about one key.
#[derive(Clone, Debug, Default)]
struct Key {
    /// Wanted, place in line.
    ready: Option<u64>,
    /// Wanted later.
    due: Option<u64>,
    running: bool,
    started: Option<u64>,
    gate: Option<u64>,
    failures: u32,
    backoff: Option<Vec<u64>>,
    /// The backoff was not forgotten.
    counts: bool,
    burst: Option<u64>,
    priority: Priority,
    run_priority: Priority,
    /// Held for its minimum interval.
    kept: bool,
}

struct Settings {
    order: Order,
    classes: bool,
    debounce: Option<(u64, u64)>,
    interval: u64,
}

struct Model {
    settings: Settings,
    keys: BTreeMap<u8, Key>,
    now: u64,
    place: u64,
    adds: u64,
    retries: u64,
    returned: Vec<u64>,
}

impl Model {
    fn flow(&self, key: u8) -> Option<u8> {
        self.settings.classes.then_some(key % 2)
    }

    fn group(&self, key: u8) -> Option<u8> {
        (self.settings.classes && [0, 4, 6].contains(&key)).then_some(0)
    }

    fn next_place(&mut self) -> u64 {
        self.place += 1;
        self.place
    }

    /// Lets time pass to `to`, one event after the other.
    fn pass(&mut self, to: u64) {
        loop {
            let dues = self
                .keys
                .iter()
                .filter_map(|(key, state)| Some((state.due?, *key, 0)));
            let gates = self
                .keys
                .iter()
                .filter_map(|(key, state)| Some((state.gate?, *key, 1)));
            let next = dues.chain(gates).min().filter(|(at, ..)| *at <= to);
            let Some((at, key, what)) = next else { break };
            // Everything due at one instant shares a place in line.
            let place = self.next_place();
            let _ = (key, what);
            for state in self.keys.values_mut() {
                if state.gate == Some(at) {
                    state.gate = None;
                }
                if state.due == Some(at) {
                    state.due = None;
                    state.failures += u32::from(state.backoff.take().is_some() && state.counts);
                    state.burst = None;
                    state.ready = Some(place);
                    self.adds += 1;
                }
            }
        }
        self.now = to;
        self.forget_idle();
    }

    fn forget_idle(&mut self) {
        let (now, interval) = (self.now, self.settings.interval);
        self.keys.retain(|_, key| {
            key.kept &= key.started.is_some_and(|started| started + interval > now);
            key.ready.is_some() || key.due.is_some() || key.running || key.gate.is_some() || key.kept
        });
    }

    fn drop_backoff(&mut self, key: u8) {
        let state = self.keys.get_mut(&key).unwrap();
        state.burst = None;
        self.returned.extend(state.backoff.take().into_iter().flatten());
    }

    fn add(
        &mut self,
        key: u8,
        priority: Priority,
        merge: Merge,
        after: Option<u64>,
        limited: Option<(u64, u64)>,
        at_once: bool,
    ) {
        let now = self.now;
        if after.is_some() || limited.is_some() {
            self.retries += 1;
        }
        let state = self.keys.entry(key).or_default().clone();
        let mut debounced = false;
        let mut backoff = None;
        let mut at = now;
        match (after, limited) {
            (Some(after), Some((delay, ticket))) if after < delay => {
                self.returned.push(ticket);
                at = now + after;
            }
            (_, Some((delay, ticket))) => {
                at = now + delay;
                backoff = Some(vec![ticket]);
            }
            (Some(after), None) => at = now + after,
            (None, None) => {
                if let Some((quiet, max)) = self.settings.debounce.filter(|_| !at_once) {
                    at = (now + quiet).min(state.burst.unwrap_or(now) + max);
                    debounced = true;
                }
            }
        }
        if let Some(started) = state.started.filter(|_| !at_once && self.settings.interval > 0) {
            at = at.max(started + self.settings.interval);
        }
        let wanted_before = state.ready.is_some() || state.due.is_some();
        let current = if state.ready.is_some() {
            now
        } else {
            state.due.unwrap_or(u64::MAX)
        };
        let moves = match merge {
            _ if !wanted_before => true,
            _ if state.due.is_some() && state.burst.is_some() && debounced => true,
            Merge::Earliest => state.ready.is_none() && at < current,
            Merge::Latest => at > current,
            _ => state.ready.is_none() || at > now,
        };
        let raised = wanted_before && priority < state.priority;
        {
            let state = self.keys.get_mut(&key).unwrap();
            state.priority = if wanted_before {
                state.priority.min(priority)
            } else {
                priority
            };
        }
        if !moves {
            self.returned.extend(backoff.into_iter().flatten());
            if raised && state.ready.is_some() && !state.running {
                let place = self.next_place();
                self.keys.get_mut(&key).unwrap().ready = Some(place);
            }
            return;
        }
        if !(state.due.is_some() && state.burst.is_some() && debounced) {
            self.drop_backoff(key);
        }
        let place = self.next_place();
        let state = self.keys.get_mut(&key).unwrap();
        (state.ready, state.due) = (None, None);
        if at <= now {
            if let Some(tickets) = backoff {
                // A delay of nothing is served at once, unless the key runs: then the end of the run decides.
                if state.running {
                    self.returned.extend(tickets)
                } else {
                    state.failures += 1
                }
            }
            state.burst = None;
            state.ready = Some(place);
            self.adds += 1;
        } else {
            if backoff.is_some() {
                (state.backoff, state.counts) = (backoff, true);
            }
            if debounced {
                state.burst.get_or_insert(now);
            }
            state.due = Some(at);
        }
    }

    fn may_run(&self, key: u8) -> bool {
        let state = &self.keys[&key];
        let running = |same: &dyn Fn(u8) -> bool| {
            self.keys
                .iter()
                .filter(|(other, state)| state.running && same(**other))
                .count()
        };
        state.ready.is_some()
            && !state.running
            && state.gate.is_none()
            && self
                .group(key)
                .is_none_or(|group| running(&|other| self.group(other) == Some(group)) < 1)
            && self
                .flow(key)
                .is_none_or(|flow| running(&|other| self.flow(other) == Some(flow)) < FLOW_LIMIT as usize)
    }

    /// The keys of which any may be handed out next.
    fn candidates(&self) -> BTreeSet<u8> {
        let may: Vec<u8> = self
            .keys
            .keys()
            .copied()
            .filter(|key| self.may_run(*key))
            .collect();
        let line = |key: u8| {
            let lane = if self.settings.order == Order::Fifo {
                Priority::Normal
            } else {
                self.keys[&key].priority
            };
            (lane, self.flow(key))
        };
        let best_lane = may.iter().map(|key| line(*key).0).min();
        let first = |key: &u8| {
            let line_of_key = line(*key);
            may.iter()
                .all(|other| line(*other) != line_of_key || self.keys[other].ready >= self.keys[key].ready)
        };
        let strict = |key: &u8| self.settings.order != Order::Strict || Some(line(*key).0) == best_lane;
        may.iter().copied().filter(first).filter(strict).collect()
    }

    fn start(&mut self, key: u8) {
        let state = self.keys.get_mut(&key).unwrap();
        (state.ready, state.running, state.started) = (None, true, Some(self.now));
        state.run_priority = state.priority;
    }

    fn finish(&mut self, key: u8, verdict: &End, ticket: u64) {
        let now = self.now;
        let interval = self.settings.interval;
        let pending_backoff = self.keys[&key].backoff.is_some() && self.keys[&key].counts;
        let state = self.keys.get_mut(&key).unwrap();
        state.running = false;
        if matches!(verdict, End::Forget) {
            state.started = None;
        }
        let keeps = matches!(verdict, End::Retry(_)) || pending_backoff && matches!(verdict, End::Done);
        if !keeps {
            state.failures = 0;
        }
        if matches!(verdict, End::Retry(_) | End::Again(_)) {
            self.retries += 1;
        }
        if state.ready.is_some() {
            if matches!(verdict, End::Retry(_)) {
                self.returned.push(ticket);
            }
            return;
        }
        let asked = state.due.is_some();
        if !asked {
            state.priority = state.run_priority;
        }
        let (delay, backoff) = match verdict {
            End::Done | End::Forget => {
                state.kept = true;
                return self.forget_idle();
            }
            End::Again(delay) => (*delay, None),
            End::Retry(delay) => (*delay, Some(vec![ticket])),
        };
        let at = (now + delay).max(if interval > 0 {
            state.started.unwrap() + interval
        } else {
            0
        });
        if state.due.is_some_and(|due| due < at) {
            self.returned.extend(backoff.into_iter().flatten());
            return;
        }
        state.priority = state.priority.min(state.run_priority);
        self.drop_backoff(key);
        let place = self.next_place();
        let state = self.keys.get_mut(&key).unwrap();
        state.due = None;
        if at <= now {
            state.failures += u32::from(backoff.is_some());
            state.ready = Some(place);
            self.adds += 1;
        } else {
            (state.backoff, state.counts) = (backoff, true);
            state.due = Some(at);
        }
    }

    fn cancel(&mut self, key: u8) -> bool {
        let Some(state) = self.keys.get_mut(&key) else {
            return false;
        };
        if state.ready.is_none() && state.due.is_none() {
            return false;
        }
        (state.ready, state.due) = (None, None);
        if !state.running {
            state.failures = 0;
            state.kept = true;
        }
        self.drop_backoff(key);
        self.forget_idle();
        true
    }
}

fn check(settings: Settings, ops: Vec<Op>) -> Result<(), TestCaseError> {
    let start = Instant::now();
    let mut config = Config::default();
    config.order = settings.order;
    config.debounce = settings
        .debounce
        .map(|(quiet, max)| Debounce::new(Duration::from_nanos(quiet), Duration::from_nanos(max)));
    config.min_interval = (settings.interval > 0).then(|| Duration::from_nanos(settings.interval));
    let mut core = Core::new(config, start);
    let mut model = Model {
        settings,
        keys: BTreeMap::new(),
        now: 0,
        place: 0,
        adds: 0,
        retries: 0,
        returned: Vec::new(),
    };
    let mut leases: Vec<(u8, Lease)> = Vec::new();
    let mut next_ticket = 0;
    for op in ops {
        let at = |nanos: u64| start + Duration::from_nanos(nanos);
        let now = at(model.now);
        let class = |model: &Model, key: u8| {
            let flow = model
                .flow(key)
                .map(|flow| Flow::of(flow).running_limit(FLOW_LIMIT));
            (flow, model.group(key).map(Group::of))
        };
        next_ticket += 1;
        let delay = |nanos: u64| {
            let mut delay = Delay::from(Duration::from_nanos(nanos));
            delay.tickets.push(Ticket::new(next_ticket));
            delay
        };
        match op {
            Op::Add {
                key,
                priority,
                merge,
                after,
                limited,
                at_once,
            } => {
                let mut request = Request::default();
                (request.priority, request.merge, request.at_once) = (priority, merge, at_once);
                request.after = after.map(Duration::from_nanos);
                request.limited = limited.map(delay);
                (request.flow, request.group) = class(&model, key);
                core.add(key, request, now);
                model.add(
                    key,
                    priority,
                    merge,
                    after,
                    limited.map(|nanos| (nanos, next_ticket)),
                    at_once,
                );
            }
            Op::Take => {
                let candidates = model.candidates();
                match core.take(now) {
                    None => prop_assert!(
                        candidates.is_empty(),
                        "nothing handed out, could be {candidates:?}"
                    ),
                    Some(taken) => {
                        prop_assert!(
                            candidates.contains(&taken.key),
                            "{} handed out, not {candidates:?}",
                            taken.key
                        );
                        prop_assert_eq!(taken.failures, model.keys[&taken.key].failures);
                        prop_assert_eq!(taken.priority, model.keys[&taken.key].priority);
                        model.start(taken.key);
                        leases.push((taken.key, taken.lease));
                    }
                }
            }
            Op::Finish { nth, verdict } => {
                if leases.is_empty() {
                    continue;
                }
                let (key, lease) = leases.swap_remove(nth % leases.len());
                let given = match &verdict {
                    End::Done => Verdict::Done,
                    End::Again(nanos) => Verdict::Again(Duration::from_nanos(*nanos)),
                    End::Retry(nanos) => Verdict::Retry(delay(*nanos)),
                    End::Forget => Verdict::Forget,
                };
                prop_assert!(core.finish(lease, given, now).is_some());
                prop_assert!(
                    core.finish(lease, Verdict::Done, now).is_none(),
                    "a lease ends once"
                );
                model.finish(key, &verdict, next_ticket);
            }
            Op::Cancel(key) => prop_assert_eq!(core.cancel(&key, now), model.cancel(key)),
            Op::Park(key, nanos) => {
                let (_, until) = ((), model.now + nanos);
                core.park(key, at(until), "test", class(&model, key), now);
                if nanos > 0 {
                    model.keys.entry(key).or_default().gate = Some(until);
                } else if let Some(state) = model.keys.get_mut(&key) {
                    state.gate = None;
                    model.forget_idle();
                }
            }
            Op::Unpark(key) => {
                let shut = model
                    .keys
                    .get_mut(&key)
                    .is_some_and(|state| state.gate.take().is_some());
                prop_assert_eq!(core.unpark(&key, now), shut);
                model.forget_idle();
            }
            Op::Forget(key) => {
                core.forget(&key);
                if let Some(state) = model.keys.get_mut(&key) {
                    state.failures = 0;
                    // The delay goes on, but counts for nothing.
                    state.counts = false;
                }
            }
            Op::Pass(nanos) => {
                let target = model.now + nanos;
                model.pass(target);
                while core.advance(at(target)) {}
            }
        }
        compare(&mut core, &mut model, start)?;
    }
    drain(&mut core, &mut model, leases, start)
}

fn compare(core: &mut Core<u8>, model: &mut Model, start: Instant) -> Result<(), TestCaseError> {
    let now = start + Duration::from_nanos(model.now);
    let count = |pick: &dyn Fn(&Key) -> bool| model.keys.values().filter(|key| pick(key)).count();
    let stats = core.stats(now);
    prop_assert_eq!(stats.adds, model.adds, "adds");
    prop_assert_eq!(stats.retries, model.retries, "retries");
    prop_assert_eq!(stats.depth, count(&|key| key.ready.is_some()), "depth");
    prop_assert_eq!(stats.running, count(&|key| key.running), "running");
    prop_assert_eq!(
        stats.delayed,
        count(&|key| key.due.is_some() && !key.running),
        "delayed"
    );
    let parked: usize = stats.parked.iter().map(|(_, count)| count).sum();
    prop_assert_eq!(
        parked,
        count(&|key| key.ready.is_some() && !key.running && key.gate.is_some()),
        "parked"
    );
    prop_assert_eq!(core.keys(), model.keys.len(), "keys held: {:?}", model.keys);
    for key in 0..KEYS {
        let known = model.keys.get(&key).map_or(0, |key| {
            key.failures + u32::from(key.backoff.is_some() && key.counts)
        });
        prop_assert_eq!(core.retries(&key), known, "failures of {}", key);
        let due = model.keys.get(&key).and_then(|key| key.due);
        let shown = core.snapshot(&key, now).and_then(|snapshot| snapshot.next_run);
        if let Some(due) = due {
            prop_assert!(shown.is_some_and(|at| at >= start + Duration::from_nanos(due)));
            prop_assert!(
                core.next_wake()
                    .is_some_and(|wake| wake <= start + Duration::from_nanos(due)),
                "asleep too long"
            );
        }
    }
    if let Some(wake) = core.next_wake() {
        prop_assert!(wake > now, "nothing is due, so nobody is woken");
    }
    let mut returned: Vec<u64> = core.take_tickets().iter().map(Ticket::value).collect();
    let mut expected = std::mem::take(&mut model.returned);
    returned.sort_unstable();
    expected.sort_unstable();
    prop_assert_eq!(returned, expected, "reservations that came free");
    Ok(())
}

/// W2 and W7: whatever is wanted runs in the end, and then nothing is held.
fn drain(
    core: &mut Core<u8>,
    model: &mut Model,
    mut leases: Vec<(u8, Lease)>,
    start: Instant,
) -> Result<(), TestCaseError> {
    for _ in 0..200 {
        let now = start + Duration::from_nanos(model.now);
        while let Some(taken) = core.take(now) {
            prop_assert!(model.candidates().contains(&taken.key));
            model.start(taken.key);
            leases.push((taken.key, taken.lease));
        }
        prop_assert!(model.candidates().is_empty());
        for (key, lease) in leases.drain(..) {
            core.finish(lease, Verdict::Done, now);
            model.finish(key, &End::Done, 0);
            compare(core, model, start)?;
        }
        model.pass(model.now + 100_000_000_000_000);
        compare(core, model, start)?;
    }
    prop_assert_eq!(core.keys(), 0);
    prop_assert_eq!(core.next_wake(), None);
    Ok(())
}

fn settings() -> impl Strategy<Value = Settings> {
    let order = prop_oneof![
        Just(Order::Fifo),
        Just(Order::Strict),
        Just(Order::Lanes(Shares::new(3, 2, 1)))
    ];
    let debounce = prop::option::weighted(0.3, (1_000u64..10_000_000, 1_000u64..40_000_000));
    let debounce = debounce.prop_map(|debounce| debounce.map(|(quiet, max)| (quiet, max.max(quiet))));
    let interval = prop_oneof![3 => Just(0u64), 1 => 1u64..30_000_000];
    (order, any::<bool>(), debounce, interval).prop_map(|(order, classes, debounce, interval)| Settings {
        order,
        classes,
        debounce,
        interval,
    })
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:?} classes {} debounce {:?} interval {}",
            self.order, self.classes, self.debounce, self.interval
        )
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_core_does_what_the_model_does(settings in settings(), ops in prop::collection::vec(op(), 1..80)) {
        check(settings, ops)?;
    }
}
