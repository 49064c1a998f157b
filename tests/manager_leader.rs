//! Leader election: at most one contender works at a time, whatever the network and the clocks do.

#![expect(clippy::disallowed_methods, reason = "a test may run things side by side")]

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use informer::manager::leader::{
    Elector, ElectorBuilder, ElectorError, EndReason, Ended, FencingToken, Lock, LockError, LostReason,
    Observer, OnLost, Release, Term, Timing, TimingError,
};
use k8s_openapi::{api::coordination::v1::Lease, apimachinery::pkg::apis::meta::v1::MicroTime};
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The lease as the API server would keep it.
#[derive(Default)]
struct Server {
    lease: Mutex<Option<Lease>>,
    version: AtomicU64,
    writes: Mutex<Vec<(String, Lease)>>,
}

impl Server {
    fn store(&self, writer: &str, mut lease: Lease, slot: &mut Option<Lease>) -> Lease {
        let version = self.version.fetch_add(1, Ordering::SeqCst) + 1;
        lease.metadata.resource_version = Some(version.to_string());
        lease.metadata.uid.get_or_insert_with(|| format!("uid-{version}"));
        *slot = Some(lease.clone());
        self.writes
            .lock()
            .unwrap()
            .push((writer.to_owned(), lease.clone()));
        lease
    }

    fn lease(&self) -> Lease {
        self.lease.lock().unwrap().clone().expect("a lease was stored")
    }

    fn holder(&self) -> String {
        self.lease().spec.unwrap().holder_identity.unwrap_or_default()
    }

    fn edit(&self, change: impl FnOnce(&mut Lease)) {
        let mut slot = self.lease.lock().unwrap();
        let mut lease = slot.clone().unwrap_or_default();
        change(&mut lease);
        self.store("editor", lease, &mut slot);
    }

    /// The holders in the order of the terms that were written.
    fn terms(&self) -> Vec<(String, i32)> {
        let mut terms = Vec::new();
        for (_, lease) in self.writes.lock().unwrap().iter() {
            let spec = lease.spec.clone().unwrap();
            let holder = spec.holder_identity.unwrap_or_default();
            let term = (holder, spec.lease_transitions.unwrap_or_default());
            if !term.0.is_empty() && terms.last() != Some(&term) {
                terms.push(term);
            }
        }
        terms
    }
}

/// One contender's way to the server, with what can go wrong on it.
#[derive(Default)]
struct Network {
    down: AtomicBool,
    answers_lost: AtomicBool,
    /// Milliseconds before a request arrives, and before its answer does.
    there: AtomicU64,
    back: AtomicU64,
    requests: AtomicUsize,
}

struct Path {
    server: Arc<Server>,
    network: Arc<Network>,
    contender: &'static str,
}

impl Path {
    /// A request travels on its own: it arrives even if the sender stops waiting for its answer.
    async fn carry<T: Send + 'static>(
        &self,
        request: impl FnOnce(&Server) -> Result<T, LockError> + Send + 'static,
    ) -> Result<T, LockError> {
        self.network.requests.fetch_add(1, Ordering::SeqCst);
        if self.network.down.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        let there = Duration::from_millis(self.network.there.load(Ordering::SeqCst));
        let back = Duration::from_millis(self.network.back.load(Ordering::SeqCst));
        let (sender, receiver) = oneshot::channel();
        let server = Arc::clone(&self.server);
        tokio::spawn(async move {
            sleep(there).await;
            let _ = sender.send(request(&server));
        });
        let answer = receiver.await.expect("the request arrives");
        if self.network.answers_lost.load(Ordering::SeqCst) {
            pending::<()>().await;
        }
        sleep(back).await;
        answer
    }
}

#[async_trait]
impl Lock for Path {
    fn name(&self) -> String {
        "test/lease".to_owned()
    }

    async fn get(&self) -> Result<Option<Lease>, LockError> {
        self.carry(|server| Ok(server.lease.lock().unwrap().clone()))
            .await
    }

    async fn create(&self, lease: Lease) -> Result<Lease, LockError> {
        let writer = self.contender;
        self.carry(move |server| {
            let mut slot = server.lease.lock().unwrap();
            if slot.is_some() {
                Err(LockError::Conflict)
            } else {
                Ok(server.store(writer, lease, &mut slot))
            }
        })
        .await
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, LockError> {
        let writer = self.contender;
        self.carry(move |server| {
            let mut slot = server.lease.lock().unwrap();
            match &*slot {
                None => Err(LockError::Missing),
                Some(held) if held.metadata.resource_version != lease.metadata.resource_version => {
                    Err(LockError::Conflict)
                }
                Some(_) => Ok(server.store(writer, lease, &mut slot)),
            }
        })
        .await
    }
}

/// Counts who works, and fails as soon as two do.
#[derive(Clone, Default)]
struct Watchman {
    working: Arc<Mutex<Vec<(&'static str, Term)>>>,
    terms: Arc<Mutex<Vec<FencingToken>>>,
}

struct AtWork(Watchman, &'static str);

impl Watchman {
    fn begin(&self, name: &'static str, term: &Term) -> AtWork {
        let mut working = self.working.lock().unwrap();
        let others: Vec<_> = working.iter().map(|(other, _)| *other).collect();
        assert!(others.is_empty(), "{name} begins to work while {others:?} works");
        working.push((name, term.clone()));
        self.terms.lock().unwrap().push(term.token().clone());
        AtWork(self.clone(), name)
    }

    /// Asserts twenty times a second that no two terms can be relied upon.
    async fn patrol(self, length: Duration) {
        let end = Instant::now() + length;
        let mut seen: Vec<Term> = Vec::new();
        while Instant::now() < end {
            for (_, term) in self.working.lock().unwrap().iter() {
                if !seen.iter().any(|known| known.token() == term.token()) {
                    seen.push(term.clone());
                }
            }
            // A term that is over never comes back.
            seen.retain(|term| term.check().is_ok());
            assert!(seen.len() <= 1, "{} terms are valid at once", seen.len());
            sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Ok(mut working) = self.0.working.lock() {
            working.retain(|(name, _)| *name != self.1);
        }
    }
}

struct Contender {
    network: Arc<Network>,
    observer: Observer,
    stop: Option<oneshot::Sender<()>>,
    run: JoinHandle<Ended>,
}

impl Contender {
    async fn stop(mut self) -> Ended {
        let _ = self.stop.take().expect("stopped once").send(());
        self.run.await.expect("the run does not panic")
    }

    fn crash(self) {
        self.run.abort();
    }
}

struct Ring {
    server: Arc<Server>,
    watchman: Watchman,
}

impl Ring {
    fn new() -> Self {
        Self {
            server: Arc::default(),
            watchman: Watchman::default(),
        }
    }

    fn builder(&self, name: &'static str, network: &Arc<Network>) -> ElectorBuilder {
        let path = Path {
            server: Arc::clone(&self.server),
            network: Arc::clone(network),
            contender: name,
        };
        let seed = name.bytes().map(u64::from).sum();
        Elector::builder(path)
            .identity(name)
            .timing(timing())
            .rng(fastrand::Rng::with_seed(seed))
    }

    /// Starts a contender whose work takes `stopping` to stop when its lease is lost.
    fn contend_with(
        &self,
        name: &'static str,
        stopping: Duration,
        set: impl FnOnce(ElectorBuilder) -> ElectorBuilder,
    ) -> Contender {
        let network = Arc::new(Network::default());
        let elector = set(self.builder(name, &network))
            .build()
            .expect("the options fit");
        let observer = elector.observer();
        let (stop, stopped) = oneshot::channel::<()>();
        let watchman = self.watchman.clone();
        let run = tokio::spawn(elector.run(
            async {
                let _ = stopped.await;
            },
            move |term| {
                let at_work = watchman.begin(name, &term);
                async move {
                    let _at_work = at_work;
                    if term.ended().await == EndReason::Shutdown {
                        sleep(Duration::from_millis(100)).await;
                    } else {
                        sleep(stopping).await;
                    }
                }
            },
        ));
        Contender {
            network,
            observer,
            stop: Some(stop),
            run,
        }
    }

    fn contend(&self, name: &'static str) -> Contender {
        self.contend_with(name, Duration::from_millis(100), |builder| builder)
    }
}

fn timing() -> Timing {
    Timing::new(
        Duration::from_secs(15),
        Duration::from_secs(10),
        Duration::from_secs(2),
    )
}

async fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn first_contender_creates_the_lease_in_the_form_of_client_go() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::ZERO, |builder| builder.label("app", "demo"));
    let token = blue.observer.leading().await.expect("the election runs");
    let lease = ring.server.lease();
    let spec = lease.spec.clone().unwrap();
    assert_eq!(spec.holder_identity.as_deref(), Some("blue"));
    assert_eq!(spec.lease_duration_seconds, Some(15));
    assert_eq!(spec.lease_transitions, Some(0));
    assert_eq!(spec.acquire_time, spec.renew_time);
    assert_eq!(lease.metadata.labels.as_ref().unwrap()["app"], "demo");
    assert!(token.matches(&lease));

    sleep(5 * SECOND).await;
    let renewed = ring.server.lease().spec.unwrap();
    assert_eq!(
        (renewed.acquire_time, renewed.lease_transitions),
        (spec.acquire_time, Some(0))
    );
    assert!(
        renewed.renew_time > spec.renew_time,
        "each renewal changes the record"
    );
}

#[tokio::test(start_paused = true)]
async fn two_contenders_never_work_at_once_and_the_second_follows_a_release_soon() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    let green = ring.contend("green");
    ring.watchman.clone().patrol(60 * SECOND).await;
    assert!(blue.observer.is_leading() && !green.observer.is_leading());
    assert_eq!(green.observer.status().holder.as_deref(), Some("blue"));

    assert_eq!(blue.stop().await, Ended::Shutdown);
    let lease = ring.server.lease().spec.unwrap();
    assert_eq!(lease.holder_identity.as_deref(), Some(""), "released");
    assert_eq!(lease.lease_duration_seconds, Some(1));
    assert_eq!(lease.lease_transitions, Some(0), "a release is no transition");
    // A look comes every 2 to 4.4 s.
    within(Duration::from_millis(4_500), "green leads", || {
        green.observer.is_leading()
    })
    .await;
    assert_eq!(
        ring.server.terms(),
        [("blue".to_owned(), 0), ("green".to_owned(), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn crashed_leader_is_followed_after_its_lease_and_not_before() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    let green = ring.contend("green");
    sleep(20 * SECOND).await;
    blue.crash();
    let took = within(20 * SECOND, "green leads", || green.observer.is_leading()).await;
    assert!(
        took >= 10 * SECOND,
        "green waited {took:?} of the lease's 15 s after a renewal at most 5 s old"
    );
}

#[tokio::test(start_paused = true)]
async fn partitioned_leader_stops_before_the_other_side_takes_over() {
    let ring = Ring::new();
    // Its work never stops by itself: it has to be dropped.
    let blue = ring.contend_with("blue", Duration::from_secs(3600), |builder| builder);
    blue.observer.leading().await;
    let green = ring.contend("green");
    sleep(20 * SECOND).await;
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();

    blue.network.down.store(true, Ordering::SeqCst);
    let patrol = tokio::spawn(ring.watchman.clone().patrol(120 * SECOND));
    assert_eq!(term.ended().await, EndReason::Lost(LostReason::RenewDeadline));
    assert!(term.check().is_ok(), "there is time left to stop in");
    assert!(
        term.valid_for() > 3 * SECOND,
        "from the renew deadline to the lease's end less the margin"
    );
    term.expired().await;
    assert!(term.check().is_err());
    assert_eq!(ring.server.holder(), "blue", "nobody has taken over yet");
    within(10 * SECOND, "green leads", || green.observer.is_leading()).await;

    // The old leader comes back as a follower.
    blue.network.down.store(false, Ordering::SeqCst);
    sleep(30 * SECOND).await;
    assert!(green.observer.is_leading() && !blue.observer.is_leading());
    patrol.await.expect("never two");
    let tokens = ring.watchman.terms.lock().unwrap().clone();
    assert_eq!(tokens[1].is_newer_than(&tokens[0]), Some(true));
}

#[tokio::test(start_paused = true)]
async fn renewal_committed_early_and_answered_late_makes_no_second_leader() {
    // The answer comes so late that a lease counted from the answer would outlive the one on the server.
    for back in [0, 1_000, 3_000, 4_500, 4_900, 6_000, 9_000] {
        let ring = Ring::new();
        // Work that uses its lease up to the end.
        let blue = ring.contend_with("blue", Duration::from_secs(3600), |builder| builder);
        blue.observer.leading().await;
        let green = ring.contend("green");
        sleep(10 * SECOND).await;
        blue.network.back.store(back, Ordering::SeqCst);
        sleep(5 * SECOND).await;
        blue.network.down.store(true, Ordering::SeqCst);
        ring.watchman.clone().patrol(60 * SECOND).await;
        assert!(green.observer.is_leading(), "with answers after {back} ms");
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_arrives_after_its_sender_gave_up_does_no_harm() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    let green = ring.contend("green");
    sleep(10 * SECOND).await;
    // Longer than the lease: renewals arrive when another may lead.
    blue.network.there.store(25_000, Ordering::SeqCst);
    ring.watchman.clone().patrol(120 * SECOND).await;
    assert!(green.observer.is_leading());
    assert_eq!(
        ring.server.terms(),
        [("blue".to_owned(), 0), ("green".to_owned(), 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn slow_network_keeps_the_leader_as_long_as_renewals_arrive_in_time() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    blue.network.there.store(1_500, Ordering::SeqCst);
    blue.network.back.store(1_500, Ordering::SeqCst);
    let green = ring.contend("green");
    ring.watchman.clone().patrol(120 * SECOND).await;
    assert!(blue.observer.is_leading() && !green.observer.is_leading());
    assert_eq!(ring.server.terms(), [("blue".to_owned(), 0)]);
}

#[tokio::test(start_paused = true)]
async fn answer_lost_on_taking_is_recognised_as_ones_own() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::ZERO, |builder| builder);
    blue.network.answers_lost.store(true, Ordering::SeqCst);
    // The create is carried out, then every answer is lost for a while.
    sleep(12 * SECOND).await;
    assert!(!blue.observer.is_leading());
    blue.network.answers_lost.store(false, Ordering::SeqCst);
    within(10 * SECOND, "blue leads", || blue.observer.is_leading()).await;
}

#[tokio::test(start_paused = true)]
async fn release_never_erases_the_lease_of_the_next_leader() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    sleep(5 * SECOND).await;
    // Somebody takes the lease while the release is on its way.
    let network = Arc::clone(&blue.network);
    let server = Arc::clone(&ring.server);
    network.there.store(2_000, Ordering::SeqCst);
    let stop = tokio::spawn(blue.stop());
    sleep(SECOND).await;
    server.edit(|lease| {
        let spec = lease.spec.as_mut().unwrap();
        spec.holder_identity = Some("red".to_owned());
        spec.lease_transitions = Some(7);
    });
    assert_eq!(stop.await.unwrap(), Ended::Shutdown);
    assert_eq!(ring.server.holder(), "red");
}

#[tokio::test(start_paused = true)]
async fn release_is_repeated_on_conflict_with_an_edit_that_keeps_the_term() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    sleep(SECOND).await;
    ring.server.edit(|lease| {
        lease.metadata.labels = Some([("team".to_owned(), "a".to_owned())].into());
    });
    assert_eq!(blue.stop().await, Ended::Shutdown);
    assert_eq!(ring.server.holder(), "");
    assert!(
        ring.server.lease().metadata.labels.is_some(),
        "labels of others stay"
    );
}

#[tokio::test(start_paused = true)]
async fn release_can_be_switched_off() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::ZERO, |builder| builder.release(Release::Never));
    blue.observer.leading().await;
    assert_eq!(blue.stop().await, Ended::Shutdown);
    assert_eq!(ring.server.holder(), "blue");
}

#[tokio::test(start_paused = true)]
async fn stop_in_the_middle_of_a_taking_waits_for_its_answer_and_gives_the_lease_back() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.network.back.store(1_000, Ordering::SeqCst);
    within(5 * SECOND, "the server has stored the taking", || {
        ring.server.lease.lock().unwrap().is_some()
    })
    .await;
    assert!(!blue.observer.is_leading());
    assert_eq!(blue.stop().await, Ended::Shutdown);
    assert_eq!(ring.server.holder(), "");
    assert!(
        ring.watchman.terms.lock().unwrap().is_empty(),
        "no work was begun"
    );
}

#[tokio::test(start_paused = true)]
async fn stop_ends_in_bounded_time_when_the_server_is_gone() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    blue.network.down.store(true, Ordering::SeqCst);
    let start = Instant::now();
    assert_eq!(blue.stop().await, Ended::Shutdown);
    assert!(start.elapsed() <= 15 * SECOND, "took {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn conflict_with_an_edit_of_metadata_is_overcome_by_a_second_look() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    let first = blue.observer.leading().await;
    ring.server.edit(|lease| {
        lease.metadata.annotations = Some([("seen".to_owned(), "yes".to_owned())].into());
    });
    sleep(5 * SECOND).await;
    let status = blue.observer.status();
    assert_eq!(status.token, first, "the same term goes on");
    assert_eq!(status.slow_renewals, 1);
    assert_eq!(status.terms, 1);
}

#[tokio::test(start_paused = true)]
async fn machine_that_wakes_from_a_long_sleep_does_not_believe_in_its_lease() {
    let ring = Ring::new();
    let slept = Arc::new(AtomicU64::new(5_000));
    let read = Arc::clone(&slept);
    // Its work would go on for ever.
    let blue = ring.contend_with("blue", Duration::from_secs(3600), move |builder| {
        builder.suspended(move || Duration::from_millis(read.load(Ordering::SeqCst)))
    });
    blue.observer.leading().await;
    sleep(10 * SECOND).await;
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();
    assert!(term.check().is_ok() && term.valid_for() <= 15 * SECOND);

    // An hour passes for everybody else; meanwhile another leads.
    slept.fetch_add(3_600_000, Ordering::SeqCst);
    ring.server.edit(|lease| {
        let spec = lease.spec.as_mut().unwrap();
        spec.holder_identity = Some("red".to_owned());
        spec.lease_transitions = Some(1);
    });
    assert!(term.check().is_err(), "before anything has had the time to run");
    assert!(!blue.observer.is_leading());
    within(3 * SECOND, "work is dropped", || {
        ring.watchman.working.lock().unwrap().is_empty()
    })
    .await;
    sleep(10 * SECOND).await;
    assert_eq!(ring.server.holder(), "red", "and the lease is not taken back");
}

#[tokio::test(start_paused = true)]
async fn short_sleep_of_the_machine_is_survived() {
    let ring = Ring::new();
    let slept = Arc::new(AtomicU64::new(0));
    let read = Arc::clone(&slept);
    let blue = ring.contend_with("blue", Duration::ZERO, move |builder| {
        builder.suspended(move || Duration::from_millis(read.load(Ordering::SeqCst)))
    });
    let first = blue.observer.leading().await;
    for _ in 0..20 {
        sleep(5 * SECOND).await;
        slept.fetch_add(6_000, Ordering::SeqCst);
        assert!(blue.observer.is_leading());
    }
    sleep(5 * SECOND).await;
    assert_eq!(
        blue.observer.status().token,
        first,
        "each time it was renewed in time"
    );
    let until = blue.observer.status().valid_until.unwrap();
    assert!(until > Instant::now() && until <= Instant::now() + 15 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn leader_whose_lease_names_another_holder_stops_at_once() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::from_secs(3600), |builder| builder);
    blue.observer.leading().await;
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();
    ring.server
        .edit(|lease| lease.spec.as_mut().unwrap().holder_identity = Some("red".to_owned()));
    let reason = term.ended().await;
    assert_eq!(
        reason,
        EndReason::Lost(LostReason::TakenOver {
            holder: "red".to_owned()
        })
    );
    assert!(term.check().is_err());
    within(SECOND, "work is dropped", || {
        ring.watchman.working.lock().unwrap().is_empty()
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn deleted_lease_ends_the_term_and_a_new_one_has_another_token() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    let first = blue.observer.leading().await.unwrap();
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();
    *ring.server.lease.lock().unwrap() = None;
    assert_eq!(term.ended().await, EndReason::Lost(LostReason::Deleted));
    within(10 * SECOND, "blue leads again", || {
        ring.watchman.terms.lock().unwrap().len() == 2
    })
    .await;
    let second = ring.watchman.terms.lock().unwrap()[1].clone();
    assert_ne!(first.lease_uid(), second.lease_uid());
    assert_eq!(
        second.is_newer_than(&first),
        None,
        "tokens of different leases have no order"
    );
}

#[tokio::test(start_paused = true)]
async fn process_restarted_under_its_old_name_waits_for_its_former_lease() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    blue.crash();
    let start = Instant::now();
    let again = ring.contend("blue");
    again.observer.leading().await;
    assert!(
        start.elapsed() >= 15 * SECOND,
        "its former self might still run: waited {:?}",
        start.elapsed()
    );
    let tokens = ring.watchman.terms.lock().unwrap().clone();
    assert_eq!(
        tokens[1].is_newer_than(&tokens[0]),
        Some(true),
        "the same name, but a newer term"
    );
}

#[tokio::test(start_paused = true)]
async fn times_in_the_record_do_not_matter_only_its_changes_do() {
    for renewed_at in ["1970-01-01T00:00:00Z", "2100-01-01T00:00:00Z"] {
        let ring = Ring::new();
        ring.server.edit(|lease| {
            let spec = lease.spec.get_or_insert_default();
            spec.holder_identity = Some("red".to_owned());
            spec.lease_duration_seconds = Some(40);
            spec.renew_time = Some(MicroTime(renewed_at.parse().unwrap()));
        });
        let start = Instant::now();
        let blue = ring.contend("blue");
        blue.observer.leading().await;
        let waited = start.elapsed();
        assert!(
            waited >= 40 * SECOND,
            "the holder's own duration counts from the first look: {waited:?}"
        );
        assert!(waited < 45 * SECOND, "{waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn record_under_ones_own_name_is_not_ones_own_for_that() {
    let ring = Ring::new();
    ring.server.edit(|lease| {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("blue".to_owned());
        spec.lease_duration_seconds = Some(15);
    });
    let start = Instant::now();
    ring.contend("blue").observer.leading().await;
    assert!(start.elapsed() >= 15 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn relabelling_does_not_keep_a_dead_leader_alive() {
    let ring = Ring::new();
    ring.server.edit(|lease| {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("red".to_owned());
        spec.lease_duration_seconds = Some(15);
    });
    let blue = ring.contend("blue");
    for n in 0..30 {
        sleep(SECOND).await;
        if blue.observer.is_leading() {
            return;
        }
        ring.server.edit(|lease| {
            lease.metadata.labels = Some([("n".to_owned(), n.to_string())].into());
        });
    }
    panic!("blue never led");
}

#[tokio::test(start_paused = true)]
async fn nonsense_in_the_record_is_survived() {
    let ring = Ring::new();
    ring.server.edit(|lease| {
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some("red".to_owned());
        spec.lease_duration_seconds = Some(-5);
        spec.lease_transitions = Some(-1);
    });
    let start = Instant::now();
    let blue = ring.contend("blue");
    let token = blue.observer.leading().await.unwrap();
    assert!(
        start.elapsed() >= 15 * SECOND,
        "with no duration of the holder's, one's own counts"
    );
    assert_eq!(token.transitions(), 1);
}

#[tokio::test(start_paused = true)]
async fn lost_term_can_end_the_election() {
    let ring = Ring::new();
    let blue = ring.contend_with("blue", Duration::ZERO, |builder| builder.on_lost(OnLost::Stop));
    blue.observer.leading().await;
    blue.network.down.store(true, Ordering::SeqCst);
    let ended = tokio::time::timeout(60 * SECOND, blue.run)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(ended, Ended::Lost(LostReason::RenewDeadline));
}

#[tokio::test(start_paused = true)]
async fn work_that_finishes_gives_the_lease_back_and_ends_the_election() {
    let ring = Ring::new();
    let elector = ring.builder("blue", &Arc::default()).build().unwrap();
    let ended = elector
        .run(pending(), |term| async move { assert!(term.check().is_ok()) })
        .await;
    assert_eq!(ended, Ended::WorkFinished);
    assert_eq!(ring.server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn work_that_panics_gives_the_lease_back_before_the_panic_goes_on() {
    let ring = Ring::new();
    let elector = ring.builder("blue", &Arc::default()).build().unwrap();
    let run = tokio::spawn(elector.run(pending(), |_| async { panic!("no luck") }));
    assert!(run.await.unwrap_err().is_panic());
    assert_eq!(ring.server.holder(), "");
}

#[tokio::test(start_paused = true)]
async fn dropping_the_run_ends_the_term_at_once() {
    let ring = Ring::new();
    let blue = ring.contend("blue");
    blue.observer.leading().await;
    let term = ring.watchman.working.lock().unwrap()[0].1.clone();
    let observer = blue.observer.clone();
    blue.crash();
    tokio::task::yield_now().await;
    assert!(term.check().is_err() && term.is_ended());
    assert!(!observer.is_leading() && observer.status().stopped);
}

#[tokio::test(start_paused = true)]
async fn hours_of_random_faults_never_makes_two_leaders_and_always_makes_one_again() {
    for seed in 0..6 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ring = Ring::new();
        let stopping = Duration::from_secs(if seed % 2 == 0 { 3600 } else { 1 });
        let names = ["blue", "green", "grey"];
        let mut contenders: Vec<_> = names
            .iter()
            .map(|name| Some(ring.contend_with(name, stopping, |builder| builder)))
            .collect();
        let patrol = tokio::spawn(ring.watchman.clone().patrol(Duration::from_secs(4 * 3600)));
        for _ in 0..100 {
            let at = rng.usize(..names.len());
            match (&contenders[at], rng.u8(..9)) {
                (Some(one), 0 | 8) => one.network.down.store(true, Ordering::SeqCst),
                (Some(one), 1) => one.network.answers_lost.store(true, Ordering::SeqCst),
                (Some(one), 2) => one.network.there.store(rng.u64(..30_000), Ordering::SeqCst),
                (Some(one), 3) => one.network.back.store(rng.u64(..8_000), Ordering::SeqCst),
                (Some(_), 4) => contenders[at].take().unwrap().crash(),
                (Some(_), 5) => {
                    contenders[at].take().unwrap().stop().await;
                }
                (Some(one), _) => {
                    one.network.down.store(false, Ordering::SeqCst);
                    one.network.answers_lost.store(false, Ordering::SeqCst);
                    one.network.there.store(rng.u64(..200), Ordering::SeqCst);
                    one.network.back.store(rng.u64(..200), Ordering::SeqCst);
                }
                (None, _) => {
                    tokio::task::yield_now().await;
                    contenders[at] = Some(ring.contend_with(names[at], stopping, |builder| builder));
                }
            }
            sleep(Duration::from_millis(rng.u64(..50_000))).await;
        }
        for (at, name) in names.iter().enumerate() {
            if let Some(old) = contenders[at].take() {
                old.crash();
            }
            tokio::task::yield_now().await;
            contenders[at] = Some(ring.contend_with(name, stopping, |builder| builder));
        }
        within(60 * SECOND, "one leads in the end", || {
            contenders.iter().flatten().any(|one| one.observer.is_leading())
        })
        .await;
        patrol.abort();
        if let Err(error) = patrol.await {
            assert!(error.is_cancelled(), "seed {seed}: {error}");
        }
        assert!(
            ring.watchman.terms.lock().unwrap().len() > 5,
            "the faults changed leaders"
        );
    }
}

#[test]
fn times_that_contradict_each_other_are_refused_with_the_rule() {
    let s = Duration::from_secs;
    let build = |timing: Timing| {
        let path = Path {
            server: Arc::default(),
            network: Arc::default(),
            contender: "x",
        };
        Elector::builder(path).timing(timing).build().map(|_| ())
    };
    assert_eq!(build(Timing::default()), Ok(()));
    let mut odd = Timing::new(Duration::from_millis(15_500), s(10), s(2));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::LeaseDuration(_)))
    ));
    odd = Timing::new(s(10), s(10), s(2));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::RenewDeadline { .. }))
    ));
    odd = Timing::new(s(15), s(10), s(9));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::Retries { .. }))
    ));
    odd = Timing::new(s(15), s(10), s(0));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::RetryPeriod))
    ));
    odd = Timing::new(s(0), s(0), s(0));
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::LeaseDuration(_)))
    ));
    odd = Timing::default();
    odd.request_timeout = s(11);
    assert!(matches!(
        build(odd),
        Err(ElectorError::Timing(TimingError::RequestTimeout(_)))
    ));
    let path = Path {
        server: Arc::default(),
        network: Arc::default(),
        contender: "x",
    };
    assert_eq!(
        Elector::builder(path).identity("").build().map(|_| ()),
        Err(ElectorError::Identity)
    );
}
