use std::borrow::Cow;

use std::fs;

use super::*;
use crate::tables::keys::keys;
use crate::tables::schema::Column;

fn laid(files: &[&str]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for file in files {
        let path = directory.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }
    directory
}

fn scan(only: Option<&str>) -> Scan {
    Scan {
        table: Table::UserEnrolments,
        columns: vec![Column::key("batchid")],
        reach: only.map(|key| (Cow::Borrowed("batchid"), keys([key.to_owned()]))).into(),
        learners: None,
    }
}

fn labels(files: &[&str], only: Option<&str>) -> Result<Vec<String>, String> {
    let directory = laid(files);
    parts(&Directory::Local(directory.path().to_owned()), "user_enrolments", &scan(only))
        .map(|parts| parts.into_iter().map(|part| part.label).collect())
        .map_err(|error| {
            assert!(!error.may_pass);
            assert!(error.message.chars().count() <= 110, "{}", error.message);
            error.message.replace(&directory.path().display().to_string(), "DIRECTORY")
        })
}

#[test]
fn one_file_in_each_form() {
    for end in ["parquet", "csv", "jsonl", "csv.gz", "jsonl.gz", "json", "ndjson.zst", "TSV", "CSV.GZ"] {
        let file = format!("user_enrolments.{end}");
        assert_eq!(labels(&[&file, "user.csv"], None), Ok(vec![file.clone()]));
    }
}

#[test]
fn a_directory_of_parts_without_what_is_nobodys() {
    let found = labels(
        &["user_enrolments/b.csv", "user_enrolments/a.csv.gz", "user_enrolments/_SUCCESS", "user_enrolments/.a.crc"],
        None,
    );
    assert_eq!(found, Ok(vec!["user_enrolments/a.csv.gz".to_owned(), "user_enrolments/b.csv".to_owned()]));
}

#[test]
fn partitions_give_values_and_unwanted_ones_stay_closed() {
    let files = [
        "user_enrolments/batchid=b%3A1/part-0.parquet",
        "user_enrolments/batchid=b2/part-0.parquet",
        "user_enrolments/batchid=__HIVE_DEFAULT_PARTITION__/part-0.parquet",
    ];
    let directory = laid(&files);
    let values = |only| {
        let parts = parts(&Directory::Local(directory.path().to_owned()), "user_enrolments", &scan(only)).unwrap();
        parts.into_iter().map(|part| part.partitions).collect::<Vec<_>>()
    };
    let of = |value: Option<&str>| vec![("batchid".to_owned(), value.map(ToOwned::to_owned))];
    assert_eq!(values(None), [of(None), of(Some("b:1")), of(Some("b2"))]);
    assert_eq!(values(Some("b:1")), [of(None), of(Some("b:1"))]);
    // No row is wanted, which is no fault of the table.
    assert_eq!(labels(&files[..2], Some("b9")), Ok(vec![]));
}

#[test]
fn a_table_may_be_called_otherwise() {
    let directory = laid(&["user_enrolments.csv", "Taking_part.2026.csv"]);
    let directory = Directory::Local(directory.path().to_owned());
    let found = |name| parts(&directory, name, &scan(None)).map_err(|error| error.message);
    assert_eq!(found("Taking_part.2026").unwrap()[0].label, "Taking_part.2026.csv");
    let missing = found("user").unwrap_err();
    assert!(missing.ends_with("as user.parquet, .csv, .tsv, .jsonl, .json (.gz, .zst) or directory"), "{missing}");
    let near = found("taking_part.2026").unwrap_err();
    assert_eq!(
        near,
        "table user_enrolments: Taking_part.2026.csv is no .parquet, .csv, .tsv, .jsonl, .ndjson or .json file"
    );
}

#[test]
fn two_forms_at_once_are_refused() {
    assert_eq!(
        labels(&["user_enrolments.csv", "user_enrolments.parquet"], None),
        Err("table user_enrolments: user_enrolments.csv and user_enrolments.parquet are both there".to_owned())
    );
    assert_eq!(
        labels(&["user_enrolments/a.csv", "user_enrolments.csv"], None),
        Err("table user_enrolments: user_enrolments/ and user_enrolments.csv are both there".to_owned())
    );
    assert_eq!(
        labels(&["user_enrolments/a.csv", "user_enrolments/a.parquet"], None),
        Err("table user_enrolments: user_enrolments/ holds both CSV and Parquet files".to_owned())
    );
}

#[test]
fn a_missing_or_empty_table_says_what_was_looked_for() {
    assert_eq!(
        labels(&["user.csv"], None),
        Err("table user_enrolments: not in DIRECTORY as .parquet, .csv, .tsv, .jsonl, .json (.gz, .zst) or directory"
            .to_owned())
    );
    assert_eq!(
        labels(&["user_enrolments/_SUCCESS"], None),
        Err("table user_enrolments: user_enrolments/ holds no .parquet, .csv, .tsv, .jsonl, .ndjson or .json files"
            .to_owned())
    );
    assert_eq!(
        labels(&["user_enrolments/a.csv", "user_enrolments/b.txt"], None),
        Err("table user_enrolments: user_enrolments/b.txt is no .parquet, .csv, .tsv, .jsonl, .ndjson or .json file"
            .to_owned())
    );
}
