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

    /// Two sets and a list, one notification for everything.
    mod queue {
        use std::collections::{BTreeSet, VecDeque};
        use std::ops::Deref;
        use std::sync::{Arc, Mutex};
        use std::time::Duration;

        use informer_workqueue::{Queue, QueueItem};
        use tokio::sync::Notify;
        use tokio::time::{Instant, sleep_until};

        #[derive(Clone, Default)]
        pub(super) struct Toy {
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
        }

        pub(super) struct Held {
            queue: Toy,
            key: u32,
            done: bool,
        }

        impl State {
            fn want(&mut self, key: u32) {
                self.delayed.retain(|(_, delayed)| *delayed != key);
                if self.running.contains(&key) {
                    self.dirty.insert(key);
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
                if !state.closed {
                    state.want(key);
                }
                self.changed.notify_waiters();
            }

            fn add_after(&self, key: u32, delay: Duration) {
                let mut state = self.state.lock().unwrap();
                if !state.ready.contains(&key) {
                    state.delayed.push((Instant::now() + delay, key));
                    state.delayed.sort();
                    let first = state
                        .delayed
                        .iter()
                        .position(|(_, delayed)| *delayed == key)
                        .unwrap();
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
                        if let Some(key) = state.ready.pop_front() {
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
                self.changed.notify_waiters();
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
                } else if !self.done {
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
