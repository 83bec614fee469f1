//! Civil time in UTC, from nanoseconds since the epoch and back: what rules read as `context.time`.

/// A time of the proleptic Gregorian calendar, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Civil {
    pub year: i64,
    /// 1 to 12.
    pub month: i64,
    /// 1 to 31.
    pub day: i64,
    /// 1 is Monday, 7 Sunday, as ISO 8601 has it.
    pub weekday: i64,
    pub hour: i64,
    pub minute: i64,
}

/// What of it rules read, by name.
pub(crate) const PARTS: &[&str] = &["year", "month", "day", "weekday", "hour", "minute"];

const SECOND_NS: u64 = 1_000_000_000;
const DAY_S: u64 = 86_400;

impl Civil {
    /// Days to a date as in Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms": eras of 400 years that begin in
    /// March.
    pub fn of(at_ns: u64) -> Self {
        let seconds = at_ns / SECOND_NS;
        // INVARIANT: 2^64 ns are less than 600 years, so that nothing below leaves 64 bits.
        let (days, rest) = (signed(seconds / DAY_S), signed(seconds % DAY_S));
        let shifted = days + 719_468;
        let (era, in_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era = (in_era - in_era / 1_460 + in_era / 36_524 - in_era / 146_096) / 365;
        let in_year = in_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let from_march = (5 * in_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month,
            day: in_year - (153 * from_march + 2) / 5 + 1,
            // The epoch was a Thursday.
            weekday: (days + 3) % 7 + 1,
            hour: rest / 3_600,
            minute: rest % 3_600 / 60,
        }
    }

    /// `2026-12-24T18:00:00Z`, to the minute.
    pub fn text(&self) -> String {
        let Self { year, month, day, hour, minute, .. } = self;
        format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:00Z")
    }

    pub fn part(&self, name: &str) -> Option<i64> {
        Some(match name {
            "year" => self.year,
            "month" => self.month,
            "day" => self.day,
            "weekday" => self.weekday,
            "hour" => self.hour,
            "minute" => self.minute,
            _ => return None,
        })
    }
}

fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Nanoseconds since the epoch of `2026-12-24T18:00:00Z`: RFC 3339 in UTC, without a fraction.
pub(crate) fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    if !(1970..2500).contains(&year) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (from_march, year_from) = if month > 2 { (month.checked_sub(3)?, year) } else { (month + 9, year - 1) };
    let (era, of_era) = (year_from / 400, year_from % 400);
    let in_year = (153 * from_march + 2) / 5 + day.checked_sub(1)?;
    let days = (era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + in_year).checked_sub(719_468)?;
    let at_ns = (days * DAY_S + hour * 3_600 + minute * 60 + second).checked_mul(SECOND_NS)?;
    // A day that the month does not have comes out as another one.
    let is_day = Civil::of(at_ns);
    (is_day.month == signed(month) && is_day.day == signed(day)).then_some(at_ns)
}

fn numbers(text: &str, between: char) -> Option<[u64; 3]> {
    let mut parts = text.split(between).map(|part| {
        let is_plain = (2..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
        is_plain.then(|| part.parse::<u64>().ok()).flatten()
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn check(text: &str, weekday: i64) {
        let at_ns = parse(text).unwrap();
        let it = Civil::of(at_ns);
        assert_eq!((it.text().as_str(), it.weekday), (text, weekday));
    }

    #[test]
    fn dates_and_weekdays() {
        check("1970-01-01T00:00:00Z", 4);
        check("2000-02-29T23:59:00Z", 2);
        check("2024-12-31T12:00:00Z", 2);
        check("2026-11-21T12:34:00Z", 6);
        check("2100-03-01T00:00:00Z", 1);
        assert_eq!(parse("2026-01-01T00:00:01Z"), Some(1_767_225_601_000_000_000));
        // Every day of a hundred years follows the one before.
        let mut last = Civil::of(0);
        for day in 1..36_600_u64 {
            let it = Civil::of(day * DAY_S * SECOND_NS);
            let is_next = (it.month == last.month && it.day == last.day + 1) || (it.day == 1 && last.day >= 28);
            assert!(is_next && it.weekday == last.weekday % 7 + 1, "{last:?} {it:?}");
            last = it;
        }
        assert_eq!(Civil::of(u64::MAX).year, 2554);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:00",
            "2026-01-01 00:00:00Z",
            "1969-12-31T00:00:00Z",
            "99999999999999999999-01-01T00:00:00Z",
            "2026-01-01T00:00:00+01:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
