//! Everything that is counted. Registered once, shared by reference; counting is one atomic addition.
//!
//! Conservation, in lines of the log file, holds whenever the pipeline rests and is asserted in tests:
//! `lines_read + lines_recovered = lines_delivered + lines_pending + Σ lines_dropped{reason}`, where `recovered` is what the
//! spool still held at start-up and `pending` is the sum over the stages.
//! No label is taken from log content; `reason`, `format`, `status` and `stage` are closed sets.

use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// Handles of all metrics. Cloning shares them.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Where they are registered; `/metrics` encodes it.
    pub registry: Registry,
    /// Lines read from log files or streams (parts of split messages count each).
    pub lines_read: IntCounter,
    /// Bytes read from log files or streams.
    pub bytes_read: IntCounter,
    /// Lines that the spool still held when this process started, lines of dead letters that are sent again, and lines of a batch that
    /// was dropped from the spool while it was on its way, and came through.
    pub lines_recovered: IntCounter,
    /// Lines whose records the receiver has acknowledged.
    pub lines_delivered: IntCounter,
    /// Lines on their way, by `stage`: `queue`, `parser`, `batch`, `flight`, `spool`.
    pub lines_pending: IntGaugeVec,
    /// Lines given up, by `reason`.
    pub lines_dropped: IntCounterVec,
    /// Records acknowledged.
    pub records_sent: IntCounter,
    /// Batches by the `status` of the answer (`2xx` family as number, `timeout`, `connect`, `reset`).
    pub batches: IntCounterVec,
    /// Bytes of request bodies acknowledged, as sent (after compression).
    pub bytes_sent: IntCounter,
    /// Attempts repeated, by `status` of the failed one.
    pub retries: IntCounterVec,
    /// Lines that did not parse in their format, by `format`; they are sent raw.
    pub parse_failures: IntCounterVec,
    /// Records by `format` that took them.
    pub records_parsed: IntCounterVec,
    /// Secrets blacked out, by `rule`.
    pub redactions: IntCounterVec,
    /// Records cut at `MAX_LINE_BYTES`.
    pub records_truncated: IntCounter,
    /// Bytes written by Docker and not yet read, of log files. How much a log that Docker's API streams holds nobody tells;
    /// there `lag_seconds` says how far behind we are.
    pub lag_bytes: IntGauge,
    /// Age of the last line when it was parsed: by how much we are behind.
    pub lag_seconds: Gauge,
    /// Age of the oldest line read and not yet acknowledged.
    pub oldest_unacked_seconds: Gauge,
    /// From reading a line to its acknowledgement.
    pub ack_seconds: Histogram,
    /// Bytes in the queue.
    pub queue_bytes: IntGauge,
    /// Bound of the queue.
    pub queue_bytes_limit: IntGauge,
    /// Bytes in the spool.
    pub spool_bytes: IntGauge,
    /// Bound of the spool.
    pub spool_bytes_limit: IntGauge,
    /// Batches that went to the spool.
    pub spooled_batches: IntCounter,
    /// Bytes that were gone before they could be read.
    pub gap_bytes: IntCounter,
    /// Gaps reported.
    pub gaps: IntCounter,
    /// Rotations seen.
    pub rotations: IntCounter,
    /// Log files open.
    pub open_files: IntGauge,
    /// Of these, files that no name leads to any more.
    pub unlinked_files: IntGauge,
    /// What those take on disk, which is freed only when they are read.
    pub unlinked_bytes: IntGauge,
    /// Containers followed.
    pub containers: IntGauge,
    /// Connections opened to the receiver after the first.
    pub reconnects: IntCounter,
    /// Age of the newest checkpoint on disk.
    pub checkpoint_age_seconds: Gauge,
    /// Latency of durable spool writes.
    pub spool_sync_seconds: HistogramVec,
}

impl Metrics {
    /// Registers everything in a registry of its own.
    pub fn new() -> Self {
        let registry = Registry::new_custom(Some("rask_forwarder".into()), None).expect("the prefix is not empty");
        let r = &registry;
        let metrics = Self {
            lines_read: counter(r, "lines_read_total", "Lines read from the logs."),
            bytes_read: counter(r, "bytes_read_total", "Bytes read from the logs."),
            lines_recovered: counter(
                r,
                "lines_recovered_total",
                "Lines that the spool held at start-up, and of dead letters sent again.",
            ),
            lines_delivered: counter(r, "lines_delivered_total", "Lines acknowledged by the receiver."),
            lines_pending: gauges(r, "lines_pending", "Lines on their way.", &["stage"]),
            lines_dropped: counters(r, "lines_dropped_total", "Lines given up.", &["reason"]),
            records_sent: counter(r, "records_sent_total", "Records acknowledged by the receiver."),
            batches: counters(r, "batches_sent_total", "Batches sent, by outcome.", &["status"]),
            bytes_sent: counter(r, "bytes_sent_total", "Bytes of acknowledged request bodies."),
            retries: counters(r, "retries_total", "Attempts repeated, by outcome of the failed one.", &["status"]),
            parse_failures: counters(r, "parse_failures_total", "Lines sent raw, by format.", &["format"]),
            records_parsed: counters(r, "records_parsed_total", "Records by format.", &["format"]),
            redactions: counters(r, "redactions_total", "Secrets blacked out, by rule.", &["rule"]),
            records_truncated: counter(r, "records_truncated_total", "Records cut at MAX_LINE_BYTES."),
            lag_bytes: gauge(r, "lag_bytes", "Bytes of log files written by Docker and not yet read."),
            lag_seconds: float(r, "lag_seconds", "Age of the last line when it was parsed."),
            oldest_unacked_seconds: float(r, "oldest_unacked_seconds", "Age of the oldest unacknowledged line."),
            ack_seconds: histogram(r, "ack_seconds", "From reading a line to its acknowledgement."),
            queue_bytes: gauge(r, "queue_bytes", "Bytes in the queue."),
            queue_bytes_limit: gauge(r, "queue_bytes_limit", "Bound of the queue."),
            spool_bytes: gauge(r, "spool_bytes", "Bytes in the spool."),
            spool_bytes_limit: gauge(r, "spool_bytes_limit", "Bound of the spool."),
            spooled_batches: counter(r, "spooled_batches_total", "Batches that went to the spool."),
            gap_bytes: counter(r, "gap_bytes_total", "Bytes gone before they could be read."),
            gaps: counter(r, "gaps_total", "Gaps reported."),
            rotations: counter(r, "rotations_total", "Rotations seen."),
            open_files: gauge(r, "open_files", "Log files open."),
            unlinked_files: gauge(r, "unlinked_files", "Log files open that have no name any more."),
            unlinked_bytes: gauge(r, "unlinked_bytes", "Disk space that open files without a name take."),
            containers: gauge(r, "containers", "Containers followed."),
            reconnects: counter(r, "reconnects_total", "Connections opened to the receiver after the first."),
            checkpoint_age_seconds: float(r, "checkpoint_age_seconds", "Age of the newest checkpoint on disk."),
            spool_sync_seconds: {
                let opts = HistogramOpts::new("spool_sync_seconds", "Durable writes of the spool.")
                    .buckets(vec![0.0005, 0.002, 0.008, 0.03, 0.1, 0.5, 2.0]);
                register(r, HistogramVec::new(opts, &["kind"]).expect("valid name"))
            },
            registry,
        };
        let build = gauges(&metrics.registry, "build_info", "Always 1.", &["version"]);
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        metrics
    }

    /// Lines pending over all stages.
    pub fn pending(&self) -> i64 {
        ["queue", "parser", "batch", "flight", "spool"]
            .iter()
            .map(|stage| self.lines_pending.with_label_values(&[stage]).get())
            .sum()
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn register<C: prometheus::core::Collector + Clone + 'static>(registry: &Registry, metric: C) -> C {
    registry.register(Box::new(metric.clone())).expect("each name is registered once");
    metric
}

fn counter(r: &Registry, name: &str, help: &str) -> IntCounter {
    register(r, IntCounter::new(name, help).expect("valid name"))
}

fn counters(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    register(r, IntCounterVec::new(Opts::new(name, help), labels).expect("valid name"))
}

fn gauge(r: &Registry, name: &str, help: &str) -> IntGauge {
    register(r, IntGauge::new(name, help).expect("valid name"))
}

fn gauges(r: &Registry, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
    register(r, IntGaugeVec::new(Opts::new(name, help), labels).expect("valid name"))
}

fn float(r: &Registry, name: &str, help: &str) -> Gauge {
    register(r, Gauge::new(name, help).expect("valid name"))
}

fn histogram(r: &Registry, name: &str, help: &str) -> Histogram {
    let buckets = vec![0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.0, 10.0, 60.0];
    register(r, Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets)).expect("valid name"))
}
