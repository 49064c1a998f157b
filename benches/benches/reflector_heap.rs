//! Heap of the caches that reflectors fill: settled and at the peak of the list.
//!
//! `--one CACHE` fills one cache alone: 100,000 pods take gigabytes. Its ratio to the others is then not known.

#![allow(missing_docs, dead_code, reason = "a bench has no users and shares its parts")]

#[path = "reflector/suite.rs"]
mod suite;

use informer_benches::{
    heap::{PeakAlloc, Usage, heap_of},
    table,
};

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

fn main() {
    let pods = suite::argument("--pods")
        .and_then(|text| text.parse().ok())
        .unwrap_or(20_000);
    let script = suite::Script::new(pods);
    table::head(&[
        "cache",
        "settled B/object",
        "peak / settled",
        "settled / kube",
        "settled / kube stripped",
    ]);
    if let Some(cache) = suite::argument("--one") {
        let usage = fill(&cache, &script);
        return show(&cache, pods, usage, usage, usage);
    }
    let [kube, stripped] = ["kube", "kube stripped"].map(|cache| fill(cache, &script));
    show("kube", pods, kube, kube, stripped);
    show("kube stripped", pods, stripped, kube, stripped);
    for cache in ["full", "metadata", "slim"] {
        show(cache, pods, fill(cache, &script), kube, stripped);
    }
}

fn fill(cache: &str, script: &suite::Script) -> Usage {
    match cache {
        "kube" => usage_of(|| suite::kube_full(script, false, 1, 0)),
        "kube stripped" => usage_of(|| suite::kube_full(script, true, 1, 0)),
        "full" => usage_of(|| suite::ours_full(script, 1, 0)),
        "metadata" => usage_of(|| suite::ours_metadata(script)),
        "slim" => usage_of(|| {
            let kept = suite::ours_slim(script);
            assert!(
                kept.snapshot().list().all(|object| object.weight() > 0),
                "a slim pod has its members"
            );
            kept
        }),
        _ => panic!("no such cache"),
    }
}

fn usage_of<C>(fill: impl FnOnce() -> C) -> Usage {
    let (kept, usage) = heap_of(ALLOCATOR, fill);
    drop(kept);
    usage
}

fn show(name: &str, pods: usize, usage: Usage, kube: Usage, stripped: Usage) {
    let ratio = |a: usize, b: usize| format!("{:.3}", a as f64 / b as f64);
    table::row(&[
        &name,
        &(usage.live / pods),
        &ratio(usage.peak, usage.live),
        &ratio(usage.live, kube.live),
        &ratio(usage.live, stripped.live),
    ]);
}
