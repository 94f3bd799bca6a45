//! The receiving end over real HTTP: answers, faults, restarts.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use rask::receiver::{Detail, Fault, Keep, Options, Receiver};
use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

const ID: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn body(seqs: std::ops::Range<u64>) -> String {
    seqs.map(|seq| {
        format!(
            "{{\"service_type\":\"plain\",\"log_type\":\"plain\",\"message\":\"x seq={seq} run=r\",\
             \"timestamp\":\"2026-11-21T13:31:08.9Z\",\"stream\":\"stdout\",\"container_id\":\"{ID}\",\
             \"service_name\":\"api\",\"fields\":{{}}}}\n"
        )
    })
    .collect()
}

fn request(cover: &str, body: impl Into<Bytes>, records: usize) -> Request<Full<Bytes>> {
    Request::post("/v1/aggregate")
        .header("host", "localhost")
        .header("content-type", "application/x-ndjson")
        .header("x-batch-size", records)
        .header("x-batch-id", "01234567-89ab-8def-8123-456789abcdef")
        .header("x-batch-type", "logs")
        .header("x-forwarder-version", "0")
        .header("x-rask-batch", format!("v=1;container={ID};generation=0000000000000001;cover={cover}"))
        .body(Full::new(body.into()))
        .unwrap()
}

/// One request on a connection of its own: status and body, or what went wrong with the connection.
fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Result<(StatusCode, String), String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let stream = tokio::net::TcpStream::connect(address).await.map_err(|error| error.to_string())?;
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| error.to_string())?;
        tokio::spawn(connection);
        let exchange = async {
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
            Ok((status, String::from_utf8(body.to_vec()).unwrap()))
        };
        tokio::time::timeout(Duration::from_millis(500), exchange).await.map_err(|_| "timeout".to_owned())?
    })
}

fn batch(receiver: &Receiver, cover: &str, seqs: std::ops::Range<u64>) -> Result<(u16, String), String> {
    let count = (seqs.end - seqs.start) as usize;
    send(receiver.address(), request(cover, body(seqs), count)).map(|(status, body)| (status.as_u16(), body))
}

fn accepted(count: u64) -> Result<(u16, String), String> {
    Ok((200, format!("{{\"accepted\":{count},\"malformed\":0,\"duplicate\":0}}")))
}

fn repeated(count: u64) -> Result<(u16, String), String> {
    Ok((200, format!("{{\"accepted\":0,\"malformed\":0,\"duplicate\":{count}}}")))
}

/// The cover of a batch that covers nothing, and what tells it from others.
fn nothing(seqs: std::ops::Range<u64>) -> String {
    format!(";body={:016x}", rask_log_forwarder::position::fnv1a(body(seqs).as_bytes()))
}

#[test]
fn batches_that_cover_nothing_are_told_by_their_bodies() {
    let receiver = Receiver::start(Options::default()).unwrap();
    assert_eq!(batch(&receiver, &nothing(0..1), 0..1), accepted(1));
    assert_eq!(batch(&receiver, &nothing(1..2), 1..2), accepted(1));
    assert_eq!(batch(&receiver, &nothing(0..1), 0..1), repeated(1));
    assert_eq!(batch(&receiver, &nothing(1..2), 1..2), repeated(1));
    assert_eq!(receiver.committed(ID, 1).to_string(), "");
    receiver.ledger(|ledger| assert_eq!((ledger.distinct(), ledger.violations()), (2, &[] as &[String])));
}

#[test]
fn answers_of_the_wire_format() {
    let receiver = Receiver::start(Options::default()).unwrap();
    assert_eq!(batch(&receiver, "0-100", 0..2), accepted(2));
    assert_eq!(batch(&receiver, "0-100", 0..2), repeated(2));
    assert_eq!(batch(&receiver, "200-300", 2..3), accepted(1));
    let overlap = "{\"committed\":\"0-100,200-300\",\"error\":\"overlap\"}";
    assert_eq!(batch(&receiver, "50-150", 1..3), Ok((409, overlap.to_owned())));
    assert_eq!(batch(&receiver, "100-200", 3..5), accepted(2));
    assert_eq!(receiver.committed(ID, 1).to_string(), "0-300");
    let totals = receiver.totals();
    assert_eq!((totals.records, totals.duplicate_batches, totals.overlaps), (5, 1, 1));
    receiver.ledger(|ledger| {
        assert_eq!((ledger.distinct(), ledger.missing(0), ledger.duplicates()), (5, 0, 0));
        assert_eq!(ledger.violations(), [""; 0]);
    });
    let messages: Vec<_> = receiver.records().into_iter().map(|record| record.message).collect();
    assert_eq!(messages, ["x seq=0 run=r", "x seq=1 run=r", "x seq=2 run=r", "x seq=3 run=r", "x seq=4 run=r"]);
}

#[test]
fn breaches_are_told() {
    let receiver = Receiver::start(Options::default()).unwrap();
    let check = |request: Request<Full<Bytes>>, status: u16, want: &str| {
        let before = receiver.totals().violations;
        assert_eq!(send(receiver.address(), request).unwrap().0.as_u16(), status, "{want}");
        receiver.ledger(|ledger| {
            assert_eq!(ledger.totals().violations, before + 1, "{want}: {:?}", ledger.violations());
            assert!(ledger.violations().last().unwrap().contains(want), "{:?}", ledger.violations());
        });
    };
    check(request("0-1", body(0..2), 3), 200, "x-batch-size");
    check(request("1-1,3-2", body(0..1), 1), 400, "not a list of ranges");
    check(request("5-6,6-7", body(0..1), 1), 400, "merged");
    check(request("0-1", body(7..9), 2), 200, "not the same bytes again");
    check(request("", body(0..1), 1), 200, "hash of the body");
    check(request(";body=0000000000000001", body(1..2), 1), 200, "hash of the body");
    check(request("90-91;body=0000000000000001", body(0..1), 1), 200, "hash of the body");
    let mut anonymous = request("", body(0..1), 1);
    anonymous.headers_mut().remove("x-rask-batch");
    check(anonymous, 200, "x-rask-batch is missing");
    let mut old_id = request("10-11", body(0..1), 1);
    old_id.headers_mut().insert("x-batch-id", "01234567-89ab-4def-8123-456789abcdef".parse().unwrap());
    check(old_id, 200, "x-batch-id");
}

#[test]
fn other_paths_and_methods() {
    let receiver = Receiver::start(Options::default()).unwrap();
    let get = |path: &str| {
        let request = Request::get(path).header("host", "x").body(Full::default()).unwrap();
        send(receiver.address(), request).unwrap().0.as_u16()
    };
    assert_eq!((get("/v1/health"), get("/v1/aggregate"), get("/")), (200, 405, 404));
}

#[test]
fn compressed_bodies_within_their_caps() {
    let receiver = Receiver::start(Options { max_body: 4000, ..Options::default() }).unwrap();
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let zstd = |text: &str| zstd::bulk::compress(text.as_bytes(), 1).unwrap();
    let send_as = |encoding: &str, cover: &str, bytes: Vec<u8>| {
        let mut request = request(cover, bytes, 2);
        request.headers_mut().insert("content-encoding", encoding.parse().unwrap());
        send(receiver.address(), request).unwrap().0.as_u16()
    };
    assert_eq!(send_as("gzip", "0-1", gzip(&body(0..2))), 200);
    assert_eq!(send_as("zstd", "1-2", zstd(&body(2..4))), 200);
    assert_eq!(receiver.ledger(|ledger| (ledger.distinct(), ledger.totals().violations)), (4, 0));
    assert_eq!(send_as("gzip", "2-3", gzip(&body(0..100))), 413);
    assert_eq!(send_as("zstd", "2-3", zstd(&body(0..100))), 413);
    assert_eq!(send_as("gzip", "2-3", b"nonsense".to_vec()), 400);
    assert_eq!(send_as("br", "2-3", b"nonsense".to_vec()), 415);
    assert_eq!(send(receiver.address(), request("2-3", body(0..100), 100)).unwrap().0.as_u16(), 413);
    assert_eq!(receiver.committed(ID, 1).to_string(), "0-2");
}

#[test]
fn faults() {
    let receiver = Receiver::start(Options::default()).unwrap();
    let status = |cover: &str, seqs| batch(&receiver, cover, seqs).map(|(status, _)| status);
    receiver.script([Fault::Status(503, Some(7)), Fault::None]);
    assert_eq!(status("0-10", 0..1), Ok(503));
    assert_eq!(status("0-10", 0..1), Ok(200));

    receiver.set_fault(Fault::Reset);
    assert!(status("10-20", 1..2).is_err_and(|error| error != "timeout"));
    receiver.set_fault(Fault::Hang);
    assert_eq!(status("10-20", 1..2), Err("timeout".into()));
    receiver.set_fault(Fault::MaxBody(300));
    assert_eq!((status("10-30", 1..3), status("10-20", 1..2)), (Ok(413), Ok(200)));
    receiver.set_fault(Fault::RefuseRecord("seq=2 ".into()));
    assert_eq!((status("20-40", 2..4), status("30-40", 3..4)), (Ok(400), Ok(200)));
    assert_eq!(receiver.committed(ID, 1).to_string(), "0-20,30-40", "no refused batch was stored");

    receiver.set_fault(Fault::AcceptThenReset);
    assert!(status("20-30", 2..3).is_err_and(|error| error != "timeout"));
    assert_eq!(receiver.committed(ID, 1).to_string(), "0-40", "the batch whose answer was lost was stored");
    receiver.set_fault(Fault::NeverEndingAnswer);
    assert_eq!(status("40-50", 4..5), Err("timeout".into()));
    receiver.set_fault(Fault::SlowMs(100));
    assert_eq!(status("40-50", 4..5), Ok(200));
    receiver.ledger(|ledger| {
        assert_eq!((ledger.distinct(), ledger.missing(0), ledger.duplicates()), (5, 0, 0));
        assert_eq!(ledger.totals().duplicate_batches, 1);
    });
}

#[test]
fn a_hanging_request_ends_when_the_fault_does() {
    let receiver = Receiver::start(Options::default()).unwrap();
    receiver.set_fault(Fault::Hang);
    let address = receiver.address();
    let hanging = std::thread::spawn(move || send(address, request("0-10", body(0..1), 1)));
    assert!(receiver.wait_until(Duration::from_secs(5), |ledger| ledger.totals().requests == 1));
    receiver.set_fault(Fault::None);
    assert!(hanging.join().unwrap().is_err_and(|error| error != "timeout"));
    assert_eq!(batch(&receiver, "0-10", 0..1), accepted(1));
}

#[test]
fn the_port_closes_and_opens_again() {
    let receiver = Receiver::start(Options::default()).unwrap();
    assert_eq!(batch(&receiver, "0-10", 0..1), accepted(1));
    receiver.stop_listening();
    assert!(batch(&receiver, "0-10", 0..1).is_err_and(|error| error.contains("refused")));
    assert!(TcpListener::bind(receiver.address()).is_err(), "it stays ours");
    receiver.start_listening().unwrap();
    receiver.start_listening().unwrap();
    assert_eq!(batch(&receiver, "0-10", 0..1), repeated(1));
}

#[test]
fn a_port_that_was_named_is_not_shared() {
    let listen = Receiver::start(Options::default()).unwrap().address();
    let first = Receiver::start(Options { listen, ..Options::default() }).unwrap();
    assert!(Receiver::start(Options { listen, ..Options::default() }).is_err());
    first.stop_listening();
    first.start_listening().unwrap();
    assert_eq!(batch(&first, "0-10", 0..1), accepted(1));
}

#[test]
fn a_durable_receiver_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { state: Some(dir.path().join("state.json")), ..Options::default() };
    let first = Receiver::start(options.clone()).unwrap();
    assert_eq!(batch(&first, "0-10", 0..2), accepted(2));
    assert_eq!(batch(&first, &nothing(9..10), 9..10), accepted(1));
    drop(first);
    let second = Receiver::start(options.clone()).unwrap();
    assert_eq!(batch(&second, "0-10", 0..2), repeated(2));
    assert_eq!(batch(&second, &nothing(9..10), 9..10), repeated(1));
    assert_eq!(batch(&second, "10-20", 3..4), accepted(1));
    assert_eq!(second.ledger(|ledger| (ledger.distinct(), ledger.missing(0))), (4, 6));
    drop(second);
    std::fs::write(dir.path().join("state.json"), "{").unwrap();
    assert!(Receiver::start(options).is_err(), "a broken state is not an empty one");
}

/// The counting mode must not be what a benchmark measures.
#[test]
fn counting_is_cheap() {
    let mut ledger = rask::receiver::Ledger::new(Detail::Counts, Keep::None, None);
    let text = body(0..20_000);
    let begin = std::time::Instant::now();
    ledger.add_body(text.as_bytes(), 0);
    let per_line = begin.elapsed() / 20_000;
    assert_eq!(ledger.distinct(), 20_000);
    // Optimized it is about 0.3 µs; this is wide enough for a debug build on a busy machine.
    assert!(per_line < Duration::from_micros(100), "{per_line:?}");
}
