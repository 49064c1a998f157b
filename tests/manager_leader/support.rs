//! A lease on a server behind a network that can be made to fail, and contenders for it.
#![allow(unreachable_pub, reason = "shared by the files of one test crate")]

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
    Elector, ElectorBuilder, EndReason, Ended, FencingToken, Lock, LockError, Observer, Term, Timing,
};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::{
    sync::oneshot,
    task::JoinHandle,
    time::{Instant, sleep},
};

/// The lease as the API server would keep it.
#[derive(Default)]
pub struct Server {
    pub lease: Mutex<Option<Lease>>,
    pub version: AtomicU64,
    pub writes: Mutex<Vec<(String, Lease)>>,
}

impl Server {
    pub fn store(&self, writer: &str, mut lease: Lease, slot: &mut Option<Lease>) -> Lease {
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

    pub fn lease(&self) -> Lease {
        self.lease.lock().unwrap().clone().expect("a lease was stored")
    }

    pub fn holder(&self) -> String {
        self.lease().spec.unwrap().holder_identity.unwrap_or_default()
    }

    pub fn edit(&self, change: impl FnOnce(&mut Lease)) {
        let mut slot = self.lease.lock().unwrap();
        let mut lease = slot.clone().unwrap_or_default();
        change(&mut lease);
        self.store("editor", lease, &mut slot);
    }

    /// The holders in the order of the terms that were written.
    pub fn terms(&self) -> Vec<(String, i32)> {
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
pub struct Network {
    pub down: AtomicBool,
    pub answers_lost: AtomicBool,
    /// Milliseconds before a request arrives, and before its answer does.
    pub there: AtomicU64,
    pub back: AtomicU64,
    pub requests: AtomicUsize,
}

pub struct Path {
    pub server: Arc<Server>,
    pub network: Arc<Network>,
    pub contender: &'static str,
}

impl Path {
    /// A request travels on its own: it arrives even if the sender stops waiting for its answer.
    pub async fn carry<T: Send + 'static>(
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
pub struct Watchman {
    pub working: Arc<Mutex<Vec<(&'static str, Term)>>>,
    pub terms: Arc<Mutex<Vec<FencingToken>>>,
}

pub struct AtWork(pub Watchman, pub &'static str);

impl Watchman {
    pub fn begin(&self, name: &'static str, term: &Term) -> AtWork {
        let mut working = self.working.lock().unwrap();
        let others: Vec<_> = working.iter().map(|(other, _)| *other).collect();
        assert!(others.is_empty(), "{name} begins to work while {others:?} works");
        working.push((name, term.clone()));
        self.terms.lock().unwrap().push(term.token().clone());
        AtWork(self.clone(), name)
    }

    /// Asserts twenty times a second that no two terms can be relied upon.
    pub async fn patrol(self, length: Duration) {
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

pub struct Contender {
    pub network: Arc<Network>,
    pub observer: Observer,
    pub stop: Option<oneshot::Sender<()>>,
    pub run: JoinHandle<Ended>,
}

impl Contender {
    pub async fn stop(mut self) -> Ended {
        let _ = self.stop.take().expect("stopped once").send(());
        self.run.await.expect("the run does not panic")
    }

    pub fn crash(self) {
        self.run.abort();
    }
}

pub struct Ring {
    pub server: Arc<Server>,
    pub watchman: Watchman,
}

impl Ring {
    pub fn new() -> Self {
        Self {
            server: Arc::default(),
            watchman: Watchman::default(),
        }
    }

    pub fn builder(&self, name: &'static str, network: &Arc<Network>) -> ElectorBuilder {
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
    pub fn contend_with(
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

    pub fn contend(&self, name: &'static str) -> Contender {
        self.contend_with(name, Duration::from_millis(100), |builder| builder)
    }
}

pub fn timing() -> Timing {
    Timing::new(
        Duration::from_secs(15),
        Duration::from_secs(10),
        Duration::from_secs(2),
    )
}

pub async fn within(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < limit, "not within {limit:?}: {what}");
        sleep(Duration::from_millis(10)).await;
    }
    start.elapsed()
}

pub const SECOND: Duration = Duration::from_secs(1);
