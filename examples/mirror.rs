//! Mirrors one kind of one server and prints what an informer makes of it, one JSON object a line: every change as a
//! handler sees it, every change of the sync state, every object set aside, and at the end the store and the counts.
//!
//! Made to be pointed at misbehaving servers: nothing a server does ends it.

mod support;

use std::{collections::HashMap, process::ExitCode, time::Duration};

use clap::{Parser, ValueEnum};
use futures::{FutureExt, StreamExt};
use informer::{
    Change, Informer, ObjectKey,
    reflector::{ApiClient, ApiListWatch, QuarantineEvent, RelistReason, StreamingLists, SyncState},
    store::Object,
};
use kube_client::Config;
use kube_core::{ApiResource, DynamicObject};
use serde_json::{Map, Value, json};
use support::{Signals, complain, say};
use tokio::sync::watch;

/// Mirrors one kind of one server, printing what an informer makes of it as JSON lines.
#[derive(Parser)]
struct Args {
    /// Where the API server is, e.g. http://127.0.0.1:8001
    #[arg(long)]
    server: String,
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
    /// Deliver everything again once in so many seconds; 0 for never
    #[arg(long, value_name = "SECONDS", value_parser = resync, allow_hyphen_values = true)]
    resync: Option<Duration>,
    /// End after so many seconds; without it, on SIGTERM or Ctrl-C
    #[arg(long, value_name = "SECONDS", value_parser = support::seconds, allow_hyphen_values = true)]
    seconds: Option<Duration>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Initial {
    /// By a list
    List,
    /// By a watch that begins with the contents, each time anew; by a list that one time if it is refused
    WatchList,
    /// By such a watch if the server has it: a refusal is remembered for an hour
    Auto,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    // Listened for first: making the client takes its time.
    let signals = Signals::listen();
    let args = Args::parse();
    let informer = match informer(&args) {
        Ok(informer) => informer,
        Err(error) => {
            complain(format_args!("mirror: {error}"));
            return ExitCode::from(2);
        }
    };
    mirror(&informer, stop(args.seconds, signals)).await;
    say!("{}", summary(&informer));
    ExitCode::SUCCESS
}

fn informer(args: &Args) -> support::Result<Informer<DynamicObject>> {
    for (name, value) in [
        ("resource", Some(&args.resource)),
        ("namespace", args.namespace.as_ref()),
    ] {
        if let Some(value) = value.filter(|value| !is_name(value)) {
            return Err(format!("--{name} {value:?} is not the name of a {name}").into());
        }
    }
    if !args.api_version.splitn(2, '/').all(is_name) {
        return Err(format!("--api-version {:?} is no version of an API", args.api_version).into());
    }
    let url = args.server.parse().map_err(|error| {
        let server = &args.server;
        format!("--server {server:?} is no URL ({error}); give one like http://127.0.0.1:8001")
    })?;
    let client =
        ApiClient::new(Config::new(url)).map_err(|error| format!("--server {:?}: {error}", args.server))?;
    let mut source = ApiListWatch::<DynamicObject>::with(client, args.namespace.as_deref(), &resource(args));
    if let Some(selector) = &args.label_selector {
        source = source.labels(selector);
    }
    if let Some(selector) = &args.field_selector {
        source = source.fields(selector);
    }
    let lists = match args.initial {
        Initial::List => StreamingLists::Off,
        Initial::WatchList => StreamingLists::Always,
        Initial::Auto => StreamingLists::Auto,
    };
    let resync = args.resync.filter(|period| !period.is_zero());
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

/// As a time in seconds, and 0 as client-go has it: never.
fn resync(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(0.0) => Ok(Duration::ZERO),
        _ => support::seconds(text),
    }
}

/// Whether it can be a part of an address as it is.
fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(plain)
}

async fn mirror(informer: &Informer<DynamicObject>, stop: impl Future<Output = ()> + Send) {
    let mut changes = informer.subscribe();
    let mut told = Told::default();
    let running = informer.run(stop);
    let printing = async {
        while let Some(change) = changes.next().await {
            say!("{}", told.line(&change));
        }
    };
    tokio::select! {
        biased;
        ended = running => if let Err(error) = ended {
            complain(format_args!("mirror: {error}"));
        },
        () = printing => {}
        () = states(informer.state()) => {}
    }
    while let Some(Some(change)) = changes.next().now_or_never() {
        say!("{}", told.line(&change));
    }
    say!(
        "{}",
        json!({ "state": informer.state().borrow().as_str(), "reason": null })
    );
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
            say!(
                "{}",
                json!({ "state": now.0, "reason": now.1.map(|reason| reason.as_str()) })
            );
            last = Some(now);
        }
        if state.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

fn quarantined(event: &QuarantineEvent) {
    if let QuarantineEvent::In(entry) = event {
        let line = json!({
            "quarantined": entry.key.as_ref().map(|key| key.as_str()),
            "rv": entry.version.to_string(),
            "error": entry.error.to_string(),
        });
        say!("{line}");
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

async fn stop(after: Option<Duration>, mut signals: Signals) {
    let timer = async {
        match after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        () = timer => {}
        () = signals.next() => {}
    }
}
