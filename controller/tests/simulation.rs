//! Random lives of a controller under paused time, each from its seed: sources that come, go and panic, reconciles that
//! fail, panic, hang, write and ask for more, caches that lag, and a stop in the middle.

mod common;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use common::{config, key};
use futures::{StreamExt as _, channel::mpsc, stream};
use informer_controller::{Action, Context, Controller, Failure, Source, reconcile_fn, trigger};
use informer_store::{Batch, Cache, Cause, Change, Delta, ObjectKey, Replacement, ResourceVersion};
use k8s_openapi::api::core::v1::ConfigMap;
use tokio::time::{Instant, sleep};

/// What was asked and what was done, by key.
#[derive(Default)]
struct World {
    /// When the key was last triggered.
    asked: HashMap<ObjectKey, Instant>,
    /// When the newest run that succeeded began.
    served: HashMap<ObjectKey, Instant>,
    /// The version that the newest run of the key wrote, and until when it has to be awaited.
    wrote: HashMap<ObjectKey, (ResourceVersion, Instant)>,
    running: Vec<ObjectKey>,
    most: usize,
    /// Whether reconciles still misbehave.
    faults: bool,
    version: u64,
    runs: usize,
}

const WORKERS: usize = 3;
const WRITE_DEADLINE: Duration = Duration::from_secs(5);

struct Running(Arc<Mutex<World>>, ObjectKey);

impl Drop for Running {
    fn drop(&mut self) {
        if let Ok(mut world) = self.0.lock() {
            world.running.retain(|key| *key != self.1);
        }
    }
}

async fn reconcile(
    cx: Context,
    world: Arc<Mutex<World>>,
    cache: Cache<ConfigMap>,
    mut rng: fastrand::Rng,
) -> Result<Action, Failure> {
    let begin = Instant::now();
    let faults = {
        let mut world = world.lock().unwrap();
        assert!(!world.running.contains(cx.key()), "W1: {:?} runs twice", cx.key());
        world.running.push(cx.key().clone());
        world.most = world.most.max(world.running.len());
        world.runs += 1;
        if let Some((version, until)) = world.wrote.get(cx.key()) {
            let seen = cache.resource_version() >= *version;
            assert!(
                seen || begin >= *until,
                "K3: {:?} runs before its write was seen",
                cx.key()
            );
        }
        world.faults
    };
    let _running = Running(Arc::clone(&world), cx.key().clone());
    sleep(Duration::from_millis(rng.u64(0..300))).await;
    if rng.u8(..4) == 0 {
        let mut world = world.lock().unwrap();
        world.version += 1;
        let version = ResourceVersion::from(world.version);
        let until = Instant::now() + WRITE_DEADLINE;
        world.wrote.insert(cx.key().clone(), (version.clone(), until));
        drop(world);
        cx.wrote(&cache, version);
    }
    match rng.u8(..if faults { 12 } else { 1 }) {
        1 => return Err(Failure::retry("no")),
        2 => panic!("boom"),
        3 => std::future::pending().await,
        4 => {
            return Err(Failure::RetryAfter(
                Failure::retry("busy").into_error(),
                Duration::from_secs(1),
            ));
        }
        _ => {}
    }
    world.lock().unwrap().served.insert(cx.key().clone(), begin);
    Ok(match rng.u8(..8) {
        0 if faults => Action::requeue_after(Duration::from_millis(rng.u64(..1000))),
        1 if faults => Action::requeue(),
        _ => Action::done(),
    })
}

/// Applies up to the newest written version, late.
async fn follow(cache: Cache<ConfigMap>, world: Arc<Mutex<World>>, mut rng: fastrand::Rng) {
    loop {
        let lag = if world.lock().unwrap().faults { 8000 } else { 1000 };
        sleep(Duration::from_millis(rng.u64(..lag))).await;
        let version = world.lock().unwrap().version;
        cache.apply(Batch::new(
            vec![Delta::Bookmark(version.into())],
            Some(version.into()),
        ));
    }
}

fn change(name: &str) -> Change<ConfigMap> {
    Change::added(key(name), config(name, 1), false, Cause::Live)
}

async fn life(seed: u64) -> usize {
    let mut rng = fastrand::Rng::with_seed(seed);
    let world = Arc::new(Mutex::new(World {
        faults: true,
        ..World::default()
    }));
    let cache = Cache::<ConfigMap>::new();
    cache.apply(Batch::new(
        vec![Delta::Replaced(Replacement::new(Vec::new(), 0_u64.into()))],
        Some(0_u64.into()),
    ));
    let rngs = Mutex::new(rng.fork());
    let (inner, reader) = (Arc::clone(&world), cache.clone());
    let reconciler = reconcile_fn(move |cx: Context| {
        let rng = rngs.lock().unwrap().fork();
        reconcile(cx, Arc::clone(&inner), reader.clone(), rng)
    });
    let controller = Controller::builder("life", reconciler)
        .workers(WORKERS)
        .timeout(Duration::from_secs(2))
        .write_deadline(WRITE_DEADLINE)
        .queue(|queue| queue.rng(fastrand::Rng::with_seed(seed)))
        .build();
    let handle = controller.handle();

    let asked = Arc::clone(&world);
    let script = async {
        let mut sources = Vec::new();
        for step in 0..60 {
            sleep(Duration::from_millis(rng.u64(..700))).await;
            let name = format!("o{}", rng.u8(..6));
            match rng.u8(..10) {
                0 => {
                    let (sender, changes) = mpsc::unbounded();
                    let id = handle.add_source(Source::new(changes, trigger::itself()).named("sim"));
                    sources.push((id, sender));
                }
                1 if !sources.is_empty() => {
                    let (id, sender) = sources.swap_remove(rng.usize(..sources.len()));
                    assert!(handle.remove_source(id));
                    drop(sender);
                }
                2 => {
                    let dies = rng.bool();
                    let broken = stream::iter([change(&name)]).chain(stream::poll_fn(move |_| {
                        assert!(dies, "broken at step {step}");
                        std::task::Poll::Ready(None)
                    }));
                    handle.add_source(Source::new(broken, trigger::itself()).named("broken"));
                    asked.lock().unwrap().asked.insert(key(&name), Instant::now());
                }
                3..6 if !sources.is_empty() => {
                    let (_, sender) = &sources[rng.usize(..sources.len())];
                    asked.lock().unwrap().asked.insert(key(&name), Instant::now());
                    sender.unbounded_send(change(&name)).expect("its source runs");
                    // What is sent is queued before its source can be removed.
                    sleep(Duration::from_millis(1)).await;
                }
                _ => {
                    asked.lock().unwrap().asked.insert(key(&name), Instant::now());
                    handle.queue().add(key(&name));
                }
            }
        }
        // Calm: nothing goes wrong any more, and the longest backoff is over.
        asked.lock().unwrap().faults = false;
        sleep(Duration::from_secs(300)).await;
    };
    let report = tokio::select! {
        report = controller.run(script) => report.unwrap(),
        () = follow(cache.clone(), Arc::clone(&world), fastrand::Rng::with_seed(seed + 1)) => unreachable!(),
    };

    let world = world.lock().unwrap();
    for (key, asked) in &world.asked {
        let served = world.served.get(key);
        assert!(
            served.is_some_and(|served| served >= asked),
            "W2, K1: seed {seed}: {key} was lost"
        );
    }
    assert!(world.most <= WORKERS);
    assert!(
        world.running.is_empty() && report.is_complete() && report.pending.is_empty(),
        "seed {seed}: {report:?}"
    );
    let stats = handle.stats();
    assert_eq!(
        stats.reconciles() as usize,
        world.runs,
        "seed {seed}: every run is counted once"
    );
    assert_eq!(stats.reconcile_time.count() as usize, world.runs, "seed {seed}");
    world.runs
}

#[test]
fn in_every_life_no_trigger_is_lost_no_key_runs_twice_and_writes_are_read() {
    let mut runs = 0;
    for seed in 40..100 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .unwrap();
        runs += runtime.block_on(life(seed));
    }
    assert!(runs > 60 * 30, "{runs} runs are too few to say anything");
}
