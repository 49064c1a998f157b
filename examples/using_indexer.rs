//! A cache with indexes of its own: pods by node, by label, and both at once.

mod support;

use clap::Parser;
use informer::{Cache, Informer, reflector::ApiListWatch, store::Index};
use k8s_openapi::api::core::v1::Pod;

use support::say;

/// Asks a cache of pods for those on one node, and for those of one app.
#[derive(Parser)]
struct Args {
    /// Use the cluster of the current kubeconfig in place of the embedded server
    #[arg(long)]
    cluster: bool,
}

#[tokio::main]
async fn main() -> support::Result<()> {
    let stage = support::Stage::set(Args::parse().cluster, 2_000).await?;

    // An index is a typed handle: a function from an object to its values, here one or none.
    let by_node = Index::hash("node", |pod: &Pod| pod.spec.as_ref()?.node_name.clone());
    let by_app = Index::by_label("app");
    let cache = Cache::builder().index(&by_node).index(&by_app).build();

    let pods = Informer::builder(ApiListWatch::<Pod>::all(&stage.client))
        .cache(cache)
        .build();
    pods.start();
    stage.report(pods.state());
    pods.synced().await;

    // One snapshot: objects and indexes of the same instant. Lookups copy nothing.
    let snapshot = pods.cache().snapshot();
    let Some(node) = snapshot
        .list()
        .find_map(|pod| pod.spec.as_ref()?.node_name.clone())
    else {
        say!("There are no pods on any node.");
        return Ok(());
    };
    say!("on {node}:");
    for pod in snapshot.by_index(&by_node, &node).take(5) {
        say!("  {}", pod.metadata.name.as_deref().unwrap_or_default());
    }
    let apps = snapshot.by_index(&by_app, "app-001").count();
    say!("{apps} pods of app-001, {} pods in all", snapshot.len());

    // Indexes come and go while the cache runs.
    let by_phase = Index::hash("phase", |pod: &Pod| pod.status.as_ref()?.phase.clone());
    pods.cache().add_index(&by_phase)?;
    say!(
        "{} pods are running",
        pods.cache().snapshot().by_index(&by_phase, "Running").count()
    );
    pods.cache().drop_index(&by_phase);
    Ok(())
}
