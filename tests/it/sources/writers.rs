//! Files as other programs write them (pyarrow, Python's csv and json, Spark's and cqlsh's quoting, Delta logs), by the
//! thousand: read, they hold what was put in, or an error or a count says that they do not.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use exhaust::sources::files::CsvDialect;
use exhaust::tables::schema::{Column, Kind, Table};
use serde_json::Value;

use super::read::read;
use super::{files, scan, settings};

/// Variants of one run.
const VARIANTS: usize = 1_400;
/// Each gives other variants; `EXHAUST_TEST_SEED` asks for another one.
const SEED: u64 = 16;

fn texts(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// What is wrong with how a variant was read.
fn fault(place: &Path, expected: &Value) -> Option<String> {
    let dialect = match expected["dialect"].as_str().unwrap() {
        "spark" => CsvDialect::Spark,
        "cqlsh" => CsvDialect::Cqlsh,
        _ => CsvDialect::Rfc4180,
    };
    let columns =
        [Column::key("userid"), Column::optional("firstname", Kind::Text), Column::optional("block", Kind::Text)];
    let keys = expected["only"].is_array().then(|| texts(&expected["only"]));
    let keys: Option<Vec<&str>> = keys.as_ref().map(|keys| keys.iter().map(String::as_str).collect());
    let scan = scan(Table::User, &columns, keys.as_ref().map(|keys| ("userid", keys.as_slice())));
    let found = read(&files(place, dialect, settings()), &scan);
    if let Some(wanted) = expected["error"].as_str() {
        return match found {
            Err(error) if error.message.contains(wanted) && !error.may_pass => None,
            other => Some(format!("an error with {wanted:?} was expected: {other:?}")),
        };
    }
    let (rows, stats) = match found {
        Ok(found) => found,
        Err(error) if error.may_pass => return Some(format!("may pass: {error}")),
        Err(_) if expected["or_error"] == true || expected["lines"].is_u64() => return None,
        // A cut inside quotes.
        Err(error) if expected["partial"] == true && error.message.contains("breaks off inside quotes") => return None,
        Err(error) => return Some(error.detail),
    };
    let bad = stats.bad.values().sum::<u64>();
    if let Some(lines) = expected["lines"].as_u64() {
        // Each line is a row, or counted.
        return (rows.len() as u64 + bad != lines).then(|| format!("{lines} lines: {rows:?} {stats:?}"));
    }
    if expected["whole"].is_array() {
        let whole: BTreeSet<String> = texts(&expected["whole"]).into_iter().collect();
        let found: BTreeSet<String> = rows.into_iter().collect();
        let more = found.difference(&whole).count() as u64;
        let all = whole.is_subset(&found) && more + bad == u64::from(expected["partial"] == true);
        return (!all).then(|| format!("{whole:?} expected, {found:?} {stats:?}"));
    }
    let odd = stats.odd.values().sum::<u64>();
    let as_expected = rows == texts(&expected["rows"])
        && Some(bad) == expected["bad"].as_u64()
        && Some(odd) == expected["odd"].as_u64();
    (!as_expected).then(|| format!("{expected} expected: {rows:?} {stats:?}"))
}

#[test]
fn files_of_other_programs_are_read_whole_or_said_to_be_broken() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = || {
        let mut python = Command::new("python3");
        python.env("PYTHONPATH", root.join("target/test-python"));
        python
    };
    let found = python().args(["-c", "import pyarrow.parquet"]).output();
    if !found.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "python3 with pyarrow is not installed");
        eprintln!("skipped: files of other programs: no python3 with pyarrow (see scripts/test)");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let script = root.join("tests/it/sources/writers.py");
    let seed = std::env::var("EXHAUST_TEST_SEED").unwrap_or_else(|_| SEED.to_string());
    let output = python().arg(script).arg(directory.path()).args([&seed, &VARIANTS.to_string()]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let expected = fs::read_to_string(directory.path().join("expected.jsonl")).unwrap();
    let (mut count, mut faults) = (0, Vec::new());
    for line in expected.lines() {
        let expected: Value = serde_json::from_str(line).unwrap();
        let name = expected["dir"].as_str().unwrap();
        count += 1;
        if let Some(what) = fault(&directory.path().join(name), &expected) {
            faults.push(format!("{name}: {}", what.chars().take(600).collect::<String>()));
        }
    }
    assert!(count >= VARIANTS, "{count} variants");
    let shown: Vec<&String> = faults.iter().take(20).collect();
    assert!(faults.is_empty(), "{} of {count} variants of seed {seed}, such as {shown:#?}", faults.len());
}
