//! Tables as files in a directory or a bucket: Parquet, CSV and JSON lines, the last two also compressed with gzip.
//!
//! Not here: what a value means (`values`), what an unusable row is (`rows`).

mod ahead;
mod csv;
mod errors;
mod jsonl;
mod layout;
mod parquet;
mod quotes;
mod spot;
mod upcoming;

use std::borrow::Cow;
use std::io::{self, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use flate2::read::MultiGzDecoder;
use rayon::prelude::*;

use self::errors::Place;
use self::layout::{Format, Part};
use self::spot::Directory;
use self::upcoming::Upcoming;
use super::rows::{self, Cell, Reading};
use super::{Settings, Sink, Source, SourceError, Tally};
use crate::config::checked::CsvDialect;
use crate::objects::Bucket;
use crate::reports::schema::{Kind, Scan, Table};

/// Bytes read at a time.
const BUFFER: usize = 256 << 10;

/// A directory, or a bucket, that has each table as `<table>.parquet`, `.csv`, `.jsonl`, `.csv.gz` or `.jsonl.gz`, or as a directory
/// `<table>/` of such parts or of partitions `<column>=<value>/`.
#[derive(Debug)]
pub struct FilesSource {
    directory: Directory,
    dialect: CsvDialect,
    settings: Settings,
}

impl FilesSource {
    /// A source over `directory`; nothing is looked at yet.
    #[must_use]
    pub const fn new(directory: PathBuf, dialect: CsvDialect, settings: Settings) -> Self {
        Self { directory: Directory::Local(directory), dialect, settings }
    }

    /// A source over what is in `bucket`; nothing is looked at yet.
    #[must_use]
    pub const fn stored(bucket: Bucket, dialect: CsvDialect, settings: Settings) -> Self {
        Self { directory: Directory::Stored(bucket, String::new()), dialect, settings }
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
                let mut all: Vec<_> = Upcoming::new(parts).par_bridge().map(read).collect::<Result<_, _>>()?;
                all.sort_unstable_by_key(|(number, _)| *number);
                Ok(all.into_iter().map(|(_, read)| read).collect())
            }
        }
    }

    /// Reads one file of a table.
    fn part(&self, part: &Part, reading: &Reading<'_>) -> Result<PartRead, SourceError> {
        match part.format {
            Format::Csv => csv::read(part, reading, self.dialect),
            Format::Jsonl => jsonl::read(part, reading),
            // Whatever a broken file does to its decoder, the file is named.
            Format::Parquet => catch_unwind(AssertUnwindSafe(|| parquet::read(part, reading)))
                .unwrap_or_else(|panic| Err(Place::of(reading.scan.table, part).panicked(panic.as_ref()))),
        }
    }
}

/// What reading one file came to.
struct PartRead {
    tally: Tally,
    /// For each column of the scan, whether the file has it; `None` where the file has nothing that would tell.
    has: Option<Vec<bool>>,
}

impl Source for FilesSource {
    fn read(&self, scan: &Scan, sink: &Sink<'_>) -> Result<Tally, SourceError> {
        let parts = layout::parts(&self.directory, scan)?;
        let reading = Reading::new(scan, &self.settings, sink);
        let mut tally = Tally::default();
        let mut has: Option<Vec<bool>> = None;
        for read in self.all(&parts, &reading)? {
            tally.add(&read.tally);
            if let Some(these) = read.has {
                let any = has.get_or_insert_with(|| vec![false; scan.columns.len()]);
                any.iter_mut().zip(these).for_each(|(any, this)| *any |= this);
            }
        }
        // A table of JSON lines lacks a column that no line has; a CSV table without any header lacks every column. (A
        // CSV or Parquet file that lacks one has stopped the load before.)
        if let Some(part) = parts.first() {
            let none = || (part.format == Format::Csv).then(|| vec![false; scan.columns.len()]);
            if let Some(has) = has.or_else(none) {
                check_columns(Place::of(scan.table, part), &reading, &has)?;
            }
        }
        Ok(tally)
    }

    fn tables(&self) -> Result<Vec<Table>, String> {
        let failed = |error: io::Error| format!("{}: {error}", self.directory);
        if let Directory::Local(path) = &self.directory {
            std::fs::read_dir(path).map_err(failed)?;
        }
        layout::tables(&self.directory).map_err(failed)
    }
}

/// `table user_enrolments: user_enrolments.csv has no column 'active'`
fn check_columns(place: Place<'_>, reading: &Reading<'_>, has: &[bool]) -> Result<(), SourceError> {
    let missing = reading.spellings().missing(reading.scan, has);
    missing.map_or(Ok(()), |names| Err(place.broken(&format!("has no column {names}"))))
}

/// For each spelling of the scan's columns, the value that the path of the file gives it.
fn from_path<'p>(part: &'p Part, reading: &Reading<'_>) -> Result<Vec<Option<Cell<'p>>>, SourceError> {
    let names = || part.partitions.iter().map(|(name, _)| name.as_bytes());
    let places = reading.spellings().among(names);
    let places = places.map_err(|clash| Place::of(reading.scan.table, part).broken(&clash.to_string()))?;
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

/// Opens a file of text, unpacked where it is compressed.
fn open(part: &Part) -> io::Result<Box<dyn Read>> {
    let file = part.spot.stream()?;
    if part.gzip {
        return Ok(Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER, file))));
    }
    Ok(file)
}

#[cfg(test)]
mod tests;
