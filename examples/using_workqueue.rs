//! The work queue alone: one entry per key, delays, retries with backoff, an orderly end. No Kubernetes in it.

mod support;

use std::time::Duration;

use clap::Parser;
use informer::WorkQueue;
use tokio::time::Instant;

use support::say;

/// Adds keys to a queue and works them off.
#[derive(Parser)]
struct Args {
    /// Accepted so that all examples can be run alike; this one needs no server at all
    #[arg(long)]
    cluster: bool,
}

#[tokio::main]
async fn main() {
    Args::parse();
    let queue = WorkQueue::<&str>::new();

    // Added twice while waiting: worked on once.
    queue.add("default/a");
    queue.add("default/a");
    queue.add_after("default/later", Duration::from_millis(200));
    queue.add("default/flaky");

    let start = Instant::now();
    let mut left = 3;
    while left > 0 {
        // The lease makes this worker the only one that has the key.
        let Some(item) = queue.next().await else { break };
        let (key, attempt) = (*item.key(), item.attempt());
        say!("{:>4} ms  {key}, attempt {attempt}", start.elapsed().as_millis());
        if key == "default/flaky" && attempt < 4 {
            // Comes back after a delay that doubles each time. A lease that is merely dropped does the same.
            item.retry();
        } else {
            item.done();
            left -= 1;
        }
    }

    // Takes no more keys, waits for what is running, and says what was left undone.
    let report = queue.drain(Instant::now() + Duration::from_secs(1)).await;
    let stats = queue.stats();
    say!("{} adds, {} retries; {report:?}", stats.adds, stats.retries);
}
