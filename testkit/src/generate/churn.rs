//! Ongoing change: pods that come, change and go.

use serde_json::{Value, json};

use super::pod;
use crate::{server::ApiServer, status::ApiError};

/// Changes the pods of a server step by step; the same seed makes the same changes.
///
/// A step updates a pod (80 %), creates one (10 %) or deletes one (10 %), so that their number stays about the same.
#[derive(Debug)]
pub struct Churn {
    server: ApiServer,
    rng: fastrand::Rng,
    next: usize,
    alive: Vec<(String, String)>,
}

impl Churn {
    /// Starts with the pods the server has.
    pub fn new(server: &ApiServer, seed: u64) -> Self {
        let text = |pod: &Value, field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        let pods = server.list("pods", None);
        let alive = pods
            .iter()
            .map(|pod| (text(pod, "namespace"), text(pod, "name")))
            .collect();
        Self {
            server: server.clone(),
            rng: fastrand::Rng::with_seed(seed),
            next: 1_000_000,
            alive,
        }
    }

    /// Makes one change.
    ///
    /// # Errors
    /// None, unless somebody else deletes pods too: a pod that is gone is forgotten and the error handed on.
    pub fn step(&mut self) -> Result<(), ApiError> {
        let dice = if self.alive.is_empty() {
            0
        } else {
            self.rng.u8(0..10)
        };
        match dice {
            0 => self.create(),
            1 => self.delete(),
            _ => self.update(),
        }
    }

    fn create(&mut self) -> Result<(), ApiError> {
        let pod = pod(self.next, &mut self.rng);
        self.next += 1;
        let text = |field: &str| pod["metadata"][field].as_str().unwrap_or_default().to_owned();
        self.alive.push((text("namespace"), text("name")));
        self.server.ensure_namespace(&text("namespace"));
        self.server.load([pod]).map(|_| ())
    }

    fn delete(&mut self) -> Result<(), ApiError> {
        let at = self.rng.usize(0..self.alive.len());
        let (namespace, name) = self.alive.swap_remove(at);
        self.server.delete("pods", &namespace, &name).map(|_| ())
    }

    fn update(&mut self) -> Result<(), ApiError> {
        let at = self.rng.usize(0..self.alive.len());
        let (namespace, name) = self.alive[at].clone();
        let phase = if self.rng.u8(0..5) == 0 {
            "Pending"
        } else {
            "Running"
        };
        let restarts = self.rng.u32(..);
        let patch = json!({
            "metadata": {"annotations": {"churn/restarts": restarts.to_string()}},
            "status": {"phase": phase},
        });
        let done = self.server.patch("pods", &namespace, &name, patch);
        if done.is_err() {
            self.alive.swap_remove(at);
        }
        done.map(|_| ())
    }
}
