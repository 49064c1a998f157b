//! One producer and several workers, next to the Go-shaped queue and to kube-runtime's controller.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use informer::store::ObjectKey;
use informer::workqueue::WorkQueue;
use informer_benches::cpu::{median, side_by_side};
use k8s_openapi::api::core::v1::ConfigMap;
use kube_runtime::controller::Action;
use kube_runtime::reflector::{self, ObjectRef};
use kube_runtime::watcher;
use tokio::time::Instant;

use crate::go_shaped::GoShaped;
use crate::{KEYS, ROUNDS, object_keys, report, strings};

const ADDS: usize = 200_000;

/// One producer, empty work: both as they come (ours measures durations, the rival does not), both without a name, and
/// both with one.
pub(crate) fn workers(runtime: &tokio::runtime::Runtime) {
    let (strings, objects) = (Arc::new(strings()), Arc::new(object_keys()));
    for workers in [1usize, 4, 16] {
        for (suffix, ours_timed, go_timed) in [
            ("timed", true, false),
            ("neither timed", false, false),
            ("both timed", true, true),
        ] {
            let ours = || {
                let queue = WorkQueue::builder().durations(ours_timed).build();
                let handle = queue.clone();
                let work = move || work(handle.clone());
                let (add, close) = (queue.clone(), queue);
                let add = move |key| _ = add.add(key);
                produce(runtime, workers, work, &objects, add, move || close.close());
            };
            let go = || {
                let queue = Arc::new(if go_timed {
                    GoShaped::with_metrics()
                } else {
                    GoShaped::new()
                });
                let handle = Arc::clone(&queue);
                let work = move || work_go(Arc::clone(&handle));
                let (add, close) = (Arc::clone(&queue), queue);
                let add = move |key| add.add(key);
                produce(runtime, workers, work, &strings, add, move || close.close());
            };
            let (left, right) = match suffix {
                "timed" => ("WorkQueue<ObjectKey>, timed", "Go-shaped, strings"),
                "both timed" => ("WorkQueue<ObjectKey>, timed", "Go-shaped, strings, timed"),
                _ => ("WorkQueue<ObjectKey>", "Go-shaped, strings"),
            };
            let times = side_by_side(5, &mut [&mut { &ours }, &mut { &go }]);
            let name = format!("one_producer/{workers}_workers");
            report(&name, left, right, ADDS, (times[0], times[1]));
            let times = wall_side_by_side(5, &mut [&mut { &ours }, &mut { &go }]);
            let name = format!("one_producer/{workers}_workers (wall)");
            report(&name, left, right, ADDS, (times[0], times[1]));
        }
    }
}

/// kube-runtime's controller without HTTP: keys come from a stream, each is run once by one of four concurrent empty
/// reconciles. Its queue cannot be had apart from its look-up in the store, which therefore is in its time.
pub(crate) fn applied() {
    const OBJECTS: usize = 16_000;
    const CONCURRENT: usize = 4;
    let objects: Vec<_> = (0..OBJECTS)
        .map(|n| {
            let mut object = ConfigMap::default();
            object.metadata.namespace = Some(format!("namespace-{}", n % 97));
            object.metadata.name = Some(format!("config-{n}"));
            object
        })
        .collect();
    let keys: Vec<_> = objects
        .iter()
        .map(|object| {
            let name = object.metadata.name.as_deref().unwrap_or_default();
            ObjectKey::new(object.metadata.namespace.as_deref(), name)
        })
        .collect();
    let refs: Vec<ObjectRef<ConfigMap>> = objects.iter().map(ObjectRef::from_obj).collect();
    let (store, mut writer) = reflector::store::<ConfigMap>();
    writer.apply_watcher_event(&watcher::Event::Init);
    for object in objects {
        writer.apply_watcher_event(&watcher::Event::InitApply(object));
    }
    writer.apply_watcher_event(&watcher::Event::InitDone);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    let ours = || {
        let queue = WorkQueue::new();
        let mut keys = futures::stream::iter(keys.clone());
        let produce = async {
            while let Some(key) = keys.next().await {
                queue.add(key);
            }
            queue.close();
        };
        let work = futures::future::join_all((0..CONCURRENT).map(|_| work(queue.clone())));
        runtime.block_on(async { tokio::join!(produce, work) });
    };
    let kube = || {
        let applied = kube_runtime::applier(
            |object: Arc<ConfigMap>, _: Arc<()>| {
                black_box(object);
                futures::future::ready(Ok::<_, Infallible>(Action::await_change()))
            },
            |_, error: &Infallible, _| match *error {},
            Arc::new(()),
            store.clone(),
            futures::stream::iter(refs.clone())
                .chain(futures::stream::pending())
                .map(Ok::<_, Infallible>),
            kube_runtime::controller::Config::default().concurrency(CONCURRENT as u16),
        );
        let done = runtime.block_on(
            applied
                .take(OBJECTS)
                .filter(|run| futures::future::ready(run.is_ok()))
                .count(),
        );
        assert_eq!(done, OBJECTS);
    };
    let times = side_by_side(ROUNDS, &mut [&mut { ours }, &mut { kube }]);
    report(
        "hand_out/4_workers",
        "WorkQueue<ObjectKey>",
        "kube-runtime Controller (applier)",
        OBJECTS,
        (times[0], times[1]),
    );
}

/// Adds from one task, with a pause every 64 keys, to so many workers.
fn produce<T: Clone + Send + Sync + 'static, W: Future<Output = ()> + Send + 'static>(
    runtime: &tokio::runtime::Runtime,
    workers: usize,
    work: impl Fn() -> W,
    keys: &Arc<Vec<T>>,
    add: impl Fn(T) + Send + Sync + 'static,
    close: impl FnOnce() + Send + 'static,
) {
    let keys = Arc::clone(keys);
    runtime.block_on(async {
        let tasks: Vec<_> = (0..workers).map(|_| runtime.spawn(work())).collect();
        let producer = runtime.spawn(async move {
            for n in 0..ADDS {
                add(keys[n % KEYS].clone());
                if n % 64 == 0 {
                    tokio::task::yield_now().await;
                }
            }
            close();
        });
        producer.await.expect("no panic");
        futures::future::join_all(tasks).await;
    });
}

fn wall_side_by_side(rounds: usize, sides: &mut [&mut dyn FnMut()]) -> Vec<Duration> {
    let mut samples = vec![Vec::new(); sides.len()];
    for _ in 0..rounds {
        for (side, samples) in sides.iter_mut().zip(&mut samples) {
            let start = Instant::now();
            side();
            samples.push(start.elapsed());
        }
    }
    samples.into_iter().map(median).collect()
}

async fn work(queue: WorkQueue<ObjectKey>) {
    while let Some(item) = queue.next().await {
        black_box(&item);
        item.done();
    }
}

async fn work_go(queue: Arc<GoShaped<String>>) {
    while let Some(key) = queue.get().await {
        queue.done(black_box(&key));
    }
}
