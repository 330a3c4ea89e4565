//! A spreadsheet (Office Open XML), written as a stream: nothing of it is ever on a disk or whole in memory.
//!
//! Own XML in place of `rust_xlsxwriter`, which keeps the sheet in memory or in temporary files; a protected report must
//! touch no disk. Text is text, inline; whatever a sheet cannot hold is an error.

mod cells;
mod parts;

use std::io::{self, Write};

use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::super::format::{CsvOptions, DoesNotFit, Format, TablePieces, WriteError};
use crate::tables::finished::{Finished, Values};
use cells::{Cells, letters};
use parts::{PARTS, SHEET_END, SHEET_START};

/// See the module.
pub(super) const FORMAT: Format = Format {
    number: 3,
    name: "xlsx",
    alias: None,
    extension: "xlsx",
    gzip_extension: None,
    media_type: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    write,
};

/// What a sheet holds, its heading included.
const MOST_ROWS: usize = 1_048_576;
const MOST_COLUMNS: usize = 16_384;
/// What a cell holds, in UTF-16 units.
const LONGEST_TEXT: usize = 32_767;
/// Bytes are written in pieces of about this size.
const PIECE: usize = 64 * 1024;
/// The most bytes of XML for a byte of text (`_x0001_`), around a cell, and around a row.
const PER_BYTE: u64 = 7;
const PER_CELL: u64 = 96;
const PER_ROW: u64 = 32;

/// Writes the table and returns how many rows were written below the heading.
///
/// # Errors
/// Those of `table` and of `out`, and what a sheet does not hold: before the first byte if it is in the first piece.
fn write(table: &mut dyn TablePieces, _: CsvOptions, out: &mut dyn Write) -> Result<u64, WriteError> {
    let most_rows = table.most_rows().min(MOST_ROWS) as u64;
    // The earliest date that a zip knows: the same bytes at any time.
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(DateTime::default());
    let mut out = Some(out);
    let mut sheet: Option<Sheet<'_>> = None;
    table.each(&mut |table| {
        let before = sheet.as_ref().map_or(0, |sheet| sheet.rows);
        let longest = longest_xml(table, before)?;
        if let Some(out) = out.take() {
            let mut zip = ZipWriter::new_stream(out);
            for (name, text) in PARTS {
                zip.start_file(name, options).map_err(io::Error::from)?;
                zip.write_all(text.as_bytes())?;
            }
            // Old readers do not know ZIP64, so it is only for what needs it. Of further pieces it is guessed from the first,
            // for text that is seven times as long in XML; a sheet that is larger still is an error, never a cut.
            let rows = (table.rows as u64).max(1);
            let large = longest / rows > u64::from(u32::MAX) / most_rows.max(rows);
            zip.start_file("xl/worksheets/sheet1.xml", options.large_file(large)).map_err(io::Error::from)?;
            sheet = Some(Sheet::begin(table, zip)?);
        }
        sheet.as_mut().map_or(Ok(()), |sheet| Ok(sheet.take(table)?))
    })?;
    Ok(sheet.map_or(Ok(0), Sheet::end)?)
}

/// Checks that a sheet holds the table, or a piece of it with `before` rows before it; returns the most bytes that its
/// XML can have.
fn longest_xml(table: &Finished<'_>, before: usize) -> Result<u64, DoesNotFit> {
    if before + table.rows >= MOST_ROWS {
        return Err(does_not_fit("more rows than an xlsx sheet holds", MOST_ROWS - 1));
    }
    let columns = headings(table).count();
    if columns > MOST_COLUMNS {
        return Err(does_not_fit("more columns than an xlsx sheet holds", MOST_COLUMNS));
    }
    let mut bytes = 0;
    headings(table).try_for_each(|heading| measure(heading, &mut bytes))?;
    if let Some(listed) = &table.listed {
        for row in 0..table.rows {
            let (line, hidden) = listed.line(row);
            line.cells(hidden).try_for_each(|cell| measure(&cell, &mut bytes))?;
        }
    }
    for column in &table.columns {
        match &column.values {
            Values::Constant(text) => {
                measure(text, &mut bytes)?;
                bytes += (text.len() * table.rows) as u64;
            }
            Values::Text(texts) => texts.iter().try_for_each(|text| measure(text, &mut bytes))?,
            Values::Date(_) | Values::Int(_) | Values::Percent(_) => {}
        }
    }
    let (rows, columns) = (table.rows as u64 + 1, columns as u64);
    Ok(bytes * PER_BYTE + rows * (columns * PER_CELL + PER_ROW) + (SHEET_START.len() + SHEET_END.len()) as u64)
}

fn does_not_fit(what: &str, most: usize) -> DoesNotFit {
    DoesNotFit(format!("{what} ({most}), ask for csv or parquet"))
}

fn measure(text: &str, bytes: &mut u64) -> Result<(), DoesNotFit> {
    *bytes += text.len() as u64;
    if text.len() > LONGEST_TEXT && text.encode_utf16().count() > LONGEST_TEXT {
        return Err(does_not_fit("a text is longer than an xlsx cell holds", LONGEST_TEXT));
    }
    Ok(())
}

fn headings<'t>(table: &'t Finished<'_>) -> impl Iterator<Item = &'t str> {
    let listed = table.listed.iter().flat_map(|listed| listed.headings.iter().copied());
    listed.chain(table.columns.iter().map(|column| &*column.heading))
}

/// A sheet under way.
struct Sheet<'o> {
    out: ZipWriter<StreamWriter<&'o mut dyn Write>>,
    /// The names of its columns.
    letters: Vec<String>,
    cells: Cells,
    /// How many it has below its heading.
    rows: usize,
}

impl<'o> Sheet<'o> {
    fn begin(table: &Finished<'_>, out: ZipWriter<StreamWriter<&'o mut dyn Write>>) -> io::Result<Self> {
        let letters: Vec<String> = (0..headings(table).count()).map(letters).collect();
        let mut cells = Cells::new(PIECE + PIECE / 4);
        cells.xml.extend_from_slice(SHEET_START);
        cells.begin_row()?;
        for (heading, column) in headings(table).zip(&letters) {
            cells.text(column, heading, " s=\"2\"")?;
        }
        cells.end_row();
        Ok(Self { out, letters, cells, rows: 0 })
    }

    fn take(&mut self, table: &Finished<'_>) -> io::Result<()> {
        let Self { out, letters, cells, rows } = self;
        for row in 0..table.rows {
            cells.row = *rows + row + 2;
            cells.begin_row()?;
            let mut letters = letters.iter();
            if let Some(listed) = &table.listed {
                let (line, hidden) = listed.line(row);
                for (cell, column) in line.cells(hidden).zip(letters.by_ref().take(listed.headings.len())) {
                    cells.text(column, &cell, "")?;
                }
            }
            for (column, letters) in table.columns.iter().zip(letters) {
                cells.value(letters, column, row)?;
            }
            cells.end_row();
            if cells.xml.len() >= PIECE {
                out.write_all(&cells.xml)?;
                cells.xml.clear();
            }
        }
        *rows += table.rows;
        Ok(())
    }

    fn end(mut self) -> io::Result<u64> {
        self.cells.xml.extend_from_slice(SHEET_END);
        self.out.write_all(&self.cells.xml)?;
        self.out.finish()?.flush()?;
        Ok(self.rows as u64)
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::test_table;
    use super::*;
    use crate::tables::finished::TableColumn;

    fn column(values: Values<'_>) -> TableColumn<'_> {
        TableColumn { heading: Cow::Borrowed("h"), from_data: false, values }
    }

    fn refused(rows: usize, columns: Vec<TableColumn<'_>>) -> String {
        let mut bytes = Vec::new();
        let error =
            write(&mut &Finished { rows, listed: None, columns }, CsvOptions::default(), &mut bytes).unwrap_err();
        assert!(matches!(error, WriteError::DoesNotFit(_)), "{error}");
        assert!(bytes.is_empty(), "something was written before the check");
        error.to_string()
    }

    #[test]
    fn what_a_sheet_does_not_hold_is_refused_before_the_first_byte() {
        let long = "ü".repeat(LONGEST_TEXT + 1);
        let many = (0..=MOST_COLUMNS).map(|_| column(Values::Constant(""))).collect();
        for (message, found) in [
            (
                "more rows than an xlsx sheet holds (1048575), ask for csv or parquet",
                refused(MOST_ROWS, vec![column(Values::Constant(""))]),
            ),
            ("more columns than an xlsx sheet holds (16384), ask for csv or parquet", refused(0, many)),
            (
                "a text is longer than an xlsx cell holds (32767), ask for csv or parquet",
                refused(1, vec![column(Values::Text(vec![long.as_str().into()]))]),
            ),
        ] {
            assert_eq!(found, message);
        }
        let fits = Finished { rows: 1, listed: None, columns: vec![column(Values::Constant(&long[2..]))] };
        assert_eq!(write(&mut &fits, CsvOptions::default(), &mut io::sink()).unwrap(), 1);
    }

    #[test]
    fn the_xml_of_a_sheet() {
        let file = || {
            let mut bytes = Vec::new();
            assert_eq!(test_table::with(|mut table| write(&mut table, CsvOptions::default(), &mut bytes)).unwrap(), 2);
            bytes
        };
        let bytes = file();
        assert_eq!(bytes, file());
        let mut archive = zip::ZipArchive::new(io::Cursor::new(bytes)).unwrap();
        let sheet = io::read_to_string(archive.by_name("xl/worksheets/sheet1.xml").unwrap()).unwrap();
        let text = |place: &str, text: &str| {
            format!("<c r=\"{place}\" t=\"inlineStr\"><is><t xml:space=\"preserve\">{text}</t></is></c>")
        };
        let first = [
            "<row r=\"2\">",
            &text("A2", "0131234567890123456"),
            &text("B2", "=1, \"x\"\n"),
            &text("C2", "s"),
            "<c r=\"D2\" s=\"1\"><v>43132</v></c><c r=\"E2\"><v>100</v></c><c r=\"F2\"><v>-33</v></c>",
            &text("G2", "007"),
            "</row>",
        ];
        let second =
            ["<row r=\"3\">", &text("B3", "b_x0001__x005F_x000D__x000D_"), &text("C3", "s"), "</row>"].concat();
        assert!(sheet.ends_with(&(first.concat() + &second + "</sheetData></worksheet>")), "{sheet}");
    }

    #[test]
    fn columns_are_lettered() {
        for (column, expected) in [(0, "A"), (25, "Z"), (26, "AA"), (701, "ZZ"), (702, "AAA"), (16_383, "XFD")] {
            assert_eq!(letters(column), expected);
        }
    }
}
