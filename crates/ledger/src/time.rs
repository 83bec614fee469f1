//! RFC 3339 in UTC with exactly nine digits of a second: one text for each nanosecond, so bytes and times agree.

/// `2026-11-21T02:59:25.000000001Z` for nanoseconds since the Unix epoch. Total: `u64::MAX` is in the year 2554.
#[must_use]
pub fn format_ns(at_ns: u64) -> String {
    std::str::from_utf8(&digits_ns(at_ns)).unwrap_or_default().to_owned()
}

/// The same as bytes, which are ASCII.
pub(crate) fn digits_ns(at_ns: u64) -> [u8; 30] {
    let (seconds, nanos) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000);
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil_of(days);
    let mut out = [0u8; 30];
    let fields = [
        (year, 4, b'-'),
        (month, 2, b'-'),
        (day, 2, b'T'),
        (second / 3600, 2, b':'),
        (second / 60 % 60, 2, b':'),
        (second % 60, 2, b'.'),
        (nanos, 9, b'Z'),
    ];
    let mut end = 0;
    for (mut value, width, then) in fields {
        let start = end;
        end += width + 1;
        if let Some((last, digits)) = out.get_mut(start..end).and_then(<[u8]>::split_last_mut) {
            *last = then;
            for digit in digits.iter_mut().rev() {
                *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
                value /= 10;
            }
        }
    }
    out
}

/// The nanoseconds of a text that [`format_ns`] gives; `None` for any other text, also for other RFC 3339.
#[must_use]
pub fn parse_ns(text: &str) -> Option<u64> {
    let bytes = text.as_bytes();
    let number = |range: std::ops::Range<usize>| {
        bytes.get(range)?.iter().try_fold(0u64, |n, b| b.is_ascii_digit().then(|| n * 10 + u64::from(b - b'0')))
    };
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let seconds = number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    let at_ns = days_of(year, month, day)?
        .checked_mul(86_400)?
        .checked_add(seconds)?
        .checked_mul(1_000_000_000)?
        .checked_add(number(20..29)?)?;
    // One text a time: whatever is out of range or punctuated otherwise does not come back as the same text.
    (format_ns(at_ns) == text).then_some(at_ns)
}

/// Year, month, day of a number of days since 1970-01-01, after Howard Hinnant's `civil_from_days`.
fn civil_of(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month_shifted + 2) / 5 + 1;
    let month = if month_shifted < 10 { month_shifted + 3 } else { month_shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    let year = if month <= 2 { year.checked_sub(1)? } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let month_shifted = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * month_shifted + 2) / 5 + day.checked_sub(1)?;
    (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year).checked_sub(719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_times() {
        for (ns, text) in [
            (0, "1970-01-01T00:00:00.000000000Z"),
            (951_782_400_000_000_001, "2000-02-29T00:00:00.000000001Z"),
            (1_795_230_000_123_456_789, "2026-11-21T03:00:00.123456789Z"),
            (u64::MAX, "2554-07-21T23:34:33.709551615Z"),
        ] {
            assert_eq!(format_ns(ns), text);
            assert_eq!(parse_ns(text), Some(ns));
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "1970-01-01T00:00:00Z",
            "1970-01-01t00:00:00.000000000Z",
            "1970-02-30T00:00:00.000000000Z",
            "1970-01-01T24:00:00.000000000Z",
            "1969-12-31T23:59:59.999999999Z",
            "1970-13-01T00:00:00.000000000Z",
            "1970-01-01T00:00:00.000000000+00:00",
            "2554-07-21T23:34:33.709551616Z",
            "1970-00-01T00:00:00.000000000Z",
            "1970-01-01T00:00:60.000000000Z",
            "9999-12-31T23:59:59.999999999Z",
        ] {
            assert_eq!(parse_ns(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn every_time_comes_back(ns: u64) {
            proptest::prop_assert_eq!(parse_ns(&format_ns(ns)), Some(ns));
        }
    }
}
