//! A spreadsheet (Office Open XML), written as a stream: nothing of it is ever on a disk or whole in memory.
//!
//! Own XML in place of `rust_xlsxwriter`, which keeps the sheet in memory or in temporary files; a protected report must
//! touch no disk. Text is text, inline; whatever a sheet cannot hold is an error.

use std::io::{self, Write};

use chrono::{Datelike, NaiveDate};
use zip::write::{SimpleFileOptions, StreamWriter, ZipWriter};
use zip::{CompressionMethod, DateTime};

use super::format::{DoesNotFit, TablePieces, WriteError};
use crate::tables::finished::{Finished, TableColumn, Values};

/// What a sheet holds, its heading included.
const MOST_ROWS: usize = 1_048_576;
const MOST_COLUMNS: usize = 16_384;
/// What a cell holds, in UTF-16 units.
const LONGEST_TEXT: usize = 32_767;
/// Spreadsheets compute with 15 digits; a longer number is written as text.
const LARGEST_NUMBER: u64 = 999_999_999_999_999;
/// Bytes are handed on in pieces of about this size.
const PIECE: usize = 64 * 1024;
/// At most so many bytes of XML for a byte of text (`_x0001_`), around a cell, and around a row.
const PER_BYTE: u64 = 7;
const PER_CELL: u64 = 96;
const PER_ROW: u64 = 32;

/// The parts that are always the same.
const PARTS: [(&str, &str); 5] = [
    (
        "[Content_Types].xml",
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#,
            "\n",
            r#"<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">"#,
            r#"<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>"#,
            r#"<Default Extension="xml" ContentType="application/xml"/>"#,
            r#"<Override PartName="/xl/workbook.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet.main+xml"/>"#,
            r#"<Override PartName="/xl/styles.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.styles+xml"/>"#,
            r#"<Override PartName="/xl/worksheets/sheet1.xml" ContentType="application/vnd.openxmlformats-officedocument.spreadsheetml.worksheet+xml"/>"#,
            "</Types>"
        ),
    ),
    (
        "_rels/.rels",
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#,
            "\n",
            r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">"#,
            r#"<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="xl/workbook.xml"/>"#,
            "</Relationships>"
        ),
    ),
    (
        "xl/workbook.xml",
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#,
            "\n",
            r#"<workbook xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships">"#,
            r#"<sheets><sheet name="Report" sheetId="1" r:id="rId1"/></sheets></workbook>"#
        ),
    ),
    (
        "xl/_rels/workbook.xml.rels",
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#,
            "\n",
            r#"<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">"#,
            r#"<Relationship Id="rId1" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet" Target="worksheets/sheet1.xml"/>"#,
            r#"<Relationship Id="rId2" Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/styles" Target="styles.xml"/>"#,
            "</Relationships>"
        ),
    ),
    // Cell styles: 0 plain, 1 a day, 2 a heading.
    (
        "xl/styles.xml",
        concat!(
            r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#,
            "\n",
            r#"<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">"#,
            r#"<numFmts count="1"><numFmt numFmtId="164" formatCode="dd/mm/yyyy"/></numFmts>"#,
            r#"<fonts count="2"><font><sz val="11"/><name val="Calibri"/></font><font><b/><sz val="11"/><name val="Calibri"/></font></fonts>"#,
            r#"<fills count="2"><fill><patternFill patternType="none"/></fill><fill><patternFill patternType="gray125"/></fill></fills>"#,
            "<borders count=\"1\"><border><left/><right/><top/><bottom/><diagonal/></border></borders>",
            r#"<cellStyleXfs count="1"><xf numFmtId="0" fontId="0" fillId="0" borderId="0"/></cellStyleXfs>"#,
            r#"<cellXfs count="3"><xf numFmtId="0" fontId="0" fillId="0" borderId="0" xfId="0"/>"#,
            r#"<xf numFmtId="164" fontId="0" fillId="0" borderId="0" xfId="0" applyNumberFormat="1"/>"#,
            r#"<xf numFmtId="0" fontId="1" fillId="0" borderId="0" xfId="0" applyFont="1"/></cellXfs>"#,
            r#"<cellStyles count="1"><cellStyle name="Normal" xfId="0" builtinId="0"/></cellStyles></styleSheet>"#
        ),
    ),
];

/// The sheet up to its first row, which stays in sight.
const SHEET_START: &[u8] = concat!(
    r#"<?xml version="1.0" encoding="UTF-8" standalone="yes"?>"#,
    "\n",
    r#"<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"><sheetViews>"#,
    r#"<sheetView workbookViewId="0"><pane ySplit="1" topLeftCell="A2" activePane="bottomLeft" state="frozen"/>"#,
    "</sheetView></sheetViews><sheetData>",
)
.as_bytes();
const SHEET_END: &[u8] = b"</sheetData></worksheet>";

/// Writes the table and returns how many rows were written below the heading.
///
/// # Errors
/// Those of `table` and of `out`, and what a sheet does not hold: before the first byte if it is in the first piece.
pub fn write(table: &mut dyn TablePieces, out: &mut dyn Write) -> Result<u64, WriteError> {
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

/// Checks that a sheet holds the table, or a piece of it that has so many rows before it; returns the most bytes that its
/// XML can have.
fn longest_xml(table: &Finished<'_>, before: usize) -> Result<u64, DoesNotFit> {
    if before + table.rows >= MOST_ROWS {
        return Err(DoesNotFit::Rows(MOST_ROWS - 1));
    }
    let columns = headings(table).count();
    if columns > MOST_COLUMNS {
        return Err(DoesNotFit::Columns(MOST_COLUMNS));
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

fn measure(text: &str, bytes: &mut u64) -> Result<(), DoesNotFit> {
    *bytes += text.len() as u64;
    if text.len() > LONGEST_TEXT && text.encode_utf16().count() > LONGEST_TEXT {
        return Err(DoesNotFit::Text(LONGEST_TEXT));
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
        let mut cells = Cells { xml: Vec::with_capacity(PIECE + PIECE / 4), row: 1 };
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

/// `A`, `B`, … `Z`, `AA`, …
fn letters(column: usize) -> String {
    let (mut rest, mut name) = (column + 1, String::new());
    while rest > 0 {
        #[allow(clippy::cast_possible_truncation, reason = "a letter")]
        name.insert(0, char::from(b'A' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    name
}

/// Cells on their way out. An empty one is none.
struct Cells {
    xml: Vec<u8>,
    /// From 1.
    row: usize,
}

impl Cells {
    fn begin_row(&mut self) -> io::Result<()> {
        write!(self.xml, "<row r=\"{}\">", self.row)
    }

    fn end_row(&mut self) {
        self.xml.extend_from_slice(b"</row>");
    }

    fn value(&mut self, letters: &str, column: &TableColumn<'_>, row: usize) -> io::Result<()> {
        match &column.values {
            Values::Constant(text) => self.text(letters, text, ""),
            Values::Text(texts) => self.text(letters, &texts[row], ""),
            Values::Date(days) => days[row].map_or(Ok(()), |day| self.day(letters, day)),
            Values::Int(numbers) | Values::Percent(numbers) => {
                numbers[row].map_or(Ok(()), |number| self.number(letters, number))
            }
        }
    }

    fn text(&mut self, letters: &str, text: &str, style: &str) -> io::Result<()> {
        if text.is_empty() {
            return Ok(());
        }
        write!(self.xml, "<c r=\"{letters}{}\"{style} t=\"inlineStr\"><is><t xml:space=\"preserve\">", self.row)?;
        escape(&mut self.xml, text)?;
        self.xml.write_all(b"</t></is></c>")
    }

    fn number(&mut self, letters: &str, number: i64) -> io::Result<()> {
        if number.unsigned_abs() > LARGEST_NUMBER {
            return self.text(letters, &number.to_string(), "");
        }
        write!(self.xml, "<c r=\"{letters}{}\"><v>{number}</v></c>", self.row)
    }

    /// A day that spreadsheets count, from 1 March 1900 (before that they disagree) to 9999; any other as text.
    fn day(&mut self, letters: &str, day: NaiveDate) -> io::Result<()> {
        /// Day 0, counted from year 1.
        const DAY_ZERO: i32 = 693_594;
        let number = day.num_days_from_ce() - DAY_ZERO;
        if number <= 60 || day.year() > 9999 {
            return self.text(letters, &day.format("%d/%m/%Y").to_string(), "");
        }
        write!(self.xml, "<c r=\"{letters}{}\" s=\"1\"><v>{number}</v></c>", self.row)
    }
}

/// Text between tags. What XML cannot say or would change is `_xHHHH_` (ECMA-376, ST_Xstring), and so is the beginning of
/// what only looks like that.
fn escape(xml: &mut Vec<u8>, text: &str) -> io::Result<()> {
    let mut kept = 0;
    for (at, c) in text.char_indices() {
        let special = match c {
            '&' | '<' | '>' | '\u{fffe}' | '\u{ffff}' => true,
            '_' => looks_escaped(&text.as_bytes()[at..]),
            c => c < ' ' && !matches!(c, '\t' | '\n'),
        };
        if !special {
            continue;
        }
        xml.extend_from_slice(&text.as_bytes()[kept..at]);
        kept = at + c.len_utf8();
        match c {
            '&' => xml.extend_from_slice(b"&amp;"),
            '<' => xml.extend_from_slice(b"&lt;"),
            '>' => xml.extend_from_slice(b"&gt;"),
            c => write!(xml, "_x{:04X}_", u32::from(c))?,
        }
    }
    xml.extend_from_slice(&text.as_bytes()[kept..]);
    Ok(())
}

fn looks_escaped(bytes: &[u8]) -> bool {
    matches!(bytes, [b'_', b'x' | b'X', a, b, c, d, b'_', ..] if [a, b, c, d].iter().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::super::test_table;
    use super::*;

    fn column(values: Values<'_>) -> TableColumn<'_> {
        TableColumn { heading: Cow::Borrowed("h"), from_data: false, values }
    }

    fn refused(rows: usize, columns: Vec<TableColumn<'_>>) -> String {
        let mut bytes = Vec::new();
        let error = write(&mut &Finished { rows, listed: None, columns }, &mut bytes).unwrap_err();
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
        assert_eq!(write(&mut &fits, &mut io::sink()).unwrap(), 1);
    }

    #[test]
    fn the_xml_of_a_sheet() {
        let file = || {
            let mut bytes = Vec::new();
            assert_eq!(test_table::with(|mut table| write(&mut table, &mut bytes)).unwrap(), 2);
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
