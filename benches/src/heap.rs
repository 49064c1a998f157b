//! Heap figures, by two counting allocators. A bench declares the one it needs as its `#[global_allocator]`.

pub use peak_alloc::PeakAlloc;
pub use stats_alloc::{INSTRUMENTED_SYSTEM, Region, Stats, StatsAlloc};

/// Bytes live now and at the peak while `work` ran, both beyond what was live before.
///
/// Needs `allocator` to be the global one.
pub fn heap_of<R>(allocator: PeakAlloc, work: impl FnOnce() -> R) -> (R, Usage) {
    let before = allocator.current_usage();
    allocator.reset_peak_usage();
    let result = work();
    let usage = Usage {
        live: allocator.current_usage().saturating_sub(before),
        peak: allocator.peak_usage().saturating_sub(before),
    };
    (result, usage)
}

/// Bytes of heap.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Live at the end.
    pub live: usize,
    /// The most at any moment.
    pub peak: usize,
}
