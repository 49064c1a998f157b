//! Waiting for the first list and for versions.

mod support;

use std::time::Duration;

use informer_store::{Batch, Cache, Delta, Replacement, ResourceVersion, TimedOut};
use support::{Thing, thing};
use tokio::time::Instant;
use tokio_test::task::spawn;

fn bookmark(cache: &Cache<Thing>, version: &str) {
    let version = ResourceVersion::new(version);
    cache.apply(Batch::new(vec![Delta::Bookmark(version.clone())], Some(version)));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_reached_is_not_waited_for() {
    let cache = Cache::<Thing>::new();
    bookmark(&cache, "10");
    let now = Instant::now();
    assert_eq!(cache.wait_for(&"10".into(), now).await, Ok(()));
    assert_eq!(cache.wait_for(&"9".into(), now).await, Ok(()));
    assert_eq!(cache.wait_for(&ResourceVersion::UNSET, now).await, Ok(()));
    assert_eq!(cache.wait_for(&"11".into(), now).await, Err(TimedOut));
}

#[tokio::test(start_paused = true)]
async fn waiters_are_woken_by_the_batch_that_reaches_their_version_and_by_no_other() {
    let cache = Cache::<Thing>::new();
    let deadline = Instant::now() + Duration::from_secs(60);
    let goals: Vec<ResourceVersion> = ["5", "7", "100"].map(Into::into).into();
    let mut waits: Vec<_> = goals
        .iter()
        .map(|goal| spawn(cache.wait_for(goal, deadline)))
        .collect();
    assert!(waits.iter_mut().all(|wait| wait.poll().is_pending()));
    bookmark(&cache, "4");
    assert!(waits.iter().all(|wait| !wait.is_woken()));
    bookmark(&cache, "7");
    assert!(waits[0].is_woken() && waits[1].is_woken() && !waits[2].is_woken());
    assert!(waits[0].poll().is_ready() && waits[1].poll().is_ready());
    tokio::time::advance(Duration::from_secs(61)).await;
    assert!(waits[2].is_woken());
    assert_eq!(waits[2].poll(), std::task::Poll::Ready(Err(TimedOut)));
}

#[tokio::test(start_paused = true)]
async fn an_opaque_version_is_met_by_itself_alone() {
    let cache = Cache::<Thing>::new();
    let goal = ResourceVersion::new("abc");
    let mut wait = spawn(cache.wait_for(&goal, Instant::now() + Duration::from_secs(1)));
    assert!(wait.poll().is_pending());
    bookmark(&cache, "abd");
    assert!(wait.poll().is_pending());
    bookmark(&cache, "abc");
    assert!(wait.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn i6_synced_waits_for_the_first_list() {
    let cache = Cache::<Thing>::new();
    let mut synced = spawn(cache.synced());
    assert!(synced.poll().is_pending());
    cache.apply(Batch::new(
        vec![Delta::Added(thing("a/1", 1).entry())],
        Some(1.into()),
    ));
    assert!(!synced.is_woken());
    cache.apply(Batch::new(
        vec![Delta::Replaced(Replacement::new(vec![], 2.into()))],
        Some(2.into()),
    ));
    assert!(synced.is_woken());
    assert!(synced.poll().is_ready());
    cache.synced().await;
}

#[test]
fn every_waiter_is_told_however_it_races_with_the_writer() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()
        .unwrap();
    for _ in 0..50 {
        let cache = Cache::<Thing>::new();
        let waits: Vec<_> = (1..=20u64)
            .map(|goal| {
                let cache = cache.clone();
                runtime.spawn(async move {
                    let deadline = Instant::now() + Duration::from_secs(60);
                    cache.wait_for(&goal.into(), deadline).await
                })
            })
            .collect();
        for version in 1..=20u64 {
            bookmark(&cache, &version.to_string());
        }
        for wait in waits {
            assert_eq!(runtime.block_on(wait).unwrap(), Ok(()));
        }
    }
}
