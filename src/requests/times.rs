//! Times as text: what others wrote is read in many forms, what we write has one form for each backend.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};

/// Epoch numbers from here on are milliseconds. As seconds it would be the year 5138, as milliseconds it is 1973.
const MILLISECONDS_FROM: f64 = 1e11;
/// Epoch numbers from here on are neither: as milliseconds it would be the year 5138.
const NEITHER_FROM: f64 = 1e14;

/// Reads a time as outside writers put it into a row: epoch seconds or milliseconds, or `2020-01-31`, with
/// ` ` or `T` and `10:20[:30[.5]]`, with nothing (UTC), `Z` or an offset after it. `None` for anything else, such as
/// `infinity`.
#[must_use]
pub fn read_time(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim();
    let numeric = |b: u8| b.is_ascii_digit() || b"+-.eE".contains(&b);
    if text.bytes().all(numeric)
        && let Ok(number) = text.parse()
    {
        return read_epoch(number);
    }
    let split = text.find(['T', 't', ' ']).unwrap_or(text.len());
    let (date, rest) = text.split_at(split);
    let date = NaiveDate::parse_from_str(date, "%Y-%m-%d").ok()?;
    if rest.is_empty() {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    let (time, offset) = split_offset(rest[1..].trim())?;
    let time = ["%H:%M:%S%.f", "%H:%M"].iter().find_map(|form| NaiveTime::parse_from_str(time, form).ok())?;
    date.and_time(time).and_utc().checked_sub_signed(TimeDelta::minutes(offset))
}

#[allow(clippy::cast_possible_truncation, reason = "bounded by NEITHER_FROM; fractions of a millisecond do not count")]
fn read_epoch(number: f64) -> Option<DateTime<Utc>> {
    match number.abs() {
        n if n < MILLISECONDS_FROM => DateTime::from_timestamp_millis((number * 1000.0).round() as i64),
        n if n < NEITHER_FROM => DateTime::from_timestamp_millis(number as i64),
        _ => None,
    }
}

/// Splits `10:20:30+05:30` into the time and the minutes that it is ahead of UTC.
fn split_offset(text: &str) -> Option<(&str, i64)> {
    if let Some(time) = text.strip_suffix(['Z', 'z']) {
        return Some((time.trim_end(), 0));
    }
    let Some(at) = text.find(['+', '-']) else { return Some((text, 0)) };
    let (time, offset) = text.split_at(at);
    let digits: String = offset[1..].chars().filter(|c| *c != ':').collect();
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let (hours, minutes): (i64, i64) = match digits.len() {
        2 => (digits.parse().ok()?, 0),
        4 => (digits[..2].parse().ok()?, digits[2..].parse().ok()?),
        _ => return None,
    };
    let ahead = hours * 60 + minutes;
    Some((time.trim_end(), if offset.starts_with('-') { -ahead } else { ahead }))
}

/// The form of SQLite rows: `YYYY-MM-DD HH:MM:SS.mmm`, which sorts as text.
pub(super) fn sqlite_text(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

/// A timestamp for PostgreSQL, with microseconds.
pub(super) fn postgres_text(time: DateTime<Utc>) -> String {
    time.format("%Y-%m-%d %H:%M:%S%.6f").to_string()
}

/// `time` plus `after`, at most the last year that sorts as text.
pub(super) fn later(time: DateTime<Utc>, after: Duration) -> DateTime<Utc> {
    let last = NaiveDate::from_ymd_opt(9999, 12, 31).map_or(time, |day| day.and_time(NaiveTime::MIN).and_utc());
    TimeDelta::from_std(after).ok().and_then(|after| time.checked_add_signed(after)).map_or(last, |t| t.min(last))
}

/// A duration for PostgreSQL. A century at most, which cannot overflow a timestamp.
pub(super) fn microseconds(duration: Duration) -> i64 {
    const CENTURY: i64 = 100 * 366 * 86_400 * 1_000_000;
    i64::try_from(duration.as_micros()).unwrap_or(CENTURY).min(CENTURY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, millis: i64) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp_millis(seconds * 1000 + millis)
    }

    #[test]
    fn every_form_that_outside_writers_use_is_read() {
        // 2020-11-24 00:00:00 UTC is 1606176000.
        for (text, seconds, millis) in [
            ("2020-11-24", 1_606_176_000, 0),
            ("2020-11-24 00:00:00", 1_606_176_000, 0),
            ("2020-11-24 00:00", 1_606_176_000, 0),
            ("2020-11-24T00:00:00Z", 1_606_176_000, 0),
            ("2020-11-24t00:00:00z", 1_606_176_000, 0),
            ("2020-11-24 05:30:00+05:30", 1_606_176_000, 0),
            ("2020-11-24T05:30:00.250+0530", 1_606_176_000, 250),
            ("2020-11-23 19:00:00-05", 1_606_176_000, 0),
            ("2020-11-24 00:00:00.123456", 1_606_176_000, 123),
            ("1606176000", 1_606_176_000, 0),
            ("1606176000.5", 1_606_176_000, 500),
            ("1606176000250", 1_606_176_000, 250),
            ("1.606176e9", 1_606_176_000, 0),
            (" 1606176000 ", 1_606_176_000, 0),
            ("0", 0, 0),
            ("-1", -1, 0),
        ] {
            let read = read_time(text).map(|t| t.timestamp_millis());
            assert_eq!(read, at(seconds, millis).map(|t| t.timestamp_millis()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        for text in [
            "",
            " ",
            "infinity",
            "-infinity",
            "soon",
            "2020-13-01",
            "2020-11-24 25:00",
            "2020-11-24T",
            "1e300",
            "-",
            ".",
            "1606176000000000",
            "24/11/2020",
            "2020-11-24 00:00:00+5",
            "2020-11-24 00:00:00+é1",
            "NaN",
            "é",
            "2020-11-24é",
            "0044-03-15 00:00:00 BC",
        ] {
            assert_eq!(read_time(text), None, "{text}");
        }
    }

    #[test]
    fn a_lease_of_for_ever_still_sorts_as_text() {
        let now = at(1_606_176_000, 0).unwrap();
        assert_eq!(sqlite_text(later(now, Duration::MAX)), "9999-12-31 00:00:00.000");
        assert_eq!(sqlite_text(later(now, Duration::from_millis(90_500))), "2020-11-24 00:01:30.500");
    }
}
