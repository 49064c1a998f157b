#![doc = include_str!("../README.md")]

mod channel;
mod config;
mod consumer;
mod fifo;
mod known;
mod producer;
mod stats;

pub use crate::{
    channel::{Monitor, channel, classic_channel},
    config::{Config, Discipline, WhenFull},
    consumer::{Consumer, Lease},
    fifo::{DeltaFifo, Full, Popped, Spent},
    known::KnownObjects,
    producer::{Producer, TryPushError},
    stats::Stats,
};
