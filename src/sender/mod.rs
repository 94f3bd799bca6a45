//! From records to acknowledged batches: what is sent next, and what happens while the receiver is away.
//!
//! ```text
//!  parser ──▶ open records ──close──▶ outbox ─────────────▶ flight ──▶ receiver
//!             (one per container)      (closed, in memory)      ▲
//!                                        └──▶ spool (disk) ────┘
//! ```
//!
//! Rules, in the order of [`Sender::launch`]; there is no mode beside these facts:
//! 1. While the receiver is well and the spool empty, a batch is closed at once when its container has no flight in the air, so
//!    an idle pipeline sends line by line and a busy one in batches that grow with the load.
//! 2. **Trouble** is: the receiver failed and has not answered since, or a flight has been in the air for longer than the flush
//!    interval (within bounds), or the spool holds anything. In trouble every unacknowledged batch goes to the spool, in order, the ones in the
//!    air first; fresh records follow after at most a flush interval. A position is committed by 2xx or by the durable append.
//! 3. The spool feeds the receiver before memory does, one frame at a time, never while a flight from memory is in the air:
//!    order is kept, memory and spool never both feed the receiver.
//! 4. When the spool is full or its disk fails, the outbox waits; [`Sender::has_room`] turns false, the queue fills, reading
//!    stops, and the source file is the buffer. A batch in an outbox behind an *empty* spool may fly from memory.
//! 5. Containers are independent of each other up to `MAX_CONNECTIONS` flights; one container has one flight at most.
//! 6. A receiver that cannot tell repeated lines gets nothing more while an acknowledgement is not on disk for too long: what comes
//!    twice after a crash is bounded.
//!
//! The sender knows nothing of log formats and files. It is driven by [`pipeline`](crate::pipeline) on one thread.

pub mod batch;
pub mod flight;
pub mod http;
mod report;
pub mod retry;
pub mod spool;
#[cfg(test)]
pub(crate) mod tests;

use crate::admin::Health;
use crate::config::Config;
use crate::limits;
use crate::metrics::Metrics;
use crate::parser::{Bounds, Records};
use crate::source::{Source, SourceKey};
use batch::Batch;
use flight::{Failure, Landing, Tally, fly};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use http::{Connection, Target};
use prometheus::IntGauge;
use retry::Backoff;
use spool::{AppendError, FrameId, Store};
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Pause before the store is asked again after it could not take or give a batch.
const APPEND_PAUSE: Duration = Duration::from_secs(1);

/// Containers of which is remembered that the store knows them; it can be told again.
const BEGUN: usize = 1024;

/// Everything between parsed records and the receiver's acknowledgement.
pub struct Sender {
    target: Target,
    store: Option<Store>,
    /// Whether batches may go to the spool (`ENABLE_DISK_FALLBACK`).
    spooling: bool,
    bounds: Bounds,
    /// After this time in the air a flight is stalled, and an open record has waited long enough: `FLUSH_INTERVAL_MS`
    /// within bounds that make sense for both.
    patience: Duration,
    max_flights: usize,
    metrics: Metrics,
    /// `lines_pending{stage="flight"}` and `{stage="batch"}`.
    pending: [IntGauge; 2],
    report: report::Report,

    /// Records being filled, oldest first; one for each container that has any.
    open: VecDeque<Records>,
    /// Closed batches in order, not yet flown or appended.
    outbox: VecDeque<Outgoing>,
    /// Flights in the air, oldest first.
    aloft: Vec<Aloft>,
    landings: FuturesUnordered<BoxFuture<'static, (u64, Connection, Landing)>>,
    last_flight: u64,
    /// Connections at rest.
    rested: Vec<Connection>,
    /// The append in progress and what it appends.
    appending: Option<(Outgoing, BoxFuture<'static, Result<FrameId, AppendError>>)>,
    /// No append before this moment: the spool was full.
    append_after: Option<Instant>,
    /// No frame is read before this moment: the store could not give one.
    read_after: Option<Instant>,
    /// The store's thread has gone.
    broken: bool,
    /// The frame being read.
    reading: Option<BoxFuture<'static, Option<(FrameId, Load)>>>,
    /// Frames in memory, read or left over from a failed flight: the oldest of the spool.
    ready_frames: BTreeMap<FrameId, Load>,
    /// Set when the receiver fails, cleared by its next good answer: no flight before this moment.
    away_until: Option<Instant>,
    backoff: Backoff,
    /// Rule 6 holds: nothing is launched.
    unsaved: bool,
    /// Nothing more will be parsed.
    closing: bool,
    /// The moment by which the last [`Sender::launch`] judged; later moments wake [`Sender::event`].
    launched_at: Instant,
    /// Body buffer for the next records.
    spare: Option<Vec<u8>>,
    /// Containers that the store knows of.
    begun: HashSet<String>,
}

/// A closed batch in memory.
struct Outgoing {
    batch: Arc<Batch>,
    /// When its oldest line was read.
    oldest: Instant,
    /// The flight that is trying to deliver this very batch.
    shadow_of: Option<u64>,
}

/// What a flight carries.
struct Load {
    /// Parts of one batch, in order; none when earlier flights have settled all of it.
    parts: Vec<Arc<Batch>>,
    /// What earlier flights achieved for this frame.
    tally: Tally,
    /// The frame that holds the batch, and its lines.
    frame: Option<(FrameId, u32)>,
    oldest: Option<Instant>,
}

/// A flight in the air.
struct Aloft {
    id: u64,
    since: Instant,
    container: String,
    /// What it carries when that came from memory.
    batch: Option<Arc<Batch>>,
    oldest: Option<Instant>,
    frame: Option<(FrameId, u32)>,
    lines: u64,
    /// Whether its batch has been handed to the spool, whose answer may be outstanding.
    shadowed: bool,
    /// It has landed while the append of its shadow is under way: judged when that is done.
    landing: Option<Landing>,
}

impl Sender {
    /// A sender for the receiver of `config`. Without a `store` positions live in memory only.
    pub fn new(config: &Config, target: Target, store: Option<Store>, metrics: Metrics, health: Arc<Health>) -> Self {
        Self {
            target,
            spooling: config.disk_fallback && store.is_some(),
            store,
            bounds: Bounds { records: config.batch_size, bytes: limits::BATCH_BYTES },
            patience: config.flush_interval.clamp(limits::STALL_MIN, limits::STALL_MAX),
            max_flights: config.max_connections,
            report: report::Report::new(config.endpoint.to_string(), health),
            pending: ["flight", "batch"].map(|stage| metrics.lines_pending.with_label_values(&[stage])),
            metrics,
            open: VecDeque::new(),
            outbox: VecDeque::new(),
            aloft: Vec::new(),
            landings: FuturesUnordered::new(),
            last_flight: 0,
            rested: Vec::new(),
            appending: None,
            append_after: None,
            read_after: None,
            broken: false,
            reading: None,
            ready_frames: BTreeMap::new(),
            away_until: None,
            backoff: Backoff::default(),
            unsaved: false,
            closing: false,
            launched_at: Instant::now(),
            spare: None,
            begun: HashSet::new(),
        }
    }

    /// Whether the parser may produce more. A batch counts until it is delivered or in the spool, wherever it is. Those that are in
    /// the spool and still in the air come on top ([`limits::SENDER_BYTES`]): were they counted, a receiver that hangs would stop the
    /// reading, and the drain at the end with it.
    pub fn has_room(&self) -> bool {
        let open: usize = self.open.iter().map(|records| records.body.len()).sum();
        let appending = self.appending.as_ref().map(|(outgoing, _)| outgoing);
        let closed = self.outbox.iter().chain(appending).filter(|outgoing| outgoing.shadow_of.is_none());
        let closed: usize = closed.map(|outgoing| outgoing.batch.body.len()).sum();
        let aloft = self.aloft.iter().filter(|aloft| aloft.frame.is_none()).filter_map(|aloft| aloft.batch.as_ref());
        open + closed + aloft.map(|batch| batch.body.len()).sum::<usize>() < limits::PENDING_BYTES
    }

    /// Whether a launch now would send what has just been parsed.
    pub fn is_idle(&self) -> bool {
        self.aloft.is_empty() && !self.trouble(Instant::now())
    }

    /// When a buffer of records is full.
    pub fn bounds(&self) -> Bounds {
        self.bounds
    }

    /// The records of `source` to fill. Full ones are closed first, and so are those of the container's earlier sources:
    /// a container has one open buffer, so that the outbox keeps its order.
    pub fn records_for(&mut self, source: &Arc<Source>) -> &mut Records {
        if let Some(at) = self.open.iter().position(|records| records.source.container.id == source.container.id) {
            let records = &self.open[at];
            if records.source == *source && !records.is_full(self.bounds) {
                return &mut self.open[at];
            }
            self.close(at);
        }
        self.begin(source);
        let mut records = Records::new(source.clone());
        records.body = self.spare.take().unwrap_or_default();
        self.open.push_back(records);
        let last = self.open.len() - 1;
        &mut self.open[last]
    }

    /// Lets the store know which containers have begun.
    fn begin(&mut self, source: &Source) {
        let Some(store) = &self.store else { return };
        if self.begun.contains(&source.container.id) {
            return;
        }
        if self.begun.len() >= BEGUN {
            self.begun.clear();
        }
        self.begun.insert(source.container.id.clone());
        store.begin(source.key());
    }

    /// Nothing more will be parsed: what is open goes at once, to the spool where it cannot be sent.
    pub fn close_input(&mut self) {
        self.closing = true;
        self.patience = self.patience.min(limits::STALL_DRAINING);
    }

    /// Whether the store has gone: nothing can be made durable any more, and nothing remembered.
    pub fn is_broken(&self) -> bool {
        self.broken
    }

    /// Whether everything that was parsed is delivered or durable. What is in the air and in the spool as well need not land: see
    /// [`flight`].
    pub fn is_drained(&self) -> bool {
        self.open.iter().all(Records::is_empty)
            && self.outbox.is_empty()
            && self.appending.is_none()
            && self.aloft.iter().all(|aloft| aloft.frame.is_some())
    }

    /// Lines that are neither delivered nor durable.
    pub fn undelivered_lines(&self) -> u64 {
        let open: u64 = self.open.iter().map(|records| u64::from(records.lines)).sum();
        let appending = self.appending.as_ref().map(|(outgoing, _)| outgoing);
        let closed = self.outbox.iter().chain(appending).filter(|outgoing| outgoing.shadow_of.is_none());
        open + closed.map(|outgoing| u64::from(outgoing.batch.lines)).sum::<u64>() + self.lines_aloft()
    }

    /// Starts whatever can be started now: appends, frame reads, flights.
    pub fn launch(&mut self) {
        let now = Instant::now();
        self.launched_at = now;
        self.settle_unrecorded();
        self.open.retain(|records| !records.is_empty());
        if !self.trouble(now) {
            self.append_after = None;
            self.report.spool_is_not_needed();
        } else if self.spooling {
            self.shadow_flights();
            self.close_aged(now);
            self.append_next(now);
        }
        self.broken |= self.store.as_ref().is_some_and(Store::is_gone);
        self.unsaved = self.is_unsaved();
        if self.away_until.is_none_or(|until| until <= now) && !self.unsaved {
            if self.spool_holds_anything() {
                self.launch_frame(now);
            } else {
                self.launch_from_memory(now);
            }
        }
        self.report.records_are_refused(self.target.refusals(), now, self.closing);
        self.count_pending(now);
    }

    /// Waits until something has happened that makes another [`launch`](Self::launch) worthwhile. Safe to cancel.
    pub async fn event(&mut self) {
        let wake_at = self.next_wake();
        tokio::select! {
            Some((id, connection, landing)) = self.landings.next() => self.landed(id, connection, landing),
            result = finish(self.appending.as_mut().map(|(_, append)| append)) => self.appended(result),
            frame = finish(self.reading.as_mut()) => self.frame_read(frame),
            () = refilled(self.store.as_ref()) => {}
            () = sleep_until(wake_at) => {}
        }
    }

    /// The next moment at which time alone changes what [`launch`](Self::launch) would do.
    fn next_wake(&self) -> Option<Instant> {
        let stalls = self.aloft.iter().filter(|aloft| !aloft.shadowed).map(|aloft| aloft.since + self.patience);
        let ages = self.open.iter().filter_map(|records| records.oldest).map(|oldest| oldest + self.patience);
        let pulse = self.trouble(self.launched_at).then(|| self.launched_at + limits::PULSE);
        let look = self.unsaved.then(|| self.launched_at + limits::UNSAVED_LOOK);
        let pauses = [self.away_until, self.append_after, self.read_after, look, self.report.burst_ends()];
        let times = stalls.chain(ages).chain(pauses.into_iter().flatten()).chain(pulse);
        times.filter(|at| *at > self.launched_at).min()
    }

    /// Rule 6.
    fn is_unsaved(&self) -> bool {
        let blind = |store: &Store| !self.target.recognizes() && store.unsaved_for() > limits::UNSAVED_MAX;
        self.store.as_ref().is_some_and(blind)
    }

    /// Rule 2.
    fn trouble(&self, now: Instant) -> bool {
        let stalled = |aloft: &Aloft| now.duration_since(aloft.since) >= self.patience;
        self.away_until.is_some() || self.spool_holds_anything() || self.aloft.iter().any(stalled)
    }

    /// A frame in memory counts even when its directory has been taken away: it is older than all that is not in the spool.
    fn spool_holds_anything(&self) -> bool {
        self.appending.is_some()
            || !self.ready_frames.is_empty()
            || self.store.as_ref().is_some_and(|store| store.usage().frames > 0)
    }

    /// The batches in the air go to the spool before anything younger does.
    fn shadow_flights(&mut self) {
        if self.aloft.iter().any(|aloft| !aloft.shadowed) {
            self.report.flight_stalls(self.spooling);
        }
        for aloft in self.aloft.iter_mut().rev().filter(|aloft| !aloft.shadowed) {
            if let (Some(batch), Some(oldest)) = (&aloft.batch, aloft.oldest) {
                aloft.shadowed = true;
                self.outbox.push_front(Outgoing { batch: batch.clone(), oldest, shadow_of: Some(aloft.id) });
            }
        }
    }

    /// Lines that no record was made from are done with, where no record to come will cover them.
    fn settle_unrecorded(&mut self) {
        let Some(store) = &self.store else { return };
        for records in self.open.iter_mut().filter(|records| records.is_empty()) {
            settle(store, records);
        }
    }

    fn close_aged(&mut self, now: Instant) {
        let (closing, patience) = (self.closing, self.patience);
        let aged = |oldest: Instant| now.duration_since(oldest) >= patience;
        while self.open.front().is_some_and(|records| closing || records.oldest.is_none_or(aged)) {
            self.close(0);
        }
    }

    /// Closes the open records at `at` into the outbox.
    fn close(&mut self, at: usize) {
        if let (Some(store), Some(records)) = (&self.store, self.open.get_mut(at)) {
            settle(store, records);
        }
        let Some(records) = self.open.remove(at).filter(|records| !records.is_empty()) else { return };
        let oldest = records.oldest.unwrap_or_else(Instant::now);
        let read_at = SystemTime::now().checked_sub(oldest.elapsed()).unwrap_or(UNIX_EPOCH);
        let oldest_ms = read_at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
        let batch = Arc::new(Batch::close(records, oldest_ms));
        self.outbox.push_back(Outgoing { batch, oldest, shadow_of: None });
    }

    fn append_next(&mut self, now: Instant) {
        let Some(store) = &self.store else { return };
        if self.appending.is_some() || self.append_after.is_some_and(|after| now < after) {
            return;
        }
        self.append_after = None;
        if let Some(outgoing) = self.outbox.pop_front() {
            let (store, batch) = (store.clone(), outgoing.batch.clone());
            self.appending = Some((outgoing, Box::pin(async move { store.append(&batch).await })));
        }
    }

    fn appended(&mut self, result: Result<FrameId, AppendError>) {
        let Some((outgoing, _)) = self.appending.take() else { return };
        let shadow_of = outgoing.shadow_of;
        let aloft = self.aloft.iter_mut().find(|aloft| shadow_of == Some(aloft.id));
        match result {
            Ok(frame) => {
                tracing::debug!(?frame, ?shadow_of, batch = outgoing.batch.header(), "a batch is in the spool");
                self.report.spool_takes();
                if let Some(aloft) = aloft {
                    aloft.frame = Some((frame, outgoing.batch.lines));
                }
            }
            Err(error) => {
                self.broken |= matches!(error, AppendError::Closed);
                self.report.spool_refuses(&error);
                self.append_after = Some(Instant::now() + APPEND_PAUSE);
                self.outbox.push_front(outgoing);
            }
        }
        let landed = self.aloft.iter().position(|aloft| shadow_of == Some(aloft.id) && aloft.landing.is_some());
        if let Some(at) = landed {
            let mut aloft = self.aloft.remove(at);
            if let Some(landing) = aloft.landing.take() {
                self.judge(aloft, landing);
            }
        }
    }

    fn frame_read(&mut self, frame: Option<(FrameId, Load)>) {
        self.reading = None;
        match frame {
            Some((id, Load { parts, tally, frame: Some((_, lines)), .. })) if parts.is_empty() => {
                self.settle(tally, None);
                self.retire(id, lines);
            }
            Some((id, load)) => {
                self.ready_frames.insert(id, load);
            }
            // There are frames that cannot be read now; the store has said why.
            None if self.spool_holds_anything() => self.read_after = Some(Instant::now() + APPEND_PAUSE),
            None => {}
        }
    }

    /// Rule 3.
    fn launch_frame(&mut self, now: Instant) {
        // At the end what is in the spool stays there, unless it keeps what is in memory from becoming durable.
        let rest = self.closing && self.spooling && self.append_after.is_none();
        if !self.aloft.is_empty() || self.reading.is_some() || rest || self.read_after.is_some_and(|after| now < after)
        {
            return;
        }
        self.read_after = None;
        if let Some((_, load)) = self.ready_frames.pop_first() {
            self.fly(load, now);
        } else if let Some(store) = self.store.clone() {
            self.reading = Some(Box::pin(read_frame(store)));
        }
    }

    /// Rules 1 and 5.
    fn launch_from_memory(&mut self, now: Instant) {
        let mut at = 0;
        while self.aloft.len() < self.max_flights && at < self.outbox.len() {
            let container = &self.outbox[at].batch.key.container;
            let free = self.outbox[at].shadow_of.is_none() && !self.is_aloft(container);
            match free.then(|| self.outbox.remove(at)).flatten() {
                Some(outgoing) => self.fly(outgoing.into_load(), now),
                None => at += 1,
            }
        }
        let mut at = 0;
        while self.aloft.len() < self.max_flights && at < self.open.len() {
            let container = &self.open[at].source.container.id;
            let behind = self.outbox.iter().any(|outgoing| outgoing.batch.key.container == *container);
            if behind || self.is_aloft(container) {
                at += 1;
                continue;
            }
            self.close(at);
            if let Some(outgoing) = self.outbox.pop_back() {
                self.fly(outgoing.into_load(), now);
            }
        }
    }

    fn is_aloft(&self, container: &str) -> bool {
        self.aloft.iter().any(|aloft| aloft.container == container)
    }

    fn fly(&mut self, load: Load, now: Instant) {
        let Load { parts, tally, frame, oldest } = load;
        let Some(first) = parts.first() else { return };
        self.last_flight += 1;
        let id = self.last_flight;
        self.aloft.push(Aloft {
            id,
            since: now,
            container: first.key.container.clone(),
            batch: frame.is_none().then(|| first.clone()),
            oldest,
            frame,
            lines: parts.iter().map(|part| u64::from(part.lines)).sum(),
            shadowed: frame.is_some(),
            landing: None,
        });
        tracing::debug!(id, ?frame, batch = first.header(), "a batch takes off");
        let mut connection = self.rested.pop().unwrap_or_else(|| Connection::new(self.target.clone()));
        let store = self.store.clone();
        self.landings.push(Box::pin(async move {
            let landing = fly(&mut connection, store.as_ref(), parts, tally).await;
            (id, connection, landing)
        }));
    }

    fn landed(&mut self, id: u64, connection: Connection, landing: Landing) {
        self.rested.push(connection);
        tracing::debug!(id, ?landing.tally, rest = landing.rest.as_ref().map(|(parts, _)| parts.len()), "a batch has landed");
        match &landing.rest {
            None => {
                self.away_until = None;
                self.backoff.reset();
                self.report.receiver_is_well();
            }
            Some((_, failure)) => self.receiver_fails(failure),
        }
        let Some(at) = self.aloft.iter().position(|aloft| aloft.id == id) else { return };
        if self.appending.as_ref().is_some_and(|(outgoing, _)| outgoing.shadow_of == Some(id)) {
            self.aloft[at].landing = Some(landing);
        } else {
            let aloft = self.aloft.remove(at);
            self.judge(aloft, landing);
        }
    }

    fn receiver_fails(&mut self, failure: &Failure) {
        self.metrics.retries.with_label_values(&[&failure.status.label()]).inc();
        let asked = if failure.held { Some(limits::BACKOFF_HELD) } else { failure.after };
        self.away_until = Some(Instant::now() + self.backoff.next(asked));
        self.report.receiver_fails(failure, self.spooling);
    }

    /// A flight is over and no append of its batch is under way.
    fn judge(&mut self, aloft: Aloft, landing: Landing) {
        // Where its shadow still stands in the outbox, nothing of it has been appended.
        self.outbox.retain(|outgoing| outgoing.shadow_of != Some(aloft.id));
        let Landing { tally, rest } = landing;
        match (rest, aloft.frame) {
            (None, frame) => {
                self.settle(tally, aloft.oldest);
                if let Some((frame, lines)) = frame {
                    self.retire(frame, lines);
                }
                self.reuse(aloft.batch);
            }
            (Some((parts, _)), Some((id, lines))) => {
                let whole = matches!((&parts[..], &aloft.batch), ([part], Some(batch)) if Arc::ptr_eq(part, batch));
                // Of the batches that many containers had in the air, all but one are read again when it is their turn.
                if !whole || self.ready_frames.is_empty() {
                    let load = Load { parts, tally, frame: Some((id, lines)), oldest: None };
                    self.ready_frames.insert(id, load);
                }
            }
            (Some((parts, _)), None) => {
                self.settle(tally, aloft.oldest);
                let oldest = aloft.oldest.unwrap_or(aloft.since);
                for batch in parts.into_iter().rev() {
                    self.outbox.push_front(Outgoing { batch, oldest, shadow_of: None });
                }
            }
        }
    }

    fn retire(&mut self, frame: FrameId, lines: u32) {
        if let Some(store) = &self.store {
            store.retire(frame, lines);
            self.append_after = None;
        }
    }

    fn settle(&self, tally: Tally, oldest: Option<Instant>) {
        let metrics = &self.metrics;
        metrics.lines_delivered.inc_by(tally.delivered);
        metrics.records_sent.inc_by(tally.records);
        for (reason, lines) in [("refused", tally.refused), ("too_large", tally.too_large)] {
            if lines > 0 {
                metrics.lines_dropped.with_label_values(&[reason]).inc_by(lines);
            }
        }
        if let Some(oldest) = oldest {
            metrics.ack_seconds.observe(oldest.elapsed().as_secs_f64());
        }
    }

    /// Keeps the largest body buffer that is no longer needed.
    fn reuse(&mut self, batch: Option<Arc<Batch>>) {
        if let Some(batch) = batch.and_then(Arc::into_inner) {
            let mut body = Vec::from(batch.body);
            body.clear();
            if body.capacity() <= limits::BATCH_BYTES * 2
                && self.spare.as_ref().is_none_or(|spare| spare.capacity() < body.capacity())
            {
                self.spare = Some(body);
            }
        }
    }

    fn lines_aloft(&self) -> u64 {
        self.aloft.iter().filter(|aloft| aloft.frame.is_none()).map(|aloft| aloft.lines).sum()
    }

    fn count_pending(&self, now: Instant) {
        let aloft = self.lines_aloft();
        let waiting = self.undelivered_lines() - aloft;
        self.pending[0].set(aloft as i64);
        self.pending[1].set(waiting as i64);
        let oldest = (self.aloft.iter().filter_map(|aloft| aloft.oldest))
            .chain(self.outbox.iter().map(|outgoing| outgoing.oldest))
            .chain(self.open.iter().filter_map(|records| records.oldest))
            .min();
        let age = oldest.map_or(0.0, |oldest| now.duration_since(oldest).as_secs_f64());
        self.metrics.oldest_unacked_seconds.set(age);
    }
}

impl Outgoing {
    fn into_load(self) -> Load {
        Load { parts: vec![self.batch], tally: Tally::default(), frame: None, oldest: Some(self.oldest) }
    }
}

/// The oldest frame of the spool, as far as it is not settled.
async fn read_frame(store: Store) -> Option<(FrameId, Load)> {
    let (id, batch) = store.next(None).await?;
    let lines = batch.lines;
    let left = store.left_of(batch).await?;
    // Some of the others may be dead letters; whoever set them aside has counted them, or was killed.
    let settled = lines - left.as_ref().map_or(0, |left| left.lines);
    let tally = Tally { delivered: u64::from(settled), ..Tally::default() };
    let parts = left.into_iter().map(Arc::new).collect();
    Some((id, Load { parts, tally, frame: Some((id, lines)), oldest: None }))
}

fn settle(store: &Store, records: &mut Records) {
    if !records.settled.is_empty() {
        let container = &records.source.container.id;
        let key = |generation| SourceKey { container: container.clone(), generation };
        store.commit(records.settled.drain(..).map(|(generation, ranges)| (key(generation), ranges)).collect());
    }
}

/// Polls a future that may not be there.
async fn finish<T>(future: Option<&mut BoxFuture<'static, T>>) -> T {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Dead letters come back by themselves.
async fn refilled(store: Option<&Store>) {
    match store {
        Some(store) => store.refilled().await,
        None => std::future::pending().await,
    }
}

/// Waits for a moment, or for ever.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
