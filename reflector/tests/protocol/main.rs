//! The protocol between a reflector and an API server, fault by fault, under paused time.

mod basics;
mod clients;
mod consistency;
mod embedded;
mod lists;
mod load;
mod process;
mod requests;
mod support;
mod transport;
