//! Waits until one pod exists, by its key.

mod support;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use futures::StreamExt;
use informer::{Informer, ObjectKey, reflector::ApiListWatch};
use informer_testkit::generate;
use k8s_openapi::api::core::v1::Pod;

use support::say;

/// Waits until a pod exists.
#[derive(Parser)]
struct Args {
    /// The pod, as <namespace>/<name>
    #[arg(default_value = "default/wanted")]
    key: ObjectKey,
    /// Use the cluster of the current kubeconfig in place of the embedded server, which makes the pod default/wanted
    /// after a moment
    #[arg(long)]
    cluster: bool,
    /// For how many seconds
    #[arg(long, default_value = "30", value_parser = support::seconds, allow_hyphen_values = true)]
    timeout: Duration,
}

#[tokio::main]
async fn main() -> support::Result<ExitCode> {
    let args = Args::parse();
    let stage = support::Stage::set(args.cluster, 100).await?;

    // The server sends that one pod and no other.
    let pod = ApiListWatch::<Pod>::with(&stage.client, args.key.namespace(), &())
        .fields(format!("metadata.name={}", args.key.name()));
    let pods = Informer::new(pod);
    pods.start();
    stage.report(pods.state());

    // A subscription first tells what there is, then every change: the pod cannot slip through in between.
    let mut changes = pods.subscribe();
    let found = async {
        while let Some(change) = changes.next().await {
            if let Some(pod) = change.current() {
                return Some(pod.clone());
            }
        }
        None
    };
    let timeout = tokio::time::sleep(args.timeout);
    tokio::select! {
        pod = found => {
            let node = pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone());
            say!("{} is there, on node {}", args.key, node.as_deref().unwrap_or("(none yet)"));
            Ok(ExitCode::SUCCESS)
        }
        () = timeout => {
            let state = pods.state().borrow().clone();
            let why = state.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
            say!("{} did not appear within {} s; the informer is {}{why}", args.key, args.timeout.as_secs_f64(), state.as_str());
            Ok(ExitCode::FAILURE)
        }
        made = make(&stage) => made.map(|()| ExitCode::FAILURE),
    }
}

/// On the embedded server somebody has to make it.
async fn make(stage: &support::Stage) -> support::Result<()> {
    if let Some(server) = &stage.server {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let mut pod = generate::pod(0, &mut fastrand::Rng::with_seed(2));
        pod["metadata"]["namespace"] = "default".into();
        pod["metadata"]["name"] = "wanted".into();
        server.load([pod])?;
    }
    std::future::pending().await
}
