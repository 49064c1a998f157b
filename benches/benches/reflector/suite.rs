//! The stages of the reflector beside kube-runtime's watcher and reflector: the same bytes, process and allocator.

use std::{any::Any, convert::Infallible, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use informer::{
    reflector::{ApiListWatch, Interner, Reflector, ReflectorBuilder, StreamingLists, SyncState},
    store::{Cache, Object},
};
use informer_benches::{cpu, table};
use k8s_openapi::api::core::v1::Pod;
use kube_client::{Api, Client, client::Body};
use kube_core::metadata::PartialObjectMeta;
use kube_runtime::{WatchStreamExt, reflector, watcher};

/// What a server answers: the pages of a list and the lines of the watches after it.
#[derive(Clone)]
pub(crate) struct Script {
    pages: Arc<Vec<Vec<Bytes>>>,
    /// The same as bare metadata.
    metadata: Arc<Vec<Vec<Bytes>>>,
    /// The same in one piece each, for lists that are not asked for in pages.
    whole: [Arc<Vec<Bytes>>; 2],
    /// The first watch; later ones stay silent.
    watch: Arc<Vec<Bytes>>,
    /// So many watches answer that the version is gone.
    gone: usize,
}

/// 64 KiB, as a socket's reads come.
const FRAME: usize = 64 << 10;
const PAGE: usize = 500;

impl Script {
    /// A list of `pods` pods of about 9 KB.
    pub(crate) fn new(pods: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(7);
        let items: Vec<_> = (0..pods)
            .map(|index| pod(index, index as u64 + 1, &mut rng))
            .collect();
        let metadata: Vec<_> = items.iter().map(|pod| partial(pod)).collect();
        let items = pages(&items, "PodList", "v1");
        let metadata = pages(&metadata, "PartialObjectMetadataList", "meta.k8s.io/v1");
        Self {
            whole: [Arc::new(whole(&items)), Arc::new(whole(&metadata))],
            pages: Arc::new(items),
            metadata: Arc::new(metadata),
            watch: Arc::default(),
            gone: 0,
        }
    }

    /// The same, followed by so many changes to the pods, in turn, one frame each.
    pub(crate) fn with_events(mut self, pods: usize, events: usize) -> Self {
        let mut rng = fastrand::Rng::with_seed(7);
        let lines = (0..events).map(|event| {
            let object = pod(event % pods, (1_000_000 + event) as u64, &mut rng);
            Bytes::from(format!("{{\"type\":\"MODIFIED\",\"object\":{object}}}\n"))
        });
        self.watch = Arc::new(lines.collect());
        self
    }

    /// The same, with so many relists.
    pub(crate) fn with_relists(mut self, relists: usize) -> Self {
        self.gone = relists;
        self
    }

    pub(crate) fn bytes(&self) -> usize {
        self.pages.iter().flatten().map(Bytes::len).sum()
    }

    fn client(&self) -> Client {
        let script = self.clone();
        let watches = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        Client::new(
            tower::service_fn(move |request: Request<Body>| {
                let frames = script.answer(&request, &watches);
                async move {
                    let response = Response::builder()
                        .header("content-type", "application/json")
                        .body(StreamBody::new(
                            frames.map(|bytes| Ok::<_, Infallible>(Frame::data(bytes))),
                        ));
                    Ok::<_, Infallible>(response.expect("the header is valid"))
                }
            }),
            "default",
        )
    }

    fn answer(
        &self,
        request: &Request<Body>,
        watches: &std::sync::atomic::AtomicUsize,
    ) -> stream::BoxStream<'static, Bytes> {
        let query = request.uri().query().unwrap_or_default();
        if query.contains("watch=true") {
            let nth = watches.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            if nth < self.gone {
                return stream::iter([Bytes::from_static(GONE)]).boxed();
            }
            let lines = if nth == self.gone {
                Arc::clone(&self.watch)
            } else {
                Arc::default()
            };
            return stream::iter(0..lines.len())
                .map(move |line| lines[line].clone())
                .chain(stream::pending())
                .boxed();
        }
        let accept = request
            .headers()
            .get("accept")
            .map(|value| value.as_bytes().to_vec());
        let partial = accept.is_some_and(|accept| accept.windows(7).any(|part| part == b"Partial"));
        let pages = if partial { &self.metadata } else { &self.pages };
        let page = query
            .split('&')
            .find_map(|pair| pair.strip_prefix("continue=p"))
            .and_then(|page| page.parse().ok())
            .unwrap_or(0);
        if query.contains("limit=") {
            return stream::iter(pages[page].clone()).boxed();
        }
        // A whole list: the pages without the seams between them would be the same bytes.
        stream::iter(self.whole[usize::from(partial)].to_vec()).boxed()
    }
}

const GONE: &[u8] = b"{\"type\":\"ERROR\",\"object\":{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\"message\":\"too old resource version: 1 (2)\",\"reason\":\"Expired\",\"code\":410}}\n";

fn pod(index: usize, version: u64, rng: &mut fastrand::Rng) -> String {
    let mut pod = informer_testkit::generate::pod(index, rng);
    pod["metadata"]["resourceVersion"] = version.to_string().into();
    pod["metadata"]["uid"] = format!("00000000-0000-4000-8000-{index:012}").into();
    pod["kind"] = "Pod".into();
    pod["apiVersion"] = "v1".into();
    ordered(&pod)
}

/// Members in the order in which an API server writes them.
fn ordered(object: &serde_json::Value) -> String {
    let mut text = String::from("{");
    for member in ["kind", "apiVersion", "metadata", "spec", "status"] {
        if text.len() > 1 {
            text.push(',');
        }
        let value = if member == "metadata" {
            metadata(&object[member])
        } else {
            object[member].to_string()
        };
        text.push_str(&format!("\"{member}\":{value}"));
    }
    text.push('}');
    text
}

fn metadata(metadata: &serde_json::Value) -> String {
    let first = [
        "name",
        "generateName",
        "namespace",
        "uid",
        "resourceVersion",
        "generation",
        "creationTimestamp",
    ];
    let members = metadata.as_object().expect("metadata is an object");
    let mut parts = Vec::new();
    for member in first {
        if let Some(value) = members.get(member) {
            parts.push(format!("\"{member}\":{value}"));
        }
    }
    for (member, value) in members {
        if !first.contains(&member.as_str()) {
            parts.push(format!("\"{member}\":{value}"));
        }
    }
    format!("{{{}}}", parts.join(","))
}

fn partial(pod: &str) -> String {
    let value: serde_json::Value = serde_json::from_str(pod).expect("a pod is JSON");
    format!(
        "{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":{}}}",
        metadata(&value["metadata"])
    )
}

fn pages(items: &[String], kind: &str, api_version: &str) -> Vec<Vec<Bytes>> {
    let chunks: Vec<_> = items.chunks(PAGE).collect();
    let count = chunks.len();
    chunks
        .into_iter()
        .enumerate()
        .map(|(page, items)| {
            let token = if page + 1 < count { format!("p{}", page + 1) } else { String::new() };
            let body = format!(
                "{{\"kind\":\"{kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{{\"resourceVersion\":\"900000\",\"continue\":\"{token}\"}},\"items\":[{}]}}\n",
                items.join(",")
            );
            frames(body.into())
        })
        .collect()
}

fn frames(mut body: Bytes) -> Vec<Bytes> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        frames.push(body.split_to(FRAME.min(body.len())));
    }
    frames
}

/// All pages as one list.
fn whole(pages: &[Vec<Bytes>]) -> Vec<Bytes> {
    let mut all = Vec::new();
    for (nth, page) in pages.iter().enumerate() {
        let body = page.concat();
        let start = find(&body, b"\"items\":[") + 9;
        let end = body.len() - 3;
        if nth == 0 {
            let head = &body[..start];
            let clean = String::from_utf8_lossy(head)
                .replace(&format!("\"continue\":\"p{}\"", nth + 1), "\"continue\":\"\"");
            all.extend_from_slice(clean.as_bytes());
        } else {
            all.push(b',');
        }
        all.extend_from_slice(&body[start..end]);
    }
    all.extend_from_slice(b"]}\n");
    frames(all.into())
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("a list has items")
}

/// All that one controller needs of a pod, with its repeating strings shared.
#[derive(serde::Deserialize)]
pub(crate) struct Slim {
    metadata: SlimMeta,
    #[serde(default)]
    spec: SlimSpec,
    #[serde(default)]
    status: SlimStatus,
}

#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimMeta {
    name: Box<str>,
    #[serde(deserialize_with = "Interner::shared")]
    namespace: Arc<str>,
    uid: Box<str>,
    resource_version: Box<str>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimSpec {
    #[serde(default, deserialize_with = "Interner::shared")]
    node_name: Arc<str>,
}

#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct SlimStatus {
    #[serde(default, deserialize_with = "Interner::shared")]
    phase: Arc<str>,
    #[serde(default, rename = "podIP")]
    pod_ip: Option<Box<str>>,
}

impl Object for Slim {
    fn namespace(&self) -> Option<&str> {
        Some(&self.metadata.namespace)
    }

    fn name(&self) -> Option<&str> {
        Some(&self.metadata.name)
    }

    fn uid(&self) -> Option<&str> {
        Some(&self.metadata.uid)
    }

    fn resource_version(&self) -> Option<&str> {
        Some(&self.metadata.resource_version)
    }
}

impl Slim {
    pub(crate) fn weight(&self) -> usize {
        self.spec.node_name.len()
            + self.status.phase.len()
            + self.status.pod_ip.as_ref().map_or(0, |ip| ip.len())
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime can be built")
}

/// Lists (again and again, if the script says so) and watches with our reflector, until it has `lists` lists and
/// `events` events behind it.
fn ours<K: Object>(source: impl FnOnce() -> ApiListWatch<K>, lists: u64, events: u64) -> Cache<K> {
    let cache = Cache::new();
    runtime().block_on(async {
        let builder: ReflectorBuilder<K> = Reflector::builder(source(), cache.clone());
        let reflector = builder.streaming_lists(StreamingLists::Off).seed(1).build();
        let mut state = reflector.state();
        let done = async {
            loop {
                let synced = matches!(*state.borrow_and_update(), SyncState::Synced { .. });
                let stats = reflector.stats();
                if synced && stats.lists >= lists && stats.events >= events {
                    break;
                }
                let _ = tokio::time::timeout(Duration::from_millis(10), state.changed()).await;
            }
        };
        reflector.run(done).await.expect("the store is open");
    });
    cache
}

pub(crate) fn ours_full(script: &Script, lists: u64, events: u64) -> Cache<Pod> {
    ours(|| ApiListWatch::all(script.client()), lists, events)
}

pub(crate) fn ours_metadata(script: &Script) -> Cache<PartialObjectMeta<Pod>> {
    ours(|| ApiListWatch::all(script.client()), 1, 0)
}

pub(crate) fn ours_slim(script: &Script) -> Cache<Slim> {
    ours(|| ApiListWatch::of::<Pod>(script.client(), None, &()), 1, 0)
}

fn kube<K>(script: &Script, strip: bool, lists: usize, events: usize) -> reflector::Store<K>
where
    K: kube_core::Resource<DynamicType = ()>
        + Clone
        + std::fmt::Debug
        + serde::de::DeserializeOwned
        + Send
        + Sync
        + 'static,
{
    let (store, writer) = reflector::store();
    runtime().block_on(async {
        let api: Api<K> = Api::all(script.client());
        let events_of = watcher(api, watcher::Config::default());
        let (mut lists, mut events) = (lists, events);
        let enough = |event: &watcher::Event<K>, lists: &mut usize, events: &mut usize| {
            match event {
                watcher::Event::InitDone => *lists = lists.saturating_sub(1),
                watcher::Event::Apply(_) | watcher::Event::Delete(_) => *events = events.saturating_sub(1),
                _ => {}
            }
            *lists == 0 && *events == 0
        };
        if strip {
            let stream = events_of
                .modify(|object| object.meta_mut().managed_fields = None)
                .reflect(writer);
            let mut stream = std::pin::pin!(stream);
            loop {
                if let Ok(Some(event)) = stream.try_next().await
                    && enough(&event, &mut lists, &mut events)
                {
                    break;
                }
            }
        } else {
            let mut stream = std::pin::pin!(events_of.reflect(writer));
            loop {
                if let Ok(Some(event)) = stream.try_next().await
                    && enough(&event, &mut lists, &mut events)
                {
                    break;
                }
            }
        }
    });
    store
}

pub(crate) fn kube_full(script: &Script, strip: bool, lists: usize, events: usize) -> reflector::Store<Pod> {
    kube(script, strip, lists, events)
}

pub(crate) fn kube_metadata(script: &Script) -> reflector::Store<PartialObjectMeta<Pod>> {
    kube(script, false, 1, 0)
}

/// Processor time of every stage.
pub(crate) fn cpu_table(allocator: &str, pods: usize, rounds: usize) {
    let script = Script::new(pods);
    let relists = 5;
    let relisting = script.clone().with_relists(relists);
    let changed = 1000.min(pods);
    let events = 20_000.min(pods * 2);
    let watching = Script::new(changed).with_events(changed, events);
    table::head(&[
        "stage",
        "allocator",
        "kube µs",
        "kube stripped µs",
        "ours µs",
        "ratio",
        "ratio stripped",
    ]);
    let both = filled_and_dropped(
        rounds,
        &[
            &|| Box::new(kube_full(&script, false, 1, 0)),
            &|| Box::new(kube_full(&script, true, 1, 0)),
            &|| Box::new(ours_full(&script, 1, 0)),
            &|| Box::new(ours_metadata(&script)),
            &|| Box::new(kube_metadata(&script)),
            &|| Box::new(ours_slim(&script)),
        ],
    );
    let list: Vec<Duration> = both.iter().map(|(filled, _)| *filled).collect();
    let per = |time: Duration, count: usize| time.as_secs_f64() * 1e6 / count as f64;
    for (name, ours) in [("full", list[2]), ("metadata", list[3]), ("slim", list[5])] {
        row(
            &format!("reflector/list/{name}/{pods}"),
            allocator,
            per(list[0], pods),
            per(list[1], pods),
            per(ours, pods),
        );
    }
    row(
        &format!("reflector/list/metadata-against-its-metadata/{pods}"),
        allocator,
        per(list[4], pods),
        f64::NAN,
        per(list[3], pods),
    );
    let once: Vec<Duration> = both.iter().map(|(filled, dropped)| *filled + *dropped).collect();
    row(
        &format!("reflector/list-and-drop/full/{pods}"),
        allocator,
        per(once[0], pods),
        per(once[1], pods),
        per(once[2], pods),
    );
    let again = cpu::side_by_side(
        rounds.div_ceil(2),
        &mut [
            &mut || drop(kube_full(&relisting, false, 1 + relists, 0)),
            &mut || drop(kube_full(&relisting, true, 1 + relists, 0)),
            &mut || drop(ours_full(&relisting, 1 + relists as u64, 0)),
        ],
    );
    let relist = |nth: usize| per(again[nth].saturating_sub(once[nth]), pods * relists);
    row(
        &format!("reflector/relist/unchanged/{pods}"),
        allocator,
        relist(0),
        relist(1),
        relist(2),
    );
    let base = cpu::side_by_side(
        rounds,
        &mut [
            &mut || drop(kube_full(&watching, false, 1, 0)),
            &mut || drop(kube_full(&watching, true, 1, 0)),
            &mut || drop(ours_full(&watching, 1, 0)),
        ],
    );
    let live = cpu::side_by_side(
        rounds,
        &mut [
            &mut || drop(kube_full(&watching, false, 1, events)),
            &mut || drop(kube_full(&watching, true, 1, events)),
            &mut || drop(ours_full(&watching, 1, events as u64)),
        ],
    );
    let event = |nth: usize| per(live[nth].saturating_sub(base[nth]), events);
    row(
        &format!("reflector/watch/modified/{events}"),
        allocator,
        event(0),
        event(1),
        event(2),
    );
}

fn row(stage: &str, allocator: &str, kube: f64, stripped: f64, ours: f64) {
    table::row(&[
        &stage,
        &allocator,
        &format!("{kube:.1}"),
        &format!("{stripped:.1}"),
        &format!("{ours:.1}"),
        &format!("{:.2}", kube / ours),
        &format!("{:.2}", stripped / ours),
    ]);
}

/// Fills a cache.
type Side<'a> = dyn Fn() -> Box<dyn Any> + 'a;

/// Runs each of the sides in turn; the median of the time until its cache is full, and of dropping that.
fn filled_and_dropped(rounds: usize, sides: &[&Side<'_>]) -> Vec<(Duration, Duration)> {
    let mut samples = vec![(Vec::new(), Vec::new()); sides.len()];
    for _ in 0..rounds {
        for (side, samples) in sides.iter().zip(&mut samples) {
            let (cache, filled) = cpu::timed(side);
            samples.0.push(filled);
            samples.1.push(cpu::timed(|| drop(cache)).1);
        }
    }
    let medians = |(filled, dropped)| (cpu::median(filled), cpu::median(dropped));
    samples.into_iter().map(medians).collect()
}

/// The list of full pods alone: processor time until the cache is full and of dropping it, how much of both the kernel
/// took, and page faults.
pub(crate) fn list_table(pods: usize, rounds: usize) {
    let script = Script::new(pods);
    let sides: [(&str, &Side<'_>); 3] = [
        ("kube", &|| Box::new(kube_full(&script, false, 1, 0))),
        ("kube stripped", &|| Box::new(kube_full(&script, true, 1, 0))),
        ("ours", &|| Box::new(ours_full(&script, 1, 0))),
    ];
    let mut samples = vec![Vec::new(); sides.len()];
    for _ in 0..rounds {
        for ((_, side), samples) in sides.iter().zip(&mut samples) {
            let before = kernel();
            let (cache, filled) = cpu::timed(side);
            let dropped = cpu::timed(|| drop(cache)).1;
            let after = kernel();
            samples.push((filled, dropped, after.0 - before.0, after.1 - before.1));
        }
    }
    table::head(&[
        "list of full pods",
        "fill µs",
        "least",
        "drop µs",
        "least",
        "of both the kernel's",
        "page faults",
    ]);
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / pods as f64;
    for ((name, _), samples) in sides.iter().zip(samples) {
        let middle = |mut all: Vec<f64>| {
            all.sort_unstable_by(f64::total_cmp);
            (format!("{:.1}", all[rounds / 2]), format!("{:.1}", all[0]))
        };
        let per_pod = |count: u64| count as f64 / pods as f64;
        let filled = middle(samples.iter().map(|sample| micros(sample.0)).collect());
        let dropped = middle(samples.iter().map(|sample| micros(sample.1)).collect());
        let kernel = middle(samples.iter().map(|sample| per_pod(sample.2) * 1e4).collect());
        let faults = middle(samples.iter().map(|sample| per_pod(sample.3)).collect());
        table::row(&[
            name, &filled.0, &filled.1, &dropped.0, &dropped.1, &kernel.0, &faults.0,
        ]);
    }
}

/// Processor time of this process in the kernel, in hundredths of a second, and its page faults; zero where there is no
/// `/proc`.
fn kernel() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = text.rsplit_once(')').map_or("", |(_, fields)| fields);
    let field = |nth| fields.split_whitespace().nth(nth)?.parse().ok();
    (field(12).unwrap_or_default(), field(7).unwrap_or_default())
}

/// One stage alone, so often, for callgrind and sampling profilers: `full`, `kube`, `stripped`, `metadata`, `slim`.
pub(crate) fn one(stage: &str, pods: usize, rounds: usize) {
    let script = Script::new(pods);
    for _ in 0..rounds {
        match stage {
            "kube" => drop(std::hint::black_box(kube_full(&script, false, 1, 0))),
            "stripped" => drop(std::hint::black_box(kube_full(&script, true, 1, 0))),
            "metadata" => drop(std::hint::black_box(ours_metadata(&script))),
            "slim" => {
                let cache = ours_slim(&script);
                assert_eq!(cache.len(), pods);
            }
            "none" => assert!(script.bytes() > 0),
            _ => {
                let cache = ours_full(&script, 1, 0);
                assert_eq!(cache.len(), pods);
            }
        }
    }
}

/// The number after `name` among the arguments.
pub(crate) fn argument(name: &str) -> Option<String> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name);
    arguments.nth(1)
}
