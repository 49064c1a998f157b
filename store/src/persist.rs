//! Persistent containers: cloned in O(1), changed in place while nobody holds a clone, copied a small chunk at a
//! time while somebody does.
//!
//! `triomphe::Arc` rather than std's: without weak counts, asking "am I alone?" is one plain load, and every write
//! asks it once per level.

mod paged;
mod shards;
mod slot_set;
mod slot_table;

pub(crate) use {
    paged::{Differing, Paged, paged_bytes},
    shards::Shards,
    slot_set::{SlotSet, SlotSetIter},
    slot_table::SlotTable,
};
