//! A finished report: columns with headings, ready for any output format.

use std::borrow::Cow;

use chrono::NaiveDate;

use crate::columnar::encoded_rows::{EncodedRow, RowBlock};

/// The values of one column, one per row of the table.
#[derive(Debug)]
pub enum Values<'a> {
    /// The same text in every row.
    Constant(&'a str),
    /// Text of its own.
    Text(Vec<Cow<'a, str>>),
    /// A calendar day.
    Date(Vec<Option<NaiveDate>>),
    /// A whole number.
    Int(Vec<Option<i64>>),
    /// Whole per cent: with the sign in text formats, a number elsewhere.
    Percent(Vec<Option<i64>>),
}

/// A column of a finished report.
#[derive(Debug)]
pub struct TableColumn<'a> {
    /// Its heading; no two columns of a table share one.
    pub heading: Cow<'a, str>,
    /// Whether the heading was made from data (and so may try to be a spreadsheet formula).
    pub from_data: bool,
    /// The cells.
    pub values: Values<'a>,
}

/// The columns that come first: what reports say about the learner of each row.
#[derive(Debug)]
pub struct Listed<'a> {
    /// Their headings.
    pub headings: Vec<&'static str>,
    /// The lines that have their cells.
    pub lines: &'a RowBlock,
    /// The line of each row of the table.
    pub keys: Vec<u32>,
    /// Rows of which only the public cells are shown. `None`: no such rows.
    pub hidden: Option<Vec<bool>>,
}

impl Listed<'_> {
    /// The line of a row, and whether only its public cells are shown.
    #[must_use]
    pub fn line(&self, row: usize) -> (EncodedRow<'_>, bool) {
        (self.lines.row(self.keys[row]), self.hidden.as_ref().is_some_and(|hidden| hidden[row]))
    }
}

/// A finished report of one batch.
#[derive(Debug)]
pub struct Finished<'a> {
    /// How many rows it has.
    pub rows: usize,
    /// Who is listed, in the first columns. `None`: the report shows nothing of that.
    pub listed: Option<Listed<'a>>,
    /// The columns after those.
    pub columns: Vec<TableColumn<'a>>,
}
