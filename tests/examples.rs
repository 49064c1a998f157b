//! Every example runs by itself, ends by itself with status 0, and says what it is there to say.

use std::{
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::LazyLock,
};

use serde_json::json;

/// The folder of the built examples. `cargo test --workspace` has built them, and with the same features: nothing is
/// left to do then.
static EXAMPLES: LazyLock<PathBuf> = LazyLock::new(|| {
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--workspace", "--examples", "--manifest-path"]);
    build.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    assert!(
        build.status().expect("cargo runs").success(),
        "the examples build"
    );
    let test = std::env::current_exe().expect("a test knows where it is");
    test.ancestors()
        .nth(2)
        .expect("tests are built into target/<profile>/deps")
        .join("examples")
});

fn command(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(EXAMPLES.join(format!("{name}{}", std::env::consts::EXE_SUFFIX)));
    command.args(args);
    command
}

fn run(name: &str, args: &[&str]) -> Output {
    command(name, args).output().expect("the example starts")
}

/// Starts an example with its output in pipes.
fn start(name: &str, args: &[&str]) -> Child {
    command(name, args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the example starts")
}

/// Runs an example that must refuse to work: its status, and the line that says why.
#[track_caller]
fn refusal(mut command: Command) -> (Option<i32>, String) {
    let output = command.output().expect("the example starts");
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!err.contains("panicked"), "{err}");
    (output.status.code(), err)
}

/// Runs an example, which must end with status 0, and returns what it printed.
#[track_caller]
fn check(name: &str, args: &[&str]) -> String {
    let output = run(name, args);
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(
        output.status.success(),
        "{name} ended with {}\n{out}\n{err}",
        output.status
    );
    out.into_owned()
}

#[test]
fn using_reflector_caches_a_key() {
    let out = check("using_reflector", &[]);
    let key = out
        .trim()
        .strip_prefix("Local store cached a key: \"")
        .and_then(|rest| rest.strip_suffix('"'));
    assert!(key.is_some_and(|key| key.split('/').count() == 2), "{out}");
}

#[test]
fn pod_count_counts_as_often_as_it_is_told() {
    let out = check("pod_count", &["--every", "0.1", "--times", "3"]);
    assert_eq!(
        out.lines().filter(|line| line.ends_with(" pods")).count(),
        3,
        "{out}"
    );
}

#[test]
fn wait_for_pod_finds_the_pod() {
    assert!(check("wait_for_pod", &[]).starts_with("default/wanted is there"));
}

#[test]
fn wait_for_pod_says_when_it_gives_up() {
    let output = run("wait_for_pod", &["default/missing", "--timeout", "1"]);
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(1), "{out}");
    assert!(out.contains("default/missing did not appear within 1 s"), "{out}");
}

#[test]
fn multi_resource_shows_both_kinds() {
    assert!(check("multi_resource", &[]).contains("400 pods, 40 services"));
}

#[test]
fn using_indexer_answers_from_indexes() {
    let out = check("using_indexer", &[]);
    assert!(out.contains("10 pods of app-001, 2000 pods in all"), "{out}");
    assert!(out.contains("2000 pods are running"), "{out}");
}

#[test]
fn using_deltafifo_prints_what_it_pops() {
    let out = check("using_deltafifo", &[]);
    assert!(out.starts_with("Replaced("), "the first delta is the list: {out}");
    assert!(out.contains("applied: the store has 50 pods"), "{out}");
}

#[test]
fn using_workqueue_runs_each_key_once_and_the_flaky_one_four_times() {
    let out = check("using_workqueue", &[]);
    let runs = |key: &str| out.lines().filter(|line| line.contains(key)).count();
    assert_eq!(
        (runs("default/a"), runs("default/flaky"), runs("default/later")),
        (1, 4, 1),
        "{out}"
    );
}

#[test]
fn using_controller_marks_the_pods_of_its_app() {
    let out = check("using_controller", &[]);
    assert_eq!(
        out.lines().filter(|line| line.ends_with(" is new")).count(),
        2,
        "{out}"
    );
}

#[test]
fn quickstart_ends_with_an_audit_that_is_ok() {
    let out = check("quickstart", &["--pods", "300"]);
    let last = out.lines().last().unwrap_or_default();
    assert!(last.starts_with("audit: ok ("), "{out}");
    assert!(last.contains("1 dropped connection"), "{out}");
}

/// What a run is too short for it leaves out, and says so.
#[test]
fn quickstart_is_honest_about_a_short_run() {
    for (seconds, dropped, expired) in [("1", false, false), ("3", true, false), ("4", true, true)] {
        let out = check("quickstart", &["--pods", "100", "--seconds", seconds]);
        let last = out.lines().last().unwrap_or_default();
        assert!(last.starts_with("audit: ok ("), "{out}");
        assert_eq!(last.contains("1 dropped connection"), dropped, "{out}");
        assert_eq!(
            last.contains("no dropped connection in a run of"),
            !dropped,
            "{out}"
        );
        assert_eq!(last.contains("1 expired version"), expired, "{out}");
        assert_eq!(last.contains("no expired version in a run of"), !expired, "{out}");
    }
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_quickstart_in_order() {
    for signal in ["-INT", "-TERM"] {
        let mut child = start("quickstart", &["--pods", "100", "--seconds", "600"]);
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let first = lines.next().expect("it says something").expect("lines are text");
        assert!(first.starts_with("sync"), "{first}");
        let id = child.id().to_string();
        let kill = Command::new("kill").args([signal, &id]).status();
        assert!(kill.expect("kill runs").success());
        let rest: Vec<_> = lines.map(|line| line.expect("lines are text")).collect();
        assert!(
            rest.iter().any(|line| line == "interrupted: stopping"),
            "{rest:?}"
        );
        assert!(!rest.iter().any(|line| line.starts_with("audit")), "{rest:?}");
        assert_eq!(child.wait().expect("it ends").code(), Some(130));
    }
}

/// As behind `| head -1`: no panic, no message.
#[test]
fn an_example_nobody_reads_any_more_ends_without_a_word() {
    let server = ["--server", "http://127.0.0.1:9", "--resource", "pods"];
    let examples: [(&str, &[&str], usize); 10] = [
        ("quickstart", &["--pods", "100", "--seconds", "600"], 1),
        // It has nothing more to say for a while.
        ("mirror", &server, 0),
        ("using_reflector", &[], 0),
        ("pod_count", &["--every", "0.01"], 1),
        ("wait_for_pod", &[], 0),
        ("multi_resource", &[], 1),
        ("using_indexer", &[], 1),
        ("using_deltafifo", &[], 1),
        ("using_workqueue", &[], 1),
        ("using_controller", &[], 1),
    ];
    for (name, args, lines) in examples {
        let mut child = start(name, args);
        let mut reader = BufReader::new(child.stdout.take().expect("it is piped"));
        for _ in 0..lines {
            reader.read_line(&mut String::new()).expect("lines are text");
        }
        drop(reader);
        let mut err = String::new();
        let mut stderr = child.stderr.take().expect("it is piped");
        stderr.read_to_string(&mut err).expect("errors are text");
        let status = child.wait().expect("it ends");
        assert!(
            status.success() && err.is_empty(),
            "{name} ended with {status}: {err}"
        );
    }
}

#[test]
fn times_that_are_none_are_refused() {
    for seconds in ["nan", "-1", "0", "inf", "1e300", "soon", ""] {
        for (name, option, args) in [
            (
                "mirror",
                "--seconds",
                &["--server", "http://127.0.0.1:9", "--resource", "pods"][..],
            ),
            ("pod_count", "--every", &[]),
            ("wait_for_pod", "--timeout", &[]),
        ] {
            let (code, err) = refusal(command(name, &[args, &[option, seconds]].concat()));
            assert_eq!(code, Some(2), "{name} {option} {seconds}: {err}");
            let why = err.contains("more than 0") || err.contains("not a number");
            assert!(why && err.contains(option), "{name} {option} {seconds}: {err}");
        }
    }
}

#[test]
fn a_server_that_is_no_address_is_told_in_one_line() {
    for server in ["localhost", "http://", "ftp://example.com", "ht tp://x", ""] {
        let (code, err) = refusal(command("mirror", &["--server", server, "--resource", "pods"]));
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{server}: {err}");
    }
    for args in [["--namespace", "a b"], ["--api-version", "a/b/c"]] {
        let all = [
            &["--server", "http://127.0.0.1:9", "--resource", "pods"][..],
            &args,
        ]
        .concat();
        let (code, err) = refusal(command("mirror", &all));
        assert_eq!((code, err.lines().count()), (Some(2), 1), "{args:?}: {err}");
    }
}

#[test]
fn a_kubeconfig_that_is_none_is_told_in_one_line() {
    let broken = std::env::temp_dir().join(format!("informer-broken-{}", std::process::id()));
    std::fs::write(&broken, "users: [ { token: canary-token").expect("it can be written");
    for name in ["quickstart", "using_reflector", "using_controller"] {
        for path in [broken.as_path(), "/nowhere/at/all".as_ref()] {
            let mut command = command(name, &["--cluster"]);
            command
                .env("KUBECONFIG", path)
                .env_remove("KUBERNETES_SERVICE_HOST");
            let (code, err) = refusal(command);
            assert_eq!((code, err.lines().count()), (Some(1), 1), "{name}: {err}");
            assert!(
                err.contains("KUBECONFIG") && !err.contains("canary"),
                "{name}: {err}"
            );
        }
    }
    std::fs::remove_file(&broken).expect("it was there");
}

/// Somebody else's ConfigMap is in the way: trying again does not help, so it says so and ends.
#[tokio::test(flavor = "multi_thread")]
async fn quickstart_stops_where_somebody_elses_config_map_is_in_the_way() {
    let server = informer_testkit::ApiServer::builder().seed(1).build();
    let foreign =
        json!({ "metadata": { "namespace": "default", "name": "running-pods" }, "data": { "mine": "1" } });
    server.create("configmaps", foreign).expect("it is new");
    let listener = server.listen_on_loopback().await.expect("a port is free");
    let config = std::env::temp_dir().join(format!("informer-kubeconfig-{}", std::process::id()));
    std::fs::write(&config, listener.kubeconfig()).expect("it can be written");
    let path = config.clone();
    let told = tokio::task::spawn_blocking(move || {
        let mut command = command("quickstart", &["--cluster", "--write", "--seconds", "600"]);
        command.env("KUBECONFIG", path);
        refusal(command)
    });
    let (code, err) = told.await.expect("the check passes");
    std::fs::remove_file(&config).expect("it was there");
    assert_eq!((code, err.lines().count()), (Some(1), 1), "{err}");
    assert!(
        err.contains("default/running-pods is there and not ours"),
        "{err}"
    );
    let there = server
        .get("configmaps", "default", "running-pods")
        .expect("it is still there");
    assert_eq!(there["data"], json!({ "mine": "1" }), "it is left alone");
}

#[test]
fn every_example_explains_itself() {
    let names = [
        "quickstart",
        "mirror",
        "using_reflector",
        "pod_count",
        "wait_for_pod",
        "multi_resource",
        "using_indexer",
        "using_deltafifo",
        "using_workqueue",
        "using_controller",
    ];
    for name in names {
        assert!(check(name, &["--help"]).contains("Usage:"), "{name} --help");
    }
}
