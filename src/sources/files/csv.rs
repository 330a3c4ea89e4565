//! CSV files, with a header line.

use std::io::{BufRead as _, BufReader};

use csv::{ByteRecord, ReaderBuilder, Terminator};

use super::errors::Place;
use super::layout::Part;
use super::quotes::Quotes;
use super::{BUFFER, PartRead, check_columns, from_path, is_left_out, key_by_path, open};
use crate::config::checked::CsvDialect;
use crate::sources::SourceError;
use crate::sources::Tally;
use crate::sources::rows::{Cell, Reading, Rows};

/// Reads a file.
///
/// # Errors
/// It cannot be read or lacks a column that must be there.
pub(super) fn read(part: &Part, reading: &Reading<'_>, dialect: CsvDialect) -> Result<PartRead, SourceError> {
    let scan = reading.scan;
    let place = Place::of(scan.table, part);
    let mut builder = ReaderBuilder::new();
    // A wrong number of fields is for us to judge, row by row; so is the header.
    builder.has_headers(false).flexible(true).terminator(Terminator::CRLF).buffer_capacity(BUFFER);
    if dialect == CsvDialect::Spark {
        builder.double_quote(false).escape(Some(b'\\'));
    }
    let mut file = BufReader::with_capacity(BUFFER, open(part).map_err(|error| place.io(&error))?);
    let late = u64::from(ends_with_crlf(file.fill_buf().map_err(|error| place.io(&error))?));
    let (watched, open_quote) = Quotes::watch(file, dialect);
    let mut reader = builder.from_reader(watched);
    let mut header = ByteRecord::new();
    if !reader.read_byte_record(&mut header).map_err(|error| failed(place, &error))? {
        return Ok(PartRead { tally: Tally::default(), has: None });
    }
    let width = header.len();
    header.trim();
    let spellings = reading.spellings();
    let places = spellings.among(|| header.iter()).map_err(|clash| place.broken(&clash.to_string()))?;
    let given = from_path(part, reading)?;
    let has = spellings.columns(|at| places[at].is_some() || given[at].is_some());
    check_columns(place, reading, &has)?;
    if is_left_out(reading, &places, &given) {
        return Ok(PartRead { tally: Tally::default(), has: Some(has) });
    }
    let key = key_by_path(reading, reading.by(), &places, &given);
    let mut rows = Rows::new(reading, &part.label);
    let mut last = 1;
    let mut record = ByteRecord::new();
    while reader.read_byte_record(&mut record).map_err(|error| failed(place, &error))? {
        let line = record.position().map_or(0, csv::Position::line) + late;
        last = line;
        if record.len() == width {
            rows.push(line, |at| match places[at] {
                Some(field) => Cell::Text(&record[field]),
                None => given[at].unwrap_or(Cell::Null),
            });
        } else {
            // A quote in the wrong place swallows lines: each is a row that is lost.
            let inside = memchr::memchr_iter(b'\n', record.as_slice().trim_ascii_end()).count();
            rows.broken(line, "broken CSV line", 1 + inside as u64, key.as_deref().unwrap_or_default());
        }
    }
    if open_quote.get() {
        return Err(place.broken(&format!("line {last}: breaks off inside quotes")));
    }
    Ok(PartRead { tally: rows.finish(), has: Some(has) })
}

/// Whether lines end with CRLF, by the first of them. The csv crate then ends a record between the two bytes, and
/// counts the line with the record after.
fn ends_with_crlf(start: &[u8]) -> bool {
    memchr::memchr(b'\n', start).is_some_and(|end| start[..end].ends_with(b"\r"))
}

fn failed(place: Place<'_>, error: &csv::Error) -> SourceError {
    match error.kind() {
        csv::ErrorKind::Io(error) => place.io(error),
        _ => place.broken(&error.to_string()),
    }
}
