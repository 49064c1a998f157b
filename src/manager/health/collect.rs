//! The numbers of each layer under the names that Go's controllers use, so that dashboards made for those work.

use std::hash::Hash;

use informer_controller::{Handle as ControllerHandle, Key};
use informer_reflector::RelistReason;
use informer_store::Object;
use informer_workqueue::{Priority, Stats as QueueStats, WorkQueue};
use kube_core::{Resource as KubeResource, discovery::ApiResource};

use super::encoder::{Collect, Encoder};
use crate::{
    Informer,
    manager::{Handle, leader::Observer},
};

/// What an informer is about, as labels of its metrics: `name`, `group`, `version`, `resource`.
///
/// # Examples
///
/// ```
/// use informer::manager::health::Resource;
/// use k8s_openapi::api::apps::v1::Deployment;
///
/// let resource = Resource::of::<Deployment>().named("web-deployments");
/// assert_eq!(resource.name(), "web-deployments");
/// assert_eq!(Resource::of::<Deployment>().name(), "deployments");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Resource {
    name: String,
    group: String,
    version: String,
    resource: String,
}

impl Resource {
    /// A kind that is known when the program is built, named by its plural.
    pub fn of<K: KubeResource<DynamicType = ()>>() -> Self {
        Self {
            name: K::plural(&()).into_owned(),
            group: K::group(&()).into_owned(),
            version: K::version(&()).into_owned(),
            resource: K::plural(&()).into_owned(),
        }
    }

    /// A kind that is known at run time, named by its plural.
    pub fn dynamic(resource: &ApiResource) -> Self {
        Self {
            name: resource.plural.clone(),
            group: resource.group.clone(),
            version: resource.version.clone(),
            resource: resource.plural.clone(),
        }
    }

    /// Another name, to tell two informers of one kind apart.
    #[must_use]
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Its name in metrics, checks and `/debug`.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The metrics of a work queue that belongs to no controller: `workqueue_*` with the label `name`.
///
/// # Source
///
/// component-base `metrics/prometheus/workqueue`, with its names and buckets.
pub fn work_queue<T: Clone + Eq + Hash + Send + Sync + 'static>(
    queue: &WorkQueue<T>,
) -> impl Collect + use<T> {
    let queue = queue.clone();
    move |out: &mut Encoder| {
        let name = queue.name();
        // Ten bounds: what client-go exports.
        queue_stats(out, &[("name", name)], &queue.stats(), 10);
    }
}

/// The metrics of a controller and of its queue: `controller_runtime_*` with the label `controller`, `workqueue_*` with
/// `name` and `controller`.
///
/// # Source
///
/// controller-runtime `pkg/internal/controller/metrics` and `pkg/metrics/workqueue.go`.
pub fn controller<T: Key>(handle: &ControllerHandle<T>) -> impl Collect + use<T> {
    let handle = handle.clone();
    let name = handle.status().name;
    move |out: &mut Encoder| {
        let stats = handle.stats();
        let labels = [("controller", name)];
        let results = [
            ("success", stats.succeeded),
            ("requeue_after", stats.requeued_after),
            ("requeue", stats.requeued),
            ("error", stats.errors),
        ];
        for (result, count) in results {
            let labels = [("controller", name), ("result", result)];
            out.counter(
                "controller_runtime_reconcile_total",
                "Reconciles by result.",
                &labels,
                count,
            );
        }
        let counters = [
            (
                "controller_runtime_reconcile_errors_total",
                "Reconciles that failed.",
                stats.errors,
            ),
            (
                "controller_runtime_terminal_reconcile_errors_total",
                "Reconciles that failed for good.",
                stats.terminal_errors,
            ),
            (
                "controller_runtime_reconcile_panics_total",
                "Reconciles that panicked.",
                stats.panics,
            ),
            (
                "controller_runtime_reconcile_timeouts_total",
                "Reconciles that took too long.",
                stats.timeouts,
            ),
            (
                "informer_controller_events_total",
                "Changes that sources delivered.",
                stats.events,
            ),
            (
                "informer_controller_filtered_total",
                "Changes that a predicate left out.",
                stats.filtered,
            ),
            (
                "informer_controller_triggered_total",
                "Keys that triggers named.",
                stats.triggered,
            ),
            (
                "informer_controller_stuck_total",
                "Reconciles that ran for suspiciously long.",
                stats.stuck,
            ),
            (
                "informer_controller_abandoned_total",
                "Reconciles dropped by a stop.",
                stats.abandoned,
            ),
            (
                "informer_controller_source_panics_total",
                "Panics of sources, contained.",
                stats.source_panics,
            ),
            (
                "informer_controller_writes_awaited_total",
                "Writes that a key waited for.",
                stats.writes_awaited,
            ),
            (
                "informer_controller_writes_unseen_total",
                "Writes not seen in time.",
                stats.writes_unseen,
            ),
        ];
        for (metric, help, count) in counters {
            out.counter(metric, help, &labels, count);
        }
        out.gauge(
            "controller_runtime_max_concurrent_reconciles",
            "Workers there are.",
            &labels,
            stats.workers as f64,
        );
        out.gauge(
            "controller_runtime_active_workers",
            "Workers at work.",
            &labels,
            stats.active as f64,
        );
        out.histogram(
            "controller_runtime_reconcile_time_seconds",
            "How long reconciles took.",
            &labels,
            stats.reconcile_time.buckets(),
            stats.reconcile_time.sum(),
            stats.reconcile_time.count(),
        );
        let queue = handle.queue();
        let queue_name = if queue.name().is_empty() {
            name
        } else {
            queue.name()
        };
        queue_stats(
            out,
            &[("name", queue_name), ("controller", name)],
            &queue.stats(),
            12,
        );
    }
}

/// The metrics of an informer: `reflector_*` with the label `name`, `informer_*` with `name`, `group`, `version`,
/// `resource`.
///
/// # Source
///
/// client-go `tools/cache` `MetricsProvider` and component-base `metrics/prometheus/clientgo`.
pub fn informer<K: Object>(resource: &Resource, informer: &Informer<K>) -> impl Collect + use<K> {
    let informer = informer.clone();
    let resource = resource.clone();
    move |out: &mut Encoder| {
        let stats = informer.reflector().stats();
        let name = [("name", resource.name.as_str())];
        let reflected = [
            ("reflector_lists_total", "Lists begun.", stats.lists),
            ("reflector_watches_total", "Watches begun.", stats.watches),
            (
                "reflector_short_watches_total",
                "Watches that ended at once or empty.",
                stats.short_watches,
            ),
        ];
        for (metric, help, count) in reflected {
            out.counter(metric, help, &name, count);
        }
        let summaries = [
            (
                "reflector_list_duration_seconds",
                "How long lists took, all pages, streaming ones included.",
                stats.list_time.as_secs_f64(),
                stats.lists_taken,
            ),
            (
                "reflector_items_per_list",
                "Objects that lists brought.",
                stats.listed_items as f64,
                stats.lists_taken,
            ),
            (
                "reflector_watch_duration_seconds",
                "How long watches were open that have ended.",
                stats.watch_time.as_secs_f64(),
                stats.watches_ended,
            ),
            (
                "reflector_items_per_watch",
                "Events that watches brought that have ended.",
                stats.watched_events as f64,
                stats.watches_ended,
            ),
        ];
        for (metric, help, sum, count) in summaries {
            out.summary(metric, help, &name, sum, count);
        }
        let version = last_digits(informer.reflector().resource_version().to_string());
        out.gauge(
            "reflector_last_resource_version",
            "Version delivered, its last 15 digits.",
            &name,
            version,
        );

        let labels = [
            ("name", resource.name.as_str()),
            ("group", resource.group.as_str()),
            ("version", resource.version.as_str()),
            ("resource", resource.resource.as_str()),
        ];
        let counters = [
            ("informer_events_total", "Events received.", stats.events),
            ("informer_bytes_total", "Bytes of answers read.", stats.bytes),
            (
                "informer_retries_total",
                "Attempts made after a failure.",
                stats.retries,
            ),
            (
                "informer_throttled_total",
                "Requests answered 429.",
                stats.throttled,
            ),
            (
                "informer_unreadable_total",
                "Lines of a watch that could not be read.",
                stats.unreadable,
            ),
            (
                "informer_quarantined_total",
                "Objects put into quarantine.",
                stats.quarantined,
            ),
            (
                "informer_dropped_events_total",
                "Events older than what is held.",
                stats.duplicates,
            ),
            (
                "informer_watchdog_trips_total",
                "Times the server was silent for too long.",
                stats.watchdog_trips,
            ),
            (
                "informer_audit_differences_total",
                "Differences an audit found.",
                stats.audit_differences,
            ),
        ];
        for (metric, help, count) in counters {
            out.counter(metric, help, &labels, count);
        }
        for reason in RelistReason::ALL {
            let mut labels = labels.to_vec();
            labels.push(("reason", reason.as_str()));
            out.counter(
                "informer_relists_total",
                "Lists made anew.",
                &labels,
                stats.relists(reason),
            );
        }
        let cache = informer.cache();
        let version = last_digits(cache.resource_version().to_string());
        let gauges = [
            (
                "informer_queued_items",
                "Changes on their way to the cache.",
                informer.queue().stats().depth as f64,
            ),
            (
                "informer_store_objects",
                "Objects in the cache.",
                cache.len() as f64,
            ),
            (
                "informer_store_resource_version",
                "Version of the cache, its last 15 digits.",
                version,
            ),
            (
                "informer_synced",
                "Whether the first list was applied.",
                f64::from(u8::from(informer.is_synced())),
            ),
            (
                "informer_quarantine_objects",
                "Objects in quarantine.",
                informer.quarantined().len() as f64,
            ),
        ];
        for (metric, help, value) in gauges {
            out.gauge(metric, help, &labels, value);
        }
        if let Some(last) = stats.last_event {
            let help = "How long ago the last event of a watch came.";
            let age = last.elapsed().as_secs_f64();
            out.gauge("informer_last_event_age_seconds", help, &labels, age);
        }
        if let Some(age) = informer.reflector().age() {
            let help = "How long ago the server last proved that the cache is current.";
            out.gauge("informer_watch_gap_seconds", help, &labels, age.as_secs_f64());
        }
    }
}

/// The metrics of an election: `leader_election_*` with the label `name`.
///
/// # Source
///
/// component-base `metrics/prometheus/clientgo/leaderelection`.
pub fn election(observer: &Observer) -> impl Collect + use<> {
    let observer = observer.clone();
    move |out: &mut Encoder| {
        let status = observer.status();
        // The name of the lease alone, as client-go has it.
        let name = observer.name().rsplit('/').next().unwrap_or_default();
        let labels = [("name", name)];
        let leads = f64::from(u8::from(observer.is_leading()));
        out.gauge(
            "leader_election_master_status",
            "Whether this process leads.",
            &labels,
            leads,
        );
        let slow = status.slow_renewals;
        out.counter(
            "leader_election_slowpath_total",
            "Renewals that needed a second look.",
            &labels,
            slow,
        );
        out.counter(
            "informer_leader_election_terms_total",
            "Terms begun.",
            &labels,
            status.terms,
        );
    }
}

/// The metrics of a manager's components: `informer_manager_*` with the label `component`.
pub fn lifecycle(handle: &Handle) -> impl Collect + use<> {
    let handle = handle.clone();
    move |out: &mut Encoder| {
        for component in handle.status().components {
            let labels = [("component", component.name.as_str())];
            let healthy = f64::from(u8::from(component.is_healthy()));
            out.gauge(
                "informer_manager_component_healthy",
                "Whether it does what it should.",
                &labels,
                healthy,
            );
            let counters = [
                (
                    "informer_manager_component_runs_total",
                    "Times it was run.",
                    component.runs,
                ),
                (
                    "informer_manager_component_failures_total",
                    "Runs that failed.",
                    component.failures,
                ),
                (
                    "informer_manager_component_panics_total",
                    "Runs that panicked.",
                    component.panics,
                ),
            ];
            for (metric, help, count) in counters {
                out.counter(metric, help, &labels, u64::from(count));
            }
        }
    }
}

fn queue_stats(out: &mut Encoder, labels: &[(&str, &str)], stats: &QueueStats, buckets: usize) {
    out.gauge(
        "workqueue_depth",
        "Keys that wait for a worker.",
        labels,
        stats.depth as f64,
    );
    out.counter("workqueue_adds_total", "Keys added.", labels, stats.adds);
    out.counter("workqueue_retries_total", "Keys retried.", labels, stats.retries);
    let durations = [
        (
            "workqueue_queue_duration_seconds",
            "How long keys waited for a worker.",
            &stats.queue_duration,
        ),
        (
            "workqueue_work_duration_seconds",
            "How long workers took.",
            &stats.work_duration,
        ),
    ];
    for (metric, help, durations) in durations {
        let bounds = durations.buckets().take(buckets);
        out.histogram(metric, help, labels, bounds, durations.sum(), durations.count());
    }
    let gauges = [
        (
            "workqueue_unfinished_work_seconds",
            "Age of all runs that have not ended, summed.",
            stats.unfinished_work.as_secs_f64(),
        ),
        (
            "workqueue_longest_running_processor_seconds",
            "Age of the oldest run.",
            stats.longest_running.as_secs_f64(),
        ),
        (
            "informer_workqueue_delayed_items",
            "Keys that wait for their delay.",
            stats.delayed as f64,
        ),
        (
            "informer_workqueue_running_items",
            "Keys being worked on.",
            stats.running as f64,
        ),
        (
            "informer_workqueue_failing_items",
            "Keys whose last run failed.",
            stats.failing as f64,
        ),
    ];
    for (metric, help, value) in gauges {
        out.gauge(metric, help, labels, value);
    }
    out.counter(
        "informer_workqueue_dead_letters_total",
        "Keys given up.",
        labels,
        stats.dead_letters,
    );
    for (lane, oldest) in Priority::ALL.iter().zip(stats.oldest_ready) {
        let lane = format!("{lane:?}").to_lowercase();
        let mut labels = labels.to_vec();
        labels.push(("lane", &lane));
        let age = oldest.unwrap_or_default().as_secs_f64();
        out.gauge(
            "informer_workqueue_oldest_ready_seconds",
            "Wait of the oldest key.",
            &labels,
            age,
        );
    }
    for (reason, count) in &stats.parked {
        let mut labels = labels.to_vec();
        labels.push(("reason", reason));
        out.gauge(
            "informer_workqueue_parked_items",
            "Keys that are parked.",
            &labels,
            *count as f64,
        );
    }
}

/// A version as a gauge: its last 15 digits, which a float holds exactly; 0 if it is not a number.
fn last_digits(version: String) -> f64 {
    let from = version.len().saturating_sub(15);
    version
        .get(from..)
        .and_then(|digits| digits.parse::<u64>().ok())
        .map_or(0.0, |digits| digits as f64)
}
