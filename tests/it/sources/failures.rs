//! What stops a load, and what is said then: table, file and line or column; never a part of the table.

use std::fs;
use std::path::Path;

use exhaust::config::checked::MaxBadRows;
use exhaust::sources::files::CsvDialect;
use exhaust::sources::{ScanStats, Source, SourceError};
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Kind, Table};
use exhaust::worker::verdict;

use super::forms::{self, Format, Spelling, gzip};
use super::read::read;
use super::sets::{Set, readable};
use super::{database, files, scan, settings};
use crate::databases::TestDatabase;

fn users(only: Option<(&'static str, &[&str])>) -> Scan {
    let columns = [Column::key("userid"), Column::required("active", Kind::Bool)];
    scan(Table::User, &columns, only)
}

/// Asserts that it does not pass and names the table and these.
fn assert_names(error: &SourceError, names: &[&str]) {
    assert!(!error.may_pass, "{}", error.detail);
    assert!(error.message.starts_with(&format!("table {}: ", error.table)), "{}", error.message);
    for name in names {
        assert!(error.message.contains(name), "{name} is not in: {}", error.message);
    }
}

fn in_directory(directory: &Path) -> impl Source {
    files(directory, CsvDialect::Rfc4180, settings())
}

fn enrolments() -> Set {
    readable().into_iter().find(|set| set.table == Table::UserEnrolments).unwrap()
}

#[test]
fn a_table_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    assert_names(&read(&in_directory(directory.path()), &users(None)).unwrap_err(), &["user"]);
    let Some(place) = TestDatabase::postgres() else { return };
    let error = read(&database(&place, settings()), &users(None)).unwrap_err();
    assert_names(&error, &[r#"there is no table "platform"."user""#]);
}

#[test]
fn a_column_that_is_not_there() {
    let set = enrolments();
    let mut asked = set.asked.clone();
    asked.push(Column::key("nowhere"));
    let scan = scan(set.table, &asked, None);
    for format in [Format::Csv, Format::Jsonl(Spelling::Text), Format::Parquet(Spelling::Typed)] {
        let directory = tempfile::tempdir().unwrap();
        forms::one_file(directory.path(), &set, format, false);
        let file = format!("user_enrolments.{}", format.extension());
        let error = read(&in_directory(directory.path()), &scan).unwrap_err();
        assert_names(&error, &["has no column 'nowhere'", &file]);
    }
    let Some(place) = TestDatabase::postgres() else { return };
    forms::postgres(&place, &set, Spelling::Typed);
    let error = read(&database(&place, settings()), &scan).unwrap_err();
    assert_eq!(error.message, r#"table user_enrolments: "platform"."user_enrolments" has no column 'nowhere'"#);
    assert!(!error.may_pass);
}

#[test]
fn files_that_break_off() {
    let set = enrolments();
    let columns: Vec<usize> = (0..set.stored.len()).collect();
    let rows: Vec<_> = set.rows.iter().map(Vec::as_slice).collect();
    let whole = |format: Format| format.bytes(&set, &columns, &rows);
    for (name, bytes) in [
        ("user_enrolments.parquet", whole(Format::Parquet(Spelling::Typed))),
        ("user_enrolments.csv.gz", gzip(&whole(Format::Csv))),
        ("user_enrolments.jsonl.gz", gzip(&whole(Format::Jsonl(Spelling::Text)))),
    ] {
        for end in [0, 5, bytes.len() / 2 + 20, bytes.len() - 9, bytes.len() - 1] {
            // Nothing at all is an empty gzip file only by courtesy.
            if end == 0 && name != "user_enrolments.parquet" {
                continue;
            }
            let directory = tempfile::tempdir().unwrap();
            fs::write(directory.path().join(name), &bytes[..end]).unwrap();
            let error = read(&in_directory(directory.path()), &scan(set.table, &set.asked, None)).unwrap_err();
            assert_names(&error, &[name]);
        }
    }
}

/// `all` users, the last `bad` of which are neither active nor inactive; ids `u1` …
fn with_bad_rows(form: &str, all: usize, bad: usize, directory: &Path) {
    let rows = (1..=all).map(|i| (i, if i > all - bad { "perhaps" } else { "true" }));
    let json = |(i, active)| format!("{{\"userid\":\"u{i}\",\"active\":\"{active}\"}}\n");
    let lines: Vec<String> = if form == "user.csv" {
        let line = |(i, active)| format!("u{i},{active}\n");
        std::iter::once("userid,active\n".to_owned()).chain(rows.map(line)).collect()
    } else {
        rows.map(json).collect()
    };
    fs::write(directory.join(form), lines.concat()).unwrap();
}

/// Reads users, and judges them as a table that is read for everybody.
fn judged(source: &dyn Source, scan: &Scan, max: MaxBadRows) -> Result<(Vec<String>, ScanStats), SourceError> {
    let (rows, stats) = read(source, scan)?;
    verdict::whole_table(Table::User, &stats, max).map(|()| (rows, stats))
}

const MAX: MaxBadRows = MaxBadRows { share: 0.001, at_least: 10 };

/// The default: more than 10 and more than one in a thousand.
const BOUNDS: [(usize, usize, bool); 5] =
    [(11, 10, true), (12, 11, false), (11_000, 11, true), (10_999, 11, false), (11_000, 12, false)];

#[test]
fn too_many_unusable_rows_in_files() {
    for (form, header) in [("user.csv", 1), ("user.jsonl", 0)] {
        for (all, bad, fine) in BOUNDS {
            let directory = tempfile::tempdir().unwrap();
            with_bad_rows(form, all, bad, directory.path());
            match judged(&in_directory(directory.path()), &users(None), MAX) {
                Ok((rows, stats)) => {
                    assert!(fine, "{form}: {bad} of {all}");
                    assert_eq!(rows.len(), all - bad);
                    assert_eq!(stats.bad["active is not a boolean"], bad as u64);
                }
                Err(error) => {
                    assert!(!fine, "{form}: {bad} of {all}: {}", error.detail);
                    let line = format!("line {}:", all - bad + 1 + header);
                    let count = format!("{bad} of {all} rows");
                    assert_names(&error, &[form, &line, "active is not a boolean", &count]);
                }
            }
        }
    }
}

#[test]
fn too_many_unusable_rows_in_a_database() {
    for (all, bad, fine) in BOUNDS {
        let Some(place) = TestDatabase::postgres() else { return };
        let good = all - bad;
        place.execute(&format!(
            "CREATE SCHEMA platform;
             CREATE TABLE platform.user AS
                SELECT 'u' || i AS userid, CASE WHEN i > {good} THEN 'perhaps' ELSE 'true' END AS active
                FROM generate_series(1, {all}) AS i"
        ));
        match judged(&database(&place, settings()), &users(None), MAX) {
            Ok((rows, stats)) => {
                assert!(fine, "{bad} of {all}");
                assert_eq!(rows.len(), good);
                assert_eq!(stats.bad["active is not a boolean"], bad as u64);
            }
            Err(error) => {
                assert!(!fine, "{bad} of {all}: {}", error.detail);
                let count = format!("{bad} of {all} rows");
                assert_names(&error, &[r#""platform"."user""#, "active is not a boolean", &count]);
            }
        }
    }
}

#[test]
fn unusable_rows_that_were_not_asked_for_do_not_count() {
    let only = Some(("userid", ["u1", "u2"].as_slice()));
    let check = |source: &dyn Source| {
        assert!(judged(source, &users(None), MAX).is_err());
        let (rows, stats) = judged(source, &users(only), MAX).unwrap();
        assert_eq!(rows, ["u1|true", "u2|true"]);
        assert!(stats.bad.is_empty(), "{stats:?}");
    };
    for form in ["user.csv", "user.jsonl"] {
        let directory = tempfile::tempdir().unwrap();
        with_bad_rows(form, 100, 50, directory.path());
        check(&in_directory(directory.path()));
    }
    let Some(place) = TestDatabase::postgres() else { return };
    place.execute(
        "CREATE SCHEMA platform;
         CREATE TABLE platform.user AS SELECT 'u' || i AS userid, CASE WHEN i > 50 THEN 'perhaps' ELSE 'true' END AS active
         FROM generate_series(1, 100) AS i",
    );
    check(&database(&place, settings()));
}

#[test]
fn no_unusable_row_is_borne_where_none_is_allowed() {
    let directory = tempfile::tempdir().unwrap();
    with_bad_rows("user.csv", 100, 1, directory.path());
    let (source, none) = (in_directory(directory.path()), MaxBadRows { share: 0.0, at_least: 0 });
    assert_names(&judged(&source, &users(None), none).unwrap_err(), &["user.csv", "line 101:", "1 of 100 rows"]);
}
