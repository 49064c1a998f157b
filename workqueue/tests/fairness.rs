//! Order and fairness: lanes, aging, flows, limits, groups (W6).

use std::collections::BTreeMap;
use std::time::Duration;

use informer_workqueue::{AddOptions, Flow, Group, KeyState, Order, Priority, Shares, WorkQueue};
use tokio::time::advance;

fn add<T: Clone + Eq + std::hash::Hash>(queue: &WorkQueue<T>, key: T, priority: Priority) {
    queue.add_with(key, AddOptions::new().priority(priority));
}

/// Takes and finishes `n` keys.
fn take<T: Clone + Eq + std::hash::Hash>(queue: &WorkQueue<T>, n: usize) -> Vec<T> {
    let mut keys = Vec::new();
    for _ in 0..n {
        let Some(item) = queue.try_next() else { break };
        keys.push(item.key().clone());
        item.done();
    }
    keys
}

#[test]
fn fifo_ignores_priorities() {
    let queue = WorkQueue::builder().order(Order::Fifo).build();
    for (key, priority) in [
        (1, Priority::Resync),
        (2, Priority::Urgent),
        (3, Priority::Normal),
    ] {
        add(&queue, key, priority);
    }
    assert_eq!(take(&queue, 3), [1, 2, 3]);
}

#[test]
fn strict_serves_the_most_urgent_lane_and_fifo_within_it() {
    let queue = WorkQueue::builder().order(Order::Strict).build();
    for key in 0..9 {
        add(&queue, key, Priority::ALL[2 - key % 3]);
    }
    assert_eq!(take(&queue, 9), [2, 5, 8, 1, 4, 7, 0, 3, 6]);
}

#[test]
fn a_priority_is_only_ever_raised_and_goes_to_the_end_of_the_new_lane() {
    let queue = WorkQueue::builder().order(Order::Strict).build();
    for key in 1..=3 {
        add(&queue, key, Priority::Normal);
    }
    add(&queue, 4, Priority::Urgent);
    add(&queue, 1, Priority::Resync);
    add(&queue, 3, Priority::Urgent);
    assert_eq!(take(&queue, 4), [4, 3, 1, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_retry_keeps_its_priority_and_an_event_brings_its_own() {
    let queue = WorkQueue::builder().jitter(false).build();
    add(&queue, "a", Priority::Resync);
    queue.try_next().unwrap().retry();
    let item = queue.next().await.unwrap();
    assert_eq!(item.priority(), Priority::Resync);
    add(&queue, "a", Priority::Urgent);
    item.retry();
    assert_eq!(queue.try_next().unwrap().priority(), Priority::Urgent);
}

#[test]
fn w6_every_lane_gets_its_share_under_overload() {
    let queue = WorkQueue::builder()
        .order(Order::Lanes(Shares::new(5, 3, 1)))
        .build();
    for key in 0..3000u32 {
        add(&queue, key, Priority::ALL[key as usize % 3]);
    }
    let served = take(&queue, 900);
    for round in served.chunks(9) {
        let of_lane = |lane: u32| round.iter().filter(|key| **key % 3 == lane).count();
        assert_eq!([of_lane(0), of_lane(1), of_lane(2)], [5, 3, 1]);
    }
    for lane in 0..3 {
        let keys: Vec<_> = served.iter().filter(|key| **key % 3 == lane).collect();
        assert!(keys.is_sorted(), "first come, first served within a lane");
    }
}

#[test]
fn w6_the_lowest_lane_is_never_starved_by_a_steady_load_above_it() {
    let queue = WorkQueue::new();
    for key in 0..100u32 {
        add(&queue, 1_000_000 + key, Priority::Resync);
    }
    let (mut low, mut waited, mut longest) = (0, 0, 0);
    for key in 0..2000u32 {
        // More urgent and normal keys come than can be served.
        add(&queue, 2 * key, Priority::Urgent);
        add(&queue, 2 * key + 1, Priority::Normal);
        let served = take(&queue, 1)[0];
        waited += 1;
        if served >= 1_000_000 {
            (low, longest, waited) = (low + 1, longest.max(waited), 0);
        }
    }
    assert_eq!(low, 100, "controller-runtime serves none");
    assert!(
        longest <= 13,
        "the share is 1 of 13, the longest wait was {longest}"
    );
}

#[test]
fn what_a_lane_does_not_use_goes_to_the_others() {
    let queue = WorkQueue::new();
    for key in 0..50 {
        add(&queue, key, Priority::Resync);
    }
    assert_eq!(take(&queue, 50), (0..50).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn w6_with_aging_even_the_strict_order_starves_nobody() {
    let queue = WorkQueue::builder()
        .order(Order::Strict)
        .aging(Duration::from_secs(10))
        .build();
    add(&queue, 0, Priority::Resync);
    let mut served_at = None;
    for second in 1..60 {
        advance(Duration::from_secs(1)).await;
        add(&queue, 2 * second, Priority::Urgent);
        add(&queue, 2 * second + 1, Priority::Urgent);
        if take(&queue, 1) == [0] {
            served_at = Some(second);
            break;
        }
    }
    // Two lanes down: it counts as if it had come 20 s later, and half of what came before that is served by 40 s.
    assert!(
        served_at.is_some_and(|second| (20..=41).contains(&second)),
        "{served_at:?}"
    );
}

fn by_tens() -> WorkQueue<u32> {
    WorkQueue::builder()
        .flow(|key: &u32| Flow::of(key / 1000))
        .build()
}

#[test]
fn flows_take_turns_however_much_one_of_them_adds() {
    let queue = by_tens();
    for key in 0..900 {
        queue.add(key);
    }
    for key in [1000, 1001, 2000] {
        queue.add(key);
    }
    let served = take(&queue, 8);
    assert_eq!(served, [0, 1000, 2000, 1, 1001, 2, 3, 4]);
}

#[test]
fn w6_a_cold_key_waits_no_longer_than_one_turn_of_the_busy_flows() {
    let queue = by_tens();
    let mut next = BTreeMap::new();
    let mut refill = |queue: &WorkQueue<u32>, flow: u32| {
        let n = next.entry(flow).or_insert(0u32);
        *n += 1;
        queue.add(flow * 1000 + *n % 1000);
    };
    for _ in 0..50 {
        for flow in 1..=60 {
            refill(&queue, flow);
        }
    }
    for cold in 0..100u32 {
        queue.add((1000 + cold) * 1000);
        let mut waited = 0;
        loop {
            let served = take(&queue, 1)[0];
            if served >= 1_000_000 {
                break;
            }
            refill(&queue, served / 1000);
            waited += 1;
        }
        assert!(waited <= 60, "60 busy flows, waited for {waited} keys");
    }
}

#[test]
fn weights_give_a_flow_more_keys_per_turn() {
    let queue = WorkQueue::builder()
        .flow(|key: &u32| Flow::of(key / 1000).weight(1 + key / 1000))
        .build();
    for key in (0..10).chain(2000..2010) {
        queue.add(key);
    }
    assert_eq!(take(&queue, 9), [0, 2000, 2001, 2002, 1, 2003, 2004, 2005, 2]);
}

#[test]
fn a_flow_runs_no_more_keys_than_it_may_and_holds_up_nobody() {
    let queue = WorkQueue::builder()
        .flow(|key: &u32| Flow::of(key / 1000).running_limit(2))
        .build();
    for key in (0..10).chain(1000..1003) {
        queue.add(key);
    }
    let mut held: Vec<_> = std::iter::from_fn(|| queue.try_next()).collect();
    let mut keys: Vec<_> = held.iter().map(|item| *item.key()).collect();
    keys.sort_unstable();
    assert_eq!(keys, [0, 1, 1000, 1001]);
    let stats = queue.stats();
    assert_eq!((stats.held_by_flow, stats.depth), (9, 9));
    let first = held.iter().position(|item| **item == 0).unwrap();
    held.swap_remove(first).done();
    assert_eq!(*queue.try_next().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn keys_of_a_group_exclude_each_other_and_wait_aside() {
    let queue = WorkQueue::builder()
        .group(|key: &u32| (*key >= 1000).then(|| Group::of(key / 1000)))
        .build();
    for key in [1000, 1001, 1002, 1, 2000] {
        queue.add(key);
    }
    let first = queue.try_next().unwrap();
    assert_eq!(*first, 1000);
    let others: Vec<_> = std::iter::from_fn(|| queue.try_next()).collect();
    assert_eq!(
        others.iter().map(|item| *item.key()).collect::<Vec<_>>(),
        [1, 2000]
    );
    assert_eq!(queue.stats().blocked_by_group, 2);
    assert_eq!(queue.snapshot(&1001).unwrap().state, KeyState::Blocked);
    let mut waiter = tokio_test::task::spawn(queue.next());
    tokio_test::assert_pending!(waiter.poll());
    first.done();
    assert!(waiter.is_woken());
    let second = tokio_test::assert_ready!(waiter.poll()).unwrap();
    assert_eq!(*second, 1001, "the oldest of the group");
    drop(waiter);
    assert!(queue.cancel(&1002));
    second.done();
    assert!(queue.try_next().is_none());
}

#[test]
fn a_group_may_allow_more_than_one() {
    let queue = WorkQueue::builder()
        .group(|_: &u32| Some(Group::of("all").running_limit(3)))
        .build();
    queue.add_many(0..10);
    let mut held: Vec<_> = std::iter::from_fn(|| queue.try_next()).collect();
    assert_eq!(held.len(), 3);
    let mut order: Vec<u32> = held.iter().map(|item| *item.key()).collect();
    while let Some(item) = held.pop() {
        item.done();
        held.extend(queue.try_next());
        order.extend(
            held.last()
                .filter(|item| !order.contains(item))
                .map(|item| *item.key()),
        );
    }
    assert_eq!(order, (0..10).collect::<Vec<_>>());
}

#[test]
fn a_key_that_leaves_its_group_makes_way_for_the_next() {
    let queue = WorkQueue::builder()
        .group(|_: &u32| Some(Group::of("all")))
        .build();
    queue.add_many(0..4);
    let first = queue.try_next().unwrap();
    assert!(queue.try_next().is_none());
    first.done();
    // 1 was let in line; it is withdrawn before it runs.
    assert!(queue.cancel(&1));
    let second = queue.try_next().expect("2 takes its place");
    assert_eq!(*second, 2);
    second.done();
    assert_eq!(*queue.try_next().unwrap(), 3);
}

#[test]
fn five_thousand_keys_that_run_do_not_hold_up_a_cold_one() {
    let queue = WorkQueue::new();
    queue.add_many(0..5000u32);
    let held = std::iter::from_fn(|| queue.try_next()).collect::<Vec<_>>();
    queue.add_many(0..5000);
    queue.add(9999);
    assert_eq!(*queue.try_next().unwrap(), 9999);
    drop(held);
}
