//! Rows and cells of a sheet as XML.

use std::io::{self, Write};

use chrono::{Datelike, NaiveDate};

use crate::tables::finished::{TableColumn, Values};

/// Spreadsheets compute with 15 digits; a longer number is written as text.
const LARGEST_NUMBER: u64 = 999_999_999_999_999;

/// `A`, `B`, … `Z`, `AA`, …
pub(super) fn letters(column: usize) -> String {
    let (mut rest, mut name) = (column + 1, String::new());
    while rest > 0 {
        #[allow(clippy::cast_possible_truncation, reason = "a letter")]
        name.insert(0, char::from(b'A' + ((rest - 1) % 26) as u8));
        rest = (rest - 1) / 26;
    }
    name
}

/// Cells on their way out. An empty one is none.
pub(super) struct Cells {
    pub(super) xml: Vec<u8>,
    /// From 1.
    pub(super) row: usize,
}

impl Cells {
    /// Of the first row, with room for this many bytes.
    pub(super) fn new(room: usize) -> Self {
        Self { xml: Vec::with_capacity(room), row: 1 }
    }

    pub(super) fn begin_row(&mut self) -> io::Result<()> {
        write!(self.xml, "<row r=\"{}\">", self.row)
    }

    pub(super) fn end_row(&mut self) {
        self.xml.extend_from_slice(b"</row>");
    }

    pub(super) fn value(&mut self, letters: &str, column: &TableColumn<'_>, row: usize) -> io::Result<()> {
        match &column.values {
            Values::Constant(text) => self.text(letters, text, ""),
            Values::Text(texts) => self.text(letters, &texts[row], ""),
            Values::Date(days) => days[row].map_or(Ok(()), |day| self.day(letters, day)),
            Values::Int(numbers) | Values::Percent(numbers) => {
                numbers[row].map_or(Ok(()), |number| self.number(letters, number))
            }
        }
    }

    pub(super) fn text(&mut self, letters: &str, text: &str, style: &str) -> io::Result<()> {
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
