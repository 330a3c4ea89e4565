//! Tables as files in a directory or a bucket: Parquet, CSV, TSV and JSON lines, all but the first also compressed with gzip
//! or zstd; Delta tables.
//!
//! Not here: what a value means (`values`), what an unusable row is (`rows`).

mod allowance;
mod config;
mod csv;
mod delta;
mod errors;
mod jsonl;
mod layout;
mod location;
mod names;
mod parquet;
mod part;
mod partitions;
mod prefetch;
mod read_ahead;
mod records;
mod sniff;
mod stored_file;
mod text;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_schema::SchemaRef;
use rayon::prelude::*;

use self::allowance::Allowance;
use self::errors::FileContext;
use self::location::{Directory, FileLocation};
use self::names::{Format, Packed};
use self::part::Part;
use self::prefetch::Prefetch;
use super::rows::{self, Cell, Reading};
use super::{GivenUp, GroupRun, ReadCost, ScanStats, Settings, Sink, Source, SourceError};
use crate::objects::Bucket;
use crate::tables::plan::{LoadPlan, Scan};
use crate::tables::schema::{Kind, Table};

pub(crate) use config::location;
pub use config::{Config, CsvDialect, FilesLocation, KIND, TableFiles};

/// Opens what jobs.toml says; nothing is looked at yet.
///
/// # Errors
/// What is wrong with the URL or the credentials of an object store.
pub fn open(config: &Config, settings: Settings) -> Result<Arc<dyn Source>, String> {
    let directory = directory(&config.location)?;
    Ok(Arc::new(FilesSource::of(directory, config.tables.clone(), settings)))
}

fn directory(location: &FilesLocation) -> Result<Directory, String> {
    Ok(match location {
        FilesLocation::Directory(directory) => Directory::Local(directory.clone()),
        FilesLocation::Objects(place) => {
            Directory::Stored(Bucket::open(place).map_err(|error| error.to_string())?, String::new())
        }
    })
}

/// How many rows the Parquet files of a table in a directory say that they have; given by name and size.
///
/// # Errors
/// One of them cannot be read, or is no Parquet file.
pub(super) fn rows_of(
    location: &FilesLocation,
    table: Table,
    files: &BTreeMap<String, u64>,
) -> Result<u64, SourceError> {
    let parts = parquet_parts(location, table, files)?;
    Prefetch::new(&parts).par_bridge().map(|(_, part)| parquet::rows(table, part)).sum()
}

/// The columns of the first of these files, if there is one.
///
/// # Errors
/// As for [`rows_of`].
pub(super) fn schema_of(
    location: &FilesLocation,
    table: Table,
    files: &BTreeMap<String, u64>,
) -> Result<Option<SchemaRef>, SourceError> {
    parquet_parts(location, table, files)?.first().map(|part| parquet::schema(table, part)).transpose()
}

fn parquet_parts(
    location: &FilesLocation,
    table: Table,
    files: &BTreeMap<String, u64>,
) -> Result<Vec<Part>, SourceError> {
    let what =
        |what: String| SourceError { table, message: what.clone(), detail: what, may_pass: false, is_too_large: false };
    let directory = directory(location).map_err(what)?;
    let part = |(name, bytes): (&String, &u64)| {
        let label = format!("{}/{name}", table.name());
        let location = directory.file(&label, *bytes);
        Part { location, label, format: Format::Parquet, packed: Packed::No, partitions: Vec::new(), logged: None }
    };
    Ok(files.iter().map(part).collect())
}

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// A directory, or a bucket, that has each table, by its name or another one, as a file `<table>.parquet`, `.csv`, `.json` and so on, or as a directory
/// `<table>/` of such parts or of partitions `<column>=<value>/`, or of a Delta table.
#[derive(Clone)]
pub struct FilesSource {
    directory: Directory,
    tables: TableFiles,
    settings: Settings,
    allowance: Arc<Allowance>,
    /// Whether nobody waits for the rows any more.
    given_up: Option<GivenUp>,
}

impl FilesSource {
    /// A source over `directory`; nothing is looked at yet.
    #[must_use]
    pub fn new(directory: PathBuf, tables: impl Into<TableFiles>, settings: Settings) -> Self {
        Self::of(Directory::Local(directory), tables.into(), settings)
    }

    /// A source over what is in `bucket`; nothing is looked at yet.
    #[must_use]
    pub fn stored(bucket: Bucket, tables: impl Into<TableFiles>, settings: Settings) -> Self {
        Self::of(Directory::Stored(bucket, String::new()), tables.into(), settings)
    }

    fn of(directory: Directory, tables: TableFiles, settings: Settings) -> Self {
        Self { directory, tables, settings, allowance: Allowance::new(settings.bounds.held), given_up: None }
    }

    /// Reads the files of a table, all cores busy; what each came to, in their order.
    fn all(&self, parts: &[Part], reading: &Reading<'_>) -> Result<Vec<PartRead>, SourceError> {
        match self.directory {
            Directory::Local(_) => {
                let all: Vec<_> = parts.par_iter().map(|part| self.part(part, reading)).collect();
                all.into_iter().collect()
            }
            // In order, so that it is known which come next; with the first failure it ends, since each may cost a
            // time-out.
            Directory::Stored(..) => {
                let read = |(number, part)| Ok((number, self.part(part, reading)?));
                let mut all: Vec<_> = Prefetch::new(parts).par_bridge().map(read).collect::<Result<_, _>>()?;
                all.sort_unstable_by_key(|(number, _)| *number);
                Ok(all.into_iter().map(|(_, read)| read).collect())
            }
        }
    }

    /// Reads one file of a table.
    fn part(&self, part: &Part, reading: &Reading<'_>) -> Result<PartRead, SourceError> {
        let place = FileContext::of(reading.scan.table, part);
        reading.go_on().map_err(|error| place.io(&error))?;
        let is_empty = || part.location.bytes().is_ok_and(|bytes| bytes == 0);
        if let Some(logged) = part.logged {
            let bytes = part.location.bytes().map_err(|error| place.io(&error))?;
            if bytes != logged || bytes == 0 {
                return Err(place.broken(&format!("has {bytes} bytes, and {logged} by the table's log")));
            }
        }
        let mut read = match part.format {
            Format::Csv | Format::Tsv => {
                csv::read(part, reading, self.tables.dialect(reading.scan.table), &self.allowance)
            }
            Format::Jsonl => jsonl::read(part, reading, &self.allowance),
            // Whatever a broken file does to its decoder, the file is named.
            Format::Parquet if is_empty() => Ok(PartRead::empty()),
            Format::Parquet => catch_unwind(AssertUnwindSafe(|| parquet::read(part, reading, &self.allowance)))
                .unwrap_or_else(|panic| Err(place.panicked(panic.as_ref()))),
        }?;
        read.stats.cost = cost(part, read.stats.cost).map_err(|error| place.io(&error))?;
        Ok(read)
    }
}

/// What reading a file took. `decoded`: what its decoder counted.
fn cost(part: &Part, decoded: ReadCost) -> io::Result<ReadCost> {
    Ok(match (&part.location, part.format) {
        (FileLocation::Stored(file), _) => ReadCost { pages: decoded.pages, ..file.cost() },
        (FileLocation::Local(_), Format::Parquet) => ReadCost { calls: 1, ..decoded },
        (FileLocation::Local(_), Format::Csv | Format::Tsv | Format::Jsonl) => {
            ReadCost { bytes: part.location.bytes()?, pages: 0, calls: 1 }
        }
    })
}

/// What reading one file came to.
struct PartRead {
    stats: ScanStats,
    /// For each column of the scan, whether the file has it; `None` where the file has nothing that would tell.
    has: Option<Vec<bool>>,
    /// There is nothing in it, not even a header.
    is_empty: bool,
}

impl PartRead {
    const fn of(stats: ScanStats, has: Vec<bool>) -> Self {
        Self { stats, has: Some(has), is_empty: false }
    }

    fn empty() -> Self {
        Self { stats: ScanStats::default(), has: None, is_empty: true }
    }
}

impl Source for FilesSource {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<ScanStats, SourceError> {
        let parts = layout::parts(&self.directory, self.tables.name(scan.table), scan)?;
        let reading = Reading::new(scan, &self.settings, sink).until(self.given_up.as_ref());
        let mut stats = ScanStats::default();
        let mut has: Option<Vec<bool>> = None;
        let all = self.all(&parts, &reading)?;
        check_empty(scan.table, &parts, &all)?;
        for read in all {
            stats.add(&read.stats);
            if let Some(these) = read.has {
                let any = has.get_or_insert_with(|| vec![false; scan.columns.len()]);
                any.iter_mut().zip(these).for_each(|(any, this)| *any |= this);
            }
        }
        // A table of JSON lines lacks a column that no line has. (A CSV or Parquet file that lacks one has stopped the load
        // before.)
        if let (Some(part), Some(has)) = (parts.first(), has) {
            check_columns(FileContext::of(scan.table, part), &reading, &has)?;
        }
        Ok(stats)
    }

    /// Reading ends once the run is given up.
    fn prepare(&self, _plan: &LoadPlan, run: &GroupRun) -> Result<Option<Box<dyn Source>>, SourceError> {
        Ok(Some(Box::new(Self { given_up: Some(Arc::clone(&run.given_up)), ..self.clone() })))
    }

    /// Where the tables are partitioned by what the scans are limited by.
    fn divides(&self, scans: &[Scan]) -> Result<bool, SourceError> {
        for scan in scans {
            let Some(key) = partitions::key(scan) else { return Ok(false) };
            let parts = layout::parts(&self.directory, self.tables.name(scan.table), scan)?;
            let has_key = |part: &Part| part.partitions.iter().any(|(column, _)| key.eq_ignore_ascii_case(column));
            if !parts.iter().all(has_key) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn is_on_this_machine(&self) -> bool {
        matches!(self.directory, Directory::Local(_))
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.directory);
        if let Directory::Local(path) = &self.directory {
            std::fs::read_dir(path).map_err(failed)?;
        }
        layout::tables(&self.directory, &self.tables).map_err(failed)
    }
}

/// An upload that broke off leaves files of no bytes. One is nothing where others beside it have something; where all of a
/// directory are so, its rows are lost. (A header alone, or a Parquet file without rows, is an empty table.)
fn check_empty(table: Table, parts: &[Part], read: &[PartRead]) -> Result<(), SourceError> {
    let directory = |part: &Part| part.label.rsplit_once('/').map(|(directory, _)| directory.to_owned());
    let mut by_directory: BTreeMap<Option<String>, (usize, bool, &Part)> = BTreeMap::new();
    for (part, read) in parts.iter().zip(read) {
        let of = by_directory.entry(directory(part)).or_insert((0, true, part));
        of.0 += 1;
        of.1 &= read.is_empty;
    }
    match by_directory.into_values().find(|(_, all_empty, _)| *all_empty) {
        None => Ok(()),
        Some((1, _, part)) => Err(FileContext::of(table, part).broken("is empty: its upload probably broke off")),
        Some((_, _, part)) => {
            Err(FileContext::of(table, part)
                .broken("is empty, as all files beside it: their upload probably broke off"))
        }
    }
}

/// `table user_enrolments: user_enrolments.csv has no column 'active'`
fn check_columns(place: FileContext<'_>, reading: &Reading<'_>, has: &[bool]) -> Result<(), SourceError> {
    let missing = reading.spellings().missing(reading.scan, has);
    missing.map_or(Ok(()), |names| Err(place.broken(&format!("has no column {names}"))))
}

/// For each spelling of the scan's columns, the value that the path of the file gives it.
fn from_path<'p>(part: &'p Part, reading: &Reading<'_>) -> Result<Vec<Option<Cell<'p>>>, SourceError> {
    let names = || part.partitions.iter().map(|(name, _)| name.as_bytes());
    let places = reading.spellings().among(names);
    let places = places.map_err(|clash| FileContext::of(reading.scan.table, part).broken(&clash.to_string()))?;
    let spellings = places.into_iter().zip(reading.spellings().all());
    let cells = spellings.map(|(place, spelling)| {
        let is_map = reading.scan.columns[spelling.column].kind == Kind::CompletedCount;
        let (_, value) = &part.partitions[place.filter(|_| !is_map)?];
        Some(Cell::from(value.as_deref().map(str::as_bytes)))
    });
    Ok(cells.collect())
}

/// The key of every row of a file, where its path says so: the first spelling of the column that has a value there is given
/// by the path, and no earlier one is in the file.
fn key_by_path<'c>(
    reading: &Reading<'_>,
    column: Option<usize>,
    places: &[Option<usize>],
    given: &[Option<Cell<'c>>],
) -> Option<Cow<'c, str>> {
    for at in reading.spellings().of_column(column?) {
        match (places[at], given[at].and_then(rows::key_of)) {
            (Some(_), _) => return None,
            (None, Some(key)) => return Some(key),
            (None, None) => {}
        }
    }
    None
}

/// Whether the path of a file says that no row of it is wanted.
fn is_left_out(reading: &Reading<'_>, places: &[Option<usize>], given: &[Option<Cell<'_>>]) -> bool {
    key_by_path(reading, reading.only(), places, given).is_some_and(|key| !reading.wants(&key))
}

#[cfg(test)]
mod tests;
