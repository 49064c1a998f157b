//! A controller in thirty lines: marks every pod of one app as seen, with an annotation.

mod support;

use clap::Parser;
use informer::{
    Informer,
    controller::{Action, Context, Controller, reconcile_fn, trigger},
    reflector::ApiListWatch,
};
use k8s_openapi::api::core::v1::Pod;
use kube_client::{
    Api,
    api::{Patch, PatchParams},
};
use serde_json::json;

use support::say;

/// Marks pods as seen. On a cluster it only says which it would mark.
#[derive(Parser)]
struct Args {
    /// Use the cluster of the current kubeconfig in place of the embedded server
    #[arg(long)]
    cluster: bool,
}

const SEEN: &str = "example.org/seen";

#[tokio::main]
async fn main() -> support::Result<()> {
    let args = Args::parse();
    let stage = support::Stage::set(args.cluster, 400).await?;
    let pods = Informer::new(ApiListWatch::<Pod>::all(&stage.client).labels("app=app-001"));
    pods.start();
    stage.report(pods.state());

    let (client, cache, read_only) = (stage.client.client().clone(), pods.cache().clone(), args.cluster);
    let reconciler = reconcile_fn(move |cx: Context| {
        let (client, cache) = (client.clone(), cache.clone());
        async move {
            // A key, not an event: look at what there is now. A pod that is gone is a normal case.
            let Some(pod) = cache.get_by_key(cx.key()) else {
                return Ok(Action::done());
            };
            let seen = pod
                .metadata
                .annotations
                .as_ref()
                .is_some_and(|all| all.contains_key(SEEN));
            if seen {
                return Ok(Action::done());
            }
            say!("{} is new", cx.key());
            if !read_only {
                let api: Api<Pod> = Api::namespaced(client, cx.key().namespace().unwrap_or_default());
                let patch = Patch::Merge(json!({ "metadata": { "annotations": { SEEN: "yes" } } }));
                // An error is tried again, later each time.
                let pod = api
                    .patch(cx.key().name(), &PatchParams::default(), &patch)
                    .await?;
                // The key runs again only once the cache has this write.
                cx.wrote(
                    &cache,
                    pod.metadata.resource_version.as_deref().unwrap_or_default(),
                );
            }
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("seen", reconciler)
        .source(pods.subscribe(), trigger::itself())
        .workers(4)
        .build();

    let handle = controller.handle();
    let enough = async {
        pods.synced().await;
        let idle = |queue: informer::workqueue::Stats| queue.keys == 0;
        while handle.stats().reconciles() == 0 && !pods.cache().is_empty() || !idle(handle.queue().stats()) {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    let report = controller.run(enough).await?;
    say!(
        "{} reconciles, {} abandoned",
        handle.stats().reconciles(),
        report.abandoned.len()
    );
    Ok(())
}
