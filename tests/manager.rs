//! The manager: order of start and stop, failures that stay where they are, deadlines, leadership.

#![expect(clippy::disallowed_methods, reason = "a test may run things side by side")]

use std::{
    future::{Future, pending},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use informer::manager::{
    AddError, Backoff, BoxError, Component, ComponentState, Context, Group, Handle, Manager, ManagerBuilder,
    ManagerError, OnFailure, Phase, Readiness, Runnable, Signals, Status,
    leader::{Elector, Lock, LockError, OnLost},
};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep},
};

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|line| *line == what).count()
    }

    fn before(&self, first: &str, second: &str) {
        let all = self.all();
        let at = |what| {
            all.iter()
                .position(|line| line == what)
                .unwrap_or_else(|| panic!("no {what} in {all:?}"))
        };
        assert!(at(first) < at(second), "{first} before {second} in {all:?}");
    }
}

/// A component that notes its start and its end, and takes a second to get ready and to stop.
fn slow(log: &Log, name: &'static str, group: Group) -> Component {
    let log = log.clone();
    Component::new(name, move |context: Context| {
        let log = log.clone();
        async move {
            log.note(format!("{name} up"));
            sleep(SECOND).await;
            log.note(format!("{name} ready"));
            context.ready();
            context.stopping().await;
            log.note(format!("{name} told"));
            sleep(SECOND).await;
            log.note(format!("{name} down"));
            Ok::<_, io::Error>(())
        }
    })
    .reports_ready()
    .group(group)
}

fn failing(name: &'static str, runs: &Arc<AtomicU32>) -> Component {
    let runs = Arc::clone(runs);
    Component::new(name, move |_| {
        runs.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(io::Error::other("no luck")) }
    })
}

fn builder() -> ManagerBuilder {
    Manager::builder()
        .signals(Signals::Ignore)
        .rng(fastrand::Rng::with_seed(7))
}

fn start(manager: Manager) -> (Handle, JoinHandle<Result<Status, ManagerError>>) {
    (manager.handle(), tokio::spawn(manager.run()))
}

async fn state(handle: &Handle, name: &str, state: ComponentState) {
    let waited = tokio::time::timeout(
        Duration::from_secs(3600),
        handle.wait_for(name, |component| {
            component.is_some_and(|component| component.state == state)
        }),
    );
    waited
        .await
        .unwrap_or_else(|_| panic!("{name} never {state}: {:?}", handle.status()));
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn groups_start_one_after_the_other_and_stop_in_reverse() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "controller", Group::Controllers))
        .component(slow(&log, "service", Group::Services))
        .component(slow(&log, "pods", Group::Caches))
        .component(slow(&log, "nodes", Group::Caches))
        .component(slow(&log, "server", Group::Servers))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    assert_eq!(handle.status().phase, Phase::Starting);
    assert!(handle.ready().await);
    state(&handle, "controller", ComponentState::Ready).await;
    handle.stop();
    let report = run.await.unwrap().unwrap();
    assert_eq!(report.phase, Phase::Stopped);

    let order = ["server", "pods", "service", "controller"];
    for pair in order.windows(2) {
        log.before(&format!("{} ready", pair[0]), &format!("{} up", pair[1]));
        log.before(&format!("{} down", pair[1]), &format!("{} told", pair[0]));
    }
    log.before("pods up", "nodes ready");
    log.before("nodes up", "pods ready");
}

#[tokio::test(start_paused = true)]
async fn component_starts_after_those_it_names_and_stops_before_them() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "third", Group::Services).after("second"))
        .component(slow(&log, "second", Group::Services).after("first"))
        .component(slow(&log, "first", Group::Services))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "first", ComponentState::Starting).await;
    let status = handle.status();
    assert_eq!(status.component("third").unwrap().waits_for, ["second"]);
    state(&handle, "third", ComponentState::Ready).await;
    handle.stop();
    run.await.unwrap().unwrap();
    log.before("first ready", "second up");
    log.before("second ready", "third up");
    log.before("third down", "second told");
    log.before("second down", "first told");
}

#[tokio::test(start_paused = true)]
async fn component_that_never_gets_ready_delays_the_others_but_does_not_keep_them_down() {
    let log = Log::default();
    let stuck = Component::new("stuck", |context: Context| async move {
        context.stopping().await;
        Ok::<_, io::Error>(())
    });
    let manager = builder()
        .component(
            stuck
                .reports_ready()
                .group(Group::Caches)
                .start_timeout(30 * SECOND),
        )
        .component(slow(&log, "controller", Group::Controllers))
        .component(slow(&log, "needs-it", Group::Controllers).after("stuck"))
        .build()
        .unwrap();
    let begin = Instant::now();
    let (handle, run) = start(manager);
    state(&handle, "controller", ComponentState::Ready).await;
    assert_eq!(begin.elapsed(), 31 * SECOND);
    let status = handle.status();
    assert_eq!(status.phase, Phase::Starting, "a required component is not ready");
    assert_eq!(
        status.component("needs-it").unwrap().state,
        ComponentState::Waiting
    );
    handle.stop();
    run.await.unwrap().unwrap();
    assert_eq!(log.count("needs-it up"), 0);
}

#[tokio::test(start_paused = true)]
async fn failing_component_is_run_again_with_growing_delays_and_harms_nobody() {
    let log = Log::default();
    let runs = Arc::new(AtomicU32::new(0));
    let manager = builder()
        .component(failing("bad", &runs).on_failure(OnFailure::Restart(Backoff::new(SECOND, 60 * SECOND))))
        .component(slow(&log, "good", Group::Controllers))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    sleep(10 * SECOND).await;
    let early = runs.load(Ordering::SeqCst);
    assert!(
        (3..=6).contains(&early),
        "delays of about 1, 2, 4 s, not {early} runs in 10 s"
    );
    sleep(600 * SECOND).await;
    let late = runs.load(Ordering::SeqCst) - early;
    assert!(
        (9..=23).contains(&late),
        "at most a minute, at least half of one, not {late} runs in 10 min"
    );
    let status = handle.status();
    let bad = status.component("bad").unwrap();
    assert_eq!(bad.last_error.as_deref(), Some("no luck"));
    assert_eq!(bad.failures, runs.load(Ordering::SeqCst));
    assert_eq!(status.component("good").unwrap().state, ComponentState::Ready);
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn panic_is_contained_counted_and_followed_by_a_new_run() {
    let manager = builder()
        .component(Component::new("jumpy", |context: Context| async move {
            if context.run() == 1 {
                panic!("boo");
            }
            context.stopping().await;
            Ok::<_, io::Error>(())
        }))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    sleep(10 * SECOND).await;
    let status = handle.status();
    let jumpy = status.component("jumpy").unwrap();
    assert_eq!(
        (jumpy.state, jumpy.runs, jumpy.panics, jumpy.failures),
        (ComponentState::Ready, 2, 1, 1)
    );
    assert_eq!(jumpy.last_error.as_deref(), Some("panicked: boo"));
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn failure_can_be_left_alone_or_stop_everything() {
    let log = Log::default();
    let runs = Arc::new(AtomicU32::new(0));
    let manager = builder()
        .component(failing("bad", &runs).on_failure(OnFailure::Degrade))
        .component(slow(&log, "good", Group::Controllers))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    sleep(600 * SECOND).await;
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    assert_eq!(
        handle.status().component("bad").unwrap().state,
        ComponentState::Failed
    );
    assert_eq!(
        handle.status().component("good").unwrap().state,
        ComponentState::Ready
    );
    handle.stop();
    run.await.unwrap().unwrap();

    let manager = builder()
        .component(failing("bad", &runs).on_failure(OnFailure::StopAll))
        .component(slow(&log, "good", Group::Caches))
        .build()
        .unwrap();
    let error = manager.run().await.unwrap_err();
    assert!(
        matches!(&error, ManagerError::Failed { component, .. } if component == "bad"),
        "{error}"
    );
    assert_eq!(error.to_string(), "component \"bad\" failed: no luck");
    assert_eq!(log.count("good down"), 2, "the others were stopped properly");
}

#[tokio::test(start_paused = true)]
async fn control_characters_of_an_error_do_not_reach_the_status() {
    let manager = builder()
        .component(Component::once("bad", |_| async {
            Err::<(), _>(io::Error::other(format!(
                "line\nforged \x1b[31m {}",
                "x".repeat(10_000)
            )))
        }))
        .component(Component::once("waits", |context: Context| async move {
            context.stopping().await;
            Ok::<_, io::Error>(())
        }))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "bad", ComponentState::Failed).await;
    let error = handle
        .status()
        .component("bad")
        .unwrap()
        .last_error
        .clone()
        .unwrap();
    assert!(error.starts_with("line forged  [31m xxx"), "{error}");
    assert!(error.len() < 1100 && !error.contains(char::is_control));
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn component_that_does_not_stop_is_dropped_at_its_deadline_and_named() {
    let log = Log::default();
    let stubborn =
        Component::new("stubborn", |_| pending::<Result<(), io::Error>>()).stop_timeout(5 * SECOND);
    let manager = builder()
        .component(stubborn)
        .component(slow(&log, "pods", Group::Caches))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "stubborn", ComponentState::Ready).await;
    let begin = Instant::now();
    handle.stop();
    let error = run.await.unwrap().unwrap_err();
    assert!(
        matches!(&error, ManagerError::NotStopped { components } if *components == ["stubborn"]),
        "{error}"
    );
    assert_eq!(
        begin.elapsed(),
        6 * SECOND,
        "its own five, then one for the cache"
    );
    assert_eq!(log.count("pods down"), 1, "the others were stopped properly");
}

#[tokio::test(start_paused = true)]
async fn whole_stop_has_a_deadline_too() {
    let stubborn = |name: &str, group| {
        Component::new(name, |_| pending::<Result<(), io::Error>>())
            .group(group)
            .stop_timeout(20 * SECOND)
    };
    let manager = builder()
        .component(stubborn("a", Group::Caches))
        .component(stubborn("b", Group::Services))
        .component(stubborn("c", Group::Controllers))
        .stop_timeout(28 * SECOND)
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "c", ComponentState::Ready).await;
    let begin = Instant::now();
    handle.stop();
    assert!(
        matches!(run.await.unwrap(), Err(ManagerError::NotStopped { components }) if components.len() == 3)
    );
    assert_eq!(begin.elapsed(), 28 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn force_drops_everything_at_once() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "pods", Group::Caches))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "pods", ComponentState::Ready).await;
    let begin = Instant::now();
    handle.stop();
    handle.stop();
    tokio::task::yield_now().await;
    handle.force();
    assert!(matches!(run.await.unwrap(), Err(ManagerError::NotStopped { .. })));
    assert_eq!(begin.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn manager_ends_when_all_work_is_done() {
    let done = || Component::once("job", |_| async { Ok::<_, io::Error>(()) });
    let report = builder().component(done()).build().unwrap().run().await.unwrap();
    assert_eq!(report.component("job").unwrap().state, ComponentState::Finished);

    let bad = Component::once("bad", |_| async { Err::<(), _>(io::Error::other("no luck")) });
    let error = builder()
        .component(done())
        .component(bad)
        .build()
        .unwrap()
        .run()
        .await
        .unwrap_err();
    assert!(matches!(error, ManagerError::Failed { component, .. } if component == "bad"));

    builder()
        .build()
        .unwrap()
        .run()
        .await
        .expect("nothing to do is done at once");
}

#[tokio::test(start_paused = true)]
async fn stop_before_the_turn_of_a_component_never_starts_it() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "pods", Group::Caches))
        .component(slow(&log, "controller", Group::Controllers))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "pods", ComponentState::Starting).await;
    handle.stop();
    run.await.unwrap().unwrap();
    assert_eq!(log.count("controller up"), 0);
}

#[tokio::test(start_paused = true)]
async fn stop_before_the_run_starts_nothing() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "pods", Group::Caches))
        .build()
        .unwrap();
    manager.handle().stop();
    assert_eq!(manager.run().await.unwrap().phase, Phase::Stopped);
    assert!(log.all().is_empty());
}

/// What one component of a random manager does.
fn random(rng: &mut fastrand::Rng, log: &Log, name: String, group: Group) -> Component {
    let (warm, cool) = (rng.u64(..5_000), rng.u64(..8_000));
    let fails = rng.u8(..4) == 0;
    let log = log.clone();
    let component = Component::new(name.clone(), move |context: Context| {
        let (log, name) = (log.clone(), name.clone());
        async move {
            log.note(format!("{name} up"));
            sleep(Duration::from_millis(warm)).await;
            if fails && context.run() < 3 {
                log.note(format!("{name} down"));
                assert_ne!(context.run(), 1, "a panic");
                return Err(io::Error::other("no luck"));
            }
            log.note(format!("{name} ready"));
            context.ready();
            context.stopping().await;
            log.note(format!("{name} told"));
            sleep(Duration::from_millis(cool)).await;
            log.note(format!("{name} down"));
            Ok(())
        }
    });
    component.reports_ready().group(group).stop_timeout(20 * SECOND)
}

#[tokio::test(start_paused = true)]
async fn random_managers_keep_the_order_of_start_and_stop() {
    let groups = [Group::Servers, Group::Caches, Group::Services, Group::Controllers];
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let log = Log::default();
        let mut parts: Vec<(String, Group, Vec<usize>)> = Vec::new();
        let mut components = Vec::new();
        for at in 0..rng.usize(1..10) {
            let group = groups[rng.usize(..4)];
            let before: Vec<usize> = (0..at)
                .filter(|other| parts[*other].1 <= group && rng.u8(..4) == 0)
                .collect();
            let name = format!("c{at}");
            let component = random(&mut rng, &log, name.clone(), group);
            let component = before
                .iter()
                .fold(component, |component, other| component.after(&parts[*other].0));
            components.push(component);
            parts.push((name, group, before));
        }
        rng.shuffle(&mut components);
        let manager = components
            .into_iter()
            .fold(builder().stop_timeout(3600 * SECOND), ManagerBuilder::component)
            .build()
            .unwrap();
        let (handle, run) = start(manager);
        let early = rng.bool();
        sleep(Duration::from_secs(if early { rng.u64(..20) } else { 200 })).await;
        handle.stop();
        run.await
            .unwrap()
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));

        let all = log.all();
        let first = |what: String| all.iter().position(|line| *line == what);
        let last = |what: String| all.iter().rposition(|line| *line == what);
        for (name, group, before) in &parts {
            let up = first(format!("{name} up"));
            assert!(early || up.is_some(), "seed {seed}: {name} never ran: {all:?}");
            assert_eq!(
                all.iter().filter(|line| **line == format!("{name} up")).count(),
                all.iter().filter(|line| **line == format!("{name} down")).count(),
                "seed {seed}: {name} ends as often as it begins"
            );
            let Some(up) = up else { continue };
            let depends = parts
                .iter()
                .enumerate()
                .filter(|(at, other)| other.1 < *group || before.contains(at));
            for (_, (other, ..)) in depends {
                let ready = first(format!("{other} ready"));
                assert!(
                    ready.is_some_and(|ready| ready < up),
                    "seed {seed}: {other} ready, then {name}: {all:?}"
                );
                if let Some(told) = first(format!("{other} told")) {
                    let down = last(format!("{name} down")).unwrap();
                    assert!(
                        down < told,
                        "seed {seed}: {name} down, then {other} told: {all:?}"
                    );
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn components_come_and_go_at_run_time() {
    let log = Log::default();
    let manager = builder()
        .component(slow(&log, "pods", Group::Caches))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    assert!(handle.ready().await);
    handle.add(slow(&log, "nodes", Group::Caches)).unwrap();
    handle
        .add(slow(&log, "controller", Group::Controllers).after("nodes"))
        .unwrap();
    state(&handle, "controller", ComponentState::Ready).await;
    log.before("nodes ready", "controller up");
    assert!(handle.remove("controller").await);
    assert_eq!(log.count("controller down"), 1);
    assert!(handle.status().component("controller").is_none());
    assert!(!handle.remove("controller").await);
    handle
        .add(slow(&log, "controller", Group::Controllers))
        .expect("the name is free again");
    handle.stop();
    assert_eq!(
        handle.add(slow(&log, "late", Group::Caches)),
        Err(AddError::Stopping)
    );
    run.await.unwrap().unwrap();
}

#[test]
fn contradictory_orders_and_names_are_refused() {
    let log = Log::default();
    let build = |components: Vec<Component>| {
        components
            .into_iter()
            .fold(builder(), ManagerBuilder::component)
            .build()
            .map(|_| ())
    };
    let one = || slow(&log, "one", Group::Services);
    assert_eq!(
        build(vec![one(), one()]),
        Err(AddError::Duplicate("one".to_owned()))
    );
    let order = |name: &str, other: &str| {
        Err(AddError::Order {
            name: name.to_owned(),
            other: other.to_owned(),
        })
    };
    assert_eq!(build(vec![one().after("one")]), order("one", "one"));
    let two = || slow(&log, "two", Group::Services);
    let three = || slow(&log, "three", Group::Services);
    let ring = vec![one().after("two"), two().after("three"), three().after("one")];
    assert_eq!(build(ring), order("three", "one"));
    let early = || slow(&log, "early", Group::Caches);
    assert_eq!(build(vec![one(), early().after("one")]), order("early", "one"));
    assert_eq!(build(vec![early().after("one"), one()]), order("early", "one"));
}

#[tokio::test(start_paused = true)]
async fn readiness_leaves_out_what_is_optional() {
    let runs = Arc::new(AtomicU32::new(0));
    let log = Log::default();
    let manager = builder()
        .component(failing("controller", &runs))
        .component(
            failing("sweeper", &runs)
                .group(Group::Services)
                .readiness(Readiness::Optional),
        )
        .component(slow(&log, "pods", Group::Caches))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    assert!(handle.ready().await);
    assert_eq!(handle.status().phase, Phase::Running);
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_add_and_remove_at_once_and_no_task_is_left() {
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    let waits = |name: String| {
        Component::new(name, |context: Context| async move {
            context.stopping().await;
            Ok::<_, io::Error>(())
        })
    };
    let manager = builder().component(waits("first".to_owned())).build().unwrap();
    let (handle, run) = start(manager);
    let adding: Vec<_> = (0..200)
        .map(|n| {
            let handle = handle.clone();
            let component = waits(format!("c{n}")).group([Group::Caches, Group::Services][n % 2]);
            tokio::spawn(async move {
                handle.add(component).unwrap();
                let name = format!("c{n}");
                handle
                    .wait_for(&name, |one| {
                        one.is_some_and(|one| one.state == ComponentState::Ready)
                    })
                    .await;
                if n % 3 == 0 {
                    assert!(handle.remove(&name).await);
                }
            })
        })
        .collect();
    for one in adding {
        one.await.unwrap();
    }
    let left = (0..200).filter(|n| n % 3 != 0).count() + 1;
    assert_eq!(handle.status().components.len(), left);
    handle.stop();
    run.await.unwrap().unwrap();
    let gone = async {
        while tasks.num_alive_tasks() > before {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone)
        .await
        .expect("no task is left");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_drops_every_component() {
    let tasks = tokio::runtime::Handle::current().metrics();
    let before = tasks.num_alive_tasks();
    let log = Log::default();
    let manager = builder()
        .leader_election(Memory::default().elector("blue"))
        .component(slow(&log, "pods", Group::Caches))
        .component(Component::new("deaf", |_| pending::<Result<(), io::Error>>()))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "deaf", ComponentState::Ready).await;
    run.abort();
    sleep(SECOND).await;
    assert_eq!(tasks.num_alive_tasks(), before);
    assert!(!handle.election().unwrap().is_leading());
}

/// A runnable as a type of one's own.
struct Sweeper(Log);

#[async_trait]
impl Runnable for Sweeper {
    async fn run(&self, context: Context) -> Result<(), BoxError> {
        self.0.note(format!("{} runs", context.name()));
        context.stopping().await;
        assert!(context.is_stopping());
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn own_types_run_and_readiness_can_be_a_future() {
    let log = Log::default();
    let manager = builder()
        .component(
            Component::new("sweeper", Sweeper(log.clone()))
                .group(Group::Caches)
                .ready_when(|| sleep(5 * SECOND)),
        )
        .build()
        .unwrap();
    let begin = Instant::now();
    let handle = manager.handle();
    manager
        .run_until(async {
            handle.ready().await;
        })
        .await
        .unwrap();
    assert_eq!(begin.elapsed(), 5 * SECOND);
    assert_eq!(log.all(), ["sweeper runs"]);
}

/// A lease in memory whose server can be made to fail.
#[derive(Clone, Default)]
struct Memory {
    lease: Arc<Mutex<Option<Lease>>>,
    down: Arc<AtomicU32>,
}

impl Memory {
    fn write(&self, mut lease: Lease, create: bool) -> Result<Lease, LockError> {
        if self.down.load(Ordering::SeqCst) > 0 {
            return Err(LockError::Other("refused".into()));
        }
        let mut held = self.lease.lock().unwrap();
        let version = held
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        if create != held.is_none() || version != lease.metadata.resource_version {
            return Err(LockError::Conflict);
        }
        let next = version.map_or(0, |version| version.parse::<u64>().unwrap()) + 1;
        lease.metadata.resource_version = Some(next.to_string());
        *held = Some(lease.clone());
        Ok(lease)
    }

    fn holder(&self) -> Option<String> {
        self.lease
            .lock()
            .unwrap()
            .as_ref()?
            .spec
            .as_ref()?
            .holder_identity
            .clone()
    }

    fn elector(&self, name: &str) -> Elector {
        Elector::builder(self.clone())
            .identity(name)
            .rng(fastrand::Rng::with_seed(3))
            .build()
            .unwrap()
    }
}

#[async_trait]
impl Lock for Memory {
    fn name(&self) -> String {
        "test/lease".to_owned()
    }

    async fn get(&self) -> Result<Option<Lease>, LockError> {
        if self.down.load(Ordering::SeqCst) > 0 {
            return Err(LockError::Other("refused".into()));
        }
        Ok(self.lease.lock().unwrap().clone())
    }

    async fn create(&self, lease: Lease) -> Result<Lease, LockError> {
        self.write(lease, true)
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, LockError> {
        self.write(lease, false)
    }
}

/// A controller that notes when it works and with which lease it is sure to.
fn led(log: &Log, who: &'static str) -> Component {
    let log = log.clone();
    Component::new("controller", move |context: Context| {
        let log = log.clone();
        async move {
            let term = context.term().expect("it runs in a term").clone();
            assert_eq!(term.check().unwrap().holder(), who);
            log.note(format!("{who} works"));
            context.stopping().await;
            sleep(SECOND).await;
            assert!(term.check().is_ok(), "the lease outlives the work");
            log.note(format!("{who} rests"));
            Ok::<_, io::Error>(())
        }
    })
}

async fn eventually<F: Future<Output = ()>>(what: &str, future: F) {
    assert!(
        tokio::time::timeout(Duration::from_secs(600), future)
            .await
            .is_ok(),
        "never: {what}"
    );
}

#[tokio::test(start_paused = true)]
async fn controllers_run_on_the_leader_only_and_the_lease_is_released_after_them() {
    let lease = Memory::default();
    let log = Log::default();
    let manager = |who| {
        let caches = Component::new("pods", |context: Context| async move {
            context.stopping().await;
            Ok::<_, io::Error>(())
        });
        builder()
            .leader_election(lease.elector(who))
            .component(caches.group(Group::Caches))
            .component(led(&log, who))
            .build()
            .unwrap()
    };
    let (blue, blue_run) = start(manager("blue"));
    state(&blue, "controller", ComponentState::Ready).await;
    let (green, green_run) = start(manager("green"));
    state(&green, "controller", ComponentState::Standby).await;
    assert!(green.ready().await, "standing by is being ready");
    assert_eq!(
        green.status().component("pods").unwrap().state,
        ComponentState::Ready,
        "caches are warm"
    );
    sleep(60 * SECOND).await;
    assert_eq!(
        green.status().component("controller").unwrap().state,
        ComponentState::Standby
    );
    let election = green.status().election.unwrap();
    assert_eq!(
        (election.leading, election.holder.as_deref()),
        (false, Some("blue"))
    );

    blue.stop();
    let report = blue_run.await.unwrap().unwrap();
    assert_eq!(report.phase, Phase::Stopped);
    assert_eq!(log.all(), ["blue works", "blue rests"]);
    assert_eq!(lease.holder().as_deref(), Some(""));
    state(&green, "controller", ComponentState::Ready).await;
    green.stop();
    green_run.await.unwrap().unwrap();
    assert_eq!(
        log.all(),
        ["blue works", "blue rests", "green works", "green rests"]
    );
}

#[tokio::test(start_paused = true)]
async fn lost_lease_stops_the_controllers_alone_and_a_new_term_runs_them_again() {
    let lease = Memory::default();
    let log = Log::default();
    let manager = builder()
        .leader_election(lease.elector("blue"))
        .component(slow(&log, "pods", Group::Caches))
        .component(led(&log, "blue"))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "controller", ComponentState::Ready).await;
    lease.down.store(1, Ordering::SeqCst);
    state(&handle, "controller", ComponentState::Standby).await;
    assert_eq!(log.count("blue rests"), 1);
    assert_eq!(
        handle.status().component("pods").unwrap().state,
        ComponentState::Ready
    );
    assert_eq!(
        handle.status().election.unwrap().last_error.as_deref(),
        Some("refused")
    );
    lease.down.store(0, Ordering::SeqCst);
    state(&handle, "controller", ComponentState::Ready).await;
    assert_eq!(log.count("blue works"), 2);
    assert_eq!(handle.status().component("controller").unwrap().failures, 0);
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn controller_that_does_not_stop_is_dropped_before_its_lease_can_be_in_other_hands() {
    let lease = Memory::default();
    let deaf = Component::new("deaf", |_| pending::<Result<(), io::Error>>()).stop_timeout(3600 * SECOND);
    let manager = builder()
        .leader_election(lease.elector("blue"))
        .component(deaf)
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "deaf", ComponentState::Ready).await;
    sleep(10 * SECOND).await;
    lease.down.store(1, Ordering::SeqCst);
    let begin = Instant::now();
    state(&handle, "deaf", ComponentState::Standby).await;
    assert!(begin.elapsed() < 15 * SECOND, "after {:?}", begin.elapsed());
    assert!(handle.status().component("deaf").unwrap().dropped);
    lease.down.store(0, Ordering::SeqCst);
    state(&handle, "deaf", ComponentState::Ready).await;
    handle.force();
    let _ = run.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_that_cannot_be_repeated_ends_the_process_when_the_lease_is_lost() {
    let lease = Memory::default();
    let log = Log::default();
    let once = Component::once("once", |context: Context| async move {
        context.stopping().await;
        Ok::<_, io::Error>(())
    });
    let manager = builder()
        .leader_election(lease.elector("blue"))
        .component(slow(&log, "pods", Group::Caches))
        .component(once)
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "once", ComponentState::Ready).await;
    lease.down.store(1, Ordering::SeqCst);
    let mut error = None;
    eventually("the manager ends", async { error = run.await.unwrap().err() }).await;
    assert!(matches!(error, Some(ManagerError::LeadershipLost { component }) if component == "once"));
    assert_eq!(log.count("pods down"), 1);
}

#[tokio::test(start_paused = true)]
async fn election_that_ends_with_its_term_ends_the_process() {
    let lease = Memory::default();
    let log = Log::default();
    let elector = Elector::builder(lease.clone())
        .identity("blue")
        .on_lost(OnLost::Stop)
        .build()
        .unwrap();
    let manager = builder()
        .leader_election(elector)
        .component(slow(&log, "pods", Group::Caches))
        .component(led(&log, "blue"))
        .build()
        .unwrap();
    let (handle, run) = start(manager);
    state(&handle, "controller", ComponentState::Ready).await;
    lease.down.store(1, Ordering::SeqCst);
    let mut error = None;
    eventually("the manager ends", async { error = run.await.unwrap().err() }).await;
    assert!(
        matches!(error, Some(ManagerError::LeadershipLost { component }) if component == "leader-election")
    );
    assert_eq!((log.count("blue rests"), log.count("pods down")), (1, 1));
}
