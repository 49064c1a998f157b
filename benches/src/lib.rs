//! What the benches share: processor time, heap figures and a line of results.
//!
//! Wall-clock time on a shared machine says little; what counts is the ratio of two measurements taken side by side
//! in one run. So every helper here measures both sides in turn and reports medians.

pub mod cpu;
pub mod heap;
pub mod table;
