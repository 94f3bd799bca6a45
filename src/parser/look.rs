//! For whoever wants to see how lines are read (`parse`): what became of each message, and lines that Docker has not wrapped.

use super::envelope::{self, Line};
use super::formats::{self, Format, Scratch};
use super::process::Reason;
use super::time::Clock;
use super::unescape::{Buffer, lossy};
use super::{encode, time};

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Note {
    /// Who took it.
    pub format: Format,
    /// Who should have taken it and did not.
    pub failed: Option<Format>,
    /// Lines that it was made from.
    pub lines: u32,
    /// Where the last of them ends.
    pub end: u64,
    /// Why it is not sent, if it is not.
    pub left_out: Option<Reason>,
}

/// The text of a line of Docker's log, if it is one.
pub fn docker_text(line: &[u8]) -> Option<Vec<u8>> {
    let (mut buffer, mut clock) = (Buffer::default(), Clock::new());
    match envelope::read(line, &mut buffer, &mut clock) {
        Line::Entry(entry) => Some(entry.text(&buffer).to_vec()),
        Line::Blank | Line::Garbage(_) => None,
    }
}

/// `text` as Docker would write it now.
pub fn docker_line(text: &[u8]) -> Vec<u8> {
    let mut valid = Vec::new();
    lossy(text, &mut valid);
    let mut line = b"{\"log\":\"".to_vec();
    encode::escape(&mut line, &valid);
    line.extend_from_slice(b"\\n\",\"stream\":\"stdout\",\"time\":\"");
    line.extend_from_slice(&time::now());
    line.extend_from_slice(b"\"}\n");
    line
}

/// Why `text` is not of this format, if it is not.
pub fn refusal(format: Format, text: &[u8]) -> Option<&'static str> {
    formats::parse(format, text, &mut Scratch::default()).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_found_again() {
        for text in ["", "a \"b\" \\ \t\u{1}é", "{\"log\":\"x\"}"] {
            let line = docker_line(text.as_bytes());
            assert_eq!(docker_text(line.strip_suffix(b"\n").unwrap()).as_deref(), Some(text.as_bytes()), "{text}");
            assert_eq!(docker_text(text.as_bytes()), None, "{text}");
        }
        assert_eq!(docker_text(&docker_line(b"\xff")).as_deref(), Some("\u{fffd}".as_bytes()));
        assert!(refusal(Format::Nginx, b"hello").is_some() && refusal(Format::Plain, b"hello").is_none());
    }
}
