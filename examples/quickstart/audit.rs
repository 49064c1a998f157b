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
    counts::{Counts, Mode, NAME, is_right, is_running},
    support::{Result, Stage},
};

/// How long the last changes may take to come through.
const PATIENCE: Duration = Duration::from_secs(30);

/// Compares until everything is right, or patience ends; then says what is not.
pub async fn run(stage: &Stage, counts: &Counts) -> Result<String> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let difference = match compare(stage, counts).await {
            Ok(report) => return Ok(report),
            Err(difference) if Instant::now() > deadline => difference,
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(200)).await;
                continue;
            }
        };
        return Err(difference);
    }
}

/// Reads everything from the server, then looks at the caches.
async fn compare(stage: &Stage, counts: &Counts) -> Result<String> {
    let everything = ListParams::default();
    let pods = Api::<Pod>::all(stage.client.clone())
        .list(&everything)
        .await?
        .items;
    let namespaces = Api::<Namespace>::all(stage.client.clone())
        .list(&everything)
        .await?
        .items;
    let config_maps = Api::<ConfigMap>::all(stage.client.clone())
        .list(&everything)
        .await?
        .items;

    same("pods", &versions(&pods), &cached(&counts.pods.cache().snapshot()))?;
    same(
        "namespaces",
        &versions(&namespaces),
        &cached(&counts.namespaces.cache().snapshot()),
    )?;
    let ours: Vec<ConfigMap> = config_maps
        .into_iter()
        .filter(|map| map.metadata.name.as_deref() == Some(NAME))
        .collect();
    if counts.mode == Mode::Write {
        same(
            "config maps",
            &versions(&ours),
            &cached(&counts.config_maps.cache().snapshot()),
        )?;
        right(&pods, &namespaces, &ours)?;
    }
    let queue = counts.controller.queue().stats();
    if queue.depth + queue.running > 0 {
        return Err(format!(
            "{} keys still wait for the controller",
            queue.depth + queue.running
        )
        .into());
    }
    let read_only = if counts.mode == Mode::Write {
        "right"
    } else {
        "there, none written"
    };
    Ok(format!(
        "{} pods, {} namespaces, {} ConfigMaps {read_only}",
        pods.len(),
        namespaces.len(),
        ours.len()
    ))
}

/// Every living namespace has its ConfigMap, every ConfigMap its namespace and the right number.
fn right(pods: &[Pod], namespaces: &[Namespace], maps: &[ConfigMap]) -> Result<()> {
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
    if let Some(namespace) = wanted.symmetric_difference(&there).next() {
        let what = if wanted.contains(namespace) {
            "is missing"
        } else {
            "should be gone"
        };
        return Err(format!("the ConfigMap of {namespace} {what}").into());
    }
    for map in maps {
        let namespace = map.metadata.namespace.as_deref().unwrap_or_default();
        let running = running.get(namespace).copied().unwrap_or_default();
        if !is_right(map, running) {
            return Err(format!("the ConfigMap of {namespace} is wrong: {running} pods run there").into());
        }
    }
    Ok(())
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

fn same(what: &str, server: &BTreeMap<String, String>, cache: &BTreeMap<String, String>) -> Result<()> {
    let keys: BTreeSet<&String> = server.keys().chain(cache.keys()).collect();
    for key in keys {
        let (there, here) = (server.get(key), cache.get(key));
        if there != here {
            let text = |version: Option<&String>| version.cloned().unwrap_or_else(|| "absent".to_owned());
            return Err(format!(
                "{what}: {key} is {} on the server and {} here",
                text(there),
                text(here)
            )
            .into());
        }
    }
    Ok(())
}
