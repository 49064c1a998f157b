//! The queue between reflector and store, by hand: prints the deltas it pops.

mod support;

use std::time::Duration;

use clap::Parser;
use informer::{
    Cache,
    deltafifo::{Config, channel},
    reflector::{ApiListWatch, Reflector},
};
use informer_testkit::generate::Churn;
use k8s_openapi::api::core::v1::Pod;

use support::say;

/// Prints the deltas that a queue gives out, then applies them.
#[derive(Parser)]
struct Args {
    /// Use the cluster of the current kubeconfig in place of the embedded server
    #[arg(long)]
    cluster: bool,
    /// How many batches
    #[arg(long, default_value_t = 5)]
    batches: usize,
}

#[tokio::main]
async fn main() -> support::Result<()> {
    let args = Args::parse();
    let stage = support::Stage::set(args.cluster, 50).await?;

    // The producer is a store to the reflector. By default deltas of one key are compressed while they wait.
    let (producer, mut consumer) = channel(Config::default());
    let reflector = Reflector::builder(ApiListWatch::<Pod>::all(&stage.client), producer).build();
    stage.report(reflector.state());
    let store = Cache::new();

    let main = async {
        for _ in 0..args.batches {
            // A lease gives the batch back to the queue if it is dropped before it was applied.
            let soon = tokio::time::timeout(Duration::from_secs(5), consumer.lease(16));
            let Ok(Ok(lease)) = soon.await else {
                say!("nothing more changes");
                return;
            };
            for delta in &lease.deltas {
                say!("{delta:?}");
            }
            lease.apply(&store);
            say!(
                "  applied: the store has {} pods at version {}",
                store.len(),
                store.resource_version()
            );
            change(&stage);
        }
    };
    reflector.run(main).await?;
    Ok(())
}

/// Three changes at once, which the queue may hand out as one batch.
fn change(stage: &support::Stage) {
    if let Some(server) = &stage.server {
        let mut churn = Churn::new(server, server.revision());
        for _ in 0..3 {
            if let Err(error) = churn.step() {
                say!("no change: {error}");
            }
        }
    }
}
