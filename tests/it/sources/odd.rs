//! Odd values of the wild, each in every form that can hold it: what becomes of it and how it is counted. Expectations
//! are by hand, after `docs/sources.md`.

use std::collections::BTreeMap;
use std::fs;

use exhaust::sources::files::CsvDialect;
use exhaust::sources::{ScanStats, Source};
use exhaust::tables::schema::{Column, Kind, Table};

use super::forms::{self, Format, Spelling};
use super::read::read;
use super::sets::{Cell, Set, Type, Typed};
use super::{database, files, scan, settings};
use crate::databases::TestDatabase;
use crate::engine;

/// A table of text columns.
fn text_set(
    table: Table,
    stored: &'static [(&'static str, Type)],
    rows: &[&[&'static str]],
    asked: Vec<Column>,
) -> Set {
    let cell = |text: &&'static str| Cell { text, typed: Typed::Null };
    let rows = rows.iter().map(|row| row.iter().map(cell).collect()).collect();
    Set { table, stored, rows, asked, only: ("", &[]), expected: &[] }
}

/// Reads the table in every form that holds text.
fn in_every_form(set: &Set, check: impl Fn(&str, &dyn Source)) {
    for format in [Format::Csv, Format::Spark, Format::Jsonl(Spelling::Text), Format::Parquet(Spelling::Text)] {
        let directory = tempfile::tempdir().unwrap();
        forms::one_file(directory.path(), set, format, false);
        let dialect = if format == Format::Spark { CsvDialect::Spark } else { CsvDialect::Rfc4180 };
        check(&format!("{format:?}"), &files(directory.path(), dialect, settings()));
    }
    engine::each(|name, url| {
        let directory = tempfile::tempdir().unwrap();
        forms::one_file(directory.path(), set, Format::Parquet(Spelling::Text), false);
        let relation = engine::parquet(&directory.path().join(format!("{}.parquet", set.table.name())));
        check(name, engine::at(url, &[(set.table, relation)], settings()).as_ref());
    });
    if let Some(place) = TestDatabase::postgres() {
        forms::postgres(&place, set, Spelling::Text);
        check("PostgreSQL", &database(&place, settings()));
    }
}

fn counted(reasons: &[(&str, u64)]) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
}

#[test]
fn enrolments() {
    let set = text_set(
        Table::UserEnrolments,
        &[
            ("batchid", Type::Text),
            ("userid", Type::Text),
            ("active", Type::Text),
            ("enrolleddate", Type::Text),
            ("completedon", Type::Text),
            ("certificates", Type::Text),
        ],
        &[
            &["b1", "u1", "tRuE", "  2020-06-30  ", "", ""],
            &["", "u2", "true", "", "", ""],
            &["b1", "", "true", "", "", ""],
            &["b1", "u4", "yes", "", "", ""],
            &["b2", "u5", "2", "", "", ""],
            &["b1", "u6", "", "35353", "not a date", ""],
            &["b1", "u7", " 1 ", "2019-11-15 05:41:50:382+0000", "2020-06-30T07:50", "3"],
            &["b1", "u8", "0", "2020-02-30", "", "{'a': 1, 'b': None}"],
            &["b1", "u9", "false", "", "", "['a"],
            &["b2", "u10", "FALSE", "nonsense", "2020-06-30T07:50:04-05:00", "[]"],
        ],
        vec![
            Column::key("batchid"),
            Column::key("userid"),
            Column::required("active", Kind::Bool),
            Column::optional("enrolleddate", Kind::Instant),
            Column::optional("completedon", Kind::Instant),
            Column::optional("certificates", Kind::Entries),
        ],
    );
    let of_b1 = [
        "b1|u1|true|2020-06-29T18:30:00Z|-|-",
        "b1|u6|-|-|-|-",
        "b1|u7|true|2019-11-15T05:41:50.382Z|2020-06-30T02:20:00Z|3",
        "b1|u8|false|-|-|2",
    ];
    let of_b2 = "b2|u10|false|-|2020-06-30T12:50:04Z|0";
    in_every_form(&set, |form, source| {
        let (rows, stats) = read(source, &scan(set.table, &set.asked, None)).unwrap();
        assert_eq!(rows, [&of_b1[..], &[of_b2]].concat(), "{form}");
        let bad = [
            ("active is not a boolean", 2),
            ("certificates is not a list", 1),
            ("empty batchid", 1),
            ("empty userid", 1),
        ];
        assert_eq!(
            stats,
            ScanStats {
                rows: 5,
                bad: counted(&bad),
                without_key: counted(&[("empty batchid", 1)]),
                unreadable_dates: 4,
                faults: stats.faults.clone(),
                ..ScanStats::default()
            },
            "{form}"
        );

        // A row of another batch is nobody's business; one without batch may be anybody's.
        let (rows, stats) = read(source, &scan(set.table, &set.asked, Some(("batchid", &["b1"])))).unwrap();
        assert_eq!(rows, of_b1, "{form}");
        let bad = [
            ("active is not a boolean", 1),
            ("certificates is not a list", 1),
            ("empty batchid", 1),
            ("empty userid", 1),
        ];
        assert_eq!(
            stats,
            ScanStats {
                rows: 4,
                bad: counted(&bad),
                without_key: counted(&[("empty batchid", 1)]),
                unreadable_dates: 3,
                faults: stats.faults.clone(),
                ..ScanStats::default()
            },
            "{form}"
        );
    });
}

#[test]
fn scores() {
    let set = text_set(
        Table::AssessmentAggregator,
        &[("attempt_id", Type::Text), ("total_score", Type::Text)],
        &[&["a1", "7"], &["a2", " -1.25 "], &["a3", "ten"], &["a4", "0.000001"], &["a5", ""], &["a6", "NaN"]],
        vec![Column::key("attempt_id"), Column::required("total_score", Kind::Decimal)],
    );
    in_every_form(&set, |form, source| {
        let (rows, stats) = read(source, &scan(set.table, &set.asked, None)).unwrap();
        assert_eq!(rows, ["a1|7000000", "a2|-1250000", "a4|1", "a5|-", "a6|-"], "{form}");
        assert_eq!(stats.bad, counted(&[("total_score is not a number", 1)]), "{form}");
    });
}

#[test]
fn counters() {
    let set = text_set(
        Table::UserActivityAgg,
        &[("activity_id", Type::Text), ("agg", Type::Text), ("agg_last_updated", Type::Text)],
        &[
            &["a1", "{'completedCount': 4, 'other': {'completedCount': 9}}", "2020-06-30T07:50:04Z"],
            &["a2", r#"{"completedCount": 5}"#, "{'completedCount': '2020-06-30 07:50:04+0000'}"],
            &["a3", "{completedCount: 6}", "{'completedCount': 'yesterday'}"],
            &["a4", "{'other': 4}", "{}"],
            &["a5", "{'completedCount': 'many'}", ""],
            &["a6", "{'completedCount': 4", ""],
            &["a7", "", ""],
        ],
        vec![
            Column::key("activity_id"),
            Column::required("agg", Kind::CompletedCount),
            Column::optional("agg_last_updated", Kind::LastUpdated),
        ],
    );
    in_every_form(&set, |form, source| {
        let (rows, stats) = read(source, &scan(set.table, &set.asked, None)).unwrap();
        let expected = ["a1|4|2020-06-30T07:50:04Z", "a2|5|2020-06-30T07:50:04Z", "a3|6|-", "a4|-|-", "a7|-|-"];
        assert_eq!(rows, expected, "{form}");
        assert_eq!(stats.bad.values().sum::<u64>(), 2, "{form}");
        assert_eq!(stats.unreadable_dates, 1, "{form}");
    });
}

#[test]
fn a_flat_counter() {
    let set = text_set(
        Table::UserActivityAgg,
        &[("activity_id", Type::Text), ("COMPLETEDCOUNT", Type::Text)],
        &[&["a1", "4"], &["a2", ""], &["a3", "four"]],
        vec![Column::key("activity_id"), Column::required("agg", Kind::CompletedCount)],
    );
    in_every_form(&set, |form, source| {
        let (rows, stats) = read(source, &scan(set.table, &set.asked, None)).unwrap();
        assert_eq!(rows, ["a1|4", "a2|-"], "{form}");
        assert_eq!(stats.bad, counted(&[("completedCount is not a number", 1)]), "{form}");
    });
}

/// The two names of a user, of which one is no UTF-8.
const LATIN: &[u8] = b"J\xfcrgen";

fn check_latin(form: &str, source: &dyn Source) {
    let columns = [Column::key("userid"), Column::optional("firstname", Kind::Text)];
    let (rows, stats) = read(source, &scan(Table::User, &columns, None)).unwrap();
    assert_eq!(rows, ["u1|J\u{fffd}rgen", "u2|Jürgen"], "{form}");
    assert_eq!(stats.odd, counted(&[("bytes that are not UTF-8", 1)]), "{form}");
    assert_eq!((stats.rows, stats.bad), (2, BTreeMap::new()), "{form}");
}

#[test]
fn bytes_that_are_not_utf8() {
    for (name, before, between, after) in [
        ("user.csv", "userid,firstname\nu1,", "\nu2,Jürgen", "\n"),
        ("user.jsonl", r#"{"userid":"u1","firstname":""#, "\"}\n{\"userid\":\"u2\",\"firstname\":\"Jürgen", "\"}\n"),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let bytes = [before.as_bytes(), LATIN, between.as_bytes(), after.as_bytes()].concat();
        fs::write(directory.path().join(name), bytes).unwrap();
        check_latin(name, &files(directory.path(), CsvDialect::Rfc4180, settings()));
    }
}

#[test]
fn bytes_that_are_not_utf8_in_a_database_without_encoding() {
    let Some(place) = TestDatabase::postgres() else { return };
    let name = format!("{}_ascii", place.url().rsplit('/').next().unwrap());
    place.execute(&format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)"));
    place.execute(&format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"));
    let url = format!("{}/{name}", place.url().rsplit_once('/').unwrap().0);
    let mut client = postgres::Client::connect(&url, postgres::NoTls).unwrap();
    client
        .batch_execute(
            r"CREATE SCHEMA platform; CREATE TABLE platform.user (userid text, firstname text);
            INSERT INTO platform.user VALUES ('u1', E'J\xfcrgen'), ('u2', 'Jürgen')",
        )
        .unwrap();
    let source = exhaust::sources::postgres::PostgresSource::new(&url, "platform", settings()).unwrap();
    check_latin("PostgreSQL", &source);
    drop(client);
    place.execute(&format!("DROP DATABASE {name} WITH (FORCE)"));
}

#[test]
fn lines_that_are_broken() {
    let columns = [Column::key("userid"), Column::optional("firstname", Kind::Text)];
    for (name, text, rows, bad) in [
        ("user.jsonl", "{\"userid\":\"u1\"}\n{\"userid\":\"u2\"\n\n[1]\n{\"userid\":\"u3\"}", ["u1|-", "u3|-"], 2),
        ("user.csv", "userid,firstname\nu1,\nu2,a,b\nu2\nu3,\n", ["u1|-", "u3|-"], 2),
    ] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), text).unwrap();
        let source = files(directory.path(), CsvDialect::Rfc4180, settings());
        let (got, stats) = read(&source, &scan(Table::User, &columns, None)).unwrap();
        assert_eq!(got, rows, "{name}");
        assert_eq!(stats.bad.values().sum::<u64>(), bad, "{name}: {stats:?}");
        // Whose they are cannot be read.
        let limited = scan(Table::User, &columns, Some(("userid", &["u3"])));
        assert_eq!(read(&source, &limited).unwrap().1.bad.values().sum::<u64>(), bad, "{name}");
    }
}
