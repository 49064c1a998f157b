//! The machine alone, without I/O: whatever a server does, in any order, its promises hold.

use std::{collections::VecDeque, time::Duration};

use informer_reflector::{
    Config, Effect, Error, ErrorKind, Event, Gate, Got, Input, Item, ListEnd, Listed, Machine, Poison,
    PoisonPolicy, Purpose, ReadAt, Request, Seen,
};
use informer_store::{Delta, ObjectKey, ResourceVersion};
use k8s_openapi::api::core::v1::ConfigMap;
use proptest::prelude::*;
use tokio::time::Instant;

/// What the server does next.
#[derive(Clone, Debug)]
enum Step {
    Object { name: u8, uid: u8, version: u64 },
    Deleted { name: u8, uid: u8, version: u64 },
    Poison { name: u8, version: u64 },
    Bookmark { version: u64, end: bool },
    Unreadable { name: u8, version: u64 },
    Blocked { seconds: u64 },
    End { version: u64, token: bool },
    Closed,
    Failed(ErrorKind),
    Doubt,
    Wait { seconds: u64 },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let version = 0..200_u64;
    let step = prop_oneof![
        4 => (0..6_u8, 0..8_u8, version.clone())
            .prop_map(|(name, uid, version)| Step::Object { name, uid, version }),
        2 => (0..6_u8, 0..8_u8, version.clone())
            .prop_map(|(name, uid, version)| Step::Deleted { name, uid, version }),
        1 => (0..6_u8, version.clone()).prop_map(|(name, version)| Step::Poison { name, version }),
        2 => (version.clone(), any::<bool>()).prop_map(|(version, end)| Step::Bookmark { version, end }),
        1 => (0..6_u8, version.clone()).prop_map(|(name, version)| Step::Unreadable { name, version }),
        1 => (0..9000_u64).prop_map(|seconds| Step::Blocked { seconds }),
        3 => (version, any::<bool>()).prop_map(|(version, token)| Step::End { version, token }),
        2 => Just(Step::Closed),
        2 => prop::sample::select(vec![
            ErrorKind::Expired, ErrorKind::TooLarge, ErrorKind::Throttled, ErrorKind::Unauthorized,
            ErrorKind::Forbidden, ErrorKind::Server, ErrorKind::Transport, ErrorKind::Invalid, ErrorKind::Protocol,
        ]).prop_map(Step::Failed),
        1 => Just(Step::Doubt),
        2 => (0..400_u64).prop_map(|seconds| Step::Wait { seconds }),
    ];
    prop::collection::vec(step, 1..120)
}

/// Most objects of a name are the same one.
fn item(name: u8, uid: u8, version: u64) -> Item<ConfigMap> {
    let mut object = ConfigMap::default();
    object.metadata.name = Some(format!("o{name}"));
    object.metadata.uid = Some(format!("u{name}-{}", uid / 6));
    object.metadata.resource_version = Some(version.to_string());
    Item::new(object).expect("it has a name")
}

fn poison(name: u8, version: u64) -> Poison {
    Poison::new(
        Some(ObjectKey::cluster(&format!("o{name}"))),
        version.into(),
        Error::new(ErrorKind::Decode, "watch", "bad"),
    )
}

/// A machine, the request it waits for, and what it was seen to do.
struct Sim {
    machine: Machine<ConfigMap>,
    now: Instant,
    request: Option<Request>,
    sent: VecDeque<Instant>,
    claimed: ResourceVersion,
    replaced: bool,
    held: std::collections::BTreeMap<String, ResourceVersion>,
    /// It has seen that the server works again.
    recovered: bool,
}

impl Sim {
    fn new(streaming: bool, with_neighbours: bool, seed: u64) -> Self {
        Self::with(Config::default(), streaming, with_neighbours, seed)
    }

    fn with(config: Config, streaming: bool, with_neighbours: bool, seed: u64) -> Self {
        let mut machine = Machine::new(config, streaming, fastrand::Rng::with_seed(seed));
        if with_neighbours {
            machine = machine.with_neighbours();
        }
        let mut sim = Self::of(machine);
        sim.give(Input::Start);
        sim
    }

    /// One that has yet to start.
    fn of(machine: Machine<ConfigMap>) -> Self {
        Self {
            machine,
            now: Instant::now(),
            request: None,
            sent: VecDeque::new(),
            claimed: ResourceVersion::UNSET,
            replaced: false,
            held: std::collections::BTreeMap::new(),
            recovered: false,
        }
    }

    fn give(&mut self, input: Input<ConfigMap>) {
        self.machine.handle(self.now, input);
        let mut sending = None;
        loop {
            let Some(effect) = self.machine.next_effect() else {
                // It was not put off.
                let Some(request) = sending.take() else { break };
                self.sends(&request);
                self.request = Some(request);
                self.machine.handle(self.now, Input::Opened);
                continue;
            };
            match effect {
                Effect::Send(request) => {
                    sending = Some(request);
                    self.machine.handle(self.now, Input::Sent);
                }
                Effect::Abort => (self.request, sending) = (None, None),
                Effect::Deliver(delta) => self.takes(delta),
                Effect::Recovered => self.recovered = true,
                _ => {}
            }
        }
        assert!(
            self.request.is_some() || self.machine.deadline().is_some(),
            "it never waits for nothing"
        );
        assert_eq!(self.machine.len(), self.held.len(), "it knows what is held");
    }

    fn sends(&mut self, request: &Request) {
        self.sent.push_back(self.now);
        match request {
            Request::Watch(watch) if !watch.initial_events => {
                assert!(
                    !watch.version.is_unset() && watch.version.as_u64() != Some(0),
                    "I5"
                );
                assert_eq!(watch.version, *self.machine.version(), "I5");
            }
            Request::List(list) if self.replaced => assert_ne!(list.at, ReadAt::Any, "P6"),
            _ => {}
        }
    }

    fn takes(&mut self, delta: Delta<ConfigMap>) {
        assert!(
            self.replaced || matches!(delta, Delta::Replaced(_)),
            "the first is a replacement"
        );
        match delta {
            Delta::Replaced(replacement) => {
                assert!(replacement.rewound || replacement.version >= self.claimed, "I2");
                self.claimed = replacement.version;
                let kept: Vec<_> = replacement.kept.iter().map(ToString::to_string).collect();
                self.held.retain(|key, _| kept.contains(key));
                for entry in replacement.entries {
                    let version = informer_store::Object::version(&**entry.object);
                    self.held.insert(entry.key.to_string(), version);
                }
                self.replaced = true;
            }
            Delta::Added(entry) => {
                let version = informer_store::Object::version(&**entry.object);
                assert!(self.held.insert(entry.key.to_string(), version).is_none(), "H1");
            }
            Delta::Updated(entry) => {
                let version = informer_store::Object::version(&**entry.object);
                let old = self.held.insert(entry.key.to_string(), version.clone());
                assert!(old.is_some_and(|old| old < version), "I4");
            }
            Delta::Deleted(tombstone) => {
                assert!(self.held.remove(&tombstone.key.to_string()).is_some(), "H1");
            }
            Delta::Bookmark(version) => assert_eq!(version, *self.machine.version(), "I5"),
            _ => {}
        }
    }

    fn passes(&mut self, until: Instant) {
        while let Some(deadline) = self.machine.deadline().filter(|deadline| *deadline <= until) {
            self.now = self.now.max(deadline);
            self.give(Input::Tick);
        }
        self.now = until;
    }

    fn step(&mut self, step: &Step) {
        if let Step::Wait { seconds } = step {
            self.passes(self.now + Duration::from_secs(*seconds));
            return;
        }
        if let Step::Doubt = step {
            return self.give(Input::Doubt);
        }
        if let Step::Blocked { seconds } = step {
            // The shell takes no input meanwhile, and no time-out either.
            self.now += Duration::from_secs(*seconds);
            return self.give(Input::Blocked(Duration::from_secs(*seconds)));
        }
        let Some(request) = self.request.clone() else {
            return;
        };
        let input = match (&request, step) {
            (Request::List(list), Step::Object { name, uid, version }) if list.purpose == Purpose::Audit => {
                let key = ObjectKey::cluster(&format!("o{name}"));
                let uid = format!("u{name}-{}", uid / 6);
                Input::Listed(Listed::Seen(Seen::new(key, &uid, (*version).into())))
            }
            (Request::List(_), Step::Object { name, uid, version }) => {
                Input::Listed(Listed::Object(item(*name, *uid, *version)))
            }
            (Request::Get(_), Step::Object { name, uid, version }) => {
                Input::Got(Some(Got::Object(item(*name, *uid, *version))))
            }
            (Request::Get(_), Step::Poison { name, version }) => {
                Input::Got(Some(Got::Poison(poison(*name, *version))))
            }
            (Request::Get(_), Step::Deleted { .. }) => Input::Got(None),
            (Request::List(_), Step::Poison { name, version }) => {
                Input::Listed(Listed::Poison(poison(*name, *version)))
            }
            (Request::List(_), Step::End { version, token }) => {
                let end = ListEnd::new((*version).into());
                Input::Listed(Listed::End(if *token {
                    end.continued(version.to_string())
                } else {
                    end
                }))
            }
            (Request::Watch(_), Step::Object { name, uid, version }) => {
                Input::Event(Event::Modified(item(*name, *uid, *version)))
            }
            (Request::Watch(_), Step::Deleted { name, uid, version }) => {
                Input::Event(Event::Deleted(item(*name, *uid, *version)))
            }
            (Request::Watch(_), Step::Poison { name, version }) => {
                Input::Event(Event::Poison(poison(*name, *version)))
            }
            (Request::Watch(_), Step::Bookmark { version, end }) => Input::Event(Event::Bookmark {
                version: (*version).into(),
                initial_events_end: *end,
            }),
            (Request::Watch(_), Step::Unreadable { name, version }) => {
                Input::Event(Event::Unreadable(poison(*name, *version)))
            }
            (_, Step::Closed) => Input::Closed,
            (_, Step::Failed(kind)) => Input::Failed(Error::new(*kind, "watch", "no")),
            _ => return,
        };
        if matches!(input, Input::Closed | Input::Failed(_)) {
            self.request = None;
        }
        self.give(input);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_a_server_does_the_promises_hold(
        steps in steps(),
        streaming: bool,
        with_neighbours: bool,
        seed: u64,
    ) {
        let mut sim = Sim::new(streaming, with_neighbours, seed);
        for step in &steps {
            sim.step(step);
        }
    }

    #[test]
    fn the_promises_hold_with_everything_switched_on(
        steps in steps(),
        streaming: bool,
        with_neighbours: bool,
        remove: bool,
        seed: u64,
    ) {
        let mut config = Config::default();
        config.audit = Some(Duration::from_secs(60));
        config.resync = Some(Duration::from_secs(30));
        config.max_objects = Some(4);
        config.quarantine_retry = Duration::from_secs(20);
        config.page_size = Some(2);
        if remove {
            config.poison = PoisonPolicy::Remove;
        }
        let mut sim = Sim::with(config, streaming, with_neighbours, seed);
        for step in &steps {
            sim.step(step);
            prop_assert!(sim.machine.len() <= 4, "no more than may be held");
        }
        for window in sim.sent.iter().collect::<Vec<_>>().windows(40) {
            prop_assert!(*window[39] - *window[0] >= Duration::from_secs(1), "no storm");
        }
    }

    #[test]
    fn a_server_that_only_fails_gets_at_most_eight_requests_a_minute(
        kinds in prop::collection::vec(0..9_usize, 40..200),
        streaming: bool,
        seed: u64,
    ) {
        let all = [
            ErrorKind::Expired, ErrorKind::TooLarge, ErrorKind::Throttled, ErrorKind::Unauthorized,
            ErrorKind::Forbidden, ErrorKind::Server, ErrorKind::Transport, ErrorKind::Invalid, ErrorKind::NotFound,
        ];
        let mut sim = Sim::new(streaming, false, seed);
        for kind in kinds {
            sim.step(&Step::Failed(all[kind]));
            let next = sim.machine.deadline().expect("it tries again");
            sim.passes(next);
        }
        let sent: Vec<_> = sim.sent.iter().collect();
        for window in sent.windows(9) {
            prop_assert!(*window[8] - *window[0] >= Duration::from_secs(60), "I9");
        }
    }
}

/// Machines behind one gate, and a server that answers each request after a while.
struct Behind {
    sims: Vec<Sim>,
    now: Instant,
    /// When each request is answered.
    due: Vec<Option<Instant>>,
    /// When anything was sent, by any of them.
    sent: Vec<(Instant, usize)>,
    rng: fastrand::Rng,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Fails(ErrorKind),
    /// Ends before anything has come.
    Ends,
    /// Is never answered.
    Waits,
    Served,
}

impl Behind {
    fn new(machines: usize, seed: u64) -> Self {
        let config = Config::default();
        let gate = Gate::new(&config.backoff);
        let machine = |at: usize| {
            let rng = fastrand::Rng::with_seed(seed + at as u64);
            Machine::new(config.clone(), false, rng)
                .with_neighbours()
                .behind(&gate)
        };
        let mut all = Self {
            sims: (0..machines).map(|at| Sim::of(machine(at))).collect(),
            now: Instant::now(),
            due: vec![None; machines],
            sent: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
        };
        for at in 0..machines {
            all.give(at, Input::Start);
        }
        all
    }

    fn give(&mut self, at: usize, input: Input<ConfigMap>) {
        let sim = &mut self.sims[at];
        sim.now = self.now;
        sim.give(input);
        for time in sim.sent.drain(..) {
            self.sent.push((time, at));
            self.due[at] = Some(self.now + Duration::from_millis(self.rng.u64(1..300)));
        }
        if std::mem::take(&mut sim.recovered) {
            for other in (0..self.sims.len()).filter(|other| *other != at) {
                self.give(other, Input::Recovered);
            }
        }
    }

    /// Answers a request.
    fn answer(&mut self, at: usize, fate: Fate) {
        let Some(request) = self.sims[at].request.clone() else {
            return;
        };
        match (fate, request) {
            (Fate::Fails(kind), _) => {
                self.sims[at].request = None;
                self.give(at, Input::Failed(Error::new(kind, "list", "no")));
            }
            (Fate::Ends, _) => {
                self.sims[at].request = None;
                self.give(at, Input::Closed);
            }
            (Fate::Served, Request::List(_)) => {
                self.sims[at].request = None;
                self.give(at, Input::Listed(Listed::End(ListEnd::new(10.into()))));
            }
            // A watch stays open and is silent.
            _ => {}
        }
    }

    fn passes(&mut self, time: Duration, fate: impl Fn(usize, &mut fastrand::Rng) -> Fate) {
        let until = self.now + time;
        loop {
            let deadlines = self.sims.iter().map(|sim| sim.machine.deadline());
            let next = deadlines
                .zip(&self.due)
                .enumerate()
                .flat_map(|(at, (deadline, due))| [(deadline, at, false), (*due, at, true)])
                .filter_map(|(time, at, is_due)| Some((time?, at, is_due)))
                .min();
            let Some((time, at, is_due)) = next.filter(|(time, ..)| *time <= until) else {
                break;
            };
            self.now = self.now.max(time);
            if is_due {
                self.due[at] = None;
                let fate = fate(at, &mut self.rng);
                self.answer(at, fate);
            } else {
                self.give(at, Input::Tick);
            }
        }
        self.now = until;
    }

    fn busiest_minute(&self) -> usize {
        let within = |start: Instant| {
            let minute = |time: Instant| time >= start && time < start + Duration::from_secs(60);
            self.sent.iter().filter(|(time, _)| minute(*time)).count()
        };
        self.sent.iter().map(|(time, _)| within(*time)).max().unwrap_or(0)
    }

    fn synced(&self) -> usize {
        let synced = |sim: &&Sim| sim.machine.state().as_str() == "synced";
        self.sims.iter().filter(synced).count()
    }
}

const FAILURES: [ErrorKind; 9] = [
    ErrorKind::Expired,
    ErrorKind::TooLarge,
    ErrorKind::Throttled,
    ErrorKind::Unauthorized,
    ErrorKind::Forbidden,
    ErrorKind::Server,
    ErrorKind::Transport,
    ErrorKind::Invalid,
    ErrorKind::NotFound,
];

#[test]
fn i9_machines_behind_one_gate_ask_a_server_that_fails_no_more_than_one() {
    for (machines, seeds) in [(1, 20), (2, 20), (5, 20), (20, 5), (100, 1)] {
        for seed in 0..seeds {
            let mut all = Behind::new(machines, seed);
            all.passes(Duration::from_secs(900), |_, rng| {
                Fate::Fails(FAILURES[rng.usize(..FAILURES.len())])
            });
            let busiest = all.busiest_minute();
            assert!(
                busiest <= 8,
                "{machines} machines, seed {seed}: {busiest} in a minute"
            );
            all.passes(Duration::from_secs(62), |_, _| Fate::Served);
            assert_eq!(all.synced(), machines, "seed {seed}: each is served in time");
            // They were served well until now.
            all.sent.clear();
            all.passes(Duration::from_secs(60), |_, _| Fate::Served);
            assert_eq!(all.sent.len(), 0, "each has a watch");
        }
    }
}

/// Whoever has not tried for the longest time is next.
#[test]
fn i9_machines_behind_one_gate_take_turns() {
    for machines in [3, 5, 20] {
        let mut all = Behind::new(machines, 1);
        all.passes(Duration::from_secs(3600), |_, _| {
            Fate::Fails(ErrorKind::Transport)
        });
        let rate = all.sent.len() / 60;
        assert!((4..=8).contains(&rate), "{machines} machines: {rate} a minute");
        let shares = (0..machines).map(|at| all.sent.iter().filter(|(_, by)| *by == at).count());
        let (least, most) = (shares.clone().min(), shares.max());
        let (least, most) = (least.expect("there are some"), most.expect("there are some"));
        assert!(
            most <= least + least / 4 + 2,
            "{machines} machines: {least} to {most}"
        );
    }
}

#[test]
fn a_machine_that_fails_alone_holds_no_other() {
    let mut all = Behind::new(20, 1);
    let fate = |at: usize, _: &mut fastrand::Rng| match at {
        0 => Fate::Fails(ErrorKind::Forbidden),
        _ => Fate::Served,
    };
    all.passes(Duration::from_secs(2), fate);
    assert_eq!(all.synced(), 19);
    // Before any watch reaches its end by itself.
    for at in 1..10 {
        all.passes(Duration::from_secs(25), fate);
        let before = all.sent.len();
        all.sims[at].request = None;
        all.give(at, Input::Closed);
        let asked: Vec<_> = all.sent[before..].iter().map(|(_, by)| *by).collect();
        assert_eq!(asked, [at], "at once");
    }
}

#[test]
fn a_gate_takes_no_more_memory_than_its_machines_need() {
    let config = Config::default();
    let gate = Gate::new(&config.backoff);
    let mut now = Instant::now();
    let mut come_and_go = |machines: usize| {
        for at in 0..machines {
            now += Duration::from_secs(10);
            let rng = fastrand::Rng::with_seed(at as u64);
            let mut sim = Sim::of(Machine::new(config.clone(), false, rng).behind(&gate));
            sim.now = now;
            sim.give(Input::Start);
            if at % 2 == 0 {
                sim.machine.handle(now, Input::Shutdown);
            }
        }
        // It shows all that it knows.
        format!("{gate:?}").len()
    };
    let few = come_and_go(20);
    let many = come_and_go(2000);
    assert!(many <= few * 2, "{many} after {few}");
}

/// One that waits for the server to serve another goes on waiting for that when it hears of a doubt.
#[test]
fn a_machine_told_of_a_doubt_in_an_outage_is_woken_when_it_is_over() {
    let mut woken = 0;
    for seed in 0..20 {
        let mut all = Behind::new(2, seed);
        all.passes(Duration::from_secs(20), |_, _| Fate::Served);
        for at in 0..2 {
            all.answer(at, Fate::Fails(ErrorKind::Transport));
        }
        all.passes(Duration::from_secs(300), |_, _| Fate::Fails(ErrorKind::Transport));
        for at in 0..2 {
            all.give(at, Input::Doubt);
        }
        let asked = all.sent.len();
        while !all
            .sims
            .iter()
            .any(|sim| sim.machine.state().as_str() == "synced")
        {
            all.passes(Duration::from_millis(100), |_, _| Fate::Served);
        }
        assert!(all.sent.len() > asked);
        // Longer than the jitter and an answer take, and shorter than any wait of its own after so many failures.
        all.passes(Duration::from_secs(1), |_, _| Fate::Served);
        woken += usize::from(all.synced() == 2);
    }
    assert_eq!(woken, 20, "each is woken by the other");
}

/// Outages of some or all, of every kind, one after another.
#[test]
fn whatever_becomes_of_whose_requests_all_are_served_once_the_server_is_well() {
    for seed in 0..300 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let machines = rng.usize(2..12);
        let mut all = Behind::new(machines, seed);
        for _ in 0..rng.u8(1..8) {
            let well: Vec<_> = (0..machines).map(|_| rng.u8(0..3) == 0).collect();
            let (fails, ends) = (rng.u8(0..10), rng.u8(0..3));
            let fate = move |at: usize, rng: &mut fastrand::Rng| match rng.u8(0..12) {
                _ if well[at] => Fate::Served,
                any if any < fails => Fate::Fails(FAILURES[rng.usize(..FAILURES.len())]),
                any if any < fails + ends => Fate::Ends,
                _ => Fate::Waits,
            };
            all.passes(Duration::from_secs(rng.u64(1..200)), fate);
            for at in 0..machines {
                match rng.u8(0..4) {
                    0 => all.answer(at, Fate::Ends),
                    1 => all.answer(at, Fate::Fails(ErrorKind::Transport)),
                    2 => all.give(at, Input::Doubt),
                    _ => {}
                }
            }
        }
        // What was never answered is given up first, and so is what waits in a budget of its own.
        all.passes(Duration::from_secs(140), |_, _| Fate::Served);
        assert_eq!(all.synced(), machines, "seed {seed}");
    }
}
