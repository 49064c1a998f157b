//! `parallelize`: client-go's `ParallelizeUntil`.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use informer_workqueue::{parallelize, parallelize_chunked};
use tokio::time::{Instant, sleep};

#[tokio::test(start_paused = true)]
async fn every_piece_runs_exactly_once() {
    for (pieces, workers, chunk) in [
        (1000, 10, 1),
        (1000, 10, 10),
        (1000, 10, 100),
        (999, 13, 13),
        (0, 5, 1),
        (3, 0, 0),
    ] {
        let seen = Arc::new(Mutex::new(vec![0; pieces]));
        let count = Arc::clone(&seen);
        let outcome = parallelize_chunked(workers, chunk, 0..pieces, move |piece| {
            let count = Arc::clone(&count);
            async move {
                sleep(Duration::from_millis(piece as u64 % 3)).await;
                count.lock().unwrap()[piece] += 1;
            }
        })
        .await;
        assert_eq!(
            (outcome.finished, outcome.panicked, outcome.cancelled),
            (pieces, 0, false)
        );
        assert!(seen.lock().unwrap().iter().all(|runs| *runs == 1));
    }
}

#[tokio::test(start_paused = true)]
async fn no_more_than_n_run_at_a_time_and_n_do() {
    let start = Instant::now();
    let running = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (now, peak) = (Arc::clone(&running), Arc::clone(&most));
    parallelize(4, 0..20, move |_| {
        let (now, peak) = (Arc::clone(&now), Arc::clone(&peak));
        async move {
            peak.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(Duration::from_secs(1)).await;
            now.fetch_sub(1, Ordering::SeqCst);
        }
    })
    .await;
    assert_eq!(most.load(Ordering::SeqCst), 4);
    assert_eq!(start.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn cancelling_starts_no_more_and_finishes_what_runs() {
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let run = parallelize_chunked(2, 10, 0..100, move |_| {
        let count = Arc::clone(&count);
        async move {
            sleep(Duration::from_secs(1)).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    });
    let outcome = run.until(sleep(Duration::from_millis(2500))).await;
    assert!(outcome.cancelled);
    assert_eq!(
        (outcome.finished, done.load(Ordering::SeqCst)),
        (6, 6),
        "two at a time, three rounds begun"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_ends_its_piece_only() {
    let outcome = parallelize(3, 0..30, |piece| {
        assert!(piece != 4, "before there is a future");
        async move {
            sleep(Duration::from_millis(1)).await;
            assert!(piece % 10 != 9, "inside the future");
        }
    })
    .await;
    assert_eq!(
        (outcome.finished, outcome.panicked, outcome.cancelled),
        (26, 4, false)
    );
}
