//! Mirrors one kind of one server and prints what an informer makes of it, one JSON object a line: every change as a
//! handler sees it, every change of the sync state, every object set aside, and at the end the store and the counts.
//!
//! Made to be pointed at misbehaving servers: nothing a server does ends it.

#![expect(
    clippy::print_stderr,
    reason = "errors of the command line go to standard error"
)]

use std::{
    collections::HashMap,
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::{Parser, ValueEnum};
use futures::{FutureExt, StreamExt};
use informer::{
    Change, Informer, ObjectKey,
    reflector::{ApiListWatch, QuarantineEvent, RelistReason, StreamingLists, SyncState},
    store::Object,
};
use kube_client::{Client, Config};
use kube_core::{ApiResource, DynamicObject};
use serde_json::{Map, Value, json};
use tokio::sync::watch;

/// Mirrors one kind of one server, printing what an informer makes of it as JSON lines.
#[derive(Parser)]
struct Args {
    /// Where the API server is, e.g. http://127.0.0.1:8001
    #[arg(long)]
    server: http::Uri,
    /// The plural name of the kind, e.g. configmaps
    #[arg(long)]
    resource: String,
    /// Group and version of the kind
    #[arg(long, default_value = "v1")]
    api_version: String,
    /// Only this namespace
    #[arg(long)]
    namespace: Option<String>,
    /// Only what this label selector matches
    #[arg(long)]
    label_selector: Option<String>,
    /// Only what this field selector matches
    #[arg(long)]
    field_selector: Option<String>,
    /// How the contents are read first
    #[arg(long, value_enum, default_value = "auto")]
    initial: Initial,
    /// Deliver everything again once in so many seconds
    #[arg(long, value_name = "SECONDS")]
    resync: Option<f64>,
    /// End after so many seconds; without it, on SIGTERM or Ctrl-C
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<f64>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Initial {
    /// By a list
    List,
    /// By a watch that begins with the contents, by a list where that is refused
    WatchList,
    /// Whichever the server has
    Auto,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Listened for first: making the clients takes its time.
    let terminated = terminated();
    let args = Args::parse();
    let informer = match informer(&args) {
        Ok(informer) => informer,
        Err(error) => {
            eprintln!("mirror: {error}");
            return ExitCode::from(2);
        }
    };
    mirror(&informer, stop(args.seconds.and_then(period), terminated)).await;
    print(&summary(&informer));
    ExitCode::SUCCESS
}

fn informer(args: &Args) -> Result<Informer<DynamicObject>, String> {
    if args.server.scheme().is_none() || args.server.host().is_none() {
        return Err(format!(
            "--server {} is no URL; give one like http://127.0.0.1:8001",
            args.server
        ));
    }
    let mut config = Config::new(args.server.clone());
    config.default_retry = false;
    let client =
        || Client::try_from(config.clone()).map_err(|error| format!("cannot make a client: {error}"));
    let mut source =
        ApiListWatch::<DynamicObject>::with(client()?, args.namespace.as_deref(), &resource(args));
    if let Some(selector) = &args.label_selector {
        source = source.labels(selector);
    }
    if let Some(selector) = &args.field_selector {
        source = source.fields(selector);
    }
    let (fresh, first) = (config.clone(), client()?);
    source = source.fresh_clients(move || Client::try_from(fresh.clone()).unwrap_or_else(|_| first.clone()));
    let lists = match args.initial {
        Initial::List => StreamingLists::Off,
        Initial::WatchList | Initial::Auto => StreamingLists::Auto,
    };
    let resync = args.resync.and_then(period);
    Ok(Informer::builder(source)
        .reflector(move |reflector| {
            let reflector = reflector.streaming_lists(lists).on_quarantine(quarantined);
            if let Some(period) = resync {
                reflector.resync(period)
            } else {
                reflector
            }
        })
        .build())
}

/// The kind's own name is not asked for: a server under test may not answer what it was not made to answer.
fn resource(args: &Args) -> ApiResource {
    let (group, version) = args
        .api_version
        .split_once('/')
        .unwrap_or(("", &args.api_version));
    ApiResource {
        group: group.to_owned(),
        version: version.to_owned(),
        api_version: args.api_version.clone(),
        kind: String::new(),
        plural: args.resource.clone(),
    }
}

fn period(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|period| !period.is_zero())
}

async fn mirror(informer: &Informer<DynamicObject>, stop: impl Future<Output = ()> + Send) {
    let mut changes = informer.subscribe();
    let mut told = Told::default();
    let running = informer.run(stop);
    let printing = async {
        while let Some(change) = changes.next().await {
            print(&told.line(&change));
        }
    };
    tokio::select! {
        biased;
        ended = running => if let Err(error) = ended {
            eprintln!("mirror: {error}");
        },
        () = printing => {}
        () = states(informer.state()) => {}
    }
    while let Some(Some(change)) = changes.next().now_or_never() {
        print(&told.line(&change));
    }
    print(&json!({ "state": informer.state().borrow().as_str(), "reason": null }));
}

/// The version last told of each key: a deletion brings the object's final state, not the one before.
#[derive(Default)]
struct Told(HashMap<ObjectKey, Option<String>>);

impl Told {
    fn line(&mut self, change: &Change<DynamicObject>) -> Value {
        let key = change.key();
        let (uid, rv) = (
            change.object().uid(),
            change.object().resource_version().map(str::to_owned),
        );
        let (event, initial, inferred, old_rv) = match change {
            Change::Added { initial, .. } => ("added", *initial, false, None),
            Change::Deleted { inferred, .. } => ("deleted", false, *inferred, self.0.remove(key).flatten()),
            _ => {
                let old = change.old().and_then(|old| old.resource_version());
                ("updated", false, false, old.map(str::to_owned))
            }
        };
        if event != "deleted" {
            self.0.insert(key.clone(), rv.clone());
        }
        json!({
            "event": event, "key": key.as_str(), "uid": uid, "rv": rv, "old_rv": old_rv,
            "inferred": inferred, "initial": initial,
        })
    }
}

/// Prints each change of the state's name or reason; progress within a state is not news.
async fn states(mut state: watch::Receiver<SyncState>) {
    let mut last = None;
    loop {
        let now = {
            let state = state.borrow_and_update();
            (state.as_str(), state.reason())
        };
        if last != Some(now) {
            print(&json!({ "state": now.0, "reason": now.1.map(|reason| reason.as_str()) }));
            last = Some(now);
        }
        if state.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn quarantined(event: &QuarantineEvent) {
    if let QuarantineEvent::In(entry) = event {
        print(&json!({
            "quarantined": entry.key.as_ref().map(|key| key.as_str()),
            "rv": entry.version.to_string(),
            "error": entry.error.to_string(),
        }));
    }
}

fn summary(informer: &Informer<DynamicObject>) -> Value {
    let snapshot = informer.cache().snapshot();
    let version = |object: &DynamicObject| object.resource_version().unwrap_or_default().to_owned();
    let store: Map<_, _> = snapshot
        .entries()
        .map(|(key, object)| (key.to_string(), version(object).into()))
        .collect();
    let stats = informer.reflector().stats();
    let relists: Map<_, _> = RelistReason::ALL
        .iter()
        .map(|reason| (reason.as_str().to_owned(), stats.relists(*reason).into()))
        .collect();
    json!({
        "store": store,
        "version": snapshot.resource_version().to_string(),
        "stats": {
            "lists": stats.lists,
            "pages": stats.pages,
            "watches": stats.watches,
            "bytes": stats.bytes,
            "relists": relists,
            "retries": stats.retries,
            "quarantined": stats.quarantined,
            "events": stats.events,
            "bookmarks": stats.bookmarks,
            "probes": stats.probes,
            "requests": stats.requests(),
            "streaming_lists": stats.streaming_lists,
            "streaming_list_fallbacks": stats.streaming_list_fallbacks,
            "throttled": stats.throttled,
            "short_watches": stats.short_watches,
            "duplicates": stats.duplicates,
            "unreadable": stats.unreadable,
            "stale_answers": stats.stale_answers,
            "rewinds": stats.rewinds,
            "watchdog_trips": stats.watchdog_trips,
            "timeouts": stats.timeouts,
        },
    })
}

/// One line, flushed. Who reads it may have gone; then there is nobody left to tell.
fn print(line: &Value) {
    let mut out = io::stdout().lock();
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        std::process::exit(0);
    }
}

async fn stop(after: Option<Duration>, terminated: impl Future<Output = ()> + Send) {
    let timer = async {
        match after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = timer => {}
        () = terminated => {}
    }
}

/// The first SIGINT or SIGTERM from this call on.
#[cfg(unix)]
fn terminated() -> impl Future<Output = ()> + Send {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    async move {
        let waits = signals.into_iter().map(|signal| {
            async move {
                match signal {
                    Ok(mut signal) => drop(signal.recv().await),
                    Err(_) => std::future::pending().await,
                }
            }
            .boxed()
        });
        futures::future::select_all(waits).await;
    }
}

#[cfg(not(unix))]
async fn terminated() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}
