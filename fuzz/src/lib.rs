//! What is tried with whatever bytes come: nothing panics, ends the process or takes for ever, and what is read is what
//! stands there. Called by the fuzz targets, and by `tests/it/attacks/fuzzed.rs` with the inputs that once broke something
//! (`fuzz/regressions`).

#![allow(clippy::missing_panics_doc, reason = "a panic is what is looked for")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "as above")]

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use exhaust::config::Environment;
use exhaust::config::checked::Config;
use exhaust::config::cron::Cron;
use exhaust::intake::{self, KeyLength, Terms};
use exhaust::outputs::{Links, ReportPath};
use exhaust::reports::job_config::JobConfig;
use exhaust::sources::files::CsvDialect;
use exhaust::sources::files::FilesSource;
use exhaust::sources::{Bounds, ScanStats, Settings, Source, SourceError, values};
use exhaust::tables::chunk::Texts;
use exhaust::tables::keys::keys;
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Kind, Table};

/// What a target does with its bytes.
pub type Body = fn(&[u8]);

/// The targets by their names.
pub const TARGETS: [(&str, Body); 7] = [
    ("cell", cell),
    ("csv_line", csv_line),
    ("jobs_toml", jobs_toml),
    ("cron", cron),
    ("request_data", request_data),
    ("link", link),
    ("parquet_footer", parquet_footer),
];

const TZ: Tz = Tz::Asia__Kolkata;

/// One cell, read as everything that a cell can be.
pub fn cell(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = (values::boolean(text), values::instant(text, TZ), values::last_updated(text, TZ));
    let _ = values::completed_count(text);
    if let Ok(Some(entries)) = values::entries(text) {
        assert!(entries >= 0);
    }
    if let Ok(Some(number)) = values::count(text) {
        assert_eq!(values::count(&number.to_string()), Ok(Some(number)), "a count reads as itself");
        if let Some(millionths) = number.checked_mul(1_000_000)
            && text.len() < 1_000
        {
            assert_eq!(values::decimal(text), Ok(Some(millionths)), "a count is a decimal");
        }
    }
    if let Some(json) = values::json_of_json(text) {
        let read: serde_json::Value = serde_json::from_str(&json).expect("JSON is written");
        assert_eq!(values::json_of_json(&json).as_deref(), Some(json.as_str()), "as it is written it stays");
        // Where others read the text too, they read the same.
        if let Ok(mut other) = serde_json::from_str::<serde_json::Value>(text) {
            let mut read = read;
            other.sort_all_objects();
            read.sort_all_objects();
            assert_eq!(read, other);
        }
    }
    if let Some(json) = values::json_of_text(text) {
        let _: serde_json::Value = serde_json::from_str(&json).expect("JSON is written");
    }
}

/// The rows that a source of one file has, as texts.
fn rows(
    name: &str,
    content: &[u8],
    dialect: CsvDialect,
    scan: &Scan,
) -> Result<(Vec<Vec<String>>, ScanStats), SourceError> {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join(name), content).unwrap();
    let settings = Settings { timezone: TZ, bounds: Bounds { unit: 1 << 20, held: 8 << 20 } };
    let source = FilesSource::new(directory.path().to_owned(), dialect, settings);
    let rows = Mutex::new(Vec::new());
    let stats = source.read(scan, &|chunk| {
        let texts = |row: usize| {
            let texts = chunk.columns().iter().zip(&scan.columns);
            let of_text = texts.filter(|(_, column)| column.kind == Kind::Text);
            of_text.map(|(column, _)| Texts::of(column).get(row).to_owned()).collect::<Vec<String>>()
        };
        rows.lock().unwrap().extend(chunk.rows().map(texts));
    })?;
    let mut rows = rows.into_inner().unwrap();
    assert_eq!(rows.len() as u64, stats.rows);
    rows.sort_unstable();
    Ok((rows, stats))
}

/// Lines behind a header. The first byte says which dialect; of RFC 4180 what another reader reads too is the same.
pub fn csv_line(data: &[u8]) {
    let Some((dialect, lines)) = data.split_first() else { return };
    let dialect = [CsvDialect::Rfc4180, CsvDialect::Spark, CsvDialect::Cqlsh][usize::from(*dialect) % 3];
    let content = [b"userid,firstname\n", lines].concat();
    let columns = vec![Column::key("userid"), Column::optional("firstname", Kind::Text)];
    let scan = Scan::everything(Table::User, columns);
    let Ok((rows, stats)) = rows("user.csv", &content, dialect, &scan) else { return };
    if dialect != CsvDialect::Rfc4180 || !stats.bad.is_empty() {
        return;
    }
    let mut others = Vec::new();
    for record in csv::ReaderBuilder::new().flexible(true).from_reader(&content[..]).into_byte_records() {
        let record = record.unwrap();
        others.push(record.iter().map(|cell| String::from_utf8_lossy(cell).into_owned()).collect::<Vec<_>>());
    }
    others.sort_unstable();
    assert_eq!(rows, others);
}

/// The text of a jobs.toml.
pub fn jobs_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = config(text);
}

fn config(text: &str) -> Option<Config> {
    let nothing: Environment = std::iter::empty::<(String, String)>().collect();
    exhaust::config::check(text, Path::new("/etc/exhaustd/jobs.toml"), &nothing, exhaust::reports::registry()).ok()
}

/// An expression: what comes next comes after, and is found again from the end.
pub fn cron(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(cron) = Cron::parse(text) else { return };
    assert_eq!(Cron::parse(cron.as_str()).as_ref().map(Cron::as_str), Ok(cron.as_str()));
    let start = DateTime::from_timestamp(1_774_700_000, 0).unwrap();
    for tz in [Tz::UTC, Tz::Asia__Kolkata, Tz::Europe__Berlin, Tz::Australia__Lord_Howe] {
        let mut after = start;
        for _ in 0..3 {
            let Some(next) = cron.next_after(after, tz) else { break };
            assert!(next > after);
            assert_eq!(cron.latest_between(after, next, tz), Some(next));
            assert_eq!(cron.latest_between(after, next - TimeDelta::seconds(1), tz), None);
            after = next;
        }
    }
}

/// What a row of `job_request` asks for.
pub fn request_data(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let config = config(
        "[[job]]\nid = \"course-report\"\nreport = \"course\"\n[database]\nurl = \"sqlite:///tmp/x.db\"\n[source]\nurl = \
         \"/tmp/x\"\n[store]\nurl = \"file:///tmp/x\"\n",
    );
    let config = config.expect("it is a configuration");
    let max_request_data = 64 << 10;
    let terms = Terms {
        request_data: Some(text),
        encryption_key: None,
        key_length: KeyLength::Any,
        max_request_data,
        is_limited: false,
    };
    if let Ok(order) = intake::accept(&config.jobs[0], terms) {
        assert_eq!(JobConfig::parse(text).as_ref(), Ok(&order.config));
        let _: BTreeSet<&str> = order.config.named_batches().unwrap_or_default();
    }
}

/// A link: key, time and signature, a line each. Nobody has the key, so nothing is opened; and a path never leaves the store.
pub fn link(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut parts = text.splitn(3, '\n');
    let (key, expires, signature) = (parts.next().unwrap_or_default(), parts.next(), parts.next());
    let links = Links::local(&[7; 32], "http://localhost/files", Duration::from_mins(1));
    assert!(links.open(key, expires, signature, DateTime::<Utc>::UNIX_EPOCH).is_err());
    if ReportPath::parse(key).is_ok() {
        assert!(key.trim_matches('/').split('/').all(|name| name != "." && name != ".."), "{key:?}");
    }
}

/// A Parquet file, or (if the first byte is even) what stands at its end.
pub fn parquet_footer(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    let content = if first % 2 == 0 {
        let length = u32::try_from(rest.len()).unwrap().to_le_bytes();
        [b"PAR1".as_slice(), &[0; 64], rest, &length, b"PAR1"].concat()
    } else {
        rest.to_vec()
    };
    // The crate's panics are caught, and the file is refused.
    std::panic::set_hook(Box::new(|_| {}));
    let columns = vec![
        Column::key("batchid"),
        Column::optional("userid", Kind::Text),
        Column::optional("active", Kind::Bool),
        Column::optional("enrolled_date", Kind::Instant),
        Column::optional("certificates", Kind::Entries),
    ];
    for only in [None, Some(("batchid".into(), keys(["b1".to_owned()])))] {
        let scan = Scan { table: Table::UserEnrolments, columns: columns.clone(), reach: only.into(), learners: None };
        let _ = rows("user_enrolments.parquet", &content, CsvDialect::Rfc4180, &scan);
    }
}
