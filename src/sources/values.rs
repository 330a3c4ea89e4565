//! Odd values of the wild, read: pure functions on the text of one cell.
//!
//! A cell with nothing but blanks counts as nothing there. Not here: what becomes of a value that does not read (that
//! is `rows`).

pub mod literal;

use std::borrow::Cow;

use chrono::TimeZone;
use chrono_tz::Tz;
use serde_json::Value;

use super::spellings::COMPLETED_COUNT;
use crate::tables::dates::parse_instant;
use literal::{Escapes, Span, Spelling};

/// A value, nothing there, or something that does not read.
pub type Reading<T> = Result<Option<T>, Unreadable>;

/// What is there does not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is not of the kind it should be.
    Value,
    /// It is a map, but the entry that counts is not of the kind it should be.
    Entry,
}

/// What alone in a cell stands for nothing there: other programs write these words.
const NOTHING: [&str; 5] = ["null", "NULL", "None", "NaN", "\\N"];

/// What is there without the blanks around it; a word for nothing is nothing.
fn present(text: &str) -> Option<&str> {
    let text = text.trim();
    (!text.is_empty() && !NOTHING.contains(&text)).then_some(text)
}

/// Reads what is there with `read`.
fn reading<T>(text: &str, read: impl FnOnce(&str) -> Option<T>) -> Reading<T> {
    present(text).map(|text| read(text).ok_or(Unreadable::Value)).transpose()
}

/// `true` or `false` in any case, `1` or `0`, `t` or `f` (as `PostgreSQL` copies them).
pub fn boolean(text: &str) -> Reading<bool> {
    reading(text, |text| match text {
        "1" => Some(true),
        "0" => Some(false),
        _ if text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("t") => Some(true),
        _ if text.eq_ignore_ascii_case("false") || text.eq_ignore_ascii_case("f") => Some(false),
        _ => None,
    })
}

/// A whole number; `4.0` is one.
pub fn count(text: &str) -> Reading<i64> {
    reading(text, whole)
}

/// `4`, `4.0`, `4e0`: without loss, however many decimals there are.
fn whole(text: &str) -> Option<i64> {
    text.parse().ok().or_else(|| {
        let (mantissa, exponent) = match text.find(['e', 'E']) {
            Some(at) => (&text[..at], text[at + 1..].parse::<i16>().ok()?),
            None => (text, 0),
        };
        let (sign, digits) = match mantissa.as_bytes() {
            [b'-', ..] => ("-", &mantissa[1..]),
            [b'+', ..] => ("", &mantissa[1..]),
            _ => ("", mantissa),
        };
        let (before, after) = digits.split_once('.').unwrap_or((digits, ""));
        let mut number = [before, after].concat();
        if mantissa.len() > 1000 || number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        // The number of digits before the point once the exponent has moved it.
        let point = i64::try_from(before.len()).ok()? + i64::from(exponent);
        number.truncate(number.trim_end_matches('0').len());
        if number.bytes().all(|byte| byte == b'0') {
            return Some(0);
        }
        let missing = usize::try_from(point - i64::try_from(number.len()).ok()?).ok()?;
        // An i64 has 19 digits; zeros at the start may add some.
        if missing > 19 {
            return None;
        }
        format!("{sign}{number}{:0<missing$}", "").parse().ok()
    })
}

/// A decimal in millionths: exact up to six decimals, beyond them rounded half away from zero.
pub fn decimal(text: &str) -> Reading<i64> {
    reading(text, parse_decimal)
}

fn parse_decimal(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes() {
        [b'-', ..] => (-1, &text[1..]),
        [b'+', ..] => (1, &text[1..]),
        _ => (1, text),
    };
    let (mantissa, exponent) = match digits.find(['e', 'E']) {
        Some(at) => (&digits[..at], digits[at + 1..].parse::<i16>().ok()?),
        None => (digits, 0),
    };
    let (before, after) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let mut digits = before.bytes().chain(after.bytes());
    if mantissa.len() > 1000 || before.len() + after.len() == 0 || !digits.clone().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // How many of the digits make up the millionths; the next one rounds.
    let kept = i64::try_from(before.len()).ok()? + i64::from(exponent) + 6;
    let mut millionths = 0_i64;
    for _ in 0..kept {
        let digit = digits.next().map_or(0, |byte| i64::from(byte - b'0'));
        millionths = millionths.checked_mul(10)?.checked_add(digit)?;
    }
    let round_up = kept >= 0 && digits.next().is_some_and(|byte| byte >= b'5');
    Some(sign * millionths.checked_add(i64::from(round_up))?)
}

/// Microseconds since 1970 in UTC; a value without zone is local time in `tz`.
pub fn instant(text: &str, tz: Tz) -> Reading<i64> {
    reading(text, |text| parse_instant(text, tz))
}

/// The instant of a local date and time that is given as microseconds since 1970 on the local clock. `None` beyond the
/// years that a date can have.
#[must_use]
pub fn local_instant(micros: i64, tz: Tz) -> Option<i64> {
    let local = chrono::DateTime::from_timestamp_micros(micros)?.naive_utc();
    match tz.from_local_datetime(&local).earliest() {
        Some(instant) => Some(instant.timestamp_micros()),
        // Left out when clocks were put forward: as the same date in text is taken.
        None => parse_instant(&local.format("%Y-%m-%dT%H:%M:%S%.6f").to_string(), tz),
    }
}

/// The number of entries of a list or a map, or that number itself.
pub fn entries(text: &str) -> Reading<i64> {
    reading(text, |text| {
        let collection = |text: &str| match text.as_bytes()[0] {
            b'[' => {
                let plain = literal::elements(text.as_bytes(), Spelling::Tolerant, |_| ());
                plain.or_else(|| text.contains(SPARK_ARROW).then(|| literal::spark_elements(text)).flatten())
            }
            _ => in_any_spelling(text, |_, _| ()),
        };
        let entries = match text.as_bytes()[0] {
            b'[' | b'{' => collection(text).or_else(|| collection(&literal::unescaped_cell(text)?))?,
            // A list, as numpy's own spelling of it.
            _ if text.starts_with("array(") => match literal::span(text.as_bytes(), Spelling::Tolerant)? {
                Span::List(list) => literal::elements(list, Spelling::Tolerant, |_| ())?,
                _ => return None,
            },
            _ => return whole(text).filter(|number| *number >= 0),
        };
        i64::try_from(entries).ok()
    })
}

/// Between key and value where Spark casts a map to text.
const SPARK_ARROW: &str = " -> ";

/// The entries of a map, as whatever program spelled it; see [`literal::members`].
fn in_any_spelling<'a>(text: &'a str, mut each: impl FnMut(Span<'a>, Span<'a>)) -> Option<usize> {
    let plain = literal::members(text.as_bytes(), Spelling::Tolerant, &mut each);
    plain.or_else(|| text.contains(SPARK_ARROW).then(|| literal::spark_members(text, each)).flatten())
}

/// The entry `completedCount` of a map, if the map has it: a whole number, in floating point too.
pub fn completed_count(text: &str) -> Reading<i64> {
    entry(text, |value| match value {
        Span::Null => Ok(None),
        Span::Number(digits) => count(digits),
        Span::Text(..) => count(&plain(value)),
        Span::Bool(_) | Span::List(_) | Span::Map(_) => Err(Unreadable::Entry),
    })
}

/// An instant, or a map of which the entry `completedCount` is one.
pub fn last_updated(text: &str, tz: Tz) -> Reading<i64> {
    if !text.trim_start().starts_with(['{', '[']) {
        return instant(text, tz);
    }
    entry(text, |value| match value {
        Span::Null => Ok(None),
        Span::Text(..) => instant(&plain(value), tz),
        Span::Number(_) | Span::Bool(_) | Span::List(_) | Span::Map(_) => Err(Unreadable::Entry),
    })
}

/// What `read` makes of the entry `completedCount` of a map; nothing there if the map has none. The last one counts, as in
/// JSON.
fn entry<T>(text: &str, read: impl Fn(Span<'_>) -> Reading<T>) -> Reading<T> {
    let Some(text) = present(text) else { return Ok(None) };
    let find = |text: &str| {
        let mut found = None;
        in_any_spelling(text, |key, value| {
            if key.is_text(COMPLETED_COUNT) {
                found = Some(value);
            }
        })?;
        Some(found.map_or(Ok(None), &read).map_err(|_| Unreadable::Entry))
    };
    find(text).or_else(|| find(&literal::unescaped_cell(text)?)).unwrap_or(Err(Unreadable::Value))
}

/// The text of a span that is text.
fn plain(span: Span<'_>) -> Cow<'_, str> {
    match span {
        Span::Text(inner, Escapes::None) => String::from_utf8_lossy(inner),
        Span::Text(inner, escapes) => {
            let mut decoded = Vec::with_capacity(inner.len());
            literal::unescape(inner, escapes, &mut decoded);
            Cow::Owned(String::from_utf8_lossy(&decoded).into_owned())
        }
        _ => Cow::Borrowed(""),
    }
}

/// Metadata that came as text, as one JSON value: a list in JSON or in another program's spelling as an array, everything else
/// as the text it is. `None`: nothing there.
#[must_use]
pub fn json_of_text(text: &str) -> Option<String> {
    if text.is_empty() {
        return None;
    }
    let read = |list: &str| {
        let mut out = String::new();
        literal::canonical(literal::span(list.as_bytes(), Spelling::Tolerant)?, Spelling::Tolerant, &mut out)?;
        Some(out)
    };
    let list = text.trim();
    if list.starts_with('[')
        && let Some(list) = read(list).or_else(|| read(&literal::unescaped_cell(list)?))
    {
        return Some(list);
    }
    Some(Value::from(text).to_string())
}

/// A JSON value as the source has it, in the one spelling that all sources share (no blanks, keys in order). `None`:
/// nothing there, or not JSON.
#[must_use]
pub fn json_of_json(json: &str) -> Option<String> {
    match literal::span(json.as_bytes(), Spelling::Json)? {
        Span::Null | Span::Text(b"", _) => None,
        Span::Number(digits) => Some(digits.to_owned()),
        span => {
            let mut out = String::with_capacity(json.len());
            literal::canonical(span, Spelling::Json, &mut out).map(|()| out)
        }
    }
}

#[cfg(test)]
mod tests;
