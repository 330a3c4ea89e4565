//! Rows of cells made into the canonical columns of a scan, with the rules for rows that cannot be used.
//!
//! Every reader of text goes through here (CSV, JSON lines, what `PostgreSQL` copies). Parquet, which has whole columns,
//! goes through [`typed`] by the same rules. Not here: finding the cells.

pub(in crate::sources) mod batches;
pub(in crate::sources) mod canonical;
pub(in crate::sources) mod cells;
mod columns;
pub(in crate::sources) mod merged;
pub mod typed;

use std::borrow::Cow;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arrow_array::ArrayRef;

use super::spellings::{COMPLETED_COUNT, Spelling, Spellings};
use super::values::{self, Unreadable};
use super::{GivenUp, ScanStats, Settings, Sink};
use crate::tables::chunk::Chunk;
use crate::tables::plan::Scan;
use crate::tables::quality::Fault;
use crate::tables::schema::{Column, Kind, Presence};
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

impl ScanStats {
    /// Counts rows that cannot be used.
    fn unusable(&mut self, reading: &Reading<'_>, key: &str, fault: Fault, rows: u64) {
        reading.log(&fault);
        *self.bad.entry(fault.reason.clone()).or_default() += rows;
        if key.is_empty() {
            *self.without_key.entry(fault.reason.clone()).or_default() += rows;
        }
        let faults = self.faults.of(key);
        faults.unusable += rows;
        if faults.first.as_ref().is_none_or(|first| fault < *first) {
            faults.first = Some(fault);
        }
    }

    /// Counts a date that does not read, in a row that is used. `name`: how the column is spelled there.
    fn unreadable(&mut self, column: &Column, name: &str, key: &str, file: &str, line: u64) {
        self.unreadable_dates += 1;
        let (count, first) = self.faults.of(key).unreadable.entry(column.name.clone()).or_default();
        *count += 1;
        // There may be one in every row: the text is made only for the first.
        if first.as_ref().is_none_or(|first| (file, line) < (first.file.as_str(), first.line)) {
            let reason = format!("{name} is not a date");
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
    /// Whether nobody waits for the rows any more.
    given_up: Option<&'a GivenUp>,
    /// How the scan's columns are spelled.
    spellings: Spellings,
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
        let only = scan
            .only()
            .and_then(|(name, _)| scan.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name)));
        let by = only.or_else(|| scan.columns.iter().position(|column| column.presence == Presence::Key));
        let spellings = Spellings::of(scan);
        Self { scan, settings, sink, given_up: None, spellings, only, by, logged: AtomicU32::new(0) }
    }

    /// The same, until nobody waits for the rows any more.
    #[must_use]
    pub(super) fn until(self, given_up: Option<&'a GivenUp>) -> Self {
        Self { given_up, ..self }
    }

    /// Fails once nobody waits for the rows any more.
    ///
    /// # Errors
    /// Nobody does.
    pub(super) fn go_on(&self) -> io::Result<()> {
        if self.given_up.is_some_and(|given_up| given_up()) {
            return Err(io::Error::other("reading was given up: nobody waits for the rows any more"));
        }
        Ok(())
    }

    /// What `from` reads, as long as somebody waits for the rows.
    pub(super) fn watched(&self, from: Box<dyn Read>) -> Box<dyn Read> {
        match self.given_up {
            None => from,
            Some(given_up) => Box::new(Watched { from, given_up: Arc::clone(given_up) }),
        }
    }

    /// How the scan's columns are spelled.
    #[must_use]
    pub const fn spellings(&self) -> &Spellings {
        &self.spellings
    }

    /// The place, among the scan's columns, of the one by which faults are counted.
    #[must_use]
    pub const fn by(&self) -> Option<usize> {
        self.by
    }

    /// The place, among the scan's columns, of the one that `only` is about.
    #[must_use]
    pub fn only(&self) -> Option<usize> {
        self.only
    }

    /// Whether `only` leaves rows with this key in the scan.
    #[must_use]
    pub fn wants(&self, key: &str) -> bool {
        self.scan.only().is_none_or(|(_, keys)| keys.contains(key))
    }

    /// The first few faults are worth a line each; no values, they may be personal.
    fn log(&self, fault: &Fault) {
        if self.logged.fetch_add(1, Ordering::Relaxed) < FAULTS_LOGGED {
            let Fault { file, line, reason } = fault;
            log::warn!("unusable row table={} file={file} line={line} reason={reason:?}", self.scan.table);
        }
    }
}

/// Reads as long as somebody waits for the rows.
struct Watched {
    from: Box<dyn Read>,
    given_up: GivenUp,
}

impl Read for Watched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if (self.given_up)() {
            return Err(io::Error::other("reading was given up: nobody waits for the rows any more"));
        }
        self.from.read(into)
    }
}

/// Takes the rows of one file (or of a part of it, on one thread) and hands chunks to the sink.
pub struct Rows<'a> {
    reading: &'a Reading<'a>,
    file: &'a str,
    cells: Vec<Filling>,
    stats: ScanStats,
    waiting: usize,
    bytes: usize,
}

impl<'a> Rows<'a> {
    /// Begins with a file, named for log and messages.
    #[must_use]
    pub fn new(reading: &'a Reading<'a>, file: &'a str) -> Self {
        let cells = reading.scan.columns.iter().map(|column| Filling::new(column.kind)).collect();
        Self { reading, file, cells, stats: ScanStats::default(), waiting: 0, bytes: 0 }
    }

    /// Takes a row: `cell` gives its cell for each spelling of the scan's columns.
    pub fn push<'c>(&mut self, line: u64, cell: impl Fn(usize) -> Cell<'c>) {
        // The key first: what is wrong with rows of other batches is nobody's business here.
        if let Some(only) = self.reading.only
            && self.key(only, &cell).is_some_and(|key| !self.reading.wants(&key))
        {
            return;
        }
        let mut odd = false;
        let mut unreadable = false;
        for (place, column) in self.reading.scan.columns.iter().enumerate() {
            let reason = match self.read(place, &cell, &mut odd) {
                Ok(false) if column.presence == Presence::Key => format!("empty {}", column.name),
                Ok(_) => continue,
                Err(_) if is_date(column.kind) => {
                    unreadable = true;
                    continue;
                }
                Err((spelling, why)) => reason(column, spelling, why),
            };
            let key = self.reading.by.and_then(|by| self.key(by, &cell));
            return self.unusable(line, key.as_deref().unwrap_or_default(), reason, 1);
        }
        if unreadable {
            self.unreadable(line, &cell);
        }
        for cells in &mut self.cells {
            self.bytes += cells.keep();
        }
        self.stats.rows += 1;
        if odd {
            *self.stats.odd.entry(NOT_UTF8.to_owned()).or_default() += 1;
        }
        self.waiting += 1;
        if self.waiting == CHUNK_ROWS || self.bytes >= CHUNK_BYTES {
            self.flush();
        }
    }

    /// The text of a key, of its first spelling that has any.
    fn key<'c>(&self, column: usize, cell: impl Fn(usize) -> Cell<'c>) -> Option<Cow<'c, str>> {
        self.reading.spellings.of_column(column).find_map(|at| key_of(cell(at)))
    }

    /// Reads the first cell of a column that has a value; whether there is one. An error names the spelling.
    fn read<'c>(
        &mut self,
        column: usize,
        cell: impl Fn(usize) -> Cell<'c>,
        odd: &mut bool,
    ) -> Result<bool, (&'a Spelling, Unreadable)> {
        let Reading { spellings, settings, .. } = self.reading;
        for at in spellings.of_column(column) {
            let spelling = &spellings.all()[at];
            match self.cells[column].read(cell(at), spelling.flat, settings, odd) {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(why) => return Err((spelling, why)),
            }
        }
        Ok(false)
    }

    /// Counts the dates of a row that do not read, which are rare enough to be read a second time.
    fn unreadable<'c>(&mut self, line: u64, cell: &impl Fn(usize) -> Cell<'c>) {
        let reading = self.reading;
        let key = reading.by.and_then(|by| self.key(by, cell));
        for (place, column) in reading.scan.columns.iter().enumerate().filter(|(_, column)| is_date(column.kind)) {
            if let Err((spelling, _)) = self.read(place, cell, &mut false) {
                self.stats.unreadable(column, &spelling.name, key.as_deref().unwrap_or_default(), self.file, line);
            }
        }
    }

    /// Counts a row that is broken as a whole, `rows` times, since a quote that is not closed swallows lines. `key`: the one
    /// that the path of the file gives, if any.
    pub fn broken(&mut self, line: u64, reason: &str, rows: u64, key: &str) {
        self.unusable(line, key, reason.to_owned(), rows);
    }

    /// Hands over what is left; what it all came to.
    #[must_use]
    pub fn finish(mut self) -> ScanStats {
        self.flush();
        self.stats
    }

    fn unusable(&mut self, line: u64, key: &str, reason: String, rows: u64) {
        let fault = Fault { file: self.file.to_owned(), line, reason };
        self.stats.unusable(self.reading, key, fault, rows);
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

/// Why a row is unusable of which the cell of this spelling does not read.
fn reason(column: &Column, spelling: &Spelling, why: Unreadable) -> String {
    let name = &spelling.name;
    let kind = match (column.kind, why) {
        (Kind::CompletedCount, Unreadable::Entry) => {
            return format!("{COMPLETED_COUNT} of {name} is not a whole number");
        }
        (Kind::CompletedCount, _) if !spelling.flat => "map",
        (Kind::Bool, _) => "boolean",
        (Kind::Entries, _) => "list",
        (
            Kind::Count
            | Kind::CompletedCount
            | Kind::Decimal
            | Kind::Text
            | Kind::Instant
            | Kind::LastUpdated
            | Kind::Json,
            _,
        ) => "number",
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
