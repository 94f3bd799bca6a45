//! RFC 3339 times in UTC as Docker writes them.

/// Nanoseconds since the Unix epoch of an RFC 3339 time that ends in `Z` and has at most nine digits of fraction.
/// `None` for anything else, dates that do not exist included. Years 1970 to 2261.
///
/// ```
/// assert_eq!(rask_record::parse_timestamp(b"1970-01-01T00:00:01.5Z"), Some(1_500_000_000));
/// ```
pub fn parse_timestamp(text: &[u8]) -> Option<i64> {
    let (head, fraction) = match text {
        [head @ .., b'Z'] if head.len() == 19 => (head, &[][..]),
        [head @ .., b'Z'] if head.len() > 20 && head[19] == b'.' => (&head[..19], &head[20..]),
        _ => return None,
    };
    if [head[4], head[7], head[10], head[13], head[16]] != *b"--T::" || fraction.len() > 9 {
        return None;
    }
    let year = digits(&head[..4])?;
    let (month, day) = (digits(&head[5..7])?, digits(&head[8..10])?);
    let (hour, minute, second) = (digits(&head[11..13])?, digits(&head[14..16])?, digits(&head[17..19])?);
    if !(1970..=2261).contains(&year) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if !(1..=12).contains(&month) || !(1..=days_in_month(year, month)).contains(&day) {
        return None;
    }
    let nanos = digits(fraction)? * 10_i64.pow(9 - fraction.len() as u32);
    let seconds = days_since_epoch(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1_000_000_000 + nanos)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 => 28 + i64::from(is_leap(year)),
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01. The year is taken to begin in March, so that the leap day is its last: then the months before
/// `month` have `(153 m + 2) / 5` days.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let month = (month + 9) % 12;
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        let check = |text: &str, want: Option<i64>| assert_eq!(parse_timestamp(text.as_bytes()), want, "{text}");
        check("1970-01-01T00:00:00Z", Some(0));
        check("2026-11-21T13:31:08.943906164Z", Some(1_795_267_868_943_906_164));
        check("2024-02-29T23:59:59.000000001Z", Some(1_709_251_199_000_000_001));
        check("2000-03-01T00:00:00.1Z", Some(951_868_800_100_000_000));
        for wrong in [
            "",
            "Z",
            "2026-11-21T13:31:08",
            "2026-11-21T13:31:08.Z",
            "2026-11-21T13:31:08.1234567890Z",
            "2026-11-21T13:31:08+00:00",
            "2026-11-21 13:31:08Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T13:3a:08Z",
            "1969-12-31T23:59:59Z",
        ] {
            check(wrong, None);
        }
    }

    proptest! {
        /// The closed formula against counting days one year and one month at a time.
        #[test]
        fn days_agree_with_counting(year in 1970i64..=2261, month in 1i64..=12, day in 1i64..=28) {
            let years: i64 = (1970..year).map(|year| 365 + i64::from(is_leap(year))).sum();
            let months: i64 = (1..month).map(|month| days_in_month(year, month)).sum();
            prop_assert_eq!(days_since_epoch(year, month, day), years + months + day - 1);
        }

        #[test]
        fn any_bytes_are_survived(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let _ = parse_timestamp(&text);
        }
    }
}
