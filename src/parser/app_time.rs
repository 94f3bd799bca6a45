//! The application's own time of a line: every common form to RFC 3339, in UTC where the line says its zone.
//!
//! The digits of the fraction stay as many as were written. Without a zone the result has none either. What is not
//! understood is left to the caller, who carries it over as it stands.
//!
//! | form | as in |
//! |---|---|
//! | `2026-11-21T13:00:00.123Z`, `… 13:00:00,123`, `…+01:00`, `…+0100`, `… UTC`, `2026/11/21 13:00:00` | RFC 3339, Python, PostgreSQL, Go, nginx |
//! | `21/Nov/2026:13:00:00 +0000`, `21/Nov/2026 13:00:00` | access logs |
//! | `21 Nov 2026 13:00:00.123`, `Sat, 21 Nov 2026 13:00:00 GMT` | Redis, HTTP |
//! | `Sat Nov 21 13:00:00.123456 2026` | Apache |
//! | `20261121 13:00:00.123456` | glog |
//! | `1795266000`, `1795266000123`, …, each with or without a fraction, `1.795266e+09` | Unix time in s, ms, µs, ns |

use super::formats::cut::has_shape;
use super::time::{civil_from_days, days_from_civil, days_in_month};

/// Longest text that may be a time.
const LONGEST: usize = 48;

/// A time as it is read; the fraction as its digits.
#[derive(Clone, Copy)]
struct Moment<'a> {
    date: [i64; 3],
    clock: [i64; 3],
    fraction: &'a [u8],
    zone: Zone,
}

#[derive(Clone, Copy, PartialEq)]
enum Zone {
    Unknown,
    Utc,
    /// Minutes east of Greenwich, not zero.
    East(i64),
}

/// Whether `text` may be carried over unseen: either it is RFC 3339 in UTC already, or it is not understood.
#[inline]
pub(crate) fn is_normal(text: &[u8]) -> bool {
    text.len() >= 20 && text[10] == b'T' && text[text.len() - 1] == b'Z'
}

/// Appends `text` as RFC 3339. `None`: not understood, nothing appended. Else whether the original says more, which is so
/// only for an offset: the moment stays the same, but where it was written can no longer be seen.
#[inline]
pub(crate) fn normalize(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    if text.len() > LONGEST {
        return None;
    }
    if quick(text, out) {
        return Some(false);
    }
    slow(text, out)
}

/// The two forms that most lines have, in UTC or without a zone, on days that every month has: only moved, not read.
#[inline]
fn quick(text: &[u8], out: &mut Vec<u8>) -> bool {
    let iso = has_shape(text, b"dddd-dd-dd dd:dd:dd");
    let (year, month, day, clock, rest) = if iso {
        (&text[..4], [text[5], text[6]], &text[8..10], &text[11..19], &text[19..])
    } else if text.len() == 26 && has_shape(&text[7..], b"dddd:dd:dd:dd +0000") && text[2] == b'/' && text[6] == b'/' {
        let Some(month) = month(&text[3..6]) else { return false };
        let month = [b'0' + (month / 10) as u8, b'0' + (month % 10) as u8];
        (&text[7..11], month, &text[..2], &text[12..20], &b"Z"[..])
    } else {
        return false;
    };
    let digits = rest.get(1..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let (fraction, zone) = match rest.first() {
        Some(b'.' | b',') if digits > 0 => rest.split_at(1 + digits),
        _ => (&b""[..], rest),
    };
    let utc = matches!(zone, b" UTC" | b"Z");
    let two = |a: u8, b: u8| a.wrapping_sub(b'0').wrapping_mul(10).wrapping_add(b.wrapping_sub(b'0'));
    // Of the date of an access log, nothing has looked at the day yet.
    let good = (utc || zone.is_empty())
        && fraction.len() <= 10
        && day[0].is_ascii_digit()
        && day[1].is_ascii_digit()
        && (1..=28).contains(&two(day[0], day[1]))
        && (1..=12).contains(&two(month[0], month[1]))
        && two(clock[0], clock[1]) < 24
        && clock[3] < b'6'
        && clock[6] < b'6';
    if !good {
        return false;
    }
    let mut whole = *b"0000-00-00T00:00:00.123456789Z";
    whole[..4].copy_from_slice(year);
    whole[5..7].copy_from_slice(&month);
    whole[8..10].copy_from_slice(day);
    whole[11..19].copy_from_slice(clock);
    let mut len = 19;
    if let Some((_, digits)) = fraction.split_first() {
        for (place, digit) in whole[20..].iter_mut().zip(digits) {
            *place = *digit;
        }
        len = 20 + digits.len();
    }
    if utc {
        whole[len] = b'Z';
        len += 1;
    }
    out.extend_from_slice(&whole[..len]);
    true
}

/// Any form: the twin of `quick` too.
fn slow(text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    if text.get(4).is_none_or(u8::is_ascii_digit) && text.iter().all(|b| b.is_ascii_digit() || *b == b'.') {
        return unix(text, out).map(|()| false);
    }
    if text.get(1) == Some(&b'.') {
        return exponent(text, out).map(|()| false);
    }
    let moment = read(text)?;
    write(&moment, out)?;
    Some(matches!(moment.zone, Zone::East(_)))
}

/// Whether `text` is a time of one of the forms with a date.
pub(crate) fn is_time(text: &[u8]) -> bool {
    text.len() <= LONGEST && read(text).is_some_and(|moment| is_valid(&moment))
}

#[inline]
fn read(text: &[u8]) -> Option<Moment<'_>> {
    let at = |index: usize| text.get(index).copied().unwrap_or(0);
    match (at(2), at(3), at(4), at(8)) {
        (_, _, b'-', _) if at(7) == b'-' && matches!(at(10), b'T' | b't' | b' ') => iso(text),
        (_, _, b'/', _) if at(7) == b'/' && at(10) == b' ' => iso(text),
        (b'/', _, _, _) if at(6) == b'/' => named(text, 0, 11),
        (b' ', _, _, _) => named(text, 0, 11),
        (_, b',', b' ', _) if is_weekday(&text[..3]) => named(text, 5, 16),
        (_, b' ', _, _) => ctime(text),
        (_, _, _, b' ') => {
            let date = [number(text, 0, 4)?, number(text, 4, 2)?, number(text, 6, 2)?];
            behind_the_date(text, 9, date)
        }
        _ => None,
    }
}

/// `YYYY-MM-DD` and a time.
#[inline]
fn iso(text: &[u8]) -> Option<Moment<'_>> {
    let date = [number(text, 0, 4)?, number(text, 5, 2)?, number(text, 8, 2)?];
    behind_the_date(text, 11, date)
}

/// `DD?Mon?YYYY` at `start` and a time behind one more character at `end`.
#[inline]
fn named(text: &[u8], start: usize, end: usize) -> Option<Moment<'_>> {
    let date = [number(text, start + 7, 4)?, month(text.get(start + 3..start + 6)?)?, number(text, start, 2)?];
    matches!(text.get(end), Some(b':' | b' ')).then(|| behind_the_date(text, end + 1, date))?
}

/// `Www Mon DD HH:MM:SS[.fraction] YYYY`.
fn ctime(text: &[u8]) -> Option<Moment<'_>> {
    let day = if text.get(8) == Some(&b' ') { number(text, 9, 1)? } else { number(text, 8, 2)? };
    let year_at = text.len().checked_sub(4)?;
    let date = [number(text, year_at, 4)?, month(text.get(4..7)?)?, day];
    let moment = behind_the_date(text.get(..year_at - 1)?, 11, date)?;
    (is_weekday(&text[..3]) && text[7] == b' ' && text.get(10) == Some(&b' ') && text[year_at - 1] == b' ')
        .then_some(moment)
}

#[inline]
fn behind_the_date(text: &[u8], at: usize, date: [i64; 3]) -> Option<Moment<'_>> {
    let colons = text.get(at + 2) == Some(&b':') && text.get(at + 5) == Some(&b':');
    let clock = [number(text, at, 2)?, number(text, at + 3, 2)?, number(text, at + 6, 2)?];
    let mut rest = &text[at + 8..];
    let mut fraction: &[u8] = b"";
    if let Some((b'.' | b',', digits)) = rest.split_first() {
        let len = digits.iter().take_while(|b| b.is_ascii_digit()).count();
        if len == 0 {
            return None;
        }
        (fraction, rest) = digits.split_at(len);
    }
    colons.then_some(Moment { date, clock, fraction, zone: zone(rest)? })
}

#[inline]
fn zone(text: &[u8]) -> Option<Zone> {
    let text = text.strip_prefix(b" ").unwrap_or(text);
    let (sign, digits) = match text {
        b"" => return Some(Zone::Unknown),
        b"Z" | b"z" | b"UTC" | b"GMT" | b"Etc/UTC" => return Some(Zone::Utc),
        // Go's time.String names the zone behind the offset.
        [b'+', digits @ ..] => (1, digits.strip_suffix(b" UTC").unwrap_or(digits)),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let minutes = match digits.len() {
        2 => number(digits, 0, 2)? * 60,
        4 => number(digits, 0, 2)? * 60 + number(digits, 2, 2)?,
        5 if digits[2] == b':' => number(digits, 0, 2)? * 60 + number(digits, 3, 2)?,
        _ => return None,
    };
    match minutes {
        0 => Some(Zone::Utc),
        1..=1439 => Some(Zone::East(sign * minutes)),
        _ => None,
    }
}

#[inline(always)]
fn number(text: &[u8], at: usize, len: usize) -> Option<i64> {
    let digits = text.get(at..at + len)?;
    let (mut number, mut good) = (0, true);
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        good &= digit < 10;
        number = number * 10 + i64::from(digit);
    }
    good.then_some(number)
}

/// Its name goes: the date says which it is. So nothing else may stand in its place.
fn is_weekday(name: &[u8]) -> bool {
    matches!(name, b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun")
}

/// Number of a month by its English name.
pub(crate) fn month(name: &[u8]) -> Option<i64> {
    Some(match name {
        b"Jan" => 1,
        b"Feb" => 2,
        b"Mar" => 3,
        b"Apr" => 4,
        b"May" => 5,
        b"Jun" => 6,
        b"Jul" => 7,
        b"Aug" => 8,
        b"Sep" => 9,
        b"Oct" => 10,
        b"Nov" => 11,
        b"Dec" => 12,
        _ => return None,
    })
}

#[inline]
fn is_valid(moment: &Moment<'_>) -> bool {
    let ([year, month, day], [hour, minute, second]) = (moment.date, moment.clock);
    // 60 is a leap second.
    (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second <= 60
}

#[inline]
fn write(moment: &Moment<'_>, out: &mut Vec<u8>) -> Option<()> {
    if !is_valid(moment) {
        return None;
    }
    let ([year, month, day], [hour, minute, second]) = (moment.date, moment.clock);
    match moment.zone {
        Zone::East(minutes) => {
            let seconds =
                days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - minutes * 60;
            civil(seconds, out)?;
        }
        _ => digits(moment.date, moment.clock, out),
    }
    if !moment.fraction.is_empty() {
        out.push(b'.');
        out.extend_from_slice(moment.fraction);
    }
    if moment.zone != Zone::Unknown {
        out.push(b'Z');
    }
    Some(())
}

/// Seconds since the epoch as date and time, if the year has four digits.
fn civil(seconds: i64, out: &mut Vec<u8>) -> Option<()> {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    digits([year, month, day], [rest / 3600, rest / 60 % 60, rest % 60], out);
    Some(())
}

#[inline]
fn digits(date: [i64; 3], clock: [i64; 3], out: &mut Vec<u8>) {
    let mut text = *b"0000-00-00T00:00:00";
    let mut put = |at: usize, value: i64| {
        text[at] = b'0' + (value / 10) as u8;
        text[at + 1] = b'0' + (value % 10) as u8;
    };
    put(0, date[0] / 100);
    put(2, date[0] % 100);
    for (at, value) in [(5, date[1]), (8, date[2]), (11, clock[0]), (14, clock[1]), (17, clock[2])] {
        put(at, value);
    }
    out.extend_from_slice(&text);
}

/// Unix time: ten digits are seconds (2001 to 2286), three more a thousandth each. All digits are kept; a zero in front
/// would not be.
fn unix(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let whole = text.iter().position(|b| *b == b'.').unwrap_or(text.len());
    let behind = text.get(whole + 1..).unwrap_or_default();
    let good = matches!(whole, 10 | 13 | 16 | 19) && text[0] != b'0' && behind.iter().all(u8::is_ascii_digit);
    if !good || (whole < text.len() && behind.is_empty()) {
        return None;
    }
    civil(number(text, 0, 10)?, out)?;
    if whole > 10 || !behind.is_empty() {
        out.push(b'.');
        out.extend_from_slice(&text[10..whole]);
        out.extend_from_slice(behind);
    }
    out.push(b'Z');
    Some(())
}

/// Unix time as Go prints a floating-point number: `1.795266000123e+09`, in ms, µs and ns with greater exponents.
fn exponent(text: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (number, places) = text.split_at(text.len().checked_sub(4)?);
    let places = match places {
        b"e+09" => 9,
        b"e+12" => 12,
        b"e+15" => 15,
        b"e+18" => 18,
        _ => return None,
    };
    let behind = number.get(2..)?;
    if !number[0].is_ascii_digit() || behind.is_empty() || !behind.iter().all(u8::is_ascii_digit) || behind.len() > 30 {
        return None;
    }
    // All digits before the point, then as a number without an exponent is read.
    let mut digits = [b'0'; 48];
    digits[0] = number[0];
    let whole = 1 + places;
    let mut len = whole;
    for (place, digit) in behind.iter().enumerate() {
        let at = if place < places { 1 + place } else { 2 + place };
        digits[at] = *digit;
        len = len.max(at + 1);
    }
    if len > whole {
        digits[whole] = b'.';
    }
    unix(&digits[..len], out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::time;
    use proptest::prelude::*;

    fn run(text: &str) -> Option<(String, bool)> {
        let mut out = Vec::new();
        let more = normalize(text.as_bytes(), &mut out);
        assert!(more.is_some() || out.is_empty(), "{text}");
        more.map(|more| (String::from_utf8(out).unwrap(), more))
    }

    #[test]
    fn forms() {
        let check = |text: &str, expected: &str, more: bool| {
            assert_eq!(run(text), Some((expected.to_owned(), more)), "{text}");
        };
        let (noon, zoned, local) = ("2026-11-21T13:00:00", "2026-11-21T13:00:00Z", "2026-11-21T13:00:00.123");
        check("2026-11-21T13:00:00Z", zoned, false);
        check("2026-11-21t13:00:00z", zoned, false);
        check("2026-11-21 13:00:00+00:00", zoned, false);
        check("2026-11-21T13:00:00.123456789+01:00", "2026-11-21T12:00:00.123456789Z", true);
        check("2026-11-21T13:00:00.123-0330", "2026-11-21T16:30:00.123Z", true);
        check("2027-01-01 00:30:00 +02", "2026-12-31T22:30:00Z", true);
        check("2026-11-21 13:00:00.123 UTC", "2026-11-21T13:00:00.123Z", false);
        check("2026-11-21 13:00:00.5 +0000 UTC", "2026-11-21T13:00:00.5Z", false);
        check("2026-11-21 13:00:00,123", local, false);
        check("2026/11/21 13:00:00", noon, false);
        check("21/Nov/2026:13:00:00 +0000", zoned, false);
        check("21/Nov/2026:13:00:00 -0100", "2026-11-21T14:00:00Z", true);
        check("21/Nov/2026 13:00:00", noon, false);
        check("21 Nov 2026 13:00:00.123", local, false);
        check("Sat, 21 Nov 2026 13:00:00 GMT", zoned, false);
        check("Sat Nov 21 13:00:00.123 2026", local, false);
        check("Sun Nov  1 13:00:00 2026", "2026-11-01T13:00:00", false);
        check("20261121 13:00:00.123", local, false);
        check("1795266000", zoned, false);
        check("1.795266e+09", zoned, false);
        check("1.795266000123e+09", "2026-11-21T13:00:00.123Z", false);
        check("1.7952660001234567e+09", "2026-11-21T13:00:00.1234567Z", false);
        check("1.7952660001234567e+12", "2026-11-21T13:00:00.1234567Z", false);
        check("1.795266000123456789e+18", "2026-11-21T13:00:00.123456789Z", false);
        check("1795266000.1234567", "2026-11-21T13:00:00.1234567Z", false);
        check("1795266000123", "2026-11-21T13:00:00.123Z", false);
        check("1795266000123.25", "2026-11-21T13:00:00.12325Z", false);
        check("1795266000123456", "2026-11-21T13:00:00.123456Z", false);
        check("1795266000123456789", "2026-11-21T13:00:00.123456789Z", false);
        check("2016-12-31T23:59:60Z", "2016-12-31T23:59:60Z", false);
    }

    #[test]
    fn what_is_no_time() {
        for text in [
            "",
            "now",
            "12.5",
            "17952660001",
            "1795266000.",
            "0897633000.123",
            "0.897633e+09",
            "1.795266e9",
            "1.e+09",
            "1.795266e+10",
            "1.7952x6e+09",
            "-1795266000",
            "1795266000.1.2",
            "Nov 21 13:00:00",
            "2026-11-21",
            "2026-11-21 13:00:00 CET",
            "2026-11-21 13:00:00 Europe/Berlin",
            "2026-02-29 13:00:00",
            "2026-11-21 24:00:00",
            "2026-11-21 13:00:00.",
            "2026-11-21 13:00",
            "2026-11-21 13:00:00 +24",
            "21/Now/2026:13:00:00 +0000",
            "0000-01-01T00:00:00+01:00",
            "2026-11-21 13:00:00 +0000 UTC m=+0.000012345",
            "Sat Nov 21 13:00:00 CET 2026",
        ] {
            assert_eq!(run(text), None, "{text}");
        }
    }

    proptest! {
        /// RFC 3339 is read as Docker's own times are, by other code.
        #[test]
        fn same_moments_as_dockers(
            (y, mo, d, h, mi, s) in (1i64..9999, 1u8..13, 1u8..32, 0u8..24, 0u8..60, 0u8..60),
            fraction in "(\\.[0-9]{1,9})?", offset in "(Z|[+-][01][0-9]:[0-5][0-9])",
        ) {
            let text = format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}{fraction}{offset}");
            let theirs = time::normalize(text.as_bytes());
            let ours = run(&text);
            prop_assert_eq!(ours.is_some(), theirs.is_some(), "{}", text);
            if let (Some((ours, more)), Some(theirs)) = (ours, theirs) {
                prop_assert_eq!(time::normalize(ours.as_bytes()), Some(theirs));
                prop_assert_eq!(more, !offset.ends_with("00:00") && offset != "Z");
            }
        }

        /// The quick way and the slow one say the same.
        #[test]
        fn quick_is_as_slow(text in "(2[0-9]{3}-[01][0-9]-[0-3][0-9] |[0-3][0-9]/(Nov|Feb|Now)/2026:)[0-2][0-9]:[0-6][0-9]:[0-6][0-9]([.,][0-9]{0,11})?( UTC|Z| \\+0000| CET|)") {
            let (mut quickly, mut slowly) = (Vec::new(), Vec::new());
            let more = slow(text.as_bytes(), &mut slowly);
            if quick(text.as_bytes(), &mut quickly) {
                prop_assert_eq!(more, Some(false), "{}", text);
                prop_assert_eq!(quickly, slowly, "{}", text);
            }
        }

        /// Any text: no panic, and what comes out is stable.
        #[test]
        fn anything(text in "[0-9TZ:/., +A-Za-z-]{0,40}") {
            if let Some((out, _)) = run(&text) {
                prop_assert_eq!(run(&out).map(|(again, _)| again), Some(out));
            }
        }
    }
}
