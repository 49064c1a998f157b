//! Order of start and stop, and what comes and goes.

use std::{
    io,
    sync::{Arc, atomic::AtomicU32},
    time::Duration,
};

use informer::manager::{
    AddError, Component, ComponentState, Context, Group, ManagerBuilder, Phase, Readiness,
};
use tokio::time::{Instant, sleep};

use crate::support::*;

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
