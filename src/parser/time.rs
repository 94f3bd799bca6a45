//! Docker's time of a line: RFC 3339 in, always thirty bytes `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ` out.
//!
//! Docker leaves out trailing zeros of the fraction and writes `Z`; other offsets are converted. Nothing else is accepted.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `YYYY-MM-DDTHH:MM:SS.nnnnnnnnnZ`.
pub(crate) type Stamp = [u8; 30];

/// Longest time that Docker writes, with an offset in place of `Z`.
pub(crate) const LONGEST: usize = 35;

/// The time of the last good line of a source, which also makes the next one cheap: while the minute is the same, only the
/// digits behind it are looked at.
#[derive(Clone, Debug)]
pub(crate) struct Clock {
    stamp: Stamp,
    set: bool,
}

/// `YYYY-MM-DDTHH:MM:`.
const MINUTE: usize = 17;

impl Clock {
    /// A clock that has seen no line.
    pub(crate) fn new() -> Self {
        Self { stamp: *b"1970-01-01T00:00:00.000000000Z", set: false }
    }

    /// Takes over `text` if it is RFC 3339; otherwise nothing changes.
    #[inline]
    pub(crate) fn set(&mut self, text: &[u8]) -> bool {
        if let Ok(stamp) = <&Stamp>::try_from(text)
            && self.set
            && stamp[..MINUTE] == self.stamp[..MINUTE]
            && seconds_are_good(stamp)
        {
            self.stamp = *stamp;
            return true;
        }
        let Some(stamp) = normalize(text) else { return false };
        (self.stamp, self.set) = (stamp, true);
        true
    }

    /// The last good time, else the present.
    pub(crate) fn last(&self) -> Stamp {
        if self.set { self.stamp } else { now() }
    }

    /// The last good time, if there was one.
    pub(crate) fn known(&self) -> Option<&Stamp> {
        self.set.then_some(&self.stamp)
    }

    /// The time just set.
    #[inline]
    pub(crate) fn stamp(&self) -> &Stamp {
        &self.stamp
    }
}

#[inline(always)]
fn seconds_are_good(stamp: &Stamp) -> bool {
    let digits = stamp[20..29].iter().fold(true, |all, byte| all & byte.is_ascii_digit());
    digits
        & (stamp[17] < b'6')
        & stamp[17].is_ascii_digit()
        & stamp[18].is_ascii_digit()
        & (stamp[19] == b'.')
        & (stamp[29] == b'Z')
}

/// RFC 3339 to [`Stamp`]; `None` when it is none, or outside the years 0000 to 9999.
pub(crate) fn normalize(text: &[u8]) -> Option<Stamp> {
    let number = |from: usize, len: usize| -> Option<i64> {
        text.get(from..from + len)?.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
    };
    let is = |at: usize, bytes: &[u8]| text.get(at).is_some_and(|b| bytes.contains(b));
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let punctuation = is(4, b"-") && is(7, b"-") && is(10, b"Tt") && is(13, b":") && is(16, b":");
    let range = (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    if !punctuation || !range || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let mut at = 19;
    let mut nanos = 0;
    if is(at, b".") {
        let digits = text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
        if digits == 0 || digits > 9 {
            return None;
        }
        nanos = number(at + 1, digits)? * 10i64.pow(9 - digits as u32);
        at += 1 + digits;
    }
    let offset = match text.get(at..)? {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), _, _, b':', _, _] => {
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 4, 2)?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            (hours * 60 + minutes) * if *sign == b'-' { -60 } else { 60 }
        }
        _ => return None,
    };
    stamp(days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset, nanos)
}

/// A stamp as time since the epoch, to the second's fraction; zero before it.
pub(crate) fn since_epoch(stamp: &Stamp) -> Duration {
    let number = |from: usize, len: usize| stamp[from..from + len].iter().fold(0, |n, b| n * 10 + i64::from(b - b'0'));
    let days = days_from_civil(number(0, 4), number(5, 2), number(8, 2));
    let seconds = days * 86_400 + number(11, 2) * 3600 + number(14, 2) * 60 + number(17, 2);
    u64::try_from(seconds).map_or(Duration::ZERO, |seconds| Duration::new(seconds, number(20, 9) as u32))
}

/// The present.
pub(crate) fn now() -> Stamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    stamp(since.as_secs() as i64, i64::from(since.subsec_nanos())).unwrap_or(*b"1970-01-01T00:00:00.000000000Z")
}

fn stamp(seconds: i64, nanos: i64) -> Option<Stamp> {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil_from_days(days);
    if !(0..=9999).contains(&year) {
        return None;
    }
    let mut out = *b"0000-00-00T00:00:00.000000000Z";
    let mut put = |from: usize, len: usize, mut value: i64| {
        for digit in out[from..from + len].iter_mut().rev() {
            *digit = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0, 4, year);
    put(5, 2, month);
    put(8, 2, day);
    put(11, 2, rest / 3600);
    put(14, 2, rest / 60 % 60);
    put(17, 2, rest % 60);
    put(20, 9, nanos);
    Some(out)
}

#[inline]
pub(crate) fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: years counted from March, so that the leap day is last.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let month = (month + 9) % 12;
    year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + (month * 153 + 2) / 5 + day
        - 1
        - 719_468
}

pub(crate) fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (of_year * 5 + 2) / 153;
    let day = of_year - (month * 153 + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |text: &str, expected: Option<&str>| {
            let got = normalize(text.as_bytes());
            assert_eq!(got.as_ref().map(|s| std::str::from_utf8(s).unwrap()), expected, "{text}");
        };
        check("2026-11-21T13:00:00.123456789Z", Some("2026-11-21T13:00:00.123456789Z"));
        check("2026-11-21T13:00:00.12Z", Some("2026-11-21T13:00:00.120000000Z"));
        check("2026-11-21T13:00:00Z", Some("2026-11-21T13:00:00.000000000Z"));
        check("2026-11-21T13:00:00.5+02:00", Some("2026-11-21T11:00:00.500000000Z"));
        check("2026-12-31T23:30:00-01:45", Some("2027-01-01T01:15:00.000000000Z"));
        check("2028-02-29T00:00:00Z", Some("2028-02-29T00:00:00.000000000Z"));
        check("2000-03-01T00:30:00+01:00", Some("2000-02-29T23:30:00.000000000Z"));
        check("0000-01-01T00:00:00+01:00", None);
        check("2026-02-29T00:00:00Z", None);
        check("2026-13-01T00:00:00Z", None);
        check("2026-11-21T24:00:00Z", None);
        check("2026-11-21T13:00:00.Z", None);
        check("2026-11-21T13:00:00.1234567890Z", None);
        check("2026-11-21 13:00:00Z", None);
        check("2026-11-21T13:00:00", None);
        check("", None);
    }

    #[test]
    fn stamps_are_moments() {
        let stamp = normalize(b"2026-11-21T13:00:01.5Z").unwrap();
        assert_eq!(since_epoch(&stamp), Duration::new(1_795_266_001, 500_000_000));
        assert_eq!(since_epoch(&normalize(b"1969-12-31T23:59:59Z").unwrap()), Duration::ZERO);
    }

    #[test]
    fn the_calendar_is_its_own_inverse() {
        for days in (-719_000..2_900_000).step_by(13) {
            let (year, month, day) = civil_from_days(days);
            assert_eq!(days_from_civil(year, month, day), days);
            assert!((1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day));
        }
        assert_eq!(civil_from_days(0), (1970, 1, 1));
    }

    #[test]
    fn the_clock_keeps_the_last_good_time() {
        let mut clock = Clock::new();
        assert!(!clock.set(b"never"));
        assert!(clock.last().starts_with(b"20"), "without a line it is the present");
        assert!(clock.set(b"2026-11-21T13:00:00.123456789Z"));
        assert!(clock.set(b"2026-11-21T13:00:59.999999999Z"));
        for bad in
            ["2026-11-21T13:00:61.999999999Z", "2026-11-21T13:00:59.99999999xZ", "2026-11-21T13:00:59.999999999z0"]
        {
            assert!(!clock.set(bad.as_bytes()), "{bad}");
        }
        assert_eq!(clock.last(), *b"2026-11-21T13:00:59.999999999Z");
        assert!(clock.set(b"2026-11-21T13:01:00Z"));
        assert_eq!(clock.stamp(), b"2026-11-21T13:01:00.000000000Z");
    }
}
