//! `mirror`, as the black box it is: what it prints adds up to what the server has, whatever the server did.

#![cfg(unix)]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Lines},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::LazyLock,
};

use informer_testkit::{ApiServer, Fault, Listener, On};
use serde_json::{Value, json};

/// Where the example is, built once for all tests.
static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--workspace", "--examples", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"))
        .status();
    assert!(build.expect("cargo runs").success(), "the example builds");
    let test = std::env::current_exe().expect("a test knows where it is");
    let folder = test
        .ancestors()
        .nth(2)
        .expect("tests are in target/<profile>/deps");
    folder.join("examples").join("mirror")
});

struct Mirror {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    /// What the changes printed so far add up to.
    held: BTreeMap<String, String>,
    states: Vec<String>,
    quarantined: Vec<String>,
}

impl Mirror {
    fn start(url: &str, args: &[&str]) -> Self {
        let mut process = Command::new(&*PROGRAM)
            .args(["--server", url, "--resource", "configmaps"])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("mirror starts");
        let lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        Self {
            process,
            lines,
            held: BTreeMap::new(),
            states: Vec::new(),
            quarantined: Vec::new(),
        }
    }

    /// Reads one line and takes it in; `None` at the end.
    fn line(&mut self) -> Option<Value> {
        let line = self.lines.next()?.expect("lines are text");
        let line: Value = serde_json::from_str(&line).expect("every line is JSON");
        let text = |field: &str| line[field].as_str().map(str::to_owned);
        if let (Some(event), Some(key)) = (text("event"), text("key")) {
            let rv = text("rv").expect("a change has a version");
            let before = match event.as_str() {
                "deleted" => self.held.remove(&key),
                _ => self.held.insert(key.clone(), rv),
            };
            assert_eq!(
                before.is_none(),
                event == "added",
                "H1: (added updated* deleted)* of {key}"
            );
            assert_eq!(before, text("old_rv"), "the old version is the one told before");
        }
        self.states.extend(text("state"));
        self.quarantined.extend(text("quarantined"));
        Some(line)
    }

    /// Reads until what was told is what the server has.
    fn until_equal(&mut self, server: &ApiServer) {
        while self.held != contents(server) {
            self.line().expect("it goes on until it is told to stop");
        }
    }

    /// Stops it by SIGTERM; returns its last line.
    fn stop(mut self) -> Value {
        let kill = Command::new("kill")
            .args(["-TERM", &self.process.id().to_string()])
            .status();
        assert!(kill.expect("kill runs").success());
        let mut last = Value::Null;
        while let Some(line) = self.line() {
            last = line;
        }
        assert!(
            self.process.wait().expect("it ends").success(),
            "it ends with status 0"
        );
        let store: BTreeMap<String, String> =
            serde_json::from_value(last["store"].clone()).expect("keys and versions");
        assert_eq!(store, self.held, "H2: the changes replayed are the store");
        last
    }
}

fn contents(server: &ApiServer) -> BTreeMap<String, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let entry = |object: &Value| {
        let meta = &object["metadata"];
        (
            format!("{}/{}", text(&meta["namespace"]), text(&meta["name"])),
            text(&meta["resourceVersion"]),
        )
    };
    server.list("configmaps", None).iter().map(entry).collect()
}

fn config_map(name: &str, value: u32) -> Value {
    json!({ "metadata": { "namespace": "default", "name": name }, "data": { "value": value.to_string() } })
}

async fn served() -> (ApiServer, Listener) {
    let server = ApiServer::builder().seed(1).build();
    for index in 0..20 {
        server
            .create("configmaps", config_map(&format!("map-{index:02}"), 0))
            .expect("it is created");
    }
    let listener = server.listen_on_loopback().await.expect("a port is free");
    (server, listener)
}

/// Runs `check` beside the server, which needs the runtime to itself.
async fn with<R: Send + 'static>(check: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::task::spawn_blocking(check)
        .await
        .expect("the check passes")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_prints_adds_up_to_what_the_server_has() {
    for initial in ["list", "watch-list", "auto"] {
        let (server, listener) = served().await;
        let url = listener.url();
        let last = with(move || {
            let mut mirror = Mirror::start(&url, &["--initial", initial]);
            mirror.until_equal(&server);
            server
                .delete("configmaps", "default", "map-03")
                .expect("it is there");
            server
                .update("configmaps", config_map("map-04", 1))
                .expect("it is there");
            server
                .create("configmaps", config_map("map-99", 1))
                .expect("it is new");
            mirror.until_equal(&server);
            mirror.stop()
        })
        .await;
        assert_eq!(last["stats"]["relists"]["expired"], 0);
        assert_eq!(last["stats"]["quarantined"], 0);
    }
}

/// T2, P1: neither a broken connection nor an expired version loses or repeats a change.
#[tokio::test(flavor = "multi_thread")]
async fn broken_connections_and_expired_versions_lose_nothing() {
    let (server, listener) = served().await;
    let url = listener.url();
    let last = with(move || {
        let mut mirror = Mirror::start(&url, &[]);
        mirror.until_equal(&server);
        server
            .faults()
            .inject(On::watch("configmaps").times(1), Fault::ResetBefore);
        server
            .update("configmaps", config_map("map-01", 1))
            .expect("it is there");
        mirror.until_equal(&server);
        server
            .faults()
            .inject(On::watch("configmaps").times(1), Fault::GoneEvent);
        server
            .delete("configmaps", "default", "map-02")
            .expect("it is there");
        server
            .update("configmaps", config_map("map-05", 2))
            .expect("it is there");
        mirror.until_equal(&server);
        mirror.stop()
    })
    .await;
    assert_eq!(
        last["stats"]["relists"]["expired"], 1,
        "only the expired version is listed anew"
    );
}

/// L7: one object that cannot be decoded is told apart; the others come through.
#[tokio::test(flavor = "multi_thread")]
async fn an_undecodable_object_is_quarantined_by_key() {
    let (server, listener) = served().await;
    let broken = json!({
        "type": "ADDED",
        "object": { "kind": "ConfigMap", "apiVersion": "v1", "metadata": {
            "namespace": "default", "name": "broken", "uid": "u", "resourceVersion": "1000000", "labels": 7,
        }},
    });
    let line = format!("{broken}\n");
    let url = listener.url();
    let quarantined = with(move || {
        let mut mirror = Mirror::start(&url, &["--initial", "list"]);
        mirror.until_equal(&server);
        server
            .faults()
            .inject(On::watch("configmaps").times(1), Fault::raw_line(line));
        server
            .update("configmaps", config_map("map-06", 1))
            .expect("it is there");
        while mirror.quarantined.is_empty() {
            mirror.line().expect("it goes on until it is told to stop");
        }
        let quarantined = mirror.quarantined.clone();
        mirror.stop();
        quarantined
    })
    .await;
    assert_eq!(quarantined, ["default/broken"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_not_there_is_told_with_a_reason_and_waited_for() {
    let (server, listener) = served().await;
    let url = listener.url();
    drop(listener);
    let address = url
        .trim_start_matches("http://")
        .parse::<std::net::SocketAddr>()
        .expect("host and port");
    let handle = tokio::runtime::Handle::current();
    with(move || {
        let mut mirror = Mirror::start(&url, &[]);
        while !mirror.states.iter().any(|state| state == "degraded") {
            let line = mirror.line().expect("it goes on until it is told to stop");
            assert!(line["event"].is_null());
        }
        let _listener = handle
            .block_on(server.listen(address))
            .expect("the port is free again");
        mirror.until_equal(&server);
        mirror.stop();
    })
    .await;
}

/// P16: what was refused is asked for again each time, or not for a while.
#[tokio::test(flavor = "multi_thread")]
async fn a_refused_streaming_list_is_asked_for_again_only_where_nothing_else_is_wanted() {
    for (initial, refusals) in [("list", 0), ("auto", 1), ("watch-list", 2)] {
        let (server, listener) = served().await;
        server.faults().inject(
            On::watch("configmaps"),
            Fault::WatchListRefused { in_stream: false },
        );
        let url = listener.url();
        let last = with(move || {
            let mut mirror = Mirror::start(&url, &["--initial", initial]);
            mirror.until_equal(&server);
            server
                .faults()
                .inject(On::watch("configmaps").times(1), Fault::GoneEvent);
            server
                .update("configmaps", config_map("map-01", 1))
                .expect("it is there");
            mirror.until_equal(&server);
            mirror.stop()
        })
        .await;
        assert_eq!(last["stats"]["relists"]["expired"], 1, "{initial}");
        assert_eq!(last["stats"]["streaming_list_fallbacks"], refusals, "{initial}");
    }
}
