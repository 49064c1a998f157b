//! Programs that are not Rust: where they are, and how they are run against a server.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

use informer_testkit::{ApiServer, Builder, Listener};
use tokio::process::Command;

/// No client needs this long; a longer run hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server on loopback and the folder with the programs.
pub(super) struct Outside {
    pub(super) server: ApiServer,
    pub(super) listener: Listener,
    bin: PathBuf,
}

/// Starts a server for a program of the virtual environment, or says why not.
pub(super) async fn with(program: &str, builder: Builder) -> Option<Outside> {
    let bin = venv().join("bin");
    if !bin.join(program).exists() {
        note(&format!(
            "skipped: no {program} in {}; .ci/clients installs it",
            bin.display()
        ));
        return None;
    }
    let server = builder.build();
    let listener = server
        .listen_on_loopback()
        .await
        .expect("loopback has a free port");
    Some(Outside {
        server,
        listener,
        bin,
    })
}

#[expect(clippy::print_stderr, reason = "a skipped test must be seen")]
fn note(text: &str) {
    eprintln!("{text}");
}

fn venv() -> PathBuf {
    match std::env::var_os("INFORMER_CLIENTS_VENV") {
        Some(path) => path.into(),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join("../.cache/clients-venv"),
    }
}

impl Outside {
    /// A command of the environment that knows nothing of the machine's own clusters.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.bin.join(program));
        command
            .env_remove("KUBECONFIG")
            .env("KUBECONFIG", "/dev/null")
            .env("HOME", self.scratch());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        command
    }

    /// A folder of this test run's own.
    pub(super) fn scratch(&self) -> PathBuf {
        let port = self
            .listener
            .url()
            .rsplit(':')
            .next()
            .unwrap_or_default()
            .trim_end_matches('/')
            .to_owned();
        let folder =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("client-{}-{port}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("the target folder can be written");
        folder
    }

    /// Runs a Python script against the server and checks that it ends well.
    pub(super) async fn script(&self, name: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/clients")
            .join(name);
        let mut command = self.command("python");
        command.arg(path).arg(self.listener.url());
        let output = run(command).await;
        assert!(output.status.success(), "{name} failed:\n{}", all_text(&output));
        assert_eq!(self.server.panics(), 0, "a handler panicked");
    }
}

impl Drop for Outside {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(self.scratch());
    }
}

/// Runs a command to its end.
pub(super) async fn run(mut command: Command) -> Output {
    let running = command.output();
    tokio::time::timeout(PATIENCE, running)
        .await
        .expect("the client hangs")
        .expect("the client starts")
}

/// What a command wrote.
pub(super) fn all_text(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_reads_writes_and_watches() {
    if let Some(outside) = with("python", ApiServer::builder()).await {
        outside.script("python_client.py").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kopf_operator_goes_through_a_whole_cycle() {
    if let Some(outside) = with("kopf", ApiServer::builder()).await {
        outside.script("kopf_operator.py").await;
    }
}
