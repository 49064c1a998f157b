//! Counts the pods of a store every few seconds, while pods come and go.

mod support;

use std::time::Duration;

use clap::Parser;
use informer::{Informer, reflector::ApiListWatch};
use informer_testkit::generate::Churn;
use k8s_openapi::api::core::v1::Pod;

use support::say;

/// Prints how many pods there are, every few seconds.
#[derive(Parser)]
struct Args {
    /// Use the cluster of the current kubeconfig in place of the embedded server
    #[arg(long)]
    cluster: bool,
    /// Seconds between two counts
    #[arg(long, default_value = "2", value_parser = support::seconds, allow_hyphen_values = true)]
    every: Duration,
    /// How many counts
    #[arg(long, default_value_t = 5)]
    times: u32,
}

#[tokio::main]
async fn main() -> support::Result<()> {
    let args = Args::parse();
    let stage = support::Stage::set(args.cluster, 200).await?;

    let pods = Informer::new(ApiListWatch::<Pod>::all(&stage.client));
    pods.start();
    stage.report(pods.state());
    pods.synced().await;

    let counting = async {
        let mut every = tokio::time::interval(args.every.max(Duration::from_millis(1)));
        for _ in 0..args.times {
            every.tick().await;
            say!("{} pods", pods.cache().len());
        }
        Ok(())
    };
    tokio::select! {
        counted = counting => counted,
        changed = coming_and_going(&stage) => changed,
    }
}

/// On the embedded server somebody has to do it.
async fn coming_and_going(stage: &support::Stage) -> support::Result<()> {
    let Some(server) = &stage.server else {
        return std::future::pending().await;
    };
    let mut churn = Churn::new(server, 1);
    let mut every = tokio::time::interval(Duration::from_millis(10));
    loop {
        every.tick().await;
        churn.step()?;
    }
}
