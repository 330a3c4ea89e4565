//! Dates and times as the platform writes them, read as instants, and back to calendar days.
//!
//! Not here: what becomes of a date that does not read (the source counts it).

use chrono::{DateTime, Days, NaiveDate, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone};
use chrono_tz::Tz;

/// Microseconds since 1970 in UTC of a date or time: ISO 8601 with or without zone (`2020-05-30`,
/// `2020-05-30T07:50`, `2020-06-30 07:50:04.062+05:30`), or the platform's legacy form with a colon before the
/// milliseconds (`2019-11-15 05:41:50:382+0000`). Digits beyond the microsecond are dropped.
///
/// A value without zone is local time in `tz`; one that does not exist there is the first instant after the gap, one
/// that exists twice is the first. `None` if the text is no such date.
#[must_use]
pub fn parse_instant(text: &str, tz: Tz) -> Option<i64> {
    let mut rest = Cursor(text.trim_ascii().as_bytes());
    let date = rest.date()?;
    if rest.0.is_empty() {
        return local_instant(date.and_time(NaiveTime::MIN), tz);
    }
    let time = rest.time()?;
    let local = date.and_time(time);
    match rest.zone()? {
        Zone::East(offset) => Some(local.and_utc().timestamp_micros() - offset * 1_000_000),
        Zone::Unsaid => local_instant(local, tz),
    }
}

/// The calendar day of an instant (microseconds since 1970 in UTC) in a time zone. `None` beyond the years that a
/// report can write, 0 to 9999.
#[must_use]
pub fn day(micros: i64, tz: Tz) -> Option<NaiveDate> {
    use chrono::Datelike;
    // Two bounds, since the conversion itself panics at the ends of what chrono can count.
    const YEAR: i64 = 366 * 86_400 * 1_000_000;
    if !(-2_000 * YEAR..9_000 * YEAR).contains(&micros) {
        return None;
    }
    let day = DateTime::from_timestamp_micros(micros)?.with_timezone(&tz).date_naive();
    (0..=9999).contains(&day.year()).then_some(day)
}

/// The instant of a local time.
fn local_instant(local: NaiveDateTime, tz: Tz) -> Option<i64> {
    match tz.from_local_datetime(&local).earliest() {
        Some(instant) => Some(instant.timestamp_micros()),
        None => after_gap(local, tz),
    }
}

/// The first instant after the gap that a local time lies in: halves a span of two days (no zone is further than a day
/// from UTC) down to the second, which clocks change on.
fn after_gap(local: NaiveDateTime, tz: Tz) -> Option<i64> {
    let mut before = local.checked_sub_days(Days::new(1))?.and_utc().timestamp();
    let mut after = local.checked_add_days(Days::new(1))?.and_utc().timestamp();
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        let utc = DateTime::from_timestamp(middle, 0)?.naive_utc();
        let there = utc + TimeDelta::seconds(tz.offset_from_utc_datetime(&utc).fix().local_minus_utc().into());
        if there < local { before = middle } else { after = middle }
    }
    after.checked_mul(1_000_000)
}

/// What a time says of its zone.
enum Zone {
    Unsaid,
    /// Seconds east of UTC.
    East(i64),
}

/// What is left to read.
struct Cursor<'a>(&'a [u8]);

impl Cursor<'_> {
    /// Exactly this many digits.
    fn digits(&mut self, count: usize) -> Option<u32> {
        let (head, tail) = self.0.split_at_checked(count)?;
        if !head.iter().all(u8::is_ascii_digit) {
            return None;
        }
        self.0 = tail;
        Some(head.iter().fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    /// One of these bytes.
    fn any(&mut self, of: &[u8]) -> Option<u8> {
        let (first, tail) = self.0.split_first()?;
        of.contains(first).then(|| {
            self.0 = tail;
            *first
        })
    }

    /// `YYYY-MM-DD`
    fn date(&mut self) -> Option<NaiveDate> {
        let year = self.digits(4)?;
        self.any(b"-")?;
        let month = self.digits(2)?;
        self.any(b"-")?;
        NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, self.digits(2)?)
    }

    /// `T` or a blank, then `HH:MM`, seconds and a fraction if there are.
    fn time(&mut self) -> Option<NaiveTime> {
        self.any(b"Tt ")?;
        let hour = self.digits(2)?;
        self.any(b":")?;
        let minute = self.digits(2)?;
        if self.any(b":").is_none() {
            return NaiveTime::from_hms_opt(hour, minute, 0);
        }
        let second = self.digits(2)?;
        let micros = match self.any(b".,:") {
            None => 0,
            Some(b':') => self.digits(3)? * 1000,
            Some(_) => self.fraction()?,
        };
        NaiveTime::from_hms_micro_opt(hour, minute, second, micros)
    }

    /// Digits after the decimal point, in microseconds.
    fn fraction(&mut self) -> Option<u32> {
        let count = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, tail) = self.0.split_at(count);
        self.0 = tail;
        let padded = digits.iter().copied().chain(std::iter::repeat(b'0')).take(6);
        (count > 0).then(|| padded.fold(0, |number, digit| number * 10 + u32::from(digit - b'0')))
    }

    /// The rest: nothing (no zone), `Z`, `UTC` (as BigQuery exports it), or `+HH`, `+HHMM`, `+HH:MM`, with or without a
    /// blank before it.
    fn zone(&mut self) -> Option<Zone> {
        if self.0.is_empty() {
            return Some(Zone::Unsaid);
        }
        let _ = self.any(b" ");
        if self.0.eq_ignore_ascii_case(b"UTC") {
            return Some(Zone::East(0));
        }
        let offset = match self.any(b"Zz+-")? {
            b'Z' | b'z' => 0,
            sign => {
                let hours = self.digits(2)?;
                let colon = self.any(b":").is_some();
                let minutes = if self.0.is_empty() && !colon { 0 } else { self.digits(2)? };
                if hours > 23 || minutes > 59 {
                    return None;
                }
                let seconds = i64::from(hours * 3600 + minutes * 60);
                if sign == b'-' { -seconds } else { seconds }
            }
        };
        self.0.is_empty().then_some(Zone::East(offset))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `date -u -d @…` by hand: 2020-06-30 07:50:04 UTC is 1593503404.
    const JUNE: i64 = 1_593_503_404;

    fn kolkata(text: &str) -> Option<i64> {
        parse_instant(text, Tz::Asia__Kolkata)
    }

    #[test]
    fn iso_forms_with_a_zone() {
        for text in [
            "2020-06-30T07:50:04Z",
            "2020-06-30t07:50:04z",
            "2020-06-30 07:50:04+0000",
            " 2020-06-30 07:50:04 +0000 ",
            "2020-06-30T07:50:04.000-00:00",
            "2020-06-30T13:20:04+05:30",
            "2020-06-30T13:20:04+0530",
            "2020-06-30T02:50:04-05",
            "2020-06-30 07:50:04 UTC",
            "2020-06-30 07:50:04.000000 utc",
            "2020-06-30 07:50:04UTC",
        ] {
            assert_eq!(kolkata(text), Some(JUNE * 1_000_000), "{text}");
        }
    }

    #[test]
    fn fractions_and_the_legacy_colon() {
        assert_eq!(kolkata("2020-06-30 07:50:04:062+0000"), Some(JUNE * 1_000_000 + 62_000));
        assert_eq!(kolkata("2020-06-30 07:50:04.062+0000"), Some(JUNE * 1_000_000 + 62_000));
        assert_eq!(kolkata("2020-06-30 07:50:04.5Z"), Some(JUNE * 1_000_000 + 500_000));
        assert_eq!(kolkata("2020-06-30 07:50:04,5Z"), Some(JUNE * 1_000_000 + 500_000));
        assert_eq!(kolkata("2020-06-30T07:50:04.123456789Z"), Some(JUNE * 1_000_000 + 123_456));
    }

    #[test]
    fn without_a_zone_it_is_local_time() {
        assert_eq!(kolkata("2020-06-30T13:20:04"), Some(JUNE * 1_000_000));
        assert_eq!(kolkata("2020-06-30 13:20:04:062"), Some(JUNE * 1_000_000 + 62_000));
        assert_eq!(kolkata("2020-06-30 13:20"), Some((JUNE - 4) * 1_000_000));
        // Midnight in Kolkata is 18:30 UTC of the day before: 1593455400.
        assert_eq!(kolkata("2020-06-30"), Some(1_593_455_400_000_000));
        assert_eq!(parse_instant("1970-01-02", Tz::UTC), Some(86_400_000_000));
        assert_eq!(parse_instant("1969-12-31T23:59:59Z", Tz::UTC), Some(-1_000_000));
    }

    #[test]
    fn a_local_time_in_a_gap_is_the_first_instant_after_it() {
        let utc = |text: &str| parse_instant(text, Tz::UTC);
        // Berlin 2021-03-28: 02:00 became 03:00, at 01:00 UTC.
        assert_eq!(parse_instant("2021-03-28 02:30:00", Tz::Europe__Berlin), utc("2021-03-28T01:00:00Z"));
        assert_eq!(parse_instant("2021-03-28 02:00:00", Tz::Europe__Berlin), utc("2021-03-28T01:00:00Z"));
        assert_eq!(parse_instant("2021-03-28 01:59:59", Tz::Europe__Berlin), utc("2021-03-28T00:59:59Z"));
        // Samoa left out the whole of 2011-12-30; 12-31 00:00 local (+14) is 12-30 10:00 UTC.
        assert_eq!(parse_instant("2011-12-30", Tz::Pacific__Apia), utc("2011-12-30T10:00:00Z"));
        // A midnight that did not exist: São Paulo 2018-11-04 began at 01:00 (-02:00), 03:00 UTC.
        assert_eq!(parse_instant("2018-11-04", Tz::America__Sao_Paulo), utc("2018-11-04T03:00:00Z"));
    }

    #[test]
    fn a_local_time_that_exists_twice_is_the_first() {
        // Berlin 2021-10-31 02:30 first at +02:00.
        assert_eq!(
            parse_instant("2021-10-31 02:30:00", Tz::Europe__Berlin),
            parse_instant("2021-10-31T00:30:00Z", Tz::UTC)
        );
    }

    #[test]
    fn what_is_no_date() {
        for text in [
            "",
            "35353",
            "2020",
            "2020-6-30",
            "2020-02-30",
            "2020-13-01",
            "30/06/2020",
            "2020-06-30T",
            "2020-06-30T7:50",
            "2020-06-30T24:00:00Z",
            "2020-06-30 07:50:60Z",
            "2020-06-30 07:50:04:62+0000",
            "2020-06-30 07:50:04.Z",
            "2020-06-30 07:50:04+5",
            "2020-06-30 07:50:04+05:3",
            "2020-06-30 07:50:04+24:00",
            "2020-06-30 07:50:04 UT",
            "2020-06-30 07:50:04 UTC+1",
            "2020-06-30 07:50:04 IST",
            "2020-06-30Z",
            "2020-06-30 07:50:04Z.",
            "２０２０-06-30",
        ] {
            assert_eq!(kolkata(text), None, "{text}");
        }
    }

    #[test]
    fn the_day_is_that_of_the_zone() {
        let late = parse_instant("2018-12-01T18:29:59.999Z", Tz::UTC).unwrap();
        assert_eq!(day(late, Tz::Asia__Kolkata), NaiveDate::from_ymd_opt(2018, 12, 1));
        assert_eq!(day(late + 1_000, Tz::Asia__Kolkata), NaiveDate::from_ymd_opt(2018, 12, 2));
        assert_eq!(day(-1, Tz::UTC), NaiveDate::from_ymd_opt(1969, 12, 31));
        assert_eq!(day(i64::MAX, Tz::UTC), None);
        assert_eq!(day(i64::MIN, Tz::UTC), None);
    }
}
