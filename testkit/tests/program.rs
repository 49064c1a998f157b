//! The program: what it takes, what it prints, and how it ends.
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Lines, Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
};

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_informer-testkit"));
    command
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A program that serves.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// The first line it printed.
    ready: String,
    address: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // If it has ended there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let mut child = program(&[&["serve", "--listen", "127.0.0.1:0"], arguments].concat())
            .spawn()
            .expect("started");
        let mut lines = BufReader::new(child.stdout.take().expect("output")).lines();
        let ready = lines.next().expect("a line").expect("text");
        let address = ready.strip_prefix("ready: http://").expect("an address");
        let address = address.split_whitespace().next().expect("an address").to_owned();
        Self {
            child,
            lines,
            ready,
            address,
        }
    }

    fn connect(&self, method: &str, path: &str, body: &str) -> TcpStream {
        let mut stream = TcpStream::connect(&self.address).expect("a connection");
        let (address, length) = (&self.address, body.len());
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .expect("sent");
        stream
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> String {
        let mut answer = String::new();
        self.connect(method, path, body)
            .read_to_string(&mut answer)
            .expect("an answer");
        answer
    }

    /// Tells it to stop and returns the rest of what it printed.
    fn stop(mut self, signal: &str) -> Vec<String> {
        let id = self.child.id().to_string();
        let told = Command::new("kill").args([signal, &id]).status();
        assert!(told.expect("kill").success());
        assert_eq!(self.child.wait().expect("its end").code(), Some(0));
        self.lines.by_ref().map(|line| line.expect("text")).collect()
    }
}

fn kubeconfig(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("testkit program {name} {}", std::process::id()))
}

#[test]
fn it_serves_what_the_flags_say_until_it_is_told_to_stop() {
    let path = kubeconfig("serves");
    let shown = path.to_str().expect("a path");
    let fault = r#"{"on":{"verb":"list","resource":"nodes"},"fault":"status","code":503}"#;
    let running = Running::start(&[
        "--pods",
        "7",
        "--churn",
        "100",
        "--sim",
        "--kubeconfig",
        shown,
        "--fault",
        fault,
        "--history",
        "50",
        "--history-age",
        "75",
        "--replicas",
        "3",
        "--bookmark-every",
        "0.5",
        "--watch-queue",
        "1000",
        "--no-watch-list",
    ]);
    let text = std::fs::read_to_string(&path).expect("a kubeconfig");
    assert!(text.contains(&running.address));
    assert!(
        running.ready.ends_with(&format!("kubeconfig: '{shown}'")),
        "quoted for the shell: {}",
        running.ready
    );
    assert!(
        running
            .ask("GET", "/api/v1/pods?limit=1", "")
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        running
            .ask("GET", "/api/v1/nodes", "")
            .starts_with("HTTP/1.1 503")
    );
    let state = running.ask("GET", "/_sim/state", "");
    assert!(
        state.contains(r#""history":{"ageMs":75000,"events":50}"#),
        "{state}"
    );
    assert_eq!(
        running
            .ask("GET", "/_sim/replicas", "")
            .matches("\"index\"")
            .count(),
        3
    );
    assert!(
        running
            .ask("POST", "/_sim/compact", r#"{"version":"x"}"#)
            .starts_with("HTTP/1.1 400")
    );
    let refused = "/api/v1/pods?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan";
    assert!(running.ask("GET", refused, "").starts_with("HTTP/1.1 422"));
    let rest = running.stop("-TERM");
    assert!(
        rest[0].trim_start().starts_with("kubectl --kubeconfig '"),
        "{rest:?}"
    );
    assert!(rest[1].contains("/_sim/"), "{rest:?}");
    assert!(
        rest[2].starts_with("stopped: ") && rest[2].ends_with(" 0 handler panics"),
        "{rest:?}"
    );
    std::fs::remove_file(&path).expect("its place was chosen, so it stays");
}

#[test]
fn an_open_watch_ends_whole_when_it_is_interrupted() {
    let running = Running::start(&[]);
    let path = running
        .ready
        .split("kubeconfig: ")
        .nth(1)
        .expect("a path")
        .to_owned();
    assert!(std::fs::exists(&path).expect("readable"));
    let mut watch = running.connect("GET", "/api/v1/namespaces?watch=1", "");
    let mut start = [0; 4096];
    assert!(watch.read(&mut start).expect("a head") > 0);
    assert!(
        running.ask("GET", "/_sim/state", "").starts_with("HTTP/1.1 404"),
        "off unless switched on"
    );
    running.stop("-INT");
    let mut rest = String::new();
    watch.read_to_string(&mut rest).expect("the rest");
    assert!(rest.ends_with("0\r\n\r\n"), "{rest}");
    assert!(
        !std::fs::exists(&path).expect("readable"),
        "nothing is left behind"
    );
}

#[test]
fn a_flag_it_does_not_understand_ends_it_with_code_two_and_a_reason() {
    let missing = kubeconfig("missing.yaml");
    let missing = missing.to_str().expect("a path");
    let odd = kubeconfig("odd.yaml");
    std::fs::write(&odd, "kind: Nothing\napiVersion: v1\nmetadata: {name: a}\n").expect("written");
    let odd = odd.to_str().expect("a path");
    for (flag, value, reason) in [
        ("--replicas", "0", "0 is not in 1..=64"),
        ("--replicas", "65", "65 is not in 1..=64"),
        ("--replicas", "two", "invalid digit"),
        ("--history", "0", "0 is not in 1.."),
        ("--history", "-1", "unexpected argument"),
        ("--history-age", "0", "not between 0.001"),
        ("--history-age", "nan", "not between 0.001"),
        ("--history-age", "1e300", "not between 0.001"),
        ("--churn", "1e-25", "not between 0.001 and 1000000, or 0"),
        ("--churn", "inf", "not between 0.001"),
        ("--churn", "NaN", "not between 0.001"),
        ("--churn", "many", "not a number"),
        ("--bookmark-every", "0", "not between 0.001"),
        ("--bookmark-every", "1e-25", "not between 0.001"),
        ("--pods", "10000001", "not in 0..=10000000"),
        ("--pods", "1.5", "invalid digit"),
        ("--seed", "x", "invalid digit"),
        ("--watch-queue", "0", "0 is not in 1.."),
        ("--listen", "nowhere", "invalid socket address"),
        ("--listen", "127.0.0.1:99999", "invalid socket address"),
        ("--listen", "0.0.0.0:0", "needs --allow-remote"),
        ("--fault", "{}", "missing field `fault`"),
        ("--fault", r#"{"fault":"status","code":99}"#, "from 400 to 599"),
        ("--fault", r#"{"fault":"gone","one":1}"#, "unknown field `one`"),
        ("--load", missing, "can't read"),
        ("--load", odd, "no kind \"Nothing\""),
        ("--crd", missing, "No such file"),
        ("--nosuch", "x", "unexpected argument"),
    ] {
        let ended = program(&["serve", flag, value]).output().expect("its end");
        let told = String::from_utf8_lossy(&ended.stderr);
        assert_eq!(ended.status.code(), Some(2), "{flag} {value}: {told}");
        assert!(
            told.starts_with("error: ") && told.contains(reason),
            "{flag} {value}: {told}"
        );
        assert!(!told.contains("panicked"), "{flag} {value}: {told}");
        assert!(ended.stdout.is_empty(), "{flag} {value}");
    }
    std::fs::remove_file(odd).expect("removed");
}

#[test]
fn a_port_that_is_taken_ends_it_with_code_one() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let ended = program(&["serve", "--listen", &address])
        .output()
        .expect("its end");
    let told = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{told}");
    assert!(told.contains(&address), "{told}");
}

#[test]
fn an_address_that_others_reach_is_warned_about_and_clients_are_sent_to_this_machine() {
    let mut child = program(&["serve", "--listen", "0.0.0.0:0", "--allow-remote"])
        .spawn()
        .expect("started");
    let mut lines = BufReader::new(child.stdout.take().expect("output")).lines();
    let ready = lines.next().expect("a line").expect("text");
    assert!(ready.starts_with("ready: http://127.0.0.1:"), "{ready}");
    let told = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status();
    assert!(told.expect("kill").success());
    let ended = child.wait_with_output().expect("its end");
    assert!(ended.status.success());
    assert!(String::from_utf8_lossy(&ended.stderr).starts_with("warning: 0.0.0.0:"));
}

#[test]
fn its_help_lists_every_operation_of_the_control_plane() {
    let help = program(&["serve", "--help"]).output().expect("its help");
    assert!(help.status.success());
    let help = String::from_utf8_lossy(&help.stdout);
    for operation in &informer_testkit::sim::OPERATIONS {
        let call = format!("{} /_sim/{}", operation.method, operation.path);
        assert!(help.contains(&call), "{call}");
        assert!(help.contains(operation.fields), "{}", operation.fields);
    }
}
