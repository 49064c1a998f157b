#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    informer_reflector::fuzzing::index(data);
    informer_reflector::fuzzing::skipping(data);
});
