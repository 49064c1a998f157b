//! How fast the embedded API server delivers, next to a server that writes the same bytes without thinking.
//!
//! `list/pods/100000`: a full list over loopback, read by a plain socket. `watch/leases/10`: small events fanned out to
//! ten watches, first as they are written, then out of the history. Client and server share the machine, so the ratio
//! counts, not the rate.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use informer_benches::{cpu, table};
use informer_testkit::{ApiServer, Listener, generate};
use serde_json::json;

const PODS: usize = 100_000;
const WATCHERS: usize = 10;
const EVENTS: usize = 20_000;
const ROUNDS: usize = 3;

#[expect(clippy::disallowed_methods, reason = "a bench measures real time")]
fn now() -> Instant {
    Instant::now()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    table::head(&[
        "bench",
        "testkit",
        "constant bytes",
        "ratio of times",
        "testkit CPU / constant CPU",
    ]);
    list(&runtime);
    watch(&runtime);
}

/// Wall and processor time of one run.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
}

fn measured(work: impl FnOnce()) -> Cost {
    let start = now();
    let ((), cpu) = cpu::timed(work);
    Cost {
        wall: start.elapsed(),
        cpu,
    }
}

fn median(costs: &[Cost], of: fn(&Cost) -> Duration) -> f64 {
    cpu::median(costs.iter().map(of).collect()).as_secs_f64()
}

fn report(name: &str, unit: &str, amount: f64, ours: &[Cost], constant: &[Cost]) {
    let (wall, wall_constant) = (median(ours, |cost| cost.wall), median(constant, |cost| cost.wall));
    let (cpu, cpu_constant) = (median(ours, |cost| cost.cpu), median(constant, |cost| cost.cpu));
    table::row(&[
        &name,
        &format!("{:.2} {unit}", amount / wall),
        &format!("{:.2} {unit}", amount / wall_constant),
        &format!("{:.2}", wall / wall_constant),
        &format!("{:.2}", cpu / cpu_constant),
    ]);
}

fn listen(runtime: &tokio::runtime::Runtime, server: &ApiServer) -> Listener {
    runtime.block_on(server.listen_on_loopback()).expect("a port")
}

/// Sends a request and reads until `done` says so; returns the bytes read.
fn fetch(address: SocketAddr, path: &str, mut done: impl FnMut(&[u8], usize) -> bool) -> usize {
    let mut stream = TcpStream::connect(address).expect("a connection");
    // In one piece: the constant server reads once.
    let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("sent");
    let mut buffer = vec![0; 256 * 1024];
    let mut total = 0;
    loop {
        let read = stream.read(&mut buffer).expect("read");
        total += read;
        if read == 0 || done(&buffer[..read], total) {
            return total;
        }
    }
}

/// A server that writes the same bytes to every connection, whatever it asks for, and closes.
fn constant(bytes: Arc<Vec<u8>>, connections: usize) -> (SocketAddr, thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let serve = move |mut stream: TcpStream, bytes: &[u8]| {
        let mut request = [0; 1024];
        let _ = stream.read(&mut request).expect("a request");
        for chunk in bytes.chunks(128 * 1024) {
            stream.write_all(chunk).expect("written");
        }
    };
    let handle = thread::spawn(move || {
        thread::scope(|scope| {
            for _ in 0..connections {
                let (stream, _) = listener.accept().expect("a client");
                let bytes = &bytes;
                scope.spawn(move || serve(stream, bytes));
            }
        });
    });
    (address, handle)
}

fn list(runtime: &tokio::runtime::Runtime) {
    let server = ApiServer::new();
    let mut rng = fastrand::Rng::with_seed(1);
    server
        .load((0..PODS).map(|index| generate::pod(index, &mut rng)))
        .expect("loaded");
    server.compact();
    let listener = listen(runtime, &server);
    let address = listener.address();
    let never = |_: &[u8], _| false;
    let size = fetch(address, "/api/v1/pods", never);
    let body = Arc::new(vec![b'x'; size]);
    let (mut ours, mut constants) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(measured(|| {
            assert_eq!(fetch(address, "/api/v1/pods", never), size)
        }));
        let (address, handle) = constant(Arc::clone(&body), 1);
        constants.push(measured(|| assert_eq!(fetch(address, "/", never), size)));
        handle.join().expect("served");
    }
    report("list/pods/100000", "GB/s", size as f64 / 1e9, &ours, &constants);
    runtime.block_on(listener.shutdown());
}

fn watch(runtime: &tokio::runtime::Runtime) {
    let lease = |name: usize| {
        json!({
            "metadata": {"name": format!("lease-{name}"), "namespace": "default"},
            "spec": {"holderIdentity": "node", "leaseDurationSeconds": 40, "renewTime": "2026-01-01T00:00:00.000000Z"},
        })
    };
    let (mut ours, mut replays) = (Vec::new(), Vec::new());
    let (mut constants, mut writes) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let server = ApiServer::builder().history(EVENTS * 2, Duration::MAX).build();
        (0..100).for_each(|name| drop(server.create("leases", lease(name)).expect("created")));
        let listener = listen(runtime, &server);
        let from = server.revision();
        let address = listener.address();
        let path = format!("/apis/coordination.k8s.io/v1/leases?watch=1&resourceVersion={from}");
        let write = |event: usize| {
            let renew = json!({"spec": {"renewTime": format!("2026-01-01T00:00:01.{event:06}Z")}});
            server
                .patch("leases", "default", &format!("lease-{}", event % 100), renew)
                .expect("patched");
        };
        let mut size = 0;
        ours.push(measured(|| {
            size = followed(address, &path, || {
                while server.watches().len() < WATCHERS {
                    thread::yield_now();
                }
                writes.push(measured(|| (0..EVENTS).for_each(write)));
            });
        }));
        // The frames differ from those of the live run, the events don't.
        replays.push(measured(|| assert!(followed(address, &path, || ()) > 0)));
        runtime.block_on(listener.shutdown());
        let (address, handle) = constant(Arc::new(vec![b'x'; size]), WATCHERS);
        constants.push(measured(|| {
            thread::scope(|scope| {
                for _ in 0..WATCHERS {
                    scope.spawn(|| fetch(address, "/", |_, _| false));
                }
            });
        }));
        handle.join().expect("served");
    }
    let deliveries = (EVENTS * WATCHERS) as f64;
    report(
        "watch/leases/10 (events delivered)",
        "M/s",
        deliveries / 1e6,
        &ours,
        &constants,
    );
    report(
        "watch/leases/10 (out of the history)",
        "M/s",
        deliveries / 1e6,
        &replays,
        &constants,
    );
    let alone = median(&writes, |cost| cost.wall);
    table::row(&[
        &"of it: writing the events",
        &format!("{:.3} M/s", EVENTS as f64 / 1e6 / alone),
        &"",
        &"",
        &"",
    ]);
}

/// Reads all events in ten watches at once, while something else happens. Returns the bytes of one.
fn followed(address: SocketAddr, path: &str, meanwhile: impl FnOnce()) -> usize {
    thread::scope(|scope| {
        let watchers: Vec<_> = (0..WATCHERS)
            .map(|_| {
                scope.spawn(|| {
                    // Heads and chunk frames hold lines too; events are what ends in a brace and a line end.
                    let (mut seen, mut last) = (0, 0);
                    fetch(address, path, |bytes, _| {
                        for byte in bytes {
                            seen += usize::from(last == b'}' && *byte == b'\n');
                            last = *byte;
                        }
                        seen >= EVENTS
                    })
                })
            })
            .collect();
        meanwhile();
        let sizes = watchers
            .into_iter()
            .map(|watcher| watcher.join().expect("watched"));
        sizes.sum::<usize>() / WATCHERS
    })
}
