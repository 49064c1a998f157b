#![no_main]

#[path = "../../reflector/tests/body.rs"]
mod body;

libfuzzer_sys::fuzz_target!(|data: &[u8]| body::body(data));
