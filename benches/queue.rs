//! The queue as it is used: chunks of 200 lines between two threads, and within one. Every chunk must come out, in order.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rask_log_forwarder::buffer::{Chunk, Item, Offsets, queue};
use rask_log_forwarder::position::Generation;
use rask_log_forwarder::source::{Container, Source};
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const LINES: u32 = 200;
const CHUNKS: u64 = 10_000;

fn item(source: &Arc<Source>, data: &bytes::Bytes, number: u64) -> Item {
    Item::Chunk(Chunk {
        source: source.clone(),
        data: data.clone(),
        offsets: Offsets::File(number),
        lines: LINES,
        read_at: Instant::now(),
    })
}

fn check(item: &Item, expected: u64) -> u32 {
    match item {
        Item::Chunk(Chunk { offsets: Offsets::File(number), lines, .. }) if *number == expected => *lines,
        other => panic!("expected chunk {expected}, got {other:?}"),
    }
}

fn benches(c: &mut Criterion) {
    let container = Arc::new(Container::new(&"c".repeat(64), "bench"));
    let source = Arc::new(Source { container, generation: Generation(1) });
    let data = bytes::Bytes::from(vec![b'\n'; LINES as usize * 256]);
    let mut group = c.benchmark_group("queue");
    group.throughput(Throughput::Elements(CHUNKS * u64::from(LINES)));
    group.sample_size(20);

    group.bench_function("one_thread", |b| {
        let (sender, mut receiver) = queue::queue(100_000, 1 << 20);
        b.iter(|| {
            let mut lines = 0;
            for number in 0..CHUNKS {
                assert!(sender.try_send(item(&source, &data, number)).is_ok(), "there is room");
                lines += check(&receiver.try_recv().expect("just sent"), number);
            }
            assert_eq!(u64::from(lines), CHUNKS * u64::from(LINES));
            black_box(lines)
        });
    });

    group.bench_function("two_threads", |b| {
        b.iter(|| {
            let (sender, mut receiver) = queue::queue(100_000, 1 << 20);
            std::thread::scope(|scope| {
                scope.spawn(|| {
                    for number in 0..CHUNKS {
                        let mut item = item(&source, &data, number);
                        while let Err(back) = sender.try_send(item) {
                            item = back;
                            std::thread::yield_now();
                        }
                    }
                });
                for number in 0..CHUNKS {
                    let item = loop {
                        match receiver.try_recv() {
                            Some(item) => break item,
                            None => std::thread::yield_now(),
                        }
                    };
                    black_box(check(&item, number));
                }
            });
        });
    });
    group.finish();
}

criterion_group!(queue_benches, benches);
criterion_main!(queue_benches);
