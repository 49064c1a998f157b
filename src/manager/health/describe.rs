//! What `/debug` tells of informers and controllers: states, counts and keys, nothing that objects contain.

use std::fmt::Debug;

use informer_controller::{Handle as ControllerHandle, Key};
use informer_reflector::{RelistReason, SyncState};
use informer_store::Object;
use serde_json::{Value, json};

use crate::Informer;

/// What an informer is doing, on one line.
pub(super) fn sync_state<K: Object>(informer: &Informer<K>) -> String {
    let state = informer.state();
    let state = state.borrow();
    match &*state {
        SyncState::Listing {
            items,
            expected: Some(expected),
        } => format!("listing: {items} of {expected}"),
        SyncState::Listing {
            items,
            expected: None,
        } => format!("listing: {items}"),
        SyncState::Degraded { reason, attempts, .. } => format!("degraded: {reason}, attempt {attempts}"),
        state => state.as_str().to_owned(),
    }
}

/// State, counts and keys of an informer: nothing that objects contain.
pub(super) fn informer<K: Object>(informer: &Informer<K>) -> Value {
    let stats = informer.reflector().stats();
    let relists: serde_json::Map<_, _> = RelistReason::ALL
        .into_iter()
        .map(|reason| (reason.as_str().to_owned(), stats.relists(reason).into()))
        .collect();
    // Not the errors: those of a decoder quote what they could not decode.
    let quarantined: Vec<_> = informer
        .quarantined()
        .iter()
        .take(SHOWN)
        .map(|bad| {
            json!({
                "key": bad.key.as_ref().map(ToString::to_string),
                "version": bad.version.to_string(),
                "attempts": bad.attempts,
            })
        })
        .collect();
    json!({
        "state": sync_state(informer),
        "synced": informer.is_synced(),
        "stale": informer.reflector().is_stale(),
        "age_seconds": informer.reflector().age().map(|age| age.as_secs_f64()),
        "objects": informer.cache().len(),
        "version": informer.cache().resource_version().to_string(),
        "queued": informer.queue().stats().depth,
        "lists": stats.lists,
        "watches": stats.watches,
        "events": stats.events,
        "bytes": stats.bytes,
        "retries": stats.retries,
        "relists": relists,
        "quarantined": quarantined,
    })
}

/// What a controller is doing: phases, counts, keys.
pub(super) fn controller<T: Key>(handle: &ControllerHandle<T>) -> Value {
    let status = handle.status();
    let stats = handle.stats();
    let queue = handle.queue().stats();
    let failing: Vec<_> = handle
        .queue()
        .top_failing(SHOWN)
        .into_iter()
        .map(|(key, failures)| json!({ "key": short(&key), "failures": failures }))
        .collect();
    let running: Vec<_> = status
        .running
        .iter()
        .take(SHOWN)
        .map(|run| {
            json!({
                "key": short(&run.key),
                "attempt": run.attempt,
                "seconds": run.age.as_secs_f64(),
                "stuck": run.stuck,
            })
        })
        .collect();
    let sources: Vec<_> = status
        .sources
        .iter()
        .map(|source| {
            json!({
                "name": source.name,
                "phase": format!("{:?}", source.phase),
                "events": source.events,
                "filtered": source.filtered,
                "triggered": source.triggered,
                "panics": source.panics,
            })
        })
        .collect();
    json!({
        "phase": format!("{:?}", status.phase),
        "workers": stats.workers,
        "active": stats.active,
        "reconciles": stats.reconciles(),
        "errors": stats.errors,
        "sources": sources,
        "running": running,
        "failing": failing,
        "queue": {
            "depth": queue.depth,
            "delayed": queue.delayed,
            "running": queue.running,
            "adds": queue.adds,
            "retries": queue.retries,
        },
    })
}

fn short(key: &impl Debug) -> String {
    crate::manager::text::one_line(&format!("{key:?}"))
}

/// How many keys a description shows at most.
const SHOWN: usize = 20;
