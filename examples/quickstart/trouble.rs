//! What happens to the embedded server meanwhile: pods come and go, somebody edits a ConfigMap, a namespace is deleted,
//! a connection breaks and a version expires.

use std::time::Duration;

use informer_testkit::{ApiServer, Fault, Injected, On, generate::Churn};
use serde_json::json;
use tokio::time::{Interval, MissedTickBehavior};

use crate::{
    counts::{Counts, NAME},
    live,
    support::Result,
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

    /// What is due after so many seconds.
    pub fn second(&mut self, second: u64) -> Result<()> {
        match second {
            1 => {
                println!("       a connection breaks");
                let faults = self.server.faults();
                self.dropped = Some(faults.inject(On::watch("pods").times(1), Fault::ResetBefore));
            }
            2 => {
                println!("       somebody edits a ConfigMap by hand");
                self.server.patch(
                    "configmaps",
                    "ns-001",
                    NAME,
                    json!({"data": {"running": "-1", "mine": "!"}}),
                )?;
            }
            3 => {
                println!("       a version expires (410)");
                let faults = self.server.faults();
                self.expired = Some(faults.inject(On::watch("pods").times(1), Fault::GoneEvent));
            }
            4 => {
                println!("       a namespace is deleted");
                self.server.delete("namespaces", "", "ns-002")?;
            }
            _ => {}
        }
        Ok(())
    }

    /// What was survived, for the report; an error if it was not, or never happened.
    pub fn survived(&self, counts: &Counts) -> Result<String> {
        for (name, fault) in [
            ("dropped connection", &self.dropped),
            ("expired version", &self.expired),
        ] {
            if fault.as_ref().is_some_and(|fault| fault.count() == 0) {
                return Err(format!("the {name} never happened; give it more --seconds or --churn").into());
            }
        }
        let relists = live::relists(counts);
        if self.expired.is_some() && relists == 0 {
            return Err("a version expired and nothing was listed anew".into());
        }
        let dropped = self.dropped.as_ref().map_or(0, Injected::count);
        Ok(format!(
            ", {} events, {dropped} dropped connection, {relists} relist",
            live::events(counts)
        ))
    }
}
