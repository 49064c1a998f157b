//! What the benches share: generators, rivals, a counting allocator.
