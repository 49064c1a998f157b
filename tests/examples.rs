//! Every example runs by itself, ends by itself with status 0, and says what it is there to say.

use std::{
    path::PathBuf,
    process::{Command, Output},
    sync::LazyLock,
};

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

fn run(name: &str, args: &[&str]) -> Output {
    let program = EXAMPLES.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    Command::new(program)
        .args(args)
        .output()
        .expect("the example starts")
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
