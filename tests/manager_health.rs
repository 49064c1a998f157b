//! Health: checks, metrics and debug as text, and what they must not tell.

#![expect(clippy::disallowed_methods, reason = "a test may run things side by side")]

use std::{net::IpAddr, sync::Arc, time::Duration};

use informer::{
    Informer, WorkQueue,
    controller::{Action, Context as ReconcileContext, Controller, Failure, reconcile_fn, trigger},
    manager::{
        Component, Context, Group, Manager, Signals,
        health::{Access, Encoder, Health, Reasons, Request, Resource, Response, work_queue},
    },
    reflector::ApiListWatch,
};
use informer_testkit::{ApiServer, Fault, On};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::{Value, json};

const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

fn get(health: &Health, target: &str) -> Response {
    health.respond(&Request::get(target))
}

/// The samples of a text, without comments; fails on lines that Prometheus would not take.
fn samples(text: &str) -> Vec<(String, f64)> {
    let mut family = String::new();
    let mut seen = Vec::new();
    let mut samples: Vec<(String, f64)> = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            family = rest.split(' ').next().unwrap().to_owned();
            assert!(!seen.contains(&family), "{family} is in one place");
            seen.push(family.clone());
            continue;
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert_eq!(name, family);
            assert!(
                ["counter", "gauge", "histogram", "summary"].contains(&kind),
                "{line}"
            );
            continue;
        }
        let (series, value) = line
            .rsplit_once(' ')
            .unwrap_or_else(|| panic!("not a sample: {line:?}"));
        let name = series.split('{').next().unwrap();
        assert!(name.starts_with(&family), "{name} belongs to {family}");
        assert!(
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':'),
            "{name}"
        );
        assert!(
            !samples.iter().any(|(known, _)| known == series),
            "{series} twice"
        );
        let value = value
            .replace("Inf", "inf")
            .parse()
            .unwrap_or_else(|_| panic!("not a number: {line:?}"));
        samples.push((series.to_owned(), value));
    }
    samples
}

fn value(text: &str, series: &str) -> f64 {
    let all = samples(text);
    let found = all.iter().find(|(known, _)| known == series);
    found.unwrap_or_else(|| panic!("no {series} in\n{text}")).1
}

#[test]
fn probes_answer_in_the_form_of_kube_apiserver() {
    let health = Health::new();
    assert_eq!(
        (get(&health, "/livez").status, &*get(&health, "/livez").body),
        (200, "ok")
    );
    health.ready("a", || Ok(()));
    health.ready("b", || Err("the secret reason".to_owned()));
    let check = |target: &str, status: u16, body: &str| {
        let answer = get(&health, target);
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{target}");
        assert_eq!(answer.content_type, "text/plain; charset=utf-8");
    };
    check("/livez?verbose", 200, "[+]ping ok\nlivez check passed\n");
    check("/healthz?verbose", 200, "[+]ping ok\nhealthz check passed\n");
    check(
        "/readyz",
        500,
        "[+]ping ok\n[+]a ok\n[-]b failed: reason withheld\nreadyz check failed\n",
    );
    check("/readyz?exclude=b", 200, "ok");
    check(
        "/readyz?exclude=b&verbose=1",
        200,
        "[+]ping ok\n[+]a ok\n[+]b excluded: ok\nreadyz check passed\n",
    );
    check(
        "/readyz?exclude=b&exclude=no%20%22such%22%0Ax&verbose",
        200,
        "warn: some health checks cannot be excluded: no matches for \"no \\\"such\\\" x\"\n[+]ping ok\n[+]a ok\n[+]b excluded: ok\nreadyz check passed\n",
    );
    check("/readyz/a", 200, "ok");
    check("/readyz/b", 500, "b failed: reason withheld\n");
    check("/readyz/c", 404, "no check of that name: see /readyz?verbose\n");
    check("/livez/a", 404, "no check of that name: see /livez?verbose\n");
    check("/", 404, "not found: try /livez, /readyz, /metrics\n");
    let mut post = Request::get("/readyz");
    post.method = "POST";
    assert_eq!(health.respond(&post).status, 405);

    let open = health.clone().reasons(Reasons::Shown);
    assert_eq!(get(&open, "/readyz/b").body, "b failed: the secret reason\n");
    health.remove("b");
    assert_eq!(get(&open, "/readyz").status, 200, "clones share the checks");
}

#[test]
fn what_panics_fails_alone() {
    let health = Health::new().debug(Access::Anywhere);
    health.live("jumpy", || panic!("boo"));
    health.live("calm", || Ok(()));
    health.collect("jumpy", |out: &mut Encoder| {
        out.counter("before_total", "Before.", &[], 1);
        panic!("boo");
    });
    health.collect("still", |out: &mut Encoder| {
        out.counter("still_total", "Still.", &[], 2)
    });
    health.describe("jumpy", || panic!("boo"));
    health.describe("calm", || json!(3));
    assert_eq!(
        get(&health, "/livez").body,
        "[+]ping ok\n[+]calm ok\n[-]jumpy failed: reason withheld\nlivez check failed\n"
    );
    assert_eq!(value(&health.metrics(), "before_total"), 1.0);
    assert_eq!(value(&health.metrics(), "still_total"), 2.0);
    assert_eq!(get(&health, "/debug/calm").body, "3\n");
    assert_eq!(get(&health, "/debug").status, 200);
}

#[test]
fn metrics_are_valid_whatever_they_are_called() {
    let health = Health::new();
    health.collect("one", |out: &mut Encoder| {
        out.gauge("depth", "How\ndeep \\ it is.", &[("name", "a\"b\\c\nd")], 1.5);
        out.gauge("9 lives!", "Odd.", &[("1st-label:x", "ü")], f64::NEG_INFINITY);
        out.gauge("not_a_number", "Odd.", &[], f64::NAN);
        out.histogram(
            "took_seconds",
            "Took.",
            &[("name", "q")],
            [
                (Duration::from_nanos(10), 1),
                (Duration::from_micros(100), 2),
                (Duration::from_secs(1000), 3),
            ],
            Duration::from_millis(1500),
            4,
        );
    });
    health.collect("two", |out: &mut Encoder| {
        out.gauge("depth", "Other help.", &[("name", "second")], 2.0);
        out.gauge("depth", "Twice.", &[("name", "second")], 3.0);
        out.counter("depth", "Another type.", &[("name", "third")], 3);
    });
    let text = health.metrics();
    samples(&text);
    let expected = [
        "# HELP depth How\\ndeep \\\\ it is.\n# TYPE depth gauge\n",
        "depth{name=\"a\\\"b\\\\c\\nd\"} 1.5\ndepth{name=\"second\"} 2\n",
        "_9_lives_{_1st_label_x=\"ü\"} -Inf\n",
        "not_a_number NaN\n",
        "took_seconds_bucket{name=\"q\",le=\"1e-08\"} 1\n",
        "took_seconds_bucket{name=\"q\",le=\"0.0001\"} 2\n",
        "took_seconds_bucket{name=\"q\",le=\"1000\"} 3\n",
        "took_seconds_bucket{name=\"q\",le=\"+Inf\"} 4\n",
        "took_seconds_sum{name=\"q\"} 1.5\ntook_seconds_count{name=\"q\"} 4\n",
        "informer_metrics_dropped_samples 2\n",
    ];
    for part in expected {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn metrics_are_bounded() {
    let health = Health::new();
    health.collect("endless", |out: &mut Encoder| {
        for n in 0..120_000 {
            out.gauge("series", "Too many.", &[("n", &n.to_string())], 0.0);
        }
    });
    let text = health.metrics();
    assert_eq!(value_of_last(&text, "informer_metrics_dropped_samples"), 20_000.0);
    assert_eq!(
        text.lines().filter(|line| line.starts_with("series{")).count(),
        100_000
    );
}

fn value_of_last(text: &str, series: &str) -> f64 {
    let line = text.lines().find(|line| line.starts_with(series)).unwrap();
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[test]
fn debug_is_off_by_default_and_then_for_this_machine_only() {
    let there: IpAddr = "10.0.0.7".parse().unwrap();
    let v6: IpAddr = "::1".parse().unwrap();
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().unwrap();
    let health = Health::new();
    health.describe("part", || json!({ "n": 1 }));
    assert_eq!(health.respond(&Request::get("/debug").from(HERE)).status, 404);

    let local = health.clone().debug(Access::Loopback);
    for peer in [HERE, v6, mapped] {
        assert_eq!(
            local.respond(&Request::get("/debug").from(peer)).status,
            200,
            "{peer}"
        );
    }
    for host in ["localhost", "LOCALHOST:8080", "127.0.0.1:1", "[::1]:80"] {
        assert_eq!(
            local
                .respond(&Request::get("/debug").from(HERE).host(host))
                .status,
            200,
            "{host}"
        );
    }
    for host in ["evil.example", "127.0.0.1.evil.example:80", "[::2]:80", ""] {
        assert_eq!(
            local
                .respond(&Request::get("/debug").from(HERE).host(host))
                .status,
            403,
            "{host}"
        );
    }
    assert_eq!(local.respond(&Request::get("/debug").from(there)).status, 403);
    assert_eq!(
        local.respond(&Request::get("/debug")).status,
        403,
        "nobody in particular is not local"
    );
    assert_eq!(
        local.respond(&Request::get("/debug/part").from(HERE)).body,
        "{\n  \"n\": 1\n}\n"
    );
    assert_eq!(
        local.respond(&Request::get("/debug/other").from(HERE)).status,
        404
    );

    let open = health.debug(Access::Anywhere);
    assert_eq!(open.respond(&Request::get("/debug").from(there)).status, 200);
}

#[tokio::test(start_paused = true)]
async fn queue_shows_the_names_of_client_go() {
    let queue = WorkQueue::<String>::builder().name("jobs").build();
    queue.add("a".to_owned());
    queue.add("b".to_owned());
    let held = queue.next().await.unwrap();
    tokio::time::advance(Duration::from_secs(2)).await;
    let health = Health::new();
    health.collect("jobs", work_queue(&queue));
    let text = health.metrics();
    assert_eq!(value(&text, "workqueue_depth{name=\"jobs\"}"), 1.0);
    assert_eq!(value(&text, "workqueue_adds_total{name=\"jobs\"}"), 2.0);
    assert_eq!(
        value(&text, "workqueue_unfinished_work_seconds{name=\"jobs\"}"),
        2.0
    );
    assert_eq!(
        value(
            &text,
            "workqueue_longest_running_processor_seconds{name=\"jobs\"}"
        ),
        2.0
    );
    held.done();
    let text = health.metrics();
    assert_eq!(
        value(&text, "workqueue_work_duration_seconds_sum{name=\"jobs\"}"),
        2.0
    );
    assert_eq!(
        value(
            &text,
            "workqueue_work_duration_seconds_bucket{name=\"jobs\",le=\"1\"}"
        ),
        0.0
    );
    assert_eq!(
        value(
            &text,
            "workqueue_work_duration_seconds_bucket{name=\"jobs\",le=\"10\"}"
        ),
        1.0
    );
    let buckets = samples(&text)
        .iter()
        .filter(|(name, _)| name.starts_with("workqueue_queue_duration_seconds_b"))
        .count();
    assert_eq!(buckets, 11, "ten bounds as client-go has them, and infinity");
}

#[tokio::test(start_paused = true)]
async fn informer_and_controller_are_shown_without_what_objects_contain() {
    const CANARY: &str = "hunter2-canary";
    let server = ApiServer::new();
    server
        .create(
            "secrets",
            json!({
                "metadata": { "namespace": "default", "name": "s", "labels": { "l": CANARY } },
                "stringData": { "password": CANARY },
                "data": { "key": "aHVudGVyMi1jYW5hcnk=" },
            }),
        )
        .unwrap();
    let secrets = Informer::new(ApiListWatch::<Secret>::all(server.client()));
    let reconcile = reconcile_fn(|context: ReconcileContext| async move {
        if context.key().name() == "s" {
            Err(Failure::retry("no luck"))
        } else {
            Ok(Action::done())
        }
    });
    let controller = Controller::builder("keeper", reconcile)
        .source(secrets.subscribe(), trigger::itself())
        .workers(3)
        .build();
    let health = Health::new().debug(Access::Anywhere);
    health.informer(&Resource::of::<Secret>(), &secrets);
    health.controller(&controller.handle());
    assert_eq!(get(&health, "/readyz/secrets").status, 500);

    let handle = controller.handle();
    let manager = Manager::builder()
        .signals(Signals::Ignore)
        .component(Component::informer("secrets", &secrets))
        .component(Component::once("keeper", |context: Context| {
            controller.run(context.stopping())
        }))
        .build()
        .unwrap();
    health.manager(&manager.handle());
    let stop = manager.handle();
    let run = tokio::spawn(manager.run());
    handle.started().await;
    tokio::time::sleep(Duration::from_secs(3)).await;

    assert_eq!(
        get(&health, "/readyz").status,
        200,
        "{}",
        get(&health, "/readyz?verbose").body
    );
    let text = health.metrics();
    let labels = "name=\"secrets\",group=\"\",version=\"v1\",resource=\"secrets\"";
    assert_eq!(value(&text, &format!("informer_store_objects{{{labels}}}")), 1.0);
    assert_eq!(value(&text, &format!("informer_synced{{{labels}}}")), 1.0);
    assert_eq!(
        value(
            &text,
            &format!("informer_relists_total{{{labels},reason=\"expired\"}}")
        ),
        0.0
    );
    assert!(value(&text, "reflector_last_resource_version{name=\"secrets\"}") > 0.0);
    assert_eq!(
        value(&text, "reflector_items_per_list_sum{name=\"secrets\"}"),
        1.0
    );
    assert_eq!(
        value(&text, "reflector_items_per_list_count{name=\"secrets\"}"),
        1.0
    );
    assert!(text.contains("# TYPE reflector_list_duration_seconds summary\n"));
    for metric in [
        "reflector_list_duration_seconds_sum",
        "reflector_watch_duration_seconds_sum",
        "reflector_watch_duration_seconds_count",
        "reflector_items_per_watch_sum",
    ] {
        value(&text, &format!("{metric}{{name=\"secrets\"}}"));
    }
    let errors = value(
        &text,
        "controller_runtime_reconcile_errors_total{controller=\"keeper\"}",
    );
    assert!(errors >= 2.0);
    assert_eq!(
        value(
            &text,
            "controller_runtime_reconcile_total{controller=\"keeper\",result=\"error\"}"
        ),
        errors
    );
    assert_eq!(
        value(
            &text,
            "controller_runtime_max_concurrent_reconciles{controller=\"keeper\"}"
        ),
        3.0
    );
    assert_eq!(
        value(&text, "informer_manager_component_healthy{component=\"secrets\"}"),
        1.0
    );

    let debug: Value = serde_json::from_str(&get(&health, "/debug").body).unwrap();
    assert_eq!(debug["secrets"]["state"], "synced");
    assert_eq!(debug["secrets"]["objects"], 1);
    assert!(debug["keeper"]["failing"][0]["failures"].as_u64().unwrap() >= 2);
    assert_eq!(debug["manager"]["phase"], "running");
    assert_eq!(debug["manager"]["components"][0]["name"], "secrets");
    for shown in [text, debug.to_string(), get(&health, "/readyz?verbose").body] {
        assert!(
            !shown.contains(CANARY) && !shown.contains("aHVudGVyMi1jYW5hcnk"),
            "{shown}"
        );
    }
    stop.stop();
    run.await.unwrap().unwrap();
    let answer = get(&health, "/readyz");
    assert_eq!(answer.status, 500);
    assert!(answer.body.contains("[-]manager failed"), "{}", answer.body);
}

#[tokio::test(start_paused = true)]
async fn readiness_names_what_is_late_and_why() {
    let health = Health::new().reasons(Reasons::Shown);
    let stuck = Component::new("stuck", |context: Context| async move {
        context.stopping().await;
        Ok::<_, std::io::Error>(())
    });
    let manager = Manager::builder()
        .signals(Signals::Ignore)
        .component(stuck.reports_ready().group(Group::Caches))
        .component(
            Component::once("bad", |_| async {
                Err::<(), _>(std::io::Error::other("no luck"))
            })
            .group(Group::Servers),
        )
        .component(
            Component::new("late", |_| async { Ok::<_, std::io::Error>(()) })
                .group(Group::Services)
                .after("other"),
        )
        .build()
        .unwrap();
    health.manager(&manager.handle());
    let handle = manager.handle();
    let run = tokio::spawn(manager.run());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        get(&health, "/readyz").body,
        "[+]ping ok\n[+]manager ok\n[-]bad failed: failed: no luck\n[-]stuck failed: starting\n\
         [-]late failed: waiting for stuck, other (unknown)\nreadyz check failed\n"
    );
    assert_eq!(get(&health, "/livez").status, 200, "a restart would not help");
    handle.stop();
    run.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn informer_that_cannot_sync_says_why() {
    let server = ApiServer::new();
    server
        .faults()
        .inject(On::any().resource("configmaps"), Fault::status(403));
    let maps = Arc::new(Informer::new(ApiListWatch::<ConfigMap>::all(server.client())));
    let health = Health::new().reasons(Reasons::Shown);
    health.informer(&Resource::of::<ConfigMap>(), &maps);
    maps.start();
    tokio::time::sleep(Duration::from_secs(30)).await;
    let body = get(&health, "/readyz/configmaps").body;
    assert!(
        body.starts_with("configmaps failed: degraded: forbidden"),
        "{body}"
    );
}

#[tokio::test(start_paused = true)]
async fn controller_whose_workers_are_all_stuck_fails_liveness() {
    let reconcile = reconcile_fn(|context: ReconcileContext| async move {
        if context.key().name().starts_with("stuck") {
            std::future::pending::<()>().await;
        }
        Ok(Action::done())
    });
    let server = ApiServer::new();
    let maps = Informer::new(ApiListWatch::<ConfigMap>::all(server.client()));
    maps.start();
    let controller = Controller::builder("keeper", reconcile)
        .source(maps.subscribe(), trigger::itself())
        .workers(2)
        .build();
    let handle = controller.handle();
    let health = Health::new();
    health.progress(&handle, Duration::from_secs(60));
    tokio::spawn(controller.run(std::future::pending()));
    let check = async |name: &str, expected: u16| {
        server
            .create(
                "configmaps",
                json!({ "metadata": { "namespace": "default", "name": name } }),
            )
            .unwrap();
        tokio::time::sleep(Duration::from_secs(100)).await;
        assert_eq!(get(&health, "/livez/keeper-progress").status, expected, "{name}");
    };
    check("fine", 200).await;
    check("stuck-1", 200).await;
    check("stuck-2", 200).await;
    check("waits", 500).await;
}

#[test]
fn handles_can_go_anywhere() {
    fn anywhere<T: Send + Sync + Unpin + 'static>() {}
    anywhere::<Health>();
    anywhere::<Encoder>();
    anywhere::<Context>();
    anywhere::<informer::manager::Handle>();
    anywhere::<informer::manager::leader::Term>();
    anywhere::<informer::manager::leader::Observer>();
    anywhere::<informer::manager::leader::LeaseLock>();
}
