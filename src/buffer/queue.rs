//! The queue between collector and parser: lock-free, bounded in lines and in bytes, losing nothing.
//!
//! - It carries chunks, not lines: one slot of the ring is a few hundred lines.
//! - A sender waits while the queue holds its bound of lines or bytes; reading stops, and the source file is the buffer.
//!   One item larger than a bound passes when the queue is empty, so that nothing can block for ever.
//! - Order is kept. There is one receiver; senders may be several, each keeping its own order.
//! - When every sender is gone the receiver gets what is left, then `None`.
//!
//! It knows nothing of files, parsing or the network.

use super::Item;
use crossbeam_queue::ArrayQueue;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Notify;

/// A new queue for at most `max_lines` and `max_bytes`.
pub fn queue(max_lines: usize, max_bytes: usize) -> (Sender, Receiver) {
    let shared = Arc::new(Shared {
        ring: ArrayQueue::new(crate::limits::QUEUE_CHUNKS),
        max_lines,
        max_bytes,
        lines: AtomicUsize::new(0),
        bytes: AtomicUsize::new(0),
        senders: AtomicUsize::new(1),
        filled: Notify::new(),
        drained: Notify::new(),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

#[derive(Debug)]
struct Shared {
    ring: ArrayQueue<Item>,
    max_lines: usize,
    max_bytes: usize,
    /// Lines in the ring; senders reserve before they push, the receiver releases after it pops.
    lines: AtomicUsize,
    /// Bytes in the ring, likewise.
    bytes: AtomicUsize,
    senders: AtomicUsize,
    /// Signalled after each push and when the last sender goes.
    filled: Notify,
    /// Signalled after each pop.
    drained: Notify,
}

impl Shared {
    /// Reserves room for an item; an empty queue has room for anything.
    fn reserve(&self, lines: usize, bytes: usize) -> bool {
        let reserve = |counter: &AtomicUsize, n: usize, max: usize| {
            counter
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |have| {
                    (have == 0 || have + n <= max).then_some(have + n)
                })
                .is_ok()
        };
        if !reserve(&self.lines, lines, self.max_lines) {
            return false;
        }
        if !reserve(&self.bytes, bytes, self.max_bytes) {
            self.lines.fetch_sub(lines, Ordering::AcqRel);
            return false;
        }
        true
    }

    fn release(&self, lines: usize, bytes: usize) {
        self.lines.fetch_sub(lines, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
    }
}

/// The collector's end.
#[derive(Debug)]
pub struct Sender {
    shared: Arc<Shared>,
}

impl Sender {
    /// Puts `item` in, or gives it back when the queue is at a bound.
    pub fn try_send(&self, item: Item) -> Result<(), Item> {
        let (lines, bytes) = (item.lines(), item.bytes());
        if !self.shared.reserve(lines, bytes) {
            return Err(item);
        }
        match self.shared.ring.push(item) {
            Ok(()) => {
                self.shared.filled.notify_one();
                Ok(())
            }
            Err(item) => {
                self.shared.release(lines, bytes);
                Err(item)
            }
        }
    }

    /// Puts `item` in, waiting for room. Cancelling loses nothing but the item that the caller still offered.
    pub async fn send(&self, mut item: Item) {
        loop {
            let room = self.shared.drained.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.try_send(item) {
                Ok(()) => return,
                Err(back) => item = back,
            }
            room.await;
        }
    }

    /// Lines and bytes waiting.
    pub fn depth(&self) -> (usize, usize) {
        (self.shared.lines.load(Ordering::Acquire), self.shared.bytes.load(Ordering::Acquire))
    }
}

impl Clone for Sender {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::AcqRel);
        Self { shared: self.shared.clone() }
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.filled.notify_one();
        }
    }
}

/// The parser's end.
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
}

impl Receiver {
    /// The next item, if there is one now.
    pub fn try_recv(&mut self) -> Option<Item> {
        let item = self.shared.ring.pop()?;
        self.shared.release(item.lines(), item.bytes());
        self.shared.drained.notify_waiters();
        Some(item)
    }

    /// The next item; `None` once every sender is gone and the queue is empty. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Item> {
        loop {
            if let Some(item) = self.try_recv() {
                return Some(item);
            }
            if self.shared.senders.load(Ordering::Acquire) == 0 {
                return self.try_recv();
            }
            self.shared.filled.notified().await;
        }
    }

    /// Lines and bytes waiting.
    pub fn depth(&self) -> (usize, usize) {
        (self.shared.lines.load(Ordering::Acquire), self.shared.bytes.load(Ordering::Acquire))
    }
}
