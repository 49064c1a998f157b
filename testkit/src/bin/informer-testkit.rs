//! The embedded API server as a program: see `informer-testkit serve --help`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program talks to its user"
)]

use std::{error::Error, fs, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, Parser, Subcommand};
use informer_testkit::{ApiServer, Fault, On, fixtures, generate};
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// An embedded Kubernetes API server.
#[derive(Debug, Parser)]
#[command(name = "informer-testkit", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves the Kubernetes API over HTTP until SIGTERM or Ctrl-C.
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// Listen on an address that others can reach. There is no authentication at all.
    #[arg(long)]
    allow_remote: bool,
    /// Load this many realistic pods at the start.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pods: usize,
    /// Change pods all the time, this often.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0)]
    churn: f64,
    /// Keep at most this many events of each kind for watches.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    history: usize,
    /// How many replicas answer, connection by connection.
    #[arg(long, value_name = "N", default_value_t = 1)]
    replicas: usize,
    /// Seconds between bookmarks of an idle watch.
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    bookmark_every: f64,
    /// Create the custom resource definitions in this YAML file first. Can be given more than once.
    #[arg(long, value_name = "FILE")]
    crd: Vec<PathBuf>,
    /// Load the objects in this YAML file, or in every YAML file of this folder. Can be given more than once.
    #[arg(long, value_name = "FILE|DIR")]
    load: Vec<PathBuf>,
    /// Put a fault in force, as JSON: {"on":{"verb":"list","resource":"pods"},"fault":"status","code":429}.
    #[arg(long, value_name = "JSON")]
    fault: Vec<String>,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Give deployments and replica sets pods, which run at once.
    #[arg(long)]
    workloads: bool,
    /// Offer fault injection and more over HTTP below /_sim/.
    #[arg(long)]
    sim: bool,
    /// Write the kubeconfig here. Default: a file in the system's folder for temporary files.
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let Command::Serve(options) = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("can't start: {error}")),
    };
    match runtime.block_on(serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error.to_string()),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

async fn serve(options: Serve) -> Result<(), Box<dyn Error>> {
    if !options.listen.ip().is_loopback() && !options.allow_remote {
        let why = "is not a loopback address; the server has no authentication, so this needs --allow-remote";
        return Err(format!("{} {why}", options.listen.ip()).into());
    }
    let seconds = |value: f64, what: &str| {
        Duration::try_from_secs_f64(value)
            .map_err(|_| format!("{what} must be a positive number, not {value}"))
    };
    let server = ApiServer::builder()
        .seed(options.seed)
        .history(options.history, Duration::MAX)
        .replicas(options.replicas)
        .bookmark_every(seconds(options.bookmark_every, "--bookmark-every")?)
        .start_time(jiff::Timestamp::now())
        .managed_fields(true)
        .workloads(options.workloads)
        .sim(options.sim)
        .build();
    for path in options.crd.iter().chain(&options.load) {
        fixtures::load_path(&server, path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    for text in &options.fault {
        inject(&server, text).map_err(|error| format!("--fault {text}: {error}"))?;
    }
    let mut rng = fastrand::Rng::with_seed(options.seed);
    server.load((0..options.pods).map(|index| generate::pod(index, &mut rng)))?;

    // Signals are caught before the ready line is out: whoever reads it may send one at once.
    let stop = shutdown_signal()?;
    let listener = server
        .listen(options.listen)
        .await
        .map_err(|error| format!("{}: {error}", options.listen))?;
    let port = listener.address().port();
    let path = options
        .kubeconfig
        .unwrap_or_else(|| std::env::temp_dir().join(format!("informer-testkit-{port}.kubeconfig")));
    fs::write(&path, listener.kubeconfig()).map_err(|error| format!("{}: {error}", path.display()))?;
    let shown = path.display();
    println!(
        "ready: {url}  kubeconfig: {shown}  try: kubectl --kubeconfig {shown} get pods -A",
        url = listener.url()
    );
    tokio::select! {
        () = stop => {}
        () = churn(&server, options.churn, options.seed) => {}
    }
    listener.shutdown().await;
    println!(
        "stopped: {} requests served, {} handler panics",
        server.requests().len(),
        server.panics()
    );
    Ok(())
}

fn inject(server: &ApiServer, text: &str) -> Result<(), serde_json::Error> {
    #[derive(Deserialize)]
    struct Spec {
        #[serde(default)]
        on: On,
        #[serde(flatten)]
        fault: Fault,
    }
    let spec: Spec = serde_json::from_str(text)?;
    server.faults().inject(spec.on, spec.fault);
    Ok(())
}

/// Changes pods for ever; never returns when there is nothing to do.
async fn churn(server: &ApiServer, per_second: f64, seed: u64) {
    if per_second <= 0.0 || !per_second.is_finite() {
        return std::future::pending().await;
    }
    let mut churn = generate::Churn::new(server, seed);
    // Fast churn comes in bursts: timers tick in milliseconds.
    let tick = Duration::from_secs_f64(1.0 / per_second).max(Duration::from_millis(5));
    let per_tick = per_second * tick.as_secs_f64();
    let mut ticks = interval_at(Instant::now() + tick, tick);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut due = 0.0;
    loop {
        ticks.tick().await;
        due += per_tick;
        while due >= 1.0 {
            due -= 1.0;
            // A pod that a client deleted meanwhile is no problem of ours.
            let _ = churn.step();
        }
    }
}

#[cfg(unix)]
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn shutdown_signal() -> std::io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
