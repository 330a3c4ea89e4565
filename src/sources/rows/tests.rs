use std::collections::BTreeMap;
use std::sync::Mutex;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;

use super::*;
use crate::tables::keys::keys as keys_of;
use crate::tables::schema::{Column, Table};

const SETTINGS: Settings = Settings::new(chrono_tz::Tz::UTC);

fn enrolments(only: Option<&[&str]>) -> Scan {
    Scan {
        table: Table::UserEnrolments,
        columns: vec![
            Column::key("batchid"),
            Column::required("active", Kind::Bool),
            Column::optional("certificates", Kind::Entries),
            Column::optional("completedon", Kind::Instant),
        ],
        reach: only.map(|keys| (Cow::Borrowed("batchid"), keys_of(keys.iter().map(|key| (*key).to_owned())))).into(),
        learners: None,
    }
}

fn read(scan: &Scan, rows: &[[&str; 4]]) -> (ScanStats, usize) {
    let delivered = Mutex::new(0);
    let sink = |chunk: &Chunk| *delivered.lock().unwrap() += chunk.rows().count();
    let reading = Reading::new(scan, &SETTINGS, &sink);
    let mut into = Rows::new(&reading, "user_enrolments.csv");
    for (line, row) in (2..).zip(rows) {
        into.push(line, |column| Cell::Text(row[column].as_bytes()));
    }
    let stats = into.finish();
    (stats, delivered.into_inner().unwrap())
}

fn bad(reasons: &[(&str, u64)]) -> BTreeMap<String, u64> {
    reasons.iter().map(|(reason, count)| ((*reason).to_owned(), *count)).collect()
}

#[test]
fn an_unusable_row_is_left_out_and_counted() {
    let (stats, delivered) = read(
        &enrolments(None),
        &[
            ["b1", "True", "", ""],
            ["", "True", "", ""],
            ["b1", "maybe", "", ""],
            ["b1", "", "oops", ""],
            ["b2", "0", "['x']", "35353"],
        ],
    );
    assert_eq!(delivered, 2);
    assert_eq!(stats.rows, 2);
    assert_eq!(
        stats.bad,
        bad(&[("active is not a boolean", 1), ("certificates is not a list", 1), ("empty batchid", 1)])
    );
    assert_eq!(stats.unreadable_dates, 1);
    let fault = Fault { file: "user_enrolments.csv".to_owned(), line: 3, reason: "empty batchid".to_owned() };
    assert_eq!(stats.faults.first(), Some(&fault));
}

#[test]
fn rows_of_other_keys_are_neither_counted_nor_judged() {
    let (stats, delivered) = read(
        &enrolments(Some(&["b1"])),
        &[
            ["b2", "maybe", "", ""],
            ["b2", "true", "", "x"],
            ["b1", "maybe", "", ""],
            ["", "true", "", ""],
            ["b1", "1", "", ""],
        ],
    );
    assert_eq!(delivered, 1);
    assert_eq!(stats.bad, bad(&[("active is not a boolean", 1), ("empty batchid", 1)]));
    assert_eq!(stats.unreadable_dates, 0);
}

#[test]
fn values_and_chunks_come_out_in_order() {
    let scan = Scan::everything(
        Table::UserActivityAgg,
        vec![Column::key("user_id"), Column::required("agg", Kind::CompletedCount)],
    );
    let chunks = Mutex::new(Vec::new());
    let sink = |chunk: &Chunk| chunks.lock().unwrap().push(chunk.clone());
    let reading = Reading::new(&scan, &SETTINGS, &sink);
    let mut rows = Rows::new(&reading, "x");
    for line in 0..20_000_u64 {
        let (user, agg) = (format!("u{line}"), format!("{{'completedCount': {line}}}"));
        rows.push(line, |column| Cell::Text([&user, &agg][column].as_bytes()));
    }
    assert_eq!(rows.finish().rows, 20_000);
    let chunks = chunks.into_inner().unwrap();
    assert_eq!(chunks.iter().map(|chunk| chunk.rows().count()).collect::<Vec<_>>(), [16_384, 3_616]);
    assert_eq!(chunks[1].columns()[0].as_string::<i32>().value(0), "u16384");
    assert_eq!(chunks[1].columns()[1].as_primitive::<Int64Type>().value(0), 16_384);
}

#[test]
fn bytes_that_are_not_utf8_are_replaced_and_counted_once_a_row() {
    let scan = Scan::everything(Table::User, vec![Column::key("userid"), Column::optional("firstname", Kind::Text)]);
    let chunks = Mutex::new(Vec::new());
    let sink = |chunk: &Chunk| chunks.lock().unwrap().push(chunk.clone());
    let reading = Reading::new(&scan, &SETTINGS, &sink);
    let mut rows = Rows::new(&reading, "x");
    rows.push(1, |_| Cell::Text(b"a\xFFb"));
    rows.push(2, |_| Cell::Text("ü".as_bytes()));
    assert_eq!(rows.finish().odd, bad(&[(NOT_UTF8, 1)]));
    assert_eq!(chunks.into_inner().unwrap()[0].columns()[1].as_string::<i32>().value(0), "a\u{FFFD}b");
}

#[test]
fn typed_cells_follow_the_same_rules() {
    let mut odd = false;
    let mut read = |kind, cell, flat| {
        let mut cells = Filling::new(kind);
        cells.read(cell, flat, &SETTINGS, &mut odd).map(|_| {
            cells.keep();
            let array = cells.finish();
            match kind {
                Kind::Text | Kind::Json => array.as_string::<i32>().iter().next().flatten().map(ToOwned::to_owned),
                Kind::Bool => array.as_boolean().iter().next().flatten().map(|value| value.to_string()),
                _ => array.as_primitive::<Int64Type>().iter().next().flatten().map(|value| value.to_string()),
            }
        })
    };
    let some = |text: &str| Ok(Some(text.to_owned()));
    assert_eq!(read(Kind::Text, Cell::Int(7), false), some("7"));
    assert_eq!(read(Kind::Text, Cell::Bool(true), false), some("true"));
    assert_eq!(read(Kind::Text, Cell::Json("[1, 2]"), false), some("[1,2]"));
    assert_eq!(read(Kind::Json, Cell::Int(7), false), some("7"));
    assert_eq!(read(Kind::Json, Cell::Text(b"7"), false), some("\"7\""));
    assert_eq!(read(Kind::Json, Cell::Json("[1, 2]"), false), some("[1,2]"));
    assert_eq!(read(Kind::Json, Cell::Null, false), Ok(None));
    assert_eq!(read(Kind::Bool, Cell::Int(1), false), some("true"));
    assert_eq!(read(Kind::Bool, Cell::Int(2), false), Err(Unreadable::Value));
    assert_eq!(read(Kind::Decimal, Cell::Int(2), false), some("2000000"));
    assert_eq!(read(Kind::Decimal, Cell::Json("2.5"), false), some("2500000"));
    assert_eq!(read(Kind::Decimal, Cell::Int(i64::MAX), false), Err(Unreadable::Value));
    assert_eq!(read(Kind::Entries, Cell::Int(2), false), some("2"));
    assert_eq!(read(Kind::CompletedCount, Cell::Int(2), true), some("2"));
    assert_eq!(read(Kind::CompletedCount, Cell::Int(2), false), Err(Unreadable::Value));
    assert_eq!(read(Kind::Count, Cell::Bool(true), false), Err(Unreadable::Value));
}

/// Of a column that has several spellings the first one with a value counts, in each row by itself.
#[test]
fn the_first_spelling_that_has_a_value_wins() {
    let scan = Scan::everything(
        Table::UserActivityAgg,
        vec![Column::key("user_id"), Column::required("agg", Kind::CompletedCount)],
    );
    let counts = Mutex::new(Vec::new());
    let sink = |chunk: &Chunk| counts.lock().unwrap().extend(chunk.columns()[1].as_primitive::<Int64Type>().iter());
    let reading = Reading::new(&scan, &SETTINGS, &sink);
    let mut rows = Rows::new(&reading, "x");
    for (line, row) in (1..).zip([
        ["u", "{'completedCount': 26.0}", "{'completedCount': 2}", "3"],
        ["u", "{'score:x': 26.0}", "{'completedCount': 2}", "3"],
        ["u", "{'completedCount': null}", " null ", "3"],
        ["u", "", "{}", ""],
        ["u", "{'completedCount': 26.5}", "{'completedCount': 2}", "3"],
        ["u", "26", "{'completedCount': 2}", "3"],
        ["u", "", "{'completedCount': 'x'}", "3"],
        ["u", "", "", "3.5"],
    ]) {
        rows.push(line, |spelling| Cell::Text(row[spelling].as_bytes()));
    }
    let stats = rows.finish();
    assert_eq!(*counts.lock().unwrap(), [Some(26), Some(2), Some(3), None]);
    assert_eq!(
        stats.bad,
        bad(&[
            ("completedCount of aggregates is not a whole number", 1),
            ("aggregates is not a map", 1),
            ("completedCount of agg is not a whole number", 1),
            ("completedCount is not a number", 1),
        ])
    );
}

#[test]
fn the_first_fault_is_that_of_the_first_file() {
    let fault = |file: &str, line| {
        let mut stats = ScanStats::default();
        stats.faults.of("").first = Some(Fault { file: file.to_owned(), line, reason: String::new() });
        stats
    };
    let all = fault("b", 1).and(fault("a", 9)).and(ScanStats::default()).and(fault("a", 10));
    assert_eq!(all.faults.first().map(|fault| (fault.file.as_str(), fault.line)), Some(("a", 9)));
}

/// Unusable rows and dates by the key of the scan; what has no key that reads is apart.
#[test]
fn faults_are_counted_by_key() {
    let columns = vec![
        Column::key("userid"),
        Column::key("batchid"),
        Column::required("active", Kind::Bool),
        Column::optional("enrolleddate", Kind::Instant),
    ];
    let scan = Scan::of_keys(Table::UserEnrolments, columns, "batchid", keys_of(["b1", "b2"]));
    let sink = |_: &Chunk| ();
    let reading = Reading::new(&scan, &SETTINGS, &sink);
    let mut rows = Rows::new(&reading, "f");
    for (line, cells) in (2..).zip([
        ["u", "b1", "perhaps", ""],
        ["", "b1", "true", "soon"],
        ["u", "b2", "true", "soon"],
        ["v", "b2", "true", "later"],
        ["u", "b3", "perhaps", "soon"],
        ["u", "", "true", ""],
    ]) {
        rows.push(line, |column| Cell::from(Some(cells[column].as_bytes())));
    }
    rows.broken(8, "broken CSV line", 3, "");
    rows.broken(9, "broken CSV line", 1, "b2");
    let stats = rows.finish();
    let unusable: Vec<(&str, u64)> = stats.faults.iter().map(|(key, faults)| (key, faults.unusable)).collect();
    assert_eq!(unusable, [("", 4), ("b1", 2), ("b2", 1)]);
    let dates: Vec<(&str, u64, u64)> = stats
        .faults
        .iter()
        .flat_map(|(key, faults)| {
            faults.unreadable.values().map(move |(n, first)| (key, *n, first.as_ref().unwrap().line))
        })
        .collect();
    assert_eq!(dates, [("b2", 2, 4)]);
    assert_eq!((stats.rows, stats.unreadable_dates), (2, 2));
}

/// Whether a dictionary has an empty text is remembered, of that one and of no other.
#[test]
fn empty_keys_are_found_in_every_chunk_of_a_dictionary() {
    let scan = Scan::everything(Table::UserEnrolments, vec![Column::key("batchid")]);
    let delivered = Mutex::new(0);
    let sink = |chunk: &Chunk| *delivered.lock().unwrap() += chunk.rows().count();
    let reading = Reading::new(&scan, &SETTINGS, &sink);
    let mut typed = typed::Typed::new(&reading, "f");
    let dictionary = |texts: [&str; 2]| std::sync::Arc::new(arrow_array::StringArray::from_iter_values(texts));
    let (full, with_empty) = (dictionary(["a", "b"]), dictionary(["a", ""]));
    for texts in [&full, &full, &with_empty, &with_empty, &full] {
        let codes = arrow_array::Int32Array::from(vec![0, 1, 1]);
        let array: ArrayRef =
            std::sync::Arc::new(arrow_array::DictionaryArray::new(codes, std::sync::Arc::<_>::clone(texts) as _));
        typed.take(vec![array.into()], vec![0, 1, 2], u64::from);
    }
    let stats = typed.finish();
    assert_eq!(stats.bad, BTreeMap::from([("empty batchid".to_owned(), 4)]));
    assert_eq!((stats.rows, *delivered.lock().unwrap()), (11, 11));
}
