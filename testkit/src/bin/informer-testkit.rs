//! The embedded API server as a program: see `informer-testkit serve --help`.
#![expect(clippy::print_stderr, reason = "a program talks to its user")]

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use clap::{Args, Parser, Subcommand};
use informer_testkit::{ApiServer, fixtures, generate, sim};
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
    #[command(after_long_help = operations())]
    Serve(Serve),
}

#[derive(Debug, Args)]
struct Serve {
    /// Address to listen on; port 0 picks a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
    /// Listen on an address that others can reach. There is no authentication at all.
    #[arg(long)]
    allow_remote: bool,
    /// Load this many realistic pods at the start, up to ten million.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = count(0, 10_000_000))]
    pods: u64,
    /// Change pods all the time, this often: 0, or from 0.001 to 1000000.
    #[arg(long, value_name = "PER_SECOND", default_value_t = 0.0, value_parser = churn_rate)]
    churn: f64,
    /// Keep at most this many events of each kind for watches.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = count(1, u64::MAX))]
    history: u64,
    /// Keep no event for watches that is older than this, from 0.001 to 31536000. Default: any age.
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    history_age: Option<Duration>,
    /// How many replicas answer, connection by connection, from 1 to 64.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = count(1, 64))]
    replicas: u64,
    /// Seconds between bookmarks of an idle watch, from 0.001 to 31536000.
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    bookmark_every: Duration,
    /// Cut a watch off that leaves more than this many events lying. Default: those that left the history.
    #[arg(long, value_name = "N", value_parser = count(1, u64::MAX))]
    watch_queue: Option<u64>,
    /// Refuse streaming lists, as servers without the WatchList feature do.
    #[arg(long)]
    no_watch_list: bool,
    /// Compress watches for clients that take gzip, a member per flush, as servers from 1.37 on do.
    #[arg(long)]
    watch_gzip: bool,
    /// Create the custom resource definitions in this YAML file first. Can be given more than once.
    #[arg(long, value_name = "FILE")]
    crd: Vec<PathBuf>,
    /// Load the objects in this YAML file, or in every YAML file of this folder. Can be given more than once.
    #[arg(long, value_name = "FILE|DIR")]
    load: Vec<PathBuf>,
    /// Put a fault in force, as JSON: {"on":{"verb":"list","resource":"pods"},"fault":"status","code":429}.
    /// Can be given more than once.
    #[arg(long, value_name = "JSON")]
    fault: Vec<String>,
    /// Seed of everything random.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Give deployments and replica sets pods, which run at once.
    #[arg(long)]
    workloads: bool,
    /// Leave what a deleted object owned.
    #[arg(long)]
    no_garbage_collection: bool,
    /// Leave deleted namespaces terminating until someone finalizes them.
    #[arg(long)]
    no_namespace_lifecycle: bool,
    /// Offer fault injection and more over HTTP below /_sim/; --help lists the operations.
    #[arg(long)]
    sim: bool,
    /// Write the kubeconfig here. Default: a file in the system's folder for temporary files, gone when the program is.
    #[arg(long, value_name = "PATH")]
    kubeconfig: Option<PathBuf>,
}

/// Why the program ends badly.
enum Failure {
    /// It was called wrongly.
    Usage(String),
    /// It could not do what it was asked for.
    Work(String),
}

fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .init();
    let Command::Serve(options) = Cli::parse().command;
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("can't start: {error}"), 1),
    };
    match runtime.block_on(serve(options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Usage(message)) => fail(&message, 2),
        Err(Failure::Work(message)) => fail(&message, 1),
    }
}

fn fail(message: &str, code: u8) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::from(code)
}

async fn serve(options: Serve) -> Result<(), Failure> {
    let remote = !options.listen.ip().is_loopback();
    if remote && !options.allow_remote {
        let why = "is not a loopback address; the server has no authentication, so this needs --allow-remote";
        return Err(Failure::Usage(format!("{} {why}", options.listen.ip())));
    }
    let server = set_up(&options).map_err(Failure::Usage)?;

    // Signals are caught before the ready line is out: whoever reads it may send one at once.
    let stop = shutdown_signal().map_err(|error| Failure::Work(format!("can't catch signals: {error}")))?;
    let listener = server.listen(options.listen).await;
    let listener = listener.map_err(|error| Failure::Work(format!("{}: {error}", options.listen)))?;
    if remote {
        let address = listener.address();
        eprintln!("warning: {address} is open to others, and there is no authentication");
    }
    let port = listener.address().port();
    let fleeting = options.kubeconfig.is_none();
    let path = options
        .kubeconfig
        .unwrap_or_else(|| std::env::temp_dir().join(format!("informer-testkit-{port}.kubeconfig")));
    replace(&path, &listener.kubeconfig())
        .map_err(|error| Failure::Work(format!("{}: {error}", path.display())))?;
    say(&instructions(&listener.url(), &path, options.sim));
    tokio::select! {
        () = stop => {}
        () = churn(&server, options.churn, options.seed) => {}
    }
    listener.shutdown().await;
    if fleeting {
        // Somebody may have tidied up already.
        let _ = fs::remove_file(&path);
    }
    say(&format!(
        "stopped: {} requests served, {} handler panics\n",
        server.requests().len(),
        server.panics()
    ));
    Ok(())
}

/// Builds and fills the server; an error is one of the command line.
fn set_up(options: &Serve) -> Result<ApiServer, String> {
    let entries = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
    let mut builder = ApiServer::builder()
        .seed(options.seed)
        .history(
            entries(options.history),
            options.history_age.unwrap_or(Duration::MAX),
        )
        .replicas(entries(options.replicas))
        .bookmark_every(options.bookmark_every)
        .watch_list(!options.no_watch_list)
        .watch_gzip(options.watch_gzip)
        .start_time(jiff::Timestamp::now())
        .managed_fields(true)
        .garbage_collection(!options.no_garbage_collection)
        .namespace_lifecycle(!options.no_namespace_lifecycle)
        .workloads(options.workloads)
        .sim(options.sim);
    if let Some(events) = options.watch_queue {
        builder = builder.watch_queue(entries(events));
    }
    let server = builder.build();
    for text in &options.fault {
        let injected = server.faults().inject_json(text);
        injected.map_err(|error| format!("--fault {text}: {}", error.message()))?;
    }
    for (flag, path) in options
        .crd
        .iter()
        .map(|path| ("--crd", path))
        .chain(options.load.iter().map(|path| ("--load", path)))
    {
        fixtures::load_path(&server, path)
            .map_err(|error| format!("{flag} {}: {}", path.display(), chain(&error)))?;
    }
    let mut rng = fastrand::Rng::with_seed(options.seed);
    let pods = (0..entries(options.pods)).map(|index| generate::pod(index, &mut rng));
    server
        .load(pods)
        .map_err(|error| format!("--pods: {}", error.message()))?;
    Ok(server)
}

/// An error with what caused it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        // Some errors tell their cause themselves.
        let cause = error.to_string();
        if !text.contains(&cause) {
            let _ = write!(text, ": {cause}");
        }
        source = error.source();
    }
    text
}

/// Puts a file in place in one step, whatever is there: never through a link that somebody else left.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(format!(".{}", std::process::id()));
    let written = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&aside)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| fs::rename(&aside, path));
    if written.is_err() {
        let _ = fs::remove_file(&aside);
    }
    written
}

fn instructions(url: &str, kubeconfig: &Path, sim: bool) -> String {
    let path = kubeconfig.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:@%".contains(&byte);
    let quoted = if path.bytes().all(plain) {
        path
    } else {
        format!("'{}'", path.replace('\'', "'\\''"))
    };
    let mut text =
        format!("ready: {url}  kubeconfig: {quoted}\n  kubectl --kubeconfig {quoted} get pods -A\n");
    if sim {
        let _ = writeln!(text, "  curl {url}/_sim/");
    }
    text
}

/// Tells the user; nobody needs to listen.
fn say(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn operations() -> String {
    let mut text = "Operations below /_sim/, with --sim; bodies are JSON objects:\n".to_owned();
    for op in &sim::OPERATIONS {
        let call = format!("{} /_sim/{}", op.method, op.path);
        let _ = writeln!(text, "  {call:<38} {}", op.what);
        if !op.fields.is_empty() {
            let _ = writeln!(text, "  {:<38}   {}", "", op.fields);
        }
    }
    text
}

// --- values of flags ---

fn count(from: u64, to: u64) -> clap::builder::RangedU64ValueParser {
    clap::value_parser!(u64).range(from..=to)
}

fn seconds(text: &str) -> Result<Duration, String> {
    let value = within(text, 0.001, 31_536_000.0)?;
    Duration::try_from_secs_f64(value).map_err(|error| error.to_string())
}

fn churn_rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(0.0) => Ok(0.0),
        _ => within(text, 0.001, 1_000_000.0).map_err(|why| format!("{why}, or 0")),
    }
}

fn within(text: &str, from: f64, to: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if value >= from && value <= to {
        Ok(value)
    } else {
        Err(format!("not between {from} and {to}"))
    }
}

// --- at work ---

/// Changes pods for ever; never returns when there is nothing to do.
async fn churn(server: &ApiServer, per_second: f64, seed: u64) {
    if per_second <= 0.0 {
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
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
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
fn shutdown_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
