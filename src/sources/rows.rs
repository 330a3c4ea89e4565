//! Rows of cells made into the canonical columns of a scan, with the rules for rows that cannot be used.
//!
//! Every reader of text goes through here (CSV, JSON lines, what `PostgreSQL` copies). Parquet, which has whole columns,
//! goes through [`typed`] by the same rules. Not here: finding the cells.

mod columns;
pub mod typed;

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::ArrayRef;

use super::values::{self, Unreadable};
use super::{Settings, Sink, Tally};
use crate::reports::columns::Chunk;
use crate::reports::quality::Fault;
use crate::reports::schema::{Column, Kind, Presence, Scan};
pub(in crate::sources) use columns::Filling;

/// Rows of one chunk.
const CHUNK_ROWS: usize = 16_384;
/// Bytes of text after which a chunk is full although it has few rows (a course's tree is long).
const CHUNK_BYTES: usize = 4 << 20;
/// Faults of one scan that are logged one by one.
const FAULTS_LOGGED: u32 = 3;
/// A row that was used although text in it had to be mended.
const NOT_UTF8: &str = "bytes that are not UTF-8";

/// One cell of a row, as its source has it.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    /// Nothing there.
    Null,
    /// Text, by its bytes; perhaps not UTF-8.
    Text(&'a [u8]),
    /// One JSON value of a source that tells numbers, lists and maps from text (not text itself).
    Json(&'a str),
    /// A whole number.
    Int(i64),
    /// True or false.
    Bool(bool),
    /// Microseconds since 1970 in UTC.
    Micros(i64),
}

impl<'a> From<Option<&'a [u8]>> for Cell<'a> {
    fn from(text: Option<&'a [u8]>) -> Self {
        text.map_or(Self::Null, Self::Text)
    }
}

impl Tally {
    /// Counts rows that cannot be used.
    fn unusable(&mut self, reading: &Reading<'_>, key: &str, fault: Fault, rows: u64) {
        reading.log(&fault);
        *self.bad.entry(fault.reason.clone()).or_default() += rows;
        let faults = self.faults.of(key);
        faults.unusable += rows;
        if faults.first.as_ref().is_none_or(|first| fault < *first) {
            faults.first = Some(fault);
        }
    }

    /// Counts a date that does not read, in a row that is used.
    fn unreadable(&mut self, column: &Column, key: &str, file: &str, line: u64) {
        self.unreadable_dates += 1;
        let (count, first) = self.faults.of(key).unreadable.entry(column.name.clone()).or_default();
        *count += 1;
        // There may be one in every row: the text is made only for the first.
        if first.as_ref().is_none_or(|first| (file, line) < (first.file.as_str(), first.line)) {
            let reason = format!("{} is not a date", column.name);
            *first = Some(Fault { file: file.to_owned(), line, reason });
        }
    }
}

/// A scan under way: what all its threads share.
pub struct Reading<'a> {
    /// What is wanted.
    pub scan: &'a Scan,
    /// How odd values are taken.
    pub settings: &'a Settings,
    sink: &'a Sink<'a>,
    /// The column that `scan.only` is about.
    only: Option<usize>,
    /// The column by which faults are counted.
    by: Option<usize>,
    logged: AtomicU32,
}

impl<'a> Reading<'a> {
    /// Begins a scan.
    #[must_use]
    pub fn new(scan: &'a Scan, settings: &'a Settings, sink: &'a Sink<'a>) -> Self {
        let only = scan.only.as_ref().and_then(|(name, _)| {
            let names = scan.columns.iter().map(|column| column.name.as_bytes());
            find(name, names)
        });
        let by = only.or_else(|| scan.columns.iter().position(|column| column.presence == Presence::Key));
        Self { scan, settings, sink, only, by, logged: AtomicU32::new(0) }
    }

    /// The place, among the scan's columns, of the one that `only` is about.
    #[must_use]
    pub fn only(&self) -> Option<usize> {
        self.only
    }

    /// Whether `only` leaves rows with this key in the scan.
    #[must_use]
    pub fn wants(&self, key: &str) -> bool {
        self.scan.only.as_ref().is_none_or(|(_, keys)| keys.contains(key))
    }

    /// The first few faults are worth a line each; no values, they may be personal.
    fn log(&self, fault: &Fault) {
        if self.logged.fetch_add(1, Ordering::Relaxed) < FAULTS_LOGGED {
            let Fault { file, line, reason } = fault;
            log::warn!("unusable row table={} file={file} line={line} reason={reason:?}", self.scan.table);
        }
    }
}

/// The place of a name: spelled exactly so, or else in other capitals.
pub fn find<'h>(name: &str, headers: impl Iterator<Item = &'h [u8]>) -> Option<usize> {
    let mut alike = None;
    for (place, header) in headers.enumerate() {
        if header == name.as_bytes() {
            return Some(place);
        }
        if alike.is_none() && header.eq_ignore_ascii_case(name.as_bytes()) {
            alike = Some(place);
        }
    }
    alike
}

/// Where the columns of a scan are among those of a file or table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// For each column of the scan, its place.
    pub places: Vec<Option<usize>>,
    /// The column of kind [`Kind::CompletedCount`] is not there, its place is that of the flat `completedCount`.
    pub flat: bool,
}

impl Located {
    /// Looks for every column of the scan.
    pub fn among<'h, H: Iterator<Item = &'h [u8]>>(scan: &Scan, headers: impl Fn() -> H) -> Self {
        let mut flat = false;
        let places = scan.columns.iter().map(|column| match find(&column.name, headers()) {
            None if column.kind == Kind::CompletedCount => {
                let place = find(FLAT, headers());
                flat |= place.is_some();
                place
            }
            place => place,
        });
        Self { places: places.collect(), flat }
    }

    /// The first column that is missing and must not be.
    #[must_use]
    pub fn missing<'s>(&self, scan: &'s Scan) -> Option<&'s Column> {
        let mut columns = scan.columns.iter().zip(&self.places);
        columns
            .find(|(column, place)| place.is_none() && column.presence != Presence::Optional)
            .map(|(column, _)| column)
    }
}

/// The flat column that may stand in for `agg`.
pub const FLAT: &str = "completedCount";

/// Takes the rows of one file (or of a part of it, on one thread) and hands chunks to the sink.
pub struct Rows<'a> {
    reading: &'a Reading<'a>,
    file: &'a str,
    cells: Vec<Filling>,
    /// Whether the cells of kind [`Kind::CompletedCount`] come from the flat column.
    flat: bool,
    tally: Tally,
    waiting: usize,
    bytes: usize,
}

impl<'a> Rows<'a> {
    /// Begins with a file, named for log and messages.
    #[must_use]
    pub fn new(reading: &'a Reading<'a>, file: &'a str) -> Self {
        let cells = reading.scan.columns.iter().map(|column| Filling::new(column.kind)).collect();
        Self { reading, file, cells, flat: false, tally: Tally::default(), waiting: 0, bytes: 0 }
    }

    /// Says whether the column of kind [`Kind::CompletedCount`] comes from the flat column, from the next row on.
    pub fn flat(&mut self, flat: bool) {
        self.flat = flat;
    }

    /// Takes a row: `cell` gives its cell for each column of the scan.
    pub fn push<'c>(&mut self, line: u64, cell: impl Fn(usize) -> Cell<'c>) {
        // The key first: what is wrong with rows of other batches is nobody's business here.
        if let Some(only) = self.reading.only
            && key_of(cell(only)).is_some_and(|key| !self.reading.wants(&key))
        {
            return;
        }
        let mut odd = false;
        let mut unreadable = false;
        for (place, column) in self.reading.scan.columns.iter().enumerate() {
            let reason = match self.cells[place].read(cell(place), self.flat, self.reading.settings, &mut odd) {
                Ok(false) if column.presence == Presence::Key => format!("empty {}", column.name),
                Ok(_) => continue,
                Err(Unreadable) if is_date(column.kind) => {
                    unreadable = true;
                    continue;
                }
                Err(Unreadable) => reason(column, self.flat),
            };
            let key = self.reading.by.and_then(|by| key_of(cell(by)));
            return self.unusable(line, key.as_deref().unwrap_or_default(), reason, 1);
        }
        if unreadable {
            self.unreadable(line, &cell);
        }
        for cells in &mut self.cells {
            self.bytes += cells.keep();
        }
        self.tally.rows += 1;
        if odd {
            *self.tally.odd.entry(NOT_UTF8.to_owned()).or_default() += 1;
        }
        self.waiting += 1;
        if self.waiting == CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            self.flush();
        }
    }

    /// Counts the dates of a row that do not read, which are rare enough to be read a second time.
    fn unreadable<'c>(&mut self, line: u64, cell: &impl Fn(usize) -> Cell<'c>) {
        let Self { reading, cells, flat, tally, file, .. } = self;
        let key = reading.by.and_then(|by| key_of(cell(by)));
        for (place, column) in reading.scan.columns.iter().enumerate().filter(|(_, column)| is_date(column.kind)) {
            if cells[place].read(cell(place), *flat, reading.settings, &mut false).is_err() {
                tally.unreadable(column, key.as_deref().unwrap_or_default(), file, line);
            }
        }
    }

    /// Counts a row that is broken as a whole, `rows` times, since a quote that is not closed swallows lines. `given`: the
    /// cells that the path of the file gives.
    pub fn broken<'c>(&mut self, line: u64, reason: &str, rows: u64, given: impl Fn(usize) -> Option<Cell<'c>>) {
        let key = self.reading.by.and_then(given).and_then(key_of);
        self.unusable(line, key.as_deref().unwrap_or_default(), reason.to_owned(), rows);
    }

    /// Hands over what is left; what it all came to.
    #[must_use]
    pub fn finish(mut self) -> Tally {
        self.flush();
        self.tally
    }

    fn unusable(&mut self, line: u64, key: &str, reason: String, rows: u64) {
        let fault = Fault { file: self.file.to_owned(), line, reason };
        self.tally.unusable(self.reading, key, fault, rows);
    }

    fn flush(&mut self) {
        if self.waiting == 0 {
            return;
        }
        let columns: Vec<ArrayRef> = self.cells.iter_mut().map(Filling::finish).collect();
        let chunk = Chunk::all(columns, self.waiting);
        (self.waiting, self.bytes) = (0, 0);
        (self.reading.sink)(&chunk);
    }
}

/// Why a row is unusable of which this cell does not read.
fn reason(column: &Column, flat: bool) -> String {
    let (name, kind) = match column.kind {
        Kind::CompletedCount if flat => (FLAT, "number"),
        Kind::CompletedCount => (column.name.as_ref(), "map"),
        Kind::Bool => (column.name.as_ref(), "boolean"),
        Kind::Entries => (column.name.as_ref(), "list"),
        Kind::Count | Kind::Decimal | Kind::Text | Kind::Instant | Kind::LastUpdated | Kind::Json => {
            (column.name.as_ref(), "number")
        }
    };
    format!("{name} is not a {kind}")
}

/// The text of a key, if there is any.
pub(super) fn key_of(cell: Cell<'_>) -> Option<Cow<'_, str>> {
    let text = match cell {
        Cell::Text(bytes) => String::from_utf8_lossy(bytes),
        Cell::Json(json) => Cow::Borrowed(json),
        Cell::Int(number) => Cow::Owned(number.to_string()),
        Cell::Bool(value) => Cow::Borrowed(if value { "true" } else { "false" }),
        Cell::Null | Cell::Micros(_) => return None,
    };
    (!text.is_empty()).then_some(text)
}

/// A date that does not read leaves its cell empty and its row in use.
const fn is_date(kind: Kind) -> bool {
    matches!(kind, Kind::Instant | Kind::LastUpdated)
}

/// A file's name, its end only where it is too long for a client's message.
#[must_use]
pub fn short(file: &str) -> Cow<'_, str> {
    const MOST: usize = 40;
    let count = file.chars().count();
    if count <= MOST {
        return Cow::Borrowed(file);
    }
    Cow::Owned(std::iter::once('…').chain(file.chars().skip(count - MOST + 1)).collect())
}

#[cfg(test)]
mod tests;
