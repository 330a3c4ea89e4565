use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::{Map, json};

use super::*;
use crate::config::checked::MaxBadRows;
use crate::reports::test_tables::{TZ, made};
use crate::reports::{Counts, Options, PIECE_ROWS, Report, find};
use crate::sources::files::{CsvDialect, FilesSource};
use crate::sources::{ScanStats, Settings, Sink};
use crate::tables::plan::{Scan, ScanReach};
use crate::tables::quality::Quality;
use crate::worker::stats::OddRows;

#[test]
fn parts_join_and_none_is_empty() {
    assert_eq!(divide(&(3..10), 3), [3..5, 5..7, 7..10]);
    assert_eq!(divide(&(3..5), 9), [3..4, 4..5]);
    assert_eq!(divide(&(4..5), 2), divide(&(4..5), 1));
}

/// A table as texts, and lines that are no rows at all.
#[derive(Clone, Debug)]
struct TextTable {
    columns: &'static [&'static str],
    rows: Vec<Vec<&'static str>>,
    broken: usize,
}

type Tables = BTreeMap<Table, TextTable>;

#[derive(Clone, Copy, Debug)]
enum Form {
    Csv,
    JsonLines,
    Parquet,
}

impl TextTable {
    fn write(&self, directory: &Path, table: Table, form: Form) {
        let lines = |header: String, row: &dyn Fn(&[&str]) -> String, broken: &str| {
            let rows = self.rows.iter().map(|cells| row(cells)).chain(vec![broken.to_owned(); self.broken]);
            std::iter::once(header).chain(rows).collect::<String>()
        };
        let (end, content) = match form {
            Form::Csv => {
                let row = |cells: &[&str]| {
                    format!("\"{}\"\n", cells.join("\",\"").replace("{\"", "{\"\"").replace("\":", "\"\":"))
                };
                ("csv", lines(format!("{}\n", self.columns.join(",")), &row, "\"a\"\n").into_bytes())
            }
            Form::JsonLines => {
                let object = |cells: &[&str]| {
                    let cells = cells.iter().map(|cell| if cell.is_empty() { json!(null) } else { json!(cell) });
                    let members: Map<_, _> = self.columns.iter().map(|name| (*name).to_owned()).zip(cells).collect();
                    format!("{}\n", json!(members))
                };
                ("json", lines(String::new(), &object, "{\"a\n").into_bytes())
            }
            Form::Parquet => {
                let column = |at: usize| -> ArrayRef {
                    let cells = self.rows.iter().map(|cells| Some(cells[at]).filter(|cell| !cell.is_empty()));
                    std::sync::Arc::new(cells.collect::<StringArray>())
                };
                let columns = self.columns.iter().enumerate().map(|(at, name)| (*name, column(at), true));
                let batch = RecordBatch::try_from_iter_with_nullable(columns).unwrap();
                let mut file = Vec::new();
                let mut writer = ArrowWriter::try_new(&mut file, batch.schema(), None).unwrap();
                writer.write(&batch).unwrap();
                writer.close().unwrap();
                ("parquet", file)
            }
        };
        fs::write(directory.join(format!("{table}.{end}")), content).unwrap();
    }
}

fn files(directory: &Path) -> FilesSource {
    FilesSource::new(directory.to_owned(), CsvDialect::Rfc4180, Settings::new(TZ))
}

/// Reads only rows of the range of learners that is wanted, as an engine does: those without a learner are in the first one.
struct RangeReader<'a>(&'a Tables, FilesSource);

impl Source for RangeReader<'_> {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        let Some(learners) = scan.learners.as_ref().filter(|_| matches!(scan.reach, ScanReach::Keys { .. })) else {
            return self.1.read(scan, sink);
        };
        let mut table = self.0[&scan.table].clone();
        let at = table.columns.iter().position(|name| *name == learners.column).unwrap();
        table.rows.retain(|cells| learners.range.has(cells[at]));
        let directory = tempfile::tempdir().unwrap();
        table.write(directory.path(), scan.table, Form::Parquet);
        let stats = files(directory.path()).read(scan, sink)?;
        Ok(ScanStats { of_range: true, ..stats })
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        self.1.tables()
    }
}

/// What a batch comes to.
#[derive(Debug, PartialEq)]
struct Found {
    csv: String,
    counts: Counts,
    quality: Quality,
    odd_rows: OddRows,
    unreadable_dates: u64,
}

impl Found {
    /// Without the places of faults: an engine has no lines.
    fn without_places(mut self) -> Self {
        self.quality.tables.values_mut().for_each(|rows| rows.first = None);
        self.quality.values.values_mut().flat_map(BTreeMap::values_mut).for_each(|values| values.first = None);
        self
    }

    fn new(metrics: &GroupMetrics, csv: String, counts: Counts, quality: Quality) -> Self {
        let stats = metrics.load_stats();
        Self { csv, counts, quality, odd_rows: stats.odd_rows(), unreadable_dates: stats.unreadable_dates() }
    }
}

/// The report of batch b1, from one load and from `ranges` ranges.
fn both(source: &dyn Source, report: &dyn Report, ranges: u64) -> (Found, Found) {
    let options = Options::default();
    let needs = report.needs(&options);
    let max_bad_rows = MaxBadRows { share: 1.0, at_least: 0 };
    let limits = (TZ, max_bad_rows, u64::MAX);
    let catalog = load::catalog(source, &[].into(), &needs, limits, &mut LoadStats::default()).unwrap();
    let (batch, catalog) = (catalog.find_batch("b1").unwrap(), Arc::new(catalog));
    let metrics = GroupMetrics::default();
    let request = LoadRequest { batches: &[batch], needs: &needs, timezone: TZ, learners: Learners::All };
    let limits = LoadLimits { bytes: u64::MAX, weighed: &|_| (), agrees: None };
    let loaded = metrics.loading(|stats| load::batches(source, &catalog, &request, limits, stats)).unwrap();
    let Loaded::Batches(loaded) = loaded else { panic!("it is too much") };
    let (csv, counts) = made(report, batch, &loaded, &options, PIECE_ROWS);
    let whole = Found::new(&metrics, csv, counts, loaded.quality(batch));
    let metrics = GroupMetrics::default();
    let (weight, bytes) = (ranges * LEAST, LEAST);
    let large = LargeBatch { source, catalog: &catalog, batch, needs: &needs, timezone: TZ, weight, bytes };
    let (mut csv, mut counts, mut quality) = (String::new(), Counts::default(), Quality::default());
    let ranges = LearnerRanges::find(large, &metrics).unwrap();
    // A file that is made for two requests reads all of it twice, and counts it once.
    ranges.each(&mut |_| Ok::<(), SourceError>(())).unwrap();
    let take = &mut |loaded: &LoadedBatches| {
        let (rows, of_range) = made(report, batch, loaded, &options, PIECE_ROWS);
        let header = if csv.is_empty() { 0 } else { rows.find('\n').unwrap() + 1 };
        csv.push_str(&rows[header..]);
        counts.add(&of_range);
        quality.add_range(&loaded.quality(batch));
        Ok::<(), SourceError>(())
    };
    ranges.each(take).unwrap();
    quality.end_ranges();
    (whole, Found::new(&metrics, csv, counts, quality))
}

const LEARNERS: &[&str] = &["", "U1", "u1", "u10", "u2", "u3", "\u{e9}"];
const BATCHES: &[&str] = &["b1", "b1", "b1", "b2", ""];
const CONTEXTS: &[&str] = &["cb:b1", "cb:b1", "cb:b1", "cb:b2", ""];
const COURSES: &[&str] = &["c1", "c1", "c1", "c2", ""];
const ACTIVE: &[&str] = &["true", "true", "True", "false", "odd", ""];
const DATES: &[&str] = &["2020-01-02", "2020-01-03", "odd", ""];
const NUMBERS: &[&str] = &["1", "2", "odd", ""];
const NAMES: &[&str] = &["Ada", "Bo", ""];
const ATTEMPTS: &[&str] = &["a", "b", ""];
const CONTENTS: &[&str] = &["q1", "q2", ""];
const TREES: &[&str] = &["{\"identifier\":\"c1\"}", "odd", ""];

/// A table whose cells are drawn from these, column by column.
fn table(
    columns: &'static [&'static str],
    cells: &'static [&'static [&'static str]],
    most: usize,
) -> impl Strategy<Value = TextTable> {
    let row: Vec<_> = cells.iter().map(|cells| select(*cells)).collect();
    let rows = proptest::collection::vec(row, 1..most);
    (rows, 0_usize..3).prop_map(move |(rows, broken)| TextTable { columns, rows, broken })
}

fn fixed(columns: &'static [&'static str], rows: &[&[&'static str]]) -> TextTable {
    TextTable { columns, rows: rows.iter().map(|row| row.to_vec()).collect(), broken: 0 }
}

fn tables() -> impl Strategy<Value = Tables> {
    let enrolments = table(
        &[
            "batchid",
            "userid",
            "courseid",
            "active",
            "enrolleddate",
            "completedon",
            "certificates",
            "issued_certificates",
        ],
        &[BATCHES, LEARNERS, COURSES, ACTIVE, DATES, DATES, &[""], &["", "[]", "odd"]],
        24,
    );
    let activity = table(
        &["activity_id", "user_id", "context_id", "agg", "agg_last_updated"],
        &[COURSES, LEARNERS, CONTEXTS, &["{\"completedCount\":1}", "odd", ""], DATES],
        16,
    );
    let attempts = table(
        &[
            "course_id",
            "batch_id",
            "user_id",
            "content_id",
            "attempt_id",
            "total_score",
            "total_max_score",
            "grand_total",
            "last_attempted_on",
        ],
        &[COURSES, BATCHES, LEARNERS, CONTENTS, ATTEMPTS, NUMBERS, NUMBERS, &[""], DATES],
        16,
    );
    let users = table(&["userid", "firstname", "lastname"], &[LEARNERS, NAMES, NAMES], 16);
    let trees = table(&["identifier", "hierarchy"], &[COURSES, TREES], 4);
    (enrolments, activity, attempts, users, trees).prop_map(|(enrolments, activity, attempts, users, trees)| {
        let batches = fixed(
            &["batchid", "courseid", "name", "status", "startdate", "enddate"],
            &[
                &["b1", "c1", "One", "1", "2020-01-01", "2020-12-31"],
                &["b2", "c2", "Two", "1", "2020-01-01", "2020-12-31"],
            ],
        );
        let contents = fixed(
            &["identifier", "name", "contenttype", "channel", "leafnodescount"],
            &[
                &["c1", "Course", "Course", "ch", "2"],
                &["c2", "Other", "Course", "ch", "2"],
                &["q1", "Quiz", "SelfAssess", "ch", ""],
                &["q2", "Test", "SelfAssess", "ch", ""],
            ],
        );
        Tables::from([
            (Table::CourseBatch, batches),
            (Table::Content, contents),
            (Table::UserEnrolments, enrolments),
            (Table::UserActivityAgg, activity),
            (Table::AssessmentAggregator, attempts),
            (Table::User, users),
            (Table::ContentHierarchy, trees),
        ])
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is wrong with the rows, and however the learners are divided.
    #[test]
    fn ranges_add_up_to_one_load(
        mut tables in tables(),
        report in select(&["course", "assessment"][..]),
        form in select(&[Form::Csv, Form::JsonLines, Form::Parquet][..]),
        reads_ranges in any::<bool>(),
        ranges in 2_u64..9,
    ) {
        let directory = tempfile::tempdir().unwrap();
        if reads_ranges {
            // No line of an engine's table is broken.
            for table in tables.values_mut() {
                table.broken = 0;
            }
        }
        for (name, table) in &tables {
            table.write(directory.path(), *name, form);
        }
        let report = find(report).unwrap();
        let (whole, by_range) = if reads_ranges {
            let (whole, by_range) = both(&RangeReader(&tables, files(directory.path())), report, ranges);
            (whole.without_places(), by_range.without_places())
        } else {
            both(&files(directory.path()), report, ranges)
        };
        prop_assert_eq!(by_range, whole);
    }
}
