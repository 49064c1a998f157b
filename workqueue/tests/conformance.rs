//! The contract, on the real queue under several settings and on a toy one written from the contract alone.

mod work_queue {
    informer_workqueue::workqueue_conformance!(informer_workqueue::WorkQueue::<u32>::new());
}

mod fifo {
    use informer_workqueue::{Order, WorkQueue};

    informer_workqueue::workqueue_conformance!(
        WorkQueue::<u32>::builder()
            .order(Order::Fifo)
            .jitter(false)
            .build()
    );
}

mod strict {
    use informer_workqueue::{Order, WorkQueue};

    informer_workqueue::workqueue_conformance!(WorkQueue::<u32>::builder().order(Order::Strict).build());
}

mod toy {
    informer_workqueue::workqueue_conformance!(queue::Toy::default());

    use futures::FutureExt;
    use informer_workqueue::conformance;
    use queue::{Bug, Toy};

    /// Whether a test of the suite fails for a toy with a bug.
    macro_rules! catches {
        ($bug:ident, $test:ident) => {
            let mut toy = Toy::default();
            toy.bug = Some(Bug::$bug);
            let outcome = std::panic::AssertUnwindSafe(conformance::$test(toy))
                .catch_unwind()
                .await;
            assert!(outcome.is_err(), "{:?} is not caught", Bug::$bug);
        };
    }

    #[tokio::test(start_paused = true)]
    async fn the_suite_catches_broken_queues() {
        catches!(
            ForgetsAddsWhileRunning,
            a_key_added_while_it_runs_runs_once_more_afterwards
        );
        catches!(
            ForgetsAddsWhileRunning,
            a_key_added_by_its_own_worker_runs_exactly_twice
        );
        catches!(RunsTwice, a_key_added_while_it_runs_runs_once_more_afterwards);
        catches!(RunsTwice, many_producers_and_workers_lose_nothing);
        catches!(Early, a_delayed_key_runs_at_its_time);
        catches!(KeepsSupersededDelays, a_plain_add_supersedes_a_delay);
        catches!(LaterDelayWins, the_earlier_of_two_delays_counts);
        catches!(DropIsDone, a_failed_or_dropped_run_comes_back);
        catches!(CloseWakesNobody, waiters_return_when_the_queue_is_closed);
        catches!(LastInFirstOut, keys_run_in_the_order_they_were_added);
        catches!(AddsAfterClose, a_closed_queue_empties_and_wakes_all_waiters);
    }

    /// Two sets and a list, one notification for everything.
    mod queue {
        use std::collections::{BTreeSet, VecDeque};
        use std::ops::Deref;
        use std::sync::{Arc, Mutex};
        use std::time::Duration;

        use informer_workqueue::{Queue, QueueItem};
        use tokio::sync::Notify;
        use tokio::time::{Instant, sleep_until};

        /// A bug to plant.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub(super) enum Bug {
            ForgetsAddsWhileRunning,
            RunsTwice,
            Early,
            KeepsSupersededDelays,
            LaterDelayWins,
            DropIsDone,
            CloseWakesNobody,
            LastInFirstOut,
            AddsAfterClose,
        }

        #[derive(Clone, Default)]
        pub(super) struct Toy {
            pub(super) bug: Option<Bug>,
            state: Arc<Mutex<State>>,
            changed: Arc<Notify>,
        }

        #[derive(Default)]
        struct State {
            ready: VecDeque<u32>,
            delayed: Vec<(Instant, u32)>,
            running: BTreeSet<u32>,
            dirty: BTreeSet<u32>,
            closed: bool,
            bug: Option<Bug>,
        }

        pub(super) struct Held {
            queue: Toy,
            key: u32,
            done: bool,
        }

        impl State {
            fn want(&mut self, key: u32) {
                if self.bug != Some(Bug::KeepsSupersededDelays) {
                    self.delayed.retain(|(_, delayed)| *delayed != key);
                }
                if self.running.contains(&key) && self.bug != Some(Bug::RunsTwice) {
                    if self.bug != Some(Bug::ForgetsAddsWhileRunning) {
                        self.dirty.insert(key);
                    }
                } else if !self.ready.contains(&key) {
                    self.ready.push_back(key);
                }
            }

            fn fire(&mut self) {
                self.delayed.sort();
                while self.delayed.first().is_some_and(|(at, _)| *at <= Instant::now()) && !self.closed {
                    let (_, key) = self.delayed.remove(0);
                    self.want(key);
                }
            }
        }

        impl Queue for Toy {
            type Key = u32;
            type Item = Held;

            fn add(&self, key: u32) {
                let mut state = self.state.lock().unwrap();
                state.bug = self.bug;
                if !state.closed || self.bug == Some(Bug::AddsAfterClose) {
                    state.want(key);
                }
                self.changed.notify_waiters();
            }

            fn add_after(&self, key: u32, delay: Duration) {
                let mut state = self.state.lock().unwrap();
                if !state.ready.contains(&key) {
                    let delay = if self.bug == Some(Bug::Early) {
                        delay / 2
                    } else {
                        delay
                    };
                    state.delayed.push((Instant::now() + delay, key));
                    state.delayed.sort();
                    let same = |delayed: &(Instant, u32)| delayed.1 == key;
                    let last = self.bug == Some(Bug::LaterDelayWins);
                    let first = if last {
                        state.delayed.iter().rposition(same)
                    } else {
                        state.delayed.iter().position(same)
                    };
                    let first = first.unwrap();
                    let earliest = state.delayed[first];
                    state.delayed.retain(|(_, delayed)| *delayed != key);
                    state.delayed.push(earliest);
                }
                self.changed.notify_waiters();
            }

            async fn next(&self) -> Option<Held> {
                loop {
                    let mut changed = std::pin::pin!(self.changed.notified());
                    let due = {
                        let mut state = self.state.lock().unwrap();
                        state.fire();
                        let last = self.bug == Some(Bug::LastInFirstOut);
                        let next = if last {
                            state.ready.pop_back()
                        } else {
                            state.ready.pop_front()
                        };
                        if let Some(key) = next {
                            state.running.insert(key);
                            return Some(Held {
                                queue: self.clone(),
                                key,
                                done: false,
                            });
                        }
                        if state.closed {
                            return None;
                        }
                        // Registered under the lock, so that no change in between is missed.
                        changed.as_mut().enable();
                        state.delayed.first().map(|(at, _)| *at)
                    };
                    match due {
                        Some(due) => tokio::select! { () = changed => {} () = sleep_until(due) => {} },
                        None => changed.await,
                    }
                }
            }

            fn close(&self) {
                self.state.lock().unwrap().closed = true;
                if self.bug != Some(Bug::CloseWakesNobody) {
                    self.changed.notify_waiters();
                }
            }

            fn len(&self) -> usize {
                self.state.lock().unwrap().ready.len()
            }
        }

        impl QueueItem for Held {
            type Key = u32;

            fn done(mut self) {
                self.done = true;
            }

            fn retry(self) {}
        }

        impl Deref for Held {
            type Target = u32;

            fn deref(&self) -> &u32 {
                &self.key
            }
        }

        impl Drop for Held {
            fn drop(&mut self) {
                let mut state = self.queue.state.lock().unwrap();
                state.running.remove(&self.key);
                if state.dirty.remove(&self.key) {
                    state.want(self.key);
                } else if !self.done && self.queue.bug != Some(Bug::DropIsDone) {
                    state
                        .delayed
                        .push((Instant::now() + Duration::from_millis(5), self.key));
                }
                drop(state);
                self.queue.changed.notify_waiters();
            }
        }
    }
}
