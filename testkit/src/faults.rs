//! Faults on request: what can go wrong, when, and how often it did.

mod body;
mod matcher;
mod op;
mod posted;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

pub(crate) use self::body::damage;
pub use self::{matcher::On, op::Fault};
pub(crate) use self::{matcher::is_resource, op::LONGEST_LINE};
use crate::{requests::Request, server::ApiServer, status::ApiError};

/// A rule in force: a fault, when it strikes and how often it did.
#[derive(Debug)]
struct Rule {
    id: u64,
    on: On,
    fault: Fault,
    seen: AtomicU64,
    hits: Arc<AtomicU64>,
}

impl Rule {
    /// Counts one more occasion and says whether the fault strikes on it.
    fn strikes(&self) -> bool {
        let seen = self.seen.fetch_add(1, Relaxed);
        let strikes = seen >= self.on.skip && self.on.times.is_none_or(|times| seen - self.on.skip < times);
        if strikes {
            self.hits.fetch_add(1, Relaxed);
        }
        strikes
    }
}

/// The faults of a server: [`ApiServer::faults`](crate::ApiServer::faults).
///
/// # Examples
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use informer_testkit::{ApiServer, Fault, On};
/// let server = ApiServer::new();
/// let second_list = server.faults().inject(On::list("pods").nth(2), Fault::status(500));
/// let (first, _) = server.request("GET", "/api/v1/pods", "").await;
/// let (second, _) = server.request("GET", "/api/v1/pods", "").await;
/// assert_eq!((first, second), (200, 500));
/// assert_eq!(second_list.count(), 1);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Faults {
    table: Arc<Table>,
}

/// All rules, shared by the server and the handles.
#[derive(Debug, Default)]
pub(crate) struct Table {
    rules: Mutex<Vec<Arc<Rule>>>,
    next_id: AtomicU64,
    /// Hits of rules that were removed, and of faults that are no rules, by name.
    past: Mutex<BTreeMap<&'static str, u64>>,
    refusing: AtomicBool,
    /// Quick answer to "is there any rule at all".
    armed: AtomicBool,
}

/// A fault that was put in force.
#[derive(Clone)]
pub struct Injected {
    table: Arc<Table>,
    id: u64,
    hits: Arc<AtomicU64>,
}

impl Injected {
    /// How often it struck.
    pub fn count(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    /// Its number, as `/_sim/faults` shows it.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Takes it out of force. Streams it already changed stay changed.
    pub fn remove(&self) {
        self.table.remove(self.id);
    }
}

impl fmt::Debug for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Injected")
            .field("id", &self.id)
            .field("count", &self.count())
            .finish()
    }
}

impl Faults {
    pub(crate) fn new(table: Arc<Table>) -> Self {
        Self { table }
    }

    /// Puts a fault in force.
    ///
    /// Rules are tried in the order they were injected; every rule that matches counts the occasion, and all faults
    /// that strike apply, except that the first one that replaces the whole answer wins.
    pub fn inject(&self, on: On, fault: Fault) -> Injected {
        let table = &self.table;
        let id = table.next_id.fetch_add(1, Relaxed) + 1;
        let hits = Arc::new(AtomicU64::new(0));
        let rule = Rule {
            id,
            on,
            fault,
            seen: AtomicU64::new(0),
            hits: Arc::clone(&hits),
        };
        table.lock_rules().push(Arc::new(rule));
        table.armed.store(true, Relaxed);
        Injected {
            table: Arc::clone(table),
            id,
            hits,
        }
    }

    /// Puts a fault in force that is written as JSON, as `/_sim/faults` and the command line take it:
    /// `{"on":{"verb":"list","resource":"pods","times":1},"fault":"status","code":429}`.
    ///
    /// # Errors
    /// 400 for anything else: unknown names and fields, and values that no answer can carry.
    pub fn inject_json(&self, json: impl AsRef<[u8]>) -> Result<Injected, ApiError> {
        let (on, fault) = posted::parse(json.as_ref())?;
        Ok(self.inject(on, fault))
    }

    /// Takes every fault out of force. The counts stay.
    pub fn clear(&self) {
        let ids: Vec<u64> = self.table.lock_rules().iter().map(|rule| rule.id).collect();
        for id in ids {
            self.table.remove(id);
        }
        self.refuse_connections(false);
    }

    /// Takes one fault out of force, by [`Injected::id`]. Returns whether it was there.
    pub fn remove(&self, id: u64) -> bool {
        self.table.remove(id)
    }

    /// While on, new connections are closed at once; in-process requests fail with the same error kind.
    pub fn refuse_connections(&self, on: bool) {
        self.table.refusing.store(on, Relaxed);
    }

    /// Deletes an object so that no watch can tell: open watches of the resource break first, and history is
    /// forgotten after. Only a new list shows it.
    ///
    /// # Errors
    /// What the API answers: not found.
    pub fn lose_delete(
        &self,
        server: &ApiServer,
        resource: &str,
        namespace: &str,
        name: &str,
    ) -> Result<(), ApiError> {
        server.watches().of(resource).reset();
        server.delete(resource, namespace, name)?;
        server.compact();
        self.table.count("loseDelete");
        Ok(())
    }

    /// How often each fault struck so far, by [`Fault::name`].
    pub fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.table.counts()
    }

    /// The faults in force: number, when, what, and how often it struck.
    pub fn rules(&self) -> Vec<(u64, On, Fault, u64)> {
        let rules = self.table.lock_rules();
        rules
            .iter()
            .map(|rule| {
                (
                    rule.id,
                    rule.on.clone(),
                    rule.fault.clone(),
                    rule.hits.load(Relaxed),
                )
            })
            .collect()
    }
}

impl Table {
    /// Faults that strike on a request.
    pub(crate) fn on_request(&self, request: &Request) -> Vec<Fault> {
        self.striking(|rule| rule.fault.is_per_request() && rule.on.matches_request(request))
    }

    /// Faults that strike on an object about to go out in a list or watch.
    pub(crate) fn on_object(&self, request: &Request, namespace: &str, name: &str) -> Vec<Fault> {
        self.striking(|rule| rule.fault.is_per_object() && rule.on.matches_object(request, namespace, name))
    }

    /// Faults that strike on an event about to go out in a watch.
    pub(crate) fn on_event(&self, request: &Request, namespace: &str, name: &str) -> Vec<Fault> {
        self.striking(|rule| {
            (rule.fault.is_per_event() || rule.fault.is_per_object())
                && rule.on.matches_object(request, namespace, name)
        })
    }

    /// Faults that strike on a bookmark about to go out in a watch.
    pub(crate) fn on_bookmark(&self, request: &Request) -> Vec<Fault> {
        self.striking(|rule| rule.fault.is_per_bookmark() && rule.on.matches_request(request))
    }

    /// Whether lists must look at each object.
    pub(crate) fn touches_objects(&self) -> bool {
        self.armed.load(Relaxed) && self.lock_rules().iter().any(|rule| rule.fault.is_per_object())
    }

    pub(crate) fn is_refusing(&self) -> bool {
        let refusing = self.refusing.load(Relaxed);
        if refusing {
            self.count("refuseConnections");
        }
        refusing
    }

    /// Hits by name.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        let mut counts = self.lock_past().clone();
        for rule in self.lock_rules().iter() {
            *counts.entry(rule.fault.name()).or_default() += rule.hits.load(Relaxed);
        }
        counts.retain(|_, count| *count > 0);
        counts
    }

    /// Counts a fault that is no rule.
    pub(crate) fn count(&self, name: &'static str) {
        *self.lock_past().entry(name).or_default() += 1;
    }

    fn striking(&self, matches: impl Fn(&Rule) -> bool) -> Vec<Fault> {
        if !self.armed.load(Relaxed) {
            return Vec::new();
        }
        let rules = self.lock_rules();
        rules
            .iter()
            .filter(|rule| matches(rule) && rule.strikes())
            .map(|rule| rule.fault.clone())
            .collect()
    }

    fn remove(&self, id: u64) -> bool {
        let mut rules = self.lock_rules();
        let Some(at) = rules.iter().position(|rule| rule.id == id) else {
            return false;
        };
        let rule = rules.remove(at);
        self.armed.store(!rules.is_empty(), Relaxed);
        drop(rules);
        *self.lock_past().entry(rule.fault.name()).or_default() += rule.hits.load(Relaxed);
        true
    }

    fn lock_rules(&self) -> MutexGuard<'_, Vec<Arc<Rule>>> {
        self.rules.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_past(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.past.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
