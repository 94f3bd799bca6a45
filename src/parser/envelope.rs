//! The line as Docker's json-file driver wrote it: `{"log":"…\n","stream":"stdout","time":"2026-…Z"}`.
//!
//! Two ways to the same answer:
//! - **fast**: Docker writes `log` first and `stream` and `time` last, so the tail is found from the end and the rest is
//!   `log`. That guess is safe because decoding `log` fails at a quote that is not escaped.
//! - **general**: any order of keys, keys we do not know (`attrs`), white space.
//!
//! After a power loss a file has runs of NUL where data never reached the disk; at the start of a line they are skipped.

use super::json::{Members, Value};
use super::time::Clock;
use super::unescape::{Buffer, Place, unescape};

/// Which of the container's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// An entry of the log. Its time is in the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry<'a> {
    /// `log`, still escaped.
    log: &'a [u8],
    /// Where the decoded text is, without the newline that ends a message.
    place: Place,
    /// Whether the newline was there; a part of a split message has none.
    pub(crate) ended: bool,
    /// `stream`.
    pub(crate) stream: Stream,
}

impl<'a> Entry<'a> {
    /// The decoded text.
    #[inline]
    pub(crate) fn text(&self, buffer: &'a Buffer) -> &'a [u8] {
        self.place.of(self.log, buffer)
    }
}

/// What a line of the file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// An entry.
    Entry(Entry<'a>),
    /// Nothing but NUL bytes and white space.
    Blank,
    /// No entry, and why.
    Garbage(&'static str),
}

/// Reads a line (without its newline): text into `buffer`, time into `clock`.
#[inline]
pub(crate) fn read<'a>(line: &'a [u8], buffer: &mut Buffer, clock: &mut Clock) -> Line<'a> {
    if let Some(entry) = fast(line, buffer, clock) {
        return Line::Entry(entry);
    }
    read_general(line, buffer, clock)
}

#[cold]
fn read_general<'a>(line: &'a [u8], buffer: &mut Buffer, clock: &mut Clock) -> Line<'a> {
    if line.iter().all(|b| *b == 0 || b.is_ascii_whitespace()) {
        return Line::Blank;
    }
    let nuls = line.iter().take_while(|b| **b == 0).count();
    match general(&line[nuls..], buffer, clock) {
        Ok(entry) => Line::Entry(entry),
        Err(why) => Line::Garbage(why),
    }
}

/// Where in a damaged line the last entry may begin, if not at the front: these bytes stand in no JSON string.
pub(crate) fn last_beginning(line: &[u8]) -> Option<usize> {
    memchr::memmem::rfind(line, HEAD).filter(|at| *at > 0)
}

const HEAD: &[u8] = b"{\"log\":\"";
const STDOUT: &[u8] = b"\",\"stream\":\"stdout\",\"time\":\"";
const STDERR: &[u8] = b"\",\"stream\":\"stderr\",\"time\":\"";

#[inline]
fn fast<'a>(line: &'a [u8], buffer: &mut Buffer, clock: &mut Clock) -> Option<Entry<'a>> {
    let body = line.strip_prefix(HEAD)?.strip_suffix(b"\"}")?;
    // The time without zeros at its end is shorter than a stamp.
    let at = memchr::memrchr(b'"', &body[body.len().saturating_sub(super::time::LONGEST + 1)..])?;
    let at = body.len().saturating_sub(super::time::LONGEST + 1) + at;
    let (head, time) = body.split_at(at + 1);
    let (log, stream) = match head.strip_suffix(STDOUT) {
        Some(log) => (log, Stream::Stdout),
        None => (head.strip_suffix(STDERR)?, Stream::Stderr),
    };
    let (place, ended) = unescape(log, true, buffer)?;
    clock.set(time).then_some(Entry { log, place, ended, stream })
}

fn general<'a>(line: &'a [u8], buffer: &mut Buffer, clock: &mut Clock) -> Result<Entry<'a>, &'static str> {
    let (mut log, mut stream, mut time) = (None, None, None);
    let mut members = Members::of(line)?;
    while let Some(member) = members.next()? {
        let Value::String(value) = member.value else { continue };
        match member.key.inner {
            b"log" => log = Some(value.inner),
            b"stream" => stream = Some(value.inner),
            b"time" => time = Some(value.inner),
            _ => {}
        }
    }
    let stream = match stream {
        Some(b"stdout") => Stream::Stdout,
        Some(b"stderr") => Stream::Stderr,
        _ => return Err("no stream in Docker's entry"),
    };
    let log = log.ok_or("no log in Docker's entry")?;
    let (place, ended) = unescape(log, true, buffer).ok_or("bad escape in Docker's entry")?;
    if !clock.set(time.ok_or("no time in Docker's entry")?) {
        return Err("bad time in Docker's entry");
    }
    Ok(Entry { log, place, ended, stream })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const T: &str = "2026-11-21T13:00:00.123456789Z";

    /// Text, whether it ended, stream, time.
    type Seen = Result<(String, bool, &'static str, String), &'static str>;

    fn see(line: &[u8]) -> Seen {
        let (mut buffer, mut clock) = (Buffer::default(), Clock::new());
        match read(line, &mut buffer, &mut clock) {
            Line::Entry(entry) => Ok((
                String::from_utf8(entry.text(&buffer).to_vec()).unwrap(),
                entry.ended,
                if entry.stream == Stream::Stdout { "stdout" } else { "stderr" },
                String::from_utf8(clock.stamp().to_vec()).unwrap(),
            )),
            Line::Blank => Err("blank"),
            Line::Garbage(why) => Err(why),
        }
    }

    #[test]
    fn lines() {
        let check = |line: &str, expected: Result<(&str, bool, &'static str, &str), &'static str>| {
            let expected = expected.map(|(text, ended, stream, time)| (text.into(), ended, stream, time.into()));
            assert_eq!(see(line.as_bytes()), expected, "{line:?}");
        };
        let ok = Ok(("hi", true, "stdout", T));
        check(&format!(r#"{{"log":"hi\n","stream":"stdout","time":"{T}"}}"#), ok);
        check(&format!(r#"{{"log":"hi\n","stream":"stdout","attrs":{{"tag":"a","n":"\"}}"}},"time":"{T}"}}"#), ok);
        check(&format!(r#" {{ "time" : "{T}" , "stream":"stdout","log":"hi\n" }} "#), ok);
        check(&format!("\0\0\0{{\"log\":\"hi\\n\",\"stream\":\"stdout\",\"time\":\"{T}\"}}"), ok);
        check(&format!(r#"{{"log":"hi\n","new":[1,{{}}],"stream":"stdout","time":"{T}"}}"#), ok);
        check(&format!(r#"{{"log":"","stream":"stderr","time":"{T}"}}"#), Ok(("", false, "stderr", T)));
        check(&format!(r#"{{"log":"part","stream":"stderr","time":"{T}"}}"#), Ok(("part", false, "stderr", T)));
        check(
            r#"{"log":"\u003c\u001b[0m\u003e\r\n","stream":"stdout","time":"2026-11-21T13:00:00.1Z"}"#,
            Ok(("<\x1b[0m>\r", true, "stdout", "2026-11-21T13:00:00.100000000Z")),
        );
        check(
            r#"{"log":"z\n","stream":"stdout","time":"2026-11-21T14:00:00+01:00"}"#,
            Ok(("z", true, "stdout", "2026-11-21T13:00:00.000000000Z")),
        );
        check("", Err("blank"));
        check("\0\0 \r", Err("blank"));
        check("hello", Err("not a JSON object"));
        check("{}", Err("no stream in Docker's entry"));
        check(&format!(r#"{{"log":"a\n","stream":"stdin","time":"{T}"}}"#), Err("no stream in Docker's entry"));
        check(&format!(r#"{{"log":7,"stream":"stdout","time":"{T}"}}"#), Err("no log in Docker's entry"));
        check(r#"{"log":"a\n","stream":"stdout"}"#, Err("no time in Docker's entry"));
        check(r#"{"log":"a\n","stream":"stdout","time":"yesterday"}"#, Err("bad time in Docker's entry"));
        check(r#"{"log":"a\n","stream":"stdo"#, Err("JSON string without end"));
        // A line torn by a power loss with the next one behind it.
        let torn = format!(r#"{{"log":"par{{"log":"b\n","stream":"stdout","time":"{T}"}}"#);
        check(&torn, Err("no comma between JSON members"));
        // A tail that is not one.
        check(&format!(r#"{{"log":"a\\","stream":"stdout","time":"{T}"}}"#), Ok(("a\\", false, "stdout", T)));
        check(&format!(r#"{{"log":"a\","stream":"stdout","time":"{T}"}}"#), Err("no comma between JSON members"));
    }

    /// The naive twin: serde_json's map.
    fn twin(line: &[u8]) -> Option<(String, bool, String)> {
        let line = String::from_utf8_lossy(line);
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&line).ok()?;
        let text = map.get("log")?.as_str()?;
        let (text, ended) = text.strip_suffix('\n').map_or((text, false), |text| (text, true));
        Some((text.into(), ended, map.get("stream")?.as_str()?.into()))
    }

    proptest! {
        #[test]
        fn same_as_serde_json(text: String, stdout: bool, order in 0usize..7, cut in 0usize..400, flip in any::<Option<(u16, u8)>>()) {
            let log = serde_json::to_string(&text).unwrap();
            let stream = if stdout { "stdout" } else { "stderr" };
            let (log, stream, time) = (format!("\"log\":{log}"), format!("\"stream\":\"{stream}\""), format!("\"time\":\"{T}\""));
            let line = match order {
                0 => format!("{{{log},{stream},{time}}}"),
                1 => format!("{{{stream},{log},{time}}}"),
                2 => format!("{{{time},{stream},{log}}}"),
                3 => format!("{{{log},{stream},\"attrs\":{{\"a\":\"b\"}},{time}}}"),
                4 => format!("{{{log}, {stream}, {time} }}"),
                5 => format!("{{{log},{time},{stream}}}"),
                _ => format!("{{{log},\"log\":\"second\\n\",{stream},{time}}}"),
            };
            let mut line = line.into_bytes();
            if let Some((at, byte)) = flip {
                let at = usize::from(at) % line.len();
                line[at] = byte;
            }
            if cut < 40 {
                line.truncate(line.len().saturating_sub(cut));
            }
            let ours = see(&line);
            let twin = twin(&line);
            // The grammar inside `attrs` is not looked at, which only makes ours take more.
            let lenient = order == 3 && twin.is_none();
            // The time is ours to judge; everything else must agree.
            if !lenient && ours != Err("bad time in Docker's entry") && ours != Err("no stream in Docker's entry") && ours != Err("no time in Docker's entry") {
                prop_assert_eq!(ours.ok().map(|(text, ended, stream, _)| (text, ended, stream.to_string())), twin);
            }
        }
    }
}
