//! From what Docker's API sends to the line that the json-file driver would have written.
//!
//! No I/O, no clock, no tokio.

use crate::limits::DOCKER_PART_BYTES;

/// Splits what a TTY's unframed stream shows as one line into messages, each with its time. There is more than one where a
/// message was split: its parts have no newline. The last part of such a message lacks it too with the driver `local` of
/// Docker 20.10; it ends where a `\r` is followed by the next time. What is left when the stream broke in the middle of a
/// message is left out: it comes again.
pub(super) fn tty_messages(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    let (mut rest, mut continued) = (line, false);
    std::iter::from_fn(move || {
        let (_, body) = split_time(rest).or_else(|| (!rest.is_empty()).then_some((0, rest)))?;
        let head = rest.len() - body.len();
        let begins = |at: &usize| split_time(&body[*at..]).is_some();
        let full = Some(DOCKER_PART_BYTES)
            .filter(|at| body.len() > *at && begins(at) && memchr::memchr(b'\n', &body[..*at]).is_none());
        let last = || memchr::memchr_iter(b'\r', body).map(|at| at + 1).find(|at| *at < body.len() && begins(at));
        let end = full.or_else(|| continued.then(last).flatten());
        let whole = end.is_some() || body.ends_with(b"\n") || (continued && body.ends_with(b"\r"));
        let message;
        (message, rest) = rest.split_at(head + end.unwrap_or(body.len()));
        continued = full.is_some();
        whole.then_some(message)
    })
}

/// Splits `2026-11-21T13:32:37.672982723Z message` into nanoseconds since the epoch and the message. The daemon writes its
/// own time zone for some drivers. Times before 1970 count as 1970: they are errors, but the line is a line.
pub(super) fn split_time(message: &[u8]) -> Option<(u64, &[u8])> {
    let space = memchr::memchr(b' ', &message[..message.len().min(40)])?;
    let (time, rest) = (&message[..space], &message[space + 1..]);
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = time.get(from..to)?;
        digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + i64::from(digit - b'0')))
    };
    let mark = |at: usize, byte: u8| (time.get(at) == Some(&byte)).then_some(());
    mark(4, b'-').and(mark(7, b'-')).and(mark(10, b'T')).and(mark(13, b':')).and(mark(16, b':'))?;
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut zone = 19;
    let mut nanos = 0;
    if mark(19, b'.').is_some() {
        zone = 20 + time[20..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if !(21..=29).contains(&zone) {
            return None;
        }
        nanos = number(20, zone)? * 10i64.pow(29 - zone as u32);
    }
    let offset = match time.get(zone)? {
        b'Z' if time.len() == zone + 1 => 0,
        sign @ (b'+' | b'-') if time.len() == zone + 6 => {
            mark(zone + 3, b':')?;
            let seconds = number(zone + 1, zone + 3)? * 3600 + number(zone + 4, zone + 6)? * 60;
            if *sign == b'+' { seconds } else { -seconds }
        }
        _ => return None,
    };
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
    // Nanoseconds in 63 bits last from 1678 to 2262; what is outside is held at the edge.
    let total = seconds.saturating_mul(1_000_000_000).saturating_add(nanos).clamp(0, i64::MAX - 1);
    Some((total.unsigned_abs(), rest))
}

/// Days from 1970-01-01, proleptic Gregorian. Years begin in March here, so that the leap day is the last of its year.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// `2026-11-21T13:32:37.672982723Z`.
pub(in crate::collector) fn time_text(nanos: u64) -> String {
    let (seconds, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let (days, second) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (day_of_year - (153 * shifted + 2) / 5 + 1, (shifted + 2) % 12 + 1);
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{nanos:09}Z")
}

/// Appends the line that the json-file driver would have written. Only a part is without newline; the last part and the last
/// words of a container come without from some drivers.
pub(super) fn render(out: &mut Vec<u8>, body: &[u8], is_part: bool, stream: &str, nanos: u64) {
    out.reserve(body.len() + body.len() / 8 + 80);
    out.extend_from_slice(b"{\"log\":\"");
    let mut clean = 0;
    for (at, &byte) in body.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&body[clean..at]);
        clean = at + 1;
        match byte {
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            _ => {
                let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit)];
                out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte & 15)]);
            }
        }
    }
    out.extend_from_slice(&body[clean..]);
    if !body.ends_with(b"\n") && !is_part {
        out.extend_from_slice(b"\\n");
    }
    out.extend_from_slice(b"\",\"stream\":\"");
    out.extend_from_slice(stream.as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(time_text(nanos).as_bytes());
    out.extend_from_slice(b"\"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn time_table() {
        let check = |text: &str, expected: Option<(u64, &str)>| {
            let got = split_time(text.as_bytes()).map(|(nanos, rest)| (nanos, std::str::from_utf8(rest).unwrap()));
            assert_eq!(got, expected, "{text}");
        };
        let nanos = 1_795_267_957_672_982_723;
        check("2026-11-21T13:32:37.672982723Z hello", Some((nanos, "hello")));
        check("2026-11-21T14:32:37.672982723+01:00 hello\n", Some((nanos, "hello\n")));
        check("2026-11-21T04:02:37.672982723-09:30 x", Some((nanos, "x")));
        check("2026-11-21T13:32:37.6Z ", Some((nanos - 72_982_723, "")));
        check("2026-11-21T13:32:37Z a b", Some((nanos - 672_982_723, "a b")));
        check("1970-01-01T00:00:00.000000001Z  ", Some((1, " ")));
        check("2024-02-29T23:59:60Z x", Some((1_709_251_200_000_000_000, "x")));
        check("0001-01-01T00:00:00Z x", Some((0, "x")));
        check("9999-01-01T00:00:00Z x", Some((i64::MAX as u64 - 1, "x")));
        for bad in [
            "",
            "hello world",
            "2026-11-21T13:32:37.672982723Z",
            "2026-11-21 13:32:37Z x",
            "2026-13-21T13:32:37Z x",
            "2026-11-21T24:32:37Z x",
            "2026-11-21T13:32:37.Z x",
            "2026-11-21T13:32:37.1234567890Z x",
            "2026-11-21T13:32:37 x",
            "2026-11-21T13:32:37+0100 x",
            "2026-11-21T13:32:37Zx y",
            "2026-1x-21T13:32:37Z x",
            "Error grabbing logs: unexpected EOF",
        ] {
            check(bad, None);
        }
    }

    proptest! {
        #[test]
        fn times_come_back(nanos in 0..i64::MAX as u64 - 1) {
            let text = format!("{} x", time_text(nanos));
            prop_assert_eq!(split_time(text.as_bytes()), Some((nanos, &b"x"[..])));
        }

        #[test]
        fn never_panics(bytes: Vec<u8>) {
            split_time(&bytes);
            tty_messages(&bytes).count();
        }

        /// A JSON reader gets back what went in, whatever it was.
        #[test]
        fn rendered_lines_are_json(text: String, nanos in 0..4_000_000_000_000_000_000u64, out: bool) {
            let (stream, mut line) = (if out { "stdout" } else { "stderr" }, Vec::new());
            render(&mut line, text.as_bytes(), false, stream, nanos);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            prop_assert!(line.ends_with(b"}\n"), "ends as it should");
            let value: serde_json::Value = serde_json::from_slice(&line).unwrap();
            let log = if text.ends_with('\n') { text } else { text + "\n" };
            let expected = serde_json::json!({"log": log, "stream": stream, "time": time_text(nanos)});
            prop_assert_eq!(value, expected);
        }
    }

    #[test]
    fn render_table() {
        let check = |body: &[u8], log: &[u8]| {
            let mut line = Vec::new();
            render(&mut line, body, body.len() >= DOCKER_PART_BYTES - 1, "stdout", 1);
            let expected =
                [b"{\"log\":\"", log, b"\",\"stream\":\"stdout\",\"time\":\"1970-01-01T00:00:00.000000001Z\"}\n"];
            assert_eq!(line, expected.concat(), "{}", line.escape_ascii());
        };
        check(b"hello\n", br"hello\n");
        check(b"last words", br"last words\n");
        let part = [b'x'; DOCKER_PART_BYTES];
        check(&part, &part);
        check(&part[1..], &part[1..]);
        check(&part[2..], &[&part[2..], br"\n"].concat());
        check(b"\"\\\t\r\x00\x1b[0m\x7f", b"\\\"\\\\\\t\\r\\u0000\\u001b[0m\x7f\\n");
        check("grün\n".as_bytes(), "grün\\n".as_bytes());
        check(b"gr\xc3", b"gr\xc3\\n");
        check(b"", br"\n");
    }

    #[test]
    fn tty_table() {
        let time = |n: u32| format!("2026-11-21T13:32:37.{n:09}Z ");
        let full = "x".repeat(DOCKER_PART_BYTES);
        let check = |line: &str, parts: &[&str]| {
            let got: Vec<_> = tty_messages(line.as_bytes()).map(String::from_utf8_lossy).collect();
            assert_eq!(got, parts);
        };
        let whole = format!("{}hello\r\n", time(1));
        check(&whole, &[&whole]);
        let (first, second, third) =
            (format!("{}{full}", time(1)), format!("{}{full}", time(2)), format!("{}end\n", time(3)));
        check(&format!("{first}{second}{third}"), &[&first, &second, &third]);
        // A long line that merely looks like it: no time stands where a part would end.
        let long = format!("{first}y{second}\n");
        check(&long, &[&long]);
        // As Docker 20.10 does with the driver `local`: the last part has no newline.
        let (end, next) = (format!("{}end\r", time(3)), format!("{}next\r\n", time(4)));
        check(&format!("{first}{end}{next}"), &[&first, &end, &next]);
        check(&format!("{first}{end}"), &[&first, &end]);
        // Torn off.
        check(&format!("{first}{}en", time(3)), &[&first]);
        check(&format!("{}hel", time(1)), &[]);
        check(&time(1), &[]);
        check("no time\n", &["no time\n"]);
        check("", &[]);
    }
}
