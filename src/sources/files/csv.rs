//! CSV and TSV files, with a header line.

use std::io::BufRead;
use std::sync::Arc;

use super::allowance::Allowance;
use super::config::CsvDialect;
use super::errors::{FileContext, quoted_names};
use super::names::Format;
use super::part::Part;
use super::records::{COLUMNS, Fault, Read, Record, Records};
use super::text::TextFile;
use super::{PartRead, from_path, is_left_out, key_by_path};
use crate::sources::rows::{Cell, Reading, Rows};
use crate::sources::spellings::Spellings;
use crate::sources::{ScanStats, SourceError};

/// Characters that separate fields elsewhere.
const SEPARATORS: [(u8, &str); 4] = [(b';', "';'"), (b'\t', "tabs"), (b'|', "'|'"), (b',', "','")];

/// Reads a file.
///
/// # Errors
/// It cannot be read or lacks a column that must be there.
pub(super) fn read(
    part: &Part,
    reading: &Reading<'_>,
    dialect: CsvDialect,
    allowance: &Arc<Allowance>,
) -> Result<PartRead, SourceError> {
    let scan = reading.scan;
    let place = FileContext::of(scan.table, part);
    let Some(file) = TextFile::open(part, reading, allowance)? else { return Ok(PartRead::empty()) };
    let delimiter = if part.format == Format::Tsv { b'\t' } else { b',' };
    let marked = file.start.starts_with(b"\xEF\xBB\xBF");
    let (mut input, reserved) = file.into_bytes();
    if marked {
        input.consume(3);
    }
    let most = reading.settings.bounds.unit;
    let mut records = Records::new(input, dialect, delimiter, most);
    if reserved.is_none() {
        records = records.taking_turns(allowance);
    }
    let mut record = Record::default();
    let Some(header) = header(place, &mut records, &mut record, most)? else { return Ok(PartRead::empty()) };
    records.keep(header.len());
    let spellings = reading.spellings();
    let places = spellings.among(|| header.iter().map(Vec::as_slice));
    let places = places.map_err(|clash| place.broken(&clash.to_string()))?;
    let given = from_path(part, reading)?;
    let has = spellings.columns(|at| places[at].is_some() || given[at].is_some());
    if let Some(missing) = spellings.missing(scan, &has) {
        return Err(lacks(place, spellings, &missing, &header, delimiter));
    }
    if is_left_out(reading, &places, &given) {
        return Ok(PartRead::of(ScanStats::default(), has));
    }
    let key = key_by_path(reading, reading.by(), &places, &given);
    let mut rows = Rows::new(reading, &part.label);
    loop {
        match records.next(&mut record).map_err(|error| place.io(&error))? {
            Read::End => break,
            Read::Open => {
                return Err(place.broken(&format!("line {}: breaks off inside quotes", record.line)));
            }
            Read::TooLong => return Err(place.too_long(record.line, most)),
            // A quote in the wrong place swallows lines: each is a row that is lost.
            Read::Record if record.fault.is_some() || record.len() != header.len() => {
                let reason = record.fault.map_or("broken CSV line", Fault::reason);
                rows.broken(record.line, reason, record.lines, key.as_deref().unwrap_or_default());
            }
            Read::Record => rows.push(record.line, |at| match places[at] {
                Some(field) => Cell::Text(record.field(field)),
                None => given[at].unwrap_or(Cell::Null),
            }),
        }
    }
    Ok(PartRead::of(rows.finish(), has))
}

/// The names of the columns, from the first record; `None`: there is none.
fn header(
    place: FileContext<'_>,
    records: &mut Records<'_, impl BufRead>,
    record: &mut Record,
    most: usize,
) -> Result<Option<Vec<Vec<u8>>>, SourceError> {
    match records.next(record).map_err(|error| place.io(&error))? {
        Read::Record => (),
        Read::End => return Ok(None),
        Read::Open => return Err(place.broken("line 1: breaks off inside quotes")),
        Read::TooLong => return Err(place.too_long(record.line, most)),
    }
    if let Some(fault) = record.fault {
        return Err(place.broken(&format!("line {}: {}", record.line, fault.reason())));
    }
    if record.len() > COLUMNS {
        return Err(place.broken(&format!("line {}: more than {COLUMNS} columns", record.line)));
    }
    Ok(Some(record.fields().map(|field| field.trim_ascii().to_vec()).collect()))
}

/// What is said where a column is missing: what the first line is instead, as far as it can be told. A line that is no
/// header is somebody's data, and not shown.
fn lacks(
    place: FileContext<'_>,
    spellings: &Spellings,
    missing: &str,
    header: &[Vec<u8>],
    delimiter: u8,
) -> SourceError {
    let is_known = |name: &[u8]| spellings.all().iter().any(|one| name.eq_ignore_ascii_case(one.name.as_bytes()));
    let missing = format!("has no column {missing}");
    if let [one] = header {
        let others = SEPARATORS.iter().filter(|(separator, _)| *separator != delimiter);
        let apart = |separator: &u8| one.split(|byte| byte == separator).collect::<Vec<_>>();
        if let Some((separator, name)) = others.max_by_key(|(separator, _)| apart(separator).len())
            && apart(separator).len() > 1
        {
            let parts = apart(separator);
            let any_known = parts.iter().any(|part| is_known(part.trim_ascii().trim_ascii_start()));
            let shown = if any_known { format!(" '{}'", String::from_utf8_lossy(one)) } else { String::new() };
            return place.told(
                &format!("seems to be separated by {name}: it {missing}"),
                &format!("{missing}; its one column is{shown}: are columns separated by {name}?"),
            );
        }
    }
    if header.iter().any(|name| is_known(name)) {
        let names = quoted_names(header.iter().map(|name| String::from_utf8_lossy(name)));
        return place.told(&format!("{missing}, it has {names}"), &format!("{missing}; it has {names}"));
    }
    place.broken(&format!("seems to lack its header line: it {missing}, nor any other that is needed"))
}
