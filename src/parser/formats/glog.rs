//! glog and klog (Kubernetes): `I1121 13:00:00.123456       1 main.go:10] message`, newer ones with the year in front of month
//! and day; klog's structured lines `"Pod status updated" pod="kube-system/dns" status="ready"`.
//!
//! klog is Go's, so lines of a `.go` file are of type `go`.

use super::cut::{find, has_shape, is_number, split};
use super::pairs;
use super::slots::Slots;
use super::{Format, Scratch};
use crate::parser::encode::{Draft, Str};
use crate::parser::level::Level;

/// Reads a line.
pub(crate) fn parse<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (letter, rest) = text.split_first()?;
    let level = match letter {
        b'I' => Level::Info,
        b'W' => Level::Warn,
        b'E' => Level::Error,
        b'F' => Level::Fatal,
        _ => return None,
    };
    let len = if has_shape(rest, b"dddd dd:dd:dd.dddddd ") {
        20
    } else if has_shape(rest, b"dddddddd dd:dd:dd.dddddd ") {
        24
    } else {
        return None;
    };
    let (place, message) = split(&rest[len..], b']')?;
    let (thread, caller) = split(place.trim_ascii_start(), b' ')?;
    let file = split(caller, b':').filter(|(_, line)| is_number(line))?.0;
    if !is_number(thread) {
        return None;
    }
    let mut slots = Slots::new();
    slots.set_time(&rest[..len], scratch);
    slots.set_level(Some(level), level.as_str().as_bytes(), scratch);
    scratch.fields.push(b"thread", Str::Raw(thread));
    scratch.fields.push(b"caller", Str::Raw(caller));
    let message = message.strip_prefix(b" ").unwrap_or(message);
    slots.set_message(message);
    // Of klog, a quoted message and nothing but pairs behind it.
    if let Some(inner) = message.strip_prefix(b"\"")
        && let Some(at) = find(inner, b"\" ")
        && memchr::memchr(b'\\', &inner[..at]).is_none()
        && pairs::take_all(&inner[at + 2..], &mut slots, scratch)
    {
        slots.set_message(&inner[..at]);
    }
    let told = if file.ends_with(b".go") { Format::Go } else { Format::Glog };
    Some(slots.finish(Some(family.unwrap_or(told)), scratch))
}
