//! The whole pipeline at work: a controller keeps, in every namespace, one ConfigMap with the number of running pods.
//!
//! Without arguments it brings its own API server, fills it with pods, changes them for a few seconds, breaks a
//! connection and lets a version expire on the way, and in the end checks everything against the server.

#![expect(unreachable_pub, reason = "the modules of a program are its own")]

mod audit;
mod counts;
mod live;
#[path = "../support/mod.rs"]
mod support;
mod trouble;

use std::{process::ExitCode, time::Duration};

use clap::Parser;
use tokio::{sync::watch, task::JoinHandle, time::Instant};

use self::{
    counts::{Counts, Mode},
    live::Live,
    support::{Result, Signals, Stage, complain, say},
    trouble::Trouble,
};

/// Keeps one ConfigMap per namespace with the number of running pods in it.
///
/// By default on an embedded API server, which it fills with pods and troubles with faults. The last line is the
/// audit; the exit status is 0 only if that is ok, or nobody reads the output any more.
#[derive(Parser)]
struct Args {
    /// Work on the cluster of the current kubeconfig, reading only
    #[arg(long)]
    cluster: bool,
    /// With --cluster: also write the ConfigMaps
    #[arg(long, requires = "cluster")]
    write: bool,
    /// How many pods the embedded server has
    #[arg(long, default_value_t = 2_000)]
    pods: usize,
    /// How many pods change per second
    #[arg(long, default_value_t = 100)]
    churn: u32,
    /// For how many seconds; a run of 3 s or less is too short for every trouble
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u64).range(..=SECONDS_MAX))]
    seconds: u64,
}

/// Thirty years; the clock may not reach further.
const SECONDS_MAX: u64 = 1_000_000_000;

#[tokio::main]
async fn main() -> ExitCode {
    // First of all: until then Ctrl-C ends the program without a word.
    let mut signals = Signals::listen();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error,kube_client=off"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
    let args = Args::parse();
    let (stop, stopping) = watch::channel(false);
    let mut job = std::pin::pin!(job(&args, stopping));
    let outcome = tokio::select! {
        biased;
        () = signals.next() => {
            say!("interrupted: stopping");
            stop.send_replace(true);
            // The job sees it and stops in order; a second Ctrl-C does not wait for that.
            tokio::select! {
                outcome = job => outcome,
                () = signals.next() => Ok(Outcome::Interrupted),
            }
        }
        outcome = &mut job => outcome,
    };
    match outcome {
        Ok(Outcome::Passed) => ExitCode::SUCCESS,
        Ok(Outcome::Failed) => ExitCode::FAILURE,
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            complain(format_args!("quickstart: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// How the job ended.
enum Outcome {
    Passed,
    Failed,
    Interrupted,
}

async fn job(args: &Args, stopping: watch::Receiver<bool>) -> Result<Outcome> {
    let stage = tokio::select! {
        biased;
        () = stop(stopping.clone()) => return Ok(Outcome::Interrupted),
        stage = Stage::set(args.cluster, args.pods) => stage?,
    };
    let mode = if !args.cluster || args.write {
        Mode::Write
    } else {
        Mode::ReadOnly
    };
    let counts = Counts::new(&stage.client, mode);
    let running = counts.start();
    let outcome = tokio::select! {
        outcome = work(args, &stage, &counts) => outcome,
        conflict = counts.conflict() => Err(conflict.into()),
        () = stop(stopping) => Ok(Outcome::Interrupted),
    };
    finish(counts, running).await;
    outcome
}

async fn stop(mut stopping: watch::Receiver<bool>) {
    // An error means that nobody can ask for a stop any more.
    if stopping.wait_for(|stop| *stop).await.is_err() {
        std::future::pending::<()>().await;
    }
}

async fn work(args: &Args, stage: &Stage, counts: &Counts) -> Result<Outcome> {
    let mut live = Live::new(counts);
    live.until_synced().await;
    let mut trouble = stage
        .server
        .as_ref()
        .map(|server| Trouble::new(server, args.churn));
    let end = Instant::now() + Duration::from_secs(args.seconds);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.tick().await;
    let mut passed = 0;
    while Instant::now() < end {
        tokio::select! {
            _ = second.tick() => {
                live.line();
                passed += 1;
                if let Some(trouble) = trouble.as_mut().filter(|_| passed < args.seconds) {
                    trouble.second(passed)?;
                }
            }
            done = churn(&mut trouble) => done?,
        }
    }
    // A fault that was made must happen before the audit can say that it was survived.
    let patience = Instant::now() + PATIENCE;
    while trouble.as_ref().is_some_and(Trouble::is_pending) && Instant::now() < patience {
        churn(&mut trouble).await?;
    }
    let report = audit::run(stage, counts).await;
    let faults = trouble
        .as_ref()
        .map_or(Ok(String::new()), |trouble| trouble.survived(counts));
    match report.and_then(|report| Ok(format!("{report}{}", faults?))) {
        Ok(report) => {
            say!("audit: ok ({report})");
            Ok(Outcome::Passed)
        }
        Err(difference) => {
            say!("audit: failed ({difference})");
            Ok(Outcome::Failed)
        }
    }
}

/// How long a fault may wait for its occasion.
const PATIENCE: Duration = Duration::from_secs(20);

async fn churn(trouble: &mut Option<Trouble>) -> Result<()> {
    match trouble {
        Some(trouble) => trouble.change().await,
        None => std::future::pending().await,
    }
}

/// Stops the controller first, then what feeds it.
async fn finish(counts: Counts, running: Option<JoinHandle<()>>) {
    counts.stop_controller();
    if let Some(task) = running
        && let Err(error) = task.await
    {
        complain(format_args!("quickstart: the controller failed: {error}"));
    }
    counts.stop_informers();
}
