//! `[[api.keys]]`: who may call the API, and until when.

use std::collections::HashMap;
use std::path::Path;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};

use super::checked::{ApiKey, Role};
use super::jobs::shown;
use crate::document::Fallback::{Is, Says};
use crate::document::Form::{Number, Text, Texts};
use crate::document::{Key, Place, Section, Value, live};

/// Hashes that are in a file by mistake, and what they are hashes of: anybody can find the keys that have them.
const GUESSABLE: [(&str, &str); 3] = [
    (
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "is the hash of an empty key: the variable that was to hold the key was not set",
    ),
    (
        "01ba4719c80b6fe911b091a7c05124b64eeece964e09c058ef8f9805daca546b",
        "is the hash of an empty line: hash the key itself, with printf %s",
    ),
    (
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "is the example of the documentation, and everybody knows its key: make one of your own",
    ),
];

/// The keys of an `[[api.keys]]`.
pub(super) const KEYS: &[Key] = &[
    live("name", Text, Says("needed"), "For the log."),
    live("sha256", Text, Says("needed"), "SHA-256 of the key, 64 hexadecimal digits."),
    live(
        "role",
        Text,
        Is("\"client\""),
        "`client`: submit, read, cancel and retry requests; `viewer`: read, without links and who asked; `operator`: also act on \
         many requests at once and pause tenants; `admin`: everything, without `tags` and `channels`.",
    ),
    live("tags", Texts, Says("all"), "Globs of the tags it may use."),
    live("channels", Texts, Says("all"), "Globs of the channels it may see."),
    live(
        "per_minute",
        Number,
        Says("no limit"),
        "The most calls in any 60 seconds, whatever they are answered; each API process counts its own.",
    ),
    live(
        "open_requests",
        Number,
        Says("no limit"),
        "Requests under the key's tags that are SUBMITTED or PROCESSING at a time, over all processes.",
    ),
    live(
        "not_after",
        Text,
        Says("never expires"),
        "The last day of the key in UTC (`2027-01-31`), or its last instant with an offset \
         (`2027-01-31T18:00:00+05:30`).",
    ),
];

/// Every key, each name and each hash once.
pub(super) fn keys(sections: &[Section<'_>], file: &Path) -> Vec<ApiKey> {
    let mut names: HashMap<&str, &Place> = HashMap::new();
    let mut hashes: HashMap<[u8; 32], &Place> = HashMap::new();
    let mut keys = Vec::new();
    for section in sections {
        let name = section.required("name");
        if let Some((name, place)) = name
            && let Some(first) = names.insert(name, place)
        {
            let what = format!("the key name `{name}` is taken already, at {}", shown(first, file));
            section.faults.add(place, what);
        }
        let key = ApiKey {
            name: name.map_or_else(String::new, |(name, _)| name.to_owned()),
            sha256: sha256(section, &mut hashes, file).unwrap_or_default(),
            role: role(section),
            tags: globs(section, "tags").unwrap_or_else(|| vec!["*".to_owned()]),
            channels: globs(section, "channels").unwrap_or_default(),
            per_minute: section.number("per_minute", 1),
            open_requests: section.number("open_requests", 1),
            not_after: not_after(section),
        };
        keys.push(key);
    }
    keys
}

/// What the key may do. An admin acts for all tenants, so a limit to some of them would promise what it does not keep.
fn role(section: &Section<'_>) -> Role {
    let role = section.one_of("role", &Role::ALL).unwrap_or_default();
    for key in ["tags", "channels"] {
        if let (Role::Admin, Some(node)) = (role, section.node(key)) {
            let what =
                format!("a key with `role = \"admin\"` is for all tenants: leave `{key}` out, or make it an operator");
            section.faults.add(&node.place, what);
        }
    }
    role
}

/// The hash of a key that is hard to guess and is no other section's.
fn sha256<'a>(section: &Section<'a>, hashes: &mut HashMap<[u8; 32], &'a Place>, file: &Path) -> Option<[u8; 32]> {
    let (text, place) = section.required("sha256")?;
    let Some(hash) = parse_sha256(text) else {
        section.faults.add(place, "`sha256` must be the 64 hexadecimal digits of the key's SHA-256");
        return None;
    };
    if let Some((_, what)) = GUESSABLE.iter().find(|(known, _)| parse_sha256(known) == Some(hash)) {
        section.faults.add(place, format!("`sha256` {what}"));
    }
    if let Some(first) = hashes.insert(hash, place) {
        let what = format!("this `sha256` is taken already, at {}: a key has one name", shown(first, file));
        section.faults.add(place, what);
    }
    Some(hash)
}

/// The last instant at which the key is accepted: an instant with its offset, or a day, which ends at midnight UTC.
fn not_after(section: &Section<'_>) -> Option<DateTime<Utc>> {
    let node = section.node("not_after")?;
    let (Value::Text(text) | Value::Loose(text) | Value::Datetime(text)) = &node.value else {
        section.wrong_type("not_after", "a date or a time", node);
        return None;
    };
    let read = parse_not_after(text);
    if read.is_none() {
        let what = "`not_after` must be a date (the key's last day, in UTC) or a time with its offset, such as \
                    2027-01-31 or 2027-01-31T18:00:00+05:30";
        section.faults.add(&node.place, what);
    }
    read
}

fn parse_not_after(text: &str) -> Option<DateTime<Utc>> {
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.to_utc());
    }
    let day = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().filter(|_| text.len() == 10)?;
    let last = NaiveTime::from_hms_nano_opt(23, 59, 59, 999_999_999)?;
    Some(day.and_time(last).and_utc())
}

/// A list that is there and empty would either cover everything or nothing; which one is not to be guessed.
fn globs(section: &Section<'_>, key: &'static str) -> Option<Vec<String>> {
    let globs = section.texts(key)?;
    if let (true, Some(node)) = (globs.is_empty(), section.node(key)) {
        section.faults.add(&node.place, format!("`{key}` is empty: name some, or leave it out for all"));
    }
    Some(globs.into_iter().map(|(glob, _)| glob.to_owned()).collect())
}

fn parse_sha256(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> = pairs.iter().map(|&[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_ends_with_its_last_day_or_at_its_instant() {
        let at = |text: &str| parse_not_after(text).map(|time| time.to_rfc3339());
        assert_eq!(at("2027-01-31").as_deref(), Some("2027-01-31T23:59:59.999999999+00:00"));
        assert_eq!(at("2027-01-31T18:00:00+05:30").as_deref(), Some("2027-01-31T12:30:00+00:00"));
        assert_eq!(at("2027-01-31 18:00:00Z").as_deref(), Some("2027-01-31T18:00:00+00:00"));
        for text in ["", "soon", "2027-02-30", "2027-1-31", "2027-01-31T18:00:00", "31.01.2027", "2027-01-31T25:00:00Z"]
        {
            assert_eq!(at(text), None, "{text:?}");
        }
    }
}
