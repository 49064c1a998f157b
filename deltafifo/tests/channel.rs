//! The two ends: waiting, back-pressure, cancellation, closing, sync (R1, R7, D4).

mod common;

use std::sync::Arc;

use common::{NaiveStore, Obj, added, deleted, key, obj, replaced, shown, updated};
use informer_deltafifo::{Config, Consumer, Discipline, Producer, TryPushError, channel, classic_channel};
use informer_store::{Closed, Delta, KeyRef, ReflectorStore as _};
use tokio_test::{assert_pending, assert_ready, assert_ready_ok, task};

fn small(capacity: usize) -> (Producer<Obj>, Consumer<Obj>) {
    channel(Config::default().capacity(capacity))
}

#[test]
fn a_waiting_consumer_is_woken_by_the_first_delta_and_a_waiting_producer_by_room() {
    let (producer, mut consumer) = small(1);
    let mut pop = task::spawn(consumer.pop_batch(9));
    assert_pending!(pop.poll());
    assert_ready_ok!(task::spawn(producer.push(added("a", "u1", 1))).poll());
    assert!(pop.is_woken());
    assert_eq!(shown(&assert_ready_ok!(pop.poll())), ["added a/u1@1"]);
    drop(pop);

    assert_ready_ok!(task::spawn(producer.push(added("b", "u2", 2))).poll());
    let mut push = task::spawn(producer.push(added("c", "u3", 3)));
    assert_pending!(push.poll());
    assert!(!push.is_woken());
    assert_ready_ok!(task::spawn(consumer.pop_batch(9)).poll());
    assert!(push.is_woken());
    assert_ready_ok!(push.poll());
    drop(push);
    assert_eq!(producer.stats().waits, 1);
    assert_eq!(
        shown(&assert_ready_ok!(task::spawn(consumer.pop_batch(9)).poll())),
        ["added c/u3@3"]
    );
}

#[test]
fn what_merges_or_replaces_does_not_wait_for_room() {
    let (producer, _consumer) = small(1);
    assert_ready_ok!(task::spawn(producer.push(added("a", "u1", 1))).poll());
    assert_ready_ok!(task::spawn(producer.push(updated("a", "u1", 2))).poll());
    assert_ready_ok!(task::spawn(producer.bookmark("3".into())).poll());
    assert_pending!(task::spawn(producer.push(deleted("a", "u1", 4))).poll());
    assert_ready_ok!(task::spawn(producer.push(replaced(&[], 5))).poll());
    assert_ready_ok!(task::spawn(producer.push(added("b", "u2", 6))).poll());
}

#[test]
fn r1_a_push_that_is_dropped_while_it_waits_has_put_nothing_in() {
    let (producer, mut consumer) = small(1);
    assert_ready_ok!(task::spawn(producer.push(added("a", "u1", 1))).poll());
    let mut push = task::spawn(producer.push(added("b", "u2", 2)));
    assert_pending!(push.poll());
    drop(push);
    assert_eq!(
        shown(&consumer.try_pop_batch(9).unwrap().unwrap()),
        ["added a/u1@1"]
    );
    assert!(consumer.try_pop_batch(9).unwrap().is_none());
}

#[test]
fn r1_a_pop_that_is_dropped_after_it_was_woken_has_taken_nothing_out() {
    let (producer, mut consumer) = small(9);
    let mut pop = task::spawn(consumer.pop_batch(9));
    assert_pending!(pop.poll());
    assert_ready_ok!(task::spawn(producer.push(added("a", "u1", 1))).poll());
    assert!(pop.is_woken());
    drop(pop);
    let mut pop = task::spawn(consumer.pop_batch(9));
    assert_eq!(shown(&assert_ready_ok!(pop.poll())), ["added a/u1@1"]);
}

#[test]
fn r7_every_waiting_producer_is_woken_when_the_consumer_goes() {
    let (producer, consumer) = small(1);
    assert_ready_ok!(task::spawn(producer.push(added("a", "u1", 1))).poll());
    let mut pushes: Vec<_> = (0..10)
        .map(|n| task::spawn(producer.push(added(&format!("b{n}"), "u2", 2))))
        .collect();
    for push in &mut pushes {
        assert_pending!(push.poll());
    }
    drop(consumer);
    for push in &mut pushes {
        assert!(push.is_woken());
        assert_eq!(assert_ready!(push.poll()), Err(Closed));
    }
    drop(pushes);
    let refused = producer.try_push(added("c", "u3", 3));
    assert!(
        matches!(refused, Err(TryPushError::Closed(Delta::Added(_)))),
        "{refused:?}"
    );
}

#[test]
fn r7_a_consumer_drains_what_waits_after_the_producer_has_gone_then_is_closed() {
    let (producer, mut consumer) = small(9);
    assert_ready_ok!(task::spawn(producer.push(added("a", "u1", 1))).poll());
    assert_ready_ok!(task::spawn(producer.push(added("b", "u2", 2))).poll());
    drop(producer);
    assert_eq!(
        shown(&assert_ready_ok!(task::spawn(consumer.pop_batch(1)).poll())),
        ["added a/u1@1"]
    );
    assert_eq!(
        shown(&assert_ready_ok!(task::spawn(consumer.pop_batch(1)).poll())),
        ["added b/u2@2"]
    );
    assert_eq!(
        assert_ready!(task::spawn(consumer.pop_batch(1)).poll()).unwrap_err(),
        Closed
    );
    assert!(consumer.try_pop_batch(1).is_err());
}

#[test]
fn r7_a_waiting_consumer_is_woken_when_the_producer_closes() {
    let (producer, mut consumer) = small(9);
    let mut pop = task::spawn(consumer.pop_batch(9));
    assert_pending!(pop.poll());
    producer.close();
    assert!(pop.is_woken());
    assert!(assert_ready!(pop.poll()).is_err());
    assert!(matches!(
        producer.try_push(added("a", "u1", 1)),
        Err(TryPushError::Closed(_))
    ));
}

#[test]
fn d4_sync_is_known_only_once_the_first_replacement_has_been_applied() {
    let (producer, mut consumer) = small(9);
    let monitor = producer.monitor();
    let mut synced = task::spawn(monitor.synced());
    assert_pending!(synced.poll());
    assert_ready_ok!(task::spawn(producer.push(replaced(&[("a", "u1", 1)], 1))).poll());
    assert_ready_ok!(task::spawn(consumer.pop_batch(9)).poll());
    assert!(!monitor.is_synced(), "popped is not applied");
    consumer.commit();
    assert!(monitor.is_synced());
    assert!(synced.is_woken());
    assert_ready_ok!(synced.poll());
}

#[test]
fn asking_for_the_next_batch_says_that_the_last_one_has_been_applied() {
    let (producer, mut consumer) = small(9);
    assert_ready_ok!(task::spawn(producer.push(replaced(&[], 1))).poll());
    assert_ready_ok!(task::spawn(consumer.pop_batch(9)).poll());
    assert!(!producer.monitor().is_synced());
    assert_pending!(task::spawn(consumer.pop_batch(9)).poll());
    assert!(producer.monitor().is_synced());
}

#[test]
fn a_sync_that_can_never_be_is_told() {
    let (producer, consumer) = small(9);
    let monitor = consumer.monitor();
    let mut synced = task::spawn(monitor.synced());
    assert_pending!(synced.poll());
    drop(consumer);
    assert_eq!(assert_ready!(synced.poll()), Err(Closed));
    drop(producer);

    let (producer, mut consumer) = small(9);
    let monitor = consumer.monitor();
    let mut synced = task::spawn(monitor.synced());
    assert_pending!(synced.poll());
    drop(producer);
    assert!(consumer.try_pop_batch(9).is_err());
    assert_eq!(assert_ready!(synced.poll()), Err(Closed));
}

#[test]
fn a_lease_that_is_dropped_puts_its_batch_back_and_the_sync_with_it() {
    let (producer, mut consumer) = small(9);
    assert_ready_ok!(task::spawn(producer.push(replaced(&[], 1))).poll());
    for _ in 0..2 {
        let mut leasing = task::spawn(consumer.lease(9));
        let lease = assert_ready_ok!(leasing.poll());
        assert_eq!(shown(&lease), ["replaced [] @1"]);
        assert!(format!("{lease:?}").contains("Replaced"));
    }
    assert!(!producer.monitor().is_synced());
    let store = NaiveStore::default();
    assert_ready_ok!(task::spawn(consumer.lease(9)).poll()).apply(&store);
    assert_eq!(store.version(), 1_u64.into());
    assert!(producer.monitor().is_synced());
    assert!(consumer.try_pop_batch(9).unwrap().is_none());
}

#[test]
fn a_batch_that_was_put_back_is_dealt_out_in_parts_and_only_the_last_has_the_version() {
    let (producer, mut consumer) = small(9);
    for (version, name) in ["a", "b", "c"].into_iter().enumerate() {
        assert_ready_ok!(task::spawn(producer.push(added(name, "u", version as u64 + 1))).poll());
    }
    drop(assert_ready_ok!(task::spawn(consumer.lease(9)).poll()));
    let mut leasing = task::spawn(consumer.lease(1));
    let lease = assert_ready_ok!(leasing.poll());
    assert_eq!(
        (shown(&lease), lease.version.clone()),
        (vec!["added a/u@1".to_owned()], None)
    );
    drop(lease);
    drop(leasing);
    assert_ready_ok!(task::spawn(producer.push(updated("a", "u", 4))).poll());
    let first = consumer.try_pop_batch(2).unwrap().unwrap();
    assert_eq!((shown(&first).len(), first.version), (2, None));
    let second = consumer.try_pop_batch(2).unwrap().unwrap();
    assert_eq!(
        (shown(&second), second.version),
        (vec!["added c/u@3".to_owned()], Some(3_u64.into()))
    );
    assert_eq!(
        shown(&consumer.try_pop_batch(2).unwrap().unwrap()),
        ["updated a/u@4"]
    );
}

#[test]
fn r1_draining_into_a_store_may_be_dropped_at_any_await_and_taken_up_again() {
    let (producer, mut consumer) = small(4);
    let store = NaiveStore::default();
    let mut version = 0;
    for round in 0..50 {
        let mut drain = task::spawn(consumer.drain_into(&store));
        for _ in 0..round % 3 {
            version += 1;
            let mut push = task::spawn(producer.push(updated(&format!("o{}", version % 7), "u", version)));
            while push.poll().is_pending() {
                assert_pending!(drain.poll());
            }
        }
        if round % 2 == 0 {
            assert_pending!(drain.poll());
        }
    }
    drop(producer);
    let mut drain = task::spawn(consumer.drain_into(&store));
    while drain.poll().is_pending() {}
    assert_eq!(store.version(), version.into());
    assert_eq!(store.contents().len(), 7);
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "several tasks are what is tested")]
async fn deltas_of_each_of_several_producers_keep_their_order_and_none_is_lost() {
    let (producer, mut consumer) = channel(Config::default().discipline(Discipline::Ordered).capacity(8));
    let producer = Arc::new(producer);
    let tasks: Vec<_> = (0..4)
        .map(|task| {
            let producer = Arc::clone(&producer);
            tokio::spawn(async move {
                for version in 1..=250 {
                    producer
                        .push(updated(&format!("p{task}"), "u", version))
                        .await
                        .unwrap();
                }
            })
        })
        .collect();
    drop(producer);
    let mut last = std::collections::BTreeMap::<String, u64>::new();
    while let Ok(batch) = consumer.pop_batch(3).await {
        for delta in &batch.deltas {
            let Delta::Updated(entry) = delta else {
                panic!("{delta:?}")
            };
            let version = entry.object.version.parse().unwrap();
            let before = last.insert(entry.object.name.clone(), version).unwrap_or(0);
            assert_eq!(version, before + 1, "D1");
        }
    }
    assert!(last.len() == 4 && last.values().all(|version| *version == 250));
    for task in tasks {
        task.await.unwrap();
    }
}

#[test]
fn what_is_held_is_asked_of_whoever_wired_the_queue() {
    let (producer, _consumer) = small(9);
    let nothing = KeyRef::new(Some("ns"), "a");
    assert!(producer.held(nothing, "u1", "1").is_none());
    let (producer, _consumer) = small(9);
    let producer = producer.held_by(|key, uid, version| {
        (key.name == "a" && uid == "u1" && version == "1").then(|| obj("a", "u1", 1))
    });
    assert!(producer.held(nothing, "u1", "1").is_some());
    assert!(producer.held(nothing, "u1", "2").is_none());
}

#[test]
fn a_classic_channel_learns_from_its_consumer_what_has_been_applied() {
    let known = common::KnownMap::default();
    let (producer, mut consumer) = classic_channel(Config::default(), known.clone());
    assert_ready_ok!(task::spawn(producer.push(replaced(&[("a", "u1", 1)], 1))).poll());
    let batch = consumer.try_pop_batch(9).unwrap().unwrap();
    known.apply(&batch);
    consumer.commit();
    assert!(producer.monitor().is_synced());
    assert_ready_ok!(task::spawn(producer.push(replaced(&[], 2))).poll());
    let batch = consumer.try_pop_batch(9).unwrap().unwrap();
    assert_eq!(
        (shown(&batch), batch.version),
        (vec!["deleted? a/u1@1".to_owned()], Some(2_u64.into()))
    );
}

#[test]
fn a_list_that_is_put_back_and_dealt_out_in_parts_is_synced_with_its_last_part() {
    let known = common::KnownMap::default();
    let (producer, mut consumer) = classic_channel(Config::default(), known);
    let list = replaced(&[("a", "u1", 1), ("b", "u2", 1)], 1);
    assert_ready_ok!(task::spawn(producer.push(list)).poll());
    drop(assert_ready_ok!(task::spawn(consumer.lease(9)).poll()));
    drop(assert_ready_ok!(task::spawn(consumer.lease(1)).poll()));
    assert_ready_ok!(task::spawn(consumer.lease(1)).poll()).commit();
    assert!(!producer.monitor().is_synced());
    assert_ready_ok!(task::spawn(consumer.lease(1)).poll()).commit();
    assert!(producer.monitor().is_synced());
}

/// What one of several histories brings says nothing of the others: only what all have reached is claimed.
#[test]
fn deltas_of_several_histories_claim_no_more_than_all_have_reached() {
    for discipline in [Discipline::Ordered, Discipline::Compressed] {
        let (producer, mut consumer) = channel(Config::default().discipline(discipline));
        let pop = |consumer: &mut Consumer<Obj>| consumer.try_pop_batch(9).unwrap().unwrap().version.clone();
        assert_ready_ok!(task::spawn(producer.push(replaced(&[], 5))).poll());
        assert_eq!(pop(&mut consumer), Some("5".into()));
        assert_ready_ok!(task::spawn(producer.merge(added("a", "u1", 20), None)).poll());
        assert_eq!(pop(&mut consumer), Some("5".into()));
        assert_ready_ok!(task::spawn(producer.merge(added("b", "u2", 15), Some("15".into()))).poll());
        assert_ready_ok!(task::spawn(producer.merge(updated("a", "u1", 30), None)).poll());
        assert_eq!(pop(&mut consumer), Some("15".into()));
        assert_ready_ok!(task::spawn(producer.bookmark("30".into())).poll());
        assert_eq!(pop(&mut consumer), Some("30".into()));
    }
}

/// One of them went back: what the others brought and is still on its way goes along, and the claim goes back.
#[test]
fn a_history_that_went_back_takes_nothing_of_the_others_with_it() {
    for discipline in [Discipline::Compressed, Discipline::Ordered, Discipline::Latest] {
        let (producer, mut consumer) = channel(Config::default().discipline(discipline));
        let merge = |delta, reached: Option<u64>| {
            let merged = producer.merge(delta, reached.map(Into::into));
            assert_ready_ok!(task::spawn(merged).poll());
        };
        merge(added("mine", "u1", 10), Some(10));
        assert_eq!(
            consumer.try_pop_batch(9).unwrap().unwrap().version,
            Some(10.into())
        );
        merge(updated("theirs", "u2", 12), Some(11));
        merge(updated("mine", "u1", 12), Some(12));

        let Delta::Replaced(mut rewound) = replaced(&[("mine", "u1", 3)], 5) else {
            unreachable!()
        };
        rewound.rewound = true;
        rewound.kept = vec![key("theirs"), key("at-rest")];
        assert_ready_ok!(task::spawn(producer.replace(rewound)).poll());
        merge(updated("theirs", "u2", 13), None);
        merge(updated("mine", "u1", 6), Some(6));

        let batch = consumer.try_pop_batch(9).unwrap().unwrap();
        assert_eq!(shown(&batch), ["replaced [mine theirs] @5"], "{discipline:?}");
        let [Delta::Replaced(replacement)] = &batch.deltas[..] else {
            unreachable!()
        };
        assert!(replacement.rewound);
        assert_eq!(replacement.kept, [key("at-rest")]);
        assert_eq!(batch.version, Some(5.into()));
        let batch = consumer.try_pop_batch(9).unwrap().unwrap();
        assert_eq!(shown(&batch), ["updated theirs/u2@13", "updated mine/u1@6"]);
        assert_eq!(batch.version, Some(6.into()));
    }
}
