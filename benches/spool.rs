//! The store on a real disk: append until durable, drain, reopen. Every run checks that what went in came out.
//!
//! `RASK_BENCH_SPOOL_MB=1024 cargo bench --bench spool` spools that much through one store instead, and prints peak memory and the
//! distribution of append latency.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group};
use rask_log_forwarder::metrics::Metrics;
use rask_log_forwarder::position::{Cover, Generation, Range};
use rask_log_forwarder::sender::batch::Batch;
use rask_log_forwarder::sender::spool::{Options, Recovered, Store};
use rask_log_forwarder::source::SourceKey;
use std::path::Path;
use std::time::{Duration, Instant};

const LINE: &str = r#"{"service_type":"go","log_type":"structured","message":"request completed in time","level":"Info","timestamp":"2026-11-21T13:26:03.123456789Z","stream":"stdout","container_id":"5a","service_name":"api","fields":{"path":"/v1/orders/ORDER","user":"USER","took":"TOOKms"}}"#;

/// `records` lines of a service's log, varied enough to compress about as logs do.
fn batch(start: u64, records: u64) -> Batch {
    let mut random = fastrand::Rng::with_seed(start);
    let (mut cover, mut body) = (Cover::default(), Vec::new());
    for i in 0..records {
        let line = LINE
            .replace("ORDER", &random.u64(..).to_string())
            .replace("USER", &format!("{:x}", random.u32(..)))
            .replace("TOOK", &random.u16(..).to_string());
        cover.push(1, &[Range::new((start + i) * 354, (start + i + 1) * 354)]);
        body.extend_from_slice(line.as_bytes());
        body.push(b'\n');
    }
    let key = SourceKey { container: "5a".repeat(32), generation: Generation(7) };
    Batch { key, body: body.into(), cover, carried: Vec::new(), lines: records as u32, oldest_ms: 0, again: false }
}

fn open(dir: &Path) -> (Store, Recovered) {
    Store::open(Options { dir: dir.into(), max_bytes: 8 << 30, spooling: true }, Metrics::new()).expect("opens")
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
}

/// Takes everything out, in order; how many records there were.
async fn drain(store: &Store) -> (u64, u64) {
    let (mut records, mut bytes, mut after) = (0, 0, None);
    while let Some((id, batch)) = store.next(after).await {
        assert_eq!(batch.cover.ranges().as_slice().len(), 1, "contiguous");
        records += batch.records() as u64;
        bytes += batch.body.len() as u64;
        store.retire(id, batch.lines);
        after = Some(id);
    }
    (records, bytes)
}

fn append(c: &mut Criterion) {
    let mut group = c.benchmark_group("append");
    for records in [10, 1000, 4000] {
        let batch = batch(1, records);
        group.throughput(Throughput::Bytes(batch.body.len() as u64));
        group.bench_with_input(BenchmarkId::new("durable", records), &batch, |b, batch| {
            b.iter_custom(|rounds| {
                let dir = tempfile::tempdir().expect("a directory");
                let (store, _) = open(dir.path());
                let took = run(async {
                    let begin = Instant::now();
                    for _ in 0..rounds {
                        store.append(batch).await.expect("appended");
                    }
                    begin.elapsed()
                });
                assert_eq!(store.usage().lines, rounds * records);
                store.close();
                took
            });
        });
    }
    group.finish();
}

fn recover(c: &mut Criterion) {
    let mut group = c.benchmark_group("recover");
    let (frames, records) = (100, 1000);
    let body = batch(1, records).body.len() as u64;
    group.throughput(Throughput::Bytes(frames * body));
    group.bench_function("reopen and drain", |b| {
        b.iter_custom(|rounds| {
            let mut took = Duration::ZERO;
            for _ in 0..rounds {
                let dir = tempfile::tempdir().expect("a directory");
                let (store, _) = open(dir.path());
                run(async {
                    for i in 0..frames {
                        store.append(&batch(i * records, records)).await.expect("appended");
                    }
                });
                store.close();
                let begin = Instant::now();
                let (store, recovered) = open(dir.path());
                let drained = run(drain(&store));
                took += begin.elapsed();
                assert_eq!((recovered.frames, recovered.records), (frames, frames * records));
                assert_eq!(drained.0, frames * records);
                store.close();
            }
            took
        });
    });
    group.finish();
}

/// Not timed by criterion, whose memory would hide ours: so many MB of bodies through one store, 64 MB in it at a time.
fn through(megabytes: u64) {
    let dir = tempfile::tempdir().expect("a directory");
    let bare = memory("VmRSS");
    let (store, _) = open(dir.path());
    let records = 1000;
    let (mut wrote, mut read, mut at) = (0, 0, 0);
    let mut latencies = Vec::new();
    let begin = (memory("VmRSS"), Instant::now());
    run(async {
        while wrote < megabytes << 20 {
            let burst = wrote + (64 << 20);
            while wrote < burst {
                let batch = batch(at, records);
                let asked = Instant::now();
                store.append(&batch).await.expect("appended");
                latencies.push(asked.elapsed());
                wrote += batch.body.len() as u64;
                at += records;
            }
            read += drain(&store).await.1;
        }
        store.sync().await.expect("synced");
    });
    assert_eq!((read, store.usage().bytes), (wrote, 0));
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() - 1) as f64 * share) as usize];
    eprintln!(
        "{} MB through in {:?}; append p50 {:?} p99 {:?} max {:?}; memory {} KB without the store, {} KB with it, {} KB after, peak {} KB",
        wrote >> 20,
        begin.1.elapsed(),
        at(0.5),
        at(0.99),
        at(1.0),
        bare,
        begin.0,
        memory("VmRSS"),
        memory("VmHWM")
    );
    store.close();
}

/// A figure of this process in KB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    line.and_then(|text| text.trim().trim_end_matches(" kB").parse().ok()).unwrap_or(0)
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).measurement_time(Duration::from_secs(3));
    targets = append, recover
}

fn main() {
    match std::env::var("RASK_BENCH_SPOOL_MB").map(|megabytes| megabytes.parse()) {
        Ok(megabytes) => through(megabytes.expect("a number")),
        Err(_) => {
            benches();
            Criterion::default().configure_from_args().final_summary();
        }
    }
}
