//! Lengths of time and sizes as people write them.

use std::time::Duration;

/// Milliseconds of each unit of time.
const TIMES: &[(&str, u64)] = &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

/// Bytes of each unit of size.
const SIZES: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// A hundred years: sums of times stay far from every limit.
const LONGEST_MS: u64 = 36_500 * 86_400_000;

/// A whole number and a unit: `500ms`, `30s`, `2m`, `24h`, `7d`; nothing at all (`0s`) and a hundred years are allowed.
///
/// # Errors
/// What is wrong with it, to be said after the name of the key.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let ms = number_and_unit(text, TIMES)
        .ok_or_else(|| format!("is a whole number and a unit, ms, s, m, h or d, as in \"30s\"; `{text}` is not"))?;
    if ms > LONGEST_MS {
        return Err(format!("is too long, `{text}` is more than a hundred years"));
    }
    Ok(Duration::from_millis(ms))
}

/// Bytes, more than none: `2GiB`, `512MiB`, `1GB`, or a plain number.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    number_and_unit(text, SIZES).filter(|&bytes| bytes > 0 && bytes < u64::MAX).ok_or_else(|| {
        format!("is a whole number of bytes or one with a unit, as in \"2GiB\" or \"500MB\"; `{text}` is not")
    })
}

/// `None`: does not read. Too large a number is `u64::MAX`.
fn number_and_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start_matches(' '));
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    if number.is_empty() {
        return None;
    }
    Some(number.parse().unwrap_or(u64::MAX).saturating_mul(*factor))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", 500),
            ("30s", 30_000),
            ("2m", 120_000),
            ("24h", 86_400_000),
            ("7d", 604_800_000),
            ("0s", 0),
            ("10 s", 10_000),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "30", "s", "1.5h", "-1s", "1h30m", "30S", "30 sec", "١s"] {
            let what = parse_duration(text).unwrap_err();
            assert!(what.starts_with("is a whole number and a unit"), "{what}");
        }
        for text in ["36501d", "99999999999999999999s", "18446744073709551615d"] {
            assert!(parse_duration(text).unwrap_err().starts_with("is too long"), "{text}");
        }
    }

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("2GiB", 2_147_483_648),
            ("512MiB", 536_870_912),
            ("1GB", 1_000_000_000),
            ("64 KiB", 65_536),
            ("1kB", 1_000),
            ("4096", 4_096),
            ("1TiB", 1_099_511_627_776),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "0", "2G", "2gib", "1.5GiB", "GiB", "-1", "99999999999TiB"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }
}
