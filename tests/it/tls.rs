//! https: with a certificate of one's own authority it works, with a stranger's it does not, and keep-alive holds.

use crate::harness::{World, messages, numbered, wait, write_numbered};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::PrivateKeyDer;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::{TcpListener, TcpStream};

/// A TLS front in front of `receiver`: its address, its certificate as PEM, and how many connections it has taken.
fn front(receiver: SocketAddr) -> (SocketAddr, String, Arc<AtomicU64>) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    front_at(listener, receiver, certificate())
}

fn certificate() -> CertifiedKey<rcgen::KeyPair> {
    generate_simple_self_signed(vec!["localhost".to_owned()]).expect("a certificate")
}

fn front_at(
    listener: std::net::TcpListener,
    receiver: SocketAddr,
    certificate: CertifiedKey<rcgen::KeyPair>,
) -> (SocketAddr, String, Arc<AtomicU64>) {
    let CertifiedKey { cert, signing_key } = certificate;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("known versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![cert.der().clone()],
            PrivateKeyDer::try_from(signing_key.serialize_der()).expect("a key"),
        )
        .expect("they belong together");
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    listener.set_nonblocking(true).expect("a socket");
    let address = listener.local_addr().expect("bound");
    let accepted = Arc::new(AtomicU64::new(0));
    let count = accepted.clone();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let listener = TcpListener::from_std(listener).expect("a listener");
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = acceptor.clone();
                let count = count.clone();
                tokio::spawn(async move {
                    // A client that does not trust us ends the handshake: that is what the test looks at.
                    let Ok(mut outside) = acceptor.accept(stream).await else { return };
                    count.fetch_add(1, Ordering::Relaxed);
                    let Ok(mut inside) = TcpStream::connect(receiver).await else { return };
                    let _ = tokio::io::copy_bidirectional(&mut outside, &mut inside).await;
                });
            }
        });
    });
    (address, cert.pem(), accepted)
}

fn ca_file(world: &World, pem: &str) -> PathBuf {
    let path = world.containers().with_file_name("ca.pem");
    std::fs::write(&path, pem).expect("written");
    path
}

#[test]
fn https_delivers_over_one_connection() {
    let world = World::new();
    let (address, pem, accepted) = front(world.receiver.address());
    let ca = ca_file(&world, &pem);
    let endpoint = format!("https://localhost:{}/v1/aggregate", address.port());
    let env =
        [("RASK_ENDPOINT", endpoint.as_str()), ("RASK_CA_FILE", ca.to_str().expect("a path")), ("RASK_TOKEN", "s")];
    let forwarder = world.forward_with("app", &env);
    let mut container = world.container("app");
    for round in 0..5u64 {
        write_numbered(&mut container, "line", round * 10..round * 10 + 10);
        world.wait_for_records(round * 10 + 10);
    }
    assert_eq!(messages(&world.receiver), numbered("line", 0..50));
    assert_eq!(accepted.load(Ordering::Relaxed), 1, "keep-alive");
    forwarder.assert_conserved();
}

#[test]
fn a_strangers_certificate_is_not_trusted_and_nothing_is_lost() {
    let world = World::new();
    let (address, _, accepted) = front(world.receiver.address());
    let endpoint = format!("https://localhost:{}/v1/aggregate", address.port());
    let forwarder = world.forward_with("app", &[("RASK_ENDPOINT", &endpoint)]);
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..10);
    wait("it goes to the spool", || forwarder.metric("spooled_batches_total") > 0.0);
    assert!(forwarder.metrics()["retries_total{status=\"connect\"}"] >= 1.0);
    assert_eq!((world.receiver.totals().requests, accepted.load(Ordering::Relaxed)), (0, 0));
}

/// Whoever answers with a wrong certificate may answer with the right one later; no restart is needed.
#[test]
fn a_certificate_that_is_put_right_is_trusted_at_once() {
    let world = World::new();
    let right = certificate();
    let ca = ca_file(&world, &right.cert.pem());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let endpoint = format!("https://localhost:{}/v1/aggregate", listener.local_addr().expect("bound").port());
    // Until then: one handshake that fails, one connection that is closed without a word, one that talks no TLS.
    let (put_right, wait_for_it) = std::sync::mpsc::sync_channel(1);
    let shared = listener.try_clone().expect("a socket");
    let wrong = std::thread::spawn(move || {
        for answer in [&b""[..], b"HTTP/1.1 400 Bad Request\r\n\r\n", &[0x15, 3, 3, 0, 2, 2, 40]] {
            let (mut stream, _) = shared.accept().expect("a connection");
            let _ = stream.write_all(answer);
        }
        put_right.send(()).expect("the test waits");
    });
    let env = [("RASK_ENDPOINT", endpoint.as_str()), ("RASK_CA_FILE", ca.to_str().expect("a path"))];
    let forwarder = world.forward_with("app", &env);
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..10);
    wait_for_it.recv().expect("three attempts");
    wrong.join().expect("no panic");
    front_at(listener, world.receiver.address(), right);
    write_numbered(&mut container, "line", 10..20);
    world.wait_for_records(20);
    assert_eq!(messages(&world.receiver), numbered("line", 0..20));
    assert!(forwarder.metrics()["retries_total{status=\"connect\"}"] >= 3.0);
    forwarder.assert_conserved();
}
