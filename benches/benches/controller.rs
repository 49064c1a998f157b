//! Sixteen thousand short reconciles: what the controller adds to them, against kube-runtime's.
//!
//! Both start with a synced store of 16,000 objects and a stream that names each of them once, and both end when the last
//! reconcile has. Each reconcile looks its object up in the store, as kube-runtime's does by itself.

use std::{
    convert::Infallible,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, stream};
use informer::{
    controller::{Action, Context, Controller, reconcile_fn, trigger},
    store::{Batch, Cache, Cause, Change, Delta, Entry, Object as _, Replacement},
};
use informer_benches::{
    cpu::{median, timed},
    table,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube_runtime::{
    applier,
    controller::{Action as KubeAction, Config as KubeConfig},
    reflector::{self, ObjectRef},
    watcher,
};
use tokio::{runtime::Runtime, sync::Notify};

const OBJECTS: usize = 16_000;
const ROUNDS: usize = 15;

#[derive(Clone, Copy, Debug)]
enum Work {
    /// Ready at once.
    Nothing,
    /// Gives up the task once, as a reconcile that awaits anything does.
    Yields,
}

impl Work {
    async fn work(self) {
        match self {
            Self::Nothing => {}
            Self::Yields => tokio::task::yield_now().await,
        }
    }
}

fn objects() -> Vec<Arc<ConfigMap>> {
    let object = |index: usize| {
        let mut object = ConfigMap::default();
        object.metadata.namespace = Some(format!("namespace-{}", index % 100));
        object.metadata.name = Some(format!("config-{index:05}"));
        object.metadata.uid = Some(format!("uid-{index}"));
        object.metadata.resource_version = Some((index + 1).to_string());
        Arc::new(object)
    };
    (0..OBJECTS).map(object).collect()
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime can be had")
}

fn changes(objects: &[Arc<ConfigMap>]) -> Vec<Change<ConfigMap>> {
    let key = |object: &Arc<ConfigMap>| object.key().expect("it has a name");
    objects
        .iter()
        .map(|object| Change::added(key(object), Arc::clone(object), false, Cause::Live))
        .collect()
}

fn refs(objects: &[Arc<ConfigMap>]) -> Vec<ObjectRef<ConfigMap>> {
    objects
        .iter()
        .map(|object| ObjectRef::from_obj(&**object))
        .collect()
}

fn ours(
    runtime: &Runtime,
    cache: &Cache<ConfigMap>,
    changes: Vec<Change<ConfigMap>>,
    work: Work,
    workers: usize,
) {
    let (left, done) = (Arc::new(AtomicUsize::new(OBJECTS)), Arc::new(Notify::new()));
    let (cache, ended) = (cache.clone(), Arc::clone(&done));
    let reconciler = reconcile_fn(move |cx: Context| {
        let object = cache.get_by_key(cx.key());
        let (left, ended) = (Arc::clone(&left), Arc::clone(&ended));
        async move {
            black_box(object);
            work.work().await;
            if left.fetch_sub(1, Relaxed) == 1 {
                ended.notify_one();
            }
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("bench", reconciler)
        .workers(workers)
        .source(stream::iter(changes).chain(stream::pending()), trigger::itself())
        .build();
    let handle = controller.handle();
    let report = runtime.block_on(controller.run(done.notified()));
    assert!(report.is_ok_and(|report| report.is_complete()));
    assert_eq!(handle.stats().succeeded, OBJECTS as u64);
}

fn kube(
    runtime: &Runtime,
    store: &reflector::Store<ConfigMap>,
    refs: Vec<ObjectRef<ConfigMap>>,
    work: Work,
    workers: u16,
) {
    let applied = applier(
        move |object: Arc<ConfigMap>, _: Arc<()>| {
            Box::pin(async move {
                black_box(object);
                work.work().await;
                Ok::<_, Infallible>(KubeAction::await_change())
            })
        },
        |_, error: &Infallible, _| match *error {},
        Arc::new(()),
        store.clone(),
        stream::iter(refs)
            .chain(stream::pending())
            .map(Ok::<_, Infallible>),
        KubeConfig::default().concurrency(workers),
    );
    let results = runtime.block_on(
        applied
            .take(OBJECTS)
            .try_fold(0, |count, _| async move { Ok(count + 1) }),
    );
    assert_eq!(results.ok(), Some(OBJECTS));
}

fn main() {
    let objects = objects();
    let cache = Cache::new();
    let entries = objects
        .iter()
        .map(|object| Entry::new(Arc::clone(object)).expect("it has a name"));
    let list = Delta::Replaced(Replacement::new(entries.collect(), "20000".into()));
    cache.apply(Batch::new(vec![list], Some("20000".into())));
    let (store, mut writer) = reflector::store::<ConfigMap>();
    writer.apply_watcher_event(&watcher::Event::Init);
    for object in &objects {
        writer.apply_watcher_event(&watcher::Event::InitApply((**object).clone()));
    }
    writer.apply_watcher_event(&watcher::Event::InitDone);

    let runtime = runtime();
    table::head(&["case, per reconcile", "ours", "kube-runtime", "ratio"]);
    for work in [Work::Nothing, Work::Yields] {
        for workers in [1_u16, 16, 256] {
            let (mut our_times, mut rival_times) = (Vec::new(), Vec::new());
            for _ in 0..ROUNDS {
                let changes = changes(&objects);
                our_times.push(timed(|| ours(&runtime, &cache, changes, work, usize::from(workers))).1);
                let refs = refs(&objects);
                rival_times.push(timed(|| kube(&runtime, &store, refs, work, workers)).1);
            }
            let per = |time: Duration| time.as_nanos() as f64 / OBJECTS as f64 / 1000.0;
            let (ours, rival) = (per(median(our_times)), per(median(rival_times)));
            table::row(&[
                &format_args!("controller/{work:?}/{workers} workers"),
                &format_args!("{ours:.2} µs"),
                &format_args!("{rival:.2} µs"),
                &format_args!("{:.1}×", rival / ours),
            ]);
        }
    }
}
