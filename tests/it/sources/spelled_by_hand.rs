//! Columns in several spellings, by hand: on PostgreSQL, which the made-up tables do not reach, and where none is there.

use std::collections::BTreeMap;
use std::fs;

use exhaust::sources::Source;
use exhaust::sources::files::CsvDialect;
use exhaust::tables::schema::{Column, Kind, Table};

use super::read::read;
use super::{database, files, scan, settings};
use crate::databases::TestDatabase;

/// Rows with a value in neither, either or both of two spellings, as text columns.
const ROWS: [[&str; 4]; 6] = [
    ["u1", "2021-03-01T00:00:00Z", "2020-02-02T00:00:00Z", "c"],
    ["u2", "", "2020-02-02T00:00:00Z", "c"],
    ["u3", " null ", "2020-02-02T00:00:00Z", "c"],
    ["u4", "2021-03-01T00:00:00Z", "", "c"],
    ["u5", "tomorrow", "2020-02-02T00:00:00Z", "c"],
    ["u6", "", "", "c"],
];

/// PostgreSQL has no generator above: the same rules by hand, with values of its own types.
#[test]
fn spellings_on_postgresql() {
    let Some(place) = TestDatabase::postgres() else { return };
    let values: Vec<String> = ROWS
        .iter()
        .map(|row| {
            format!(
                "('b', '{}', '{}', {}, true)",
                row[0],
                row[1],
                if row[2].is_empty() { "NULL".to_owned() } else { format!("'{}'", row[2]) }
            )
        })
        .collect();
    place.execute(&format!(
        "CREATE SCHEMA platform;
         CREATE TABLE platform.user_enrolments (batchid text, userid text, \"Enrolled_Date\" text, enrolleddate timestamptz, active boolean);
         INSERT INTO platform.user_enrolments VALUES {};
         CREATE TABLE platform.user_activity_agg (context_id text, user_id text, agg jsonb, aggregates jsonb, completedcount double precision);
         INSERT INTO platform.user_activity_agg VALUES
            ('cb:b', 'u1', '{{\"completedCount\": 2}}', '{{\"completedCount\": 26.0, \"score:x\": 0.5}}', 3),
            ('cb:b', 'u2', '{{\"completedCount\": 2}}', '{{\"score:x\": 0.5}}', 3),
            ('cb:b', 'u3', NULL, '{{\"completedCount\": null}}', 3),
            ('cb:b', 'u4', NULL, NULL, 'NaN'),
            ('cb:b', 'u5', '{{\"completedCount\": 2}}', '{{\"completedCount\": 26.5}}', 3);
         CREATE TABLE platform.user (id text, userid text);
         INSERT INTO platform.user VALUES ('i1', 'u1'), ('u1', NULL), ('u2', ''), ('u1', 'u3'), ('i5', NULL), (NULL, NULL);
         CREATE TABLE platform.course_batch (batchid text, \"StartDate\" text, \"STARTDATE\" text);",
        values.join(", ")
    ));
    let source = database(&place, settings());
    let columns = [Column::key("userid"), Column::optional("enrolleddate", Kind::Instant)];
    let (rows, stats) = read(&source, &scan(Table::UserEnrolments, &columns, None)).unwrap();
    assert_eq!(
        rows,
        [
            "u1|2021-03-01T00:00:00Z",
            "u2|2020-02-02T00:00:00Z",
            "u3|2020-02-02T00:00:00Z",
            "u4|2021-03-01T00:00:00Z",
            "u5|-",
            "u6|-"
        ]
    );
    assert_eq!(stats.unreadable_dates, 1);
    let columns = [Column::key("user_id"), Column::required("agg", Kind::CompletedCount)];
    let (rows, stats) = read(&source, &scan(Table::UserActivityAgg, &columns, None)).unwrap();
    assert_eq!(rows, ["u1|26", "u2|2", "u3|3", "u4|-"]);
    assert_eq!(stats.bad, BTreeMap::from([("completedCount of aggregates is not a whole number".to_owned(), 1)]));
    // Few keys are listed in the statement, many are joined.
    let many: Vec<String> = (0..1_500).map(|n| format!("other{n}")).chain(["u1".to_owned(), "u2".to_owned()]).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    for keys in [&["u1", "u2"][..], &many] {
        let limited = scan(Table::User, &[Column::key("userid")], Some(("userid", keys)));
        let (rows, stats) = read(&source, &limited).unwrap();
        assert_eq!(rows, ["u1", "u1", "u2"], "{} keys", keys.len());
        assert_eq!(stats.bad, BTreeMap::from([("empty userid".to_owned(), 1)]));
    }
    let columns = [Column::key("batchid"), Column::optional("startdate", Kind::Instant)];
    let error = read(&source, &scan(Table::CourseBatch, &columns, None)).unwrap_err();
    let expected = r#"table course_batch: "platform"."course_batch" has two columns that may be 'startdate': 'StartDate' and 'STARTDATE'"#;
    assert_eq!(error.message, expected);
    assert!(!error.may_pass);
}

#[test]
fn no_spelling_of_a_column_that_must_be_there() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("user_activity_agg.csv"), "user_id,agg_last_updated\nu,\n").unwrap();
    let columns = [Column::key("user_id"), Column::required("agg", Kind::CompletedCount)];
    let source: &dyn Source = &files(directory.path(), CsvDialect::Rfc4180, settings());
    let error = read(source, &scan(Table::UserActivityAgg, &columns, None)).unwrap_err();
    let expected =
        "table user_activity_agg: user_activity_agg.csv has no column 'aggregates', 'agg' or 'completedCount'";
    assert!(error.message.starts_with(expected), "{}", error.message);
}
