//! One component from its first turn to its end: starts it, watches it, runs it again, stops it in time.

use std::{future::pending, sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    task::{JoinError, JoinHandle},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{
    board::{Board, Cause, Gate, State},
    component::{BoxError, Component, Group, OnFailure, Ready, Work},
    context::Context,
    leader::Term,
    text::one_line,
};

/// What the supervisors of one manager share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) board: watch::Sender<Board>,
    /// Whether there is an election, so that controllers wait for a term.
    pub(super) elected: bool,
}

impl Shared {
    pub(super) fn update<R>(&self, change: impl FnOnce(&mut Board, Instant) -> R) -> R {
        let now = Instant::now();
        let mut result = None;
        self.board.send_modify(|board| result = Some(change(board, now)));
        result.expect("send_modify calls its closure once")
    }

    /// Waits until `look` finds what it looks for; it may name a time at which to look again.
    pub(super) async fn until<R>(
        &self,
        mut look: impl FnMut(&Board, Instant) -> Result<R, Option<Instant>>,
    ) -> R {
        let mut board = self.board.subscribe();
        loop {
            let again = match look(&board.borrow_and_update(), Instant::now()) {
                Ok(found) => return found,
                Err(again) => again,
            };
            tokio::select! {
                // The sender is in `self`, so this is never closed.
                _ = board.changed() => {}
                () = maybe_until(again) => {}
            }
        }
    }

    /// Waits until `holds` does.
    pub(super) async fn wait(&self, mut holds: impl FnMut(&Board) -> bool) {
        self.until(|board, _| if holds(board) { Ok(()) } else { Err(None) })
            .await;
    }
}

/// Runs one component until it is over for this process.
pub(super) async fn supervise(shared: Arc<Shared>, id: u64, component: Component, rng: fastrand::Rng) {
    let led = shared.elected && component.group == Group::Controllers;
    let end = Supervisor {
        shared: Arc::clone(&shared),
        id,
        component,
        led,
        rng,
        failures: 0,
    }
    .live()
    .await;
    shared.update(|board, now| {
        board.set(id, end, now);
        if board.entries.get(&id).is_some_and(|entry| entry.removed) {
            board.entries.remove(&id);
        }
    });
}

struct Supervisor {
    shared: Arc<Shared>,
    id: u64,
    component: Component,
    /// Whether it runs only while this process leads.
    led: bool,
    rng: fastrand::Rng,
    failures: u32,
}

/// How one run ended.
enum End {
    /// By itself, its work done.
    Finished,
    /// As it was told.
    Stopped,
    /// With its term, or because of it.
    TermOver,
    Failed(String),
    Panicked(String),
}

impl Supervisor {
    /// Gives the state in which the component ends.
    async fn live(mut self) -> State {
        let id = self.id;
        let turn = self.shared.until(|board, now| match board.may_start(id, now) {
            Gate::Open => Ok(()),
            Gate::Closed(again) => Err(again),
        });
        tokio::select! {
            biased;
            () = self.shared.wait(|board| board.must_not_run(id)) => return State::Stopped,
            () = turn => {}
        }
        loop {
            let Some(term) = self.enter().await else {
                return State::Stopped;
            };
            let start = Instant::now();
            let end = self.run(term).await;
            let name = &self.component.name;
            let (error, panicked) = match end {
                End::Finished => {
                    tracing::info!(component = %name, "component finished");
                    return State::Finished;
                }
                End::Stopped => {
                    tracing::info!(component = %name, "component stopped");
                    return State::Stopped;
                }
                End::TermOver if matches!(self.component.work, Work::Again(_)) => continue,
                End::TermOver => {
                    let cause = Cause::LeadershipLost {
                        component: name.clone(),
                    };
                    self.shared.update(|board, now| board.stop(now, Some(cause)));
                    return State::Stopped;
                }
                End::Failed(error) => (error, false),
                End::Panicked(error) => (error, true),
            };
            tracing::error!(component = %name, %error, panicked, "component failed");
            self.shared.update(|board, _| {
                if let Some(entry) = board.entries.get_mut(&id) {
                    entry.failures = entry.failures.saturating_add(1);
                    entry.panics = entry.panics.saturating_add(u32::from(panicked));
                    entry.last_error = Some(error.clone());
                }
            });
            let backoff = match (&self.component.on_failure, &self.component.work) {
                (OnFailure::Restart(backoff), Work::Again(_)) => *backoff,
                (OnFailure::StopAll, _) => {
                    let cause = Cause::Failed {
                        component: name.clone(),
                        error,
                    };
                    self.shared.update(|board, now| {
                        board.set(id, State::Failed, now);
                        board.stop(now, Some(cause));
                    });
                    return State::Failed;
                }
                _ => return State::Failed,
            };
            self.failures = if start.elapsed() >= backoff.reset_after {
                1
            } else {
                self.failures.saturating_add(1)
            };
            let delay = backoff.delay(self.failures, &mut self.rng);
            self.shared
                .update(|board, now| board.set(id, State::Backoff, now));
            tokio::select! {
                biased;
                () = self.shared.wait(|board| board.must_not_run(id)) => return State::Stopped,
                () = sleep(delay) => {}
            }
        }
    }

    /// Waits for the term, if one is needed, and marks the component as running; `None` if it must stay down.
    ///
    /// Both happen in one step, so that whoever closes the term sees either that nothing runs or that this does.
    async fn enter(&mut self) -> Option<Option<Term>> {
        let (id, led) = (self.id, self.led);
        loop {
            let entered = self.shared.update(|board, now| {
                if board.must_not_run(id) {
                    return Some(None);
                }
                let term = board.term.clone().filter(|term| led && !term.is_ended());
                let enter = term.is_some() || !led;
                board.set(id, if enter { State::Starting } else { State::Standby }, now);
                if enter && let Some(entry) = board.entries.get_mut(&id) {
                    entry.runs = entry.runs.saturating_add(1);
                    entry.dropped = false;
                }
                enter.then_some(Some(term))
            });
            if let Some(entered) = entered {
                return entered;
            }
            self.shared
                .wait(|board| {
                    board.must_not_run(id) || board.term.as_ref().is_some_and(|term| !term.is_ended())
                })
                .await;
        }
    }

    /// One run.
    async fn run(&mut self, term: Option<Term>) -> End {
        let id = self.id;
        let shared = Arc::clone(&self.shared);
        let run = shared
            .board
            .borrow()
            .entries
            .get(&id)
            .map_or(1, |entry| entry.runs);
        let stop = watch::Sender::new(false);
        let ready = watch::Sender::new(matches!(self.component.ready, Ready::Started));
        let name = Arc::from(self.component.name.as_str());
        let context = Context::new(name, run, stop.subscribe(), ready.clone(), term.clone());
        let mut task = match &mut self.component.work {
            Work::Again(work) => {
                let work = Arc::clone(work);
                Task::spawn(async move { work.run(context).await })
            }
            Work::Once(work) => match work.take() {
                Some(work) => Task::spawn(async move { work(context).await }),
                None => return End::Failed("it can be run only once".to_owned()),
            },
        };
        let become_ready = become_ready(&self.component.ready, &ready);
        tokio::pin!(become_ready);
        let must_stop = shared.wait(|board| board.must_stop(id));
        tokio::pin!(must_stop);
        let mut is_ready = false;
        let mut deadline = None;
        loop {
            tokio::select! {
                biased;
                ended = &mut task.handle => {
                    let over = term.as_ref().is_some_and(Term::is_ended);
                    return classify(ended, deadline.is_some(), over, shared.board.borrow().must_stop(id));
                }
                () = shared.wait(|board| board.forced) => {
                    drop_late(&shared, id, task, "forced").await;
                    return End::Stopped;
                }
                () = expired(term.as_ref()) => {
                    drop_late(&shared, id, task, "lease ran out").await;
                    return End::TermOver;
                }
                () = maybe_until(deadline) => {
                    drop_late(&shared, id, task, "stop time-out").await;
                    return if term.as_ref().is_some_and(Term::is_ended) && !shared.board.borrow().must_stop(id) {
                        End::TermOver
                    } else {
                        End::Stopped
                    };
                }
                () = async { tokio::select! { () = &mut must_stop => {}, () = term_end(term.as_ref()) => {} } },
                    if deadline.is_none() =>
                {
                    shared.update(|board, now| board.set(id, State::Stopping, now));
                    stop.send_replace(true);
                    deadline = Some(Instant::now() + self.component.stop_timeout);
                }
                () = &mut become_ready, if !is_ready => {
                    is_ready = true;
                    if deadline.is_none() {
                        tracing::info!(component = %self.component.name, run, "component ready");
                        shared.update(|board, now| board.set(id, State::Ready, now));
                    }
                }
            }
        }
    }
}

fn classify(
    ended: Result<Result<(), BoxError>, JoinError>,
    told: bool,
    term_over: bool,
    stopping: bool,
) -> End {
    let error = match ended {
        Err(error) => match error.try_into_panic() {
            Ok(payload) => return End::Panicked(panic_text(&*payload)),
            Err(_) => Some("its task was cancelled".to_owned()),
        },
        Ok(Err(error)) => Some(with_sources(&*error)),
        Ok(Ok(())) => None,
    };
    match error {
        // An error on the way out, or one because the lease is gone, is no failure of the component.
        _ if stopping => End::Stopped,
        _ if term_over => End::TermOver,
        None if told => End::Stopped,
        Some(error) => End::Failed(error),
        None => End::Finished,
    }
}

/// The task of one run; dropping it drops the run.
struct Task {
    handle: JoinHandle<Result<(), BoxError>>,
}

impl Task {
    #[expect(
        clippy::disallowed_methods,
        reason = "the manager is the one place that spawns: a panic or a busy component must not harm the others"
    )]
    fn spawn(future: impl Future<Output = Result<(), BoxError>> + Send + 'static) -> Self {
        Self {
            handle: tokio::spawn(future),
        }
    }
}

/// Drops a run that did not stop in time.
async fn drop_late(shared: &Shared, id: u64, mut task: Task, reason: &'static str) {
    task.handle.abort();
    let stuck = timeout(LAST_POLL, &mut task.handle).await.is_err();
    shared.update(|board, _| {
        let Some(entry) = board.entries.get_mut(&id) else { return };
        entry.dropped = true;
        if stuck {
            tracing::error!(component = %entry.name, reason, "component blocks its thread and cannot be dropped");
        } else {
            tracing::warn!(component = %entry.name, reason, "component did not stop in time, dropped");
        }
    });
}

impl Drop for Task {
    fn drop(&mut self) {
        self.handle.abort();
    }
}

async fn become_ready(when: &Ready, reported: &watch::Sender<bool>) {
    match when {
        Ready::Started => {}
        Ready::Reported => {
            let _ = reported.subscribe().wait_for(|ready| *ready).await;
        }
        Ready::When(future) => future().await,
    }
}

async fn term_end(term: Option<&Term>) {
    match term {
        Some(term) => {
            term.ended().await;
        }
        None => pending().await,
    }
}

async fn expired(term: Option<&Term>) {
    match term {
        Some(term) => term.expired().await,
        None => pending().await,
    }
}

async fn maybe_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}

/// The error and what it came from, on one line.
fn with_sources(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    one_line(&text)
}

fn panic_text(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| payload.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("with no message");
    one_line(&format!("panicked: {text}"))
}

/// How long a dropped run may take to reach its next await point, where it ends.
const LAST_POLL: Duration = Duration::from_secs(1);
