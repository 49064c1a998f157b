//! Bytes of the API: lines of a watch, items of a list, and what can be read of an object without decoding it.

pub(crate) mod blocks;
pub(crate) mod envelope;
pub(crate) mod event;
pub(crate) mod gunzip;
#[cfg(any(test, fuzzing))]
#[cfg_attr(
    not(fuzzing),
    allow(unreachable_pub, reason = "public to the fuzz targets alone")
)]
pub mod harness;
#[cfg_attr(
    all(feature = "simd-json", not(any(test, fuzzing))),
    allow(dead_code, reason = "simd-json looks for strings and brackets itself")
)]
pub(crate) mod index;
pub(crate) mod lines;
pub(crate) mod prune;
#[cfg(any(test, fuzzing, not(feature = "simd-json")))]
pub(crate) mod reader;
pub(crate) mod scan;
pub(crate) mod splitter;
