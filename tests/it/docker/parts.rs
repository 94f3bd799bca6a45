//! Messages over 16 KiB, which Docker splits.

use super::truth::Truth;
use super::{DEBIAN, Real, SOCKET, forward, ready, unique};
use crate::harness::World;
use std::time::Duration;

const PART: usize = 16 << 10;

/// `MAX_LINE_BYTES` by default.
const LONGEST: usize = 1 << 20;

/// Writes messages of the given lengths (without newline) on both streams at once: `<n> <length> xxx…x`.
const LONG_SERVICE: &str = r#"
my $pause = shift; my $child = fork(); my $to = $child ? *STDOUT : *STDERR; select($to); $| = 1;
my $n = 0;
for my $length (@ARGV) { my $head = $n++ . " $length "; print $head . ("x" x ($length - length $head)) . "\n"; select(undef, undef, undef, $pause) }
waitpid($child, 0) if $child;"#;

/// Splits a character after each of its bytes: é, and a grinning face three times.
const SEAM_SERVICE: &str = r#"
my @parts = (["\xc3", "\xa9"], ["\xf0", "\x9f\x98\x80"], ["\xf0\x9f", "\x98\x80"], ["\xf0\x9f\x98", "\x80"]);
for (@parts) { my ($before, $behind) = @$_; syswrite(STDOUT, ("x" x (16384 - length $before)) . "$before$behind tail\n"); }"#;

fn long_service(service: &str, options: &[&str], pause: &str, lengths: &[usize]) -> Real {
    let lengths: Vec<_> = lengths.iter().map(usize::to_string).collect();
    let args: Vec<_> = [pause].into_iter().chain(lengths.iter().map(String::as_str)).collect();
    Real::perl(service, options, LONG_SERVICE, &args)
}

/// What [`LONG_SERVICE`] writes, as far as it is kept.
fn long_messages(lengths: &[usize]) -> Truth {
    let message = |(n, length): (usize, &usize)| {
        let head = format!("{n} {length} ");
        let rest = "x".repeat((*length).min(LONGEST) - head.len());
        head + &rest
    };
    let stream: Vec<_> = lengths.iter().enumerate().map(message).collect();
    Truth([stream.clone(), stream])
}

#[test]
fn of_every_length() {
    if !ready(&[DEBIAN]) {
        return;
    }
    let lengths = [PART - 1, PART, PART + 1, 5, 40 << 10, 2 * PART, 1_000_000, LONGEST, LONGEST + 1, 3 << 20, 7];
    for driver in ["json-file", "local"] {
        let (world, service) = (World::new(), unique("long"));
        let forwarder = forward(&world, &service, &[("DOCKER_HOST", SOCKET), ("RASK_FORMAT", "plain")]);
        let container = long_service(&service, &["--log-driver", driver], "0", &lengths);
        long_messages(&lengths).assert_came(&world, &container.id);
        forwarder.assert_conserved();
        let records = world.receiver.records();
        for record in &records {
            let length: usize = record.message.split(' ').nth(1).expect("a length").parse().expect("a number");
            let cut = record.fields.get("truncated").map(String::as_str) == Some("true");
            assert_eq!(cut, length > LONGEST, "{driver} {length}");
        }
        assert_eq!(forwarder.metric("records_truncated_total"), 4.0);
    }
}

/// json-file keeps a U+FFFD for each byte of the character, before and behind the cut; one is left of them.
#[test]
fn a_character_at_the_seam_is_one_replacement_in_a_file() {
    if !ready(&[DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("seam"));
    let forwarder = forward(&world, &service, &[("RASK_FORMAT", "plain")]);
    let container = Real::perl(&service, &[], SEAM_SERVICE, &[]);
    container.wait_for_its_end();
    let raw = std::fs::read_to_string(container.log()).expect("a log");
    let ends: Vec<_> = raw.lines().map(|line| line.matches("\\ufffd").count()).collect();
    assert_eq!(ends, [1, 1, 1, 3, 2, 2, 3, 1], "what the daemon writes");
    seam(&["\u{fffd}"; 4]).assert_came(&world, &container.id);
    forwarder.assert_conserved();
}

/// Others keep its bytes.
#[test]
fn a_character_at_the_seam_is_whole_by_the_api() {
    if !ready(&[DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("local-seam"));
    let forwarder = forward(&world, &service, &[("RASK_FORMAT", "plain"), ("DOCKER_HOST", SOCKET)]);
    let container = Real::perl(&service, &["--log-driver", "local"], SEAM_SERVICE, &[]);
    seam(&["é", "😀", "😀", "😀"]).assert_came(&world, &container.id);
    forwarder.assert_conserved();
}

/// What [`SEAM_SERVICE`] writes, with these in place of its characters.
fn seam(characters: &[&str; 4]) -> Truth {
    let message = |(before, character)| format!("{}{character} tail", "x".repeat(PART - before));
    Truth([[1, 1, 2, 3].into_iter().zip(characters).map(message).collect(), Vec::new()])
}

/// The parts of a message stand in two files. The daemon keeps them all, so that a kill may take as long as it likes.
#[test]
fn across_rotations_and_kills() {
    if !ready(&[DEBIAN]) {
        return;
    }
    let lengths = [40 << 10; 60];
    let options = ["--log-opt", "max-size=100k", "--log-opt", "max-file=90"];
    let (world, service) = (World::new(), unique("split"));
    let watched = forward(&world, &service, &[("RASK_FORMAT", "plain")]);
    let killed = World::new();
    let container = long_service(&service, &options, "0.05", &lengths);
    for _ in 0..5 {
        let forwarder = forward(&killed, &service, &[("RASK_FORMAT", "plain")]);
        // Different moments of its life; any is right.
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..600)));
        forwarder.kill();
    }
    container.wait_for_its_end();
    let last = forward(&killed, &service, &[("RASK_FORMAT", "plain")]);
    for (world, forwarder) in [(&world, &watched), (&killed, &last)] {
        long_messages(&lengths).assert_came(world, &container.id);
        forwarder.assert_conserved();
    }
    assert!(watched.metric("rotations_total") > 20.0);
    let split = std::fs::read_dir(container.log().parent().expect("a directory")).expect("readable");
    let ends_in_a_part = |path: &std::path::Path| {
        std::fs::read_to_string(path).is_ok_and(|text| text.lines().last().is_some_and(|line| !line.contains("\\n\"")))
    };
    assert!(split.flatten().any(|file| ends_in_a_part(&file.path())), "a message did stand in two files");
}
