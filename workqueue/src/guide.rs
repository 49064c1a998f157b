//! The guide: four chapters.

#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("../docs/limiters.md")]
pub mod limiters {}

#[doc = include_str!("../docs/fairness.md")]
pub mod fairness {}

#[doc = include_str!("../docs/migration.md")]
pub mod migration {}
