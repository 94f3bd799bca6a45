//! The wall clock in nanoseconds, and the ways in which programs write it.

use std::io::Write;
use std::time::{Duration, SystemTime};

/// Nanoseconds since the Unix epoch.
pub fn now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// A time taken apart, in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Year, e.g. 2026.
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 0 to 23.
    pub hour: i64,
    /// 0 to 59.
    pub minute: i64,
    /// 0 to 59.
    pub second: i64,
    /// 0 to 999,999,999.
    pub nanos: i64,
}

impl Parts {
    /// Takes nanoseconds since the epoch apart. The year begins in March here, so that the leap day is its last.
    pub fn of(time: i64) -> Self {
        let (seconds, nanos) = (time.div_euclid(1_000_000_000), time.rem_euclid(1_000_000_000));
        let (days, second) = (seconds.div_euclid(86_400) + 719_468, seconds.rem_euclid(86_400));
        let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted = (5 * of_year + 2) / 153;
        let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
        Self {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: of_year - (153 * shifted + 2) / 5 + 1,
            hour: second / 3600,
            minute: second / 60 % 60,
            second: second % 60,
            nanos,
        }
    }
}

/// Go's `RFC3339Nano`, as Docker writes it: nanoseconds without their trailing zeros.
pub fn put_rfc3339(out: &mut Vec<u8>, time: i64) {
    let at = Parts::of(time);
    put(
        out,
        format_args!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", at.year, at.month, at.day, at.hour, at.minute, at.second),
    );
    if at.nanos != 0 {
        put(out, format_args!(".{:09}", at.nanos));
        while out.last() == Some(&b'0') {
            out.pop();
        }
    }
    out.push(b'Z');
}

/// nginx's `$time_local`: `21/Nov/2026:13:31:08 +0000`.
pub fn put_nginx(out: &mut Vec<u8>, time: i64) {
    const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let at = Parts::of(time);
    let month = MONTHS[(at.month - 1) as usize];
    put(out, format_args!("{:02}/{month}/{}:{:02}:{:02}:{:02} +0000", at.day, at.year, at.hour, at.minute, at.second));
}

/// Date and time with `separator` between the parts of the date: `2026/11/21 13:31:08`.
pub fn put_plain(out: &mut Vec<u8>, time: i64, separator: char) {
    let at = Parts::of(time);
    put(out, format_args!("{}{separator}{:02}{separator}{:02} ", at.year, at.month, at.day));
    put(out, format_args!("{:02}:{:02}:{:02}", at.hour, at.minute, at.second));
}

/// Appends formatted text; writing to a vector cannot fail.
pub(crate) fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(put: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        put(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_programs_write_it() {
        let time = 1_795_267_868_943_900_000;
        assert_eq!(text(|out| put_rfc3339(out, time)), "2026-11-21T13:31:08.9439Z");
        assert_eq!(text(|out| put_rfc3339(out, 0)), "1970-01-01T00:00:00Z");
        assert_eq!(text(|out| put_nginx(out, time)), "21/Nov/2026:13:31:08 +0000");
        assert_eq!(text(|out| put_plain(out, time, '/')), "2026/11/21 13:31:08");
    }

    proptest! {
        /// Reading is another program's code; what it reads must be what was written.
        #[test]
        fn reads_back(time in 0i64..9_000_000_000_000_000_000) {
            let text = text(|out| put_rfc3339(out, time));
            prop_assert_eq!(rask_record::parse_timestamp(text.as_bytes()), Some(time));
        }
    }
}
