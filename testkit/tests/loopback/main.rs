//! What only a socket shows: which bytes arrive, and how a connection ends.

mod bytes;
mod faults;
mod garbage;
mod limits;
mod raw;
mod stop;
