//! Processor time of the reflector's stages with mimalloc.

#![allow(missing_docs, dead_code, reason = "a bench has no users and shares its parts")]

#[path = "reflector/suite.rs"]
mod suite;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    let number = |name: &str, default| {
        suite::argument(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    suite::cpu_table("mimalloc", number("--pods", 10_000), number("--rounds", 5));
}
