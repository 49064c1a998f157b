//! Heap of the caches that reflectors fill: settled and at the peak of the list.

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
    let (kept, kube) = heap_of(ALLOCATOR, || suite::kube_full(&script, false, 1, 0));
    drop(kept);
    let (kept, stripped) = heap_of(ALLOCATOR, || suite::kube_full(&script, true, 1, 0));
    drop(kept);
    let (kept, full) = heap_of(ALLOCATOR, || suite::ours_full(&script, 1, 0));
    drop(kept);
    let (kept, metadata) = heap_of(ALLOCATOR, || suite::ours_metadata(&script));
    drop(kept);
    let (kept, slim) = heap_of(ALLOCATOR, || suite::ours_slim(&script));
    assert!(
        kept.snapshot().list().all(|object| object.weight() > 0),
        "a slim pod has its members"
    );
    drop(kept);
    for (name, usage) in [
        ("kube", kube),
        ("kube stripped", stripped),
        ("full", full),
        ("metadata", metadata),
        ("slim", slim),
    ] {
        show(name, pods, usage, kube, stripped);
    }
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
