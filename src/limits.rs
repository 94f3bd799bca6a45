//! Every limit that input or time can push against, in one place, with their relations checked when the program is compiled.
//!
//! What a person may change is in `config`; the defaults of those keys stand here too, so that the relations cover them.

use std::time::Duration;

/// Bytes asked of one `read(2)`: fits in L2, so that the scan that follows reads warm memory.
pub const READ_BYTES: usize = 64 << 10;

/// Docker cuts a message into parts of this many bytes (moby `daemon/logger/copier.go`, `defaultBufSize`).
pub const DOCKER_PART_BYTES: usize = 16 << 10;

/// Longest line of the log *file* that is read as one line. A part of 16 KiB in which every byte is escaped as `\u00xx` is
/// 96 KiB; labels in `attrs` come on top. Beyond it the line is garbage: it is cut here and the reader resynchronizes.
pub const MAX_ENVELOPE_BYTES: usize = 256 << 10;

/// Default of `MAX_LINE_BYTES`: the longest message, joined from parts.
pub const MAX_LINE_BYTES: usize = 1 << 20;

/// Between two lines of a stack trace, as Docker stamped them: longer, and the second is no part of it. Twice as long after the
/// last line was read, a trace is over though nothing has come.
pub const MULTILINE_PAUSE: Duration = Duration::from_millis(100);
/// The same between a line of a log and the trace behind it, which loggers write at once.
pub const LINE_PAUSE: Duration = Duration::from_millis(25);
/// Two lines of the message of an exception, which looks like none of a log, are less than this apart.
pub const MESSAGE_PAUSE: Duration = Duration::from_millis(1);
/// So many further lines of such a message.
pub const MESSAGE_LINES: u8 = 64;
/// The same within a report of PostgreSQL's, whose lines are written at once: an error, which has more lines nearly always, and
/// any other, of which each waits twice as long in silence. ADR 6 has the measurement.
pub const REPORT_PAUSES: [Duration; 2] = [Duration::from_millis(3), Duration::from_micros(1500)];
/// From the first line of a group to the last.
pub const MULTILINE_AGE: Duration = Duration::from_secs(2);
/// Messages in a group of lines; the next one begins another.
pub const MULTILINE_LINES: usize = 1000;
/// Bytes of text in a group beyond which nothing is added.
pub const MULTILINE_BYTES: usize = 256 << 10;
/// Disjoint ranges of the log that a group stands in, beyond which nothing is added: they are all named in one header.
pub const MULTILINE_RANGES: usize = 24;
/// Groups of one stream that are open at the same time: processes of PostgreSQL's that write long reports at once.
pub const MULTILINE_GROUPS: usize = 8;
/// Size of a compiled pattern of the label `rask.multiline`.
pub const COMPILED_BYTES: usize = 1 << 20;

/// Largest value that `MAX_LINE_BYTES` takes.
pub const MAX_LINE_BYTES_BOUND: usize = 4 << 20;

/// Places (ranges in all generations) at which the parts of one message may stand. A message up to the greatest
/// `MAX_LINE_BYTES` has fewer; of a longer one what follows is counted and passed over.
pub const JOIN_RANGES: usize = 288;

/// Default of `BUFFER_MAX_BYTES`: bytes of chunks waiting between collector and parser.
pub const BUFFER_MAX_BYTES: usize = 512 << 10;

/// Default of `BUFFER_CAPACITY`: lines waiting between collector and parser.
pub const BUFFER_CAPACITY: usize = 100_000;

/// Slots of the queue: chunks, however small. At 100,000 lines/s in chunks of one line this is 20 ms.
pub const QUEUE_CHUNKS: usize = 2048;

/// Default of `BATCH_SIZE`: records in one request.
pub const BATCH_RECORDS: usize = 10_000;

/// Bytes at which a batch is closed whatever its count. One record may exceed it: a batch holds at least one.
pub const BATCH_BYTES: usize = 512 << 10;

/// Bytes of records between parser and receiver (or spool) at which nothing more is parsed. The batch that exceeds it is still
/// made.
pub const PENDING_BYTES: usize = 3 * BATCH_BYTES;

/// Bytes of records that the sender holds at most, single records beyond `BATCH_BYTES` aside: what is pending and the batch that
/// exceeds it, as much again in the air when it stalls and goes to the spool, however many containers it is from, and nothing new
/// takes off before that has landed.
pub const SENDER_BYTES: usize = 2 * (PENDING_BYTES + BATCH_BYTES);

/// Disjoint ranges that one batch may cover. More than a few means held-back lines; then the batch is closed early,
/// which keeps `x-rask-batch` short.
pub const BATCH_RANGES: usize = 32;

/// Disjoint ranges kept for one generation; beyond it the receiver's or our own state is not believable.
pub const MAX_RANGES: usize = 4096;

/// Highest number of a rotated log file (`<id>-json.log.N`) that is looked at.
pub const MAX_SIBLING: u32 = 256;

/// Generations of one container whose positions are kept; the one that was updated longest ago goes first.
pub const GENERATIONS: usize = 288;

/// Bytes of an HTTP answer that are read; the rest is not needed to decide what to do.
pub const ANSWER_BYTES: usize = 64 << 10;

/// Bytes of `config.v2.json` that are read.
pub const CONTAINER_CONFIG_BYTES: u64 = 4 << 20;

/// Bytes of `CONFIG_FILE` and of `RASK_CONFIG` that are read.
pub const CONFIG_FILE_BYTES: usize = 1 << 20;

/// Bytes of a file that holds a secret, such as `RASK_TOKEN_FILE`.
pub const SECRET_BYTES: usize = 8 << 10;

/// Bytes of a pattern that a person gives (`RASK_KEEP`, `RASK_DROP`, `RASK_REDACT`, and labels).
pub const PATTERN_BYTES: usize = 1024;

/// Patterns in one key or label.
pub const PATTERNS: usize = 16;

/// Bytes that a compiled pattern takes, and as much again for what it remembers of the texts it has seen.
pub const REGEX_BYTES: usize = 256 << 10;

/// Requests that the admin endpoint serves at the same time, on its port and on its socket each.
pub const ADMIN_CONNECTIONS: usize = 64;
/// Longest life of a connection to the admin endpoint, from accept to close: one request, one answer.
pub const ADMIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest time until its request is complete.
pub const ADMIN_HEADER_TIMEOUT: Duration = Duration::from_secs(3);
/// Bytes of a request to it that are buffered.
pub const ADMIN_REQUEST_BYTES: usize = 8 << 10;

/// While lines are pending, the pipeline's loop turns at least this often, to show that it is alive and to keep the ages in
/// the metrics true.
pub const PULSE: Duration = Duration::from_secs(5);

/// Bounds of the time after which an unanswered batch counts as stalled; between them it is `FLUSH_INTERVAL_MS`.
pub const STALL_MIN: Duration = Duration::from_millis(100);
/// See [`STALL_MIN`].
pub const STALL_MAX: Duration = Duration::from_secs(5);
/// The same while draining.
pub const STALL_DRAINING: Duration = Duration::from_millis(500);

/// Time without a heartbeat, while lines are pending, after which `/healthz` calls the pipeline stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(30);

/// Bytes of a generation that identify it at most (see `position::Generation`): Docker's time stands at the end of the first
/// line, however long it is.
pub const FINGERPRINT_BYTES: usize = MAX_ENVELOPE_BYTES;

/// Bytes at the beginning of a log that are searched for the end of a run of NUL bytes, behind which its identity begins.
pub const NUL_RUN_BYTES: u64 = 4 << 20;

/// Generations of one container that are open at the same time: a bound of descriptors, and of deleted files whose space on
/// disk we hold (so many times `max-size`). Files that have a name are opened when there is room again.
pub const OPEN_GENERATIONS: usize = 64;

/// How long a rotated file that cannot be read holds up the newer ones before it is given up.
pub const READ_PATIENCE: Duration = if cfg!(test) { Duration::from_millis(700) } else { Duration::from_secs(30) };

/// How often is tried again to read the log of a container that could not be opened.
pub const FOLLOW_RETRY: Duration = Duration::from_secs(1);

/// First pause after a failed attempt; doubles, with full jitter, up to [`BACKOFF_MAX`].
pub const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest pause between attempts. Short, because the person waiting for the logs has just repaired the receiver.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// Pause after 401, 403 and 404: only a person can repair those.
pub const BACKOFF_HELD: Duration = Duration::from_secs(30);
/// Records refused one by one without any accepted in between, after which the receiver is held to refuse everything.
pub const REFUSALS_IN_A_ROW: u32 = 256;
/// Longest `Retry-After` that is honoured.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(300);

/// Positions acknowledged in memory reach the disk at least this often.
pub const CHECKPOINT_INTERVAL: Duration = Duration::from_millis(100);

/// Age of an acknowledgement that is not on disk at which nothing more is sent to a receiver that cannot tell repeated lines: with a
/// batch in the air, no more than 200 ms of lines come twice after a crash, however slow the disk is.
pub const UNSAVED_MAX: Duration = Duration::from_millis(150);
/// How often is looked whether it is.
pub const UNSAVED_LOOK: Duration = Duration::from_millis(5);

/// Size at which a spool segment is closed and the next begun.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// Default of `SHUTDOWN_TIMEOUT_MS`. Docker kills 10 s after SIGTERM.
pub const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(8);

const _: () = {
    assert!(MULTILINE_RANGES < BATCH_RANGES, "a record's ranges fit into a batch");
    assert!(DOCKER_PART_BYTES * 6 < MAX_ENVELOPE_BYTES, "a part escaped throughout must fit in an envelope");
    assert!(MAX_LINE_BYTES_BOUND / DOCKER_PART_BYTES < JOIN_RANGES, "no message is cut for being scattered");
    assert!(READ_BYTES <= MAX_ENVELOPE_BYTES);
    assert!(MAX_LINE_BYTES <= MAX_LINE_BYTES_BOUND);
    assert!(READ_BYTES * 2 <= BUFFER_MAX_BYTES, "the queue must hold more than one chunk");
    assert!(MAX_ENVELOPE_BYTES <= BUFFER_MAX_BYTES, "the longest envelope must fit in the queue");
    assert!(BATCH_BYTES as u64 * 4 <= SEGMENT_BYTES, "a segment must hold several batches");
    assert!(MAX_SIBLING as usize + 16 <= GENERATIONS, "every file that may be looked at again must be remembered");
    assert!(PULSE.as_secs() * 2 <= STUCK_AFTER.as_secs());
    assert!(STALL_MAX.as_secs() * 2 <= STUCK_AFTER.as_secs());
    assert!(CHECKPOINT_INTERVAL.as_millis() < UNSAVED_MAX.as_millis(), "a quick disk holds up nobody");
    assert!(
        REPORT_PAUSES[1].as_micros() * 2 <= 4000,
        "with a tick of the timer, what may have more lines is sent within 5 ms"
    );
    assert!(BATCH_RECORDS <= BUFFER_CAPACITY);
    assert!(SHUTDOWN_TIMEOUT.as_secs() < 10, "Docker kills 10 s after SIGTERM");
};
