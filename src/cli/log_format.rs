//! How an event of the log is written: one line, as text or as JSON, on standard error.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt as _;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::{DateTime, SecondsFormat, Utc};
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use serde_json::Map;

use crate::config::checked::LogFormat;

/// Whether lines are JSON. Before jobs.toml is read they are text.
static JSON: AtomicBool = AtomicBool::new(false);

/// From here on lines are written in this format.
pub(super) fn set(format: LogFormat) {
    JSON.store(format == LogFormat::Json, Ordering::Relaxed);
}

/// Whether systemd's journal takes standard error: it names the device and inode of the stream that it has given us
/// (systemd.exec(5), `$JOURNAL_STREAM`).
pub(super) fn journal_reads_stderr(journal_stream: Option<&str>) -> bool {
    let Ok(stderr) = fs::metadata("/proc/self/fd/2") else { return false };
    journal_stream == Some(&format!("{}:{}", stderr.dev(), stderr.ino()))
}

/// Writes one event. `priority`: with syslog's number of its level in front, as the journal reads it (sd-daemon(3)).
pub(super) fn write(
    out: &mut impl Write,
    record: &Record<'_>,
    now: DateTime<Utc>,
    (level, priority): (&str, bool),
) -> io::Result<()> {
    if priority {
        write!(out, "<{}>", syslog_level(record.level()))?;
    }
    let time = now.to_rfc3339_opts(SecondsFormat::Millis, true);
    if JSON.load(Ordering::Relaxed) {
        writeln!(out, "{}", as_json(record, &time))
    } else {
        writeln!(out, "{time} {level} {} {}", record.target(), as_text(record))
    }
}

const fn syslog_level(level: Level) -> u8 {
    match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    }
}

/// The message, and ` key=value` for each field.
fn as_text(record: &Record<'_>) -> String {
    let mut text = record.args().to_string();
    let _ = record.key_values().visit(&mut TextFields(&mut text));
    // An event is one line, also where an error's text has several.
    text.replace(['\n', '\r'], " ")
}

struct TextFields<'t>(&'t mut String);

impl<'kvs> VisitSource<'kvs> for TextFields<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let value = value.to_string();
        // Any other value than a plain word is in quotes, with escapes: it cannot forge a field.
        let plain =
            !value.is_empty() && !value.contains(|c: char| c.is_whitespace() || c.is_control() || "\"\\=".contains(c));
        if plain { write!(self.0, " {key}={value}") } else { write!(self.0, " {key}={value:?}") }
            .map_err(kv::Error::from)
    }
}

/// An object: `time`, `level`, `target`, `message`, and each field under its name.
fn as_json(record: &Record<'_>, time: &str) -> String {
    let mut event = Map::new();
    event.insert("time".to_owned(), time.into());
    event.insert("level".to_owned(), record.level().as_str().into());
    event.insert("target".to_owned(), record.target().into());
    event.insert("message".to_owned(), record.args().to_string().into());
    let mut fields = JsonFields(event);
    let _ = record.key_values().visit(&mut fields);
    serde_json::Value::from(fields.0).to_string()
}

struct JsonFields(Map<String, serde_json::Value>);

impl<'kvs> VisitSource<'kvs> for JsonFields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        let typed = value.to_u64().map(serde_json::Value::from).or_else(|| value.to_i64().map(serde_json::Value::from));
        let typed = typed.or_else(|| value.to_f64().map(serde_json::Value::from));
        let typed = typed.or_else(|| value.to_bool().map(serde_json::Value::from));
        let value = typed.unwrap_or_else(|| value.to_string().into());
        self.0.insert(key.to_string(), value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_record(check: impl Fn(&Record<'_>)) {
        let fields: [(&str, Value<'_>); 5] = [
            ("request", Value::from("t/1")),
            ("files", Value::from(3_u64)),
            ("wait_ms", Value::from(-1_i64)),
            ("error", Value::from("a b=\"c\"\nd")),
            ("whole", Value::from(true)),
        ];
        let mut record = Record::builder();
        record.level(Level::Warn).target("exhaust::worker").key_values(&fields);
        check(&record.args(format_args!("request completed\nat once")).build());
    }

    #[test]
    fn a_field_of_text_cannot_forge_another_one() {
        with_record(|record| {
            let expected =
                r#"request completed at once request=t/1 files=3 wait_ms=-1 error="a b=\"c\"\nd" whole=true"#;
            assert_eq!(as_text(record), expected);
        });
    }

    #[test]
    fn json_has_numbers_as_numbers_and_texts_as_they_are() {
        with_record(|record| {
            let event: serde_json::Value = serde_json::from_str(&as_json(record, "2026-12-01T00:00:00.000Z")).unwrap();
            let expected = serde_json::json!({
                "time": "2026-12-01T00:00:00.000Z", "level": "WARN", "target": "exhaust::worker",
                "message": "request completed\nat once", "request": "t/1", "files": 3, "wait_ms": -1,
                "error": "a b=\"c\"\nd", "whole": true,
            });
            assert_eq!(event, expected);
        });
    }

    #[test]
    fn the_journal_is_given_the_level_of_each_line() {
        with_record(|record| {
            let mut line = Vec::new();
            write(&mut line, record, DateTime::UNIX_EPOCH, ("WARN ", true)).unwrap();
            assert!(line.starts_with(b"<4>1970-01-01T00:00:00.000Z WARN  exhaust::worker request completed at once "));
        });
        assert!(!journal_reads_stderr(None) && !journal_reads_stderr(Some("0:0")));
    }
}
