//! W4: a delay is served although the waiter that drives the timer woke up for one that was withdrawn.

use std::time::Duration;

use informer_workqueue::WorkQueue;

#[tokio::test(start_paused = true)]
#[expect(
    clippy::disallowed_methods,
    reason = "on a task of its own, the waiter is polled only when it is woken"
)]
async fn w4_a_delay_that_comes_after_a_withdrawn_one_was_due_still_wakes_a_waiter() {
    let queue = WorkQueue::new();
    queue.add_after("withdrawn", Duration::from_secs(1));
    let waiter = queue.clone();
    let next = tokio::spawn(async move { waiter.next().await.map(|item| *item) });
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert!(queue.cancel(&"withdrawn"));
    tokio::time::sleep(Duration::from_secs(2)).await;
    queue.add_after("later", Duration::from_secs(1));
    let next = tokio::time::timeout(Duration::from_secs(60), next).await;
    assert_eq!(
        next.expect("the delay is over long before")
            .expect("it does not panic"),
        Some("later")
    );
}
