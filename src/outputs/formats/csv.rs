//! CSV by RFC 4180, with the guard against spreadsheet formulas.
//!
//! Own lines in place of the `csv` crate's writer: a cell that may be a formula must be looked at anyway, so that one look
//! decides over the quotes too. Not here: what a cell means.

use std::io::Write;

use chrono::{Datelike, NaiveDate};

use super::super::format::{CsvOptions, Format, TablePieces, WriteError};
use crate::columnar::spelling;
use crate::tables::finished::{Finished, Listed, TableColumn, Values};

/// See the module.
pub(super) const FORMAT: Format = Format {
    number: 0,
    name: "csv",
    alias: None,
    extension: "csv",
    gzip_extension: Some("csv.gz"),
    media_type: "text/csv; charset=utf-8",
    write,
};

/// Bytes are written in pieces of about this size.
const PIECE: usize = 64 * 1024;

/// The number of learners whose lines are fetched together.
const FETCHED: usize = 32;

/// Writes the table, heading line first, and returns how many rows were written below it.
///
/// # Errors
/// Those of `table` and of `out`.
fn write(table: &mut dyn TablePieces, options: CsvOptions, out: &mut dyn Write) -> Result<u64, WriteError> {
    let mut lines = Lines { bytes: Vec::with_capacity(PIECE + PIECE / 4), guard: options.formula_guard };
    let line_end: &[u8] = if options.crlf { b"\r\n" } else { b"\n" };
    if options.bom {
        lines.bytes.extend_from_slice("\u{feff}".as_bytes());
    }
    let (mut is_headed, mut written) = (false, 0);
    table.each(&mut |table| {
        if !is_headed {
            lines.headings(table);
            lines.bytes.extend_from_slice(line_end);
            is_headed = true;
        }
        for row in 0..table.rows {
            lines.row(table, row);
            lines.bytes.extend_from_slice(line_end);
            if lines.bytes.len() >= PIECE {
                out.write_all(&lines.bytes)?;
                lines.bytes.clear();
            }
        }
        written += table.rows as u64;
        Ok(())
    })?;
    out.write_all(&lines.bytes)?;
    out.flush()?;
    Ok(written)
}

/// Lines on their way out.
struct Lines {
    bytes: Vec<u8>,
    guard: bool,
}

impl Lines {
    fn separate(&mut self, at: usize) {
        if at > 0 {
            self.bytes.push(b',');
        }
    }

    fn headings(&mut self, table: &Finished<'_>) {
        let listed = table.listed.iter().flat_map(|listed| &listed.headings).map(|heading| (*heading, false));
        let others = table.columns.iter().map(|column| (&*column.heading, column.from_data));
        for (at, (heading, from_data)) in listed.chain(others).enumerate() {
            self.separate(at);
            self.text(heading, from_data && self.guard);
        }
    }

    fn row(&mut self, table: &Finished<'_>, row: usize) {
        let start = self.bytes.len();
        let listed = table.listed.as_ref().map_or(0, |listed| listed.headings.len());
        if let Some(listed) = &table.listed {
            if row.is_multiple_of(FETCHED) {
                listed.lines.fetch(&listed.keys[row..table.rows.min(row + FETCHED)]);
            }
            self.listed(listed, row);
        }
        for (at, column) in table.columns.iter().enumerate() {
            self.separate(listed + at);
            self.cell(column, row);
        }
        if listed + table.columns.len() == 1 && self.bytes.len() == start {
            // An empty line would be no row at all.
            self.bytes.extend_from_slice(b"\"\"");
        }
    }

    /// The learner of a row, as it was spelled before unless something in it is to be guarded.
    fn listed(&mut self, listed: &Listed<'_>, row: usize) {
        let (line, hidden) = listed.line(row);
        if !(line.runs && self.guard) {
            return line.spell(hidden, &mut self.bytes);
        }
        for (at, cell) in line.cells(hidden).enumerate() {
            self.separate(at);
            self.text(&cell, true);
        }
    }

    fn cell(&mut self, column: &TableColumn<'_>, row: usize) {
        match &column.values {
            Values::Constant(text) => self.text(text, self.guard),
            Values::Text(texts) => self.text(&texts[row], self.guard),
            Values::Date(days) => days[row].iter().for_each(|day| self.day(*day)),
            Values::Int(numbers) => numbers[row].iter().for_each(|number| self.number(*number)),
            Values::Percent(numbers) => {
                if let Some(number) = numbers[row] {
                    self.number(number);
                    self.bytes.push(b'%');
                }
            }
        }
    }

    /// Text, guarded against spreadsheets or not, in quotes if need be.
    fn text(&mut self, text: &str, guard: bool) {
        spelling::cell(&mut self.bytes, text, guard);
    }

    /// `dd/MM/yyyy`
    fn day(&mut self, day: NaiveDate) {
        self.padded(day.day(), 2);
        self.bytes.push(b'/');
        self.padded(day.month(), 2);
        self.bytes.push(b'/');
        self.padded(day.year().unsigned_abs(), 4);
    }

    fn number(&mut self, number: i64) {
        if number < 0 {
            self.bytes.push(b'-');
        }
        self.padded(number.unsigned_abs(), 1);
    }

    /// The digits of a number, zeros before them up to this width.
    fn padded(&mut self, number: impl Into<u64>, width: usize) {
        let mut digits = [b'0'; 20];
        let (mut rest, mut start) = (number.into(), digits.len());
        while rest > 0 {
            start -= 1;
            #[allow(clippy::cast_possible_truncation, reason = "a digit")]
            let digit = (rest % 10) as u8;
            digits[start] += digit;
            rest /= 10;
        }
        self.bytes.extend_from_slice(&digits[start.min(digits.len() - width)..]);
    }
}

#[cfg(test)]
mod tests;
