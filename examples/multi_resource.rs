//! Two reflectors at once: pods and services, each into a store of its own.

mod support;

use clap::Parser;
use futures::FutureExt;
use informer::{
    Cache,
    reflector::{ApiListWatch, Reflector},
};
use k8s_openapi::api::core::v1::{Pod, Service};

use support::say;

/// Lists and watches pods and services at the same time, and says which pods a service selects.
#[derive(Parser)]
struct Args {
    /// Use the cluster of the current kubeconfig in place of the embedded server
    #[arg(long)]
    cluster: bool,
}

#[tokio::main]
async fn main() -> support::Result<()> {
    let stage = support::Stage::set(Args::parse().cluster, 400).await?;
    let (pods, services) = (Cache::<Pod>::new(), Cache::<Service>::new());

    // Both use the same client, and with it one limit on lists that are read at the same time.
    let pod_reflector = Reflector::builder(ApiListWatch::all(&stage.client), pods.clone()).build();
    let service_reflector = Reflector::builder(ApiListWatch::all(&stage.client), services.clone()).build();

    stage.report(pod_reflector.state());
    stage.report(service_reflector.state());
    let main = async {
        tokio::join!(pods.synced(), services.synced());
        say!("{} pods, {} services", pods.len(), services.len());
        // A snapshot is one instant: what it says does not change while we look.
        let pods = pods.snapshot();
        for (key, service) in services.snapshot().entries().take(5) {
            let selector = service.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let selected = selector.map_or(0, |selector| {
                let namespace = key.namespace().unwrap_or_default();
                pods.namespace(namespace)
                    .filter(|pod| selects(selector, pod))
                    .count()
            });
            say!("service {key} selects {selected} pods");
        }
    };
    // Both run until that is done.
    let stop = main.shared();
    let (first, second) = tokio::join!(pod_reflector.run(stop.clone()), service_reflector.run(stop));
    first?;
    second?;
    Ok(())
}

fn selects(selector: &std::collections::BTreeMap<String, String>, pod: &Pod) -> bool {
    let labels = pod.metadata.labels.as_ref();
    selector
        .iter()
        .all(|(key, value)| labels.and_then(|labels| labels.get(key)) == Some(value))
}
