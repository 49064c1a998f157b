//! Processor time of the reflector's stages with the system's allocator. See `reflector_heap` for memory.
//!
//! `--one STAGE --pods N` runs one stage once, for callgrind; with `--rounds N` so often, for profilers.
//! `--list` lists full pods alone, and tells filling from dropping and the kernel's share.

#![allow(missing_docs, dead_code, reason = "a bench has no users and shares its parts")]

#[path = "reflector/suite.rs"]
mod suite;

fn main() {
    let number = |name: &str, default| {
        suite::argument(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    if let Some(stage) = suite::argument("--one") {
        return suite::one(&stage, number("--pods", 100), number("--rounds", 1));
    }
    if std::env::args().any(|argument| argument == "--list") {
        return suite::list_table(number("--pods", 10_000), number("--rounds", 5));
    }
    suite::cpu_table("system", number("--pods", 10_000), number("--rounds", 5));
}
