//! The audit: what the caches hold against what the server has, and every ConfigMap against the pods.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use informer::store::{Object, Snapshot};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Pod};
use kube_client::{Api, api::ListParams};
use tokio::time::Instant;

use crate::{
    counts::{self, Counts, Mode, is_right, is_running},
    support::{Result, Stage},
};

/// How long the last changes may take to come through.
const PATIENCE: Duration = Duration::from_secs(30);

/// What differs, a line each, with the versions on both sides.
type Differences = BTreeSet<String>;

/// Compares until everything is right, or patience ends; then says what is not.
///
/// A cluster that others use never stands still: there, a difference counts if it is the very same in the next round.
pub async fn run(stage: &Stage, counts: &Counts) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    let mut before: Option<Differences> = None;
    loop {
        let failure = match compare(stage, counts).await {
            Ok((report, found)) => {
                let moving =
                    stage.server.is_none() && before.is_some_and(|before| before.is_disjoint(&found));
                let Some(first) = found.first().filter(|_| !moving).cloned() else {
                    return Ok(report);
                };
                before = Some(found);
                first.into()
            }
            Err(error) => {
                before = None;
                error
            }
        };
        if Instant::now() > deadline {
            return Err(failure);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Reads everything from the server, then looks at the caches.
async fn compare(stage: &Stage, counts: &Counts) -> Result<(String, Differences)> {
    let everything = ListParams::default();
    let pods = Api::<Pod>::all(stage.client.client().clone())
        .list(&everything)
        .await?
        .items;
    let namespaces = Api::<Namespace>::all(stage.client.client().clone())
        .list(&everything)
        .await?
        .items;
    let labelled = ListParams::default().labels(&counts::selector());
    let ours = Api::<ConfigMap>::all(stage.client.client().clone())
        .list(&labelled)
        .await?
        .items;

    let mut found = Differences::new();
    same(
        "pods",
        &versions(&pods),
        &cached(&counts.pods.cache().snapshot()),
        &mut found,
    );
    same(
        "namespaces",
        &versions(&namespaces),
        &cached(&counts.namespaces.cache().snapshot()),
        &mut found,
    );
    same(
        "config maps",
        &versions(&ours),
        &cached(&counts.config_maps.cache().snapshot()),
        &mut found,
    );
    if counts.mode == Mode::Write {
        right(&pods, &namespaces, &ours, &mut found);
    }
    let queue = counts.controller.queue().stats();
    if stage.server.is_some() && queue.depth + queue.running > 0 {
        found.insert("keys still wait for the controller".to_owned());
    }
    let said = if counts.mode == Mode::Write {
        "right"
    } else {
        "there, none written"
    };
    let report = format!(
        "{} pods, {} namespaces, {} ConfigMaps {said}",
        pods.len(),
        namespaces.len(),
        ours.len()
    );
    Ok((report, found))
}

/// Every living namespace has its ConfigMap, every ConfigMap its namespace and the right number.
fn right(pods: &[Pod], namespaces: &[Namespace], maps: &[ConfigMap], found: &mut Differences) {
    let mut running: BTreeMap<&str, usize> = BTreeMap::new();
    for pod in pods.iter().filter(|pod| is_running(pod)) {
        *running
            .entry(pod.metadata.namespace.as_deref().unwrap_or_default())
            .or_default() += 1;
    }
    let living = namespaces
        .iter()
        .filter(|namespace| namespace.metadata.deletion_timestamp.is_none());
    let wanted: BTreeSet<&str> = living
        .filter_map(|namespace| namespace.metadata.name.as_deref())
        .collect();
    let there: BTreeSet<&str> = maps
        .iter()
        .filter_map(|map| map.metadata.namespace.as_deref())
        .collect();
    for namespace in wanted.symmetric_difference(&there) {
        let what = if wanted.contains(namespace) {
            "is missing"
        } else {
            "should be gone"
        };
        found.insert(format!("the ConfigMap of {namespace} {what}"));
    }
    for map in maps {
        let namespace = map.metadata.namespace.as_deref().unwrap_or_default();
        let running = running.get(namespace).copied().unwrap_or_default();
        if !is_right(map, running) {
            let version = map.metadata.resource_version.as_deref().unwrap_or_default();
            found.insert(format!(
                "the ConfigMap of {namespace} is wrong at {version}: {running} pods run there"
            ));
        }
    }
}

fn versions<K: Object>(objects: &[K]) -> BTreeMap<String, String> {
    let version = |object: &K| object.resource_version().unwrap_or_default().to_owned();
    objects
        .iter()
        .filter_map(|object| Some((object.key().ok()?.to_string(), version(object))))
        .collect()
}

fn cached<K: Object>(snapshot: &Snapshot<K>) -> BTreeMap<String, String> {
    let version = |object: &K| object.resource_version().unwrap_or_default().to_owned();
    snapshot
        .entries()
        .map(|(key, object)| (key.to_string(), version(object)))
        .collect()
}

fn same(
    what: &str,
    server: &BTreeMap<String, String>,
    cache: &BTreeMap<String, String>,
    found: &mut Differences,
) {
    let keys: BTreeSet<&String> = server.keys().chain(cache.keys()).collect();
    for key in keys {
        let (there, here) = (server.get(key), cache.get(key));
        if there != here {
            let text = |version: Option<&String>| version.cloned().unwrap_or_else(|| "absent".to_owned());
            found.insert(format!(
                "{what}: {key} is {} on the server and {} here",
                text(there),
                text(here)
            ));
        }
    }
}
