//! Tables in an engine that is asked in SQL: what it sends is what its own files would have given.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use exhaust::sources::Source;
use exhaust::tables::key_range::KeyRange;
use exhaust::tables::keys::keys;
use exhaust::tables::plan::{LearnerRange, Scan, ScanReach, SemiOrigin};
use exhaust::tables::schema::{Column, Kind, Table};

use super::agreement::check;
use super::forms::{self, Format, Spelling};
use super::read::read;
use super::sets::{Cell, Set, Type, Typed, readable};
use super::{files, settings};
use crate::engine;
use crate::proxy::Proxy;

#[test]
fn on_each_engine() {
    engine::each(on);
}

fn on(name: &str, url: &str) {
    for spelling in [Spelling::Text, Spelling::Typed] {
        for set in readable() {
            let directory = tempfile::tempdir().unwrap();
            forms::one_file(directory.path(), &set, Format::Parquet(spelling), false);
            let file = directory.path().join(format!("{}.parquet", set.table.name()));
            let source = engine::at(url, &[(set.table, engine::parquet(&file))], settings());
            check(&format!("{name} {spelling:?}"), source.as_ref(), &set);
        }
    }
}

fn text_rows(table: Table, stored: &'static [(&'static str, Type)], rows: Vec<Vec<String>>) -> Set {
    let cell = |text: String| Cell { text: text.leak(), typed: Typed::Null };
    let rows = rows.into_iter().map(|row| row.into_iter().map(cell).collect()).collect();
    Set { table, stored, rows, asked: Vec::new(), only: ("", &[]), expected: &[] }
}

/// The learners of some batches, of whom these were kept.
fn learners(batches: &[&str], kept: &[String], range: &KeyRange) -> Scan {
    let enrolments = Scan {
        learners: (!range.is_everybody()).then(|| LearnerRange { column: "userid".into(), range: range.clone() }),
        ..Scan::of_keys(
            Table::UserEnrolments,
            vec![Column::key("batchid"), Column::key("userid")],
            "batchid",
            keys(batches),
        )
    };
    let of = Arc::new(SemiOrigin { column: "userid".into(), scan: enrolments });
    let reach = ScanReach::Semi { column: "userid".into(), keys: Some(keys(kept)), of };
    Scan {
        table: Table::User,
        columns: vec![Column::key("userid"), Column::required("n", Kind::Count)],
        reach,
        learners: None,
    }
}

fn by_keys(scan: &Scan) -> Scan {
    let ScanReach::Semi { column, keys: Some(keys), .. } = &scan.reach else { panic!("a semi join") };
    Scan { reach: ScanReach::Keys { column: column.clone(), keys: Arc::clone(keys) }, ..scan.clone() }
}

/// Made-up tables: learners without a row, rows without a key or under the other spelling, rows that cannot be used, learners
/// who were kept and whose enrolment is gone by now. The files source, given the keys, says what is right.
#[test]
fn a_join_brings_what_the_keys_would() {
    engine::each(|_, url| a_join_brings_what_the_keys_would_on(url));
}

fn a_join_brings_what_the_keys_would_on(url: &str) {
    let ids = ["a", "B", "b'", "\u{e4}", "z\\", "\u{1f600}", "a b", "0", "Z", "~"];
    let mut draws = fastrand::Rng::with_seed(19);
    let mut found = 0;
    for round in 0..20 {
        let mut draw = |chance: u32| draws.u32(0..100) < chance;
        let mut enrolments = Vec::new();
        for id in ids {
            for batch in ["b1", "b2"] {
                if draw(50) {
                    enrolments.push(vec![batch.to_owned(), id.to_owned()]);
                }
            }
        }
        enrolments.push(vec!["b1".to_owned(), String::new()]);
        let mut users = Vec::new();
        for id in ids {
            let n = if draw(20) { "many" } else { "7" };
            let own = if draw(70) { vec![id.to_owned(), String::new()] } else { vec![String::new(), id.to_owned()] };
            if draw(80) {
                users.push([own, vec![n.to_owned()]].concat());
            }
        }
        users.push(vec![String::new(), String::new(), "1".to_owned()]);
        let directory = tempfile::tempdir().unwrap();
        let format = Format::Parquet(Spelling::Text);
        let of_users = &[("userid", Type::Text), ("id", Type::Text), ("n", Type::Text)];
        forms::one_file(directory.path(), &text_rows(Table::User, of_users, users), format, false);
        let of_enrolments = &[("batchid", Type::Text), ("userid", Type::Text)];
        forms::one_file(directory.path(), &text_rows(Table::UserEnrolments, of_enrolments, enrolments), format, false);
        let range = match round % 3 {
            0 => KeyRange::default(),
            1 => KeyRange { after: Some("Z".to_owned()), up_to: None },
            _ => KeyRange { after: Some("0".to_owned()), up_to: Some("b'".to_owned()) },
        };
        let kept: Vec<String> = ids.iter().filter(|id| draw(60) && range.has(id)).map(|&id| id.to_owned()).collect();
        let joined = learners(&["b1"], &kept, &range);
        let at = |table: Table| (table, engine::parquet(&directory.path().join(format!("{}.parquet", table.name()))));
        let source = engine::at(url, &[at(Table::User), at(Table::UserEnrolments)], settings());
        let direct = files(directory.path(), exhaust::sources::files::CsvDialect::Rfc4180, settings());
        let (expected, counted) = read(&direct, &by_keys(&joined)).unwrap();
        let (rows, stats) = read(source.as_ref(), &joined).unwrap();
        assert_eq!(rows, expected, "round {round}: {kept:?} {range:?}");
        assert_eq!((stats.rows, stats.bad), (counted.rows, counted.bad), "round {round}");
        found += rows.len();
    }
    assert!(found > 30, "{found} rows in all: the draws show nothing");
}

/// A range of learners is left to the engine; rows without a learner are in the first one, and every row is in one.
#[test]
fn ranges_of_learners_are_the_table() {
    engine::each(|_, url| ranges_of_learners_are_the_table_on(url));
}

fn ranges_of_learners_are_the_table_on(url: &str) {
    let ids = ["a", "B", "", "\u{e4}", "\u{1f600}", "0", "Z", "~", "aa", "a\u{1}"];
    let rows = ids.iter().map(|id| vec!["b1".to_owned(), (*id).to_owned()]).collect();
    let directory = tempfile::tempdir().unwrap();
    let columns = &[("batchid", Type::Text), ("userid", Type::Text)];
    forms::one_file(
        directory.path(),
        &text_rows(Table::UserEnrolments, columns, rows),
        Format::Parquet(Spelling::Text),
        false,
    );
    let file = directory.path().join("user_enrolments.parquet");
    let source = engine::at(url, &[(Table::UserEnrolments, engine::parquet(&file))], settings());
    let range = |after: Option<&str>, up_to: Option<&str>| Scan {
        learners: Some(LearnerRange {
            column: "userid".into(),
            range: KeyRange { after: after.map(str::to_owned), up_to: up_to.map(str::to_owned) },
        }),
        ..Scan::of_keys(
            Table::UserEnrolments,
            vec![Column::key("batchid"), Column::key("userid")],
            "batchid",
            keys(["b1"]),
        )
    };
    let (mut all, mut bad) = (Vec::new(), 0);
    for (after, up_to) in [(None, Some("Z")), (Some("Z"), Some("aa")), (Some("aa"), None)] {
        let (rows, stats) = read(source.as_ref(), &range(after, up_to)).unwrap();
        assert!(stats.of_range, "only rows of the range were read");
        for row in &rows {
            let id = row.strip_prefix("b1|").unwrap();
            assert!(after.is_none_or(|after| id > after) && up_to.is_none_or(|up_to| id <= up_to), "{row}");
        }
        all.extend(rows);
        bad += stats.bad.values().sum::<u64>();
    }
    all.sort_unstable();
    let mut expected: Vec<String> = ids.iter().filter(|id| !id.is_empty()).map(|id| format!("b1|{id}")).collect();
    expected.sort_unstable();
    assert_eq!((all, bad), (expected, 1));
}

/// What is wrong is said in words for the client, and only what may pass is tried again.
#[test]
fn failures_are_told_apart() {
    engine::each(|_, url| failures_are_told_apart_on(url));
}

fn failures_are_told_apart_on(url: &str) {
    let users = |relation: &str| engine::at(url, &[(Table::User, relation.to_owned())], settings());
    let scan = Scan::everything(Table::User, vec![Column::key("userid")]);
    for (relation, may_pass) in [("nowhere", false), ("parquet.`/nowhere/at/all`", false), ("(SELECT FROM", false)] {
        let error = read(users(relation).as_ref(), &scan).unwrap_err();
        assert_eq!(error.may_pass, may_pass, "{relation}: {}", error.detail);
        assert!(error.message.starts_with("table user: "), "{}", error.message);
        assert!(!error.message.contains("nowhere"), "{}", error.message);
    }
    let lacking = read(users("(SELECT 1 AS other)").as_ref(), &scan).unwrap_err();
    assert!(!lacking.may_pass && lacking.message.contains("has no column 'userid'"), "{}", lacking.message);
    let silent = engine::at("sc://127.0.0.1:9", &[(Table::User, "u".to_owned())], settings());
    let error = read(silent.as_ref(), &scan).unwrap_err();
    assert!(error.may_pass && error.message.contains("the engine cannot be reached"), "{}", error.detail);
    assert!(silent.tables().is_err());
}

/// A million rows through a proxy. The bytes that the engine sends are far more than what may wait here.
fn many(proxy: &Proxy) -> (Arc<dyn Source>, Scan) {
    let rows = "(SELECT CAST(id AS STRING) AS userid, repeat('x', 1000) AS pad FROM range(1000000))";
    let source = engine::at(&format!("sc://{}", proxy.address()), &[(Table::User, rows.to_owned())], settings());
    (source, Scan::everything(Table::User, vec![Column::key("userid"), Column::optional("pad", Kind::Text)]))
}

fn proxy(url: &str) -> Proxy {
    Proxy::start(url.strip_prefix("sc://").unwrap().parse().unwrap())
}

/// An engine that stops answering in the middle of its rows is given up, as is one whose connection breaks; both may pass, and
/// neither looks like the end of the rows.
#[test]
fn an_engine_that_falls_silent_or_breaks_off_is_left() {
    let Some(url) = engine::sail() else { return };
    let troubles: [fn(&Proxy); 2] = [Proxy::silence, |proxy| proxy.break_after(1)];
    for trouble in troubles {
        let proxy = proxy(&url);
        let (source, scan) = many(&proxy);
        let seen = AtomicU64::new(0);
        let read = source.read(&scan, &|chunk| {
            if seen.fetch_add(chunk.rows().count() as u64, Ordering::Relaxed) == 0 {
                trouble(&proxy);
            }
        });
        let error = read.unwrap_err();
        assert!(error.may_pass, "{}", error.detail);
        assert!(seen.load(Ordering::Relaxed) < 1_000_000, "all rows came");
    }
}

/// Rows wait at the engine, not here, while they cannot be taken.
#[test]
fn rows_that_are_not_taken_are_not_fetched() {
    let Some(url) = engine::sail() else { return };
    let proxy = proxy(&url);
    let (source, scan) = many(&proxy);
    let (fetched, seen) = (AtomicU64::new(0), AtomicU64::new(0));
    let stats = source
        .read(&scan, &|chunk| {
            if seen.fetch_add(chunk.rows().count() as u64, Ordering::Relaxed) == 0 {
                // The engine makes a gigabyte in far less time than it is given here.
                std::thread::sleep(std::time::Duration::from_secs(3));
                fetched.store(proxy.served(), Ordering::Relaxed);
            }
        })
        .unwrap();
    assert_eq!((stats.rows, seen.into_inner()), (1_000_000, 1_000_000));
    let fetched = fetched.into_inner();
    assert!(fetched > 0 && fetched < 200 << 20, "{fetched} bytes came while none were taken");
}

/// `/health` looks every few seconds: within a minute of a look for all tables one statement shows that the engine answers, or
/// that it does not.
#[test]
fn a_look_soon_after_another_is_one_statement() {
    let Some(url) = engine::sail() else { return };
    let proxy = proxy(&url);
    let table = |table: Table| (table, "(SELECT 1 AS userid)".to_owned());
    let tables = Table::ALL.map(table);
    let source = engine::at(&format!("sc://{}", proxy.address()), &tables, settings());
    let look = || {
        let before = proxy.asked();
        (source.tables().map(|found| found.len()), proxy.asked() - before)
    };
    let (first, for_all) = look();
    let (second, for_one) = look();
    assert_eq!((first.unwrap(), second.unwrap()), (Table::ALL.len(), Table::ALL.len()));
    assert!(for_one * 2 < for_all, "{for_one} bytes after {for_all}");
    drop(proxy);
    assert!(source.tables().is_err());
}
