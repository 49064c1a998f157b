//! What happens to the embedded server meanwhile: pods come and go, somebody edits a ConfigMap, a namespace is deleted,
//! a connection breaks and a version expires.

use std::time::Duration;

use informer_testkit::{ApiServer, Fault, Injected, On, generate::Churn};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};

use crate::{
    counts::{Counts, NAME},
    live,
    support::{Result, say},
};

pub struct Trouble {
    server: ApiServer,
    churn: Churn,
    tick: Interval,
    dropped: Option<Injected>,
    expired: Option<Injected>,
}

impl Trouble {
    pub fn new(server: &ApiServer, per_second: u32) -> Self {
        let mut tick =
            tokio::time::interval((Duration::from_secs(1) / per_second.max(1)).max(Duration::from_millis(1)));
        tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
        Self {
            server: server.clone(),
            churn: Churn::new(server, 1),
            tick,
            dropped: None,
            expired: None,
        }
    }

    /// Waits for the next change of a pod and makes it.
    pub async fn change(&mut self) -> Result<()> {
        self.tick.tick().await;
        // A pod that went with its namespace cannot change any more; that is part of the game.
        drop(self.churn.step());
        Ok(())
    }

    /// What is due after so many seconds. What a run is too short for is left out, and the audit says so.
    pub fn second(&mut self, second: u64) -> Result<()> {
        match second {
            DROP_AT => {
                say!("       a connection breaks");
                let faults = self.server.faults();
                self.dropped = Some(faults.inject(On::watch("pods").times(1), Fault::ResetBefore));
            }
            2 => {
                say!("       somebody edits a ConfigMap by hand");
                self.server.patch(
                    "configmaps",
                    "ns-001",
                    NAME,
                    json!({"data": {"running": "-1", "mine": "!"}}),
                )?;
            }
            EXPIRE_AT => {
                say!("       a version expires (410)");
                let faults = self.server.faults();
                self.expired = Some(faults.inject(On::watch("pods").times(1), Fault::GoneEvent));
            }
            4 => {
                say!("       a namespace is deleted");
                self.server.delete("namespaces", "", "ns-002")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Whether a fault waits for its occasion: it takes a change of a pod, or a new watch.
    pub fn is_pending(&self) -> bool {
        let faults = [&self.dropped, &self.expired];
        faults.into_iter().flatten().any(|fault| fault.count() == 0)
    }

    /// What was survived, for the report; an error if it was not, or never happened.
    pub fn survived(&self, counts: &Counts) -> Result<String> {
        let relists = live::relists(counts);
        let mut report = format!(", {} events", live::events(counts));
        for (name, second, fault) in [
            ("dropped connection", DROP_AT, &self.dropped),
            ("expired version", EXPIRE_AT, &self.expired),
        ] {
            match fault.as_ref().map(Injected::count) {
                None => report.push_str(&format!(", no {name} in a run of {second} s or less")),
                Some(0) => return Err(format!("the {name} never happened").into()),
                Some(times) => report.push_str(&format!(", {times} {name}")),
            }
        }
        if self.expired.is_some() && relists == 0 {
            return Err("a version expired and nothing was listed anew".into());
        }
        let plural = if relists == 1 { "" } else { "s" };
        report.push_str(&format!(", {relists} relist{plural}"));
        Ok(report)
    }
}

/// The seconds after which the connection breaks and a version expires.
const DROP_AT: u64 = 1;
const EXPIRE_AT: u64 = 3;
