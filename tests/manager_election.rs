//! Leader election against an API server: what goes over the wire, and what happens when the wire breaks.

#![expect(clippy::disallowed_methods, reason = "a test may run things side by side")]

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use informer::{
    Informer,
    controller::{Action, Context as ReconcileContext, Controller, reconcile_fn, trigger},
    manager::{
        Component, ComponentState, Context, Group, Handle, Manager, Signals,
        leader::{Elector, ElectorBuilder, FencingToken, LeaseLock, Lock, Observer},
    },
    reflector::ApiListWatch,
};
use informer_testkit::{ApiServer, Fault, On, Verb};
use k8s_openapi::api::{coordination::v1::Lease, core::v1::ConfigMap};
use serde_json::json;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

fn elector(server: &ApiServer, name: &str) -> ElectorBuilder {
    let lock = LeaseLock::new(server.client(), "default", "demo");
    assert_eq!(lock.name(), "default/demo");
    let seed = name.bytes().map(u64::from).sum();
    Elector::builder(lock)
        .identity(name)
        .rng(fastrand::Rng::with_seed(seed))
}

/// Who works now, and every term there was.
#[derive(Clone, Default)]
struct Work(Arc<Mutex<(Vec<String>, Vec<FencingToken>)>>);

struct AtWork(Work, String);

impl Work {
    fn begin(&self, token: &FencingToken) -> AtWork {
        let mut work = self.0.lock().unwrap();
        assert!(work.0.is_empty(), "{token} begins while {:?} works", work.0);
        work.0.push(token.holder().to_owned());
        work.1.push(token.clone());
        AtWork(self.clone(), token.holder().to_owned())
    }

    fn terms(&self) -> Vec<FencingToken> {
        self.0.lock().unwrap().1.clone()
    }
}

impl Drop for AtWork {
    fn drop(&mut self) {
        if let Ok(mut work) = self.0.0.lock() {
            work.0.retain(|name| *name != self.1);
        }
    }
}

/// A contender whose work stops only when it is dropped.
struct Contender {
    observer: Observer,
    stop: oneshot::Sender<()>,
    run: JoinHandle<()>,
}

fn contend(server: &ApiServer, work: &Work, name: &str) -> Contender {
    let elector = elector(server, name).build().unwrap();
    let observer = elector.observer();
    let (stop, stopped) = oneshot::channel::<()>();
    let work = work.clone();
    let run = tokio::spawn(async move {
        let shutdown = async {
            let _ = stopped.await;
        };
        elector
            .run(shutdown, |term| {
                let at_work = work.begin(term.token());
                async move {
                    let _at_work = at_work;
                    // Told to stop by the process it stops; by a lost lease only when it is dropped.
                    while !matches!(term.ended().await, informer::manager::leader::EndReason::Shutdown) {
                        std::future::pending::<()>().await;
                    }
                }
            })
            .await;
    });
    Contender { observer, stop, run }
}

async fn leads(contender: &Contender) -> Duration {
    let begin = Instant::now();
    let leading = async {
        while !contender.observer.is_leading() {
            sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(120), leading)
        .await
        .expect("it leads in the end");
    begin.elapsed()
}

fn stored(server: &ApiServer) -> Lease {
    serde_json::from_value(server.get("leases", "default", "demo").expect("there is a lease")).unwrap()
}

#[tokio::test(start_paused = true)]
async fn lease_on_the_server_has_the_form_that_go_reads() {
    let server = ApiServer::new();
    let blue = contend(&server, &Work::default(), "blue");
    leads(&blue).await;
    let lease = server.get("leases", "default", "demo").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "blue");
    assert_eq!(lease["spec"]["leaseDurationSeconds"], 15);
    assert_eq!(lease["spec"]["leaseTransitions"], 0);
    for field in ["acquireTime", "renewTime"] {
        let time = lease["spec"][field].as_str().unwrap();
        assert_eq!(
            time.len(),
            "2026-01-02T03:04:05.000006Z".len(),
            "six digits, no more and no fewer: {time}"
        );
        assert_eq!(&time[19..20], ".");
        assert!(time.ends_with('Z'));
    }
    let token = blue.observer.status().token.unwrap();
    assert!(token.matches(&stored(&server)));
    assert_eq!(Some(token.lease_uid()), stored(&server).metadata.uid.as_deref());
}

#[tokio::test(start_paused = true)]
async fn released_lease_is_taken_at_once_by_who_watches() {
    let server = ApiServer::new();
    let work = Work::default();
    let blue = contend(&server, &work, "blue");
    leads(&blue).await;
    let green = contend(&server, &work, "green");
    sleep(Duration::from_secs(30)).await;
    let _ = blue.stop.send(());
    blue.run.await.unwrap();
    assert!(
        leads(&green).await <= Duration::from_millis(100),
        "a look comes only every 2 to 4.4 s"
    );
    let terms = work.terms();
    assert_eq!(terms[1].is_newer_than(&terms[0]), Some(true));
    assert!(!terms[0].matches(&stored(&server)) && terms[1].matches(&stored(&server)));
}

#[tokio::test(start_paused = true)]
async fn refused_watch_costs_only_the_wait_for_the_next_look() {
    let server = ApiServer::new();
    server.faults().inject(On::watch("leases"), Fault::status(403));
    let work = Work::default();
    let blue = contend(&server, &work, "blue");
    leads(&blue).await;
    let green = contend(&server, &work, "green");
    sleep(Duration::from_secs(30)).await;
    let _ = blue.stop.send(());
    blue.run.await.unwrap();
    assert!(leads(&green).await <= Duration::from_millis(4_500));
}

#[tokio::test(start_paused = true)]
async fn server_that_hangs_ends_the_term_in_time_and_one_leads_again_after() {
    for fault in [
        Fault::Hang,
        Fault::Refuse,
        Fault::status(500),
        Fault::Html { code: 502 },
    ] {
        let server = ApiServer::new();
        let work = Work::default();
        let contenders = [contend(&server, &work, "blue"), contend(&server, &work, "green")];
        leads(&contenders[0]).await;
        sleep(Duration::from_secs(20)).await;
        let injected = server
            .faults()
            .inject(On::any().resource("leases"), fault.clone());
        sleep(Duration::from_secs(16)).await;
        assert!(
            contenders.iter().all(|one| !one.observer.is_leading()),
            "{fault:?}"
        );
        assert!(
            work.0.lock().unwrap().0.is_empty(),
            "work was dropped with the lease: {fault:?}"
        );
        let error = contenders[0].observer.status().last_error;
        assert!(
            error.is_some_and(|error| !error.contains('\n')),
            "one line: {fault:?}"
        );
        injected.remove();
        sleep(Duration::from_secs(30)).await;
        let leaders = contenders.iter().filter(|one| one.observer.is_leading()).count();
        assert_eq!(leaders, 1, "{fault:?}");
        assert_eq!(work.terms().len(), 2, "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn write_that_was_carried_out_without_an_answer_is_recognised() {
    let server = ApiServer::new();
    let work = Work::default();
    server.faults().inject(
        On::verb(Verb::Create).resource("leases").times(1),
        Fault::ResetAt { byte: 0 },
    );
    let blue = contend(&server, &work, "blue");
    let took = leads(&blue).await;
    assert!(
        took < Duration::from_secs(15),
        "its own lease need not run out: {took:?}"
    );
    let first = blue.observer.status().token;

    server.faults().inject(
        On::verb(Verb::Update).resource("leases").times(3),
        Fault::ResetAt { byte: 0 },
    );
    sleep(Duration::from_secs(30)).await;
    assert_eq!(blue.observer.status().token, first, "the term goes on");
    assert!(blue.observer.status().slow_renewals >= 1);
}

#[tokio::test(start_paused = true)]
async fn flaky_server_and_edits_by_others_do_not_end_the_term() {
    let server = ApiServer::new();
    let work = Work::default();
    let blue = contend(&server, &work, "blue");
    leads(&blue).await;
    let first = blue.observer.status().token;
    for n in 0..20 {
        server.faults().inject(
            On::any().resource("leases").times(1),
            Fault::status([500, 503, 429][n % 3]),
        );
        let mut lease = stored(&server);
        lease.metadata.annotations = Some([("n".to_owned(), n.to_string())].into());
        server.update("leases", lease).unwrap();
        sleep(Duration::from_secs(7)).await;
    }
    assert_eq!(blue.observer.status().token, first);
    assert_eq!(
        stored(&server).metadata.annotations.unwrap()["n"],
        "19",
        "what others wrote stays"
    );
}

#[tokio::test(start_paused = true)]
async fn what_somebody_has_to_mend_is_said_in_one_line() {
    let server = ApiServer::new();
    let missing = LeaseLock::new(server.client(), "nowhere", "demo");
    let error = missing.create(Lease::default()).await.unwrap_err().to_string();
    assert_eq!(
        error,
        "cannot create lease nowhere/demo: there is no namespace \"nowhere\""
    );

    server
        .faults()
        .inject(On::any().resource("leases"), Fault::status(403));
    let blue = contend(&server, &Work::default(), "blue");
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        blue.observer.status().last_error.as_deref(),
        Some(
            "cannot get lease default/demo: forbidden; allow get, create and update on leases.coordination.k8s.io there"
        )
    );
}

/// A whole replica: an informer, and a controller that says who reconciled what.
fn replica(server: &ApiServer, name: &'static str, log: &Arc<Mutex<Vec<String>>>) -> Manager {
    let maps = Informer::new(ApiListWatch::<ConfigMap>::all(server.client()));
    let changes = maps.clone();
    let log = Arc::clone(log);
    let make = move |context: &Context| {
        let log = Arc::clone(&log);
        let term = context.term().expect("controllers run in a term").clone();
        let reconcile = reconcile_fn(move |context: ReconcileContext| {
            let log = Arc::clone(&log);
            let term = term.clone();
            async move {
                term.check().map_err(informer::controller::Failure::retry)?;
                log.lock()
                    .unwrap()
                    .push(format!("{name} {}", context.key().name()));
                Ok(Action::done())
            }
        });
        Controller::builder(name, reconcile)
            .source(changes.subscribe(), trigger::itself())
            .build()
    };
    Manager::builder()
        .signals(Signals::Ignore)
        .leader_election(elector(server, name).build().unwrap())
        .component(Component::informer("maps", &maps))
        .component(Component::controller("keeper", make))
        .build()
        .unwrap()
}

async fn state(handle: &Handle, name: &str, state: ComponentState) {
    let reached = handle.wait_for(name, |component| {
        component.is_some_and(|component| component.state == state)
    });
    let reached = timeout(Duration::from_secs(600), reached).await;
    assert!(reached.is_ok(), "{name} never {state}: {:?}", handle.status());
}

#[tokio::test(start_paused = true)]
async fn two_replicas_share_the_work_one_after_the_other() {
    let server = ApiServer::new();
    let map = |name: &str| json!({ "metadata": { "namespace": "default", "name": name } });
    server.create("configmaps", map("one")).unwrap();
    let log = Arc::new(Mutex::new(Vec::new()));
    let manager = replica(&server, "blue", &log);
    let blue = manager.handle();
    let blue_run = tokio::spawn(manager.run());
    state(&blue, "keeper", ComponentState::Ready).await;
    let manager = replica(&server, "green", &log);
    let green = manager.handle();
    let green_run = tokio::spawn(manager.run());
    assert!(green.ready().await);
    sleep(Duration::from_secs(5)).await;
    server.create("configmaps", map("two")).unwrap();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        *log.lock().unwrap(),
        ["blue one", "blue two"],
        "the follower does nothing"
    );

    blue.stop();
    blue_run.await.unwrap().unwrap();
    let begin = Instant::now();
    state(&green, "keeper", ComponentState::Ready).await;
    sleep(Duration::from_millis(100)).await;
    assert!(
        begin.elapsed() < Duration::from_secs(1),
        "warm cache, watched lease: {:?}",
        begin.elapsed()
    );
    assert_eq!(
        log.lock().unwrap()[2..],
        ["green one", "green two"],
        "the new leader looks at everything once"
    );

    // The leader loses its lease and gets it again: the controller is made anew.
    let injected = server.faults().inject(On::any().resource("leases"), Fault::Hang);
    state(&green, "keeper", ComponentState::Standby).await;
    server.create("configmaps", map("three")).unwrap();
    sleep(Duration::from_secs(60)).await;
    assert_eq!(log.lock().unwrap().len(), 4, "nobody leads, nobody works");
    injected.remove();
    state(&green, "keeper", ComponentState::Ready).await;
    sleep(Duration::from_secs(1)).await;
    assert!(log.lock().unwrap().contains(&"green three".to_owned()));
    assert_eq!(
        green.status().component("maps").unwrap().runs,
        1,
        "the cache ran on"
    );
    green.stop();
    green_run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn election_waits_for_the_caches() {
    let server = ApiServer::new();
    let slow = Component::new("slow", |context: Context| async move {
        sleep(Duration::from_secs(20)).await;
        context.ready();
        context.stopping().await;
        Ok::<_, io::Error>(())
    });
    let manager = Manager::builder()
        .signals(Signals::Ignore)
        .leader_election(elector(&server, "blue").build().unwrap())
        .component(slow.reports_ready().group(Group::Caches))
        .build()
        .unwrap();
    let handle = manager.handle();
    let run = tokio::spawn(manager.run());
    sleep(Duration::from_secs(19)).await;
    assert!(
        server.get("leases", "default", "demo").is_none(),
        "a replica with cold caches does not contend"
    );
    sleep(Duration::from_secs(5)).await;
    assert!(handle.election().unwrap().is_leading());
    handle.stop();
    run.await.unwrap().unwrap();
    assert_eq!(stored(&server).spec.unwrap().holder_identity.as_deref(), Some(""));
}
