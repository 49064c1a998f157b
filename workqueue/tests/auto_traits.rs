//! Handles and futures can cross threads whenever their keys can.

use informer_workqueue::queue::Core;
use informer_workqueue::{
    AddWait, Builder, InFlight, MaxOf, Next, NextBatch, Parallelize, RateLimiter, Report, Stats, WorkQueue,
};

fn send<T: Send>() {}
fn sync<T: Sync>() {}
fn unpin<T: Unpin>() {}

#[test]
fn handles_and_futures_are_send_and_sync() {
    send::<WorkQueue<String>>();
    sync::<WorkQueue<String>>();
    sync::<WorkQueue<std::cell::Cell<u32>>>();
    send::<InFlight<String>>();
    sync::<InFlight<String>>();
    send::<Next<'static, String>>();
    send::<NextBatch<'static, String>>();
    send::<AddWait<'static, String>>();
    unpin::<Next<'static, String>>();
    unpin::<NextBatch<'static, String>>();
    unpin::<AddWait<'static, String>>();
    send::<Parallelize>();
    send::<Core<String>>();
    send::<Builder<String>>();
    send::<MaxOf<String>>();
    send::<Box<dyn RateLimiter<String>>>();
    send::<Report<String>>();
    sync::<Stats>();
}
