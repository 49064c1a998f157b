//! The whole way: a list of pods and then a stream of watch events, from the bytes to the reconciler, against
//! kube-runtime's `Controller` on the same bytes in the same process.
//!
//! Criterion's wall-clock figures are followed by a table of processor time, both sides in turn, medians.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use criterion::{BatchSize, Criterion, criterion_group};
use futures::{FutureExt, StreamExt, stream};
use http_body_util::StreamBody;
use informer::{
    Informer,
    controller::{Action, Context, Controller, reconcile_fn, trigger},
    reflector::ApiListWatch,
};
use informer_benches::{cpu, table};
use informer_testkit::generate;
use k8s_openapi::api::core::v1::Pod;
use kube_client::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Notify;

const PODS: usize = 500;
const EVENTS: usize = 2_000;

/// What the server says: one list, then events that touch every pod in turn.
struct Script {
    list: Bytes,
    events: Vec<Bytes>,
}

impl Script {
    fn new() -> Arc<Self> {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut pods: Vec<Value> = (0..PODS).map(|index| generate::pod(index, &mut rng)).collect();
        for (index, pod) in pods.iter_mut().enumerate() {
            pod["metadata"]["uid"] = format!("uid-{index}").into();
            pod["metadata"]["resourceVersion"] = (index + 1).to_string().into();
        }
        let list = json!({
            "kind": "PodList", "apiVersion": "v1",
            "metadata": { "resourceVersion": PODS.to_string() }, "items": pods,
        });
        let events = (0..EVENTS).map(|index| {
            let pod = &mut pods[index % PODS];
            pod["metadata"]["resourceVersion"] = (PODS + 1 + index).to_string().into();
            Bytes::from(format!("{}\n", json!({ "type": "MODIFIED", "object": pod })))
        });
        let events = events.collect();
        Arc::new(Self {
            list: list.to_string().into(),
            events,
        })
    }

    fn client(self: &Arc<Self>) -> Client {
        let script = Arc::clone(self);
        let service = tower::service_fn(move |request: http::Request<kube_client::client::Body>| {
            let script = Arc::clone(&script);
            async move {
                let query = request.uri().query().unwrap_or_default();
                let watches = query.contains("watch=");
                let streams = query.contains("sendInitialEvents=true");
                let status = if streams { 422 } else { 200 };
                let frames: Vec<Bytes> = match (watches, streams) {
                    (true, false) => script.events.clone(),
                    (false, _) => vec![script.list.clone()],
                    (true, true) => vec![Bytes::from_static(REFUSED)],
                };
                let frames = stream::iter(frames.into_iter().map(|bytes| Ok(http_body::Frame::data(bytes))));
                // A watch stays open once everything has been said.
                let end = if watches && !streams {
                    stream::pending().left_stream()
                } else {
                    stream::empty().right_stream()
                };
                let body = StreamBody::new(frames.chain(end).map(|frame: Result<_, std::io::Error>| frame));
                let answer = http::Response::builder()
                    .status(status)
                    .header("content-type", "application/json");
                answer.body(body)
            }
        });
        Client::new(service, "default")
    }
}

const REFUSED: &[u8] = br#"{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Invalid","code":422,"message":"sendInitialEvents is forbidden"}"#;

/// The version of the last event, which the reconciler of its pod has to see.
fn last_version() -> String {
    (PODS + EVENTS).to_string()
}

async fn ours(script: Arc<Script>) -> usize {
    let pods = Informer::new(ApiListWatch::<Pod>::all(script.client()).no_streaming_lists());
    let (cache, seen) = (pods.cache().clone(), Arc::new(Notify::new()));
    let (runs, last, tell) = (Arc::new(AtomicUsize::new(0)), last_version(), Arc::clone(&seen));
    let count = Arc::clone(&runs);
    let reconciler = reconcile_fn(move |cx: Context| {
        let pod = cache.get_by_key(cx.key());
        count.fetch_add(1, Ordering::Relaxed);
        if pod.is_some_and(|pod| pod.metadata.resource_version.as_deref() == Some(&last)) {
            tell.notify_one();
        }
        async { Ok(Action::done()) }
    });
    let controller = Controller::builder("bench", reconciler)
        .source(pods.subscribe(), trigger::itself())
        .workers(8)
        .build();
    let work = controller.run(async move { seen.notified().await });
    tokio::select! {
        report = work => drop(black_box(report)),
        _ = pods.run(std::future::pending()) => {}
    }
    runs.load(Ordering::Relaxed)
}

async fn theirs(script: Arc<Script>) -> usize {
    let (seen, runs, last) = (
        Arc::new(Notify::new()),
        Arc::new(AtomicUsize::new(0)),
        last_version(),
    );
    let (tell, count) = (Arc::clone(&seen), Arc::clone(&runs));
    let config = kube_runtime::watcher::Config {
        page_size: None,
        ..kube_runtime::watcher::Config::default()
    };
    let controller = kube_runtime::Controller::new(Api::<Pod>::all(script.client()), config)
        .with_config(kube_runtime::controller::Config::default().concurrency(8));
    let context = Arc::new((last, tell, count));
    let run = controller.run(
        |pod: Arc<Pod>, context: Arc<(String, Arc<Notify>, Arc<AtomicUsize>)>| async move {
            context.2.fetch_add(1, Ordering::Relaxed);
            if pod.metadata.resource_version.as_deref() == Some(&context.0) {
                context.1.notify_one();
            }
            Ok::<_, std::io::Error>(kube_runtime::controller::Action::await_change())
        },
        |_, _, _| kube_runtime::controller::Action::requeue(Duration::from_secs(1)),
        context,
    );
    let work = run.for_each(|_| std::future::ready(()));
    tokio::select! {
        () = work => {}
        () = seen.notified().fuse() => {}
    }
    runs.load(Ordering::Relaxed)
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime starts")
}

fn pipeline(criterion: &mut Criterion) {
    let script = Script::new();
    let mut group = criterion.benchmark_group("pipeline");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(5))
        .warm_up_time(Duration::from_secs(1));
    let id = |name: &str| format!("list_and_watch_to_reconcile/{name}/{PODS}+{EVENTS}");
    group.bench_function(id("informer"), |bench| {
        bench.iter_batched(
            runtime,
            |runtime| runtime.block_on(ours(Arc::clone(&script))),
            BatchSize::PerIteration,
        );
    });
    group.bench_function(id("kube-runtime"), |bench| {
        bench.iter_batched(
            runtime,
            |runtime| runtime.block_on(theirs(Arc::clone(&script))),
            BatchSize::PerIteration,
        );
    });
    group.finish();
}

/// Processor time of both, in turn, and how often each called its reconciler.
fn processor_time() {
    let script = Script::new();
    let (mut our_runs, mut their_runs) = (0, 0);
    let times = cpu::side_by_side(
        7,
        &mut [
            &mut || our_runs = runtime().block_on(ours(Arc::clone(&script))),
            &mut || their_runs = runtime().block_on(theirs(Arc::clone(&script))),
        ],
    );
    let [ours, theirs] = times[..] else { return };
    let per_object = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1e6 / (PODS + EVENTS) as f64);
    table::head(&[
        "list and watch to reconcile",
        "CPU µs per object",
        "reconciles",
        "ratio",
    ]);
    table::row(&[
        &"kube-runtime `Controller`",
        &per_object(theirs),
        &their_runs,
        &"1.0",
    ]);
    let ratio = format!("{:.2}", theirs.as_secs_f64() / ours.as_secs_f64());
    table::row(&[&"informer", &per_object(ours), &our_runs, &ratio]);
}

criterion_group!(benches, pipeline);

fn main() {
    benches();
    processor_time();
    Criterion::default().configure_from_args().final_summary();
}
