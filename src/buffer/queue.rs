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

#[cfg(test)]
mod tests {
    use super::super::{Chunk, Offsets};
    use super::*;
    use crate::position::Generation;
    use crate::source::{Container, Source};
    use std::time::Instant;

    fn chunk(lines: u32, bytes: usize, number: u64) -> Item {
        let container = Container { name: "n".into(), ..Container::new("c", "s") };
        Item::Chunk(Chunk {
            source: Arc::new(Source { container: Arc::new(container), generation: Generation(1) }),
            data: vec![b'\n'; bytes].into(),
            offsets: Offsets::File(number),
            lines,
            read_at: Instant::now(),
        })
    }

    fn number(item: Option<Item>) -> Option<u64> {
        match item {
            Some(Item::Chunk(Chunk { offsets: Offsets::File(number), .. })) => Some(number),
            _ => None,
        }
    }

    #[test]
    fn both_bounds_hold_and_an_oversized_item_passes_alone() {
        let (sender, mut receiver) = queue(10, 100);
        assert!(sender.try_send(chunk(50, 500, 0)).is_ok(), "an empty queue takes anything");
        assert!(sender.try_send(chunk(1, 1, 1)).is_err());
        assert_eq!(number(receiver.try_recv()), Some(0));
        assert!(sender.try_send(chunk(6, 10, 2)).is_ok());
        assert!(sender.try_send(chunk(5, 10, 3)).is_err(), "eleven lines");
        assert!(sender.try_send(chunk(1, 91, 4)).is_err(), "a hundred and one bytes");
        assert_eq!(receiver.depth(), (6, 10), "what was refused is not counted");
        assert!(sender.try_send(chunk(4, 90, 5)).is_ok());
        assert_eq!((number(receiver.try_recv()), number(receiver.try_recv())), (Some(2), Some(5)));
        assert_eq!(receiver.depth(), (0, 0));
    }

    #[tokio::test]
    async fn waiting_senders_lose_nothing_and_the_end_is_seen() {
        let (sender, mut receiver) = queue(4, 1000);
        let writers: Vec<_> = (0..3u64)
            .map(|writer| {
                let sender = sender.clone();
                tokio::spawn(async move {
                    for i in 0..500 {
                        sender.send(chunk(1 + (i % 3) as u32, 10, writer * 1000 + i)).await;
                    }
                })
            })
            .collect();
        drop(sender);
        let mut seen = vec![Vec::new(); 3];
        while let Some(item) = receiver.recv().await {
            assert!(receiver.depth().0 <= 4);
            let number = number(Some(item)).expect("a chunk");
            seen[(number / 1000) as usize].push(number % 1000);
        }
        for writer in writers {
            writer.await.expect("no panic");
        }
        assert!(seen.iter().all(|numbers| *numbers == (0..500).collect::<Vec<_>>()), "each sender's order is kept");
    }
}
