//! The protocol between a reflector and an API server, fault by fault, under paused time.

mod basics;
mod clients;
mod compression;
mod credentials;
mod embedded;
mod events;
mod kinds;
mod lists;
mod load;
mod matrix;
mod outage;
mod overload;
mod poison;
mod prefixes;
mod process;
mod requests;
mod several;
mod silence;
mod sources;
mod streaming;
mod support;
mod swarm;
mod transport;
mod turns;
mod versions;
