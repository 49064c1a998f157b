//! A reflector lists and watches pods straight into a store.

mod support;

use std::time::Duration;

use clap::Parser;
use informer::{
    Cache,
    reflector::{ApiListWatch, Reflector},
};
use k8s_openapi::api::core::v1::Pod;

use support::say;

/// Lists and watches pods into a store, and prints the first key it caches.
#[derive(Parser)]
struct Args {
    /// Use the cluster of the current kubeconfig in place of the embedded server
    #[arg(long)]
    cluster: bool,
    /// Only pods of this namespace
    #[arg(long)]
    namespace: Option<String>,
}

#[tokio::main]
async fn main() -> support::Result<()> {
    let args = Args::parse();
    let stage = support::Stage::set(args.cluster, 100).await?;

    // What to list and watch: one kind, in one namespace or all, narrowed by selectors if you like.
    let pods = ApiListWatch::<Pod>::with(&stage.client, args.namespace.as_deref(), &())
        .fields("metadata.name!=not-this-one");

    // Where it goes: a store of the keys `<namespace>/<name>`.
    let store = Cache::<Pod>::new();

    // First a list, then a watch; errors and reconnects are its own affair. Every ten seconds everything is delivered
    // again, to whoever subscribes to the store.
    let reflector = Reflector::builder(pods, store.clone())
        .resync(Duration::from_secs(10))
        .build();

    stage.report(reflector.state());
    let main = async {
        store.synced().await;
        match store.snapshot().entries().next() {
            Some((key, _)) => say!("Local store cached a key: {:?}", key.as_str()),
            None => say!("There are no pods."),
        }
    };
    // The reflector runs until what it is given completes: here, until the example has seen enough.
    reflector.run(main).await?;
    Ok(())
}
