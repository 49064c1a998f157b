#![doc = include_str!("../README.md")]

mod change;
mod delta;
mod key;
mod object;
mod seam;
mod version;

pub use crate::{
    change::Change,
    delta::{Batch, Cause, Delta, Entry, Replacement, ResyncPart, Tombstone},
    key::{KeyRef, ObjectKey, ParseKeyError},
    object::{KeyError, Object, OwnerRef, Unkeyed},
    seam::{Apply, Closed, ReflectorStore},
    version::ResourceVersion,
};
