//! Small tables written as text, for tests: turned into the chunks that a source would deliver.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Int64Array, StringArray, StringViewArray, TimestampMicrosecondArray,
};
use chrono::NaiveDate;
use chrono_tz::Tz;

use super::filters::{ResolveError, Scope, Selection, resolve};
use super::job_config::JobConfig;
use super::{Counts, Options, PIECE_ROWS, Report, ReportError, find, generate_by};
use crate::outputs::{Compress, CsvOptions, FileEncoding, Format, TablePieces, WriteError, write_table};
use crate::tables::catalog::{BatchIdx, Catalog, CatalogBuilder};
use crate::tables::chunk::Chunk;
use crate::tables::dates::parse_instant;
use crate::tables::decimal::Decimal;
use crate::tables::finished::Finished;
use crate::tables::loaded::{LoadedBatches, Loading};
use crate::tables::plan::Scan;
use crate::tables::schema::{Column, Kind, Table};

pub(crate) const TZ: Tz = Tz::Asia__Kolkata;

type Row = BTreeMap<String, String>;

/// How rows are fed: mixed by this seed (0: as written), this many in a chunk.
#[derive(Clone, Copy)]
pub(crate) struct Feed {
    pub(crate) seed: u64,
    pub(crate) size: usize,
}

pub(crate) const AS_WRITTEN: Feed = Feed { seed: 0, size: 1000 };

/// Tables of a platform.
#[derive(Clone, Default)]
pub(crate) struct Tables(BTreeMap<Table, Vec<Row>>);

impl Tables {
    /// Appends rows; columns and cells are separated by `|`, blanks around them do not count, an empty cell is null.
    pub(crate) fn add(mut self, table: Table, columns: &str, rows: &[&str]) -> Self {
        let names: Vec<String> = columns.split('|').map(|name| name.trim().to_ascii_lowercase()).collect();
        for row in rows {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            assert_eq!(cells.len(), names.len(), "{table}: {row}");
            let row = names.iter().cloned().zip(cells.into_iter().map(str::to_owned)).collect();
            self.0.entry(table).or_default().push(row);
        }
        self
    }

    /// The same with one row given cell by cell, blanks and all.
    pub(crate) fn row(mut self, table: Table, cells: &[(&str, &str)]) -> Self {
        let row = cells.iter().map(|(name, cell)| (name.to_ascii_lowercase(), (*cell).to_owned())).collect();
        self.0.entry(table).or_default().push(row);
        self
    }

    /// Every `of`th row of each table, from row `part` on.
    pub(crate) fn part(&self, part: usize, of: usize) -> Self {
        let rows = |rows: &Vec<Row>| rows.iter().skip(part).step_by(of).cloned().collect();
        Self(self.0.iter().map(|(table, all)| (*table, rows(all))).collect())
    }

    /// Feeds a scan to `take`.
    pub(crate) fn read(&self, scan: &Scan, feed: Feed, take: impl Fn(Table, &Chunk)) {
        let mut rows: Vec<&Row> = self.0.get(&scan.table).into_iter().flatten().collect();
        if feed.seed != 0 {
            fastrand::Rng::with_seed(feed.seed).shuffle(&mut rows);
        }
        if let Some((column, only)) = scan.only() {
            // Every second feed also delivers what was not asked for.
            rows.retain(|row| feed.seed % 2 == 1 || only.contains(row[&column.to_ascii_lowercase()].as_str()));
        }
        for rows in rows.chunks(feed.size) {
            take(scan.table, &chunk(&scan.columns, rows, feed.seed));
        }
    }

    pub(crate) fn catalog(&self, config: &JobConfig, feed: Feed) -> Catalog {
        let metadata: BTreeSet<String> = config.metadata_fields().into_iter().map(str::to_owned).collect();
        let builder = CatalogBuilder::new(&metadata, TZ);
        for scan in builder.plan().scans {
            self.read(&scan, feed, |table, chunk| builder.take(table, chunk));
        }
        builder.finish()
    }

    pub(crate) fn loaded(
        &self,
        catalog: Catalog,
        batches: &[BatchIdx],
        report: &dyn Report,
        options: &Options,
        feed: Feed,
    ) -> LoadedBatches {
        let mut builder = Loading::new(Arc::new(catalog), batches, &report.needs(options), TZ);
        while let Some(scan) = builder.next_scan() {
            self.read(&scan, feed, |_, chunk| builder.take(chunk));
        }
        builder.finish().unwrap()
    }

    /// What a request selects, with `today` 2020-07-10 and at most ten batches.
    pub(crate) fn resolve(&self, config: &str, own_channel: Option<&str>) -> Result<Vec<String>, ResolveError> {
        self.select(config, own_channel).map(|(batches, _)| batches)
    }

    /// The ids of the selected batches, and the whole selection.
    pub(crate) fn select(
        &self,
        config: &str,
        own_channel: Option<&str>,
    ) -> Result<(Vec<String>, Selection), ResolveError> {
        let config = JobConfig::parse(config).unwrap();
        let catalog = self.catalog(&config, AS_WRITTEN);
        let today = NaiveDate::from_ymd_opt(2020, 7, 10).unwrap();
        let selection = resolve(
            &config,
            &catalog,
            &Scope { today, max_batches: 10, own_channel, key_channels: None, timezone: TZ },
            &|id| !id.is_empty() && id.len() < 200,
        )?;
        let ids = selection.batches.iter().map(|at| catalog.batch(*at).id.clone()).collect();
        Ok((ids, selection))
    }

    /// The CSV of one batch's report, its counts, and what was loaded.
    pub(crate) fn report(
        &self,
        report: &str,
        batch: &str,
        options: &Options,
        feed: Feed,
    ) -> (String, Counts, LoadedBatches) {
        let report = find(report).unwrap();
        let config = JobConfig::parse(&format!(r#"{{"batchId": "{batch}"}}"#)).unwrap();
        let catalog = self.catalog(&config, feed);
        let at = catalog.find_batch(batch).unwrap();
        let every = (0..catalog.batches().len()).map(BatchIdx);
        let every: Vec<BatchIdx> = every.filter(|batch| catalog.batch(*batch).course.is_some()).collect();
        let loaded = self.loaded(catalog, &every, report, options, feed);
        let (csv, counts) = made(report, at, &loaded, options, PIECE_ROWS);
        // However it is cut into pieces.
        for rows in [1, 2, 7] {
            assert_eq!(made(report, at, &loaded, options, rows), (csv.clone(), counts.clone()), "pieces of {rows}");
        }
        (csv, counts, loaded)
    }

    /// The lines of one batch's report with default options, and its counts.
    pub(crate) fn lines(&self, report: &str, batch: &str) -> (Vec<String>, Counts) {
        let (csv, counts, _) = self.report(report, batch, &Options::default(), AS_WRITTEN);
        (csv.lines().map(str::to_owned).collect(), counts)
    }
}

/// The CSV of one batch's report, made in pieces of `rows` rows, and its counts.
pub(crate) fn made(
    report: &dyn Report,
    batch: BatchIdx,
    loaded: &LoadedBatches,
    options: &Options,
    rows: usize,
) -> (String, Counts) {
    let (mut csv, counts) = (Vec::new(), RefCell::new(Counts::default()));
    let mut pieces = InPieces(|take: &mut Take<'_>| {
        let made = generate_by(rows, report, batch, loaded, options, |table| take(table).map_err(Wrong::Write));
        counts.replace(made.unwrap());
    });
    let encoding = FileEncoding { format: Format::DEFAULT, compress: Compress::None };
    let written = write_table(&mut pieces, encoding, CsvOptions::default(), &mut csv).unwrap();
    let counts = counts.into_inner();
    assert_eq!(written, counts.rows);
    (String::from_utf8(csv).unwrap(), counts)
}

/// What a piece of a table is given to.
type Take<'t> = dyn FnMut(&Finished<'_>) -> Result<(), WriteError> + 't;

struct InPieces<F>(F);

impl<F: FnMut(&mut Take<'_>)> TablePieces for InPieces<F> {
    fn most_rows(&self) -> usize {
        usize::MAX
    }

    fn each(&mut self, take: &mut Take<'_>) -> Result<(), WriteError> {
        (self.0)(take);
        Ok(())
    }
}

#[derive(Debug)]
#[allow(dead_code, reason = "what a test that fails prints")]
enum Wrong {
    Report(ReportError),
    Write(WriteError),
}

impl From<ReportError> for Wrong {
    fn from(error: ReportError) -> Self {
        Self::Report(error)
    }
}

/// The cells of one column of a CSV without quotes.
pub(crate) fn column<'l>(lines: &'l [String], heading: &str) -> Vec<&'l str> {
    let at = lines[0].split(',').position(|name| name == heading).unwrap_or_else(|| panic!("{heading}: {}", lines[0]));
    lines[1..].iter().map(|line| line.split(',').nth(at).unwrap()).collect()
}

/// The rows as a source would deliver them: whole columns, of every third chunk some rows only, text in any of its types.
fn chunk(columns: &[Column], rows: &[&Row], seed: u64) -> Chunk {
    let mut draws = fastrand::Rng::with_seed(seed);
    let nothing = Row::new();
    if seed == 0 || draws.bool() {
        let arrays = columns.iter().map(|column| array(column, rows, seed != 0 && draws.bool())).collect();
        return Chunk::all(arrays, rows.len());
    }
    // Every other row is of no interest, and is there all the same.
    let mixed: Vec<&Row> = rows.iter().flat_map(|row| [&nothing, row]).collect();
    let arrays = columns.iter().map(|column| array(column, &mixed, draws.bool())).collect();
    Chunk::of(arrays, (0..).zip(rows).map(|(row, _)| 2 * row + 1).collect())
}

fn array(column: &Column, rows: &[&Row], coded: bool) -> ArrayRef {
    let name = column.name.to_ascii_lowercase();
    let cells = || rows.iter().map(|row| row.get(&name).map(String::as_str).filter(|cell| !cell.is_empty()));
    let whole = |cell: &str| cell.parse::<i64>().unwrap();
    match column.kind {
        Kind::Text | Kind::Json if coded => Arc::new(cells().collect::<DictionaryArray<Int32Type>>()),
        Kind::Text | Kind::Json if rows.len() % 2 == 1 => Arc::new(cells().collect::<StringViewArray>()),
        Kind::Text | Kind::Json => Arc::new(cells().collect::<StringArray>()),
        Kind::Bool => Arc::new(cells().map(|cell| cell.map(|cell| cell == "true")).collect::<BooleanArray>()),
        Kind::Count | Kind::Entries | Kind::CompletedCount => {
            Arc::new(cells().map(|cell| cell.map(whole)).collect::<Int64Array>())
        }
        Kind::Decimal => {
            let millionths = |cell: &str| Decimal::parse(cell).unwrap().millionths().unwrap();
            Arc::new(cells().map(|cell| cell.map(millionths)).collect::<Int64Array>())
        }
        Kind::Instant | Kind::LastUpdated => Arc::new(
            cells()
                .map(|cell| cell.map(|cell| parse_instant(cell, TZ).unwrap()))
                .collect::<TimestampMicrosecondArray>(),
        ),
    }
}
