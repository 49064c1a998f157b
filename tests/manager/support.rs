//! Components that note what happens to them, and a lease in memory.
#![allow(unreachable_pub, reason = "shared by the files of one test crate")]

use std::{
    future::Future,
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use informer::manager::{
    BoxError, Component, ComponentState, Context, Group, Handle, Manager, ManagerBuilder, ManagerError,
    Runnable, Signals, Status,
    leader::{Elector, Lock, LockError},
};
use k8s_openapi::api::coordination::v1::Lease;
use tokio::{task::JoinHandle, time::sleep};

/// What happened, in order.
#[derive(Clone, Default)]
pub struct Log(pub Arc<Mutex<Vec<String>>>);

impl Log {
    pub fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, what: &str) -> usize {
        self.all().iter().filter(|line| *line == what).count()
    }

    pub fn before(&self, first: &str, second: &str) {
        let all = self.all();
        let at = |what| {
            all.iter()
                .position(|line| line == what)
                .unwrap_or_else(|| panic!("no {what} in {all:?}"))
        };
        assert!(at(first) < at(second), "{first} before {second} in {all:?}");
    }
}

/// A component that notes its start and its end, and takes a second to get ready and to stop.
pub fn slow(log: &Log, name: &'static str, group: Group) -> Component {
    let log = log.clone();
    Component::new(name, move |context: Context| {
        let log = log.clone();
        async move {
            log.note(format!("{name} up"));
            sleep(SECOND).await;
            log.note(format!("{name} ready"));
            context.ready();
            context.stopping().await;
            log.note(format!("{name} told"));
            sleep(SECOND).await;
            log.note(format!("{name} down"));
            Ok::<_, io::Error>(())
        }
    })
    .reports_ready()
    .group(group)
}

pub fn failing(name: &'static str, runs: &Arc<AtomicU32>) -> Component {
    let runs = Arc::clone(runs);
    Component::new(name, move |_| {
        runs.fetch_add(1, Ordering::SeqCst);
        async { Err::<(), _>(io::Error::other("no luck")) }
    })
}

pub fn builder() -> ManagerBuilder {
    Manager::builder()
        .signals(Signals::Ignore)
        .rng(fastrand::Rng::with_seed(7))
}

pub fn start(manager: Manager) -> (Handle, JoinHandle<Result<Status, ManagerError>>) {
    (manager.handle(), tokio::spawn(manager.run()))
}

pub async fn state(handle: &Handle, name: &str, state: ComponentState) {
    let waited = tokio::time::timeout(
        Duration::from_secs(3600),
        handle.wait_for(name, |component| {
            component.is_some_and(|component| component.state == state)
        }),
    );
    waited
        .await
        .unwrap_or_else(|_| panic!("{name} never {state}: {:?}", handle.status()));
}

pub const SECOND: Duration = Duration::from_secs(1);

/// What one component of a random manager does.
pub fn random(rng: &mut fastrand::Rng, log: &Log, name: String, group: Group) -> Component {
    let (warm, cool) = (rng.u64(..5_000), rng.u64(..8_000));
    let fails = rng.u8(..4) == 0;
    let log = log.clone();
    let component = Component::new(name.clone(), move |context: Context| {
        let (log, name) = (log.clone(), name.clone());
        async move {
            log.note(format!("{name} up"));
            sleep(Duration::from_millis(warm)).await;
            if fails && context.run() < 3 {
                log.note(format!("{name} down"));
                assert_ne!(context.run(), 1, "a panic");
                return Err(io::Error::other("no luck"));
            }
            log.note(format!("{name} ready"));
            context.ready();
            context.stopping().await;
            log.note(format!("{name} told"));
            sleep(Duration::from_millis(cool)).await;
            log.note(format!("{name} down"));
            Ok(())
        }
    });
    component.reports_ready().group(group).stop_timeout(20 * SECOND)
}

/// A runnable as a type of one's own.
pub struct Sweeper(pub Log);

#[async_trait]
impl Runnable for Sweeper {
    async fn run(&self, context: Context) -> Result<(), BoxError> {
        self.0.note(format!("{} runs", context.name()));
        context.stopping().await;
        assert!(context.is_stopping());
        Ok(())
    }
}

/// A lease in memory whose server can be made to fail.
#[derive(Clone, Default)]
pub struct Memory {
    pub lease: Arc<Mutex<Option<Lease>>>,
    pub down: Arc<AtomicU32>,
}

impl Memory {
    pub fn write(&self, mut lease: Lease, create: bool) -> Result<Lease, LockError> {
        if self.down.load(Ordering::SeqCst) > 0 {
            return Err(LockError::Other("refused".into()));
        }
        let mut held = self.lease.lock().unwrap();
        let version = held
            .as_ref()
            .and_then(|lease| lease.metadata.resource_version.clone());
        if create != held.is_none() || version != lease.metadata.resource_version {
            return Err(LockError::Conflict);
        }
        let next = version.map_or(0, |version| version.parse::<u64>().unwrap()) + 1;
        lease.metadata.resource_version = Some(next.to_string());
        *held = Some(lease.clone());
        Ok(lease)
    }

    pub fn holder(&self) -> Option<String> {
        self.lease
            .lock()
            .unwrap()
            .as_ref()?
            .spec
            .as_ref()?
            .holder_identity
            .clone()
    }

    pub fn elector(&self, name: &str) -> Elector {
        Elector::builder(self.clone())
            .identity(name)
            .rng(fastrand::Rng::with_seed(3))
            .build()
            .unwrap()
    }
}

#[async_trait]
impl Lock for Memory {
    fn name(&self) -> String {
        "test/lease".to_owned()
    }

    async fn get(&self) -> Result<Option<Lease>, LockError> {
        if self.down.load(Ordering::SeqCst) > 0 {
            return Err(LockError::Other("refused".into()));
        }
        Ok(self.lease.lock().unwrap().clone())
    }

    async fn create(&self, lease: Lease) -> Result<Lease, LockError> {
        self.write(lease, true)
    }

    async fn replace(&self, lease: Lease) -> Result<Lease, LockError> {
        self.write(lease, false)
    }
}

/// A controller that notes when it works and with which lease it is sure to.
pub fn led(log: &Log, who: &'static str) -> Component {
    let log = log.clone();
    Component::new("controller", move |context: Context| {
        let log = log.clone();
        async move {
            let term = context.term().expect("it runs in a term").clone();
            assert_eq!(term.check().unwrap().holder(), who);
            log.note(format!("{who} works"));
            context.stopping().await;
            sleep(SECOND).await;
            assert!(term.check().is_ok(), "the lease outlives the work");
            log.note(format!("{who} rests"));
            Ok::<_, io::Error>(())
        }
    })
}

pub async fn eventually<F: Future<Output = ()>>(what: &str, future: F) {
    assert!(
        tokio::time::timeout(Duration::from_secs(600), future)
            .await
            .is_ok(),
        "never: {what}"
    );
}
