//! Columns in the spellings of today and of 2020: more than a thousand made-up tables with mixtures of spellings, letter
//! case, words for nothing and other programs' collections.
//!
//! The made-up tables come from a model: what each cell means is drawn first, then how it is spelled. What must be read
//! is computed from the meanings alone; no text is read for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::sync::Arc;

use arrow_array::builder::{Float64Builder, Int64Builder, MapBuilder, StringBuilder};
use arrow_array::{ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use exhaust::sources::Source;
use exhaust::sources::files::CsvDialect;
use exhaust::tables::plan::Scan;
use exhaust::tables::schema::{Column, Kind, Table};
use fastrand::Rng;
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

use super::read::read;
use super::{files, scan, settings};
use crate::engine;

/// The made-up tables.
const VARIANTS: u64 = 1_600;
/// Those of them that an engine is asked for.
const ENGINE_VARIANTS: u64 = 120;

/// What a cell means.
#[derive(Clone, Debug, PartialEq)]
enum Meaning {
    Nothing,
    /// As a source delivers it, as text.
    Value(String),
    Unreadable,
}

/// What a column is about.
#[derive(Clone, Copy, Debug, PartialEq)]
enum About {
    /// Part of the key.
    Key,
    Counter,
    Date,
}

/// A column of the platform: what a report calls it, and its spellings as docs/sources.md has them.
type Platform = (Table, &'static [(&'static str, About, &'static [&'static str])]);

const TABLES: [Platform; 5] = [
    (
        Table::UserActivityAgg,
        &[
            ("context_id", About::Key, &["context_id"]),
            ("user_id", About::Key, &["user_id"]),
            ("agg", About::Counter, &["aggregates", "agg", "completedCount"]),
        ],
    ),
    (
        Table::UserEnrolments,
        &[
            ("batchid", About::Key, &["batchid"]),
            ("userid", About::Key, &["userid"]),
            ("enrolleddate", About::Date, &["enrolled_date", "enrolleddate"]),
        ],
    ),
    (
        Table::CourseBatch,
        &[
            ("batchid", About::Key, &["batchid"]),
            ("startdate", About::Date, &["start_date", "startdate"]),
            ("enddate", About::Date, &["end_date", "enddate"]),
        ],
    ),
    (
        Table::AssessmentAggregator,
        &[
            ("batch_id", About::Key, &["batch_id", "context_id"]),
            ("course_id", About::Key, &["course_id", "collection_id"]),
            ("user_id", About::Key, &["user_id"]),
        ],
    ),
    (Table::User, &[("userid", About::Key, &["userid", "id"])]),
];

/// One made-up table.
struct Made {
    table: Table,
    columns: &'static [(&'static str, About, &'static [&'static str])],
    /// The columns that are stored: which column and spelling, and its name in whatever case.
    stored: Vec<(usize, usize, String)>,
    /// By row, then by stored column.
    rows: Vec<Vec<Meaning>>,
    keys: Option<Vec<String>>,
}

fn made(draws: &mut Rng) -> Made {
    let (table, columns) = TABLES[draws.usize(..TABLES.len())];
    let mut stored = Vec::new();
    for (column, (_, _, names)) in columns.iter().enumerate() {
        // At least one of the spellings.
        let present = draws.usize(1..1 << names.len());
        for (spelling, name) in names.iter().enumerate().filter(|(at, _)| present >> at & 1 == 1) {
            stored.push((column, spelling, cased(draws, name)));
        }
    }
    draws.shuffle(&mut stored);
    let rows = (0..draws.usize(1..40)).map(|row| {
        let meaning = |(column, _, _): &(usize, usize, String)| meaning(draws, columns[*column].1, row);
        stored.iter().map(meaning).collect()
    });
    let rows = rows.collect();
    let keys = draws.bool().then(|| (0..3).map(|_| format!("k{}", draws.u8(..6))).collect());
    Made { table, columns, stored, rows, keys }
}

fn cased(draws: &mut Rng, name: &str) -> String {
    match draws.u8(..4) {
        0 => name.to_uppercase(),
        1 => name.chars().map(|c| if draws.bool() { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() }).collect(),
        _ => name.to_owned(),
    }
}

fn meaning(draws: &mut Rng, about: About, row: usize) -> Meaning {
    match (draws.u8(..10), about) {
        (0..4, _) => Meaning::Nothing,
        (4, About::Counter | About::Date) => Meaning::Unreadable,
        // Words for nothing are words where text is expected.
        (4, About::Key) => Meaning::Value(["null", "None", "NaN", "\\N"][draws.usize(..4)].to_owned()),
        (_, About::Key) => Meaning::Value(format!("k{}", row % 6)),
        (_, About::Counter) => Meaning::Value(draws.u32(..1000).to_string()),
        (_, About::Date) => {
            let (day, hour, second) = (draws.u8(1..29), draws.u8(..24), draws.u8(..60));
            Meaning::Value(format!("2021-03-{day:02}T{hour:02}:30:{second:02}Z"))
        }
    }
}

/// The rows that must come, and how many are unusable and how many dates do not read.
fn expected(made: &Made) -> (Vec<String>, u64, u64) {
    let (mut rows, mut bad, mut dates) = (Vec::new(), 0, 0);
    for row in &made.rows {
        let mut cells = Vec::new();
        let (mut is_bad, mut unreadable) = (false, 0);
        for (column, (_, about, names)) in made.columns.iter().enumerate() {
            let of_spelling = |spelling| {
                let at = made.stored.iter().position(|(c, s, _)| (*c, *s) == (column, spelling));
                at.map_or(&Meaning::Nothing, |at| &row[at])
            };
            let first = (0..names.len()).map(of_spelling).find(|meaning| **meaning != Meaning::Nothing);
            cells.push(match (first, about) {
                (Some(Meaning::Value(value)), _) => value.clone(),
                (Some(Meaning::Unreadable), About::Date) => {
                    unreadable += 1;
                    "-".to_owned()
                }
                (None | Some(Meaning::Nothing), About::Counter | About::Date) => "-".to_owned(),
                (None | Some(Meaning::Nothing | Meaning::Unreadable), _) => {
                    is_bad = true;
                    "-".to_owned()
                }
            });
        }
        // Rows of other keys are nobody's business; one without a key may be anybody's.
        if made.keys.as_ref().is_some_and(|keys| cells[0] != "-" && !keys.contains(&cells[0])) {
            continue;
        }
        if is_bad {
            bad += 1;
        } else {
            dates += unreadable;
            rows.push(cells.join("|"));
        }
    }
    rows.sort_unstable();
    (rows, bad, dates)
}

const WORDS: [&str; 6] = ["", "null", "NULL", "None", "NaN", "\\N"];

/// A cell as text. `spelling`: which of the column's.
fn text(draws: &mut Rng, meaning: &Meaning, about: About, is_map: bool) -> String {
    let one = |draws: &mut Rng, of: &[&str]| of[draws.usize(..of.len())].to_owned();
    match (meaning, about) {
        (Meaning::Nothing, About::Key) => String::new(),
        (Meaning::Value(value), About::Key) => value.clone(),
        (Meaning::Nothing, About::Counter) if is_map && draws.bool() => one(
            draws,
            &[
                "{}",
                "[]",
                "{'completedCount': None}",
                r#"{"completedCount": null, "score:do_1": 2.0}"#,
                "{'score:do_1': 1.0}",
                "[('score:do_1', 1.0)]",
                "{completedCount -> null}",
                r#"{\"completedCount\": null}"#,
                "{'completedCount': nan}",
            ],
        ),
        (Meaning::Nothing, _) => {
            let word = one(draws, &WORDS);
            if draws.u8(..4) == 0 { format!(" {word} ") } else { word }
        }
        (Meaning::Value(n), About::Counter) if is_map => map(draws, n),
        (Meaning::Value(n), About::Counter) => {
            let exponent = format!("{n}e+00");
            one(draws, &[n, &format!("{n}.0"), &format!(" {n} "), &exponent])
        }
        (Meaning::Unreadable, About::Counter) if is_map => one(
            draws,
            &[
                "{'completedCount': 26.5}",
                "{'completedCount': 'x'}",
                "4",
                "x",
                "{",
                "[1, 2]",
                "{completedCount -> 2.5}",
            ],
        ),
        (Meaning::Unreadable, About::Counter) => one(draws, &["26.5", "x", "{}", "1,5"]),
        (Meaning::Value(date), About::Date) => {
            let (day, time) = (&date[..10], &date[11..19]);
            one(
                draws,
                &[
                    date,
                    &format!("{day} {time}.000+0000"),
                    &format!("{day} {time}:000+0000"),
                    &format!("{day} {time}.000000+0000"),
                    &format!(" {day}T{time}+00:00 "),
                ],
            )
        }
        (Meaning::Unreadable, About::Date) => one(draws, &["35353x", "yesterday", "2021-02-30", "{}"]),
        (Meaning::Unreadable, About::Key) => unreachable!("every text is a key"),
    }
}

/// A map that has this counter, as some program spells it.
fn map(draws: &mut Rng, n: &str) -> String {
    let n = if draws.bool() { n.to_owned() } else { format!("{n}.0") };
    match draws.u8(..12) {
        0 => format!(r#"{{"completedCount": {n}}}"#),
        1 => format!(r#"{{"max_score:do_1": 2.0, "completedCount": {n}, "score:do_1": 0.5}}"#),
        2 => format!("{{'completedCount': {n}}}"),
        3 => format!("{{'it''s': 1, 'completedCount': {n}}}"),
        4 => format!("{{'it\\'s': None, 'completedCount': '{n}'}}"),
        5 => format!(r#"{{\"completedCount\": {n}}}"#),
        6 => format!(r#"{{\"a\\\"b\": 1, \"completedCount\": {n}}}"#),
        7 => format!("[('completedCount', {n})]"),
        8 => format!("[('score:do_1', nan), ('completedCount', {n})]"),
        9 => format!("{{score:do_1 -> 2.5, completedCount -> {n}}}"),
        10 => format!("[completedCount -> {n}]"),
        _ => format!("{{'completedCount': Decimal('{n}'), 'score:do_1': NaN}}"),
    }
}

/// What a form makes of the table: a file's name, its bytes and its dialect.
type Written = (&'static str, Vec<u8>, CsvDialect);

fn written(draws: &mut Rng, made: &Made) -> Written {
    match draws.u8(..5) {
        0 => ("csv", csv(draws, made, |field| field.replace('"', "\"\"")), CsvDialect::Rfc4180),
        1 => ("csv", csv(draws, made, |field| field.replace('\\', "\\\\").replace('"', "\\\"")), CsvDialect::Spark),
        2 => ("jsonl", jsonl(draws, made), CsvDialect::Rfc4180),
        3 => ("parquet", parquet(draws, made, false), CsvDialect::Rfc4180),
        _ => ("parquet", parquet(draws, made, true), CsvDialect::Rfc4180),
    }
}

fn about(made: &Made, at: usize) -> (About, bool) {
    let (column, _, name) = &made.stored[at];
    let about = made.columns[*column].1;
    (about, about == About::Counter && !name.eq_ignore_ascii_case("completedCount"))
}

fn csv(draws: &mut Rng, made: &Made, escaped: impl Fn(&str) -> String) -> Vec<u8> {
    let mut lines = made.stored.iter().map(|(_, _, name)| name.clone()).collect::<Vec<_>>().join(",");
    for row in &made.rows {
        let fields = row.iter().enumerate().map(|(at, meaning)| {
            let (about, is_map) = about(made, at);
            let field = text(draws, meaning, about, is_map);
            let is_plain = !field.contains([',', '"', '\\', '\n']) && draws.bool();
            // As cqlsh leaves it: no quotes around a cell that has no comma.
            let is_cqlsh = field.starts_with("{\\\"") && !field.contains(',');
            // A line with nothing in it is no row.
            let is_blank = field.is_empty() && row.len() == 1;
            if !is_blank && (is_plain || is_cqlsh) { field } else { format!("\"{}\"", escaped(&field)) }
        });
        let fields: Vec<String> = fields.collect();
        write!(lines, "\n{}", fields.join(",")).unwrap();
    }
    lines.into_bytes()
}

fn jsonl(draws: &mut Rng, made: &Made) -> Vec<u8> {
    let mut lines = String::new();
    // The first row has every name, so that every column is there.
    for (number, row) in made.rows.iter().enumerate() {
        let mut members = Vec::new();
        for (at, meaning) in row.iter().enumerate() {
            let ((about, is_map), name) = (about(made, at), &made.stored[at].2);
            let value = match (meaning, about) {
                (Meaning::Nothing, _) if draws.bool() => {
                    if number == 0 || draws.bool() {
                        "null".to_owned()
                    } else {
                        continue;
                    }
                }
                (Meaning::Nothing, About::Counter | About::Date) if draws.u8(..4) == 0 => "NaN".to_owned(),
                (Meaning::Value(n), About::Counter) if draws.bool() => {
                    let n = if draws.bool() { n.clone() } else { format!("{n}.0") };
                    if is_map { format!(r#"{{"score:do_1": 0.5, "completedCount": {n}}}"#) } else { n }
                }
                _ => serde_json::to_string(&text(draws, meaning, about, is_map)).unwrap(),
            };
            members.push(format!("{}: {value}", serde_json::to_string(name).unwrap()));
        }
        writeln!(lines, "{{{}}}", members.join(", ")).unwrap();
    }
    lines.into_bytes()
}

fn parquet(draws: &mut Rng, made: &Made, typed: bool) -> Vec<u8> {
    let columns = (0..made.stored.len()).map(|at| {
        let (about, is_map) = about(made, at);
        let cells: Vec<&Meaning> = made.rows.iter().map(|row| &row[at]).collect();
        let array = match about {
            About::Counter if typed && is_map => counters(draws, &cells),
            About::Counter if typed && !cells.contains(&&Meaning::Unreadable) => {
                Arc::new(cells.iter().map(|cell| count(cell)).collect::<Int64Array>()) as ArrayRef
            }
            About::Date if typed && !cells.contains(&&Meaning::Unreadable) => {
                let micros = |cell: &&Meaning| match cell {
                    Meaning::Value(date) => {
                        Some(date.parse::<chrono::DateTime<chrono::Utc>>().unwrap().timestamp_micros())
                    }
                    Meaning::Nothing | Meaning::Unreadable => None,
                };
                let micros: TimestampMicrosecondArray = cells.iter().map(micros).collect();
                Arc::new(micros.with_timezone("UTC"))
            }
            _ => {
                let mut cell = |cell: &&Meaning| {
                    let is_null = **cell == Meaning::Nothing && draws.bool();
                    (!is_null).then(|| text(draws, cell, about, is_map))
                };
                Arc::new(cells.iter().map(&mut cell).collect::<StringArray>())
            }
        };
        (made.stored[at].2.clone(), array, true)
    });
    let batch = RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(1 + draws.usize(..20)))
        .set_dictionary_enabled(draws.bool())
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

fn count(cell: &Meaning) -> Option<i64> {
    if let Meaning::Value(n) = cell { n.parse().ok() } else { None }
}

/// Maps of text to floating point, or, where every counter reads, to whole numbers.
fn counters(draws: &mut Rng, cells: &[&Meaning]) -> ArrayRef {
    let scores = draws.bool();
    if !scores && !cells.contains(&&Meaning::Unreadable) && draws.bool() {
        let mut whole = MapBuilder::new(None, StringBuilder::new(), Int64Builder::new());
        for cell in cells {
            if let Some(n) = count(cell) {
                whole.keys().append_value("completedCount");
                whole.values().append_value(n);
            }
            whole.append(**cell != Meaning::Nothing || draws.bool()).unwrap();
        }
        return Arc::new(whole.finish());
    }
    let mut floats = MapBuilder::new(None, StringBuilder::new(), Float64Builder::new());
    for cell in cells {
        if scores && draws.bool() {
            floats.keys().append_value("score:do_1");
            floats.values().append_value(0.5);
        }
        let value = match cell {
            Meaning::Value(n) => Some(n.parse().unwrap()),
            Meaning::Unreadable => Some([26.5, f64::INFINITY, -1e300][draws.usize(..3)]),
            Meaning::Nothing if draws.u8(..3) == 0 => Some(f64::NAN),
            Meaning::Nothing => None,
        };
        if value.is_some() || draws.bool() {
            floats.keys().append_value("completedCount");
            floats.values().append_option(value);
        }
        floats.append(**cell != Meaning::Nothing || draws.bool()).unwrap();
    }
    Arc::new(floats.finish())
}

/// The scan of a made-up table.
fn asked(made: &Made) -> Scan {
    let asked = made.columns.iter().map(|(name, about, _)| match about {
        About::Key => Column::key(name),
        About::Counter => Column::required(name, Kind::CompletedCount),
        About::Date => Column::optional(name, Kind::Instant),
    });
    let asked: Vec<Column> = asked.collect();
    let keys: Option<Vec<&str>> = made.keys.as_ref().map(|keys| keys.iter().map(String::as_str).collect());
    scan(made.table, &asked, keys.as_ref().map(|keys| (made.columns[0].0, keys.as_slice())))
}

/// Compares what a source makes of a made-up table with what was meant; how many rows it has.
fn check(source: &dyn Source, made: &Made, label: &str, bytes: &[u8]) -> u64 {
    let shown = || format!("{:?}\n{}", made.stored, String::from_utf8_lossy(bytes));
    let (rows, stats) =
        read(source, &asked(made)).unwrap_or_else(|error| panic!("{label}: {}\n{}", error.detail, shown()));
    let (expected, bad, dates) = expected(made);
    assert_eq!(rows, expected, "{label} {}", shown());
    let counted = (stats.bad.values().sum::<u64>(), stats.unreadable_dates);
    assert_eq!(counted, (bad, dates), "{label}: {stats:?}\n{}", shown());
    rows.len() as u64
}

#[test]
fn made_up_tables_are_read_as_they_are_meant() {
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    for variant in 0..VARIANTS {
        let mut draws = Rng::with_seed(variant);
        let made = made(&mut draws);
        let (extension, bytes, dialect) = written(&mut draws, &made);
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(format!("{}.{extension}", made.table)), &bytes).unwrap();
        let label = format!("variant {variant} ({extension} {dialect:?})");
        *seen.entry(extension).or_default() +=
            check(&files(directory.path(), dialect, settings()), &made, &label, &bytes);
    }
    assert!(seen.values().all(|rows| *rows > 1_000), "{seen:?}");
}

/// Some of them in an engine, which evaluates the condition on the key.
#[test]
fn made_up_tables_in_an_engine_are_read_as_they_are_meant() {
    engine::each(|name, url| {
        let mut rows = 0;
        for variant in 0..ENGINE_VARIANTS {
            let mut draws = Rng::with_seed(variant);
            let made = made(&mut draws);
            let bytes = parquet(&mut draws, &made, variant % 2 == 0);
            let directory = tempfile::tempdir().unwrap();
            let file = directory.path().join(format!("{}.parquet", made.table));
            fs::write(&file, &bytes).unwrap();
            let source = engine::at(url, &[(made.table, engine::parquet(&file))], settings());
            rows += check(source.as_ref(), &made, &format!("variant {variant} on {name}"), b"");
        }
        assert!(rows > 5 * ENGINE_VARIANTS, "{rows} rows in all: the draws show nothing");
    });
}
